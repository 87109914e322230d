//! Gemma 3n and 4: what it is made of in chunks, at the smallest budget and in company, and what is refused of its configs.

use serde_json::{Value, json};

use crate::common::{
    self, Golden, all_logits, alone, bits, block_on, engine_config, finish, load, smallest, split_family,
};
use tilestream::ErrorKind;
use tilestream::internals::model::batch::Sequence;
use tilestream::internals::model::inputs::{Batch, Input, Row, Want};
use tilestream::internals::plan::{TensorNames, model_spec};

/// Checkpoints that have all of its parts between them.
const NAMES: &[&str] = &["gemma3n", "gemma4", "gemma4-moe", "gemma4-ple"];

fn folder(name: &str) -> std::path::PathBuf {
    common::data("families").join(name)
}

fn config(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder(name).join("config.json")).expect("test data")).expect("JSON")
}

#[test]
fn chunks_company_and_the_smallest_budget_do_not_change_a_bit() {
    for name in NAMES {
        block_on(async {
            let golden = Golden::read_file(&folder(name).join("golden.safetensors"));
            let files = split_family(name).await.expect("splits");
            let expected = all_logits(&mut load(&files, None, Some(8)).await, &golden.ids).await;
            for rows in [1, 3, 20] {
                let other = all_logits(&mut load(&files, None, Some(rows)).await, &golden.ids).await;
                assert_eq!(bits(&other), bits(&expected), "{name} in chunks of {rows}");
            }
            let least = smallest(&files, &engine_config()).await;
            let mut tight = load(&files, Some(least), None).await;
            assert_eq!(bits(&all_logits(&mut tight, &golden.ids).await), bits(&expected), "{name} streamed");
            let mut model = load(&files, None, Some(11)).await;
            let mut sequences = [&golden.ids[..5], &golden.ids[..], &golden.ids[3..4], &golden.ids[2..19]]
                .map(|ids| Sequence::new(ids.to_vec()));
            for sequence in &mut sequences {
                assert!(model.kv().reserve(&mut sequence.state, 32));
            }
            for more in [&golden.greedy[..0], &golden.greedy[..3]] {
                sequences.iter_mut().for_each(|sequence| sequence.ids.extend(more));
                let mut sharing: Vec<_> = sequences.iter_mut().collect();
                let together = finish(&mut model, &mut sharing).await.expect("sweeps");
                for (sequence, logits) in sequences.iter().zip(&together) {
                    let alone = alone(&files, &sequence.ids).await;
                    assert_eq!(bits(logits), bits(&alone), "{name} after {} ids", sequence.ids.len());
                }
            }
        });
    }
}

#[test]
fn what_would_change_its_numbers_is_refused_by_name() {
    let (flat, yarn) = (json!({"rope_theta": 1e4}), json!({"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}));
    let rotations = json!({"full_attention": yarn, "sliding_attention": flat});
    let apart = json!({"2": {"head_dim": 28}, "4": {"head_dim": 20}});
    let kinds = json!(["sliding_attention", "full_attention"]);
    let (full, windowed) = ("full_attention", "sliding_attention");
    let last = json!([full, full, full, full, windowed]);
    for (name, field, value, told) in [
        ("gemma4", "use_bidirectional_attention", json!("all"), "use_bidirectional_attention"),
        ("gemma4", "sliding_window", Value::Null, "sliding_window"),
        ("gemma4", "rope_parameters", flat.clone(), "rope_parameters"),
        ("gemma4", "rope_parameters", Value::Null, "rope_parameters"),
        ("gemma4", "rope_parameters", rotations, "yarn"),
        ("gemma4", "global_head_dim", json!(27), "global_head_dim"),
        ("gemma4", "global_head_dim", Value::Null, "global_head_dim"),
        ("gemma4", "num_global_key_value_heads", json!(4), "4 heads of keys"),
        ("gemma4", "per_layer_config", apart, "per_layer_config"),
        ("gemma4", "per_layer_config", json!({"2": {"skip": ["attention"]}}), "per_layer_config.skip"),
        ("gemma4", "per_layer_config", json!({"9": {}}), "no layer '9'"),
        ("gemma4", "layer_types", kinds, "layer_types"),
        ("gemma4", "layer_types", last, "must end with full_attention"),
        ("gemma4", "layer_types", Value::Null, "layer_types"),
        ("gemma4", "attention_multiplier", json!(0.5), "attention_multiplier"),
        ("gemma4-moe", "top_k_experts", json!(7), "top_k_experts"),
        ("gemma4-moe", "num_experts", Value::Null, "num_experts"),
        ("gemma4-moe", "routed_scaling_factor", json!(2.0), "routed_scaling_factor"),
        ("gemma4-ple", "vocab_size_per_layer_input", json!(96), "vocab_size_per_layer_input"),
        ("gemma4-ple", "hidden_size_per_layer_input", json!(200_000), "hidden_size_per_layer_input"),
        ("gemma4-ple", "num_kv_shared_layers", json!(6), "leaves layer 1 no keys"),
        ("gemma4-ple", "num_kv_shared_layers", json!(8), "num_kv_shared_layers"),
        ("gemma4-ple", "num_kv_shared_layers", json!(1.5), "num_kv_shared_layers"),
        ("gemma4-ple", "use_double_wide_mlp", json!("very"), "use_double_wide_mlp"),
        ("gemma4", "gramophone", json!(1), "gramophone"),
        ("gemma3n", "altup_num_inputs", json!(3), "altup_num_inputs"),
        ("gemma3n", "altup_active_idx", json!(1), "altup_active_idx"),
        ("gemma3n", "altup_correct_scale", json!("often"), "altup_correct_scale"),
        ("gemma3n", "activation_sparsity_pattern", json!([0.5]), "activation_sparsity_pattern"),
        ("gemma3n", "activation_sparsity_pattern", json!([0.5, 1.0, 0, 0, 0, 0]), "activation_sparsity_pattern"),
        ("gemma3n", "hidden_size_per_layer_input", json!(0), "hidden_size_per_layer_input"),
        ("gemma3n", "intermediate_size", json!([84, 84, 84, 84, 84, 85]), "intermediate_size"),
        ("gemma3n", "laurel_rank", Value::Null, "laurel_rank"),
        ("gemma3n", "num_kv_shared_layers", json!(4), "leaves layer 2 no keys"),
    ] {
        let mut config = config(name);
        let text = if config.get("text_config").is_some() { &mut config["text_config"] } else { &mut config };
        text[field] = value.clone();
        match model_spec(&config) {
            Ok(_) => panic!("{field} {value} is taken"),
            Err(error) => assert!(error.to_string().contains(told), "{field} {value}: {error}"),
        }
    }
    assert!(model_spec(&config("gemma4")).is_ok());
}

/// Published files have keys and values of such layers all the same.
#[test]
fn keys_of_layers_that_read_those_of_others_have_no_place() {
    let names = TensorNames::new(&config("gemma4-ple")).expect("names");
    for (layer, expected) in [(3, 1), (4, 0), (6, 0)] {
        for tensor in ["k_proj", "v_proj", "k_norm"] {
            let name = format!("model.language_model.layers.{layer}.self_attn.{tensor}.weight");
            assert_eq!(names.places(&name, &[16, 72], true).expect("a place").len(), expected, "{name}");
        }
    }
    let query = "model.language_model.layers.4.self_attn.q_proj.weight";
    assert_eq!(names.places(query, &[96, 72], true).expect("a place").len(), 1);
}

/// A model whose layers have embeddings of their own takes no embedding without a token, and says so.
#[test]
fn an_embedding_without_a_token_is_refused_where_layers_have_their_own() {
    block_on(async {
        let files = split_family("gemma4-ple").await.expect("splits");
        let mut model = load(&files, None, None).await;
        let mut sequence = Sequence::new(vec![5]);
        assert!(model.kv().reserve(&mut sequence.state, 32));
        model.kv().advance(&mut sequence.state, 1).expect("has pages");
        let given = vec![0.1; files.spec.hidden as usize];
        let row = Row { sequence: 0, position: 0, input: Input::Embedding(&given), output: Want::Logits };
        let states = [&sequence.state];
        let error = model.sweep(Batch { rows: &[row], sequences: &states }, true).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Argument);
        assert!(error.to_string().contains("takes tokens alone"), "{error}");
        let row = Row { input: Input::Token(5), ..row };
        model.sweep(Batch { rows: &[row], sequences: &states }, true).await.expect("goes on");
    });
}

/// As it is published Gemma 3n takes pictures and sounds, and its config and names lie one level deeper.
#[test]
fn the_text_part_of_gemma_3n_is_its_text_model() {
    let text = config("gemma3n");
    let whole = json!({
        "architectures": ["Gemma3nForConditionalGeneration"], "model_type": "gemma3n", "text_config": text,
        "audio_config": {}, "vision_config": {}, "audio_soft_tokens_per_image": 188, "vision_soft_tokens_per_image": 256,
        "audio_token_id": 1, "boa_token_id": 2, "boi_token_id": 3, "eoa_token_id": 4, "eoi_token_id": 5,
        "image_token_id": 6,
    });
    assert_eq!(model_spec(&whole).expect("a plan"), model_spec(&text).expect("a plan"));
    let names = TensorNames::new(&whole).expect("names");
    for (theirs, ours) in [
        ("model.language_model.altup_projections.1.weight", &["model.layers.0.altup_projections.1.weight"][..]),
        (
            "model.language_model.altup_unembed_projections.2.weight",
            &["model.layers.5.altup_unembed_projections.2.weight"],
        ),
        (
            "model.language_model.layers.3.altup.modality_router.weight",
            &["model.layers.3.altup.modality_router.weight", "model.layers.3.altup.modality_router_again.weight"],
        ),
        ("model.vision_tower.timm_model.conv_stem.conv.weight", &[]),
        ("model.embed_audio.embedding.weight", &[]),
    ] {
        let places = names.places(theirs, &[72, 72], true).expect("places");
        assert_eq!(places.iter().map(|place| &*place.name).collect::<Vec<_>>(), ours, "{theirs}");
    }
}
