//! One op after the other: parameters, buffers and grids of each kernel.

use std::sync::Arc;

use super::budget::padded;
use super::buffers::Buffers;
use super::engine::{Engine, Output, Vectors, Want};
use super::layout::VectorLayout;
use super::products::{Form, MatMulCall};
use crate::gpu::CountedBuffer;
use crate::gpu::kernels::{
    ACCUMULATE, ArgmaxParams, BIAS, FACTORS, GateParams, GatherRowsParams, Kernel, KernelId, KvWriteParams, LAYER,
    LogitsParams, NormParams, ONE_FACTOR, PlaceColumnsParams, RopeParams, UNGATED, WEIGHT, grid,
};
use crate::gpu::recorder::Bind;
use crate::plan::{self, Activation, BufferId, ModelSpec, NormGroups, NormKind, Op, Up, VectorId};
use crate::stream::TileStream;
use crate::{Error, ErrorKind, Result};

impl Engine {
    pub(super) async fn op(&mut self, layer: usize, op: usize, rows: u32, vectors: Vectors) -> Result<()> {
        let op = self.spec.layers[layer].ops[op].clone();
        match op {
            Op::MatMul { .. } | Op::MatMulTransposed { .. } => self.product(layer, &op, rows, vectors).await,
            Op::Norm { input, output, norm, groups, accumulate, scale } => {
                let layout = &self.layout.layers[layer].vectors;
                let call = NormCall {
                    input: Operand::Buffer(input),
                    output: Operand::Buffer(output),
                    kind: norm.kind,
                    epsilon: norm.epsilon,
                    weight: norm.weight.map(|weight| self.vector_offset(layout, weight, vectors)),
                    bias: norm.bias.map(|bias| self.vector_offset(layout, bias, vectors)),
                    later: groups.later.map(|(group, weight)| (group, self.vector_offset(layout, weight, vectors))),
                    groups,
                    accumulate,
                    scale,
                };
                self.norm(&call, rows, vectors)
            }
            Op::Rope { target, first, heads, head_dim, pairs, table } => {
                self.rope((target, first), (heads, head_dim, pairs), table, rows)
            }
            Op::Place { input, output, groups, width, first } => {
                self.place((input, output), (groups, width, first), rows)
            }
            Op::Conv { .. } => self.convolve(layer, &op, rows, vectors),
            Op::DeltaRule { .. } => self.delta_rule(layer, &op, rows, vectors),
            Op::KvWrite { .. } => self.kv_write(layer, &op, rows),
            Op::Attention { .. } => self.attention(layer, &op, rows, vectors).await,
            Op::Gate { target, up, width, activation, one_factor } => {
                self.gate(target, up, width, (activation, one_factor, 0.0), rows)
            }
            Op::Route { scores } => self.route(layer, scores, rows).await,
            Op::Experts { .. } => self.run_experts(layer, &op).await,
        }
    }

    pub(super) fn vector_offset(&self, layout: &VectorLayout, id: VectorId, vectors: Vectors) -> u32 {
        vectors.base + layout.offsets[usize::from(id.0)]
    }

    fn norm(&mut self, call: &NormCall, rows: u32, vectors: Vectors) -> Result<()> {
        let (from, from_width) = operand(&self.buffers, &self.spec, call.input);
        let (to, to_width) = operand(&self.buffers, &self.spec, call.output);
        let flags = [
            (call.accumulate, ACCUMULATE),
            (call.bias.is_some(), BIAS),
            (call.weight.is_some(), WEIGHT),
            (call.kind == NormKind::Layer, LAYER),
        ];
        let groups = call.groups;
        let params = NormParams {
            rows,
            groups: groups.count,
            width: groups.width,
            input_stride: from_width as u32,
            output_stride: to_width as u32,
            weight_offset: call.weight.unwrap_or(0),
            bias_offset: call.bias.unwrap_or(0),
            weight_stride: if groups.own_weights { groups.width } else { 0 },
            epsilon: call.epsilon,
            scale: call.scale,
            flags: flags.iter().map(|(is_set, flag)| u32::from(*is_set) * flag).sum(),
            first: groups.first,
            later: call.later.map_or(u32::MAX, |(group, _)| group),
            later_offset: call.later.map_or(0, |(_, weight)| weight),
        };
        let vectors = vectors_bind(&self.stream, &self.buffers, vectors)?;
        if from.id() == to.id() {
            let kernel = self.kernel(KernelId::NormInPlace)?;
            return self.recorder.dispatch(&kernel, &[vectors, to.into()], &params, grid::norm(&params));
        }
        let kernel = self.kernel(KernelId::Norm)?;
        self.recorder.dispatch(&kernel, &[from.into(), vectors, to.into()], &params, grid::norm(&params))
    }

    fn rope(
        &mut self,
        (target, first): (BufferId, u32),
        (heads, head_dim, pairs): (u32, u32, u32),
        table: usize,
        rows: u32,
    ) -> Result<()> {
        let (buffer, width) = operand(&self.buffers, &self.spec, Operand::Buffer(target));
        let (angles_offset, angles_stride) = angles(&self.spec, table);
        let stride = width as u32;
        let params = RopeParams { rows, heads, head_dim, pairs, stride, angles_stride, angles_offset, first };
        let kernel = self.kernel(KernelId::Rope)?;
        let binds = [(&self.step.angles).into(), buffer.into()];
        self.recorder.dispatch(&kernel, &binds, &params, grid::rope(&params))
    }

    fn place(
        &mut self,
        (input, output): (BufferId, BufferId),
        (groups, width, first): (u32, u32, u32),
        rows: u32,
    ) -> Result<()> {
        let (from, input_stride) = operand(&self.buffers, &self.spec, Operand::Buffer(input));
        let (to, output_stride) = operand(&self.buffers, &self.spec, Operand::Buffer(output));
        let params = PlaceColumnsParams {
            rows,
            groups,
            width,
            input_stride: input_stride as u32,
            input_group: group_width(&self.spec, input, groups),
            output_stride: output_stride as u32,
            output_group: group_width(&self.spec, output, groups),
            first,
        };
        let kernel = self.kernel(KernelId::PlaceColumns)?;
        self.recorder.dispatch(&kernel, &[from.into(), to.into()], &params, grid::place_columns(&params))
    }

    fn kv_write(&mut self, layer: usize, op: &Op, rows: u32) -> Result<()> {
        let Op::KvWrite { rows: values, key, value, turn } = *op else { return Ok(()) };
        let kernel = self.kernel(KernelId::KvWrite(self.kv.geometry().kind))?;
        let (values, stride) = operand(&self.buffers, &self.spec, Operand::Buffer(values));
        let (angles_offset, angles_stride) = turn.map_or((0, 0), |turn| angles(&self.spec, turn.table));
        for (index, segment) in self.kv.layer(layer).enumerate() {
            let params = KvWriteParams {
                rows,
                key_width: self.spec.layers[layer].key_width,
                value_width: self.spec.layers[layer].value_width,
                stride: stride as u32,
                key_first: key,
                value_first: value.unwrap_or(0),
                segment_first_page: segment.first_page,
                segment_pages: segment.pages,
                // Queries are rotated once.
                heads: turn.filter(|_| index == 0).map_or(0, |turn| turn.heads),
                head_dim: turn.map_or(0, |turn| turn.head_dim),
                pairs: turn.map_or(0, |turn| turn.pairs),
                angles_stride,
                angles_offset,
            };
            let angles = (&self.step.angles).into();
            let binds = [values.into(), angles, (&self.step.meta).into(), (&self.step.pages).into(), segment.bind];
            self.recorder.dispatch(&kernel, &binds, &params, grid::kv_write(&params))?;
        }
        Ok(())
    }

    pub(super) fn gate(
        &mut self,
        target: BufferId,
        up: Up,
        width: u32,
        (activation, one_factor, limit): (Activation, bool, f32),
        rows: u32,
    ) -> Result<()> {
        let (values, stride) = operand(&self.buffers, &self.spec, Operand::Buffer(target));
        let flags = (u32::from(up == Up::Nothing) * UNGATED) | (u32::from(one_factor) * ONE_FACTOR);
        let (stride, up_first) = (stride as u32, if let Up::From(first) = up { first } else { 0 });
        let mut params = GateParams { rows, width, stride, up_stride: stride, up_first, flags, limit };
        if let Up::In(up) = up {
            let kernel = self.kernel(KernelId::Gate(activation))?;
            let (factors, up_stride) = operand(&self.buffers, &self.spec, Operand::Buffer(up));
            params.up_stride = up_stride as u32;
            return self.recorder.dispatch(&kernel, &[factors.into(), values.into()], &params, grid::gate(&params));
        }
        let kernel = self.kernel(KernelId::GateWithin(activation))?;
        self.recorder.dispatch(&kernel, &[values.into()], &params, grid::gate(&params))
    }

    /// Norm and head for the rows in the step's indices, then the readback.
    pub(super) async fn head(&mut self, heads: u32, want: Want) -> Result<Output> {
        // The gathering and the norm.
        if !self.recorder.has_room(2) {
            self.submit().await?;
        }
        let (input, stride) = operand(&self.buffers, &self.spec, Operand::Buffer(self.spec.residual));
        let params = GatherRowsParams {
            rows: heads,
            width: self.spec.hidden,
            input_stride: stride as u32,
            output_stride: padded(self.spec.hidden) as u32,
            indices_offset: 0,
            flags: 0,
        };
        let kernel = self.kernel(KernelId::GatherRows)?;
        // Something has to be bound where there are no factors.
        let (indices, factors) = ((&self.step.indices).into(), (&self.step.angles).into());
        let binds = [input.into(), indices, factors, (&self.buffers.head_input).into()];
        self.recorder.dispatch(&kernel, &binds, &params, grid::gather_rows(&params))?;
        let vectors = self.bring_vectors(self.layout.head.vectors.piece, 0).await?;
        let offset = |name| {
            let id = self.spec.head.vector(name)?;
            Some(self.vector_offset(&self.layout.head.vectors, id, vectors))
        };
        let call = NormCall {
            input: Operand::HeadInput,
            output: Operand::HeadNormed,
            kind: self.spec.head.norm,
            epsilon: self.spec.head.epsilon,
            weight: offset(plan::FINAL_NORM),
            bias: offset(plan::FINAL_NORM_BIAS),
            later: None,
            groups: NormGroups::alike(0, 1, self.spec.hidden),
            accumulate: false,
            scale: 1.0,
        };
        let (bias, factors) = (offset(plan::HEAD_BIAS), offset(plan::HEAD_SCALE));
        self.norm(&call, heads, vectors)?;
        let matrix = self.layout.head.matrices[0].clone();
        let (input, output) = (Operand::HeadNormed, Operand::Logits);
        let call = MatMulCall { input, output, matrix, bias, accumulate: false, scale: 1.0, form: Form::Whole };
        self.matmul(&call, heads, vectors).await?;
        // What bends the logits, and the search for the best one.
        if !self.recorder.has_room(2) {
            self.submit().await?;
        }
        self.bend_logits(heads, factors, vectors)?;
        self.read_back(heads, want).await
    }

    /// Scale, factors and cap of the logits, where there are any.
    fn bend_logits(&mut self, rows: u32, factors: Option<u32>, vectors: Vectors) -> Result<()> {
        let (scale, cap) = (self.spec.head.logit_scale, self.spec.head.softcap.unwrap_or(0.0));
        if scale == 1.0 && cap == 0.0 && factors.is_none() {
            return Ok(());
        }
        let (width, flags) = (self.spec.vocab, u32::from(factors.is_some()) * FACTORS);
        let factors_offset = factors.unwrap_or(0);
        let params = LogitsParams { rows, width, stride: width, scale, cap, factors_offset, flags };
        let kernel = self.kernel(KernelId::Logits)?;
        let binds = [vectors_bind(&self.stream, &self.buffers, vectors)?, (&self.buffers.logits).into()];
        self.recorder.dispatch(&kernel, &binds, &params, grid::logits(&params))
    }

    async fn read_back(&mut self, heads: u32, want: Want) -> Result<Output> {
        let vocab = self.spec.vocab;
        let params = ArgmaxParams { rows: heads, width: vocab, stride: vocab, result_offset: 0 };
        let kernel = self.kernel(KernelId::Argmax)?;
        let binds = [(&self.buffers.logits).into(), self.readback.best().into()];
        self.recorder.dispatch(&kernel, &binds, &params, grid::argmax(&params))?;
        let copies = self.readback.copies(&self.buffers.logits, heads, want == Want::Logits);
        let after = self.submit_with(copies).await?;
        self.stream.end_sweep(after.clone());
        self.readback.finish(&self.gpu, after, heads, want).await
    }

    pub(super) fn kernel(&self, id: KernelId) -> Result<Arc<Kernel>> {
        self.kernels.get(id).ok_or_else(|| Error::new(ErrorKind::Internal, format!("kernel {id:?} was not prepared")))
    }
}

/// What a kernel works on: a buffer of the plan, or one of the head.
#[derive(Clone, Copy)]
pub(super) enum Operand {
    Buffer(BufferId),
    HeadInput,
    HeadNormed,
    Logits,
}

struct NormCall {
    input: Operand,
    output: Operand,
    kind: NormKind,
    epsilon: f32,
    /// Offsets of weight and bias in floats.
    weight: Option<u32>,
    bias: Option<u32>,
    /// Groups from the first number on have their weight at the second.
    later: Option<(u32, u32)>,
    groups: NormGroups,
    accumulate: bool,
    scale: f32,
}

/// Values of a group of a buffer's row.
pub(super) fn group_width(spec: &ModelSpec, id: BufferId, groups: u32) -> u32 {
    spec.buffers[usize::from(id.0)].width / groups
}

/// Where a table's angles begin in a row of the step's angles, and how long such a row is, in floats.
fn angles(spec: &ModelSpec, table: usize) -> (u32, u32) {
    let floats = |ropes: &[plan::RopeSpec]| ropes.iter().map(|rope| 2 * rope.pairs() as u32).sum();
    (floats(&spec.ropes[..table]), floats(&spec.ropes))
}

/// A buffer and the floats between its rows.
pub(super) fn operand<'a>(buffers: &'a Buffers, spec: &ModelSpec, operand: Operand) -> (&'a CountedBuffer, u64) {
    match operand {
        Operand::Buffer(id) => {
            let index = usize::from(id.0);
            (&buffers.activations[index], padded(spec.buffers[index].width))
        }
        Operand::HeadInput => (&buffers.head_input, padded(spec.hidden)),
        Operand::HeadNormed => (&buffers.head_normed, padded(spec.hidden)),
        Operand::Logits => (&buffers.logits, u64::from(spec.vocab)),
    }
}

pub(super) fn vectors_bind<'a>(stream: &'a TileStream, buffers: &'a Buffers, vectors: Vectors) -> Result<Bind<'a>> {
    match vectors.pinned {
        None => Ok((&buffers.vectors).into()),
        Some(tile) => match stream.home(tile) {
            Some(place) => Ok(place.buffer.into()),
            None => Err(Error::new(ErrorKind::Internal, "pinned vectors left the GPU")),
        },
    }
}
