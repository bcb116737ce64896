"""The ARM client against the emulator: the C program's tests one by one, then what the emulator saw.

The program is build/.../bin/arm_emulator_test (tests/e2e/arm_emulator_test.c).
"""
import re
import subprocess

import pytest
import stack

PROGRAM = "arm_emulator_test"


@pytest.fixture(scope="module")
def azure(folder):
    running = stack.Emulator(folder / "arm")
    yield running
    running.close()


@pytest.fixture(scope="module")
def program():
    for place in (stack.BIN, stack.ROOT / "build/dev/bin"):
        if (place / PROGRAM).exists():
            return place / PROGRAM
    pytest.skip(f"{PROGRAM} is not built")


@pytest.fixture(scope="module")
def run(azure, program):
    azure.clear_requests()
    env = stack.clean_env(
        EMULATOR_URL=azure.url, EMULATOR_IMDS_URL=azure.imds, EMULATOR_CA=str(azure.ca),
        AZURE_TENANT_ID=azure.tenant_id, AZURE_CLIENT_ID=azure.client_id,
        AZURE_CLIENT_SECRET=azure.client_secret,
        AZURE_FEDERATED_TOKEN_FILE=str(azure.state / "federated-token"))
    return subprocess.run([program], capture_output=True, text=True, env=env, timeout=180)


@pytest.fixture(scope="module")
def requests(run, azure):
    return azure.requests()["value"]


def test_all_pass(run):
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
    assert int(re.search(r"\[  PASSED  \] (\d+) test", run.stdout + run.stderr)[1]) >= 10
    assert "SKIPPED" not in run.stdout + run.stderr


def header(request, name):
    return {k.lower(): v for k, v in request["headers"].items()}.get(name)


def test_no_call_before_its_retry_after(requests):
    """When other tests' errors are tried again is up to their program, which does not wait."""
    notes = [r.get("note") for r in requests if "/resourcegroups/throttled?" in r["url"].lower()]
    assert "throttled" in notes and "early" not in notes, notes


def test_a_request_id_is_repeated_only_after_a_401(requests):
    seen = {}
    for request in requests:
        seen.setdefault(header(request, "x-ms-client-request-id"), []).append(request["status"])
    assert None not in seen and len(seen) > 100
    again = [statuses for statuses in seen.values() if len(statuses) > 1]
    assert all(statuses[:-1] == [401] for statuses in again), again


def test_no_secret_in_output(run, azure):
    assert azure.client_secret not in run.stdout + run.stderr
    assert (azure.state / "federated-token").read_text().strip() not in run.stdout + run.stderr


def test_skipped_without_an_emulator(program):
    env = {k: v for k, v in stack.clean_env().items() if k != "EMULATOR_URL"}
    done = subprocess.run([program], capture_output=True, text=True, env=env, timeout=60)
    assert done.returncode == 0 and "SKIPPED" in done.stdout + done.stderr


