"""The gateway reads the issuers' certificates again: what was put into attestation.trust_dir counts after a
SIGHUP, without a restart."""
import os
import re
import shutil
import signal
import time

import stack

REPORTS = "/v1/attestation/reports"


def report(gateway, vm, token):
    anonymous = gateway.api(None)
    given = anonymous.post("/v1/attestation/challenges", {"vmId": vm.vm_id}).json
    return anonymous.post(REPORTS, vm.guest.report(given, token))


def wait_log(gateway, text, seconds=20):
    end = time.monotonic() + seconds
    while text not in gateway.log_path.read_text():
        assert time.monotonic() < end, text
        time.sleep(0.05)


def expires(gateway):
    text = gateway.api(gateway.admin_key).get("/metrics").body
    text = text.decode() if isinstance(text, bytes) else text
    found = re.search(r"^tlgate_attestation_trust_expires_seconds (\S+)$", text, re.M)
    return found and float(found.group(1))


def test_a_new_issuer_counts_after_a_hangup(tmp_path_factory, emulator, make_vm_on):
    trust = tmp_path_factory.mktemp("trust")
    gateway = stack.Gateway(tmp_path_factory.mktemp("gw"), emulator,
                            TLGATE_ATTESTATION_TRUST_DIR=str(trust))
    try:
        vm = make_vm_on(gateway, "hangup")
        answer = report(gateway, vm, vm.token)
        assert answer.status == 200 and answer.json["verdict"] == "indeterminate", answer
        assert expires(gateway) > time.time() + 3000 * 86400  # the root's
        os.kill(gateway.pid, signal.SIGHUP)  # nothing new
        shutil.copy(emulator.state / "trust/vtpm-ca.pem", trust / "ca.pem")
        (trust / ".ca.part").write_text("being written")
        os.kill(gateway.pid, signal.SIGHUP)
        wait_log(gateway, "the issuers of AKs are other ones now")
        token = gateway.api(gateway.admin_key).post(vm.path + "/enrollmentTokens").json["token"]
        answer = report(gateway, vm, token)
        assert answer.status == 200 and answer.json["verdict"] == "trusted", answer
        (trust / "broken.pem").write_text("no certificate")
        os.kill(gateway.pid, signal.SIGHUP)
        wait_log(gateway, "the issuers of AKs were not read again")
        assert report(gateway, vm, None).json["verdict"] == "trusted"
    finally:
        gateway.close()
