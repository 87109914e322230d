//! What was fetched from elsewhere, kept on this machine block by block.
//!
//! A journal holds one bit for each block, which is set once the block's bytes were written. It says what lies here, and
//! no more: a disk may lose its power, flip a bit, or be written to by others. So whoever reads a block verifies it, with
//! the checksums that are kept beside it, and forgets a block that is not right, which is then fetched again. A journal of
//! any content is good enough for that.

mod bits;
#[cfg(not(target_arch = "wasm32"))]
mod folder;
#[cfg(target_arch = "wasm32")]
mod opfs;

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[cfg(not(target_arch = "wasm32"))]
pub use folder::FolderCache;
#[cfg(target_arch = "wasm32")]
pub use opfs::{OpfsCache, OpfsModel, delete as delete_cached, list as list_cached};

pub(crate) use bits::Bits;

use super::{Revision, Window};
use crate::platform::{BoxFuture, MaybeSend};
use crate::{Error, ErrorKind, Result};

/// Where a model that lies elsewhere is kept on this machine: a folder of its own.
pub trait CachePlace: MaybeSend {
    /// A whole small object; none where there is none.
    fn load<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>>>;

    /// Writes a small object at once, in place of what had the name.
    fn save<'a>(&'a self, name: &'a str, bytes: &'a [u8]) -> BoxFuture<'a, Result<()>>;

    /// Removes everything.
    fn clear(&self) -> BoxFuture<'_, Result<()>>;

    /// Files for positioned reads and writes, [`OWN_FILES`] first. Those that are not there are made when they are written to.
    fn open<'a>(&'a self, names: &'a [&'a str]) -> BoxFuture<'a, Result<Arc<dyn CacheFiles>>>;

    /// Whether this process is the one that may write; the others only read.
    fn is_writer(&self) -> bool;
}

/// Files of a cache, by their index in the list that [`CachePlace::open`] got. Calls return when they are done.
///
/// [`OWN_FILES`] are open at any time; another file is to be read and written only while somebody holds it.
pub trait CacheFiles: MaybeSend {
    /// Opens a file, where that has to be waited for, and keeps it open until the answer is dropped. Who holds one waits for no
    /// other: the number of them is bounded.
    fn hold(&self, _file: usize) -> BoxFuture<'_, Result<Held<'_>>> {
        Box::pin(std::future::ready(Ok(Held(None))))
    }

    /// Bytes of a file.
    fn len(&self, file: usize) -> Result<u64>;

    /// Fills the window from a file.
    fn read_at(&self, file: usize, offset_bytes: u64, window: &mut Window<'_>) -> Result<()>;

    /// Writes all the bytes; a file grows as needed.
    fn write_at(&self, file: usize, offset_bytes: u64, bytes: &[u8]) -> Result<()>;

    /// Cuts a file off.
    fn set_len(&self, file: usize, len_bytes: u64) -> Result<()>;

    /// The state that a file is in, where the system can tell it; see [`Store::revision`](super::Store::revision).
    fn revision(&self, _file: usize) -> Result<Option<Revision>> {
        Ok(None)
    }

    /// How messages call a file.
    fn describe(&self, file: usize) -> String;
}

/// Keeps a file open.
pub struct Held<'a>(#[expect(dead_code, reason = "is dropped, and nothing else")] Option<Box<dyn MaybeSend + 'a>>);

/// Object that remembers where a cached model came from.
pub const SOURCE: &str = "source.json";
/// The name of the journal.
pub const JOURNAL: &str = "blocks.journal";
/// The name of the file that holds the checksums of all blocks.
pub const CHECKSUMS: &str = "blocks.checksums";
/// What a cache's files begin with; the model's come after them.
pub const OWN_FILES: [&str; 2] = [JOURNAL, CHECKSUMS];

/// Names in a cache's folder that no file of a model may have.
pub(crate) fn is_own_name(name: &str) -> bool {
    OWN_FILES.contains(&name) || [SOURCE, LOCK].contains(&name) || name.ends_with(PART)
}

/// Held by the process that writes.
const LOCK: &str = "writer.lock";
/// What the name of an object ends with until it is whole.
const PART: &str = ".part";
const MAGIC: [u8; 8] = *b"TILEBLK1";
const HEADER_BYTES: u64 = 16;
const JOURNAL_FILE: usize = 0;
const CHECKSUMS_FILE: usize = 1;
/// Bytes of a block's checksum.
const CHECKSUM_BYTES: u64 = 8;

/// The blocks of one model that lie on this machine.
pub struct BlockCache {
    files: Arc<dyn CacheFiles>,
    block_bytes: u64,
    lens: Vec<u64>,
    writable: bool,
    state: Mutex<State>,
    seen: Vec<Mutex<Seen>>,
}

struct State {
    kept: Vec<Bits>,
    /// Bytes of all kept blocks.
    kept_bytes: u64,
    /// Why nothing is written any more.
    failure: Option<String>,
}

/// A file as this process left it or saw it last.
#[derive(Default)]
struct Seen {
    revision: Option<Revision>,
    /// How often it was another one than was expected.
    changes: u64,
}

impl BlockCache {
    /// Opens the cache of a model: `files` are [`OWN_FILES`] and then the model's, which have `lens` bytes. A journal of
    /// another model (another `model_hash`), or one that cannot be read, is started anew; where that fails, nothing is kept
    /// and [`BlockCache::failure`] says why.
    pub fn open(files: Arc<dyn CacheFiles>, model_hash: u64, lens: Vec<u64>, block_bytes: u64, writable: bool) -> Self {
        let mut kept: Vec<_> = lens.iter().map(|len| Bits::new(len.div_ceil(block_bytes))).collect();
        let mut failure = None;
        match read_journal(&*files, kept.iter().map(Bits::len_bytes).sum()) {
            Ok(journal) if is_journal_of(&journal, model_hash) => load(&mut kept, &journal),
            _ if writable => failure = start_journal(&*files, model_hash).err().map(|error| error.to_string()),
            _ => {}
        }
        let kept_bytes = kept.iter().zip(&lens).map(|(bits, len)| bits.bytes_of(block_bytes, *len)).sum();
        let seen = lens.iter().map(|_| Mutex::default()).collect();
        Self { files, block_bytes, lens, writable, state: Mutex::new(State { kept, kept_bytes, failure }), seen }
    }

    /// Whether a block lies here, right or not.
    pub fn keeps(&self, file: u32, block: u64) -> bool {
        self.state().kept.get(file as usize).is_some_and(|bits| bits.get(block))
    }

    /// Bytes of the model that lie here.
    pub fn kept_bytes(&self) -> u64 {
        self.state().kept_bytes
    }

    /// Bytes of the model.
    pub fn total_bytes(&self) -> u64 {
        self.lens.iter().sum()
    }

    /// Why nothing more is kept, if that is so: a full disk or quota, most likely.
    pub fn failure(&self) -> Option<String> {
        self.state().failure.clone()
    }

    /// Whether verified blocks are kept, as far as is known.
    pub fn is_keeping(&self) -> bool {
        self.writable && self.state().failure.is_none()
    }

    /// Fills the window from blocks that lie here.
    ///
    /// # Errors
    /// Those of the files.
    pub async fn read(&self, file: u32, offset_bytes: u64, window: &mut Window<'_>) -> Result<()> {
        let file = file as usize + OWN_FILES.len();
        let _held = self.files.hold(file).await?;
        self.files.read_at(file, offset_bytes, window)
    }

    /// Keeps verified blocks; true where they lie here now. A write that fails is the last one: the model then streams
    /// from where it came from, and [`BlockCache::failure`] says why.
    pub async fn keep(&self, file: u32, first_block: u64, bytes: &[u8]) -> bool {
        self.keeper(file).await.is_some_and(|keeper| keeper.keep(first_block, bytes))
    }

    /// What keeps blocks of a file, one after the other; `None` where nothing is kept, or nothing any more.
    pub async fn keeper(&self, file: u32) -> Option<Keeper<'_>> {
        if !self.is_keeping() {
            return None;
        }
        match self.files.hold(file as usize + OWN_FILES.len()).await {
            Ok(held) => Some(Keeper { cache: self, file, _held: held }),
            Err(error) => {
                self.note(&mut self.state(), Err(error));
                None
            }
        }
    }

    fn keep_now(&self, file: u32, first_block: u64, bytes: &[u8]) -> bool {
        if !self.is_keeping() {
            return false;
        }
        let written = {
            let mut seen = self.seen(file);
            // What others wrote before is not to pass for what is written now.
            self.look(file, &mut seen);
            let written = self.files.write_at(file as usize + OWN_FILES.len(), first_block * self.block_bytes, bytes);
            seen.revision = self.file_revision(file);
            written
        };
        let mut state = self.state();
        let blocks = (bytes.len() as u64).div_ceil(self.block_bytes);
        let kept = written.and_then(|()| self.mark(&mut state, file as usize, first_block..first_block + blocks, true));
        self.note(&mut state, kept)
    }

    /// Forgets blocks that turned out not to lie here as they should.
    pub fn forget(&self, file: u32, blocks: Range<u64>) {
        let mut state = self.state();
        let marked = self.mark(&mut state, file as usize, blocks, false);
        self.note(&mut state, marked);
    }

    /// The checksums that are kept of a file's blocks, right or not, as they were given to [`BlockCache::keep_checksums`].
    ///
    /// # Errors
    /// Those of the files; [`ErrorKind::Truncated`](crate::ErrorKind) where there are none.
    pub fn checksums(&self, file: u32) -> Result<Vec<u8>> {
        let (start, len) = self.place_of_checksums(file);
        let mut bytes = vec![0; len as usize];
        self.files.read_at(CHECKSUMS_FILE, start, &mut Window::from_slice(&mut bytes))?;
        Ok(bytes)
    }

    /// Keeps the checksums of a file's blocks, eight bytes each.
    pub fn keep_checksums(&self, file: u32, bytes: &[u8]) {
        let (start, len) = self.place_of_checksums(file);
        if self.is_keeping() && bytes.len() as u64 == len {
            let written = self.files.write_at(CHECKSUMS_FILE, start, bytes);
            self.note(&mut self.state(), written);
        }
    }

    fn place_of_checksums(&self, file: u32) -> (u64, u64) {
        let bytes = |len: &u64| len.div_ceil(self.block_bytes) * CHECKSUM_BYTES;
        let (before, from) = self.lens.split_at(file as usize);
        (before.iter().map(bytes).sum(), from.first().map_or(0, bytes))
    }

    /// The state that a file is in: another one after somebody else wrote to it.
    pub fn revision(&self, file: u32) -> Revision {
        let mut seen = self.seen(file);
        self.look(file, &mut seen);
        Revision::count(seen.changes)
    }

    /// How messages call a file.
    pub fn describe(&self, file: u32) -> String {
        self.files.describe(file as usize + OWN_FILES.len())
    }

    fn look(&self, file: u32, seen: &mut Seen) {
        let now = self.file_revision(file);
        if now != seen.revision {
            (seen.revision, seen.changes) = (now, seen.changes + 1);
        }
    }

    fn file_revision(&self, file: u32) -> Option<Revision> {
        // A file that cannot be asked cannot be read either, which is told then.
        self.files.revision(file as usize + OWN_FILES.len()).unwrap_or(None)
    }

    /// Turns the bits of blocks on or off, here and in the journal.
    fn mark(&self, state: &mut State, file: usize, blocks: Range<u64>, on: bool) -> Result<()> {
        for block in blocks.clone() {
            let bytes = self.lens[file].saturating_sub(block * self.block_bytes).min(self.block_bytes);
            match on {
                true if state.kept[file].set(block) => state.kept_bytes += bytes,
                false if state.kept[file].clear(block) => state.kept_bytes -= bytes,
                _ => {}
            }
        }
        if !self.writable {
            return Ok(());
        }
        let before: u64 = state.kept[..file].iter().map(Bits::len_bytes).sum();
        let (start, bytes) = state.kept[file].bytes_around(blocks.start, blocks.end);
        self.files.write_at(JOURNAL_FILE, HEADER_BYTES + before + start, bytes)
    }

    /// Notes the first write that failed; true for one that did not.
    fn note(&self, state: &mut State, written: Result<()>) -> bool {
        match written {
            Ok(()) => true,
            Err(error) => {
                state.failure.get_or_insert_with(|| error.to_string());
                false
            }
        }
    }

    // A panic elsewhere cannot leave bits that are on before their bytes are written.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self, file: u32) -> MutexGuard<'_, Seen> {
        self.seen[file as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file that blocks are kept in.
pub struct Keeper<'a> {
    cache: &'a BlockCache,
    file: u32,
    _held: Held<'a>,
}

impl Keeper<'_> {
    /// As [`BlockCache::keep`].
    pub fn keep(&self, first_block: u64, bytes: &[u8]) -> bool {
        self.cache.keep_now(self.file, first_block, bytes)
    }
}

/// The header and the bits, as far as there are any: bits that were never on need not be there, and behind them journals of
/// earlier versions hold others.
fn read_journal(files: &dyn CacheFiles, bits_bytes: u64) -> Result<Vec<u8>> {
    let len = files.len(JOURNAL_FILE)?.min(HEADER_BYTES + bits_bytes);
    let mut journal = vec![0; len as usize];
    files.read_at(JOURNAL_FILE, 0, &mut Window::from_slice(&mut journal))?;
    Ok(journal)
}

fn start_journal(files: &dyn CacheFiles, model_hash: u64) -> Result<()> {
    files.set_len(JOURNAL_FILE, 0)?;
    files.write_at(JOURNAL_FILE, 0, &[MAGIC, model_hash.to_le_bytes()].concat())
}

/// Whether a journal is that of the model with this hash.
pub fn is_journal_of(journal: &[u8], model_hash: u64) -> bool {
    journal.starts_with(&[MAGIC, model_hash.to_le_bytes()].concat())
}

/// Bytes that a journal says are kept of files with these lengths; none where it is no journal.
pub fn journaled_bytes(journal: &[u8], lens: &[u64], block_bytes: u64) -> u64 {
    let mut kept: Vec<_> = lens.iter().map(|len| Bits::new(len.div_ceil(block_bytes))).collect();
    if journal.starts_with(&MAGIC) {
        load(&mut kept, journal);
    }
    kept.iter().zip(lens).map(|(bits, len)| bits.bytes_of(block_bytes, *len)).sum()
}

/// Takes bits one after the other from a journal, as far as it has them.
fn load(all: &mut [Bits], journal: &[u8]) {
    let mut left = journal.get(HEADER_BYTES as usize..).unwrap_or_default();
    for bits in all {
        let (own, after) = left.split_at(left.len().min(bits.len_bytes() as usize));
        bits.load(own);
        left = after;
    }
}

/// The error of a read past the end of a cached file.
fn short(name: &str) -> Error {
    Error::new(ErrorKind::Truncated, "the cached copy ends early").file(name).remedy("what is missing is fetched again")
}

#[cfg(test)]
mod tests;
