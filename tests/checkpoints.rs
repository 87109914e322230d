//! The small checkpoints of `tests/data`: every one opens, the rows that the reference implementation dequantized come
//! out the same, to the bit, and PyTorch files give the model that the same tensors in a safetensors file give.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use safetensors::SafeTensors;
use tilestream::internals::checkpoint::{Checkpoint, Source, Tensor, open};
use tilestream::internals::encoding::{Encoding, decode_row, gguf, plain};
use tilestream::internals::plan::model_spec;
use tilestream::internals::shard::split::{SplitOptions, split};
use tilestream::store::{FileStore, MemoryStore, Store};
use tilestream::{Error, ErrorKind};

use crate::common::{bits, data};

fn store(folder: &Path) -> FileStore {
    FileStore::open(folder).expect("the folder")
}

fn opened(folder: &Path, name: Option<&str>) -> Checkpoint {
    let checkpoint = pollster::block_on(open(&store(folder), name));
    checkpoint.unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}

/// Row `row` of the file, through the planar layout.
fn file_row(folder: &Path, checkpoint: &Checkpoint, tensor: &Tensor, row: u64) -> Vec<f32> {
    let columns = tensor.shape[1];
    let encoding = match tensor.source {
        Source::Plain(encoding) | Source::GgufBlocks(encoding) => encoding,
        other => panic!("{other:?}"),
    };
    let mut bytes = vec![0; (tensor.len_bytes / tensor.shape[0]) as usize];
    let offset_bytes = tensor.offset_bytes + row * bytes.len() as u64;
    let name = &checkpoint.files[tensor.file].0;
    pollster::block_on(store(folder).read_at(name, offset_bytes, &mut bytes)).expect("the row");
    let mut planar = vec![0; encoding.row_stride(columns) as usize];
    match tensor.source {
        Source::GgufBlocks(_) => gguf::repack_row(encoding, &bytes, columns, &mut planar).expect("blocks"),
        _ => plain::copy_row(encoding, &bytes, columns, &mut planar).expect("values"),
    }
    for companion in &tensor.companions {
        let (name, mut scale) = (&checkpoint.files[companion.file].0, [0; 4]);
        pollster::block_on(store(folder).read_at(name, companion.offset_bytes, &mut scale)).expect("the scale");
        gguf::put_row_scale(encoding, &scale, columns, &mut planar).expect("it has one");
    }
    let mut decoded = vec![f32::NAN; columns as usize];
    decode_row(encoding, &planar, columns, &mut decoded).expect("a row");
    decoded
}

fn golden(path: &Path, name: &str) -> Vec<f32> {
    golden_if_there(path, name).expect(name)
}

fn golden_if_there(path: &Path, name: &str) -> Option<Vec<f32>> {
    let bytes = std::fs::read(path).expect("the golden file");
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    file.tensor(name).ok()?;
    let mut values = vec![0.0; file.tensor(name).expect(name).data().len() / 4];
    plain::widen(Encoding::F32, file.tensor(name).expect(name).data(), &mut values).expect("f32");
    Some(values)
}

#[test]
fn gguf_rows_are_those_of_the_reference() {
    let folder = data("small-gguf");
    let (mut encodings, mut each) = (std::collections::BTreeSet::new(), 0);
    for entry in std::fs::read_dir(&folder).expect("tests/data/small-gguf") {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        let Some(stem) = name.strip_suffix(".gguf") else { continue };
        let checkpoint = opened(&folder, Some(&name));
        for (key, tensor, row) in [
            ("embed_row0", "token_embd.weight", 0),
            ("down_row1", "blk.0.ffn_down.weight", 1),
            ("query_row1", "blk.0.attn_q.weight", 1),
        ] {
            let tensor = checkpoint.tensors.iter().find(|found| found.source_name == tensor).expect(tensor);
            let expected = golden(&folder.join(format!("{stem}.golden.safetensors")), key);
            let found = file_row(&folder, &checkpoint, tensor, row);
            assert_eq!(bits(&found), bits(&expected), "{name}: {key}");
            // The next row is another: the comparison can fail.
            assert_ne!(bits(&file_row(&folder, &checkpoint, tensor, row + 1)), bits(&expected), "{name}: {key}");
            if let Source::Plain(encoding) | Source::GgufBlocks(encoding) = tensor.source {
                encodings.insert(encoding);
            }
        }
        // Files in which every matrix has a type of its own hold a row of each.
        for tensor in checkpoint.tensors.iter().filter(|tensor| tensor.shape.len() == 2) {
            let key = format!("{} row 1", tensor.source_name);
            let Some(expected) = golden_if_there(&folder.join(format!("{stem}.golden.safetensors")), &key) else {
                continue;
            };
            let found = file_row(&folder, &checkpoint, tensor, 1);
            assert_eq!(bits(&found), bits(&expected), "{name}: {key}");
            if let Source::GgufBlocks(encoding) = tensor.source {
                encodings.insert(encoding);
                each += 1;
            }
        }
        let tokenizer = checkpoint.gguf_tokenizer.expect("a tokenizer");
        assert_eq!(tokenizer.tokens.len() as u64, checkpoint.config["vocab_size"].as_u64().expect("a number"));
    }
    let known = |encoding: &Encoding| gguf::block(*encoding).is_some() || encoding.descriptor().plain.is_some();
    let known = tilestream::internals::encoding::ENCODINGS.iter().filter(|row| known(&row.encoding)).count();
    assert_eq!(encodings.len(), known, "{encodings:?}");
    assert!(each >= 8, "{each} rows of a file with many types");
}

#[test]
fn safetensors_folders_open() {
    let mut folders = 0;
    for entry in std::fs::read_dir(data("small")).expect("tests/data/small") {
        let folder = entry.expect("an entry").path();
        let checkpoint = opened(&folder, None);
        let embeddings =
            checkpoint.tensors.iter().find(|tensor| tensor.name == tilestream::internals::plan::EMBEDDINGS);
        let vocab = embeddings.expect("embeddings").shape[0];
        assert_eq!(checkpoint.config["vocab_size"], vocab, "{}", folder.display());
        let sharded = folder.ends_with("sharded");
        assert_eq!(checkpoint.files.len() > 1, sharded, "{}", folder.display());
        folders += 1;
    }
    assert!(folders >= 10, "{folders} folders");
}

/// A folder in memory with some files of `tests/data/pytorch`.
fn pytorch(files: &[&str]) -> MemoryStore {
    let read = |name: &str| std::fs::read(data("pytorch").join(name)).expect(name);
    ["config.json"].iter().chain(files).map(|name| ((*name).to_owned(), read(name))).collect()
}

/// All files of the model that a checkpoint is split into, except the manifest, which names the checkpoint's files.
fn split_model(store: &MemoryStore) -> BTreeMap<String, Vec<u8>> {
    pollster::block_on(async {
        let checkpoint = open(store, None).await.expect("opens");
        let spec = model_spec(&checkpoint.config).expect("a plan");
        let (sink, options) = (MemoryStore::new(), SplitOptions { name: "tiny".into(), ..SplitOptions::default() });
        split(&checkpoint, &spec, store, &sink, &options, &mut |_| ControlFlow::Continue(())).await.expect("splits");
        let names = sink.list().await.expect("lists");
        let names = names.into_iter().filter(|name| name != tilestream::internals::shard::MANIFEST);
        names.map(|name| (name.clone(), sink.get(&name).expect("listed"))).collect()
    })
}

const SHARDS: [&str; 3] =
    ["pytorch_model.bin.index.json", "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"];

#[test]
fn pytorch_files_give_the_model_that_safetensors_give() {
    let expected = split_model(&pytorch(&["model.safetensors"]));
    assert!(expected.len() >= 5, "{:?}", expected.keys());
    for files in [&["pytorch_model.bin"][..], &SHARDS, &["checkpoint.pt"], &["protocol4.bin"]] {
        let found = split_model(&pytorch(files));
        assert!(found.keys().eq(expected.keys()), "{files:?}: {:?}", found.keys());
        for (name, bytes) in &expected {
            assert!(found[name] == *bytes, "{files:?}: {name} differs");
        }
    }
    // The comparison can fail: the last byte of the embeddings.
    let store = pytorch(&["pytorch_model.bin"]);
    let checkpoint = pollster::block_on(open(&store, None)).expect("opens");
    let tensor =
        checkpoint.tensors.iter().find(|tensor| tensor.name == tilestream::internals::plan::EMBEDDINGS).expect("there");
    let mut bytes = store.get("pytorch_model.bin").expect("there");
    bytes[(tensor.offset_bytes + tensor.len_bytes - 1) as usize] ^= 1;
    let config = store.get("config.json").expect("there");
    let changed = [("pytorch_model.bin".to_owned(), bytes), ("config.json".to_owned(), config)];
    assert_ne!(split_model(&changed.into_iter().collect()), expected);
}

#[test]
fn tied_pytorch_tensors_share_their_bytes() {
    let checkpoint = pollster::block_on(open(&pytorch(&["pytorch_model.bin"]), None)).expect("opens");
    let place = |name: &str| {
        let tensor = checkpoint.tensors.iter().find(|tensor| tensor.name == name).expect(name);
        (tensor.offset_bytes, tensor.len_bytes)
    };
    assert_eq!(place(tilestream::internals::plan::HEAD), place(tilestream::internals::plan::EMBEDDINGS));
    // Views of one storage, one behind the other.
    let (q, k) = (place("model.layers.0.self_attn.q_proj.weight"), place("model.layers.0.self_attn.k_proj.weight"));
    assert_eq!(q.0 + q.1, k.0);
}

#[test]
fn pytorch_files_that_cannot_be_read_in_place_say_why() {
    let refused = |files: &[&str]| -> Error { pollster::block_on(open(&pytorch(files), None)).expect_err("refused") };
    let strided = refused(&["transposed.bin"]);
    assert_eq!((strided.kind(), strided.tensor_name()), (ErrorKind::Unsupported, Some("model.norm.weight")));
    assert!(
        strided.to_string().contains("transposed.bin") && strided.to_string().contains(".contiguous()"),
        "{strided}"
    );
    let legacy = refused(&["legacy.bin"]);
    assert_eq!(legacy.kind(), ErrorKind::Unsupported);
    assert!(legacy.to_string().contains("PyTorch before 1.6"), "{legacy}");
    let missing = refused(&SHARDS[..2]);
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(missing.to_string().contains(SHARDS[2]), "{missing}");
}

/// The finalizer of SplitMix64.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// Random bytes that a name decides: see tools/golden/make_gguf_blocks.py, the twin.
fn random_bytes(name: &str, len: usize) -> Vec<u8> {
    let fnv = |seed: u64, byte| (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    let seed = name.bytes().fold(0xCBF2_9CE4_8422_2325, fnv);
    let number = |index: u64| mix(seed.wrapping_add(index.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
    (1..=len as u64 / 8).flat_map(|index| number(index).to_le_bytes()).collect()
}

/// A sum over places and bits of values, of which all that are no numbers count as the same.
fn checksum(values: &[f32]) -> String {
    let bits = |value: &f32| u64::from(if value.is_nan() { 0x7FC0_0000 } else { value.to_bits() });
    let mixed = values.iter().enumerate().map(|(place, value)| mix((place as u64) << 32 | bits(value)));
    format!("{:016x}", mixed.fold(0, u64::wrapping_add))
}

#[test]
fn random_blocks_decode_to_the_bits_of_the_reference() {
    let golden = std::fs::read(data("gguf-blocks.json")).expect("golden checksums");
    let golden: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&golden).expect("JSON");
    assert!(golden.len() >= 7, "{golden:?}");
    for (name, expected) in golden {
        let encoding = Encoding::from_name(&name).expect("known");
        let (block_columns, block_bytes) = gguf::block(encoding).expect("blocks");
        let blocks = expected["blocks"].as_u64().expect("a number");
        let bytes = random_bytes(&name.to_uppercase(), (blocks * block_bytes) as usize);
        // Rows of seven blocks, whose planes need padding, and a shorter one.
        let mut values = Vec::new();
        for row in bytes.chunks(7 * block_bytes as usize) {
            let columns = row.len() as u64 / block_bytes * block_columns;
            let mut planar = vec![0xa5; encoding.row_stride(columns) as usize];
            gguf::repack_row(encoding, row, columns, &mut planar).expect("blocks");
            let mut decoded = vec![f32::NAN; columns as usize];
            decode_row(encoding, &planar, columns, &mut decoded).expect("a row");
            values.extend(decoded);
        }
        let first: Vec<String> = values.iter().take(16).map(|value| format!("{:08x}", value.to_bits())).collect();
        let listed: Vec<&str> =
            expected["first"].as_array().expect("a list").iter().filter_map(|word| word.as_str()).collect();
        assert_eq!(first, listed, "{name}");
        assert_eq!(checksum(&values), expected["checksum"].as_str().expect("a checksum"), "{name}");
        // A single bit is noticed.
        let last = values.len() - 1;
        values[last] = f32::from_bits(values[last].to_bits() ^ 1);
        assert_ne!(checksum(&values), expected["checksum"].as_str().expect("a checksum"), "{name}");
    }
}

#[test]
fn a_scale_that_is_no_number_is_refused_by_its_matrix() {
    let mut file = std::fs::read(data("small-gguf/NVFP4.gguf")).expect("the file");
    let open_file = |file: &[u8]| {
        let store: MemoryStore = [("m.gguf".to_owned(), file.to_vec())].into_iter().collect();
        (pollster::block_on(open(&store, Some("m.gguf"))).expect("opens"), store)
    };
    let split_file = |file: &[u8]| {
        let (checkpoint, store) = open_file(file);
        let spec = model_spec(&checkpoint.config).expect("a plan");
        let (sink, options) = (MemoryStore::default(), SplitOptions::default());
        pollster::block_on(split(&checkpoint, &spec, &store, &sink, &options, &mut |_| ControlFlow::Continue(())))
    };
    assert!(split_file(&file).is_ok());
    let checkpoint = open_file(&file).0;
    let up = checkpoint.tensors.iter().find(|tensor| tensor.source_name == "blk.0.ffn_up.weight").expect("there");
    let at = up.companions[0].offset_bytes as usize;
    file[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let error = split_file(&file).expect_err("refused");
    assert_eq!((error.kind(), error.tensor_name()), (ErrorKind::Malformed, Some(up.name.as_str())), "{error}");
    assert!(error.to_string().contains("is not finite"), "{error}");
}
