//! Products with inputs of eight bits, and the rounding.

use tilestream::internals::encoding::{ENCODINGS, Encoding};
use tilestream::internals::gpu::kernels::*;
use tilestream::internals::reference;

use super::product::Product;
use super::{Bench, bits, error};

/// Words of a chunk.
const CHUNK_WORDS: usize = I8_CHUNK_BYTES as usize / 4;

impl Product {
    /// The same with an input that rounding does not change, to be rounded.
    async fn rounded(mut self, bench: &mut Bench) -> Self {
        self.input_type = InputType::I8;
        let rounded = self.input(bench).await;
        let words: Vec<u32> = bench.read(&rounded).await;
        let chunks = words.chunks(CHUNK_WORDS).take(self.input.len() / 32);
        self.input = chunks.flat_map(|chunk| numbers(chunk).0).collect();
        self
    }
}

/// What a chunk stands for, and its whole numbers, in order.
fn numbers(chunk: &[u32]) -> (Vec<f32>, Vec<i8>) {
    let whole: Vec<i8> = bytemuck::cast_slice(&chunk[..8]).to_vec();
    let scale = f32::from_bits(chunk[16]);
    (whole.iter().map(|q| scale * f32::from(*q)).collect(), whole)
}

pub async fn rows_are_rounded_to_eight_bits() {
    let mut bench = Bench::new(true).await;
    let mut product = Product::new(Encoding::F32, 1, 32 * 9 - 3, 5);
    // A chunk of zeros, one with a single value, and one whose values are far apart.
    product.input[..32].fill(0.0);
    product.input[32..64].fill(0.0);
    product.input[40] = -3.0;
    product.input[64] = 1e6;
    product.input_type = InputType::I8;
    // What lies behind the last column does not count.
    let stale = |input: &mut [f32], value: f32| input.chunks_mut(32 * 9).for_each(|row| row[32 * 9 - 3..].fill(value));
    stale(&mut product.input, 1e9);
    let rounded = product.input(&mut bench).await;
    let words: Vec<u32> = bench.read(&rounded).await;
    stale(&mut product.input, 0.0);
    for (index, (chunk, input)) in words.chunks(CHUNK_WORDS).zip(product.input.chunks(32)).enumerate() {
        let (values, whole) = numbers(chunk);
        let (scale, exact) = reference::quantize_chunk(input);
        let [d, all, first, others] = [16, 17, 18, 19].map(|word| f64::from(f32::from_bits(chunk[word])));
        assert!((d - scale).abs() <= scale * 1e-6, "chunk {index}: {d} instead of {scale}");
        for ((q, exact), (value, x)) in whole.iter().zip(exact).zip(values.iter().zip(input)) {
            // Where a value lies in the middle between two, either will do.
            assert!((f64::from(*q) - exact).abs() < 0.501, "chunk {index}: {q} for {exact}");
            assert!(f64::from((value - x).abs()) <= 0.501 * scale, "chunk {index}: {value} for {x}");
        }
        let sum = |part: &[i8]| d * part.iter().map(|q| f64::from(*q)).sum::<f64>();
        for (found, expected) in [(all, sum(&whole)), (first, sum(&whole[..16])), (others, sum(&whole[16..]))] {
            assert!((found - expected).abs() <= 1e-6 * expected.abs(), "chunk {index}: {found} instead of {expected}");
        }
        let apart: &[i8] = bytemuck::cast_slice(&chunk[8..16]);
        let (even, odd) = apart.split_at(16);
        let every_other = |first: usize| whole.iter().skip(first).step_by(2).copied().collect::<Vec<_>>();
        assert_eq!((even, odd), (&every_other(0)[..], &every_other(1)[..]), "chunk {index}");
    }
}

pub async fn products_with_rounded_inputs_match() {
    for mut bench in Bench::all().await {
        let mut tried = 0;
        for row in ENCODINGS.iter().filter(|row| row.encoding.input_types().contains(&InputType::I8)) {
            for (rows, blocks, tokens) in [(1, 1, 1), (7, 9, 5), (33, 17, 9)] {
                let columns = if row.block == 256 { 256 * blocks.min(3) } else { 32 * blocks };
                let product = Product::new(row.encoding, rows, columns, tokens).rounded(&mut bench).await;
                let mut first = None;
                for (tiled, tile_rows, flags) in [(false, rows, BIAS), (true, rows, BIAS), (true, 5, BIAS)] {
                    let actual = product.run(&mut bench, tiled, tile_rows, flags).await;
                    let worst = error(&actual, &product.expected(flags));
                    assert!(worst < 1e-5, "{} {rows}x{columns}, {tokens} tokens: {worst}", row.name);
                    let first = first.get_or_insert_with(|| bits(&actual));
                    assert_eq!(bits(&actual), *first, "{} {rows}x{columns}, {tokens} tokens", row.name);
                }
            }
            tried += 1;
        }
        assert!(tried >= 8);
    }
}

/// For the shapes: a product with a rounded input.
pub async fn rounded_product(encoding: Encoding, rows: usize, columns: u64, tokens: usize) -> Product {
    let mut bench = Bench::new(true).await;
    Product::new(encoding, rows, columns, tokens).rounded(&mut bench).await
}
