//! Bytes with a codebook of 256 numbers, and scales for runs of the whole matrix.

use std::ops::Range;

use super::{Reader, Window, malformed, scales};
use crate::Result;
use crate::checkpoint::{Quantized, Source, Tensor};
use crate::encoding::Encoding;

pub(super) struct Bytes {
    columns: u64,
    /// The first value of the window, counted over the matrix.
    first: u64,
    bytes: Vec<u8>,
    block: u64,
    /// From the block of the first value on.
    scales: Vec<f32>,
    /// `[256]`
    codes: Vec<f32>,
}

impl Bytes {
    pub(super) async fn read(reader: Reader<'_>, tensor: &Tensor, columns: u64, rows: Range<u64>) -> Result<Self> {
        let (Source::Quantized(Quantized::Bytes { block }), [scale, codes]) = (tensor.source, &tensor.companions[..])
        else {
            return Err(malformed("has no scales".to_owned()));
        };
        let found = reader.companion(codes, 0..codes.len_bytes).await?;
        let codes = scales(Encoding::F32, &found, &codes.source_name)?;
        let (first, end) = (rows.start * columns, rows.end * columns);
        reader.announce(tensor, first)?;
        let bytes = reader.own(tensor, first..end).await?;
        let found = reader.companion(scale, first / block * 4..end.div_ceil(block) * 4).await?;
        let scales = scales(Encoding::F32, &found, &scale.source_name)?;
        Ok(Self { columns, first, bytes, block, scales, codes })
    }
}

impl Window for Bytes {
    fn decode(&self, row: usize, out: &mut [f32]) -> Result<()> {
        let start = row as u64 * self.columns;
        let bytes = &self.bytes[start as usize..][..self.columns as usize];
        for ((value, byte), out) in (self.first + start..).zip(bytes).zip(out) {
            let scale = self.scales[(value / self.block - self.first / self.block) as usize];
            *out = self.codes[usize::from(*byte)] * scale;
        }
        Ok(())
    }

    fn repack(&self, _row: usize, _out: &mut [u8]) -> Result<()> {
        Err(malformed("has no packed encoding".to_owned()))
    }
}
