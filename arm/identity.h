/*
 * The token of one identity: cached, refreshed ahead of its end, fetched once at a time. Inside arm/
 * only, on the client's thread only. Requests never wait while a valid token is there.
 */
#ifndef ARM_IDENTITY_H
#define ARM_IDENTITY_H

#include "arm/arm.h"
#include "arm/http.h"

struct arm_identity_token {
    const struct arm_identity *cfg;
    const char *imds;
    struct arm_http *http;
    const struct clock *clock;
    /* Called after each fetch, whether it worked or not. */
    void (*changed)(struct arm_identity_token *t);
    void *ctx;

    unsigned generation; /* counts tokens: tells whether a refused one is still the current one */
    uint64_t fetched;
    uint64_t failed;
    struct err_info error; /* of the last fetch; code OK: it worked */

    /* private */
    struct arena *arena;  /* of the token */
    struct secret bearer; /* "Bearer ..." */
    int64_t fetched_at;   /* mono, so the next two */
    int64_t refresh_at;
    int64_t expires_at;
    bool used;      /* since it was fetched */
    unsigned fails; /* in a row */
    int64_t retry_at;
    struct arm_http_call call;
    struct arena *call_arena; /* NULL: no fetch is going on */
};

/* Zeroes t and fills its first part. */
void arm_identity_init(struct arm_identity_token *t, const struct arm_identity *cfg,
                       const char *imds, struct arm_http *http, const struct clock *clock);
void arm_identity_wipe(struct arm_identity_token *t);

/* The header value "Bearer ..."; NULL where there is no valid token. */
const char *arm_identity_bearer(struct arm_identity_token *t);
/* ARM refused the token of that generation: forget it. */
void arm_identity_drop(struct arm_identity_token *t, unsigned generation);
/* Starts a fetch where one is due: `wanted` says that somebody waits. */
void arm_identity_tick(struct arm_identity_token *t, bool wanted);
/* Mono ms of the next tick that can matter. */
int64_t arm_identity_due(const struct arm_identity_token *t, bool wanted);
/* There is no token, and there will be none soon: `error` says why, *retry_ms when to come again. */
bool arm_identity_hopeless(const struct arm_identity_token *t, int64_t *retry_ms);

#endif
