"""`tlgate eventlog` over boot logs of real machines: what their origins say of them is the oracle."""
import base64
import json

import pytest

from vectors import VECTORS, eventlog, failed, needs_vectors, status_of

pytestmark = needs_vectors
LOGS = VECTORS / "eventlogs"

# file, Secure Boot as its origin states it
READABLE = [
    ("go-tpm-tools/rhel8-uefi.bin", True),
    ("go-tpm-tools/ubuntu-2104-no-dbx.bin", False),
    ("go-tpm-tools/ubuntu-2104-no-secure-boot.bin", False),
    ("go-tpm-tools/cos-101-amd-sev.bin", True),
    ("go-tpm-tools/debian-10.bin", True),
    ("go-tpm-tools/glinux-alex.bin", False),
    ("go-tpm-tools/eventlogwithsp800155.bin", True),
    ("go-attestation/sb_cert_eventlog", True),
    ("go-attestation/ebs_event_missing_eventlog", False),
    ("go-attestation/ubuntu_2104_shielded_vm_no_secure_boot_eventlog", False),
    ("tpm2-tools/event-gce-ubuntu-2104-log.bin", False),
    ("tpm2-tools/event-uefi-sha1-log.bin", False),
    ("tpm2-tools/event-moklisttrusted.bin", True),
    ("keylime/binary_bios_measurements-secureboot", True),
    ("qemu-ovmf/debian12-shim-grub-secureboot.bin", True),
]


@pytest.mark.parametrize("name,secure_boot", READABLE)
def test_log_is_consistent_and_tells_secure_boot(name, secure_boot):
    status, result = eventlog(LOGS / name)
    assert status == 0, result["checks"]
    assert result["claims"]["secureBoot"] is secure_boot
    assert result["events"] and not failed(result)


def expectations():
    if not VECTORS.is_dir():
        return []
    found = []
    table = json.loads((LOGS / "go-tpm-tools/expected.json").read_text())
    for name, entry in table.items():
        for bank, pcrs in entry["pcrs"].items():
            found.append((f"go-tpm-tools/{entry['file']}", bank.lower(), pcrs))
    table = json.loads((LOGS / "go-attestation/expected.json").read_text())
    for bank in ("sha1", "sha256"):
        found.append(("go-attestation/sb_cert_eventlog", bank, table["sb_cert_eventlog"][bank]))
    found.append(("go-attestation/ebs_event_missing_eventlog", "sha1",
                  table["ebs_event_missing_eventlog"]["sha1"]))
    return found


@pytest.mark.parametrize("name,bank,pcrs", expectations(),
                         ids=lambda v: v if isinstance(v, str) else "")
def test_log_replays_to_the_origins_pcrs(name, bank, pcrs, tmp_path):
    path = tmp_path / "pcrs.json"
    path.write_text(json.dumps(pcrs))
    status, result = eventlog(LOGS / name, "--pcrs", path, "--bank", bank)
    assert set(result["pcrs"]) == {bank}
    assert "fail" not in status_of(result, "log.replay"), result["checks"]
    late = "ebs_event_missing" in name  # PCR 5 goes on after the log was copied
    for index, value in pcrs.items():
        if index != "10" and not late:  # PCR 10 is IMA's, which has a log of its own
            assert result["pcrs"][bank][index] == value.lower()
    assert ("warn" in status_of(result, "log.replay")) is late
    assert (status == 0) is ("gdc-host" not in name)


def test_one_changed_pcr_is_named(tmp_path):
    pcrs = json.loads((LOGS / "go-tpm-tools/expected.json").read_text())["Rhel8GCE"]["pcrs"]["SHA256"]
    pcrs["7"] = "00" * 32
    path = tmp_path / "pcrs.json"
    path.write_text(json.dumps(pcrs))
    status, result = eventlog(LOGS / "go-tpm-tools/rhel8-uefi.bin", "--pcrs", path)
    assert status == 1
    assert [c["pcr"] for c in result["checks"] if c["status"] == "fail"] == [7]
    assert "secureBoot" not in result["claims"]  # it is PCR 7 that would prove it


def test_version_that_is_not_what_was_measured_is_rejected():
    # go-eventlog: "invalid SCRTM version event for PCR0"
    status, result = eventlog(LOGS / "go-tpm-tools/gdc-host.bin")
    assert status == 1
    assert failed(result) == {("log.content", "digest_mismatch")}


def test_bogus_log_is_not_well_formed():
    status, result = eventlog(LOGS / "keylime/binary_bios_measurements-bogus")
    assert status == 2
    assert {name for name, _ in failed(result)} == {"log.format"}
    assert result["events"] == []


def test_windows_log_replays_in_its_sha1_bank(tmp_path):
    dump = json.loads((LOGS / "go-attestation/windows_gcp_shielded_vm.json").read_text())
    log = tmp_path / "wbcl"
    log.write_bytes(base64.b64decode(dump["Log"]["Raw"]))
    # DigestAlg 3 is Go's crypto.SHA1
    pcrs = {str(p["Index"]): base64.b64decode(p["Digest"]).hex()
            for p in dump["Log"]["PCRs"] if p["DigestAlg"] == 3}
    assert len(pcrs) == 24
    path = tmp_path / "pcrs.json"
    path.write_text(json.dumps(pcrs))
    status, result = eventlog(log, "--pcrs", path)
    assert status == 0, result["checks"]
    assert result["format"] == "sha1" and result["claims"]["secureBoot"] is True


def test_qemu_log_has_the_pcrs_of_its_capture():
    _, result = eventlog(LOGS / "qemu-ovmf/debian12-shim-grub-secureboot.bin")
    pcrs = result["pcrs"]["sha256"]
    assert pcrs["4"].startswith("c2125c97")
    assert pcrs["7"].startswith("75677db6")
    assert pcrs["14"].startswith("b9c97933")
    assert {a["variable"] for a in result["claims"]["bootAuthorities"]} == {
        "db", "SbatLevel", "MokListRT"}


def test_efi_applications_are_the_origins(tmp_path):
    table = json.loads((LOGS / "go-tpm-tools/expected.json").read_text())
    checked = 0
    for name, entry in table.items():
        if name == "GdcHost":  # its origin refuses that log and lists another one's digests
            continue
        for bank, digests in (entry.get("expected_efi_app_digests") or {}).items():
            _, result = eventlog(LOGS / "go-tpm-tools" / entry["file"], "--bank", bank.lower())
            assert [a["digest"] for a in result["claims"]["bootApplications"]] == digests
            checked += 1
    assert checked


def test_a_bank_that_the_log_lacks_is_a_mismatch():
    status, result = eventlog(LOGS / "go-tpm-tools/debian-10.bin", "--bank", "sha256")
    assert status == 1
    assert failed(result) == {("log.replay", "bank_mismatch")}


@pytest.mark.parametrize("name,secure_boot", READABLE)
def test_flipped_secure_boot_is_a_lie_that_replays(name, secure_boot, tmp_path):
    log = bytearray((LOGS / name).read_bytes())
    # 8be4df61-93ca-11d2-aa0d-00e098032b8c, 10 characters, "SecureBoot"
    head = (bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c") + (10).to_bytes(8, "little"))
    at = log.find(head + (1).to_bytes(8, "little") + "SecureBoot".encode("utf-16le"))
    if at < 0:
        assert log.find(head) > 0  # firmware without Secure Boot logs no value to flip
        return
    log[at + 52] ^= 1
    changed = tmp_path / "log"
    changed.write_bytes(log)
    status, result = eventlog(changed)
    assert status == 1
    assert ("log.content", "digest_mismatch") in failed(result)
    assert "secureBoot" not in result["claims"]
