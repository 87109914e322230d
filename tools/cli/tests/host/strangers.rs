//! Clients that are not the page: other sites, other names, and connections that say nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::server::{SHARD, Server, shard, split, with_shard, write};

#[test]
fn pages_of_other_sites_may_read_models_and_nothing_else() {
    let fill = |site: &Path| {
        split(&site.join("model"));
        write(&site.join("model/notes.txt"), b"mine");
        write(&site.join("mine/diary.txt"), b"mine");
        // What many web pages have, and no model's.
        write(&site.join("app/manifest.json"), b"{\"name\": \"app\", \"files\": []}");
        write(&site.join("app/diary.txt"), b"mine");
        write(&site.join("index.html"), b"page");
        write(&site.join(".hidden/manifest.json"), b"mine");
    };
    let server = Server::new(fill, &[]);
    let manifest: Value = serde_json::from_slice(&server.get("/model/manifest.json").body).expect("JSON");
    let listed = manifest["files"].as_array().expect("files").iter();
    let mut open: Vec<_> = listed.map(|file| format!("/model/{}", file["name"].as_str().expect("text"))).collect();
    assert!(open.len() > 3, "{open:?}");
    open.extend(["/model/manifest.json", "/models.json", "/none/manifest.json"].map(str::to_owned));
    // A file that a model lacks is told from a server that cannot be reached.
    let gone = open.remove(0);
    std::fs::remove_file(server.site().join(&gone[1..])).expect("removed");
    open.push(gone);
    let closed = [
        "/",
        "/index.html",
        "/model/notes.txt",
        "/mine/diary.txt",
        "/app/manifest.json",
        "/app/diary.txt",
        "/mine/none.txt",
        "/.hidden/manifest.json",
        "/model/none.txt",
    ];
    let all = open.iter().map(|path| (path.as_str(), true)).chain(closed.map(|path| (path, false)));
    for (path, for_all) in all {
        let preflight = "Origin: https://a.example\r\nAccess-Control-Request-Method: GET\r\n";
        for (method, headers) in [("GET", "Origin: https://a.example\r\n"), ("HEAD", ""), ("OPTIONS", preflight)] {
            let answer = server.ask(method, path, headers);
            let origin = answer.headers.get("access-control-allow-origin").map(String::as_str);
            assert_eq!(origin, for_all.then_some("*"), "{method} {path} {}", answer.status);
            let policy = if for_all { "cross-origin" } else { "same-origin" };
            assert_eq!(answer.header("cross-origin-resource-policy"), policy, "{method} {path}");
            let exposed = answer.header("access-control-expose-headers");
            assert_eq!(["Content-Range", "Content-Length", "ETag"].iter().all(|name| exposed.contains(name)), for_all);
            if method == "OPTIONS" {
                assert_eq!(answer.status, 204);
                assert_eq!(answer.header("access-control-allow-headers").contains("Range"), for_all, "{path}");
            }
        }
    }
}

#[test]
fn a_name_that_was_bound_to_this_machine_reads_nothing() {
    let server = Server::new(with_shard, &["--allow-host", "my.box"]);
    let port = server.address.rsplit(':').next().expect("a port");
    let ask = |host: &str| server.raw(&format!("GET {SHARD} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
    for host in ["localhost", "127.0.0.1", "[::1]", "my.box", "MY.BOX"] {
        assert_eq!(ask(&format!("{host}:{port}")).status, 200, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "192.168.0.1"] {
        let refused = ask(&format!("{host}:{port}"));
        let text = String::from_utf8(refused.body).expect("UTF-8");
        assert_eq!(refused.status, 403, "{host}");
        assert!(text.contains(&format!("--allow-host {host}")), "{text}");
    }
    assert_eq!(server.raw(&format!("GET {SHARD} HTTP/1.1\r\nConnection: close\r\n\r\n")).status, 400);
    assert_eq!(server.raw(&format!("GET {SHARD} HTTP/1.0\r\n\r\n")).status, 400);
    let two = format!("GET {SHARD} HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    assert_eq!(server.raw(&two).status, 400);
}

/// Whether the other end closed the connection within `limit`.
fn closes(stream: &mut TcpStream, limit: Duration) -> bool {
    stream.set_read_timeout(Some(limit)).expect("set");
    match stream.read(&mut [0; 4096]) {
        Ok(0) => true,
        Ok(_) => panic!("it answers"),
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

#[test]
fn silent_connections_are_closed() {
    let fill = |site: &Path| write(&site.join("large"), &vec![7; 64 << 20]);
    let server = Server::new(fill, &["--timeout", "1"]);
    let host = &server.address;
    let connect = || TcpStream::connect(host).expect("connects");
    let soon = Duration::from_secs(4);
    // Nothing is sent, half a head, half a head more slowly than the bound, and a second request that never comes.
    let (mut nothing, mut half, mut kept) = (connect(), connect(), connect());
    half.write_all(b"GET / HTTP/1.1\r\nHo").expect("sends");
    kept.write_all(format!("HEAD /large HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).expect("sends");
    let mut head = [0; 4096];
    assert!(kept.read(&mut head).expect("an answer") > 0);
    let mut slow = connect();
    let started = Instant::now();
    let mut sent = 0;
    while slow.write_all(b"G").is_ok() && started.elapsed() < soon {
        sent += 1;
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(sent < 35, "a head that comes byte by byte has the same time");
    for (name, stream) in [("nothing", &mut nothing), ("half a head", &mut half), ("no second request", &mut kept)] {
        assert!(closes(stream, soon), "{name}");
    }
    // An answer that nobody reads: its end never comes.
    let mut deaf = connect();
    deaf.write_all(format!("GET /large HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).expect("sends");
    std::thread::sleep(Duration::from_millis(1800));
    deaf.set_read_timeout(Some(soon)).expect("set");
    let mut taken = 0;
    let mut part = vec![0; 1 << 20];
    while let Ok(count @ 1..) = deaf.read(&mut part) {
        taken += count;
    }
    assert!(taken < 64 << 20, "{taken}");
    // One that is read slowly but steadily comes whole.
    let mut steady = connect();
    let request = format!("GET /large HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    steady.write_all(request.as_bytes()).expect("sends");
    let (mut taken, started) = (0, Instant::now());
    while let Ok(count @ 1..) = steady.read(&mut part) {
        taken += count;
        if started.elapsed() < Duration::from_millis(1500) {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    assert!(taken > 64 << 20, "{taken}");
}

#[test]
fn idle_connections_do_not_block_it() {
    let server = Server::new(with_shard, &["--max-connections", "4"]);
    let mut idle: Vec<_> = (0..20).map(|_| TcpStream::connect(&server.address).expect("connects")).collect();
    idle.iter_mut().for_each(|stream| {
        // Those that were closed already may refuse it.
        let _ = stream.write_all(b"GET / HTTP/1.1\r\n");
    });
    let started = Instant::now();
    assert!(server.get(SHARD).body == shard());
    assert!(started.elapsed() < Duration::from_secs(12), "{:?}", started.elapsed());
    let open = idle.iter_mut().filter_map(|stream| (!closes(stream, Duration::from_millis(50))).then_some(())).count();
    assert!(open <= 4, "{open}");
}
