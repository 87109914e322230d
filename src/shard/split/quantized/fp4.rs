//! NVFP4 and MXFP4 as compressed-tensors and ModelOpt write them: numbers of four bits with scales of eight, and in the first
//! one for the whole matrix.

use std::ops::Range;

use super::{Reader, Window, malformed, scales};
use crate::Result;
use crate::checkpoint::{Fp4Scales, Quantized, Source, Tensor};
use crate::encoding::Encoding;
use crate::encoding::decode::{fp4, power_of_two};
use crate::encoding::plain::e4m3_to_f32;

pub(super) struct Fp4 {
    encoding: Encoding,
    columns: usize,
    /// Columns that share a scale.
    group: usize,
    bytes: Vec<u8>,
    /// `[rows, columns / group]`.
    scales: Vec<u8>,
    /// Of the whole matrix, where there is one.
    whole: Option<f32>,
}

impl Fp4 {
    pub(super) async fn read(reader: Reader<'_>, tensor: &Tensor, columns: u64, rows: Range<u64>) -> Result<Self> {
        let (Source::Quantized(quantized @ Quantized::Fp4 { scales: kind }), [scale, rest @ ..]) =
            (tensor.source, &tensor.companions[..])
        else {
            return Err(malformed("has no scales".to_owned()));
        };
        reader.announce(tensor, rows.start * columns / 2)?;
        let bytes = reader.own(tensor, rows.start * columns / 2..rows.end * columns / 2).await?;
        let line = columns / kind.group();
        let found = reader.companion(scale, rows.start * line..rows.end * line).await?;
        // A float of eight bits has no sign here, and 127 is no number; of powers the last is none.
        let least_bad = if kind == Fp4Scales::Powers { 255 } else { 127 };
        if let Some(bad) = found.iter().find(|scale| **scale >= least_bad) {
            return Err(malformed(format!("'{}' has a scale of {bad:#04x}", scale.source_name)));
        }
        let whole = match (kind, rest) {
            (Fp4Scales::Floats { inverse }, [whole]) => {
                let value = scales(Encoding::F32, &reader.companion(whole, 0..4).await?, &whole.source_name)?[0];
                if value <= 0.0 {
                    return Err(malformed(format!("'{}' is {value}, not above 0", whole.source_name)));
                }
                Some(if inverse { 1.0 / value } else { value })
            }
            _ => None,
        };
        let (encoding, group) = (quantized.encoding(columns), kind.group() as usize);
        Ok(Self { encoding, columns: columns as usize, group, bytes, scales: found, whole })
    }

    /// The numbers and the scales of a row.
    fn row(&self, row: usize) -> (&[u8], &[u8]) {
        let (half, line) = (self.columns / 2, self.columns / self.group);
        (&self.bytes[row * half..][..half], &self.scales[row * line..][..line])
    }
}

impl Window for Fp4 {
    fn decode(&self, row: usize, out: &mut [f32]) -> Result<()> {
        let (bytes, scales) = self.row(row);
        for (column, out) in out.iter_mut().enumerate() {
            let number = fp4(bytes[column / 2] >> (column % 2 * 4) & 15);
            let scale = scales[column / self.group];
            *out = match self.whole {
                Some(whole) => whole * (e4m3_to_f32(scale) * number),
                None => power_of_two(scale) * number,
            };
        }
        Ok(())
    }

    fn repack(&self, row: usize, out: &mut [u8]) -> Result<()> {
        let (bytes, scales) = self.row(row);
        let at = |index| self.encoding.plane_offset(self.columns as u64, index) as usize;
        out[..bytes.len()].copy_from_slice(bytes);
        out[at(1)..][..scales.len()].copy_from_slice(scales);
        if let Some(whole) = self.whole {
            out[at(2)..][..4].copy_from_slice(&whole.to_le_bytes());
        }
        Ok(())
    }
}
