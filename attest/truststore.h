/*
 * Inside of struct attest_trust: anchors, intermediates, CRLs, and what was verified with them before.
 *
 * A set of certificates never changes; a reload puts another one in its place and forgets what was
 * verified with the old one. So a path that was verified once holds for as long as every certificate on
 * it is valid, the set is the same and the same certificates come with the leaf: without them there may be no
 * path, and among others OpenSSL may choose another one. All functions lock for themselves.
 */
#ifndef ATTEST_TRUSTSTORE_H
#define ATTEST_TRUSTSTORE_H

#include "attest/akcert.h"
#include "attest/attest.h"

#include <pthread.h>

#define TRUST_CACHE_SLOTS   4096
#define TRUST_CACHE_ISSUERS 64
#define TRUST_CACHE_CHAINS  64

AUTO_DEFINE(crl, X509_CRL *, X509_CRL_free)

/* Counted: verifications under way go on with the set that they began with. */
struct trust_set {
    int refs;
    STACK_OF(X509) * anchors;
    STACK_OF(X509) * intermediates;
    STACK_OF(X509_CRL) * crls;
    int64_t expires;
    uint8_t digest[32]; /* of what is in it, whatever the order */
};

/* From when to when a verified path holds (ms since 1970). */
struct trust_window {
    int64_t from, to;
};

/* What was sent beside a leaf, byte by byte. Many VMs send the same. */
struct known_chain {
    size_t n;
    struct bytes parts[EVIDENCE_CHAIN_MAX];
    uint8_t *block; /* that holds them */
};

struct known_issuer {
    X509 *ca;
    struct trust_window window;
    size_t chain; /* index in `chains` */
};

struct known_leaf {
    struct ak_cert *leaf;
    struct trust_window window;
    size_t chain;
};

struct attest_trust {
    struct attest_trust_options options; /* own copies */
    pthread_mutex_t lock;                /* over what follows */
    struct trust_set *set;
    struct known_leaf slots[TRUST_CACHE_SLOTS];
    struct known_issuer issuers[TRUST_CACHE_ISSUERS];
    size_t n_issuers;
    struct known_chain chains[TRUST_CACHE_CHAINS];
    size_t n_chains;
    /* Of pins, without a certificate: what OpenSSL makes of a key costs as much as a signature or two.
     * It is a function of the key alone, so that none of these is ever wrong. */
    struct ak_loaded *keys[TRUST_CACHE_SLOTS];
    unsigned turn; /* who goes next where a set of slots is full */
};

/* ---- the set (trustload.c) ---- */

struct trust_set *truststore_hold(struct attest_trust *t);
void truststore_release(struct trust_set *s); /* NULL is fine */
AUTO_DEFINE(trust_set, struct trust_set *, truststore_release)

/* One of Azure's roots: pinned by fingerprint, wherever the certificate comes from. */
bool truststore_is_pinned(const struct attest_trust *t, const X509 *x);
STACK_OF(X509) * truststore_copy(STACK_OF(X509) * from); /* NULL: an empty one */
void truststore_push(STACK_OF(X509) * stack, X509 *x);   /* takes a reference of its own */
void truststore_free_stack(STACK_OF(X509) * stack);

/* ---- paths (truststore.c) ---- */

/* A certificate whose path was verified, of this DER; held for the caller. NULL where it is not in the
 * cache. */
struct ak_cert *truststore_find(struct attest_trust *t, struct bytes der);

/* The key as it was kept before, held for the caller; NULL: it was not. Whoever keeps one says that it is
 * pinned: nobody else can drive others' keys out. */
struct ak_loaded *truststore_find_key(struct attest_trust *t, const struct ak_key *key);
void truststore_keep_key(struct attest_trust *t, struct ak_loaded *k);

/* Why no path leads to an anchor; reason NULL: one does. Texts are static or in the arena. */
struct path_fault {
    const char *reason; /* of ak.chain */
    const char *expected, *found;
};

/* Is there a path of valid certificates from the leaf to an anchor at the time `at` (ms), by way of the
 * set's certificates and those of in->evidence? The reason
 * "issuer_missing" says that it cannot be said for want of a certificate. */
struct path_fault truststore_check_path(const struct attest_input *in, struct ak_cert *leaf,
                                        int64_t at, struct arena *a);

/* The same for any certificate, with `untrusted` beside the set's own; nothing is remembered. *path
 * (may be NULL) gets the subjects on it, the certificate's first. */
struct path_fault truststore_verify(struct attest_trust *t, const struct trust_set *set, X509 *x,
                                    STACK_OF(X509) * untrusted, int64_t at, struct arena *a,
                                    const char **path);

/* Forgets what was verified. The caller holds the lock. */
void truststore_forget(struct attest_trust *t);

#endif
