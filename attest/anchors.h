/*
 * Certificates that vouch for something else than an AK: signers of IMDS documents, endorsement keys.
 * Anchors are files that an operator names; intermediates come from the trust directory and from what was
 * sent, CRLs from that directory. Any thread.
 */
#ifndef ATTEST_ANCHORS_H
#define ATTEST_ANCHORS_H

#include "core/bytes.h"
#include "core/err.h"

#include <openssl/x509.h>
#include <stdint.h>

struct attest_anchors;

struct attest_anchors_options {
    const char *const *files; /* PEM or DER; every certificate in them is an anchor */
    size_t n_files;
    const char *dir; /* intermediates and CRLs, as attest_trust_options.trust_dir; NULL: none */
};

/* ERR_CONFIG where a file cannot be read or holds no certificate. The caller frees. */
enum err attest_anchors_open(const struct attest_anchors_options *o, struct attest_anchors **out,
                             struct err_info *e) MUST_CHECK;
void attest_anchors_free(struct attest_anchors *t); /* NULL is fine */
/* Reads the files again, as attest_trust_reload. */
enum err attest_anchors_reload(struct attest_anchors *t, bool *changed,
                               struct err_info *e) MUST_CHECK;
/* False: no anchor is configured, so nothing can be believed. */
bool attest_anchors_any(const struct attest_anchors *t);

enum anchors_path {
    ANCHORS_TRUSTED,
    ANCHORS_EXPIRED, /* a certificate of the path, at that time */
    ANCHORS_NONE,    /* no path to an anchor */
};
/* The path from `leaf` to an anchor, over `sent` (may be NULL) and the directory, at `at` (ms since
 * 1970). Keys below 112 bits and SHA-1 do not count. */
enum anchors_path attest_anchors_check(const struct attest_anchors *t, X509 *leaf,
                                       const STACK_OF(X509) * sent, int64_t at);

#endif
