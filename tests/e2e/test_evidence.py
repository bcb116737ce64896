"""Evidence over HTTP, from real vTPMs: what is accepted, what each tampering is answered with, and
that nobody but the VM itself changes its status."""
import base64
import copy
import hashlib
import json
import sqlite3
import time

import pytest

import raw
import stack
from guest import b64, to_cbor

REPORTS = "/v1/attestation/reports"


def challenge(api, vm_id):
    answer = api.post("/v1/attestation/challenges", {"vmId": vm_id})
    assert answer.status == 201, answer
    return answer.json


def send(api, report, cbor=False):
    if cbor:
        return api.request("POST", REPORTS, to_cbor(report), {"Content-Type": "application/cbor"})
    return api.post(REPORTS, report)


def status_of(api, vm):
    answer = api.get(vm.path + "/bootIntegrity")
    assert answer.status == 200, answer
    return answer.json


def failed_checks(answer):
    return {c["name"] for c in answer.json["checks"] if c["status"] == "fail"}


@pytest.fixture(scope="module")
def enrolled(make_vm, anonymous):
    """A VM whose first report was accepted, so that its AK is pinned."""
    vm = make_vm("evidence1")
    answer = send(anonymous, vm.guest.report(challenge(anonymous, vm.vm_id), vm.token))
    assert answer.status == 200 and answer.json["verdict"] == "trusted", answer
    return vm


@pytest.fixture(scope="module")
def other(make_vm, anonymous):
    vm = make_vm("evidence2")
    answer = send(anonymous, vm.guest.report(challenge(anonymous, vm.vm_id), vm.token))
    assert answer.status == 200 and answer.json["verdict"] == "trusted", answer
    return vm


def test_the_first_report_enrols_and_reads_healthy(api, enrolled):
    status = status_of(api, enrolled)
    assert status["status"] == "healthy"
    assert status["claims"]["secureBoot"] is True
    assert status["vmId"] == enrolled.vm_id
    assert status["lastReportAt"]


@pytest.mark.parametrize("cbor", [False, True], ids=["json", "cbor"])
def test_a_later_report_needs_no_token(api, anonymous, enrolled, cbor):
    answer = send(anonymous, enrolled.guest.report(challenge(anonymous, enrolled.vm_id)), cbor)
    assert answer.status == 200 and answer.json["verdict"] == "trusted", answer
    stored = api.get(f"{REPORTS}/{answer.json['reportId']}")
    assert stored.status == 200 and stored.json["verdict"] == "trusted"
    assert stored.json["checks"] == answer.json["checks"]
    history = api.get(enrolled.path + "/bootIntegrity/history").json["value"]
    assert history[0]["reportId"] == answer.json["reportId"]


# --- tampering: name, what is done to an honest report, status, code or failed check -------------


def flip(text, index):
    data = bytearray(base64.b64decode(text))
    data[index] ^= 1
    return b64(bytes(data))


def flip_pcr(report):
    value = bytearray.fromhex(report["pcrs"]["sha256"]["7"])
    value[0] ^= 1
    report["pcrs"]["sha256"]["7"] = value.hex()


def drop_pcr(report):
    del report["pcrs"]["sha256"]["7"]


def cut_log(report):
    report["eventLog"] = b64(base64.b64decode(report["eventLog"])[:-5])


def events(log):
    """(offset, end, pcr, type, data offset) of each crypto-agile event, after the Spec ID event."""
    def u32(at):
        return int.from_bytes(log[at:at + 4], "little")
    size = {4: 20, 11: 32, 12: 48, 13: 64}
    at = 32 + u32(28)
    while at < len(log):
        start, n, p = at, u32(at + 8), at + 12
        for _ in range(n):
            p += 2 + size[int.from_bytes(log[p:p + 2], "little")]
        yield start, p + 4 + u32(p), u32(start), u32(start + 4), p + 4
        at = p + 4 + u32(p)


def drop_last_event(report):
    log = base64.b64decode(report["eventLog"])
    report["eventLog"] = b64(log[:list(events(log))[-1][0]])


def secure_boot_event(log):
    name = "SecureBoot".encode("utf-16-le")
    return next(e for e in events(log) if e[2] == 7 and name in log[e[4]:e[1]])


def change_data_not_digest(report):
    """SecureBoot=1 becomes 0 in the data; the replay still passes."""
    log = bytearray(base64.b64decode(report["eventLog"]))
    log[secure_boot_event(bytes(log))[1] - 1] ^= 1
    report["eventLog"] = b64(bytes(log))


def change_digest(report):
    log = bytearray(base64.b64decode(report["eventLog"]))
    at = secure_boot_event(bytes(log))[0] + 12
    while int.from_bytes(log[at:at + 2], "little") != 11:  # to the SHA-256 digest
        at += 2 + {4: 20, 12: 48, 13: 64}[int.from_bytes(log[at:at + 2], "little")]
    log[at + 2] ^= 1
    report["eventLog"] = b64(bytes(log))


def flip_signature(report):
    report["quote"]["signature"] = flip(report["quote"]["signature"], -1)


def flip_magic(report):
    report["quote"]["message"] = flip(report["quote"]["message"], 0)


def cut_quote(report):
    report["quote"]["message"] = b64(base64.b64decode(report["quote"]["message"])[:-1])


def trailing_log(report):
    report["eventLog"] = b64(base64.b64decode(report["eventLog"]) + b"\1\2\3")


def broken_certificate(report):
    report["ak"]["certificate"] = b64(b"\x30\x03\x02\x01")


TAMPERINGS = [
    ("a flipped PCR", flip_pcr, 200, "quote.pcrDigest"),
    ("a quoted PCR left out", drop_pcr, 200, "quote.pcrDigest"),
    ("a log cut inside an event", cut_log, 400, "evidence_malformed"),
    ("bytes after the log", trailing_log, 400, "evidence_malformed"),
    ("a log without its last event", drop_last_event, 200, "log.replay"),
    ("data changed, digest kept", change_data_not_digest, 200, "log.content"),
    ("a digest changed", change_digest, 200, "log.replay"),
    ("a quote cut short", cut_quote, 400, "evidence_malformed"),
    ("a certificate that is no DER", broken_certificate, 400, "evidence_malformed"),
    # Not signed by the pinned AK: nobody knows who sent it, so it may not change anything.
    ("a flipped signature", flip_signature, 403, "not_enrolled"),
    ("a flipped magic", flip_magic, 403, "not_enrolled"),
]


@pytest.mark.parametrize("name, tamper, status, what", TAMPERINGS, ids=[t[0] for t in TAMPERINGS])
def test_tampering_is_answered_by_name(api, anonymous, other, name, tamper, status, what):
    report = other.guest.report(challenge(anonymous, other.vm_id))
    tamper(report)
    answer = send(anonymous, report)
    assert answer.status == status, answer
    if status != 200:
        assert answer.code == what, answer
        return
    assert answer.json["verdict"] == "untrusted", answer
    assert what in failed_checks(answer), answer
    # Signed by the pinned AK, so it is the VM's own bad evidence: the dashboard shows it ...
    now = status_of(api, other)
    assert now["status"] == "unhealthy" and now["reasons"], now
    # ... until the next honest report.
    answer = send(anonymous, other.guest.report(challenge(anonymous, other.vm_id)))
    assert answer.json["verdict"] == "trusted", answer
    assert status_of(api, other)["status"] == "healthy"


def test_the_failed_event_is_named(anonymous, other):
    report = other.guest.report(challenge(anonymous, other.vm_id))
    change_data_not_digest(report)
    answer = send(anonymous, report)
    log = base64.b64decode(report["eventLog"])
    at = secure_boot_event(log)[0]
    index = 1 + [e[0] for e in events(log)].index(at)
    bad = [c for c in answer.json["checks"] if c["name"] == "log.content" and c["status"] == "fail"]
    assert any(c.get("event") == index and c.get("pcr") == 7 for c in bad), bad
    assert send(anonymous, other.guest.report(challenge(anonymous, other.vm_id))).status == 200


def test_a_stored_verdict_is_explained(api, anonymous, other):
    """Event, PCR, meaning and remedy, as JSON and as text; the words are not stored."""
    report = other.guest.report(challenge(anonymous, other.vm_id))
    change_data_not_digest(report)
    answer = send(anonymous, report)
    path = f"{REPORTS}/{answer.json['reportId']}"
    assert "explanation" not in api.get(path).json
    explained = api.get(path + "?explain=true")
    assert explained.status == 200 and explained.header("ETag"), explained
    assert explained.json["result"].count(".") == 2, explained  # nothing is left out for it
    told = explained.json["explanation"]
    assert told["summary"].startswith("untrusted: 2 of "), told
    problem = next(p for p in told["problems"] if p["reason"] == "digest_mismatch")
    assert (problem["check"], problem["status"], problem["pcr"]) == ("log.content", "fail", 7)
    assert problem["eventType"] == "EV_EFI_VARIABLE_DRIVER_CONFIG SecureBoot", problem
    assert problem["remedy"]["code"] == "distrust_log" and problem["meaning"], problem
    assert f"PCR 7, event {problem['event']}, EV_EFI_VARIABLE_DRIVER_CONFIG" in told["text"], told
    assert "quote.signature" in told["passed"] and "maa.token" in told["skipped"], told
    again = api.get(path + "?explain=true", headers={"If-None-Match": explained.header("ETag")})
    assert again.status == 304, again
    assert send(anonymous, other.guest.report(challenge(anonymous, other.vm_id))).status == 200


def test_a_trusted_boot_tells_its_secure_boot_certificates(api, anonymous, other, enrolled):
    """The emulator's firmware trusts keys of its own, so the roll-over does not concern it."""
    assert send(anonymous, other.guest.report(challenge(anonymous, other.vm_id))).status == 200
    told = api.get(other.path + "/bootIntegrity/secureBootCertificates")
    assert told.status == 200 and told.json["state"] == "notApplicable", told
    fleet = api.get("/v1/bootIntegrity/secureBootCertificates?state=notApplicable")
    assert other.path.lower().rsplit("/", 1)[1] in fleet.body.decode().lower(), fleet
    summary = api.get("/v1/bootIntegrity/secureBootCertificates/summary").json
    assert summary["byState"]["notApplicable"] >= 2 and summary["total"] >= 2, summary


# --- challenges ----------------------------------------------------------------------------------


def test_a_challenge_is_single_use(anonymous, enrolled):
    given = challenge(anonymous, enrolled.vm_id)
    report = enrolled.guest.report(given)
    assert send(anonymous, report).status == 200
    again = send(anonymous, report)
    assert again.status == 409 and again.code == "challenge_used", again


def test_malformed_evidence_leaves_the_challenge(anonymous, enrolled):
    report = enrolled.guest.report(challenge(anonymous, enrolled.vm_id))
    broken = copy.deepcopy(report)
    cut_log(broken)
    assert send(anonymous, broken).status == 400
    assert send(anonymous, report).status == 200


def test_another_vms_challenge(anonymous, enrolled, other):
    report = enrolled.guest.report(challenge(anonymous, other.vm_id))
    answer = send(anonymous, report)
    assert answer.status == 409 and answer.code == "challenge_mismatch", answer


def test_a_made_up_challenge(anonymous, enrolled):
    given = challenge(anonymous, enrolled.vm_id)
    given["challengeId"] = "A" * len(given["challengeId"])
    answer = send(anonymous, enrolled.guest.report(given))
    assert answer.status == 400 and answer.code == "challenge_invalid", answer


def test_a_wrong_nonce(anonymous, api, enrolled):
    given = challenge(anonymous, enrolled.vm_id)
    nonce = bytearray(base64.b64decode(given["nonce"]))
    nonce[0] ^= 1
    report = enrolled.guest.report({**given, "nonce": b64(bytes(nonce))})
    before = status_of(api, enrolled)
    answer = send(anonymous, report)
    assert answer.status == 200 and answer.json["verdict"] == "untrusted", answer
    assert "quote.nonce" in failed_checks(answer), answer
    # The pinned AK signed it, but when is unknown: whoever kept an old quote could send it, so the
    # verdict is answered and the VM's status stays.
    assert status_of(api, enrolled) == before


def test_a_wrong_nonce_with_enrolment_names_the_check(anonymous, api, make_vm):
    vm = make_vm("wrongnonce")
    given = challenge(anonymous, vm.vm_id)
    answer = send(anonymous, vm.guest.report({**given, "nonce": b64(bytes(32))}, vm.token))
    assert answer.status == 200 and answer.json["verdict"] == "untrusted", answer
    assert "quote.nonce" in failed_checks(answer), answer


def test_an_expired_challenge(short_ttl_gateway, make_vm_on):
    vm = make_vm_on(short_ttl_gateway, "expired")
    anonymous = short_ttl_gateway.api(None)
    report = vm.guest.report(challenge(anonymous, vm.vm_id), vm.token)
    time.sleep(2.1)
    answer = send(anonymous, report)
    assert answer.status == 409 and answer.code == "challenge_expired", answer


def test_a_challenge_that_expires_while_its_report_is_on_the_way(short_ttl_gateway, make_vm_on):
    """The head in time, the body late: what was used is forgotten after its expiry, so nothing may
    be judged by the time at which a request began."""
    vm = make_vm_on(short_ttl_gateway, "late")
    anonymous = short_ttl_gateway.api(None)
    body = json.dumps(vm.guest.report(challenge(anonymous, vm.vm_id), vm.token)).encode()
    head = (f"POST {REPORTS} HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode()
    status, _, answer = raw.exchange(short_ttl_gateway, head, then=(2.1, body))
    assert (status, json.loads(answer)["code"]) == (409, "challenge_expired"), answer


# --- who may change what -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one_a_second(folder, emulator):
    running = stack.Gateway(folder / "slow", emulator,
                            TLGATE_LIMITS_ATTESTATION_VM_PER_SECOND="1",
                            TLGATE_LIMITS_ATTESTATION_VM_BURST="1")
    yield running
    running.close()


def test_strangers_do_not_use_up_a_vms_reports(one_a_second, make_vm_on):
    """The limit of one vmId counts what comes from the VM: else anybody could keep it silent until
    its status is too old to be believed."""
    vm = make_vm_on(one_a_second, "silenced")
    anonymous = one_a_second.api(None)
    for _ in range(5):
        report = vm.guest.report(challenge(anonymous, vm.vm_id))
        assert send(anonymous, report).status == 403
    first = vm.guest.report(challenge(anonymous, vm.vm_id), vm.token)
    second, third = (vm.guest.report(challenge(anonymous, vm.vm_id)) for _ in range(2))
    time.sleep(1.1)
    for _ in range(3):
        assert send(anonymous, {**second, "challengeId": "x"}).status == 400
        challenge(anonymous, vm.vm_id)
    for mine in (first, second):  # what enrols counts apart from what the enrolled AK signs
        answer = send(anonymous, mine)
        assert answer.status == 200 and answer.json["verdict"] == "trusted", answer
    answer = send(anonymous, third)
    assert answer.status == 429 and answer.code == "rate_limited", answer
    assert '"vm"' in answer.header("RateLimit") and int(answer.header("Retry-After")) > 0
    time.sleep(1.1)
    assert send(anonymous, third).status == 200  # the refusal has left its challenge

    # What somebody else can keep and send: a quote of the pinned AK, with fresh challenges, ...
    kept = vm.guest.report(challenge(anonymous, vm.vm_id))
    own = vm.guest.report(challenge(anonymous, vm.vm_id))
    time.sleep(1.1)
    answers = [send(anonymous, {**kept, "challengeId": challenge(anonymous, vm.vm_id)["challengeId"]})
               for _ in range(4)]
    assert answers[0].status == 200 and "quote.nonce" in failed_checks(answers[0]), answers[0]
    assert {a.status for a in answers[1:]} <= {200, 429} and 429 in [a.status for a in answers], answers
    answer = send(anonymous, own)
    assert answer.status == 200 and answer.json["verdict"] == "trusted", answer
    # ... and the VM's own report, once more.
    last = vm.guest.report(challenge(anonymous, vm.vm_id))
    time.sleep(1.1)
    for _ in range(3):
        answer = send(anonymous, own)
        assert answer.status == 409 and answer.code == "challenge_used", answer
    assert send(anonymous, last).status == 200


def test_without_enrolment_nothing_is_accepted(api, anonymous, make_vm):
    vm = make_vm("stranger")
    before = status_of(api, vm)
    for token in (None, "AAAA" * 20):
        answer = send(anonymous, vm.guest.report(challenge(anonymous, vm.vm_id), token))
        assert answer.status == 403 and answer.code == "not_enrolled", answer
    assert status_of(api, vm) == before
    assert api.get(vm.path + "/bootIntegrity/history").json["value"] == []


def test_an_unknown_vm_looks_the_same(anonymous, enrolled):
    unknown = "01234567-89ab-4cde-8f01-23456789abcd"
    known, strange = challenge(anonymous, enrolled.vm_id), challenge(anonymous, unknown)
    assert set(known) == set(strange)
    assert len(known["challengeId"]) == len(strange["challengeId"])
    report = enrolled.guest.report(strange)
    report["vmId"] = unknown
    answer = send(anonymous, report)
    assert answer.status == 403 and answer.code == "not_enrolled", answer


def test_another_vms_pinned_ak_without_proof(api, anonymous, enrolled, other):
    before = status_of(api, other)
    given = challenge(anonymous, other.vm_id)
    report = enrolled.guest.report(given)
    report["vmId"] = other.vm_id
    answer = send(anonymous, report)
    assert answer.status == 403 and answer.code == "not_enrolled", answer
    assert status_of(api, other) == before


def test_another_vms_pinned_ak_with_proof_is_quarantined(api, anonymous, make_vm):
    """A clone: the VM proves its enrolment, but its AK is the one that another VM pinned."""
    clone, original = make_vm("clone"), make_vm("original")
    answer = send(anonymous, original.guest.report(challenge(anonymous, original.vm_id),
                                                   original.token))
    assert answer.json["verdict"] == "trusted", answer
    report = original.guest.report(challenge(anonymous, clone.vm_id), clone.token)
    report["vmId"] = clone.vm_id
    answer = send(anonymous, report)
    assert answer.status == 200 and answer.json["verdict"] == "quarantined", answer
    assert "ak.binding" in failed_checks(answer), answer
    assert status_of(api, clone)["status"] == "quarantined"
    assert status_of(api, original)["status"] == "quarantined"


def test_a_wrong_ak(anonymous, enrolled, other):
    """The certificate is the VM's, the quote another TPM's."""
    given = challenge(anonymous, enrolled.vm_id)
    foreign = other.guest.report(given)
    report = enrolled.guest.report(given)
    report["quote"], report["pcrs"] = foreign["quote"], foreign["pcrs"]
    answer = send(anonymous, report)
    assert answer.status == 403 and answer.code == "not_enrolled", answer


def test_a_wrong_ak_with_enrolment_names_the_check(anonymous, api, make_vm, other):
    vm = make_vm("wrongak")
    given = challenge(anonymous, vm.vm_id)
    foreign = other.guest.report(given)
    report = vm.guest.report(given, vm.token)
    report["quote"], report["pcrs"] = foreign["quote"], foreign["pcrs"]
    answer = send(anonymous, report)
    assert answer.status == 200 and answer.json["verdict"] == "untrusted", answer
    assert "quote.signature" in failed_checks(answer), answer


def test_a_token_serves_once_and_a_new_one_can_be_made(api, anonymous, make_vm):
    vm = make_vm("token")
    assert send(anonymous, vm.guest.report(challenge(anonymous, vm.vm_id), vm.token)).status == 200
    made = api.post(vm.path + "/enrollmentTokens")
    assert made.status == 201 and made.json["token"] and made.json["expiresAt"], made
    assert made.json["token"] != vm.token
    # Each is kept under the time it was made at: expired ones are looked for from the oldest on.
    with sqlite3.connect(f"file:{vm.gateway.data_dir}/tlgate.db?mode=ro", uri=True) as db:
        rows = db.execute("SELECT hash, created_at, job_id FROM enrollment").fetchall()
    assert {bool(job) for _, _, job in rows} == {True, False}, rows
    assert all(abs(int(name[:12], 16) - at) < 600_000 for name, at, _ in rows), rows


# --- two VMs, reboots, Secure Boot off -----------------------------------------------------------


def test_two_vms_share_nothing(api, enrolled, other):
    assert enrolled.guest.ak()[0] != other.guest.ak()[0]
    assert enrolled.guest.ak()[1] != other.guest.ak()[1]
    assert enrolled.guest.event_log() != other.guest.event_log()
    one, two = status_of(api, enrolled), status_of(api, other)
    assert one["vmId"] != two["vmId"]
    assert one["lastReportId"] != two["lastReportId"]


def test_a_reboot_shows_the_new_reset_count(api, anonymous, emulator, make_vm):
    vm = make_vm("reboot")
    first = send(anonymous, vm.guest.report(challenge(anonymous, vm.vm_id), vm.token))
    assert first.json["verdict"] == "trusted", first
    emulator.arm("POST", vm.arm_id + "/restart?api-version=2026-04-01")
    guest = emulator.guest(vm.vm_id)
    second = send(anonymous, guest.report(challenge(anonymous, vm.vm_id)))
    assert second.status == 200 and second.json["verdict"] == "trusted", second
    assert second.json["claims"]["resetCount"] > first.json["claims"]["resetCount"]
    assert status_of(api, vm)["claims"]["resetCount"] == second.json["claims"]["resetCount"]


def test_secure_boot_off_by_spec_is_reported_so(api, anonymous, make_vm):
    vm = make_vm("sboff", trustedLaunch={"secureBoot": False, "vTpm": True,
                                         "integrityMonitoring": True})
    answer = send(anonymous, vm.guest.report(challenge(anonymous, vm.vm_id), vm.token))
    assert answer.status == 200 and answer.json["verdict"] == "trusted", answer
    assert answer.json["claims"]["secureBoot"] is False
    assert status_of(api, vm)["claims"]["secureBoot"] is False


def test_secure_boot_off_where_the_spec_asks_for_it(api, anonymous, emulator, make_vm):
    vm = make_vm("sbflip")
    assert send(anonymous, vm.guest.report(challenge(anonymous, vm.vm_id), vm.token)).status == 200
    # Somebody switches it off behind the gateway's back.
    emulator.arm("PATCH", vm.arm_id + "?api-version=2026-04-01", {"properties": {"securityProfile": {
        "securityType": "TrustedLaunch",
        "uefiSettings": {"secureBootEnabled": False, "vTpmEnabled": True}}}})
    emulator.arm("POST", vm.arm_id + "/restart?api-version=2026-04-01")
    guest = emulator.guest(vm.vm_id)
    answer = send(anonymous, guest.report(challenge(anonymous, vm.vm_id)))
    assert answer.status == 200 and answer.json["verdict"] == "untrusted", answer
    assert "secureBoot" in failed_checks(answer), answer
    assert status_of(api, vm)["status"] == "unhealthy"


# --- the log by digest ---------------------------------------------------------------------------


def test_a_known_log_may_be_named_by_its_digest(anonymous, enrolled):
    report = enrolled.guest.report(challenge(anonymous, enrolled.vm_id))
    log = base64.b64decode(report.pop("eventLog"))
    report["eventLogDigest"] = hashlib.sha256(log).hexdigest()
    answer = send(anonymous, report)
    assert answer.status == 200 and answer.json["verdict"] == "trusted", answer


def test_an_unknown_log_digest_asks_for_the_log_and_leaves_the_challenge(anonymous, enrolled):
    report = enrolled.guest.report(challenge(anonymous, enrolled.vm_id))
    log = report.pop("eventLog")
    report["eventLogDigest"] = "00" * 32
    answer = send(anonymous, report)
    assert answer.status == 409 and answer.code == "event_log_required", answer
    del report["eventLogDigest"]
    report["eventLog"] = log
    assert send(anonymous, report).status == 200


def test_quote_without_log_is_its_own_verdict(api, anonymous, make_vm):
    vm = make_vm("nolog")
    report = vm.guest.report(challenge(anonymous, vm.vm_id), vm.token)
    del report["eventLog"]
    answer = send(anonymous, report)
    assert answer.status == 200 and answer.json["verdict"] == "trustedQuoteOnly", answer
    status = status_of(api, vm)
    assert status["status"] == "unknown" and "no_event_log" in json.dumps(status["reasons"]), status
