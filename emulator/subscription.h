/*
 * Subscriptions, their locations, resource providers and preview features.
 */
#ifndef EMULATOR_SUBSCRIPTION_H
#define EMULATOR_SUBSCRIPTION_H

#include "emulator/arm.h"

bool subscription_exists(struct emulator *em, const char *id);
/* Is the provider registered for the subscription? Compute and Network are from the start. */
bool subscription_has_provider(struct emulator *em, const char *subscription, const char *ns);
/* Answers the paths named above; false where it is none of them. */
bool subscription_handle(struct arm_call *c);
/* Adds the subscriptions of the command line to the state. */
void subscription_open(struct emulator *em, const char *const *ids, size_t n);
/* Is the preview feature registered? ("Microsoft.Compute/UseStandardSecurityType") */
bool subscription_has_feature(struct emulator *em, const char *subscription, const char *ns,
                              const char *feature);

#endif
