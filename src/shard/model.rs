//! An opened model: its manifest, and reads that are verified the first time a process makes them.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use xxhash_rust::xxh3::xxh3_64;

use super::checksum::{blocks, load_sums};
use super::{CHECKSUM_BLOCK, Manifest, StoredTensor};
use crate::store::{Store, Window};
use crate::{Error, ErrorKind, Result};

/// Bytes read at once where blocks must be verified.
const SCRATCH_BYTES: u64 = 1 << 20;
/// Scratch buffers kept for the next read.
const SPARE_SCRATCH: usize = 4;
/// Bytes of checksum tables kept in memory; one of a 6.4 GB layer has 781 KiB.
const MAX_TABLE_BYTES: usize = 8 << 20;

/// An opened model: a checked manifest and the store it lies in.
pub struct Model {
    runs: BTreeMap<usize, VectorRun>,
    reader: VerifiedReader,
}

/// The vectors of a layer: one contiguous run of f32s at the beginning of the layer's (first) file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VectorRun {
    /// Index in [`Manifest::files`].
    pub file: u32,
    pub offset_bytes: u64,
    pub len_bytes: u64,
    /// Tensor name without the layer prefix (`input_layernorm.weight`) -> where it starts, in f32s from the run's start.
    pub entries: BTreeMap<String, u64>,
}

impl Model {
    /// Opens a model: reads and checks the manifest, and that every file has the length it says.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is no complete model, [`ErrorKind::Truncated`] for a file of another length,
    /// and those of [`Manifest::parse`].
    pub async fn open(store: Arc<dyn Store>) -> Result<Self> {
        let manifest = Manifest::load(store.as_ref()).await?;
        for file in &manifest.files {
            let len = store.len(&file.name).await?;
            if len != file.len_bytes {
                let message = format!("{len} bytes, but the manifest says {}", file.len_bytes);
                let error = Error::new(ErrorKind::Truncated, message).file(store.describe(&file.name));
                return Err(error.remedy("get the file again, or split the model again"));
            }
        }
        let runs = vector_runs(&manifest)?;
        Ok(Self { runs, reader: VerifiedReader::new(manifest, store) })
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.reader.manifest
    }

    /// The store the model lies in.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.reader.store
    }

    /// A tensor by its full name.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] naming the tensor.
    pub fn tensor(&self, name: &str) -> Result<&StoredTensor> {
        self.manifest().tensors.get(name).ok_or_else(|| {
            let error = Error::new(ErrorKind::Missing, "the model has no such tensor");
            error.tensor(name).file(self.store().describe(super::MANIFEST)).remedy("split the model again")
        })
    }

    /// The vectors of a layer; `None` where it has none.
    pub fn vector_run(&self, layer: usize) -> Option<&VectorRun> {
        self.runs.get(&layer)
    }

    /// Reads with verification, to be shared by all readers of the process.
    pub fn verified(&self) -> &VerifiedReader {
        &self.reader
    }

    /// Reads rows `rows` of a matrix (or a vector, as its one row) as stored, each at its stride.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] where the rows are not the tensor's or do not fill the window, and those of
    /// [`VerifiedReader::read`].
    pub async fn read_rows(&self, name: &str, rows: Range<u64>, window: &mut Window<'_>) -> Result<()> {
        let tensor = self.tensor(name)?;
        let stride = tensor.row_bytes()?;
        let total: u64 = tensor.parts.iter().map(|part| part.rows).sum();
        let len = rows.end.checked_sub(rows.start).filter(|_| rows.end <= total);
        if len.and_then(|rows| rows.checked_mul(stride)) != Some(window.len() as u64) {
            let message = format!("rows {rows:?} of {total} do not fill {} bytes", window.len());
            return Err(Error::new(ErrorKind::Argument, message).tensor(name));
        }
        let (mut first, mut filled) = (0, 0);
        for part in &tensor.parts {
            let (start, end) = (rows.start.max(first), rows.end.min(first + part.rows));
            if start < end {
                let bytes = ((end - start) * stride) as usize;
                let mut target = Window::from_slice(window.slice(filled..filled + bytes)?);
                let offset = part.offset_bytes + (start - first) * stride;
                self.reader.read(part.file, offset, &mut target).await?;
                filled += bytes;
            }
            first += part.rows;
        }
        Ok(())
    }
}

/// Finds the vectors of each layer, and checks that they follow each other in one file with padding only between them.
fn vector_runs(manifest: &Manifest) -> Result<BTreeMap<usize, VectorRun>> {
    let mut vectors: BTreeMap<usize, Vec<(u32, u64, u64, &str)>> = BTreeMap::new();
    for (name, tensor) in &manifest.tensors {
        let layer = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
        let layer = layer.and_then(|(number, short)| Some((number.parse().ok()?, short)));
        if let (Some((layer, short)), [len], [part]) = (layer, &tensor.shape[..], &tensor.parts[..]) {
            vectors.entry(layer).or_default().push((part.file, part.offset_bytes, len * 4, short));
        }
    }
    let mut runs = BTreeMap::new();
    for (layer, mut places) in vectors {
        places.sort_unstable();
        let (file, offset_bytes, ..) = places[0];
        let mut end = offset_bytes;
        let mut entries = BTreeMap::new();
        for (place_file, offset, len, short) in places {
            if place_file != file || offset > end.next_multiple_of(super::layout::VECTOR_ALIGNMENT) {
                let error = Error::new(ErrorKind::Malformed, "lies apart from the other vectors of its layer");
                return Err(error.tensor(crate::plan::layer_tensor(layer, short)).file(super::MANIFEST));
            }
            entries.insert(short.to_owned(), (offset - offset_bytes) / 4);
            end = offset + len;
        }
        runs.insert(layer, VectorRun { file, offset_bytes, len_bytes: end - offset_bytes, entries });
    }
    Ok(runs)
}

/// Reads byte ranges of a model's files; each checksum block is verified when it is first read by this process.
///
/// Shared by reader threads. Memory: one bit for each block, at most 8 MiB of checksum tables, a few scratch buffers.
pub struct VerifiedReader {
    manifest: Manifest,
    store: Arc<dyn Store>,
    states: Vec<FileState>,
    tables: Mutex<Tables>,
    scratch: Mutex<Vec<Vec<u8>>>,
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
    fn new(manifest: Manifest, store: Arc<dyn Store>) -> Self {
        let states = manifest.files.iter().map(|_| FileState::default()).collect();
        Self { manifest, store, states, tables: Mutex::default(), scratch: Mutex::default() }
    }

    /// Fills the window from `offset_bytes` of a file. Blocks that are not verified yet are read whole into scratch
    /// memory, compared with their checksums and copied; the others are read straight into the window.
    ///
    /// # Errors
    /// [`ErrorKind::Checksum`] naming file, bytes and tensors; [`ErrorKind::Truncated`] past the file's end; those of the
    /// store.
    pub async fn read(&self, file: u32, offset_bytes: u64, window: &mut Window<'_>) -> Result<()> {
        let entry = self.manifest.files.get(file as usize);
        let entry = entry.ok_or_else(|| Error::new(ErrorKind::Argument, format!("the model has no file {file}")))?;
        let end = offset_bytes.checked_add(window.len() as u64).filter(|end| *end <= entry.len_bytes);
        let end = end.ok_or_else(|| {
            let message = format!("{} bytes at {offset_bytes} of {}", window.len(), entry.len_bytes);
            Error::new(ErrorKind::Truncated, message).file(self.store.describe(&entry.name))
        })?;
        let mut at = offset_bytes;
        while at < end {
            let (run_end, verified) = self.next_run(file, at, end);
            let target = window.slice((at - offset_bytes) as usize..(run_end - offset_bytes) as usize)?;
            if verified {
                self.store.read_at(&entry.name, at, target).await?;
            } else {
                self.read_unverified(file, at, target).await?;
            }
            at = run_end;
        }
        Ok(())
    }

    /// The longest run from `at` whose blocks are all verified, or all not (then of at most the scratch size).
    fn next_run(&self, file: u32, at: u64, end: u64) -> (u64, bool) {
        let state = &self.states[file as usize];
        let last = (end - 1) / CHECKSUM_BLOCK;
        let first = at / CHECKSUM_BLOCK;
        let verified = state.is_verified(first);
        let limit = if verified { last } else { last.min(first + SCRATCH_BYTES / CHECKSUM_BLOCK - 1) };
        let next = (first + 1..=limit).find(|block| state.is_verified(*block) != verified).unwrap_or(limit + 1);
        (end.min(next * CHECKSUM_BLOCK), verified)
    }

    /// Verifies the blocks around a range and copies the range to `target`.
    async fn read_unverified(&self, file: u32, at: u64, target: &mut [u8]) -> Result<()> {
        let entry = &self.manifest.files[file as usize];
        let table = self.table(file).await?;
        let first = at / CHECKSUM_BLOCK;
        let start = first * CHECKSUM_BLOCK;
        let end = (at + target.len() as u64).next_multiple_of(CHECKSUM_BLOCK).min(entry.len_bytes);
        let mut scratch = self.scratch().pop().unwrap_or_default();
        scratch.resize((end - start) as usize, 0);
        self.store.read_at(&entry.name, start, &mut scratch).await?;
        let state = &self.states[file as usize];
        let bits = state.bits.get_or_init(|| (0..table.len().div_ceil(64)).map(|_| AtomicU64::new(0)).collect());
        for (block, bytes) in (first..).zip(scratch.chunks(CHECKSUM_BLOCK as usize)) {
            if table.get(block as usize) != Some(&xxh3_64(bytes)) {
                return Err(self.mismatch(file, block));
            }
            state.mark(bits, block);
        }
        if state.verified.load(Relaxed) == blocks(entry.len_bytes) {
            self.tables().forget(file);
        }
        let skip = (at - start) as usize;
        target.copy_from_slice(&scratch[skip..skip + target.len()]);
        let mut spare = self.scratch();
        if spare.len() < SPARE_SCRATCH {
            spare.push(scratch);
        }
        Ok(())
    }

    async fn table(&self, file: u32) -> Result<Arc<[u64]>> {
        let loaded = self.tables().touch(file);
        if let Some(table) = loaded {
            return Ok(table);
        }
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

    fn scratch(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
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
