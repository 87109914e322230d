//! Little-endian fields, taken from the front of bytes that may end anywhere.

use crate::{Error, ErrorKind, Result};

#[derive(Clone)]
pub(super) struct Bytes<'a> {
    rest: &'a [u8],
    len: usize,
    /// What is being read, for messages.
    what: &'static str,
}

impl<'a> Bytes<'a> {
    pub(super) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, len: bytes.len(), what }
    }

    /// Bytes taken so far.
    pub(super) fn position(&self) -> usize {
        self.len - self.rest.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn take(&mut self, len: u64) -> Result<&'a [u8]> {
        let split = usize::try_from(len).ok().and_then(|len| self.rest.split_at_checked(len));
        let Some((taken, rest)) = split else {
            let message = format!("{} ends early: {len} bytes are wanted at {}", self.what, self.position());
            return Err(Error::new(ErrorKind::Truncated, message).remedy("get the file again"));
        };
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn skip(&mut self, len: u64) -> Result<()> {
        self.take(len).map(drop)
    }

    /// The bytes before the next `end`, which is taken too.
    pub(super) fn until(&mut self, end: u8) -> Result<&'a [u8]> {
        let found = self.rest.iter().position(|byte| *byte == end).unwrap_or(self.rest.len());
        let taken = self.take(found as u64)?;
        self.skip(1)?;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }
}
