"""Makes GGUF files of the small checkpoints in tests/data/families, with the same weights.

These are the ones that today's converter does not make (see make_converted.py): files of older layouts and in parts, and
small ones with sizes that it takes from a family's number of layers. Tensors get the names, the order of rows and the offsets that llama.cpp's converter gives them; values are not rounded, so
that the golden logits of a family hold for its file. What the format cannot say (a family's number of layers or of heads
stands for it) is said by keys that the published files do not need.

    python make_families_gguf.py [--out DIR] [--only NAME]...
"""

import json
import re

import gguf
import numpy as np
import torch
from gguf import MODEL_ARCH as Arch
from safetensors.torch import load_file

from llama_gguf import permute
from reference import DATA, asked_for

# What comes behind `model.layers.N.`, and GGUF's stem.
LLAMA = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
SANDWICH = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
FUSED = {"self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up"}
PHI = {"self_attn.dense": "attn_output", "mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down"}
STARCODER = {"mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"}
QWEN = {
    "ln_1": "attn_norm",
    "ln_2": "ffn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "mlp.w1": "ffn_up",
    "mlp.w2": "ffn_gate",
    "mlp.c_proj": "ffn_down",
}
ROUTER = {"mlp.gate": "ffn_gate_inp", "mlp.gate.e_score_correction_bias": "exp_probs_b"}
EXPERTS = {f"mlp.experts.*.{part}_proj": f"ffn_{part}_exps" for part in ("gate", "up", "down")}
SHARED = {f"mlp.shared_expert.{part}_proj": f"ffn_{part}_shexp" for part in ("gate", "up", "down")}
MOE = ROUTER | EXPERTS | SHARED | {"mlp.shared_expert_gate": "ffn_gate_inp_shexp"}
DEEPSEEK = ROUTER | EXPERTS | {
    "self_attn.q_a_proj": "attn_q_a",
    "self_attn.q_a_layernorm": "attn_q_a_norm",
    "self_attn.q_b_proj": "attn_q_b",
    "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
    "self_attn.kv_a_layernorm": "attn_kv_a_norm",
    "self_attn.kv_b_proj": "attn_kv_b",
    "self_attn.k_b_proj": "attn_k_b",
    "self_attn.v_b_proj": "attn_v_b",
    **{name.replace("shared_expert", "shared_experts"): stem for name, stem in SHARED.items()},
}  # fmt: skip
GATED_DELTA = MOE | {
    "post_attention_layernorm": "post_attention_norm",
    "linear_attn.in_proj_qkvz": "ssm_in",
    "linear_attn.in_proj_qkv": "attn_qkv",
    "linear_attn.in_proj_z": "attn_gate",
    "linear_attn.in_proj_ba": "ssm_ba",
    "linear_attn.conv1d": "ssm_conv1d",
    "linear_attn.A_log": "ssm_a",
    "linear_attn.dt_bias": "ssm_dt",
    "linear_attn.norm": "ssm_norm",
    "linear_attn.out_proj": "ssm_out",
}
OUTER = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "model.final_layernorm": "output_norm",
    "lm_head": "output",
    "model.tok_embeddings": "token_embd",
    "output": "output",
    "transformer.wte": "token_embd",
    "transformer.ln_f": "output_norm",
    "transformer.embedding.word_embeddings": "token_embd",
    "transformer.encoder.final_layernorm": "output_norm",
    "transformer.output_layer": "output",
}
# Vectors that have no kind of their own, and what the converter makes them.
BARE = {"e_score_correction_bias": "bias", "sinks": "weight", "dt_bias": "bias", "A_log": ""}
LAYERS = ("model.layers.", "transformer.encoder.layers.", "transformer.h.")

# permuted: the converter puts neighbours next to each other in Q and K. unit: it adds 1 to norms, but those of a delta
# rule. whole: keys and values of latent attention in one matrix, as files had them before 2025-04; since then apart, keys
# transposed.
FAMILIES = {
    "baichuan-7b": {"arch": Arch.BAICHUAN, "permuted": True},
    "baichuan-13b": {"arch": Arch.BAICHUAN, "permuted": True, "alibi": True},
    "deepseek-v2-even": {"arch": Arch.DEEPSEEK2, "names": DEEPSEEK, "whole": True},
    "gemma2": {"arch": Arch.GEMMA2, "names": SANDWICH, "unit": True},
    "gemma3": {"arch": Arch.GEMMA3, "names": SANDWICH, "unit": True},
    "gemma3-layer-types": {"arch": Arch.GEMMA3, "names": SANDWICH, "unit": True},
    "glm": {"arch": Arch.CHATGLM, "names": FUSED},
    "phi-2": {"arch": Arch.PHI2, "names": PHI},
    "qwen": {"arch": Arch.QWEN, "names": QWEN},
    "qwen2": {"arch": Arch.QWEN2},
    "qwen3-moe-dense-layers": {"arch": Arch.QWEN3MOE, "names": MOE},
    "qwen3-next": {"arch": Arch.QWEN3NEXT, "names": GATED_DELTA, "unit": True},
    "starcoder2": {"arch": Arch.STARCODER2, "names": STARCODER},
}
# Also written as a model in several files.
IN_PARTS = "qwen2"
# Written as older files have it: a delta rule's queries, keys, values and gates in one matrix, by key heads.
OLDER = "qwen3-next"


def first(config, *names, default=None):
    """The first of some fields that the config has."""
    return next((config[name] for name in names if config.get(name) is not None), default)


def sizes(config):
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    kv_heads = first(config, "num_key_value_heads", "multi_query_group_num", default=heads)
    return heads, kv_heads, first(config, "head_dim", "kv_channels", default=hidden // heads)


def write_metadata(writer, name, config, case):
    heads, kv_heads, head_dim = sizes(config)
    arch = case["arch"]
    writer.add_context_length(first(config, "seq_length", "max_position_embeddings", "model_max_length"))
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(first(config, "num_hidden_layers", "num_layers"))
    writer.add_feed_forward_length(first(config, "intermediate_size_mlp", "intermediate_size", "ffn_hidden_size"))
    writer.add_head_count(heads)
    if arch is Arch.DEEPSEEK2:
        write_latent(writer, config, case)
    else:
        writer.add_head_count_kv(kv_heads)
    if "head_dim" in config:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if eps := first(config, "rms_norm_eps", "layernorm_epsilon"):
        writer.add_layer_norm_rms_eps(eps)
    elif arch is Arch.QWEN:
        writer.add_layer_norm_rms_eps(config["layer_norm_epsilon"])
    else:
        writer.add_layer_norm_eps(first(config, "layer_norm_eps", "norm_epsilon"))
    theta = first(config, "rope_theta", "rotary_emb_base", default=10000.0) * config.get("rope_ratio", 1.0)
    writer.add_rope_freq_base(float(theta))
    rotated = first(config, "partial_rotary_factor", default=case.get("rotated"))
    if rotated is not None:
        writer.add_rope_dimension_count(int(head_dim * rotated))
    write_experts(writer, config, arch)
    windowless = (Arch.QWEN2, Arch.QWEN3, Arch.SMOLLM3, Arch.QWEN2MOE, Arch.QWEN3MOE)
    if config.get("sliding_window") and arch not in windowless:
        writer.add_sliding_window(config["sliding_window"])
    for field, add in [
        ("logit_scale", writer.add_logit_scale),
        ("attn_logit_softcapping", writer.add_attn_logit_softcapping),
        ("final_logit_softcapping", writer.add_final_logit_softcapping),
        ("attention_multiplier", writer.add_attention_scale),
        ("residual_multiplier", writer.add_residual_scale),
        ("embedding_multiplier", writer.add_embedding_scale),
        ("logits_scaling", writer.add_logit_scale),
    ]:
        if config.get(field) is not None:
            add(config[field])
    if "query_pre_attn_scalar" in config:
        writer.add_attention_scale(config["query_pre_attn_scalar"] ** -0.5)
    if arch is Arch.GEMMA3:
        kinds = config.get("layer_types")
        pattern = [kind == "sliding_attention" for kind in kinds] if kinds else config["sliding_window_pattern"]
        key = gguf.Keys.Attention.SLIDING_WINDOW_PATTERN.format(arch=gguf.MODEL_ARCH_NAMES[arch])
        writer.add_array(key, pattern) if kinds else writer.add_uint32(key, pattern)
        writer.add_key_value("gemma3.rope.freq_base_swa", config["rope_local_base_freq"], gguf.GGUFValueType.FLOAT32)
    if case.get("alibi"):  # what 40 layers say of published files
        writer.add_max_alibi_bias(8.0)
    if arch is Arch.STABLELM:
        writer.add_parallel_residual(True)  # as the converter writes it where the config is silent
    if arch is Arch.QWEN3NEXT:
        write_delta_rule(writer, config)
    scaling = config.get("rope_scaling") or {}
    if scaling.get("rope_type") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling["factor"])
    if "yarn" in (scaling.get("type"), scaling.get("rope_type")):
        assert scaling.get("mscale") == scaling.get("mscale_all_dim"), "the format has one number for both"
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(scaling["factor"])
        writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
        writer.add_rope_scaling_yarn_beta_fast(scaling["beta_fast"])
        writer.add_rope_scaling_yarn_beta_slow(scaling["beta_slow"])
        if "mscale_all_dim" in scaling:
            writer.add_rope_scaling_yarn_log_mul(0.1 * scaling["mscale_all_dim"])
    if "long_factor" in scaling:
        original, positions = config["original_max_position_embeddings"], config["max_position_embeddings"]
        writer.add_rope_scaling_orig_ctx_len(original)
        writer.add_rope_scaling_attn_factors((1 + np.log(positions / original) / np.log(original)) ** 0.5)
        writer.add_tensor("rope_factors_long.weight", np.array(scaling["long_factor"], dtype=np.float32))
        writer.add_tensor("rope_factors_short.weight", np.array(scaling["short_factor"], dtype=np.float32))


def write_latent(writer, config, case):
    heads, rank, rotated = config["num_attention_heads"], config["kv_lora_rank"], config["qk_rope_head_dim"]
    key, value = config["qk_nope_head_dim"] + rotated, config["v_head_dim"]
    if case.get("whole"):
        writer.add_head_count_kv(heads)
        writer.add_key_length(key)
        writer.add_value_length(value)
    else:
        # One head for all, of the latent row.
        writer.add_head_count_kv(1)
        writer.add_key_length(rank + rotated)
        writer.add_value_length(rank)
        writer.add_key_length_mla(key)
        writer.add_value_length_mla(value)
    writer.add_kv_lora_rank(rank)
    if config.get("q_lora_rank"):
        writer.add_q_lora_rank(config["q_lora_rank"])
    writer.add_rope_dimension_count(rotated)
    writer.add_leading_dense_block_count(config["first_k_dense_replace"])


def write_delta_rule(writer, config):
    heads = config["linear_num_value_heads"]
    writer.add_ssm_conv_kernel(config["linear_conv_kernel_dim"])
    writer.add_ssm_state_size(config["linear_key_head_dim"])
    writer.add_ssm_group_count(config["linear_num_key_heads"])
    writer.add_ssm_time_step_rank(heads)
    writer.add_ssm_inner_size(config["linear_value_head_dim"] * heads)
    writer.add_full_attention_interval(config["full_attention_interval"])


def write_experts(writer, config, arch):
    experts = first(config, "num_local_experts", "num_experts", "n_routed_experts")
    if experts is None:
        return
    if arch is Arch.LLAMA4:
        writer.add_interleave_moe_layer_step(config["interleave_moe_layer_step"])
    if arch in (Arch.GPT_OSS, Arch.LLAMA4):
        writer.add_expert_feed_forward_length(config["intermediate_size"])
    writer.add_expert_count(experts)
    writer.add_expert_used_count(config["num_experts_per_tok"])
    for field, add in [
        ("moe_intermediate_size", writer.add_expert_feed_forward_length),
        ("shared_expert_intermediate_size", writer.add_expert_shared_feed_forward_length),
        ("n_shared_experts", writer.add_expert_shared_count),
        ("n_group", writer.add_expert_group_count),
        ("topk_group", writer.add_expert_group_used_count),
        ("routed_scaling_factor", writer.add_expert_weights_scale),
    ]:
        if config.get(field) is not None:
            add(config[field])
    # The others' router is as llama.cpp has it of their architecture.
    if arch is Arch.DEEPSEEK2 and config["norm_topk_prob"] or arch is Arch.QWEN3MOE and not config["norm_topk_prob"]:
        writer.add_expert_weights_norm(config["norm_topk_prob"])
    if (scores := config.get("scoring_func")) is not None:
        kind = gguf.ExpertGatingFuncType
        writer.add_expert_gating_func(kind.SIGMOID if scores == "sigmoid" else kind.SOFTMAX)


def renamed(name, names):
    """(GGUF's name, stem) of a tensor."""
    stem, kind = name.rsplit(".", 1)
    if kind in BARE:
        stem, kind = name, BARE[kind]
    kind = kind and f".{kind}"
    for prefix in LAYERS:
        if stem.startswith(prefix):
            layer, stem = stem.removeprefix(prefix).split(".", 1)
            stem = names[stem]
            return f"blk.{layer}.{stem}{kind}", stem
    return f"{OUTER[stem]}{kind}", OUTER[stem]


def stacked(tensors):
    """The tensors, those of experts as one for all experts, whose number becomes a `*`."""
    experts = {}
    for name, value in tensors.items():
        if found := re.fullmatch(r"(.*\.experts\.)(\d+)(\..*)", name):
            experts.setdefault(found[1] + "*" + found[3], {})[int(found[2])] = value
        else:
            yield name, value
    for name, slabs in experts.items():
        yield name, torch.stack([slabs[expert] for expert in range(len(slabs))])


def split(name, value, config, case):
    """The published tensor, or the parts that the converter makes of it."""
    heads, kv_heads, head_dim = sizes(config)
    if name.endswith("W_pack.weight"):
        for part, rows in zip("qkv", value.chunk(3)):
            yield name.replace("W_pack", f"{part}_proj"), rows
    elif name.endswith("kv_b_proj.weight") and not case.get("whole"):
        parts = value.reshape(heads, -1, value.shape[1]).split((config["qk_nope_head_dim"], config["v_head_dim"]), dim=1)
        yield name.replace("kv_b_proj", "k_b_proj"), parts[0].transpose(1, 2)
        yield name.replace("kv_b_proj", "v_b_proj"), parts[1]
    elif name.endswith("A_log"):
        yield name, -torch.exp(value.float())
    else:
        yield name, value


def make(source, out, name, tensors_each=0):
    """Writes the file of a family, or several, each with so many tensors."""
    case = FAMILIES[name]
    config = json.loads((source / name / "config.json").read_text())
    heads, kv_heads, _ = sizes(config)
    names = LLAMA | case.get("names", {})
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.gguf"
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[case["arch"]], split_max_tensors=tensors_each)
    write_metadata(writer, name, config, case)
    for published, whole in stacked(load_file(source / name / "model.safetensors")):
        if published.endswith("inv_freq"):
            continue
        for part, value in split(published, whole, config, case):
            theirs, stem = renamed(part, names)
            # The converter drops axes of one.
            value = value.float().squeeze().numpy()
            if case.get("permuted") and stem in ("attn_q", "attn_k"):
                value = permute(value, heads if stem == "attn_q" else kv_heads)
            if case.get("unit") and stem.endswith("norm") and stem != "ssm_norm":
                value = value + 1
            if value.ndim == 1 or stem.endswith(("norm", "conv1d")) or theirs.endswith(".bias"):
                writer.add_tensor(theirs, np.ascontiguousarray(value, dtype=np.float32))
            else:
                write_matrix(writer, theirs, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    files = [path] if path.is_file() else out.glob(f"{name}-*-of-*.gguf")
    print(f"{name}: {sum(file.stat().st_size for file in files)} bytes")


def write_matrix(writer, name, value):
    """A matrix in the smallest type that keeps every value."""
    narrow = torch.from_numpy(np.ascontiguousarray(value)).bfloat16()
    if torch.equal(narrow.float(), torch.from_numpy(value.copy())):
        data = narrow.view(torch.uint16).numpy().view(np.uint8)
        return writer.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType.BF16)
    half = value.astype(np.float16)
    exact = np.array_equal(half.astype(np.float32), value)
    return writer.add_tensor(name, half if exact else np.ascontiguousarray(value))


def main():
    out, names = asked_for(__doc__, FAMILIES, "families-gguf")
    for name in names:
        make(DATA / "families", out / "older" if name == OLDER else out, name)
    if IN_PARTS in names:
        make(DATA / "families", out / "parts", IN_PARTS, tensors_each=9)


if __name__ == "__main__":
    main()
