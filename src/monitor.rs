//! Looking at the stream while it runs: where each tile is, and what the last sweeps did when.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::gpu::Device;
use crate::model::Engine;
use crate::shard::Model;
use crate::stream::{Brought, Event, IN_RAM, IN_RING, PINNED, Profile, Stage, TileStates, TileTable};

/// Events kept for pictures: some sweeps of a small model, a part of one of a large.
pub(crate) const EVENTS: usize = 8192;

/// Where a tile is. The numbers are those of the web package's `TIERS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Tier {
    /// On another machine.
    Network = 0,
    /// On this machine's disk, or in the browser's file system.
    Disk = 1,
    /// In this machine's memory, for good.
    Ram = 2,
    /// In the memory that shaders read now.
    Ring = 3,
    /// On the GPU, for good.
    Pinned = 4,
}

/// A stage's work on one load, in seconds of [`crate::platform::now_s`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// What was done.
    pub stage: Stage,
    /// Number of the sweep since the model was opened.
    pub sweep: u64,
    /// Number of the load since the model was opened.
    pub load: u64,
    /// When it began.
    pub begin_s: f64,
    /// When it ended.
    pub end_s: f64,
}

impl Interval {
    /// What an event ended.
    fn of(event: Event) -> Option<Self> {
        let Event { stage, sweep, load, busy_from_s: begin_s, time_s: end_s, begins } = event;
        (!begins).then_some(Self { stage, sweep, load, begin_s, end_s })
    }
}

/// A view of a model's stream. It stays valid while the model answers, and shows the last state after it is gone. Clones are the
/// same view.
#[derive(Clone)]
pub struct TileMonitor {
    model: Arc<Model>,
    /// Of the engine that answers now.
    seen: Arc<Mutex<Seen>>,
    /// Events to keep.
    events: usize,
}

/// What is seen of an engine.
struct Seen {
    table: Arc<TileTable>,
    states: TileStates,
    layers: Vec<usize>,
    profile: Profile,
    /// Not its budget, which ends with the model.
    device: Device,
}

impl Seen {
    fn new(engine: &Engine, events: usize) -> Self {
        let (table, states) = engine.tiles();
        engine.profile().keep_events(events);
        Self {
            table: Arc::clone(table),
            states: TileStates::clone(states),
            layers: engine.layer_tiles(),
            profile: engine.profile().clone(),
            device: engine.gpu().shared_device().clone(),
        }
    }

    /// `count` tiles from `first` on, for people: `layer 3, tiles 12 to 15`.
    fn tiles_name(&self, first: usize, count: usize) -> String {
        let after = self.layers.partition_point(|begin| *begin <= first);
        let (last, layers) = (first + count - 1, self.layers.len());
        let place = if after == layers { "head".to_owned() } else { format!("layer {}", after.saturating_sub(1)) };
        format!("{place}, tiles {first} to {last}")
    }
}

impl TileMonitor {
    /// Keeps the newest `events`.
    pub(crate) fn new(engine: &Engine, events: usize) -> Self {
        let seen = Arc::new(Mutex::new(Seen::new(engine, events)));
        Self { model: Arc::clone(engine.model()), seen, events }
    }

    /// Looks at the engine that takes the place of another, on another device: what it kept of that one is gone.
    pub(crate) fn follow(&self, engine: &Engine) {
        *self.seen() = Seen::new(engine, self.events);
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where each tile is now, in the order of the sweep.
    pub fn places(&self) -> Vec<Tier> {
        let seen = self.seen();
        let place = |(index, state): (usize, &std::sync::atomic::AtomicU8)| match state.load(Ordering::Relaxed) {
            PINNED => Tier::Pinned,
            IN_RING => Tier::Ring,
            IN_RAM => Tier::Ram,
            _ => {
                let tile = seen.table.tile(index);
                let here = self.model.verified().is_here(tile.file, tile.offset_bytes, tile.len_bytes);
                if here { Tier::Disk } else { Tier::Network }
            }
        };
        seen.states.iter().enumerate().map(place).collect()
    }

    /// The first tile of each layer, and of the head at the end.
    pub fn layers(&self) -> Vec<usize> {
        self.seen().layers.clone()
    }

    /// What the last sweeps did, each interval as it ended. Those of uploads and of computing follow each other: one
    /// queue does both.
    pub fn intervals(&self) -> Vec<Interval> {
        self.seen().profile.events().into_iter().filter_map(Interval::of).collect()
    }

    /// The same, and what is under way as if it ended now: who waits for the GPU may know that it is done before the profile.
    pub(crate) fn intervals_until_now(&self) -> Vec<Interval> {
        let open: Vec<_> = self.seen().profile.open_until_now().into_iter().filter_map(Interval::of).collect();
        self.intervals().into_iter().chain(open).collect()
    }

    /// What a load brought: `layer 3, tiles 12 to 15`, and its bytes.
    pub(crate) fn brought(&self) -> HashMap<u64, (String, u64)> {
        let seen = self.seen();
        let name = |brought: &Brought| seen.tiles_name(brought.first_tile, brought.tiles);
        seen.profile.loads().iter().map(|(load, brought)| (*load, (name(brought), brought.len_bytes))).collect()
    }

    /// `count` tiles from `first` on, for people: `layer 3, tiles 12 to 15`.
    pub(crate) fn tiles_name(&self, first: usize, count: usize) -> String {
        self.seen().tiles_name(first, count)
    }

    /// Destroys the device, for all that are on it, as a driver that restarts does: to try out how a program copes.
    pub fn lose_device(&self) {
        self.seen().device.lose();
    }

    /// The opened model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }
}
