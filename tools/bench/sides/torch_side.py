"""PyTorch with transformers as one side of a comparison: all weights resident, on the CPU by default.

    python torch_side.py FOLDER --dtype bf16|f32 [--device cpu]
"""

import argparse
import time
from importlib.metadata import version

import torch
from answering import serve, threads
from transformers import AutoModelForCausalLM


def load(options):
    torch.set_num_threads(threads())
    dtype = {"bf16": torch.bfloat16, "f32": torch.float32}[options.dtype]
    start = time.perf_counter()
    model = AutoModelForCausalLM.from_pretrained(options.folder, dtype=dtype).to(options.device).eval()
    about = {
        "version": f"torch {version('torch')}, transformers {version('transformers')}",
        "adapter": f"{options.device}, {torch.get_num_threads()} threads",
        "load_s": time.perf_counter() - start,
    }

    # Without the loop of `generate`, which costs some milliseconds a token.
    @torch.inference_mode()
    def answer(ids, max_tokens, note):
        step, past = torch.tensor([ids], device=options.device), None
        for _ in range(max_tokens):
            output = model(step, past_key_values=past, use_cache=True, logits_to_keep=1)
            step, past = output.logits[:, -1].argmax(-1, keepdim=True), output.past_key_values
            note(step.item())

    return about, answer


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("folder")
parser.add_argument("--dtype", choices=("bf16", "f32"), required=True)
parser.add_argument("--device", default="cpu")
arguments = parser.parse_args()
serve(lambda: load(arguments))
