//! From plan and layout to a program: every offset, stride, parameter and kernel that no sweep changes.

mod buffers;
mod experts;
mod streams;

use self::buffers::buffers;
use super::layout::{LayerLayout, MatrixLayout, ModelLayout, Stack, stacks};
use super::memory::EngineConfig;
use super::program::{
    Attention, BufferIndex, BufferPlan, CommonBuffers, Dispatch, Form, KvWrite, Params, Product, Program, Slot, Stage,
    Step, StepKind,
};
use super::states::StateLayout;
use crate::gpu::kernels::{
    ACCUMULATE, ALIBI, ArgmaxParams, AttentionParams, BIAS, CHUNKS, ConvParams, DeltaRuleParams, FACTOR, FACTORS,
    GateParams, InputType, KernelId, KvWriteParams, LAYER, LogitsParams, MatMulParams, MatMulTransposedParams,
    NormParams, ONE_FACTOR, PlaceColumnsParams, QuantizeRowsParams, RopeParams, SINKS, UNGATED, VALUES_IN_KEYS, WEIGHT,
};
use crate::plan::{
    self, Activation, AttentionSpec, BufferId, LayerSpec, ModelSpec, NormGroups, NormKind, NormSpec, Op, RecurrentSpec,
    Rotation, StackedMatrix, Up, VectorId,
};
use crate::{Error, ErrorKind, Result};

/// Bytes of one argmax result: id, value, count of non-finite logits, unused.
pub const BEST_BYTES: u64 = 16;

/// Lowers a plan whose tensors lie as `layout` says, with such states.
///
/// # Errors
/// [`ErrorKind::Unsupported`] where an op lacks what it works on: a fault of the plan.
pub fn lower(spec: &ModelSpec, layout: &ModelLayout, states: StateLayout, config: &EngineConfig) -> Result<Program> {
    let (buffers, common) = buffers(spec, layout, &states, config);
    let mut lowering = Lowering { spec, buffers, common, inputs: config.inputs };
    let mut layers = Vec::with_capacity(spec.layers.len());
    for index in 0..spec.layers.len() {
        layers.push(lowering.layer(index, &layout.layers[index])?);
    }
    let (head_norm, head) = lowering.head(&layout.head);
    let Lowering { buffers, common, .. } = lowering;
    let (vocab, hidden) = (spec.vocab, spec.hidden);
    let pieces = layout.pieces.clone();
    Ok(Program { buffers, common, states, layers, head_norm, head, pieces, vocab, hidden })
}

/// Floats of a row of angles before a table.
fn angles_before(spec: &ModelSpec, table: usize) -> u32 {
    spec.ropes[..table].iter().map(|rope| 2 * rope.pairs() as u32).sum()
}

struct Lowering<'a> {
    spec: &'a ModelSpec,
    buffers: Vec<BufferPlan>,
    common: CommonBuffers,
    inputs: InputType,
}

/// What a norm does besides its kind.
struct NormCall<'a> {
    input: BufferIndex,
    output: BufferIndex,
    groups: &'a NormGroups,
    accumulate: bool,
    scale: f32,
    factor: Option<VectorId>,
}

impl Lowering<'_> {
    fn layer(&mut self, index: usize, layout: &LayerLayout) -> Result<Stage> {
        let mut steps = Vec::new();
        for (op, kinds) in self.spec.layers[index].ops.iter().enumerate() {
            steps.extend(self.op(index, kinds, layout)?.into_iter().map(|kind| Step { op, kind }));
        }
        Ok(Stage { vectors: layout.vectors.piece, steps })
    }

    fn op(&mut self, index: usize, op: &Op, layout: &LayerLayout) -> Result<Vec<StepKind>> {
        let layer = &self.spec.layers[index];
        let offset = |id: VectorId| layout.vectors.offsets[usize::from(id.0)];
        Ok(match *op {
            Op::MatMul { input, output, ref parts, accumulate, scale, groups } => {
                let part = |part: &StackedMatrix| (layout.matrix(part.weight), part.bias.map(offset), part.first);
                let stacks = stacks(parts.iter().map(part));
                self.products(stacks, (buffer(input), buffer(output)), (accumulate, scale), groups)
            }
            Op::MatMulTransposed { input, output, weight, groups, first } => {
                vec![self.transposed(layout.matrix(weight), (input, output), groups, first)]
            }
            Op::Norm { input, output, ref norm, ref groups, accumulate, scale, factor } => {
                let (input, output) = (buffer(input), buffer(output));
                vec![self.norm(norm, &NormCall { input, output, groups, accumulate, scale, factor }, &offset)]
            }
            Op::Rope { target, first, heads, head_dim, pairs, table } => {
                vec![self.rope(target, first, &Rotation { heads, head_dim, pairs, table })]
            }
            Op::Place { input, output, groups, width, first } => {
                vec![self.place((input, output), groups, (width, first))]
            }
            Op::Gate { target, up, width, activation, one_factor } => {
                vec![StepKind::Dispatch(self.gate(target, up, width, (activation, one_factor, 0.0)))]
            }
            Op::Xielu { target, width, positive, negative, slope } => {
                vec![self.xielu(target, width, [positive, negative, slope].map(offset))]
            }
            Op::Bend { target, width, scale, cap, factors } => {
                vec![self.bend(target, width, (scale, cap), factors.map(offset))]
            }
            Op::Cutoff { target, width, deviations } => vec![self.cutoff(target, width, deviations)],
            Op::MixStreams { streams, coefs, activated } => vec![self.mix_streams(streams, coefs, activated)],
            Op::MatchSize { input, model, output, width, accumulate } => {
                vec![self.match_size([input, model, output], width, accumulate)]
            }
            Op::Conv { target, weight, first, width } => {
                vec![self.conv((index, layer), target, offset(weight), (first, width))?]
            }
            Op::DeltaRule { .. } => vec![self.delta_rule((index, layer), op, &offset)?],
            Op::KvWrite { rows, key, value, rotation } => {
                vec![self.kv_write((index, layer), rows, (key, value), rotation)]
            }
            Op::Attention { query, output, ref attention } => {
                vec![self.attention((index, layer), (query, output), attention, &offset)]
            }
            Op::Route { scores } => vec![self.route((index, layer), scores)?],
            Op::Experts { input, output, scale } => {
                vec![self.experts((index, layer), layout, (input, output), scale)?]
            }
        })
    }

    /// Floats from one row of a buffer to the next.
    fn stride(&self, index: BufferIndex) -> u32 {
        let plan = &self.buffers[usize::from(index.0)];
        ((plan.row_bytes + plan.output_bytes) / 4) as u32
    }

    /// Values of a group of a buffer's row.
    fn group_width(&self, id: BufferId, groups: u32) -> u32 {
        self.spec.buffers[usize::from(id.0)].width / groups
    }

    /// The products of one input, rounded once where they take it so. The rows come in `groups` runs, which each meet a group
    /// of the input.
    fn products(
        &mut self,
        stacks: Vec<Stack>,
        (input, output): (BufferIndex, BufferIndex),
        (accumulate, scale): (bool, f32),
        groups: u32,
    ) -> Vec<StepKind> {
        let (mut steps, mut is_rounded) = (Vec::new(), false);
        for Stack { matrix, bias } in stacks {
            let mut product = self.product(matrix, (input, output), groups == 1);
            product.params.scale = scale;
            product.params.bias_offset = bias.unwrap_or(0);
            product.params.flags = (u32::from(accumulate) * ACCUMULATE) | (u32::from(bias.is_some()) * BIAS);
            if groups > 1 {
                product.form = Form::InGroups;
                product.params.group_rows = product.matrix.rows as u32 / groups;
                product.params.input_group = self.spec.buffers[usize::from(input.0)].width / groups / 4;
            }
            if product.input_type == InputType::I8 && !is_rounded {
                steps.extend(self.quantize_rows(&product, input));
                is_rounded = true;
            }
            steps.push(StepKind::Product(product));
        }
        steps
    }

    /// A product with rows of its input, which are `whole`: then they may be taken rounded, and from uniform buffers.
    fn product(&mut self, matrix: MatrixLayout, (input, output): (BufferIndex, BufferIndex), whole: bool) -> Product {
        let encoding = matrix.encoding;
        let wanted = if whole { encoding.input_type(self.inputs) } else { InputType::F32 };
        let (taken, input_type, input_row_bytes) = match (wanted, self.common.rounded) {
            (InputType::I8, Some(rounded)) => (rounded, wanted, matrix.columns.div_ceil(32) * wanted.chunk_bytes()),
            _ => (input, InputType::F32, u64::from(self.stride(input)) * 4),
        };
        self.buffers[usize::from(taken.0)].product_input |= whole;
        let plane = |index: usize| match index < encoding.descriptor().planes.len() {
            true => (encoding.plane_offset(matrix.columns, index) / 16) as u32,
            false => 0,
        };
        let params = MatMulParams {
            row_stride: (encoding.row_stride(matrix.columns) / 16) as u32,
            chunks: matrix.columns.div_ceil(32) as u32,
            input_stride: (input_row_bytes / 16) as u32,
            output_stride: self.stride(output),
            plane1: plane(1),
            plane2: plane(2),
            plane3: plane(3),
            scale: 1.0,
            ..MatMulParams::default()
        };
        Product { input: taken, output, matrix, params, input_type, input_row_bytes, form: Form::Whole }
    }

    /// Rounds the input of a product.
    fn quantize_rows(&self, product: &Product, input: BufferIndex) -> Option<StepKind> {
        let columns = product.matrix.columns as u32;
        let params = QuantizeRowsParams { rows: 0, columns, input_stride: self.stride(input) / 4 };
        let slots = [input, self.common.rounded?].map(Slot::Buffer);
        Some(dispatch(KernelId::QuantizeRows, Params::QuantizeRows(params), slots))
    }

    fn transposed(
        &mut self,
        matrix: &MatrixLayout,
        (input, output): (BufferId, BufferId),
        groups: u32,
        first: u32,
    ) -> StepKind {
        let mut product = self.product(matrix.clone(), (buffer(input), buffer(output)), false);
        let params = &product.params;
        product.form = Form::Transposed(MatMulTransposedParams {
            row_stride: params.row_stride,
            columns: matrix.columns as u32,
            input_stride: params.input_stride * 4,
            output_stride: params.output_stride,
            plane1: params.plane1,
            plane2: params.plane2,
            plane3: params.plane3,
            group_rows: matrix.rows as u32 / groups,
            first,
            input_group: self.group_width(input, groups),
            output_group: self.group_width(output, groups),
            ..MatMulTransposedParams::default()
        });
        StepKind::Product(product)
    }

    fn norm(&self, norm: &NormSpec, call: &NormCall<'_>, offset: &dyn Fn(VectorId) -> u32) -> StepKind {
        let groups = call.groups;
        let flags = [
            (call.accumulate, ACCUMULATE),
            (norm.bias.is_some(), BIAS),
            (norm.weight.is_some(), WEIGHT),
            (norm.kind == NormKind::Layer, LAYER),
            (call.factor.is_some(), FACTOR),
        ];
        let params = Params::Norm(NormParams {
            rows: 0,
            groups: groups.count,
            width: groups.width,
            input_stride: self.stride(call.input),
            output_stride: self.stride(call.output),
            weight_offset: norm.weight.map_or(0, offset),
            bias_offset: norm.bias.map_or(0, offset),
            weight_stride: if groups.own_weights { groups.width } else { 0 },
            epsilon: norm.epsilon,
            scale: call.scale,
            flags: flags.iter().map(|(is_set, flag)| u32::from(*is_set) * flag).sum(),
            first: groups.first,
            later: groups.later.map_or(u32::MAX, |(group, _)| group),
            later_offset: groups.later.map_or(0, |(_, weight)| offset(weight)),
            output_first: groups.to,
            factor_offset: call.factor.map_or(0, offset),
        });
        let (input, output) = (Slot::Buffer(call.input), Slot::Buffer(call.output));
        if input == output {
            return dispatch(KernelId::NormInPlace, params, [Slot::Vectors, output]);
        }
        dispatch(KernelId::Norm, params, [input, Slot::Vectors, output])
    }

    fn rope(&self, target: BufferId, first: u32, rotation: &Rotation) -> StepKind {
        let params = RopeParams {
            rows: 0,
            heads: rotation.heads,
            head_dim: rotation.head_dim,
            pairs: rotation.pairs,
            stride: self.stride(buffer(target)),
            angles_stride: self.stride(self.common.angles),
            angles_offset: angles_before(self.spec, rotation.table),
            first,
        };
        dispatch(KernelId::Rope, Params::Rope(params), [self.common.angles, buffer(target)].map(Slot::Buffer))
    }

    fn place(&self, (input, output): (BufferId, BufferId), groups: u32, (width, first): (u32, u32)) -> StepKind {
        let params = PlaceColumnsParams {
            rows: 0,
            groups,
            width,
            input_stride: self.stride(buffer(input)),
            input_group: self.group_width(input, groups),
            output_stride: self.stride(buffer(output)),
            output_group: self.group_width(output, groups),
            first,
        };
        let slots = [buffer(input), buffer(output)].map(Slot::Buffer);
        dispatch(KernelId::PlaceColumns, Params::Place(params), slots)
    }

    fn gate(
        &self,
        target: BufferId,
        up: Up,
        width: u32,
        (activation, one_factor, limit): (Activation, bool, f32),
    ) -> Dispatch {
        let target = buffer(target);
        let flags = (u32::from(up == Up::Nothing) * UNGATED) | (u32::from(one_factor) * ONE_FACTOR);
        let (stride, up_first) = (self.stride(target), if let Up::From(first) = up { first } else { 0 });
        let mut params = GateParams { rows: 0, width, stride, up_stride: stride, up_first, flags, limit };
        let (kernel, slots) = match up {
            Up::In(up, first) => {
                (params.up_stride, params.up_first) = (self.stride(buffer(up)), first);
                (KernelId::Gate(activation), vec![Slot::Buffer(buffer(up)), Slot::Buffer(target)])
            }
            _ => (KernelId::GateWithin(activation), vec![Slot::Buffer(target)]),
        };
        Dispatch { kernel, params: Params::Gate(params), slots, work_per_row: 0 }
    }

    fn conv(
        &self,
        (index, layer): (usize, &LayerSpec),
        target: BufferId,
        weight_offset: u32,
        (first, width): (u32, u32),
    ) -> Result<StepKind> {
        let state = recurrent(index, layer)?;
        let params = ConvParams {
            width,
            stride: self.stride(buffer(target)),
            first,
            channels: state.channels(),
            weight_offset,
            state_stride: state.floats(),
        };
        let (meta, target) = (Slot::Buffer(self.common.meta[0]), Slot::Buffer(buffer(target)));
        Ok(dispatch(KernelId::Conv, Params::Conv(params), [Slot::Vectors, meta, Slot::States(index), target]))
    }

    fn delta_rule(
        &self,
        (index, layer): (usize, &LayerSpec),
        op: &Op,
        offset: &dyn Fn(VectorId) -> u32,
    ) -> Result<StepKind> {
        let Op::DeltaRule { query, key, value, decay, beta, rate, bias } = *op else { return Err(no_state(index)) };
        let state = recurrent(index, layer)?;
        let [query, key, value, decay, beta] = [query, key, value, decay, beta].map(buffer);
        let params = DeltaRuleParams {
            heads: state.heads,
            key_heads: state.key_heads,
            key_dim: state.key_dim,
            value_dim: state.value_dim,
            query_stride: self.stride(query),
            key_stride: self.stride(key),
            value_stride: self.stride(value),
            decay_stride: self.stride(decay),
            beta_stride: self.stride(beta),
            rate_offset: offset(rate),
            bias_offset: offset(bias),
            state_offset: state.conv_floats(),
            state_stride: state.floats(),
            tiled: u32::from(state.tiled),
        };
        let [query, key, value, decay, beta, meta] =
            [query, key, value, decay, beta, self.common.meta[0]].map(Slot::Buffer);
        Ok(StepKind::Dispatch(Dispatch {
            kernel: KernelId::DeltaRule,
            params: Params::DeltaRule(params),
            slots: vec![query, key, decay, beta, Slot::Vectors, meta, Slot::States(index), value],
            // Each value of the state is read twice and multiplied three times.
            work_per_row: 3 * u64::from(state.key_dim) * u64::from(state.value_width()),
        }))
    }

    fn kv_write(
        &self,
        (index, layer): (usize, &LayerSpec),
        rows: BufferId,
        (key, value): (u32, Option<u32>),
        rotation: Option<Rotation>,
    ) -> StepKind {
        let params = KvWriteParams {
            key_width: layer.key_width,
            value_width: layer.value_width,
            stride: self.stride(buffer(rows)),
            key_first: key,
            value_first: value.unwrap_or(0),
            heads: rotation.map_or(0, |rotation| rotation.heads),
            head_dim: rotation.map_or(0, |rotation| rotation.head_dim),
            pairs: rotation.map_or(0, |rotation| rotation.pairs),
            angles_stride: rotation.map_or(0, |_| self.stride(self.common.angles)),
            angles_offset: rotation.map_or(0, |rotation| angles_before(self.spec, rotation.table)),
            ..KvWriteParams::default()
        };
        StepKind::KvWrite(KvWrite { layer: index, rows: buffer(rows), params })
    }

    fn attention(
        &self,
        (index, layer): (usize, &LayerSpec),
        (query, output): (BufferId, BufferId),
        attention: &AttentionSpec,
        offset: &dyn Fn(VectorId) -> u32,
    ) -> StepKind {
        let flags = [
            (attention.sinks.is_some(), SINKS),
            (attention.alibi, ALIBI),
            (attention.values_in_keys, VALUES_IN_KEYS),
            (attention.chunked && attention.window.is_some(), CHUNKS),
        ];
        let source = layer.reads_keys_of.unwrap_or(index);
        let cached = &self.spec.layers[source];
        let (query, output) = (buffer(query), buffer(output));
        let params = AttentionParams {
            heads: attention.heads,
            kv_heads: attention.kv_heads,
            head_dim: attention.head_dim,
            value_dim: attention.value_dim,
            key_width: cached.key_width,
            value_width: cached.value_width,
            scale: attention.scale,
            window: attention.window.unwrap_or(0),
            query_stride: self.stride(query),
            output_stride: self.stride(output),
            softcap: attention.softcap.unwrap_or(0.0),
            sinks_offset: attention.sinks.map_or(0, offset),
            output_group: attention.output_group,
            flags: flags.iter().map(|(is_set, flag)| u32::from(*is_set) * flag).sum(),
            ..AttentionParams::default()
        };
        StepKind::Attention(Attention { layer: source, query, output, params })
    }

    /// Gathering and the last norm, and what follows for logits.
    fn head(&mut self, layout: &LayerLayout) -> (Stage, Vec<Step>) {
        let (spec, common) = (&self.spec.head, self.common.clone());
        let offset = |id: VectorId| layout.vectors.offsets[usize::from(id.0)];
        // Something has to be bound where there are no factors.
        let lists = (common.indices, common.angles);
        let gather = StepKind::Dispatch(self.gather(common.residual, common.head_input, lists, false));
        let norm = NormSpec {
            kind: spec.norm,
            epsilon: spec.epsilon,
            weight: spec.vector(plan::FINAL_NORM),
            bias: spec.vector(plan::FINAL_NORM_BIAS),
        };
        let groups = NormGroups::alike(0, 1, self.spec.hidden);
        let (input, output) = (common.head_input, common.head_normed);
        let call = NormCall { input, output, groups: &groups, accumulate: false, scale: 1.0, factor: None };
        let norm = self.norm(&norm, &call, &offset);
        let bias = spec.vector(plan::HEAD_BIAS).map(offset);
        let stack = Stack { matrix: layout.matrices[0].clone(), bias };
        let to = (common.head_normed, common.logits);
        let mut head = self.products(vec![stack], to, (false, 1.0), 1);
        head.extend(self.bend_logits(spec.vector(plan::HEAD_SCALE).map(offset)));
        let (vocab, slots) = (self.spec.vocab, [common.logits, common.best].map(Slot::Buffer));
        let argmax = ArgmaxParams { rows: 0, width: vocab, stride: vocab, result_offset: 0 };
        head.push(dispatch(KernelId::Argmax, Params::Argmax(argmax), slots));
        let steps = |kinds: Vec<StepKind>| kinds.into_iter().map(|kind| Step { op: 0, kind }).collect();
        (Stage { vectors: layout.vectors.piece, steps: steps(vec![gather, norm]) }, steps(head))
    }

    /// Scale, factors and cap of the logits, where there are any.
    fn bend_logits(&self, factors: Option<u32>) -> Option<StepKind> {
        let (scale, cap) = (self.spec.head.logit_scale, self.spec.head.softcap.unwrap_or(0.0));
        if scale == 1.0 && cap == 0.0 && factors.is_none() {
            return None;
        }
        let (width, flags) = (self.spec.vocab, u32::from(factors.is_some()) * FACTORS);
        let factors_offset = factors.unwrap_or(0);
        let params = LogitsParams { rows: 0, width, stride: width, scale, cap, factors_offset, flags };
        Some(dispatch(KernelId::Logits, Params::Logits(params), [Slot::Vectors, Slot::Buffer(self.common.logits)]))
    }
}

/// The activation buffers come first, in the order of the plan.
fn buffer(id: BufferId) -> BufferIndex {
    BufferIndex(id.0)
}

fn dispatch(kernel: KernelId, params: Params, slots: impl Into<Vec<Slot>>) -> StepKind {
    StepKind::Dispatch(Dispatch { kernel, params, slots: slots.into(), work_per_row: 0 })
}

fn recurrent(index: usize, layer: &LayerSpec) -> Result<RecurrentSpec> {
    layer.recurrent.ok_or_else(|| no_state(index))
}

fn no_state(layer: usize) -> Error {
    Error::new(ErrorKind::Unsupported, format!("layer {layer} of the plan works on a state that it does not keep"))
}

fn no_experts(layer: usize) -> Error {
    Error::new(ErrorKind::Unsupported, format!("layer {layer} of the plan has a router without experts"))
}
