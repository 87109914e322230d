"""The families of `make_families.py`: the config each publishes, with smaller sizes.

A case holds

    config       config.json as the family's checkpoints have it
    expect       what the reference has to read out of it, where the spelling is old or a default matters
    has          tensors that have to be there, under the published name
    unit_offset  whether the norms multiply by 1 + weight
    spread       standard deviation of the tensors whose names end so, where the usual one would hide something
"""

from published import QWEN2, QWEN3, GEMMA, GEMMA2, GEMMA3, PHI, PHI3, LONGROPE, OLMO2


def more(case, expect=None, has=None, without=(), **differs):
    """`case` with some fields of its config changed or left out."""
    config = {name: value for name, value in {**case["config"], **differs}.items() if name not in without}
    result = {**case, "config": config, "expect": expect or {}}
    return result | ({"has": has} if has else {})


# ibm-granite/granite-3.1-2b-instruct: four multipliers; attention_multiplier is the whole scale of the scores, and
# logits_scaling divides.
GRANITE = {
    "config": {
        "architectures": ["GraniteForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.1,
        "attention_multiplier": 0.171875,
        "bos_token_id": 0,
        "embedding_multiplier": 2.5,
        "eos_token_id": 0,
        "hidden_act": "silu",
        "hidden_size": 72,
        "initializer_range": 0.02,
        "intermediate_size": 92,
        "logits_scaling": 1.6,
        "max_position_embeddings": 64,
        "mlp_bias": False,
        "model_type": "granite",
        "num_attention_heads": 6,
        "num_hidden_layers": 3,
        "num_key_value_heads": 2,
        "pad_token_id": 0,
        "residual_multiplier": 0.6,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "rope_theta": 5000000.0,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.47.0.dev0",
        "use_cache": True,
        "vocab_size": 197,
    },
    "expect": {"attention_multiplier": 0.171875, "logits_scaling": 1.6},
    "spread": {"embed_tokens.weight": 0.25},
}

# stabilityai/stablelm-2-1_6b: layer norms with bias, rope on a quarter of each head, biases of Q, K and V.
STABLELM = {
    "config": {
        "architectures": ["StableLmForCausalLM"],
        "bos_token_id": 0,
        "eos_token_id": 0,
        "hidden_act": "silu",
        "hidden_size": 64,
        "initializer_range": 0.02,
        "intermediate_size": 84,
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": 64,
        "model_type": "stablelm",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": 4,
        "partial_rotary_factor": 0.25,
        "rope_theta": 10000,
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "transformers_version": "4.38.0",
        "use_cache": True,
        "use_qkv_bias": True,
        "vocab_size": 207,
    },
    "expect": {"rope_parameters.partial_rotary_factor": 0.25},
    "has": ["model.layers.0.self_attn.q_proj.bias", "model.norm.bias"],
}

# bigcode/starcoder2-3b: layer norms, biases, an MLP without a gate, the embeddings as head though no field says so.
STARCODER2 = {
    "config": {
        "architectures": ["Starcoder2ForCausalLM"],
        "attention_dropout": 0.1,
        "attention_softmax_in_fp32": True,
        "bos_token_id": 0,
        "embedding_dropout": 0.1,
        "eos_token_id": 0,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": 72,
        "initializer_range": 0.018042,
        "intermediate_size": 124,
        "layer_norm_epsilon": 1e-05,
        "max_position_embeddings": 64,
        "mlp_type": "default",
        "model_type": "starcoder2",
        "norm_epsilon": 1e-05,
        "norm_type": "layer_norm",
        "num_attention_heads": 6,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "residual_dropout": 0.1,
        "rope_theta": 999999.4420358813,
        "scale_attention_softmax_in_fp32": True,
        "scale_attn_weights": True,
        "sliding_window": 7,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.37.0.dev0",
        "use_bias": True,
        "use_cache": True,
        "vocab_size": 205,
    },
    "expect": {"tie_word_embeddings": True, "sliding_window": 7},
    "has": ["model.layers.0.mlp.c_fc.bias"],
}

# CohereForAI/c4ai-command-r-v01: layer norms without bias, attention and MLP side by side, rope on neighbouring pairs,
# logits times logit_scale, the embeddings as head though no field says so.
COHERE = {
    "config": {
        "architectures": ["CohereForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 5,
        "eos_token_id": 6,
        "hidden_act": "silu",
        "hidden_size": 64,
        "initializer_range": 0.02,
        "intermediate_size": 100,
        "layer_norm_eps": 1e-05,
        "logit_scale": 0.125,
        "max_position_embeddings": 64,
        "model_max_length": 131072,
        "model_type": "cohere",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": 4,
        "pad_token_id": 0,
        "pretraining_tp": 1,
        "rope_theta": 8000000.0,
        "torch_dtype": "float16",
        "transformers_version": "4.38.2",
        "use_cache": True,
        "vocab_size": 201,
    },
    "expect": {"tie_word_embeddings": True, "logit_scale": 0.125},
    "spread": {"embed_tokens.weight": 0.8},
}

# CohereForAI/c4ai-command-r7b-12-2024: three layers with a window and rope, then one without either.
COHERE2 = {
    "config": {
        "architectures": ["Cohere2ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 5,
        "cache_implementation": "hybrid",
        "eos_token_id": 6,
        "head_dim": 16,
        "hidden_act": "silu",
        "hidden_size": 64,
        "initializer_range": 0.02,
        "intermediate_size": 60,
        "layer_norm_eps": 1e-05,
        "layer_switch": 4,
        "logit_scale": 0.25,
        "max_position_embeddings": 64,
        "model_type": "cohere2",
        "num_attention_heads": 4,
        "num_hidden_layers": 4,
        "num_key_value_heads": 2,
        "order_of_interleaved_layers": "local_attn_first",
        "pad_token_id": 0,
        "position_embedding_type": "rope_gptj",
        "rope_scaling": None,
        "rope_theta": 50000,
        "rotary_pct": 1.0,
        "sliding_window": 7,
        "sliding_window_pattern": 4,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.48.0.dev0",
        "use_cache": True,
        "use_embedding_sharing": True,
        "use_gated_activation": True,
        "use_parallel_block": True,
        "use_parallel_embedding": False,
        "use_qk_norm": False,
        "vocab_size": 203,
    },
    "expect": {"layer_types": 3 * ["sliding_attention"] + ["full_attention"], "tie_word_embeddings": True},
    "spread": {"embed_tokens.weight": 0.5},
}

# HuggingFaceTB/SmolLM3-3B: Llama with layers that have no rope.
SMOLLM3 = {
    "config": {
        "architectures": ["SmolLM3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": None,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": 64,
        "initializer_range": 0.02,
        "intermediate_size": 60,
        "layer_types": 4 * ["full_attention"],
        "max_position_embeddings": 64,
        "max_window_layers": 28,
        "mlp_bias": False,
        "model_type": "smollm3",
        "no_rope_layer_interval": 4,
        "no_rope_layers": [1, 1, 1, 0],
        "num_attention_heads": 4,
        "num_hidden_layers": 4,
        "num_key_value_heads": 2,
        "pad_token_id": 0,
        "pretraining_tp": 2,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 5000000.0,
        "sliding_window": None,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.54.0.dev0",
        "use_cache": False,
        "use_sliding_window": False,
        "vocab_size": 221,
    },
    "expect": {"no_rope_layers": [1, 1, 1, 0], "tie_word_embeddings": True},
}

# THUDM/glm-4-9b-chat-hf: rope on neighbouring pairs of the first half of each head, gate and up in one matrix.
GLM = {
    "config": {
        "architectures": ["GlmForCausalLM"],
        "attention_bias": True,
        "attention_dropout": 0.0,
        "eos_token_id": [2, 4, 6],
        "head_dim": 24,
        "hidden_act": "silu",
        "hidden_size": 64,
        "initializer_range": 0.02,
        "intermediate_size": 84,
        "max_position_embeddings": 64,
        "model_type": "glm",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": 1,
        "pad_token_id": 2,
        "partial_rotary_factor": 0.5,
        "rms_norm_eps": 1.5625e-07,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.46.0.dev0",
        "use_cache": True,
        "vocab_size": 194,
    },
    "expect": {"rope_parameters.partial_rotary_factor": 0.5},
    "has": ["model.layers.0.self_attn.q_proj.bias", "model.layers.0.mlp.gate_up_proj.weight"],
}

# 01-ai/Yi-1.5-6B: Llama under its own name, only with other numbers.
YI = {
    "config": {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": 64,
        "initializer_range": 0.02,
        "intermediate_size": 92,
        "max_position_embeddings": 64,
        "model_type": "llama",
        "num_attention_heads": 8,
        "num_hidden_layers": 2,
        "num_key_value_heads": 1,
        "pad_token_id": 0,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 5000000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.40.0",
        "use_cache": False,
        "vocab_size": 208,
    },
}

# internlm/internlm3-8b-instruct: Llama with NTK scaling that starts beyond max_position_embeddings.
INTERNLM3 = {
    "config": {
        "architectures": ["InternLM3ForCausalLM"],
        "attention_dropout": 0.0,
        "auto_map": {
            "AutoConfig": "configuration_internlm3.InternLM3Config",
            "AutoModelForCausalLM": "modeling_internlm3.InternLM3ForCausalLM",
        },
        "bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "head_dim": 24,
        "hidden_act": "silu",
        "hidden_size": 64,
        "initializer_range": 0.02,
        "intermediate_size": 84,
        "max_position_embeddings": 64,
        "model_type": "internlm3",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "pad_token_id": 2,
        "qkv_bias": False,
        "rms_norm_eps": 1e-05,
        "rope_scaling": {"factor": 6.0, "rope_type": "dynamic"},
        "rope_theta": 50000000,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.47.1",
        "use_cache": True,
        "vocab_size": 198,
    },
    "expect": {"rope_parameters.rope_type": "dynamic"},
}

FAMILIES = {
    "qwen2": QWEN2,
    # The layers from max_window_layers on have the window.
    "qwen2-window": more(
        QWEN2,
        {"sliding_window": 7, "layer_types": ["full_attention"] + 2 * ["sliding_attention"]},
        use_sliding_window=True,
        num_hidden_layers=3,
        hidden_size=72,
        tie_word_embeddings=False,
        intermediate_size=60,
    ),
    "qwen3": QWEN3,
    "qwen3-bias": more(QWEN3, attention_bias=True, tie_word_embeddings=False, num_key_value_heads=1,
                       has=["lm_head.weight", "model.layers.0.self_attn.o_proj.bias"]),
    "gemma": GEMMA,
    "gemma2": GEMMA2,
    "gemma3": GEMMA3,
    # Layers named one by one, as google/gemma-3-270m has them; the scaling of gemma-3-4b, for full layers only.
    "gemma3-layer-types": more(
        GEMMA3,
        {
            "rope_parameters.full_attention.rope_type": "linear",
            "rope_parameters.full_attention.factor": 8.0,
            "rope_parameters.sliding_attention.rope_type": "default",
            "rope_parameters.full_attention.rope_theta": 1000000.0,
            "rope_parameters.sliding_attention.rope_theta": 10000.0,
        },
        without=["sliding_window_pattern"],
        _sliding_window_pattern=6,
        layer_types=["full_attention", "sliding_attention", "full_attention"],
        num_hidden_layers=3,
        num_key_value_heads=2,
        rope_local_base_freq=10000.0,
        rope_scaling={"factor": 8.0, "rope_type": "linear"},
        rope_theta=1000000.0,
        use_bidirectional_attention=False,
    ),
    # microsoft/phi-1_5: num_key_value_heads is null.
    "phi-1-5": more(PHI, {"num_key_value_heads": 4}, hidden_size=64, num_key_value_heads=None,
                    partial_rotary_factor=0.5, intermediate_size=124),
    "phi-2": PHI,
    "phi3": PHI3,
    # microsoft/Phi-3-mini-128k-instruct, once with a prompt shorter and once with one longer than what was trained
    # first. A cos and sin are also multiplied by sqrt(1 + ln(factor) / ln(original)), for both.
    "phi3-longrope-short": more(
        PHI3,
        {"rope_parameters.rope_type": "longrope", "rope_parameters.original_max_position_embeddings": 64},
        rope_scaling=LONGROPE, max_position_embeddings=512, sliding_window=512,
    ),
    "phi3-longrope-long": more(
        PHI3,
        {"rope_parameters.rope_type": "longrope", "rope_parameters.original_max_position_embeddings": 16},
        rope_scaling=LONGROPE, max_position_embeddings=256, original_max_position_embeddings=16, sliding_window=256,
        num_key_value_heads=2,
    ),
    # microsoft/Phi-4-mini-instruct: rope on three quarters of each head.
    "phi4-mini": more(
        PHI3,
        {
            "rope_parameters.rope_type": "longrope",
            "rope_parameters.partial_rotary_factor": 0.75,
            "tie_word_embeddings": True,
        },
        rope_scaling={
            "long_factor": LONGROPE["long_factor"][:6],
            "short_factor": LONGROPE["short_factor"][:6],
            "type": "longrope",
        },
        without=["_name_or_path"],
        partial_rotary_factor=0.75,
        max_position_embeddings=128,
        original_max_position_embeddings=16,
        num_key_value_heads=2,
        full_attn_mod=1,
        interpolate_factor=1,
        lm_head_bias=False,
        mlp_bias=False,
        sliding_window=262144,
        tie_word_embeddings=True,
        intermediate_size=92,
    ),
    "olmo2": OLMO2,
    "granite": GRANITE,
    "stablelm": STABLELM,
    # stabilityai/stablelm-2-12b: attention and MLP side by side on one norm; a norm of its own for each head.
    "stablelm-2-12b": more(
        STABLELM,
        has=["model.layers.0.self_attn.q_layernorm.norms.0.weight"],
        use_qkv_bias=False,
        use_parallel_residual=True,
        qk_layernorm=True,
        num_key_value_heads=2,
        torch_dtype="bfloat16",
        intermediate_size=92,
    ),
    "starcoder2": STARCODER2,
    "cohere": COHERE,
    # CohereForAI/c4ai-command-r-plus: norms of Q and K with weights [heads, head_dim].
    "cohere-qk-norm": more(COHERE, has=["model.layers.0.self_attn.q_norm.weight"], use_qk_norm=True,
                           num_key_value_heads=2, rope_theta=75000000.0, torch_dtype="bfloat16"),
    "cohere2": COHERE2,
    "smollm3": SMOLLM3,
    "glm": GLM,
    # THUDM/GLM-4-9B-0414: a norm after each sublayer as well.
    "glm4": more(GLM, has=["model.layers.0.post_self_attn_layernorm.weight"], architectures=["Glm4ForCausalLM"],
                 model_type="glm4", rms_norm_eps=1e-05, num_key_value_heads=2),
    # THUDM/GLM-4-32B-0414: no biases.
    "glm4-32b": more(GLM, has=["model.layers.0.post_mlp_layernorm.weight"], architectures=["Glm4ForCausalLM"],
                     model_type="glm4", attention_bias=False, rms_norm_eps=1e-05, num_key_value_heads=2, head_dim=16),
    "yi": YI,
    "internlm3": INTERNLM3,
}  # fmt: skip
