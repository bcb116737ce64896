/* Images: marketplace and gallery references, and what they allow. */
#include "emulator/catalogue.h"
#include "emulator/resource.h"
#include "emulator/rules_vm.h"
#include "emulator/subscription.h"

static void copy(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text);
}

static bool platform_image(struct arm_call *c, const json_t *r, struct vm_image *out)
{
    const char *publisher = arm_text(r, "publisher");
    const char *offer = arm_text(r, "offer");
    const char *sku = arm_text(r, "sku");
    const char *version = arm_text(r, "version");
    snprintf(out->name, sizeof out->name, "%s:%s:%s:%s", publisher, offer, sku, version);
    if (!*publisher || !*offer || !*sku || !*version)
        return arm_error_at(c, 400, "InvalidParameter", "imageReference",
                            "The following list of images referenced from the deployment template "
                            "are not found: Publisher: %s, Offer: %s, Sku: %s, Version: %s. Please "
                            "refer to https://docs.microsoft.com/azure/virtual-machines/windows/"
                            "cli-ps-findimage for instructions on finding available images.",
                            publisher, offer, sku, version);
    const struct catalogue_image *image =
        catalogue_find_image(publisher, offer, sku, version, out->exact_version);
    if (!image)
        return arm_error_at(c, 404, "PlatformImageNotFound", "imageReference",
                            "The platform image '%s' is not available. Verify that all fields in "
                            "the storage profile are correct. For more details about storage "
                            "profile information, please refer to https://aka.ms/storageprofile",
                            out->name);
    copy(out->generation, sizeof out->generation, image->generation);
    copy(out->architecture, sizeof out->architecture, image->architecture);
    copy(out->security, sizeof out->security, image->security_type ? image->security_type : "");
    copy(out->os, sizeof out->os, image->os);
    out->size_gb = strcmp(image->os, "Windows") == 0 ? 127 : 30;
    return true;
}

/* ".../galleries/g/images/i[/versions/v]": the definition says what the VM may be. */
static bool gallery_image(struct arm_call *c, const char *id, const char *location,
                          struct vm_image *out)
{
    char *definition_id = arena_strdup(c->arena, id);
    char *cut = strcasestr(definition_id, "/versions/");
    copy(out->name, sizeof out->name, id);
    copy(out->exact_version, sizeof out->exact_version, cut ? cut + strlen("/versions/") : "");
    if (cut)
        *cut = 0;
    const json_t *version = cut ? resource_body(c->em, id) : NULL;
    const json_t *definition = resource_body(c->em, definition_id);
    bool there = definition && (version || !cut) &&
                 strcmp(arm_text(version ? version : definition, "location"), location) == 0;
    const json_t *regions = json_path(version, "properties/publishingProfile/targetRegions");
    for (size_t i = 0; definition && i < json_array_size(regions); i++) {
        const char *region = arm_location(arm_text(json_array_get(regions, i), "name"));
        there = there || (region && strcmp(region, location) == 0);
    }
    if (!there)
        return arm_error_at(c, 404, "GalleryImageNotFound", "imageReference",
                            "The gallery image %s is not available in %s region. Please contact "
                            "image owner to replicate to this region, or change your requested "
                            "region.",
                            id, location);
    const json_t *p = json_object_get(definition, "properties");
    const json_t *features = json_object_get(p, "features");
    for (size_t i = 0; i < json_array_size(features); i++) {
        const json_t *f = json_array_get(features, i);
        if (strcasecmp(arm_text(f, "name"), "SecurityType") == 0)
            copy(out->security, sizeof out->security, arm_text(f, "value"));
    }
    const char *generation = arm_text(p, "hyperVGeneration");
    const char *architecture = arm_text(p, "architecture");
    copy(out->generation, sizeof out->generation, *generation ? generation : "V1");
    copy(out->architecture, sizeof out->architecture, *architecture ? architecture : "x64");
    copy(out->os, sizeof out->os, arm_text(p, "osType"));
    out->specialized = strcmp(arm_text(p, "osState"), "Specialized") == 0;
    out->size_gb = strcmp(out->os, "Windows") == 0 ? 127 : 30;
    return true;
}

bool rules_vm_image(struct arm_call *c, const json_t *r, const char *location, struct vm_image *out)
{
    *out = (struct vm_image){0};
    if (!json_is_object(r))
        return arm_error_at(c, 400, "InvalidParameter", "storageProfile.imageReference",
                            "Required parameter 'storageProfile.imageReference' is missing "
                            "(null).");
    const char *id = arm_text(r, "id");
    if (*id)
        return gallery_image(c, id, location, out);
    return platform_image(c, r, out);
}

/* "TrustedLaunch", "TrustedLaunchSupported", "TrustedLaunchAndConfidentialVmSupported" */
static bool takes_trusted_launch(const struct vm_image *image)
{
    return strcmp(image->generation, "V2") == 0 && strcasestr(image->security, "TrustedLaunch");
}

static bool size_fits(struct arm_call *c, const struct catalogue_size *size,
                      const struct vm_image *image, const char *location)
{
    if ((size->not_in && strcmp(size->not_in, location) == 0) ||
        (size->not_available_in && strcmp(size->not_available_in, location) == 0))
        return arm_error(c, 409, "SkuNotAvailable",
                         "The requested VM size for resource 'Following SKUs have failed for "
                         "Capacity Restrictions: %s' is currently not available in location '%s'. "
                         "Please try another size or deploy to a different location or different "
                         "zone. See https://aka.ms/azureskunotavailable for details.",
                         size->name, location);
    if (*image->generation && !strstr(size->generations, image->generation))
        return arm_error(c, 400, "BadRequest",
                         "The selected VM size '%s' cannot boot Hypervisor Generation '%s'. If "
                         "this was a Create operation please check that the Hypervisor Generation "
                         "of the Image matches the Hypervisor Generation of the selected VM Size. "
                         "If this was an Update operation please select a Hypervisor Generation "
                         "'%s' VM Size. For more information, see https://aka.ms/azuregen2vm",
                         size->name, image->generation + 1, image->generation + 1);
    if (*image->architecture && strcasecmp(size->architecture, image->architecture) != 0)
        return arm_error(c, 400, "BadRequest",
                         "Cannot create a VM of size '%s' because this VM size only supports a CPU "
                         "Architecture of '%s', but an image or disk with CPU Architecture '%s' "
                         "was given. Please check that the CPU Architecture of the image or disk "
                         "is compatible with that of the VM size.",
                         size->name, size->architecture, image->architecture);
    return true;
}

static bool trusted_launch_fits(struct arm_call *c, const struct catalogue_size *size,
                                const struct vm_image *image)
{
    if (*image->generation && !takes_trusted_launch(image))
        return arm_error(c, 400, "BadRequest",
                         "Use of TrustedLaunch setting is not supported for the provided image. "
                         "Please select Trusted Launch Supported Gen2 OS Image. For more "
                         "information, see https://aka.ms/TrustedLaunch-FAQ.");
    if (size->trusted_launch_disabled || !strstr(size->generations, "V2"))
        return arm_error(c, 400, "BadRequest",
                         "The VM size '%s' is not supported for creation of VMs and Virtual "
                         "Machine Scale Set with 'TrustedLaunch' security type. For more "
                         "information, see https://aka.ms/TrustedLaunch-FAQ",
                         size->name);
    return true;
}

static bool type_allowed(struct arm_call *c, const char *type, const struct vm_image *image)
{
    bool standard = strcmp(type, "Standard") == 0;
    bool trusted = strcmp(type, "TrustedLaunch") == 0;
    /* Before 2025-11-01 "Standard" was behind a preview feature. */
    if (standard && strcmp(c->api_version, "2025-11-01") < 0 &&
        !subscription_has_feature(c->em, c->at.subscription, "Microsoft.Compute",
                                  "UseStandardSecurityType"))
        return arm_error_at(c, 400, "InvalidParameter", "securityProfile.securityType",
                            "The value of parameter securityProfile.securityType is invalid.");
    if (strcasecmp(image->security, "TrustedLaunch") == 0 && !trusted)
        return arm_error(c, 400, "BadRequest",
                         "The provided gallery image only supports creation of VMs and VM Scale "
                         "Sets with 'TrustedLaunch' security type.");
    return true;
}

/* "Trusted Launch as default" (preview): what does not say is given it, where image and size take it. */
static void trusted_launch_by_default(struct arm_call *c, json_t *body,
                                      const struct vm_image *image)
{
    json_t *p = json_object_get(body, "properties");
    const struct catalogue_size *size = catalogue_find_size(arm_text(p, "hardwareProfile/vmSize"));
    if (json_object_get(p, "securityProfile") || strcmp(c->api_version, "2021-11-01") < 0 ||
        !subscription_has_feature(c->em, c->at.subscription, "Microsoft.Compute",
                                  "TrustedLaunchByDefaultPreview"))
        return;
    if (!size || size->trusted_launch_disabled || !strstr(size->generations, "V2") ||
        !takes_trusted_launch(image))
        return;
    json_object_set_new(p, "securityProfile",
                        json_pack("{ss s{sb sb}}", "securityType", "TrustedLaunch", "uefiSettings",
                                  "secureBootEnabled", 1, "vTpmEnabled", 1));
}

bool rules_vm_security(struct arm_call *c, const json_t *old, json_t *body,
                       const struct vm_image *image)
{
    json_t *p = json_object_get(body, "properties");
    if (!old)
        trusted_launch_by_default(c, body, image);
    json_t *security = json_object_get(p, "securityProfile");
    const char *type = arm_text(security, "securityType");
    const char *name = arm_text(p, "hardwareProfile/vmSize");
    const struct catalogue_size *size = catalogue_find_size(name);
    if (!size)
        return arm_error_at(c, 400, "InvalidParameter", "vmSize",
                            "The value %s provided for the VM size is not valid. The valid sizes "
                            "in the current region are: Standard_B2s,Standard_D2s_v5,"
                            "Standard_D4s_v5,Standard_E2s_v5.",
                            name);
    if (!size_fits(c, size, image, arm_text(body, "location")) || !type_allowed(c, type, image))
        return false;
    bool secured = strcmp(type, "TrustedLaunch") == 0 || strcmp(type, "ConfidentialVM") == 0;
    if (!secured && json_object_get(security, "uefiSettings"))
        return arm_error_at(c, 400, "InvalidParameter", "securityProfile.uefiSettings",
                            "The value of parameter securityProfile.uefiSettings is invalid: it "
                            "needs securityType TrustedLaunch or ConfidentialVM.");
    if (strcmp(type, "ConfidentialVM") == 0 && !size->confidential)
        return arm_error(c, 400, "BadRequest",
                         "The VM size '%s' is not supported for creation of VMs and Virtual "
                         "Machine Scale Set with 'ConfidentialVM' security type.",
                         name);
    if (strcmp(type, "TrustedLaunch") == 0 && !trusted_launch_fits(c, size, image))
        return false;
    if (!secured)
        return true;
    /* On by default is the vTPM only; so it is when an existing VM is upgraded. */
    json_t *uefi = json_object_get(security, "uefiSettings");
    if (!uefi) {
        uefi = json_object();
        json_object_set_new(security, "uefiSettings", uefi);
    }
    if (!json_object_get(uefi, "vTpmEnabled"))
        json_object_set_new(uefi, "vTpmEnabled", json_true());
    if (!json_object_get(uefi, "secureBootEnabled"))
        json_object_set_new(uefi, "secureBootEnabled", json_false());
    return true;
}
