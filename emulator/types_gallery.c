/* Microsoft.Compute/galleries: what a VM's image reference needs, seedable by PUT. */
#include "emulator/props.h"
#include "emulator/types.h"

static const char *const versions[] = {"2019-03-01", "2019-07-01", "2019-12-01", "2020-09-30",
                                       "2021-07-01", "2021-10-01", "2022-01-03", "2022-03-03",
                                       "2022-08-03", "2023-07-03", "2024-03-03", "2025-03-03",
                                       "2025-12-03", NULL};

SHAPE(gallery_properties, "GalleryProperties", STR("description"), READ_ONLY("identifier"),
      READ_ONLY("provisioningState"), ANY("sharingProfile"), ANY("softDeletePolicy"),
      READ_ONLY("sharingStatus"));
SHAPE(gallery, "Gallery", TOP_LEVEL, ANY("identity"), OBJ("properties", gallery_properties));

SHAPE(identifier, "GalleryImageIdentifier", STR_REQ("publisher"), STR_REQ("offer"), STR_REQ("sku"));
SHAPE(feature, "GalleryImageFeature", STR("name"), STR("value"), STR("startsAtVersion"));
SHAPE(image_properties, "GalleryImageProperties", STR("description"), STR("eula"),
      STR("privacyStatementUri"), STR("releaseNoteUri"), ENUM_REQ("osType", "Windows,Linux"),
      ENUM_REQ("osState", "Generalized,Specialized"), ENUM("hyperVGeneration", "V1,V2"),
      OBJS("features", feature), STR("endOfLifeDate"), OBJ_REQ("identifier", identifier),
      ANY("recommended"), ANY("disallowed"), ANY("purchasePlan"), READ_ONLY("provisioningState"),
      ENUM("architecture", "x64,Arm64"), BOOLEAN("allowUpdateImage"));
SHAPE(image, "GalleryImage", TOP_LEVEL, OBJ("properties", image_properties));

SHAPE(version_properties, "GalleryImageVersionProperties", ANY("publishingProfile"),
      READ_ONLY("provisioningState"), ANY("storageProfile"), READ_ONLY("replicationStatus"),
      ANY("safetyProfile"), ANY("securityProfile"), BOOLEAN("restore"),
      READ_ONLY("validationsProfile"));
SHAPE(version, "GalleryImageVersion", TOP_LEVEL, OBJ("properties", version_properties));

static bool unchanged(struct arm_call *c, const json_t *old, const json_t *body, const char *path)
{
    const json_t *a = json_path(old, path);
    const json_t *b = json_path(body, path);
    if (!old || (!a && !b) || (a && b && json_equal(a, b)))
        return true;
    const char *name = strrchr(path, '/') + 1;
    return arm_error_at(c, 409, "PropertyChangeNotAllowed",
                        arena_printf(c->arena,
                                     "galleryImage."
                                     "%s",
                                     name),
                        "Changing property 'galleryImage.%s' is not allowed.", name);
}

static bool prepare_image(struct arm_call *c, const json_t *old, json_t *body)
{
    json_t *p = json_object_get(body, "properties");
    static const char *const fixed[] = {"properties/osType",           "properties/osState",
                                        "properties/hyperVGeneration", "properties/identifier",
                                        "properties/features",         "properties/architecture"};
    if (!json_object_get(p, "osType"))
        return arm_error_at(c, 400, "InvalidParameter", "galleryImage.properties.osType",
                            "Required parameter 'galleryImage.properties.osType' is missing "
                            "(null).");
    /* From 2025-03-03 a new definition is Generation 2 and takes Trusted Launch unless it says so. */
    bool fresh = strcmp(c->api_version, "2025-03-03") >= 0;
    arm_default(p, "hyperVGeneration", json_string(fresh ? "V2" : "V1"));
    arm_default(p, "architecture", json_string("x64"));
    if (fresh && strcmp(arm_text(p, "hyperVGeneration"), "V2") == 0)
        arm_default(
            p, "features",
            json_pack("[{ss ss}]", "name", "SecurityType", "value", "TrustedLaunchSupported"));
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
        if (!unchanged(c, old, body, fixed[i]))
            return false;
    return true;
}

static bool prepare_version(struct arm_call *c, const json_t *old, json_t *body)
{
    const char *name = c->at.names[c->at.n_names - 1];
    unsigned a, b, d;
    char rest;
    if (sscanf(name, "%9u.%9u.%9u%c", &a, &b, &d, &rest) != 3)
        return arm_error_at(c, 400, "InvalidParameter", "galleryImageVersion.name",
                            "The gallery image version name '%s' is invalid: it has the form "
                            "Major.Minor.Patch.",
                            name);
    json_t *p = json_object_get(body, "properties");
    arm_default(p, "publishingProfile", json_object());
    json_t *publishing = json_object_get(p, "publishingProfile");
    arm_default(
        publishing, "targetRegions",
        json_pack("[{ss si}]", "name", arm_text(body, "location"), "regionalReplicaCount", 1));
    return true;
}

#define GALLERY_ROW                                                                                \
    .ns = "Microsoft.Compute", .versions = versions, .put = ARM_AAO_LOC, .patch = ARM_AAO_LOC,     \
    .del = ARM_AAO_LOC, .created = 201, .updated = 200, .located = true, .merges = true,           \
    .name_max = 80

const struct arm_type arm_type_gallery = {
    GALLERY_ROW,
    .path = "galleries",
    .shape = &gallery,
    .name_extra = "_.",
};
const struct arm_type arm_type_gallery_image = {
    GALLERY_ROW,         .path = "galleries/images", .shape = &image,
    .name_extra = "-_.", .prepare = prepare_image,
};
const struct arm_type arm_type_gallery_version = {
    GALLERY_ROW,       .path = "galleries/images/versions", .shape = &version,
    .name_extra = ".", .prepare = prepare_version,
};
