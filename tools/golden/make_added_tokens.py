"""Makes tests/data/tokenizers/added.json: a small tokenizer.json, other files beside it that list tokens, and what
transformers makes of them together: ids, texts without special tokens, and the beginning and the end of a text.

    python make_added_tokens.py [--out FILE]
"""

import argparse
import json
import tempfile
from pathlib import Path

import transformers

VOCAB = {c: i for i, c in enumerate([*" abcdefghijklmnopqrstuvwxyz<>|_/", "he", "<x>"])}
N = len(VOCAB)
TEXTS = ["he<x>", "he<s>a</s>", "<t>he</t>", "<u> he <|v|>", "a <|v|> b<w><t><t>"]


def token(content, special=True, **flags):
    usual = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": special}
    return {"content": content, **usual, **flags}


BASE = {
    "version": "1.0", "truncation": None, "padding": None,
    "added_tokens": [{"id": N, **token("<s>")}, {"id": N + 1, **token("</s>", False)}],
    "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": {"type": "Fuse"},
    "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
              "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": VOCAB, "merges": [["h", "e"]]},
}


def config(**fields):
    return {"tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", **fields}}


def listed(*tokens):
    return {"added_tokens_decoder": {str(N + 2 + i): token for i, token in enumerate(tokens)}}


CASES = {
    "nothing but tokenizer.json": {},
    "a config without tokens": config(),
    "listed in the config": config(**listed(token("<t>"), token("</t>", False))),
    "listed out of order": config(added_tokens_decoder={str(N + 3): token("</t>", False), str(N + 2): token("<t>")}),
    "ids with a gap": config(added_tokens_decoder={str(N + 9): token("</t>", False), str(N + 7): token("<t>")}),
    "a word of the vocabulary": config(added_tokens_decoder={str(VOCAB["<x>"]): token("<x>")}),
    "two are words": config(added_tokens_decoder={str(VOCAB["<x>"]): token("<x>", False), str(N + 2): token("<t>")}),
    "other flags than in tokenizer.json": config(added_tokens_decoder={str(N + 1): token("</s>", True)}),
    "special no longer": config(added_tokens_decoder={str(N): token("<s>", False)}),
    "another text for an id": config(added_tokens_decoder={str(N): token("<t>", True)}),
    "all of tokenizer.json and more": config(added_tokens_decoder={
        str(N): token("<s>"), str(N + 1): token("</s>", False), str(N + 2): token("<t>"), str(N + 3): token("<|v|>")}),
    "spaces before it go": config(**listed(token("<|v|>", lstrip=True))),
    "spaces behind it go": config(**listed(token("<|v|>", rstrip=True))),
    "single words only": config(**listed(token("<w>", single_word=True), token("he", False, single_word=True))),
    "an end that is not special": config(eos_token="</s>"),
    "an end that is new": config(eos_token="<t>"),
    "an end as an object": config(eos_token={"__type": "AddedToken", **token("<t>", True)}),
    "names of tokens in the list": config(bos_token="<t>", eos_token="</t>", **listed(token("<t>", False), token("</t>", False))),
    "more special tokens": config(additional_special_tokens=["<u>", "<|v|>"]),
    "extra special tokens": config(extra_special_tokens=["<u>", "<|v|>"]),
    "extra special tokens by name": config(extra_special_tokens={"image_token": "<u>"}),
    "a token of its own name": config(video_token="<|v|>"),
    "added_tokens.json": {**config(), "added_tokens.json": {"<t>": N + 2, "</t>": N + 3}},
    "added_tokens.json, no config": {"added_tokens.json": {"</t>": N + 3, "<t>": N + 2}},
    "added_tokens.json beside a list": {**config(**listed(token("<u>"))), "added_tokens.json": {"<t>": N + 2}},
    "special_tokens_map.json": {**config(), "special_tokens_map.json": {"bos_token": "<s>", "eos_token": "</s>"}},
    "special_tokens_map.json, no config": {"special_tokens_map.json": {"bos_token": "<s>", "eos_token": {**token("<t>")}}},
    "special_tokens_map.json says otherwise": {**config(eos_token="</s>", bos_token="<s>"), "special_tokens_map.json": {"eos_token": "<t>"}},
    "special_tokens_map.json with more": {**config(), "special_tokens_map.json": {"additional_special_tokens": ["<u>", "<|v|>"]}},
    "special_tokens_map.json beside a list": {**config(**listed(token("<t>"))), "special_tokens_map.json": {"eos_token": "</t>"}},
    "both older files": {**config(), "added_tokens.json": {"<t>": N + 2, "</t>": N + 3}, "special_tokens_map.json": {
        "bos_token": "<s>", "eos_token": {"content": "</t>", "lstrip": False, "normalized": False, "rstrip": True, "single_word": False}}},
}


def result(files):
    with tempfile.TemporaryDirectory() as folder:
        for name, content in {"tokenizer.json": BASE, **files}.items():
            (Path(folder) / name).write_text(json.dumps(content))
        tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    ids = [tokenizer.encode(text, add_special_tokens=False) for text in TEXTS]
    return {"ids": ids, "decoded": [tokenizer.decode(i, skip_special_tokens=True) for i in ids],
            "bos": tokenizer.bos_token, "eos": tokenizer.eos_token}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[2] / "tests/data/tokenizers/added.json")
    args = parser.parse_args()
    cases = [{"name": name, "files": files, **result(files)} for name, files in CASES.items()]
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    head = f'"transformers": "{transformers.__version__}", "texts": {json.dumps(TEXTS)}, "base": {json.dumps(BASE)}'
    args.out.write_text(f'{{{head}, "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
