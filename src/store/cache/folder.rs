//! A cache in a folder of this machine.

use std::fs::{self, File, OpenOptions};
use std::future::ready;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::super::file::{read_exact_at, write_all_at};
use super::super::handles::Handles;
use super::{CacheFiles, CachePlace, JOURNAL, LOCK, PART, short};
use crate::platform::BoxFuture;
use crate::store::{Revision, Window, check_name};
use crate::{Error, ErrorKind, Result};

/// A folder that one model is cached in. The first process that opens it writes, the others read what is there.
#[derive(Debug)]
pub struct FolderCache {
    folder: PathBuf,
    /// Holds the lock as long as it lives.
    lock: Option<File>,
}

impl FolderCache {
    /// The cache in `folder`, which is made if need be.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn create(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder).map_err(|error| Error::io(error, shown(&folder)))?;
        let path = folder.join(LOCK);
        let file = File::create(&path).map_err(|error| Error::io(error, shown(&path)))?;
        let lock = file.try_lock().is_ok().then_some(file);
        Ok(Self { folder, lock })
    }

    /// The cache in a folder that is there already, only to be read.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is no such folder.
    pub fn read_only(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        fs::read_dir(&folder).map_err(|error| Error::io(error, shown(&folder)))?;
        Ok(Self { folder, lock: None })
    }

    /// Whether a folder is one that a model from elsewhere is cached in.
    pub fn is_at(folder: &Path) -> bool {
        [LOCK, JOURNAL].iter().any(|name| folder.join(name).is_file())
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, name: &str) -> Result<PathBuf> {
        check_name(name)?;
        Ok(self.folder.join(name))
    }

    fn load_now(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path(name)?;
        match fs::read(&path).map_err(|error| Error::io(error, shown(&path))) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn save_now(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path(name)?;
        let failed = |error| Error::io(error, shown(&path));
        let part = self.folder.join(format!("{name}{PART}"));
        fs::write(&part, bytes).and_then(|()| File::open(&part)?.sync_all()).map_err(failed)?;
        fs::rename(&part, &path).map_err(failed)
    }

    fn clear_now(&self) -> Result<()> {
        let entries = fs::read_dir(&self.folder).map_err(|error| Error::io(error, shown(&self.folder)))?;
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| !path.ends_with(LOCK)) {
            fs::remove_file(&path).map_err(|error| Error::io(error, shown(&path)))?;
        }
        Ok(())
    }

    fn open_now(&self, names: &[&str]) -> Result<Arc<dyn CacheFiles>> {
        let paths = names.iter().map(|name| self.path(name)).collect::<Result<_>>()?;
        Ok(Arc::new(Files { paths, writable: self.is_writer(), open: Mutex::default() }))
    }
}

impl CachePlace for FolderCache {
    fn load<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>>> {
        Box::pin(ready(self.load_now(name)))
    }

    fn save<'a>(&'a self, name: &'a str, bytes: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        Box::pin(ready(self.save_now(name, bytes)))
    }

    fn clear(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(ready(self.clear_now()))
    }

    fn open<'a>(&'a self, names: &'a [&'a str]) -> BoxFuture<'a, Result<Arc<dyn CacheFiles>>> {
        Box::pin(ready(self.open_now(names)))
    }

    fn is_writer(&self) -> bool {
        self.lock.is_some()
    }
}

/// The files, which are opened as they are needed.
struct Files {
    paths: Vec<PathBuf>,
    writable: bool,
    open: Mutex<Handles<File>>,
}

impl Files {
    /// Does something with a file. Where there is none, one that may be written to is made.
    fn on<T>(&self, file: usize, act: impl FnOnce(&File) -> io::Result<T>) -> Result<T> {
        let path = self.paths.get(file);
        let path = path.ok_or_else(|| Error::new(ErrorKind::Argument, format!("the cache has no file {file}")))?;
        self.handle(path).and_then(|file| act(&file)).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => short(&shown(path)),
            _ => Error::io(error, shown(path)),
        })
    }

    fn handle(&self, path: &Path) -> io::Result<Arc<File>> {
        // A panic elsewhere cannot leave the table half-changed: every change is one call on it.
        let open = || self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let name = shown(path);
        let known = open().get(&name);
        if let Some(file) = known {
            return Ok(file);
        }
        let mut options = OpenOptions::new();
        let file = Arc::new(options.read(true).write(self.writable).create(self.writable).open(path)?);
        open().insert(&name, Arc::clone(&file));
        Ok(file)
    }
}

impl CacheFiles for Files {
    fn len(&self, file: usize) -> Result<u64> {
        self.on(file, |file| file.metadata()).map(|metadata| metadata.len())
    }

    fn read_at(&self, file: usize, offset_bytes: u64, window: &mut Window<'_>) -> Result<()> {
        self.on(file, |file| read_exact_at(file, offset_bytes, window.memory().unwrap_or_default()))
    }

    fn write_at(&self, file: usize, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
        self.on(file, |file| write_all_at(file, offset_bytes, bytes))
    }

    fn set_len(&self, file: usize, len_bytes: u64) -> Result<()> {
        self.on(file, |file| file.set_len(len_bytes))
    }

    fn revision(&self, file: usize) -> Result<Option<Revision>> {
        self.on(file, Revision::of).map(Some)
    }

    fn describe(&self, file: usize) -> String {
        self.paths.get(file).map(|path| shown(path)).unwrap_or_default()
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
