//! The command as a server, and requests to it over plain sockets.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// The command, and the folder it serves.
pub struct Server {
    pub process: Child,
    pub address: String,
    pub stderr: Vec<String>,
    around: tempfile::TempDir,
}

pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

pub fn tilestream() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tilestream"))
}

pub fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("in a folder")).expect("made");
    std::fs::write(path, bytes).expect("written");
}

/// Bytes with a recognizable position.
pub fn shard() -> Vec<u8> {
    (0..200_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

impl Server {
    /// Serves `site` within a new folder, filled by `fill`.
    pub fn new(fill: impl FnOnce(&Path), arguments: &[&str]) -> Self {
        let around = tempfile::tempdir().expect("a folder");
        let site = around.path().join("site");
        std::fs::create_dir(&site).expect("made");
        write(&around.path().join("secret.txt"), b"secret");
        fill(&site);
        let mut command = tilestream();
        command.arg("host").arg(&site).args(["--port", "0"]).args(arguments).stderr(Stdio::piped());
        if !arguments.contains(&"--page") {
            // The page of this repository may have been built.
            let none = around.path().join("no page");
            std::fs::create_dir(&none).expect("made");
            command.arg("--page").arg(none);
        }
        let mut process = command.spawn().expect("starts");
        let mut lines = BufReader::new(process.stderr.take().expect("piped")).lines();
        let first = lines.next().expect("a line").expect("UTF-8");
        let (_, rest) = first.split_once("http://").unwrap_or_else(|| panic!("{first}"));
        let address = rest.split('/').next().expect("an address").to_owned();
        let mut server = Self { process, address, stderr: vec![first], around };
        // The list of models ends what it says at its start, and the pipe stays open.
        let stderr: Vec<String> = lines.by_ref().map_while(Result::ok).take(server.lines_to_come()).collect();
        server.stderr.extend(stderr);
        std::thread::spawn(move || lines.for_each(drop));
        server
    }

    /// The lines after the first: one if there is no page, and one a model, or one for none.
    pub fn lines_to_come(&self) -> usize {
        let models: Value = serde_json::from_slice(&self.get("/models.json").body).expect("JSON");
        let page = usize::from(self.get("/").status == 404);
        page + models.as_array().expect("an array").len().max(1)
    }

    pub fn site(&self) -> PathBuf {
        self.around.path().join("site")
    }

    /// Sends a request as it is written here.
    pub fn raw(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.address).expect("connects");
        stream.write_all(request.as_bytes()).expect("sends");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("an answer");
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(bytes[..end].to_vec()).expect("ASCII");
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status");
        let pair =
            |line: &str| line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
        Answer { status, headers: lines.filter_map(pair).collect(), body: bytes[end + 4..].to_vec() }
    }

    pub fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        let host = &self.address;
        self.raw(&format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n"))
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn with_shard(site: &Path) {
    write(&site.join("model/layer-00000.safetensors"), &shard());
}

pub const SHARD: &str = "/model/layer-00000.safetensors";

/// Splits a small checkpoint into a folder.
pub fn split(into: &Path) {
    let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/small/gqa");
    let output = tilestream().arg("split").arg(checkpoint).arg(into).output().expect("starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
