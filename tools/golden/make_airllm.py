"""Makes small checkpoints under tests/data/families as AirLLM leaves them, with the logits of the weights they stand for.

AirLLM itself splits a small Llama into a folder of layers, and bitsandbytes quantizes each tensor of them, on the CPU
here. What the numbers mean is written out from the formats' formulas, and compared with what bitsandbytes decodes.

    python make_airllm.py [--out DIR] [--only NAME]...
"""

import zlib
from pathlib import Path

import numpy as np
import torch
from airllm import utils
from bitsandbytes import functional
from safetensors.torch import load_file

from make_quantized import finish, llama, plain
from reference import asked_for

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
    rng = np.random.default_rng(zlib.crc32(f"airllm {name}".encode()))
    tensors = plain(folder, case, rng)
    layers = Path(utils.split_and_save_layers(folder, compression=compression))
    (folder / "model.safetensors").unlink()

    stored = {}
    for file in sorted(layers.glob("*.safetensors")):
        file.chmod(0o644)
        stored |= load_file(file)
    one = {"4bit": meant_4bit, "8bit": meant_8bit}[compression]
    meant = {name: one(stored, name, value.shape) for name, value in tensors.items()}
    check(stored, meant)
    finish(folder, name, case, stored, meant, rng)


def main():
    out, names = asked_for(__doc__, CASES, "families")
    torch.Tensor.cuda = on_cpu
    # What AirLLM asks of a GPU.
    functional.QuantState.from_dict = classmethod(
        lambda cls, qs_dict, device, inner=functional.QuantState.from_dict.__func__: inner(cls, qs_dict, "cpu")
    )
    for name in names:
        make(out / name, name)


if __name__ == "__main__":
    main()
