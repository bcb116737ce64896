"""Mixed requests for the search for leaks: what portals, dashboards, pipelines and guests ask, and
what they get wrong."""
import json

from guest import to_cbor
from stack import vm_spec


def make_report(vm, token=None):
    challenge = vm.api.post("/v1/attestation/challenges", {"vmId": vm.vm_id}).json
    return to_cbor(vm.guest.report(challenge, token))


def requests_of(vm, job_id, used_report):
    """[(method, path, body, headers, expected status)]; none of them starts a job."""
    cbor = {"Content-Type": "application/cbor"}
    conflict = {"Idempotency-Key": '"mixed"'}
    bad = json.dumps({**vm_spec(), "size": 7}).encode()
    as_json = {"Content-Type": "application/json"}
    return [
        ("GET", vm.path + "/bootIntegrity", None, {}, 200),
        ("GET", vm.path + "/bootIntegrity", None, {"If-None-Match": '"no"'}, 200),
        ("GET", vm.path, None, {}, 200),
        ("GET", f"/v1/jobs/{job_id}", None, {}, 200),
        ("GET", f"/v1/jobs/{job_id}/events", None, {}, 200),
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


def run(callers, requests, n):
    """n requests, in turn; counts of (method, path without query, status) that were not expected."""
    wrong = {}

    def one(api, i):
        method, path, body, headers, expected = requests[i % len(requests)]
        answer = api.request(method, path, body, headers, check=False)
        if answer.status != expected:
            key = (method, path.split("?")[0], answer.status)
            wrong[key] = wrong.get(key, 0) + 1

    callers.map(one, range(n))
    return wrong
