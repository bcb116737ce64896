/*
 * A JSON Web Token as it comes off the wire: compact JWS (RFC 7515, 7.1) whose header and payload are
 * JSON objects. Form only: nothing in it is trusted, and nothing that it names is ever fetched.
 */
#ifndef ATTEST_JWT_H
#define ATTEST_JWT_H

#include "attest/ak.h"
#include "core/json.h"

struct jwt {
    bool compact;             /* three segments; else nothing below is set */
    json_t *header, *payload; /* objects; jwt_done releases them */
    struct bytes signed_part; /* header.payload, as it was sent: what the signature is over */
    struct bytes signature;   /* may be empty */
};

/*
 * At most EVIDENCE_TOKEN_MAX bytes, canonical unpadded base64url, UTF-8 JSON without repeated keys and
 * at most JSON_DEPTH_MAX deep. NULL, or why it is not well-formed. What has another number of segments
 * is no compact JWS, which is no matter of form: `compact` is false. Release with jwt_done either way.
 */
const char *jwt_parse(struct bytes token, struct arena *a, struct jwt *out);
void jwt_done(struct jwt *t);

/* RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518, 3.3), whatever the header says. */
bool jwt_verify_rs256(const struct jwt *t, struct ak_loaded *key);

/* A member that is a string, or NULL. */
const char *jwt_text(const json_t *object, const char *name);
/* A NumericDate (RFC 7519, 2) in ms; false where it is absent, no number or out of range. */
bool jwt_time(const json_t *object, const char *name, int64_t *ms);

#endif
