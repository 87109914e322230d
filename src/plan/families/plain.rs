//! Families whose checkpoints name their tensors as Llama's do, or nearly.

use super::{DeltaPart, Experts, FUSED_GATE_UP, FUSED_QKV, Family, Flag, HeadNorm, Norms, Part, Rope, Rule, Shared};
use crate::plan::NormKind;

/// The names of Llama, which are ours.
const LLAMA_NORMS: Norms = Norms {
    before_attention: Some("input_layernorm"),
    after_attention: None,
    before_mlp: Some("post_attention_layernorm"),
    after_mlp: None,
};

/// Norms on both sides of each block.
pub(super) const SANDWICH: Norms = Norms {
    before_attention: Some("input_layernorm"),
    after_attention: Some("post_attention_layernorm"),
    before_mlp: Some("pre_feedforward_layernorm"),
    after_mlp: Some("post_feedforward_layernorm"),
};

pub(super) const PARALLEL: Norms = Norms { before_mlp: None, ..LLAMA_NORMS };

const WINDOWS_BY_LAYER: &[&str] = &["sliding_window", "use_sliding_window", "max_window_layers", "layer_types"];

// https://huggingface.co/meta-llama/Llama-3.1-405B/blob/main/config.json
pub(super) const LLAMA: Family = Family {
    class: "LlamaForCausalLM",
    when: &[],
    name: "llama",
    renamed: &[],
    defaults: r#"{"max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "hidden_act": "silu"}"#,
    reads: &[],
    needs: &[],
    harmless: &[],
    only: &[],
    norm: NormKind::Rms,
    norm_bias: Flag::No,
    norm_weights: true,
    unit_offset: false,
    plain_final_norm: false,
    embedding_norm: None,
    norms: LLAMA_NORMS,
    parallel: Flag::No,
    parallel_norms: false,
    qkv_bias: Flag::Field("attention_bias"),
    output_bias: Flag::Field("attention_bias"),
    mlp_bias: Flag::Field("mlp_bias"),
    head_bias: Flag::No,
    head_norm: HeadNorm::None,
    value_norm: false,
    full_heads: false,
    keys_as_values: Flag::No,
    double_wide: Flag::No,
    unscaled: false,
    streams: false,
    layer_factor: false,
    latent: false,
    output_gate: false,
    delta_rule: false,
    rope: Rope::Halves,
    rope_backwards: false,
    gated: true,
    learned_curve: false,
    intermediate_times: None,
    intermediate_is_both: false,
    embeddings_grow: Flag::No,
    normalized_head: false,
    experts: None,
    experts_beside: false,
    choice_bias: None,
    slabs_transposed: false,
    expert_bias: false,
    swiglu_limit: None,
    factor_on_input: false,
    sinks: false,
    sinks_in_windows: false,
    kv_heads_in_windows: 1,
    chunked: false,
    passed_by: None,
    prefix: "",
    layers: "model.layers.",
    tensors: &[],
    unused: &[],
    most_positions: None,
};

// https://huggingface.co/Qwen/Qwen2.5-7B/blob/main/config.json
const QWEN2: Family = Family {
    class: "Qwen2ForCausalLM",
    name: "qwen2",
    defaults: r#"{"num_key_value_heads": 32, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
        "hidden_act": "silu", "use_sliding_window": false, "sliding_window": 4096, "max_window_layers": 28}"#,
    reads: WINDOWS_BY_LAYER,
    harmless: &["rotary_emb_base", "seq_length"],
    only: &[("use_mrope", &["false"])],
    qkv_bias: Flag::Yes,
    output_bias: Flag::No,
    mlp_bias: Flag::No,
    ..LLAMA
};

// https://huggingface.co/Qwen/Qwen3-8B/blob/main/config.json
pub(super) const QWEN3: Family = Family {
    class: "Qwen3ForCausalLM",
    name: "qwen3",
    defaults: r#"{"num_key_value_heads": 32, "head_dim": 128, "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6, "hidden_act": "silu", "use_sliding_window": false, "sliding_window": 4096,
        "max_window_layers": 28}"#,
    qkv_bias: Flag::Field("attention_bias"),
    output_bias: Flag::Field("attention_bias"),
    head_norm: HeadNorm::Shared,
    ..QWEN2
};

pub(super) const QWEN_EXPERTS: Experts = Experts {
    count: "num_experts",
    width: "moe_intermediate_size",
    normalize: Flag::Field("norm_topk_prob"),
    shared: Shared::None,
    names: ("mlp.experts.", ["gate_proj", "up_proj", "down_proj"]),
};

/// What the training of a router reads.
pub(super) const ROUTER_TRAINING: &[&str] = &["output_router_logits", "router_aux_loss_coef", "router_jitter_noise"];

// https://huggingface.co/Qwen/Qwen3-Next-80B-A3B-Instruct/blob/main/config.json
pub(super) const QWEN3_NEXT: Family = Family {
    class: "Qwen3NextForCausalLM",
    name: "qwen3_next",
    defaults: r#"{"num_key_value_heads": 2, "head_dim": 256, "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6, "hidden_act": "silu", "partial_rotary_factor": 0.25, "num_experts": 512,
        "num_experts_per_tok": 10, "norm_topk_prob": true, "moe_intermediate_size": 512,
        "shared_expert_intermediate_size": 512, "decoder_sparse_step": 1, "full_attention_interval": 4,
        "linear_num_key_heads": 16, "linear_num_value_heads": 32, "linear_key_head_dim": 128,
        "linear_value_head_dim": 128}"#,
    reads: &[],
    harmless: ROUTER_TRAINING,
    only: &[("hidden_act", &["silu"]), ("linear_conv_kernel_dim", &["4"]), ("use_sliding_window", &["false"])],
    unit_offset: true,
    output_gate: true,
    delta_rule: true,
    experts: Some(Experts { shared: Shared::Gated("shared_expert_intermediate_size"), ..QWEN_EXPERTS }),
    tensors: &[
        Rule {
            theirs: "self_attn.q_proj",
            ours: &[("self_attn.q_proj", Part::GatedQuery), ("self_attn.gate_proj", Part::QueryGate)],
        },
        Rule {
            theirs: "linear_attn.in_proj_qkvz",
            ours: &[
                ("linear_attn.q_proj", Part::Delta(DeltaPart::Query)),
                ("linear_attn.k_proj", Part::Delta(DeltaPart::Key)),
                ("linear_attn.v_proj", Part::Delta(DeltaPart::Value)),
                ("linear_attn.gate_proj", Part::Delta(DeltaPart::Gate)),
            ],
        },
        Rule {
            theirs: "linear_attn.in_proj_ba",
            ours: &[
                ("linear_attn.beta_proj", Part::Delta(DeltaPart::Beta)),
                ("linear_attn.decay_proj", Part::Delta(DeltaPart::Decay)),
            ],
        },
    ],
    // A head that guesses further tokens.
    unused: &["mtp."],
    ..QWEN3
};

// https://huggingface.co/google/gemma-7b/blob/main/config.json
const GEMMA: Family = Family {
    class: "GemmaForCausalLM",
    name: "gemma",
    // The published `hidden_act` names the exact GELU; the reference takes the tanh all the same.
    renamed: &[("hidden_act", "hidden_activation")],
    defaults: r#"{"num_key_value_heads": 16, "head_dim": 256, "max_position_embeddings": 8192, "rms_norm_eps": 1e-6,
        "hidden_act": "gelu_pytorch_tanh", "tie_word_embeddings": true}"#,
    harmless: &["hidden_act"],
    unit_offset: true,
    embeddings_grow: Flag::Yes,
    mlp_bias: Flag::No,
    ..LLAMA
};

// https://huggingface.co/google/gemma-2-9b/blob/main/config.json
pub(super) const GEMMA2: Family = Family {
    class: "Gemma2ForCausalLM",
    name: "gemma2",
    defaults: r#"{"num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 8192, "rms_norm_eps": 1e-6,
        "hidden_act": "gelu_pytorch_tanh", "tie_word_embeddings": true, "query_pre_attn_scalar": 256,
        "sliding_window": 4096, "sliding_window_pattern": 2, "final_logit_softcapping": 30.0,
        "attn_logit_softcapping": 50.0}"#,
    reads: &[
        "query_pre_attn_scalar",
        "sliding_window",
        "sliding_window_pattern",
        "layer_types",
        "final_logit_softcapping",
        "attn_logit_softcapping",
    ],
    harmless: &["hidden_act", "cache_implementation", "sliding_window_size"],
    only: &[("use_bidirectional_attention", &["false"])],
    norms: SANDWICH,
    ..GEMMA
};

// https://huggingface.co/ibm-granite/granite-3.1-8b-base/blob/main/config.json
pub(super) const GRANITE: Family = Family {
    class: "GraniteForCausalLM",
    name: "granite",
    defaults: r#"{"max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "hidden_act": "silu",
        "attention_multiplier": 1.0, "residual_multiplier": 1.0, "embedding_multiplier": 1.0,
        "logits_scaling": 1.0}"#,
    reads: &["attention_multiplier", "residual_multiplier", "embedding_multiplier", "logits_scaling"],
    ..LLAMA
};

pub(super) const OLMO_NORMS: Norms = Norms { before_attention: None, before_mlp: None, ..SANDWICH };

/// The rows.
pub(super) const ROWS: &[Family] = &[
    LLAMA,
    // https://huggingface.co/mistralai/Mistral-7B-v0.1/blob/main/config.json
    Family {
        class: "MistralForCausalLM",
        name: "mistral",
        defaults: r#"{"num_key_value_heads": 8, "max_position_embeddings": 131072, "rms_norm_eps": 1e-6,
            "hidden_act": "silu", "sliding_window": 4096}"#,
        reads: &["sliding_window"],
        ..LLAMA
    },
    QWEN2,
    QWEN3,
    // https://huggingface.co/mistralai/Mixtral-8x7B-v0.1/blob/main/config.json
    Family {
        class: "MixtralForCausalLM",
        name: "mixtral",
        defaults: r#"{"num_key_value_heads": 8, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5,
            "hidden_act": "silu", "rope_theta": 1000000.0, "num_experts_per_tok": 2, "num_local_experts": 8}"#,
        reads: &["sliding_window"],
        harmless: ROUTER_TRAINING,
        experts: Some(Experts {
            count: "num_local_experts",
            width: "intermediate_size",
            normalize: Flag::Yes,
            shared: Shared::None,
            names: ("block_sparse_moe.experts.", ["w1", "w3", "w2"]),
        }),
        tensors: &[Rule { theirs: "block_sparse_moe.gate", ours: &[("mlp.gate", Part::All)] }],
        ..LLAMA
    },
    // https://huggingface.co/Qwen/Qwen1.5-MoE-A2.7B/blob/main/config.json
    Family {
        class: "Qwen2MoeForCausalLM",
        name: "qwen2_moe",
        defaults: r#"{"num_key_value_heads": 16, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
            "hidden_act": "silu", "use_sliding_window": false, "sliding_window": 4096, "max_window_layers": 28,
            "num_experts": 60, "num_experts_per_tok": 4, "moe_intermediate_size": 1408,
            "shared_expert_intermediate_size": 5632, "decoder_sparse_step": 1}"#,
        harmless: ROUTER_TRAINING,
        only: &[("qkv_bias", &["true"])],
        qkv_bias: Flag::Yes,
        experts: Some(Experts { shared: Shared::Gated("shared_expert_intermediate_size"), ..QWEN_EXPERTS }),
        ..QWEN2
    },
    // https://huggingface.co/Qwen/Qwen3-235B-A22B/blob/main/config.json
    Family {
        class: "Qwen3MoeForCausalLM",
        name: "qwen3_moe",
        defaults: r#"{"num_key_value_heads": 4, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
            "hidden_act": "silu", "use_sliding_window": false, "sliding_window": 4096, "max_window_layers": 28,
            "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768, "decoder_sparse_step": 1}"#,
        harmless: ROUTER_TRAINING,
        experts: Some(QWEN_EXPERTS),
        ..QWEN3
    },
    QWEN3_NEXT,
    GEMMA,
    GEMMA2,
    // https://huggingface.co/google/gemma-3-1b-it/blob/main/config.json
    Family {
        class: "Gemma3ForCausalLM",
        name: "gemma3",
        defaults: r#"{"num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-6, "hidden_act": "gelu_pytorch_tanh", "tie_word_embeddings": true,
            "query_pre_attn_scalar": 256, "sliding_window": 4096, "sliding_window_pattern": 6,
            "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0}"#,
        reads: &[
            "query_pre_attn_scalar",
            "sliding_window",
            "sliding_window_pattern",
            "layer_types",
            "final_logit_softcapping",
            "attn_logit_softcapping",
            "rope_local_base_freq",
        ],
        head_norm: HeadNorm::Shared,
        ..GEMMA2
    },
    // https://huggingface.co/microsoft/phi-2/blob/main/config.json
    Family {
        class: "PhiForCausalLM",
        name: "phi",
        renamed: &[("rms_norm_eps", "layer_norm_eps")],
        defaults: r#"{"max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "hidden_act": "gelu_new",
            "partial_rotary_factor": 0.5}"#,
        harmless: &["embd_pdrop", "resid_pdrop"],
        only: &[("qk_layernorm", &["false"])],
        norm: NormKind::Layer,
        norm_bias: Flag::Yes,
        norms: PARALLEL,
        parallel: Flag::Yes,
        qkv_bias: Flag::Yes,
        output_bias: Flag::Yes,
        mlp_bias: Flag::Yes,
        head_bias: Flag::Yes,
        gated: false,
        tensors: &[
            Rule { theirs: "self_attn.dense", ours: &[("self_attn.o_proj", Part::All)] },
            Rule { theirs: "mlp.fc1", ours: &[("mlp.up_proj", Part::All)] },
            Rule { theirs: "mlp.fc2", ours: &[("mlp.down_proj", Part::All)] },
            Rule { theirs: "model.final_layernorm", ours: &[("model.norm", Part::All)] },
        ],
        ..LLAMA
    },
    // https://huggingface.co/microsoft/Phi-3-mini-128k-instruct/blob/main/config.json
    Family {
        class: "Phi3ForCausalLM",
        name: "phi3",
        defaults: r#"{"max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "hidden_act": "silu"}"#,
        reads: &["sliding_window", "original_max_position_embeddings"],
        harmless: &["embd_pdrop", "resid_pdrop", "auto_map", "interpolate_factor", "full_attn_mod"],
        only: &[("attention_bias", &["false"]), ("lm_head_bias", &["false"]), ("mlp_bias", &["false"])],
        qkv_bias: Flag::No,
        output_bias: Flag::No,
        mlp_bias: Flag::No,
        tensors: &[
            Rule { theirs: "self_attn.qkv_proj", ours: FUSED_QKV },
            Rule { theirs: "mlp.gate_up_proj", ours: FUSED_GATE_UP },
        ],
        ..LLAMA
    },
    // https://huggingface.co/allenai/OLMo-2-1124-7B/blob/main/config.json
    Family {
        class: "Olmo2ForCausalLM",
        name: "olmo2",
        defaults: r#"{"max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "hidden_act": "silu"}"#,
        norms: OLMO_NORMS,
        mlp_bias: Flag::No,
        head_norm: HeadNorm::Whole,
        ..LLAMA
    },
    GRANITE,
    // https://huggingface.co/stabilityai/stablelm-2-1_6b/blob/main/config.json
    Family {
        class: "StableLmForCausalLM",
        name: "stablelm",
        renamed: &[("rms_norm_eps", "layer_norm_eps")],
        defaults: r#"{"num_key_value_heads": 32, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
            "hidden_act": "silu", "partial_rotary_factor": 0.25}"#,
        // The reference does not look at it.
        harmless: &["use_norm_bias"],
        only: &[("rotary_scaling_factor", &["1.0", "1"])],
        norm: NormKind::Layer,
        norm_bias: Flag::Yes,
        parallel: Flag::Field("use_parallel_residual"),
        qkv_bias: Flag::Field("use_qkv_bias"),
        output_bias: Flag::No,
        mlp_bias: Flag::No,
        head_norm: HeadNorm::EachIf("qk_layernorm"),
        tensors: &[
            Rule { theirs: "self_attn.q_layernorm.norms.*", ours: &[("self_attn.q_norm", Part::Numbered)] },
            Rule { theirs: "self_attn.k_layernorm.norms.*", ours: &[("self_attn.k_norm", Part::Numbered)] },
        ],
        ..LLAMA
    },
    // https://huggingface.co/bigcode/starcoder2-3b/blob/main/config.json
    Family {
        class: "Starcoder2ForCausalLM",
        name: "starcoder2",
        renamed: &[("rms_norm_eps", "norm_epsilon")],
        defaults: r#"{"num_key_value_heads": 2, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
            "hidden_act": "gelu_pytorch_tanh", "use_bias": true, "tie_word_embeddings": true}"#,
        reads: &["sliding_window"],
        harmless: &[
            "activation_function",
            "attention_softmax_in_fp32",
            "embedding_dropout",
            "layer_norm_epsilon",
            "residual_dropout",
            "rms_norm_eps",
            "scale_attention_softmax_in_fp32",
        ],
        only: &[("norm_type", &["layer_norm"]), ("mlp_type", &["default"]), ("scale_attn_weights", &["true"])],
        norm: NormKind::Layer,
        norm_bias: Flag::Yes,
        qkv_bias: Flag::Field("use_bias"),
        output_bias: Flag::Field("use_bias"),
        mlp_bias: Flag::Field("use_bias"),
        gated: false,
        tensors: &[
            Rule { theirs: "mlp.c_fc", ours: &[("mlp.up_proj", Part::All)] },
            Rule { theirs: "mlp.c_proj", ours: &[("mlp.down_proj", Part::All)] },
        ],
        ..LLAMA
    },
    // https://huggingface.co/CohereForAI/c4ai-command-r-v01/blob/main/config.json
    Family {
        class: "CohereForCausalLM",
        name: "cohere",
        renamed: &[("rms_norm_eps", "layer_norm_eps")],
        defaults: r#"{"max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "hidden_act": "silu",
            "logit_scale": 0.0625, "tie_word_embeddings": true}"#,
        reads: &["logit_scale", "model_max_length"],
        norm: NormKind::Layer,
        norms: PARALLEL,
        parallel: Flag::Yes,
        mlp_bias: Flag::No,
        head_norm: HeadNorm::EachIf("use_qk_norm"),
        rope: Rope::Interleaved,
        ..LLAMA
    },
    // https://huggingface.co/CohereForAI/c4ai-command-r7b-12-2024/blob/main/config.json
    Family {
        class: "Cohere2ForCausalLM",
        name: "cohere2",
        renamed: &[("rms_norm_eps", "layer_norm_eps")],
        defaults: r#"{"max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "hidden_act": "silu",
            "logit_scale": 0.0625, "sliding_window": 4096, "sliding_window_pattern": 4, "tie_word_embeddings": true}"#,
        reads: &["logit_scale", "sliding_window", "sliding_window_pattern", "layer_types"],
        harmless: &["cache_implementation", "layer_switch", "position_embedding_type", "order_of_interleaved_layers"],
        only: &[
            ("use_parallel_block", &["true"]),
            ("use_parallel_embedding", &["true", "false"]),
            ("use_embedding_sharing", &["true"]),
            ("use_gated_activation", &["true"]),
            ("use_qk_norm", &["false"]),
            ("rotary_pct", &["1.0"]),
        ],
        norm: NormKind::Layer,
        norms: PARALLEL,
        parallel: Flag::Yes,
        mlp_bias: Flag::No,
        rope: Rope::InterleavedInWindows,
        ..LLAMA
    },
    // https://huggingface.co/HuggingFaceTB/SmolLM3-3B/blob/main/config.json
    Family {
        class: "SmolLM3ForCausalLM",
        name: "smollm3",
        defaults: r#"{"num_key_value_heads": 4, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
            "hidden_act": "silu", "rope_theta": 2000000.0, "use_sliding_window": false,
            "no_rope_layer_interval": 4, "tie_word_embeddings": true}"#,
        reads: &[
            "sliding_window",
            "use_sliding_window",
            "max_window_layers",
            "layer_types",
            "no_rope_layers",
            "no_rope_layer_interval",
        ],
        ..LLAMA
    },
];
