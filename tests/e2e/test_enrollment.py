"""Who may bind an AK to a VM, what happens when two claims collide, and what an operator decides."""
import base64
import datetime
import hashlib
import json
import subprocess
import time
import urllib.request

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

import stack
from guest import b64
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
    for one in pair:
        told = api.get(one.path + "/bootIntegrity?explain=true").json["explanation"]
        assert told["summary"].startswith("quarantined: "), told
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


# --- what was reported before a decision ---------------------------------------------------------


@pytest.fixture(scope="module")
def decided(api, anonymous, make_vm, signers):
    """VMs that were trusted, then about each of them a decision; and one that nothing was decided about,
    whose id comes last, so that a sweep has seen the others once it has judged that one."""
    vms = {name: make_vm(f"decided-{name}") for name in ("accept", "dismiss", "rebuild", "witness")}
    spare = make_vm("decided-spare")
    for vm in vms.values():
        vm.first = enroll(anonymous, vm).json["reportId"]
    for name in ("accept", "dismiss"):
        given = challenge(anonymous, vms[name].vm_id)
        document = signers["imds"].sign(content_of(vms[name], document_nonce(given)))
        answer = send(anonymous, with_document(vms[name], given, document, spare.guest))
        assert answer.json["verdict"] == "quarantined", answer
        signed = api.get("/v1/attestation/reports/" + answer.json["reportId"]).json
        assert "result" in signed and status_of(api, vms[name])["status"] == "quarantined"
        assert "result" not in api.get("/v1/attestation/reports/" + vms[name].first).json
    waits = status_of(api, vms["accept"])["quarantine"]["candidateAk"]["spki"]
    for name, body in (("dismiss", {"decision": "dismiss"}), ("rebuild", {"decision": "rebuild"}),
                       ("accept", {"decision": "acceptNewAk", "akSpki": waits})):
        vms[name].after = requalify(api, vms[name], **body)
        assert vms[name].after.status == 200, vms[name].after
    vms["accept"].guest = spare.guest
    return vms


def others(decided):
    return [vm for name, vm in decided.items() if name != "witness"]


def settled(api, vm, policy, seconds=30):
    """Once the sweep behind a change of policy has judged the VM."""
    end = time.monotonic() + seconds
    while True:
        now = status_of(api, vm)
        if now.get("policy", {}).get("version") == policy:
            return now
        assert time.monotonic() < end, now
        time.sleep(0.05)


def test_a_decision_leaves_nothing_that_could_be_judged(api, decided):
    for vm in others(decided):
        now = vm.after.json
        assert now["status"] == "unknown" and status_of(api, vm) == now, now
        assert not {"lastReportId", "lastReportAt", "verdict", "claims", "policy"} & set(now), now
        told = api.get(vm.path + "/bootIntegrity/secureBootCertificates").json
        assert told["state"] == "unknown", told
        # What was reported stays to be read.
        history = api.get(vm.path + "/bootIntegrity/history").json["value"]
        assert vm.first in [r["reportId"] for r in history], history
        assert api.get("/v1/attestation/reports/" + vm.first).json["verdict"] == "trusted"
        assert "result" not in api.get("/v1/attestation/reports/" + vm.first).json


def test_a_policy_does_not_undo_a_decision(api, decided):
    """A policy that comes, changes or goes judges the last report anew: not one from before."""
    path = "/v1/attestation/policies/decided"
    body = {"scopes": [vm.arm_id for vm in decided.values()], "rules": {"requireSecureBoot": True}}
    stricter = {**body, "rules": {"firmware": ["11" * 32]}}
    ids = {vm.arm_id.lower() for vm in others(decided)}

    def unchanged():
        for vm in others(decided):
            assert status_of(api, vm) == vm.after.json, vm.name
            assert api.get(vm.path + "/attestationPolicy").json["pending"] is False

    def changes(answer):
        assert answer.status == 200, answer
        return {c["resourceId"].lower() for c in answer.json["value"]}

    assert not changes(api.put(path + "?dryRun=true&top=200", stricter)) & ids
    for rules, status in ((body, "healthy"), (stricter, "unhealthy")):
        made = api.put(path, rules)
        assert made.status in (200, 201), made
        assert settled(api, decided["witness"], made.json["version"])["status"] == status
        unchanged()
        assert not changes(api.post(path + "/evaluate?top=200")) & ids
    assert api.delete(path).status == 200
    assert settled(api, decided["witness"], None)["status"] == "healthy"
    unchanged()


def test_the_next_report_counts_again(api, anonymous, decided):
    for name in ("dismiss", "accept", "rebuild"):
        vm, token = decided[name], None
        if name == "rebuild":
            token = api.post(vm.path + "/enrollmentTokens").json["token"]
        answer = send(anonymous, vm.guest.report(challenge(anonymous, vm.vm_id), token) | {"vmId": vm.vm_id})
        assert answer.status == 200 and answer.json["verdict"] == "trusted", answer
        now = status_of(api, vm)
        assert now["status"] == "healthy" and now["lastReportId"] == answer.json["reportId"], now
        # Of the reports before, only those of an AK that was the right one all along are signed again.
        assert "result" in api.get("/v1/attestation/reports/" + answer.json["reportId"]).json
        assert ("result" in api.get("/v1/attestation/reports/" + vm.first).json) == (name == "dismiss")


# --- attested documents --------------------------------------------------------------------------


def document_nonce(given):
    """Ten digits from the challenge's nonce, as the interface describes it."""
    digest = hashlib.sha256(b"tlgate attested document" + base64.b64decode(given["nonce"])).digest()
    return f"{int.from_bytes(digest[:8], 'big') % 10**10:010d}"


def imds_document(emulator, vm_id, nonce):
    request = urllib.request.Request(
        f"{emulator.imds}/metadata/attested/document?api-version=2021-02-01&nonce={nonce}",
        headers={"Metadata": "true", "X-Vm-Id": vm_id})
    with urllib.request.urlopen(request, timeout=10) as answer:
        value = json.load(answer)
    assert value["encoding"] == "pkcs7"
    return value["signature"]


def with_document(vm, given, document, guest=None):
    report = (guest or vm.guest).report(given)
    report["vmId"] = vm.vm_id
    report["enrollment"] = {"attestedDocument": document}
    return report


class Signer:
    """A certificate of the metadata service, issued by a CA."""

    def __init__(self, folder, ca=None, names=("metadata.azure.com",)):
        now = datetime.datetime.utcnow()
        if ca:
            ca_cert = x509.load_pem_x509_certificate((ca / "ca.pem").read_bytes())
            ca_key = serialization.load_pem_private_key((ca / "ca.key").read_bytes(), None)
        else:
            ca_key = rsa.generate_private_key(65537, 2048)
            subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "another CA")])
            ca_cert = (x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
                       .public_key(ca_key.public_key()).serial_number(1).not_valid_before(now)
                       .not_valid_after(now + datetime.timedelta(days=1))
                       .add_extension(x509.BasicConstraints(True, None), True)
                       .sign(ca_key, hashes.SHA256()))
        self.ca_cert, self.key = ca_cert, rsa.generate_private_key(65537, 2048)
        self.cert = (x509.CertificateBuilder()
                     .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]))
                     .issuer_name(ca_cert.subject).public_key(self.key.public_key()).serial_number(2)
                     .not_valid_before(now - datetime.timedelta(days=2))
                     .not_valid_after(now + datetime.timedelta(days=1))
                     .add_extension(x509.SubjectAlternativeName(map(x509.DNSName, names)), False)
                     .sign(ca_key, hashes.SHA256()))

    def sign(self, content, hash_=hashes.SHA256()):
        return b64(pkcs7.PKCS7SignatureBuilder().set_data(json.dumps(content).encode())
                   .add_signer(self.cert, self.key, hash_).add_certificate(self.ca_cert)
                   .sign(serialization.Encoding.DER,
                         [pkcs7.PKCS7Options.Binary, pkcs7.PKCS7Options.NoAttributes]))


def content_of(vm, nonce, age=0, life=6 * 3600):
    def text(seconds):
        at = datetime.datetime.utcnow() + datetime.timedelta(seconds=seconds)
        return at.strftime("%m/%d/%y %H:%M:%S -0000")
    return {"vmId": vm.vm_id, "subscriptionId": stack.SUBSCRIPTION, "nonce": nonce, "sku": "",
            "licenseType": "", "plan": {"name": "", "product": "", "publisher": ""},
            "timeStamp": {"createdOn": text(-age), "expiresOn": text(life - age)}}


@pytest.fixture(scope="module")
def undocumented(make_vm):
    return make_vm("document1")


@pytest.fixture(scope="module")
def signers(emulator, folder):
    return {"imds": Signer(folder, emulator.state), "foreign": Signer(folder),
            "other host": Signer(folder, emulator.state, ("metadata.azure.com.example.org",)),
            "broader": Signer(folder, emulator.state, ("metadata.azure.com", "example.org"))}


def flipped(document):
    data = bytearray(base64.b64decode(document))
    data[data.index(b"vmId") + 8] ^= 1  # of the signed content
    return b64(bytes(data))


def cut(document):
    return b64(base64.b64decode(document)[:-1])


BAD_DOCUMENTS = [
    ("of another challenge", "document_nonce", lambda v, n, s: s["imds"].sign(content_of(v, "0123456789"))),
    ("of another VM", "document_vm", lambda v, n, s: s["imds"].sign({**content_of(v, n), "vmId": "0" * 8 + v.vm_id[8:]})),
    ("expired", "document_expired", lambda v, n, s: s["imds"].sign(content_of(v, n, age=7 * 3600))),
    ("older than the challenge", "document_time", lambda v, n, s: s["imds"].sign(content_of(v, n, age=1200))),
    ("from the future", "document_time", lambda v, n, s: s["imds"].sign(content_of(v, n, age=-3600))),
    ("good for ever", "document_time", lambda v, n, s: s["imds"].sign(content_of(v, n, life=40 * 86400))),
    ("by a foreign CA", "document_chain", lambda v, n, s: s["foreign"].sign(content_of(v, n))),
    ("by another host", "document_signer", lambda v, n, s: s["other host"].sign(content_of(v, n))),
    ("by a broader certificate", "document_signer", lambda v, n, s: s["broader"].sign(content_of(v, n))),
    ("tampered", "document_signature", lambda v, n, s: flipped(s["imds"].sign(content_of(v, n)))),
    ("tampered, of a signer whose key is then not worth the work", "document_chain",
     lambda v, n, s: flipped(s["foreign"].sign(content_of(v, n)))),
    ("with SHA-1", "document_signature", lambda v, n, s: s["imds"].sign(content_of(v, n), hashes.SHA1())),
    ("cut short", "document_malformed", lambda v, n, s: cut(s["imds"].sign(content_of(v, n)))),
    ("without a nonce", "document_malformed", lambda v, n, s: s["imds"].sign({**content_of(v, n), "nonce": 5})),
    ("no PKCS#7", "document_malformed", lambda v, n, s: b64(b"{}")),
]


@pytest.mark.parametrize("what, reason, make", BAD_DOCUMENTS, ids=[b[0] for b in BAD_DOCUMENTS])
def test_a_bad_document_is_named_and_lets_nobody_in(api, anonymous, undocumented, signers, what, reason,
                                                    make):
    vm = undocumented
    before = status_of(api, vm)
    given = challenge(anonymous, vm.vm_id)
    answer = send(anonymous, with_document(vm, given, make(vm, document_nonce(given), signers)))
    assert answer.status == 403 and answer.code == "not_enrolled" and answer.json["remedy"], answer
    assert [(e["pointer"], e["detail"].split(":")[0]) for e in answer.json["errors"]] == [
        ("#/enrollment/attestedDocument", reason)], answer
    assert status_of(api, vm) == before


def test_the_subscription_must_be_the_vms(api, anonymous, undocumented, signers):
    given = challenge(anonymous, undocumented.vm_id)
    content = {**content_of(undocumented, document_nonce(given)), "subscriptionId": undocumented.vm_id}
    answer = send(anonymous, with_document(undocumented, given, signers["imds"].sign(content)))
    assert answer.status == 403 and "errors" not in answer.json, answer


def test_a_document_enrols_and_never_replaces_a_pin(api, anonymous, emulator, undocumented, signers):
    vm = undocumented
    given = challenge(anonymous, vm.vm_id)
    answer = send(anonymous, with_document(
        vm, given, imds_document(emulator, vm.vm_id, document_nonce(given))), cbor=True)
    assert answer.status == 200 and answer.json["verdict"] == "trusted", answer
    assert status_of(api, vm)["ak"]["proof"] == "attestedDocument"
    pinned = status_of(api, vm)["ak"]["spki"]

    spare = stack.Vm(vm.gateway, "document2")
    given = challenge(anonymous, vm.vm_id)
    document = signers["imds"].sign(content_of(vm, document_nonce(given)))
    answer = send(anonymous, with_document(vm, given, document, spare.guest))
    assert answer.status == 200 and answer.json["verdict"] == "quarantined", answer
    now = status_of(api, vm)
    assert now["status"] == "quarantined" and now["reasons"] == ["ak_changed"], now
    assert now["ak"]["spki"] == pinned and now["quarantine"]["candidateAk"]["proof"] == "attestedDocument"
    waits = now["quarantine"]["candidateAk"]["spki"]
    accepted = requalify(api, vm, decision="acceptNewAk", akSpki=waits)
    assert accepted.status == 200 and accepted.json["ak"]["spki"] == waits, accepted


def test_the_agent_enrols_with_a_document(api, gateway, make_vm):
    vm = make_vm("document3")
    command = [stack.BIN / "tlgate-agent", "--ca", gateway.ca, "--imds", gateway.emulator.imds,
               "--gateway", gateway.url, "--vm-id", vm.vm_id, "--tcti", vm.guest.tcti,
               "--event-log", vm.guest.event_log_path, "--attested-document", "--once"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=stack.clean_env())
    assert done.returncode == 0, done.stderr
    assert status_of(api, vm)["ak"]["proof"] == "attestedDocument"
