/* The program that gets a token: what it is given, what is taken from it, and that it is ended. */
#include "guest/maa.h"

#include "core/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <sys/stat.h>
#include <unistd.h>

static struct arena *arena;
static char path[64];
static struct bytes token;
static struct err_info why;

static int set_up(void **state)
{
    arena = arena_new();
    snprintf(path, sizeof path, "/tmp/guest_maa_XXXXXX");
    return close(mkstemp(path));
}

static int tear_down(void **state)
{
    arena_free(arena);
    return unlink(path);
}

static bool go_on(void)
{
    return false;
}

static bool stop_now(void)
{
    return true;
}

static enum err run(const char *script, bool (*stop)(void))
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "#!/bin/sh\n%s\n", script);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, 0700), 0);
    token = (struct bytes){0};
    return guest_maa_token(path, BYTES_STR("\x01\x02\xff"), stop, arena, &token, &why);
}

static void it_is_given_the_nonce_and_its_output_is_the_token(void **state)
{
    assert_int_equal(run("echo \" $#.$1.x-_ \" | tr / _; cat", go_on), OK); /* AQL/ */
    assert_true(bytes_equal(token, BYTES_STR("1.AQL_.x-_")));
}

static void what_is_no_token_is_refused(void **state)
{
    static const char *const scripts[] = {"echo a b",       "true",       "echo a; exit 1",
                                          "printf 'a\\0b'", "kill -9 $$", "echo '{\"token\":1}'"};
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        assert_int_equal(run(scripts[i], go_on), ERR_UNAVAILABLE);
        assert_int_equal(token.len, 0);
    }
    assert_int_equal(
        guest_maa_token("/nonexistent/program", BYTES_STR("n"), go_on, arena, &token, &why),
        ERR_UNAVAILABLE);
}

/* Also what it has started: the write end of the pipe would stay open with it. */
static void it_ends_when_the_agent_does(void **state)
{
    int64_t start = clock_mono(&clock_system);
    assert_int_equal(run("sleep 60 & sleep 60", stop_now), ERR_CANCELED);
    assert_true(clock_mono(&clock_system) - start < 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_given_the_nonce_and_its_output_is_the_token),
        cmocka_unit_test(what_is_no_token_is_refused),
        cmocka_unit_test(it_ends_when_the_agent_does),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
