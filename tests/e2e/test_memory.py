"""No body makes the process grow by more than 4 MiB, whatever is in it.

The real gateway over TLS; the peak is the kernel's (VmHWM, set back before each body). The release build
is asked: a sanitizer's memory says nothing. (tests/unit/attest_memory_test.c counts the heap of decoding
and judging with more bodies, allocation by allocation.)"""
import base64
import json
import pathlib
import struct
import sys

import pytest

import load
from guest import b64, to_cbor
from stack import ROOT, SUBSCRIPTION, Vm

sys.path.insert(0, str(ROOT / "tests/rows"))

import made  # noqa: E402  (needs the path above)

BODY_MAX, LOG_MAX, GROWS_MAX_KIB = 256 * 1024, 128 * 1024, 4 * 1024
POLICY_MAX, ACTIVATION_MAX = 128 * 1024, 96 * 1024
REPORTS, ACTIVATIONS, POLICY = ("/v1/attestation/" + p for p in (
    "reports", "activations", "policies/memory"))
JSON, CBOR = "application/json", "application/cbor"
OPTIONS = {"TLGATE_LIMITS_ATTESTATION_VM_PER_SECOND": "0"}

pytestmark = pytest.mark.skipif(not load.IS_RELEASE, reason="the release build is not there")


def filled(head, part, tail=b""):
    return head + part * ((BODY_MAX - len(head) - len(tail)) // len(part)) + tail


# ---- bodies that are no evidence ----

TEXTS = [
    ("arrays in arrays", JSON, filled(b"", b"[")),
    ("objects in objects", JSON, filled(b"", b'{"a":')),
    ("an unknown member of many numbers", JSON, filled(b'{"x":[0', b",0", b"]}")),
    ("many objects", JSON, filled(b'{"x":[{}', b",{}", b"]}")),
    ("many texts", JSON, filled(b'{"x":[""', b',""', b"]}")),
    ("as many objects as are let pass", JSON, b'{"x":[' + b",".join(
        [b'{"a":"%s"}' % (b"x" * 55)] * 4094) + b"]}"),
    ("objects in an object", JSON, b'{"x":{' + b",".join(
        b'"%x":{}' % i for i in range(BODY_MAX))[:BODY_MAX - 8] + b"}}"),
    ("unknown members", JSON, filled(b"{", b'"a":1,', b'"b":1}')),
    ("a string of escapes", JSON, filled(b'{"challengeId":"', b"\\u0041", b'"}')),
    ("a string of pairs of escapes", JSON, filled(b'{"vmId":"', b"\\ud83d\\ude00", b'"}')),
    ("base64 without end", JSON, filled(b'{"eventLog":"', b"A")),
    ("base64 of zeros", JSON, filled(b'{"eventLog":"', b"AAAA", b'"}')),
    ("a chain of nothing", JSON, filled(b'{"ak":{"chain":["', b'","', b'"]}}')),
    ("PCRs again and again", JSON, filled(b'{"pcrs":{"sha256":{', b'"0":"",', b'"1":""}}}')),
    ("banks again and again", JSON, filled(b'{"pcrs":{', b'"sha1":{},', b'"x":{}}}')),
    ("blanks", JSON, filled(b"{", b" ", b"}")),
    ("what is not UTF-8", JSON, filled(b'{"vmId":"', b"\xff", b'"}')),
    ("CBOR arrays in arrays", CBOR, filled(b"", b"\x81")),
    ("CBOR maps in maps", CBOR, filled(b"", b"\xa1\x60")),
    ("indefinite CBOR", CBOR, filled(b"", b"\x9f")),
    ("tags of tags", CBOR, filled(b"", b"\xd9\xd9\xf7")),
    ("a map of 2^63 pairs", CBOR, filled(b"\xbb\x7f" + b"\xff" * 7, b"\x60\x60")),
    ("an array of 2^56 items", CBOR, filled(b"\x9b\x01" + b"\1" * 7, b"\xf6")),
    ("a string of 4 GiB", CBOR, filled(b"\xa1\x68eventLog\x5a" + b"\xff" * 4, b"\x41")),
    ("a chain of 2^28", CBOR, filled(b"\xa1\x62ak\xa1\x65chain\x9a\x10\1\1\1", b"\x40")),
    ("PCRs of 2^32", CBOR, filled(b"\xa1\x64pcrs\xa1\x66sha256\xba" + b"\xff" * 4, b"\0\x40")),
    ("zeros", CBOR, bytes(BODY_MAX)),
]

# ---- evidence: the VM's own quote, and around it what it does not cover ----

BANKS = ("sha1", "sha256", "sha384", "sha512")


def event(pcr, kind, data=b"", measured=None, banks=("sha256",)):
    found = made.Event(pcr, kind, [(made.ALG[b], b"") for b in banks], data)
    found.measure(measured)
    return found.encode()


def log_of(one, banks=("sha256",), most=4096):
    """As many of the event as a log may have."""
    head = made.spec_id(banks)
    return head + one * min(most - 1, (LOG_MAX - len(head)) // len(one))


def lists(count, size):
    body = made.GLOBAL + bytes(range(16)) * (size // 16)
    return made.X509_GUID + struct.pack("<III", 28 + count * len(body), 0, len(body)) + body * count


def nested(depth):
    inner = b"\2\0\5\0\1\0\0\0\1"
    for _ in range(depth):
        inner = struct.pack("<II", 0x40010001, len(inner)) + inner
    return inner


def certificates(size=8192):
    """A chain as long as it may be, each certificate as large as it may be."""
    key = made.rsa_key()
    one = made.certificate("x" * 64, key.public_key(), None, key, eku=(),
                           aia=["http://" + "a" * 200 + str(i) for i in range(30)])
    raw = one.public_bytes(made.DER)
    assert len(raw) <= size, len(raw)
    return [b64(raw)] * 6


def logs():
    variable = made.variable
    yield "many tiny events", log_of(event(3, made.EV_SEPARATOR))
    yield "tiny events of every bank", log_of(event(3, made.EV_SEPARATOR, banks=BANKS), BANKS)
    yield "unknown types", log_of(event(7, 0x99999999, b"x"))
    yield "texts of GRUB", log_of(event(8, made.EV_IPL, b"kernel_cmdline: x\0", b"x"))
    yield "one text", log_of(event(8, made.EV_IPL, b"kernel_cmdline: " + b"x" * 130000))
    yield "applications", log_of(event(4, made.EV_EFI_BOOT_SERVICES_APPLICATION, bytes(32)))
    yield "SecureBoot again and again", log_of(event(
        7, made.EV_EFI_VARIABLE_DRIVER_CONFIG, variable(made.GLOBAL, "SecureBoot", b"\1")))
    yield "a dbx of small entries", log_of(event(
        7, made.EV_EFI_VARIABLE_DRIVER_CONFIG, variable(made.SECURITY, "dbx", lists(2600, 32))))
    yield "certificates that are none", log_of(event(
        7, made.EV_EFI_VARIABLE_DRIVER_CONFIG, variable(made.SECURITY, "db", lists(30, 4096))))
    yield "nested Windows events", log_of(event(12, 6, nested(3)))
    yield "Windows events too deep", log_of(event(12, 6, nested(1000)))
    yield "zeros behind the log", log_of(event(3, 4)).ljust(LOG_MAX, b"\0")


def evidence():
    """(name, what is different from an honest report)"""
    for name, raw in logs():
        yield name, {"eventLog": b64(raw)}
    yield "a chain of large certificates", {"chain": certificates()}
    yield "a chain of zeros", {"chain": [b64(bytes(8192))] * 6}
    yield "a chain that says it is longer", {"chain": [b64(b"\x30\x84\xff\xff\xff\xff" + bytes(8000))] * 6}
    yield "an attested document of zeros", {"enrollment": {"attestedDocument": b64(bytes(16384))}}
    yield "an attested document of sequences", {
        "enrollment": {"attestedDocument": b64(b"\x30\x80" * 8192)}}
    yield "a token of brackets", {"maaToken": "e30." + base64.urlsafe_b64encode(
        b"[" * 12000).decode() + ".e30"}


@pytest.fixture(scope="module")
def gateway(folder):
    emulator = load.emulator_of(folder / "memory-e", [SUBSCRIPTION], 0.01)
    emulator.settings(lroSeconds=0.2, retryAfter=0)
    running = load.Gateway(folder / "memory", emulator, TLGATE_ATTESTATION_MAA_ISSUER=emulator.url,
                           TLGATE_ATTESTATION_EK_TRUST_ANCHOR=str(emulator.ca), **OPTIONS)
    yield running
    running.close()
    emulator.close()


@pytest.fixture(scope="module")
def vm(gateway):
    vm = Vm(gateway, "vm1")
    assert send(vm, REPORTS, CBOR, to_cbor(report(vm, {}, vm.token))) == 200
    return vm


def report(vm, changes, token=None):
    given = vm.api.post("/v1/attestation/challenges", {"vmId": vm.vm_id}).json
    sent = vm.guest.report(given, token)
    sent["ak"].update({k: v for k, v in changes.items() if k == "chain"})
    sent.update({k: v for k, v in changes.items() if k != "chain"})
    return sent


def send(vm, path, kind, body, method="POST"):
    return vm.api.request(method, path, body, {"Content-Type": kind}, check=False).status


class Growth:
    """By how many KiB the process was larger, at its peak, than before the first of the bodies: what one
    of them leaves behind is no excuse for the next."""

    def __init__(self, pid):
        self.pid, self.worst = pid, (0, "")
        self.start = load.memory_kib(pid, "VmRSS")

    def of(self, name, call):
        pathlib.Path(f"/proc/{self.pid}/clear_refs").write_text("5")  # VmHWM begins anew
        status = call()
        grown = load.memory_kib(self.pid, "VmHWM") - self.start
        self.worst = max(self.worst, (grown, name))
        assert grown <= GROWS_MAX_KIB, (name, grown)
        return status

    def show(self, what, n):
        print(f"{n} {what}: at most {self.worst[0]} KiB at its peak ({self.worst[1]})")


def test_the_peak_is_seen(gateway, vm):
    """A body that is taken shows up in what is measured."""
    growth = Growth(gateway.pid)
    growth.of("honest", lambda: send(vm, REPORTS, CBOR, to_cbor(report(vm, {}))))
    growth.of("large", lambda: send(vm, REPORTS, JSON, TEXTS[0][2]))
    assert growth.worst[0] > 0


def test_bodies_that_are_no_evidence(gateway, vm):
    growth = Growth(gateway.pid)
    for name, kind, body in TEXTS:
        assert BODY_MAX - 4096 < len(body) <= BODY_MAX
        assert growth.of(name, lambda: send(vm, REPORTS, kind, body)) == 400, name
        if kind == JSON:
            assert growth.of(name, lambda: send(vm, POLICY, kind, body, "PUT")) == 413, name
            for path, most, method in ((POLICY, POLICY_MAX, "PUT"),
                                       (ACTIVATIONS, ACTIVATION_MAX, "POST")):
                cut = body[:most]
                assert growth.of(name, lambda: send(vm, path, kind, cut, method)) == 400, name
    growth.show("bodies that are no evidence", len(TEXTS))


def test_evidence(gateway, vm):
    growth, seen = Growth(gateway.pid), {}
    cases = list(evidence())
    for name, changes in cases:
        for kind, encode in ((JSON, lambda r: json.dumps(r).encode()), (CBOR, to_cbor)):
            body = encode(report(vm, changes))
            assert len(body) <= BODY_MAX
            seen.setdefault(growth.of(name, lambda: send(vm, REPORTS, kind, body)), []).append(name)
    growth.show("pieces of evidence, each in JSON and CBOR", len(cases))
    assert set(seen) == {200, 400}, seen  # some are judged, some are not well-formed


def test_a_large_policy(gateway, vm):
    """What is taken, and kept."""
    def policy(n):
        hashes = [f"{n * 65536 + i:064x}" for i in range(1925)]
        return json.dumps({"scopes": ["/"], "rules": {"revocations": [
            {"name": str(i), "hashes": hashes[i::2]} for i in range(2)]}},
            separators=(",", ":")).encode()

    growth = Growth(gateway.pid)
    for n, status in ((1, 201), (2, 200)):
        assert POLICY_MAX - 4096 < len(policy(n)) <= POLICY_MAX
        assert growth.of("a policy", lambda: send(vm, POLICY, JSON, policy(n), "PUT")) == status
    growth.show("versions of a large policy", 2)
    assert vm.api.delete(POLICY).status == 200
