/*
 * What handlers may use: built once in server/main.c, read-only afterwards, shared by all threads.
 * The parts lock for themselves.
 */
#ifndef HANDLERS_APP_H
#define HANDLERS_APP_H

#include "core/clock.h"
#include "core/limiter.h"
#include "core/metrics.h"

#include <stdatomic.h>

struct store;
struct jobs;
struct keyring;
struct attest_trust;
struct policy_book;
struct attest_anchors;
struct attest_logs;
struct maa_keys;
struct seen;

struct app {
    struct store *store;
    struct jobs *jobs;
    struct keyring *keyring;
    struct attest_trust *trust;
    struct attest_logs *logs; /* NULL: none are kept */
    struct maa_keys *maa;     /* NULL: no provider is configured */
    const char *const *maa_policies;
    size_t n_maa_policies;
    struct seen *tokens_seen; /* jti of tokens that were used */
    struct policy_book *book;
    struct limiter *attest_by_peer;          /* challenges and reports, per address */
    struct limiter *attest_by_vm;            /* reports of a VM, per vmId */
    struct attest_anchors *document_anchors; /* of IMDS' attested documents */
    struct attest_anchors *ek_anchors;       /* of endorsement keys */
    struct metrics *metrics;
    const atomic_bool *draining; /* true from the first SIGTERM on: /readyz says no */
    const struct clock *clock;
    const char *public_url;   /* without a trailing slash: nextLink, Operation-Location, userData */
    int64_t challenge_ttl_ms; /* attestation.challenge_ttl */
    int64_t baseline_vms;     /* attestation.baseline_vms; 0: none is learned */
    int64_t max_age_ms;       /* attestation.max_age */
    int64_t result_ttl_ms;    /* attestation.result_ttl */
    bool sign_at_once;        /* attestation.result_signing: in the reply to a report, too */
};

#endif
