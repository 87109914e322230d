//! The pipeline: windows that are filled ahead of the GPU, the ring, and the tiles that stay.
//!
//! A sweep is a list of sections (the layers, the head). Reads follow the order in which the tiles will be used, across
//! sections and into the next sweep, as far as there are windows. The first pass over a section brings every tile and
//! keeps a copy of those that are to stay; later passes bring only the others. Sections that only some sweeps use share
//! slots, and keep them as long as they are used more than others.
//!
//! Where the adapter maps its own buffers, shaders read the window itself. Elsewhere a window is copied into the ring,
//! and reuse of the ring follows queue order: a copy runs after the dispatches that were submitted before it.

mod homes;
mod ram;
mod reading;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use futures::channel::oneshot;

use self::ram::Ram;
use super::lfu::LfuCache;
use super::profile::{Profile, Stage};
use super::tiles::{Load, TileTable, group_loads};
use crate::gpu::device::Mapping;
use crate::gpu::{CountedBuffer, Gpu};
use crate::platform::{BoxFuture, MaybeSend, Spawner};
use crate::store::Window;
use crate::{Error, ErrorKind, Result};

/// Where the pipeline gets bytes from: verified, by file index and offset.
pub trait TileSource: MaybeSend {
    /// Fills the whole window from `offset_bytes` of `file`.
    fn read<'a>(&'a self, file: u32, offset_bytes: u64, window: &'a mut Window<'_>) -> BoxFuture<'a, Result<()>>;
}

/// Sizes of the pipeline, decided by the budget.
#[derive(Clone, Debug)]
pub struct StreamOptions {
    /// Bytes of a window: the most that one read brings. At least the largest row.
    pub window_bytes: u64,
    /// Windows: one is computed from, the others are filled meanwhile. At least 2.
    pub windows: usize,
    /// Reads at a time, where a thread does each of them: those of further windows wait for one.
    pub readers: usize,
    /// Bytes of tiles that stay on the GPU.
    pub pinned_bytes: u64,
    /// Tile ranges that a sweep may take or leave as a whole, in order; together all tiles.
    pub sections: Vec<SectionSpec>,
    /// Windows that reading ahead leaves for sections which a sweep asks for on its way. Fewer than `windows`.
    pub reserved_windows: usize,
}

/// A run of tiles that a sweep may take or leave as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionSpec {
    pub tiles: Range<usize>,
    /// Only some sweeps use it: its tiles stay as long as it is used more than others.
    pub lfu: bool,
}

/// Where a tile lies now.
#[derive(Clone, Copy, Debug)]
pub struct Placement<'a> {
    pub buffer: &'a CountedBuffer,
    pub offset_bytes: u64,
}

/// Where each tile is on the GPU, for those who watch: one of [`AWAY`], [`IN_RING`] and [`PINNED`] a tile.
pub type TileStates = Arc<[AtomicU8]>;
/// Not on the GPU.
pub const AWAY: u8 = 0;
/// In the window or ring that shaders read now.
pub const IN_RING: u8 = 1;
/// In its home, for good.
pub const PINNED: u8 = 2;
/// Not on the GPU, but in the host's memory.
pub const IN_RAM: u8 = 3;

#[derive(Debug)]
struct Section {
    tiles: Range<usize>,
    lfu: bool,
    all: Vec<Load>,
    streamed: Vec<Load>,
    /// Whether the tiles that stay are in their homes.
    warm: bool,
}

#[derive(Clone, Copy, Debug)]
struct Home {
    segment: usize,
    offset_bytes: u64,
    /// Whether the tile is there.
    filled: bool,
}

/// One pass over a section in the near future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    section: usize,
    cold: bool,
    sweep: u64,
}

struct Pending {
    load: Load,
    /// Whether the tiles that stay have to be copied home.
    cold: bool,
    number: u64,
    sweep: u64,
    window: usize,
    /// Bytes that the store gave.
    result: oneshot::Receiver<Result<u64>>,
}

struct Current {
    load: Load,
    number: u64,
    /// The window that shaders read; none when the load was copied to the ring.
    window: Option<usize>,
    base_bytes: u64,
}

/// Brings tiles to the GPU in the order of the sweep.
pub struct TileStream {
    gpu: Gpu,
    source: Arc<dyn TileSource>,
    spawner: Spawner,
    profile: Profile,
    table: Arc<TileTable>,
    states: TileStates,
    sections: Vec<Section>,
    /// The section of each tile.
    section_of: Vec<u32>,
    homes: Vec<Option<Home>>,
    segments: Vec<CountedBuffer>,
    /// Segment and offset of each slot, in order of the segments; the cache says which tile has which.
    slots: Vec<(usize, u64)>,
    cache: LfuCache,
    /// Tiles in the host's memory, and which of those that only some sweeps use.
    ram: Arc<Ram>,
    ram_cache: LfuCache,
    windows: Vec<CountedBuffer>,
    window_bytes: u64,
    ring: Option<CountedBuffer>,
    ring_next: u64,
    /// Windows without a read: mapped, or on their way to it.
    idle: Vec<(usize, Mapping)>,
    pending: VecDeque<Pending>,
    /// Loads of sections that the sweep asked for on its way, not read yet; and those that are being read.
    urgent: VecDeque<Load>,
    urgent_pending: VecDeque<Pending>,
    reserved_windows: usize,
    current: Option<Current>,
    /// Passes of this sweep and the next, in order; `reading` points at the next load to read.
    runs: VecDeque<Run>,
    reading: (usize, usize),
    sweep: u64,
    next_number: u64,
}

/// Bytes of GPU memory that the windows (and the ring) take.
pub fn pipeline_bytes(window_bytes: u64, windows: usize, direct: bool) -> u64 {
    window_bytes * (windows as u64 + if direct { 0 } else { RING_WINDOWS })
}

/// The ring holds this many windows: one is computed from while the next is copied.
const RING_WINDOWS: u64 = 2;

impl TileStream {
    /// Allocates windows, ring and pinned segments.
    ///
    /// # Errors
    /// [`ErrorKind::Budget`] where they do not fit; [`ErrorKind::GpuMemory`] where the driver has no memory.
    pub async fn new(
        gpu: &Gpu,
        source: Arc<dyn TileSource>,
        table: TileTable,
        options: StreamOptions,
        profile: Profile,
    ) -> Result<Self> {
        use wgpu::BufferUsages as Usage;
        let direct = gpu.uploads_directly();
        let window_usage = Usage::MAP_WRITE | Usage::COPY_SRC | if direct { Usage::STORAGE } else { Usage::empty() };
        let mut windows = Vec::new();
        for index in 0..options.windows {
            windows.push(gpu.buffer(&format!("window {index}"), options.window_bytes, window_usage).await?);
        }
        // A layer's vectors are copied out of it again.
        let ring_bytes = options.window_bytes * RING_WINDOWS;
        let ring = match direct {
            true => None,
            false => Some(gpu.buffer("ring", ring_bytes, Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC).await?),
        };
        let spawner =
            Spawner::new("tile-reader", options.readers).map_err(|error| Error::io(error, "reader threads"))?;
        let mut stream = Self {
            gpu: gpu.clone(),
            source,
            spawner,
            profile,
            homes: vec![None; table.len()],
            states: (0..table.len()).map(|_| AtomicU8::new(AWAY)).collect(),
            table: Arc::new(table),
            sections: Vec::new(),
            section_of: Vec::new(),
            segments: Vec::new(),
            slots: Vec::new(),
            cache: LfuCache::default(),
            ram: Arc::default(),
            ram_cache: LfuCache::default(),
            idle: Vec::new(),
            windows,
            window_bytes: options.window_bytes,
            ring,
            ring_next: 0,
            pending: VecDeque::new(),
            urgent: VecDeque::new(),
            urgent_pending: VecDeque::new(),
            reserved_windows: options.reserved_windows,
            current: None,
            runs: VecDeque::new(),
            reading: (0, 0),
            sweep: 0,
            next_number: 0,
        };
        // Mapping at creation would not tell of memory that is missing, but throw.
        let after = gpu.queue.submit([]);
        (0..options.windows).for_each(|window| stream.release(window, after.clone()));
        stream.section_of = vec![0; stream.table.len()];
        for (index, section) in (0..).zip(&options.sections) {
            stream.section_of[section.tiles.clone()].fill(index);
        }
        stream.give_homes(&options.sections, options.pinned_bytes).await?;
        stream.sections = options.sections.into_iter().map(|section| stream.section(section)).collect();
        Ok(stream)
    }

    fn section(&self, SectionSpec { tiles, lfu }: SectionSpec) -> Section {
        let loads = |wanted: &dyn Fn(usize) -> bool| match lfu {
            true => Vec::new(),
            false => group_loads(&self.table, tiles.clone(), self.window_bytes, wanted),
        };
        let (all, streamed) = (loads(&|_| true), loads(&|tile| self.homes[tile].is_none()));
        Section { tiles, lfu, all, streamed, warm: false }
    }

    /// The table of tiles.
    pub fn table(&self) -> &Arc<TileTable> {
        &self.table
    }

    /// Where each tile is, kept up to date while the stream runs.
    pub fn states(&self) -> &TileStates {
        &self.states
    }

    fn note(&self, load: Load, in_use: bool) {
        for tile in load.first_tile..load.first_tile + load.tiles {
            let state = match self.homes[tile] {
                _ if in_use => IN_RING,
                Some(_) => PINNED,
                None if self.ram.holds(tile) => IN_RAM,
                None => AWAY,
            };
            self.states[tile].store(state, Ordering::Relaxed);
        }
    }

    /// Bytes of the tiles that have a home on the GPU.
    pub fn pinned_bytes(&self) -> u64 {
        let pinned = self.homes.iter().enumerate().filter(|(_, home)| home.is_some());
        pinned.map(|(index, _)| self.table.tile(index).len_bytes).sum()
    }

    /// Bytes of the buffers that tiles with a home lie in.
    pub fn homes_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size()).sum()
    }

    /// Bytes that a warm pass over a section reads; of one that only some sweeps use, what it reads now.
    pub fn streamed_bytes(&self, section: usize) -> u64 {
        let section = &self.sections[section];
        match section.lfu {
            true => self.missing(section).map(|tile| self.table.tile(tile).len_bytes).sum(),
            false => section.streamed.iter().map(|load| load.len_bytes).sum(),
        }
    }

    /// Tiles of a section that have no home, or are not there yet.
    fn missing(&self, section: &Section) -> impl Iterator<Item = usize> + '_ {
        section.tiles.clone().filter(|tile| self.homes[*tile].is_none_or(|home| !home.filled))
    }

    /// The home of `tile`, if it is there now and stays for this sweep.
    pub fn home(&self, tile: usize) -> Option<Placement<'_>> {
        let home = self.homes[tile].filter(|home| home.filled)?;
        Some(Placement { buffer: &self.segments[home.segment], offset_bytes: home.offset_bytes })
    }

    /// Where `tile` lies, if it is on the GPU now.
    pub fn locate(&self, tile: usize) -> Option<Placement<'_>> {
        if let Some(current) = &self.current {
            let load = &current.load;
            if (load.first_tile..load.first_tile + load.tiles).contains(&tile) {
                let offset_bytes = current.base_bytes + self.table.tile(tile).offset_bytes - load.offset_bytes;
                let buffer = match current.window {
                    Some(window) => &self.windows[window],
                    None => self.ring.as_ref()?,
                };
                return Some(Placement { buffer, offset_bytes });
            }
        }
        self.home(tile)
    }

    /// Brings the next load, the one that holds `tile`. What used the load before it has been submitted as `after`.
    ///
    /// # Errors
    /// Those of the read: a missing file, a checksum that does not match, a lost device.
    pub async fn advance(&mut self, tile: usize, after: wgpu::SubmissionIndex) -> Result<()> {
        self.finish_current(after);
        let Some(mut pending) = self.next_pending(tile) else {
            return Err(Error::new(ErrorKind::Internal, "the sweep asked for a tile that its plan does not hold"));
        };
        let lost = || Error::new(ErrorKind::Io, "a reader thread died");
        let read = self.wait_for(&mut pending).await.map_err(|_| lost()).flatten();
        let read_bytes = match read {
            Ok(read_bytes) => read_bytes,
            Err(error) => {
                self.recycle(pending.window);
                self.reset().await;
                return Err(error);
            }
        };
        let load = pending.load;
        debug_assert!((load.first_tile..load.first_tile + load.tiles).contains(&tile), "tiles are used in order");
        self.windows[pending.window].unmap();
        self.profile.add_bytes(read_bytes, load.len_bytes - read_bytes);
        self.place(&pending);
        self.fill();
        Ok(())
    }

    /// The outcome of a read; where it is not there yet, the wait is a stall.
    async fn wait_for(&self, pending: &mut Pending) -> std::result::Result<Result<u64>, oneshot::Canceled> {
        if let Some(read) = pending.result.try_recv()? {
            return Ok(read);
        }
        self.profile.mark(Stage::Stall, true, pending.number, pending.sweep);
        let read = (&mut pending.result).await;
        self.profile.mark(Stage::Stall, false, pending.number, pending.sweep);
        read
    }

    /// Makes a load current: copies it to the ring where shaders cannot read the window, and pinned tiles home.
    fn place(&mut self, pending: &Pending) {
        let load = pending.load;
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let window = &self.windows[pending.window];
        let mut copies = false;
        for index in (load.first_tile..load.first_tile + load.tiles).filter(|_| pending.cold) {
            if let Some(home) = &mut self.homes[index] {
                let tile = self.table.tile(index);
                let from = tile.offset_bytes - load.offset_bytes;
                let segment = &self.segments[home.segment];
                encoder.copy_buffer_to_buffer(window, from, segment, home.offset_bytes, tile.len_bytes);
                copies = true;
                // Other sections are read by plan, which holds to the end of the sweep.
                home.filled |= self.sections[self.section_of[index] as usize].lfu;
            }
        }
        let mut base_bytes = 0;
        if let Some(ring) = &self.ring {
            base_bytes = if self.ring_next + load.len_bytes > ring.size() { 0 } else { self.ring_next };
            self.ring_next = (base_bytes + load.len_bytes).next_multiple_of(256);
            encoder.copy_buffer_to_buffer(window, 0, ring, base_bytes, load.len_bytes);
            copies = true;
        }
        let through_ring = self.ring.is_some();
        if copies {
            let (number, sweep) = (pending.number, pending.sweep);
            self.profile.mark(Stage::Upload, true, number, sweep);
            let after = self.gpu.submit(encoder.finish());
            let profile = self.profile.clone();
            self.gpu.on_done(after.clone(), move || {
                profile.mark(Stage::Upload, false, number, sweep);
            });
            if through_ring {
                self.release(pending.window, after);
            }
        }
        let window = (!through_ring).then_some(pending.window);
        self.note(load, true);
        self.current = Some(Current { load, number: pending.number, window, base_bytes });
    }

    fn finish_current(&mut self, after: wgpu::SubmissionIndex) {
        let Some(current) = self.current.take() else { return };
        self.note(current.load, false);
        if let Some(window) = current.window {
            self.release(window, after);
            self.fill();
        }
    }

    /// Maps a window anew whose bytes are of no use.
    fn recycle(&mut self, window: usize) {
        self.windows[window].unmap();
        let after = self.gpu.queue.submit([]);
        self.release(window, after);
    }

    fn release(&mut self, window: usize, after: wgpu::SubmissionIndex) {
        let mapping = self.gpu.map(&self.windows[window], wgpu::MapMode::Write, after);
        self.idle.push((window, mapping));
    }

    /// Number and sweep of the load in use, for the event log.
    pub fn position(&self) -> (u64, u64) {
        (self.current.as_ref().map_or(self.next_number, |current| current.number), self.sweep)
    }

    /// Ends one pass over a section that the sweep goes over again: what stays is where it stays.
    pub fn end_pass(&mut self, section: usize) {
        let section = &mut self.sections[section];
        section.warm = true;
        self.homes[section.tiles.clone()].iter_mut().flatten().for_each(|home| home.filled = true);
    }

    /// Ends the sweep; its last commands were submitted as `after`.
    pub fn end_sweep(&mut self, after: wgpu::SubmissionIndex) {
        self.finish_current(after);
        while let Some(run) = self.runs.front().copied().filter(|run| run.sweep == self.sweep) {
            self.runs.pop_front();
            self.reading.0 = self.reading.0.saturating_sub(1);
            let section = &mut self.sections[run.section];
            section.warm = true;
            self.homes[section.tiles.clone()].iter_mut().flatten().for_each(|home| home.filled = true);
        }
        self.sweep += 1;
        self.profile.add_sweep();
        self.fill();
    }
}
