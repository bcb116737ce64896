/* Token buckets: what is left, what is told, and that an early call is refused anew. */
#include "emulator/throttle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static const struct bucket_size small = {2, 0.5};

static void test_empties_and_fills(void **state)
{
    struct throttle *t = throttle_new();
    assert_int_equal(throttle_take(t, "a", small, 1000).remaining, 1);
    assert_int_equal(throttle_take(t, "a", small, 1000).remaining, 0);
    struct throttle_answer no = throttle_take(t, "a", small, 1000);
    assert_false(no.allowed);
    assert_false(no.early);
    assert_int_equal(no.retry_after, 2);
    assert_true(throttle_take(t, "a", small, 3000).allowed);
    /* It never holds more than its size. */
    assert_int_equal(throttle_take(t, "a", small, 1000000).remaining, 1);
    throttle_free(t);
}

static void test_early_calls_are_told_anew(void **state)
{
    struct throttle *t = throttle_new();
    const struct bucket_size one = {1, 0.1};
    assert_true(throttle_take(t, "a", one, 0).allowed);
    assert_int_equal(throttle_take(t, "a", one, 0).retry_after, 10);
    struct throttle_answer early = throttle_take(t, "a", one, 5000);
    assert_true(early.early);
    assert_int_equal(early.retry_after, 5);
    assert_true(throttle_take(t, "a", one, 9999).early);
    assert_true(throttle_take(t, "a", one, 11000).allowed);
    throttle_free(t);
}

static void test_keys_do_not_share(void **state)
{
    struct throttle *t = throttle_new();
    char key[16];
    for (int i = 0; i < 200; i++) {
        snprintf(key, sizeof key, "k%d", i);
        assert_int_equal(throttle_take(t, key, small, 0).remaining, 1);
    }
    assert_int_equal(throttle_take(t, "k0", small, 0).remaining, 0);
    throttle_reset(t);
    assert_int_equal(throttle_take(t, "k0", small, 0).remaining, 1);
    throttle_free(t);
}

static void test_a_bucket_that_never_fills(void **state)
{
    struct throttle *t = throttle_new();
    const struct bucket_size dry = {1, 0};
    assert_true(throttle_take(t, "a", dry, 0).allowed);
    assert_int_equal(throttle_take(t, "a", dry, 0).retry_after, 3600);
    throttle_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empties_and_fills),
        cmocka_unit_test(test_early_calls_are_told_anew),
        cmocka_unit_test(test_keys_do_not_share),
        cmocka_unit_test(test_a_bucket_that_never_fills),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
