/*
 * Entra ID: OIDC discovery, keys and the token endpoint (client secret and federated assertion), and
 * the check of what ARM is handed as a bearer token.
 */
#ifndef EMULATOR_ENTRA_H
#define EMULATOR_ENTRA_H

#include "emulator/context.h"

/* Is the path one of Entra ID's: "/{tenant}/oauth2/v2.0/token" and the like? */
bool entra_owns(const struct http_request *req);
/* Answers it. */
void entra_handle(struct emulator *em, const struct http_request *req, struct http_response *resp);

/* A fresh access token for `audience` (no trailing slash needed); malloc'd. */
char *entra_token(struct emulator *em, const char *audience, const char *client_id,
                  const char *object_id);

struct entra_caller {
    char object_id[UUID_SIZE];
    char client_id[UUID_SIZE];
};

/* Judges an Authorization header for ARM. NULL where it is good, else ARM's error code, with the
 * message in `why`. */
const char *entra_check(struct emulator *em, const char *authorization, struct entra_caller *out,
                        char *why, size_t why_size);

/* Is this the id of a resource that tokens are given for ("https://management.azure.com/")? */
bool entra_knows_resource(const struct emulator *em, const char *resource);

/* The ids and secrets of the directory from the state, made where new, and the files that clients
 * read (client.json, federated.json, federated-token). */
enum err entra_open(struct emulator *em, struct err_info *e) MUST_CHECK;

#endif
