//! Keys and values on their way into the cache.

use tilestream::internals::gpu::kernels::*;
use tilestream::internals::reference;

use super::{Bench, Random, error};

/// Rows of a sequence from position 30 on, whose first page is page 1.
const ROWS: usize = 5;
const FIRST: usize = 30;
const TABLE: [u32; 2] = [1, 0];
const PAGE: usize = PAGE_TOKENS as usize;
/// Values of a value.
const VALUE: usize = 6;

/// Heads of queries and keys, values of a head, and pairs of them that rotate.
#[derive(Clone, Copy, Debug)]
struct Heads {
    queries: usize,
    keys: usize,
    dim: usize,
    pairs: usize,
}

impl Heads {
    fn key(self) -> usize {
        self.keys * self.dim
    }

    /// Where keys begin in a row, and what is behind the value.
    fn stride(self) -> usize {
        (self.queries + self.keys) * self.dim + VALUE + 3
    }

    fn params(self, segment: u32) -> KvWriteParams {
        KvWriteParams {
            rows: ROWS as u32,
            key_width: self.key() as u32,
            value_width: VALUE as u32,
            stride: self.stride() as u32,
            key_first: (self.queries * self.dim) as u32,
            value_first: ((self.queries + self.keys) * self.dim) as u32,
            segment_first_page: segment,
            segment_pages: 1,
            heads: if segment == 0 { self.queries as u32 } else { 0 },
            head_dim: self.dim as u32,
            pairs: self.pairs as u32,
            // Behind another table of one pair.
            angles_stride: 2 + 2 * self.pairs as u32,
            angles_offset: 2,
        }
    }

    /// What the rows hold afterwards, but for keys as they are in the cache.
    fn turned(self, row: &[f32], angles: &[f32]) -> Vec<f64> {
        let (heads, rest) = row.split_at((self.queries + self.keys) * self.dim);
        let heads = heads.chunks(self.dim).flat_map(|head| reference::rope(head, angles));
        heads.chain(rest.iter().map(|value| f64::from(*value))).collect()
    }
}

/// The values of a segment's words.
fn decoded(kv: KvType, words: &[u32]) -> Vec<f32> {
    match kv {
        KvType::F32 => words.iter().map(|word| f32::from_bits(*word)).collect(),
        KvType::F16 => bytemuck::cast_slice(words).iter().map(|half| half::f16::from_bits(*half).to_f32()).collect(),
    }
}

async fn case(bench: &mut Bench, kv: KvType, heads: Heads) {
    let mut random = Random(heads.dim as u64);
    let (rows, angles) = (random.floats(ROWS * heads.stride()), random.floats(ROWS * (2 + 2 * heads.pairs)));
    let (values, turns) = (bench.buffer(&rows).await, bench.buffer(&angles).await);
    let meta: Vec<[u32; 4]> = (0..ROWS).map(|row| [(FIRST + row) as u32, 1, 0, 0]).collect();
    let (meta, pages) = (bench.buffer(&meta).await, bench.buffer(&[9, TABLE[0], TABLE[1]]).await);
    let mut actual = Vec::new();
    for segment in 0..2 {
        let words = PAGE * (heads.key() + VALUE) * kv.bytes() as usize / 4;
        let cache = bench.buffer(&vec![0_u32; words]).await;
        let params = heads.params(segment);
        let buffers = [&values, &turns, &meta, &pages, &cache];
        bench.run(KernelId::KvWrite(kv), &buffers, &params, grid::kv_write(&params)).await;
        actual.push(decoded(kv, &bench.read::<u32>(&cache).await));
    }
    let mut cached = [(); 2].map(|()| vec![0.0; PAGE * (heads.key() + VALUE)]);
    let mut after = Vec::new();
    for (index, (row, angles)) in rows.chunks(heads.stride()).zip(angles.chunks(2 + 2 * heads.pairs)).enumerate() {
        let (turned, from) = (heads.turned(row, &angles[2..]), heads.queries * heads.dim);
        let (page, inside) = ((FIRST + index) / PAGE, (FIRST + index) % PAGE);
        let cached = &mut cached[TABLE[page] as usize];
        cached[inside * heads.key()..][..heads.key()].copy_from_slice(&turned[from..from + heads.key()]);
        let value = &turned[from + heads.key()..][..VALUE];
        cached[PAGE * heads.key() + inside * VALUE..][..VALUE].copy_from_slice(value);
        after.extend_from_slice(&turned[..from]);
        after.extend(row[from..].iter().map(|value| f64::from(*value)));
    }
    let tolerance = if kv == KvType::F16 { 1e-2 } else { 1e-5 };
    for (actual, expected) in actual.iter().zip(&cached) {
        let worst = error(actual, expected);
        assert!(worst < tolerance, "{kv:?} {heads:?}: {worst}");
    }
    let worst = error(&bench.read(&values).await, &after);
    assert!(worst < 1e-5, "{heads:?}: queries turn once, and nothing else changes: {worst}");
}

pub(super) async fn keys_are_rotated_on_their_way_into_the_cache_and_queries_where_they_are() {
    let mut bench = Bench::new(true).await;
    for kv in [KvType::F32, KvType::F16] {
        for (queries, keys, dim, pairs) in [(1, 1, 2, 1), (6, 2, 24, 12), (4, 4, 18, 5), (3, 2, 15, 7), (2, 1, 8, 0)] {
            case(&mut bench, kv, Heads { queries, keys, dim, pairs }).await;
        }
    }
}
