//! A folder of files, read by position.

use std::fs::{self, File};
use std::future::ready;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::direct::OpenFile;
use super::handles::Handles;
use super::{Disk, Figure, Originals, ReadMode, Revision, Stop, Store, check_name, measure};
use crate::platform::BoxFuture;
use crate::words::Term;
use crate::{Error, ErrorKind, Result};

/// Read access to the files of one folder (links are followed, folders within are not). Its futures complete at once.
#[derive(Debug)]
pub struct FileStore {
    folder: PathBuf,
    /// Where small files are looked for that are not there.
    beside: Option<PathBuf>,
    /// The file that says that something here is damaged, where somebody makes it good.
    marker: Option<PathBuf>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    files: Handles<OpenFile>,
    /// How files are opened from now on.
    mode: ReadMode,
}

impl FileStore {
    /// A store of the files in `folder`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] or [`ErrorKind::Io`] where `folder` is not a folder that can be read.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        let shown = folder.display().to_string();
        if !fs::metadata(&folder).map_err(|error| Error::io(error, &shown))?.is_dir() {
            return Err(Error::new(ErrorKind::Argument, "not a folder").file(shown));
        }
        fs::read_dir(&folder).map_err(|error| Error::io(error, shown))?;
        Ok(Self { folder, beside: None, marker: None, open: Mutex::default() })
    }

    /// The same; a config or a tokenizer that is not in it is taken from the folder `beside`, weights are not.
    pub fn beside(self, beside: impl Into<PathBuf>) -> Self {
        Self { beside: Some(beside.into()), ..self }
    }

    /// The same, of a model that is made again where a file `marker` says that it is damaged.
    pub fn with_damage_marker(self, marker: impl Into<PathBuf>) -> Self {
        Self { marker: Some(marker.into()), ..self }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Closes the handle of a file, because another file gets its name.
    pub(super) fn close(&self, name: &str) {
        self.handles().files.remove(name);
    }

    // A panic elsewhere cannot leave the table half-changed: every change is one call on it.
    fn handles(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn handle(&self, name: &str) -> Result<Arc<OpenFile>> {
        let mode = {
            let mut open = self.handles();
            if let Some(file) = open.files.get(name) {
                return Ok(file);
            }
            open.mode
        };
        let file = Arc::new(self.open_file(name, mode)?);
        self.handles().files.insert(name, Arc::clone(&file));
        Ok(file)
    }

    /// Opens a file beside the table of handles.
    pub(super) fn open_file(&self, name: &str, mode: ReadMode) -> Result<OpenFile> {
        check_name(name)?;
        let path = self.path(name);
        let open = || {
            // Opening a pipe would wait for its other end, and a folder opens but does not read.
            if !fs::metadata(&path)?.is_file() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
            }
            OpenFile::open(&path, mode)
        };
        open().map_err(|error| Error::io(error, self.describe(name)))
    }

    fn path(&self, name: &str) -> PathBuf {
        let own = self.folder.join(name);
        match &self.beside {
            Some(beside) if describes(name) && !own.exists() => beside.join(name),
            _ => own,
        }
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            // A name that is not UTF-8 or a link to nowhere cannot be one of ours.
            let is_file = fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_file());
            if let (true, Ok(name)) = (is_file, entry.file_name().into_string()) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }
}

impl Store for FileStore {
    fn len<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<u64>> {
        let len = self.handle(name).and_then(|file| {
            let metadata = file.file.metadata().map_err(|error| Error::io(error, self.describe(name)))?;
            Ok(metadata.len())
        });
        Box::pin(ready(len))
    }

    fn read_at<'a>(&'a self, name: &'a str, offset_bytes: u64, buffer: &'a mut [u8]) -> BoxFuture<'a, Result<()>> {
        let result = self.handle(name).and_then(|file| {
            let end = offset_bytes.checked_add(buffer.len() as u64);
            // Beyond i64 the system calls answer with "invalid argument" instead of the end of the file.
            if end.is_none_or(|end| i64::try_from(end).is_err()) {
                let message = format!("{} bytes at {offset_bytes} lie past any file's end", buffer.len());
                return Err(Error::new(ErrorKind::Truncated, message).file(self.describe(name)));
            }
            file.read_exact_at(offset_bytes, buffer).map_err(|error| Error::io(error, self.describe(name)))
        });
        Box::pin(ready(result))
    }

    fn revision(&self, name: &str) -> Result<Option<Revision>> {
        let file = self.handle(name)?;
        let now = Revision::of(&file.file).map_err(|error| Error::io(error, self.describe(name)))?;
        if now == file.opened() {
            return Ok(Some(now));
        }
        // Another file may have the name by now.
        self.close(name);
        Ok(Some(self.handle(name)?.opened()))
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        let names = self.names().map_err(|error| Error::io(error, self.folder.display().to_string()));
        Box::pin(ready(names))
    }

    fn describe(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn stamp(&self, name: &str) -> Option<String> {
        check_name(name).ok()?;
        let metadata = fs::metadata(self.path(name)).ok()?;
        Some(format!("{} {:?} {}", metadata.len(), metadata.modified().ok()?, identity(&metadata)))
    }

    fn note_damage(&self, name: &str) -> Option<&'static str> {
        fs::write(self.marker.as_ref()?, name).ok()?;
        Some("start again: it is then made anew from the checkpoint")
    }

    fn disk(&self) -> Option<&dyn Disk> {
        Some(self)
    }
}

impl Disk for FileStore {
    fn set_mode(&self, mode: ReadMode, name: &str) -> Result<ReadMode> {
        let mode = self.open_file(name, mode)?.mode();
        let mut handles = self.handles();
        handles.mode = mode;
        handles.files.clear();
        Ok(mode)
    }

    fn file_system(&self) -> Option<String> {
        measure::file_system(&self.folder)
    }

    fn measure(&self, files: &[(&str, u64)], stop: Stop<'_>) -> Result<Vec<Figure>> {
        measure::measure(self, files, stop)
    }
}

/// Whether a file's name is that of a config or of a tokenizer.
fn describes(name: &str) -> bool {
    const ENDINGS: &[&str] = &[".json", ".jinja", ".model", ".tiktoken", "merges.txt"];
    ENDINGS.iter().any(|ending| name.ends_with(ending)) && !name.ends_with(".index.json")
}

/// What tells a file from another that gets its name.
#[cfg(unix)]
fn identity(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn identity(_metadata: &fs::Metadata) -> u64 {
    0
}

#[cfg(unix)]
pub(super) fn read_exact_at(file: &File, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset_bytes)
}

#[cfg(windows)]
pub(super) fn read_exact_at(file: &File, mut offset_bytes: u64, mut buffer: &mut [u8]) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    // `seek_read` moves the handle's cursor, which nobody uses; the position of the read is its own argument.
    while !buffer.is_empty() {
        match file.seek_read(buffer, offset_bytes) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends before the range")),
            Ok(read) => {
                buffer = &mut buffer[read..];
                offset_bytes += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(unix)]
pub(super) fn write_all_at(file: &File, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset_bytes)
}

#[cfg(windows)]
pub(super) fn write_all_at(file: &File, mut offset_bytes: u64, mut bytes: &[u8]) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !bytes.is_empty() {
        match file.seek_write(bytes, offset_bytes) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::WriteZero, "nothing more could be written")),
            Ok(written) => {
                bytes = &bytes[written..];
                offset_bytes += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The files of a Hugging Face cache are links `snapshots/<revision>/<file>` to `blobs/<hash>`: removing one means to
/// remove both, unless another revision links to the blob.
impl Originals for FileStore {
    fn may_remove(&self, name: &str) -> Result<()> {
        check_name(name)?;
        let link = self.folder.join(name);
        let metadata = match fs::symlink_metadata(&link) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io(error, self.describe(name))),
        };
        if !metadata.is_symlink() {
            return Ok(());
        }
        let target = fs::canonicalize(&link).map_err(|error| Error::io(error, self.describe(name)))?;
        let refuse = |why: String| {
            let remedy = "split without " + Term::Originals + ", and remove the original yourself";
            Err(Error::new(ErrorKind::Argument, why).file(self.describe(name)).remedy(remedy))
        };
        let Some(cache) = cache_of(&self.folder, &target) else {
            return refuse(format!("a link to {}, which belongs to somebody else", target.display()));
        };
        match other_link(&cache, &link, &target) {
            Some(other) => refuse(format!("its bytes are shared with {}", other.display())),
            None => Ok(()),
        }
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        let result = self.may_remove(name).and_then(|()| {
            self.close(name);
            let link = self.folder.join(name);
            let target = fs::canonicalize(&link).unwrap_or_else(|_| link.clone());
            for path in [&target, &link] {
                match fs::remove_file(path) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(Error::io(error, path.display().to_string())),
                }
            }
            Ok(())
        });
        Box::pin(ready(result))
    }
}

/// The repository's folder of a Hugging Face cache, if `folder` is one of its snapshots and `target` one of its blobs.
fn cache_of(folder: &Path, target: &Path) -> Option<PathBuf> {
    let folder = fs::canonicalize(folder).ok()?;
    let snapshots = folder.parent()?;
    let repository = snapshots.parent()?;
    let is_cache = snapshots.file_name()? == "snapshots" && target.parent()? == repository.join("blobs");
    is_cache.then(|| repository.to_owned())
}

/// Another snapshot's link to the same blob.
fn other_link(repository: &Path, link: &Path, target: &Path) -> Option<PathBuf> {
    let own = fs::canonicalize(link.parent()?).ok()?.join(link.file_name()?);
    let snapshots = fs::read_dir(repository.join("snapshots")).ok()?;
    let mut links = snapshots.flatten().flat_map(|entry| fs::read_dir(entry.path()).into_iter().flatten().flatten());
    links.find_map(|entry| {
        let same = entry.path() != own && fs::canonicalize(entry.path()).is_ok_and(|other| other == target);
        same.then(|| entry.path())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;
    use crate::store::handles::MAX_OPEN;

    fn filled() -> (tempfile::TempDir, FileStore) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, bytes) in conformance::objects() {
            fs::write(folder.path().join(name), bytes).expect("written");
        }
        let store = FileStore::open(folder.path()).expect("opened");
        (folder, store)
    }

    #[test]
    fn it_keeps_the_guarantees_of_a_store() {
        let (folder, store) = filled();
        fs::create_dir(folder.path().join("sub")).expect("made");
        fs::write(folder.path().join("sub/object"), b"x").expect("written");
        pollster::block_on(conformance::check(&store)).expect("conforms");
        assert!(pollster::block_on(store.len("sub")).is_err(), "a folder is no object");
    }

    #[test]
    fn it_keeps_them_past_the_cache_too() {
        let (_folder, store) = filled();
        for wanted in [ReadMode::Direct, ReadMode::Uring] {
            let mode = store.set_mode(wanted, "pages.bin").expect("a mode");
            if mode != wanted {
                println!("skipped: no {wanted} reads in the folder of temporary files");
                continue;
            }
            pollster::block_on(conformance::check(&store)).expect("conforms");
        }
        assert_eq!(store.set_mode(ReadMode::Buffered, "pages.bin").expect("a mode"), ReadMode::Buffered);
        assert_eq!(store.handle("pages.bin").expect("opens").mode(), ReadMode::Buffered, "no handle is left over");
        assert!(store.set_mode(ReadMode::Direct, "absent").is_err());
    }

    #[test]
    fn what_describes_weights_may_lie_in_the_folder_beside() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let within = folder.path().join("within");
        fs::create_dir(&within).expect("made");
        for (path, bytes) in [
            ("config.json", "theirs"),
            ("tokenizer.json", "theirs"),
            ("model.safetensors", "theirs"),
            ("model.safetensors.index.json", "theirs"),
            ("within/config.json", "own"),
        ] {
            fs::write(folder.path().join(path), bytes).expect("written");
        }
        let store = FileStore::open(&within).expect("opened").beside(folder.path());
        let len = |name: &str| pollster::block_on(store.len(name)).map_err(|error| error.kind());
        assert_eq!((len("config.json"), len("tokenizer.json")), (Ok(3), Ok(6)));
        for name in ["model.safetensors", "model.safetensors.index.json", "absent.json"] {
            assert_eq!(len(name), Err(ErrorKind::NotFound), "{name}");
        }
        assert_eq!(len("../config.json"), Err(ErrorKind::Argument));
        assert_eq!(pollster::block_on(store.list()).expect("listed"), ["config.json"]);
    }

    #[test]
    fn threads_read_without_disturbing_each_other() {
        let (_folder, store) = filled();
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| pollster::block_on(conformance::check(&store)))).collect();
            for thread in threads {
                thread.join().expect("no panic").expect("conforms");
            }
        });
    }

    #[test]
    fn open_handles_are_bounded() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for i in 0..MAX_OPEN + 40 {
            fs::write(folder.path().join(i.to_string()), [i as u8]).expect("written");
        }
        let store = FileStore::open(folder.path()).expect("opened");
        for i in (0..MAX_OPEN + 40).chain(0..MAX_OPEN + 40) {
            let mut byte = [0];
            pollster::block_on(store.read_at(&i.to_string(), 0, &mut byte)).expect("read");
            assert_eq!(byte, [i as u8]);
            assert!(store.handles().files.len() <= MAX_OPEN);
        }
    }

    #[test]
    fn a_file_that_was_replaced_or_written_to_has_another_revision() {
        let (folder, store) = filled();
        let path = folder.path().join("pages.bin");
        let revision = || store.revision("pages.bin").expect("there").expect("files have one");
        let byte = || {
            let mut byte = [0];
            pollster::block_on(store.read_at("pages.bin", 9, &mut byte)).expect("reads");
            byte[0]
        };
        let (mut last, old) = (revision(), byte());
        assert_eq!(revision(), last, "reading changes nothing");
        type Change = fn(&Path, &[u8]);
        let changes: [(&str, Change); 3] = [
            ("rewritten", |path, bytes| fs::write(path, bytes).expect("written")),
            ("replaced", |path, bytes| {
                let other = path.with_extension("new");
                fs::write(&other, bytes).expect("written");
                fs::rename(other, path).expect("renamed");
            }),
            ("removed and made anew", |path, bytes| {
                fs::remove_file(path).expect("removed");
                fs::write(path, bytes).expect("written");
            }),
        ];
        for (step, (what, change)) in (1..).zip(changes) {
            // The clock of a file system may tick no faster than this.
            std::thread::sleep(std::time::Duration::from_millis(12));
            change(&path, &[old.wrapping_add(step); 300_001]);
            assert_ne!(revision(), last, "{what}");
            assert_eq!(byte(), old.wrapping_add(step), "{what}: what is read then is the new file");
            last = revision();
        }
        fs::remove_file(&path).expect("removed");
        assert_eq!(store.revision("pages.bin").map_err(|error| error.kind()), Err(ErrorKind::NotFound));
    }

    #[test]
    fn a_folder_that_is_none_is_refused() {
        let (folder, _) = filled();
        let kind = |path: PathBuf| FileStore::open(path).err().map(|error| error.kind());
        assert_eq!(kind(folder.path().join("one.bin")), Some(ErrorKind::Argument));
        assert_eq!(kind(folder.path().join("absent")), Some(ErrorKind::NotFound));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_read_through_and_removed_with_care() {
        use std::os::unix::fs::symlink;
        let root = tempfile::tempdir().expect("a temporary folder");
        let repository = root.path().join("models--a--b");
        let [first, second] = ["1", "2"].map(|revision| repository.join("snapshots").join(revision));
        for folder in [&first, &second, &repository.join("blobs")] {
            fs::create_dir_all(folder).expect("made");
        }
        for blob in ["shared", "own"] {
            fs::write(repository.join("blobs").join(blob), blob).expect("written");
            symlink(format!("../../blobs/{blob}"), first.join(blob)).expect("linked");
        }
        symlink("../../blobs/shared", second.join("shared")).expect("linked");
        fs::write(root.path().join("elsewhere"), b"e").expect("written");
        symlink(root.path().join("elsewhere"), first.join("elsewhere")).expect("linked");

        let store = FileStore::open(&first).expect("opened");
        assert_eq!(pollster::block_on(store.len("own")).expect("a link reads"), 3);
        assert!(store.may_remove("shared").is_err(), "another snapshot needs the blob");
        assert!(store.may_remove("elsewhere").is_err(), "not of this cache");
        pollster::block_on(Originals::remove(&store, "own")).expect("removed");
        assert!(!repository.join("blobs/own").exists() && fs::symlink_metadata(first.join("own")).is_err());
        pollster::block_on(Originals::remove(&store, "own")).expect("already gone");
    }
}
