"""The families of `make_families.py` that transformers does not read as they are published.

A case holds, besides what `families.py` describes,

    shapes      the published tensors by name, given the config
    fixed       published tensors whose values follow from the config, such as the frequencies of rope
    codes       published tensors of whole bytes, drawn by themselves
    equivalent  (config, tensors in f32) of a family that transformers has and that means the same
    reference   or a model of its own, made of config and tensors in f32

The weights are the same numbers in both; only names, order and grouping change.
"""

import numpy as np
import torch
import torch.nn.functional as F

from alibi import Decoder
from families_moe import GPT_OSS
from rearranged_glm import CHATGLM, INTERNLM2
from stand_in import layers_inv_freq, llama_config, renamed


# --- openai/gpt-oss-20b as published: the experts in MXFP4 ---

FP4 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0])


def mxfp4(blocks, scales):
    """[.., groups, 16] bytes and [.., groups] scales -> [.., groups * 32] in f32. The low half of a byte is first."""
    values = torch.stack([FP4[(blocks & 15).long()], FP4[(blocks >> 4).long()]], dim=-1).flatten(-2)
    return (values * torch.exp2(scales.float() - 127.0).unsqueeze(-1)).flatten(-2)


def gpt_oss_shapes(config):
    hidden, inter, head_dim = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    heads, kv_heads, experts = (
        config["num_attention_heads"], config["num_key_value_heads"], config["num_local_experts"],
    )  # fmt: skip
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], hidden)}
    for index in range(config["num_hidden_layers"]):
        layer = f"model.layers.{index}"
        for part, rows in (("q", heads), ("k", kv_heads), ("v", kv_heads)):
            shapes[f"{layer}.self_attn.{part}_proj.weight"] = (rows * head_dim, hidden)
            shapes[f"{layer}.self_attn.{part}_proj.bias"] = (rows * head_dim,)
        shapes[f"{layer}.self_attn.o_proj.weight"] = (hidden, heads * head_dim)
        shapes[f"{layer}.self_attn.o_proj.bias"] = (hidden,)
        shapes[f"{layer}.self_attn.sinks"] = (heads,)
        shapes[f"{layer}.mlp.router.weight"] = (experts, hidden)
        shapes[f"{layer}.mlp.router.bias"] = (experts,)
        shapes[f"{layer}.mlp.experts.gate_up_proj_bias"] = (experts, 2 * inter)
        shapes[f"{layer}.mlp.experts.down_proj_bias"] = (experts, hidden)
        shapes[f"{layer}.input_layernorm.weight"] = (hidden,)
        shapes[f"{layer}.post_attention_layernorm.weight"] = (hidden,)
    return shapes | {"model.norm.weight": (hidden,), "lm_head.weight": (config["vocab_size"], hidden)}


def gpt_oss_codes(config, rng):
    """Rows of `gate_up_proj` alternate between gate and up, as they do unpacked."""
    hidden, inter, experts = config["hidden_size"], config["intermediate_size"], config["num_local_experts"]
    codes = {}
    for index in range(config["num_hidden_layers"]):
        for name, rows, columns in (("gate_up_proj", 2 * inter, hidden), ("down_proj", hidden, inter)):
            shape = (experts, rows, columns // 32)
            name = f"model.layers.{index}.mlp.experts.{name}"
            codes[f"{name}_blocks"] = torch.from_numpy(rng.integers(0, 256, (*shape, 16), dtype=np.uint8))
            codes[f"{name}_scales"] = torch.from_numpy(rng.integers(122, 125, shape, dtype=np.uint8))
    return codes


def gpt_oss_equivalent(config, tensors):
    config = {name: value for name, value in config.items() if name != "quantization_config"}
    result = {name: value for name, value in tensors.items() if not name.endswith(("_blocks", "_scales"))}
    for name, blocks in tensors.items():
        if name.endswith("_blocks"):
            matrix = mxfp4(blocks, tensors[name.replace("_blocks", "_scales")])
            result[name.removesuffix("_blocks")] = matrix.transpose(1, 2).contiguous()
    return config, result


GPT_OSS_MXFP4 = {
    "config": {
        **{name: value for name, value in GPT_OSS["config"].items() if name != "torch_dtype"},
        "intermediate_size": 96,
        "quantization_config": {
            "modules_to_not_convert": [
                "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head",
            ],
            "quant_method": "mxfp4",
        },
    },
    "shapes": gpt_oss_shapes,
    "codes": gpt_oss_codes,
    "equivalent": gpt_oss_equivalent,
}  # fmt: skip


# --- Qwen/Qwen-7B: Qwen2 without groups of key heads. NTK and log-n scaling only start beyond seq_length. ---


def qwen_shapes(config):
    hidden, vocab, inter = config["hidden_size"], config["vocab_size"], config["intermediate_size"] // 2
    width = config["kv_channels"] * config["num_attention_heads"]
    shapes = {"transformer.wte.weight": (vocab, hidden)}
    for index in range(config["num_hidden_layers"]):
        layer = f"transformer.h.{index}"
        shapes[f"{layer}.ln_1.weight"] = (hidden,)
        shapes[f"{layer}.attn.c_attn.weight"] = (3 * width, hidden)
        shapes[f"{layer}.attn.c_attn.bias"] = (3 * width,)
        shapes[f"{layer}.attn.c_proj.weight"] = (hidden, width)
        shapes[f"{layer}.ln_2.weight"] = (hidden,)
        shapes[f"{layer}.mlp.w1.weight"] = (inter, hidden)
        shapes[f"{layer}.mlp.w2.weight"] = (inter, hidden)
        shapes[f"{layer}.mlp.c_proj.weight"] = (hidden, inter)
    return shapes | {"transformer.ln_f.weight": (hidden,), "lm_head.weight": (vocab, hidden)}


def qwen_equivalent(config, tensors):
    layers = config["num_hidden_layers"]
    result = renamed(
        tensors,
        layers,
        {
            "layers": ("transformer.h", "model.layers"),
            "transformer.wte.weight": "model.embed_tokens.weight",
            "transformer.ln_f.weight": "model.norm.weight",
            "lm_head.weight": "lm_head.weight",
        },
        {
            "ln_1.weight": "input_layernorm.weight",
            "attn.c_proj.weight": "self_attn.o_proj.weight",
            "ln_2.weight": "post_attention_layernorm.weight",
            "mlp.w1.weight": "mlp.up_proj.weight",  # w1(x) * silu(w2(x))
            "mlp.w2.weight": "mlp.gate_proj.weight",
            "mlp.c_proj.weight": "mlp.down_proj.weight",
        },
    )
    for index in range(layers):
        for kind in ("weight", "bias"):
            for part, rows in zip("qkv", tensors[f"transformer.h.{index}.attn.c_attn.{kind}"].chunk(3)):
                result[f"model.layers.{index}.self_attn.{part}_proj.{kind}"] = rows
    fields = llama_config(
        config,
        "qwen2",
        vocab_size=config["vocab_size"],
        num_hidden_layers=layers,
        num_key_value_heads=config["num_attention_heads"],
        intermediate_size=config["intermediate_size"] // 2,
        rms_norm_eps=config["layer_norm_epsilon"],
        rope_theta=float(config["rotary_emb_base"]),
    )
    return fields, result


QWEN = {
    "config": {
        "architectures": ["QWenLMHeadModel"],
        "auto_map": {
            "AutoConfig": "configuration_qwen.QWenConfig",
            "AutoModelForCausalLM": "modeling_qwen.QWenLMHeadModel",
        },
        "attn_dropout_prob": 0.0,
        "bf16": False,
        "emb_dropout_prob": 0.0,
        "fp16": False,
        "fp32": False,
        "hidden_size": 64,
        "intermediate_size": 168,
        "initializer_range": 0.02,
        "kv_channels": 16,
        "layer_norm_epsilon": 1e-06,
        "max_position_embeddings": 128,
        "model_type": "qwen",
        "no_bias": True,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "onnx_safe": None,
        "rotary_emb_base": 10000,
        "rotary_pct": 1.0,
        "scale_attn_weights": True,
        "seq_length": 64,
        "tie_word_embeddings": False,
        "tokenizer_class": "QWenTokenizer",
        "transformers_version": "4.32.0",
        "use_cache": True,
        "use_dynamic_ntk": True,
        "use_flash_attn": "auto",
        "use_logn_attn": True,
        "vocab_size": 202,
    },
    "shapes": qwen_shapes,
    "equivalent": qwen_equivalent,
}


# --- Baichuan: Llama with Q, K and V in one matrix ---

LLAMA_LAYER = {
    name: name
    for name in (
        "input_layernorm.weight", "self_attn.o_proj.weight", "post_attention_layernorm.weight",
        "mlp.gate_proj.weight", "mlp.up_proj.weight", "mlp.down_proj.weight",
    )
}  # fmt: skip
LLAMA_OUTER = {name: name for name in ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight")}


def baichuan_shapes(config):
    hidden, vocab, inter = config["hidden_size"], config["vocab_size"], config["intermediate_size"]
    shapes = {"model.embed_tokens.weight": (vocab, hidden)}
    for index in range(config["num_hidden_layers"]):
        layer = f"model.layers.{index}"
        shapes[f"{layer}.self_attn.W_pack.weight"] = (3 * hidden, hidden)
        shapes[f"{layer}.self_attn.o_proj.weight"] = (hidden, hidden)
        shapes[f"{layer}.mlp.gate_proj.weight"] = (inter, hidden)
        shapes[f"{layer}.mlp.down_proj.weight"] = (hidden, inter)
        shapes[f"{layer}.mlp.up_proj.weight"] = (inter, hidden)
        shapes[f"{layer}.input_layernorm.weight"] = (hidden,)
        shapes[f"{layer}.post_attention_layernorm.weight"] = (hidden,)
    return shapes | {"model.norm.weight": (hidden,), "lm_head.weight": (vocab, hidden)}


def baichuan_equivalent(config, tensors):
    layers = config["num_hidden_layers"]
    result = renamed(tensors, layers, {"layers": 2 * ("model.layers",), **LLAMA_OUTER}, LLAMA_LAYER)
    for index in range(layers):
        for part, rows in zip("qkv", tensors[f"model.layers.{index}.self_attn.W_pack.weight"].chunk(3)):
            result[f"model.layers.{index}.self_attn.{part}_proj.weight"] = rows
    if "z_loss_weight" in config:  # Baichuan 2: every row of the head is scaled to length 1
        result["lm_head.weight"] = F.normalize(result["lm_head.weight"])
    fields = llama_config(
        config,
        vocab_size=config["vocab_size"],
        num_hidden_layers=layers,
        intermediate_size=config["intermediate_size"],
        rms_norm_eps=config["rms_norm_eps"],
        rope_theta=10000.0,
    )
    return fields, result


def baichuan_alibi(config, tensors):
    weights = baichuan_equivalent(config, tensors)[1]
    return Decoder(weights, config["num_hidden_layers"], config["num_attention_heads"], config["rms_norm_eps"])


# baichuan-inc/Baichuan-7B
BAICHUAN = {
    "config": {
        "architectures": ["BaiChuanForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_baichuan.BaiChuanConfig",
            "AutoModelForCausalLM": "modeling_baichuan.BaiChuanForCausalLM",
        },
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": 64,
        "initializer_range": 0.02,
        "intermediate_size": 84,
        "max_position_embeddings": 64,
        "model_type": "baichuan",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "pad_token_id": 0,
        "rms_norm_eps": 1e-06,
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "transformers_version": "4.29.1",
        "use_cache": True,
        "vocab_size": 200,
    },
    "shapes": baichuan_shapes,
    "fixed": layers_inv_freq,
    "equivalent": baichuan_equivalent,
}
# baichuan-inc/Baichuan2-7B-Base; z_loss_weight is what tells a small one from Baichuan 1.
BAICHUAN2 = {
    **BAICHUAN,
    "config": {
        **BAICHUAN["config"],
        "architectures": ["BaichuanForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_baichuan.BaichuanConfig",
            "AutoModelForCausalLM": "modeling_baichuan.BaichuanForCausalLM",
        },
        "model_max_length": 64,
        "tokenizer_class": "BaichuanTokenizer",
        "torch_dtype": "bfloat16",
        "vocab_size": 212,
        "z_loss_weight": 0,
    },
    "fixed": lambda config: {},
}
# baichuan-inc/Baichuan-13B-Base: no max_position_embeddings, for there are no rotary positions.
BAICHUAN_13B = {
    **BAICHUAN,
    "config": {
        **{name: value for name, value in BAICHUAN["config"].items() if name != "max_position_embeddings"},
        "_from_model_config": True,
        "architectures": ["BaichuanForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_baichuan.BaichuanConfig",
            "AutoModelForCausalLM": "modeling_baichuan.BaichuanForCausalLM",
        },
        "gradient_checkpointing": [False],
        "hidden_size": 72,
        "model_max_length": 64,
        "num_attention_heads": 6,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.29.2",
        "vocab_size": 198,
    },
    "fixed": lambda config: {},
    "equivalent": None,
    "reference": baichuan_alibi,
}


# --- internlm/internlm-7b: Llama with biases in attention. NTK scaling only starts beyond the trained positions. ---


def internlm_shapes(config):
    hidden = config["hidden_size"]
    shapes = {}
    for name, shape in baichuan_shapes(config).items():
        if "W_pack" not in name:
            shapes[name] = shape
            continue
        for part in "qkv":
            shapes[name.replace("W_pack", f"{part}_proj")] = (hidden, hidden)
            shapes[name.replace("W_pack.weight", f"{part}_proj.bias")] = (hidden,)
        shapes[name.replace("W_pack.weight", "o_proj.bias")] = (hidden,)
    return shapes


def internlm_equivalent(config, tensors):
    fields = llama_config(
        config,
        attention_bias=True,
        vocab_size=config["vocab_size"],
        num_hidden_layers=config["num_hidden_layers"],
        intermediate_size=config["intermediate_size"],
        rms_norm_eps=config["rms_norm_eps"],
        rope_theta=float(config["rotary"]["base"]),
    )
    return fields, {name: value for name, value in tensors.items() if not name.endswith("inv_freq")}


INTERNLM = {
    "config": {
        "architectures": ["InternLMForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_internlm.InternLMConfig",
            "AutoModel": "modeling_internlm.InternLMForCausalLM",
            "AutoModelForCausalLM": "modeling_internlm.InternLMForCausalLM",
        },
        "bias": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": 64,
        "initializer_range": 0.02,
        "intermediate_size": 84,
        "max_position_embeddings": 64,
        "model_type": "internlm",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "pad_token_id": 2,
        "rms_norm_eps": 1e-06,
        "rotary": {"base": 10000, "type": "dynamic"},
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "transformers_version": "4.33.1",
        "use_cache": True,
        "vocab_size": 206,
    },
    "shapes": internlm_shapes,
    "fixed": layers_inv_freq,
    "equivalent": internlm_equivalent,
}


FAMILIES = {
    "gpt-oss-mxfp4": GPT_OSS_MXFP4,
    "qwen": QWEN,
    "baichuan-7b": BAICHUAN,
    "baichuan2-7b": BAICHUAN2,
    "internlm": INTERNLM,
    "internlm2": INTERNLM2,
    "chatglm3": CHATGLM,
    # THUDM/glm-4-9b-chat as first published: rope's base is 10000 * rope_ratio.
    "chatglm4": {
        **CHATGLM,
        "config": {
            **CHATGLM["config"],
            "_name_or_path": "THUDM/glm-4-9b-chat",
            "eos_token_id": [2, 4, 6],
            "layernorm_epsilon": 1.5625e-07,
            "multi_query_group_num": 1,
            "rope_ratio": 500,
            "torch_dtype": "bfloat16",
            "transformers_version": "4.40.2",
        },
    },
    "baichuan-13b": BAICHUAN_13B,
    # baichuan-inc/Baichuan2-13B-Chat
    "baichuan2-13b": {
        **BAICHUAN_13B,
        "config": {
            **BAICHUAN_13B["config"],
            "hidden_size": 80,
            "intermediate_size": 76,
            "num_attention_heads": 5,
            "tokenizer_class": "BaichuanTokenizer",
            "transformers_version": "4.29.2",
            "vocab_size": 190,
            "z_loss_weight": 0,
        },
    },
}
