"""What the sides written in Python share: requests come in on stdin, answers go out on stdout, a JSON object a line, as
in tools/cli/examples/answer_lines.rs."""

import contextlib
import json
import os
import sys
import time


def threads():
    """All cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def serve(load):
    """`load()` gives what the first line tells and a function (ids, max_tokens, note), which calls `note(id)` for each
    new token as it comes. Whatever a library prints goes to stderr."""
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        about, answer = load()
        print(json.dumps(about), file=out, flush=True)
        for line in sys.stdin:
            start, ids, times = time.perf_counter(), [], []

            def note(token):
                times.append(time.perf_counter() - start)
                ids.append(token)

            ask = json.loads(line)
            answer(ask["ids"], ask["max_tokens"], note)
            print(json.dumps({"ids": ids, "times_s": times}), file=out, flush=True)
