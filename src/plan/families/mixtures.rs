//! Mixtures of experts of 2025 and 2026 that recombine what is there.

use super::fused::DEEPSEEK;
use super::plain::{LLAMA, OLMO_NORMS, QWEN_EXPERTS, QWEN3, ROUTER_TRAINING};
use super::recent::{EXAONE4, HUNYUAN, QWEN3_5};
use super::{Experts, FUSED_QKV, Family, Flag, HeadNorm, Part, Rope, Rule, Shared, When};

/// Experts by the names of DeepSeek-V3.
const EXPERTS: Experts = Experts {
    count: "n_routed_experts",
    width: "moe_intermediate_size",
    normalize: Flag::Field("norm_topk_prob"),
    shared: Shared::Several("n_shared_experts"),
    names: ("mlp.experts.", ["gate_proj", "up_proj", "down_proj"]),
};

pub(super) const CHOICE_BIAS: Rule =
    Rule { theirs: "mlp.gate.e_score_correction_bias", ours: &[("mlp.gate.bias", Part::All)] };

/// What training reads, and layers that guess further tokens.
const BESIDE: &[&str] = &[
    "num_mtp_layers",
    "num_nextn_predict_layers",
    "output_router_logits",
    "router_aux_loss_coef",
    "router_jitter_noise",
    "topk_method",
];

// https://huggingface.co/zai-org/GLM-4.6/blob/main/config.json
const GLM4_MOE: Family = Family {
    class: "Glm4MoeForCausalLM",
    name: "glm4_moe",
    defaults: r#"{"num_key_value_heads": 8, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5,
        "hidden_act": "silu", "partial_rotary_factor": 0.5, "attention_bias": false, "scoring_func": "sigmoid",
        "moe_intermediate_size": 1408, "num_experts_per_tok": 8, "n_shared_experts": 1, "n_routed_experts": 128,
        "routed_scaling_factor": 1.0, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1,
        "norm_topk_prob": true, "use_qk_norm": false}"#,
    harmless: BESIDE,
    only: &[("scoring_func", &["sigmoid"])],
    output_bias: Flag::No,
    mlp_bias: Flag::No,
    head_norm: HeadNorm::SharedIf("use_qk_norm"),
    experts: Some(EXPERTS),
    tensors: &[CHOICE_BIAS],
    ..LLAMA
};

// https://huggingface.co/sarvamai/sarvam-30b/blob/main/config.json
const SARVAM_MOE: Family = Family {
    class: "SarvamMoEForCausalLM",
    name: "sarvam_moe",
    renamed: &[
        ("attention_bias", "use_qkv_bias"),
        ("n_routed_experts", "num_experts"),
        ("n_shared_experts", "num_shared_experts"),
    ],
    defaults: r#"{"num_key_value_heads": 4, "head_dim": 64, "max_position_embeddings": 131072, "rms_norm_eps": 1e-6,
        "hidden_act": "silu", "rope_theta": 8000000.0, "attention_bias": false, "scoring_func": "sigmoid",
        "moe_intermediate_size": 1024, "num_experts_per_tok": 6, "n_shared_experts": 1, "n_routed_experts": 128,
        "routed_scaling_factor": 2.5, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1,
        "norm_topk_prob": true, "use_qk_norm": true}"#,
    harmless: BESIDE,
    only: &[
        ("moe_router_enable_expert_bias", &["true"]),
        ("score_function", &["sigmoid"]),
        ("scoring_func", &["sigmoid"]),
    ],
    tensors: &[
        Rule { theirs: "attention.query_key_value", ours: FUSED_QKV },
        Rule { theirs: "attention.dense", ours: &[("self_attn.o_proj", Part::All)] },
        Rule { theirs: "attention.query_layernorm", ours: &[("self_attn.q_norm", Part::All)] },
        Rule { theirs: "attention.key_layernorm", ours: &[("self_attn.k_norm", Part::All)] },
        Rule { theirs: "mlp.gate.expert_bias", ours: &[("mlp.gate.bias", Part::All)] },
        Rule { theirs: "model.word_embeddings", ours: &[("model.embed_tokens", Part::All)] },
    ],
    ..GLM4_MOE
};

/// The rows.
pub(super) const ROWS: &[Family] = &[
    SARVAM_MOE,
    // As transformers writes it: under another class, with some fields by their later names.
    Family {
        class: "Glm4MoeForCausalLM",
        when: &[("model_type", When::Is("sarvam_moe")), ("n_routed_experts", When::There)],
        renamed: &[],
        ..SARVAM_MOE
    },
    Family { class: "Glm4MoeForCausalLM", when: &[("model_type", When::Is("sarvam_moe"))], ..SARVAM_MOE },
    // https://huggingface.co/JetBrains/Mellum2-12B-A2.5B-Base/blob/main/config.json
    Family {
        class: "MellumForCausalLM",
        name: "mellum",
        defaults: r#"{"num_key_value_heads": 4, "head_dim": 128, "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-6, "hidden_act": "silu", "sliding_window": 1024, "sliding_window_pattern": 1,
            "num_experts": 64,
            "num_experts_per_tok": 8, "norm_topk_prob": true, "moe_intermediate_size": 896,
            "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 500000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}}"#,
        // A file without a list of kinds has no windows: every layer is the last of a pattern of one.
        reads: &["sliding_window", "sliding_window_pattern", "layer_types", "mlp_layer_types"],
        harmless: &[
            "mtp_layer_types",
            "mtp_mlp_layer_types",
            "num_mtp_layers",
            "num_nextn_predict_layers",
            "output_router_logits",
            "router_aux_loss_coef",
        ],
        experts: Some(QWEN_EXPERTS),
        unused: &["mtp."],
        ..QWEN3
    },
    // https://huggingface.co/Qwen/Qwen3.6-35B-A3B/blob/main/config.json, its text_config
    Family {
        class: "Qwen3_5MoeForCausalLM",
        name: "qwen3_5_moe_text",
        defaults: r#"{"num_key_value_heads": 2, "head_dim": 256, "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-6, "hidden_act": "silu", "partial_rotary_factor": 0.25, "full_attention_interval": 4,
            "linear_num_key_heads": 16, "linear_num_value_heads": 32, "linear_key_head_dim": 128,
            "linear_value_head_dim": 128, "intermediate_size": 1, "num_experts": 256, "num_experts_per_tok": 8,
            "norm_topk_prob": true, "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512}"#,
        only: &[
            ("attn_output_gate", &["true"]),
            ("hidden_act", &["silu"]),
            ("linear_conv_kernel_dim", &["4"]),
            ("mlp_only_layers", &["[]"]),
            ("norm_topk_prob", &["true"]),
            ("use_sliding_window", &["false"]),
        ],
        experts: Some(Experts { shared: Shared::Gated("shared_expert_intermediate_size"), ..QWEN_EXPERTS }),
        ..QWEN3_5
    },
    GLM4_MOE,
    // https://huggingface.co/zai-org/GLM-4.7-Flash/blob/main/config.json
    Family {
        class: "Glm4MoeLiteForCausalLM",
        name: "glm4_moe_lite",
        defaults: r#"{"max_position_embeddings": 202752, "rms_norm_eps": 1e-5, "hidden_act": "silu", "n_group": 1,
            "topk_group": 1, "routed_scaling_factor": 1.8, "scoring_func": "sigmoid", "first_k_dense_replace": 1,
            "num_experts_per_tok": 4, "n_routed_experts": 64, "n_shared_experts": 1,
            "moe_intermediate_size": 1536, "norm_topk_prob": true}"#,
        reads: &["mlp_layer_types"],
        only: &[
            ("attention_bias", &["false"]),
            ("partial_rotary_factor", &["1.0", "1"]),
            ("rope_interleave", &["true"]),
            ("scoring_func", &["sigmoid"]),
            ("topk_method", &["noaux_tc"]),
        ],
        experts: Some(EXPERTS),
        ..DEEPSEEK
    },
    // https://huggingface.co/MiniMaxAI/MiniMax-M2/blob/main/config.json
    Family {
        class: "MiniMaxM2ForCausalLM",
        name: "minimax_m2",
        defaults: r#"{"num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 196608,
            "rms_norm_eps": 1e-6, "hidden_act": "silu", "scoring_func": "sigmoid", "num_local_experts": 256,
            "num_experts_per_tok": 8}"#,
        reads: &["rotary_dim"],
        harmless: &[
            "attn_type_list",
            "auto_map",
            "layernorm_full_attention_beta",
            "layernorm_linear_attention_beta",
            "layernorm_mlp_beta",
            "mlp_intermediate_size",
            "mtp_transformer_layers",
            "num_mtp_modules",
            "output_router_logits",
            "router_aux_loss_coef",
            "router_jitter_noise",
            "use_mtp",
        ],
        only: &[
            ("qk_norm_type", &["per_layer"]),
            ("scoring_func", &["sigmoid"]),
            ("shared_intermediate_size", &["0"]),
            ("use_qk_norm", &["true"]),
            ("use_routing_bias", &["true"]),
        ],
        qkv_bias: Flag::No,
        output_bias: Flag::No,
        mlp_bias: Flag::No,
        head_norm: HeadNorm::Whole,
        experts: Some(Experts {
            count: "num_local_experts",
            width: "intermediate_size",
            normalize: Flag::Yes,
            shared: Shared::None,
            names: ("block_sparse_moe.experts.", ["w1", "w3", "w2"]),
        }),
        tensors: &[
            Rule { theirs: "block_sparse_moe.gate", ours: &[("mlp.gate", Part::All)] },
            Rule { theirs: "block_sparse_moe.e_score_correction_bias", ours: &[("mlp.gate.bias", Part::All)] },
        ],
        ..LLAMA
    },
    // https://huggingface.co/mistralai/Mistral-Small-4-119B-2603/blob/main/config.json, its text_config
    Family {
        class: "Mistral4ForCausalLM",
        name: "mistral4",
        defaults: r#"{"max_position_embeddings": 1048576, "rms_norm_eps": 1e-6, "hidden_act": "silu", "n_group": 1,
            "topk_group": 1, "routed_scaling_factor": 1.0, "scoring_func": "softmax", "first_k_dense_replace": 0,
            "num_experts_per_tok": 4, "n_routed_experts": 128, "n_shared_experts": 1,
            "moe_intermediate_size": 2048, "norm_topk_prob": true}"#,
        only: &[
            ("attention_bias", &["false"]),
            // Its groups are as good as their best two, softmax or not.
            ("n_group", &["1"]),
            ("rope_interleave", &["true"]),
            ("scoring_func", &["softmax"]),
        ],
        experts: Some(EXPERTS),
        ..DEEPSEEK
    },
    // https://huggingface.co/tencent/Hy3/blob/main/config.json
    Family {
        class: "HYV3ForCausalLM",
        name: "hy_v3",
        renamed: &[("routed_scaling_factor", "router_scaling_factor")],
        defaults: r#"{"num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5, "hidden_act": "silu", "scoring_func": "sigmoid", "first_k_dense_replace": 1,
            "num_experts": 192, "num_experts_per_tok": 8, "num_shared_experts": 1, "moe_intermediate_size": 1536,
            "routed_scaling_factor": 2.826}"#,
        reads: &["mlp_layer_types"],
        harmless: &[
            "enable_moe_fp32_combine",
            "num_mtp_layers",
            "num_nextn_predict_layers",
            "output_router_logits",
            "router_aux_loss_coef",
        ],
        only: &[
            ("moe_router_enable_expert_bias", &["true"]),
            ("moe_router_use_sigmoid", &["true"]),
            ("qk_norm", &["true"]),
            ("route_norm", &["true"]),
        ],
        head_norm: HeadNorm::Shared,
        experts: Some(Experts { normalize: Flag::Yes, shared: Shared::Several("num_shared_experts"), ..QWEN_EXPERTS }),
        tensors: &[
            Rule { theirs: "mlp.router.gate", ours: &[("mlp.gate", Part::All)] },
            Rule { theirs: "mlp.expert_bias", ours: &[("mlp.gate.bias", Part::All)] },
            Rule { theirs: "mlp.e_score_correction_bias", ours: &[("mlp.gate.bias", Part::All)] },
            Rule { theirs: "mlp.shared_mlp.gate_proj", ours: &[("mlp.shared_experts.gate_proj", Part::All)] },
            Rule { theirs: "mlp.shared_mlp.up_proj", ours: &[("mlp.shared_experts.up_proj", Part::All)] },
            Rule { theirs: "mlp.shared_mlp.down_proj", ours: &[("mlp.shared_experts.down_proj", Part::All)] },
        ],
        ..LLAMA
    },
    // https://huggingface.co/LGAI-EXAONE/K-EXAONE-236B-A23B/blob/main/config.json
    Family {
        class: "ExaoneMoeForCausalLM",
        name: "exaone_moe",
        defaults: r#"{"num_key_value_heads": 32, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5,
            "hidden_act": "silu", "sliding_window": 4096, "scoring_func": "sigmoid", "first_k_dense_replace": 1,
            "moe_intermediate_size": 1024, "num_experts": 64, "num_experts_per_tok": 8, "num_shared_experts": 1,
            "norm_topk_prob": true, "routed_scaling_factor": 2.5, "n_group": 1, "topk_group": 1}"#,
        reads: &["sliding_window", "layer_types", "mlp_layer_types"],
        harmless: &[
            "is_moe_layer",
            "num_mtp_layers",
            "num_nextn_predict_layers",
            "output_router_logits",
            "sliding_window_pattern",
        ],
        only: &[("scoring_func", &["sigmoid"])],
        norms: LLAMA.norms,
        experts: Some(Experts { shared: Shared::Several("num_shared_experts"), ..QWEN_EXPERTS }),
        tensors: &[CHOICE_BIAS, Rule { theirs: "mlp.e_score_correction_bias", ours: &[("mlp.gate.bias", Part::All)] }],
        unused: &["mtp."],
        ..EXAONE4
    },
    // https://huggingface.co/baidu/ERNIE-4.5-21B-A3B-PT/blob/main/config.json
    Family {
        class: "Ernie4_5_MoeForCausalLM",
        name: "ernie4_5_moe",
        renamed: &[
            ("decoder_sparse_step", "moe_layer_interval"),
            ("first_k_dense_replace", "moe_layer_start_index"),
            ("last_sparse_layer", "moe_layer_end_index"),
            ("num_experts_per_tok", "moe_k"),
        ],
        defaults: r#"{"num_key_value_heads": 4, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5,
            "hidden_act": "silu", "rope_theta": 500000.0, "tie_word_embeddings": true, "scoring_func": "softmax",
            "decoder_sparse_step": 1, "first_k_dense_replace": 1, "last_sparse_layer": -1,
            "moe_intermediate_size": 1536, "moe_num_experts": 64, "num_experts_per_tok": 6,
            "moe_num_shared_experts": 2}"#,
        reads: &["last_sparse_layer"],
        harmless: &["moe_norm_min", "num_nextn_predict_layers", "output_router_logits", "router_aux_loss_coef"],
        only: &[("moe_use_aux_free", &["true"]), ("use_bias", &["false"])],
        qkv_bias: Flag::No,
        output_bias: Flag::No,
        mlp_bias: Flag::No,
        rope: Rope::Interleaved,
        experts: Some(Experts {
            count: "moe_num_experts",
            normalize: Flag::Yes,
            shared: Shared::Several("moe_num_shared_experts"),
            ..EXPERTS
        }),
        choice_bias: Some(true),
        tensors: &[Rule { theirs: "mlp.moe_statics.e_score_correction_bias", ours: &[("mlp.gate.bias", Part::All)] }],
        ..LLAMA
    },
    // https://huggingface.co/tencent/Hunyuan-A13B-Instruct/blob/main/config.json
    Family {
        class: "HunYuanMoEV1ForCausalLM",
        name: "hunyuan_v1_moe",
        renamed: &[("num_experts_per_tok", "moe_topk")],
        harmless: &[
            // What the reference does not look at.
            "capacity_factor",
            "eod_token_id",
            "moe_drop_tokens",
            "moe_intermediate_size",
            "moe_layer_num_skipped",
            "moe_random_routing_dropped_token",
            "num_experts_per_tok",
            "num_shared_expert",
            "output_router_logits",
            "pad_id",
            "sep_token_id",
        ],
        experts: Some(Experts {
            width: "intermediate_size",
            normalize: Flag::Yes,
            shared: Shared::One,
            ..QWEN_EXPERTS
        }),
        tensors: &[
            Rule { theirs: "self_attn.query_layernorm", ours: &[("self_attn.q_norm", Part::All)] },
            Rule { theirs: "self_attn.key_layernorm", ours: &[("self_attn.k_norm", Part::All)] },
            Rule { theirs: "mlp.gate.wg", ours: &[("mlp.gate", Part::All)] },
            Rule { theirs: "mlp.shared_mlp.gate_proj", ours: &[("mlp.shared_experts.gate_proj", Part::All)] },
            Rule { theirs: "mlp.shared_mlp.up_proj", ours: &[("mlp.shared_experts.up_proj", Part::All)] },
            Rule { theirs: "mlp.shared_mlp.down_proj", ours: &[("mlp.shared_experts.down_proj", Part::All)] },
        ],
        ..HUNYUAN
    },
    // https://huggingface.co/rednote-hilab/dots.llm1.inst/blob/main/config.json
    Family {
        class: "Dots1ForCausalLM",
        name: "dots1",
        defaults: r#"{"num_key_value_heads": 32, "max_position_embeddings": 2048, "rms_norm_eps": 1e-6,
            "hidden_act": "silu", "scoring_func": "sigmoid", "routed_scaling_factor": 1.0, "n_group": 1,
            "topk_group": 1, "first_k_dense_replace": 0, "norm_topk_prob": false, "max_window_layers": 62,
            "use_sliding_window": false, "sliding_window": 4096}"#,
        harmless: BESIDE,
        only: &[("moe_layer_freq", &["1"]), ("scoring_func", &["sigmoid"])],
        experts: Some(EXPERTS),
        tensors: &[CHOICE_BIAS],
        ..QWEN3
    },
    // https://huggingface.co/upstage/Solar-Open-100B/blob/main/config.json
    Family {
        class: "SolarOpenForCausalLM",
        name: "solar_open",
        defaults: r#"{"num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5, "hidden_act": "silu", "scoring_func": "sigmoid", "intermediate_size": 1,
            "moe_intermediate_size": 1280, "num_experts_per_tok": 8, "n_shared_experts": 1,
            "n_routed_experts": 128, "routed_scaling_factor": 1.0, "n_group": 1, "topk_group": 1,
            "norm_topk_prob": true}"#,
        // Every layer has experts.
        only: &[("first_k_dense_replace", &["0"]), ("scoring_func", &["sigmoid"]), ("use_qk_norm", &["false"])],
        head_norm: HeadNorm::None,
        ..GLM4_MOE
    },
    // https://huggingface.co/allenai/OLMoE-1B-7B-0924/blob/main/config.json
    Family {
        class: "OlmoeForCausalLM",
        name: "olmoe",
        defaults: r#"{"max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "hidden_act": "silu",
            "num_experts": 64, "num_experts_per_tok": 8, "norm_topk_prob": false}"#,
        harmless: ROUTER_TRAINING,
        mlp_bias: Flag::No,
        head_norm: HeadNorm::Whole,
        experts: Some(Experts { width: "intermediate_size", ..QWEN_EXPERTS }),
        ..LLAMA
    },
    // https://huggingface.co/allenai/FlexOlmo-7x7B-1T/blob/main/config.json
    Family {
        class: "FlexOlmoForCausalLM",
        name: "flex_olmo",
        defaults: r#"{"max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "hidden_act": "silu",
            "rope_theta": 500000.0, "num_experts": 7, "num_experts_per_tok": 5, "norm_topk_prob": false}"#,
        harmless: ROUTER_TRAINING,
        norms: OLMO_NORMS,
        mlp_bias: Flag::No,
        head_norm: HeadNorm::Whole,
        experts: Some(Experts { width: "intermediate_size", ..QWEN_EXPERTS }),
        ..LLAMA
    },
];
