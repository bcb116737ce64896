/*
 * Fetches the issuers of AK certificates into the trust directory: from a table of their published
 * addresses, and from the addresses that certificates name for their own issuers. Only what leads to a
 * pinned root is written, by rename, so that a gateway may read the directory meanwhile. One thread.
 */
#ifndef SERVER_TRUST_FETCH_H
#define SERVER_TRUST_FETCH_H

#include "attest/issuers.h"

struct trust_fetch_options {
    struct attest_trust_options trust; /* trust_dir is needed */
    const struct bytes *certificates;  /* DER, such as AKs whose issuers are wanted */
    size_t n_certificates;
    const char *base_url; /* see trust_http.h */
    int64_t timeout_ms;
    int64_t now;
};

/* What became of one address or certificate. Texts in the arena. */
struct trust_fetch_line {
    const char *status; /* written, unchanged, refused, failed */
    const char *what;   /* a certificate's subject, or what was asked for */
    const char *detail; /* the file, or why not */
    const char *url;    /* where it came from; NULL: nowhere */
    bool optional;      /* a failure of the whole does not follow from it */
};

/* OK with the lines, whatever each of them says; ERR_CONFIG: the directory cannot be used. *complete:
 * every source gave an issuer. */
enum err trust_fetch(const struct trust_fetch_options *o, struct arena *a,
                     struct trust_fetch_line **lines, size_t *n, bool *complete,
                     struct err_info *e) MUST_CHECK;

#endif
