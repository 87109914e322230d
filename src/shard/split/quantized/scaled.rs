//! Bytes with scales for rows, or for blocks of rows and columns.

use std::ops::Range;

use super::{Reader, Window, malformed, scales};
use crate::checkpoint::{Quantized, Source, Tensor};
use crate::encoding::Encoding;
use crate::encoding::plain::e4m3_to_f32;
use crate::{Error, ErrorKind, Result};

pub(super) struct Scaled {
    encoding: Encoding,
    columns: usize,
    bytes: Vec<u8>,
    /// The first source row, and how many share a row of scales.
    first: u64,
    rows_each: u64,
    columns_each: usize,
    /// `[rows of scales, across]`, divided already.
    scales: Vec<f32>,
    across: usize,
}

impl Scaled {
    pub(super) async fn read(reader: Reader<'_>, tensor: &Tensor, columns: u64, rows: Range<u64>) -> Result<Self> {
        let (
            Source::Quantized(Quantized::Scaled { quants, scales: encoding, columns_each, divisor }),
            [scale, rest @ ..],
        ) = (tensor.source, &tensor.companions[..])
        else {
            return Err(malformed("has no scales".to_owned()));
        };
        if let [arrangement] = rest
            && reader.companion(arrangement, 0..1).await? != [0]
        {
            let message = "its rows are arranged for a GPU, not one behind the other";
            return Err(Error::new(ErrorKind::Unsupported, message).remedy("use the original checkpoint"));
        }
        reader.announce(tensor, rows.start * columns)?;
        let bytes = reader.own(tensor, rows.start * columns..rows.end * columns).await?;
        let across = columns.div_ceil(columns_each);
        let line = across * if encoding == Encoding::F32 { 4 } else { 2 };
        let (first, end) = (rows.start / scale.rows_each, rows.end.div_ceil(scale.rows_each));
        let found = reader.companion(scale, first * line..end * line).await?;
        let scales = scales(encoding, &found, &scale.source_name)?.iter().map(|scale| scale / divisor).collect();
        Ok(Self {
            encoding: quants,
            columns: columns as usize,
            bytes,
            first: rows.start,
            rows_each: scale.rows_each,
            columns_each: columns_each.min(columns) as usize,
            scales,
            across: across as usize,
        })
    }

    /// The bytes and the scales of a row.
    fn row(&self, row: usize) -> Result<(&[u8], &[f32])> {
        let bytes = &self.bytes[row * self.columns..][..self.columns];
        let is_nan = |byte: &u8| byte & 0x7f == 0x7f;
        if self.encoding == Encoding::F8_E4M3
            && let Some(column) = bytes.iter().position(is_nan)
        {
            let message = format!("the weight of row {}, column {column} is not a number", self.first + row as u64);
            return Err(malformed(message));
        }
        let line = ((self.first + row as u64) / self.rows_each - self.first / self.rows_each) as usize;
        Ok((bytes, &self.scales[line * self.across..][..self.across]))
    }
}

impl Window for Scaled {
    fn decode(&self, row: usize, out: &mut [f32]) -> Result<()> {
        let (bytes, scales) = self.row(row)?;
        for ((bytes, out), scale) in bytes.chunks(self.columns_each).zip(out.chunks_mut(self.columns_each)).zip(scales)
        {
            for (byte, out) in bytes.iter().zip(out) {
                let value = if self.encoding == Encoding::I8 { f32::from(*byte as i8) } else { e4m3_to_f32(*byte) };
                *out = value * scale;
            }
        }
        Ok(())
    }

    fn repack(&self, row: usize, out: &mut [u8]) -> Result<()> {
        let (bytes, scales) = self.row(row)?;
        let (quants, plane) = out.split_at_mut(self.encoding.plane_offset(self.columns as u64, 1) as usize);
        quants[..bytes.len()].copy_from_slice(bytes);
        let each = self.encoding.descriptor().planes[1].columns;
        let count = (self.columns as u64).div_ceil(each) as usize;
        for (index, out) in plane.as_chunks_mut().0.iter_mut().enumerate().take(count) {
            let column = (index as u64).saturating_mul(each) as usize;
            *out = scales[column / self.columns_each].to_le_bytes();
        }
        Ok(())
    }
}
