//! What sequences keep: pages of keys and values by group of layers, and slots of recurrent states.
//!
//! Layers that keep the same positions form a group: all of them, or those that a window or a chunk still sees. A sequence
//! has a table of pages in each group. Pages have owners: sequences that begin alike share the pages that they fill alike,
//! and none writes to what another reads. A snapshot holds what a sequence had at one length, so that a text can go on from
//! there although its states cannot be cut back so far: those of recurrent layers, and of windows that have moved on.

use super::page_runs::{PageRun, in_order, joined};
pub use super::pages::PageTable;
use super::pages::{Pool, Segment};
use super::recurrent::RecurrentStates;
pub use super::states::{Keeps, PageGroup, StateLayout, pages_for};
use crate::gpu::kernels::PAGE_TOKENS;
use crate::gpu::recorder::Bind;
use crate::gpu::{CountedBuffer, Gpu};
use crate::{Error, ErrorKind, Result};

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

/// What a sequence kept at one length, to go on from later. It is given back by [`KvCache::forget`].
#[derive(Debug)]
pub struct Snapshot {
    /// Its slot is one of those for snapshots.
    state: SequenceState,
}

impl Snapshot {
    /// Positions that it holds.
    pub fn positions(&self) -> u32 {
        self.state.len
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
    /// A page on its way to another one: no copy has one buffer on both sides.
    page_copy: Option<CountedBuffer>,
}

/// Kernels read and write states, and snapshots are copied.
pub(super) const STATE_USAGES: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_SRC).union(wgpu::BufferUsages::COPY_DST);

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
        Self { layout, pools, rows, recurrent: None, page_copy: None }
    }

    /// The same with the states of layers that have no pages.
    pub fn with_recurrent(mut self, recurrent: Option<RecurrentStates>) -> Self {
        self.recurrent = recurrent;
        self
    }

    /// The same, able to make snapshots.
    ///
    /// # Errors
    /// [`ErrorKind::Budget`] or [`ErrorKind::GpuMemory`] where a page more does not fit.
    pub async fn with_snapshots(mut self, gpu: &Gpu) -> Result<Self> {
        let usage = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        self.page_copy = Some(gpu.buffer("copied page", self.layout.largest_page_bytes(), usage).await?);
        Ok(self)
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
                let buffer = gpu.buffer("kv cache", group.bytes(count), STATE_USAGES).await?;
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
        let lacking = |(index, (group, pool)): (usize, (&PageGroup, &Pool))| {
            let seen = group.keeps.first_position(sequence.len) / PAGE_TOKENS;
            let held = sequence.tables.get(index).map_or(0, |table| table.held(pool, seen));
            group.keeps.pages_for(u64::from(positions), u64::from(self.rows)).saturating_sub(held)
        };
        self.layout.groups.iter().zip(&self.pools).enumerate().map(lacking).collect()
    }

    /// Lets the pages of `sequence` reach to position `end`, for a sweep that goes on from its length: pages that no later
    /// position sees are filled anew.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] where it has not reserved so much.
    pub fn advance(&mut self, sequence: &mut SequenceState, end: u32) -> Result<()> {
        let few = || Error::new(ErrorKind::Argument, format!("a sequence has no pages for {end} positions"));
        if sequence.tables.len() != self.pools.len() {
            return Err(few());
        }
        for ((group, table), pool) in self.layout.groups.iter().zip(&mut sequence.tables).zip(&mut self.pools) {
            let first_seen = group.keeps.first_position(sequence.len) / PAGE_TOKENS;
            while u64::from(table.first) + (table.pages.len() as u64) < pages_for(u64::from(end)) {
                while table.spare.is_empty() && table.first < first_seen && !table.pages.is_empty() {
                    let page = table.pages.remove(0);
                    table.first += 1;
                    if pool.is_shared(page) {
                        pool.give_back(std::iter::once(page));
                    } else {
                        table.spare.push(page);
                    }
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
    pub fn cut(&self, sequence: &SequenceState, mut len: u32) -> u32 {
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
                let shared = |page: u32| !len.is_multiple_of(PAGE_TOKENS) && pool.is_shared(page);
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

    /// Whether a sequence still has every page that its position `len` sees.
    fn still_sees(&self, sequence: &SequenceState, len: u32) -> bool {
        let mut groups = self.layout.groups.iter().zip(&sequence.tables);
        groups.all(|(group, table)| table.first <= group.keeps.first_position(len) / PAGE_TOKENS)
    }

    /// How many of the first `len` positions of `other` another sequence can share with it: whole pages, as far as they are
    /// still there.
    pub fn shareable(&self, other: &SequenceState, len: u32) -> u32 {
        let len = len.min(other.len) / PAGE_TOKENS * PAGE_TOKENS;
        if self.recurrent.is_none() && self.still_sees(other, len) { len } else { 0 }
    }

    /// A sequence that begins with the first positions of `other`, in the same pages; `len` of them at most, as
    /// [`KvCache::shareable`] says. None where that is nothing.
    pub fn share(&mut self, other: &SequenceState, len: u32) -> Option<SequenceState> {
        let len = Some(self.shareable(other, len)).filter(|len| *len > 0)?;
        let mut tables = Vec::with_capacity(other.tables.len());
        for (table, pool) in other.tables.iter().zip(&mut self.pools) {
            let count = (len / PAGE_TOKENS - table.first) as usize;
            let pages = table.pages[..count].to_vec();
            pages.iter().for_each(|page| pool.owners[*page as usize] += 1);
            tables.push(PageTable { first: table.first, pages, spare: Vec::new() });
        }
        Some(SequenceState { tables, len, text_len: other.text_len, slot: None })
    }

    /// Keeps what a sequence has now; the sequence goes on. None where no snapshot has room.
    pub fn snapshot(&mut self, sequence: &SequenceState, commands: &mut wgpu::CommandEncoder) -> Option<Snapshot> {
        self.page_copy.as_ref()?;
        let mut state = SequenceState { slot: None, ..sequence.clone() };
        if let Some(states) = &mut self.recurrent {
            state.slot = Some(states.save(sequence.slot?, sequence.len, commands)?);
        }
        for (table, pool) in state.tables.iter_mut().zip(&mut self.pools) {
            table.spare.clear();
            // What the sequence writes later lies behind the positions that are read here.
            table.pages.truncate(pages_for(u64::from(sequence.len)) as usize - table.first as usize);
            table.pages.iter().for_each(|page| pool.owners[*page as usize] += 1);
        }
        Some(Snapshot { state })
    }

    /// Gives a snapshot's pages and slot back.
    pub fn forget(&mut self, snapshot: Snapshot) {
        let Snapshot { state } = snapshot;
        if let (Some(states), Some(slot)) = (&mut self.recurrent, state.slot) {
            states.saved.give_back(slot);
        }
        for (table, pool) in state.tables.into_iter().zip(&mut self.pools) {
            pool.give_back(table.pages.into_iter());
        }
    }

    /// How many of the first `len` positions a sequence can have of a snapshot.
    pub fn restorable(&self, snapshot: &Snapshot, len: u32) -> u32 {
        let state = &snapshot.state;
        let len = len.min(state.len);
        let whole = self.recurrent.is_none() || len == state.len;
        if whole && self.still_sees(state, len) { len } else { 0 }
    }

    /// A sequence that goes on from the first `len` positions of a snapshot, which stays: it shares whole pages, and has a
    /// copy of the last one. None where [`KvCache::restorable`] says so, or too little is free.
    pub fn restore(
        &mut self,
        snapshot: &Snapshot,
        len: u32,
        commands: &mut wgpu::CommandEncoder,
    ) -> Option<SequenceState> {
        let is_partial = !len.is_multiple_of(PAGE_TOKENS);
        let has_room = !is_partial || self.pools.iter().all(|pool| !pool.free.is_empty());
        if len == 0 || self.restorable(snapshot, len) != len || !has_room {
            return None;
        }
        let Snapshot { state } = snapshot;
        let slot = match (&mut self.recurrent, state.slot) {
            (Some(states), Some(saved)) => Some(states.load(saved, len, commands)?),
            _ => None,
        };
        let mut tables = Vec::with_capacity(state.tables.len());
        for (group, table) in state.tables.iter().enumerate() {
            let pool = &mut self.pools[group];
            let mut pages = table.pages[..(len / PAGE_TOKENS).saturating_sub(table.first) as usize].to_vec();
            pages.iter().for_each(|page| pool.owners[*page as usize] += 1);
            if let Some(last) = table.page_of(len).filter(|_| is_partial)
                && let Some(fresh) = pool.take()
            {
                self.copy_page(group, last, fresh, commands);
                pages.push(fresh);
            }
            tables.push(PageTable { first: table.first, pages, spare: Vec::new() });
        }
        Some(SequenceState { tables, len, text_len: state.text_len, slot })
    }

    /// Copies what all layers of a group have in a page.
    fn copy_page(&self, group: usize, from: u32, to: u32, commands: &mut wgpu::CommandEncoder) {
        let Some(between) = &self.page_copy else { return };
        for ((source, source_offset, bytes), (target, target_offset, _)) in
            self.page_places(group, from).zip(self.page_places(group, to))
        {
            commands.copy_buffer_to_buffer(source, source_offset, between, 0, bytes);
            commands.copy_buffer_to_buffer(between, 0, target, target_offset, bytes);
        }
    }

    /// Where each layer of a group has a page: the buffer, the offset and the bytes.
    pub(super) fn page_places(&self, group: usize, page: u32) -> impl Iterator<Item = (&wgpu::Buffer, u64, u64)> {
        let (pool, layers) = (&self.pools[group], &self.layout.groups[group]);
        let segment = &pool.segments[pool.segment_of(page)];
        layers.page_bytes.iter().enumerate().map(move |(layer, bytes)| {
            let begin = layers.offset(layer, u64::from(segment.pages));
            (&*segment.buffer, begin + u64::from(page - segment.first_page) * bytes, *bytes)
        })
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
            let (shared, own): (Vec<u32>, _) = table.pages.drain(..).partition(|page| pool.is_shared(*page));
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
        let layers = &self.layout.groups[group];
        let segment = self.pools[group].segments.get(segment).ok_or_else(gone)?;
        let pages = u64::from(segment.pages);
        let bind = Bind::range(&segment.buffer, layers.offset(index, pages), layers.page_bytes[index] * pages);
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
