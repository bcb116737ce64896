"""The programs under test, started as a user starts them: azure-emulator and tlgate, over TLS.

TLGATE_BIN names the folder of the programs (default build/dev/bin).
"""
import base64
import json
import os
import pathlib
import re
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request

import tls
from client import Api
from guest import Guest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("TLGATE_BIN", ROOT / "build/dev/bin"))
SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
RESOURCE_TYPES = {
    "Microsoft.Compute/virtualMachines": "2026-04-01",
    "Microsoft.Compute/disks": "2026-03-02",
    "Microsoft.Network/networkInterfaces": "2025-05-01",
    "Microsoft.Network/networkSecurityGroups": "2025-05-01",
    "Microsoft.Network/publicIPAddresses": "2025-05-01",
    "Microsoft.Network/virtualNetworks": "2025-05-01",
}


def clean_env(**more):
    """No TLGATE_ option of the machine gets in; sanitizers stop at the first finding."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("TLGATE_")}
    env.setdefault("ASAN_OPTIONS", "abort_on_error=1:detect_stack_use_after_return=1")
    env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1")
    env.setdefault("TSAN_OPTIONS", "halt_on_error=1")
    return {**env, **more}


class Program:
    """A child with its standard output and error in files."""

    def __init__(self, folder, name, arguments, env=None, bin=BIN):
        self.name = name
        self.out, self.log_path = folder / f"{name}.out", folder / f"{name}.log"
        with self.out.open("ab") as out, self.log_path.open("ab") as log:
            self.process = subprocess.Popen([bin / name, *map(str, arguments)], stdout=out,
                                            stderr=log, env=env or clean_env(), cwd=folder)

    @property
    def pid(self):
        return self.process.pid

    def wait_line(self, pattern, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = re.search(pattern, self.out.read_text(), re.M)
            if found:
                return found.group(0)
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"{self.name} did not start:\n{self.log_path.read_text()[-4000:]}")

    def stop(self, how=signal.SIGTERM, seconds=60):
        """The exit status; SIGTERM is a graceful stop."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(seconds)


class Emulator:
    bin = BIN

    def __init__(self, folder, *arguments):
        self.folder = pathlib.Path(folder)
        self.state = self.folder / "azure"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.arguments = arguments
        self.listen = self.imds_listen = "127.0.0.1:0"
        self.program = None
        self.start()

    def start(self):
        if self.program:
            self.program.out.unlink()
        self.program = Program(self.folder, "azure-emulator", [
            "--listen", self.listen, "--imds-listen", self.imds_listen, "--state-dir", self.state,
            *self.arguments], bin=self.bin)
        self.url = self.program.wait_line(r"^https://\S+")
        self.imds = self.program.wait_line(r"^http://\S+")
        # A restart comes back at the same addresses.
        self.listen, self.imds_listen = self.url.split("//")[1], self.imds.split("//")[1]
        self.ca = self.state / "ca.pem"
        client = json.loads((self.state / "client.json").read_text())
        self.tenant_id, self.client_id = client["tenantId"], client["clientId"]
        self.client_secret = client["clientSecret"]
        self.context = ssl.create_default_context(cafile=self.ca)
        self.token = None

    def restart(self, how=signal.SIGTERM):
        self.program.stop(how)
        self.start()

    def call(self, method, path, body=None, headers=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, method=method, headers={
            "Content-Type": "application/json", **(headers or {})})
        try:
            with urllib.request.urlopen(request, context=self.context, timeout=30) as answer:
                text = answer.read()
        except urllib.error.HTTPError as e:
            e.msg = f"{e.msg}: {method} {path}: {e.read()[:600]!r}"
            raise
        return answer, (json.loads(text) if text else None)

    def get(self, path):
        return self.call("GET", path)[1]

    def settings(self, **settings):
        self.call("PUT", "/_emulator/settings", settings)

    def faults(self, *faults):
        self.call("PUT", "/_emulator/faults", list(faults))

    def requests(self):
        return self.get("/_emulator/requests")

    def clear_requests(self):
        self.call("DELETE", "/_emulator/requests")

    def vm(self, vm_id):
        return self.get(f"/_emulator/vms/{vm_id}")

    def maa_token(self, vm_id, nonce):
        """A token of the emulator's Azure Attestation about the VM, over the nonce (bytes)."""
        info = json.dumps({"VmId": vm_id, "ClientPayload": {
            "nonce": base64.b64encode(nonce).decode()}}).encode()
        text = base64.urlsafe_b64encode(info).rstrip(b"=").decode()
        return self.call("POST", "/attest/AzureGuest?api-version=2020-10-01",
                         {"AttestationInfo": text})[1]["token"]

    def guest(self, vm_id):
        return Guest(self.vm(vm_id))

    def unthrottled(self, method, path, body, headers):
        """A call that is made again where the bucket was empty, which the tests before may have left so."""
        for _ in range(20):
            try:
                return self.call(method, path, body, headers)
            except urllib.error.HTTPError as e:
                if e.code != 429:
                    raise
                time.sleep(min(1, float(e.headers.get("Retry-After", 1))))
        return self.call(method, path, body, headers)

    def arm(self, method, path, body=None):
        """An ARM call of somebody beside the gateway, waited for."""
        if not self.token:
            form = (f"client_id={self.client_id}&client_secret={self.client_secret}"
                    "&grant_type=client_credentials"
                    "&scope=https%3A%2F%2Fmanagement.azure.com%2F.default")
            request = urllib.request.Request(f"{self.url}/{self.tenant_id}/oauth2/v2.0/token",
                                             form.encode())
            with urllib.request.urlopen(request, context=self.context, timeout=30) as answer:
                self.token = json.load(answer)["access_token"]
        headers = {"Authorization": f"Bearer {self.token}"}
        answer, value = self.unthrottled(method, path, body, headers)
        poll = answer.headers.get("Azure-AsyncOperation")
        while poll:
            _, state = self.call("GET", poll.removeprefix(self.url), headers=headers)
            if state["status"] in ("Succeeded", "Failed", "Canceled"):
                assert state["status"] == "Succeeded", state
                break
            time.sleep(0.1)
        return value

    def bodies(self, group, subscription=SUBSCRIPTION):
        """What is in a resource group, by type; [] where the group is not there."""
        found = []
        for kind, version in RESOURCE_TYPES.items():
            path = f"/subscriptions/{subscription}/resourceGroups/{group}/providers/{kind}"
            try:
                found += self.arm("GET", f"{path}?api-version={version}")["value"]
            except urllib.error.HTTPError as e:
                if e.code != 404:
                    raise
        return found

    def resources(self, group):
        """Their ids."""
        return [r["id"] for r in self.bodies(group)]

    def close(self):
        self.program.stop()


class Gateway:
    bin = BIN

    def __init__(self, folder, emulator, **env):
        """env: more options, as TLGATE_... variables."""
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.emulator = emulator
        self.data_dir = self.folder / "data"
        self.ca = tls.make_ca(self.folder)
        self.ini = self.folder / "tlgate.ini"
        self.ini.write_text(f"""
data_dir = {self.data_dir}
[server]
tls_cert = {self.folder}/gateway.pem
tls_key = {self.folder}/gateway.key
[arm]
endpoint = {emulator.url}
authority = {emulator.url}
imds_endpoint = {emulator.imds}
ca_file = {emulator.ca}
tenant_id = {emulator.tenant_id}
client_id = {emulator.client_id}
client_secret = {emulator.client_secret}
[attestation]
trust_anchor = {emulator.state}/trust/vtpm-root.pem
document_anchor = {emulator.ca}
trust_dir = {emulator.state}/trust
""")
        self.ini.chmod(0o600)
        self.listen = "127.0.0.1:0"
        self.env = env
        self.program = None
        self.start()
        self.admin_key = self.make_key("admin", "/")

    def start(self, **env):
        if self.program:
            self.program.out.unlink()
        self.program = Program(self.folder, "tlgate", ["serve", "--config", self.ini],
                               clean_env(TLGATE_SERVER_LISTEN=self.listen, **self.env, **env),
                               bin=self.bin)
        self.url = self.program.wait_line(r"^https://\S+")
        self.listen = self.url.split("//")[1]

    @property
    def pid(self):
        return self.program.pid

    @property
    def log_path(self):
        return self.program.log_path

    def command(self, *arguments):
        run = subprocess.run([self.bin / "tlgate", *arguments, "--config", self.ini],
                             capture_output=True, text=True, env=clean_env(), timeout=60)
        assert run.returncode == 0, run
        return run.stdout.strip()

    def make_key(self, role, scope, name="test"):
        return self.command("key", "create", "--name", name, "--role", role, "--scope", scope)

    def api(self, key):
        return Api(self.url, self.ca, key)

    def restart(self, how=signal.SIGTERM, **env):
        self.program.stop(how)
        self.start(**env)

    def close(self):
        status = self.program.stop()
        assert status == 0, f"tlgate ended with {status}:\n{self.log_path.read_text()[-4000:]}"


def ssh_key():
    blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + os.urandom(32)
    return "ssh-ed25519 " + base64.b64encode(blob).decode()


def vm_spec(**changes):
    return {
        "location": "westeurope", "size": "Standard_D2s_v5", "osType": "Linux",
        "image": {"publisher": "Canonical", "offer": "0001-com-ubuntu-server-jammy",
                  "sku": "22_04-lts-gen2", "version": "latest"},
        "admin": {"username": "azureuser", "sshPublicKeys": [ssh_key()]},
        "createResourceGroup": True, **changes}


class Vm:
    """A VM made through the gateway, and the guest in it."""

    def __init__(self, gateway, name, group="tests", wait=True, answers=None, **changes):
        self.name, self.gateway = name, gateway
        self.path = f"/v1/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}/virtualMachines/{name}"
        self.arm_id = (f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}"
                       f"/providers/Microsoft.Compute/virtualMachines/{name}")
        self.body = vm_spec(**changes)
        self.api = gateway.api(gateway.admin_key)
        answer = self.api.put(self.path, self.body)
        assert answer.status == 202, answer
        if answers is not None:
            answers.append(answer.body)
        self.job_id = answer.json["id"]
        if wait:
            job = self.api.wait_job(self.job_id)
            assert job["state"] == "succeeded", job
        self.vm_id = self._wait_vm_id()
        self.guest = gateway.emulator.guest(self.vm_id)
        userdata = json.loads(self.guest.userdata) if self.guest.userdata else {}
        self.token = userdata.get("enrollmentToken")

    def _wait_vm_id(self, seconds=60):
        """What the gateway itself knows; it learns it from ARM's answer to the PUT."""
        end = time.monotonic() + seconds
        while True:
            answer = self.api.get(self.path)
            if answer.status == 200 and answer.json.get("vmId"):
                return answer.json["vmId"].lower()
            assert time.monotonic() < end, answer
            time.sleep(0.05)
