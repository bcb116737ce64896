"""A second reader of event logs and a second replay, to compare the gateway's with. Written from the
TCG's PC Client Platform Firmware Profile 1.05 (section 10), with nothing of the gateway in it."""
import dataclasses
import hashlib
import struct

NAMES = {0x0004: "sha1", 0x000B: "sha256", 0x000C: "sha384", 0x000D: "sha512"}
SIZES = {0x0004: 20, 0x000B: 32, 0x000C: 48, 0x000D: 64}
EV_NO_ACTION = 3
LARGEST = 128 * 1024  # what the gateway takes
MOST_EVENTS = 4096


class Bad(Exception):
    pass


@dataclasses.dataclass
class Event:
    pcr: int
    type: int
    digests: dict  # by TPM_ALG_ID
    data: bytes

    def agile(self):
        out = struct.pack("<III", self.pcr, self.type, len(self.digests))
        for alg, value in self.digests.items():
            out += struct.pack("<H", alg) + value
        return out + struct.pack("<I", len(self.data)) + self.data

    def legacy(self):
        return (struct.pack("<II", self.pcr, self.type) + self.digests[4]
                + struct.pack("<I", len(self.data)) + self.data)


class Reader:
    def __init__(self, raw):
        self.raw, self.at = raw, 0

    def take(self, n):
        if n > len(self.raw) - self.at:
            raise Bad("truncated")
        self.at += n
        return self.raw[self.at - n:self.at]

    def number(self, size):
        return int.from_bytes(self.take(size), "little")


class Log:
    """`events` begins with the header event of a crypto-agile log."""

    def __init__(self, raw):
        if not raw or len(raw) > LARGEST:
            raise Bad("size")
        r = Reader(raw)
        first = self.read_legacy(r)
        self.events, self.sizes = [first], {4: 20}
        self.agile = (first.type == EV_NO_ACTION and first.data.startswith(b"Spec ID Event")
                      and not first.data.startswith((b"Spec ID Event00", b"Spec ID Event02")))
        if first.type == EV_NO_ACTION and first.data.startswith(b"Spec ID Event") and first.pcr:
            raise Bad("header")
        if self.agile:
            self.sizes = self.read_spec_id(first.data)
        while r.at < len(raw):
            if len(self.events) == MOST_EVENTS:
                raise Bad("events")
            event = self.read_agile(r) if self.agile else self.read_legacy(r)
            if not self.agile and not event.data and (event.pcr, event.type) == (0, 0) \
                    and not any(event.digests[4]):
                raise Bad("padding")
            self.events.append(event)

    @staticmethod
    def read_spec_id(data):
        r = Reader(data)
        if not r.take(16).startswith(b"Spec ID Event03"):
            raise Bad("header")
        r.take(4)
        _, major, _, uintn = r.take(4)
        count = r.number(4)
        if major != 2 or uintn not in (1, 2) or not 1 <= count <= 8:
            raise Bad("header")
        sizes = {}
        for _ in range(count):
            alg, size = r.number(2), r.number(2)
            if alg in sizes or not 1 <= size <= 64 or SIZES.get(alg, size) != size:
                raise Bad("header")
            sizes[alg] = size
        r.take(r.number(1))
        if r.at != len(data):
            raise Bad("header")
        return sizes

    @staticmethod
    def check_pcr(event):
        if event.pcr > 23 and not (event.pcr == 0xFFFFFFFF and event.type == EV_NO_ACTION):
            raise Bad("pcr")
        return event

    def read_legacy(self, r):
        pcr, kind, digest = r.number(4), r.number(4), r.take(20)
        return self.check_pcr(Event(pcr, kind, {4: digest}, r.take(r.number(4))))

    def read_agile(self, r):
        pcr, kind, count = r.number(4), r.number(4), r.number(4)
        if not 1 <= count <= 8:
            raise Bad("digests")
        digests = {}
        for _ in range(count):
            alg = r.number(2)
            if alg in digests or alg not in self.sizes:
                raise Bad("digests")
            digests[alg] = r.take(self.sizes[alg])
        return self.check_pcr(Event(pcr, kind, digests, r.take(r.number(4))))

    def banks(self):
        return [alg for alg in self.sizes if alg in NAMES]

    def encode(self):
        rest = b"".join(e.agile() if self.agile else e.legacy() for e in self.events[1:])
        return self.events[0].legacy() + rest

    def replay(self, alg):
        """PCR values by index, or None where the events do not tell them."""
        size, name = SIZES[alg], NAMES[alg]
        pcrs = {i: (b"\xff" if 17 <= i <= 22 else b"\0") * size for i in range(24)}
        touched, localities = set(), 0
        for e in self.events:
            if e.type == EV_NO_ACTION:
                if e.data.startswith(b"StartupLocality\0"):
                    localities += 1
                    if len(e.data) != 17 or e.pcr or 0 in touched or localities > 1 \
                            or e.data[16] not in (0, 3, 4):
                        return None
                    pcrs[0] = bytes(size - 1) + e.data[16:]
                continue
            if alg not in e.digests:
                return None
            pcrs[e.pcr] = hashlib.new(name, pcrs[e.pcr] + e.digests[alg]).digest()
            touched.add(e.pcr)
        return {"touched": sum(1 << i for i in touched),
                **{str(i): value.hex() for i, value in pcrs.items()}}


def replay(raw):
    """The same that replay_pipe prints."""
    try:
        log = Log(raw)
    except Bad as e:
        return {"bad": str(e)}
    found = {NAMES[alg]: log.replay(alg) for alg in log.banks()}
    return {name: pcrs for name, pcrs in found.items() if pcrs}
