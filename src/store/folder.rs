//! A folder that a model is written to.

use std::collections::HashMap;
use std::fs::{self, File};
use std::future::ready;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{FileStore, ModelSink, Store, check_name};
use crate::platform::BoxFuture;
use crate::{Error, ErrorKind, Result};

/// A sink of files in one folder, which no other process writes to meanwhile. Its futures complete at once.
#[derive(Debug)]
pub struct FolderSink {
    files: FileStore,
    writing: Mutex<HashMap<String, File>>,
    /// Held until the sink is dropped, or the process dies.
    _lock: Option<File>,
}

impl FolderSink {
    /// A sink in `folder`, which is made where it does not exist.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where the folder cannot be made or read, or where another sink writes to it.
    pub fn create(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        let shown = folder.display().to_string();
        let busy = || Error::new(ErrorKind::Io, "another process writes here").file(shown).remedy("wait for its end");
        Self::try_create(folder)?.ok_or_else(busy)
    }

    /// As [`FolderSink::create`], but `None` where another sink, of this process or another, writes to the folder.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where the folder cannot be made or read.
    pub fn try_create(folder: impl Into<PathBuf>) -> Result<Option<Self>> {
        let folder = folder.into();
        fs::create_dir_all(&folder).map_err(|error| Error::io(error, folder.display().to_string()))?;
        let files = FileStore::open(folder)?;
        match lock(files.folder()) {
            Ok(lock) => Ok(Some(Self { files, writing: Mutex::default(), _lock: lock })),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(Error::io(error, files.folder().display().to_string())),
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.files.folder()
    }

    // A panic elsewhere cannot leave the table half-changed: every change is one call on it.
    fn writing(&self) -> MutexGuard<'_, HashMap<String, File>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, name: &str) -> Result<PathBuf> {
        check_name(name)?;
        Ok(self.folder().join(name))
    }

    /// Runs a file operation and names the file in its error.
    fn on<T>(&self, name: &str, operation: impl FnOnce(&Path) -> io::Result<T>) -> Result<T> {
        let path = self.path(name)?;
        operation(&path).map_err(|error| Error::io(error, path.display().to_string()))
    }

    fn append_now(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.on(name, |_| {
            let mut writing = self.writing();
            let file = writing.get_mut(name).ok_or_else(|| io::Error::other("written to, but not created"))?;
            file.write_all(bytes)
        })
    }

    fn sync_now(&self, name: &str) -> Result<()> {
        let file = self.writing().remove(name);
        self.on(name, |_| file.ok_or_else(|| io::Error::other("synced, but not created"))?.sync_all())
    }

    fn rename_now(&self, from: &str, to: &str) -> Result<()> {
        let target = self.path(to)?;
        self.files.close(from);
        self.files.close(to);
        self.on(from, |path| fs::rename(path, target))
    }

    fn remove_now(&self, name: &str) -> Result<()> {
        self.writing().remove(name);
        self.files.close(name);
        self.on(name, |path| match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
    }

    fn entries_now(&self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(self.folder())?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names: Vec<String> = entries.collect::<io::Result<_>>()?;
        names.retain(|name| name != LOCK);
        names.sort();
        Ok(names)
    }
}

impl Store for FolderSink {
    fn len<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<u64>> {
        self.files.len(name)
    }

    fn read_at<'a>(&'a self, name: &'a str, offset_bytes: u64, buffer: &'a mut [u8]) -> BoxFuture<'a, Result<()>> {
        self.files.read_at(name, offset_bytes, buffer)
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        self.files.list()
    }

    fn describe(&self, name: &str) -> String {
        self.files.describe(name)
    }
}

impl ModelSink for FolderSink {
    fn create<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        self.files.close(name);
        let result = self.on(name, |path| File::create(path)).map(|file| {
            self.writing().insert(name.to_owned(), file);
        });
        Box::pin(ready(result))
    }

    fn append<'a>(&'a self, name: &'a str, bytes: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        Box::pin(ready(self.append_now(name, bytes)))
    }

    fn sync<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(ready(self.sync_now(name)))
    }

    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(ready(self.rename_now(from, to)))
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(ready(self.remove_now(name)))
    }

    fn sync_names(&self) -> BoxFuture<'_, Result<()>> {
        let result = sync_folder(self.folder());
        Box::pin(ready(result.map_err(|error| Error::io(error, self.folder().display().to_string()))))
    }

    fn entries(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        let names = self.entries_now().map_err(|error| Error::io(error, self.folder().display().to_string()));
        Box::pin(ready(names))
    }

    fn available_bytes(&self) -> BoxFuture<'_, Result<Option<u64>>> {
        let bytes = available(self.folder()).map_err(|error| Error::io(error, self.folder().display().to_string()));
        Box::pin(ready(bytes.map(Some)))
    }

    fn forget_cached<'a>(&'a self, name: &'a str) -> BoxFuture<'a, ()> {
        #[cfg(target_os = "linux")]
        if let Ok(file) = self.files.handle(name) {
            // A hint: where the system does not take it, the read comes from its cache.
            let _ = rustix::fs::fadvise(&file.file, 0, None, rustix::fs::Advice::DontNeed);
        }
        let _ = name;
        Box::pin(ready(()))
    }
}

/// The lock of a folder where the system has none for folders; the system removes it when it is closed.
const LOCK: &str = ".tilestream.lock";

/// Locks a folder against other sinks; fails with `WouldBlock` where one has it. `None` where the file system (some
/// network ones) has no locks: then it is the user's to start only one split at a time.
#[cfg(unix)]
fn lock(folder: &Path) -> io::Result<Option<File>> {
    let handle = File::open(folder)?;
    match handle.try_lock() {
        Ok(()) => Ok(Some(handle)),
        Err(fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        Err(fs::TryLockError::Error(_)) => Ok(None),
    }
}

/// Locks a folder by a file that nobody else may open and that goes with its handle.
#[cfg(windows)]
fn lock(folder: &Path) -> io::Result<Option<File>> {
    use std::os::windows::fs::OpenOptionsExt;
    const FILE_FLAG_DELETE_ON_CLOSE: u32 = 0x0400_0000;
    const ERROR_SHARING_VIOLATION: i32 = 32;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).share_mode(0).custom_flags(FILE_FLAG_DELETE_ON_CLOSE);
    match options.open(folder.join(LOCK)) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.raw_os_error() == Some(ERROR_SHARING_VIOLATION) => Err(io::ErrorKind::WouldBlock.into()),
        Err(error) => Err(error),
    }
}

/// A rename is durable on unix only when its folder is.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Windows has no such call for folders; NTFS journals its names.
#[cfg(windows)]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// Bytes that this user may still write to the folder's file system.
#[cfg(unix)]
fn available(folder: &Path) -> io::Result<u64> {
    let stats = rustix::fs::statvfs(folder)?;
    Ok(stats.f_bavail.saturating_mul(stats.f_frsize))
}

/// Bytes that this user may still write to the folder's volume.
#[cfg(windows)]
fn available(folder: &Path) -> io::Result<u64> {
    use std::os::windows::ffi::OsStrExt;
    let path: Vec<u16> = folder.as_os_str().encode_wide().chain([0]).collect();
    let mut bytes = 0_u64;
    // SAFETY: `path` is a string that ends in 0 and outlives the call; `bytes` is a valid u64; the other two results may
    // be null, says the documentation of GetDiskFreeSpaceExW.
    let done = unsafe {
        windows_sys::Win32::Storage::FileSystem::GetDiskFreeSpaceExW(
            path.as_ptr(),
            &mut bytes,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;

    #[test]
    fn it_keeps_the_guarantees_of_a_sink_and_of_a_store() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let sink = FolderSink::create(folder.path().join("new/folder")).expect("made");
        pollster::block_on(conformance::check_sink(&sink)).expect("conforms");
        for (name, bytes) in conformance::objects() {
            fs::write(sink.folder().join(name), bytes).expect("written");
        }
        pollster::block_on(conformance::check(&sink)).expect("conforms");
    }

    #[test]
    fn one_sink_at_a_time_writes_to_a_folder() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let first = FolderSink::create(folder.path()).expect("made");
        assert!(FolderSink::try_create(folder.path()).expect("readable").is_none());
        assert!(FolderSink::create(folder.path()).is_err());
        drop(first);
        assert!(FolderSink::try_create(folder.path()).expect("readable").is_some());
    }

    #[test]
    fn the_free_space_is_known() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let sink = FolderSink::create(folder.path()).expect("made");
        let bytes = pollster::block_on(sink.available_bytes()).expect("known").expect("files have a file system");
        assert!(bytes > 0);
    }

    #[test]
    fn a_folder_within_is_an_entry_and_no_object() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("sub")).expect("made");
        let sink = FolderSink::create(folder.path()).expect("made");
        assert_eq!(pollster::block_on(sink.entries()).expect("listed"), ["sub"]);
        assert!(pollster::block_on(sink.list()).expect("listed").is_empty());
    }
}
