//! Reads GGUF's primitives from the bytes read so far, and says how many more are needed.

use super::metadata::{Kind, Value};
use crate::{Error, ErrorKind, Result};

/// Cap on a header: the largest vocabularies with merges take 20 MB.
pub const HEADER_CAP: u64 = 128 << 20;
/// Arrays may hold arrays; nothing published goes deeper than two.
const DEPTH_CAP: u32 = 4;

/// Why parsing stopped early.
pub(super) enum Stop {
    /// The bytes read so far end before this many.
    More(u64),
    Bad(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Bad(error)
    }
}

/// A position in a header of which a prefix has been read.
pub(super) struct Cursor<'a> {
    prefix: &'a [u8],
    at: usize,
    file_len: u64,
    /// What is being read, for messages.
    pub context: &'static str,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(prefix: &'a [u8], file_len: u64) -> Self {
        Self { prefix, at: 0, file_len, context: "the header" }
    }

    /// Bytes taken so far.
    pub(super) fn position(&self) -> u64 {
        self.at as u64
    }

    pub(super) fn take(&mut self, len_bytes: u64) -> Result<&'a [u8], Stop> {
        let end = self.position().checked_add(len_bytes).filter(|end| *end <= self.file_len);
        let Some(end) = end else { return Err(self.truncated(len_bytes).into()) };
        if end > HEADER_CAP {
            let message = format!("{} reaches past the {HEADER_CAP} bytes that a header may have", self.context);
            return Err(Error::new(ErrorKind::Malformed, message).into());
        }
        let Some(bytes) = self.prefix.get(self.at..end as usize) else { return Err(Stop::More(end)) };
        self.at = end as usize;
        Ok(bytes)
    }

    fn truncated(&self, len_bytes: u64) -> Error {
        let left = self.file_len - self.position();
        let message = format!("{} needs {len_bytes} more bytes where the file has {left}", self.context);
        Error::new(ErrorKind::Truncated, message).remedy("get the file again")
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Stop> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Stop> {
        self.array().map(u64::from_le_bytes)
    }

    /// A count of things of at least `min_bytes` each: refused at once where the rest of the file cannot hold them.
    pub(super) fn count(&mut self, min_bytes: u64) -> Result<u64, Stop> {
        let count = self.u64()?;
        let needed = count.saturating_mul(min_bytes);
        if needed > self.file_len - self.position() {
            return Err(self.truncated(needed).into());
        }
        Ok(count)
    }

    /// Room to reserve for `count` things: never more than the bytes at hand could hold.
    pub(super) fn room(&self, count: u64, min_bytes: u64) -> usize {
        count.min((self.prefix.len() - self.at) as u64 / min_bytes.max(1)) as usize
    }

    pub(super) fn string(&mut self) -> Result<String, Stop> {
        let len_bytes = self.u64()?;
        let bytes = self.take(len_bytes)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => {
                let start = String::from_utf8_lossy(&bytes[..bytes.len().min(64)]).into_owned();
                let message = format!("{} holds a string that is not UTF-8: '{start}'", self.context);
                Err(Error::new(ErrorKind::Malformed, message).into())
            }
        }
    }

    /// A value of the type that a metadata entry names.
    pub(super) fn value(&mut self) -> Result<Value, Stop> {
        let code = self.u32()?;
        match code {
            8 => self.string().map(Value::String),
            9 => self.values(0),
            _ => {
                let kind = self.kind(code)?;
                let bytes = self.take(kind.len_bytes() as u64)?;
                kind.decode(bytes).ok_or_else(|| self.malformed("a bool that is neither 0 nor 1"))
            }
        }
    }

    /// An array: type of its elements, count, elements.
    fn values(&mut self, depth: u32) -> Result<Value, Stop> {
        if depth == DEPTH_CAP {
            return Err(self.malformed("arrays nested too deeply"));
        }
        match self.u32()? {
            8 => {
                let count = self.count(8)?;
                let mut strings = Vec::with_capacity(self.room(count, 8));
                for _ in 0..count {
                    strings.push(self.string()?);
                }
                Ok(Value::Strings(strings))
            }
            9 => {
                let count = self.count(12)?;
                let mut arrays = Vec::with_capacity(self.room(count, 12));
                for _ in 0..count {
                    arrays.push(self.values(depth + 1)?);
                }
                Ok(Value::Arrays(arrays))
            }
            code => {
                let kind = self.kind(code)?;
                let len_bytes = kind.len_bytes() as u64;
                let count = self.count(len_bytes)?;
                // `count` has checked the product against the file's length.
                let bytes = self.take(count * len_bytes)?.to_vec();
                Ok(Value::Numbers { kind, bytes })
            }
        }
    }

    fn kind(&self, code: u32) -> Result<Kind, Stop> {
        Ok(match code {
            0 => Kind::U8,
            1 => Kind::I8,
            2 => Kind::U16,
            3 => Kind::I16,
            4 => Kind::U32,
            5 => Kind::I32,
            6 => Kind::F32,
            7 => Kind::Bool,
            10 => Kind::U64,
            11 => Kind::I64,
            12 => Kind::F64,
            _ => return Err(self.malformed(&format!("the unknown value type {code}"))),
        })
    }

    fn malformed(&self, what: &str) -> Stop {
        Error::new(ErrorKind::Malformed, format!("{} holds {what}", self.context)).into()
    }
}
