"""Flipped bits in models on disk, and in what is cached of models from the web."""

import json

from hosts import Host
from support import ASK, Box, Tally, flip, generator, side_by_side, split_small

# Flips of one round in one cached file: one run has to find and mend them all.
AT_ONCE = 5


def attack(count, seed):
    tally = Tally("flips")
    with Box() as box:
        model = split_small(box)
        ids = box.run("run", model, *ASK).ids
        if ids is None:
            raise SystemExit("the model to attack gives no answer")
        local(tally, box, model, ids, round(count * 0.6), seed)
        cached(tally, model, ids, max(1, round(count * 0.4 / AT_ONCE)), seed)
    return tally


def local(tally, box, model, ids, count, seed):
    """`verify` names the file of every flip; a run refuses, or gives the same ids where it does not read the block."""
    files = sorted(path for path in model.iterdir() if path.is_file())
    weights = [path.stat().st_size for path in files]

    def one(number):
        rng = generator(seed, "local", number)
        victim = rng.choice(files) if number % 2 else rng.choices(files, weights)[0]
        with Box() as own:
            copy = own / "model"
            copy.mkdir()
            for path in files:
                (copy / path.name).hardlink_to(path) if path != victim else (copy / path.name).write_bytes(path.read_bytes())
            offset = flip(copy / victim.name, rng)
            what = f"local {victim.name} at {offset} (flip {number})"
            seen = own.run("verify", copy)
            faults = seen.faults()
            shard = victim.name.removesuffix(".sums")
            if seen.code == 0:
                faults.append("silent: verify finds nothing")
            elif shard not in seen.out + seen.err:
                faults.append(f"verify does not name it: {(seen.out + seen.err).strip()[-300:]}")
            ran = own.run("run", copy, *ASK)
            faults += ran.faults()
            if ran.code == 0 and ran.ids != ids:
                faults.append(f"silent: {ran.ids} instead of {ids}")
            tally.add(what, faults, refused=ran.code != 0)

    side_by_side(one, range(count))


def cached(tally, model, ids, rounds, seed):
    """A run mends what is flipped in its cache, and the next one needs no server for it."""

    def one(number):
        rng = generator(seed, "cached", number)
        with Box() as box:
            with Host(model) as host:
                address = host.address
                first = box.run("run", address, *ASK)
                folder = next((box / "cache").rglob("manifest.json")).parent
                places = {path.name: path for path in folder.iterdir() if path.is_file() and path.stat().st_size}
                # One file a round: where the manifest is bad, everything may be fetched anew.
                victim = places[sorted(places)[number % len(places)]]
                flipped = [(victim, flip(victim, rng)) for _ in range(AT_ONCE)]
                what = f"cached, round {number}"
                again = box.run("run", address, *ASK)
                faults = first.faults() + again.faults()
                if again.ids != ids:
                    faults.append(f"{json.dumps(again.ids)} instead of {ids}: {again.err.strip()[-300:]}")
                faults += [
                    f"silent: {name} is still damaged" for name in sorted({path.name for path, _ in flipped})
                    if is_read_whole(name) and places[name].read_bytes() != (model / name).read_bytes()
                ]
            alone = box.run("run", address, *ASK)
            faults += alone.faults()
            if alone.ids != ids:
                faults.append(f"not mended: without the server {json.dumps(alone.ids)}: {alone.err.strip()[-300:]}")
            for path, offset in flipped:
                tally.add(f"{what}: {path.name} at {offset}", faults)
                # The run's faults are told once.
                faults = []

    side_by_side(one, range(rounds))


def is_read_whole(name):
    """Whether every run reads all of a file of a model; of embeddings it reads the rows of its tokens."""
    return name.startswith(("layer-", "head")) and name.endswith(".safetensors") or name == "tokenizer.json"
