//! Beginnings of texts in a folder: what the layers made of a block of tokens, a file each, so that it is computed once.
//!
//! A file is called by a hash of all tokens up to its end and of what they were computed with. It begins with [`MAGIC`] and the
//! groups that it has as a little-endian u32, and ends with the xxh3-64 of all before.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::xxh3_64;

use crate::prefixes::{Block, Key, PrefixStore};
use crate::{Error, Result};

const MAGIC: [u8; 8] = *b"tsblock1";
const HEAD_BYTES: usize = MAGIC.len() + 4;
const SUM_BYTES: usize = 8;
/// What is not a block's name is let alone.
const EXTENSION: &str = "block";

/// Blocks in a folder, of so many bytes at most. Several processes may share it; each counts what it knows of.
#[derive(Debug)]
pub struct PrefixFiles {
    folder: PathBuf,
    most_bytes: u64,
    held_bytes: u64,
    /// When each was used last, and its bytes.
    held: HashMap<Key, (u64, u64)>,
    /// The least recently used first.
    order: BTreeMap<u64, Key>,
    /// Counts uses.
    now: u64,
}

impl PrefixFiles {
    /// Opens a folder, which is made where there is none. What there is beyond `most_bytes` goes, the least recently used first.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) where the folder cannot be made or listed.
    pub fn open(folder: &Path, most_bytes: u64) -> Result<Self> {
        let failed = |error| Error::io(error, folder.display().to_string());
        make_private(folder).map_err(failed)?;
        let mut found: Vec<(SystemTime, Key, u64)> = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)?.flatten() {
            let name = entry.file_name();
            let Ok(metadata) = entry.metadata() else { continue };
            if let (Some(key), Ok(modified)) = (key_of(Path::new(&name)), metadata.modified()) {
                found.push((modified, key, metadata.len()));
            }
        }
        found.sort_unstable();
        let (folder, held, order) = (folder.to_owned(), HashMap::new(), BTreeMap::new());
        let mut files = Self { folder, most_bytes, held_bytes: 0, held, order, now: 0 };
        for (_, key, bytes) in found {
            files.note(key, bytes);
        }
        files.make_room(0);
        Ok(files)
    }

    /// Bytes of all blocks.
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    fn path(&self, key: &Key) -> PathBuf {
        let name: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(name).with_extension(EXTENSION)
    }

    /// It is used now.
    fn note(&mut self, key: Key, bytes: u64) {
        self.forget(&key);
        self.now += 1;
        self.held.insert(key, (self.now, bytes));
        self.order.insert(self.now, key);
        self.held_bytes += bytes;
    }

    fn forget(&mut self, key: &Key) {
        if let Some((used, bytes)) = self.held.remove(key) {
            self.order.remove(&used);
            self.held_bytes -= bytes;
        }
    }

    /// Removes blocks until there is room for so many bytes.
    fn make_room(&mut self, bytes: u64) {
        while self.held_bytes.saturating_add(bytes) > self.most_bytes
            && let Some((_, key)) = self.order.first_key_value()
        {
            let key = *key;
            self.remove(&key);
        }
    }

    fn remove(&mut self, key: &Key) {
        // Another process may have removed it.
        let _ = fs::remove_file(self.path(key));
        self.forget(key);
    }
}

impl PrefixStore for PrefixFiles {
    fn start(&self, identity: &str) -> Key {
        Sha256::digest(identity).into()
    }

    fn key(&self, before: &Key, tokens: &[u32]) -> Key {
        let mut hash = Sha256::new_with_prefix(before);
        tokens.iter().for_each(|token| hash.update(token.to_le_bytes()));
        hash.finalize().into()
    }

    fn has(&self, key: &Key) -> bool {
        self.held.contains_key(key)
    }

    fn read(&mut self, key: &Key) -> Option<Block> {
        let path = self.path(key);
        let Some(bytes) = fs::read(&path).ok() else {
            self.forget(key);
            return None;
        };
        let Some(block) = decode(&bytes) else {
            log::warn!("{} is damaged and is made anew", path.display());
            self.remove(key);
            return None;
        };
        self.note(*key, bytes.len() as u64);
        // The next process learns by it what was used last.
        let touched =
            fs::File::options().append(true).open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        if let Err(error) = touched {
            log::debug!("{}: {error}", path.display());
        }
        Some(block)
    }

    fn write(&mut self, key: &Key, block: &Block) -> Result<()> {
        let bytes = encode(block);
        let len = bytes.len() as u64;
        if len > self.most_bytes {
            return Ok(());
        }
        self.make_room(len);
        let path = self.path(key);
        // Another process may be at the same.
        let part = path.with_extension(format!("{}.part", std::process::id()));
        let written = fs::write(&part, bytes).and_then(|()| fs::rename(&part, &path));
        written.map_err(|error| {
            let _ = fs::remove_file(&part);
            Error::io(error, path.display().to_string())
        })?;
        self.note(*key, len);
        Ok(())
    }
}

/// A folder that only its owner reads: from keys and values texts can be told.
fn make_private(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// The key that a file's name says.
fn key_of(name: &Path) -> Option<Key> {
    let stem = name.file_stem()?.to_str().filter(|stem| stem.len() == 64 && stem.is_ascii())?;
    if name.extension()? != EXTENSION {
        return None;
    }
    let mut key = Key::default();
    for (byte, digits) in key.iter_mut().zip(stem.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(key)
}

fn encode(block: &Block) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + block.bytes.len() + SUM_BYTES);
    bytes.extend(MAGIC);
    bytes.extend(block.groups.to_le_bytes());
    bytes.extend(&block.bytes);
    let sum = xxh3_64(&bytes);
    bytes.extend(sum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Block> {
    let (content, sum) = bytes.split_last_chunk::<SUM_BYTES>()?;
    let (head, values) = content.split_at_checked(HEAD_BYTES)?;
    let (magic, groups) = head.split_last_chunk::<4>()?;
    let is_whole = magic == MAGIC && xxh3_64(content) == u64::from_le_bytes(*sum);
    is_whole.then(|| Block { groups: u32::from_le_bytes(*groups), bytes: values.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(number: u8) -> Block {
        Block { groups: 1, bytes: vec![number; 80] }
    }

    #[test]
    fn the_least_recently_used_goes_and_the_rest_is_there_in_the_next_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().join("new");
        // Each takes 100 bytes.
        let mut files = PrefixFiles::open(&folder, 350).expect("opens");
        let first = files.start("a model");
        let keys: Vec<Key> = (0..5).map(|number| files.key(&first, &[number])).collect();
        for (number, key) in (0..3).zip(&keys) {
            files.write(key, &block(number)).expect("is written");
        }
        assert_eq!(files.read(&keys[0]), Some(block(0)));
        files.write(&keys[3], &block(3)).expect("is written");
        let there = |files: &PrefixFiles| keys.iter().map(|key| files.has(key)).collect::<Vec<_>>();
        assert_eq!(there(&files), [true, false, true, true, false]);
        assert_eq!(files.held_bytes(), 300);
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(files.read(&keys[2]).is_some());
        let mut again = PrefixFiles::open(&folder, 100).expect("opens");
        assert_eq!(there(&again), [false, false, true, false, false]);
        assert_eq!(again.read(&keys[2]), Some(block(2)));
        // The first process finds out when it looks.
        assert_eq!((files.read(&keys[0]), files.has(&keys[0])), (None, false));
        assert_eq!(fs::read_dir(&folder).expect("lists").count(), 1);
    }

    #[test]
    fn what_is_damaged_or_foreign_is_not_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut files = PrefixFiles::open(folder.path(), 1 << 20).expect("opens");
        let key = files.key(&files.start("a model"), &[1, 2]);
        assert_ne!(key, files.key(&files.start("another"), &[1, 2]));
        assert_ne!(key, files.key(&files.start("a model"), &[2, 1]));
        fs::write(folder.path().join("notes.txt"), "mine").expect("written");
        let whole = encode(&block(7));
        for at in 0..whole.len() {
            files.write(&key, &block(7)).expect("is written");
            let mut flipped = whole.clone();
            flipped[at] ^= 4;
            fs::write(files.path(&key), &flipped).expect("written");
            assert_eq!(files.read(&key), None, "byte {at}");
            assert!(!files.has(&key));
        }
        for len in 0..whole.len() {
            assert_eq!(decode(&whole[..len]), None);
        }
        assert!(folder.path().join("notes.txt").exists());
    }
}
