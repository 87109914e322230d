//! A folder of its own for a test, and the real command in it.

#![allow(dead_code, reason = "each program uses its own part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A file or folder of the committed test data.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data").join(name)
}

/// What a command said on stderr, which is no panic.
pub fn told(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains("panicked"), "{text}");
    text
}

pub struct Shell {
    pub folder: tempfile::TempDir,
}

impl Shell {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).expect("writes");
        self.path(name).display().to_string()
    }

    /// A copy of a small GGUF file.
    pub fn gguf(&self, name: &str) -> String {
        std::fs::copy(data("small-gguf").join(name), self.path(name)).expect("copies");
        self.path(name).display().to_string()
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tilestream"));
        command.args(arguments).env("XDG_CACHE_HOME", self.path("cache")).output().expect("the command starts")
    }

    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(arguments);
        assert_eq!(text.trim_end().lines().count(), 1, "one object: {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// The last line on stderr and the exit code of a command that must fail.
    pub fn fails(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        let text = told(&output);
        let line = text.lines().rfind(|line| line.starts_with("tilestream: ")).unwrap_or(&text);
        (output.status.code().expect("an exit code"), line.to_owned())
    }
}
