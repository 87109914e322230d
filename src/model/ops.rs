//! One op after the other: parameters, buffers and grids of each kernel.

use std::ops::Range;
use std::sync::Arc;

use super::budget::padded;
use super::engine::{Buffers, Engine, Output, Vectors, WORK_PER_SUBMIT, Want};
use super::experts::Group;
use super::layout::{MatrixLayout, VectorLayout};
use crate::gpu::CountedBuffer;
use crate::gpu::kernels::{
    ACCUMULATE, ALIBI, ArgmaxParams, AttentionParams, BIAS, FACTORS, FIRST_SEGMENT, GateParams, GatherRowsParams,
    Kernel, KernelId, KvWriteParams, LAST_SEGMENT, LAYER, LogitsParams, MatMulParams, MatMulTransposedParams,
    NormParams, ONE_FACTOR, PlaceColumnsParams, RopeParams, SINKS, ScatterRowsParams, UNGATED, VALUES_IN_KEYS, WEIGHT,
    grid,
};
use crate::gpu::recorder::Bind;
use crate::plan::{self, Activation, BufferId, ExpertsSpec, ModelSpec, NormKind, Op, VectorId};
use crate::stream::{Placement, TileStream};
use crate::{Error, ErrorKind, Result};

impl Engine {
    pub(super) async fn op(&mut self, layer: usize, op: usize, rows: u32, vectors: Vectors) -> Result<()> {
        let op = self.spec.layers[layer].ops[op].clone();
        match op {
            Op::MatMul { input, output, weight, bias, accumulate, scale, groups } => {
                let layout = &self.layout.layers[layer];
                let bias = bias.map(|bias| vectors.base + layout.vectors.offsets[usize::from(bias.0)]);
                let matrix = layout.matrix(weight).clone();
                let parts = Groups::new(&self.spec, &matrix, (input, output), groups);
                let call = MatMulCall {
                    input: Operand::Buffer(input),
                    output: Operand::Buffer(output),
                    matrix,
                    bias,
                    accumulate,
                    scale,
                    form: if groups == 1 { Form::Whole } else { Form::InGroups(parts) },
                };
                self.matmul(&call, rows, vectors).await
            }
            Op::MatMulTransposed { input, output, weight, groups, first } => {
                let matrix = self.layout.layers[layer].matrix(weight).clone();
                let parts = Groups::new(&self.spec, &matrix, (input, output), groups);
                let call = MatMulCall {
                    input: Operand::Buffer(input),
                    output: Operand::Buffer(output),
                    matrix,
                    bias: None,
                    accumulate: false,
                    scale: 1.0,
                    form: Form::Transposed(parts, first),
                };
                self.matmul(&call, rows, vectors).await
            }
            Op::Norm { input, output, norm, groups, width, per_group, accumulate, scale } => {
                let layout = &self.layout.layers[layer].vectors;
                let call = NormCall {
                    input: Operand::Buffer(input),
                    output: Operand::Buffer(output),
                    kind: norm.kind,
                    epsilon: norm.epsilon,
                    weight: norm.weight.map(|weight| self.vector_offset(layout, weight, vectors)),
                    bias: norm.bias.map(|bias| self.vector_offset(layout, bias, vectors)),
                    groups,
                    width,
                    per_group,
                    accumulate,
                    scale,
                };
                self.norm(&call, rows, vectors)
            }
            Op::Rope { target, heads, head_dim, pairs, table } => {
                self.rope(target, (heads, head_dim, pairs), table, rows)
            }
            Op::Place { input, output, groups, width, first } => {
                self.place((input, output), (groups, width, first), rows)
            }
            Op::KvWrite { key, value } => self.kv_write(layer, key, value, rows),
            Op::Attention { .. } => self.attention(layer, &op, rows, vectors),
            Op::Gate { target, up, width, activation, one_factor } => {
                self.gate(target, up, width, (activation, one_factor), rows)
            }
            Op::Route { scores } => self.route(layer, scores, rows).await,
            Op::Experts { .. } => self.run_experts(layer, &op).await,
        }
    }

    fn vector_offset(&self, layout: &VectorLayout, id: VectorId, vectors: Vectors) -> u32 {
        vectors.base + layout.offsets[usize::from(id.0)]
    }

    async fn matmul(&mut self, call: &MatMulCall, tokens: u32, vectors: Vectors) -> Result<()> {
        let matrix = &call.matrix;
        let pieces = matrix.pieces();
        let end = self.stream.table().tiles_of(pieces).end;
        let mut tile = self.stream.table().tiles_of(matrix.first_piece..matrix.first_piece + 1).start;
        while tile < end {
            self.bring(tile).await?;
            if self.recorder.is_full() || self.work > WORK_PER_SUBMIT {
                self.submit().await?;
            }
            tile = self.matmul_run(call, tile, end, tokens, vectors)?;
        }
        Ok(())
    }

    /// One dispatch over the tiles from `first` on that lie together; returns the tile after them.
    fn matmul_run(
        &mut self,
        call: &MatMulCall,
        first: usize,
        end: usize,
        tokens: u32,
        vectors: Vectors,
    ) -> Result<usize> {
        let lost = || Error::new(ErrorKind::Gpu, "a tile left the GPU while it was needed");
        let start = self.stream.locate(first).ok_or_else(lost)?;
        let matrix = &call.matrix;
        let (rows, next) =
            self.together(start, first..end, WORK_PER_SUBMIT / (matrix.columns * u64::from(tokens)).max(1));
        let tile = self.stream.table().tile(first);
        let first_row = matrix.first_rows[tile.piece - matrix.first_piece] + tile.first_row;
        let encoding = matrix.encoding;
        let plane = |index: usize| match index < encoding.descriptor().planes.len() {
            true => (encoding.plane_offset(matrix.columns, index) / 16) as u32,
            false => 0,
        };
        let (input, input_width) = operand(&self.buffers, &self.spec, call.input);
        let (output, output_width) = operand(&self.buffers, &self.spec, call.output);
        let params = MatMulParams {
            rows: rows as u32,
            first_row: first_row as u32,
            weight_base: (start.offset_bytes / 16) as u32,
            row_stride: (encoding.row_stride(matrix.columns) / 16) as u32,
            chunks: matrix.columns.div_ceil(32) as u32,
            tokens,
            input_stride: (input_width / 4) as u32,
            output_stride: output_width as u32,
            plane1: plane(1),
            plane2: plane(2),
            plane3: plane(3),
            bias_offset: call.bias.unwrap_or(0),
            scale: call.scale,
            flags: (u32::from(call.accumulate) * ACCUMULATE) | (u32::from(call.bias.is_some()) * BIAS),
            group_rows: if let Form::InGroups(groups) = call.form { groups.rows } else { 0 },
            input_group: if let Form::InGroups(groups) = call.form { groups.input / 4 } else { 0 },
        };
        let (id, tiled) = match call.form {
            Form::Whole if tokens > 1 => (KernelId::MatMul(encoding), true),
            Form::Whole => (KernelId::MatVec(encoding), false),
            Form::InGroups(_) => (KernelId::MatVecInGroups(encoding), false),
            Form::Transposed(..) => (KernelId::MatMulTransposed(encoding), false),
        };
        let kernel = self.kernel(id)?;
        if let Form::Transposed(groups, first) = call.form {
            let params = groups.transposed(&params, matrix.columns, first);
            let binds = [start.buffer.into(), start.buffer.into(), input.into(), output.into()];
            self.recorder.dispatch(&kernel, &binds, &params, grid::matmul_transposed(&params))?;
        } else {
            let vectors = vectors_bind(&self.stream, &self.buffers, vectors)?;
            let binds = [start.buffer.into(), start.buffer.into(), input.into(), vectors, output.into()];
            let size = grid::matmul(self.kernels.tuning(), &params, tiled);
            self.recorder.dispatch(&kernel, &binds, &params, size)?;
        }
        self.work += rows * matrix.columns * u64::from(tokens);
        Ok(next)
    }

    /// Rows of the tiles that lie together from the first one on, which lies at `start`, and the tile after them; no more
    /// tiles than `most_rows` are reached with.
    fn together(&self, start: Placement<'_>, tiles: Range<usize>, most_rows: u64) -> (u64, usize) {
        let tile = self.stream.table().tile(tiles.start);
        let (mut rows, mut next, mut bytes) = (tile.rows, tiles.start + 1, tile.len_bytes);
        while next < tiles.end && rows < most_rows {
            let Some(place) = self.stream.locate(next) else { break };
            if place.buffer.id() != start.buffer.id() || place.offset_bytes != start.offset_bytes + bytes {
                break;
            }
            let tile = self.stream.table().tile(next);
            rows += tile.rows;
            bytes += tile.len_bytes;
            next += 1;
        }
        (rows, next)
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
        let params = NormParams {
            rows,
            groups: call.groups,
            width: call.width,
            input_stride: from_width as u32,
            output_stride: to_width as u32,
            weight_offset: call.weight.unwrap_or(0),
            bias_offset: call.bias.unwrap_or(0),
            weight_stride: if call.per_group { call.width } else { 0 },
            epsilon: call.epsilon,
            scale: call.scale,
            flags: flags.iter().map(|(is_set, flag)| u32::from(*is_set) * flag).sum(),
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
        target: BufferId,
        (heads, head_dim, pairs): (u32, u32, u32),
        table: usize,
        rows: u32,
    ) -> Result<()> {
        let (buffer, width) = operand(&self.buffers, &self.spec, Operand::Buffer(target));
        let (angles_offset, angles_stride) = angles(&self.spec, table);
        let params = RopeParams { rows, heads, head_dim, pairs, stride: width as u32, angles_stride, angles_offset };
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

    fn kv_write(&mut self, layer: usize, key: BufferId, value: Option<BufferId>, rows: u32) -> Result<()> {
        let kernel = self.kernel(KernelId::KvWrite(self.kv.geometry().kind))?;
        let (key, key_width) = operand(&self.buffers, &self.spec, Operand::Buffer(key));
        // Something has to be bound where keys hold the values.
        let (value, value_width) = value.map_or((key, 0), |id| operand(&self.buffers, &self.spec, Operand::Buffer(id)));
        for segment in self.kv.layer(layer) {
            let params = KvWriteParams {
                rows,
                key_width: self.spec.layers[layer].key_width,
                value_width: self.spec.layers[layer].value_width,
                key_stride: key_width as u32,
                value_stride: value_width as u32,
                segment_first_page: segment.first_page,
                segment_pages: segment.pages,
            };
            let binds = [key.into(), value.into(), (&self.step.meta).into(), (&self.step.pages).into(), segment.bind];
            self.recorder.dispatch(&kernel, &binds, &params, grid::kv_write(&params))?;
        }
        Ok(())
    }

    fn attention(&mut self, layer: usize, op: &Op, rows: u32, vectors: Vectors) -> Result<()> {
        let Op::Attention { query, output, attention } = *op else { return Ok(()) };
        let kernel = self.kernel(KernelId::Attention(self.kv.geometry().kind))?;
        let sinks = attention.sinks.map(|sinks| self.vector_offset(&self.layout.layers[layer].vectors, sinks, vectors));
        let vectors = vectors_bind(&self.stream, &self.buffers, vectors)?;
        let (query, query_width) = operand(&self.buffers, &self.spec, Operand::Buffer(query));
        let (output, output_width) = operand(&self.buffers, &self.spec, Operand::Buffer(output));
        let segments = self.kv.layer(layer);
        let last = segments.len().saturating_sub(1);
        for (index, segment) in segments.enumerate() {
            let flags = [
                (index == 0, FIRST_SEGMENT),
                (index == last, LAST_SEGMENT),
                (sinks.is_some(), SINKS),
                (attention.alibi, ALIBI),
                (attention.values_in_keys, VALUES_IN_KEYS),
            ];
            let params = AttentionParams {
                rows,
                heads: attention.heads,
                kv_heads: attention.kv_heads,
                head_dim: attention.head_dim,
                value_dim: attention.value_dim,
                key_width: self.spec.layers[layer].key_width,
                value_width: self.spec.layers[layer].value_width,
                scale: attention.scale,
                window: attention.window.unwrap_or(0),
                query_stride: query_width as u32,
                output_stride: output_width as u32,
                segment_first_page: segment.first_page,
                segment_pages: segment.pages,
                softcap: attention.softcap.unwrap_or(0.0),
                sinks_offset: sinks.unwrap_or(0),
                output_group: attention.output_group,
                flags: flags.iter().map(|(is_set, flag)| u32::from(*is_set) * flag).sum(),
            };
            let (meta, pages) = ((&self.step.meta).into(), (&self.step.pages).into());
            let state = (&self.buffers.attention_state).into();
            let binds = [query.into(), meta, pages, segment.bind, vectors, output.into(), state];
            self.recorder.dispatch(&kernel, &binds, &params, grid::attention(&params))?;
        }
        Ok(())
    }

    fn gate(
        &mut self,
        target: BufferId,
        up: Option<BufferId>,
        width: u32,
        (activation, one_factor): (Activation, bool),
        rows: u32,
    ) -> Result<()> {
        let (values, stride) = operand(&self.buffers, &self.spec, Operand::Buffer(target));
        let kernel = self.kernel(KernelId::Gate(activation))?;
        // Something has to be bound where there is nothing to multiply with.
        let (factors, up_stride) = match up {
            Some(up) => operand(&self.buffers, &self.spec, Operand::Buffer(up)),
            None => (&self.step.angles, 0),
        };
        let flags = (u32::from(up.is_none()) * UNGATED) | (u32::from(one_factor) * ONE_FACTOR);
        let params = GateParams { rows, width, stride: stride as u32, up_stride: up_stride as u32, flags };
        self.recorder.dispatch(&kernel, &[factors.into(), values.into()], &params, grid::gate(&params))
    }

    /// One expert for its rows: gathered, computed, and added with their factors.
    pub(super) async fn run_expert(
        &mut self,
        layer: usize,
        spec: &ExpertsSpec,
        group: &Group,
        (input, output): (BufferId, BufferId),
        scale: f32,
    ) -> Result<()> {
        let [rows_in, gate, up, rows_out] = spec.buffers;
        let rows = group.len as u32;
        if self.recorder.is_full() || self.work > WORK_PER_SUBMIT {
            self.submit().await?;
        }
        let lost = || Error::new(ErrorKind::Gpu, "experts without their lists");
        let (from, input_stride) = operand(&self.buffers, &self.spec, Operand::Buffer(input));
        let (to, output_stride) = operand(&self.buffers, &self.spec, Operand::Buffer(rows_in));
        let params = GatherRowsParams {
            rows,
            width: spec.hidden,
            input_stride: input_stride as u32,
            output_stride: output_stride as u32,
            indices_offset: group.first as u32,
        };
        let kernel = self.kernel(KernelId::GatherRows)?;
        let binds = [from.into(), (&self.experts.as_ref().ok_or_else(lost)?.rows).into(), to.into()];
        self.recorder.dispatch(&kernel, &binds, &params, grid::gather_rows(&params))?;
        let [gate_matrix, up_matrix, down_matrix] = self.layout.layers[layer].experts[group.expert].clone();
        let none = Vectors { pinned: None, base: 0 };
        let call = |matrix, from, to, scale| MatMulCall {
            input: Operand::Buffer(from),
            output: Operand::Buffer(to),
            matrix,
            bias: None,
            accumulate: false,
            scale,
            form: Form::Whole,
        };
        self.matmul(&call(gate_matrix, rows_in, gate, 1.0), rows, none).await?;
        self.matmul(&call(up_matrix, rows_in, up, 1.0), rows, none).await?;
        if self.recorder.is_full() {
            self.submit().await?;
        }
        self.gate(gate, Some(up), spec.width, (spec.activation, false), rows)?;
        self.matmul(&call(down_matrix, gate, rows_out, scale), rows, none).await?;
        if self.recorder.is_full() {
            self.submit().await?;
        }
        let (from, input_stride) = operand(&self.buffers, &self.spec, Operand::Buffer(rows_out));
        let (to, output_stride) = operand(&self.buffers, &self.spec, Operand::Buffer(output));
        let params = ScatterRowsParams {
            rows,
            width: spec.hidden,
            input_stride: input_stride as u32,
            output_stride: output_stride as u32,
            first: group.first as u32,
        };
        let kernel = self.kernel(KernelId::ScatterRows)?;
        let step = self.experts.as_ref().ok_or_else(lost)?;
        let binds = [from.into(), (&step.rows).into(), (&step.factors).into(), to.into()];
        self.recorder.dispatch(&kernel, &binds, &params, grid::scatter_rows(&params))
    }

    /// Norm and head for the rows in the step's indices, then the readback.
    pub(super) async fn head(&mut self, heads: u32, want: Want) -> Result<Output> {
        let (input, stride) = operand(&self.buffers, &self.spec, Operand::Buffer(self.spec.residual));
        let params = GatherRowsParams {
            rows: heads,
            width: self.spec.hidden,
            input_stride: stride as u32,
            output_stride: padded(self.spec.hidden) as u32,
            indices_offset: 0,
        };
        let kernel = self.kernel(KernelId::GatherRows)?;
        let binds = [input.into(), (&self.step.indices).into(), (&self.buffers.head_input).into()];
        self.recorder.dispatch(&kernel, &binds, &params, grid::gather_rows(&params))?;
        let vectors = self.bring_vectors(self.layout.head.vectors.piece).await?;
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
            groups: 1,
            width: self.spec.hidden,
            per_group: false,
            accumulate: false,
            scale: 1.0,
        };
        let (bias, factors) = (offset(plan::HEAD_BIAS), offset(plan::HEAD_SCALE));
        self.norm(&call, heads, vectors)?;
        let matrix = self.layout.head.matrices[0].clone();
        let (input, output) = (Operand::HeadNormed, Operand::Logits);
        let call = MatMulCall { input, output, matrix, bias, accumulate: false, scale: 1.0, form: Form::Whole };
        self.matmul(&call, heads, vectors).await?;
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
        if self.recorder.is_full() {
            self.submit().await?;
        }
        let binds = [(&self.buffers.logits).into(), self.readback.best().into()];
        self.recorder.dispatch(&kernel, &binds, &params, grid::argmax(&params))?;
        let copies = self.readback.copies(&self.buffers.logits, heads, want == Want::Logits);
        let after = self.submit_with(copies).await?;
        self.stream.end_sweep(after.clone());
        self.readback.finish(&self.gpu, after, heads, want).await
    }

    fn kernel(&self, id: KernelId) -> Result<Arc<Kernel>> {
        self.kernels.get(id).ok_or_else(|| Error::new(ErrorKind::Gpu, format!("kernel {id:?} was not prepared")))
    }
}

/// What a kernel works on: a buffer of the plan, or one of the head.
#[derive(Clone, Copy)]
enum Operand {
    Buffer(BufferId),
    HeadInput,
    HeadNormed,
    Logits,
}

struct MatMulCall {
    input: Operand,
    output: Operand,
    matrix: MatrixLayout,
    /// Offset of the bias in floats.
    bias: Option<u32>,
    accumulate: bool,
    scale: f32,
    form: Form,
}

/// How the rows of a matrix meet the input.
#[derive(Clone, Copy)]
enum Form {
    Whole,
    InGroups(Groups),
    /// The number is the first value that counts of each group of the input.
    Transposed(Groups, u32),
}

/// Rows of a group of a matrix, and values of a group of the input's and of the output's rows.
#[derive(Clone, Copy)]
struct Groups {
    rows: u32,
    input: u32,
    output: u32,
}

impl Groups {
    fn new(spec: &ModelSpec, matrix: &MatrixLayout, (input, output): (BufferId, BufferId), groups: u32) -> Self {
        let rows = matrix.rows as u32 / groups;
        Self { rows, input: group_width(spec, input, groups), output: group_width(spec, output, groups) }
    }

    /// The transposed product of the tiles that `params` multiplies.
    fn transposed(self, params: &MatMulParams, columns: u64, first: u32) -> MatMulTransposedParams {
        MatMulTransposedParams {
            rows: params.rows,
            first_row: params.first_row,
            weight_base: params.weight_base,
            row_stride: params.row_stride,
            columns: columns as u32,
            tokens: params.tokens,
            input_stride: params.input_stride * 4,
            output_stride: params.output_stride,
            plane1: params.plane1,
            plane2: params.plane2,
            plane3: params.plane3,
            group_rows: self.rows,
            first,
            input_group: self.input,
            output_group: self.output,
        }
    }
}

struct NormCall {
    input: Operand,
    output: Operand,
    kind: NormKind,
    epsilon: f32,
    /// Offsets of weight and bias in floats.
    weight: Option<u32>,
    bias: Option<u32>,
    groups: u32,
    width: u32,
    per_group: bool,
    accumulate: bool,
    scale: f32,
}

/// Values of a group of a buffer's row.
fn group_width(spec: &ModelSpec, id: BufferId, groups: u32) -> u32 {
    spec.buffers[usize::from(id.0)].width / groups
}

/// Where a table's angles begin in a row of the step's angles, and how long such a row is, in floats.
fn angles(spec: &ModelSpec, table: usize) -> (u32, u32) {
    let floats = |ropes: &[plan::RopeSpec]| ropes.iter().map(|rope| 2 * rope.pairs() as u32).sum();
    (floats(&spec.ropes[..table]), floats(&spec.ropes))
}

/// A buffer and the floats between its rows.
fn operand<'a>(buffers: &'a Buffers, spec: &ModelSpec, operand: Operand) -> (&'a CountedBuffer, u64) {
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

fn vectors_bind<'a>(stream: &'a TileStream, buffers: &'a Buffers, vectors: Vectors) -> Result<Bind<'a>> {
    match vectors.pinned {
        None => Ok((&buffers.vectors).into()),
        Some(tile) => match stream.locate(tile) {
            Some(place) => Ok(place.buffer.into()),
            None => Err(Error::new(ErrorKind::Gpu, "pinned vectors left the GPU")),
        },
    }
}
