/* The pure part of the store: states and their table, scopes, ageing, TPM clocks. */
#include "core/buf.h"
#include "db/records.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define DIAGRAM "docs/state_machine.md"

static const char intro[] =
    "# States of a job\n\n"
    "Rendered from the table in `db/records.c` by `tests/unit/db_records_test.c`; after a change "
    "of\n"
    "the table run that test with `TLGATE_RENDER=1`. The store refuses every other transition, "
    "and\n"
    "terminal states (`succeeded`, `failed`, `canceled`) are final but for a retry. While a job "
    "is\n"
    "`canceling`, its engine may still report `running` or `waiting`: it stays `canceling`.\n\n";

static const char *actor_text(enum job_actor by)
{
    switch (by) {
    case JOB_BY_ENGINE:
        return "engine";
    case JOB_BY_CANCEL:
        return "cancel";
    case JOB_BY_RETRY:
        return "retry";
    }
    return "";
}

static void render(struct buf *out)
{
    size_t n = 0;
    const struct job_transition *t = job_transitions(&n);
    buf_add_str(out, intro);
    buf_add_str(out, "```mermaid\nstateDiagram-v2\n    [*] --> queued: submit\n");
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "    %s --> %s: %s\n", job_state_text(t[i].from), job_state_text(t[i].to),
                   t[i].why);
    for (int s = 0; s < JOB_STATES; s++)
        if (job_state_terminal((enum job_state)s))
            buf_printf(out, "    %s --> [*]\n", job_state_text((enum job_state)s));
    buf_add_str(out, "```\n\n| from | to | by | when |\n|---|---|---|---|\n");
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "| %s | %s | %s | %s |\n", job_state_text(t[i].from),
                   job_state_text(t[i].to), actor_text(t[i].by), t[i].why);
}

static void write_diagram(const struct buf *text)
{
    FILE *f = fopen(DIAGRAM, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text->data, 1, text->len, f), text->len);
    assert_int_equal(fclose(f), 0);
}

static void diagram_is_the_table(void **state)
{
    struct buf want = {0};
    render(&want);
    if (getenv("TLGATE_RENDER"))
        write_diagram(&want);
    char have[16384] = "";
    FILE *f = fopen(DIAGRAM, "r");
    assert_non_null(f);
    size_t n = fread(have, 1, sizeof have - 1, f);
    fclose(f);
    have[n] = 0;
    assert_string_equal(have, want.data);
    buf_free(&want);
}

static void table_has_no_dead_end_and_no_way_back(void **state)
{
    for (int from = 0; from < JOB_STATES; from++) {
        int ways = 0;
        for (int to = 0; to < JOB_STATES; to++) {
            bool engine = job_may_go((enum job_state)from, (enum job_state)to, JOB_BY_ENGINE);
            ways += engine && job_state_terminal((enum job_state)to);
            if (job_state_terminal((enum job_state)from)) {
                assert_false(engine);
                assert_false(job_may_go((enum job_state)from, (enum job_state)to, JOB_BY_CANCEL));
            }
        }
        assert_true(job_state_terminal((enum job_state)from) || ways > 0);
    }
    assert_true(job_may_go(JOB_FAILED, JOB_QUEUED, JOB_BY_RETRY));
    assert_false(job_may_go(JOB_SUCCEEDED, JOB_QUEUED, JOB_BY_RETRY));
    assert_false(job_may_go(JOB_CANCELING, JOB_RUNNING, JOB_BY_ENGINE));
}

static void texts_round_trip(void **state)
{
    for (int i = 0; i < JOB_STATES; i++) {
        enum job_state s;
        assert_true(job_state_parse(job_state_text((enum job_state)i), &s));
        assert_int_equal(s, i);
    }
    for (int i = 0; i < STEP_STATES; i++) {
        enum step_state s;
        assert_true(step_state_parse(step_state_text((enum step_state)i), &s));
        assert_int_equal(s, i);
    }
    for (int i = 0; i < VM_STATUSES; i++) {
        enum vm_status s;
        assert_true(vm_status_parse(vm_status_text((enum vm_status)i), &s));
        assert_int_equal(s, i);
    }
    enum role role;
    assert_true(role_parse("provisioner", &role));
    assert_int_equal(role, ROLE_PROVISIONER);
    assert_false(role_parse("Admin", &role));
    assert_false(role_parse(NULL, &role));
}

static void scopes(void **state)
{
    static const struct {
        const char *scope, *target;
        bool covers;
    } rows[] = {
        {"/", "/subscriptions/a", true},
        {"/", "/", true},
        {"/subscriptions/a", "/subscriptions/a", true},
        {"/subscriptions/a/", "/SUBSCRIPTIONS/A/resourceGroups/x", true},
        {"/subscriptions/a", "/subscriptions/ab", false},
        {"/subscriptions/a", "/subscriptions/a-b/resourceGroups/x", false},
        {"/subscriptions/a/resourceGroups/x", "/subscriptions/a", false},
        {"/subscriptions/a/resourceGroups/x", "/subscriptions/a/resourcegroups/X/y", true},
        {"/subscriptions/a/resourceGroups/x", "/subscriptions/a/resourceGroups/x2", false},
        {"/subscriptions/a", "", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(scope_covers(rows[i].scope, rows[i].target), rows[i].covers);
}

static void clocks(void **state)
{
    static const struct {
        int64_t reset, restart, clock;
        bool regressed;
    } rows[] = {
        {3, 1, 100, false}, {3, 1, 101, false},       {3, 1, 99, true},
        {3, 2, 0, false},   {3, 0, 500, true},        {4, 0, 0, false},
        {2, 9, 999, true},  {3, 1, INT64_MIN, false}, /* Part 3, 29.3: an owner may set the clock on to FFFF000000000000 */
    };
    struct vm vm = {.reset_count = 3, .restart_count = 1, .clock_ms = 100};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct report r = {.reset_count = rows[i].reset,
                           .restart_count = rows[i].restart,
                           .clock_ms = rows[i].clock};
        assert_int_equal(vm_clock_regressed(&vm, &r), rows[i].regressed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(diagram_is_the_table),
        cmocka_unit_test(table_has_no_dead_end_and_no_way_back),
        cmocka_unit_test(texts_round_trip),
        cmocka_unit_test(scopes),
        cmocka_unit_test(clocks),
    };
    return cmocka_run_group_tests_name("store: records", tests, NULL, NULL);
}
