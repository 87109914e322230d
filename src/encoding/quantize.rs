//! `f32` rows to quantized planar rows: the splitter's `q8` (Q8_0) and `q4` (Q4_1). Deterministic on every host.

use half::f16;

use crate::encoding::{Encoding, check_len};
use crate::words::Term;
use crate::{Error, ErrorKind, Result};

/// Adding and taking away 1.5 * 2^23 rounds a small float to the nearest integer (ties to even), and vectorises.
const ROUND: f32 = 12_582_912.0;

/// The ranges that [`quantize_row_q4`] tries: the block's span is cut into 15 + this many steps. Below zero the steps
/// are wider than the span, above it the extremes are clipped, which often costs less than it gains.
const SPANS: [f32; 9] = [0.0, -0.6, -0.3, 0.3, 0.6, 0.9, 1.2, 1.6, 2.0];

/// Quantizes a row to Q8_0: for each 32 columns f16 `d = max|x| / 127`, quants to nearest.
///
/// `weights` is `[columns]`, `out` is `Encoding::Q8_0.row_stride(columns)` bytes; padding columns are zero.
///
/// # Errors
/// [`ErrorKind::Malformed`] for a weight that is not finite, [`ErrorKind::Unsupported`] for one too large for an f16
/// scale (both name the column), [`ErrorKind::Argument`] for slices of the wrong length.
pub fn quantize_row_q8(weights: &[f32], out: &mut [u8]) -> Result<()> {
    let (quants, scales) = prepare(Encoding::Q8_0, weights, out)?;
    for (index, block) in weights.chunks(32).enumerate() {
        let mut x = [0.0; 32];
        x[..block.len()].copy_from_slice(block);
        let largest = x.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        let scale = q8_scale(largest);
        if scale.is_infinite() {
            return Err(too_large(index * 32, largest));
        }
        scales[index * 2..][..2].copy_from_slice(&scale.to_le_bytes());
        let d = scale.to_f32();
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        for (x, quant) in x.iter().zip(&mut quants[index * 32..][..32]) {
            *quant = ((x * inverse).clamp(-127.0, 127.0) + ROUND).to_bits() as u8;
        }
    }
    Ok(())
}

/// `largest / 127` as f16; among subnormals, whose steps are coarse, never so small that quants would be clipped.
fn q8_scale(largest: f32) -> f16 {
    let scale = f16::from_f32(largest / 127.0);
    let clips = largest > 127.5 * scale.to_f32();
    if clips { f16::from_bits(scale.to_bits() + 1) } else { scale }
}

/// Quantizes a row to Q4_1: for each 32 columns f16 `d` and `m` that (nearly) minimise the squared error of `d * q + m`.
///
/// Several spans are tried; for each, scale and minimum are fitted by least squares to the quants, rounded to f16, and
/// the quants chosen anew for the rounded pair. `weights` is `[columns]`, `out` is
/// `Encoding::Q4_1.row_stride(columns)` bytes; padding columns repeat a weight of their block.
///
/// # Errors
/// As [`quantize_row_q8`].
pub fn quantize_row_q4(weights: &[f32], out: &mut [u8]) -> Result<()> {
    let (quants, scales) = prepare(Encoding::Q4_1, weights, out)?;
    for (index, block) in weights.chunks(32).enumerate() {
        let mut x = [block[0]; 32];
        x[..block.len()].copy_from_slice(block);
        let fit = fit_q4(&x);
        if fit.error.is_infinite() {
            let largest = x.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
            return Err(too_large(index * 32, largest));
        }
        scales[index * 4..][..2].copy_from_slice(&fit.scale.to_le_bytes());
        scales[index * 4 + 2..][..2].copy_from_slice(&fit.minimum.to_le_bytes());
        let q = nearest(&x, fit.scale.to_f32(), fit.minimum.to_f32());
        for (pair, out) in q.as_chunks::<2>().0.iter().zip(&mut quants[index * 16..][..16]) {
            *out = pair[0] as u8 | (pair[1] as u8) << 4;
        }
    }
    Ok(())
}

/// A candidate for a block of Q4_1.
struct Fit {
    scale: f16,
    minimum: f16,
    /// Sum of squares; infinite where f16 cannot hold the pair.
    error: f32,
}

fn fit_q4(x: &[f32; 32]) -> Fit {
    let (low, high) = x.iter().fold((x[0], x[0]), |(low, high), x| (low.min(*x), high.max(*x)));
    let mut best = measure(x, (high - low) / 15.0, low);
    for span in SPANS {
        let step = (high - low) / (15.0 + span);
        // Clipping or widening is shared by both ends.
        let q = nearest(x, step, low + 0.5 * span * step);
        let (scale, minimum) = least_squares(x, &q);
        let fit = measure(x, scale, minimum);
        if fit.error < best.error {
            best = fit;
        }
    }
    best
}

/// The quants (0..=15, as floats) nearest to `(x - minimum) / scale`.
fn nearest(x: &[f32; 32], scale: f32, minimum: f32) -> [f32; 32] {
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    x.map(|x| ((x - minimum) * inverse).clamp(0.0, 15.0) + ROUND - ROUND)
}

/// Scale and minimum that minimise the sum of `(scale * q + minimum - x)²`.
fn least_squares(x: &[f32; 32], q: &[f32; 32]) -> (f32, f32) {
    let (mean_x, mean_q) = (sum(|i| x[i]) / 32.0, sum(|i| q[i]) / 32.0);
    let covariance = sum(|i| (x[i] - mean_x) * (q[i] - mean_q));
    let variance = sum(|i| (q[i] - mean_q) * (q[i] - mean_q));
    let scale = if variance > 0.0 { (covariance / variance).max(0.0) } else { 0.0 };
    (scale, mean_x - scale * mean_q)
}

/// Rounds the pair to f16 and measures what it costs with its own best quants.
fn measure(x: &[f32; 32], scale: f32, minimum: f32) -> Fit {
    let (scale, minimum) = (f16::from_f32(scale), f16::from_f32(minimum));
    let (d, m) = (scale.to_f32(), minimum.to_f32());
    if !d.is_finite() || !m.is_finite() {
        return Fit { scale, minimum, error: f32::INFINITY };
    }
    let q = nearest(x, d, m);
    let error = sum(|i| (d * q[i] + m - x[i]) * (d * q[i] + m - x[i]));
    Fit { scale, minimum, error }
}

/// The sum over a block, in eight lanes: a fixed order that vectorises.
fn sum(term: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0f32; 8];
    for chunk in 0..4 {
        for (lane, total) in lanes.iter_mut().enumerate() {
            *total += term(chunk * 8 + lane);
        }
    }
    lanes.iter().sum()
}

/// Checks lengths and finiteness, clears `out`, and cuts it into its two planes.
fn prepare<'a>(encoding: Encoding, weights: &[f32], out: &'a mut [u8]) -> Result<(&'a mut [u8], &'a mut [u8])> {
    let columns = weights.len() as u64;
    check_len("planar row", out.len(), encoding.row_stride(columns))?;
    // Without an early exit the test vectorises; the search is for the message.
    if weights.iter().fold(0, |bad, x| bad | u32::from(!x.is_finite())) != 0 {
        let column = weights.iter().position(|x| !x.is_finite()).unwrap_or_default();
        let message = format!("the weight of column {column} is {}, not a finite number", weights[column]);
        return Err(Error::new(ErrorKind::Malformed, message));
    }
    out.fill(0);
    Ok(out.split_at_mut(encoding.plane_offset(columns, 1) as usize))
}

fn too_large(column: usize, largest: f32) -> Error {
    let message = format!("a weight of {largest} near column {column} is too large for an f16 scale");
    Error::new(ErrorKind::Unsupported, message).remedy("split with " + Term::Weights("original"))
}

#[cfg(test)]
#[path = "quantize_tests.rs"]
mod tests;
