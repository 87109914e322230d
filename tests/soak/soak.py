#!/usr/bin/env python3
"""Attacks on the real command: kills, flipped bits, misbehaving hosts, hostile files.

Every attack follows from its seed, so a fault comes back with the same arguments. Exit code 1 where anything is silent,
panics, hangs, or takes more than its bounds: 20 s and 2 GiB for each run.
"""

import argparse
import pathlib
import shutil
import sys
import tempfile

import flips
import hostile
import hosts
import kills
import support

ATTACKS = {"kills": (kills, 100), "flips": (flips, 450), "hosts": (hosts, 60), "hostile": (hostile, 300)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("attacks", nargs="*", metavar="ATTACK", help=f"one or more of {', '.join(ATTACKS)} [default: all]")
    parser.add_argument("--seed", type=int, default=1, help="what the attacks follow from [default: 1]")
    parser.add_argument("--share", type=float, default=1.0, help="a part of each attack, such as 0.1 [default: 1]")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.attacks if name not in ATTACKS]
    if unknown:
        parser.error(f"no attack {unknown[0]!r}; there are {', '.join(ATTACKS)}")
    if not pathlib.Path(support.COMMAND).is_file():
        parser.error(f"{support.COMMAND} is not built; `cargo xtask soak` builds it")
    tallies = []
    kernels = pathlib.Path(tempfile.mkdtemp(prefix="tilestream-soak-kernels-"))
    support.SHARED["MESA_SHADER_CACHE_DIR"] = str(kernels)
    try:
        for name in arguments.attacks or ATTACKS:
            attack, count = ATTACKS[name]
            tallies.append(attack.attack(max(1, round(count * arguments.share)), arguments.seed))
            print(tallies[-1].summary(), flush=True)
    finally:
        shutil.rmtree(kernels, ignore_errors=True)
    print()
    for tally in tallies:
        print(tally.summary())
    return 1 if any(tally.wrong for tally in tallies) else 0


if __name__ == "__main__":
    sys.exit(main())
