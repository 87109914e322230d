//! The header of a GGUF file, versions 2 and 3: metadata, and where each tensor lies.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

mod architecture;
mod architectures;
mod cursor;
mod delta;
mod fields;
mod heads;
mod late;
mod layout;
mod metadata;
mod mixtures;
mod model;
mod parts;
mod recent;
mod rope;
mod scales;

use std::collections::{BTreeMap, BTreeSet};

use cursor::{Cursor, Stop};

pub use cursor::HEADER_CAP;
pub use metadata::{Kind, Metadata, Value};
pub(super) use model::open;
pub use parts::PartName;

use crate::checkpoint::read::extend;
use crate::encoding::{self, Encoding};
use crate::store::Store;
use crate::{Error, ErrorKind, Result};

/// The first four bytes of a file.
pub const MAGIC: [u8; 4] = *b"GGUF";
/// The header's first read; a vocabulary of 50,000 with its merges fits in two.
const FIRST_READ: u64 = 1 << 20;
/// GGML tensors have up to four dimensions.
const DIMENSIONS_CAP: u32 = 4;
/// Tensor data is aligned to this unless `general.alignment` says otherwise.
const DEFAULT_ALIGNMENT: u64 = 32;

/// One tensor of a file, under the file's own name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    pub name: String,
    /// Last axis contiguous, the reverse of GGUF's order.
    pub shape: Vec<u64>,
    pub encoding: Encoding,
    /// Which of the model's files has it.
    pub file: usize,
    /// From the start of the file.
    pub offset_bytes: u64,
    pub len_bytes: u64,
}

/// A checked header.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    pub metadata: Metadata,
    /// By offset, without overlaps, all inside the file.
    pub tensors: Vec<TensorInfo>,
}

/// What [`parse_header`] made of the bytes it was given.
#[derive(Debug)]
pub enum Progress {
    Done(Header),
    /// Nothing wrong so far, but the header is longer than the bytes; call again with at least so many.
    NeedsMore {
        at_least_bytes: u64,
    },
}

/// Parses and checks the header of a file of `file_len` bytes of which `prefix` are the first.
///
/// # Errors
/// - [`ErrorKind::Truncated`] where the header or a tensor ends past the end of the file.
/// - [`ErrorKind::Malformed`] for what contradicts the format.
/// - [`ErrorKind::Unsupported`] for other versions, big-endian files, and tensor types outside of [`Encoding`].
pub fn parse_header(prefix: &[u8], file_len: u64) -> Result<Progress> {
    let known = &prefix[..prefix.len().min(usize::try_from(file_len).unwrap_or(usize::MAX))];
    match parse(&mut Cursor::new(known, file_len), file_len) {
        Ok(header) => Ok(Progress::Done(header)),
        Err(Stop::More(at_least_bytes)) => Ok(Progress::NeedsMore { at_least_bytes }),
        Err(Stop::Bad(error)) => Err(error),
    }
}

/// Reads the header of an object of `file_len` bytes, in reads that double, so that memory follows the header and not
/// what it claims.
///
/// # Errors
/// As [`parse_header`], and the store's.
pub async fn read_header(store: &dyn Store, name: &str, file_len: u64) -> Result<Header> {
    let mut prefix = Vec::new();
    let mut wanted = FIRST_READ;
    loop {
        let have = prefix.len() as u64;
        let more = wanted.min(file_len) - have;
        extend(store, name, &mut prefix, have, more).await?;
        match parse_header(&prefix, file_len).map_err(|error| error.file(store.describe(name)))? {
            Progress::Done(header) => return Ok(header),
            // More than the prefix and at most the file, or it would have been refused: each turn reads something.
            Progress::NeedsMore { at_least_bytes } => {
                wanted = at_least_bytes.max((have + more) * 2).min(HEADER_CAP);
            }
        }
    }
}

fn parse(cursor: &mut Cursor, file_len: u64) -> Result<Header, Stop> {
    check_version(cursor)?;
    // Name (8), dimensions (4 + 8), type (4), offset (8); key (8), type (4), value (1).
    let tensor_count = cursor.count(32)?;
    let entry_count = cursor.count(13)?;
    cursor.context = "the metadata";
    let mut entries = BTreeMap::new();
    for _ in 0..entry_count {
        let key = cursor.string()?;
        let value = cursor.value()?;
        if entries.insert(key.clone(), value).is_some() {
            return Err(Error::new(ErrorKind::Malformed, format!("the key '{key}' comes twice")).into());
        }
    }
    let metadata = Metadata(entries);
    let alignment = alignment(&metadata)?;
    cursor.context = "the table of tensors";
    let mut names = BTreeSet::new();
    let mut tensors = Vec::with_capacity(cursor.room(tensor_count, 32));
    for _ in 0..tensor_count {
        let tensor = tensor_info(cursor)?;
        if !names.insert(tensor.name.clone()) {
            return Err(Error::new(ErrorKind::Malformed, "this name comes twice").tensor(tensor.name).into());
        }
        tensors.push(tensor);
    }
    place(&mut tensors, cursor.position(), alignment, file_len)?;
    Ok(Header { metadata, tensors })
}

fn check_version(cursor: &mut Cursor) -> Result<(), Stop> {
    cursor.context = "the magic number";
    if cursor.take(4)? != MAGIC {
        return Err(Error::new(ErrorKind::Malformed, "not a GGUF file: it does not start with 'GGUF'").into());
    }
    cursor.context = "the header";
    match cursor.u32()? {
        2 | 3 => Ok(()),
        big if big.swap_bytes() <= 0xff && big != 0 => {
            Err(Error::new(ErrorKind::Unsupported, "a big-endian GGUF file").remedy("get the little-endian one").into())
        }
        other => {
            let message = format!("GGUF version {other}; versions 2 and 3 are known");
            Err(Error::new(ErrorKind::Unsupported, message).remedy("convert the checkpoint again").into())
        }
    }
}

fn alignment(metadata: &Metadata) -> Result<u64> {
    let alignment = metadata.u32("general.alignment")?.map_or(DEFAULT_ALIGNMENT, u64::from);
    if alignment.is_power_of_two() {
        return Ok(alignment);
    }
    Err(Error::new(ErrorKind::Malformed, format!("general.alignment {alignment} is not a power of two")))
}

/// Name, dimensions, type, offset (still relative to the data).
fn tensor_info(cursor: &mut Cursor) -> Result<TensorInfo, Stop> {
    let name = cursor.string()?;
    let named = |error: Error, name: &str| Stop::Bad(error.tensor(name));
    let dimensions = cursor.u32()?;
    if !(1..=DIMENSIONS_CAP).contains(&dimensions) {
        return Err(named(Error::new(ErrorKind::Malformed, format!("{dimensions} dimensions")), &name));
    }
    let mut shape = Vec::with_capacity(DIMENSIONS_CAP as usize);
    for _ in 0..dimensions {
        shape.push(cursor.u64()?);
    }
    shape.reverse();
    let code = cursor.u32()?;
    let offset_bytes = cursor.u64()?;
    let sized = tensor_type(code).and_then(|encoding| Ok((encoding, tensor_len(encoding, &shape)?)));
    match sized {
        Ok((encoding, len_bytes)) => Ok(TensorInfo { name, shape, encoding, file: 0, offset_bytes, len_bytes }),
        Err(error) => Err(named(error, &name)),
    }
}

/// GGML's tensor types by code; those without an encoding are there for the message.
const TYPES: &[(u32, &str, Option<Encoding>)] = &[
    (0, "F32", Some(Encoding::F32)),
    (1, "F16", Some(Encoding::F16)),
    (2, "Q4_0", Some(Encoding::Q4_0)),
    (3, "Q4_1", Some(Encoding::Q4_1)),
    (6, "Q5_0", Some(Encoding::Q5_0)),
    (7, "Q5_1", Some(Encoding::Q5_1)),
    (8, "Q8_0", Some(Encoding::Q8_0)),
    (9, "Q8_1", None),
    (10, "Q2_K", Some(Encoding::Q2_K)),
    (11, "Q3_K", Some(Encoding::Q3_K)),
    (12, "Q4_K", Some(Encoding::Q4_K)),
    (13, "Q5_K", Some(Encoding::Q5_K)),
    (14, "Q6_K", Some(Encoding::Q6_K)),
    (15, "Q8_K", None),
    (16, "IQ2_XXS", Some(Encoding::IQ2_XXS)),
    (17, "IQ2_XS", Some(Encoding::IQ2_XS)),
    (18, "IQ3_XXS", Some(Encoding::IQ3_XXS)),
    (19, "IQ1_S", Some(Encoding::IQ1_S)),
    (20, "IQ4_NL", Some(Encoding::IQ4_NL)),
    (21, "IQ3_S", Some(Encoding::IQ3_S)),
    (22, "IQ2_S", Some(Encoding::IQ2_S)),
    (23, "IQ4_XS", Some(Encoding::IQ4_XS)),
    (24, "I8", None),
    (25, "I16", None),
    (26, "I32", None),
    (27, "I64", None),
    (28, "F64", None),
    (29, "IQ1_M", Some(Encoding::IQ1_M)),
    (30, "BF16", Some(Encoding::BF16)),
    (34, "TQ1_0", Some(Encoding::TQ1_0)),
    (35, "TQ2_0", Some(Encoding::TQ2_0)),
    (39, "MXFP4", Some(Encoding::MXFP4)),
    (40, "NVFP4", Some(Encoding::NVFP4)),
    (41, "Q1_0", Some(Encoding::Q1_0)),
];

fn tensor_type(code: u32) -> Result<Encoding> {
    let row = TYPES.iter().find(|row| row.0 == code);
    if let Some((_, _, Some(encoding))) = row {
        return Ok(*encoding);
    }
    let name = row.map_or_else(|| format!("number {code}"), |row| row.1.to_owned());
    let known: Vec<&str> = TYPES.iter().filter(|row| row.2.is_some()).map(|row| row.1).collect();
    Err(Error::new(ErrorKind::Unsupported, format!("tensor type {name} is not supported"))
        .remedy(format!("get the model in one of {}", known.join(", "))))
}

fn tensor_len(encoding: Encoding, shape: &[u64]) -> Result<u64> {
    let (columns, outer) = shape.split_last().map_or((0, shape), |(last, outer)| (*last, outer));
    if columns == 0 || outer.contains(&0) {
        return Err(Error::new(ErrorKind::Malformed, format!("the shape {shape:?} holds nothing")));
    }
    let row = match encoding::gguf::block(encoding) {
        Some(_) => Some(encoding::gguf::row_len(encoding, columns)?),
        None => columns.checked_mul(encoding::plain::value_len(encoding)?),
    };
    let len = outer.iter().try_fold(row, |len, dim| Some(len?.checked_mul(*dim))).flatten();
    len.ok_or_else(|| Error::new(ErrorKind::Malformed, format!("the shape {shape:?} is too large")))
}

/// Makes offsets absolute, sorts by them, and refuses what overlaps or leaves the file.
fn place(tensors: &mut [TensorInfo], header_len: u64, alignment: u64, file_len: u64) -> Result<()> {
    // A header is far below 2^63 and an alignment is a u32.
    let data_start = header_len.next_multiple_of(alignment);
    for tensor in &mut *tensors {
        if !tensor.offset_bytes.is_multiple_of(alignment) {
            let message = format!("its offset {} is not a multiple of {alignment}", tensor.offset_bytes);
            return Err(Error::new(ErrorKind::Malformed, message).tensor(&tensor.name));
        }
        let start = tensor.offset_bytes.checked_add(data_start);
        let end = start.and_then(|start| start.checked_add(tensor.len_bytes)).filter(|end| *end <= file_len);
        let (Some(start), Some(_)) = (start, end) else {
            let message = format!("its {} bytes reach past the end of the file of {file_len}", tensor.len_bytes);
            return Err(Error::new(ErrorKind::Truncated, message).tensor(&tensor.name).remedy("get the file again"));
        };
        tensor.offset_bytes = start;
    }
    tensors.sort_by(|a, b| (a.offset_bytes, &a.name).cmp(&(b.offset_bytes, &b.name)));
    for pair in tensors.windows(2) {
        if pair[0].offset_bytes + pair[0].len_bytes > pair[1].offset_bytes {
            let message = format!("overlaps tensor '{}'", pair[0].name);
            return Err(Error::new(ErrorKind::Malformed, message).tensor(&pair[1].name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
