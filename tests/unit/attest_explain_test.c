/*
 * A verdict in words. Each boot below was tampered with; the explanation must name the check, the PCR,
 * the event, what was expected, what was found and the remedy, and reads as in its golden file
 * (tests/unit/golden/explain/NAME.txt). With TLGATE_GOLDEN=write the files are written anew, to be read
 * by a person before they are committed.
 */
#include "attest/explain.h"
#include "tests/unit/attest_judge.h"

#define GOLDEN "tests/unit/golden/explain/"

/* ---- what was done to the boot; returns the event that gives it away ---- */

static size_t index_of(const struct make_event *ev)
{
    return (size_t)(ev - m->events);
}

static struct make_event *first(uint32_t pcr, uint32_t type)
{
    return make_find(m, pcr, type);
}

/* Secure Boot was off; the log is edited to say on, its digest left as measured. */
static size_t secure_boot_edited(void)
{
    struct make_event *ev = first(7, EV_EFI_VARIABLE_DRIVER_CONFIG);
    ev->measured = make_variable(m->arena, make_global, "SecureBoot", BYTES("\0", 1));
    return index_of(ev);
}

/* The events of PCR 7 are given a type that nobody looks at, and a better set is appended. */
static size_t variable_retyped(void)
{
    struct make_event *ev = first(7, EV_EFI_VARIABLE_DRIVER_CONFIG);
    ev->type = EV_UNUSED;
    return index_of(ev);
}

/* An attacker's key, measured when the firmware had already handed over. */
static size_t variable_late(void)
{
    struct make_event late = *first(7, EV_EFI_VARIABLE_DRIVER_CONFIG);
    make_remove(m, first(7, EV_EFI_VARIABLE_DRIVER_CONFIG));
    *make_add(m, 7, late.type, late.data) = late;
    return m->n_events - 1;
}

static size_t variable_twice(void)
{
    const struct make_event *ev = first(7, EV_EFI_VARIABLE_DRIVER_CONFIG);
    struct make_event again = *ev;
    size_t at = index_of(ev) + 1;
    make_add(m, 7, again.type, again.data);
    memmove(&m->events[at + 1], &m->events[at], (m->n_events - 1 - at) * sizeof again);
    m->events[at] = again;
    return at;
}

/* A variable of the attacker's own namespace that is called as the real one. */
static size_t variable_foreign(void)
{
    struct make_event *ev = first(7, EV_EFI_VARIABLE_DRIVER_CONFIG);
    ev->data = ev->measured = make_variable(m->arena, make_security, "SecureBoot", BYTES("\1", 1));
    return index_of(ev);
}

static size_t separator_disguised(void)
{
    static const uint8_t zero[4];
    make_add(m, 7, EV_EFI_ACTION, BYTES_STR("x"))->measured = BYTES_OF(zero);
    return m->n_events - 1;
}

/* The firmware met an error and went on. */
static size_t separator_of_error(void)
{
    static const uint8_t one[4] = {1};
    struct make_event *ev = first(7, EV_SEPARATOR);
    ev->data = ev->measured = BYTES_OF(one);
    return index_of(ev);
}

static size_t debugger_attached(void)
{
    make_add(m, 7, EV_EFI_ACTION, BYTES_STR("UEFI Debug Mode"));
    return m->n_events - 1;
}

/* What was booted is hidden: the command line in the log is not the one that was measured. */
static size_t command_line_edited(void)
{
    struct make_event *ev = first(8, EV_IPL);
    ev->data = BYTES("kernel_cmdline: root=/dev/sda1 ro quiet", 40);
    return index_of(ev);
}

static size_t boot_option_edited(void)
{
    struct make_event *ev = first(4, EV_EFI_ACTION);
    ev->data = BYTES_STR("Returning from EFI Application from Boot Option");
    return index_of(ev);
}

/* A second locality event changes where the replay of PCR 0 begins. */
static size_t locality_late(void)
{
    static const char locality[17] = "StartupLocality\0\3";
    make_add(m, 0, EV_NO_ACTION, BYTES_OF(locality));
    return m->n_events - 1;
}

static const struct tampering {
    const char *name;
    size_t (*tamper)(void);
    enum attest_check check;
    const char *reason;
    int pcr;
    const char *remedy;
} boots[] = {
    {"secure_boot_edited", secure_boot_edited, CHECK_LOG_CONTENT, "digest_mismatch", 7,
     "distrust_log"},
    {"variable_retyped", variable_retyped, CHECK_LOG_CONTENT, "unexpected_event_type", 7,
     "distrust_boot"},
    {"variable_late", variable_late, CHECK_LOG_CONTENT, "variable_after_separator", 7,
     "distrust_boot"},
    {"variable_twice", variable_twice, CHECK_LOG_CONTENT, "duplicate_variable", 7, "distrust_boot"},
    {"variable_foreign", variable_foreign, CHECK_LOG_CONTENT, "foreign_vendor_guid", 7,
     "distrust_boot"},
    {"separator_disguised", separator_disguised, CHECK_LOG_CONTENT, "retyped_separator", 7,
     "distrust_boot"},
    {"separator_of_error", separator_of_error, CHECK_LOG_CONTENT, "separator_value", 7,
     "restart_vm"},
    {"debugger_attached", debugger_attached, CHECK_LOG_CONTENT, "uefi_debug_mode", 7,
     "disable_debugging"},
    {"command_line_edited", command_line_edited, CHECK_LOG_CONTENT, "digest_mismatch", 8,
     "distrust_log"},
    {"boot_option_edited", boot_option_edited, CHECK_LOG_CONTENT, "digest_mismatch", 4,
     "distrust_log"},
    {"locality_late", locality_late, CHECK_LOG_REPLAY, "startup_locality_invalid", 0,
     "distrust_log"},
};

/* ---- the explanation ---- */

static struct event_log boot_log;

static struct explain explain_result(void)
{
    boot_log = eventlog_parse(m->log, m->arena);
    return (struct explain){.verdict = attest_verdict_name(result.verdict),
                            .findings = result.findings,
                            .n_findings = result.n_findings,
                            .log = &boot_log};
}

static json_t *as_json(const struct explain *x)
{
    struct err_info e = {0};
    json_t *v = NULL;
    struct buf out = {0};
    struct jw w = jw_over(&out);
    explain_write(&w, x, m->arena);
    assert_int_equal(json_parse(buf_bytes(&out), &v, &e), OK);
    buf_free(&out);
    return v;
}

/* The problem with this reason at this event, or NULL. */
static const json_t *problem_of(const json_t *explanation, const char *reason, int event)
{
    const json_t *problems = json_path(explanation, "problems");
    for (size_t i = 0; i < json_array_size(problems); i++) {
        const json_t *p = json_array_get(problems, i);
        if (!strcmp(json_path_str(p, "reason"), reason) &&
            json_integer_value(json_path(p, "event")) == event)
            return p;
    }
    return NULL;
}

static void write_golden(const char *path, const struct buf *text)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text->data, 1, text->len, f), text->len);
    assert_int_equal(fclose(f), 0);
}

static void compare_golden(const char *name, const struct buf *text)
{
    char path[128], kept[8192];
    snprintf(path, sizeof path, GOLDEN "%s.txt", name);
    const char *mode = getenv("TLGATE_GOLDEN");
    if (mode && strcmp(mode, "write") == 0)
        write_golden(path, text);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(kept, 1, sizeof kept, f);
    assert_int_equal(fclose(f), 0);
    if (n != text->len || memcmp(kept, text->data, n) != 0)
        print_message("%s is not what is said now:\n%.*s\n", path, (int)text->len, text->data);
    assert_int_equal(n, text->len);
    assert_memory_equal(kept, text->data, n);
}

static void a_tampered_boot_is_explained(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(boots); i++) {
        const struct tampering *t = &boots[i];
        print_message("%s\n", t->name);
        make_reset(m);
        int event = 1 + (int)t->tamper(); /* the log begins with its header */
        make_build(m);
        assert_int_equal(judge(), OK);
        assert_true(has(t->check, STATUS_FAIL, t->reason));
        struct explain x = explain_result();
        AUTO(json) json_t *v = as_json(&x);
        const json_t *p = problem_of(v, t->reason, event);
        assert_non_null(p);
        assert_string_equal(json_path_str(p, "check"), attest_check_name(t->check));
        assert_int_equal(json_integer_value(json_path(p, "pcr")), t->pcr);
        assert_non_null(json_path_str(p, "expected"));
        assert_non_null(json_path_str(p, "found"));
        assert_string_not_equal(json_path_str(p, "expected"), json_path_str(p, "found"));
        assert_string_equal(json_path_str(p, "remedy/code"), t->remedy);
        struct buf text = {0};
        explain_text(&text, &x, m->arena);
        compare_golden(t->name, &text);
        buf_free(&text);
    }
}

static void an_honest_boot_has_no_problems(void **state)
{
    make_reset(m);
    make_build(m);
    assert_int_equal(judge(), OK);
    struct explain x = explain_result();
    AUTO(json) json_t *v = as_json(&x);
    assert_int_equal(json_array_size(json_path(v, "problems")), 0);
    assert_true(json_array_size(json_path(v, "passed")) >= 15);
    assert_non_null(strstr(json_path_str(v, "summary"), "trusted: 0 of 18 checks failed"));
}

/* What is stored is explained as what was just judged. */
static void a_stored_report_reads_the_same(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(boots); i++) {
        make_reset(m);
        boots[i].tamper();
        make_build(m);
        assert_int_equal(judge(), OK);
        struct explain now = explain_result(), stored = now;
        struct buf checks = {0}, a = {0}, b = {0};
        struct jw w = jw_over(&checks);
        attest_write_checks(&w, &result);
        assert_int_equal(explain_read(buf_bytes(&checks), m->arena, &stored, &error), OK);
        assert_int_equal(stored.n_findings, now.n_findings);
        explain_text(&a, &now, m->arena);
        explain_text(&b, &stored, m->arena);
        assert_string_equal(a.data, b.data);
        buf_free(&checks);
        buf_free(&a);
        buf_free(&b);
    }
}

static void a_text_that_is_none_is_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "[",
                                      "[1]",
                                      "[{}]",
                                      "[{\"name\":\"policy\"}]",
                                      "[{\"name\":\"policy\",\"status\":\"pass\",\"pcr\":-1}]"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct explain x = {.verdict = "untrusted"};
        assert_int_not_equal(explain_read(BYTES_STR(bad[i]), m->arena, &x, &error), OK);
        error = (struct err_info){0};
    }
}

/* A check or status of another version is no reason to refuse the rest. */
static void unknown_checks_are_left_out(void **state)
{
    struct explain x = {.verdict = "untrusted"};
    const char *text = "[{\"name\":\"moon.phase\",\"status\":\"fail\"},"
                       "{\"name\":\"policy\",\"status\":\"odd\"},"
                       "{\"name\":\"policy\",\"status\":\"fail\",\"reason\":\"never_heard_of\"}]";
    assert_int_equal(explain_read(BYTES_STR(text), m->arena, &x, &error), OK);
    assert_int_equal(x.n_findings, 1);
    AUTO(json) json_t *v = as_json(&x);
    const json_t *p = json_array_get(json_path(v, "problems"), 0);
    assert_string_equal(json_path_str(p, "reason"), "never_heard_of");
    assert_null(json_path(p, "remedy"));
}

static void every_check_has_a_title(void **state)
{
    for (int c = 0; c < CHECK_COUNT; c++)
        assert_non_null(explain_title((enum attest_check)c));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tampered_boot_is_explained),
        cmocka_unit_test(an_honest_boot_has_no_problems),
        cmocka_unit_test(a_stored_report_reads_the_same),
        cmocka_unit_test(a_text_that_is_none_is_refused),
        cmocka_unit_test(unknown_checks_are_left_out),
        cmocka_unit_test(every_check_has_a_title),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
