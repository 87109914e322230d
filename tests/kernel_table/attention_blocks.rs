//! Attention of several queries at once: the same bits as alone, whatever shares the block.

use tilestream::internals::gpu::CountedBuffer;
use tilestream::internals::gpu::kernels::*;
use tilestream::internals::reference;

use super::{Bench, Random, error};

const HEADS: usize = 6;
const KV_HEADS: usize = 2;
const HEAD_DIM: usize = 20;
const VALUE_DIM: usize = 10;
/// The widest head there is, with the values in its keys, at the end of a text that several dispatches go over.
pub(super) async fn attention_goes_over_more_than_one_dispatch_takes() {
    const LEN: usize = 2100;
    let (head_dim, value_dim) = (576, 512);
    let mut random = Random(3);
    let (query, words) = (random.floats(head_dim), random.floats(LEN.next_multiple_of(32) * head_dim));
    // Few lanes take the most turns.
    let mut bench = Bench::tuned(|tuning| Tuning { attention_lanes: 4, ..tuning }).await;
    let pages: Vec<u32> = (0..LEN.div_ceil(32) as u32).collect();
    let (query_buffer, meta) = (bench.buffer(&query).await, bench.buffer(&[[LEN as u32 - 1, 0, 0, 0]]).await);
    let (table, cache, vectors) =
        (bench.buffer(&pages).await, bench.buffer(&words).await, bench.buffer(&[0.0_f32; 4]).await);
    let (output, state) = (bench.buffer(&vec![0.0_f32; value_dim]).await, bench.buffer(&[0.0_f32; 2]).await);
    let spans = pages.len().div_ceil(SPAN_PAGES as usize) as u32;
    assert!(spans > 2);
    for span in 0..spans {
        let ends = (u32::from(span == 0) * FIRST) | (u32::from(span + 1 == spans) * LAST);
        let params = AttentionParams {
            rows: 1,
            heads: 1,
            kv_heads: 1,
            head_dim: head_dim as u32,
            value_dim: value_dim as u32,
            key_width: head_dim as u32,
            scale: 0.1,
            query_stride: head_dim as u32,
            output_stride: value_dim as u32,
            segment_pages: pages.len() as u32,
            begin_page: span * SPAN_PAGES,
            end_page: (span + 1) * SPAN_PAGES,
            flags: VALUES_IN_KEYS | ends,
            ..Default::default()
        };
        let buffers = [&query_buffer, &meta, &table, &cache, &vectors, &output, &state];
        bench.run(KernelId::Attention(KvType::F32, 1), &buffers, &params, grid::attention(&params)).await;
    }
    let keys: Vec<&[f32]> = words.chunks(head_dim).take(LEN).collect();
    let values: Vec<&[f32]> = keys.iter().map(|key| &key[..value_dim]).collect();
    let expected = reference::attention(&query, &keys, &values, 0.1, None, None, 0.0);
    let worst = error(&bench.read(&output).await, &expected);
    assert!(worst < 1e-5, "{worst}");
}

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

    /// The output's bits of each row, of which a row's query depends on nothing but the row; a dispatch for each of `spans`,
    /// which end at these pages.
    async fn attend(&self, bench: &mut Bench, queries: u32, spans: &[u32], rows: &[Row]) -> Vec<Vec<u32>> {
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
            ..Default::default()
        };
        let buffers = [&query, &meta, &self.pages, &self.buffer, &self.vectors, &output, &state];
        for (index, end_page) in spans.iter().copied().enumerate() {
            let (is_first, is_last) = (index == 0, index + 1 == spans.len());
            let begin_page = if is_first { 0 } else { spans[index - 1] };
            let flags = SINKS | ALIBI | (u32::from(is_first) * FIRST) | (u32::from(is_last) * LAST);
            let params = AttentionParams { begin_page, end_page, flags, ..params };
            bench.run(KernelId::Attention(KvType::F32, queries), &buffers, &params, grid::attention(&params)).await;
        }
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
                alone.extend(cache.attend(&mut bench, 1, &[3], &[*row]).await);
            }
            let seen: Vec<f32> = alone[..44].concat().iter().map(|bits| f32::from_bits(*bits)).collect();
            assert!(seen.iter().all(|value| value.is_finite()), "no row sees what is behind it");
            assert_ne!(alone[3], alone[4]);
        }
        for batch in &batches {
            for (queries, spans) in [(1, &[3][..]), (4, &[3]), (4, &[1, 2, 3]), (1, &[2, 3])] {
                let found = cache.attend(&mut bench, queries, spans, batch).await;
                for (row, found) in batch.iter().zip(found) {
                    let at = both.iter().position(|other| other == row).expect("one of them");
                    let what = format!("{lanes} lanes, {queries} queries, {spans:?}, {row:?} among {}", batch.len());
                    assert_eq!(found, alone[at], "{what}");
                }
            }
        }
    }
}
