//! Where the tensors of a shard lie: pure functions from specs to safetensors headers and offsets.
//!
//! ```text
//! | u64 header length | JSON, padded with spaces to 256 | vectors, each at a multiple of 64 | matrices, each at 256 |
//! ```
//!
//! Readers of safetensors refuse holes, so what lies between tensors is an entry too (`__padding__.N`, zeros).

use safetensors::Dtype;
use serde_json::{Map, Value, json};

use super::StoredTensor;
use super::manifest::row_bytes;
use crate::encoding::Encoding;
use crate::words::Term;
use crate::{Error, ErrorKind, Result};

/// Every vector starts at a multiple of this, so that a run of them is addressed in whole cache lines.
pub const VECTOR_ALIGNMENT: u64 = 64;
/// Every matrix starts at a multiple of this, counted from the start of the file: what GPUs ask of a binding's offset.
pub const MATRIX_ALIGNMENT: u64 = 256;

/// A tensor as a model stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// The full name.
    pub name: String,
    /// `f32` for a vector.
    pub encoding: Encoding,
    /// `[rows, columns]` or `[len]`.
    pub shape: Vec<u64>,
}

/// Rows of a tensor in a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Index in the specs that the shards were laid out from.
    pub tensor: usize,
    pub first_row: u64,
    /// One for a vector.
    pub rows: u64,
    /// From the start of the file.
    pub offset_bytes: u64,
    pub len_bytes: u64,
}

/// The layout of one shard file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// `layer-00003.safetensors`, or `layer-00003-2.safetensors` where a size limit cut it.
    pub name: String,
    /// The file's beginning: the length of the JSON and the JSON.
    pub header: Vec<u8>,
    /// In the order of their offsets. Zeros lie between them, and after the last.
    pub entries: Vec<Entry>,
    pub len_bytes: u64,
}

impl TensorSpec {
    /// Rows: one for a vector.
    pub fn rows(&self) -> u64 {
        if let [rows, _] = self.shape[..] { rows } else { 1 }
    }

    /// Bytes of a row as stored.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] or [`ErrorKind::Unsupported`] for a shape that cannot be stored in this encoding.
    pub fn row_bytes(&self) -> Result<u64> {
        row_bytes(self.encoding, &self.shape).map_err(|error| error.tensor(&self.name))
    }

    /// The tensor's entry in a manifest, without its parts.
    pub(super) fn stored(&self) -> StoredTensor {
        StoredTensor { encoding: self.encoding.name().to_owned(), shape: self.shape.clone(), parts: Vec::new() }
    }

    fn is_vector(&self) -> bool {
        self.shape.len() == 1
    }

    /// How other tools see `rows` rows: the true dtype and shape where rows lie without gaps, else bytes.
    fn visible(&self, rows: u64, row_bytes: u64) -> (Dtype, Vec<u64>) {
        match (self.encoding.descriptor().plain, &self.shape[..]) {
            (_, [len]) => (Dtype::F32, vec![*len]),
            (Some(dtype), [_, columns]) if self.encoding.padded_columns(*columns) == *columns => {
                (dtype, vec![rows, *columns])
            }
            _ => (Dtype::U8, vec![rows, row_bytes]),
        }
    }
}

/// Lays tensors out in as few shards as the size limit allows: vectors first (they stay together in the first shard),
/// then matrices in their order, cut between rows where a shard is full.
///
/// # Errors
/// [`ErrorKind::Argument`] where the limit is smaller than a row or than the vectors; those of
/// [`TensorSpec::row_bytes`].
pub fn shards(stem: &str, tensors: &[TensorSpec], max_file_bytes: Option<u64>) -> Result<Vec<Shard>> {
    let limit = max_file_bytes.unwrap_or(u64::MAX);
    let mut runs: Vec<Vec<(usize, u64, u64)>> = vec![Vec::new()];
    let vectors = (0..tensors.len()).filter(|i| tensors[*i].is_vector());
    for tensor in vectors.chain((0..tensors.len()).filter(|i| !tensors[*i].is_vector())) {
        let (rows, row_bytes) = (tensors[tensor].rows(), tensors[tensor].row_bytes()?);
        let mut first = 0;
        while first < rows {
            let current = runs.last_mut().expect("there is always a current shard");
            let take = rows_that_fit(tensors, current, (tensor, first, rows - first), row_bytes, limit)?;
            if take > 0 {
                current.push((tensor, first, take));
                first += take;
            } else if current.is_empty() || tensors[tensor].is_vector() {
                return Err(too_small(&tensors[tensor], limit));
            } else {
                runs.push(Vec::new());
            }
        }
    }
    let cut = runs.len() > 1;
    let name = |i: usize| if cut { format!("{stem}-{}.safetensors", i + 1) } else { format!("{stem}.safetensors") };
    runs.iter().enumerate().map(|(i, run)| place(name(i), tensors, run)).collect()
}

/// How many of the rows `wanted = (tensor, first, rows)` fit behind the runs already in a shard.
fn rows_that_fit(
    tensors: &[TensorSpec],
    runs: &[(usize, u64, u64)],
    wanted: (usize, u64, u64),
    row_bytes: u64,
    limit: u64,
) -> Result<u64> {
    let (tensor, first, rows) = wanted;
    if limit == u64::MAX {
        return Ok(rows);
    }
    let len_with = |rows: u64| {
        let run = [runs, &[(tensor, first, rows)]].concat();
        place(String::new(), tensors, &run).map(|shard| shard.len_bytes)
    };
    let one = len_with(1)?;
    if one > limit {
        return Ok(0);
    }
    let mut take = rows.min(1 + (limit - one) / row_bytes);
    // More rows write longer numbers into the header, which can push it over a multiple of 256.
    while take > 1 && len_with(take)? > limit {
        take -= 1;
    }
    Ok(take)
}

fn too_small(tensor: &TensorSpec, limit: u64) -> Error {
    let what = if tensor.is_vector() { "the vectors of its layer" } else { "one row" };
    let message = format!("{what} and the header do not fit in a file of {limit} bytes");
    Error::new(ErrorKind::Argument, message).tensor(&tensor.name).remedy("give a larger " + Term::MaxFileSize)
}

/// Places runs `(tensor, first row, rows)` one after the other and writes the header.
fn place(name: String, tensors: &[TensorSpec], runs: &[(usize, u64, u64)]) -> Result<Shard> {
    let overflow = || Error::new(ErrorKind::Malformed, "larger than any file").file(&name);
    let mut header = Map::new();
    let mut entries = Vec::new();
    let mut at = 0_u64;
    let pad = |header: &mut Map<String, Value>, at: u64, alignment: u64| {
        let start = at.checked_next_multiple_of(alignment).ok_or_else(overflow)?;
        if start > at {
            let name = format!("__padding__.{at}");
            header.insert(name, json!({"dtype": Dtype::U8, "shape": [start - at], "data_offsets": [at, start]}));
        }
        Ok::<u64, Error>(start)
    };
    for (tensor, first_row, rows) in runs.iter().copied() {
        let spec = &tensors[tensor];
        let row_bytes = spec.row_bytes()?;
        let alignment = if spec.is_vector() { VECTOR_ALIGNMENT } else { MATRIX_ALIGNMENT };
        let start = pad(&mut header, at, alignment)?;
        let len_bytes = rows.checked_mul(row_bytes).ok_or_else(overflow)?;
        at = start.checked_add(len_bytes).ok_or_else(overflow)?;
        // A part of a matrix has another shape, so it must not pass for the whole.
        let whole = rows == spec.rows();
        let name = if whole { spec.name.clone() } else { format!("{}[{first_row}:{}]", spec.name, first_row + rows) };
        let (dtype, shape) = spec.visible(rows, row_bytes);
        header.insert(name, json!({"dtype": dtype, "shape": shape, "data_offsets": [start, at]}));
        entries.push(Entry { tensor, first_row, rows, offset_bytes: start, len_bytes });
    }
    at = pad(&mut header, at, VECTOR_ALIGNMENT)?;
    let header = header_bytes(&header);
    let base = header.len() as u64;
    entries.iter_mut().for_each(|entry| entry.offset_bytes += base);
    let len_bytes = at.checked_add(base).ok_or_else(overflow)?;
    Ok(Shard { name, header, entries, len_bytes })
}

/// The length, the JSON, and spaces until the data starts at a multiple of the matrices' alignment.
fn header_bytes(header: &Map<String, Value>) -> Vec<u8> {
    let mut json = Value::Object(header.clone()).to_string().into_bytes();
    let len = (json.len() as u64 + 8).next_multiple_of(MATRIX_ALIGNMENT) - 8;
    json.resize(len as usize, b' ');
    [&len.to_le_bytes()[..], &json].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use safetensors::SafeTensors;

    use super::*;
    use crate::encoding::ENCODINGS;

    fn spec(name: &str, encoding: Encoding, shape: &[u64]) -> TensorSpec {
        TensorSpec { name: name.to_owned(), encoding, shape: shape.to_vec() }
    }

    fn layer() -> Vec<TensorSpec> {
        vec![
            spec("norm", Encoding::F32, &[5]),
            spec("bias", Encoding::F32, &[33]),
            spec("plain", Encoding::BF16, &[7, 64]),
            spec("odd", Encoding::F16, &[3, 5]),
            spec("packed", Encoding::Q4_1, &[9, 96]),
        ]
    }

    /// The file of a shard with zeros for weights, as a strict reader takes it.
    fn open(shard: &Shard) -> Vec<(String, Dtype, Vec<usize>)> {
        let mut bytes = shard.header.clone();
        bytes.resize(shard.len_bytes as usize, 0);
        let tensors = SafeTensors::deserialize(&bytes).expect("a valid safetensors file");
        tensors.iter().map(|(name, view)| (name.to_owned(), view.dtype(), view.shape().to_vec())).collect()
    }

    #[test]
    fn a_shard_is_a_valid_safetensors_file_with_true_dtypes() {
        let shards = shards("layer-00000", &layer(), None).expect("laid out");
        let [shard] = &shards[..] else { panic!("one shard") };
        assert_eq!(shard.name, "layer-00000.safetensors");
        let seen = open(shard);
        for expected in [
            ("norm", Dtype::F32, vec![5]),
            ("bias", Dtype::F32, vec![33]),
            ("plain", Dtype::BF16, vec![7, 64]),
            ("odd", Dtype::U8, vec![3, 64]),
            ("packed", Dtype::U8, vec![9, 64]),
        ] {
            let (name, dtype, shape) = expected;
            assert!(seen.contains(&(name.to_owned(), dtype, shape)), "{name} in {seen:?}");
        }
    }

    #[test]
    fn vectors_come_first_and_everything_is_aligned() {
        let mut tensors = layer();
        tensors.reverse();
        let shard = shards("layer-00000", &tensors, None).expect("laid out").remove(0);
        let order: Vec<&str> = shard.entries.iter().map(|entry| tensors[entry.tensor].name.as_str()).collect();
        assert_eq!(order, ["bias", "norm", "packed", "odd", "plain"]);
        assert_eq!(shard.entries[0].offset_bytes, shard.header.len() as u64);
        assert_eq!(shard.entries[1].offset_bytes - shard.entries[0].offset_bytes, 192);
        for entry in &shard.entries {
            let alignment = if tensors[entry.tensor].is_vector() { 64 } else { 256 };
            assert!(entry.offset_bytes.is_multiple_of(alignment), "{entry:?}");
        }
    }

    #[test]
    fn a_limit_that_no_row_fits_in_is_refused_by_name() {
        let error = shards("x", &layer()[2..], Some(300)).expect_err("too small");
        assert_eq!((error.kind(), error.tensor_name()), (ErrorKind::Argument, Some("plain")));
        let error = shards("x", &layer()[..2], Some(512)).expect_err("too small for the vectors");
        assert_eq!((error.kind(), error.tensor_name()), (ErrorKind::Argument, Some("bias")));
    }

    proptest! {
        #[test]
        fn cut_shards_hold_each_row_once_and_keep_the_limit(
            shapes in prop::collection::vec((0..ENCODINGS.len(), 1_u64..200, 1_u64..5), 1..5),
            limit in 4_000_u64..60_000,
        ) {
            let tensors: Vec<TensorSpec> = shapes.iter().enumerate().map(|(i, (encoding, rows, blocks))| {
                spec(&format!("t{i}"), ENCODINGS[*encoding].encoding, &[*rows, blocks * 256])
            }).collect();
            let Ok(shards) = shards("layer-00001", &tensors, Some(limit)) else {
                return Ok(());
            };
            let mut next = vec![0; tensors.len()];
            for shard in &shards {
                open(shard);
                prop_assert!(shard.len_bytes <= limit);
                for entry in &shard.entries {
                    prop_assert_eq!(entry.first_row, next[entry.tensor]);
                    prop_assert_eq!(entry.len_bytes, entry.rows * tensors[entry.tensor].row_bytes().expect("sane"));
                    next[entry.tensor] += entry.rows;
                }
            }
            prop_assert!(next.iter().zip(&tensors).all(|(rows, spec)| *rows == spec.rows()));
        }
    }
}
