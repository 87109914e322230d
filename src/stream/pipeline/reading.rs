//! When reads begin: in the order of the sweep, ahead of it, and at once for what it asks for on its way.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use futures::channel::oneshot;

use super::{Current, Load, Pending, Run, Section, TileStream, group_loads};
use crate::Result;
use crate::gpu::device::{MappedBytes, Mapping};
use crate::stream::profile::{Brought, Stage, Uses};

impl TileStream {
    /// Begins a sweep of `rows` rows over `sections`; `next` is the best guess of the sweep after it, to read ahead for.
    ///
    /// # Errors
    /// Those of reads that were under way for another sweep than this one.
    pub async fn begin_sweep(&mut self, rows: u32, sections: &[usize], next: &[usize]) -> Result<()> {
        self.cache.begin_sweep(rows);
        self.ram_cache.begin_sweep(rows);
        let expected: Vec<_> = self.runs.iter().map(|run| run.section).collect();
        // The guess made for the sweep before has to hold; what it read for another sweep is thrown away.
        if self.current.is_some() || expected != sections {
            self.reset().await;
            for section in sections {
                self.append(*section, self.sweep);
            }
        }
        for section in next {
            self.append(*section, self.sweep + 1);
        }
        self.fill();
        Ok(())
    }

    fn append(&mut self, section: usize, sweep: u64) {
        let warmed = self.runs.iter().any(|run| run.section == section);
        let cold = !self.sections[section].warm && !warmed;
        self.runs.push_back(Run { section, cold, sweep });
    }

    /// Waits for the reads under way, and forgets them and the plan.
    pub(super) async fn reset(&mut self) {
        if let Some(Current { window: Some(window), .. }) = self.current.take() {
            let after = self.gpu.queue.submit([]);
            self.release(window, after);
        }
        self.urgent.clear();
        let mut under_way: Vec<Pending> = self.urgent_pending.drain(..).chain(self.pending.drain(..)).collect();
        for pending in &mut under_way {
            // An error here belongs to bytes that nobody wants any more.
            let _ = (&mut pending.result).await;
            self.recycle(pending.window);
        }
        self.runs.clear();
        self.reading = (0, 0);
    }

    fn loads(&self, run: Run) -> &[Load] {
        let section = &self.sections[run.section];
        if run.cold { &section.all } else { &section.streamed }
    }

    /// Has sections read next, whatever was to come, for so many rows each; the sweep uses them in this order. They are
    /// some of the sections `of`, from which the sweep could choose.
    pub fn bring_sections(&mut self, chosen: &[(usize, u32)], of: Range<usize>) {
        for (section, rows) in chosen {
            self.cache.used(*section, *rows);
            self.ram_cache.used(*section, *rows);
        }
        let sections: Vec<usize> = chosen.iter().map(|(section, _)| *section).collect();
        self.rehouse(&sections);
        self.rehouse_in_ram(&sections);
        let len =
            |section: &Section| -> u64 { section.tiles.clone().map(|tile| self.table.tile(tile).len_bytes).sum() };
        let mut uses = Uses { of_bytes: self.sections[of].iter().map(len).sum(), ..Uses::default() };
        for section in sections {
            let section = &self.sections[section];
            uses.used_bytes += len(section);
            let missing: HashSet<usize> = self.missing(section).collect();
            let wanted = |tile: usize| missing.contains(&tile);
            let loads = group_loads(&self.table, section.tiles.clone(), self.window_bytes, wanted);
            uses.read_bytes += loads.iter().map(|load| load.len_bytes).sum::<u64>();
            self.urgent.extend(loads);
        }
        self.profile.add_uses(uses);
        self.fill();
    }

    /// Starts a read for every idle window, but for those that are reserved.
    pub(super) fn fill(&mut self) {
        // One window is left to the plan: some of its tiles may be used before those that were asked for.
        let free = |stream: &Self| !stream.idle.is_empty() && stream.urgent_pending.len() + 1 < stream.windows.len();
        while let Some(load) = self.urgent.front().copied().filter(|_| free(self)) {
            self.urgent.pop_front();
            let pending = self.start(load, true, self.sweep);
            self.urgent_pending.push_back(pending);
        }
        while self.idle.len() > self.reserved_windows && self.read_ahead() {}
    }

    /// Starts the next read of the plan; false where there is none, or no window.
    fn read_ahead(&mut self) -> bool {
        while let Some(run) = self.runs.get(self.reading.0).copied() {
            let Some(load) = self.loads(run).get(self.reading.1).copied() else {
                self.reading = (self.reading.0 + 1, 0);
                continue;
            };
            if self.idle.is_empty() {
                return false;
            }
            self.reading.1 += 1;
            let pending = self.start(load, run.cold, run.sweep);
            self.pending.push_back(pending);
            return true;
        }
        false
    }

    /// Starts a read into the window that has been idle for longest.
    fn start(&mut self, load: Load, cold: bool, sweep: u64) -> Pending {
        let (window, mapping) = self.idle.remove(0);
        let Load { first_tile, tiles, len_bytes, .. } = load;
        self.profile.begin_load(self.next_number, Brought { first_tile, tiles, len_bytes });
        let (number, result) = (self.next_number, self.read(window, mapping, load, sweep));
        self.next_number += 1;
        Pending { load, cold, number, sweep, window, result }
    }

    /// The read that brings `tile`, if it was begun.
    pub(super) fn next_pending(&mut self, tile: usize) -> Option<Pending> {
        let brings = |pending: &Pending| {
            let load = &pending.load;
            (load.first_tile..load.first_tile + load.tiles).contains(&tile)
        };
        if self.urgent_pending.front().is_some_and(brings) {
            return self.urgent_pending.pop_front();
        }
        if self.pending.is_empty() {
            self.read_ahead();
        }
        self.pending.pop_front()
    }

    fn read(&self, window: usize, mapping: Mapping, load: Load, sweep: u64) -> oneshot::Receiver<Result<u64>> {
        let (sender, receiver) = oneshot::channel();
        let (source, profile, buffer) =
            (Arc::clone(&self.source), self.profile.clone(), wgpu::Buffer::clone(&self.windows[window]));
        let (number, table, ram) = (self.next_number, Arc::clone(&self.table), Arc::clone(&self.ram));
        self.spawner.spawn(async move {
            let result = async {
                mapping.ready().await?;
                profile.mark(Stage::Read, true, number, sweep);
                let mut bytes = MappedBytes::new(&buffer, load.len_bytes)?;
                let window = &mut bytes.window(load.len_bytes as usize);
                let result = ram.fill(&*source, &table, load, window).await;
                profile.mark(Stage::Read, false, number, sweep);
                result
            };
            // The stream may have been dropped meanwhile.
            let _ = sender.send(result.await);
        });
        receiver
    }
}
