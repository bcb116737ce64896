/*
 * /_emulator: what tests see and order (design page api.md, Programs). No token is asked for.
 */
#ifndef EMULATOR_CONTROL_H
#define EMULATOR_CONTROL_H

#include "emulator/context.h"

/* Answers paths under /_emulator; false where it is none. Takes the lock itself. */
bool control_handle(struct emulator *em, const struct http_request *req,
                    struct http_response *resp);

/* Settings from the state over the defaults. */
void control_load_settings(struct emulator *em);
void control_set_time_scale(struct emulator *em, double scale);

#endif
