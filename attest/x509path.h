/*
 * How every path of certificates is verified (RFC 5280, 6), whatever it is for: the time is given, RSA-2048
 * and SHA-2 at least, an anchor may be an intermediate. What a leaf is for is its user's question.
 */
#ifndef ATTEST_X509PATH_H
#define ATTEST_X509PATH_H

#include "core/cleanup.h"

#include <openssl/x509_vfy.h>
#include <stdbool.h>
#include <stdint.h>

AUTO_DEFINE(store_ctx, X509_STORE_CTX *, X509_STORE_CTX_free)

#define X509PATH_ISSUERS 6 /* between the leaf and the anchor, at most */

struct x509path {
    STACK_OF(X509) * trusted;   /* anchors */
    STACK_OF(X509) * untrusted; /* to build with */
    STACK_OF(X509_CRL) * crls;  /* NULL or empty: nothing is looked up */
    int64_t at;                 /* ms since 1970 */
};

/* Set up for X509_verify_cert; the stacks outlive it. The caller frees. */
X509_STORE_CTX *x509path_begin(const struct x509path *p, X509 *leaf);

#endif
