//! The plan lowered once: buffers, states, sections and steps of a sweep with their offsets and parameters, as data.
//!
//! The memory of a model is planned by it, its kernels are compiled by it, and its sweeps walk it.

use std::collections::HashSet;

use super::kv::StateLayout;
use super::layout::MatrixLayout;
use crate::gpu::kernels::{
    ArgmaxParams, AttentionParams, BIAS, ConvParams, CutoffParams, DeltaRuleParams, FACTOR, FACTORS, GateParams,
    GatherRowsParams, InputSpace, InputType, KernelId, KvType, KvWriteParams, LogitsParams, MatMulParams,
    MatMulTransposedParams, MatchSizeParams, MixStreamsParams, NormParams, PlaceColumnsParams, QuantizeRowsParams,
    RopeParams, ScatterRowsParams, TOKENS, UNIFORM_BYTES, WEIGHT, XieluParams, grid,
};
use crate::gpu::tuning::product;
use crate::plan::Routing;
use crate::stream::RowRun;

/// Index of a buffer in [`Program::buffers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BufferIndex(pub u16);

/// How a buffer of a sweep is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufferUse {
    /// By shaders and copies.
    Storage,
    /// Written by the host.
    Staging,
    /// Read by the host.
    Readback,
}

/// A buffer of a sweep: everything on the GPU but tiles, windows, states of sequences and the recorder's parameters.
#[derive(Clone, Debug)]
pub struct BufferPlan {
    pub name: &'static str,
    /// Bytes for each row of a sweep, for each row that gives an output, and beside them.
    pub row_bytes: u64,
    pub output_bytes: u64,
    pub fixed_bytes: u64,
    /// Whether products take it: then it may be bound as a uniform buffer.
    pub product_input: bool,
    pub reached: BufferUse,
}

impl BufferPlan {
    /// Bytes of it in sweeps of so many rows and outputs.
    pub fn bytes(&self, rows: u64, outputs: u64, uniform_inputs: bool) -> u64 {
        let bytes = rows * self.row_bytes + outputs * self.output_bytes + self.fixed_bytes;
        let behind = if self.product_input && uniform_inputs { UNIFORM_BYTES } else { 0 };
        bytes.max(16).next_multiple_of(16) + behind
    }
}

/// What a kernel has bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    Buffer(BufferIndex),
    /// The vectors of the layer or expert under way, wherever they lie.
    Vectors,
    /// The recurrent states of a layer.
    States(usize),
}

/// Parameters of a dispatch. Offsets of vectors count from the first one of the layer; [`Params::at`] fills in what a sweep
/// decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Params {
    Norm(NormParams),
    Rope(RopeParams),
    Place(PlaceColumnsParams),
    Gate(GateParams),
    Xielu(XieluParams),
    MixStreams(MixStreamsParams),
    MatchSize(MatchSizeParams),
    Cutoff(CutoffParams),
    Conv(ConvParams),
    DeltaRule(DeltaRuleParams),
    QuantizeRows(QuantizeRowsParams),
    GatherRows(GatherRowsParams),
    ScatterRows(ScatterRowsParams),
    Logits(LogitsParams),
    Argmax(ArgmaxParams),
}

impl Params {
    /// The same for `rows` rows of a sweep, `first` being the first one where rows are chosen from a list, and vectors that
    /// begin `vectors` floats into their buffer.
    pub fn at(mut self, rows: u32, first: u32, vectors: u32) -> Self {
        match &mut self {
            Self::Norm(params) => {
                params.rows = rows;
                let offsets = [
                    (WEIGHT, &mut params.weight_offset),
                    (BIAS, &mut params.bias_offset),
                    (FACTOR, &mut params.factor_offset),
                ];
                for (flag, offset) in offsets {
                    *offset += if params.flags & flag == 0 { 0 } else { vectors };
                }
                params.later_offset += if params.later == u32::MAX { 0 } else { vectors };
            }
            Self::Rope(params) => params.rows = rows,
            Self::Place(params) => params.rows = rows,
            Self::Gate(params) => params.rows = rows,
            Self::Xielu(params) => {
                params.rows = rows;
                params.positive_offset += vectors;
                params.negative_offset += vectors;
                params.slope_offset += vectors;
            }
            Self::MixStreams(params) => params.rows = rows,
            Self::MatchSize(params) => params.rows = rows,
            Self::Cutoff(params) => params.rows = rows,
            Self::Conv(params) => params.weight_offset += vectors,
            Self::DeltaRule(params) => {
                params.rate_offset += vectors;
                params.bias_offset += vectors;
            }
            Self::QuantizeRows(params) => params.rows = rows,
            Self::GatherRows(params) => (params.rows, params.indices_offset) = (rows, first),
            Self::ScatterRows(params) => (params.rows, params.first) = (rows, first),
            Self::Logits(params) => {
                params.rows = rows;
                params.factors_offset += if params.flags & FACTORS == 0 { 0 } else { vectors };
            }
            Self::Argmax(params) => params.rows = rows,
        }
        self
    }

    /// The block as the shader sees it.
    pub fn bytes(&self) -> &[u8] {
        use bytemuck::bytes_of;
        match self {
            Self::Norm(params) => bytes_of(params),
            Self::Rope(params) => bytes_of(params),
            Self::Place(params) => bytes_of(params),
            Self::Gate(params) => bytes_of(params),
            Self::Xielu(params) => bytes_of(params),
            Self::MixStreams(params) => bytes_of(params),
            Self::MatchSize(params) => bytes_of(params),
            Self::Cutoff(params) => bytes_of(params),
            Self::Conv(params) => bytes_of(params),
            Self::DeltaRule(params) => bytes_of(params),
            Self::QuantizeRows(params) => bytes_of(params),
            Self::GatherRows(params) => bytes_of(params),
            Self::ScatterRows(params) => bytes_of(params),
            Self::Logits(params) => bytes_of(params),
            Self::Argmax(params) => bytes_of(params),
        }
    }

    /// Workgroups for `rows` rows.
    pub fn grid(&self, rows: u32) -> [u32; 3] {
        match self {
            Self::Norm(params) => grid::norm(params),
            Self::Rope(params) => grid::rope(params),
            Self::Place(params) => grid::place_columns(params),
            Self::Gate(params) => grid::gate(params),
            Self::Xielu(params) => grid::xielu(params),
            Self::MixStreams(params) => grid::mix_streams(params),
            Self::MatchSize(params) => grid::match_size(params),
            Self::Cutoff(params) => grid::cutoff(params),
            Self::Conv(params) => grid::conv(params, rows),
            Self::DeltaRule(params) => grid::delta_rule(params, rows),
            Self::QuantizeRows(params) => grid::quantize_rows(params),
            Self::GatherRows(params) => grid::gather_rows(params),
            Self::ScatterRows(params) => grid::scatter_rows(params),
            Self::Logits(params) => grid::logits(params),
            Self::Argmax(params) => grid::argmax(params),
        }
    }
}

/// One dispatch over all rows.
#[derive(Clone, Debug)]
pub struct Dispatch {
    pub kernel: KernelId,
    pub params: Params,
    /// In the order of the kernel's bindings.
    pub slots: Vec<Slot>,
    /// Multiply-adds for each row, where they count.
    pub work_per_row: u64,
}

/// A product with matrices that are multiplied as one.
#[derive(Clone, Debug)]
pub struct Product {
    pub input: BufferIndex,
    pub output: BufferIndex,
    /// Its pieces, and for each the value of an output row where its rows begin.
    pub matrix: MatrixLayout,
    pub params: MatMulParams,
    pub input_type: InputType,
    /// Bytes from one row of the input to the next.
    pub input_row_bytes: u64,
    pub form: Form,
}

/// How the rows of a matrix meet the input.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    Whole,
    /// Runs of rows meet a group of the input each.
    InGroups,
    /// The transpose of runs of rows meets a group of the input each.
    Transposed(MatMulTransposedParams),
}

impl Product {
    /// Where its input is bound.
    pub fn space(&self, uniform_inputs: bool, tokens: u32) -> InputSpace {
        match self.form {
            Form::Whole => InputSpace::of(uniform_inputs, self.input_row_bytes, tokens),
            _ => InputSpace::Storage,
        }
    }

    /// Its kernel for so many rows.
    pub fn kernel(&self, space: InputSpace, tokens: u32) -> KernelId {
        match self.form {
            Form::Whole => product(self.matrix.encoding, (self.input_type, space), tokens),
            Form::InGroups => KernelId::MatVecInGroups(self.matrix.encoding),
            Form::Transposed(_) => KernelId::MatMulTransposed(self.matrix.encoding),
        }
    }
}

/// Keys and values of all rows go to the pages of their positions.
#[derive(Clone, Debug)]
pub struct KvWrite {
    pub layer: usize,
    pub rows: BufferIndex,
    pub params: KvWriteParams,
}

/// Attention over the pages of a layer, which may be another one.
#[derive(Clone, Debug)]
pub struct Attention {
    pub layer: usize,
    pub query: BufferIndex,
    pub output: BufferIndex,
    pub params: AttentionParams,
}

/// A router's choice.
#[derive(Clone, Debug)]
pub struct Route {
    pub layer: usize,
    pub scores: BufferIndex,
    /// Values from one row of scores to the next.
    pub stride: u64,
    pub count: u32,
    pub routing: Routing,
    /// The tensor that is added for the choice.
    pub bias: Option<String>,
    /// The tensor whose values factors are multiplied with.
    pub factors: Option<String>,
}

/// The chosen experts of a layer, each for its rows: gathered, computed, and added with their factors.
#[derive(Clone, Debug)]
pub struct Experts {
    pub layer: usize,
    pub gather: Dispatch,
    pub gate: Dispatch,
    pub scatter: Dispatch,
    /// Where an expert's vectors go that are not pinned: behind those of the layer.
    pub vectors_at_bytes: u64,
    pub experts: Vec<Expert>,
}

/// The products of one expert.
#[derive(Clone, Debug)]
pub struct Expert {
    /// The piece of its vectors, where it has some.
    pub vectors: Option<usize>,
    pub gate_up: Vec<StepKind>,
    pub down: Vec<StepKind>,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum StepKind {
    Dispatch(Dispatch),
    Product(Product),
    KvWrite(KvWrite),
    Attention(Attention),
    Route(Route),
    Experts(Box<Experts>),
}

/// A step of a layer, and the op of the plan that it is part of.
#[derive(Clone, Debug)]
pub struct Step {
    pub op: usize,
    pub kind: StepKind,
}

/// A layer, or the head: steps that share vectors.
#[derive(Clone, Debug, Default)]
pub struct Stage {
    /// The piece of its vectors, where it has some.
    pub vectors: Option<usize>,
    pub steps: Vec<Step>,
}

/// The buffers that every program has.
#[derive(Clone, Debug)]
pub struct CommonBuffers {
    pub residual: BufferIndex,
    pub vectors: BufferIndex,
    pub attention_state: BufferIndex,
    pub head_input: BufferIndex,
    pub head_normed: BufferIndex,
    pub logits: BufferIndex,
    /// Argmax results, and where the host reads them, with logits or hidden states behind.
    pub best: BufferIndex,
    pub readback: BufferIndex,
    pub angles: BufferIndex,
    /// Rows that give outputs.
    pub indices: BufferIndex,
    /// By group of states: `[rows]` of (position, where the sequence's pages begin, slot of recurrent states, how many rows
    /// of the sequence begin here: 0 where it began before). There is at least one.
    pub meta: Vec<BufferIndex>,
    /// By group of states: page numbers of every sequence of the sweep.
    pub page_tables: Vec<BufferIndex>,
    /// What the host writes for a sweep: all of those, and embeddings.
    pub staging: BufferIndex,
    /// The input of products that take it rounded.
    pub rounded: Option<BufferIndex>,
    pub experts: Option<ExpertBuffers>,
}

/// What a router's choice travels through.
#[derive(Clone, Copy, Debug)]
pub struct ExpertBuffers {
    pub rows: BufferIndex,
    pub factors: BufferIndex,
    pub scores: BufferIndex,
    pub staging: BufferIndex,
}

/// The plan of a model, lowered.
#[derive(Clone, Debug)]
pub struct Program {
    pub buffers: Vec<BufferPlan>,
    pub common: CommonBuffers,
    pub states: StateLayout,
    pub layers: Vec<Stage>,
    /// From the residual to the hidden states of the rows that give outputs.
    pub head_norm: Stage,
    /// From those to logits and the best ids, with the same vectors.
    pub head: Vec<Step>,
    /// What a sweep brings, in order.
    pub pieces: Vec<RowRun>,
    pub vocab: u32,
    pub hidden: u32,
}

impl Program {
    /// The plan of a buffer.
    pub fn buffer(&self, index: BufferIndex) -> &BufferPlan {
        &self.buffers[usize::from(index.0)]
    }

    /// Floats from one row of the residual to the next.
    pub fn residual_stride(&self) -> u64 {
        self.buffer(self.common.residual).row_bytes / 4
    }

    /// Every step, those of experts included.
    fn each_step(&self) -> impl Iterator<Item = &StepKind> {
        let steps = self.layers.iter().chain([&self.head_norm]).flat_map(|stage| &stage.steps).chain(&self.head);
        steps.flat_map(|step| {
            let experts = if let StepKind::Experts(experts) = &step.kind { &experts.experts[..] } else { &[] };
            let of_experts = experts.iter().flat_map(|expert| expert.gate_up.iter().chain(&expert.down));
            of_experts.chain([&step.kind])
        })
    }

    /// Every kernel that a sweep may ask for, each once.
    pub fn kernels(&self, kv: KvType, uniform_inputs: bool) -> Vec<KernelId> {
        let mut ids = Vec::new();
        for step in self.each_step() {
            match step {
                StepKind::Dispatch(dispatch) => ids.push(dispatch.kernel),
                StepKind::Product(product) => ids.extend([1, TOKENS].map(|tokens| {
                    let space = product.space(uniform_inputs, tokens);
                    product.kernel(space, tokens)
                })),
                StepKind::KvWrite(_) => ids.push(KernelId::KvWrite(kv)),
                // Of a row alone, and of several.
                StepKind::Attention(Attention { params, .. }) => {
                    let sharing = params.heads / params.kv_heads.max(1);
                    ids.extend([1, 2].map(|rows| KernelId::attention(kv, rows, sharing)));
                }
                StepKind::Route(_) => {}
                StepKind::Experts(experts) => {
                    ids.extend([&experts.gather, &experts.gate, &experts.scatter].map(|dispatch| dispatch.kernel));
                }
            }
        }
        let mut seen = HashSet::new();
        ids.retain(|id| seen.insert(*id));
        ids
    }

    /// Whether a kernel reads the recorder's grids.
    pub fn reads_grids(&self) -> bool {
        self.kernels(KvType::F32, false).iter().any(|kernel| kernel.reads_grids())
    }
}
