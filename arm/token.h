/*
 * Tokens of Microsoft Entra ID: the request for one and its answer. Pure, but for reading the
 * secret's or assertion's file. Inside arm/ only.
 */
#ifndef ARM_TOKEN_H
#define ARM_TOKEN_H

#include "arm/arm.h"

#define ARM_TOKEN_MAX      16384 /* bytes of an access token */
#define ARM_TOKEN_FILE_MAX 65536
#define ARM_TOKEN_IMDS     "http://169.254.169.254"

struct arm_token_request {
    enum arm_method method;
    const char *url;
    struct bytes form; /* application/x-www-form-urlencoded; empty for IMDS */
    bool imds;         /* header Metadata: true, plain HTTP, no proxy */
};

/*
 * The request for `id`, whose endpoint, authority and audience are set. Everything is in the arena,
 * which holds the secret and has to be freed soon. ERR_CONFIG where a file cannot be used.
 */
enum err arm_token_request(struct arena *a, const struct arm_identity *id, const char *imds,
                           struct arm_token_request *out, struct err_info *e) MUST_CHECK;

struct arm_token {
    struct secret text;
    int64_t lifetime_ms;
};

/* The answer. On failure e says why without secrets (upstream_code: "AADSTS7000215");
 * ERR_UPSTREAM_FORBIDDEN is permanent, anything else is worth another try. */
enum err arm_token_read(struct arena *a, const struct arm_identity *id, const struct arm_reply *r,
                        struct arm_token *out, struct err_info *e) MUST_CHECK;

#endif
