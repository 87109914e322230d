//! Products of matrices with activations: a dispatch for each run of tiles that lie together.

use std::ops::Range;

use super::buffers::Buffers;
use super::engine::{Engine, Vectors, WORK_PER_SUBMIT};
use super::layout::{MatrixLayout, Stack, stacks};
use super::ops::{Operand, group_width, operand, vectors_bind};
use crate::gpu::CountedBuffer;
use crate::gpu::kernels::{
    ACCUMULATE, BIAS, InputSpace, InputType, InputWindow, KernelId, MatMulParams, MatMulTransposedParams,
    QuantizeRowsParams, grid,
};
use crate::gpu::recorder::Bind;
use crate::gpu::tuning::product;
use crate::plan::{BufferId, ModelSpec, Op, Part};
use crate::stream::Placement;
use crate::{Error, ErrorKind, Result};

impl Engine {
    /// A product of the plan.
    pub(super) async fn product(&mut self, layer: usize, op: &Op, rows: u32, vectors: Vectors) -> Result<()> {
        let (layout, spec) = (&self.layout.layers[layer], &self.spec);
        let call = match *op {
            Op::MatMul { input, output, ref parts, accumulate, scale, groups } => {
                let part = |part: &Part| {
                    let bias = part.bias.map(|bias| self.vector_offset(&layout.vectors, bias, vectors));
                    (layout.matrix(part.weight), bias, part.first)
                };
                for Stack { matrix, bias } in stacks(parts.iter().map(part)) {
                    let form = match groups {
                        1 => Form::Whole,
                        _ => Form::InGroups(Groups::new(&self.spec, &matrix, (input, output), groups)),
                    };
                    let (input, output) = (Operand::Buffer(input), Operand::Buffer(output));
                    let call = MatMulCall { input, output, matrix, bias, accumulate, scale, form };
                    self.matmul(&call, rows, vectors).await?;
                }
                return Ok(());
            }
            Op::MatMulTransposed { input, output, weight, groups, first } => {
                let matrix = layout.matrix(weight).clone();
                let form = Form::Transposed(Groups::new(spec, &matrix, (input, output), groups), first);
                let (input, output) = (Operand::Buffer(input), Operand::Buffer(output));
                MatMulCall { input, output, matrix, bias: None, accumulate: false, scale: 1.0, form }
            }
            _ => return Ok(()),
        };
        self.matmul(&call, rows, vectors).await
    }

    pub(super) async fn matmul(&mut self, call: &MatMulCall, tokens: u32, vectors: Vectors) -> Result<()> {
        let matrix = &call.matrix;
        if call.how(&self.buffers, &self.spec, tokens).kind == InputType::I8 {
            self.quantize_input(call, tokens).await?;
        }
        let pieces = matrix.pieces();
        let end = self.stream.table().tiles_of(pieces).end;
        let mut tile = self.stream.table().tiles_of(matrix.first_piece..matrix.first_piece + 1).start;
        while tile < end {
            self.bring(tile).await?;
            if self.work > WORK_PER_SUBMIT {
                self.submit().await?;
            }
            tile = self.matmul_run(call, tile, end, tokens, vectors).await?;
        }
        Ok(())
    }

    /// Rounds the input of a product, for all its tiles.
    async fn quantize_input(&mut self, call: &MatMulCall, tokens: u32) -> Result<()> {
        if self.recorder.is_full() {
            self.submit().await?;
        }
        let Some(rounded) = &self.buffers.i8_input else { return Ok(()) };
        let (input, width) = operand(&self.buffers, &self.spec, call.input);
        let columns = call.matrix.columns as u32;
        let params = QuantizeRowsParams { rows: tokens, columns, input_stride: (width / 4) as u32 };
        let kernel = self.kernel(KernelId::QuantizeRows)?;
        self.recorder.dispatch(&kernel, &[input.into(), rounded.into()], &params, grid::quantize_rows(&params))
    }

    /// The tiles from `first` on that lie together, in one dispatch or one for each window of the input; returns the tile
    /// after them.
    async fn matmul_run(
        &mut self,
        call: &MatMulCall,
        first: usize,
        end: usize,
        tokens: u32,
        vectors: Vectors,
    ) -> Result<usize> {
        let lost = || Error::new(ErrorKind::Internal, "a tile left the GPU while it was needed");
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
        let ProductInput { kind, space, row_bytes } = call.how(&self.buffers, &self.spec, tokens);
        let (_, output_width) = operand(&self.buffers, &self.spec, call.output);
        let params = MatMulParams {
            rows: rows as u32,
            first_row: first_row as u32,
            row_stride: (encoding.row_stride(matrix.columns) / 16) as u32,
            chunks: matrix.columns.div_ceil(32) as u32,
            input_stride: (row_bytes / 16) as u32,
            output_stride: output_width as u32,
            plane1: plane(1),
            plane2: plane(2),
            plane3: plane(3),
            bias_offset: call.bias.unwrap_or(0),
            scale: call.scale,
            flags: (u32::from(call.accumulate) * ACCUMULATE) | (u32::from(call.bias.is_some()) * BIAS),
            group_rows: if let Form::InGroups(groups) = call.form { groups.rows } else { 0 },
            input_group: if let Form::InGroups(groups) = call.form { groups.input / 4 } else { 0 },
            ..MatMulParams::default()
        };
        let id = match call.form {
            Form::Whole => product(encoding, (kind, space), tokens),
            Form::InGroups(_) => KernelId::MatVecInGroups(encoding),
            Form::Transposed(..) => KernelId::MatMulTransposed(encoding),
        };
        let kernel = self.kernel(id)?;
        self.work += rows * matrix.columns * u64::from(tokens);
        for window in space.windows(row_bytes, tokens) {
            if self.recorder.is_full() {
                self.submit().await?;
            }
            // A submit takes no tile away.
            let start = self.stream.locate(first).ok_or_else(lost)?;
            self.recorder.set_weights(first..next, rows * encoding.row_stride(matrix.columns));
            let InputWindow { first_token, tokens, base: input_base, .. } = window;
            let weight_base = (start.offset_bytes / 16) as u32;
            let params = MatMulParams { weight_base, first_token, tokens, input_base, ..params };
            let (input, weights) = (call.input(&self.buffers, &self.spec, kind), start.buffer.into());
            let (output, _) = operand(&self.buffers, &self.spec, call.output);
            if let Form::Transposed(groups, first) = call.form {
                let params = groups.transposed(&params, matrix.columns, first);
                let binds = [weights, weights, input.into(), output.into()];
                self.recorder.dispatch(&kernel, &binds, &params, grid::matmul_transposed(&params))?;
            } else {
                let vectors = vectors_bind(&self.stream, &self.buffers, vectors)?;
                let binds = [weights, weights, Bind::window(input, window), vectors, output.into()];
                let size = grid::matmul(self.kernels.tuning(), id, &params);
                self.recorder.dispatch(&kernel, &binds, &params, size)?;
            }
        }
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
}

pub(super) struct MatMulCall {
    pub input: Operand,
    pub output: Operand,
    pub matrix: MatrixLayout,
    /// Offset of the bias in floats, as [`Stack`] has it.
    pub bias: Option<u32>,
    pub accumulate: bool,
    pub scale: f32,
    pub form: Form,
}

impl MatMulCall {
    /// How it takes its input.
    fn how(&self, buffers: &Buffers, spec: &ModelSpec, tokens: u32) -> ProductInput {
        let (_, width) = operand(buffers, spec, self.input);
        match self.form {
            Form::Whole => buffers.inputs.of(&self.matrix, width, tokens),
            _ => InputChoice::default().of(&self.matrix, width, tokens),
        }
    }

    /// The buffer of its input.
    fn input<'a>(&self, buffers: &'a Buffers, spec: &ModelSpec, kind: InputType) -> &'a CountedBuffer {
        match (kind, &buffers.i8_input) {
            (InputType::I8, Some(rounded)) => rounded,
            _ => operand(buffers, spec, self.input).0,
        }
    }
}

/// How a model's products may take their inputs.
#[derive(Clone, Copy, Default)]
pub(super) struct InputChoice {
    /// As what numbers, at most.
    pub most_rounded: InputType,
    /// In uniform buffers, where they fit.
    pub uniform: bool,
}

/// How a product takes its input.
pub(super) struct ProductInput {
    pub kind: InputType,
    pub space: InputSpace,
    /// From one row to the next.
    pub row_bytes: u64,
}

impl InputChoice {
    /// For a matrix that meets its whole input, whose buffer has `width` values a row.
    pub fn of(self, matrix: &MatrixLayout, width: u64, tokens: u32) -> ProductInput {
        let kind = matrix.encoding.input_type(self.most_rounded);
        let row_bytes = match kind {
            InputType::F32 => width * 4,
            InputType::I8 => matrix.columns.div_ceil(32) * kind.chunk_bytes(),
        };
        ProductInput { kind, space: InputSpace::of(self.uniform, row_bytes, tokens), row_bytes }
    }
}

/// How the rows of a matrix meet the input.
#[derive(Clone, Copy)]
pub(super) enum Form {
    Whole,
    InGroups(Groups),
    /// The number is the first value that counts of each group of the input.
    Transposed(Groups, u32),
}

/// Rows of a group of a matrix, and values of a group of the input's and of the output's rows.
#[derive(Clone, Copy)]
pub(super) struct Groups {
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
