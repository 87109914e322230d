//! Families with names of their own, most of them with fused matrices.

use super::plain::LLAMA;
use super::{Experts, FUSED_GATE_UP, FUSED_QKV, Family, Flag, Norms, Part, Rope, Rule, Shared, When};

// https://huggingface.co/baichuan-inc/Baichuan-7B/blob/main/config.json
const BAICHUAN: Family = Family {
    class: "BaiChuanForCausalLM",
    name: "baichuan",
    harmless: &["auto_map", "gradient_checkpointing", "model_max_length", "z_loss_weight"],
    qkv_bias: Flag::No,
    output_bias: Flag::No,
    mlp_bias: Flag::No,
    tensors: &[Rule { theirs: "self_attn.W_pack", ours: FUSED_QKV }],
    ..LLAMA
};

// https://huggingface.co/deepseek-ai/DeepSeek-V2-Lite/blob/main/config.json
pub(super) const DEEPSEEK: Family = Family {
    class: "DeepseekV2ForCausalLM",
    name: "deepseek_v2",
    defaults: r#"{"max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "hidden_act": "silu", "n_group": 1,
        "topk_group": 1, "routed_scaling_factor": 1.0, "scoring_func": "softmax", "first_k_dense_replace": 0,
        "num_experts_per_tok": 6, "n_routed_experts": 64, "n_shared_experts": 2, "moe_intermediate_size": 1407}"#,
    harmless: &[
        "auto_map",
        "aux_loss_alpha",
        "ep_size",
        // transformers 5 writes sizes that follow from others.
        "head_dim",
        "qk_head_dim",
        "num_key_value_heads",
        "num_mtp_layers",
        "num_nextn_predict_layers",
        "output_router_logits",
        "router_aux_loss_coef",
        "seq_aux",
        "topk_method",
    ],
    only: &[
        ("attention_bias", &["false"]),
        ("mlp_bias", &["false"]),
        ("moe_layer_freq", &["1"]),
        // The reference of V2 does not look at it, others do.
        ("norm_topk_prob", &["false"]),
        ("rope_interleave", &["true"]),
        ("scoring_func", &["softmax"]),
    ],
    qkv_bias: Flag::No,
    output_bias: Flag::No,
    mlp_bias: Flag::No,
    latent: true,
    rope: Rope::Interleaved,
    experts: Some(Experts {
        count: "n_routed_experts",
        width: "moe_intermediate_size",
        normalize: Flag::No,
        shared: Shared::Several("n_shared_experts"),
        names: ("mlp.experts.", ["gate_proj", "up_proj", "down_proj"]),
    }),
    tensors: &[
        Rule {
            theirs: "self_attn.kv_a_proj_with_mqa",
            ours: &[("self_attn.kv_a_proj", Part::Latent), ("self_attn.k_rope_proj", Part::LatentRotary)],
        },
        Rule {
            theirs: "self_attn.kv_b_proj",
            ours: &[("self_attn.k_b_proj", Part::LatentKey), ("self_attn.v_b_proj", Part::LatentValue)],
        },
        Rule { theirs: "mlp.gate.e_score_correction_bias", ours: &[("mlp.gate.bias", Part::All)] },
    ],
    ..LLAMA
};

// https://huggingface.co/deepseek-ai/DeepSeek-V3/blob/main/config.json
pub(super) const DEEPSEEK_V3: Family = Family {
    class: "DeepseekV3ForCausalLM",
    name: "deepseek_v3",
    defaults: r#"{"max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "hidden_act": "silu", "n_group": 8,
        "topk_group": 4, "routed_scaling_factor": 2.5, "scoring_func": "sigmoid", "first_k_dense_replace": 3,
        "num_experts_per_tok": 8, "n_routed_experts": 256, "n_shared_experts": 1,
        "moe_intermediate_size": 2048, "norm_topk_prob": true}"#,
    only: &[
        ("attention_bias", &["false"]),
        ("mlp_bias", &["false"]),
        ("moe_layer_freq", &["1"]),
        ("rope_interleave", &["true"]),
        ("scoring_func", &["sigmoid"]),
        ("topk_method", &["noaux_tc"]),
    ],
    experts: match DEEPSEEK.experts {
        Some(experts) => Some(Experts { normalize: Flag::Field("norm_topk_prob"), ..experts }),
        None => None,
    },
    ..DEEPSEEK
};

/// The rows.
pub(super) const ROWS: &[Family] = &[
    // https://huggingface.co/THUDM/glm-4-9b-hf/blob/main/config.json
    Family {
        class: "GlmForCausalLM",
        name: "glm",
        defaults: r#"{"num_key_value_heads": 2, "head_dim": 128, "max_position_embeddings": 131072,
            "rms_norm_eps": 1.5625e-7, "hidden_act": "silu", "partial_rotary_factor": 0.5, "attention_bias": true}"#,
        output_bias: Flag::No,
        mlp_bias: Flag::No,
        rope: Rope::Interleaved,
        tensors: &[Rule { theirs: "mlp.gate_up_proj", ours: FUSED_GATE_UP }],
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
        tensors: &[Rule { theirs: "mlp.gate_up_proj", ours: FUSED_GATE_UP }],
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
            "padded_vocab_size",
            "rope_theta",
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
            Rule { theirs: "attn.c_attn", ours: FUSED_QKV },
            Rule { theirs: "attn.c_proj", ours: &[("self_attn.o_proj", Part::All)] },
            Rule { theirs: "mlp.w1", ours: &[("mlp.up_proj", Part::All)] },
            Rule { theirs: "mlp.w2", ours: &[("mlp.gate_proj", Part::All)] },
            Rule { theirs: "mlp.c_proj", ours: &[("mlp.down_proj", Part::All)] },
            Rule { theirs: "transformer.wte", ours: &[("model.embed_tokens", Part::All)] },
            Rule { theirs: "transformer.ln_f", ours: &[("model.norm", Part::All)] },
        ],
        ..LLAMA
    },
    // What a GGUF file of a 13B becomes, of the second generation too: its head is used as it is.
    Family {
        class: "BaiChuanForCausalLM",
        when: &[("max_position_embeddings", When::Absent), ("model_max_length", When::There)],
        renamed: &[("max_position_embeddings", "model_max_length")],
        rope: Rope::Alibi,
        ..BAICHUAN
    },
    BAICHUAN,
    // https://huggingface.co/baichuan-inc/Baichuan2-7B-Base/blob/main/config.json
    Family {
        class: "BaichuanForCausalLM",
        when: &[("max_position_embeddings", When::There)],
        name: "baichuan2",
        normalized_head: true,
        ..BAICHUAN
    },
    // https://huggingface.co/baichuan-inc/Baichuan2-13B-Base/blob/main/config.json
    Family {
        class: "BaichuanForCausalLM",
        when: &[("max_position_embeddings", When::Absent), ("z_loss_weight", When::There)],
        name: "baichuan2",
        renamed: &[("max_position_embeddings", "model_max_length")],
        rope: Rope::Alibi,
        normalized_head: true,
        ..BAICHUAN
    },
    // https://huggingface.co/baichuan-inc/Baichuan2-13B-Chat/blob/main/config.json
    Family {
        class: "BaichuanForCausalLM",
        when: &[("max_position_embeddings", When::Absent), ("vocab_size", When::AtLeast(100_000))],
        name: "baichuan2",
        renamed: &[("max_position_embeddings", "model_max_length")],
        rope: Rope::Alibi,
        normalized_head: true,
        ..BAICHUAN
    },
    // https://huggingface.co/baichuan-inc/Baichuan-13B-Base/blob/main/config.json
    Family {
        class: "BaichuanForCausalLM",
        when: &[("max_position_embeddings", When::Absent)],
        renamed: &[("max_position_embeddings", "model_max_length")],
        rope: Rope::Alibi,
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
        only: &[("attention_bias", &["false"]), ("mlp_bias", &["false"])],
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
            "attn_implementation",
            "attention_softmax_in_fp32",
            "auto_map",
            "bias_dropout_fusion",
            "classifier_dropout",
            "fp32_residual_connection",
            "interleaved_qkv",
            "num_hidden_layers",
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
            Rule { theirs: "self_attention.query_key_value", ours: FUSED_QKV },
            Rule { theirs: "self_attention.dense", ours: &[("self_attn.o_proj", Part::All)] },
            Rule { theirs: "mlp.dense_h_to_4h", ours: FUSED_GATE_UP },
            Rule { theirs: "mlp.dense_4h_to_h", ours: &[("mlp.down_proj", Part::All)] },
            Rule { theirs: "transformer.embedding.word_embeddings", ours: &[("model.embed_tokens", Part::All)] },
            Rule { theirs: "transformer.encoder.final_layernorm", ours: &[("model.norm", Part::All)] },
            Rule { theirs: "transformer.output_layer", ours: &[("lm_head", Part::All)] },
            // A buffer, not a weight.
            Rule { theirs: "transformer.rotary_pos_emb.inv_freq", ours: &[] },
        ],
        ..LLAMA
    },
    DEEPSEEK,
    DEEPSEEK_V3,
];
