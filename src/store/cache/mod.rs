//! What was fetched from elsewhere, kept on this machine block by block.
//!
//! A journal holds two bits for each block: *kept* is set once the block's bytes were written, *durable* once they are
//! on the medium. Only verified blocks are kept. After a process that ended well every kept block is durable and is
//! trusted; after a machine that lost its power a block may be kept and not durable, and is verified when it is read
//! again. Bits only ever turn on, and each after its bytes, so a journal that was half written is right about every bit.

mod bits;
#[cfg(not(target_arch = "wasm32"))]
mod folder;
#[cfg(target_arch = "wasm32")]
mod opfs;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bits::Bits;

#[cfg(not(target_arch = "wasm32"))]
pub use folder::FolderCache;
#[cfg(target_arch = "wasm32")]
pub use opfs::{OpfsCache, OpfsModel, delete as delete_cached, list as list_cached};

use super::Window;
use crate::platform::{BoxFuture, MaybeSend, now_s};
use crate::{Error, ErrorKind, Result};

/// Where a model that lies elsewhere is kept on this machine: a folder of its own.
pub trait CachePlace: MaybeSend {
    /// A whole small object; none where there is none.
    fn load<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>>>;

    /// Writes a small object at once, in place of what had the name.
    fn save<'a>(&'a self, name: &'a str, bytes: &'a [u8]) -> BoxFuture<'a, Result<()>>;

    /// Removes everything.
    fn clear(&self) -> BoxFuture<'_, Result<()>>;

    /// Opens files for positioned reads and writes, and makes those that are not there.
    fn open<'a>(&'a self, names: &'a [&'a str]) -> BoxFuture<'a, Result<Arc<dyn CacheFiles>>>;

    /// Whether this process is the one that may write; the others only read.
    fn is_writer(&self) -> bool;
}

/// Opened files of a cache, by their index in the list that [`CachePlace::open`] got. Calls return when they are done.
pub trait CacheFiles: MaybeSend {
    /// Bytes of a file.
    fn len(&self, file: usize) -> Result<u64>;

    /// Fills the window from a file.
    fn read_at(&self, file: usize, offset_bytes: u64, window: &mut Window<'_>) -> Result<()>;

    /// Writes all the bytes; a file grows as needed.
    fn write_at(&self, file: usize, offset_bytes: u64, bytes: &[u8]) -> Result<()>;

    /// Returns when what was written to a file is on the medium.
    fn flush(&self, file: usize) -> Result<()>;
}

/// Object that remembers where a cached model came from.
pub const SOURCE: &str = "source.json";
/// The name of the journal.
pub const JOURNAL: &str = "blocks.journal";

const MAGIC: [u8; 8] = *b"TILEBLK1";
const HEADER_BYTES: u64 = 16;
/// The journal's index in the files; the model's come after it.
const JOURNAL_FILE: usize = 0;
/// Data is made durable after this much, or this long.
const FLUSH_BYTES: u64 = 64 << 20;
const FLUSH_S: f64 = 2.0;

/// The verified blocks of one model on this machine.
pub struct BlockCache {
    files: Arc<dyn CacheFiles>,
    block_bytes: u64,
    lens: Vec<u64>,
    writable: bool,
    state: Mutex<State>,
}

struct State {
    kept: Vec<Bits>,
    durable: Vec<Bits>,
    /// Bytes of all kept blocks.
    kept_bytes: u64,
    /// Files with bytes that are not durable yet.
    unflushed: Vec<usize>,
    unflushed_bytes: u64,
    flushed_s: f64,
    /// Why nothing is written any more.
    failure: Option<String>,
}

impl BlockCache {
    /// Opens the cache of a model: `files` are the journal and then the model's, which have `lens` bytes. A journal of
    /// another model (another `model_hash`) is started anew.
    ///
    /// # Errors
    /// Those of the files.
    pub fn open(
        files: Arc<dyn CacheFiles>,
        model_hash: u64,
        lens: Vec<u64>,
        block_bytes: u64,
        writable: bool,
    ) -> Result<Self> {
        let blank = || -> Vec<_> { lens.iter().map(|len| Bits::new(len.div_ceil(block_bytes))).collect() };
        let (mut kept, mut durable) = (blank(), blank());
        let total: u64 = kept.iter().chain(&durable).map(Bits::len_bytes).sum();
        let mut journal = vec![0; (HEADER_BYTES + total) as usize];
        let whole = files.len(JOURNAL_FILE)? == journal.len() as u64;
        if whole {
            files.read_at(JOURNAL_FILE, 0, &mut Window::from_slice(&mut journal))?;
        }
        if whole && journal[..8] == MAGIC && journal[8..16] == model_hash.to_le_bytes() {
            load(kept.iter_mut().chain(&mut durable), &journal[HEADER_BYTES as usize..]);
        } else if writable {
            journal.fill(0);
            files.write_at(JOURNAL_FILE, HEADER_BYTES, &journal[HEADER_BYTES as usize..])?;
            journal[..8].copy_from_slice(&MAGIC);
            journal[8..16].copy_from_slice(&model_hash.to_le_bytes());
            files.write_at(JOURNAL_FILE, 0, &journal[..HEADER_BYTES as usize])?;
        }
        let kept_bytes = kept.iter().zip(&lens).map(|(bits, len)| bits.bytes_of(block_bytes, *len)).sum();
        let state = State {
            kept,
            durable,
            kept_bytes,
            unflushed: Vec::new(),
            unflushed_bytes: 0,
            flushed_s: now_s(),
            failure: None,
        };
        Ok(Self { files, block_bytes, lens, writable, state: Mutex::new(state) })
    }

    /// Whether a block lies here, verified before it was written and certain to be whole.
    pub fn trusts(&self, file: u32, block: u64) -> bool {
        self.state().durable.get(file as usize).is_some_and(|bits| bits.get(block))
    }

    /// Whether a block lies here; it is to be verified unless [`BlockCache::trusts`] it.
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
    pub fn read(&self, file: u32, offset_bytes: u64, window: &mut Window<'_>) -> Result<()> {
        self.files.read_at(file as usize + 1, offset_bytes, window)
    }

    /// Keeps verified blocks; true where they lie here now. A write that fails is the last one: the model then streams
    /// from where it came from, and [`BlockCache::failure`] says why.
    pub fn keep(&self, file: u32, first_block: u64, bytes: &[u8]) -> bool {
        if !self.is_keeping() {
            return false;
        }
        let written = self.files.write_at(file as usize + 1, first_block * self.block_bytes, bytes);
        let mut state = self.state();
        let blocks = (bytes.len() as u64).div_ceil(self.block_bytes);
        let kept = written.and_then(|()| self.mark(&mut state, file as usize, first_block, blocks));
        match kept {
            Ok(()) => true,
            Err(error) => {
                state.failure = Some(error.to_string());
                false
            }
        }
    }

    fn mark(&self, state: &mut State, file: usize, first: u64, blocks: u64) -> Result<()> {
        for block in first..first + blocks {
            if state.kept[file].set(block) {
                let len = self.lens[file].saturating_sub(block * self.block_bytes).min(self.block_bytes);
                state.kept_bytes += len;
                state.unflushed_bytes += len;
            }
        }
        let before: u64 = state.kept[..file].iter().map(Bits::len_bytes).sum();
        let (start, bytes) = state.kept[file].bytes_around(first, first + blocks);
        self.files.write_at(JOURNAL_FILE, HEADER_BYTES + before + start, bytes)?;
        if !state.unflushed.contains(&file) {
            state.unflushed.push(file);
        }
        if state.unflushed_bytes > FLUSH_BYTES || now_s() - state.flushed_s > FLUSH_S {
            self.flush_into(state)?;
        }
        Ok(())
    }

    /// Makes durable what is kept.
    ///
    /// # Errors
    /// Those of the files.
    pub fn flush(&self) -> Result<()> {
        self.flush_into(&mut self.state())
    }

    fn flush_into(&self, state: &mut State) -> Result<()> {
        let kept_bytes: u64 = state.kept.iter().map(Bits::len_bytes).sum();
        for file in std::mem::take(&mut state.unflushed) {
            self.files.flush(file + 1)?;
            state.durable[file] = state.kept[file].clone();
            let before: u64 = state.durable[..file].iter().map(Bits::len_bytes).sum();
            let bits = state.durable[file].as_bytes();
            self.files.write_at(JOURNAL_FILE, HEADER_BYTES + kept_bytes + before, bits)?;
        }
        (state.unflushed_bytes, state.flushed_s) = (0, now_s());
        Ok(())
    }

    // A panic elsewhere cannot leave bits that are on before their bytes are written.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for BlockCache {
    fn drop(&mut self) {
        // What cannot be made durable now is verified again the next time.
        let _ = self.flush();
    }
}

/// Bytes that a journal says are kept of files with these lengths; none where it is not theirs.
pub fn journaled_bytes(journal: &[u8], lens: &[u64], block_bytes: u64) -> u64 {
    let mut kept: Vec<_> = lens.iter().map(|len| Bits::new(len.div_ceil(block_bytes))).collect();
    let bits = journal.get(HEADER_BYTES as usize..).unwrap_or_default();
    if bits.len() as u64 != 2 * kept.iter().map(Bits::len_bytes).sum::<u64>() {
        return 0;
    }
    load(kept.iter_mut(), bits);
    kept.iter().zip(lens).map(|(bits, len)| bits.bytes_of(block_bytes, *len)).sum()
}

/// Takes bits one after the other from a journal that has them all.
fn load<'a>(all: impl Iterator<Item = &'a mut Bits>, mut journal: &[u8]) {
    for bits in all {
        let (own, after) = journal.split_at(bits.len_bytes() as usize);
        bits.load(own);
        journal = after;
    }
}

/// The error of a read past the end of a cached file.
fn short(name: &str) -> Error {
    Error::new(ErrorKind::Truncated, "the cached copy ends early").file(name).remedy("delete the cached model")
}

#[cfg(test)]
mod tests;
