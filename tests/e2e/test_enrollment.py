"""Who may bind an AK to a VM, what happens when two claims collide, and what an operator decides."""
import pytest

from test_evidence import challenge, failed_checks, send, status_of


def enroll(anonymous, vm, token=None):
    answer = send(anonymous, vm.guest.report(challenge(anonymous, vm.vm_id), token or vm.token))
    assert answer.status == 200, answer
    return answer


def report_as(anonymous, vm, guest, token=None):
    """Evidence of another VM's TPM over this VM's challenge."""
    report = guest.report(challenge(anonymous, vm.vm_id), token)
    report["vmId"] = vm.vm_id
    return send(anonymous, report)


def requalify(api, vm, **body):
    return api.post(vm.path + "/bootIntegrity/requalify", body)


@pytest.fixture(scope="module")
def pair(make_vm, anonymous):
    """Two VMs, the second is a copy of the first: same AK, each with its own valid token."""
    first, second = make_vm("pair1"), make_vm("pair2")
    assert enroll(anonymous, first).json["verdict"] == "trusted"
    answer = report_as(anonymous, second, first.guest, second.token)
    assert answer.status == 200 and answer.json["verdict"] == "quarantined", answer
    assert failed_checks(answer) == {"ak.binding"}
    return first, second


def test_the_same_ak_on_two_vms_quarantines_both(api, pair):
    first, second = (status_of(api, vm) for vm in pair)
    assert first["status"] == second["status"] == "quarantined"
    assert first["reasons"] == ["ak_on_another_vm"] and second["reasons"] == ["ak_of_another_vm"]
    assert first["quarantine"]["otherResourceId"] == pair[1].arm_id
    assert second["quarantine"]["otherResourceId"] == pair[0].arm_id
    assert second["quarantine"]["candidateAk"]["spki"] == first["ak"]["spki"]
    assert second["quarantine"]["candidateAk"]["proof"] == "token"
    assert "candidateAk" not in first["quarantine"] and "ak" not in second
    newest = api.get(pair[1].path + "/bootIntegrity/history").json["value"][0]
    assert newest["verdict"] == "quarantined" and newest["proof"] == "token"


def test_no_report_ends_a_quarantine(api, anonymous, pair):
    answer = send(anonymous, pair[0].guest.report(challenge(anonymous, pair[0].vm_id)))
    assert answer.status == 200 and answer.json["verdict"] == "quarantined", answer
    assert status_of(api, pair[0])["status"] == "quarantined"
    # Its own AK neither: the copy's VM is in quarantine too.
    answer = send(anonymous, pair[1].guest.report(challenge(anonymous, pair[1].vm_id),
                                                  pair[1].token))
    assert answer.json["verdict"] == "quarantined", answer


def test_the_other_vm_is_named_only_to_who_may_see_it(gateway, pair):
    narrow = gateway.api(gateway.make_key("reader", pair[0].arm_id.rsplit("/providers", 1)[0]))
    assert "otherResourceId" in narrow.get(pair[0].path + "/bootIntegrity").json["quarantine"]


def test_decisions_about_a_pair(api, anonymous, pair):
    first, second = pair
    taken = status_of(api, first)["ak"]["spki"]
    waits = status_of(api, second)["quarantine"]["candidateAk"]["spki"]
    assert waits != taken  # its own AK was shown last
    answer = requalify(api, second, decision="acceptNewAk", akSpki=taken)
    assert answer.status == 409 and answer.code == "ak_mismatch" and answer.json["remedy"], answer
    answer = requalify(api, second, decision="acceptNewAk")
    assert answer.status == 400 and answer.code == "validation_failed", answer
    answer = requalify(api, second, decision="acceptNewAk", akSpki=waits, reason="the copy got a new vTPM")
    assert answer.status == 200 and answer.json["status"] == "unknown", answer
    assert answer.json["ak"]["spki"] == waits and "quarantine" not in answer.json
    again = requalify(api, second, decision="acceptNewAk", akSpki=waits)
    assert again.status == 200 and again.json == answer.json, again
    answer = requalify(api, first, decision="dismiss")
    assert answer.status == 200 and answer.json["reasons"] == ["requalified"], answer
    for vm in pair:
        assert send(anonymous, vm.guest.report(challenge(anonymous, vm.vm_id))).json["verdict"] == "trusted"
        assert status_of(api, vm)["status"] == "healthy"


def test_accept_needs_a_key_that_waits(api, pair):
    answer = requalify(api, pair[0], decision="acceptNewAk", akSpki="00" * 32)
    assert answer.status == 409 and answer.code == "invalid_state" and answer.json["remedy"], answer


def test_only_an_operator_decides(gateway, pair):
    provisioner = gateway.api(gateway.make_key("provisioner", "/"))
    answer = requalify(provisioner, pair[0], decision="dismiss")
    assert answer.status == 403 and answer.code == "forbidden", answer


def test_another_ak_without_proof_changes_nothing(api, anonymous, make_vm, pair):
    vm = make_vm("unproven")
    enroll(anonymous, vm)
    before = status_of(api, vm)
    for token in (None, vm.token, pair[0].token):  # none, used up, another VM's
        answer = report_as(anonymous, vm, pair[0].guest, token)
        assert answer.status == 403 and answer.code == "not_enrolled" and answer.json["remedy"], answer
    assert status_of(api, vm) == before


def test_a_rebuilt_vm(api, anonymous, make_vm):
    """A token that an operator makes for a VM that has a pin is the decision to replace it; rebuild
    drops the pin beforehand, and then any valid proof enrols."""
    vm, spare = make_vm("rebuilt"), make_vm("sparetpm")
    enroll(anonymous, vm)
    token = api.post(vm.path + "/enrollmentTokens").json["token"]
    answer = report_as(anonymous, vm, spare.guest, token)
    assert answer.status == 200 and answer.json["verdict"] == "trusted", answer
    assert status_of(api, vm)["status"] == "healthy"
    old = send(anonymous, vm.guest.report(challenge(anonymous, vm.vm_id)))
    assert old.status == 403, old

    answer = requalify(api, vm, decision="rebuild", reason="new image")
    assert answer.status == 200 and answer.json["reasons"] == ["awaiting_enrollment"], answer
    assert "ak" not in answer.json
    assert requalify(api, vm, decision="rebuild").json == answer.json
    assert report_as(anonymous, vm, spare.guest).status == 403
    token = api.post(vm.path + "/enrollmentTokens").json["token"]
    assert enroll(anonymous, vm, token).json["verdict"] == "trusted"
