"""Compares Tilestream with PyTorch (transformers), both with all weights resident: same checkpoint, same prompt.

    cargo xtask bench pytorch -- [--prompt-tokens 128] [--tokens 16] [--repeats 3] [--dtypes bf16,f32] [--device cpu]
                                 [--json FILE]

The GGUF file is dequantized once into a Hugging Face folder in bf16. Tilestream runs it as it is and computes in f32;
PyTorch with a thread for each core, in bf16 and with the same weights widened to f32, in a plain loop over the model's
forward function, which is faster than `generate`.

Needs Python with torch and transformers (a few GB, in cache/venv/airllm the first time) and 3 GB of memory. On two
cores the defaults take 2 minutes.
"""

import sys
from functools import partial
from pathlib import Path

from support import ROOT, SIDES, Side, bf16_folder, check, compare, parser, tilestream


def main():
    options = arguments()
    folder, context = bf16_folder(options.model, options.folder), options.prompt_tokens + options.tokens
    torch = [sys.executable, SIDES / "torch_side.py", folder, "--device", options.device]
    sides = [partial(tilestream, "Tilestream bf16", folder, context, options.budget, most=0.0)]
    sides += [partial(Side, f"PyTorch {dtype}", [*torch, "--dtype", dtype]) for dtype in options.dtypes.split(",")]
    compare("pytorch", options, sides)


def arguments():
    options = parser(__doc__, model="a GGUF file", tokens=16, prompt_tokens=128, repeats=3)
    options.add_argument("--dtypes", default="bf16,f32", help="of PyTorch (%(default)s)")
    options.add_argument("--budget", help="Tilestream's cap on GPU memory (all that the model needs)")
    options.add_argument("--device", default="cpu", help="where PyTorch computes: cpu, cuda:0")
    options.add_argument("--folder", type=Path, default=ROOT / "cache/models/airllm", help="of the bf16 weights")
    options = options.parse_args()
    check(options)
    return options


main()
