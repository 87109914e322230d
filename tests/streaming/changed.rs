//! A model whose files change on disk while it runs: an error or the right numbers, never others.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tilestream::internals::gpu::kernels::KvType;
use tilestream::internals::model::Engine;
use tilestream::internals::model::batch;
use tilestream::internals::model::memory::EngineConfig;
use tilestream::internals::shard::Model;
use tilestream::store::{FileStore, Store};
use tilestream::{Error, ErrorKind, Result};

use crate::common::{self, Files, Golden, block_on, engine_config, split_small};

const SHARD: &str = "layer-00001.safetensors";

/// A model on disk of which every tile streams in every sweep, a token each.
async fn open(files: &Files, folder: &Path) -> Result<Engine> {
    for name in files.store.list().await? {
        fs::write(folder.join(&name), files.store.get(&name).expect("there")).expect("writes");
    }
    let config = EngineConfig { most_pinned_bytes: Some(0), rows: Some(1), ..engine_config() };
    let gpu = common::gpu(config.budget_bytes).await;
    let store: Arc<dyn Store> = Arc::new(FileStore::open(folder)?);
    Engine::open(gpu, Arc::new(Model::open(store).await?), files.spec.clone(), KvType::F32, config).await
}

/// The bits of the logits that came before the end or an error; `act` is done after so many tokens.
fn score(model: &mut Engine, ids: &[u32], after: usize, act: impl Fn()) -> (Vec<u32>, Option<Error>) {
    let mut bits = Vec::new();
    let visit = |position: usize, logits: &[f32]| {
        bits.extend(logits.iter().map(|logit| logit.to_bits()));
        if position + 1 == after {
            act();
        }
        Ok(())
    };
    let error = block_on(batch::score(model, ids, visit)).err();
    (bits, error)
}

/// Other weights of the same length.
fn other(path: &Path) -> Vec<u8> {
    let mut bytes = fs::read(path).expect("reads");
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("a length")) as usize;
    bytes[header..].iter_mut().for_each(|byte| *byte ^= 0x01);
    bytes
}

fn replace(path: &Path, bytes: &[u8]) {
    let beside = path.with_extension("new");
    fs::write(&beside, bytes).expect("writes");
    fs::rename(beside, path).expect("renames");
}

/// What is done to a shard: a name, the change, and the kind of the error that follows, if one does.
type Change = (&'static str, fn(&Path), Option<ErrorKind>);

const CHANGES: [Change; 6] = [
    ("written over", |path| fs::write(path, other(path)).expect("writes"), Some(ErrorKind::Checksum)),
    ("replaced", |path| replace(path, &other(path)), Some(ErrorKind::Checksum)),
    (
        "cut to a half",
        |path| {
            let bytes = fs::read(path).expect("reads");
            fs::write(path, &bytes[..bytes.len() / 2]).expect("writes");
        },
        Some(ErrorKind::Truncated),
    ),
    ("deleted", |path| fs::remove_file(path).expect("removes"), Some(ErrorKind::NotFound)),
    ("written over with the same bytes", |path| fs::write(path, fs::read(path).expect("reads")).expect("writes"), None),
    ("replaced by the same bytes", |path| replace(path, &fs::read(path).expect("reads")), None),
];

#[test]
fn a_shard_that_changes_under_a_running_model_gives_no_other_numbers() {
    let (files, golden) = (block_on(split_small("gqa", "config.json")), Golden::read("gqa"));
    let folder = tempfile::tempdir().expect("a folder");
    let mut model = block_on(open(&files, folder.path())).expect("opens");
    assert_eq!(model.residency().0, 0, "nothing stays");
    let ids = &golden.ids[..6];
    let (expected, error) = score(&mut model, ids, 0, || ());
    assert!(error.is_none() && expected.len() == ids.len() * model.spec().vocab as usize);
    let path = folder.path().join(SHARD);
    let right = fs::read(&path).expect("reads");
    for (what, change, kind) in CHANGES {
        // The clock of a file system may tick no faster than this.
        std::thread::sleep(Duration::from_millis(12));
        let (bits, error) = score(&mut model, ids, 3, || change(&path));
        assert!(bits == expected[..bits.len()], "{what}: other numbers");
        assert_eq!(error.as_ref().map(Error::kind), kind, "{what}: {error:?}");
        if let Some(error) = error {
            let text = error.to_string();
            assert!(text.contains(SHARD), "{what}: {text}");
            assert!(kind == Some(ErrorKind::NotFound) || text.contains("model.layers.1."), "{what}: {text}");
            assert!(kind != Some(ErrorKind::Checksum) || text.contains("changed while it was in use"), "{text}");
            // The right file is taken again as soon as it is back.
            fs::write(&path, &right).expect("writes");
        }
        let (bits, error) = score(&mut model, ids, 0, || ());
        assert!(error.is_none() && bits == expected, "{what}, and back: {error:?}");
    }
}
