"""The table of bad evidence: 54 rows of what a guest, its firmware, its TPM or somebody between can get
wrong or lie about, each with the check that must catch it.

A row has one or more cases. To add one, write a function in a rows_*.py of this folder:

    @row(23, fails={("quote.magic", "not_generated_by_tpm")}, bases=("made", "made-p256"))
    def bad_magic(e):
        e.quote.magic ^= 1

It gets fresh honest Evidence of each base and changes it; `tlgate verify` then judges it offline.
  fails      exactly the (check, reason) lines that fail: no more, no fewer
  verdict    "untrusted" unless said otherwise
  malformed  the JSON pointer that the 400 names (exit 2); then there is no verdict
  accepted   True: nothing fails and the verdict is the base's
  remarks    (check, reason) lines that must stand there as `warn`
  values     {(check, reason): {"pcr": 7, "expected": ..., ...}}: what that line must say besides
What must be changed after the evidence is written down (JSON) goes into e.edits. The unmutated twin of
every case is the same base as it is; it must get the base's verdict with no failed check.

Rows that need the gateway itself are tests in test_rows_*.py under @covers(42). test_rows.py fails where
a row of 1..54 has neither.

Bases: evidence of a swtpm as it came (tpm-rsassa tpm-rsapss tpm-p256 tpm-p384); the same quote under a
key of software, so that every byte can be changed and still be signed (made made-rsapss made-p256
made-p384); the same over a real machine's boot log (rhel8, where the vectors are); evidence of a real
VM (azure-cvm, azure-tl, where the vectors are).
"""
import dataclasses
import json
import pathlib
import sys

import pytest
from cryptography.hazmat.primitives import serialization

import made
import swtpm

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "vectors"))

from vectors import VECTORS, b64, failed, pem_to_der, tlgate  # noqa: E402  (needs the path above)

ROWS = range(1, 55)
NONCE = bytes(range(1, 33))
QUOTED = tuple(range(9))
CASES, COVERED = [], {}


@dataclasses.dataclass
class Case:
    row: int
    name: str
    build: object
    base: str
    fails: set
    verdict: str
    malformed: str
    accepted: bool
    remarks: set
    values: dict

    def __str__(self):
        return f"{self.row}-{self.name}-{self.base}"


def row(number, *, bases=("made",), fails=(), verdict="untrusted", malformed=None, accepted=False,
        remarks=(), values=None, name=None):
    assert number in ROWS
    assert accepted or malformed or fails, "a case must say what catches it"

    def register(build):
        for base in bases:
            CASES.append(Case(number, name or build.__name__, build, base, set(fails), verdict,
                              malformed, accepted, set(remarks), values or {}))
        return build
    return register


def covers(*numbers):
    """For a test of its own that proves rows."""
    def register(test):
        for number in numbers:
            assert number in ROWS
            COVERED.setdefault(number, []).append(test.__name__)
        return test
    return register


# ---- evidence -----------------------------------------------------------------------------------


class Evidence:
    """One boot, its quote and its AK, before they are written down."""

    verdict = "trusted"

    def __init__(self, rig, ak, log, selected=QUOTED):
        self.rig, self.log, self.ak, self.signer = rig, log, ak, ak
        self.bank, self.selected, self.nonce = "sha256", selected, NONCE
        self.raw_log = None     # instead of the log
        self.quote = made.Quote(made.qualified_name(ak.public), NONCE, [], b"")
        self.taken = None       # (message, signature) as a TPM made them
        self.framed = False     # TPM2B_ATTEST instead of TPMS_ATTEST
        self.sign = {}          # how the signature is made: see SoftAk.sign
        self.subject = made.SUBJECT
        self.certificate = {}   # what is different in it: see made.certificate
        self.certified = None   # another key in the certificate
        self.leave_out = set()  # "public", "certificate", "chain", "eventLog"
        self.chain = None       # DER; instead of the test CA's
        self.edits = []         # functions of the JSON, at last
        self.args = ["--trust-anchor", rig.ca.anchor, "--require-secure-boot"]
        if ak.scheme != "rsassa":
            self.args += ["--profile", "tpm"]
        self.boot()

    def boot(self):
        """The log as it stands is what was booted: PCRs and quote follow it."""
        self.pcrs = self.log.replay(self.bank)
        self.requote()

    def requote(self):
        """The quote selects `selected` in `bank` and covers the PCRs."""
        self.quote.selections = [(made.ALG[self.bank], made.bit_map(self.selected))]
        values = b"".join(self.pcrs[i] for i in sorted(self.selected) if i < 24)
        self.quote.digest = made.digest(self.sign.get("bank") or self.signer.hash, values)

    def encoded_ak(self):
        key = self.certified or self.ak.public_key
        parts = {"public": b64(self.ak.public),
                 "certificate": b64(self.rig.ca.certify(key, self.subject, **self.certificate)),
                 "chain": [b64(c) for c in (self.rig.ca.chain if self.chain is None
                                            else self.chain)]}
        return {k: v for k, v in parts.items() if k not in self.leave_out}

    def render(self):
        message, signature = self.taken or (self.quote.encode(), None)
        if signature is None:
            signature = self.signer.sign(message, **self.sign)
        if self.framed:
            message = made.sized(message)
        raw = self.raw_log if self.raw_log is not None else self.log.encode()
        out = {"quote": {"message": b64(message), "signature": b64(signature)},
               "pcrs": {self.bank: {str(i): self.pcrs[i].hex() for i in self.selected if i < 24}},
               "ak": self.encoded_ak()}
        if "eventLog" not in self.leave_out:
            out["eventLog"] = b64(raw)
        for edit in self.edits:
            edit(out)
        return out


class Sent:
    """Evidence of a real VM: nothing in it can be signed again, so only its JSON is changed."""

    verdict = "trustedQuoteOnly"  # no log was published with it

    def __init__(self, evidence, nonce, args):
        self.evidence, self.nonce, self.args, self.edits = evidence, nonce, list(args), []

    def render(self):
        out = json.loads(json.dumps(self.evidence))
        for edit in self.edits:
            edit(out)
        return out


class TpmAk:
    """The public half of a key that never left its TPM."""

    def __init__(self, tpm, scheme):
        self.scheme, self.hash = scheme, made.SCHEMES[scheme][1]
        self.public = tpm.key(scheme)
        pem = (tpm.folder / f"{scheme}.pem").read_bytes()
        self.public_key = serialization.load_pem_public_key(pem)


class Rig:
    """What all cases share: a CA, a TPM that has booted, and its quotes."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.ca = made.Ca(self.folder)
        self.log = made.made_log()
        self.tpm = swtpm.Swtpm(self.folder, self.log)
        self.soft, self.quotes, self.twins = {}, {}, {}
        for scheme in swtpm.SCHEMES:
            message, signature, pcrs = self.tpm.quote(scheme, NONCE, QUOTED)
            assert pcrs == {i: v for i, v in self.log.replay("sha256").items() if i in pcrs}
            self.quotes[scheme] = message, signature

    def close(self):
        self.tpm.close()

    def soft_ak(self, scheme):
        if scheme not in self.soft:
            self.soft[scheme] = made.SoftAk(scheme)
        return self.soft[scheme]

    def fresh_log(self):
        return made.Log.parse(self.log.encode())

    def tpm_evidence(self, scheme):
        e = Evidence(self, TpmAk(self.tpm, scheme), self.fresh_log())
        e.taken = self.quotes[scheme]
        e.quote = made.Quote.parse(e.taken[0])
        return e

    def made_evidence(self, scheme, log=None, selected=QUOTED):
        """The TPM's own quote, with the name of another key in it."""
        e = Evidence(self, self.soft_ak(scheme), log or self.fresh_log(), selected)
        e.quote = made.Quote.parse(self.quotes[scheme][0])
        e.quote.signer = made.qualified_name(e.ak.public)
        e.requote()
        return e

    def rhel8(self):
        raw = (VECTORS / "eventlogs/go-tpm-tools/rhel8-uefi.bin").read_bytes()
        return self.made_evidence("rsassa", made.Log.parse(raw), tuple(range(10)) + (14,))

    def azure_cvm(self):
        import test_quotes
        return Sent(test_quotes.cvm(), test_quotes.CVM_NONCE,
                    ["--profile", "confidentialVm", "--trust-dir", test_quotes.CA,
                     *test_quotes.CVM_NOW])

    def azure_tl(self):
        import test_quotes
        return Sent(test_quotes.evidence(test_quotes.TL), test_quotes.tl_nonce(),
                    ["--trusted-ak", test_quotes.TL / "ak.pub"])

    def base(self, name):
        kind, _, scheme = name.partition("-")
        if kind in ("rhel8", "azure") and not VECTORS.is_dir():
            pytest.skip(f"no vectors in {VECTORS}")
        if kind == "azure":
            return {"cvm": self.azure_cvm, "tl": self.azure_tl}[scheme]()
        if kind == "rhel8":
            return self.rhel8()
        if kind == "tpm":
            return self.tpm_evidence(scheme)
        return self.made_evidence(scheme or "rsassa")

    # ---- judging ----

    def verify(self, e):
        """Exit status and what `tlgate verify` printed."""
        path = self.folder / "evidence.json"
        path.write_text(json.dumps(e.render()))
        nonce = e.nonce if isinstance(e.nonce, str) else e.nonce.hex()
        return tlgate("verify", path, "--nonce", nonce, *e.args)

    def check_twin(self, name):
        """The base as it is gets its verdict, and nothing fails."""
        if name not in self.twins:
            honest = self.base(name)
            status, result = self.verify(honest)
            assert status == 0 and not failed(result), result
            assert result["verdict"] == honest.verdict, result
            self.twins[name] = honest.verdict
        return self.twins[name]


def lines(result, status):
    return {(c["name"], c.get("reason")) for c in result["checks"] if c["status"] == status}


def judge(rig, case):
    twin = rig.check_twin(case.base)
    e = rig.base(case.base)
    case.build(e)
    status, result = rig.verify(e)
    if case.malformed:
        assert status == 2, result
        assert result["code"] == "evidence_malformed"
        assert [f["pointer"] for f in result["errors"]] == [case.malformed], result
        return
    assert failed(result) == case.fails, result
    assert case.remarks <= lines(result, "warn"), result
    for line, wanted in case.values.items():
        said = [c for c in result["checks"] if (c["name"], c.get("reason")) == line]
        assert any(wanted.items() <= c.items() for c in said), (wanted, said)
    verdict = twin if case.accepted else case.verdict
    assert result["verdict"] == verdict, result
    assert status == (0 if verdict.startswith("trusted") else 1)
