//! Families of the years before Llama, with LayerNorm, fused matrices and names of their own.

use super::plain::{LLAMA, PARALLEL};
use super::{FUSED_QKV, Family, Flag, Part, Rope, Rule, When};
use crate::plan::NormKind;

/// Queries, keys and values of groups of heads.
const GROUPED_QKV: &[(&str, Part)] = &[
    ("self_attn.q_proj", Part::GroupedQuery),
    ("self_attn.k_proj", Part::GroupedKey),
    ("self_attn.v_proj", Part::GroupedValue),
];

// https://huggingface.co/EleutherAI/pythia-6.9b/blob/main/config.json
const GPT_NEOX: Family = Family {
    class: "GPTNeoXForCausalLM",
    name: "gpt_neox",
    renamed: &[
        ("rms_norm_eps", "layer_norm_eps"),
        ("partial_rotary_factor", "rotary_pct"),
        ("rope_theta", "rotary_emb_base"),
    ],
    defaults: r#"{"max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "hidden_act": "gelu",
        "partial_rotary_factor": 0.25, "use_parallel_residual": true, "attention_bias": true}"#,
    norm: NormKind::Layer,
    norm_bias: Flag::Yes,
    parallel: Flag::Field("use_parallel_residual"),
    parallel_norms: true,
    mlp_bias: Flag::Yes,
    gated: false,
    layers: "gpt_neox.layers.",
    tensors: &[
        Rule { theirs: "attention.query_key_value", ours: GROUPED_QKV },
        Rule { theirs: "attention.dense", ours: &[("self_attn.o_proj", Part::All)] },
        Rule { theirs: "mlp.dense_h_to_4h", ours: &[("mlp.up_proj", Part::All)] },
        Rule { theirs: "mlp.dense_4h_to_h", ours: &[("mlp.down_proj", Part::All)] },
        Rule { theirs: "gpt_neox.embed_in", ours: &[("model.embed_tokens", Part::All)] },
        Rule { theirs: "gpt_neox.final_layer_norm", ours: &[("model.norm", Part::All)] },
        Rule { theirs: "embed_out", ours: &[("lm_head", Part::All)] },
    ],
    // Masks and angles that older files keep.
    unused: &["attention.bias", "attention.masked_bias", "attention.rotary_emb."],
    ..LLAMA
};

// https://huggingface.co/tiiuae/falcon-7b/blob/main/config.json
const FALCON: Family = Family {
    class: "FalconForCausalLM",
    name: "falcon",
    renamed: &[
        ("rms_norm_eps", "layer_norm_epsilon"),
        ("hidden_act", "activation"),
        ("intermediate_size", "ffn_hidden_size"),
    ],
    // Without the newer architecture all heads of queries share one head of keys, whatever `num_kv_heads` says.
    defaults: r#"{"max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "hidden_act": "gelu",
        "num_key_value_heads": 1, "tie_word_embeddings": true}"#,
    harmless: &["apply_residual_connection_post_layernorm", "ff_factor", "num_kv_heads", "num_ln_in_parallel_attn"],
    only: &[
        ("alibi", &["false"]),
        ("multi_query", &["true"]),
        ("new_decoder_architecture", &["false"]),
        ("parallel_attn", &["true"]),
    ],
    norm: NormKind::Layer,
    norm_bias: Flag::Yes,
    norms: PARALLEL,
    parallel: Flag::Yes,
    qkv_bias: Flag::Field("bias"),
    output_bias: Flag::Field("bias"),
    mlp_bias: Flag::Field("bias"),
    gated: false,
    intermediate_times: Some(4),
    layers: "transformer.h.",
    tensors: &[
        Rule { theirs: "self_attention.query_key_value", ours: FUSED_QKV },
        Rule { theirs: "self_attention.dense", ours: &[("self_attn.o_proj", Part::All)] },
        Rule { theirs: "mlp.dense_h_to_4h", ours: &[("mlp.up_proj", Part::All)] },
        Rule { theirs: "mlp.dense_4h_to_h", ours: &[("mlp.down_proj", Part::All)] },
        Rule { theirs: "transformer.word_embeddings", ours: &[("model.embed_tokens", Part::All)] },
        Rule { theirs: "transformer.ln_f", ours: &[("model.norm", Part::All)] },
    ],
    ..LLAMA
};

// https://huggingface.co/tiiuae/falcon-11B/blob/main/config.json: groups of heads, and one norm.
const FALCON_11B: Family = Family {
    when: &[("new_decoder_architecture", When::Is("true")), ("num_ln_in_parallel_attn", When::Is("1"))],
    renamed: &[
        ("rms_norm_eps", "layer_norm_epsilon"),
        ("hidden_act", "activation"),
        ("intermediate_size", "ffn_hidden_size"),
        ("num_key_value_heads", "num_kv_heads"),
    ],
    defaults: r#"{"max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "hidden_act": "gelu",
        "tie_word_embeddings": true}"#,
    harmless: &[
        "apply_residual_connection_post_layernorm",
        "ff_factor",
        "multi_query",
        "new_decoder_architecture",
        "num_ln_in_parallel_attn",
    ],
    only: &[("alibi", &["false"]), ("parallel_attn", &["true"])],
    tensors: &[
        Rule { theirs: "self_attention.query_key_value", ours: GROUPED_QKV },
        Rule { theirs: "self_attention.dense", ours: &[("self_attn.o_proj", Part::All)] },
        Rule { theirs: "ln_attn", ours: &[("input_layernorm", Part::All)] },
        Rule { theirs: "ln_mlp", ours: &[("post_attention_layernorm", Part::All)] },
        Rule { theirs: "mlp.dense_h_to_4h", ours: &[("mlp.up_proj", Part::All)] },
        Rule { theirs: "mlp.dense_4h_to_h", ours: &[("mlp.down_proj", Part::All)] },
        Rule { theirs: "transformer.word_embeddings", ours: &[("model.embed_tokens", Part::All)] },
        Rule { theirs: "transformer.ln_f", ours: &[("model.norm", Part::All)] },
    ],
    ..FALCON
};

// https://huggingface.co/bigscience/bloom-560m/blob/main/config.json
const BLOOM: Family = Family {
    class: "BloomForCausalLM",
    name: "bloom",
    renamed: &[
        ("max_position_embeddings", "seq_length"),
        ("num_attention_heads", "n_head"),
        ("num_hidden_layers", "n_layer"),
        ("rms_norm_eps", "layer_norm_epsilon"),
    ],
    defaults: r#"{"max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "hidden_act": "gelu_pytorch_tanh",
        "tie_word_embeddings": true}"#,
    harmless: &[
        "attention_softmax_in_fp32",
        "bias_dropout_fusion",
        "masked_softmax_fusion",
        "n_inner",
        "offset_alibi",
        "skip_bias_add",
        "skip_bias_add_qkv",
        "slow_but_exact",
    ],
    only: &[("apply_residual_connection_post_layernorm", &["false"])],
    norm: NormKind::Layer,
    norm_bias: Flag::Yes,
    embedding_norm: Some(true),
    qkv_bias: Flag::Yes,
    output_bias: Flag::Yes,
    mlp_bias: Flag::Yes,
    rope: Rope::Alibi,
    gated: false,
    intermediate_times: Some(4),
    prefix: "transformer.",
    layers: "h.",
    tensors: &[
        Rule { theirs: "self_attention.query_key_value", ours: GROUPED_QKV },
        Rule { theirs: "self_attention.dense", ours: &[("self_attn.o_proj", Part::All)] },
        Rule { theirs: "mlp.dense_h_to_4h", ours: &[("mlp.up_proj", Part::All)] },
        Rule { theirs: "mlp.dense_4h_to_h", ours: &[("mlp.down_proj", Part::All)] },
        Rule { theirs: "word_embeddings", ours: &[("model.embed_tokens", Part::All)] },
        Rule { theirs: "word_embeddings_layernorm", ours: &[("model.layers.0.embedding_norm", Part::All)] },
        Rule { theirs: "ln_f", ours: &[("model.norm", Part::All)] },
    ],
    ..LLAMA
};

/// The rows.
pub(super) const ROWS: &[Family] = &[
    GPT_NEOX,
    FALCON_11B,
    // https://huggingface.co/tiiuae/falcon-40b/blob/main/config.json
    Family {
        when: &[("new_decoder_architecture", When::Is("true"))],
        norms: LLAMA.norms,
        parallel_norms: true,
        ..FALCON_11B
    },
    FALCON,
    // https://huggingface.co/mosaicml/mpt-7b/blob/main/config.json
    Family {
        class: "MptForCausalLM",
        name: "mpt",
        renamed: &[
            ("hidden_size", "d_model"),
            ("max_position_embeddings", "max_seq_len"),
            ("num_attention_heads", "n_heads"),
            ("num_hidden_layers", "n_layers"),
            ("rms_norm_eps", "layer_norm_epsilon"),
        ],
        defaults: r#"{"hidden_size": 2048, "max_position_embeddings": 2048, "num_attention_heads": 16,
            "num_hidden_layers": 24, "rms_norm_eps": 1e-5, "hidden_act": "gelu", "tie_word_embeddings": true}"#,
        harmless: &[
            "attn_config.attn_impl",
            "attn_config.attn_pdrop",
            "attn_config.is_encoder_decoder",
            "attn_config.model_type",
            "emb_pdrop",
            "embedding_fraction",
            "init_config",
            "init_device",
            // With ALiBi the original has none, and the reference never does.
            "learned_pos_emb",
            "norm_type",
            "verbose",
        ],
        only: &[
            ("attn_config.alibi", &["true"]),
            ("attn_config.alibi_bias_max", &["8"]),
            ("attn_config.attn_type", &["multihead_attention"]),
            ("attn_config.attn_uses_sequence_id", &["false"]),
            ("attn_config.clip_qkv", &["null"]),
            ("attn_config.prefix_lm", &["false"]),
            ("attn_config.qk_ln", &["false"]),
            ("attn_config.softmax_scale", &["null"]),
            ("expansion_ratio", &["4"]),
            ("logit_scale", &["null"]),
            ("no_bias", &["true"]),
        ],
        norm: NormKind::Layer,
        qkv_bias: Flag::No,
        output_bias: Flag::No,
        mlp_bias: Flag::No,
        rope: Rope::Alibi,
        gated: false,
        intermediate_times: Some(4),
        layers: "transformer.blocks.",
        tensors: &[
            Rule { theirs: "norm_1", ours: &[("input_layernorm", Part::All)] },
            Rule { theirs: "norm_2", ours: &[("post_attention_layernorm", Part::All)] },
            Rule { theirs: "attn.Wqkv", ours: FUSED_QKV },
            Rule { theirs: "attn.out_proj", ours: &[("self_attn.o_proj", Part::All)] },
            Rule { theirs: "ffn.up_proj", ours: &[("mlp.up_proj", Part::All)] },
            Rule { theirs: "ffn.down_proj", ours: &[("mlp.down_proj", Part::All)] },
            Rule { theirs: "transformer.wte", ours: &[("model.embed_tokens", Part::All)] },
            Rule { theirs: "transformer.norm_f", ours: &[("model.norm", Part::All)] },
        ],
        ..LLAMA
    },
    // https://huggingface.co/bigscience/bloom-7b1/blob/main/config.json
    Family {
        when: &[("n_embed", When::There)],
        renamed: &[
            ("hidden_size", "n_embed"),
            ("max_position_embeddings", "seq_length"),
            ("num_hidden_layers", "n_layer"),
            ("rms_norm_eps", "layer_norm_epsilon"),
        ],
        ..BLOOM
    },
    BLOOM,
    // https://huggingface.co/EleutherAI/gpt-j-6b/blob/main/config.json
    Family {
        class: "GPTJForCausalLM",
        name: "gptj",
        renamed: &[
            ("hidden_act", "activation_function"),
            ("hidden_size", "n_embd"),
            ("intermediate_size", "n_inner"),
            ("max_position_embeddings", "n_positions"),
            ("num_attention_heads", "n_head"),
            ("num_hidden_layers", "n_layer"),
            ("rms_norm_eps", "layer_norm_epsilon"),
        ],
        defaults: r#"{"max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "hidden_act": "gelu_new",
            "rotary_dim": 64}"#,
        reads: &["rotary_dim"],
        harmless: &[
            "attn_pdrop",
            "rotary",
            "scale_attn_weights",
            "summary_activation",
            "summary_first_dropout",
            "summary_proj_to_labels",
            "summary_type",
            "summary_use_proj",
        ],
        norm: NormKind::Layer,
        norm_bias: Flag::Yes,
        norms: PARALLEL,
        parallel: Flag::Yes,
        qkv_bias: Flag::No,
        output_bias: Flag::No,
        mlp_bias: Flag::Yes,
        head_bias: Flag::Yes,
        rope: Rope::Interleaved,
        gated: false,
        intermediate_times: Some(4),
        layers: "transformer.h.",
        tensors: &[
            Rule { theirs: "ln_1", ours: &[("input_layernorm", Part::All)] },
            Rule { theirs: "attn.q_proj", ours: &[("self_attn.q_proj", Part::All)] },
            Rule { theirs: "attn.k_proj", ours: &[("self_attn.k_proj", Part::All)] },
            Rule { theirs: "attn.v_proj", ours: &[("self_attn.v_proj", Part::All)] },
            Rule { theirs: "attn.out_proj", ours: &[("self_attn.o_proj", Part::All)] },
            Rule { theirs: "mlp.fc_in", ours: &[("mlp.up_proj", Part::All)] },
            Rule { theirs: "mlp.fc_out", ours: &[("mlp.down_proj", Part::All)] },
            Rule { theirs: "transformer.wte", ours: &[("model.embed_tokens", Part::All)] },
            Rule { theirs: "transformer.ln_f", ours: &[("model.norm", Part::All)] },
        ],
        // Masks that older files keep.
        unused: &["attn.bias", "attn.masked_bias"],
        ..LLAMA
    },
    // https://huggingface.co/allenai/OLMo-7B-hf/blob/main/config.json
    Family {
        class: "OlmoForCausalLM",
        name: "olmo",
        // The norms have no weights, and an epsilon that no field names.
        defaults: r#"{"max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "hidden_act": "silu"}"#,
        only: &[("clip_qkv", &["null"]), ("rms_norm_eps", &["1e-5", "1e-05", "0.00001"])],
        norm: NormKind::Layer,
        norm_weights: false,
        mlp_bias: Flag::No,
        ..LLAMA
    },
];
