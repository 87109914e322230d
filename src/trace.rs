//! What happened when, in the Chrome trace format: opens in Perfetto (<https://ui.perfetto.dev>) and in `chrome://tracing`.
//!
//! The format is <https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU>: complete events ("X") with
//! begin and length in microseconds, and names of threads as metadata ("M").

use serde_json::{Value, json};

use crate::model::Engine;
use crate::stream::Stage;
use crate::watch::{Interval, StreamWatch};

/// Events kept: hours of a small model, some sweeps of the largest; a few hundred MiB where all are used.
const EVENTS: usize = 4 << 20;
/// Threads of the picture: what the engine waits for, the GPU, and reads on as many lines as there are at once.
const STALLS: usize = 0;
const GPU: usize = 1;
const UPLOADS: usize = 2;
const READS: usize = 3;

/// Keeps what a model's stream does, from its making on.
pub struct Trace(StreamWatch);

impl Trace {
    pub(crate) fn new(engine: &Engine) -> Self {
        Self(StreamWatch::new(engine, EVENTS))
    }

    /// The events so far.
    pub fn to_json(&self) -> Value {
        let brought = self.0.brought();
        let mut intervals = self.0.intervals();
        intervals.sort_by(|a, b| a.begin_s.total_cmp(&b.begin_s));
        let start_s = intervals.first().map_or(0.0, |interval| interval.begin_s);
        // When the last read on each line ended.
        let mut lines: Vec<f64> = Vec::new();
        let mut events = Vec::with_capacity(intervals.len() + 8);
        for Interval { stage, sweep, load, begin_s, end_s } in intervals {
            let thread = match stage {
                Stage::Stall => STALLS,
                Stage::Compute => GPU,
                Stage::Upload => UPLOADS,
                Stage::Read => READS + line(&mut lines, begin_s, end_s),
            };
            let (tiles, bytes) = brought.get(&load).cloned().unwrap_or_default();
            let name = match stage {
                Stage::Stall => "wait for a read",
                Stage::Compute => "compute",
                Stage::Upload => "upload",
                Stage::Read => "read",
            };
            events.push(json!({
                "ph": "X", "pid": 1, "tid": thread, "name": name, "cat": name,
                "ts": (begin_s - start_s) * 1e6, "dur": (end_s - begin_s) * 1e6,
                "args": { "sweep": sweep, "load": load, "tiles": tiles, "bytes": bytes },
            }));
        }
        let reads = (0..lines.len()).map(|line| (READS + line, format!("reads {line}")));
        let fixed = [(STALLS, "engine waits"), (GPU, "GPU"), (UPLOADS, "uploads")];
        let names = fixed.into_iter().map(|(thread, name)| (thread, name.to_owned())).chain(reads);
        events.extend(names.map(|(thread, name)| {
            json!({ "ph": "M", "pid": 1, "tid": thread, "name": "thread_name", "args": { "name": name } })
        }));
        json!({ "traceEvents": events, "displayTimeUnit": "ms" })
    }
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
