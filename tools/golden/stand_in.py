"""What the families of `rearranged.py` share: the config of the family that stands in, and names."""

import numpy as np
import torch


def llama_config(config, model_type="llama", **fields):
    """The config of the Llama-like family that stands in for another."""
    architecture = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "glm": "GlmForCausalLM"}[model_type]
    return {
        "architectures": [architecture],
        "model_type": model_type,
        "hidden_act": "silu",
        "hidden_size": config["hidden_size"],
        "num_attention_heads": config["num_attention_heads"],
        "max_position_embeddings": 64,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": None,
        **fields,
    }


def renamed(tensors, layers, outer, inner):
    """`tensors` under other names. `inner` maps what comes after the prefix of a layer; the prefixes are in `outer`."""
    old, new = outer.pop("layers")
    result = {other: tensors[name] for name, other in outer.items()}
    for index in range(layers):
        for name, other in inner.items():
            result[f"{new}.{index}.{other}"] = tensors[f"{old}.{index}.{name}"]
    return result


def inv_freq(dimensions, base=10000.0):
    return torch.from_numpy((1.0 / base ** (np.arange(0, dimensions, 2) / dimensions)).astype(np.float32))


def layers_inv_freq(config):
    """The first checkpoints also carry the frequencies of rope; nobody needs them."""
    values = inv_freq(config["hidden_size"] // config["num_attention_heads"])
    layers = range(config["num_hidden_layers"])
    return {f"model.layers.{index}.self_attn.rotary_emb.inv_freq": values.clone() for index in layers}
