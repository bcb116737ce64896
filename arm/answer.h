/* Reading ARM's bodies: inside arm/ only. Pure. */
#ifndef ARM_ANSWER_H
#define ARM_ANSWER_H

#include "arm/reply.h"

#include <jansson.h>

/* code and message of `{"error":{...}}` (also bare, as some providers send it); false: there is
 * none. */
bool arm_answer_error(const json_t *body, struct arm_outcome *out);
/* properties.provisioningState, or NULL. */
const char *arm_answer_state(const json_t *body);
/* Terminal states, compared without regard to case (ARM RPC; providers differ in spelling). */
bool arm_answer_succeeded(const char *state);
bool arm_answer_ended_badly(const char *state); /* Failed or Canceled */
bool arm_answer_canceled(const char *state);
/* The class that an error code means whatever its status; false where the table has none. */
bool arm_answer_class_of_code(const char *code, enum arm_class *out);

#endif
