//! Dense architectures of 2025 and 2026.

use super::architecture::Field::{Has, Is, Needed, Optional, QueryGrowth, WindowPattern, WindowThetas};
use super::architecture::{Architecture, Class, Part, Rule, When};
use super::architectures::{
    AFTER_BLOCKS, ATTENTION, BEFORE_ATTENTION, BEFORE_MLP, EXPERTS, FINAL_NORM_BIAS, GATE, GRANITE_FIELDS, HEAD_NORMS,
    LAYER_NORM, LAYER_NORM_EPS, LLAMA, OUTER, PLAIN_MLP, Q_BIAS, QWEN2, WINDOW, class,
};
use super::delta::INNER_SIZE;
use super::mixtures::{DELTA_RULE, GATED_ATTENTION, HYBRID_KEYS, LINEAR, SINK};

/// What other families have behind attention stands before the feed-forward block.
pub(super) const BEFORE_MLP_BY_ANOTHER_NAME: &[Rule] =
    &[("post_attention_norm", &[("post_attention_layernorm", Part::All)])];

/// The table.
pub(super) const RECENT: &[Architecture] = &[
    // Also the text part of models that take pictures.
    Architecture {
        name: "qwen35",
        classes: &[class("Qwen3_5ForCausalLM", "qwen3_5_text")],
        fields: &[LINEAR, &[("linear_value_heads_tiled", Is("true"))]],
        layer_tensors: &[GATED_ATTENTION, HEAD_NORMS, DELTA_RULE, PLAIN_MLP, GATE, BEFORE_ATTENTION],
        partial_rotation: true,
        delta_rule: true,
        tiled_values: true,
        keys: &[INNER_SIZE],
        harmless_keys: HYBRID_KEYS,
        ..QWEN2
    },
    Architecture { name: "qwen2vl", ..QWEN2 },
    Architecture {
        name: "qwen3vl",
        classes: &[class("Qwen3ForCausalLM", "qwen3")],
        fields: &[&[("attention_bias", Has(Q_BIAS))]],
        layer_tensors: &[ATTENTION, HEAD_NORMS, PLAIN_MLP, GATE, BEFORE_ATTENTION, BEFORE_MLP],
        // How many layers take what pictures are besides the first.
        harmless_keys: &["n_deepstack_layers"],
        ..QWEN2
    },
    // Mistral Small 3.1 and 3.2, Ministral 3. Queries grow with the position in the latter.
    Architecture {
        name: "mistral3",
        classes: &[
            Class { when: When::Has("attention.temperature_scale"), ..class("Ministral3ForCausalLM", "ministral3") },
            class("MistralForCausalLM", "mistral"),
        ],
        fields: &[&[("llama_4_scaling_beta", QueryGrowth { unsaid: None })]],
        keys: &["attention.temperature_scale", "rope.scaling.yarn_log_multiplier"],
        ..LLAMA
    },
    Architecture {
        name: "seed_oss",
        classes: &[class("SeedOssForCausalLM", "seed_oss")],
        fields: &[&[
            ("attention_bias", Has(Q_BIAS)),
            ("attention_out_bias", Has("self_attn.o_proj.bias")),
            ("mlp_bias", Has("mlp.gate_proj.bias")),
        ]],
        layer_tensors: &[ATTENTION, PLAIN_MLP, GATE, BEFORE_ATTENTION, BEFORE_MLP_BY_ANOTHER_NAME],
        ..QWEN2
    },
    Architecture {
        name: "exaone4",
        classes: &[class("Exaone4ForCausalLM", "exaone4")],
        fields: &[&[("layer_types", WindowPattern)]],
        layer_tensors: &[ATTENTION, HEAD_NORMS, PLAIN_MLP, GATE, AFTER_BLOCKS],
        keys: &[WINDOW],
        ..QWEN2
    },
    Architecture {
        name: "ernie4_5",
        classes: &[class("Ernie4_5ForCausalLM", "ernie4_5")],
        fields: &[],
        keys: &[],
        ..LLAMA
    },
    Architecture {
        name: "arcee",
        classes: &[class("ArceeForCausalLM", "arcee")],
        activation: "relu2",
        layer_tensors: &[ATTENTION, PLAIN_MLP, BEFORE_ATTENTION, BEFORE_MLP],
        fields: &[&[("attention_bias", Has(Q_BIAS)), ("mlp_bias", Has("mlp.up_proj.bias"))]],
        keys: &[],
        ..LLAMA
    },
    // The epsilon stands there under both names.
    Architecture {
        name: "nemotron",
        classes: &[Class { renamed: &[("rms_norm_eps", "norm_eps")], ..class("NemotronForCausalLM", "nemotron") }],
        activation: "relu2",
        epsilon: LAYER_NORM,
        tensors: &[OUTER, FINAL_NORM_BIAS],
        fields: &[&[("attention_bias", Has(Q_BIAS)), ("mlp_bias", Has("mlp.up_proj.bias"))]],
        layer_tensors: &[ATTENTION, PLAIN_MLP, BEFORE_ATTENTION, BEFORE_MLP],
        partial_rotation: true,
        harmless_keys: &["attention.layer_norm_rms_epsilon"],
        ..QWEN2
    },
    Architecture {
        name: "jais2",
        classes: &[Class { renamed: LAYER_NORM_EPS, ..class("Jais2ForCausalLM", "jais2") }],
        activation: "relu2",
        epsilon: LAYER_NORM,
        tensors: &[OUTER, FINAL_NORM_BIAS],
        fields: &[&[("attention_bias", Has(Q_BIAS)), ("mlp_bias", Has("mlp.up_proj.bias"))]],
        layer_tensors: &[ATTENTION, PLAIN_MLP, BEFORE_ATTENTION, BEFORE_MLP],
        ..QWEN2
    },
    // Its norms have no weights, and one epsilon in all models.
    Architecture {
        name: "olmo",
        classes: &[class("OlmoForCausalLM", "olmo")],
        epsilon: LAYER_NORM,
        fields: &[&[
            ("attention_bias", Has(Q_BIAS)),
            ("clip_qkv", Optional("attention.clamp_kqv")),
            // As an f32 it is not quite what the reference has.
            ("rms_norm_eps", Is("1e-5")),
        ]],
        layer_tensors: &[ATTENTION, PLAIN_MLP, GATE],
        keys: &[],
        ..LLAMA
    },
    Architecture {
        name: "granite_swa",
        classes: &[
            Class { when: When::Experts, ..class("GraniteMoeSWAForCausalLM", "granitemoe_swa") },
            class("GraniteSWAForCausalLM", "granite_swa"),
        ],
        fields: &[
            GRANITE_FIELDS,
            &[
                ("layer_types", WindowPattern),
                ("layer_rope_theta", WindowThetas),
                ("sliding_window", Needed(WINDOW)),
                ("shared_intermediate_size", Optional("expert_shared_feed_forward_length")),
                ("num_local_experts", Optional("expert_count")),
                ("num_experts_per_tok", Optional("expert_used_count")),
            ],
        ],
        layer_tensors: &[
            ATTENTION,
            PLAIN_MLP,
            GATE,
            EXPERTS,
            // Gate and up in one.
            &[
                (
                    "ffn_up_shexp",
                    &[("mlp.shared_experts.gate_proj", Part::First), ("mlp.shared_experts.up_proj", Part::Second)],
                ),
                ("ffn_down_shexp", &[("mlp.shared_experts.down_proj", Part::All)]),
            ],
            SINK,
            BEFORE_ATTENTION,
            BEFORE_MLP,
        ],
        keys: &[WINDOW],
        ..LLAMA
    },
];
