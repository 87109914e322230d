//! Reads of a model's files that are verified, and kept on this machine where they come from elsewhere.

mod state;
mod tables;

use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use xxhash_rust::xxh3::xxh3_64;

use self::state::FileState;
use self::tables::Tables;
use super::checksum::{blocks, check_table, parse, read_table};
use super::claims::{Claim, Claims};
use super::{CHECKSUM_BLOCK, Manifest, StoredTensor};
use crate::platform::PageMemory;
use crate::store::cache::BlockCache;
use crate::store::{Revision, Store, Window};
use crate::{Error, ErrorKind, Result};

const BLOCK: usize = CHECKSUM_BLOCK as usize;
/// Bytes read at once where blocks must be verified: also the longest range that one request asks a server for.
const SCRATCH_BYTES: u64 = 4 << 20;
/// Stands for a file's table of checksums among its blocks.
const TABLE: Range<u64> = u64::MAX - 1..u64::MAX;
/// Scratch buffers kept for the next read.
const SPARE_SCRATCH: usize = 4;

/// Reads byte ranges of a model's files. What lies on this machine, in a local store or in a cache, is verified block by block
/// when this process first reads it, and anew where its file was replaced or written to since; what comes from elsewhere and is
/// not kept is verified every time. A block of a cache that is not right is fetched again.
///
/// Shared by reader threads. Memory: one bit for each block, at most 8 MiB of checksum tables, a few scratch buffers.
pub struct VerifiedReader {
    pub(super) manifest: Manifest,
    pub(super) store: Arc<dyn Store>,
    cache: Option<BlockCache>,
    states: Vec<Mutex<FileState>>,
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
    /// Can be read as it is, if the file is still the one that was verified.
    Verified,
    /// Lies in the cache, and has to be verified.
    Kept,
    /// Has to be read from the store and verified.
    Unverified,
}

/// Blocks of one kind: where they end, and the revision of the file that those are of which were verified.
struct Run {
    end: u64,
    kind: Block,
    revision: Option<Revision>,
}

/// Who fetches some blocks.
enum Claimed<'a> {
    /// The one who asked.
    By(Claim<'a>),
    /// Somebody else did.
    Elsewhere,
    /// Nobody asks before fetching what is not kept.
    Nothing,
}

impl VerifiedReader {
    pub(super) fn new(manifest: Manifest, store: Arc<dyn Store>, cache: Option<BlockCache>) -> Self {
        let states = manifest.files.iter().map(|_| Mutex::default()).collect();
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

    /// Adds the remedy of a store whose owner rebuilds damaged files.
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
        let mut damaged = false;
        while at < end {
            let Run { mut end, kind, revision } = self.next_run(file, at, end);
            let claim = match kind {
                Block::Unverified => self.claim(file, at / CHECKSUM_BLOCK..blocks(end)).await?,
                Block::Verified | Block::Kept => Claimed::Nothing,
            };
            match &claim {
                Claimed::By(claim) => end = end.min(claim.blocks.end * CHECKSUM_BLOCK),
                Claimed::Elsewhere => continue,
                Claimed::Nothing => {}
            }
            let mut target = window.part((at - offset_bytes) as usize..(end - offset_bytes) as usize)?;
            let right = match kind {
                Block::Verified => self.read_verified(file, at, &mut target, revision).await?,
                Block::Kept => self.read_kept(file, at, &mut target).await?,
                Block::Unverified => {
                    let what = if damaged { "the copy that is kept here is damaged" } else { "they are not kept here" };
                    let fetched = self.fetch(file, at, &mut target).await;
                    fetched.map_err(|error| self.place(error, file, at..end, what))?;
                    true
                }
            };
            damaged |= kind == Block::Kept && !right;
            if right {
                at = end;
            }
        }
        Ok(())
    }

    fn block(&self, state: &FileState, file: u32, block: u64) -> Block {
        match &self.cache {
            _ if state.is_verified(block) => Block::Verified,
            Some(cache) if cache.keeps(file, block) => Block::Kept,
            _ => Block::Unverified,
        }
    }

    /// The longest run from `at` of blocks of one kind (of at most the scratch size, if they must be verified).
    fn next_run(&self, file: u32, at: u64, end: u64) -> Run {
        let state = self.state(file);
        let last = (end - 1) / CHECKSUM_BLOCK;
        let first = at / CHECKSUM_BLOCK;
        let kind = self.block(&state, file, first);
        let limit = match kind {
            Block::Verified => last,
            Block::Kept | Block::Unverified => last.min(first + SCRATCH_BYTES / CHECKSUM_BLOCK - 1),
        };
        let next = (first + 1..=limit).find(|block| self.block(&state, file, *block) != kind).unwrap_or(limit + 1);
        Run { end: end.min(next * CHECKSUM_BLOCK), kind, revision: state.revision() }
    }

    /// Claims blocks that are to be fetched for the cache, so that nobody else fetches them too.
    async fn claim(&self, file: u32, blocks: Range<u64>) -> Result<Claimed<'_>> {
        if !self.cache.as_ref().is_some_and(BlockCache::is_keeping) {
            return Ok(Claimed::Nothing);
        }
        let first = blocks.start;
        match self.claims.claim(file, blocks) {
            // Somebody may have brought it between the two questions.
            Ok(claim) if self.block(&self.state(file), file, first) == Block::Unverified => Ok(Claimed::By(claim)),
            Ok(_) => Ok(Claimed::Elsewhere),
            Err(freed) => {
                freed.await;
                Ok(Claimed::Elsewhere)
            }
        }
    }

    /// Reads blocks that were verified; false where the file is not the one any more that they were verified in.
    async fn read_verified(
        &self,
        file: u32,
        at: u64,
        target: &mut Window<'_>,
        revision: Option<Revision>,
    ) -> Result<bool> {
        match &self.cache {
            Some(cache) if cache.read(file, at, target).await.is_err() => {
                self.state(file).forget();
                cache.forget(file, blocks_around(at, target.len()));
                return Ok(false);
            }
            Some(_) => {}
            None => {
                let entry = &self.manifest.files[file as usize];
                let read = self.store.read_window(&entry.name, at, target).await;
                read.map_err(|error| self.place(error, file, at..at + target.len() as u64, ""))?;
            }
        }
        // Asked after the read: bytes that were written before it have changed the revision by now.
        let now = self.revision(file)?;
        self.state(file).see(now);
        Ok(now == revision)
    }

    fn revision(&self, file: u32) -> Result<Option<Revision>> {
        match &self.cache {
            Some(cache) => Ok(Some(cache.revision(file))),
            None => self.store.revision(&self.manifest.files[file as usize].name),
        }
    }

    /// Verifies blocks of the cache and copies the range to `target`; false where some of them are not right, which are
    /// forgotten.
    async fn read_kept(&self, file: u32, at: u64, target: &mut Window<'_>) -> Result<bool> {
        let Some(cache) = &self.cache else { return Ok(false) };
        let table = self.table(file).await?;
        let revision = self.revision(file)?;
        let (start, mut memory) = (at / CHECKSUM_BLOCK * CHECKSUM_BLOCK, self.spare());
        let around = blocks_around(at, target.len());
        let len = (around.end * CHECKSUM_BLOCK).min(self.manifest.files[file as usize].len_bytes) - start;
        let scratch = memory.bytes(len as usize).map_err(|error| Error::io(error, "scratch memory"))?;
        let mut right = true;
        if cache.read(file, start, &mut Window::from_slice(scratch)).await.is_ok() {
            for (block, bytes) in around.zip(scratch.chunks(BLOCK)) {
                if first_mismatch(&table, block, bytes).is_none() {
                    self.mark(file, revision, block..block + 1);
                } else {
                    cache.forget(file, block..block + 1);
                    right = false;
                }
            }
        } else {
            cache.forget(file, around);
            right = false;
        }
        if right {
            let skip = (at - start) as usize;
            target.copy_from(&scratch[skip..skip + target.len()]);
        }
        self.give_back(memory);
        Ok(right)
    }

    /// Reads blocks from the store, verifies and keeps them, and copies the range to `target`.
    async fn fetch(&self, file: u32, at: u64, target: &mut Window<'_>) -> Result<()> {
        if self.fetch_blocks(file, at, target, false).await? || self.fetch_whole(file, at, target).await? {
            return Ok(());
        }
        if self.manifest.files[file as usize].len_bytes > SCRATCH_BYTES {
            return Err(self.without_ranges(file));
        }
        self.fetch_blocks(file, at, target, true).await.map(|_| ())
    }

    /// The same; false where the host answers ranges with whole files, unless it `skips` what comes before.
    async fn fetch_blocks(&self, file: u32, at: u64, target: &mut Window<'_>, skips: bool) -> Result<bool> {
        let entry = &self.manifest.files[file as usize];
        let table = self.table(file).await?;
        let revision = self.revision(file)?;
        let around = blocks_around(at, target.len());
        let (first, start) = (around.start, around.start * CHECKSUM_BLOCK);
        let end = (around.end * CHECKSUM_BLOCK).min(entry.len_bytes);
        let mut memory = self.spare();
        let scratch = memory.bytes((end - start) as usize).map_err(|error| Error::io(error, "scratch memory"))?;
        if skips {
            self.store.read_at(&entry.name, start, scratch).await?;
        } else if !self.store.read_range(&entry.name, start, scratch).await? {
            self.give_back(memory);
            return Ok(false);
        }
        if let Some(block) = first_mismatch(&table, first, scratch) {
            return Err(self.mismatch(file, block));
        }
        let stays = match &self.cache {
            Some(cache) => cache.keep(file, first, scratch).await,
            None => self.store.is_local(),
        };
        if stays {
            self.mark(file, revision, around);
        }
        let skip = (at - start) as usize;
        target.copy_from(&scratch[skip..skip + target.len()]);
        self.give_back(memory);
        Ok(true)
    }

    /// Every part of a file would cost all that comes before it.
    fn without_ranges(&self, file: u32) -> Error {
        let why = self.cache.as_ref().and_then(BlockCache::failure).map_or_else(String::new, |why| format!(" ({why})"));
        let message = format!("the host answers ranges with whole files, and nothing of them can be kept here{why}");
        let name = &self.manifest.files[file as usize].name;
        Error::new(ErrorKind::Unsupported, message).file(self.store.describe(name)).remedy(
            "make room for what is kept, end other programs that store this model, or use a host that answers ranges",
        )
    }

    /// Reads a file once from its start to its end and keeps it, for hosts that know no ranges, and then fills `target` from
    /// what was kept; false where that does not lie here.
    async fn fetch_whole(&self, file: u32, at: u64, target: &mut Window<'_>) -> Result<bool> {
        let Some(cache) = &self.cache else { return Ok(false) };
        let _turn = self.whole_files.lock().await;
        let around = blocks_around(at, target.len());
        let all_here = || {
            let state = self.state(file);
            around.clone().all(|block| state.is_verified(block))
        };
        // Another reader may have brought it meanwhile.
        if !all_here() && cache.is_keeping() {
            self.bring_whole(file, cache).await?;
        }
        Ok(all_here() && cache.read(file, at, target).await.is_ok())
    }

    async fn bring_whole(&self, file: u32, cache: &BlockCache) -> Result<()> {
        let entry = &self.manifest.files[file as usize];
        let table = self.table(file).await?;
        let revision = self.revision(file)?;
        let Some(keeper) = cache.keeper(file).await else { return Ok(()) };
        let mut pending = Vec::new();
        let mut next_block = 0;
        let mut visit = |offset: u64, bytes: &[u8]| {
            pending.extend_from_slice(bytes);
            let at_end = offset + bytes.len() as u64 >= entry.len_bytes;
            let whole = if at_end { pending.len() } else { pending.len() / BLOCK * BLOCK };
            if let Some(block) = first_mismatch(&table, next_block, &pending[..whole]) {
                return Err(self.mismatch(file, block));
            }
            if whole > 0 && !keeper.keep(next_block, &pending[..whole]) {
                return Ok(ControlFlow::Break(()));
            }
            let blocks = whole.div_ceil(BLOCK) as u64;
            self.mark(file, revision, next_block..next_block + blocks);
            next_block += blocks;
            pending.drain(..whole);
            Ok(if at_end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        self.store.read_through(&entry.name, &mut visit).await.map(|_| ())
    }

    /// Notes that blocks lie here and are right.
    fn mark(&self, file: u32, revision: Option<Revision>, verified: Range<u64>) {
        let total = blocks(self.manifest.files[file as usize].len_bytes);
        if self.state(file).mark(revision, verified, total) {
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
        let table: Arc<[u64]> = parse(&self.table_bytes(file).await?).into();
        self.tables().add(file, &table);
        Ok(table)
    }

    /// A file's table of checksums, from the cache if it is there and right.
    async fn table_bytes(&self, file: u32) -> Result<Vec<u8>> {
        let entry = &self.manifest.files[file as usize];
        let kept = self.cache.as_ref().and_then(|cache| cache.checksums(file).ok());
        if let Some(kept) = kept.filter(|kept| check_table(kept, entry).is_ok()) {
            return Ok(kept);
        }
        let table = read_table(self.store.as_ref(), &entry.name, entry.len_bytes).await;
        let table =
            table.map_err(|error| self.place(error, file, 0..entry.len_bytes, "their checksums are not kept here"))?;
        check_table(&table, entry).map_err(|error| error.file(self.store.describe(&super::sums_name(&entry.name))))?;
        if let Some(cache) = &self.cache {
            cache.keep_checksums(file, &table);
        }
        Ok(table)
    }

    /// Says of an error which tensors it is about; and where a host cannot be reached, that what is needed of it is not to be
    /// had here.
    fn place(&self, error: Error, file: u32, bytes: Range<u64>, what: &str) -> Error {
        let names = tensors_in(&self.manifest, file, &bytes);
        let error = match &self.cache {
            Some(cache) if error.kind() == ErrorKind::Network => {
                let bytes = format!("bytes {}..{} ({})", bytes.start, bytes.end, list(&names));
                let message = format!("{bytes}: {what}, and cannot be fetched: {error}");
                let remedy = "start again when the host can be reached: what is missing is fetched then";
                Error::new(ErrorKind::Network, message).file(cache.describe(file)).remedy(remedy)
            }
            _ => error,
        };
        match names.first() {
            Some(name) => error.tensor(*name),
            None => error,
        }
    }

    fn mismatch(&self, file: u32, block: u64) -> Error {
        let entry = &self.manifest.files[file as usize];
        let start = block * CHECKSUM_BLOCK;
        let range = start..(start + CHECKSUM_BLOCK).min(entry.len_bytes);
        let names = tensors_in(&self.manifest, file, &range);
        let message = format!("bytes {}..{} do not match their checksum ({})", range.start, range.end, list(&names));
        let (message, remedy) = match self.store.is_local() {
            false => {
                (message, "the host sends other bytes than its manifest says: try again, or ask its publisher".into())
            }
            true if self.state(file).has_changed() => (
                format!("the file was changed while it was in use: {message}"),
                "put the right file back, and start again".into(),
            ),
            true => (message, "run " + crate::words::Term::Verify + "; split the model again"),
        };
        let error = Error::new(ErrorKind::Checksum, message).file(self.store.describe(&entry.name)).remedy(remedy);
        match names.first() {
            Some(name) => error.tensor(*name),
            None => error,
        }
    }

    // A panic elsewhere cannot leave any of them half-changed: see their users above.
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self, file: u32) -> MutexGuard<'_, FileState> {
        self.states[file as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn scratch(&self) -> MutexGuard<'_, Vec<PageMemory>> {
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spare(&self) -> PageMemory {
        self.scratch().pop().unwrap_or_default()
    }

    fn give_back(&self, memory: PageMemory) {
        let mut spare = self.scratch();
        if spare.len() < SPARE_SCRATCH {
            spare.push(memory);
        }
    }
}

/// The blocks that hold a range.
fn blocks_around(at: u64, len: usize) -> Range<u64> {
    at / CHECKSUM_BLOCK..blocks(at + len as u64)
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
