//! Keys and values to their pages, and attention over them: a dispatch for each run of pages in a segment of the cache.

use super::executor::{Executor, Sources, Vectors};
use super::program::{Attention, KvWrite, Program, Slot};
use crate::gpu::kernels::{
    AttentionParams, FIRST, KernelId, KvWriteParams, LAST, PAGE_TOKENS, SINKS, SPAN_PAGES, grid,
};
use crate::{Error, ErrorKind, Result};

impl Executor {
    /// Writes the keys and values of `rows` rows.
    pub(super) async fn kv_write(&mut self, program: &Program, step: &KvWrite, rows: u32) -> Result<()> {
        let group = program.states.group_of(step.layer).ok_or_else(|| no_pages(step.layer))?;
        let kernel = self.kernel(KernelId::KvWrite(program.states.kind))?;
        let common = &program.common;
        for index in 0..self.runs[group].written.len() {
            self.make_room(1).await?;
            let segment = self.kv.segment(step.layer, self.runs[group].written[index])?;
            let params = KvWriteParams {
                rows,
                segment_first_page: segment.first_page,
                segment_pages: segment.pages,
                // Queries are rotated once.
                heads: if index == 0 { step.params.heads } else { 0 },
                ..step.params
            };
            let sources = Sources { buffers: &self.buffers, stream: &self.stream, kv: &self.kv, vectors: self.vectors };
            let [rows, angles, meta, table] = [step.rows, common.angles, common.meta[group], common.page_tables[group]]
                .map(|index| sources.buffer(index));
            let binds = [rows, angles, meta, table, segment.bind];
            self.recorder.dispatch(&kernel, &binds, &params, grid::kv_write(&params))?;
        }
        Ok(())
    }

    /// Attention of `rows` rows over the positions of their sequences that any of them sees, run after run.
    pub(super) async fn attention(
        &mut self,
        program: &Program,
        step: &Attention,
        rows: u32,
        vectors: Vectors,
    ) -> Result<()> {
        let group = program.states.group_of(step.layer).ok_or_else(|| no_pages(step.layer))?;
        let sharing = step.params.heads / step.params.kv_heads.max(1);
        let kernel = self.kernel(KernelId::attention(program.states.kind, rows, sharing))?;
        let mut params = AttentionParams { rows, ..step.params };
        if params.flags & SINKS != 0 {
            params.sinks_offset += vectors.base;
        }
        let calls = self.runs[group].read.len();
        for call in 0..calls {
            self.make_room(1).await?;
            let run = self.runs[group].read[call];
            let segment = self.kv.segment(step.layer, run.segment)?;
            let ends = (u32::from(call == 0) * FIRST) | (u32::from(call + 1 == calls) * LAST);
            let params = AttentionParams {
                segment_first_page: segment.first_page,
                segment_pages: segment.pages,
                begin_page: run.begin,
                end_page: run.end,
                flags: params.flags | ends,
                ..params
            };
            let sources = Sources { buffers: &self.buffers, stream: &self.stream, kv: &self.kv, vectors: self.vectors };
            let common = &program.common;
            let [query, meta, table, output, state] =
                [step.query, common.meta[group], common.page_tables[group], step.output, common.attention_state]
                    .map(|index| sources.buffer(index));
            let binds = [query, meta, table, segment.bind, sources.bind(Slot::Vectors, vectors)?, output, state];
            self.recorder.dispatch(&kernel, &binds, &params, grid::attention(&params))?;
            let positions = u64::from((run.end - run.begin).min(SPAN_PAGES) * PAGE_TOKENS);
            let values = u64::from(params.heads) * u64::from(params.head_dim + params.value_dim);
            self.work += u64::from(rows) * positions * values;
        }
        Ok(())
    }
}

fn no_pages(layer: usize) -> Error {
    Error::new(ErrorKind::Internal, format!("layer {layer} keeps no keys and values"))
}
