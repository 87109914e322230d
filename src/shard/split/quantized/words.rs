//! Words of 32 bits for the transposed matrix: GPTQ's and AWQ's.

use std::ops::Range;

use half::f16;

use super::{Reader, Window, malformed, scales, short};
use crate::checkpoint::{Companion, Quantized, Source, Tensor, WordOrder};
use crate::encoding::Encoding;
use crate::{Error, ErrorKind, Result};

/// Rows 0, 2, 4, 6, 1, 3, 5, 7 stand in a word of AWQ in this order; where each of eight stands.
const AWQ_PLACES: [u32; 8] = [0, 4, 1, 5, 2, 6, 3, 7];
/// Bytes of lines that are read at once; a longer line is read by itself.
const READ_BYTES: u64 = 4 << 20;

pub(super) struct Words {
    encoding: Encoding,
    columns: usize,
    /// `[rows, columns]`.
    quants: Vec<u8>,
    /// `[rows, groups]`.
    zeros: Vec<u8>,
    scales: Vec<f32>,
    groups: usize,
    /// Of each column.
    group_of: Vec<u32>,
}

/// A strip of a matrix in a file: `count` lines of `line_bytes`, of each the bytes `span`.
struct Strip<'a> {
    file: usize,
    name: &'a str,
    offset_bytes: u64,
    count: u64,
    line_bytes: u64,
    span: Range<u64>,
}

impl Strip<'_> {
    /// Reads the strip and hands out its lines, one after the other.
    async fn read(&self, reader: Reader<'_>, mut line: impl FnMut(usize, &[u8])) -> Result<()> {
        let len = self.span.end - self.span.start;
        let narrow = reader.store.is_local() && len * 2 <= self.line_bytes;
        let at_once = if narrow { 1 } else { (READ_BYTES / self.line_bytes.max(1)).max(1) };
        if !narrow {
            let start = self.offset_bytes + self.span.start;
            let end = start + (self.count - 1) * self.line_bytes + len;
            reader.store.announce(reader.name(self.file)?, start..end);
        }
        for first in (0..self.count).step_by(at_once as usize) {
            let count = at_once.min(self.count - first);
            let start = first * self.line_bytes + self.span.start;
            let end = start + (count - 1) * self.line_bytes + len;
            let read = reader.read(self.file, self.offset_bytes, start..end).await;
            let bytes = read.map_err(|error| error.tensor(self.name))?;
            for (index, bytes) in bytes.chunks(self.line_bytes as usize).enumerate() {
                line(first as usize + index, &bytes[..len as usize]);
            }
        }
        Ok(())
    }
}

fn strip(companion: &Companion, count: u64, span: Range<u64>) -> Strip<'_> {
    let Companion { source_name, file, offset_bytes, len_bytes, .. } = companion;
    let (file, offset_bytes, line_bytes) = (*file, *offset_bytes, len_bytes / count);
    Strip { file, name: source_name, offset_bytes, count, line_bytes, span }
}

/// What lies `bits` wide in a line of words.
fn field(line: &[u8], bits: u64, index: u64, order: WordOrder) -> u8 {
    let in_word = 32 / bits;
    let place = match order {
        WordOrder::Awq => u64::from(AWQ_PLACES[(index % 8) as usize]),
        WordOrder::Gptq { .. } => index % in_word,
    };
    let at = (index / in_word * 4 + place * bits / 8) as usize;
    line[at] >> (place * bits % 8) & (0xff_u8 >> (8 - bits))
}

impl Words {
    pub(super) async fn read(reader: Reader<'_>, tensor: &Tensor, columns: u64, rows: Range<u64>) -> Result<Self> {
        let (
            Source::Quantized(
                quantized @ Quantized::Words { bits, order, group, scales: plain, indexed, scattered, .. },
            ),
            [zeros, scale, index @ ..],
        ) = (tensor.source, &tensor.companions[..])
        else {
            return Err(malformed("has no scales".to_owned()));
        };
        let groups = columns.div_ceil(group);
        // Whole words of rows.
        let in_word = 32 / bits;
        let (first, end) = (rows.start / in_word * in_word, rows.end.next_multiple_of(in_word));
        let count = (end - first) as usize;
        let mut window = Self {
            encoding: quantized.encoding(columns),
            columns: columns as usize,
            quants: vec![0; count * columns as usize],
            zeros: vec![0; count * groups as usize],
            scales: vec![0.0; count * groups as usize],
            groups: groups as usize,
            group_of: (0..columns).map(|column| (column / group) as u32).collect(),
        };
        let packed = first * bits / 8..end * bits / 8;
        window.read_quants(reader, tensor, (bits, order), first..end).await?;
        let (less, most) = (if let WordOrder::Gptq { less } = order { less } else { 0 }, 0xff_u8 >> (8 - bits));
        // Zeros are packed along the rows in both. Less one, a zero of 0 is the largest number.
        let store = |group: usize, line: &[u8]| {
            for row in 0..count {
                let zero = field(line, bits, row as u64, order).wrapping_add(less) & most;
                window.zeros[row * groups as usize + group] = zero;
            }
        };
        strip(zeros, groups, packed).read(reader, store).await?;
        let value = if plain == Encoding::F32 { 4 } else { 2 };
        let mut lines = Vec::new();
        let keep = |_, line: &[u8]| lines.extend_from_slice(line);
        strip(scale, groups, first * value..end * value).read(reader, keep).await?;
        for (index, found) in scales(plain, &lines, &scale.source_name)?.into_iter().enumerate() {
            window.scales[index % count * groups as usize + index / count] = found;
        }
        if let ([index], true) = (index, indexed) {
            window.read_index(reader, index, scattered).await?;
        }
        window.drop_rows((rows.start - first) as usize);
        Ok(window)
    }

    async fn read_quants(
        &mut self,
        reader: Reader<'_>,
        tensor: &Tensor,
        (bits, order): (u64, WordOrder),
        rows: Range<u64>,
    ) -> Result<()> {
        let columns = self.columns;
        let in_word = (32 / bits) as usize;
        let (per_row, lines) = match order {
            WordOrder::Gptq { .. } => (4 * 8, columns / in_word),
            WordOrder::Awq => (bits, columns),
        };
        let strip = Strip {
            file: tensor.file,
            name: &tensor.source_name,
            offset_bytes: tensor.offset_bytes,
            count: lines as u64,
            line_bytes: tensor.source_rows * per_row / 8,
            span: rows.start * per_row / 8..rows.end * per_row / 8,
        };
        let quants = &mut self.quants;
        let store = |index: usize, line: &[u8]| match order {
            WordOrder::Gptq { .. } => {
                for (word, row) in line.chunks_exact(4).zip(quants.chunks_exact_mut(columns)) {
                    for (place, out) in row[index * in_word..][..in_word].iter_mut().enumerate() {
                        *out = field(word, bits, place as u64, order);
                    }
                }
            }
            WordOrder::Awq => {
                for (row, quants) in quants.chunks_exact_mut(columns).enumerate() {
                    quants[index] = field(line, bits, row as u64, order);
                }
            }
        };
        strip.read(reader, store).await
    }

    /// Reads the group of each column, and checks that it is one, and in its place unless they are scattered.
    async fn read_index(&mut self, reader: Reader<'_>, index: &Companion, scattered: bool) -> Result<()> {
        let bytes = reader.companion(index, 0..index.len_bytes).await?;
        for (column, (found, group)) in bytes.as_chunks().0.iter().zip(&mut self.group_of).enumerate() {
            let found = u32::from_le_bytes(*found);
            if found as usize >= self.groups {
                let message = format!("'{}' has group {found} of {}", index.source_name, self.groups);
                return Err(malformed(message));
            }
            if !scattered && found != *group {
                let message = format!("'{}' has column {column} in group {found}", index.source_name);
                let error = Error::new(ErrorKind::Unsupported, format!("{message}, though desc_act is not set"));
                return Err(error.remedy("set desc_act in the quantization_config"));
            }
            *group = found;
        }
        Ok(())
    }

    /// Drops rows of the window's beginning.
    fn drop_rows(&mut self, rows: usize) {
        self.quants.drain(..rows * self.columns);
        self.zeros.drain(..rows * self.groups);
        self.scales.drain(..rows * self.groups);
    }

    fn quants(&self, row: usize) -> &[u8] {
        &self.quants[row * self.columns..][..self.columns]
    }

    /// Scale and zero of a column.
    fn at(&self, row: usize, column: usize) -> (f32, u8) {
        let index = row * self.groups + self.group_of[column] as usize;
        (self.scales[index], self.zeros[index])
    }
}

impl Window for Words {
    fn decode(&self, row: usize, out: &mut [f32]) -> Result<()> {
        for (column, (quant, out)) in self.quants(row).iter().zip(out).enumerate() {
            let (scale, zero) = self.at(row, column);
            *out = scale * f32::from(i16::from(*quant) - i16::from(zero));
        }
        Ok(())
    }

    fn repack(&self, row: usize, out: &mut [u8]) -> Result<()> {
        let (quants, plane) = out.split_at_mut(self.encoding.plane_offset(self.columns as u64, 1) as usize);
        let each = self.encoding.descriptor().planes[1].columns as usize;
        let blocks = (0..self.columns).step_by(each).map(|column| self.at(row, column));
        if self.encoding != Encoding::Q8_0 {
            for (pair, out) in self.quants(row).chunks(2).zip(quants) {
                *out = pair[0] | pair.get(1).copied().unwrap_or(0) << 4;
            }
            for ((scale, zero), out) in blocks.zip(plane.as_chunks_mut::<4>().0) {
                out[..2].copy_from_slice(&short(self.encoding, scale));
                out[2..].copy_from_slice(&short(self.encoding, f32::from(zero)));
            }
            return Ok(());
        }
        for (quant, out) in self.quants(row).iter().zip(quants) {
            *out = quant.wrapping_sub(128);
        }
        for ((scale, zero), out) in blocks.zip(plane.as_chunks_mut::<2>().0) {
            if zero != 128 {
                return Err(malformed(format!("is said to be symmetric, and has a zero at {zero}")));
            }
            *out = f16::from_f32(scale).to_le_bytes();
        }
        Ok(())
    }
}
