"""Weights that a name and a place decide: the golden scripts and the tests make the same ones, so none are committed.

Value `i` of a tensor is `mean + reach * u`, rounded to bf16. `u` lies in [-1, 1) and is the top 24 bits of a hash of the
tensor's name and `i` (FNV-1a, then the finalizer of SplitMix64). tests/common/seeded.rs is the twin.
"""

import json

import numpy as np
import torch

MASK = (1 << 64) - 1


def seed_of(name):
    """FNV-1a of the name, in 64 bits."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) & MASK
    return seed


def values(name, count, mean, reach):
    """`count` values in f32, before they are rounded to bf16."""
    with np.errstate(over="ignore"):
        bits = np.uint64(seed_of(name)) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits ^= bits >> np.uint64(31)
    unit = (bits >> np.uint64(40)).astype(np.float64) * 2.0**-23 - 1.0
    return (mean + reach * unit).astype(np.float32)


def tensor(name, shape, mean, reach):
    """The tensor in bf16."""
    flat = torch.from_numpy(values(name, int(np.prod(shape, dtype=np.int64)), mean, reach))
    return flat.to(torch.bfloat16).reshape(shape)


def write_list(path, recipes):
    """One line a tensor: name, shape, mean and reach."""
    lines = [f" {json.dumps(name)}: {json.dumps(recipe)}" for name, recipe in sorted(recipes.items())]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
