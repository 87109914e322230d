"""Makes the small GGUF files under tests/data/small-gguf, one for each tensor type, with the reference's logits.

All are Llama models with a byte-level tokenizer of 271 tokens. Matrices are in the type that names the file, norms in
F32. The reference reads the file just written, so a mistake in writing cannot hide in the golden numbers.

    python make_small_gguf.py [--out DIR] [--only NAME]...
"""

import json
import math
import struct
import zlib

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from gguf.quants import NVFP4, Q4_K, quantize
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from llama_gguf import File, permute
from reference import asked_for, describe, draw_ids, golden_tensors, save_tensors, spread

TOKENS = 24
STEPS = 16

PLAIN = {"hidden": 64, "inter": 96, "heads": 4, "kv_heads": 2, "layers": 2}
# Rows of 3 and of 5 blocks: 54 and 90 bytes in Q4_0, which nothing aligns.
BLOCKS_OF_32 = {"hidden": 96, "inter": 160, "heads": 4, "kv_heads": 2, "layers": 2}
BLOCKS_OF_256 = {"hidden": 256, "inter": 512, "heads": 4, "kv_heads": 2, "layers": 1}

CASES = {
    "F32": {**PLAIN, "type": Type.F32, "tied": True},
    "F16": {**PLAIN, "type": Type.F16},
    "BF16": {**PLAIN, "type": Type.BF16},
    "Q4_0": {**BLOCKS_OF_32, "type": Type.Q4_0},
    "Q4_1": {**BLOCKS_OF_32, "type": Type.Q4_1},
    "Q5_0": {**BLOCKS_OF_32, "type": Type.Q5_0},
    "Q5_1": {**BLOCKS_OF_32, "type": Type.Q5_1, "tied": True},
    "Q8_0": {**BLOCKS_OF_32, "type": Type.Q8_0},
    "Q4_K": {**BLOCKS_OF_256, "type": Type.Q4_K},
    "Q5_K": {**BLOCKS_OF_256, "type": Type.Q5_K},
    "Q6_K": {**BLOCKS_OF_256, "type": Type.Q6_K, "tied": True},
    "Q2_K": {**BLOCKS_OF_256, "type": Type.Q2_K},
    "Q3_K": {**BLOCKS_OF_256, "type": Type.Q3_K},
    "IQ4_NL": {**BLOCKS_OF_32, "type": Type.IQ4_NL},
    "IQ4_XS": {**BLOCKS_OF_256, "type": Type.IQ4_XS, "tied": True},
    "TQ1_0": {**BLOCKS_OF_256, "type": Type.TQ1_0, "types": {"token_embd": Type.Q4_K, "output": Type.Q6_K}},
    "TQ2_0": {**BLOCKS_OF_256, "type": Type.TQ2_0, "types": {"token_embd": Type.Q4_K, "output": Type.Q6_K}},
    "MXFP4": {**BLOCKS_OF_32, "type": Type.MXFP4},
    "Q1_0": {"hidden": 128, "inter": 128, "heads": 4, "kv_heads": 2, "layers": 1, "tied": True, "type": Type.Q1_0},
    # Each matrix but the embeddings with a scale of its own, as tools that quantize for this type write it.
    "NVFP4": {"hidden": 64, "inter": 64, "heads": 4, "kv_heads": 2, "layers": 1, "tied": True, "type": Type.NVFP4,
              "scaled": True},
    # All formats with a grid in one file, as tools that give each matrix as few bits as it bears write it.
    "i-quants": {"hidden": 256, "inter": 256, "heads": 2, "kv_heads": 1, "layers": 1, "head_dim": 32, "tied": True,
                 "type": Type.IQ3_S, "every_row1": True, "types": {
                     "attn_q": Type.IQ2_XXS, "attn_k": Type.IQ3_XXS, "attn_v": Type.IQ2_XS, "attn_output": Type.IQ4_NL,
                     "ffn_gate": Type.IQ1_S, "ffn_up": Type.IQ1_M, "ffn_down": Type.IQ2_S}},
    # The header of version 2, which has the same layout.
    "v2": {**PLAIN, "type": Type.F16, "version": 2},
    # What quantizing tools really write: several types in one file. Here also heads wider than hidden / heads, the
    # other tokenizer, and data aligned to 64 bytes instead of 32.
    "mixed": {**BLOCKS_OF_32, "type": Type.Q4_1, "head_dim": 32, "pre": "llama-bpe", "alignment": 64, "tied": True,
              "types": {"token_embd": Type.Q8_0, "attn_v": Type.Q5_0, "ffn_down": Type.F16}},
    # Rotary scaling: divisors of the frequencies as a tensor (Llama 3), and linear as metadata.
    "rope-freqs": {**PLAIN, "type": Type.F16, "head_dim": 32, "theta": 500.0, "llama3": {
        "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8}},
    "rope-linear": {**PLAIN, "type": Type.F16, "linear": 4.0},
}

# What the package can read but not write.
COMPOSED = (Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K, Type.Q6_K, Type.IQ4_NL, Type.IQ4_XS, Type.IQ2_XXS, Type.IQ2_XS,
            Type.IQ2_S, Type.IQ3_XXS, Type.IQ3_S, Type.IQ1_S, Type.IQ1_M, Type.Q1_0, Type.NVFP4)

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["Ġ t", "h e", "Ġt he", "i n", "Ġ a", "e r", "o n", "l l", "ll o", "he llo", "Ġ Ġ", "in g"]
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SAMPLES = [
    "",
    " ",
    "hello",
    "Hello there, the thing on a hill.",
    "in 2024 or 31415926",
    "  two  spaces\n\n\tand tabs ",
    "don't he'll WE'RE",
    "naïve café über",
    "日本語とかな",
    "👩‍🚀🚀",
    "<|im_start|>user\nhello<|im_end|>\n",
    "a<|im_end|>b <|endoftext|>",
    "<|im_sta|>",
]


def byte_letters():
    """The 256 letters by which byte-level BPE spells bytes: printable ones stand for themselves, others move up."""
    own = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    moved = [byte for byte in range(256) if byte not in own]
    return [chr(byte) for byte in own] + [chr(256 + index) for index in range(len(moved))]


def pack_scales(scales, mins):
    """Sixteen 6-bit numbers of each block (8 scales, 8 minima) -> the 12 bytes of Q4_K and Q5_K."""
    low = scales[:, :4] | ((scales[:, 4:] >> 4) << 6)
    middle = mins[:, :4] | ((mins[:, 4:] >> 4) << 6)
    high = (scales[:, 4:] & 15) | ((mins[:, 4:] & 15) << 4)
    packed = np.concatenate([low, middle, high], axis=1).astype(np.uint8)
    back = Q4_K.get_scale_min(packed)
    assert (back[0] == scales).all() and (back[1] == mins).all()
    return packed


def half_bytes(values):
    return values.astype(np.float16).reshape(-1, 1).view(np.uint8)


def random_blocks(rng, kind, rows, columns, std):
    """Random blocks of a type whose values have about this standard deviation and a mean near 0.

    The package can read these types but not write them, so the blocks are composed: any bits are a valid block as long
    as its f16 scales are sane.
    """
    count = rows * columns // gguf.GGML_QUANT_SIZES[kind][0]
    compose = {Type.Q2_K: q2_k, Type.Q3_K: q3_k, Type.Q6_K: q6_k, Type.IQ4_NL: iq4_nl, Type.IQ4_XS: iq4_xs,
               Type.IQ1_M: iq1_m, Type.Q1_0: q1_0, Type.NVFP4: nvfp4} | dict.fromkeys(GRIDS, with_grid)
    return np.concatenate(compose.get(kind, q45_k)(rng, count, std, kind), axis=1).reshape(rows, -1)


def random_bytes(rng, count, length):
    return rng.integers(0, 256, (count, length), dtype=np.uint8)


def vary(rng, count):
    return rng.uniform(0.5, 1.5, count)


def q6_k(rng, count, std, _):
    # value = d * scale * (q - 32), both random over nearly their whole range. Many d are subnormal in f16 here,
    # as they are in real files: a decoder that flushes them to zero fails.
    factor = vary(rng, count)
    scales = (rng.integers(40, 128, (count, 16)) * rng.choice([-1, 1], (count, 16))).astype(np.int8)
    return [random_bytes(rng, count, 128 + 64), scales.view(np.uint8), half_bytes(std / (85 * 18.5) * factor)]


def q45_k(rng, count, std, kind):
    # value = d * scale * q - dmin * min, with q in 0..15 or 0..31; dmin * min is near d * scale * middle.
    factor = vary(rng, count)
    levels, high_bits = (16, 0) if kind == Type.Q4_K else (32, 32)
    scales = rng.integers(16, 64, (count, 8))
    mins = np.clip(np.rint(scales * (levels - 1) / levels) + rng.integers(-3, 4, (count, 8)), 0, 63).astype(int)
    d = (std / (levels / math.sqrt(12) * 41) * factor).astype(np.float16)
    header = [half_bytes(d), half_bytes(d.astype(np.float32) * levels / 2), pack_scales(scales, mins)]
    return [*header, random_bytes(rng, count, high_bits + 128)]


def q2_k(rng, count, std, _):
    # value = d * scale * q - dmin * min, with q in 0..3 and the minimum near the middle.
    scales = rng.integers(4, 16, (count, 16))
    mins = np.clip(scales + rng.integers(-1, 2, (count, 16)), 0, 15)
    d = (std / (1.12 * 10) * vary(rng, count)).astype(np.float16)
    packed = (scales | mins << 4).astype(np.uint8)
    return [packed, random_bytes(rng, count, 64), half_bytes(d), half_bytes(d.astype(np.float32) * 1.5)]


def q3_k(rng, count, std, _):
    # value = d * (scale - 32) * (q - 4), with q in 0..7 and all bits random.
    d = std / (2.35 * 18.5) * vary(rng, count)
    return [random_bytes(rng, count, 32 + 64 + 12), half_bytes(d)]


def iq4_nl(rng, count, std, _):
    return [half_bytes(std / 71 * vary(rng, count)), random_bytes(rng, count, 16)]


def iq4_xs(rng, count, std, _):
    # value = d * (scale - 32) * table[q]
    return [half_bytes(std / (71 * 18.5) * vary(rng, count)), random_bytes(rng, count, 2 + 4 + 128)]


def q1_0(rng, count, std, _):
    return [half_bytes(std * vary(rng, count)), random_bytes(rng, count, 16)]


def nvfp4(rng, count, std, _):
    # The numbers of four random bits have a standard deviation of 2.9.
    scales = NVFP4.fp32_to_ue4m3((std / 2.9 * rng.uniform(0.5, 1.5, (count, 4))).astype(np.float32))
    return [scales.astype(np.uint8), random_bytes(rng, count, 32)]


# What value / d is in a block of random bits: its standard deviation, about.
GRIDS = {Type.IQ2_XXS: 56, Type.IQ2_XS: 56, Type.IQ2_S: 56, Type.IQ3_XXS: 150, Type.IQ3_S: 160, Type.IQ1_S: 7}


def with_grid(rng, count, std, kind):
    # Any bits choose entries of the grid, signs and scales.
    return [half_bytes(std / GRIDS[kind] * vary(rng, count)), random_bytes(rng, count, gguf.GGML_QUANT_SIZES[kind][1] - 2)]


def iq1_m(rng, count, std, _):
    # The f16 lies in the top bits of four words that also have twelve bits of scales each.
    d = (std / 7 * vary(rng, count)).astype(np.float16).view(np.uint16)
    parts = (d[:, None] >> np.array([0, 4, 8, 12], np.uint16) & np.uint16(15)) << np.uint16(12)
    scales = rng.integers(0, 1 << 12, (count, 4), dtype=np.uint16) | parts
    return [random_bytes(rng, count, 32 + 16), scales.astype("<u2").view(np.uint8)]


def rope_divisors(case, head_dim):
    """Llama 3's scaling as the divisors that a GGUF file stores, one for each frequency."""
    settings, wavelengths = case["llama3"], 2 * math.pi * case["theta"] ** (np.arange(0, head_dim, 2) / head_dim)
    turns = settings["original_max_position_embeddings"] / wavelengths
    low, high, factor = settings["low_freq_factor"], settings["high_freq_factor"], settings["factor"]
    smooth = np.clip((turns - low) / (high - low), 0.0, 1.0)
    divisors = (1.0 / ((1.0 - smooth) / factor + smooth)).astype(np.float32)

    # The same as the reference computes from the settings.
    config = LlamaConfig(hidden_size=head_dim, num_attention_heads=1, max_position_embeddings=64, rope_parameters={
        "rope_type": "llama3", "rope_theta": case["theta"], **settings})
    expected, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    assert np.allclose(expected.numpy(), 2 * math.pi / wavelengths / divisors, rtol=1e-6)
    return divisors


def write_metadata(writer, name, case, head_dim):
    tokens = SPECIAL + byte_letters() + [merge.replace(" ", "") for merge in MERGES]
    writer.add_name(f"small {name}")
    writer.add_block_count(case["layers"])
    writer.add_context_length(64)
    writer.add_embedding_length(case["hidden"])
    writer.add_feed_forward_length(case["inter"])
    writer.add_head_count(case["heads"])
    writer.add_head_count_kv(case["kv_heads"])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(case.get("theta", 10000.0))
    if "head_dim" in case:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if "linear" in case:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(case["linear"])
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(case.get("pre", "smollm"))
    writer.add_token_list(tokens)
    writer.add_token_types([3] * len(SPECIAL) + [1] * (len(tokens) - len(SPECIAL)))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)
    return len(tokens)


def write_tensors(writer, rng, case, head_dim, vocab):
    hidden, inter = case["hidden"], case["inter"]

    def matrix(name, rows, columns, std, heads=None):
        kind = case.get("types", {}).get(name.split(".")[-2], case["type"])
        if kind in COMPOSED:
            data = random_blocks(rng, kind, rows, columns, std)
        else:
            data = quantize(spread(rng, (rows, columns), std), kind)
        if heads:  # whole rows move, so a quantized matrix is permuted like a plain one
            data = np.ascontiguousarray(permute(data, heads))
        writer.add_tensor(name, data, raw_dtype=kind)
        if case.get("scaled") and name.startswith("blk."):
            stem = name.removesuffix(".weight")
            writer.add_tensor(f"{stem}.scale", rng.uniform(0.5, 1.5, 1).astype(np.float32))
            writer.add_tensor(f"{stem}.input_scale", np.ones(1, np.float32))

    tied = case.get("tied", False)
    matrix("token_embd.weight", vocab, hidden, 1.5 / hidden**0.5 if tied else 0.6)
    if "llama3" in case:
        writer.add_tensor("rope_freqs.weight", rope_divisors(case, head_dim))
    for index in range(case["layers"]):
        layer = f"blk.{index}"
        queries, keys = case["heads"] * head_dim, case["kv_heads"] * head_dim
        writer.add_tensor(f"{layer}.attn_norm.weight", spread(rng, hidden, 0.3, 1.0))
        matrix(f"{layer}.attn_q.weight", queries, hidden, 1.5 / hidden**0.5, case["heads"])
        matrix(f"{layer}.attn_k.weight", keys, hidden, 1.5 / hidden**0.5, case["kv_heads"])
        matrix(f"{layer}.attn_v.weight", keys, hidden, 1.5 / hidden**0.5)
        matrix(f"{layer}.attn_output.weight", hidden, queries, 1.5 / queries**0.5)
        writer.add_tensor(f"{layer}.ffn_norm.weight", spread(rng, hidden, 0.3, 1.0))
        matrix(f"{layer}.ffn_gate.weight", inter, hidden, 1.5 / hidden**0.5)
        matrix(f"{layer}.ffn_up.weight", inter, hidden, 1.5 / hidden**0.5)
        matrix(f"{layer}.ffn_down.weight", hidden, inter, 1.5 / inter**0.5)
    writer.add_tensor("output_norm.weight", spread(rng, hidden, 0.3, 1.0))
    if not tied:
        matrix("output.weight", vocab, hidden, 1.6 / hidden**0.5)


def make(folder, name):
    case = CASES[name]
    path = folder / f"{name}.gguf"
    rng = np.random.default_rng(zlib.crc32(f"gguf {name}".encode()))
    head_dim = case.get("head_dim", case["hidden"] // case["heads"])

    writer = gguf.GGUFWriter(path, "llama")
    if "alignment" in case:
        writer.add_custom_alignment(case["alignment"])
    vocab = write_metadata(writer, name, case, head_dim)
    write_tensors(writer, rng, case, head_dim, vocab)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    if "version" in case:
        with open(path, "r+b") as file:
            file.seek(4)
            file.write(struct.pack("<I", case["version"]))

    source = File(path)
    model = source.model()
    golden = golden_tensors(model, draw_ids(model, rng, len(SPECIAL), TOKENS, STEPS), STEPS)
    # Two dequantized rows in the file's own order, to test decoding alone: of the embeddings and of one matrix.
    golden["embed_row0"] = torch.from_numpy(source.array("token_embd.weight")[0])
    golden["down_row1"] = torch.from_numpy(source.array("blk.0.ffn_down.weight")[1])
    golden["query_row1"] = torch.from_numpy(source.array("blk.0.attn_q.weight")[1])
    if "every_row1" in case:
        matrices = [tensor for tensor, found in source.tensors.items() if len(found.shape) == 2]
        golden |= {f"{tensor} row 1": torch.from_numpy(source.array(tensor)[1]) for tensor in matrices}
        del golden["residual"]
    save_tensors(folder / f"{name}.golden.safetensors", golden)
    describe(name, golden, path.stat().st_size)
    return source


def write_samples(folder, sources):
    """Token ids of a few awkward texts under both tokenizers, and one chat rendered through the template."""
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": " hello  there\n"}]
    result = {}
    for name in ("F16", "mixed"):
        source = sources[name]
        tokenizer = source.tokenizer()
        texts = []
        for text in SAMPLES:
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            decoded = tokenizer.decode(ids, skip_special_tokens=False)
            assert decoded == text, (text, decoded)
            texts.append({"text": text, "ids": ids})
        result[source.meta["tokenizer.ggml.pre"]] = {"file": f"{name}.gguf", "texts": texts}
    result["chat"] = {"messages": messages, "rendered": sources["F16"].render(messages)}
    (folder / "text.golden.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


def main():
    out, names = asked_for(__doc__, CASES, "small-gguf")
    out.mkdir(parents=True, exist_ok=True)
    sources = {name: make(out, name) for name in names}
    if names == list(CASES):
        write_samples(out, sources)


if __name__ == "__main__":
    main()
