//! Streams of a residual, and what bends rows beside them.

use super::{Lowering, buffer, dispatch};
use crate::gpu::kernels::{
    ACCUMULATE, CORRECT, CutoffParams, FACTORS, KernelId, LogitsParams, MatchSizeParams, MixStreamsParams, XieluParams,
};
use crate::model::program::{Params, Slot, StepKind};
use crate::plan::BufferId;

/// A row whose mean square is below is not brought to the size of another one: it stays small.
const LEAST_MEAN_SQUARE: f32 = 1e-5;

impl Lowering<'_> {
    pub(super) fn xielu(&self, target: BufferId, width: u32, offsets: [u32; 3]) -> StepKind {
        let target = buffer(target);
        let [positive_offset, negative_offset, slope_offset] = offsets;
        let stride = self.stride(target);
        let params = XieluParams { rows: 0, width, stride, positive_offset, negative_offset, slope_offset };
        dispatch(KernelId::Xielu, Params::Xielu(params), [Slot::Vectors, Slot::Buffer(target)])
    }

    pub(super) fn bend(
        &self,
        target: BufferId,
        width: u32,
        (scale, cap): (f32, Option<f32>),
        factors: Option<u32>,
    ) -> StepKind {
        let (target, flags) = (buffer(target), u32::from(factors.is_some()) * FACTORS);
        let (stride, cap, factors_offset) = (self.stride(target), cap.unwrap_or(0.0), factors.unwrap_or(0));
        let params = LogitsParams { rows: 0, width, stride, scale, cap, factors_offset, flags };
        dispatch(KernelId::Logits, Params::Logits(params), [Slot::Vectors, Slot::Buffer(target)])
    }

    pub(super) fn cutoff(&self, target: BufferId, width: u32, deviations: f32) -> StepKind {
        let target = buffer(target);
        let params = CutoffParams { rows: 0, width, stride: self.stride(target), deviations };
        dispatch(KernelId::Cutoff, Params::Cutoff(params), [Slot::Buffer(target)])
    }

    pub(super) fn mix_streams(&self, streams: [BufferId; 4], coefs: BufferId, activated: Option<BufferId>) -> StepKind {
        let (coefs, streams) = (buffer(coefs), streams.map(buffer));
        let params = MixStreamsParams {
            rows: 0,
            width: self.spec.hidden,
            stride: self.stride(streams[0]),
            coef_stride: self.stride(coefs),
            flags: u32::from(activated.is_some()) * CORRECT,
        };
        // Something has to be bound where nothing corrects.
        let mut slots = vec![Slot::Buffer(coefs), Slot::Buffer(activated.map_or(coefs, buffer))];
        slots.extend(streams.map(Slot::Buffer));
        dispatch(KernelId::MixStreams, Params::MixStreams(params), slots)
    }

    pub(super) fn match_size(&self, buffers: [BufferId; 3], width: u32, accumulate: bool) -> StepKind {
        let buffers = buffers.map(buffer);
        let params = MatchSizeParams {
            rows: 0,
            width,
            stride: self.stride(buffers[0]),
            floor: LEAST_MEAN_SQUARE,
            flags: u32::from(accumulate) * ACCUMULATE,
        };
        dispatch(KernelId::MatchSize, Params::MatchSize(params), buffers.map(Slot::Buffer))
    }
}
