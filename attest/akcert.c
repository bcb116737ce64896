#include "attest/akcert.h"

#include "attest/hash.h"
#include "attest/words.h"

#include <openssl/x509v3.h>

#define EKU_AIK_CERTIFICATE "2.23.133.8.3" /* tcg-kp-AIKCertificate */

AUTO_DEFINE(eku, EXTENDED_KEY_USAGE *, EXTENDED_KEY_USAGE_free)
AUTO_DEFINE(policies, CERTIFICATEPOLICIES *, CERTIFICATEPOLICIES_free)

static int64_t time_ms(const ASN1_TIME *t)
{
    struct tm tm = {0};
    if (!t || ASN1_TIME_to_tm(t, &tm) != 1)
        return 0;
    return (int64_t)timegm(&tm) * 1000;
}

int64_t x509_not_before(const X509 *x)
{
    return time_ms(X509_get0_notBefore(x));
}

int64_t x509_not_after(const X509 *x)
{
    return time_ms(X509_get0_notAfter(x));
}

void x509_fingerprint(struct bytes der, uint8_t out[32])
{
    hash_digest(BANK_SHA256, der, out);
}

X509 *x509_parse(struct bytes der)
{
    if (der.len == 0 || der.len > EVIDENCE_CERT_MAX)
        return NULL;
    const unsigned char *p = der.data;
    X509 *x = d2i_X509(NULL, &p, (long)der.len);
    if (x && p != der.data + der.len) {
        X509_free(x);
        return NULL;
    }
    return x;
}

/* The outer SEQUENCE tells how long the certificate is (X.690, 8.1.3). */
struct bytes akcert_strip(struct bytes in)
{
    struct cursor c = cursor_of(in);
    if (cursor_u8(&c) != 0x30)
        return (struct bytes){0};
    size_t len = cursor_u8(&c);
    if (len == 0x81)
        len = cursor_u8(&c);
    else if (len == 0x82)
        len = cursor_u16be(&c);
    else if (len >= 0x80)
        return (struct bytes){0};
    cursor_take(&c, len);
    if (c.bad)
        return (struct bytes){0};
    for (size_t i = 0; i < c.left; i++)
        if (c.at[i] != 0)
            return (struct bytes){0};
    return BYTES(in.data, in.len - c.left);
}

static void problem(struct ak_cert *c, const char *reason)
{
    if (c->n_problems < ARRAY_LEN(c->problems))
        c->problems[c->n_problems++] = reason;
}

static bool has_aik_eku(X509 *x)
{
    AUTO(eku) EXTENDED_KEY_USAGE *eku = X509_get_ext_d2i(x, NID_ext_key_usage, NULL, NULL);
    for (int i = 0; i < sk_ASN1_OBJECT_num(eku); i++) {
        char oid[64];
        int n = OBJ_obj2txt(oid, sizeof oid, sk_ASN1_OBJECT_value(eku, i), 1);
        if (n > 0 && strcmp(oid, EKU_AIK_CERTIFICATE) == 0)
            return true;
    }
    return false;
}

static void read_subject(struct ak_cert *c)
{
    X509_NAME *name = X509_get_subject_name(c->x509);
    int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    if (at < 0 || X509_NAME_get_index_by_NID(name, NID_commonName, at) >= 0)
        return;
    ASN1_STRING *s = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));
    int n = ASN1_STRING_length(s);
    const unsigned char *text = ASN1_STRING_get0_data(s);
    if (n <= 0 || (size_t)n >= sizeof c->subject)
        return;
    for (int i = 0; i < n; i++)
        if (text[i] < 0x20 || text[i] >= 0x7f)
            return;
    memcpy(c->subject, text, (size_t)n);
}

/* Azure's are 1.3.6.1.4.1.311.108 (Trusted Launch) and ...108.200.2 (confidential VMs), seen in too few
 * certificates to ask for them. */
static void read_policies(struct ak_cert *c)
{
    AUTO(policies)
    CERTIFICATEPOLICIES *all = X509_get_ext_d2i(c->x509, NID_certificate_policies, NULL, NULL);
    size_t used = 0;
    for (int i = 0; i < sk_POLICYINFO_num(all); i++) {
        char oid[64];
        int n = OBJ_obj2txt(oid, sizeof oid, sk_POLICYINFO_value(all, i)->policyid, 1);
        if (n <= 0 || (size_t)n >= sizeof oid || used + (size_t)n + 2 > sizeof c->policies)
            break;
        used += (size_t)snprintf(c->policies + used, sizeof c->policies - used, "%s%s",
                                 used ? " " : "", oid);
    }
}

static void check_key(struct ak_cert *c)
{
    EVP_PKEY *own = X509_get0_pubkey(c->x509);
    const char *why = own ? ak_key_of_pkey(own, &c->key) : "unreadable";
    if (why) {
        problem(c, "key_type");
        return;
    }
    c->loaded = ak_load(&c->key);
    if (!c->loaded || (c->key.kind == AK_RSA && (ak_key_bits(&c->key) < 2048 || c->key.e != 65537)))
        problem(c, "weak_key");
}

static void check_signature_algorithm(struct ak_cert *c)
{
    int md = NID_undef, pk = NID_undef;
    X509_get_signature_info(c->x509, &md, &pk, NULL, NULL);
    if (md != NID_sha256 && md != NID_sha384 && md != NID_sha512)
        problem(c, "signature_algorithm");
    c->rsa_only = c->key.kind == AK_RSA && pk == NID_rsaEncryption;
}

static void check_extensions(struct ak_cert *c)
{
    X509 *x = c->x509;
    uint32_t flags = X509_get_extension_flags(x);
    if (X509_get_version(x) != X509_VERSION_3)
        problem(c, "version");
    if (flags & (EXFLAG_INVALID | EXFLAG_CRITICAL))
        problem(c, "critical_extension");
    /* X509_check_ca overlooks a CA:TRUE whose key usage is not keyCertSign */
    if (flags & EXFLAG_CA || X509_check_ca(x) > 0)
        problem(c, "ca_true");
    uint32_t usage = X509_get_key_usage(x); /* all ones where the extension is absent */
    if (!(usage & KU_DIGITAL_SIGNATURE))
        problem(c, "key_usage");
    c->only_digital_signature = usage == KU_DIGITAL_SIGNATURE;
    if (!has_aik_eku(x))
        problem(c, "eku_missing");
}

struct ak_cert *akcert_parse(struct bytes in, const char **why)
{
    struct bytes der = akcert_strip(in);
    if (der.len == 0) {
        *why = "not a DER certificate, or bytes other than zero follow it";
        return NULL;
    }
    AUTO(x509) X509 *x = x509_parse(der);
    if (!x) {
        *why = "not a DER certificate";
        return NULL;
    }
    struct ak_cert *c = calloc(1, sizeof *c + der.len);
    if (!c)
        abort();
    c->refs = 1;
    c->x509 = TAKE(x);
    memcpy(c + 1, der.data, der.len);
    c->der = BYTES(c + 1, der.len);
    c->not_before = x509_not_before(c->x509);
    c->not_after = x509_not_after(c->x509);
    read_subject(c);
    read_policies(c);
    check_key(c);
    check_signature_algorithm(c);
    check_extensions(c);
    return c;
}

struct ak_cert *akcert_hold(struct ak_cert *c)
{
    __atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
    return c;
}

void akcert_release(struct ak_cert *c)
{
    if (!c || __atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    X509_free(c->x509);
    ak_loaded_release(c->loaded);
    free(c);
}

/* ---- in words ---- */

static const char *text_eku(const struct ak_cert *c, struct arena *a)
{
    AUTO(eku) EXTENDED_KEY_USAGE *eku = X509_get_ext_d2i(c->x509, NID_ext_key_usage, NULL, NULL);
    const char *text = NULL;
    for (int i = 0; i < sk_ASN1_OBJECT_num(eku) && i < 8; i++) {
        char oid[64];
        if (OBJ_obj2txt(oid, sizeof oid, sk_ASN1_OBJECT_value(eku, i), 1) > 0)
            text = text ? arena_printf(a, "%s %s", text, oid) : arena_strdup(a, oid);
    }
    return text ? text : "no extended key usage";
}

static const char *text_usage(const struct ak_cert *c, struct arena *a)
{
    static const struct {
        uint32_t bit;
        const char *name;
    } usages[] = {{KU_DIGITAL_SIGNATURE, "digitalSignature"},
                  {KU_NON_REPUDIATION, "nonRepudiation"},
                  {KU_KEY_ENCIPHERMENT, "keyEncipherment"},
                  {KU_DATA_ENCIPHERMENT, "dataEncipherment"},
                  {KU_KEY_AGREEMENT, "keyAgreement"},
                  {KU_KEY_CERT_SIGN, "keyCertSign"},
                  {KU_CRL_SIGN, "cRLSign"}};
    uint32_t has = X509_get_key_usage(c->x509);
    if (has == UINT32_MAX)
        return "no key usage";
    const char *text = NULL;
    for (size_t i = 0; i < ARRAY_LEN(usages); i++)
        if (has & usages[i].bit)
            text = text ? arena_printf(a, "%s %s", text, usages[i].name) : usages[i].name;
    return text ? text : "none";
}

static const char *text_signature_algorithm(const struct ak_cert *c)
{
    const char *name = OBJ_nid2ln(X509_get_signature_nid(c->x509));
    return name ? name : "unknown";
}

void akcert_describe(const struct ak_cert *c, const char *reason, struct arena *a,
                     const char **expected, const char **found)
{
    *expected = *found = NULL;
    if (strcmp(reason, "eku_missing") == 0) {
        *expected = EKU_AIK_CERTIFICATE;
        *found = text_eku(c, a);
    } else if (strcmp(reason, "key_usage") == 0) {
        *expected = "digitalSignature";
        *found = text_usage(c, a);
    } else if (strcmp(reason, "weak_key") == 0) {
        *expected = "RSA 2048 or more, e = 65537";
        *found = words_key(a, &c->key);
    } else if (strcmp(reason, "signature_algorithm") == 0) {
        *expected = "SHA-256, SHA-384 or SHA-512";
        *found = text_signature_algorithm(c);
    } else if (strcmp(reason, "key_type") == 0) {
        *expected = "an RSA key, signed with RSA";
        *found = c->loaded
                     ? arena_printf(a, "%s, %s", words_key(a, &c->key), text_signature_algorithm(c))
                     : text_signature_algorithm(c);
    } else if (strcmp(reason, "version") == 0) {
        *expected = "3";
        *found = arena_printf(a, "%ld", X509_get_version(c->x509) + 1);
    } else if (strcmp(reason, "ca_true") == 0) {
        *expected = "CA:FALSE";
        *found = "CA:TRUE";
    }
}
