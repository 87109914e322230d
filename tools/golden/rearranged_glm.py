"""InternLM2 and ChatGLM, two of the families of `rearranged.py`."""

from stand_in import inv_freq, llama_config, renamed


# --- internlm/internlm2_5-7b: Llama under other names, Q, K and V in one matrix by key head. ---


def internlm2_shapes(config):
    hidden, vocab, inter = config["hidden_size"], config["vocab_size"], config["intermediate_size"]
    head_dim = hidden // config["num_attention_heads"]
    shapes = {"model.tok_embeddings.weight": (vocab, hidden)}
    for index in range(config["num_hidden_layers"]):
        layer = f"model.layers.{index}"
        rows = (config["num_attention_heads"] + 2 * config["num_key_value_heads"]) * head_dim
        shapes[f"{layer}.attention.wqkv.weight"] = (rows, hidden)
        shapes[f"{layer}.attention.wo.weight"] = (hidden, hidden)
        shapes[f"{layer}.feed_forward.w1.weight"] = (inter, hidden)
        shapes[f"{layer}.feed_forward.w3.weight"] = (inter, hidden)
        shapes[f"{layer}.feed_forward.w2.weight"] = (hidden, inter)
        shapes[f"{layer}.attention_norm.weight"] = (hidden,)
        shapes[f"{layer}.ffn_norm.weight"] = (hidden,)
    return shapes | {"model.norm.weight": (hidden,), "output.weight": (vocab, hidden)}


def internlm2_equivalent(config, tensors):
    layers, hidden, kv_heads = config["num_hidden_layers"], config["hidden_size"], config["num_key_value_heads"]
    head_dim = hidden // config["num_attention_heads"]
    result = renamed(
        tensors,
        layers,
        {
            "layers": 2 * ("model.layers",),
            "model.tok_embeddings.weight": "model.embed_tokens.weight",
            "model.norm.weight": "model.norm.weight",
            "output.weight": "lm_head.weight",
        },
        {
            "attention.wo.weight": "self_attn.o_proj.weight",
            "feed_forward.w1.weight": "mlp.gate_proj.weight",
            "feed_forward.w3.weight": "mlp.up_proj.weight",
            "feed_forward.w2.weight": "mlp.down_proj.weight",
            "attention_norm.weight": "input_layernorm.weight",
            "ffn_norm.weight": "post_attention_layernorm.weight",
        },
    )
    for index in range(layers):
        # Each key head has the rows of its query heads, then its own, then those of its values.
        packed = tensors[f"model.layers.{index}.attention.wqkv.weight"].view(kv_heads, -1, head_dim, hidden)
        parts = {"q": packed[:, :-2], "k": packed[:, -2], "v": packed[:, -1]}
        for part, rows in parts.items():
            result[f"model.layers.{index}.self_attn.{part}_proj.weight"] = rows.reshape(-1, hidden).contiguous()
    fields = llama_config(
        config,
        num_key_value_heads=kv_heads,
        vocab_size=config["vocab_size"],
        num_hidden_layers=layers,
        intermediate_size=config["intermediate_size"],
        rms_norm_eps=config["rms_norm_eps"],
        rope_theta=float(config["rope_theta"]),
    )
    return fields, result


INTERNLM2 = {
    "config": {
        "architectures": ["InternLM2ForCausalLM"],
        "attn_implementation": "eager",
        "auto_map": {
            "AutoConfig": "configuration_internlm2.InternLM2Config",
            "AutoModelForCausalLM": "modeling_internlm2.InternLM2ForCausalLM",
            "AutoModel": "modeling_internlm2.InternLM2ForCausalLM",
        },
        "bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": 96,
        "initializer_range": 0.02,
        "intermediate_size": 52,
        "max_position_embeddings": 64,
        "model_type": "internlm2",
        "num_attention_heads": 6,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "pad_token_id": 2,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_scaling": {"factor": 2.0, "type": "dynamic"},
        "rope_theta": 1000000,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.41.0",
        "use_cache": True,
        "vocab_size": 194,
    },
    "shapes": internlm2_shapes,
    "equivalent": internlm2_equivalent,
}


# --- THUDM/chatglm3-6b (and chatglm2-6b): Glm under other names, Q, K and V in one matrix one after the other. ---


def chatglm_shapes(config):
    hidden, vocab, inter = config["hidden_size"], config["padded_vocab_size"], config["ffn_hidden_size"]
    width = config["kv_channels"] * config["num_attention_heads"]
    rows = width + 2 * config["kv_channels"] * config["multi_query_group_num"]
    shapes = {"transformer.embedding.word_embeddings.weight": (vocab, hidden)}
    for index in range(config["num_layers"]):
        layer = f"transformer.encoder.layers.{index}"
        shapes[f"{layer}.input_layernorm.weight"] = (hidden,)
        shapes[f"{layer}.self_attention.query_key_value.weight"] = (rows, hidden)
        shapes[f"{layer}.self_attention.query_key_value.bias"] = (rows,)
        shapes[f"{layer}.self_attention.dense.weight"] = (hidden, width)
        shapes[f"{layer}.post_attention_layernorm.weight"] = (hidden,)
        shapes[f"{layer}.mlp.dense_h_to_4h.weight"] = (2 * inter, hidden)
        shapes[f"{layer}.mlp.dense_4h_to_h.weight"] = (hidden, inter)
    shapes["transformer.encoder.final_layernorm.weight"] = (hidden,)
    return shapes | {"transformer.output_layer.weight": (vocab, hidden)}


def chatglm_equivalent(config, tensors):
    layers, head_dim = config["num_layers"], config["kv_channels"]
    heads, kv_heads = config["num_attention_heads"], config["multi_query_group_num"]
    result = renamed(
        tensors,
        layers,
        {
            "layers": ("transformer.encoder.layers", "model.layers"),
            "transformer.embedding.word_embeddings.weight": "model.embed_tokens.weight",
            "transformer.encoder.final_layernorm.weight": "model.norm.weight",
            "transformer.output_layer.weight": "lm_head.weight",
        },
        {
            "input_layernorm.weight": "input_layernorm.weight",
            "self_attention.dense.weight": "self_attn.o_proj.weight",
            "post_attention_layernorm.weight": "post_attention_layernorm.weight",
            "mlp.dense_h_to_4h.weight": "mlp.gate_up_proj.weight",  # the gate first
            "mlp.dense_4h_to_h.weight": "mlp.down_proj.weight",
        },
    )
    sizes = [heads * head_dim, kv_heads * head_dim, kv_heads * head_dim]
    for index in range(layers):
        for kind in ("weight", "bias"):
            packed = tensors[f"transformer.encoder.layers.{index}.self_attention.query_key_value.{kind}"]
            for part, rows in zip("qkv", packed.split(sizes)):
                result[f"model.layers.{index}.self_attn.{part}_proj.{kind}"] = rows
    fields = llama_config(
        config,
        "glm",
        attention_bias=True,
        head_dim=head_dim,
        num_key_value_heads=kv_heads,
        vocab_size=config["padded_vocab_size"],
        num_hidden_layers=layers,
        intermediate_size=config["ffn_hidden_size"],
        rms_norm_eps=config["layernorm_epsilon"],
        partial_rotary_factor=0.5,
        rope_theta=10000.0 * config.get("rope_ratio", 1),
    )
    return fields, result


CHATGLM = {
    "config": {
        "_name_or_path": "THUDM/chatglm3-6b",
        "model_type": "chatglm",
        "architectures": ["ChatGLMModel"],
        "auto_map": {
            "AutoConfig": "configuration_chatglm.ChatGLMConfig",
            "AutoModel": "modeling_chatglm.ChatGLMForConditionalGeneration",
            "AutoModelForCausalLM": "modeling_chatglm.ChatGLMForConditionalGeneration",
            "AutoModelForSeq2SeqLM": "modeling_chatglm.ChatGLMForConditionalGeneration",
        },
        "add_bias_linear": False,
        "add_qkv_bias": True,
        "apply_query_key_layer_scaling": True,
        "apply_residual_connection_post_layernorm": False,
        "attention_dropout": 0.0,
        "attention_softmax_in_fp32": True,
        "bias_dropout_fusion": True,
        "ffn_hidden_size": 84,
        "fp32_residual_connection": False,
        "hidden_dropout": 0.0,
        "hidden_size": 64,
        "kv_channels": 16,
        "layernorm_epsilon": 1e-05,
        "multi_query_attention": True,
        "multi_query_group_num": 2,
        "num_attention_heads": 4,
        "num_layers": 2,
        "original_rope": True,
        "padded_vocab_size": 208,
        "post_layer_norm": True,
        "rmsnorm": True,
        "seq_length": 64,
        "use_cache": True,
        "torch_dtype": "float16",
        "transformers_version": "4.27.1",
        "tie_word_embeddings": False,
        "eos_token_id": 2,
        "pad_token_id": 0,
    },
    "shapes": chatglm_shapes,
    "fixed": lambda config: {"transformer.rotary_pos_emb.inv_freq": inv_freq(config["kv_channels"] // 2)},
    "equivalent": chatglm_equivalent,
}
