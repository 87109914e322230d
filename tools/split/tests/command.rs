//! The real command, in a temporary folder.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tilestream_split::{HubArgs, open_or_split};

const HIDDEN: usize = 64;
const LAYERS: usize = 3;
const VOCAB: usize = 200;

/// A Hugging Face folder with a small Llama in bf16, in two files with an index.
fn checkpoint(folder: &Path) -> PathBuf {
    let folder = folder.join("tiny-llama");
    fs::create_dir(&folder).expect("made");
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": 96,
        "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": LAYERS, "vocab_size": VOCAB,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10_000.0, "hidden_act": "silu",
        "tie_word_embeddings": false, "attention_bias": false, "mlp_bias": false, "torch_dtype": "bfloat16",
        "bos_token_id": 1, "eos_token_id": 2,
    });
    fs::write(folder.join("config.json"), config.to_string()).expect("written");
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null, "post_processor": null,
        "decoder": null, "model": { "type": "BPE", "vocab": { "a": 0, "b": 1 }, "merges": [] },
    });
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).expect("written");

    let (outside, layers) = tensors();
    let mut index = Map::new();
    for (file, tensors) in
        [("model-00001-of-00002.safetensors", &outside), ("model-00002-of-00002.safetensors", &layers)]
    {
        fs::write(folder.join(file), safetensors(tensors)).expect("written");
        index.extend(tensors.iter().map(|(name, _)| (name.clone(), Value::from(file))));
    }
    let index = json!({"metadata": {"total_size": 0}, "weight_map": index});
    fs::write(folder.join("model.safetensors.index.json"), index.to_string()).expect("written");
    folder
}

type Shapes = Vec<(String, Vec<usize>)>;

/// The tensors of that checkpoint: those outside of layers, and the others.
fn tensors() -> (Shapes, Shapes) {
    let mut layers = Vec::new();
    for layer in 0..LAYERS {
        for (name, shape) in [
            ("input_layernorm", vec![HIDDEN]),
            ("post_attention_layernorm", vec![HIDDEN]),
            ("self_attn.q_proj", vec![HIDDEN, HIDDEN]),
            ("self_attn.k_proj", vec![HIDDEN / 2, HIDDEN]),
            ("self_attn.v_proj", vec![HIDDEN / 2, HIDDEN]),
            ("self_attn.o_proj", vec![HIDDEN, HIDDEN]),
            ("mlp.gate_proj", vec![96, HIDDEN]),
            ("mlp.up_proj", vec![96, HIDDEN]),
            ("mlp.down_proj", vec![HIDDEN, 96]),
        ] {
            layers.push((format!("model.layers.{layer}.{name}.weight"), shape));
        }
    }
    let outside = vec![
        ("model.embed_tokens.weight".to_owned(), vec![VOCAB, HIDDEN]),
        ("model.norm.weight".to_owned(), vec![HIDDEN]),
        ("lm_head.weight".to_owned(), vec![VOCAB, HIDDEN]),
    ];
    (outside, layers)
}

/// A folder of layers in the checkpoint's, as AirLLM leaves it.
fn by_layers(checkpoint: &Path, folder: &str) -> PathBuf {
    let folder = checkpoint.join(folder);
    fs::create_dir(&folder).expect("made");
    let (outside, layers) = tensors();
    let mut files: Vec<Shapes> = outside.into_iter().map(|tensor| vec![tensor]).collect();
    files.extend(layers.chunks(layers.len() / LAYERS).map(<[_]>::to_vec));
    for tensors in files {
        let name = &tensors[0].0;
        let parts = if name.contains(".layers.") { 3 } else { name.split('.').count() - 1 };
        let name = name.split('.').take(parts).collect::<Vec<_>>().join(".") + ".safetensors";
        fs::write(folder.join(&name), safetensors(&tensors)).expect("written");
        fs::write(folder.join(name + ".done"), "").expect("written");
    }
    folder
}

/// A safetensors file of small bf16 values.
fn safetensors(tensors: &[(String, Vec<usize>)]) -> Vec<u8> {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (name, shape) in tensors {
        let start = data.len();
        let count = shape.iter().product::<usize>();
        data.extend(
            (0..count as u32)
                .flat_map(|i| (0x3C00 | (i.wrapping_mul(2_654_435_761) >> 17) as u16 & 0x81FF).to_le_bytes()),
        );
        header.insert(name.clone(), json!({"dtype": "BF16", "shape": shape, "data_offsets": [start, data.len()]}));
    }
    let header = Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tilestream-split"));
    command.args(args);
    command
}

fn run(args: &[&str]) -> Output {
    command(args).output().expect("started")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[track_caller]
fn ok(args: &[&str]) {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Fails with that code and one line that contains all of `parts`.
#[track_caller]
fn fails(args: &[&str], code: i32, parts: &[&str]) {
    let output = run(args);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    let error = stderr.lines().find(|line| line.starts_with("error:")).unwrap_or_else(|| panic!("no error: {stderr}"));
    assert!(parts.iter().all(|part| error.contains(part)), "{error} lacks one of {parts:?}");
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).expect("readable").flatten();
    let mut files: Vec<_> = entries
        .map(|entry| (entry.file_name().into_string().expect("UTF-8"), fs::read(entry.path()).expect("readable")))
        .collect();
    files.sort();
    files
}

#[test]
fn a_checkpoint_is_split_and_verified() {
    let folder = TempDir::new().expect("made");
    let (source, out) = (checkpoint(folder.path()), folder.path().join("model"));
    ok(&["split", text(&source), text(&out)]);
    ok(&["verify", text(&out)]);
    ok(&["split", text(&source), text(&out)]);
    fails(&["split", text(&source), text(&out), "--weights", "q8"], 2, &["another model"]);

    let layer = out.join("layer-00001.safetensors");
    let mut bytes = fs::read(&layer).expect("readable");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&layer, bytes).expect("written");
    let output = run(&["verify", text(&out)]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout.contains("layer-00001") && stdout.contains("model.layers.1.mlp.down_proj.weight"), "{stdout}");
    // Splitting again is the remedy that `verify` names.
    let output = run(&["split", text(&source), text(&out)]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && stderr.contains("1 file was damaged or missing and is written again"),
        "{stderr}"
    );
    ok(&["verify", text(&out)]);
}

#[test]
fn wrong_arguments_and_missing_things_say_so() {
    let folder = TempDir::new().expect("made");
    let (source, out) = (checkpoint(folder.path()), folder.path().join("model"));
    fails(&["split", text(&source), text(&out), "--max-file-size", "600B"], 2, &["--max-file-size"]);
    assert_eq!(run(&["split", text(&source), text(&out), "--max-file-size", "much"]).status.code(), Some(2));
    fails(&["split", text(&folder.path().join("absent")), text(&out)], 1, &["absent"]);
    fails(&["split", text(folder.path()), text(&out)], 1, &["no checkpoint"]);
    fails(&["verify", text(&source)], 1, &["manifest.json"]);
    fails(&["synth", "gpt-5", text(&out)], 2, &["llama-3.1-8b"]);
    assert!(!out.exists(), "nothing is left behind");
    fs::write(source.join("config.json"), "{").expect("written");
    fails(&["split", text(&source), text(&out)], 1, &["config.json"]);
}

#[test]
fn a_field_that_nobody_knows_is_ignored_by_name() {
    let folder = TempDir::new().expect("made");
    let (source, out) = (checkpoint(folder.path()), folder.path().join("model"));
    let config = fs::read_to_string(source.join("config.json")).expect("a config");
    fs::write(source.join("config.json"), config.replacen('{', r#"{"wobble": 3, "#, 1)).expect("written");
    fails(&["split", text(&source), text(&out)], 1, &["wobble", "--ignore-field wobble"]);
    fails(&["split", text(&source), text(&out), "--ignore-field", "wabble"], 2, &["wabble"]);
    assert!(run(&["split", text(&source), text(&out), "--ignore-field", "wobble"]).status.success());
    let manifest = fs::read_to_string(out.join("manifest.json")).expect("a manifest");
    assert!(manifest.contains("\"_wobble\""), "the config is kept whole");
}

#[test]
fn a_class_that_nobody_knows_is_read_as_the_one_that_it_is_like() {
    let folder = TempDir::new().expect("made");
    let (source, out) = (checkpoint(folder.path()), folder.path().join("model"));
    let config = fs::read_to_string(source.join("config.json")).expect("a config");
    let renamed = config.replace("LlamaForCausalLM", "LlamoidForCausalLM");
    assert_ne!(renamed, config);
    fs::write(source.join("config.json"), &renamed).expect("written");
    let remedy = ["LlamoidForCausalLM", "which knows all of its fields", "--as LlamaForCausalLM tries it"];
    fails(&["split", text(&source), text(&out)], 1, &remedy);
    ok(&["split", text(&source), text(&out), "--as", "LlamaForCausalLM"]);
    // The same with a field that Llama does not have.
    fs::write(source.join("config.json"), renamed.replacen('{', r#"{"wobble": 3, "#, 1)).expect("written");
    let other = folder.path().join("other");
    let remedy = ["does not know 'wobble'", "--as LlamaForCausalLM and --ignore-field wobble tries it"];
    fails(&["split", text(&source), text(&other)], 1, &remedy);
    ok(&["split", text(&source), text(&other), "--as", "LlamaForCausalLM", "--ignore-field", "wobble"]);
    fails(&["split", text(&source), text(&other), "--as", "GramophoneForCausalLM"], 1, &["GramophoneForCausalLM"]);
}

#[test]
fn a_killed_split_is_finished_by_the_same_command() {
    let folder = TempDir::new().expect("made");
    let source = checkpoint(folder.path());
    let golden = folder.path().join("golden");
    ok(&["split", text(&source), text(&golden)]);
    let golden = files(&golden);
    for (i, delay_us) in [0, 2_000, 4_000, 6_000, 9_000, 13_000, 18_000, 25_000, 40_000].into_iter().enumerate() {
        let out = folder.path().join(format!("model-{i}"));
        let mut child = command(&["split", text(&source), text(&out)]).spawn().expect("started");
        std::thread::sleep(Duration::from_micros(delay_us));
        child.kill().expect("killed");
        child.wait().expect("ended");
        ok(&["split", text(&source), text(&out)]);
        assert!(files(&out) == golden, "killed after {delay_us} µs");
    }
}

#[test]
fn originals_go_when_asked() {
    let folder = TempDir::new().expect("made");
    let source = checkpoint(folder.path());
    let (kept, out) = (folder.path().join("kept"), folder.path().join("model"));
    ok(&["split", text(&source), text(&kept)]);
    ok(&["split", text(&source), text(&out), "--delete-original"]);
    assert!(files(&out) == files(&kept));
    let left: Vec<String> = files(&source).into_iter().map(|(name, _)| name).collect();
    assert_eq!(left, ["config.json", "model.safetensors.index.json", "tokenizer.json"]);
    ok(&["split", text(&source), text(&out), "--delete-original"]);
    let layer = out.join("layer-00001.safetensors");
    fs::write(&layer, vec![0; fs::metadata(&layer).expect("there").len() as usize]).expect("written");
    fails(&["split", text(&source), text(&out), "--delete-original"], 1, &["layer-00001", "the checkpoint is gone"]);
}

#[test]
fn layers_that_airllm_wrote_are_the_checkpoint_that_they_were_cut_from() {
    let folder = TempDir::new().expect("made");
    let source = checkpoint(folder.path());
    let (layers, out) = (by_layers(&source, "splitted_model"), |name: &str| folder.path().join(name));
    ok(&["split", text(&source), text(&out("whole"))]);
    let weights = |folder: PathBuf| {
        files(&folder).into_iter().filter(|(name, _)| name.ends_with(".safetensors")).collect::<Vec<_>>()
    };
    let expected = weights(out("whole"));
    ok(&["split", text(&layers), text(&out("layers"))]);
    assert!(weights(out("layers")) == expected, "other bytes");
    let mut go = |_: tilestream::internals::shard::Progress<'_>| ControlFlow::Continue(());
    let cached = pollster::block_on(open_or_split(&layers, &HubArgs::default(), Some(&out("cache")), &mut go));
    let cached = cached.expect("split");
    assert!(cached.file_name().is_some_and(|name| name.to_string_lossy().starts_with("tiny-llama-")), "{cached:?}");
    assert!(cached.join("tokenizer.json").is_file());

    // AirLLM may have deleted the original.
    for name in ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]
    {
        fs::remove_file(source.join(name)).expect("removed");
    }
    ok(&["split", text(&source), text(&out("left"))]);
    assert!(weights(out("left")) == expected, "other bytes");
    fs::remove_file(layers.join("model.layers.1.safetensors.done")).expect("removed");
    fails(&["split", text(&source), text(&out("half"))], 1, &["model.layers.1.safetensors", "half-written"]);
    let others = by_layers(&source, "splitted_model.4bit");
    fails(&["split", text(&source), text(&out("two"))], 2, &["several folders"]);
    for _ in 0..2 {
        ok(&["split", text(&others), text(&out("moved")), "--delete-original"]);
        assert!(weights(out("moved")) == expected && weights(others.clone()).is_empty());
    }
}

#[test]
fn concurrent_first_uses_split_once() {
    let folder = TempDir::new().expect("made");
    let source = checkpoint(folder.path());
    let cache = folder.path().join("cache");
    let first_use = || {
        let mut go = |_: tilestream::internals::shard::Progress<'_>| ControlFlow::Continue(());
        pollster::block_on(open_or_split(&source, &HubArgs::default(), Some(&cache), &mut go)).expect("split or found")
    };
    let found: Vec<PathBuf> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(first_use)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(found.iter().all(|path| *path == found[0]), "{found:?}");
    let name = found[0].file_name().and_then(|name| name.to_str()).expect("named");
    assert!(name.starts_with("tiny-llama-"), "{name}");
    assert_eq!(fs::read_dir(&cache).expect("readable").count(), 1);
    ok(&["verify", text(&found[0])]);
    assert_eq!(first_use(), found[0], "found again");
    let mut go = |_: tilestream::internals::shard::Progress<'_>| ControlFlow::Continue(());
    let itself =
        pollster::block_on(open_or_split(&found[0], &HubArgs::default(), Some(&cache), &mut go)).expect("a model");
    assert_eq!(itself, found[0]);

    // Another checkpoint at the same place.
    let later = fs::File::options().append(true).open(source.join("config.json")).expect("opened");
    later.set_modified(std::time::SystemTime::now() + Duration::from_secs(10)).expect("touched");
    assert_ne!(first_use(), found[0]);
}
