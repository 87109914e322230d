//! A split onto a finished model that was damaged.

use std::sync::Mutex;

use pollster::block_on;

use super::tests::{go, objects, options, split_to};
use super::*;
use crate::encoding::Encoding;
use crate::shard::testing::{Fault, FaultySink, checkpoint, spec};
use crate::shard::{MANIFEST, verify};
use crate::store::MemoryStore;

/// What can happen to a file: `None` deletes it.
type Damage = (&'static str, fn(Vec<u8>) -> Option<Vec<u8>>);

const DAMAGES: [Damage; 7] = [
    ("flipped", |mut bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        Some(bytes)
    }),
    ("truncated", |bytes| Some(bytes[..bytes.len() / 2].to_vec())),
    ("emptied", |_| Some(Vec::new())),
    ("deleted", |_| None),
    ("longer", |mut bytes| {
        bytes.push(0);
        Some(bytes)
    }),
    ("zeroed", |bytes| Some(vec![0; bytes.len()])),
    ("garbage", |bytes| Some(vec![b'x'; bytes.len()])),
];

/// Splits onto what lies in `store`; what was told on the way.
fn split_again(store: &dyn ModelSink) -> Result<Vec<String>> {
    let told = Mutex::new(Vec::new());
    let tell = |text: &str| told.lock().expect("no panic").push(text.to_owned());
    let (source, table) = checkpoint(false, Encoding::BF16);
    let options = SplitOptions { tell: Some(&tell), ..options(Weights::Original) };
    block_on(split(&table, &spec(false), &source, store, &options, &mut go))?;
    Ok(told.into_inner().expect("no panic"))
}

/// A finished model, damaged.
fn damaged(golden: &BTreeMap<String, Vec<u8>>, name: &str, damage: Damage) -> MemoryStore {
    let store: MemoryStore = golden.clone().into_iter().filter(|(other, _)| other != name).collect();
    if let Some(bytes) = damage.1(golden[name].clone()) {
        store.insert(name, bytes);
    }
    store
}

#[test]
fn every_damage_of_every_file_is_found_and_made_good() {
    let golden = MemoryStore::new();
    split_to(&golden, &options(Weights::Original)).expect("split");
    assert_eq!(split_again(&golden).expect("whole"), Vec::<String>::new(), "nothing to tell");
    let golden = objects(&golden);
    for name in golden.keys() {
        for damage in DAMAGES {
            let context = format!("{name} {}", damage.0);
            let store = damaged(&golden, name, damage);
            let told = split_again(&store).expect("made good");
            assert!(objects(&store) == golden, "{context}: not as before");
            let [told] = &told[..] else { panic!("{context}: {told:?}") };
            let file = name.strip_suffix(".sums").unwrap_or(name);
            assert!(told.contains(file) && told.contains("again"), "{context}: {told}");
            // A manifest tells whose files these are: only what is bad is written.
            if name != MANIFEST {
                assert!(told.starts_with("1 file was damaged"), "{context}: {told}");
            }
        }
    }
}

#[test]
fn a_repair_that_is_stopped_is_finished_by_the_next() {
    let golden = MemoryStore::new();
    split_to(&golden, &options(Weights::Original)).expect("split");
    let golden = objects(&golden);
    let name = "layer-00001.safetensors";
    for working in 0.. {
        let store = damaged(&golden, name, DAMAGES[0]);
        let stopped = split_to(&FaultySink::new(&store, Fault::Kill, working), &options(Weights::Original)).is_err();
        if store.get(MANIFEST).is_some() && store.get(name) == golden.get(name).cloned() {
            assert!(block_on(verify(&store, &mut go)).expect("readable").is_empty(), "after {working}");
        }
        split_again(&store).expect("finishes");
        assert!(objects(&store) == golden, "after {working}");
        if !stopped {
            assert!(working > 8, "only {working} operations");
            return;
        }
    }
}

#[test]
fn files_that_nothing_tells_the_source_of_are_not_kept() {
    let golden = MemoryStore::new();
    split_to(&golden, &options(Weights::Original)).expect("split");
    let golden = objects(&golden);
    // A fine-tune: the same names, shapes and lengths, and its own tables. Its manifest is gone, or cannot be read.
    let (source, table) = checkpoint(false, Encoding::BF16);
    let tuned: MemoryStore = objects(&source)
        .into_iter()
        .map(|(name, bytes)| (name, bytes.chunks(2).flat_map(|pair| [pair[0] ^ 1, pair[1]]).collect()))
        .collect();
    for manifest in [None, Some(b"{".to_vec()), Some(Vec::new())] {
        let store = MemoryStore::new();
        block_on(split(&table, &spec(false), &tuned, &store, &options(Weights::Original), &mut go)).expect("split");
        match manifest {
            None => block_on(ModelSink::remove(&store, MANIFEST)).expect("removed"),
            Some(bytes) => store.insert(MANIFEST, bytes),
        }
        split_again(&store).expect("made anew");
        assert!(objects(&store) == golden, "a mixed model");
    }

    // The manifest of another model is not written over, though it be damaged.
    let store = MemoryStore::new();
    block_on(split(&table, &spec(false), &tuned, &store, &options(Weights::Original), &mut go)).expect("split");
    let text = String::from_utf8(store.get(MANIFEST).expect("written")).expect("text");
    store.insert(MANIFEST, text.replacen("\"tiny\"", "\"tinY\"", 1).into_bytes());
    let before = objects(&store);
    let error = split_again(&store).expect_err("another model");
    assert!(error.to_string().contains("another model"), "{error}");
    assert!(objects(&store) == before, "untouched");
}

#[test]
fn a_file_with_a_table_of_its_own_is_not_the_one_that_the_manifest_knows() {
    let golden = MemoryStore::new();
    split_to(&golden, &options(Weights::Original)).expect("split");
    let golden = objects(&golden);
    let store: MemoryStore = golden.clone().into_iter().collect();
    let name = "layer-00000.safetensors";
    let mut bytes = golden[name].clone();
    *bytes.last_mut().expect("not empty") ^= 1;
    let mut sums = crate::shard::SumsWriter::new();
    sums.update(&bytes);
    store.insert(crate::shard::sums_name(name), sums.finish(name).0);
    store.insert(name, bytes);
    assert_eq!(split_again(&store).expect("made good").len(), 1);
    assert!(objects(&store) == golden);
}

#[test]
fn a_source_that_is_written_to_while_it_is_split_makes_no_model() {
    use crate::store::FileStore;
    use std::fs;
    let (source, table) = checkpoint(false, Encoding::BF16);
    let golden = |bytes: &BTreeMap<String, Vec<u8>>| {
        let (store, source): (_, MemoryStore) = (MemoryStore::new(), bytes.clone().into_iter().collect());
        block_on(split(&table, &spec(false), &source, &store, &options(Weights::Original), &mut go)).expect("split");
        objects(&store)
    };
    let old = objects(&source);
    // Another fine-tune: only one weight differs, far from what samples look at.
    let mut new = old.clone();
    new.get_mut("b.safetensors").expect("there")[0] ^= 1;
    for replace in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        old.iter().for_each(|(name, bytes)| fs::write(path(name), bytes).expect("written"));
        let (source, sink) = (FileStore::open(folder.path()).expect("opened"), MemoryStore::new());
        let mut written = false;
        let mut overwrite = |_: crate::shard::Progress<'_>| {
            if !std::mem::replace(&mut written, true) {
                // The clock of a file system may tick no faster than this.
                std::thread::sleep(std::time::Duration::from_millis(12));
                if replace {
                    fs::remove_file(path("b.safetensors")).expect("removed");
                }
                fs::write(path("b.safetensors"), &new["b.safetensors"]).expect("written");
            }
            std::ops::ControlFlow::Continue(())
        };
        let options = options(Weights::Original);
        let error = block_on(split(&table, &spec(false), &source, &sink, &options, &mut overwrite)).expect_err("mixed");
        assert!(error.to_string().contains("b.safetensors: was written to or replaced"), "{error}");
        assert!(sink.get(MANIFEST).is_none(), "no model");
        let source = FileStore::open(folder.path()).expect("opened");
        block_on(split(&table, &spec(false), &source, &sink, &options, &mut go)).expect("starts over");
        assert!(objects(&sink) == golden(&new), "nothing of the old one is left");
    }
}
