"""tpm2_checkquote over the same quotes: both accept the good ones, and every forged one that it accepts is
refused here. What each says is counted in a table that the test prints (pytest -s)."""
import collections
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

import pytest
from cryptography.hazmat.primitives import serialization

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import frame  # noqa: E402  (needs the path above)
import made  # noqa: E402
from frame import NONCE, QUOTED, VECTORS, b64, tlgate  # noqa: E402

pytestmark = pytest.mark.skipif(not shutil.which("tpm2_checkquote"), reason="no tpm2-tools")
SCHEMES = ("rsassa", "rsapss", "p256", "p384")
NOT_THEIRS = {"rsapss"}  # tpm2_checkquote 5.4 takes every RSA signature for PKCS #1 v1.5


@pytest.fixture(scope="module")
def rig():
    folder = tempfile.mkdtemp(prefix="tlg-")
    running = frame.Rig(folder)
    yield running
    running.close()
    shutil.rmtree(folder, ignore_errors=True)


class Sent:
    """One quote, as both tools get it."""

    def __init__(self, message, signature, pcrs, public_key, bank="sha256"):
        self.message, self.signature, self.pcrs, self.key = message, signature, pcrs, public_key
        self.bank, self.nonce = bank, NONCE

    def files(self, folder):
        paths = {n: folder / n for n in ("message", "signature", "pcrs", "key", "evidence")}
        paths["message"].write_bytes(self.message)
        paths["signature"].write_bytes(self.signature)
        paths["pcrs"].write_bytes(self.serialised())
        paths["key"].write_bytes(self.key.public_bytes(
            made.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
        paths["evidence"].write_text(json.dumps({
            "quote": {"message": b64(self.message), "signature": b64(self.signature)},
            "pcrs": {self.bank: {str(i): v.hex() for i, v in self.pcrs.items()}}}))
        return paths

    def serialised(self):
        """As tpm2_quote -o writes it: TPML_PCR_SELECTION and TPML_DIGESTs of eight, as C has them."""
        out = struct.pack("<IHB4sx", 1, made.ALG[self.bank], 3, made.bit_map(self.pcrs)) + bytes(15 * 8)
        values = [self.pcrs[i] for i in sorted(self.pcrs)]
        lists = [values[i:i + 8] for i in range(0, len(values), 8)]
        out += struct.pack("<I", len(lists))
        for part in lists:
            digests = b"".join(struct.pack("<H64s", len(v), v) for v in part)
            out += struct.pack("<I", len(part)) + digests.ljust(8 * 66, b"\0")
        return out

    def theirs(self, folder, scheme):
        at = self.files(folder)
        done = subprocess.run(
            ["tpm2_checkquote", "-Q", "-u", at["key"], "-m", at["message"], "-s", at["signature"],
             "-q", self.nonce.hex(), "-f", at["pcrs"], "-g", made.SCHEMES[scheme][1]], capture_output=True, timeout=30,
            env={**os.environ, "TSS2_LOG": "all+NONE"})
        assert done.returncode >= 0, f"tpm2_checkquote died of signal {-done.returncode}"
        return done.returncode == 0

    def ours(self, folder):
        at = self.files(folder)
        status, result = tlgate("verify", at["evidence"], "--nonce", self.nonce.hex(), "--profile",
                                "tpm", "--trusted-ak", at["key"])
        assert status in (0, 1, 2), result
        return status == 0


def forged(rig, scheme, change, sign=None):
    """A quote that says what `change` makes of it, signed by a key of software."""
    ak = rig.soft_ak(scheme)
    quote = made.Quote.parse(rig.quotes[scheme][0])
    pcrs = {i: v for i, v in rig.log.replay("sha256").items() if i in QUOTED}
    sent = Sent(b"", b"", pcrs, ak.public_key)
    change(quote, sent)
    sent.message = quote.encode()
    sent.signature = ak.sign(sent.message, **(sign or {}))
    return sent


def honest(quote, sent):
    pass


def magic(quote, sent):
    quote.magic = 0xFF544348


def kind(quote, sent):
    quote.type = 0x8017


def trailing(quote, sent):
    quote.tail = b"and more"


def nonce(quote, sent):
    quote.extra = bytes(32)


def no_nonce(quote, sent):
    quote.extra = b""


def longer_nonce(quote, sent):
    quote.extra = NONCE + b"\0"


def no_selection(quote, sent):
    quote.selections = []


def other_selection(quote, sent):
    """CVE-2024-29039: the digest fits the values, but the signed selection is of other PCRs."""
    quote.selections = [(made.ALG["sha256"], made.bit_map((0, 1, 2, 3, 4, 5, 6, 8, 16)))]


def fewer_selected(quote, sent):
    quote.selections = [(made.ALG["sha256"], made.bit_map(QUOTED[:-1]))]


def bank_twice(quote, sent):
    quote.selections *= 2


def sha1_selection(quote, sent):
    quote.selections = [(made.ALG["sha1"], quote.selections[0][1])]


def digest(quote, sent):
    quote.digest = bytes(len(quote.digest))


def value(quote, sent):
    sent.pcrs = {**sent.pcrs, 7: bytes(32)}


def size_of_selection(quote, sent):
    quote.selections = [(made.ALG["sha256"], quote.selections[0][1] + b"\xff")]


FORGERIES = (magic, kind, trailing, nonce, no_nonce, longer_nonce, no_selection, other_selection,
             fewer_selected, bank_twice, sha1_selection, digest, value, size_of_selection)


def cases(rig):
    """(what, scheme, quote, whether it is good)"""
    for scheme in SCHEMES:
        ak = frame.TpmAk(rig.tpm, scheme)
        pcrs = {i: v for i, v in rig.log.replay("sha256").items() if i in QUOTED}
        message, signature = rig.quotes[scheme]
        yield "honest", scheme, Sent(message, signature, pcrs, ak.public_key), True
        for picked in ((0,), (7, 4), (0, 2, 4, 7, 16, 23), tuple(range(24))):
            message, signature, pcrs = rig.tpm.quote(scheme, NONCE, picked)
            yield "other PCRs", scheme, Sent(message, signature, pcrs, ak.public_key), True
        message, signature, pcrs = rig.tpm.quote(scheme, NONCE, QUOTED, "sha384")
        yield "SHA-384 bank", scheme, Sent(message, signature, pcrs, ak.public_key, "sha384"), True
        yield "software", scheme, forged(rig, scheme, honest), True
        broken = forged(rig, scheme, honest)
        broken.signature = broken.signature[:-1] + bytes([broken.signature[-1] ^ 1])
        yield "signature", scheme, broken, False
        for forgery in FORGERIES:
            yield forgery.__name__, scheme, forged(rig, scheme, forgery), False
    yield "SHA-1 signature", "rsassa", forged(rig, "rsassa", sha1_digest, {"bank": "sha1"}), False
    if VECTORS.is_dir():
        yield "Azure", "rsassa", azure(), True


def azure():
    """The quote of a real Trusted Launch VM."""
    import test_quotes as real
    key = serialization.load_pem_public_key((real.TL / "ak.pub").read_bytes())
    pcrs = {int(i): bytes.fromhex(v) for i, v in real.pcrs_of(real.TL / "pcrs-sha256.json").items()}
    sent = Sent((real.TL / "quote.msg").read_bytes(),
                real.tpmt_rsassa((real.TL / "quote.sig").read_bytes()), pcrs, key)
    sent.nonce = bytes.fromhex(real.tl_nonce())
    assert sent.serialised() == (real.TL / "pcrs.bin").read_bytes()
    return sent


def sha1_digest(quote, sent):
    quote.digest = made.digest("sha1", b"".join(sent.pcrs[i] for i in sorted(sent.pcrs)))


def test_good_quotes_are_agreed_on_and_forged_ones_are_refused(rig, tmp_path):
    table = collections.defaultdict(collections.Counter)
    wrong = []
    for what, scheme, sent, good in cases(rig):
        ours, theirs = sent.ours(tmp_path), sent.theirs(tmp_path, scheme)
        table[what]["ours accepts" if ours else "ours refuses"] += 1
        table[what]["theirs accepts" if theirs else "theirs refuses"] += 1
        if ours is not good or (good and theirs is (scheme in NOT_THEIRS)):
            wrong.append((what, scheme, ours, theirs))
    columns = ("ours accepts", "ours refuses", "theirs accepts", "theirs refuses")
    for what, counts in table.items():
        print(f"{what:18}", *(f"{c} {counts[c]:2}" for c in columns), sep="  ")
    assert wrong == []
    assert {n: sum(c.values()) // 2 for n, c in table.items() if n in ("honest", "other PCRs")} == {
        "honest": 4, "other PCRs": 16}
    assert set(table) >= {forgery.__name__ for forgery in FORGERIES}
