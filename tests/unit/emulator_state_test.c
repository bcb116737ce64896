/* The journal: what was put is there after a reopen, torn and foreign lines are not taken. */
#include "emulator/state.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static char dir[] = "/tmp/emulator-state-XXXXXX";

static int make_dir(void **state)
{
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    return remove(path);
}

static int remove_dir(void **state)
{
    return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static struct state *reopen(struct state *s)
{
    struct err_info e = {0};
    state_close(s);
    s = NULL;
    if (state_open(dir, &s, &e))
        fail_msg("%s", e.detail);
    return s;
}

static long size_of_journal(void)
{
    char path[128];
    snprintf(path, sizeof path, "%s/state.journal", dir);
    AUTO(file) FILE *f = fopen(path, "re");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    return ftell(f);
}

static void test_changes_survive(void **state)
{
    struct state *s = reopen(NULL);
    state_put(s, STATE_RESOURCE, "/a", json_pack("{si}", "n", 1));
    state_put(s, STATE_RESOURCE, "/b", json_pack("{si}", "n", 2));
    state_put(s, STATE_VM, "/a", json_pack("[i]", 3));
    json_object_set_new(state_get(s, STATE_RESOURCE, "/a"), "n", json_integer(7));
    state_save(s, STATE_RESOURCE, "/a");
    state_del(s, STATE_RESOURCE, "/b");
    state_del(s, STATE_RESOURCE, "/never");
    for (int i = 0; i < 3; i++) {
        s = reopen(s);
        assert_int_equal(json_object_size(state_all(s, STATE_RESOURCE)), 1);
        assert_int_equal(
            json_integer_value(json_object_get(state_get(s, STATE_RESOURCE, "/a"), "n")), 7);
        assert_int_equal(json_array_size(state_get(s, STATE_VM, "/a")), 1);
    }
    state_close(s);
}

static void test_reopening_compacts(void **state)
{
    struct state *s = reopen(NULL);
    for (int i = 0; i < 1000; i++)
        state_put(s, STATE_MISC, "same", json_pack("{si}", "n", i));
    long before = size_of_journal();
    s = reopen(s);
    assert_true(size_of_journal() < before / 100);
    assert_int_equal(json_integer_value(json_object_get(state_get(s, STATE_MISC, "same"), "n")),
                     999);
    state_close(s);
}

static void test_damaged_lines_are_left_out(void **state)
{
    struct state *s = reopen(NULL);
    state_put(s, STATE_MISC, "good", json_object());
    state_close(s);
    char path[128];
    snprintf(path, sizeof path, "%s/state.journal", dir);
    FILE *f = fopen(path, "ae");
    assert_non_null(f);
    fputs("[99,\"good\",{}]\n[-1,\"good\",null]\n{\"x\":1}\n[3]\n\n[3,\"torn\",{\"a\"", f);
    fclose(f);
    s = reopen(NULL);
    assert_non_null(state_get(s, STATE_MISC, "good"));
    assert_null(state_get(s, STATE_MISC, "torn"));
    state_close(s);
}

static void test_a_folder_that_is_not_there(void **state)
{
    struct state *s = NULL;
    struct err_info e = {0};
    assert_int_equal(state_open("/nonexistent/folder", &s, &e), ERR_CONFIG);
    assert_non_null(strstr(e.detail, "/nonexistent/folder"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_changes_survive),
        cmocka_unit_test(test_reopening_compacts),
        cmocka_unit_test(test_damaged_lines_are_left_out),
        cmocka_unit_test(test_a_folder_that_is_not_there),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
