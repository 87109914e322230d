"""Writes tests/data/gguf-blocks.json: what `gguf` decodes random blocks to, as a checksum for each type.

The blocks of a type are random bytes that its name decides, so that the test makes them anew. Enough of them are decoded
that every entry of every grid is there.

    python make_gguf_blocks.py [--out FILE]
"""

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize

KINDS = (Type.IQ2_XXS, Type.IQ2_XS, Type.IQ2_S, Type.IQ3_XXS, Type.IQ3_S, Type.IQ1_S, Type.IQ1_M, Type.NVFP4)
BLOCKS = 2048
FILE = Path(__file__).resolve().parents[2] / "tests/data/gguf-blocks.json"

NAN = 0x7FC00000


def mix(values):
    """The finalizer of SplitMix64."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def numbers(count, seed):
    """`count` random numbers of 64 bits."""
    return mix(np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))


def seed_of(name):
    """FNV-1a of a name, in 64 bits."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    return seed


def random_blocks(kind):
    """[BLOCKS, bytes of a block]"""
    count = BLOCKS * gguf.GGML_QUANT_SIZES[kind][1]
    return numbers(count // 8, seed_of(kind.name)).astype("<u8").view(np.uint8).reshape(BLOCKS, -1)


def checksum(bits):
    """A sum over positions and bits of f32 values, of which all that are no numbers count as the same."""
    values = bits.view(np.float32)
    bits = np.where(np.isnan(values), np.uint32(NAN), bits).astype(np.uint64)
    places = np.arange(len(bits), dtype=np.uint64) << np.uint64(32)
    return int(mix(places | bits).sum(dtype=np.uint64))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FILE, help="where the result goes")
    out, result = parser.parse_args().out, {}
    for kind in KINDS:
        with np.errstate(all="ignore"):
            values = np.ascontiguousarray(dequantize(random_blocks(kind), kind), dtype=np.float32).reshape(-1)
        bits = values.view(np.uint32)
        result[kind.name.lower()] = {
            "blocks": BLOCKS,
            "checksum": f"{checksum(bits):016x}",
            # For who looks for a mistake.
            "first": [f"{word:08x}" for word in bits[:16]],
        }
        print(f"{kind.name:8} {np.isfinite(values).mean():.3f} finite, {len(np.unique(np.abs(values)))} magnitudes")
    out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
