//! Mixtures of experts: what a token costs.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::common::{Files, Golden, block_on, data, engine_config, gpu, open, smallest, split_family};
use tilestream::internals::model::batch::{self, Sequence};
use tilestream::internals::model::inputs::Want;
use tilestream::internals::model::memory::EngineConfig;
use tilestream::internals::model::readback::Output;
use tilestream::internals::plan;
use tilestream::internals::shard::Model;
use tilestream::internals::shard::synth::{SynthOptions, synth};
use tilestream::internals::stream::Uses;
use tilestream::store::MemoryStore;

/// Bytes of a tensor's rows in the model's files.
fn bytes(model: &Model, name: &str) -> u64 {
    let tensor = model.tensor(name).expect("there");
    tensor.parts.iter().map(|part| part.rows).sum::<u64>() * tensor.row_bytes().expect("a size")
}

#[test]
fn a_token_reads_the_dense_part_and_the_experts_it_chose() {
    for name in ["mixtral", "qwen2-moe", "qwen3-moe-dense-layers", "gpt-oss-mxfp4"] {
        block_on(async {
            let (files, golden) = (split_family(name).await.expect("splits"), golden(name));
            let config = EngineConfig { kv_pages: 2, ..engine_config() };
            let least = smallest(&files, &EngineConfig { rows: Some(1), ..config }).await;
            let config = EngineConfig { budget_bytes: least, ..config };
            let mut engine = open(&files, gpu(least).await, config).await.expect("loads");
            let mut sequence = Sequence::new(golden.ids[..1].to_vec());
            assert!(engine.kv().reserve(&mut sequence.state, 40));
            let (mut dense, mut expert) = (0, 0);
            let mut chosen = 0;
            let model = Arc::clone(engine.model());
            for tensor in model.manifest().tensors.keys() {
                let is_embedding = tensor == plan::EMBEDDINGS && !engine.spec().head.tied;
                match tensor.contains(".experts.") {
                    true if tensor.starts_with("model.layers.1.mlp.experts.0.") => expert += bytes(&model, tensor),
                    true => {}
                    false if is_embedding => {}
                    false => dense += bytes(&model, tensor),
                }
            }
            for layer in &engine.spec().layers {
                chosen += layer.experts.as_ref().map_or(0, |experts| u64::from(experts.routing.chosen));
            }
            for id in &golden.ids[1..6] {
                let before = engine.profile().figures().bytes_read;
                batch::sweep(&mut engine, &mut [&mut sequence], Want::Best).await.expect("sweeps");
                let read = engine.profile().figures().bytes_read - before;
                let least = dense + chosen * expert;
                // Loads bring the padding between tensors along: less than a matrix's alignment for each.
                let padding = 256 * (model.manifest().tensors.len() as u64);
                assert!(
                    (least..least + padding).contains(&read),
                    "{name}: {read} bytes, the dense part has {dense} and {chosen} experts {expert} each"
                );
                sequence.ids.push(*id);
            }
        });
    }
}

#[test]
fn experts_that_are_used_most_stay_in_what_the_budget_leaves() {
    for name in ["mixtral", "qwen3-moe"] {
        block_on(async {
            let (files, golden) = (split_family(name).await.expect("splits"), golden(name));
            let config = EngineConfig { kv_pages: 2, rows: Some(1), ..engine_config() };
            let least = smallest(&files, &config).await;
            let streamed = answer(&files, &golden, EngineConfig { budget_bytes: least, ..config }).await;
            assert_eq!(streamed.uses.read_bytes, streamed.uses.used_bytes, "{name}: no room, so all is read");
            let unpinned = EngineConfig { most_pinned_bytes: Some(0), ..config };
            let unpinned = answer(&files, &golden, unpinned).await;
            assert_eq!((unpinned.uses, unpinned.kept_bytes), (streamed.uses, 0), "{name}: nothing may stay");
            assert_eq!(unpinned.ids, streamed.ids, "{name}: a limit changes no number");
            // From budgets where nothing stays to those where all does.
            let mut rates = Vec::new();
            for step in 0..20 {
                let budget_bytes = least + (step << 15);
                let answer = answer(&files, &golden, EngineConfig { budget_bytes, ..config }).await;
                assert_eq!(answer.ids, streamed.ids, "{name}: a cache changes no number");
                let Uses { used_bytes, read_bytes, of_bytes } = answer.uses;
                assert!(used_bytes < of_bytes, "{name}: whole layers would be more");
                assert!(answer.kept_bytes <= budget_bytes, "{name}: {} bytes stay", answer.kept_bytes);
                rates.push(1.0 - read_bytes as f64 / used_bytes as f64);
            }
            let some = rates.iter().filter(|rate| (0.1..0.8).contains(*rate)).count();
            assert!(some >= 2, "{name}: hit rates {rates:.2?}");
            assert!(rates.last().is_some_and(|rate| *rate > 0.85), "{name}: all but the first sweep hits, {rates:.2?}");
        });
    }
}

/// What a short answer came to.
struct Answer {
    ids: Vec<u32>,
    uses: Uses,
    kept_bytes: u64,
}

async fn answer(files: &Files, golden: &Golden, config: EngineConfig) -> Answer {
    let mut engine = open(files, gpu(config.budget_bytes).await, config).await.expect("loads");
    let mut sequence = Sequence::new(golden.ids[..8].to_vec());
    assert!(engine.kv().reserve(&mut sequence.state, 40));
    let mut ids = Vec::new();
    while ids.len() < 24 {
        let next = batch::sweep(&mut engine, &mut [&mut sequence], Want::Best).await.expect("sweeps");
        if let [Some(Output::Best(id))] = next[..] {
            sequence.ids.push(id);
            ids.push(id);
        }
    }
    Answer { ids, uses: engine.profile().figures().expert_uses, kept_bytes: engine.residency().0 }
}

#[test]
fn a_shared_expert_of_many_windows_is_read_beside_the_chosen_ones() {
    // The smallest windows hold 64 KiB, each matrix of an expert 256.
    block_on(same_bits(&[("moe_intermediate_size", 2048)]));
}

#[test]
fn heads_that_tiles_cut_have_the_same_bits() {
    // The products of latent attention, in heads of 8 and of 4 KiB, lie in several tiles.
    block_on(same_bits(&[
        ("num_attention_heads", 40),
        ("num_key_value_heads", 40),
        ("qk_nope_head_dim", 40),
        ("kv_lora_rank", 100),
    ]));
}

/// Random weights in the shape of DeepSeek V3's golden checkpoint, `changes` made, at the smallest budget and resident.
async fn same_bits(changes: &[(&str, u32)]) {
    let text = std::fs::read(data("families/deepseek-v3/config.json")).expect("config");
    let mut config: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    changes.iter().for_each(|(field, number)| config[*field] = (*number).into());
    let (spec, store) = (plan::model_spec(&config).expect("a plan"), Arc::new(MemoryStore::new()));
    let go_on = &mut |_: tilestream::internals::shard::Progress<'_>| ControlFlow::Continue(());
    synth(&config, &spec, &*store, &SynthOptions::default(), go_on).await.expect("is written");
    let files = Files { store, spec };
    let config = EngineConfig { kv_pages: 1, rows: Some(2), ..engine_config() };
    let least = smallest(&files, &config).await;
    let mut outcomes = Vec::new();
    for budget_bytes in [least, config.budget_bytes] {
        let config = EngineConfig { budget_bytes, ..config };
        let mut engine = open(&files, gpu(budget_bytes).await, config).await.expect("loads");
        let mut sequence = Sequence::new(vec![1, 2, 3]);
        assert!(engine.kv().reserve(&mut sequence.state, 3));
        batch::sweep(&mut engine, &mut [&mut sequence], Want::Logits).await.expect("sweeps");
        outcomes.push(batch::sweep(&mut engine, &mut [&mut sequence], Want::Logits).await.expect("sweeps"));
    }
    assert_eq!(outcomes[0], outcomes[1]);
}

fn golden(name: &str) -> Golden {
    Golden::read_file(&data("families").join(name).join("golden.safetensors"))
}
