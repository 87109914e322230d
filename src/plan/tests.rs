use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Op, Rotation, TensorNames, TensorSource, model_spec};
use crate::ErrorKind;

fn llama() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 512, "rope_theta": 10_000.0,
    })
}

/// The config with fields changed; `null` takes a field away.
fn with(changes: &Value) -> Value {
    let mut config = llama();
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => config.as_object_mut().expect("an object").shift_remove(name),
            value => config.as_object_mut().expect("an object").insert(name.clone(), value.clone()),
        };
    }
    config
}

fn refused(changes: Value) -> (ErrorKind, String) {
    let error = model_spec(&with(&changes)).expect_err("refused");
    (error.kind(), error.to_string())
}

#[test]
fn each_wrong_field_is_named() {
    use ErrorKind::{Malformed, Missing, Unsupported};
    let table = [
        (json!({ "architectures": null }), Missing, "architectures"),
        (json!({ "architectures": [] }), Missing, "architectures"),
        (json!({ "architectures": ["MambaForCausalLM"] }), Unsupported, "most like that of LlamaForCausalLM"),
        (json!({ "hidden_size": null }), Missing, "hidden_size"),
        (json!({ "hidden_size": 0 }), Malformed, "hidden_size"),
        (json!({ "hidden_size": -3 }), Malformed, "hidden_size"),
        (json!({ "hidden_size": 1u64 << 40 }), Malformed, "hidden_size"),
        (json!({ "hidden_size": 66 }), Malformed, "num_attention_heads"),
        (json!({ "intermediate_size": "160" }), Malformed, "intermediate_size"),
        (json!({ "num_hidden_layers": 1_000_000_000 }), Malformed, "num_hidden_layers"),
        (json!({ "vocab_size": null }), Missing, "vocab_size"),
        (json!({ "num_key_value_heads": 3 }), Malformed, "num_key_value_heads"),
        (json!({ "head_dim": 15 }), Malformed, "head_dim"),
        (json!({ "head_dim": 4096 }), Malformed, "head_dim"),
        (json!({ "rms_norm_eps": 0.0 }), Malformed, "rms_norm_eps"),
        (json!({ "rope_theta": -1.0 }), Malformed, "rope_theta"),
        (json!({ "rope_theta": 1e-49 }), Malformed, "rope_theta"),
        (json!({ "rms_norm_eps": 1e39 }), Malformed, "rms_norm_eps"),
        (
            json!({ "rope_theta": 1e-38, "rope_scaling": { "type": "linear", "factor": 1e-30 } }),
            Malformed,
            "rope_theta",
        ),
        (json!({ "hidden_act": "spline" }), Unsupported, "hidden_act"),
        (json!({ "attention_bias": "yes" }), Malformed, "attention_bias"),
        (json!({ "logit_scale": 0.5 }), Unsupported, "logit_scale"),
        (json!({ "rope_scaling": 3 }), Malformed, "rope_scaling"),
        (json!({ "rope_scaling": { "type": "spiral" } }), Unsupported, "spiral"),
        (json!({ "rope_scaling": { "type": "linear" } }), Missing, "factor"),
        (json!({ "rope_scaling": { "type": "linear", "factor": 2.0, "twist": 1 } }), Unsupported, "twist"),
        (json!({ "rope_scaling": { "rope_type": "llama3", "factor": 8.0 } }), Missing, "low_freq_factor"),
        (json!({ "rope_scaling": { "rope_type": "factors", "factors": [1.0] } }), Malformed, "factors"),
    ];
    for (changes, kind, name) in table {
        let (found, text) = refused(changes.clone());
        assert_eq!(found, kind, "{changes}: {text}");
        assert!(text.contains(name) && text.contains("config.json"), "{changes}: {text}");
    }
    assert_eq!(model_spec(&json!([1])).expect_err("no object").kind(), Malformed);
}

#[test]
fn each_wrong_field_of_a_delta_rule_is_named() {
    use ErrorKind::{Malformed, Unsupported};
    let next = |changes: Value| {
        let mut config = json!({
            "architectures": ["Qwen3NextForCausalLM"], "linear_num_key_heads": 2, "linear_num_value_heads": 4,
            "linear_key_head_dim": 12, "linear_value_head_dim": 20, "num_experts": 8, "num_experts_per_tok": 2,
        });
        config.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
        model_spec(&with(&config))
    };
    let spec = next(json!({})).expect("a plan");
    let state = spec.layers[0].recurrent.expect("a state");
    assert_eq!((state.channels(), state.conv_floats(), state.floats()), (128, 3 * 128, 3 * 128 + 4 * 12 * 20));
    let mixed = next(json!({ "full_attention_interval": 2 })).expect("a plan");
    let listed = json!({ "layer_types": ["linear_attention", "full_attention", "linear_attention"] });
    assert_eq!(mixed, next(listed).expect("a plan"));
    assert_eq!((mixed.layers[1].recurrent, mixed.layers[1].key_width), (None, 512));
    assert_eq!((mixed.layers[2].key_width, mixed.layers[2].value_width), (0, 0), "no keys beside a state");
    let table = [
        (json!({ "linear_num_key_heads": 3 }), Malformed, "linear_num_key_heads"),
        (json!({ "linear_num_key_heads": 0 }), Malformed, "linear_num_key_heads"),
        (json!({ "linear_num_value_heads": 1 << 20 }), Malformed, "linear_num_value_heads"),
        (json!({ "linear_key_head_dim": 577 }), Malformed, "linear_key_head_dim"),
        (json!({ "linear_value_head_dim": 2.5 }), Malformed, "linear_value_head_dim"),
        (json!({ "linear_conv_kernel_dim": 3 }), Unsupported, "linear_conv_kernel_dim"),
        (json!({ "hidden_act": "gelu" }), Unsupported, "hidden_act"),
        (json!({ "use_sliding_window": true }), Unsupported, "use_sliding_window"),
        (json!({ "full_attention_interval": 0 }), Malformed, "full_attention_interval"),
        (json!({ "layer_types": ["full_attention"] }), Malformed, "layer_types"),
        (json!({ "layer_types": ["full_attention", "mamba", 3] }), Malformed, "layer_types"),
    ];
    for (changes, kind, name) in table {
        let error = next(changes.clone()).expect_err("refused");
        assert_eq!(error.kind(), kind, "{changes}: {error}");
        assert!(error.to_string().contains(name), "{changes}: {error}");
    }
}

#[test]
fn a_delta_rule_takes_its_rows_from_key_heads_and_leaves_further_tokens_alone() {
    let config = with(&json!({
        "architectures": ["Qwen3NextForCausalLM"], "linear_num_key_heads": 2, "linear_num_value_heads": 4,
        "linear_key_head_dim": 1, "linear_value_head_dim": 3,
    }));
    let names = TensorNames::new(&config).expect("names");
    let rows = |name: &str, rows: u64| -> Vec<(String, Vec<u64>)> {
        let sources = |place: &TensorSource| (0..place.row_count).map(|row| place.rows.source(row)).collect();
        names
            .places(name, &[rows], true)
            .expect("places")
            .iter()
            .map(|place| (place.name.clone(), sources(place)))
            .collect()
    };
    let ours = |name: &str, rows: &[u64]| (format!("model.layers.0.linear_attn.{name}.weight"), rows.to_vec());
    // Of each key head: a query, a key, two values of three, two gates of three.
    let expected = [
        ours("q_proj", &[0, 14]),
        ours("k_proj", &[1, 15]),
        ours("v_proj", &[2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21]),
        ours("gate_proj", &[8, 9, 10, 11, 12, 13, 22, 23, 24, 25, 26, 27]),
    ];
    assert_eq!(rows("model.layers.0.linear_attn.in_proj_qkvz.weight", 28), expected);
    let expected = [ours("beta_proj", &[0, 1, 4, 5]), ours("decay_proj", &[2, 3, 6, 7])];
    assert_eq!(rows("model.layers.0.linear_attn.in_proj_ba.weight", 8), expected);
    assert_eq!(rows("mtp.layers.0.linear_attn.in_proj_ba.weight", 8), []);
    let plus = |name: &str| names.places(&format!("model.layers.0.{name}.weight"), &[3], true).expect("places")[0].plus;
    assert_eq!((plus("linear_attn.norm"), plus("input_layernorm"), plus("self_attn.q_norm")), (0.0, 1.0, 1.0));
}

#[test]
fn biases_heads_and_windows_are_data() {
    let plain = model_spec(&llama()).expect("a plan");
    assert_eq!((plain.layers.len(), plain.layers[0].matrices.len(), plain.layers[0].vectors.len()), (3, 7, 2));
    let biased = model_spec(&with(&json!({ "attention_bias": true, "mlp_bias": true }))).expect("a plan");
    assert_eq!(biased.layers[0].vectors.len(), 2 + 7);
    let wide = model_spec(&with(&json!({ "head_dim": 32 }))).expect("a plan");
    assert_eq!((wide.layers[0].matrices[0].rows, wide.layers[0].matrices[0].columns), (128, 64));
    let window = |changes: Value| {
        let spec = model_spec(&with(&changes)).expect("a plan");
        let find = |op: &Op| if let Op::Attention { attention, .. } = op { Some(attention.window) } else { None };
        spec.layers[0].ops.iter().find_map(find).expect("attention")
    };
    assert_eq!(window(json!({})), None);
    assert_eq!(window(json!({ "architectures": ["MistralForCausalLM"] })), Some(4096), "the family's default");
    assert_eq!(window(json!({ "architectures": ["MistralForCausalLM"], "sliding_window": 7 })), Some(7));
    let mut none = with(&json!({ "architectures": ["MistralForCausalLM"] }));
    none["sliding_window"] = Value::Null;
    let spec = model_spec(&none).expect("a plan");
    assert!(
        spec.layers[0].ops.iter().any(|op| matches!(op, Op::Attention { attention, .. } if attention.window.is_none())),
        "null means none"
    );
}

#[test]
fn both_spellings_of_rope_say_the_same() {
    let scaling = json!({
        "factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 64,
        "rope_type": "llama3",
    });
    let old = model_spec(&with(&json!({ "rope_scaling": scaling, "rope_theta": 500.0 }))).expect("a plan");
    let mut new = scaling;
    new["rope_theta"] = 500.0.into();
    let new = model_spec(&with(&json!({ "rope_parameters": new, "rope_theta": null }))).expect("a plan");
    assert_eq!(old, new);
    let plain = model_spec(&with(&json!({ "rope_theta": 500.0 }))).expect("a plan");
    let (scaled, plain) = (&old.ropes[0].inverse_frequencies, &plain.ropes[0].inverse_frequencies);
    assert_eq!(scaled[0], plain[0], "short waves stay");
    assert_eq!(scaled[7], plain[7] / 8.0, "long waves shrink");
}

#[test]
fn angles_are_cosines_then_sines() {
    let spec = model_spec(&llama()).expect("a plan");
    let angles: Vec<f32> = spec.ropes[0].angles(3, 512).collect();
    assert_eq!(angles.len(), 16);
    assert_eq!((angles[0], angles[8]), (3.0_f64.cos() as f32, 3.0_f64.sin() as f32));
    // 10000^(-2/16) radians a position.
    assert!((angles[1] - (3.0 * 10_000_f32.powf(-0.125)).cos()).abs() < 1e-6);
}

#[test]
fn command_r_has_the_positions_that_its_config_names() {
    let cohere = |more: Value| {
        let mut changes = json!({ "architectures": ["CohereForCausalLM"], "rms_norm_eps": null });
        changes.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        model_spec(&with(&changes)).map(|spec| spec.max_positions).map_err(|error| error.to_string())
    };
    assert_eq!(cohere(json!({})), Ok(512));
    assert_eq!(cohere(json!({ "model_max_length": 131_072 })), Ok(131_072));
    assert_eq!(cohere(json!({ "model_max_length": 64 })), Ok(512));
    // The reference's base grows with positions past the first ones, which no plan does.
    let dynamic = json!({ "model_max_length": 131_072, "rope_scaling": { "type": "dynamic", "factor": 2.0 } });
    assert_eq!(cohere(dynamic), Ok(512));
    let wrong = cohere(json!({ "model_max_length": -1 })).expect_err("refused");
    assert!(wrong.contains("model_max_length"), "{wrong}");
}

#[test]
fn longrope_chooses_its_frequencies_by_the_length_of_the_text() {
    let scaling = json!({
        "type": "longrope", "short_factor": vec![1.0; 8], "long_factor": vec![4.0; 8],
        "original_max_position_embeddings": 64,
    });
    let spec = model_spec(&with(&json!({ "rope_scaling": scaling }))).expect("a plan");
    let angle = |position, text_len| spec.ropes[0].angles(position, text_len).next().expect("a pair");
    let cos = |angle: f64| (angle.cos() * f64::from(spec.ropes[0].attention_factor)) as f32;
    assert_eq!(angle(2, 64), cos(2.0));
    assert_eq!(angle(2, 65), cos(0.5), "also where the position itself was trained");
    assert!(spec.rotates_alike(1, 64) && spec.rotates_alike(65, 512) && !spec.rotates_alike(64, 65));
    let plain = model_spec(&llama()).expect("a plan");
    assert!(plain.rotates_alike(1, 512));
}

/// Any JSON, with the names that configs use.
fn any_json() -> impl Strategy<Value = Value> {
    let names = [
        "architectures",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "head_dim",
        "num_key_value_heads",
        "vocab_size",
        "rope_scaling",
        "rope_parameters",
        "rope_theta",
        "factor",
        "type",
        "rms_norm_eps",
        "sliding_window",
        "tie_word_embeddings",
        "max_position_embeddings",
        "factors",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0u64..200).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop_oneof![Just("LlamaForCausalLM"), Just("yarn"), Just("llama3"), Just("linear"), Just("silu")]
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 40, 8, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((proptest::sample::select(names.to_vec()), inner), 0..8).prop_map(|fields| {
                Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn no_config_makes_a_panic(changes in any_json(), alone in any::<bool>()) {
        let mut config = if alone { json!({}) } else { llama() };
        if let (Some(config), Some(changes)) = (config.as_object_mut(), changes.as_object()) {
            config.extend(changes.clone());
        }
        if let Ok(spec) = model_spec(&config) {
            prop_assert!(!spec.layers.is_empty());
            prop_assert!(spec.ropes[0].angles(511, 512).all(f32::is_finite));
        }
    }
}

#[test]
fn more_experts_than_any_model_has_are_refused() {
    let mixture = |layers: u32, experts: u32| {
        model_spec(&with(&json!({
            "architectures": ["MixtralForCausalLM"], "num_hidden_layers": layers, "num_local_experts": experts,
        })))
    };
    assert_eq!(mixture(3, 8).expect("a plan").layers[0].experts.as_ref().map(|experts| experts.count), Some(8));
    let error = mixture(10_000, 4096).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(error.to_string().contains("num_local_experts"), "{error}");
}

fn gpt_oss(changes: &Value) -> crate::Result<super::ModelSpec> {
    let mut all = json!({
        "architectures": ["GptOssForCausalLM"], "head_dim": 16, "num_local_experts": 5, "num_experts_per_tok": 2,
    });
    all.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
    model_spec(&with(&all))
}

fn llama4(changes: &Value) -> crate::Result<super::ModelSpec> {
    let mut all = json!({
        "architectures": ["Llama4ForCausalLM"], "head_dim": 16, "num_local_experts": 4, "intermediate_size_mlp": 96,
    });
    all.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
    model_spec(&with(&all))
}

fn attentions(spec: &super::ModelSpec) -> Vec<super::AttentionSpec> {
    let find = |op: &Op| if let Op::Attention { attention, .. } = op { Some(*attention) } else { None };
    spec.layers.iter().map(|layer| layer.ops.iter().find_map(find).expect("attention")).collect()
}

#[test]
fn gpt_oss_says_little_and_means_much() {
    let spec = gpt_oss(&json!({})).expect("a plan");
    let windows: Vec<_> = attentions(&spec).iter().map(|attention| attention.window).collect();
    assert_eq!(windows, [Some(128), None, Some(128)], "windows in every other layer, from the first on");
    assert!(attentions(&spec).iter().all(|attention| attention.sinks.is_some() && !attention.chunked));
    let experts = spec.layers[0].experts.as_ref().expect("experts");
    assert_eq!((experts.limit, experts.bias, experts.routing.normalize), (7.0, true, true));
    let names: Vec<_> = experts.vectors(3).into_iter().map(|vector| (vector.name, vector.len)).collect();
    let name = |part| format!("mlp.experts.3.{part}_proj.bias");
    assert_eq!(names, [(name("gate"), 160), (name("up"), 160), (name("down"), 64)]);
    assert!(spec.ropes[0].attention_factor > 1.0, "YaRN where nothing is said");
    for (changes, field) in [
        (json!({ "swiglu_alpha": 2.0 }), "swiglu_alpha"),
        (json!({ "swiglu_limit": 0.0 }), "swiglu_limit"),
        (json!({ "hidden_act": "gelu" }), "hidden_act"),
        (json!({ "layer_types": ["full_attention"] }), "layer_types"),
    ] {
        let error = gpt_oss(&changes).expect_err("refused").to_string();
        assert!(error.contains(field), "{changes}: {error}");
    }
}

#[test]
fn llama_4_cuts_positions_in_chunks_where_it_rotates() {
    let chunks = |changes: Value| {
        let spec = llama4(&changes).expect("a plan");
        attentions(&spec).iter().map(|attention| attention.window).collect::<Vec<_>>()
    };
    let five = json!({ "num_hidden_layers": 5, "attention_chunk_size": 7, "no_rope_layers": [] });
    assert_eq!(chunks(five), [Some(7), Some(7), Some(7), None, Some(7)], "an empty list says nothing");
    assert_eq!(chunks(json!({ "attention_chunk_size": 7, "no_rope_layers": [0, 1, 0] })), [None, Some(7), None]);
    let types = json!(["full_attention", "full_attention", "chunked_attention"]);
    assert_eq!(chunks(json!({ "attention_chunk_size": 7, "layer_types": types })), [None, None, Some(7)]);
    let sparse = |changes: Value| {
        let spec = llama4(&changes).expect("a plan");
        spec.layers.iter().map(|layer| layer.experts.is_some()).collect::<Vec<_>>()
    };
    assert_eq!(sparse(json!({})), [true; 3]);
    assert_eq!(sparse(json!({ "interleave_moe_layer_step": 2 })), [false, true, false]);
    assert_eq!(sparse(json!({ "interleave_moe_layer_step": 2, "moe_layers": [0] })), [true, false, false]);
    let error = llama4(&json!({ "layer_types": ["sliding_attention", "", ""] })).expect_err("refused").to_string();
    assert!(error.contains("layer_types"), "{error}");
}

#[test]
fn llama_4_warms_queries_that_do_not_rotate() {
    for (tuning, grows) in [(json!(true), true), (json!(4), true), (json!(false), false), (json!(0), false)] {
        let spec = llama4(&json!({ "attn_temperature_tuning": tuning, "floor_scale": 6, "no_rope_layers": [1, 0, 1] }));
        let spec = spec.expect("a plan");
        let tables = |layer: usize| {
            let table = |op: &Op| match op {
                Op::Rope { table, .. } | Op::KvWrite { rotation: Some(Rotation { table, .. }), .. } => Some(*table),
                _ => None,
            };
            spec.layers[layer].ops.iter().filter_map(table).collect::<Vec<_>>()
        };
        assert_eq!((spec.ropes.len(), tables(0)), (if grows { 2 } else { 1 }, vec![0]));
        assert_eq!(tables(1), if grows { vec![1] } else { vec![] }, "queries only");
        if grows {
            let factor = |position| spec.ropes[1].angles(position, 64).collect::<Vec<_>>();
            assert_eq!(factor(4), [[1.0; 8], [0.0; 8]].concat());
            let expected = 0.1 * 3.0_f32.ln() + 1.0;
            assert!(factor(12)[..8].iter().all(|factor| (factor - expected).abs() < 1e-6), "{:?}", factor(12));
        }
    }
    assert!(llama4(&json!({ "attn_temperature_tuning": "yes" })).is_err());
}

#[test]
fn a_text_part_is_read_from_its_own_config() {
    let mut text = with(&json!({ "head_dim": 16, "num_local_experts": 4, "intermediate_size_mlp": 96 }));
    text.as_object_mut().expect("an object").shift_remove("architectures");
    let whole = |changes: Value| {
        let mut config = json!({ "architectures": ["Llama4ForConditionalGeneration"], "text_config": text.clone() });
        config.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
        model_spec(&config)
    };
    assert_eq!(whole(json!({ "vision_config": {} })).expect("a plan"), llama4(&json!({})).expect("a plan"));
    for (changes, field) in [
        (json!({ "text_config": null }), "text_config"),
        (json!({ "text_config": 3 }), "text_config"),
        (json!({ "smell_config": {} }), "smell_config"),
        (json!({ "text_config": { "spin": 1 } }), "hidden_size"),
    ] {
        let error = whole(changes).expect_err("refused").to_string();
        assert!(error.contains(field), "{error}");
    }
}
