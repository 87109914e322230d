"""Makes small checkpoints under tests/data/families as AirLLM leaves them, with the logits of the weights they stand for.

AirLLM itself splits a small Llama into a folder of layers, and bitsandbytes quantizes each tensor of them, on the CPU
here. What the numbers mean is written out from the formats' formulas, and compared with what bitsandbytes decodes.

    python make_airllm.py [--out DIR] [--only NAME]...
"""

import argparse
import shutil
import tempfile
import zlib
from pathlib import Path

import numpy as np
import torch
from airllm import utils
from bitsandbytes import functional
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from make_families import draw, dtype_of, fill, published, read, write_json
from make_quantized import decoded_rows, llama
from reference import describe, save_tensors

BLOCKS = {"4bit": 64, "8bit": 2048}

# 96 columns: blocks go on in the next row.
CASES = {
    "llama-airllm-4bit": {
        "config": llama(64, 96, torch_dtype="bfloat16", attention_bias=True),
        "compression": "4bit",
    },
    "llama-airllm-8bit": {
        "config": llama(64, 96, torch_dtype="float16", tie_word_embeddings=True),
        "compression": "8bit",
    },
}


def on_cpu(tensor, *_arguments, **_settings):
    return tensor


def meant_4bit(stored, name, shape):
    packed = stored[name].flatten()
    codes = torch.stack([packed >> 4, packed & 15], 1).flatten()[: shape.numel()]
    values = stored[f"{name}.4bit.quant_map"][codes.long()]
    blocks = torch.arange(shape.numel()) // BLOCKS["4bit"]
    return (values * stored[f"{name}.4bit.absmax"].flatten()[blocks]).reshape(shape)


def meant_8bit(stored, name, shape):
    values = stored[f"{name}.8bit.code"][stored[name].flatten().long()]
    blocks = torch.arange(shape.numel()) // BLOCKS["8bit"]
    return (values * stored[f"{name}.8bit.absmax"][blocks]).reshape(shape)


def check(stored, meant):
    """bitsandbytes decodes the same, but for the rounding to the checkpoint's type."""
    for name, value in utils.uncompress_layer_state_dict(stored).items():
        # On the CPU it starts a block of four bits with each row.
        if value.ndim == 1 or value.shape[1] % 64 == 0 or f"{name}.8bit.code" in stored:
            error = (value.float().reshape(meant[name].shape) - meant[name]).abs().max() / meant[name].abs().max()
            assert error < 2**-8, (name, error)


def make(folder, name):
    case = CASES[name]
    compression = case["compression"]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rng = np.random.default_rng(zlib.crc32(f"airllm {name}".encode()))
    config = case["config"]
    write_json(folder / "config.json", config)
    tied = {"tied": config["tie_word_embeddings"]}
    tensors = {}
    for tensor, value in published(AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))).items():
        value = torch.from_numpy(fill(tensor, tuple(value.shape), rng, case | tied))
        tensors[tensor] = value.to(dtype_of(config))
    save_tensors(folder / "model.safetensors", tensors)
    layers = Path(utils.split_and_save_layers(folder, compression=compression))
    (folder / "model.safetensors").unlink()

    stored = {}
    for file in sorted(layers.glob("*.safetensors")):
        file.chmod(0o644)
        stored |= load_file(file)
    one = {"4bit": meant_4bit, "8bit": meant_8bit}[compression]
    meant = {name: one(stored, name, value.shape) for name, value in tensors.items()}
    check(stored, meant)
    with tempfile.TemporaryDirectory() as other:
        other = Path(other)
        write_json(other / "config.json", config)
        save_tensors(other / "model.safetensors", meant)
        golden = draw(read(other), rng)
    save_tensors(folder / "golden.safetensors", golden | decoded_rows(stored, meant))
    describe(name, golden, sum(file.stat().st_size for file in folder.rglob("*")))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = Path(__file__).resolve().parents[2]
    parser.add_argument("--out", type=Path, default=root / "tests/data/families", help="where the folders go")
    parser.add_argument("--only", action="append", choices=CASES, help="make only this one; may be repeated")
    arguments = parser.parse_args()
    torch.Tensor.cuda = on_cpu
    # What AirLLM asks of a GPU.
    functional.QuantState.from_dict = classmethod(
        lambda cls, qs_dict, device, inner=functional.QuantState.from_dict.__func__: inner(cls, qs_dict, "cpu")
    )
    for name in arguments.only or CASES:
        make(arguments.out / name, name)


if __name__ == "__main__":
    main()
