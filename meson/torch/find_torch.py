#!/usr/bin/env python3
"""Prints the folder of the torch wheel (its include/ and lib/ lie there); exits 1 with a reason.

Looks in $FATHOM_TORCH, the project's .venv, then the running interpreter; never imports torch.
"""
import glob
import importlib.util
import os
import sys

WANTED = "2.11."


def candidates(source_root):
    if os.environ.get("FATHOM_TORCH"):
        yield os.environ["FATHOM_TORCH"]
    yield from glob.glob(os.path.join(source_root, ".venv/lib/python3*/site-packages/torch"))
    spec = importlib.util.find_spec("torch")
    if spec and spec.submodule_search_locations:
        yield spec.submodule_search_locations[0]


def main():
    reasons = []
    for root in candidates(sys.argv[1]):
        version_file = os.path.join(root, "version.py")
        if not os.path.exists(os.path.join(root, "lib", "libtorch_cpu.so")):
            reasons.append(f"{root}: no lib/libtorch_cpu.so")
            continue
        with open(version_file, encoding="utf-8") as text:
            scope = {}
            for line in text:
                if line.startswith("__version__"):
                    scope["version"] = line.split("=", 1)[1].strip().strip("'\"")
        if not scope.get("version", "").startswith(WANTED):
            reasons.append(f"{root}: version {scope.get('version')}, need {WANTED}*")
            continue
        print(os.path.realpath(root))
        return 0
    print("; ".join(reasons) or "no torch wheel found; run ./dev setup", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
