/*
 * Enrolment tokens: the proof a guest shows once so that its AK is pinned.
 *
 * token = base64url(version 1 | key id 4 BE | id 16 | HMAC-SHA256(KEY_ENROLLMENT; id, lower-case
 * resource id)). The token of a job is made from the job's id, so that a repeated VM PUT is
 * identical byte for byte; one made on demand takes a new one of the same kind (UUIDv7). Only the SHA-256 of
 * the text is stored. Pure; the keyring is read-only.
 */
#ifndef JOBS_ENROLLMENT_H
#define JOBS_ENROLLMENT_H

#include "core/bytes.h"
#include "core/err.h"
#include "core/keyring.h"

#define ENROLLMENT_TOKEN_SIZE BASE64URL_SIZE(1 + 4 + 16 + KEYRING_MAC_SIZE)
#define ENROLLMENT_HASH_SIZE  32
#define ENROLLMENT_MS         (24 * 60 * 60 * 1000) /* how long one is good */

/* Where keys were rotated between two calls for one job, the second passes the first one's key id.
 */
enum err enrollment_token(const struct keyring *k, uint32_t key_id, const char *uuid,
                          const char *resource_id, char out[ENROLLMENT_TOKEN_SIZE],
                          struct err_info *e) MUST_CHECK;
/* ERR_NOT_ENROLLED where the text is not a token of this keyring for that resource. */
enum err enrollment_check(const struct keyring *k, const char *token, const char *resource_id,
                          struct err_info *e) MUST_CHECK;
void enrollment_hash(const char *token, uint8_t out[ENROLLMENT_HASH_SIZE]);
/* The hash as the store keeps it: behind the time of the token's id, so that those of one time lie
 * side by side, a new one does not touch a page of its own, and the oldest are found first. */
const char *enrollment_text(struct arena *a, const char *token);

#endif
