//! Ops over recurrent states: the convolution along each sequence, and the delta rule.

use super::engine::{Engine, Vectors};
use super::kv::KvCache;
use super::ops::{Operand, operand, vectors_bind};
use crate::gpu::CountedBuffer;
use crate::gpu::kernels::{ConvParams, DeltaRuleParams, KernelId, grid};
use crate::plan::{ModelSpec, Op, RecurrentSpec, VectorId};
use crate::{Error, ErrorKind, Result};

impl Engine {
    pub(super) fn convolve(&mut self, layer: usize, op: &Op, rows: u32, vectors: Vectors) -> Result<()> {
        let Op::Conv { target, weight, first, width } = *op else { return Ok(()) };
        let (spec, state) = recurrent(&self.kv, &self.spec, layer)?;
        let (values, stride) = operand(&self.buffers, &self.spec, Operand::Buffer(target));
        let params = ConvParams {
            width,
            stride: stride as u32,
            first,
            channels: spec.channels(),
            weight_offset: self.vector_offset(&self.layout.layers[layer].vectors, weight, vectors),
            state_stride: spec.floats(),
        };
        let kernel = self.kernel(KernelId::Conv)?;
        let vectors = vectors_bind(&self.stream, &self.buffers, vectors)?;
        let binds = [vectors, (&self.step.meta).into(), state.into(), values.into()];
        self.recorder.dispatch(&kernel, &binds, &params, grid::conv(&params, rows))
    }

    pub(super) fn delta_rule(&mut self, layer: usize, op: &Op, rows: u32, vectors: Vectors) -> Result<()> {
        let Op::DeltaRule { query, key, value, decay, beta, rate, bias } = *op else { return Ok(()) };
        let (spec, state) = recurrent(&self.kv, &self.spec, layer)?;
        let [query, key, value, decay, beta] =
            [query, key, value, decay, beta].map(|id| operand(&self.buffers, &self.spec, Operand::Buffer(id)));
        let offset = |id: VectorId| self.vector_offset(&self.layout.layers[layer].vectors, id, vectors);
        let params = DeltaRuleParams {
            heads: spec.heads,
            key_heads: spec.key_heads,
            key_dim: spec.key_dim,
            value_dim: spec.value_dim,
            query_stride: query.1 as u32,
            key_stride: key.1 as u32,
            value_stride: value.1 as u32,
            decay_stride: decay.1 as u32,
            beta_stride: beta.1 as u32,
            rate_offset: offset(rate),
            bias_offset: offset(bias),
            state_offset: spec.conv_floats(),
            state_stride: spec.floats(),
        };
        let kernel = self.kernel(KernelId::DeltaRule)?;
        let (meta, vectors) = ((&self.step.meta).into(), vectors_bind(&self.stream, &self.buffers, vectors)?);
        let [query, key, value, decay, beta] = [query, key, value, decay, beta].map(|(buffer, _)| buffer.into());
        let binds = [query, key, decay, beta, vectors, meta, state.into(), value];
        self.recorder.dispatch(&kernel, &binds, &params, grid::delta_rule(&params, rows))?;
        // Each value of the state is read twice and multiplied three times.
        self.work += 3 * u64::from(rows) * u64::from(spec.key_dim) * u64::from(spec.value_width());
        Ok(())
    }
}

/// What a layer keeps, and where.
fn recurrent<'a>(kv: &'a KvCache, spec: &ModelSpec, layer: usize) -> Result<(RecurrentSpec, &'a CountedBuffer)> {
    let state = kv.recurrent().and_then(|states| states.layer(layer));
    let lost = || Error::new(ErrorKind::Internal, format!("layer {layer} has no recurrent states"));
    spec.layers[layer].recurrent.zip(state).ok_or_else(lost)
}
