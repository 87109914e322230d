"""Kills at any moment: of a split, of a first use, of a fetch. What is left is never taken for whole, and the next run goes on."""

from hosts import Host
from support import ASK, SMALL_GGUF, Box, Tally, digests, generator, split_small


def attack(count, seed):
    tally = Tally("kills")
    for number, (name, share) in enumerate(((split, 0.5), (first_use, 0.25), (fetch, 0.25))):
        name(tally, round(count * share), seed, number)
    return tally


def rounds(tally, count, seed, number, start, check):
    """Kills `start` until one gets through, checks what it left, and begins again, until `count` were killed."""
    rng, killed = generator(seed, "kills", number), 0
    while killed < count:
        with Box() as box:
            begun = start(box, None)
            longest = begun.seconds
        with Box() as box:
            for _ in range(min(8, count - killed)):
                after = rng.uniform(0, longest)
                done = start(box, after)
                killed += 1
                tally.add(f"{start.__name__} killed after {after:.3f} s (kill {killed})", done.faults())
            check(tally, box, start(box, None))


def split(tally, count, seed, number):
    with Box() as box:
        whole = digests(split_small(box))

    def split_again(box, after):
        return box.run("split", SMALL_GGUF, box / "model", kill_after=after)

    def check(tally, box, done):
        faults = done.faults()
        if done.code != 0:
            faults.append(f"the split does not go on: {done.err.strip()}")
        elif digests(box / "model") != whole:
            faults.append("the model differs from one that was split in one go")
        tally.add("a split after kills", faults)

    rounds(tally, count, seed, number, split_again, check)


def first_use(tally, count, seed, number):
    with Box() as box:
        ids = box.run("run", SMALL_GGUF, *ASK).ids

    def run_checkpoint(box, after):
        return box.run("run", SMALL_GGUF, *ASK, kill_after=after)

    rounds(tally, count, seed, number, run_checkpoint, lambda *found: same_ids(*found, ids))


def fetch(tally, count, seed, number):
    with Box() as model_box:
        model = split_small(model_box)
        ids = model_box.run("run", model, *ASK).ids
        with Host(model) as host:

            def run_address(box, after):
                return box.run("run", host.address, *ASK, kill_after=after)

            rounds(tally, count, seed, number, run_address, lambda *found: same_ids(*found, ids))


def same_ids(tally, box, done, ids):
    faults = done.faults()
    if done.ids != ids:
        faults.append(f"{done.ids} instead of {ids}: {done.err.strip()[-300:]}")
    tally.add("a run after kills", faults)
