"""Three replays of the same logs: the gateway's, one written from the specification for this test, and
tpm2_eventlog's. Logs: all of the vectors, logs made here, and thousands of mutations of both.

The first two must agree on everything: which log is well-formed, and every PCR of every bank. With
tpm2_eventlog the PCRs must agree where both accept, but for the classes of class_of, which are counted.
"""
import base64
import json
import os
import pathlib
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile

import pytest

import tcglog
from vectors import BIN, VECTORS

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "rows"))

import made  # noqa: E402  (needs the path above)

MUTATIONS = int(os.environ.get("TLGATE_MUTATIONS", "10000"))
# Each of these is a process of its own: all of them with TLGATE_TPM2_EVENTLOG=10000
TPM2_MUTATIONS = int(os.environ.get("TLGATE_TPM2_EVENTLOG", "300"))
SEED = 20260101


def vector_logs():
    if not VECTORS.is_dir():
        return
    for path in sorted((VECTORS / "eventlogs").glob("*/*")):
        if path.suffix != ".json":
            yield path.name, path.read_bytes()
    dump = json.loads((VECTORS / "eventlogs/go-attestation/windows_gcp_shielded_vm.json").read_text())
    yield "windows_gcp_shielded_vm", base64.b64decode(dump["Log"]["Raw"])


def made_logs():
    for banks in (("sha256",), ("sha1", "sha256"), ("sha256", "sha384", "sha512")):
        log = made.made_log()
        log.head = made.spec_id(banks)
        log.find(4, made.EV_EFI_BOOT_SERVICES_APPLICATION).data = bytes(32)  # no device path
        for event in log.events:
            event.digests = [(made.ALG[b], made.digest(b, event.data)) for b in banks]
        yield "made-" + "-".join(banks), log.encode()
        locality = made.Event(0, 3, [(made.ALG[b], made.digest(b, b"")) for b in banks],
                              b"StartupLocality\0\3")
        log.events.insert(0, locality)
        for i in (17, 20, 23):
            log.add(i, 5, b"late")
        yield "made-locality-" + "-".join(banks), log.encode()


LOGS = dict([*vector_logs(), *made_logs()])


# ---- mutations ----


def anywhere(rng, raw):
    at = rng.randrange(len(raw))
    return raw[:at] + bytes([rng.choice((0, 1, 0x7F, 0xFF, raw[at] ^ 1 << rng.randrange(8)))]) \
        + raw[at + 1:]


def cut(rng, raw):
    return raw[:rng.randrange(len(raw))]


def lengthened(rng, raw):
    return raw + rng.choice((bytes(rng.randrange(1, 64)), rng.randbytes(rng.randrange(1, 64)),
                             raw[-rng.randrange(1, 200):]))


def spliced(rng, raw):
    a, b = sorted(rng.randrange(len(raw)) for _ in "ab")
    return raw[:a] + raw[b:] if rng.random() < 0.5 else raw[:b] + raw[a:]


def number_changed(rng, raw):
    at = rng.randrange(max(1, len(raw) - 4))
    value = rng.choice((0, 1, 23, 24, 0x100, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF))
    return raw[:at] + struct.pack("<I", value) + raw[at + 4:]


def events_changed(rng, raw):
    """Well-formed again, but other events."""
    try:
        log = tcglog.Log(raw)
    except tcglog.Bad:
        return anywhere(rng, raw)
    for _ in range(rng.randrange(1, 4)):
        if len(log.events) < 3:
            break
        rng.choice((event_left_out, event_repeated, event_moved, event_retyped, event_of_other_pcr,
                    digest_changed, data_changed, locality_added))(rng, log)
    return log.encode()


def some_event(rng, log):
    return rng.randrange(1, len(log.events))


def event_left_out(rng, log):
    del log.events[some_event(rng, log)]


def event_repeated(rng, log):
    log.events.insert(some_event(rng, log), log.events[some_event(rng, log)])


def event_moved(rng, log):
    log.events.insert(some_event(rng, log), log.events.pop(some_event(rng, log)))


def replaced(log, i, **what):
    log.events[i] = tcglog.dataclasses.replace(log.events[i], **what)


def event_retyped(rng, log):
    replaced(log, some_event(rng, log), type=rng.choice((0, 2, 3, 4, 6, 13, 0x80000001, 0x80000003,
                                                         0x80000006, 0x80000007, 0x800000E0)))


def event_of_other_pcr(rng, log):
    replaced(log, some_event(rng, log), pcr=rng.randrange(24))


def digest_changed(rng, log):
    i = some_event(rng, log)
    replaced(log, i, digests={alg: rng.randbytes(len(v)) for alg, v in log.events[i].digests.items()})


def data_changed(rng, log):
    i = some_event(rng, log)
    data = bytearray(log.events[i].data) or bytearray(4)
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    replaced(log, i, data=bytes(data))


def locality_added(rng, log):
    digests = {alg: bytes(size) for alg, size in log.sizes.items()}
    log.events.insert(rng.choice((1, some_event(rng, log))),
                      tcglog.Event(0, 3, digests, b"StartupLocality\0" + bytes([rng.randrange(6)])))


MUTATORS = (anywhere, anywhere, cut, lengthened, spliced, number_changed, events_changed,
            events_changed, events_changed, events_changed)


def mutations(n):
    rng, bases = random.Random(SEED), list(LOGS.values())
    for i in range(n):
        raw = bases[i % len(bases)]
        for _ in range(rng.choice((1, 1, 2, 3))):
            raw = rng.choice(MUTATORS)(rng, raw) or b"\0"
        yield raw


# ---- the gateway's replay ----


class Pipe:
    def __init__(self):
        self.process = subprocess.Popen([BIN / "replay_pipe"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

    def replay(self, raw):
        self.process.stdin.write(struct.pack("<I", len(raw)) + raw)
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the replay ended on {raw.hex()}"
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(60) == 0


@pytest.fixture(scope="module")
def pipe():
    running = Pipe()
    yield running
    running.close()


def same(ours, other):
    """Both refuse, or both have the same PCRs of the same banks."""
    return ("bad" in ours) == ("bad" in other) and ("bad" in ours or ours == other)


@pytest.mark.parametrize("name", LOGS)
def test_every_log_has_the_same_pcrs_in_a_second_replay(pipe, name):
    ours, other = pipe.replay(LOGS[name]), tcglog.replay(LOGS[name])
    assert same(ours, other), (ours, other)
    assert ("bad" in ours) is ("bogus" in name)


def test_mutated_logs_have_the_same_pcrs_in_a_second_replay(pipe):
    accepted = replayed = 0
    for raw in mutations(MUTATIONS):
        ours, other = pipe.replay(raw), tcglog.replay(raw)
        assert same(ours, other), (ours, other, raw.hex())
        accepted += "bad" not in ours
        replayed += "bad" not in ours and len(ours) > 0
    # not a test of refusals only
    assert accepted > MUTATIONS * 0.3 and replayed > MUTATIONS * 0.3
    print(f"{MUTATIONS} logs, {accepted} well-formed, {replayed} replayed")


# ---- tpm2_eventlog ----

needs_tool = pytest.mark.skipif(not shutil.which("tpm2_eventlog"), reason="no tpm2_eventlog")


def tpm2_replay(raw):
    """{"sha256": {0: hex}} of the PCRs that have events, the error where it refuses, "dead" where it
    crashed or hung."""
    with tempfile.NamedTemporaryFile() as f:
        f.write(raw)
        f.flush()
        try:
            done = subprocess.run(["tpm2_eventlog", f.name], capture_output=True, timeout=20)
        except subprocess.TimeoutExpired:
            return "dead"
    if done.returncode < 0:
        return "dead"
    if done.returncode:
        return next((line for line in done.stderr.decode(errors="replace").splitlines()
                     if line.startswith("ERROR: ")), "no reason")
    out, bank = {}, None
    for line in done.stdout.decode(errors="replace").rpartition("\npcrs:\n")[2].splitlines():
        if re.fullmatch(r"  (sha\w+):", line):
            bank = out.setdefault(line.strip()[:-1], {})
        elif bank is not None and (m := re.fullmatch(r"    (\d+) *: 0x([0-9a-f]+)", line)):
            bank[int(m[1])] = m[2]
    return out


def extended(log, pcr, alg, start, no_action):
    """A PCR replayed as tpm2-tools 5.4 does: `no_action` extends the digests of EV_NO_ACTION too."""
    value = start
    for e in log.events[log.agile:]:
        if e.pcr == pcr and (no_action or e.type != 3):
            value = made.digest(tcglog.NAMES[alg], value + e.digests[alg])
    return value.hex()


def class_of(raw, bank, pcr, value):
    """Which of the known classes makes of this PCR what the other tool says; None: none does."""
    log, alg = tcglog.Log(raw), made.ALG[bank]
    zeros = bytes(tcglog.SIZES[alg])
    starts = {"PCR 17 to 22" if pcr else "StartupLocality": zeros}
    if pcr == 0:
        starts |= {f"another StartupLocality#{i}": zeros[1:] + e.data[16:17]
                   for i, e in enumerate(log.events) if e.data.startswith(b"StartupLocality\0")}
    for name, start in starts.items():
        if extended(log, pcr, alg, start, False) == value:
            return name.partition("#")[0]
        if extended(log, pcr, alg, start, True) == value:
            return "no-action digests"
    return None


def compare(ours, theirs, raw, counts):
    """Differences that no class explains."""
    wrong = []
    for bank in ours.keys() & theirs.keys():
        for pcr, value in theirs[bank].items():
            if pcr < 24 and ours[bank][str(pcr)] == value:
                counts["equal"] = counts.get("equal", 0) + 1
                continue
            name = class_of(raw, bank, pcr, value)
            if name:
                counts[name] = counts.get(name, 0) + 1
            else:
                wrong.append((bank, pcr, value))
    return wrong


# Why only one of the two accepts. Theirs decodes the data of events, which is no part of a replay, and wants
# the header's own digest (which nothing measures) to be zeros.
THEIRS_REFUSES = {
    "size is insufficient for UEFI variable data": "variable", "EventSize": "event's data",
    "size is insufficient for UEFI image load event": "image", "c16rtomb": "variable's name",
    "SpecID digest data malformed": "header's digest", "failed to allocate data": "memory",
}
# Ours refuses what theirs does not look at: the header's signature (without it the log is a legacy one, and
# truncated), version and sizes, digests that it does not declare or none at all, a PCR beyond the last, zeros.
OURS_REFUSES = {"header", "truncated", "digest_size", "digest_count", "undeclared_algorithm", "pcr_index",
                "padding"}


def one_sided(ours, theirs, raw):
    """The class of what one accepts and the other refuses; None: of none."""
    if "bad" in ours:
        spec_id = raw[32:45] == b"Spec ID Event"
        known = ours["bad"] in OURS_REFUSES and not (ours["bad"] == "truncated" and spec_id)
        return f"only theirs: {ours['bad']}" if known else None
    return next((f"only ours: {name}" for part, name in THEIRS_REFUSES.items() if part in theirs), None)


@needs_tool
@pytest.mark.parametrize("name", [n for n in LOGS if "bogus" not in n])
def test_every_log_has_the_pcrs_of_tpm2_eventlog(pipe, name):
    theirs, counts = tpm2_replay(LOGS[name]), {}
    assert not isinstance(theirs, str), theirs
    assert compare(pipe.replay(LOGS[name]), theirs, LOGS[name], counts) == []
    assert counts["equal"] > 0


@needs_tool
def test_mutated_logs_have_the_pcrs_of_tpm2_eventlog(pipe):
    counts = {"both": 0, "neither": 0, "theirs died": 0}
    step = max(1, MUTATIONS // TPM2_MUTATIONS)
    for i, raw in enumerate(mutations(MUTATIONS)):
        if i % step:
            continue
        ours, theirs = pipe.replay(raw), tpm2_replay(raw)
        if theirs == "dead":
            counts["theirs died"] += 1
        elif "bad" in ours and isinstance(theirs, str):
            counts["neither"] += 1
        elif "bad" in ours or isinstance(theirs, str):
            name = one_sided(ours, theirs, raw)
            assert name, (ours, theirs, raw.hex())
            counts[name] = counts.get(name, 0) + 1
        else:
            counts["both"] += 1
            assert compare(ours, theirs, raw, counts) == [], (counts, raw.hex())
    assert counts["both"] > TPM2_MUTATIONS // 8, counts
    print(counts)
