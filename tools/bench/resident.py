"""Compares Tilestream with itself: a model that is resident, and the same one under the smallest budget that works.

    cargo xtask bench resident -- [--prompt-tokens 32] [--tokens 16] [--repeats 5] [--json FILE]
    python tools/bench/resident.py MODEL ...       (any split model, checkpoint folder or GGUF file)

Prints what streaming the weights costs, as a ratio of the seconds a token takes. Both sides must give the same tokens,
or the script exits with an error: a token's numbers do not depend on where the weights live.

Needs nothing but the release build. With SmolLM2-135M on two cores the defaults take 1 minute.
"""

from functools import partial

from support import check, compare, inspect, parser, ratios, spread, tilestream

ROOM_BYTES = 1 << 30  # beside the weights of the resident side


def main():
    options = parser(__doc__, model="a model, checkpoint or GGUF file", tokens=16, prompt_tokens=32, repeats=5)
    options = options.parse_args()
    check(options)
    context = options.prompt_tokens + options.tokens
    found = inspect(options.model, context)
    sides = [
        partial(tilestream, "resident", options.model, context, found["bytes"] + ROOM_BYTES, most=0.0),
        partial(tilestream, "streamed", options.model, context, found["smallest_budget_bytes"]),
    ]
    compare("resident", options, sides, note)


def note(results):
    ids = [[answer["ids"] for answer in result["answers"]] for result in results.values()]
    if ids[0] != ids[1]:
        raise SystemExit("the two sides gave different tokens: a fault in Tilestream")
    budget = results["streamed"]["profile"]["budget_bytes"] / (1 << 20)
    cost = ratios(results)["resident / streamed"]["decode_tokens_per_s"]
    yield f"seconds a token, streamed within {budget:.1f} MiB / resident: {spread(cost)}; all tokens are the same"


main()
