use proptest::prelude::*;

use super::*;
use crate::encoding::decode_row;

type Quantize = fn(&[f32], &mut [u8]) -> Result<()>;
const BOTH: [(Encoding, Quantize); 2] = [(Encoding::Q8_0, quantize_row_q8), (Encoding::Q4_1, quantize_row_q4)];

fn round_trip(encoding: Encoding, quantize: Quantize, weights: &[f32]) -> Vec<f32> {
    let columns = weights.len() as u64;
    let mut row = vec![0xa5; encoding.row_stride(columns) as usize];
    quantize(weights, &mut row).unwrap();
    let mut decoded = vec![f32::NAN; weights.len()];
    decode_row(encoding, &row, columns, &mut decoded).unwrap();
    decoded
}

fn squared_error(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
}

/// Weights that look like a trained matrix's: bell-shaped, a few hundredths wide.
fn bell(len: usize, mut state: u64) -> Vec<f32> {
    let mut uniform = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    (0..len).map(|_| ((0..6).map(|_| uniform()).sum::<f32>() - 3.0) * 0.03).collect()
}

#[test]
fn q8_keeps_every_weight_within_half_a_step() {
    for columns in [1, 31, 32, 33, 100, 576] {
        let weights = bell(columns, 7);
        let decoded = round_trip(Encoding::Q8_0, quantize_row_q8, &weights);
        for (x, y) in weights.chunks(32).zip(decoded.chunks(32)) {
            let largest = x.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            // Half a step, and what rounding the scale to f16 adds to 127 steps.
            let tolerance = largest / 127.0 * 0.5 + largest * 0.0005;
            assert!(x.iter().zip(y).all(|(x, y)| (x - y).abs() <= tolerance));
        }
    }
}

#[test]
fn q4_beats_plain_minimum_and_maximum() {
    let weights = bell(4096, 11);
    let decoded = round_trip(Encoding::Q4_1, quantize_row_q4, &weights);
    let mut plain = 0.0;
    for x in weights.chunks(32) {
        let (low, high) = x.iter().fold((x[0], x[0]), |(low, high), x| (low.min(*x), high.max(*x)));
        let (d, m) = (f16::from_f32((high - low) / 15.0).to_f32(), f16::from_f32(low).to_f32());
        let y: Vec<f32> = x.iter().map(|x| d * ((x - m) / d).round().clamp(0.0, 15.0) + m).collect();
        plain += squared_error(x, &y);
    }
    let ours = squared_error(&weights, &decoded);
    assert!(ours < 0.9 * plain, "{ours} against {plain}");
}

#[test]
fn q4_hits_what_it_can_represent() {
    let weights: Vec<f32> = (0..32).map(|i| 0.125 * (i % 16) as f32 - 0.5).collect();
    assert_eq!(round_trip(Encoding::Q4_1, quantize_row_q4, &weights), weights);
}

#[test]
fn constant_and_tiny_blocks_survive() {
    for (encoding, quantize) in BOTH {
        assert_eq!(round_trip(encoding, quantize, &[0.0; 40]), [0.0; 40]);
        for value in [0.5, -0.5, 1e-6, -3e-7, 1e-30, f32::MIN_POSITIVE / 4.0] {
            let decoded = round_trip(encoding, quantize, &[value; 33]);
            assert!(decoded.iter().all(|y| (y - value).abs() <= value.abs() * 0.005 + 3.1e-8), "{encoding:?} {value}");
        }
    }
}

#[test]
fn a_weight_that_is_not_finite_is_named() {
    for (encoding, quantize) in BOTH {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut weights = vec![1.0; 70];
            weights[67] = bad;
            let error = quantize(&weights, &mut vec![0; encoding.row_stride(70) as usize]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed);
            assert!(error.to_string().contains("column 67"), "{error}");
        }
        let mut weights = vec![1.0; 70];
        weights[40] = 3e38;
        weights[41] = -3e38;
        let error = quantize(&weights, &mut vec![0; encoding.row_stride(70) as usize]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}

#[test]
fn an_empty_or_wrong_row_is_no_panic() {
    for (encoding, quantize) in BOTH {
        assert!(quantize(&[], &mut []).is_ok());
        assert!(quantize(&[1.0], &mut vec![0; encoding.row_stride(1) as usize + 1]).is_err());
    }
}

proptest! {
    #[test]
    fn any_bits_give_a_row_or_an_error(bits in prop::collection::vec(any::<u32>(), 1..80)) {
        let weights: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        for (encoding, quantize) in BOTH {
            let mut row = vec![0; encoding.row_stride(weights.len() as u64) as usize];
            if quantize(&weights, &mut row).is_ok() {
                let mut decoded = vec![f32::NAN; weights.len()];
                decode_row(encoding, &row, weights.len() as u64, &mut decoded).unwrap();
                prop_assert!(decoded.iter().all(|y| y.is_finite()));
            }
        }
    }

    #[test]
    fn the_same_weights_give_the_same_row(seed: u64, len in 1usize..200) {
        let weights = bell(len, seed);
        for (encoding, quantize) in BOTH {
            let mut rows = [0x00, 0xff].map(|dirt| vec![dirt; encoding.row_stride(len as u64) as usize]);
            for row in &mut rows {
                quantize(&weights, row).unwrap();
            }
            prop_assert_eq!(&rows[0], &rows[1]);
        }
    }
}
