"""The gateway's memory does not grow with the requests it has served.

A sanitizer keeps freed memory back, so the release build is asked (100,000 requests, and jobs:
tests/bench/jobs.py)."""
import pytest

import load
import mixed
from stack import SUBSCRIPTION, Vm

REQUESTS = 5_000
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
