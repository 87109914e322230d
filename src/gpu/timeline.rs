//! When the GPU computed what: timestamps before and after every dispatch, while somebody asks for them.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use futures::channel::oneshot;

use super::kernels::KernelId;
use super::memory::{CountedBuffer, Lease};
use super::{Device, Gpu};
use crate::platform::now_s;
use crate::{Error, ErrorKind, Result};

/// Bytes of a timestamp.
const STAMP_BYTES: u64 = 8;
/// Submits whose timestamps can be under way at once; one more than a recorder has under way.
const SLOTS: u64 = 4;

/// GPU bytes that the timestamps of submits of up to `dispatches` take.
pub const fn timer_bytes(dispatches: u64) -> u64 {
    // The set itself, what it is resolved to, and what is read.
    SLOTS * 3 * 2 * dispatches * STAMP_BYTES
}

/// Which part of a sweep a dispatch is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The head comes after the last layer.
    pub layer: usize,
    /// Index among the ops of the layer.
    pub op: usize,
    /// Tiles of weights that it multiplies with, and their bytes.
    pub first_tile: usize,
    pub tiles: usize,
    pub weight_bytes: u64,
}

/// A dispatch, in seconds of the GPU's clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dispatched {
    pub kernel: KernelId,
    pub place: Origin,
    pub begin_s: f64,
    pub end_s: f64,
}

#[derive(Debug, Default)]
struct Inner {
    keep: usize,
    /// The newest ones, in order of their ends.
    dispatches: VecDeque<Dispatched>,
    /// What to add to the GPU's clock for the host's. A submit ends before the host is told so, which it is at once or later;
    /// the smallest difference that was seen is the nearest to the truth.
    to_host_s: Option<f64>,
    /// Why there are none.
    missing: Option<String>,
}

/// The times of dispatches. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Timeline(Arc<Mutex<Inner>>);

impl Timeline {
    /// Starts to keep the newest `most` dispatches.
    pub fn keep(&self, most: usize) {
        self.with(|inner| inner.keep = most);
    }

    /// Whether somebody asks for times, as far as is known there can be some.
    pub fn is_wanted(&self) -> bool {
        self.with(|inner| inner.keep > 0 && inner.missing.is_none())
    }

    /// Why no times are taken, where that is so.
    pub fn missing(&self) -> Option<String> {
        self.with(|inner| inner.missing.clone())
    }

    /// No times can be taken, for this reason.
    pub fn give_up(&self, reason: String) {
        self.with(|inner| inner.missing = Some(reason));
    }

    /// The dispatches so far, on the host's clock ([`crate::platform::now_s`]).
    pub fn dispatches(&self) -> Vec<Dispatched> {
        self.with(|inner| {
            let to_host_s = inner.to_host_s.unwrap_or(0.0);
            let moved = |dispatched: &Dispatched| Dispatched {
                begin_s: dispatched.begin_s + to_host_s,
                end_s: dispatched.end_s + to_host_s,
                ..*dispatched
            };
            inner.dispatches.iter().map(moved).collect()
        })
    }

    /// A submit's timestamps came: two a dispatch, in ticks of `period_s`.
    fn add(&self, labels: &[(KernelId, Origin)], stamps: &[u64], period_s: f64, told_s: f64) {
        self.with(|inner| {
            for ((kernel, place), stamps) in labels.iter().zip(stamps.chunks_exact(2)) {
                let [begin_s, end_s] = [stamps[0], stamps[1]].map(|ticks| ticks as f64 * period_s);
                // Some drivers' clocks start anew now and then.
                let end_s = end_s.max(begin_s);
                if inner.dispatches.len() >= inner.keep {
                    inner.dispatches.pop_front();
                }
                inner.dispatches.push_back(Dispatched { kernel: *kernel, place: *place, begin_s, end_s });
                let to_host_s = told_s - end_s;
                inner.to_host_s = Some(inner.to_host_s.map_or(to_host_s, |least| least.min(to_host_s)));
            }
        });
    }

    fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// When the host was told that a submit is done, by whichever callback came first: a busy host maps much later.
#[derive(Clone, Debug, Default)]
pub struct Told(Arc<Mutex<Option<f64>>>);

impl Told {
    /// The host is told now; the time that `now_s` gives.
    pub fn now(&self, now_s: impl FnOnce() -> f64) -> f64 {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let told_s = now_s();
        *first.get_or_insert(told_s)
    }
}

/// Timestamps of one submit.
struct Slot {
    set: wgpu::QuerySet,
    resolved: CountedBuffer,
    read: CountedBuffer,
    _lease: Lease,
    /// Where they are under way.
    taken: Option<oneshot::Receiver<()>>,
}

/// Takes the times of a recorder's dispatches.
pub struct Timer {
    device: Device,
    timeline: Timeline,
    period_s: f64,
    slots: VecDeque<Slot>,
}

impl Timer {
    /// A timer for submits of up to `dispatches`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the adapter has no timestamps; [`ErrorKind::Budget`] and [`ErrorKind::GpuMemory`].
    pub async fn new(gpu: &Gpu, timeline: Timeline, dispatches: u64) -> Result<Self> {
        use wgpu::BufferUsages as Usage;
        if !gpu.device.features().contains(super::TIMESTAMPS) {
            return Err(Error::new(ErrorKind::Unsupported, "the adapter has no timestamp queries"));
        }
        let (count, bytes) = (2 * dispatches as u32, 2 * dispatches * STAMP_BYTES);
        let mut slots = VecDeque::new();
        for _ in 0..SLOTS {
            let lease = gpu.accountant().take("timestamps", bytes)?;
            let resolved = gpu.buffer("timestamps", bytes, Usage::QUERY_RESOLVE | Usage::COPY_SRC).await?;
            let read = gpu.buffer("timestamps read", bytes, Usage::MAP_READ | Usage::COPY_DST).await?;
            let descriptor =
                wgpu::QuerySetDescriptor { label: Some("timestamps"), ty: wgpu::QueryType::Timestamp, count };
            let set = gpu.device.create_query_set(&descriptor);
            slots.push_back(Slot { set, resolved, read, _lease: lease, taken: None });
        }
        let period_s = f64::from(gpu.queue.get_timestamp_period()) * 1e-9;
        Ok(Self { device: gpu.shared_device().clone(), timeline, period_s, slots })
    }

    /// Waits until the next submit's timestamps have a place.
    ///
    /// # Errors
    /// [`ErrorKind::DeviceLost`].
    pub async fn ready(&mut self) -> Result<()> {
        let Some(taken) = self.slots.front_mut().and_then(|slot| slot.taken.take()) else { return Ok(()) };
        taken.await.map_err(|_| self.device.lost())
    }

    /// Where dispatch `index` of the submit under way leaves its times: a pass of its own, for passes' ends are what every
    /// adapter with timestamps can time.
    pub fn writes(&self, index: u32) -> Option<wgpu::ComputePassTimestampWrites<'_>> {
        Some(wgpu::ComputePassTimestampWrites {
            query_set: &self.slots.front()?.set,
            beginning_of_pass_write_index: Some(2 * index),
            end_of_pass_write_index: Some(2 * index + 1),
        })
    }

    /// Records that the times of `dispatches` are copied to where the host can read them.
    pub fn resolve(&self, encoder: &mut wgpu::CommandEncoder, dispatches: u32) {
        if let Some(slot) = self.slots.front() {
            encoder.resolve_query_set(&slot.set, stamps_of(dispatches), &slot.resolved, 0);
            let bytes = u64::from(stamps_of(dispatches).end) * STAMP_BYTES;
            encoder.copy_buffer_to_buffer(&slot.resolved, 0, &slot.read, 0, bytes);
        }
    }

    /// The submit under way was submitted as `after`; its times go to the timeline when they are there.
    pub fn submitted(&mut self, gpu: &Gpu, labels: Vec<(KernelId, Origin)>, after: wgpu::SubmissionIndex, told: Told) {
        let Some(mut slot) = self.slots.pop_front() else { return };
        let bytes = u64::from(stamps_of(labels.len() as u32).end) * STAMP_BYTES;
        let (sender, taken) = oneshot::channel();
        let (timeline, period_s, read) = (self.timeline.clone(), self.period_s, wgpu::Buffer::clone(&slot.read));
        slot.read.map_async(wgpu::MapMode::Read, ..bytes, move |result| {
            let told_s = told.now(now_s);
            if result.is_err() {
                return;
            }
            if let Ok(view) = read.get_mapped_range(..bytes) {
                timeline.add(&labels, &bytemuck::pod_collect_to_vec(&view), period_s, told_s);
            }
            read.unmap();
            // The recorder may be gone.
            let _ = sender.send(());
        });
        gpu.watch(after);
        slot.taken = Some(taken);
        self.slots.push_back(slot);
    }
}

fn stamps_of(dispatches: u32) -> Range<u32> {
    0..2 * dispatches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gpus_clock_is_set_by_the_submit_that_the_host_was_told_of_soonest() {
        let timeline = Timeline::default();
        assert!(!timeline.is_wanted());
        timeline.keep(3);
        let label = |op| (KernelId::Norm, Origin { op, ..Origin::default() });
        // The GPU's clock is 100 s behind, and the host is told 3 s, then 1 s late.
        timeline.add(&[label(0), label(1)], &[1000, 2000, 2000, 4000], 1e-3, 107.0);
        timeline.add(&[label(2), label(3)], &[6000, 7000, 7000, 6500], 1e-3, 108.0);
        let found: Vec<_> = timeline.dispatches().iter().map(|d| (d.place.op, d.begin_s, d.end_s)).collect();
        assert_eq!(found, [(1, 103.0, 105.0), (2, 107.0, 108.0), (3, 108.0, 108.0)]);
        timeline.give_up("none".to_owned());
        assert!(!timeline.is_wanted());
    }
}
