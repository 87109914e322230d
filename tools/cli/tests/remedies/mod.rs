//! What an error tells to do, done to the letter: it works, or leads to the next thing that is named.
//!
//! A remedy is typed into a shell as the message has it, behind the command that failed.
#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

mod cases;
mod flags;
mod running;
#[allow(dead_code, reason = "of the reader of Rust source only the strings are of use here")]
#[path = "../../../xtask/src/borders/tokens.rs"]
mod tokens;

use cases::CASES;

use crate::shell::{data, told};

/// An error that names an option or a command, and how it is followed.
struct Case {
    name: &'static str,
    /// Makes the files that the command finds.
    given: fn(&Place),
    /// As it is typed.
    command: &'static str,
    steps: &'static [Step],
}

/// What follows from a message.
enum Step {
    /// The message has these words, and they are typed behind the command: an option with its value.
    Words(&'static str),
    /// The message has these words, which name an option; its value is the user's.
    Value(&'static str, &'static str),
    /// The option that the message names is left out.
    Without(&'static str),
    /// The number of bytes in the message is the budget.
    Bytes,
    /// What stands in quotes behind these words is the value of an option.
    Quoted(&'static str, &'static str),
    /// The message has a command in backticks; it is typed, with the arguments that are the user's.
    Typed(&'static str, &'static str),
    /// The same, and it fails in turn: what it found has a remedy.
    Fails(&'static str, &'static str),
    /// The message has these words, and the user does so with the files; the command is the same.
    Done(&'static str, fn(&Place)),
    /// The message has these words, and the command is another.
    Other(&'static str, &'static str),
}

/// A folder of its own, with a shell in it.
pub struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("ids.json"), "[1, 5, 9, 2]").expect("written");
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    /// A copy of a file of the test data.
    fn copy(&self, from: &str, to: &str) {
        let to = self.path(to);
        fs::create_dir_all(to.parent().expect("in a folder")).expect("made");
        fs::copy(data(from), to).expect("copied");
    }

    /// A small checkpoint without a tokenizer.
    fn checkpoint(&self, folder: &str) {
        for name in ["config.json", "model.safetensors"] {
            self.copy(&format!("small/gqa/{name}"), &format!("{folder}/{name}"));
        }
    }

    /// A command line, typed into a shell in the folder.
    fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(self.folder.path());
        let programs = Path::new(env!("CARGO_BIN_EXE_tilestream")).parent().expect("in a folder");
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", programs.display()));
        for variable in ["HF_TOKEN", "HF_TOKEN_PATH", "HF_HOME", "HF_ENDPOINT"] {
            command.env_remove(variable);
        }
        command.env("XDG_CACHE_HOME", self.path("cache")).env("XDG_STATE_HOME", self.path("state"));
        command.stdin(std::process::Stdio::null());
        command
    }

    fn run(&self, line: &str) -> Output {
        // Every case is small; one that waits for something is a fault.
        self.shell(&format!("ulimit -t 60; {line}")).output().expect("starts")
    }

    fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {}", told(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

/// What a command said on stderr.
/// A command line without an option and its value.
fn without(line: &str, option: &str) -> String {
    let mut words = line.split(' ').peekable();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if word != option {
            kept.push(word);
        } else if words.peek().is_some_and(|next| !next.starts_with('-')) {
            words.next();
        }
    }
    kept.join(" ")
}

/// A command line with an option, in place of the one that it has. Ways to give a prompt stand in each other's place too.
fn with(line: &str, option: &str) -> String {
    const PROMPTS: &[&str] = &["--prompt", "--prompt-file", "--ids-file"];
    let name = option.split(' ').next().unwrap_or_default();
    let replaced = if PROMPTS.contains(&name) { PROMPTS } else { &[name] };
    let line = replaced.iter().fold(line.to_owned(), |line, option| without(&line, option));
    format!("{line} {option}")
}

/// What stands between two texts.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    Some(rest.split_once(end)?.0)
}

impl Step {
    /// The next command line that the message asks for.
    fn follow(&self, place: &Place, line: &str, message: &str) -> String {
        let has = |words: &str| assert!(message.contains(words), "{line}: '{words}' is not in: {message}");
        match self {
            Self::Words(words) => {
                has(words);
                with(line, words)
            }
            Self::Value(words, value) => {
                has(words);
                let marks = |c: char| !c.is_ascii_alphanumeric() && c != '-';
                let option = words.split(marks).rfind(|word| word.starts_with("--")).expect("an option");
                with(line, &format!("{option} {value}"))
            }
            Self::Without(option) => {
                has(option);
                without(line, option)
            }
            Self::Bytes => {
                let bytes = between(message, "(", " bytes)").unwrap_or_else(|| panic!("no number: {message}"));
                with(line, &format!("--budget {bytes}"))
            }
            Self::Quoted(words, option) => {
                let value = between(message, &format!("{words}'"), "'").unwrap_or_else(|| panic!("none: {message}"));
                with(line, &format!("{option} '{value}'"))
            }
            Self::Typed(command, arguments) | Self::Fails(command, arguments) => {
                has(&format!("`{command}`"));
                format!("{command} {arguments}")
            }
            Self::Done(words, change) => {
                has(words);
                change(place);
                line.to_owned()
            }
            Self::Other(words, line) => {
                has(words);
                (*line).to_owned()
            }
        }
    }
}

#[test]
fn a_remedy_that_is_followed_works() {
    let mut failed = Vec::new();
    for case in CASES {
        let outcome = std::panic::catch_unwind(|| follow(case));
        println!("  {}", if outcome.is_ok() { "works" } else { "FAILS" });
        if outcome.is_err() {
            failed.push(case.name);
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

/// Follows a case from its error to its end.
fn follow(case: &Case) {
    let place = Place::new();
    (case.given)(&place);
    let (mut line, mut before) = (case.command.to_owned(), String::new());
    for step in case.steps {
        let output = place.run(&line);
        let message = told(&output);
        println!("{}\n  $ {line}\n  {}", case.name, message.trim_end());
        // A note names what makes its model better; an error ends the command.
        let is_note = message.contains("note: ");
        assert!(is_note || !output.status.success(), "{}: {line} does not fail", case.name);
        assert_ne!(message, before, "{}: {line} says the same again", case.name);
        let next = step.follow(&place, &line, &message);
        if let Step::Fails(..) = step {
            let output = place.run(&next);
            let found = format!("{}{message}", told(&output));
            println!("  $ {next}\n  {}", found.trim_end());
            assert!(!output.status.success() && !found.contains("unexpected argument"), "{found}");
            before.clear();
            continue;
        }
        (line, before) = (next, message);
    }
    let output = place.run(&line);
    assert!(output.status.success(), "{}: $ {line}\n{}", case.name, told(&output));
}
