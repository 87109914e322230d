//! Traces: every read, upload, wait and dispatch, with its tiles, in a form that viewers open.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::common::{Files, block_on, engine_config, gpu, open, smallest, split_family, split_small};
use serde_json::Value;
use tilestream::Trace;
use tilestream::internals::gpu::timeline::Dispatched;
use tilestream::internals::model::Engine;
use tilestream::internals::model::batch::{self, Sequence};
use tilestream::internals::model::inputs::Want;
use tilestream::internals::model::memory::EngineConfig;
use tilestream::internals::model::readback::Output;

const SWEEPS: usize = 3;

/// An engine at the smallest budget, so that tiles travel.
async fn tight(files: &Files) -> Engine {
    let config = EngineConfig { kv_pages: 2, rows: Some(2), ..engine_config() };
    let budget_bytes = smallest(files, &config).await;
    open(files, gpu(budget_bytes).await, EngineConfig { budget_bytes, ..config }).await.expect("loads")
}

/// A prompt of two tokens and then one at a time; what comes last.
async fn run(engine: &mut Engine) -> Vec<Option<Output>> {
    let mut sequence = Sequence::new(vec![1, 2]);
    assert!(engine.kv().reserve(&mut sequence.state, 16));
    let mut last = Vec::new();
    for id in 0..SWEEPS as u32 {
        last = batch::sweep(engine, &mut [&mut sequence], Want::Logits).await.expect("sweeps");
        sequence.ids.push(id + 3);
    }
    last
}

/// The events of a kind, after each was checked against the format.
fn events<'a>(trace: &'a Value, kind: &str) -> Vec<&'a Value> {
    let events = trace["traceEvents"].as_array().expect("events");
    for event in events {
        assert!(event["pid"].is_u64() && event["tid"].is_u64() && event["name"].is_string(), "{event}");
        match event["ph"].as_str() {
            Some("X") => {
                assert!(event["ts"].is_f64() && event["dur"].as_f64().is_some_and(|dur| dur >= 0.0), "{event}")
            }
            Some("M") => assert!(event["name"] == "thread_name" && event["args"]["name"].is_string(), "{event}"),
            _ => panic!("{event}"),
        }
    }
    events.iter().filter(|event| event["cat"] == kind).collect()
}

fn span(event: &Value) -> (f64, f64) {
    let begin = event["ts"].as_f64().expect("a number");
    (begin, begin + event["dur"].as_f64().expect("a number"))
}

/// On a thread a slice begins when the one before has ended: viewers drop others.
fn check_threads(trace: &Value) {
    let nanoseconds = |event: &Value, name: &str| (event[name].as_f64().expect("a number") * 1e3).round() as i64;
    let mut threads: BTreeMap<(u64, u64), Vec<(i64, i64)>> = BTreeMap::new();
    for event in trace["traceEvents"].as_array().expect("events").iter().filter(|event| event["ph"] == "X") {
        let (begin, length) = (nanoseconds(event, "ts"), nanoseconds(event, "dur"));
        let thread = (event["pid"].as_u64().expect("a number"), event["tid"].as_u64().expect("a number"));
        threads.entry(thread).or_default().push((begin, begin + length));
    }
    for (thread, mut slices) in threads {
        slices.sort_unstable();
        assert!(slices.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{thread:?}: {slices:?}");
    }
}

/// Dispatches lie where the GPU's queue was at work, one after the other, and name what they did. The host is told of a
/// submit's end a little late, so that the first dispatches of the next lie before that.
fn check_dispatches(json: &Value) {
    let dispatches = events(json, "dispatch");
    let mut queue: Vec<_> = ["compute", "upload"].iter().flat_map(|kind| events(json, kind)).map(span).collect();
    queue.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut at_work: Vec<(f64, f64)> = Vec::new();
    for (begin, end) in queue {
        match at_work.last_mut() {
            Some(last) if begin <= last.1 + 0.01 => last.1 = last.1.max(end),
            _ => at_work.push((begin, end)),
        }
    }
    let mut sum = 0.0;
    for event in &dispatches {
        let (begin, end) = span(event);
        // A nanosecond and what rounding loses.
        let within = at_work.iter().any(|(from, to)| *from <= begin + 0.01 && end <= *to + 0.01);
        assert!(within, "{event} lies in no submit");
        assert!(event["args"]["layer"].is_string() && event["args"]["op"] != "", "{event}");
        sum += end - begin;
    }
    let longest: f64 = at_work.iter().map(|(from, to)| to - from).sum();
    assert!(sum > 0.0 && sum <= longest, "{sum} µs of dispatches in {longest} µs of submits");
}

/// Every op of every layer was dispatched, and every tile of a dense matrix once in each sweep.
fn check_cover(engine: &Engine, dispatches: &[Dispatched]) {
    let spec = engine.spec();
    let found: BTreeSet<_> =
        dispatches.iter().map(|dispatched| (dispatched.place.layer, dispatched.place.op)).collect();
    for (layer, ops) in spec.layers.iter().enumerate() {
        for (op, what) in ops.ops.iter().enumerate() {
            let on_host = format!("{what:?}").starts_with("Route");
            assert!(on_host || found.contains(&(layer, op)), "op {op} of layer {layer}, {what:?}, is not there");
        }
    }
    assert!(found.contains(&(spec.layers.len(), 0)), "the head is not there");
    if spec.layers.iter().all(|layer| layer.experts.is_none()) {
        let used: usize = dispatches.iter().map(|dispatched| dispatched.place.tiles).sum();
        // One tile a layer, and one of the head, holds vectors.
        let matrices = engine.tiles().0.len() - spec.layers.len() - 1;
        assert_eq!(used, SWEEPS * matrices);
    }
}

async fn check(files: Files) {
    let plain = run(&mut tight(&files).await).await;
    let started = Instant::now();
    let mut engine = tight(&files).await;
    let trace = Trace::new(&engine);
    let traced = run(&mut engine).await;
    assert_eq!(traced, plain, "the same bits");
    let used = engine.gpu().accountant().peak_bytes();
    assert!(used <= engine.gpu().accountant().cap_bytes());
    let json = trace.to_json();
    check_threads(&json);
    let (wall_s, figures) = (started.elapsed().as_secs_f64(), engine.profile().figures());
    let busy = [figures.read_busy_s, figures.upload_busy_s + figures.compute_busy_s, figures.stall_s];
    assert!(busy.iter().all(|busy_s| *busy_s <= wall_s), "{busy:?} s of work in {wall_s} s");
    for kind in ["read", "upload", "wait for a read"] {
        for event in events(&json, kind) {
            let args = &event["args"];
            assert!(args["tiles"] != "" && args["bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{event}");
        }
    }
    assert!(events(&json, "read").len() > SWEEPS);
    let has_stamps = engine.gpu().device.features().contains(wgpu::Features::TIMESTAMP_QUERY);
    assert_eq!(trace.without_dispatches().is_none(), has_stamps);
    let told = json["otherData"]["dispatches"].as_str().expect("told");
    assert_eq!(told.starts_with("none"), !has_stamps, "{told}");
    if !has_stamps {
        println!("this adapter has no timestamps: no dispatches to check");
        return;
    }
    check_dispatches(&json);
    let dispatches = engine.timeline().dispatches();
    check_cover(&engine, &dispatches);
    let kernels = trace.kernels();
    assert_eq!(kernels.iter().map(|kernel| kernel.dispatches).sum::<u64>(), dispatches.len() as u64);
}

#[test]
fn a_dense_models_dispatches_stand_in_its_trace() {
    block_on(async { check(split_small("gqa", "config.json").await).await });
}

#[test]
fn experts_dispatches_stand_in_the_trace() {
    block_on(async { check(split_family("mixtral").await.expect("splits")).await });
}
