"""A report of a VM that is known costs no PEM, DER or general JSON parse.

The parsers of OpenSSL and jansson that the gateway imports are counted as it calls them, by a library in
front of theirs that is made from the program's own list of imports: one that is used tomorrow counts too.
The release build is asked, since a sanitizer wants to be the first library itself.
"""
import base64
import mmap
import re
import struct
import subprocess

import pytest

import load
from guest import to_cbor

PARSER = re.compile(r"(d2i_\w+|PEM_(?:ASN1_|bytes_)?read\w*|json_load\w*)(?:@|$)")
REPORTS, KNOWN = "/v1/attestation/reports", 20

pytestmark = pytest.mark.skipif(not load.IS_RELEASE, reason="the release build is not there")

HEAD = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

static atomic_uint_least64_t *counts;

__attribute__((constructor)) static void begin(void)
{
    int fd = open(getenv("PARSES_FILE"), O_RDWR);
    counts = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (counts == MAP_FAILED)
        abort();
}

/* Every one of them takes at most six pointers and integers, and gives a pointer. */
typedef void *parser(void *, void *, void *, void *, void *, void *);
"""
ONE = """
void *%(name)s(void *a, void *b, void *c, void *d, void *e, void *f)
{
    atomic_fetch_add(&counts[%(i)d], 1);
    return ((parser *)dlsym(RTLD_NEXT, "%(name)s"))(a, b, c, d, e, f);
}
"""


class Counted:
    """How often each parser was called."""

    def __init__(self, folder, program):
        imports = subprocess.run(["nm", "-D", "--undefined-only", program], check=True,
                                 capture_output=True, text=True).stdout.split()
        self.names = sorted({m.group(1) for m in map(PARSER.match, imports) if m})
        source, self.library = folder / "parses.c", folder / "parses.so"
        source.write_text(HEAD + "".join(ONE % {"name": n, "i": i} for i, n in enumerate(self.names)))
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", self.library, source], check=True)
        self.file = folder / "parses"
        self.file.write_bytes(bytes(4096))
        with self.file.open("r+b") as f:
            self.map = mmap.mmap(f.fileno(), 4096)

    def now(self):
        return dict(zip(self.names, struct.unpack_from(f"{len(self.names)}Q", self.map)))


@pytest.fixture
def counted(tmp_path):
    return Counted(tmp_path, load.BIN / "tlgate")


@pytest.fixture
def gateway(tmp_path, counted):
    emulator = load.emulator_of(tmp_path / "azure", [], 0.01)
    gateway = load.Gateway(tmp_path / "gateway", emulator, LD_PRELOAD=str(counted.library),
                           PARSES_FILE=str(counted.file), TLGATE_LIMITS_ATTESTATION_VM_PER_SECOND="0",
                           TLGATE_ATTESTATION_RESULT_SIGNING="on_read")
    yield gateway
    gateway.close()
    emulator.close()


def report(gateway, vm, token=None):
    """What parsers did for it alone, its challenge left out."""
    api = gateway.api(None)
    challenge = api.post("/v1/attestation/challenges", {"vmId": vm.vm_id}).json
    body = to_cbor(vm.guest.report(challenge, token))
    before = gateway.counted.now()
    answer = api.request("POST", REPORTS, body, {"Content-Type": "application/cbor"})
    assert answer.status == 200 and answer.json["verdict"] == "trusted", answer
    after = gateway.counted.now()
    return {n: after[n] - before[n] for n in after if after[n] != before[n]}


def test_a_known_vm_costs_no_parse(gateway, counted):
    assert {"d2i_X509", "PEM_read_bio_X509", "json_loadb"} <= set(counted.names)
    gateway.counted = counted
    at_start = counted.now()
    assert at_start["PEM_read_bio_X509"] > 0, "trust anchors are read at the start"
    vm = load.stack.Vm(gateway, "parses")
    assert counted.now()["json_loadb"] > at_start["json_loadb"], "Azure's answers are JSON"
    assert report(gateway, vm, vm.token).get("d2i_X509"), "the AK's certificate is new"
    assert report(gateway, vm).get("d2i_X509"), "its boot teaches the image's baseline, signers and all"
    assert [report(gateway, vm) for _ in range(KNOWN)] == [{}] * KNOWN


def by_a_stranger(gateway, guest, vm_id):
    """The same for evidence of another machine, with a proof that is none."""
    api = gateway.api(None)
    challenge = api.post("/v1/attestation/challenges", {"vmId": vm_id}).json
    body = to_cbor({**guest.report(challenge, "no-token"), "vmId": vm_id})
    before = gateway.counted.now()
    answer = api.request("POST", REPORTS, body, {"Content-Type": "application/cbor"})
    assert answer.status == 403 and answer.code == "not_enrolled", answer
    after = gateway.counted.now()
    return {n: after[n] - before[n] for n in after if after[n] != before[n]}


def test_a_stranger_costs_the_same_whatever_is_registered(gateway, counted):
    """Or the time of the answer would tell which vmIds are, and each of them be the dearer one to ask about."""
    gateway.counted = counted
    vm = load.stack.Vm(gateway, "parsesown")
    assert report(gateway, vm, vm.token)
    api = gateway.api(None)

    def by_a_stranger(vm_id):
        challenge = api.post("/v1/attestation/challenges", {"vmId": vm_id}).json
        sent = vm.guest.report(challenge, "no-token")
        sent["vmId"] = vm_id
        for part, member in (("ak", "certificate"), ("quote", "signature")):
            forged = bytearray(base64.b64decode(sent[part][member]).rstrip(b"\0"))
            forged[-1] ^= 1  # of a certificate: nobody signed it, so no cache knows it
            sent[part][member] = base64.b64encode(forged).decode()
        before = counted.now()
        answer = api.request("POST", REPORTS, to_cbor(sent), {"Content-Type": "application/cbor"})
        assert answer.status == 403 and answer.code == "not_enrolled", answer
        after = counted.now()
        return {n: after[n] - before[n] for n in after if after[n] != before[n]}

    unknown = by_a_stranger("99999999-8888-4777-8666-555555555555")
    assert unknown["d2i_X509"] and by_a_stranger(vm.vm_id) == unknown
