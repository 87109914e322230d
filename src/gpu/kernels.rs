//! The table of kernels: entry point, the WGSL parts it is composed of, its constants, its bindings.

pub use super::compile::{Kernel, Kernels};
use super::compose::Composed;
pub use super::inputs::*;
pub use super::params::*;
pub use super::tuning::{Shape, Tuning};
use crate::Result;
use crate::encoding::{ENCODINGS, Encoding, grids};
use crate::plan::Activation;

/// Positions in a page of the KV cache.
pub const PAGE_TOKENS: u32 = 32;
/// Pages of a sequence in one dispatch of attention at most. Mesa's llvmpipe leaves its loops, without a word, after 65,535
/// turns of all of them together, of which the widest head takes 1,650 a page; and drivers reset what takes seconds.
pub const SPAN_PAGES: u32 = 32;
/// Queries that attention serves at once: a row alone whose heads share no keys, and others.
pub const QUERIES: [u32; 2] = [1, 4];
/// Turns of all its loops after which a workgroup takes no further block, half of those at which llvmpipe leaves loops.
pub(super) const BLOCK_TURNS: u32 = 32_768;
/// Of them those that a block takes besides the turns over its chunks, at most: for the sums of its rows.
pub(super) const TURNS_OF_SUMS: u32 = 40;
/// Where kernels find the grids of i-quants, behind all other bindings of any kernel that decodes one.
pub(super) const GRIDS_BINDING: u32 = 7;

impl Activation {
    /// Every one there is.
    pub const ALL: [Self; 7] = [
        Self::Silu,
        Self::Gelu,
        Self::GeluTanh,
        Self::SquaredRelu,
        Self::Sigmoid,
        Self::SigmoidFactor,
        Self::ClampedSwiglu,
    ];

    /// The WGSL part that computes it.
    fn part(self) -> &'static str {
        match self {
            Self::Silu => "parts/silu.wgsl",
            Self::Gelu => "parts/gelu.wgsl",
            Self::GeluTanh => "parts/gelu_tanh.wgsl",
            Self::SquaredRelu => "parts/squared_relu.wgsl",
            Self::Sigmoid => "parts/sigmoid.wgsl",
            Self::SigmoidFactor => "parts/sigmoid_factor.wgsl",
            Self::ClampedSwiglu => "parts/clamped_swiglu.wgsl",
        }
    }
}

/// How the KV cache stores numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KvType {
    F32,
    F16,
}

impl KvType {
    /// Bytes of a value.
    pub fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KernelId {
    /// Matrix times one token.
    MatVec(Encoding, InputType, InputSpace),
    /// The same where the matrix's rows come in groups, each with a part of the input of its own.
    MatVecInGroups(Encoding),
    /// Matrix times many tokens; the same bits for each.
    MatMul(Encoding, InputType, InputSpace),
    /// The transpose of each group of a matrix's rows times the values of a group.
    MatMulTransposed(Encoding),
    /// Rows as [`InputType::I8`].
    QuantizeRows,
    Norm,
    /// The same where input and output are one buffer.
    NormInPlace,
    Rope,
    KvWrite(KvType),
    /// Attention of so many queries at once that read the same keys: 1 or 4. The same bits for each.
    Attention(KvType, u32),
    Gate(Activation),
    /// The same where what it is multiplied with lies in the same rows, or is nothing.
    GateWithin(Activation),
    /// Scale and cap of the logits.
    Logits,
    Argmax,
    GatherRows,
    ScatterRows,
    PlaceColumns,
    /// A plain copy, to measure others by.
    Copy,
    /// Whether shader-f16 widens numbers as `unpack2x16float` does.
    CompareHalves,
    /// Causal convolution along a sequence.
    Conv,
    DeltaRule,
    /// An activation whose numbers a layer learned.
    Xielu,
    /// Four streams of a residual, predicted from each other or corrected by what a layer gave.
    MixStreams,
    /// Rows brought to the size of others.
    MatchSize,
    /// What of a row stands out.
    Cutoff,
}

/// What a shader does with a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
    Uniform,
}
use Access::{Read, Uniform, Write};

/// A kernel as data.
#[derive(Clone, Debug)]
pub struct KernelRow {
    pub entry: &'static str,
    pub composed: Composed,
    pub(super) bindings: &'static [Access],
    /// Whether a binding follows for the recorder's counter of blocks.
    pub(super) takes_blocks: bool,
    /// How it reads the recorder's grids, at [`GRIDS_BINDING`]. `None`: it has none to read.
    pub(super) grids: Option<Access>,
    pub(super) params_bytes: u64,
}

impl KernelId {
    /// The attention for `rows` rows, of which `sharing` heads read the same keys.
    pub fn attention(kv: KvType, rows: u32, sharing: u32) -> Self {
        let [one, many] = QUERIES;
        Self::Attention(kv, if rows.max(sharing) > 1 { many } else { one })
    }

    /// Every kernel there is.
    pub fn all() -> Vec<Self> {
        let mut ids = vec![
            Self::QuantizeRows,
            Self::Norm,
            Self::NormInPlace,
            Self::Rope,
            Self::Xielu,
            Self::MixStreams,
            Self::MatchSize,
            Self::Cutoff,
            Self::Logits,
            Self::Argmax,
            Self::GatherRows,
            Self::ScatterRows,
            Self::PlaceColumns,
            Self::Copy,
            Self::CompareHalves,
            Self::Conv,
            Self::DeltaRule,
        ];
        ids.extend(Activation::ALL.map(Self::Gate));
        ids.extend(Activation::ALL.map(Self::GateWithin));
        for kv in [KvType::F32, KvType::F16] {
            ids.push(Self::KvWrite(kv));
            ids.extend(QUERIES.map(|queries| Self::Attention(kv, queries)));
        }
        for row in ENCODINGS {
            let encoding = row.encoding;
            for input in encoding.input_types().iter().copied() {
                for space in [InputSpace::Storage, InputSpace::Uniform] {
                    ids.extend([Self::MatVec(encoding, input, space), Self::MatMul(encoding, input, space)]);
                }
            }
            ids.extend([Self::MatVecInGroups(encoding), Self::MatMulTransposed(encoding)]);
        }
        ids
    }

    /// The kernel's row for an adapter's tuning.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) where a part is missing: a fault of this table.
    pub fn row(self, tuning: &Tuning) -> Result<KernelRow> {
        let (entry, mut parts, bindings, params_bytes) = self.parts(tuning);
        let reads = self.reads_grids().then_some(if tuning.uniform_inputs { Uniform } else { Read });
        parts.extend(reads.map(|access| match access {
            Uniform => "parts/grids_uniform.wgsl".to_owned(),
            _ => "parts/grids_storage.wgsl".to_owned(),
        }));
        let parts: Vec<&str> = parts.iter().map(|part| &**part).collect();
        let uses_lanes = self.is_product() || self.sums_rows();
        let (lanes, groups) = match self {
            _ if self.is_product() => (tuning.shape(self).lanes, tuning.shape(self).groups),
            Self::Attention(..) => (tuning.attention_lanes, 1),
            _ => (tuning.wide_lanes, 1),
        };
        let mut constants = vec![
            ("LANES", lanes),
            ("GROUPS", groups),
            ("TOKENS", TOKENS),
            ("PAGE_TOKENS", PAGE_TOKENS),
            ("SCALE_CHUNKS", self.encoding().map_or(1, Encoding::scale_chunks)),
        ];
        if self.is_product() {
            constants.extend([("STRANDS", tuning.strands), ("UNIFORM_VECTORS", UNIFORM_BYTES as u32 / 16)]);
        }
        let grid = self.encoding().and_then(grids::place);
        if let Some((first, _)) = grid {
            constants.extend([("GRID", first as u32), ("GRID_VECTORS", grids::ENTRIES as u32 / 8)]);
        }
        let takes_blocks = self.takes_blocks(tuning);
        if takes_blocks {
            constants.extend([("BLOCK_TURNS", BLOCK_TURNS), ("TURNS_OF_SUMS", TURNS_OF_SUMS)]);
        }
        let subgroups = uses_lanes && self.shuffles(tuning) && crate::platform::ENABLE_SUBGROUPS;
        let enabled =
            [(subgroups, "subgroups"), (self.needs_f16(tuning), "f16")].into_iter().filter(|(is_used, _)| *is_used);
        let composed = Composed::new(&enabled.map(|(_, name)| name).collect::<Vec<_>>(), &constants, &parts)?;
        Ok(KernelRow { entry, composed, bindings, takes_blocks, grids: reads, params_bytes })
    }

    /// Rows and tokens that an invocation of a matrix product has in registers.
    pub fn block(self, tuning: &Tuning) -> (u32, u32) {
        let tokens = if matches!(self, Self::MatMul(..)) { TOKENS } else { 1 };
        (tuning.shape(self).rows, tokens)
    }

    /// What the matrix of a product is stored in.
    fn encoding(self) -> Option<Encoding> {
        match self {
            Self::MatVec(encoding, ..)
            | Self::MatVecInGroups(encoding)
            | Self::MatMul(encoding, ..)
            | Self::MatMulTransposed(encoding) => Some(encoding),
            _ => None,
        }
    }

    /// Whether lanes share a row's sum.
    fn is_product(self) -> bool {
        matches!(self, Self::MatVec(..) | Self::MatVecInGroups(_) | Self::MatMul(..))
    }

    /// Whether the lanes of a workgroup share the sums of a row.
    fn sums_rows(self) -> bool {
        matches!(self, Self::Norm | Self::NormInPlace | Self::MatchSize | Self::Cutoff)
    }

    /// Whether its workgroups take blocks of rows as they come to them: see shaders/parts/blocks_taken.wgsl.
    pub(super) fn takes_blocks(self, tuning: &Tuning) -> bool {
        let shape = tuning.shape(self);
        tuning.takes_blocks && matches!(self, Self::MatVec(..)) && shape.groups == 1 && shape.subgroups
    }

    /// Whether it decodes an encoding that has a grid: see shaders/parts/grids.wgsl.
    pub fn reads_grids(self) -> bool {
        self.encoding().and_then(grids::place).is_some()
    }

    /// Whether it needs shader-f16.
    fn needs_f16(self, tuning: &Tuning) -> bool {
        let is_product = self.is_product() && self.encoding() == Some(Encoding::F16);
        self == Self::CompareHalves || (is_product && tuning.shape(self).f16)
    }

    /// Whether the lanes that share a sum fit a subgroup.
    fn shuffles(self, tuning: &Tuning) -> bool {
        match self {
            _ if self.sums_rows() => tuning.subgroups && tuning.wide_lanes <= tuning.lanes,
            _ => tuning.shape(self).subgroups,
        }
    }

    fn parts(self, tuning: &Tuning) -> (&'static str, Vec<String>, &'static [Access], u64) {
        let lanes = if self.shuffles(tuning) { "parts/lanes_subgroup.wgsl" } else { "parts/lanes_workgroup.wgsl" };
        let loads = if tuning.loads_64 { "parts/loads_64.wgsl" } else { "parts/loads_32.wgsl" };
        let weights = ["parts/weights.wgsl", loads, "parts/bits.wgsl"];
        const WHOLE: &str = "parts/input_whole.wgsl";
        const IN_GROUPS: &str = "parts/input_in_groups.wgsl";
        let takes_blocks = self.takes_blocks(tuning);
        let product = |space| -> &'static [Access] {
            match space {
                InputSpace::Storage => &[Read, Read, Read, Read, Write],
                InputSpace::Uniform => &[Read, Read, Uniform, Read, Write],
            }
        };
        let own = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect();
        let matmul = |encoding: Encoding, input: InputType, space: InputSpace, groups: &str| {
            let (rows, _) = self.block(tuning);
            let (inputs, folder, encoding) = match (input, encoding.i8_parts()) {
                (InputType::I8, Some(parts)) => ("i8/inputs.wgsl", "i8", parts),
                _ if self.needs_f16(tuning) => {
                    ("parts/inputs_f32.wgsl", "parts", &["encoding/f16_native.wgsl"] as &[&str])
                }
                _ => ("parts/inputs_f32.wgsl", "parts", encoding.parts()),
            };
            let (rows_of, totals) = (format!("{folder}/rows_{rows}.wgsl"), format!("parts/totals_{rows}.wgsl"));
            let strands = format!("parts/strands_{}.wgsl", tuning.strands / tuning.shape(self).lanes.max(1));
            let input = match space {
                InputSpace::Storage => "parts/input_storage.wgsl",
                InputSpace::Uniform => "parts/input_uniform.wgsl",
            };
            let all = ["matmul.wgsl", input, inputs, &rows_of, &totals, &strands, lanes, groups];
            let blocks: &[&str] = if takes_blocks { &["parts/blocks_taken.wgsl"] } else { &[] };
            own(&[&all[..], &weights, encoding, blocks].concat())
        };
        let transposed =
            |encoding: Encoding| own(&[&["matmul_transposed.wgsl"], &weights[..], encoding.parts()].concat());
        let kv = |kind| match kind {
            KvType::F32 => "parts/kv_f32.wgsl",
            KvType::F16 => "parts/kv_f16.wgsl",
        };
        // A processor counts loads, a GPU wants neighbours to load what lies together.
        let wide = if tuning.attention_lanes < 32 { "parts/wide_4.wgsl" } else { "parts/wide_1.wgsl" };
        match self {
            Self::MatVec(encoding, input, space) => {
                let entry = if takes_blocks { "matvec_taking" } else { "matvec" };
                (entry, matmul(encoding, input, space, WHOLE), product(space), size::<MatMulParams>())
            }
            Self::MatVecInGroups(encoding) => {
                let (input, space) = (InputType::F32, InputSpace::Storage);
                ("matvec", matmul(encoding, input, space, IN_GROUPS), product(space), size::<MatMulParams>())
            }
            Self::MatMul(encoding, input, space) => {
                ("matmul", matmul(encoding, input, space, WHOLE), product(space), size::<MatMulParams>())
            }
            Self::QuantizeRows => {
                ("quantize_rows", own(&["quantize_rows.wgsl"]), &[Read, Write], size::<QuantizeRowsParams>())
            }
            Self::MatMulTransposed(encoding) => (
                "matmul_transposed",
                transposed(encoding),
                &[Read, Read, Read, Write],
                size::<MatMulTransposedParams>(),
            ),
            Self::Norm => (
                "norm",
                own(&["norm.wgsl", "parts/norm_apart.wgsl", lanes]),
                &[Read, Read, Write],
                size::<NormParams>(),
            ),
            Self::NormInPlace => {
                ("norm", own(&["norm.wgsl", "parts/norm_in_place.wgsl", lanes]), &[Read, Write], size::<NormParams>())
            }
            Self::Rope => ("rope", own(&["rope.wgsl"]), &[Read, Write], size::<RopeParams>()),
            Self::KvWrite(kind) => (
                "kv_write",
                own(&["kv_write.wgsl", "parts/kv_pages.wgsl", kv(kind)]),
                &[Write, Read, Read, Read, Write],
                size::<KvWriteParams>(),
            ),
            Self::Attention(kind, queries) => (
                "attention",
                own(&[
                    "attention.wgsl",
                    &format!("parts/queries_{queries}.wgsl"),
                    wide,
                    "parts/kv_pages.wgsl",
                    kv(kind),
                ]),
                &[Read, Read, Read, Read, Read, Write, Write],
                size::<AttentionParams>(),
            ),
            Self::Gate(activation) => (
                "gate",
                own(&["gate.wgsl", "parts/gate_apart.wgsl", activation.part()]),
                &[Read, Write],
                size::<GateParams>(),
            ),
            Self::GateWithin(activation) => (
                "gate",
                own(&["gate.wgsl", "parts/gate_within.wgsl", activation.part()]),
                &[Write],
                size::<GateParams>(),
            ),
            Self::Xielu => ("xielu", own(&["xielu.wgsl"]), &[Read, Write], size::<XieluParams>()),
            Self::MixStreams => (
                "mix_streams",
                own(&["mix_streams.wgsl"]),
                &[Read, Read, Write, Write, Write, Write],
                size::<MixStreamsParams>(),
            ),
            Self::MatchSize => {
                ("match_size", own(&["match_size.wgsl", lanes]), &[Read, Read, Write], size::<MatchSizeParams>())
            }
            Self::Cutoff => ("cutoff", own(&["cutoff.wgsl", lanes]), &[Write], size::<CutoffParams>()),
            Self::Logits => ("logits", own(&["logits.wgsl"]), &[Read, Write], size::<LogitsParams>()),
            Self::Argmax => ("argmax", own(&["argmax.wgsl"]), &[Read, Write], size::<ArgmaxParams>()),
            Self::Copy => ("copy", own(&["copy.wgsl", loads]), &[Read, Write], size::<CopyParams>()),
            Self::CompareHalves => {
                ("compare_halves", own(&["compare_halves.wgsl"]), &[Read, Read, Write], size::<CompareHalvesParams>())
            }
            Self::PlaceColumns => {
                ("place_columns", own(&["place_columns.wgsl"]), &[Read, Write], size::<PlaceColumnsParams>())
            }
            Self::Conv => ("conv", own(&["conv.wgsl"]), &[Read, Read, Write, Write], size::<ConvParams>()),
            Self::DeltaRule => (
                "delta_rule",
                own(&["delta_rule.wgsl"]),
                &[Read, Read, Read, Read, Read, Read, Write, Write],
                size::<DeltaRuleParams>(),
            ),
            Self::ScatterRows => {
                ("scatter_rows", own(&["scatter_rows.wgsl"]), &[Read, Read, Read, Write], size::<ScatterRowsParams>())
            }
            Self::GatherRows => {
                ("gather_rows", own(&["gather_rows.wgsl"]), &[Read, Read, Read, Write], size::<GatherRowsParams>())
            }
        }
    }
}

fn size<P>() -> u64 {
    // WGSL rounds a uniform struct up to 16 bytes.
    size_of::<P>().next_multiple_of(16) as u64
}
