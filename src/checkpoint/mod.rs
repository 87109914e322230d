//! Reads what people publish: headers of safetensors, PyTorch and GGUF files -> one table of tensors, all in Hugging Face names
//! and shapes. Only headers are read here, by positioned reads; tensor bytes are read by the splitter.

mod folder;
pub mod gguf;
mod gguf_tokenizer;
pub mod pytorch;
mod read;
pub mod safetensors;
#[cfg(test)]
mod testing;
pub mod tokenizer_files;

pub use folder::{open, parse_index};
pub use gguf_tokenizer::GgufTokenizer;
pub use tokenizer_files::TokenizerFiles;

use crate::encoding::Encoding;
use crate::plan::RowMap;

/// How a checkpoint stores a tensor's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// Plain values, rows without padding.
    Plain(Encoding),
    /// GGUF blocks in GGUF's own interleaved order (see `encoding::gguf` for repacking into planar rows).
    GgufBlocks(Encoding),
}

/// A tensor of a checkpoint. Bounds and sizes have been checked against its file.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The Hugging Face name, whatever the file calls it.
    pub name: String,
    /// The file's own name for it, for messages.
    pub source_name: String,
    /// `[rows, columns]` for matrices, `[len]` for vectors; last axis contiguous.
    pub shape: Vec<u64>,
    pub source: Source,
    /// Index in [`Checkpoint::files`].
    pub file: usize,
    pub offset_bytes: u64,
    pub len_bytes: u64,
    /// Rows of the tensor as the file holds it (values, for a vector): those of `shape`, or more where it is fused.
    pub source_rows: u64,
    /// Which of them are the tensor's.
    pub rows: RowMap,
    /// Added to each value: norms that are stored around 0 are meant around 1.
    pub plus: f32,
    /// The tensor is not in the file: it is one over the length of each row of the matrix there, which has so many columns.
    pub inverse_lengths: Option<u64>,
}

/// Everything a split needs of a checkpoint, except the tensors' bytes.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Object names in the store, with lengths in bytes.
    pub files: Vec<(String, u64)>,
    /// Sorted by name.
    pub tensors: Vec<Tensor>,
    /// `config.json` as published, or the same fields made from GGUF metadata.
    pub config: serde_json::Value,
    /// `generation_config.json`, where there is one.
    pub generation_config: Option<serde_json::Value>,
    /// `tokenizer.json` as bytes, as published; `None` for GGUF, and where there is none.
    pub tokenizer: Option<Vec<u8>>,
    /// What a GGUF file says of its tokenizer, to make `tokenizer.json` from; `None` for a folder.
    pub gguf_tokenizer: Option<GgufTokenizer>,
    /// What a folder without `tokenizer.json` has in its place, to make one from.
    pub tokenizer_files: Option<TokenizerFiles>,
    /// `tokenizer_config.json` as published, or its fields (chat_template, bos_token, eos_token…) made from metadata.
    pub tokenizer_config: Option<serde_json::Value>,
    /// Whether the matrices are already quantized.
    pub quantized: bool,
}
