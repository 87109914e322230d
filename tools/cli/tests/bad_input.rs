//! Files that lie, are cut off or broken, given to the real command: one line that names the file and the thing, and
//! nothing left behind.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::shell::data;

struct Case {
    /// What is wrong.
    name: &'static str,
    /// Breaks the checkpoint in a folder.
    spoil: fn(&Path),
    /// What the message must hold.
    says: &'static [&'static str],
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("reads");
    change(&mut bytes);
    fs::write(path, bytes).expect("writes");
}

/// Replaces text in a file, without changing its length where the texts are equally long.
fn replace(path: &Path, from: &str, to: &str) {
    edit(path, |bytes| {
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).expect("the text is there");
        bytes.splice(at..at + from.len(), to.bytes());
    });
}

const CASES: &[Case] = &[
    Case {
        name: "an empty config",
        spoil: |folder| fs::write(folder.join("config.json"), "").expect("writes"),
        says: &["config.json"],
    },
    Case {
        name: "a config without a needed field",
        spoil: |folder| replace(&folder.join("config.json"), "\"hidden_size\"", "\"hidden_sise\""),
        says: &["config.json", "hidden_size"],
    },
    Case {
        name: "an unknown architecture",
        spoil: |folder| replace(&folder.join("config.json"), "LlamaForCausalLM", "MambaForCausalLM"),
        says: &["config.json", "MambaForCausalLM", "LlamaForCausalLM"],
    },
    Case {
        name: "no config",
        spoil: |folder| fs::remove_file(folder.join("config.json")).expect("removes"),
        says: &["config.json"],
    },
    Case {
        name: "a PyTorch file of transposed weights",
        spoil: |folder| {
            fs::remove_file(folder.join("model.safetensors")).expect("removes");
            fs::copy(data("pytorch/transposed.bin"), folder.join("pytorch_model.bin")).expect("copies");
        },
        says: &["pytorch_model.bin", "model.norm.weight", "contiguous()"],
    },
    Case {
        name: "a PyTorch file of long ago",
        spoil: |folder| {
            fs::remove_file(folder.join("model.safetensors")).expect("removes");
            fs::copy(data("pytorch/legacy.bin"), folder.join("pytorch_model.bin")).expect("copies");
        },
        says: &["pytorch_model.bin", "PyTorch before 1.6", "safetensors"],
    },
    Case {
        name: "weights cut off",
        spoil: |folder| edit(&folder.join("model.safetensors"), |bytes| bytes.truncate(bytes.len() - 100)),
        says: &["model.safetensors"],
    },
    Case {
        name: "empty weights",
        spoil: |folder| fs::write(folder.join("model.safetensors"), "").expect("writes"),
        says: &["model.safetensors"],
    },
    Case {
        name: "a header of a huge size",
        spoil: |folder| edit(&folder.join("model.safetensors"), |bytes| bytes[..8].fill(0x7f)),
        says: &["model.safetensors"],
    },
    Case {
        name: "a flipped bit in the header",
        spoil: |folder| edit(&folder.join("model.safetensors"), |bytes| bytes[9] ^= 0x80),
        says: &["model.safetensors"],
    },
    Case {
        name: "a missing tensor",
        spoil: |folder| replace(&folder.join("model.safetensors"), "model.norm.weight", "model.warm.weight"),
        says: &["model.norm.weight"],
    },
    Case {
        name: "a wrong shape",
        spoil: |folder| replace(&folder.join("config.json"), "\"intermediate_size\": ", "\"intermediate_size\": 1"),
        says: &["mlp."],
    },
    Case {
        name: "a broken tokenizer",
        spoil: |folder| fs::write(folder.join("tokenizer.json"), "{\"model\": {}}").expect("writes"),
        says: &["tokenizer.json"],
    },
    Case {
        name: "a tokenizer of a class that is not known",
        spoil: |folder| {
            fs::copy(data("tokenizers/small.tiktoken"), folder.join("tokenizer.model")).expect("copies");
            fs::write(folder.join("tokenizer_config.json"), r#"{"tokenizer_class": "NewTokenizer"}"#).expect("writes");
        },
        says: &["tokenizer.model", "NewTokenizer", "tokenizer.json"],
    },
    Case {
        name: "a broken chat template",
        spoil: |folder| {
            let config = "{\"chat_template\": \"{% for message in messages %}\"}";
            fs::write(folder.join("tokenizer_config.json"), config).expect("writes");
        },
        says: &["tokenizer_config.json", "template"],
    },
    Case {
        name: "an index that names a file which is not there",
        spoil: |folder| {
            let index = "{\"weight_map\": {\"model.norm.weight\": \"gone.safetensors\"}}";
            fs::remove_file(folder.join("model.safetensors")).expect("removes");
            fs::write(folder.join("model.safetensors.index.json"), index).expect("writes");
        },
        says: &["gone.safetensors"],
    },
    Case {
        name: "an index that leaves its folder",
        spoil: |folder| {
            let index = "{\"weight_map\": {\"model.norm.weight\": \"../../etc/passwd\"}}";
            fs::remove_file(folder.join("model.safetensors")).expect("removes");
            fs::write(folder.join("model.safetensors.index.json"), index).expect("writes");
        },
        says: &["model.safetensors.index.json"],
    },
];

/// The exit code and stderr.
fn tilestream(arguments: &[&Path]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tilestream")).args(arguments).output().expect("the command starts");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
}

fn refused(name: &str, checkpoint: &Path, out: &Path, says: &[&str]) {
    let (code, text) = tilestream(&[Path::new("split"), checkpoint, out]);
    assert_eq!(code, Some(1), "{name}: {text}");
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("tilestream: ")).collect();
    let [line] = lines[..] else { panic!("{name}: not one line but {text}") };
    println!("{name}: {line}");
    for part in says {
        assert!(line.contains(part), "{name}: '{part}' is missing in: {line}");
    }
    assert!(!text.contains("panicked"), "{name}: {text}");
    assert!(!out.exists(), "{name} leaves {} behind", out.display());
}

#[test]
fn each_broken_folder_is_refused_by_name_and_leaves_nothing() {
    for case in CASES {
        let folder = tempfile::tempdir().expect("a folder");
        let checkpoint = folder.path().join("checkpoint");
        fs::create_dir(&checkpoint).expect("a folder");
        for file in ["config.json", "model.safetensors"] {
            fs::copy(data("small/gqa").join(file), checkpoint.join(file)).expect("copies");
        }
        (case.spoil)(&checkpoint);
        refused(case.name, &checkpoint, &folder.path().join("out"), case.says);
    }
}

#[test]
fn a_model_without_a_tokenizer_says_what_was_looked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoint = data("small/gqa");
    let arguments = ["run".as_ref(), checkpoint.as_path(), "--raw".as_ref(), "--prompt".as_ref(), "hi".as_ref()];
    let (code, text) = tilestream(&[&arguments[..], &["--shards-dir".as_ref(), folder.path()]].concat());
    assert_eq!(code, Some(1), "{text}");
    for part in ["no tokenizer", "tokenizer.json", "tokenizer.model", "tiktoken", "merges.txt", "--ids-file"] {
        assert!(text.contains(part), "'{part}' is missing in: {text}");
    }
}

#[test]
fn each_broken_gguf_is_refused_by_name_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.gguf");
    let good = fs::read(data("small-gguf/Q8_0.gguf")).expect("reads");
    let flip = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] = 0xff;
        bytes
    };
    let cases = [
        ("empty", Vec::new()),
        ("cut in the header", good[..good.len().min(200)].to_vec()),
        ("cut in the data", good[..good.len() - 1000].to_vec()),
        ("another magic", flip(0)),
        ("another version", flip(4)),
        ("a huge number of tensors", flip(15)),
        ("a huge number of fields", flip(23)),
    ];
    for (name, bytes) in cases {
        fs::write(&path, bytes).expect("writes");
        refused(name, &path, &folder.path().join("out"), &["model.gguf"]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn folders_that_cannot_be_read_or_written_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoint = data("small/gqa");
    // A file where a folder is needed refuses even the superuser.
    let file = folder.path().join("file");
    fs::write(&file, "").expect("writes");
    let (code, text) = tilestream(&[Path::new("split"), &checkpoint, &file.join("out")]);
    assert!(code == Some(1) && text.contains("file/out"), "{text}");
    let (code, text) = tilestream(&[Path::new("verify"), &file]);
    assert!(code == Some(2) && text.contains("file: not a folder"), "{text}");
    let (code, text) = tilestream(&[Path::new("split"), &checkpoint, Path::new("/proc/out")]);
    assert!(code == Some(1) && text.contains("/proc/out"), "{text}");
}

/// A limit on the size of files fails a write in the middle of a shard, as a full disk does.
#[cfg(target_os = "linux")]
#[test]
fn a_write_that_fails_leaves_nothing_that_looks_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let (checkpoint, out) = (data("small/gqa"), folder.path().join("out"));
    let script = "ulimit -f 40; trap '' XFSZ; exec \"$0\" split \"$1\" \"$2\"";
    let arguments = [Path::new(env!("CARGO_BIN_EXE_tilestream")), &checkpoint, &out];
    let limited = Command::new("sh").args(["-c", script]).args(arguments).output().expect("a shell");
    let text = String::from_utf8_lossy(&limited.stderr);
    assert_eq!(limited.status.code(), Some(1), "{text}");
    assert!(text.contains("tilestream: ") && text.contains("safetensors"), "{text}");
    assert!(!out.join("manifest.json").exists());
    let (code, text) = tilestream(&[Path::new("verify"), &out]);
    assert!(code == Some(1), "a half-made model is none: {text}");
    let (code, text) = tilestream(&[Path::new("split"), &checkpoint, &out]);
    assert!(code == Some(0) && out.join("manifest.json").exists(), "the next split ends it: {text}");
    let (code, text) = tilestream(&[Path::new("verify"), &out]);
    assert_eq!(code, Some(0), "{text}");
}

/// Killed at many moments, with and without `--delete-original`, and always ended by the next run.
#[cfg(unix)]
#[test]
fn a_split_that_is_killed_is_ended_by_the_next() {
    use std::time::Duration;
    for (round, delete) in [(0, false), (1, true), (2, true), (3, false), (5, true), (8, true), (13, true)] {
        let folder = tempfile::tempdir().expect("a folder");
        let (checkpoint, out) = (folder.path().join("checkpoint"), folder.path().join("out"));
        fs::create_dir(&checkpoint).expect("a folder");
        for entry in fs::read_dir(data("small/sharded")).expect("lists") {
            let entry = entry.expect("an entry");
            if entry.file_name() == "golden.safetensors" {
                continue;
            }
            fs::copy(entry.path(), checkpoint.join(entry.file_name())).expect("copies");
        }
        let command = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_tilestream"));
            command.arg("split").arg(&checkpoint).arg(&out).stderr(std::process::Stdio::piped());
            if delete {
                command.arg("--delete-original");
            }
            command
        };
        let mut killed = command().spawn().expect("starts");
        std::thread::sleep(Duration::from_millis(2 * round));
        killed.kill().expect("is killed");
        killed.wait().expect("ends");
        let ended = command().output().expect("starts");
        let text = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "round {round}: {text}");
        let (code, text) = tilestream(&[Path::new("verify"), &out]);
        assert_eq!(code, Some(0), "round {round}: {text}");
        let left = fs::read_dir(&checkpoint).expect("lists").flatten();
        let left = left.filter(|entry| entry.path().extension().is_some_and(|kind| kind == "safetensors")).count();
        assert_eq!(left == 0, delete, "round {round}: {left} originals left");
    }
}
