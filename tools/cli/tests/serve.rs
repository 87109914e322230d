//! `tilestream serve`, over plain sockets: a client library would tidy up the requests that matter here.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tilestream::store::{HttpStore, conformance};

/// The command, and the folder it serves.
struct Server {
    process: Child,
    address: String,
    stderr: Vec<String>,
    around: tempfile::TempDir,
}

struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

fn tilestream() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tilestream"))
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("in a folder")).expect("made");
    std::fs::write(path, bytes).expect("written");
}

/// Bytes with a recognizable position.
fn shard() -> Vec<u8> {
    (0..200_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

impl Server {
    /// Serves `site` within a new folder, filled by `fill`.
    fn new(fill: impl FnOnce(&Path), arguments: &[&str]) -> Self {
        let around = tempfile::tempdir().expect("a folder");
        let site = around.path().join("site");
        std::fs::create_dir(&site).expect("made");
        write(&around.path().join("secret.txt"), b"secret");
        fill(&site);
        let mut command = tilestream();
        command.arg("serve").arg(&site).args(["--port", "0"]).args(arguments).stderr(Stdio::piped());
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
    fn lines_to_come(&self) -> usize {
        let models: Value = serde_json::from_slice(&self.get("/models.json").body).expect("JSON");
        let page = usize::from(self.get("/").status == 404);
        page + models.as_array().expect("an array").len().max(1)
    }

    fn site(&self) -> PathBuf {
        self.around.path().join("site")
    }

    /// Sends a request as it is written here.
    fn raw(&self, request: &str) -> Answer {
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

    fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        let host = &self.address;
        self.raw(&format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n"))
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn with_shard(site: &Path) {
    write(&site.join("model/layer-00000.safetensors"), &shard());
}

const SHARD: &str = "/model/layer-00000.safetensors";

#[test]
fn ranges_are_exact() {
    let server = Server::new(with_shard, &[]);
    let whole = server.get(SHARD);
    assert_eq!((whole.status, whole.header("accept-ranges")), (200, "bytes"));
    assert!(whole.body == shard());
    for (range, first, last) in
        [("0-0", 0, 0), ("1000-1499", 1000, 1499), ("199999-", 199_999, 199_999), ("-5", 199_995, 199_999)]
    {
        let part = server.ask("GET", SHARD, &format!("Range: bytes={range}\r\nAccept-Encoding: gzip, br\r\n"));
        assert_eq!(part.status, 206, "{range}");
        assert_eq!(part.header("content-range"), format!("bytes {first}-{last}/200000"));
        assert_eq!(part.header("content-length"), (last - first + 1).to_string());
        assert_eq!(part.header("content-encoding"), "", "a shard is never compressed");
        assert!(part.body == shard()[first..=last], "{range}");
    }
    // The end of a range may lie past the object's.
    let part = server.ask("GET", SHARD, "Range: bytes=199990-300000\r\n");
    assert_eq!((part.status, part.body.len()), (206, 10));
    let past = server.ask("GET", SHARD, "Range: bytes=200000-200001\r\n");
    assert_eq!((past.status, past.header("content-range")), (416, "bytes */200000"));
}

#[test]
fn heads_etags_and_dates_save_downloads() {
    let server = Server::new(with_shard, &[]);
    let head = server.ask("HEAD", SHARD, "");
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, "200000", 0));
    let (etag, date) = (head.header("etag"), head.header("last-modified"));
    assert!(etag.starts_with('"') && !date.is_empty(), "{etag} {date}");
    assert_eq!(head.header("cache-control"), "no-cache");
    for header in [format!("If-None-Match: {etag}\r\n"), format!("If-Modified-Since: {date}\r\n")] {
        let same = server.ask("GET", SHARD, &header);
        assert_eq!((same.status, same.body.len()), (304, 0), "{header}");
        assert_eq!(same.header("access-control-allow-origin"), "*");
    }
    // Another content under the same name, of the same length and within the same second.
    let mut other = shard();
    other[0] ^= 1;
    write(&server.site().join("model/layer-00000.safetensors"), &other);
    let changed = server.ask("GET", SHARD, &format!("If-None-Match: {etag}\r\n"));
    assert_eq!(changed.status, 200);
    assert!(changed.body == other);
}

#[test]
fn other_origins_may_read_and_nobody_guesses_types() {
    let fill = |site: &Path| {
        for name in ["index.html", "app.js", "app.wasm", "style.css", "a.json", "a.safetensors", "a.sums", "plain"] {
            write(&site.join(name), b"content");
        }
    };
    let server = Server::new(fill, &[]);
    for (path, expected) in [
        ("/", "text/html"),
        ("/index.html", "text/html"),
        ("/app.js", "text/javascript"),
        ("/app.wasm", "application/wasm"),
        ("/style.css", "text/css"),
        ("/a.json", "application/json"),
        ("/a.safetensors", "application/octet-stream"),
        ("/a.sums", "application/octet-stream"),
        ("/plain", "application/octet-stream"),
        ("/models.json", "application/json"),
    ] {
        let answer = server.ask("GET", path, "Origin: https://elsewhere.example\r\n");
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type").split(';').next(), Some(expected), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        let exposed = answer.header("access-control-expose-headers");
        for name in ["Content-Range", "Content-Length", "ETag"] {
            assert!(exposed.contains(name), "{exposed}");
        }
        assert_eq!(answer.header("cache-control"), "no-cache");
    }
    let asked = server.ask("OPTIONS", SHARD, "Origin: https://a.example\r\nAccess-Control-Request-Method: GET\r\n");
    assert_eq!((asked.status, asked.header("access-control-allow-methods")), (204, "GET, HEAD"));
    assert!(asked.header("access-control-allow-headers").contains("Range"));
    let written = server.ask("PUT", "/a.json", "Content-Length: 0\r\n");
    assert_eq!((written.status, written.header("allow")), (405, "GET, HEAD, OPTIONS"));
}

#[test]
fn nothing_outside_and_nothing_hidden_is_served() {
    let fill = |site: &Path| {
        with_shard(site);
        write(&site.join(".env"), b"secret");
        write(&site.join(".git/config"), b"secret");
        write(&site.join("model/.partial"), b"secret");
        #[cfg(unix)]
        {
            use std::os::unix::fs::symlink;
            symlink("../secret.txt", site.join("link.txt")).expect("links");
            symlink("..", site.join("up")).expect("links");
            symlink(".env", site.join("shown")).expect("links");
            symlink("model/layer-00000.safetensors", site.join("good")).expect("links");
        }
    };
    let server = Server::new(fill, &[]);
    for path in [
        "/../secret.txt",
        "/model/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/%2E%2E%2Fsecret.txt",
        "/..%2fsecret.txt",
        "/..%5csecret.txt",
        "/model/%2e%2e/%2e%2e/secret.txt",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/%2Fetc%2Fpasswd",
        "/etc/passwd",
        "//127.0.0.1/secret.txt",
        "/secret.txt%00",
        "/model/layer-00000.safetensors%00.js",
        "/link.txt",
        "/up/secret.txt",
        "/up/site/model/layer-00000.safetensors",
        "/shown",
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/model/.partial",
        "/model",
        "/model/",
        "/model/layer-00000.safetensors/",
        "/",
        "/model/../model/layer-00000.safetensors",
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, 404, "{path}");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(!text.contains("secret") && !text.contains("layer"), "{path}: {text}");
        assert_eq!(server.ask("HEAD", path, "").status, 404, "{path}");
    }
    #[cfg(unix)]
    assert!(server.get("/good").body == shard(), "a link that stays inside");
    // An absolute address in the request line means the same as its path; what is no path at all is refused.
    let absolute =
        format!("GET http://{}/../secret.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", server.address);
    assert_eq!(server.raw(&absolute).status, 404);
    assert_eq!(server.raw("GET ../secret.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").status, 400);
}

/// Splits a small checkpoint into a folder.
fn split(into: &Path) {
    let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/small/gqa");
    let output = tilestream().arg("split").arg(checkpoint).arg(into).output().expect("starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn models_are_listed_and_announced() {
    let fill = |site: &Path| {
        split(&site.join("tiny model"));
        split(&site.join("more/deep"));
        split(&site.join(".hidden"));
        write(&site.join("broken/manifest.json"), b"{}");
    };
    let server = Server::new(fill, &[]);
    let answer = server.get("/models.json");
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let models: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let paths: Vec<_> = models.as_array().expect("an array").iter().map(|model| model["path"].clone()).collect();
    assert_eq!(paths, ["more/deep/", "tiny%20model/"]);
    for model in models.as_array().expect("an array") {
        let path = model["path"].as_str().expect("text");
        let manifest = server.get(&format!("/{path}manifest.json"));
        let manifest: Value = serde_json::from_slice(&manifest.body).expect("JSON");
        assert_eq!(model["name"], manifest["name"]);
        let lengths = manifest["files"].as_array().expect("files").iter().map(|file| file["len_bytes"].as_u64());
        assert_eq!(model["bytes"].as_u64(), lengths.sum());
        assert!(server.stderr.iter().any(|line| line.contains(path)), "{:?}", server.stderr);
    }
    // A model that comes later is found too, and a list of the user's own goes first.
    split(&server.site().join("later"));
    let models: Value = serde_json::from_slice(&server.get("/models.json").body).expect("JSON");
    assert_eq!(models.as_array().map(Vec::len), Some(3));
    write(&server.site().join("models.json"), b"[]");
    assert_eq!(server.get("/models.json").body, b"[]");
}

#[test]
fn the_store_of_the_library_reads_it() {
    let fill = |site: &Path| {
        split(&site.join("model"));
        conformance::objects().iter().for_each(|(name, bytes)| write(&site.join("suite").join(name), bytes));
    };
    let server = Server::new(fill, &[]);
    let store = |folder: &str| HttpStore::new(&format!("http://{}/{folder}", server.address)).expect("an address");
    pollster::block_on(conformance::check(&store("suite"))).expect("conforms");
    let text = pollster::block_on(store("model/").read_all("manifest.json", 1 << 20)).expect("a manifest");
    assert_eq!(text, std::fs::read(server.site().join("model/manifest.json")).expect("there"));
}

#[test]
fn a_folder_that_is_itself_a_model_is_listed() {
    let server = Server::new(split, &[]);
    let models: Value = serde_json::from_slice(&server.get("/models.json").body).expect("JSON");
    assert_eq!(models[0]["path"], json!("./"));
}

#[test]
fn a_page_fills_what_the_folder_lacks() {
    let page = tempfile::tempdir().expect("a folder");
    for (name, text) in
        [("index.html", "page"), ("models.json", "page"), ("app.js", "page"), ("docs/index.html", "docs")]
    {
        write(&page.path().join(name), text.as_bytes());
    }
    let fill = |site: &Path| write(&site.join("app.js"), b"folder");
    let server = Server::new(fill, &["--page", page.path().to_str().expect("UTF-8")]);
    let text = |path: &str| String::from_utf8(server.get(path).body).expect("UTF-8");
    assert_eq!((text("/"), text("/app.js"), text("/docs/")), ("page".into(), "folder".into(), "docs".into()));
    assert_eq!(text("/models.json").trim(), "[]");
    let moved = server.get("/docs");
    assert_eq!((moved.status, moved.header("location")), (307, "/docs/"));
}

#[test]
fn what_cannot_be_served_is_said() {
    let server = Server::new(with_shard, &[]);
    let port = server.address.rsplit(':').next().expect("a port");
    let run = |arguments: &[&str]| {
        let output = tilestream().arg("serve").args(arguments).output().expect("starts");
        assert!(!output.status.success());
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    let site = server.site().display().to_string();
    let taken = run(&[&site, "--port", port]);
    assert!(taken.contains(&format!("port {port} is taken")) && taken.contains("--port 0"), "{taken}");
    let absent = run(&["/no/such/folder", "--port", "0"]);
    assert!(absent.contains("/no/such/folder"), "{absent}");
    let page = run(&[&site, "--port", "0", "--page", "/no/such/page"]);
    assert!(page.contains("/no/such/page"), "{page}");
    let host = run(&[&site, "--port", "0", "--host", "192.0.2.1"]);
    assert!(host.contains("192.0.2.1") && host.contains("--host"), "{host}");
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_it_in_peace() {
    let mut server = Server::new(with_shard, &[]);
    let killed = Command::new("kill").args(["-INT", &server.process.id().to_string()]).status().expect("kill");
    assert!(killed.success());
    assert!(server.process.wait().expect("ends").success());
}
