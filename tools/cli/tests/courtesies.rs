//! What a user of a command line expects without reading a manual.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::shell::Shell;

fn piped(shell: &Shell, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tilestream"));
    command.args(arguments).env("XDG_CACHE_HOME", shell.path("cache"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("starts");
    child.stdin.take().expect("piped").write_all(input).expect("written");
    child.wait_with_output().expect("ends")
}

fn ids(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice::<Value>(&output.stdout).expect("JSON")["ids"].clone()
}

#[test]
fn a_prompt_may_come_from_anywhere() {
    let shell = Shell::new();
    let (model, file) = (shell.gguf("Q8_0.gguf"), shell.write("prompt.txt", "-hello"));
    let common = ["run", &model, "--json", "--max-tokens", "3", "--ignore-eos"];
    let with = |more: &[&str], input: &[u8]| ids(&piped(&shell, &[&common[..], more].concat(), input));
    let wanted = with(&["--prompt", "-hello"], b"");
    for (more, input) in [
        (&["-p", "-hello"][..], &b""[..]),
        (&["-f", &file], b""),
        (&["-f", "-"], b"-hello\n"),
        (&[], b"-hello\r\n"),
        (&["--stop", "-no such text-"], b"-hello"),
    ] {
        assert_eq!(with(more, input), wanted, "{more:?}");
    }
    for input in ["", "\n"] {
        let output = piped(&shell, &common, input.as_bytes());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && text.contains("--prompt"), "{text}");
    }
}

#[test]
fn a_seed_is_new_and_told_unless_it_is_given() {
    let shell = Shell::new();
    let model = shell.gguf("Q8_0.gguf");
    let common = ["run", &model, "--prompt", "hello", "--json", "--max-tokens", "12", "--ignore-eos"];
    let warm = |more: &[&str]| {
        let output = shell.run(&[&common[..], &["--temperature", "1"], more].concat());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert!(told.contains(&format!("seed {}", answer["seed"])), "{told}");
        answer
    };
    let first = warm(&[]);
    let again = warm(&["--seed", &first["seed"].to_string()]);
    assert_eq!((&first["ids"], &first["seed"]), (&again["ids"], &again["seed"]));
    assert_ne!(warm(&[])["seed"], first["seed"]);
    assert!(shell.json(&common)["seed"].is_null(), "the best token needs no seed");
}

#[test]
fn a_forgotten_unit_is_asked_about() {
    let shell = Shell::new();
    for flag in ["--budget", "--ram"] {
        let output = shell.run(&["run", "model", "--prompt", "a", flag, "5"]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && text.contains("did you mean 5GiB?"), "{text}");
    }
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let shell = Shell::new();
    let out = shell.path("model").display().to_string();
    shell.ok(&["split", &shell.gguf("Q8_0.gguf"), &out]);
    let ids = shell.write("ids.json", "[1, 2, 3]");
    for command in [
        &["inspect", &out][..],
        &["score", &out, "--ids-file", &ids],
        &["run", &out, "--ids-file", &ids, "--max-tokens", "9", "--ignore-eos"],
        &["run", "--help"],
    ] {
        let line = r#"exec 3>"$1"; shift; { "$@" 2>&3; echo $? >&3; } | true"#;
        let told = shell.path("told");
        let mut piped = Command::new("sh");
        piped.args(["-c", line, "sh"]).arg(&told).arg(env!("CARGO_BIN_EXE_tilestream")).args(command);
        assert!(piped.env("XDG_CACHE_HOME", shell.path("cache")).status().expect("starts").success());
        let told = std::fs::read_to_string(told).expect("told");
        let code = told.trim().lines().last().unwrap_or_default();
        assert!(["0", "141"].contains(&code) && !told.contains("panick") && !told.contains("tilestream:"), "{told}");
    }
}

#[test]
fn variables_of_a_template_are_values_or_texts() {
    let shell = Shell::new();
    let model = shell.gguf("Q8_0.gguf");
    let run = |argument: &str| {
        let arguments = ["run", &model, "--prompt", "hello", "--max-tokens", "3", "--template-arg", argument, "--json"];
        let output = piped(&shell, &arguments, b"");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for argument in ["enable_thinking=false", "style=short", "levels=[1, 2]", "note="] {
        let (code, told) = run(argument);
        assert_eq!(code, Some(0), "{argument}: {told}");
    }
    for (argument, says) in [("enable_thinking", "KEY=VALUE"), ("messages=1", "'messages'"), ("a b=1", "'a b'")] {
        let (code, told) = run(argument);
        assert!(code == Some(2) && told.contains(says), "{argument}: {told}");
    }
}
