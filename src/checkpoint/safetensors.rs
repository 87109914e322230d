//! The header of a safetensors file: 8 bytes of length, that much JSON, then the tensors without holes.
//!
//! Format: <https://huggingface.co/docs/safetensors>. Everything is checked against the file's length before it is
//! used, and only the header is ever read.

use std::collections::BTreeMap;
use std::fmt;

use safetensors::Dtype;
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::de::{Error as _, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::checkpoint::read::{UniqueMap, malformed_json, read_range};
use crate::store::Store;
use crate::{Error, ErrorKind, Result};

/// Cap on the JSON's length, the reference implementation's.
pub const HEADER_CAP: u64 = 100_000_000;
const LENGTH_BYTES: u64 = 8;
const METADATA: &str = "__metadata__";

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<u64>,
    /// From the start of the file.
    pub offset_bytes: u64,
    pub len_bytes: u64,
}

/// A checked header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// By offset: they follow each other without holes from `data_start` to the end of the file.
    pub entries: Vec<Entry>,
    /// `__metadata__`.
    pub metadata: BTreeMap<String, String>,
    /// Where the first tensor starts.
    pub data_start: u64,
}

/// Length of the JSON that follows, from the first eight bytes of a file of `file_len` bytes.
///
/// # Errors
/// [`ErrorKind::Truncated`] or [`ErrorKind::Malformed`].
pub fn json_len(first: [u8; 8], file_len: u64) -> Result<u64> {
    let len = u64::from_le_bytes(first);
    if len > HEADER_CAP {
        let message = format!("a header of {len} bytes is more than the {HEADER_CAP} that the format allows");
        return Err(Error::new(ErrorKind::Malformed, message).remedy("check that this is a safetensors file"));
    }
    if len > file_len.saturating_sub(LENGTH_BYTES) {
        let message = format!("the header of {len} bytes is longer than the file of {file_len}");
        return Err(Error::new(ErrorKind::Truncated, message).remedy("get the file again"));
    }
    Ok(len)
}

/// Parses and checks a header: `bytes` are at least the first `8 + json_len` bytes of a file of `file_len` bytes.
///
/// # Errors
/// - [`ErrorKind::Truncated`] where the header or a tensor ends past the end of the file.
/// - [`ErrorKind::Malformed`] for broken JSON, duplicates, overlaps, holes, and shapes that contradict the lengths.
/// - [`ErrorKind::Unsupported`] for a dtype that the format does not know.
pub fn parse_header(bytes: &[u8], file_len: u64) -> Result<Header> {
    let Some((first, rest)) = bytes.split_first_chunk::<8>() else { return Err(too_short(file_len)) };
    let len = json_len(*first, file_len)?;
    let Some(json) = usize::try_from(len).ok().and_then(|len| rest.get(..len)) else {
        return Err(Error::new(ErrorKind::Truncated, "the header ends early").remedy("get the file again"));
    };
    let raw: RawHeader = serde_json::from_slice(json).map_err(malformed_json)?;
    let data_start = LENGTH_BYTES + len;
    let mut entries = raw.tensors.into_iter().map(|(name, raw)| raw.check(name)).collect::<Result<Vec<_>>>()?;
    place(&mut entries, data_start, file_len)?;
    Ok(Header { entries, metadata: raw.metadata, data_start })
}

/// Reads the header of an object of `file_len` bytes.
///
/// # Errors
/// As [`parse_header`], and the store's.
pub async fn read_header(store: &dyn Store, name: &str, file_len: u64) -> Result<Header> {
    let named = |error: Error| error.file(store.describe(name));
    if file_len < LENGTH_BYTES {
        return Err(named(too_short(file_len)));
    }
    let mut first = [0; 8];
    store.read_at(name, 0, &mut first).await.map_err(named)?;
    let len = LENGTH_BYTES + json_len(first, file_len).map_err(named)?;
    let bytes = read_range(store, name, 0, len).await?;
    parse_header(&bytes, file_len).map_err(named)
}

fn too_short(file_len: u64) -> Error {
    let message = format!("{file_len} bytes are too few for a safetensors header");
    Error::new(ErrorKind::Truncated, message).remedy("get the file again")
}

/// The JSON: tensors by name, and under one name a map of strings. A name that comes twice is refused.
#[derive(Default)]
struct RawHeader {
    tensors: BTreeMap<String, RawTensor>,
    metadata: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<RawHeader, A::Error> {
                let mut header = RawHeader::default();
                let mut has_metadata = false;
                while let Some(name) = access.next_key::<String>()? {
                    let again = if name == METADATA {
                        header.metadata = access.next_value::<UniqueMap<String>>()?.0;
                        std::mem::replace(&mut has_metadata, true)
                    } else {
                        let tensor = access.next_value()?;
                        header.tensors.insert(name.clone(), tensor).is_some()
                    };
                    if again {
                        return Err(A::Error::custom(format_args!("'{name}' comes twice")));
                    }
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[derive(Deserialize)]
struct RawTensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl RawTensor {
    /// Checks the entry by itself; offsets are still relative to the data.
    fn check(self, name: String) -> Result<Entry> {
        let (start, end) = self.data_offsets;
        let checked = self.len_bytes().and_then(|(dtype, expected)| {
            let Some(len_bytes) = end.checked_sub(start) else {
                return Err(Error::new(ErrorKind::Malformed, format!("ends at {end}, before its start at {start}")));
            };
            if len_bytes != expected {
                let message = format!("{len_bytes} bytes where its shape {:?} needs {expected}", self.shape);
                return Err(Error::new(ErrorKind::Malformed, message));
            }
            Ok((dtype, len_bytes))
        });
        match checked {
            Ok((dtype, len_bytes)) => Ok(Entry { name, dtype, shape: self.shape, offset_bytes: start, len_bytes }),
            Err(error) => Err(error.tensor(name)),
        }
    }

    /// The dtype, and the bytes that the shape needs in it.
    fn len_bytes(&self) -> Result<(Dtype, u64)> {
        let name: StrDeserializer<ValueError> = self.dtype.as_str().into_deserializer();
        let dtype = Dtype::deserialize(name)
            .map_err(|_| Error::new(ErrorKind::Unsupported, format!("unknown dtype '{}'", self.dtype)))?;
        let bits = self.shape.iter().try_fold(dtype.bitsize() as u64, |bits, dim| bits.checked_mul(*dim));
        match bits {
            Some(bits) if bits.is_multiple_of(8) => Ok((dtype, bits / 8)),
            Some(bits) => Err(Error::new(ErrorKind::Malformed, format!("{bits} bits are not whole bytes"))),
            None => Err(Error::new(ErrorKind::Malformed, format!("the shape {:?} is too large", self.shape))),
        }
    }
}

/// Sorts by offset, refuses overlaps, holes and bytes left over, and makes offsets absolute.
fn place(entries: &mut [Entry], data_start: u64, file_len: u64) -> Result<()> {
    // Empty tensors share their offset with the next one: the shorter comes first.
    entries.sort_by(|a, b| (a.offset_bytes, a.len_bytes, &a.name).cmp(&(b.offset_bytes, b.len_bytes, &b.name)));
    let data_len = file_len - data_start;
    let mut end = 0;
    for entry in entries {
        if entry.offset_bytes != end {
            let what = if entry.offset_bytes < end { "overlaps the tensor before it" } else { "lies behind a hole" };
            let message = format!("{what}: it starts at {} where {end} is next", entry.offset_bytes);
            return Err(Error::new(ErrorKind::Malformed, message).tensor(&entry.name));
        }
        // Start and length come from a checked difference, so the sum is the header's own end.
        end = entry.offset_bytes + entry.len_bytes;
        if end > data_len {
            let message = format!("its bytes end at {end} where the file has {data_len} of data");
            return Err(Error::new(ErrorKind::Truncated, message).tensor(&entry.name).remedy("get the file again"));
        }
        entry.offset_bytes += data_start;
    }
    if end != data_len {
        let message = format!("the tensors end at {end} where the file has {data_len} bytes of data");
        return Err(Error::new(ErrorKind::Malformed, message));
    }
    Ok(())
}

#[cfg(test)]
#[path = "safetensors_tests.rs"]
mod tests;
