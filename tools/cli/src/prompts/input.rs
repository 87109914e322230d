//! The lines of the input, read ahead by a thread, so that an answer under way never waits for the next line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use serde_json::Value;
use tilestream::{Error, ErrorKind, Result};

use super::line::{Defaults, Job, id_of};
use super::output::Answered;
use crate::model::{utf8, without_bom};

/// Lines that are read ahead.
pub const READ_AHEAD: usize = 64;
/// Longer lines are refused: memory for them would have to be found first.
const LONGEST_LINE_BYTES: u64 = 64 << 20;
/// How often a wait looks whether it shall end.
const LOOK: Duration = Duration::from_millis(20);

/// A line that has no answer yet.
pub struct Entry {
    /// Its number in the input, from 1.
    pub index: u64,
    pub id: Option<Value>,
    pub job: Result<Job>,
}

/// What the reading thread tells.
enum News {
    Entry(Box<Entry>),
    /// Lines that were answered before, in all.
    End(Lines),
    Failed(Error),
}

/// What the input had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// Lines that are not empty.
    pub all: u64,
    /// Answers to lines that the input does not have (any more).
    pub gone: Vec<u64>,
}

/// What comes next.
pub enum Next {
    Entry(Box<Entry>),
    /// Nothing yet; more may come.
    Nothing,
    End,
}

/// The input, being read.
pub struct Input {
    news: Receiver<News>,
    end: Option<Lines>,
}

/// A source of lines: `-` is standard input.
///
/// # Errors
/// Those of opening the file.
pub fn open(path: &Path) -> Result<Box<dyn Read + Send>> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdin()));
    }
    let file = File::open(path).map_err(|error| Error::io(error, path.display().to_string()))?;
    Ok(Box::new(file))
}

/// Lines of a regular file that are not empty; none where that cannot be known.
pub fn count(path: &Path) -> Option<u64> {
    let file = File::open(path)
        .ok()
        .filter(|_| path != Path::new("-"))
        .filter(|file| file.metadata().is_ok_and(|data| data.is_file()))?;
    let mut lines = LineReader::new(file);
    let mut count = 0;
    while let Ok(Some(line)) = lines.next() {
        count += u64::from(!line.bytes.trim_ascii().is_empty());
    }
    Some(count)
}

impl Input {
    /// Starts to read; lines that are answered are skipped.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub fn start(source: Box<dyn Read + Send>, name: String, defaults: Defaults, answered: Answered) -> Result<Self> {
        let (send, news) = sync_channel(READ_AHEAD);
        let read = move || {
            let end = match read_all(source, &name, &defaults, answered, &send) {
                Ok(lines) => News::End(lines),
                Err(error) => News::Failed(error),
            };
            // Nobody listens any more where the command ended first.
            let _ = send.send(end);
        };
        let thread = std::thread::Builder::new().name("prompts".into()).spawn(read);
        thread.map_err(|error| Error::io(error, "a thread that reads the prompts"))?;
        Ok(Self { news, end: None })
    }

    /// The next line without an answer, after `wait` at most.
    ///
    /// # Errors
    /// Those of reading, [`ErrorKind::Argument`] for a line that changed since it was answered, and
    /// [`ErrorKind::Cancelled`].
    pub fn next(&mut self, wait: Duration, stop: &AtomicBool) -> Result<Next> {
        let start = std::time::Instant::now();
        while self.end.is_none() {
            match self.news.recv_timeout(LOOK.min(wait)) {
                Ok(News::Entry(entry)) => return Ok(Next::Entry(entry)),
                Ok(News::End(lines)) => self.end = Some(lines),
                Ok(News::Failed(error)) => return Err(error),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::new(ErrorKind::Io, "the thread that reads the prompts ended"));
                }
                Err(RecvTimeoutError::Timeout) if stop.load(Ordering::Relaxed) => {
                    return Err(Error::new(ErrorKind::Cancelled, "stopped"));
                }
                Err(RecvTimeoutError::Timeout) if start.elapsed() >= wait => return Ok(Next::Nothing),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        Ok(Next::End)
    }

    /// What the input had, once it has ended.
    pub fn lines(&self) -> Option<&Lines> {
        self.end.as_ref()
    }
}

fn read_all(
    source: Box<dyn Read + Send>,
    name: &str,
    defaults: &Defaults,
    mut answered: Answered,
    send: &SyncSender<News>,
) -> Result<Lines> {
    let mut lines = LineReader::new(source);
    let mut all = 0;
    while let Some(line) = lines.next().map_err(|error| Error::io(error, name))? {
        if line.bytes.trim_ascii().is_empty() {
            continue;
        }
        all += 1;
        let Some(entry) = entry(line, name, defaults, &mut answered)? else { continue };
        if send.send(News::Entry(Box::new(entry))).is_err() {
            break;
        }
    }
    let mut gone: Vec<_> = answered.into_keys().collect();
    gone.sort_unstable();
    Ok(Lines { all, gone })
}

/// A line, unless it is answered.
fn entry(line: RawLine, name: &str, defaults: &Defaults, answered: &mut Answered) -> Result<Option<Entry>> {
    let index = line.number;
    let known = answered.remove(&index);
    let (id, job) = match line.text() {
        Ok(text) => match Job::parse(&text, defaults) {
            Ok(mut job) => (job.id.take(), Ok(job)),
            Err(error) => (id_of(&text), Err(error)),
        },
        Err(error) => (None, Err(error)),
    };
    let key = job.as_ref().ok().map(|job| &job.key);
    match known {
        Some(known) if Some(&known) == key => Ok(None),
        Some(_) => {
            let message = "this line, the options or the model changed since it was answered";
            let remedy = "give another --out, or delete the answers";
            Err(Error::new(ErrorKind::Argument, message).file(format!("{name}:{index}")).remedy(remedy))
        }
        None => Ok(Some(Entry { index, id, job })),
    }
}

/// Reads lines of a bounded length.
struct LineReader<R> {
    source: BufReader<R>,
    number: u64,
}

struct RawLine {
    /// From 1.
    number: u64,
    /// With its end; the beginning only, where it is too long.
    bytes: Vec<u8>,
    too_long: bool,
}

impl<R: Read> LineReader<R> {
    fn new(source: R) -> Self {
        Self { source: BufReader::new(source), number: 0 }
    }

    fn next(&mut self) -> std::io::Result<Option<RawLine>> {
        let mut bytes = Vec::new();
        self.source.by_ref().take(LONGEST_LINE_BYTES).read_until(b'\n', &mut bytes)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        let too_long = bytes.len() as u64 == LONGEST_LINE_BYTES && !bytes.ends_with(b"\n");
        if too_long {
            self.source.skip_until(b'\n')?;
        }
        if self.number == 1 {
            bytes = without_bom(bytes);
        }
        Ok(Some(RawLine { number: self.number, bytes, too_long }))
    }
}

impl RawLine {
    fn text(self) -> Result<String> {
        if self.too_long {
            let message = format!("is longer than {} MiB", LONGEST_LINE_BYTES >> 20);
            return Err(Error::new(ErrorKind::Malformed, message));
        }
        utf8(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use tilestream::GenerateOptions;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn defaults() -> Defaults {
        Defaults { options: GenerateOptions::default(), system: None, raw: false, model: "m".into() }
    }

    /// The numbers of the lines to answer (bad ones negative), and the end.
    fn read(text: &[u8], answered: Answered) -> Result<(Vec<i64>, Lines)> {
        let stop = AtomicBool::new(false);
        let source = Box::new(std::io::Cursor::new(text.to_vec()));
        let mut input = Input::start(source, "in".into(), defaults(), answered)?;
        let mut seen = Vec::new();
        while let Next::Entry(entry) = input.next(SOON, &stop)? {
            seen.push(if entry.job.is_ok() { entry.index as i64 } else { -(entry.index as i64) });
        }
        Ok((seen, input.lines().expect("the end").clone()))
    }

    fn key(line: &str) -> String {
        Job::parse(line, &defaults()).expect(line).key
    }

    #[test]
    fn lines_have_the_numbers_of_the_file_and_bad_ones_do_not_end_the_rest() {
        let text = b"\xef\xbb\xbf{\"prompt\": \"a\"}\r\n\n  \nnonsense\n{\"prompt\": \"\xff\"}\n{\"prompt\": \"b\"}";
        let (seen, lines) = read(text, Answered::new()).expect("reads");
        assert_eq!(seen, [1, -4, -5, 6]);
        assert_eq!(lines, Lines { all: 4, gone: Vec::new() });
        assert_eq!(read(b"", Answered::new()).expect("reads"), (Vec::new(), Lines::default()));
    }

    #[test]
    fn answered_lines_are_skipped_changed_and_vanished_ones_are_noticed() {
        let (a, b) = (r#"{"prompt": "a"}"#, r#"{"prompt": "b"}"#);
        let text = format!("{a}\n{b}\n");
        let (seen, lines) = read(text.as_bytes(), Answered::from([(1, key(a)), (7, key(b))])).expect("reads");
        assert_eq!((seen, lines.gone), (vec![2], vec![7]));
        for (index, known) in [(1, key(b)), (2, key(a))] {
            let error = read(text.as_bytes(), Answered::from([(index, known)])).expect_err("changed").to_string();
            assert!(error.contains(&format!("in:{index}: ")) && error.contains("changed"), "{error}");
        }
    }

    #[test]
    fn a_wait_for_the_next_line_can_be_stopped() {
        struct Never;
        impl Read for Never {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                std::thread::sleep(SOON);
                Ok(0)
            }
        }
        let mut input = Input::start(Box::new(Never), "in".into(), defaults(), Answered::new()).expect("starts");
        assert!(matches!(input.next(Duration::ZERO, &AtomicBool::new(false)), Ok(Next::Nothing)));
        let stopped = input.next(SOON, &AtomicBool::new(true)).err().expect("stops");
        assert_eq!(stopped.kind(), ErrorKind::Cancelled);
    }
}
