#include "attest/words.h"

#include "core/buf.h"
#include "core/clock.h"

#include <openssl/err.h>

AUTO_DEFINE(bio, BIO *, BIO_free)

static const char *keep(struct arena *a, struct buf *b)
{
    const char *text = arena_strndup(a, b->data ? b->data : "", b->len);
    buf_free(b);
    return text;
}

const char *words_hex(struct arena *a, struct bytes b)
{
    if (b.len == 0)
        return "nothing";
    char *text = arena_alloc(a, 2 * b.len + 1);
    hex_encode(b, text);
    return text;
}

const char *words_pcrs(struct arena *a, uint32_t mask)
{
    struct buf b = {0};
    for (unsigned i = 0; i < 32; i++) {
        if (!(mask >> i & 1))
            continue;
        unsigned last = i;
        while (last < 31 && mask >> (last + 1) & 1)
            last++;
        buf_printf(&b, "%s%u", b.len ? ", " : "", i);
        if (last > i)
            buf_printf(&b, "%s%u", last == i + 1 ? ", " : "-", last);
        i = last;
    }
    return b.len ? keep(a, &b) : "no PCR";
}

const char *words_alg(struct arena *a, uint16_t alg)
{
    switch (alg) {
    case TPM2_ALG_SHA1:
        return "SHA-1";
    case TPM2_ALG_SHA256:
        return "SHA-256";
    case TPM2_ALG_SHA384:
        return "SHA-384";
    case TPM2_ALG_SHA512:
        return "SHA-512";
    case TPM2_ALG_RSASSA:
        return "RSASSA";
    case TPM2_ALG_RSAPSS:
        return "RSAPSS";
    case TPM2_ALG_ECDSA:
        return "ECDSA";
    case TPM2_ALG_RSA:
        return "RSA";
    case TPM2_ALG_ECC:
        return "ECC";
    case TPM2_ALG_NULL:
        return "any";
    default:
        return arena_printf(a, "algorithm %04x", alg);
    }
}

const char *words_scheme(struct arena *a, uint16_t scheme, uint16_t hash)
{
    return arena_printf(a, "%s with %s", words_alg(a, scheme), words_alg(a, hash));
}

const char *words_attributes(struct arena *a, uint32_t bits)
{
    static const char *const names[32] = {
        [1] = "fixedTPM",     [2] = "stClear",
        [4] = "fixedParent",  [5] = "sensitiveDataOrigin",
        [6] = "userWithAuth", [7] = "adminWithPolicy",
        [10] = "noDA",        [11] = "encryptedDuplication",
        [16] = "restricted",  [17] = "decrypt",
        [18] = "sign",        [19] = "x509sign",
    };
    struct buf b = {0};
    for (unsigned i = 0; i < 32; i++) {
        if (!(bits >> i & 1))
            continue;
        buf_add_str(&b, b.len ? " " : "");
        if (names[i])
            buf_add_str(&b, names[i]);
        else
            buf_printf(&b, "bit%u", i);
    }
    return b.len ? keep(a, &b) : "none";
}

const char *words_key(struct arena *a, const struct ak_key *k)
{
    if (k->kind != AK_RSA)
        return k->kind == AK_P256 ? "P-256" : "P-384";
    if (k->e != 65537)
        return arena_printf(a, "RSA %zu, e = %u", ak_key_bits(k), k->e);
    return arena_printf(a, "RSA %zu", ak_key_bits(k));
}

const char *words_spki(struct arena *a, const struct ak_key *k)
{
    uint8_t sha256[32];
    ak_key_spki_sha256(k, sha256);
    return words_hex(a, BYTES_OF(sha256));
}

const char *words_time(struct arena *a, int64_t ms)
{
    char text[TIME_TEXT_SIZE];
    time_format(ms, text);
    return arena_strdup(a, text);
}

const char *words_name(struct arena *a, const X509_NAME *name)
{
    AUTO(bio) BIO *out = BIO_new(BIO_s_mem());
    /* XN_FLAG_RFC2253 escapes controls and everything beyond ASCII. */
    if (!out || X509_NAME_print_ex(out, name, 0, XN_FLAG_RFC2253) < 0) {
        ERR_clear_error();
        return "unreadable";
    }
    char *text = NULL;
    long n = BIO_get_mem_data(out, &text);
    return n > 0 ? arena_strndup(a, text, (size_t)n) : "nothing";
}
