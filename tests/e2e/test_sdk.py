"""The official Azure SDKs for JavaScript against the emulator, over HTTPS and unchanged: the tests of
sdk/sdk.test.mjs, each as one test here."""
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest
import stack

SOURCE = pathlib.Path(__file__).resolve().parent / "sdk"
PLACE = stack.ROOT / "build/sdk"
TESTS = re.findall(r'^test\("([^"]+)"', (SOURCE / "sdk.test.mjs").read_text(), re.M)


def install(source, place):
    """`npm ci` of a package folder, once for each lock file."""
    stamp = hashlib.sha256((source / "package-lock.json").read_bytes()).hexdigest()
    mark = place / "installed"
    place.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(source / name, place / name)
    if not mark.exists() or mark.read_text() != stamp:
        mark.unlink(missing_ok=True)
        done = subprocess.run(["npm", "ci", "--no-progress"], cwd=place, capture_output=True,
                              text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        mark.write_text(stamp)
    return place


def major(node):
    said = subprocess.run([node, "--version"], capture_output=True, text=True).stdout
    found = re.match(r"v(\d+)\.", said)
    return int(found[1]) if found else 0


@pytest.fixture(scope="module")
def node():
    """The machine's own Node from 20 on, else the one that the lock file pins."""
    own = shutil.which("node")
    if own and major(own) >= 20:
        return own
    place = install(SOURCE / "runtime", PLACE / "runtime")
    pinned = next(place.glob("node_modules/node-linux-*/bin/node"))
    assert major(pinned) == 20
    return pinned


@pytest.fixture(scope="module")
def azure(folder):
    running = stack.Emulator(folder / "sdk", "--time-scale", "0.1")
    yield running
    running.close()


@pytest.fixture(scope="module")
def outcome(node, azure):
    if not shutil.which("npm"):
        pytest.fail("npm is not installed")
    place = install(SOURCE, PLACE)
    shutil.copy(SOURCE / "sdk.test.mjs", place / "sdk.test.mjs")
    env = {k: v for k, v in os.environ.items() if not k.startswith("AZURE_")}
    env |= {
        "NODE_EXTRA_CA_CERTS": str(azure.ca),
        "EMULATOR_URL": azure.url, "EMULATOR_IMDS_URL": azure.imds,
        "AZURE_TENANT_ID": azure.tenant_id, "AZURE_CLIENT_ID": azure.client_id,
        "AZURE_CLIENT_SECRET": azure.client_secret,
        "AZURE_SUBSCRIPTION_ID": stack.SUBSCRIPTION,
        "EMULATOR_FEDERATED_TOKEN_FILE": str(azure.state / "federated-token"),
    }
    done = subprocess.run([node, "--test", "--test-reporter=tap", "sdk.test.mjs"], cwd=place, env=env,
                          capture_output=True, text=True, timeout=300)
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", TESTS)
def test_sdk(outcome, name):
    assert re.search(rf"^ok \d+ - {re.escape(name)}$", outcome, re.M), outcome[-6000:]


def test_every_call_was_the_sdks_own(outcome, azure):
    agents = {r["headers"].get("user-agent", "") for r in azure.requests()["value"]}
    for client in ("arm-compute/24.1.0", "arm-network/36.0.0", "arm-resources/7.0.0"):
        assert any(client in agent for agent in agents), agents


@pytest.mark.parametrize("lock", 
                         [SOURCE / "package-lock.json", SOURCE / "runtime/package-lock.json"],
                         ids=lambda path: path.parent.name)
def test_lock_file_pins_hashes_and_names_no_registry(lock):
    packages = json.loads(lock.read_text())["packages"]
    for path, package in packages.items():
        assert "resolved" not in package, path
        assert not path or package["integrity"].startswith("sha512-"), path
