//! Objects in memory: for tests, small models and hosts without files.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{ModelSink, Originals, Store, check_name};
use crate::platform::BoxFuture;
use crate::{Error, ErrorKind, Result};

/// A store whose objects are byte vectors.
#[derive(Debug, Default)]
pub struct MemoryStore {
    objects: RwLock<BTreeMap<String, Vec<u8>>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces an object.
    pub fn insert(&self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.write().insert(name.into(), bytes.into());
    }

    /// A copy of an object's bytes.
    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        self.read().get(name).cloned()
    }

    // A panic elsewhere cannot leave the map half-changed: every change is one call on it.
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.objects.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, name: &str, use_bytes: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
        check_name(name)?;
        use_bytes(self.read().get(name).ok_or_else(|| missing(name))?)
    }
}

fn missing(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, "no such object").file(name)
}

impl FromIterator<(String, Vec<u8>)> for MemoryStore {
    fn from_iter<I: IntoIterator<Item = (String, Vec<u8>)>>(objects: I) -> Self {
        Self { objects: RwLock::new(objects.into_iter().collect()) }
    }
}

impl Store for MemoryStore {
    fn len<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<u64>> {
        Box::pin(ready(self.with(name, |bytes| Ok(bytes.len() as u64))))
    }

    fn read_at<'a>(&'a self, name: &'a str, offset_bytes: u64, buffer: &'a mut [u8]) -> BoxFuture<'a, Result<()>> {
        let result = self.with(name, |bytes| {
            let start = usize::try_from(offset_bytes).ok();
            let range = start.and_then(|start| Some(start..start.checked_add(buffer.len())?));
            let found = range.and_then(|range| bytes.get(range)).ok_or_else(|| {
                let message = format!("{} bytes at {offset_bytes} of {}", buffer.len(), bytes.len());
                Error::new(ErrorKind::Truncated, message).file(name)
            })?;
            buffer.copy_from_slice(found);
            Ok(())
        });
        Box::pin(ready(result))
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(ready(Ok(self.read().keys().cloned().collect())))
    }

    fn describe(&self, name: &str) -> String {
        name.to_owned()
    }
}

impl ModelSink for MemoryStore {
    fn create<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        let result = check_name(name).map(|()| self.insert(name, Vec::new()));
        Box::pin(ready(result))
    }

    fn append<'a>(&'a self, name: &'a str, bytes: &'a [u8]) -> BoxFuture<'a, Result<()>> {
        let result = match self.write().get_mut(name) {
            Some(object) => {
                object.extend_from_slice(bytes);
                Ok(())
            }
            None => Err(missing(name)),
        };
        Box::pin(ready(result))
    }

    fn sync<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(ready(self.with(name, |_| Ok(()))))
    }

    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> BoxFuture<'a, Result<()>> {
        let result = check_name(to).and_then(|()| {
            let mut objects = self.write();
            let bytes = objects.remove(from).ok_or_else(|| missing(from))?;
            objects.insert(to.to_owned(), bytes);
            Ok(())
        });
        Box::pin(ready(result))
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        self.write().remove(name);
        Box::pin(ready(Ok(())))
    }

    fn sync_names(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(ready(Ok(())))
    }

    fn entries(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        self.list()
    }

    fn available_bytes(&self) -> BoxFuture<'_, Result<Option<u64>>> {
        Box::pin(ready(Ok(None)))
    }
}

impl Originals for MemoryStore {
    fn may_remove(&self, name: &str) -> Result<()> {
        check_name(name)
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>> {
        ModelSink::remove(self, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;

    #[test]
    fn it_keeps_the_guarantees_of_a_store() {
        let store: MemoryStore = conformance::objects().into_iter().collect();
        pollster::block_on(conformance::check(&store)).expect("conforms");
    }

    #[test]
    fn the_suite_notices_a_wrong_byte() {
        let store: MemoryStore = conformance::objects().into_iter().collect();
        let (name, mut bytes) = conformance::objects().pop().expect("the suite has objects");
        *bytes.last_mut().expect("the last object is not empty") ^= 1;
        store.insert(name, bytes);
        assert!(pollster::block_on(conformance::check(&store)).is_err());
    }

    #[test]
    fn it_keeps_the_guarantees_of_a_sink() {
        pollster::block_on(conformance::check_sink(&MemoryStore::new())).expect("conforms");
    }
}
