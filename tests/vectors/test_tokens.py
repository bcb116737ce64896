"""Tokens of Azure Attestation that were really issued: each file has its outcome here, and one without
a line fails."""
import json
import base64

import pytest

from vectors import VECTORS, failed, needs_vectors, tlgate

MAA = VECTORS / "maa"
WEU = "https://sharedweu.weu.attest.azure.net"
EUS2 = "https://sharedeus2.eus2.attest.azure.net"
POLICY = "https://cslarryoattestationaad.wus.attest.azure.net"
NONCE = b"ADE0101".hex()
CVM = "azurevm-sevsnp-windows-sharedweu-2023.jwt"
WEU_KEYS, POLICY_KEYS = "jwks-sharedweu-dRKh.json", "jwks-policyresult-1024bit.json"
IN_TIME = ("--at", "2023-03-30T12:00:00Z")
CONFIDENTIAL = ("--profile", "confidentialVm")
VM = ("--vm-id", "70f5ce9a-2bdc-4b6b-8401-e9b964d3aeb7")

LINES = [
    # file, key set, issuer, nonce, more arguments, failed reasons (empty: it is believed)
    (CVM, WEU_KEYS, WEU, NONCE, (*IN_TIME, *CONFIDENTIAL, *VM), set()),
    (CVM, WEU_KEYS, WEU, NONCE, (*IN_TIME, *VM), {"token_profile"}),
    (CVM, WEU_KEYS, WEU, NONCE, CONFIDENTIAL, {"token_expired"}),
    (CVM, WEU_KEYS, WEU, NONCE, ("--at", "2023-03-30T10:00:00Z", *CONFIDENTIAL),
     {"token_not_yet_valid"}),
    (CVM, WEU_KEYS, WEU, "00" * 32, (*IN_TIME, *CONFIDENTIAL), {"token_nonce_mismatch"}),
    (CVM, WEU_KEYS, WEU, NONCE,
     (*IN_TIME, *CONFIDENTIAL, "--vm-id", "70f5ce9a-2bdc-4b6b-8401-e9b964d3aeb8"),
     {"token_vm_mismatch"}),
    (CVM, WEU_KEYS, EUS2, NONCE, (*IN_TIME, *CONFIDENTIAL), {"token_issuer"}),
    (CVM, POLICY_KEYS, WEU, NONCE, (*IN_TIME, *CONFIDENTIAL), {"token_key_unknown"}),
    # its signing key is not published any more
    ("azurevm-noisolation-windows-sharedeus2-2022.jwt", WEU_KEYS, EUS2, NONCE,
     ("--at", "2022-04-15T00:00:00Z"), {"token_key_unknown"}),
    ("truncated.jwt", WEU_KEYS, EUS2, NONCE, (), {"token_not_compact"}),
    # verifies, but with RSA-1024
    ("policyresult-rs256-1024bit-2021.jwt", POLICY_KEYS, POLICY, NONCE,
     ("--at", "2021-05-05T04:30:00Z"), {"token_key_unfit"}),
]
USED_OTHERWISE = {  # beside the tokens
    WEU_KEYS, POLICY_KEYS, "azurevm-sevsnp-windows-sharedweu-2023.decoded.json",
    "azurevm-noisolation-windows-sharedeus2-2022.decoded.json",
    "sampleAttestationToken-sevsnp.decoded.json"}

pytestmark = needs_vectors


def judge(path, keys, issuer, nonce, *more):
    return tlgate("verify", path, "--maa-only", "--nonce", nonce, "--maa-jwks", keys,
                  "--maa-issuer", issuer, *more)


@pytest.mark.parametrize("name, keys, issuer, nonce, more, reasons", LINES)
def test_token(name, keys, issuer, nonce, more, reasons):
    status, result = judge(MAA / name, MAA / keys, issuer, nonce, *more)
    assert failed(result) == {("maa.token", reason) for reason in reasons}, result
    assert status == (1 if reasons else 0)
    assert result["verdict"] == ("untrusted" if reasons else "trusted")


def test_claims_of_the_believed_token_are_those_that_were_published():
    _, result = judge(MAA / CVM, MAA / WEU_KEYS, WEU, NONCE, *IN_TIME, *CONFIDENTIAL, *VM)
    said = result["claims"]["azureAttestation"]
    told = json.loads((MAA / "azurevm-sevsnp-windows-sharedweu-2023.decoded.json").read_text())
    told = told["payload"]
    assert said["vmId"] == told["x-ms-azurevm-vmid"] and said["issuer"] == told["iss"]
    assert said["attestedPcrs"] == told["x-ms-azurevm-attested-pcrs"]
    assert said["policyHash"] == told["x-ms-policy-hash"]


def test_sample_of_the_test_ring_has_a_foreign_issuer(tmp_path):
    """Published without its signature, so it gets another: the issuer alone must refuse it."""
    claims = (MAA / "sampleAttestationToken-sevsnp.decoded.json").read_bytes()
    header = b'{"alg":"RS256","typ":"JWT","kid":"dRKh+hBcWUfQimSl3Iv6ZhStW3TSOt0ThwiTgUUqZAo="}'
    parts = [base64.urlsafe_b64encode(p).rstrip(b"=") for p in (header, claims, b"x" * 256)]
    (tmp_path / "token").write_bytes(b".".join(parts))
    status, result = judge(tmp_path / "token", MAA / WEU_KEYS, WEU, NONCE,
                           "--at", "2022-05-20T01:00:00Z", *CONFIDENTIAL)
    assert status == 1 and failed(result) == {("maa.token", "token_issuer")}


def test_every_file_has_a_line():
    assert {p.name for p in MAA.iterdir()} == {line[0] for line in LINES} | USED_OTHERWISE
