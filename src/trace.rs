//! What happened when, in the Chrome trace format: opens in Perfetto (<https://ui.perfetto.dev>) and in `chrome://tracing`.
//!
//! The format is <https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU>: complete events ("X") with
//! begin and length in microseconds, and names of threads as metadata ("M").

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::gpu::timeline::{Dispatched, Timeline};
use crate::model::Engine;
use crate::plan::{LayerSpec, MatrixId, Op};
use crate::stream::Stage;
use crate::watch::{Interval, StreamWatch};

/// Events kept: hours of a small model, some sweeps of the largest; a few hundred MiB where all are used.
const EVENTS: usize = 4 << 20;
/// Dispatches kept.
const DISPATCHES: usize = 1 << 20;
/// Threads of the picture: what the engine waits for, submits and their dispatches on the GPU, and reads on as many lines as
/// there are at once.
const STALLS: usize = 0;
const GPU: usize = 1;
const DISPATCHED: usize = 2;
const UPLOADS: usize = 3;
const READS: usize = 4;

/// Keeps what a model's stream does, from its making on, and its dispatches from the next sweep on.
pub struct Trace {
    watch: StreamWatch,
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
        Self { watch: StreamWatch::new(engine, EVENTS), timeline, ops }
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
        let mut intervals = self.watch.intervals_until_now();
        intervals.sort_by(|a, b| a.begin_s.total_cmp(&b.begin_s));
        let dispatches = self.timeline.dispatches();
        let start_s = intervals.first().map_or(0.0, |interval| interval.begin_s);
        // When the last read on each line ended.
        let mut lines: Vec<f64> = Vec::new();
        let mut events = Vec::with_capacity(intervals.len() + dispatches.len() + 8);
        let brought = self.watch.brought();
        for interval in intervals {
            let (tiles, bytes) = brought.get(&interval.load).cloned().unwrap_or_default();
            events.push(stage_event(&interval, start_s, &mut lines, (tiles, bytes)));
        }
        events.extend(dispatches.iter().map(|dispatched| self.dispatch_event(dispatched, start_s)));
        let reads = (0..lines.len()).map(|line| (READS + line, format!("reads {line}")));
        let fixed = [(STALLS, "engine waits"), (GPU, "GPU"), (DISPATCHED, "GPU dispatches"), (UPLOADS, "uploads")];
        let names = fixed.into_iter().map(|(thread, name)| (thread, name.to_owned())).chain(reads);
        events.extend(names.map(|(thread, name)| {
            json!({ "ph": "M", "pid": 1, "tid": thread, "name": "thread_name", "args": { "name": name } })
        }));
        let told =
            self.without_dispatches().map_or_else(|| "timed by the GPU".to_owned(), |why| format!("none: {why}"));
        json!({ "traceEvents": events, "displayTimeUnit": "ms", "otherData": { "dispatches": told } })
    }

    fn dispatch_event(&self, dispatched: &Dispatched, start_s: f64) -> Value {
        let place = dispatched.place;
        let (layer, op) = match self.ops.get(place.layer) {
            Some(ops) => (format!("layer {}", place.layer), ops.get(place.op).map_or("", |op| op)),
            None => ("head".to_owned(), "head"),
        };
        let tiles = match place.tiles {
            0 => String::new(),
            count => self.watch.tiles_name(place.first_tile, count),
        };
        let kernel = format!("{:?}", dispatched.kernel);
        json!({
            "ph": "X", "pid": 1, "tid": DISPATCHED, "name": kernel, "cat": "dispatch",
            "ts": (dispatched.begin_s - start_s) * 1e6, "dur": (dispatched.end_s - dispatched.begin_s) * 1e6,
            "args": { "layer": layer, "op": op, "index": place.op, "tiles": tiles, "bytes": place.weight_bytes },
        })
    }
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

fn stage_event(interval: &Interval, start_s: f64, lines: &mut Vec<f64>, (tiles, bytes): (String, u64)) -> Value {
    let Interval { stage, sweep, load, begin_s, end_s } = *interval;
    let (thread, name) = match stage {
        Stage::Stall => (STALLS, "wait for a read"),
        Stage::Compute => (GPU, "compute"),
        Stage::Upload => (UPLOADS, "upload"),
        Stage::Read => (READS + line(lines, begin_s, end_s), "read"),
    };
    json!({
        "ph": "X", "pid": 1, "tid": thread, "name": name, "cat": name,
        "ts": (begin_s - start_s) * 1e6, "dur": (end_s - begin_s) * 1e6,
        "args": { "sweep": sweep, "load": load, "tiles": tiles, "bytes": bytes },
    })
}

/// The first line that is free at `begin_s`; it is taken until `end_s`.
fn line(lines: &mut Vec<f64>, begin_s: f64, end_s: f64) -> usize {
    let free = lines.iter().position(|busy_to| *busy_to <= begin_s);
    let line = free.unwrap_or_else(|| {
        lines.push(0.0);
        lines.len() - 1
    });
    lines[line] = end_s;
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_at_the_same_time_lie_on_lines_of_their_own() {
        let mut lines = Vec::new();
        let spans = [(0.0, 2.0), (1.0, 3.0), (2.0, 4.0), (2.5, 3.0), (3.0, 5.0)];
        assert_eq!(spans.map(|(begin, end)| line(&mut lines, begin, end)), [0, 1, 0, 2, 1]);
    }
}
