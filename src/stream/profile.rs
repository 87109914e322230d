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

    /// Whether the GPU's queue does it: one piece of work after the other, in the order of their submits.
    fn is_queued(self) -> bool {
        matches!(self, Self::Upload | Self::Compute)
    }
}

/// One begin or end of a stage's work on a load. What the GPU's queue does begins with its submit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event {
    pub time_s: f64,
    /// Since when the work was done, without the wait for what was submitted before it. Of a begin, its time.
    pub busy_from_s: f64,
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
    pub expert_uses: Uses,
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

/// What a stage has under way, and how long it was at work.
#[derive(Debug, Default)]
struct Busy {
    at_work: u32,
    since_s: f64,
    total_s: f64,
}

impl Busy {
    /// Work begins or ends now; pieces that go on at the same time count once.
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
    /// What began and did not end, in order.
    open: Vec<Event>,
    /// Queued work that ended because later work did: its own end is still to be told.
    ended_early: Vec<(Stage, u64)>,
    /// When the queue's last work ended.
    queue_free_s: f64,
    figures: Figures,
    /// The newest events, and how many are kept.
    events: VecDeque<Event>,
    keep_events: usize,
    /// What the newest loads brought, by their numbers; as many as events.
    loads: VecDeque<(u64, Brought)>,
}

impl Inner {
    fn mark(&mut self, mut event: Event) {
        let Event { time_s, stage, begins, load, .. } = event;
        if begins {
            self.open.push(event);
            self.figures.submits += u64::from(stage == Stage::Compute);
        } else if stage.is_queued() {
            return self.end_queued(event);
        } else if let Some(at) = self.open.iter().position(|open| (open.stage, open.load) == (stage, load)) {
            event.busy_from_s = self.open.remove(at).time_s;
        }
        if !stage.is_queued() {
            self.busy[stage as usize].change(begins, time_s);
        }
        self.keep(event);
    }

    /// Work of the queue ended, and with it all that was put into the queue before it: where several threads call back, the
    /// ends are told in any order.
    fn end_queued(&mut self, end: Event) {
        let key = (end.stage, end.load);
        if let Some(at) = self.ended_early.iter().position(|early| *early == key) {
            self.ended_early.swap_remove(at);
            return;
        }
        let Some(last) = self.open.iter().position(|open| (open.stage, open.load) == key) else { return };
        let (done, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.open)
            .into_iter()
            .enumerate()
            .partition(|(at, open)| *at <= last && open.stage.is_queued());
        self.open = later.into_iter().map(|(_, open)| open).collect();
        for (at, open) in done {
            if at != last {
                self.ended_early.push((open.stage, open.load));
            }
            let busy_from_s = open.time_s.max(self.queue_free_s).min(end.time_s);
            self.busy[open.stage as usize].total_s += end.time_s - busy_from_s;
            self.queue_free_s = end.time_s;
            self.keep(Event { time_s: end.time_s, busy_from_s, begins: false, ..open });
        }
    }

    /// Keeps an event where somebody looks.
    fn keep(&mut self, event: Event) {
        if self.keep_events > 0 {
            if self.events.len() >= self.keep_events {
                self.events.pop_front();
            }
            self.events.push_back(event);
        }
    }

    /// What is under way, as if it ended now. Of the queue's work only the oldest is being done.
    fn open_until(&self, now_s: f64) -> Vec<Event> {
        let mut free_s = self.queue_free_s;
        let ended = |open: &Event| {
            let mut event = Event { time_s: now_s, begins: false, ..*open };
            if event.stage.is_queued() {
                event.busy_from_s = event.busy_from_s.max(free_s).min(now_s);
                free_s = now_s;
            }
            event
        };
        self.open.iter().map(ended).collect()
    }
}

/// Shared by the engine, the reads and the GPU's callbacks. A stage is busy while at least one piece of its work is
/// under way; uploads and computing are busy in turns, for one queue does them, and what waits in it is not busy.
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

    /// What is under way, as ends of now.
    pub fn open_until_now(&self) -> Vec<Event> {
        self.with(|inner| inner.open_until(now_s()))
    }

    /// Work of `stage` on a load begins (or ends) now; the time of it.
    pub fn mark(&self, stage: Stage, begins: bool, load: u64, sweep: u64) -> f64 {
        self.with(|inner| {
            // Taken under the lock, so that events are in order.
            let time_s = now_s();
            inner.mark(Event { time_s, busy_from_s: time_s, stage, begins, load, sweep });
            time_s
        })
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
            let sum = &mut inner.figures.expert_uses;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(marks: &[(f64, Stage, bool, u64)]) -> Profile {
        let profile = Profile::default();
        profile.keep_events(100);
        profile.with(|inner| {
            for &(time_s, stage, begins, load) in marks {
                inner.mark(Event { time_s, busy_from_s: time_s, stage, begins, load, sweep: 0 });
            }
        });
        profile
    }

    fn spans(events: &[Event], of: Stage) -> Vec<(f64, f64)> {
        let ends = events.iter().filter(|event| event.stage == of && !event.begins);
        ends.map(|event| (event.busy_from_s, event.time_s)).collect()
    }

    #[test]
    fn the_end_of_later_work_ends_what_was_queued_before_it() {
        use Stage::Compute;
        // Two threads call back: the second submit's end is told first.
        let told = [
            (0.0, Compute, true, 0),
            (3.0, Compute, true, 1),
            (4.0, Compute, false, 1),
            (5.0, Compute, true, 0),
            (6.0, Compute, false, 0),
            (7.0, Compute, false, 0),
        ];
        let profile = profile(&told);
        assert_eq!(spans(&profile.events(), Compute), [(0.0, 4.0), (4.0, 4.0), (5.0, 7.0)]);
        assert_eq!(profile.figures().compute_busy_s, 6.0);
    }

    #[test]
    fn what_waits_in_the_queue_is_not_busy() {
        use Stage::{Compute, Read, Stall, Upload};
        // All is submitted at once and done in turn; an upload waits behind computing and the other way around.
        let marks = [
            (0.0, Read, true, 0),
            (0.5, Read, true, 1),
            (1.0, Read, false, 0),
            (1.0, Upload, true, 0),
            (1.0, Compute, true, 0),
            (1.5, Read, false, 1),
            (1.5, Upload, true, 1),
            (1.5, Compute, true, 1),
            (1.5, Stall, true, 2),
            (2.0, Upload, false, 0),
            (4.0, Compute, false, 0),
            (4.5, Upload, false, 1),
            (7.0, Compute, false, 1),
            (8.0, Stall, false, 2),
            // The queue was empty in between.
            (8.0, Compute, true, 2),
            (9.0, Compute, false, 2),
        ];
        let profile = profile(&marks);
        let events = profile.events();
        assert_eq!(spans(&events, Read), [(0.0, 1.0), (0.5, 1.5)]);
        assert_eq!(spans(&events, Upload), [(1.0, 2.0), (4.0, 4.5)]);
        assert_eq!(spans(&events, Compute), [(2.0, 4.0), (4.5, 7.0), (8.0, 9.0)]);
        let figures = profile.figures();
        assert_eq!((figures.read_busy_s, figures.upload_busy_s), (1.5, 1.5));
        assert_eq!((figures.compute_busy_s, figures.stall_s), (5.5, 6.5));
        assert!(figures.upload_busy_s + figures.compute_busy_s <= 8.0, "the queue's time since its first submit");
        assert_eq!(figures.submits, 3);
    }

    #[test]
    fn of_what_is_under_way_only_the_oldest_is_being_done() {
        use Stage::{Compute, Read};
        let marks = [
            (0.0, Compute, true, 0),
            (1.0, Compute, true, 1),
            (1.0, Read, true, 2),
            (2.0, Compute, false, 0),
            (3.0, Compute, true, 2),
        ];
        let profile = profile(&marks);
        let open = profile.with(|inner| inner.open_until(5.0));
        assert_eq!(spans(&open, Compute), [(2.0, 5.0), (5.0, 5.0)]);
        assert_eq!(spans(&open, Read), [(1.0, 5.0)]);
    }
}
