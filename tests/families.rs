//! A small random checkpoint of each family against the logits of its reference implementation, at the smallest budget
//! and resident.

mod common;

use std::collections::BTreeMap;

use common::{
    Files, Golden, block_on, engine_config, families, gpu, open, relative_error, smallest, split_family_as,
    split_folder,
};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;
use tilestream::model::Engine;
use tilestream::model::batch::{self, Sequence};
use tilestream::model::inputs::Want;
use tilestream::model::memory::EngineConfig;
use tilestream::model::readback::Output;
use tilestream::plan::{self, ModelSpec};

/// Relative error of each position's logits, ‖a−b‖/‖b‖.
const TOLERANCE: f64 = 1e-4;

/// Checkpoints whose family is not supported yet, and what the refusal names.
const REFUSED: &[(&str, &str)] = &[];

/// Names of checkpoints to try: those in TILESTREAM_FAMILIES, or all.
fn wanted() -> Vec<String> {
    let only = std::env::var("TILESTREAM_FAMILIES").unwrap_or_default();
    let only: Vec<&str> = only.split(',').filter(|name| !name.is_empty()).collect();
    families().into_iter().filter(|name| only.is_empty() || only.contains(&name.as_str())).collect()
}

#[test]
fn each_family_gives_the_logits_and_ids_of_its_reference() {
    let mut wrong = Vec::new();
    for name in wanted() {
        let outcome = block_on(async {
            let spec = check(&name, "config.json").await?;
            // As transformers 5 writes it, where it writes one.
            let (new, folder) = ("config.rope_parameters.json", common::data("families").join(&name));
            match (folder.join(new).is_file(), folder.join("tensors.json").is_file()) {
                (false, _) => Ok(()),
                (true, false) => check(&name, new).await.map(drop),
                (true, true) => means_the_same(&folder.join(new), &spec),
            }
        });
        let good = match REFUSED.iter().find(|(refused, _)| *refused == name) {
            None => outcome.is_ok(),
            Some((_, says)) => outcome.as_ref().is_err_and(|message| message.contains(says)),
        };
        if !good {
            println!("{name}: {outcome:?}");
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join(", "));
}

async fn check(name: &str, config: &str) -> Result<ModelSpec, String> {
    let files = split_family_as(name, config).await.map_err(|error| error.to_string())?;
    compare(name, config, &files).await?;
    Ok(files.spec)
}

/// Whether a config in another spelling comes to the same plan, which was compared already.
fn means_the_same(config: &std::path::Path, spec: &ModelSpec) -> Result<(), String> {
    let config = serde_json::from_slice(&std::fs::read(config).expect("test data")).expect("JSON");
    match plan::model_spec(&config) {
        Ok(other) if other == *spec => Ok(()),
        Ok(_) => Err("the two spellings come to different plans".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Compares a split model with what the reference said of the checkpoint `name`.
async fn compare(name: &str, spelling: &str, files: &Files) -> Result<(), String> {
    let golden = Golden::read_file(&common::data("families").join(name).join("golden.safetensors"));
    let config = EngineConfig { rows: Some(5), ..engine_config() };
    let least = smallest(files, &EngineConfig { direct: false, ..config }).await;
    for budget_bytes in [least, config.budget_bytes] {
        let config = EngineConfig { budget_bytes, ..config };
        let mut model = open(files, gpu(budget_bytes).await, config).await.map_err(|error| error.to_string())?;
        let (counted, planned) = model.counted_and_planned_bytes();
        if counted != planned {
            return Err(format!("{counted} bytes of buffers, {planned} planned"));
        }
        let mut worst = 0.0_f64;
        let compare = |position, logits: &[f32]| {
            worst = worst.max(relative_error(logits, golden.logits(position)));
            Ok(())
        };
        batch::score(&mut model, &golden.ids, compare).await.map_err(|error| error.to_string())?;
        println!("{name} {spelling} in {} KiB: {worst:.2e}", budget_bytes >> 10);
        if worst.is_nan() || worst >= TOLERANCE {
            return Err(format!("relative error {worst}"));
        }
        follow(&mut model, &golden).await?;
    }
    Ok(())
}

/// The reference turns the keys of a whole text by one list of frequencies, and forgets them where the text grows into
/// the other: each next token has the logits of the text computed at once.
#[test]
fn a_text_that_passes_the_trained_positions_is_turned_anew() {
    block_on(async {
        let name = "phi3-longrope-long";
        let files = split_family_as(name, "config.json").await.expect("splits");
        let ids = Golden::read_file(&common::data("families").join(name).join("golden.safetensors")).ids;
        let trained = files.spec.ropes[0].long.as_ref().expect("two lists").0 as usize;
        let mut model = open(&files, gpu(engine_config().budget_bytes).await, engine_config()).await.expect("loads");
        let mut sequence = Sequence::new(ids[..trained - 2].to_vec());
        assert!(model.kv().reserve(&mut sequence.state, 32));
        // One token more each time, past the border; then a shorter text with the same beginning.
        for len in (trained - 2..trained + 3).chain([trained - 4]) {
            sequence.replace(model.kv(), ids[..len].to_vec());
            assert!(model.kv().reserve(&mut sequence.state, 32));
            let next = batch::sweep(&mut model, &mut [&mut sequence], Want::Logits).await.expect("sweeps");
            let [Some(Output::Logits(ours))] = &next[..] else { panic!("{next:?}") };
            let mut whole = Vec::new();
            let keep_last = |_, logits: &[f32]| {
                whole = logits.to_vec();
                Ok(())
            };
            batch::score(&mut model, &ids[..len], keep_last).await.expect("scores");
            let error = relative_error(ours, &whole);
            assert!(error < 1e-5, "{len} positions: {error}");
        }
    });
}

/// Greedy ids are those of the reference. Only a tie of it may be broken the other way; it is then forced, and compared on.
async fn follow(model: &mut Engine, golden: &Golden) -> Result<(), String> {
    let mut sequence = Sequence::new(golden.ids.clone());
    assert!(model.kv().reserve(&mut sequence.state, 64));
    for (step, (expected, margin)) in golden.greedy.iter().zip(&golden.margins).enumerate() {
        let mut next = vec![None];
        // The prompt takes several sweeps.
        while next == [None] {
            next = batch::sweep(model, &mut [&mut sequence], Want::Best).await.map_err(|error| error.to_string())?;
        }
        if next != [Some(Output::Best(*expected))] && *margin >= 1e-3 {
            return Err(format!("step {step}: {next:?} instead of {expected}, margin {margin}"));
        }
        sequence.ids.push(*expected);
    }
    Ok(())
}

/// Puts a text model into one that also takes pictures, as it is published: config and names one level deeper, other
/// parts beside it.
fn wrap(name: &str, class: &str, folder: &std::path::Path) {
    let from = common::data("families").join(name);
    let read = |file: &str| std::fs::read(from.join(file)).expect("test data");
    let text: serde_json::Value = serde_json::from_slice(&read("config.json")).expect("JSON");
    let config = json!({
        "architectures": [class], "model_type": "llama4", "boi_token_index": 3, "tie_word_embeddings": false,
        "text_config": text, "vision_config": { "hidden_size": 8 }, "transformers_version": "4.51.0.dev0",
    });
    std::fs::write(folder.join("config.json"), config.to_string()).expect("writes");
    let (bytes, pixels) = (read("model.safetensors"), [0_u8; 24]);
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
    let mut views: BTreeMap<String, TensorView<'_>> =
        tensors.iter().map(|(name, view)| (format!("language_model.{name}"), view)).collect();
    for (other, shape) in
        [("vision_model.class_embedding", vec![6]), ("multi_modal_projector.linear_1.weight", vec![2, 3])]
    {
        views.insert(other.to_owned(), TensorView::new(Dtype::F32, shape, &pixels).expect("a view"));
    }
    safetensors::serialize_to_file(views, None, &folder.join("model.safetensors")).expect("writes");
}

#[test]
fn the_text_part_of_a_model_that_takes_pictures_gives_the_logits_of_the_text_model() {
    let folder = tempfile::tempdir().expect("a folder");
    wrap("llama4-text", "Llama4ForConditionalGeneration", folder.path());
    let outcome = block_on(async {
        let files = split_folder("wrapped", folder.path()).await.map_err(|error| error.to_string())?;
        compare("llama4-text", "wrapped", &files).await
    });
    assert_eq!(outcome, Ok(()));
}
