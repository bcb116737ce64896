/*
 * Microsoft.Compute: the bodies and rows of virtual machines, their extensions and disks. What a VM
 * may look like is in rules_vm.c.
 */
#include "emulator/props.h"
#include "emulator/resource.h"
#include "emulator/rules_vm.h"
#include "emulator/types.h"

static const char *const vm_versions[] = {
    "2018-04-01", "2018-06-01", "2018-10-01", "2019-03-01", "2019-07-01", "2019-12-01",
    "2020-06-01", "2020-12-01", "2021-03-01", "2021-04-01", "2021-07-01", "2021-11-01",
    "2022-03-01", "2022-08-01", "2022-11-01", "2023-03-01", "2023-07-01", "2023-09-01",
    "2024-03-01", "2024-07-01", "2024-11-01", "2025-04-01", "2025-11-01", "2026-03-01",
    "2026-04-01", NULL};
static const char *const disk_versions[] = {"2018-09-30", "2019-03-01", "2019-07-01", "2019-11-01",
                                            "2020-05-01", "2020-06-30", "2020-09-30", "2020-12-01",
                                            "2021-04-01", "2021-08-01", "2021-12-01", "2022-03-02",
                                            "2022-07-02", "2023-01-02", "2023-04-02", "2023-10-02",
                                            "2024-03-02", "2025-01-02", "2026-03-02", NULL};

/* ---- virtual machines ---- */

SHAPE(plan, "Plan", STR("name"), STR("publisher"), STR("product"), STR("promotionCode"));
SHAPE(identity, "VirtualMachineIdentity", READ_ONLY("principalId"), READ_ONLY("tenantId"),
      ENUM("type", "SystemAssigned, UserAssigned,SystemAssigned,UserAssigned,None"),
      ANY("userAssignedIdentities"));
SHAPE(sub_resource, "SubResource", STR("id"));
SHAPE(hardware, "HardwareProfile", STR("vmSize"), ANY("vmSizeProperties"));
SHAPE(image_reference, "ImageReference", STR("publisher"), STR("offer"), STR("sku"), STR("version"),
      READ_ONLY("exactVersion"), STR("id"), STR("sharedGalleryImageId"),
      STR("communityGalleryImageId"));
#define DISK_TYPES                                                                                 \
    "Standard_LRS,Premium_LRS,StandardSSD_LRS,UltraSSD_LRS,Premium_ZRS,StandardSSD_ZRS,"           \
    "PremiumV2_LRS"
SHAPE(disk_security, "VMDiskSecurityProfile",
      ENUM("securityEncryptionType", "VMGuestStateOnly,DiskWithVMGuestState,NonPersistedTPM"),
      OBJ("diskEncryptionSet", sub_resource));
SHAPE(managed_disk, "ManagedDiskParameters", STR("id"), ENUM("storageAccountType", DISK_TYPES),
      OBJ("diskEncryptionSet", sub_resource), OBJ("securityProfile", disk_security));
SHAPE(diff_settings, "DiffDiskSettings", ENUM("option", "Local"),
      ENUM("placement", "CacheDisk,ResourceDisk,NvmeDisk"), STR("enableFullCaching"));
SHAPE(os_disk, "OSDisk", ENUM("osType", "Windows,Linux"), ANY("encryptionSettings"), STR("name"),
      ANY("vhd"), ANY("image"), ENUM("caching", "None,ReadOnly,ReadWrite"),
      BOOLEAN("writeAcceleratorEnabled"), OBJ("diffDiskSettings", diff_settings),
      ENUM_REQ("createOption", "FromImage,Empty,Attach,Copy,Restore"), INTEGER("diskSizeGB"),
      OBJ("managedDisk", managed_disk), ENUM("deleteOption", "Delete,Detach"));
SHAPE(data_disk, "DataDisk", INTEGER_REQ("lun"), STR("name"), ANY("vhd"), ANY("image"),
      ENUM("caching", "None,ReadOnly,ReadWrite"), BOOLEAN("writeAcceleratorEnabled"),
      ENUM_REQ("createOption", "FromImage,Empty,Attach,Copy,Restore"), INTEGER("diskSizeGB"),
      OBJ("managedDisk", managed_disk), OBJ("sourceResource", sub_resource),
      BOOLEAN("toBeDetached"), READ_ONLY("diskIOPSReadWrite"), READ_ONLY("diskMBpsReadWrite"),
      ENUM("detachOption", "ForceDetach"), ENUM("deleteOption", "Delete,Detach"));
SHAPE(storage, "StorageProfile", OBJ("imageReference", image_reference), OBJ("osDisk", os_disk),
      OBJS("dataDisks", data_disk), ENUM("diskControllerType", "SCSI,NVMe"),
      BOOLEAN("alignRegionalDisksToVMZone"));
SHAPE(capabilities, "AdditionalCapabilities", BOOLEAN("ultraSSDEnabled"),
      BOOLEAN("hibernationEnabled"), BOOLEAN("enableFips1403Encryption"));
SHAPE(ssh_key, "SshPublicKey", STR("path"), STR("keyData"));
SHAPE(ssh, "SshConfiguration", OBJS("publicKeys", ssh_key));
SHAPE(linux_patch, "LinuxPatchSettings", ENUM("patchMode", "ImageDefault,AutomaticByPlatform"),
      ENUM("assessmentMode", "ImageDefault,AutomaticByPlatform"),
      ANY("automaticByPlatformSettings"));
SHAPE(linux_configuration, "LinuxConfiguration", BOOLEAN("disablePasswordAuthentication"),
      OBJ("ssh", ssh), BOOLEAN("provisionVMAgent"), OBJ("patchSettings", linux_patch),
      BOOLEAN("enableVMAgentPlatformUpdates"));
SHAPE(windows_patch, "PatchSettings", ENUM("patchMode", "Manual,AutomaticByOS,AutomaticByPlatform"),
      BOOLEAN("enableHotpatching"), ENUM("assessmentMode", "ImageDefault,AutomaticByPlatform"),
      ANY("automaticByPlatformSettings"));
SHAPE(windows_configuration, "WindowsConfiguration", BOOLEAN("provisionVMAgent"),
      BOOLEAN("enableAutomaticUpdates"), STR("timeZone"),
      {"additionalUnattendContent", PROP_ANY, PROP_SECRET, NULL, NULL},
      OBJ("patchSettings", windows_patch), ANY("winRM"), BOOLEAN("enableVMAgentPlatformUpdates"));
SHAPE(os_profile, "OSProfile", STR("computerName"), STR("adminUsername"), SECRET("adminPassword"),
      SECRET("customData"), OBJ("windowsConfiguration", windows_configuration),
      OBJ("linuxConfiguration", linux_configuration), ANY("secrets"),
      BOOLEAN("allowExtensionOperations"), BOOLEAN("requireGuestProvisionSignal"));
SHAPE(nic_reference_properties, "NetworkInterfaceReferenceProperties", BOOLEAN("primary"),
      ENUM("deleteOption", "Delete,Detach"));
SHAPE(nic_reference, "NetworkInterfaceReference", STR_REQ("id"),
      OBJ("properties", nic_reference_properties));
SHAPE(network_profile, "NetworkProfile", OBJS("networkInterfaces", nic_reference),
      STR("networkApiVersion"), ANY("networkInterfaceConfigurations"));
SHAPE(uefi, "UefiSettings", BOOLEAN("secureBootEnabled"), BOOLEAN("vTpmEnabled"));
SHAPE(security, "SecurityProfile", OBJ("uefiSettings", uefi), BOOLEAN("encryptionAtHost"),
      ENUM("securityType", "TrustedLaunch,ConfidentialVM,Standard"), ANY("encryptionIdentity"),
      ANY("proxyAgentSettings"));
SHAPE(boot_diagnostics, "BootDiagnostics", BOOLEAN("enabled"), STR("storageUri"));
SHAPE(diagnostics, "DiagnosticsProfile", OBJ("bootDiagnostics", boot_diagnostics));
SHAPE(vm_properties, "VirtualMachineProperties", OBJ("hardwareProfile", hardware),
      ANY("scheduledEventsPolicy"), OBJ("storageProfile", storage),
      OBJ("additionalCapabilities", capabilities), OBJ("osProfile", os_profile),
      OBJ("networkProfile", network_profile), OBJ("securityProfile", security),
      OBJ("diagnosticsProfile", diagnostics), OBJ("availabilitySet", sub_resource),
      OBJ("virtualMachineScaleSet", sub_resource), OBJ("proximityPlacementGroup", sub_resource),
      ENUM("priority", "Regular,Low,Spot"), ENUM("evictionPolicy", "Deallocate,Delete"),
      ANY("billingProfile"), OBJ("host", sub_resource), OBJ("hostGroup", sub_resource),
      READ_ONLY("provisioningState"), READ_ONLY("instanceView"), STR("licenseType"),
      READ_ONLY("vmId"), STR("extensionsTimeBudget"), INTEGER("platformFaultDomain"),
      ANY("scheduledEventsProfile"), HIDDEN("userData"), OBJ("capacityReservation", sub_resource),
      ANY("applicationProfile"), READ_ONLY("timeCreated"), ANY("resiliencyProfile"));
SHAPE(vm, "VirtualMachine", TOP_LEVEL, OBJ("plan", plan), READ_ONLY("resources"),
      OBJ("identity", identity), STRS("zones"), ANY("extendedLocation"), READ_ONLY("managedBy"),
      ANY("placement"), OBJ("properties", vm_properties));

/* ---- extensions ---- */

SHAPE(extension_properties, "VirtualMachineExtensionProperties", STR("forceUpdateTag"),
      STR("publisher"), STR("type"), STR("typeHandlerVersion"), BOOLEAN("autoUpgradeMinorVersion"),
      BOOLEAN("enableAutomaticUpgrade"), ANY("settings"),
      {"protectedSettings", PROP_ANY, PROP_SECRET, NULL, NULL}, READ_ONLY("provisioningState"),
      READ_ONLY("instanceView"), BOOLEAN("suppressFailures"),
      {"protectedSettingsFromKeyVault", PROP_ANY, PROP_SECRET, NULL, NULL},
      STRS("provisionAfterExtensions"));
SHAPE(extension, "VirtualMachineExtension", TOP_LEVEL, OBJ("properties", extension_properties));

/* ---- disks ---- */

SHAPE(disk_sku, "DiskSku", ENUM("name", DISK_TYPES), READ_ONLY("tier"));
SHAPE(creation, "CreationData",
      ENUM_REQ("createOption", "Empty,Attach,FromImage,Import,Copy,Restore,Upload,CopyStart,"
                               "ImportSecure,UploadPreparedSecure,CopyFromSanSnapshot"),
      STR("storageAccountId"), ANY("imageReference"), ANY("galleryImageReference"),
      STR("sourceUri"), STR("sourceResourceId"), READ_ONLY("sourceUniqueId"),
      INTEGER("uploadSizeBytes"), INTEGER("logicalSectorSize"), STR("securityDataUri"),
      BOOLEAN("performancePlus"), STR("elasticSanResourceId"),
      STR("provisionedBandwidthCopySpeed"));
SHAPE(disk_capabilities, "SupportedCapabilities", STR("diskControllerTypes"),
      BOOLEAN("acceleratedNetwork"), ENUM("architecture", "x64,Arm64"),
      ENUM("supportedSecurityOption",
           "TrustedLaunchSupported,TrustedLaunchAndConfidentialVMSupported"));
SHAPE(disk_security_profile, "DiskSecurityProfile",
      ENUM("securityType", "TrustedLaunch,ConfidentialVM_VMGuestStateOnlyEncryptedWithPlatformKey,"
                           "ConfidentialVM_DiskEncryptedWithPlatformKey,"
                           "ConfidentialVM_DiskEncryptedWithCustomerKey,"
                           "ConfidentialVM_NonPersistedTPM"),
      STR("secureVMDiskEncryptionSetId"));
SHAPE(disk_properties, "DiskProperties", READ_ONLY("timeCreated"), ENUM("osType", "Windows,Linux"),
      ENUM("hyperVGeneration", "V1,V2"), ANY("purchasePlan"),
      OBJ("supportedCapabilities", disk_capabilities), OBJ_REQ("creationData", creation),
      INTEGER("diskSizeGB"), READ_ONLY("diskSizeBytes"), READ_ONLY("uniqueId"),
      ANY("encryptionSettingsCollection"), READ_ONLY("provisioningState"),
      INTEGER("diskIOPSReadWrite"), INTEGER("diskMBpsReadWrite"), INTEGER("diskIOPSReadOnly"),
      INTEGER("diskMBpsReadOnly"), READ_ONLY("diskState"), ANY("encryption"), INTEGER("maxShares"),
      READ_ONLY("shareInfo"), STR("networkAccessPolicy"), STR("diskAccessId"), STR("tier"),
      BOOLEAN("burstingEnabled"), READ_ONLY("propertyUpdatesInProgress"),
      BOOLEAN("supportsHibernation"), OBJ("securityProfile", disk_security_profile),
      STR("publicNetworkAccess"), STR("dataAccessAuthMode"), BOOLEAN("optimizedForFrequentAttach"),
      READ_ONLY("LastOwnershipUpdateTime"), READ_ONLY("burstingEnabledTime"),
      READ_ONLY("completionPercent"), ANY("availabilityPolicy"));
SHAPE(disk, "Disk", TOP_LEVEL, READ_ONLY("managedBy"), READ_ONLY("managedByExtended"),
      OBJ("sku", disk_sku), STRS("zones"), ANY("extendedLocation"),
      OBJ("properties", disk_properties));

static bool prepare_disk(struct arm_call *c, const json_t *old, json_t *body)
{
    json_t *p = json_object_get(body, "properties");
    if (!json_object_get(p, "creationData"))
        return arm_error_at(c, 400, "InvalidParameter", "disk.creationData",
                            "Required parameter 'disk.creationData' is missing (null).");
    if (old && !json_equal(json_path(old, "properties/creationData/createOption"),
                           json_path(p, "creationData/createOption")))
        return arm_error_at(c, 409, "PropertyChangeNotAllowed", "disk.creationData.createOption",
                            "Changing property 'disk.creationData.createOption' is not allowed.");
    if (!old && !json_object_get(p, "diskSizeGB") &&
        strcmp(arm_text(p, "creationData/createOption"), "Empty") == 0)
        return arm_error_at(c, 400, "InvalidParameter", "disk.diskSizeGb",
                            "Required parameter 'disk.diskSizeGb' is missing (null).");
    rules_vm_complete_disk(c, body);
    return true;
}

static void show_disk(struct arm_call *c, const json_t *body, json_t *view)
{
    const json_t *by = resource_referrers(c->em, arm_text(body, "id"));
    void *at = json_object_iter((json_t *)by);
    json_t *p = json_object_get(view, "properties");
    json_object_set_new(p, "diskState", json_string(at ? "Attached" : "Unattached"));
    if (at)
        json_object_set(view, "managedBy", json_object_iter_value(at));
}

static bool may_delete_disk(struct arm_call *c, const json_t *body)
{
    const json_t *by = resource_referrers(c->em, arm_text(body, "id"));
    void *at = json_object_iter((json_t *)by);
    if (!at)
        return true;
    return arm_error(c, 409, "OperationNotAllowed", "Disk %s is attached to VM %s.",
                     arm_text(body, "name"), json_string_value(json_object_iter_value(at)));
}

const struct arm_type arm_type_virtual_machine = {
    .ns = "Microsoft.Compute",
    .path = "virtualMachines",
    .versions = vm_versions,
    .shape = &vm,
    .put = ARM_AAO_LOC,
    .patch = ARM_AAO_LOC,
    .del = ARM_AAO_LOC,
    .created = 201,
    .updated = 200,
    .located = true,
    .merges = true,
    .name_max = 64,
    .name_extra = "-_.",
    .prepare = rules_vm_prepare,
    .stored = rules_vm_stored,
    .removed = rules_vm_removed,
    .show = rules_vm_show,
};
const struct arm_type arm_type_extension = {
    .ns = "Microsoft.Compute",
    .path = "virtualMachines/extensions",
    .versions = vm_versions,
    .shape = &extension,
    .put = ARM_AAO_LOC,
    .patch = ARM_AAO_LOC,
    .del = ARM_AAO_LOC,
    .created = 201,
    .updated = 200,
    .located = true,
    .merges = true,
    .name_max = 80,
    .name_extra = "-_.",
    .prepare = rules_vm_prepare_extension,
};
const struct arm_type arm_type_disk = {
    .ns = "Microsoft.Compute",
    .path = "disks",
    .versions = disk_versions,
    .shape = &disk,
    .put = ARM_AAO_LOC,
    .patch = ARM_AAO_LOC,
    .del = ARM_AAO_LOC,
    .created = 202,
    .updated = 202,
    .located = true,
    .merges = true,
    .name_max = 80,
    .name_extra = "-_.",
    .prepare = prepare_disk,
    .may_delete = may_delete_disk,
    .show = show_disk,
};
