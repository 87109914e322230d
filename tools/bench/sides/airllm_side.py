"""AirLLM as one side of a comparison: it reads the weights of each layer for each token. It splits the folder into one
file a layer when it first sees it.

    python airllm_side.py FOLDER [--device cpu]
"""

import argparse
import time
from importlib.metadata import version

import torch
from answering import serve, threads


class Streamer:
    """Takes part in `generate`: the prompt comes first, then each new token."""

    def __init__(self, note):
        self.note, self.prompt_seen = note, False

    def put(self, value):
        if self.prompt_seen:
            self.note(value.item())
        self.prompt_seen = True

    def end(self):
        pass


def load(options):
    torch.set_num_threads(threads())
    start = time.perf_counter()
    from airllm import AutoModel

    model = AutoModel.from_pretrained(options.folder, device=options.device, dtype=torch.bfloat16)
    model.model.generation_config.eos_token_id = None  # go on after the end of the turn
    about = {
        "version": f"AirLLM {version('airllm')}, torch {version('torch')}, transformers {version('transformers')}",
        "adapter": f"{options.device}, {torch.get_num_threads()} threads",
        "load_s": time.perf_counter() - start,
    }

    @torch.no_grad()
    def answer(ids, max_tokens, note):
        ids = torch.tensor([ids], device=options.device)
        model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=max_tokens,
            pad_token_id=2,
            do_sample=False,
            use_cache=True,
            streamer=Streamer(note),
        )

    return about, answer


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("folder")
parser.add_argument("--device", default="cpu")
arguments = parser.parse_args()
serve(lambda: load(arguments))
