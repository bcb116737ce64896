"""An ARM client for tests of the emulator itself: it sends what a test says, keeps every exchange, and
judges nothing."""
import http.client
import json
import ssl
import time
import urllib.parse

import stack

SUB = f"/subscriptions/{stack.SUBSCRIPTION}"
TENANT = "00000000-0000-0000-0000-00000000000a"
VERSIONS = {"Microsoft.Compute/virtualMachines": "2025-04-01", "Microsoft.Compute/disks": "2025-01-02",
            "Microsoft.Compute/galleries": "2024-03-03", "Microsoft.Compute/skus": "2021-07-01",
            "Microsoft.Compute/locations": "2025-04-01", "Microsoft.Network": "2025-05-01"}


class Reply:
    def __init__(self, status, headers, text):
        self.status, self.headers, self.text = status, headers, text
        self.json = json.loads(text) if text and "json" in headers.get("content-type", "") else None

    @property
    def code(self):
        """error.code of an ARM error, or None."""
        return (self.json or {}).get("error", {}).get("code") if isinstance(self.json, dict) else None

    def __repr__(self):
        return f"<{self.status} {self.text[:600]}>"


def version_of(path):
    """The api-version that goes with a path."""
    if "/providers/" not in path:
        return "2025-04-01"
    rest = path.split("/providers/")[-1].split("/")
    kind = "/".join(rest[:2])
    return VERSIONS.get(kind) or VERSIONS.get(rest[0]) or "2021-07-01"


class Arm:
    def __init__(self, emulator):
        self.emulator = emulator
        self.context = ssl.create_default_context(cafile=emulator.ca)
        self.exchanges = []
        self.tokens = {}

    def raw(self, method, target, body=None, headers=None, url=None):
        base = urllib.parse.urlsplit(url or self.emulator.url)
        if base.scheme == "https":
            link = http.client.HTTPSConnection(base.hostname, base.port, context=self.context, timeout=30)
        else:
            link = http.client.HTTPConnection(base.hostname, base.port, timeout=30)
        try:
            link.request(method, target, body, headers or {})
            answer = link.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()},
                         answer.read().decode())
        finally:
            link.close()

    def imds(self, target, **headers):
        return self.raw("GET", target, None, headers, self.emulator.imds)

    def form(self, path, **fields):
        return self.raw("POST", path, urllib.parse.urlencode(fields),
                        {"Content-Type": "application/x-www-form-urlencoded"})

    def token(self, scope="https://management.azure.com/.default"):
        if scope not in self.tokens:
            reply = self.form(f"/{TENANT}/oauth2/v2.0/token", client_id=self.emulator.client_id,
                              client_secret=self.emulator.client_secret, scope=scope,
                              grant_type="client_credentials")
            assert reply.status == 200, reply
            self.tokens[scope] = reply.json["access_token"]
        return self.tokens[scope]

    def call(self, method, path, body=None, version=None, query="", **headers):
        """One ARM call. A body that is no text is sent as JSON."""
        given = {"Authorization": f"Bearer {self.token()}", "Content-Type": "application/json"}
        given |= {k.replace("_", "-"): v for k, v in headers.items()}
        text = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
        version = version or version_of(path)
        target = urllib.parse.quote(path) + f"?api-version={version}{query}"
        reply = self.raw(method, target, text, given)
        self.exchanges.append((method, path, version, reply))
        return reply

    def follow(self, url):
        """GET of an absolute URL that an answer carried."""
        assert url.startswith(self.emulator.url + "/"), url
        return self.raw("GET", url.removeprefix(self.emulator.url), None,
                        {"Authorization": f"Bearer {self.token()}"})

    def finish(self, reply, seconds=20):
        """Polls Azure-AsyncOperation to its end; the last state."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            state = self.follow(reply.headers["azure-asyncoperation"])
            assert state.status == 200, state
            if state.json["status"] != "InProgress":
                return state.json
            time.sleep(0.05)
        raise AssertionError("the operation does not end")

    def put(self, path, body, **more):
        """A PUT that has to succeed, waited for; the resource."""
        reply = self.call("PUT", path, body, **more)
        assert reply.status in (200, 201, 202), reply
        if "azure-asyncoperation" in reply.headers:
            state = self.finish(reply)
            assert state["status"] == "Succeeded", state
        return self.call("GET", path, **more).json

    def delete(self, path):
        reply = self.call("DELETE", path)
        assert reply.status == 202, reply
        assert self.finish(reply)["status"] == "Succeeded"


RULE = {"protocol": "Tcp", "access": "Allow", "direction": "Inbound", "priority": 300,
        "sourceAddressPrefix": "VirtualNetwork", "sourcePortRange": "*",
        "destinationAddressPrefix": "*", "destinationPortRange": "22"}
IMAGE = {"publisher": "Canonical", "offer": "0001-com-ubuntu-server-jammy", "sku": "22_04-lts-gen2",
         "version": "latest"}
TRUSTED = {"securityType": "TrustedLaunch",
           "uefiSettings": {"secureBootEnabled": True, "vTpmEnabled": True}}


class Group:
    """A resource group with a network, and bodies of what goes into it."""

    def __init__(self, arm, name, location="westeurope"):
        self.arm, self.location, self.id = arm, location, f"{SUB}/resourceGroups/{name}"
        arm.put(self.id, {"location": location})

    def path(self, kind, name):
        provider = "Compute" if kind.split("/")[0] in ("virtualMachines", "disks", "galleries") else "Network"
        types, names = kind.split("/"), name.split("/")
        return f"{self.id}/providers/Microsoft.{provider}/" + "/".join(
            f"{t}/{n}" for t, n in zip(types, names))

    def network(self, name="net"):
        path = self.path("virtualNetworks", name)
        self.arm.put(path, {"location": self.location, "properties": {
            "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
            "subnets": [{"name": "default", "properties": {"addressPrefix": "10.0.0.0/24"}}]}})
        return f"{path}/subnets/default"

    def nic(self, name, subnet, **more):
        return self.arm.put(self.path("networkInterfaces", name), {
            "location": self.location, "properties": {"ipConfigurations": [
                {"name": "ip", "properties": {"subnet": {"id": subnet}, **more}}]}})

    def vm_body(self, nic_id, **changes):
        body = {"location": self.location, "properties": {
            "hardwareProfile": {"vmSize": "Standard_D2s_v5"},
            "storageProfile": {"imageReference": dict(IMAGE), "osDisk": {
                "createOption": "FromImage", "managedDisk": {"storageAccountType": "Premium_LRS"}}},
            "osProfile": {"computerName": "host", "adminUsername": "azureuser",
                          "linuxConfiguration": {"disablePasswordAuthentication": True, "ssh": {
                              "publicKeys": [{"path": "/home/azureuser/.ssh/authorized_keys",
                                              "keyData": "ssh-ed25519 AAAA test"}]}}},
            "networkProfile": {"networkInterfaces": [{"id": nic_id, "properties": {"primary": True}}]},
            "securityProfile": json.loads(json.dumps(TRUSTED))}}
        for path, value in changes.items():
            set_path(body, path.replace("__", "."), value)
        return body


def set_path(body, path, value):
    """Sets body["a"]["b"] for "a.b"; None takes the member away."""
    *parents, last = path.split(".")
    for name in parents:
        body = body.setdefault(name, {})
    if value is None:
        body.pop(last, None)
    else:
        body[last] = value
    return body
