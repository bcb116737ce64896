"""A store that cannot write, and what is written beside submissions: reports, policies, decisions, tokens,
keys. Refused as long as it lasts, with nothing of it done; what was acknowledged is there."""
import signal
import subprocess
import time
import types

import pytest

from stack import Gateway, Vm, clean_env, vm_spec
from test_store_faults import azure, fill, needs_root, small_disk, wait_ready  # noqa: F401  (fixtures)

REPORTS, POLICY = "/v1/attestation/reports", "/v1/attestation/policies/faults"


def key_command(gateway, *arguments):
    """`tlgate key ...`, whatever becomes of it."""
    return subprocess.run([gateway.bin / "tlgate", "key", *arguments, "--config", gateway.ini],
                          capture_output=True, text=True, env=clean_env(), timeout=60)


def keys_of(gateway):
    """{name: its line} of `tlgate key list`."""
    lines = key_command(gateway, "list").stdout.splitlines()
    return dict(zip((name.strip() for name in lines[1::2]), lines[::2]))


def report_of(anonymous, vm, token=None):
    return vm.guest.report(anonymous.post("/v1/attestation/challenges", {"vmId": vm.vm_id}).json, token)


@pytest.fixture
def scene(azure, tmp_path):  # noqa: F811
    """One of each: a VM that has reported, a policy, a baseline, a job that runs and one that failed."""
    s = types.SimpleNamespace()
    s.gateway = Gateway(tmp_path / "g", azure, TLGATE_ATTESTATION_BASELINE_VMS="1")
    s.anonymous, s.api = s.gateway.api(None), s.gateway.api(s.gateway.admin_key)
    azure.faults({"method": "PUT", "path": "*/virtualMachines/bad", "action": {
        "status": 400, "body": {"error": {"code": "InvalidParameter", "message": "m"}}}})
    s.vm = Vm(s.gateway, "vm", "faults")
    s.integrity = s.vm.path + "/bootIntegrity"
    s.failed = s.api.put(s.vm.path[:-2] + "bad", vm_spec()).json["id"]
    assert s.api.wait_job(s.failed)["state"] == "failed"
    azure.settings(lroSeconds=100)
    s.running = s.api.put(s.vm.path[:-2] + "slow", vm_spec()).json["id"]
    s.sent = [s.anonymous.post(REPORTS, report_of(s.anonymous, s.vm, s.vm.token))]
    assert s.sent[0].status == 200 and s.sent[0].json["verdict"] == "trusted", s.sent[0]
    s.rules = [{"scopes": [s.vm.arm_id], "rules": {"firmware": [digit * 64]}} for digit in "12"]
    assert s.api.put(POLICY, s.rules[0]).status == 201
    [learned] = s.api.get("/v1/attestation/baselines").json["value"]
    s.baseline = "/v1/attestation/baselines/" + learned["id"]
    yield s
    if s.gateway.program.process.poll() is None:
        s.gateway.close()


def refused_report(s, seconds=30):
    """The first report that is refused; what was sent before counts."""
    end = time.monotonic() + seconds
    while True:
        evidence = report_of(s.anonymous, s.vm)
        answer = s.anonymous.post(REPORTS, evidence)
        if answer.status == 503:
            return evidence
        assert answer.status == 200, answer
        s.sent.append(answer)
        assert time.monotonic() < end, "the store still writes"


def must_refuse_all(s, evidence):
    api, before = s.api, [s.api.get(p).json for p in (s.baseline, s.integrity)]
    for answer in (s.anonymous.post(REPORTS, evidence), api.put(POLICY, s.rules[1]), api.delete(POLICY),
                   api.post(s.vm.path + "/enrollmentTokens"), api.delete(s.vm.path),
                   api.post(s.integrity + "/requalify", {"decision": "rebuild"}),
                   api.delete(s.baseline), api.post(s.baseline + "/confirm", {}),
                   api.post(s.baseline + "/accept", {"reportId": s.sent[0].json["reportId"]}),
                   api.post(f"/v1/jobs/{s.running}/cancel"), api.post(f"/v1/jobs/{s.failed}/retry")):
        assert answer.status == 503 and answer.code == "unavailable", answer
        assert answer.header("Content-Type") == "application/problem+json", answer
    made = key_command(s.gateway, "create", "--name", "none", "--role", "reader", "--scope", "/")
    assert made.returncode != 0 and made.stderr and not made.stdout, made
    revoked = key_command(s.gateway, "revoke", keys_of(s.gateway)["test"].split()[0])
    assert revoked.returncode != 0 and revoked.stderr, revoked
    now = api.get(s.integrity).json
    assert (now["ak"], now["lastReportId"]) == (before[1]["ak"], s.sent[-1].json["reportId"]), now
    assert api.get(s.baseline).json == before[0]
    assert api.get(f"/v1/jobs/{s.failed}").json["state"] == "failed"


def must_hold(s, rules):
    """Each report that was acknowledged, once, and nothing of what was refused."""
    assert [r["reportId"] for r in s.api.get(s.integrity + "/history?top=200").json["value"]] == [
        a.json["reportId"] for a in reversed(s.sent)]
    assert s.api.get(POLICY).json["rules"]["firmware"] == rules["rules"]["firmware"]
    assert "ak" in s.api.get(s.integrity).json
    keys = keys_of(s.gateway)
    assert list(keys) == ["test"] and "REVOKED" not in keys["test"], keys


@needs_root
def test_a_full_disk_refuses_and_comes_back(small_disk, scene):  # noqa: F811
    fill(small_disk / "filler")
    evidence = refused_report(scene)
    must_refuse_all(scene, evidence)
    signers = scene.anonymous.get("/.well-known/jwks.json").json
    rotated = key_command(scene.gateway, "rotate", "--purpose", "results")
    assert rotated.returncode != 0 and rotated.stderr and not rotated.stdout, rotated
    must_hold(scene, scene.rules[0])
    (small_disk / "filler").unlink()
    wait_ready(scene.gateway, True)  # by itself
    answer = scene.anonymous.post(REPORTS, evidence)  # its challenge is still unused
    assert answer.status == 200, answer
    scene.sent.append(answer)
    assert scene.api.put(POLICY, scene.rules[1]).status == 200
    scene.gateway.restart(signal.SIGKILL)
    must_hold(scene, scene.rules[1])
    assert scene.anonymous.get("/.well-known/jwks.json").json == signers


def test_an_io_error_refuses_until_a_restart(scene):
    scene.gateway.restart(TLGATE_FAULT="store.commit.before:10:eio")
    evidence = refused_report(scene)
    must_refuse_all(scene, evidence)
    scene.gateway.restart(signal.SIGKILL)
    must_hold(scene, scene.rules[0])
    answer = scene.anonymous.post(REPORTS, evidence)
    assert answer.status == 200, answer
