#include "attest/document.h"

#include "attest/wire.h"
#include "core/cleanup.h"
#include "core/json.h"

#include <openssl/err.h>
#include <openssl/pkcs7.h>
#include <openssl/x509v3.h>
#include <strings.h>

#define CONTENT_MAX  4096
#define SKEW_MS      (INT64_C(5) * 60 * 1000)
#define LIFETIME_MAX (INT64_C(24) * 60 * 60 * 1000)
#define CERTS_MAX    8

AUTO_DEFINE(pkcs7, PKCS7 *, PKCS7_free)
AUTO_DEFINE(bio, BIO *, BIO_free)
AUTO_DEFINE(names, GENERAL_NAMES *, GENERAL_NAMES_free)

static void free_borrowed(STACK_OF(X509) * s)
{
    sk_X509_free(s);
}
AUTO_DEFINE(signers, STACK_OF(X509) *, free_borrowed)

/* ---- envelope ---- */

/* RFC 2315, 9.1: one signer, the content inside, and a digest that still means something. Azure names
 * the digest by its signature algorithm (sha256WithRSAEncryption). */
static const char *check_envelope(const PKCS7 *p7)
{
    if (!PKCS7_type_is_signed(p7) || !p7->d.sign || PKCS7_get_detached((PKCS7 *)p7) ||
        !p7->d.sign->contents || !PKCS7_type_is_data(p7->d.sign->contents) ||
        !p7->d.sign->contents->d.data)
        return "document_malformed";
    STACK_OF(PKCS7_SIGNER_INFO) *infos = p7->d.sign->signer_info;
    if (sk_PKCS7_SIGNER_INFO_num(infos) != 1 || sk_X509_num(p7->d.sign->cert) < 1 ||
        sk_X509_num(p7->d.sign->cert) > CERTS_MAX ||
        ASN1_STRING_length(p7->d.sign->contents->d.data) > CONTENT_MAX)
        return "document_malformed";
    switch (OBJ_obj2nid(sk_PKCS7_SIGNER_INFO_value(infos, 0)->digest_alg->algorithm)) {
    case NID_sha256:
    case NID_sha384:
    case NID_sha512:
    case NID_sha256WithRSAEncryption:
    case NID_sha384WithRSAEncryption:
    case NID_sha512WithRSAEncryption:
        return NULL;
    default:
        return "document_signature";
    }
}

static PKCS7 *parse_envelope(struct bytes der)
{
    const unsigned char *at = der.data;
    if (der.len == 0 || der.len > EVIDENCE_DOCUMENT_MAX)
        return NULL;
    PKCS7 *p7 = d2i_PKCS7(NULL, &at, (long)der.len);
    if (p7 && at == der.data + der.len)
        return p7;
    PKCS7_free(p7);
    return NULL;
}

/* The content that the signer's key signed, in the arena; who the signer is comes later. */
static const char *open_envelope(PKCS7 *p7, struct arena *a, struct bytes *content)
{
    char *data = NULL;
    AUTO(bio) BIO *out = BIO_new(BIO_s_mem());
    if (!out)
        abort();
    if (PKCS7_verify(p7, NULL, NULL, NULL, out, PKCS7_NOVERIFY | PKCS7_BINARY) != 1)
        return "document_signature";
    long n = BIO_get_mem_data(out, &data);
    if (n <= 0 || n > CONTENT_MAX)
        return "document_malformed";
    *content = arena_copy(a, BYTES(data, (size_t)n));
    return NULL;
}

/* ---- signer ---- */

static bool is_metadata_host(const char *name, size_t n)
{
    /* Azure, US Government, China (operated by 21Vianet) */
    static const char *const hosts[] = {"metadata.azure.com", "metadata.azure.us",
                                        "metadata.azure.cn"};
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        size_t len = strlen(hosts[i]);
        if (n < len || strncasecmp(name + n - len, hosts[i], len) != 0)
            continue;
        if (n == len || name[n - len - 1] == '.')
            return true;
    }
    return false;
}

/* Every name of the certificate is one of the service: a broader one is another service's. */
static bool names_the_service(X509 *cert)
{
    AUTO(names) GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    int n = sk_GENERAL_NAME_num(names);
    for (int i = 0; i < n; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_DNS ||
            !is_metadata_host((const char *)ASN1_STRING_get0_data(name->d.dNSName),
                              (size_t)ASN1_STRING_length(name->d.dNSName)))
            return false;
    }
    return n > 0;
}

static const char *check_signer(PKCS7 *p7, const struct attest_document_input *in)
{
    AUTO(signers) STACK_OF(X509) *signers = PKCS7_get0_signers(p7, NULL, 0);
    if (sk_X509_num(signers) != 1)
        return "document_signature";
    X509 *signer = sk_X509_value(signers, 0);
    if (!names_the_service(signer))
        return "document_signer";
    switch (attest_anchors_check(in->anchors, signer, p7->d.sign->cert, in->now)) {
    case ANCHORS_TRUSTED:
        return NULL;
    case ANCHORS_EXPIRED:
        return "document_signer_expired";
    case ANCHORS_NONE:
        break;
    }
    return "document_chain";
}

/* ---- content ---- */

static bool two_digits(const char **at, int *out)
{
    const char *s = *at;
    if (s[0] < '0' || s[0] > '9' || s[1] < '0' || s[1] > '9')
        return false;
    *out = (s[0] - '0') * 10 + (s[1] - '0');
    *at = s + 2;
    return true;
}

static bool skip(const char **at, const char *text)
{
    size_t n = strlen(text);
    if (strncmp(*at, text, n) != 0)
        return false;
    *at += n;
    return true;
}

/* "11/20/18 22:08:24 -0000": month, day, year, always UTC. */
static bool parse_time(const char *s, int64_t *out)
{
    struct tm tm = {0};
    int month, year;
    if (!s || !two_digits(&s, &month) || !skip(&s, "/") || !two_digits(&s, &tm.tm_mday) ||
        !skip(&s, "/") || !two_digits(&s, &year) || !skip(&s, " ") ||
        !two_digits(&s, &tm.tm_hour) || !skip(&s, ":") || !two_digits(&s, &tm.tm_min) ||
        !skip(&s, ":") || !two_digits(&s, &tm.tm_sec) ||
        (strcmp(s, " -0000") != 0 && strcmp(s, " +0000") != 0))
        return false;
    if (month < 1 || month > 12 || tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23 ||
        tm.tm_min > 59 || tm.tm_sec > 60)
        return false;
    tm.tm_mon = month - 1;
    tm.tm_year = 100 + year;
    *out = (int64_t)timegm(&tm) * 1000;
    return true;
}

static const char *read_content(struct bytes text, struct arena *a, struct attest_document *out)
{
    AUTO(json) json_t *v = NULL;
    if (json_parse(text, &v, NULL) != OK)
        return "document_malformed";
    *out = (struct attest_document){
        .vm_id = arena_strdup(a, json_path_str(v, "vmId")),
        .subscription_id = arena_strdup(a, json_path_str(v, "subscriptionId")),
        .nonce = arena_strdup(a, json_path_str(v, "nonce")),
    };
    if (!out->vm_id || !out->subscription_id || !out->nonce ||
        !parse_time(json_path_str(v, "timeStamp/createdOn"), &out->created) ||
        !parse_time(json_path_str(v, "timeStamp/expiresOn"), &out->expires))
        return "document_malformed";
    return NULL;
}

static const char *check_content(const struct attest_document_input *in,
                                 const struct attest_document *d)
{
    char nonce[WIRE_DOCUMENT_NONCE_SIZE];
    wire_document_nonce(in->nonce, nonce);
    if (strcasecmp(d->vm_id, in->vm_id) != 0)
        return "document_vm";
    if (!bytes_equal_const_time(BYTES_STR(nonce), BYTES_STR(d->nonce)))
        return "document_nonce";
    if (d->expires <= in->now)
        return "document_expired";
    /* Ten digits can be met by chance: among documents that somebody collected beforehand. */
    if (d->created < in->asked_at - SKEW_MS || d->created > in->now + SKEW_MS ||
        d->expires - d->created > LIFETIME_MAX || d->expires < d->created)
        return "document_time";
    return NULL;
}

/*
 * `in` NULL: whoever signed it. Else the signer is judged first: a key that anybody may send, of 16384 bits
 * or on a curve of its own, costs a hundred times what the service's does.
 */
static const char *read_signed(PKCS7 *p7, const struct attest_document_input *in, struct arena *a,
                               struct attest_document *out)
{
    struct bytes content;
    const char *why = p7 ? check_envelope(p7) : "document_malformed";
    if (!why && in)
        why = check_signer(p7, in);
    if (!why)
        why = open_envelope(p7, a, &content);
    return why ? why : read_content(content, a, out);
}

const char *attest_document_read(struct bytes der, struct arena *a, struct attest_document *out)
{
    AUTO(pkcs7) PKCS7 *p7 = parse_envelope(der);
    const char *why = read_signed(p7, NULL, a, out);
    ERR_clear_error();
    return why;
}

const char *attest_document_verify(const struct attest_document_input *in, struct arena *a,
                                   struct attest_document *out)
{
    if (!attest_anchors_any(in->anchors))
        return "document_not_accepted";
    AUTO(pkcs7) PKCS7 *p7 = parse_envelope(in->der);
    const char *why = read_signed(p7, in, a, out);
    if (!why)
        why = check_content(in, out);
    ERR_clear_error();
    return why;
}
