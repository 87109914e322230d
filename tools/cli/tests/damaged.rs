//! A checkpoint whose cached split was damaged runs all the same, by the real command.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const BUDGET: [&str; 2] = ["--budget", "64MiB"];

struct Shell(tempfile::TempDir);

impl Shell {
    /// A folder with a checkpoint of two shards.
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/small/sharded");
        std::fs::create_dir(folder.path().join("checkpoint")).expect("made");
        for entry in std::fs::read_dir(from).expect("a folder").flatten() {
            std::fs::copy(entry.path(), folder.path().join("checkpoint").join(entry.file_name())).expect("copied");
        }
        std::fs::write(folder.path().join("ids.json"), "[1, 5, 9, 2]").expect("written");
        Self(folder)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tilestream"));
        command.args(arguments).current_dir(self.0.path()).env("XDG_CACHE_HOME", self.0.path().join("home"));
        command.output().expect("starts")
    }

    /// The ids that the checkpoint answers with, and what was said on stderr.
    #[track_caller]
    fn ids(&self) -> (serde_json::Value, String) {
        let prompt = ["run", "checkpoint", "--ids-file", "ids.json", "--max-tokens", "3", "--ignore-eos", "--json"];
        let output = self.run(&[&prompt[..], &BUDGET, &["--shards-dir", "cache"]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && !said.contains("panicked"), "{said}");
        (serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("JSON")["ids"].clone(), said)
    }

    /// The cache folders.
    fn cached(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.0.path().join("cache")).expect("a folder").flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    }
}

/// What happens to a file.
fn damage(path: &Path, how: &str) {
    let mut bytes = std::fs::read(path).expect("reads");
    let middle = bytes.len() / 2;
    match how {
        "flipped" => bytes[middle] ^= 1,
        "truncated" => bytes.truncate(middle),
        "zeroed" => bytes.fill(0),
        "garbage" => bytes.fill(b'x'),
        "longer" => bytes.push(0),
        "deleted" => return std::fs::remove_file(path).expect("removed"),
        _ => panic!("{how}"),
    }
    std::fs::write(path, bytes).expect("written");
}

#[test]
fn what_is_damaged_in_the_cache_is_made_again_and_said() {
    let shell = Shell::new();
    let (expected, said) = shell.ids();
    assert!(said.contains("splitting"), "{said}");
    assert!(!shell.ids().1.contains("written again"), "nothing is damaged");
    let [folder] = &shell.cached()[..] else { panic!("one folder") };
    for (file, hows) in [
        ("layer-00000.safetensors", &["flipped", "deleted", "longer"][..]),
        ("layer-00001.safetensors.sums", &["flipped", "truncated"]),
        ("embeddings.safetensors", &["zeroed"]),
        ("manifest.json", &["flipped", "garbage"]),
    ] {
        for how in hows {
            damage(&folder.join(file), how);
            let (ids, said) = shell.ids();
            assert_eq!(ids, expected, "{file} {how}: {said}");
            assert!(said.contains("written again") && said.contains(file), "{file} {how}: {said}");
        }
    }
    assert_eq!(shell.cached().len(), 1, "in its place");
    assert!(shell.run(&["verify", folder.to_str().expect("UTF-8")]).status.success());
    assert!(!shell.ids().1.contains("again"), "once");
}

#[test]
fn damage_found_by_a_command_that_cannot_begin_anew_is_repaired_by_the_next() {
    let shell = Shell::new();
    let (expected, _) = shell.ids();
    let [folder] = &shell.cached()[..] else { panic!("one folder") };
    let marker = folder.with_extension("damaged");
    damage(&folder.join("layer-00001.safetensors"), "zeroed");
    // As a process that had printed already leaves it.
    std::fs::write(&marker, "").expect("written");
    let (ids, said) = shell.ids();
    assert!(ids == expected && said.contains("is damaged") && said.contains("1 file was damaged"), "{said}");
    assert!(!marker.exists());
}

#[test]
fn another_template_or_tokenizer_makes_another_split() {
    let shell = Shell::new();
    shell.ids();
    for (name, text) in [("chat_template.jinja", "{{ messages }}"), ("chat_template.jinja", "{{ messagez }}")] {
        std::fs::write(shell.0.path().join("checkpoint").join(name), text).expect("written");
        assert!(shell.ids().1.contains("splitting"), "{text}");
    }
    assert!(!shell.ids().1.contains("splitting"));
}
