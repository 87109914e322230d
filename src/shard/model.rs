//! An opened model: its manifest, and reads that are verified the first time a process makes them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::verified::VerifiedReader;
use super::{CHECKSUM_BLOCK, MANIFEST, Manifest, ModelFile, StoredTensor};
use crate::store::cache::{BlockCache, CachePlace, JOURNAL, OWN_FILES, is_journal_of, is_own_name};
use crate::store::{Store, Window, known_len};
use crate::{Error, ErrorKind, Result};

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
            check_len(store.as_ref(), file).await?;
        }
        Self::with_cache(store, manifest, None)
    }

    /// Opens a model that lies elsewhere and keeps what is fetched of it in `place`. Where its host cannot be reached, the
    /// manifest that was kept serves.
    ///
    /// # Errors
    /// Those of [`Model::open`] and of the place.
    pub async fn open_remote(store: Arc<dyn Store>, place: &dyn CachePlace) -> Result<Self> {
        // What cannot be read is as good as absent: it is fetched again.
        let known = place.load(MANIFEST).await.unwrap_or(None);
        let (manifest, bytes) = Manifest::load_remote(store.as_ref(), known.as_deref()).await?;
        if let Some(name) = manifest.files.iter().map(|file| &file.name).find(|name| is_own_name(name)) {
            let error =
                Error::new(ErrorKind::Malformed, format!("a file is called {name:?}, as the cache's own file is"));
            return Err(error.file(store.describe(MANIFEST)).remedy("publish the model with another name of the file"));
        }
        let hash = xxh3_64(&bytes);
        if place.is_writer() && known.is_none_or(|known| known != bytes) {
            let journal = place.load(JOURNAL).await.unwrap_or(None);
            // The blocks are this model's, although its manifest was damaged or lost.
            if !journal.is_some_and(|journal| is_journal_of(&journal, hash)) {
                place.clear().await?;
            }
            place.save(MANIFEST, &bytes).await?;
        }
        let cache = open_cache(place, &manifest, hash).await?;
        Self::with_cache(store, manifest, Some(cache))
    }

    fn with_cache(store: Arc<dyn Store>, manifest: Manifest, cache: Option<BlockCache>) -> Result<Self> {
        let runs = vector_runs(&manifest)?;
        Ok(Self { runs, reader: VerifiedReader::new(manifest, store, cache) })
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
            error.tensor(name).file(self.store().describe(MANIFEST)).remedy("split the model again")
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
                let mut target = window.part(filled..filled + bytes)?;
                let offset = part.offset_bytes + (start - first) * stride;
                self.reader.read(part.file, offset, &mut target).await?;
                filled += bytes;
            }
            first += part.rows;
        }
        Ok(())
    }
}

/// Checks that a file has the length that the manifest says, where the store can tell it.
pub(super) async fn check_len(store: &dyn Store, file: &ModelFile) -> Result<()> {
    let Some(len) = known_len(store, &file.name).await?.filter(|len| *len != file.len_bytes) else { return Ok(()) };
    let error = Error::new(ErrorKind::Truncated, format!("{len} bytes, but the manifest says {}", file.len_bytes));
    Err(error.file(store.describe(&file.name)).remedy("get the file again, or split the model again"))
}

/// The blocks that a place keeps of the model with this manifest, whose text has the hash.
pub(super) async fn open_cache(place: &dyn CachePlace, manifest: &Manifest, hash: u64) -> Result<BlockCache> {
    let names = manifest.files.iter().map(|file| file.name.as_str());
    let names: Vec<_> = OWN_FILES.into_iter().chain(names).collect();
    let files = place.open(&names).await?;
    let lens = manifest.files.iter().map(|file| file.len_bytes).collect();
    Ok(BlockCache::open(files, hash, lens, CHECKSUM_BLOCK, place.is_writer()))
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
                return Err(error.tensor(crate::plan::layer_tensor(layer, short)).file(MANIFEST));
            }
            entries.insert(short.to_owned(), (offset - offset_bytes) / 4);
            end = offset + len;
        }
        runs.insert(layer, VectorRun { file, offset_bytes, len_bytes: end - offset_bytes, entries });
    }
    Ok(runs)
}
