//! Gemma 4, whose layers without a window have heads of their own.

use super::plain::GEMMA2;
use super::{Family, Flag, HeadNorm, Part, Rule};

// https://huggingface.co/google/gemma-4-31B-it/blob/main/config.json, its text_config
const GEMMA4: Family = Family {
    class: "Gemma4ForCausalLM",
    name: "gemma4",
    // Scores are not scaled, which no field says.
    defaults: r#"{"num_key_value_heads": 4, "head_dim": 256, "global_head_dim": 512, "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-6, "hidden_act": "gelu_pytorch_tanh", "tie_word_embeddings": true, "sliding_window": 512,
        "query_pre_attn_scalar": 1, "hidden_size_per_layer_input": 256,
        "vocab_size_per_layer_input": 262144, "rope_parameters": {
            "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1000000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}}"#,
    reads: &[
        "final_logit_softcapping",
        "hidden_size_per_layer_input",
        "layer_types",
        "num_kv_shared_layers",
        "query_pre_attn_scalar",
        "sliding_window",
    ],
    needs: &["layer_types", "rope_parameters", "sliding_window"],
    harmless: &[
        // A list of what layers have stands in place of these.
        "global_head_dim",
        "num_global_key_value_heads",
        "hidden_act",
        // Of the experts that a dense model does not have.
        "moe_intermediate_size",
        "num_experts",
        "top_k_experts",
        // Of embeddings that layers may not have.
        "vocab_size_per_layer_input",
    ],
    only: &[
        ("enable_moe_block", &["false"]),
        ("query_pre_attn_scalar", &["1"]),
        // Pictures are seen from both sides; text never is.
        ("use_bidirectional_attention", &["vision"]),
    ],
    unit_offset: false,
    head_norm: HeadNorm::Shared,
    value_norm: true,
    full_heads: true,
    keys_as_values: Flag::Field("attention_k_eq_v"),
    double_wide: Flag::Field("use_double_wide_mlp"),
    layer_factor: true,
    tensors: &[
        // What comes before the first layer is a part of it.
        Rule {
            theirs: "model.per_layer_model_projection",
            ours: &[("model.layers.0.per_layer_model_projection", Part::All)],
        },
        Rule {
            theirs: "model.per_layer_projection_norm",
            ours: &[("model.layers.0.per_layer_projection_norm", Part::All)],
        },
    ],
    ..GEMMA2
};

/// The rows.
pub(super) const ROWS: &[Family] = &[GEMMA4];
