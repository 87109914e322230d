//! `tilestream host`, over plain sockets: a client library would tidy up the requests that matter here.

mod server;
mod strangers;

use std::path::Path;
#[cfg(unix)]
use std::process::Command;

use serde_json::{Value, json};
use tilestream::store::{HttpStore, conformance};

use server::{SHARD, Server, shard, split, tilestream, with_shard, write};

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
fn nobody_guesses_types_and_only_get_is_answered() {
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
        let answer = server.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type").split(';').next(), Some(expected), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cache-control"), "no-cache");
    }
    let written = server.ask("PUT", "/a.json", "Content-Length: 0\r\n");
    assert_eq!((written.status, written.header("allow")), (405, "GET, HEAD, OPTIONS"));
}

#[test]
fn what_is_no_single_range_gets_the_whole_file() {
    let server = Server::new(with_shard, &[]);
    let etag = server.ask("HEAD", SHARD, "").header("etag").to_owned();
    for range in ["bytes=0-1,4-5", "bytes=0-1, 4-5", "bytes=0-,-5", "lines=0-1", "bytes=5-1", "bytes=x", "bytes="] {
        let answer = server.ask("GET", SHARD, &format!("Range: {range}\r\n"));
        assert_eq!((answer.status, answer.header("content-length")), (200, "200000"), "{range}");
        assert!(answer.body == shard(), "{range}");
    }
    // A client with a part of another file must not go on with this one.
    for (condition, status) in [(etag.as_str(), 206), ("\"another\"", 200), ("Mon, 01 Jan 2024 00:00:00 GMT", 200)] {
        let answer = server.ask("GET", SHARD, &format!("Range: bytes=5-9\r\nIf-Range: {condition}\r\n"));
        assert_eq!(answer.status, status, "{condition}");
        assert_eq!(answer.body.len(), if status == 206 { 5 } else { 200_000 });
    }
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
        format!("GET http://{}/../secret.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", server.address);
    assert_eq!(server.raw(&absolute).status, 404);
    assert_eq!(server.raw("GET ../secret.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").status, 400);
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
        let output = tilestream().arg("host").args(arguments).output().expect("starts");
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
