"""How compressed-tensors and ModelOpt keep a matrix: quantizers as in `quantized.py`, packed by compressed-tensors itself.

What is packed is read back by compressed-tensors too, with scales widened to f32: with its own types it rounds every product to
them.
"""

import torch
from compressed_tensors.compressors.mxfp4.base import MXFP4PackedCompressor
from compressed_tensors.compressors.nvfp4.base import NVFP4PackedCompressor
from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam


def scheme(**weights):
    return QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**weights))


def group_of(scheme):
    """The group of a config."""
    return {"targets": ["Linear"], "weights": scheme.weights.model_dump(mode="json", exclude_none=True)}


def ends(weight, group):
    parts = weight.reshape(weight.shape[0], -1, group)
    return parts.amin(-1), parts.amax(-1)


def integers(scheme, dtype=torch.bfloat16):
    """`pack-quantized`: whole numbers with a scale, and maybe a zero, for each group of columns or row."""

    def quantize(_rng, weight):
        scale, zero = calculate_qparams(*ends(weight, scheme.weights.group_size or weight.shape[1]), scheme.weights)
        state = {"weight": weight, "weight_scale": scale.to(dtype), "weight_zero_point": zero.to(torch.int8)}
        packed = PackedQuantizationCompressor.compress(state, scheme)
        wide = packed | {"weight_scale": packed["weight_scale"].float()}
        return packed, PackedQuantizationCompressor.decompress(wide, scheme)["weight"]

    return quantize


NVFP4 = scheme(num_bits=4, type="float", strategy="tensor_group", group_size=16)
MXFP4 = scheme(num_bits=4, type="float", strategy="group", group_size=32, scale_dtype=torch.uint8)


def fp4_of(packed):
    return unpack_fp4_from_uint8(packed, packed.shape[0], packed.shape[1] * 2, torch.float32)


def nvfp4(_rng, weight):
    """`nvfp4-pack-quantized`: scales of eight bits, which a number for the whole matrix divides."""
    whole = generate_gparam(weight.amin(), weight.amax())
    scale, _ = calculate_qparams(*ends(weight, 16), NVFP4.weights, whole)
    state = {"weight": weight, "weight_scale": scale, "weight_global_scale": whole}
    packed = NVFP4PackedCompressor.compress(state, NVFP4)
    scale = packed["weight_scale"].float().repeat_interleave(16, 1)
    packed["input_global_scale"] = torch.ones(1)
    return packed, fp4_of(packed["weight_packed"]) * (scale / whole)


def model_opt_nvfp4(rng, weight):
    """ModelOpt's NVFP4: the same, with a factor in place of the divisor."""
    packed, _ = nvfp4(rng, weight)
    whole = 1 / packed["weight_global_scale"].reshape(())
    scale = packed["weight_scale"].float().repeat_interleave(16, 1)
    parts = {"weight": packed["weight_packed"], "weight_scale": packed["weight_scale"], "weight_scale_2": whole}
    return parts | {"input_scale": torch.ones(())}, fp4_of(packed["weight_packed"]) * (scale * whole)


def model_opt_fp8(_rng, weight):
    """ModelOpt's FP8: a scale for the whole matrix."""
    scale = weight.abs().amax() / 448
    quants = (weight / scale).clamp(-448, 448).to(torch.float8_e4m3fn)
    parts = {"weight": quants, "weight_scale": scale.reshape(()), "input_scale": torch.ones(())}
    return parts, quants.float() * scale


def mxfp4(_rng, weight):
    """`mxfp4-pack-quantized`: scales that are powers of two."""
    scale, _ = calculate_qparams(*ends(weight, 32), MXFP4.weights)
    packed = MXFP4PackedCompressor.compress({"weight": weight, "weight_scale": scale}, MXFP4)
    power = 2.0 ** (packed["weight_scale"].float() - 127)
    return packed, fp4_of(packed["weight_packed"]) * power.repeat_interleave(32, 1)
