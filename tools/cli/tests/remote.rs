//! A model on a web server, run by the real command: streamed, kept, and run again with the server gone.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::server::{Act, Server};

struct Site {
    folder: tempfile::TempDir,
    process: Child,
    address: String,
}

impl Drop for Site {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn tilestream() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tilestream"))
}

impl Site {
    /// A small model, split and served.
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/small-gguf/Q4_K.gguf");
        let model = folder.path().join("site/small");
        let split = tilestream().arg("split").arg(data).arg(&model).output().expect("starts");
        assert!(split.status.success(), "{}", String::from_utf8_lossy(&split.stderr));
        let mut command = tilestream();
        command.arg("host").arg(folder.path().join("site")).args(["--port", "0"]).stderr(Stdio::piped());
        let mut process = command.spawn().expect("starts");
        let mut lines = BufReader::new(process.stderr.take().expect("piped")).lines();
        let first = lines.next().expect("a line").expect("UTF-8");
        let start = first.find("http://").expect("an address");
        let address = first[start..].split_whitespace().next().expect("an address").to_owned();
        std::thread::spawn(move || lines.for_each(drop));
        Self { folder, process, address: format!("{address}small/") }
    }

    fn run(&self, model: &str, more: &[&str]) -> Output {
        let prompt = ["--prompt", "hello", "--max-tokens", "5", "--ignore-eos", "--json"];
        let mut command = tilestream();
        command.args(["run", model]).args(prompt).args(more).env("XDG_CACHE_HOME", self.folder.path().join("cache"));
        command.output().expect("starts")
    }

    fn ids(&self, model: &str, more: &[&str]) -> Value {
        let output = self.run(model, more);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")["ids"].clone()
    }

    fn local(&self) -> PathBuf {
        self.folder.path().join("site/small")
    }
}

#[test]
fn what_was_fetched_runs_without_the_server() {
    let mut site = Site::new();
    let local = site.local();
    let expected = site.ids(local.to_str().expect("UTF-8"), &[]);
    let address = site.address.clone();
    assert_eq!(site.ids(&address, &[]), expected, "from the server");
    site.process.kill().expect("is killed");
    site.process.wait().expect("ends");
    assert_eq!(site.ids(&address, &[]), expected, "from the cache");
    assert_eq!(site.ids(&address, &["--budget", "20MiB"]), expected, "from the cache, at another budget");
}

#[test]
fn a_byte_that_changed_on_the_server_is_found_and_named() {
    let site = Site::new();
    let shard = site.local().join("layer-00000.safetensors");
    let mut bytes = std::fs::read(&shard).expect("reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&shard, bytes).expect("writes");
    let output = site.run(&site.address, &[]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("layer-00000.safetensors") && text.contains("checksum"), "{text}");
}

#[test]
fn a_cache_that_was_damaged_is_verified_and_heals() {
    let mut site = Site::new();
    let address = site.address.clone();
    let expected = site.ids(&address, &[]);
    let web = site.folder.path().join("cache/tilestream/web");
    let cache = std::fs::read_dir(&web).expect("a cache").flatten().next().expect("a model's folder").path();
    let verify = || tilestream().arg("verify").arg(&cache).output().expect("starts");
    let output = verify();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("lie here and match their checksums"), "{text}");
    let shard = cache.join("layer-00000.safetensors");
    let mut bytes = std::fs::read(&shard).expect("reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&shard, bytes).expect("writes");
    std::fs::remove_file(cache.join("tokenizer.json")).expect("removes");
    let output = verify();
    let (found, text) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(found.contains("layer-00000.safetensors") && found.contains("tokenizer.json"), "{found}");
    assert!(text.contains("the next run fetches them again"), "{text}");
    assert_eq!(site.ids(&address, &[]), expected, "what is bad is fetched again");
    assert!(verify().status.success());
    site.process.kill().expect("is killed");
    site.process.wait().expect("ends");
    assert_eq!(site.ids(&address, &[]), expected, "healed");
}

#[test]
fn what_is_fetched_slowly_shows_its_rate_and_the_time_left() {
    let site = Site::new();
    let read = |file: std::io::Result<std::fs::DirEntry>| {
        let path = file.expect("readable").path();
        (path.file_name().expect("named").to_string_lossy().into_owned(), std::fs::read(&path).expect("reads"))
    };
    let server = Server::new(std::fs::read_dir(site.local()).expect("lists").map(read));
    // Ten seconds, say: a line comes every five.
    server.usually(Act::Trickle(250));
    let told = || {
        let output = site.run(&server.url(), &[]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{text}");
        (serde_json::from_slice::<Value>(&output.stdout).expect("JSON")["ids"].clone(), text)
    };
    let (ids, text) = told();
    assert_eq!(ids, site.ids(site.local().to_str().expect("UTF-8"), &[]));
    let line = text.lines().find(|line| line.starts_with("fetching: ")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains(" %, ") && line.contains("/s, ") && line.contains(" left, Q4_K"), "{line}");
    let (again, text) = told();
    assert!(again == ids && !text.contains("fetching: "), "{text}");
}

#[test]
fn an_address_without_a_model_says_what_to_do() {
    let site = Site::new();
    let output = site.run(&site.address.replace("small/", "large/"), &[]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && text.contains("large/manifest.json"), "{text}");
}
