#include "core/fault.h"
#include "core/attr.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#ifdef TLGATE_FAULTS

static char count_file[] = "/tmp/tlgate-fault-XXXXXX";

static long counted(const char *name)
{
    FILE *f = fopen(count_file, "r");
    assert_non_null(f);
    char point[64], number[32];
    long n = -1;
    while (fscanf(f, "%63s %31s", point, number) == 2)
        if (!strcmp(point, name))
            n = strtol(number, NULL, 10);
    fclose(f);
    return n;
}

/* The environment is read once, at the first pass: one test holds all of it. */
static void rules_act_at_their_pass(void **state)
{
    int fd = mkstemp(count_file);
    assert_true(fd >= 0);
    close(fd);
    setenv("TLGATE_FAULT",
           "store.commit.before:2:eio,arm.send.before:0:eio,arm.send.after:1:delay:1", 1);
    setenv("TLGATE_FAULT_COUNT", count_file, 1);
    assert_int_equal(FAULT_POINT("store.commit.before"), 0);
    assert_int_equal(FAULT_POINT("store.commit.before"), EIO);
    assert_int_equal(FAULT_POINT("store.commit.before"), 0);
    assert_int_equal(FAULT_POINT("arm.send.before"), EIO);
    assert_int_equal(FAULT_POINT("arm.send.before"), EIO);
    assert_int_equal(FAULT_POINT("arm.send.after"), 0);
    assert_int_equal(counted("store.commit.before"), 3);
    assert_int_equal(counted("arm.send.before"), 2);
    assert_int_equal(counted("arm.send.after"), 1);
    assert_int_equal(counted("store.commit.after"), 0);
    unlink(count_file);
}

#else

static void rules_act_at_their_pass(void **state)
{
    assert_int_equal(FAULT_POINT("nothing of this is compiled in"), 0);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(rules_act_at_their_pass)};
    return cmocka_run_group_tests_name("fault points", tests, NULL, NULL);
}
