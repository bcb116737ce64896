"""A guest for the tests: evidence from a VM's real vTPM, made with tpm2-tools.

It shares no code with tlgate-agent, so that the two can be held against each other, and it lets a test
change any part of the evidence before it is sent.
"""
import base64
import copy
import hashlib
import os
import pathlib
import subprocess
import tempfile

import cbor2

AK_HANDLE = "0x81000003"
AK_CERT_NV = "0x01C101D0"
# Where base64 stands in JSON and a byte string in CBOR.
BINARY = {("quote", "message"), ("quote", "signature"), ("ak", "public"), ("ak", "certificate")}


def b64(data):
    return base64.b64encode(data).decode()


class Guest:
    def __init__(self, vm):
        """vm: what GET /_emulator/vms/{vmId} answers."""
        self.vm_id = vm["vmId"]
        self.tcti = vm.get("tcti")  # none without a vTPM
        self.event_log_path = vm.get("eventLog")
        userdata = vm.get("userData")
        self.userdata = base64.b64decode(userdata) if userdata else b""

    def tool(self, name, *arguments):
        env = {**os.environ, "TPM2TOOLS_TCTI": self.tcti}
        subprocess.run([name, "-Q", *map(str, arguments)], env=env, check=True,
                       capture_output=True, timeout=30)
        subprocess.run(["tpm2_flushcontext", "-t"], env=env, check=True, capture_output=True,
                       timeout=30)

    def event_log(self):
        return pathlib.Path(self.event_log_path).read_bytes()

    def quote(self, nonce, pcrs, bank="sha256"):
        """(TPMS_ATTEST, TPMT_SIGNATURE, {index: digest}) over the nonce."""
        with tempfile.TemporaryDirectory() as folder:
            at = pathlib.Path(folder)
            selection = f"{bank}:{','.join(map(str, pcrs))}"
            self.tool("tpm2_quote", "-c", AK_HANDLE, "-l", selection, "-q", nonce.hex(),
                      "-m", at / "message", "-s", at / "signature", "-o", at / "pcrs",
                      "-F", "values", "-g", "sha256")
            message, signature = (at / "message").read_bytes(), (at / "signature").read_bytes()
            values = (at / "pcrs").read_bytes()
        size = hashlib.new(bank).digest_size
        assert len(values) == size * len(pcrs)
        return message, signature, {
            index: values[i * size:(i + 1) * size] for i, index in enumerate(sorted(pcrs))}

    def ak(self):
        with tempfile.TemporaryDirectory() as folder:
            at = pathlib.Path(folder)
            self.tool("tpm2_readpublic", "-c", AK_HANDLE, "-f", "tss", "-o", at / "public")
            self.tool("tpm2_nvread", "-C", "o", AK_CERT_NV, "-o", at / "certificate")
            return (at / "public").read_bytes(), (at / "certificate").read_bytes()

    def report(self, challenge, token=None):
        """The JSON form of a whole report for this challenge."""
        message, signature, pcrs = self.quote(base64.b64decode(challenge["nonce"]),
                                              challenge["pcrs"], challenge["pcrBank"])
        public, certificate = self.ak()
        report = {
            "challengeId": challenge["challengeId"],
            "vmId": self.vm_id,
            "quote": {"message": b64(message), "signature": b64(signature)},
            "pcrs": {challenge["pcrBank"]: {str(i): v.hex() for i, v in pcrs.items()}},
            "ak": {"public": b64(public), "certificate": b64(certificate)},
            "eventLog": b64(self.event_log()),
        }
        if token:
            report["enrollment"] = {"token": token}
        return report


def to_cbor(report):
    """The same report as application/cbor: byte strings for what is base64 or hex in JSON."""
    out = copy.deepcopy(report)
    for outer, inner in BINARY:
        if inner in out.get(outer, {}):
            out[outer][inner] = base64.b64decode(out[outer][inner])
    proof = out.get("enrollment", {})
    if "attestedDocument" in proof:
        proof["attestedDocument"] = base64.b64decode(proof["attestedDocument"])
    if "activation" in proof:
        proof["activation"]["secret"] = base64.b64decode(proof["activation"]["secret"])
    if "chain" in out.get("ak", {}):
        out["ak"]["chain"] = [base64.b64decode(c) for c in out["ak"]["chain"]]
    if "eventLog" in out:
        out["eventLog"] = base64.b64decode(out["eventLog"])
    if "eventLogDigest" in out:
        out["eventLogDigest"] = bytes.fromhex(out["eventLogDigest"])
    out["pcrs"] = {bank: {int(i): bytes.fromhex(v) for i, v in values.items()}
                   for bank, values in out["pcrs"].items()}
    return cbor2.dumps(out)
