/* Signed results: how long they are made, and how long the key that made them is published. */
#include "handlers/result.h"
#include "handlers/routes.h"
#include "tests/unit/handlers_fake.h"

#define TTL 3600000

static char folder[64], path[96];
static struct keyring *keys;

static int set_up(void **state)
{
    snprintf(folder, sizeof folder, "/tmp/tlgate-test-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/keys", folder);
    return keyring_open(path, &keys, NULL) ? -1 : 0;
}

static int tear_down(void **state)
{
    keyring_free(keys);
    unlink(path);
    return rmdir(folder);
}

static void begin(struct fake *f, int64_t now)
{
    fake_open(f);
    f->app.keyring = keys;
    f->app.result_ttl_ms = TTL;
    f->call.now = now;
}

static size_t published(int64_t now)
{
    struct fake f;
    begin(&f, now);
    assert_int_equal(get_result_keys(&f.call), 200);
    assert_string_equal(fake_header(&f, "Cache-Control"), "public, max-age=300");
    AUTO(json) json_t *v = fake_body(&f);
    size_t n = json_array_size(json_path(v, "keys"));
    assert_null(json_path_str(json_array_get(json_path(v, "keys"), 0), "d"));
    fake_close(&f);
    return n;
}

static void a_former_key_is_published_until_its_results_have_expired(void **state)
{
    struct keyring_signer signers[2];
    uint32_t id;
    int64_t now = clock_wall(&clock_system);
    assert_int_equal(published(now), 1);
    assert_int_equal(keyring_rotate(keys, KEY_RESULTS, &id, NULL), OK);
    assert_int_equal(keyring_signers(keys, signers, 2), 2);
    assert_int_equal(published(signers[1].retired_at), 2);
    assert_int_equal(published(signers[1].retired_at + TTL - 1), 2);
    assert_int_equal(published(signers[1].retired_at + TTL), 1);
}

static void a_result_is_made_while_it_is_good(void **state)
{
    const struct report report = {.id = "r",
                                  .vm_id = "vm",
                                  .verdict = "trusted",
                                  .received_at = 5000,
                                  .checks = "[{\"name\":\"policy\",\"status\":\"pass\"}]"};
    const char *result = NULL;
    struct fake f;
    begin(&f, 5000 + TTL - 1);
    assert_int_equal(result_sign_stored(&f.call, &report, &result), OK);
    assert_non_null(result);
    f.call.now = 5000 + TTL;
    assert_int_equal(result_sign_stored(&f.call, &report, &result), OK);
    assert_null(result);
    fake_close(&f);
}

/* What the result of a report with these checks says that it was appraised by. */
static void appraised_by(const char *checks, const char *policy, const char *built_in,
                         const char *own)
{
    const struct report report = {.id = "r",
                                  .vm_id = "vm",
                                  .verdict = "trusted",
                                  .received_at = 5000,
                                  .checks = checks,
                                  .policy = policy};
    const char *result = NULL;
    struct fake f;
    begin(&f, 5000);
    assert_int_equal(result_sign_stored(&f.call, &report, &result), OK);
    const char *body = strchr(result, '.') + 1;
    uint8_t claims[4096];
    size_t n = 0;
    assert_true(base64url_decode(body, strcspn(body, "."), claims, sizeof claims, &n));
    AUTO(json) json_t *v = NULL;
    assert_int_equal(json_parse(BYTES(claims, n), &v, NULL), OK);
    const json_t *ids = json_path(v, "submods/vtpm/ear_appraisal_policy_ids");
    assert_int_equal(json_array_size(ids), own ? 2 : 1);
    assert_string_equal(json_string_value(json_array_get(ids, 0)), built_in);
    if (own)
        assert_string_equal(json_string_value(json_array_get(ids, 1)), own);
    fake_close(&f);
}

static void a_result_names_what_judged(void **state)
{
    static const char certified[] = "[{\"name\":\"ak.profile\",\"status\":\"pass\"}]",
                      pinned[] = "[{\"name\":\"ak.profile\",\"status\":\"skip\","
                                 "\"reason\":\"not_applicable\"}]";
    appraised_by(certified, NULL, "tlgate:azureTrustedLaunch@" TLGATE_VERSION, NULL);
    appraised_by(certified, "p@3", "tlgate:azureTrustedLaunch@" TLGATE_VERSION,
                 "tlgate:policy/p@3");
    appraised_by(pinned, NULL, "tlgate:tpm@" TLGATE_VERSION, NULL);
    appraised_by(pinned, "p@3", "tlgate:tpm@" TLGATE_VERSION, "tlgate:policy/p@3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_former_key_is_published_until_its_results_have_expired),
        cmocka_unit_test(a_result_is_made_while_it_is_good),
        cmocka_unit_test(a_result_names_what_judged),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
