"""Compares Tilestream with AirLLM, which also streams weights, layer by layer: same weights in bf16, same prompt.

    cargo xtask bench airllm -- [--tokens 4] [--prompt-tokens 32] [--repeats 2] [--budget SIZE] [--device cpu]
                                [--json FILE]

The GGUF file is dequantized once into a Hugging Face folder in bf16, from which both run. The default budget lets
Tilestream keep at most 4 % of the weights beside what it needs in any case. AirLLM reads all of them for each token, so
this is a comparison only while Tilestream streams at least 90 % too: below that the script exits with an error.

Needs Python with torch, transformers and AirLLM (a few GB, in cache/venv/airllm the first time) and 2 GB of memory. On
two cores the defaults take 2 minutes: AirLLM takes about 9 seconds a token.
"""

import statistics
import sys
from functools import partial
from pathlib import Path

from support import ROOT, SIDES, Side, bf16_folder, check, compare, inspect, parser, streamed_share, tilestream

LEAST_STREAMED = 0.9
PINNED_AT_MOST = 0.04  # of the weights, under the default budget


def main():
    options = arguments()
    folder, context = bf16_folder(options.model, options.folder), options.prompt_tokens + options.tokens
    budget = options.budget or default_budget(inspect(folder, context))
    airllm = [sys.executable, SIDES / "airllm_side.py", folder, "--device", options.device]
    sides = [partial(tilestream, "Tilestream", folder, context, budget, least=LEAST_STREAMED)]
    sides += [partial(Side, "AirLLM", airllm)]
    compare("airllm", options, sides, note)


def default_budget(found):
    """Bytes: the smallest budget, and a little for larger windows."""
    return found["smallest_budget_bytes"] + int(PINNED_AT_MOST * found["bytes"])


def note(results):
    share = streamed_share(results["Tilestream"])
    seconds = {name: 1 / statistics.median(result["decode_tokens_per_s"]) for name, result in results.items()}
    ours, theirs = f"Tilestream {seconds['Tilestream']:.3f}", f"AirLLM {seconds['AirLLM']:.3f}"
    yield f"seconds a token: {ours} with {share:.1%} of the weights streamed, {theirs}"


def arguments():
    options = parser(__doc__, model="a GGUF file", tokens=4, prompt_tokens=32, repeats=2)
    options.add_argument("--budget", help="Tilestream's cap on GPU memory")
    options.add_argument("--device", default="cpu", help="where AirLLM computes: cpu, cuda:0")
    options.add_argument("--folder", type=Path, default=ROOT / "cache/models/airllm", help="of the bf16 weights")
    options = options.parse_args()
    check(options)
    return options


main()
