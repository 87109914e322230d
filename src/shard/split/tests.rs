//! What a split makes.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use pollster::block_on;
use safetensors::SafeTensors;

use super::*;
use crate::checkpoint::Source;
use crate::encoding::{Encoding, decode_row, gguf};
use crate::plan::{EMBEDDINGS, FINAL_NORM, HEAD, RowMap, layer_tensor};
use crate::shard::testing::{checkpoint, plain_bytes, spec, value};
use crate::shard::{Model, Progress};
use crate::store::{MemoryStore, Window};

pub(super) fn go(_: Progress<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

pub(super) fn options(weights: Weights) -> SplitOptions<'static> {
    SplitOptions { name: "tiny".to_owned(), weights, ..SplitOptions::default() }
}

pub(super) fn split_to(sink: &dyn ModelSink, options: &SplitOptions<'_>) -> Result<Manifest> {
    let (source, checkpoint) = checkpoint(false, Encoding::BF16);
    block_on(split(&checkpoint, &spec(false), &source, sink, options, &mut go))
}

/// All objects of a store.
pub(super) fn objects(store: &MemoryStore) -> BTreeMap<String, Vec<u8>> {
    let names = block_on(store.list()).expect("listed");
    names.into_iter().map(|name| (name.clone(), store.get(&name).expect("listed"))).collect()
}

pub(super) fn open(sink: MemoryStore) -> Model {
    block_on(Model::open(Arc::new(sink))).expect("a whole model")
}

/// A tensor of a model, decoded to f32.
pub(super) fn decoded(model: &Model, name: &str) -> Vec<f32> {
    let tensor = model.tensor(name).expect("stored");
    let encoding = tensor.encoding().expect("known");
    let (rows, columns) = if let [rows, columns] = tensor.shape[..] { (rows, columns) } else { (1, tensor.shape[0]) };
    let stride = tensor.row_bytes().expect("sane") as usize;
    let mut bytes = vec![0; stride * rows as usize];
    block_on(model.read_rows(name, 0..rows, &mut Window::from_slice(&mut bytes))).expect("read");
    let mut values = vec![0.0; (rows * columns) as usize];
    for (row, out) in bytes.chunks(stride).zip(values.chunks_mut(columns as usize)) {
        let mut padded = row.to_vec();
        padded.resize(encoding.row_stride(columns) as usize, 0);
        decode_row(encoding, &padded, columns, out).expect("decoded");
    }
    values
}

/// The values that `checkpoint` put into a tensor, as its encoding keeps them.
pub(super) fn source_values(source: &MemoryStore, tensor: &Tensor, files: &[(String, u64)]) -> Vec<f32> {
    let Source::Plain(encoding) = tensor.source else { panic!("plain checkpoints only") };
    let bytes = source.get(&files[tensor.file].0).expect("there");
    let bytes = &bytes[tensor.offset_bytes as usize..][..tensor.len_bytes as usize];
    let mut values = vec![0.0; tensor.shape.iter().product::<u64>() as usize];
    crate::encoding::plain::widen(encoding, bytes, &mut values).expect("plain");
    values
}

#[test]
fn original_keeps_every_value_of_every_dtype() {
    for (encoding, tied) in
        [(Encoding::BF16, false), (Encoding::F16, true), (Encoding::F32, false), (Encoding::BF16, true)]
    {
        let (source, checkpoint) = checkpoint(tied, encoding);
        let sink = MemoryStore::new();
        let options = options(Weights::Original);
        block_on(split(&checkpoint, &spec(tied), &source, &sink, &options, &mut go)).expect("split");
        let model = open(sink);
        assert_eq!(model.manifest().config, checkpoint.config);
        assert_eq!(model.tensor(HEAD).is_err(), tied);
        for tensor in &checkpoint.tensors {
            assert_eq!(
                decoded(&model, &tensor.name),
                source_values(&source, tensor, &checkpoint.files),
                "{}",
                tensor.name
            );
            let stored = model.tensor(&tensor.name).expect("stored").encoding().expect("known");
            assert_eq!(stored, if tensor.shape.len() == 1 { Encoding::F32 } else { encoding });
        }
    }
}

#[test]
fn shards_are_valid_safetensors_in_sweep_order() {
    let sink = MemoryStore::new();
    let manifest = split_to(&sink, &options(Weights::Original)).expect("split");
    let names: Vec<&str> = manifest.files.iter().map(|file| file.name.as_str()).collect();
    let expected = [
        "layer-00000.safetensors",
        "layer-00001.safetensors",
        "head.safetensors",
        "embeddings.safetensors",
        "tokenizer.json",
    ];
    assert_eq!(names, expected);
    for name in &names[..4] {
        let bytes = sink.get(name).expect("written");
        SafeTensors::deserialize(&bytes).expect("a strict reader takes it");
    }
    let bytes = sink.get("layer-00000.safetensors").expect("written");
    let layer = SafeTensors::deserialize(&bytes).expect("valid");
    let up = layer.tensor(&layer_tensor(0, "mlp.up_proj.weight")).expect("there");
    assert_eq!((up.dtype(), up.shape()), (safetensors::Dtype::BF16, &[40, 64][..]));
    let down = layer.tensor(&layer_tensor(0, "mlp.down_proj.weight")).expect("there");
    assert_eq!((down.dtype(), down.shape()), (safetensors::Dtype::U8, &[64, 128][..]));
    assert!(objects(&sink).keys().all(|name| !name.contains(".part") && !name.contains("journal")));
}

#[test]
fn the_vectors_of_a_layer_are_one_run() {
    let sink = MemoryStore::new();
    split_to(&sink, &options(Weights::Original)).expect("split");
    let model = open(sink);
    let run = model.vector_run(1).expect("layer 1 has vectors").clone();
    assert_eq!(
        run.entries,
        BTreeMap::from([("input_layernorm.weight".to_owned(), 0), ("self_attn.q_proj.bias".to_owned(), 64)])
    );
    assert_eq!((run.file, run.len_bytes), (1, 64 * 4 + 8 * 4));
    let mut bytes = vec![0; run.len_bytes as usize];
    block_on(model.verified().read(run.file, run.offset_bytes, &mut Window::from_slice(&mut bytes))).expect("read");
    let bias = decoded(&model, &layer_tensor(1, "self_attn.q_proj.bias"));
    assert_eq!(bytes[256..], plain_bytes(Encoding::F32, bias.into_iter()));
    assert!(model.vector_run(2).is_none());
}

#[test]
fn quantizing_is_close_and_smaller_and_done_to_all_matrices() {
    let (source, checkpoint) = checkpoint(false, Encoding::BF16);
    for (weights, encoding, tolerance) in [(Weights::Q8, Encoding::Q8_0, 0.002), (Weights::Q4, Encoding::Q4_1, 0.02)] {
        let sink = MemoryStore::new();
        split_to(&sink, &options(weights)).expect("split");
        let model = open(sink);
        for tensor in checkpoint.tensors.iter().filter(|tensor| tensor.shape.len() == 2) {
            let (ours, theirs) = (decoded(&model, &tensor.name), source_values(&source, tensor, &checkpoint.files));
            assert_eq!(model.tensor(&tensor.name).expect("stored").encoding().expect("known"), encoding);
            let error = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(error > 0.0 && error < tolerance, "{}: {error}", tensor.name);
        }
    }
}

#[test]
fn a_size_limit_cuts_between_rows_and_changes_no_value() {
    let whole = MemoryStore::new();
    split_to(&whole, &options(Weights::Original)).expect("split");
    let whole = open(whole);
    for limit in [1_500, 2_000, 3_333, 9_000] {
        let sink = MemoryStore::new();
        let options = SplitOptions { max_file_bytes: Some(limit), ..options(Weights::Original) };
        let manifest = split_to(&sink, &options).expect("split");
        assert!(manifest.files.iter().all(|file| file.len_bytes <= limit));
        assert!(manifest.files.iter().any(|file| file.name == "layer-00001-2.safetensors"), "{limit}");
        let cut = open(sink);
        for name in whole.manifest().tensors.keys() {
            assert_eq!(decoded(&cut, name), decoded(&whole, name), "{name}");
        }
        assert!(cut.vector_run(1).is_some());
    }
    let options = SplitOptions { max_file_bytes: Some(600), ..options(Weights::Original) };
    let error = split_to(&MemoryStore::new(), &options).expect_err("no room");
    assert_eq!(error.kind(), ErrorKind::Argument);
}

/// Replaces the Q weights (8 rows of 64) of layer 0 by GGUF blocks with interleaved halves; returns the values in the
/// order that Hugging Face has.
fn make_gguf(source: &MemoryStore, checkpoint: &mut Checkpoint, heads: u64) -> Vec<f32> {
    let tensor = checkpoint.tensors.iter_mut().find(|t| t.name == layer_tensor(0, "self_attn.q_proj.weight"));
    let tensor = tensor.expect("there");
    // Q8_0: f16 d, then 32 quants.
    let block = |seed: u64| {
        let d = half::f16::from_f32(0.5 + seed as f32 / 16.0);
        let quants = (0..32).map(move |i| (seed * 32 + i) as u8);
        d.to_le_bytes().into_iter().chain(quants).collect::<Vec<u8>>()
    };
    let rows: Vec<Vec<u8>> = (0..8).map(|row| [block(row * 2), block(row * 2 + 1)].concat()).collect();
    let mut values = Vec::new();
    let head_rows = 8 / heads;
    for row in 0..8 {
        // Written out as llama.cpp's converter does it: [heads, 2, half] -> [heads, half, 2].
        let (head, s, j) = (row / head_rows, row % head_rows / (head_rows / 2), row % (head_rows / 2));
        let raw = &rows[(head * head_rows + 2 * j + s) as usize];
        let mut planar = vec![0; Encoding::Q8_0.row_stride(64) as usize];
        gguf::repack_row(Encoding::Q8_0, raw, 64, &mut planar).expect("repacked");
        let mut decoded = vec![0.0; 64];
        decode_row(Encoding::Q8_0, &planar, 64, &mut decoded).expect("decoded");
        values.extend(decoded);
    }
    let (name, len) = &mut checkpoint.files[tensor.file];
    let bytes = [source.get(name).expect("there"), rows.concat()].concat();
    tensor.source = Source::GgufBlocks(Encoding::Q8_0);
    tensor.offset_bytes = *len;
    tensor.len_bytes = 8 * 68;
    tensor.rows = RowMap::ALL.in_halves(8 / heads, 8 / heads);
    *len = bytes.len() as u64;
    source.insert(name.clone(), bytes);
    values
}

#[test]
fn gguf_blocks_keep_their_numbers_and_heads_are_put_in_order() {
    for heads in [1, 2, 4] {
        for limit in [None, Some(1_500)] {
            let (source, mut checkpoint) = checkpoint(false, Encoding::BF16);
            let expected = make_gguf(&source, &mut checkpoint, heads);
            let bias = layer_tensor(0, "self_attn.q_proj.bias");
            let tensor = checkpoint.tensors.iter_mut().find(|tensor| tensor.name == bias).expect("there");
            let published = source_values(&source, tensor, &checkpoint.files);
            tensor.rows = RowMap::ALL.in_halves(8 / heads, 8 / heads);
            let sink = MemoryStore::new();
            let options = SplitOptions { max_file_bytes: limit, ..options(Weights::Original) };
            block_on(split(&checkpoint, &spec(false), &source, &sink, &options, &mut go)).expect("split");
            let model = open(sink);
            assert_eq!(decoded(&model, &layer_tensor(0, "self_attn.q_proj.weight")), expected, "{heads} {limit:?}");
            let half = 8 / heads as usize / 2;
            let stored = decoded(&model, &bias);
            assert_eq!(stored[half], published[1], "the second half of head 0 begins with the second value");
            assert_eq!(stored[0], published[0]);
        }
    }
}

#[test]
fn quantizing_what_is_quantized_is_refused_with_the_reason() {
    let (source, mut checkpoint) = checkpoint(false, Encoding::BF16);
    make_gguf(&source, &mut checkpoint, 2);
    for quantized in [false, true] {
        checkpoint.quantized = quantized;
        let sink = MemoryStore::new();
        let result = block_on(split(&checkpoint, &spec(false), &source, &sink, &options(Weights::Q4), &mut go));
        let error = result.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Argument);
        assert!(error.to_string().contains("quantized already"), "{error}");
        assert!(objects(&sink).is_empty(), "nothing is left behind");
    }
}

#[test]
fn a_checkpoint_that_does_not_fit_the_plan_is_refused_by_tensor() {
    type Change = fn(&mut Checkpoint);
    let cases: [(&str, ErrorKind, Change); 6] = [
        ("missing", ErrorKind::Missing, |c| c.tensors.retain(|t| t.name != FINAL_NORM)),
        ("shape", ErrorKind::Malformed, |c| tensor(c, FINAL_NORM).shape = vec![65]),
        ("transposed", ErrorKind::Malformed, |c| tensor(c, EMBEDDINGS).shape.reverse()),
        ("extra", ErrorKind::Unsupported, |c| {
            let mut extra = tensor(c, FINAL_NORM).clone();
            extra.name = "model.norm.bias".to_owned();
            c.tensors.push(extra);
        }),
        ("length", ErrorKind::Malformed, |c| tensor(c, HEAD).len_bytes -= 2),
        ("heads", ErrorKind::Malformed, |c| tensor(c, HEAD).rows = RowMap::ALL.in_halves(7, 7)),
    ];
    for (what, kind, change) in cases {
        let (source, mut checkpoint) = checkpoint(false, Encoding::BF16);
        change(&mut checkpoint);
        let sink = MemoryStore::new();
        let result = block_on(split(&checkpoint, &spec(false), &source, &sink, &options(Weights::Original), &mut go));
        let error = result.expect_err(what);
        assert_eq!(error.kind(), kind, "{what}: {error}");
        assert!(error.tensor_name().is_some(), "{what}: {error}");
        assert!(objects(&sink).is_empty(), "{what}: nothing is left behind");
    }
}

pub(super) fn tensor<'a>(checkpoint: &'a mut Checkpoint, name: &str) -> &'a mut Tensor {
    checkpoint.tensors.iter_mut().find(|tensor| tensor.name == name).expect("there")
}

#[test]
fn harmless_leftovers_are_ignored() {
    let (source, mut checkpoint) = checkpoint(true, Encoding::BF16);
    for name in ["model.layers.0.self_attn.rotary_emb.inv_freq", HEAD] {
        let mut extra = tensor(&mut checkpoint, FINAL_NORM).clone();
        extra.name = name.to_owned();
        checkpoint.tensors.push(extra);
    }
    let sink = MemoryStore::new();
    block_on(split(&checkpoint, &spec(true), &source, &sink, &options(Weights::Original), &mut go)).expect("split");
}

#[test]
fn values_of_the_fixture_differ_between_tensors() {
    assert_ne!(value(0, 1), value(1, 1));
    assert_ne!(value(0, 1), value(0, 2));
}
