//! Planar rows to `f32`: the plain truth that kernels and quantizers are compared with.
//!
//! Scales are multiplied first, as GGML's `dequantize_row_*` do: `(d * sc) * q - (dmin * mn)`.

use crate::Result;
use crate::encoding::plain::{e4m3_to_f32, f16_to_f32, widen};
use crate::encoding::{Encoding, check_len, codebook, iquants};

/// Decodes one planar row of `encoding.row_stride(columns)` bytes; `out` is `[columns]`.
///
/// # Errors
/// [`ErrorKind::Argument`](crate::ErrorKind) where a slice has the wrong length.
pub fn decode_row(encoding: Encoding, row: &[u8], columns: u64, out: &mut [f32]) -> Result<()> {
    check_len("decoded row", out.len(), columns)?;
    check_len("planar row", row.len(), encoding.row_stride(columns))?;
    let bytes = |index| &row[encoding.plane_offset(columns, index) as usize..];
    // One closure for each: the weight of a column.
    match encoding {
        Encoding::F32 | Encoding::F16 | Encoding::BF16 => {
            let len = super::plain::value_len(encoding)? as usize * out.len();
            return widen(encoding, &row[..len], out);
        }
        Encoding::Q8_0 => fill(out, |c| half(bytes(1), c / 32) * f32::from(bytes(0)[c] as i8)),
        Encoding::Q4_0 => fill(out, |c| half(bytes(1), c / 32) * (bits::<4>(bytes(0), c) - 8.0)),
        Encoding::Q4_1 => fill(out, |c| scale_and_minimum(bytes(1), c / 32, bits::<4>(bytes(0), c))),
        Encoding::Q5_0 => fill(out, |c| half(bytes(2), c / 32) * (five_bits(bytes(0), bytes(1), c) - 16.0)),
        Encoding::Q5_1 => fill(out, |c| scale_and_minimum(bytes(2), c / 32, five_bits(bytes(0), bytes(1), c))),
        Encoding::Q4_K => fill(out, |c| k_weight(bytes(1), c, bits::<4>(bytes(0), c))),
        Encoding::Q5_K => fill(out, |c| k_weight(bytes(2), c, five_bits(bytes(0), bytes(1), c))),
        Encoding::Q6_K => fill(out, |c| {
            let q = bits::<4>(bytes(0), c) + 16.0 * bits::<2>(bytes(1), c);
            half(bytes(3), c / 256) * f32::from(bytes(2)[c / 16] as i8) * (q - 32.0)
        }),
        Encoding::Q2_K => fill(out, |c| {
            let (d, pair) = (&bytes(2)[c / 256 * 4..], bytes(1)[c / 16]);
            half(d, 0) * f32::from(pair & 15) * bits::<2>(bytes(0), c) - half(d, 1) * f32::from(pair >> 4)
        }),
        Encoding::Q3_K => fill(out, |c| {
            let q = bits::<2>(bytes(0), c) + 4.0 * bits::<1>(bytes(1), c);
            half(bytes(3), c / 256) * q3_scale(&bytes(2)[c / 256 * 12..], c % 256 / 16) * (q - 4.0)
        }),
        Encoding::IQ4_NL => fill(out, |c| half(bytes(1), c / 32) * IQ4[bits::<4>(bytes(0), c) as usize]),
        Encoding::IQ4_XS => fill(out, |c| {
            let header = &bytes(1)[c / 256 * 8..];
            half(header, 0) * iq4_xs_scale(header, c % 256 / 32) * IQ4[bits::<4>(bytes(0), c) as usize]
        }),
        Encoding::TQ1_0 => fill(out, |c| half(bytes(1), c / 256) * (trit(&bytes(0)[c / 256 * 52..], c % 256) - 1.0)),
        Encoding::TQ2_0 => fill(out, |c| half(bytes(1), c / 256) * (bits::<2>(bytes(0), c) - 1.0)),
        Encoding::Q1_0 => fill(out, |c| half(bytes(1), c / 128) * (2.0 * bits::<1>(bytes(0), c) - 1.0)),
        Encoding::IQ2_XXS
        | Encoding::IQ2_XS
        | Encoding::IQ2_S
        | Encoding::IQ3_XXS
        | Encoding::IQ3_S
        | Encoding::IQ1_S
        | Encoding::IQ1_M => iquants::decode(encoding, row, columns, out),
        Encoding::F8_E4M3 => fill(out, |c| float(bytes(1), c / 128) * e4m3_to_f32(bytes(0)[c])),
        Encoding::I8 => fill(out, |c| float(bytes(1), 0) * f32::from(bytes(0)[c] as i8)),
        Encoding::NF4 => fill(out, |c| float(bytes(1), c / 64) * codebook::NF4[bits::<4>(bytes(0), c) as usize]),
        Encoding::FP4 => fill(out, |c| float(bytes(1), c / 64) * codebook::FP4[bits::<4>(bytes(0), c) as usize]),
        Encoding::Q4_Z => fill(out, |c| scale_and_zero(bytes(1), c / 32, bits::<4>(bytes(0), c))),
        Encoding::Q4_Z128 => fill(out, |c| scale_and_zero(bytes(1), c / 128, bits::<4>(bytes(0), c))),
        Encoding::Q4_B => fill(out, |c| brain(bytes(1), c / 32) * (bits::<4>(bytes(0), c) - 8.0)),
        Encoding::Q4_B128 => fill(out, |c| brain(bytes(1), c / 128) * (bits::<4>(bytes(0), c) - 8.0)),
        Encoding::Q4_ZB => fill(out, |c| brain_and_zero(bytes(1), c / 32, bits::<4>(bytes(0), c))),
        Encoding::Q4_ZB128 => fill(out, |c| brain_and_zero(bytes(1), c / 128, bits::<4>(bytes(0), c))),
        Encoding::NVFP4 => fill(out, |c| {
            // GGML's table has no zero below zero.
            let q = fp4(bytes(0)[c / 2] >> (c % 2 * 4) & 15) + 0.0;
            float(bytes(2), 0) * (ue4m3(bytes(1)[c / 16]) * q)
        }),
        Encoding::MXFP4 => fill(out, |c| power_of_two(bytes(1)[c / 32]) * fp4(bytes(0)[c / 2] >> (c % 2 * 4) & 15)),
    }
    Ok(())
}

/// What the nibbles of IQ4_NL and IQ4_XS stand for.
pub const IQ4: [f32; 16] =
    [-127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0];

fn fill(out: &mut [f32], weight: impl Fn(usize) -> f32) {
    for (column, out) in out.iter_mut().enumerate() {
        *out = weight(column);
    }
}

/// `2^(s - 127)`; 255 is not a number.
pub(crate) fn power_of_two(s: u8) -> f32 {
    match s {
        // Below the normal numbers.
        0 => f32::from_bits(1 << 22),
        255 => f32::NAN,
        _ => f32::from_bits(u32::from(s) << 23),
    }
}

/// A scale of NVFP4: e4m3 whose sign counts for nothing, and 127, which is no number, for zero.
fn ue4m3(bits: u8) -> f32 {
    if bits == 127 {
        return 0.0;
    }
    let (exponent, mantissa) = (i32::from(bits >> 3 & 15), f32::from(bits & 7));
    if exponent == 0 { mantissa / 512.0 } else { (1.0 + mantissa / 8.0) * 2.0_f32.powi(exponent - 7) }
}

/// A number of four bits: sign, two of exponent, one of mantissa.
pub(crate) fn fp4(bits: u8) -> f32 {
    const MAGNITUDES: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    let magnitude = MAGNITUDES[usize::from(bits & 7)];
    if bits & 8 == 0 { magnitude } else { -magnitude }
}

/// Entry `index` of a plane of f16.
fn half(plane: &[u8], index: usize) -> f32 {
    f16_to_f32(u16::from_le_bytes([plane[2 * index], plane[2 * index + 1]]))
}

/// Entry `index` of a plane of bf16.
fn brain(plane: &[u8], index: usize) -> f32 {
    f32::from_le_bytes([0, 0, plane[2 * index], plane[2 * index + 1]])
}

/// Entry `index` of a plane of f32.
fn float(plane: &[u8], index: usize) -> f32 {
    f32::from_le_bytes([plane[4 * index], plane[4 * index + 1], plane[4 * index + 2], plane[4 * index + 3]])
}

/// Entry `column` of a plane of N-bit numbers, least significant bits first.
fn bits<const N: usize>(plane: &[u8], column: usize) -> f32 {
    f32::from(plane[column * N / 8] >> (column * N % 8) & ((1 << N) - 1))
}

fn five_bits(low: &[u8], high: &[u8], column: usize) -> f32 {
    bits::<4>(low, column) + 16.0 * bits::<1>(high, column)
}

/// `d * q + m` with the pair (d, m) of block `index`.
fn scale_and_minimum(plane: &[u8], index: usize, q: f32) -> f32 {
    half(plane, 2 * index) * q + half(plane, 2 * index + 1)
}

/// `d * (q - z)` with the pair (d, z) of block `index`.
fn scale_and_zero(plane: &[u8], index: usize, q: f32) -> f32 {
    half(plane, 2 * index) * (q - half(plane, 2 * index + 1))
}

/// The same in bf16.
fn brain_and_zero(plane: &[u8], index: usize, q: f32) -> f32 {
    brain(plane, 2 * index) * (q - brain(plane, 2 * index + 1))
}

/// `(d * sc) * q - (dmin * mn)` with the header of the column's 256 and its pair of the column's 32.
fn k_weight(headers: &[u8], column: usize, q: f32) -> f32 {
    let header = &headers[column / 256 * 16..][..16];
    let (sc, mn) = k_scales(&header[4..], column % 256 / 32);
    half(header, 0) * sc * q - half(header, 1) * mn
}

/// Pair `index` (0..8) of the 6-bit scales and minima that a K-quant packs into 12 bytes.
///
/// Four pairs have six bits of bytes 0..4 and 4..8; the others have their low four bits in bytes 8..12 and the top two
/// in the top bits of the first eight.
fn k_scales(packed: &[u8], index: usize) -> (f32, f32) {
    let (sc, mn) = if index < 4 {
        (packed[index] & 63, packed[index + 4] & 63)
    } else {
        let low = packed[index + 4];
        (low & 15 | packed[index - 4] >> 6 << 4, low >> 4 | packed[index] >> 6 << 4)
    };
    (f32::from(sc), f32::from(mn))
}

/// Scale `index` (0..16) of the 6-bit ones that Q3_K packs into 12 bytes.
///
/// The low four bits of scales i and i + 8 are the nibbles of byte i; the two high bits of i, i + 4, i + 8 and i + 12 are
/// the pairs of byte 8 + i.
fn q3_scale(packed: &[u8], index: usize) -> f32 {
    let low = packed[index % 8] >> (index / 8 * 4) & 15;
    let high = packed[8 + index % 4] >> (index / 4 * 2) & 3;
    f32::from(low | high << 4) - 32.0
}

/// Scale `index` (0..8) of an IQ4_XS header: its two high bits are a pair of bytes 2 and 3, its low four a nibble of 4..8.
fn iq4_xs_scale(header: &[u8], index: usize) -> f32 {
    let low = header[4 + index / 2] >> (index % 2 * 4) & 15;
    let high = header[2 + index / 4] >> (index % 4 * 2) & 3;
    f32::from(low | high << 4) - 32.0
}

/// Trit `column` (0..256) of the 52 bytes of TQ1_0.
///
/// A byte is a fraction of 256 whose digits in base 3, the first the highest, belong to columns that lie 32 apart (in the
/// first 32 bytes, five each), 16 apart (in the next 16) or 4 apart (in the last four, of four digits).
fn trit(packed: &[u8], column: usize) -> f32 {
    let (at, digit) = match column {
        0..160 => (column % 32, column / 32),
        160..240 => (32 + column % 16, (column - 160) / 16),
        _ => (48 + column % 4, (column - 240) / 4),
    };
    let rest = packed[at].wrapping_mul([1, 3, 9, 27, 81][digit]);
    f32::from(((u16::from(rest) * 3) >> 8) as u8)
}
