"""What the comparisons share: sides that answer requests, rounds in which they take turns, ratios, table and figures.

A side is a process that keeps a model loaded. It says what it loaded in one line, and answers each request with the
new ids and the seconds from the request to each of them (tools/cli/examples/answer_lines.rs, tools/bench/sides). So
all sides are measured the same way: loading apart, and the first use of each shader in a round that does not count.
Needs nothing but Python.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SIDES = ROOT / "tools/bench/sides"
TILESTREAM = Path(os.environ.get("TILESTREAM", ROOT / "target/release/tilestream"))
ANSWER_LINES = TILESTREAM.parent / "examples" / ("answer_lines" + TILESTREAM.suffix)
SHARDS = ROOT / "cache/models/shards"
SMALL_VOCABULARY = 32000
WARM_TOKENS = 96  # of a prompt, at most, in the round that does not count: enough to need every shader
PAUSE_S = 0.2  # between two sides, so that the threads of the last one sleep


def parser(doc, model, tokens, prompt_tokens, repeats):
    """The options that comparisons of answers have."""
    result = plain_parser(doc)
    result.add_argument("model", type=Path, help=model)
    result.add_argument("--tokens", type=int, default=tokens, help="new tokens in a round (%(default)s)")
    result.add_argument("--prompt-tokens", type=int, default=prompt_tokens, help="length of a prompt (%(default)s)")
    result.add_argument("--repeats", type=int, default=repeats, help="rounds that count (%(default)s)")
    return result


def plain_parser(doc):
    result = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--json", type=Path, metavar="FILE", help="write the figures of every round there")
    return result


def check(options):
    """Refuses numbers with which nothing can be measured."""
    if options.tokens < 2 or options.prompt_tokens < 1 or options.repeats < 1:
        raise SystemExit("at least 2 tokens, a prompt of 1 and 1 repeat are needed")


def prompt(length, turn):
    """Ids of a plain text, over and over, as far as small vocabularies have them; each turn starts elsewhere, so that
    nothing is known from the turn before."""
    ids = json.loads((ROOT / "tests/data/smollm2/golden.json").read_text(encoding="utf-8"))["score"]["ids"]
    ids = [id for id in ids if id < SMALL_VOCABULARY]
    return [ids[(turn * 7 + index) % len(ids)] for index in range(length)]


class Side:
    """A process that answers requests. `command` is started at once, and its model loaded."""

    def __init__(self, name, command):
        self.name = name
        print(f"{name}: loading", file=sys.stderr)
        arguments = [str(argument) for argument in command]
        environment = dict(os.environ)
        if "XDG_RUNTIME_DIR" not in environment:
            environment["NODEVICE_SELECT"] = "1"  # Mesa's layer for desktops complains where there is none
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(arguments, env=environment, **pipes)
        self.about = self._line()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends the process."""
        with suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def ask(self, ids, tokens):
        """The answer to a prompt: `ids`, `times_s`, what else the side tells, and the processor's time that it took."""
        before = self._cpu_s()
        self.process.stdin.write(json.dumps({"ids": ids, "max_tokens": tokens}) + "\n")
        self.process.stdin.flush()
        answer = self._line()
        if len(answer["ids"]) != tokens:
            raise SystemExit(f"{self.name} ended after {len(answer['ids'])} of {tokens} tokens; ask for fewer")
        return answer if before is None else dict(answer, cpu_s=self._cpu_s() - before)

    def where(self):
        return self.about.get("adapter") or self.about["profile"]["adapter"]

    def _cpu_s(self):
        """Seconds of all cores so far, on Linux: what others do on the machine matters less to it."""
        with suppress(OSError):
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return None

    def _line(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with exit code {self.process.wait()}; what it said stands above")
        return json.loads(line)


def tilestream(name, model, context, budget=None, least=0.0, most=1.0):
    """Tilestream as a side, with its default budget where none is given. Refuses where it streams less than `least` of
    the weights or more than `most`."""
    command = [ANSWER_LINES, model, "--context", context, "--shards-dir", SHARDS]
    side = Side(name, command + (["--budget", budget] if budget else []))
    share = streamed_share(side.about)
    if not least <= share <= most:
        side.close()
        size, than = ("smaller", f"less than {least:.0%}") if share < least else ("larger", f"more than {most:.0%}")
        raise SystemExit(f"{name} streams {share:.0%} of the weights, {than}: no comparison; take a {size} budget")
    return side


def inspect(model, context):
    """What `tilestream inspect` tells of a model: sizes in bytes, the smallest budget."""
    command = [TILESTREAM, "inspect", model, "--context", context, "--shards-dir", SHARDS, "--json"]
    return json.loads(subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE).stdout)


def streamed_share(told):
    """Share of the model's bytes that a sweep of Tilestream reads, by what it told when it had loaded or answered."""
    return told["profile"]["streamed_bytes_per_sweep"] / told["profile"]["model_bytes"]


def bf16_folder(gguf, folder):
    """A Hugging Face folder with a GGUF file's weights in bf16, made with this Python's packages unless it is there."""
    if not (folder / "config.json").exists():
        print(f"making {folder}", file=sys.stderr)
        subprocess.run([sys.executable, ROOT / "tools/bench/bf16_folder.py", gguf, folder], check=True)
    return folder


def compare(benchmark, options, sides, note=lambda results: []):
    """Measures `sides` (functions that start one each), prints the table and writes the figures.

    The first side is the one whose ratios to the others are printed. `note(results)` may add lines, or refuse.
    """
    load_before = load_average()
    with ExitStack() as stack:
        started = [stack.enter_context(start()) for start in sides]
        results = rounds(started, options)
    lines = [*table(results), *ratio_lines(results), *note(results)]
    print("\n".join(lines))
    report = {
        "benchmark": benchmark,
        "machine": dict(machine(), load_before=load_before),
        "model": options.model.name,
        "prompt_tokens": options.prompt_tokens,
        "new_tokens": options.tokens,
        "results": results,
        "ratios": ratios(results),
    }
    write(options.json, report)


def rounds(sides, options):
    """Answers of all sides, a round at a time; the first round does not count."""
    for side in sides:
        answer = side.ask(prompt(min(options.prompt_tokens, WARM_TOKENS), 0), 2)
        print(f"{side.name}: first round, not counted, {answer['times_s'][-1]:.2f} s", file=sys.stderr)
    answers = {side.name: [] for side in sides}
    for turn in range(1, options.repeats + 1):
        for side in sides:
            time.sleep(PAUSE_S)
            answer = side.ask(prompt(options.prompt_tokens, turn), options.tokens)
            answers[side.name].append(answer)
            print(f"{side.name}: round {turn}, {answer['times_s'][-1]:.2f} s", file=sys.stderr)
    return {side.name: result(side, answers[side.name], options.prompt_tokens) for side in sides}


def result(side, answers, prompt_tokens):
    first = [answer["times_s"][0] for answer in answers]
    decode = [(answer["times_s"][-1] - answer["times_s"][0]) / (len(answer["ids"]) - 1) for answer in answers]
    return {
        **side.about,
        "adapter": side.where(),
        "first_token_s": first,
        "prefill_tokens_per_s": [prompt_tokens / seconds for seconds in first],
        "decode_tokens_per_s": [1 / seconds for seconds in decode],
        "cpu_s": [answer.get("cpu_s") for answer in answers],
        "answers": answers,
    }


def table(results):
    """Medians of the rounds, and the best of decoding. The processor's time is that of a whole round, on all cores."""
    heads = ("load s", "first token s", "prefill tok/s", "decode tok/s", "best", "processor s")
    yield " " * 18 + " ".join(f"{head:>13}" for head in heads)
    for name, result in results.items():
        decode = result["decode_tokens_per_s"]
        medians = [statistics.median(result[key]) for key in ("first_token_s", "prefill_tokens_per_s")]
        values = [result["load_s"], *medians, statistics.median(decode), max(decode)]
        if all(result["cpu_s"]):
            values.append(statistics.median(result["cpu_s"]))
        numbers = " ".join(f"{value:13.3f}" for value in values)
        yield f"{name:18}{numbers}"
    for name, result in results.items():
        yield f"{name}: {result['version']} on {result['adapter']}{shown_share(result)}"


def shown_share(about):
    return f"; {streamed_share(about):.0%} of the weights streamed" if "profile" in about else ""


def ratios(results):
    """Speed of the first side by that of each other, in each round."""
    (ours, first), *others = results.items()
    kinds = ("prefill_tokens_per_s", "decode_tokens_per_s")
    return {
        f"{ours} / {name}": {kind: [a / b for a, b in zip(first[kind], other[kind])] for kind in kinds}
        for name, other in others
    }


def ratio_lines(results):
    for pair, kinds in ratios(results).items():
        parts = [f"{kind.split('_')[0]} {spread(values)}" for kind, values in kinds.items()]
        yield f"{pair}, speed: {', '.join(parts)}; {same_tokens(results, pair)}"


def same_tokens(results, pair):
    a, b = (results[name]["answers"][0]["ids"] for name in pair.split(" / "))
    same = next((index for index, (x, y) in enumerate(zip(a, b)) if x != y), len(a))
    return f"the first {same} of {len(a)} tokens are the same"


def spread(values):
    around = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
    return f"{statistics.median(values):.2f}{around}"


def machine():
    model = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return {"cpu": model, "cores": os.cpu_count(), "os": f"{platform.system()} {platform.release()}"}


def load_average():
    """What else the machine was doing: near 0 on a quiet one."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def write(path, report):
    if path:
        path.write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
