//! What a row refuses, where a plan would be wrong without a word.

use serde_json::{Value, json};

use super::{Op, model_spec};
use crate::ErrorKind;

fn with(mut config: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().expect("an object") {
        config[name] = value.clone();
    }
    config
}

fn dense(class: &str) -> Value {
    json!({
        "architectures": [class], "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 9,
    })
}

#[test]
fn granite_4_with_mamba_layers_experts_or_no_positions_is_refused_by_name() {
    let plain = json!({
        "layer_types": ["attention", "attention"], "num_local_experts": 0, "position_embedding_type": "rope",
        "shared_intermediate_size": 80,
    });
    let granite = |changes: Value| model_spec(&with(with(dense("GraniteMoeHybridForCausalLM"), &plain), &changes));
    let rows = granite(json!({})).expect("a plan").layers[0].matrices[4].rows;
    assert_eq!(rows, 80, "the width is that of the expert all tokens use");
    for (changes, field) in [
        (json!({ "layer_types": ["mamba", "attention"] }), "layer_types"),
        (json!({ "layer_types": ["full_attention", "linear_attention"] }), "layer_types"),
        (json!({ "layer_types": null }), "layer_types"),
        (json!({ "num_local_experts": 4 }), "num_local_experts"),
        (json!({ "position_embedding_type": "nope" }), "position_embedding_type"),
    ] {
        let changes = match changes["layer_types"].is_null() && changes.get("layer_types").is_some() {
            // A file that is silent, not one that says nothing.
            true => {
                let mut config = with(dense("GraniteMoeHybridForCausalLM"), &plain);
                config.as_object_mut().expect("an object").shift_remove("layer_types");
                model_spec(&config)
            }
            false => granite(changes),
        };
        let error = changes.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{field}: {error}");
        assert!(error.to_string().contains(field), "{error}");
    }
}

#[test]
fn fields_within_an_object_are_held_to_what_the_plan_does() {
    let mpt = |attention: Value| {
        model_spec(&json!({
            "architectures": ["MptForCausalLM"], "d_model": 64, "n_heads": 4, "n_layers": 1, "vocab_size": 9,
            "max_seq_len": 32, "attn_config": attention,
        }))
    };
    let known = json!({ "alibi": true, "attn_impl": "torch", "clip_qkv": null });
    assert_eq!(mpt(known).expect("a plan").layers[0].matrices[4].rows, 256, "four times as wide");
    for (attention, field) in [
        (json!({ "alibi": false }), "attn_config.alibi"),
        (json!({ "clip_qkv": 8.0 }), "attn_config.clip_qkv"),
        (json!({ "twist": 1 }), "attn_config.twist"),
    ] {
        let error = mpt(attention).expect_err("refused").to_string();
        assert!(error.contains(field), "{error}");
    }
}

#[test]
fn attention_that_chooses_its_positions_is_kept_to_as_many_as_it_may_choose() {
    let glm = |topk: u32| {
        model_spec(&json!({
            "architectures": ["GlmMoeDsaForCausalLM"], "hidden_size": 64, "intermediate_size": 96,
            "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 9, "kv_lora_rank": 24, "q_lora_rank": 20,
            "qk_nope_head_dim": 12, "qk_rope_head_dim": 8, "v_head_dim": 16, "n_routed_experts": 4,
            "num_experts_per_tok": 2, "moe_intermediate_size": 20, "max_position_embeddings": 4096,
            "index_topk": topk,
        }))
        .expect("a plan")
    };
    assert_eq!((glm(2048).max_positions, glm(2048).limited_by), (2048, Some("index_topk")));
    assert_eq!((glm(8192).max_positions, glm(8192).limited_by), (4096, None));
}

#[test]
fn bases_by_layer_are_none_or_the_models_own() {
    let granite = |bases: Value| {
        let fields = json!({
            "layer_types": ["full_attention", "sliding_attention"], "sliding_window": 8, "rope_theta": 5000.0,
            "layer_rope_theta": bases,
        });
        model_spec(&with(dense("GraniteSWAForCausalLM"), &fields))
    };
    let spec = granite(json!([0, 5000])).expect("a plan");
    let rotations =
        spec.layers.iter().map(|layer| layer.ops.iter().any(|op| matches!(op, Op::KvWrite { rotation: Some(_), .. })));
    assert_eq!(rotations.collect::<Vec<_>>(), [false, true]);
    let error = granite(json!([10_000.0, 5000.0])).expect_err("refused");
    assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains("layer_rope_theta"), "{error}");
}

#[test]
fn a_list_that_a_family_needs_is_asked_for() {
    let error = model_spec(&dense("GraniteSWAForCausalLM")).expect_err("refused");
    assert!(error.kind() == ErrorKind::Missing && error.to_string().contains("layer_types"), "{error}");
}
