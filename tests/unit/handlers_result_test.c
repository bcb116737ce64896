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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_former_key_is_published_until_its_results_have_expired),
        cmocka_unit_test(a_result_is_made_while_it_is_good),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
