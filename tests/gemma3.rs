//! Gemma 3 270M, the real thing: ids of SentencePiece, and what the reference finds most likely on the same weights.

use std::path::Path;
use std::sync::Arc;

use crate::common::{self, block_on, data};
use serde_json::Value;
use tilestream::internals::shard::split::{SplitOptions, split};
use tilestream::internals::{checkpoint, plan, text};
use tilestream::store::{FileStore, FolderSink, Store};
use tilestream::{LoadOptions, ModelFiles};

const GGUF: &str = "gemma-3-270m-q4_k_m.gguf";

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).expect("ids")
}

/// Positions that are compared: the number in TILESTREAM_GEMMA3_POSITIONS, up to 200, or a few, since a head of 262,144
/// rows takes half a second a position on a GPU in software.
fn positions() -> usize {
    std::env::var("TILESTREAM_GEMMA3_POSITIONS").ok().and_then(|number| number.parse().ok()).unwrap_or(12)
}

/// Forced through a text, the best next token is that of the reference; where it is another, the reference had two as
/// good.
#[test]
fn ids_and_best_tokens_are_those_of_the_reference() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("cache/models");
    assert!(models.join(GGUF).is_file(), "{GGUF} is not in cache/models: run `cargo xtask setup model`");
    let golden = std::fs::read(data("gemma3/golden.json")).expect("golden data");
    let golden: Value = serde_json::from_slice(&golden).expect("JSON");
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let source = FileStore::open(&models).expect("the folder opens");
        let mut checkpoint = checkpoint::open(&source, Some(GGUF)).await.expect("opens");
        let fields = checkpoint.gguf_tokenizer.as_ref().expect("a tokenizer");
        checkpoint.tokenizer = Some(text::tokenizer_json(fields).expect("made"));
        let spec = plan::model_spec(&checkpoint.config).expect("a plan");
        let sink = FolderSink::create(folder.path()).expect("a sink");
        let go_on = &mut |_: tilestream::internals::shard::Progress<'_>| std::ops::ControlFlow::Continue(());
        split(&checkpoint, &spec, &source, &sink, &SplitOptions::default(), go_on).await.expect("splits");
    });
    let store: Arc<dyn Store> = Arc::new(FileStore::open(folder.path()).expect("opens"));
    let files = block_on(ModelFiles::open(store)).expect("a model");

    let tokenizer = files.text().tokenizer().expect("a tokenizer");
    let texts = golden["texts"].as_array().expect("texts");
    let wrong = |entry: &&Value| {
        let text = entry["text"].as_str().expect("a text");
        let (ours, theirs) = (tokenizer.encode(text, false).expect("encodes"), ids(&entry["ids"]));
        if ours != theirs {
            println!("{text:?}: {ours:?} instead of {theirs:?}");
        }
        ours != theirs
    };
    assert!(texts.len() >= 20);
    assert_eq!(texts.iter().filter(wrong).count(), 0);

    let (mut text_ids, mut best) = (ids(&golden["score"]["ids"]), ids(&golden["score"]["best"]));
    let all = text_ids.len();
    text_ids.truncate(positions());
    best.truncate(positions());
    let margins: Vec<f32> = serde_json::from_value(golden["score"]["margins"].clone()).expect("margins");
    let device = common::device().clone();
    let options = LoadOptions::default().budget_bytes(1 << 30).sequences(1).context(256).device(device);
    let mut model = block_on(files.load(&options)).expect("loads");
    let (mut same, mut nll) = (0, 0.0);
    let visit = |position: usize, logits: &[f32]| {
        let ours = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).expect("logits") as u32;
        same += usize::from(ours == best[position]);
        assert!(ours == best[position] || margins[position] < 1e-2, "position {position}: {ours}");
        if let Some(next) = text_ids.get(position + 1) {
            let most = logits[ours as usize];
            let sum: f64 = logits.iter().map(|logit| f64::from(logit - most).exp()).sum();
            nll += sum.ln() + f64::from(most - logits[*next as usize]);
        }
        Ok(())
    };
    block_on(model.score(&text_ids, visit)).expect("scores");
    let mean = nll / (text_ids.len() - 1) as f64;
    println!("{same} of {} the same, {mean:.6} nats a token", best.len());
    assert!(same * 100 >= best.len() * 99, "{same} of {}", best.len());
    let expected = golden["score"]["nll"].as_f64().expect("a number");
    assert!(best.len() < all || (mean - expected).abs() < 1e-3, "{mean} nats instead of {expected}");
}
