/* What a verdict says of a VM. */
#include "handlers_fake.h"

#include "handlers/attestation.h"

static const struct vm watched = {.vtpm = true, .monitoring = true, .secure_boot = true};

static struct attest_result result(enum attest_verdict verdict)
{
    return (struct attest_result){.verdict = verdict};
}

static void add(struct attest_result *r, enum attest_check check, enum check_status status,
                const char *reason)
{
    r->findings[r->n_findings++] = (struct attest_finding){.check = check,
                                                           .status = status,
                                                           .reason = reason,
                                                           .event = ATTEST_NO_INDEX,
                                                           .pcr = ATTEST_NO_INDEX};
}

static void verdict_to_status(void **state)
{
    static const struct {
        enum attest_verdict verdict;
        bool vtpm, monitoring;
        enum vm_status status;
    } rows[] = {
        {VERDICT_TRUSTED, true, true, VM_HEALTHY},
        {VERDICT_TRUSTED_QUOTE_ONLY, true, true, VM_UNKNOWN},
        {VERDICT_UNTRUSTED, true, true, VM_UNHEALTHY},
        {VERDICT_QUARANTINED, true, true, VM_QUARANTINED},
        {VERDICT_INDETERMINATE, true, true, VM_UNKNOWN},
        {VERDICT_TRUSTED, true, false, VM_UNMONITORED},
        {VERDICT_UNTRUSTED, false, true, VM_UNMONITORED},
        {VERDICT_QUARANTINED, true, false, VM_QUARANTINED},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct vm vm = {.vtpm = rows[i].vtpm, .monitoring = rows[i].monitoring};
        struct attest_result r = result(rows[i].verdict);
        assert_int_equal(attestation_status(&vm, &r, TRI_UNSET), rows[i].status);
    }
}

static void reasons_are_told_once(void **state)
{
    struct arena *a = arena_new();
    struct attest_result r = result(VERDICT_UNTRUSTED);
    add(&r, CHECK_QUOTE_NONCE, STATUS_PASS, NULL);
    add(&r, CHECK_LOG_REPLAY, STATUS_FAIL, "pcr_mismatch");
    add(&r, CHECK_LOG_REPLAY, STATUS_FAIL, "pcr_mismatch");
    add(&r, CHECK_SECURE_BOOT, STATUS_FAIL, "secure_boot_off");
    add(&r, CHECK_POLICY, STATUS_SKIP, "not_proven");
    assert_string_equal(attestation_reasons(a, &watched, &r, TRI_UNSET),
                        "[\"pcr_mismatch\",\"secure_boot_off\"]");
    r = result(VERDICT_TRUSTED);
    assert_string_equal(attestation_reasons(a, &watched, &r, TRI_UNSET), "[]");
    r = result(VERDICT_TRUSTED_QUOTE_ONLY);
    assert_string_equal(attestation_reasons(a, &watched, &r, TRI_UNSET), "[\"no_event_log\"]");
    r = result(VERDICT_INDETERMINATE);
    r.reason = "issuer_missing";
    assert_string_equal(attestation_reasons(a, &watched, &r, TRI_UNSET), "[\"issuer_missing\"]");
    struct vm off = watched;
    off.monitoring = false;
    r = result(VERDICT_TRUSTED);
    assert_string_equal(attestation_reasons(a, &off, &r, TRI_UNSET), "[\"monitoring_off\"]");
    arena_free(a);
}

/* A key is pinned only where its chain, its profile and its attributes are proven. */
static void only_a_proven_ak_is_pinned(void **state)
{
    struct attest_result r = result(VERDICT_UNTRUSTED);
    add(&r, CHECK_AK_CHAIN, STATUS_PASS, NULL);
    add(&r, CHECK_AK_PROFILE, STATUS_PASS, NULL);
    add(&r, CHECK_AK_ATTRIBUTES, STATUS_PASS, NULL);
    add(&r, CHECK_QUOTE_SIGNER, STATUS_PASS, NULL); /* the attributes are of the key that signed */
    add(&r, CHECK_LOG_REPLAY, STATUS_FAIL, "pcr_mismatch"); /* says nothing of the key */
    assert_false(attestation_ak_proven(&r));
    r.quote_authentic = true;
    assert_true(attestation_ak_proven(&r));
    for (size_t i = 0; i < 4; i++) {
        struct attest_result worse = r;
        worse.findings[i].status = STATUS_SKIP;
        assert_false(attestation_ak_proven(&worse));
    }
    add(&r, CHECK_AK_BINDING, STATUS_FAIL, "ak_of_another_vm");
    assert_false(attestation_ak_proven(&r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verdict_to_status),
        cmocka_unit_test(reasons_are_told_once),
        cmocka_unit_test(only_a_proven_ak_is_pinned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
