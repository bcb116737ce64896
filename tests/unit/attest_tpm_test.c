/*
 * The TPM structure parsers against tss2-mu, which is more lenient: whatever ours accepts, tss2-mu
 * reads the same way; and the key material that comes out of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "attest/ak.h"
#include "tests/unit/attest_make.h"

#include <tss2/tss2_mu.h>

#include <cmocka.h>

static struct make *m;

static int setup(void **state)
{
    m = make_new();
    make_reset(m);
    make_build(m);
    return 0;
}

static int teardown(void **state)
{
    make_free(m);
    return 0;
}

static void attest_as_tss2_reads_it(void **state)
{
    struct tpm_attest at;
    TPMS_ATTEST theirs;
    size_t offset = 0;
    struct bytes in = m->ev.quote_message;
    assert_null(tpm_parse_attest(in, &at));
    assert_int_equal(Tss2_MU_TPMS_ATTEST_Unmarshal(in.data, in.len, &offset, &theirs), 0);
    assert_int_equal(offset, in.len);
    assert_int_equal(at.magic, theirs.magic);
    assert_int_equal(at.type, theirs.type);
    assert_int_equal(at.clock, theirs.clockInfo.clock);
    assert_int_equal(at.reset_count, theirs.clockInfo.resetCount);
    assert_int_equal(at.restart_count, theirs.clockInfo.restartCount);
    assert_int_equal(at.firmware_version, theirs.firmwareVersion);
    assert_int_equal(at.n_selections, theirs.attested.quote.pcrSelect.count);
    assert_true(bytes_equal(at.extra_data, BYTES(theirs.extraData.buffer, theirs.extraData.size)));
    assert_true(bytes_equal(at.pcr_digest, BYTES(theirs.attested.quote.pcrDigest.buffer,
                                                 theirs.attested.quote.pcrDigest.size)));
}

static void public_as_tss2_reads_it(void **state)
{
    struct tpm_public p;
    TPMT_PUBLIC theirs;
    size_t offset = 0;
    struct bytes in = m->ev.ak_public;
    assert_null(tpm_parse_public(in, &p));
    assert_int_equal(Tss2_MU_TPMT_PUBLIC_Unmarshal(in.data, in.len, &offset, &theirs), 0);
    assert_int_equal(offset, in.len);
    assert_int_equal(p.attributes, theirs.objectAttributes);
    assert_int_equal(p.scheme, theirs.parameters.rsaDetail.scheme.scheme);
    assert_int_equal(p.exponent, 65537);
    assert_true(bytes_equal(p.modulus, BYTES(theirs.unique.rsa.buffer, theirs.unique.rsa.size)));
}

/* One changed byte anywhere: we never accept what tss2-mu refuses. */
static void never_more_lenient(void **state)
{
    struct bytes in = m->ev.quote_message;
    uint8_t copy[512];
    size_t compared = 0;
    for (size_t i = 0; i < in.len; i++) {
        memcpy(copy, in.data, in.len);
        copy[i] ^= 0x40;
        struct tpm_attest at;
        TPMS_ATTEST theirs;
        size_t offset = 0;
        if (tpm_parse_attest(BYTES(copy, in.len), &at) || at.type != TPM2_ST_ATTEST_QUOTE)
            continue;
        TSS2_RC rc = Tss2_MU_TPMS_ATTEST_Unmarshal(copy, in.len, &offset, &theirs);
        if (at.magic != TPM2_GENERATED_VALUE || at.selections[0].bits.len > 4)
            continue;
        assert_int_equal(rc, 0);
        compared++;
    }
    assert_true(compared > in.len / 2); /* most bytes may have any value */
}

static struct bytes edited(struct bytes b, size_t at, uint8_t value)
{
    struct bytes copy = arena_copy(m->arena, b);
    ((uint8_t *)copy.data)[at] = value;
    return copy;
}

/* TPMT_PUBLIC (Part 2, 12.2.4) by its parts; `unique` is a modulus, or two coordinates. */
static struct bytes public_of(uint16_t type, struct bytes policy, struct bytes schemes,
                              struct bytes key, struct bytes unique)
{
    struct buf b = {0};
    make_be(&b, type, 2);
    make_be(&b, TPM2_ALG_SHA256, 2);
    make_be(&b, 0x00050472, 4);
    make_2b(&b, policy);
    buf_add(&b, schemes.data, schemes.len);
    buf_add(&b, key.data, key.len);
    for (int i = 0; i < (type == TPM2_ALG_ECC ? 2 : 1); i++)
        make_2b(&b, unique);
    return make_keep(m->arena, &b);
}

static void publics_of_every_form(void **state)
{
    static const uint8_t zeros[80];
    const struct bytes none = {0}, rsa = BYTES(zeros, 64), coordinate = BYTES(zeros, 32),
                       rsassa = BYTES("\0\x10\0\x14\0\x0b", 6),
                       ecdsa = BYTES("\0\x10\0\x18\0\x0b", 6), bits = BYTES("\2\0\0\0\0\0", 6),
                       p256 = BYTES("\0\3\0\x10", 4);
    const struct {
        bool good;
        struct bytes area;
    } cases[] = {
        {true, public_of(TPM2_ALG_RSA, none, rsassa, bits, rsa)},
        {true, public_of(TPM2_ALG_RSA, BYTES(zeros, 64), rsassa, bits, rsa)},
        {false, public_of(TPM2_ALG_RSA, BYTES(zeros, 65), rsassa, bits, rsa)},
        {false, public_of(TPM2_ALG_KEYEDHASH, none, rsassa, bits, rsa)},
        /* no scheme, a block cipher beside one, and a scheme that does not sign */
        {true, public_of(TPM2_ALG_RSA, none, BYTES("\0\x10\0\x10", 4), bits, rsa)},
        {true, public_of(TPM2_ALG_RSA, none, BYTES("\0\6\0\x80\0\x43\0\x10", 8), bits, rsa)},
        {false, public_of(TPM2_ALG_RSA, none, BYTES("\0\x10\0\x17\0\x0b", 6), bits, rsa)},
        /* 512 bits are 64 bytes */
        {false, public_of(TPM2_ALG_RSA, none, rsassa, bits, BYTES(zeros, 63))},
        {true, public_of(TPM2_ALG_ECC, none, ecdsa, p256, coordinate)},
        {true, public_of(TPM2_ALG_ECC, none, ecdsa, p256, BYTES(zeros, 66))},
        {false, public_of(TPM2_ALG_ECC, none, ecdsa, p256, BYTES(zeros, 67))},
        {false, public_of(TPM2_ALG_ECC, none, ecdsa, BYTES("\0\3\0\x20\0\x0b", 6), coordinate)},
    };
    struct tpm_public p;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(!tpm_parse_public(cases[i].area, &p), cases[i].good);
    assert_null(tpm_parse_public(cases[4].area, &p));
    assert_int_equal(p.scheme, TPM2_ALG_NULL);
    assert_int_equal(p.scheme_hash, TPM2_ALG_NULL);
    assert_null(tpm_parse_public(cases[8].area, &p));
    assert_int_equal(p.curve, TPM2_ECC_NIST_P256);
    assert_int_equal(p.x.len, 32);
    assert_int_equal(p.y.len, 32);
    assert_non_null(tpm_parse_public(edited(cases[0].area, 3, TPM2_ALG_SM3_256), &p));
}

/* YES and NO are the two values that a TPMI_YES_NO has (Part 2, 9.2). */
static void a_clock_is_safe_or_not(void **state)
{
    struct tpm_attest at;
    size_t offset =
        6 + 2 + 34 + 2 + 32 + 16; /* behind magic, type, signer, nonce and three counters */
    struct bytes in = m->ev.quote_message;
    assert_null(tpm_parse_attest(edited(in, offset, 0), &at));
    assert_false(at.safe);
    assert_null(tpm_parse_attest(edited(in, offset, 1), &at));
    assert_true(at.safe);
    assert_non_null(tpm_parse_attest(edited(in, offset, 2), &at));
}

static void every_truncation_is_refused(void **state)
{
    struct tpm_attest at;
    struct tpm_public p;
    struct tpm_signature sig;
    for (size_t n = 0; n < m->ev.quote_message.len; n++)
        assert_non_null(tpm_parse_attest(BYTES(m->ev.quote_message.data, n), &at));
    for (size_t n = 0; n < m->ev.ak_public.len; n++)
        assert_non_null(tpm_parse_public(BYTES(m->ev.ak_public.data, n), &p));
    for (size_t n = 0; n < m->ev.quote_signature.len; n++)
        assert_non_null(tpm_parse_signature(BYTES(m->ev.quote_signature.data, n), &sig));
}

static void spki_is_openssls(EVP_PKEY *key)
{
    struct ak_key k;
    unsigned char *der = NULL;
    int n = i2d_PUBKEY(key, &der);
    assert_null(ak_key_of_pkey(key, &k));
    assert_true(bytes_equal(ak_key_spki(&k, m->arena), BYTES(der, (size_t)n)));
    OPENSSL_free(der);
    struct ak_loaded *again = ak_load(&k);
    assert_int_equal(EVP_PKEY_eq(again->pkey, key), 1);
    ak_loaded_release(again);
}

static void spki_of_every_kind(void **state)
{
    static const unsigned sizes[] = {1024, 2048, 3072, 4096};
    static const char *const groups[] = {"P-256", "P-384"};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        EVP_PKEY *key = make_rsa(sizes[i]);
        struct ak_key k;
        spki_is_openssls(key);
        assert_null(ak_key_of_pkey(key, &k));
        assert_int_equal(ak_key_bits(&k), sizes[i]);
        EVP_PKEY_free(key);
    }
    for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
        EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", groups[i]);
        spki_is_openssls(key);
        EVP_PKEY_free(key);
    }
}

static void short_coordinates_are_padded(void **state)
{
    /* TPMT_PUBLIC of the generator's double on P-256, with a leading zero byte cut off where there
     * is one: any point serves, the padding is what counts. */
    uint8_t x[32] = {0}, y[32] = {0};
    x[31] = 5;
    y[31] = 7;
    struct tpm_public p = {
        .type = TPM2_ALG_ECC, .curve = TPM2_ECC_NIST_P256, .x = BYTES(x + 31, 1), .y = BYTES_OF(y)};
    struct ak_key k;
    assert_null(ak_key_of_public(&p, &k));
    assert_int_equal(k.n_len, 64);
    assert_memory_equal(k.n, x, 32);
    assert_memory_equal(k.n + 32, y, 32);
    assert_null(ak_load(&k)); /* not on the curve */
    p.curve = TPM2_ECC_NIST_P521;
    assert_non_null(ak_key_of_public(&p, &k));
}

static void pins_of_every_kind(void **state)
{
    struct attest_pin bare, framed, none;
    struct err_info e;
    struct buf b = {0};
    make_2b(&b, m->ev.ak_public);
    assert_int_equal(attest_pin_read(m->ev.ak_public, m->arena, &bare, &e), OK);
    assert_int_equal(attest_pin_read(buf_bytes(&b), m->arena, &framed, &e), OK);
    assert_memory_equal(bare.spki_sha256, framed.spki_sha256, 32);
    assert_true(bytes_equal(bare.public_area, framed.public_area));
    buf_add_char(&b, 0);
    assert_int_equal(attest_pin_read(buf_bytes(&b), m->arena, &none, &e), ERR_VALIDATION);
    assert_int_equal(attest_pin_read((struct bytes){0}, m->arena, &none, &e), ERR_VALIDATION);
    assert_int_equal(attest_pin_read(BYTES_STR("-----BEGIN"), m->arena, &none, &e), ERR_VALIDATION);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(publics_of_every_form),   cmocka_unit_test(a_clock_is_safe_or_not),
        cmocka_unit_test(attest_as_tss2_reads_it), cmocka_unit_test(public_as_tss2_reads_it),
        cmocka_unit_test(never_more_lenient),      cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(spki_of_every_kind),      cmocka_unit_test(short_coordinates_are_padded),
        cmocka_unit_test(pins_of_every_kind),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
