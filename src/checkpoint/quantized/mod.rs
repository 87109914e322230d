//! Matrices that other tools have quantized: what `quantization_config` of `config.json` says, and the tensors that belong
//! to each matrix, put together to one whose scales are its companions.

use std::collections::BTreeMap;

use safetensors::Dtype;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::read::json_if_there;
use super::safetensors::Entry;
use super::{Companion, Source, Tensor};
use crate::encoding::Encoding;
use crate::plan::RowMap;
use crate::store::Store;
use crate::{Error, ErrorKind, Result};

mod codes;
mod scaled;
#[cfg(test)]
mod tests;
mod words;

use words::Words;

/// How the quants of a matrix and its companions come to numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Quantized {
    /// `q * d / divisor`, q `[rows, columns]` one byte each. Companions: d `[rows / rows_each, columns / columns_each]`,
    /// rounded up, and maybe a byte that is 0 where rows lie one behind the other.
    Scaled {
        /// [`Encoding::F8_E4M3`] or [`Encoding::I8`].
        quants: Encoding,
        /// The plain encoding of the scales.
        scales: Encoding,
        columns_each: u64,
        divisor: f32,
    },
    /// `code[q] * d`, four bits each, the higher half of a byte first, a scale for each `block` values of the whole matrix,
    /// one row behind the other. Companions: d, code f32 `[16]`; and where the scales are quantized themselves, their own
    /// scales and f32 `[256]` codes.
    Codes {
        /// [`Encoding::NF4`] or [`Encoding::FP4`].
        codebook: Encoding,
        block: u64,
        nested: Option<Nested>,
    },
    /// `d * (q - z)`, packed in words of 32 bits, for the transposed matrix. Companions: z `[groups, rows]` packed
    /// likewise, d `[groups, rows]`, and maybe the group of each column, i32 `[columns]`.
    Words {
        bits: u64,
        order: WordOrder,
        /// Columns of a group.
        group: u64,
        /// The plain encoding of the scales.
        scales: Encoding,
        /// Every zero is in the middle of the range.
        symmetric: bool,
        /// Whether the last companion is there.
        indexed: bool,
        /// A group may have columns from anywhere, as that says.
        scattered: bool,
    },
}

/// Scales as bytes: `codes[byte] * scale + offset`, a scale for each `block` of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Nested {
    pub block: u64,
    pub offset: f32,
}

/// What lies in a word of 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WordOrder {
    /// Columns of one row, from the lowest bits on; of zeros rows. `z` is stored less `less`.
    Gptq { less: u8 },
    /// Rows 0, 2, 4, 6, 1, 3, 5, 7 of eight, from the lowest bits on.
    Awq,
}

impl Quantized {
    /// The encoding that keeps every number of a matrix of `columns`. It is a plain one where no packed one has such blocks.
    pub fn encoding(&self, columns: u64) -> Encoding {
        match *self {
            Self::Scaled { quants: Encoding::I8, columns_each, .. } if columns_each >= columns => Encoding::I8,
            Self::Scaled { quants: Encoding::F8_E4M3, columns_each, .. }
                if columns_each >= columns || columns_each.is_multiple_of(128) =>
            {
                Encoding::F8_E4M3
            }
            Self::Codes { codebook, block, .. } if block.is_multiple_of(64) && columns.is_multiple_of(64) => codebook,
            Self::Scaled { .. } | Self::Codes { .. } => Encoding::F32,
            Self::Words { bits, group, scales: Encoding::F16, symmetric, scattered: false, .. }
                if group >= columns || group.is_multiple_of(32) =>
            {
                match bits {
                    4 => Encoding::Q4_Z,
                    _ if symmetric => Encoding::Q8_0,
                    _ => Encoding::F16,
                }
            }
            // What the reference computes, it rounds to the type of the scales.
            Self::Words { scales, .. } => scales,
        }
    }

    /// The bytes that the matrix and each of its companions must have; `None` where they have no such shape.
    pub fn lengths(&self, rows: u64, columns: u64, companions: &[Companion]) -> Option<Vec<u64>> {
        let values = rows.checked_mul(columns)?;
        let product = |factors: &[u64]| factors.iter().try_fold(1_u64, |all, factor| all.checked_mul(*factor));
        match *self {
            Self::Scaled { scales, columns_each, .. } => {
                let rows = rows.div_ceil(companions.first()?.rows_each.max(1));
                let columns = columns.div_ceil(columns_each.max(1));
                let own = [values, product(&[rows, columns, value_len(scales)])?];
                Some(own.into_iter().chain(companions.get(1).map(|_| 1)).collect())
            }
            Self::Codes { block, nested, .. } => {
                let scales = values.div_ceil(block.max(1));
                Some(match nested {
                    None => vec![values.div_ceil(2), product(&[scales, 4])?, 64],
                    Some(nested) => {
                        let own = scales.div_ceil(nested.block.max(1));
                        vec![values.div_ceil(2), scales, 64, product(&[own, 4])?, 1024]
                    }
                })
            }
            Self::Words { bits, order, group, scales, indexed, .. } => {
                // What is packed together fills its words.
                let packed = if order == WordOrder::Awq { rows } else { columns };
                if !packed.is_multiple_of(32 / bits) || !rows.is_multiple_of(32 / bits) {
                    return None;
                }
                let groups = columns.div_ceil(group.max(1));
                let zeros = product(&[groups, rows, bits])? / 8;
                let scales = product(&[groups, rows, value_len(scales)])?;
                let index = indexed.then_some(columns.checked_mul(4)?);
                Some([product(&[values, bits])? / 8, zeros, scales].into_iter().chain(index).collect())
            }
        }
    }
}

/// Bytes of a plain value.
fn value_len(encoding: Encoding) -> u64 {
    if encoding == Encoding::F32 { 4 } else { 2 }
}

/// The headers' entries of a checkpoint by name, each with the index of its file.
pub(super) type Entries = BTreeMap<String, (Entry, usize)>;

/// What a config says of how its weights are quantized.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Method {
    /// Bytes with scales; for how many rows and columns, where one is for a block.
    Scaled { block: Option<(u64, u64)> },
    Bitsandbytes,
    Words(Words),
}

/// Takes the matrices that the config of a checkpoint says are quantized, and all that belongs to them, out of `entries`.
///
/// # Errors
/// [`ErrorKind::Unsupported`] naming the method, the field or the tensor; [`ErrorKind::Missing`] or
/// [`ErrorKind::Malformed`] naming the tensor whose scales are not there or do not fit.
pub(super) async fn take(
    store: &dyn Store,
    files: &[(String, u64)],
    config: &Value,
    entries: &mut Entries,
) -> Result<Vec<Tensor>> {
    let given = config.get("quantization_config").filter(|value| !value.is_null());
    let method = match given {
        Some(value) => method(value).map_err(|error| error.file(store.describe("config.json")))?,
        // As GPTQ's tools wrote it before transformers knew it.
        None if entries.keys().any(|name| name.ends_with(".qweight")) => {
            let name = "quantize_config.json";
            let Some(value) = json_if_there(store, name).await? else { return Ok(Vec::new()) };
            Method::Words(Words::gptq(&value).map_err(|error| error.file(store.describe(name)))?)
        }
        None => return Ok(Vec::new()),
    };
    match method {
        Method::Scaled { block } => scaled::take(files, block, entries),
        Method::Bitsandbytes => codes::take(store, files, entries).await,
        Method::Words(words) => words.take(files, entries),
    }
}

fn method(value: &Value) -> Result<Method> {
    let name = value.get("quant_method").and_then(Value::as_str).unwrap_or("unnamed");
    match name {
        "fp8" | "fbgemm_fp8" => Ok(Method::Scaled { block: block(value)? }),
        "compressed-tensors" => {
            only(value, "format", &["float-quantized", "int-quantized", "naive-quantized"])?;
            Ok(Method::Scaled { block: None })
        }
        "bitsandbytes" => Ok(Method::Bitsandbytes),
        "gptq" => Ok(Method::Words(Words::gptq(value)?)),
        "awq" => Ok(Method::Words(Words::awq(value)?)),
        _ => Err(unsupported(format!("weights quantized with '{name}' are not supported"))),
    }
}

/// `weight_block_size`: rows and columns that share a scale.
fn block(value: &Value) -> Result<Option<(u64, u64)>> {
    only(value, "fmt", &["e4m3"])?;
    let Some(block) = value.get("weight_block_size").filter(|value| !value.is_null()) else { return Ok(None) };
    let sizes: Option<Vec<u64>> = block.as_array().map(|sizes| sizes.iter().filter_map(Value::as_u64).collect());
    match sizes.as_deref() {
        Some([rows, columns]) if *rows > 0 && *columns > 0 => Ok(Some((*rows, *columns))),
        _ => Err(Error::new(ErrorKind::Malformed, format!("weight_block_size is {block}, not rows and columns"))),
    }
}

/// Refuses a text field that is there with another value than those.
fn only(value: &Value, field: &str, known: &[&str]) -> Result<()> {
    match value.get(field).filter(|value| !value.is_null()) {
        Some(found) if !found.as_str().is_some_and(|text| known.contains(&text.to_ascii_lowercase().as_str())) => {
            Err(unsupported(format!("quantization_config has {field} {found}; known is {}", known.join(", "))))
        }
        _ => Ok(()),
    }
}

fn unsupported(message: String) -> Error {
    Error::new(ErrorKind::Unsupported, message).remedy("use the original checkpoint or a GGUF file")
}

/// The plain encoding of a tensor of scales.
fn plain(entry: &Entry) -> Result<Encoding> {
    match entry.dtype {
        Dtype::F32 => Ok(Encoding::F32),
        Dtype::F16 => Ok(Encoding::F16),
        Dtype::BF16 => Ok(Encoding::BF16),
        other => Err(unsupported(format!("scales of dtype {other} are not supported")).tensor(&entry.name)),
    }
}

/// Takes a tensor that another one needs.
fn needed(entries: &mut Entries, name: &str) -> Result<(Entry, usize)> {
    let missing = || Error::new(ErrorKind::Missing, "is not there, and its weights need it").tensor(name);
    entries.remove(name).ok_or_else(|| missing().remedy("get the whole checkpoint"))
}

fn companion((entry, file): (Entry, usize), rows_each: u64) -> Companion {
    let Entry { name, offset_bytes, len_bytes, .. } = entry;
    Companion { source_name: name, file, offset_bytes, len_bytes, rows_each }
}

/// A matrix of quants, after checking that its bytes and those of its companions are those of its shape.
fn matrix(
    (entry, file): (Entry, usize),
    stem: &str,
    (rows, columns): (u64, u64),
    quantized: Quantized,
    companions: Vec<Companion>,
) -> Result<Tensor> {
    let tensor = Tensor {
        source_name: entry.name,
        name: format!("{stem}.weight"),
        shape: vec![rows, columns],
        source: Source::Quantized(quantized),
        file,
        offset_bytes: entry.offset_bytes,
        len_bytes: entry.len_bytes,
        source_rows: rows,
        rows: RowMap::ALL,
        plus: 0.0,
        inverse_lengths: None,
        transposed: false,
        companions,
    };
    check(&tensor, columns).map_err(|error| error.tensor(&tensor.source_name))?;
    Ok(tensor)
}

/// Checks that the bytes of a quantized matrix of `columns` and of its companions are those of its shape.
///
/// # Errors
/// [`ErrorKind::Malformed`] naming the companion.
pub(crate) fn check(tensor: &Tensor, columns: u64) -> Result<()> {
    let Source::Quantized(quantized) = tensor.source else { return Ok(()) };
    let malformed = |message: String| Error::new(ErrorKind::Malformed, message);
    let rows = tensor.source_rows;
    let lengths = quantized.lengths(rows, columns, &tensor.companions).filter(|_| rows > 0 && columns > 0);
    let lengths = lengths.ok_or_else(|| malformed(format!("{rows} x {columns} values are not packed like this")))?;
    let own = [("it", tensor.len_bytes)];
    let companions = tensor.companions.iter().map(|companion| (&*companion.source_name, companion.len_bytes));
    let found: Vec<(&str, u64)> = own.into_iter().chain(companions).collect();
    if found.len() != lengths.len() {
        return Err(malformed(format!("{} tensors make it up, not {}", found.len(), lengths.len())));
    }
    match found.iter().zip(lengths).find(|((_, len), needed)| len != needed) {
        Some(((name, len), needed)) => {
            let message = format!("'{name}' has {len} bytes where {rows} x {columns} values need {needed}");
            Err(malformed(message))
        }
        None => Ok(()),
    }
}
