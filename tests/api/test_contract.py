"""Every operation of the contract, every status it declares. The generic statuses are derived from
the document, so that a new operation is exercised without a new test; the others stand below. What is
declared and seen by nobody fails in tests/api/seen.py."""
import json
import signal
import time
import uuid

import pytest

from client import CONTRACT
from stack import SUBSCRIPTION, Gateway, vm_spec

OPERATIONS = {o["operationId"]: (method, template, o)
              for template, item in CONTRACT.document["paths"].items()
              for method, o in ((m.upper(), o) for m, o in item.items() if isinstance(o, dict))
              if "operationId" in o}
GROUP = "contract"
VM = f"/v1/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/virtualMachines/"
JSON = {"Content-Type": "application/json"}
# Of operations that look at the body before they look for the resource.
BODIES = {"accept_baseline": json.dumps({"reportId": str(uuid.uuid4())}).encode(),
          "requalify_virtual_machine": b'{"decision":"dismiss"}',
          "create_activation": json.dumps({"vmId": str(uuid.uuid4()), "ekCertificate": "AAAA",
                                           "akPublic": "AAAA"}).encode()}


def with_status(status):
    return sorted(name for name, (_, _, o) in OPERATIONS.items() if str(status) in o["responses"])


def target(name, /, **values):
    """The operation's path with harmless values."""
    known = {"subscriptionId": SUBSCRIPTION, "resourceGroup": GROUP, "name": "nothing-here",
             "id": str(uuid.uuid4()), "code": "not_found", **values}
    path = OPERATIONS[name][1]
    for key, value in known.items():
        path = path.replace("{" + key + "}", value)
    assert "{" not in path, path
    return path


def body_of(name):
    """(body, headers) that get past the media type."""
    operation = OPERATIONS[name][2]
    if "requestBody" not in operation:
        return None, {}
    return BODIES.get(name, b"{}"), dict(JSON)


def call(api, name, path=None, headers=None):
    body, more = body_of(name)
    return api.request(OPERATIONS[name][0], path or target(name), body, {**more, **(headers or {})})


@pytest.mark.parametrize("name", with_status(401))
def test_401_without_a_credential(anonymous, name):
    answer = call(anonymous, name)
    assert answer.status == 401 and answer.code == "unauthenticated", answer


@pytest.mark.parametrize("name", with_status(400))
def test_400_for_an_unknown_query_parameter(api, name):
    answer = call(api, name, target(name) + "?nonsense=1")
    assert answer.status == 400 and answer.code == "validation_failed", answer
    assert answer.json["errors"], answer


@pytest.mark.parametrize("name", with_status(406))
def test_406_where_nothing_acceptable_is_made(api, name):
    answer = call(api, name, headers={"Accept": "image/png"})
    assert answer.status == 406 and answer.code == "not_acceptable", answer


@pytest.mark.parametrize("name", with_status(415))
def test_415_for_another_media_type(api, name):
    answer = api.request(OPERATIONS[name][0], target(name), b"<x/>",
                         {"Content-Type": "application/xml"})
    assert answer.status == 415 and answer.code == "unsupported_media_type", answer


@pytest.mark.parametrize("name", with_status(413))
def test_413_for_one_byte_too_many(api, name):
    size = OPERATIONS[name][2]["x-max-body"] + 1
    answer = api.request(OPERATIONS[name][0], target(name), b" " * size, dict(JSON))
    assert answer.status == 413 and answer.code == "body_too_large", answer


OPTIONAL = sorted(n for n, (_, _, o) in OPERATIONS.items()
                  if o.get("requestBody", {}).get("$ref") == "#/components/requestBodies/Nothing")


@pytest.mark.parametrize("name", OPTIONAL)
@pytest.mark.parametrize("body, headers, code", [
    (None, {}, "not_found"), (b"", {"Content-Type": "application/x-www-form-urlencoded"}, "not_found"),
    (b"", JSON, "not_found"), (b"{}", JSON, "not_found"), (b" {} ", JSON, "not_found"),
    (b'{"a":1}', JSON, "validation_failed"), (b"[]", JSON, "validation_failed"),
    (b"null", JSON, "bad_request"), (b"{", JSON, "bad_request"),
    (b"{}", {}, "unsupported_media_type")])
def test_nothing_may_be_said_by_no_body_and_by_an_empty_object(api, name, body, headers, code):
    """Many clients send {} with each POST."""
    answer = api.request(OPERATIONS[name][0], target(name), body, headers)
    assert answer.code == code, answer


# A report's 403 is not_enrolled: tests/e2e/test_evidence.py.
@pytest.mark.parametrize("name", sorted(set(with_status(403)) - {"create_report"}))
def test_403_outside_of_role_or_scope(gateway, name):
    other = gateway.api(gateway.make_key("reader", "/subscriptions/" + str(uuid.uuid4())))
    answer = call(other, name)
    assert answer.status == 403 and answer.code == "forbidden", answer


@pytest.mark.parametrize("name", with_status(404))
def test_404_for_what_is_not_there(api, name):
    answer = call(api, name, target(name, code="no_such_problem"))
    assert answer.status == 404 and answer.code == "not_found", answer


@pytest.fixture(scope="module")
def vm(gateway, make_vm, api, anonymous):
    """One VM with a report: lists and single reads have something to show."""
    made = make_vm("contract1", group=GROUP)
    given = anonymous.post("/v1/attestation/challenges", {"vmId": made.vm_id}).json
    report = anonymous.post("/v1/attestation/reports", made.guest.report(given, made.token))
    assert report.status == 200, report
    made.report_id = report.json["reportId"]
    policy = api.put("/v1/attestation/policies/contract1", {"scopes": [], "rules": {}})
    assert policy.status in (200, 201), policy
    made.baseline_id = api.get("/v1/attestation/baselines").json["value"][0]["id"]
    return made


def id_for(name, vm):
    if "baseline" in name:
        return vm.baseline_id
    return vm.report_id if "report" in name else vm.job_id


@pytest.mark.parametrize("name", [n for n in with_status(200) if OPERATIONS[n][0] == "GET"])
def test_200_and_304(api, vm, name):
    path = target(name, name="contract1", id=id_for(name, vm))
    answer = api.get(path)
    assert answer.status == 200, answer
    if "304" in OPERATIONS[name][2]["responses"]:
        etag = answer.header("ETag")
        again = api.get(path, headers={"If-None-Match": etag})
        assert again.status == 304 and again.body == b"" and again.header("ETag") == etag, again
        assert api.get(path, headers={"If-None-Match": '"other", ' + etag}).status == 304
        assert api.get(path, headers={"If-None-Match": '"other"'}).status == 200


def test_the_stream_ends_with_the_job(api, vm):
    answer = api.get(f"/v1/jobs/{vm.job_id}/events")
    text = answer.body.decode()
    ids = [int(line[3:]) for line in text.splitlines() if line.startswith("id:")]
    assert ids == list(range(1, len(ids) + 1)) and "event: end" in text, text
    rest = api.get(f"/v1/jobs/{vm.job_id}/events", headers={"Last-Event-ID": str(ids[-2])})
    assert f"id: {ids[-2]}\n" not in rest.body.decode() and "event: end" in rest.body.decode()


# --- virtual machines ----------------------------------------------------------------------------


def test_put_equal_to_the_present_state_writes_nothing(api, emulator, vm):
    emulator.clear_requests()
    answer = api.put(vm.path, vm.body)
    assert answer.status == 202, answer
    job = api.wait_job(answer.json["id"])
    assert job["state"] == "succeeded", job
    rows = emulator.requests()
    rows = rows["value"] if isinstance(rows, dict) else rows
    assert not [r for r in rows if r["method"] != "GET" and vm.name in r["url"]], rows


def test_dry_run_writes_nothing_and_its_plan_can_be_run(api, emulator, vm):
    path, spec = VM + "planned", vm_spec()
    emulator.clear_requests()
    plan = api.put(path + "?dryRun=true", spec)
    assert plan.status == 200 and plan.json["planDigest"], plan
    assert [c["method"] for c in plan.json["calls"]].count("PUT") >= 4, plan
    rows = emulator.requests()
    rows = rows["value"] if isinstance(rows, dict) else rows
    assert all(r["method"] == "GET" for r in rows), rows
    assert api.get(path).status == 404
    stale = api.put(path + "?plan=" + "0" * 64, spec)
    assert stale.status == 409 and stale.code == "plan_stale", stale
    run = api.put(path + "?plan=" + plan.json["planDigest"], spec)
    assert run.status == 202, run
    assert api.wait_job(run.json["id"])["state"] == "succeeded"


PREFLIGHT = [
    ("a location that is not there", {"location": "mars"}, "#/location"),
    ("a size without Trusted Launch", {"size": "Standard_A2_v2"}, "#/size"),
    ("a size that is not there", {"size": "Standard_Nothing_v9"}, "#/size"),
    ("an image that is not there", {"image": {"publisher": "Canonical", "offer": "nothing",
                                              "sku": "none", "version": "latest"}}, "#/image"),
    ("a group that is not there", {"createResourceGroup": False}, "#/createResourceGroup"),
    ("a reserved user name", {"admin": {"username": "admin", "sshPublicKeys":
                                        vm_spec()["admin"]["sshPublicKeys"]}}, "#/admin/username"),
    ("a weak password", {"admin": {"username": "azureuser", "password": "password1234"}},
     "#/admin/password"),
]


@pytest.mark.parametrize("what, change, pointer", PREFLIGHT, ids=[p[0] for p in PREFLIGHT])
def test_422_says_why_before_anything_is_written(api, emulator, what, change, pointer):
    path = VM.replace(GROUP, "preflight") + "vm1"
    emulator.clear_requests()
    answer = api.put(path, vm_spec(**change))
    assert answer.status == 422 and answer.code == "preflight_failed", answer
    errors = [f for f in answer.json["findings"] if f["severity"] == "error"]
    assert any(f["pointer"].startswith(pointer) and f["reason"] and f["remedy"] for f in errors), answer
    rows = emulator.requests()
    rows = rows["value"] if isinstance(rows, dict) else rows
    assert all(r["method"] == "GET" for r in rows), rows
    dry = api.put(path + "?dryRun=true", vm_spec(**change))
    assert dry.status == 200 and [f["code"] for f in dry.json["findings"]] == [
        f["code"] for f in answer.json["findings"]], dry


def test_the_remedy_for_standard_helps_at_once(api, emulator):
    path, spec = VM + "standard", vm_spec(securityType="Standard")
    answer = api.put(path, spec)
    assert answer.status == 422, answer
    assert "standard_not_registered" in [f["code"] for f in answer.json["findings"]], answer
    feature = (f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Features/providers/"
               "Microsoft.Compute/features/UseStandardSecurityType")
    emulator.arm("POST", feature + "/register?api-version=2021-07-01")
    while emulator.arm("GET", feature + "?api-version=2021-07-01")["properties"]["state"] != "Registered":
        time.sleep(0.1)
    made = api.put(path, spec)
    assert made.status == 202, made
    assert api.wait_job(made.json["id"])["state"] == "succeeded"
    assert api.get(path + "/bootIntegrity").json["status"] == "unmonitored"


def test_422_says_that_the_subscription_is_not_there(api):
    path = VM.replace(SUBSCRIPTION, "00000000-0000-0000-0000-0000000000ff") + "vm1"
    answer = api.put(path, vm_spec())
    assert answer.status == 422 and answer.code == "preflight_failed", answer
    assert [(f["code"], f["pointer"]) for f in answer.json["findings"]] == [
        ("subscription_not_found", "#")], answer
    assert api.delete(path).status == 404


def test_idempotency_key(api, emulator):
    emulator.settings(lroSeconds=1.5)
    try:
        path, spec = VM + "idem", vm_spec()
        key = {"Idempotency-Key": f'"{uuid.uuid4()}"'}
        first = api.put(path, spec, headers=key)
        again = api.put(path, spec, headers=key)
        assert first.status == again.status == 202 and first.json["id"] == again.json["id"]
        other = api.put(path, {**spec, "inboundPorts": [22]}, headers=key)
        assert other.status == 422 and other.code == "idempotency_key_reused", other
        same = api.put(path, spec)
        assert same.status == 202 and same.json["id"] == first.json["id"], same
        busy = api.put(path, {**spec, "inboundPorts": [22]})
        assert busy.status == 409 and busy.code == "operation_in_progress", busy
        assert busy.json["jobId"] == first.json["id"]
        assert api.delete(path).status == 409
    finally:
        emulator.settings(lroSeconds=0.2)
    assert api.wait_job(first.json["id"])["state"] == "succeeded"


def test_a_change_speaks_of_the_state_that_was_read(api, emulator):
    path, spec = VM + "matched", vm_spec()
    none = {"If-None-Match": "*"}
    assert api.put(path, spec, headers={"If-Match": '"seen"'}).status == 412
    once = {**none, "Idempotency-Key": "matched-once"}
    made = api.put(path, spec, headers=once)
    assert made.status == 202, made
    assert api.wait_job(made.json["id"])["state"] == "succeeded"
    again = api.put(path, spec, headers=once)
    assert (again.status, again.json["id"]) == (202, made.json["id"]), again  # the same request, not a second one
    refused = api.put(path, spec, headers=none)
    assert refused.status == 412 and refused.code == "precondition_failed" and refused.json["remedy"], refused
    seen = api.get(path).header("ETag")
    tagged = {**spec, "tags": {"team": "blue"}}
    assert api.put(path + "?dryRun=true", tagged, headers={"If-Match": seen}).status == 200
    changed = api.put(path, tagged, headers={"If-Match": seen})
    assert changed.status == 202 and api.wait_job(changed.json["id"])["state"] == "succeeded"
    emulator.clear_requests()
    for method, query, body in (("PUT", "", spec), ("PUT", "?dryRun=true", spec), ("DELETE", "", None),
                                ("DELETE", "?dryRun=true", None)):
        stale = api.request(method, path + query, body and json.dumps(body).encode(),
                            {**(JSON if body else {}), "If-Match": seen})
        assert stale.status == 412, stale
    assert api.delete(path, headers={"If-Match": "*"}).status == 400
    assert api.put(path, spec, headers={"If-Match": 'W/"a"'}).status == 400
    assert all(r["method"] == "GET" for r in emulator.requests()["value"])
    now = api.get(path)
    assert now.json["spec"]["tags"] == {"team": "blue"}
    key = {"If-Match": now.header("ETag"), "Idempotency-Key": "matched-delete"}
    gone = api.delete(path, headers=key)
    assert gone.status == 202, gone
    assert api.delete(path, headers=key).json["id"] == gone.json["id"]
    assert api.wait_job(gone.json["id"])["state"] == "succeeded"
    assert api.delete(path, headers=key).json["id"] == gone.json["id"]


def test_prefer_wait(api):
    start = time.monotonic()
    answer = api.put(VM + "waited", vm_spec(), headers={"Prefer": "wait=30"})
    assert answer.status == 202 and answer.json["state"] == "succeeded", answer
    assert time.monotonic() - start < 30
    assert "wait" in (answer.header("Preference-Applied") or ""), answer.headers


def test_delete_removes_what_was_made_and_nothing_else(api, emulator):
    group = "delete"
    path = VM.replace(GROUP, group) + "gone"
    made = api.put(path, vm_spec(network={"virtualNetwork": {"name": "keep", "addressPrefix":
                                          "10.1.0.0/16"}, "publicIp": True}))
    assert api.wait_job(made.json["id"])["state"] == "succeeded"
    answer = api.delete(path, headers={"Idempotency-Key": '"delete-1"'})
    assert answer.status == 202, answer
    assert api.wait_job(answer.json["id"])["state"] == "succeeded"
    assert api.get(path).status == 404
    again = api.delete(path, headers={"Idempotency-Key": '"delete-1"'})
    assert again.status == 202 and again.json["id"] == answer.json["id"], again
    reused = api.delete(VM + "contract1", headers={"Idempotency-Key": '"delete-1"'})
    assert reused.status == 422 and reused.code == "idempotency_key_reused", reused
    rg = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}"
    assert emulator.arm("GET", rg + "?api-version=2025-04-01")["name"].lower() == group
    assert emulator.resources(group) == []


def test_a_deletion_tells_first_what_it_removes(api, emulator):
    path = VM.replace(GROUP, "delete") + "told"
    assert api.wait_job(api.put(path, vm_spec()).json["id"])["state"] == "succeeded"
    emulator.clear_requests()
    plan = api.delete(path + "?dryRun=true")
    assert plan.status == 200 and plan.json["findings"] == [], plan
    urls = [c["url"].split("?")[0] for c in plan.json["calls"]]
    assert {c["method"] for c in plan.json["calls"]} == {"DELETE"}
    assert api.delete(path + "?dryRun=true").json["planDigest"] == plan.json["planDigest"]
    rows = emulator.requests()
    assert not (rows["value"] if isinstance(rows, dict) else rows)
    assert api.get(path).json["provisioningState"] == "ready"
    for wrong in ("0" * 64, api.put(VM + "elsewhere?dryRun=true", vm_spec()).json["planDigest"]):
        stale = api.delete(path + "?plan=" + wrong)
        assert stale.status == 409 and stale.code == "plan_stale", stale
    key = {"Idempotency-Key": '"told-1"'}
    run = api.delete(path + "?plan=" + plan.json["planDigest"], headers=key)
    assert run.status == 202 and api.wait_job(run.json["id"])["state"] == "succeeded", run
    rows = emulator.requests()
    rows = rows["value"] if isinstance(rows, dict) else rows
    made = [r["url"].split("?")[0] for r in rows if r["method"] == "DELETE"]
    assert made == [u for u in urls if not u.endswith("/disks/told-osdisk")]  # that goes with its VM
    again = api.delete(path + "?plan=" + plan.json["planDigest"], headers=key)
    assert again.status == 202 and again.json["id"] == run.json["id"], again
    gone = api.delete(path + "?dryRun=true")
    assert gone.status == 404 and gone.code == "not_found", gone
    # The same names, another VM: what was looked at is not this one.
    assert api.wait_job(api.put(path, vm_spec()).json["id"])["state"] == "succeeded"
    other = api.delete(path + "?plan=" + plan.json["planDigest"])
    assert other.status == 409 and other.code == "plan_stale", other


def test_another_ones_vm_is_not_touched(api, emulator, vm):
    """A VM that this gateway did not make: 409 not_managed, and no write."""
    arm_id = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.Compute/virtualMachines/foreign"
    nic = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.Network/networkInterfaces/foreign"
    vnet = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.Network/virtualNetworks/foreign"
    emulator.arm("PUT", vnet + "?api-version=2025-05-01", {"location": "westeurope", "properties": {
        "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
        "subnets": [{"name": "default", "properties": {"addressPrefix": "10.0.0.0/24"}}]}})
    emulator.arm("PUT", nic + "?api-version=2025-05-01", {"location": "westeurope", "properties": {
        "ipConfigurations": [{"name": "ip", "properties": {"subnet": {
            "id": vnet + "/subnets/default"}}}]}})
    emulator.arm("PUT", arm_id + "?api-version=2026-04-01", {"location": "westeurope", "properties": {
        "hardwareProfile": {"vmSize": "Standard_D2s_v5"},
        "securityProfile": {"securityType": "TrustedLaunch", "uefiSettings": {
            "secureBootEnabled": True, "vTpmEnabled": True}},
        "storageProfile": {"imageReference": vm_spec()["image"], "osDisk": {
            "createOption": "FromImage"}},
        "osProfile": {"computerName": "foreign", "adminUsername": "azureuser", "linuxConfiguration": {
            "disablePasswordAuthentication": True, "ssh": {"publicKeys": [{
                "path": "/home/azureuser/.ssh/authorized_keys",
                "keyData": vm_spec()["admin"]["sshPublicKeys"][0]}]}}},
        "networkProfile": {"networkInterfaces": [{"id": nic}]}}})
    answer = api.put(VM + "foreign", vm_spec())
    assert answer.status == 409 and answer.code == "not_managed", answer
    emulator.clear_requests()
    for headers in ({}, {"Idempotency-Key": '"foreign"'}):
        answer = api.delete(VM + "foreign", headers=headers)
        assert answer.status == 409 and answer.code == "not_managed", answer
        assert api.delete(VM + "nobodys", headers=headers).status == 404
    assert {r["method"] for r in emulator.requests()["value"]} == {"GET"}
    # Where Azure cannot be asked, the gateway still knows that it has no such VM.
    emulator.faults({"path": "*/virtualMachines/foreign", "action": {"status": 403}})
    assert api.delete(VM + "foreign").status == 404
    emulator.faults()


# --- jobs ----------------------------------------------------------------------------------------


def test_cancel_undoes_what_the_job_made(api, emulator):
    group = "cancel"
    path = VM.replace(GROUP, group) + "stopped"
    emulator.settings(lroSeconds=2)
    try:
        made = api.put(path, vm_spec())
        job_id = made.json["id"]
        while api.get(f"/v1/jobs/{job_id}").json["progress"]["done"] < 2:
            time.sleep(0.05)
        key = {"Idempotency-Key": '"cancel-1"'}
        answer = api.post(f"/v1/jobs/{job_id}/cancel", headers=key)
        assert answer.status == 202, answer
        assert api.post(f"/v1/jobs/{job_id}/cancel", headers=key).status == 202
    finally:
        emulator.settings(lroSeconds=0.2)
    job = api.wait_job(job_id)
    assert job["state"] == "canceled", job
    assert emulator.resources(group) == []
    again = api.post(f"/v1/jobs/{job_id}/retry")
    assert again.status == 409 and again.code == "invalid_state" and "canceled" in again.json["detail"]
    assert "Idempotency-Key" in again.json["remedy"], again
    # Over is over.
    late = api.post(f"/v1/jobs/{api.put(path + '-later', vm_spec()).json['id']}/cancel")
    assert late.status in (202, 409)


def test_cancel_and_retry_of_what_has_ended(api, vm):
    for action in ("cancel", "retry"):
        answer = api.post(f"/v1/jobs/{vm.job_id}/{action}")
        assert answer.status == 409 and answer.code == "invalid_state", answer
        assert {"cancel": "DELETE", "retry": "nothing left"}[action] in answer.json["remedy"], answer
        key = {"Idempotency-Key": f'"reused-{action}"'}
        other = api.put(VM + f"reused-{action}", vm_spec())
        assert other.status == 202
        api.wait_job(other.json["id"])


def test_retry_of_a_failed_job(api, emulator):
    path = VM + "retried"
    emulator.faults({"method": "PUT", "path": "*/networkInterfaces/retried*", "nth": 1, "times": 1,
                     "action": {"status": 400, "body": {"error": {
                         "code": "InvalidRequestFormat", "message": "no"}}}})
    try:
        job_id = api.put(path, vm_spec()).json["id"]
        job = api.wait_job(job_id)
        assert job["state"] == "failed" and job["error"]["code"], job
    finally:
        emulator.faults()
    key = {"Idempotency-Key": f'"retry-{uuid.uuid4()}"'}
    answer = api.post(f"/v1/jobs/{job_id}/retry", headers=key)
    assert answer.status == 202, answer
    assert api.wait_job(job_id)["state"] == "succeeded"
    again = api.post(f"/v1/jobs/{job_id}/retry", headers=key)
    assert again.status == 202, again


@pytest.mark.parametrize("action", ["cancel", "retry"])
def test_the_key_of_one_jobs_action_is_not_anothers(api, emulator, vm, action):
    """The first use of the key must succeed, so the job is one that fails (retry) or runs (cancel)."""
    name, key = f"keyed-{action}", {"Idempotency-Key": f'"{action}-{uuid.uuid4()}"'}
    emulator.faults({"method": "PUT", "path": f"*/networkInterfaces/{name}*", "nth": 1, "times": 1,
                     "action": {"status": 400, "body": {"error": {
                         "code": "InvalidRequestFormat", "message": "no"}}} if action == "retry"
                     else {"delayMs": 1500}})
    try:
        job_id = api.put(VM + name, vm_spec()).json["id"]
        if action == "retry":
            assert api.wait_job(job_id)["state"] == "failed"
        first = api.post(f"/v1/jobs/{job_id}/{action}", headers=key)
        assert first.status == 202, first
    finally:
        emulator.faults()
    other = api.post(f"/v1/jobs/{vm.job_id}/{action}", headers=key)
    assert other.status == 422 and other.code == "idempotency_key_reused", other
    api.wait_job(job_id)


def test_readyz_says_no_before_the_gateway_stops(folder, emulator):
    private = Gateway(folder / "draining", emulator, TLGATE_SERVER_DRAIN_DELAY="4s")
    api = private.api(None)
    assert api.get("/readyz").status == 200
    private.program.process.send_signal(signal.SIGTERM)
    end = time.monotonic() + 3
    answer = api.get("/readyz")
    while answer.status == 200 and time.monotonic() < end:
        time.sleep(0.05)
        answer = api.get("/readyz")
    assert answer.status == 503 and answer.code == "unavailable", answer
    assert int(answer.header("Retry-After")) > 0
    assert api.get("/livez").status == 200
    assert private.program.process.wait(60) == 0


# --- lists ---------------------------------------------------------------------------------------


def test_pages_are_complete_and_without_repeats(api, vm):
    whole = [j["id"] for j in api.get("/v1/jobs?top=200").json["value"]]
    assert len(whole) >= 3
    seen, path = [], "/v1/jobs?top=2"
    while path:
        page = api.get(path).json
        assert len(page["value"]) <= 2
        seen += [j["id"] for j in page["value"]]
        path = page.get("nextLink", "").removeprefix(api.url) or None
    assert seen == whole


def test_a_tampered_cursor(api, vm):
    link = api.get("/v1/jobs?top=1").json["nextLink"]
    cursor = link.split("cursor=")[1].split("&")[0]
    bad = ("B" if cursor[5] != "B" else "C").join([cursor[:5], cursor[6:]])
    answer = api.get(f"/v1/jobs?top=1&cursor={bad}")
    assert answer.status == 400 and answer.code == "validation_failed", answer


def test_lists_keep_to_the_scope(gateway, vm):
    narrow = gateway.api(gateway.make_key(
        "reader", f"/subscriptions/{SUBSCRIPTION}/resourceGroups/elsewhere"))
    for path in ("/v1/jobs", "/v1/bootIntegrity"):
        assert narrow.get(path).json["value"] == []
    assert narrow.get(f"/v1/jobs/{vm.job_id}").status == 404
    assert narrow.get(f"/v1/attestation/reports/{vm.report_id}").status == 404


def test_a_vm_is_found_by_its_vm_id(api, vm):
    [found] = api.get(f"/v1/bootIntegrity?vmId={vm.vm_id.upper()}").json["value"]
    assert found["resourceId"] == vm.arm_id
    assert found["status"] == api.get(vm.path + "/bootIntegrity").json["status"]
    other = next(s for s in ("healthy", "unhealthy", "unmonitored") if s != found["status"])
    for none in (f"vmId={vm.vm_id}&status={other}", "vmId=00000000-0000-0000-0000-00000000ffff",
                 f"vmId={vm.vm_id}&scope=/subscriptions/{SUBSCRIPTION}/resourceGroups/elsewhere"):
        assert api.get("/v1/bootIntegrity?" + none).json == {"value": []}


def test_jobs_of_a_resource_group(api, vm):
    group = vm.arm_id.split("/providers/")[0]
    jobs = {j["id"] for j in api.get(f"/v1/jobs?scope={group}&top=200").json["value"]}
    assert vm.job_id in jobs
    assert api.get(f"/v1/jobs?scope={group}-not").json == {"value": []}
    page = api.get(f"/v1/jobs?scope={group}&top=1").json
    assert "scope=" in page.get("nextLink", "scope="), page


def test_the_summary_counts(api, vm):
    summary = api.get("/v1/bootIntegrity/summary").json
    assert summary["healthy"] >= 1 or summary.get("counts", {}).get("healthy", 0) >= 1, summary
    assert json.dumps(summary)


# --- what Azure does to us -----------------------------------------------------------------------


def test_502_where_azure_fails_the_preflight(gateway, emulator, private_gateway):
    api = private_gateway.api(private_gateway.admin_key)
    emulator.faults({"method": "GET", "path": "*/vmimage/*", "nth": 1, "times": 100,
                     "action": {"status": 403, "body": {"error": {
                         "code": "AuthorizationFailed", "message": "no"}}}})
    try:
        answer = api.put(VM + "upstream", vm_spec())
        assert answer.status == 502 and answer.code == "upstream_forbidden", answer
    finally:
        emulator.faults()


def test_503_where_azure_throttles_the_preflight(emulator, private_gateway):
    api = private_gateway.api(private_gateway.admin_key)
    emulator.faults({"method": "GET", "path": "*/vmimage/*", "nth": 1, "times": 100,
                     "action": {"status": 429, "headers": {"Retry-After": "30"}, "body": {"error": {
                         "code": "TooManyRequests", "message": "slow down"}}}})
    try:
        answer = api.put(VM + "throttled", vm_spec())
        assert answer.status == 503 and answer.code == "upstream_throttled", answer
        assert int(answer.header("Retry-After")) > 0
    finally:
        emulator.faults()


def test_504_where_azure_does_not_answer_the_preflight(emulator, private_gateway):
    api = private_gateway.api(private_gateway.admin_key)
    emulator.faults({"method": "GET", "path": "*/vmimage/*", "nth": 1, "times": 100,
                     "action": {"delayMs": 15000}})
    try:
        start = time.monotonic()
        answer = api.put(VM + "slow", vm_spec())
        assert answer.status == 504 and answer.code == "upstream_timeout", answer
        assert time.monotonic() - start < 14
    finally:
        emulator.faults()


@pytest.mark.parametrize("name", with_status(429))
def test_429_for_one_call_too_many(tight_gateway, name):
    api = tight_gateway.api(tight_gateway.admin_key)
    challenge = json.dumps({"vmId": str(uuid.uuid4())}).encode()
    for _ in range(50):
        if name == "create_challenge":
            answer = api.post(target(name), challenge, headers=JSON)
        else:
            answer = call(api, name)
        if answer.status == 429:
            break
    assert answer.status == 429 and answer.code == "rate_limited", answer
    assert int(answer.header("Retry-After")) > 0
    assert answer.header("RateLimit").endswith(";r=0;t=" + answer.header("Retry-After"))
