//! `run --prompts`: every answer is kept as it is done, whatever ends the command, and the same command goes on.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::shell::Shell;

/// The lines of a file of answers by index, of which no two may be of one line.
fn answers(path: &Path) -> BTreeMap<u64, Value> {
    let text = std::fs::read_to_string(path).expect("answers");
    let mut answers = BTreeMap::new();
    for line in text.lines() {
        let answer: Value = serde_json::from_str(line).expect("a whole line");
        let index = answer["index"].as_u64().expect("an index");
        assert!(answers.insert(index, answer).is_none(), "line {index} twice: {text}");
    }
    answers
}

fn start(shell: &Shell, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tilestream"));
    command.args(arguments).env("XDG_CACHE_HOME", shell.path("cache"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the command starts")
}

/// Waits until a file has so many lines.
fn wait_for_lines(path: &Path, lines: usize, child: &mut Child) {
    let start = Instant::now();
    while std::fs::read(path).map_or(0, |text| text.iter().filter(|byte| **byte == b'\n').count()) < lines {
        assert!(child.try_wait().expect("a child").is_none(), "it ended before {lines} lines were there");
        assert!(start.elapsed() < Duration::from_secs(120), "no {lines} lines");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn bad_lines_are_named_and_a_second_run_answers_them_once_they_are_mended() {
    let shell = Shell::new();
    let model = shell.gguf("Q8_0.gguf");
    let lines = [
        json!({ "prompt": "hello", "id": "a" }).to_string(),
        json!({ "ids": [9, 8, 7], "max_tokens": 3, "id": 17 }).to_string(),
        String::new(),
        "nonsense".into(),
        json!({ "prompt": "the thing", "system": "be brief", "temprature": 1, "id": "d" }).to_string(),
        json!({ "prompt": "long ".repeat(2000) }).to_string(),
        json!({ "ids": [100_000] }).to_string(),
        json!({ "messages": [{ "role": "user", "content": "hello" }], "temperature": 1.5, "seed": 5 }).to_string(),
        json!({ "prompt": "hello", "max_tokens": 0 }).to_string(),
    ];
    let write = |lines: &[String]| shell.write("in.jsonl", &format!("\u{feff}{}\n", lines.join("\n")));
    let (prompts, out) = (write(&lines), shell.path("out.jsonl"));
    let common = ["--max-tokens", "6", "--ignore-eos"];
    let arguments =
        [&["run", &model, "--prompts", &prompts, "--out", out.to_str().expect("UTF-8")], &common[..]].concat();

    let output = shell.run(&arguments);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    let first = answers(&out);
    assert_eq!(first.keys().copied().collect::<Vec<_>>(), [1, 2, 4, 5, 6, 7, 8, 9]);
    for (index, says) in
        [(4, "not a prompt"), (5, "temprature"), (6, "positions"), (7, "vocabulary"), (9, "none may be generated")]
    {
        let message = first[&index]["error"]["message"].as_str().expect("an error").to_owned();
        assert!(message.contains(&format!("in.jsonl:{index}: ")) && message.contains(says), "{message}");
        assert!(told.contains(&message), "{message} is not in {told}");
    }
    assert_eq!((&first[&1]["id"], &first[&2]["id"], &first[&5]["id"]), (&json!("a"), &json!(17), &json!("d")));
    assert_eq!(first[&2]["ids"].as_array().expect("ids").len(), 3);
    assert!(told.contains("3 prompts answered, 3 of them cut at max_tokens, 5 have no answer"), "{told}");
    let alone = shell.json(&[&["run", &model, "--prompt", "hello", "--json"], &common[..]].concat());
    assert_eq!((&first[&1]["ids"], &first[&1]["text"]), (&alone["ids"], &alone["text"]));
    assert_ne!(first[&8]["ids"], alone["ids"], "drawn, with a seed of its own");

    let mut mended = lines.to_vec();
    mended[4] = json!({ "prompt": "the thing", "id": "d" }).to_string();
    mended.drain(8..);
    mended[3] = String::new();
    mended[5] = String::new();
    mended[6] = String::new();
    write(&mended);
    shell.ok(&arguments);
    let second = answers(&out);
    assert_eq!(second.keys().copied().collect::<Vec<_>>(), [1, 2, 5, 8]);
    assert_eq!(second[&5]["stop_reason"], "max_tokens");
    assert!([1, 2, 8].iter().all(|index| first[index] == second[index]), "what was answered stays");

    // Nothing is left to do, and what changes is noticed.
    let written = std::fs::read(&out).expect("reads");
    shell.ok(&arguments);
    mended[1] = json!({ "ids": [9, 8, 6], "max_tokens": 3, "id": 17 }).to_string();
    write(&mended);
    for arguments in [arguments.clone(), [&arguments[..], &["--top-k", "4"]].concat()] {
        let (code, line) = shell.fails(&arguments);
        assert!(code == 2 && line.contains("in.jsonl:") && line.contains("changed"), "{line}");
    }
    assert_eq!(std::fs::read(&out).expect("reads"), written);
}

#[test]
fn kills_lose_nothing_and_double_nothing() {
    let shell = Shell::new();
    let model = shell.gguf("Q8_0.gguf");
    // The last ones take a while, so that the interrupt finds the command at work.
    let tokens = |n: usize| if n < 34 { 4 + n % 5 } else { 55 };
    let line = |n: usize| json!({ "ids": [n + 1, 2 * n + 3], "max_tokens": tokens(n), "id": n });
    let text: String = (0..40).map(|n| format!("{}\n", line(n))).collect();
    let prompts = shell.write("in.jsonl", &text);
    let whole = shell.path("whole.jsonl");
    let arguments = |out: &Path| {
        let out = out.display().to_string();
        ["run", &model, "--prompts", &prompts, "--out", &out, "--ignore-eos"].map(str::to_owned)
    };
    let of = |arguments: &[String; 7]| arguments.each_ref().map(|argument| argument.as_str().to_owned());
    let once = of(&arguments(&whole));
    shell.ok(&once.each_ref().map(String::as_str));
    let expected = answers(&whole);
    assert_eq!(expected.len(), 40);

    let parts = shell.path("parts.jsonl");
    let command = of(&arguments(&parts));
    let command = command.each_ref().map(String::as_str);
    for lines in [1, 12, 25] {
        let mut child = start(&shell, &command);
        wait_for_lines(&parts, lines, &mut child);
        child.kill().expect("kills");
        child.wait().expect("ends");
        // What a kill in the middle of a write leaves.
        let mut file = std::fs::OpenOptions::new().append(true).open(&parts).expect("opens");
        file.write_all(b"{\"index\":40,\"key\":\"77").expect("writes");
    }
    #[cfg(unix)]
    {
        let mut child = start(&shell, &command);
        wait_for_lines(&parts, 32, &mut child);
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill runs").success());
        let output = child.wait_with_output().expect("ends");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(130), "{told}");
        assert!(told.contains("the same command continues"), "{told}");
    }
    let told = String::from_utf8_lossy(&shell.run(&command).stderr).into_owned();
    assert!(told.contains("were answered before"), "{told}");
    assert_eq!(answers(&parts), expected);
}

#[test]
fn answers_come_on_standard_output_while_standard_input_is_open() {
    let shell = Shell::new();
    let model = shell.gguf("Q8_0.gguf");
    let mut child =
        start(&shell, &["run", &model, "--prompts", "-", "--out", "-", "--ignore-eos", "--max-tokens", "3"]);
    let mut asked = child.stdin.take().expect("stdin");
    let mut answered = BufReader::new(child.stdout.take().expect("stdout")).lines();
    for index in 1..=3 {
        writeln!(asked, "{}", json!({ "ids": [index, 5] })).expect("asks");
        let answer: Value = serde_json::from_str(&answered.next().expect("a line").expect("reads")).expect("JSON");
        assert_eq!(answer["index"], index);
        assert_eq!(answer["ids"].as_array().expect("ids").len(), 3, "{answer}");
    }
    drop(asked);
    assert!(answered.next().is_none());
    assert!(child.wait().expect("ends").success());
}
