/* EAR: what the checks become in the trustworthiness vector, and that no status is better than it. */
#include "attest/ear.h"
#include "core/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static const struct attest_finding good[] = {
    {.check = CHECK_AK_CHAIN},
    {.check = CHECK_AK_PROFILE},
    {.check = CHECK_AK_ATTRIBUTES},
    {.check = CHECK_AK_BINDING},
    {.check = CHECK_QUOTE_SIGNATURE},
    {.check = CHECK_LOG_FORMAT},
    {.check = CHECK_LOG_REPLAY},
    {.check = CHECK_LOG_CONTENT},
    {.check = CHECK_SECURE_BOOT},
    {.check = CHECK_POLICY},
    {.check = CHECK_MAA_TOKEN, .status = STATUS_SKIP},
};
#define N ARRAY_LEN(good)

static const struct row {
    enum attest_check check;
    enum check_status status;
    const char *reason, *verdict;
    int identity, configuration, executables, hardware;
    const char *ear;
} rows[] = {
    {CHECK_MAA_TOKEN, STATUS_SKIP, "not_sent", "trusted", 2, 2, 3, 2, "affirming"},
    {CHECK_MAA_TOKEN, STATUS_FAIL, "token_expired", "untrusted", 2, 2, 3, 2, "contraindicated"},
    {CHECK_SECURE_BOOT, STATUS_FAIL, "secure_boot_off", "untrusted", 2, 96, 0, 2,
     "contraindicated"},
    {CHECK_SECURE_BOOT, STATUS_WARN, "secure_boot_off", "trusted", 2, 32, 0, 2, "warning"},
    {CHECK_LOG_REPLAY, STATUS_WARN, "pcr_extended_after_log", "trusted", 2, 2, 3, 2, "affirming"},
    {CHECK_SECURE_BOOT, STATUS_SKIP, "no_event_log", "trustedQuoteOnly", 2, 0, 0, 2, "warning"},
    {CHECK_LOG_REPLAY, STATUS_FAIL, "pcr_replay_mismatch", "untrusted", 2, 2, 33, 2,
     "contraindicated"},
    {CHECK_LOG_CONTENT, STATUS_FAIL, "digest_mismatch", "untrusted", 2, 2, 96, 2,
     "contraindicated"},
    {CHECK_QUOTE_SIGNATURE, STATUS_FAIL, "signature_invalid", "untrusted", 99, 2, 3, 2,
     "contraindicated"},
    {CHECK_AK_BINDING, STATUS_FAIL, "ak_of_another_vm", "quarantined", 96, 2, 3, 2,
     "contraindicated"},
    {CHECK_AK_CHAIN, STATUS_FAIL, "anchor_unknown", "untrusted", 97, 2, 3, 97, "contraindicated"},
    {CHECK_AK_CHAIN, STATUS_FAIL, "issuer_missing", "indeterminate", 0, 2, 3, 0, "none"},
    /* whoever says it is trusted although a check failed is not believed */
    {CHECK_POLICY, STATUS_FAIL, "no_event_log", "trusted", 2, 96, 0, 2, "contraindicated"},
    {CHECK_MAA_TOKEN, STATUS_SKIP, "not_sent", "something else", 2, 2, 3, 2, "none"},
};

static void each_verdict_has_its_vector_and_status(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct row *r = &rows[i];
        struct attest_finding f[N];
        memcpy(f, good, sizeof f);
        for (size_t k = 0; k < N; k++)
            if (f[k].check == r->check)
                f[k] = (struct attest_finding){
                    .check = r->check, .status = r->status, .reason = r->reason};
        const struct ear_vector v = ear_vector_of(f, N);
        assert_int_equal(v.instance_identity, r->identity);
        assert_int_equal(v.configuration, r->configuration);
        assert_int_equal(v.executables, r->executables);
        assert_int_equal(v.hardware, r->hardware);
        assert_string_equal(ear_status(r->verdict, &v), r->ear);
    }
}

static void nothing_known_is_nothing_claimed(void **state)
{
    const struct ear_vector v = ear_vector_of(NULL, 0);
    assert_int_equal(v.instance_identity + v.configuration + v.executables + v.hardware, 0);
    assert_string_equal(ear_status("indeterminate", &v), "none");
}

static void a_pin_in_place_of_a_certificate_is_the_profile_tpm(void **state)
{
    struct attest_finding f[N];
    memcpy(f, good, sizeof f);
    assert_int_equal(ear_profile_of(NULL, 0), PROFILE_AZURE_TRUSTED_LAUNCH);
    assert_int_equal(ear_profile_of(f, N), PROFILE_AZURE_TRUSTED_LAUNCH);
    f[1] = (struct attest_finding){
        .check = CHECK_AK_PROFILE, .status = STATUS_SKIP, .reason = "certificate_missing"};
    assert_int_equal(ear_profile_of(f, N), PROFILE_AZURE_TRUSTED_LAUNCH);
    f[1].reason = "not_applicable";
    assert_int_equal(ear_profile_of(f, N), PROFILE_TPM);
}

static void the_claims_are_those_of_the_profile(void **state)
{
    static const uint8_t nonce[32] = {1};
    const struct attest_finding failed = {
        .check = CHECK_LOG_CONTENT, .status = STATUS_FAIL, .reason = "digest_mismatch"};
    const struct ear ear = {.verifier = "https://gw",
                            .report_id = "r-1",
                            .vm_id = "vm",
                            .verdict = "untrusted",
                            .findings = &failed,
                            .n_findings = 1,
                            .policy_ids = (const char *const[]){"built-in@1", "p@7"},
                            .n_policy_ids = 2,
                            .nonce = BYTES_OF(nonce),
                            .issued_at = 1780000000999,
                            .expires_at = 1780003600000};
    struct buf out = {0};
    struct jw w = jw_over(&out);
    ear_write(&w, &ear);
    AUTO(json) json_t *v = NULL;
    assert_int_equal(json_parse(buf_bytes(&out), &v, NULL), OK);
    assert_string_equal(json_path_str(v, "eat_profile"), "tag:ietf.org,2026:rats/ear#04");
    assert_string_equal(json_path_str(v, "ear_status"), "contraindicated");
    assert_int_equal(json_integer_value(json_path(v, "iat")), 1780000000);
    assert_int_equal(json_integer_value(json_path(v, "exp")), 1780003600);
    assert_string_equal(json_path_str(v, "sub"), "vm");
    assert_int_equal(strlen(json_path_str(v, "eat_nonce")), 43);
    const json_t *vtpm = json_path(v, "submods/vtpm");
    assert_string_equal(json_path_str(vtpm, "ear_status"), "contraindicated");
    assert_int_equal(json_integer_value(json_object_get(
                         json_object_get(vtpm, "ear_trustworthiness_vector"), "executables")),
                     96);
    const json_t *policies = json_object_get(vtpm, "ear_appraisal_policy_ids");
    assert_int_equal(json_array_size(policies), 2);
    assert_string_equal(json_string_value(json_array_get(policies, 1)), "p@7");
    const json_t *failures = json_path(vtpm, "ear_verifier_claims/tlgate_failed");
    assert_string_equal(json_path_str(json_array_get(failures, 0), "reason"), "digest_mismatch");
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_verdict_has_its_vector_and_status),
        cmocka_unit_test(nothing_known_is_nothing_claimed),
        cmocka_unit_test(a_pin_in_place_of_a_certificate_is_the_profile_tpm),
        cmocka_unit_test(the_claims_are_those_of_the_profile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
