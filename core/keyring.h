/*
 * The keyring: every key the gateway MACs, seals or signs with, by purpose and id.
 *
 * A file of mode 0600 made at the first start (or a systemd credential). Each purpose has one current
 * key and any number of older ones that still verify and open. Whatever is MACed, sealed or signed
 * carries the id of its key, so that rotation needs no flag day. Shared by threads, also while a key is
 * added: nothing that was handed out moves or goes away.
 */
#ifndef CORE_KEYRING_H
#define CORE_KEYRING_H

#include "core/arena.h"
#include "core/err.h"
#include "core/signkey.h"

enum key_purpose {
    KEY_CHALLENGE,   /* attestation challenges */
    KEY_ENROLLMENT,  /* enrolment tokens */
    KEY_CURSOR,      /* page cursors */
    KEY_SEAL,        /* secrets at rest */
    KEY_FINGERPRINT, /* Idempotency-Key fingerprints, API key hashes */
    KEY_RESULTS,     /* attestation results: ES256 */
    KEY_PURPOSES
};

#define KEYRING_KEYS_MAX 256

#define KEYRING_MAC_SIZE 32
/* A sealed text is key id (4), nonce (12), ciphertext, tag (16). */
#define KEYRING_SEAL_OVERHEAD 32

struct keyring;

/* Opens `path`, or makes it (0600, fsynced) where it does not exist. ERR_CONFIG where others may read
 * it or it is damaged. The caller frees. */
enum err keyring_open(const char *path, struct keyring **out, struct err_info *e) MUST_CHECK;
void keyring_free(struct keyring *k); /* wipes; NULL is fine */

/* "challenge", "enrollment", "cursor", "seal", "fingerprint", "results". */
bool keyring_purpose_parse(const char *name, enum key_purpose *out) MUST_CHECK;

/*
 * A new key for the purpose: written to the file (a new file in its place, fsynced), then used.
 * ERR_CONFIG where the file cannot be replaced or holds KEYRING_KEYS_MAX keys. One process at a time
 * may do this; the store's lock sees to that.
 */
enum err keyring_rotate(struct keyring *k, enum key_purpose p, uint32_t *id,
                        struct err_info *e) MUST_CHECK;

/* A key of KEY_RESULTS. */
struct keyring_signer {
    const struct sign_key *key; /* the keyring's */
    int64_t retired_at;         /* wall ms at which another took over; 0: it signs */
};
/* The key that signs, and then the former ones, the last first. Returns how many were written. */
size_t keyring_signers(const struct keyring *k, struct keyring_signer *out, size_t cap);

/* Id of the key that is used now. */
uint32_t keyring_current(const struct keyring *k, enum key_purpose p);
/*
 * False where the key had been replaced by another before `made_at` (wall ms), give or take a minute: what
 * says that it was made then was not handed out here. That is how a key that leaked ends.
 */
bool keyring_made_by(const struct keyring *k, enum key_purpose p, uint32_t key_id,
                     int64_t made_at) MUST_CHECK;
/* The key of a sealed text; 0 where it is too short. */
uint32_t keyring_sealed_by(struct bytes sealed);
/* HMAC-SHA256 over the parts, each prefixed with its length. False: no such key. */
bool keyring_mac(const struct keyring *k, enum key_purpose p, uint32_t key_id,
                 const struct bytes *parts, size_t n, uint8_t out[KEYRING_MAC_SIZE]) MUST_CHECK;

/* AES-256-GCM with a fresh nonce; `context` is authenticated (job id and name of the field). */
struct bytes keyring_seal(const struct keyring *k, struct arena *a, struct bytes clear,
                          struct bytes context);
/* ERR_INTERNAL where key, context or text are not those it was sealed with. */
enum err keyring_open_sealed(const struct keyring *k, struct arena *a, struct bytes sealed,
                             struct bytes context, struct bytes *clear,
                             struct err_info *e) MUST_CHECK;

#endif
