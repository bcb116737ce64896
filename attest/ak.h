/*
 * The attestation key: its public material, its OpenSSL key (built by fromdata, never through the
 * PEM or DER decoders, which cost several times a verification) and its SubjectPublicKeyInfo, whose
 * SHA-256 is how the key is pinned: a renewed certificate keeps the key.
 */
#ifndef ATTEST_AK_H
#define ATTEST_AK_H

#include "attest/tpm.h"
#include "core/cleanup.h"

#include <openssl/evp.h>

AUTO_DEFINE(pkey, EVP_PKEY *, EVP_PKEY_free)

#define AK_COORD_MAX 66
#define AK_RSA_MAX   512

enum ak_kind { AK_RSA, AK_P256, AK_P384 };

/* Big-endian, without leading zeros (RSA) or padded to the field's size (ECC). */
struct ak_key {
    enum ak_kind kind;
    uint8_t n[AK_RSA_MAX]; /* modulus, or the point's x and y one after the other */
    size_t n_len;
    uint32_t e;
};

/* NULL, or why the key is not one that can be used. */
const char *ak_key_of_public(const struct tpm_public *p, struct ak_key *out);
/* Of a decoded key of a certificate or PEM file. */
const char *ak_key_of_pkey(EVP_PKEY *pkey, struct ak_key *out);
bool ak_key_equal(const struct ak_key *a, const struct ak_key *b);
size_t ak_key_bits(const struct ak_key *k);

/*
 * A key as OpenSSL verifies with it. Counted and shared by threads. To set OpenSSL up for a signature costs
 * a fifth of verifying one, so the setting that verified last is kept for whoever comes next with the
 * same scheme and hash; who finds it taken makes one. So are the Names of the public area that came last.
 */
struct ak_setting;
struct ak_named;
struct ak_loaded {
    int refs;
    struct ak_key key;
    EVP_PKEY *pkey;
    uint8_t spki_sha256[32];
    /* NULL, or of nobody: taken and put back in one exchange */
    struct ak_setting *spare;
    struct ak_named *named;
};

/* NULL where OpenSSL refuses it (a point that is not on the curve). The caller releases. */
struct ak_loaded *ak_load(const struct ak_key *k);
struct ak_loaded *ak_loaded_hold(struct ak_loaded *k);
void ak_loaded_release(struct ak_loaded *k); /* NULL is fine */
AUTO_DEFINE(ak_loaded, struct ak_loaded *, ak_loaded_release)

/* DER SubjectPublicKeyInfo (RFC 5280, 4.1.2.7), in the arena. */
struct bytes ak_key_spki(const struct ak_key *k, struct arena *a);
void ak_key_spki_sha256(const struct ak_key *k, uint8_t out[32]);

/* A public area's Name and what it signs as if it is a primary key of the endorsement hierarchy. */
struct ak_names {
    uint8_t name[66], qualified[66];
    size_t len; /* of either */
};
/* `k`: the loaded key of the same AK, which remembers; may be NULL. */
void ak_names_of(struct ak_loaded *k, const struct tpm_public *p, struct ak_names *out);

/* The signature over `message`, with exactly the scheme and hash that `sig` names. */
bool ak_verify(struct ak_loaded *k, const struct tpm_signature *sig, struct bytes message);

#endif
