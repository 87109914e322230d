"""Makes the PyTorch files under tests/data/pytorch: one tiny model in every form that `torch.save` gives it.

    model.safetensors                      what the others are compared with
    pytorch_model.bin                      one file; the head is tied to the embeddings and shares their storage
    pytorch_model.bin.index.json, -0000*   the same in two files
    checkpoint.pt                          what a training script saves: the state dict among other things
    protocol4.bin                          the same with newer opcodes
    transposed.bin, legacy.bin             what is refused: strides, and the format before PyTorch 1.6

    python make_pytorch.py [--out DIR]
"""

import argparse
import io
import shutil
import zlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

from make_small import BASE, weights, write_json
from reference import save_tensors

CONFIG = {
    **BASE,
    "hidden_size": 24,
    "intermediate_size": 36,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 61,
    "tie_word_embeddings": True,
}
HEAD, EMBEDDINGS = "lm_head.weight", "model.embed_tokens.weight"


def state_dict():
    """The model as `Module.state_dict()` has it: matrices in bf16, norms in f32, the tied head as one more name."""
    rng = np.random.default_rng(zlib.crc32(b"pytorch"))
    tensors = OrderedDict()
    for name, value in weights(CONFIG, rng).items():
        tensors[name] = torch.from_numpy(value).to(torch.float32 if "norm" in name else torch.bfloat16)
    # Q and K are views of one storage, as of a module whose projections were fused.
    q, k = (f"model.layers.0.self_attn.{part}_proj.weight" for part in "qk")
    rows = tensors[q].shape[0]
    both = torch.cat([tensors[q], tensors[k]])
    tensors[q], tensors[k] = both[:rows], both[rows:]
    tensors[HEAD] = tensors[EMBEDDINGS]
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.arange(6, dtype=torch.float32)
    tensors._metadata = OrderedDict({"": {"version": 1}, "model": {"version": 1}})
    return tensors


def save_sharded(folder, tensors):
    names, where = list(tensors), {}
    for number, part in enumerate(np.array_split(names, 2), start=1):
        file = f"pytorch_model-{number:05}-of-00002.bin"
        torch.save({name: tensors[name] for name in part.tolist()}, folder / file)
        where.update({name: file for name in part.tolist()})
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
    write_json(folder / "pytorch_model.bin.index.json", index)


def save_legacy(path):
    """The start of a file in the format before PyTorch 1.6; what follows holds addresses, which differ every time."""
    buffer = io.BytesIO()
    torch.save({"model.norm.weight": torch.zeros(2)}, buffer, _use_new_zipfile_serialization=False)
    path.write_bytes(buffer.getvalue()[:96])


def make(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_json(folder / "config.json", CONFIG)
    tensors = state_dict()
    # A safetensors file holds no tensor twice.
    alone = {name: tensor.clone() for name, tensor in tensors.items() if name != HEAD}
    save_tensors(folder / "model.safetensors", alone)
    torch.save(tensors, folder / "pytorch_model.bin")
    save_sharded(folder, tensors)
    parameters = {name: torch.nn.Parameter(tensor) for name, tensor in tensors.items()}
    training = {"model": parameters, "epoch": 3, "loss": 0.5, "steps": 2**40, "betas": [0.9, 0.95], "best": None}
    torch.save(training, folder / "checkpoint.pt")
    torch.save(tensors, folder / "protocol4.bin", pickle_protocol=4)
    torch.save({"model.norm.weight": torch.zeros(3, 2).t()}, folder / "transposed.bin")
    save_legacy(folder / "legacy.bin")
    for file in sorted(folder.iterdir()):
        file.chmod(0o644)
        print(f"{file.name:36} {file.stat().st_size / 1024:6.1f} KiB")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = Path(__file__).resolve().parents[2]
    parser.add_argument("--out", type=Path, default=root / "tests/data/pytorch", help="the folder")
    make(parser.parse_args().out)


if __name__ == "__main__":
    main()
