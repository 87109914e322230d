//! Reads of a model's files that are verified, and kept on this machine where they come from elsewhere.

use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use xxhash_rust::xxh3::xxh3_64;

use super::checksum::{blocks, load_sums};
use super::claims::Claims;
use super::{CHECKSUM_BLOCK, Manifest, StoredTensor};
use crate::platform::PageMemory;
use crate::store::cache::BlockCache;
use crate::store::{Store, Window};
use crate::{Error, ErrorKind, Result};

const BLOCK: usize = CHECKSUM_BLOCK as usize;
/// Bytes read at once where blocks must be verified: also the longest range that one request asks a server for.
const SCRATCH_BYTES: u64 = 4 << 20;
/// Stands for a file's table of checksums among its blocks.
const TABLE: Range<u64> = u64::MAX - 1..u64::MAX;
/// Scratch buffers kept for the next read.
const SPARE_SCRATCH: usize = 4;
/// Bytes of checksum tables kept in memory; one of a 6.4 GB layer has 781 KiB.
const MAX_TABLE_BYTES: usize = 8 << 20;

/// Reads byte ranges of a model's files. In a local store each checksum block is verified when it is first read by this
/// process; what comes from elsewhere is verified every time, or once before it is written to the cache.
///
/// Shared by reader threads. Memory: one bit for each block, at most 8 MiB of checksum tables, a few scratch buffers.
pub struct VerifiedReader {
    pub(super) manifest: Manifest,
    pub(super) store: Arc<dyn Store>,
    cache: Option<BlockCache>,
    states: Vec<FileState>,
    tables: Mutex<Tables>,
    scratch: Mutex<Vec<PageMemory>>,
    /// What is being fetched for the cache, and tables of checksums.
    claims: Claims,
    /// Held while a file is read through whole.
    whole_files: async_lock::Mutex<()>,
}

/// What is to be done with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    /// Can be read as it is.
    Verified,
    /// Lies in the cache, but may have been half-written when the machine stopped.
    Kept,
    /// Has to be read from the store and verified.
    Unverified,
}

/// Which blocks of a file have been verified.
#[derive(Default)]
struct FileState {
    /// One bit for each block; made when the file is first read, so that its size has been checked.
    bits: OnceLock<Box<[AtomicU64]>>,
    verified: AtomicU64,
}

/// Checksum tables in memory, the one used last at the back.
#[derive(Default)]
struct Tables {
    loaded: VecDeque<(u32, Arc<[u64]>)>,
    bytes: usize,
}

impl VerifiedReader {
    pub(super) fn new(manifest: Manifest, store: Arc<dyn Store>, cache: Option<BlockCache>) -> Self {
        let states = manifest.files.iter().map(|_| FileState::default()).collect();
        Self {
            manifest,
            store,
            cache,
            states,
            tables: Mutex::default(),
            scratch: Mutex::default(),
            claims: Claims::default(),
            whole_files: Default::default(),
        }
    }

    /// Where blocks are kept that come from elsewhere.
    pub fn cache(&self) -> Option<&BlockCache> {
        self.cache.as_ref()
    }

    /// Whether all blocks of a range can be read without asking another machine.
    pub fn is_here(&self, file: u32, offset_bytes: u64, len_bytes: u64) -> bool {
        let blocks = offset_bytes / CHECKSUM_BLOCK..(offset_bytes + len_bytes).div_ceil(CHECKSUM_BLOCK);
        self.store.is_local()
            || self.cache.as_ref().is_some_and(|cache| blocks.into_iter().all(|block| cache.keeps(file, block)))
    }

    /// Fills the window from `offset_bytes` of a file. Blocks that are not verified yet are read whole into scratch
    /// memory, compared with their checksums and copied; the others are read straight into the window.
    ///
    /// # Errors
    /// [`ErrorKind::Checksum`] naming file, bytes and tensors; [`ErrorKind::Truncated`] past the file's end; those of the
    /// store.
    pub async fn read(&self, file: u32, offset_bytes: u64, window: &mut Window<'_>) -> Result<()> {
        self.read_parts(file, offset_bytes, window).await.map_err(|error| self.note_damage(file, error))
    }

    /// Says of an error what to do, where the store has somebody who makes damaged files anew.
    fn note_damage(&self, file: u32, error: Error) -> Error {
        let is_damage = matches!(error.kind(), ErrorKind::Checksum | ErrorKind::Truncated | ErrorKind::NotFound);
        let name = self.manifest.files.get(file as usize).map(|entry| entry.name.as_str()).filter(|_| is_damage);
        match name.and_then(|name| self.store.note_damage(name)) {
            Some(remedy) => error.other_remedy(remedy),
            None => error,
        }
    }

    async fn read_parts(&self, file: u32, offset_bytes: u64, window: &mut Window<'_>) -> Result<()> {
        let entry = self.manifest.files.get(file as usize);
        let entry = entry.ok_or_else(|| Error::new(ErrorKind::Argument, format!("the model has no file {file}")))?;
        let end = offset_bytes.checked_add(window.len() as u64).filter(|end| *end <= entry.len_bytes);
        let end = end.ok_or_else(|| {
            let message = format!("{} bytes at {offset_bytes} of {}", window.len(), entry.len_bytes);
            Error::new(ErrorKind::Truncated, message).file(self.store.describe(&entry.name))
        })?;
        let mut at = offset_bytes;
        while at < end {
            let (mut run_end, kind) = self.next_run(file, at, end);
            let shared = self.cache.as_ref().is_some_and(BlockCache::is_keeping) && kind == Block::Unverified;
            let _claim = if shared {
                let first = at / CHECKSUM_BLOCK;
                let claim = match self.claims.claim(file, first..run_end.div_ceil(CHECKSUM_BLOCK)) {
                    Ok(claim) => claim,
                    Err(freed) => {
                        freed.await;
                        continue;
                    }
                };
                if self.block(file, first) != kind {
                    // Somebody brought it between the two questions.
                    continue;
                }
                run_end = run_end.min(claim.blocks.end * CHECKSUM_BLOCK);
                Some(claim)
            } else {
                None
            };
            let mut target = window.part((at - offset_bytes) as usize..(run_end - offset_bytes) as usize)?;
            match (kind, &self.cache) {
                (Block::Verified, Some(cache)) => cache.read(file, at, &mut target)?,
                (Block::Verified, None) => self.store.read_window(&entry.name, at, &mut target).await?,
                (Block::Kept | Block::Unverified, _) => self.read_unverified(file, at, &mut target, kind).await?,
            }
            at = run_end;
        }
        Ok(())
    }

    fn block(&self, file: u32, block: u64) -> Block {
        match &self.cache {
            _ if self.states[file as usize].is_verified(block) => Block::Verified,
            Some(cache) if cache.trusts(file, block) => Block::Verified,
            Some(cache) if cache.keeps(file, block) => Block::Kept,
            _ => Block::Unverified,
        }
    }

    /// The longest run from `at` of blocks of one kind (of at most the scratch size, if they must be verified).
    fn next_run(&self, file: u32, at: u64, end: u64) -> (u64, Block) {
        let last = (end - 1) / CHECKSUM_BLOCK;
        let first = at / CHECKSUM_BLOCK;
        let kind = self.block(file, first);
        let limit = match kind {
            Block::Verified => last,
            Block::Kept | Block::Unverified => last.min(first + SCRATCH_BYTES / CHECKSUM_BLOCK - 1),
        };
        let next = (first + 1..=limit).find(|block| self.block(file, *block) != kind).unwrap_or(limit + 1);
        (end.min(next * CHECKSUM_BLOCK), kind)
    }

    /// Verifies the blocks around a range and copies the range to `target`.
    async fn read_unverified(&self, file: u32, at: u64, target: &mut Window<'_>, kind: Block) -> Result<()> {
        if let Some(cache) = self.cache.as_ref().filter(|_| kind == Block::Unverified && self.store.ignores_ranges()) {
            let _turn = self.whole_files.lock().await;
            // Another reader may have brought it meanwhile.
            if self.block(file, at / CHECKSUM_BLOCK) == Block::Unverified && cache.failure().is_none() {
                self.fetch_whole(file, cache).await?;
            }
            let (first, last) = (at / CHECKSUM_BLOCK, (at + target.len() as u64 - 1) / CHECKSUM_BLOCK);
            if (first..=last).all(|block| self.block(file, block) == Block::Verified) {
                return cache.read(file, at, target);
            }
        }
        let entry = &self.manifest.files[file as usize];
        let table = self.table(file).await?;
        let first = at / CHECKSUM_BLOCK;
        let start = first * CHECKSUM_BLOCK;
        let end = (at + target.len() as u64).next_multiple_of(CHECKSUM_BLOCK).min(entry.len_bytes);
        let mut memory = self.scratch().pop().unwrap_or_default();
        let scratch = memory.bytes((end - start) as usize).map_err(|error| Error::io(error, "scratch memory"))?;
        let cached = self.cache.as_ref().filter(|_| kind == Block::Kept);
        let good = cached.is_some_and(|cache| {
            let read = cache.read(file, start, &mut Window::from_slice(scratch));
            read.is_ok() && first_mismatch(&table, first, scratch).is_none()
        });
        if !good {
            self.store.read_at(&entry.name, start, scratch).await?;
            if let Some(block) = first_mismatch(&table, first, scratch) {
                return Err(self.mismatch(file, block));
            }
        }
        let here = self.cache.as_ref().map_or(self.store.is_local(), |cache| good || cache.keep(file, first, scratch));
        if here {
            self.mark(file, &table, first..first + (end - start).div_ceil(CHECKSUM_BLOCK));
        }
        let skip = (at - start) as usize;
        target.copy_from(&scratch[skip..skip + target.len()]);
        let mut spare = self.scratch();
        if spare.len() < SPARE_SCRATCH {
            spare.push(memory);
        }
        Ok(())
    }

    /// Reads a file once from its start to its end and keeps it: for hosts that know no ranges.
    async fn fetch_whole(&self, file: u32, cache: &BlockCache) -> Result<()> {
        let entry = &self.manifest.files[file as usize];
        let table = self.table(file).await?;
        let mut pending = Vec::new();
        let mut next_block = 0;
        let mut visit = |offset: u64, bytes: &[u8]| {
            pending.extend_from_slice(bytes);
            let at_end = offset + bytes.len() as u64 >= entry.len_bytes;
            let whole = if at_end { pending.len() } else { pending.len() / BLOCK * BLOCK };
            if let Some(block) = first_mismatch(&table, next_block, &pending[..whole]) {
                return Err(self.mismatch(file, block));
            }
            if whole > 0 && !cache.keep(file, next_block, &pending[..whole]) {
                return Ok(ControlFlow::Break(()));
            }
            let blocks = whole.div_ceil(BLOCK) as u64;
            self.mark(file, &table, next_block..next_block + blocks);
            next_block += blocks;
            pending.drain(..whole);
            Ok(if at_end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        self.store.read_through(&entry.name, &mut visit).await.map(|_| ())
    }

    /// Notes that blocks lie here and are right.
    fn mark(&self, file: u32, table: &[u64], verified: Range<u64>) {
        let state = &self.states[file as usize];
        let bits = state.bits.get_or_init(|| (0..table.len().div_ceil(64)).map(|_| AtomicU64::new(0)).collect());
        verified.for_each(|block| state.mark(bits, block));
        if state.verified.load(Relaxed) == blocks(self.manifest.files[file as usize].len_bytes) {
            self.tables().forget(file);
        }
    }

    async fn table(&self, file: u32) -> Result<Arc<[u64]>> {
        let _claim = loop {
            let loaded = self.tables().touch(file);
            if let Some(table) = loaded {
                return Ok(table);
            }
            match self.claims.claim(file, TABLE) {
                Ok(claim) => break claim,
                Err(freed) => freed.await,
            }
        };
        let table: Arc<[u64]> = load_sums(self.store.as_ref(), &self.manifest.files[file as usize]).await?.into();
        self.tables().add(file, &table);
        Ok(table)
    }

    fn mismatch(&self, file: u32, block: u64) -> Error {
        let entry = &self.manifest.files[file as usize];
        let start = block * CHECKSUM_BLOCK;
        let range = start..(start + CHECKSUM_BLOCK).min(entry.len_bytes);
        let names = tensors_in(&self.manifest, file, &range);
        let message = format!("bytes {}..{} do not match their checksum ({})", range.start, range.end, list(&names));
        let error = Error::new(ErrorKind::Checksum, message).file(self.store.describe(&entry.name));
        let error = error.remedy("run `tilestream verify`; split the model again");
        match names.first() {
            Some(name) => error.tensor(*name),
            None => error,
        }
    }

    // A panic elsewhere cannot leave either half-changed: see their only users above.
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn scratch(&self) -> MutexGuard<'_, Vec<PageMemory>> {
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileState {
    fn is_verified(&self, block: u64) -> bool {
        let word = self.bits.get().and_then(|bits| bits.get((block / 64) as usize));
        word.is_some_and(|word| word.load(Relaxed) >> (block % 64) & 1 == 1)
    }

    fn mark(&self, bits: &[AtomicU64], block: u64) {
        let bit = 1 << (block % 64);
        // Relaxed is enough: the bits guard no memory, they only say that the file's bytes were right.
        if bits[(block / 64) as usize].fetch_or(bit, Relaxed) & bit == 0 {
            self.verified.fetch_add(1, Relaxed);
        }
    }
}

impl Tables {
    fn touch(&mut self, file: u32) -> Option<Arc<[u64]>> {
        let at = self.loaded.iter().position(|(loaded, _)| *loaded == file)?;
        let entry = self.loaded.remove(at)?;
        let table = Arc::clone(&entry.1);
        self.loaded.push_back(entry);
        Some(table)
    }

    fn add(&mut self, file: u32, table: &Arc<[u64]>) {
        self.forget(file);
        self.bytes += size_of_val(&**table);
        self.loaded.push_back((file, Arc::clone(table)));
        while self.bytes > MAX_TABLE_BYTES && self.loaded.len() > 1 {
            let Some((_, oldest)) = self.loaded.pop_front() else { break };
            self.bytes -= size_of_val(&*oldest);
        }
    }

    fn forget(&mut self, file: u32) {
        if let Some(at) = self.loaded.iter().position(|(loaded, _)| *loaded == file)
            && let Some((_, table)) = self.loaded.remove(at)
        {
            self.bytes -= size_of_val(&*table);
        }
    }
}

/// The first block of `bytes`, which begin with block `first`, that is not what the table says.
fn first_mismatch(table: &[u64], first: u64, bytes: &[u8]) -> Option<u64> {
    let mut numbered = (first..).zip(bytes.chunks(CHECKSUM_BLOCK as usize));
    numbered.find(|(block, bytes)| table.get(*block as usize) != Some(&xxh3_64(bytes))).map(|(block, _)| block)
}

/// The tensors that have bytes in a range of a file.
pub(super) fn tensors_in<'a>(manifest: &'a Manifest, file: u32, range: &Range<u64>) -> Vec<&'a str> {
    let overlaps = |tensor: &StoredTensor| {
        let row_bytes = tensor.row_bytes().unwrap_or(0);
        let mut ends = tensor.parts.iter().map(|part| (part, part.offset_bytes + part.rows * row_bytes));
        ends.any(|(part, end)| part.file == file && part.offset_bytes < range.end && range.start < end)
    };
    manifest.tensors.iter().filter(|(_, tensor)| overlaps(tensor)).map(|(name, _)| name.as_str()).collect()
}

/// Names for a message: all of a few, the number of many.
pub(super) fn list(names: &[impl AsRef<str>]) -> String {
    let shown: Vec<&str> = names.iter().take(3).map(AsRef::as_ref).collect();
    match names.len() {
        0 => "header or padding".to_owned(),
        more @ 4.. => format!("of {} and {} more", shown.join(", "), more - 3),
        _ => format!("of {}", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_in_memory_are_bounded_and_the_oldest_goes_first() {
        let table: Arc<[u64]> = vec![0; MAX_TABLE_BYTES / 8 / 4].into();
        let mut tables = Tables::default();
        for file in 0..4 {
            tables.add(file, &table);
        }
        assert!(tables.touch(0).is_some(), "four fit");
        tables.add(4, &table);
        assert!(tables.touch(1).is_none() && tables.touch(0).is_some(), "file 1 was used longest ago");
        assert!(tables.bytes <= MAX_TABLE_BYTES);
        tables.add(5, &vec![0; MAX_TABLE_BYTES].into());
        assert_eq!(tables.loaded.len(), 1, "a table larger than the bound stays alone");
        tables.forget(5);
        assert_eq!(tables.bytes, 0);
    }
}
