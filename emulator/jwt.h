/*
 * JSON Web Tokens with RS256 (RFC 7515, RFC 7518 section 3.3), as Entra ID signs them.
 */
#ifndef EMULATOR_JWT_H
#define EMULATOR_JWT_H

#include "core/json.h"

#include <openssl/evp.h>

enum jwt_result {
    JWT_OK,
    JWT_MALFORMED,
    JWT_BAD_SIGNATURE, /* also: another alg than RS256 */
};

/* Signs `claims` under a header of one's own (alg must be RS256); the text is malloc'd. */
char *jwt_sign_with(EVP_PKEY *key, const json_t *header, const json_t *claims);
/* The same under Entra ID's header. */
char *jwt_sign(EVP_PKEY *key, const char *kid, const json_t *claims);
/* JWT_OK sets *claims (the caller's): signature only, no claim is judged. */
enum jwt_result jwt_verify(const char *token, EVP_PKEY *key, json_t **claims) MUST_CHECK;
/* The public part as a JWK with kid, use and alg, a new object. */
json_t *jwt_jwk(EVP_PKEY *key, const char *kid);

#endif
