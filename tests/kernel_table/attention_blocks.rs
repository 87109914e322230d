//! Attention of several queries at once: the same bits as alone, whatever shares the block.

use tilestream::gpu::CountedBuffer;
use tilestream::gpu::kernels::*;

use super::{Bench, Random};

const HEADS: usize = 6;
const KV_HEADS: usize = 2;
const HEAD_DIM: usize = 20;
const VALUE_DIM: usize = 10;
/// Positions of two sequences, in pages of one cache that lie mixed.
const LENGTHS: [u32; 2] = [45, 70];
const PAGES: [&[u32]; 2] = [&[3, 0], &[1, 4, 2]];

/// A row: its sequence and position.
type Row = (usize, u32);

struct Cache {
    buffer: CountedBuffer,
    pages: CountedBuffer,
    vectors: CountedBuffer,
}

impl Cache {
    /// Positions that are not written yet hold what is not a number, and the last value of each sequence is infinite:
    /// rows before it do not see it.
    async fn new(bench: &Bench) -> Self {
        let (key_width, value_width) = (KV_HEADS * HEAD_DIM, KV_HEADS * VALUE_DIM);
        let mut random = Random(7);
        let mut words = vec![f32::NAN; 5 * 32 * (key_width + value_width)];
        for (pages, len) in PAGES.iter().zip(LENGTHS) {
            for position in 0..len as usize {
                let page = pages[position / 32] as usize * 32 * (key_width + value_width);
                let (key, value) = (random.floats(key_width), random.floats(value_width));
                let at = page + position % 32 * key_width;
                words[at..at + key_width].copy_from_slice(&key);
                let at = page + 32 * key_width + position % 32 * value_width;
                words[at..at + value_width].copy_from_slice(&value);
                if position + 1 == len as usize {
                    words[at] = f32::INFINITY;
                }
            }
        }
        Self {
            buffer: bench.buffer(&words).await,
            pages: bench.buffer(&PAGES.concat()).await,
            vectors: bench.buffer(&random.floats(HEADS)).await,
        }
    }

    /// The output's bits of each row, of which a row's query depends on nothing but the row.
    async fn attend(&self, bench: &mut Bench, queries: u32, rows: &[Row]) -> Vec<Vec<u32>> {
        let width = HEADS * HEAD_DIM;
        let query: Vec<f32> =
            rows.iter().flat_map(|row| Random(u64::from(row.1) * 2 + row.0 as u64 + 1).floats(width)).collect();
        let start = |sequence: usize| PAGES[..sequence].concat().len() as u32;
        let meta: Vec<[u32; 4]> = rows.iter().map(|row| [row.1, start(row.0), 0, 0]).collect();
        let (query, meta) = (bench.buffer(&query).await, bench.buffer(&meta).await);
        let output = bench.buffer(&vec![0.0_f32; rows.len() * HEADS * VALUE_DIM]).await;
        let state = bench.buffer(&vec![0.0_f32; rows.len() * HEADS * 2]).await;
        let params = AttentionParams {
            rows: rows.len() as u32,
            heads: HEADS as u32,
            kv_heads: KV_HEADS as u32,
            head_dim: HEAD_DIM as u32,
            value_dim: VALUE_DIM as u32,
            key_width: (KV_HEADS * HEAD_DIM) as u32,
            value_width: (KV_HEADS * VALUE_DIM) as u32,
            scale: 0.37,
            window: 33,
            query_stride: width as u32,
            output_stride: (HEADS * VALUE_DIM) as u32,
            segment_pages: 5,
            softcap: 2.0,
            output_group: VALUE_DIM as u32,
            flags: FIRST_SEGMENT | LAST_SEGMENT | SINKS | ALIBI,
            ..Default::default()
        };
        let buffers = [&query, &meta, &self.pages, &self.buffer, &self.vectors, &output, &state];
        bench.run(KernelId::Attention(KvType::F32, queries), &buffers, &params, grid::attention(&params)).await;
        let output: Vec<f32> = bench.read(&output).await;
        output.chunks(HEADS * VALUE_DIM).map(|row| row.iter().map(|value| value.to_bits()).collect()).collect()
    }
}

pub(super) async fn attention_has_the_same_bits_alone_and_in_any_block() {
    let all = |sequence: usize| (0..LENGTHS[sequence]).map(move |position| (sequence, position));
    let both: Vec<Row> = all(0).chain(all(1)).collect();
    // Chunks that begin anywhere, a batch of rows that are alone, and everything at once.
    let batches: [Vec<Row>; 4] = [
        both.clone(),
        all(1).skip(3).take(30).chain(all(0).skip(17)).collect(),
        vec![(0, 44), (1, 69), (0, 2), (1, 31), (1, 32), (1, 34)],
        vec![(1, 66), (1, 67), (1, 68), (1, 69)],
    ];
    let mut alone = Vec::new();
    for lanes in [8, 4, 64] {
        let mut bench = Bench::tuned(|tuning| Tuning { attention_lanes: lanes, ..tuning }).await;
        let cache = Cache::new(&bench).await;
        if alone.is_empty() {
            for row in &both {
                alone.extend(cache.attend(&mut bench, 1, &[*row]).await);
            }
            let seen: Vec<f32> = alone[..44].concat().iter().map(|bits| f32::from_bits(*bits)).collect();
            assert!(seen.iter().all(|value| value.is_finite()), "no row sees what is behind it");
            assert_ne!(alone[3], alone[4]);
        }
        for batch in &batches {
            for queries in QUERIES {
                let found = cache.attend(&mut bench, queries, batch).await;
                for (row, found) in batch.iter().zip(found) {
                    let at = both.iter().position(|other| other == row).expect("one of them");
                    assert_eq!(found, alone[at], "{lanes} lanes, {queries} queries, {row:?} among {}", batch.len());
                }
            }
        }
    }
}
