/* Targets, header values and routes: each a table of what comes in and what it means. */
#include "core/buf.h"
#include "server/fields.h"
#include "server/routes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* ---- target ---- */

static void targets(void **state)
{
    static const struct {
        const char *text;
        enum err expected;
        const char *segments; /* joined by "|" */
        const char *query;    /* "k=v|k=v" */
    } rows[] = {
        {"/", OK, "", ""},
        {"/a/b", OK, "a|b", ""},
        {"/a/", OK, "a|", ""},
        {"/a%20b", OK, "a b", ""},
        {"/%E2%82%AC", OK, "\xe2\x82\xac", ""},
        {"/a%2525", OK, "a%25", ""},
        {"/a?x=1&y=%26%3D&z&x=2", OK, "a", "x=1|y=&=|z=|x=2"},
        {"/a?x=a/b?c", OK, "a", "x=a/b?c"},
        {"/a?x=%2f", OK, "a", "x=/"},
        {"/a?", OK, "a", ""},
        {"http://host:1/a", OK, "a", ""},
        {"HTTPS://host/a?b=c", OK, "a", "b=c"},
        {"http://host", ERR_BAD_REQUEST, NULL, NULL},
        {"*", ERR_BAD_REQUEST, NULL, NULL},
        {"a", ERR_BAD_REQUEST, NULL, NULL},
        {"", ERR_BAD_REQUEST, NULL, NULL},
        {"/a%2fb", ERR_BAD_REQUEST, NULL, NULL},
        {"/a%2Fb", ERR_BAD_REQUEST, NULL, NULL},
        {"/a%00", ERR_BAD_REQUEST, NULL, NULL},
        {"/a%0a", ERR_BAD_REQUEST, NULL, NULL},
        {"/a?b=%00", ERR_BAD_REQUEST, NULL, NULL},
        {"/..", ERR_BAD_REQUEST, NULL, NULL},
        {"/a/./b", ERR_BAD_REQUEST, NULL, NULL},
        {"/%2e%2E/a", ERR_BAD_REQUEST, NULL, NULL},
        {"/a%", ERR_BAD_REQUEST, NULL, NULL},
        {"/a%4", ERR_BAD_REQUEST, NULL, NULL},
        {"/a%4/b", ERR_BAD_REQUEST, NULL, NULL},
        {"/a%zz", ERR_BAD_REQUEST, NULL, NULL},
        {"/a?b%4=c", ERR_BAD_REQUEST, NULL, NULL},
        {"/a#b", ERR_BAD_REQUEST, NULL, NULL},
        {"/a\\b", ERR_BAD_REQUEST, NULL, NULL},
        {"/a\"b", ERR_BAD_REQUEST, NULL, NULL},
        {"/a b", ERR_BAD_REQUEST, NULL, NULL},
        {"/\xe9", ERR_BAD_REQUEST, NULL, NULL},
        {"/%e9", ERR_BAD_REQUEST, NULL, NULL},
        {"/%c0%af", ERR_BAD_REQUEST, NULL, NULL},
        {"/%ed%a0%80", ERR_BAD_REQUEST, NULL, NULL},
        {"/%f4%90%80%80", ERR_BAD_REQUEST, NULL, NULL},
        {"/1/2/3/4/5/6/7/8/9/a/b/c/d/e/f/g/h", ERR_NOT_FOUND, NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena *a = arena_new();
        struct target t;
        enum err err = target_parse(rows[i].text, a, &t, NULL);
        if (err != rows[i].expected)
            print_error("%s\n", rows[i].text);
        assert_int_equal(err, rows[i].expected);
        char segments[256] = "", query[256] = "";
        size_t n = 0;
        for (size_t k = 0; !err && k < t.n_segments; k++)
            n += (size_t)snprintf(segments + n, sizeof segments - n, "%s%s", k ? "|" : "",
                                  t.segments[k]);
        n = 0;
        for (size_t k = 0; !err && k < t.n_query; k++)
            n += (size_t)snprintf(query + n, sizeof query - n, "%s%s=%s", k ? "|" : "",
                                  t.query[k].key, t.query[k].value);
        if (!err) {
            assert_string_equal(segments, rows[i].segments);
            assert_string_equal(query, rows[i].query);
        }
        arena_free(a);
    }
}

static void too_many_parameters(void **state)
{
    struct arena *a = arena_new();
    struct target t;
    struct buf text = {0};
    buf_add_str(&text, "/a?");
    for (int i = 0; i < TARGET_QUERY_MAX; i++)
        buf_add_str(&text, "b&");
    assert_int_equal(target_parse(text.data, a, &t, NULL), OK);
    buf_add_str(&text, "b");
    assert_int_equal(target_parse(text.data, a, &t, NULL), ERR_BAD_REQUEST);
    buf_free(&text);
    arena_free(a);
}

/* ---- header values ---- */

static void media_types(void **state)
{
    static const struct {
        const char *value;
        bool json;
    } rows[] = {
        {"application/json", true},
        {"Application/JSON", true},
        {"application/json;charset=utf-8", true},
        {"application/json ; charset=\"UTF-8\"", true},
        {"application/json; charset=utf-16", false},
        {"application/json; charset=utf-8; x=y", false},
        {"application/json;", false},
        {"application/jsonx", false},
        {"application/json, text/plain", false},
        {"text/json", false},
        {"", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(fields_media_is(rows[i].value, "application/json"), rows[i].json);
}

static void accept_ranges(void **state)
{
    static const struct {
        const char *accept;
        bool json;
    } rows[] = {
        {NULL, true},
        {"", true},
        {"*/*", true},
        {"application/*", true},
        {"application/json", true},
        {"text/html, application/json;q=0.1", true},
        {"text/html;level=1;q=0.5 , */* ;q=0.001", true},
        {"text/html", false},
        {"application/xml", false},
        {"application/json;q=0", false},
        {"application/json;q=0.000, */*", false},
        {"*/*;q=0, application/json", true},
        {"application/*;q=0", false},
        {"app/*", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (fields_accepts(rows[i].accept, "application/json") != rows[i].json)
            print_error("%s\n", rows[i].accept);
        assert_int_equal(fields_accepts(rows[i].accept, "application/json"), rows[i].json);
    }
}

static void prefer_wait(void **state)
{
    static const struct {
        const char *value;
        int seconds;
    } rows[] = {{NULL, 0},      {"wait=10", 10},         {"wait=100", 30},
                {"wait=x", 0},  {"respond-async", 0},    {"respond-async, wait=5", 5},
                {"wait=", 0},   {"wait=5; foo=bar", 5},  {"Wait=7", 7},
                {"wait=5x", 0}, {"wait=99999999999", 0}, {"x=wait=5", 0}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(fields_prefer_wait(rows[i].value, 30), rows[i].seconds);
}

static void idempotency_keys(void **state)
{
    static const struct {
        const char *value;
        const char *key;
    } rows[] = {{"order-17", "order-17"},
                {"\"order-17\"", "order-17"},
                {"\"a b\"", "a b"},
                {"\"a\\\"b\\\\\"", "a\"b\\"},
                {"\"\"", NULL},
                {"", NULL},
                {"\"a", NULL},
                {"\"a\"b", NULL},
                {"\"a\\b\"", NULL},
                {"a b", NULL},
                {"a\"b", NULL},
                {"a,b", NULL},
                {"a;b", NULL},
                {"\"\xc3\xa9\"", NULL}};
    struct arena *a = arena_new();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *key = fields_idempotency_key(rows[i].value, a);
        if (rows[i].key)
            assert_string_equal(key, rows[i].key);
        else
            assert_null(key);
    }
    arena_free(a);
}

static void trace_contexts(void **state)
{
#define ID "0af7651916cd43dd8448eb211c80319c"
    static const struct {
        const char *value;
        bool taken;
    } rows[] = {{"00-" ID "-b7ad6b7169203331-01", true},
                {"00-" ID "-b7ad6b7169203331-00", true},
                {"01-" ID "-b7ad6b7169203331-01-more", true},
                {"01-" ID "-b7ad6b7169203331-01.more", false},
                {"00-" ID "-b7ad6b7169203331-01-", false},
                {"ff-" ID "-b7ad6b7169203331-01", false},
                {"0g-" ID "-b7ad6b7169203331-01", false},
                {"00-" ID "-b7ad6b7169203331-0", false},
                {"00-" ID "-b7ad6b7169203331-0G", false},
                {"00-" ID "-B7AD6B7169203331-01", false},
                {"00-" ID "-0000000000000000-01", false},
                {"00-00000000000000000000000000000000-b7ad6b7169203331-01", false},
                {"00_" ID "-b7ad6b7169203331-01", false},
                {"", false},
                {NULL, false}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char one[TRACEPARENT_SIZE], two[TRACEPARENT_SIZE];
        assert_int_equal(fields_traceparent(rows[i].value, one), rows[i].taken);
        assert_int_equal(strncmp(one + 3, ID, 32) == 0, rows[i].taken);
        fields_traceparent(rows[i].value, two);
        assert_string_not_equal(one, two); /* a span of its own each time */
    }
}

/* ---- routes ---- */

static int handler(struct call *c)
{
    return 200;
}

static const char *short_name(const char *s)
{
    return strlen(s) > 3 ? "is too long" : NULL;
}

#define PARAMS(...)                                                                                \
    (const struct route_param[])                                                                   \
    {                                                                                              \
        __VA_ARGS__,                                                                               \
        {                                                                                          \
            .name = NULL                                                                           \
        }                                                                                          \
    }

static const struct route table[] = {
    {.method = "GET",
     .path = "/v1/things/{id}",
     .operation = "get",
     .handler = handler,
     .params = PARAMS({.name = "id", .match = short_name, .min = 1, .max = 5})},
    {.method = "DELETE",
     .path = "/v1/things/{id}",
     .operation = "del",
     .handler = handler,
     .params = PARAMS({.name = "id", .max = 5})},
    {.method = "GET",
     .path = "/v1/things/summary",
     .operation = "sum",
     .handler = handler,
     .params = PARAMS({.name = NULL})},
    {.method = "GET",
     .path = "/v1/subscriptions/{subscriptionId}/resourceGroups/{resourceGroup}/virtualMachines",
     .operation = "vms",
     .handler = handler,
     .params = PARAMS({.name = "subscriptionId", .max = 64}, {.name = "resourceGroup", .max = 90})},
};

static void match(struct arena *a, const char *method, const char *path, struct route_match *m)
{
    struct target t;
    assert_int_equal(target_parse(path, a, &t, NULL), OK);
    struct routes *r = routes_new(table, ARRAY_LEN(table));
    *m = (struct route_match){0};
    routes_match(r, method, &t, m);
    routes_free(r);
}

static void routes_are_found(void **state)
{
    static const struct {
        const char *method;
        const char *path;
        const char *operation; /* NULL: none */
        const char *allow;     /* NULL: no such path */
    } rows[] = {
        {"GET", "/v1/things/a", "get", "GET, HEAD, DELETE"},
        {"DELETE", "/v1/things/a", "del", "GET, HEAD, DELETE"},
        {"HEAD", "/v1/things/a", "get", "GET, HEAD, DELETE"},
        {"PUT", "/v1/things/a", NULL, "GET, HEAD, DELETE, OPTIONS"},
        {"GET", "/v1/things/summary", "sum", "GET, HEAD"},
        {"DELETE", "/v1/things/summary", NULL, "GET, HEAD, OPTIONS"},
        {"get", "/v1/things/a", NULL, "GET, HEAD, DELETE, OPTIONS"},
        {"GET", "/V1/things/a", NULL, NULL},
        {"GET", "/v1/Things/a", NULL, NULL},
        {"GET", "/v1/things/", NULL, NULL},
        {"GET", "/v1/things", NULL, NULL},
        {"GET", "/v1/things/a/b", NULL, NULL},
        {"GET", "/v1/things/a/", NULL, NULL},
        {"GET", "//v1/things/a", NULL, NULL},
        {"GET", "/", NULL, NULL},
        {"GET", "/v1/subscriptions/s/resourcegroups/G/VIRTUALMACHINES", "vms", "GET"},
        {"GET", "/v1/Subscriptions/s/resourceGroups/G/virtualMachines", "vms", "GET"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena *a = arena_new();
        struct route_match m;
        match(a, rows[i].method, rows[i].path, &m);
        if (m.path_found != (rows[i].allow != NULL))
            print_error("%s\n", rows[i].path);
        assert_int_equal(m.path_found, rows[i].allow != NULL);
        assert_string_equal(m.route ? m.route->operation : "",
                            rows[i].operation ? rows[i].operation : "");
        if (!m.route)
            assert_string_equal(m.allow, rows[i].allow ? rows[i].allow : "");
        arena_free(a);
    }
}

static void parameters_are_checked_and_give_the_scope(void **state)
{
    struct arena *a = arena_new();
    struct route_match m;
    struct err_info why = {0};
    match(a, "GET", "/v1/things/abc", &m);
    assert_int_equal(routes_check_params(&m, &why), OK);
    assert_null(routes_scope(&m, a));
    match(a, "GET", "/v1/things/abcd", &m);
    assert_int_equal(routes_check_params(&m, &why), ERR_VALIDATION);
    assert_string_equal(why.fields[0].pointer, "{id}");
    match(a, "DELETE", "/v1/things/abcdef", &m);
    assert_int_equal(routes_check_params(&m, &why), ERR_VALIDATION);
    match(a, "GET", "/v1/subscriptions/S/resourceGroups/G/virtualMachines", &m);
    assert_string_equal(routes_scope(&m, a), "/subscriptions/S/resourceGroups/G");
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(targets),
        cmocka_unit_test(too_many_parameters),
        cmocka_unit_test(media_types),
        cmocka_unit_test(accept_ranges),
        cmocka_unit_test(prefer_wait),
        cmocka_unit_test(idempotency_keys),
        cmocka_unit_test(trace_contexts),
        cmocka_unit_test(routes_are_found),
        cmocka_unit_test(parameters_are_checked_and_give_the_scope),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
