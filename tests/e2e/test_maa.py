"""Tokens of Azure Attestation at a running gateway: the emulator's provider, and one of the test's own
that can misbehave. Offline cases of every rule: tests/rows/test_rows_token.py."""
import base64
import http.server
import json
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest

import stack
import tls

sys.path.insert(0, str(stack.ROOT / "tests/rows"))
import tokens  # noqa: E402  (needs the path above)

REPORTS, PROVIDERS = "/v1/attestation/reports", "/v1/attestation/providers"
FAST = {"TLGATE_ATTESTATION_MAA_RETRY": "100ms"}


def challenge(api, vm):
    answer = api.post("/v1/attestation/challenges", {"vmId": vm.vm_id})
    return answer.json, base64.b64decode(answer.json["nonce"])


def send(api, vm, given, token, enrol=None):
    return api.post(REPORTS, {**vm.guest.report(given, enrol), "maaToken": token})


def token_check(answer):
    assert answer.status == 200, answer
    return [(c["status"], c.get("reason")) for c in answer.json["checks"]
            if c["name"] == "maa.token"]


def enrolled(make_vm_on, gateway, name):
    vm = make_vm_on(gateway, name)
    api = gateway.api(None)
    given, _ = challenge(api, vm)
    answer = api.post(REPORTS, vm.guest.report(given, vm.token))
    assert answer.json["verdict"] == "trusted", answer
    return vm


def provider_of(gateway, until=None, seconds=10):
    """The one provider, once it has the state."""
    api, end = gateway.api(gateway.admin_key), time.monotonic() + seconds
    while True:
        answer = api.get(PROVIDERS)
        [provider] = answer.json["value"]
        if until is None or provider["state"] == until:
            return provider
        assert time.monotonic() < end, answer
        time.sleep(0.05)


# ---- the emulator's provider ----


@pytest.fixture(scope="module")
def maa(folder, emulator):
    running = stack.Gateway(folder / "maa", emulator,
                            TLGATE_ATTESTATION_MAA_ISSUER=emulator.url, **FAST)
    yield running
    emulator.call("PUT", "/_emulator/attestation", {})
    running.close()


@pytest.fixture(scope="module")
def vm(make_vm_on, maa):
    return enrolled(make_vm_on, maa, "maa1")


def judged(maa, emulator, vm, **claims):
    """A report with a fresh token in which the claims are different."""
    api = maa.api(None)
    emulator.call("PUT", "/_emulator/attestation", {"claims": claims})
    given, nonce = challenge(api, vm)
    return send(api, vm, given, emulator.maa_token(vm.vm_id, nonce))


def test_a_token_over_the_challenge_is_believed(maa, emulator, vm):
    answer = judged(maa, emulator, vm)
    assert token_check(answer) == [("pass", None)], answer
    assert answer.json["verdict"] == "trusted"
    said = answer.json["claims"]["azureAttestation"]
    assert said["issuer"] == emulator.url and said["vmId"].lower() == vm.vm_id
    assert said["secureBoot"] is True and said["attestedPcrs"] == list(range(8))


def test_the_provider_is_listed(maa, emulator, vm):
    provider = provider_of(maa, "ready")
    assert provider["issuer"] == emulator.url and provider["keys"] >= 1
    assert provider["fetchedAt"] and "lastError" not in provider
    api = maa.api(maa.admin_key)
    tag = api.get(PROVIDERS).header("ETag")
    assert api.get(PROVIDERS, headers={"If-None-Match": tag}).status == 304


@pytest.mark.parametrize("claims, reason", [
    ({"x-ms-azurevm-vmid": "70F5CE9A-2BDC-4B6B-8401-E9B964D3AEB7"}, "token_vm_mismatch"),
    ({"secureboot": False}, "token_claim_refused"),
    ({"secureboot": None}, "token_claim_missing"),
    ({"x-ms-azurevm-testsigning-enabled": True}, "token_claim_refused"),
    ({"iss": "https://sharedweu.weu.attest.azure.net"}, "token_issuer"),
    ({"exp": 1}, "token_expired"),
    ({"x-ms-isolation-tee": {"x-ms-attestation-type": "sevsnpvm"}}, "token_profile"),
])
def test_what_the_provider_says_counts(maa, emulator, vm, claims, reason):
    answer = judged(maa, emulator, vm, **claims)
    assert ("fail", reason) in token_check(answer), answer
    assert answer.json["verdict"] == "untrusted"
    assert "azureAttestation" not in answer.json["claims"]
    assert token_check(judged(maa, emulator, vm)) == [("pass", None)]


def test_a_token_over_another_challenge_is_refused(maa, emulator, vm):
    api = maa.api(None)
    emulator.call("PUT", "/_emulator/attestation", {})
    _, old = challenge(api, vm)
    given, _ = challenge(api, vm)
    answer = send(api, vm, given, emulator.maa_token(vm.vm_id, old))
    assert token_check(answer) == [("fail", "token_nonce_mismatch")]


def test_a_tokens_id_counts_once(maa, emulator, vm):
    assert token_check(judged(maa, emulator, vm, jti="one")) == [("pass", None)]
    answer = judged(maa, emulator, vm, jti="one")
    assert token_check(answer) == [("fail", "token_replayed")]
    assert token_check(judged(maa, emulator, vm, jti="two")) == [("pass", None)]


@pytest.mark.parametrize("bare", [False, True], ids=["x5c", "n-and-e"])
def test_a_key_that_is_new_is_fetched_while_the_report_waits(maa, emulator, vm, bare):
    emulator.call("PUT", "/_emulator/attestation", {"bareKeys": bare})
    time.sleep(0.1)  # maa_retry
    emulator.call("POST", "/_emulator/attestation/rotate", {"keepFormer": not bare})
    api = maa.api(None)
    given, nonce = challenge(api, vm)
    answer = send(api, vm, given, emulator.maa_token(vm.vm_id, nonce))
    assert token_check(answer) == [("pass", None)], answer


def test_a_token_that_is_not_well_formed(maa, vm):
    api = maa.api(None)
    for token in ("e30.e30=.AAAA", "e30.W10.AAAA", "x" * 16385):
        given, _ = challenge(api, vm)
        answer = send(api, vm, given, token)
        assert answer.status == 400 and answer.code == "evidence_malformed"
        assert [e["pointer"] for e in answer.json["errors"]] == ["#/maaToken"]


def test_without_a_provider_a_token_is_not_looked_at(api, anonymous, make_vm, emulator):
    assert api.get(PROVIDERS).json == {"value": []}
    vm = make_vm("maa2")
    given, nonce = challenge(anonymous, vm)
    answer = send(anonymous, vm, given, emulator.maa_token(vm.vm_id, nonce), vm.token)
    assert token_check(answer) == [("skip", "token_not_configured")]
    assert answer.json["verdict"] == "trusted"


@pytest.mark.parametrize("issuer", ["http://a.attest.azure.net", "https://a.attest.azure.net/",
                                    "https://A.attest.azure.net", "a.attest.azure.net",
                                    "https://a@b", "https://a.net,https://a.net"])
def test_an_issuer_that_is_no_origin_is_refused(maa, issuer):
    run = subprocess.run([maa.bin / "tlgate", "check-config", "--config", maa.ini],
                         capture_output=True, text=True,
                         env=stack.clean_env(TLGATE_ATTESTATION_MAA_ISSUER=issuer))
    assert run.returncode != 0 and "maa_issuer" in run.stderr


# ---- a provider that misbehaves ----


class Door:
    """An HTTPS server that plays a provider, counts who comes, and answers as it is told."""

    def __init__(self, folder):
        door = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                door.asked.append(self.path)
                status, headers, body = door.answer(self.path)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        folder.mkdir()
        self.ca = tls.make_ca(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "gateway.pem", folder / "gateway.key")
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.issuer = f"https://127.0.0.1:{self.server.server_address[1]}"
        self.asked, self.wrong = [], {}
        self.provider = tokens.Provider(issuer=self.issuer)
        self.jwks = self.provider.jwks()
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path):
        if path in self.wrong:
            return self.wrong[path]
        if path == "/.well-known/openid-configuration":
            body = {"issuer": self.issuer, "jwks_uri": self.issuer + "/certs"}
        else:
            body = self.jwks
        return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def door(folder):
    running = Door(folder / "door")
    yield running
    running.close()


@pytest.fixture(scope="module")
def own(folder, emulator, door):
    running = stack.Gateway(folder / "own-maa", emulator, TLGATE_ATTESTATION_MAA_ISSUER=door.issuer,
                            TLGATE_ATTESTATION_MAA_CA_FILE=str(door.ca), **FAST)
    yield running
    running.close()


@pytest.fixture(scope="module")
def own_vm(make_vm_on, own):
    return enrolled(make_vm_on, own, "maa3")


def ask(own, vm, door, provider=None, header=None, **claims):
    api = own.api(None)
    given, nonce = challenge(api, vm)
    body = {**tokens.payload(vm.vm_id, nonce, issuer=door.issuer), **claims}
    return send(api, vm, given, (provider or door.provider).sign(body, header))


def unknown_key(own, vm, door):
    """Makes the gateway fetch again."""
    time.sleep(0.1)  # maa_retry
    before = len(door.asked)
    header = {**door.provider.header(), "kid": "unknown"}
    answer = ask(own, vm, door, header=header)
    assert len(door.asked) > before
    return answer


BAD = {
    "html": (200, {"Content-Type": "text/html"}, b"<html>maintenance</html>"),
    "503": (503, {"Retry-After": "1"}, b"{}"),
    "redirect": (302, {"Location": "https://attacker.example/certs"}, b""),
    "5 MiB": (200, {}, b'{"keys":[' + b" " * (5 << 20) + b"]}"),
    "no keys": (200, {}, b'{"keys":[]}'),
    "unusable keys": (200, {}, b'{"keys":[{"kty":"RSA","kid":"k","x5c":["Z2FyYmFnZQ=="]}]}'),
}


@pytest.mark.parametrize("path, kind", [("/certs", kind) for kind in BAD]
                         + [("/.well-known/openid-configuration", kind)
                            for kind in ("html", "redirect")])
def test_the_last_good_keys_stay_whatever_is_fetched_later(own, own_vm, door, path, kind):
    door.wrong.clear()
    unknown_key(own, own_vm, door)
    assert provider_of(own, "ready")["keys"] == 1
    door.wrong[path] = BAD[kind]
    answer = unknown_key(own, own_vm, door)
    assert token_check(answer) == [("fail", "token_key_unknown")], answer
    listed = provider_of(own, "stale")
    assert listed["keys"] == 1 and listed["lastError"], listed
    assert token_check(ask(own, own_vm, door)) == [("pass", None)]
    door.wrong.clear()


def test_discovery_must_stay_at_the_issuers_host(own, own_vm, door):
    door.wrong["/.well-known/openid-configuration"] = (200, {}, json.dumps({
        "issuer": door.issuer, "jwks_uri": "https://attacker.example/certs"}).encode())
    before = len([p for p in door.asked if p == "/certs"])
    unknown_key(own, own_vm, door)
    assert "host" in provider_of(own, "stale")["lastError"]
    assert len([p for p in door.asked if p == "/certs"]) == before
    door.wrong.clear()
    unknown_key(own, own_vm, door)
    provider_of(own, "ready")


def test_an_address_in_a_token_is_never_called(own, own_vm, door):
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.3)
        url = f"https://127.0.0.1:{trap.getsockname()[1]}/certs"
        thief = tokens.Provider(issuer=door.issuer)
        for member in ("jku", "x5u"):
            header = {**thief.header(), member: url}
            answer = ask(own, own_vm, door, thief, header)
            assert answer.json["verdict"] == "untrusted"
        answer = ask(own, own_vm, door, thief, {**thief.header(), "jwk": thief.jwk()})
        assert token_check(answer) == [("fail", "token_header")]
        with pytest.raises(TimeoutError):
            trap.accept()


def test_many_unknown_keys_are_one_knock_at_the_door(folder, emulator, door, make_vm_on):
    patient = stack.Gateway(folder / "patient", emulator,
                            TLGATE_ATTESTATION_MAA_ISSUER=door.issuer,
                            TLGATE_ATTESTATION_MAA_CA_FILE=str(door.ca))
    try:
        vm = enrolled(make_vm_on, patient, "maa4")
        provider_of(patient, "ready")
        asked = len(door.asked)
        for kid in ("a", "b", "c"):
            answer = ask(patient, vm, door, header={**door.provider.header(), "kid": kid})
            assert token_check(answer) == [("fail", "token_key_unknown")]
        assert len(door.asked) == asked  # the start's fetch was less than a minute ago
    finally:
        patient.close()


def test_without_any_keys_nothing_is_decided(folder, emulator, door, make_vm_on):
    door.wrong["/certs"] = BAD["503"]
    lost = stack.Gateway(folder / "lost", emulator, TLGATE_ATTESTATION_MAA_ISSUER=door.issuer,
                         TLGATE_ATTESTATION_MAA_CA_FILE=str(door.ca), **FAST)
    try:
        vm = enrolled(make_vm_on, lost, "maa5")
        answer = ask(lost, vm, door)
        assert token_check(answer) == [("fail", "token_keys_unavailable")]
        assert answer.json["verdict"] == "indeterminate"
        status = lost.api(lost.admin_key).get(vm.path + "/bootIntegrity").json
        assert status["status"] == "unknown" and "token_keys_unavailable" in status["reasons"]
        assert provider_of(lost)["state"] == "unavailable"
        door.wrong.clear()
        time.sleep(0.1)
        assert token_check(ask(lost, vm, door)) == [("pass", None)]
    finally:
        door.wrong.clear()
        lost.close()


def test_a_token_of_the_provider_enrols(make_vm_on, maa, emulator):
    """Neither the enrolment token nor anything else was sent: the provider vouches for the vmId."""
    emulator.call("PUT", "/_emulator/attestation", {})
    vm, api = make_vm_on(maa, "maa6"), maa.api(None)
    given, nonce = challenge(api, vm)
    other, foreign = challenge(api, vm)
    refused = send(api, vm, given, emulator.maa_token(vm.vm_id, foreign))
    assert refused.status == 403 and refused.code == "not_enrolled", refused
    answer = send(api, vm, given, emulator.maa_token(vm.vm_id, nonce))
    assert token_check(answer) == [("pass", None)] and answer.json["verdict"] == "trusted"
    again, _ = challenge(api, vm)
    assert api.post(REPORTS, vm.guest.report(again)).json["verdict"] == "trusted"
