//! Parameter blocks of the kernels, field by field as the `Params` of each WGSL file says, and their dispatch grids.

use bytemuck::{Pod, Zeroable};

use super::kernels::{ROWS, TOKENS, Tuning};

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
    }
    /// `shaders/norm.wgsl`.
    NormParams {
        rows: u32, groups: u32, width: u32, input_stride: u32, output_stride: u32, weight_offset: u32,
        bias_offset: u32, weight_stride: u32, epsilon: f32, scale: f32, flags: u32,
    }
    /// `shaders/rope.wgsl`.
    RopeParams {
        rows: u32, heads: u32, head_dim: u32, pairs: u32, stride: u32, angles_stride: u32, angles_offset: u32,
    }
    /// `shaders/kv_write.wgsl`.
    KvWriteParams {
        rows: u32, key_width: u32, value_width: u32, key_stride: u32, value_stride: u32, segment_first_page: u32,
        segment_pages: u32,
    }
    /// `shaders/attention.wgsl`.
    AttentionParams {
        rows: u32, heads: u32, kv_heads: u32, head_dim: u32, value_dim: u32, key_width: u32, value_width: u32,
        scale: f32, window: u32,
        query_stride: u32, output_stride: u32, segment_first_page: u32, segment_pages: u32, softcap: f32,
        sinks_offset: u32, flags: u32,
    }
    /// `shaders/gate.wgsl`.
    GateParams { rows: u32, width: u32, stride: u32, up_stride: u32, flags: u32, limit: f32 }
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
    /// `shaders/argmax.wgsl`.
    ArgmaxParams { rows: u32, width: u32, stride: u32, result_offset: u32 }
}

/// [`MatMulParams::flags`] and [`NormParams::flags`]: add to what the output holds.
pub const ACCUMULATE: u32 = 1;
/// [`MatMulParams::flags`] and [`NormParams::flags`]: add the bias.
pub const BIAS: u32 = 2;
/// [`NormParams::flags`]: multiply with the weight.
pub const WEIGHT: u32 = 4;
/// [`NormParams::flags`]: take off the mean.
pub const LAYER: u32 = 8;
/// [`LogitsParams::flags`], [`GatherRowsParams::flags`] and [`ScatterRowsParams::flags`]: each logit, or row, has a factor of
/// its own.
pub const FACTORS: u32 = 1;
/// [`GateParams::flags`]: there is nothing to multiply with.
pub const UNGATED: u32 = 1;
/// [`GateParams::flags`]: one factor serves all values of a row.
pub const ONE_FACTOR: u32 = 2;
/// [`AttentionParams::flags`]: the first segment starts the softmax.
pub const FIRST_SEGMENT: u32 = 1;
/// [`AttentionParams::flags`]: the last segment ends it.
pub const LAST_SEGMENT: u32 = 2;
/// [`AttentionParams::flags`]: the softmax has a term that no value belongs to.
pub const SINKS: u32 = 4;
/// [`AttentionParams::flags`]: scores fall with distance.
pub const ALIBI: u32 = 8;
/// [`AttentionParams::flags`]: positions are cut in chunks as long as the window, and none sees beyond its own.
pub const CHUNKS: u32 = 16;

/// Workgroups `[x, y, z]` of each kernel.
pub mod grid {
    use super::*;

    /// No dimension of a grid may be larger, on any adapter.
    const MOST_WORKGROUPS: u64 = 65_535;
    /// Invocations in a workgroup of the kernels that go value by value.
    const FLAT: u64 = 64;

    fn fold(workgroups: u64) -> [u32; 3] {
        let y = workgroups.div_ceil(MOST_WORKGROUPS).max(1);
        // As even as can be, so that few workgroups have nothing to do.
        [workgroups.div_ceil(y).max(1) as u32, y as u32, 1]
    }

    fn flat(rows: u32, width: u32) -> [u32; 3] {
        fold((u64::from(rows) * u64::from(width)).div_ceil(FLAT))
    }

    /// Row groups folded over x and y, tokens (or groups of them, where `tiled`) over z.
    pub fn matmul(tuning: &Tuning, params: &MatMulParams, tiled: bool) -> [u32; 3] {
        let (rows, tokens) = if tiled { (ROWS, TOKENS) } else { (1, 1) };
        let [x, y, _] = fold(u64::from(params.rows.div_ceil(tuning.groups * rows)));
        [x, y, params.tokens.div_ceil(tokens)]
    }

    /// A workgroup a group.
    pub fn norm(params: &NormParams) -> [u32; 3] {
        fold(u64::from(params.rows) * u64::from(params.groups))
    }

    /// An invocation a pair.
    pub fn rope(params: &RopeParams) -> [u32; 3] {
        flat(params.rows, params.heads * params.pairs)
    }

    /// An invocation a value (or two of them, in f16: the others have nothing to do).
    pub fn kv_write(params: &KvWriteParams) -> [u32; 3] {
        flat(params.rows, params.key_width + params.value_width)
    }

    /// A workgroup for each head of each row.
    pub fn attention(params: &AttentionParams) -> [u32; 3] {
        [params.heads, params.rows, 1]
    }

    /// An invocation a value.
    pub fn gate(params: &GateParams) -> [u32; 3] {
        flat(params.rows, params.width)
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

    /// A workgroup a row.
    pub fn argmax(params: &ArgmaxParams) -> [u32; 3] {
        [params.rows, 1, 1]
    }
}
