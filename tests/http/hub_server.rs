//! A small hub on two ports: one speaks the Hub's protocol, the other stores large files behind signed addresses.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Larger files lie in the storage, as pointers in the repository.
const LARGE: usize = 1000;
pub const REPO: &str = "org/name";

type Files = BTreeMap<String, Vec<u8>>;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// At the storage, not at the hub.
    pub at_storage: bool,
    pub path: String,
    pub authorization: Option<String>,
    /// `first..end`.
    pub range: Option<(u64, u64)>,
}

#[derive(Default)]
struct State {
    /// By commit.
    commits: BTreeMap<String, Files>,
    main: String,
    /// Who comes without it is refused.
    token: Option<String>,
    seen: Vec<Seen>,
    /// Requests that a signature is good for.
    good_for: Option<u64>,
    used: BTreeMap<String, u64>,
    signatures: u64,
    slow_ms: u64,
    cut: Option<usize>,
    /// Ranges are answered with the whole file.
    whole: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    storage: Mutex<String>,
    stop: AtomicBool,
    connections: AtomicU64,
}

/// The hub; it ends when dropped.
pub struct Hub {
    hub: SocketAddr,
    storage: SocketAddr,
    shared: Arc<Shared>,
}

impl Hub {
    /// A hub with one repository, whose `main` holds these files.
    pub fn new(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let shared = Arc::new(Shared::default());
        let (hub, storage) = (listen(&shared, false), listen(&shared, true));
        *shared.storage.lock().expect("unpoisoned") = format!("http://{storage}");
        let this = Self { hub, storage, shared };
        this.push(files);
        this
    }

    /// A hub with the files of a folder.
    pub fn of_folder(folder: &std::path::Path) -> Self {
        let files = std::fs::read_dir(folder).expect("a folder").map(|file| {
            let file = file.expect("readable");
            (file.file_name().into_string().expect("UTF-8"), std::fs::read(file.path()).expect("reads"))
        });
        Self::new(files)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.hub)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().expect("unpoisoned")
    }

    /// A new commit on `main`; returns its name.
    pub fn push(&self, files: impl IntoIterator<Item = (String, Vec<u8>)>) -> String {
        let mut state = self.state();
        let commit = format!("{:040x}", state.commits.len() + 0xabc);
        state.commits.insert(commit.clone(), files.into_iter().collect());
        state.main.clone_from(&commit);
        commit
    }

    /// From now on only who has this token is let in.
    pub fn gate(&self, token: &str) {
        self.state().token = Some(token.to_owned());
    }

    /// From now on a signature is good for so many requests.
    pub fn sign_for(&self, requests: u64) {
        self.state().good_for = Some(requests);
    }

    /// From now on the storage takes its time.
    pub fn slow(&self, milliseconds: u64) {
        self.state().slow_ms = milliseconds;
    }

    /// The next answer of the storage breaks off before its last so many bytes.
    pub fn cut(&self, bytes: usize) {
        self.state().cut = Some(bytes);
    }

    /// From now on ranges are answered with the whole file.
    pub fn know_no_ranges(&self) {
        self.state().whole = true;
    }

    /// The requests since the last call.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state().seen)
    }

    /// The requests since the last call at the storage.
    pub fn take_stored(&self) -> Vec<Seen> {
        self.take_seen().into_iter().filter(|seen| seen.at_storage).collect()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        for address in [self.hub, self.storage] {
            // Wakes the listener, which then sees that it is over.
            let _ = TcpStream::connect(address);
        }
    }
}

fn listen(shared: &Arc<Shared>, at_storage: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if shared.stop.load(SeqCst) {
                return;
            }
            shared.connections.fetch_add(1, SeqCst);
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || converse(&stream, &shared, at_storage));
        }
    });
    address
}

fn converse(stream: &TcpStream, shared: &Shared, at_storage: bool) {
    let mut reader = BufReader::new(stream);
    while let Some(seen) = request(&mut reader, at_storage) {
        if shared.stop.load(SeqCst) {
            return;
        }
        let (wait, answer, cut) = {
            let mut state = shared.state.lock().expect("unpoisoned");
            state.seen.push(seen.clone());
            let storage = shared.storage.lock().expect("unpoisoned").clone();
            let seen = Seen { range: seen.range.filter(|_| !state.whole), ..seen.clone() };
            let answer = if at_storage { state.stored(&seen) } else { state.hub(&seen, &storage) };
            let cut = if at_storage { state.cut.take() } else { None };
            (if at_storage { state.slow_ms } else { 0 }, answer, cut)
        };
        std::thread::sleep(Duration::from_millis(wait));
        let sent = &answer[..answer.len() - cut.unwrap_or(0)];
        if (&*stream).write_all(sent).is_err() || cut.is_some() {
            return;
        }
    }
}

fn request(reader: &mut BufReader<&TcpStream>, at_storage: bool) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut seen = Seen { at_storage, path, authorization: None, range: None };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { return Some(seen) };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => seen.authorization = Some(value.trim().to_owned()),
            "range" => {
                let (first, last) = value.trim().strip_prefix("bytes=")?.split_once('-')?;
                let end = if last.is_empty() { u64::MAX } else { last.parse::<u64>().ok()? + 1 };
                seen.range = Some((first.parse().ok()?, end));
            }
            _ => {}
        }
    }
}

fn answer(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// The whole file or the range of it that was asked for.
fn file(seen: &Seen, bytes: &[u8]) -> Vec<u8> {
    let Some((first, end)) = seen.range else { return answer(200, "", bytes) };
    let (len, end) = (bytes.len() as u64, end.min(bytes.len() as u64));
    if first >= end {
        return answer(416, &format!("Content-Range: bytes */{len}\r\n"), b"");
    }
    let range = format!("Content-Range: bytes {first}-{}/{len}\r\n", end - 1);
    answer(206, &range, &bytes[first as usize..end as usize])
}

impl State {
    fn hub(&mut self, seen: &Seen, storage: &str) -> Vec<u8> {
        let (path, query) = seen.path.split_once('?').unwrap_or((&seen.path, ""));
        if let Some(token) = &self.token {
            match &seen.authorization {
                None => return answer(401, "X-Error-Code: GatedRepo\r\n", b"who are you"),
                Some(given) if *given != format!("Bearer {token}") => return answer(401, "", b"who is that"),
                Some(_) => {}
            }
        }
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match parts[..] {
            ["api", "models", org, name, "revision", revision] if format!("{org}/{name}") == REPO => {
                if revision != "main" && !self.commits.contains_key(revision) {
                    return answer(404, "X-Error-Code: RevisionNotFound\r\n", b"");
                }
                let commit = if revision == "main" { &self.main } else { revision };
                answer(200, "", format!(r#"{{"id":"{REPO}","sha":"{commit}","siblings":[]}}"#).as_bytes())
            }
            ["api", "models", org, name, "tree", commit, ref folder @ ..] if format!("{org}/{name}") == REPO => {
                self.page(commit, &folder.iter().map(|name| format!("{name}/")).collect::<String>(), query)
            }
            [org, name, "resolve", commit, ref file @ ..] if format!("{org}/{name}") == REPO => {
                self.resolve(seen, commit, &file.join("/"), storage)
            }
            // Where small files are answered from.
            ["api", "resolve-cache", commit, ref name @ ..] => {
                match self.commits.get(commit).and_then(|files| files.get(&name.join("/"))) {
                    Some(bytes) => file(seen, bytes),
                    None => answer(404, "", b""),
                }
            }
            _ => answer(404, "X-Error-Code: RepoNotFound\r\n", b"no such repository"),
        }
    }

    /// Two files a page, of those whose names start with `folder` and go no deeper.
    fn page(&self, commit: &str, folder: &str, query: &str) -> Vec<u8> {
        let Some(files) = self.commits.get(commit) else { return answer(404, "", b"") };
        let here = |name: &str| name.strip_prefix(folder).is_some_and(|rest| !rest.contains('/'));
        let files: Vec<_> = files.iter().filter(|(name, _)| here(name)).collect();
        if files.is_empty() && !folder.is_empty() {
            return answer(404, "X-Error-Code: EntryNotFound\r\n", b"");
        }
        let first: usize = query.split("cursor=").nth(1).and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
        let mut items = vec![r#"{"type":"directory","oid":"0","size":0,"path":"onnx"}"#.to_owned()];
        for (name, bytes) in files.iter().skip(first).take(2) {
            // As good as a hash, for a test.
            let id = bytes.iter().fold(7_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(*byte)));
            let mut item = format!(r#"{{"type":"file","oid":"git{id}","path":"{name}""#);
            let written = if bytes.len() > LARGE {
                write!(item, r#","size":135,"lfs":{{"oid":"sha{id}","size":{},"pointerSize":135}}}}"#, bytes.len())
            } else {
                write!(item, r#","size":{}}}"#, bytes.len())
            };
            written.expect("a string takes it");
            items.push(item);
        }
        // As a mirror that copies the answers of another host does.
        let next =
            format!("Link: <https://elsewhere.invalid/api?recursive=false&cursor={}>; rel=\"next\"\r\n", first + 2);
        let link = if first + 2 < files.len() { next } else { String::new() };
        answer(200, &link, format!("[{}]", items.join(",")).as_bytes())
    }

    fn resolve(&mut self, seen: &Seen, commit: &str, name: &str, storage: &str) -> Vec<u8> {
        let Some(bytes) = self.commits.get(commit).and_then(|files| files.get(name)) else {
            return answer(404, "X-Error-Code: EntryNotFound\r\n", b"");
        };
        if bytes.is_empty() {
            return file(seen, bytes);
        }
        if bytes.len() <= LARGE {
            return answer(307, &format!("Location: /api/resolve-cache/{commit}/{name}\r\n"), b"");
        }
        self.signatures += 1;
        let location = format!("{storage}/{commit}/{name}?signature=s{}", self.signatures);
        answer(302, &format!("Location: {location}\r\n"), b"moved")
    }

    fn stored(&mut self, seen: &Seen) -> Vec<u8> {
        let (path, signature) = seen.path.split_once("?signature=").unwrap_or((&seen.path, ""));
        let used = self.used.entry(signature.to_owned()).or_default();
        *used += 1;
        if signature.is_empty() || self.good_for.is_some_and(|good_for| *used > good_for) {
            return answer(403, "", b"the signature is too old");
        }
        let (commit, name) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
        match self.commits.get(commit).and_then(|files| files.get(name)) {
            Some(bytes) => file(seen, bytes),
            None => answer(404, "", b""),
        }
    }
}
