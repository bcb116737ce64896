#include "attest/cert.h"

#include "attest/hash.h"
#include "attest/text.h"
#include "attest/uefi.h"

#include <openssl/err.h>
#include <openssl/x509.h>

#define SERIAL_MAX 64 /* RFC 5280 allows 20 bytes */

void cert_fingerprint(struct bytes der, uint8_t out[CERT_FINGERPRINT])
{
    hash_digest(BANK_SHA256, der, out);
}

bool cert_tbs_sha256(struct bytes der, uint8_t out[CERT_FINGERPRINT])
{
    struct bytes certificate = uefi_der_at_start(der);
    if (certificate.len < 2)
        return false;
    /* the outer header: its length's first byte tells how many follow (X.690, 8.1.3) */
    size_t header = certificate.data[1] & 0x80 ? 2u + (certificate.data[1] & 0x7fu) : 2;
    struct bytes tbs =
        uefi_der_at_start(BYTES(certificate.data + header, certificate.len - header));
    if (tbs.len == 0)
        return false;
    hash_digest(BANK_SHA256, tbs, out);
    return true;
}

static const char *name_text(const X509_NAME *name, struct arena *a)
{
    const char *text = "";
    BIO *bio = BIO_new(BIO_s_mem());
    char *data;
    if (bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0) {
        long n = BIO_get_mem_data(bio, &data);
        text = text_ascii(BYTES(data, n > 0 ? (size_t)n : 0), a);
    }
    BIO_free(bio);
    return text;
}

static int64_t time_of(const ASN1_TIME *t)
{
    struct tm tm;
    if (!t || ASN1_TIME_to_tm(t, &tm) != 1)
        return 0;
    return (int64_t)timegm(&tm) * 1000;
}

static const char *key_text(X509 *x, struct arena *a)
{
    EVP_PKEY *key = X509_get0_pubkey(x);
    if (!key)
        return "unknown";
    const char *name = EVP_PKEY_is_a(key, "RSA")  ? "RSA"
                       : EVP_PKEY_is_a(key, "EC") ? "EC"
                                                  : "other";
    return arena_printf(a, "%s-%d", name, EVP_PKEY_get_bits(key));
}

static void describe(X509 *x, struct arena *a, struct cert_facts *out)
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(x);
    out->decoded = true;
    out->subject = name_text(X509_get_subject_name(x), a);
    out->issuer = name_text(X509_get_issuer_name(x), a);
    out->serial = text_hex(BYTES(ASN1_STRING_get0_data(serial), (size_t)ASN1_STRING_length(serial)),
                           SERIAL_MAX, a);
    out->key = key_text(x, a);
    out->not_before = time_of(X509_get0_notBefore(x));
    out->not_after = time_of(X509_get0_notAfter(x));
}

struct cert_facts cert_describe(struct bytes der, struct arena *a)
{
    struct cert_facts out = {.decoded = false};
    const unsigned char *at = der.data;
    cert_fingerprint(der, out.sha256);
    X509 *x = der.len && der.len <= EVIDENCE_LOG_MAX ? d2i_X509(NULL, &at, (long)der.len) : NULL;
    if (x && at == der.data + der.len)
        describe(x, a, &out);
    X509_free(x);
    ERR_clear_error();
    return out;
}

void cert_write(struct jw *w, struct bytes der, struct arena *a)
{
    struct cert_facts f = cert_describe(der, a);
    jw_open(w, '{');
    jw_key(w, "sha256");
    jw_hex(w, BYTES_OF(f.sha256));
    if (f.decoded) {
        jw_key_str(w, "subject", f.subject);
        jw_key_str(w, "issuer", f.issuer);
        jw_key_str(w, "serial", f.serial);
        jw_key_str(w, "key", f.key);
        jw_key_time(w, "notBefore", f.not_before);
        jw_key_time(w, "notAfter", f.not_after);
    }
    jw_close(w, '}');
}
