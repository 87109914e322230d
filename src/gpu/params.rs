//! Parameter blocks of the kernels, field by field as the `Params` of each WGSL file says, and their dispatch grids.

use bytemuck::{Pod, Zeroable};

use super::kernels::{BLOCK_TURNS, KernelId, TURNS_OF_SUMS, Tuning};

macro_rules! params {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty),* $(,)? })*) => {
        $(
            $(#[$doc])*
            #[repr(C)]
            #[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
            pub struct $name { $(pub $field: $kind),* }
        )*
    };
}

params! {
    /// `shaders/matmul.wgsl`. Offsets and strides of weights and input count 16 bytes, those of the output floats.
    MatMulParams {
        rows: u32, first_row: u32, weight_base: u32, row_stride: u32, chunks: u32, tokens: u32, input_stride: u32,
        output_stride: u32, plane1: u32, plane2: u32, plane3: u32, bias_offset: u32, scale: f32, flags: u32,
        group_rows: u32, input_group: u32, input_base: u32, first_token: u32,
    }
    /// `shaders/matmul_transposed.wgsl`. Offsets and strides of weights count 16 bytes, the others floats.
    MatMulTransposedParams {
        rows: u32, first_row: u32, weight_base: u32, row_stride: u32, columns: u32, tokens: u32, input_stride: u32,
        output_stride: u32, plane1: u32, plane2: u32, plane3: u32, group_rows: u32, first: u32, input_group: u32,
        output_group: u32,
    }
    /// `shaders/quantize_rows.wgsl`. The stride counts 16 bytes.
    QuantizeRowsParams { rows: u32, columns: u32, input_stride: u32 }
    /// `shaders/norm.wgsl`.
    NormParams {
        rows: u32, groups: u32, width: u32, input_stride: u32, output_stride: u32, weight_offset: u32,
        bias_offset: u32, weight_stride: u32, epsilon: f32, scale: f32, flags: u32, first: u32,
        later: u32, later_offset: u32, output_first: u32, factor_offset: u32,
    }
    /// `shaders/rope.wgsl`.
    RopeParams {
        rows: u32, heads: u32, head_dim: u32, pairs: u32, stride: u32, angles_stride: u32, angles_offset: u32,
        first: u32,
    }
    /// `shaders/kv_write.wgsl`.
    KvWriteParams {
        rows: u32, key_width: u32, value_width: u32, stride: u32, key_first: u32, value_first: u32,
        segment_first_page: u32, segment_pages: u32, heads: u32, head_dim: u32, pairs: u32, angles_stride: u32,
        angles_offset: u32,
    }
    /// `shaders/attention.wgsl`.
    AttentionParams {
        rows: u32, heads: u32, kv_heads: u32, head_dim: u32, value_dim: u32, key_width: u32, value_width: u32,
        scale: f32, window: u32,
        query_stride: u32, output_stride: u32, segment_first_page: u32, segment_pages: u32, softcap: f32,
        sinks_offset: u32, flags: u32, output_group: u32, begin_page: u32, end_page: u32,
    }
    /// `shaders/gate.wgsl`.
    GateParams { rows: u32, width: u32, stride: u32, up_stride: u32, up_first: u32, flags: u32, limit: f32 }
    /// `shaders/xielu.wgsl`.
    XieluParams {
        rows: u32, width: u32, stride: u32, positive_offset: u32, negative_offset: u32, slope_offset: u32,
    }
    /// `shaders/mix_streams.wgsl`.
    MixStreamsParams { rows: u32, width: u32, stride: u32, coef_stride: u32, flags: u32 }
    /// `shaders/match_size.wgsl`.
    MatchSizeParams { rows: u32, width: u32, stride: u32, floor: f32, flags: u32 }
    /// `shaders/cutoff.wgsl`.
    CutoffParams { rows: u32, width: u32, stride: u32, deviations: f32 }
    /// `shaders/logits.wgsl`.
    LogitsParams {
        rows: u32, width: u32, stride: u32, scale: f32, cap: f32, factors_offset: u32, flags: u32,
    }
    /// `shaders/gather_rows.wgsl`.
    GatherRowsParams { rows: u32, width: u32, input_stride: u32, output_stride: u32, indices_offset: u32, flags: u32 }
    /// `shaders/scatter_rows.wgsl`.
    ScatterRowsParams { rows: u32, width: u32, input_stride: u32, output_stride: u32, first: u32, flags: u32 }
    /// `shaders/place_columns.wgsl`.
    PlaceColumnsParams {
        rows: u32, groups: u32, width: u32, input_stride: u32, input_group: u32, output_stride: u32, output_group: u32,
        first: u32,
    }
    /// `shaders/compare_halves.wgsl`.
    CompareHalvesParams { words: u32 }
    /// `shaders/copy.wgsl`.
    CopyParams { vectors: u32 }
    /// `shaders/conv.wgsl`.
    ConvParams { width: u32, stride: u32, first: u32, channels: u32, weight_offset: u32, state_stride: u32 }
    /// `shaders/delta_rule.wgsl`.
    DeltaRuleParams {
        heads: u32, key_heads: u32, key_dim: u32, value_dim: u32, query_stride: u32, key_stride: u32,
        value_stride: u32, decay_stride: u32, beta_stride: u32, rate_offset: u32, bias_offset: u32, state_offset: u32,
        state_stride: u32, tiled: u32,
    }
    /// `shaders/argmax.wgsl`.
    ArgmaxParams { rows: u32, width: u32, stride: u32, result_offset: u32 }
}

/// [`MatMulParams::flags`], [`NormParams::flags`] and [`MatchSizeParams::flags`]: add to what the output holds.
pub const ACCUMULATE: u32 = 1;
/// [`MatMulParams::flags`] and [`NormParams::flags`]: add the bias.
pub const BIAS: u32 = 2;
/// [`NormParams::flags`]: multiply with the weight.
pub const WEIGHT: u32 = 4;
/// [`NormParams::flags`]: take off the mean.
pub const LAYER: u32 = 8;
/// [`NormParams::flags`]: multiply the output with a number.
pub const FACTOR: u32 = 16;
/// [`LogitsParams::flags`], [`GatherRowsParams::flags`] and [`ScatterRowsParams::flags`]: each logit, or row, has a factor of
/// its own.
pub const FACTORS: u32 = 1;
/// [`MixStreamsParams::flags`]: streams are corrected, not predicted.
pub const CORRECT: u32 = 1;
/// [`GateParams::flags`]: there is nothing to multiply with.
pub const UNGATED: u32 = 1;
/// [`GateParams::flags`]: one factor serves all values of a row.
pub const ONE_FACTOR: u32 = 2;
/// [`AttentionParams::flags`]: the first dispatch starts the softmax.
pub const FIRST: u32 = 1;
/// [`AttentionParams::flags`]: the last dispatch ends it.
pub const LAST: u32 = 2;
/// [`AttentionParams::flags`]: the softmax has a term that no value belongs to.
pub const SINKS: u32 = 4;
/// [`AttentionParams::flags`]: scores fall with distance.
pub const ALIBI: u32 = 8;
/// [`AttentionParams::flags`]: positions are cut in chunks as long as the window, and none sees beyond its own.
pub const CHUNKS: u32 = 16;
/// [`AttentionParams::flags`]: values are the front of the keys.
pub const VALUES_IN_KEYS: u32 = 32;

/// Workgroups `[x, y, z]` of each kernel.
pub mod grid {
    use super::*;

    /// No dimension of a grid may be larger, on any adapter.
    const MOST_WORKGROUPS: u64 = 65_535;
    /// Invocations in a workgroup of the kernels that go value by value.
    const FLAT: u64 = 64;

    /// Threads of a processor's driver, at most: each gets workgroups enough to take all blocks.
    const TAKERS: u32 = 32;

    /// Blocks that a workgroup takes at most, as shaders/parts/blocks_taken.wgsl has it.
    pub(super) fn blocks_of_a_taker(lanes: u32, params: &MatMulParams) -> u32 {
        (BLOCK_TURNS / (params.chunks / lanes + TURNS_OF_SUMS)).max(1)
    }

    fn fold(workgroups: u64) -> [u32; 3] {
        let y = workgroups.div_ceil(MOST_WORKGROUPS).max(1);
        // As even as can be, so that few workgroups have nothing to do.
        [workgroups.div_ceil(y).max(1) as u32, y as u32, 1]
    }

    fn flat(rows: u32, width: u32) -> [u32; 3] {
        fold((u64::from(rows) * u64::from(width)).div_ceil(FLAT))
    }

    /// Row groups folded over x and y, tokens (or groups of them) over z; over x those that take them, where they do.
    pub fn matmul(tuning: &Tuning, id: KernelId, params: &MatMulParams) -> [u32; 3] {
        let (shape, (rows, tokens)) = (tuning.shape(id), id.block(tuning));
        let blocks = params.rows.div_ceil(shape.groups * rows);
        if id.takes_blocks(tuning) {
            let blocks = blocks * params.tokens;
            return [blocks.min(TAKERS * blocks.div_ceil(blocks_of_a_taker(shape.lanes, params))), 1, 1];
        }
        let [x, y, _] = fold(u64::from(blocks));
        [x, y, params.tokens.div_ceil(tokens)]
    }

    /// An invocation for 32 columns of a group, tokens over z.
    pub fn matmul_transposed(params: &MatMulTransposedParams) -> [u32; 3] {
        let last = (params.first_row + params.rows - 1) / params.group_rows;
        let [x, y, _] = flat(last - params.first_row / params.group_rows + 1, params.columns.div_ceil(32));
        [x, y, params.tokens]
    }

    /// An invocation a chunk.
    pub fn quantize_rows(params: &QuantizeRowsParams) -> [u32; 3] {
        flat(params.rows, params.columns.div_ceil(32))
    }

    /// A workgroup a group.
    pub fn norm(params: &NormParams) -> [u32; 3] {
        fold(u64::from(params.rows) * u64::from(params.groups))
    }

    /// An invocation a pair.
    pub fn rope(params: &RopeParams) -> [u32; 3] {
        flat(params.rows, params.heads * params.pairs)
    }

    /// An invocation a pair of a query, and one a value (or two of them, in f16: the others have nothing to do).
    pub fn kv_write(params: &KvWriteParams) -> [u32; 3] {
        flat(params.rows, params.heads * params.pairs + params.key_width + params.value_width)
    }

    /// As many workgroups as rows have heads; those that share keys are served by few of them, and the others return.
    pub fn attention(params: &AttentionParams) -> [u32; 3] {
        [params.heads, params.rows, 1]
    }

    /// An invocation a value.
    pub fn gate(params: &GateParams) -> [u32; 3] {
        flat(params.rows, params.width)
    }

    /// An invocation a value.
    pub fn xielu(params: &XieluParams) -> [u32; 3] {
        flat(params.rows, params.width)
    }

    /// An invocation a value of a stream.
    pub fn mix_streams(params: &MixStreamsParams) -> [u32; 3] {
        flat(params.rows, params.width)
    }

    /// A workgroup a row.
    pub fn match_size(params: &MatchSizeParams) -> [u32; 3] {
        fold(u64::from(params.rows))
    }

    /// A workgroup a row.
    pub fn cutoff(params: &CutoffParams) -> [u32; 3] {
        fold(u64::from(params.rows))
    }

    /// An invocation a value.
    pub fn logits(params: &LogitsParams) -> [u32; 3] {
        flat(params.rows, params.width)
    }

    /// An invocation a value.
    pub fn gather_rows(params: &GatherRowsParams) -> [u32; 3] {
        flat(params.rows, params.width)
    }

    /// An invocation a value.
    pub fn scatter_rows(params: &ScatterRowsParams) -> [u32; 3] {
        flat(params.rows, params.width)
    }

    /// An invocation a value.
    pub fn place_columns(params: &PlaceColumnsParams) -> [u32; 3] {
        flat(params.rows, params.groups * params.width)
    }

    /// An invocation a word.
    pub fn compare_halves(params: &CompareHalvesParams) -> [u32; 3] {
        flat(params.words, 1)
    }

    /// An invocation 16 bytes.
    pub fn copy(params: &CopyParams) -> [u32; 3] {
        fold(u64::from(params.vectors).div_ceil(FLAT))
    }

    /// An invocation a channel, over x; rows over y, of which only the first of each sequence has work.
    pub fn conv(params: &ConvParams, rows: u32) -> [u32; 3] {
        [params.width.div_ceil(FLAT as u32), rows, 1]
    }

    /// An invocation a value, over x; rows over y, of which only the first of each sequence has work.
    pub fn delta_rule(params: &DeltaRuleParams, rows: u32) -> [u32; 3] {
        [(params.heads * params.value_dim).div_ceil(FLAT as u32), rows, 1]
    }

    /// A workgroup a row.
    pub fn argmax(params: &ArgmaxParams) -> [u32; 3] {
        [params.rows, 1, 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Encoding;
    use crate::gpu::tuning::plain_product;

    #[test]
    fn the_workgroups_of_any_thread_can_take_all_blocks_within_their_turns() {
        let tuning = Tuning {
            strands: 8,
            lanes: 8,
            groups: 1,
            vector_rows: 8,
            subgroups: true,
            takes_blocks: true,
            ..Tuning::WITHOUT_SUMS
        };
        let id = plain_product(Encoding::Q4_1, 1);
        for (rows, columns) in [(1, 32), (9, 4096), (234, 28_672), (70_001, 32), (128_256, 16_384), (1 << 20, 53_248)] {
            let params = MatMulParams { rows, chunks: columns / 32, tokens: 1, ..MatMulParams::default() };
            let ([x, y, z], blocks) = (grid::matmul(&tuning, id, &params), rows.div_ceil(8));
            let each = grid::blocks_of_a_taker(8, &params);
            assert_eq!((y, z), (1, 1));
            assert!(
                x >= 1 && x <= blocks.min(65_535) && (x == blocks || x / 32 * each >= blocks),
                "{rows} {columns}: {x}"
            );
            // The turn of the block itself, those over its chunks, and three for the sum of each row.
            assert!(each * (1 + params.chunks.div_ceil(8) + 8 * 3) < 65_535, "{rows} {columns}");
        }
    }
}
