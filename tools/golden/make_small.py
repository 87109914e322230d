"""Makes the small random checkpoints under tests/data/small, each with the logits its reference gives.

Every checkpoint is there for one thing that an engine can get wrong; `CASES` names it. The weights are random but large
enough that the logits differ from position to position and that attention looks at several places. Everything is seeded
by the checkpoint's name: adding one changes no other.

    python make_small.py [--out DIR] [--only NAME]...
"""

import json
import shutil
import zlib

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from reference import asked_for, describe, draw_ids, golden_tensors, save_tensors, spread

TOKENS = 24
STEPS = 16
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}

# The default shape. Sizes are odd on purpose: a vocabulary that is no multiple of anything, an intermediate size that
# is no multiple of 32.
BASE = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "hidden_size": 64,
    "intermediate_size": 112,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 259,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "torch_dtype": "bfloat16",
}

MISTRAL = {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "attention_bias": None, "mlp_bias": None}


def rope(kind, theta, **more):
    """RoPE fields, written by `config_files` in the spelling of old and of new configs."""
    return {"kind": kind, "theta": theta, **more}


# name -> (what differs from BASE, options). A value of None removes the field, as many published configs do.
CASES = {
    # Attention heads.
    "gqa": ({"num_hidden_layers": 3}, {}),
    "mha-hidden72": (
        # No num_key_value_heads at all: as many as heads. Rows of 72 and 84 values are no multiple of 32.
        {"hidden_size": 72, "num_attention_heads": 3, "num_key_value_heads": None, "intermediate_size": 84,
         "vocab_size": 203, "torch_dtype": "float32", "tie_word_embeddings": True},
        {},
    ),
    "mqa": ({"hidden_size": 80, "num_attention_heads": 5, "num_key_value_heads": 1, "intermediate_size": 120,
             "torch_dtype": "float16"}, {}),
    "head-dim": ({"head_dim": 24, "intermediate_size": 96}, {}),  # 4 heads of 24: queries are wider than hidden
    "head-dim-narrow": ({"hidden_size": 96, "head_dim": 16, "num_key_value_heads": 4, "vocab_size": 193}, {}),
    # The head, the biases, the norm.
    "tied": ({"hidden_size": 96, "num_attention_heads": 6, "num_key_value_heads": 3, "vocab_size": 321,
              "intermediate_size": 100, "tie_word_embeddings": True}, {}),
    "attention-bias": ({"attention_bias": True, "torch_dtype": "float16"}, {}),
    "mlp-bias": ({"mlp_bias": True, "intermediate_size": 91, "eos_token_id": [2, 5]}, {}),
    "large-eps": ({"rms_norm_eps": 0.05}, {}),
    # Rotary positions.
    "rope-theta": ({}, {"rope": rope("default", 500000.0)}),
    "rope-linear": ({}, {"rope": rope("linear", 10000.0, factor=4.0)}),
    "rope-llama3": (
        {"head_dim": 32, "intermediate_size": 96},
        {"rope": rope("llama3", 500.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                      original_max_position_embeddings=8)},
    ),
    "rope-yarn": (
        {"head_dim": 24, "intermediate_size": 96},
        {"rope": rope("yarn", 50.0, factor=4.0, original_max_position_embeddings=16)},
    ),
    "rope-yarn-factor": (
        {"head_dim": 24, "intermediate_size": 96},
        {"rope": rope("yarn", 50.0, factor=8.0, original_max_position_embeddings=16, attention_factor=1.3,
                      beta_fast=1.0, beta_slow=0.25)},
    ),
    "rope-yarn-mscale": (
        {"head_dim": 32, "intermediate_size": 96},
        {"rope": rope("yarn", 30.0, factor=4.0, original_max_position_embeddings=16, mscale=1.4, mscale_all_dim=0.6,
                      beta_fast=2.0, beta_slow=0.25, truncate=False)},
    ),
    # A window of 7 is smaller than the 24 tokens: position t sees t-6 up to t.
    "mistral-window": ({**MISTRAL, "sliding_window": 7, "num_hidden_layers": 3}, {}),
    # The window is there and null, which means none; leaving it out would mean the library's default of 4096.
    "mistral-full": ({**MISTRAL, "head_dim": 24, "intermediate_size": 96}, {"nulls": ["sliding_window"]}),
    # Three files and an index; the norms are stored as f32 among bf16 matrices.
    "sharded": ({"num_hidden_layers": 3}, {"shards": 3, "norm_dtype": "float32"}),
}


def config_files(differs, options):
    """The config as {file name: content}. A scaled RoPE is written in both spellings, with the same meaning:

    config.json                   `rope_scaling` beside a top-level `rope_theta`, as published before transformers 5
    config.rope_parameters.json   everything inside `rope_parameters`, as transformers 5 writes it
    """
    config = {name: value for name, value in {**BASE, **differs}.items() if value is not None}
    config.update({name: None for name in options.get("nulls", [])})
    if "rope" not in options:
        return {"config.json": config}

    fields = {name: value for name, value in options["rope"].items() if name not in ("kind", "theta")}
    kind, theta = options["rope"]["kind"], options["rope"]["theta"]
    if "factor" in fields and "original_max_position_embeddings" in fields:
        config["max_position_embeddings"] = int(fields["factor"] * fields["original_max_position_embeddings"])
    old = {**config, "rope_theta": theta, "rope_scaling": None}
    if kind != "default":
        # The oldest spelling of all says `type`; published linear configs still do.
        old["rope_scaling"] = {("type" if kind == "linear" else "rope_type"): kind, **fields}
    new = {name: value for name, value in config.items() if name not in ("rope_theta", "torch_dtype")}
    new["dtype"] = config["torch_dtype"]
    new["rope_parameters"] = {"rope_type": kind, "rope_theta": theta, **fields}
    return {"config.json": old, "config.rope_parameters.json": new}


def weights(config, rng):
    """Random tensors under their published names, in f32."""
    hidden, inter, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads", heads)
    head_dim = config.get("head_dim", hidden // heads)
    tied = config["tie_word_embeddings"]
    tensors = {"model.embed_tokens.weight": spread(rng, (vocab, hidden), 0.22 if tied else 0.6)}

    def linear(name, rows, columns, bias):
        tensors[f"{name}.weight"] = spread(rng, (rows, columns), 1.5 / columns**0.5)
        if bias:
            tensors[f"{name}.bias"] = spread(rng, rows, 0.4)

    for index in range(config["num_hidden_layers"]):
        layer = f"model.layers.{index}"
        attention, mlp = config.get("attention_bias", False), config.get("mlp_bias", False)
        linear(f"{layer}.self_attn.q_proj", heads * head_dim, hidden, attention)
        linear(f"{layer}.self_attn.k_proj", kv_heads * head_dim, hidden, attention)
        linear(f"{layer}.self_attn.v_proj", kv_heads * head_dim, hidden, attention)
        linear(f"{layer}.self_attn.o_proj", hidden, heads * head_dim, attention)
        linear(f"{layer}.mlp.gate_proj", inter, hidden, mlp)
        linear(f"{layer}.mlp.up_proj", inter, hidden, mlp)
        linear(f"{layer}.mlp.down_proj", hidden, inter, mlp)
        tensors[f"{layer}.input_layernorm.weight"] = spread(rng, hidden, 0.3, 1.0)
        tensors[f"{layer}.post_attention_layernorm.weight"] = spread(rng, hidden, 0.3, 1.0)
    tensors["model.norm.weight"] = spread(rng, hidden, 0.3, 1.0)
    if not tied:
        tensors["lm_head.weight"] = spread(rng, (vocab, hidden), 1.6 / hidden**0.5)
    return tensors


def save_weights(folder, tensors, shards):
    """One safetensors file, or several with the index that says which tensor is in which file."""
    if shards == 1:
        save_tensors(folder / "model.safetensors", tensors)
        return
    names, where = list(tensors), {}
    for number, part in enumerate(np.array_split(names, shards), start=1):
        file = f"model-{number:05}-of-{shards:05}.safetensors"
        save_tensors(folder / file, {name: tensors[name] for name in part.tolist()})
        where.update({name: file for name in part.tolist()})
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
    write_json(folder / "model.safetensors.index.json", index)


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def make(folder, name):
    differs, options = CASES[name]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    configs = config_files(differs, options)
    config = configs["config.json"]

    dtype = DTYPES[config["torch_dtype"]]
    norm_dtype = DTYPES[options.get("norm_dtype", config["torch_dtype"])]
    tensors = {
        tensor: torch.from_numpy(value).to(norm_dtype if "norm" in tensor else dtype)
        for tensor, value in weights(config, rng).items()
    }
    save_weights(folder, tensors, options.get("shards", 1))
    # The reference loads the files just written, once for each spelling of the config; the last one stays.
    golden, ids = None, None
    for file, content in reversed(configs.items()):
        write_json(folder / "config.json", content)
        model = load(folder)
        ids = ids or draw_ids(model, rng, 3, TOKENS, STEPS)
        again = golden_tensors(model, ids, STEPS)
        if golden is not None:
            assert all(torch.equal(again[key], golden[key]) for key in golden), f"{name}: {file} means something else"
        golden = again
    for file, content in configs.items():
        write_json(folder / file, content)
    save_tensors(folder / "golden.safetensors", golden)
    describe(name, golden, sum(file.stat().st_size for file in folder.iterdir()))


def main():
    out, names = asked_for(__doc__, CASES, "small")
    for name in names:
        make(out / name, name)


if __name__ == "__main__":
    main()
