/* Replies: problems, entity tags, accepted jobs, commits, and the contract's table of routes. */
#include "handlers_fake.h"

#include "handlers/etag.h"
#include "handlers/problem.h"
#include "handlers/view.h"

static void expect(const json_t *v, const char *key, const char *text)
{
    assert_string_equal(json_path_str(v, key), text);
}

/* ---- problems ---- */

static void a_problem_has_every_member(void **state)
{
    struct fake f;
    fake_open(&f);
    struct err_info *e = &f.call.err;
    err_add_field(e, "#/size", "is \"wrong\"");
    err_add_field(e, "?top", "must be a number");
    err_remedy(e, "ask for less");
    snprintf(e->job_id, sizeof e->job_id, "job-1");
    snprintf(e->upstream_code, sizeof e->upstream_code, "SkuNotAvailable");
    assert_int_equal(call_fail(&f.call), 400);
    assert_string_equal(f.call.content_type, "application/problem+json");

    AUTO(json) json_t *v = fake_body(&f);
    expect(v, "type", "/problems/validation_failed");
    expect(v, "code", "validation_failed");
    expect(v, "requestId", "req-1");
    expect(v, "traceId", FAKE_TRACE);
    expect(v, "remedy", "ask for less");
    expect(v, "jobId", "job-1");
    expect(v, "upstream/code", "SkuNotAvailable");
    assert_int_equal(json_integer_value(json_path(v, "status")), 400);
    assert_int_equal(json_array_size(json_path(v, "errors")), 2);
    expect(json_array_get(json_path(v, "errors"), 0), "detail", "is \"wrong\"");
    fake_close(&f);
}

/* Whoever finds an error need not say what helps: every code has an answer to that. */
static void every_problem_has_a_remedy(void **state)
{
    for (int code = OK + 1; code < ERR_COUNT; code++) {
        struct fake f;
        fake_open(&f);
        assert_true(call_refuse(&f.call, (enum err)code, "x") >= 400);
        AUTO(json) json_t *v = fake_body(&f);
        if (!json_path_str(v, "remedy"))
            print_error("%s\n", err_code((enum err)code));
        assert_non_null(json_path_str(v, "remedy"));
        fake_close(&f);
    }
}

static void absent_members_are_left_out(void **state)
{
    struct fake f;
    fake_open(&f);
    assert_int_equal(call_refuse(&f.call, ERR_NOT_FOUND, "no job %s", "x"), 404);
    AUTO(json) json_t *v = fake_body(&f);
    expect(v, "detail", "no job x");
    assert_null(json_path(v, "errors"));
    assert_null(json_path(v, "jobId"));
    assert_null(json_path(v, "upstream"));
    assert_null(fake_header(&f, "Retry-After"));
    fake_close(&f);
}

static void headers_of_problems(void **state)
{
    struct fake f;
    fake_open(&f);
    assert_int_equal(call_refuse(&f.call, ERR_UNAUTHENTICATED, "no"), 401);
    assert_string_equal(fake_header(&f, "WWW-Authenticate"), "Bearer");
    f.call.err.code = ERR_RATE_LIMITED;
    f.call.err.retry_after = 7;
    assert_int_equal(call_fail(&f.call), 429);
    assert_string_equal(fake_header(&f, "Retry-After"), "7");
    fake_close(&f);
}

static void an_error_without_a_code_is_internal(void **state)
{
    struct fake f;
    fake_open(&f);
    assert_int_equal(call_fail(&f.call), 500);
    AUTO(json) json_t *v = fake_body(&f);
    expect(v, "code", "internal");
    fake_close(&f);
}

/* A client that meets a problem type can look it up. */
static void every_code_is_explained(void **state)
{
    for (int i = 1; i < ERR_COUNT; i++)
        if (!problem_meaning((enum err)i))
            fail_msg("%s has no meaning", err_code((enum err)i));
    assert_null(problem_meaning(OK));
    assert_null(problem_meaning(ERR_COUNT));
}

/* ---- entity tags ---- */

static void if_none_match(void **state)
{
    static const struct {
        const char *field;
        bool listed;
    } rows[] = {
        {NULL, false},
        {"\"abc\"", true},
        {"W/\"abc\"", true},
        {"\"x\", \"abc\"", true},
        {"\"x\",,\t\"abc\" ,", true},
        {"*", true},
        {" * ", true},
        {"\"a,bc\", \"abc\"", true},
        {"\"abcd\"", false},
        {"\"ab\"", false},
        {"", false},
        {"abc", false},
        {"\"abc", false},
        {"\"abc\" \"x\"", false}, /* no comma: not a list */
        {"\"abc\"; \"x\"", false},
        {"w/\"abc\"", false},
        {"*, \"abc\"", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (etag_listed(rows[i].field, "abc") != rows[i].listed)
            fail_msg("row %zu: %s", i, rows[i].field);
}

static void an_unchanged_body_is_304_without_body(void **state)
{
    struct fake f;
    fake_open(&f);
    jw_str(call_json(&f.call), "x");
    assert_int_equal(call_etag_of_body(&f.call), 200);
    const char *etag = fake_header(&f, "ETag");
    assert_int_equal(f.call.out.len, 3);
    assert_int_equal(strlen(etag), ETAG_SIZE + 1);

    f.if_none_match = etag;
    jw_str(call_json(&f.call), "x");
    assert_int_equal(call_etag_of_body(&f.call), 304);
    assert_int_equal(f.call.out.len, 0);
    assert_string_equal(fake_header(&f, "ETag"), etag);
    jw_str(call_json(&f.call), "y");
    assert_int_equal(call_etag_of_body(&f.call), 200);
    fake_close(&f);
}

/* ---- jobs ---- */

static struct job_step steps[] = {
    {.name = "network", .state = STEP_SUCCEEDED, .started_at = 5, .ended_at = 9, .attempts = 1},
    {.name = "extension", .state = STEP_SKIPPED},
    {.name = "vm", .state = STEP_RUNNING, .started_at = 10, .attempts = 2, .detail = "polling"},
};

static struct job example(enum job_state state)
{
    return (struct job){.id = "j1",
                        .kind = "virtualMachine.put",
                        .state = state,
                        .resource_id = "/subscriptions/s/x",
                        .created_at = 1,
                        .updated_at = 2,
                        .created_by = "me",
                        .error = state == JOB_FAILED ? "{\"code\":\"x\",\"detail\":\"y\"}" : NULL,
                        .steps = steps,
                        .n_steps = ARRAY_LEN(steps)};
}

static void accepted_names_the_job_twice(void **state)
{
    struct fake f;
    fake_open(&f);
    struct job job = example(JOB_RUNNING);
    assert_int_equal(call_accepted(&f.call, &job), 202);
    assert_string_equal(fake_header(&f, "Location"), "/v1/jobs/j1");
    assert_string_equal(fake_header(&f, "Operation-Location"), "/v1/jobs/j1");
    assert_string_equal(fake_header(&f, "Retry-After"), "1");
    AUTO(json) json_t *v = fake_body(&f);
    expect(v, "state", "running");
    assert_int_equal(json_integer_value(json_path(v, "progress/done")), 2);
    assert_int_equal(json_integer_value(json_path(v, "progress/total")), 3);
    assert_null(json_path(v, "error"));
    const json_t *last = json_array_get(json_path(v, "steps"), 2);
    expect(last, "detail", "polling");
    assert_null(json_path(last, "endedAt"));
    fake_close(&f);
}

static void a_failed_job_says_why(void **state)
{
    struct fake f;
    fake_open(&f);
    struct job job = example(JOB_FAILED);
    view_job(call_json(&f.call), &job);
    AUTO(json) json_t *v = fake_body(&f);
    expect(v, "error/code", "x");
    fake_close(&f);
}

static void an_id_is_taken_apart(void **state)
{
    struct fake f;
    fake_open(&f);
    const struct vm vm = {.resource_id = "/subscriptions/sub/resourceGroups/group/providers/"
                                         "Microsoft.Compute/virtualMachines/web",
                          .name = "web",
                          .state = "ready",
                          .status = VM_UNKNOWN};
    view_vm(call_json(&f.call), &vm);
    AUTO(json) json_t *v = fake_body(&f);
    expect(v, "subscriptionId", "sub");
    expect(v, "resourceGroup", "group");
    expect(v, "bootIntegrity", "unknown");
    fake_close(&f);
}

/* ---- waiting ---- */

static int then(struct call *c)
{
    return c->done.err ? call_fail(c) : 200;
}

static void a_commit_resumes_the_call_once(void **state)
{
    struct fake f;
    fake_open(&f);
    struct store_done *done = call_commit(&f.call, then);
    assert_int_equal(f.suspended, 1);
    assert_int_equal(f.resumed, 0);
    done->err = ERR_UNAVAILABLE;
    err_set(&done->info, ERR_UNAVAILABLE, "no space");
    done->fn(done);
    assert_int_equal(f.resumed, 1);
    assert_int_equal(f.call.then(&f.call), 503);
    AUTO(json) json_t *v = fake_body(&f);
    expect(v, "detail", "no space");
    fake_close(&f);
}

static void a_good_commit_leaves_no_error(void **state)
{
    struct fake f;
    fake_open(&f);
    struct store_done *done = call_commit(&f.call, then);
    done->err = OK;
    done->fn(done);
    assert_int_equal(f.call.then(&f.call), 200);
    assert_int_equal(f.call.err.code, OK);
    fake_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_problem_has_every_member),
        cmocka_unit_test(every_problem_has_a_remedy),
        cmocka_unit_test(absent_members_are_left_out),
        cmocka_unit_test(headers_of_problems),
        cmocka_unit_test(an_error_without_a_code_is_internal),
        cmocka_unit_test(every_code_is_explained),
        cmocka_unit_test(if_none_match),
        cmocka_unit_test(an_unchanged_body_is_304_without_body),
        cmocka_unit_test(accepted_names_the_job_twice),
        cmocka_unit_test(a_failed_job_says_why),
        cmocka_unit_test(an_id_is_taken_apart),
        cmocka_unit_test(a_commit_resumes_the_call_once),
        cmocka_unit_test(a_good_commit_leaves_no_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
