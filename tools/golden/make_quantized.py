"""Makes small quantized checkpoints under tests/data/families, with the logits of the weights that they stand for.

The reference reads the decoded weights in f32; the checkpoint keeps them as its quantizer does. Those of bitsandbytes
are written by it through transformers; the others are packed from the published formats by `quantized.py`.

    python make_quantized.py [--out DIR] [--only NAME]...
"""

import copy
import json
import shutil
import tempfile
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

import compressed
import families_moe
from make_families import draw, dtype_of, fill, published, read, write_json
from quantized import awq, fp8_blocks, fp8_rows, fp8_whole, gptq, int8_rows
from reference import asked_for, describe, save_tensors

KEPT_ROWS = [0, -1]  # of a matrix of each shape, decoded

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "max_position_embeddings": 64,
    "model_type": "llama",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "transformers_version": "4.51.0",
    "vocab_size": 120,
}


def llama(hidden, intermediate, **differs):
    sizes = {"hidden_size": hidden, "intermediate_size": intermediate, "head_dim": hidden // 4}
    return LLAMA | sizes | differs


DEEPSEEK = families_moe.FAMILIES["deepseek-v3"]["config"] | {
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "num_hidden_layers": 2,
    "num_nextn_predict_layers": 1,
    "vocab_size": 120,
}

FP8 = {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]}
GPTQ = {"bits": 4, "desc_act": False, "group_size": 32, "quant_method": "gptq", "sym": False}
FLOATS = {"config_groups": {}, "format": "float-quantized", "ignore": ["lm_head"], "quant_method": "compressed-tensors"}

PACKED = {"config_groups": {}, "format": "pack-quantized", "ignore": ["lm_head"], "quant_method": "compressed-tensors"}


def packed(format, *schemes):
    """The config of a checkpoint whose groups have these schemes."""
    groups = {f"group_{index}": compressed.group_of(scheme) for index, scheme in enumerate(schemes)}
    return PACKED | {"format": format, "config_groups": groups}


INT4 = compressed.scheme(num_bits=4, type="int", strategy="group", group_size=32, symmetric=True)
INT4_ZERO = compressed.scheme(num_bits=4, type="int", strategy="group", group_size=128, symmetric=False)
INT3 = compressed.scheme(num_bits=3, type="int", strategy="group", group_size=64, symmetric=True)
INT8 = compressed.scheme(num_bits=8, type="int", strategy="channel", symmetric=True)
FP8_ROWS = compressed.scheme(num_bits=8, type="float", strategy="channel")


def mixed(ways):
    """A quantizer that goes by the name of the matrix."""
    return lambda rng, weight, name: next(way for part, way in ways.items() if part in name)(rng, weight)


# What is not a matrix of a layer stays as it is, and so does what a case keeps.
CASES = {
    # More than one block each way, and rows and columns that do not fill the last.
    "llama-fp8": {
        "config": llama(136, 148, torch_dtype="bfloat16", tie_word_embeddings=True),
        "quantization": FP8 | {"modules_to_not_convert": ["model.layers.1.mlp.down_proj"]},
        "kept": ["layers.1.mlp.down_proj"],
        "quantizer": fp8_blocks,
    },
    "deepseek-v3-fp8": {
        "config": DEEPSEEK,
        "quantization": FP8,
        "kept": ["mlp.gate."],
        "quantizer": lambda rng, weight: fp8_blocks(rng, weight, torch.bfloat16),
        # A layer that guesses the token after the next; the reference leaves it out.
        "beside": {"model.layers.2.eh_proj.weight": (64, 128), "model.layers.2.enorm.weight": (64,)},
    },
    "llama-fp8-rows": {
        "config": llama(72, 92, torch_dtype="bfloat16"),
        "quantization": FLOATS,
        "quantizer": lambda rng, weight: (fp8_rows if weight.shape[0] == 72 else fp8_whole)(rng, weight),
    },
    "llama-w8a8": {
        "config": llama(72, 92, torch_dtype="bfloat16"),
        "quantization": FLOATS | {"format": "int-quantized"},
        "quantizer": int8_rows,
    },
    # 160 columns: blocks of 64 go on in the next row.
    "llama-nf4": {
        "config": llama(128, 160, torch_dtype="bfloat16"),
        "bitsandbytes": {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": True,
            "bnb_4bit_compute_dtype": torch.bfloat16,
        },
    },
    "llama-fp4": {
        "config": llama(64, 128, torch_dtype="float16"),
        "bitsandbytes": {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"},
    },
    "llama-int8": {
        "config": llama(72, 92, torch_dtype="float16"),
        "bitsandbytes": {"load_in_8bit": True},
    },
    "llama-gptq": {
        "config": llama(96, 160),
        "quantization": GPTQ,
        "quantizer": lambda rng, weight: gptq(rng, weight),
    },
    "llama-gptq-act-order": {
        "config": llama(64, 96),
        "quantization": GPTQ | {"desc_act": True, "checkpoint_format": "gptq_v2"},
        "quantizer": lambda rng, weight: gptq(rng, weight, version=2, act_order=True),
    },
    "llama-gptq-8bit": {
        "config": llama(64, 96),
        "quantization": GPTQ | {"bits": 8, "group_size": -1, "sym": True},
        "quantizer": lambda rng, weight: gptq(rng, weight, bits=8, group=weight.shape[1], symmetric=True),
    },
    "llama-w4a16": {
        "config": llama(96, 160, torch_dtype="bfloat16"),
        "quantization": packed("pack-quantized", INT4),
        "quantizer": compressed.integers(INT4),
    },
    "llama-w4a16-zero": {
        "config": llama(128, 256, num_hidden_layers=1),
        "quantization": packed("pack-quantized", INT4_ZERO),
        "quantizer": compressed.integers(INT4_ZERO, torch.float16),
    },
    # Several formats in one checkpoint, as those are published that keep attention in more bits.
    "llama-mixed": {
        "config": llama(128, 192, num_hidden_layers=1, torch_dtype="bfloat16"),
        "quantization": packed("mixed-precision", INT8, INT3, INT4_ZERO, FP8_ROWS, compressed.NVFP4, compressed.MXFP4),
        "by_name": mixed({
            "q_proj": compressed.integers(INT8),
            "k_proj": compressed.integers(INT3),
            "v_proj": fp8_rows,
            "o_proj": compressed.integers(INT4_ZERO),
            "down_proj": compressed.mxfp4,
            "": compressed.nvfp4,
        }),
    },
    "llama-modelopt": {
        "config": llama(64, 128, num_hidden_layers=1, torch_dtype="bfloat16"),
        "quantization": {"quant_algo": "MIXED_PRECISION", "quant_method": "modelopt", "ignore": ["lm_head"]},
        "by_name": mixed({"self_attn": compressed.model_opt_fp8, "": compressed.model_opt_nvfp4}),
        "scales": {"model.layers.0.self_attn.k_proj.k_scale": (1,), "model.layers.0.self_attn.v_proj.v_scale": (1,)},
    },
    "llama-awq": {
        "config": llama(128, 256, num_hidden_layers=1),
        "quantization": {"bits": 4, "group_size": 128, "quant_method": "awq", "version": "gemm", "zero_point": True},
        "quantizer": awq,
    },
}  # fmt: skip


def is_quantized(name, shape, case):
    return ".layers." in name and len(shape) == 2 and not any(part in name for part in case.get("kept", []))


def quantize(case, tensors, rng):
    """The tensors as the quantizer stores them, and all weights in f32."""
    stored, meant = {}, {}
    for name, value in tensors.items():
        if is_quantized(name, value.shape, case):
            by_name = case.get("by_name", lambda rng, weight, name: case["quantizer"](rng, weight))
            parts, meant[name] = by_name(rng, value.float(), name)
            stem = name.removesuffix(".weight")
            stored |= {f"{stem}.{ending}": part for ending, part in parts.items()}
        else:
            stored[name], meant[name] = value, value.float()
    return stored, meant


def by_bitsandbytes(folder, settings, tensors):
    """Has bitsandbytes quantize what is in `folder`, which then holds its result; all weights in f32."""
    from bitsandbytes import functional

    model = AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=BitsAndBytesConfig(**settings), device_map="cpu", dtype="auto"
    )
    meant = {name: value.float() for name, value in tensors.items()}
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if hasattr(weight, "quant_state"):
            state = copy.copy(weight.quant_state)
            # In f32; and in lines of a block each, because on the CPU it starts a block with each row, which is no
            # difference where rows are whole blocks, and wrong elsewhere.
            state.dtype, state.shape = torch.float32, (state.shape.numel() // state.blocksize, state.blocksize)
            decoded = functional.dequantize_4bit(weight.data, state)
            meant[f"{name}.weight"] = decoded.reshape(weight.quant_state.shape)
        elif hasattr(weight, "SCB"):
            meant[f"{name}.weight"] = functional.int8_vectorwise_dequant(weight.data, weight.SCB)
    config = json.loads((folder / "config.json").read_text())
    with tempfile.TemporaryDirectory() as other:
        model.save_pretrained(other)
        stored = load_file(Path(other) / "model.safetensors")
        config["quantization_config"] = json.loads((Path(other) / "config.json").read_text())["quantization_config"]
    save_tensors(folder / "model.safetensors", stored)
    write_json(folder / "config.json", config)
    return meant


def decoded_rows(stored, meant):
    """The first and the last row of a matrix of each shape that was quantized."""
    kept = {}
    for name, value in meant.items():
        as_it_is = name in stored and stored[name].is_floating_point() and stored[name].element_size() > 1
        if len(value.shape) == 2 and not as_it_is:
            kept.setdefault(tuple(value.shape), (name, value[KEPT_ROWS].contiguous()))
    return {f"decoded/{name}": rows for name, rows in kept.values()}


def plain(folder, case, rng):
    """Writes the checkpoint of a case as it is before it is quantized; its tensors."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = case["config"]
    write_json(folder / "config.json", config)
    tied = {"tied": config["tie_word_embeddings"]}
    tensors = {}
    for tensor, value in published(AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))).items():
        kept = torch.float32 if tensor.endswith("e_score_correction_bias") else dtype_of(config)
        tensors[tensor] = torch.from_numpy(fill(tensor, tuple(value.shape), rng, case | tied)).to(kept)
    save_tensors(folder / "model.safetensors", tensors)
    return tensors


def finish(folder, name, case, stored, meant, rng):
    """Writes what the reference says of a quantized checkpoint that stores `stored` and stands for `meant`."""
    with tempfile.TemporaryDirectory() as other:
        other = Path(other)
        write_json(other / "config.json", case["config"])
        save_tensors(other / "model.safetensors", meant)
        golden = draw(read(other), rng)
    save_tensors(folder / "golden.safetensors", golden | decoded_rows(stored, meant))
    describe(name, golden, sum(file.stat().st_size for file in folder.rglob("*")))


def make(folder, name):
    case = CASES[name]
    rng = np.random.default_rng(zlib.crc32(f"quantized {name}".encode()))
    tensors = plain(folder, case, rng)
    config = case["config"]
    if "bitsandbytes" in case:
        meant = by_bitsandbytes(folder, case["bitsandbytes"], tensors)
        stored = load_file(folder / "model.safetensors")
    else:
        stored, meant = quantize(case, tensors, rng)
        beside = {name: torch.ones(shape, dtype=dtype_of(config)) for name, shape in case.get("beside", {}).items()}
        stored |= quantize(case, beside, rng)[0]
        stored |= {name: torch.ones(shape) for name, shape in case.get("scales", {}).items()}
        save_tensors(folder / "model.safetensors", stored)
        write_json(folder / "config.json", config | {"quantization_config": case["quantization"]})
    finish(folder, name, case, stored, meant, rng)


def main():
    out, names = asked_for(__doc__, CASES, "families")
    for name in names:
        make(out / name, name)


if __name__ == "__main__":
    main()
