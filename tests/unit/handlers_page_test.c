/* Cursors: only for the list they were made for, and only as they were made. */
#include "handlers_fake.h"

#include "handlers/page.h"

#define KEY                                                                                        \
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/\xc3\xa4 b"

static struct keyring *keys;

static int start(void **state)
{
    keys = fake_keyring();
    return 0;
}

static int end(void **state)
{
    keyring_free(keys);
    return 0;
}

static void fake_with_keys(struct fake *f)
{
    fake_open(f);
    f->app.keyring = keys;
}

static struct page_of jobs_page(const char *state, const char *cursor)
{
    return (struct page_of){.path = "/v1/jobs",
                            .filters = {{"state", state}, {"resourceId", "/a/b c"}},
                            .top = 7,
                            .cursor = cursor};
}

static const char *cursor_in(const char *link)
{
    const char *p = strstr(link, "cursor=");
    assert_non_null(p);
    return p + strlen("cursor=");
}

static void the_link_carries_the_whole_list(void **state)
{
    struct fake f;
    fake_with_keys(&f);
    struct page_of list = jobs_page("failed", NULL);
    const char *link = page_next(&f.call, &list, KEY);
    static const char head[] =
        "https://gw/v1/jobs?state=failed&resourceId=%2Fa%2Fb%20c&top=7&cursor=";
    assert_memory_equal(link, head, strlen(head));
    fake_close(&f);
}

static void the_next_page_begins_after_the_last_row(void **state)
{
    struct fake f;
    struct page page;
    fake_with_keys(&f);
    struct page_of list = jobs_page("failed", NULL);
    assert_int_equal(page_open(&f.call, &list, &page), OK);
    assert_null(page.after);
    assert_int_equal(page.limit, 7);
    list.cursor = cursor_in(page_next(&f.call, &list, KEY));
    assert_int_equal(page_open(&f.call, &list, &page), OK);
    assert_string_equal(page.after, KEY);
    fake_close(&f);
}

static void a_cursor_of_another_list_is_refused(void **state)
{
    struct fake f;
    struct page page;
    fake_with_keys(&f);
    struct page_of list = jobs_page("failed", NULL);
    const char *cursor = cursor_in(page_next(&f.call, &list, KEY));
    struct page_of other = jobs_page("queued", cursor);
    assert_int_equal(page_open(&f.call, &other, &page), ERR_VALIDATION);
    assert_string_equal(f.call.err.fields[0].pointer, "?cursor");
    other = jobs_page(NULL, cursor);
    assert_int_equal(page_open(&f.call, &other, &page), ERR_VALIDATION);
    other = jobs_page("failed", cursor);
    other.path = "/v1/other";
    assert_int_equal(page_open(&f.call, &other, &page), ERR_VALIDATION);
    /* the page's size may change on the way */
    other = jobs_page("failed", cursor);
    other.top = 9;
    assert_int_equal(page_open(&f.call, &other, &page), OK);
    fake_close(&f);
}

static void a_changed_cursor_is_refused(void **state)
{
    struct fake f;
    struct page page;
    fake_with_keys(&f);
    struct page_of list = jobs_page("failed", NULL);
    char *cursor = arena_strdup(f.call.arena, cursor_in(page_next(&f.call, &list, KEY)));
    for (size_t i = 0; cursor[i]; i++) {
        char before = cursor[i];
        cursor[i] = before == 'A' ? 'B' : 'A';
        list.cursor = cursor;
        assert_int_equal(page_open(&f.call, &list, &page), ERR_VALIDATION);
        cursor[i] = before;
    }
    static const char *const made_up[] = {"A", "AAAA", "AQAAAAE"};
    for (size_t i = 0; i < ARRAY_LEN(made_up); i++) {
        list.cursor = made_up[i];
        assert_int_equal(page_open(&f.call, &list, &page), ERR_VALIDATION);
    }
    fake_close(&f);
}

static void another_keyring_does_not_take_it(void **state)
{
    struct fake f;
    struct page page;
    fake_with_keys(&f);
    struct page_of list = jobs_page("failed", NULL);
    list.cursor = cursor_in(page_next(&f.call, &list, KEY));
    struct keyring *other = fake_keyring();
    f.app.keyring = other;
    assert_int_equal(page_open(&f.call, &list, &page), ERR_VALIDATION);
    keyring_free(other);
    fake_close(&f);
}

static void paths_are_escaped(void **state)
{
    struct fake f;
    fake_with_keys(&f);
    f.call.params[0] = "s";
    f.call.params[1] = "g(1)";
    assert_string_equal(page_vm_path(&f.call, "/virtualMachines"),
                        "/v1/subscriptions/s/resourceGroups/g%281%29/virtualMachines");
    f.call.params[2] = "vm";
    assert_string_equal(page_vm_path(&f.call, "/x"),
                        "/v1/subscriptions/s/resourceGroups/g%281%29/virtualMachines/vm/x");
    fake_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_link_carries_the_whole_list),
        cmocka_unit_test(the_next_page_begins_after_the_last_row),
        cmocka_unit_test(a_cursor_of_another_list_is_refused),
        cmocka_unit_test(a_changed_cursor_is_refused),
        cmocka_unit_test(another_keyring_does_not_take_it),
        cmocka_unit_test(paths_are_escaped),
    };
    return cmocka_run_group_tests(tests, start, end);
}
