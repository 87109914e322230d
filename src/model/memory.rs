//! How the budget is shared out: what is fixed, the windows, and what is left for tiles that stay.

use super::program::Program;
use super::recurrent;
use crate::gpu::kernels::{InputType, KvType, PAGE_TOKENS};
use crate::gpu::memory::ALLOCATOR_SLACK_BYTES;
use crate::gpu::recorder::{GRIDS_BYTES, RECORDER_BYTES};
use crate::plan::{CHUNK_COLUMNS, ModelSpec};
use crate::store::ReadPlan;
use crate::stream::pipeline::pipeline_bytes;
use crate::words::{Term, Words};
use crate::{Error, ErrorKind, Result};

const SMALLEST_WINDOW_BYTES: u64 = 64 << 10;
const FEWEST_WINDOWS: usize = 2;
/// Windows, and bytes of one, where the budget is so large that they cost next to nothing. Fewer and longer dispatches come of
/// large windows, and threads of a processor wait for each other at the end of each.
const WINDOWS_AHEAD: usize = 8;
const LARGE_WINDOW_BYTES: u64 = 8 << 20;
/// Rows of a sweep when there is room: more rows mean fewer sweeps for a long prompt.
pub(super) const MOST_ROWS: u64 = 128;
/// Rows whose logits are made at once, at most: a sweep that wants more goes over the head several times.
const MOST_OUTPUTS: u64 = 32;

/// Snapshots of sequences, where they take little: the beginning of a chat's last turn, and of the one before.
const MOST_SNAPSHOTS: u64 = 2;

/// What the caller asks for.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// GPU bytes, everything included.
    pub budget_bytes: u64,
    /// Bytes of tiles that stay at most. `None`: everything that the budget leaves.
    pub most_pinned_bytes: Option<u64>,
    /// Pages to reserve for layers that keep all positions, over all sequences; layers with a window take fewer.
    pub kv_pages: u64,
    /// Rows of a sweep at most (the prefill chunk). `None`: as many as the budget allows.
    pub rows: Option<u32>,
    /// Sequences that share sweeps: so many have windows and recurrent states.
    pub sequences: u32,
    /// Whether shaders read the windows themselves.
    pub direct: bool,
    /// What products may take their inputs as.
    pub inputs: InputType,
    /// Whether products find their inputs in uniform buffers where the budget has room for what is behind their last rows.
    pub uniform_inputs: bool,
    /// How large and how many reads the disk likes; a small budget has smaller and fewer.
    pub reads: ReadPlan,
}

/// What each part of the budget is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Rows of a sweep at most.
    pub rows: u32,
    /// Rows whose logits are made at once.
    pub outputs: u32,
    /// Snapshots of sequences that there is room for.
    pub snapshots: u32,
    pub window_bytes: u64,
    pub windows: usize,
    /// Reads at a time.
    pub readers: usize,
    pub pinned_bytes: u64,
    /// Whether each buffer that a product takes has [`UNIFORM_BYTES`](crate::gpu::kernels::UNIFORM_BYTES) behind its last row.
    pub uniform_inputs: bool,
    /// Everything that is neither windows nor pinned tiles: the program's buffers, states, the recorder.
    pub fixed_bytes: u64,
}

/// Values in a row of an activation buffer as allocated: kernels read whole chunks of 32 columns.
pub fn padded(width: u32) -> u64 {
    u64::from(width.next_multiple_of(CHUNK_COLUMNS))
}

/// What a program takes besides windows and pinned tiles.
struct Fixed<'a> {
    spec: &'a ModelSpec,
    program: &'a Program,
    config: &'a EngineConfig,
}

impl Fixed<'_> {
    fn bytes(&self, rows: u64, outputs: u64, uniform_inputs: bool) -> u64 {
        let buffers: u64 = self.program.buffers.iter().map(|plan| plan.bytes(rows, outputs, uniform_inputs)).sum();
        let grids = if self.program.reads_grids() { GRIDS_BYTES } else { 0 };
        buffers + self.states(rows, 0) + RECORDER_BYTES + grids
    }

    fn states(&self, rows: u64, snapshots: u64) -> u64 {
        let (states, sequences) = (&self.program.states, u64::from(self.config.sequences.max(1)));
        let pages = states.bytes(&states.pages(self.config.kv_pages, sequences, rows, snapshots));
        let copy = if snapshots > 0 { states.largest_page_bytes().max(4) } else { 0 };
        let slots = [sequences, snapshots].map(|slots| recurrent::state_bytes(self.spec, slots));
        pages + copy + slots.iter().sum::<u64>()
    }

    /// Snapshots that take a 16th of what is free at most; none where all states can be cut back.
    fn snapshots(&self, rows: u64, free: u64) -> u64 {
        let recurs = self.spec.layers.iter().any(|layer| layer.recurrent.is_some());
        if !recurs && !self.program.states.forgets() {
            return 0;
        }
        let takes = |snapshots: &u64| self.states(rows, *snapshots) - self.states(rows, 0) <= free / 16;
        (1..=MOST_SNAPSHOTS).rev().find(takes).unwrap_or(0)
    }
}

/// Rows of a sweep that were asked for. A recurrent layer goes over them one by one in a single dispatch, and llvmpipe leaves
/// a loop without a word after 65,535 turns: 250 rows of a state of 128 values.
fn asked_rows(spec: &ModelSpec, config: &EngineConfig) -> Option<u64> {
    let most = if spec.layers.iter().any(|layer| layer.recurrent.is_some()) { MOST_ROWS } else { u64::MAX };
    config.rows.map(|rows| u64::from(rows).clamp(1, most))
}

fn smallest_window(program: &Program) -> u64 {
    let largest_row = program.pieces.iter().map(|piece| piece.stride_bytes).max().unwrap_or(0);
    largest_row.max(SMALLEST_WINDOW_BYTES).next_power_of_two()
}

/// The smallest budget that works for `config` (its `budget_bytes` does not matter).
pub fn smallest_budget(spec: &ModelSpec, program: &Program, config: &EngineConfig) -> u64 {
    let rows = asked_rows(spec, config).unwrap_or(1);
    let outputs = u64::from(config.sequences).clamp(1, rows);
    let fixed = Fixed { spec, program, config }.bytes(rows, outputs, false);
    ALLOCATOR_SLACK_BYTES + fixed + pipeline_bytes(smallest_window(program), FEWEST_WINDOWS, config.direct)
}

/// Shares out the budget.
///
/// # Errors
/// [`ErrorKind::Budget`] with the smallest budget that works.
pub fn share(spec: &ModelSpec, program: &Program, config: &EngineConfig) -> Result<MemoryPlan> {
    let smallest = smallest_budget(spec, program, config);
    if config.budget_bytes < smallest {
        return Err(too_small(program, config, smallest));
    }
    let cap = config.budget_bytes - ALLOCATOR_SLACK_BYTES;
    let least_pipeline = pipeline_bytes(smallest_window(program), FEWEST_WINDOWS, config.direct);
    let fixed = Fixed { spec, program, config };
    let sequences = u64::from(config.sequences).max(1);
    let behind = fixed.bytes(1, 1, true) - fixed.bytes(1, 1, false);
    let uniform_inputs = config.uniform_inputs && behind <= (config.budget_bytes - smallest) / 8;
    let of_rows = |rows: u64| fixed.bytes(rows, sequences.min(rows), uniform_inputs);
    // Rows may take an eighth of what is free beyond the least, so that a small budget still pins and reads ahead.
    let mut rows = asked_rows(spec, config).unwrap_or(MOST_ROWS);
    let least = of_rows(1) + least_pipeline;
    while config.rows.is_none() && rows > 1 && of_rows(rows) - of_rows(1) > cap.saturating_sub(least) / 8 {
        rows /= 2;
    }
    // Scoring wants logits of every row; they may take a 128th.
    let mut outputs = sequences.min(rows);
    let free = cap.saturating_sub(of_rows(rows) + least_pipeline);
    let with = |outputs: u64| fixed.bytes(rows, outputs, uniform_inputs);
    while 2 * outputs <= rows.min(MOST_OUTPUTS) && with(2 * outputs) - of_rows(rows) <= free / 128 {
        outputs *= 2;
    }
    let snapshots = fixed.snapshots(rows, cap.saturating_sub(with(outputs) + least_pipeline));
    let fixed_bytes = with(outputs) + fixed.states(rows, snapshots) - fixed.states(rows, 0);
    let free = cap - fixed_bytes;
    let (window_bytes, windows) = windows(free, smallest_window(program), config);
    let left = free - pipeline_bytes(window_bytes, windows, config.direct);
    Ok(MemoryPlan {
        rows: rows as u32,
        outputs: outputs as u32,
        snapshots: snapshots as u32,
        window_bytes,
        windows,
        readers: windows.min(config.reads.in_flight + 1),
        pinned_bytes: config.most_pinned_bytes.map_or(left, |most| most.min(left)),
        uniform_inputs,
        fixed_bytes,
    })
}

fn too_small(program: &Program, config: &EngineConfig, smallest: u64) -> Error {
    let (given, needed) = (mib(config.budget_bytes), mib(smallest));
    let least = format!("the smallest that works with this context is {needed} MiB ({smallest} bytes)");
    let mut remedy = Words::from(least);
    let rows = config.rows.map_or(1, u64::from);
    let pages = program.states.pages(config.kv_pages, u64::from(config.sequences), rows, 0);
    let cache = program.states.bytes(&pages);
    if cache >= smallest / 4 {
        let positions = config.kv_pages * u64::from(PAGE_TOKENS);
        remedy = remedy + format!("; {} MiB of it are keys and values of {positions} positions: ", mib(cache));
        if program.states.kind == KvType::F32 {
            remedy = remedy + Term::Kv("f16") + " halves that, and ";
        }
        remedy = remedy + "a smaller " + Term::Context + " needs less";
    }
    Error::new(ErrorKind::Budget, format!("a budget of {given} MiB is too small for this model")).remedy(remedy)
}

/// The windows that the disk likes, one in use and the others being filled, where an eighth of what is free holds them; larger
/// ones, unless it likes small reads, and then more where they take next to nothing of it. Else the largest of the usual ones,
/// then the most, that take no more than half of it.
fn windows(free: u64, smallest: u64, config: &EngineConfig) -> (u64, usize) {
    let pipeline = |window: u64, count: usize| pipeline_bytes(window, count, config.direct);
    let wish = |reads: ReadPlan| (reads.read_bytes.max(smallest), reads.in_flight + 1);
    let (mut window, count) = wish(config.reads);
    if pipeline(window, count) <= free / 8 {
        let may_grow = config.reads.read_bytes >= ReadPlan::default().read_bytes;
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
            let config = EngineConfig {
                budget_bytes: 0,
                most_pinned_bytes: None,
                kv_pages: 0,
                rows: None,
                sequences: 1,
                direct,
                inputs: InputType::F32,
                uniform_inputs: false,
                reads,
            };
            assert_eq!(windows(free, SMALLEST_WINDOW_BYTES, &config), expected, "{free} bytes, {reads:?}");
        }
    }
}
