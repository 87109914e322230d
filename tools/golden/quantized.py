"""What `make_quantized.py` makes: how each kind of checkpoint keeps a matrix, and the numbers that it stands for.

A quantizer takes a matrix [rows, columns] in f32 and gives the tensors that are stored for it, by the endings of their
names, and the weights that they mean in f32. Nothing here is read back with the code that is tested: the numbers come
from the formulas of the formats.
"""

import numpy as np
import torch


def repeated(scales, high, wide, shape):
    return scales.repeat_interleave(high, 0).repeat_interleave(wide, 1)[: shape[0], : shape[1]]


def fp8_blocks(rng, weight, scale_dtype=torch.float32):
    """deepseek-ai/DeepSeek-V3, Qwen/Qwen3-8B-FP8: a scale for each block of 128 x 128."""
    down, across = -(-weight.shape[0] // 128), -(-weight.shape[1] // 128)
    # Blocks of very different size: a scale in the wrong place is noticed.
    sizes = torch.from_numpy(rng.uniform(0.4, 2.5, (down, across)).astype(np.float32))
    weight = weight * repeated(sizes, 128, 128, weight.shape)
    padded = torch.zeros(down * 128, across * 128)
    padded[: weight.shape[0], : weight.shape[1]] = weight
    largest = padded.reshape(down, 128, across, 128).abs().amax((1, 3))
    scale = (largest / 448).to(scale_dtype)
    wide = repeated(scale.float(), 128, 128, weight.shape)
    quants = (weight / wide).clamp(-448, 448).to(torch.float8_e4m3fn)
    return {"weight": quants, "weight_scale_inv": scale}, quants.float() * wide


def fp8_rows(_rng, weight):
    """compressed-tensors `float-quantized`, strategy `channel`: a bf16 scale for each row."""
    scale = (weight.abs().amax(1, keepdim=True) / 448).to(torch.bfloat16)
    quants = (weight / scale.float()).clamp(-448, 448).to(torch.float8_e4m3fn)
    return {"weight": quants, "weight_scale": scale}, quants.float() * scale.float()


def fp8_whole(_rng, weight):
    """compressed-tensors `float-quantized`, strategy `tensor`: one scale, and one for the activations."""
    scale = (weight.abs().amax() / 448).reshape(1)
    quants = (weight / scale).clamp(-448, 448).to(torch.float8_e4m3fn)
    return {"weight": quants, "weight_scale": scale, "input_scale": torch.ones(1)}, quants.float() * scale


def int8_rows(_rng, weight):
    """compressed-tensors `int-quantized`, strategy `channel`."""
    scale = weight.abs().amax(1, keepdim=True) / 127
    quants = (weight / scale).round().clamp(-128, 127).to(torch.int8)
    return {"weight": quants, "weight_scale": scale}, quants.float() * scale


def grouped(weight, bits, groups, symmetric):
    """Whole quants [columns, rows], f16 scales and zeros [groups, rows]; `groups` is the group of each column."""
    turned = weight.T.contiguous()
    most = 2**bits - 1
    count = int(groups.max()) + 1
    scales, zeros = [], []
    for group in range(count):
        part = turned[groups == group]
        low, high = part.amin(0).clamp(max=0), part.amax(0).clamp(min=0)
        if symmetric:
            scale = torch.maximum(-low, high) * 2 / most
            zero = torch.full_like(scale, (most + 1) // 2)
        else:
            scale = (high - low) / most
            zero = (-low / scale).round().clamp(1, most)
        scales.append(scale.half())
        zeros.append(zero)
    scales, zeros = torch.stack(scales), torch.stack(zeros)
    quants = (turned / scales.float()[groups] + zeros[groups]).round().clamp(0, most)
    return quants.to(torch.int64), scales, zeros.to(torch.int64)


def pack(values, bits, axis, places=None):
    """Packs along an axis into int32, number i of a word at `places[i]` (from the lowest bits on)."""
    in_word = 32 // bits
    places = places or range(in_word)
    values = values.movedim(axis, -1)
    values = values.reshape(*values.shape[:-1], -1, in_word)
    words = sum(values[..., i] << (bits * place) for i, place in enumerate(places))
    words = torch.where(words >= 2**31, words - 2**32, words)
    return words.to(torch.int32).movedim(-1, axis).contiguous()


def gptq(rng, weight, bits=4, group=32, symmetric=False, version=1, act_order=False):
    """AutoGPTQ and GPTQModel: qweight packs columns, qzeros rows; version 1 keeps zeros less one."""
    columns = weight.shape[1]
    groups = torch.arange(columns) // group
    if act_order:
        groups = groups[torch.from_numpy(rng.permutation(columns))]
    quants, scales, zeros = grouped(weight, bits, groups, symmetric)
    stored = {
        "qweight": pack(quants, bits, 0),
        "qzeros": pack(zeros - (1 if version == 1 else 0), bits, 1),
        "scales": scales,
        "g_idx": groups.to(torch.int32),
    }
    meant = scales.float()[groups] * (quants - zeros[groups]).float()
    # Columns in no order are computed in f16 by the reference.
    return stored, (meant.half().float() if act_order else meant).T.contiguous()


# AutoAWQ packs eight rows so that a kernel unpacks them in pairs.
AWQ_PLACES = [0, 4, 1, 5, 2, 6, 3, 7]


def awq(_rng, weight, group=128):
    groups = torch.arange(weight.shape[1]) // group
    quants, scales, zeros = grouped(weight, 4, groups, False)
    stored = {"qweight": pack(quants, 4, 1, AWQ_PLACES), "qzeros": pack(zeros, 4, 1, AWQ_PLACES), "scales": scales}
    return stored, (scales.float()[groups] * (quants - zeros[groups]).float()).T.contiguous()
