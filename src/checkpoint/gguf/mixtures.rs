//! The architectures that are mixtures of experts; Mixtral is among the others, for it is a `llama`.

use super::architecture::Field::{
    CountOr, DeltaValueDim, Has, LayersWithout, LinearWith, Needed, Optional, Or, OtherExpertsThan, PlainDim, RowsOf,
    TruthOr, ValueDim,
};
use super::architecture::{Architecture, Class, Field, Part, Rule, When};
use super::architectures::{
    ATTENTION, BEFORE_ATTENTION, BEFORE_MLP, EXPERTS, GATE, HEAD_NORMS, LLAMA, PLAIN_MLP, Q_BIAS, QWEN2, WINDOW, class,
};
use super::delta::{INNER_SIZE, KEY_HEADS, KEY_LENGTH, VALUE_HEADS};
use crate::plan::DeltaPart;

/// One for all tokens, with a gate of its own.
pub(super) const SHARED_EXPERT: &[Rule] = &[
    ("ffn_gate_inp_shexp", &[("mlp.shared_expert_gate", Part::OneRow)]),
    ("ffn_gate_shexp", &[("mlp.shared_expert.gate_proj", Part::All)]),
    ("ffn_up_shexp", &[("mlp.shared_expert.up_proj", Part::All)]),
    ("ffn_down_shexp", &[("mlp.shared_expert.down_proj", Part::All)]),
];
/// Several for all tokens, as one.
pub(super) const SHARED_EXPERTS: &[Rule] = &[
    ("ffn_gate_shexp", &[("mlp.shared_experts.gate_proj", Part::All)]),
    ("ffn_up_shexp", &[("mlp.shared_experts.up_proj", Part::All)]),
    ("ffn_down_shexp", &[("mlp.shared_experts.down_proj", Part::All)]),
];
/// What is added to scores before the choice.
pub(super) const CHOICE_BIAS: &[Rule] = &[("exp_probs_b", &[("mlp.gate", Part::All)])];
pub(super) const SINK: &[Rule] = &[("attn_sinks", &[("self_attn.sinks", Part::Bare)])];
const SINKS: &[Rule] = &[SINK[0], ("post_attention_norm", &[("post_attention_layernorm", Part::All)])];
/// Older files have keys and values of a head as the checkpoint does, later ones apart, keys transposed.
pub(super) const LATENT_ATTENTION: &[Rule] = &[
    ("attn_q", &[("self_attn.q_proj", Part::All)]),
    ("attn_q_a", &[("self_attn.q_a_proj", Part::All)]),
    ("attn_q_a_norm", &[("self_attn.q_a_layernorm", Part::All)]),
    ("attn_q_b", &[("self_attn.q_b_proj", Part::All)]),
    ("attn_kv_a_mqa", &[("self_attn.kv_a_proj", Part::Latent), ("self_attn.k_rope_proj", Part::LatentRotary)]),
    ("attn_kv_a_norm", &[("self_attn.kv_a_layernorm", Part::All)]),
    ("attn_kv_b", &[("self_attn.k_b_proj", Part::LatentKey), ("self_attn.v_b_proj", Part::LatentValue)]),
    ("attn_k_b", &[("self_attn.k_b_proj", Part::TurnedHeads)]),
    ("attn_v_b", &[("self_attn.v_b_proj", Part::All)]),
    ("attn_output", &[("self_attn.o_proj", Part::All)]),
];
/// Attention with a gate on its output.
pub(super) const GATED_ATTENTION: &[Rule] = &[
    ("attn_q", &[("self_attn.q_proj", Part::GatedQuery), ("self_attn.gate_proj", Part::QueryGate)]),
    ("attn_k", &[("self_attn.k_proj", Part::All)]),
    ("attn_v", &[("self_attn.v_proj", Part::All)]),
    ("attn_output", &[("self_attn.o_proj", Part::All)]),
    ("post_attention_norm", &[("post_attention_layernorm", Part::All)]),
];
/// Older files have one matrix (`ssm_in`) for what later ones have in two, by key heads as the checkpoint has it.
pub(super) const DELTA_RULE: &[Rule] = &[
    (
        "ssm_in",
        &[
            ("linear_attn.q_proj", Part::Delta(DeltaPart::Query)),
            ("linear_attn.k_proj", Part::Delta(DeltaPart::Key)),
            ("linear_attn.v_proj", Part::Delta(DeltaPart::Value)),
            ("linear_attn.gate_proj", Part::Delta(DeltaPart::Gate)),
        ],
    ),
    (
        "attn_qkv",
        &[("linear_attn.q_proj", Part::Query), ("linear_attn.k_proj", Part::Key), ("linear_attn.v_proj", Part::Value)],
    ),
    ("attn_gate", &[("linear_attn.gate_proj", Part::All)]),
    ("ssm_beta", &[("linear_attn.beta_proj", Part::All)]),
    ("ssm_alpha", &[("linear_attn.decay_proj", Part::All)]),
    (
        "ssm_ba",
        &[
            ("linear_attn.beta_proj", Part::Delta(DeltaPart::Beta)),
            ("linear_attn.decay_proj", Part::Delta(DeltaPart::Decay)),
        ],
    ),
    ("ssm_conv1d", &[("linear_attn.conv1d", Part::Flat)]),
    ("ssm_a", &[("linear_attn.A_log", Part::NegatedExp)]),
    ("ssm_dt", &[("linear_attn.dt_bias", Part::Bare)]),
    ("ssm_norm", &[("linear_attn.norm", Part::All)]),
    ("ssm_out", &[("linear_attn.out_proj", Part::All)]),
];

pub(super) const EXPERT_GATE: &str = "mlp.experts.0.gate_proj.weight";
pub(super) const ROUTER: &str = "mlp.gate.weight";
pub(super) const EXPERT_WIDTHS: &[&str] = &["expert_feed_forward_length", "expert_shared_feed_forward_length"];

/// Which layers have a delta rule, by their tensors, and its sizes.
pub(super) const LINEAR: &[(&str, Field)] = &[
    ("layer_types", LinearWith("linear_attn.out_proj.weight")),
    ("linear_num_key_heads", Needed(KEY_HEADS)),
    ("linear_num_value_heads", Needed(VALUE_HEADS)),
    ("linear_key_head_dim", Needed(KEY_LENGTH)),
    ("linear_value_head_dim", DeltaValueDim),
    ("linear_conv_kernel_dim", Needed("ssm.conv_kernel")),
];
/// Keys that say again what tensors do.
pub(super) const HYBRID_KEYS: &[&str] = &[
    "expert_feed_forward_length",
    "expert_shared_feed_forward_length",
    "full_attention_interval",
    "attention.recurrent_layers",
];
/// Sizes of experts as DeepSeek-V3 names them.
pub(super) const DEEPSEEK_EXPERTS: &[(&str, Field)] = &[
    ("first_k_dense_replace", Or("leading_dense_block_count", 0.0)),
    ("n_routed_experts", Needed("expert_count")),
    ("num_experts_per_tok", Needed("expert_used_count")),
    ("n_shared_experts", Optional("expert_shared_count")),
    ("moe_intermediate_size", Needed("expert_feed_forward_length")),
    ("norm_topk_prob", TruthOr("expert_weights_norm", false)),
    ("routed_scaling_factor", Or("expert_weights_scale", 1.0)),
    // Where a file says nothing, llama.cpp chooses among all experts at once, and so older files are used.
    ("n_group", CountOr("expert_group_count", 1)),
    ("topk_group", CountOr("expert_group_used_count", 1)),
];
/// Sizes of latent attention.
pub(super) const LATENT: &[(&str, Field)] = &[
    ("q_lora_rank", Optional("attention.q_lora_rank")),
    ("kv_lora_rank", Needed("attention.kv_lora_rank")),
    ("qk_rope_head_dim", Needed("rope.dimension_count")),
    ("qk_nope_head_dim", PlainDim),
    ("v_head_dim", ValueDim),
];

/// A layer whose experts, with some that all tokens share, are chosen with a bias; or a plain one.
pub(super) const SHARED_MIXTURE: &[&[Rule]] =
    &[ATTENTION, PLAIN_MLP, GATE, EXPERTS, SHARED_EXPERTS, CHOICE_BIAS, BEFORE_ATTENTION, BEFORE_MLP];

/// DeepSeek V2 and V3, and what was made in their likeness.
pub(super) const DEEPSEEK2: Architecture = Architecture {
    name: "deepseek2",
    classes: &[
        Class { when: When::SigmoidExperts, ..class("DeepseekV3ForCausalLM", "deepseek_v3") },
        class("DeepseekV2ForCausalLM", "deepseek_v2"),
    ],
    fields: &[LATENT, DEEPSEEK_EXPERTS],
    layer_tensors: &[
        LATENT_ATTENTION,
        PLAIN_MLP,
        GATE,
        EXPERTS,
        SHARED_EXPERTS,
        CHOICE_BIAS,
        BEFORE_ATTENTION,
        BEFORE_MLP,
    ],
    latent: true,
    keys: &[
        "attention.key_length_mla",
        "attention.value_length_mla",
        "expert_gating_func",
        "rope.scaling.yarn_log_multiplier",
    ],
    ..LLAMA
};

/// The table.
pub(super) const MIXTURES: &[Architecture] = &[
    // Shapes tell how wide an expert is; not every file has a key for it. The router divides by the sum or not as the
    // family does, unless the file says otherwise.
    Architecture {
        name: "qwen2moe",
        classes: &[class("Qwen2MoeForCausalLM", "qwen2_moe")],
        fields: &[&[
            ("num_experts", Needed("expert_count")),
            ("num_experts_per_tok", Needed("expert_used_count")),
            ("moe_intermediate_size", RowsOf(EXPERT_GATE)),
            ("shared_expert_intermediate_size", RowsOf("mlp.shared_expert.gate_proj.weight")),
            ("norm_topk_prob", TruthOr("expert_weights_norm", false)),
            ("mlp_only_layers", LayersWithout(ROUTER)),
        ]],
        layer_tensors: &[ATTENTION, PLAIN_MLP, GATE, EXPERTS, SHARED_EXPERT, BEFORE_ATTENTION, BEFORE_MLP],
        harmless_keys: EXPERT_WIDTHS,
        ..QWEN2
    },
    Architecture {
        name: "qwen3moe",
        classes: &[class("Qwen3MoeForCausalLM", "qwen3_moe")],
        fields: &[&[
            ("attention_bias", Has(Q_BIAS)),
            ("num_experts", Needed("expert_count")),
            ("num_experts_per_tok", Needed("expert_used_count")),
            ("moe_intermediate_size", RowsOf(EXPERT_GATE)),
            ("norm_topk_prob", TruthOr("expert_weights_norm", true)),
            ("mlp_only_layers", LayersWithout(ROUTER)),
        ]],
        layer_tensors: &[ATTENTION, HEAD_NORMS, PLAIN_MLP, GATE, EXPERTS, BEFORE_ATTENTION, BEFORE_MLP],
        harmless_keys: EXPERT_WIDTHS,
        ..QWEN2
    },
    // The router divides by the sum in all published models, and llama.cpp does. Which layers have attention is seen from
    // their tensors.
    Architecture {
        name: "qwen3next",
        classes: &[class("Qwen3NextForCausalLM", "qwen3_next")],
        fields: &[
            &[
                ("num_experts", Needed("expert_count")),
                ("num_experts_per_tok", Needed("expert_used_count")),
                ("moe_intermediate_size", RowsOf(EXPERT_GATE)),
                ("shared_expert_intermediate_size", RowsOf("mlp.shared_expert.gate_proj.weight")),
                ("norm_topk_prob", TruthOr("expert_weights_norm", true)),
            ],
            LINEAR,
        ],
        layer_tensors: &[GATED_ATTENTION, HEAD_NORMS, DELTA_RULE, EXPERTS, SHARED_EXPERT, BEFORE_ATTENTION],
        partial_rotation: true,
        delta_rule: true,
        keys: &[INNER_SIZE],
        harmless_keys: HYBRID_KEYS,
        ..QWEN2
    },
    DEEPSEEK2,
    // How far gates and values are let is the same in all published models, and in no key.
    Architecture {
        name: "gpt-oss",
        classes: &[class("GptOssForCausalLM", "gpt_oss")],
        fields: &[&[
            ("attention_bias", Has(Q_BIAS)),
            ("num_local_experts", Needed("expert_count")),
            ("num_experts_per_tok", Needed("expert_used_count")),
            ("sliding_window", Needed(WINDOW)),
        ]],
        layer_tensors: &[ATTENTION, SINKS, EXPERTS, BEFORE_ATTENTION],
        whole_ramp: false,
        harmless_keys: EXPERT_WIDTHS,
        ..QWEN2
    },
    // Chunks, temperatures and layers that do not rotate are those of all published models. Only Maverick, the one with so
    // many experts, norms no heads.
    Architecture {
        name: "llama4",
        classes: &[Class {
            renamed: &[("intermediate_size", "intermediate_size_mlp"), ("expert_width", "intermediate_size")],
            ..class("Llama4ForCausalLM", "llama4_text")
        }],
        fields: &[&[
            ("attention_bias", Has(Q_BIAS)),
            ("num_local_experts", Needed("expert_count")),
            ("num_experts_per_tok", Needed("expert_used_count")),
            ("expert_width", Needed("expert_feed_forward_length")),
            ("interleave_moe_layer_step", Needed("interleave_moe_layer_step")),
            ("use_qk_norm", OtherExpertsThan(128)),
        ]],
        layer_tensors: SHARED_MIXTURE,
        keys: &[],
        ..LLAMA
    },
];
