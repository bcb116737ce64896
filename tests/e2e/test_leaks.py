"""The gateway's memory does not grow with the requests it has served.

A sanitizer keeps freed memory back, so the release build is asked (100,000 requests, and jobs:
tests/bench/run.py leaks)."""
import base64
import sqlite3
import sys

import cbor2
import pytest

import load
import mixed
from stack import ROOT, SUBSCRIPTION, Vm

sys.path.insert(0, str(ROOT / "tests/bench"))

from evidence import Ak, Ca, activate  # noqa: E402  (needs the path above)

REQUESTS = 5_000
REPORTS, KEPT = 600, 20
GROWTH_KIB = 1024  # for 10,000 requests: 100 bytes of each
OPTIONS = {"TLGATE_LIMITS_ATTESTATION_VM_PER_SECOND": "0",
           "TLGATE_LIMITS_FAILED_LOGINS_PER_SECOND": "0"}


@pytest.mark.skipif(not load.IS_RELEASE, reason="the release build is not there")
def test_memory_stays_flat(tmp_path, folder):
    emulator = load.emulator_of(folder / "leaks-e", [SUBSCRIPTION], 0.01)  # dry runs read from Azure
    emulator.settings(lroSeconds=0.2, retryAfter=0)
    gateway = load.Gateway(tmp_path / "g", emulator, **OPTIONS)
    try:
        vm = Vm(gateway, "vm1")
        report = mixed.make_report(vm, vm.token)
        vm.api.request("POST", "/v1/attestation/reports", report,
                       {"Content-Type": "application/cbor"})
        requests = mixed.requests_of(vm, vm.job_id, report)
        with load.Callers(gateway, 8) as callers:
            wrong = mixed.run(callers, requests, REQUESTS // 2)  # caches and pools fill
            first = load.memory_kib(gateway.pid, "VmRSS")
            for _ in range(2):
                wrong |= mixed.run(callers, requests, REQUESTS)
            last = load.memory_kib(gateway.pid, "VmRSS")
        print(f"{first} KiB, after {2 * REQUESTS} requests {last} KiB")
        assert not wrong
        assert last - first < GROWTH_KIB
    finally:
        gateway.close()
        emulator.close()


def send_report(api, ak, *proofs):
    given = api.post("/v1/attestation/challenges", {"vmId": ak.vm_id}).json
    body = cbor2.dumps(ak.report(given["challengeId"], base64.b64decode(given["nonce"]), *proofs))
    answer = api.request("POST", "/v1/attestation/reports", body, {"Content-Type": "application/cbor"})
    return answer.json["verdict"]


def rows(gateway, table):
    db = sqlite3.connect(f"file:{gateway.folder}/data/tlgate.db?mode=ro", uri=True)
    try:
        return db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    finally:
        db.close()


@pytest.mark.skipif(not load.IS_RELEASE, reason="the release build is not there")
def test_reports_stay_within_their_retention(tmp_path, emulator):
    """Of a P-256 AK (a million: tests/bench/run.py reports --memory)."""
    ca = Ca(tmp_path / "ca.pem")
    gateway = load.Gateway(tmp_path / "g", emulator, TLGATE_STORE_REPORTS_PER_VM=str(KEPT),
                           TLGATE_STORE_PRUNE_EVERY="1s", TLGATE_ATTESTATION_EK_TRUST_ANCHOR=str(ca.path),
                           TLGATE_LIMITS_ATTESTATION_ADDRESS_PER_SECOND="0", **OPTIONS)
    try:
        vm = Vm(gateway, "p256", group="own")
        ak = Ak(ca, vm, vm.guest.quote(bytes(32), list(range(8)))[2], p256=True)
        assert send_report(vm.api, ak, vm.token, activate(vm.api, ca, ak)) == "trusted"
        with load.Callers(gateway, 8) as callers:
            def send(n):
                said = []
                callers.map(lambda api, i: said.append(send_report(api, ak)), range(n))
                assert said == ["trusted"] * n
                return load.memory_kib(gateway.pid, "VmRSS")

            first = send(REPORTS)
            audit = rows(gateway, "audit")
            last = send(2 * REPORTS)
        print(f"{first} KiB, after {2 * REPORTS} reports {last} KiB")
        assert last - first < GROWTH_KIB // 2
        assert KEPT <= rows(gateway, "report") <= KEPT + 2  # and the first of each hour
        assert rows(gateway, "audit") <= audit + 2
    finally:
        gateway.close()
