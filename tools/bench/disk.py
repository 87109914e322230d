"""Compares what Tilestream's sweeps read in a second with what the disk gives a program that only reads.

    cargo xtask bench disk -- [--model MODEL] [--budget 64MiB] [--repeats 3] [--sweeps 3] [--reader fio|plain]
                              [--json FILE]

Both read the same shard files, taking turns, cold and warm. Cold: the system is asked to forget these files (and no
others) before each run; that works on Linux, elsewhere only warm is measured. The disk is read by `fio` where it is
installed, else by threads of this script, in pieces of 4 MiB by four readers. Of Tilestream the bytes count that it
read while it answered: one sweep when cold, `--sweeps` when warm. Where its shaders are slower than the disk, as on a
software adapter, the ratio tells of the shaders.

The model is larger than the budget: by default one of random weights, 1.2 GB of bf16, that is written once into
cache/models/disk. Needs the release build and that much space; the defaults take 1 minute on two cores.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory

from support import (
    PAUSE_S, ROOT, TILESTREAM, load_average, machine, plain_parser, prompt, shown_share, spread, tilestream, write,
)  # fmt: skip

PIECE_BYTES = 4 << 20
READERS = 4
CONTEXT = 32
LEAST_STREAMED = 0.5  # of the weights, so that reading is what is measured
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 8,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 50000,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
}


def main():
    options = arguments()
    model = options.model or synthetic(ROOT / "cache/models/disk")
    load_before = load_average()
    read = {"fio": fio, "plain": plain}[options.reader]
    with tilestream("Tilestream", model, CONTEXT, options.budget, least=LEAST_STREAMED) as side:
        files = sorted(Path(side.about["folder"]).glob("*.safetensors"))
        side.ask(prompt(1, 0), options.sweeps)  # compiles the shaders, and warms the files
        rates = {"cold": ([], []), "warm": ([], [])} if hasattr(os, "posix_fadvise") else {"warm": ([], [])}
        for turn in range(1, options.repeats + 1):
            for state, (raw, sweep) in rates.items():
                raw.append(read(files, state))
                sweep.append(sweep_rate(side, files, state, turn, options.sweeps))
            print(f"round {turn} of {options.repeats}", file=sys.stderr)
    where = f"{side.where()}{shown_share(side.about)}"
    report(options, rates, where, len(files), load_before)


def synthetic(folder):
    """A split model of random weights, made unless it is there."""
    if not (folder / "manifest.json").exists():
        print(f"writing 1.2 GB of random weights into {folder}", file=sys.stderr)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory() as temporary:
            config = Path(temporary) / "config.json"
            config.write_text(json.dumps(CONFIG))
            subprocess.run([TILESTREAM, "synth", config, folder], check=True, stdout=sys.stderr)
    return folder


def forget(files):
    """Asks the system to drop these files from its cache; what is not on disk yet could not be dropped."""
    for path in files:
        with path.open("rb") as file:
            os.fsync(file)
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def sweep_rate(side, files, state, turn, sweeps):
    """Bytes a second that Tilestream read while it computed one token (cold) or several."""
    time.sleep(PAUSE_S)
    if state == "cold":
        forget(files)
    answer = side.ask(prompt(1, turn), 1 if state == "cold" else sweeps)
    return answer["bytes_read"] / answer["times_s"][-1]


def plain(files, state):
    """Bytes a second of READERS threads that take pieces in the order of the files."""
    if state == "cold":
        forget(files)
    pieces = SimpleQueue()
    for path in files:
        for offset in range(0, path.stat().st_size, PIECE_BYTES):
            pieces.put((path, offset))

    def reader():
        buffer = bytearray(PIECE_BYTES)
        while True:
            try:
                path, offset = pieces.get_nowait()
            except Empty:
                return
            with path.open("rb", buffering=0) as file:
                file.seek(offset)
                file.readinto(buffer)

    threads = [threading.Thread(target=reader) for _ in range(READERS)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(path.stat().st_size for path in files) / (time.perf_counter() - start)


def fio(files, state):
    """The same by fio: each reader has every fourth file."""
    if state == "cold":
        forget(files)
    job = ["[global]", "rw=read", f"bs={PIECE_BYTES}", "ioengine=psync", "invalidate=0", "group_reporting=1"]
    job += ["file_service_type=sequential"]
    for reader in range(READERS):
        mine = files[reader::READERS]
        if mine:
            names = ":".join(str(path).replace(":", "\\:") for path in mine)
            job += [f"[reader{reader}]", f"filename={names}"]
    with TemporaryDirectory() as temporary:
        path = Path(temporary) / "read.fio"
        path.write_text("\n".join(job) + "\n")
        command = ["fio", "--readonly", "--output-format=json", path]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=temporary).stdout
    return json.loads(output)["jobs"][0]["read"]["bw_bytes"]


def report(options, rates, where, files, load_before):
    print(f"{'MB a second':16}" + "".join(f"{state:>24}" for state in rates))
    rows = {options.reader: 0, "Tilestream": 1}
    for name, index in rows.items():
        columns = [[rate / 1e6 for rate in pair[index]] for pair in rates.values()]
        values = [f"{statistics.median(column):.0f} (best {max(column):.0f})" for column in columns]
        print(f"{name:16}" + "".join(f"{value:>24}" for value in values))
    ratios = {state: [sweep / raw for raw, sweep in zip(*pair)] for state, pair in rates.items()}
    print(f"{'ratio':16}" + "".join(f"{spread(values):>24}" for values in ratios.values()))
    print(f"{files} files; Tilestream on {where}")
    figures = {state: {options.reader: raw, "Tilestream": sweep} for state, (raw, sweep) in rates.items()}
    about = {"benchmark": "disk", "machine": dict(machine(), load_before=load_before), "tilestream": where}
    write(options.json, {**about, "bytes_per_s": figures, "ratios": ratios})


def arguments():
    options = plain_parser(__doc__)
    options.add_argument("--model", type=Path, help="a split model, checkpoint or GGUF file, larger than the budget")
    options.add_argument("--budget", default="64MiB", help="Tilestream's cap on GPU memory (%(default)s)")
    options.add_argument("--repeats", type=int, default=3, help="rounds (%(default)s)")
    options.add_argument("--sweeps", type=int, default=3, help="sweeps of a warm run (%(default)s)")
    reader = "fio" if shutil.which("fio") else "plain"
    options.add_argument("--reader", choices=("fio", "plain"), default=reader, help="of the disk (here: %(default)s)")
    options = options.parse_args()
    if options.repeats < 1 or options.sweeps < 1:
        raise SystemExit("at least 1 repeat and 1 sweep are needed")
    return options


main()
