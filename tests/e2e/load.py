"""Load on the gateway: many jobs at once, and what its process costs meanwhile.

The release build is what is measured where it is there (a sanitizer's memory says nothing): see BIN.
"""
import collections
import concurrent.futures
import json
import os
import pathlib
import re
import threading
import time

import stack
from client import Api

RELEASE = pathlib.Path(os.environ.get("TLGATE_RELEASE_BIN", stack.ROOT / "build/release/bin"))
BIN = RELEASE if (RELEASE / "tlgate").exists() else stack.BIN
IS_RELEASE = BIN == RELEASE
SUBSCRIPTIONS = [f"00000000-0000-0000-0000-0000000001{n:02}" for n in range(10)]
ENDED = ("succeeded", "failed", "canceled")


class Emulator(stack.Emulator):
    bin = BIN

    def log(self):
        """The request log as it stands, one request after the other."""
        with (self.state / "requests.jsonl").open() as lines:
            for line in lines:
                yield json.loads(line)


class Gateway(stack.Gateway):
    bin = BIN


def emulator_of(folder, subscriptions, time_scale):
    arguments = ["--time-scale", str(time_scale)]
    for subscription in subscriptions:
        arguments += ["--subscription", subscription]
    return Emulator(folder, *arguments)


# ---- a process from outside ----

def memory_kib(pid, what="VmHWM"):
    """VmHWM: the most that was ever resident; VmRSS: now."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"^{what}:\s+(\d+) kB", text, re.M).group(1))


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def thread_names(pid):
    """Counter of the threads' names."""
    names = collections.Counter()
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            names[(task / "comm").read_text().strip()] += 1
        except OSError:
            pass  # it has just ended
    return names


def metric(gateway, name):
    text = gateway.api(gateway.admin_key).get("/metrics").body.decode()
    return float(re.search(rf"^{re.escape(name)} (\S+)$", text, re.M).group(1))


def done_so_far(gateway):
    """What was accepted and done since its start, as the gateway counts it."""
    return {"reports": metric(gateway, 'tlgate_attestation_reports_total{verdict="trusted"}'),
            "jobs": metric(gateway, 'tlgate_jobs_ended_total{state="succeeded"}')}


class Sampler:
    """The greatest number of threads of each name while it runs."""

    def __init__(self, pid, every=0.2):
        self.pid, self.every = pid, every
        self.most = collections.Counter()
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        while not self.stopped.wait(self.every):
            self.most |= thread_names(self.pid)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join()


# ---- many jobs ----

def vm_path(subscription, name, group="load"):
    return f"/v1/subscriptions/{subscription}/resourceGroups/{group}/virtualMachines/{name}"


class Callers:
    """Runs calls side by side, each thread with a kept connection of its own."""

    def __init__(self, gateway, n=16):
        self.gateway = gateway
        self.local = threading.local()
        self.pool = concurrent.futures.ThreadPoolExecutor(n)

    def api(self) -> Api:
        if not hasattr(self.local, "api"):
            self.local.api = self.gateway.api(self.gateway.admin_key)
        return self.local.api

    def map(self, call, items):
        """[call(api, item)] in the order of the items."""
        return list(self.pool.map(lambda item: call(self.api(), item), items))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pool.shutdown()


def submit_vms(callers, subscriptions, n):
    """n VM jobs, spread over the subscriptions; their ids. A client waits as it is told to."""
    spec = stack.vm_spec()

    def submit(api, i):
        path = vm_path(subscriptions[i % len(subscriptions)], f"vm{i}")
        end = time.monotonic() + 120
        while True:
            answer = api.put(path, spec, check=False, headers={"Idempotency-Key": f'"load-{i}"'})
            if answer.status == 202:
                return answer.json["id"]
            assert answer.status in (429, 503, 504) and time.monotonic() < end, (path, answer)
            time.sleep(float(answer.header("Retry-After") or 1))

    return callers.map(submit, range(n))


def work_of_writers(vm, waiting, reporters, stock):
    """What swarm.write does: six in ten of its requests are answered after their commit."""
    body = json.dumps(stack.vm_spec()).encode()
    return {"polls": [vm.path + "/bootIntegrity", vm.path, *(f"/v1/jobs/{j}" for j in waiting)],
            "puts": [(vm_path(s, "w%d"), body) for s in SUBSCRIPTIONS],
            "share_put": 0.06, "share_report": 0.54, "reporters": reporters, "stock": stock}


def share_committed(wrote):
    """Of the requests that the writers sent; their first ones prepared the rest and are not counted."""
    return wrote["committed"] / sum(wrote["statuses"].values())


def wait_jobs(gateway, ids, seconds):
    """Counter of the states in which the jobs ended, and the jobs that did not succeed."""
    api = gateway.api(gateway.admin_key)
    states, bad = collections.Counter(), []
    end = time.monotonic() + seconds
    for job_id in ids:
        while True:
            job = api.get(f"/v1/jobs/{job_id}", check=False).json
            if job["state"] in ENDED:
                break
            assert time.monotonic() < end, f"{sum(states.values())} of {len(ids)} ended: {job}"
            time.sleep(0.25)
        states[job["state"]] += 1
        if job["state"] != "succeeded":
            bad.append(job)
    return states, bad


def azure_saw(emulator):
    """What the emulator noted: answers that told to wait, calls before that time, throttled ones,
    creates by resource."""
    seen = {"requests": 0, "told": 0, "early": 0, "throttled": 0, "polls": 0,
            "creates": collections.Counter()}
    for row in emulator.log():
        seen["requests"] += 1
        seen["told"] += row.get("retryAfter", 0) > 0
        seen["polls"] += "/operation" in row["url"].lower()
        if row.get("note") in ("early", "throttled"):
            seen[row["note"]] += 1
        if row["method"] == "PUT" and row["status"] == 201:
            seen["creates"][row["url"].split("?")[0].lower()] += 1
    return seen


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def summary(figures):
    """Lines about the latencies of swarm.write or swarm.poll."""
    for method, seconds in figures["seconds"].items():
        share = {name: 1000 * percentile(seconds, p)
                 for name, p in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1))}
        yield f"{method}: {len(seconds)} requests, ms: " + ", ".join(
            f"{name} {value:.1f}" for name, value in share.items())
