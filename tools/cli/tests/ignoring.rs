//! What an error says about `--ignore-field` is what the next command takes.
#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::shell::data;

/// Splits with flags as they would be pasted into a shell.
fn split(source: &Path, out: &Path, flags: &str) -> Output {
    let line = format!(r#""$0" split "$1" "$2" {flags}"#);
    let mut shell = Command::new("sh");
    shell.args(["-c", &line, env!("CARGO_BIN_EXE_tilestream")]).arg(source).arg(out);
    shell.output().expect("starts")
}

/// The flags that an error's remedy holds.
fn remedy(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let start = text.find("--ignore-field").unwrap_or_else(|| panic!("no remedy: {text}"));
    let end = text.find(" (when it is split)").unwrap_or_else(|| panic!("no end: {text}"));
    text[start..end].to_owned()
}

/// A checkpoint folder whose config has more fields.
fn changed(folder: &Path, family: &str, changes: &Value) -> PathBuf {
    let (from, to) = (data("families").join(family), folder.join(family));
    fs::create_dir_all(&to).expect("made");
    fs::copy(from.join("model.safetensors"), to.join("model.safetensors")).expect("copied");
    let mut config: Value = serde_json::from_slice(&fs::read(from.join("config.json")).expect("read")).expect("JSON");
    for (name, value) in changes.as_object().expect("an object") {
        config[name] = value.clone();
    }
    fs::write(to.join("config.json"), config.to_string()).expect("written");
    to
}

#[test]
fn a_remedy_that_is_followed_works() {
    let yarn = json!({ "type": "yarn", "factor": 2.0, "original_max_position_embeddings": 32, "finetuned": true,
        "attn_factor": 1.0, "extrapolation": { "factor": 1 } });
    let rope = json!({ "full_attention": { "rope_type": "default", "rope_theta": 1e6, "attn_factor": 1 },
        "sliding_attention": { "rope_type": "default", "rope_theta": 1e4, "twist": 2 } });
    let table = [
        ("qwen2", json!({ "wobble": 3 }), 1),
        ("qwen2", json!({ "rope_scaling": yarn }), 2),
        ("qwen2", json!({ "rope_scaling": yarn, "wobble": 3, "wibble": "text", "temperature": 0.6 }), 4),
        ("qwen2", json!({ "a.b": 1, "two words": 2, "it's": 3, "-x": 4, "$HOME": 5, "a": { "b": 1 } }), 6),
        ("gemma3-layer-types", json!({ "rope_scaling": null, "rope_parameters": rope }), 2),
    ];
    for (family, changes, unknown) in table {
        let folder = TempDir::new().expect("made");
        let (source, out) = (changed(folder.path(), family, &changes), folder.path().join("model"));
        let flags = remedy(&split(&source, &out, ""));
        assert_eq!(flags.matches("--ignore-field").count(), unknown, "{flags}");
        let again = split(&source, &out, &flags);
        assert!(again.status.success(), "{changes} with {flags}: {}", String::from_utf8_lossy(&again.stderr));
        let manifest: Value =
            serde_json::from_slice(&fs::read(out.join("manifest.json")).expect("read")).expect("JSON");
        tilestream::internals::plan::model_spec(&manifest["config"]).expect("the model opens");
    }
}

#[test]
fn a_remedy_for_a_gguf_file_works() {
    let folder = TempDir::new().expect("made");
    let (source, out) = (folder.path().join("small.gguf"), folder.path().join("model"));
    let mut bytes = fs::read(data("small-gguf/Q8_0.gguf")).expect("read");
    for (known, unknown) in [("llama.vocab_size", "llama.vocal_size"), ("llama.rope.freq_base", "llama.rope.freq_bass")]
    {
        let at = bytes.windows(known.len()).position(|part| part == known.as_bytes()).expect("the key");
        bytes[at..at + unknown.len()].copy_from_slice(unknown.as_bytes());
    }
    fs::write(&source, bytes).expect("written");
    let flags = remedy(&split(&source, &out, ""));
    assert_eq!(flags, "--ignore-field llama.rope.freq_bass --ignore-field llama.vocal_size");
    let again = split(&source, &out, &flags);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
}
