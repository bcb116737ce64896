/*
 * A JSON Web Key Set (RFC 7517) of an attestation provider: its RSA keys, each built once, when the set
 * is read. Immutable and counted, so that verifying threads may hold one while another replaces it.
 *
 * A key comes from n and e, or, where the provider sends only a certificate, from x5c[0] (RFC 7517,
 * 4.7). The certificate is a container here: the set is trusted for where it came from.
 */
#ifndef ATTEST_JWKS_H
#define ATTEST_JWKS_H

#include "attest/ak.h"
#include "core/arena.h"
#include "core/err.h"

#define JWKS_SIZE_MAX ((size_t)256 * 1024)
#define JWKS_KEYS_MAX 64
#define JWKS_RSA_BITS 2048 /* least */

struct jwk {
    char *kid;
    struct ak_key key;
    struct ak_loaded *loaded; /* NULL: unfit */
    const char *unfit;        /* why the key cannot be used, or NULL */
};

struct jwks;

/* ERR_VALIDATION where the text is no key set or has no key with a kid. The caller releases. */
enum err jwks_parse(struct bytes text, struct jwks **out, struct err_info *e) MUST_CHECK;
struct jwks *jwks_hold(struct jwks *set);
void jwks_release(struct jwks *set); /* NULL is fine */
AUTO_DEFINE(jwks, struct jwks *, jwks_release)

#define DISCOVERY_SIZE_MAX ((size_t)64 * 1024)
#define JWKS_ADDRESS_MAX   1024

/*
 * Where the provider's key set is, from its discovery document (/.well-known/openid-configuration,
 * OpenID Connect Discovery 1.0, 3): the document must be of `issuer`, an origin, and name an address
 * at that very origin. In the arena. ERR_VALIDATION.
 */
enum err jwks_discover(struct bytes document, const char *issuer, struct arena *a,
                       const char **address, struct err_info *e) MUST_CHECK;

/* Keys that can verify. */
size_t jwks_usable(const struct jwks *set);
/* The keys of that kid, compared byte by byte: how many there are, with the first of them. */
size_t jwks_find(const struct jwks *set, const char *kid, const struct jwk **out);

#endif
