/* Configuration of the client, checked and copied. Inside arm/ only. */
#ifndef ARM_CONFIG_H
#define ARM_CONFIG_H

#include "arm/arm.h"

/*
 * A copy of `in` in the arena: defaults filled in, every identity with its endpoint, authority and
 * audience, endpoints cut to "scheme://host[:port]". ERR_CONFIG as arm_start says.
 */
enum err arm_config_copy(struct arena *a, const struct arm_config *in, struct arm_config *out,
                         struct err_info *e) MUST_CHECK;

/* Index of the identity that serves the subscription (NULL: the default one); -1: none does. */
int arm_config_identity(const struct arm_config *cfg, const char *subscription);

#endif
