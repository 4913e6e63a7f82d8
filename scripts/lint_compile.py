#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""lint_compile.py [--jobs N] headers BUILD | tidy BUILD [--all]: the checks that need a compiler.

headers  compiles each header of src/ alone, included twice, with the flags of a source beside it.
tidy     runs clang-tidy on the sources and headers of src/ and tools/ that differ from the base: the
         merge base with origin/main, or the first parent when HEAD is not ahead of it, and whatever
         is not committed. --all takes every file. A file whose text, includes and settings have not
         changed since it last passed is not checked again. With CI=true it stops after
         FATHOM_TIDY_SECONDS (600) and names the files it did not reach; those without LibTorch, which
         are quick, come first.
"""
import argparse
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

# gcc's flags that clang does not know, and what clang sees in libstdc++'s own stable_sort.
QUIET = ["-Wno-unknown-warning-option", "-Wno-deprecated-declarations"]
HEADER = re.compile(r"^src/.*(?<!-inl)\.(hpp|h)$")
SOURCE = re.compile(r"^(src|tools)/.*\.cpp$")


def run(command):
    return subprocess.run(command, capture_output=True, text=True, check=False)


def git(*arguments):
    done = run(["git", *arguments])
    return done.stdout.splitlines() if done.returncode == 0 else []


class Commands:
    """Compiler and flags of every source, from Meson's compile_commands.json."""

    def __init__(self, build):
        self.build = build
        with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as text:
            entries = json.load(text)
        self.of_source = {}
        for entry in entries:
            path = os.path.relpath(os.path.join(entry["directory"], entry["file"]))
            if path.endswith(".cpp"):
                self.of_source[path] = self._clean(shlex.split(entry["command"]))

    @staticmethod
    def _clean(words):
        """Drops input, output, dependency files, debug information and optimisation."""
        kept, skip = [], False
        for word in words:
            if skip:
                skip = False
            elif word in ("-o", "-c", "-MQ", "-MF", "-MT"):
                skip = True
            elif word not in ("-MD", "-MMD", "-g") and not re.fullmatch(r"-O\d?|-Werror", word):
                kept.append(word)
        return kept

    def flags_for(self, path):
        """The command of `path`, or of the nearest source beside or above it."""
        if path in self.of_source:
            return self.of_source[path]
        folder = os.path.dirname(path)
        while folder:
            for source, words in sorted(self.of_source.items()):
                if source.startswith(folder + "/"):
                    return words
            folder = os.path.dirname(folder)
        return next(iter(self.of_source.values()))

    def unit_for(self, header):
        """A source that includes only `header`, twice: it must stand alone and guard itself."""
        path = os.path.join(self.build, "lint", header + ".cpp")
        name = header.removeprefix("src/")
        text = f'#include "{name}"\n#include "{name}"  // NOLINT\n'
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not os.path.exists(path) or open(path, encoding="utf-8").read() != text:
            with open(path, "w", encoding="utf-8") as unit:
                unit.write(text)
        return path


def in_build(words, build):
    """Meson's paths are relative to the build folder; ours to the repository."""
    return ["-I" + os.path.relpath(os.path.join(build, word[2:]))
            if word.startswith("-I") and not os.path.isabs(word[2:]) else word for word in words]


def extra_includes():
    """The CUDA toolkit's headers, which host headers of GPU code may name."""
    nvcc = shutil.which("nvcc")
    include = os.path.join(os.path.dirname(os.path.realpath(nvcc)), "../include") if nvcc else ""
    return ["-isystem", include] if os.path.isdir(include) else []


def needs_absent(header):
    """Why `header` cannot be compiled on this machine, or ""."""
    with open(header, encoding="utf-8") as text:
        body = text.read()
    if re.search(r"#\s*include\s*<(cuda|cublas)\w*\.h", body) and not extra_includes():
        return "needs the CUDA toolkit"
    if re.search(r"#\s*include\s*<(torch|ATen|c10)/", body) and not torch_flags(Commands.current):
        return "needs LibTorch"
    return ""


def torch_flags(commands):
    """The include flags of LibTorch: those of a source that has them, else the wheel's folders."""
    for words in commands.of_source.values():
        flags = [word for word in words if "torch/include" in word]
        if flags:
            return flags
    root = run([sys.executable, "meson/torch/find_torch.py", os.getcwd()])
    if root.returncode != 0:
        return []
    include = os.path.join(root.stdout.strip(), "include")
    return ["-idirafter" + include, "-idirafter" + os.path.join(include, "torch/csrc/api/include")]


def command_for(commands, path):
    """The full compiler command, without an action, for a source or header."""
    words = in_build(commands.flags_for(path), commands.build) + extra_includes()
    with open(path, encoding="utf-8") as text:
        body = text.read()
    if not any("torch/include" in word for word in words) and (
            path.endswith((".hpp", ".h")) and re.search(r"(models|engine|comm)/|<(torch|ATen|c10)/",
                                                        path + body)):
        words += torch_flags(commands)
    return words


def check_headers(commands, jobs):
    headers = sorted(path for path in git("ls-files", "-co", "--exclude-standard", "src")
                     if HEADER.match(path) and os.path.exists(path))
    absent = {header: why for header in headers if (why := needs_absent(header))}

    def compile_one(header):
        unit = commands.unit_for(header)
        # An object file instead of -fsyntax-only, because ccache then remembers it.
        return run([*command_for(commands, header), "-c", unit, "-o", unit.removesuffix(".cpp") + ".o"])

    failed = 0
    with ThreadPoolExecutor(jobs) as pool:
        chosen = [header for header in headers if header not in absent]
        for header, done in zip(chosen, pool.map(compile_one, chosen)):
            if done.returncode != 0 or "warning:" in done.stderr:
                failed += 1
                print(f"{header}: does not compile cleanly on its own:\n{done.stderr}")
    for header, why in absent.items():
        print(f"{header}: not checked: {why}")
    print(f"headers: {len(headers) - len(absent)} compiled alone, {failed} failed")
    return failed == 0 and bool(headers)


def changed_files():
    """Files of the last piece of work, and the name of what they were compared with."""
    base = (git("merge-base", "HEAD", "origin/main") or [""])[0]
    head = (git("rev-parse", "HEAD") or [""])[0]
    what = "origin/main"
    if not base or base == head:
        base, what = (git("rev-parse", "--verify", "--quiet", "HEAD^1") or [""])[0], "the first parent"
    if not base:
        return git("ls-files"), "nothing (no history)"
    return (git("diff", "--name-only", base) + git("ls-files", "-o", "--exclude-standard")), what


class Tidy:
    """clang-tidy over one file at a time, with a memory of what passed."""

    def __init__(self, commands):
        self.commands = commands
        self.memory = os.path.join(commands.build, "lint", "passed")
        os.makedirs(self.memory, exist_ok=True)
        with open(".clang-tidy", encoding="utf-8") as text:
            self.settings = text.read() + run(["clang-tidy", "--version"]).stdout

    def fingerprint(self, unit, words):
        """Hash of the file, all project files it includes, flags and settings; None if unknown."""
        listed = run([*words, "-MM", unit])
        if listed.returncode != 0:
            return None
        digest = hashlib.sha256((self.settings + " ".join(words)).encode())
        for path in listed.stdout.replace("\\\n", " ").split()[1:]:
            with open(path, "rb") as text:
                digest.update(text.read())
        return digest.hexdigest()

    def check(self, path):
        """(passed, output) of one source or header."""
        unit = self.commands.unit_for(path) if HEADER.match(path) else path
        words = command_for(self.commands, path)
        mark = self.fingerprint(unit, words)
        if mark and os.path.exists(os.path.join(self.memory, mark)):
            return True, ""
        start = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
        done = run(["clang-tidy", "--quiet", unit, "--", *words[start:], *QUIET])
        if done.returncode == 0 and mark:
            with open(os.path.join(self.memory, mark), "w", encoding="utf-8"):
                pass
        return done.returncode == 0, done.stdout.strip() or done.stderr


def check_tidy(commands, jobs, everything):
    files, against = (git("ls-files", "-co", "--exclude-standard"), "") if everything else changed_files()
    files = sorted({path for path in files if os.path.exists(path)
                    and (HEADER.match(path) or path in commands.of_source and SOURCE.match(path))
                    and not needs_absent(path)})
    # Cheap ones first, so that a time limit cuts off few.
    files.sort(key=lambda path: (any("torch/include" in word for word in command_for(commands, path)),
                                 path.endswith(".hpp"), path))
    limit = float(os.environ.get("FATHOM_TIDY_SECONDS", "600")) if os.environ.get("CI") else float("inf")
    deadline = time.monotonic() + limit
    tidy = Tidy(commands)

    def check(path):
        return None if time.monotonic() > deadline else tidy.check(path)

    failed, late, shown = 0, [], set()
    with ThreadPoolExecutor(jobs) as pool:
        for path, result in zip(files, pool.map(check, files)):
            if result is None:
                late.append(path)
            elif not result[0]:
                failed += 1
                for block in re.split(r"\n(?=\S+:\d+:\d+: )", result[1]):
                    if block not in shown:  # one header's complaint comes with each source
                        shown.add(block)
                        print(block.rstrip())
    for path in late:
        print(f"{path}: not checked by clang-tidy: {limit:.0f} s are over (./dev lint without CI has no limit)")
    print(f"tidy: {len(files) - len(late)} files" + (f" changed against {against}" if against else "") +
          f", {failed} failed" + (f", {len(late)} not reached" if late else ""))
    return failed == 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("check", choices=["headers", "tidy"])
    parser.add_argument("build")
    parser.add_argument("--all", action="store_true")
    options = parser.parse_args()
    commands = Commands.current = Commands(options.build)
    if options.check == "headers":
        return 0 if check_headers(commands, options.jobs) else 1
    return 0 if check_tidy(commands, options.jobs, options.all) else 1


if __name__ == "__main__":
    sys.exit(main())
