"""Runs last: every body that the gateway sent to ARM in this session validates against Microsoft's
published schemas of the newest api-versions (root `required` dropped: the name is in the URL)."""
import functools
import json
import os
import pathlib
import re
import urllib.parse

import jsonschema
import pytest

from stack import ROOT, SUBSCRIPTION

SHARED = pathlib.Path(os.environ.get("TLGATE_SHARED", ROOT.parent / "shared"))
SCHEMAS = SHARED / "contracts/bicep-types/schemas"

pytestmark = pytest.mark.skipif(not SCHEMAS.is_dir(), reason=f"no ARM contracts at {SCHEMAS}")


@functools.lru_cache(maxsize=None)
def validator(arm_type):
    """Of the newest schema of this type, or None."""
    found = [p for p in SCHEMAS.iterdir()
             if p.name.lower().startswith(arm_type.lower() + "@")]
    if not found:
        return None
    schema = json.loads(found[0].read_text())
    root = schema
    while "$ref" in root:
        target = schema
        for part in root["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        root = target
    root.pop("required", None)
    return jsonschema.Draft7Validator(schema)


def arm_type(path):
    parts = [p for p in path.split("/") if p]
    if re.fullmatch(r"/subscriptions/[^/]+/resourcegroups/[^/]+", path, re.I):
        return "Microsoft.Resources.resourceGroups"
    if "providers" not in [p.lower() for p in parts]:
        return None
    rest = parts[[p.lower() for p in parts].index("providers") + 1:]
    return ".".join([rest[0], *rest[1::2]])


@pytest.fixture(scope="module")
def variety(make_vm, emulator):
    """VMs that together use every member of the spec."""
    make_vm("body-win", osType="Windows", location="westeurope",
            image={"publisher": "MicrosoftWindowsServer", "offer": "WindowsServer",
                   "sku": "2022-datacenter-azure-edition", "version": "latest"},
            admin={"username": "azureuser", "password": "Test-Passw0rd-1"},
            inboundPorts=[3389], inboundSource="203.0.113.0/24")
    first = make_vm("body-net", inboundPorts=[22, 443], tags={"owner": "tests"}, network={
        "virtualNetwork": {"name": "body-vnet", "addressPrefix": "10.9.0.0/16"}, "publicIp": True})
    subnet = first.arm_id.split("/providers/")[0] + (
        "/providers/Microsoft.Network/virtualNetworks/body-vnet/subnets/default")
    subnets = emulator.arm("GET", subnet.rsplit("/subnets/", 1)[0] + "?api-version=2025-05-01")
    make_vm("body-sub", network={"subnetId": subnets["properties"]["subnets"][0]["id"]})
    # Opting out needs a feature that somebody registered.
    emulator.arm("POST", f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Features/providers/"
                 "Microsoft.Compute/features/UseStandardSecurityType/register?api-version=2021-07-01")
    make_vm("body-std", securityType="Standard")
    return emulator


def test_every_body_validates(variety):
    checked = set()
    rows = variety.requests()
    for row in rows["value"] if isinstance(rows, dict) else rows:
        agent = {k.lower(): v for k, v in dict(row["headers"]).items()}.get("user-agent", "")
        if row["method"] not in ("PUT", "PATCH") or not agent.startswith("tlgate/"):
            continue
        path = urllib.parse.urlsplit(row["url"]).path
        kind = arm_type(path)
        check = validator(kind)
        assert check is not None, f"no schema for {kind}"
        body = row["body"] if isinstance(row["body"], dict) else json.loads(row["body"])
        errors = [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:200]}"
                  for e in check.iter_errors(body)]
        assert not errors, f"{row['method']} {path}: {errors}"
        checked.add(kind.lower())
    assert {"microsoft.resources.resourcegroups", "microsoft.network.networksecuritygroups",
            "microsoft.network.virtualnetworks", "microsoft.network.publicipaddresses",
            "microsoft.network.networkinterfaces", "microsoft.compute.virtualmachines",
            "microsoft.compute.virtualmachines.extensions"} <= checked
