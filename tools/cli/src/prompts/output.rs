//! The answers: a line is appended for each as it is done, and is on the disk within about a second. What an earlier run
//! left is found again.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tilestream::{Error, ErrorKind, Result};

use crate::run::show;

/// Time between two writes through to the disk.
const BETWEEN_SYNCS: Duration = Duration::from_millis(500);
/// How every line begins.
const BEGINNING: &[u8] = b"{\"index\":";

/// The keys of lines that have an answer, by their index.
pub type Answered = HashMap<u64, String>;

/// Where answers go.
pub struct Output {
    /// `None`: standard output.
    out: Option<Box<dyn Write>>,
    name: String,
    syncer: Option<Syncer>,
}

/// What must stand in a line to be one of ours.
#[derive(Deserialize)]
struct Known {
    index: u64,
    key: Option<String>,
    error: Option<Value>,
}

impl Output {
    /// Opens a file and finds what is answered in it; `-` is standard output. A line that was cut off, and lines that say that
    /// there is no answer, are dropped.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a file of something else, or one that another process writes; those of the disk.
    pub fn open(path: &Path) -> Result<(Self, Answered)> {
        let name = path.display().to_string();
        if path == Path::new("-") {
            return Ok((Self { out: None, name: "standard output".into(), syncer: None }, Answered::new()));
        }
        let failed = |error| Error::io(error, name.clone());
        if std::fs::metadata(path).is_ok_and(|data| !data.is_file()) {
            // A pipe or a device: nothing to find in it, nothing to keep.
            let out: Box<dyn Write> = Box::new(OpenOptions::new().append(true).open(path).map_err(failed)?);
            return Ok((Self { out: Some(out), name, syncer: None }, Answered::new()));
        }
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(failed)?;
        lock(&file, &name)?;
        let found = find(&file, &name)?;
        if !found.drop.is_empty() {
            file = rewrite(file, path, &found.drop).map_err(failed)?;
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Makes the name durable too; systems that cannot open a folder need no such thing.
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
        let syncer = Syncer::start(Arc::new(file))?;
        Ok((Self { out: Some(Box::new(Arc::clone(&syncer.file))), name, syncer: Some(syncer) }, found.answered))
    }

    /// Appends a line.
    ///
    /// # Errors
    /// Those of the disk, also of earlier lines that did not get there.
    pub fn write(&mut self, line: &Value) -> Result<()> {
        let line = format!("{line}\n");
        let Some(out) = &mut self.out else { return show(&line) };
        let synced = self.syncer.as_ref().map_or(Ok(()), Syncer::check);
        let written = synced.and_then(|()| out.write_all(line.as_bytes())).and_then(|()| out.flush());
        written.map_err(|error| Error::io(error, self.name.clone()))?;
        if let Some(syncer) = &self.syncer {
            syncer.wake();
        }
        Ok(())
    }

    /// Returns when every line is on the disk.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn finish(&mut self) -> Result<()> {
        let synced =
            self.syncer.as_ref().map_or(Ok(()), |syncer| syncer.check().and_then(|()| syncer.file.sync_data()));
        synced.map_err(|error| Error::io(error, self.name.clone()))
    }
}

/// One process writes a file. Where a file system knows no locks, there is none.
fn lock(file: &File, name: &str) -> Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            Err(Error::new(ErrorKind::Argument, "another process writes its answers here")
                .file(name)
                .remedy("wait for it, or give another --out"))
        }
        _ => Ok(()),
    }
}

/// What a file of answers holds.
#[derive(Default)]
struct Found {
    answered: Answered,
    /// Bytes of lines that are no answers.
    drop: Vec<Range<u64>>,
}

fn find(mut file: &File, name: &str) -> Result<Found> {
    let failed = |error| Error::io(error, name);
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let (mut reader, mut found, mut line) = (BufReader::new(file), Found::default(), Vec::new());
    let (mut at, mut number) = (0, 0);
    loop {
        line.clear();
        let start = at;
        at += reader.read_until(b'\n', &mut line).map_err(failed)? as u64;
        if line.is_empty() {
            return Ok(found);
        }
        number += 1;
        match serde_json::from_slice::<Known>(&line) {
            Ok(Known { index, key: Some(key), error: None }) if line.ends_with(b"\n") => {
                found.answered.insert(index, key);
            }
            Ok(Known { error: Some(_), .. }) => found.drop.push(start..at),
            _ if torn(&line) && reader.fill_buf().map_err(failed)?.is_empty() => found.drop.push(start..at),
            _ => {
                let error = Error::new(ErrorKind::Argument, "is not an answer that this command wrote");
                return Err(error.file(format!("{name}:{number}")).remedy("give another --out, or delete the file"));
            }
        }
    }
}

/// Whether the last line of a file can be the beginning of one of ours: a process was killed in it, or the power went.
fn torn(line: &[u8]) -> bool {
    let compared = line.len().min(BEGINNING.len());
    line[..compared] == BEGINNING[..compared] || line.iter().all(|byte| *byte == 0)
}

/// The file without some ranges. It is replaced as a whole, or not at all.
fn rewrite(old: File, path: &Path, drop: &[Range<u64>]) -> std::io::Result<File> {
    let path = path.canonicalize()?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    new.as_file().set_permissions(old.metadata()?.permissions())?;
    let end = old.metadata()?.len();
    let mut out = BufWriter::new(new.as_file_mut());
    let mut at = 0;
    for range in drop.iter().cloned().chain(std::iter::once(end..end)) {
        let mut kept = &old;
        kept.seek(SeekFrom::Start(at))?;
        std::io::copy(&mut kept.take(range.start - at), &mut out)?;
        at = range.end;
    }
    out.flush()?;
    std::mem::drop(out);
    new.as_file().sync_data()?;
    // The lock is there before the file is; the old one's ends with it.
    let _ = new.as_file().try_lock();
    std::mem::drop(old);
    new.persist(&path).map_err(|error| error.error)
}

/// Writes what was appended through to the disk, soon, and not for each line.
struct Syncer {
    file: Arc<File>,
    wake: Sender<()>,
    failed: Arc<Mutex<Option<std::io::Error>>>,
}

impl Syncer {
    fn start(file: Arc<File>) -> Result<Self> {
        let (wake, woken) = channel();
        let (weak, failed) = (Arc::downgrade(&file), Arc::new(Mutex::new(None)));
        let syncer = Self { file, wake, failed: Arc::clone(&failed) };
        let thread = std::thread::Builder::new().name("syncer".into()).spawn(move || sync(&weak, &woken, &failed));
        thread.map_err(|error| Error::io(error, "a thread that writes answers to the disk"))?;
        Ok(syncer)
    }

    fn wake(&self) {
        // The thread lives as long as its sender.
        let _ = self.wake.send(());
    }

    fn check(&self) -> std::io::Result<()> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }
}

/// Holds the file only while it syncs, so that file and lock end with their owner.
fn sync(file: &Weak<File>, woken: &Receiver<()>, failed: &Mutex<Option<std::io::Error>>) {
    while woken.recv().is_ok() {
        while woken.try_recv().is_ok() {}
        let Some(file) = file.upgrade() else { return };
        if let Err(error) = file.sync_data() {
            *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
        drop(file);
        std::thread::sleep(BETWEEN_SYNCS);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(index: u64) -> Value {
        json!({ "index": index, "key": format!("k{index}"), "text": "a\u{e9}\n" })
    }

    fn bad(index: u64) -> Value {
        json!({ "index": index, "error": { "kind": "malformed", "message": "no" } })
    }

    fn text(lines: &[Value]) -> String {
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    fn open(path: &Path) -> Result<Vec<u64>> {
        let (_, answered) = Output::open(path)?;
        let mut indexes: Vec<_> = answered.into_keys().collect();
        indexes.sort_unstable();
        Ok(indexes)
    }

    #[test]
    fn a_file_cut_anywhere_keeps_its_whole_lines_and_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out");
        let whole = text(&[line(1), line(2), line(3)]);
        for cut in 0..=whole.len() {
            let lines = whole.as_bytes()[..cut].iter().filter(|byte| **byte == b'\n').count() as u64;
            // The thread that syncs may hold the last file, and its lock, for a moment.
            let _ = std::fs::remove_file(&path);
            std::fs::write(&path, &whole.as_bytes()[..cut]).expect("writes");
            let (mut output, answered) = Output::open(&path).unwrap_or_else(|error| panic!("{cut}: {error}"));
            assert_eq!(answered, (1..=lines).map(|index| (index, format!("k{index}"))).collect(), "cut at {cut}");
            output.write(&line(9)).expect("writes");
            let expected: Vec<_> = (1..=lines).chain([9]).map(line).collect();
            assert_eq!(std::fs::read_to_string(&path).expect("reads"), text(&expected), "cut at {cut}");
        }
    }

    #[test]
    fn a_tail_of_zeros_and_lines_without_an_answer_are_dropped() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out");
        let kept = text(&[line(1), line(4)]);
        for (what, content) in [
            ("zeros", [kept.as_bytes(), &[0; 100]].concat()),
            ("zeros in a line", [kept.as_bytes(), b"{\"index\":5,\"ke", &[0; 100]].concat()),
            ("bad lines", text(&[bad(2), line(1), bad(3), bad(3), line(4), bad(5)]).into_bytes()),
            ("a bad line and a torn one", [text(&[line(1), bad(3), line(4)]).as_bytes(), b"{\"ind"].concat()),
            ("bad and cut off", [kept.as_bytes(), bad(7).to_string().as_bytes()].concat()),
        ] {
            std::fs::write(&path, content).expect("writes");
            assert_eq!(open(&path).expect(what), [1, 4], "{what}");
            assert_eq!(std::fs::read_to_string(&path).expect("reads"), kept, "{what}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("lists").count(), 1, "nothing else is left");
    }

    #[test]
    fn a_file_of_something_else_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out");
        let torn_in_the_middle = format!("{{\"index\":1,\n{}", text(&[line(2)]));
        for content in ["my notes", "{\"prompt\": \"a\"}\n", "{\"ids\":[1],\"text\":\"\"}\n", &torn_in_the_middle] {
            std::fs::write(&path, content).expect("writes");
            let error = open(&path).expect_err(content).to_string();
            assert!(error.contains("out:1") && error.contains("--out"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).expect("reads"), content);
        }
    }

    #[test]
    fn two_writers_of_one_file_are_one_too_many() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out");
        for content in [String::new(), text(&[bad(1)])] {
            std::fs::write(&path, content).expect("writes");
            let (output, _) = Output::open(&path).expect("opens");
            let error = open(&path).expect_err("locked").to_string();
            assert!(error.contains("another process"), "{error}");
            drop(output);
            open(&path).expect("free again");
        }
    }
}
