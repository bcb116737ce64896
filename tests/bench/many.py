"""Many at once: what the tests of load, streams and leaks do, at full size and with its figures.

jobs      1,000 VM jobs at once over 10 subscriptions, ten times as fast as Azure and at its own pace
polled    10,000 jobs that Azure wants to be asked about each minute
waiting   10,000 jobs that wait, and 100,000 jobs at a start after a kill
streams   1,000 open event streams beside 64 writers and 4 pollers for a minute
leaks     100,000 mixed requests

Each is a function of the table that its figures go to (run.py). Figures are those of the gateway's
process (utime + stime, VmHWM, VmRSS); latencies are those that clients in processes of their own saw.
"""
import json
import os
import pathlib
import shutil
import signal
import tempfile
import time

import clones
import load
import mixed
import swarm
from stack import SUBSCRIPTION, Vm, vm_spec

UNLIMITED = {"TLGATE_LIMITS_ATTESTATION_VM_PER_SECOND": "0",
             "TLGATE_LIMITS_ATTESTATION_ADDRESS_PER_SECOND": "0",
             "TLGATE_LIMITS_FAILED_LOGINS_PER_SECOND": "0"}


class Bench:
    """One emulator and one gateway in a folder of their own."""

    def __init__(self, time_scale=1.0, **env):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tlg-"))
        self.azure = load.emulator_of(self.folder / "e", [SUBSCRIPTION, *load.SUBSCRIPTIONS],
                                      time_scale)
        self.gateway = load.Gateway(self.folder / "g", self.azure, **env)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.gateway.program.stop()
        self.azure.program.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def cpu(self):
        return load.cpu_seconds(self.gateway.pid)

    def mib(self, what="VmRSS"):
        return load.memory_kib(self.gateway.pid, what) / 1024

    def ready(self):
        start = time.monotonic()
        self.gateway.start()
        api = self.gateway.api(self.gateway.admin_key)
        while api.get("/readyz", check=False).status != 200:
            time.sleep(0.002)
        return time.monotonic() - start

    def attested_vm(self, n_reports):
        """A VM that has reported, and n reports of its that are still to be sent."""
        vm = Vm(self.gateway, "vm1")
        first = mixed.make_report(vm, vm.token)
        answer = vm.api.request("POST", "/v1/attestation/reports", first,
                                {"Content-Type": "application/cbor"})
        assert answer.status == 200, answer
        return vm, first, [mixed.make_report(vm) for _ in range(n_reports)]


def many_jobs(table, time_scale, n=1000):
    with Bench(time_scale) as b:
        b.azure.settings(retryAfter=round(1 / time_scale))  # a second, which is the least there is
        start = time.monotonic()
        with load.Sampler(b.gateway.pid) as threads, load.Callers(b.gateway) as callers:
            ids = load.submit_vms(callers, load.SUBSCRIPTIONS, n)
            submitted = time.monotonic() - start
            states, _ = load.wait_jobs(b.gateway, ids, 1800)
        took = time.monotonic() - start
        saw = load.azure_saw(b.azure)
        print(f"{n} jobs, time x{time_scale}: {dict(states)} in {took:.1f} s, all submitted after"
              f" {submitted:.1f} s; at most {b.mib('VmHWM'):.0f} MiB, {b.cpu():.1f} s of CPU;"
              f" threads {dict(threads.most)}")
        print(f"  Azure: {saw['requests']} requests, {saw['told']} of them told to wait, {saw['throttled']} throttled,"
              f" {saw['early']} before their time, at most {max(saw['creates'].values())} create of"
              " one resource")
        assert dict(states) == {"succeeded": n} and saw["early"] == 0, (states, saw["early"])
        assert saw["told"] >= 5 * n, saw["told"]
        table.add(f"{n} jobs, time x{time_scale}, of 128 MiB", b.mib("VmHWM") / 128, 1, atmost=True,
                  MiB=b.mib("VmHWM"), seconds=took, threads=threads.most["jobs"] + threads.most["arm"])


def jobs(table):
    many_jobs(table, 0.1)
    many_jobs(table, 1.0)


def watch_polls(b, seconds):
    """CPU and requests to Azure over that time."""
    cpu, seen = b.cpu(), sum(1 for _ in b.azure.log())
    time.sleep(seconds)
    sent = sum(1 for _ in b.azure.log()) - seen
    return (b.cpu() - cpu) / seconds, sent / seconds


def cores(pid, core):
    """The process with all its threads on one core."""
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})


def polled(table, seconds=60):
    """Once all of them were asked. The gateway has a core of its own, as in the other benches."""
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {1})
    try:
        watch_polled(table, seconds)
    finally:
        os.sched_setaffinity(0, everywhere)


def watch_polled(table, seconds):
    with Bench() as b:
        templates = clones.make_templates(b.gateway)
        b.gateway.program.stop(signal.SIGKILL)
        clones.fill(b.gateway, templates, 1, 10_000)
        clones.spread_due(b.gateway, 60)
        b.azure.settings(retryAfter=60)
        b.ready()
        cores(b.gateway.pid, 0)
        time.sleep(64)
        share, rate = watch_polls(b, seconds)
        table.add("10,000 jobs polled, % of a core", 100 * share, 2, atmost=True, polls_per_s=rate,
                  us_each=1e6 * share / rate, MiB=b.mib())


def waiting(table):
    with Bench() as b:
        templates = clones.make_templates(b.gateway)
        b.gateway.program.stop(signal.SIGKILL)
        clones.fill(b.gateway, templates, 1, 10_000)
        b.ready()
        share, _ = watch_polls(b, 20)
        table.add("10,000 jobs waiting, % of a core", 100 * share, 2, atmost=True, MiB=b.mib())
        b.gateway.program.stop(signal.SIGKILL)
        clones.make_due(b.gateway)
        b.azure.settings(retryAfter=600)
        b.ready()
        share, rate = watch_polls(b, 20)
        print(f"10,000 due at once: {100 * share:.0f} % of a core at {rate:.0f} polls a second"
              f" (Azure's limit of 10 subscriptions is 250), {b.mib():.0f} MiB")
        b.gateway.program.stop(signal.SIGKILL)
        clones.fill(b.gateway, templates, 10_001, 90_000, "succeeded")
        table.add("100,000 jobs, 10,000 wait: s to ready", b.ready(), 1, atmost=True)
        b.gateway.program.stop(signal.SIGKILL)
        clones.fill(b.gateway, templates, 100_001, 90_000)
        clones.make_due(b.gateway)
        table.add("190,000 jobs, 100,000 due: s to ready", b.ready(), 1, atmost=True, MiB=b.mib())


def streams(table, seconds=60, n=1000):
    with Bench(**UNLIMITED) as b:
        b.azure.settings(lroSeconds=0.2, retryAfter=0)
        vm, _, reports = b.attested_vm(100)
        waits = clones.make_templates(b.gateway)
        target = swarm.Target(b.gateway)
        before = b.mib()
        open_streams = swarm.Part(swarm.hold_streams, target, waits, n)
        open_streams.wait_ready()
        print(f"{n} streams: {(b.mib() - before) * 1024 / n:.0f} KiB each over TLS")
        body = json.dumps(vm_spec()).encode()
        work = {"polls": [vm.path + "/bootIntegrity", vm.path, *(f"/v1/jobs/{j}" for j in waits)],
                "puts": [(load.vm_path(s, "w%d"), body) for s in load.SUBSCRIPTIONS],
                "share_put": 0.01, "reports": reports, "vm_id": vm.vm_id}
        cpu = b.cpu()
        writers = swarm.Part(swarm.write, target, 64, work, 0.05)
        pollers = swarm.Part(swarm.poll, target, 4, vm.path + "/bootIntegrity", 0.01)
        writers.wait_ready()
        pollers.wait_ready()
        time.sleep(seconds)
        writers.stop()
        pollers.stop()
        wrote, polled = writers.result(), pollers.result()
        print(f"64 writers for {seconds} s: {wrote['statuses']}, {b.cpu() - cpu:.1f} s of CPU")
        print("  " + "\n  ".join(load.summary(wrote)))
        print("4 pollers of a VM's status: " + ", ".join(load.summary(polled)))
        open_streams.stop()
        print(f"streams at the end: {open_streams.result()}")
        took = [s for part in (wrote, polled) for each in part["seconds"].values() for s in each]
        polls = [s for each in polled["seconds"].values() for s in each]
        table.add("beside the streams, longest request, s", max(took), 1, atmost=True)
        table.add("beside the streams, poll p99, ms", 1000 * load.percentile(polls, 0.99), 20,
                  atmost=True)


def leaks(table, n=100_000):
    with Bench(0.01, **UNLIMITED) as b:
        b.azure.settings(lroSeconds=0.2, retryAfter=0)
        vm, report, _ = b.attested_vm(0)
        requests = mixed.requests_of(vm, vm.job_id, report)
        wrong, resident = {}, []
        with load.Callers(b.gateway, 8) as callers:
            for done in range(0, n, n // 10):
                wrong |= mixed.run(callers, requests, n // 10)
                resident.append(b.mib())
                print(f"after {done + n // 10} mixed requests: {resident[-1]:.2f} MiB", flush=True)
        print(f"unexpected answers: {wrong or 'none'}")
        table.add(f"{n} mixed requests, MiB more", resident[-1] - resident[0], 1, atmost=True)


PARTS = {"jobs": jobs, "polled": polled, "waiting": waiting, "streams": streams, "leaks": leaks}
