"""Checkpoints, tokenizers and templates that were made to harm: refused or read, in bounded time and memory."""

import json
import os
import pathlib
import struct

from support import ROOT, SMALL_GGUF, Box, Tally, generator, side_by_side

SAFETENSORS = ROOT / "tests/data/families/qwen3"
HUGE = [0, -1, 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 10**30, -(2**63), 1e308, 0.5, "8", [], {}, None, True]
ASK = ["--prompt", "hello", "--max-tokens", "2", "--temperature", "0", "--budget", "64MiB", "--json"]


def attack(count, seed):
    tally = Tally("hostile")
    kinds = [config, header, index, gguf, tokenizer, tokenizer, template, template]
    chosen = [kinds[number % len(kinds)] for number in range(count)]
    cases = [(kind, chosen[:number].count(kind)) for number, kind in enumerate(chosen)]

    def one(case):
        kind, number = case
        with Box() as box:
            what, checkpoint = kind(box, number, generator(seed, kind.__name__, number))
            done = box.run("run", checkpoint, *ASK)
            faults = done.faults()
            tally.add(f"{kind.__name__} {number}: {what}", faults, refused=done.code != 0)

    side_by_side(one, cases)
    return tally


def folder(box, **replaced):
    """A checkpoint with a tokenizer and a template; files by name (with _ for .) are replaced."""
    path = box / "checkpoint"
    path.mkdir()
    config = json.loads((SAFETENSORS / "config.json").read_text())
    files = {
        "config.json": json.dumps(config),
        "model.safetensors": (SAFETENSORS / "model.safetensors").read_bytes(),
        "tokenizer.json": json.dumps(good_tokenizer()),
        "tokenizer_config.json": json.dumps({"chat_template": "{{ messages[0].content }}"}),
    }
    files.update(replaced)
    for name, content in files.items():
        if content is not None:
            (path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def good_tokenizer():
    letters = [chr(code) for code in range(32, 127)]
    vocab = {"<unk>": 0, **{letter: at + 1 for at, letter in enumerate(letters)}}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": None,
        "post_processor": None, "decoder": None,
        "model": {"type": "BPE", "unk_token": "<unk>", "vocab": vocab, "merges": [], "fuse_unk": False, "byte_fallback": False},
    }


def config(box, number, rng):
    """One or two numbers of the config that no model has."""
    fields = json.loads((SAFETENSORS / "config.json").read_text())
    names = sorted(fields)
    changed = {rng.choice(names): rng.choice(HUGE) for _ in range(1 + number % 2)}
    return json.dumps(changed), folder(box, **{"config.json": json.dumps({**fields, **changed})})


def header(box, number, rng):
    """A safetensors header that lies about its length, names, types, shapes or offsets, or is cut."""
    whole = (SAFETENSORS / "model.safetensors").read_bytes()
    length = struct.unpack("<Q", whole[:8])[0]
    table, data = json.loads(whole[8 : 8 + length]), whole[8 + length :]
    names = [name for name in table if name != "__metadata__"]
    victim, way = rng.choice(names), number % 8
    entry = table[victim]
    if way == 0:
        entry["shape"] = [rng.choice(HUGE) for _ in entry["shape"]]
    elif way == 1:
        entry["data_offsets"] = [rng.choice(HUGE), rng.choice(HUGE)]
    elif way == 2:
        entry["dtype"] = rng.choice(["F64", "BF16", "I4", "", None, 7, "F8_E4M3"])
    elif way == 3:
        table[rng.choice(["../" * 9 + "etc/passwd", "", "a" * 70000, "\0", "model.layers.99999999.x"])] = table.pop(victim)
    elif way == 4:
        table = {**table, **{f"t{n}": dict(entry) for n in range(200_000)}}
    elif way == 5:
        data = data[: rng.randrange(len(data))]
    text = json.dumps(table).encode()
    if way == 6:
        text = b"[" * 100_000
    said = rng.choice([2**63, 2**64 - 1, 0, 7, len(text) + 1, len(whole)]) if way == 7 else len(text)
    what = f"way {way} on {victim}"
    return what, folder(box, **{"model.safetensors": struct.pack("<Q", said) + text + data})


def index(box, number, rng):
    """An index that names files which are not there, that lie elsewhere, or that are no files."""
    whole = (SAFETENSORS / "model.safetensors").read_bytes()
    length = struct.unpack("<Q", whole[:8])[0]
    names = [name for name in json.loads(whole[8 : 8 + length]) if name != "__metadata__"]
    target = rng.choice(["../../../etc/passwd", "/dev/zero", "", "model.safetensors/x", "absent.safetensors", "fifo", 7, None])
    table = {"weight_map": {name: target for name in names}}
    if number % 3 == 0:
        table = rng.choice([[], {"weight_map": []}, {"weight_map": {n: [n] for n in names}}, {"weight_map": "x" * 10**6}])
    path = folder(box, **{"model.safetensors": None, "model.safetensors.index.json": json.dumps(table)})
    os.mkfifo(path / "fifo")
    return f"files {target!r}", path


def gguf(box, number, rng):
    """A GGUF file with bytes changed in its header, where counts, lengths and types stand, or cut."""
    whole = bytearray(SMALL_GGUF.read_bytes())
    for _ in range(1 + number % 4):
        place = rng.choice([4, 8, 16, rng.randrange(24, 6000), rng.randrange(24, len(whole) - 8)])
        value = rng.choice([0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, rng.getrandbits(64)])
        whole[place : place + 8] = struct.pack("<Q", value)
    if number % 5 == 0:
        del whole[rng.randrange(len(whole)) :]
    path = box / "hostile.gguf"
    path.write_bytes(whole)
    return "bytes changed", path


def tokenizer(box, number, rng):
    """Tokenizers that grow texts, match for ever, or are made of nonsense."""
    made = good_tokenizer()
    ways = TOKENIZERS
    name = sorted(ways)[number % len(ways)]
    ways[name](made, rng)
    text = json.dumps(made) if isinstance(made, dict) else made
    return name, folder(box, **{"tokenizer.json": text})


def grow(made, _, what="a", times=30):
    made["normalizer"] = {
        "type": "Sequence",
        "normalizers": [{"type": "Replace", "pattern": {"Regex": "."}, "content": what * 100}] * times,
    }


def set_normalizer(value):
    return lambda made, rng: made.__setitem__("normalizer", value)


def set_pre(value):
    return lambda made, rng: made.__setitem__("pre_tokenizer", value)


def set_decoder(value):
    return lambda made, rng: made.__setitem__("decoder", value)


def set_model(**values):
    return lambda made, rng: made["model"].update(values)


def added(count, content):
    def change(made, rng):
        made["added_tokens"] = [
            {"id": 100 + n, "content": content(n), "single_word": False, "lstrip": True, "rstrip": True, "normalized": n % 2 == 0, "special": n % 3 == 0}
            for n in range(count)
        ]

    return change


def replace(pattern, content="x"):
    return {"type": "Replace", "pattern": pattern, "content": content}


def split_on(pattern, behavior="Isolated"):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": False}


def sequence(kind, parts):
    return {"type": "Sequence", kind: parts}


def nonsense(made, rng):
    """A random member of the file becomes another kind of value."""
    place = made
    while True:
        key = rng.choice(sorted(place))
        if isinstance(place[key], dict) and place[key] and rng.random() < 0.7:
            place = place[key]
        else:
            place[key] = rng.choice([7, -1, "x", [], {}, None, True, 1e308, [["a", "b"]], {"type": "BPE"}])
            return


TOKENIZERS = {
    "added long": added(1, lambda n: "a" * 4_000_000),
    "added many": added(300_000, lambda n: f"<{n}>"),
    "added empty": added(3, lambda n: ""),
    "added same": added(1000, lambda n: "hello"),
    "decoder grows": set_decoder(sequence("decoders", [replace({"String": "h"}, "h" * 1000)] * 20)),
    "decoder of nothing": set_decoder(replace({"String": ""}, "x")),
    "decoder strips": set_decoder({"type": "Strip", "content": "h", "start": 2**63, "stop": 2**63}),
    "deep": lambda made, rng: made.update(normalizer=json.loads('{"type":"Sequence","normalizers":[' * 100 + "]}" * 100)),
    "grows": grow,
    "grows by prepending": set_normalizer(sequence("normalizers", [{"type": "Prepend", "prepend": "a" * 1_000_000}] * 200)),
    "grows by doubling": set_normalizer(sequence("normalizers", [replace({"String": "l"}, "ll")] * 60)),
    "matches nothing": set_normalizer(replace({"String": ""})),
    "matches nothing, regex": set_normalizer(replace({"Regex": ""})),
    "matches nothing, look-ahead": set_normalizer(replace({"Regex": "(?=l)"})),
    "matches nothing, star": set_normalizer(replace({"Regex": "q*"}, "y")),
    "splits at nothing": set_pre(split_on({"String": ""})),
    "splits at nothing, regex": set_pre(split_on({"Regex": "q*"}, "MergedWithNext")),
    "backtracks": set_pre(split_on({"Regex": "(l|l)*(l|l|l)*(h|e|l|o)*$x"})),
    "backtracks deeper": set_pre(split_on({"Regex": "((a*)*)*b" + "(.*)*" * 20 + "q"})),
    "counts": set_pre(split_on({"Regex": "(((l{1,999}){1,999}){1,999}){1,999}"})),
    "hundreds of patterns": set_pre(sequence("pretokenizers", [split_on({"Regex": f"\\p{{L}}{{{n},}}"}) for n in range(1, 800)])),
    "long pattern": set_pre(split_on({"Regex": "|".join(f"w{n}" for n in range(200_000))})),
    "no pattern": set_pre(split_on({"Regex": "(" * 1000})),
    "merges of nothing": set_model(merges=[["", ""], ["h", ""]]),
    "merges of others": set_model(merges=[["h", "q q"], ["zz", "y"]]),
    "merges without end": set_model(merges=[["h", "e"]] * 200_000),
    "vocab clashes": set_model(vocab={"h": 0, "e": 0, "l": 2**32 - 1, "o": 5}),
    "vocab huge ids": set_model(vocab={chr(97 + n): 2**32 - 1 - n for n in range(26)}),
    "vocab long": set_model(vocab={"<unk>": 0, "h" * 3_000_000: 1}),
    "unigram nan": lambda made, rng: made.update(model={"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0], ["h", 1e308], ["e", -1e308]]}),
    "unigram empty": lambda made, rng: made.update(model={"type": "Unigram", "unk_id": 5, "vocab": []}),
    "wordpiece": lambda made, rng: made.update(model={"type": "WordPiece", "unk_token": "?", "continuing_subword_prefix": "#" * 100_000, "max_input_chars_per_word": 2**40, "vocab": {"h": 0}}),
    "post-processor": lambda made, rng: made.update(post_processor={"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x", "type_id": 0}}] * 100_000, "pair": [], "special_tokens": {"x": {"id": "x", "ids": [1] * 1000, "tokens": ["h"] * 1000}}}),
    "padding": lambda made, rng: made.update(padding={"strategy": {"Fixed": 2**40}, "direction": "Right", "pad_to_multiple_of": 2**40, "pad_id": 0, "pad_type_id": 0, "pad_token": "x"}),
    "truncation": lambda made, rng: made.update(truncation={"max_length": 0, "strategy": "LongestFirst", "stride": 2**40, "direction": "Right"}),
    "charsmap": set_normalizer({"type": "Precompiled", "precompiled_charsmap": "A" * 100_000}),
    **{f"nonsense {n}": nonsense for n in range(12)},
}

# A list that holds the same list in many places, in each of which the same list stands.
WIDE = "(([u] * 9999) | map('default', (([u] * 9999) | map('default', [1] * 9999) | list)) | list)"

TEMPLATES = [
    "{{ (['x' * 100000] * 99999999) ~ 'x' }}",
    "{% for m in [messages] recursive %}{{ loop([m + m]) }}{% endfor %}",
    "{% for m in [messages] recursive %}{{ loop([[m, m]]) }}{% endfor %}",
    "{% macro f(x, y=[x, x]) %}{{ f(y) }}{% endmacro %}{{ f([1]) }}",
    "{% macro f(x) %}{% for y in [[x, x]] %}{{ f(y) }}{% endfor %}{% endmacro %}{{ f([1]) }}",
    "{{ " + WIDE + " == " + WIDE + " }}",
    "{{ " + WIDE + " | sort | upper }}",
    "{{ " + WIDE + " | sum(start=[]) | join }}",
    "{{ {'a': 1}[" + WIDE + "] }}",
    "{{ ('a' * 10000000) | replace('', 'b' * 10000000) }}",
    "{{ ('{0}' * 1000000).format('x' * 1000000) }}",
    "{{ [1, 2] | map('replace', '', 'x' * 30000000) | list }}",
    "{{ 'a' * 1000000000 }}",
    "{{ 'a' * 20000000 * 50 }}",
    "{% for a in range(10**9) %}{% endfor %}",
    "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
    "{% set ns = namespace(x='a') %}{% for a in range(64) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x='a') %}{% for a in range(64) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x|length }}",
    "{% set ns = namespace(x=[1]) %}{% for a in range(64) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x|length }}",
    "{% set ns = namespace(x=[1]) %}{% for a in range(10000) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
    "{% macro m(n) %}{{ m(n + 1) }}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
    "{{ 'x'.join(range(100000000)|map('string')|list) }}",
    "{{ (range(99999999)|list)|tojson }}",
    "{{ 'a'.replace('', 'b' * 100000) * 10000 }}",
    "{{ ('%1000000000d' % 5) }}",
    "{{ '{:>1000000000}'.format(5) }}",
    "{{ 'x'|center(1000000000) }}",
    "{{ 'x'.ljust(1000000000) }}",
    "{{ ('ab' * 100000)|replace('a', 'c' * 100000) }}",
    "{{ ('a b ' * 100000).split(' ') * 100000 }}",
    "{{ messages|tojson(indent=100000000) }}",
    "{{ ('x\n' * 100000)|indent(1000000) }}",
    "{{ 10 ** 10 ** 10 }}",
    "{{ 2 ** 100000000 }}",
    "{% include 'x' %}",
    "{% extends 'chat_template' %}",
    "{% import 'os' as os %}{{ os.system('id') }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages.__init__.__globals__ }}",
    "{{ cycler('a')|list }}{{ lipsum(1000000) }}",
    "{{ raise_exception('x' * 1000000) }}",
    "{{ strftime_now('%Y' * 10000000) }}",
    "{{ strftime_now('%10000000Y') }}",
    "{% if " + "(" * 20000 + "1" + ")" * 20000 + " %}{% endif %}",
    "{% if 1 %}" * 3000 + "{% endif %}" * 3000,
    "{{ " + "[" * 20000 + "]" * 20000 + " }}",
    "{{ x" + ".y" * 100000 + " }}",
    "{{ " + "not " * 50000 + "1 }}",
    "{{ " + " + ".join(["'a'"] * 50000) + " }}",
    "{% for m in messages recursive %}{{ loop([m, m]) }}{% endfor %}",
    "{% set x = namespace() %}{% set x.x = x %}{{ x }}{{ x|tojson }}",
    "{{ messages|map(attribute='content')|list|sort|unique|batch(1000000000)|list }}",
    "{{ range(1000000)|slice(1000000)|list }}",
    "{{ 'a'|wordwrap(0) }}{{ 'a b'|wordwrap(1, wrapstring='x' * 10000000) }}",
    "{% block a %}{{ self.a() }}{% endblock %}",
    "{{ dict(a=1)|dictsort|xmlattr }}",
    "{% filter upper %}{{ 'a' * 30000000 }}{% endfilter %}",
    "{{ '\\ud800' }}",
    "{% raw %}" + "x" * 5_000_000 + "{% endraw %}",
    "{# " + "x" * 5_000_000,
    "{{ 1 / 0 }}{{ 1 % 0 }}{{ 1 // 0 }}{{ -9223372036854775808 // -1 }}",
]


def template(box, number, rng):
    text = TEMPLATES[number % len(TEMPLATES)]
    settings = {"chat_template": text}
    return text[:60], folder(box, **{"tokenizer_config.json": json.dumps(settings)})
