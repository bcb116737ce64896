"""Runs the stages of the test suite and adds up what they counted.

A stage is a shell command whose output ends in counts that one of the patterns below reads. A stage
that fails without counting a failure is itself counted as one. Logs go to build/test-logs/.
"""
import pathlib
import re
import subprocess
import sys
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
    ("tidy", "tests/lint/tidy.sh", "plain"),
    ("tsan-build", BUILD.format("tsan"), "build"),
    ("tsan-unit", CTEST.format("tsan"), "ctest"),
    ("tsan-served", "tests/tsan.sh", "pytest"),
    ("fuzz-build", BUILD.format("fuzz"), "build"),
    ("fuzz-smoke", "tests/fuzz/smoke.sh 5", "plain"),
    ("coverage", BUILD.format("coverage") + " && tests/coverage.sh", "plain"),
]

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


def run_stage(name, command, kind):
    log = LOGS / f"{name}.log"
    start = time.monotonic()
    with log.open("wb") as out:
        status = subprocess.run(["bash", "-c", command], cwd=ROOT, stdout=out,
                                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL).returncode
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


def main():
    LOGS.mkdir(parents=True, exist_ok=True)
    if len(sys.argv) == 1:
        (LOGS / "exchanges.jsonl").unlink(missing_ok=True)
    wanted = sys.argv[1:] or [name for name, _, _ in STAGES]
    unknown = set(wanted) - {name for name, _, _ in STAGES}
    if unknown:
        sys.exit(f"unknown stage: {', '.join(sorted(unknown))}")
    sums = {"passed": 0, "failed": 0, "skipped": 0}
    for name, command, kind in STAGES:
        if name not in wanted:
            continue
        totals = run_stage(name, command, kind)
        for outcome, n in totals.items():
            sums[outcome] += n
        if totals["failed"] and kind == "build":
            break
    print(f"{sums['passed']} passed, {sums['failed']} failed, {sums['skipped']} skipped")
    return 1 if sums["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
