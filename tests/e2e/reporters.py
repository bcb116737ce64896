"""A VM whose AK is of software: its reports are as a TPM's, fresh each, and cheap to make."""
import base64
import json
import sys

import cbor2

from stack import ROOT

sys.path.insert(0, str(ROOT / "tests/bench"))

from evidence import Ak, Ca, activate  # noqa: E402,F401  (needs the path above)

CBOR = {"Content-Type": "application/cbor"}


class Reporter:
    """Its P-256 AK is pinned by a first report, with an activated credential."""

    def __init__(self, vm, ca):
        self.ak = Ak(ca, vm, vm.guest.quote(bytes(32), list(range(8)))[2], p256=True)
        self.ask = json.dumps({"vmId": vm.vm_id}).encode()
        self.tail = cbor2.dumps("eventLog") + cbor2.dumps(self.ak.log)
        self.send(vm.api, vm.token, activate(vm.api, ca, self.ak))

    def _report(self, answer, *proofs):
        given = json.loads(answer)
        return cbor2.dumps(self.ak.report(given["challengeId"], base64.b64decode(given["nonce"]), *proofs))

    def body(self, answer):
        """What a challenge's answer is answered with, in two parts: the second is the same in all."""
        report = self._report(answer)
        assert report.endswith(self.tail)
        return report[:-len(self.tail)], self.tail

    def send(self, api, *proofs):
        given = api.request("POST", "/v1/attestation/challenges", self.ask,
                            {"Content-Type": "application/json"})
        answer = api.request("POST", "/v1/attestation/reports", self._report(given.body, *proofs), CBOR)
        assert answer.status == 200 and answer.json["verdict"] == "trusted", answer
        return answer
