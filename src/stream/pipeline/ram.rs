//! The tier between the GPU and the disk: tiles that stay in the host's memory, a fixed set of those that every sweep uses,
//! and of the others those that are used most. They still travel to the GPU each time, but no disk is waited for, and a file
//! larger than the page cache is read only where it must be.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{AWAY, Load, TileSource, TileStream};
use crate::Result;
use crate::store::Window;
use crate::stream::lfu::LfuCache;
use crate::stream::tiles::{TileTable, pin_evenly};

/// Tiles in memory, shared with the readers.
#[derive(Debug, Default)]
pub(super) struct Ram(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// Of each tile, whether it is to stay; empty where none is.
    wanted: Vec<bool>,
    tiles: HashMap<usize, Arc<[u8]>>,
}

impl Ram {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A reader that died between two changes leaves a tile less, and nothing wrong.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the bytes of a tile are here.
    pub(super) fn holds(&self, tile: usize) -> bool {
        self.kept().tiles.contains_key(&tile)
    }

    /// Bytes that are here.
    pub(super) fn len_bytes(&self) -> u64 {
        self.kept().tiles.values().map(|bytes| bytes.len() as u64).sum()
    }

    /// A tile: whether it is wanted here, and its bytes where they are here.
    fn tile(&self, tile: usize) -> (bool, Option<Arc<[u8]>>) {
        let kept = self.kept();
        (kept.wanted.get(tile).is_some_and(|wanted| *wanted), kept.tiles.get(&tile).cloned())
    }

    /// Keeps a tile that was read, if it is wanted still.
    fn keep(&self, tile: usize, bytes: Vec<u8>) {
        let mut kept = self.kept();
        if kept.wanted.get(tile).is_some_and(|wanted| *wanted) {
            kept.tiles.insert(tile, bytes.into());
        }
    }

    /// Fills a window with a load, from here as far as its tiles are here. Returns the bytes that were read.
    pub(super) async fn fill(
        &self,
        source: &dyn TileSource,
        table: &TileTable,
        load: Load,
        window: &mut Window<'_>,
    ) -> Result<u64> {
        let end = load.first_tile + load.tiles;
        let range = |index: usize| {
            let tile = table.tile(index);
            let start = tile.offset_bytes - load.offset_bytes;
            start as usize..(start + tile.len_bytes) as usize
        };
        let (mut index, mut read) = (load.first_tile, 0);
        while index < end {
            let place = range(index);
            match self.tile(index) {
                (_, Some(bytes)) => window.part(place)?.copy_from(&bytes),
                // Read into memory first: what was written to a window is not for reading.
                (true, None) => {
                    let mut bytes = vec![0; place.len()];
                    let offset = load.offset_bytes + place.start as u64;
                    source.read(load.file, offset, &mut Window::from_slice(&mut bytes)).await?;
                    read += bytes.len() as u64;
                    window.part(place)?.copy_from(&bytes);
                    self.keep(index, bytes);
                }
                // As many as there are, in one read.
                (false, None) => {
                    while index + 1 < end && self.tile(index + 1) == (false, None) {
                        index += 1;
                    }
                    let all = place.start..range(index).end;
                    read += all.len() as u64;
                    let offset = load.offset_bytes + all.start as u64;
                    source.read(load.file, offset, &mut window.part(all)?).await?;
                }
            }
            index += 1;
        }
        Ok(read)
    }
}

impl TileStream {
    /// Keeps up to `bytes` of the tiles that have no home on the GPU in the host's memory, from when they are next read.
    pub fn keep_in_ram(&mut self, bytes: u64) {
        let lfu = |tile: usize| self.sections[self.section_of[tile] as usize].lfu;
        let streamed = |tile: usize| self.homes[tile].is_none() && !lfu(tile);
        let wanted = pin_evenly(&self.table, bytes, streamed);
        let len = |tile: usize| self.table.tile(tile).len_bytes;
        let fixed: u64 = (0..wanted.len()).filter(|tile| wanted[*tile]).map(len).sum();
        let largest = (0..wanted.len()).filter(|tile| lfu(*tile)).map(len).max();
        let slots = largest.map_or(0, |largest| bytes.saturating_sub(fixed) / largest);
        self.ram_cache = LfuCache::new(self.sections.len(), slots as usize);
        *self.ram.kept() = Kept { wanted, tiles: HashMap::new() };
    }

    /// Bytes of tiles in the host's memory.
    pub fn ram_bytes(&self) -> u64 {
        self.ram.len_bytes()
    }

    /// Chooses which tiles of the sections in use stay in memory, of those that have no home on the GPU.
    pub(super) fn rehouse_in_ram(&mut self, sections: &[usize]) {
        let mut kept = self.ram.kept();
        if kept.wanted.is_empty() {
            return;
        }
        let (homes, table) = (&self.homes, &self.sections);
        let homeless = |section: usize| {
            table[section].tiles.clone().filter(|tile| homes[*tile].is_none() && !kept.wanted[*tile]).collect()
        };
        for change in self.ram_cache.admit(sections, homeless) {
            if let Some(evicted) = change.evicted {
                kept.wanted[evicted] = false;
                if kept.tiles.remove(&evicted).is_some() {
                    self.states[evicted].store(AWAY, Ordering::Relaxed);
                }
            }
            kept.wanted[change.tile] = true;
        }
    }
}
