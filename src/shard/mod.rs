//! The model format: a manifest, shards that are valid safetensors files, and checksums over every byte.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::encoding::Encoding;

mod checksum;
mod claims;
pub mod layout;
mod manifest;
mod model;
pub mod split;
pub mod synth;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod verified;
mod verify;
mod write;

pub use checksum::{SumsWriter, sums_name};
pub use model::{Model, VectorRun};
pub use verified::VerifiedReader;
pub use verify::{Finding, KeptReport, verify, verify_kept};
pub use write::JOURNAL;

/// The manifest's name in a model's folder. It is written last: a folder without it is not a model.
pub const MANIFEST: &str = "manifest.json";
/// Version of the format that is written.
pub const FORMAT_VERSION: u32 = 1;
/// Versions that are read. A new one keeps reading the old ones, so that nobody splits a large model again for it: each has a
/// model of its time in tests/data/formats.
pub const FORMATS: std::ops::RangeInclusive<u32> = 1..=FORMAT_VERSION;

/// `manifest.json`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    /// For people: the checkpoint's name and how it was encoded.
    pub name: String,
    /// `original`, `q8`, `q4` or `synthetic`.
    pub weights: String,
    /// The checkpoint's config, whole.
    pub config: serde_json::Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation_config: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer_config: Option<serde_json::Value>,
    /// Hex hash of what the model was made from (names, lengths, headers and samples of the checkpoint, and the options
    /// of the split), so that the same split finds it finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Every other file of the model, in sweep order.
    pub files: Vec<ModelFile>,
    /// Tensors by name (Hugging Face's), in sweep order within each file.
    #[serde(deserialize_with = "manifest::unique_names")]
    pub tensors: BTreeMap<String, StoredTensor>,
    /// xxh3-64 (hex) of this manifest's JSON text with this field empty.
    pub checksum: String,
}

/// A file of a model.
///
/// Its checksums lie beside it in `<name>.sums`: the xxh3-64 of each [`CHECKSUM_BLOCK`] of the file (the last one
/// shorter), as little-endian u64s. They stay out of the manifest because a 405B model has twelve million of them.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// Object name: `layer-00003.safetensors`, `embeddings.safetensors`, `head.safetensors`, `tokenizer.json`.
    pub name: String,
    pub len_bytes: u64,
    /// xxh3-64 of the `.sums` object, 16 hex digits.
    pub sums: String,
}

/// Bytes under one checksum: small enough that a gather of a few embedding rows reads little more than it needs.
pub const CHECKSUM_BLOCK: u64 = 64 * 1024;

/// Where a tensor lies.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct StoredTensor {
    /// The encoding's name; vectors are `f32`.
    pub encoding: String,
    /// `[rows, columns]` or `[len]`.
    pub shape: Vec<u64>,
    /// Runs of rows, in order; more than one only where a file-size limit cut the matrix.
    pub parts: Vec<Extent>,
}

/// A run of rows in one file. Rows follow each other at `Encoding::row_stride`; a vector is one row of `len` f32s.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Extent {
    /// Index in [`Manifest::files`].
    pub file: u32,
    pub offset_bytes: u64,
    pub rows: u64,
}

impl StoredTensor {
    /// The encoding, if this build knows it.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind) for an unknown name.
    pub fn encoding(&self) -> crate::Result<Encoding> {
        Encoding::from_name(&self.encoding)
    }
}

/// How far long work has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    pub done_bytes: u64,
    pub total_bytes: u64,
    /// The file that is being worked on.
    pub file: &'a str,
}

/// Told about progress, now and then; `Break` asks to stop, which ends in [`ErrorKind::Cancelled`](crate::ErrorKind).
pub type OnProgress<'a> = dyn FnMut(Progress<'_>) -> std::ops::ControlFlow<()> + Send + 'a;

/// Tells `progress`, and turns its wish to stop into an error.
fn tell(progress: &mut OnProgress<'_>, done_bytes: u64, total_bytes: u64, file: &str) -> crate::Result<()> {
    match progress(Progress { done_bytes, total_bytes, file }) {
        std::ops::ControlFlow::Continue(()) => Ok(()),
        std::ops::ControlFlow::Break(()) => Err(crate::Error::new(crate::ErrorKind::Cancelled, "stopped")),
    }
}
