//! A small web server that misbehaves on a script: one act a request, and then its usual act.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the server does with a request.
#[derive(Clone, Debug)]
pub enum Act {
    /// What a good server does: 206 for a range, 200 for the whole, 404, 416.
    Serve,
    /// The same, after so many milliseconds.
    Slow(u64),
    /// 200 with the whole object, whatever was asked for.
    Whole,
    /// A status with headers, and an empty body.
    Status(u16, &'static str),
    /// Closes the connection without a word.
    Close,
    /// Never answers.
    Silence,
    /// The right head, so many bytes, and then nothing more.
    Stall(usize),
    /// The right answer, so many bytes every ten milliseconds.
    Trickle(usize),
    /// The right head, so many bytes, and the end of the connection.
    Break(usize),
    /// 206 with only the first so many bytes of the range, and honest about it.
    Short(usize),
    /// 206 whose `Content-Range` starts this much later.
    Shifted(u64),
    /// 206 with the whole object in place of the range, and honest about it.
    WholeAs206,
    /// 206 with so many bytes more than asked for, announced by `Content-Length`.
    Longer(usize),
    /// The same without a length: the end of the connection is the end.
    LongerUnsaid(usize),
    /// The right bytes, said to be compressed.
    Gzip,
    /// 302 to a path.
    Redirect(&'static str),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The path with its query string.
    pub path: String,
    /// The value of `Range`.
    pub range: Option<String>,
    /// Lower-case names with their values.
    pub headers: BTreeMap<String, String>,
}

#[derive(Default)]
struct Shared {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    script: Mutex<VecDeque<Act>>,
    usual: Mutex<Option<Act>>,
    seen: Mutex<Vec<Seen>>,
    in_flight: AtomicU64,
    most_in_flight: AtomicU64,
    left_early: AtomicU64,
    stop: AtomicBool,
}

/// The server; it ends when dropped.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Server {
    /// Serves `files` under `/`.
    pub fn new(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared::default());
        *shared.files.lock().expect("unpoisoned") = files.into_iter().collect();
        let (accepting, thread) = (Arc::clone(&shared), move |shared: Arc<Shared>| {
            for stream in listener.incoming().flatten() {
                if shared.stop.load(SeqCst) {
                    return;
                }
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || converse(&stream, &shared));
            }
        });
        std::thread::spawn(move || thread(accepting));
        Self { address, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// The acts of the next requests, in order.
    pub fn script(&self, acts: impl IntoIterator<Item = Act>) {
        self.shared.script.lock().expect("unpoisoned").extend(acts);
    }

    /// The act of every request beyond the script.
    pub fn usually(&self, act: Act) {
        *self.shared.usual.lock().expect("unpoisoned") = Some(act);
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().expect("unpoisoned").clone()
    }

    /// The ranges asked for so far, as `a-b`, and `whole` where none was.
    pub fn ranges(&self) -> Vec<String> {
        let shown = |range: Option<String>| range.map_or("whole".into(), |range| range.replace("bytes=", ""));
        self.seen().into_iter().map(|seen| shown(seen.range)).collect()
    }

    pub fn most_in_flight(&self) -> u64 {
        self.shared.most_in_flight.load(SeqCst)
    }

    /// Connections that the client closed before it had the whole answer.
    pub fn left_early(&self) -> u64 {
        self.shared.left_early.load(SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

/// Answers the requests of a connection, until either side closes it.
fn converse(stream: &TcpStream, shared: &Shared) {
    let mut reader = BufReader::new(stream);
    while let Some(seen) = request(&mut reader) {
        shared.seen.lock().expect("unpoisoned").push(seen.clone());
        let scripted = shared.script.lock().expect("unpoisoned").pop_front();
        let usual = || shared.usual.lock().expect("unpoisoned").clone().unwrap_or(Act::Serve);
        let act = scripted.unwrap_or_else(usual);
        let now = shared.in_flight.fetch_add(1, SeqCst) + 1;
        shared.most_in_flight.fetch_max(now, SeqCst);
        let keep = answer(stream, shared, &seen, &act);
        shared.in_flight.fetch_sub(1, SeqCst);
        if !keep {
            return;
        }
    }
}

fn request(reader: &mut BufReader<&TcpStream>) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Some(Seen { path, range: headers.get("range").cloned(), headers })
}

/// A range `first..end` of an object of `len` bytes; `None` where it starts past the end.
fn range_of(text: &str, len: u64) -> Option<(u64, u64)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let first: u64 = first.parse().ok()?;
    let end = if last.is_empty() { len } else { len.min(last.parse::<u64>().ok()?.saturating_add(1)) };
    (first < end).then_some((first, end))
}

/// What goes over the wire.
struct Answer<'a> {
    status: u16,
    headers: String,
    /// `None`: the connection's end is the body's.
    length: Option<usize>,
    body: &'a [u8],
    keep: bool,
}

/// Carries out an act; whether the connection goes on.
fn answer(stream: &TcpStream, shared: &Shared, seen: &Seen, act: &Act) -> bool {
    let path = seen.path.split('?').next().unwrap_or_default().trim_start_matches('/').to_owned();
    let files = shared.files.lock().expect("unpoisoned").clone();
    let file = files.get(&path);
    match act {
        Act::Slow(milliseconds) => std::thread::sleep(Duration::from_millis(*milliseconds)),
        Act::Status(status, headers) => return send(stream, shared, &plain(*status, headers)),
        Act::Redirect(to) => return send(stream, shared, &plain(302, &format!("Location: {to}\r\n"))),
        Act::Close => return false,
        Act::Silence => return wait_for_the_client(stream, shared),
        _ => {}
    }
    let Some(file) = file else { return send(stream, shared, &plain(404, "")) };
    let len = file.len() as u64;
    let whole = Answer { status: 200, headers: String::new(), length: Some(file.len()), body: file, keep: true };
    let Some(range) = seen.range.as_deref().filter(|_| !matches!(act, Act::Whole)) else {
        return finish(stream, shared, whole, act);
    };
    let Some((first, end)) = range_of(range, len) else {
        return send(stream, shared, &plain(416, &format!("Content-Range: bytes */{len}\r\n")));
    };
    let body = &file[first as usize..end as usize];
    let (first, body) = match act {
        Act::Short(bytes) => (first, &body[..*bytes]),
        Act::Shifted(by) => (first + by, body),
        Act::WholeAs206 => (0, &file[..]),
        Act::Longer(more) | Act::LongerUnsaid(more) => (first, &file[first as usize..end as usize + more]),
        _ => (first, body),
    };
    // A server that sends more still says what was asked for.
    let last = if matches!(act, Act::Longer(_) | Act::LongerUnsaid(_)) { end } else { first + body.len() as u64 } - 1;
    let headers = format!("Content-Range: bytes {first}-{last}/{len}\r\n");
    finish(stream, shared, Answer { status: 206, headers, length: Some(body.len()), body, keep: true }, act)
}

/// The end of an answer with a body: what the act does to any body.
fn finish(stream: &TcpStream, shared: &Shared, mut answer: Answer<'_>, act: &Act) -> bool {
    match act {
        Act::Gzip => answer.headers.push_str("Content-Encoding: gzip\r\n"),
        Act::Stall(bytes) | Act::Break(bytes) => {
            answer.body = &answer.body[..*bytes];
            answer.keep = false;
        }
        Act::LongerUnsaid(_) => (answer.length, answer.keep) = (None, false),
        _ => {}
    }
    if let Act::Trickle(bytes) = act {
        return trickle(stream, shared, &answer, *bytes);
    }
    let keep = send(stream, shared, &answer);
    if matches!(act, Act::Stall(_)) { wait_for_the_client(stream, shared) } else { keep }
}

fn plain(status: u16, headers: &str) -> Answer<'static> {
    Answer { status, headers: headers.to_owned(), length: Some(0), body: &[], keep: true }
}

fn send(mut stream: &TcpStream, shared: &Shared, answer: &Answer<'_>) -> bool {
    let length = answer.length.map(|length| format!("Content-Length: {length}\r\n"));
    let length = length.unwrap_or("Connection: close\r\n".into());
    let head = format!("HTTP/1.1 {} Said\r\n{length}{}\r\n", answer.status, answer.headers);
    let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(answer.body));
    if sent.is_err() {
        shared.left_early.fetch_add(1, SeqCst);
    }
    sent.is_ok() && answer.keep
}

/// Sends the head, and the body a little at a time.
fn trickle(mut stream: &TcpStream, shared: &Shared, answer: &Answer<'_>, bytes: usize) -> bool {
    if !send(stream, shared, &Answer { body: &[], headers: answer.headers.clone(), ..*answer }) {
        return false;
    }
    for part in answer.body.chunks(bytes) {
        std::thread::sleep(Duration::from_millis(10));
        if stream.write_all(part).is_err() {
            shared.left_early.fetch_add(1, SeqCst);
            return false;
        }
    }
    answer.keep
}

/// Waits, with nothing more to say, until the client closes the connection.
fn wait_for_the_client(mut stream: &TcpStream, shared: &Shared) -> bool {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
    if matches!(stream.read(&mut [0]), Ok(0) | Err(_)) {
        shared.left_early.fetch_add(1, SeqCst);
    }
    false
}
