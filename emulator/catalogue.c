#include "emulator/catalogue.h"
#include "emulator/resource.h"

/* Real sizes, chosen so that every answer of a preflight occurs. */
static const struct catalogue_size sizes[] = {
    {"Standard_B1s", "standardBSFamily", 1, "1", "V1,V2", "x64", .premium_io = true},
    {"Standard_B2s", "standardBSFamily", 2, "4", "V1,V2", "x64", .premium_io = true},
    {"Standard_B1ms", "standardBSFamily", 1, "2", "V1,V2", "x64", .premium_io = true},
    {"Standard_B2ms", "standardBSFamily", 2, "8", "V1,V2", "x64", .premium_io = true},
    {"Standard_B4ms", "standardBSFamily", 4, "16", "V1,V2", "x64", .premium_io = true},
    {"Standard_DS1_v2", "standardDSv2Family", 1, "3.5", "V1,V2", "x64", .premium_io = true},
    {"Standard_DS2_v2", "standardDSv2Family", 2, "7", "V1,V2", "x64", .premium_io = true},
    {"Standard_D2s_v3", "standardDSv3Family", 2, "8", "V1,V2", "x64", .premium_io = true},
    {"Standard_D4s_v3", "standardDSv3Family", 4, "16", "V1,V2", "x64", .premium_io = true},
    {"Standard_D2s_v4", "standardDSv4Family", 2, "8", "V1,V2", "x64", .premium_io = true},
    {"Standard_D2s_v5", "standardDSv5Family", 2, "8", "V1,V2", "x64", .premium_io = true},
    {"Standard_D4s_v5", "standardDSv5Family", 4, "16", "V1,V2", "x64", .premium_io = true},
    {"Standard_D8s_v5", "standardDSv5Family", 8, "32", "V1,V2", "x64", .premium_io = true},
    {"Standard_D2_v5", "standardDv5Family", 2, "8", "V1,V2", "x64", .premium_io = false},
    {"Standard_D2ds_v5", "standardDDSv5Family", 2, "8", "V1,V2", "x64", .premium_io = true},
    {"Standard_D2as_v5", "standardDASv5Family", 2, "8", "V1,V2", "x64", .premium_io = true},
    {"Standard_D2s_v6", "standardDSv6Family", 2, "8", "V2", "x64", .not_in = "uksouth",
     .premium_io = true},
    {"Standard_E2s_v5", "standardESv5Family", 2, "16", "V1,V2", "x64",
     .not_available_in = "westus2", .premium_io = true},
    {"Standard_E4s_v5", "standardESv5Family", 4, "32", "V1,V2", "x64", .premium_io = true},
    {"Standard_F2s_v2", "standardFSv2Family", 2, "4", "V1,V2", "x64", .premium_io = true},
    {"Standard_L8s_v3", "standardLSv3Family", 8, "64", "V1,V2", "x64", .premium_io = true},
    {"Standard_NC4as_T4_v3", "Standard NCASv3_T4 Family", 4, "28", "V1,V2", "x64",
     .not_in = "swedencentral", .premium_io = true},
    /* No Generation 2 */
    {"Standard_A1_v2", "standardAv2Family", 1, "2", "V1", "x64", .premium_io = false},
    {"Standard_A2_v2", "standardAv2Family", 2, "4", "V1", "x64", .premium_io = false},
    {"Standard_D2_v2", "standardDv2Family", 2, "7", "V1", "x64", .premium_io = false},
    /* Generation 2 without Trusted Launch */
    {"Standard_M8ms", "standardMSFamily", 8, "218.75", "V1,V2", "x64",
     .trusted_launch_disabled = true, .premium_io = true},
    {"Standard_ND96asr_v4", "standardNDASv4_A100Family", 96, "900", "V2", "x64",
     .trusted_launch_disabled = true, .premium_io = true},
    {"Standard_D2ps_v5", "standardDPSv5Family", 2, "8", "V2", "Arm64",
     .trusted_launch_disabled = true, .premium_io = true},
    /* Arm64 with Trusted Launch */
    {"Standard_D2ps_v6", "standardDpsv6Family", 2, "8", "V2", "Arm64", .premium_io = true},
    {"Standard_E2ps_v6", "standardEpsv6Family", 2, "16", "V2", "Arm64", .premium_io = true},
    {"Standard_DC2as_v5", "standardDCASv5Family", 2, "8", "V2", "x64",
     .trusted_launch_disabled = true, .confidential = true, .premium_io = true},
};

#define TL   "TrustedLaunchSupported"
#define TLCV "TrustedLaunchAndConfidentialVmSupported"

static const struct catalogue_image images[] = {
    {"Canonical", "0001-com-ubuntu-server-jammy", "22_04-lts-gen2",
     "22.04.202410020,22.04.202501080,22.04.202602100", "V2", "x64", TL, "Linux"},
    {"Canonical", "0001-com-ubuntu-server-jammy", "22_04-lts",
     "22.04.202410020,22.04.202501080,22.04.202602100", "V1", "x64", NULL, "Linux"},
    {"Canonical", "0001-com-ubuntu-server-jammy", "22_04-lts-arm64",
     "22.04.202501080,22.04.202602100", "V2", "Arm64", TL, "Linux"},
    {"Canonical", "0001-com-ubuntu-server-focal", "20_04-lts-gen2",
     "20.04.202401150,20.04.202505130", "V2", "x64", TL, "Linux"},
    {"Canonical", "0001-com-ubuntu-confidential-vm-jammy", "22_04-lts-cvm", "22.04.202501080", "V2",
     "x64", TLCV, "Linux"},
    {"Canonical", "ubuntu-24_04-lts", "server", "24.04.202501080,24.04.202602100", "V2", "x64", TL,
     "Linux"},
    {"Canonical", "ubuntu-24_04-lts", "server-gen1", "24.04.202501080,24.04.202602100", "V1", "x64",
     NULL, "Linux"},
    {"Canonical", "ubuntu-24_04-lts", "server-arm64", "24.04.202602100", "V2", "Arm64", TL,
     "Linux"},
    {"Canonical", "0001-com-ubuntu-server-focal", "20_04-lts", "20.04.202401150,20.04.202505130",
     "V1", "x64", NULL, "Linux"},
    {"Canonical", "UbuntuServer", "18_04-lts-gen2", "18.04.202306070", "V2", "x64", TL, "Linux"},
    {"debian", "debian-11", "11-gen2", "0.20240211.1654", "V2", "x64", TL, "Linux"},
    {"debian", "debian-12", "12-gen2", "0.20250316.2053,0.20260112.1990", "V2", "x64", TL, "Linux"},
    {"debian", "debian-12", "12", "0.20250316.2053,0.20260112.1990", "V1", "x64", NULL, "Linux"},
    {"RedHat", "RHEL", "9-lvm-gen2", "9.4.2024050210,9.5.2025011610", "V2", "x64", TL, "Linux"},
    {"RedHat", "RHEL", "83-gen2", "8.3.2021091701", "V2", "x64", TL, "Linux"},
    {"Oracle", "Oracle-Linux", "ol83-lvm-gen2", "8.3.4", "V2", "x64", TL, "Linux"},
    {"SUSE", "SLES-15-SP2", "gen2", "2022.11.04", "V2", "x64", TL, "Linux"},
    {"SUSE", "sles-15-sp5", "gen2", "2024.11.11", "V2", "x64", TL, "Linux"},
    /* Generation 2 whose publisher never declared Trusted Launch */
    {"OpenLogic", "CentOS", "7_9-gen2", "7.9.2023100401", "V2", "x64", NULL, "Linux"},
    {"MicrosoftWindowsServer", "WindowsServer", "2022-datacenter-azure-edition",
     "20348.3091.250112,20348.4529.260109", "V2", "x64", TL, "Windows"},
    {"MicrosoftWindowsServer", "WindowsServer", "2019-datacenter-gensecond", "17763.6775.250112",
     "V2", "x64", TL, "Windows"},
    {"MicrosoftWindowsServer", "WindowsServer", "2022-datacenter-azure-edition-core",
     "20348.3091.250112,20348.4529.260109", "V2", "x64", TL, "Windows"},
    {"MicrosoftWindowsServer", "WindowsServer", "2022-datacenter-g2",
     "20348.3091.250112,20348.4529.260109", "V2", "x64", TL, "Windows"},
    {"MicrosoftWindowsServer", "WindowsServer", "2022-datacenter",
     "20348.3091.250112,20348.4529.260109", "V1", "x64", NULL, "Windows"},
    {"MicrosoftWindowsServer", "WindowsServer", "2025-datacenter-g2", "26100.3037.250206", "V2",
     "x64", TL, "Windows"},
    {"MicrosoftWindowsServer", "WindowsServer", "2025-datacenter-azure-edition",
     "26100.3037.250206", "V2", "x64", TL, "Windows"},
    {"MicrosoftWindowsServer", "WindowsServer", "2016-datacenter-gensecond", "14393.7699.250112",
     "V2", "x64", TL, "Windows"},
    {"MicrosoftWindowsServer", "WindowsServer", "2019-Datacenter", "17763.6775.250112", "V1", "x64",
     NULL, "Windows"},
};

static const char *const sku_versions[] = {"2017-03-30", "2017-09-01", "2018-06-01",
                                           "2019-04-01", "2021-07-01", NULL};

const struct catalogue_size *catalogue_find_size(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        if (strcasecmp(sizes[i].name, name) == 0)
            return &sizes[i];
    return NULL;
}

static bool has_version(const char *list, const char *version, char exact[32])
{
    size_t n = strlen(version);
    const char *last = strrchr(list, ',') ? strrchr(list, ',') + 1 : list;
    if (strcasecmp(version, "latest") == 0) {
        snprintf(exact, 32, "%s", last);
        return true;
    }
    for (const char *p = list; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
        if (strncmp(p, version, n) == 0 && (p[n] == ',' || p[n] == 0)) {
            snprintf(exact, 32, "%s", version);
            return true;
        }
    return false;
}

static const struct catalogue_image *find_sku(const char *publisher, const char *offer,
                                              const char *sku)
{
    for (size_t i = 0; i < ARRAY_LEN(images); i++)
        if (strcasecmp(images[i].publisher, publisher) == 0 &&
            strcasecmp(images[i].offer, offer) == 0 && strcasecmp(images[i].sku, sku) == 0)
            return &images[i];
    return NULL;
}

const struct catalogue_image *catalogue_find_image(const char *publisher, const char *offer,
                                                   const char *sku, const char *version,
                                                   char exact[32])
{
    const struct catalogue_image *image = find_sku(publisher, offer, sku);
    return image && has_version(image->versions, version, exact) ? image : NULL;
}

static void capability(json_t *list, const char *name, const char *value)
{
    json_array_append_new(list, json_pack("{ss ss}", "name", name, "value", value));
}

static json_t *capabilities(const struct catalogue_size *s)
{
    json_t *list = json_array();
    char vcpus[16];
    snprintf(vcpus, sizeof vcpus, "%d", s->vcpus);
    capability(list, "MaxResourceVolumeMB", "0");
    capability(list, "OSVhdSizeMB", "1047552");
    capability(list, "vCPUs", vcpus);
    capability(list, "MemoryPreservingMaintenanceSupported", "True");
    capability(list, "HyperVGenerations", s->generations);
    capability(list, "MemoryGB", s->memory_gb);
    capability(list, "MaxDataDiskCount", "4");
    capability(list, "CpuArchitectureType", s->architecture);
    capability(list, "LowPriorityCapable", "True");
    capability(list, "PremiumIO", s->premium_io ? "True" : "False");
    capability(list, "vCPUsAvailable", vcpus);
    capability(list, "EphemeralOSDiskSupported", "False");
    capability(list, "EncryptionAtHostSupported", "True");
    capability(list, "AcceleratedNetworkingEnabled", "True");
    if (s->confidential)
        capability(list, "ConfidentialComputingType", "SNP");
    if (s->trusted_launch_disabled)
        capability(list, "TrustedLaunchDisabled", "True");
    return list;
}

/* One row per size and region, as the real list has it. */
static json_t *sku_json(const struct catalogue_size *s, const char *location)
{
    json_t *restrictions = json_array();
    if (s->not_available_in && strcmp(s->not_available_in, location) == 0)
        json_array_append_new(restrictions,
                              json_pack("{ss s[s] s{s[s]} ss}", "type", "Location", "values",
                                        location, "restrictionInfo", "locations", location,
                                        "reasonCode", "NotAvailableForSubscription"));
    const char *tier_end = strchr(s->name, '_');
    json_t *v =
        json_pack("{ss ss ss so so s[s] s[{ss s[sss] s[]}] so so}", "resourceType",
                  "virtualMachines", "name", s->name, "tier", "Standard", "size",
                  json_string(tier_end + 1), "family", json_string(s->family), "locations",
                  location, "locationInfo", "location", location, "zones", "1", "2", "3",
                  "zoneDetails", "capabilities", capabilities(s), "restrictions", restrictions);
    return v;
}

/* "location eq 'westeurope'": the only filter the real service has. */
static bool filter_location(struct arm_call *c, const char **out)
{
    const char *filter = http_query(c->req, "$filter");
    char name[64];
    *out = NULL;
    if (!filter || !*filter)
        return true;
    if (sscanf(filter, " location eq '%63[^']'", name) != 1)
        return arm_error(c, 400, "InvalidFilterInQueryString",
                         "Invalid filter '%s': only location eq '<location>' is supported.",
                         filter);
    *out = arm_location(name);
    if (!*out)
        *out = "";
    return true;
}

static void serve_skus(struct arm_call *c)
{
    static const char *const regions[] = {"westeurope", "northeurope",   "eastus", "eastus2",
                                          "westus2",    "swedencentral", "uksouth"};
    const char *only;
    if (!filter_location(c, &only))
        return;
    json_t *all = json_array();
    for (size_t r = 0; r < ARRAY_LEN(regions); r++) {
        if (only && strcmp(only, regions[r]) != 0)
            continue;
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
            if (!sizes[i].not_in || strcmp(sizes[i].not_in, regions[r]) != 0)
                json_array_append_new(all, sku_json(&sizes[i], regions[r]));
    }
    http_reply_json(c->resp, 200, json_pack("{so}", "value", all));
}

struct image_path {
    const char *base; /* ".../versions" */
    const char *location;
    const struct catalogue_image *image;
};

static json_t *version_item(const struct image_path *p, const char *version, size_t n)
{
    return json_pack("{so so so}", "location", json_string(p->location), "name",
                     json_stringn(version, n), "id",
                     json_sprintf("%s/%.*s", p->base, (int)n, version));
}

/* A bare array, newest last; $top and $orderby=name desc take from the other end. */
static void list_versions(struct arm_call *c, const struct image_path *p)
{
    const char *top = http_query(c->req, "$top");
    const char *order = http_query(c->req, "$orderby");
    AUTO(json) json_t *all = json_array();
    for (const char *v = p->image->versions; v; v = strchr(v, ',') ? strchr(v, ',') + 1 : NULL) {
        json_t *item = version_item(p, v, strcspn(v, ","));
        if (order && strstr(order, "desc"))
            json_array_insert_new(all, 0, item);
        else
            json_array_append_new(all, item);
    }
    size_t n = top ? strtoul(top, NULL, 10) : json_array_size(all);
    json_t *out = json_array();
    for (size_t i = 0; i < n && i < json_array_size(all); i++)
        json_array_append(out, json_array_get(all, i));
    http_reply_json(c->resp, 200, out);
}

static void show_version(struct arm_call *c, const struct image_path *p, const char *version)
{
    char exact[32];
    if (!has_version(p->image->versions, version, exact)) {
        arm_error(c, 404, "NotFound",
                  "Artifact: VMImage was not found. The version '%s' of %s:%s:%s does not exist.",
                  version, p->image->publisher, p->image->offer, p->image->sku);
        return;
    }
    json_t *features = json_array();
    if (p->image->security_type)
        json_array_append_new(features, json_pack("{ss ss}", "name", "SecurityType", "value",
                                                  p->image->security_type));
    json_array_append_new(
        features, json_pack("{ss ss}", "name", "IsAcceleratedNetworkSupported", "value", "True"));
    json_t *v = version_item(p, exact, strlen(exact));
    json_object_set_new(v, "properties",
                        json_pack("{ss ss s{ss} s{ss} so s[] s{sb}}", "hyperVGeneration",
                                  p->image->generation, "architecture", p->image->architecture,
                                  "disallowed", "vmDiskType", "None", "osDiskImage",
                                  "operatingSystem", p->image->os, "features", features,
                                  "dataDiskImages", "automaticOSUpgradeProperties",
                                  "automaticOSUpgradeSupported", 1));
    http_reply_json(c->resp, 200, v);
}

/* .../locations/{l}/publishers/{p}/artifacttypes/vmimage/offers/{o}/skus/{s}/versions[/{v}] */
static bool serve_images(struct arm_call *c)
{
    char **s = c->at.segments;
    unsigned n = c->at.n_segments;
    static const char *const words[] = {"locations", "publishers", "artifacttypes",
                                        "offers",    "skus",       "versions"};
    if (n != 15 && n != 16)
        return false;
    for (unsigned i = 0; i < ARRAY_LEN(words); i++)
        if (strcasecmp(s[4 + 2 * i], words[i]) != 0)
            return false;
    const char *location = arm_location(s[5]);
    if (!location) {
        arm_error(c, 400, "NoRegisteredProviderFound",
                  "No registered resource provider found for location '%s'.", s[5]);
        return true;
    }
    struct image_path p = {.location = location, .image = find_sku(s[7], s[11], s[13])};
    if (!p.image) {
        arm_error(c, 404, "NotFound",
                  "Artifact: VMImage was not found. Publisher '%s', offer '%s', sku '%s'.", s[7],
                  s[11], s[13]);
        return true;
    }
    p.base = arena_printf(
        c->arena,
        "/Subscriptions/%s/Providers/Microsoft.Compute/Locations/%s/Publishers/%s/"
        "ArtifactTypes/VMImage/Offers/%s/Skus/%s/Versions",
        c->at.subscription, location, p.image->publisher, p.image->offer, p.image->sku);
    if (n == 15)
        list_versions(c, &p);
    else
        show_version(c, &p, s[15]);
    return true;
}

bool catalogue_handle(struct arm_call *c)
{
    char **s = c->at.segments;
    bool compute = c->at.n_segments >= 5 && strcasecmp(s[2], "providers") == 0 &&
                   strcasecmp(s[3], "Microsoft.Compute") == 0;
    if (!compute || strcmp(c->req->method, "GET") != 0)
        return false;
    if (c->at.n_segments != 5 || strcasecmp(s[4], "skus") != 0)
        return strcasecmp(s[4], "locations") == 0 && serve_images(c);
    for (const char *const *v = sku_versions; *v; v++)
        if (strcmp(*v, c->api_version) == 0) {
            serve_skus(c);
            return true;
        }
    arm_error(c, 400, "NoRegisteredProviderFound",
              "No registered resource provider found for location '' and API version '%s' for type "
              "'skus'. The supported api-versions are '2017-03-30, 2017-09-01, 2018-06-01, "
              "2019-04-01, 2021-07-01'.",
              c->api_version);
    return true;
}
