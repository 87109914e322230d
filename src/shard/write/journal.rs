//! The journal of a split that is not finished: what it is made from, and which files are its own.
//!
//! It holds the whole table of the checkpoint, because with `--delete-original` the files that the table was read from
//! may be gone when the split continues.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use super::super::checksum::hex;
use super::TOKENIZER;
use super::folder::is_model_file;
use crate::checkpoint::{Checkpoint, Companion, Quantized, Source, Tensor};
use crate::encoding::Encoding;
use crate::plan::RowMap;
use crate::store::{ModelSink, Store, check_name};
use crate::{Error, ErrorKind, Result};

/// The journal's name in the folder of a model that is being made.
pub const NAME: &str = "split.journal.json";
const VERSION: u32 = 4;
/// Largest journal and largest tokenizer that are read.
const MAX_BYTES: u64 = 256 << 20;

/// What a run must have in common with an earlier one to continue it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::internals::shard) struct Journal {
    version: u32,
    /// The options that shape the result.
    options: Value,
    /// The table of the checkpoint; absent for synthetic models.
    checkpoint: Option<SavedCheckpoint>,
    /// For each file of the checkpoint a hash of samples of its content: two fine-tunes have the same names, lengths and
    /// headers.
    samples: BTreeMap<String, String>,
    /// What the store knows each of them by while the split lasts, and no longer: a copy has other times.
    stamps: BTreeMap<String, String>,
    /// The files that are made, without their sums.
    pub(super) files: Vec<String>,
    /// Whether files of the checkpoint may have been deleted.
    pub(super) deleting: bool,
}

/// A [`Checkpoint`] as a journal keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::internals::shard) struct SavedCheckpoint {
    files: Vec<(String, u64)>,
    tensors: Vec<SavedTensor>,
    config: Value,
    generation_config: Option<Value>,
    tokenizer_config: Option<Value>,
    /// Hash of the tokenizer, which is the first file that a split writes.
    tokenizer: Option<String>,
    quantized: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedTensor {
    name: String,
    source_name: String,
    shape: Vec<u64>,
    encoding: String,
    form: Form,
    file: usize,
    offset_bytes: u64,
    len_bytes: u64,
    source_rows: u64,
    rows: RowMap,
    plus: f32,
    inverse_lengths: Option<u64>,
    transposed: bool,
    companions: Vec<Companion>,
}

/// The kinds of [`Source`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Form {
    Plain,
    Blocks,
    NegatedExp,
    Planes,
    Turned { rows: u64 },
    Quantized(Quantized),
}

impl Journal {
    pub(in crate::internals::shard) fn new(
        options: Value,
        checkpoint: Option<SavedCheckpoint>,
        (samples, stamps): (BTreeMap<String, String>, BTreeMap<String, String>),
        files: Vec<String>,
    ) -> Self {
        Self { version: VERSION, options, checkpoint, samples, stamps, files, deleting: false }
    }

    /// Whether a run with this journal makes the same files from the same content as an earlier run. Samples of files
    /// that the earlier run deleted are taken from it.
    pub(super) fn continues(&self, earlier: &Self) -> bool {
        let same =
            |name: &String, sample: &String| self.samples.get(name).map_or(earlier.deleting, |own| own == sample);
        self.version == earlier.version
            && self.options == earlier.options
            && self.checkpoint == earlier.checkpoint
            && self.files == earlier.files
            && earlier.samples.iter().all(|(name, sample)| same(name, sample))
            && self.samples.keys().all(|name| earlier.samples.contains_key(name))
            && earlier.stamps.iter().all(|(name, stamp)| self.stamps.get(name).is_none_or(|own| own == stamp))
    }

    /// The hash that a finished model keeps of all this.
    pub(super) fn source(&self) -> String {
        let identity = (&self.options, &self.checkpoint, &self.samples);
        hex(xxh3_64(&serde_json::to_vec(&identity).expect("strings and numbers serialize")))
    }

    pub(super) fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::new(ErrorKind::Malformed, error.to_string()).file(NAME))
    }

    fn check(&self) -> Result<()> {
        let malformed = |what: String| Err(Error::new(ErrorKind::Malformed, what));
        if self.version != VERSION {
            return Err(Error::new(ErrorKind::Unsupported, format!("version {}", self.version)));
        }
        if let Some(name) = self.files.iter().find(|name| check_name(name).is_err() || !is_model_file(name)) {
            return malformed(format!("{name:?} is no file of a model"));
        }
        self.checkpoint.as_ref().map_or(Ok(()), SavedCheckpoint::check)
    }
}

impl SavedCheckpoint {
    pub(in crate::internals::shard) fn new(checkpoint: &Checkpoint) -> Self {
        Self {
            files: checkpoint.files.clone(),
            tensors: checkpoint.tensors.iter().map(SavedTensor::new).collect(),
            config: checkpoint.config.clone(),
            generation_config: checkpoint.generation_config.clone(),
            tokenizer_config: checkpoint.tokenizer_config.clone(),
            tokenizer: checkpoint.tokenizer.as_deref().map(|bytes| hex(xxh3_64(bytes))),
            quantized: checkpoint.quantized,
        }
    }

    fn check(&self) -> Result<()> {
        for (name, _) in &self.files {
            check_name(name)?;
        }
        for tensor in &self.tensors {
            let tensor = tensor.clone().restore().map_err(|error| error.tensor(&tensor.name))?;
            for (file, offset_bytes, len_bytes) in tensor.runs() {
                let len = self.files.get(file).map_or(0, |(_, len)| *len);
                if offset_bytes.checked_add(len_bytes).is_none_or(|end| end > len) {
                    return Err(Error::new(ErrorKind::Malformed, "lies outside its file").tensor(&tensor.name));
                }
            }
        }
        Ok(())
    }

    /// The checkpoint, with the tokenizer from the sink, where the split has written it.
    async fn restore(self, sink: &dyn ModelSink) -> Result<Checkpoint> {
        let tokenizer = match &self.tokenizer {
            Some(hash) => Some(read_tokenizer(sink, hash).await?),
            None => None,
        };
        Ok(Checkpoint {
            tensors: self.tensors.into_iter().map(SavedTensor::restore).collect::<Result<_>>()?,
            files: self.files,
            config: self.config,
            generation_config: self.generation_config,
            tokenizer,
            gguf_tokenizer: None,
            tokenizer_files: None,
            tokenizer_config: self.tokenizer_config,
            quantized: self.quantized,
        })
    }
}

async fn read_tokenizer(sink: &dyn ModelSink, hash: &str) -> Result<Vec<u8>> {
    let bytes = read_capped(sink, TOKENIZER).await?;
    if hex(xxh3_64(&bytes)) == hash {
        return Ok(bytes);
    }
    let error = Error::new(ErrorKind::Checksum, "is not what the stopped split wrote");
    Err(error.file(sink.describe(TOKENIZER)).remedy("get the original again and split it into another folder"))
}

impl SavedTensor {
    fn new(tensor: &Tensor) -> Self {
        let (encoding, form) = match tensor.source {
            Source::Plain(encoding) => (encoding, Form::Plain),
            Source::GgufBlocks(encoding) => (encoding, Form::Blocks),
            Source::NegatedExp(encoding) => (encoding, Form::NegatedExp),
            Source::Planes(encoding) => (encoding, Form::Planes),
            Source::Turned { encoding, rows } => (encoding, Form::Turned { rows }),
            Source::Quantized(quantized) => (Encoding::F32, Form::Quantized(quantized)),
        };
        Self {
            name: tensor.name.clone(),
            source_name: tensor.source_name.clone(),
            shape: tensor.shape.clone(),
            encoding: encoding.name().to_owned(),
            form,
            file: tensor.file,
            offset_bytes: tensor.offset_bytes,
            len_bytes: tensor.len_bytes,
            source_rows: tensor.source_rows,
            rows: tensor.rows,
            plus: tensor.plus,
            inverse_lengths: tensor.inverse_lengths,
            transposed: tensor.transposed,
            companions: tensor.companions.clone(),
        }
    }

    fn restore(self) -> Result<Tensor> {
        let encoding = Encoding::from_name(&self.encoding)?;
        Ok(Tensor {
            name: self.name,
            source_name: self.source_name,
            shape: self.shape,
            source: match self.form {
                Form::Plain => Source::Plain(encoding),
                Form::Blocks => Source::GgufBlocks(encoding),
                Form::NegatedExp => Source::NegatedExp(encoding),
                Form::Planes => Source::Planes(encoding),
                Form::Turned { rows } => Source::Turned { encoding, rows },
                Form::Quantized(quantized) => Source::Quantized(quantized),
            },
            file: self.file,
            offset_bytes: self.offset_bytes,
            len_bytes: self.len_bytes,
            source_rows: self.source_rows,
            rows: self.rows,
            plus: self.plus,
            inverse_lengths: self.inverse_lengths,
            transposed: self.transposed,
            companions: self.companions,
        })
    }
}

/// The journal of a sink, if there is one.
///
/// # Errors
/// [`ErrorKind::Malformed`] for one that no split wrote.
pub(in crate::internals::shard) async fn load(sink: &dyn ModelSink) -> Result<Option<Journal>> {
    let bytes = match read_capped(sink, NAME).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        bytes => bytes?,
    };
    let blame = |error: Error| error.file(sink.describe(NAME)).remedy("choose another folder, or remove this one");
    let parsed = serde_json::from_slice(&bytes);
    let journal: Journal =
        parsed.map_err(|error| blame(Error::new(ErrorKind::Malformed, format!("not a journal: {error}"))))?;
    journal.check().map_err(blame)?;
    Ok(Some(journal))
}

/// The checkpoint of a split that was stopped in `sink`, as it was when the split began: its own files may be gone.
///
/// # Errors
/// [`ErrorKind::Malformed`] for a journal that no split wrote.
pub async fn saved_checkpoint(sink: &dyn ModelSink) -> Result<Option<Checkpoint>> {
    match load(sink).await?.and_then(|journal| journal.checkpoint) {
        Some(saved) => saved.restore(sink).await.map(Some),
        None => Ok(None),
    }
}

/// Whether a split that was stopped in `sink` may have deleted files of its checkpoint.
///
/// # Errors
/// As [`saved_checkpoint`].
pub async fn has_deleted(sink: &dyn ModelSink) -> Result<bool> {
    Ok(load(sink).await?.is_some_and(|journal| journal.deleting))
}

async fn read_capped(store: &dyn Store, name: &str) -> Result<Vec<u8>> {
    let len = store.len(name).await?;
    if len > MAX_BYTES {
        return Err(Error::new(ErrorKind::Malformed, format!("{len} bytes")).file(store.describe(name)));
    }
    let mut bytes = vec![0; len as usize];
    store.read_at(name, 0, &mut bytes).await?;
    Ok(bytes)
}
