"""Many jobs: all succeed, in few threads and little memory, and Azure is never asked too soon.

The same with more of everything, and at Azure's own pace: tests/bench/run.py jobs polled waiting."""
import signal
import time

import pytest

import clones
import load
from stack import vm_spec

JOBS = 1000
WAITING, ENDED = 10_000, 30_000
MEMORY_MIB = 128 if load.IS_RELEASE else 1024


@pytest.fixture
def azure(tmp_path):
    emulator = load.emulator_of(tmp_path / "e", load.SUBSCRIPTIONS, 0.1)
    yield emulator
    emulator.close()


def test_many_jobs_at_once(azure, tmp_path):
    """Azure's buckets are made small, so that all of them are found empty many times, and its operations
    want to be asked after a second."""
    azure.settings(writeBucket=[10, 2], readBucket=[40, 10], retryAfter=10)
    gateway = load.Gateway(tmp_path / "g", azure)
    with load.Sampler(gateway.pid) as sampler, load.Callers(gateway) as callers:
        ids = load.submit_vms(callers, load.SUBSCRIPTIONS, JOBS)
        states, bad = load.wait_jobs(gateway, ids, 120)
    peak = load.memory_kib(gateway.pid) / 1024
    writes = load.metric(gateway, "tlgate_store_writes_total")
    gateway.close()
    assert states == {"succeeded": JOBS}, bad[:3]
    saw = load.azure_saw(azure)
    print(f"{saw['requests']} requests, {saw['told']} answers told to wait, {saw['throttled']} throttled,"
          f" {writes:.0f} writes, at most {peak:.0f} MiB")
    assert saw["throttled"] > 0, "the buckets were never empty: this proved nothing"
    # Five operations of each job, the first poll after each 201 among what is told to wait.
    assert saw["told"] >= 5 * JOBS and saw["polls"] >= 5 * JOBS
    assert saw["early"] == 0
    # Those that wait for a bucket do not all come back whenever it has one token.
    assert writes < 2.5 * saw["requests"]
    assert max(saw["creates"].values()) == 1
    assert sum("/virtualmachines/" in path and "/extensions/" not in path
               for path in saw["creates"]) == JOBS
    assert sampler.most["jobs"] + sampler.most["arm"] in range(2, 5), sampler.most
    assert peak < MEMORY_MIB


def test_polls_keep_the_time_they_are_told(azure, tmp_path):
    azure.settings(lroSeconds=40, retryAfter=20)  # 4 and 2 s
    gateway = load.Gateway(tmp_path / "g", azure)
    with load.Callers(gateway) as callers:
        ids = load.submit_vms(callers, load.SUBSCRIPTIONS, 10)
        time.sleep(9)
        callers.map(lambda api, job_id: api.post(f"/v1/jobs/{job_id}:cancel"), ids)
    gateway.close()
    saw = load.azure_saw(azure)
    assert saw["polls"] >= 20 and saw["told"] >= 20
    assert saw["early"] == 0


def seconds_to_ready(gateway):
    start = time.monotonic()
    gateway.start()
    api = gateway.api(gateway.admin_key)
    while api.get("/readyz").status != 200:
        time.sleep(0.005)
    return time.monotonic() - start


def test_waiting_jobs_cost_nothing(azure, tmp_path):
    """A job that waits is a row, not a thread: also after a kill, with many more that have ended."""
    gateway = load.Gateway(tmp_path / "g", azure)
    templates = clones.make_templates(gateway)
    gateway.program.stop(signal.SIGKILL)
    clones.fill(gateway, templates, 1, WAITING)
    clones.fill(gateway, templates, WAITING + 1, ENDED, "succeeded")
    ready = seconds_to_ready(gateway)
    before = load.cpu_seconds(gateway.pid)
    time.sleep(5)
    share = (load.cpu_seconds(gateway.pid) - before) / 5
    resident = load.memory_kib(gateway.pid, "VmRSS") / 1024
    print(f"ready in {ready:.2f} s, {100 * share:.1f} % of a core, {resident:.0f} MiB")
    api = gateway.api(gateway.admin_key)
    # They are there, and the gateway works beside them.
    jobs = api.get("/v1/jobs?state=waiting&top=100").json
    assert len(jobs["value"]) == 100 and jobs["nextLink"]
    azure.settings(lroSeconds=0.5, retryAfter=0)
    answer = api.put(load.vm_path(load.SUBSCRIPTIONS[0], "another"), vm_spec())
    assert api.wait_job(answer.json["id"])["state"] == "succeeded"
    # All of them due at once do not stop it from being ready either.
    gateway.program.stop(signal.SIGKILL)
    clones.make_due(gateway)
    again = seconds_to_ready(gateway)
    gateway.close()
    assert ready < (1 if load.IS_RELEASE else 5)
    assert again < (1 if load.IS_RELEASE else 5)
    assert share < 0.02
    assert resident < MEMORY_MIB
