#!/usr/bin/env python3
"""Every reason that the sources give has its line in attest/reasons.def, and every line is used."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = ("attest", "handlers", "server", "jobs")
# a reason as an argument of what writes findings, or as any snake_case text of attest/
CALL = re.compile(r'\b(?:result_\w+|attest_result_quarantine|fail\w*|problem|warn|skip)\s*\(([^;]*?)\)\s*;', re.S)
WORD = re.compile(r'"([a-z][a-z0-9]*(?:_[a-z0-9]+)*)"')
SNAKE = re.compile(r'"([a-z][a-z0-9]*(?:_[a-z0-9]+)+)"')
COMMENT = re.compile(r'/\*.*?\*/', re.S)


def sources(folder):
    return sorted((ROOT / folder).glob("*.c"))


def given(path):
    """Reasons that a file of attest/ gives, with where."""
    text = COMMENT.sub("", path.read_text())
    words = set(SNAKE.findall(text))
    for arguments in CALL.findall(text):
        if "CHECK_" in arguments:
            words.update(WORD.findall(arguments))
    return words


def main():
    table = (ROOT / "attest/reasons.def").read_text()
    lines = re.findall(r"^REASON\((\w+), (\w+), ", table, re.M)
    remedies = set(re.findall(r"^REMEDY\((\w+), ", table, re.M))
    names = [name for name, _ in lines]
    faults = [f"{name}: twice in the table" for name in set(names) if names.count(name) > 1]
    faults += [f"REMEDY {code}: no reason has it" for code in remedies - {r for _, r in lines}]
    # Words of attest/ in snake_case that are no reasons: JSON, TPM or log vocabulary.
    others = set((ROOT / "tests/lint/not_reasons.txt").read_text().split())
    for path in sources("attest"):
        for word in sorted(given(path) - set(names) - others):
            faults.append(f"{path.relative_to(ROOT)}: reason \"{word}\" has no line in attest/reasons.def")
    everything = "".join(p.read_text() for f in FOLDERS for p in sources(f))
    faults += [f"{name}: no source gives it" for name in names if f'"{name}"' not in everything]
    print("\n".join(faults) or f"{len(names)} reasons")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
