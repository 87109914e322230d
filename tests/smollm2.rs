//! SmolLM2-135M-Instruct, the real thing: ids, logits and texts of the reference implementation on the same weights.

#[path = "../examples/generate.rs"]
mod example;

use std::path::Path;
use std::sync::Arc;

use crate::common::{self, block_on, data};
use safetensors::SafeTensors;
use serde_json::Value;
use tilestream::internals::gpu::kernels::InputType;
use tilestream::internals::shard::split::{SplitOptions, split};
use tilestream::internals::{checkpoint, plan, text};
use tilestream::store::{FileStore, FolderSink, Store};
use tilestream::{AutoModel, GenerateOptions, LoadOptions, Message, ModelFiles, Request};

const GGUF: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

/// The GGUF that set-up brings, split once for all tests of this file.
fn folder() -> &'static Path {
    static FOLDER: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("cache/models");
        assert!(models.join(GGUF).is_file(), "{GGUF} is not in cache/models: run `cargo xtask setup`");
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
        folder
    });
    folder.path()
}

pub fn files() -> ModelFiles {
    let store: Arc<dyn Store> = Arc::new(FileStore::open(folder()).expect("opens"));
    block_on(ModelFiles::open(store)).expect("a model")
}

#[test]
fn the_documented_example_answers() {
    let mut pieces = String::new();
    let folder = folder().to_str().expect("UTF-8");
    let question = "What is the capital of France?";
    let text = block_on(example::answer(folder, question, |piece| pieces += piece)).expect("answers");
    assert!(text.contains("Paris"), "{text}");
    assert_eq!(text, pieces);
}

fn load(budget_bytes: u64, sequences: u32, context: u32) -> AutoModel {
    let device = common::device().clone();
    let options =
        LoadOptions::default().budget_bytes(budget_bytes).sequences(sequences).context(context).device(device);
    block_on(files().load(&options)).expect("loads")
}

fn golden() -> Value {
    let bytes = std::fs::read(data("smollm2/golden.json")).expect("golden data");
    serde_json::from_slice(&bytes).expect("JSON")
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).expect("ids")
}

fn messages(chat: &Value) -> Vec<Message> {
    let turn = |turn: &Value| {
        let text = |name: &str| turn[name].as_str().expect("a text").to_owned();
        Message::new(text("role"), text("content"))
    };
    chat["messages"].as_array().expect("turns").iter().map(turn).collect()
}

#[test]
fn templates_and_tokens_are_those_of_the_reference() {
    let (files, golden) = (files(), golden());
    let text = files.text();
    for chat in golden["chats"].as_array().expect("chats") {
        let rendered = text.template.as_ref().expect("a template").render(&messages(chat)).expect("renders");
        assert_eq!(rendered, chat["rendered"].as_str().expect("a text"), "{}", chat["name"]);
        assert_eq!(text.chat_prompt(&messages(chat)).expect("ids"), ids(&chat["prompt_ids"]), "{}", chat["name"]);
    }
    let score = std::fs::read_to_string(data("smollm2/text.txt")).expect("the text");
    assert_eq!(text.tokenizer().expect("one").encode(&score, false).expect("ids"), ids(&golden["score"]["ids"]));
}

/// Teacher-forced over prompt and answer: each position's logits against the reference's, and at each step of the
/// answer the same best id. A step may differ only where the reference's two best logits lie within 1e-3.
#[test]
fn logits_and_greedy_ids_of_ten_chats_match_the_reference() {
    let golden = golden();
    let bytes = std::fs::read(data("smollm2/golden.safetensors")).expect("golden data");
    let arrays = SafeTensors::deserialize(&bytes).expect("safetensors");
    let floats = |name: &str| bytemuck::pod_collect_to_vec::<u8, f32>(arrays.tensor(name).expect("there").data());
    let sampled: Vec<i32> = bytemuck::pod_collect_to_vec(arrays.tensor("sampled_ids").expect("there").data());
    let mut model = load(512 << 20, 16, 512);
    let mut worst = 0.0_f64;
    for chat in golden["chats"].as_array().expect("chats") {
        let name = chat["name"].as_str().expect("a name");
        let (prompt, new) = (ids(&chat["prompt_ids"]), ids(&chat["new_ids"]));
        let margins: Vec<f32> = serde_json::from_value(chat["margins"].clone()).expect("margins");
        let (values, norms) = (floats(&format!("{name}.sampled")), floats(&format!("{name}.norm")));
        let all: Vec<u32> = prompt.iter().chain(&new).copied().take(norms.len()).collect();
        let mut chat_worst = 0.0_f64;
        let visit = |position: usize, logits: &[f32]| {
            let ours: Vec<f32> = sampled.iter().map(|id| logits[*id as usize]).collect();
            let theirs = &values[position * sampled.len()..(position + 1) * sampled.len()];
            let norm = logits.iter().map(|logit| f64::from(*logit).powi(2)).sum::<f64>().sqrt();
            let norm_error = (norm / f64::from(norms[position]) - 1.0).abs();
            chat_worst = chat_worst.max(common::relative_error(&ours, theirs)).max(norm_error);
            if let Some(step) = (position + 1).checked_sub(prompt.len()).filter(|step| *step < new.len()) {
                let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).expect("logits");
                let same = best as u32 == new[step];
                assert!(same || margins[step] < 1e-3, "{name}, step {step}: {best} instead of {}", new[step]);
            }
            Ok(())
        };
        block_on(model.score(&all, visit)).expect("scores");
        println!("{name}: {chat_worst:.2e} over {} positions", all.len());
        worst = worst.max(chat_worst);
    }
    assert!(worst < 1e-3, "relative error {worst}");
}

#[test]
fn a_text_is_as_likely_as_the_reference_finds_it() {
    let golden = golden();
    let text_ids = ids(&golden["score"]["ids"]);
    let mut nll = 0.0;
    let mut model = load(40 << 20, 8, 256);
    let visit = |position: usize, logits: &[f32]| {
        if let Some(next) = text_ids.get(position + 1) {
            let sum: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
            nll += sum.ln() - f64::from(logits[*next as usize]);
        }
        Ok(())
    };
    block_on(model.score(&text_ids, visit)).expect("scores");
    let mean = nll / (text_ids.len() - 1) as f64;
    let expected = golden["score"]["mean_nll"].as_f64().expect("a number");
    assert!((mean - expected).abs() < 1e-4, "{mean} against {expected}");
}

async fn answer(model: &mut AutoModel, prompt: Vec<u32>, max_tokens: u32) -> (Vec<u32>, String) {
    let mut answer = model.generate(prompt, GenerateOptions::default().max_tokens(max_tokens)).expect("begins");
    let (mut ids, mut text) = (Vec::new(), String::new());
    while let Some(piece) = answer.next().await.expect("goes on") {
        ids.extend(piece.id);
        text += &piece.text;
    }
    (ids, text)
}

#[test]
fn a_quarter_of_its_size_gives_the_same_answer_as_resident_and_as_a_batch() {
    block_on(async {
        let golden = golden();
        let chats: Vec<_> = golden["chats"].as_array().expect("chats").iter().take(2).collect();
        let mut resident = load(512 << 20, 2, 256);
        let bytes = resident.engine().model_bytes();
        let mut quarter = load(bytes / 4, 1, 128);
        let mut requests = Vec::new();
        let mut alone = Vec::new();
        for chat in &chats {
            let (prompt, new) = (ids(&chat["prompt_ids"]), ids(&chat["new_ids"]));
            let first = answer(&mut resident, prompt.clone(), new.len() as u32).await;
            assert_eq!(first, answer(&mut quarter, prompt.clone(), new.len() as u32).await, "{}", chat["name"]);
            assert_eq!(first.0, new, "{}", chat["name"]);
            let stopped = chat["stopped"].as_bool().expect("known");
            assert!(
                stopped
                    .then_some(first.1.trim())
                    .is_none_or(|text| text == chat["text"].as_str().expect("a text").trim())
            );
            let options = GenerateOptions::default().max_tokens(new.len() as u32);
            requests.push(Request::new(prompt, options));
            alone.push(first.0);
        }
        let profile = quarter.profile();
        assert!(profile.peak_gpu_bytes <= profile.budget_bytes, "{profile:?}");
        assert!(profile.streamed_bytes_per_sweep > bytes / 2, "{profile:?}");
        let mut together = vec![Vec::new(); chats.len()];
        let mut batch = resident.generate_all(requests).expect("begins");
        let order = batch.requests().to_vec();
        while let Some(delta) = batch.next().await.expect("goes on") {
            let index = order.iter().position(|id| *id == delta.request).expect("one of them");
            together[index].extend(delta.id);
        }
        assert_eq!(together, alone, "the same ids in a batch");
    });
}

/// The best id after each position of a text.
async fn best_ids(budget_bytes: u64, inputs: InputType, text_ids: &[u32]) -> Vec<usize> {
    let context = text_ids.len() as u32;
    let device = common::device().clone();
    let options = LoadOptions::default().budget_bytes(budget_bytes).inputs(inputs).context(context).device(device);
    let mut model = files().load(&options).await.expect("loads");
    let mut best = Vec::new();
    let visit = |_, logits: &[f32]| {
        best.extend((0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])));
        Ok(())
    };
    model.score(text_ids, visit).await.expect("scores");
    best
}

#[test]
fn rounded_activations_hardly_change_what_is_most_likely() {
    let text_ids: Vec<u32> = ids(&golden()["score"]["ids"]).into_iter().take(96).collect();
    block_on(async {
        let exact = best_ids(512 << 20, InputType::F32, &text_ids).await;
        let rounded = best_ids(512 << 20, InputType::I8, &text_ids).await;
        assert_eq!(rounded, best_ids(24 << 20, InputType::I8, &text_ids).await, "streamed and resident");
        let same = exact.iter().zip(&rounded).filter(|(a, b)| a == b).count();
        println!("{same} of {} positions have the same best id", exact.len());
        assert!(same * 10 >= exact.len() * 9, "{same} of {}", exact.len());
    });
}
