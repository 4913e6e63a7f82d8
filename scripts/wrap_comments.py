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
                # Only a line that is nothing but comment may take words in front.
                follows = bool(lines) and not LABEL.match(lines[0]) and (
                    bool(PLAIN.match(lines[0])) and continuation(lines[0]) == prefix)
                if follows:
                    lines[0] = prefix + rest + " " + lines[0][len(prefix):]
                else:
                    lines.insert(0, prefix + rest)
        out.append(line)
    return "\n".join(out)


def code_of(text):
    """What is not comment and not space: wrapping may not touch it."""
    lines = (TRAILING.match(line) for line in text.split("\n"))
    kept = [match[1] if match else "" if PLAIN.match(line) else line
            for match, line in zip(lines, text.split("\n"))]
    return "".join("".join(kept).split())


def main():
    long = "// Purpose      " + " ".join(["word"] * 18)
    assert wrap(long + "\n//              next") == long[:-5] + "\n//              word next"
    two = "int a;  // " + "word " * 20 + "\nint b;  // next"
    assert code_of(wrap(two)) == "inta;intb;", wrap(two)
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as source:
            text = source.read()
        wrapped = wrap(text)
        assert code_of(wrapped) == code_of(text), f"{path}: wrapping would change code"
        if wrapped != text:
            with open(path, "w", encoding="utf-8") as source:
                source.write(wrapped)


if __name__ == "__main__":
    main()
