//! Models of a hub, run and split by the real command.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::hub_server::{Hub, REPO, Seen};
use crate::shell::{data, told};

struct Shell {
    folder: tempfile::TempDir,
    endpoint: String,
}

impl Shell {
    fn new(hub: &Hub) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ids.json"), "[1, 5, 9, 2]").expect("writes");
        Self { folder, endpoint: hub.url() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tilestream"));
        command.args(arguments).current_dir(self.folder.path());
        for variable in ["HF_TOKEN", "HF_TOKEN_PATH", "HF_HOME"] {
            command.env_remove(variable);
        }
        command.env("HF_ENDPOINT", &self.endpoint).env("XDG_CACHE_HOME", self.path("cache"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the command starts")
    }

    fn generate(&self, model: &str, more: &[&str]) -> Output {
        let prompt = ["run", model, "--ids-file", "ids.json", "--max-tokens", "5", "--ignore-eos", "--json"];
        self.run(&[&prompt[..], &["--budget", "64MiB"], more].concat())
    }

    fn ids(&self, model: &str, more: &[&str]) -> (Value, String) {
        let output = self.generate(model, more);
        let text = told(&output);
        assert!(output.status.success(), "{text}");
        (serde_json::from_slice::<Value>(&output.stdout).expect("JSON")["ids"].clone(), text)
    }

    fn fails(&self, model: &str, more: &[&str]) -> String {
        let output = self.generate(model, more);
        assert!(!output.status.success(), "{model} {more:?}");
        told(&output)
    }
}

#[test]
fn a_model_of_the_hub_says_what_its_checkpoint_says_and_stays() {
    let hub = Hub::of_folder(&data("small/sharded"));
    let shell = Shell::new(&hub);
    let (expected, _) = shell.ids(data("small/sharded").to_str().expect("UTF-8"), &[]);
    let (ids, text) = shell.ids(REPO, &[]);
    assert_eq!(ids, expected);
    assert!(text.contains("splitting org/name (commit "), "{text}");
    let seen = hub.take_seen();
    assert!(seen.iter().all(|seen| !seen.path.contains("golden")), "only what is needed");
    assert_eq!(shell.ids(REPO, &[]).0, expected);
    assert!(hub.take_stored().is_empty(), "the second run only asks for news");

    let mut files: Vec<_> = std::fs::read_dir(data("small/sharded")).expect("a folder").flatten().collect();
    files.retain(|file| file.file_name() != "golden.safetensors");
    let read = |file: &std::fs::DirEntry| {
        (file.file_name().into_string().expect("UTF-8"), std::fs::read(file.path()).expect("reads"))
    };
    let readme = ("README.md".to_owned(), vec![b'x'; 2000]);
    hub.push(files.iter().map(read).chain([readme.clone()]));
    shell.ids(REPO, &[]);
    hub.take_seen();
    hub.push(files.iter().map(read).chain([(readme.0, vec![b'y'; 2000])]));
    assert_eq!(shell.ids(REPO, &[]).0, expected);
    assert!(hub.take_stored().is_empty(), "a commit that changes no weights brings nothing to fetch");

    drop(hub);
    let (ids, text) = shell.ids(REPO, &[]);
    assert_eq!(ids, expected, "without the network");
    assert!(text.contains("as it was when it was split"), "{text}");
}

/// A repository without `tokenizer.json`: the file that it has in its place is fetched, and watched for changes.
#[test]
fn a_tokenizer_in_another_form_comes_along() {
    let read = |name: &str| std::fs::read(data(name)).expect("reads");
    let files = |tokenizer: &str| {
        let names =
            ["config.json", "model.safetensors"].map(|name| (name.to_owned(), read(&format!("small/gqa/{name}"))));
        names.into_iter().chain([("tokenizer.model".to_owned(), read(tokenizer))]).collect::<Vec<_>>()
    };
    let hub = Hub::new(files("tokenizers/plain.model"));
    let shell = Shell::new(&hub);
    let output = shell.run(&["split", REPO, "model"]);
    assert!(output.status.success(), "{}", told(&output));
    let made: Value =
        serde_json::from_slice(&std::fs::read(shell.path("model/tokenizer.json")).expect("reads")).expect("JSON");
    assert_eq!(made["model"]["vocab"]["</s>"], 2);
    assert!(shell.ids(REPO, &[]).1.contains("splitting"));
    assert!(!shell.ids(REPO, &[]).1.contains("splitting"));
    hub.push(files("tokenizers/llama.model"));
    assert!(shell.ids(REPO, &[]).1.contains("splitting"), "another tokenizer makes another model");
    hub.push(files("tokenizers/merges.txt"));
    let text = shell.fails(REPO, &[]);
    assert!(text.contains("tokenizer.model") && text.contains("SentencePiece"), "{text}");
}

fn finished(model: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(model).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "safetensors")).collect()
}

/// Bytes that were asked for, headers apart.
fn bytes(seen: &[Seen]) -> u64 {
    seen.iter().filter_map(|seen| seen.range).map(|(first, end)| end - first).sum()
}

#[cfg(unix)]
#[test]
fn an_interrupted_split_is_continued_without_fetching_again() {
    let hub = Hub::of_folder(&data("small/sharded"));
    let shell = Shell::new(&hub);
    assert!(shell.run(&["split", REPO, "whole"]).status.success());
    let all = bytes(&hub.take_stored());

    hub.slow(60);
    let out = shell.path("model");
    let mut command = shell.command(&["split", REPO, "model"]);
    let process = command.stderr(std::process::Stdio::piped()).spawn().expect("starts");
    let start = Instant::now();
    while finished(&out).len() < 2 {
        assert!(start.elapsed() < Duration::from_secs(60), "two shards are written");
        std::thread::sleep(Duration::from_millis(5));
    }
    let interrupt = Command::new("kill").args(["-INT", &process.id().to_string()]).status().expect("starts");
    assert!(interrupt.success());
    let output = process.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(130));
    assert!(told(&output).contains("the same split command continues it"), "{}", told(&output));
    assert!(!out.join("manifest.json").exists());
    let kept: u64 = finished(&out).iter().map(|file| file.metadata().expect("is there").len()).sum();
    hub.slow(0);
    hub.take_seen();

    assert!(shell.run(&["split", REPO, "model"]).status.success());
    let rest = bytes(&hub.take_stored());
    // Vectors are stored wider than they were fetched.
    assert!(rest < all - kept / 2, "{rest} of {all} bytes, although {kept} were there");
    for file in finished(&shell.path("whole")) {
        let name = file.file_name().expect("named");
        assert!(std::fs::read(&file).expect("reads") == std::fs::read(out.join(name)).expect("reads"), "{name:?}");
    }
}

#[test]
fn a_gated_model_wants_a_token_from_any_of_its_places() {
    let hub = Hub::of_folder(&data("small/gqa"));
    hub.gate("hf_secret");
    let shell = Shell::new(&hub);
    let text = shell.fails(REPO, &[]);
    let page = format!("{}/{REPO}", hub.url());
    assert!(text.contains("gated") && text.contains(&page) && text.contains("--hf-token"), "{text}");
    let text = shell.fails(REPO, &["--hf-token", "hf_wrong"]);
    assert!(text.contains("settings/tokens") && !text.contains("hf_wrong"), "{text}");
    assert!(!shell.path("cache/tilestream").exists(), "nothing is left");

    shell.ids(REPO, &["--hf-token", "hf_secret"]);
    for (variable, value) in [("HF_TOKEN", "hf_secret"), ("HF_TOKEN_PATH", "kept"), ("HF_HOME", "home")] {
        std::fs::create_dir_all(shell.path("home")).expect("made");
        std::fs::write(shell.path("kept"), "hf_secret\n").expect("writes");
        std::fs::write(shell.path("home/token"), " hf_secret \n").expect("writes");
        let out = format!("by-{variable}");
        let output = shell.command(&["split", REPO, &out]).env(variable, value).output().expect("starts");
        assert!(output.status.success(), "{variable}: {}", told(&output));
    }
    std::fs::create_dir_all(shell.path("cache/huggingface")).expect("made");
    std::fs::write(shell.path("cache/huggingface/token"), "hf_secret").expect("writes");
    assert!(shell.run(&["split", REPO, "by-file"]).status.success());
    for seen in hub.take_seen() {
        assert!(!seen.at_storage || seen.authorization.is_none(), "{}", seen.path);
    }
}

#[test]
fn one_of_several_files_is_chosen_by_name() {
    let names = ["Q4_0.gguf", "Q8_0.gguf"];
    let hub =
        Hub::new(names.map(|name| (name.to_owned(), std::fs::read(data("small-gguf").join(name)).expect("reads"))));
    let shell = Shell::new(&hub);
    let text = shell.fails(REPO, &[]);
    assert!(names.iter().all(|name| text.contains(name)) && text.contains("--file"), "{text}");
    let (expected, _) = shell.ids(data("small-gguf/Q8_0.gguf").to_str().expect("UTF-8"), &[]);
    hub.take_seen();
    assert_eq!(shell.ids(REPO, &["--file", "Q8_0.gguf"]).0, expected);
    assert!(hub.take_stored().iter().all(|seen| seen.path.contains("Q8_0")));
    let text = shell.fails(REPO, &["--file", "Q2_K.gguf"]);
    assert!(text.contains("Q2_K.gguf") && text.contains("no such file"), "{text}");
}

#[test]
fn a_file_in_a_folder_is_taken_by_its_path() {
    let read = |name: &str| std::fs::read(data("small-gguf").join(name)).expect("reads");
    let hub = Hub::new(["Q4_0", "Q8_0"].map(|name| (format!("{name}/model.gguf"), read(&format!("{name}.gguf")))));
    let shell = Shell::new(&hub);
    let text = shell.fails(REPO, &[]);
    assert!(text.contains("no checkpoint here") && text.contains("--file FOLDER/NAME"), "{text}");
    for name in ["Q4_0", "Q8_0"] {
        let (expected, _) = shell.ids(data(&format!("small-gguf/{name}.gguf")).to_str().expect("UTF-8"), &[]);
        let file = format!("{name}/model.gguf");
        hub.take_seen();
        assert_eq!(shell.ids(REPO, &["--file", &file]).0, expected, "{name}");
        assert!(hub.take_stored().iter().all(|seen| seen.path.contains(&file)));
    }
    for (file, says) in
        [("Q9_0/model.gguf", "no such file"), ("Q8_0/absent.gguf", "absent.gguf"), ("../x.gguf", "--file")]
    {
        let text = shell.fails(REPO, &["--file", file]);
        assert!(text.contains(says), "{text}");
    }
}

#[test]
fn a_model_in_several_gguf_files_is_taken_whole() {
    let names = [1, 2, 3].map(|number| format!("qwen2-0000{number}-of-00003.gguf"));
    let parts = data("families-gguf/parts");
    let bytes = |name: &String| std::fs::read(parts.join(name)).expect("reads");
    let hub = Hub::new(names.each_ref().map(|name| (name.clone(), bytes(name))));
    let shell = Shell::new(&hub);
    let (expected, _) = shell.ids(data("families-gguf/qwen2.gguf").to_str().expect("UTF-8"), &[]);
    assert_eq!(shell.ids(REPO, &[]).0, expected);
    assert_eq!(shell.ids(REPO, &["--file", &names[0]]).0, expected);
    assert_eq!(shell.ids(parts.join(&names[0]).to_str().expect("UTF-8"), &[]).0, expected);
    assert!(shell.path("cache/tilestream").read_dir().expect("the cache").flatten().any(|folder| {
        let name = folder.file_name().to_string_lossy().into_owned();
        name.starts_with("qwen2-") && !name.contains("-of-")
    }));
}

#[test]
fn a_local_path_goes_first_and_what_is_neither_says_so() {
    let hub = Hub::of_folder(&data("small/gqa"));
    let shell = Shell::new(&hub);
    std::fs::create_dir_all(shell.path(REPO)).expect("made");
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(data("small/gqa").join(name), shell.path(REPO).join(name)).expect("copies");
    }
    shell.ids(REPO, &[]);
    assert!(hub.take_seen().is_empty(), "the hub is not asked");
    let text = shell.fails("not-there", &[]);
    assert!(text.contains("not-there") && text.contains("ORG/NAME"), "{text}");
    let text = shell.fails("other/absent", &[]);
    assert!(text.contains("no such file or folder here") && text.contains("check the name"), "{text}");
    hub.take_seen();
    // A folder that is there can only be meant as one, and so can what ends like a file.
    for (path, meant) in
        [("org/nmae", "did you mean org/name?"), ("absent.gguf", "check the path"), ("./x", "ORG/NAME")]
    {
        let text = shell.fails(path, &[]);
        assert!(text.contains(meant), "{text}");
    }
    assert!(hub.take_seen().is_empty(), "the hub is not asked");
    // The Hub's first models have no organisation.
    let text = shell.fails("gpt2", &[]);
    assert!(text.contains("gpt2: there is no such file or folder here, so the Hub was asked"), "{text}");
    assert!(hub.take_seen().iter().any(|seen| seen.path.contains("models/gpt2")), "the hub is asked");
    let text = shell.fails(&format!("{REPO}@v9"), &[]);
    assert!(text.contains("\"v9\""), "{text}");
    let text = shell.fails(REPO, &["--file", "model.safetensors"]);
    assert!(text.contains("--file is for models on the Hub"), "{text}");
}
