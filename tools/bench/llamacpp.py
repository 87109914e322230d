"""Compares Tilestream with llama.cpp on one GGUF file: reading a prompt, and decoding after it.

    cargo xtask bench llamacpp -- [--prompt-tokens 512] [--tokens 16] [--repeats 2] [--backends vulkan,cpu]
                                  [--budget 24MiB] [--threads N] [--device 0] [--json FILE]

llama.cpp runs with its Vulkan backend, on the adapter `--device` of `vulkaninfo --summary` (software adapters too), and
on the CPU, with a thread for each core unless `--threads` says otherwise. All sides get the same prompt ids and take
turns. Prefill is the prompt's length by the time to the first token, loading left out.

Needs Node.js with npm: llama.cpp comes prebuilt from there, into `--modules`. On two cores with a software adapter
the defaults take about 4 minutes, most of it llama.cpp's prompts on Vulkan; `--backends cpu` about 1 minute.
"""

import shutil
from functools import partial
from pathlib import Path

from support import ROOT, SIDES, Side, check, compare, parser, tilestream


def main():
    options = arguments()
    node = shutil.which("node") or shutil.which("nodejs")
    if not node:
        raise SystemExit("no Node.js is here; install it (with npm) and try again")
    context = options.prompt_tokens + options.tokens
    side = [node, SIDES / "llamacpp_side.mjs", options.model, "--context", context, "--modules", options.modules]
    side += ["--device", options.device] + (["--threads", options.threads] if options.threads else [])
    names = {"vulkan": "llama.cpp Vulkan", "cpu": "llama.cpp CPU"}
    sides = [partial(tilestream, "Tilestream", options.model, context, options.budget)]
    sides += [partial(Side, names[backend], [*side, "--backend", backend]) for backend in options.backends.split(",")]
    compare("llamacpp", options, sides)


def arguments():
    options = parser(__doc__, model="a GGUF file", tokens=16, prompt_tokens=512, repeats=2)
    options.add_argument("--backends", default="vulkan,cpu", help="of llama.cpp (%(default)s)")
    options.add_argument("--budget", help="Tilestream's cap on GPU memory (all that the model needs)")
    options.add_argument("--threads", type=int, help="of llama.cpp (all cores)")
    options.add_argument("--device", default="0", help="llama.cpp's Vulkan adapter (%(default)s)")
    options.add_argument("--modules", type=Path, default=ROOT / "cache/npm/llamacpp", help="folder of npm's packages")
    options = options.parse_args()
    check(options)
    if not set(options.backends.split(",")) <= {"vulkan", "cpu"}:
        raise SystemExit(f"--backends {options.backends}: vulkan and cpu are known")
    return options


main()
