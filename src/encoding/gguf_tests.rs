//! Repacking and decoding against decoders of GGUF's own blocks, written from the format without the planar layout.

use proptest::prelude::*;

use super::*;
use crate::encoding::{ENCODINGS, decode_row};

fn f16_at(bytes: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// Decodes one GGUF block column by column, with the indices of the format's description.
fn decode_block(encoding: Encoding, b: &[u8]) -> Vec<f32> {
    let nibble = |qs: &[u8], j: usize| if j < 16 { qs[j] & 15 } else { qs[j - 16] >> 4 };
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
        // The format's table has twice the values, and half the scale.
        Encoding::MXFP4 => {
            let (q, magnitudes) = (nibble(&b[1..], j), [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0]);
            let twice = if q < 8 { magnitudes[usize::from(q)] } else { -magnitudes[usize::from(q - 8)] };
            let scale = if b[0] == 255 { f64::NAN } else { 2.0_f64.powi(i32::from(b[0]) - 128) };
            (twice * scale) as f32
        }
        _ => unreachable!("plain encodings have no blocks"),
    };
    (0..block(encoding).unwrap().0 as usize).map(column).collect()
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
    ENCODINGS.iter().map(|row| row.encoding).filter(|encoding| block(*encoding).is_some())
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
    fn repacked_rows_decode_as_their_blocks(which in 0usize..9, count in 1u64..6, seed: u64) {
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
