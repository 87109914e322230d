//! Families with multi-head latent attention, after those of DeepSeek.

use super::fused::{DEEPSEEK, DEEPSEEK_V3};
use super::{Family, Flag};

/// What DeepSeek's sparse attention is made of: an indexer chooses positions, which are all of them up to `index_topk`.
const INDEXER: &[&str] = &[
    "auto_map",
    "aux_loss_alpha",
    "ep_size",
    "head_dim",
    "index_head_dim",
    "index_n_heads",
    "index_share_for_mtp_iteration",
    "index_skip_topk_offset",
    "index_topk_freq",
    "index_topk_pattern",
    "indexer_rope_interleave",
    "indexer_types",
    "layer_types",
    "num_key_value_heads",
    "num_mtp_layers",
    "num_nextn_predict_layers",
    "output_router_logits",
    "qk_head_dim",
    "router_aux_loss_coef",
    "seq_aux",
];

// https://huggingface.co/deepseek-ai/DeepSeek-V3.2/blob/main/config.json
const DEEPSEEK_V32: Family = Family {
    class: "DeepseekV32ForCausalLM",
    name: "deepseek_v32",
    defaults: r#"{"max_position_embeddings": 163840, "rms_norm_eps": 1e-6, "hidden_act": "silu", "n_group": 8,
        "topk_group": 4, "routed_scaling_factor": 2.5, "scoring_func": "sigmoid", "first_k_dense_replace": 3,
        "num_experts_per_tok": 8, "n_routed_experts": 256, "n_shared_experts": 1,
        "moe_intermediate_size": 2048, "norm_topk_prob": true, "q_lora_rank": 1536, "index_topk": 2048}"#,
    reads: &["mlp_layer_types"],
    harmless: INDEXER,
    unused: &["self_attn.indexer."],
    most_positions: Some("index_topk"),
    ..DEEPSEEK_V3
};

/// The rows.
pub(super) const ROWS: &[Family] = &[
    DEEPSEEK_V32,
    // https://huggingface.co/zai-org/GLM-5/blob/main/config.json
    Family {
        class: "GlmMoeDsaForCausalLM",
        name: "glm_moe_dsa",
        defaults: r#"{"max_position_embeddings": 202752, "rms_norm_eps": 1e-5, "hidden_act": "silu", "n_group": 1,
            "topk_group": 1, "routed_scaling_factor": 2.5, "scoring_func": "sigmoid", "first_k_dense_replace": 3,
            "num_experts_per_tok": 8, "n_routed_experts": 256, "n_shared_experts": 1,
            "moe_intermediate_size": 2048, "norm_topk_prob": true, "q_lora_rank": 2048, "index_topk": 2048}"#,
        ..DEEPSEEK_V32
    },
    // https://huggingface.co/tencent/Youtu-LLM-2B/blob/main/config.json
    Family {
        class: "YoutuForCausalLM",
        name: "youtu",
        defaults: r#"{"max_position_embeddings": 131072, "rms_norm_eps": 1e-6, "hidden_act": "silu",
            "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128,
            "v_head_dim": 128, "tie_word_embeddings": true}"#,
        harmless: &["auto_map", "embedding_initializer_range", "head_dim", "num_key_value_heads", "qk_head_dim"],
        only: &[("attention_bias", &["false"]), ("mlp_bias", &["false"]), ("rope_interleave", &["true"])],
        mlp_bias: Flag::No,
        experts: None,
        ..DEEPSEEK
    },
];
