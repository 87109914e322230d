//! `chat` over a pipe: whatever a message or its answer comes to, the conversation goes on.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::shell::Shell;

/// The model of these tests has 64 positions; the first message takes 19 of them, a second one about 30 more.
const MODEL: &str = "Q8_0.gguf";

fn start(shell: &Shell, model: &str, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tilestream"));
    command.args(["chat", model, "--ignore-eos"]).args(more);
    command.env("XDG_CACHE_HOME", shell.path("cache")).env("XDG_STATE_HOME", shell.path("state"));
    command.current_dir(shell.folder.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a chat says when all of this is typed.
fn chat(shell: &Shell, model: &str, more: &[&str], typed: &str) -> (Output, String) {
    let mut child = start(shell, model, more).spawn().expect("starts");
    child.stdin.take().expect("stdin").write_all(typed.as_bytes()).expect("types");
    let output = child.wait_with_output().expect("ends");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !told.contains("panicked"), "{told}");
    (output, told)
}

fn saved(shell: &Shell, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(shell.path(name)).expect("saved");
    let saved: Value = serde_json::from_str(&text).expect("JSON");
    saved["messages"].as_array().expect("messages").clone()
}

/// Asserts that the texts stand in `told`, in this order.
fn in_order(told: &str, texts: &[&str]) {
    let mut rest = told;
    for text in texts {
        let at = rest.find(text).unwrap_or_else(|| panic!("{text:?} is not in {rest:?} of {told}"));
        rest = &rest[at + text.len()..];
    }
}

#[test]
fn a_conversation_outlives_full_contexts_and_wrong_commands() {
    let shell = Shell::new();
    let model = shell.gguf(MODEL);
    shell.write("other.json", "{\"messages\": [{\"role\": \"assistant\", \"content\": \"x\"}]}");
    let long = "long ".repeat(3000);
    let typed = [
        "\u{feff}hello",
        "/tokens",
        "/sav a.json",
        "/save a.json",
        &long,
        "/retry",
        "/undo",
        "/undo",
        "/load absent.json",
        "/load other.json",
        "/load a.json",
        "/undo",
        "/system be brief",
        "\"\"\"two",
        "lines\"\"\"",
        "/save b.json",
        "/system -",
        "/new",
        "//slash",
        "/save c.json",
        "/save other.json",
        "/exit",
        "never read",
    ];
    let (output, told) = chat(&shell, &model, &["--max-tokens", "6"], &(typed.join("\n") + "\n"));
    in_order(
        &told,
        &[
            "(cut at --max-tokens 6)",
            "of 64 tokens are taken",
            "/sav is no command: did you mean /save?",
            "saved to a.json",
            "not sent: ",
            "tokens too many for the 64 of the context",
            "temperature 0",
            "taken back: hello",
            "nothing to take back",
            "absent.json: ",
            "other.json: message 1 is of the assistant",
            "loaded; the last answer was",
            "taken back: hello",
            "the system prompt is set",
            "saved to b.json",
            "the system prompt is gone",
            "a new conversation",
            "saved to c.json",
            "other.json: is there and is no conversation",
        ],
    );
    assert!(!told.contains("never read"));
    let alone = shell.json(&["run", &model, "--prompt", "hello", "--max-tokens", "6", "--ignore-eos", "--json"]);
    let first = saved(&shell, "a.json");
    assert_eq!(first[0], json!({ "role": "user", "content": "hello" }), "without the byte order mark");
    assert_eq!(first[1]["content"], alone["text"]);
    let second = saved(&shell, "b.json");
    assert_eq!(second[0], json!({ "role": "system", "content": "be brief" }));
    assert_eq!(second[1], json!({ "role": "user", "content": "two\nlines" }));
    let third = saved(&shell, "c.json");
    assert_eq!((third.len(), &third[0]["content"]), (2, &json!("/slash")));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().next(), alone["text"].as_str());
    assert!(!shell.path("state").exists(), "a pipe leaves no history");
}

#[test]
fn the_oldest_messages_give_way_and_another_seed_gives_another_answer() {
    let shell = Shell::new();
    let model = shell.gguf(MODEL);
    let options = ["--max-tokens", "6", "--when-full", "drop-oldest", "--temperature", "1.5", "--system", "s"];
    let typed = "hello\nagain\n/save a.json\n/retry\n/save b.json\nmore\nand more\n/tokens\n/save c.json\n";
    let (output, told) = chat(&shell, &model, &options, typed);
    in_order(&told, &["oldest messages and their answers are left out", "of 64 tokens", "are left out"]);
    assert!(!told.contains("not sent"), "{told}");
    let (before, after, all) = (saved(&shell, "a.json"), saved(&shell, "b.json"), saved(&shell, "c.json"));
    assert_eq!((before.len(), after.len(), all.len()), (5, 5, 9), "what is left out is saved too");
    assert_eq!(before[..4], after[..4]);
    assert_ne!(before[4], after[4], "another answer");
    assert_eq!(all[0], json!({ "role": "system", "content": "s" }));
    assert!(all.iter().all(|message| message["content"] != ""), "{all:?}");
    assert!(output.stdout.ends_with(b"\n"));
}

#[test]
fn an_answer_that_was_cut_goes_on_as_if_it_had_not_been() {
    let shell = Shell::new();
    let model = shell.gguf(MODEL);
    for options in [&[][..], &["--temperature", "1.5", "--seed", "7"], &["--repetition-penalty", "1.4"]] {
        let whole = ["run", &model, "--prompt", "hello", "--max-tokens", "12", "--ignore-eos", "--json"];
        let whole = shell.json(&[&whole[..], options].concat());
        let typed = "/continue\nhello\n/continue\n/continue\n/save a.json\n/undo\n/continue\n";
        let (_, told) = chat(&shell, &model, &[&["--max-tokens", "4"], options].concat(), typed);
        let cut = "(cut at --max-tokens 4)";
        in_order(
            &told,
            &["no answer that was stopped", cut, cut, cut, "saved", "taken back", "no answer that was stopped"],
        );
        let talk = saved(&shell, "a.json");
        assert_eq!((talk.len(), &talk[1]["content"]), (2, &whole["text"]), "{options:?}");
    }
    // What fills the context, and what was loaded, cannot go on.
    let turn = |role: &str| json!({ "role": role, "content": "a" });
    shell.write("b.json", &json!({ "messages": [turn("user"), turn("assistant")] }).to_string());
    let typed = "hello\n/continue\n/load b.json\n/continue\n";
    let (_, told) = chat(&shell, &model, &["--max-tokens", "100"], typed);
    in_order(&told, &["context of 64 tokens is full", "not sent", "loaded", "no answer that was stopped"]);
}

#[test]
fn an_answer_that_fails_leaves_the_conversation() {
    let shell = Shell::new();
    let model = shell.gguf(MODEL);
    let folder = shell.path("model").display().to_string();
    shell.ok(&["split", &model, &folder]);
    let shard = shell.path("model").join("layer-00001.safetensors");
    let good = std::fs::read(&shard).expect("reads");
    let mut bad = good.clone();
    let at = bad.len() - 100;
    bad[at] ^= 8;
    std::fs::write(&shard, &bad).expect("writes");
    let mut child = start(&shell, &folder, &["--max-tokens", "4"]).spawn().expect("starts");
    let mut typed = child.stdin.take().expect("stdin");
    let mut told = BufReader::new(child.stderr.take().expect("stderr")).lines().map(|line| line.expect("UTF-8"));
    let mut answers = BufReader::new(child.stdout.take().expect("stdout")).split(b'\n');
    writeln!(typed, "hello").expect("types");
    assert!(told.any(|line| line.contains("the answer failed") && line.contains("layer-00001.safetensors")));
    std::fs::write(&shard, &good).expect("writes");
    writeln!(typed, "/retry\n/save a.json").expect("types");
    assert!(!answers.next().expect("an answer").expect("reads").is_empty());
    assert!(told.any(|line| line.contains("saved to a.json")));
    assert_eq!(saved(&shell, "a.json").len(), 2);
    #[cfg(unix)]
    {
        let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
        assert!(interrupt.success());
        assert_eq!(child.wait().expect("ends").code(), Some(130), "nobody sits there to go on");
    }
    drop(typed);
    let _ = child.wait();
}
