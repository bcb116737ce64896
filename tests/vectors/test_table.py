"""Every file of the vectors has a line here with the outcome that its origin states (INDEX.md there), or
with what it is the oracle of. A file without a line fails, and so does a line without a file."""
import base64
import hashlib
import json
import re
import struct
import subprocess

import pytest

import test_quotes
import test_tokens
from vectors import (VECTORS, b64, eventlog, failed, needs_vectors, pem_to_der, status_of, tlgate,
                     tpmt_rsassa, verify)

pytestmark = needs_vectors
CA, TL, TL2, CVM = test_quotes.CA, test_quotes.TL, test_quotes.TL2, test_quotes.CVM
AT = ("--at", "2026-08-01T00:00:00Z")
ROOT = "CN=Azure Virtual TPM Root Certificate Authority 2023,O=Microsoft Corporation,C=US"


# ---- issuers ------------------------------------------------------------------------------------


def issuer(name, *more):
    """How `tlgate trust list` judges the certificate among all those of the folder."""
    _, result = tlgate("trust", "list", "--trust-dir", CA, "--json", *AT, *more)
    sha256 = hashlib.sha256(pem_to_der(CA / name)).hexdigest()
    return next(i for i in result["issuers"] if i["sha256"] == sha256)


def chain(*names):
    def check(path, _):
        said = issuer(path.name)
        assert said["chain"] == " <- ".join([*names, ROOT]) and not said["anchor"], said
    return check


def pinned_root(path, _):
    said = issuer(path.name)
    assert said["anchor"] and said["chain"] == ROOT and said["notAfter"].startswith("2048-06-01")
    assert said["sha256"].startswith("e6c596b1") and said["sha256"].endswith("b00e95")


def optional_root(path, _):
    assert issuer(path.name)["problem"] == "anchor_unknown"
    said = issuer(path.name, "--legacy-root")
    assert said["anchor"] and "problem" not in said


def expired_root(path, _):
    said = issuer(path.name, "--legacy-root")
    assert said["problem"] in ("expired", "anchor_unknown") and not said["anchor"], said
    assert said["daysLeft"] < 0


# ---- quotes -------------------------------------------------------------------------------------


def quote_of_a_guests_key(_, tmp_path):
    """It verifies with the key of its own, framed or not, and with no other nonce."""
    status, result = verify(tmp_path, test_quotes.evidence(TL), test_quotes.tl_nonce(),
                            "--trusted-ak", TL / "ak.pub")
    assert (status, result["verdict"]) == (0, "trustedQuoteOnly"), result
    digest = hashlib.sha256(b"".join(
        bytes.fromhex(v) for _, v in sorted(result["claims"]["pcrs"]["sha256"].items()))).hexdigest()
    assert digest.startswith("461684441feb6771") and digest.endswith("80fede61")


def serialised_pcrs(path, _):
    """tpm2_quote -o: little-endian; the values are those of the JSON beside it."""
    values = test_quotes.pcrs_of(TL / "pcrs-sha256.json")
    raw = path.read_bytes()
    for value in values.values():
        assert bytes.fromhex(value) in raw


def certificate_of_another_key(path, tmp_path):
    """It chains to the root through CA-03, and must not verify the quote of the guest's own key."""
    der = path.read_bytes() if path.suffix == ".der" else pem_to_der(path)
    assert der == (TL / "akcert_0x01C101D0.der").read_bytes()
    status, result = verify(tmp_path, test_quotes.evidence(TL, certificate=b64(der)),
                            test_quotes.tl_nonce(), "--trust-dir", CA, *AT)
    assert status == 1 and status_of(result, "ak.chain") == {"pass"}, result
    assert ("quote.signature", "signature_invalid") in failed(result)


def second_quote(_, tmp_path):
    """Its origin published no values; signature and nonce verify in both framings, as sent or raw."""
    message = (TL2 / "quote.msg").read_bytes()
    raw = (TL2 / "quote.sig.raw").read_bytes()
    signature = (TL2 / "quote.tpmt-signature").read_bytes()
    assert tpmt_rsassa(raw) == signature
    for sent in (message, struct.pack(">H", len(message)) + message):
        value = {"quote": {"message": b64(sent), "signature": b64(signature)},
                 "pcrs": {"sha256": {"0": "00" * 32}}}
        status, result = verify(tmp_path, value, (TL2 / "nonce.hex").read_text().strip(),
                                "--trusted-ak", TL2 / "ak.pub.pem")
        assert status == 1 and status_of(result, "quote.signature") == {"pass"}, result
        assert status_of(result, "quote.nonce") == {"pass"}
        assert failed(result) == {("quote.pcrDigest", "pcr_value_missing")}, result


def confidential_vm(_, tmp_path):
    """Its real leaf under CA-03, at a time at which it was valid."""
    status, result = verify(tmp_path, test_quotes.cvm(), test_quotes.CVM_NONCE, "--profile",
                            "confidentialVm", "--trust-dir", CA, *test_quotes.CVM_NOW)
    assert (status, result["verdict"]) == (0, "trustedQuoteOnly"), result
    assert not failed(result)
    assert result["claims"]["pcrs"]["sha256"] == test_quotes.pcrs_of(CVM / "pcrs-sha256.json")


def padded_leaf(path, tmp_path):
    image = pem_to_der(path)
    assert len(image) == 4096 and image[1009:] == bytes(3087)
    confidential_vm(path, tmp_path)


def simulator(scheme):
    """The quote verifies with its key; the synthetic chain is no AK's, for want of the usage."""
    return lambda _, tmp_path: test_quotes.test_every_scheme_of_the_simulator(scheme, tmp_path)


def nonce_of(*schemes):
    return lambda path, tmp_path: [simulator(s)(path, tmp_path) for s in schemes]


# ---- tokens -------------------------------------------------------------------------------------


def token(path, _):
    lines = [line for line in test_tokens.LINES if line[0] == path.name]
    assert lines
    for line in lines:
        test_tokens.test_token(*line)


def keys_of_tokens(path, _):
    assert path.name in {line[1] for line in test_tokens.LINES}


def claims_of_the_token(path, _):
    """What the token beside it says, written out."""
    name = path.name.replace(".decoded.json", ".jwt")
    body = (path.parent / name).read_text().strip().split(".")[1]
    told = json.loads(path.read_text())
    said = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    assert told.get("payload", told) == said


def sample_of_the_test_ring(_, tmp_path):
    test_tokens.test_sample_of_the_test_ring_has_a_foreign_issuer(tmp_path)


# ---- logs ---------------------------------------------------------------------------------------


def log(secure_boot):
    def check(path, _):
        status, result = eventlog(path)
        assert status == 0 and not failed(result), result["checks"]
        assert result["claims"]["secureBoot"] is secure_boot
    return check


def log_refused(status, *failures):
    def check(path, _):
        got, result = eventlog(path)
        assert got == status and failed(result) & set(failures), result["checks"]
    return check


def missing_exit_boot_services(path, tmp_path):
    """Its PCR 5 replays only with the ExitBootServices events that the firmware did not log."""
    log(False)(path, tmp_path)
    table = json.loads((path.parent / "expected.json").read_text())[path.name]
    pcrs = tmp_path / "pcrs.json"
    pcrs.write_text(json.dumps(table["sha1"]))
    _, result = eventlog(path, "--pcrs", pcrs, "--bank", "sha1")
    assert status_of(result, "log.replay") == {"warn"}, result["checks"]


def malformed_log(path, _):
    status, result = eventlog(path)
    assert status == 2 and {name for name, _ in failed(result)} == {"log.format"}


def oracle(path, _):
    """What test_eventlogs.py holds the logs against; each of them has a line of its own."""
    for name, entry in json.loads(path.read_text()).items():
        file = entry.get("file", name) if isinstance(entry, dict) else name
        beside = [n for n in LINES if n.startswith(f"eventlogs/{path.parent.name}/{file}")]
        assert beside, name


def google_dump(path, tmp_path):
    """The log replays in its SHA-1 bank with Secure Boot on; its quote of that bank is not accepted."""
    import test_eventlogs
    test_eventlogs.test_windows_log_replays_in_its_sha1_bank(tmp_path)
    test_quotes.test_a_google_quote_over_sha1_is_not_accepted(tmp_path)


# ---- Secure Boot certificates: material without an outcome -------------------------------------


def certificate_file(path, _):
    for form in ("DER", "PEM"):
        done = subprocess.run(["openssl", "x509", "-inform", form, "-in", path, "-noout", "-subject"],
                              capture_output=True)
        if done.returncode == 0:
            return
    raise AssertionError(path)


def revocation_list(path, _):
    """EFI_VARIABLE_AUTHENTICATION_2, then EFI_SIGNATURE_LISTs (UEFI 2.10, 8.2.2 and 32.4.1)."""
    raw = path.read_bytes()
    at = 16 + int.from_bytes(raw[16:20], "little")
    while at < len(raw):
        size = int.from_bytes(raw[at + 16:at + 20], "little")
        assert 28 < size <= len(raw) - at
        at += size


LINES = {
    "azure-ca/azure-virtual-tpm-root-2023.pem": pinned_root,
    "azure-ca/global-virtual-tpm-ca-03.pem": chain("CN=Global Virtual TPM CA - 03"),
    "azure-ca/azure-cloud-virtual-tpm-ca-2025.pem": chain("CN=Azure Cloud Virtual TPM CA 2025"),
    "azure-ca/azure-cloud-virtual-tpm-ca-24.pem":
        chain("CN=Azure Cloud Virtual TPM CA - 24", "CN=Azure Cloud Virtual TPM CA 2025"),
    "azure-ca/microsoft-rsa-devices-root-ca-2021.pem": optional_root,
    "azure-ca/ame-root-ca-2016.pem": expired_root,

    "azure-trustedlaunch-quote/quote.msg": quote_of_a_guests_key,
    "azure-trustedlaunch-quote/quote.sig": quote_of_a_guests_key,
    "azure-trustedlaunch-quote/ak.pub": quote_of_a_guests_key,
    "azure-trustedlaunch-quote/nonce.hex": quote_of_a_guests_key,
    "azure-trustedlaunch-quote/pcrs-sha256.json": quote_of_a_guests_key,
    "azure-trustedlaunch-quote/pcrs.bin": serialised_pcrs,
    "azure-trustedlaunch-quote/akcert_0x01C101D0.der": certificate_of_another_key,
    "azure-trustedlaunch-quote/akcert.pem": certificate_of_another_key,

    "azure-trustedlaunch-quote-20260731/quote.msg": second_quote,
    "azure-trustedlaunch-quote-20260731/quote.tpmt-signature": second_quote,
    "azure-trustedlaunch-quote-20260731/quote.sig.raw": second_quote,
    "azure-trustedlaunch-quote-20260731/ak.pub.pem": second_quote,
    "azure-trustedlaunch-quote-20260731/nonce.hex": second_quote,

    "azure-cvm-globalca03/ak-leaf.pem": padded_leaf,
    "azure-cvm-globalca03/ak.pub.pem": confidential_vm,
    "azure-cvm-globalca03/quote.msg": confidential_vm,
    "azure-cvm-globalca03/quote.sig": confidential_vm,
    "azure-cvm-globalca03/pcrs-sha256.json": confidential_vm,

    "maa/azurevm-sevsnp-windows-sharedweu-2023.jwt": token,
    "maa/azurevm-sevsnp-windows-sharedweu-2023.decoded.json": claims_of_the_token,
    "maa/azurevm-noisolation-windows-sharedeus2-2022.jwt": token,
    "maa/azurevm-noisolation-windows-sharedeus2-2022.decoded.json": claims_of_the_token,
    "maa/truncated.jwt": token,
    "maa/policyresult-rs256-1024bit-2021.jwt": token,
    "maa/jwks-sharedweu-dRKh.json": keys_of_tokens,
    "maa/jwks-policyresult-1024bit.json": keys_of_tokens,
    "maa/sampleAttestationToken-sevsnp.decoded.json": sample_of_the_test_ring,

    "eventlogs/go-attestation/windows_gcp_shielded_vm.json": google_dump,
    "eventlogs/go-attestation/sb_cert_eventlog": log(True),
    "eventlogs/go-attestation/ebs_event_missing_eventlog": missing_exit_boot_services,
    "eventlogs/go-attestation/ubuntu_2104_shielded_vm_no_secure_boot_eventlog": log(False),
    "eventlogs/go-attestation/expected.json": oracle,
    "eventlogs/go-tpm-tools/rhel8-uefi.bin": log(True),
    "eventlogs/go-tpm-tools/ubuntu-2104-no-dbx.bin": log(False),
    "eventlogs/go-tpm-tools/ubuntu-2104-no-secure-boot.bin": log(False),
    "eventlogs/go-tpm-tools/cos-101-amd-sev.bin": log(True),
    "eventlogs/go-tpm-tools/debian-10.bin": log(True),
    "eventlogs/go-tpm-tools/glinux-alex.bin": log(False),
    "eventlogs/go-tpm-tools/eventlogwithsp800155.bin": log(True),
    "eventlogs/go-tpm-tools/gdc-host.bin": log_refused(1, ("log.content", "digest_mismatch")),
    "eventlogs/go-tpm-tools/expected.json": oracle,
    "eventlogs/tpm2-tools/event-gce-ubuntu-2104-log.bin": log(False),
    "eventlogs/tpm2-tools/event-uefi-sha1-log.bin": log(False),
    "eventlogs/tpm2-tools/event-moklisttrusted.bin": log(True),
    "eventlogs/keylime/binary_bios_measurements-secureboot": log(True),
    "eventlogs/keylime/binary_bios_measurements-bogus": malformed_log,
    "eventlogs/qemu-ovmf/debian12-shim-grub-secureboot.bin": log(True),

    **{f"ms-tpm-20-ref-quotes/{scheme}-{part}": simulator(scheme)
       for scheme in ("rsassa-sha256", "rsapss-sha256", "rsassa-sha384", "ecdsa-sha384")
       for part in ("attest.bin", "tpmt-signature.bin", "ak-chain.pem", "root.pem")},
    "ms-tpm-20-ref-quotes/nonce.hex": nonce_of("rsassa-sha256", "ecdsa-sha384"),

    **{f"secureboot-certs/{name}": certificate_file for name in (
        "debian-boothole.crt", "cisco-boothole.crt", "canonical-boothole.crt", "GcePk.crt",
        "MicWinProPCA2011_2011-10-19.crt", "MicCorUEFCA2011_2011-06-27.crt",
        "MicCorKEKCA2011_2011-06-24.crt")},
    **{f"secureboot-certs/{name}": revocation_list for name in (
        "dbxupdate-2014-08-11.bin", "dbxupdate_x64-2020-10-12.bin", "dbxupdate_x64-2021-04-29.bin")},
}


@pytest.mark.parametrize("name", LINES)
def test_vector_gets_its_outcome(name, tmp_path):
    LINES[name](VECTORS / name, tmp_path)


def test_every_file_has_a_line():
    files = {p.relative_to(VECTORS).as_posix() for p in VECTORS.rglob("*") if p.is_file()}
    assert files - {"INDEX.md"} == set(LINES)


def test_every_folder_of_the_index_is_there():
    """The index and the table are about the same vectors."""
    text = (VECTORS / "INDEX.md").read_text()
    named = set(re.findall(r"^## ([\w/-]+)/", text, re.M))
    assert named <= {n.rpartition("/")[0] for n in LINES}, named
