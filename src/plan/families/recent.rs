//! Dense families of 2025 and 2026 that recombine what is there.

use super::plain::{GEMMA2, GRANITE, LLAMA, OLMO_NORMS, QWEN3_NEXT};
use super::{DeltaPart, FUSED_GATE_UP, Family, Flag, HeadNorm, Norms, Part, Rope, Rule, When};
use crate::plan::NormKind;

// https://huggingface.co/Qwen/Qwen3.5-27B/blob/main/config.json, its text_config
pub(super) const QWEN3_5: Family = Family {
    class: "Qwen3_5ForCausalLM",
    name: "qwen3_5_text",
    defaults: r#"{"num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6, "hidden_act": "silu", "partial_rotary_factor": 0.25, "full_attention_interval": 4,
        "linear_num_key_heads": 16, "linear_num_value_heads": 32, "linear_key_head_dim": 128,
        "linear_value_head_dim": 128}"#,
    harmless: &[
        // How the reference keeps states: ours are f32.
        "mamba_ssm_dtype",
        "mlp_only_layers",
        "mtp_num_hidden_layers",
        "mtp_use_dedicated_embeddings",
        "output_router_logits",
        "router_aux_loss_coef",
        "router_jitter_noise",
    ],
    only: &[
        ("attn_output_gate", &["true"]),
        ("hidden_act", &["silu"]),
        ("linear_conv_kernel_dim", &["4"]),
        ("use_sliding_window", &["false"]),
    ],
    experts: None,
    tensors: &[
        Rule {
            theirs: "self_attn.q_proj",
            ours: &[("self_attn.q_proj", Part::GatedQuery), ("self_attn.gate_proj", Part::QueryGate)],
        },
        Rule {
            theirs: "linear_attn.in_proj_qkv",
            ours: &[
                ("linear_attn.q_proj", Part::Delta(DeltaPart::Queries)),
                ("linear_attn.k_proj", Part::Delta(DeltaPart::Keys)),
                ("linear_attn.v_proj", Part::Delta(DeltaPart::Values)),
            ],
        },
        Rule { theirs: "linear_attn.in_proj_z", ours: &[("linear_attn.gate_proj", Part::All)] },
        Rule { theirs: "linear_attn.in_proj_b", ours: &[("linear_attn.beta_proj", Part::All)] },
        Rule { theirs: "linear_attn.in_proj_a", ours: &[("linear_attn.decay_proj", Part::All)] },
    ],
    ..QWEN3_NEXT
};

// https://huggingface.co/LGAI-EXAONE/EXAONE-4.0-32B/blob/main/config.json
pub(super) const EXAONE4: Family = Family {
    class: "Exaone4ForCausalLM",
    name: "exaone4",
    defaults: r#"{"num_key_value_heads": 32, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5,
        "hidden_act": "silu", "sliding_window": 4096}"#,
    reads: &["sliding_window", "layer_types"],
    // Says again what `layer_types` says.
    harmless: &["sliding_window_pattern"],
    only: &[("attention_bias", &["false"])],
    qkv_bias: Flag::No,
    output_bias: Flag::No,
    mlp_bias: Flag::No,
    norms: OLMO_NORMS,
    head_norm: HeadNorm::Shared,
    rope: Rope::HalvesInWindows,
    ..LLAMA
};

// https://huggingface.co/mistralai/Ministral-3-8B-Instruct-2512/blob/main/config.json, its text_config
const MINISTRAL3: Family = Family {
    class: "Ministral3ForCausalLM",
    name: "ministral3",
    defaults: r#"{"num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 262144,
        "rms_norm_eps": 1e-5, "hidden_act": "silu"}"#,
    reads: &["sliding_window"],
    only: &[("attention_bias", &["false"])],
    qkv_bias: Flag::No,
    output_bias: Flag::No,
    mlp_bias: Flag::No,
    ..LLAMA
};

// https://huggingface.co/tencent/Hunyuan-7B-Instruct/blob/main/config.json
pub(super) const HUNYUAN: Family = Family {
    class: "HunYuanDenseV1ForCausalLM",
    name: "hunyuan_v1_dense",
    defaults: r#"{"max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "hidden_act": "silu",
        "use_qk_norm": true, "use_cla": false}"#,
    harmless: &[
        "add_classification_head",
        "cla_share_factor",
        "class_num",
        "dense_list",
        "eod_token_id",
        "im_end_id",
        "im_newline_id",
        "im_start_id",
        "image_token_id",
        "mask_init_id",
        "org_vocab_size",
        "pad_id",
        "pool_type",
        "sep_token_id",
        "text_end_id",
        "text_start_id",
    ],
    only: &[
        ("norm_type", &["rms", "hf_rms"]),
        ("use_cla", &["false"]),
        ("use_qk_norm", &["true"]),
        ("use_rotary_pos_emb", &["true"]),
    ],
    mlp_bias: Flag::No,
    head_norm: HeadNorm::SharedAfterRope,
    tensors: &[
        Rule { theirs: "self_attn.query_layernorm", ours: &[("self_attn.q_norm", Part::All)] },
        Rule { theirs: "self_attn.key_layernorm", ours: &[("self_attn.k_norm", Part::All)] },
    ],
    ..LLAMA
};

// https://huggingface.co/naver-hyperclovax/HyperCLOVAX-SEED-Think-14B/blob/main/config.json, without norms after blocks.
const HYPERCLOVAX: Family = Family {
    class: "HyperCLOVAXForCausalLM",
    when: &[("use_post_norm", When::Is("false"))],
    name: "hyperclovax",
    // A factor here, not a divisor.
    renamed: &[("logit_scale", "logits_scaling")],
    defaults: r#"{"max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "hidden_act": "silu"}"#,
    reads: &["attention_multiplier", "residual_multiplier", "embedding_multiplier", "logit_scale"],
    harmless: &["attn_pdrop", "embd_pdrop", "end_token_id", "resid_pdrop", "use_post_norm"],
    ..LLAMA
};

/// The rows.
pub(super) const ROWS: &[Family] = &[
    QWEN3_5,
    MINISTRAL3,
    // https://huggingface.co/allenai/Olmo-3-1025-7B/blob/main/config.json
    Family {
        class: "Olmo3ForCausalLM",
        name: "olmo3",
        // Layers with a window have the same base, and no scaling.
        renamed: &[("rope_local_base_freq", "rope_theta")],
        defaults: r#"{"max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "hidden_act": "silu",
            "sliding_window": 4096, "sliding_window_pattern": 4, "rope_local_base_freq": 10000.0}"#,
        reads: &["sliding_window", "sliding_window_pattern", "layer_types", "rope_local_base_freq"],
        norms: OLMO_NORMS,
        mlp_bias: Flag::No,
        head_norm: HeadNorm::Whole,
        ..LLAMA
    },
    // https://huggingface.co/ByteDance-Seed/Seed-OSS-36B-Instruct/blob/main/config.json
    Family {
        class: "SeedOssForCausalLM",
        name: "seed_oss",
        defaults: r#"{"num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 524288,
            "rms_norm_eps": 1e-6, "hidden_act": "silu", "attention_bias": true, "attention_out_bias": false}"#,
        harmless: &["residual_dropout"],
        output_bias: Flag::Field("attention_out_bias"),
        ..LLAMA
    },
    EXAONE4,
    // https://huggingface.co/baidu/ERNIE-4.5-0.3B-PT/blob/main/config.json
    Family {
        class: "Ernie4_5ForCausalLM",
        name: "ernie4_5",
        defaults: r#"{"num_key_value_heads": 2, "head_dim": 128, "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5, "hidden_act": "silu", "rope_theta": 500000.0, "tie_word_embeddings": true}"#,
        qkv_bias: Flag::Field("use_bias"),
        output_bias: Flag::Field("use_bias"),
        mlp_bias: Flag::Field("use_bias"),
        rope: Rope::Interleaved,
        ..LLAMA
    },
    HUNYUAN,
    // https://huggingface.co/kyutai/helium-1-2b/blob/main/config.json
    Family {
        class: "HeliumForCausalLM",
        name: "helium",
        defaults: r#"{"num_key_value_heads": 20, "head_dim": 128, "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-8, "hidden_act": "silu"}"#,
        output_bias: Flag::No,
        rope: Rope::Interleaved,
        ..LLAMA
    },
    // https://huggingface.co/facebook/cwm/blob/main/config.json
    Family {
        class: "CwmForCausalLM",
        name: "cwm",
        defaults: r#"{"num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5, "hidden_act": "silu", "sliding_window": 8192}"#,
        reads: &["sliding_window", "layer_types"],
        only: &[("attention_bias", &["false"])],
        ..LLAMA
    },
    // https://huggingface.co/mistralai/Ministral-8B-Instruct-2410/blob/main/config.json
    Family {
        class: "MinistralForCausalLM",
        name: "ministral",
        defaults: r#"{"num_key_value_heads": 8, "max_position_embeddings": 131072, "rms_norm_eps": 1e-6,
            "hidden_act": "silu", "sliding_window": 4096}"#,
        reads: &["sliding_window", "layer_types"],
        ..LLAMA
    },
    // https://huggingface.co/google/vaultgemma-1b/blob/main/config.json
    Family {
        class: "VaultGemmaForCausalLM",
        name: "vaultgemma",
        norms: Norms { before_mlp: Some("pre_feedforward_layernorm"), ..LLAMA.norms },
        ..GEMMA2
    },
    // https://huggingface.co/ibm-granite/granite-4.0-micro/blob/main/config.json: those without Mamba layers.
    Family {
        class: "GraniteMoeHybridForCausalLM",
        name: "granitemoehybrid",
        renamed: &[("intermediate_size", "shared_intermediate_size")],
        // A file that is silent of these has experts, no rotation and Mamba layers.
        defaults: r#"{"max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "hidden_act": "silu",
            "intermediate_size": 1024, "attention_multiplier": 1.0, "residual_multiplier": 1.0,
            "embedding_multiplier": 1.0, "logits_scaling": 1.0, "num_local_experts": 8,
            "position_embedding_type": "none", "layer_types": ["mamba"]}"#,
        harmless: &[
            "init_method",
            // The reference has only one width, that of the expert all tokens use.
            "intermediate_size",
            "layers_block_type",
            "mamba_chunk_size",
            "mamba_conv_bias",
            "mamba_d_conv",
            "mamba_d_head",
            "mamba_d_state",
            "mamba_expand",
            "mamba_n_groups",
            "mamba_n_heads",
            "mamba_proj_bias",
            "num_experts_per_tok",
            "output_router_logits",
            "router_aux_loss_coef",
            "time_step_limit",
        ],
        only: &[
            ("layer_types", &["attention", "full_attention"]),
            ("normalization_function", &["rmsnorm"]),
            ("num_local_experts", &["0"]),
            ("position_embedding_type", &["rope"]),
        ],
        mlp_bias: Flag::No,
        tensors: &[
            Rule { theirs: "shared_mlp.input_linear", ours: FUSED_GATE_UP },
            Rule { theirs: "shared_mlp.output_linear", ours: &[("mlp.down_proj", Part::All)] },
        ],
        ..GRANITE
    },
    // https://huggingface.co/naver-hyperclovax/HyperCLOVAX-SEED-Think-14B/blob/main/config.json
    HYPERCLOVAX,
    Family {
        when: &[],
        harmless: &["attn_pdrop", "embd_pdrop", "end_token_id", "resid_pdrop"],
        only: &[("use_post_norm", &["true"])],
        norms: Norms { after_attention: Some("post_norm1"), after_mlp: Some("post_norm2"), ..LLAMA.norms },
        ..HYPERCLOVAX
    },
    // https://huggingface.co/arcee-ai/AFM-4.5B/blob/main/config.json
    Family {
        class: "ArceeForCausalLM",
        name: "arcee",
        defaults: r#"{"max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "hidden_act": "relu2"}"#,
        gated: false,
        ..LLAMA
    },
    // https://huggingface.co/nvidia/Minitron-8B-Base/blob/main/config.json
    Family {
        class: "NemotronForCausalLM",
        name: "nemotron",
        renamed: &[("rms_norm_eps", "norm_eps")],
        defaults: r#"{"max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "hidden_act": "relu2",
            "partial_rotary_factor": 0.5}"#,
        norm: NormKind::Layer,
        norm_bias: Flag::Yes,
        unit_offset: true,
        gated: false,
        ..LLAMA
    },
    // https://huggingface.co/inceptionai/Jais-2-8B-Chat/blob/main/config.json
    Family {
        class: "Jais2ForCausalLM",
        name: "jais2",
        renamed: &[("rms_norm_eps", "layer_norm_eps")],
        defaults: r#"{"max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "hidden_act": "relu2",
            "attention_bias": true, "mlp_bias": true}"#,
        norm: NormKind::Layer,
        norm_bias: Flag::Yes,
        gated: false,
        ..LLAMA
    },
    // https://huggingface.co/swiss-ai/Apertus-8B-Instruct-2509/blob/main/config.json
    Family {
        class: "ApertusForCausalLM",
        name: "apertus",
        defaults: r#"{"max_position_embeddings": 65536, "rms_norm_eps": 1e-5, "hidden_act": "xielu",
            "rope_theta": 12000000.0, "rope_scaling": {"rope_type": "llama3", "factor": 8.0,
            "original_max_position_embeddings": 8192, "low_freq_factor": 1.0, "high_freq_factor": 4.0}}"#,
        only: &[("mlp_bias", &["false"]), ("post_norm", &["false"]), ("qk_norm", &["true"])],
        mlp_bias: Flag::No,
        head_norm: HeadNorm::Shared,
        gated: false,
        learned_curve: true,
        tensors: &[
            Rule { theirs: "attention_layernorm", ours: &[("input_layernorm", Part::All)] },
            Rule { theirs: "feedforward_layernorm", ours: &[("post_attention_layernorm", Part::All)] },
        ],
        // A bound so near to 0 that no digit of an f32 depends on it.
        unused: &["mlp.act_fn.eps"],
        ..LLAMA
    },
];
