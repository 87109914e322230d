//! GGUF's blocks: their sizes, and repacking a row of them into the planar layout of [`Encoding`]. No number changes.
//!
//! Block layouts are those of GGML's `ggml-common.h`; see each function. Bytes are little-endian.

use std::ops::Range;

use crate::encoding::{Encoding, check_len};
use crate::{Error, ErrorKind, Result};

/// Columns and bytes of one GGUF block; `None` for encodings that GGUF stores plainly, or does not know.
pub fn block(encoding: Encoding) -> Option<(u64, u64)> {
    Some(match encoding {
        Encoding::Q4_0 => (32, 18),
        Encoding::Q4_1 => (32, 20),
        Encoding::Q5_0 => (32, 22),
        Encoding::Q5_1 => (32, 24),
        Encoding::Q8_0 => (32, 34),
        Encoding::Q4_K => (256, 144),
        Encoding::Q5_K => (256, 176),
        Encoding::Q6_K => (256, 210),
        Encoding::Q2_K => (256, 84),
        Encoding::Q3_K => (256, 110),
        Encoding::IQ4_NL => (32, 18),
        Encoding::IQ4_XS => (256, 136),
        Encoding::TQ1_0 => (256, 54),
        Encoding::TQ2_0 => (256, 66),
        Encoding::Q1_0 => (128, 18),
        Encoding::IQ2_XXS => (256, 66),
        Encoding::IQ2_XS => (256, 74),
        Encoding::IQ2_S => (256, 82),
        Encoding::IQ3_XXS => (256, 98),
        Encoding::IQ3_S => (256, 110),
        Encoding::IQ1_S => (256, 50),
        Encoding::IQ1_M => (256, 56),
        Encoding::MXFP4 => (32, 17),
        Encoding::NVFP4 => (64, 36),
        _ => return None,
    })
}

/// The encodings that have blocks, with their columns and bytes.
#[cfg(test)]
pub(super) fn blocks() -> impl Iterator<Item = (Encoding, (u64, u64))> {
    super::ENCODINGS.iter().filter_map(|row| Some((row.encoding, block(row.encoding)?)))
}

/// Bytes of a row of `columns` in GGUF's blocks.
///
/// # Errors
/// [`ErrorKind::Argument`] for a plain encoding, [`ErrorKind::Malformed`] where the columns do not fill whole blocks.
pub fn row_len(encoding: Encoding, columns: u64) -> Result<u64> {
    let Some((block_columns, block_bytes)) = block(encoding) else {
        return Err(Error::new(ErrorKind::Argument, format!("{} has no GGUF blocks", encoding.name())));
    };
    if columns == 0 || !columns.is_multiple_of(block_columns) {
        let message = format!("{columns} columns are not a multiple of the {block_columns} of {}", encoding.name());
        return Err(Error::new(ErrorKind::Malformed, message));
    }
    let bytes = (columns / block_columns).checked_mul(block_bytes);
    bytes.ok_or_else(|| Error::new(ErrorKind::Malformed, format!("a row of {columns} columns is too long")))
}

/// Repacks one row of GGUF blocks into a planar row: `out` is `encoding.row_stride(columns)` bytes.
///
/// # Errors
/// As [`row_len`], and [`ErrorKind::Argument`] where a slice has the wrong length.
pub fn repack_row(encoding: Encoding, gguf_blocks: &[u8], columns: u64, out: &mut [u8]) -> Result<()> {
    check_len("GGUF row", gguf_blocks.len(), row_len(encoding, columns)?)?;
    check_len("planar row", out.len(), encoding.row_stride(columns))?;
    // Planes end before their padding, and the padding must not hold what the buffer held before.
    out.fill(0);
    match encoding {
        Encoding::Q8_0 => repack_q8_0(gguf_blocks, Planes::new(encoding, columns, out)),
        Encoding::Q4_0 => repack_nibbles::<18, 2, 0>(gguf_blocks, Planes::new(encoding, columns, out)),
        Encoding::Q4_1 => repack_nibbles::<20, 4, 0>(gguf_blocks, Planes::new(encoding, columns, out)),
        Encoding::Q5_0 => repack_nibbles::<22, 2, 4>(gguf_blocks, Planes::new(encoding, columns, out)),
        Encoding::Q5_1 => repack_nibbles::<24, 4, 4>(gguf_blocks, Planes::new(encoding, columns, out)),
        Encoding::Q4_K => repack_q4_k(gguf_blocks, Planes::new(encoding, columns, out)),
        Encoding::Q5_K => repack_q5_k(gguf_blocks, Planes::new(encoding, columns, out)),
        Encoding::MXFP4 => repack_nibbles::<17, 1, 0>(gguf_blocks, Planes::new(encoding, columns, out)),
        Encoding::NVFP4 => repack_nvfp4(gguf_blocks, Planes::new(encoding, columns, out)),
        Encoding::Q6_K => repack_q6_k(gguf_blocks, Planes::new(encoding, columns, out)),
        Encoding::Q2_K => repack_q2_k(gguf_blocks, Planes::new(encoding, columns, out)),
        Encoding::Q3_K => repack_q3_k(gguf_blocks, Planes::new(encoding, columns, out)),
        // The nibbles are numbers of a table, and lie as in Q4_0.
        Encoding::IQ4_NL => repack_nibbles::<18, 2, 0>(gguf_blocks, Planes::new(encoding, columns, out)),
        Encoding::IQ4_XS => repack_iq4_xs(gguf_blocks, Planes::new(encoding, columns, out)),
        Encoding::TQ1_0 => repack_tq1_0(gguf_blocks, Planes::new(encoding, columns, out)),
        Encoding::TQ2_0 => repack_tq2_0(gguf_blocks, Planes::new(encoding, columns, out)),
        // Those whose fields are kept whole; `row_len` has refused all others.
        _ => repack_fields(encoding, gguf_blocks, Planes::new(encoding, columns, out)),
    }
    Ok(())
}

/// The planes of a row, cut apart; a row has two to four.
struct Planes<'a>([&'a mut [u8]; 4]);

impl<'a> Planes<'a> {
    fn new(encoding: Encoding, columns: u64, out: &'a mut [u8]) -> Self {
        let mut planes: [&mut [u8]; 4] = Default::default();
        let mut rest = out;
        for (index, slot) in planes.iter_mut().enumerate().take(encoding.descriptor().planes.len()) {
            let len = encoding.plane_offset(columns, index + 1) - encoding.plane_offset(columns, index);
            // The caller has checked that `out` holds the whole stride, so the planes fit and in usize.
            (*slot, rest) = rest.split_at_mut(len as usize);
        }
        Self(planes)
    }
}

/// Splits `low` and `high` nibbles of `bytes` into two runs of natural order, packed two to a byte.
///
/// GGUF keeps column j in the low nibble of byte j and column j + n in its high nibble (n bytes).
fn unzip_nibbles(bytes: &[u8], out: &mut [u8]) {
    let (low, high) = out.split_at_mut(bytes.len() / 2);
    for ((pair, low), high) in bytes.chunks_exact(2).zip(low).zip(high) {
        *low = pair[0] & 15 | pair[1] << 4;
        *high = pair[0] >> 4 | pair[1] & 0xf0;
    }
}

/// Two bits of 256 columns, of which each 128 have 32 bytes: bits 2 g of byte l belong to column 32 g + l.
fn unzip_pairs(bytes: &[u8], out: &mut [u8]) {
    for (bytes, out) in bytes.chunks_exact(32).zip(out.chunks_exact_mut(32)) {
        for (byte, four) in bytes.chunks_exact(4).enumerate() {
            for group in 0..4 {
                let pairs = four.iter().enumerate().map(|(i, pairs)| (pairs >> (2 * group) & 3) << (2 * i));
                out[group * 8 + byte] = pairs.fold(0, |all, pair| all | pair);
            }
        }
    }
}

/// One bit of 256 columns: bit s of byte l belongs to column 32 s + l.
fn unzip_bits(bytes: &[u8], out: &mut [u8]) {
    for (byte, eight) in bytes.chunks_exact(8).enumerate() {
        for segment in 0..8 {
            let bits = eight.iter().enumerate().map(|(bit, bits)| (bits >> segment & 1) << bit);
            out[segment * 4 + byte] = bits.fold(0, |all, bit| all | bit);
        }
    }
}

/// The bytes of a block that each plane keeps as they are, for Q1_0 and the encodings with a grid. All but IQ1_M
/// begin with f16 d.
fn fields(encoding: Encoding) -> &'static [Range<usize>] {
    match encoding {
        // Bits.
        Encoding::Q1_0 => &[2..18, 0..2],
        // Indices, signs and scales.
        Encoding::IQ2_XXS => &[2..66, 0..2],
        // Indices and signs; scales.
        Encoding::IQ2_XS => &[2..66, 66..74, 0..2],
        // Indices and signs; high bits and scales.
        Encoding::IQ2_S => &[2..66, 66..82, 0..2],
        // Indices; signs and scales.
        Encoding::IQ3_XXS => &[2..66, 66..98, 0..2],
        // Indices; high bits, signs and scales.
        Encoding::IQ3_S => &[2..66, 66..110, 0..2],
        // Indices; high bits, scales and shifts.
        Encoding::IQ1_S => &[2..34, 34..50, 0..2],
        // Indices; high bits and shifts; scales, with d among them.
        Encoding::IQ1_M => &[0..32, 32..48, 48..56],
        _ => &[],
    }
}

fn repack_fields(encoding: Encoding, blocks: &[u8], Planes(planes): Planes) {
    let block_bytes = block(encoding).map_or(1, |(_, bytes)| bytes as usize);
    for (plane, field) in planes.into_iter().zip(fields(encoding)) {
        for (block, out) in blocks.chunks_exact(block_bytes).zip(plane.chunks_exact_mut(field.len())) {
            out.copy_from_slice(&block[field.clone()]);
        }
    }
}

/// f16 d, i8 [32].
fn repack_q8_0(blocks: &[u8], Planes([quants, scales, ..]): Planes) {
    let outs = quants.chunks_exact_mut(32).zip(scales.chunks_exact_mut(2));
    for (block, (quants, scale)) in blocks.chunks_exact(34).zip(outs) {
        scale.copy_from_slice(&block[..2]);
        quants.copy_from_slice(&block[2..]);
    }
}

/// f16 d (, f16 m) [SCALES bytes], high bits (HIGH bytes: 0 or a u32 of one bit a column), nibbles [16 bytes].
fn repack_nibbles<const BLOCK: usize, const SCALES: usize, const HIGH: usize>(blocks: &[u8], planes: Planes) {
    let Planes([quants, second, third, _]) = planes;
    // Without high bits the scales are the second plane.
    let (highs, scales) = if HIGH == 0 { (third, second) } else { (second, third) };
    let outs = quants.chunks_exact_mut(16).zip(scales.chunks_exact_mut(SCALES)).enumerate();
    for (block, (index, (quants, scale))) in blocks.chunks_exact(BLOCK).zip(outs) {
        scale.copy_from_slice(&block[..SCALES]);
        if HIGH != 0 {
            highs[index * HIGH..][..HIGH].copy_from_slice(&block[SCALES..SCALES + HIGH]);
        }
        unzip_nibbles(&block[SCALES + HIGH..], quants);
    }
}

/// Scales [4], nibbles [32]: 8 bytes serve 16 columns. The scale of a row is no part of it: one.
fn repack_nvfp4(blocks: &[u8], Planes([quants, scales, of_row, _]): Planes) {
    let outs = quants.chunks_exact_mut(32).zip(scales.chunks_exact_mut(4));
    for (block, (quants, scales)) in blocks.chunks_exact(36).zip(outs) {
        scales.copy_from_slice(&block[..4]);
        for (bytes, out) in block[4..].chunks_exact(8).zip(quants.chunks_exact_mut(8)) {
            unzip_nibbles(bytes, out);
        }
    }
    of_row[..4].copy_from_slice(&1.0_f32.to_le_bytes());
}

/// Puts the scale of a row, a little-endian f32, where [`repack_row`] put a one.
///
/// # Errors
/// [`ErrorKind::Argument`] for an encoding that has none or a slice of the wrong length, [`ErrorKind::Malformed`] for a scale that
/// is not finite.
pub fn put_row_scale(encoding: Encoding, scale: &[u8], columns: u64, out: &mut [u8]) -> Result<()> {
    check_len("scale of a row", scale.len(), if encoding == Encoding::NVFP4 { 4 } else { 0 })?;
    check_len("planar row", out.len(), encoding.row_stride(columns))?;
    let value = f32::from_le_bytes(scale.try_into().unwrap_or_default());
    if !value.is_finite() {
        return Err(Error::new(ErrorKind::Malformed, format!("its scale {value} is not finite")));
    }
    let at = encoding.plane_offset(columns, 2) as usize;
    out[at..at + scale.len()].copy_from_slice(scale);
    Ok(())
}

/// Header [16], nibbles [128]: 32 bytes serve 64 columns.
fn repack_q4_k(blocks: &[u8], Planes([quants, headers, ..]): Planes) {
    let outs = quants.chunks_exact_mut(128).zip(headers.chunks_exact_mut(16));
    for (block, (quants, header)) in blocks.chunks_exact(144).zip(outs) {
        header.copy_from_slice(&block[..16]);
        for (bytes, out) in block[16..].chunks_exact(32).zip(quants.chunks_exact_mut(32)) {
            unzip_nibbles(bytes, out);
        }
    }
}

/// Header [16], high bits [32], nibbles [128] as in Q4_K.
fn repack_q5_k(blocks: &[u8], Planes([quants, highs, headers, _]): Planes) {
    let outs = quants.chunks_exact_mut(128).zip(highs.chunks_exact_mut(32)).zip(headers.chunks_exact_mut(16));
    for (block, ((quants, highs), header)) in blocks.chunks_exact(176).zip(outs) {
        header.copy_from_slice(&block[..16]);
        unzip_bits(&block[16..48], highs);
        for (bytes, out) in block[48..].chunks_exact(32).zip(quants.chunks_exact_mut(32)) {
            unzip_nibbles(bytes, out);
        }
    }
}

/// Low nibbles [128], high pairs [64], i8 scales [16], f16 d.
///
/// Each half of 128 columns has 64 bytes of nibbles, of which byte l holds columns l (low) and l + 64 (high).
fn repack_q6_k(blocks: &[u8], Planes([quants, highs, scales, supers]): Planes) {
    let outs = quants.chunks_exact_mut(128).zip(highs.chunks_exact_mut(64));
    let outs = outs.zip(scales.chunks_exact_mut(16)).zip(supers.chunks_exact_mut(2));
    for (block, (((quants, highs), scales), scale)) in blocks.chunks_exact(210).zip(outs) {
        for half in 0..2 {
            unzip_nibbles(&block[half * 64..][..64], &mut quants[half * 64..][..64]);
        }
        unzip_pairs(&block[128..192], highs);
        scales.copy_from_slice(&block[192..208]);
        scale.copy_from_slice(&block[208..]);
    }
}

/// Scales and minima [16], pairs [64], f16 d, f16 dmin.
fn repack_q2_k(blocks: &[u8], Planes([quants, scales, supers, _]): Planes) {
    let outs = quants.chunks_exact_mut(64).zip(scales.chunks_exact_mut(16)).zip(supers.chunks_exact_mut(4));
    for (block, ((quants, scales), supers)) in blocks.chunks_exact(84).zip(outs) {
        scales.copy_from_slice(&block[..16]);
        unzip_pairs(&block[16..80], quants);
        supers.copy_from_slice(&block[80..]);
    }
}

/// High bits [32], pairs [64], scales [12], f16 d.
fn repack_q3_k(blocks: &[u8], Planes([quants, highs, scales, supers]): Planes) {
    let outs = quants.chunks_exact_mut(64).zip(highs.chunks_exact_mut(32));
    let outs = outs.zip(scales.chunks_exact_mut(12)).zip(supers.chunks_exact_mut(2));
    for (block, (((quants, highs), scales), scale)) in blocks.chunks_exact(110).zip(outs) {
        unzip_bits(&block[..32], highs);
        unzip_pairs(&block[32..96], quants);
        scales.copy_from_slice(&block[96..108]);
        scale.copy_from_slice(&block[108..]);
    }
}

/// Header [8], nibbles [128]: 16 bytes serve 32 columns.
fn repack_iq4_xs(blocks: &[u8], Planes([quants, headers, ..]): Planes) {
    let outs = quants.chunks_exact_mut(128).zip(headers.chunks_exact_mut(8));
    for (block, (quants, header)) in blocks.chunks_exact(136).zip(outs) {
        header.copy_from_slice(&block[..8]);
        for (bytes, out) in block[8..].chunks_exact(16).zip(quants.chunks_exact_mut(16)) {
            unzip_nibbles(bytes, out);
        }
    }
}

/// Trits [52], f16 d.
fn repack_tq1_0(blocks: &[u8], Planes([trits, supers, ..]): Planes) {
    let outs = trits.chunks_exact_mut(52).zip(supers.chunks_exact_mut(2));
    for (block, (trits, scale)) in blocks.chunks_exact(54).zip(outs) {
        trits.copy_from_slice(&block[..52]);
        scale.copy_from_slice(&block[52..]);
    }
}

/// Pairs [64], f16 d.
fn repack_tq2_0(blocks: &[u8], Planes([quants, supers, ..]): Planes) {
    let outs = quants.chunks_exact_mut(64).zip(supers.chunks_exact_mut(2));
    for (block, (quants, scale)) in blocks.chunks_exact(66).zip(outs) {
        unzip_pairs(&block[..64], quants);
        scale.copy_from_slice(&block[64..]);
    }
}

#[cfg(test)]
#[path = "gguf_tests.rs"]
mod tests;
