#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""lint_layers.py: the layer rule and the file rules, over src/, tools/, tests/, bench/ and fuzz/.

Errors  a folder of src/ that includes anything but itself and folders of lower levels; LibTorch below
        its line; headers of LibTorch that pull in everything; <expected> where nvcc can see it; a
        header without its licence line, guard or purpose; comments that pass column 100.
Warning a file of more than 400 lines: look for the second idea in it.
"""
import os
import re
import subprocess
import sys

# A folder may include itself and folders of lower levels; two folders of one level are strangers.
LEVELS = {"base": 0, "config": 1, "aio": 1, "kernels": 2, "swap": 2, "comm": 3, "models": 4,
          "engine": 5}
ABOVE_TORCH_LINE = {"comm", "models", "engine"}
TORCH = re.compile(r"^(torch|ATen|c10|caffe2)/")
FORBIDDEN = {"torch/torch.h", "torch/all.h", "torch/extension.h", "ATen/ATen.h"}
# Each costs 6 to 15 s of compilation and up to 1.2 GB: bearable in a source, not in a header.
FORBIDDEN_IN_HEADERS = {"torch/nn.h", "torch/nn/module.h", "torch/script.h", "torch/optim.h",
                        "torch/types.h", "torch/autograd.h", "ATen/Functions.h",
                        "torch/csrc/autograd/custom_function.h"}
COMMENT = re.compile(r"(^|\s)// ")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
SPDX = "// SPDX-License-Identifier: Apache-2.0"
LONG_FILE = 400
COLUMNS = 100


def folder_of(path):
    """"aio" for src/aio/x.hpp, "tools" for tools/fathom/x.cpp."""
    parts = path.split("/")
    return parts[1] if parts[0] == "src" and len(parts) > 2 else parts[0]


def includes_of(text):
    """Yields (line number, is quoted, name)."""
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match[1] == '"', match[2]


def is_header(path):
    return path.endswith((".hpp", ".h", ".cuh"))


def check_includes(path, text, exists):
    """Yields "path:line: what" for each include that the rules forbid."""
    folder = folder_of(path)
    in_src = path.startswith("src/")
    if in_src and folder not in LEVELS:
        yield f"{path}:1: folder src/{folder} has no level; add it to LEVELS in scripts/lint_layers.py"
        return
    for number, quoted, name in includes_of(text):
        where = f"{path}:{number}: "
        target = name.split("/")[0]
        if name in FORBIDDEN:
            yield where + f"<{name}> is forbidden everywhere: include the exact ATen/ops/NAME.h"
        elif name in FORBIDDEN_IN_HEADERS and is_header(path):
            yield where + f"<{name}> is too expensive for a header: forward declare, use it in a source"
        if TORCH.match(name) and in_src and folder not in ABOVE_TORCH_LINE:
            yield where + f"<{name}>: {folder} lies below the LibTorch line"
        if in_src and name.split("/")[0] in ("tools", "tests", "bench"):
            yield where + f"src/ may not include {name}"
        if not quoted or not in_src:
            continue
        if target not in LEVELS:
            # Highway re-includes its own sources by macro; everything else is named from src/.
            yield where + f'"{name}" does not start with a folder of src/'
        elif not exists("src/" + name):
            yield where + f'"{name}" does not exist under src/'
        elif target != folder and LEVELS[target] >= LEVELS[folder]:
            yield where + (f"{folder} (level {LEVELS[folder]}) may not include {target} "
                           f"(level {LEVELS[target]}): arrows point down only")


def check_header(path, text):
    """Yields complaints about how a header begins."""
    lines = text.splitlines()
    if not any(line.strip() == "#pragma once" for line in lines) and "HWY_TARGET_TOGGLE" not in text:
        yield f"{path}:1: no #pragma once"
    purpose = []
    for line in lines[1:]:
        if not line.startswith("//"):
            break
        purpose.append(line.lstrip("/ "))
    if len(" ".join(purpose).strip()) < 20:
        yield f"{path}:2: a header begins with what it is for (see src/base/units.hpp)"


def check_nvcc_view(texts):
    """Yields complaints about <expected> in what a .cu file includes: nvcc stops at C++20."""
    for start in (path for path in texts if path.endswith(".cu")):
        seen, queue = {start}, [(start, start)]
        while queue:
            path, chain = queue.pop()
            for number, quoted, name in includes_of(texts[path]):
                if name == "expected":
                    yield f"{path}:{number}: <expected> is reached from a .cu file ({chain})"
                below = "src/" + name
                if quoted and below in texts and below not in seen:
                    seen.add(below)
                    queue.append((below, f"{chain} > {below}"))


def check_all(texts):
    """(errors, warnings) over {path: text}."""
    errors, warnings = [], []
    for path, text in sorted(texts.items()):
        errors += check_includes(path, text, texts.__contains__)
        if not text.startswith(SPDX + "\n"):
            errors.append(f"{path}:1: the first line must be {SPDX}")
        if path.startswith("src/") and is_header(path):
            errors += check_header(path, text)
        # Code is clang-format's concern, which leaves comments alone (and rightly raw strings too).
        errors += [f"{path}:{number}: {len(line)} columns, {COLUMNS} is the limit"
                   for number, line in enumerate(text.splitlines(), 1)
                   if len(line) > COLUMNS and COMMENT.search(line) and "://" not in line]
        if text.count("\n") > LONG_FILE:
            warnings.append(f"{path}: {text.count(chr(10))} lines: look for the second idea in it")
    errors += check_nvcc_view(texts)
    return errors, warnings


def self_test():
    """The rules must find what they forbid, or they protect nothing."""
    head = SPDX + "\n// Widget: a purpose that is long enough.\n#pragma once\n"
    good = {"src/base/a.hpp": head + "#include <vector>\n",
            "src/aio/b.hpp": head + '#include "base/a.hpp"\n'}
    assert check_all(good) == ([], []), check_all(good)
    bad = {
        "upward": ("src/base/x.hpp", head + '#include "aio/b.hpp"\n'),
        "sideways": ("src/config/x.hpp", head + '#include "aio/b.hpp"\n'),
        "unknown target": ("src/aio/x.hpp", head + '#include "base/none.hpp"\n'),
        "own folder by file name": ("src/aio/x.hpp", head + '#include "b.hpp"\n'),
        "torch below the line": ("src/swap/x.cpp", SPDX + "\n#include <ATen/core/Tensor.h>\n"),
        "everything header": ("tests/engine/x.cpp", SPDX + "\n#include <torch/torch.h>\n"),
        "heavy in a header": ("src/engine/x.hpp", head + "#include <torch/autograd.h>\n"),
        "no licence": ("src/aio/x.cpp", "#include <vector>\n"),
        "no guard": ("src/aio/x.hpp", SPDX + "\n// Widget: a purpose that is long enough.\n"),
        "long line": ("src/aio/x.cpp", SPDX + "\n// " + "x" * 98 + "\n"),
        "no purpose": ("src/aio/x.hpp", SPDX + "\n#pragma once\n"),
        "new folder": ("src/other/x.cpp", SPDX + "\n"),
        "expected under nvcc": ("src/kernels/x.cu", SPDX + "\n#include <expected>\n"),
    }
    for name, (path, text) in bad.items():
        errors, _ = check_all({**good, path: text})
        assert len(errors) == 1, (name, errors)
    assert check_all({"tests/a.cpp": SPDX + "\n" * 500})[1], "long files"


def main():
    self_test()
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "--", "src", "tools",
                             "tests", "bench", "fuzz"], check=True, capture_output=True, text=True)
    texts = {}
    for path in listed.stdout.splitlines():
        if path.endswith((".hpp", ".h", ".cuh", ".cpp", ".cu")) and os.path.exists(path):
            with open(path, encoding="utf-8") as source:
                texts[path] = source.read()
    errors, warnings = check_all(texts)
    for line in warnings:
        print("warning: " + line)
    for line in errors:
        print(line)
    print(f"layers: {len(texts)} files, {len(errors)} errors, {len(warnings)} warnings")
    return 1 if errors or not texts else 0


if __name__ == "__main__":
    sys.exit(main())
