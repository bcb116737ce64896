"""Rows 45 to 54: tokens of Azure Attestation that are sent along with evidence of a booted TPM. The
same evidence with the honest token is judged first. (What only shows at a running gateway, the key set
that is fetched, is in tests/api/test_maa.py; tests/unit/attest_maa_test.c has more cases of each row.)"""
import json

import pytest
from cryptography.hazmat.primitives import hashes

import frame
import tokens
from frame import NONCE, covers, failed

VM = "70f5ce9a-2bdc-4b6b-8401-e9b964d3aeb7"
OTHER_VM = "70f5ce9a-2bdc-4b6b-8401-e9b964d3aeb8"
REMOVED = object()


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    running = frame.Rig(tmp_path_factory.mktemp("t"))
    running.provider = tokens.Provider()
    running.other = tokens.Provider()
    yield running
    running.close()


def judge(rig, token, jwks=None, issuer=tokens.ISSUER):
    e = rig.base("made")
    (rig.folder / "jwks.json").write_text(json.dumps(jwks or rig.provider.jwks()))
    e.args += ["--maa-jwks", rig.folder / "jwks.json", "--maa-issuer", issuer]
    e.edits.append(lambda out: out.update(vmId=VM, maaToken=token))
    return rig.verify(e)


def honest(rig, **changed):
    return {**tokens.payload(VM, NONCE), **changed}


def accepted(rig, token):
    status, result = judge(rig, token)
    assert status == 0 and result["verdict"] == "trusted" and not failed(result), result
    return result


def check_twin(rig):
    result = accepted(rig, rig.provider.sign(honest(rig)))
    assert {"name": "maa.token", "status": "pass"} in result["checks"]
    assert result["claims"]["azureAttestation"]["vmId"] == VM.upper()


def refused(rig, token, reason, **more):
    check_twin(rig)
    status, result = judge(rig, token, **more)
    assert status == 1 and result["verdict"] == "untrusted", result
    assert failed(result) == {("maa.token", reason)}, result
    assert "azureAttestation" not in result["claims"]


def malformed(rig, token):
    check_twin(rig)
    status, result = judge(rig, token)
    assert status == 2 and result["code"] == "evidence_malformed", result
    assert [f["pointer"] for f in result["errors"]] == ["#/maaToken"], result


def with_header(rig, **changed):
    header = {**rig.provider.header(), **changed}
    return rig.provider.sign(honest(rig), {k: v for k, v in header.items() if v is not REMOVED})


def with_claims(rig, **changed):
    claims = honest(rig)
    for name, value in changed.items():
        name = name.replace("_", "-") if name not in claims else name
        if value is REMOVED:
            del claims[name]
        else:
            claims[name] = value
    return rig.provider.sign(claims)


@covers(45)
def test_45_algorithms_and_segments(rig):
    good = rig.provider.sign(honest(rig))
    head, body, _ = good.split(".")
    texts = [json.dumps(rig.provider.header()).encode(), json.dumps(honest(rig)).encode()]
    refused(rig, with_header(rig, alg="none"), "token_algorithm")
    refused(rig, with_header(rig, alg="RS384"), "token_algorithm")
    refused(rig, rig.provider.hmac_token(honest(rig)), "token_algorithm")
    refused(rig, rig.provider.sign_texts(*texts, hash_=hashes.SHA384()), "token_signature")
    refused(rig, f"{head}.{body}.", "token_signature")
    refused(rig, f"{head}.{body}", "token_not_compact")
    refused(rig, good + ".AAAA", "token_not_compact")


@covers(46)
def test_46_keys_from_elsewhere(rig):
    refused(rig, with_header(rig, jku="https://attacker.example/certs"), "token_key_address")
    refused(rig, with_header(rig, x5u="https://attacker.example/x"), "token_header")
    refused(rig, with_header(rig, jwk=rig.other.jwk()), "token_header")
    refused(rig, with_header(rig, kid="unknown"), "token_key_unknown")
    refused(rig, with_header(rig, kid="../../../etc/passwd"), "token_key_unknown")
    refused(rig, rig.other.sign(honest(rig)), "token_signature")
    refused(rig, rig.provider.sign(honest(rig)), "token_key_ambiguous",
            jwks={"keys": [rig.provider.jwk(), rig.other.jwk()]})


@covers(47)
@pytest.mark.parametrize("issuer", [
    "https://sharedeus.eus.attest.azure.net", "https://sharedeus.eus.test.attest.azure.net",
    "https://sharedweu.weu.attest.azure.net.evil/", "https://sharedweu.weu.attest.azure.net/"])
def test_47_issuers(rig, issuer):
    token = rig.provider.sign(honest(rig, iss=issuer),
                              {**rig.provider.header(), "jku": issuer + "/certs"})
    refused(rig, token, "token_issuer")


@covers(48)
def test_48_times(rig):
    now = honest(rig)["iat"]
    refused(rig, with_claims(rig, exp=now - 600, iat=now - 9000, nbf=now - 9000), "token_expired")
    refused(rig, with_claims(rig, nbf=now + 600), "token_not_yet_valid")
    refused(rig, with_claims(rig, iat=now + 600), "token_not_yet_valid")
    refused(rig, with_claims(rig, exp=REMOVED), "token_time_missing")
    refused(rig, with_claims(rig, exp=str(now + 600)), "token_time_missing")
    refused(rig, with_claims(rig, exp=now + 9 * tokens.HOURS), "token_lifetime")
    text = json.dumps(honest(rig, exp="HERE")).replace('"HERE"', "1e400")
    malformed(rig, rig.provider.sign_texts(json.dumps(rig.provider.header()).encode(),
                                           text.encode()))


@covers(49)
def test_49_a_policy_result(rig):
    now = honest(rig)["iat"]
    claims = {"iss": tokens.ISSUER, "iat": now, "nbf": now, "exp": now + 3600,
              "x-ms-policy-result": "Updated"}
    _, result = judge(rig, rig.provider.sign(claims))
    assert ("maa.token", "token_kind") in failed(result) and result["verdict"] == "untrusted"
    small = tokens.Provider(1024)
    refused(rig, small.sign(honest(rig)), "token_key_unfit", jwks=small.jwks())


@covers(50)
def test_50_claims(rig):
    refused(rig, with_claims(rig, **{"x-ms-azurevm-vmid": OTHER_VM}), "token_vm_mismatch")
    refused(rig, with_claims(rig, **{"x-ms-azurevm-vmid": REMOVED}), "token_vm_missing")
    refused(rig, with_claims(rig, secureboot="true"), "token_claim_missing")
    refused(rig, with_claims(rig, **{"x-ms-azurevm-dbxvalidated": REMOVED}), "token_claim_missing")
    refused(rig, with_claims(rig, **{"x-ms-azurevm-testsigning-enabled": True}),
            "token_claim_refused")


@covers(51)
@pytest.mark.parametrize("nonce, reason", [
    (REMOVED, "token_nonce_missing"), ("not base64!", "token_nonce_mismatch"),
    (NONCE.hex(), "token_nonce_mismatch"), ("AAAA", "token_nonce_mismatch")])
def test_51_nonces(rig, nonce, reason):
    inner = {} if nonce is REMOVED else {"nonce": nonce}
    refused(rig, with_claims(rig, **{"x-ms-runtime": {"client-payload": inner}}), reason)


@covers(52)
def test_52_form(rig):
    header = json.dumps(rig.provider.header()).encode()
    body = json.dumps(honest(rig)).encode()
    for text in (body[:-1] + b',"secureboot":true}', b'{"a":"\\u0000"}', b'{"a":"\xff"}', b"{}x"):
        malformed(rig, rig.provider.sign_texts(header, text))
    # Well-formed and short enough: depth alone refuses. More than 4,000 levels that are closed do not fit.
    for depth, gives in ((31, accepted), (32, malformed), (4000, malformed)):
        nested = b"[" * depth + b"]" * depth
        token = rig.provider.sign_texts(header, body[:-1] + b',"deep":' + nested + b"}")
        assert len(token) < 16384
        gives(rig, token)
    # 16 MiB is more than a body may have; a token of more than 16 KiB is refused as such
    malformed(rig, rig.provider.sign(honest(rig, filler="x" * 16384)))
    e = rig.base("made")
    e.edits.append(lambda out: out.update(maaToken="x" * (16 << 20)))
    status, text = rig.verify(e)
    assert status == 2 and "larger" in text


@covers(53)
def test_53_key_sets(rig):
    for bad, reason in (({"x5c": ["Z2FyYmFnZQ=="], "n": REMOVED}, "token_key_unfit"),
                        ({"n": REMOVED}, "token_key_unfit")):
        jwk = {k: v for k, v in {**rig.provider.jwk(), **bad}.items() if v is not REMOVED}
        refused(rig, rig.provider.sign(honest(rig)), reason, jwks={"keys": [jwk]})
    only = {"kty": "RSA", "kid": tokens.KID, "x5c": [rig.provider.x5c()]}
    status, result = judge(rig, rig.provider.sign(honest(rig)), jwks={"keys": [only]})
    assert status == 0 and not failed(result)
    status, text = judge(rig, rig.provider.sign(honest(rig)), jwks={"keys": []})
    assert status == 2 and "keys" in text


@covers(54)
def test_54_a_confidential_vms_token(rig):
    tee = {"x-ms-attestation-type": "sevsnpvm", "x-ms-compliance-status": "azure-compliant-cvm"}
    refused(rig, with_claims(rig, **{"x-ms-isolation-tee": tee}), "token_profile")


def test_token_and_evidence_that_disagree(rig):
    claims = honest(rig, secureboot=False)
    e = rig.base("made")
    e.args.remove("--require-secure-boot")
    (rig.folder / "jwks.json").write_text(json.dumps(rig.provider.jwks()))
    e.args += ["--maa-jwks", rig.folder / "jwks.json", "--maa-issuer", tokens.ISSUER]
    e.edits.append(lambda out: out.update(vmId=VM, maaToken=rig.provider.sign(claims)))
    _, result = rig.verify(e)
    assert failed(result) == {("maa.token", "token_contradicts_evidence")}, result
