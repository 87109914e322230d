//! Rows of random weights at the speed of memory: each plane of a row is a stretch of a pool, and every row begins
//! somewhere else in it.

use std::future::ready;
use std::ops::Range;

use half::{bf16, f16};

use crate::encoding::Encoding;
use crate::platform::BoxFuture;
use crate::shard::layout::TensorSpec;
use crate::shard::write::Rows;
use crate::{Error, ErrorKind, Result};

/// Bytes made at once.
const CHUNK_BYTES: u64 = 4 << 20;
/// Pools of quants and values: with starts 64 bytes apart, more starts than the largest vocabulary has rows.
const VALUE_POOL_BYTES: usize = 16 << 20;
const SCALE_POOL_BYTES: usize = 1 << 20;
/// Stretches start at multiples of this.
const STEP_BYTES: usize = 64;
/// A prime larger than the number of starts, so that multiples of it visit all of them.
const STRIDE: u64 = 1_000_003;
/// Deviation of the weights.
const DEVIATION: f32 = 0.02;
/// Deviations that the range of quants covers.
const Q8_REACH: f32 = 3.5;
const Q4_REACH: f32 = 2.5;

/// Random rows for the tensors of a model.
pub(super) struct RandomRows {
    tensors: Vec<TensorSpec>,
    /// One for each plane of the encoding.
    pools: Vec<Vec<u8>>,
    seed: u64,
}

/// Sebastiano Vigna's SplitMix64 (<https://prng.di.unimi.it/splitmix64.c>).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// Nearly normal with deviation 1: the sum of four uniform numbers, within ±3.5.
    fn normal(&mut self) -> f32 {
        let bits = self.next();
        let sum: u64 = (0..4).map(|i| bits >> (16 * i) & 0xFFFF).sum();
        (sum as f32 / 65_536.0 - 2.0) * 3.0_f32.sqrt()
    }
}

impl RandomRows {
    /// # Errors
    /// [`ErrorKind::Unsupported`] for an encoding that nothing is made in.
    pub(super) fn new(tensors: Vec<TensorSpec>, encoding: Encoding, seed: u64) -> Result<Self> {
        let mut random = SplitMix(seed);
        let pools = match encoding {
            Encoding::BF16 => {
                vec![pool(VALUE_POOL_BYTES, || bf16::from_f32(random.normal() * DEVIATION).to_le_bytes())]
            }
            Encoding::Q8_0 => {
                let quants = pool(VALUE_POOL_BYTES, || {
                    [(random.normal() * 127.0 / Q8_REACH).round().clamp(-127.0, 127.0) as i8 as u8]
                });
                let scale = |random: &mut SplitMix| DEVIATION * Q8_REACH / 127.0 * spread(random);
                vec![quants, pool(SCALE_POOL_BYTES, || f16::from_f32(scale(&mut random)).to_le_bytes())]
            }
            Encoding::Q4_1 => {
                let mut quant = || (7.5 + random.normal() * 7.5 / Q4_REACH).round().clamp(0.0, 15.0) as u8;
                let quants = pool(VALUE_POOL_BYTES, || [quant() | quant() << 4]);
                let pair = |scale: f32| {
                    let ([a, b], [c, d]) =
                        (f16::from_f32(scale).to_le_bytes(), f16::from_f32(scale * -7.5).to_le_bytes());
                    [a, b, c, d]
                };
                vec![quants, pool(SCALE_POOL_BYTES, || pair(DEVIATION * Q4_REACH / 7.5 * spread(&mut random)))]
            }
            _ => {
                let message = format!("no random weights are made in {}", encoding.name());
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
        };
        Ok(Self { tensors, pools, seed })
    }

    fn fill(&self, tensor: usize, rows: Range<u64>, out: &mut Vec<u8>) {
        let spec = &self.tensors[tensor];
        let salt = SplitMix(self.seed ^ (tensor as u64) << 40).next();
        let &[_, columns] = &spec.shape[..] else {
            return vector(spec, salt, out);
        };
        for row in rows {
            let start = out.len();
            for (plane, pool) in self.pools.iter().enumerate() {
                let begin = start + spec.encoding.plane_offset(columns, plane) as usize;
                let end = start + spec.encoding.plane_offset(columns, plane + 1) as usize;
                stretch(pool, row.wrapping_mul(STRIDE).wrapping_add(salt >> plane), end - begin, out);
                if plane == 0 {
                    // What pads a row must be zero.
                    let used = (columns * spec.encoding.descriptor().planes[0].bits).div_ceil(8) as usize;
                    out[begin + used..end].fill(0);
                }
            }
        }
    }
}

/// A scale's own random factor, from 0.75 to 1.25.
fn spread(random: &mut SplitMix) -> f32 {
    0.75 + (random.next() >> 40) as f32 / 16_777_216.0 * 0.5
}

/// About `len` bytes of entries.
fn pool<const N: usize>(len: usize, mut entry: impl FnMut() -> [u8; N]) -> Vec<u8> {
    (0..len / N).flat_map(|_| entry()).collect()
}

/// Appends `len` bytes of the pool from start number `start` on, around its end where it must be.
fn stretch(pool: &[u8], start: u64, mut len: usize, out: &mut Vec<u8>) {
    let starts = (pool.len() / STEP_BYTES) as u64;
    let mut at = (start % starts) as usize * STEP_BYTES;
    while len > 0 {
        let now = len.min(pool.len() - at);
        out.extend_from_slice(&pool[at..at + now]);
        len -= now;
        at = 0;
    }
}

/// Norms and other factors around one, biases around zero.
fn vector(spec: &TensorSpec, salt: u64, out: &mut Vec<u8>) {
    let mut random = SplitMix(salt);
    let is_factor = (spec.name.contains("norm") && spec.name.ends_with(".weight")) || spec.name.contains("scal");
    let mean = if is_factor { 1.0 } else { 0.0 };
    out.extend((0..spec.shape[0]).flat_map(|_| (mean + random.normal() * DEVIATION).to_le_bytes()));
}

impl Rows for RandomRows {
    fn rows_at_once(&self, tensor: usize) -> u64 {
        (CHUNK_BYTES / self.tensors[tensor].row_bytes().unwrap_or(CHUNK_BYTES)).max(1)
    }

    fn rows<'a>(&'a mut self, tensor: usize, rows: Range<u64>, out: &'a mut Vec<u8>) -> BoxFuture<'a, Result<()>> {
        self.fill(tensor, rows, out);
        Box::pin(ready(Ok(())))
    }
}
