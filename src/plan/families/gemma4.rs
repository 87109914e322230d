//! Gemma 3n and 4.

use super::plain::GEMMA2;
use super::{Cut, Experts, Family, Flag, HeadNorm, Part, Rule, Shared, When};

/// What comes before the first layer is a part of it.
const PER_LAYER: &[Rule] = &[
    Rule {
        theirs: "model.per_layer_model_projection",
        ours: &[("model.layers.0.per_layer_model_projection", Part::All)],
    },
    Rule {
        theirs: "model.per_layer_projection_norm",
        ours: &[("model.layers.0.per_layer_projection_norm", Part::All)],
    },
];

// https://huggingface.co/google/gemma-4-31B-it/blob/main/config.json, its text_config
const GEMMA4: Family = Family {
    class: "Gemma4ForCausalLM",
    name: "gemma4",
    defaults: r#"{"num_key_value_heads": 4, "head_dim": 256, "global_head_dim": 512, "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-6, "hidden_act": "gelu_pytorch_tanh", "tie_word_embeddings": true, "sliding_window": 512,
        "hidden_size_per_layer_input": 256,
        "vocab_size_per_layer_input": 262144, "rope_parameters": {
            "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1000000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}}"#,
    reads: &[
        "final_logit_softcapping",
        "hidden_size_per_layer_input",
        "layer_types",
        "num_kv_shared_layers",
        "sliding_window",
    ],
    needs: &["layer_types", "rope_parameters", "sliding_window"],
    harmless: &[
        // A list of what layers have stands in place of these.
        "global_head_dim",
        "num_global_key_value_heads",
        "hidden_act",
        "query_pre_attn_scalar",
        // Of the experts that a dense model does not have.
        "moe_intermediate_size",
        "num_experts",
        "top_k_experts",
        // Of embeddings that layers may not have.
        "vocab_size_per_layer_input",
    ],
    only: &[
        ("enable_moe_block", &["false"]),
        // Pictures are seen from both sides; text never is.
        ("use_bidirectional_attention", &["vision"]),
    ],
    unit_offset: false,
    head_norm: HeadNorm::Shared,
    value_norm: true,
    unscaled: true,
    full_heads: true,
    keys_as_values: Flag::Field("attention_k_eq_v"),
    double_wide: Flag::Field("use_double_wide_mlp"),
    layer_factor: true,
    tensors: PER_LAYER,
    ..GEMMA2
};

// https://huggingface.co/google/gemma-4-26B-A4B-it/blob/main/config.json, its text_config
const GEMMA4_MOE: Family = Family {
    when: &[("enable_moe_block", When::Is("true"))],
    renamed: &[("hidden_act", "hidden_activation"), ("num_experts_per_tok", "top_k_experts")],
    harmless: &[
        "enable_moe_block",
        "global_head_dim",
        "num_global_key_value_heads",
        "hidden_act",
        "query_pre_attn_scalar",
        "vocab_size_per_layer_input",
    ],
    only: &[
        // All layers have experts, and nothing else of other mixtures.
        ("decoder_sparse_step", &["1"]),
        ("first_k_dense_replace", &["0"]),
        ("mlp_only_layers", &["[]"]),
        ("n_group", &["1"]),
        ("routed_scaling_factor", &["1", "1.0"]),
        ("scoring_func", &["softmax"]),
        ("use_bidirectional_attention", &["vision"]),
    ],
    experts: Some(Experts {
        count: "num_experts",
        width: "moe_intermediate_size",
        normalize: Flag::Yes,
        shared: Shared::None,
        names: ("experts.", ["gate_proj", "up_proj", "down_proj"]),
    }),
    experts_beside: true,
    tensors: &[
        PER_LAYER[0],
        PER_LAYER[1],
        Rule {
            theirs: "experts.gate_up_proj",
            ours: &[
                ("mlp.experts.*.gate_proj.weight", Part::Slab(Cut::First)),
                ("mlp.experts.*.up_proj.weight", Part::Slab(Cut::Second)),
            ],
        },
        Rule { theirs: "experts.down_proj", ours: &[("mlp.experts.*.down_proj.weight", Part::Slab(Cut::All))] },
    ],
    ..GEMMA4
};

// https://huggingface.co/google/gemma-3n-E4B-it/blob/main/config.json, its text_config
const GEMMA3N: Family = Family {
    class: "Gemma3nForCausalLM",
    name: "gemma3n",
    defaults: r#"{"num_key_value_heads": 2, "head_dim": 256, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
        "hidden_act": "gelu_pytorch_tanh", "tie_word_embeddings": true, "sliding_window": 512,
        "sliding_window_pattern": 5, "final_logit_softcapping": 30.0, "rope_theta": 1000000.0,
        "rope_local_base_freq": 10000.0, "vocab_size_per_layer_input": 262144, "hidden_size_per_layer_input": 256,
        "num_kv_shared_layers": 15, "altup_active_idx": 0, "altup_correct_scale": true, "altup_num_inputs": 4,
        "laurel_rank": 64}"#,
    reads: &[
        "final_logit_softcapping",
        "hidden_size_per_layer_input",
        "layer_types",
        "num_kv_shared_layers",
        "rope_local_base_freq",
        "sliding_window",
        "sliding_window_pattern",
    ],
    needs: &["sliding_window"],
    harmless: &["altup_coef_clip", "altup_lr_multiplier", "hidden_act", "query_pre_attn_scalar"],
    only: &[("altup_active_idx", &["0"]), ("altup_num_inputs", &["4"]), ("sliding_window_pattern", &["5"])],
    full_heads: false,
    keys_as_values: Flag::No,
    double_wide: Flag::No,
    layer_factor: false,
    streams: true,
    tensors: &[
        PER_LAYER[0],
        PER_LAYER[1],
        Rule {
            theirs: "altup.modality_router",
            ours: &[("altup.modality_router", Part::All), ("altup.modality_router_again", Part::All)],
        },
        Rule { theirs: "model.altup_projections.0", ours: &[("model.layers.0.altup_projections.0", Part::All)] },
        Rule { theirs: "model.altup_projections.1", ours: &[("model.layers.0.altup_projections.1", Part::All)] },
        Rule { theirs: "model.altup_projections.2", ours: &[("model.layers.0.altup_projections.2", Part::All)] },
        Rule {
            theirs: "model.altup_unembed_projections.0",
            ours: &[("model.layers.last.altup_unembed_projections.0", Part::All)],
        },
        Rule {
            theirs: "model.altup_unembed_projections.1",
            ours: &[("model.layers.last.altup_unembed_projections.1", Part::All)],
        },
        Rule {
            theirs: "model.altup_unembed_projections.2",
            ours: &[("model.layers.last.altup_unembed_projections.2", Part::All)],
        },
    ],
    ..GEMMA4
};

/// The rows.
pub(super) const ROWS: &[Family] = &[GEMMA3N, GEMMA4_MOE, GEMMA4];
