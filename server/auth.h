/*
 * Who is calling: the one seam between a credential and a principal.
 *
 * API keys are `tlg_<id>.<secret>`; the store holds an HMAC of the secret under a key of the
 * keyring, so that a stolen database opens nothing. What was verified is remembered for a short time, and
 * forgotten at once when the key is revoked. Any thread.
 */
#ifndef SERVER_AUTH_H
#define SERVER_AUTH_H

#include "core/clock.h"
#include "core/keyring.h"
#include "core/secret.h"
#include "db/store.h"

struct auth;

/* The parts must outlive it. The caller frees. */
struct auth *auth_new(struct store *store, const struct keyring *keyring,
                      const struct clock *clock);
void auth_free(struct auth *a); /* NULL is fine */

/*
 * The principal behind an Authorization header (NULL: none), in the arena. ERR_UNAUTHENTICATED for
 * whatever is wrong with it, without saying what; ERR_UNAVAILABLE where the store cannot be read.
 */
enum err auth_authenticate(struct auth *a, const char *authorization, struct arena *arena,
                           const struct principal **out, struct err_info *e) MUST_CHECK;

/* The credential behind this principal's `seen` would be accepted again at once: not revoked, not
 * expired, and verified not long ago. Counts as a use of it. */
bool auth_stands(struct auth *a, uint64_t seen);

/* Forgets a key that was just revoked. */
void auth_forget(struct auth *a, const char *key_id);

/* Writes down when keys were last used. Blocks: for a timer's thread. */
enum err auth_flush(struct auth *a, struct err_info *e);

/*
 * A new key: *row is what the store keeps, *text (wiped with the arena) is what its owner gets,
 * once. ERR_VALIDATION where name or scope are not well-formed.
 */
enum err auth_make_key(const struct keyring *keyring, struct arena *arena, const char *name,
                       enum role role, const char *scope, int64_t now, struct api_key *row,
                       struct secret *text, struct err_info *e) MUST_CHECK;

#endif
