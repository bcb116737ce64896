"""The first of the two commands, as the README gives it."""
import json
import pathlib
import re
import shutil
import subprocess

import pytest

from stack import ROOT, clean_env

RUN = ROOT / ".quickstart"


def quickstart(*arguments):
    return subprocess.run([ROOT / "deploy/quickstart.sh", *arguments], capture_output=True, text=True,
                          env=clean_env(), timeout=300)


@pytest.fixture(autouse=True)
def clean():
    yield
    shutil.rmtree(RUN, ignore_errors=True)


@pytest.mark.parametrize("run", ["first", "second"])
def test_once_proves_the_main_job(run):
    done = quickstart("--once")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "verdict: trusted" in done.stdout
    for check in ("quote.signature", "quote.nonce", "ak.chain", "log.replay", "secureBoot"):
        assert re.search(rf"^ +pass +{re.escape(check)} *$", done.stdout, re.M), done.stdout
    job = json.loads((RUN / "job.json").read_text())
    assert job["state"] == "succeeded"
    assert all(step["name"] in done.stdout for step in job["steps"])
    env = RUN / "env"
    assert env.stat().st_mode & 0o777 == 0o600
    names = {line.split("=")[0] for line in env.read_text().splitlines()}
    assert names == {"TLGATE_URL", "TLGATE_API_KEY", "TLGATE_CA", "EMULATOR_URL", "EMULATOR_IMDS_URL",
                     "EMULATOR_CA", "AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET",
                     "AZURE_SUBSCRIPTION_ID"}


def test_a_tampered_log_is_exit_1():
    done = quickstart("--tamper")
    assert done.returncode == 1, done.stdout[-4000:] + done.stderr[-4000:]
    assert "verdict: untrusted" in done.stdout
    job = json.loads((RUN / "job.json").read_text())
    assert job["state"] == "failed" and job["error"]["code"] == "attestation_failed"


def test_nothing_is_left_running():
    done = quickstart("--once")
    assert done.returncode == 0
    for pid_file in RUN.glob("*.pid"):
        assert not pathlib.Path(f"/proc/{pid_file.read_text().strip()}").exists()
