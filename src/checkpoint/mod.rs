//! Reads what people publish: headers of safetensors, PyTorch and GGUF files -> one table of tensors, all in Hugging Face names
//! and shapes. Only headers are read here, by positioned reads; tensor bytes are read by the splitter.

mod folder;
pub mod gguf;
mod gguf_tokenizer;
mod kinds;
mod names;
pub mod pytorch;
pub mod quantized;
mod read;
pub mod safetensors;
#[cfg(test)]
mod testing;
mod tied;
mod token_lists;
pub mod tokenizer_files;

pub use folder::{Told, open, open_told, parse_index};
pub use gguf_tokenizer::GgufTokenizer;
pub use quantized::{Fp4Scales, Nested, Quantized, WordOrder};
pub use tokenizer_files::TokenizerFiles;

use serde::{Deserialize, Serialize};

use crate::encoding::Encoding;
use crate::plan::RowMap;

/// How a checkpoint stores a tensor's bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Source {
    /// Plain values, rows without padding.
    Plain(Encoding),
    /// GGUF blocks in GGUF's own interleaved order (see `encoding::gguf` for repacking into planar rows).
    GgufBlocks(Encoding),
    /// Plain values of a vector, each the negated exponential of the tensor's: how fast a delta rule forgets, in GGUF.
    NegatedExp(Encoding),
    /// The planes of each row, as the encoding has them, in tensors of their own: the first in this one, the others in its
    /// companions.
    Planes(Encoding),
    /// Plain values or GGUF blocks; each run of so many rows, a head's, lies as its transpose.
    Turned { encoding: Encoding, rows: u64 },
    /// What another tool quantized, with its scales in companions.
    Quantized(Quantized),
}

/// Bytes that a tensor's numbers need besides its own. For [`Source::Planes`] a plane of each row, such as scales; for
/// [`Source::Quantized`] what its form names; a vector of plain values goes on with them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Companion {
    /// The file's own name for it, for messages.
    pub source_name: String,
    /// Index in [`Checkpoint::files`].
    pub file: usize,
    pub offset_bytes: u64,
    pub len_bytes: u64,
    /// Rows of the tensor that share one row of the companion; 1 where it has no rows.
    pub rows_each: u64,
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
    /// The file holds the transpose: a line of `source_rows` values for each column.
    pub transposed: bool,
    /// In the order that `source` gives them.
    pub companions: Vec<Companion>,
}

impl Tensor {
    /// The runs of bytes that the tensor is made of: file, offset, length.
    pub fn runs(&self) -> impl Iterator<Item = (usize, u64, u64)> + '_ {
        let companions = self.companions.iter();
        let companions = companions.map(|companion| (companion.file, companion.offset_bytes, companion.len_bytes));
        [(self.file, self.offset_bytes, self.len_bytes)].into_iter().chain(companions)
    }
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
