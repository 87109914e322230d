//! Ctrl-C and SIGTERM in every phase: the command ends within two seconds on a quiet machine, with exit code 130.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

mod shell;

use shell::Shell;

/// From the signal to the end. The command gives its work one second; a busy machine starts threads late.
const MOST: Duration = Duration::from_secs(5);
/// So each test has the machine to itself.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a host does once somebody has connected.
#[derive(Clone, Copy, Debug)]
enum Host {
    /// Takes no connection: those wait in the system's queue.
    Deaf,
    /// Takes them and never answers.
    Silent,
    /// Ends no head.
    HalfAHead,
    /// Sends a body a byte at a time.
    Trickle,
    /// Sends half of a body, and then nothing.
    HalfABody,
}

/// A host on this machine, whose threads end with the process. The channel tells when somebody has asked for something.
fn host(scheme: &str, host: Host) -> (String, std::sync::mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("{scheme}://{}/model/", listener.local_addr().expect("bound"));
    let (asked, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        if matches!(host, Host::Deaf) {
            std::thread::sleep(Duration::from_millis(500));
            let _ = asked.send(());
            std::thread::sleep(Duration::from_secs(60));
        }
        for stream in listener.incoming().flatten() {
            let asked = asked.clone();
            std::thread::spawn(move || serve(stream, host, &asked));
        }
    });
    (address, receiver)
}

fn serve(mut stream: TcpStream, host: Host, asked: &std::sync::mpsc::Sender<()>) {
    let _ = stream.read(&mut [0; 4096]);
    let whole = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";
    let head = match host {
        Host::Deaf | Host::Silent => "",
        Host::HalfAHead => &whole[..30],
        Host::Trickle | Host::HalfABody => whole,
    };
    let _ = stream.write_all(head.as_bytes());
    if matches!(host, Host::HalfABody) {
        let _ = stream.write_all(&[b' '; 50_000]);
    }
    let _ = asked.send(());
    for _ in 0..3000 {
        std::thread::sleep(Duration::from_millis(20));
        if matches!(host, Host::Trickle) && stream.write_all(b" ").is_err() {
            return;
        }
    }
}

fn start(shell: &Shell, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tilestream"));
    command.args(arguments).env("XDG_CACHE_HOME", shell.path("cache"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts")
}

fn send(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill").success());
}

/// Sends the signal and expects the end.
fn end(mut child: Child, signal: &str, what: &str) {
    let sent = Instant::now();
    send(&child, signal);
    while sent.elapsed() < MOST + MOST {
        if let Some(status) = child.try_wait().expect("waits") {
            assert_eq!(status.code(), Some(130), "{what} {signal}");
            assert!(sent.elapsed() < MOST, "{what} {signal}: {:?}", sent.elapsed());
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    panic!("{what} {signal}: goes on");
}

#[test]
fn waits_for_the_network_end() {
    let _alone = alone();
    let shell = Shell::new();
    let hosts = [Host::Deaf, Host::Silent, Host::HalfAHead, Host::Trickle, Host::HalfABody];
    // A host that says nothing to a greeting of TLS leaves the handshake open.
    let hosts = hosts.map(|kind| ("http", kind)).into_iter().chain([("https", Host::Silent)]);
    for (index, (scheme, kind)) in hosts.enumerate() {
        let (address, asked) = host(scheme, kind);
        let child = start(&shell, &["run", &address, "--prompt", "a"]);
        asked.recv_timeout(Duration::from_secs(20)).expect("it connects");
        std::thread::sleep(Duration::from_millis(100));
        end(child, ["-INT", "-TERM"][index % 2], &format!("{scheme} {kind:?}"));
    }
}

#[test]
fn work_on_this_machine_ends_and_leaves_nothing_half_made_under_a_final_name() {
    let _alone = alone();
    let shell = Shell::new();
    let out = shell.path("big").display().to_string();
    for signal in ["-INT", "-TERM"] {
        let child = start(&shell, &["synth", "llama-3.1-8b", &out, "--layers", "2"]);
        let begun = Instant::now();
        while !shell.path("big").is_dir() && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(100));
        end(child, signal, "synth");
        assert!(!shell.path("big/manifest.json").exists());
    }
}

#[test]
fn a_prompt_that_does_not_come_and_an_answer_under_way_end() {
    let _alone = alone();
    let shell = Shell::new();
    let model = shell.gguf("Q8_0.gguf");
    let waiting = start(&shell, &["run", &model]);
    std::thread::sleep(Duration::from_millis(500));
    end(waiting, "-TERM", "standard input");
    let config = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 512, "hidden_size": 512,
        "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 8,
        "max_position_embeddings": 65536, "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": true}"#;
    let (config, model) = (shell.write("config.json", config), shell.path("model").display().to_string());
    shell.ok(&["synth", &config, &model]);
    let ids = shell.write("ids.json", "[1, 2, 3]");
    for json in [true, false] {
        let arguments = ["run", &model, "--ids-file", &ids, "--max-tokens", "60000", "--ignore-eos", "--kv", "f16"];
        let child = start(&shell, &[&arguments[..], if json { &["--json"] } else { &["--raw"] }].concat());
        std::thread::sleep(Duration::from_millis(2500));
        end(child, "-INT", "decoding");
    }
}

#[test]
fn a_search_for_kernel_shapes_ends() {
    let _alone = alone();
    let shell = Shell::new();
    for signal in ["-INT", "-TERM"] {
        let mut child = start(&shell, &["devices", "--tune", "q4_1,q8_0,bf16"]);
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        // The adapter, and the first candidates: the search is under way.
        for _ in 0..3 {
            lines.next().expect("a line").expect("UTF-8");
        }
        std::thread::spawn(move || lines.for_each(drop));
        end(child, signal, "a search");
        assert!(remembered(&shell, "shapes").is_empty(), "a search that was stopped tells nothing");
    }
}

/// What the command remembers of this machine under names that begin so.
fn remembered(shell: &Shell, prefix: &str) -> Vec<String> {
    let entries = std::fs::read_dir(shell.path("cache/tilestream/measured")).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(prefix)).collect()
}

/// Where a sweep reads more than 1 GiB, and more than the memory that a budget leaves for the system's cache, the disk is measured
/// for 1.5 s.
#[cfg(target_os = "linux")]
#[test]
fn a_measurement_of_the_disk_ends() {
    let _alone = alone();
    let shell = Shell::new();
    let config = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 128, "hidden_size": 4096,
        "intermediate_size": 16384, "num_hidden_layers": 2, "num_attention_heads": 32, "num_key_value_heads": 32,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": true}"#;
    let (config, model) = (shell.write("config.json", config), shell.path("model").display().to_string());
    shell.ok(&["synth", &config, &model]);
    for signal in ["-INT", "-TERM"] {
        let child = measuring(&shell, &model);
        send(&child, signal);
        // What was halted takes the signal once it goes on.
        end(child, "-CONT", &format!("a measurement, by {signal},"));
        assert!(remembered(&shell, "reads").is_empty(), "what was stopped tells nothing");
    }
}

/// A command that measures the disk, halted while most of that is still to be done. A machine may read so fast, and run this test
/// so late, that the measurement has ended by then: it is begun again.
#[cfg(target_os = "linux")]
fn measuring(shell: &Shell, model: &str) -> Child {
    const BEGUN: u64 = 32 << 20;
    const NEARLY_ALL: u64 = 512 << 20;
    for _ in 0..20 {
        let mut child =
            start(shell, &["bench", model, "-v", "--budget", "1000GiB", "--pin", "0", "--prompt-tokens", "4"]);
        let begun = Instant::now();
        while bytes_read(&child) < BEGUN {
            assert!(begun.elapsed() < Duration::from_secs(20), "the disk is measured");
            std::thread::sleep(Duration::from_millis(2));
        }
        send(&child, "-STOP");
        if bytes_read(&child) < NEARLY_ALL && remembered(shell, "reads").is_empty() {
            return child;
        }
        let _ = child.kill();
        let _ = child.wait();
        for name in remembered(shell, "reads") {
            std::fs::remove_file(shell.path("cache/tilestream/measured").join(name)).expect("is removed");
        }
    }
    panic!("the measurement was never seen under way");
}

/// Bytes that a process has asked the system for.
#[cfg(target_os = "linux")]
fn bytes_read(child: &Child) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/io", child.id())).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.and_then(|number| number.parse().ok()).unwrap_or_default()
}
