//! Replays the corpora that fuzzing has collected: each input once led the parsers a new way.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::path::Path;

fn replay(target: &str, run: fn(&[u8]) -> bool) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let (mut accepted, mut refused) = (0, 0);
    for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("an entry").path();
        let data = std::fs::read(&path).expect("an input");
        let outcome = std::panic::catch_unwind(|| run(&data));
        match outcome {
            Ok(true) => accepted += 1,
            Ok(false) => refused += 1,
            Err(_) => panic!("{} panics", path.display()),
        }
    }
    // A corpus that the parsers only refuse has gone stale.
    assert!(accepted >= 3 && refused >= 20, "{target}: {accepted} inputs accepted, {refused} refused");
}

#[test]
fn safetensors_headers() {
    replay("safetensors_header", targets::safetensors_header);
}

#[test]
fn gguf_headers() {
    replay("gguf_header", targets::gguf_header);
}

#[test]
fn pytorch_headers() {
    replay("pytorch_header", targets::pytorch_header);
}

#[test]
fn configs() {
    replay("config", targets::config);
}

#[test]
fn manifests() {
    replay("manifest", targets::manifest);
}

#[test]
fn tokenizers() {
    replay("tokenizer", targets::tokenizer);
}

#[test]
fn vocabularies() {
    replay("vocabulary", targets::vocabulary);
}

#[test]
fn chat_templates() {
    replay("chat_template", targets::chat_template);
}
