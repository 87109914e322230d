//! The buffers of a sweep.

use super::super::memory::{EngineConfig, MOST_ROWS, padded};
use super::super::program::{BufferIndex, BufferPlan, BufferUse, CommonBuffers, ExpertBuffers};
use super::super::states::{StateLayout, pages_for};
use super::{BEST_BYTES, angles_before};
use crate::gpu::kernels::InputType;
use crate::model::layout::{MatrixLayout, ModelLayout};
use crate::plan::{ModelSpec, Op};

/// Entries of a page table at most, unless more are reserved: two million positions.
const MOST_PAGES: u64 = 1 << 16;
/// The buffers of a sweep.
pub(super) fn buffers(
    spec: &ModelSpec,
    layout: &ModelLayout,
    states: &StateLayout,
    config: &EngineConfig,
) -> (Vec<BufferPlan>, CommonBuffers) {
    let mut list = List(Vec::new());
    for buffer in &spec.buffers {
        list.rows(buffer.name, padded(buffer.width) * 4);
    }
    let hidden = padded(spec.hidden) * 4;
    let per_layer = spec.per_layer.map_or(0, |table| padded(table.width) * 4);
    let logits = u64::from(spec.vocab) * 4;
    let angles = list.rows("angles", u64::from(angles_before(spec, spec.ropes.len())) * 4);
    let indices = list.rows("row indices", 4);
    let meta: Vec<_> = (0..states.groups.len().max(1)).map(|_| list.rows("row meta", 16)).collect();
    let page_tables: Vec<_> = page_table_entries(spec, states, config)
        .into_iter()
        .map(|entries| list.fixed("page table", entries * 4))
        .collect();
    let sent = [angles, indices].into_iter().chain(meta.iter().copied()).chain(page_tables.iter().copied());
    let sent: Vec<_> = sent.map(|index| list.0[usize::from(index.0)].clone()).collect();
    let staging = BufferPlan {
        // Each part begins on a multiple of 16.
        row_bytes: sent.iter().map(|part| part.row_bytes).sum::<u64>() + hidden + per_layer,
        fixed_bytes: sent.iter().map(|part| part.fixed_bytes + 16).sum(),
        reached: BufferUse::Staging,
        ..BufferPlan::new("sweep staging")
    };
    let vectors = list.fixed("vectors", layout.largest_vectors_bytes());
    let attention_state = list.rows("attention state", most_heads(spec) * 8);
    let common = CommonBuffers {
        residual: BufferIndex(spec.residual.0),
        vectors,
        attention_state,
        angles,
        indices,
        meta,
        page_tables,
        head_input: list.outputs("head input", hidden),
        head_normed: list.outputs("head normed", hidden),
        logits: list.outputs("logits", logits),
        best: list.outputs("best ids", BEST_BYTES),
        readback: list.add(BufferPlan {
            output_bytes: BEST_BYTES + logits.max(hidden),
            reached: BufferUse::Readback,
            ..BufferPlan::new("readback")
        }),
        staging: list.add(staging),
        rounded: rounded_row_bytes(layout, config.inputs).map(|bytes| list.rows("rounded input", bytes)),
        experts: expert_buffers(spec, &mut list),
    };
    (list.0, common)
}

impl BufferPlan {
    fn new(name: &'static str) -> Self {
        let (row_bytes, output_bytes, fixed_bytes) = (0, 0, 0);
        Self { name, row_bytes, output_bytes, fixed_bytes, product_input: false, reached: BufferUse::Storage }
    }
}

/// Buffers as they are planned.
struct List(Vec<BufferPlan>);

impl List {
    fn add(&mut self, plan: BufferPlan) -> BufferIndex {
        self.0.push(plan);
        BufferIndex(self.0.len() as u16 - 1)
    }

    fn rows(&mut self, name: &'static str, row_bytes: u64) -> BufferIndex {
        self.add(BufferPlan { row_bytes, ..BufferPlan::new(name) })
    }

    fn outputs(&mut self, name: &'static str, output_bytes: u64) -> BufferIndex {
        self.add(BufferPlan { output_bytes, ..BufferPlan::new(name) })
    }

    fn fixed(&mut self, name: &'static str, fixed_bytes: u64) -> BufferIndex {
        self.add(BufferPlan { fixed_bytes, ..BufferPlan::new(name) })
    }
}

/// Entries of each group's page table: as many as the sequences can have pages at once, so that a growing cache needs no
/// other table.
fn page_table_entries(spec: &ModelSpec, states: &StateLayout, config: &EngineConfig) -> Vec<u64> {
    let sequences = u64::from(config.sequences.max(1));
    let all = pages_for(u64::from(spec.max_positions)) * sequences;
    let rows = config.rows.map_or(MOST_ROWS, u64::from);
    let entries = states.pages(all.min(MOST_PAGES).max(config.kv_pages), sequences, rows, 0);
    entries.into_iter().map(|entries| entries.max(1)).collect()
}

/// Bytes of a row of the rounded input of any product. None: no product takes one.
fn rounded_row_bytes(layout: &ModelLayout, inputs: InputType) -> Option<u64> {
    let takes = |matrix: &&MatrixLayout| matrix.encoding.input_type(inputs) == InputType::I8;
    let chunks = layout.matrices().filter(takes).map(|matrix| matrix.columns.div_ceil(32)).max()?;
    Some(chunks * InputType::I8.chunk_bytes())
}

/// The most heads that any attention of the plan has.
fn most_heads(spec: &ModelSpec) -> u64 {
    let heads = |op: &Op| if let Op::Attention { attention, .. } = op { u64::from(attention.heads) } else { 0 };
    spec.layers.iter().flat_map(|layer| layer.ops.iter().map(heads)).max().unwrap_or(0)
}

/// What a router's choice travels through. None: the model has no experts.
fn expert_buffers(spec: &ModelSpec, list: &mut List) -> Option<ExpertBuffers> {
    let experts = || spec.layers.iter().filter_map(|layer| layer.experts.as_ref());
    let uses = experts().map(|experts| u64::from(experts.routing.chosen) * 4).max()?;
    let scores = experts().map(|experts| padded(experts.count) * 4).max()?;
    let staging = BufferPlan {
        row_bytes: 2 * uses,
        // Both lists begin on a multiple of 16.
        fixed_bytes: 32,
        reached: BufferUse::Staging,
        ..BufferPlan::new("expert staging")
    };
    Some(ExpertBuffers {
        rows: list.rows("expert rows", uses),
        factors: list.rows("expert factors", uses),
        scores: list.add(BufferPlan {
            row_bytes: scores,
            reached: BufferUse::Readback,
            ..BufferPlan::new("router scores")
        }),
        staging: list.add(staging),
    })
}
