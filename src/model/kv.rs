//! What sequences keep: pages of keys and values by group of layers, and slots of recurrent states.
//!
//! Layers that keep the same positions form a group: all of them, or those that a window or a chunk still sees. A sequence
//! has a table of pages in each group. Pages have owners: sequences that begin alike share the pages that they fill alike,
//! and none writes to a page that it shares.

use super::page_runs::{PageRun, in_order, joined};
use super::recurrent::RecurrentStates;
pub use super::states::{Keeps, PageGroup, StateLayout, pages_for};
use crate::gpu::kernels::PAGE_TOKENS;
use crate::gpu::recorder::Bind;
use crate::gpu::{CountedBuffer, Gpu};
use crate::{Error, ErrorKind, Result};

/// Pages of a sequence in one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageTable {
    /// The page that `pages` begins with, counted from the start of the text.
    pub first: u32,
    pub pages: Vec<u32>,
    /// Pages that hold nothing yet, the next one last.
    spare: Vec<u32>,
}

impl PageTable {
    fn held(&self) -> u64 {
        (self.pages.len() + self.spare.len()) as u64
    }

    /// The page of a position.
    fn page_of(&self, position: u32) -> Option<u32> {
        self.pages.get((position / PAGE_TOKENS).checked_sub(self.first)? as usize).copied()
    }
}

/// What a sequence keeps: pages by group, how many positions they hold, and how long the text was for which that was done,
/// for LongRoPE rotates the keys of long texts otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SequenceState {
    pub tables: Vec<PageTable>,
    pub len: u32,
    pub text_len: u32,
    /// The slot of its recurrent states, in a model that has them.
    pub slot: Option<u32>,
}

#[derive(Debug)]
struct Segment {
    buffer: CountedBuffer,
    first_page: u32,
    pages: u32,
}

/// The pages of a group.
#[derive(Debug, Default)]
struct Pool {
    segments: Vec<Segment>,
    /// Highest number first, so that pages are handed out in order.
    free: Vec<u32>,
    /// How many sequences have each page.
    owners: Vec<u32>,
}

impl Pool {
    fn take(&mut self) -> Option<u32> {
        let page = self.free.pop()?;
        self.owners[page as usize] = 1;
        Some(page)
    }

    fn give_back(&mut self, pages: impl Iterator<Item = u32>) {
        for page in pages {
            let owners = &mut self.owners[page as usize];
            *owners -= 1;
            if *owners == 0 {
                self.free.push(page);
            }
        }
        self.free.sort_unstable_by(|a, b| b.cmp(a));
    }

    fn segment_of(&self, page: u32) -> usize {
        self.segments.partition_point(|segment| segment.first_page <= page).saturating_sub(1)
    }
}

/// All states, and which are free.
#[derive(Debug)]
pub struct KvCache {
    layout: StateLayout,
    pools: Vec<Pool>,
    /// Rows of a sweep at most.
    rows: u32,
    recurrent: Option<RecurrentStates>,
}

/// A segment as the kernels of one layer see it.
#[derive(Clone, Copy, Debug)]
pub struct SegmentView<'a> {
    pub bind: Bind<'a>,
    pub first_page: u32,
    pub pages: u32,
}

impl KvCache {
    /// An empty cache, for sweeps of up to `rows` rows.
    pub fn new(layout: StateLayout, rows: u32) -> Self {
        let pools = layout.groups.iter().map(|_| Pool::default()).collect();
        Self { layout, pools, rows, recurrent: None }
    }

    /// The same with the states of layers that have no pages.
    pub fn with_recurrent(mut self, recurrent: Option<RecurrentStates>) -> Self {
        self.recurrent = recurrent;
        self
    }

    /// The states of layers that have no pages, where the model has such.
    pub fn recurrent(&self) -> Option<&RecurrentStates> {
        self.recurrent.as_ref()
    }

    /// The same, to change.
    pub fn recurrent_mut(&mut self) -> Option<&mut RecurrentStates> {
        self.recurrent.as_mut()
    }

    /// Which layers keep what.
    pub fn layout(&self) -> &StateLayout {
        &self.layout
    }

    /// Pages of each group.
    pub fn pages(&self) -> Vec<u64> {
        self.pools.iter().map(|pool| pool.owners.len() as u64).collect()
    }

    /// Adds pages to each group, in as few segments as the adapter's limits allow.
    ///
    /// # Errors
    /// [`ErrorKind::Budget`] or [`ErrorKind::GpuMemory`] where they do not fit; what was added before stays.
    pub async fn grow(&mut self, gpu: &Gpu, pages: &[u64]) -> Result<()> {
        for ((group, pool), pages) in self.layout.groups.iter().zip(&mut self.pools).zip(pages) {
            let layer = group.page_bytes.iter().copied().max().unwrap_or(1).max(1);
            let most = (gpu.largest_binding_bytes() / layer).min(gpu.adapter.limits.max_buffer_size / group.bytes(1));
            // Of an even number of pages each layer's part ends where the next may begin.
            let limit = if most > 2 { most / 2 * 2 } else { most.max(1) };
            let mut left = *pages;
            while left > 0 {
                let count = left.min(limit);
                let buffer = gpu.buffer("kv cache", group.bytes(count), wgpu::BufferUsages::STORAGE).await?;
                let (first_page, pages) = (pool.owners.len() as u32, count as u32);
                pool.free.splice(0..0, (first_page..first_page + pages).rev());
                pool.owners.resize(pool.owners.len() + count as usize, 0);
                pool.segments.push(Segment { buffer, first_page, pages });
                left -= count;
            }
        }
        Ok(())
    }

    /// Gives `sequence` pages enough for `positions`, and a slot for its recurrent states where the model has them. Returns
    /// false, with nothing changed, where too few are free.
    pub fn reserve(&mut self, sequence: &mut SequenceState, positions: u32) -> bool {
        let lacking = self.pages_needed(sequence, positions);
        if lacking.iter().zip(&self.pools).any(|(lacking, pool)| *lacking > pool.free.len() as u64) {
            return false;
        }
        if let (Some(states), None) = (&mut self.recurrent, sequence.slot) {
            sequence.slot = states.slots.take();
            if sequence.slot.is_none() {
                return false;
            }
        }
        sequence.tables.resize_with(self.pools.len(), PageTable::default);
        for ((table, pool), lacking) in sequence.tables.iter_mut().zip(&mut self.pools).zip(lacking) {
            table.spare.splice(0..0, (0..lacking).filter_map(|_| pool.take()).collect::<Vec<_>>().into_iter().rev());
        }
        true
    }

    /// Pages of each group that `sequence` lacks to hold `positions`.
    pub fn pages_needed(&self, sequence: &SequenceState, positions: u32) -> Vec<u64> {
        let held = |group: usize| sequence.tables.get(group).map_or(0, PageTable::held);
        let needed = |group: &PageGroup| group.keeps.pages_for(u64::from(positions), u64::from(self.rows));
        self.layout.groups.iter().enumerate().map(|(index, group)| needed(group).saturating_sub(held(index))).collect()
    }

    /// Lets the pages of `sequence` reach to position `end`, for a sweep that goes on from its length: pages that no later
    /// position sees are filled anew.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] where it has not reserved so much.
    pub fn advance(&self, sequence: &mut SequenceState, end: u32) -> Result<()> {
        let few = || Error::new(ErrorKind::Argument, format!("a sequence has no pages for {end} positions"));
        if sequence.tables.len() != self.pools.len() {
            return Err(few());
        }
        for (group, table) in self.layout.groups.iter().zip(&mut sequence.tables) {
            let first_seen = group.keeps.first_position(sequence.len) / PAGE_TOKENS;
            while u64::from(table.first) + (table.pages.len() as u64) < pages_for(u64::from(end)) {
                if table.spare.is_empty() && table.first < first_seen && !table.pages.is_empty() {
                    table.spare.push(table.pages.remove(0));
                    table.first += 1;
                }
                table.pages.push(table.spare.pop().ok_or_else(few)?);
            }
        }
        Ok(())
    }

    /// Forgets all positions from `len` on, and takes back the pages that held only those. What cannot be cut back so far
    /// starts anew: recurrent states, and windows whose first positions are gone.
    pub fn truncate(&mut self, sequence: &mut SequenceState, len: u32) {
        let len = self.cut(sequence, len.min(sequence.len));
        sequence.len = len;
        if let (Some(states), 0) = (&mut self.recurrent, len)
            && let Some(slot) = sequence.slot.take()
        {
            states.slots.give_back(slot);
        }
        for (table, pool) in sequence.tables.iter_mut().zip(&mut self.pools) {
            let keep = if len == 0 { 0 } else { pages_for(u64::from(len)) as usize - table.first as usize };
            let behind = table.pages.drain(keep.min(table.pages.len())..).chain(table.spare.drain(..));
            pool.give_back(behind);
            if len == 0 {
                table.first = 0;
            }
        }
    }

    /// How many of the first `len` positions a sequence can be cut back to.
    fn cut(&self, sequence: &SequenceState, mut len: u32) -> u32 {
        if len == sequence.len {
            return len;
        }
        if self.recurrent.is_some() {
            return 0;
        }
        loop {
            let wanted = len;
            for ((group, table), pool) in self.layout.groups.iter().zip(&sequence.tables).zip(&self.pools) {
                // A page that others have too is not written to.
                let shared = |page: u32| !len.is_multiple_of(PAGE_TOKENS) && pool.owners[page as usize] > 1;
                if table.page_of(len).is_some_and(shared) {
                    len -= len % PAGE_TOKENS;
                }
                if table.first > group.keeps.first_position(len) / PAGE_TOKENS {
                    len = 0;
                }
            }
            if len == wanted {
                return len;
            }
        }
    }

    /// A sequence that begins with the first positions of `other`, `len` of them at most, in the same pages: whole pages, as
    /// far as they are still there. None where that is nothing.
    pub fn share(&mut self, other: &SequenceState, len: u32) -> Option<SequenceState> {
        let len = len.min(other.len) / PAGE_TOKENS * PAGE_TOKENS;
        let gone =
            |(group, table): (&PageGroup, &PageTable)| table.first > group.keeps.first_position(len) / PAGE_TOKENS;
        if len == 0 || self.recurrent.is_some() || self.layout.groups.iter().zip(&other.tables).any(gone) {
            return None;
        }
        let mut tables = Vec::with_capacity(other.tables.len());
        for (table, pool) in other.tables.iter().zip(&mut self.pools) {
            let count = (len / PAGE_TOKENS - table.first) as usize;
            let pages = table.pages[..count].to_vec();
            pages.iter().for_each(|page| pool.owners[*page as usize] += 1);
            tables.push(PageTable { first: table.first, pages, spare: Vec::new() });
        }
        Some(SequenceState { tables, len, text_len: other.text_len, slot: None })
    }

    /// Lets a sequence start anew whose recurrent states a failed sweep has spoilt; it keeps its pages.
    pub fn settle(&mut self, sequence: &mut SequenceState) {
        let spoilt =
            |states: &RecurrentStates| sequence.slot.is_none_or(|slot| !states.slots.holds(slot, sequence.len));
        if self.recurrent.as_ref().is_some_and(spoilt) {
            self.restart(sequence);
        }
    }

    /// Lets a sequence start anew with the pages that nobody shares; others it has to reserve again.
    pub fn restart(&mut self, sequence: &mut SequenceState) {
        sequence.len = 0;
        for (table, pool) in sequence.tables.iter_mut().zip(&mut self.pools) {
            table.first = 0;
            let (shared, own): (Vec<u32>, _) = table.pages.drain(..).partition(|page| pool.owners[*page as usize] > 1);
            pool.give_back(shared.into_iter());
            table.spare.extend(own.into_iter().rev());
        }
    }

    /// Segment `segment` as layer `layer` has it.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] where there is none: a fault of the caller.
    pub fn segment(&self, layer: usize, segment: usize) -> Result<SegmentView<'_>> {
        let gone = || Error::new(ErrorKind::Internal, format!("layer {layer} has no segment {segment} of the cache"));
        let (group, index) = self.layout.places[layer].ok_or_else(gone)?;
        let page_bytes = &self.layout.groups[group].page_bytes;
        let segment = self.pools[group].segments.get(segment).ok_or_else(gone)?;
        let pages = u64::from(segment.pages);
        let offset = page_bytes[..index].iter().map(|bytes| (bytes * pages).next_multiple_of(256)).sum();
        let bind = Bind::range(&segment.buffer, offset, page_bytes[index] * pages);
        Ok(SegmentView { bind, first_page: segment.first_page, pages: segment.pages })
    }

    /// The segments to which rows at `positions` of their sequences' pages in a group go.
    pub fn written<'a>(&self, group: usize, rows: impl Iterator<Item = (&'a SequenceState, u32)>) -> Vec<usize> {
        let pool = &self.pools[group];
        if pool.segments.len() == 1 {
            return vec![0];
        }
        let page = |(sequence, position): (&SequenceState, u32)| sequence.tables.get(group)?.page_of(position);
        let mut segments: Vec<_> = rows.filter_map(page).map(|page| pool.segment_of(page)).collect();
        segments.sort_unstable();
        segments.dedup();
        segments
    }

    /// What attention in a group goes over: for each sequence, whose rows stand at the given positions, all pages that they
    /// see, in order of position, whatever segments they lie in; no more than `span` pages in a run.
    pub fn read<'a>(
        &self,
        group: usize,
        sequences: impl Iterator<Item = (&'a SequenceState, std::ops::Range<u32>)>,
        span: u32,
    ) -> Vec<PageRun> {
        let (pool, keeps) = (&self.pools[group], self.layout.groups[group].keeps);
        let mut parts: Vec<Vec<PageRun>> = Vec::new();
        for (sequence, rows) in sequences {
            let Some(table) = sequence.tables.get(group).filter(|_| !rows.is_empty()) else { continue };
            let (begin, end) = (keeps.first_position(rows.start) / PAGE_TOKENS, (rows.end - 1) / PAGE_TOKENS + 1);
            if pool.segments.len() == 1 {
                parts.push(vec![PageRun { begin, end, segment: 0 }]);
                continue;
            }
            let pages = (begin..end).filter_map(|index| {
                let page = table.pages.get(index.checked_sub(table.first)? as usize)?;
                Some(PageRun { begin: index, end: index + 1, segment: pool.segment_of(*page) })
            });
            parts.push(joined(pages));
        }
        in_order(&parts, span)
    }
}
