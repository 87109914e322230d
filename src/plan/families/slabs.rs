//! Families that keep all experts of a layer in one tensor.

use super::plain::{GRANITE, LLAMA, QWEN_EXPERTS};
use super::{Cut, Experts, Family, Flag, HeadNorm, Part, Rope, Rule, Shared};

// https://huggingface.co/meta-llama/Llama-4-Scout-17B-16E/blob/main/config.json, its text_config
const LLAMA4: Family = Family {
    class: "Llama4ForCausalLM",
    name: "llama4",
    renamed: &[
        ("intermediate_size", "intermediate_size_mlp"),
        ("moe_intermediate_size", "intermediate_size"),
        ("decoder_sparse_step", "interleave_moe_layer_step"),
        ("sliding_window", "attention_chunk_size"),
    ],
    defaults: r#"{"num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5, "hidden_act": "silu", "rope_theta": 500000.0, "intermediate_size": 16384,
        "moe_intermediate_size": 8192, "num_local_experts": 16, "num_experts_per_tok": 1, "decoder_sparse_step": 1,
        "no_rope_layer_interval": 4, "sliding_window": 8192, "use_qk_norm": true, "scoring_func": "sigmoid",
        "attn_temperature_tuning": true, "floor_scale": 8192, "attn_scale": 0.1}"#,
    reads: &[
        "sliding_window",
        "layer_types",
        "no_rope_layers",
        "no_rope_layer_interval",
        "moe_layers",
        "attn_temperature_tuning",
        "floor_scale",
        "attn_scale",
    ],
    harmless: &[
        "cache_implementation",
        "for_llm_compressor",
        "output_router_logits",
        "router_aux_loss_coef",
        "router_jitter_noise",
    ],
    mlp_bias: Flag::No,
    head_norm: HeadNorm::AfterRope("use_qk_norm"),
    rope: Rope::Interleaved,
    experts: Some(Experts {
        count: "num_local_experts",
        normalize: Flag::No,
        shared: Shared::One,
        names: ("feed_forward.experts.", ["gate_proj", "up_proj", "down_proj"]),
        ..QWEN_EXPERTS
    }),
    // Nothing but the scores makes the choice.
    choice_bias: Some(false),
    slabs_transposed: true,
    factor_on_input: true,
    chunked: true,
    tensors: &[
        Rule { theirs: "feed_forward.gate_proj", ours: &[("mlp.gate_proj", Part::All)] },
        Rule { theirs: "feed_forward.up_proj", ours: &[("mlp.up_proj", Part::All)] },
        Rule { theirs: "feed_forward.down_proj", ours: &[("mlp.down_proj", Part::All)] },
        Rule { theirs: "feed_forward.router", ours: &[("mlp.gate", Part::All)] },
        Rule { theirs: "feed_forward.shared_expert.gate_proj", ours: &[("mlp.shared_experts.gate_proj", Part::All)] },
        Rule { theirs: "feed_forward.shared_expert.up_proj", ours: &[("mlp.shared_experts.up_proj", Part::All)] },
        Rule { theirs: "feed_forward.shared_expert.down_proj", ours: &[("mlp.shared_experts.down_proj", Part::All)] },
        Rule {
            theirs: "feed_forward.experts.gate_up_proj",
            ours: &[
                ("mlp.experts.*.gate_proj.weight", Part::Slab(Cut::First)),
                ("mlp.experts.*.up_proj.weight", Part::Slab(Cut::Second)),
            ],
        },
        Rule {
            theirs: "feed_forward.experts.down_proj",
            ours: &[("mlp.experts.*.down_proj.weight", Part::Slab(Cut::All))],
        },
    ],
    ..LLAMA
};

/// Granite's shared expert.
pub(super) const SHARED_IN: Rule = Rule {
    theirs: "shared_mlp.input_linear",
    ours: &[("mlp.shared_experts.gate_proj", Part::First), ("mlp.shared_experts.up_proj", Part::Second)],
};
pub(super) const SHARED_OUT: Rule =
    Rule { theirs: "shared_mlp.output_linear", ours: &[("mlp.shared_experts.down_proj", Part::All)] };

// https://huggingface.co/ibm-granite/granite-3.1-3b-a800m-base/blob/main/config.json
pub(super) const GRANITE_MOE: Family = Family {
    class: "GraniteMoeForCausalLM",
    name: "granitemoe",
    harmless: &["output_router_logits", "router_aux_loss_coef"],
    mlp_bias: Flag::No,
    experts: Some(Experts {
        count: "num_local_experts",
        width: "intermediate_size",
        // The softmax is over the chosen ones.
        normalize: Flag::Yes,
        ..QWEN_EXPERTS
    }),
    tensors: &[
        Rule { theirs: "block_sparse_moe.router.layer", ours: &[("mlp.gate", Part::All)] },
        Rule {
            theirs: "block_sparse_moe.input_linear",
            ours: &[
                ("mlp.experts.*.gate_proj", Part::Slab(Cut::First)),
                ("mlp.experts.*.up_proj", Part::Slab(Cut::Second)),
            ],
        },
        Rule { theirs: "block_sparse_moe.output_linear", ours: &[("mlp.experts.*.down_proj", Part::Slab(Cut::All))] },
        SHARED_IN,
        SHARED_OUT,
    ],
    ..GRANITE
};

/// The rows.
pub(super) const ROWS: &[Family] = &[
    // https://huggingface.co/openai/gpt-oss-20b/blob/main/config.json
    Family {
        class: "GptOssForCausalLM",
        name: "gpt_oss",
        defaults: r#"{"num_key_value_heads": 8, "head_dim": 64, "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5, "hidden_act": "silu", "rope_theta": 150000.0, "sliding_window": 128,
            "sliding_window_pattern": 2, "attention_bias": true, "num_local_experts": 128, "num_experts_per_tok": 4,
            "swiglu_limit": 7.0, "rope_scaling": {"rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0,
            "beta_slow": 1.0, "truncate": false, "original_max_position_embeddings": 4096}}"#,
        reads: &["sliding_window", "sliding_window_pattern", "layer_types"],
        // The first two say again what others say.
        harmless: &["experts_per_token", "initial_context_length", "output_router_logits", "router_aux_loss_coef"],
        only: &[("hidden_act", &["silu"]), ("swiglu_alpha", &["1.702"])],
        mlp_bias: Flag::No,
        experts: Some(Experts {
            count: "num_local_experts",
            width: "intermediate_size",
            // The softmax is over the chosen ones: that of all, divided by the sum of theirs.
            normalize: Flag::Yes,
            ..QWEN_EXPERTS
        }),
        slabs_transposed: true,
        expert_bias: true,
        swiglu_limit: Some("swiglu_limit"),
        sinks: true,
        tensors: &[
            Rule { theirs: "mlp.router", ours: &[("mlp.gate", Part::All)] },
            Rule {
                theirs: "mlp.experts.gate_up_proj",
                ours: &[
                    ("mlp.experts.*.gate_proj.weight", Part::Slab(Cut::Even)),
                    ("mlp.experts.*.up_proj.weight", Part::Slab(Cut::Odd)),
                ],
            },
            Rule {
                theirs: "mlp.experts.gate_up_proj_bias",
                ours: &[
                    ("mlp.experts.*.gate_proj.bias", Part::Slab(Cut::Even)),
                    ("mlp.experts.*.up_proj.bias", Part::Slab(Cut::Odd)),
                ],
            },
            Rule { theirs: "mlp.experts.down_proj", ours: &[("mlp.experts.*.down_proj.weight", Part::Slab(Cut::All))] },
            Rule {
                theirs: "mlp.experts.down_proj_bias",
                ours: &[("mlp.experts.*.down_proj.bias", Part::Slab(Cut::All))],
            },
        ],
        ..LLAMA
    },
    LLAMA4,
    GRANITE_MOE,
    // https://huggingface.co/ibm-research/moe-7b-1b-active-shared-experts/blob/main/config.json
    Family {
        class: "GraniteMoeSharedForCausalLM",
        name: "granitemoeshared",
        experts: match GRANITE_MOE.experts {
            Some(experts) => Some(Experts { shared: Shared::Wide("shared_intermediate_size"), ..experts }),
            None => None,
        },
        ..GRANITE_MOE
    },
];
