"""Fixtures of the API and end-to-end tests: one emulator and one gateway for a session, and private
ones where a test needs its own."""
import pathlib
import shutil
import sys
import tempfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/api"))

import stack  # noqa: E402  (needs the path above)


@pytest.fixture(scope="session")
def folder():
    # Short: UNIX sockets of the vTPMs must fit 107 bytes.
    path = pathlib.Path(tempfile.mkdtemp(prefix="tlg-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def emulator(folder):
    running = stack.Emulator(folder / "e")
    running.settings(lroSeconds=0.2, retryAfter=0)
    yield running
    running.close()


@pytest.fixture(scope="session")
def gateway(folder, emulator):
    running = stack.Gateway(folder / "g", emulator)
    yield running
    running.close()


@pytest.fixture(scope="session")
def api(gateway):
    return gateway.api(gateway.admin_key)


@pytest.fixture(scope="session")
def anonymous(gateway):
    return gateway.api(None)


@pytest.fixture(scope="session")
def make_vm(gateway):
    def make(name, **changes):
        return stack.Vm(gateway, name, **changes)
    return make


@pytest.fixture(scope="session")
def make_vm_on():
    def make(on, name, **changes):
        return stack.Vm(on, name, group="own", **changes)
    return make


@pytest.fixture
def private_gateway(tmp_path_factory, emulator):
    running = stack.Gateway(tmp_path_factory.mktemp("gw"), emulator)
    yield running
    running.close()


@pytest.fixture(scope="session")
def short_ttl_gateway(folder, emulator):
    running = stack.Gateway(folder / "ttl", emulator, TLGATE_ATTESTATION_CHALLENGE_TTL="2s")
    yield running
    running.close()


@pytest.fixture(scope="session")
def tight_gateway(folder, emulator):
    """One request a second from each caller."""
    running = stack.Gateway(
        folder / "tight", emulator, TLGATE_LIMITS_REQUESTS_PER_SECOND="1",
        TLGATE_LIMITS_REQUESTS_BURST="1", TLGATE_LIMITS_ATTESTATION_ADDRESS_PER_SECOND="10",
        TLGATE_LIMITS_ATTESTATION_ADDRESS_BURST="10")
    yield running
    running.close()
