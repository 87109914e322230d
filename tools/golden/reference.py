"""What the golden scripts share: the reference run, greedy continuation and writing of results.

The reference is `transformers` on the CPU in f32, with eager attention (plain matrix products and a softmax), so that
the numbers do not depend on which fused kernel a machine happens to have. Weights are used exactly as stored: bf16,
f16 and quantized values are widened to f32, nothing is rounded again.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

torch.set_num_threads(2)
torch.set_grad_enabled(False)

DATA = Path(__file__).resolve().parents[2] / "tests/data"


def asked_for(doc, cases, out):
    """What the command line of a script asks it to make: the folder, below tests/data, and the names of cases."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--out", type=Path, default=DATA / out, help="where the results go")
    parser.add_argument("--only", action="append", choices=cases, help="make only this one; may be repeated")
    arguments = parser.parse_args()
    return arguments.out, arguments.only or list(cases)


class Trace:
    """Collects the residual stream of one forward pass: the embeddings, then the output of each decoder layer."""

    def __init__(self, model):
        self.states = []
        self.hooks = [model.model.embed_tokens.register_forward_hook(self._keep)]
        self.hooks += [layer.register_forward_hook(self._keep) for layer in model.model.layers]

    def _keep(self, _module, _inputs, output):
        self.states.append((output[0] if isinstance(output, tuple) else output).reshape(-1, output.shape[-1]).clone())

    def close(self):
        for hook in self.hooks:
            hook.remove()
        return torch.stack(self.states)


def logits_of(model, ids):
    """Logits [T, vocab] of one sequence, computed in one pass without a cache."""
    return model(torch.tensor([list(ids)]), use_cache=False).logits[0].float()


def greedy(model, ids, steps, stop=()):
    """Greedy continuation: the new ids, and the margin (best minus second logit) of every step.

    Each step runs the whole sequence again. That is slow and has no cache that could be wrong.
    """
    sequence, new, margins = list(ids), [], []
    for _ in range(steps):
        best = logits_of(model, sequence)[-1].topk(2)
        token = int(best.indices[0])
        new.append(token)
        margins.append(float(best.values[0] - best.values[1]))
        sequence.append(token)
        if token in stop:
            break
    return new, margins


def draw_ids(model, rng, low, count, steps, clear_margin=0.01):
    """Random ids to ask `model` about, drawn again while a step of the continuation is nearly a tie.

    A tie would make the greedy ids a matter of rounding. One id appears twice, so that only its position tells the two
    apart.
    """
    for _ in range(100):
        ids = rng.integers(low, model.config.vocab_size, count).tolist()
        ids[count // 2] = ids[3]
        if min(greedy(model, ids, steps)[1]) > clear_margin:
            return ids
    raise ValueError("every draw leads to a near tie")


def golden_logits(model, ids, steps):
    """What every golden file holds, whatever the parts of the model are called: the logits and the continuation."""
    new, margins = greedy(model, ids, steps)
    return {
        "ids": torch.tensor(ids, dtype=torch.int64),
        "logits": logits_of(model, ids).contiguous(),
        "greedy": torch.tensor(new, dtype=torch.int64),
        "greedy_margin": torch.tensor(margins, dtype=torch.float32),
    }


def golden_tensors(model, ids, steps):
    """The tensors of a golden file of the Llama family: the logits, and what led to them layer by layer."""
    trace = Trace(model)
    logits_of(model, ids)
    states = trace.close()
    rotary = model.model.rotary_emb
    return golden_logits(model, ids, steps) | {
        "residual": states.contiguous(),
        "inv_freq": rotary.inv_freq.float().contiguous(),
        "rope_scale": torch.tensor([float(rotary.attention_scaling)]),
    }


def save_tensors(path, tensors):
    """Writes a safetensors file that others may read: the library itself leaves it to its owner alone."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata={"format": "pt"})
    path.chmod(0o644)


def describe(name, tensors, size_bytes):
    """One line a person can judge by: are the logits diverse, is any greedy choice a near tie?"""
    logits, margins = tensors["logits"], tensors["greedy_margin"]
    assert torch.isfinite(logits).all(), name
    print(
        f"{name:28} {size_bytes / 1024:6.0f} KiB  logits std {logits.std():5.2f}  "
        f"distinct best {len(set(logits.argmax(-1).tolist())):3}  smallest margin {margins.min():.4f}"
    )


def spread(rng, shape, std, mean=0.0):
    return (rng.standard_normal(shape) * std + mean).astype(np.float32)
