//! The same where something else runs: a server, a hub, another process, a chat.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use super::{Place, Step};
use crate::hub_server::{Hub, REPO};
use crate::shell::{data, told};

/// `tilestream host`, until it is dropped.
struct Serving {
    process: Child,
    /// What it said at its start.
    said: String,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Serving {
    fn start(place: &Place, line: &str) -> Self {
        // The shell must not stand between the test and the process that it ends.
        let mut process = place.shell(&format!("exec {line}")).stderr(Stdio::piped()).spawn().expect("starts");
        let mut lines = BufReader::new(process.stderr.take().expect("piped")).lines();
        let mut said = String::new();
        // What it says of its page and its models are the last lines.
        while let Some(Ok(line)) = lines.next() {
            said += &format!("{line}\n");
            if line.starts_with("  ") || line.starts_with("no split models") || line.starts_with("tilestream: ") {
                break;
            }
        }
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, said }
    }

    fn address(&self) -> &str {
        let (_, rest) = self.said.split_once("http://").unwrap_or_else(|| panic!("{}", self.said));
        rest.split('/').next().expect("an address")
    }

    fn get(&self, path: &str, host: &str) -> String {
        let mut stream = TcpStream::connect(self.address()).expect("connects");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sends");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// Follows what a command that fails says; the last must work.
fn follow(place: &Place, line: &str, steps: &[Step]) {
    let mut line = line.to_owned();
    for step in steps {
        let output = place.run(&line);
        let message = told(&output);
        println!("$ {line}\n  {}", message.trim_end());
        assert!(!output.status.success(), "{line}");
        line = step.follow(place, &line, &message);
    }
    place.ok(&line);
}

fn site() -> Place {
    let place = Place::new();
    place.copy("small-gguf/Q8_0.gguf", "model.gguf");
    fs::create_dir(place.path("site")).expect("made");
    fs::create_dir(place.path("empty")).expect("made");
    place
}

const SERVE: &str = "tilestream host site --page empty --port 0";

#[test]
fn a_server_that_cannot_listen_names_what_can() {
    let place = site();
    let first = Serving::start(&place, SERVE);
    let port = first.address().rsplit(':').next().expect("a port");
    let cases = [
        (format!("tilestream host site --page empty --port {port}"), "let --port 0", "--port 0"),
        ("tilestream host site --page empty --port 0 --host 203.0.113.7".into(), "with --host", "--host 127.0.0.1"),
    ];
    for (line, says, option) in cases {
        let refused = Serving::start(&place, &line);
        assert!(refused.said.contains(says), "{}", refused.said);
        let again = Serving::start(&place, &super::with(&line, option));
        assert!(again.said.contains("serving site at http://"), "{}", again.said);
    }
}

#[test]
fn a_server_that_is_not_known_by_a_name_learns_it() {
    let place = site();
    let refused = Serving::start(&place, SERVE).get("/models.json", "models.example");
    let words = super::between(&refused, "start it with ", "\n").expect("a remedy").trim();
    assert_eq!(words, "--allow-host models.example");
    let again = Serving::start(&place, &super::with(SERVE, words));
    let answer = again.get("/models.json", "models.example");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn a_server_without_models_or_a_page_says_where_they_come_from() {
    let place = site();
    let said = Serving::start(&place, SERVE).said.clone();
    let command = super::between(&said, "(see `", "`)").expect("a command");
    assert!(said.contains("(see --page)"), "{said}");
    place.ok(&format!("{command} model.gguf site/small"));
    place.write("empty/index.html", "a page");
    let again = Serving::start(&place, SERVE);
    assert!(again.said.contains("small") && !again.said.contains("--page"), "{}", again.said);
}

#[test]
fn a_model_on_a_server_is_read_and_measured_as_is_said() {
    let place = site();
    place.ok("tilestream split model.gguf site/small");
    let server = Serving::start(&place, SERVE);
    let address = format!("http://{}/small/", server.address());
    let line = format!("tilestream run {address} --prompt hello --max-tokens 2 --io direct");
    follow(&place, &line, &[Step::Without("--io")]);
    let line = format!("tilestream bench {address} --prompt-tokens 4 --tokens 1 --repeats 1");
    let local = "tilestream bench site/small --prompt-tokens 4 --tokens 1 --repeats 1";
    follow(&place, &line, &[Step::Other("copy the model here and name its folder", local)]);
}

/// Types `HF_ENDPOINT` before each line.
fn at(hub: &Hub, line: &str) -> String {
    format!("HF_ENDPOINT={} {line}", hub.url())
}

#[test]
fn a_file_of_a_hub_is_named() {
    let read = |name: &str| fs::read(data("small-gguf").join(name)).expect("read");
    let place = Place::new();
    let run = "tilestream run org/name --prompt hello --max-tokens 2";
    let hub = Hub::new(["Q4_0.gguf", "Q8_0.gguf"].map(|name| (name.to_owned(), read(name))));
    follow(&place, &at(&hub, run), &[Step::Value("or by --file", "Q8_0.gguf")]);
    let hub = Hub::new([("Q4_0/model.gguf".to_owned(), read("Q4_0.gguf"))]);
    follow(&place, &at(&hub, run), &[Step::Value("--file FOLDER/NAME", "Q4_0/model.gguf")]);
}

#[test]
fn a_gated_model_is_opened_with_the_token() {
    let (hub, place) = (Hub::of_folder(&data("small/gqa")), Place::new());
    hub.gate("hf_secret");
    let line = at(&hub, &format!("tilestream run {REPO} --ids-file ids.json --max-tokens 2 --ignore-eos"));
    follow(&place, &line, &[Step::Value("(--hf-token,", "hf_secret")]);
    let line = at(&hub, &format!("tilestream split {REPO} model"));
    follow(&place, &line, &[Step::Done("HF_TOKEN", |_| ()), Step::Value("(--hf-token,", "hf_secret")]);
}

#[test]
fn a_model_of_a_hub_is_not_deleted_and_not_taken_for_a_path() {
    let (hub, place) = (Hub::of_folder(&data("small/gqa")), Place::new());
    follow(
        &place,
        &at(&hub, &format!("tilestream split {REPO} model --delete-original")),
        &[Step::Without("--delete-original")],
    );
    // A folder of that name makes it a path.
    fs::create_dir(place.path("org")).expect("made");
    let rest = "--ids-file ids.json --max-tokens 2 --ignore-eos";
    let named = at(&hub, &format!("tilestream run {REPO}@main {rest}"));
    let output = place.run(&at(&hub, &format!("tilestream run {REPO} {rest}")));
    assert!(!output.status.success() && told(&output).contains("ORG/NAME@main"), "{}", told(&output));
    place.ok(&named);
}

#[test]
fn answers_that_another_process_writes_go_elsewhere() {
    let place = site();
    place.write("in.jsonl", "{\"ids\": [1, 5], \"max_tokens\": 2}\n");
    place.write("out.jsonl", "");
    let held = fs::OpenOptions::new().append(true).open(place.path("out.jsonl")).expect("opens");
    held.lock().expect("locks");
    let line = "tilestream run model.gguf --prompts in.jsonl --out out.jsonl";
    follow(&place, line, &[Step::Value("give another --out", "other.jsonl")]);
}

#[test]
fn a_chat_goes_on_with_what_it_names() {
    let place = site();
    let chat = |more: &str, typed: &str| {
        place.write("typed", typed);
        told(&place.run(&format!("tilestream chat model.gguf --ignore-eos --max-tokens 6 {more} < typed")))
    };
    // The second message finds the context full.
    let message = format!("{}\n", "hello there ".repeat(2));
    let typed = message.repeat(4);
    let full = chat("", &typed);
    let remedy = super::between(&full, "(or with ", ")").unwrap_or_else(|| panic!("{full}"));
    assert_eq!(remedy, "--when-full drop-oldest");
    assert!(full.contains("/undo") && full.contains("/new"), "{full}");
    assert!(!chat(remedy, &typed).contains("--when-full"), "with it there is room");
    let emptied = chat("", &format!("{message}/new\n{message}/undo\n{message}"));
    assert!(!emptied.contains("--when-full"), "{emptied}");
    let same = chat("", "hello\n/retry\n");
    let remedy = super::between(&same, "start with ", ", say").unwrap_or_else(|| panic!("{same}"));
    assert_eq!(remedy, "--temperature 0.7");
    let other = chat(remedy, "hello\n/retry\n");
    assert!(!other.contains("start with") && other.contains("seed"), "{other}");
}
