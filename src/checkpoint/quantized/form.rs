//! The forms of quantized matrices: how the quants of one and what lies in its companions come to numbers.

use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use super::{Entries, Found, unsupported};
use crate::checkpoint::safetensors::Entry;
use crate::checkpoint::{Companion, Source, Tensor};
use crate::encoding::Encoding;
use crate::plan::RowMap;
use crate::{Error, ErrorKind, Result};

/// How the quants of a matrix and its companions come to numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Quantized {
    /// `q * d / divisor`, q `[rows, columns]` one byte each. Companions: d `[rows / rows_each, columns / columns_each]`,
    /// rounded up, and maybe a byte that is 0 where rows lie one behind the other.
    Scaled {
        /// [`Encoding::F8_E4M3`] or [`Encoding::I8`].
        quants: Encoding,
        /// The plain encoding of the scales.
        scales: Encoding,
        columns_each: u64,
        divisor: f32,
    },
    /// `code[q] * d`, four bits each, the higher half of a byte first, a scale for each `block` values of the whole matrix,
    /// one row behind the other. Companions: d, code f32 `[16]`; and where the scales are quantized themselves, their own
    /// scales and f32 `[256]` codes.
    Codes {
        /// [`Encoding::NF4`] or [`Encoding::FP4`].
        codebook: Encoding,
        block: u64,
        nested: Option<Nested>,
    },
    /// `code[q] * d`, a byte each, a scale for each `block` values as in [`Quantized::Codes`]. Companions: d f32, code f32
    /// `[256]`.
    Bytes { block: u64 },
    /// `d * (q - z)`, packed in words of 32 bits, for the transposed matrix. Companions: z `[groups, rows]` packed
    /// likewise, d `[groups, rows]`, and maybe the group of each column, i32 `[columns]`.
    Words {
        bits: u64,
        order: WordOrder,
        /// Columns of a group.
        group: u64,
        /// The plain encoding of the scales.
        scales: Encoding,
        /// Every zero is in the middle of the range.
        symmetric: bool,
        /// Whether the last companion is there.
        indexed: bool,
        /// A group may have columns from anywhere, as that says.
        scattered: bool,
    },
    /// `d * (q - z)`, so many bits each, one behind the other from the lowest on, a row filled up to words of 32 bits.
    /// Companions: d `[rows, groups]`, and maybe z `[rows, groups]`, packed likewise down each column; else z is the middle of
    /// the range.
    Packed {
        bits: u64,
        /// Columns of a group.
        group: u64,
        /// The plain encoding of the scales.
        scales: Encoding,
        zeros: bool,
    },
    /// `d * fp4(q)`, four bits each, the lower half of a byte first. Companions: what d is made of.
    Fp4 { scales: Fp4Scales },
}

/// The scales of numbers of four bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fp4Scales {
    /// MXFP4: powers of two, a byte for each 32 columns, 127 more than the exponent.
    Powers,
    /// NVFP4: e4m3 `[rows, columns / 16]`, and f32 `[1]` for the whole matrix, which is a factor or, where `inverse`, one over
    /// it.
    Floats { inverse: bool },
}

impl Fp4Scales {
    /// Columns that share a scale.
    pub fn group(self) -> u64 {
        match self {
            Self::Powers => 32,
            Self::Floats { .. } => 16,
        }
    }
}

/// Scales as bytes: `codes[byte] * scale + offset`, a scale for each `block` of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Nested {
    pub block: u64,
    pub offset: f32,
}

/// What lies in a word of 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WordOrder {
    /// Columns of one row, from the lowest bits on; of zeros rows. `z` is stored less `less`.
    Gptq { less: u8 },
    /// Rows 0, 2, 4, 6, 1, 3, 5, 7 of eight, from the lowest bits on.
    Awq,
}

impl Quantized {
    /// The encoding that keeps every number of a matrix of `columns`. It is a plain one where no packed one has such blocks.
    pub fn encoding(&self, columns: u64) -> Encoding {
        match *self {
            Self::Scaled { quants: Encoding::I8, columns_each, .. } if columns_each >= columns => Encoding::I8,
            Self::Scaled { quants: Encoding::F8_E4M3, columns_each, .. }
                if columns_each >= columns || columns_each.is_multiple_of(128) =>
            {
                Encoding::F8_E4M3
            }
            Self::Codes { codebook, block, .. } if block.is_multiple_of(64) && columns.is_multiple_of(64) => codebook,
            Self::Scaled { .. } | Self::Codes { .. } | Self::Bytes { .. } => Encoding::F32,
            Self::Words { bits, group, scales: Encoding::F16, symmetric, scattered: false, .. }
                if group >= columns || group.is_multiple_of(32) =>
            {
                match bits {
                    4 if group >= columns || group.is_multiple_of(128) => Encoding::Q4_Z128,
                    4 => Encoding::Q4_Z,
                    _ if symmetric => Encoding::Q8_0,
                    _ => Encoding::F16,
                }
            }
            Self::Words { bits: 4, group, scales: Encoding::BF16, scattered: false, .. }
                if group >= columns || group.is_multiple_of(32) =>
            {
                if group >= columns || group.is_multiple_of(128) {
                    Encoding::Q4_ZB128
                } else {
                    Encoding::Q4_ZB
                }
            }
            Self::Packed { bits: bits @ 1..=4, group, scales: scales @ (Encoding::F16 | Encoding::BF16), zeros }
                if group >= columns || group.is_multiple_of(32) =>
            {
                let wide = group >= columns || group.is_multiple_of(128);
                match (scales, zeros || bits < 4, wide) {
                    (Encoding::F16, false, false) => Encoding::Q4_0,
                    (Encoding::F16, true, false) => Encoding::Q4_Z,
                    (Encoding::F16, _, true) => Encoding::Q4_Z128,
                    (_, false, false) => Encoding::Q4_B,
                    (_, false, true) => Encoding::Q4_B128,
                    (_, true, false) => Encoding::Q4_ZB,
                    (_, true, true) => Encoding::Q4_ZB128,
                }
            }
            Self::Packed { bits: 5..=8, group, zeros: false, .. } if group >= columns => Encoding::I8,
            Self::Fp4 { scales: Fp4Scales::Powers } => Encoding::MXFP4,
            Self::Fp4 { .. } if columns.is_multiple_of(64) => Encoding::NVFP4,
            Self::Fp4 { .. } => Encoding::F32,
            // What the reference computes, it rounds to the type of the scales.
            Self::Words { scales, .. } | Self::Packed { scales, .. } => scales,
        }
    }

    /// The bytes that the matrix and each of its companions must have; `None` where they have no such shape.
    pub fn lengths(&self, rows: u64, columns: u64, companions: &[Companion]) -> Option<Vec<u64>> {
        let shares = match *self {
            Self::Scaled { quants: Encoding::F8_E4M3 | Encoding::I8, columns_each, .. } => {
                columns_each.min(companions.first()?.rows_each)
            }
            Self::Codes { codebook: Encoding::NF4 | Encoding::FP4, block, nested } => {
                nested.map_or(block, |nested| nested.block.min(block))
            }
            Self::Words { bits: 4 | 8, group, .. } | Self::Packed { bits: 1..=8, group, .. } => group,
            Self::Fp4 { scales } if columns.is_multiple_of(scales.group()) => scales.group(),
            Self::Bytes { block } => block,
            _ => 0,
        };
        if shares == 0 || rows == 0 || columns == 0 {
            return None;
        }
        let values = rows.checked_mul(columns)?;
        let product = |factors: &[u64]| factors.iter().try_fold(1_u64, |all, factor| all.checked_mul(*factor));
        match *self {
            Self::Scaled { scales, columns_each, .. } => {
                let rows = rows.div_ceil(companions.first()?.rows_each);
                let columns = columns.div_ceil(columns_each);
                let own = [values, product(&[rows, columns, value_len(scales)])?];
                Some(own.into_iter().chain(companions.get(1).map(|_| 1)).collect())
            }
            Self::Codes { block, nested, .. } => {
                let scales = values.div_ceil(block);
                Some(match nested {
                    None => vec![values.div_ceil(2), product(&[scales, 4])?, 64],
                    Some(nested) => {
                        let own = scales.div_ceil(nested.block);
                        vec![values.div_ceil(2), scales, 64, product(&[own, 4])?, 1024]
                    }
                })
            }
            Self::Packed { bits, group, scales, zeros } => {
                let words = |count: u64| Some(count.checked_mul(bits)?.div_ceil(32));
                let groups = columns.div_ceil(group);
                let own = [product(&[rows, words(columns)?, 4])?, product(&[rows, groups, value_len(scales)])?];
                let zeros = if zeros { Some(product(&[words(rows)?, groups, 4])?) } else { None };
                Some(own.into_iter().chain(zeros).collect())
            }
            Self::Fp4 { scales: Fp4Scales::Powers } => Some(vec![values / 2, values / 32]),
            Self::Fp4 { .. } => Some(vec![values / 2, values / 16, 4]),
            Self::Bytes { block } => Some(vec![values, product(&[values.div_ceil(block), 4])?, 1024]),
            Self::Words { bits, order, group, scales, indexed, .. } => {
                // What is packed together fills its words.
                let packed = if order == WordOrder::Awq { rows } else { columns };
                if !packed.is_multiple_of(32 / bits) || !rows.is_multiple_of(32 / bits) {
                    return None;
                }
                let groups = columns.div_ceil(group);
                let zeros = product(&[groups, rows, bits])? / 8;
                let scales = product(&[groups, rows, value_len(scales)])?;
                let index = indexed.then_some(columns.checked_mul(4)?);
                Some([product(&[values, bits])? / 8, zeros, scales].into_iter().chain(index).collect())
            }
        }
    }
}

/// Bytes of a plain value.
fn value_len(encoding: Encoding) -> u64 {
    if encoding == Encoding::F32 { 4 } else { 2 }
}

/// The plain encoding of a tensor of scales.
pub(super) fn scales(entry: &Entry) -> Result<Encoding> {
    match entry.dtype {
        Dtype::F32 => Ok(Encoding::F32),
        Dtype::F16 => Ok(Encoding::F16),
        Dtype::BF16 => Ok(Encoding::BF16),
        other => Err(unsupported(format!("scales of dtype {other} are not supported")).tensor(&entry.name)),
    }
}

/// Takes a tensor that another one needs.
pub(super) fn needed(entries: &mut Entries, name: &str) -> Result<Found> {
    let missing = || Error::new(ErrorKind::Missing, "is not there, and its weights need it").tensor(name);
    entries.remove(name).ok_or_else(|| missing().remedy("get the whole checkpoint"))
}

pub(super) fn companion(Found { entry, file }: Found, rows_each: u64) -> Companion {
    let Entry { name, offset_bytes, len_bytes, .. } = entry;
    Companion { source_name: name, file, offset_bytes, len_bytes, rows_each }
}

/// A matrix of quants, after checking that its bytes and those of its companions are those of its shape.
pub(super) fn matrix(
    own: Found,
    stem: &str,
    (rows, columns): (u64, u64),
    quantized: Quantized,
    companions: Vec<Companion>,
) -> Result<Tensor> {
    tensor(own, format!("{stem}.weight"), &[rows, columns], quantized, companions)
}

/// A matrix or a vector of quants, checked likewise.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for other shapes, and those of [`check`].
pub(super) fn tensor(
    Found { entry, file }: Found,
    name: String,
    shape: &[u64],
    quantized: Quantized,
    companions: Vec<Companion>,
) -> Result<Tensor> {
    let ([source_rows] | [source_rows, _]) = *shape else {
        return Err(unsupported(format!("shape {shape:?} is no matrix and no vector")).tensor(&entry.name));
    };
    let tensor = Tensor {
        source_name: entry.name,
        name,
        shape: shape.to_vec(),
        source: Source::Quantized(quantized),
        file,
        offset_bytes: entry.offset_bytes,
        len_bytes: entry.len_bytes,
        source_rows,
        rows: RowMap::ALL,
        plus: 0.0,
        inverse_lengths: None,
        transposed: false,
        companions,
    };
    let columns = shape.last().copied().unwrap_or_default();
    check(&tensor, columns).map_err(|error| error.tensor(&tensor.source_name))?;
    Ok(tensor)
}

/// Checks that the bytes of a quantized matrix of `columns` (or of a vector of so many) and of its companions are those of
/// its shape.
///
/// # Errors
/// [`ErrorKind::Malformed`] naming the companion.
pub(crate) fn check(tensor: &Tensor, columns: u64) -> Result<()> {
    let Source::Quantized(quantized) = tensor.source else { return Ok(()) };
    let malformed = |message: String| Error::new(ErrorKind::Malformed, message);
    // A vector is one row.
    let rows = if tensor.shape.len() == 1 { 1 } else { tensor.source_rows };
    let lengths = quantized.lengths(rows, columns, &tensor.companions);
    let lengths = lengths.ok_or_else(|| malformed(format!("{rows} x {columns} values are not packed like this")))?;
    let own = [("it", tensor.len_bytes)];
    let companions = tensor.companions.iter().map(|companion| (&*companion.source_name, companion.len_bytes));
    let found: Vec<(&str, u64)> = own.into_iter().chain(companions).collect();
    if found.len() != lengths.len() {
        return Err(malformed(format!("{} tensors make it up, not {}", found.len(), lengths.len())));
    }
    match found.iter().zip(lengths).find(|((_, len), needed)| len != needed) {
        Some(((name, len), needed)) => {
            let message = format!("'{name}' has {len} bytes where {rows} x {columns} values need {needed}");
            Err(malformed(message))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALED: Quantized =
        Quantized::Scaled { quants: Encoding::F8_E4M3, scales: Encoding::BF16, columns_each: 128, divisor: 1.0 };
    const CODES: Quantized = Quantized::Codes { codebook: Encoding::NF4, block: 64, nested: None };

    fn words(bits: u64, group: u64) -> Quantized {
        let (order, scales) = (WordOrder::Awq, Encoding::F16);
        Quantized::Words { bits, order, group, scales, symmetric: false, indexed: true, scattered: false }
    }

    fn packed(bits: u64, group: u64) -> Quantized {
        Quantized::Packed { bits, group, scales: Encoding::BF16, zeros: false }
    }

    fn scale(rows_each: u64) -> Vec<Companion> {
        vec![Companion { source_name: "s".into(), file: 0, offset_bytes: 0, len_bytes: 0, rows_each }]
    }

    #[test]
    fn lengths_are_those_of_the_formats() {
        assert_eq!(SCALED.lengths(200, 300, &scale(128)), Some(vec![60_000, 2 * 3 * 2]));
        assert_eq!(SCALED.lengths(200, 300, &[scale(1), scale(1)].concat()), Some(vec![60_000, 200 * 3 * 2, 1]));
        assert_eq!(CODES.lengths(3, 33, &[]), Some(vec![50, 2 * 4, 64]));
        let nested =
            Quantized::Codes { codebook: Encoding::FP4, block: 64, nested: Some(Nested { block: 256, offset: 0.0 }) };
        assert_eq!(nested.lengths(300, 64, &[]), Some(vec![9600, 300, 64, 2 * 4, 1024]));
        assert_eq!(Quantized::Bytes { block: 2048 }.lengths(31, 67, &[]), Some(vec![2077, 2 * 4, 1024]));
        assert_eq!(words(4, 128).lengths(16, 256, &[]), Some(vec![2048, 16, 64, 1024]));
        assert_eq!(words(8, u64::MAX).lengths(16, 256, &[]), Some(vec![4096, 16, 32, 1024]));
        let packed = |bits, zeros| Quantized::Packed { bits, group: 32, scales: Encoding::BF16, zeros };
        assert_eq!(packed(4, false).lengths(5, 70, &[]), Some(vec![5 * 9 * 4, 5 * 3 * 2]));
        assert_eq!(packed(3, true).lengths(11, 70, &[]), Some(vec![11 * 7 * 4, 11 * 3 * 2, 2 * 3 * 4]));
        let fp4 = Quantized::Fp4 { scales: Fp4Scales::Floats { inverse: true } };
        assert_eq!(fp4.lengths(3, 48, &[]), Some(vec![72, 9, 4]));
    }

    #[test]
    fn forms_that_cannot_be_have_no_lengths() {
        let no_block = Quantized::Codes { codebook: Encoding::NF4, block: 0, nested: None };
        let other_code = Quantized::Codes { codebook: Encoding::Q4_0, block: 64, nested: None };
        let no_nested_block =
            Quantized::Codes { codebook: Encoding::NF4, block: 64, nested: Some(Nested { block: 0, offset: 0.0 }) };
        let no_columns =
            Quantized::Scaled { quants: Encoding::I8, scales: Encoding::F32, columns_each: 0, divisor: 1.0 };
        for (what, form, (rows, columns), companions) in [
            ("no companion", SCALED, (8, 8), Vec::new()),
            ("scales of no rows", SCALED, (8, 8), scale(0)),
            ("scales of no columns", no_columns, (8, 8), scale(1)),
            ("blocks of nothing", no_block, (8, 8), Vec::new()),
            ("nested blocks of nothing", no_nested_block, (8, 8), Vec::new()),
            ("bytes in blocks of nothing", Quantized::Bytes { block: 0 }, (8, 8), Vec::new()),
            ("too many bytes", Quantized::Bytes { block: 1 }, (1 << 31, 1 << 31), Vec::new()),
            ("groups of nothing", words(4, 0), (8, 8), Vec::new()),
            ("no bits", words(0, 8), (8, 8), Vec::new()),
            ("other bits", words(64, 8), (8, 8), Vec::new()),
            ("half a word", words(4, 8), (12, 8), Vec::new()),
            ("another code", other_code, (8, 8), Vec::new()),
            ("no rows", CODES, (0, 8), Vec::new()),
            ("no columns", CODES, (8, 0), Vec::new()),
            ("too many", SCALED, (u64::MAX, 2), scale(1)),
            ("too many words", words(8, 1), (1 << 32, 1 << 30), Vec::new()),
            ("half a group", Quantized::Fp4 { scales: Fp4Scales::Powers }, (8, 48), Vec::new()),
            ("nine bits", packed(9, 32), (8, 32), Vec::new()),
            ("no bits at all", packed(0, 32), (8, 32), Vec::new()),
            ("packed groups of nothing", packed(4, 0), (8, 32), Vec::new()),
            ("too many packed", packed(8, 1), (1 << 33, 1 << 31), Vec::new()),
        ] {
            assert_eq!(form.lengths(rows, columns, &companions), None, "{what}");
        }
    }
}
