//! Routers and experts.

use super::{Lowering, buffer, no_experts};
use crate::Result;
use crate::gpu::kernels::{FACTORS, GatherRowsParams, KernelId, ScatterRowsParams};
use crate::model::layout::{ExpertLayout, LayerLayout};
use crate::model::program::{BufferIndex, Dispatch, Expert, ExpertBuffers, Experts, Params, Route, Slot, StepKind};
use crate::plan::{self, BufferId, ExpertsSpec, LayerSpec, Up, VectorId, up_first};

impl Lowering<'_> {
    pub(super) fn route(&self, (index, layer): (usize, &LayerSpec), scores: BufferId) -> Result<StepKind> {
        let experts = layer.experts.as_ref().ok_or_else(|| no_experts(index))?;
        let tensor = |id: VectorId| plan::layer_tensor(index, &layer.vectors[usize::from(id.0)].name);
        let scores = buffer(scores);
        let stride = u64::from(self.stride(scores));
        Ok(StepKind::Route(Route {
            layer: index,
            scores,
            stride,
            count: experts.count,
            routing: experts.routing,
            bias: experts.routing.bias.map(tensor),
            factors: experts.routing.factors.map(tensor),
        }))
    }

    pub(super) fn experts(
        &mut self,
        (index, layer): (usize, &LayerSpec),
        layout: &LayerLayout,
        (input, output): (BufferId, BufferId),
        scale: f32,
    ) -> Result<StepKind> {
        let spec = layer.experts.as_ref().ok_or_else(|| no_experts(index))?;
        let lists = self.common.experts.ok_or_else(|| no_experts(index))?;
        let [rows_in, inner, rows_out] = spec.buffers;
        let mut experts = Vec::with_capacity(layout.experts.len());
        for expert in &layout.experts {
            experts.push(self.expert(expert, spec, scale));
        }
        Ok(StepKind::Experts(Box::new(Experts {
            layer: index,
            gather: self.gather(buffer(input), buffer(rows_in), (lists.rows, lists.factors), spec.factor_on_input),
            gate: self.gate(inner, Up::From(up_first(spec.width)), spec.width, (spec.activation, false, spec.limit)),
            scatter: self.scatter(buffer(rows_out), buffer(output), lists, !spec.factor_on_input),
            // Behind the layer's own, which later ops need.
            vectors_at_bytes: layout.vectors.len_bytes,
            experts,
        })))
    }

    fn expert(&mut self, expert: &ExpertLayout, spec: &ExpertsSpec, scale: f32) -> Expert {
        let [rows_in, inner, rows_out] = spec.buffers.map(buffer);
        let gate_up = expert.stacks(&[(0, 0), (1, up_first(spec.width))]);
        let gate_up = self.products(gate_up, (rows_in, inner), (false, 1.0), 1);
        let down = self.products(expert.stacks(&[(2, 0)]), (inner, rows_out), (false, scale), 1);
        Expert { vectors: expert.vectors.piece, gate_up, down }
    }

    /// Rows whose numbers stand in a list.
    pub(super) fn gather(
        &self,
        input: BufferIndex,
        output: BufferIndex,
        (indices, factors): (BufferIndex, BufferIndex),
        with_factors: bool,
    ) -> Dispatch {
        let params = GatherRowsParams {
            rows: 0,
            width: self.spec.hidden,
            input_stride: self.stride(input),
            output_stride: self.stride(output),
            indices_offset: 0,
            flags: u32::from(with_factors) * FACTORS,
        };
        let slots = [input, indices, factors, output].map(Slot::Buffer).to_vec();
        Dispatch { kernel: KernelId::GatherRows, params: Params::GatherRows(params), slots, work_per_row: 0 }
    }

    /// Adds rows to those whose numbers stand in a list.
    fn scatter(&self, input: BufferIndex, output: BufferIndex, lists: ExpertBuffers, with_factors: bool) -> Dispatch {
        let params = ScatterRowsParams {
            rows: 0,
            width: self.spec.hidden,
            input_stride: self.stride(input),
            output_stride: self.stride(output),
            first: 0,
            flags: u32::from(with_factors) * FACTORS,
        };
        let slots = [input, lists.rows, lists.factors, output].map(Slot::Buffer).to_vec();
        Dispatch { kernel: KernelId::ScatterRows, params: Params::ScatterRows(params), slots, work_per_row: 0 }
    }
}
