//! Mixtures of experts: what a token costs.

mod common;

use common::{Golden, block_on, data, demand, gpu, open, smallest, split_family};
use tilestream::model::batch::{self, Sequence};
use tilestream::model::budget::Demand;
use tilestream::model::engine::Want;
use tilestream::shard::Model;

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
            let demand = Demand { kv_pages: 2, ..demand() };
            let least = smallest(&files, &Demand { rows: Some(1), ..demand }).await;
            let demand = Demand { budget_bytes: least, ..demand };
            let mut engine = open(&files, gpu(least).await, demand).await.expect("loads");
            let mut sequence = Sequence::new(golden.ids[..1].to_vec());
            assert!(engine.kv().reserve(&mut sequence.pages, 40));
            let (mut dense, mut expert) = (0, 0);
            let mut chosen = 0;
            let model = std::sync::Arc::clone(engine.model());
            for tensor in model.manifest().tensors.keys() {
                let is_embedding = tensor == tilestream::plan::EMBEDDINGS && !engine.spec().head.tied;
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

fn golden(name: &str) -> Golden {
    Golden::read_file(&data("families").join(name).join("golden.safetensors"))
}
