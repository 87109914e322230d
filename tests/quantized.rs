//! Checkpoints that other tools quantized: the numbers of their rows, what `--weights` makes of them, and what is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::common::{self, Files, Golden, block_on, data, engine_config, families, gpu, layers_of, relative_error};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use tilestream::internals::checkpoint::{self, Checkpoint, Source};
use tilestream::internals::encoding::decode_row;
use tilestream::internals::model::batch;
use tilestream::internals::plan::{self, RowMap};
use tilestream::internals::shard::Model;
use tilestream::internals::shard::split::{SplitOptions, Weights, notice, saved_checkpoint, split};
use tilestream::store::{MemoryStore, Store, Window};
use tilestream::{Error, ErrorKind, Result};

/// The checkpoints, and how each stores its matrices at `original`, `q8` and `q4`.
const CASES: &[(&str, [&[&str]; 3])] = &[
    ("deepseek-v3-fp8", [&["bf16", "f8_e4m3"], &["f8_e4m3", "q8_0"], &["q4_1"]]),
    ("llama-airllm-4bit", [&["f32", "nf4"], &["nf4", "q8_0"], &["nf4", "q4_1"]]),
    ("llama-airllm-8bit", [&["f32"], &["q8_0"], &["q4_1"]]),
    ("llama-awq", [&["f16", "q4_z128"], &["q4_z128", "q8_0"], &["q4_1", "q4_z128"]]),
    ("llama-fp4", [&["f16", "fp4"], &["fp4", "q8_0"], &["fp4", "q4_1"]]),
    ("llama-fp8", [&["bf16", "f8_e4m3"], &["f8_e4m3", "q8_0"], &["q4_1"]]),
    ("llama-fp8-rows", [&["bf16", "f8_e4m3"], &["f8_e4m3", "q8_0"], &["q4_1"]]),
    ("llama-gptq", [&["f16", "q4_z"], &["q4_z", "q8_0"], &["q4_1", "q4_z"]]),
    ("llama-gptq-8bit", [&["f16", "q8_0"], &["q8_0"], &["q4_1"]]),
    // Columns in no order, and rows that are no whole blocks, are decoded.
    ("llama-gptq-act-order", [&["f16"], &["q8_0"], &["q4_1"]]),
    ("llama-int8", [&["f16", "i8"], &["i8", "q8_0"], &["q4_1"]]),
    (
        "llama-mixed",
        [
            &["bf16", "f8_e4m3", "i8", "mxfp4", "nvfp4", "q4_zb", "q4_zb128"],
            &["f8_e4m3", "i8", "mxfp4", "nvfp4", "q4_zb", "q4_zb128", "q8_0"],
            &["mxfp4", "nvfp4", "q4_1", "q4_zb", "q4_zb128"],
        ],
    ),
    ("llama-modelopt", [&["bf16", "f8_e4m3", "nvfp4"], &["f8_e4m3", "nvfp4", "q8_0"], &["nvfp4", "q4_1"]]),
    ("llama-nf4", [&["bf16", "f32", "nf4"], &["nf4", "q8_0"], &["nf4", "q4_1"]]),
    ("llama-w4a16", [&["bf16", "q4_b"], &["q4_b", "q8_0"], &["q4_1", "q4_b"]]),
    ("llama-w4a16-zero", [&["f16", "q4_z128"], &["q4_z128", "q8_0"], &["q4_1", "q4_z128"]]),
    ("llama-w8a8", [&["bf16", "i8"], &["i8", "q8_0"], &["q4_1"]]),
];

/// The largest difference that each of the three may make, of a row's largest weight.
const TOLERANCES: [(Weights, f32); 3] = [(Weights::Original, 2e-7), (Weights::Q8, 0.005), (Weights::Q4, 0.12)];

fn folder(name: &str) -> MemoryStore {
    let folder = data("families").join(name);
    let read = |file: &str| (file.to_owned(), std::fs::read(folder.join(file)).expect(file));
    let Some(layers) = layers_of(&folder) else {
        return ["config.json", "model.safetensors"].map(read).into_iter().collect();
    };
    let layers = std::fs::read_dir(layers)
        .expect("layers")
        .flatten()
        .map(|file| (file.file_name().into_string().expect("UTF-8"), std::fs::read(file.path()).expect("a layer")));
    layers.chain([read("config.json")]).collect()
}

fn opened(store: &MemoryStore) -> Result<Checkpoint> {
    block_on(checkpoint::open(store, None))
}

fn split_as(store: &MemoryStore, weights: Weights) -> Result<Model> {
    block_on(async {
        let checkpoint = checkpoint::open(store, None).await?;
        let spec = plan::model_spec(&checkpoint.config)?;
        let sink = Arc::new(MemoryStore::new());
        let go_on = &mut |_: tilestream::internals::shard::Progress<'_>| std::ops::ControlFlow::Continue(());
        split(&checkpoint, &spec, store, &*sink, &SplitOptions { weights, ..Default::default() }, go_on).await?;
        Model::open(sink).await
    })
}

fn row(model: &Model, name: &str, row: u64) -> Vec<f32> {
    let tensor = model.tensor(name).expect(name);
    let encoding = tensor.encoding().expect("known");
    let mut packed = vec![0; tensor.row_bytes().expect("sane") as usize];
    block_on(model.read_rows(name, row..row + 1, &mut Window::from_slice(&mut packed))).expect("reads");
    let mut values = vec![0.0; tensor.shape[1] as usize];
    decode_row(encoding, &packed, tensor.shape[1], &mut values).expect("decodes");
    values
}

/// What the reference decoded of some matrices: their first and their last row.
fn decoded(name: &str, checkpoint: &Checkpoint) -> BTreeMap<String, [Vec<f32>; 2]> {
    let bytes = std::fs::read(data("families").join(name).join("golden.safetensors")).expect("golden");
    let golden = SafeTensors::deserialize(&bytes).expect("safetensors");
    let as_it_is = |name: &str| {
        let found = checkpoint.tensors.iter().find(|tensor| tensor.name == name);
        found.is_some_and(|tensor| tensor.rows == RowMap::ALL)
    };
    let names = golden.names().into_iter().filter_map(|name| name.strip_prefix("decoded/"));
    let rows = |name: &str| {
        let values: Vec<f32> =
            bytemuck::pod_collect_to_vec(golden.tensor(&format!("decoded/{name}")).expect(name).data());
        let (first, last) = values.split_at(values.len() / 2);
        (name.to_owned(), [first.to_vec(), last.to_vec()])
    };
    names.filter(|name| as_it_is(name)).map(rows).collect()
}

#[test]
fn every_quantized_checkpoint_is_a_case() {
    let is_quantized = |name: &String| {
        let config = std::fs::read_to_string(data("families").join(name).join("config.json")).expect("a config");
        let by_airllm = layers_of(&data("families").join(name)).is_some();
        by_airllm || config.contains("quantization_config") && !config.contains("\"quant_method\": \"mxfp4\"")
    };
    let found: Vec<String> = families().into_iter().filter(is_quantized).collect();
    let cases: Vec<&str> = CASES.iter().map(|(name, _)| *name).collect();
    assert_eq!(found, cases);
}

#[test]
fn rows_have_the_numbers_of_the_reference() {
    for (name, encodings) in CASES {
        let store = folder(name);
        let golden = decoded(name, &opened(&store).expect("opens"));
        assert!(golden.len() >= 3, "{name}: {:?}", golden.keys());
        for ((weights, tolerance), expected) in TOLERANCES.iter().zip(encodings) {
            let model = split_as(&store, *weights).expect("splits");
            let matrices = model.manifest().tensors.values().filter(|tensor| tensor.shape.len() == 2);
            let found: std::collections::BTreeSet<&str> = matrices.map(|tensor| &*tensor.encoding).collect();
            assert!(found.iter().eq(expected.iter()), "{name} {weights:?}: {found:?}");
            let mut worst = 0.0_f32;
            for (tensor, ends) in &golden {
                let last = model.tensor(tensor).expect("stored").shape[0] - 1;
                for (index, expected) in [0, last].into_iter().zip(ends) {
                    let largest = expected.iter().fold(0.0_f32, |all, value| all.max(value.abs()));
                    let found = row(&model, tensor, index);
                    assert_eq!(found.len(), expected.len(), "{name}: {tensor}");
                    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs() / largest);
                    worst = differences.fold(worst, f32::max);
                }
            }
            println!("{name} {weights:?}: {worst:.1e}");
            assert!(worst <= *tolerance, "{name} {weights:?}: {worst}");
        }
    }
}

/// Changes bytes of a tensor.
fn patch(store: &MemoryStore, tensor: &str, change: impl FnOnce(&mut [u8])) {
    let names = block_on(store.list()).expect("lists");
    let found = names.into_iter().filter(|name| name.ends_with(".safetensors")).find_map(|name| {
        let bytes = store.get(&name).expect("there");
        let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
        let data = tensors.tensor(tensor).ok()?.data();
        let start = data.as_ptr() as usize - bytes.as_ptr() as usize;
        let place = start..start + data.len();
        Some((name, place))
    });
    let (name, place) = found.expect(tensor);
    let mut bytes = store.get(&name).expect("there").to_vec();
    change(&mut bytes[place]);
    store.insert(name, bytes);
}

fn refused(name: &str, tensor: &str, change: impl FnOnce(&mut [u8])) -> Error {
    let store = folder(name);
    patch(&store, tensor, change);
    split_as(&store, Weights::Original).err().unwrap_or_else(|| panic!("{name}: {tensor} was accepted"))
}

#[test]
fn bytes_that_are_no_numbers_are_refused_by_tensor() {
    let q = |ending: &str| format!("model.layers.0.self_attn.q_proj.{ending}");
    let infinite = |bytes: &mut [u8]| bytes[..4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    for (name, tensor, change, kind, says) in [
        (
            "llama-fp8",
            q("weight"),
            &(|bytes: &mut [u8]| bytes[700] = 0xff) as &dyn Fn(&mut [u8]),
            ErrorKind::Malformed,
            "row 5, column 20",
        ),
        ("llama-fp8", q("weight_scale_inv"), &infinite, ErrorKind::Malformed, "inf"),
        ("llama-int8", q("SCB"), &infinite, ErrorKind::Malformed, "inf"),
        ("llama-int8", q("weight_format"), &|bytes| bytes[0] = 2, ErrorKind::Unsupported, "arranged"),
        ("llama-fp4", q("weight.absmax"), &infinite, ErrorKind::Malformed, "inf"),
        ("llama-nf4", q("weight.nested_absmax"), &infinite, ErrorKind::Malformed, "inf"),
        ("llama-nf4", q("weight.quant_map"), &|bytes| bytes[0] ^= 1, ErrorKind::Unsupported, "table of nf4"),
        ("llama-nf4", q("weight.quant_state.bitsandbytes__nf4"), &|bytes| bytes[0] = 0, ErrorKind::Malformed, "JSON"),
        ("llama-airllm-4bit", q("weight.4bit.absmax"), &infinite, ErrorKind::Malformed, "inf"),
        ("llama-airllm-4bit", q("bias.4bit.absmax"), &infinite, ErrorKind::Malformed, "inf"),
        ("llama-airllm-4bit", q("bias.4bit.quant_map"), &|bytes| bytes[0] ^= 1, ErrorKind::Unsupported, "table of nf4"),
        ("llama-airllm-8bit", q("weight.8bit.absmax"), &infinite, ErrorKind::Malformed, "inf"),
        ("llama-airllm-8bit", q("weight.8bit.code"), &infinite, ErrorKind::Malformed, "inf"),
        ("llama-gptq", q("g_idx"), &|bytes| bytes[0] = 1, ErrorKind::Unsupported, "desc_act"),
        ("llama-gptq-act-order", q("g_idx"), &|bytes| bytes[0] = 2, ErrorKind::Malformed, "group 2 of 2"),
        ("llama-gptq-8bit", q("qzeros"), &|bytes| bytes[0] ^= 1, ErrorKind::Malformed, "symmetric"),
        (
            "llama-w4a16",
            q("weight_scale"),
            &|bytes| bytes[..2].copy_from_slice(&[0x80, 0x7f]),
            ErrorKind::Malformed,
            "inf",
        ),
        ("llama-mixed", q("weight_scale"), &infinite, ErrorKind::Malformed, "inf"),
        ("llama-awq", q("scales"), &|bytes| bytes[1] = 0x7c, ErrorKind::Malformed, "not a finite number"),
    ] {
        let error = refused(name, &tensor, change);
        let text = error.to_string();
        assert!(error.kind() == kind && text.contains(says), "{name} {tensor}: {text}");
        assert!(text.contains("self_attn.q_proj") && text.contains(".safetensors"), "{name} {tensor}: {text}");
    }
}

#[test]
fn scales_of_four_bit_floats_that_are_none_are_refused_by_name() {
    for (name, part, bytes, says) in [
        ("llama-mixed", "gate_proj.weight_scale", &[0x7f][..], "0x7f"),
        ("llama-mixed", "gate_proj.weight_scale", &[0x81], "0x81"),
        ("llama-mixed", "down_proj.weight_scale", &[0xff], "0xff"),
        ("llama-mixed", "up_proj.weight_global_scale", &[0; 4], "not above 0"),
        ("llama-modelopt", "up_proj.weight_scale_2", &[0; 4], "not above 0"),
    ] {
        let change = |found: &mut [u8]| found[..bytes.len()].copy_from_slice(bytes);
        let error = refused(name, &format!("model.layers.0.mlp.{part}"), change);
        assert!(error.kind() == ErrorKind::Malformed && error.to_string().contains(says), "{name} {part}: {error}");
        assert!(error.to_string().contains(part), "{name}: {error}");
    }
}

/// The folder with another `quantization_config`.
fn configured(name: &str, change: impl FnOnce(&mut serde_json::Value)) -> MemoryStore {
    let store = folder(name);
    let mut config: serde_json::Value =
        serde_json::from_slice(&store.get("config.json").expect("there")).expect("JSON");
    change(&mut config["quantization_config"]);
    store.insert("config.json".to_owned(), config.to_string().into_bytes());
    store
}

#[test]
fn what_a_config_says_and_is_not_known_is_refused_by_name() {
    for (name, field, value, says) in [
        ("llama-fp8", "quant_method", "quip", "'quip'"),
        ("llama-fp8", "fmt", "e5m2", "e5m2"),
        ("llama-fp8-rows", "format", "marlin-24", "marlin-24"),
        ("llama-gptq", "checkpoint_format", "marlin", "marlin"),
        ("llama-gptq", "format", "bitblas", "bitblas"),
        ("llama-awq", "version", "gemv", "gemv"),
    ] {
        let store = configured(name, |config| config[field] = value.into());
        let error = opened(&store).expect_err(says);
        assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains(says), "{name}: {error}");
        assert!(error.to_string().contains("config.json"), "{name}: {error}");
    }
    for bits in [2, 3] {
        let error = opened(&configured("llama-gptq", |config| config["bits"] = bits.into())).expect_err("too few");
        assert!(
            error.kind() == ErrorKind::Unsupported && error.to_string().contains(&format!("bits {bits}")),
            "{error}"
        );
    }
    // Groups that no matrix is of, columns in no order, and an algorithm that ModelOpt has besides.
    let group = |field: &str, value: serde_json::Value| {
        configured("llama-w4a16", |config| config["config_groups"]["group_0"]["weights"][field] = value)
    };
    for (store, says) in [
        (group("num_bits", 8.into()), "none or of several groups"),
        (group("group_size", 64.into()), "none or of several groups"),
        (group("symmetric", false.into()), "none or of several groups"),
        (group("actorder", "group".into()), "order of their weight"),
        (configured("llama-modelopt", |config| config["quant_algo"] = "W4A8_AWQ".into()), "W4A8_AWQ"),
    ] {
        let error = opened(&store).expect_err(says);
        assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains(says), "{error}");
    }
    // Sizes that do not fit the tensors.
    for (name, field, value) in [
        ("llama-gptq", "group_size", serde_json::json!(64)),
        ("llama-gptq", "bits", serde_json::json!(8)),
        ("llama-fp8", "weight_block_size", serde_json::json!([64, 64])),
        ("llama-fp8", "weight_block_size", serde_json::json!([0, 128])),
        ("llama-awq", "group_size", serde_json::json!(0)),
    ] {
        let error = opened(&configured(name, |config| config[field] = value.clone())).expect_err("does not fit");
        assert_eq!(error.kind(), ErrorKind::Malformed, "{name} {field} {value}: {error}");
    }
}

#[test]
fn a_text_part_may_have_a_config_of_its_own() {
    let store = folder("llama-w4a16");
    let expected = opened(&store).expect("opens").tensors;
    let mut config: serde_json::Value =
        serde_json::from_slice(&store.get("config.json").expect("there")).expect("JSON");
    let own = config["quantization_config"].take();
    config["text_config"] = serde_json::json!({ "quantization_config": own });
    store.insert("config.json".to_owned(), config.to_string().into_bytes());
    assert_eq!(opened(&store).expect("opens").tensors, expected);
}

#[test]
fn blocks_are_those_of_each_spelling_of_the_config() {
    let expected = opened(&folder("llama-fp8")).expect("opens").tensors;
    let groups = |blocks: &[[u64; 2]]| {
        let group = |block: &[u64; 2]| serde_json::json!({"weights": {"strategy": "block", "block_structure": block}});
        let groups = blocks.iter().enumerate().map(|(index, block)| (format!("group_{index}"), group(block)));
        let groups: serde_json::Map<_, _> = groups.collect();
        let method = "compressed-tensors";
        let config = serde_json::json!({"quant_method": method, "format": "float-quantized", "config_groups": groups});
        opened(&configured("llama-fp8", |old| *old = config))
    };
    assert_eq!(groups(&[[128, 128]; 2]).expect("opens").tensors, expected);
    assert_eq!(groups(&[[128, 128], [64, 64]]).expect_err("two sizes").kind(), ErrorKind::Unsupported);
    assert_eq!(groups(&[[128, 64]]).expect_err("another size").kind(), ErrorKind::Malformed);
    assert_eq!(groups(&[]).expect_err("no size").kind(), ErrorKind::Malformed);
}

#[test]
fn older_gptq_says_how_in_a_file_of_its_own() {
    let store = folder("llama-gptq");
    let expected = opened(&store).expect("opens").tensors;
    let mut config: serde_json::Value =
        serde_json::from_slice(&store.get("config.json").expect("there")).expect("JSON");
    let mut quantize = config["quantization_config"].take();
    quantize.as_object_mut().expect("an object").remove("quant_method");
    store.insert("config.json".to_owned(), config.to_string().into_bytes());
    let error = opened(&store).expect_err("nothing says so");
    assert!(error.to_string().contains("I32"), "{error}");
    store.insert("quantize_config.json".to_owned(), quantize.to_string().into_bytes());
    assert_eq!(opened(&store).expect("opens").tensors, expected);
}

#[test]
fn scales_that_are_missing_or_lie_elsewhere_are_found_or_named() {
    // All scales in a file of their own.
    let (store, apart) = (folder("llama-fp8"), MemoryStore::new());
    let bytes = store.get("model.safetensors").expect("there");
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
    let (scales, others): (Vec<_>, Vec<_>) = tensors.iter().partition(|(name, _)| name.ends_with("weight_scale_inv"));
    let mut map = serde_json::Map::new();
    for (file, part) in [("a.safetensors", others), ("b.safetensors", scales.clone())] {
        map.extend(part.iter().map(|(name, _)| ((*name).to_owned(), file.into())));
        apart.insert(file.to_owned(), safetensors::serialize(part, None).expect("serializes"));
    }
    apart.insert("config.json".to_owned(), store.get("config.json").expect("there"));
    let index = serde_json::json!({ "weight_map": map }).to_string();
    apart.insert("model.safetensors.index.json".to_owned(), index.into_bytes());
    let (one, two) =
        (split_as(&store, Weights::Original).expect("one"), split_as(&apart, Weights::Original).expect("two"));
    let name = "model.layers.1.mlp.up_proj.weight";
    assert_eq!(row(&one, name, 147), row(&two, name, 147));
    assert!(
        opened(&apart).expect("opens").tensors.iter().any(|tensor| matches!(tensor.source, Source::Quantized(_))
            && tensor.companions.iter().all(|scale| scale.file == 1))
    );
    // And without one of them.
    map.remove(scales[0].0);
    let index = serde_json::json!({ "weight_map": map }).to_string();
    apart.insert("model.safetensors.index.json".to_owned(), index.into_bytes());
    let error = opened(&apart).expect_err("a scale is missing");
    assert_eq!((error.kind(), error.tensor_name()), (ErrorKind::Missing, Some(scales[0].0)), "{error}");
    assert!(error.to_string().contains("a.safetensors"), "{error}");
}

/// The folder with other tensors in one of its files.
fn retold(
    name: &str,
    file: &str,
    change: impl Fn(&str, Dtype, &[usize]) -> Option<(Dtype, Vec<usize>)>,
) -> MemoryStore {
    let store = folder(name);
    let bytes = store.get(file).expect(file);
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
    let views = tensors.iter().filter_map(|(name, view)| {
        let (dtype, shape) = change(name, view.dtype(), view.shape())?;
        let len = shape.iter().product::<usize>() * dtype.bitsize() / 8;
        Some((name.to_owned(), TensorView::new(dtype, shape, &view.data()[..len]).expect("a view")))
    });
    store.insert(file.to_owned(), safetensors::serialize(views, None).expect("serializes"));
    store
}

#[test]
fn tensors_of_airllm_that_do_not_fit_are_refused_by_name() {
    const NORM: &str = "model.norm.weight";
    let as_it_is = |dtype, shape: &[usize]| Some((dtype, shape.to_vec()));
    for (bits, part, change, kind) in [
        ("4bit", ".4bit.absmax", None, ErrorKind::Missing),
        ("4bit", ".4bit.quant_map", None, ErrorKind::Missing),
        ("4bit", "", None, ErrorKind::Missing),
        ("4bit", "", Some((Dtype::U8, vec![31, 1])), ErrorKind::Malformed),
        ("4bit", ".4bit.quant_map", Some((Dtype::F32, vec![15])), ErrorKind::Malformed),
        ("4bit", ".4bit.absmax", Some((Dtype::F16, vec![1])), ErrorKind::Unsupported),
        ("8bit", "", None, ErrorKind::Missing),
        ("8bit", ".8bit.code", None, ErrorKind::Missing),
        ("8bit", ".8bit.code", Some((Dtype::F32, vec![255])), ErrorKind::Malformed),
        ("8bit", ".8bit.absmax", Some((Dtype::F32, vec![0])), ErrorKind::Malformed),
        ("8bit", ".8bit.absmax", Some((Dtype::F16, vec![1])), ErrorKind::Unsupported),
        ("8bit", "", Some((Dtype::I8, vec![64])), ErrorKind::Unsupported),
        ("8bit", "", Some((Dtype::U8, vec![4, 4, 4])), ErrorKind::Unsupported),
        ("8bit", "", Some((Dtype::U8, vec![])), ErrorKind::Unsupported),
        ("8bit", "", Some((Dtype::U8, vec![0])), ErrorKind::Malformed),
    ] {
        let other = |name: &str, dtype, shape: &[usize]| match name.strip_prefix(NORM) {
            Some(rest) if rest == part => change.clone(),
            _ => as_it_is(dtype, shape),
        };
        let error = opened(&retold(&format!("llama-airllm-{bits}"), "model.norm.safetensors", other));
        let error = error.err().unwrap_or_else(|| panic!("{bits} {part} {change:?} was accepted"));
        assert_eq!(error.kind(), kind, "{bits} {part} {change:?}: {error}");
        assert!(error.to_string().contains(NORM), "{bits} {part} {change:?}: {error}");
    }
}

#[test]
fn a_stopped_split_remembers_how_its_matrices_are_quantized() {
    for name in ["llama-fp8", "llama-nf4", "llama-gptq-act-order", "llama-airllm-8bit"] {
        let (store, sink) = (folder(name), MemoryStore::new());
        let checkpoint = opened(&store).expect("opens");
        let spec = plan::model_spec(&checkpoint.config).expect("a plan");
        let stop = &mut |_: tilestream::internals::shard::Progress<'_>| std::ops::ControlFlow::Break(());
        let stopped = block_on(split(&checkpoint, &spec, &store, &sink, &SplitOptions::default(), stop));
        assert_eq!(stopped.expect_err("stopped").kind(), ErrorKind::Cancelled);
        let saved = block_on(saved_checkpoint(&sink)).expect("readable").expect("there");
        assert_eq!(saved.tensors, checkpoint.tensors, "{name}");
    }
}

#[test]
fn matrices_that_are_stored_decoded_are_told_of() {
    for (name, weights, expected) in [
        ("llama-gptq-act-order", Weights::Original, Some("14 ")),
        ("llama-gptq-act-order", Weights::Q4, None),
        ("llama-nf4", Weights::Original, Some("2 ")),
        ("llama-airllm-4bit", Weights::Original, Some("2 ")),
        ("llama-airllm-8bit", Weights::Original, Some("15 ")),
        ("llama-airllm-8bit", Weights::Q8, None),
        ("llama-gptq", Weights::Original, None),
        ("llama-fp8", Weights::Original, None),
    ] {
        let notice = notice(&opened(&folder(name)).expect("opens"), weights);
        let fits = match expected {
            Some(count) => notice.as_ref().is_some_and(|text| text.starts_with(count)),
            None => notice.is_none(),
        };
        assert!(fits, "{name} {weights:?}: {notice:?}");
    }
}

/// Mean relative error of the logits of a checkpoint that is split with these weights.
fn logits_error(name: &str, weights: Weights) -> f64 {
    block_on(async {
        let (source, store) = (folder(name), Arc::new(MemoryStore::new()));
        let checkpoint = checkpoint::open(&source, None).await.expect("opens");
        let spec = plan::model_spec(&checkpoint.config).expect("a plan");
        let go_on = &mut |_: tilestream::internals::shard::Progress<'_>| std::ops::ControlFlow::Continue(());
        let options = SplitOptions { weights, ..Default::default() };
        split(&checkpoint, &spec, &source, &*store, &options, go_on).await.expect("splits");
        let golden = Golden::read_file(&data("families").join(name).join("golden.safetensors"));
        let (files, config) = (Files { store, spec }, engine_config());
        let mut model = common::open(&files, gpu(config.budget_bytes).await, config).await.expect("loads");
        let mut sum = 0.0;
        let compare = |position, logits: &[f32]| {
            sum += relative_error(logits, golden.logits(position));
            Ok(())
        };
        batch::score(&mut model, &golden.ids, compare).await.expect("scores");
        sum / golden.ids.len() as f64
    })
}

#[test]
fn quantizing_what_was_decoded_costs_a_little() {
    for (name, bits_8, bits_4) in [("llama-gptq-act-order", 0.03, 0.4), ("llama-fp8", 0.03, 0.4)] {
        let (q8, q4) = (logits_error(name, Weights::Q8), logits_error(name, Weights::Q4));
        println!("{name}: {q8:.4} with 8 bits, {q4:.4} with 4");
        assert!(q8 > 0.0 && q8 < bits_8 && q8 < q4 && q4 < bits_4, "{name}: {q8} {q4}");
    }
}
