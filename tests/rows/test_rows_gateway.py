"""Rows 24, 32, 42 and 43: what only the gateway can know, with the real vTPMs of an emulator's VMs."""
import base64
import concurrent.futures
import pathlib
import shutil
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from frame import covers  # noqa: E402  (needs the path above)
from guest import b64  # noqa: E402

REPORTS = "/v1/attestation/reports"
ARM = "?api-version=2026-04-01"


def challenge(api, vm_id):
    answer = api.post("/v1/attestation/challenges", {"vmId": vm_id})
    assert answer.status == 201, answer
    return answer.json


def send(api, report):
    return api.post(REPORTS, report)


def failures(answer):
    return {(c["name"], c.get("reason")) for c in answer.json["checks"] if c["status"] == "fail"}


def status_of(api, vm):
    return api.get(vm.path + "/bootIntegrity").json


def new_token(api, vm):
    made = api.post(vm.path + "/enrollmentTokens")
    assert made.status == 201, made
    return made.json["token"]


def report(api, vm, emulator, token=None):
    guest = emulator.guest(vm.vm_id)
    return send(api, guest.report(challenge(api, vm.vm_id), token))


@pytest.fixture(scope="module")
def enrol(make_vm, anonymous, emulator):
    def make(name):
        vm = make_vm(name)
        answer = report(anonymous, vm, emulator, vm.token)
        assert answer.status == 200 and answer.json["verdict"] == "trusted", answer
        return vm
    return make


def powered_off(emulator, vm, change):
    """Changes the TPM's state while the VM is off."""
    emulator.arm("POST", f"{vm.arm_id}/deallocate{ARM}")
    change(emulator.state / "vtpm" / vm.vm_id)
    emulator.arm("POST", f"{vm.arm_id}/start{ARM}")


@covers(32)
def test_a_tpm_that_was_set_back_is_noticed(api, anonymous, emulator, enrol, tmp_path):
    """resetCount decreases: somebody restored an older state of the vTPM."""
    vm = enrol("rowrollback")
    powered_off(emulator, vm, lambda state: shutil.copytree(state / "tpm", tmp_path / "tpm"))
    emulator.arm("POST", f"{vm.arm_id}/restart{ARM}")
    twin = report(anonymous, vm, emulator)
    assert twin.json["verdict"] == "trusted", twin

    def restore(state):
        shutil.rmtree(state / "tpm")
        shutil.copytree(tmp_path / "tpm", state / "tpm")

    powered_off(emulator, vm, restore)
    answer = report(anonymous, vm, emulator)
    assert answer.status == 200 and answer.json["verdict"] == "untrusted", answer
    assert failures(answer) == {("quote.clock", "rollback")}, answer
    assert status_of(api, vm)["status"] == "unhealthy"
    # A token alone changes nothing: the AK is the pinned one. Who restored it on purpose says so.
    answer = report(anonymous, vm, emulator, new_token(api, vm))
    assert failures(answer) == {("quote.clock", "rollback")}, answer
    decided = api.post(vm.path + "/bootIntegrity/requalify", {"decision": "rebuild"})
    assert decided.status == 200, decided
    answer = report(anonymous, vm, emulator, new_token(api, vm))
    assert answer.json["verdict"] == "trusted", answer
    assert report(anonymous, vm, emulator).json["verdict"] == "trusted"


def test_a_quote_that_was_held_up_is_no_tpm_that_went_back(api, anonymous, emulator, enrol):
    vm = enrol("rowheldup")
    guest = emulator.guest(vm.vm_id)
    held = guest.report(challenge(anonymous, vm.vm_id))
    later = report(anonymous, vm, emulator)
    assert later.json["verdict"] == "trusted", later
    answer = send(anonymous, held)
    assert answer.status == 409 and answer.code == "challenge_expired", answer
    now = status_of(api, vm)
    assert now["status"] == "healthy" and now["lastReportId"] == later.json["reportId"], now
    assert report(anonymous, vm, emulator).json["verdict"] == "trusted"


@covers(42)
def test_the_ak_of_another_vm_with_and_without_proof(api, anonymous, emulator, enrol, make_vm):
    owner, clone = enrol("rowowner"), make_vm("rowclone")

    def as_clone(token):
        sent = emulator.guest(owner.vm_id).report(challenge(anonymous, clone.vm_id), token)
        return send(anonymous, {**sent, "vmId": clone.vm_id})

    before = status_of(api, clone)
    refused = as_clone(None)
    assert refused.status == 403 and refused.code == "not_enrolled", refused
    assert status_of(api, clone) == before
    answer = as_clone(clone.token)
    assert answer.status == 200 and answer.json["verdict"] == "quarantined", answer
    assert failures(answer) == {("ak.binding", "ak_of_another_vm")}, answer
    assert status_of(api, clone)["status"] == "quarantined"


@covers(42)
def test_a_new_ak_with_and_without_proof(api, anonymous, emulator, make_vm):
    """The proof is a token from before the AK was pinned, so no operator has decided about a new one."""
    vm = make_vm("rownewak")
    spare = new_token(api, vm)
    twin = report(anonymous, vm, emulator, vm.token)
    assert twin.json["verdict"] == "trusted", twin
    before = status_of(api, vm)
    powered_off(emulator, vm, shutil.rmtree)  # the next boot has a TPM of new seeds
    refused = report(anonymous, vm, emulator)
    assert refused.status == 403 and refused.code == "not_enrolled", refused
    assert status_of(api, vm)["lastReportId"] == before["lastReportId"]
    answer = report(anonymous, vm, emulator, spare)
    assert answer.status == 200 and answer.json["verdict"] == "quarantined", answer
    assert failures(answer) == {("ak.binding", "ak_changed")}, answer
    assert status_of(api, vm)["status"] == "quarantined"


@covers(43, 24)
def test_a_nonce_serves_once(anonymous, emulator, enrol):
    vm, other = enrol("rownonce"), enrol("rownonce2")
    guest = emulator.guest(vm.vm_id)
    sent = guest.report(challenge(anonymous, vm.vm_id))
    assert send(anonymous, sent).json["verdict"] == "trusted"
    again = send(anonymous, sent)
    assert again.status == 409 and again.code == "challenge_used", again
    foreign = send(anonymous, guest.report(challenge(anonymous, other.vm_id)))
    assert foreign.status == 409 and foreign.code == "challenge_mismatch", foreign


@covers(43)
def test_of_concurrent_posts_of_one_nonce_one_is_accepted(gateway, anonymous, emulator, enrol):
    vm = enrol("rowrace")
    sent = emulator.guest(vm.vm_id).report(challenge(anonymous, vm.vm_id))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: send(gateway.api(None), sent), range(8)))
    assert sorted(a.status for a in answers) == [200] + [409] * 7, answers
    assert {a.code for a in answers if a.status == 409} == {"challenge_used"}


@covers(24)
def test_a_wrong_nonce_is_untrusted_and_changes_nothing(api, anonymous, emulator, enrol):
    vm = enrol("rowwrong")
    given, before = challenge(anonymous, vm.vm_id), status_of(api, vm)
    nonce = bytearray(base64.b64decode(given["nonce"]))
    nonce[0] ^= 1
    sent = emulator.guest(vm.vm_id).report({**given, "nonce": b64(bytes(nonce))})
    answer = send(anonymous, sent)
    assert answer.status == 200 and failures(answer) == {("quote.nonce", "nonce_mismatch")}, answer
    assert status_of(api, vm) == before
