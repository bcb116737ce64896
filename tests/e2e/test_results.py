"""Signed attestation results: a program of somebody else verifies the JWT of a report with nothing but
the published keys, also after the key was rotated; and a result that was changed does not verify."""
import base64
import json
import sqlite3
import subprocess

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

import stack

KEYS = "/.well-known/jwks.json"
REPORTS = "/v1/attestation/reports"


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def published(api):
    answer = api.get(KEYS)
    assert answer.status == 200 and answer.header("Cache-Control") == "public, max-age=300"
    return {k["kid"]: k for k in answer.json["keys"]}


def read(token, keys):
    """The claims, where the signature is that of a published key."""
    head, body, signature = token.split(".")
    header, raw = json.loads(unb64(head)), unb64(signature)
    assert header["alg"] == "ES256" and header["typ"] == "JWT" and len(raw) == 64
    jwk = keys[header["kid"]]
    assert (jwk["kty"], jwk["crv"], jwk["alg"], jwk["use"]) == ("EC", "P-256", "ES256", "sig")
    x, y = (int.from_bytes(unb64(jwk[n]), "big") for n in "xy")
    key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    key.verify(utils.encode_dss_signature(r, s), f"{head}.{body}".encode(),
               ec.ECDSA(hashes.SHA256()))
    return header, json.loads(unb64(body))


@pytest.fixture(scope="module")
def vm(make_vm, anonymous):
    made = make_vm("results1")
    made.first = report(anonymous, made, made.token)
    return made


def report(anonymous, vm, token=None, change=None):
    given = anonymous.post("/v1/attestation/challenges", {"vmId": vm.vm_id}).json
    evidence = vm.guest.report(given, token)
    if change:
        change(evidence)
    answer = anonymous.post(REPORTS, evidence)
    assert answer.status == 200, answer
    answer.nonce = base64.b64decode(given["nonce"])
    return answer


def test_others_can_rely_on_a_result(api, anonymous, gateway, vm):
    _, claims = read(vm.first.json["result"], published(anonymous))
    assert claims["eat_profile"] == "tag:ietf.org,2026:rats/ear#04"
    assert claims["iss"] == gateway.url and claims["sub"] == vm.vm_id
    assert claims["jti"] == vm.first.json["reportId"]
    assert unb64(claims["eat_nonce"]) == vm.first.nonce
    assert claims["exp"] - claims["iat"] == 24 * 3600
    assert set(claims["ear_verifier_id"]) == {"developer", "build"}
    appraisal = claims["submods"]["vtpm"]
    assert claims["ear_status"] == appraisal["ear_status"] == "affirming"
    assert appraisal["ear_trustworthiness_vector"] == {
        "instance-identity": 2, "configuration": 2, "executables": 3, "hardware": 2}
    version = claims["ear_verifier_id"]["build"].removeprefix("tlgate ")
    assert appraisal["ear_appraisal_policy_ids"] == [f"tlgate:azureTrustedLaunch@{version}"]
    assert appraisal["ear_verifier_claims"] == {"tlgate_verdict": "trusted", "tlgate_failed": []}


def test_a_stored_report_is_signed_too(api, anonymous, vm):
    path = f"{REPORTS}/{vm.first.json['reportId']}"
    answer = api.get(path)
    _, claims = read(answer.json["result"], published(anonymous))
    _, at_once = read(vm.first.json["result"], published(anonymous))
    at_once.pop("eat_nonce")  # of which only the hash of its challenge is kept
    assert claims == at_once
    assert answer.header("ETag").startswith('W/"')
    again = api.get(path, headers={"If-None-Match": answer.header("ETag")})
    assert again.status == 304 and not again.body


def test_untrusted_evidence_is_contraindicated(anonymous, vm):
    def lie(evidence):
        log = bytearray(base64.b64decode(evidence["eventLog"]))
        log[log.index("SecureBoot".encode("utf-16-le")) + 20] ^= 1
        evidence["eventLog"] = base64.b64encode(log).decode()
    answer = report(anonymous, vm, change=lie)
    assert answer.json["verdict"] == "untrusted", answer
    _, claims = read(answer.json["result"], published(anonymous))
    appraisal = claims["submods"]["vtpm"]
    assert appraisal["ear_status"] == "contraindicated"
    assert appraisal["ear_trustworthiness_vector"]["executables"] == 96
    failed = appraisal["ear_verifier_claims"]["tlgate_failed"]
    assert {"check": "log.content", "reason": "digest_mismatch"} in failed
    assert report(anonymous, vm).json["verdict"] == "trusted"


def test_what_was_changed_does_not_verify(anonymous, vm):
    keys = published(anonymous)
    head, body, signature = vm.first.json["result"].split(".")
    claims = unb64(body).replace(b"affirming", b"affirminG")
    changed = base64.urlsafe_b64encode(claims).rstrip(b"=").decode()
    for token in (f"{head}.{changed}.{signature}", f"{head}.{body}.{signature[:-4]}AAAA"):
        with pytest.raises(InvalidSignature):
            read(token, keys)


def test_a_rotated_key_signs_and_the_former_one_still_verifies(gateway, api, anonymous, vm):
    before = report(anonymous, vm).json["result"]
    old, _ = read(before, published(anonymous))
    assert len(gateway.command("key", "rotate", "--purpose", "results")) == 8
    keys = published(anonymous)
    new, _ = read(report(anonymous, vm).json["result"], keys)
    assert new["kid"] != old["kid"] and {old["kid"], new["kid"]} <= set(keys)
    assert next(iter(keys)) == new["kid"]
    read(before, keys)
    # the other purposes: what was handed out before still counts
    given = anonymous.post("/v1/attestation/challenges", {"vmId": vm.vm_id}).json
    cursor = api.get("/v1/jobs?top=1").json.get("nextLink")
    for purpose in ("challenge", "cursor", "seal", "enrollment"):
        gateway.command("key", "rotate", "--purpose", purpose)
    assert anonymous.post(REPORTS, vm.guest.report(given)).status == 200
    assert cursor is None or api.get(cursor.removeprefix(gateway.url)).status == 200
    with sqlite3.connect(f"file:{gateway.data_dir}/tlgate.db?mode=ro", uri=True) as db:
        rows = [json.loads(d) for d, in db.execute(
            "SELECT detail FROM audit WHERE action = 'key.rotate' ORDER BY id")]
    assert [r["purpose"] for r in rows][-5:] == ["results", "challenge", "cursor", "seal",
                                                 "enrollment"]
    # a restart changes nothing
    gateway.restart()
    assert published(anonymous) == keys
    read(before, published(anonymous))


@pytest.mark.parametrize("arguments", [["rotate"], ["rotate", "--purpose", "fingerprint"],
                                       ["rotate", "--purpose", "nothing"],
                                       ["list", "--purpose", "results"]])
def test_other_rotations_are_refused(gateway, arguments):
    run = subprocess.run([gateway.bin / "tlgate", "key", *arguments, "--config", gateway.ini],
                         capture_output=True, text=True, env=stack.clean_env())
    assert run.returncode != 0 and run.stderr and not run.stdout


def test_signing_can_wait_until_somebody_reads(folder, emulator, make_vm_on):
    own = stack.Gateway(folder / "onread", emulator,
                        TLGATE_ATTESTATION_RESULT_SIGNING="on_read")
    try:
        vm, anonymous = make_vm_on(own, "results2"), own.api(None)
        answer = report(anonymous, vm, vm.token)
        assert answer.json["verdict"] == "trusted" and "result" not in answer.json
        stored = own.api(own.admin_key).get(f"{REPORTS}/{answer.json['reportId']}")
        _, claims = read(stored.json["result"], published(anonymous))
        assert claims["submods"]["vtpm"]["ear_status"] == "affirming"
    finally:
        own.close()
