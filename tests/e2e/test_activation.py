"""Credential activation: TPMs with an EK certificate of swtpm's own CA, RSA-2048, P-256 and P-384, opened by
the TPM itself."""
import base64
import json
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile
import time

import pytest
from cryptography.hazmat.primitives import serialization

import stack
from guest import AK_HANDLE, Guest, b64
from test_evidence import challenge, send, status_of

# TCG EK Credential Profile, low range: where tpm2_createek's keys have their certificates
EK_CERT = {"rsa": "0x01c00002", "ecc": "0x01c0000a", "p384": "0x01c00016"}
P384_EK = "0x81010016"  # of the high range, where swtpm_setup persists it


def make_ca(folder):
    """Configuration of swtpm_setup: a CA of its own that certifies EKs."""
    (folder / "localca.conf").write_text(
        f"statedir = {folder}\nsigningkey = {folder}/signkey.pem\n"
        f"issuercert = {folder}/issuercert.pem\ncertserial = {folder}/certserial\n")
    (folder / "localca.options").write_text(
        "--platform-manufacturer Test\n--platform-version 1\n--platform-model Test\n")
    (folder / "setup.conf").write_text(
        f"create_certs_tool = {shutil.which('swtpm_localca')}\n"
        f"create_certs_tool_config = {folder}/localca.conf\n"
        f"create_certs_tool_options = {folder}/localca.options\n")
    return folder / "setup.conf"


class EkTpm:
    """A software TPM with EK, EK certificate (of `vm_id`, or of nobody) and an AK where the agent looks."""

    def __init__(self, ca, vm_id=None, kind="rsa"):
        self.kind, name = kind, vm_id or "nobody"
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ek-"))
        self.folder.chmod(0o755)
        state, socket = self.folder / "state", self.folder / "s"
        state.mkdir()
        done = subprocess.run(
            ["swtpm_setup", "--tpm2", "--tpmstate", state, "--config", ca, "--vmid", name, "--overwrite",
             *(["--create-ek-cert"] if kind != "ecc" else [])],
            capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        self.process = subprocess.Popen([
            "swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}", "--server",
            f"type=unixio,path={socket}", "--ctrl", f"type=unixio,path={socket}.ctrl",
            "--flags", "not-need-init,startup-clear"], stdout=subprocess.DEVNULL)
        self.tcti = f"swtpm:path={socket}"
        end = time.monotonic() + 10
        while not socket.exists() and time.monotonic() < end:
            time.sleep(0.01)
        guest = self.guest = Guest({"vmId": vm_id, "tcti": self.tcti})
        guest.tool("tpm2_createprimary", "-C", "e", "-c", self.folder / "ak", "-G",
                   "rsa2048:rsassa-sha256:null", "-a",
                   "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|sign")
        guest.tool("tpm2_evictcontrol", "-C", "o", "-c", self.folder / "ak", AK_HANDLE)
        if kind == "p384":  # swtpm_setup makes it beside the RSA-2048 one, which comes first
            guest.tool("tpm2_nvundefine", "-C", "p", EK_CERT["rsa"])
            return
        guest.tool("tpm2_createek", "-c", self.folder / "ek", "-G", kind, "-u", self.folder / "ek.pem",
                   "-f", "pem")
        if kind == "ecc":  # which swtpm_setup does not make
            self.certify_p256(ca.parent, name)

    def certify_p256(self, ca, name):
        key = serialization.load_pem_public_key((self.folder / "ek.pem").read_bytes()).public_numbers()
        assert key.curve.name == "secp256r1"
        subprocess.run(
            ["swtpm_localca", "--type", "ek", "--ek", f"x={key.x:064x},y={key.y:064x},id=secp256r1",
             "--dir", self.folder, "--vmid", name, "--configfile", ca / "localca.conf", "--optsfile",
             ca / "localca.options", "--tpm2", "--tpm-spec-family", "2.0", "--tpm-spec-revision", "146",
             "--tpm-spec-level", "0", "--tpm-manufacturer", "id:00001014", "--tpm-model", "swtpm",
             "--tpm-version", "id:20191023"], check=True, capture_output=True, timeout=60)
        certificate = self.folder / "ek.cert"
        self.guest.tool("tpm2_nvdefine", "-C", "o", "-s", certificate.stat().st_size, "-a",
                        "ownerread|ownerwrite|authread", EK_CERT[self.kind])
        self.guest.tool("tpm2_nvwrite", "-C", "o", "-i", certificate, EK_CERT[self.kind])

    def certificate(self):
        self.guest.tool("tpm2_nvread", "-C", "o", EK_CERT[self.kind], "-o", self.folder / "cert")
        return (self.folder / "cert").read_bytes()

    def public(self):
        self.guest.tool("tpm2_readpublic", "-c", AK_HANDLE, "-f", "tss", "-o", self.folder / "pub")
        return (self.folder / "pub").read_bytes()

    def activate(self, given):
        blob = (self.folder / "blob")
        blob.write_bytes(bytes.fromhex("badcc0de00000001") + base64.b64decode(given["credentialBlob"])
                         + base64.b64decode(given["encryptedSecret"]))
        if self.kind == "p384":  # used by its (empty) authorization
            self.guest.tool("tpm2_activatecredential", "-c", AK_HANDLE, "-C", P384_EK, "-i", blob, "-o",
                            self.folder / "secret")
            return (self.folder / "secret").read_bytes()
        session = self.folder / "session"
        self.guest.tool("tpm2_startauthsession", "--policy-session", "-S", session)
        self.guest.tool("tpm2_policysecret", "-S", session, "-c", "e")
        self.guest.tool("tpm2_activatecredential", "-c", AK_HANDLE, "-C", self.folder / "ek", "-i",
                        blob, "-o", self.folder / "secret", "-P", f"session:{session}")
        self.guest.tool("tpm2_flushcontext", session)
        return (self.folder / "secret").read_bytes()

    def report(self, given, vm_id, **enrollment):
        message, signature, pcrs = self.guest.quote(base64.b64decode(given["nonce"]), given["pcrs"])
        return {"challengeId": given["challengeId"], "vmId": vm_id, "enrollment": enrollment,
                "quote": {"message": b64(message), "signature": b64(signature)},
                "pcrs": {"sha256": {str(i): v.hex() for i, v in pcrs.items()}},
                "ak": {"public": b64(self.public())}}

    def close(self):
        self.process.terminate()
        self.process.wait(10)
        shutil.rmtree(self.folder)


@pytest.fixture(scope="module")
def ca():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ekca-"))
    folder.chmod(0o755)
    yield make_ca(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def gateway_of_eks(folder, emulator, ca):
    EkTpm(ca).close()  # makes the CA
    roots = folder / "ek-roots.pem"
    roots.write_text("".join(p.read_text() for p in ca.parent.glob("*.pem") if "cert" in p.name))
    running = stack.Gateway(folder / "ek", emulator, TLGATE_ATTESTATION_EK_TRUST_ANCHOR=str(roots))
    yield running
    running.close()


@pytest.fixture(scope="module")
def vm(gateway_of_eks, make_vm_on):
    return make_vm_on(gateway_of_eks, "ek1")


@pytest.fixture(scope="module")
def tpm(ca, vm):
    made = EkTpm(ca, vm.vm_id)
    yield made
    made.close()


@pytest.fixture(scope="module")
def guest_api(gateway_of_eks):
    return gateway_of_eks.api(None)


def ask(api, vm_id, tpm, **changes):
    return api.post("/v1/attestation/activations", {
        "vmId": vm_id, "ekCertificate": b64(tpm.certificate()), "akPublic": b64(tpm.public()), **changes})


def activation(api, vm_id, tpm):
    answer = ask(api, vm_id, tpm)
    assert answer.status == 201, answer
    return {"id": answer.json["activationId"], "secret": b64(tpm.activate(answer.json))}


def refused(answer, reason):
    assert answer.status == 403 and answer.code == "not_enrolled", answer
    assert [(e["pointer"], e["detail"].split(":")[0]) for e in answer.json["errors"]] == [
        ("#/enrollment/activation", reason)], answer


def by_the_pin(api, tpm, vm):
    report = tpm.report(challenge(api, vm.vm_id), vm.vm_id)
    del report["enrollment"]
    return report


def policy_ids(result):
    body = result.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return claims["submods"]["vtpm"]["ear_appraisal_policy_ids"]


def agent(vm, tpm, folder, *more):
    """One round of tlgate-agent on this TPM, which has an EK certificate and none of its AK."""
    log = folder / "no-log"
    log.touch()
    done = subprocess.run(
        [stack.BIN / "tlgate-agent", "--gateway", vm.gateway.url, "--ca", vm.gateway.ca, "--imds",
         vm.gateway.emulator.imds, "--vm-id", vm.vm_id, "--tcti", tpm.tcti, "--event-log", log,
         "--once", *more], capture_output=True, text=True, timeout=60, env=stack.clean_env())
    return done, json.loads(done.stdout) if done.stdout else None


@pytest.mark.parametrize("kind, with_token", [("rsa", False), ("rsa", True), ("ecc", False), ("p384", False)],
                         ids=["alone", "with the VM's token", "P-256", "P-384"])
def test_the_agent_activates(gateway_of_eks, make_vm_on, ca, tmp_path, kind, with_token):
    vm = make_vm_on(gateway_of_eks, f"ekagent{kind}{with_token:d}")
    own = EkTpm(ca, None if with_token else vm.vm_id, kind)
    try:
        more = () if with_token else ("--enrollment-token", tmp_path / "there-is-none")
        done, answer = agent(vm, own, tmp_path, *more)
        assert done.returncode == 0 and answer["verdict"] == "trustedQuoteOnly", done.stdout + done.stderr
        pinned = status_of(gateway_of_eks.api(gateway_of_eks.admin_key), vm)["ak"]
        assert pinned["profile"] == "tpm" and pinned["ekSpki"], pinned
        assert pinned["proof"] == ("token" if with_token else "activation"), pinned
        again, answer = agent(vm, own, tmp_path, *more)  # the pin is enough
        assert again.returncode == 0 and "activation" not in again.stderr, again.stderr
        handles = subprocess.run(["tpm2_getcap", "handles-transient"], capture_output=True, text=True,
                                 env={**os.environ, "TPM2TOOLS_TCTI": own.tcti}, timeout=30)
        assert handles.stdout.strip() == "", handles  # nothing is left in the TPM
    finally:
        own.close()


def test_the_agent_where_the_certificate_names_nobody(gateway_of_eks, make_vm_on, ca, tmp_path):
    """Whose TPM it is must then be said by another proof: here IMDS' document, where it is to be had."""
    vm = make_vm_on(gateway_of_eks, "ekagentc")
    own = EkTpm(ca)
    try:
        no_token = ("--enrollment-token", tmp_path / "there-is-none")
        done, answer = agent(vm, own, tmp_path, *no_token, "--imds", "http://127.0.0.1:9")
        assert done.returncode == 1 and answer["code"] == "not_enrolled", done.stdout + done.stderr
        done, answer = agent(vm, own, tmp_path, *no_token)
        assert done.returncode == 0 and answer["verdict"] == "trustedQuoteOnly", done.stdout + done.stderr
        pinned = status_of(gateway_of_eks.api(gateway_of_eks.admin_key), vm)["ak"]
        assert pinned["proof"] == "attestedDocument" and pinned["ekSpki"], pinned
    finally:
        own.close()


def test_what_is_refused(guest_api, make_vm_on, gateway_of_eks, vm, tpm, ca):
    good = activation(guest_api, vm.vm_id, tpm)
    wrong = {**good, "secret": b64(bytes(32))}
    refused(send(guest_api, tpm.report(challenge(guest_api, vm.vm_id), vm.vm_id, activation=wrong)),
            "activation_secret")
    made_up = {**good, "id": "A" * len(good["id"])}
    refused(send(guest_api, tpm.report(challenge(guest_api, vm.vm_id), vm.vm_id, activation=made_up)),
            "activation_unknown")
    other = make_vm_on(gateway_of_eks, "ek2")
    refused(send(guest_api, tpm.report(challenge(guest_api, other.vm_id), other.vm_id,
                                       activation=good)), "activation_unknown")
    foreign = tpm.report(challenge(guest_api, vm.vm_id), vm.vm_id, activation=good)
    foreign["ak"]["public"] = b64(vm.guest.ak()[0])
    refused(send(guest_api, foreign), "activation_ak")
    # A TPM that nobody certified for this VM proves its AK, not whose it is.
    mine = activation(guest_api, other.vm_id, tpm)
    refused(send(guest_api, tpm.report(challenge(guest_api, other.vm_id), other.vm_id,
                                       activation=mine)), "activation_vm")
    assert status_of(gateway_of_eks.api(gateway_of_eks.admin_key), vm)["status"] == "unknown"


@pytest.mark.parametrize("with_log", [False, True], ids=["alone", "with a log"])
def test_a_quote_that_leaves_out_what_booted(gateway_of_eks, guest_api, make_vm_on, ca, with_log):
    """The guest chooses what it quotes: PCR 16, which it may reset, says nothing of its boot."""
    vm = make_vm_on(gateway_of_eks, f"ekpcr16{with_log:d}")
    own = EkTpm(ca, vm.vm_id)
    try:
        good = {"activation": activation(guest_api, vm.vm_id, own)}
        for enrollment in (good, None):  # with the proof, by the pin
            given = challenge(guest_api, vm.vm_id)
            sent = own.report({**given, "pcrs": [16]}, vm.vm_id, **(enrollment or {}))
            if not enrollment:
                del sent["enrollment"]
            if with_log:
                sent["eventLog"] = b64(vm.guest.event_log())
            answer = send(guest_api, sent)
            assert answer.status == 200 and answer.json["verdict"] == "untrusted", answer
            failed = {(c["name"], c["reason"]) for c in answer.json["checks"] if c["status"] == "fail"}
            assert ("quote.selection", "required_pcr_missing") in failed, answer
        api = gateway_of_eks.api(gateway_of_eks.admin_key)
        assert status_of(api, vm)["status"] == "unhealthy"
    finally:
        own.close()


def test_a_credential_is_for_one_ak(guest_api, vm, tpm):
    """Made for another AK's Name, the TPM itself does not open it."""
    answer = ask(guest_api, vm.vm_id, tpm, akPublic=b64(vm.guest.ak()[0]))
    assert answer.status == 201, answer
    with pytest.raises(subprocess.CalledProcessError):
        tpm.activate(answer.json)


def test_certificates_that_are_none_of_an_ek(guest_api, anonymous, vm, tpm):
    answer = ask(anonymous, vm.vm_id, tpm)
    assert answer.status == 400 and "ek_not_accepted" in answer.json["errors"][0]["detail"], answer
    answer = ask(guest_api, vm.vm_id, tpm, ekCertificate=b64(vm.guest.ak()[1]))
    assert answer.status == 400 and "ek_usage" in answer.json["errors"][0]["detail"], answer
    answer = ask(guest_api, vm.vm_id, tpm, ekCertificate=b64(b"0\0"))
    assert answer.status == 400 and "ek_malformed" in answer.json["errors"][0]["detail"], answer
    answer = ask(guest_api, vm.vm_id, tpm, akPublic="AAAA")
    assert answer.status == 400 and answer.json["errors"][0]["pointer"] == "#/akPublic", answer


@pytest.mark.parametrize("kind", ["ecc", "p384"])
def test_an_ecc_ek_opens_its_credential(guest_api, gateway_of_eks, make_vm_on, ca, tpm, kind):
    vm = make_vm_on(gateway_of_eks, f"ek{kind}")
    own = EkTpm(ca, vm.vm_id, kind)
    try:
        good = activation(guest_api, vm.vm_id, own)
        answer = send(guest_api, own.report(challenge(guest_api, vm.vm_id), vm.vm_id, activation=good))
        assert answer.status == 200 and answer.json["verdict"] == "trustedQuoteOnly", answer
        pinned = status_of(gateway_of_eks.api(gateway_of_eks.admin_key), vm)["ak"]
        assert pinned["proof"] == "activation" and pinned["ekSpki"], pinned
        # Made for this EK and another TPM's AK, the TPM does not open it.
        given = ask(guest_api, vm.vm_id, own, akPublic=b64(tpm.public()))
        assert given.status == 201, given
        with pytest.raises(subprocess.CalledProcessError):
            own.activate(given.json)
    finally:
        own.close()


def by_a_stranger(api, vm_id, bank, size):
    """A quote that nobody signed, over PCRs 0 to 7 of a bank, with a value of one more."""
    given = challenge(api, vm_id)
    message = (b"\xffTCG" + struct.pack(">HHH", 0x8018, 0, 32) + base64.b64decode(given["nonce"])
               + struct.pack(">QIIBQ", 1, 1, 1, 1, 1) + struct.pack(">IHB", 1, bank, 3) + b"\xff\0\0"
               + struct.pack(">H", 32) + bytes(32))
    name = {0x0004: "sha1", 0x000b: "sha256", 0x000c: "sha384", 0x000d: "sha512"}[bank]
    return send(api, {"challengeId": given["challengeId"], "vmId": vm_id,
                      "quote": {"message": b64(message),
                                "signature": b64(struct.pack(">HHH", 0x0014, 0x000b, 256) + bytes(256))},
                      "pcrs": {name: {str(i): "00" * size for i in (*range(8), 9)}}})


@pytest.fixture(scope="module")
def enrolled_by_ek(guest_api, gateway_of_eks, make_vm_on, ca):
    vm = make_vm_on(gateway_of_eks, "ekjudged")
    own = EkTpm(ca, vm.vm_id)
    try:
        good = activation(guest_api, vm.vm_id, own)
        answer = send(guest_api, own.report(challenge(guest_api, vm.vm_id), vm.vm_id, activation=good))
        assert answer.status == 200 and answer.json["verdict"] == "trustedQuoteOnly", answer
    finally:
        own.close()
    return vm


@pytest.mark.parametrize("bank, size", [(0x0004, 20), (0x000b, 32), (0x000c, 48), (0x000d, 64)])
def test_a_stranger_is_told_the_same_of_every_vm(guest_api, enrolled_by_ek, bank, size):
    """Whether there is such a VM, and under which profile it is judged, is nobody's business."""
    unknown = by_a_stranger(guest_api, "01234567-89ab-4cde-8f01-23456789abcd", bank, size)
    known = by_a_stranger(guest_api, enrolled_by_ek.vm_id, bank, size)
    assert known.status == unknown.status == 400, (known, unknown)
    own = {"requestId": "", "traceId": ""}
    assert {**known.json, **own} == {**unknown.json, **own}


def test_an_activated_credential_enrols(guest_api, gateway_of_eks, make_vm_on, vm, tpm):
    api = gateway_of_eks.api(gateway_of_eks.admin_key)
    good = activation(guest_api, vm.vm_id, tpm)
    answer = send(guest_api, tpm.report(challenge(guest_api, vm.vm_id), vm.vm_id, activation=good), cbor=True)
    assert answer.status == 200 and answer.json["verdict"] == "trustedQuoteOnly", answer
    pinned = status_of(api, vm)["ak"]
    assert pinned["proof"] == "activation" and pinned["profile"] == "tpm" and pinned["ekSpki"]
    # Later reports are judged by the pin alone.
    later = send(guest_api, by_the_pin(guest_api, tpm, vm))
    assert later.json["verdict"] == "trustedQuoteOnly", later
    # Others learn by what: also where nothing is proven, and of a report that is read later.
    flipped = by_the_pin(guest_api, tpm, vm)
    flipped["pcrs"]["sha256"]["7"] = "11" * 32
    bad = send(guest_api, flipped)
    assert bad.json["verdict"] == "untrusted" and bad.json["claims"] == {}, bad
    scoped = {"scopes": [vm.arm_id], "rules": {"profiles": ["tpm"]}}
    made = api.put("/v1/attestation/policies/tpms", scoped)
    assert made.status == 201, made
    ruled = send(guest_api, by_the_pin(guest_api, tpm, vm))
    assert ruled.json["policy"]["name"] == "tpms", ruled
    for each, more in ((answer, []), (later, []), (bad, []),
                       (ruled, [f"tlgate:policy/tpms@{made.json['version']}"])):
        stored = api.get("/v1/attestation/reports/" + each.json["reportId"])
        for result in (each.json["result"], stored.json["result"]):
            built_in, *others = policy_ids(result)
            assert built_in.startswith("tlgate:tpm@") and others == more, (built_in, others)
    assert api.delete("/v1/attestation/policies/tpms").status == 200

    # The same TPM as another VM, by that VM's own token: both stop.
    other = make_vm_on(gateway_of_eks, "ek3")
    enrollment = {"token": other.token, "activation": activation(guest_api, other.vm_id, tpm)}
    answer = send(guest_api, tpm.report(challenge(guest_api, other.vm_id), other.vm_id, **enrollment))
    assert answer.status == 200 and answer.json["verdict"] == "quarantined", answer
    assert status_of(api, vm)["status"] == status_of(api, other)["status"] == "quarantined"
    replayed = send(guest_api, tpm.report(challenge(guest_api, other.vm_id), other.vm_id, **enrollment))
    assert replayed.status == 409 and replayed.code == "activation_used", replayed
