// The official SDKs against azure-emulator, with nothing changed but the endpoints: the development
// CA comes from NODE_EXTRA_CA_CERTS. Environment: EMULATOR_URL, EMULATOR_IMDS_URL, AZURE_TENANT_ID,
// AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, AZURE_SUBSCRIPTION_ID, EMULATOR_FEDERATED_TOKEN_FILE (not
// AZURE_FEDERATED_TOKEN_FILE, which would turn managed identity into workload identity).

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { ComputeManagementClient } from "@azure/arm-compute";
import { NetworkManagementClient } from "@azure/arm-network";
import { ResourceManagementClient } from "@azure/arm-resources";
import {
  ClientSecretCredential,
  ManagedIdentityCredential,
  WorkloadIdentityCredential,
} from "@azure/identity";

const env = process.env;
const endpoint = env.EMULATOR_URL;
const subscription = env.AZURE_SUBSCRIPTION_ID;
const scope = "https://management.azure.com/.default";
const location = "westeurope";
const group = "sdk-rg";
const authority = { authorityHost: endpoint, disableInstanceDiscovery: true };

const credential = new ClientSecretCredential(
  env.AZURE_TENANT_ID, env.AZURE_CLIENT_ID, env.AZURE_CLIENT_SECRET, authority);
const compute = new ComputeManagementClient(credential, subscription, { endpoint });
const network = new NetworkManagementClient(credential, subscription, { endpoint });
const resources = new ResourceManagementClient(credential, subscription, { endpoint });

// Polling at the SDK's default would wait two seconds a time.
const fast = { updateIntervalInMs: 100 };

async function makeNic(name) {
  const nsg = await network.networkSecurityGroups.beginCreateOrUpdateAndWait(group, `${name}-nsg`, {
    location,
    securityRules: [{
      name: "attestation", protocol: "Tcp", access: "Allow", direction: "Outbound", priority: 200,
      sourceAddressPrefix: "*", sourcePortRange: "*",
      destinationAddressPrefix: "AzureAttestation", destinationPortRange: "443",
    }],
  }, fast);
  assert.equal(nsg.provisioningState, "Succeeded");
  assert.equal(nsg.defaultSecurityRules.length, 6);
  const vnet = await network.virtualNetworks.beginCreateOrUpdateAndWait(group, `${name}-vnet`, {
    location,
    addressSpace: { addressPrefixes: ["10.1.0.0/16"] },
    subnets: [{ name: "default", addressPrefix: "10.1.0.0/24", networkSecurityGroup: { id: nsg.id } }],
  }, fast);
  const nic = await network.networkInterfaces.beginCreateOrUpdateAndWait(group, `${name}-nic`, {
    location,
    ipConfigurations: [{ name: "ipconfig1", subnet: { id: vnet.subnets[0].id } }],
  }, fast);
  assert.equal(nic.ipConfigurations[0].privateIPAddress, "10.1.0.4");
  return nic;
}

function trustedLaunchVm(nic) {
  return {
    location,
    identity: { type: "SystemAssigned" },
    hardwareProfile: { vmSize: "Standard_D2s_v5" },
    storageProfile: {
      imageReference: {
        publisher: "Canonical", offer: "0001-com-ubuntu-server-jammy", sku: "22_04-lts-gen2",
        version: "latest",
      },
      osDisk: { createOption: "FromImage", managedDisk: { storageAccountType: "Premium_LRS" } },
    },
    osProfile: {
      computerName: "vm1", adminUsername: "azureuser", adminPassword: "Correct-horse-1",
    },
    networkProfile: { networkInterfaces: [{ id: nic.id, primary: true }] },
    securityProfile: {
      securityType: "TrustedLaunch",
      uefiSettings: { secureBootEnabled: true, vTpmEnabled: true },
    },
    userData: Buffer.from("hello").toString("base64"),
  };
}

before(async () => {
  const made = await resources.resourceGroups.createOrUpdate(group, { location });
  assert.equal(made.properties.provisioningState, "Succeeded");
});

test("a Trusted Launch VM is created, polled, read, listed, restarted and deleted", async () => {
  const nic = await makeNic("vm1");
  const vm = await compute.virtualMachines.createOrUpdate(group, "vm1", trustedLaunchVm(nic), fast);
  assert.equal(vm.provisioningState, "Succeeded");
  assert.equal(vm.securityProfile.securityType, "TrustedLaunch");
  assert.equal(vm.securityProfile.uefiSettings.vTpmEnabled, true);
  assert.match(vm.vmId, /^[0-9a-f-]{36}$/);
  assert.equal(vm.osProfile.adminPassword, undefined);
  assert.equal(vm.userData, undefined);

  const seen = await compute.virtualMachines.get(group, "vm1", { expand: "instanceView" });
  assert.ok(seen.instanceView.statuses.some((s) => s.code === "PowerState/running"));
  const withData = await compute.virtualMachines.get(group, "vm1", { expand: "userData" });
  assert.equal(Buffer.from(withData.userData, "base64").toString(), "hello");

  const extension = await compute.virtualMachineExtensions.createOrUpdate(
    group, "vm1", "GuestAttestation", {
      location, publisher: "Microsoft.Azure.Security.LinuxAttestation",
      typePropertiesType: "GuestAttestation", typeHandlerVersion: "1.0",
      autoUpgradeMinorVersion: true, enableAutomaticUpgrade: true,
    }, fast);
  assert.equal(extension.provisioningState, "Succeeded");

  const names = [];
  for await (const one of compute.virtualMachines.listAll()) names.push(one.name);
  assert.deepEqual(names, ["vm1"]);

  await compute.virtualMachines.restart(group, "vm1", fast);
  await compute.virtualMachines.deallocate(group, "vm1", fast);
  const view = await compute.virtualMachines.instanceView(group, "vm1");
  assert.ok(view.statuses.some((s) => s.code === "PowerState/deallocated"));
  await compute.virtualMachines.start(group, "vm1", fast);

  const disk = vm.storageProfile.osDisk.name;
  assert.equal((await compute.disks.get(group, disk)).diskState, "Attached");
  await assert.rejects(network.networkInterfaces.beginDeleteAndWait(group, "vm1-nic", fast),
    { code: "NicInUse", statusCode: 400 });
  await compute.virtualMachines.delete(group, "vm1", fast);
  await assert.rejects(compute.virtualMachines.get(group, "vm1"),
    { code: "ResourceNotFound", statusCode: 404 });
  assert.equal((await compute.disks.get(group, disk)).diskState, "Unattached");
  await compute.disks.delete(group, disk, fast);
  await network.networkInterfaces.beginDeleteAndWait(group, "vm1-nic", fast);
});

test("what Azure refuses is refused with its code", async () => {
  const nic = await makeNic("vm2");
  const body = trustedLaunchVm(nic);
  await assert.rejects(
    compute.virtualMachines.createOrUpdate(group, "vm2", {
      ...body, storageProfile: {
        imageReference: {
          publisher: "Canonical", offer: "0001-com-ubuntu-server-jammy", sku: "22_04-lts",
          version: "latest",
        },
        osDisk: { createOption: "FromImage" },
      },
    }),
    { code: "BadRequest", statusCode: 400, message: /Use of TrustedLaunch setting is not supported/ });
  await assert.rejects(
    compute.virtualMachines.createOrUpdate(group, "vm2",
      { ...body, hardwareProfile: { vmSize: "Standard_M8ms" } }),
    { code: "BadRequest", message: /The VM size 'Standard_M8ms' is not supported/ });
  await compute.virtualMachines.createOrUpdate(group, "vm2", body, fast);
  await assert.rejects(
    compute.virtualMachines.createOrUpdate(group, "vm2", body, { ifNoneMatch: "*" }),
    { code: "PreconditionFailed", statusCode: 412 });
});

test("catalogues: sizes page by location, image versions are a bare array", async () => {
  const sizes = new Map();
  for await (const sku of compute.resourceSkus.list({ filter: "location eq 'westeurope'" }))
    sizes.set(sku.name, sku);
  const has = (name, capability) =>
    sizes.get(name).capabilities.find((c) => c.name === capability)?.value;
  assert.match(has("Standard_D2s_v5", "HyperVGenerations"), /V2/);
  assert.equal(has("Standard_D2s_v5", "TrustedLaunchDisabled"), undefined);
  assert.equal(has("Standard_M8ms", "TrustedLaunchDisabled"), "True");
  const image = [location, "Canonical", "0001-com-ubuntu-server-jammy", "22_04-lts-gen2"];
  const versions = await compute.virtualMachineImages.list(...image);
  assert.ok(Array.isArray(versions) && versions.length > 1);
  const newest = await compute.virtualMachineImages.get(...image, versions.at(-1).name);
  assert.equal(newest.hyperVGeneration, "V2");
  assert.equal(newest.features.find((f) => f.name === "SecurityType").value,
    "TrustedLaunchSupported");
});

async function readsGroup(one) {
  const token = await one.getToken(scope);
  assert.ok(token.expiresOnTimestamp > Date.now());
  const groups = new ResourceManagementClient(one, subscription, { endpoint }).resourceGroups;
  assert.equal((await groups.get(group)).name, group);
}

test("workload identity gets a token that ARM takes", async () => {
  await readsGroup(new WorkloadIdentityCredential({
    tenantId: env.AZURE_TENANT_ID, clientId: env.AZURE_CLIENT_ID,
    tokenFilePath: env.EMULATOR_FEDERATED_TOKEN_FILE, ...authority,
  }));
});

test("managed identity gets a token that ARM takes", async (t) => {
  // The SDK's own way to another address than 169.254.169.254; other credentials read it too.
  process.env.AZURE_POD_IDENTITY_AUTHORITY_HOST = env.EMULATOR_IMDS_URL;
  t.after(() => delete process.env.AZURE_POD_IDENTITY_AUTHORITY_HOST);
  await readsGroup(new ManagedIdentityCredential());
});

test("a wrong secret and a foreign token are refused", async () => {
  const wrong = new ClientSecretCredential(env.AZURE_TENANT_ID, env.AZURE_CLIENT_ID, "no", authority);
  await assert.rejects(wrong.getToken(scope), /AADSTS7000215/);
  const foreign = { getToken: async () => ({ token: "a.b.c", expiresOnTimestamp: Date.now() + 9e6 }) };
  const groups = new ResourceManagementClient(foreign, subscription, { endpoint }).resourceGroups;
  await assert.rejects(groups.get(group), { statusCode: 401, code: "InvalidAuthenticationToken" });
});

test("the group goes with all that is in it", async () => {
  await resources.resourceGroups.beginDeleteAndWait(group, fast);
  assert.deepEqual(await resources.resourceGroups.checkExistence(group), { body: false });
});
