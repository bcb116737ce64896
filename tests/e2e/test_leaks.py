"""The gateway's memory does not grow with the requests it has served, the reports it has accepted and the
VMs it has made and deleted.

A sanitizer keeps freed memory back, so the release build is asked (the same with 100,000 requests:
tests/bench/run.py leaks)."""
import sqlite3

import pytest

import load
import mixed
from reporters import Ca, Reporter
from stack import SUBSCRIPTION, Vm

REQUESTS = 5_000
REPORTS, KEPT = 600, 20
GROWTH_KIB = 1024  # for 5,000 requests: 200 bytes of each
OPTIONS = {"TLGATE_LIMITS_ATTESTATION_VM_PER_SECOND": "0",
           "TLGATE_LIMITS_FAILED_LOGINS_PER_SECOND": "0"}


@pytest.mark.skipif(not load.IS_RELEASE, reason="the release build is not there")
def test_memory_stays_flat(tmp_path, folder):
    emulator = load.emulator_of(folder / "leaks-e", [SUBSCRIPTION], 0.01)
    emulator.settings(lroSeconds=0.2, retryAfter=0)
    ca = Ca(tmp_path / "ca.pem")
    gateway = load.Gateway(tmp_path / "g", emulator, TLGATE_ATTESTATION_EK_TRUST_ANCHOR=str(ca.path),
                           TLGATE_LIMITS_ATTESTATION_ADDRESS_PER_SECOND="0", **mixed.KEPT, **OPTIONS)
    try:
        vm = Vm(gateway, "vm1")
        report = mixed.make_report(vm, vm.token)
        vm.api.request("POST", "/v1/attestation/reports", report,
                       {"Content-Type": "application/cbor"})
        requests = mixed.requests_of(vm, mixed.waiting_job(gateway), report)
        reporter, vms = Reporter(Vm(gateway, "vm2"), ca), mixed.Vms()
        with load.Callers(gateway, 8) as callers:
            # Caches and pools fill, those of jobs slowly: few of the turns are one.
            wrong = mixed.run(callers, requests, reporter, vms, REQUESTS + REQUESTS // 2)
            first, begun = load.memory_kib(gateway.pid, "VmRSS"), load.done_so_far(gateway)
            wrong |= mixed.run(callers, requests, reporter, vms, REQUESTS)
            last, ended = load.memory_kib(gateway.pid, "VmRSS"), load.done_so_far(gateway)
        did = {name: ended[name] - begun[name] for name in ended}
        print(f"{first} KiB, after {REQUESTS} more requests {last} KiB; {did}")
        assert not wrong
        assert did["reports"] > REQUESTS // 20 and did["jobs"] >= 40
        assert last - first < GROWTH_KIB
    finally:
        gateway.close()
        emulator.close()


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
        reporter = Reporter(vm, ca)
        with load.Callers(gateway, 8) as callers:
            def send(n):
                callers.map(lambda api, i: reporter.send(api), range(n))
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
