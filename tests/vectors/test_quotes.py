"""`tlgate verify` over quotes and certificates of real Azure VMs, and over a simulator's."""
import base64
import hashlib
import json
import subprocess

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from vectors import (VECTORS, b64, failed, needs_vectors, pem_to_der, status_of, tpmt_rsassa,
                     verify)

pytestmark = needs_vectors
CA = VECTORS / "azure-ca"
TL = VECTORS / "azure-trustedlaunch-quote"
TL2 = VECTORS / "azure-trustedlaunch-quote-20260731"
CVM = VECTORS / "azure-cvm-globalca03"
SIMULATOR = VECTORS / "ms-tpm-20-ref-quotes"


def pcrs_of(path):
    value = json.loads(path.read_text())
    if isinstance(value, list):
        return {str(i): v for i, v in enumerate(value)}
    value = value.get("sha256", value)
    return {k: v for k, v in value.items() if k.isdigit()}


def evidence(folder, **ak):
    return {"quote": {"message": b64((folder / "quote.msg").read_bytes()),
                      "signature": b64(tpmt_rsassa((folder / "quote.sig").read_bytes()))},
            "pcrs": {"sha256": pcrs_of(folder / "pcrs-sha256.json")},
            **({"ak": ak} if ak else {})}


def tl_nonce():
    return (TL / "nonce.hex").read_text().strip()


def test_trusted_launch_quote_of_a_pinned_key(tmp_path):
    status, result = verify(tmp_path, evidence(TL), tl_nonce(), "--trusted-ak", TL / "ak.pub")
    assert (status, result["verdict"]) == (0, "trustedQuoteOnly"), result["checks"]
    assert status_of(result, "ak.attributes") == {"skip"}
    assert result["claims"]["pcrs"]["sha256"] == pcrs_of(TL / "pcrs-sha256.json")


def test_framed_quote_is_the_same(tmp_path):
    value = evidence(TL)
    message = (TL / "quote.msg").read_bytes()
    value["quote"]["message"] = b64(len(message).to_bytes(2, "big") + message)
    status, _ = verify(tmp_path, value, tl_nonce(), "--trusted-ak", TL / "ak.pub")
    assert status == 0


def test_another_nonce_is_refused(tmp_path):
    status, result = verify(tmp_path, evidence(TL), "00" * 32, "--trusted-ak", TL / "ak.pub")
    assert status == 1 and failed(result) == {("quote.nonce", "nonce_mismatch")}
    assert result["claims"] == {}


def test_certificate_of_the_platforms_ak_vouches_for_no_other(tmp_path):
    value = evidence(TL, certificate=b64((TL / "akcert_0x01C101D0.der").read_bytes()))
    status, result = verify(tmp_path, value, tl_nonce(), "--trust-dir", CA, "--at",
                            "2026-08-01T00:00:00Z")
    assert status == 1 and result["verdict"] == "untrusted"
    assert status_of(result, "ak.chain") == {"pass"}
    assert status_of(result, "ak.profile") == {"pass"}
    assert ("quote.signature", "signature_invalid") in failed(result)


def test_second_trusted_launch_quote_has_a_good_signature(tmp_path):
    # its origin published no PCR values
    value = {"quote": {"message": b64((TL2 / "quote.msg").read_bytes()),
                       "signature": b64((TL2 / "quote.tpmt-signature").read_bytes())},
             "pcrs": {"sha256": {str(i): "00" * 32 for i in range(8)}}}
    nonce = (TL2 / "nonce.hex").read_text().strip()
    status, result = verify(tmp_path, value, nonce, "--trusted-ak", TL2 / "ak.pub.pem")
    assert status == 1 and failed(result) == {("quote.pcrDigest", "pcr_digest_mismatch")}, result
    assert status_of(result, "quote.signature") == {"pass"}
    assert status_of(result, "quote.nonce") == {"pass"}


def cvm_public():
    """The AK's TPMT_PUBLIC, from the modulus in its certificate and what Azure's AKs have."""
    out = subprocess.run(["openssl", "rsa", "-pubin", "-in", CVM / "ak.pub.pem", "-modulus",
                          "-noout"], capture_output=True, text=True, check=True).stdout
    modulus = bytes.fromhex(out.split("=")[1].strip())
    return (bytes.fromhex("0001000b000504720000" "0010" "0014000b" "0800" "00000000" "0100")
            + modulus)


CVM_NONCE = "00" * 32
CVM_NOW = ("--at", "2026-01-09T00:00:00Z")


def cvm(**more):
    # the certificate as it lies in the NV index: 4096 bytes, padded with zeros
    return evidence(CVM, certificate=b64(pem_to_der(CVM / "ak-leaf.pem")),
                    public=b64(cvm_public()), **more)


def test_confidential_vm_is_trusted_through_ca_03(tmp_path):
    status, result = verify(tmp_path, cvm(), CVM_NONCE, "--profile", "confidentialVm",
                            "--trust-dir", CA, *CVM_NOW)
    assert (status, result["verdict"]) == (0, "trustedQuoteOnly"), result["checks"]
    for name in ("ak.chain", "ak.profile", "ak.attributes", "ak.binding", "quote.signer"):
        assert status_of(result, name) == {"pass"}, name


def test_chain_may_come_with_the_evidence(tmp_path):
    chain = [b64(pem_to_der(CA / name)) for name in
             ("global-virtual-tpm-ca-03.pem", "azure-virtual-tpm-root-2023.pem")]
    status, result = verify(tmp_path, cvm(chain=chain), CVM_NONCE, "--profile", "confidentialVm",
                            *CVM_NOW)
    assert status == 0, result["checks"]


@pytest.mark.parametrize("have", [[], ["global-virtual-tpm-ca-03.pem"],
                                  ["azure-virtual-tpm-root-2023.pem"]])
def test_missing_issuer_is_indeterminate(have, tmp_path):
    chain = [b64(pem_to_der(CA / name)) for name in have]
    status, result = verify(tmp_path, cvm(chain=chain), CVM_NONCE, "--profile", "confidentialVm",
                            *CVM_NOW)
    assert (status, result["verdict"]) == (1, "indeterminate")
    assert failed(result) == {("ak.chain", "issuer_missing")}
    assert result["claims"] == {}


@pytest.mark.parametrize("profile", ["confidentialVm", "tpm"])
def test_certificate_alone_vouches_where_the_profile_names_no_attributes(profile, tmp_path):
    value = evidence(CVM, certificate=b64(pem_to_der(CVM / "ak-leaf.pem")))
    status, result = verify(tmp_path, value, CVM_NONCE, "--profile", profile, "--trust-dir", CA,
                            *CVM_NOW)
    assert (status, result["verdict"]) == (0, "trustedQuoteOnly"), result["checks"]
    assert status_of(result, "ak.attributes") == {"skip"}
    status, result = verify(tmp_path, value, CVM_NONCE, "--profile", profile, *CVM_NOW)
    assert (status, result["verdict"]) == (1, "indeterminate"), result["checks"]
    assert failed(result) == {("ak.chain", "issuer_missing")}
    # Trusted Launch asks for the attributes of Azure's AKs.
    status, result = verify(tmp_path, value, CVM_NONCE, "--trust-dir", CA, *CVM_NOW)
    assert status == 1 and ("ak.attributes", "public_missing") in failed(result)


def test_padding_that_is_not_zero_is_not_well_formed(tmp_path):
    image = bytearray(pem_to_der(CVM / "ak-leaf.pem"))
    assert len(image) == 4096 and image[-1] == 0
    image[-1] = 1
    value = evidence(CVM, certificate=b64(bytes(image)), public=b64(cvm_public()))
    status, result = verify(tmp_path, value, CVM_NONCE, "--trust-dir", CA, *CVM_NOW)
    assert status == 2 and result["errors"][0]["pointer"] == "#/ak/certificate"


def test_confidential_vm_is_no_trusted_launch_vm(tmp_path):
    status, result = verify(tmp_path, cvm(), CVM_NONCE, "--trust-dir", CA, *CVM_NOW)
    assert status == 1 and failed(result) == {("ak.profile", "profile_mismatch")}


@pytest.mark.parametrize("at,reason", [("2026-12-09T00:00:00Z", "expired"),
                                       ("2024-01-01T00:00:00Z", "not_yet_valid")])
def test_certificate_is_judged_at_its_time(at, reason, tmp_path):
    status, result = verify(tmp_path, cvm(), CVM_NONCE, "--profile", "confidentialVm",
                            "--trust-dir", CA, "--at", at)
    assert status == 1 and ("ak.chain", reason) in failed(result)


def test_wrong_attributes_break_the_name(tmp_path):
    public = bytearray(cvm_public())
    public[5] &= 0xFE  # not restricted
    value = evidence(CVM, certificate=b64(pem_to_der(CVM / "ak-leaf.pem")),
                     public=b64(bytes(public)))
    status, result = verify(tmp_path, value, CVM_NONCE, "--profile", "confidentialVm",
                            "--trust-dir", CA, *CVM_NOW)
    assert status == 1
    assert {("ak.attributes", "not_restricted"),
            ("quote.signer", "ak_name_mismatch")} <= failed(result)


def test_fingerprints_of_the_vectors_roots():
    # the pinned root, and two that must not be anchors by themselves
    der = pem_to_der(CA / "azure-virtual-tpm-root-2023.pem")
    assert hashlib.sha256(der).hexdigest().startswith("e6c596b1")


def test_expired_ame_root_is_no_anchor(tmp_path):
    value = evidence(TL, certificate=b64(pem_to_der(CA / "ame-root-ca-2016.pem")))
    status, result = verify(tmp_path, value, tl_nonce(), "--trust-dir", CA, "--at",
                            "2026-08-01T00:00:00Z")
    assert status == 1
    assert ("ak.chain", "anchor_unknown") in failed(result)
    assert ("ak.chain", "expired") in failed(result)


@pytest.mark.parametrize("scheme", ["rsassa-sha256", "rsapss-sha256", "rsassa-sha384",
                                    "ecdsa-sha384"])
def test_every_scheme_of_the_simulator(scheme, tmp_path):
    leaf = SIMULATOR / f"{scheme}-ak-chain.pem"
    pem = tmp_path / "ak.pem"
    pem.write_text(subprocess.run(["openssl", "x509", "-in", leaf, "-pubkey", "-noout"],
                                  capture_output=True, text=True, check=True).stdout)
    signature = (SIMULATOR / f"{scheme}-tpmt-signature.bin").read_bytes()
    value = {"quote": {"message": b64((SIMULATOR / f"{scheme}-attest.bin").read_bytes()),
                       "signature": b64(signature)},
             "pcrs": {"sha256": {str(i): "00" * 32 for i in range(3)}}}
    nonce = (SIMULATOR / "nonce.hex").read_text().strip()
    status, result = verify(tmp_path, value, nonce, "--trusted-ak", pem)
    assert (status, result["verdict"]) == (0, "trustedQuoteOnly"), result["checks"]
    broken = bytearray(signature)
    broken[-1] ^= 1
    value["quote"]["signature"] = b64(bytes(broken))
    status, result = verify(tmp_path, value, nonce, "--trusted-ak", pem)
    assert status == 1 and failed(result) == {("quote.signature", "signature_invalid")}
    # its certificates are not AK certificates: no 2.23.133.8.3
    value["quote"]["signature"] = b64(signature)
    value["ak"] = {"certificate": b64(pem_to_der(leaf))}
    status, result = verify(tmp_path, value, nonce, "--profile", "tpm", "--trust-anchor",
                            SIMULATOR / f"{scheme}-root.pem")
    assert status == 1 and ("ak.chain", "eku_missing") in failed(result)
    assert status_of(result, "quote.signature") == {"pass"}


def test_a_google_quote_over_sha1_is_not_accepted(tmp_path):
    dump = json.loads((VECTORS / "eventlogs/go-attestation/windows_gcp_shielded_vm.json").read_text())
    quote = dump["Quote"]
    value = {"quote": {"message": quote["Quote"], "signature": quote["Signature"]},
             "pcrs": {"sha1": {str(p["Index"]): base64.b64decode(p["Digest"]).hex()
                               for p in dump["Log"]["PCRs"] if p["DigestAlg"] == 3}},
             "ak": {"public": dump["AK"]["Public"]}}
    ak = tmp_path / "ak.tpmt"
    ak.write_bytes(base64.b64decode(dump["AK"]["Public"]))
    nonce = base64.b64decode(quote["Nonce"]).hex() if quote["Nonce"] else "00"
    status, result = verify(tmp_path, value, nonce, "--trusted-ak", ak)
    assert status == 1
    assert ("quote.selection", "bank_not_allowed") in failed(result)
    # The signature is good, so that its hash is all that refuses it.
    public = base64.b64decode(dump["AK"]["Public"])
    modulus = int.from_bytes(public[-256:], "big")
    signature = base64.b64decode(quote["Signature"])
    assert signature[:6] == bytes.fromhex("001400040100")  # RSASSA, SHA-1, 256 bytes
    rsa.RSAPublicNumbers(65537, modulus).public_key().verify(
        signature[6:], base64.b64decode(quote["Quote"]), padding.PKCS1v15(), hashes.SHA1())
    assert {c.get("reason") for c in result["checks"] if c["name"] == "quote.signature"} == {
        "hash_not_allowed"}, result


def test_requiring_secure_boot_needs_a_log(tmp_path):
    status, result = verify(tmp_path, evidence(TL), tl_nonce(), "--trusted-ak", TL / "ak.pub",
                            "--require-secure-boot")
    assert status == 1 and ("secureBoot", "no_event_log") in failed(result)
