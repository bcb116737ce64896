"""Rules of a policy against a guest whose administrator lies: after boot it may extend every PCR that software
can extend, and send any log that still replays, with events retyped, rewritten or left out. A rule then is
violated or not proven; the same boot told as it was gets the verdict that it deserves.

    @lie({"kernelCommandLines": [ALLOWED]}, "rule_not_proven", of=told)
    def retyped(e):
        ...

`of` makes the boot; the function of the case makes the lie, with the PCRs as they are after `of`. Without `of`
it is the honest boot of made.py. `honest` is what the boot without the lie gets: "trusted", or the reasons of
the policy's findings.
"""
import base64
import dataclasses
import json
import struct

import pytest

import made
from frame import VECTORS, failed
from made import (EV_EFI_ACTION, EV_EFI_BOOT_SERVICES_APPLICATION, EV_EFI_VARIABLE_AUTHORITY, EV_IPL,
                  EV_SEPARATOR)

EV_EVENT_TAG, EV_EVENT_UNKNOWN = 0x6, 0x90000001
QUOTED = tuple(range(9)) + (12, 13, 14)
ALLOWED, EVIL = "root=/dev/sda1 ro", "root=/dev/sda1 rw init=/bin/sh"
CASES = []


@dataclasses.dataclass
class Case:
    name: str
    rules: dict
    reasons: set
    lie: object
    of: object
    honest: set

    def __str__(self):
        return self.name


def lie(rules, *reasons, of=None, honest=()):
    def register(build):
        CASES.append(Case(build.__name__, rules, set(reasons), build, of or (lambda e: None),
                          set(honest)))
        return build
    return register


def judge(rig, e, rules):
    path = rig.folder / "policy.json"
    path.write_text(json.dumps({"scopes": [], "rules": rules}))
    e.args += ["--policy", path]
    return rig.verify(e)[1]


def must_give(result, reasons):
    assert failed(result) == {("policy", r) for r in reasons}, result
    assert result["verdict"] == ("untrusted" if reasons else "trusted"), result


@pytest.mark.parametrize("case", CASES, ids=str)
def test_lie(rig, case):
    e = rig.made_evidence("rsassa", selected=QUOTED)
    case.of(e)
    e.boot()
    must_give(judge(rig, e, case.rules), case.honest)
    e = rig.made_evidence("rsassa", selected=QUOTED)
    case.of(e)
    e.boot()
    case.lie(e)
    must_give(judge(rig, e, case.rules), case.reasons)


def extended(e, *event):
    """After boot the administrator extends this too, and the log says so."""
    e.log.add(*event)
    e.boot()


# ---- command lines ----

LINES = {"kernelCommandLines": [ALLOWED]}


def grub_line(text):
    return 8, EV_IPL, f"kernel_cmdline: {text}\0".encode(), text.encode()


def stub_line(text):
    return 12, EV_IPL, (text + "\0").encode("utf-16-le")


def evil_by_grub(e):
    e.log.events = [x for x in e.log.events if x.pcr != 8]
    e.log.add(*grub_line(EVIL))
    e.log.add(*grub_line(ALLOWED))


def evil_by_stub(e):
    e.log.events = [x for x in e.log.events if x.pcr != 8]
    e.log.add(*stub_line(EVIL))
    e.log.add(*stub_line(ALLOWED))


def evil_by_an_old_stub(e):
    """systemd-stub before 252 measured into PCR 8."""
    e.log.events = [x for x in e.log.events if x.pcr != 8]
    e.log.add(8, EV_IPL, (EVIL + "\0").encode("utf-16-le"))
    e.log.add(*grub_line(ALLOWED))


REFUSED = "kernel_command_line_not_allowed"


@lie(LINES, "rule_not_proven", of=evil_by_grub, honest=[REFUSED])
def line_rewritten(e):
    e.log.of(8)[0].data = b"nothing"


@lie(LINES, "rule_not_proven", of=evil_by_grub, honest=[REFUSED])
def line_retyped(e):
    e.log.of(8)[0].type = EV_EVENT_TAG


@lie(LINES, "rule_not_proven", of=evil_by_grub, honest=[REFUSED])
def pcr_of_the_line_not_quoted(e):
    e.log.add(*stub_line(ALLOWED))
    e.selected = tuple(range(8)) + (12,)
    e.boot()


@lie(LINES, "rule_not_proven", of=evil_by_grub, honest=[REFUSED])
def line_left_out(e):
    extended(e, *stub_line(ALLOWED))
    e.log.events = [x for x in e.log.events if x.pcr != 8]


@lie(LINES, REFUSED, of=evil_by_grub, honest=[REFUSED])
def line_shown_as_a_command(e):
    e.log.of(8)[0].data = b"grub_cmd: " + EVIL.encode()


@lie({"kernelCommandLines": ["/vmlinuz " + ALLOWED]}, REFUSED, honest=[REFUSED],
     of=lambda e: (evil_by_grub(e), e.log.add(*grub_line("/vmlinuz " + EVIL)),
                   e.log.add(*grub_line("/vmlinuz " + ALLOWED)),
                   [e.log.events.remove(x) for x in e.log.of(8)[:2]]))
def line_with_its_kernel_shown_as_a_command(e):
    e.log.of(8)[0].data = b"grub_cmd: /vmlinuz " + EVIL.encode()


@lie(LINES, "rule_not_proven", of=evil_by_stub, honest=[REFUSED])
def stub_line_rewritten(e):
    e.log.of(12)[0].data = "Credentials initrd\0".encode("utf-16-le")


@lie(LINES, "rule_not_proven", of=evil_by_stub, honest=[REFUSED])
def pcr_of_the_stub_line_not_quoted(e):
    e.log.add(*grub_line(ALLOWED))
    e.selected = tuple(range(9))
    e.boot()


@lie(LINES, "rule_not_proven", of=evil_by_an_old_stub, honest=[REFUSED])
def old_stub_line_shown_as_a_command(e):
    e.log.of(8)[0].data = b"grub_cmd: " + e.log.of(8)[0].data


def by_chainloader(e):
    """GRUB starts a kernel by its EFI stub: the arguments stand in no kernel_cmdline, but in the command."""
    e.log.events = [x for x in e.log.events if x.pcr != 8]
    command = f"chainloader /vmlinuz {EVIL}"
    e.log.add(8, EV_IPL, f"grub_cmd: {command}\0".encode(), command.encode())


@lie({"kernelCommandLines": ["/vmlinuz " + ALLOWED]}, REFUSED, of=by_chainloader, honest=[REFUSED])
def line_handed_over_by_chainloader(e):
    extended(e, *grub_line("/vmlinuz " + ALLOWED))


@pytest.mark.parametrize("blank", [" ", "\t", "\n"])
def test_a_star_is_one_parameter(rig, blank):
    """Who may choose the device may not choose what is behind it: blanks are what the kernel takes for one."""
    for glob, reasons in (("root=* ro", [REFUSED]), ("root=??????????????????????? ro", [REFUSED]), ("root=** ro", [])):
        e = rig.made_evidence("rsassa", selected=QUOTED)
        e.log.events = [x for x in e.log.events if x.pcr != 8]
        e.log.add(*grub_line(f"root=/dev/sdb{blank}init=/bin/sh ro"))
        e.boot()
        must_give(judge(rig, e, {"kernelCommandLines": [glob]}), reasons)


@pytest.mark.parametrize("command, reasons", [
    ("! loadfont unicode", []), ("! [ -s /boot/grub/grubenv ]", []), (f"! linux {EVIL}", [REFUSED]),
    (f"! ! linuxefi {EVIL}", [REFUSED]), (f"!{EVIL}", [REFUSED]), (f"! /vmlinuz {EVIL}", [REFUSED])])
def test_an_inverted_command(rig, command, reasons):
    """GRUB measures the word that inverts it, too."""
    e = rig.made_evidence("rsassa", selected=QUOTED)
    e.log.add(8, EV_IPL, f"grub_cmd: {command}\0".encode(), command.encode())
    e.boot()
    must_give(judge(rig, e, LINES), reasons)


def with_a_terminator_inside(e):
    """What the kernel takes ends at the first; systemd-stub measures no further."""
    e.log.events = [x for x in e.log.events if x.pcr != 8]
    e.log.add(12, EV_IPL, "root=/dev/sda1 ro\0 lockdown=integrity\0".encode("utf-16-le"))


@lie({"kernelCommandLines": ["root=* ro ** lockdown=integrity", "root=* ro** lockdown=integrity"]},
     "rule_not_proven", of=with_a_terminator_inside, honest=["rule_not_proven"])
def stub_line_with_a_terminator_inside(e):
    pass


# ---- images ----

IMAGE = b"MZ\x90\0" + bytes(range(256)) * 4  # a small one, as Authenticode hashes it
REVOKED = {"revocations": [{"name": "dbx", "hashes": [made.digest("sha256", IMAGE).hex()]}]}


def revoked_image(e):
    e.log.add(4, EV_EFI_BOOT_SERVICES_APPLICATION, b"\\EFI\\tool.efi", IMAGE)


@lie(REVOKED, "revoked_image_booted", of=revoked_image, honest=["revoked_image_booted"])
def image_shown_as_an_action(e):
    """Its digest is of these bytes, as that of an action is of its text."""
    event = e.log.of(4)[-1]
    event.type, event.data = EV_EFI_ACTION, IMAGE


@lie(REVOKED, "revoked_image_booted", honest=["revoked_image_booted"],
     of=lambda e: e.log.add(2, 0x80000004, b"a driver", IMAGE))
def driver_that_is_revoked(e):
    """Driver0000 is root's to set; the type may be any."""
    e.log.of(2)[-1].type = 0x80000008


# ---- states of Windows ----


def sipa(*events):
    """A trust boundary (wbcl.h) of one-byte events."""
    children = b"".join(struct.pack("<IIB", kind, 1, value) for kind, value in events)
    return struct.pack("<II", 0x40010001, len(children)) + children


def windows(test_signing):
    def boot(e):
        e.log.events = [x for x in e.log.events if x.pcr != 8]
        e.log.add(12, EV_EVENT_TAG, sipa((0x00040001, 0)))
        e.log.add(13, EV_EVENT_TAG, sipa((0x00050003, test_signing), (0x00050002, 1)))
        for pcr in (12, 13):
            e.log.add(pcr, EV_SEPARATOR, b"WBCL")
    return boot


STATES = {"forbiddenStates": ["testSigning", "bootDebugging", "codeIntegrityDisabled"]}


def all_of_windows(e, pcrs=(12, 13)):
    return [x for pcr in pcrs for x in e.log.of(pcr)]


@lie(STATES, "rule_not_proven", of=windows(1), honest=["state_forbidden"])
def everything_of_windows_retyped(e):
    for event in all_of_windows(e):
        event.type = EV_IPL


@lie(STATES, "rule_not_proven", of=windows(1), honest=["state_forbidden"])
def everything_of_windows_rewritten(e):
    for event in all_of_windows(e):
        event.type, event.data = EV_IPL, "sysext\0".encode("utf-16-le")


@lie(STATES, "rule_not_proven", of=windows(1), honest=["state_forbidden"])
def everything_of_windows_left_out(e):
    e.log.events = [x for x in e.log.events if x.pcr < 12]


@lie(STATES, "state_forbidden", of=windows(1), honest=["state_forbidden"])
def windows_says_once_more_that_all_is_well(e):
    extended(e, 13, EV_EVENT_TAG, sipa((0x00050003, 0)))


@lie({"forbiddenStates": ["testSigning"]}, "rule_not_proven", of=lambda e: None)
def resumed_from_hibernation(e):
    """What runs was started by another boot."""
    for pcr, events in ((12, [(0x00040001, 0), (0x00020003, 2)]), (13, [(0x00050008, 0)])):
        e.log.add(pcr, EV_EVENT_TAG, sipa(*events))
        e.log.add(pcr, EV_SEPARATOR, b"WBCL")
    e.boot()


@lie({"forbiddenStates": ["codeIntegrityDisabled"]}, "rule_not_proven", of=windows(0))
def code_integrity_that_was_not_measured(e):
    e.log.of(13)[0].data = sipa((0x00050003, 0))
    e.log.of(13)[0].measure()
    e.boot()


@lie({"forbiddenStates": ["testSigning"]}, "rule_not_proven")
def resumed_and_measured_anew(e):
    """The loader that resumes tells of itself: what it brings back was started by another."""
    for pcr, events in ((12, [(0x00020003, 2)]), (13, [(0x00050003, 0)])):
        e.log.add(pcr, EV_EVENT_TAG, sipa(*events))
        e.log.add(pcr, EV_SEPARATOR, b"WBCL")
    e.boot()


def windows_behind_another(test_signing):
    """A loader of one's own measured a Windows as it should be, and then started one as it should not."""
    def boot(e):
        windows(0)(e)
        for pcr, events in ((12, [(0x00040001, 0)]), (13, [(0x00050003, test_signing)])):
            e.log.add(pcr, EV_EVENT_TAG, sipa(*events))
            e.log.add(pcr, EV_IPL, b"not a separator", b"WBCL")
    return boot


@lie(STATES, "rule_not_proven", "state_forbidden", of=windows_behind_another(1),
     honest=["rule_not_proven", "state_forbidden"])
def windows_behind_another_told(e):
    pass


@lie(STATES, "rule_not_proven", of=windows_behind_another(1), honest=["rule_not_proven", "state_forbidden"])
def windows_behind_another_retyped(e):
    for event in all_of_windows(e):
        if not event.data.startswith((b"WBCL", sipa()[:4])) or event in e.log.of(13)[2:]:
            event.type = EV_IPL


@lie(STATES, of=windows(0))
def windows_that_measures_on_behind_its_separator(e):
    extended(e, 13, EV_EVENT_TAG, sipa((0x00050012, 1)))


@lie(STATES, "state_forbidden", of=windows(0))
def windows_that_measures_a_weakness_behind_its_separator(e):
    extended(e, 12, EV_EVENT_TAG, sipa((0x00050003, 1)))


@lie({"forbiddenStates": ["codeIntegrityDisabled"]}, "rule_not_proven", of=windows(0))
def code_integrity_that_root_measured(e):
    code_integrity_that_was_not_measured(e)
    extended(e, 13, EV_EVENT_TAG, sipa((0x00050002, 1)))


@lie(STATES, "rule_not_proven", of=windows(0))
def pcr_of_windows_not_quoted(e):
    e.selected = tuple(range(9)) + (12,)
    e.requote()


# ---- who vouched, and shim's level ----

SHIM = bytes.fromhex("50ab5d6046e00043abb63dd810dd8b23")  # 605dab50-e046-4300-abb6-3dd810dd8b23
OLD_LEVEL = b"sbat,1,2021030218\nshim,1\ngrub,1\n"
NEW_LEVEL = b"sbat,1,2025021800\nshim,4\ngrub,5\n"
KEY = made.rsa_key()
CA, VENDOR, OTHER = (made.ca_certificate(name, KEY).public_bytes(made.DER)
                     for name in ("Example UEFI CA", "Example Vendor", "Example Other"))


def authority(name, value, guid=SHIM):
    return 7, EV_EFI_VARIABLE_AUTHORITY, made.variable(guid, name, value)


def by_db(certificate):
    return authority("db", bytes(16) + certificate, made.SECURITY)


def by_shim(certificate):
    return authority("Shim", certificate)


def signed_boot(*authorities):
    """Firmware lets shim through by the CA; what follows is shim's, in its order."""
    def boot(e):
        e.log.events.remove(e.log.find(7, EV_EFI_VARIABLE_AUTHORITY))
        for event in (by_db(CA), *authorities):
            e.log.add(*event)
    return boot


def level(value, **more):
    return authority("SbatLevel", value, **more)


by_shim_of = signed_boot(level(OLD_LEVEL), authority("MokListTrusted", b"\1"), by_shim(VENDOR))
without_sbat = signed_boot(by_shim(VENDOR))
SBAT = {"sbatLevel": "2024010900", "sbat": [{"component": "shim", "generation": 4}]}
BELOW, UNPROVEN = ["sbat_below_minimum"], "rule_not_proven"


@lie(SBAT, UNPROVEN, of=by_shim_of, honest=BELOW)
def second_level_extended(e):
    extended(e, *level(NEW_LEVEL))


@lie(SBAT, "sbat_below_minimum", of=by_shim_of, honest=BELOW)
def second_level_under_any_guid(e):
    extended(e, *level(NEW_LEVEL, guid=made.GLOBAL))


@lie(SBAT, UNPROVEN, of=without_sbat, honest=[UNPROVEN])
def level_behind_what_shim_let_through(e):
    extended(e, *level(NEW_LEVEL))


@lie(SBAT, UNPROVEN, of=signed_boot(), honest=[UNPROVEN])
def level_under_another_guid_alone(e):
    extended(e, *level(NEW_LEVEL, guid=made.SECURITY))


@lie(SBAT, "sbat_below_minimum", of=by_shim_of, honest=BELOW)
def level_measured_once_more(e):
    extended(e, *level(OLD_LEVEL))


@lie(SBAT, UNPROVEN, of=signed_boot(level(NEW_LEVEL), by_shim(VENDOR)))
def level_of_a_shim_that_was_told_not_to_ask(e):
    """MokSBState: shim lets everything through. Root needs the console for it, but not our leave."""
    e.args.remove("--require-secure-boot")
    e.log.events.insert(e.log.events.index(e.log.of(7)[-1]), e.log.add(*authority("MokSBState", b"\1")))
    e.log.events.pop()
    e.boot()


@lie({"signers": {"required": ["CN=Example Other"]}}, UNPROVEN, of=by_shim_of,
     honest=["signer_missing"])
def required_signer_extended(e):
    extended(e, *by_db(OTHER))


@lie({"signers": {"required": ["CN=Example Other"], "allowed": ["CN=Example UEFI CA"]}},
     UNPROVEN, "signer_not_allowed", of=by_shim_of, honest=["signer_missing", "signer_not_allowed"])
def required_signer_extended_beside_one_that_is_not_allowed(e):
    extended(e, *by_shim(OTHER))


@lie({"signers": {"required": ["CN=Example UEFI CA"]}}, of=by_shim_of)
def first_authority_is_the_firmwares(e):
    extended(e, *by_shim(OTHER))


@lie({"signers": {"required": ["CN=Example UEFI CA", "CN=Example Vendor"]}}, UNPROVEN, of=by_shim_of)
def stranger_beside_the_required(e):
    extended(e, *by_shim(OTHER))


@lie({"signers": {"allowed": ["CN=Example UEFI CA", "CN=Example Vendor"]}}, "signer_not_allowed",
     of=by_shim_of)
def stranger_beside_the_allowed(e):
    extended(e, *by_shim(OTHER))


@lie({"signers": {"forbidden": ["CN=Example Other"]}}, "signer_forbidden",
     of=signed_boot(by_shim(OTHER)), honest=["signer_forbidden"])
def forbidden_signer_is_not_the_last(e):
    extended(e, *by_shim(VENDOR))


@lie({"signers": {"forbidden": ["CN=Example Other"]}}, UNPROVEN, of=by_shim_of)
def authority_that_nobody_understands(e):
    extended(e, *by_shim(b"\x30\x80" + bytes(20)))


@lie({"signers": {"forbidden": ["CN=Example Other"]}}, UNPROVEN, of=by_shim_of)
def secure_boot_off_and_nobody_vouches(e):
    e.log = made.made_log(secure_boot=False)
    e.args.remove("--require-secure-boot")
    e.boot()


@lie({"revocations": [{"name": "a CA", "certificates": ["00" * 32]}]}, UNPROVEN, of=by_shim_of)
def secure_boot_off_and_what_is_revoked_need_not_vouch(e):
    secure_boot_off_and_nobody_vouches(e)


@lie({"requireSecureBoot": True}, "shim_validation_off", of=by_shim_of)
def shim_lets_everything_through(e):
    e.args.remove("--require-secure-boot")
    extended(e, *authority("MokSBState", b"\1"))


@pytest.mark.skipif(not VECTORS.is_dir(), reason="no vectors")
def test_windows_that_measured_nothing(rig):
    """What vouched signs nothing but Windows."""
    e = rig.made_evidence("rsassa", selected=QUOTED)
    signed_boot()(e)
    e.boot()
    must_give(judge(rig, e, STATES), [])
    e.log.add(*by_db((VECTORS / "secureboot-certs/MicWinProPCA2011_2011-10-19.crt").read_bytes()))
    e.boot()
    must_give(judge(rig, e, STATES), ["rule_not_proven"])


def test_a_real_windows_that_was_told_not_to_measure(rig):
    """bcdedit /set integrityservices disable; its CA is known by the root that this db has."""
    log = real_windows()
    log.events = [x for x in log.events if x.pcr < 11]
    e = rig.made_evidence("rsassa", log, QUOTED)
    must_give(judge(rig, e, STATES), ["rule_not_proven"])


def told(result):
    return {(c["reason"], c["expected"]) for c in result["checks"] if (c["name"], c["status"]) == ("policy", "fail")}


def event_of(e, pcr, n):
    """Number in the log of the PCR's event: the log's head is 0."""
    return 1 + next(i for i, event in enumerate(e.log.events) if event is e.log.of(pcr)[n])


def test_the_event_that_turned_secure_boot_off_is_told(rig):
    for of, name in ((lambda e: setattr(e, "log", made.made_log(secure_boot=False)), "SecureBoot"),
                     (signed_boot(authority("MokSBState", b"\1"), by_shim(VENDOR)), "MokSBState")):
        e = rig.made_evidence("rsassa", selected=QUOTED)
        of(e)
        e.boot()
        event = 1 + next(i for i, x in enumerate(e.log.events) if name.encode("utf-16-le") in x.data)
        said = [c for c in judge(rig, e, {"requireSecureBoot": True})["checks"]
                if (c.get("reason") or "").endswith("_off")]
        assert [(c["name"], c["pcr"], c["event"], c["expected"], c["found"]) for c in said] == [
            ("secureBoot", 7, event, "on", "off"), ("policy", 7, event, "on", "off")], said


def test_the_event_of_a_level_is_told(rig):
    e = rig.made_evidence("rsassa", selected=QUOTED)
    by_shim_of(e)
    e.boot()
    event = 1 + next(i for i, x in enumerate(e.log.events) if "SbatLevel".encode("utf-16-le") in x.data)
    said = [c for c in judge(rig, e, SBAT)["checks"] if c.get("reason") == "sbat_below_minimum"]
    assert said and {(c["pcr"], c["event"]) for c in said} == {(7, event)}, said


def test_each_violated_rule_is_told(rig):
    """Also where two are of one PCR, or by one event."""
    e = rig.made_evidence("rsassa", selected=QUOTED)
    windows(1)(e)
    e.log.of(12)[0].data = sipa((0x00040001, 1))
    e.log.of(12)[0].measure()
    e.boot()
    rules = {**STATES, "signers": {"required": ["CN=Nobody", "CN=Somebody"]}}
    result = judge(rig, e, rules)
    assert told(result) == {
        ("state_forbidden", "not testSigning"), ("state_forbidden", "not bootDebugging"),
        ("signer_missing", "CN=Nobody"), ("signer_missing", "CN=Somebody")}
    places = {(c["expected"], c["pcr"], c["event"]) for c in result["checks"] if c.get("reason") == "state_forbidden"}
    assert places == {("not bootDebugging", 12, event_of(e, 12, 0)), ("not testSigning", 13, event_of(e, 13, 0))}, places
    e = rig.made_evidence("rsassa", selected=QUOTED)
    for pcr, name in ((12, "Credentials initrd"), (12, "Global credentials initrd"), (13, "System extension initrd")):
        e.log.add(pcr, EV_IPL, (name + "\0").encode("utf-16-le"), name.encode())
    e.boot()
    result = judge(rig, e, {**LINES, **STATES})
    states = "forbiddenStates: bootDebugging, testSigning, codeIntegrityDisabled"
    assert [(c["pcr"], c["expected"], c["found"].partition("(")[2].partition(")")[0]) for c in result["checks"]
            if c["status"] == "fail"] == [
        (12, states, "Credentials initrd"), (12, states, "Global credentials initrd"),
        (13, states, "System extension initrd"),
        (12, "kernelCommandLines", "Credentials initrd"), (12, "kernelCommandLines", "Global credentials initrd")]


# ---- what Microsoft's and shim's lists hold besides ----

BOOTMGR, CDBOOT = "01612b139dd5598843ab1c185c3cb2eb92", "019d2ef8e827e15841a4884c18abe2f284"
SHA256_GUID = bytes.fromhex("2616c4c14c509240aca941f936934328")


def svn(loader, major, minor=0):
    """A loader's security version number, as dbx holds it among the hashes."""
    return bytes.fromhex(loader) + struct.pack("<HH", minor, major) + bytes(11)


def with_dbx(e, entries):
    body = b"".join(made.GLOBAL + x for x in entries)
    value = SHA256_GUID + struct.pack("<III", 28 + len(body), 0, 48) + body
    for event in e.log.of(7):
        if "dbx".encode("utf-16-le") in event.data:
            event.data = made.variable(made.SECURITY, "dbx", value)
            event.measure()
    e.boot()


@pytest.mark.parametrize("wanted, held, reasons", [
    ([svn(BOOTMGR, 2)], [svn(BOOTMGR, 2)], []),
    ([svn(BOOTMGR, 2)], [svn(BOOTMGR, 7)], []),
    ([svn(BOOTMGR, 2, 9), svn(CDBOOT, 3)], [svn(BOOTMGR, 3), svn(CDBOOT, 3, 1)], []),
    ([svn(BOOTMGR, 7)], [svn(BOOTMGR, 2), svn(BOOTMGR, 6, 0xFFFF)], ["dbx_incomplete"]),
    ([svn(BOOTMGR, 2)], [svn(CDBOOT, 7)], ["dbx_incomplete"]),
    ([svn(BOOTMGR, 2)], [svn(BOOTMGR, 7)[:-1] + b"x"], ["dbx_incomplete"]),
    ([made.digest("sha256", b"a")], [svn(BOOTMGR, 7)], ["dbx_incomplete"]),
], ids=["same", "later", "later of two", "earlier", "another loader's", "no version", "a hash"])
def test_a_later_security_version_stands_for_earlier_ones(rig, wanted, held, reasons):
    """dbx updates of 2024 on hold them; a guest that was updated later never held the earlier entry."""
    e = rig.made_evidence("rsassa", selected=QUOTED)
    with_dbx(e, held)
    rule = {"name": "dbx", "mustNotBoot": False, "mustBeInDbx": True, "hashes": [x.hex() for x in wanted]}
    must_give(judge(rig, e, {"revocations": [rule]}), reasons)


@pytest.mark.parametrize("guid, name", [(SHIM, "MokListRT"), (SHIM, "vendor_db"), (made.SECURITY, "db")],
                         ids=["MokListRT", "vendor_db", "db"])
def test_shim_by_hash(rig, guid, name):
    """shim measures a hash that let an image through without its owner: nobody signed that image."""
    kernel = made.digest("sha256", b"kernel")
    for rules, reasons in (({"signers": {"forbidden": ["CN=Nobody"]}}, []),
                           ({"signers": {"allowed": ["CN=Example UEFI CA"]}}, ["signer_not_allowed"]),
                           ({"revocations": [{"name": "list", "certificates": ["00" * 32]}]}, []),
                           ({"revocations": [{"name": "list", "hashes": [kernel.hex()]}]}, ["revoked_image_booted"])):
        e = rig.made_evidence("rsassa", selected=QUOTED)
        signed_boot(authority(name, kernel, guid))(e)
        e.boot()
        must_give(judge(rig, e, rules), reasons)


# ---- PCRs that anybody may reset ----


def extended_debug(e):
    e.log.add(16, EV_IPL, b"x")
    e.selected = QUOTED + (16,)


X = made.digest("sha256", b"x").hex()


@lie({"goldenPcrs": [{"name": "a", "pcrs": {"16": made.digest("sha256", bytes(32) + bytes.fromhex(X)).hex()}}]},
     "rule_not_proven", of=extended_debug, honest=["rule_not_proven"])
def golden_value_of_a_pcr_that_can_be_reset(e):
    pass


@lie({"allowedEvents": [{"pcr": 16, "digests": [X]}]},
     "rule_not_proven", of=extended_debug, honest=["rule_not_proven"])
def events_of_a_pcr_that_can_be_reset(e):
    pass


# ---- boots that are honest ----

LOGS = {"rhel8": ("go-tpm-tools/rhel8-uefi.bin", True),
        "cos": ("go-tpm-tools/cos-101-amd-sev.bin", True),
        "sp800-155": ("go-tpm-tools/eventlogwithsp800155.bin", True),
        "debian12": ("qemu-ovmf/debian12-shim-grub-secureboot.bin", True),
        "ubuntu": ("tpm2-tools/event-gce-ubuntu-2104-log.bin", False),
        "ubuntu-no-dbx": ("go-tpm-tools/ubuntu-2104-no-dbx.bin", False),
        "rhel9": ("tpm2-tools/event-moklisttrusted.bin", True),
        "keylime": ("keylime/binary_bios_measurements-secureboot", True)}


@pytest.mark.parametrize("name", LOGS)
def test_an_honest_boot_of_a_real_machine_keeps_the_rules(rig, name):
    if not VECTORS.is_dir():
        pytest.skip(f"no vectors in {VECTORS}")
    path, secure_boot = LOGS[name]
    log = made.Log.parse((VECTORS / "eventlogs" / path).read_bytes())
    e = rig.made_evidence("rsassa", log, QUOTED)
    rules = {"kernelCommandLines": ["**"],
             "forbiddenStates": ["testSigning", "kernelDebugging", "uefiDebugMode"]}
    if secure_boot:
        rules["signers"] = {"forbidden": ["CN=Nobody"]}
        rules["revocations"] = [{"name": "none", "certificates": ["00" * 32]}]
    else:
        e.args.remove("--require-secure-boot")
    if "SbatLevel".encode("utf-16-le") in log.encode() and secure_boot:
        rules["sbatLevel"] = "2021030218"
    must_give(judge(rig, e, rules), [])


def real_windows():
    """A real machine's events (a log of SHA-1) as its firmware would have measured them with SHA-256."""
    if not VECTORS.is_dir():
        pytest.skip(f"no vectors in {VECTORS}")
    dump = json.loads((VECTORS / "eventlogs/go-attestation/windows_gcp_shielded_vm.json").read_text())
    raw, log, at = base64.b64decode(dump["Log"]["Raw"]), made.Log(made.spec_id(), []), 0
    while at < len(raw):
        pcr, kind = struct.unpack_from("<II", raw, at)
        size = int.from_bytes(raw[at + 28:at + 32], "little")
        log.add(pcr, kind, raw[at + 32:at + 32 + size])
        at += 32 + size
    return log


WINDOWS = {"forbiddenStates": ["bootDebugging", "kernelDebugging", "testSigning", "flightSigning", "safeMode",
                               "winPE", "hypervisorDebugging", "codeIntegrityDisabled"],
           "signers": {"required": ["CN=Microsoft Root Certificate Authority 2010"],
                       "forbidden": ["CN=Nobody"]}}


def test_a_real_windows_keeps_the_rules_until_its_events_are_called_something_else(rig):
    e = rig.made_evidence("rsassa", real_windows(), QUOTED)
    must_give(judge(rig, e, WINDOWS), [])
    e = rig.made_evidence("rsassa", real_windows(), QUOTED)
    for event in e.log.events:
        if event.pcr > 10:
            event.type = EV_IPL
    must_give(judge(rig, e, WINDOWS), ["rule_not_proven"])
