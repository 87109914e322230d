//! Repacking and decoding against decoders of GGUF's own blocks, written from the format without the planar layout.

use proptest::prelude::*;

use super::*;
use crate::encoding::{decode_row, grids};

fn f16_at(bytes: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// Decodes one GGUF block column by column, with the indices of the format's description.
fn decode_block(encoding: Encoding, b: &[u8]) -> Vec<f32> {
    let nibble = |qs: &[u8], j: usize| if j < 16 { qs[j] & 15 } else { qs[j - 16] >> 4 };
    let nibble_of = |qs: &[u8], j: usize| if j < 8 { qs[j] & 15 } else { qs[j - 8] >> 4 };
    let fifth = |at: usize, j: usize| {
        let qh = u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        ((qh >> j & 1) << 4) as u8
    };
    let column = |j: usize| match encoding {
        Encoding::Q8_0 => f16_at(b, 0) * f32::from(b[2 + j] as i8),
        Encoding::Q4_0 => (f32::from(nibble(&b[2..], j)) - 8.0) * f16_at(b, 0),
        Encoding::Q4_1 => f32::from(nibble(&b[4..], j)) * f16_at(b, 0) + f16_at(b, 2),
        Encoding::Q5_0 => (f32::from(nibble(&b[6..], j) | fifth(2, j)) - 16.0) * f16_at(b, 0),
        Encoding::Q5_1 => f32::from(nibble(&b[8..], j) | fifth(4, j)) * f16_at(b, 0) + f16_at(b, 2),
        Encoding::Q4_K => k_block(b, &b[16..], |_| 0, j),
        Encoding::Q5_K => k_block(b, &b[48..], |j| (b[16 + j % 32] >> (j / 32) & 1) << 4, j),
        Encoding::Q6_K => {
            let (part, l) = (j / 128, j % 32);
            let (ql, qh) = (&b[64 * part..], &b[128 + 32 * part..]);
            let q = match j % 128 / 32 {
                0 => ql[l] & 15 | (qh[l] & 3) << 4,
                1 => ql[l + 32] & 15 | (qh[l] >> 2 & 3) << 4,
                2 => ql[l] >> 4 | (qh[l] >> 4 & 3) << 4,
                _ => ql[l + 32] >> 4 | (qh[l] >> 6 & 3) << 4,
            };
            f16_at(b, 208) * f32::from(b[192 + j / 16] as i8) * (f32::from(q) - 32.0)
        }
        Encoding::Q2_K => {
            let scale = b[j / 16];
            let q = b[16 + 32 * (j / 128) + j % 32] >> (2 * (j % 128 / 32)) & 3;
            let (d, min) = (f16_at(b, 80) * f32::from(scale & 0xf), f16_at(b, 82) * f32::from(scale >> 4));
            d * f32::from(q) - min
        }
        Encoding::Q3_K => {
            let q = b[32 + 32 * (j / 128) + j % 32] >> (2 * (j % 128 / 32)) & 3;
            // Without its high bit a quant is four less.
            let less = if b[j % 32] >> (j / 32) & 1 == 1 { 0 } else { 4 };
            f16_at(b, 108) * f32::from(q3_scales(&b[96..108])[j / 16]) * f32::from(q as i8 - less)
        }
        Encoding::IQ4_NL => f16_at(b, 0) * f32::from(IQ4_VALUES[nibble(&b[2..], j) as usize]),
        Encoding::IQ4_XS => {
            let (group, high) = (j / 32, u16::from_le_bytes([b[2], b[3]]));
            let low = if group % 2 == 0 { b[4 + group / 2] & 15 } else { b[4 + group / 2] >> 4 };
            let scale = i16::from(low) + ((high >> (2 * group) & 3) << 4) as i16 - 32;
            let value = IQ4_VALUES[nibble(&b[8 + 16 * group..], j % 32) as usize];
            f16_at(b, 0) * f32::from(scale) * f32::from(value)
        }
        Encoding::TQ1_0 => f16_at(b, 52) * f32::from(trits(b)[j]),
        Encoding::TQ2_0 => {
            let q = b[32 * (j / 128) + j % 32] >> (2 * (j % 128 / 32)) & 3;
            f16_at(b, 64) * (f32::from(q) - 1.0)
        }
        // The format's table has twice the values, and half the scale.
        Encoding::MXFP4 => {
            let (q, magnitudes) = (nibble(&b[1..], j), [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0]);
            let twice = if q < 8 { magnitudes[usize::from(q)] } else { -magnitudes[usize::from(q - 8)] };
            let scale = if b[0] == 255 { f64::NAN } else { 2.0_f64.powi(i32::from(b[0]) - 128) };
            (twice * scale) as f32
        }
        Encoding::Q1_0 => {
            let d = f16_at(b, 0);
            if b[2 + j / 8] >> (j % 8) & 1 == 1 { d } else { -d }
        }
        Encoding::NVFP4 => {
            let magnitudes = [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0];
            let q = nibble_of(&b[4 + 8 * (j / 16)..][..8], j % 16);
            let twice = if q <= 8 { magnitudes[usize::from(q % 8)] } else { -magnitudes[usize::from(q - 8)] };
            let scale = b[j / 16];
            let (exponent, mantissa) = (f32::from(scale >> 3 & 15), f32::from(scale % 8));
            let fraction = if exponent == 0.0 { mantissa / 4.0 } else { 2.0 + mantissa / 4.0 };
            let scale = if scale == 127 { 0.0 } else { fraction * (exponent.max(1.0) - 8.0).exp2() };
            scale * 0.5 * twice
        }
        _ => grid_column(encoding, b, j),
    };
    (0..block(encoding).unwrap().0 as usize).map(column).collect()
}

/// A column of a block with a grid, by the places that GGML's loops read for it.
fn grid_column(encoding: Encoding, b: &[u8], j: usize) -> f32 {
    let (ib32, l, bit) = (j / 32, j % 32 / 8, j % 8);
    let word = |at: usize| u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
    let short = |at: usize| u32::from(b[at]) + 256 * u32::from(b[at + 1]);
    let (first, _) = grids::place(encoding).expect("it has a grid");
    let level =
        |index: u32, width: usize, i: usize| grids::GRIDS[first + index as usize] >> (width * i) & ((1 << width) - 1);
    let two_bits = |index: u32| [8.0, 25.0, 43.0][usize::from(level(index, 2, bit))];
    let three_bits = |index: u32| f32::from(level(index, 4, bit % 4));
    let sign = |signs: u32| if signs >> bit & 1 == 1 { -1.0 } else { 1.0 };
    // Of seven signs the eighth is the sum of all, modulo 2.
    let of_seven = |signs: u32| sign(signs & 127 | (0..7).fold(0, |sum, i| sum ^ signs >> i & 1) << 7);
    let (d, sub) = (f16_at(b, 0), j / 16);
    let nibble = |at: usize, index: usize| f32::from(b[at + index / 2] >> (4 * (index % 2)) & 15);
    match encoding {
        Encoding::IQ2_XXS => {
            let aux = word(2 + 8 * ib32 + 4);
            let db = d * (0.5 + (aux >> 28) as f32) * 0.25;
            db * two_bits(b[2 + 8 * ib32 + l].into()) * of_seven(aux >> (7 * l))
        }
        Encoding::IQ2_XS => {
            let q = short(2 + 2 * (4 * ib32 + l));
            d * (0.5 + nibble(66, sub)) * 0.25 * two_bits(q & 511) * of_seven(q >> 9)
        }
        Encoding::IQ2_S => {
            let (at, high) = (4 * ib32 + l, u32::from(b[66 + ib32]));
            let index = u32::from(b[2 + at]) + 256 * (high >> (2 * l) & 3);
            d * (0.5 + nibble(74, sub)) * 0.25 * two_bits(index) * sign(b[34 + at].into())
        }
        Encoding::IQ3_XXS => {
            let aux = word(66 + 4 * ib32);
            let value = three_bits(b[2 + j / 4].into()) * 8.0 + 4.0;
            let value = if value == 60.0 { 62.0 } else { value };
            d * (0.5 + (aux >> 28) as f32) * 0.5 * value * of_seven(aux >> (7 * l))
        }
        Encoding::IQ3_S => {
            let high = u32::from(b[66 + ib32] >> (j % 32 / 4) & 1);
            let value = three_bits(u32::from(b[2 + j / 4]) + 256 * high) * 2.0 + 1.0;
            d * (1.0 + 2.0 * nibble(106, ib32)) * value * sign(b[74 + j / 8].into())
        }
        Encoding::IQ1_S => {
            let qh = short(34 + 2 * ib32);
            let index = u32::from(b[2 + 4 * ib32 + l]) + 256 * (qh >> (3 * l) & 7);
            let delta = if qh & 0x8000 == 0 { 0.125 } else { -0.125 };
            d * (2.0 * (qh >> 12 & 7) as f32 + 1.0) * (f32::from(level(index, 2, bit)) - 1.0 + delta)
        }
        Encoding::IQ1_M => {
            let qh = u32::from(b[32 + j / 16] >> (4 * (j / 8 % 2)) & 15);
            let scales = [48, 50, 52, 54].map(short);
            let d = scales.iter().rev().fold(0, |d, scale| d << 4 | scale >> 12);
            let scale = scales[sub / 4] >> (3 * (sub % 4)) & 7;
            let delta = if qh & 8 == 0 { 0.125 } else { -0.125 };
            let index = u32::from(b[j / 8]) + 256 * (qh & 7);
            let d = half::f16::from_bits(d as u16).to_f32();
            d * (2.0 * scale as f32 + 1.0) * (f32::from(level(index, 2, bit)) - 1.0 + delta)
        }
        _ => unreachable!("plain encodings have no blocks"),
    }
}

/// `kvalues_iq4nl` of GGML.
const IQ4_VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// The sixteen scales of Q3_K, unpacked a word of four at a time as GGML does it.
fn q3_scales(packed: &[u8]) -> Vec<i8> {
    let word = |at: usize| u32::from_le_bytes([packed[at], packed[at + 1], packed[at + 2], packed[at + 3]]);
    let (a, b, high) = (word(0), word(4), word(8));
    let four = |low: u32, pairs: u32| (low & 0x0f0f_0f0f) | (high >> pairs & 0x0303_0303) << 4;
    let words = [four(a, 0), four(b, 2), four(a >> 4, 4), four(b >> 4, 6)];
    words.iter().flat_map(|word| word.to_le_bytes()).map(|scale| scale as i8 - 32).collect()
}

/// The values of TQ1_0 in the order in which GGML writes them.
fn trits(b: &[u8]) -> Vec<i8> {
    let mut values = Vec::new();
    for (bytes, digits) in [(&b[..32], 5), (&b[32..48], 5), (&b[48..52], 4)] {
        for digit in 0..digits {
            let power = 3_u32.pow(digit);
            values.extend(bytes.iter().map(|byte| ((u32::from(*byte) * power % 256 * 3) / 256) as i8 - 1));
        }
    }
    values
}

fn k_block(b: &[u8], qs: &[u8], high: impl Fn(usize) -> u8, j: usize) -> f32 {
    let (s, is) = (&b[4..16], j / 32);
    let (sc, m) = if is < 4 {
        (s[is] & 63, s[is + 4] & 63)
    } else {
        (s[is + 4] & 0xf | (s[is - 4] >> 6) << 4, s[is + 4] >> 4 | (s[is] >> 6) << 4)
    };
    let byte = qs[32 * (j / 64) + j % 32];
    let q = (if is % 2 == 0 { byte & 15 } else { byte >> 4 }) | high(j);
    let (d, min) = (f16_at(b, 0) * f32::from(sc), f16_at(b, 2) * f32::from(m));
    d * f32::from(q) - min
}

fn packed() -> impl Iterator<Item = Encoding> {
    blocks().map(|(encoding, _)| encoding)
}

fn repacked(encoding: Encoding, blocks: &[u8], columns: u64) -> Vec<u8> {
    // A dirty buffer shows bytes that repacking forgets.
    let mut row = vec![0xa5; encoding.row_stride(columns) as usize];
    repack_row(encoding, blocks, columns, &mut row).unwrap();
    row
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan())
}

proptest! {
    #[test]
    fn repacked_rows_decode_as_their_blocks(which in 0..packed().count(), count in 1u64..6, seed: u64) {
        let encoding = packed().nth(which).unwrap();
        let (block_columns, block_bytes) = block(encoding).unwrap();
        let mut state = seed | 1;
        let mut byte = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 56) as u8
        };
        let mut blocks: Vec<u8> = (0..count * block_bytes).map(|_| byte()).collect();
        let columns = count * block_columns;
        let row = repacked(encoding, &blocks, columns);
        let mut decoded = vec![0.0; columns as usize];
        decode_row(encoding, &row, columns, &mut decoded).unwrap();
        let expected: Vec<f32> =
            blocks.chunks(block_bytes as usize).flat_map(|block| decode_block(encoding, block)).collect();
        prop_assert!(same_bits(&decoded, &expected), "{encoding:?}");

        // The comparison sees a single flipped bit.
        let at = byte() as usize % blocks.len();
        blocks[at] ^= 1 << (byte() % 8);
        prop_assert_ne!(row, repacked(encoding, &blocks, columns));
    }
}

#[test]
fn repacking_loses_no_bit() {
    // Each bit of a block must change the planar row, or it was dropped.
    for encoding in packed() {
        let (columns, bytes) = block(encoding).unwrap();
        let zero = vec![0u8; bytes as usize];
        let base = repacked(encoding, &zero, columns);
        let mut seen = std::collections::BTreeSet::new();
        for bit in 0..bytes as usize * 8 {
            let mut blocks = zero.clone();
            blocks[bit / 8] ^= 1 << (bit % 8);
            let row = repacked(encoding, &blocks, columns);
            let changed: u32 = row.iter().zip(&base).map(|(a, b)| (a ^ b).count_ones()).sum();
            assert_eq!(changed, 1, "{encoding:?} bit {bit}");
            assert!(seen.insert(row), "{encoding:?} bit {bit} lands where another does");
        }
    }
}

#[test]
fn wrong_lengths_are_refused() {
    let mut out = vec![0; Encoding::Q4_K.row_stride(256) as usize];
    assert_eq!(repack_row(Encoding::Q4_K, &[0; 144], 128, &mut out).unwrap_err().kind(), ErrorKind::Malformed);
    assert_eq!(repack_row(Encoding::Q4_K, &[], 0, &mut out).unwrap_err().kind(), ErrorKind::Malformed);
    assert_eq!(repack_row(Encoding::Q4_K, &[0; 143], 256, &mut out).unwrap_err().kind(), ErrorKind::Argument);
    assert_eq!(repack_row(Encoding::Q4_K, &[0; 144], 256, &mut out[1..]).unwrap_err().kind(), ErrorKind::Argument);
    assert_eq!(repack_row(Encoding::BF16, &[0; 64], 32, &mut [0; 64]).unwrap_err().kind(), ErrorKind::Argument);
    assert!(row_len(Encoding::Q8_0, u64::MAX - 31).is_err());
}
