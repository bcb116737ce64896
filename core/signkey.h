/*
 * ES256 (RFC 7518, 3.4): ECDSA on P-256 with SHA-256, with a key made from 32 secret bytes, so that the
 * keyring keeps keys of one kind only. Immutable; shared by threads.
 */
#ifndef CORE_SIGNKEY_H
#define CORE_SIGNKEY_H

#include "core/bytes.h"

#define SIGN_SEED     32
#define SIGN_SIZE     64 /* r and s, as JWS has them */
#define SIGN_COORD    32
#define SIGN_KID_SIZE BASE64URL_SIZE(32)

struct sign_key;

/* Ends the process where OpenSSL has no P-256. The caller frees. */
struct sign_key *sign_key_new(const uint8_t seed[SIGN_SEED]);
void sign_key_free(struct sign_key *k); /* wipes; NULL is fine */

/* The JWK thumbprint of the public key (RFC 7638); lives as long as the key. */
const char *sign_key_id(const struct sign_key *k);
void sign_key_public(const struct sign_key *k, uint8_t x[SIGN_COORD], uint8_t y[SIGN_COORD]);
void sign_key_sign(const struct sign_key *k, struct bytes text, uint8_t out[SIGN_SIZE]);

#endif
