//! The table of GGUF architectures: each row is data. Mixtures of experts have a table of their own.

use super::architecture::Field::{Given, Has, Lacks, Needed, Optional, Or, QueryScalar, WindowPattern};
use super::architecture::{Architecture, Class, Field, Part, Rule, WINDOW_THETA, When};

pub(super) const OUTER: &[(&str, &str)] = &[
    ("token_embd.weight", crate::plan::EMBEDDINGS),
    ("output_norm.weight", crate::plan::FINAL_NORM),
    ("output.weight", crate::plan::HEAD),
];
pub(super) const FINAL_NORM_BIAS: &[(&str, &str)] = &[("output_norm.bias", crate::plan::FINAL_NORM_BIAS)];
const HEAD_BIAS: &[(&str, &str)] = &[("output.bias", crate::plan::HEAD_BIAS)];

pub(super) const ATTENTION: &[Rule] = &[
    ("attn_q", &[("self_attn.q_proj", Part::All)]),
    ("attn_k", &[("self_attn.k_proj", Part::All)]),
    ("attn_v", &[("self_attn.v_proj", Part::All)]),
    ("attn_output", &[("self_attn.o_proj", Part::All)]),
    (
        "attn_qkv",
        &[("self_attn.q_proj", Part::Query), ("self_attn.k_proj", Part::Key), ("self_attn.v_proj", Part::Value)],
    ),
];
pub(super) const HEAD_NORMS: &[Rule] =
    &[("attn_q_norm", &[("self_attn.q_norm", Part::All)]), ("attn_k_norm", &[("self_attn.k_norm", Part::All)])];
pub(super) const PLAIN_MLP: &[Rule] =
    &[("ffn_up", &[("mlp.up_proj", Part::All)]), ("ffn_down", &[("mlp.down_proj", Part::All)])];
pub(super) const GATE: &[Rule] = &[("ffn_gate", &[("mlp.gate_proj", Part::All)])];
pub(super) const EXPERTS: &[Rule] = &[
    ("ffn_gate_inp", &[("mlp.gate", Part::All)]),
    ("ffn_gate_exps", &[("mlp.experts.*.gate_proj", Part::Expert)]),
    ("ffn_up_exps", &[("mlp.experts.*.up_proj", Part::Expert)]),
    ("ffn_down_exps", &[("mlp.experts.*.down_proj", Part::Expert)]),
    (
        "ffn_gate_up_exps",
        &[("mlp.experts.*.gate_proj", Part::ExpertFirst), ("mlp.experts.*.up_proj", Part::ExpertSecond)],
    ),
];
const FUSED_GATE: &[Rule] = &[
    ("ffn_up", &[("mlp.gate_proj", Part::First), ("mlp.up_proj", Part::Second)]),
    ("ffn_down", &[("mlp.down_proj", Part::All)]),
];
pub(super) const BEFORE_ATTENTION: &[Rule] = &[("attn_norm", &[("input_layernorm", Part::All)])];
pub(super) const BEFORE_MLP: &[Rule] = &[("ffn_norm", &[("post_attention_layernorm", Part::All)])];
pub(super) const AFTER_BLOCKS: &[Rule] = &[
    ("post_attention_norm", &[("post_attention_layernorm", Part::All)]),
    ("post_ffw_norm", &[("post_feedforward_layernorm", Part::All)]),
];
pub(super) const BEFORE_MLP_OF_GEMMA: &[Rule] = &[("ffn_norm", &[("pre_feedforward_layernorm", Part::All)])];
const AFTER_BLOCKS_OF_GLM: &[Rule] = &[
    ("post_attention_norm", &[("post_self_attn_layernorm", Part::All)]),
    ("post_ffw_norm", &[("post_mlp_layernorm", Part::All)]),
];

const RMS: &str = "attention.layer_norm_rms_epsilon";
pub(super) const LAYER_NORM: &str = "attention.layer_norm_epsilon";
pub(super) const WINDOW: &str = "attention.sliding_window";
pub(super) const LAYER_NORM_EPS: &[(&str, &str)] = &[("rms_norm_eps", "layer_norm_eps")];
pub(super) const ALIBI: &str = "attention.max_alibi_bias";
pub(super) const GEMMA_NAMES: &[(&str, &str)] = &[("hidden_act", "hidden_activation")];
pub(super) const Q_BIAS: &str = "self_attn.q_proj.bias";

pub(super) const fn class(class: &'static str, model_type: &'static str) -> Class {
    Class { when: When::Always, class, model_type, renamed: &[] }
}

pub(super) const LLAMA: Architecture = Architecture {
    name: "llama",
    classes: &[
        Class { when: When::Experts, ..class("MixtralForCausalLM", "mixtral") },
        Class { when: When::Windowed, ..class("MistralForCausalLM", "mistral") },
        class("LlamaForCausalLM", "llama"),
    ],
    activation: "silu",
    epsilon: RMS,
    fields: &[&[
        ("attention_bias", Has(Q_BIAS)),
        ("mlp_bias", Has("mlp.gate_proj.bias")),
        ("num_local_experts", Optional("expert_count")),
        ("num_experts_per_tok", Optional("expert_used_count")),
    ]],
    tensors: &[OUTER],
    layer_tensors: &[ATTENTION, PLAIN_MLP, GATE, EXPERTS, BEFORE_ATTENTION, BEFORE_MLP],
    slabs: &[],
    unused: &[],
    interleaved: true,
    full_heads: false,
    partial_rotation: false,
    whole_ramp: true,
    latent: false,
    delta_rule: false,
    tiled_values: false,
    keys: &[WINDOW],
    harmless_keys: &[],
};

pub(super) const QWEN2: Architecture = Architecture {
    name: "qwen2",
    classes: &[class("Qwen2ForCausalLM", "qwen2")],
    fields: &[],
    layer_tensors: &[ATTENTION, PLAIN_MLP, GATE, BEFORE_ATTENTION, BEFORE_MLP],
    interleaved: false,
    keys: &[],
    ..LLAMA
};

const GEMMA: Architecture = Architecture {
    name: "gemma",
    classes: &[Class { renamed: GEMMA_NAMES, ..class("GemmaForCausalLM", "gemma") }],
    activation: "gelu_pytorch_tanh",
    ..QWEN2
};

pub(super) const GEMMA2: Architecture = Architecture {
    name: "gemma2",
    classes: &[Class { renamed: GEMMA_NAMES, ..class("Gemma2ForCausalLM", "gemma2") }],
    fields: &[&[
        ("sliding_window", Needed(WINDOW)),
        ("query_pre_attn_scalar", QueryScalar { wide_layers: 46 }),
        ("attn_logit_softcapping", Or("attn_logit_softcapping", 50.0)),
        ("final_logit_softcapping", Or("final_logit_softcapping", 30.0)),
    ]],
    layer_tensors: &[ATTENTION, PLAIN_MLP, GATE, BEFORE_ATTENTION, BEFORE_MLP_OF_GEMMA, AFTER_BLOCKS],
    ..GEMMA
};

const PHI3: Architecture = Architecture {
    name: "phi3",
    classes: &[class("Phi3ForCausalLM", "phi3")],
    fields: &[&[("original_max_position_embeddings", Optional("rope.scaling.original_context_length"))]],
    layer_tensors: &[ATTENTION, FUSED_GATE, BEFORE_ATTENTION, BEFORE_MLP],
    partial_rotation: true,
    keys: &[WINDOW],
    ..QWEN2
};

const STABLELM: Architecture = Architecture {
    name: "stablelm",
    classes: &[Class { renamed: LAYER_NORM_EPS, ..class("StableLmForCausalLM", "stablelm") }],
    epsilon: LAYER_NORM,
    fields: &[&[
        ("use_qkv_bias", Has(Q_BIAS)),
        // The key says true in files of models that are not: the norm's absence is what counts.
        ("use_parallel_residual", Lacks("post_attention_layernorm.weight")),
    ]],
    tensors: &[OUTER, FINAL_NORM_BIAS],
    partial_rotation: true,
    harmless_keys: &["use_parallel_residual"],
    ..QWEN2
};

const COMMAND_R: Architecture = Architecture {
    name: "command-r",
    classes: &[Class { renamed: LAYER_NORM_EPS, ..class("CohereForCausalLM", "cohere") }],
    epsilon: LAYER_NORM,
    fields: &[&[
        ("attention_bias", Has(Q_BIAS)),
        ("logit_scale", Needed("logit_scale")),
        ("use_qk_norm", Has("self_attn.q_norm.weight")),
    ]],
    layer_tensors: &[ATTENTION, HEAD_NORMS, PLAIN_MLP, GATE, BEFORE_ATTENTION],
    keys: &[],
    ..LLAMA
};

const CHATGLM: Architecture = Architecture {
    name: "chatglm",
    classes: &[class("GlmForCausalLM", "glm")],
    fields: &[&[("attention_bias", Has(Q_BIAS))]],
    layer_tensors: &[ATTENTION, FUSED_GATE, BEFORE_ATTENTION, BEFORE_MLP],
    partial_rotation: true,
    keys: &[],
    ..LLAMA
};

pub(super) const GRANITE_FIELDS: &[(&str, Field)] = &[
    ("attention_bias", Has(Q_BIAS)),
    ("mlp_bias", Given("mlp.gate_proj.bias")),
    ("attention_multiplier", Needed("attention.scale")),
    ("residual_multiplier", Or("residual_scale", 1.0)),
    ("embedding_multiplier", Or("embedding_scale", 1.0)),
    ("logits_scaling", Or("logit_scale", 1.0)),
];

/// The table.
pub(super) const ARCHITECTURES: &[Architecture] = &[
    LLAMA,
    // A fused matrix, and a feed-forward length that counts both sides of the gate.
    Architecture {
        name: "qwen",
        classes: &[Class {
            renamed: &[
                ("rms_norm_eps", "layer_norm_epsilon"),
                ("max_position_embeddings", "seq_length"),
                ("rope_theta", "rotary_emb_base"),
                ("head_dim", "kv_channels"),
            ],
            ..class("QWenLMHeadModel", "qwen")
        }],
        layer_tensors: &[ATTENTION, PLAIN_MLP, GATE, BEFORE_ATTENTION, BEFORE_MLP],
        ..QWEN2
    },
    QWEN2,
    Architecture {
        name: "qwen3",
        classes: &[class("Qwen3ForCausalLM", "qwen3")],
        fields: &[&[("attention_bias", Has(Q_BIAS))]],
        layer_tensors: &[ATTENTION, HEAD_NORMS, PLAIN_MLP, GATE, BEFORE_ATTENTION, BEFORE_MLP],
        ..QWEN2
    },
    GEMMA,
    GEMMA2,
    Architecture {
        name: "gemma3",
        classes: &[Class { renamed: GEMMA_NAMES, ..class("Gemma3ForCausalLM", "gemma3_text") }],
        fields: &[&[
            ("layer_types", WindowPattern),
            ("query_pre_attn_scalar", QueryScalar { wide_layers: 62 }),
            ("rope_local_base_freq", Or("rope.freq_base_swa", 10_000.0)),
            ("attn_logit_softcapping", Optional("attn_logit_softcapping")),
            ("final_logit_softcapping", Optional("final_logit_softcapping")),
        ]],
        layer_tensors: &[ATTENTION, HEAD_NORMS, PLAIN_MLP, GATE, BEFORE_ATTENTION, BEFORE_MLP_OF_GEMMA, AFTER_BLOCKS],
        keys: &[WINDOW],
        ..GEMMA2
    },
    Architecture {
        name: "phi2",
        classes: &[Class { renamed: LAYER_NORM_EPS, ..class("PhiForCausalLM", "phi") }],
        activation: "gelu_new",
        epsilon: LAYER_NORM,
        fields: &[],
        tensors: &[OUTER, FINAL_NORM_BIAS, HEAD_BIAS],
        layer_tensors: &[ATTENTION, PLAIN_MLP, BEFORE_ATTENTION],
        keys: &[],
        ..PHI3
    },
    PHI3,
    Architecture {
        name: "olmo2",
        classes: &[
            Class { when: When::Windowed, ..class("Olmo3ForCausalLM", "olmo3") },
            class("Olmo2ForCausalLM", "olmo2"),
        ],
        fields: &[&[("attention_bias", Has(Q_BIAS)), ("layer_types", WindowPattern)]],
        layer_tensors: &[ATTENTION, HEAD_NORMS, PLAIN_MLP, GATE, AFTER_BLOCKS],
        keys: &[WINDOW],
        // Olmo 3 has one base for all layers.
        harmless_keys: &[WINDOW_THETA],
        ..QWEN2
    },
    Architecture {
        name: "granite",
        classes: &[class("GraniteForCausalLM", "granite")],
        fields: &[GRANITE_FIELDS],
        keys: &[],
        // Granite 4 without Mamba layers says all the same how large they would be.
        harmless_keys: &[
            "expert_shared_feed_forward_length",
            "ssm.conv_kernel",
            "ssm.group_count",
            "ssm.inner_size",
            "ssm.state_size",
            "ssm.time_step_rank",
        ],
        ..LLAMA
    },
    STABLELM,
    Architecture {
        name: "starcoder2",
        classes: &[Class {
            renamed: &[("rms_norm_eps", "norm_epsilon")],
            ..class("Starcoder2ForCausalLM", "starcoder2")
        }],
        activation: "gelu_pytorch_tanh",
        fields: &[&[("use_bias", Has(Q_BIAS))]],
        layer_tensors: &[ATTENTION, PLAIN_MLP, BEFORE_ATTENTION, BEFORE_MLP],
        partial_rotation: false,
        keys: &[WINDOW],
        harmless_keys: &[],
        ..STABLELM
    },
    COMMAND_R,
    Architecture {
        name: "cohere2",
        classes: &[Class { renamed: LAYER_NORM_EPS, ..class("Cohere2ForCausalLM", "cohere2") }],
        fields: &[&[
            ("attention_bias", Has(Q_BIAS)),
            ("logit_scale", Needed("logit_scale")),
            ("sliding_window", Needed(WINDOW)),
        ]],
        layer_tensors: &[ATTENTION, PLAIN_MLP, GATE, BEFORE_ATTENTION],
        ..COMMAND_R
    },
    Architecture { name: "smollm3", classes: &[class("SmolLM3ForCausalLM", "smollm3")], keys: &[], ..LLAMA },
    CHATGLM,
    Architecture {
        name: "glm4",
        classes: &[class("Glm4ForCausalLM", "glm4")],
        layer_tensors: &[ATTENTION, FUSED_GATE, BEFORE_ATTENTION, BEFORE_MLP, AFTER_BLOCKS_OF_GLM],
        ..CHATGLM
    },
    Architecture {
        name: "internlm2",
        classes: &[class("InternLM2ForCausalLM", "internlm2")],
        fields: &[],
        keys: &[],
        ..LLAMA
    },
    Architecture {
        name: "baichuan",
        classes: &[
            Class {
                when: When::Alibi { layers: 40 },
                renamed: &[("max_position_embeddings", "model_max_length")],
                ..class("BaiChuanForCausalLM", "baichuan")
            },
            class("BaiChuanForCausalLM", "baichuan"),
        ],
        fields: &[],
        keys: &[ALIBI],
        ..LLAMA
    },
];
