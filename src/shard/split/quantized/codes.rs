//! Four bits with a codebook, packed over the whole matrix.

use std::ops::Range;

use super::{Reader, Window, malformed, scales};
use crate::checkpoint::{Companion, Nested, Quantized, Source, Tensor};
use crate::encoding::{Encoding, codebook};
use crate::{Error, ErrorKind, Result};

pub(super) struct Codes {
    codebook: Encoding,
    columns: u64,
    /// The first value of the window, counted over the matrix.
    first: u64,
    /// From the byte of the first value on.
    bytes: Vec<u8>,
    block: u64,
    /// From the block of the first value on.
    scales: Vec<f32>,
}

impl Codes {
    pub(super) async fn read(reader: Reader<'_>, tensor: &Tensor, columns: u64, rows: Range<u64>) -> Result<Self> {
        let (Source::Quantized(Quantized::Codes { codebook, block, nested }), [scale, codes, rest @ ..]) =
            (tensor.source, &tensor.companions[..])
        else {
            return Err(malformed("has no scales".to_owned()));
        };
        let found = scales(Encoding::F32, &reader.companion(codes, 0..codes.len_bytes).await?, &codes.source_name)?;
        if found != table(codebook) {
            let message = format!("'{}' is not the table of {}", codes.source_name, codebook.name());
            return Err(Error::new(ErrorKind::Unsupported, message).remedy("use the original checkpoint"));
        }
        let (first, end) = (rows.start * columns, rows.end * columns);
        reader.announce(tensor, first / 2)?;
        let bytes = reader.own(tensor, first / 2..end.div_ceil(2)).await?;
        let blocks = first / block..end.div_ceil(block);
        let scales = match (nested, rest) {
            (Some(nested), [own, codes]) => nested_scales(reader, nested, [scale, own, codes], blocks).await?,
            _ => {
                let bytes = reader.companion(scale, blocks.start * 4..blocks.end * 4).await?;
                scales(Encoding::F32, &bytes, &scale.source_name)?
            }
        };
        Ok(Self { codebook, columns, first, bytes, block, scales })
    }

    /// The four bits of a value, and its scale.
    fn at(&self, row: usize, column: u64) -> (u8, f32) {
        let value = self.first + row as u64 * self.columns + column;
        let byte = self.bytes[(value / 2 - self.first / 2) as usize];
        let quant = if value.is_multiple_of(2) { byte >> 4 } else { byte & 15 };
        (quant, self.scales[(value / self.block - self.first / self.block) as usize])
    }
}

/// Scales of `blocks`, from the bytes, their own scales and their codes.
async fn nested_scales(
    reader: Reader<'_>,
    nested: Nested,
    [bytes, own, codes]: [&Companion; 3],
    blocks: Range<u64>,
) -> Result<Vec<f32>> {
    let lines = blocks.start / nested.block..blocks.end.div_ceil(nested.block);
    let scale = reader.companion(own, lines.start * 4..lines.end * 4).await?;
    let scale = scales(Encoding::F32, &scale, &own.source_name)?;
    let codes = scales(Encoding::F32, &reader.companion(codes, 0..codes.len_bytes).await?, &codes.source_name)?;
    let bytes = reader.companion(bytes, blocks.clone()).await?;
    let one = |(block, byte): (u64, &u8)| {
        codes[usize::from(*byte)] * scale[(block / nested.block - lines.start) as usize] + nested.offset
    };
    Ok(blocks.zip(&bytes).map(one).collect())
}

fn table(encoding: Encoding) -> &'static [f32] {
    if encoding == Encoding::NF4 { &codebook::NF4 } else { &codebook::FP4 }
}

impl Window for Codes {
    fn decode(&self, row: usize, out: &mut [f32]) -> Result<()> {
        let table = table(self.codebook);
        for (column, out) in (0..).zip(out) {
            let (quant, scale) = self.at(row, column);
            *out = table[usize::from(quant)] * scale;
        }
        Ok(())
    }

    fn repack(&self, row: usize, out: &mut [u8]) -> Result<()> {
        let (quants, plane) = out.split_at_mut(self.codebook.plane_offset(self.columns, 1) as usize);
        for (column, out) in (0..self.columns).step_by(2).zip(quants) {
            *out = self.at(row, column).0 | self.at(row, column + 1).0 << 4;
        }
        for (column, out) in (0..self.columns).step_by(64).zip(plane.as_chunks_mut().0) {
            *out = self.at(row, column).1.to_le_bytes();
        }
        Ok(())
    }
}
