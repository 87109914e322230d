//! Text parts of models that take more than text, and experts that lie in one tensor.

use serde_json::{Value, json};

use super::{TensorNames, model_spec, settle_head, unknown_family};

fn text(kind: &str) -> Value {
    json!({
        "model_type": kind, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "head_dim": 16,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 9, "num_experts": 3, "num_experts_per_tok": 1,
        "moe_intermediate_size": 20, "rope_theta": 150,
    })
}

fn whole(class: &str, text: &Value) -> Value {
    json!({ "architectures": [class], "text_config": text, "vision_config": {} })
}

fn dense(kind: &str) -> Value {
    let mut text = text(kind);
    for field in ["num_experts", "num_experts_per_tok", "moe_intermediate_size"] {
        text.as_object_mut().expect("an object").shift_remove(field);
    }
    text
}

#[test]
fn a_text_part_is_the_family_that_its_own_config_names() {
    let family = |class: &str, kind: &str| model_spec(&whole(class, &dense(kind))).map(|spec| spec.family);
    for (class, kind, expected) in [
        ("LlavaForConditionalGeneration", "llama", "llama"),
        ("LlavaForConditionalGeneration", "mistral", "mistral"),
        ("InternVLForConditionalGeneration", "qwen2", "qwen2"),
        ("InternVLForConditionalGeneration", "qwen3", "qwen3"),
        ("Mistral3ForConditionalGeneration", "ministral3", "ministral3"),
        ("Qwen3VLForConditionalGeneration", "qwen3_vl_text", "qwen3"),
    ] {
        assert_eq!(family(class, kind).expect(kind), expected, "{class}");
    }
    let error = family("LlavaForConditionalGeneration", "gramophone").expect_err("refused").to_string();
    assert!(error.contains("gramophone"), "{error}");
}

#[test]
fn an_unknown_family_is_told() {
    assert!(unknown_family(&json!({ "architectures": ["GramophoneForCausalLM"] })).is_some());
    assert!(unknown_family(&whole("LlavaForConditionalGeneration", &text("gramophone"))).is_some());
    assert!(unknown_family(&whole("LlavaForConditionalGeneration", &text("llama"))).is_none());
    assert!(unknown_family(&json!({ "architectures": ["LlamaForCausalLM"] })).is_none());
}

#[test]
fn a_head_that_no_field_speaks_of_is_tied_where_there_is_none() {
    for (top, inner, has_head, tied) in [
        (None, None, true, false),
        (None, None, false, true),
        (Some(true), None, true, true),
        (None, Some(true), true, true),
        (Some(false), Some(true), false, true),
        (Some(false), Some(true), true, false),
    ] {
        let mut part = dense("llama");
        if let Some(inner) = inner {
            part["tie_word_embeddings"] = inner.into();
        }
        let mut config = whole("LlavaForConditionalGeneration", &part);
        if let Some(top) = top {
            config["tie_word_embeddings"] = top.into();
        }
        settle_head(&mut config, has_head, false);
        let spec = model_spec(&config).expect("a plan");
        assert_eq!(spec.head.tied, tied, "{top:?} {inner:?} {has_head}");
    }
}

#[test]
fn names_of_the_text_part_are_those_of_a_text_model() {
    let names = TensorNames::new(&whole("Qwen3VLForConditionalGeneration", &dense("qwen3_vl_text"))).expect("names");
    let ours =
        |name: &str| names.places(name, &[9, 64], true).expect("places").into_iter().map(|place| place.name).next();
    for prefix in ["model.language_model.", "language_model.model.", "model.text_model.", "model."] {
        let name = ours(&format!("{prefix}layers.1.mlp.up_proj.weight"));
        assert_eq!(name.as_deref(), Some("model.layers.1.mlp.up_proj.weight"), "{prefix}");
    }
    assert_eq!(ours("language_model.lm_head.weight").as_deref(), Some("lm_head.weight"));
    assert_eq!(ours("model.visual.blocks.0.attn.qkv.weight"), None);
    assert_eq!(ours("vision_tower.layers.0.mlp.up_proj.weight"), None);
}

#[test]
fn slabs_of_experts_are_turned_where_their_shape_says_so() {
    let names =
        TensorNames::new(&whole("Qwen3VLMoeForConditionalGeneration", &text("qwen3_vl_moe_text"))).expect("names");
    let slab = |name: &str, shape: [u64; 3]| {
        let name = format!("model.language_model.layers.0.mlp.experts.{name}");
        let places = names.places(&name, &shape, true)?;
        Ok::<_, crate::Error>((places.len(), places[0].row_count, places[0].transposed))
    };
    assert_eq!(slab("gate_up_proj", [3, 40, 64]).expect("as transformers saves them"), (6, 20, false));
    assert_eq!(slab("gate_up_proj", [3, 64, 40]).expect("as they are published"), (6, 20, true));
    assert_eq!(slab("down_proj", [3, 64, 20]).expect("as transformers saves them"), (3, 64, false));
    assert_eq!(slab("down_proj", [3, 20, 64]).expect("as they are published"), (3, 64, true));
    assert!(slab("down_proj", [3, 21, 64]).is_err());
}
