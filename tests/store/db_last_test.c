/* Conformance: what the writer remembers of a VM's last report is what a read would find. */
#include "db_store.h"

#define ID_A "0aaaaaaa-0000-4000-8000-00000000000a"
#define ID_B "0bbbbbbb-0000-4000-8000-00000000000b"
#define DAY  INT64_C(86400000)

static const struct owner {
    const char *name, *vm_id, *ak, *token;
} a = {VM("a"), ID_A, "aa01", "token-a"}, b = {VM("b"), ID_B, "bb02", "token-b"};

/* The report of the VM that came at T0 + at; its id is also that of its challenge. */
static struct report_new report_of(struct fixture *f, const struct owner *o, int64_t at)
{
    const char *id = arena_printf(f->arena, "%s-%08lld", o->ak, (long long)at);
    return (struct report_new){
        .report = {.id = id,
                   .vm_id = o->vm_id,
                   .received_at = T0 + at,
                   .verdict = "trusted",
                   .checks = "[]",
                   .claims = "{\"secureBoot\":true}",
                   .log_digest = "d1",
                   .ak_spki = o->ak},
        .challenge_hash = id,
        .challenge_expires_at = T0 + at + 5000,
        .log = BYTES_STR("the event log"),
        .pin_allowed = true,
        .status = VM_HEALTHY,
        .reasons = "[]",
        .vm_claims = "{\"secureBoot\":true}",
        .vm_claims_counted = true,
    };
}

static void put(struct fixture *f, const struct report_new *in)
{
    struct report_stored out = {0};
    MUST(f, DO(f, store_put_report, in, &out));
}

static struct report_new report_by_token(struct fixture *f, const struct owner *o, int64_t at)
{
    struct enrollment_put token = {.hash = o->token,
                                   .resource_id = o->name,
                                   .expires_at = T0 + 60000,
                                   .now = T0,
                                   .audit = audit_of("enrollment.create", o->name)};
    struct report_new in = report_of(f, o, at);
    put_vm(f, o->name, o->vm_id);
    MUST(f, DO(f, store_put_enrollment, &token, NULL));
    in.enrollment_hash = o->token;
    return in;
}

static void enroll(struct fixture *f, const struct owner *o, int64_t at)
{
    struct report_new in = report_by_token(f, o, at);
    put(f, &in);
}

static void same_text(const char *x, const char *y)
{
    assert_int_equal(x == NULL, y == NULL);
    if (x)
        assert_string_equal(x, y);
}

static void assert_kept(struct fixture *f, const struct report_new *in)
{
    struct report r;
    MUST(f, store_get_report(f->store, f->arena, in->report.id, NULL, &r, &f->err));
    same_text(r.vm_id, in->report.vm_id);
    same_text(r.checks, in->report.checks);
    same_text(r.claims, in->report.claims);
    same_text(r.log_digest, in->report.log_digest);
    same_text(r.ak_spki, in->report.ak_spki);
    same_text(r.policy, in->report.policy);
    assert_int_equal(r.received_at, in->report.received_at);
}

static struct store_pruned prune(struct fixture *f, int64_t before, int limit)
{
    struct store_prune in = {.now = before + DAY, .reports_ms = DAY, .limit = limit};
    struct store_pruned out;
    MUST(f, DO(f, store_prune, &in, &out));
    return out;
}

/* One text differs from the report before, or none does; two VMs in turn. */
static void each_text_counts(void **state)
{
    struct fixture *f = *state;
    struct report_new in[12];
    enroll(f, &a, 1);
    enroll(f, &b, 2);
    for (int i = 0; i < 12; i++)
        in[i] = report_of(f, i % 2 ? &b : &a, 10 + i);
    in[2].report.checks = "[1]";
    in[4].report.claims = "{}";
    in[6].report.log_digest = "d2";
    in[8].report.log_digest = NULL;
    in[10].report.policy = "strict";
    in[5].report.policy = "";
    for (int i = 0; i < 12; i++)
        put(f, &in[i]);
    for (int i = 0; i < 12; i++)
        assert_kept(f, &in[i]);
}

/* What is too long to be remembered is written and read as any other. */
static void long_texts_are_kept(void **state)
{
    struct fixture *f = *state;
    enroll(f, &a, 1);
    for (int i = 0; i < 4; i++) {
        struct report_new in = report_of(f, &a, 10 + i);
        in.report.claims = i == 1 ? "{}" : arena_printf(f->arena, "[%030000d]", i / 2);
        put(f, &in);
        assert_kept(f, &in);
    }
}

/* A write that fails after it has changed something: all of its batch is rolled back and run again. */
static void what_is_rolled_back_was_not_said(void **state)
{
    struct fixture *f = *state;
    enroll(f, &b, 1);
    struct report_new first = report_by_token(f, &a, 2), failing = report_of(f, &b, 3),
                      again = report_of(f, &a, 4);
    struct report_stored out[2];
    struct store_waiter w[2];
    failing.report.log_digest = "d9"; /* neither held nor sent: known once the challenge is used */
    failing.log = (struct bytes){0};
    store_expect(f->store, 1);
    store_put_report(f->store, &first, &out[0], store_waiter_init(&w[0]));
    store_put_report(f->store, &failing, &out[1], store_waiter_init(&w[1]));
    store_expect(f->store, -1);
    MUST(f, store_wait(&w[0], &f->err));
    assert_int_equal(store_wait(&w[1], &f->err), ERR_EVENT_LOG_REQUIRED);
    put(f, &again);
    assert_kept(f, &first);
    assert_kept(f, &again);
}

static void a_deleted_report_is_not_the_last(void **state)
{
    struct fixture *f = *state;
    enroll(f, &a, 1);
    assert_int_equal(prune(f, T0 + 2, 10).reports, 1);
    struct report_new in = report_of(f, &a, 10);
    put(f, &in);
    assert_kept(f, &in);
}

/* The oldest report is A's and the oldest log B's: so B's last report stays and its log goes. */
static void a_deleted_log_is_not_held(void **state)
{
    struct fixture *f = *state;
    enroll(f, &a, 2);
    enroll(f, &b, 1);
    struct store_pruned out = prune(f, T0 + 10 + 2 * DAY, 1);
    assert_int_equal(out.reports, 1);
    assert_int_equal(out.logs, 1);
    struct report_new in = report_of(f, &b, 10);
    struct report_stored stored;
    in.log = (struct bytes){0};
    assert_int_equal(DO(f, store_put_report, &in, &stored), ERR_EVENT_LOG_REQUIRED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(each_text_counts),
        STORE_TEST(long_texts_are_kept),
        STORE_TEST(what_is_rolled_back_was_not_said),
        STORE_TEST(a_deleted_report_is_not_the_last),
        STORE_TEST(a_deleted_log_is_not_held),
    };
    return cmocka_run_group_tests_name("store: last reports", tests, NULL, NULL);
}
