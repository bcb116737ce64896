/* The rows of arm_types, by the file that holds them. */
#ifndef EMULATOR_TYPES_H
#define EMULATOR_TYPES_H

#include "emulator/arm.h"

extern const struct arm_type arm_type_resource_group; /* types_resources.c */

extern const struct arm_type arm_type_virtual_machine; /* types_compute.c */
extern const struct arm_type arm_type_extension;
extern const struct arm_type arm_type_disk;

extern const struct arm_type arm_type_gallery; /* types_gallery.c */
extern const struct arm_type arm_type_gallery_image;
extern const struct arm_type arm_type_gallery_version;

extern const struct arm_type arm_type_virtual_network; /* types_network.c */
extern const struct arm_type arm_type_subnet;
extern const struct arm_type arm_type_security_group;
extern const struct arm_type arm_type_security_rule;
extern const struct arm_type arm_type_public_ip;
extern const struct arm_type arm_type_network_interface;

#endif
