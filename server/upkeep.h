/*
 * The timer of a running gateway: prunes what is kept no longer and writes down when keys were used.
 * A thread of its own, since it waits for the store.
 */
#ifndef SERVER_UPKEEP_H
#define SERVER_UPKEEP_H

#include "server/auth.h"
#include "server/settings.h"

struct upkeep;

/* The parts must outlive it. */
struct upkeep *upkeep_start(struct store *store, struct auth *auth,
                            const struct settings *settings);
void upkeep_stop(struct upkeep *u); /* NULL is fine */

#endif
