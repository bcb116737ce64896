"""Runs the table of bad evidence (see frame.py) and fails where a row is not covered."""
import importlib
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import frame  # noqa: E402  (needs the path above)

for module in sorted([*HERE.glob("rows_*.py"), *HERE.glob("test_rows_*.py")]):
    importlib.import_module(module.stem)


@pytest.mark.parametrize("case", sorted(frame.CASES, key=lambda c: c.row), ids=str)
def test_row(rig, case):
    frame.judge(rig, case)


@pytest.mark.parametrize("base", ["tpm-rsassa", "tpm-rsapss", "tpm-p256", "tpm-p384", "made",
                                  "made-rsapss", "made-p256", "made-p384", "rhel8", "azure-cvm",
                                  "azure-tl"])
def test_honest_evidence_of_each_base_is_believed(rig, base):
    assert rig.check_twin(base).startswith("trusted")


# How many different things a row names, where it names more than one: each wants a case of its own.
NAMED = {4: 3, 6: 2, 8: 3, 9: 2, 10: 2, 12: 2, 14: 2, 15: 3, 16: 3, 19: 2, 20: 3, 21: 2, 23: 2, 24: 4, 25: 2,
         26: 2, 27: 3, 28: 2, 29: 3, 30: 3, 36: 2, 38: 3, 39: 2, 40: 6, 41: 3, 44: 6}


def test_every_row_is_covered():
    """And everything that a row names: by a case that differs from its others in name and in what it does."""
    cases = {}
    for case in frame.CASES:
        cases.setdefault(case.row, {})[case.build] = case.name
    for number in frame.ROWS:
        names = set(cases.get(number, {}).values())
        assert names or number in frame.COVERED, number
        assert len(names) >= NAMED.get(number, 0), (number, names)
