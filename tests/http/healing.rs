//! A cache of a model from elsewhere that was damaged while nobody looked: it gives the right bytes, and heals.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use pollster::block_on;
use tilestream::internals::shard::split::{SplitOptions, Weights};
use tilestream::internals::shard::synth::{SynthOptions, synth};
use tilestream::internals::shard::{CHECKSUM_BLOCK, MANIFEST, Model, verify_kept};
use tilestream::internals::{checkpoint, plan, text};
use tilestream::store::cache::{CHECKSUMS, FolderCache, JOURNAL};
use tilestream::store::{FileStore, HttpStore, MemoryStore, Store, Window};
use tilestream::{ErrorKind, Result};

use super::hasty;
use super::server::{Act, Server};
use crate::common::{data, split_checkpoint};

const TOKENIZER: &str = "tokenizer.json";

/// A server with a small model that has a tokenizer, and what its files hold.
fn stage() -> (Server, Vec<(String, Vec<u8>)>) {
    let source = FileStore::open(data("small-gguf")).expect("opens");
    let mut checkpoint = block_on(checkpoint::open(&source, Some("Q6_K.gguf"))).expect("opens");
    let fields = checkpoint.gguf_tokenizer.as_ref().expect("a tokenizer");
    checkpoint.tokenizer = Some(text::tokenizer_json(fields).expect("made"));
    let files = block_on(split_checkpoint(&checkpoint, &source, &SplitOptions::default()));
    let names = block_on(files.store.list()).expect("lists");
    let all: Vec<_> = names.into_iter().map(|name| (name.clone(), files.store.get(&name).expect("there"))).collect();
    (Server::new(all.clone()), all)
}

fn open(server: &Server, folder: &Path) -> Result<Model> {
    let store = Arc::new(HttpStore::with_options(&server.url(), hasty())?);
    block_on(Model::open_remote(store, &FolderCache::create(folder)?))
}

/// Every file of the model, read from its start to its end.
fn read_all(model: &Model) -> Result<Vec<(String, Vec<u8>)>> {
    let read = |(index, file): (usize, &tilestream::internals::shard::ModelFile)| {
        let mut bytes = vec![0; file.len_bytes as usize];
        block_on(model.verified().read(index as u32, 0, &mut Window::from_slice(&mut bytes)))?;
        Ok((file.name.clone(), bytes))
    };
    model.manifest().files.iter().enumerate().map(read).collect()
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("readable").flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copies");
    }
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("reads");
    change(&mut bytes);
    fs::write(path, bytes).expect("writes");
}

/// What is done to a file: a name, and the change.
type Damage = (&'static str, fn(&Path));

const DAMAGES: [Damage; 12] = [
    ("a bit in the first block", |path| change(path, |bytes| bytes[5] ^= 0x10)),
    ("a bit in the middle", |path| {
        change(path, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        });
    }),
    ("the last bit", |path| change(path, |bytes| *bytes.last_mut().expect("there") ^= 0x80)),
    ("zeros", |path| change(path, |bytes| bytes.fill(0))),
    ("a block of zeros", |path| {
        change(path, |bytes| bytes.iter_mut().take(CHECKSUM_BLOCK as usize).for_each(|b| *b = 0))
    }),
    ("cut to nothing", |path| change(path, Vec::clear)),
    ("cut by a byte", |path| change(path, |bytes| bytes.truncate(bytes.len() - 1))),
    ("cut to a half", |path| change(path, |bytes| bytes.truncate(bytes.len() / 2))),
    ("longer", |path| change(path, |bytes| bytes.extend([7; 1000]))),
    ("noise", |path| change(path, |bytes| bytes.iter_mut().for_each(|byte| *byte = byte.wrapping_mul(31) ^ 0x5A))),
    ("deleted", |path| fs::remove_file(path).expect("removes")),
    ("a folder in its place", |path| {
        fs::remove_file(path).expect("removes");
        fs::create_dir(path).expect("makes");
    }),
];

#[test]
fn a_damaged_cache_gives_the_right_bytes_and_heals() {
    let (server, all) = stage();
    let kept = tempfile::tempdir().expect("a folder");
    let expected = read_all(&open(&server, kept.path()).expect("opens")).expect("reads");
    for (name, bytes) in &expected {
        assert!(all.contains(&(name.clone(), bytes.clone())), "{name}");
    }
    let largest = expected.iter().max_by_key(|(_, bytes)| bytes.len()).expect("files");
    assert!(largest.1.len() as u64 > 2 * CHECKSUM_BLOCK, "{} bytes", largest.1.len());
    for file in [largest.0.as_str(), TOKENIZER, CHECKSUMS, JOURNAL, MANIFEST] {
        for (what, damage) in DAMAGES {
            // No cache puts a folder away that is none of its own; it then keeps nothing.
            let keeps = what != "a folder in its place";
            if !keeps && file == MANIFEST {
                continue;
            }
            let folder = tempfile::tempdir().expect("a folder");
            copy(kept.path(), folder.path());
            damage(&folder.path().join(file));
            server.usually(Act::Serve);
            let before = server.seen().len();
            let model = open(&server, folder.path()).unwrap_or_else(|error| panic!("{file}, {what}: {error}"));
            assert!(read_all(&model).expect("reads") == expected, "{file}, {what}: other bytes");
            let asked = server.seen().len() - before;
            drop(model);
            assert!(what != "longer" || file == MANIFEST || asked == 1, "{file}, {what}: {asked} requests");
            if !keeps {
                continue;
            }
            server.usually(Act::Close);
            let model = open(&server, folder.path()).unwrap_or_else(|error| panic!("{file}, {what}, alone: {error}"));
            let again = read_all(&model).unwrap_or_else(|error| panic!("{file}, {what}, alone: {error}"));
            assert!(again == expected, "{file}, {what}: other bytes without the host");
        }
    }
}

#[test]
fn one_bit_costs_one_request() {
    let (server, _) = stage();
    let folder = tempfile::tempdir().expect("a folder");
    let model = open(&server, folder.path()).expect("opens");
    let expected = read_all(&model).expect("reads");
    drop(model);
    let name = &expected.iter().max_by_key(|(_, bytes)| bytes.len()).expect("files").0;
    change(&folder.path().join(name), |bytes| bytes[CHECKSUM_BLOCK as usize + 9] ^= 1);
    let before = server.seen().len();
    assert!(read_all(&open(&server, folder.path()).expect("opens")).expect("reads") == expected);
    let asked: Vec<_> = server.seen()[before..].iter().map(|seen| (seen.path.clone(), seen.range.clone())).collect();
    let range = format!("bytes={}-{}", CHECKSUM_BLOCK, 2 * CHECKSUM_BLOCK - 1);
    assert_eq!(asked.last(), Some(&(format!("/{name}"), Some(range))), "{asked:?}");
    assert_eq!(asked.len(), 2, "and the manifest: {asked:?}");
}

#[test]
fn what_is_damaged_under_an_open_model_is_noticed_and_heals() {
    let (server, _) = stage();
    let folder = tempfile::tempdir().expect("a folder");
    let model = open(&server, folder.path()).expect("opens");
    let expected = read_all(&model).expect("reads");
    for (what, damage) in DAMAGES {
        // The clock of a file system may tick no faster than this.
        std::thread::sleep(std::time::Duration::from_millis(12));
        if what == "a folder in its place" {
            continue;
        }
        damage(&folder.path().join(&expected[0].0));
        assert!(read_all(&model).expect("reads") == expected, "{what}");
    }
}

#[test]
fn without_its_host_a_damaged_block_is_an_error_that_says_what_and_where() {
    let (server, _) = stage();
    let folder = tempfile::tempdir().expect("a folder");
    let expected = read_all(&open(&server, folder.path()).expect("opens")).expect("reads");
    let weights = &expected.iter().find(|(name, _)| name.contains("layer-00000")).expect("a layer").0;
    let cases = [
        (weights.as_str(), "model.layers.0", &["bytes ", "is damaged", "start again when the host can be reached"][..]),
        (TOKENIZER, "", &["bytes 0..", "is damaged", "start again when the host can be reached"]),
        (CHECKSUMS, "", &["checksums are not kept here", "start again when the host can be reached"]),
        (MANIFEST, "", &["is damaged", "start again when the host can be reached"]),
    ];
    for (file, tensor, words) in cases {
        let copied = tempfile::tempdir().expect("a folder");
        copy(folder.path(), copied.path());
        change(&copied.path().join(file), |bytes| *bytes.last_mut().expect("there") ^= 1);
        change(&copied.path().join(file), |bytes| bytes[3] ^= 1);
        server.usually(Act::Close);
        let error = open(&server, copied.path()).and_then(|model| read_all(&model)).expect_err(file);
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Network, "{text}");
        let named = if file == CHECKSUMS { ".sums" } else { file };
        assert!(text.contains(named) && text.contains(tensor), "{text}");
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
        server.usually(Act::Serve);
        assert!(read_all(&open(&server, copied.path()).expect("opens")).expect("heals") == expected, "{file}");
    }
}

#[test]
fn a_cache_is_verified_without_its_host() {
    let (server, _) = stage();
    let folder = tempfile::tempdir().expect("a folder");
    let model = open(&server, folder.path()).expect("opens");
    let manifest = model.manifest().clone();
    let check = || {
        let place = FolderCache::read_only(folder.path()).expect("there");
        block_on(verify_kept(&place, &mut |_| std::ops::ControlFlow::Continue(())))
    };
    let report = check().expect("a manifest is there");
    assert_eq!((report.right_bytes, report.findings.len()), (0, 0), "nothing was fetched yet");
    let expected = read_all(&model).expect("reads");
    drop(model);
    server.usually(Act::Close);
    let report = check().expect("verifies");
    let total: u64 = manifest.files.iter().map(|file| file.len_bytes).sum();
    assert_eq!((report.right_bytes, report.total_bytes, report.findings.len()), (total, total, 0));
    let name = &expected.iter().max_by_key(|(_, bytes)| bytes.len()).expect("files").0;
    change(&folder.path().join(name), |bytes| bytes[CHECKSUM_BLOCK as usize + 9] ^= 1);
    fs::remove_file(folder.path().join(TOKENIZER)).expect("removes");
    let report = check().expect("verifies");
    let found: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    let bytes = format!("{name}: bytes {}..{} do not match", CHECKSUM_BLOCK, 2 * CHECKSUM_BLOCK);
    assert!(found.iter().any(|line| line.contains(&bytes)), "{found:?}");
    assert!(found.iter().any(|line| line.contains(TOKENIZER)), "{found:?}");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(report.right_bytes < total);
    change(&folder.path().join(MANIFEST), |bytes| bytes[100] ^= 1);
    let text = check().expect_err("no manifest to compare with").to_string();
    assert!(text.contains("damaged") && text.contains("the next run fetches it again"), "{text}");
}

/// A model with large files.
pub fn wide() -> MemoryStore {
    let sink = MemoryStore::new();
    let config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1,
        "num_attention_heads": 4, "vocab_size": 60_000, "rms_norm_eps": 1e-5, "max_position_embeddings": 64,
    });
    let options = SynthOptions { name: "wide".into(), weights: Weights::Original, max_file_bytes: None, seed: 1 };
    let spec = plan::model_spec(&config).expect("a plan");
    block_on(synth(&config, &spec, &sink, &options, &mut |_| std::ops::ControlFlow::Continue(()))).expect("written");
    sink
}

#[test]
fn a_host_without_ranges_is_refused_by_name_where_nothing_can_be_kept() {
    let sink = wide();
    let names = block_on(sink.list()).expect("listed");
    let files = names.into_iter().map(|name| (name.clone(), sink.get(&name).expect("there")));
    let server = Server::new(files);
    server.usually(Act::Whole);
    let store = Arc::new(HttpStore::with_options(&server.url(), hasty()).expect("an address"));
    let model = block_on(Model::open(store.clone())).expect("small files are read whole");
    let file = model.manifest().files.iter().position(|file| file.len_bytes > 4 << 20).expect("a large file") as u32;
    let last = model.manifest().files[file as usize].len_bytes - 100;
    let read = |offset| block_on(model.verified().read(file, offset, &mut Window::from_slice(&mut [0; 100])));
    // The first read finds it out.
    let _ = read(last);
    let before = store.counters().bytes_received;
    let error = read(last - (1 << 20)).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    let name = &model.manifest().files[file as usize].name;
    assert!(error.to_string().contains(name.as_str()) && error.to_string().contains("ranges"), "{error}");
    assert!(store.counters().bytes_received - before < 1 << 20, "the file is not read to find that out");
}
