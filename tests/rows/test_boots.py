"""Whole boots that no vector holds, through `tlgate verify`: a unified kernel image under systemd-boot, a Windows
with its protections on, firmware with known deviations; and a boot that was tampered with, explained in words as in
its golden file (tests/rows/golden/NAME.txt; with TLGATE_GOLDEN=write the files are written anew, to be read by a
person before they are committed)."""
import json
import os
import pathlib
import struct
import subprocess

import pytest

import made
import rows_log
from frame import failed, lines
from made import (EV_EFI_ACTION, EV_EFI_BOOT_SERVICES_APPLICATION, EV_EFI_VARIABLE_DRIVER_CONFIG,
                  EV_IPL, EV_SEPARATOR, GLOBAL)
from vectors import BIN

GOLDEN = pathlib.Path(__file__).resolve().parent / "golden"
EV_EVENT_TAG, EV_POST_CODE, EV_EFI_VARIABLE_BOOT = 0x6, 0x1, 0x80000002
QUOTED = tuple(range(9)) + (11, 12, 13)


def judged(rig, e):
    e.boot()
    status, result = rig.verify(e)
    assert status == 0 and result["verdict"] == "trusted" and not failed(result), result
    return result


def evidence(rig):
    """The honest boot without GRUB's command line."""
    e = rig.made_evidence("rsassa", selected=QUOTED)
    e.log.events = [x for x in e.log.events if x.pcr != 8]
    return e


def wide(text):
    return (text + "\0").encode("utf-16-le")


# ---- systemd-boot and a unified kernel image (systemd-stub(7), "TPM PCR Notes") ----

LINE = "root=/dev/sda2 ro quiet"


def unified(e):
    e.log.add(4, EV_EFI_BOOT_SERVICES_APPLICATION, b"\\EFI\\systemd-bootx64.efi", b"of systemd-boot")
    e.log.add(4, EV_EFI_BOOT_SERVICES_APPLICATION, b"\\EFI\\Linux\\linux.efi", b"of the image")
    for section in (".linux", ".osrel", ".cmdline", ".initrd", ".uname"):
        e.log.add(11, EV_IPL, wide(section), (section + "\0").encode())
        e.log.add(11, EV_IPL, wide(section), b"content of " + section.encode())
    e.log.add(12, EV_IPL, wide(LINE))


def with_policy(rig, e, **rules):
    path = rig.folder / "policy.json"
    path.write_text(json.dumps({"scopes": [], "rules": rules}))
    e.args += ["--policy", path]
    return e


def test_unified_kernel_image(rig):
    e = with_policy(rig, evidence(rig), kernelCommandLines=["root=/dev/sda? ro **"],
                    forbiddenStates=["testSigning"])
    unified(e)
    result = judged(rig, e)
    assert result["claims"]["kernelCommandLines"] == [
        {"event": len(e.log.events), "source": "systemd-stub", "text": LINE}]
    assert result["claims"]["kernelCommandLine"] == LINE
    assert [a["digest"] for a in result["claims"]["bootApplications"]] == [
        made.digest("sha256", x).hex() for x in (b"Authenticode of shim", b"of systemd-boot",
                                                 b"of the image")]


def test_unified_kernel_image_with_credentials_is_not_understood(rig):
    """Their digest is of an archive that no log holds: it could be a command line."""
    e = with_policy(rig, evidence(rig), kernelCommandLines=["**"])
    unified(e)
    e.log.add(12, EV_IPL, wide("Credentials initrd"), b"a cpio archive")
    e.boot()
    _, result = rig.verify(e)
    assert failed(result) == {("policy", "rule_not_proven")}, result
    assert "kernelCommandLine" not in result["claims"]
    [told] = [c for c in result["checks"] if c["status"] == "fail"]
    assert told["pcr"] == 12 and told["event"] == len(e.log.events), told
    assert made.digest("sha256", b"a cpio archive").hex() in told["found"], told


CREDENTIALS = {"name": "credentials of the image", "digest": made.digest("sha256", b"a cpio archive").hex()}
EXTENSION = {"name": "extension", "digest": made.digest("sha256", b"an extension").hex()}


@pytest.mark.parametrize("known, line, reasons", [
    ([CREDENTIALS, EXTENSION], LINE, []),
    ([CREDENTIALS], LINE, ["rule_not_proven"]),  # the states of Windows: it could have measured this
    ([CREDENTIALS, EXTENSION], LINE + " init=/bin/sh", ["kernel_command_line_not_allowed"]),
])
def test_unified_kernel_image_with_what_the_policy_names(rig, known, line, reasons):
    """The digest of what is meant to be there is the operator's word for what it is of."""
    e = with_policy(rig, evidence(rig), kernelCommandLines=["root=/dev/sda? ro quiet"],
                    forbiddenStates=["testSigning", "safeMode"], knownImages=known)
    unified(e)
    e.log.of(12)[0].data = wide(line)
    e.log.of(12)[0].measure()
    e.log.add(12, EV_IPL, wide("Credentials initrd"), b"a cpio archive")
    e.log.add(13, EV_IPL, wide("System extension initrd"), b"an extension")
    e.boot()
    _, result = rig.verify(e)
    assert failed(result) == {("policy", r) for r in reasons}, result
    assert result["verdict"] == ("untrusted" if reasons else "trusted")
    for told in (c for c in result["checks"] if c.get("reason") == "rule_not_proven"):
        assert told["pcr"] == 13 and told["expected"] == "forbiddenStates: testSigning, safeMode", told


def test_a_hidden_line_is_not_what_the_policy_names(rig):
    """An event that says it is of the credentials, and is of a command line."""
    e = with_policy(rig, evidence(rig), kernelCommandLines=["**ro quiet"], knownImages=[CREDENTIALS])
    unified(e)
    e.log.add(12, EV_IPL, wide("Credentials initrd"), wide("root=/dev/sdb init=/bin/sh"))
    e.boot()
    assert failed(rig.verify(e)[1]) == {("policy", "rule_not_proven")}


# ---- Windows ----


def tagged(*events):
    """A trust boundary (wbcl.h) of events, each a type and its value."""
    children = b"".join(struct.pack("<II", kind, len(value)) + value for kind, value in events)
    return struct.pack("<II", 0x40010001, len(children)) + children


def windows(e):
    e.log.add(11, EV_EVENT_TAG, tagged((0x00020005, struct.pack("<I", 0x14))))
    e.log.add(12, EV_EVENT_TAG, tagged(
        (0x00020005, struct.pack("<I", 0x14)), (0x00040001, b"\0"), (0x00020002, struct.pack("<Q", 7))))
    e.log.add(13, EV_EVENT_TAG, tagged(
        (0x00050002, b"\1"), (0x00050012, b"\1"), (0x000A0001, b"\1"), (0x000A0007, b"\1"),
        (0x00050030, b"\1"), (0x00050009, wide("\\Windows")), (0x00050003, b"\0")))
    for pcr in (11, 12, 13):
        e.log.add(pcr, EV_SEPARATOR, b"WBCL")


STRONG = {"codeIntegrity": True, "vbs": True, "vbsRequired": True, "hvci": True,
          "hypervisorBootDmaProtection": True, "testSigning": False, "bootDebugging": False,
          "bitLockerUnlock": ["tpm", "pin"], "bootCount": 7, "systemRoot": "\\Windows"}


def test_windows_with_its_protections(rig):
    e = with_policy(rig, evidence(rig), forbiddenStates=["testSigning", "codeIntegrityDisabled", "winPE"])
    windows(e)
    claims = judged(rig, e)["claims"]["windows"]
    assert STRONG.items() <= claims.items(), claims
    assert "kernelDebugging" not in claims  # was not measured


@pytest.mark.parametrize("pcr, cap, fails", [
    (11, b"\xff\xff\0\0", set()), (14, bytes(4), set()), (12, bytes(4), {("log.content", "separator_value")})])
def test_windows_caps_of_other_pcrs(rig, pcr, cap, fails):
    """What ends a PCR from which nothing is claimed is no concern of ours."""
    e = evidence(rig)
    windows(e)
    e.log.events = [x for x in e.log.events if (x.pcr, x.type) != (pcr, EV_SEPARATOR)]
    e.log.add(pcr, EV_SEPARATOR, cap)
    e.boot()
    assert failed(rig.verify(e)[1]) - {("secureBoot", "not_proven")} == fails


def test_windows_with_its_protections_off(rig):
    e = evidence(rig)
    windows(e)
    for event in e.log.of(13):
        event.data = event.data.replace(struct.pack("<IIB", 0x000A0007, 1, 1),
                                        struct.pack("<IIB", 0x000A0007, 1, 0))
        event.measure()
    claims = judged(rig, e)["claims"]["windows"]
    assert {**STRONG, "hvci": False}.items() <= claims.items(), claims


# ---- firmware ----


def test_dma_protection_that_was_off(rig):
    e = evidence(rig)
    assert "dmaProtection" not in judged(rig, e)["claims"]
    e.log.events.insert(1, e.log.add(7, EV_EFI_ACTION, b"DMA Protection Disabled"))
    e.log.events.pop()
    assert judged(rig, e)["claims"]["dmaProtection"] is False
    e = with_policy(rig, e, forbiddenStates=["dmaProtectionDisabled"])
    assert failed(rig.verify(e)[1]) == {("policy", "state_forbidden")}


def test_a_separators_digest_of_firmware_code(rig):
    """Boot Guard's post code is of something that the log does not hold; only such types may have it."""
    e = evidence(rig)
    e.log.events.insert(1, e.log.add(0, EV_POST_CODE, b"Boot Guard Measured S-CRTM", bytes(4)))
    e.log.events.pop()
    assert ("log.content", "separator_digest_of_data") in lines(judged(rig, e), "warn")
    e.log.events[1].type = EV_EVENT_TAG
    e.boot()
    assert failed(rig.verify(e)[1]) == {("log.content", "retyped_separator")}


def test_a_variable_that_was_measured_by_its_value(rig):
    e = evidence(rig)
    boot = made.variable(GLOBAL, "Boot0000", b"\1\0\0\0 a boot entry")
    e.log.events.insert(1, e.log.add(1, EV_EFI_VARIABLE_BOOT, boot, b"\1\0\0\0 a boot entry"))
    e.log.events.pop()
    assert not lines(judged(rig, e), "warn")  # right for this type
    e.log.events[1].type = EV_EFI_VARIABLE_DRIVER_CONFIG
    assert ("log.content", "boot_variable_value_only") in lines(judged(rig, e), "warn")
    e.log.events[1].data = rows_log.flipped(e.log.events[1])
    e.boot()
    assert failed(rig.verify(e)[1]) == {("log.content", "digest_mismatch")}


# ---- in words ----


def line_that_hides(e):
    """init=/bin/sh was booted; its event is rewritten, and an allowed line extended after it."""
    e.log.add(8, EV_IPL, b"kernel_cmdline: /vmlinuz ro init=/bin/sh\0", b"/vmlinuz ro init=/bin/sh")
    e.log.add(8, EV_IPL, b"kernel_cmdline: /vmlinuz ro\0", b"/vmlinuz ro")
    e.boot()
    e.log.of(8)[1].data = b"nothing"


@pytest.mark.parametrize("name, tamper, rules", [
    ("command_line_changed", rows_log.command_line_changed, {}),
    ("secure_boot_flipped", rows_log.secure_boot_flipped_digest_kept, {"requireSecureBoot": True}),
    ("line_that_hides", line_that_hides, {"kernelCommandLines": ["/vmlinuz ro", "root=**"]}),
])
def test_a_tampered_boot_is_explained(rig, name, tamper, rules):
    e = with_policy(rig, rig.made_evidence("rsassa", selected=QUOTED), **rules)
    tamper(e)
    path = rig.folder / "evidence.json"
    path.write_text(json.dumps(e.render()))
    done = subprocess.run([BIN / "tlgate", "verify", path, "--nonce", e.nonce.hex(), "--explain",
                           *map(str, e.args)], capture_output=True, text=True, timeout=60)
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("TLGATE_GOLDEN") == "write":
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(done.stdout)
    assert done.returncode == 1 and not done.stderr
    assert done.stdout == golden.read_text()
