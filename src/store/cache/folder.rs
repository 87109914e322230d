//! A cache in a folder of this machine.

use std::fs::{self, File, OpenOptions};
use std::future::ready;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::file::{read_exact_at, write_all_at};
use super::{CacheFiles, CachePlace, short};
use crate::platform::BoxFuture;
use crate::store::{Window, check_name};
use crate::{Error, ErrorKind, Result};

/// Held by the process that writes.
const LOCK: &str = "writer.lock";

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
        let part = self.folder.join(format!("{name}.part"));
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
        let mut files = Vec::with_capacity(names.len());
        for name in names {
            let path = self.path(name)?;
            let mut options = OpenOptions::new();
            options.read(true).write(self.is_writer()).create(self.is_writer());
            match options.open(&path) {
                Ok(file) => files.push((shown(&path), Some(file))),
                // The process that writes has not made it yet: it is empty.
                Err(error) if !self.is_writer() && error.kind() == std::io::ErrorKind::NotFound => {
                    files.push((shown(&path), None));
                }
                Err(error) => return Err(Error::io(error, shown(&path))),
            }
        }
        Ok(Arc::new(Files(files)))
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

/// Names for messages, and the files.
struct Files(Vec<(String, Option<File>)>);

impl Files {
    fn get(&self, file: usize) -> Result<(&str, Option<&File>)> {
        let entry = self.0.get(file).map(|(name, file)| (name.as_str(), file.as_ref()));
        entry.ok_or_else(|| Error::new(ErrorKind::Argument, format!("the cache has no file {file}")))
    }
}

impl CacheFiles for Files {
    fn len(&self, file: usize) -> Result<u64> {
        let (name, file) = self.get(file)?;
        let len = file.map_or(Ok(0), |file| file.metadata().map(|metadata| metadata.len()));
        len.map_err(|error| Error::io(error, name))
    }

    fn read_at(&self, file: usize, offset_bytes: u64, window: &mut Window<'_>) -> Result<()> {
        let (name, file) = self.get(file)?;
        let file = file.ok_or_else(|| short(name))?;
        let memory = window.memory().unwrap_or_default();
        read_exact_at(file, offset_bytes, memory).map_err(|error| Error::io(error, name))
    }

    fn write_at(&self, file: usize, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
        let (name, file) = self.get(file)?;
        let file = file.ok_or_else(|| short(name))?;
        write_all_at(file, offset_bytes, bytes).map_err(|error| Error::io(error, name))
    }

    fn flush(&self, file: usize) -> Result<()> {
        let (name, file) = self.get(file)?;
        file.map_or(Ok(()), File::sync_data).map_err(|error| Error::io(error, name))
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
