#include "attest/ekcert.h"

#include "attest/akcert.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <strings.h>

#define EKU_EK_CERTIFICATE "2.23.133.8.1" /* tcg-kp-EKCertificate */

AUTO_DEFINE(ekus, EXTENDED_KEY_USAGE *, EXTENDED_KEY_USAGE_free)

/* EK Credential Profile, 3.2.16: the usage is optional; where there is one, this must be in it. */
static bool usage_allows(X509 *x)
{
    AUTO(ekus) EXTENDED_KEY_USAGE *eku = X509_get_ext_d2i(x, NID_ext_key_usage, NULL, NULL);
    for (int i = 0; i < sk_ASN1_OBJECT_num(eku); i++) {
        char oid[64];
        int n = OBJ_obj2txt(oid, sizeof oid, sk_ASN1_OBJECT_value(eku, i), 1);
        if (n > 0 && !strcmp(oid, EKU_EK_CERTIFICATE))
            return true;
    }
    return !eku;
}

/* It decrypts or agrees on keys and does not sign: an AK's or a server's certificate is no EK's. */
static const char *check_leaf(X509 *x, struct ek_cert *out)
{
    uint32_t flags = X509_get_extension_flags(x);
    out->key = X509_get0_pubkey(x);
    if (!out->key)
        return "ek_malformed";
    if (flags & (EXFLAG_CA | EXFLAG_INVALID) || !usage_allows(x))
        return "ek_usage";
    if (!(X509_get_key_usage(x) & (KU_KEY_ENCIPHERMENT | KU_KEY_AGREEMENT)))
        return "ek_usage";
    return NULL;
}

static bool hash_spki(EVP_PKEY *key, uint8_t out[32])
{
    unsigned char *der = NULL;
    int n = i2d_PUBKEY(key, &der);
    bool good = n > 0 && EVP_Digest(der, (size_t)n, out, NULL, EVP_sha256(), NULL) == 1;
    OPENSSL_free(der);
    return good;
}

static const char *check_path(const struct attest_anchors *anchors, X509 *leaf,
                              const struct bytes *chain, size_t n_chain, int64_t now)
{
    STACK_OF(X509) *sent = sk_X509_new_null();
    const char *why = sent ? NULL : "ek_chain";
    for (size_t i = 0; i < n_chain && !why; i++) {
        X509 *x = x509_parse(chain[i]);
        if (!x || sk_X509_push(sent, x) <= 0)
            why = "ek_malformed";
    }
    enum anchors_path path = why ? ANCHORS_NONE : attest_anchors_check(anchors, leaf, sent, now);
    sk_X509_pop_free(sent, X509_free);
    if (why || path == ANCHORS_TRUSTED)
        return why;
    return path == ANCHORS_EXPIRED ? "ek_expired" : "ek_chain";
}

const char *ek_cert_verify(const struct attest_anchors *anchors, struct bytes der,
                           const struct bytes *chain, size_t n_chain, int64_t now,
                           struct ek_cert *out)
{
    *out = (struct ek_cert){0};
    if (!attest_anchors_any(anchors))
        return "ek_not_accepted";
    out->x509 = x509_parse(akcert_strip(der));
    const char *why = out->x509 ? check_leaf(out->x509, out) : "ek_malformed";
    if (!why && !hash_spki(out->key, out->spki_sha256))
        why = "ek_malformed";
    if (!why)
        why = check_path(anchors, out->x509, chain, n_chain, now);
    if (why)
        ek_cert_free(out);
    ERR_clear_error();
    return why;
}

/* Several common names are none: which of them names the VM is anybody's guess. */
bool ek_cert_names(const struct ek_cert *ek, const char *vm_id)
{
    char cn[128];
    X509_NAME *subject = X509_get_subject_name(ek->x509);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    int n = X509_NAME_get_text_by_NID(subject, NID_commonName, cn, sizeof cn);
    if (at >= 0 && X509_NAME_get_index_by_NID(subject, NID_commonName, at) >= 0)
        return false;
    size_t want = strlen(vm_id);
    if (n < (int)want || strlen(cn) != (size_t)n || want == 0)
        return false;
    const char *tail = cn + (size_t)n - want;
    return strcasecmp(tail, vm_id) == 0 && (tail == cn || tail[-1] == ':');
}

void ek_cert_free(struct ek_cert *ek)
{
    X509_free(ek->x509);
    *ek = (struct ek_cert){0};
}
