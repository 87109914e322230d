//! Where bytes come from: named objects and byte ranges behind one trait.
//!
//! A store knows nothing of tensors or layers. Objects are flat names such as `layer-00003.safetensors`.

use std::ops::Range;
use std::sync::Arc;

use crate::platform::{BoxFuture, MaybeSend, Visit};
use crate::{Error, ErrorKind, Result};

pub mod cache;
pub mod conformance;
#[cfg(not(target_arch = "wasm32"))]
mod direct;
mod disk;
#[cfg(not(target_arch = "wasm32"))]
mod file;
#[cfg(not(target_arch = "wasm32"))]
mod folder;
#[cfg_attr(target_arch = "wasm32", allow(dead_code, reason = "only folders forget single files"))]
mod handles;
mod http;
#[cfg(not(target_arch = "wasm32"))]
mod measure;
mod memory;
#[cfg(target_arch = "wasm32")]
mod picked;
#[cfg(not(target_arch = "wasm32"))]
mod prefixes;
mod revision;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod uring;
/// Systems without io_uring.
#[cfg(not(any(
    target_arch = "wasm32",
    all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))
)))]
mod uring {
    pub(super) fn is_possible() -> bool {
        false
    }

    pub(super) fn read(_file: &std::fs::File, _offset_bytes: u64, _buffer: &mut [u8]) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

pub use crate::platform::Window;
pub use disk::{Disk, Figure, ReadMode, ReadPlan, Stop, choose, is_enough, is_steady};
#[cfg(not(target_arch = "wasm32"))]
pub use file::FileStore;
#[cfg(not(target_arch = "wasm32"))]
pub use folder::FolderSink;
pub use http::{HttpCounters, HttpOptions, HttpStore};
#[cfg(not(target_arch = "wasm32"))]
pub use http::{HubRepo, HubStore, HubToken};
pub use memory::MemoryStore;
#[cfg(target_arch = "wasm32")]
pub use picked::PickedFiles;
#[cfg(not(target_arch = "wasm32"))]
pub use prefixes::PrefixFiles;
pub use revision::Revision;

/// The store of a folder, where the host has folders.
///
/// # Errors
/// [`ErrorKind::NotFound`](crate::ErrorKind) where there is none; [`ErrorKind::Unsupported`](crate::ErrorKind) in a
/// browser.
pub fn open_folder(path: &std::path::Path) -> Result<Arc<dyn Store>> {
    #[cfg(not(target_arch = "wasm32"))]
    return Ok(Arc::new(FileStore::open(path)?));
    #[cfg(target_arch = "wasm32")]
    Err(Error::new(ErrorKind::Unsupported, "a browser opens no folders by their path").file(path.display().to_string()))
}

/// Read access to named objects by position.
///
/// Guarantees that every implementation keeps (and the conformance suite checks):
/// - `read_at` fills the whole buffer or fails; a range past the end is [`ErrorKind::Truncated`](crate::ErrorKind).
/// - an object that is not there is [`ErrorKind::NotFound`](crate::ErrorKind) with its name.
/// - reads at the same time from several tasks do not disturb each other (positioned reads, no cursor).
/// - a name that leaves the store (`..`, an absolute path) is refused.
/// - `read_at` only writes to the buffer and never reads from it: it may be memory of a GPU (see [`Window`]).
pub trait Store: MaybeSend {
    /// The object's length in bytes; [`ErrorKind::Unsupported`](crate::ErrorKind) where a store cannot know it.
    fn len<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<u64>>;

    /// Fills `buffer` from `offset_bytes` of the object.
    fn read_at<'a>(&'a self, name: &'a str, offset_bytes: u64, buffer: &'a mut [u8]) -> BoxFuture<'a, Result<()>>;

    /// Fills a window, without a copy where the store can.
    fn read_window<'a>(
        &'a self,
        name: &'a str,
        offset_bytes: u64,
        window: &'a mut Window<'_>,
    ) -> BoxFuture<'a, Result<()>> {
        if window.memory().is_some() {
            // Asked for again, because the borrow of the question would outlive it.
            let memory = window.memory().unwrap_or_default();
            return self.read_at(name, offset_bytes, memory);
        }
        Box::pin(async move {
            let mut bytes = vec![0; window.len()];
            self.read_at(name, offset_bytes, &mut bytes).await?;
            window.copy_from(&bytes);
            Ok(())
        })
    }

    /// A whole small object, of at most `most_bytes`.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`](crate::ErrorKind) for a larger one.
    fn read_small<'a>(&'a self, name: &'a str, most_bytes: u64) -> BoxFuture<'a, Result<Vec<u8>>> {
        Box::pin(async move {
            let len = self.len(name).await?;
            if len > most_bytes {
                let message = format!("{len} bytes; at most {most_bytes} make sense");
                return Err(Error::new(ErrorKind::Malformed, message).file(self.describe(name)));
            }
            let mut bytes = vec![0; len as usize];
            self.read_at(name, 0, &mut bytes).await?;
            Ok(bytes)
        })
    }

    /// The same for an object that something else can stand in for: a host that is not there is given up soon.
    fn read_small_soon<'a>(&'a self, name: &'a str, most_bytes: u64) -> BoxFuture<'a, Result<Vec<u8>>> {
        self.read_small(name, most_bytes)
    }

    /// Whether bytes that were verified once need no verifying when they are read again. A host elsewhere may send
    /// other bytes every time.
    fn is_local(&self) -> bool {
        true
    }

    /// Whether a read of a part was seen to cost a read of everything before it, so that
    /// [`Store::read_through`] once is cheaper.
    fn ignores_ranges(&self) -> bool {
        false
    }

    /// As [`Store::read_at`], but false, with anything in the buffer, where [`Store::ignores_ranges`] holds or turns out to:
    /// nothing is then read that goes to waste.
    fn read_range<'a>(&'a self, name: &'a str, offset_bytes: u64, buffer: &'a mut [u8]) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { self.read_at(name, offset_bytes, buffer).await.map(|()| true) })
    }

    /// Reads an object once from its start, as a stream, until `visit` has enough. Returns the bytes visited.
    fn read_through<'a>(&'a self, name: &'a str, _visit: &'a mut Visit<'a>) -> BoxFuture<'a, Result<u64>> {
        let error = Error::new(ErrorKind::Unsupported, "is read by ranges").file(self.describe(name));
        Box::pin(std::future::ready(Err(error)))
    }

    /// Says that a range will be read next, in order and in pieces, so that a store may ask for all of it at once. A hint.
    fn announce(&self, _name: &str, _range: Range<u64>) {}

    /// What stands for the object's content, where the store was told: the same text, the same bytes.
    fn content_id(&self, _name: &str) -> Option<String> {
        None
    }

    /// What changes when the object is written to or replaced: length, time and identity of a file. `None` where nobody knows,
    /// and where there is no such object.
    fn stamp(&self, _name: &str) -> Option<String> {
        None
    }

    /// The state that an object is in, to be compared with an earlier one: another where it was replaced or written to
    /// meanwhile. `None` where the store cannot tell. Reads that begin later are reads of this state or of a later one.
    ///
    /// # Errors
    /// Those of the file system, where the object is gone.
    fn revision(&self, _name: &str) -> Result<Option<Revision>> {
        Ok(None)
    }

    /// The disk of this machine that the objects lie on, whose reads can be made in several ways.
    fn disk(&self) -> Option<&dyn Disk> {
        None
    }

    /// Takes note that an object is not as it was written, where somebody can make it anew; what the user is to do then.
    fn note_damage(&self, _name: &str) -> Option<&'static str> {
        None
    }

    /// The names of all objects, sorted; [`ErrorKind::Unsupported`](crate::ErrorKind) where a store cannot list.
    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>>;

    /// How messages call the object: a path or an address.
    fn describe(&self, name: &str) -> String;
}

/// The length of an object; none where the store cannot tell it.
///
/// # Errors
/// Those of [`Store::len`], except [`ErrorKind::Unsupported`](crate::ErrorKind).
pub async fn known_len(store: &dyn Store, name: &str) -> Result<Option<u64>> {
    match store.len(name).await {
        Ok(len) => Ok(Some(len)),
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(None),
        Err(error) => Err(error),
    }
}

/// A store that a model is written to.
///
/// An object is made under a temporary name, made durable by [`ModelSink::sync`], and gets its final name by
/// [`ModelSink::rename`], so that whoever finds the final name finds all of it.
pub trait ModelSink: Store {
    /// Makes an empty object, in place of what had the name.
    fn create<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Adds bytes at the end of an object made by [`ModelSink::create`] and not yet synced.
    fn append<'a>(&'a self, name: &'a str, bytes: &'a [u8]) -> BoxFuture<'a, Result<()>>;

    /// Ends the writing of an object: its bytes are on the medium when this returns.
    fn sync<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Renames at once, in place of what had the name `to`.
    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Removes an object; one that is not there is no error.
    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Makes the names themselves durable: renames and removals before this call survive a loss of power.
    fn sync_names(&self) -> BoxFuture<'_, Result<()>>;

    /// Names of everything that lies there, sorted: objects, and what is no object (folders).
    fn entries(&self) -> BoxFuture<'_, Result<Vec<String>>>;

    /// Bytes that can still be written; `None` where nobody knows.
    fn available_bytes(&self) -> BoxFuture<'_, Result<Option<u64>>>;

    /// Asks the host to drop what it caches of an object, so that the next read comes from the medium. A hint.
    fn forget_cached<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Removes objects of a checkpoint whose content has moved into a model.
pub trait Originals: MaybeSend {
    /// Whether [`Originals::remove`] would do what its caller expects, asked before any work is done.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] where removing the object would free nothing or take it from somebody else.
    fn may_remove(&self, name: &str) -> Result<()>;

    /// Removes an object for good; one that is not there is no error.
    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>>;
}

/// Longest name of an object, in bytes: what common file systems allow.
const MAX_NAME_BYTES: usize = 255;

/// Checks that a name is one flat, relative component on every system: no separator, drive, stream or control
/// character, and not `.` or `..`.
///
/// # Errors
/// [`ErrorKind::Argument`] naming the object.
pub fn check_name(name: &str) -> Result<()> {
    let hostile = |c: char| c.is_control() || matches!(c, '/' | '\\' | ':');
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name == "." || name == ".." || name.contains(hostile) {
        let shown: String = name.chars().take(80).collect();
        return Err(Error::new(ErrorKind::Argument, format!("{shown:?} is not a plain file name")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_plain_component() {
        for name in ["layer-00003.safetensors", "tokenizer.json", "..a", "a b", "模型.gguf"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        let long = "x".repeat(256);
        for name in ["", ".", "..", "../a", "a/b", "/etc/passwd", "a\\b", "C:x", "a\0b", "a\nb", &long] {
            assert_eq!(check_name(name).map_err(|error| error.kind()), Err(ErrorKind::Argument), "{name}");
        }
    }
}
