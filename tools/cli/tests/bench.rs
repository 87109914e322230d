//! `tilestream bench` as a user types it, on small real files. What is fast or slow here is nobody's business.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

struct Shell {
    folder: tempfile::TempDir,
}

impl Shell {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tilestream"));
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/small-gguf/Q4_K.gguf");
        command.arg(name).arg(model).env("XDG_CACHE_HOME", self.path("cache"));
        command
    }

    /// A measurement under a budget that is too small for all of the model.
    fn bench(&self, arguments: &[&str]) -> Command {
        let inspected =
            self.command("inspect").args(["--context", "12", "--json"]).output().expect("the command starts");
        let inspected: Value = serde_json::from_slice(&inspected.stdout).expect("JSON");
        let mut command = self.command("bench");
        command.args([
            "--prompt-tokens",
            "8",
            "--tokens",
            "3",
            "--budget",
            &inspected["smallest_budget_bytes"].to_string(),
        ]);
        command.args(arguments);
        command
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.bench(arguments).output().expect("the command starts");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).expect("a folder");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
        names.retain(|name| name != "cache");
        names.sort();
        names
    }
}

fn number(value: &Value, path: &str) -> f64 {
    value.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} is no number in {value}"))
}

fn limits_are_plausible(side: &Value) {
    for path in ["/decode_limit", "/prefill_limit"] {
        let (limit, reached) =
            (number(side, &format!("{path}/limit_s")), number(side, &format!("{path}/reached_percent")));
        assert!(limit > 0.0 && reached > 0.0, "{path} of {side}");
        assert!(number(side, &format!("{path}/best_percent")) >= reached * 0.99, "{path} of {side}");
        // No process has more CPU seconds than there are cores to have them on; the clocks are not read at one moment.
        assert!(side[&path[1..]]["bound_by"] != "CPU" || reached < 150.0, "{path} of {side}");
    }
}

#[test]
fn json_has_every_field_and_the_files_are_whole() {
    let shell = Shell::new();
    let (out, plot) = (shell.path("out.json"), shell.path("plot.svg"));
    let text = shell.ok(&["--resident", "--repeats", "2", "--json", "--out", &out, "--plot", &plot, "--seed", "7"]);
    assert_eq!(text, std::fs::read_to_string(&out).expect("written"), "stdout and the file say the same");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    for (path, expected) in [
        ("/version", env!("CARGO_PKG_VERSION").into()),
        ("/model/family", "llama".into()),
        ("/options/prompt_tokens", 8.into()),
        ("/options/tokens", 3.into()),
        ("/options/repeats", 2.into()),
        ("/options/seed", 7.into()),
        ("/options/context", 12.into()),
        ("/options/kv", "f32".into()),
        ("/options/activations", "f32".into()),
        ("/host/os", std::env::consts::OS.into()),
        ("/resident/streamed_bytes_per_sweep", 0.into()),
    ] {
        assert_eq!(report.pointer(path), Some(&expected), "{path} of {report}");
    }
    for path in
        ["/adapter/name", "/adapter/driver", "/adapter/backend", "/model/encodings/q4_k", "/options/interleaved"]
    {
        assert!(report.pointer(path).is_some_and(|value| !value.is_null()), "{path} of {report}");
    }
    for side in [&report["streamed"], &report["resident"]] {
        for path in [
            "/prefill_tokens_per_s",
            "/decode_tokens_per_s",
            "/sweep_s/median",
            "/sweep_s/min",
            "/sweep_s/max",
            "/pinned_bytes",
            "/peak_gpu_bytes",
        ] {
            assert!(number(side, path) > 0.0, "{path} of {side}");
        }
        assert!(number(side, "/peak_gpu_bytes") <= number(side, "/budget_bytes"), "{side}");
        limits_are_plausible(side);
    }
    assert!(number(&report, "/streamed/streamed_bytes_per_sweep") > 0.0, "{report}");
    assert!(number(&report, "/disk/sample_bytes") > 0.0 && number(&report, "/disk/warm_bytes_per_s") > 0.0, "{report}");
    assert!(number(&report, "/cost_of_streaming/decode") > 0.0, "{report}");
    if cfg!(target_os = "linux") {
        assert!(number(&report, "/streamed/peak_process_bytes") > number(&report, "/streamed/pinned_bytes"));
        assert!(number(&report, "/streamed/disk_bytes_per_sweep") >= 0.0);
    }
    assert_eq!(shell.files(), ["out.json", "plot.svg"], "nothing else is left");

    let svg = std::fs::read_to_string(&plot).expect("written");
    let page = roxmltree::Document::parse(&svg).expect("XML");
    assert_eq!(page.root_element().tag_name().name(), "svg");
    let texts: Vec<&str> = page.descendants().filter_map(|node| node.text()).collect();
    for expected in ["streamed", "everything resident", "sweep", "disk", "one streamed sweep", "shaders", "reads 1"] {
        assert!(texts.iter().any(|text| text.starts_with(expected)), "{expected} is not in {svg}");
    }
    let bars = page.descendants().filter(|node| node.attribute("class") == Some("read")).count();
    assert!(bars > 0, "{svg}");
}

#[test]
fn the_table_tells_the_same_to_people() {
    let shell = Shell::new();
    let text = shell.ok(&["--repeats", "1", "--ram", "100KB", "--kv", "f16", "--pin", "64KiB", "--activations", "i8"]);
    for expected in [
        "tokens/s",
        "streamed a sweep",
        "from --ram",
        "--pin 64.0 KiB",
        "--activations i8",
        "peak of the GPU",
        "limit of a sweep",
        "limit of a prompt",
        "reached",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    assert!(!text.contains("resident") && !text.contains("plain copies"), "{text}");
}

#[test]
fn what_may_not_stay_travels_in_every_sweep() {
    let shell = Shell::new();
    let report = |arguments: &[&str]| -> Value {
        let mut command = shell.command("bench");
        command.args(["--prompt-tokens", "8", "--tokens", "3", "--repeats", "1", "--budget", "64MiB", "--json"]);
        let output = command.args(arguments).output().expect("the command starts");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let free = report(&[]);
    assert_eq!(
        (&free["options"]["most_pinned_bytes"], number(&free, "/streamed/streamed_bytes_per_sweep")),
        (&Value::Null, 0.0)
    );
    let all = number(&free, "/model/bytes");

    let none = report(&["--pin", "0", "--resident"]);
    assert_eq!(none["options"]["most_pinned_bytes"], 0);
    assert_eq!(
        (number(&none, "/streamed/pinned_bytes"), number(&none, "/streamed/streamed_bytes_per_sweep")),
        (0.0, all)
    );
    assert_eq!(
        (number(&none, "/resident/pinned_bytes"), number(&none, "/resident/streamed_bytes_per_sweep")),
        (all, 0.0)
    );

    let most = (all / 2.0) as u64;
    let some = report(&["--pin", &most.to_string()]);
    let (stays, streamed) =
        (number(&some, "/streamed/pinned_bytes"), number(&some, "/streamed/streamed_bytes_per_sweep"));
    assert!(stays > 0.0 && stays <= most as f64 && streamed >= all - stays, "{some}");
}

#[test]
fn copies_are_measured_where_they_are_made() {
    let shell = Shell::new();
    let text = shell.ok(&["--repeats", "1", "--copy", "--json"]);
    let report: Value = serde_json::from_str(&text).expect("JSON");
    assert!(number(&report, "/upload_bytes_per_s") > 0.0);
    assert!(number(&report, "/streamed/decode_limit/upload_s") > 0.0, "{report}");
    assert_eq!(report["adapter"]["reads_windows"], false);
}

#[test]
fn wrong_arguments_are_told_before_the_work() {
    let shell = Shell::new();
    let absent = shell.path("absent/out.json");
    let folder = shell.path("");
    let rows: &[(&[&str], &str)] = &[
        (&["--prompt-tokens", "0"], "--prompt-tokens"),
        (&["--repeats", "none"], "--repeats"),
        (&["--pin", "some"], "--pin"),
        (&["--prompt-tokens", "100000"], "--tokens and one"),
        (&["--tokens", "4294967295"], "--tokens and one"),
        (&["--out", &absent], "folder does not exist"),
        (&["--plot", &folder], "is a folder"),
        (&["--adapter", "no such adapter", "--prompt-tokens", "8"], "no such adapter"),
    ];
    for (arguments, expected) in rows {
        let output = shell.command("bench").args(*arguments).output().expect("the command starts");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(expected) && !text.contains("panicked"), "{arguments:?}: {text}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_tilestream")).args(["bench", "http://127.0.0.1:1/model/"]).output();
    let text = String::from_utf8_lossy(&output.expect("the command starts").stderr).into_owned();
    assert!(text.contains("another machine"), "{text}");
    let output = shell.command("bench").args(["--prompt-tokens", "8", "--budget", "1MiB"]).output();
    let output = output.expect("the command starts");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && text.contains("the smallest that works"), "{text}");
}

#[cfg(unix)]
#[test]
fn an_interrupted_measurement_leaves_nothing() {
    let shell = Shell::new();
    let (out, plot) = (shell.path("out.json"), shell.path("plot.svg"));
    let mut command = shell.bench(&["--repeats", "1000000", "--out", &out, "--plot", &plot]);
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let mut lines = BufReader::new(process.stderr.take().expect("a pipe")).lines().map(|line| line.expect("UTF-8"));
    assert!(lines.any(|line| line.starts_with("pass 2 of")), "it measures");
    let interrupt = Command::new("kill").args(["-INT", &process.id().to_string()]).status().expect("starts");
    assert!(interrupt.success());
    let said: Vec<String> = lines.collect();
    let output = process.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(130), "{said:?}");
    assert!(said.last().is_some_and(|line| line.starts_with("tilestream: stopped")), "{said:?}");
    assert!(output.stdout.is_empty() && shell.files().is_empty(), "{:?}", shell.files());
}
