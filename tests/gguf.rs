//! Small GGUF files of every block type against the logits of the reference implementation.

use std::path::Path;

use crate::common::{
    Files, Golden, block_on, data, engine_config, gpu, load, open, relative_error, smallest, split_checkpoint,
};
use tilestream::internals::model::batch::{self, Sequence};
use tilestream::internals::model::inputs::Want;
use tilestream::internals::model::memory::EngineConfig;
use tilestream::internals::model::readback::Output;
use tilestream::internals::shard::split::SplitOptions;
use tilestream::internals::text::Tokenizer;
use tilestream::internals::{checkpoint, text};
use tilestream::store::FileStore;

#[test]
fn every_block_type_matches_the_reference() {
    let mut files: Vec<_> = std::fs::read_dir(data("small-gguf"))
        .expect("test data")
        .map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8"))
        .filter(|name| name.ends_with(".gguf"))
        .collect();
    files.sort();
    assert!(files.len() >= 11, "{files:?}");
    let source = FileStore::open(data("small-gguf")).expect("the folder opens");
    for file in files {
        block_on(async {
            let checkpoint = checkpoint::open(&source, Some(&file)).await.expect("opens");
            let files = split_checkpoint(&checkpoint, &source, &SplitOptions::default()).await;
            let golden = Golden::read_file(&data("small-gguf").join(file.replace(".gguf", ".golden.safetensors")));
            let mut model = load(&files, None, None).await;
            let mut worst = 0.0_f64;
            batch::score(&mut model, &golden.ids, |position, logits| {
                worst = worst.max(relative_error(logits, golden.logits(position)));
                Ok(())
            })
            .await
            .expect("scores");
            println!("{file}: {worst:.2e}");
            assert!(worst < 1e-3, "{file}: relative error {worst}");
        });
    }
}

/// Names in TILESTREAM_FAMILIES, or all.
fn families() -> Vec<String> {
    let only = std::env::var("TILESTREAM_FAMILIES").unwrap_or_default();
    let only: Vec<&str> = only.split(',').filter(|name| !name.is_empty()).collect();
    let files = std::fs::read_dir(data("families-gguf")).expect("test data");
    let name = |file: std::io::Result<std::fs::DirEntry>| file.expect("readable").path();
    let files = files.map(name).filter(|path| path.extension().is_some_and(|end| end == "gguf"));
    let names = files.map(|path| path.file_stem().expect("named").to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| only.is_empty() || only.contains(&name.as_str())).collect();
    names.sort();
    names
}

#[test]
fn each_architecture_gives_the_logits_and_ids_of_its_family() {
    let names = families();
    assert!(names.len() >= 12 || std::env::var("TILESTREAM_FAMILIES").is_ok(), "{names:?}");
    let mut wrong = Vec::new();
    for name in names {
        if let Err(error) = block_on(check_family(&name, "families-gguf", &format!("{name}.gguf"))) {
            println!("{name}: {error}");
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join(", "));
}

#[test]
fn a_model_in_several_files_is_one() {
    let parts = "families-gguf/parts";
    assert_eq!(block_on(check_family("qwen2", parts, "qwen2-00001-of-00003.gguf")), Ok(()));
}

#[test]
fn a_file_with_an_older_layout_is_the_same_model() {
    assert_eq!(block_on(check_family("qwen3-next", "families-gguf/older", "qwen3-next.gguf")), Ok(()));
}

/// Compares a file with the reference, at the smallest budget and resident.
async fn check_family(name: &str, folder: &str, file: &str) -> Result<(), String> {
    check_file(name, &data(folder), file, Continues::Alike).await
}

/// Whether a file must go on with the ids of the reference.
#[derive(Clone, Copy, PartialEq)]
pub enum Continues {
    Alike,
    Otherwise,
}

/// The same of a file in any folder.
pub async fn check_file(name: &str, folder: &Path, file: &str, continues: Continues) -> Result<(), String> {
    let failed = |error: tilestream::Error| error.to_string();
    let source = FileStore::open(folder).map_err(failed)?;
    let checkpoint = checkpoint::open(&source, Some(file)).await.map_err(failed)?;
    tilestream::internals::plan::model_spec(&checkpoint.config).map_err(failed)?;
    let files = split_checkpoint(&checkpoint, &source, &SplitOptions::default()).await;
    // LongRoPE chooses by the context: as many positions as the reference saw.
    let config = EngineConfig { kv_pages: 2, ..engine_config() };
    let least = smallest(&files, &EngineConfig { rows: Some(5), direct: false, ..config }).await;
    let mut golden = Golden::read_file(&data("families").join(name).join("golden.safetensors"));
    if continues == Continues::Otherwise {
        golden.greedy.clear();
    }
    compare(name, &golden, &files, EngineConfig { budget_bytes: least, rows: Some(5), ..config }).await?;
    compare(name, &golden, &files, config).await.map(|_| ())
}

/// The worst error of a position.
async fn compare(name: &str, golden: &Golden, files: &Files, config: EngineConfig) -> Result<f64, String> {
    let failed = |error: tilestream::Error| error.to_string();
    let mut model = open(files, gpu(config.budget_bytes).await, config).await.map_err(failed)?;
    let mut worst = 0.0_f64;
    let compare = |position, logits: &[f32]| {
        worst = worst.max(relative_error(logits, golden.logits(position)));
        Ok(())
    };
    let (counted, planned) = model.counted_and_planned_bytes();
    assert_eq!(counted, planned, "bytes of buffers");
    batch::score(&mut model, &golden.ids, compare).await.map_err(failed)?;
    println!("{name} in {} KiB: {worst:.2e}", config.budget_bytes >> 10);
    if worst.is_nan() || worst >= 1e-3 {
        return Err(format!("relative error {worst}"));
    }
    let mut sequence = Sequence::new(golden.ids.clone());
    assert!(model.kv().reserve(&mut sequence.state, 64));
    for (step, (expected, margin)) in golden.greedy.iter().zip(&golden.margins).enumerate() {
        let mut next = vec![None];
        while next == [None] {
            next = batch::sweep(&mut model, &mut [&mut sequence], Want::Best).await.map_err(failed)?;
        }
        if next != [Some(Output::Best(*expected))] && *margin >= 1e-3 {
            return Err(format!("step {step}: {next:?} instead of {expected}, margin {margin}"));
        }
        sequence.ids.push(*expected);
    }
    Ok(worst)
}

#[test]
fn the_smallest_formats_stream_and_give_the_ids_of_the_reference() {
    block_on(async {
        let source = FileStore::open(data("small-gguf")).expect("the folder opens");
        for name in ["i-quants", "Q1_0", "NVFP4"] {
            let checkpoint = checkpoint::open(&source, Some(&format!("{name}.gguf"))).await.expect("opens");
            let files = split_checkpoint(&checkpoint, &source, &SplitOptions::default()).await;
            let golden = Golden::read_file(&data(&format!("small-gguf/{name}.golden.safetensors")));
            let config = engine_config();
            let least = smallest(&files, &EngineConfig { rows: Some(3), direct: false, ..config }).await;
            for config in [EngineConfig { budget_bytes: least, rows: Some(3), ..config }, config] {
                let worst = compare(name, &golden, &files, config).await.expect("the reference's ids");
                assert!(worst < 1e-4, "{name}: relative error {worst}");
            }
        }
    });
}

#[test]
fn the_tokenizer_of_a_file_gives_the_ids_of_the_reference() {
    let golden = std::fs::read(data("small-gguf/text.golden.json")).expect("golden texts");
    let golden: serde_json::Value = serde_json::from_slice(&golden).expect("JSON");
    let source = FileStore::open(data("small-gguf")).expect("the folder opens");
    for pre in ["smollm", "llama-bpe"] {
        let entry = &golden[pre];
        let file = entry["file"].as_str().expect("a file");
        let checkpoint = block_on(checkpoint::open(&source, Some(file))).expect("opens");
        let fields = checkpoint.gguf_tokenizer.expect("the file has a tokenizer");
        let tokenizer = Tokenizer::from_bytes(&text::tokenizer_json(&fields).expect("made")).expect("loads");
        let texts = entry["texts"].as_array().expect("a list");
        assert!(!texts.is_empty());
        for entry in texts {
            let ids: Vec<u32> = serde_json::from_value(entry["ids"].clone()).expect("ids");
            let text = entry["text"].as_str().expect("a text");
            assert_eq!(tokenizer.encode(text, false).expect("encodes"), ids, "{pre}: {text:?}");
        }
    }
}

#[test]
fn the_chat_template_of_a_file_gives_the_text_of_the_reference() {
    let golden = std::fs::read(data("small-gguf/text.golden.json")).expect("golden texts");
    let golden: serde_json::Value = serde_json::from_slice(&golden).expect("JSON");
    let source = FileStore::open(data("small-gguf")).expect("the folder opens");
    let checkpoint = block_on(checkpoint::open(&source, Some("F16.gguf"))).expect("opens");
    let config = checkpoint.tokenizer_config.expect("a tokenizer config");
    let template = text::ChatTemplate::from_config(&config).expect("compiles").expect("there is one");
    let turn = |turn: &serde_json::Value| {
        let text = |name: &str| turn[name].as_str().expect("a text").to_owned();
        text::Message::new(text("role"), text("content"))
    };
    let messages: Vec<_> = golden["chat"]["messages"].as_array().expect("turns").iter().map(turn).collect();
    assert_eq!(template.render(&messages).expect("renders"), golden["chat"]["rendered"].as_str().expect("a text"));
}
