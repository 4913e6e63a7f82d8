#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bundle.py BUILD DIST: DIST/fathom-VERSION, a folder that runs wherever it is copied.

  bin/            a launcher for each program, and with-libs, which they call
  libexec/        the programs (rpath $ORIGIN/../lib); libexec/tests: the tests of the CUDA kernels
  lib/            the shared libraries they need that are not part of every Linux system
  lib/fallback/   libstdc++, used only where the machine's own is too old
  MANIFEST        what each program needs from the machine, the oldest glibc that will do included

LibTorch and the CUDA libraries are the target's: its torch wheel brings them (with-libs finds it).
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

from targets import executables

# Part of every glibc system; a copy could only do harm.
GLIBC = re.compile(r"^(ld-linux.*|lib(c|m|dl|pthread|rt|resolv|util|mvec))\.so")
COMPILER = re.compile(r"^lib(stdc\+\+|gcc_s)\.so")
TORCH = re.compile(r"^lib(torch|c10|cu[a-z]|nccl|nv|gomp-)")


def output(*command):
    environment = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


def needed_libraries(program):
    """{soname: path} of every library that the loader would open, dependencies' too."""
    libraries = {}
    for line in output("ldd", program).splitlines():
        match = re.match(r"\s*(\S+) => (\S+|not found)", line)
        if match:
            libraries[match[1]] = match[2]
    return libraries


def newest_symbol(paths, family):
    """The highest version of `family` (GLIBC, GLIBCXX) that any of the files asks for."""
    versions = set()
    for path in paths:
        versions |= set(re.findall(rf"\b{family}_(\d+(?:\.\d+)+)\b", output("readelf", "-V", path)))
    return max(versions, key=lambda text: [int(part) for part in text.split(".")], default="0")


class Bundle:
    def __init__(self, build, root):
        self.build, self.root, self.libraries, self.manifest = build, root, {}, []
        self.programs = []

    def folder(self, *parts):
        path = os.path.join(self.root, *parts)
        os.makedirs(path, exist_ok=True)
        return path

    def add_program(self, source, place, launcher):
        """Copies a program and its libraries; `launcher` says whether bin/ gets a script for it."""
        name = os.path.basename(source)
        target = os.path.join(self.folder(*place), name)
        shutil.copy2(source, target)
        # The sections of debug information are most of the size.
        subprocess.run(["strip", "--strip-debug", target], check=True)
        self.programs.append(target)
        torch = False
        kept = []
        for soname, path in needed_libraries(source).items():
            if GLIBC.match(soname):
                continue
            if TORCH.match(soname) or "/site-packages/" in path:
                torch = True
            elif path == "not found":
                sys.exit(f"bundle {name}: {soname} is not found on this machine")
            elif not COMPILER.match(soname):
                self.libraries[soname] = path
                kept.append(soname)
        self.manifest.append(f"{'/'.join(place)}/{name}: own {' '.join(sorted(kept)) or 'nothing'}"
                             f"{'; torch wheel' if torch else ''}")
        if launcher:
            self.write_launcher(name, place, torch)

    def write_launcher(self, name, place, torch):
        path = os.path.join(self.folder("bin"), name)
        with open(path, "w", encoding="utf-8") as script:
            script.write("#!/bin/sh\n"
                         'root=$(CDPATH= cd -- "$(dirname -- "$(readlink -f -- "$0")")/.." && pwd)\n'
                         f'exec "$root/bin/with-libs" {"--torch " if torch else ""}'
                         f'"$root/{"/".join(place)}/{name}" "$@"\n')
        os.chmod(path, 0o755)

    def finish(self, torch_version):
        for soname, path in self.libraries.items():
            shutil.copy2(os.path.realpath(path), os.path.join(self.folder("lib"), soname))
        fallback = self.folder("lib", "fallback")
        for soname in ("libstdc++.so.6", "libgcc_s.so.1"):
            path = output("g++", f"-print-file-name={soname}").strip()
            shutil.copy2(os.path.realpath(path), os.path.join(fallback, soname))
        files = self.programs + [os.path.join(self.root, "lib", name) for name in self.libraries]
        with open(os.path.join(fallback, "needs"), "w", encoding="utf-8") as text:
            text.write(f"GLIBCXX_{newest_symbol(files, 'GLIBCXX')}\n")
        with open(os.path.join(self.root, "lib", "torch-version"), "w", encoding="utf-8") as text:
            text.write(torch_version + "\n")
        self.manifest.append(f"glibc >= {newest_symbol(files, 'GLIBC')}")
        with open(os.path.join(self.root, "MANIFEST"), "w", encoding="utf-8") as text:
            text.write("\n".join(self.manifest) + "\n")
        shutil.copy2("scripts/with-libs", os.path.join(self.folder("bin"), "with-libs"))
        shutil.copy2("LICENSE", self.root)


def main():
    build, dist = sys.argv[1:]
    version = json.loads(output("meson", "introspect", "--projectinfo", build))["version"]
    torch = re.search(r"torch==([\d.]+)", open("dev", encoding="utf-8").read())[1]
    root = os.path.join(dist, f"fathom-{version}")
    shutil.rmtree(root, ignore_errors=True)
    bundle = Bundle(build, root)
    names = [name for name, _ in executables(build, "tools")]
    tests = [path for name, path in executables(build, "tests") if "cuda" in name]
    if not names and not tests:
        sys.exit("bundle: nothing to carry: neither tools/ nor the CUDA tests declare a program")
    # meson install replaces the build folder's rpaths by the relative one.
    with tempfile.TemporaryDirectory() as stage:
        subprocess.run(["meson", "install", "-C", build, "--no-rebuild", "--quiet", "--destdir", stage],
                       check=True, stdout=sys.stderr)
        installed = {name: os.path.join(folder, name)
                     for folder, _, files in os.walk(stage) for name in files}
        for name in names:
            if name not in installed:
                sys.exit(f"bundle: tools/{name}/meson.build needs install: true, install_rpath: program_rpath")
            bundle.add_program(installed[name], ["libexec"], launcher=True)
    for path in tests:
        bundle.add_program(path, ["libexec", "tests"], launcher=False)
    bundle.finish(torch)
    print(output("cat", os.path.join(root, "MANIFEST")), end="")
    for name in names:
        print(f"on the target: {os.path.basename(root)}/bin/{name}")
    for path in tests:
        print(f"on the target: {os.path.basename(root)}/bin/with-libs --torch "
              f"{os.path.basename(root)}/libexec/tests/{os.path.basename(path)}")


if __name__ == "__main__":
    main()
