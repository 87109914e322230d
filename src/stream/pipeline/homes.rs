//! Homes: memory for tiles that stay on the GPU. Those that every sweep uses keep theirs; the others share slots.

use std::sync::atomic::Ordering;

use super::{AWAY, Home, Section, SectionSpec, TileStream};
use crate::Result;
use crate::stream::lfu::LfuCache;
use crate::stream::tiles::pin_evenly;

impl TileStream {
    /// Shares out the memory for tiles that stay: all, if all fit; else those first that every sweep uses.
    pub(super) async fn give_homes(&mut self, sections: &[SectionSpec], pinned_bytes: u64) -> Result<()> {
        self.cache = LfuCache::new(sections.len(), 0);
        let bytes = |tiles: &mut dyn Iterator<Item = usize>| -> u64 { tiles.map(|tile| self.home_bytes(tile)).sum() };
        let all = bytes(&mut (0..self.table.len()));
        let lfu: Vec<usize> = sections.iter().filter(|s| s.lfu).flat_map(|s| s.tiles.clone()).collect();
        if lfu.is_empty() || pinned_bytes >= all {
            return self.pin(pinned_bytes, |_| true).await;
        }
        let always = all - bytes(&mut lfu.iter().copied());
        let mut used_always = vec![true; self.table.len()];
        lfu.iter().for_each(|tile| used_always[*tile] = false);
        self.pin(pinned_bytes, |tile| used_always[tile]).await?;
        let slot_bytes = lfu.iter().map(|tile| self.home_bytes(*tile)).max().unwrap_or(0);
        self.add_slots(sections.len(), slot_bytes, pinned_bytes.saturating_sub(always)).await
    }

    /// Strides are multiples of 16, so tiles of one matrix that stay next to each other lie together.
    fn home_bytes(&self, tile: usize) -> u64 {
        self.table.tile(tile).len_bytes.next_multiple_of(16)
    }

    /// Larger than the allocator's blocks, so that what is reserved is what is counted; small enough to bind whole.
    fn segment_bytes(&self, pinned_bytes: u64) -> u64 {
        let smallest = (8 << 20).max(self.window_bytes);
        (pinned_bytes / 8).clamp(smallest, 128 << 20).min(self.gpu.largest_binding_bytes())
    }

    /// Gives tiles of those that are `meant` homes in segments.
    async fn pin(&mut self, pinned_bytes: u64, meant: impl Fn(usize) -> bool) -> Result<()> {
        let largest = self.segment_bytes(pinned_bytes);
        let mut sizes: Vec<u64> = Vec::new();
        for (index, pinned) in pin_evenly(&self.table, pinned_bytes, meant).into_iter().enumerate() {
            if !pinned {
                continue;
            }
            let len = self.home_bytes(index);
            match sizes.last_mut() {
                Some(size) if *size + len <= largest => *size += len,
                _ => sizes.push(len),
            }
            let segment = sizes.len() - 1;
            self.homes[index] = Some(Home { segment, offset_bytes: sizes[segment] - len, filled: false });
        }
        self.add_segments(sizes).await
    }

    /// Makes slots for tiles of the sections that only some sweeps use.
    async fn add_slots(&mut self, sections: usize, slot_bytes: u64, bytes: u64) -> Result<()> {
        let count = bytes.checked_div(slot_bytes).unwrap_or(0);
        let in_segment = (self.segment_bytes(bytes) / slot_bytes.max(1)).max(1);
        let sizes: Vec<u64> = (0..count.div_ceil(in_segment))
            .map(|segment| in_segment.min(count - segment * in_segment) * slot_bytes)
            .collect();
        let first = self.segments.len();
        self.slots =
            (0..count).map(|slot| (first + (slot / in_segment) as usize, slot % in_segment * slot_bytes)).collect();
        self.cache = LfuCache::new(sections, self.slots.len());
        self.add_segments(sizes).await
    }

    async fn add_segments(&mut self, sizes: Vec<u64>) -> Result<()> {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        for size in sizes {
            let name = format!("pinned {}", self.segments.len());
            self.segments.push(self.gpu.buffer(&name, size, usage).await?);
        }
        Ok(())
    }

    /// Gives homes to tiles of sections that are used more than others, which lose theirs.
    pub(super) fn rehouse(&mut self, sections: &[usize]) {
        let (homes, table) = (&self.homes, &self.sections);
        let homeless = |section: usize| table[section].tiles.clone().filter(|tile| homes[*tile].is_none()).collect();
        for change in self.cache.admit(sections, homeless) {
            if let Some(evicted) = change.evicted {
                self.homes[evicted] = None;
                self.states[evicted].store(AWAY, Ordering::Relaxed);
            }
            let (segment, offset_bytes) = self.slots[change.slot];
            self.homes[change.tile] = Some(Home { segment, offset_bytes, filled: false });
        }
    }

    /// Gives up pinned tiles until at least `bytes` are free again; they stream from now on. Returns the bytes freed.
    pub async fn unpin(&mut self, bytes: u64) -> u64 {
        self.reset().await;
        let mut freed = 0;
        while freed < bytes {
            let Some(segment) = self.segments.pop() else { break };
            freed += segment.size();
            let gone = self.segments.len();
            self.slots.retain(|(segment, _)| *segment < gone);
            self.cache.lose_slots(self.slots.len());
            for (home, state) in self.homes.iter_mut().zip(self.states.iter()) {
                if home.is_some_and(|home| home.segment == gone) {
                    *home = None;
                    state.store(AWAY, Ordering::Relaxed);
                }
            }
        }
        let specs = self.sections.iter().map(|section| (section.tiles.clone(), section.lfu, section.warm));
        let renewed = |(tiles, lfu, warm)| Section { warm, ..self.section(SectionSpec { tiles, lfu }) };
        self.sections = specs.map(renewed).collect();
        freed
    }
}
