//! Families of 2026 with windows, gates and norms that others do not have together.

use super::mixtures::CHOICE_BIAS;
use super::plain::{GRANITE, LLAMA, PARALLEL, QWEN_EXPERTS, SANDWICH};
use super::slabs::{GRANITE_MOE, SHARED_IN, SHARED_OUT};
use super::{Cut, Experts, Family, Flag, HeadNorm, Norms, Part, Rope, Rule, Shared, When};
use crate::plan::NormKind;

// https://huggingface.co/CohereLabs/command-a-plus-05-2026/blob/main/config.json
const COHERE2_MOE: Family = Family {
    class: "Cohere2MoeForCausalLM",
    name: "cohere2_moe",
    renamed: &[
        ("intermediate_size", "prefix_dense_intermediate_size"),
        ("moe_intermediate_size", "intermediate_size"),
        ("rms_norm_eps", "layer_norm_eps"),
        ("scoring_func", "expert_selection_fn"),
    ],
    defaults: r#"{"head_dim": 128, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "hidden_act": "silu",
        "logit_scale": 0.0625, "sliding_window": 4096, "sliding_window_pattern": 4, "tie_word_embeddings": true,
        "intermediate_size": 1, "moe_intermediate_size": 22528, "num_experts": 8, "num_experts_per_tok": 2,
        "prefix_dense_sliding_window_pattern": 1, "scoring_func": "softmax",
        "shared_expert_combination_strategy": "average"}"#,
    reads: &[
        "layer_types",
        "logit_scale",
        "mlp_layer_types",
        "prefix_dense_sliding_window_pattern",
        "shared_expert_combination_strategy",
        "sliding_window",
        "sliding_window_pattern",
    ],
    harmless: &["cache_implementation", "output_router_logits", "rms_norm_eps", "router_aux_loss_coef"],
    only: &[
        ("norm_topk_prob", &["true"]),
        ("scoring_func", &["softmax", "sigmoid"]),
        ("shared_expert_combination_strategy", &["average", "sum"]),
        ("use_qk_norm", &["false"]),
    ],
    norm: NormKind::Layer,
    norms: PARALLEL,
    parallel: Flag::Yes,
    mlp_bias: Flag::No,
    rope: Rope::InterleavedInWindows,
    experts: Some(Experts {
        // The softmax is over the chosen ones.
        normalize: Flag::Yes,
        shared: Shared::Several("num_shared_experts"),
        ..QWEN_EXPERTS
    }),
    choice_bias: Some(false),
    ..LLAMA
};

/// What Granite has with windows: a sink in each softmax, and layers without positions.
const WINDOWS: &[&str] = &[
    "attention_multiplier",
    "residual_multiplier",
    "embedding_multiplier",
    "logits_scaling",
    "layer_rope_theta",
    "layer_types",
    "sliding_window",
];

/// The rows.
pub(super) const ROWS: &[Family] = &[
    // https://huggingface.co/arcee-ai/Trinity-Mini/blob/main/config.json
    Family {
        class: "AfmoeForCausalLM",
        name: "afmoe",
        renamed: &[
            ("first_k_dense_replace", "num_dense_layers"),
            ("routed_scaling_factor", "route_scale"),
            ("sliding_window_pattern", "global_attn_every_n_layers"),
        ],
        defaults: r#"{"head_dim": 128, "max_position_embeddings": 16384, "rms_norm_eps": 1e-5, "hidden_act": "silu",
            "sliding_window": 1024, "sliding_window_pattern": 4, "first_k_dense_replace": 1, "num_experts": 64,
            "num_experts_per_tok": 6, "num_shared_experts": 2, "moe_intermediate_size": 1408,
            "routed_scaling_factor": 1.0, "scoring_func": "sigmoid"}"#,
        reads: &["layer_types", "sliding_window", "sliding_window_pattern"],
        harmless: &["load_balance_coeff", "output_router_logits", "use_grouped_mm"],
        only: &[
            ("attention_bias", &["false"]),
            ("n_group", &["1"]),
            ("num_expert_groups", &["1"]),
            ("num_limited_groups", &["1"]),
            ("route_norm", &["true"]),
            ("score_func", &["sigmoid"]),
            ("topk_group", &["1"]),
        ],
        norms: Norms { before_mlp: Some("pre_mlp_layernorm"), after_mlp: Some("post_mlp_layernorm"), ..SANDWICH },
        qkv_bias: Flag::No,
        output_bias: Flag::No,
        mlp_bias: Flag::No,
        head_norm: HeadNorm::Shared,
        output_gate: true,
        rope: Rope::HalvesInWindows,
        embeddings_grow: Flag::Field("mup_enabled"),
        experts: Some(Experts { normalize: Flag::Yes, shared: Shared::Several("num_shared_experts"), ..QWEN_EXPERTS }),
        tensors: &[
            Rule { theirs: "mlp.router.gate", ours: &[("mlp.gate", Part::All)] },
            Rule { theirs: "mlp.expert_bias", ours: &[("mlp.gate.bias", Part::All)] },
        ],
        ..LLAMA
    },
    Family {
        when: &[("rms_norm_eps", When::There)],
        renamed: &[
            ("intermediate_size", "prefix_dense_intermediate_size"),
            ("moe_intermediate_size", "intermediate_size"),
            ("scoring_func", "expert_selection_fn"),
        ],
        harmless: &["cache_implementation", "layer_norm_eps", "output_router_logits", "router_aux_loss_coef"],
        norm: NormKind::Rms,
        ..COHERE2_MOE
    },
    COHERE2_MOE,
    // https://huggingface.co/meta-models/Muse-Glimmer-30B/blob/main/config.json, its text_config
    Family {
        class: "MuseGlimmerForCausalLM",
        name: "muse_glimmer_text",
        renamed: &[("hidden_act", "hidden_activation"), ("logit_scale", "output_multiplier")],
        defaults: r#"{"num_key_value_heads": 2, "head_dim": 128, "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5, "hidden_act": "silu", "sliding_window": 2048, "final_logit_softcapping": 20.0,
            "qk_scale_factor": 3.87, "logit_scale": 0.19611613513818404, "post_norm_eps": 1e-8}"#,
        reads: &[
            "final_logit_softcapping",
            "layer_rope_theta",
            "layer_types",
            "logit_scale",
            "post_norm_eps",
            "qk_scale_factor",
            "sliding_window",
        ],
        needs: &["layer_rope_theta", "layer_types"],
        only: &[("attention_bias", &["false"])],
        unit_offset: true,
        plain_final_norm: true,
        embedding_norm: Some(false),
        norms: SANDWICH,
        qkv_bias: Flag::No,
        output_bias: Flag::No,
        mlp_bias: Flag::No,
        head_norm: HeadNorm::Weightless,
        output_gate: true,
        ..LLAMA
    },
    // https://huggingface.co/ibm-granite/granite-swash-2b/blob/main/config.json
    Family {
        class: "GraniteSWAForCausalLM",
        name: "granite_swa",
        defaults: r#"{"num_key_value_heads": 4, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5,
            "hidden_act": "silu", "attention_multiplier": 1.0, "residual_multiplier": 1.0,
            "embedding_multiplier": 1.0, "logits_scaling": 1.0, "sliding_window": 128, "tie_word_embeddings": true}"#,
        reads: WINDOWS,
        needs: &["layer_types"],
        sinks: true,
        ..GRANITE
    },
    // https://huggingface.co/ibm-granite/granite-swash-3b-a600m/blob/main/config.json
    Family {
        class: "GraniteMoeSWAForCausalLM",
        name: "granitemoe_swa",
        defaults: r#"{"max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "hidden_act": "silu",
            "attention_multiplier": 1.0, "residual_multiplier": 1.0, "embedding_multiplier": 1.0,
            "logits_scaling": 1.0, "sliding_window": 128, "num_local_experts": 8, "num_experts_per_tok": 2}"#,
        reads: WINDOWS,
        needs: &["layer_types", "shared_intermediate_size"],
        experts: match GRANITE_MOE.experts {
            Some(experts) => Some(Experts { shared: Shared::Wide("shared_intermediate_size"), ..experts }),
            None => None,
        },
        sinks: true,
        tensors: &[
            Rule { theirs: "block_sparse_moe.router", ours: &[("mlp.gate", Part::All)] },
            Rule {
                theirs: "block_sparse_moe.experts.gate_up_proj",
                ours: &[
                    ("mlp.experts.*.gate_proj.weight", Part::Slab(Cut::First)),
                    ("mlp.experts.*.up_proj.weight", Part::Slab(Cut::Second)),
                ],
            },
            Rule {
                theirs: "block_sparse_moe.experts.down_proj",
                ours: &[("mlp.experts.*.down_proj.weight", Part::Slab(Cut::All))],
            },
            SHARED_IN,
            SHARED_OUT,
        ],
        ..GRANITE_MOE
    },
    // https://huggingface.co/karpathy/nanochat-d32/blob/main/config.json
    Family {
        class: "NanoChatForCausalLM",
        name: "nanochat",
        defaults: r#"{"max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "hidden_act": "relu2",
            "final_logit_softcapping": 15.0, "use_qk_norm": true}"#,
        reads: &["final_logit_softcapping"],
        only: &[("use_qk_norm", &["true"])],
        norm_weights: false,
        embedding_norm: Some(false),
        mlp_bias: Flag::No,
        head_norm: HeadNorm::AfterRope("use_qk_norm"),
        rope_backwards: true,
        gated: false,
        tensors: &[
            Rule { theirs: "mlp.fc1", ours: &[("mlp.up_proj", Part::All)] },
            Rule { theirs: "mlp.fc2", ours: &[("mlp.down_proj", Part::All)] },
        ],
        ..LLAMA
    },
    // https://huggingface.co/XiaomiMiMo/MiMo-V2-Flash/blob/main/config.json
    Family {
        class: "MiMoV2FlashForCausalLM",
        name: "mimo_v2_flash",
        renamed: &[("rope_local_base_freq", "swa_rope_theta")],
        defaults: r#"{"num_key_value_heads": 4, "head_dim": 192, "v_head_dim": 128, "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5, "hidden_act": "silu", "sliding_window": 129, "scoring_func": "sigmoid",
            "moe_intermediate_size": 2048, "num_experts_per_tok": 8, "n_routed_experts": 256, "n_group": 1,
            "topk_group": 1, "norm_topk_prob": true, "attention_value_scale": 0.707, "rope_theta": 5000000.0,
            "rope_local_base_freq": 10000.0, "partial_rotary_factor": 0.334}"#,
        reads: &[
            "attention_value_scale",
            "hybrid_layer_pattern",
            "layer_types",
            "mlp_layer_types",
            "moe_layer_freq",
            "rope_local_base_freq",
            "sliding_window",
            "sliding_window_size",
            "v_head_dim",
        ],
        harmless: &[
            "attention_chunk_size",
            "num_mtp_layers",
            "num_nextn_predict_layers",
            "output_router_logits",
            "router_aux_loss_coef",
            // Layers with a window have as many heads of queries, of the same sizes, and twice as many of keys.
            "swa_head_dim",
            "swa_num_attention_heads",
            "swa_num_key_value_heads",
            "swa_v_head_dim",
        ],
        only: &[
            ("add_full_attention_sink_bias", &["false"]),
            ("add_swa_attention_sink_bias", &["true"]),
            ("attention_bias", &["false"]),
            ("n_shared_experts", &["null"]),
            ("scoring_func", &["sigmoid"]),
            ("topk_method", &["noaux_tc"]),
        ],
        qkv_bias: Flag::No,
        output_bias: Flag::No,
        mlp_bias: Flag::No,
        experts: Some(Experts { count: "n_routed_experts", ..QWEN_EXPERTS }),
        sinks_in_windows: true,
        kv_heads_in_windows: 2,
        tensors: &[
            CHOICE_BIAS,
            Rule { theirs: "self_attn.attention_sink_bias", ours: &[("self_attn.sinks", Part::All)] },
        ],
        unused: &["model.mtp."],
        ..LLAMA
    },
    // https://huggingface.co/meta-llama/Llama-3.2-11B-Vision/blob/main/config.json, its text_config
    Family {
        class: "MllamaForCausalLM",
        name: "mllama_text_model",
        defaults: r#"{"num_key_value_heads": 8, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5,
            "hidden_act": "silu", "rope_theta": 500000.0, "cross_attention_layers": [3, 8, 13, 18, 23, 28, 33, 38]}"#,
        harmless: &["dropout"],
        passed_by: Some("cross_attention_layers"),
        ..LLAMA
    },
];
