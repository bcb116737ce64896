"""Mixed requests for the search for leaks: what portals, dashboards, pipelines and guests ask, and
what they get wrong."""
import collections
import itertools
import json
import time

from guest import to_cbor
from stack import SUBSCRIPTION, Vm, vm_spec

# SQLite's caches grow with the database up to bounds of their own, some 24 MiB: the database is kept small.
KEPT = {"TLGATE_STORE_KEEP_JOBS": "1s", "TLGATE_STORE_KEEP_AUDIT": "1s", "TLGATE_STORE_REPORTS_PER_VM": "20",
        "TLGATE_STORE_PRUNE_EVERY": "1s"}
TURNS_OF_A_VM = 200  # of that many requests one makes a VM and one deletes another


def make_report(vm, token=None):
    challenge = vm.api.post("/v1/attestation/challenges", {"vmId": vm.vm_id}).json
    return to_cbor(vm.guest.report(challenge, token))


def waiting_job(gateway):
    """One that outlasts the test: it waits for a report that never comes."""
    return Vm(gateway, "waits", wait=False, waitForAttestation=True).job_id


def requests_of(vm, job_id, used_report):
    """[(method, path, body, headers, expected status)]; none of them changes anything."""
    cbor = {"Content-Type": "application/cbor"}
    conflict = {"Idempotency-Key": '"mixed"'}
    bad = json.dumps({**vm_spec(), "size": 7}).encode()
    as_json = {"Content-Type": "application/json"}
    return [
        ("GET", vm.path + "/bootIntegrity", None, {}, 200),
        ("GET", vm.path + "/bootIntegrity", None, {"If-None-Match": '"no"'}, 200),
        ("GET", vm.path, None, {}, 200),
        ("GET", f"/v1/jobs/{job_id}", None, {}, 200),
        ("GET", "/v1/jobs?top=5", None, {}, 200),
        ("POST", "/v1/attestation/challenges", json.dumps({"vmId": vm.vm_id}).encode(), as_json,
         201),
        ("POST", "/v1/attestation/reports", used_report, cbor, 409),
        ("POST", "/v1/attestation/reports", b"\xa1\x61", cbor, 400),
        ("PUT", vm.path, bad, {**as_json, **conflict}, 400),
        ("PUT", vm.path + "?dryRun=true", json.dumps(vm.body).encode(), as_json, 200),
        ("GET", "/v1/nothing", None, {}, 404),
        ("DELETE", "/livez", None, {}, 405),
        ("GET", "/metrics", None, {}, 200),
        ("GET", vm.path, None, {"Authorization": "Bearer tlg_x.y"}, 401),
    ]


class Vms:
    """VMs that come and go: each call makes one, and deletes the one made a while ago; of every fourth the
    deletion's stream is followed to its end."""

    def __init__(self, ahead=16):
        self.ahead, self.made, self.numbers = ahead, collections.deque(), itertools.count()
        self.deleted = itertools.count()

    def __call__(self, api):
        i = next(self.numbers)
        path = f"/v1/subscriptions/{SUBSCRIPTION}/resourceGroups/cycle/virtualMachines/c{i}"
        answer = api.put(path, vm_spec(), headers={"Idempotency-Key": f'"cycle-{i}"'})
        assert answer.status == 202, answer
        self.made.append(path)
        if len(self.made) > self.ahead:
            self.delete(api)

    def delete(self, api):
        path, end = self.made.popleft(), time.monotonic() + 60
        while api.get(path).json["provisioningState"] != "ready":  # its job may be pruned by now
            assert time.monotonic() < end, path
            time.sleep(0.05)
        answer = api.delete(path)
        assert answer.status == 202, answer
        if next(self.deleted) % 4 == 0:
            events = api.get(f"/v1/jobs/{answer.json['id']}/events").body
            assert b"event: end" in events, events


def run(callers, requests, reporter, vms, n):
    """n turns: most are a request, one in each round a report that is accepted, some make and delete a VM.
    Counts of (method, path without query, status) that were not expected."""
    wrong = {}

    def one(api, i):
        if i % TURNS_OF_A_VM == 0:
            vms(api)
            return
        if i % (len(requests) + 1) == len(requests):
            reporter.send(api)
            return
        method, path, body, headers, expected = requests[i % (len(requests) + 1)]
        answer = api.request(method, path, body, headers, check=False)
        if answer.status != expected:
            key = (method, path.split("?")[0], answer.status)
            wrong[key] = wrong.get(key, 0) + 1

    callers.map(one, range(n))
    return wrong
