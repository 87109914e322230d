//! Opening, reading and verifying models; hostile manifests.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use pollster::block_on;
use proptest::prelude::*;

use super::layout::{TensorSpec, shards};
use super::split::empty_manifest;
use super::*;
use crate::ErrorKind;
use crate::platform::BoxFuture;
use crate::store::{MemoryStore, Store, Window};

fn go(_: Progress<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// A model of one layer with a norm and two matrices, several checksum blocks long.
fn model() -> (MemoryStore, Manifest) {
    let spec = |name: &str, encoding, shape: &[u64]| TensorSpec {
        name: crate::plan::layer_tensor(0, name),
        encoding,
        shape: shape.to_vec(),
    };
    let tensors = [
        spec("norm.weight", Encoding::F32, &[64]),
        spec("first.weight", Encoding::BF16, &[1_000, 64]),
        spec("second.weight", Encoding::Q4_1, &[999, 256]),
    ];
    let shard = shards("layer-00000", &tensors, None).expect("laid out").remove(0);
    let mut bytes = shard.header.clone();
    bytes.extend((bytes.len() as u64..shard.len_bytes).map(|i| (i.wrapping_mul(0x9E37_79B9) >> 13) as u8));
    let mut sums = SumsWriter::new();
    sums.update(&bytes);
    let (table, file) = sums.finish(&shard.name);
    let mut manifest = Manifest { name: "test".into(), weights: "original".into(), ..empty_manifest() };
    manifest.files.push(file);
    for (entry, spec) in shard.entries.iter().zip(&tensors) {
        let part = Extent { file: 0, offset_bytes: entry.offset_bytes, rows: entry.rows };
        manifest.tensors.insert(spec.name.clone(), StoredTensor { parts: vec![part], ..spec.stored() });
    }
    let store = MemoryStore::new();
    let json = manifest.to_json().expect("valid");
    store.insert(MANIFEST, json.clone());
    store.insert(sums_name(&shard.name), table);
    store.insert(shard.name, bytes);
    (store, Manifest::parse(&json).expect("valid"))
}

const FILE: &str = "layer-00000.safetensors";

fn open(store: MemoryStore) -> crate::Result<Model> {
    block_on(Model::open(Arc::new(store)))
}

/// Counts the bytes that are read of shards.
struct Counting(MemoryStore, AtomicU64);

impl Store for Counting {
    fn len<'a>(&'a self, name: &'a str) -> BoxFuture<'a, crate::Result<u64>> {
        self.0.len(name)
    }
    fn read_at<'a>(&'a self, name: &'a str, offset: u64, buffer: &'a mut [u8]) -> BoxFuture<'a, crate::Result<()>> {
        if name == FILE {
            self.1.fetch_add(buffer.len() as u64, Relaxed);
        }
        self.0.read_at(name, offset, buffer)
    }
    fn list(&self) -> BoxFuture<'_, crate::Result<Vec<String>>> {
        self.0.list()
    }
    fn describe(&self, name: &str) -> String {
        self.0.describe(name)
    }
}

#[test]
fn any_range_reads_right_and_a_block_is_verified_once() {
    let (store, manifest) = model();
    let bytes = store.get(FILE).expect("there");
    let len = bytes.len() as u64;
    assert!(len > 3 * CHECKSUM_BLOCK, "several blocks");
    let counting = Arc::new(Counting(store, AtomicU64::new(0)));
    let model = block_on(Model::open(counting.clone())).expect("opened");
    let read = |offset: u64, size: usize| {
        let before = counting.1.load(Relaxed);
        let mut buffer = vec![0xAA; size];
        let window = &mut Window::from_slice(&mut buffer);
        block_on(model.verified().read(0, offset, window)).expect("read");
        assert!(buffer == bytes[offset as usize..offset as usize + size], "{size} at {offset}");
        counting.1.load(Relaxed) - before
    };
    assert_eq!(read(5, 0), 0);
    assert_eq!(read(CHECKSUM_BLOCK + 7, 1), CHECKSUM_BLOCK, "the block is read whole to verify it");
    assert_eq!(read(CHECKSUM_BLOCK + 9, 20), 20, "and never again");
    assert_eq!(read(CHECKSUM_BLOCK - 1, 3), CHECKSUM_BLOCK + 2, "only the block before is new");
    assert_eq!(read(0, bytes.len()), len, "the rest is new");
    assert_eq!(read(10, bytes.len() - 10), len - 10);
    drop(manifest);
}

#[test]
fn ranges_outside_are_errors() {
    let (store, manifest) = model();
    let len = manifest.files[0].len_bytes;
    let model = open(store).expect("opened");
    for (file, offset, size, kind) in [
        (0, len, 1, ErrorKind::Truncated),
        (0, len - 1, 2, ErrorKind::Truncated),
        (0, u64::MAX, 2, ErrorKind::Truncated),
        (1, 0, 1, ErrorKind::Argument),
    ] {
        let mut buffer = vec![0; size];
        let error = block_on(model.verified().read(file, offset, &mut Window::from_slice(&mut buffer)));
        assert_eq!(error.map_err(|error| error.kind()), Err(kind), "{size} at {offset} of {file}");
    }
    let name = "model.layers.0.first.weight";
    for rows in [0..1_001, 5..5, 1_000..1_002] {
        let mut buffer = vec![0; 128];
        assert!(block_on(model.read_rows(name, rows, &mut Window::from_slice(&mut buffer))).is_err());
    }
    assert_eq!(model.tensor("absent").map_err(|error| error.kind()), Err(ErrorKind::Missing));
}

#[test]
fn a_flipped_bit_is_found_by_reading_and_by_verifying_with_the_tensor_it_is_in() {
    let (_, manifest) = model();
    let start = |name: &str| manifest.tensors[&crate::plan::layer_tensor(0, name)].parts[0].offset_bytes;
    // Blocks are larger than the norm: it shares its block with the first matrix.
    let cases = [(start("norm.weight"), "norm"), (start("first.weight") + 100_000, "first"), (10, "norm")];
    let last = (manifest.files[0].len_bytes - 1, "second");
    for (at, tensor) in cases.into_iter().chain([last]) {
        let (store, _) = model();
        let mut bytes = store.get(FILE).expect("there");
        bytes[at as usize] ^= 0x10;
        store.insert(FILE, bytes);

        let findings = block_on(verify(&store, &mut go)).expect("readable");
        let [finding] = &findings[..] else { panic!("{} findings", findings.len()) };
        assert!(finding.bytes.contains(&at), "{finding}");
        assert!(finding.tensors.iter().any(|name| name.contains(tensor)), "{finding}");
        assert!(finding.to_string().contains(FILE), "{finding}");

        let model = open(store).expect("the manifest is fine");
        let mut byte = [0];
        let error = block_on(model.verified().read(0, at, &mut Window::from_slice(&mut byte))).expect_err("damaged");
        assert_eq!(error.kind(), ErrorKind::Checksum);
        assert!(error.to_string().contains(tensor) && error.to_string().contains("shard::verify"), "{error}");
        // A good block still reads.
        let other = (at + 3 * CHECKSUM_BLOCK) % (manifest.files[0].len_bytes - 1);
        if other / CHECKSUM_BLOCK != at / CHECKSUM_BLOCK {
            block_on(model.verified().read(0, other, &mut Window::from_slice(&mut byte))).expect("undamaged");
        }
    }
}

#[test]
fn missing_truncated_and_swapped_files_are_findings_and_errors() {
    assert!(block_on(verify(&model().0, &mut go)).expect("readable").is_empty());
    type Change = fn(&MemoryStore);
    let cases: [(&str, Change); 6] = [
        ("longer", |s| s.insert(FILE, [s.get(FILE).expect("there"), vec![0]].concat())),
        ("longer sums", |s| s.insert(sums_name(FILE), [s.get(&sums_name(FILE)).expect("there"), vec![0; 8]].concat())),
        ("truncated", |s| s.insert(FILE, s.get(FILE).expect("there")[..70_000].to_vec())),
        ("truncated sums", |s| s.insert(sums_name(FILE), vec![0; 8])),
        ("other sums", |s| s.insert(sums_name(FILE), vec![0; s.get(&sums_name(FILE)).expect("there").len()])),
        ("empty", |s| s.insert(FILE, Vec::new())),
    ];
    for (what, change) in cases {
        let (store, _) = model();
        change(&store);
        let findings = block_on(verify(&store, &mut go)).expect("readable");
        assert!(!findings.is_empty() && findings[0].error.is_some(), "{what}");
        assert!(what == "longer" || !findings[0].tensors.is_empty(), "{what}");
        assert!(findings[0].to_string().contains(FILE), "{what}: {}", findings[0]);
        let read = open(store).and_then(|model| {
            let mut byte = [0];
            block_on(model.verified().read(0, 0, &mut Window::from_slice(&mut byte)))
        });
        assert!(read.is_err(), "{what}");
    }
}

#[test]
fn verifying_can_be_stopped() {
    let result = block_on(verify(&model().0, &mut |_| ControlFlow::Break(())));
    assert_eq!(result.map_err(|error| error.kind()).err(), Some(ErrorKind::Cancelled));
}

#[test]
fn a_folder_without_a_manifest_is_no_model() {
    let error = open(MemoryStore::new()).err().expect("no model");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("no complete model"), "{error}");
}

/// Changes a valid manifest and gives it the right checksum, so that only the change is to blame.
fn rewritten(change: impl FnOnce(&mut serde_json::Value)) -> crate::Result<Manifest> {
    let (_, manifest) = model();
    let mut value = serde_json::to_value(&manifest).expect("serializes");
    change(&mut value);
    value["checksum"] = "".into();
    let hash = checksum::hex(xxhash_rust::xxh3::xxh3_64(value.to_string().as_bytes()));
    value["checksum"] = hash.into();
    Manifest::parse(value.to_string().as_bytes())
}

#[test]
fn lies_in_a_manifest_are_refused() {
    rewritten(|_| ()).expect("the helper itself works");
    type Change = fn(&mut serde_json::Value);
    const T: &str = "/tensors/model.layers.0.first.weight";
    fn at<'a>(manifest: &'a mut serde_json::Value, path: &str) -> &'a mut serde_json::Value {
        manifest.pointer_mut(&path.replacen("T/", &format!("{T}/"), 1)).expect("there")
    }
    let cases: [(&str, ErrorKind, Change); 18] = [
        ("newer format", ErrorKind::Unsupported, |m| m["format"] = 2.into()),
        ("unknown field", ErrorKind::Malformed, |m| m["surprise"] = 1.into()),
        ("encoding", ErrorKind::Unsupported, |m| *at(m, "T/encoding") = "q3".into()),
        ("no parts", ErrorKind::Malformed, |m| *at(m, "T/parts") = serde_json::json!([])),
        ("rows", ErrorKind::Malformed, |m| *at(m, "T/parts/0/rows") = 999.into()),
        ("no rows", ErrorKind::Malformed, |m| *at(m, "T/parts/0/rows") = 0.into()),
        ("too many rows", ErrorKind::Malformed, |m| *at(m, "T/parts/0/rows") = u64::MAX.into()),
        ("file", ErrorKind::Malformed, |m| *at(m, "T/parts/0/file") = 1.into()),
        ("alignment", ErrorKind::Malformed, |m| *at(m, "T/parts/0/offset_bytes") = 8.into()),
        ("offset", ErrorKind::Malformed, |m| *at(m, "T/parts/0/offset_bytes") = (u64::MAX - 15).into()),
        ("overlap", ErrorKind::Malformed, |m| *at(m, "T/parts/0/offset_bytes") = 512.into()),
        ("shape", ErrorKind::Malformed, |m| *at(m, "T/shape") = serde_json::json!([1_000, 64, 1])),
        ("zero", ErrorKind::Malformed, |m| *at(m, "T/shape") = serde_json::json!([0, 64])),
        ("huge", ErrorKind::Malformed, |m| *at(m, "T/shape") = serde_json::json!([u64::MAX, u64::MAX])),
        ("name", ErrorKind::Malformed, |m| m["files"][0]["name"] = "../outside".into()),
        ("own name", ErrorKind::Malformed, |m| m["files"][0]["name"] = MANIFEST.into()),
        ("file length", ErrorKind::Malformed, |m| m["files"][0]["len_bytes"] = u64::MAX.into()),
        ("sums", ErrorKind::Malformed, |m| m["files"][0]["sums"] = "x".into()),
    ];
    for (what, kind, change) in cases {
        let error = rewritten(change).err().unwrap_or_else(|| panic!("{what} is accepted"));
        assert_eq!(error.kind(), kind, "{what}: {error}");
    }
}

#[test]
fn lengths_that_no_tensor_explains_are_refused() {
    type Change = fn(&mut serde_json::Value);
    fn more_files(m: &mut serde_json::Value, count: usize, len_bytes: u64) {
        let files = m["files"].as_array_mut().expect("an array");
        let file = |i| serde_json::json!({"name": format!("f{i}"), "len_bytes": len_bytes, "sums": "0".repeat(16)});
        files.extend((0..count).map(file));
    }
    /// One row of all the columns that there may be, in each of many files.
    fn huge(m: &mut serde_json::Value, count: usize) {
        more_files(m, count, 15 * (1 << 34) + 1024);
        for i in 1..=count {
            let parts = serde_json::json!([{"file": i, "offset_bytes": 1024, "rows": 15}]);
            let tensor = serde_json::json!({"encoding": "f32", "shape": [15, u32::MAX], "parts": parts});
            m["tensors"][format!("t{i}")] = tensor;
        }
    }
    fn stretch(m: &mut serde_json::Value, by: u64) {
        m["files"][0]["len_bytes"] = (m["files"][0]["len_bytes"].as_u64().expect("a length") + by).into();
    }
    let refused: [(&str, Change); 9] = [
        ("a shard of 4 GB", |m| m["files"][0]["len_bytes"] = (4_u64 << 30).into()),
        ("a shard of the most bytes", |m| m["files"][0]["len_bytes"] = (1_u64 << 38).into()),
        ("a shard of more", |m| m["files"][0]["len_bytes"] = (1_u64 << 48).into()),
        ("a shard a little too long", |m| stretch(m, 1 << 20)),
        ("a tokenizer of 4 GB", |m| more_files(m, 1, 4 << 30)),
        ("many tokenizers", |m| more_files(m, 100, 50 << 20)),
        ("many files", |m| more_files(m, 1 << 16, 0)),
        ("tensors of petabytes", |m| huge(m, 40)),
        ("one tensor of petabytes", |m| {
            m["files"][0]["len_bytes"] = (1_u64 << 48).into();
            m["tensors"]["model.layers.0.second.weight"]["shape"] = serde_json::json!([u32::MAX, u32::MAX]);
        }),
    ];
    for (what, change) in refused {
        let error = rewritten(change).err().unwrap_or_else(|| panic!("{what} is accepted"));
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{what}: {text}");
        assert!(text.contains("get the model from elsewhere"), "{what}: {text}");
        assert!(!what.contains("a shard") || text.contains(FILE), "{what}: {text}");
    }
    // Padding, a header, a tokenizer.
    rewritten(|m| stretch(m, 60_000)).expect("explained");
    rewritten(|m| more_files(m, 1, 40 << 20)).expect("a tokenizer");
    rewritten(|m| huge(m, 30)).expect("a very large model");
}

#[test]
fn a_tensor_or_file_that_is_listed_twice_is_refused() {
    let (store, _) = model();
    let text = String::from_utf8(store.get(MANIFEST).expect("there")).expect("JSON");
    let twice = text.replace("model.layers.0.second.weight", "model.layers.0.first.weight");
    let error = Manifest::parse(twice.as_bytes()).expect_err("twice");
    assert!(error.to_string().contains("listed twice"), "{error}");
    let error = rewritten(|m| {
        let file = m["files"][0].clone();
        m["files"].as_array_mut().expect("an array").push(file);
    });
    assert!(error.expect_err("twice").to_string().contains("listed twice"));
}

#[test]
fn an_edited_manifest_is_noticed() {
    let (store, _) = model();
    let text = String::from_utf8(store.get(MANIFEST).expect("there")).expect("JSON");
    for (from, to) in [("\"test\"", "\"tess\""), ("1000", "1001"), ("\n}", "\n} ")] {
        let edited = text.replacen(from, to, 1);
        assert_ne!(edited, text);
        let error = Manifest::parse(edited.as_bytes()).expect_err("edited");
        assert_eq!(error.kind(), ErrorKind::Checksum, "{from}: {error}");
    }
}

proptest! {
    /// Whatever is done to a manifest, parsing it says so and does not panic.
    #[test]
    fn mutated_manifests_never_panic(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let (store, manifest) = model();
        let mut bytes = store.get(MANIFEST).expect("there");
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(parsed) = Manifest::parse(&bytes) {
            prop_assert_eq!(parsed, manifest);
        }
    }

    /// The same with a right checksum: the checks behind it must hold by themselves.
    #[test]
    fn rewritten_manifests_never_panic(field in 0..6_usize, number in prop_oneof![0..70_000_u64, any::<u64>()]) {
        let parsed = rewritten(|m| {
            let tensor = &mut m["tensors"]["model.layers.0.second.weight"];
            match field {
                0 => tensor["parts"][0]["offset_bytes"] = number.into(),
                1 => tensor["parts"][0]["rows"] = number.into(),
                2 => tensor["parts"][0]["file"] = number.into(),
                3 => tensor["shape"][0] = number.into(),
                4 => tensor["shape"][1] = number.into(),
                _ => m["files"][0]["len_bytes"] = number.into(),
            }
        });
        if let Ok(manifest) = parsed {
            for (name, tensor) in &manifest.tensors {
                let row_bytes = tensor.row_bytes().expect("checked");
                for part in &tensor.parts {
                    let end = part.offset_bytes + part.rows * row_bytes;
                    prop_assert!(end <= manifest.files[part.file as usize].len_bytes, "{}", name);
                }
            }
        }
    }
}
