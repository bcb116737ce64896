"""Attestation policies: versions, scopes, what they make of real evidence, dry runs and standing."""
import base64
import hashlib
import json
import sqlite3
import struct
import subprocess
import time
import uuid

import pytest

from stack import BIN, SUBSCRIPTION

POLICIES = "/v1/attestation/policies/"
GROUP = "policies"
GROUP_ID = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}"


def policy(rules, *scopes, **more):
    return {"scopes": list(scopes), "rules": rules, **more}


def path_of(link):
    return link and "/v1" + link.split("/v1", 1)[1]


def report(anonymous, vm, change=None, also=()):
    """A report of the VM with what the challenge asks for, and PCRs that it does not; the answer."""
    given = anonymous.post("/v1/attestation/challenges", {"vmId": vm.vm_id}).json
    given["pcrs"] += also
    evidence = vm.guest.report(given, vm.token)
    if change:
        change(evidence)
    answer = anonymous.post("/v1/attestation/reports", evidence)
    assert answer.status == 200, answer
    vm.token = None
    return answer.json


def findings(answer, check="policy"):
    return [c for c in answer["checks"] if c["name"] == check and c["status"] in ("fail", "warn")]


def policy_ids(result):
    body = result.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return claims["submods"]["vtpm"]["ear_appraisal_policy_ids"]


def settled(api, vm, seconds=30):
    """Boot integrity once nothing is pending any more."""
    end = time.monotonic() + seconds
    while True:
        now = api.get(vm.path + "/bootIntegrity").json
        if not now.get("policyPending"):
            return now
        assert time.monotonic() < end, now
        time.sleep(0.05)


@pytest.fixture(scope="module")
def vm(make_vm):
    return make_vm("policy1", group=GROUP)


@pytest.fixture
def named(api):
    """Makes policies and removes them."""
    made = []

    def put(body, name=None, **more):
        name = name or f"p-{uuid.uuid4().hex[:8]}"
        made.append(name)
        return api.put(POLICIES + name, body, **more)

    yield put
    for name in made:
        assert api.delete(POLICIES + name).status in (200, 404)


def test_versions_and_preconditions(api, named):
    body = policy({"requireSecureBoot": True}, GROUP_ID, description="first")
    made = named(body, "versions", headers={"If-None-Match": "*"})
    assert made.status == 201 and made.json["name"] == "versions", made
    first, etag = made.json["version"], made.header("ETag")
    assert made.json["rules"]["requireSecureBoot"] is True
    again = named(body, "versions", headers={"If-None-Match": "*"})
    assert again.status == 412 and again.code == "precondition_failed", again
    same = named(body, "versions", headers={"If-Match": etag})
    assert same.status == 200 and same.json["version"] == first, same
    changed = named({**body, "description": "second"}, "versions", headers={"If-Match": etag})
    assert changed.status == 200 and changed.json["version"] > first, changed
    # What is wanted is there already: a repeated request succeeds although its ETag is old.
    assert named({**body, "description": "second"}, "versions",
                 headers={"If-Match": etag}).status == 200
    stale = named({**body, "description": "third"}, "versions", headers={"If-Match": etag})
    assert stale.status == 412, stale
    assert named(body, "versions", headers={"If-Match": "W/\"x\""}).status == 400
    now = api.get(POLICIES + "versions")
    assert now.json["description"] == "second" and now.header("ETag") == changed.header("ETag")
    then = api.get(POLICIES + f"versions?version={first}")
    assert then.json["description"] == "first" and then.json["version"] == first
    assert api.get(POLICIES + "versions?version=999999").status == 404
    page = api.get(POLICIES + "versions/versions?top=1")
    assert [v["description"] for v in page.json["value"]] == ["second"]
    rest = api.get(path_of(page.json["nextLink"]))
    assert [v["description"] for v in rest.json["value"]] == ["first"] and "nextLink" not in rest.json
    assert "versions" in [p["name"] for p in api.get("/v1/attestation/policies?top=200").json["value"]]
    gone = api.delete(POLICIES + "versions", headers={"If-Match": etag})
    assert gone.status == 412, gone
    gone = api.delete(POLICIES + "versions", headers={"If-Match": changed.header("ETag")})
    assert gone.status == 200 and gone.json["description"] == "second", gone
    assert api.get(POLICIES + "versions").status == 404
    # A version's number is never used again.
    assert named(body, "versions").json["version"] > changed.json["version"]


def test_a_scope_has_one_policy(api, named):
    body = policy({}, GROUP_ID + "x")
    assert named(body, "scope-a").status == 201
    taken = named(policy({}, GROUP_ID.upper() + "X"), "scope-b")
    assert taken.status == 409 and taken.code == "invalid_state" and "scope-a" in taken.json["detail"]
    dry = api.put(POLICIES + "scope-b?dryRun=true", policy({}, GROUP_ID + "x"))
    assert dry.status == 409, dry
    assert named(policy({}), "scope-a").status == 200
    assert named(body, "scope-b").status == 201


BAD = [
    ({"nonsense": 1}, "#/rules/nonsense"),
    ({"requireSecureBoot": "yes"}, "#/rules/requireSecureBoot"),
    ({"maxAge": "5 days"}, "#/rules/maxAge"),
    ({"maxAge": "PT1S"}, "#/rules/maxAge"),
    ({"profiles": ["best"]}, "#/rules/profiles/0"),
    ({"forbiddenStates": ["tired"]}, "#/rules/forbiddenStates/0"),
    ({"forbiddenStates": ["safeMode", "safeMode"]}, "#/rules/forbiddenStates/1"),
    ({"goldenPcrs": [{"name": "a", "pcrs": {"24": "00" * 32}}]}, "#/rules/goldenPcrs/0/pcrs/24"),
    ({"goldenPcrs": [{"name": "a", "pcrs": {"07": "00" * 32}}]}, "#/rules/goldenPcrs/0/pcrs/07"),
    ({"goldenPcrs": [{"name": "a", "pcrs": {"7": "00" * 31}}]}, "#/rules/goldenPcrs/0/pcrs/7"),
    ({"goldenPcrs": [{"name": "a", "pcrs": {}}]}, "#/rules/goldenPcrs/0/pcrs"),
    ({"goldenPcrs": [{"name": "a", "pcrs": {}}] * 65}, "#/rules/goldenPcrs"),
    ({"allowedEvents": [{"pcr": 4, "digests": ["zz" * 32]}]}, "#/rules/allowedEvents/0/digests/0"),
    ({"allowedEvents": [{"pcr": 24, "digests": ["00" * 32]}]}, "#/rules/allowedEvents/0/pcr"),
    ({"firmware": ["00"]}, "#/rules/firmware/0"),
    ({"revocations": [{"name": "r", "hashes": ["00" * 20]}]}, "#/rules/revocations/0/hashes/0"),
    ({"revocations": [{"name": "r"}]}, "#/rules/revocations/0"),
    ({"revocations": [{"name": "r", "hashes": ["00" * 32], "mustNotBoot": False}]},
     "#/rules/revocations/0"),
    ({"sbat": [{"component": "shim", "generation": 0}]}, "#/rules/sbat/0/generation"),
    ({"sbat": [{"component": "shim", "generation": 1}] * 2}, "#/rules/sbat/1/component"),
    ({"sbatLevel": "2023"}, "#/rules/sbatLevel"),
    ({"signers": {"required": ["CN=a"], "forbidden": ["cn=A"]}}, "#/rules/signers/required/0"),
    ({"signers": {"allowed": ["CN=b", "CN=a"], "forbidden": ["cn=A"]}}, "#/rules/signers/allowed/1"),
    ({"kernelCommandLines": ["*" * 33]}, "#/rules/kernelCommandLines/0"),
    ({"kernelCommandLines": ["caf\u00e9"]}, "#/rules/kernelCommandLines/0"),
    ({"allowQuoteOnly": True, "requireSecureBoot": True}, "#/rules/allowQuoteOnly"),
    ({"allowQuoteOnly": True, "baseline": "enforce"}, "#/rules/allowQuoteOnly"),
    ({"baseline": "maybe"}, "#/rules/baseline"),
]


@pytest.mark.parametrize("rules, pointer", BAD, ids=[f"{i}-{p}" for i, (_, p) in enumerate(BAD)])
def test_bad_rules_are_named(api, rules, pointer):
    answer = api.put(POLICIES + "bad", policy(rules))
    assert answer.status == 400 and answer.code == "validation_failed", answer
    assert pointer in [e["pointer"] for e in answer.json["errors"]], answer
    assert api.get(POLICIES + "bad").status == 404


@pytest.mark.parametrize("scope", [
    "", "/subscriptions/x", "/subscriptions/" + SUBSCRIPTION + "/", "everything", "a:b:c",
    "a:b:*:1", GROUP_ID + "/providers/Microsoft.Network/virtualNetworks/v"])
def test_bad_scopes_are_named(api, scope):
    answer = api.put(POLICIES + "bad", policy({}, scope))
    assert answer.status == 400 and answer.json["errors"][0]["pointer"] == "#/scopes/0", answer


def test_repeated_scopes_are_refused(api):
    answer = api.put(POLICIES + "bad", policy({}, GROUP_ID, GROUP_ID.lower()))
    assert answer.status == 400 and answer.json["errors"][0]["pointer"] == "#/scopes/1", answer


def test_scopes_of_credentials(gateway, api, named):
    """A policy is written by who covers all its scopes, and seen by who is under it or above it."""
    inside = gateway.api(gateway.make_key("admin", GROUP_ID))
    beside = gateway.api(gateway.make_key("admin", GROUP_ID + "-beside"))
    assert named(policy({}, GROUP_ID), "scoped").status == 201
    assert inside.get(POLICIES + "scoped").status == 200
    assert beside.get(POLICIES + "scoped").status == 404
    assert beside.delete(POLICIES + "scoped").status == 404
    assert [p["name"] for p in beside.get("/v1/attestation/policies").json["value"]] == []
    assert inside.put(POLICIES + "scoped", policy({"requireSecureBoot": True}, GROUP_ID)).status == 200
    for scopes in (["/"], ["/subscriptions/" + SUBSCRIPTION], ["a:b:c:*"], []):
        answer = inside.put(POLICIES + "scoped", policy({}, *scopes))
        assert answer.status == 403 and answer.code == "forbidden", answer
    # A name that is another's is not taken over.
    assert beside.put(POLICIES + "scoped", policy({}, GROUP_ID + "-beside")).status == 403


def test_the_most_specific_scope_decides_alone(api, named, vm):
    image = api.get(vm.path + "/attestationPolicy").json["image"]
    assert image.startswith("Canonical:0001-com-ubuntu-server-jammy:22_04-lts-gen2:"), image
    assert not image.endswith("latest")
    scopes = [("sub", "/subscriptions/" + SUBSCRIPTION), ("group", GROUP_ID),
              ("any", image.rsplit(":", 1)[0] + ":*"), ("image", image), ("vm", vm.arm_id)]
    before = api.get(vm.path + "/attestationPolicy")
    assert "policy" not in before.json, before
    for name, scope in scopes:
        assert named(policy({"knownImages": []}, scope), "level-" + name).status == 201
        now = api.get(vm.path + "/attestationPolicy")
        assert now.json["policy"]["name"] == "level-" + name and now.json["scope"] == scope, now
    for name, _ in reversed(scopes):
        assert api.get(vm.path + "/attestationPolicy").json["policy"]["name"] == "level-" + name
        assert api.delete(POLICIES + "level-" + name).status == 200


def test_every_rule_is_judged_by_real_evidence(api, anonymous, named, vm):
    """The same guest, each rule once kept and once violated; violated ones are findings of their own."""
    first = report(anonymous, vm)
    assert first["verdict"] == "trusted" and "policy" not in first, first
    pcrs = first["claims"]["pcrs"]["sha256"]
    other = "11" * 32
    good = {
        "requireSecureBoot": True, "maxAge": "PT2H", "profiles": ["azureTrustedLaunch"],
        "forbiddenStates": ["uefiDebugMode", "dmaProtectionDisabled"],
        "firmware": [other, pcrs["0"]],
        "goldenPcrs": [{"name": "other", "pcrs": {"7": other}},
                       {"name": "mine", "pcrs": {"4": pcrs["4"], "7": pcrs["7"]}}],
        "signers": {"forbidden": ["CN=Nobody"]},
        "revocations": [{"name": "old", "hashes": [other]}],
    }
    made = named(policy(good, vm.arm_id), "rules")
    assert made.status == 201, made
    answer = report(anonymous, vm)
    assert answer["verdict"] == "trusted" and not findings(answer), answer
    assert answer["policy"] == {"name": "rules", "version": made.json["version"]}
    stored = api.get("/v1/attestation/reports/" + answer["reportId"]).json
    for result in (answer["result"], stored["result"]):  # others learn by what it was judged
        built_in, own = policy_ids(result)
        assert built_in.startswith("tlgate:azureTrustedLaunch@")
        assert own == f"tlgate:policy/rules@{made.json['version']}"
    integrity = api.get(vm.path + "/bootIntegrity").json
    assert integrity["status"] == "healthy" and integrity["policy"] == answer["policy"]

    bad = {
        "profiles": ["tpm"], "firmware": [other],
        "goldenPcrs": [{"name": "other", "pcrs": {"4": other, "7": pcrs["7"]}}],
        "signers": {"required": ["CN=Nobody"]},
        "allowedEvents": [{"pcr": 4, "digests": [other]}],
        "sbatLevel": "2099010100",
        "kernelCommandLines": ["nothing like it"],
        "revocations": [{"name": "new", "hashes": [other], "mustBeInDbx": True}],
    }
    assert named(policy(bad, vm.arm_id), "rules").status == 200
    answer = report(anonymous, vm)
    assert answer["verdict"] == "untrusted", answer
    found = {(f["reason"], f.get("pcr")) for f in findings(answer)}
    assert {("profile_not_allowed", None), ("firmware_not_allowed", 0), ("golden_pcr_mismatch", 4),
            ("signer_missing", 7), ("event_not_allowed", 4)} <= found, found
    # What the emulated guest measures nothing about is not proven, and fails closed.
    assert {f["expected"] for f in findings(answer) if f["reason"] == "rule_not_proven"} <= {
        "kernelCommandLines", "sbat"}, findings(answer)
    assert {r for r, _ in found} & {"rule_not_proven", "kernel_command_line_not_allowed"}, found
    assert {r for r, _ in found} & {"dbx_incomplete"}, found
    golden = next(f for f in findings(answer) if f["reason"] == "golden_pcr_mismatch")
    assert golden["expected"] == other and golden["found"] == pcrs["4"], golden
    integrity = api.get(vm.path + "/bootIntegrity").json
    assert integrity["status"] == "unhealthy" and "firmware_not_allowed" in integrity["reasons"]


def test_the_challenge_asks_for_what_policies_look_at(api, anonymous, named, vm):
    asked = anonymous.post("/v1/attestation/challenges", {"vmId": vm.vm_id}).json["pcrs"]
    assert asked == list(range(8))
    named(policy({"forbiddenStates": ["testSigning"]}, vm.arm_id), "windows")
    for vm_id in (vm.vm_id, str(uuid.uuid4())):  # it looks the same for known and unknown VMs
        asked = anonymous.post("/v1/attestation/challenges", {"vmId": vm_id}).json["pcrs"]
        assert asked == [*range(8), 12, 13], asked
    answer = report(anonymous, vm)
    assert answer["verdict"] == "trusted" and not findings(answer), answer
    given = anonymous.post("/v1/attestation/challenges", {"vmId": vm.vm_id}).json
    old = vm.guest.report({**given, "pcrs": list(range(8))})  # an agent that quotes what it always did
    answer = anonymous.post("/v1/attestation/reports", old).json
    assert answer["verdict"] == "untrusted", answer
    assert [f["reason"] for f in findings(answer)] == ["rule_not_proven"], answer


def test_quote_only(api, anonymous, named, make_vm):
    """Without an event log: unknown as long as no policy speaks, healthy or untrusted where one does."""
    vm = make_vm("policy2", group=GROUP)

    def no_log(evidence):
        del evidence["eventLog"]

    for allow, verdict, status in ((None, "trustedQuoteOnly", "unknown"),
                                   (True, "trustedQuoteOnly", "healthy"),
                                   (False, "untrusted", "unhealthy")):
        rules = {} if allow is None else {"allowQuoteOnly": allow}
        assert named(policy(rules, vm.arm_id), "quote-only").status in (200, 201)
        answer = report(anonymous, vm, no_log)
        assert answer["verdict"] == verdict, (allow, answer)
        assert api.get(vm.path + "/bootIntegrity").json["status"] == status, allow
    named(policy({"forbiddenStates": ["uefiDebugMode"]}, vm.arm_id), "quote-only")
    answer = report(anonymous, vm, no_log)
    assert answer["verdict"] == "untrusted", answer
    assert [f["reason"] for f in findings(answer)] == ["rule_not_proven"], answer


def test_a_dry_run_says_who_would_change_and_writes_nothing(api, anonymous, named, make_vm):
    group = "policies-dry"  # its own: nobody else's standing is judged again meanwhile
    vm, other = make_vm("dry1", group=group), make_vm("dry2", group=group)
    trusted = report(anonymous, vm), report(anonymous, other)
    assert [r["verdict"] for r in trusted] == ["trusted", "trusted"]
    pcr0 = trusted[0]["claims"]["pcrs"]["sha256"]["0"]
    before = [api.get(v.path + "/bootIntegrity").json for v in (vm, other)]
    strict = policy({"firmware": ["22" * 32]}, GROUP_ID + "-dry")
    dry = api.put(POLICIES + "dry?dryRun=true&top=200", strict)
    assert dry.status == 200, dry
    mine = {c["resourceId"].lower(): c for c in dry.json["value"]}
    for v in (vm, other):
        change = mine[v.arm_id.lower()]
        assert (change["status"], change["newStatus"]) == ("healthy", "unhealthy"), change
        assert change["newVerdict"] == "untrusted" and change["newReasons"] == ["firmware_not_allowed"]
        [finding] = [c for c in change["checks"] if c["status"] == "fail"]
        assert finding["expected"] == "22" * 32 and finding["found"] == pcr0, finding
    assert api.get(POLICIES + "dry").status == 404
    assert [api.get(v.path + "/bootIntegrity").json for v in (vm, other)] == before
    lenient = api.put(POLICIES + "dry?dryRun=true&top=200", policy({"firmware": [pcr0]}, GROUP_ID + "-dry"))
    assert not {c["resourceId"].lower() for c in lenient.json["value"]} & {
        v.arm_id.lower() for v in (vm, other)}, lenient
    # Pages: together they look at every VM once.
    seen, path = [], POLICIES + "dry?dryRun=true&top=1"
    while path:
        page = api.put(path, strict)
        assert page.json["examined"] <= 1
        seen += [c["resourceId"] for c in page.json["value"]]
        path = path_of(page.json.get("nextLink"))
    assert len(seen) == len(set(seen)) == len(mine) == 2


def test_a_change_of_policy_judges_the_standing_again(gateway, api, anonymous, named, vm):
    """The last report is judged by the new policy without waiting for the next one."""
    first = report(anonymous, vm)
    assert settled(api, vm)["status"] == "healthy"
    made = named(policy({"firmware": ["33" * 32]}, vm.arm_id), "standing")
    now = settled(api, vm)
    assert now["status"] == "unhealthy" and now["reasons"] == ["firmware_not_allowed"], now
    assert now["policy"] == {"name": "standing", "version": made.json["version"]}
    assert now["lastReportId"] == first["reportId"] and now["verdict"] == "untrusted"
    # Why is told of what stands now, with the log's events by name, and changes with it.
    path = vm.path + "/bootIntegrity?explain=true"
    answer = api.get(path)
    told = answer.json["explanation"]
    assert told["summary"].startswith("untrusted: 1 of "), told
    (problem,) = told["problems"]
    assert (problem["check"], problem["reason"], problem["pcr"]) == ("policy", "firmware_not_allowed", 0)
    assert problem["expected"] and problem["remedy"]["code"] and problem["meaning"], problem
    assert {k: v for k, v in answer.json.items() if k != "explanation"} == now
    assert api.get(path, headers={"If-None-Match": answer.header("ETag")}).status == 304
    # The report itself stays what it was.
    assert api.get("/v1/attestation/reports/" + first["reportId"]).json["verdict"] == "trusted"
    evaluated = api.post(POLICIES + "standing/evaluate?top=200")
    assert evaluated.status == 200 and not evaluated.json["value"], evaluated
    assert evaluated.json["concerned"] == 1 <= evaluated.json["examined"], evaluated
    # One that applies nowhere yet concerns nobody, whatever it looked at.
    nowhere = api.put(POLICIES + "nowhere?dryRun=true&top=200", policy({"requireSecureBoot": True}))
    assert nowhere.json["concerned"] == 0 and nowhere.json["examined"] >= 1, nowhere
    pcr0 = first["claims"]["pcrs"]["sha256"]["0"]
    named(policy({"firmware": [pcr0]}, vm.arm_id), "standing")
    assert settled(api, vm)["status"] == "healthy"
    again = api.get(path, headers={"If-None-Match": answer.header("ETag")})
    assert again.status == 200 and again.json["explanation"]["problems"] == [], again
    assert api.delete(POLICIES + "standing").status == 200
    assert "policy" not in settled(api, vm)
    # After a restart the book is read from the store.
    named(policy({"firmware": ["33" * 32]}, vm.arm_id), "standing")
    assert settled(api, vm)["status"] == "unhealthy"


def test_max_age_is_the_policys(api, anonymous, named, vm):
    """A report of a VM stops to count when its policy says so, in single reads, lists and counts."""
    report(anonymous, vm)
    named(policy({"maxAge": "PT1M"}, vm.arm_id), "age")
    now = settled(api, vm)
    assert now["status"] == "healthy" and now["policy"]["name"] == "age", now


def test_audit_and_metrics(gateway, api, named):
    named(policy({}), "audited")
    assert api.delete(POLICIES + "audited").status == 200
    with sqlite3.connect(f"file:{gateway.data_dir}/tlgate.db?mode=ro", uri=True) as db:
        rows = db.execute("SELECT action FROM audit WHERE resource_id = ? ORDER BY id",
                          ("/attestation/policies/audited",)).fetchall()
    assert [r[0] for r in rows] == ["attestation.policy.put", "attestation.policy.delete"], rows
    assert "tlgate_attestation_rejudged_total" in api.get("/metrics").body.decode()


# --- baselines -----------------------------------------------------------------------------------

BASELINES = "/v1/attestation/baselines"
IMAGE = {"publisher": "Canonical", "offer": "0001-com-ubuntu-server-jammy", "sku": "22_04-lts-gen2"}


def update(vm, path="\\EFI\\new\\loader.efi"):
    """What an update does: the next boot measures one more image. Extended into the real TPM, and logged
    behind the log of the boot."""
    log = vm.guest.event_log()
    count = struct.unpack_from("<I", log, 32 + 24)[0]
    algorithms = [struct.unpack_from("<H", log, 32 + 28 + 4 * i)[0] for i in range(count)]
    names = {0x04: "sha1", 0x0B: "sha256", 0x0C: "sha384", 0x0D: "sha512"}
    digests = {a: hashlib.new(names[a], path.encode()).digest() for a in algorithms}
    vm.guest.tool("tpm2_pcrextend", "4:" + ",".join(
        f"{names[a]}={d.hex()}" for a, d in digests.items()))
    name = (path + "\0").encode("utf-16-le")
    node = struct.pack("<BBH", 4, 4, 4 + len(name)) + name + bytes.fromhex("7fff0400")
    data = struct.pack("<QQQQ", 0x1000, 0x2000, 0, len(node)) + node
    event = struct.pack("<III", 4, 0x80000003, len(digests))
    event += b"".join(struct.pack("<H", a) + d for a, d in digests.items())
    longer = log + event + struct.pack("<I", len(data)) + data
    vm.guest.event_log = lambda: longer


@pytest.fixture
def own(private_gateway, make_vm_on):
    """A gateway of its own, where no image has a baseline, and its VMs."""
    api = private_gateway.api(private_gateway.admin_key)
    anonymous = private_gateway.api(None)
    prefix = "b" + uuid.uuid4().hex[:6]
    return api, anonymous, lambda name: make_vm_on(private_gateway, prefix + name)


def test_a_baseline_is_learned_confirmed_and_changed(own):
    """From the first trusted boots of three VMs, by an operator's word, and after an update by one call."""
    api, anonymous, make = own
    vms = [make(str(i)) for i in range(3)]
    assert api.get(BASELINES).json["value"] == []
    for n, vm in enumerate(vms):
        none = api.get(vm.path + "/bootIntegrity/diff")
        assert none.status == 404 and "report" in none.json["remedy"], none
        assert report(anonymous, vm)["verdict"] == "trusted"
        report(anonymous, vm)  # a VM counts once
        [baseline] = api.get(BASELINES).json["value"]
        assert baseline["state"] == ("proposed" if n == 2 else "learning"), baseline
        assert sum(s["vms"] for s in baseline["sets"]) == n + 1, baseline
    assert api.get(BASELINES + "?state=confirmed").json["value"] == []
    image = api.get(vms[0].path + "/attestationPolicy").json["image"]
    assert [b["id"] for b in api.get(BASELINES + "?image=" + image).json["value"]] == [baseline["id"]]
    # PCRs that differ by VM are no part of it, and so all VMs of the image show one set.
    assert len(baseline["sets"]) == 1 and set(baseline["sets"][0]["pcrs"]) == {"0", "2", "4", "7"}
    one = f"{BASELINES}/{baseline['id']}"
    seen = api.get(one).header("ETag")
    assert api.get(one, headers={"If-None-Match": seen}).status == 304

    rule = policy({"baseline": "enforce"}, "/")
    assert api.put(POLICIES + "base", rule).status == 201
    now = settled(api, vms[0])
    assert now["status"] == "unhealthy" and now["reasons"] == ["baseline_not_confirmed"], now
    unknown = api.post(one + "/confirm", {"sets": ["00" * 32]})
    assert unknown.status == 400 and unknown.json["errors"][0]["pointer"] == "#/sets/0", unknown
    assert api.post(one + "/confirm", {"sets": []}).status == 400  # none is not all
    sets = {"sets": [baseline["sets"][0]["digest"]]}
    for stale in ('"1"', '"of another resource"', '"0"'):  # somebody has looked at what is no more
        answer = api.post(one + "/confirm", sets, headers={"If-Match": stale})
        assert answer.status == 412 and answer.code == "precondition_failed", answer
    assert api.post(one + "/confirm", sets, headers={"If-Match": 'W/"1"'}).status == 400
    assert api.get(one).header("ETag") == seen
    confirmed = api.post(one + "/confirm", sets, headers={"If-Match": seen})
    assert confirmed.status == 200 and confirmed.json["state"] == "confirmed", confirmed
    assert api.post(one + "/confirm", {}).status == 409
    now = settled(api, vms[0])
    assert now["status"] == "healthy", now
    assert now["baseline"] == {"id": baseline["id"], "revision": confirmed.json["revision"]}, now
    answer = report(anonymous, vms[1])
    assert answer["verdict"] == "trusted" and not findings(answer), answer
    same = api.get(vms[1].path + "/bootIntegrity/diff").json
    assert same["matches"] and same["differences"] == [], same

    update(vms[2])
    answer = report(anonymous, vms[2])
    assert answer["verdict"] == "untrusted", answer
    assert {f["reason"] for f in findings(answer)} == {"baseline_mismatch"}, answer
    diff = api.get(vms[2].path + "/bootIntegrity/diff").json
    assert not diff["matches"] and diff["state"] == "confirmed", diff
    assert [(d["kind"], d["pcr"], d["text"]) for d in diff["differences"]] == [
        ("added", 4, "\\EFI\\new\\loader.efi is new")], diff
    boot = {"reportId": answer["reportId"]}
    stale = api.post(one + "/accept", boot, headers={"If-Match": seen})
    assert stale.status == 412 and stale.code == "precondition_failed", stale
    accepted = api.post(one + "/accept", boot, headers={"If-Match": confirmed.header("ETag")})
    assert accepted.status == 200 and len(accepted.json["sets"]) == 2, accepted
    assert accepted.json["sets"][1]["boot"]["events"], accepted
    for vm in (vms[0], vms[2]):  # both boots are good now
        assert settled(api, vm)["status"] == "healthy", vm.name
        assert api.get(vm.path + "/bootIntegrity/diff").json["matches"], vm.name
    stale = api.delete(one, headers={"If-Match": confirmed.header("ETag")})
    assert stale.status == 412 and api.get(one).header("ETag") == accepted.header("ETag"), stale
    assert api.delete(one, headers={"If-Match": accepted.header("ETag")}).status == 200
    assert api.get(one).status == 404


def test_a_status_turns_at_the_policys_age(own, private_gateway):
    """In what dashboards read: one VM, also with the ETag of before, lists and counts. The minute goes by in the
    database while no gateway runs."""
    api, anonymous, make_vm = own
    vm = make_vm("age")
    assert api.put(POLICIES + "aging", policy({"maxAge": "PT1M"}, vm.arm_id)).status == 201
    report(anonymous, vm)
    fresh = api.get(vm.path + "/bootIntegrity")
    assert fresh.json["status"] == "healthy", fresh
    before = api.get("/v1/bootIntegrity/summary").json
    private_gateway.program.stop()
    db = sqlite3.connect(private_gateway.data_dir / "tlgate.db")
    (left,) = db.execute("SELECT stale_at - last_report_at FROM vm WHERE vm_id = ?", (vm.vm_id,)).fetchone()
    assert left == 60_000
    db.execute("UPDATE vm SET stale_at = stale_at - 60000 WHERE vm_id = ?", (vm.vm_id,))
    db.commit()
    db.close()
    private_gateway.start()
    old = api.get(vm.path + "/bootIntegrity", headers={"If-None-Match": fresh.header("ETag")})
    assert old.status == 200 and old.json["status"] == "unknown", old
    assert old.json["reasons"] == ["report_too_old"], old
    listed = {s: {v["resourceId"].lower() for v in api.get(f"/v1/bootIntegrity?status={s}&top=200").json["value"]}
              for s in ("healthy", "unknown")}
    assert vm.arm_id.lower() in listed["unknown"] - listed["healthy"], listed
    after = api.get("/v1/bootIntegrity/summary").json
    assert (after["healthy"], after["unknown"]) == (before["healthy"] - 1, before["unknown"] + 1), after
    report(anonymous, vm)
    assert api.get(vm.path + "/bootIntegrity").json["status"] == "healthy"
    assert api.delete(POLICIES + "aging").status == 200


def test_what_cannot_be_accepted(own):
    api, anonymous, make = own
    vm, off = make("good"), make("off")
    good = report(anonymous, vm)

    def no_log(evidence):
        del evidence["eventLog"]

    bare = report(anonymous, off, no_log)
    assert bare["verdict"] == "trustedQuoteOnly", bare
    [baseline] = api.get(BASELINES).json["value"]
    one = f"{BASELINES}/{baseline['id']}"
    answer = api.post(one + "/accept", {"reportId": bare["reportId"]})
    assert answer.status == 409 and answer.code == "invalid_state", answer
    assert api.post(one + "/accept", {"reportId": str(uuid.uuid4())}).status == 404
    assert api.post(one + "/accept", {}).status == 400
    assert api.post(f"{BASELINES}/{uuid.uuid4()}/accept", {"reportId": good["reportId"]}).status == 404
    early = api.post(one + "/confirm", {})
    assert early.status == 409 and early.code == "invalid_state", early
    assert "baseline_vms" in early.json["remedy"] and "accept" in early.json["remedy"], early
    # An operator's word is enough, also before enough VMs were seen.
    accepted = api.post(one + "/accept", {"reportId": good["reportId"]})
    assert accepted.status == 200 and accepted.json["state"] == "confirmed", accepted
    assert api.get(off.path + "/bootIntegrity/diff").status == 409


def test_what_a_boot_does_not_show(own, private_gateway):
    """A PCR of the golden set that the boot does not quote is a difference, not a match. And a report counts for the
    image of the VM that made it, not for that of a later one of the same name."""
    api, anonymous, make = own
    vm = make("less")
    more = report(anonymous, vm, also=[14])
    [baseline] = api.get(BASELINES).json["value"]
    assert "14" in baseline["sets"][0]["pcrs"], baseline
    one = f"{BASELINES}/{baseline['id']}"
    assert api.post(one + "/accept", {"reportId": more["reportId"]}).status == 200
    assert api.get(vm.path + "/bootIntegrity/diff").json["differences"] == []
    less = report(anonymous, vm)
    diff = api.get(vm.path + "/bootIntegrity/diff").json
    assert diff["reportId"] == less["reportId"] and not diff["matches"], diff
    assert [(d["kind"], d["pcr"]) for d in diff["differences"]] == [("notQuoted", 14)], diff
    private_gateway.program.stop()
    db = sqlite3.connect(private_gateway.data_dir / "tlgate.db")
    db.execute("UPDATE report SET vm_id = ? WHERE id = ?", (str(uuid.uuid4()), more["reportId"]))
    db.execute("UPDATE baseline_set SET pcrs = json_set(pcrs, '$.\"0\"', ?)", ("00" * 32,))
    db.commit()
    db.close()
    private_gateway.start()
    answer = api.post(one + "/accept", {"reportId": more["reportId"]})
    assert answer.status == 409 and "former VM" in answer.json["detail"], answer
    # The same events from another start: no event differs, and yet the boot is no match.
    diff = api.get(vm.path + "/bootIntegrity/diff").json
    assert [(d["kind"], d["pcr"]) for d in diff["differences"]] == [("value", 0), ("notQuoted", 14)], diff


def test_the_same_document_offline(anonymous, emulator, vm, tmp_path):
    """tlgate verify --policy reads what PUT takes, and says the same of the same evidence."""
    given = anonymous.post("/v1/attestation/challenges", {"vmId": vm.vm_id}).json
    evidence = vm.guest.report(given)
    del evidence["challengeId"]
    (tmp_path / "evidence.json").write_text(json.dumps(evidence))
    pcr0 = evidence["pcrs"]["sha256"]["0"]
    for firmware, status, verdict in ((pcr0, 0, "trusted"), ("44" * 32, 1, "untrusted")):
        (tmp_path / "policy.json").write_text(json.dumps(policy({"firmware": [firmware]})))
        run = subprocess.run(
            [BIN / "tlgate", "verify", tmp_path / "evidence.json", "--nonce",
             base64.b64decode(given["nonce"]).hex(), "--trust-anchor",
             emulator.state / "trust/vtpm-root.pem", "--trust-dir", emulator.state / "trust",
             "--policy", tmp_path / "policy.json"], capture_output=True, text=True, timeout=60)
        assert run.returncode == status, run
        answer = json.loads(run.stdout)
        assert answer["verdict"] == verdict, answer
        assert [f["reason"] for f in findings(answer)] == (
            [] if status == 0 else ["firmware_not_allowed"]), answer
