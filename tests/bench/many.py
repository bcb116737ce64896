"""Many at once: what the tests of load, streams and leaks do, at full size and with its figures.

jobs      1,000 VM jobs at once over 10 subscriptions, ten times as fast as Azure and at its own pace
polled    10,000 jobs that Azure wants to be asked about each minute
waiting   10,000 jobs that wait, and 100,000 jobs at a start after a kill in the middle of submissions
streams   1,000 open event streams beside 64 writers and 4 pollers for a minute
leaks     100,000 mixed requests, accepted reports and VMs that come and go among them

Each is a function of the table that its figures go to (run.py). Figures are those of the gateway's
process (utime + stime, VmHWM, VmRSS); latencies are those that clients in processes of their own saw.
"""
import http.client
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
from reporters import Ca, Reporter
from stack import SUBSCRIPTION, Vm, vm_spec

UNLIMITED = {"TLGATE_LIMITS_ATTESTATION_VM_PER_SECOND": "0",
             "TLGATE_LIMITS_ATTESTATION_ADDRESS_PER_SECOND": "0",
             "TLGATE_LIMITS_FAILED_LOGINS_PER_SECOND": "0"}
SPEC = vm_spec()
WAL_MIB = 12  # the writer checkpoints after 4,000 pages, 15.6 MiB


class Bench:
    """One emulator and one gateway in a folder of their own."""

    def __init__(self, time_scale=1.0, **env):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tlg-"))
        self.kills = 0
        self.azure = load.emulator_of(self.folder / "e", [SUBSCRIPTION, *load.SUBSCRIPTIONS],
                                      time_scale)
        self.ca = Ca(self.folder / "ca.pem")  # of the TPMs of software
        self.gateway = load.Gateway(self.folder / "g", self.azure,
                                    TLGATE_ATTESTATION_EK_TRUST_ANCHOR=str(self.ca.path), **env)

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

    def attested_vm(self):
        """A VM that has reported, and that report."""
        vm = Vm(self.gateway, "vm1")
        first = mixed.make_report(vm, vm.token)
        answer = vm.api.request("POST", "/v1/attestation/reports", first,
                                {"Content-Type": "application/cbor"})
        assert answer.status == 200, answer
        return vm, first

    def reporters(self, n):
        return [Reporter(Vm(self.gateway, f"r{i}"), self.ca) for i in range(n)]


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


def wal_mib(gateway):
    """What the next start has to read of the WAL: frames since it was started over (SQLite file format 4.1)."""
    with (gateway.data_dir / "tlgate.db-wal").open("rb") as wal:
        head, size = wal.read(32), 0
        while wal.seek(32 + size) and (frame := wal.read(24)) and frame[8:16] == head[16:24]:
            size += 24 + int.from_bytes(head[8:12], "big")
    return size / (1 << 20)


def kill_under_load(b):
    """SIGKILL in the middle of submissions, when their WAL has grown almost to its next checkpoint; ids of
    what was acknowledged, and the WAL's MiB. The next start has to read all of it."""
    accepted = []

    def submit(api, i):
        path = load.vm_path(load.SUBSCRIPTIONS[i % len(load.SUBSCRIPTIONS)], f"k{i}", f"kill{b.kills}")
        try:
            answer = api.put(path, SPEC, check=False)
        except (OSError, http.client.HTTPException):
            return
        if answer.status == 202:
            accepted.append(answer.json["id"])

    with load.Callers(b.gateway, 16) as callers:
        sent = [callers.pool.submit(lambda i: submit(callers.api(), i), i) for i in range(20_000)]
        while len(accepted) < 100 or wal_mib(b.gateway) < WAL_MIB:
            assert not all(call.done() for call in sent)
            time.sleep(0.005)
        b.gateway.program.stop(signal.SIGKILL)
        callers.pool.shutdown(cancel_futures=True)
    b.kills += 1
    return accepted, wal_mib(b.gateway)


def ready_after_kill(table, b, what):
    """Seconds from a start to ready, with the WAL that a kill under load has left."""
    b.ready()
    accepted, wal = kill_under_load(b)
    seconds = b.ready()
    api = b.gateway.api(b.gateway.admin_key)
    assert accepted and all(api.get(f"/v1/jobs/{job}").status == 200 for job in accepted[-200:])
    print(f"killed while jobs were submitted: {len(accepted)} accepted, a WAL of {wal:.1f} MiB")
    table.add(f"{what}: s to ready", seconds, 1, atmost=True, WAL=wal, MiB=b.mib())
    b.gateway.program.stop(signal.SIGKILL)


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
        ready_after_kill(table, b, "100,000 jobs, 10,000 wait")
        clones.fill(b.gateway, templates, 100_001, 90_000)
        clones.make_due(b.gateway)
        ready_after_kill(table, b, "190,000 jobs, 100,000 due")


def streams(table, seconds=60, n=1000):
    with Bench(**UNLIMITED) as b:
        b.azure.settings(lroSeconds=0.2, retryAfter=0)
        vm, _ = b.attested_vm()
        reporters = b.reporters(4)
        waits = clones.make_templates(b.gateway)
        target = swarm.Target(b.gateway)
        before = b.mib()
        open_streams = swarm.Part(swarm.hold_streams, target, waits, n)
        open_streams.wait_ready()
        print(f"{n} streams: {(b.mib() - before) * 1024 / n:.0f} KiB each over TLS")
        work = load.work_of_writers(vm, waits, reporters, 55_000)
        writers = swarm.Part(swarm.write, target, 64, work, 0.05)
        pollers = swarm.Part(swarm.poll, target, 4, vm.path + "/bootIntegrity", 0.01)
        writers.wait_ready()
        pollers.wait_ready()
        cpu = b.cpu()
        time.sleep(seconds)
        writers.stop()
        pollers.stop()
        wrote, polled = writers.result(), pollers.result()
        print(f"64 writers for {seconds} s: {wrote['statuses']}, {b.cpu() - cpu:.1f} s of CPU")
        print("  " + "\n  ".join(load.summary(wrote)))
        share = load.share_committed(wrote)
        print(f"  {wrote['committed']} commits ({wrote['committed'] / seconds:.0f} a second), {100 * share:.0f} % of them")
        assert share >= 0.5, share
        print("4 pollers of a VM's status: " + ", ".join(load.summary(polled)))
        open_streams.stop()
        print(f"streams at the end: {open_streams.result()}")
        took = [s for part in (wrote, polled) for each in part["seconds"].values() for s in each]
        polls = [s for each in polled["seconds"].values() for s in each]
        table.add("beside the streams, longest request, s", max(took), 1, atmost=True)
        table.add("beside the streams, poll p99, ms", 1000 * load.percentile(polls, 0.99), 20,
                  atmost=True)


def leaks(table, n=100_000):
    with Bench(0.01, **UNLIMITED, **mixed.KEPT) as b:
        b.azure.settings(lroSeconds=0.2, retryAfter=0)
        vm, report = b.attested_vm()
        requests = mixed.requests_of(vm, mixed.waiting_job(b.gateway), report)
        reporter, vms = b.reporters(1)[0], mixed.Vms()
        wrong, resident = {}, []
        with load.Callers(b.gateway, 8) as callers:
            for done in range(0, n, n // 10):
                wrong |= mixed.run(callers, requests, reporter, vms, n // 10)
                resident.append(b.mib())
                print(f"after {done + n // 10} mixed requests: {resident[-1]:.2f} MiB", flush=True)
        print(f"unexpected answers: {wrong or 'none'}; {load.done_so_far(b.gateway)}")
        # The pools of jobs are full after the second tenth.
        table.add(f"{n} mixed requests, MiB more", resident[-1] - resident[1], 1, atmost=True)


PARTS = {"jobs": jobs, "polled": polled, "waiting": waiting, "streams": streams, "leaks": leaks}
