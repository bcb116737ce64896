/*
 * The gateway as the agent sees it: ask for a challenge, hand in a report.
 *
 * An answer of any status is a struct guest_answer; only what brings no answer is an error. One thread;
 * results live in the arena.
 */
#ifndef GUEST_GATEWAY_H
#define GUEST_GATEWAY_H

#include "attest/wire.h"
#include "guest/http.h"

struct guest_gateway {
    struct guest_http *http;
    const char *url; /* without a slash at its end */
    const char *vm_id;
};

/* What the gateway said. */
struct guest_answer {
    long status;
    const char *code;    /* of a problem ("not_enrolled"), or "" */
    const char *detail;  /* of a problem, or "" */
    const char *verdict; /* of a report, or "" */
    const char *body;    /* as it came */
    int64_t retry_after_ms;
};

struct guest_challenge {
    const char *id;
    struct bytes nonce;
    enum pcr_bank bank;
    uint32_t pcrs; /* bit i: PCR i */
};

/* ERR_UNAVAILABLE where no answer came. With status 201 *out is filled; a 201 that cannot be used is
 * ERR_UPSTREAM. Otherwise only *answer is. */
enum err guest_gateway_challenge(const struct guest_gateway *g, struct arena *a,
                                 struct guest_challenge *out, struct guest_answer *answer,
                                 struct err_info *e) MUST_CHECK;

struct guest_credential {
    const char *id;
    struct bytes blob;   /* TPM2B_ID_OBJECT */
    struct bytes secret; /* TPM2B_ENCRYPTED_SECRET */
};

/* A credential for this AK that only the TPM of this EK can open. As guest_gateway_challenge. */
enum err guest_gateway_activation(const struct guest_gateway *g, struct bytes ek_certificate,
                                  struct bytes ak_public, struct arena *a,
                                  struct guest_credential *out, struct guest_answer *answer,
                                  struct err_info *e) MUST_CHECK;

/* Hands in evidence as CBOR. */
enum err guest_gateway_report(const struct guest_gateway *g, const struct evidence *evidence,
                              struct arena *a, struct guest_answer *answer,
                              struct err_info *e) MUST_CHECK;

/* A challenge, a credential as the gateway sends it. ERR_UPSTREAM where it cannot be used. */
enum err guest_challenge_parse(struct bytes body, struct arena *a, struct guest_challenge *out,
                               struct err_info *e) MUST_CHECK;
enum err guest_credential_parse(struct bytes body, struct arena *a, struct guest_credential *out,
                                struct err_info *e) MUST_CHECK;

#endif
