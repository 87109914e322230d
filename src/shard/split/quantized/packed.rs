//! Whole numbers of up to eight bits, packed along each row: compressed-tensors' `pack-quantized`.

use std::ops::Range;

use super::{Reader, Window, malformed, scales, short};
use crate::Result;
use crate::checkpoint::{Quantized, Source, Tensor};
use crate::encoding::Encoding;

pub(super) struct Packed {
    encoding: Encoding,
    columns: usize,
    bits: usize,
    group: usize,
    groups: usize,
    /// Bytes from one row to the next.
    row_bytes: usize,
    bytes: Vec<u8>,
    /// `[rows, groups]`.
    scales: Vec<f32>,
    zeros: Vec<u8>,
}

/// The number of so many bits that begins at a bit of words, which lie in order and from the lowest bits on.
fn number(words: &[u8], bit: usize, bits: usize) -> u8 {
    let byte = |index: usize| u16::from(words.get(index).copied().unwrap_or(0));
    let two = byte(bit / 8) | byte(bit / 8 + 1) << 8;
    (two >> (bit % 8)) as u8 & (0xff >> (8 - bits))
}

impl Packed {
    pub(super) async fn read(reader: Reader<'_>, tensor: &Tensor, columns: u64, rows: Range<u64>) -> Result<Self> {
        let (
            Source::Quantized(quantized @ Quantized::Packed { bits, group, scales: plain, zeros }),
            [scale, zero @ ..],
        ) = (tensor.source, &tensor.companions[..])
        else {
            return Err(malformed("has no scales".to_owned()));
        };
        let (row_bytes, groups) = ((columns * bits).div_ceil(32) * 4, columns.div_ceil(group));
        reader.announce(tensor, rows.start * row_bytes)?;
        let bytes = reader.own(tensor, rows.start * row_bytes..rows.end * row_bytes).await?;
        let line = groups * if plain == Encoding::F32 { 4 } else { 2 };
        let found = reader.companion(scale, rows.start * line..rows.end * line).await?;
        let count = ((rows.end - rows.start) * groups) as usize;
        let mut all_zeros = vec![1 << (bits - 1); count];
        if let ([zero], true) = (zero, zeros) {
            // Each column is packed by itself: a line of words has one of each.
            let (first, end) = (rows.start * bits / 32, (rows.end * bits).div_ceil(32));
            let lines = reader.companion(zero, first * groups * 4..end * groups * 4).await?;
            for group in 0..groups as usize {
                let words = lines.chunks_exact(groups as usize * 4).flat_map(|line| &line[group * 4..][..4]);
                let column: Vec<u8> = words.copied().collect();
                for row in rows.clone() {
                    let bit = (row * bits - first * 32) as usize;
                    let index = (row - rows.start) as usize * groups as usize + group;
                    all_zeros[index] = number(&column, bit, bits as usize);
                }
            }
        }
        Ok(Self {
            encoding: quantized.encoding(columns),
            columns: columns as usize,
            bits: bits as usize,
            group: group.min(columns) as usize,
            groups: groups as usize,
            row_bytes: row_bytes as usize,
            bytes,
            scales: scales(plain, &found, &scale.source_name)?,
            zeros: all_zeros,
        })
    }

    fn quant(&self, row: usize, column: usize) -> u8 {
        number(&self.bytes[row * self.row_bytes..][..self.row_bytes], column * self.bits, self.bits)
    }

    /// Scale and zero of a column.
    fn at(&self, row: usize, column: usize) -> (f32, u8) {
        let index = row * self.groups + column / self.group;
        (self.scales[index], self.zeros[index])
    }
}

impl Window for Packed {
    fn decode(&self, row: usize, out: &mut [f32]) -> Result<()> {
        for (column, out) in out.iter_mut().enumerate() {
            let (scale, zero) = self.at(row, column);
            *out = scale * f32::from(i16::from(self.quant(row, column)) - i16::from(zero));
        }
        Ok(())
    }

    fn repack(&self, row: usize, out: &mut [u8]) -> Result<()> {
        let (quants, plane) = out.split_at_mut(self.encoding.plane_offset(self.columns as u64, 1) as usize);
        if self.encoding == Encoding::I8 {
            let middle = 1_u8 << (self.bits - 1);
            for (column, out) in quants.iter_mut().enumerate().take(self.columns) {
                *out = self.quant(row, column).wrapping_sub(middle);
            }
            plane[..4].copy_from_slice(&self.scales[row * self.groups].to_le_bytes());
            return Ok(());
        }
        for column in 0..self.columns {
            quants[column / 2] |= self.quant(row, column) << (column % 2 * 4);
        }
        let scales = self.encoding.descriptor().planes[1];
        let with_zeros = scales.bits == 32;
        let len = scales.bits as usize / 8;
        let blocks = (0..self.columns).step_by(scales.columns as usize).map(|column| self.at(row, column));
        for ((scale, zero), out) in blocks.zip(plane.chunks_exact_mut(len)) {
            out[..2].copy_from_slice(&short(self.encoding, scale));
            if with_zeros {
                out[2..].copy_from_slice(&short(self.encoding, f32::from(zero)));
            }
        }
        Ok(())
    }
}
