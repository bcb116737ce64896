"""What is shipped: hardened, and without the fault points of the test presets."""
import pathlib
import subprocess

import pytest

from stack import ROOT

BIN = ROOT / "build/release/bin"
PROGRAMS = ["tlgate", "tlgate-agent", "azure-emulator"]


def readelf(*arguments):
    return subprocess.run(["readelf", "-W", *arguments], capture_output=True, text=True,
                          check=True).stdout


@pytest.mark.parametrize("program", PROGRAMS)
def test_hardening(program):
    path = BIN / program
    assert "DYN (Position-Independent Executable" in readelf("-h", path)
    dynamic = readelf("-d", path)
    assert "BIND_NOW" in dynamic and "RPATH" not in dynamic and "RUNPATH" not in dynamic
    segments = readelf("-l", path)
    assert "GNU_RELRO" in segments
    stack = next(line for line in segments.splitlines() if "GNU_STACK" in line)
    assert "RWE" not in stack
    symbols = readelf("--dyn-syms", path)
    assert "__stack_chk_fail" in symbols and "_chk@" in symbols


def test_no_fault_points_in_the_release():
    """The dev build proves that the search finds them where they are."""
    marker = b"TLGATE_FAULT"
    assert marker in (ROOT / "build/dev/bin/tlgate").read_bytes()
    assert marker not in (BIN / "tlgate").read_bytes()


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_path_of_the_build_machine(program):
    for path in (str(ROOT), str(pathlib.Path.home())):
        if len(path) > 5:
            assert path.encode() not in (BIN / program).read_bytes()
