/*
 * Challenges: nonces for quotes that need no row. The id carries its expiry and is authenticated by
 * a key of the keyring (KEY_CHALLENGE); the nonce is a hash of what is in it, of which 16 bytes are drawn
 * for it, and of the vmId. Only half of a used nonce is stored, with its report.
 *
 * It looks the same for every vmId, registered or not. Pure but for the random part; any thread.
 */
#ifndef HANDLERS_CHALLENGE_H
#define HANDLERS_CHALLENGE_H

#include "core/bytes.h"
#include "core/err.h"
#include "core/keyring.h"

/* version | key id | expiry | random | binding to the vmId | MAC */
#define CHALLENGE_RAW       (1 + 4 + 8 + 16 + 16 + 16)
#define CHALLENGE_ID_SIZE   BASE64URL_SIZE(CHALLENGE_RAW)
#define CHALLENGE_NONCE     32
#define CHALLENGE_HASH_SIZE (CHALLENGE_NONCE + 1)

struct challenge {
    char id[CHALLENGE_ID_SIZE];
    uint8_t nonce[CHALLENGE_NONCE];
    int64_t expires_at;             /* wall clock, ms */
    char hash[CHALLENGE_HASH_SIZE]; /* hex of half the nonce: what a used one is stored as */
};

/* vmId in either case. */
void challenge_make(const struct keyring *k, const char *vm_id, int64_t expires_at,
                    struct challenge *out);
/*
 * The challenge of an id that came back. ERR_CHALLENGE_INVALID: not made by this keyring, or by a key that
 * had been replaced when it was made, ttl_ms before it expires; ERR_CHALLENGE_MISMATCH: made for another
 * vmId; ERR_CHALLENGE_EXPIRED.
 */
enum err challenge_open(const struct keyring *k, const char *id, const char *vm_id, int64_t ttl_ms,
                        int64_t now, struct challenge *out, struct err_info *e) MUST_CHECK;

#endif
