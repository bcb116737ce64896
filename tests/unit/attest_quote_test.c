/*
 * What a quote must select, where nothing else in the evidence would give it away, and what an AK's
 * public area must say for itself.
 */
#include "attest/trust.h"
#include "tests/unit/attest_judge.h"

static struct attest_pin pin;

static void pin_own_key(void)
{
    assert_int_equal(attest_pin_read(m->ev.ak_public, m->arena, &pin, &error), OK);
    m->in.pins = &pin;
    m->in.n_pins = 1;
    m->in.profile = PROFILE_TPM;
    m->ev.ak_certificate = (struct bytes){0};
    m->ev.n_chain = 0;
}

static void assert_pcr_missing(int pcr)
{
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
    assert_true(has(CHECK_QUOTE_SELECTION, STATUS_FAIL, "required_pcr_missing"));
    assert_int_equal(find(CHECK_QUOTE_SELECTION, STATUS_FAIL)->pcr, pcr);
}

/* Azure's quotes cover the boot whether or not a log comes with them. */
static void a_quote_alone_covers_the_boot(void **state)
{
    make_reset(m);
    m->send_log = false;
    m->selected = 0x1ff & ~(1u << 4);
    make_build(m);
    assert_pcr_missing(4);
}

/* The log of another TPM asks for its PCRs also where it is named and not sent. */
static void a_named_log_needs_its_pcrs_quoted(void **state)
{
    struct attest_logs *logs = attest_logs_new((size_t)1024 * 1024);
    uint8_t digest[32];
    make_reset(m);
    make_build(m);
    m->in.logs = logs;
    assert_int_equal(judge(), OK);
    hash_digest(BANK_SHA256, m->log, digest);
    struct attest_log *log = attest_logs_find(logs, BYTES_OF(digest), m->arena);
    assert_non_null(log);
    m->selected = 0x1ff & ~(1u << 7);
    make_build(m);
    pin_own_key();
    m->in.require_secure_boot = false;
    m->ev.event_log = (struct bytes){0};
    m->ev.event_log_digest = BYTES_OF(digest);
    m->in.log = log;
    assert_pcr_missing(7);
    m->in.logs = NULL;
    attest_logs_free(logs);
}

/* Two empty nonces are equal, and prove nothing. */
static void no_nonce_is_no_challenge(void **state)
{
    make_reset(m);
    m->nonce = m->in.nonce = (struct bytes){0};
    make_build(m);
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
    assert_true(has(CHECK_QUOTE_NONCE, STATUS_FAIL, "nonce_mismatch"));
    assert_false(result.quote_authentic);
}

/* A PC has 24 PCRs, and its TPM may say so in four bytes (Part 2, 10.6.1). */
static void a_map_of_four_bytes(void **state)
{
    make_reset(m);
    m->select_size = 4;
    make_build(m);
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_TRUSTED);
    m->selected |= 1u << 24;
    make_build(m);
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
    assert_true(has(CHECK_QUOTE_SELECTION, STATUS_FAIL, "selection_size"));
}

/* TPMT_PUBLIC of an RSA key without a policy: type 0, nameAlg 2, attributes 4, authPolicy 8, symmetric
 * 10, scheme 12, its hash 14, keyBits 16, exponent 18. */
static void azures_public_area_is_exactly_so(void **state)
{
    static const struct {
        size_t offset;
        uint8_t value;
        const char *reason;
    } bad[] = {
        {3, TPM2_ALG_SHA384, "scheme_unexpected"},
        {13, TPM2_ALG_RSAPSS, "scheme_unexpected"},
        {15, TPM2_ALG_SHA384, "scheme_unexpected"},
        {21, 3, "weak_key"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        make_reset(m);
        make_build(m);
        m->ev.ak_public = edited(m->ev.ak_public, bad[i].offset, bad[i].value);
        assert_int_equal(judge(), OK);
        assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
        assert_true(has(CHECK_AK_ATTRIBUTES, STATUS_FAIL, bad[i].reason));
    }
}

/* In the order of the checks, not the last one that was found. */
static void the_first_failure_is_the_reason(void **state)
{
    make_reset(m);
    m->leaf.to = -60;
    m->nonce = BYTES_STR("another");
    m->magic = 1;
    make_default_events(m, false);
    make_build(m);
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
    assert_string_equal(result.reason, "expired");
    m->leaf.to = MAKE_DAY;
    make_build(m);
    assert_int_equal(judge(), OK);
    assert_string_equal(result.reason, "not_generated_by_tpm");
}

/* The proof itself, whatever its caller looked at before. */
static void a_pin_proves_its_own_key_and_no_other(void **state)
{
    struct ak_key key;
    make_reset(m);
    make_build(m);
    pin_own_key();
    assert_null(ak_key_of_pkey(m->ak_key, &key));
    AUTO(ak_loaded) struct ak_loaded *own = ak_load(&key);
    assert_null(ak_key_of_pkey(m->other_key, &key));
    AUTO(ak_loaded) struct ak_loaded *other = ak_load(&key);
    assert_non_null(trust_by_pin(&m->in, own, m->arena));
    assert_null(trust_by_pin(&m->in, other, m->arena));
    m->in.profile = PROFILE_AZURE_TRUSTED_LAUNCH; /* where only a chain is one */
    assert_null(trust_by_pin(&m->in, own, m->arena));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quote_alone_covers_the_boot),
        cmocka_unit_test(a_named_log_needs_its_pcrs_quoted),
        cmocka_unit_test(no_nonce_is_no_challenge),
        cmocka_unit_test(a_map_of_four_bytes),
        cmocka_unit_test(azures_public_area_is_exactly_so),
        cmocka_unit_test(the_first_failure_is_the_reason),
        cmocka_unit_test(a_pin_proves_its_own_key_and_no_other),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
