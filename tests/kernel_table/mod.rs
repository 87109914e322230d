//! The table of kernels, each against its CPU twin: run natively by tests/kernels.rs, in a browser by tests/browser.

use std::sync::Arc;

use futures::future::LocalBoxFuture;
use tilestream::internals::encoding::{ENCODINGS, Encoding};
use tilestream::internals::gpu::kernels::*;
use tilestream::internals::gpu::recorder::{Bind, Recorder};
use tilestream::internals::gpu::{CountedBuffer, Gpu};
use tilestream::internals::plan::Activation;
use tilestream::internals::reference;

mod attention;
mod attention_blocks;
mod cache;
mod delta;
mod groups;
mod inputs;
mod norms;
mod product;
mod random;
mod rounded;
mod rows;
mod shapes;
mod streams;

use attention::{
    attention_matches_over_pages_windows_and_segments, attention_matches_where_keys_hold_the_values,
    attention_matches_with_caps_sinks_slopes_and_narrow_values,
};
use attention_blocks::{
    attention_goes_over_more_than_one_dispatch_takes, attention_has_the_same_bits_alone_and_in_any_block,
};
use cache::keys_are_rotated_on_their_way_into_the_cache_and_queries_where_they_are;
use delta::{
    a_delta_rule_has_the_same_bits_whatever_the_chunks, convolutions_go_on_where_their_sequences_stopped,
    delta_rules_match_and_go_on_where_their_sequences_stopped,
};
use groups::{products_in_groups_match, transposed_products_match_wherever_tiles_are_cut};
use inputs::products_have_the_same_bits_wherever_their_inputs_lie;
use norms::{norms_go_elsewhere_and_are_multiplied, norms_match};
use product::Product;
use random::Random;
use rounded::{products_with_rounded_inputs_match, rows_are_rounded_to_eight_bits};
use rows::{columns_are_placed_in_groups, rows_are_gathered, rows_are_scattered_with_their_factors};
use shapes::{
    every_shape_for_a_gpu_has_the_same_bits, every_shape_of_a_product_has_the_same_bits,
    halves_agree_where_an_adapter_says_so,
};
use streams::{
    rows_are_brought_to_the_size_of_others, streams_are_predicted_and_corrected, what_of_a_row_stands_out_is_kept,
};

/// A case: its name, and what runs it.
pub type Case = (&'static str, fn() -> LocalBoxFuture<'static, ()>);

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        /// All cases.
        pub const CASES: &[Case] = &[$((stringify!($name), || Box::pin($name()))),*];
    };
}

cases![
    matrix_products_match_in_every_encoding,
    columns_need_not_fill_a_block,
    bias_and_residual_are_added_and_a_wrong_weight_is_noticed,
    a_product_has_the_same_bits_whatever_the_tiles_the_tokens_and_the_lanes,
    rows_are_rounded_to_eight_bits,
    products_with_rounded_inputs_match,
    products_have_the_same_bits_wherever_their_inputs_lie,
    every_shape_of_a_product_has_the_same_bits,
    every_shape_for_a_gpu_has_the_same_bits,
    halves_agree_where_an_adapter_says_so,
    rows_past_the_largest_grid_are_computed,
    products_in_groups_match,
    transposed_products_match_wherever_tiles_are_cut,
    norms_match,
    norms_go_elsewhere_and_are_multiplied,
    streams_are_predicted_and_corrected,
    rows_are_brought_to_the_size_of_others,
    what_of_a_row_stands_out_is_kept,
    rotations_match,
    keys_are_rotated_on_their_way_into_the_cache_and_queries_where_they_are,
    attention_matches_over_pages_windows_and_segments,
    attention_matches_with_caps_sinks_slopes_and_narrow_values,
    attention_matches_where_keys_hold_the_values,
    attention_has_the_same_bits_alone_and_in_any_block,
    attention_goes_over_more_than_one_dispatch_takes,
    gates_match_at_the_ends_of_the_range,
    learned_curves_match_on_both_sides_of_zero,
    logits_are_scaled_and_capped,
    argmax_takes_the_lowest_of_equals_and_counts_what_is_not_finite,
    rows_are_gathered,
    rows_are_scattered_with_their_factors,
    columns_are_placed_in_groups,
    convolutions_go_on_where_their_sequences_stopped,
    delta_rules_match_and_go_on_where_their_sequences_stopped,
    a_delta_rule_has_the_same_bits_whatever_the_chunks,
];

/// A budget on the device that who runs the table has opened.
async fn gpu(budget_bytes: u64) -> Gpu {
    super::device().await.budget(budget_bytes).await.expect("no cap")
}

struct Bench {
    gpu: Gpu,
    kernels: Kernels,
    recorder: Recorder,
}

impl Bench {
    /// The adapter's own tuning, and the same without subgroups.
    async fn both() -> Vec<Self> {
        vec![Self::new(true).await, Self::new(false).await]
    }

    /// Those, and the tuning of adapters that have no subgroups worth the name.
    async fn all() -> Vec<Self> {
        let mut all = Self::both().await;
        all.push(Self::tuned(|_| Tuning::WITHOUT_SUMS).await);
        all
    }

    async fn new(subgroups: bool) -> Self {
        Self::tuned(|tuning| Tuning { subgroups: tuning.subgroups && subgroups, ..tuning }).await
    }

    async fn tuned(change: impl FnOnce(Tuning) -> Tuning) -> Self {
        let gpu = gpu(1 << 30).await;
        let (info, features) = (&gpu.adapter.info, gpu.features());
        let mut tuning = Tuning::for_adapter(info, features, &gpu.adapter.limits);
        // Narrow subgroups are not worth using, but they have to be right.
        if !tuning.subgroups && features.contains(wgpu::Features::SUBGROUP) && info.subgroup_min_size >= 4 {
            tuning = Tuning { strands: 4, lanes: 4, groups: 2, wide_lanes: 4, subgroups: true, ..tuning };
        }
        let kernels = gpu.kernels(change(tuning));
        let recorder = Recorder::new(&gpu).await.expect("a recorder");
        Self { gpu, kernels, recorder }
    }

    async fn buffer<T: bytemuck::Pod>(&self, values: &[T]) -> CountedBuffer {
        use wgpu::BufferUsages as Usage;
        self.buffer_with(values, 0, Usage::STORAGE).await
    }

    /// The same with so many bytes behind, for other uses.
    async fn buffer_with<T: bytemuck::Pod>(
        &self,
        values: &[T],
        behind: u64,
        usage: wgpu::BufferUsages,
    ) -> CountedBuffer {
        use wgpu::BufferUsages as Usage;
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let (len, usage) = ((bytes.len() as u64).max(16) + behind, usage | Usage::COPY_SRC | Usage::COPY_DST);
        let buffer = self.gpu.buffer("test", len, usage).await.expect("fits");
        self.gpu.queue.write_buffer(&buffer, 0, bytes);
        buffer
    }

    async fn run<P: bytemuck::Pod>(&mut self, id: KernelId, buffers: &[&CountedBuffer], params: &P, grid: [u32; 3]) {
        let binds: Vec<Bind<'_>> = buffers.iter().map(|buffer| (*buffer).into()).collect();
        self.dispatch(id, &binds, params, grid).await;
    }

    async fn dispatch<P: bytemuck::Pod>(&mut self, id: KernelId, binds: &[Bind<'_>], params: &P, grid: [u32; 3]) {
        self.kernels.prepare(&[id]).await.expect("compiles");
        self.recorder.prepare(&[id]).await.expect("fits");
        let kernel: Arc<Kernel> = self.kernels.get(id).expect("prepared");
        self.recorder.dispatch(&kernel, binds, params, grid).expect("records");
        self.recorder.submit(|_| ()).await.expect("submits");
    }

    async fn read<T: bytemuck::Pod>(&self, buffer: &CountedBuffer) -> Vec<T> {
        use wgpu::BufferUsages as Usage;
        let copy = self.gpu.buffer("copy", buffer.size(), Usage::MAP_READ | Usage::COPY_DST).await.expect("fits");
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(buffer, 0, &copy, 0, buffer.size());
        let after = self.gpu.submit(encoder.finish());
        self.gpu.map(&copy, wgpu::MapMode::Read, after).ready().await.expect("maps");
        let view = copy.get_mapped_range(..).expect("mapped");
        bytemuck::pod_collect_to_vec(&view)
    }
}

/// The largest difference, relative to the size of the expected values.
fn error(actual: &[f32], expected: &[f64]) -> f64 {
    // A buffer holds at least 16 bytes.
    assert_eq!(actual.len(), expected.len().max(4));
    let size = (expected.iter().map(|e| e * e).sum::<f64>() / expected.len() as f64).sqrt().max(1e-9);
    actual.iter().zip(expected).map(|(a, e)| (f64::from(*a) - e).abs()).fold(0.0, f64::max) / size
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

async fn matrix_products_match_in_every_encoding() {
    for mut bench in Bench::all().await {
        for row in ENCODINGS {
            for (rows, blocks, tokens) in [(1, 1, 1), (3, 3, 2), (7, 9, 5), (33, 17, 9)] {
                let columns = if row.block == 256 { 256 * blocks.min(3) } else { 32 * blocks };
                let product = Product::new(row.encoding, rows, columns, tokens);
                for tiled in [false, true] {
                    let actual = product.run(&mut bench, tiled, rows, 0).await;
                    let worst = error(&actual, &product.expected(0));
                    assert!(worst < 1e-5, "{} {rows}x{columns}, {tokens} tokens: {worst}", row.name);
                }
            }
        }
    }
}

async fn columns_need_not_fill_a_block() {
    let mut bench = Bench::new(true).await;
    for encoding in [Encoding::F32, Encoding::F16, Encoding::BF16, Encoding::F8_E4M3, Encoding::I8] {
        for columns in [1, 31, 33, 72, 200] {
            let product = Product::new(encoding, 5, columns, 3);
            let worst = error(&product.run(&mut bench, true, 5, 0).await, &product.expected(0));
            assert!(worst < 1e-5, "{encoding:?} {columns}: {worst}");
        }
    }
}

async fn bias_and_residual_are_added_and_a_wrong_weight_is_noticed() {
    let mut bench = Bench::new(true).await;
    let mut product = Product::new(Encoding::Q4_1, 9, 96, 3);
    for flags in [ACCUMULATE, BIAS, ACCUMULATE | BIAS] {
        for scale in [1.0, 0.37] {
            product.scale = scale;
            assert!(error(&product.run(&mut bench, true, 9, flags).await, &product.expected(flags)) < 1e-5);
        }
    }
    product.packed[0] ^= 1;
    assert!(
        error(&product.run(&mut bench, true, 9, 0).await, &product.expected(0)) > 1e-4,
        "one changed bit goes unnoticed"
    );
}

/// Encodings that decode in different ways.
const ACROSS: [Encoding; 8] = [
    Encoding::BF16,
    Encoding::Q4_K,
    Encoding::Q6_K,
    Encoding::TQ1_0,
    Encoding::FP4,
    Encoding::IQ2_S,
    Encoding::IQ3_S,
    Encoding::IQ1_M,
];

async fn a_product_has_the_same_bits_whatever_the_tiles_the_tokens_and_the_lanes() {
    let (mut all, mut benches) = (Vec::new(), Bench::both().await);
    if benches[0].kernels.tuning().loads_64 {
        benches.push(Bench::tuned(|tuning| Tuning { loads_64: false, takes_blocks: false, ..tuning }).await);
    }
    for mut bench in benches {
        for encoding in ACROSS {
            let product = Product::new(encoding, 37, 768, 6);
            let whole = product.run(&mut bench, true, 37, 0).await;
            for (tiled, tile_rows) in [(true, 5), (false, 37), (false, 1)] {
                assert_eq!(bits(&product.run(&mut bench, tiled, tile_rows, 0).await), bits(&whole), "{encoding:?}");
            }
            all.push(bits(&whole));
        }
    }
    assert!(
        all.chunks(ACROSS.len()).all(|bits| *bits == all[..ACROSS.len()]),
        "neither subgroups nor wide loads nor who takes which block change a bit"
    );
}

async fn rows_past_the_largest_grid_are_computed() {
    let rows = 70_001;
    let product = Product::new(Encoding::BF16, rows, 32, 1);
    // Several rows at once, where blocks are taken more of them than a workgroup's turns reach for; and a workgroup a row.
    for at_once in [true, false] {
        let single = |tuning| Tuning { vector_rows: 1, groups: 1, takes_blocks: false, ..tuning };
        let mut bench = Bench::tuned(|tuning| if at_once { tuning } else { single(tuning) }).await;
        let worst = error(&product.run(&mut bench, false, rows, 0).await, &product.expected(0));
        assert!(worst < 1e-5, "{worst}");
    }
}

async fn rotations_match() {
    let mut bench = Bench::new(true).await;
    for (rows, heads, head_dim, pairs) in [(1_usize, 1_usize, 2_usize, 1_usize), (3, 5, 24, 12), (2, 3, 16, 5)] {
        let mut random = Random(head_dim as u64);
        // A row begins with a value that is not touched.
        let stride = 1 + heads * head_dim;
        let (values, angles) = (random.floats(rows * stride), random.floats(rows * pairs * 2));
        // Behind another table of three pairs.
        let beside: Vec<f32> = angles.chunks(pairs * 2).flat_map(|row| [&[9.0; 6], row].concat()).collect();
        let (angle, target) = (bench.buffer(&beside).await, bench.buffer(&values).await);
        let (heads32, dim32) = (heads as u32, head_dim as u32);
        let params = RopeParams {
            rows: rows as u32,
            heads: heads32,
            head_dim: dim32,
            pairs: pairs as u32,
            stride: stride as u32,
            angles_stride: 6 + 2 * pairs as u32,
            angles_offset: 6,
            first: 1,
        };
        bench.run(KernelId::Rope, &[&angle, &target], &params, grid::rope(&params)).await;
        let turned = |(row, angles): (&[f32], &[f32])| {
            let heads = row[1..].chunks(head_dim).flat_map(|head| reference::rope(head, angles));
            [f64::from(row[0])].into_iter().chain(heads).collect::<Vec<_>>()
        };
        let expected: Vec<f64> = values.chunks(stride).zip(angles.chunks(pairs * 2)).flat_map(turned).collect();
        let worst = error(&bench.read(&target).await, &expected);
        assert!(worst < 1e-5, "{worst}");
    }
}

async fn gates_match_at_the_ends_of_the_range() {
    let mut bench = Bench::new(true).await;
    let mut random = Random(5);
    let mut gate: Vec<f32> = random.floats(3 * 67).iter().map(|x| x * 4.0).collect();
    gate[..6].copy_from_slice(&[0.0, -100.0, 100.0, -87.5, 30.0, -1e4]);
    let up: Vec<f32> = random.floats(3 * 80).iter().map(|x| x * 9.0).collect();
    let up_of_row: Vec<f32> = up.chunks(80).flat_map(|row| row[..67].to_vec()).collect();
    for activation in Activation::ALL {
        for (flags, limit) in [(0, 7.0), (0, 1.5), (UNGATED, 7.0), (ONE_FACTOR, 7.0)] {
            let (up_buffer, target) = (bench.buffer(&up).await, bench.buffer(&gate).await);
            let (stride, up_stride) = (67, 80);
            let params = GateParams { rows: 3, width: 67, stride, up_stride, up_first: 0, flags, limit };
            bench.run(KernelId::Gate(activation), &[&up_buffer, &target], &params, grid::gate(&params)).await;
            // The same with both in one row, and something between them.
            let both = gate.chunks(67).zip(up.chunks(80)).flat_map(|(gate, up)| [gate, &[8.0; 3], up].concat());
            let within = bench.buffer(&both.collect::<Vec<f32>>()).await;
            let params = GateParams { stride: 150, up_stride: 150, up_first: 70, ..params };
            bench.run(KernelId::GateWithin(activation), &[&within], &params, grid::gate(&params)).await;
            let factors = match flags {
                UNGATED => vec![1.0; 3 * 67],
                ONE_FACTOR => up.chunks(80).flat_map(|row| vec![row[0]; 67]).collect(),
                _ => up_of_row.clone(),
            };
            let (actual, within): (Vec<f32>, Vec<f32>) = (bench.read(&target).await, bench.read(&within).await);
            let within: Vec<f32> = within.chunks(150).flat_map(|row| row[..67].to_vec()).collect();
            assert_eq!(bits(&within), bits(&actual), "{activation:?} in one row");
            for ((index, actual), expected) in
                actual.iter().enumerate().zip(reference::gate(activation, limit, &gate, &factors))
            {
                // Large and small values stand side by side: each is compared with its own size.
                let distance = (f64::from(*actual) - expected).abs() / expected.abs().max(0.1);
                assert!(distance < 2e-6, "{activation:?}({}) * {}: {actual}", gate[index], factors[index]);
            }
        }
    }
}

async fn learned_curves_match_on_both_sides_of_zero() {
    let mut bench = Bench::new(true).await;
    let mut values: Vec<f32> = Random(9).floats(3 * 70).iter().map(|x| x * 8.0).collect();
    values[..10].copy_from_slice(&[0.0, -1e-6, 1e-6, -1e-3, -0.39, -0.41, -100.0, -1e4, 1e4, 30.0]);
    let rows = || values.chunks(70).map(|row| row.split_at(67));
    for [positive, negative, slope] in [[0.2, -1.05, 0.5], [-6.0, 9.0, 0.25], [3.0, -20.0, 1.5]] {
        let vectors = bench.buffer(&[7.0, positive, 8.0, negative, slope]).await;
        let target = bench.buffer(&values).await;
        let params =
            XieluParams { rows: 3, width: 67, stride: 70, positive_offset: 1, negative_offset: 3, slope_offset: 4 };
        bench.run(KernelId::Xielu, &[&vectors, &target], &params, grid::xielu(&params)).await;
        let expected: Vec<f64> = rows()
            .flat_map(|(row, rest)| {
                let bent = reference::xielu(row, positive, negative, slope);
                bent.into_iter().chain(rest.iter().map(|x| f64::from(*x)))
            })
            .collect();
        for ((actual, expected), x) in bench.read::<f32>(&target).await.iter().zip(&expected).zip(&values) {
            // Both terms may be far larger than their sum.
            let size = expected.abs().max(f64::from((slope * x).abs())).max(1e-6);
            let distance = (f64::from(*actual) - expected).abs() / size;
            assert!(distance < 3e-6, "{x} by {positive}, {negative}, {slope}: {actual} instead of {expected}");
        }
    }
}

async fn logits_are_scaled_and_capped() {
    let mut bench = Bench::new(true).await;
    let mut logits: Vec<f32> = Random(7).floats(3 * 67).iter().map(|x| x * 60.0).collect();
    logits[..3].copy_from_slice(&[0.0, -1e4, 1e4]);
    let vectors = Random(8).floats(5 + 67);
    let vector_buffer = bench.buffer(&vectors).await;
    for (scale, cap, flags) in [(0.25, 0.0, 0), (1.0, 30.0, 0), (3.0, 5.0, FACTORS)] {
        let target = bench.buffer(&logits).await;
        let params = LogitsParams { rows: 3, width: 67, stride: 67, scale, cap, factors_offset: 5, flags };
        bench.run(KernelId::Logits, &[&vector_buffer, &target], &params, grid::logits(&params)).await;
        let factors = if flags == FACTORS { vectors[5..].to_vec() } else { vec![1.0; 67] };
        let expected: Vec<f64> =
            logits.chunks(67).flat_map(|row| reference::logits(row, &factors, scale, cap)).collect();
        let worst = error(&bench.read(&target).await, &expected);
        assert!(worst < 1e-6, "x {scale}, capped at {cap}: {worst}");
    }
}

async fn argmax_takes_the_lowest_of_equals_and_counts_what_is_not_finite() {
    let mut bench = Bench::new(true).await;
    let mut random = Random(9);
    for width in [1, 2, 63, 64, 65, 1000] {
        let mut logits = random.floats(4 * width);
        logits[width / 2] = 2.0;
        logits[width - 1] = 2.0;
        logits[width] = f32::NAN;
        logits[2 * width] = f32::INFINITY;
        logits[3 * width..].fill(-1.0);
        let input = bench.buffer(&logits).await;
        let result = bench.buffer(&[[7_u32; 4]; 5]).await;
        let params = ArgmaxParams { rows: 4, width: width as u32, stride: width as u32, result_offset: 1 };
        bench.run(KernelId::Argmax, &[&input, &result], &params, grid::argmax(&params)).await;
        let actual: Vec<[u32; 4]> = bench.read(&result).await;
        assert_eq!(actual[0], [7; 4], "before the offset");
        for (row, actual) in logits.chunks(width).zip(&actual[1..]) {
            let (id, value, broken) = reference::argmax(row);
            assert_eq!(*actual, [id, value.to_bits(), broken, 0], "width {width}");
        }
    }
}
