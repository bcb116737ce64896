"""Jobs end to end where Azure is not kind: strangers' resources, failed operations, storms of 429, and
the wait for the first report."""
import collections
import concurrent.futures
import time

import pytest

import stack

OTHERS = [f"00000000-0000-0000-0000-0000000001{i:02d}" for i in range(3)]
NETWORK = "/providers/Microsoft.Network"


@pytest.fixture(scope="module")
def azure(folder):
    """An emulator of its own: what happens here would disturb others."""
    running = stack.Emulator(folder / "j", *[a for s in OTHERS for a in ("--subscription", s)])
    running.settings(lroSeconds=0.05, retryAfter=0)
    yield running
    running.close()


@pytest.fixture(scope="module")
def own(folder, azure):
    running = stack.Gateway(folder / "jg", azure)
    yield running
    running.close()


@pytest.fixture
def kind(azure):
    """Azure is as it was when the test ends."""
    yield azure
    azure.faults()
    azure.settings(lroSeconds=0.05, retryAfter=0, writeBucket=[200, 10], readBucket=[250, 25])


def path(name, group, subscription=stack.SUBSCRIPTION):
    return f"/v1/subscriptions/{subscription}/resourceGroups/{group}/virtualMachines/{name}"


def put(api, target, **spec):
    answer = api.put(target, stack.vm_spec(**spec))
    assert answer.status == 202, answer
    return answer.json["id"]


def test_a_strangers_resource_stops_the_job_and_stays(own, azure):
    api = own.api(own.admin_key)
    group = f"/subscriptions/{stack.SUBSCRIPTION}/resourceGroups/foreign"
    azure.arm("PUT", f"{group}?api-version=2025-04-01", {"location": "westeurope"})
    nsg = f"{group}{NETWORK}/networkSecurityGroups/vm1-nsg?api-version=2025-09-01"
    azure.arm("PUT", nsg, {"location": "westeurope", "tags": {"owner": "somebody"}})
    job = api.wait_job(put(api, path("vm1", "foreign")))
    assert job["state"] == "failed"
    assert job["error"]["code"] == "resource_exists"
    assert job["error"]["step"] == "networkSecurityGroup"
    left = azure.resources("foreign")
    assert [i.split("/")[-1] for i in left] == ["vm1-nsg"]
    assert azure.arm("GET", nsg)["tags"] == {"owner": "somebody"}
    assert api.get(path("vm1", "foreign")).status == 404


def vm_reads(azure, group):
    """The last part of each GET of the group and its VMs: a name, or what is listed."""
    below = f"/resourcegroups/{group}"
    paths = [r["url"].split("?")[0].lower() for r in azure.requests()["value"] if r["method"] == "GET"]
    return collections.Counter(p.split("/")[-1] for p in paths
                               if p.endswith(below) or below + "/providers/microsoft.compute" in p)


def test_many_submissions_share_what_they_ask_azure(own, kind, folder):
    """One list answers for the names of a group that are free, and it alone never refuses anybody."""
    group = "crowd"
    stranger = stack.Gateway(folder / "jh", kind)
    try:
        theirs = stack.Vm(stranger, "theirs", group=group)
        kind.settings(lroSeconds=60)  # the jobs stay where they are
        kind.faults({"method": "GET", "path": "*/virtualMachines/first", "nth": 1, "times": 1,
                     "action": {"delayMs": 1500}})
        kind.clear_requests()
        names = [f"n{i}" for i in range(12)] + ["Theirs"]

        def submit(name):
            return own.api(own.admin_key).put(path(name, group), stack.vm_spec())

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            first = pool.submit(submit, "first")
            while not vm_reads(kind, group)["first"]:
                time.sleep(0.02)
            answers = dict(zip(names, pool.map(submit, names)))
        assert first.result().status == 202
        assert [n for n, a in answers.items() if a.status != 202] == ["Theirs"]
        assert answers["Theirs"].code == "not_managed"
        asked = vm_reads(kind, group)
        assert 1 <= asked["virtualmachines"] <= 2 and asked["theirs"] >= 1, asked
        # What is refused was asked for just now: the stranger's VM goes, and the name is free at once.
        assert submit("theirs").status == 409
        kind.settings(lroSeconds=0.05)
        job = theirs.api.delete(theirs.path)
        assert theirs.api.wait_job(job.json["id"])["state"] == "succeeded"
        assert submit("theirs").status == 202
    finally:
        stranger.close()


def test_a_vm_in_the_making_is_judged_by_its_row(own, kind):
    """While Azure's list, which knows nothing of it yet, is still good for new names."""
    kind.settings(lroSeconds=60)  # the jobs stay where they are
    same, names = stack.vm_spec(), [path(f"n{i}", "again") for i in range(12)]
    other = {**same, "size": "Standard_D4s_v5"}

    def submit(target, spec):
        return own.api(own.admin_key).put(target, spec)

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        jobs = list(pool.map(lambda name: submit(name, same), names))
        again = list(pool.map(lambda name: submit(name, same), names))
        changed = list(pool.map(lambda name: submit(name, other), names))
    assert {a.status for a in jobs} == {202}
    assert [a.json["id"] for a in again] == [a.json["id"] for a in jobs]
    assert {a.status for a in changed} == {422}
    assert {f["code"] for a in changed for f in a.json["findings"]} == {"change_not_supported"}


@pytest.mark.parametrize("code, ends", [("QuotaExceeded", "quota_exceeded"),
                                        ("OSProvisioningTimedOut", "os_provisioning_failed")])
def test_a_vm_that_fails_is_undone(own, kind, code, ends):
    kind.faults({"method": "PUT", "path": "*/virtualMachines/vm1", "nth": 1, "times": 99,
                 "action": {"lro": "Failed", "error": {"code": code, "message": "of the test"}}})
    api = own.api(own.admin_key)
    group = f"failing-{code.lower()}"
    job = api.wait_job(put(api, path("vm1", group)))
    assert job["state"] == "failed", job
    assert job["error"]["code"] == ends
    assert job["error"]["upstream"]["code"] == code
    states = {s["name"]: s["state"] for s in job["steps"]}
    assert states["virtualMachine"] == "failed" and states["networkInterface"] == "undone"
    assert kind.resources(group) == []
    # Once Azure can, a new request makes it.
    kind.faults()
    assert api.wait_job(put(api, path("vm1", group)))["state"] == "succeeded"


@pytest.mark.parametrize("when", ["before", "after"])
def test_lost_answers_make_nothing_twice(own, kind, when):
    group = f"lost-{when}"
    kind.faults({"method": "PUT", "path": f"*/resourceGroups/{group}/*", "nth": 1, "times": 3,
                 "action": {"drop": when}})
    kind.clear_requests()
    api = own.api(own.admin_key)
    job = api.wait_job(put(api, path("vm1", group)))
    assert job["state"] == "succeeded", job
    made = collections.Counter(r["url"].split("?")[0].lower() for r in kind.requests()["value"]
                               if r["method"] == "PUT" and r["status"] == 201)
    assert made and set(made.values()) == {1}, made


def wait_step(api, job, step, state):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = {s["name"]: s for s in api.get(f"/v1/jobs/{job}").json["steps"]}[step]
        if found["state"] == state:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{step} of {job} never came to {state}")


def test_a_group_that_a_canceled_job_made_stays_for_another_job(own, kind):
    """It is empty, but the other job has taken it as existing."""
    api = own.api(own.admin_key)
    kind.faults({"method": "PUT", "path": f"*/resourceGroups/shared{NETWORK}/*", "nth": 1, "times": 9999,
                 "action": {"status": 409, "body": {"error": {"code": "AnotherOperationInProgress",
                                                              "message": "of the test"}}}})
    first = put(api, path("vm1", "shared"))
    wait_step(api, first, "networkSecurityGroup", "waiting")
    second = put(api, path("vm2", "shared"))
    wait_step(api, second, "networkSecurityGroup", "waiting")
    assert kind.resources("shared") == []
    api.post(f"/v1/jobs/{first}/cancel")
    job = api.wait_job(first)
    assert job["state"] == "canceled"
    assert job["steps"][0]["detail"] == "left in place: another VM of this gateway belongs to it"
    assert api.get(path("vm1", "shared")).status == 404
    kind.faults()
    assert api.wait_job(second)["state"] == "succeeded"


def test_a_storm_of_429_is_weathered(own, kind):
    kind.settings(writeBucket=[6, 4], readBucket=[60, 40])
    kind.clear_requests()
    api = own.api(own.admin_key)
    jobs = [put(api, path(f"vm{i}", "storm", s)) for i in range(4) for s in OTHERS]
    for job_id in jobs:
        job = api.wait_job(job_id, seconds=120)
        assert job["state"] == "succeeded", job
        assert all(s["attempts"] <= 3 for s in job["steps"])
    rows = kind.requests()["value"]
    assert sum(r["status"] == 429 for r in rows) >= 3
    # The emulator says which calls came before the Retry-After of an earlier 429 was over.
    assert [r["url"] for r in rows if r.get("note") == "early"] == []


def told(method, what, status, code, wait="2"):
    return {"method": method, "path": f"*/resourceGroups/told/*/{what}", "action": {
        "status": status, "headers": {"Retry-After": wait},
        "body": {"error": {"code": code, "message": "of the test"}}}}


def test_no_call_comes_before_its_retry_after(own, kind):
    """Whatever the answer that told to wait: accepted, in progress, busy, in use."""
    kind.settings(lroSeconds=1.5, retryAfter=1)
    kind.faults(told("GET", "vm1-nsg", 503, "ServiceUnavailable"),
                told("PUT", "vm1-vnet", 409, "AnotherOperationInProgress"),
                told("PUT", "vm1-nic", 429, "TooManyRequests"),
                told("DELETE", "vm1-nic", 400, "NicInUse", "4"))
    kind.clear_requests()
    api = own.api(own.admin_key)
    assert api.wait_job(put(api, path("vm1", "told")))["state"] == "succeeded"
    job = api.delete(path("vm1", "told")).json["id"]
    assert api.wait_job(job)["state"] == "succeeded"
    rows = kind.requests()["value"]
    assert {r["status"] for r in rows if r.get("retryAfter")} == {200, 201, 202, 400, 409, 429, 503}
    assert [(r["method"], r["url"]) for r in rows if r.get("note") == "early"] == []


def send_report(api, vm, change=lambda report: None):
    given = api.post("/v1/attestation/challenges", {"vmId": vm.vm_id}).json
    report = vm.guest.report(given, vm.token)
    change(report)
    answer = api.post("/v1/attestation/reports", report)
    assert answer.status == 200, answer
    return answer.json


def flip_pcr(report):
    digest = report["pcrs"]["sha256"]["0"]
    report["pcrs"]["sha256"]["0"] = f"{int(digest[0], 16) ^ 1:x}{digest[1:]}"


def wait_step(api, job_id, name, state):
    end = time.monotonic() + 30
    while True:
        job = api.get(f"/v1/jobs/{job_id}").json
        if {s["name"]: s["state"] for s in job["steps"]}[name] == state:
            return job
        assert time.monotonic() < end, job
        time.sleep(0.05)


def test_the_first_trusted_report_ends_the_wait(own):
    vm = stack.Vm(own, "waits", wait=False, waitForAttestation=True)
    assert wait_step(vm.api, vm.job_id, "attestation", "waiting")["state"] == "waiting"
    report = send_report(vm.api, vm)
    assert report["verdict"] == "trusted"
    job = vm.api.wait_job(vm.job_id)
    assert job["state"] == "succeeded", job
    assert job["result"]["reportId"] == report["reportId"]
    assert job["result"]["verdict"] == "trusted"


def test_an_untrusted_report_fails_the_job_and_keeps_the_vm(own, azure):
    vm = stack.Vm(own, "fails", wait=False, waitForAttestation=True)
    wait_step(vm.api, vm.job_id, "attestation", "waiting")
    assert send_report(vm.api, vm, flip_pcr)["verdict"] == "untrusted"
    job = vm.api.wait_job(vm.job_id)
    assert job["state"] == "failed" and job["error"]["code"] == "attestation_failed", job
    assert azure.vm(vm.vm_id)["vmId"] == vm.vm_id
    # Retried, it waits for another report.
    assert vm.api.request("POST", f"/v1/jobs/{vm.job_id}/retry").status == 202
    wait_step(vm.api, vm.job_id, "attestation", "waiting")
    assert send_report(vm.api, vm)["verdict"] == "trusted"
    assert vm.api.wait_job(vm.job_id)["state"] == "succeeded"


def test_no_report_in_time_fails_the_job_and_keeps_the_vm(own, azure):
    vm = stack.Vm(own, "silent", wait=False, waitForAttestation=True, attestationTimeout="PT1M")
    job = vm.api.wait_job(vm.job_id, seconds=120)
    assert job["state"] == "failed" and job["error"]["code"] == "attestation_timeout", job
    assert azure.vm(vm.vm_id)["vmId"] == vm.vm_id


def test_a_wait_survives_a_kill(own):
    vm = stack.Vm(own, "killed", wait=False, waitForAttestation=True)
    wait_step(vm.api, vm.job_id, "attestation", "waiting")
    own.restart(9)
    api = own.api(own.admin_key)
    assert send_report(api, vm)["verdict"] == "trusted"
    assert api.wait_job(vm.job_id)["state"] == "succeeded"
