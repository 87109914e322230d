//! Splits that are stopped at any moment, run out of space, or find something else in their folder.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use pollster::block_on;

use super::tests::{go, objects, options, split_to};
use super::*;
use crate::encoding::Encoding;
use crate::shard::testing::{Fault, FaultyOriginals, FaultySink, checkpoint, spec};
use crate::shard::{MANIFEST, Progress, verify};
use crate::store::MemoryStore;

/// Operations of an undisturbed split.
fn operations() -> u64 {
    let store = MemoryStore::new();
    let sink = FaultySink::new(&store, Fault::Kill, u64::MAX);
    split_to(&sink, &options(Weights::Original)).expect("split");
    u64::MAX - sink.left()
}

/// What lies in a stopped sink is either whole (byte for byte as in the undisturbed model) or not under a final name.
fn check_stopped(stopped: &MemoryStore, golden: &BTreeMap<String, Vec<u8>>, context: &str) {
    for (name, bytes) in objects(stopped) {
        if !name.ends_with(".part") && !name.contains("journal") {
            assert!(golden.get(&name) == Some(&bytes), "{context}: {name} is not as it must be");
        }
    }
    if stopped.get(MANIFEST).is_some() {
        assert!(block_on(verify(stopped, &mut go)).expect("readable").is_empty(), "{context}: looks whole and is not");
    }
}

#[test]
fn a_split_stopped_at_any_moment_is_finished_by_the_next() {
    let golden = MemoryStore::new();
    split_to(&golden, &options(Weights::Original)).expect("split");
    let golden = objects(&golden);
    let total = operations();
    assert!(total > 60, "{total} operations");
    for fault in [Fault::Kill, Fault::Full] {
        for working in 0..total {
            let context = format!("{fault:?} after {working}");
            let store = MemoryStore::new();
            let result = split_to(&FaultySink::new(&store, fault, working), &options(Weights::Original));
            if let (Fault::Full, Err(error)) = (fault, &result) {
                assert_eq!(error.kind(), ErrorKind::NoSpace, "{context}");
                assert!(objects(&store).keys().all(|name| !name.ends_with(".part")), "{context}: parts are left");
            }
            assert!(result.is_err() || fault == Fault::Full, "{context}: went on");
            check_stopped(&store, &golden, &context);
            // Stopped once more on the way, at another place.
            let _ = split_to(&FaultySink::new(&store, fault, working / 2 + 3), &options(Weights::Original));
            check_stopped(&store, &golden, &context);
            split_to(&store, &options(Weights::Original)).expect("finishes");
            assert!(objects(&store) == golden, "{context}: the result differs");
        }
    }
}

#[test]
fn originals_are_deleted_only_when_the_next_run_can_do_without() {
    let golden = MemoryStore::new();
    split_to(&golden, &options(Weights::Original)).expect("split");
    let golden = objects(&golden);
    let (mut working, mut resumed_without) = (0, 0);
    loop {
        let (source, table) = checkpoint(false, Encoding::BF16);
        let store = MemoryStore::new();
        let faulty = FaultySink::new(&store, Fault::Kill, working);
        let originals = FaultyOriginals { store: &source, sink: &faulty };
        let options = SplitOptions { originals: Some(&originals), ..options(Weights::Original) };
        let result = block_on(split(&table, &spec(false), &source, &faulty, &options, &mut go));
        check_stopped(&store, &golden, &format!("killed after {working}"));
        let deleted = block_on(source.list()).expect("listed").len() < 2;
        if result.is_ok() {
            assert!(block_on(source.list()).expect("listed").is_empty(), "all originals are gone");
            break;
        }
        // The table of the checkpoint can no longer be read from files that are gone.
        if store.get("split.journal.json").is_none() && store.get(MANIFEST).is_some() {
            working += 1;
            continue; // Whole, as was checked above.
        }
        let table = if deleted {
            resumed_without += 1;
            assert!(block_on(has_deleted(&store)).expect("readable"), "killed after {working}");
            block_on(saved_checkpoint(&store)).expect("readable").expect("kept")
        } else {
            table
        };
        let options = SplitOptions { originals: Some(&source), ..self::options(Weights::Original) };
        block_on(split(&table, &spec(false), &source, &store, &options, &mut go)).expect("finishes");
        assert!(objects(&store) == golden, "killed after {working}: the result differs");
        assert!(block_on(source.list()).expect("listed").is_empty());
        working += 1;
    }
    assert!(resumed_without > 5, "only {resumed_without} runs had to continue without an original");
}

#[test]
fn a_split_that_has_deleted_is_not_started_over() {
    let (source, table) = checkpoint(false, Encoding::BF16);
    let store = MemoryStore::new();
    let options = SplitOptions { originals: Some(&source), ..options(Weights::Original) };
    let mut stop_when_deleted = |_: Progress<'_>| {
        if block_on(source.list()).is_ok_and(|names| names.len() < 2) { ControlFlow::Break(()) } else { go_on() }
    };
    let result = block_on(split(&table, &spec(false), &source, &store, &options, &mut stop_when_deleted));
    assert_eq!(result.expect_err("stopped").kind(), ErrorKind::Cancelled);
    let before = objects(&store);
    let error = split_to(&store, &self::options(Weights::Q8)).expect_err("the only copy");
    assert_eq!(error.kind(), ErrorKind::Argument);
    assert!(objects(&store) == before, "nothing was touched");
}

fn go_on() -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn other_options_or_other_content_start_over() {
    let golden = |weights| {
        let sink = MemoryStore::new();
        split_to(&sink, &options(weights)).expect("split");
        objects(&sink)
    };
    let (original, q8) = (golden(Weights::Original), golden(Weights::Q8));
    let store = MemoryStore::new();
    let _ = split_to(&FaultySink::new(&store, Fault::Kill, 40), &options(Weights::Original));
    split_to(&store, &options(Weights::Q8)).expect("starts over");
    assert!(objects(&store) == q8);

    // Another fine-tune: the same names, shapes and lengths.
    let store = MemoryStore::new();
    let (source, table) = checkpoint(false, Encoding::BF16);
    let other: MemoryStore = objects(&source)
        .into_iter()
        .map(|(name, bytes)| (name, bytes.chunks(2).flat_map(|pair| [pair[0] ^ 1, pair[1]]).collect()))
        .collect();
    let faulty = FaultySink::new(&store, Fault::Kill, 40);
    let _ = block_on(split(&table, &spec(false), &other, &faulty, &options(Weights::Original), &mut go));
    assert!(store.get("embeddings.safetensors").is_some(), "something was finished");
    split_to(&store, &options(Weights::Original)).expect("starts over");
    assert!(objects(&store) == original);
}

#[test]
fn foreign_files_and_other_models_are_refused_and_untouched() {
    let store = MemoryStore::new();
    store.insert("notes.txt", b"mine".to_vec());
    let error = split_to(&store, &options(Weights::Original)).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Argument);
    assert!(error.to_string().contains("notes.txt"), "{error}");
    assert_eq!(objects(&store).len(), 1);

    let store = MemoryStore::new();
    store.insert(".DS_Store", Vec::new());
    split_to(&store, &options(Weights::Original)).expect("split");
    let before = objects(&store);
    split_to(&store, &options(Weights::Original)).expect("the same split is done already");
    let error = split_to(&store, &options(Weights::Q8)).expect_err("another model lies there");
    assert_eq!(error.kind(), ErrorKind::Argument);
    assert!(objects(&store) == before);
}

#[test]
fn a_damaged_file_of_a_stopped_split_is_made_again() {
    let golden = MemoryStore::new();
    split_to(&golden, &options(Weights::Original)).expect("split");
    let golden = objects(&golden);
    for name in ["embeddings.safetensors", "embeddings.safetensors.sums", "tokenizer.json"] {
        let store = MemoryStore::new();
        let _ = split_to(&FaultySink::new(&store, Fault::Kill, 45), &options(Weights::Original));
        let mut bytes = store.get(name).expect("finished before the fault");
        bytes[5] ^= 1;
        store.insert(name, bytes);
        split_to(&store, &options(Weights::Original)).expect("finishes");
        assert!(objects(&store) == golden, "{name}");
    }
}

#[test]
fn a_journal_that_nobody_wrote_removes_nothing() {
    for journal in [
        "",
        "{",
        "[]",
        r#"{"version":1,"options":null,"checkpoint":null,"samples":{},"files":["notes.txt"],"deleting":false}"#,
        r#"{"version":1,"options":null,"checkpoint":null,"samples":{},"files":["../x.safetensors"],"deleting":false}"#,
    ] {
        let store = MemoryStore::new();
        store.insert("split.journal.json", journal.as_bytes().to_vec());
        store.insert("notes.txt", b"mine".to_vec());
        assert!(split_to(&store, &options(Weights::Original)).is_err());
        assert_eq!(objects(&store).len(), 2, "{journal}");
    }
}

#[test]
fn progress_reaches_its_total_and_can_stop() {
    let (source, table) = checkpoint(false, Encoding::BF16);
    let sink = MemoryStore::new();
    let mut last = (0, 0);
    let mut watch = |progress: Progress<'_>| {
        assert!(progress.done_bytes >= last.0 && progress.done_bytes <= progress.total_bytes);
        last = (progress.done_bytes, progress.total_bytes);
        ControlFlow::Continue(())
    };
    block_on(split(&table, &spec(false), &source, &sink, &options(Weights::Original), &mut watch)).expect("split");
    assert!(last.1 > 0 && last.0 > last.1 / 2, "{last:?}");

    let store = MemoryStore::new();
    let mut stop = |_: Progress<'_>| ControlFlow::Break(());
    let result = block_on(split(&table, &spec(false), &source, &store, &options(Weights::Original), &mut stop));
    assert_eq!(result.expect_err("stopped").kind(), ErrorKind::Cancelled);
    assert!(store.get(MANIFEST).is_none());
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let try_with = |available: u64, deletes: bool| {
        let (source, table) = checkpoint(false, Encoding::BF16);
        let store = MemoryStore::new();
        let mut sink = FaultySink::new(&store, Fault::Full, u64::MAX);
        sink.available = Some(available);
        let originals = deletes.then_some(&source as &dyn Originals);
        let options = SplitOptions { originals, ..options(Weights::Original) };
        let result = block_on(split(&table, &spec(false), &source, &sink, &options, &mut go));
        if let Err(error) = &result {
            assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
            assert!(objects(&store).is_empty(), "nothing is left behind");
        }
        result.is_ok()
    };
    let least = |deletes| {
        let (mut low, mut high) = (0, 1 << 30);
        while low + 1 < high {
            let middle = (low + high) / 2;
            if try_with(middle, deletes) { high = middle } else { low = middle }
        }
        high
    };
    let sink = MemoryStore::new();
    let manifest = split_to(&sink, &options(Weights::Original)).expect("split");
    let size: u64 = manifest.files.iter().map(|file| file.len_bytes).sum();
    let (keeping, deleting) = (least(false), least(true));
    assert!(keeping > size && keeping < size + (5 << 20), "{keeping} for {size}");
    assert!(deleting < keeping - size / 4, "deleting as it goes needs {deleting}, keeping {keeping}");
}
