/* Resource groups, and the list of all rows. */
#include "emulator/resource.h"
#include "emulator/types.h"

static const char *const versions[] = {
    "2015-11-01", "2016-02-01", "2016-07-01", "2016-09-01", "2017-05-10",
    "2018-02-01", "2018-05-01", "2019-03-01", "2019-05-01", "2019-07-01",
    "2019-08-01", "2019-10-01", "2020-06-01", "2020-08-01", "2020-10-01",
    "2021-01-01", "2021-04-01", "2022-09-01", "2023-07-01", "2024-03-01",
    "2024-07-01", "2024-11-01", "2025-03-01", "2025-04-01", NULL};

static const struct prop group_properties[] = {
    {"provisioningState", PROP_STR, PROP_READ_ONLY, NULL, NULL}, {0}};
static const struct shape group_properties_shape = {"ResourceGroupProperties", group_properties};
static const struct prop group[] = {{"id", PROP_STR, PROP_READ_ONLY, NULL, NULL},
                                    {"name", PROP_STR, PROP_READ_ONLY, NULL, NULL},
                                    {"type", PROP_STR, PROP_READ_ONLY, NULL, NULL},
                                    {"location", PROP_STR, 0, NULL, NULL},
                                    {"tags", PROP_MAP, 0, NULL, NULL},
                                    {"managedBy", PROP_STR, 0, NULL, NULL},
                                    {"properties", PROP_OBJ, 0, &group_properties_shape, NULL},
                                    {0}};
static const struct shape group_shape = {"ResourceGroup", group};

const struct arm_type arm_type_resource_group = {
    .ns = "Microsoft.Resources",
    .path = "resourceGroups",
    .versions = versions,
    .shape = &group_shape,
    .put = ARM_SYNC,
    .patch = ARM_SYNC,
    .del = ARM_LOC,
    .created = 201,
    .updated = 200,
    .located = true,
    .name_max = 90,
    .name_extra = "-_.()",
};

const struct arm_type *const arm_types[] = {
    &arm_type_resource_group,
    &arm_type_virtual_machine,
    &arm_type_extension,
    &arm_type_disk,
    &arm_type_gallery,
    &arm_type_gallery_image,
    &arm_type_gallery_version,
    &arm_type_virtual_network,
    &arm_type_subnet,
    &arm_type_security_group,
    &arm_type_security_rule,
    &arm_type_public_ip,
    &arm_type_network_interface,
};
const size_t arm_n_types = ARRAY_LEN(arm_types);
