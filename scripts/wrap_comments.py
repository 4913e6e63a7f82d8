#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""wrap_comments.py FILE…: wraps // comments that pass column 100, and touches no others.

clang-format would reflow them too, but tears the hanging indentation of a header's preamble
("// Purpose      text", continued 15 columns further in). Here the words that do not fit move to the
front of the next line if that one continues the paragraph, else to a line of their own.
"""
import re
import sys

COLUMNS = 100
LABEL = re.compile(r"^(\s*//\s+[A-Z][a-z]+ {2,})\S")  # "// Purpose      text"
PLAIN = re.compile(r"^(\s*//\s*)\S")
TRAILING = re.compile(r"^(\s*[^\s/](?:[^\"]|\"[^\"]*\")*?\s)// ")  # code, then a comment


def continuation(line):
    """What a line continuing this comment starts with, or None if `line` has no comment."""
    label = LABEL.match(line)
    if label:
        indent = line.index("//")
        return " " * indent + "//" + " " * (len(label[1]) - indent - 2)
    plain = PLAIN.match(line)
    if plain:
        return plain[1]
    trailing = TRAILING.match(line)
    return " " * len(trailing[1]) + "// " if trailing else None


def wrap(text):
    lines, out = text.split("\n"), []
    while lines:
        line = lines.pop(0)
        prefix = continuation(line)
        if len(line) > COLUMNS and prefix is not None:
            cut = line.rfind(" ", len(prefix) + 1, COLUMNS + 1)
            if cut > len(prefix):
                line, rest = line[:cut].rstrip(), line[cut + 1:].lstrip()
                follows = bool(lines) and not LABEL.match(lines[0]) and (
                    continuation(lines[0]) == prefix)
                if follows:
                    lines[0] = prefix + rest + " " + lines[0][len(prefix):]
                else:
                    lines.insert(0, prefix + rest)
        out.append(line)
    return "\n".join(out)


def main():
    long = "// Purpose      " + " ".join(["word"] * 18)
    assert wrap(long + "\n//              next") == long[:-5] + "\n//              word next"
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as source:
            text = source.read()
        wrapped = wrap(text)
        if wrapped != text:
            with open(path, "w", encoding="utf-8") as source:
                source.write(wrapped)


if __name__ == "__main__":
    main()
