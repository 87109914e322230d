//! What happened when: busy seconds of each stage, and on demand an event for every read and submit.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use crate::platform::now_s;

/// The three stages of the pipeline, and what goes wrong between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Store to window.
    Read,
    /// Window to ring or pinned memory; nothing where shaders read the window itself.
    Upload,
    /// Shaders.
    Compute,
    /// The engine waits for a read, and the GPU soon has nothing to do.
    Stall,
}

impl Stage {
    /// How many there are.
    const COUNT: usize = 4;
}

/// One begin or end of a stage's work on a load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event {
    pub time_s: f64,
    pub stage: Stage,
    pub begins: bool,
    /// Number of the load since the model was opened: loads are consumed in this order. For [`Stage::Compute`] the
    /// load whose tiles the submit uses last.
    pub load: u64,
    /// Number of the sweep the load belongs to.
    pub sweep: u64,
}

/// What a load brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brought {
    pub first_tile: usize,
    pub tiles: usize,
    pub len_bytes: u64,
}

/// Figures of a run so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    pub read_busy_s: f64,
    pub upload_busy_s: f64,
    pub compute_busy_s: f64,
    /// Seconds in which the engine waited for reads.
    pub stall_s: f64,
    pub bytes_read: u64,
    /// Bytes of loads that the host's memory held.
    pub bytes_from_ram: u64,
    pub submits: u64,
    pub sweeps: u64,
    /// Of tiles that only some sweeps use.
    pub by_use: Uses,
}

/// Bytes of tiles of which a sweep uses those that it chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// Of the chosen ones.
    pub used_bytes: u64,
    /// Of those that had to be read.
    pub read_bytes: u64,
    /// Of all that could be chosen.
    pub of_bytes: u64,
}

#[derive(Debug, Default)]
struct Busy {
    at_work: u32,
    since_s: f64,
    total_s: f64,
}

impl Busy {
    fn change(&mut self, begins: bool, now: f64) {
        if begins {
            if self.at_work == 0 {
                self.since_s = now;
            }
            self.at_work += 1;
        } else {
            self.at_work = self.at_work.saturating_sub(1);
            if self.at_work == 0 {
                self.total_s += now - self.since_s;
            }
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    busy: [Busy; Stage::COUNT],
    figures: Figures,
    /// The newest events, and how many are kept.
    events: VecDeque<Event>,
    keep_events: usize,
    /// What the newest loads brought, by their numbers; as many as events.
    loads: VecDeque<(u64, Brought)>,
}

/// Shared by the engine, the reads and the GPU's callbacks. A stage is busy while at least one piece of its work is
/// under way.
#[derive(Clone, Debug, Default)]
pub struct Profile(Arc<Mutex<Inner>>);

impl Profile {
    /// Starts to keep the newest `most` events.
    pub fn keep_events(&self, most: usize) {
        self.with(|inner| {
            inner.events.clear();
            inner.loads.clear();
            inner.keep_events = most;
        });
    }

    /// The events kept so far, in order of time.
    pub fn events(&self) -> Vec<Event> {
        self.with(|inner| inner.events.iter().copied().collect())
    }

    /// The figures so far.
    pub fn figures(&self) -> Figures {
        self.with(|inner| {
            let [read_busy_s, upload_busy_s, compute_busy_s, stall_s] = inner.busy.each_ref().map(|busy| busy.total_s);
            Figures { read_busy_s, upload_busy_s, compute_busy_s, stall_s, ..inner.figures }
        })
    }

    /// What the loads of the events brought, by their numbers.
    pub fn loads(&self) -> HashMap<u64, Brought> {
        self.with(|inner| inner.loads.iter().copied().collect())
    }

    /// A load begins.
    pub fn begin_load(&self, load: u64, brought: Brought) {
        self.with(|inner| {
            if inner.keep_events > 0 {
                if inner.loads.len() >= inner.keep_events {
                    inner.loads.pop_front();
                }
                inner.loads.push_back((load, brought));
            }
        });
    }

    /// Work of `stage` on a load begins (or ends).
    pub fn mark(&self, stage: Stage, begins: bool, load: u64, sweep: u64) {
        self.with(|inner| {
            // Taken under the lock, so that events are in order.
            let time_s = now_s();
            inner.busy[stage as usize].change(begins, time_s);
            if stage == Stage::Compute && begins {
                inner.figures.submits += 1;
            }
            if inner.keep_events > 0 {
                if inner.events.len() >= inner.keep_events {
                    inner.events.pop_front();
                }
                inner.events.push_back(Event { time_s, stage, begins, load, sweep });
            }
        });
    }

    /// A load came: bytes of the store, and bytes that were in memory.
    pub fn add_bytes(&self, read: u64, from_ram: u64) {
        self.with(|inner| {
            inner.figures.bytes_read += read;
            inner.figures.bytes_from_ram += from_ram;
        });
    }

    /// A sweep chose among tiles.
    pub fn add_uses(&self, uses: Uses) {
        self.with(|inner| {
            let sum = &mut inner.figures.by_use;
            sum.used_bytes += uses.used_bytes;
            sum.read_bytes += uses.read_bytes;
            sum.of_bytes += uses.of_bytes;
        });
    }

    /// A sweep ended.
    pub fn add_sweep(&self) {
        self.with(|inner| inner.figures.sweeps += 1);
    }

    fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        // A poisoned lock only means that a reader thread died between two counts.
        change(&mut self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }
}
