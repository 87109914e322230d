//! Mixtures of experts and other architectures of 2025 and 2026 whose layers are not alike.

use super::architecture::Field::{
    self, AnyHas, CountOr, DoubleWide, FirstAlone, FullHeadDim, Has, Is, KeyHeads, LayersWithout, Needed, Numbers,
    Optional, Or, QueryGrowth, RowsOf, RowsOfOuter, ThetasByKind, TruthOr, WindowPattern,
};
use super::architecture::{Architecture, Class, Part, Rule, WINDOW_THETA, When};
use super::architectures::{
    AFTER_BLOCKS, ATTENTION, BEFORE_ATTENTION, BEFORE_MLP, BEFORE_MLP_OF_GEMMA, EXPERTS, GATE, GEMMA_NAMES, GEMMA2,
    GRANITE_FIELDS, HEAD_NORMS, LAYER_NORM, LLAMA, OUTER, PLAIN_MLP, Q_BIAS, QWEN2, WINDOW, class,
};
use super::delta::INNER_SIZE;
use super::mixtures::{
    CHOICE_BIAS, DEEPSEEK_EXPERTS, DEEPSEEK2, DELTA_RULE, EXPERT_GATE, EXPERT_WIDTHS, GATED_ATTENTION, HYBRID_KEYS,
    LATENT, LINEAR, ROUTER, SHARED_EXPERT, SHARED_EXPERTS, SHARED_MIXTURE,
};
use super::recent::BEFORE_MLP_BY_ANOTHER_NAME;

/// What a router's scores are made by; all of these families have one way.
const GATING: &str = "expert_gating_func";

/// As [`SHARED_MIXTURE`], with norms of its heads.
const NORMED_MIXTURE: &[&[Rule]] =
    &[ATTENTION, HEAD_NORMS, PLAIN_MLP, GATE, EXPERTS, SHARED_EXPERTS, CHOICE_BIAS, BEFORE_ATTENTION, BEFORE_MLP];

/// Sizes of experts as Qwen names them, besides how many all tokens use.
const QWEN_EXPERTS: &[(&str, Field)] = &[
    ("num_experts", Needed("expert_count")),
    ("num_experts_per_tok", Needed("expert_used_count")),
    ("moe_intermediate_size", RowsOf(EXPERT_GATE)),
];
/// The softmax is over the chosen ones in all published models.
const COHERE_KEYS: &[&str] =
    &["expert_feed_forward_length", "expert_shared_feed_forward_length", "expert_weights_norm"];

/// Parts of the keys that only choose positions, which are all of them up to so many.
const INDEXER: &[&str] = &["indexer."];
const INDEXER_KEYS: &[&str] = &[
    "attention.indexer.head_count",
    "attention.indexer.key_length",
    "attention.indexer.types",
    "expert_shared_feed_forward_length",
];

/// Embeddings that layers have of their own.
const PER_LAYER: &[(&str, &str)] = &[
    ("per_layer_token_embd.weight", crate::plan::PER_LAYER_EMBEDDINGS),
    ("per_layer_model_proj.weight", "model.layers.0.per_layer_model_projection.weight"),
    ("per_layer_proj_norm.weight", "model.layers.0.per_layer_projection_norm.weight"),
];
const OF_PER_LAYER: &[Rule] = &[
    ("inp_gate", &[("per_layer_input_gate", Part::All)]),
    ("proj", &[("per_layer_projection", Part::All)]),
    ("post_norm", &[("post_per_layer_input_norm", Part::All)]),
];
const GEMMA4_LAYER: &[Rule] = &[
    ("layer_output_scale.weight", &[("layer_scalar", Part::All)]),
    ("ffn_gate_inp", &[("router.proj", Part::All)]),
    ("ffn_gate_inp.scale", &[("router.scale", Part::All)]),
    ("ffn_down_exps.scale", &[("router.per_expert_scale", Part::All)]),
    ("post_ffw_norm_1", &[("post_feedforward_layernorm_1", Part::All)]),
    ("pre_ffw_norm_2", &[("pre_feedforward_layernorm_2", Part::All)]),
    ("post_ffw_norm_2", &[("post_feedforward_layernorm_2", Part::All)]),
    ("ffn_gate_exps", &[("mlp.experts.*.gate_proj", Part::Expert)]),
    ("ffn_up_exps", &[("mlp.experts.*.up_proj", Part::Expert)]),
    ("ffn_down_exps", &[("mlp.experts.*.down_proj", Part::Expert)]),
    (
        "ffn_gate_up_exps",
        &[("mlp.experts.*.gate_proj", Part::ExpertFirst), ("mlp.experts.*.up_proj", Part::ExpertSecond)],
    ),
];
const STREAM_LAYER: &[Rule] = &[
    ("altup_correct_scale.weight", &[("altup.correct_output_scale", Part::All)]),
    ("altup_correct_coef", &[("altup.correction_coefs", Part::All)]),
    ("altup_predict_coef", &[("altup.prediction_coefs", Part::All)]),
    ("altup_router", &[("altup.modality_router", Part::All), ("altup.modality_router_again", Part::All)]),
    ("altup_router_norm", &[("altup.router_norm", Part::All)]),
    ("laurel_l", &[("laurel.linear_left", Part::All)]),
    ("laurel_r", &[("laurel.linear_right", Part::All)]),
    ("laurel_post_norm", &[("laurel.post_laurel_norm", Part::All)]),
];
/// Fields of both Gemmas with embeddings for each layer.
const GEMMA_OF_LAYERS: &[(&str, Field)] = &[
    ("final_logit_softcapping", Optional("final_logit_softcapping")),
    ("hidden_size_per_layer_input", CountOr("embedding_length_per_layer_input", 0)),
    ("layer_types", WindowPattern),
    ("num_kv_shared_layers", CountOr("attention.shared_kv_layers", 0)),
    ("sliding_window", Needed(WINDOW)),
    ("vocab_size_per_layer_input", RowsOfOuter(crate::plan::PER_LAYER_EMBEDDINGS)),
];

/// The table.
pub(super) const LATE: &[Architecture] = &[
    Architecture {
        name: "gemma4",
        classes: &[Class { renamed: GEMMA_NAMES, ..class("Gemma4ForCausalLM", "gemma4_text") }],
        fields: &[
            GEMMA_OF_LAYERS,
            &[
                ("num_key_value_heads", KeyHeads { windowed: true }),
                ("num_global_key_value_heads", KeyHeads { windowed: false }),
                ("global_head_dim", FullHeadDim),
                ("attention_k_eq_v", FirstAlone("self_attn.k_proj.weight", "self_attn.v_proj.weight")),
                ("use_double_wide_mlp", DoubleWide),
                ("rope_parameters", ThetasByKind),
                ("enable_moe_block", AnyHas("router.proj.weight")),
                ("num_experts", Optional("expert_count")),
                ("top_k_experts", Optional("expert_used_count")),
                ("moe_intermediate_size", Optional("expert_feed_forward_length")),
            ],
        ],
        tensors: &[OUTER, PER_LAYER],
        layer_tensors: &[
            ATTENTION,
            HEAD_NORMS,
            PLAIN_MLP,
            GATE,
            BEFORE_ATTENTION,
            BEFORE_MLP_OF_GEMMA,
            AFTER_BLOCKS,
            OF_PER_LAYER,
            GEMMA4_LAYER,
        ],
        full_heads: true,
        keys: &["attention.key_length_swa", "attention.value_length_swa", "rope.dimension_count_swa"],
        ..GEMMA2
    },
    Architecture {
        name: "gemma3n",
        classes: &[Class { renamed: GEMMA_NAMES, ..class("Gemma3nForCausalLM", "gemma3n_text") }],
        fields: &[
            GEMMA_OF_LAYERS,
            &[
                ("activation_sparsity_scale", Numbers("activation_sparsity_scale")),
                ("altup_active_idx", CountOr("altup.active_idx", 0)),
                ("altup_correct_scale", AnyHas("altup.correct_output_scale")),
                ("altup_num_inputs", Needed("altup.num_inputs")),
                ("laurel_rank", RowsOf("laurel.linear_left.weight")),
                ("rope_local_base_freq", Or(WINDOW_THETA, 10_000.0)),
            ],
        ],
        tensors: &[OUTER, PER_LAYER],
        slabs: &[
            ("altup_proj.weight", "model.layers.0.altup_projections.*.weight"),
            ("altup_unembd_proj.weight", "model.layers.last.altup_unembed_projections.*.weight"),
        ],
        layer_tensors: &[
            ATTENTION,
            HEAD_NORMS,
            PLAIN_MLP,
            GATE,
            BEFORE_ATTENTION,
            BEFORE_MLP_OF_GEMMA,
            AFTER_BLOCKS,
            OF_PER_LAYER,
            STREAM_LAYER,
        ],
        ..GEMMA2
    },
    Architecture {
        name: "qwen35moe",
        classes: &[class("Qwen3_5MoeForCausalLM", "qwen3_5_moe_text")],
        fields: &[
            QWEN_EXPERTS,
            LINEAR,
            &[
                ("linear_value_heads_tiled", Is("true")),
                ("shared_expert_intermediate_size", RowsOf("mlp.shared_expert.gate_proj.weight")),
            ],
        ],
        layer_tensors: &[GATED_ATTENTION, HEAD_NORMS, DELTA_RULE, EXPERTS, SHARED_EXPERT, BEFORE_ATTENTION],
        partial_rotation: true,
        delta_rule: true,
        tiled_values: true,
        keys: &[INNER_SIZE],
        harmless_keys: HYBRID_KEYS,
        ..QWEN2
    },
    Architecture {
        name: "qwen3vlmoe",
        classes: &[class("Qwen3MoeForCausalLM", "qwen3_moe")],
        fields: &[
            QWEN_EXPERTS,
            &[
                ("attention_bias", Has(Q_BIAS)),
                ("norm_topk_prob", TruthOr("expert_weights_norm", true)),
                ("mlp_only_layers", LayersWithout(ROUTER)),
            ],
        ],
        layer_tensors: &[ATTENTION, HEAD_NORMS, PLAIN_MLP, GATE, EXPERTS, BEFORE_ATTENTION, BEFORE_MLP],
        harmless_keys: &["expert_feed_forward_length", "expert_shared_feed_forward_length", "n_deepstack_layers"],
        ..QWEN2
    },
    // GLM-4.5 to 4.7, GLM-4.5V, Solar Open.
    Architecture {
        name: "glm4moe",
        classes: &[class("Glm4MoeForCausalLM", "glm4_moe")],
        fields: &[
            DEEPSEEK_EXPERTS,
            &[("attention_bias", Has(Q_BIAS)), ("use_qk_norm", Has("self_attn.q_norm.weight"))],
        ],
        layer_tensors: &[
            ATTENTION,
            HEAD_NORMS,
            PLAIN_MLP,
            GATE,
            EXPERTS,
            SHARED_EXPERTS,
            CHOICE_BIAS,
            BEFORE_ATTENTION,
            BEFORE_MLP_BY_ANOTHER_NAME,
        ],
        partial_rotation: true,
        keys: &[GATING],
        harmless_keys: EXPERT_WIDTHS,
        ..QWEN2
    },
    Architecture {
        name: "dots1",
        classes: &[class("Dots1ForCausalLM", "dots1")],
        fields: &[DEEPSEEK_EXPERTS],
        layer_tensors: NORMED_MIXTURE,
        keys: &[GATING],
        ..QWEN2
    },
    Architecture {
        name: "minimax-m2",
        classes: &[class("MiniMaxM2ForCausalLM", "minimax_m2")],
        fields: &[&[
            ("num_local_experts", Needed("expert_count")),
            ("num_experts_per_tok", Needed("expert_used_count")),
            ("intermediate_size", RowsOf(EXPERT_GATE)),
        ]],
        layer_tensors: &[ATTENTION, HEAD_NORMS, EXPERTS, SHARED_EXPERTS, CHOICE_BIAS, BEFORE_ATTENTION, BEFORE_MLP],
        partial_rotation: true,
        keys: &[GATING],
        harmless_keys: EXPERT_WIDTHS,
        ..QWEN2
    },
    Architecture {
        name: "hy_v3",
        classes: &[class("HYV3ForCausalLM", "hy_v3")],
        fields: &[
            QWEN_EXPERTS,
            &[
                ("first_k_dense_replace", CountOr("leading_dense_block_count", 1)),
                ("router_scaling_factor", Or("expert_weights_scale", 1.0)),
            ],
        ],
        layer_tensors: &[
            ATTENTION,
            HEAD_NORMS,
            PLAIN_MLP,
            GATE,
            EXPERTS,
            SHARED_EXPERTS,
            // Here it is no bias by name.
            &[("exp_probs_b", &[("mlp.gate.bias", Part::Whole)])],
            BEFORE_ATTENTION,
            BEFORE_MLP,
        ],
        keys: &[GATING],
        harmless_keys: &["expert_feed_forward_length", "expert_shared_feed_forward_length", "expert_weights_norm"],
        ..QWEN2
    },
    Architecture {
        name: "exaone-moe",
        classes: &[class("ExaoneMoeForCausalLM", "exaone_moe")],
        fields: &[
            QWEN_EXPERTS,
            &[
                ("layer_types", WindowPattern),
                ("first_k_dense_replace", Or("leading_dense_block_count", 0.0)),
                ("num_shared_experts", CountOr("expert_shared_count", 1)),
                ("norm_topk_prob", TruthOr("expert_weights_norm", true)),
                ("routed_scaling_factor", Or("expert_weights_scale", 1.0)),
                ("n_group", CountOr("expert_group_count", 1)),
                ("topk_group", CountOr("expert_group_used_count", 1)),
            ],
        ],
        layer_tensors: NORMED_MIXTURE,
        keys: &[WINDOW, GATING],
        harmless_keys: EXPERT_WIDTHS,
        ..QWEN2
    },
    Architecture {
        name: "ernie4_5-moe",
        classes: &[class("Ernie4_5_MoeForCausalLM", "ernie4_5_moe")],
        fields: &[&[
            ("moe_num_experts", Needed("expert_count")),
            ("moe_k", Needed("expert_used_count")),
            ("moe_intermediate_size", RowsOf(EXPERT_GATE)),
            ("moe_num_shared_experts", Optional("expert_shared_count")),
            ("moe_layer_interval", CountOr("interleave_moe_layer_step", 1)),
            ("moe_layer_start_index", CountOr("leading_dense_block_count", 0)),
        ]],
        layer_tensors: SHARED_MIXTURE,
        keys: &[],
        harmless_keys: EXPERT_WIDTHS,
        ..LLAMA
    },
    Architecture {
        name: "afmoe",
        classes: &[class("AfmoeForCausalLM", "afmoe")],
        fields: &[
            QWEN_EXPERTS,
            &[
                ("layer_types", WindowPattern),
                ("num_dense_layers", CountOr("leading_dense_block_count", 0)),
                ("num_shared_experts", Optional("expert_shared_count")),
                ("route_scale", Or("expert_weights_scale", 1.0)),
                // In all published models embeddings grow, and llama.cpp lets them.
                ("mup_enabled", Is("true")),
                ("sliding_window", Needed(WINDOW)),
            ],
        ],
        layer_tensors: &[
            ATTENTION,
            HEAD_NORMS,
            PLAIN_MLP,
            GATE,
            EXPERTS,
            SHARED_EXPERTS,
            CHOICE_BIAS,
            BEFORE_ATTENTION,
            &[
                ("attn_gate", &[("self_attn.gate_proj", Part::All)]),
                ("post_attention_norm", &[("post_attention_layernorm", Part::All)]),
                ("ffn_norm", &[("pre_mlp_layernorm", Part::All)]),
                ("post_ffw_norm", &[("post_mlp_layernorm", Part::All)]),
            ],
        ],
        keys: &[WINDOW, GATING],
        harmless_keys: &[
            "expert_feed_forward_length",
            "expert_group_count",
            "expert_group_used_count",
            "expert_weights_norm",
        ],
        ..QWEN2
    },
    Architecture {
        name: "olmoe",
        classes: &[class("OlmoeForCausalLM", "olmoe")],
        fields: &[&[
            ("num_experts", Needed("expert_count")),
            ("num_experts_per_tok", Needed("expert_used_count")),
            ("attention_bias", Has(Q_BIAS)),
        ]],
        layer_tensors: &[ATTENTION, HEAD_NORMS, EXPERTS, BEFORE_ATTENTION, BEFORE_MLP],
        ..QWEN2
    },
    Architecture {
        name: "granitemoe",
        classes: &[
            Class {
                when: When::Has("expert_shared_feed_forward_length"),
                ..class("GraniteMoeSharedForCausalLM", "granitemoeshared")
            },
            class("GraniteMoeForCausalLM", "granitemoe"),
        ],
        fields: &[
            GRANITE_FIELDS,
            &[
                ("num_local_experts", Needed("expert_count")),
                ("num_experts_per_tok", Needed("expert_used_count")),
                ("shared_intermediate_size", Optional("expert_shared_feed_forward_length")),
            ],
        ],
        layer_tensors: &[ATTENTION, EXPERTS, SHARED_EXPERTS, CHOICE_BIAS, BEFORE_ATTENTION, BEFORE_MLP],
        keys: &[],
        ..LLAMA
    },
    Architecture {
        name: "cohere2moe",
        classes: &[Class {
            renamed: &[
                ("intermediate_size", "prefix_dense_intermediate_size"),
                ("expert_width", "intermediate_size"),
                ("rms_norm_eps", "layer_norm_eps"),
            ],
            ..class("Cohere2MoeForCausalLM", "cohere2_moe")
        }],
        epsilon: LAYER_NORM,
        fields: &[&[
            ("num_experts", Needed("expert_count")),
            ("num_experts_per_tok", Needed("expert_used_count")),
            ("expert_width", RowsOf(EXPERT_GATE)),
            ("num_shared_experts", Optional("expert_shared_count")),
            ("first_k_dense_replace", Or("leading_dense_block_count", 0.0)),
            ("layer_types", WindowPattern),
            ("logit_scale", Needed("logit_scale")),
            ("sliding_window", Needed(WINDOW)),
        ]],
        layer_tensors: &[ATTENTION, PLAIN_MLP, GATE, EXPERTS, SHARED_EXPERTS, CHOICE_BIAS, BEFORE_ATTENTION],
        keys: &[WINDOW, GATING],
        harmless_keys: COHERE_KEYS,
        ..LLAMA
    },
    // Queries grow with the position, as in all published models; no key says so.
    Architecture {
        name: "mistral4",
        classes: &[class("Mistral4ForCausalLM", "mistral4")],
        fields: &[LATENT, DEEPSEEK_EXPERTS, &[("llama_4_scaling_beta", QueryGrowth { unsaid: Some(0.1) })]],
        ..DEEPSEEK2
    },
    Architecture {
        name: "glm-dsa",
        classes: &[class("GlmMoeDsaForCausalLM", "glm_moe_dsa")],
        fields: &[LATENT, DEEPSEEK_EXPERTS, &[("index_topk", Needed("attention.indexer.top_k"))]],
        unused: INDEXER,
        harmless_keys: INDEXER_KEYS,
        ..DEEPSEEK2
    },
    Architecture {
        name: "deepseek32",
        classes: &[class("DeepseekV32ForCausalLM", "deepseek_v32")],
        fields: &[LATENT, DEEPSEEK_EXPERTS, &[("index_topk", Needed("attention.indexer.top_k"))]],
        unused: INDEXER,
        harmless_keys: INDEXER_KEYS,
        ..DEEPSEEK2
    },
];
