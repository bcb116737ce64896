/* Long-running operations: what to poll, and what a poll's answer says. */
#include "arm/reply.h"
#include "arm/url.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define HOST     "https://management.azure.com"
#define TARGET   "/subscriptions/s/resourceGroups/g/providers/P/t/n?api-version=1"
#define OP       HOST "/subscriptions/s/providers/P/locations/l/operations/1?api-version=1"
#define LOC      OP "&monitor=true"
#define STATE(s) "{\"properties\":{\"provisioningState\":\"" s "\"}}"

struct next_row {
    enum arm_method method;
    int status;
    const char *async;
    const char *location;
    const char *body;
    enum arm_lro_kind kind;
    const char *url;
    const char *final_url;
    enum err err;
};

static const struct next_row next_rows[] = {
    /* both headers: Azure-AsyncOperation is preferred */
    {ARM_PUT, 201, OP, LOC, STATE("Creating"), ARM_LRO_ASYNC, OP, HOST TARGET, OK},
    {ARM_PUT, 200, OP, NULL, STATE("Succeeded"), ARM_LRO_ASYNC, OP, HOST TARGET, OK},
    {ARM_PATCH, 202, OP, LOC, "", ARM_LRO_ASYNC, OP, HOST TARGET, OK},
    {ARM_POST, 202, OP, LOC, "", ARM_LRO_ASYNC, OP, LOC, OK},
    {ARM_POST, 202, OP, NULL, "", ARM_LRO_ASYNC, OP, NULL, OK},
    {ARM_DELETE, 202, OP, LOC, "", ARM_LRO_ASYNC, OP, NULL, OK},
    /* Location alone */
    {ARM_DELETE, 202, NULL, LOC, "", ARM_LRO_LOCATION, LOC, NULL, OK},
    {ARM_POST, 202, NULL, LOC, "", ARM_LRO_LOCATION, LOC, NULL, OK},
    {ARM_PUT, 202, NULL, LOC, "", ARM_LRO_LOCATION, LOC, HOST TARGET, OK},
    {ARM_PUT, 201, NULL, LOC, STATE("Creating"), ARM_LRO_PROVISIONING, HOST TARGET, NULL, OK},
    {ARM_PUT, 201, NULL, HOST TARGET, STATE("Succeeded"), ARM_LRO_NONE, NULL, NULL, OK},
    /* provisioningState alone */
    {ARM_PUT, 201, NULL, NULL, STATE("Creating"), ARM_LRO_PROVISIONING, HOST TARGET, NULL, OK},
    {ARM_PUT, 200, NULL, NULL, STATE("Failed"), ARM_LRO_PROVISIONING, HOST TARGET, NULL, OK},
    {ARM_GET, 200, NULL, NULL, STATE("Failed"), ARM_LRO_NONE, NULL, NULL, OK},
    {ARM_GET, 200, NULL, NULL, STATE("Updating"), ARM_LRO_PROVISIONING, HOST TARGET, NULL, OK},
    {ARM_PUT, 202, NULL, NULL, "", ARM_LRO_PROVISIONING, HOST TARGET, NULL, OK},
    {ARM_DELETE, 202, NULL, NULL, "", ARM_LRO_ABSENCE, HOST TARGET, NULL, OK},
    {ARM_DELETE, 200, NULL, NULL, STATE("Deleting"), ARM_LRO_ABSENCE, HOST TARGET, NULL, OK},
    {ARM_POST, 202, NULL, NULL, "", ARM_LRO_NONE, NULL, NULL, ERR_UPSTREAM_REJECTED},
    /* nothing to wait for */
    {ARM_PUT, 200, NULL, NULL, STATE("Succeeded"), ARM_LRO_NONE, NULL, NULL, OK},
    {ARM_PUT, 200, NULL, NULL, "{}", ARM_LRO_NONE, NULL, NULL, OK},
    {ARM_PUT, 200, NULL, NULL, "", ARM_LRO_NONE, NULL, NULL, OK},
    {ARM_POST, 200, NULL, NULL, STATE("Updating"), ARM_LRO_NONE, NULL, NULL, OK},
    {ARM_DELETE, 204, OP, LOC, "", ARM_LRO_NONE, NULL, NULL, OK},
    {ARM_DELETE, 200, NULL, NULL, "", ARM_LRO_NONE, NULL, NULL, OK},
    {ARM_PUT, 409, OP, LOC, "", ARM_LRO_NONE, NULL, NULL, OK},
    /* another host */
    {ARM_PUT, 201, "https://evil.example/op", NULL, "", ARM_LRO_NONE, NULL, NULL,
     ERR_UPSTREAM_REJECTED},
    {ARM_PUT, 201, "http://management.azure.com/op", LOC, "", ARM_LRO_NONE, NULL, NULL,
     ERR_UPSTREAM_REJECTED},
    {ARM_DELETE, 202, NULL, "/relative", "", ARM_LRO_NONE, NULL, NULL, ERR_UPSTREAM_REJECTED},
    {ARM_POST, 202, OP, "https://management.azure.com@evil/x", "", ARM_LRO_NONE, NULL, NULL,
     ERR_UPSTREAM_REJECTED},
};

static void expect_text(size_t i, const char *got, const char *want)
{
    if ((got && want && strcmp(got, want) == 0) || (!got && !want))
        return;
    fail_msg("row %zu: %s, not %s", i, got ? got : "NULL", want ? want : "NULL");
}

static void test_next(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(next_rows); i++) {
        const struct next_row *row = &next_rows[i];
        struct arena *a = arena_new();
        struct arm_reply r = ARM_REPLY_INIT;
        struct arm_lro lro;
        struct err_info e = {0};
        r.status = row->status;
        r.async_operation = row->async;
        r.location = row->location;
        r.body = BYTES_STR(row->body);
        enum err rc = arm_lro_next(a, HOST, row->method, TARGET, &r, &lro, &e);
        if (rc != row->err || e.code != row->err)
            fail_msg("row %zu: %s", i, err_code(rc));
        if (rc == OK && lro.kind != row->kind)
            fail_msg("row %zu: %s", i, arm_lro_kind_name(lro.kind));
        if (rc == OK) {
            expect_text(i, lro.url, row->url);
            expect_text(i, lro.final_url, row->final_url);
        }
        arena_free(a);
    }
}

static void test_next_wait(void **state)
{
    static const struct {
        int64_t told;
        int64_t want;
    } table[] = {{-1, ARM_POLL_DEFAULT_MS},
                 {0, 200},
                 {1000, 1000},
                 {600000, 600000},
                 {ARM_RETRY_AFTER_MAX_MS, ARM_RETRY_AFTER_MAX_MS}};
    struct arena *a = arena_new();
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct arm_reply r = ARM_REPLY_INIT;
        struct arm_lro lro;
        struct arm_lro_status s;
        r.status = 202;
        r.location = LOC;
        r.retry_after_ms = table[i].told;
        assert_int_equal(arm_lro_next(a, HOST, ARM_POST, TARGET, &r, &lro, NULL), OK);
        assert_int_equal(lro.wait_ms, table[i].want);
        arm_lro_read(ARM_LRO_LOCATION, &r, 0, &s);
        assert_int_equal(s.state, ARM_LRO_IN_PROGRESS);
        assert_int_equal(s.wait_ms, table[i].want);
    }
    arena_free(a);
}

static void test_long_url(void **state)
{
    struct arena *a = arena_new();
    struct arm_reply r = ARM_REPLY_INIT;
    struct arm_lro lro;
    char url[4097];
    snprintf(url, sizeof url, "%s/", HOST);
    memset(url + strlen(url), 'x', 4096 - strlen(url));
    url[4096] = '\0';
    r.status = 202;
    r.location = url;
    assert_int_equal(arm_lro_next(a, HOST, ARM_DELETE, TARGET, &r, &lro, NULL), OK);
    assert_string_equal(lro.url, url);
    arena_free(a);
}

struct read_row {
    enum arm_lro_kind kind;
    int status;
    const char *body;
    int64_t age_ms;
    enum arm_lro_state state;
    const char *code;
    enum arm_class class;
    bool has_result;
};

#define FAILED(code) "{\"status\":\"Failed\",\"error\":{\"code\":\"" code "\",\"message\":\"m\"}}"
#define OLD          ARM_POLL_GRACE_MS

static const struct read_row read_rows[] = {
    /* Azure-AsyncOperation */
    {ARM_LRO_ASYNC, 200, "{\"status\":\"InProgress\"}", 0, ARM_LRO_IN_PROGRESS, "",
     ARM_CLASS_SUCCESS, false},
    {ARM_LRO_ASYNC, 200, "{\"status\":\"Running\"}", OLD, ARM_LRO_IN_PROGRESS, "",
     ARM_CLASS_SUCCESS, false},
    {ARM_LRO_ASYNC, 200, "{\"status\":\"Succeeded\"}", 0, ARM_LRO_SUCCEEDED, "", ARM_CLASS_SUCCESS,
     false},
    {ARM_LRO_ASYNC, 200, "{\"status\":\"succeeded\"}", 0, ARM_LRO_SUCCEEDED, "", ARM_CLASS_SUCCESS,
     false},
    {ARM_LRO_ASYNC, 200, FAILED("AllocationFailed"), 0, ARM_LRO_FAILED, "AllocationFailed",
     ARM_CLASS_CAPACITY, false},
    {ARM_LRO_ASYNC, 200, FAILED("InternalServerError"), 0, ARM_LRO_FAILED, "InternalServerError",
     ARM_CLASS_TRANSIENT, false},
    {ARM_LRO_ASYNC, 200, FAILED("Odd"), 0, ARM_LRO_FAILED, "Odd", ARM_CLASS_PERMANENT, false},
    {ARM_LRO_ASYNC, 200, "{\"status\":\"Failed\"}", 0, ARM_LRO_FAILED, "", ARM_CLASS_PERMANENT,
     false},
    {ARM_LRO_ASYNC, 200, "{\"status\":\"Canceled\",\"error\":{\"code\":\"OperationPreempted\"}}", 0,
     ARM_LRO_CANCELED, "OperationPreempted", ARM_CLASS_CONFLICT, false},
    {ARM_LRO_ASYNC, 200, "{\"status\":\"Cancelled\"}", 0, ARM_LRO_CANCELED, "", ARM_CLASS_PERMANENT,
     false},
    {ARM_LRO_ASYNC, 200, "{\"error\":{\"code\":\"Odd\",\"message\":\"m\"}}", 0, ARM_LRO_FAILED,
     "Odd", ARM_CLASS_PERMANENT, false},
    {ARM_LRO_ASYNC, 200, STATE("Succeeded"), 0, ARM_LRO_SUCCEEDED, "", ARM_CLASS_SUCCESS, false},
    {ARM_LRO_ASYNC, 204, "", 0, ARM_LRO_SUCCEEDED, "", ARM_CLASS_SUCCESS, false},
    {ARM_LRO_ASYNC, 202, "", 0, ARM_LRO_IN_PROGRESS, "", ARM_CLASS_SUCCESS, false},
    {ARM_LRO_ASYNC, 200, "{}", 0, ARM_LRO_UNKNOWN, "", ARM_CLASS_TRANSIENT, false},
    {ARM_LRO_ASYNC, 200, "", 0, ARM_LRO_UNKNOWN, "", ARM_CLASS_TRANSIENT, false},
    {ARM_LRO_ASYNC, 200, "[]", 0, ARM_LRO_UNKNOWN, "", ARM_CLASS_TRANSIENT, false},
    {ARM_LRO_ASYNC, 200, "<html>", 0, ARM_LRO_UNKNOWN, "", ARM_CLASS_TRANSIENT, false},
    /* a young operation is not known everywhere yet */
    {ARM_LRO_ASYNC, 404, "", 0, ARM_LRO_IN_PROGRESS, "", ARM_CLASS_MISSING, false},
    {ARM_LRO_ASYNC, 404, "", OLD, ARM_LRO_GONE, "", ARM_CLASS_MISSING, false},
    {ARM_LRO_ASYNC, 410, "", 0, ARM_LRO_GONE, "", ARM_CLASS_MISSING, false},
    /* the poll itself failed */
    {ARM_LRO_ASYNC, 429, "", 0, ARM_LRO_UNKNOWN, "", ARM_CLASS_THROTTLED, false},
    {ARM_LRO_ASYNC, 503, "", 0, ARM_LRO_UNKNOWN, "", ARM_CLASS_TRANSIENT, false},
    {ARM_LRO_ASYNC, 401, "", 0, ARM_LRO_UNKNOWN, "", ARM_CLASS_AUTH, false},
    /* Location */
    {ARM_LRO_LOCATION, 202, "", 0, ARM_LRO_IN_PROGRESS, "", ARM_CLASS_SUCCESS, false},
    {ARM_LRO_LOCATION, 200, "{\"a\":1}", 0, ARM_LRO_SUCCEEDED, "", ARM_CLASS_SUCCESS, true},
    {ARM_LRO_LOCATION, 200, "", 0, ARM_LRO_SUCCEEDED, "", ARM_CLASS_SUCCESS, false},
    {ARM_LRO_LOCATION, 204, "", 0, ARM_LRO_SUCCEEDED, "", ARM_CLASS_SUCCESS, false},
    {ARM_LRO_LOCATION, 200, "{\"error\":{\"code\":\"Odd\",\"message\":\"m\"}}", 0, ARM_LRO_FAILED,
     "Odd", ARM_CLASS_PERMANENT, true},
    {ARM_LRO_LOCATION, 400, "{\"error\":{\"code\":\"Odd\",\"message\":\"m\"}}", 0, ARM_LRO_FAILED,
     "Odd", ARM_CLASS_PERMANENT, false},
    {ARM_LRO_LOCATION, 200, STATE("Failed"), 0, ARM_LRO_FAILED, "", ARM_CLASS_PERMANENT, true},
    {ARM_LRO_LOCATION, 404, "", OLD, ARM_LRO_GONE, "", ARM_CLASS_MISSING, false},
    /* provisioningState */
    {ARM_LRO_PROVISIONING, 200, STATE("Updating"), 0, ARM_LRO_IN_PROGRESS, "", ARM_CLASS_SUCCESS,
     false},
    {ARM_LRO_PROVISIONING, 200, STATE("Succeeded"), 0, ARM_LRO_SUCCEEDED, "", ARM_CLASS_SUCCESS,
     true},
    {ARM_LRO_PROVISIONING, 200, "{\"properties\":{}}", 0, ARM_LRO_SUCCEEDED, "", ARM_CLASS_SUCCESS,
     true},
    {ARM_LRO_PROVISIONING, 200, STATE("Failed"), 0, ARM_LRO_FAILED, "", ARM_CLASS_PERMANENT, false},
    {ARM_LRO_PROVISIONING, 200, STATE("Canceled"), 0, ARM_LRO_CANCELED, "", ARM_CLASS_PERMANENT,
     false},
    {ARM_LRO_PROVISIONING, 404, "", 0, ARM_LRO_IN_PROGRESS, "", ARM_CLASS_MISSING, false},
    {ARM_LRO_PROVISIONING, 404, "", OLD, ARM_LRO_GONE, "", ARM_CLASS_MISSING, false},
    /* absence */
    {ARM_LRO_ABSENCE, 200, STATE("Deleting"), 0, ARM_LRO_IN_PROGRESS, "", ARM_CLASS_SUCCESS, false},
    {ARM_LRO_ABSENCE, 200, STATE("Succeeded"), 0, ARM_LRO_IN_PROGRESS, "", ARM_CLASS_SUCCESS,
     false},
    {ARM_LRO_ABSENCE, 200, STATE("Failed"), 0, ARM_LRO_FAILED, "", ARM_CLASS_PERMANENT, false},
    {ARM_LRO_ABSENCE, 404, "", 0, ARM_LRO_SUCCEEDED, "", ARM_CLASS_MISSING, false},
};

static void test_read(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(read_rows); i++) {
        const struct read_row *row = &read_rows[i];
        struct arm_reply r = ARM_REPLY_INIT;
        struct arm_lro_status s;
        r.status = row->status;
        r.body = BYTES_STR(row->body);
        arm_lro_read(row->kind, &r, row->age_ms, &s);
        if (s.state != row->state)
            fail_msg("row %zu: state %d", i, s.state);
        if (strcmp(s.outcome.code, row->code) != 0 || s.outcome.class != row->class)
            fail_msg("row %zu: %s %s", i, s.outcome.code, arm_class_name(s.outcome.class));
        if (s.has_result != row->has_result)
            fail_msg("row %zu: result", i);
        bool bad =
            s.state == ARM_LRO_FAILED || s.state == ARM_LRO_CANCELED || s.state == ARM_LRO_UNKNOWN;
        if (bad && !s.outcome.message[0])
            fail_msg("row %zu: no message", i);
    }
}

static void test_read_without_answer(void **state)
{
    struct arm_reply r = ARM_REPLY_INIT;
    struct arm_lro_status s;
    r.failure = ARM_FAIL_TIMEOUT;
    arm_lro_read(ARM_LRO_ASYNC, &r, 0, &s);
    assert_int_equal(s.state, ARM_LRO_UNKNOWN);
    assert_int_equal(s.outcome.class, ARM_CLASS_TRANSIENT);
    r.failure = ARM_FAIL_REFUSED;
    arm_lro_read(ARM_LRO_ASYNC, &r, 0, &s);
    assert_int_equal(s.state, ARM_LRO_UNKNOWN); /* the operation may well go on */
    assert_int_equal(s.outcome.class, ARM_CLASS_PERMANENT);
}

static void test_kind_names(void **state)
{
    for (int k = ARM_LRO_NONE; k <= ARM_LRO_ABSENCE; k++)
        assert_int_equal(arm_lro_kind_parse(arm_lro_kind_name((enum arm_lro_kind)k)), k);
    assert_int_equal(arm_lro_kind_parse("x"), ARM_LRO_NONE);
    assert_int_equal(arm_lro_kind_parse(NULL), ARM_LRO_NONE);
}

static void test_hosts(void **state)
{
    static const struct {
        const char *endpoint;
        const char *url;
        bool ok;
    } table[] = {
        {HOST, HOST "/x", true},
        {HOST, HOST, true},
        {HOST, "HTTPS://Management.Azure.COM/x", true},
        {HOST, HOST ":443/x", true},
        {HOST ":443", HOST "?x", true},
        {HOST, HOST ":444/x", false},
        {HOST, "http://management.azure.com/x", false},
        {HOST, "http://management.azure.com:443/x", false},
        {HOST, "https://management.azure.com.evil.example/x", false},
        {HOST, "https://management.azure.comx/", false},
        {HOST, "https://evil@management.azure.com/x", false},
        {HOST, "https://management.azure.com@evil/x", false},
        {HOST, "https://management.azure.com:443@evil/x", false},
        {HOST, "https://management.azure.com:/x", false},
        {HOST, "https://management.azure.com:0443x/x", false},
        {HOST, "https://management.azure.com:99999/x", false},
        {HOST, "https://management.azure.com\\@evil/x", false},
        {HOST, "https://management.azure.com%2eevil/x", false},
        {HOST, "https://management.azure.com./x", false},
        {HOST, "https:///x", false},
        {HOST, "https://", false},
        {HOST, "//management.azure.com/x", false},
        {HOST, "/x", false},
        {HOST, "", false},
        {HOST, NULL, false},
        {HOST, HOST "/a b", false},
        {HOST, HOST "/a\r\nX: y", false},
        {HOST, HOST "/\xc3\xa9", false},
        {HOST, "ftp://management.azure.com/x", false},
        {"https://127.0.0.1:8443", "https://127.0.0.1:8443/x", true},
        {"https://127.0.0.1:8443", "https://127.0.0.1:8444/x", false},
        {"https://[::1]:8443", "https://[::1]:8443/x", true},
        {"https://[::1]:8443", "https://[::2]:8443/x", false},
        {"http://127.0.0.1:80", "http://127.0.0.1:80/x", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (arm_url_host_ok(table[i].endpoint, table[i].url) != table[i].ok)
            fail_msg("row %zu: %s", i, table[i].url ? table[i].url : "NULL");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_next),
        cmocka_unit_test(test_next_wait),
        cmocka_unit_test(test_long_url),
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_read_without_answer),
        cmocka_unit_test(test_kind_names),
        cmocka_unit_test(test_hosts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
