"""Runs the stages of the test suite and adds up what they counted.

A stage is a shell command whose output ends in counts that one of the patterns below reads. A stage
that fails without counting a failure is itself counted as one. Logs go to build/test-logs/.
"""
import pathlib
import re
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
LOGS = ROOT / "build/test-logs"

CTEST = "ctest --preset {0}"
PYTEST = "/usr/bin/python3 -m pytest -q -rs -p no:cacheprovider "
BUILD = "cmake --preset {0} && cmake --build --preset {0} "

# name, command, what it counts
STAGES = [
    ("check", "cmake --workflow --preset check", "ctest"),
    ("release-build", BUILD.format("release"), "build"),
    ("vectors", PYTEST + "tests/vectors tests/rows", "pytest"),
    ("api", PYTEST + "tests/api", "pytest"),
    ("e2e", PYTEST + "tests/e2e", "pytest"),
    ("contract-seen", "/usr/bin/python3 tests/api/seen.py", "plain"),
    ("tsan-unit", CTEST.format("tsan"), "ctest"),
    ("tsan-served", "tests/tsan.sh", "pytest"),
    ("coverage", BUILD.format("coverage") + " && tests/coverage.sh", "plain"),
]

# Work for the processor alone, done aside with low priority while the stages from ASIDE_FROM to before
# ASIDE_UNTIL mostly wait for servers.
ASIDE = [
    ("tsan-build", BUILD.format("tsan"), "build"),
    ("tidy", "tests/lint/tidy.sh", "plain"),
    ("fuzz-build", BUILD.format("fuzz"), "build"),
    ("fuzz-smoke", "tests/fuzz/smoke.sh 3", "plain"),
]
ASIDE_FROM, ASIDE_UNTIL = "vectors", "tsan-unit"

PATTERNS = {
    # cmocka's own counts; programs that are not cmocka (lint, corpus replay) print the plain line.
    "ctest": {
        "passed": r"\[  PASSED  \] (\d+) test|^(?:\d+: )?(\d+) passed, \d+ failed",
        "failed": r"\[  FAILED  \] (\d+) test|^(?:\d+: )?\d+ passed, (\d+) failed",
        "skipped": r"\[  SKIPPED \] (\d+) test",
    },
    "pytest": {
        "passed": r"^(?:=+ )?.*?\b(\d+) passed.* in [\d.]+s",
        "failed": r"^(?:=+ )?.*?\b(\d+) (?:failed|error).* in [\d.]+s",
        "skipped": r"^(?:=+ )?.*?\b(\d+) skipped.* in [\d.]+s",
    },
    "plain": {
        "passed": r"^(\d+) passed, \d+ failed",
        "failed": r"^\d+ passed, (\d+) failed",
        "skipped": r"^\d+ passed, \d+ failed, (\d+) skipped",
    },
    "build": {},
}


def count(kind, text):
    totals = {"passed": 0, "failed": 0, "skipped": 0}
    for outcome, pattern in PATTERNS[kind].items():
        for match in re.finditer(pattern, text, re.M):
            totals[outcome] += int(next(g for g in match.groups() if g))
    return totals


def run_stage(name, command, kind, niceness=0):
    log = LOGS / f"{name}.log"
    start = time.monotonic()
    with log.open("wb") as out:
        status = subprocess.run(["nice", "-n", str(niceness), "bash", "-c", command], cwd=ROOT,
                                stdout=out, stderr=subprocess.STDOUT,
                                stdin=subprocess.DEVNULL).returncode
    text = log.read_text(errors="replace")
    totals = count(kind, text)
    if kind == "build":
        totals["passed"] = int(status == 0)
    if status != 0 and totals["failed"] == 0:
        totals["failed"] = 1
    if status == 0 and totals["passed"] == 0 and totals["skipped"] == 0:
        totals["failed"] = 1  # a stage that ran nothing is no proof
    print(f"{name}: {totals['passed']} passed, {totals['failed']} failed, "
          f"{totals['skipped']} skipped ({time.monotonic() - start:.0f} s)", flush=True)
    if totals["failed"]:
        print("\n".join(text.splitlines()[-80:]), flush=True)
    for line in re.findall(r"^SKIPPED .*", text, re.M):
        print("   ", line)
    return totals


def add(sums, totals):
    for outcome, n in totals.items():
        sums[outcome] += n


class Aside(threading.Thread):
    """The stages of ASIDE that are wanted, one after the other."""

    def __init__(self, wanted):
        super().__init__()
        self.stages = [stage for stage in ASIDE if stage[0] in wanted]
        self.sums = {"passed": 0, "failed": 0, "skipped": 0}

    def run(self):
        for stage in self.stages:
            add(self.sums, run_stage(*stage, niceness=15))


def main():
    LOGS.mkdir(parents=True, exist_ok=True)
    if len(sys.argv) == 1:
        (LOGS / "exchanges.jsonl").unlink(missing_ok=True)
    names = [name for name, _, _ in STAGES + ASIDE]
    wanted = sys.argv[1:] or names
    unknown = set(wanted) - set(names)
    if unknown:
        sys.exit(f"unknown stage: {', '.join(sorted(unknown))}")
    sums = {"passed": 0, "failed": 0, "skipped": 0}
    aside = Aside(wanted)
    for name, command, kind in STAGES:
        if name == ASIDE_FROM:
            aside.start()
        if name == ASIDE_UNTIL:
            aside.join()
        if name not in wanted:
            continue
        totals = run_stage(name, command, kind)
        add(sums, totals)
        if totals["failed"] and kind == "build":
            break
    if aside.ident:
        aside.join()
    add(sums, aside.sums)
    print(f"{sums['passed']} passed, {sums['failed']} failed, {sums['skipped']} skipped")
    return 1 if sums["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
