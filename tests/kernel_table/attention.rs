//! Attention and the KV cache against their CPU twin.

use tilestream::internals::gpu::kernels::*;
use tilestream::internals::reference;

use super::{Bench, Random, error};

/// One sequence of `len` positions, all of whose rows attend, with pages in a scrambled order over `segments`.
async fn attention_case(
    bench: &mut Bench,
    kv: KvType,
    len: usize,
    shape: (usize, usize, usize),
    window: usize,
    segments: u32,
) {
    attention_case_with(bench, kv, len, shape, window, segments, More::plain(shape.2)).await;
}

/// What attention does besides.
#[derive(Clone, Copy, Debug)]
struct More {
    value_dim: usize,
    softcap: Option<f32>,
    sinks: bool,
    alibi: bool,
    chunks: bool,
    /// Values are the front of the keys.
    in_keys: bool,
    /// Values between the heads of the output.
    gap: usize,
    /// Queries at once.
    queries: u32,
}

impl More {
    fn plain(value_dim: usize) -> Self {
        Self { value_dim, softcap: None, sinks: false, alibi: false, chunks: false, in_keys: false, gap: 0, queries: 4 }
    }
}

async fn attention_case_with(
    bench: &mut Bench,
    kv: KvType,
    len: usize,
    shape: (usize, usize, usize),
    window: usize,
    segments: u32,
    more: More,
) {
    let (heads, kv_heads, head_dim) = shape;
    let value_dim = more.value_dim;
    let mut random = Random((len + head_dim) as u64);
    let value_width = if more.in_keys { 0 } else { kv_heads * value_dim };
    let (key_width, output_group) = (kv_heads * head_dim, value_dim + more.gap);
    let (q_width, out_width) = (heads * head_dim, heads * output_group);
    let round = |value: f32| if kv == KvType::F16 { half::f16::from_f32(value).to_f32() } else { value };
    let query = random.floats(len * q_width);
    let keys: Vec<f32> = random.floats(len * key_width).into_iter().map(|v| round(v * 3.0)).collect();
    let values: Vec<f32> = random.floats(len * value_width).into_iter().map(round).collect();
    let pages_used = len.div_ceil(PAGE_TOKENS as usize) as u32;
    let total = pages_used.next_multiple_of(segments);
    let pages: Vec<u32> = (0..pages_used).collect();
    let meta: Vec<[u32; 4]> = (0..len as u32).map(|position| [position, 0, 0, 0]).collect();
    // As products leave them: keys and values behind something else in the same rows.
    let row = |row: usize| {
        let of = |all: &[f32], width: usize| all[row * width..(row + 1) * width].to_vec();
        [vec![9.0; 5], of(&keys, key_width), of(&values, value_width)].concat()
    };
    let rows: Vec<f32> = (0..len).flat_map(row).collect();
    let (q, rows) = (bench.buffer(&query).await, bench.buffer(&rows).await);
    let (meta, pages) = (bench.buffer(&meta).await, bench.buffer(&pages).await);
    let output = bench.buffer(&vec![0.0_f32; len * out_width]).await;
    let sinks = random.floats(2 + heads);
    let sinks_buffer = bench.buffer(&sinks).await;
    let state = bench.buffer(&vec![0.0_f32; len * heads * 2]).await;
    let per_segment = total / segments;
    // Random products of many values are large, and so is what f32 loses of them.
    let scale = if head_dim > 256 { 0.1 } else { 0.37 };
    for segment in 0..segments {
        let words = per_segment as usize * PAGE_TOKENS as usize * (key_width + value_width) * kv.bytes() as usize / 4;
        let cache = bench.buffer(&vec![0_u32; words]).await;
        let first = segment * per_segment;
        let params = KvWriteParams {
            rows: len as u32,
            key_width: key_width as u32,
            value_width: value_width as u32,
            stride: (5 + key_width + value_width) as u32,
            key_first: 5,
            value_first: 5 + key_width as u32,
            segment_first_page: first,
            segment_pages: per_segment,
            ..KvWriteParams::default()
        };
        bench
            .run(
                KernelId::KvWrite(kv),
                &[&rows, &sinks_buffer, &meta, &pages, &cache],
                &params,
                grid::kv_write(&params),
            )
            .await;
        let params = AttentionParams {
            rows: len as u32,
            heads: heads as u32,
            kv_heads: kv_heads as u32,
            head_dim: head_dim as u32,
            value_dim: value_dim as u32,
            key_width: key_width as u32,
            value_width: value_width as u32,
            scale,
            window: window as u32,
            query_stride: q_width as u32,
            output_stride: out_width as u32,
            segment_first_page: first,
            segment_pages: per_segment,
            softcap: more.softcap.unwrap_or(0.0),
            sinks_offset: 2,
            output_group: output_group as u32,
            begin_page: 0,
            end_page: pages_used,
            flags: (u32::from(segment == 0) * FIRST)
                | (u32::from(segment + 1 == segments) * LAST)
                | (u32::from(more.sinks) * SINKS)
                | (u32::from(more.alibi) * ALIBI)
                | (u32::from(more.chunks) * CHUNKS)
                | (u32::from(more.in_keys) * VALUES_IN_KEYS),
        };
        let buffers = [&q, &meta, &pages, &cache, &sinks_buffer, &output, &state];
        bench.run(KernelId::Attention(kv, more.queries), &buffers, &params, grid::attention(&params)).await;
    }
    let mut expected = Vec::new();
    for position in 0..len {
        let first = match window {
            0 => 0,
            _ if more.chunks => position / window * window,
            _ => (position + 1).saturating_sub(window),
        };
        for head in 0..heads {
            let kv_head = head / (heads / kv_heads);
            let slice = |all: &'_ [f32], dim: usize, j: usize| {
                let at = (j * kv_heads + kv_head) * dim;
                all[at..at + dim].to_vec()
            };
            let ks: Vec<_> = (first..=position).map(|j| slice(&keys, head_dim, j)).collect();
            let vs: Vec<_> = match more.in_keys {
                true => ks.iter().map(|key| key[..value_dim].to_vec()).collect(),
                false => (first..=position).map(|j| slice(&values, value_dim, j)).collect(),
            };
            let sink = more.sinks.then(|| sinks[2 + head]);
            let slope = if more.alibi { reference::alibi_slope(head, heads) } else { 0.0 };
            let at = position * q_width + head * head_dim;
            let (ks, vs): (Vec<&[f32]>, Vec<&[f32]>) =
                (ks.iter().map(|k| &k[..]).collect(), vs.iter().map(|v| &v[..]).collect());
            expected.extend(reference::attention(
                &query[at..at + head_dim],
                &ks,
                &vs,
                scale,
                more.softcap,
                sink,
                slope,
            ));
            // What is between heads stays.
            expected.extend(vec![0.0; more.gap]);
        }
    }
    let worst = error(&bench.read(&output).await, &expected);
    assert!(worst < 1e-5, "{kv:?} {len} positions, {shape:?}, window {window}, {segments} segments, {more:?}: {worst}");
}

pub(super) async fn attention_matches_over_pages_windows_and_segments() {
    let mut bench = Bench::new(true).await;
    for kv in [KvType::F32, KvType::F16] {
        attention_case(&mut bench, kv, 1, (1, 1, 2), 0, 1).await;
        attention_case(&mut bench, kv, 33, (4, 2, 24), 0, 1).await;
        attention_case(&mut bench, kv, 70, (3, 1, 16), 7, 1).await;
        attention_case(&mut bench, kv, 100, (2, 2, 10), 0, 2).await;
        attention_case(&mut bench, kv, 100, (2, 1, 256), 40, 4).await;
        let one = More { queries: 1, ..More::plain(24) };
        attention_case_with(&mut bench, kv, 70, (4, 2, 24), 40, 3, one).await;
    }
    // As GPUs have it.
    let mut bench = Bench::tuned(|tuning| Tuning { attention_lanes: 64, ..tuning }).await;
    for kv in [KvType::F32, KvType::F16] {
        attention_case(&mut bench, kv, 70, (6, 2, 80), 40, 3).await;
    }
}

pub(super) async fn attention_matches_with_caps_sinks_slopes_and_narrow_values() {
    let mut bench = Bench::new(true).await;
    let plain = More::plain(16);
    for more in [
        More { softcap: Some(1.5), ..plain },
        More { sinks: true, ..plain },
        More { alibi: true, ..plain },
        More { chunks: true, ..plain },
        More { value_dim: 10, ..plain },
        More { value_dim: 24, softcap: Some(2.0), sinks: true, alibi: true, ..plain },
    ] {
        for kv in [KvType::F32, KvType::F16] {
            attention_case_with(&mut bench, kv, 70, (6, 2, 16), 40, 3, more).await;
        }
    }
}

pub(super) async fn attention_matches_where_keys_hold_the_values() {
    let mut bench = Bench::new(true).await;
    for kv in [KvType::F32, KvType::F16] {
        let more = More { in_keys: true, gap: 12, ..More::plain(20) };
        attention_case_with(&mut bench, kv, 70, (5, 1, 36), 0, 2, more).await;
        attention_case_with(&mut bench, kv, 40, (6, 2, 10), 33, 1, More { value_dim: 7, ..more }).await;
        // The largest head there is.
        let latent = More { in_keys: true, ..More::plain(512) };
        attention_case_with(&mut bench, kv, 35, (3, 1, 576), 0, 1, latent).await;
        attention_case_with(&mut bench, kv, 130, (3, 1, 72), 0, 1, More { in_keys: true, ..More::plain(64) }).await;
    }
}
