"""The emulator's vTPMs as a guest, an auditor with openssl and tpm2-tools, and `tlgate verify` see them."""
import base64
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

import pytest
import yaml

import stack
import tls
from agent_rig import AK, NV, Gateway, tls_context

GROUP = f"/subscriptions/{stack.SUBSCRIPTION}/resourceGroups/vtpm"
NETWORK = f"{GROUP}/providers/Microsoft.Network"
BANKS = ["sha1", "sha256", "sha384", "sha512"]


class Machine:
    """A VM made by ARM calls, without the gateway."""

    def __init__(self, emulator, name, secure_boot=True, v_tpm=True):
        self.emulator, self.name = emulator, name
        self.path = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/{name}"
        self._network()
        made = emulator.arm("PUT", f"{self.path}?api-version=2024-07-01",
                            self._body(secure_boot, v_tpm))
        self.vm_id = made["properties"]["vmId"]

    def _network(self):
        arm = self.emulator.arm
        arm("PUT", f"{GROUP}?api-version=2022-09-01", {"location": "westeurope"})
        arm("PUT", f"{NETWORK}/virtualNetworks/net?api-version=2024-05-01", {
            "location": "westeurope", "properties": {
                "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
                "subnets": [{"name": "s", "properties": {"addressPrefix": "10.0.0.0/24"}}]}})
        arm("PUT", f"{NETWORK}/networkInterfaces/{self.name}?api-version=2024-05-01", {
            "location": "westeurope", "properties": {"ipConfigurations": [{
                "name": "ip", "properties": {
                    "subnet": {"id": f"{NETWORK}/virtualNetworks/net/subnets/s"}}}]}})

    def _body(self, secure_boot, v_tpm):
        return {"location": "westeurope", "properties": {
            "hardwareProfile": {"vmSize": "Standard_D2s_v5"},
            "securityProfile": {"securityType": "TrustedLaunch", "uefiSettings": {
                "secureBootEnabled": secure_boot, "vTpmEnabled": v_tpm}},
            "storageProfile": {
                "imageReference": {"publisher": "Canonical",
                                   "offer": "0001-com-ubuntu-server-jammy",
                                   "sku": "22_04-lts-gen2", "version": "latest"},
                "osDisk": {"createOption": "FromImage"}},
            "osProfile": {"computerName": self.name, "adminUsername": "azureuser",
                          "linuxConfiguration": {
                              "disablePasswordAuthentication": True,
                              "ssh": {"publicKeys": [{
                                  "path": "/home/azureuser/.ssh/authorized_keys",
                                  "keyData": stack.ssh_key()}]}}},
            "networkProfile": {"networkInterfaces": [
                {"id": f"{NETWORK}/networkInterfaces/{self.name}"}]}}}

    def act(self, action):
        self.emulator.arm("POST", f"{self.path}/{action}?api-version=2024-07-01")

    def seen(self):
        return self.emulator.vm(self.vm_id)

    def tool(self, name, *arguments):
        env = {**os.environ, "TPM2TOOLS_TCTI": self.seen()["tcti"]}
        return subprocess.run([name, *map(str, arguments)], env=env, check=True, timeout=30,
                              capture_output=True, text=True).stdout

    def ak(self, folder):
        self.tool("tpm2_readpublic", "-c", AK, "-f", "pem", "-o", folder / "ak.pem")
        return (folder / "ak.pem").read_text()

    def certificate(self, folder):
        self.tool("tpm2_nvread", "-C", "o", NV, "-o", folder / "ak.der")
        der, pem = folder / "ak.der", folder / "ak.crt"
        subprocess.run(["openssl", "x509", "-inform", "der", "-in", der, "-out", pem], check=True)
        return pem

    def event_log(self):
        return pathlib.Path(self.seen()["eventLog"]).read_bytes()

    def pcrs(self):
        read = yaml.safe_load(self.tool("tpm2_pcrread"))
        return {bank: dict(values) for bank, values in read.items() if values}

    def reset_count(self):
        return yaml.safe_load(self.tool("tpm2_readclock"))["clock_info"]["reset_count"]

    def swtpm(self):
        """Process id of this VM's swtpm, which asking for it starts."""
        self.seen()
        pid = self.emulator.state / "vtpm" / self.vm_id / "swtpm.pid"
        return int(pid.read_text())


@pytest.fixture(scope="module")
def azure():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="vtpm-"))
    running = stack.Emulator(folder)
    running.settings(lroSeconds=0, retryAfter=0)
    yield running
    running.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def one(azure):
    return Machine(azure, "one")


@pytest.fixture(scope="module")
def two(azure):
    return Machine(azure, "two", secure_boot=False)


@pytest.fixture(scope="module")
def gateway_tls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    tls.make_ca(folder)
    return folder


def openssl(*arguments):
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True,
                          check=True).stdout


def test_the_ak_certificate_chains_to_the_root(azure, one, tmp_path):
    pem = one.certificate(tmp_path)
    trust = azure.state / "trust"
    assert "OK" in openssl("verify", "-purpose", "any", "-x509_strict", "-CAfile",
                           trust / "vtpm-root.pem", "-untrusted", trust / "vtpm-ca.pem", pem)
    assert openssl("x509", "-in", pem, "-noout", "-pubkey") == one.ak(tmp_path)
    text = openssl("x509", "-in", pem, "-noout", "-text")
    assert re.search(r"Subject: CN = [0-9a-f]{12}\.TrustedVM\.Azure\.windows\.net\n", text)
    for part in ("2.23.133.8.3", "1.3.6.1.4.1.311.10.3.12", "Policy: 1.3.6.1.4.1.311.108\n",
                 "X509v3 Authority Key Identifier", "X509v3 Key Usage: critical"):
        assert part in text, part
    assert "CA:TRUE" not in text


def test_the_ak_is_as_on_azure(one):
    public = yaml.safe_load(one.tool("tpm2_readpublic", "-c", AK))
    assert public["attributes"]["raw"] == 0x00050472
    assert public["type"]["value"] == "rsa" and public["bits"] == 2048
    assert public["scheme"]["value"] == "rsassa" and public["scheme-halg"]["value"] == "sha256"
    # An endorsement primary: the qualified name is over the hierarchy's handle and the name.
    name = bytes.fromhex(str(public["name"]))
    qualified = b"\0\x0b" + hashlib.sha256(bytes.fromhex("4000000b") + name).digest()
    assert bytes.fromhex(str(public["qualified name"])) == qualified


@pytest.mark.parametrize("which", ["one", "two"])
def test_the_log_replays_to_the_pcrs(request, tmp_path, which):
    machine = request.getfixturevalue(which)
    log = tmp_path / "log"
    log.write_bytes(machine.event_log())
    said = subprocess.run(["tpm2_eventlog", log], capture_output=True, check=True, text=True)
    assert not said.stderr, said.stderr  # it warns of digests that are not of their data
    replayed, real = yaml.safe_load(said.stdout)["pcrs"], machine.pcrs()
    assert sorted(real) == BANKS  # a bank that was not extended could be forged
    for bank in BANKS:
        assert set(replayed[bank]) == {*range(10), 14}
        for pcr, value in real[bank].items():
            if 17 <= pcr <= 22:
                continue  # all ones until a dynamic launch
            assert value == replayed[bank].get(pcr, 0), (bank, pcr)


def test_two_vms_share_nothing(one, two, tmp_path):
    assert one.ak(tmp_path) != two.ak(tmp_path)
    assert one.event_log() != two.event_log()
    a, b = one.pcrs()["sha256"], two.pcrs()["sha256"]
    # disk and boot options are a VM's own, Secure Boot is off in one of them
    assert {p for p in a if a[p] != b[p]} == {1, 5, 7, 8}


def test_a_restart_is_a_reboot(one, tmp_path):
    ak, count, pcrs, log = one.ak(tmp_path), one.reset_count(), one.pcrs(), one.event_log()
    one.act("restart")
    assert one.ak(tmp_path) == ak
    assert one.reset_count() == count + 1
    assert one.pcrs() == pcrs
    assert one.event_log() != log


def gone(pid, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
def test_no_tpm_outlives_the_emulator(azure, one, two, tmp_path, how):
    ak, count = one.ak(tmp_path), one.reset_count()
    pids = [one.swtpm(), two.swtpm()]
    azure.restart(how)
    assert all(gone(pid) for pid in pids)
    assert one.ak(tmp_path) == ak
    assert one.reset_count() == count + 1


def test_without_a_vtpm_there_is_none(azure):
    seen = Machine(azure, "none", secure_boot=False, v_tpm=False).seen()
    assert not seen.get("tcti") and not seen.get("eventLog")


def test_a_deleted_vm_leaves_no_seeds(azure):
    machine = Machine(azure, "gone")
    pid, folder = machine.swtpm(), azure.state / "vtpm" / machine.vm_id
    assert folder.is_dir()
    azure.arm("DELETE", f"{machine.path}?api-version=2024-07-01")
    assert gone(pid)
    end = time.monotonic() + 10
    while folder.exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert not folder.exists()


# --- the agent's evidence, judged offline --------------------------------------------------------


def evidence_of(machine, folder):
    """(evidence as JSON, nonce) as tlgate-agent sends it; identity comes from the emulator's IMDS."""
    gateway = Gateway(tls_context(folder), machine.vm_id)
    seen = machine.seen()
    try:
        done = subprocess.run(
            [stack.BIN / "tlgate-agent", "--once", "--gateway", gateway.url, "--ca",
             folder / "ca.pem", "--vm-id", machine.vm_id, "--imds", machine.emulator.imds,
             "--tcti", seen["tcti"], "--event-log", seen["eventLog"]],
            capture_output=True, text=True, env=stack.clean_env(), timeout=60)
    finally:
        gateway.close()
    assert done.returncode == 0, done.stderr
    report = gateway.reports[-1]

    def text(data):
        return base64.b64encode(data).decode()
    value = {
        "vmId": machine.vm_id,
        "quote": {k: text(v) for k, v in report["quote"].items()},
        "ak": {k: text(v) for k, v in report["ak"].items()},
        "pcrs": {bank: {str(i): v.hex() for i, v in values.items()}
                 for bank, values in report["pcrs"].items()},
        "eventLog": text(report["eventLog"]),
    }
    return value, gateway.nonce_of(report).hex()


def verify(azure, value, nonce, folder, *more):
    path = folder / "evidence.json"
    path.write_text(json.dumps(value))
    trust = azure.state / "trust"
    done = subprocess.run(
        [stack.BIN / "tlgate", "verify", path, "--nonce", nonce, "--trust-anchor",
         trust / "vtpm-root.pem", "--trust-dir", trust, *more],
        capture_output=True, text=True, env=stack.clean_env(), timeout=60)
    assert done.returncode in (0, 1), done
    return done.returncode, json.loads(done.stdout)


def failed(result):
    return {c["name"] for c in result["checks"] if c["status"] == "fail"}


def test_honest_evidence_is_trusted(azure, one, gateway_tls):
    value, nonce = evidence_of(one, gateway_tls)
    status, result = verify(azure, value, nonce, gateway_tls, "--require-secure-boot")
    assert status == 0 and result["verdict"] == "trusted", result
    assert not failed(result)
    assert result["claims"]["secureBoot"] is True


def test_secure_boot_off_is_said_so(azure, two, gateway_tls):
    value, nonce = evidence_of(two, gateway_tls)
    status, result = verify(azure, value, nonce, gateway_tls)
    assert status == 0 and result["claims"]["secureBoot"] is False
    status, result = verify(azure, value, nonce, gateway_tls, "--require-secure-boot")
    assert status == 1 and "secureBoot" in failed(result)


def test_another_vms_log_does_not_pass(azure, one, two, gateway_tls):
    value, nonce = evidence_of(one, gateway_tls)
    value["eventLog"] = base64.b64encode(two.event_log()).decode()
    status, result = verify(azure, value, nonce, gateway_tls)
    assert status == 1 and "log.replay" in failed(result)


def test_another_vms_key_does_not_pass(azure, one, two, gateway_tls):
    value, nonce = evidence_of(one, gateway_tls)
    value["ak"] = evidence_of(two, gateway_tls)[0]["ak"]
    status, result = verify(azure, value, nonce, gateway_tls)
    assert status == 1 and "quote.signature" in failed(result)
