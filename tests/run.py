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
FIRST = [
    ("check", "cmake --workflow --preset check", "ctest"),
    ("release-build", BUILD.format("release"), "build"),
]

# Side by side, each lane in its order. End to end mostly waits for servers and is the longest: the
# others, with the lower priority beside their names, have the processor while it does.
LANES = [
    (0, [("e2e", PYTEST + "tests/e2e", "pytest")]),
    (5, [("api", PYTEST + "tests/api", "pytest"),
         ("tsan-build", BUILD.format("tsan"), "build"),
         ("tsan-unit", CTEST.format("tsan"), "ctest"),
         ("tsan-served", "tests/tsan.sh", "pytest")]),
    (15, [("vectors", PYTEST + "tests/vectors tests/rows", "pytest"),
          ("tidy", "tests/lint/tidy.sh", "plain"),
          ("fuzz-build", BUILD.format("fuzz"), "build"),
          ("fuzz-smoke", "tests/fuzz/smoke.sh 3", "plain"),
          ("coverage", BUILD.format("coverage") + " && tests/coverage.sh", "plain")]),
]

LAST = [
    ("contract-seen", "/usr/bin/python3 tests/api/seen.py", "plain"),
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
    said = [f"{name}: {totals['passed']} passed, {totals['failed']} failed, "
            f"{totals['skipped']} skipped ({time.monotonic() - start:.0f} s)"]
    if totals["failed"]:
        said += text.splitlines()[-80:]
    said += ["    " + line for line in re.findall(r"^SKIPPED .*", text, re.M)]
    print("\n".join(said), flush=True)
    return totals


class Lane(threading.Thread):
    """Stages, one after the other; after a build that failed none."""

    def __init__(self, stages, niceness=0):
        super().__init__()
        self.stages, self.niceness = stages, niceness
        self.sums = {"passed": 0, "failed": 0, "skipped": 0}

    def run(self):
        for stage in self.stages:
            totals = run_stage(*stage, niceness=self.niceness)
            for outcome, n in totals.items():
                self.sums[outcome] += n
            if totals["failed"] and stage[2] == "build":
                break


def all_stages():
    return [*FIRST, *(stage for _, stages in LANES for stage in stages), *LAST]


def main():
    LOGS.mkdir(parents=True, exist_ok=True)
    if len(sys.argv) == 1:
        (LOGS / "exchanges.jsonl").unlink(missing_ok=True)
    names = [name for name, _, _ in all_stages()]
    wanted = sys.argv[1:] or names
    unknown = set(wanted) - set(names)
    if unknown:
        sys.exit(f"unknown stage: {', '.join(sorted(unknown))}")
    ended = []
    for together in ([(0, FIRST)], LANES, [(0, LAST)]):
        lanes = [Lane([stage for stage in stages if stage[0] in wanted], niceness)
                 for niceness, stages in together]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()
        ended += lanes
    sums = {outcome: sum(lane.sums[outcome] for lane in ended) for outcome in ended[0].sums}
    print(f"{sums['passed']} passed, {sums['failed']} failed, {sums['skipped']} skipped")
    return 1 if sums["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
