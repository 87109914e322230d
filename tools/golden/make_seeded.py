"""Makes golden data of the families whose weights are made from a seed, under tests/data/families.

Each folder holds config.json as the family publishes it, config.rope_parameters.json as transformers writes it,
tensors.json (names, shapes and how far values reach), and golden.safetensors. The weights themselves are made anew by
whoever needs them: see seeded.py.

    python make_seeded.py [--out DIR] [--only NAME]...
"""

import json
import shutil
import tempfile
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

import families_gemma4
import families_late
import families_seeded
import seeded
from reference import asked_for, describe, golden_logits, logits_of, save_tensors

TOKENS = 20
STEPS = 16
FIRST_ID = 3
FAMILIES = families_seeded.FAMILIES | families_late.FAMILIES | families_gemma4.FAMILIES
GREEDY_MARGIN = 0.005
DISTINCT = 4  # of the new ids, at least
CHOICE_MARGIN = 4e-4

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def recipe(name, shape, case):
    """Mean and reach of a tensor's values: enough to make every part of a model matter."""
    root3 = 3.0**0.5
    last = name.rsplit(".", 2)[-2] if name.endswith((".weight", ".bias")) else name.rsplit(".", 1)[-1]
    for ending, (mean, std) in case.get("spread", {}).items():
        if name.endswith(ending):
            return mean, std * root3
    if "norm" in name.lower() or ".ln_" in name:
        if name.endswith(".bias"):
            return 0.0, 0.5
        offset = case.get("unit_offset", False) and ".linear_attn." not in name
        return (0.0, 0.5) if offset else (1.0, 0.5)
    if last == "A_log":
        return -0.5, 1.2
    if last == "conv1d":
        return 0.0, 1.0
    if "e_score_correction_bias" in name or "moe_statics" in name or last == "expert_bias":
        return 0.0, 0.25
    if last in ("dt_bias", "sinks"):
        return 0.0, 1.7
    if name.endswith("bias"):
        return 0.0, 0.7
    if "embed" in name:
        return 0.0, (0.22 if case.get("tied") else 0.6) * root3
    if last == "lm_head":
        return 0.0, 1.6 / shape[-1] ** 0.5 * root3
    if last in ("gate", "router", "wg"):
        return 0.0, 2.5 / shape[-1] ** 0.5 * root3
    inputs = case["hidden"] if len(shape) == 3 and last.startswith("gate") else (shape or [1])[-1]
    return 0.0, 1.5 / inputs**0.5 * root3


def published(model, fused):
    """Names and shapes of the tensors of `model` as transformers writes them, in the names that the family publishes, or as
    it keeps them, experts of a layer in one."""
    if fused:
        return {name: tuple(value.shape) for name, value in model.state_dict().items()}
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return {name: tuple(value.shape) for name, value in load_file(Path(folder) / "model.safetensors").items()}


def model_class(config):
    return getattr(transformers, config["architectures"][0])


def read(folder, config):
    """The model as the reference reads it from `folder`, with every tensor used and every weight given."""
    model, info = model_class(config).from_pretrained(
        folder, config=AutoConfig.from_pretrained(folder), dtype=torch.float32, attn_implementation="eager", experts_implementation="eager",
        output_loading_info=True,
    )  # fmt: skip
    assert not any(info.values()), info
    return model.eval()


@contextmanager
def choices_seen():
    """Sees how near a tie the choices of routers are while it is open: each is a `topk`."""
    margins, plain, method = [], torch.topk, torch.Tensor.topk

    def keep(scores, k, dim):
        if dim in (-1, scores.dim() - 1) and k < scores.shape[-1]:
            best = plain(scores.float(), k + 1, dim=-1).values
            margins.append(float((best[..., k - 1] - best[..., k]).min()))

    def topk(scores, k, dim=-1, *args, **kwargs):
        keep(scores, k, dim)
        return plain(scores, k, dim, *args, **kwargs)

    torch.topk = torch.Tensor.topk = topk
    try:
        yield margins
    finally:
        torch.topk, torch.Tensor.topk = plain, method


def is_clear(model, ids):
    """Whether a continuation of `ids` has no near tie, neither between ids nor between experts."""
    new = []
    for _ in range(STEPS + 1):
        with choices_seen() as margins:
            best = logits_of(model, ids + new)[-1].topk(2)
        near = [margin for margin in margins[:-1] if margin < CHOICE_MARGIN]
        if near or float(best.values[0] - best.values[1]) < GREEDY_MARGIN:
            return False
        new.append(int(best.indices[0]))
    return len(set(new)) >= DISTINCT


def draw(model, rng):
    """Random ids with a clear continuation, and what it gives."""
    vocab = model.config.get_text_config().vocab_size
    for _ in range(400):
        ids = rng.integers(FIRST_ID, vocab, TOKENS).tolist()
        ids[TOKENS // 2] = ids[3]  # only its position tells the two apart
        if is_clear(model, ids):
            return golden_logits(model, ids, STEPS)
    raise ValueError("every draw leads to a near tie")


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def make(folder, name):
    case = FAMILIES[name]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = case["config"]
    write_json(folder / "config.json", config)
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        shutil.copy(folder / "config.json", work)
        understood = AutoConfig.from_pretrained(work)
        text = understood.get_text_config()
        case = {"tied": bool(getattr(understood, "tie_word_embeddings", False)), "hidden": text.hidden_size} | case
        torch.manual_seed(1)
        shapes = published(model_class(config)._from_config(understood), case.get("fused", False))
        assert set(case.get("has", [])) <= set(shapes), sorted(shapes)
        # The reference may write names that are not those which the family publishes.
        names = {tensor.replace(*case.get("publish", ("", ""))): tensor for tensor in shapes}
        recipes = {ours: [list(shapes[name]), *recipe(ours, shapes[name], case)] for ours, name in names.items()}
        weights = {names[ours]: seeded.tensor(ours, *recipe) for ours, recipe in recipes.items()}
        save_file(weights, work / "model.safetensors", metadata={"format": "pt"})
        model = read(work, config)
        golden = draw(model, np.random.default_rng(zlib.crc32(f"family {name}".encode())))
        understood.save_pretrained(work)
        again = json.loads((work / "config.json").read_text())
        again.setdefault("architectures", config["architectures"])
        write_json(work / "config.json", again)
        assert torch.equal(logits_of(read(work, again), golden["ids"].tolist()), golden["logits"])
    write_json(folder / "config.rope_parameters.json", again)
    seeded.write_list(folder / "tensors.json", recipes)
    save_tensors(folder / "golden.safetensors", golden)
    describe(name, golden, sum(file.stat().st_size for file in folder.iterdir()))


def main():
    out, names = asked_for(__doc__, FAMILIES, "families")
    for name in names:
        make(out / name, name)


if __name__ == "__main__":
    main()
