"""tlgate-agent and the gateway itself: enrolment from userData, later reports, a reboot, the loop."""
import json
import signal
import subprocess
import time

import pytest

import stack


@pytest.fixture(scope="module")
def vm(make_vm):
    return make_vm("agent1")


def command(vm, *more):
    """Gateway and token come from the VM's userData, as in a real VM."""
    return [stack.BIN / "tlgate-agent", "--ca", vm.gateway.ca, "--imds", vm.gateway.emulator.imds,
            "--vm-id", vm.vm_id, "--tcti", vm.guest.tcti, "--event-log", vm.guest.event_log_path,
            *more]


def once(vm):
    done = subprocess.run(command(vm, "--once"), capture_output=True, text=True, timeout=60,
                          env=stack.clean_env())
    return done, json.loads(done.stdout) if done.stdout else None


def test_the_first_report_enrols(api, vm):
    assert vm.token and json.loads(vm.guest.userdata)["gateway"] == vm.gateway.url
    done, result = once(vm)
    assert done.returncode == 0, done.stderr
    assert result["verdict"] == "trusted" and result["vmId"] == vm.vm_id
    assert {c["status"] for c in result["checks"]} <= {"pass", "skip"}, [c for c in result["checks"] if c["status"] == "warn"]
    assert vm.token not in done.stderr + done.stdout
    status = api.get(vm.path + "/bootIntegrity").json
    assert status["status"] == "healthy" and status["claims"]["secureBoot"] is True


@pytest.fixture
def maa_script(tmp_path):
    """A program that asks the emulator's Azure Attestation about the VM, over the nonce it is given."""
    def make(vm):
        path = tmp_path / "maa"
        path.write_text(f"""#!/usr/bin/python3
import base64, json, ssl, sys, urllib.request
nonce, = sys.argv[1:]
info = json.dumps({{"VmId": {vm.vm_id!r}, "ClientPayload": {{"nonce": nonce}}}}).encode()
body = {{"AttestationInfo": base64.urlsafe_b64encode(info).rstrip(b"=").decode()}}
request = urllib.request.Request(
    {vm.gateway.emulator.url!r} + "/attest/AzureGuest?api-version=2020-10-01",
    json.dumps(body).encode(), {{"Content-Type": "application/json"}})
context = ssl.create_default_context(cafile={str(vm.gateway.emulator.ca)!r})
print(json.load(urllib.request.urlopen(request, context=context))["token"])
""")
        path.chmod(0o700)
        return path
    return make


def test_a_token_of_azure_attestation_enrols_and_is_believed(folder, emulator, make_vm_on,
                                                             maa_script):
    """No enrolment token: what the provider says is the proof."""
    own = stack.Gateway(folder / "agent-maa", emulator,
                        TLGATE_ATTESTATION_MAA_ISSUER=emulator.url)
    try:
        vm = make_vm_on(own, "agentmaa")
        empty = folder / "no-token"
        empty.write_text("not a token")
        run = command(vm, "--once", "--maa-command", maa_script(vm), "--enrollment-token", empty)
        done = subprocess.run(run, capture_output=True, text=True, timeout=60, env=stack.clean_env())
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert {"name": "maa.token", "status": "pass"} in result["checks"], result
        assert result["claims"]["azureAttestation"]["issuer"] == emulator.url
        token = emulator.maa_token(vm.vm_id, b"x" * 32)
        assert token.split(".")[0] not in done.stderr
    finally:
        own.close()


@pytest.mark.parametrize("text, reason", [
    ("exit 3", "ended with status"), ("true", "printed nothing"), ("echo 'a b'", "something else"),
    ("head -c 20000 /dev/zero | tr '\\0' a", "more than a token"),
])
def test_without_the_token_the_report_goes_out_all_the_same(vm, tmp_path, text, reason):
    script = tmp_path / "maa"
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o700)
    done = subprocess.run(command(vm, "--once", "--maa-command", script), capture_output=True,
                          text=True, timeout=60, env=stack.clean_env())
    assert done.returncode == 0 and reason in done.stderr, done.stderr
    assert json.loads(done.stdout)["verdict"] == "trusted"


def test_a_report_after_a_reboot_shows_the_reset_count(vm):
    _, before = once(vm)
    vm.gateway.emulator.arm("POST", f"{vm.arm_id}/restart?api-version=2024-07-01")
    done, after = once(vm)
    assert done.returncode == 0, done.stderr
    assert after["claims"]["resetCount"] == before["claims"]["resetCount"] + 1


def test_a_vm_without_secure_boot_is_said_so(make_vm):
    vm = make_vm("agent2", trustedLaunch={"secureBoot": False})
    done, result = once(vm)
    assert done.returncode == 0, done.stderr
    assert result["claims"]["secureBoot"] is False


def test_secure_boot_off_where_it_was_asked_for(make_vm):
    vm = make_vm("agent3")
    security = {"properties": {"securityProfile": {"securityType": "TrustedLaunch", "uefiSettings": {
        "secureBootEnabled": False, "vTpmEnabled": True}}}}
    vm.gateway.emulator.arm("PATCH", f"{vm.arm_id}?api-version=2024-07-01", security)
    vm.gateway.emulator.arm("POST", f"{vm.arm_id}/restart?api-version=2024-07-01")
    done, result = once(vm)
    assert done.returncode == 1
    assert result["verdict"] == "untrusted"
    assert "secureBoot" in {c["name"] for c in result["checks"] if c["status"] == "fail"}


def reports(api, vm):
    answer = api.get(vm.path + "/bootIntegrity/history")
    assert answer.status == 200, answer
    return [r["verdict"] for r in answer.json["value"]]


def test_the_loop_reports_on_and_ends_at_sigterm(api, vm):
    """Later reports send the log's digest only; the gateway holds the log."""
    seen = len(reports(api, vm))
    process = subprocess.Popen(command(vm, "--interval", "PT1S"), stderr=subprocess.PIPE, text=True,
                               env=stack.clean_env())
    end = time.monotonic() + 60
    while len(reports(api, vm)) < seen + 3 and time.monotonic() < end:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=20)
    assert process.returncode == 0, log
    now = reports(api, vm)
    assert len(now) >= seen + 3 and set(now) == {"trusted"}, log
    assert "event_log_required" not in log
