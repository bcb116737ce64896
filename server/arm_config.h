/* From the options to the ARM client's configuration. */
#ifndef SERVER_ARM_CONFIG_H
#define SERVER_ARM_CONFIG_H

#include "arm/arm.h"
#include "server/settings.h"

/* [arm] is the first and default identity, each [arm:NAME] a further one. Everything lives in the
 * arena, except what points into the settings. */
struct arm_config arm_config_from(const struct settings *s, struct arena *arena);

#endif
