//! The table of families: each row is data, under the address of the config it was read from.
//!
//! Fields have the names of Llama's config; a row says where its family spells one otherwise, and what the family's
//! configuration class in the reference implementation takes where a file says nothing.

use super::NormKind;

/// A family of decoders.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    /// The class in `architectures` of `config.json`.
    pub class: &'static str,
    /// Fields that must be there, or must not, for this row to be the one: some families share a class.
    pub when: &'static [(&'static str, bool)],
    pub name: &'static str,
    /// (the common name of a field, this family's).
    pub renamed: &'static [(&'static str, &'static str)],
    /// The reference's defaults, as a JSON object of common names.
    pub defaults: &'static str,
    /// Fields that change the numbers of this family, besides those of every family.
    pub reads: &'static [&'static str],
    /// Fields that never do, besides those of every family.
    pub harmless: &'static [&'static str],
    /// Fields that may only have one of the values for which the plan is right.
    pub only: &'static [(&'static str, &'static [&'static str])],
    pub norm: NormKind,
    pub norm_bias: Flag,
    /// Norm weights are stored around 0 and meant around 1.
    pub unit_offset: bool,
    pub norms: Norms,
    /// Attention and feed-forward read the same norm, and both add to the residual.
    pub parallel: Flag,
    pub qkv_bias: Flag,
    pub output_bias: Flag,
    pub mlp_bias: Flag,
    pub head_bias: Flag,
    pub head_norm: HeadNorm,
    pub rope: Rope,
    /// Whether the feed-forward block has a gate.
    pub gated: bool,
    /// `intermediate_size` counts gate and up together.
    pub intermediate_is_both: bool,
    /// Embeddings are multiplied with the root of `hidden_size`.
    pub embeddings_grow: bool,
    /// Rows of the head are brought to length 1.
    pub normalized_head: bool,
    /// What stands before the number of a layer in the names of its tensors.
    pub layers: &'static str,
    pub tensors: &'static [Rule],
}

/// Whether something is there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Flag {
    No,
    Yes,
    /// As a truth value of the config says; not where it is silent.
    Field(&'static str),
}

/// Names of a layer's norms; `None` where there is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Norms {
    pub before_attention: Option<&'static str>,
    pub after_attention: Option<&'static str>,
    pub before_mlp: Option<&'static str>,
    pub after_mlp: Option<&'static str>,
}

/// Norms of queries and keys (`self_attn.q_norm`, `self_attn.k_norm`).
#[derive(Clone, Copy, Debug)]
pub(super) enum HeadNorm {
    None,
    /// One weight for all heads, each head normalized alone.
    Shared,
    /// A weight for each head, where the field is true.
    EachIf(&'static str),
    /// All heads normalized as one row.
    Whole,
}

/// How positions enter.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rope {
    /// Pairs (i, i + half).
    Halves,
    /// Pairs (2 i, 2 i + 1).
    Interleaved,
    /// Pairs (2 i, 2 i + 1), and only where the window is.
    InterleavedInWindows,
    /// No rotation: scores fall with distance.
    Alibi,
}

/// What becomes of a tensor of the checkpoint, by its name without prefix and without `.weight` or `.bias`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub theirs: &'static str,
    pub ours: &'static [(&'static str, Part)],
}

/// Which rows of a tensor.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    All,
    /// Of queries, keys and values one after the other.
    Query,
    Key,
    Value,
    /// Of groups, each the queries of a key head, its key and its value.
    GroupedQuery,
    GroupedKey,
    GroupedValue,
    /// Of two halves.
    First,
    Second,
}

/// The names of Llama, which are ours.
const LLAMA_NORMS: Norms = Norms {
    before_attention: Some("input_layernorm"),
    after_attention: None,
    before_mlp: Some("post_attention_layernorm"),
    after_mlp: None,
};

/// Norms on both sides of each block.
const SANDWICH: Norms = Norms {
    before_attention: Some("input_layernorm"),
    after_attention: Some("post_attention_layernorm"),
    before_mlp: Some("pre_feedforward_layernorm"),
    after_mlp: Some("post_feedforward_layernorm"),
};

const PARALLEL: Norms = Norms { before_mlp: None, ..LLAMA_NORMS };

const WINDOWS_BY_LAYER: &[&str] = &["sliding_window", "use_sliding_window", "max_window_layers", "layer_types"];

// https://huggingface.co/meta-llama/Llama-3.1-405B/blob/main/config.json
const LLAMA: Family = Family {
    class: "LlamaForCausalLM",
    when: &[],
    name: "llama",
    renamed: &[],
    defaults: r#"{"max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "hidden_act": "silu"}"#,
    reads: &[],
    harmless: &[],
    only: &[],
    norm: NormKind::Rms,
    norm_bias: Flag::No,
    unit_offset: false,
    norms: LLAMA_NORMS,
    parallel: Flag::No,
    qkv_bias: Flag::Field("attention_bias"),
    output_bias: Flag::Field("attention_bias"),
    mlp_bias: Flag::Field("mlp_bias"),
    head_bias: Flag::No,
    head_norm: HeadNorm::None,
    rope: Rope::Halves,
    gated: true,
    intermediate_is_both: false,
    embeddings_grow: false,
    normalized_head: false,
    layers: "model.layers.",
    tensors: &[],
};

// https://huggingface.co/Qwen/Qwen2.5-7B/blob/main/config.json
const QWEN2: Family = Family {
    class: "Qwen2ForCausalLM",
    name: "qwen2",
    defaults: r#"{"num_key_value_heads": 32, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
        "hidden_act": "silu", "use_sliding_window": false, "sliding_window": 4096, "max_window_layers": 28}"#,
    reads: WINDOWS_BY_LAYER,
    qkv_bias: Flag::Yes,
    output_bias: Flag::No,
    mlp_bias: Flag::No,
    ..LLAMA
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
    embeddings_grow: true,
    mlp_bias: Flag::No,
    ..LLAMA
};

// https://huggingface.co/google/gemma-2-9b/blob/main/config.json
const GEMMA2: Family = Family {
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
    harmless: &["hidden_act", "cache_implementation", "use_bidirectional_attention"],
    norms: SANDWICH,
    ..GEMMA
};

const OLMO_NORMS: Norms = Norms { before_attention: None, before_mlp: None, ..SANDWICH };

// https://huggingface.co/baichuan-inc/Baichuan-7B/blob/main/config.json
const BAICHUAN: Family = Family {
    class: "BaiChuanForCausalLM",
    name: "baichuan",
    harmless: &["auto_map", "gradient_checkpointing", "model_max_length", "z_loss_weight"],
    qkv_bias: Flag::No,
    output_bias: Flag::No,
    mlp_bias: Flag::No,
    tensors: &[Rule {
        theirs: "self_attn.W_pack",
        ours: &[("self_attn.q_proj", Part::Query), ("self_attn.k_proj", Part::Key), ("self_attn.v_proj", Part::Value)],
    }],
    ..LLAMA
};

/// The table.
pub(super) const FAMILIES: &[Family] = &[
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
    // https://huggingface.co/Qwen/Qwen3-8B/blob/main/config.json
    Family {
        class: "Qwen3ForCausalLM",
        name: "qwen3",
        defaults: r#"{"num_key_value_heads": 32, "head_dim": 128, "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-6, "hidden_act": "silu", "use_sliding_window": false, "sliding_window": 4096,
            "max_window_layers": 28}"#,
        qkv_bias: Flag::Field("attention_bias"),
        output_bias: Flag::Field("attention_bias"),
        head_norm: HeadNorm::Shared,
        ..QWEN2
    },
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
            Rule {
                theirs: "self_attn.qkv_proj",
                ours: &[
                    ("self_attn.q_proj", Part::Query),
                    ("self_attn.k_proj", Part::Key),
                    ("self_attn.v_proj", Part::Value),
                ],
            },
            Rule { theirs: "mlp.gate_up_proj", ours: &[("mlp.gate_proj", Part::First), ("mlp.up_proj", Part::Second)] },
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
    // https://huggingface.co/ibm-granite/granite-3.1-8b-base/blob/main/config.json
    Family {
        class: "GraniteForCausalLM",
        name: "granite",
        defaults: r#"{"max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "hidden_act": "silu",
            "attention_multiplier": 1.0, "residual_multiplier": 1.0, "embedding_multiplier": 1.0,
            "logits_scaling": 1.0}"#,
        reads: &["attention_multiplier", "residual_multiplier", "embedding_multiplier", "logits_scaling"],
        ..LLAMA
    },
    // https://huggingface.co/stabilityai/stablelm-2-1_6b/blob/main/config.json
    Family {
        class: "StableLmForCausalLM",
        name: "stablelm",
        renamed: &[("rms_norm_eps", "layer_norm_eps")],
        defaults: r#"{"num_key_value_heads": 32, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
            "hidden_act": "silu", "partial_rotary_factor": 0.25}"#,
        only: &[("qk_layernorm", &["false"])],
        norm: NormKind::Layer,
        norm_bias: Flag::Yes,
        parallel: Flag::Field("use_parallel_residual"),
        qkv_bias: Flag::Field("use_qkv_bias"),
        output_bias: Flag::No,
        mlp_bias: Flag::No,
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
        reads: &["logit_scale"],
        harmless: &["model_max_length"],
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
        // Published as 2, and read by nothing.
        harmless: &["pretraining_tp"],
        ..LLAMA
    },
    // https://huggingface.co/THUDM/glm-4-9b-hf/blob/main/config.json
    Family {
        class: "GlmForCausalLM",
        name: "glm",
        defaults: r#"{"num_key_value_heads": 2, "head_dim": 128, "max_position_embeddings": 131072,
            "rms_norm_eps": 1.5625e-7, "hidden_act": "silu", "partial_rotary_factor": 0.5, "attention_bias": true}"#,
        output_bias: Flag::No,
        mlp_bias: Flag::No,
        rope: Rope::Interleaved,
        tensors: &[Rule {
            theirs: "mlp.gate_up_proj",
            ours: &[("mlp.gate_proj", Part::First), ("mlp.up_proj", Part::Second)],
        }],
        ..LLAMA
    },
    // https://huggingface.co/THUDM/GLM-4-9B-0414/blob/main/config.json
    Family {
        class: "Glm4ForCausalLM",
        name: "glm4",
        defaults: r#"{"num_key_value_heads": 2, "head_dim": 128, "max_position_embeddings": 131072,
            "rms_norm_eps": 1.5625e-7, "hidden_act": "silu", "partial_rotary_factor": 0.5, "attention_bias": true}"#,
        output_bias: Flag::No,
        mlp_bias: Flag::No,
        norms: Norms {
            before_attention: Some("input_layernorm"),
            after_attention: Some("post_self_attn_layernorm"),
            before_mlp: Some("post_attention_layernorm"),
            after_mlp: Some("post_mlp_layernorm"),
        },
        rope: Rope::Interleaved,
        tensors: &[Rule {
            theirs: "mlp.gate_up_proj",
            ours: &[("mlp.gate_proj", Part::First), ("mlp.up_proj", Part::Second)],
        }],
        ..LLAMA
    },
    // https://huggingface.co/Qwen/Qwen-7B/blob/main/config.json
    Family {
        class: "QWenLMHeadModel",
        name: "qwen",
        renamed: &[
            ("rms_norm_eps", "layer_norm_epsilon"),
            ("max_position_embeddings", "seq_length"),
            ("rope_theta", "rotary_emb_base"),
            ("head_dim", "kv_channels"),
        ],
        defaults: r#"{"rms_norm_eps": 1e-6, "max_position_embeddings": 8192, "hidden_act": "silu"}"#,
        harmless: &[
            "attn_dropout_prob",
            "auto_map",
            "bf16",
            "emb_dropout_prob",
            "fp16",
            "fp32",
            "max_position_embeddings",
            "onnx_safe",
            "softmax_in_fp32",
            "tokenizer_class",
            "tokenizer_type",
            // Both change numbers only past the positions that the plan allows.
            "use_dynamic_ntk",
            "use_logn_attn",
            "use_cache_kernel",
            "use_cache_quantization",
            "use_flash_attn",
        ],
        only: &[("no_bias", &["true"]), ("scale_attn_weights", &["true"]), ("rotary_pct", &["1.0"])],
        qkv_bias: Flag::Yes,
        output_bias: Flag::No,
        mlp_bias: Flag::No,
        intermediate_is_both: true,
        layers: "transformer.h.",
        tensors: &[
            Rule { theirs: "ln_1", ours: &[("input_layernorm", Part::All)] },
            Rule { theirs: "ln_2", ours: &[("post_attention_layernorm", Part::All)] },
            Rule {
                theirs: "attn.c_attn",
                ours: &[
                    ("self_attn.q_proj", Part::Query),
                    ("self_attn.k_proj", Part::Key),
                    ("self_attn.v_proj", Part::Value),
                ],
            },
            Rule { theirs: "attn.c_proj", ours: &[("self_attn.o_proj", Part::All)] },
            Rule { theirs: "mlp.w1", ours: &[("mlp.up_proj", Part::All)] },
            Rule { theirs: "mlp.w2", ours: &[("mlp.gate_proj", Part::All)] },
            Rule { theirs: "mlp.c_proj", ours: &[("mlp.down_proj", Part::All)] },
            Rule { theirs: "transformer.wte", ours: &[("model.embed_tokens", Part::All)] },
            Rule { theirs: "transformer.ln_f", ours: &[("model.norm", Part::All)] },
        ],
        ..LLAMA
    },
    BAICHUAN,
    // https://huggingface.co/baichuan-inc/Baichuan-13B-Base/blob/main/config.json
    Family {
        class: "BaichuanForCausalLM",
        when: &[("max_position_embeddings", false), ("z_loss_weight", false)],
        renamed: &[("max_position_embeddings", "model_max_length")],
        rope: Rope::Alibi,
        ..BAICHUAN
    },
    // https://huggingface.co/baichuan-inc/Baichuan2-7B-Base/blob/main/config.json
    Family {
        class: "BaichuanForCausalLM",
        when: &[("max_position_embeddings", true)],
        name: "baichuan2",
        normalized_head: true,
        ..BAICHUAN
    },
    // https://huggingface.co/baichuan-inc/Baichuan2-13B-Base/blob/main/config.json
    Family {
        class: "BaichuanForCausalLM",
        when: &[("max_position_embeddings", false), ("z_loss_weight", true)],
        name: "baichuan2",
        renamed: &[("max_position_embeddings", "model_max_length")],
        rope: Rope::Alibi,
        normalized_head: true,
        ..BAICHUAN
    },
    // https://huggingface.co/internlm/internlm-7b/blob/main/config.json
    Family {
        class: "InternLMForCausalLM",
        name: "internlm",
        // A growing base, past the positions that the plan allows.
        harmless: &["auto_map", "rotary"],
        qkv_bias: Flag::Field("bias"),
        output_bias: Flag::Field("bias"),
        mlp_bias: Flag::No,
        ..LLAMA
    },
    // https://huggingface.co/internlm/internlm2_5-7b/blob/main/config.json
    Family {
        class: "InternLM2ForCausalLM",
        name: "internlm2",
        harmless: &["auto_map", "attn_implementation"],
        only: &[("bias", &["false"])],
        qkv_bias: Flag::No,
        output_bias: Flag::No,
        mlp_bias: Flag::No,
        tensors: &[
            Rule { theirs: "attention_norm", ours: &[("input_layernorm", Part::All)] },
            Rule { theirs: "ffn_norm", ours: &[("post_attention_layernorm", Part::All)] },
            Rule {
                theirs: "attention.wqkv",
                ours: &[
                    ("self_attn.q_proj", Part::GroupedQuery),
                    ("self_attn.k_proj", Part::GroupedKey),
                    ("self_attn.v_proj", Part::GroupedValue),
                ],
            },
            Rule { theirs: "attention.wo", ours: &[("self_attn.o_proj", Part::All)] },
            Rule { theirs: "feed_forward.w1", ours: &[("mlp.gate_proj", Part::All)] },
            Rule { theirs: "feed_forward.w3", ours: &[("mlp.up_proj", Part::All)] },
            Rule { theirs: "feed_forward.w2", ours: &[("mlp.down_proj", Part::All)] },
            Rule { theirs: "model.tok_embeddings", ours: &[("model.embed_tokens", Part::All)] },
            Rule { theirs: "output", ours: &[("lm_head", Part::All)] },
        ],
        ..LLAMA
    },
    // https://huggingface.co/internlm/internlm3-8b-instruct/blob/main/config.json
    Family {
        class: "InternLM3ForCausalLM",
        name: "internlm3",
        harmless: &["auto_map"],
        qkv_bias: Flag::Field("qkv_bias"),
        output_bias: Flag::Field("bias"),
        mlp_bias: Flag::Field("bias"),
        ..LLAMA
    },
    // https://huggingface.co/THUDM/chatglm3-6b/blob/main/config.json
    Family {
        class: "ChatGLMModel",
        name: "chatglm",
        renamed: &[
            ("intermediate_size", "ffn_hidden_size"),
            ("num_hidden_layers", "num_layers"),
            ("num_key_value_heads", "multi_query_group_num"),
            ("head_dim", "kv_channels"),
            ("rms_norm_eps", "layernorm_epsilon"),
            ("vocab_size", "padded_vocab_size"),
            ("max_position_embeddings", "seq_length"),
        ],
        defaults: r#"{"rms_norm_eps": 1e-5, "max_position_embeddings": 2048, "hidden_act": "silu",
            "partial_rotary_factor": 0.5, "rope_ratio": 1.0}"#,
        reads: &["rope_ratio"],
        harmless: &[
            "apply_query_key_layer_scaling",
            "attention_softmax_in_fp32",
            "auto_map",
            "bias_dropout_fusion",
            "classifier_dropout",
            "fp32_residual_connection",
            "interleaved_qkv",
            "pre_seq_len",
            "prefix_projection",
            "quantization_bit",
            "vocab_size",
        ],
        only: &[
            ("add_bias_linear", &["false"]),
            ("apply_residual_connection_post_layernorm", &["false"]),
            ("multi_query_attention", &["true"]),
            ("original_rope", &["true"]),
            ("post_layer_norm", &["true"]),
            ("rmsnorm", &["true"]),
        ],
        qkv_bias: Flag::Field("add_qkv_bias"),
        output_bias: Flag::No,
        mlp_bias: Flag::No,
        rope: Rope::Interleaved,
        layers: "transformer.encoder.layers.",
        tensors: &[
            Rule {
                theirs: "self_attention.query_key_value",
                ours: &[
                    ("self_attn.q_proj", Part::Query),
                    ("self_attn.k_proj", Part::Key),
                    ("self_attn.v_proj", Part::Value),
                ],
            },
            Rule { theirs: "self_attention.dense", ours: &[("self_attn.o_proj", Part::All)] },
            Rule {
                theirs: "mlp.dense_h_to_4h",
                ours: &[("mlp.gate_proj", Part::First), ("mlp.up_proj", Part::Second)],
            },
            Rule { theirs: "mlp.dense_4h_to_h", ours: &[("mlp.down_proj", Part::All)] },
            Rule { theirs: "transformer.embedding.word_embeddings", ours: &[("model.embed_tokens", Part::All)] },
            Rule { theirs: "transformer.encoder.final_layernorm", ours: &[("model.norm", Part::All)] },
            Rule { theirs: "transformer.output_layer", ours: &[("lm_head", Part::All)] },
            // A buffer, not a weight.
            Rule { theirs: "transformer.rotary_pos_emb.inv_freq", ours: &[] },
        ],
        ..LLAMA
    },
];
