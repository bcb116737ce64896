"""`tlgate eventlog` over boot logs of real machines: what their origins say of them is the oracle."""
import base64
import json
import re

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


# What a person would read in the logs themselves: shim's SBAT revision, the common names of the
# certificates that vouched, and what each application was vouched for with (None: not said).
TOLD = [
    ("qemu-ovmf/debian12-shim-grub-secureboot.bin", 2025021800,
     ["Microsoft Corporation UEFI CA 2011", "Debian Secure Boot CA"], [0, 2, None, None]),
    ("keylime/binary_bios_measurements-secureboot", 2023012900,
     ["Microsoft Corporation UEFI CA 2011", "Red Hat Secure Boot CA 5"], [0, 2, None]),
    ("go-tpm-tools/rhel8-uefi.bin", None,
     ["Microsoft Corporation UEFI CA 2011", "Red Hat Secure Boot CA 5"], [0, 1, None]),
    ("go-tpm-tools/debian-10.bin", None,
     ["Microsoft Corporation UEFI CA 2011", "Debian Secure Boot CA"], [0, 1, None]),
    ("go-attestation/sb_cert_eventlog", None,
     ["Microsoft Corporation UEFI CA 2011", "Canonical Ltd. Master Certificate Authority"], [0, 1, 1]),
]


def common_name(x509):
    return re.search(r"CN=([^,]+)", x509["subject"])[1]


@pytest.mark.parametrize("name,revision,signers,authorities", TOLD)
def test_boot_is_told(name, revision, signers, authorities):
    claims = eventlog(LOGS / name)[1]["claims"]
    assert claims.get("sbatLevel", {}).get("revision") == revision
    assert [common_name(a["x509"]) for a in claims["bootAuthorities"] if "x509" in a] == signers
    assert [a.get("authority") for a in claims["bootApplications"]] == authorities


# SHA-256 of the DER files in secureboot-certs
KEK_2011 = "a1117f516a32cefcba3f2d1ace10a87972fd6bbe8fe0d0b996e09e65d802a503"
UEFI_CA_2011 = "48e99b991f57fc52f76149599bff0a58c47154229b9f8d603ac40d3500248507"


def test_databases_are_told():
    claims = eventlog(LOGS / "go-tpm-tools/rhel8-uefi.bin")[1]["claims"]["secureBootVariables"]
    assert [c["sha256"] for c in claims["KEK"]["x509"]] == [KEK_2011]
    assert UEFI_CA_2011 in [c["sha256"] for c in claims["db"]["x509"]]
    assert claims["dbx"]["hashes"] == 183 and claims["dbx"]["certificates"] == 3
    ca = next(c for c in claims["db"]["x509"] if c["sha256"] == UEFI_CA_2011)
    assert (ca["serial"], ca["key"]) == ("6108d3c4000000000004", "RSA-2048")
    assert (ca["notBefore"], ca["notAfter"]) == ("2011-06-27T21:22:45.000Z",
                                                 "2026-06-27T21:32:45.000Z")


def decoded(name):
    return {e["index"]: e.get("decoded", {}) for e in eventlog(LOGS / name)[1]["events"]}


def test_events_are_decoded():
    d = decoded("go-tpm-tools/eventlogwithsp800155.bin")
    assert d[1]["platformModel"] == "Google Compute Engine"
    assert d[3]["text"] == "GCE Virtual Firmware v2"
    assert d[14]["bootOrder"] == ["Boot0001", "Boot0000"]
    assert d[15]["devicePath"] == "PciRoot(0x0)/Pci(0x3,0x0)/Scsi(0x1,0x0)"
    assert [p["name"] for p in d[26]["partitions"]][:2] == ["STATE", "KERN-A"]
    assert d[27]["devicePath"].endswith("/\\EFI\\BOOT\\BOOTX64.EFI")
    d = decoded("go-tpm-tools/gdc-host.bin")
    assert d[1]["locality"] == 3
    assert d[155] == {"tag": "linuxCommandLine", "text": "LOADED_IMAGE::LoadOptions"}
    assert d[4] == {"base": "0xffdc0000", "length": "0x230000"}


def test_no_structure_of_a_real_log_is_called_malformed():
    for name, _ in READABLE:
        assert not [d for d in decoded(name).values() if "malformed" in json.dumps(d)], name


def test_windows_tells_its_states(tmp_path):
    dump = json.loads((LOGS / "go-attestation/windows_gcp_shielded_vm.json").read_text())
    log = tmp_path / "wbcl"
    log.write_bytes(base64.b64decode(dump["Log"]["Raw"]))
    status, result = eventlog(log)
    windows = result["claims"]["windows"]
    assert status == 0
    for state in ("bootDebugging", "kernelDebugging", "testSigning", "flightSigning", "safeMode",
                  "winPE", "vbs"):
        assert windows[state] is False
    assert windows["codeIntegrity"] and windows["elam"] and windows["dataExecutionPrevention"]
    assert (windows["bootCount"], windows["transferControl"]) == (4, 1)
    assert (windows["systemRoot"], windows["elamDriver"]) == ("\\Windows", "Windows Defender")
    assert "hvci" not in windows  # not measured is not false
    assert windows["modules"] > 100 and windows["bitLockerUnlock"] == []


@pytest.mark.parametrize("kind,value", [("00040001", "bootDebugging"), ("00050003", "testSigning"),
                                        ("00050002", "codeIntegrity")])
def test_a_flipped_state_of_windows_is_a_lie_that_replays(kind, value, tmp_path):
    dump = json.loads((LOGS / "go-attestation/windows_gcp_shielded_vm.json").read_text())
    raw = bytearray(base64.b64decode(dump["Log"]["Raw"]))
    at = raw.index(bytes.fromhex(kind)[::-1] + (1).to_bytes(4, "little"))
    raw[at + 8] ^= 1
    log = tmp_path / "wbcl"
    log.write_bytes(raw)
    status, result = eventlog(log)
    assert status == 1 and ("log.content", "digest_mismatch") in failed(result)
    assert "windows" not in result["claims"]


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
