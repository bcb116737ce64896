/* core/seen and the providers' configuration; what the network does to the keys is in tests/e2e/test_maa.py. */
#include "core/seen.h"
#include "jobs/maa_keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void what_was_used_is_known_until_its_time(void **state)
{
    struct seen *s = seen_new();
    assert_false(seen_has(s, BYTES_STR("a"), 100));
    seen_add(s, BYTES_STR("a"), 100, 200);
    seen_add(s, BYTES_STR("old"), 100, 100); /* is over already */
    assert_true(seen_has(s, BYTES_STR("a"), 199));
    assert_false(seen_has(s, BYTES_STR("a"), 200));
    assert_false(seen_has(s, BYTES_STR("b"), 199));
    assert_false(seen_has(s, BYTES_STR("old"), 99));
    seen_free(s);
}

/* Where there is no room, what ends first goes. */
static void it_stays_bounded(void **state)
{
    struct seen *s = seen_new();
    char text[32];
    seen_add(s, BYTES_STR("last"), 0, INT64_MAX);
    for (int i = 0; i < 100000; i++) {
        snprintf(text, sizeof text, "%d", i);
        seen_add(s, BYTES_STR(text), 0, 1000 + i);
        assert_true(seen_has(s, BYTES_STR(text), 0));
    }
    assert_true(seen_has(s, BYTES_STR("last"), 0));
    seen_free(s);
}

static void issuers_are_origins(void **state)
{
    static const char *const good[] = {"https://a.attest.azure.net", "https://127.0.0.1:8443",
                                       "https://[::1]:1"};
    static const char *const bad[] = {"http://a.net",     "https://",        "https://a.net/",
                                      "https://A.net",    "https://u@a.net", "https://a.net?x",
                                      "https://a.net#x",  "a.net",           "",
                                      "https://a.net /x", "https://a.net\\"};
    assert_int_equal(maa_keys_check(good, ARRAY_LEN(good), NULL), OK);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(maa_keys_check(&bad[i], 1, NULL), ERR_CONFIG);
    const char *twice[] = {good[0], good[0]};
    assert_int_equal(maa_keys_check(twice, 2, NULL), ERR_CONFIG);
    const char *many[MAA_PROVIDERS_MAX + 1];
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = good[0];
    assert_int_equal(maa_keys_check(many, ARRAY_LEN(many), NULL), ERR_CONFIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_used_is_known_until_its_time),
        cmocka_unit_test(it_stays_bounded),
        cmocka_unit_test(issuers_are_origins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
