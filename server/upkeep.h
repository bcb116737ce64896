/*
 * The timer of a running gateway: prunes what is kept no longer, writes down when keys were used, and
 * has the attestation providers' keys fetched anew.
 * A thread of its own, since it waits for the store.
 */
#ifndef SERVER_UPKEEP_H
#define SERVER_UPKEEP_H

#include "jobs/maa_keys.h"
#include "server/auth.h"
#include "server/settings.h"

struct upkeep;

/* The parts must outlive it; maa may be NULL. */
struct upkeep *upkeep_start(struct store *store, struct auth *auth, struct maa_keys *maa,
                            const struct settings *settings);
void upkeep_stop(struct upkeep *u); /* NULL is fine */

#endif
