"""What the tests of this folder share."""
import shutil
import tempfile

import pytest

import frame


@pytest.fixture(scope="module")
def rig():
    folder = tempfile.mkdtemp(prefix="tlg-")  # short: see swtpm.py
    running = frame.Rig(folder)
    yield running
    running.close()
    shutil.rmtree(folder, ignore_errors=True)
