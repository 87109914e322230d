"""What the attacks share: the real command under limits, models to attack, and a tally of faults."""

import contextlib
import hashlib
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMMAND = os.environ.get("TILESTREAM", str(ROOT / "target/release/tilestream"))
SMALL_GGUF = ROOT / "tests/data/small-gguf/Q4_K.gguf"
MOST_SECONDS = 20.0
MOST_BYTES = 2 << 30
INTERRUPTED = 130
# Prompt, options and seed are fixed, so that two answers of one model are one text.
ASK = ["--prompt", "hello there", "--max-tokens", "6", "--ignore-eos", "--temperature", "0", "--budget", "64MiB", "--json"]


class Outcome:
    """How a run of the command ended."""

    def __init__(self, code, out, err, seconds, peak_bytes, stopped):
        self.code, self.out, self.err, self.seconds, self.peak_bytes = code, out, err, seconds, peak_bytes
        # None, "time" or "memory": the limit that ended it.
        self.stopped = stopped

    @property
    def ids(self):
        """The ids of an answer, or None where there is none."""
        if self.code != 0:
            return None
        try:
            return json.loads(self.out)["ids"]
        except (ValueError, KeyError):
            return None

    def faults(self):
        """What no input may bring about."""
        found = []
        if self.stopped == "time":
            found.append(f"hangs: still running after {self.seconds:.0f} s")
        if self.stopped == "memory":
            found.append(f"memory: {self.peak_bytes >> 20} MiB")
        if self.code < 0 and not self.stopped:
            found.append(f"dies of {signal.Signals(-self.code).name}")
        if "panicked at" in self.err or "RUST_BACKTRACE" in self.err:
            found.append("panics: " + next(line for line in self.err.splitlines() if "panicked" in line or "BACKTRACE" in line))
        if self.code > 0 and not self.err.strip():
            found.append(f"fails with {self.code} and without a word")
        return found


def resident_bytes(pid):
    try:
        return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        return 0


class Box:
    """A folder with a cache of its own for the command; gone when it is left."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tilestream-soak-"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder, ignore_errors=True)

    def __truediv__(self, name):
        return self.folder / name

    def start(self, *arguments):
        home = {"XDG_CACHE_HOME": str(self / "cache"), "XDG_STATE_HOME": str(self / "state"), "XDG_RUNTIME_DIR": ""}
        return subprocess.Popen(
            [COMMAND, *map(str, arguments)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **SHARED, **home},
            start_new_session=True,
        )

    def run(self, *arguments, seconds=MOST_SECONDS, kill_after=None, kill_with=signal.SIGKILL):
        """Runs the command until it ends, a limit is passed, or it is killed on purpose."""
        began = time.monotonic()
        process = self.start(*arguments)
        texts = {}
        readers = [
            threading.Thread(target=lambda name=name, pipe=pipe: texts.__setitem__(name, pipe.read()))
            for name, pipe in (("out", process.stdout), ("err", process.stderr))
        ]
        for reader in readers:
            reader.start()
        peak, stopped, killed = 0, None, False
        while process.poll() is None:
            now = time.monotonic() - began
            peak = max(peak, resident_bytes(process.pid))
            if kill_after is not None and now >= kill_after and not killed:
                killed = True
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(kill_with)
            if peak > MOST_BYTES or now > seconds:
                stopped = "memory" if peak > MOST_BYTES else "time"
                process.kill()
                process.wait()
                break
            time.sleep(0.002 if kill_after is not None else 0.01)
        for reader in readers:
            reader.join()
        text = {name: bytes_.decode("utf-8", "replace") for name, bytes_ in texts.items()}
        code = process.returncode
        if killed and kill_with == signal.SIGKILL and code == -signal.SIGKILL:
            code = 0
        return Outcome(code, text["out"], text["err"], time.monotonic() - began, peak, stopped)


# Compiled kernels are shared by all boxes: what is attacked is not the driver.
SHARED = {}


class Tally:
    """Counts what was tried and keeps what went wrong."""

    def __init__(self, name):
        self.name, self.tried, self.refused, self.wrong = name, 0, 0, []
        self.lock = threading.Lock()
        self.began = time.monotonic()

    def add(self, what, faults, refused=False):
        with self.lock:
            self.tried += 1
            self.refused += bool(refused)
            for fault in faults:
                self.wrong.append(f"{what}: {fault}")
                print(f"FAULT {self.name}: {what}: {fault}", flush=True)

    def summary(self):
        seconds = time.monotonic() - self.began
        return f"{self.name:<10} {self.tried:>5} tried {self.refused:>5} refused {len(self.wrong):>4} faults {seconds:>6.0f} s"


def side_by_side(work, items, workers=None):
    """Calls `work` with each item on as many threads as there are cores."""
    with ThreadPoolExecutor(workers or os.cpu_count() or 2) as pool:
        list(pool.map(work, items))


def digests(folder):
    """File name -> SHA-256 of what lies in a folder."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(pathlib.Path(folder).iterdir())
        if path.is_file()
    }


def flip(path, rng):
    """Flips one bit of a file; where."""
    size = path.stat().st_size
    offset, bit = rng.randrange(size), 1 << rng.randrange(8)
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ bit]))
    return offset


def generator(seed, *parts):
    """Random numbers that depend on the seed and on what they are for, and on nothing else."""
    return random.Random(f"{seed}/{'/'.join(map(str, parts))}")


def split_small(box, name="model"):
    """A small model with a tokenizer, split."""
    done = box.run("split", SMALL_GGUF, box / name)
    if done.code != 0:
        raise SystemExit(f"cannot split the model to attack: {done.err}")
    return box / name
