//! How the budget is shared out: what is fixed, the windows, and what is left for tiles that stay.

use std::collections::HashSet;

use super::kv::KvGeometry;
use super::layout::{MatrixLayout, ModelLayout};
use crate::gpu::kernels::{I8_CHUNK_BYTES, InputType, KvType, PAGE_TOKENS, UNIFORM_BYTES};
use crate::gpu::memory::ALLOCATOR_SLACK_BYTES;
use crate::gpu::recorder::RECORDER_BYTES;
use crate::plan::{BufferId, CHUNK_COLUMNS, ModelSpec, Op};
use crate::store::ReadPlan;
use crate::stream::pipeline::pipeline_bytes;
use crate::{Error, ErrorKind, Result};

const SMALLEST_WINDOW_BYTES: u64 = 64 << 10;
const FEWEST_WINDOWS: usize = 2;
/// Windows, and bytes of one, where the budget is so large that they cost next to nothing. Fewer and longer dispatches come of
/// large windows, and threads of a processor wait for each other at the end of each.
const WINDOWS_AHEAD: usize = 8;
const LARGE_WINDOW_BYTES: u64 = 8 << 20;
/// Rows of a sweep when there is room: more rows mean fewer sweeps for a long prompt.
const MOST_ROWS: u64 = 128;

/// Entries of the page table at most, unless more are reserved: two million positions.
const MOST_PAGES: u64 = 1 << 16;

/// What the caller asks for.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// GPU bytes, everything included.
    pub budget_bytes: u64,
    /// Bytes of tiles that stay at most; what the budget leaves where none.
    pub most_pinned_bytes: Option<u64>,
    /// Pages of KV cache to reserve.
    pub kv_pages: u64,
    /// Rows of a sweep at most (the prefill chunk); chosen by the budget where none.
    pub rows: Option<u32>,
    /// Rows whose logits one sweep must be able to give: at least one for each sequence that decodes. So many sequences
    /// can keep recurrent states.
    pub head_rows: u32,
    /// Whether shaders read the windows themselves.
    pub direct: bool,
    /// What products may take their inputs as.
    pub inputs: InputType,
    /// Whether products find their inputs in uniform buffers where the budget has room for what is behind their last rows.
    pub uniform_inputs: bool,
    /// How large and how many reads the disk likes; a small budget has smaller and fewer.
    pub reads: ReadPlan,
}

/// The shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    pub rows: u32,
    pub head_rows: u32,
    pub window_bytes: u64,
    pub windows: usize,
    /// Reads at a time.
    pub readers: usize,
    pub pinned_bytes: u64,
    /// Whether each buffer that a product takes has [`UNIFORM_BYTES`] behind its last row.
    pub uniform_inputs: bool,
    /// Everything that is neither windows nor pinned tiles: activations, KV cache, recurrent states, logits, staging.
    pub fixed_bytes: u64,
}

/// Sizes of the step's buffers, in bytes: the same formulas allocate them.
#[derive(Clone, Copy, Debug)]
pub struct StepSizes {
    pub angles: u64,
    pub meta: u64,
    pub pages: u64,
    pub indices: u64,
    pub embeddings: u64,
}

impl StepSizes {
    /// Sizes for `rows` rows. The page table has room for every position that the sequences can have, so that a growing
    /// cache needs no other table.
    pub fn new(spec: &ModelSpec, rows: u64, demand: &Demand) -> Self {
        let pairs: u64 = spec.ropes.iter().map(|rope| rope.pairs() as u64).sum();
        let most_pages = KvGeometry::pages_for(u64::from(spec.max_positions)) * u64::from(demand.head_rows.max(1));
        let kv_pages = most_pages.min(MOST_PAGES).max(demand.kv_pages);
        Self {
            angles: align(rows * pairs * 8),
            meta: align(rows * 16),
            pages: align(kv_pages * 4),
            indices: align(rows * 4),
            embeddings: align(rows * padded(spec.hidden) * 4),
        }
    }

    /// Bytes of the staging buffer, which holds all of them.
    pub fn total(&self) -> u64 {
        self.angles + self.meta + self.pages + self.indices + self.embeddings
    }
}

pub(super) fn align(bytes: u64) -> u64 {
    bytes.max(16).next_multiple_of(16)
}

/// Values in a row of an activation buffer as allocated: kernels read whole chunks of 32 columns.
pub fn padded(width: u32) -> u64 {
    u64::from(width.next_multiple_of(CHUNK_COLUMNS))
}

/// The most heads that any attention of the plan has.
pub fn most_heads(spec: &ModelSpec) -> u64 {
    let heads = |op: &Op| if let Op::Attention { attention, .. } = op { u64::from(attention.heads) } else { 0 };
    spec.layers.iter().flat_map(|layer| layer.ops.iter().map(heads)).max().unwrap_or(0)
}

fn fixed_bytes(spec: &ModelSpec, layout: &ModelLayout, kv: &KvGeometry, demand: &Demand, rows: u64, heads: u64) -> u64 {
    let activations: u64 = spec.buffers.iter().map(|buffer| rows * padded(buffer.width) * 4).sum();
    let sizes = StepSizes::new(spec, rows, demand);
    let step = 2 * sizes.total() - sizes.embeddings;
    let state = align(rows * most_heads(spec) * 8);
    let head = heads * (2 * padded(spec.hidden) * 4 + 2 * (u64::from(spec.vocab) * 4 + 16)) + 64;
    let vectors = layout.largest_vectors_bytes() + 16;
    activations
        + super::experts::step_bytes(spec, rows)
        + super::recurrent::state_bytes(spec, heads)
        + step
        + state
        + head
        + vectors
        + i8_input_bytes(layout, demand.inputs, rows, heads)
        + RECORDER_BYTES
        + kv.bytes(demand.kv_pages)
}

/// Bytes of the rounded input of any product; none where none takes one.
pub fn i8_input_bytes(layout: &ModelLayout, inputs: InputType, rows: u64, heads: u64) -> u64 {
    let takes = |matrix: &&MatrixLayout| matrix.encoding.input_type(inputs) == InputType::I8;
    let chunks = layout.matrices().filter(takes).map(|matrix| matrix.columns.div_ceil(32)).max().unwrap_or(0);
    rows.max(heads) * chunks * I8_CHUNK_BYTES
}

/// Bytes behind the last rows of what products take: activations, the head's input, the rounded one.
fn behind_inputs(spec: &ModelSpec, demand: &Demand) -> u64 {
    let buffers = product_inputs(spec).len() as u64 + 1 + u64::from(demand.inputs == InputType::I8);
    buffers * UNIFORM_BYTES
}

/// The buffers of the plan that products with whole matrices take.
pub(super) fn product_inputs(spec: &ModelSpec) -> HashSet<BufferId> {
    let of_op = |op: &Op| if let Op::MatMul { input, groups: 1, .. } = op { Some(*input) } else { None };
    let mut inputs = HashSet::new();
    for layer in &spec.layers {
        inputs.extend(layer.ops.iter().filter_map(of_op));
        let experts = layer.experts.iter().flat_map(|experts| [experts.buffers[0], experts.buffers[1]]);
        inputs.extend(experts);
    }
    inputs
}

/// Rows of a sweep that were asked for. A recurrent layer goes over them one by one in a single dispatch, and llvmpipe leaves
/// a loop without a word after 65,535 turns: 250 rows of a state of 128 values.
fn asked_rows(spec: &ModelSpec, demand: &Demand) -> Option<u64> {
    let most = if spec.layers.iter().any(|layer| layer.recurrent.is_some()) { MOST_ROWS } else { u64::MAX };
    demand.rows.map(|rows| u64::from(rows).min(most))
}

fn smallest_window(layout: &ModelLayout) -> u64 {
    layout.largest_row_bytes().max(SMALLEST_WINDOW_BYTES).next_power_of_two()
}

/// The smallest budget that works for `demand` (its `budget_bytes` does not matter).
pub fn smallest_budget(spec: &ModelSpec, layout: &ModelLayout, kv: &KvGeometry, demand: &Demand) -> u64 {
    let rows = asked_rows(spec, demand).unwrap_or(1);
    let fixed = fixed_bytes(spec, layout, kv, demand, rows, u64::from(demand.head_rows).max(1));
    ALLOCATOR_SLACK_BYTES + fixed + pipeline_bytes(smallest_window(layout), FEWEST_WINDOWS, demand.direct)
}

/// Shares out the budget.
///
/// # Errors
/// [`ErrorKind::Budget`] with the smallest budget that works.
pub fn share(spec: &ModelSpec, layout: &ModelLayout, kv: &KvGeometry, demand: &Demand) -> Result<Shares> {
    let smallest = smallest_budget(spec, layout, kv, demand);
    if demand.budget_bytes < smallest {
        let (given, needed) = (mib(demand.budget_bytes), mib(smallest));
        let mut remedy = format!("the smallest that works with this context is {needed} MiB ({smallest} bytes)");
        let cache = kv.bytes(demand.kv_pages);
        if cache >= smallest / 4 {
            let positions = demand.kv_pages * u64::from(PAGE_TOKENS);
            let half = if kv.kind == KvType::F32 { "--kv f16 halves that, and a smaller" } else { "a smaller" };
            remedy += &format!(
                "; {} MiB of it are keys and values of {positions} positions: {half} --context needs less",
                mib(cache)
            );
        }
        return Err(Error::new(ErrorKind::Budget, format!("a budget of {given} MiB is too small for this model"))
            .remedy(remedy));
    }
    let cap = demand.budget_bytes - ALLOCATOR_SLACK_BYTES;
    let head_rows = demand.head_rows.max(1);
    let least_pipeline = pipeline_bytes(smallest_window(layout), FEWEST_WINDOWS, demand.direct);
    let behind = behind_inputs(spec, demand);
    let uniform_inputs = demand.uniform_inputs && behind <= (demand.budget_bytes - smallest) / 8;
    let behind = if uniform_inputs { behind } else { 0 };
    let fixed = |rows: u64| behind + fixed_bytes(spec, layout, kv, demand, rows, u64::from(head_rows));
    // Rows may take an eighth of what is free beyond the least, so that a small budget still pins and reads ahead.
    let mut rows = asked_rows(spec, demand).unwrap_or(MOST_ROWS);
    while demand.rows.is_none() && rows > 1 && fixed(rows) - fixed(1) > (cap - fixed(1) - least_pipeline) / 8 {
        rows /= 2;
    }
    let fixed_bytes = fixed(rows);
    let free = cap - fixed_bytes;
    let (window_bytes, windows) = windows(free, smallest_window(layout), demand);
    let left = free - pipeline_bytes(window_bytes, windows, demand.direct);
    let pinned_bytes = demand.most_pinned_bytes.map_or(left, |most| most.min(left));
    Ok(Shares {
        rows: rows as u32,
        head_rows,
        window_bytes,
        windows,
        readers: windows.min(demand.reads.in_flight + 1),
        pinned_bytes,
        uniform_inputs,
        fixed_bytes,
    })
}

/// The windows that the disk likes, one in use and the others being filled, where an eighth of what is free holds them; larger
/// ones, unless it likes small reads, and then more where they take next to nothing of it. Else the largest of the usual ones,
/// then the most, that take no more than half of it.
fn windows(free: u64, smallest: u64, demand: &Demand) -> (u64, usize) {
    let pipeline = |window: u64, count: usize| pipeline_bytes(window, count, demand.direct);
    let wish = |reads: ReadPlan| (reads.read_bytes.max(smallest), reads.in_flight + 1);
    let (mut window, count) = wish(demand.reads);
    if pipeline(window, count) <= free / 8 {
        let may_grow = demand.reads.read_bytes >= ReadPlan::default().read_bytes;
        while may_grow && window < LARGE_WINDOW_BYTES && pipeline(2 * window, count) <= free / 16 {
            window *= 2;
        }
        // Those beyond what is read at a time bridge moments in which the disk gives nothing.
        let more = (count..=WINDOWS_AHEAD).rev().find(|more| pipeline(window, *more) <= free / 16);
        return (window, more.unwrap_or(count));
    }
    let (mut window, most) = wish(ReadPlan::default());
    while window > smallest && pipeline(window, most) > free / 2 {
        window /= 2;
    }
    let fits = |count: &usize| pipeline(window, *count) <= free;
    (window, (FEWEST_WINDOWS..=most).rev().find(fits).unwrap_or(FEWEST_WINDOWS))
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ReadMode;

    #[test]
    fn a_disk_gets_the_windows_it_likes_where_the_budget_is_large() {
        const MIB: u64 = 1 << 20;
        let usual = ReadPlan::default();
        let deep = ReadPlan { mode: ReadMode::Direct, read_bytes: 8 * MIB, in_flight: 7 };
        let single = ReadPlan { in_flight: 1, ..usual };
        let small = ReadPlan { read_bytes: 2 * MIB, ..usual };
        // Bytes that are free, whether shaders read windows, the wish, and what comes of it.
        let table = [
            (8 * 64 * MIB, true, deep, (8 * MIB, 8)),
            (8 * 64 * MIB - 1, true, deep, (4 * MIB, 4)),
            (8 * 80 * MIB, false, deep, (8 * MIB, 8)),
            (8 * 80 * MIB - 1, false, deep, (4 * MIB, 4)),
            (64 * MIB, true, single, (4 * MIB, 2)),
            (16 * 12 * MIB, true, single, (4 * MIB, 3)),
            (16 * 16 * MIB, true, single, (8 * MIB, 2)),
            (16 * 32 * MIB, true, usual, (8 * MIB, 4)),
            (16 * 32 * MIB - 1, true, usual, (4 * MIB, 7)),
            (16 * 56 * MIB, true, usual, (8 * MIB, 7)),
            (16 * 32 * MIB, false, usual, (4 * MIB, 6)),
            (16 * 48 * MIB, false, usual, (8 * MIB, 4)),
            (1 << 40, true, usual, (8 * MIB, 8)),
            (1 << 40, true, small, (2 * MIB, 8)),
            (1 << 40, true, ReadPlan { in_flight: 11, ..usual }, (8 * MIB, 12)),
            (32 * MIB, true, usual, (4 * MIB, 4)),
            (31 * MIB, true, deep, (2 * MIB, 4)),
            (MIB, true, deep, (MIB / 8, 4)),
            (3 * MIB / 16, true, deep, (MIB / 16, 3)),
        ];
        for (free, direct, reads, expected) in table {
            let demand = Demand {
                budget_bytes: 0,
                most_pinned_bytes: None,
                kv_pages: 0,
                rows: None,
                head_rows: 1,
                direct,
                inputs: InputType::F32,
                uniform_inputs: false,
                reads,
            };
            assert_eq!(windows(free, SMALLEST_WINDOW_BYTES, &demand), expected, "{free} bytes, {reads:?}");
        }
    }
}
