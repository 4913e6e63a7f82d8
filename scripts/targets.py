#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""targets.py BUILD FOLDER: the executables declared under FOLDER, as "name<TAB>path" lines.

Asks Meson, so that no list of programs is kept twice. Paths are relative to the repository.
"""
import json
import os
import subprocess
import sys


def executables(build, folder):
    """Yields (name, path) of every executable whose meson.build lies under folder."""
    told = subprocess.run(["meson", "introspect", "--targets", build], check=True,
                          capture_output=True, text=True)
    prefix = os.path.join(os.getcwd(), folder) + os.sep
    for target in json.loads(told.stdout):
        if target["type"] == "executable" and target["defined_in"].startswith(prefix):
            yield target["name"], os.path.relpath(target["filename"][0])


def main():
    for name, path in executables(sys.argv[1], sys.argv[2]):
        print(f"{name}\t{path}")


if __name__ == "__main__":
    main()
