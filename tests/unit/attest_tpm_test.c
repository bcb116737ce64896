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
        cmocka_unit_test(attest_as_tss2_reads_it), cmocka_unit_test(public_as_tss2_reads_it),
        cmocka_unit_test(never_more_lenient),      cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(spki_of_every_kind),      cmocka_unit_test(short_coordinates_are_padded),
        cmocka_unit_test(pins_of_every_kind),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
