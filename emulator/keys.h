/*
 * The emulator's own keys: its development CA with a server certificate, the key that signs access
 * tokens, and the key of the federated issuer. Made at the first start, kept in the state directory
 * (keys 0600); the server certificate is issued anew at every start. Read-only afterwards.
 */
#ifndef EMULATOR_KEYS_H
#define EMULATOR_KEYS_H

#include "core/clock.h"
#include "core/err.h"

#include <openssl/x509.h>

struct keys {
    char *server_cert; /* PEM: server certificate, then the CA */
    char *server_key;  /* PEM */
    EVP_PKEY *token;   /* RSA-2048: access tokens (RS256) */
    EVP_PKEY *federated;
    char token_kid[44]; /* base64url SHA-256 of the token key's SPKI */
    char federated_kid[44];
    X509 *metadata_cert; /* of metadata.azure.com, issued by the CA at every start */
    EVP_PKEY *metadata;  /* RSA-2048: attested documents */
};

enum err keys_open(const char *dir, const struct clock *clock, struct keys *out,
                   struct err_info *e) MUST_CHECK;
void keys_close(struct keys *k);

/* Replaces dir/name by rename, with mode 0600 where `secret`. */
enum err keys_write_file(const char *dir, const char *name, const char *text, bool secret,
                         struct err_info *e) MUST_CHECK;

#endif
