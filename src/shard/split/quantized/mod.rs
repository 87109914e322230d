//! Rows of matrices that another tool quantized.
//!
//! The source rows that some rows come from are read with all that belongs to them, as a window; each row is then repacked
//! into planes, which changes no number, or decoded.

use std::ops::Range;

use half::{bf16, f16};

use crate::checkpoint::{Companion, Quantized, Source, Tensor};
use crate::encoding::Encoding;
use crate::encoding::plain::widen;
use crate::encoding::quantize::{quantize_row_q4, quantize_row_q8};
use crate::plan::RowMap;
use crate::store::Store;
use crate::{Error, ErrorKind, Result};

mod bytes;
mod codes;
mod fp4;
mod packed;
mod scaled;
#[cfg(test)]
mod tests;
mod words;

use bytes::Bytes;
use codes::Codes;
use fp4::Fp4;
use packed::Packed;
use scaled::Scaled;
use words::Words;

/// Where the bytes of a checkpoint come from.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub store: &'a dyn Store,
    pub files: &'a [(String, u64)],
}

impl Reader<'_> {
    fn name(&self, file: usize) -> Result<&str> {
        self.files.get(file).map(|(name, _)| name.as_str()).ok_or_else(|| malformed("lies in no file".to_owned()))
    }

    /// Says that a tensor's own bytes are read from `start` on.
    fn announce(&self, tensor: &Tensor, start: u64) -> Result<()> {
        let bytes = tensor.offset_bytes + start..tensor.offset_bytes + tensor.len_bytes;
        self.store.announce(self.name(tensor.file)?, bytes);
        Ok(())
    }

    /// Bytes `range` of a tensor's own.
    async fn own(&self, tensor: &Tensor, range: Range<u64>) -> Result<Vec<u8>> {
        self.read(tensor.file, tensor.offset_bytes, range).await
    }

    /// Bytes `range` of a companion.
    async fn companion(&self, companion: &Companion, range: Range<u64>) -> Result<Vec<u8>> {
        let read = self.read(companion.file, companion.offset_bytes, range).await;
        read.map_err(|error| error.tensor(&companion.source_name))
    }

    async fn read(&self, file: usize, offset_bytes: u64, range: Range<u64>) -> Result<Vec<u8>> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        self.store.read_at(self.name(file)?, offset_bytes + range.start, &mut bytes).await?;
        Ok(bytes)
    }
}

/// Bytes in memory for each row of ours while some are read: those of the source rows that lie between them too.
pub(super) fn held_bytes(tensor: &Tensor, columns: u64) -> u64 {
    let row_bytes = match tensor.source {
        // A scale and a zero for each group.
        Source::Quantized(Quantized::Words { group, .. }) => columns.saturating_add(columns.div_ceil(group) * 5),
        _ => columns,
    };
    let spread = if tensor.rows.run == u64::MAX { 1 } else { tensor.rows.stride.div_ceil(tensor.rows.run) };
    row_bytes.saturating_mul(spread)
}

/// Source rows, with all that makes numbers of them.
trait Window {
    /// Decodes a row, counted from the window's first; `out` is `[columns]`.
    fn decode(&self, row: usize, out: &mut [f32]) -> Result<()>;

    /// Repacks a row into the planes of the encoding that keeps its numbers; `out` is zeros.
    fn repack(&self, row: usize, out: &mut [u8]) -> Result<()>;
}

/// Appends rows of a quantized matrix, as `target` stores them. Bytes and companions have been checked against the shape.
pub(super) async fn append_rows(
    reader: Reader<'_>,
    tensor: &Tensor,
    (columns, target): (u64, Encoding),
    rows: Range<u64>,
    out: &mut Vec<u8>,
) -> Result<()> {
    let Source::Quantized(quantized) = tensor.source else { return Err(malformed("is not quantized".to_owned())) };
    let sources: Vec<u64> = rows.map(|row| tensor.rows.source(row)).collect();
    let (Some(first), Some(last)) = (sources.iter().min(), sources.iter().max()) else { return Ok(()) };
    let (first, span) = (*first, *first..last + 1);
    let window: Box<dyn Window + Send> = match quantized {
        Quantized::Scaled { .. } => Box::new(Scaled::read(reader, tensor, columns, span).await?),
        Quantized::Codes { .. } => Box::new(Codes::read(reader, tensor, columns, span).await?),
        Quantized::Bytes { .. } => Box::new(Bytes::read(reader, tensor, columns, span).await?),
        Quantized::Words { .. } => Box::new(Words::read(reader, tensor, columns, span).await?),
        Quantized::Packed { .. } => Box::new(Packed::read(reader, tensor, columns, span).await?),
        Quantized::Fp4 { .. } => Box::new(Fp4::read(reader, tensor, columns, span).await?),
    };
    let repacks = target == quantized.encoding(columns) && target.descriptor().plain.is_none();
    let mut floats = vec![0.0; columns as usize];
    let stride = target.row_stride(columns) as usize;
    for source in sources {
        let (row, filled) = ((source - first) as usize, out.len());
        out.resize(filled + stride, 0);
        let out = &mut out[filled..];
        if repacks {
            window.repack(row, out)?;
        } else {
            window.decode(row, &mut floats)?;
            encode(target, &floats, out)?;
        }
    }
    Ok(())
}

/// Decodes a quantized vector; `out` is as long as its source.
pub(super) async fn read_vector(reader: Reader<'_>, tensor: &Tensor, out: &mut Vec<f32>) -> Result<()> {
    let columns = tensor.source_rows;
    let row = Tensor { shape: vec![1, columns], source_rows: 1, rows: RowMap::ALL, ..tensor.clone() };
    let mut bytes = Vec::new();
    append_rows(reader, &row, (columns, Encoding::F32), 0..1, &mut bytes).await?;
    out.resize(columns as usize, 0.0);
    widen(Encoding::F32, &bytes[..columns as usize * 4], out)
}

/// Stores a decoded row; `out` is zeros.
fn encode(target: Encoding, floats: &[f32], out: &mut [u8]) -> Result<()> {
    match target {
        Encoding::Q8_0 => return quantize_row_q8(floats, out),
        Encoding::Q4_1 => return quantize_row_q4(floats, out),
        Encoding::F32 => put(out, floats, f32::to_le_bytes),
        Encoding::F16 => put(out, floats, |value| f16::from_f32(value).to_le_bytes()),
        Encoding::BF16 => put(out, floats, |value| bf16::from_f32(value).to_le_bytes()),
        _ => return Err(malformed(format!("has no conversion to {}", target.name()))),
    }
    Ok(())
}

fn put<const N: usize>(out: &mut [u8], values: &[f32], bytes: impl Fn(f32) -> [u8; N]) {
    for (value, out) in values.iter().zip(out.as_chunks_mut().0) {
        *out = bytes(*value);
    }
}

/// A scale or a zero of two bytes, as the encodings of four bits have them.
fn short(encoding: Encoding, value: f32) -> [u8; 2] {
    match encoding {
        Encoding::Q4_B | Encoding::Q4_B128 | Encoding::Q4_ZB | Encoding::Q4_ZB128 => {
            bf16::from_f32(value).to_le_bytes()
        }
        _ => f16::from_f32(value).to_le_bytes(),
    }
}

/// Scales as numbers.
///
/// # Errors
/// [`ErrorKind::Malformed`] for one that is not finite.
fn scales(encoding: Encoding, bytes: &[u8], name: &str) -> Result<Vec<f32>> {
    let len = if encoding == Encoding::F32 { 4 } else { 2 };
    let mut scales = vec![0.0; bytes.len() / len];
    widen(encoding, bytes, &mut scales)?;
    match scales.iter().find(|scale| !scale.is_finite()) {
        Some(scale) => Err(malformed(format!("'{name}' has a scale of {scale}, not a finite number"))),
        None => Ok(scales),
    }
}

fn malformed(message: String) -> Error {
    Error::new(ErrorKind::Malformed, message)
}
