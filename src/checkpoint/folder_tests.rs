use serde_json::json;

use super::*;
use crate::checkpoint::Source;
use crate::checkpoint::pytorch::testing::{archive, dict, storage, tensor};
use crate::checkpoint::testing::{Memory, safetensors, small_llama};
use crate::encoding::Encoding;

fn entry(name: &str, dtype: &str, shape: &[u64], start: u64, len: u64) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{}]}}"#, start + len)
}

fn file(entries: &[String], data_len: usize) -> Vec<u8> {
    safetensors(&format!("{{{}}}", entries.join(",")), data_len)
}

fn config() -> (&'static str, Vec<u8>) {
    ("config.json", br#"{"model_type":"llama"}"#.to_vec())
}

fn run(store: &Memory, name: Option<&str>) -> Result<Checkpoint> {
    pollster::block_on(open(store, name))
}

fn single() -> Vec<u8> {
    file(&[entry("b", "BF16", &[2, 3], 0, 12), entry("a", "F32", &[2], 12, 8)], 20)
}

#[test]
fn layers_that_airllm_wrote_are_opened_together_once_all_are_whole() -> Result<()> {
    let layer = |name: &str| file(&[entry(name, "BF16", &[3], 0, 6)], 6);
    let mut store = Memory::new([
        config(),
        ("model.layers.0.safetensors", layer("a")),
        ("model.layers.0.safetensors.done", Vec::new()),
        ("model.norm.safetensors", layer("b")),
        ("model.norm.safetensors.done", Vec::new()),
    ]);
    let checkpoint = run(&store, None)?;
    let names: Vec<_> = checkpoint.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.file)).collect();
    assert_eq!(names, [("a", 0), ("b", 1)]);
    store.objects.insert("model.norm.safetensors".to_owned(), layer("a"));
    let error = run(&store, None).expect_err("twice");
    assert_eq!((error.kind(), error.tensor_name()), (ErrorKind::Malformed, Some("a")), "{error}");
    store.objects.remove("model.norm.safetensors.done");
    let error = run(&store, None).expect_err("half-written");
    assert_eq!(error.kind(), ErrorKind::Truncated);
    assert!(error.to_string().contains("memory/model.norm.safetensors: half-written"), "{error}");
    Ok(())
}

#[test]
fn a_single_file_is_opened_with_what_lies_beside_it() -> Result<()> {
    let mut store = Memory::new([
        config(),
        (SINGLE, single()),
        ("generation_config.json", br#"{"eos_token_id":[1,2]}"#.to_vec()),
        ("tokenizer.json", b"{...}".to_vec()),
        ("tokenizer_config.json", br#"{"bos_token":"<s>","chat_template":"old"}"#.to_vec()),
        ("chat_template.jinja", b"new".to_vec()),
        // Ignored: the reference library prefers safetensors.
        ("pytorch_model.bin", vec![0; 9]),
    ]);
    store.lists = false;
    let checkpoint = run(&store, None)?;
    let names: Vec<_> = checkpoint.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(checkpoint.tensors[1].source, Source::Plain(Encoding::BF16));
    assert_eq!(checkpoint.tensors[1].shape, [2, 3]);
    assert_eq!(checkpoint.files, [(SINGLE.to_owned(), single().len() as u64)]);
    assert_eq!(checkpoint.config["model_type"], "llama");
    assert_eq!(checkpoint.generation_config, Some(json!({ "eos_token_id": [1, 2] })));
    assert_eq!(checkpoint.tokenizer.as_deref(), Some(&b"{...}"[..]));
    assert_eq!(
        checkpoint.tokenizer_config,
        Some(json!({ "bos_token": "<s>", "added_tokens_decoder": {}, "chat_template": "new" }))
    );
    assert!(!checkpoint.quantized);
    let bare = run(&Memory::new([config(), (SINGLE, single())]), None)?;
    assert_eq!((bare.tokenizer, bare.tokenizer_config, bare.generation_config), (None, None, None));
    Ok(())
}

/// A tiktoken file of all bytes.
fn ranks() -> Vec<u8> {
    use base64::Engine;
    let line = |byte: u8| format!("{} {byte}\n", base64::engine::general_purpose::STANDARD.encode([byte]));
    (0..=u8::MAX).map(line).collect::<String>().into_bytes()
}

#[test]
fn a_tokenizer_in_another_form_is_found() -> Result<()> {
    let open = |more: Vec<(&'static str, Vec<u8>)>| {
        let mut store = Memory::new([config(), (SINGLE, single())]);
        store.objects.extend(more.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)));
        store.lists = false;
        run(&store, None)
    };
    let merges = || vec![("vocab.json", br#"{"a":0,"b":1,"ab":2}"#.to_vec()), ("merges.txt", b"a b\n".to_vec())];
    let added = ("added_tokens.json", br#"{"<x>":3}"#.to_vec());
    let found = open([merges(), vec![added]].concat())?.tokenizer_files.expect("found");
    assert_eq!((found.name.as_str(), found.added_tokens), ("memory/vocab.json", Some(json!({ "<x>": 3 }))));
    // A file that holds it all goes first; one half of the pair is none.
    let found = open([merges(), vec![("qwen.tiktoken", ranks())]].concat())?.tokenizer_files.expect("found");
    assert_eq!((found.name.as_str(), found.special_tokens), ("memory/qwen.tiktoken", None));
    assert_eq!(open(merges()[..1].to_vec())?.tokenizer_files, None);
    // A published tokenizer.json goes before all.
    let both = open(vec![("tokenizer.json", b"{}".to_vec()), ("tokenizer.model", b"broken".to_vec())])?;
    assert_eq!((both.tokenizer_files, both.tokenizer.as_deref()), (None, Some(&b"{}"[..])));
    let error = open(vec![("tokenizer.model", b"version https://git-lfs".to_vec())]).expect_err("a pointer");
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(error.to_string().starts_with("memory/tokenizer.model: "), "{error}");
    Ok(())
}

#[test]
fn a_chat_template_may_stand_in_a_file_of_its_own() -> Result<()> {
    let template = |name: &'static str, content: &[u8]| {
        run(&Memory::new([config(), (SINGLE, single()), (name, content.to_vec())]), None)
    };
    let json = template("chat_template.json", br#"{"chat_template":"new"}"#)?;
    assert_eq!(json.tokenizer_config, Some(json!({ "chat_template": "new" })));
    assert_eq!(template("chat_template.json", b"{}")?.tokenizer_config, None);
    assert!(template("chat_template.json", b"[]").is_err());
    assert!(template("chat_template.jinja", b"\xff").is_err());
    Ok(())
}

fn sharded(index: &str) -> Memory {
    Memory::new([
        config(),
        (INDEX, index.as_bytes().to_vec()),
        ("model-1.safetensors", single()),
        // Its own `a` is not the one that the index names.
        ("model-2.safetensors", file(&[entry("a", "F16", &[4], 0, 8), entry("c", "F16", &[1], 8, 2)], 10)),
    ])
}

#[test]
fn an_index_says_which_file_a_tensor_is_from() -> Result<()> {
    let index = r#"{"metadata":{"total_size":1},"weight_map":{"c":"model-2.safetensors","a":"model-1.safetensors","b":"model-1.safetensors"}}"#;
    let checkpoint = run(&sharded(index), None)?;
    let found: Vec<_> = checkpoint.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.file)).collect();
    assert_eq!(found, [("a", 0), ("b", 0), ("c", 1)]);
    assert_eq!(checkpoint.tensors[0].source, Source::Plain(Encoding::F32));
    Ok(())
}

#[test]
fn a_wrong_index_is_refused() {
    let map = |map: &str| format!(r#"{{"weight_map":{{{map}}}}}"#);
    for (index, kind, says) in [
        (map(r#""c":"model-3.safetensors""#), ErrorKind::NotFound, "memory/model-3.safetensors"),
        (map(r#""d":"model-2.safetensors""#), ErrorKind::Missing, "tensor 'd'"),
        (map(r#""c":"model-2.safetensors","c":"model-1.safetensors""#), ErrorKind::Malformed, "comes twice"),
        (map(r#""c":"../model-2.safetensors""#), ErrorKind::Malformed, "tensor 'c'"),
        (map(r#""c":"/etc/passwd""#), ErrorKind::Malformed, "not the name"),
        (map(r#""c":"""#), ErrorKind::Malformed, "not the name"),
        (map(r#""c":3"#), ErrorKind::Malformed, "JSON"),
        (map(""), ErrorKind::Malformed, "empty"),
        ("{}".to_owned(), ErrorKind::Malformed, "weight_map"),
        ("".to_owned(), ErrorKind::Malformed, INDEX),
    ] {
        let error = run(&sharded(&index), None).expect_err(&index);
        assert_eq!(error.kind(), kind, "{index}: {error}");
        assert!(error.to_string().contains(says), "{index}: {error}");
    }
}

#[test]
fn folders_without_a_checkpoint_say_what_is_missing() {
    let gguf = small_llama(1).write();
    let cases: Vec<(Memory, Option<&str>, ErrorKind, &str)> = vec![
        (Memory::new([]), None, ErrorKind::NotFound, "no checkpoint"),
        (Memory::default(), None, ErrorKind::NotFound, "no checkpoint"),
        (Memory::new([config()]), None, ErrorKind::NotFound, "no checkpoint"),
        (Memory::new([(SINGLE, single())]), None, ErrorKind::NotFound, "config.json"),
        (Memory::new([(SINGLE, single()), ("config.json", vec![])]), None, ErrorKind::Malformed, "config.json"),
        (Memory::new([(SINGLE, single()), ("config.json", b"3".to_vec())]), None, ErrorKind::Malformed, "config.json"),
        (Memory::new([config(), (SINGLE, vec![])]), None, ErrorKind::Truncated, SINGLE),
        (Memory::new([config(), (PYTORCH_SINGLE, vec![1])]), None, ErrorKind::Malformed, PYTORCH_SINGLE),
        (Memory::new([(PYTORCH_SINGLE, pytorch_file("a"))]), None, ErrorKind::NotFound, "config.json"),
        (Memory::new([config(), ("training_args.bin", vec![1])]), None, ErrorKind::NotFound, "no checkpoint"),
        (
            Memory::new([("a.gguf", gguf.clone()), ("b.gguf", gguf.clone())]),
            None,
            ErrorKind::Argument,
            "a.gguf, b.gguf",
        ),
        (Memory::new([("a.gguf", b"GGML".to_vec())]), None, ErrorKind::Malformed, "memory/a.gguf"),
        (Memory::new([("a.txt", b"hello".to_vec())]), Some("a.txt"), ErrorKind::Unsupported, "memory/a.txt"),
        (Memory::new([]), Some("a.gguf"), ErrorKind::NotFound, "a.gguf"),
        (Memory::new([config(), ("model.bin", vec![1; 8])]), Some("model.bin"), ErrorKind::Malformed, "PyTorch"),
        (
            Memory::new([config(), ("a.bin", pytorch_file("a")), ("b.pth", pytorch_file("b"))]),
            None,
            ErrorKind::Argument,
            "a.bin, b.pth",
        ),
    ];
    for (store, name, kind, says) in cases {
        let error = run(&store, name).expect_err(says);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(says), "{error} should say {says}");
    }
}

#[test]
fn a_file_can_be_named_or_be_the_only_one() -> Result<()> {
    let odd = Memory::new([config(), ("weights.safetensors", single())]);
    assert_eq!(run(&odd, None)?.tensors.len(), 2);
    assert_eq!(run(&odd, Some("weights.safetensors"))?.tensors.len(), 2);
    // The first bytes decide, not the name.
    let gguf = Memory::new([("blob", small_llama(1).write())]);
    assert_eq!(run(&gguf, Some("blob"))?.tensors.len(), 11);
    let only = Memory::new([("Model.GGUF", small_llama(1).write())]);
    assert_eq!(run(&only, None)?.tensors.len(), 11);
    Ok(())
}

/// A PyTorch file of one bf16 tensor and a buffer.
fn pytorch_file(name: &str) -> Vec<u8> {
    let weights = tensor(&storage("BFloat16Storage", "0", 4), 1, &[3], &[1]);
    let buffer = tensor(&storage("LongStorage", "1", 1), 0, &[1], &[1]);
    archive(&dict(&[(name, weights), ("position_ids", buffer)]), &[b"01234567", b"01234567"]).write()
}

#[test]
fn pytorch_files_are_opened_after_safetensors() -> Result<()> {
    let (a, b) = (pytorch_file("a"), pytorch_file("b"));
    let index = br#"{"weight_map":{"a":"pytorch_model-1.bin","b":"pytorch_model-2.bin"}}"#.to_vec();
    let gguf = small_llama(1).write();
    let beside = ["training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state_0.pth"].map(|name| (name, vec![1]));
    // Each is preferred to those that follow.
    let order = [
        (SINGLE, single(), 2),
        ("weights.safetensors", single(), 2),
        (PYTORCH_SINGLE, a.clone(), 1),
        (PYTORCH_INDEX, index, 2),
        ("only.gguf", gguf, 11),
        ("only.pth", b.clone(), 1),
    ];
    let mut store = Memory::new(beside);
    let (name, bytes) = config();
    store.objects.insert(name.to_owned(), bytes);
    for (name, bytes, tensors) in order.into_iter().rev() {
        store.objects.insert(name.to_owned(), bytes);
        if name == PYTORCH_INDEX {
            let shards = [("pytorch_model-1.bin", &a), ("pytorch_model-2.bin", &b)];
            store.objects.extend(shards.map(|(name, bytes)| (name.to_owned(), bytes.clone())));
        }
        let checkpoint = run(&store, None)?;
        assert_eq!(checkpoint.tensors.len(), tensors, "{name}");
        assert!(name == PYTORCH_INDEX || checkpoint.files[0].0 == name, "{name}: {:?}", checkpoint.files);
    }
    // The first bytes decide, not the name.
    let file = pytorch_file("w");
    let odd = Memory::new([config(), ("blob", file.clone())]);
    let checkpoint = run(&odd, Some("blob"))?;
    let tensor = &checkpoint.tensors[0];
    assert_eq!(
        (tensor.name.as_str(), tensor.source, &tensor.shape[..]),
        ("w", Source::Plain(Encoding::BF16), &[3][..])
    );
    assert_eq!(&file[tensor.offset_bytes as usize..][..tensor.len_bytes as usize], b"234567");
    // Nothing needs to be listed, as over HTTP.
    let index = br#"{"weight_map":{"w":"pytorch_model-1.bin"}}"#.to_vec();
    let mut remote = Memory::new([config(), (PYTORCH_INDEX, index), ("pytorch_model-1.bin", file)]);
    remote.lists = false;
    assert_eq!(run(&remote, None)?.tensors.len(), 1);
    Ok(())
}

#[test]
fn buffers_are_skipped_and_other_dtypes_are_named() -> Result<()> {
    let buffers = [
        entry("layers.0.rotary_emb.inv_freq", "F32", &[2], 0, 8),
        entry("position_ids", "I64", &[1], 8, 8),
        entry("w", "F16", &[1], 16, 2),
    ];
    let checkpoint = run(&Memory::new([config(), (SINGLE, file(&buffers, 18))]), None)?;
    assert_eq!(checkpoint.tensors.len(), 1);
    for (entries, kind) in [
        ([entry("ids", "I64", &[1], 0, 8)], ErrorKind::Unsupported),
        ([entry("my_position_ids", "I64", &[1], 0, 8)], ErrorKind::Unsupported),
        ([entry("w", "F8_E4M3", &[8], 0, 8)], ErrorKind::Unsupported),
        ([entry("w", "F32", &[0, 4], 0, 0)], ErrorKind::Malformed),
    ] {
        let len = if kind == ErrorKind::Malformed { 0 } else { 8 };
        let error = run(&Memory::new([config(), (SINGLE, file(&entries, len))]), None).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.tensor_name().is_some() && error.file_name() == Some("memory/model.safetensors"), "{error}");
    }
    Ok(())
}

#[test]
fn weights_that_others_quantized_are_refused_by_name() {
    let config = br#"{"quantization_config":{"quant_method":"aqlm"}}"#.to_vec();
    let error = run(&Memory::new([("config.json", config), (SINGLE, single())]), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("'aqlm'"), "{error}");
}

#[test]
fn a_config_larger_than_its_cap_is_not_read() {
    let big = vec![b' '; CONFIG_CAP as usize + 1];
    let error = run(&Memory::new([("config.json", big), (SINGLE, single())]), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
}
