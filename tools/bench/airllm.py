"""Compares Tilestream with AirLLM, which also streams weights, layer by layer: same weights in bf16, same prompt.

    python airllm.py MODEL.gguf [--tokens 8] [--repeats 2] [--chat capital] [--device cpu] [--budget 30MiB]
                     [--folder DIR] [--tilestream-model PATH] [--only airllm|tilestream]

The GGUF file is dequantized once into a Hugging Face folder in bf16 (DIR, a folder under the system's temporary one
when not given), from which both engines run. Tilestream is $TILESTREAM or target/release/tilestream, and is left out
when missing. AirLLM splits the folder into one file a layer when it first sees it; that is reported apart.

A table goes to stderr and one JSON object to stdout.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# This file has the name of the package it measures: its own folder must not be searched for imports.
sys.path[0] = str(ROOT / "tools/golden")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gguf", type=Path)
    parser.add_argument("--tokens", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--chat", default="capital", help="a chat of tests/data/smollm2/golden.json with one message")
    parser.add_argument("--device", default="cpu", help="where AirLLM computes: cpu, cuda:0")
    parser.add_argument("--budget", help="Tilestream's cap on GPU memory, such as 30MiB")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "tilestream-bench-airllm")
    parser.add_argument("--tilestream-model", type=Path, help="what Tilestream runs, when not the bf16 folder")
    parser.add_argument("--only", choices=("airllm", "tilestream"))
    return parser.parse_args()


def load_chat(name):
    golden = json.loads((ROOT / "tests/data/smollm2/golden.json").read_text())
    for chat in golden["chats"]:
        if chat["name"] == name and len(chat["messages"]) == 1:
            return chat
    raise SystemExit(f"no chat {name} with a single message in golden.json")


def make_folder(gguf, folder):
    """The weights in bf16 with config and tokenizer, in several files: AirLLM asks for an index."""
    if (folder / "config.json").exists():
        return
    import torch
    from llama_gguf import File
    from transformers import PreTrainedTokenizerFast

    source = File(gguf)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=source.tokenizer(), bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>"
    )
    tokenizer.chat_template = source.meta["tokenizer.chat_template"]
    tokenizer.save_pretrained(folder)
    model = source.model().to(torch.bfloat16)
    model.config.dtype = torch.bfloat16
    model.save_pretrained(folder, max_shard_size="100MB")


class Clock:
    """Takes part in `generate` as a streamer: notes when each new token arrives."""

    def __init__(self):
        self.prompt_seen, self.times, self.ids = False, [], []

    def put(self, value):
        if not self.prompt_seen:
            self.prompt_seen = True
            return
        self.times.append(time.perf_counter())
        self.ids += value.reshape(-1).tolist()

    def end(self):
        pass


def summary(values, best):
    return {"median": round(statistics.median(values), 4), best.__name__: round(best(values), 4)}


def run_airllm(options, chat):
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    started = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        from airllm import AutoModel

        model = AutoModel.from_pretrained(str(options.folder), device=options.device, dtype=torch.bfloat16)
    load_s = time.perf_counter() - started

    model.model.generation_config.eos_token_id = None  # go on after the end of the turn
    ids = torch.tensor([chat["prompt_ids"]], device=options.device)
    first, rate = [], []
    for _ in range(options.repeats):
        clock, started = Clock(), time.perf_counter()
        with contextlib.redirect_stdout(sys.stderr), torch.no_grad():
            model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=options.tokens,
                pad_token_id=2,
                do_sample=False,
                use_cache=True,
                streamer=clock,
            )
        first.append(clock.times[0] - started)
        rate.append((len(clock.times) - 1) / (clock.times[-1] - clock.times[0]))
    return {
        "version": f"AirLLM {version('airllm')}, torch {version('torch')}, transformers {version('transformers')}",
        "adapter": f"{options.device}, {torch.get_num_threads()} threads",
        "load_s": round(load_s, 3),
        "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "prompt_tokens": len(chat["prompt_ids"]),
        "time_to_first_token_s": summary(first, min),
        "decode_tokens_per_s": summary(rate, max),
        "text": model.tokenizer.decode(clock.ids, skip_special_tokens=True),
    }


def run_tilestream(options, chat):
    binary = Path(os.environ.get("TILESTREAM", ROOT / "target/release/tilestream"))
    if not binary.exists():
        return {"skipped": "no tilestream binary: set TILESTREAM or build with --release"}
    command = [binary, "run", options.tilestream_model or options.folder, "--prompt", chat["messages"][0]["content"]]
    command += ["--max-tokens", str(options.tokens), "--ignore-eos", "--json", "--profile"]
    if options.budget:
        command += ["--budget", options.budget]
    runs = []
    for _ in range(options.repeats):
        runs.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    profiles = [run["profile"] for run in runs]
    return {
        "version": subprocess.run([binary, "--version"], check=True, capture_output=True, text=True).stdout.strip(),
        "adapter": profiles[0]["adapter"],
        "budget": options.budget,
        "time_to_first_token_s": summary([profile["time_to_first_token_s"] for profile in profiles], min),
        "decode_tokens_per_s": summary([profile["decode_tokens_per_s"] for profile in profiles], max),
        "text": runs[0].get("text"),
    }


def machine():
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return {"cpu": model, "cores": os.cpu_count(), "os": f"{platform.system()} {platform.release()}"}


def row(name, result):
    if "skipped" in result:
        return f"{name:12} {result['skipped']}"
    rate, first = result["decode_tokens_per_s"], result["time_to_first_token_s"]
    numbers = " ".join(f"{value:9.3f}" for value in (rate["median"], rate["max"], first["median"], first["min"]))
    return f"{name:12} {numbers}  {result['adapter']}"


def main():
    options = arguments()
    chat = load_chat(options.chat)
    # In a process of its own, so that what it needs does not count as AirLLM's memory.
    maker = multiprocessing.get_context("spawn").Process(target=make_folder, args=(options.gguf, options.folder))
    maker.start()
    maker.join()
    if maker.exitcode != 0:
        raise SystemExit("could not make the bf16 folder")
    load_before, results = os.getloadavg()[0], {}
    if options.only != "tilestream":
        results["AirLLM"] = run_airllm(options, chat)
    if options.only != "airllm":
        results["tilestream"] = run_tilestream(options, chat)
    print(f"{'':12} {'tok/s med':>9} {'tok/s max':>9} {'TTFT med':>9} {'TTFT min':>9}", file=sys.stderr)
    for name, result in results.items():
        print(row(name, result), file=sys.stderr)
    print(
        json.dumps(
            {
                "benchmark": "airllm",
                "machine": machine() | {"load_before": round(load_before, 2)},
                "python": platform.python_version(),
                "model": f"{options.gguf.name} as bf16",
                "chat": options.chat,
                "new_tokens": options.tokens,
                "repeats": options.repeats,
                "results": results,
            },
            ensure_ascii=False,
        )
    )


if __name__ == "__main__":
    main()
