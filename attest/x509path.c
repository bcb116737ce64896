#include "attest/x509path.h"

#include <openssl/x509v3.h>
#include <stdlib.h>

#define AUTH_LEVEL 2 /* 112 bits: RSA-2048, SHA-2 */

/*
 * A CRL that is not there or out of date stops nobody (RFC 5280, 6.3.3 leaves it to the caller): the
 * leaves name none. Nor does one that is about other certificates of the issuer, or from another of its
 * distribution points. Whom any of them lists is refused all the same. One that the issuer signed counts,
 * whether or not its certificate says that it signs CRLs; one that somebody else signed is refused.
 */
static int tolerate_missing_crls(int ok, X509_STORE_CTX *ctx)
{
    switch (X509_STORE_CTX_get_error(ctx)) {
    case X509_V_ERR_UNABLE_TO_GET_CRL:
    case X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER:
    case X509_V_ERR_CRL_HAS_EXPIRED:
    case X509_V_ERR_CRL_NOT_YET_VALID:
    case X509_V_ERR_DIFFERENT_CRL_SCOPE:
    case X509_V_ERR_KEYUSAGE_NO_CRL_SIGN:
        return 1;
    default:
        return ok;
    }
}

static void set_crls(X509_STORE_CTX *ctx, X509_VERIFY_PARAM *param, STACK_OF(X509_CRL) * crls)
{
    if (sk_X509_CRL_num(crls) <= 0)
        return;
    X509_STORE_CTX_set0_crls(ctx, crls);
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
    X509_STORE_CTX_set_verify_cb(ctx, tolerate_missing_crls);
}

X509_STORE_CTX *x509path_begin(const struct x509path *p, X509 *leaf)
{
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    if (!ctx || X509_STORE_CTX_init(ctx, NULL, leaf, p->untrusted) != 1)
        abort();
    X509_STORE_CTX_set0_trusted_stack(ctx, p->trusted);
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_time(param, (time_t)(p->at / 1000));
    X509_VERIFY_PARAM_set_depth(param, X509PATH_ISSUERS);
    X509_VERIFY_PARAM_set_auth_level(param, AUTH_LEVEL);
    /* The AK's only usage is 2.23.133.8.3, which no built-in purpose knows: akcert.c checks it. An
     * anchor that an operator names may be an intermediate. */
    X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_ANY);
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
    set_crls(ctx, param, p->crls);
    return ctx;
}
