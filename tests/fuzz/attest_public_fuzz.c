/*
 * The public area of an AK, and the files that pin one (`--trusted-ak`: TPMT_PUBLIC, TPM2B_PUBLIC, PEM).
 * tss2-mu is the more lenient one: what is accepted here it reads too, to the last byte.
 */
#include "attest/ak.h"
#include "attest/attest.h"

#include <assert.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <tss2/tss2_mu.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void compare_rsa(const struct tpm_public *p, const TPMT_PUBLIC *theirs)
{
    const TPM2B_PUBLIC_KEY_RSA *n = &theirs->unique.rsa;
    uint32_t e = theirs->parameters.rsaDetail.exponent;
    assert(bytes_equal(p->modulus, BYTES(n->buffer, n->size)));
    assert(p->exponent == (e ? e : 65537) && p->bits == theirs->parameters.rsaDetail.keyBits);
    assert(p->scheme == theirs->parameters.rsaDetail.scheme.scheme);
}

static void compare_ecc(const struct tpm_public *p, const TPMT_PUBLIC *theirs)
{
    const TPMS_ECC_POINT *q = &theirs->unique.ecc;
    assert(bytes_equal(p->x, BYTES(q->x.buffer, q->x.size)));
    assert(bytes_equal(p->y, BYTES(q->y.buffer, q->y.size)));
    assert(p->curve == theirs->parameters.eccDetail.curveID);
    assert(p->scheme == theirs->parameters.eccDetail.scheme.scheme);
}

/* A block cipher of a storage key is skipped here, whatever it is called; tss2-mu wants one that it
 * knows. No key with one is ever accepted as an AK: ak.attributes. */
static bool has_cipher(const struct tpm_public *p)
{
    struct cursor c = cursor_of(p->area);
    cursor_take(&c, 8);
    cursor_take(&c, cursor_u16be(&c));
    return cursor_u16be(&c) != TPM2_ALG_NULL;
}

static void compare(const struct tpm_public *p)
{
    TPMT_PUBLIC theirs = {0};
    size_t at = 0;
    if (has_cipher(p))
        return;
    TSS2_RC rc = Tss2_MU_TPMT_PUBLIC_Unmarshal(p->area.data, p->area.len, &at, &theirs);
    assert(rc == TSS2_RC_SUCCESS && at == p->area.len);
    assert(p->attributes == theirs.objectAttributes && p->name_alg == theirs.nameAlg);
    if (p->type == TPM2_ALG_RSA)
        compare_rsa(p, &theirs);
    else
        compare_ecc(p, &theirs);
}

/* A key is what its SubjectPublicKeyInfo says. */
static void use_key(const struct ak_key *key, struct arena *a)
{
    struct bytes spki = ak_key_spki(key, a);
    struct ak_loaded *loaded = ak_load(key);
    if (loaded) {
        unsigned char *der = NULL;
        int n = i2d_PUBKEY(loaded->pkey, &der);
        assert(n > 0 && bytes_equal(spki, BYTES(der, (size_t)n)));
        OPENSSL_free(der);
    }
    ak_loaded_release(loaded);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new();
    struct tpm_public p;
    struct ak_key key;
    struct attest_pin pin;
    struct err_info e = {0};
    uint8_t name[66];
    bool area = !tpm_parse_public(BYTES(data, size), &p);
    bool usable = area && !ak_key_of_public(&p, &key);
    if (area) {
        assert(tpm_name(&p, name) > 2);
        compare(&p);
    }
    if (usable)
        use_key(&key, a);
    if (!area && (size == 0 || !memmem(data, size, "-----BEGIN", 10)))
        goto done; /* OpenSSL takes a millisecond to find no PEM in it */
    if (attest_pin_read(BYTES(data, size), a, &pin, &e) == OK)
        assert(pin.spki.len && (!area || (usable && bytes_equal(pin.public_area, p.area))));
    else
        assert(e.code == ERR_VALIDATION);
done:
    ERR_clear_error();
    arena_free(a);
    return 0;
}
