#include "attest/issuers.h"

#include "attest/pem.h"
#include "attest/words.h"
#include "attest/truststore.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#define PEM_BEGIN "-----BEGIN CERTIFICATE-----"
#define PEM_END   "-----END CERTIFICATE-----"

AUTO_DEFINE(bio, BIO *, BIO_free)
AUTO_DEFINE(pkcs7, PKCS7 *, PKCS7_free)
AUTO_DEFINE(aia, AUTHORITY_INFO_ACCESS *, AUTHORITY_INFO_ACCESS_free)
AUTO_DEFINE(crl_points, CRL_DIST_POINTS *, CRL_DIST_POINTS_free)

/* ---- one certificate ---- */

/* "Global Virtual TPM CA - 03" becomes "global-virtual-tpm-ca-03". */
static const char *file_name(const X509 *x, struct arena *a)
{
    char cn[96] = "";
    int n = X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, cn, sizeof cn);
    struct buf b = {0};
    for (int i = 0; i < n; i++) {
        char c = cn[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
            buf_add_char(&b, c);
        else if (b.len && b.data[b.len - 1] != '-')
            buf_add_char(&b, '-');
    }
    while (b.len && b.data[b.len - 1] == '-')
        b.len--;
    const char *name = b.len ? arena_strndup(a, b.data, b.len) : "issuer";
    buf_free(&b);
    return name;
}

static struct bytes der_of(const X509 *x, struct arena *a)
{
    unsigned char *der = NULL;
    int n = i2d_X509(x, &der);
    struct bytes out = n > 0 ? arena_copy(a, BYTES(der, (size_t)n)) : (struct bytes){0};
    OPENSSL_free(der);
    return out;
}

static struct issuer describe(const X509 *x, struct arena *a)
{
    struct issuer i = {.subject = words_name(a, X509_get_subject_name(x)),
                       .issued_by = words_name(a, X509_get_issuer_name(x)),
                       .name = file_name(x, a),
                       .not_before = x509_not_before(x),
                       .not_after = x509_not_after(x),
                       .der = der_of(x, a)};
    x509_fingerprint(i.der, i.sha256);
    return i;
}

static void verify(struct attest_trust *t, const struct trust_set *set, X509 *x,
                   STACK_OF(X509) * pool, int64_t now, struct arena *a, struct issuer *i)
{
    i->problem = truststore_verify(t, set, x, pool, now, a, &i->path).reason;
    if (i->problem && now > i->not_after)
        i->problem = "expired";
    else if (i->problem && now < i->not_before)
        i->problem = "not_yet_valid";
}

/* ---- the trust's own ---- */

struct issuer *issuers_list(struct attest_trust *t, int64_t now, struct arena *a, size_t *n)
{
    AUTO(trust_set) struct trust_set *set = truststore_hold(t);
    int anchors = sk_X509_num(set->anchors), all = anchors + sk_X509_num(set->intermediates);
    struct issuer *list = arena_array(a, (size_t)all + 1, sizeof *list);
    for (int i = 0; i < all; i++) {
        X509 *x = i < anchors ? sk_X509_value(set->anchors, i)
                              : sk_X509_value(set->intermediates, i - anchors);
        list[i] = describe(x, a);
        list[i].anchor = i < anchors;
        verify(t, set, x, NULL, now, a, &list[i]);
    }
    ERR_clear_error();
    *n = (size_t)all;
    return list;
}

/* ---- downloads ---- */

static size_t extract_der(struct bytes body, struct arena *a, struct bytes *out)
{
    AUTO(x509) X509 *x = x509_parse(body);
    if (!x)
        return 0;
    out[0] = arena_copy(a, body);
    return 1;
}

static size_t extract_pkcs7(struct bytes body, struct arena *a, struct bytes *out)
{
    const unsigned char *at = body.data;
    AUTO(pkcs7) PKCS7 *p7 = d2i_PKCS7(NULL, &at, (long)body.len);
    if (!p7 || !PKCS7_type_is_signed(p7) || !p7->d.sign)
        return 0;
    STACK_OF(X509) *certs = p7->d.sign->cert;
    size_t n = 0;
    for (int i = 0; i < sk_X509_num(certs) && n < ISSUERS_MAX; i++) {
        out[n] = der_of(sk_X509_value(certs, i), a);
        n += out[n].len > 0;
    }
    return n;
}

static struct bytes find_text(struct bytes in, const char *text)
{
    const uint8_t *at = memmem(in.data, in.len, text, strlen(text));
    return at ? BYTES(at, in.len - (size_t)(at - in.data)) : (struct bytes){0};
}

/* The base64 between the two lines, without the spaces and the markup that a page puts there. */
static struct bytes decode_pem(struct bytes body, struct arena *a)
{
    char *text = arena_alloc(a, body.len + 1);
    size_t n = 0;
    for (size_t i = 0; i < body.len; i++) {
        uint8_t c = body.data[i];
        if (c > ' ')
            text[n++] = (char)c;
    }
    uint8_t *der = arena_alloc(a, n + 1);
    size_t len = 0;
    if (n == 0 || !base64_decode(text, n, der, &len))
        return (struct bytes){0};
    return BYTES(der, len);
}

static size_t extract_pem(struct bytes body, struct arena *a, struct bytes *out)
{
    size_t n = 0;
    struct bytes rest = find_text(body, PEM_BEGIN);
    while (rest.len && n < ISSUERS_MAX) {
        rest = BYTES(rest.data + strlen(PEM_BEGIN), rest.len - strlen(PEM_BEGIN));
        struct bytes end = find_text(rest, PEM_END);
        if (!end.len)
            break;
        size_t len = (size_t)(end.data - rest.data);
        struct bytes der = {0};
        if (len <= 2 * EVIDENCE_CERT_MAX)
            der = decode_pem(BYTES(rest.data, len), a);
        AUTO(x509) X509 *x = x509_parse(der);
        if (x)
            out[n++] = der;
        rest = find_text(end, PEM_BEGIN);
    }
    return n;
}

size_t issuers_extract(struct bytes body, struct arena *a, struct bytes out[ISSUERS_MAX])
{
    if (body.len == 0 || body.len > ISSUERS_BODY_MAX)
        return 0;
    size_t n = extract_der(body, a, out);
    if (n == 0)
        n = extract_pkcs7(body, a, out);
    if (n == 0)
        n = extract_pem(body, a, out);
    ERR_clear_error();
    return n;
}

struct issuer *issuers_judge(struct attest_trust *t, const struct bytes *der, size_t n, int64_t now,
                             struct arena *a)
{
    AUTO(trust_set) struct trust_set *set = truststore_hold(t);
    struct issuer *list = arena_array(a, n + 1, sizeof *list);
    STACK_OF(X509) *pool = truststore_copy(NULL);
    for (size_t i = 0; i < n; i++) {
        AUTO(x509) X509 *x = x509_parse(der[i]);
        if (x)
            truststore_push(pool, x);
        else
            list[i].problem = "chain_invalid";
    }
    for (size_t i = 0, k = 0; i < n; i++) {
        if (list[i].problem)
            continue;
        X509 *x = sk_X509_value(pool, (int)k++);
        list[i] = describe(x, a);
        list[i].anchor = truststore_is_pinned(t, x);
        if (X509_check_ca(x) != 1)
            list[i].problem = "not_a_ca";
        else
            verify(t, set, x, pool, now, a, &list[i]);
    }
    truststore_free_stack(pool);
    ERR_clear_error();
    return list;
}

/* ---- CRLs ---- */

static X509_CRL *parse_crl(struct bytes in)
{
    const unsigned char *at = in.data;
    if (in.len == 0 || in.len > ISSUERS_BODY_MAX)
        return NULL;
    X509_CRL *crl = d2i_X509_CRL(NULL, &at, (long)in.len);
    if (crl)
        return crl;
    AUTO(bio) BIO *bio = BIO_new_mem_buf(in.data, (int)in.len);
    return bio ? PEM_read_bio_X509_CRL(bio, NULL, pem_no_passphrase, NULL) : NULL;
}

static bool signed_by(X509_CRL *crl, const struct issuer *by)
{
    AUTO(x509) X509 *x = x509_parse(by->der);
    EVP_PKEY *key = x ? X509_get0_pubkey(x) : NULL;
    return key && X509_NAME_cmp(X509_CRL_get_issuer(crl), X509_get_subject_name(x)) == 0 &&
           X509_CRL_verify(crl, key) == 1;
}

/* Addresses are http, so whoever is on the way may answer with what was good once: it would take back
 * what was revoked since. */
static bool is_outdated(struct attest_trust *t, const X509_CRL *crl, const struct issuer *by)
{
    AUTO(trust_set) struct trust_set *set = t ? truststore_hold(t) : NULL;
    for (int i = 0; set && i < sk_X509_CRL_num(set->crls); i++) {
        X509_CRL *held = sk_X509_CRL_value(set->crls, i);
        if (ASN1_TIME_compare(X509_CRL_get0_lastUpdate(held), X509_CRL_get0_lastUpdate(crl)) > 0 &&
            signed_by(held, by))
            return true;
    }
    return false;
}

static const char *judge_crl(struct attest_trust *t, X509_CRL *crl, const struct issuer *by,
                             size_t n, int64_t now, size_t *at)
{
    time_t when = (time_t)(now / 1000);
    size_t i = 0;
    while (i < n && !signed_by(crl, &by[i]))
        i++;
    if (i == n)
        return "it is not signed by one of the issuers";
    if (X509_cmp_time(X509_CRL_get0_lastUpdate(crl), &when) > 0)
        return "it is not in force yet";
    const ASN1_TIME *next = X509_CRL_get0_nextUpdate(crl);
    if (!next || X509_cmp_time(next, &when) < 0)
        return "it is out of date";
    *at = i;
    return is_outdated(t, crl, &by[i]) ? "a later one is held" : NULL;
}

const char *issuers_judge_crl(struct attest_trust *t, struct bytes in, const struct issuer *by,
                              size_t n, int64_t now, struct arena *a, struct bytes *out, size_t *at)
{
    AUTO(crl) X509_CRL *crl = parse_crl(in);
    const char *why = crl ? judge_crl(t, crl, by, n, now, at) : "it is no CRL";
    if (!why) {
        unsigned char *der = NULL;
        int len = i2d_X509_CRL(crl, &der);
        *out = len > 0 ? arena_copy(a, BYTES(der, (size_t)len)) : (struct bytes){0};
        OPENSSL_free(der);
    }
    ERR_clear_error();
    return why;
}

/* ---- where they are published ---- */

static const char *uri_of(const GENERAL_NAME *name, struct arena *a)
{
    if (name->type != GEN_URI)
        return NULL;
    const ASN1_IA5STRING *s = name->d.uniformResourceIdentifier;
    const unsigned char *text = ASN1_STRING_get0_data(s);
    int n = ASN1_STRING_length(s);
    if (n <= 0 || n > 1024)
        return NULL;
    for (int i = 0; i < n; i++)
        if (text[i] <= ' ' || text[i] >= 0x7f)
            return NULL;
    return arena_strndup(a, (const char *)text, (size_t)n);
}

static size_t certificate_urls(const X509 *x, struct arena *a, const char **out)
{
    AUTO(aia) AUTHORITY_INFO_ACCESS *aia = X509_get_ext_d2i(x, NID_info_access, NULL, NULL);
    size_t n = 0;
    for (int i = 0; i < sk_ACCESS_DESCRIPTION_num(aia) && n < ISSUERS_URLS_MAX; i++) {
        const ACCESS_DESCRIPTION *d = sk_ACCESS_DESCRIPTION_value(aia, i);
        if (OBJ_obj2nid(d->method) == NID_ad_ca_issuers && (out[n] = uri_of(d->location, a)))
            n++;
    }
    return n;
}

static size_t crl_urls(const X509 *x, struct arena *a, const char **out)
{
    AUTO(crl_points)
    CRL_DIST_POINTS *points = X509_get_ext_d2i(x, NID_crl_distribution_points, NULL, NULL);
    size_t n = 0;
    for (int i = 0; i < sk_DIST_POINT_num(points); i++) {
        const DIST_POINT *p = sk_DIST_POINT_value(points, i);
        if (!p->distpoint || p->distpoint->type != 0)
            continue;
        const GENERAL_NAMES *names = p->distpoint->name.fullname;
        for (int k = 0; k < sk_GENERAL_NAME_num(names) && n < ISSUERS_URLS_MAX; k++)
            if ((out[n] = uri_of(sk_GENERAL_NAME_value(names, k), a)))
                n++;
    }
    return n;
}

size_t issuers_urls(struct bytes der, enum issuer_url kind, struct arena *a,
                    const char *out[ISSUERS_URLS_MAX])
{
    AUTO(x509) X509 *x = x509_parse(der);
    if (!x)
        return 0;
    size_t n = kind == ISSUER_URL_CRL ? crl_urls(x, a, out) : certificate_urls(x, a, out);
    ERR_clear_error();
    return n;
}
