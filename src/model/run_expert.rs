//! The ops of one chosen expert.

use super::engine::{Engine, WORK_PER_SUBMIT};
use super::experts::Group;
use super::layout::Stack;
use super::ops::{Operand, operand};
use super::products::{Form, MatMulCall};
use crate::gpu::kernels::{FACTORS, GatherRowsParams, KernelId, ScatterRowsParams, grid};
use crate::plan::{BufferId, ExpertsSpec, Up, up_first};
use crate::{Error, ErrorKind, Result};

impl Engine {
    /// One expert for its rows: gathered, computed, and added with their factors.
    pub(super) async fn run_expert(
        &mut self,
        layer: usize,
        spec: &ExpertsSpec,
        group: &Group,
        (input, output): (BufferId, BufferId),
        scale: f32,
    ) -> Result<()> {
        let [rows_in, inner, rows_out] = spec.buffers;
        let rows = group.len as u32;
        let layout = &self.layout.layers[layer];
        let expert = layout.experts[group.expert].clone();
        // Behind the layer's own, which later ops need.
        let behind = self.layout.vectors_bytes(&layout.vectors);
        let vectors = self.bring_vectors(expert.vectors.piece, behind).await?;
        if self.recorder.is_full() || self.work > WORK_PER_SUBMIT {
            self.submit().await?;
        }
        self.gather_expert(spec, group, input)?;
        let call = |Stack { matrix, bias }, from, to, scale| MatMulCall {
            input: Operand::Buffer(from),
            output: Operand::Buffer(to),
            matrix,
            bias,
            accumulate: false,
            scale,
            form: Form::Whole,
        };
        let up = up_first(spec.width);
        for stack in expert.stacks(&[(0, 0), (1, up)], vectors.base) {
            self.matmul(&call(stack, rows_in, inner, 1.0), rows, vectors).await?;
        }
        if self.recorder.is_full() {
            self.submit().await?;
        }
        self.gate(inner, Up::From(up), spec.width, (spec.activation, false, spec.limit), rows)?;
        for stack in expert.stacks(&[(2, 0)], vectors.base) {
            self.matmul(&call(stack, inner, rows_out, scale), rows, vectors).await?;
        }
        if self.recorder.is_full() {
            self.submit().await?;
        }
        self.scatter_expert(spec, group, output)
    }

    /// The rows of an expert, from those of the sweep.
    fn gather_expert(&mut self, spec: &ExpertsSpec, group: &Group, input: BufferId) -> Result<()> {
        let (from, input_stride) = operand(&self.buffers, &self.spec, Operand::Buffer(input));
        let (to, output_stride) = operand(&self.buffers, &self.spec, Operand::Buffer(spec.buffers[0]));
        let params = GatherRowsParams {
            rows: group.len as u32,
            width: spec.hidden,
            input_stride: input_stride as u32,
            output_stride: output_stride as u32,
            indices_offset: group.first as u32,
            flags: u32::from(spec.factor_on_input) * FACTORS,
        };
        let kernel = self.kernel(KernelId::GatherRows)?;
        let step = self.experts.as_ref().ok_or_else(no_lists)?;
        let binds = [from.into(), (&step.rows).into(), (&step.factors).into(), to.into()];
        self.recorder.dispatch(&kernel, &binds, &params, grid::gather_rows(&params))
    }

    /// Adds the rows of an expert to those of the sweep.
    fn scatter_expert(&mut self, spec: &ExpertsSpec, group: &Group, output: BufferId) -> Result<()> {
        let (from, input_stride) = operand(&self.buffers, &self.spec, Operand::Buffer(spec.buffers[2]));
        let (to, output_stride) = operand(&self.buffers, &self.spec, Operand::Buffer(output));
        let params = ScatterRowsParams {
            rows: group.len as u32,
            width: spec.hidden,
            input_stride: input_stride as u32,
            output_stride: output_stride as u32,
            first: group.first as u32,
            flags: u32::from(!spec.factor_on_input) * FACTORS,
        };
        let kernel = self.kernel(KernelId::ScatterRows)?;
        let step = self.experts.as_ref().ok_or_else(no_lists)?;
        let binds = [from.into(), (&step.rows).into(), (&step.factors).into(), to.into()];
        self.recorder.dispatch(&kernel, &binds, &params, grid::scatter_rows(&params))
    }
}

fn no_lists() -> Error {
    Error::new(ErrorKind::Internal, "experts without their lists")
}
