/* Times, ids, errors, limits, numbers. */
#include "core/clock.h"
#include "core/err.h"
#include "core/limiter.h"
#include "core/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void times_are_written(void **state)
{
    static const struct {
        int64_t ms;
        const char *text;
    } rows[] = {{0, "1970-01-01T00:00:00.000Z"},
                {951782400000, "2000-02-29T00:00:00.000Z"},
                {1795309323004, "2026-11-22T01:02:03.004Z"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[TIME_TEXT_SIZE];
        int64_t back;
        time_format(rows[i].ms, text);
        assert_string_equal(text, rows[i].text);
        assert_true(time_parse(text, &back));
        assert_true(back == rows[i].ms);
    }
}

static void times_are_read(void **state)
{
    static const struct {
        const char *text;
        int64_t ms; /* -1: refused */
    } rows[] = {
        {"1970-01-01T00:00:01Z", 1000},
        {"1970-01-01t00:00:01z", 1000},
        {"1970-01-01T01:00:00+01:00", 0},
        {"1969-12-31T23:30:00-00:30", 0},
        {"1970-01-01T00:00:00.5Z", 500},
        {"1970-01-01T00:00:00.123456789Z", 123},
        {"2024-02-29T00:00:00Z", 1709164800000},
        {"2023-02-29T00:00:00Z", -1},
        {"1970-13-01T00:00:00Z", -1},
        {"1970-00-01T00:00:00Z", -1},
        {"1970-01-32T00:00:00Z", -1},
        {"1970-01-01T24:00:00Z", -1},
        {"1970-01-01T00:60:00Z", -1},
        {"1970-01-01T00:00:00", -1},
        {"1970-01-01T00:00:00.Z", -1},
        {"1970-01-01T00:00:00+24:00", -1},
        {"1970-01-01T00:00:00+0100", -1},
        {"1970-01-01 00:00:00Z", -1},
        {"1970-1-1T00:00:00Z", -1},
        {"1970-01-01T00:00:00Zx", -1},
        {"", -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t ms = -1;
        if (time_parse(rows[i].text, &ms) != (rows[i].ms >= 0))
            print_error("%s\n", rows[i].text);
        assert_int_equal(time_parse(rows[i].text, &ms), rows[i].ms >= 0);
        assert_true(rows[i].ms < 0 || ms == rows[i].ms);
    }
}

static void durations(void **state)
{
    static const struct {
        const char *text;
        int64_t ms; /* -1: refused */
    } rows[] = {{"PT30M", 1800000},
                {"P1DT2H", 93600000},
                {"PT1H2M3S", 3723000},
                {"P7D", 604800000},
                {"PT0S", 0},
                {"P", -1},
                {"PT", -1},
                {"PT1.5S", -1},
                {"1H", -1},
                {"PT1M1H", -1},
                {"PT1M1M", -1},
                {"P1H", -1},
                {"PT1D", -1},
                {"P1Y", -1},
                {"P1W", -1},
                {"PT-1S", -1},
                {"PT1", -1},
                {"PT1S ", -1},
                {"", -1},
                {"P1DT", -1},
                {"PTT1S", -1},
                {"PT12345678901S", -1}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t ms = -1;
        if (duration_parse(rows[i].text, &ms) != (rows[i].ms >= 0))
            print_error("%s\n", rows[i].text);
        assert_int_equal(duration_parse(rows[i].text, &ms), rows[i].ms >= 0);
        assert_true(rows[i].ms < 0 || ms == rows[i].ms);
    }
}

static void uuids(void **state)
{
    char one[UUID_SIZE], two[UUID_SIZE], later[UUID_SIZE];
    uuid_v4(one);
    uuid_v4(two);
    assert_true(uuid_valid(one) && uuid_valid(two));
    assert_string_not_equal(one, two);
    assert_int_equal(one[14], '4');
    assert_non_null(strchr("89ab", one[19]));
    uuid_v7(1000, one);
    uuid_v7(1001, later);
    assert_int_equal(one[14], '7');
    assert_int_equal(strncmp(one, "00000000-03e8", 13), 0);
    assert_true(strcmp(one, later) < 0);
    for (int i = 0; i < 10000; i++) { /* more than a millisecond has room for */
        uuid_v7(1001 - i % 2, two);
        assert_true(strcmp(later, two) < 0);
        memcpy(later, two, sizeof later);
    }
    assert_int_equal(strncmp(later, "00000000-03eb", 13), 0);
    uuid_v7(1004, later);
    assert_int_equal(strncmp(later, "00000000-03ec-7000", 18), 0);
    uuid_v7(1, later); /* the clock was set back */
    assert_int_equal(strncmp(later, "00000000-0001-7000", 18), 0);
    assert_true(uuid_valid("01234567-89AB-cdef-0123-456789abcdef"));
    assert_false(uuid_valid("01234567-89AB-cdef-0123-456789abcde"));
    assert_false(uuid_valid("01234567-89AB-cdef-0123-456789abcdef0"));
    assert_false(uuid_valid("0123456789AB-cdef-0123-456789abcdef--"));
    assert_false(uuid_valid("g1234567-89AB-cdef-0123-456789abcdef"));
    assert_false(uuid_valid(""));
}

static void a_manual_clock_stands_still(void **state)
{
    struct manual_clock m = {.wall = 5, .mono = 7};
    struct clock c = clock_manual(&m);
    assert_int_equal(clock_wall(&c), 5);
    m.mono += 3;
    assert_int_equal(clock_mono(&c), 10);
    assert_true(clock_wall(&clock_system) > 1700000000000);
    assert_true(clock_mono(&clock_system) > 0);
}

/* ---- errors ---- */

static void every_code_has_its_row(void **state)
{
    for (int i = 1; i < ERR_COUNT; i++) {
        enum err code = (enum err)i;
        assert_in_range(err_http_status(code), 400, 599);
        assert_true(*err_title(code));
        assert_int_equal(err_from_code(err_code(code)), code); /* and no code twice */
    }
    assert_string_equal(err_code(OK), "ok");
    assert_int_equal(err_from_code("nonsense"), ERR_INTERNAL);
    assert_int_equal(err_retry_class(ERR_UPSTREAM_THROTTLED), RETRY_THROTTLED);
    assert_int_equal(err_http_status(ERR_COUNT), 500);
}

static void details_are_cut_and_scrubbed(void **state)
{
    struct err_info e;
    char text[1000];
    memset(text, 'x', sizeof text);
    text[999] = 0;
    text[1] = '\n';
    text[2] = 0x1b;
    assert_int_equal(err_set(&e, ERR_UPSTREAM, "%s", text), ERR_UPSTREAM);
    assert_int_equal(strlen(e.detail), sizeof e.detail - 1);
    assert_int_equal(strncmp(e.detail, "x??x", 4), 0);
    assert_int_equal(err_set(NULL, ERR_UPSTREAM, "x"), ERR_UPSTREAM);
    assert_int_equal(err_remedy(&e, "do %s", "this"), ERR_UPSTREAM);
    assert_string_equal(e.remedy, "do this");
}

static void fields_are_counted_out(void **state)
{
    struct err_info e = {0};
    for (int i = 0; i < 2 * ERR_FIELDS_MAX + 5; i++) {
        char pointer[16];
        snprintf(pointer, sizeof pointer, "#/%d", i / 2); /* what was said of it first stays */
        assert_int_equal(err_add_field(&e, pointer, "bad %d", i), ERR_VALIDATION);
    }
    assert_int_equal(e.n_fields, ERR_FIELDS_MAX);
    assert_string_equal(e.fields[3].detail, "bad 6");
    assert_int_equal(err_add_field(NULL, "#", "x"), ERR_VALIDATION);
}

/* ---- limiter ---- */

static void a_bucket_empties_and_fills(void **state)
{
    struct limiter *l = limiter_new(64, 2, 3);
    int after = 0;
    for (int i = 0; i < 3; i++)
        assert_true(limiter_take(l, "a", 1000, NULL));
    assert_false(limiter_take(l, "a", 1000, &after));
    assert_int_equal(after, 1);
    assert_true(limiter_take(l, "b", 1000, NULL)); /* another's bucket is another's */
    assert_false(limiter_take(l, "a", 1499, NULL));
    assert_true(limiter_take(l, "a", 1500, NULL));
    assert_false(limiter_take(l, "a", 1500, NULL));
    assert_false(limiter_take(l, "a", 500, NULL)); /* time that goes back gives nothing */
    for (int i = 0; i < 3; i++)
        assert_true(limiter_take(l, "a", INT64_MAX / 4, NULL)); /* no more than the burst */
    assert_false(limiter_take(l, "a", INT64_MAX / 4, NULL));
    limiter_free(l);
    limiter_free(NULL);
}

static void what_is_charged_later_is_owed(void **state)
{
    struct limiter *l = limiter_new(64, 1, 2), *none = limiter_new(64, 0, 1);
    int after = 0;
    for (int i = 0; i < 5; i++)
        assert_true(limiter_has(l, "a", 1000, NULL)); /* looking takes nothing */
    for (int i = 0; i < 4; i++)
        limiter_charge(l, "a", 1000);
    limiter_charge(none, "a", 1000);
    assert_true(limiter_has(none, "a", 1000, NULL));
    assert_false(limiter_has(l, "a", 1000, &after));
    assert_int_equal(after, 3);
    assert_false(limiter_take(l, "a", 3999, NULL));
    assert_true(limiter_take(l, "a", 4000, NULL));
    assert_false(limiter_has(l, "a", 4000, NULL));
    limiter_free(l);
    limiter_free(none);
}

static void zero_is_no_limit_and_many_keys_fit(void **state)
{
    struct limiter *none = limiter_new(1, 0, 1), *small = limiter_new(8, 1, 1);
    for (int i = 0; i < 100; i++)
        assert_true(limiter_take(none, "a", 0, NULL));
    for (int i = 0; i < 10000; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        assert_true(limiter_take(small, key, i, NULL)); /* never locked out by others */
        assert_false(limiter_take(small, key, i, NULL));
    }
    limiter_free(none);
    limiter_free(small);
}

/* ---- metrics ---- */

static void read_elsewhere(struct metrics *m, void *ctx)
{
    metrics_set(m, "g", NULL, *(const double *)ctx);
}

static void metrics_are_written(void **state)
{
    struct metrics *m = metrics_new();
    struct buf out = {0}, labels = {0};
    double now = 1.5;
    metrics_declare(m, METRIC_COUNTER, "c_total", "help c");
    metrics_declare(m, METRIC_GAUGE, "g", "help g");
    metrics_declare(m, METRIC_SECONDS, "s_seconds", "help s");
    metrics_on_write(m, read_elsewhere, &now);
    metrics_label(&labels, "a", "x\"\\\n");
    metrics_label(&labels, "b", "y");
    metrics_add(m, "c_total", labels.data, 2);
    metrics_add(m, "c_total", labels.data, 3);
    metrics_add(m, "c_total", NULL, 1);
    metrics_observe(m, "s_seconds", "r=\"1\"", 0.005);
    metrics_observe(m, "s_seconds", "r=\"1\"", 0.3);
    metrics_observe(m, "s_seconds", "r=\"1\"", 99);
    metrics_write(m, &out);
    static const char *const expected[] = {
        "# HELP c_total help c\n# TYPE c_total counter\n",
        "c_total{a=\"x\\\"\\\\\\n\",b=\"y\"} 5\n",
        "\nc_total 1\n",
        "# TYPE g gauge\ng 1.5\n",
        "# TYPE s_seconds histogram\n",
        "s_seconds_bucket{r=\"1\",le=\"0.005\"} 1\n",
        "s_seconds_bucket{r=\"1\",le=\"0.25\"} 1\n",
        "s_seconds_bucket{r=\"1\",le=\"0.5\"} 2\n",
        "s_seconds_bucket{r=\"1\",le=\"+Inf\"} 3\n",
        "s_seconds_count{r=\"1\"} 3\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(expected); i++)
        assert_non_null(strstr(out.data, expected[i]));
    buf_free(&out);
    buf_free(&labels);
    metrics_free(m);
}

static void a_family_does_not_grow_for_ever(void **state)
{
    struct metrics *m = metrics_new();
    struct buf out = {0};
    metrics_declare(m, METRIC_COUNTER, "c", "h");
    for (int i = 0; i < METRICS_SERIES_MAX + 100; i++) {
        char labels[32];
        snprintf(labels, sizeof labels, "i=\"%d\"", i);
        metrics_add(m, "c", labels, 1);
    }
    metrics_write(m, &out);
    size_t lines = 0;
    for (const char *p = out.data; (p = strchr(p, '\n')); p++)
        lines++;
    assert_int_equal(lines, METRICS_SERIES_MAX + 2);
    buf_free(&out);
    metrics_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_written),
        cmocka_unit_test(times_are_read),
        cmocka_unit_test(durations),
        cmocka_unit_test(uuids),
        cmocka_unit_test(a_manual_clock_stands_still),
        cmocka_unit_test(every_code_has_its_row),
        cmocka_unit_test(details_are_cut_and_scrubbed),
        cmocka_unit_test(fields_are_counted_out),
        cmocka_unit_test(a_bucket_empties_and_fills),
        cmocka_unit_test(what_is_charged_later_is_owed),
        cmocka_unit_test(zero_is_no_limit_and_many_keys_fit),
        cmocka_unit_test(metrics_are_written),
        cmocka_unit_test(a_family_does_not_grow_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
