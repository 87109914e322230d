//! Attention: a dispatch for each span of positions and each segment of the cache.

use super::engine::{Engine, Vectors, WORK_PER_SUBMIT};
use super::ops::{Operand, operand, vectors_bind};
use crate::gpu::kernels::{
    ALIBI, AttentionParams, CHUNKS, FIRST, KernelId, LAST, PAGE_TOKENS, SINKS, SPAN_PAGES, VALUES_IN_KEYS, grid,
};
use crate::plan::Op;
use crate::{Error, ErrorKind, Result};

/// Positions that a dispatch goes over.
const SPAN: u32 = SPAN_PAGES * PAGE_TOKENS;

impl Engine {
    /// Attention of `rows` rows over the positions of their sequences that any of them sees, span after span.
    pub(super) async fn attention(&mut self, layer: usize, op: &Op, rows: u32, vectors: Vectors) -> Result<()> {
        let Op::Attention { attention, .. } = op else { return Ok(()) };
        let segments = self.kv.layer(layer).len();
        let first = (attention.first_position(self.positions.start) / SPAN) as usize;
        let calls = segments * (self.positions.end.div_ceil(SPAN) as usize - first);
        for call in 0..calls {
            if self.recorder.is_full() || self.work > WORK_PER_SUBMIT {
                self.submit().await?;
            }
            let ends = (u32::from(call == 0) * FIRST) | (u32::from(call + 1 == calls) * LAST);
            self.attend(layer, op, rows, vectors, (first + call / segments, call % segments), ends)?;
        }
        Ok(())
    }

    /// The dispatch over one span and one segment.
    fn attend(
        &mut self,
        layer: usize,
        op: &Op,
        rows: u32,
        vectors: Vectors,
        (span, segment): (usize, usize),
        ends: u32,
    ) -> Result<()> {
        let Op::Attention { query, output, attention } = *op else { return Ok(()) };
        let (kind, sharing) = (self.kv.geometry().kind, attention.heads / attention.kv_heads.max(1));
        let kernel = self.kernel(KernelId::attention(kind, rows, sharing))?;
        let sinks = attention.sinks.map(|sinks| self.vector_offset(&self.layout.layers[layer].vectors, sinks, vectors));
        let vectors = vectors_bind(&self.stream, &self.buffers, vectors)?;
        let (query, query_width) = operand(&self.buffers, &self.spec, Operand::Buffer(query));
        let (output, output_width) = operand(&self.buffers, &self.spec, Operand::Buffer(output));
        let lost = || Error::new(ErrorKind::Internal, "a segment of the KV cache is gone");
        let segment = self.kv.layer(layer).nth(segment).ok_or_else(lost)?;
        let flags = [
            (sinks.is_some(), SINKS),
            (attention.alibi, ALIBI),
            (attention.values_in_keys, VALUES_IN_KEYS),
            (attention.chunked && attention.window.is_some(), CHUNKS),
        ];
        let begin_page = span as u32 * SPAN_PAGES;
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
            begin_page,
            end_page: begin_page + SPAN_PAGES,
            flags: ends | flags.iter().map(|(is_set, flag)| u32::from(*is_set) * flag).sum::<u32>(),
        };
        let (meta, pages) = ((&self.step.meta).into(), (&self.step.pages).into());
        let state = (&self.buffers.attention_state).into();
        let binds = [query.into(), meta, pages, segment.bind, vectors, output.into(), state];
        self.recorder.dispatch(&kernel, &binds, &params, grid::attention(&params))?;
        let positions = u64::from(self.positions.end.min(SPAN));
        let values = u64::from(attention.heads) * u64::from(attention.head_dim + attention.value_dim);
        self.work += u64::from(rows) * positions * values;
        Ok(())
    }
}
