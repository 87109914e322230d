"""Makes small random checkpoints of many model families under tests/data/families, with the logits of their reference.

Each folder is what the family publishes, only smaller: config.json in the family's own spelling, tensors under their
published names. `families.py` and `families_moe.py` list those that transformers reads as they are; `rearranged.py`
lists those whose code it does not have, each with the checkpoint of a family it has that means the same. Everything is
seeded by the folder's name: adding one changes no other.

    python make_families.py [--out DIR] [--only NAME]...
"""

import json
import shutil
import tempfile
import zlib
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

import families
import families_moe
import rearranged
from reference import asked_for, describe, golden_logits, greedy, logits_of, save_tensors, spread

TOKENS = 24
STEPS = 16
FIRST_ID = 3
FAMILIES = families.FAMILIES | families_moe.FAMILIES | rearranged.FAMILIES
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
GREEDY_MARGIN = 0.01
DISTINCT = 4  # of the new ids, at least
ROUTER_MARGIN = 2e-3

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def published(model):
    """Names and shapes of the tensors of `model` as its family publishes them (experts one by one, and so on)."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return load_file(Path(folder) / "model.safetensors")


def fill(name, shape, rng, case):
    """Values for one tensor, in f32. `case` may override the spread of names that end in a given way."""
    for ending, std in case.get("spread", {}).items():
        if name.endswith(ending):
            return spread(rng, shape, std)
    last = name.rsplit(".", 2)[-2] if name.endswith((".weight", ".bias")) else name.rsplit(".", 1)[-1]
    if "norm" in name.lower() or last.startswith("ln_"):
        if name.endswith(".bias"):
            return spread(rng, shape, 0.3)
        unit_offset = case.get("unit_offset", False) and ".linear_attn." not in name
        return spread(rng, shape, 0.3, 0.0 if unit_offset else 1.0)
    if last == "A_log":
        return np.log(rng.uniform(0.05, 2.0, shape)).astype(np.float32)
    if last == "conv1d":
        return spread(rng, shape, 0.6)
    if last == "e_score_correction_bias":
        return spread(rng, shape, 0.15)
    if last in ("dt_bias", "sinks"):
        return spread(rng, shape, 1.0)
    if name.endswith("bias"):
        return spread(rng, shape, 0.4)
    if "embed" in name or last == "wte":
        return spread(rng, shape, 0.22 if case["tied"] else 0.6)
    if last in ("lm_head", "output", "output_layer"):
        return spread(rng, shape, 1.6 / shape[-1] ** 0.5)
    if last in ("gate", "router"):
        return spread(rng, shape, 2.5 / shape[-1] ** 0.5)
    inputs = shape[-2] if len(shape) == 3 else shape[-1]  # experts stored together are [expert, input, output]
    return spread(rng, shape, 1.5 / inputs**0.5)


class Routers:
    """Sees every router of a mixture of experts while it is open."""

    def __init__(self, model):
        self.calls = []
        modules = [module for module in model.modules() if type(module).__name__.lower().endswith("router")]
        self.hooks = [module.register_forward_hook(self._keep) for module in modules]

    def _keep(self, module, _inputs, output):
        self.calls.append((module, output))

    def close(self):
        for hook in self.hooks:
            hook.remove()
        return self.calls


def gap(scores, k):
    """The smallest distance, over all rows, of the k-th best score to the one after it."""
    if k >= scores.shape[-1]:
        return float("inf")
    best = scores.sort(dim=-1, descending=True).values
    return float((best[:, k - 1] - best[:, k]).min())


def router_margin(module, logits):
    """How near a tie the choices of one router are."""
    kind, k = type(module).__name__, module.top_k
    if not kind.startswith("Deepseek"):
        return gap(logits, k)
    groups = getattr(module, "num_group", None) or 1
    if kind.startswith("DeepseekV2"):
        if module.topk_method == "greedy":
            return gap(logits, k)
        scores = logits
        by_group = scores.view(len(scores), groups, -1)
        group_scores = by_group.max(dim=-1).values
    else:
        scores = logits.sigmoid() + module.e_score_correction_bias
        by_group = scores.view(len(scores), groups, -1)
        group_scores = by_group.topk(2, dim=-1).values.sum(dim=-1)
    kept = group_scores.topk(module.topk_group, dim=-1).indices
    mask = torch.zeros_like(group_scores).scatter_(1, kept, 1.0).bool()
    inside = by_group.masked_fill(~mask.unsqueeze(-1), -1e9).flatten(1)
    return min(gap(group_scores, module.topk_group), gap(inside, k))


def choices(model, ids):
    """The experts chosen [layers that have any, T, k], in rising order, and the nearest to a tie of any choice."""
    routers = Routers(model)
    logits_of(model, ids)
    calls = routers.close()
    if not calls:
        return None, float("inf")
    chosen, margins = [], []
    for module, output in calls:
        logits = output[1] if type(module).__name__ == "Llama4Router" else output[0]
        indices = next((part for part in output if part.dtype == torch.int64), logits.topk(module.top_k).indices)
        chosen.append(indices.sort(dim=-1).values.to(torch.int32))
        margins.append(router_margin(module, logits.float()))
    return torch.stack(chosen), min(margins)


def draw(model, rng):
    """Random ids whose continuation has no near tie, neither between ids nor between experts, and what it gives."""
    for _ in range(300):
        ids = rng.integers(FIRST_ID, model.config.vocab_size, TOKENS).tolist()
        ids[TOKENS // 2] = ids[3]  # only its position tells the two apart
        if choices(model, ids)[1] < ROUTER_MARGIN:
            continue
        new, margins = greedy(model, ids, STEPS)
        if len(set(new)) < DISTINCT or min(margins) < GREEDY_MARGIN:
            continue
        if choices(model, ids + new)[1] < ROUTER_MARGIN:
            continue
        golden = golden_logits(model, ids, STEPS)
        chosen = choices(model, ids)[0]
        return golden if chosen is None else golden | {"chosen": chosen}
    raise ValueError("every draw leads to a near tie")


def read(folder):
    """The model as the reference reads it from `folder`, with every tensor used and every weight given."""
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager",
        output_loading_info=True,
    )  # fmt: skip
    assert not any(info.values()), info
    return model.eval()


def expect(config, wanted):
    """Checks that the reference understood the fields of a config as meant."""
    for path, value in wanted.items():
        found = config
        for part in path.split("."):
            found = found[part] if isinstance(found, dict) else getattr(found, part)
        assert found == value, f"{path} is {found}, not {value}"


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def dtype_of(config):
    return DTYPES[config.get("torch_dtype") or "bfloat16"]


def read_as_published(folder, name, rng):
    """Fills `folder` with a checkpoint that the reference reads itself."""
    case = FAMILIES[name]
    understood = AutoConfig.from_pretrained(folder)
    expect(understood, case.get("expect", {}))
    case = case | {"tied": understood.tie_word_embeddings}
    tensors = {}
    for tensor, value in published(AutoModelForCausalLM.from_config(understood)).items():
        kept = torch.float32 if tensor.endswith("e_score_correction_bias") else dtype_of(case["config"])
        tensors[tensor] = torch.from_numpy(fill(tensor, tuple(value.shape), rng, case)).to(kept)
    assert set(case.get("has", [])) <= set(tensors), sorted(tensors)
    save_tensors(folder / "model.safetensors", tensors)

    model = read(folder)
    again = published(model)
    assert again.keys() == tensors.keys() and all(torch.equal(again[key], tensors[key].float()) for key in tensors)
    return model


def read_rearranged(folder, name, rng):
    """Fills `folder` with a checkpoint that the reference only reads as one of another family."""
    case = FAMILIES[name] | {"tied": False}
    config = case["config"]
    tensors = {
        tensor: torch.from_numpy(fill(tensor, shape, rng, case)).to(dtype_of(config))
        for tensor, shape in case["shapes"](config).items()
    }
    tensors |= case["fixed"](config) if "fixed" in case else {}
    tensors |= case["codes"](config, rng) if "codes" in case else {}
    save_tensors(folder / "model.safetensors", tensors)

    wide = {tensor: value.float() if value.is_floating_point() else value for tensor, value in tensors.items()}
    if case.get("reference"):
        return case["reference"](config, wide)
    with tempfile.TemporaryDirectory() as other:
        other = Path(other)
        config, wide = case["equivalent"](config, wide)
        write_json(other / "config.json", config)
        save_tensors(other / "model.safetensors", wide)
        return read(other)


def respell(folder, golden):
    """Writes the config once more as transformers 5 spells it, and checks that it means the same.

    Checkpoints saved anew have that spelling: rope inside `rope_parameters`, layers named one by one, `dtype`.
    """
    with tempfile.TemporaryDirectory() as other:
        other = Path(other)
        AutoConfig.from_pretrained(folder).save_pretrained(other)
        shutil.copy(folder / "model.safetensors", other)
        again = logits_of(read(other), golden["ids"].tolist())
        assert torch.equal(again, golden["logits"]), "the two spellings differ"
        write_json(folder / "config.rope_parameters.json", json.loads((other / "config.json").read_text()))


def make(folder, name):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rng = np.random.default_rng(zlib.crc32(f"family {name}".encode()))
    write_json(folder / "config.json", FAMILIES[name]["config"])
    rearrange = name in rearranged.FAMILIES
    model = (read_rearranged if rearrange else read_as_published)(folder, name, rng)
    golden = draw(model, rng)
    if not rearrange:
        respell(folder, golden)
    save_tensors(folder / "golden.safetensors", golden)
    describe(name, golden, sum(file.stat().st_size for file in folder.iterdir()))


def main():
    out, names = asked_for(__doc__, FAMILIES, "families")
    for name in names:
        make(out / name, name)


if __name__ == "__main__":
    main()
