"""Runs the table of bad evidence (see frame.py) and fails where a row is not covered."""
import importlib
import pathlib
import shutil
import sys
import tempfile

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import frame  # noqa: E402  (needs the path above)

for module in sorted([*HERE.glob("rows_*.py"), *HERE.glob("test_rows_*.py")]):
    importlib.import_module(module.stem)


@pytest.fixture(scope="module")
def rig():
    folder = tempfile.mkdtemp(prefix="tlg-")  # short: see swtpm.py
    running = frame.Rig(folder)
    yield running
    running.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("case", sorted(frame.CASES, key=lambda c: c.row), ids=str)
def test_row(rig, case):
    frame.judge(rig, case)


@pytest.mark.parametrize("base", ["tpm-rsassa", "tpm-rsapss", "tpm-p256", "tpm-p384", "made",
                                  "made-rsapss", "made-p256", "made-p384", "rhel8", "azure-cvm",
                                  "azure-tl"])
def test_honest_evidence_of_each_base_is_believed(rig, base):
    assert rig.check_twin(base).startswith("trusted")


def test_every_row_is_covered():
    covered = {case.row for case in frame.CASES} | set(frame.COVERED)
    assert sorted(set(frame.ROWS) - covered) == []
