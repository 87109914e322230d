//! Activations rounded to eight bits: the same bits wherever tiles are, near the reference, and only where it was asked for.

use crate::common::{
    Files, Golden, block_on, data, engine_config, gpu, open, relative_error, smallest, split_checkpoint,
};
use tilestream::internals::checkpoint;
use tilestream::internals::gpu::kernels::InputType;
use tilestream::internals::model::batch;
use tilestream::internals::model::memory::EngineConfig;
use tilestream::internals::shard::split::{SplitOptions, Weights};
use tilestream::store::FileStore;

/// Logits of all positions.
async fn logits(files: &Files, ids: &[u32], config: EngineConfig) -> Vec<Vec<f32>> {
    let mut model = open(files, gpu(config.budget_bytes).await, config).await.expect("loads");
    let mut all = Vec::new();
    let visit = |_, logits: &[f32]| {
        all.push(logits.to_vec());
        Ok(())
    };
    batch::score(&mut model, ids, visit).await.expect("scores");
    let (peak, budget) = (model.gpu().accountant().peak_bytes(), config.budget_bytes);
    assert!(peak <= budget, "{peak} of {budget} bytes");
    all
}

fn bits(logits: &[Vec<f32>]) -> Vec<u32> {
    logits.iter().flatten().map(|logit| logit.to_bits()).collect()
}

/// The relative error of a checkpoint's logits with rounded activations at each position, the smallest first.
async fn errors(folder: &str, file: Option<&str>, weights: Weights, golden: &Golden) -> Vec<f64> {
    let source = FileStore::open(data(folder)).expect("the folder opens");
    let checkpoint = checkpoint::open(&source, file).await.expect("opens");
    let files = split_checkpoint(&checkpoint, &source, &SplitOptions { weights, ..Default::default() }).await;
    let config = EngineConfig { inputs: InputType::I8, kv_pages: 2, ..engine_config() };
    let resident = logits(&files, &golden.ids, config).await;
    let small = EngineConfig { rows: Some(3), direct: false, ..config };
    let small = EngineConfig { budget_bytes: smallest(&files, &small).await, ..small };
    assert_eq!(
        bits(&logits(&files, &golden.ids, small).await),
        bits(&resident),
        "{folder}, {file:?}: streamed in small chunks"
    );
    let errors = resident.iter().enumerate().map(|(position, row)| relative_error(row, golden.logits(position)));
    let mut errors: Vec<f64> = errors.collect();
    errors.sort_by(f64::total_cmp);
    errors
}

#[test]
fn whole_numbers_take_rounded_activations_and_others_do_not() {
    let mut rounded = 0;
    for entry in std::fs::read_dir(data("small-gguf")).expect("test data") {
        let file = entry.expect("readable").file_name().into_string().expect("UTF-8");
        let Some(name) = file.strip_suffix(".gguf") else { continue };
        let golden = Golden::read_file(&data("small-gguf").join(format!("{name}.golden.safetensors")));
        let errors = block_on(errors("small-gguf", Some(&file), Weights::Original, &golden));
        let worst = errors.last().copied().expect("positions");
        println!("{name}: {worst:.2e}");
        // What takes none is as exact as ever.
        assert!(worst < 0.15, "{name}: relative error {worst}");
        rounded += u32::from(worst > 1e-3);
    }
    assert!(rounded >= 5, "{rounded} files with rounded activations");
}

#[test]
fn experts_and_latent_attention_take_rounded_activations_too() {
    for name in ["mixtral", "deepseek-v3", "qwen3-next"] {
        let golden = Golden::read_file(&data("families").join(name).join("golden.safetensors"));
        let errors = block_on(errors(&format!("families/{name}"), None, Weights::Q8, &golden));
        // Where two experts are about equal, a router takes the other one, and a random model says something else.
        let middle = errors[errors.len() / 2];
        println!("{name}: {middle:.2e}, at most {:.2e}", errors[errors.len() - 1]);
        assert!(middle > 1e-3 && middle < 0.2, "{name}: {errors:?}");
    }
}
