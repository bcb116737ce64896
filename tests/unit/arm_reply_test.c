/* What ARM's answers mean: tables of status, headers and body against class, code and wait. */
#include "arm/header.h"
#include "arm/reply.h"
#include "arm/text.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define ERROR(code) "{\"error\":{\"code\":\"" code "\",\"message\":\"m\"}}"

static struct arm_reply reply(int status, const char *body)
{
    struct arm_reply r = ARM_REPLY_INIT;
    r.status = status;
    r.body = BYTES_STR(body);
    return r;
}

struct row {
    int status;
    const char *body;
    int64_t retry_after_ms;
    enum arm_class class;
    const char *code;
    enum err err;
};

static const struct row rows[] = {
    /* success, and operations that go on */
    {200, "{}", -1, ARM_CLASS_SUCCESS, "", OK},
    {200, "{\"properties\":{\"provisioningState\":\"Succeeded\"}}", -1, ARM_CLASS_SUCCESS, "", OK},
    {200, "{\"properties\":{\"provisioningState\":\"succeeded\"}}", -1, ARM_CLASS_SUCCESS, "", OK},
    {200, "{\"properties\":{\"provisioningState\":\"Failed\"}}", -1, ARM_CLASS_SUCCESS, "", OK},
    {200, "{\"properties\":{\"provisioningState\":\"Updating\"}}", -1, ARM_CLASS_ACCEPTED, "", OK},
    {201, "{\"properties\":{\"provisioningState\":\"Creating\"}}", -1, ARM_CLASS_ACCEPTED, "", OK},
    {201, "{\"properties\":{}}", -1, ARM_CLASS_SUCCESS, "", OK},
    {201, "not json", -1, ARM_CLASS_SUCCESS, "", OK},
    {202, "", -1, ARM_CLASS_ACCEPTED, "", OK},
    {204, "", -1, ARM_CLASS_SUCCESS, "", OK},
    /* missing */
    {404, ERROR("ResourceNotFound"), -1, ARM_CLASS_MISSING, "ResourceNotFound", ERR_NOT_FOUND},
    {404, "", -1, ARM_CLASS_MISSING, "", ERR_NOT_FOUND},
    {410, "", -1, ARM_CLASS_MISSING, "", ERR_NOT_FOUND},
    {404, ERROR("SubscriptionNotFound"), -1, ARM_CLASS_PERMANENT, "SubscriptionNotFound",
     ERR_UPSTREAM_REJECTED},
    /* throttled */
    {429, "", 5000, ARM_CLASS_THROTTLED, "", ERR_UPSTREAM_THROTTLED},
    {429, "", -1, ARM_CLASS_THROTTLED, "", ERR_UPSTREAM_THROTTLED},
    {429, ERROR("OperationNotAllowed"), 60000, ARM_CLASS_THROTTLED, "OperationNotAllowed",
     ERR_UPSTREAM_THROTTLED},
    /* conflict */
    {429, ERROR("RetryableErrorDueToAnotherOperation"), 10000, ARM_CLASS_CONFLICT,
     "RetryableErrorDueToAnotherOperation", ERR_UPSTREAM_CONFLICT},
    {409, ERROR("AnotherOperationInProgress"), -1, ARM_CLASS_CONFLICT, "AnotherOperationInProgress",
     ERR_UPSTREAM_CONFLICT},
    {409, ERROR("anotheroperationinprogress"), -1, ARM_CLASS_CONFLICT, "anotheroperationinprogress",
     ERR_UPSTREAM_CONFLICT},
    {409, ERROR("AttachDiskWhileBeingDetached"), -1, ARM_CLASS_CONFLICT,
     "AttachDiskWhileBeingDetached", ERR_UPSTREAM_CONFLICT},
    {400, ERROR("ReferencedResourceNotProvisioned"), -1, ARM_CLASS_CONFLICT,
     "ReferencedResourceNotProvisioned", ERR_UPSTREAM_CONFLICT},
    {409, "", -1, ARM_CLASS_CONFLICT, "", ERR_UPSTREAM_CONFLICT},
    {409, ERROR("SomethingNew"), 3000, ARM_CLASS_CONFLICT, "SomethingNew", ERR_UPSTREAM_CONFLICT},
    {409, ERROR("SomethingNew"), -1, ARM_CLASS_PERMANENT, "SomethingNew", ERR_UPSTREAM_REJECTED},
    /* capacity */
    {409, ERROR("SkuNotAvailable"), -1, ARM_CLASS_CAPACITY, "SkuNotAvailable",
     ERR_UPSTREAM_REJECTED},
    {500, ERROR("AllocationFailed"), -1, ARM_CLASS_CAPACITY, "AllocationFailed",
     ERR_UPSTREAM_REJECTED},
    /* auth */
    {401, ERROR("InvalidAuthenticationToken"), -1, ARM_CLASS_AUTH, "InvalidAuthenticationToken",
     ERR_UPSTREAM_FORBIDDEN},
    {403, ERROR("AuthorizationFailed"), -1, ARM_CLASS_AUTH, "AuthorizationFailed",
     ERR_UPSTREAM_FORBIDDEN},
    {403, ERROR("RequestDisallowedByPolicy"), -1, ARM_CLASS_PERMANENT, "RequestDisallowedByPolicy",
     ERR_UPSTREAM_REJECTED},
    /* transient */
    {408, "", -1, ARM_CLASS_TRANSIENT, "", ERR_UPSTREAM_TIMEOUT},
    {500, ERROR("InternalServerError"), -1, ARM_CLASS_TRANSIENT, "InternalServerError",
     ERR_UPSTREAM},
    {502, "<html>", -1, ARM_CLASS_TRANSIENT, "", ERR_UPSTREAM},
    {503, "", 2000, ARM_CLASS_TRANSIENT, "", ERR_UPSTREAM},
    {504, "", -1, ARM_CLASS_TRANSIENT, "", ERR_UPSTREAM_TIMEOUT},
    /* permanent */
    {400, ERROR("InvalidParameter"), -1, ARM_CLASS_PERMANENT, "InvalidParameter",
     ERR_UPSTREAM_REJECTED},
    {409, ERROR("QuotaExceeded"), 5000, ARM_CLASS_PERMANENT, "QuotaExceeded",
     ERR_UPSTREAM_REJECTED},
    {409, ERROR("ScopeLocked"), -1, ARM_CLASS_PERMANENT, "ScopeLocked", ERR_UPSTREAM_REJECTED},
    {412, ERROR("PreconditionFailed"), -1, ARM_CLASS_PERMANENT, "PreconditionFailed",
     ERR_UPSTREAM_REJECTED},
    {301, "", -1, ARM_CLASS_PERMANENT, "", ERR_UPSTREAM_REJECTED},
    {501, "", -1, ARM_CLASS_PERMANENT, "", ERR_UPSTREAM_REJECTED},
    /* error bodies of other shapes */
    {400, "{\"code\":\"Bare\",\"message\":\"m\"}", -1, ARM_CLASS_PERMANENT, "Bare",
     ERR_UPSTREAM_REJECTED},
    {400, "{\"error\":\"text\"}", -1, ARM_CLASS_PERMANENT, "", ERR_UPSTREAM_REJECTED},
    {400, "{\"error\":{\"code\":7,\"message\":[]}}", -1, ARM_CLASS_PERMANENT, "",
     ERR_UPSTREAM_REJECTED},
    {409,
     "{\"error\":{\"code\":\"DeploymentFailed\",\"message\":\"see details\",\"details\":[{\"code\":"
     "\"ResourceDeploymentFailure\",\"details\":[{\"code\":\"SkuNotAvailable\",\"message\":\"m\"}]}"
     "]}}",
     -1, ARM_CLASS_CAPACITY, "SkuNotAvailable", ERR_UPSTREAM_REJECTED},
};

static void test_classes(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct row *row = &rows[i];
        struct arm_reply r = reply(row->status, row->body);
        struct arm_outcome o;
        struct err_info e = {0};
        r.retry_after_ms = row->retry_after_ms;
        r.request_id = "req-1";
        arm_classify(&r, &o);
        if (o.class != row->class || strcmp(o.code, row->code) != 0)
            fail_msg("row %zu: %s %s", i, arm_class_name(o.class), o.code);
        assert_int_equal(o.retry_after_ms, row->retry_after_ms);
        assert_true(o.sent);
        if (arm_outcome_err(&o, &e) != row->err)
            fail_msg("row %zu: %s", i, err_code(e.code));
        if (row->err == OK)
            continue;
        assert_true(e.detail[0] != '\0');
        assert_string_equal(e.upstream_code, row->code);
        assert_string_equal(e.upstream_request_id, "req-1");
        assert_int_equal(e.retry_after, row->retry_after_ms > 0 ? row->retry_after_ms / 1000 : 0);
    }
}

static void test_headers_make_it_an_operation(void **state)
{
    struct arm_outcome o;
    struct arm_reply r = reply(200, "{}");
    r.async_operation = "https://x/y";
    arm_classify(&r, &o);
    assert_int_equal(o.class, ARM_CLASS_ACCEPTED);
    r.status = 204;
    arm_classify(&r, &o);
    assert_int_equal(o.class, ARM_CLASS_SUCCESS);
}

static void test_failures(void **state)
{
    static const struct {
        enum arm_failure failure;
        enum arm_class class;
        bool sent;
    } table[] = {
        {ARM_FAIL_HELD, ARM_CLASS_THROTTLED, false},
        {ARM_FAIL_REFUSED, ARM_CLASS_PERMANENT, false},
        {ARM_FAIL_TOKEN, ARM_CLASS_AUTH, false},
        {ARM_FAIL_TOKEN_RETRY, ARM_CLASS_TRANSIENT, false},
        {ARM_FAIL_CONNECT, ARM_CLASS_TRANSIENT, false},
        {ARM_FAIL_TLS, ARM_CLASS_TRANSIENT, false},
        {ARM_FAIL_TIMEOUT, ARM_CLASS_TRANSIENT, true},
        {ARM_FAIL_BROKEN, ARM_CLASS_TRANSIENT, true},
        {ARM_FAIL_TOO_LARGE, ARM_CLASS_PERMANENT, true},
        {ARM_FAIL_STOPPED, ARM_CLASS_TRANSIENT, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct arm_reply r = ARM_REPLY_INIT;
        struct arm_outcome o;
        struct err_info e = {0};
        r.failure = table[i].failure;
        snprintf(r.detail, sizeof r.detail, "why");
        arm_classify(&r, &o);
        assert_int_equal(o.class, table[i].class);
        assert_int_equal(o.sent, table[i].sent);
        assert_int_not_equal(arm_outcome_err(&o, &e), OK);
        assert_string_equal(e.detail, "why");
    }
}

static void test_messages_are_scrubbed(void **state)
{
    struct arm_outcome o;
    struct arm_reply r = reply(
        400,
        "{\"error\":{\"code\":\"A\\nB\",\"message\":\"a\\u001b[31m\\r\\nb\\u0085c \\u00e9\"}}");
    arm_classify(&r, &o);
    assert_string_equal(o.code, "A B");
    assert_string_equal(o.message, "a [31m  b??c \xc3\xa9");
    char cut[8];
    arm_text_copy(cut, sizeof cut, "abcde\xe2\x82\xac"); /* the euro sign does not fit */
    assert_string_equal(cut, "abcde");
    arm_text_copy(cut, sizeof cut, "abc\xe2\x82");
    assert_string_equal(cut, "abc??");
    arm_text_copy(cut, sizeof cut, "\xed\xa0\x80"); /* a surrogate */
    assert_string_equal(cut, "???");
    arm_text_first_line(cut, sizeof cut, "ab\r\ncd");
    assert_string_equal(cut, "ab");
    arm_text_copy(cut, sizeof cut, NULL);
    assert_string_equal(cut, "");
}

static void test_retry_after(void **state)
{
    /* 2026-11-22T01:00:00Z */
    const int64_t now = INT64_C(1795309200000);
    static const struct {
        const char *text;
        int64_t want;
    } table[] = {
        {"0", 0},
        {"17", 17000},
        {"3600", 3600000},
        {"3601", ARM_RETRY_AFTER_MAX_MS},
        {"99999999999999999999", ARM_RETRY_AFTER_MAX_MS},
        {"Sun, 22 Nov 2026 01:00:30 GMT", 30000},
        {"Sun, 22 Nov 2026 00:59:00 GMT", 0},
        {"Mon, 23 Nov 2026 01:00:00 GMT", ARM_RETRY_AFTER_MAX_MS},
        {"Sun, 22 Xxx 2026 01:00:30 GMT", -1},
        {"Sun, 31 Feb 2026 01:00:30 GMT", -1},
        {"Sun, 22 Nov 2026 01:00:30 CET", -1},
        {"Sunday, 22-Nov-26 01:00:30 GMT", -1},
        {"", -1},
        {"-1", -1},
        {"1.5", -1},
        {"+5", -1},
        {"5s", -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (arm_retry_after(table[i].text, now) != table[i].want)
            fail_msg("%s: %lld", table[i].text, (long long)arm_retry_after(table[i].text, now));
}

static void add(struct arm_reply *r, const char *line)
{
    arm_header_add(r, BYTES_STR(line), 0);
}

static void test_headers(void **state)
{
    struct arm_reply *r = arm_reply_new();
    add(r, "azure-asyncoperation:\t https://x/op \r\n");
    add(r, "X-MS-RateLimit-Remaining-Subscription-Writes: 199\r\n");
    add(r, "x-ms-ratelimit-remaining-subscription-deletes: many\r\n");
    add(r, "Retry-After: 4\r\n");
    add(r, "Location: https://x/\x01\r\n");
    add(r, "Locationx: https://x/\r\n");
    add(r, "ETag\r\n");
    add(r, "\r\n");
    assert_string_equal(r->async_operation, "https://x/op");
    assert_int_equal(r->remaining_writes, 199);
    assert_int_equal(r->remaining_deletes, -1);
    assert_int_equal(r->retry_after_ms, 4000);
    assert_null(r->location);
    assert_null(r->etag);
    static char lengthy[ARM_URL_MAX + 64] = "Location: ";
    memset(lengthy + 10, 'a', ARM_URL_MAX);
    add(r, lengthy);
    assert_int_equal(strlen(r->location), ARM_URL_MAX);
    memset(lengthy + 10, 'a', ARM_URL_MAX + 1);
    add(r, lengthy);
    assert_null(r->location);
    arm_header_reset(r);
    assert_null(r->async_operation);
    assert_int_equal(r->remaining_writes, -1);
    arm_reply_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classes),     cmocka_unit_test(test_headers_make_it_an_operation),
        cmocka_unit_test(test_failures),    cmocka_unit_test(test_messages_are_scrubbed),
        cmocka_unit_test(test_retry_after), cmocka_unit_test(test_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
