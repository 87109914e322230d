//! What happened when, in the Chrome trace format: opens in Perfetto (<https://ui.perfetto.dev>) and in `chrome://tracing`.
//!
//! The format is <https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU>: complete events ("X") with
//! begin and length in microseconds, and names of threads as metadata ("M").

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::gpu::timeline::{Dispatched, Timeline};
use crate::model::Engine;
use crate::monitor::{Interval, TileMonitor};
use crate::plan::{LayerSpec, MatrixId, Op};
use crate::stream::Stage;

/// Events kept: hours of a small model, some sweeps of the largest; a few hundred MiB where all are used.
const EVENTS: usize = 4 << 20;
/// Dispatches kept.
const DISPATCHES: usize = 1 << 20;
/// Tracks of the picture: what the engine waits for, submits and their dispatches on the GPU, uploads, and reads.
const TRACKS: [&str; 5] = ["engine waits", "GPU", "GPU dispatches", "uploads", "reads"];
const STALLS: usize = 0;
const GPU: usize = 1;
const DISPATCHED: usize = 2;
const UPLOADS: usize = 3;
const READS: usize = 4;

/// Keeps what a model's stream does, from its making on, and its dispatches from the next sweep on.
pub struct Trace {
    watch: TileMonitor,
    timeline: Timeline,
    /// What each op of each layer does.
    ops: Vec<Vec<String>>,
}

/// What a kernel did in all its dispatches.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct KernelTime {
    pub kernel: String,
    pub dispatches: u64,
    pub seconds: f64,
    /// Bytes of weights that it multiplied with.
    pub weight_bytes: u64,
}

impl Trace {
    /// Starts to keep what `engine` does.
    pub fn new(engine: &Engine) -> Self {
        let timeline = engine.timeline().clone();
        timeline.keep(DISPATCHES);
        let ops = |layer: &LayerSpec| layer.ops.iter().map(|op| name_of(op, layer)).collect();
        let ops = engine.spec().layers.iter().map(ops).collect();
        Self { watch: TileMonitor::new(engine, EVENTS), timeline, ops }
    }

    /// Why dispatches are not in the trace, where they are not.
    pub fn without_dispatches(&self) -> Option<String> {
        self.timeline.missing()
    }

    /// Seconds of the GPU by kernel, the longest first.
    pub fn kernels(&self) -> Vec<KernelTime> {
        let mut sums: HashMap<String, KernelTime> = HashMap::new();
        for dispatched in self.timeline.dispatches() {
            let kernel = format!("{:?}", dispatched.kernel);
            let sum = sums.entry(kernel.clone()).or_insert(KernelTime {
                kernel,
                dispatches: 0,
                seconds: 0.0,
                weight_bytes: 0,
            });
            sum.dispatches += 1;
            sum.seconds += dispatched.end_s - dispatched.begin_s;
            sum.weight_bytes += dispatched.place.weight_bytes;
        }
        let mut sums: Vec<_> = sums.into_values().collect();
        sums.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        sums
    }

    /// The events so far.
    pub fn to_json(&self) -> Value {
        let (mut intervals, mut dispatches) = (self.watch.intervals_until_now(), self.timeline.dispatches());
        intervals.sort_by(|a, b| a.begin_s.total_cmp(&b.begin_s));
        dispatches.sort_by(|a, b| a.begin_s.total_cmp(&b.begin_s));
        let start_s = intervals.first().map_or(0.0, |interval| interval.begin_s);
        let mut tracks = Tracks { start_s, ..Tracks::default() };
        let mut events = Vec::with_capacity(intervals.len() + dispatches.len() + 8);
        let brought = self.watch.brought();
        for interval in intervals {
            let (tiles, bytes) = brought.get(&interval.load).cloned().unwrap_or_default();
            events.push(stage_event(&interval, &mut tracks, (tiles, bytes)));
        }
        events.extend(dispatches.iter().map(|dispatched| self.dispatch_event(dispatched, &mut tracks)));
        events.extend(tracks.names().into_iter().map(|(thread, name)| {
            json!({ "ph": "M", "pid": 1, "tid": thread, "name": "thread_name", "args": { "name": name } })
        }));
        let told =
            self.without_dispatches().map_or_else(|| "timed by the GPU".to_owned(), |why| format!("none: {why}"));
        json!({ "traceEvents": events, "displayTimeUnit": "ms", "otherData": { "dispatches": told } })
    }

    fn dispatch_event(&self, dispatched: &Dispatched, tracks: &mut Tracks) -> Value {
        let place = dispatched.place;
        let (layer, op) = match self.ops.get(place.layer) {
            Some(ops) => (format!("layer {}", place.layer), ops.get(place.op).map_or("", |op| op)),
            None => ("head".to_owned(), "head"),
        };
        let tiles = match place.tiles {
            0 => String::new(),
            count => self.watch.tiles_name(place.first_tile, count),
        };
        let args = json!({ "layer": layer, "op": op, "index": place.op, "tiles": tiles, "bytes": place.weight_bytes });
        let kernel = format!("{:?}", dispatched.kernel);
        tracks.slice(DISPATCHED, (&kernel, "dispatch"), (dispatched.begin_s, dispatched.end_s), args)
    }
}

/// Slices on threads. Viewers drop a slice that overlaps another on its thread without lying within it, so that each
/// goes to a lane of its track that is free.
#[derive(Default)]
struct Tracks {
    start_s: f64,
    /// When the last slice on each lane ended, in nanoseconds since the start.
    lanes: [Vec<i64>; TRACKS.len()],
}

impl Tracks {
    /// A slice of a track, whose slices come in the order of their begins.
    fn slice(&mut self, track: usize, (name, kind): (&str, &str), (begin_s, end_s): (f64, f64), args: Value) -> Value {
        // Viewers count in whole nanoseconds; rounded once, a slice does not reach into the next.
        let [begin, end] = [begin_s, end_s].map(|time_s| ((time_s - self.start_s) * 1e9).round() as i64);
        let lane = lane(&mut self.lanes[track], begin, end);
        json!({
            "ph": "X", "pid": 1, "tid": thread(track, lane), "name": name, "cat": kind,
            "ts": begin as f64 / 1e3, "dur": (end - begin) as f64 / 1e3, "args": args,
        })
    }

    /// The threads, with their names.
    fn names(&self) -> Vec<(usize, String)> {
        let name = |track: usize, lane: usize| match (track, lane) {
            (READS, lane) => format!("{} {lane}", TRACKS[track]),
            (_, 0) => TRACKS[track].to_owned(),
            (_, lane) => format!("{} {}", TRACKS[track], lane + 1),
        };
        let lanes = self.lanes.iter().enumerate();
        lanes
            .flat_map(|(track, lanes)| (0..lanes.len()).map(move |lane| (thread(track, lane), name(track, lane))))
            .collect()
    }
}

/// Threads are shown in the order of their numbers: the first lanes of all tracks, then the second ones.
fn thread(track: usize, lane: usize) -> usize {
    lane * TRACKS.len() + track
}

/// What an op does: the matrices it multiplies with, or its kind.
fn name_of(op: &Op, layer: &LayerSpec) -> String {
    let matrix = |weight: MatrixId| layer.matrices[usize::from(weight.0)].name.as_str();
    match op {
        Op::MatMul { parts, .. } => {
            return parts.iter().map(|part| matrix(part.weight)).collect::<Vec<_>>().join(" + ");
        }
        Op::MatMulTransposed { weight, .. } => return matrix(*weight).to_owned(),
        _ => {}
    }
    let all = format!("{op:?}");
    let kind = all.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default();
    kind.to_lowercase()
}

fn stage_event(interval: &Interval, tracks: &mut Tracks, (tiles, bytes): (String, u64)) -> Value {
    let Interval { stage, sweep, load, begin_s, end_s } = *interval;
    let (track, name) = match stage {
        Stage::Stall => (STALLS, "wait for a read"),
        Stage::Compute => (GPU, "compute"),
        Stage::Upload => (UPLOADS, "upload"),
        Stage::Read => (READS, "read"),
    };
    let args = json!({ "sweep": sweep, "load": load, "tiles": tiles, "bytes": bytes });
    tracks.slice(track, (name, name), (begin_s, end_s), args)
}

/// The first lane that is free at `begin`; it is taken until `end`.
fn lane(lanes: &mut Vec<i64>, begin: i64, end: i64) -> usize {
    let free = lanes.iter().position(|busy_to| *busy_to <= begin);
    let lane = free.unwrap_or_else(|| {
        lanes.push(i64::MIN);
        lanes.len() - 1
    });
    lanes[lane] = end;
    lane
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_at_the_same_time_lie_on_lanes_of_their_own() {
        let mut lanes = Vec::new();
        let spans = [(0, 20), (10, 30), (20, 40), (25, 30), (30, 50)];
        assert_eq!(spans.map(|(begin, end)| lane(&mut lanes, begin, end)), [0, 1, 0, 2, 1]);
        // A begin before the start is one too.
        assert_eq!(lane(&mut Vec::new(), -5, 3), 0);
    }

    #[test]
    fn a_slice_ends_before_the_next_begins_whatever_is_rounded() {
        let mut tracks = Tracks { start_s: 987.654_321_012, ..Tracks::default() };
        let mut last = i64::MIN;
        for index in 0..10_000 {
            let at = |index: i32| 987.654_321_012 + f64::from(index) * 1.234e-4;
            let slice = tracks.slice(GPU, ("a", "a"), (at(index), at(index + 1)), Value::Null);
            let nanoseconds = |name: &str| (slice[name].as_f64().expect("a number") * 1e3).round() as i64;
            assert_eq!(slice["tid"], GPU);
            assert!(nanoseconds("ts") >= last, "{slice}");
            last = nanoseconds("ts") + nanoseconds("dur");
        }
    }
}
