"""Bad input, one row a kind: the request, the status and the code it is answered with. After each the
server is still healthy."""
import base64
import copy
import json
import struct

import cbor2
import pytest

import raw

SUB = "00000000-0000-0000-0000-000000000001"
RG = f"/v1/subscriptions/{SUB}/resourceGroups/badinput"
VM = f"{RG}/virtualMachines/vm1"
CHALLENGES = "/v1/attestation/challenges"
REPORTS = "/v1/attestation/reports"
SSH_KEY = "ssh-ed25519 " + base64.b64encode(
    struct.pack(">I11sI32s", 11, b"ssh-ed25519", 32, bytes(32))).decode()
SPEC = {
    "location": "westeurope", "size": "Standard_D2s_v5", "osType": "Linux",
    "image": {"publisher": "Canonical", "offer": "0001-com-ubuntu-server-jammy",
              "sku": "22_04-lts-gen2", "version": "latest"},
    "admin": {"username": "azureuser", "sshPublicKeys": [SSH_KEY]},
    "createResourceGroup": True,
}
REPORT = {
    "challengeId": "x" * 40, "vmId": "01234567-89ab-4cde-8f01-23456789abcd",
    "quote": {"message": "AAAA", "signature": "AAAA"},
    "pcrs": {"sha256": {"0": "00" * 32}}, "ak": {"public": "AAAA", "certificate": "AAAA"},
    "eventLog": "AAAA",
}
JSON = {"Content-Type": "application/json"}
CBOR = {"Content-Type": "application/cbor"}


def spec(path, value):
    """SPEC with the member at path set, or with None removed."""
    out = copy.deepcopy(SPEC)
    at = out
    *parents, last = path.split("/")
    for part in parents:
        at = at.setdefault(part, {})
    if value is None:
        at.pop(last)
    else:
        at[last] = value
    return out


def report(path, value):
    out = copy.deepcopy(REPORT)
    at = out
    *parents, last = path.split("/")
    for part in parents:
        at = at[part]
    if value is None:
        at.pop(last)
    else:
        at[last] = value
    return out


def nested(depth):
    return b'{"a":' * depth + b"1" + b"}" * depth


# name, body of PUT .../virtualMachines/vm1, pointer that must be named (None: not a member's fault)
SPECS = [
    ("a number for a string", spec("location", 7), "#/location"),
    ("a string for a boolean", spec("trustedLaunch/secureBoot", "true"), "#/trustedLaunch/secureBoot"),
    ("a string for an array", spec("inboundPorts", "22"), "#/inboundPorts"),
    ("a float for an integer", spec("inboundPorts", [22.5]), "#/inboundPorts/0"),
    ("null for a string", {**SPEC, "size": None}, "#/size"),
    ("an array for an object", spec("image", []), "#/image"),
    ("an object for an array", spec("admin/sshPublicKeys", {}), "#/admin/sshPublicKeys"),
    ("a missing member", spec("location", None), "#/location"),
    ("a missing nested member", spec("admin/username", None), "#/admin/username"),
    ("an unknown member", spec("sise", "x"), "#/sise"),
    ("an unknown nested member", spec("admin/pasword", "x"), "#/admin/pasword"),
    ("a member that only differs in case", spec("Location", "westeurope"), "#/Location"),
    ("a value that is not of the enum", spec("osType", "linux"), "#/osType"),
    ("a number out of range", spec("inboundPorts", [65536]), "#/inboundPorts/0"),
    ("a negative number", spec("inboundPorts", [-1]), "#/inboundPorts/0"),
    ("a repeated item", spec("inboundPorts", [22, 22]), "#/inboundPorts/1"),
    ("an empty string", spec("location", ""), "#/location"),
    ("a too long string", spec("size", "Standard_" + "D" * 80), "#/size"),
    ("a pattern that does not match", spec("location", "West Europe"), "#/location"),
    ("too many items", spec("admin/sshPublicKeys", [SSH_KEY] * 200), "#/admin/sshPublicKeys"),
    ("an SSH key that is none", spec("admin/sshPublicKeys", ["ssh-ed25519 !!!"]),
     "#/admin/sshPublicKeys/0"),
    ("a bad duration", spec("attestationTimeout", "30 minutes"), "#/attestationTimeout"),
    ("a subnet id with a traversal", spec("network", {"subnetId": "/subscriptions/../x"}),
     "#/network/subnetId"),
    ("a tag that is no string", spec("tags", {"a": 1}), "#/tags/a"),
    ("neither key nor password", spec("admin/sshPublicKeys", None), "#/admin"),
    ("image by parts and by id", spec("image/galleryImageVersionId",
     f"/subscriptions/{SUB}/resourceGroups/r/providers/Microsoft.Compute/galleries/g/images/i/versions/1.0.0"),
     "#/image"),
]

# name, method, target, body, headers, status, code
REQUESTS = [
    ("an empty body", "PUT", VM, b"", JSON, 400, "bad_request"),
    ("not JSON", "PUT", VM, b"hello", JSON, 400, "bad_request"),
    ("JSON with a trailing comma", "PUT", VM, b'{"a":1,}', JSON, 400, "bad_request"),
    ("two JSON values", "PUT", VM, b"{} {}", JSON, 400, "bad_request"),
    ("a JSON array", "PUT", VM, b"[]", JSON, 400, "validation_failed"),
    ("duplicate keys", "PUT", VM, b'{"location":"a","location":"b"}', JSON, 400, "bad_request"),
    ("invalid UTF-8", "PUT", VM, b'{"location":"\xff\xfe"}', JSON, 400, "bad_request"),
    ("a lone surrogate", "PUT", VM, b'{"location":"\\ud800"}', JSON, 400, "bad_request"),
    ("an escaped NUL", "PUT", VM, b'{"location":"a\\u0000b"}', JSON, 400, "bad_request"),
    ("an overflowing number", "PUT", VM, b'{"inboundPorts":[1e400]}', JSON, 400, "bad_request"),
    ("33 levels", "PUT", VM, nested(33), JSON, 400, "bad_request"),
    ("10,000 levels", "PUT", VM, nested(10000), JSON, 400, "bad_request"),
    ("an oversized body", "PUT", VM, b'{"a":"' + b"x" * 70000 + b'"}', JSON, 413, "body_too_large"),
    ("an oversized report", "POST", REPORTS, b"x" * 262145, JSON, 413, "body_too_large"),
    ("no media type", "PUT", VM, b"{}", {}, 415, "unsupported_media_type"),
    ("a form", "PUT", VM, b"a=1", {"Content-Type": "application/x-www-form-urlencoded"}, 415,
     "unsupported_media_type"),
    ("CBOR where only JSON goes", "PUT", VM, cbor2.dumps(SPEC), CBOR, 415, "unsupported_media_type"),
    ("another charset", "PUT", VM, b"{}", {"Content-Type": "application/json; charset=utf-16"}, 415,
     "unsupported_media_type"),
    ("a compressed body", "PUT", VM, b"{}", {**JSON, "Content-Encoding": "gzip"}, 415,
     "unsupported_media_type"),
    ("only XML is accepted", "GET", "/v1/jobs", None, {"Accept": "application/xml"}, 406,
     "not_acceptable"),
    ("a method that is not there", "PATCH", VM, b"{}", JSON, 405, "method_not_allowed"),
    ("a method nobody knows", "BREW", VM, None, {}, 405, "method_not_allowed"),
    ("a path that is not there", "GET", "/v1/nothing", None, {}, 404, "not_found"),
    ("an encoded slash", "GET", f"{RG}/virtualMachines/a%2fb", None, {}, 400, "bad_request"),
    ("an encoded NUL", "GET", f"{RG}/virtualMachines/a%00", None, {}, 400, "bad_request"),
    ("dot segments", "GET", f"{RG}/virtualMachines/..", None, {}, 400, "bad_request"),
    ("a broken escape", "GET", f"{RG}/virtualMachines/a%zz", None, {}, 400, "bad_request"),
    ("a subscription that is no GUID", "GET", "/v1/subscriptions/1/virtualMachines", None, {}, 400,
     "validation_failed"),
    ("a VM name with a space", "GET", f"{RG}/virtualMachines/a%20b", None, {}, 400,
     "validation_failed"),
    ("a VM name of 65 letters", "GET", f"{RG}/virtualMachines/{'a' * 65}", None, {}, 400,
     "validation_failed"),
    ("an unknown query parameter", "GET", "/v1/jobs?colour=red", None, {}, 400, "validation_failed"),
    ("a repeated query parameter", "GET", "/v1/jobs?top=1&top=2", None, {}, 400,
     "validation_failed"),
    ("a query value of the wrong type", "GET", "/v1/jobs?top=many", None, {}, 400,
     "validation_failed"),
    ("a query value out of range", "GET", "/v1/jobs?top=100000", None, {}, 400, "validation_failed"),
    ("a state that is none", "GET", "/v1/jobs?state=lost", None, {}, 400, "validation_failed"),
    ("a made-up cursor", "GET", "/v1/jobs?cursor=AAAA", None, {}, 400, "validation_failed"),
    ("a job id that is none", "GET", "/v1/jobs/%3Cscript%3E", None, {}, 400, "validation_failed"),
    ("an unknown job", "GET", "/v1/jobs/01234567-89ab-7cde-8f01-23456789abcd", None, {}, 404,
     "not_found"),
    ("an empty Idempotency-Key", "PUT", VM, json.dumps(SPEC).encode(),
     {**JSON, "Idempotency-Key": '""'}, 400, "bad_request"),
    ("an Idempotency-Key of 300 letters", "PUT", VM, json.dumps(SPEC).encode(),
     {**JSON, "Idempotency-Key": '"' + "k" * 300 + '"'}, 400, "bad_request"),
    ("a target of 9,000 bytes", "GET", "/v1/jobs?cursor=" + "A" * 9000, None, {}, 414,
     "uri_too_long"),
    # the two calls without a credential
    ("a challenge for no GUID", "POST", CHALLENGES, {"vmId": "vm1"}, {}, 400, "validation_failed"),
    ("a challenge with more members", "POST", CHALLENGES, {"vmId": REPORT["vmId"], "a": 1}, {}, 400,
     "validation_failed"),
    ("a report that is an array", "POST", REPORTS, [], {}, 400, "evidence_malformed"),
    ("a report without a quote", "POST", REPORTS, report("quote", None), {}, 400,
     "evidence_malformed"),
    ("a report with an unknown member", "POST", REPORTS, {**REPORT, "x": 1}, {}, 400,
     "evidence_malformed"),
    ("base64 with a blank", "POST", REPORTS, report("quote/message", "AA AA"), {}, 400,
     "evidence_malformed"),
    ("base64 with spare bits", "POST", REPORTS, report("quote/message", "AAB="), {}, 400,
     "evidence_malformed"),
    ("base64 without padding", "POST", REPORTS, report("quote/message", "AAA"), {}, 400,
     "evidence_malformed"),
    ("a PCR of 31 bytes", "POST", REPORTS, report("pcrs/sha256", {"0": "00" * 31}), {}, 400,
     "evidence_malformed"),
    ("a PCR that is not hex", "POST", REPORTS, report("pcrs/sha256", {"0": "0g" * 32}), {}, 400,
     "evidence_malformed"),
    ("PCR 7 and 07", "POST", REPORTS, report("pcrs/sha256", {"7": "00" * 32, "07": "00" * 32}), {},
     400, "evidence_malformed"),
    ("PCR 24", "POST", REPORTS, report("pcrs/sha256", {"24": "00" * 32}), {}, 400,
     "evidence_malformed"),
    ("an unknown bank", "POST", REPORTS, report("pcrs", {"md5": {"0": "00" * 16}}), {}, 400,
     "evidence_malformed"),
    ("log and digest of a log", "POST", REPORTS, {**REPORT, "eventLogDigest": "00" * 32}, {}, 400,
     "evidence_malformed"),
    ("a log over 128 KiB", "POST", REPORTS,
     report("eventLog", base64.b64encode(bytes(131073)).decode()), {}, 400, "evidence_malformed"),
    ("seven chain certificates", "POST", REPORTS,
     report("ak", {**REPORT["ak"], "chain": ["AAAA"] * 7}), {}, 400, "evidence_malformed"),
    ("CBOR: an empty body", "POST", REPORTS, b"", CBOR, 400, "evidence_malformed"),
    ("CBOR: cut short", "POST", REPORTS, b"\xa1\x61", CBOR, 400, "evidence_malformed"),
    ("CBOR: an array of 2^28 items", "POST", REPORTS, bytes.fromhex("9b0000000010000000"), CBOR, 400,
     "evidence_malformed"),
    ("CBOR: a string of 2^64-1 bytes", "POST", REPORTS, bytes.fromhex("a15bffffffffffffffff"), CBOR,
     400, "evidence_malformed"),
    ("CBOR: an indefinite map", "POST", REPORTS, bytes.fromhex("bfff"), CBOR, 400,
     "evidence_malformed"),
    ("CBOR: a length that is not minimal", "POST", REPORTS, bytes.fromhex("b80161610161"), CBOR, 400,
     "evidence_malformed"),
    ("CBOR: duplicate keys", "POST", REPORTS, bytes.fromhex("a2647675696401647675696401"), CBOR, 400,
     "evidence_malformed"),
    ("CBOR: trailing bytes", "POST", REPORTS, cbor2.dumps({}) + b"\0", CBOR, 400,
     "evidence_malformed"),
    ("CBOR: a tag", "POST", REPORTS, bytes.fromhex("c0a0"), CBOR, 400, "evidence_malformed"),
    ("CBOR: 10,000 levels", "POST", REPORTS, b"\x81" * 10000 + b"\0", CBOR, 400,
     "evidence_malformed"),
    ("CBOR: text where bytes go", "POST", REPORTS, cbor2.dumps({"quote": {"message": "AAAA"}}), CBOR,
     400, "evidence_malformed"),
]


def assert_healthy(gateway):
    answer = gateway.api(None).get("/readyz")
    assert answer.status == 200, answer


@pytest.mark.parametrize("name, body, pointer", SPECS, ids=[s[0] for s in SPECS])
def test_a_bad_vm_spec_names_the_member(gateway, api, name, body, pointer):
    answer = api.put(VM, body)
    assert answer.status == 400 and answer.code == "validation_failed", answer
    assert pointer in [e["pointer"] for e in answer.json["errors"]], answer
    assert_healthy(gateway)


def test_a_bad_member_of_a_report_is_named_once(anonymous):
    bad = {"challengeId": 5, "vmId": "x", "quote": {"message": 7}, "pcrs": [], "foo": 1}
    errors = anonymous.post("/v1/attestation/reports", bad).json["errors"]
    pointers = [e["pointer"] for e in errors]
    assert len(pointers) == len(set(pointers)), errors
    said = {e["pointer"]: e["detail"] for e in errors}
    assert said["#/challengeId"] == "must be a string" and said["#/pcrs"] == "must be an object"
    assert {"#/vmId", "#/quote/message", "#/quote/signature", "#/foo"} <= set(said)


def test_every_bad_member_is_named_at_once(api):
    bad = {**SPEC, "location": 1, "size": "", "colour": "red"}
    answer = api.put(VM, bad)
    assert {"#/location", "#/size", "#/colour"} <= {e["pointer"] for e in answer.json["errors"]}


@pytest.mark.parametrize("name, method, target, body, headers, status, code", REQUESTS,
                         ids=[r[0] for r in REQUESTS])
def test_a_bad_request_gets_its_code(gateway, api, name, method, target, body, headers, status, code):
    answer = api.request(method, target, body, headers)
    assert answer.status == status and answer.code == code, answer
    assert answer.json["type"] == f"/problems/{code}" and answer.json["status"] == status
    if status == 405:
        assert answer.header("Allow")
    assert_healthy(gateway)


# --- credentials ---------------------------------------------------------------------------------

CREDENTIALS = [
    ("none", None),
    ("another scheme", "Basic dXNlcjpwYXNz"),
    ("an empty bearer", "Bearer "),
    ("a key that is none", "Bearer tlg_nobody.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
    ("two words", "Bearer a b"),
    ("10,000 letters", "Bearer " + "a" * 10000),
]


@pytest.mark.parametrize("name, value", CREDENTIALS, ids=[c[0] for c in CREDENTIALS])
def test_a_bad_credential(gateway, name, value):
    answer = gateway.api(None).get("/v1/jobs", headers={"Authorization": value} if value else {})
    assert answer.status == 401 and answer.code == "unauthenticated", answer
    assert answer.header("WWW-Authenticate").startswith("Bearer")


def test_the_secret_of_a_key_is_compared(gateway):
    key = gateway.admin_key[:-1] + ("A" if gateway.admin_key[-1] != "A" else "B")
    answer = gateway.api(key).get("/v1/jobs")
    assert answer.status == 401 and answer.code == "unauthenticated", answer


def test_a_reader_may_not_write(gateway):
    reader = gateway.api(gateway.make_key("reader", "/"))
    assert reader.get("/v1/jobs").status == 200
    answer = reader.put(VM, SPEC)
    assert answer.status == 403 and answer.code == "forbidden", answer


def test_a_scope_ends_where_it_ends(gateway):
    narrow = gateway.api(gateway.make_key(
        "provisioner", f"/subscriptions/{SUB}/resourceGroups/badinput2"))
    answer = narrow.get(VM)
    assert answer.status == 403 and answer.code == "forbidden", answer
    other = gateway.api(gateway.make_key("reader", "/subscriptions/" + "1" * 8 + SUB[8:]))
    answer = other.get(f"/v1/subscriptions/{SUB}/virtualMachines")
    assert answer.status == 403 and answer.code == "forbidden", answer


def test_a_revoked_key_is_no_key(gateway):
    key = gateway.make_key("reader", "/")
    assert gateway.api(key).get("/v1/jobs").status == 200
    gateway.command("key", "revoke", key.split("_", 1)[1].split(".", 1)[0])
    assert gateway.api(key).get("/v1/jobs").status == 401


# --- what only raw bytes can say: request smuggling shapes and broken HTTP ------------------------

HOST = b"Host: localhost\r\n"
SMUGGLING = [
    ("two Content-Lengths", b"POST %s HTTP/1.1\r\n" + HOST +
     b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x"),
    ("Content-Length and Transfer-Encoding", b"POST %s HTTP/1.1\r\n" + HOST +
     b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("Transfer-Encoding twice", b"POST %s HTTP/1.1\r\n" + HOST +
     b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
    ("an unknown Transfer-Encoding", b"POST %s HTTP/1.1\r\n" + HOST +
     b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("Transfer-Encoding in HTTP/1.0", b"POST %s HTTP/1.0\r\n" + HOST +
     b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a blank before the colon", b"POST %s HTTP/1.1\r\n" + HOST + b"Content-Length : 2\r\n\r\n{}"),
    ("two Hosts", b"GET %s HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    ("no Host", b"GET %s HTTP/1.1\r\n\r\n"),
    ("a Content-Length with a sign", b"POST %s HTTP/1.1\r\n" + HOST + b"Content-Length: +2\r\n\r\n{}"),
    ("a bare CR in a value", b"GET %s HTTP/1.1\r\n" + HOST + b"X-A: a\rX-B: b\r\n\r\n"),
]


@pytest.mark.parametrize("name, template", SMUGGLING, ids=[s[0] for s in SMUGGLING])
def test_smuggling_shapes_are_refused_and_the_connection_closed(gateway, name, template):
    hidden = b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n"
    answer = raw.exchange(gateway, template.replace(b"%s", CHALLENGES.encode()) + hidden)
    assert answer is not None, "no answer"
    status, headers, body = answer
    assert status == 400, answer
    assert headers.get("connection", "").lower() == "close", headers
    assert_healthy(gateway)


def test_too_many_header_bytes(gateway):
    data = b"GET /livez HTTP/1.1\r\n" + HOST + b"X-A: " + b"a" * 70000 + b"\r\n\r\n"
    answer = raw.exchange(gateway, data)
    assert answer is not None and answer[0] == 431, answer
    assert_healthy(gateway)


def test_a_chunked_body_over_the_limit(gateway):
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    data = (f"POST {CHALLENGES} HTTP/1.1\r\n".encode() + HOST +
            b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 4 +
            b"0\r\n\r\n")
    answer = raw.exchange(gateway, data)
    assert answer is not None and answer[0] == 413, answer
    assert json.loads(answer[2])["code"] == "body_too_large"
    assert_healthy(gateway)


def test_there_are_enough_kinds():
    assert len(SPECS) + len(REQUESTS) + len(CREDENTIALS) + len(SMUGGLING) >= 60
