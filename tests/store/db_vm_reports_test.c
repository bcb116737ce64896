/* Conformance: what reports leave in a VM's row, also where they say again what was said before. */
#include "db_store.h"

#include "db/store_policies.h"

#define ID_A "0aaaaaaa-0000-4000-8000-00000000000a"
#define HOUR INT64_C(3600000)

/* The report that came at T0 + at. */
static struct report_new report_at(struct fixture *f, int64_t at)
{
    return (struct report_new){
        .report = {.id = arena_printf(f->arena, "0190-%08lld", (long long)at),
                   .vm_id = ID_A,
                   .received_at = T0 + at,
                   .verdict = "trusted",
                   .checks = "[]",
                   .claims = "{\"secureBoot\":true}",
                   .ak_spki = "aa01",
                   .reset_count = 3,
                   .restart_count = 1,
                   .clock_ms = 1000 + at},
        .challenge_hash = arena_printf(f->arena, "challenge-%lld", (long long)at),
        .challenge_expires_at = T0 + at + 5000,
        .pin_allowed = true,
        .status = VM_HEALTHY,
        .reasons = "[]",
        .vm_claims = "{\"secureBoot\":true}",
        .vm_claims_counted = true,
    };
}

static void report(struct fixture *f, const struct report_new *in)
{
    struct report_stored out = {0};
    MUST(f, DO(f, store_put_report, in, &out));
}

static void say_again(struct fixture *f, int64_t at)
{
    struct report_new in = report_at(f, at);
    report(f, &in);
}

/* VM a, enrolled by a report at T0 + 1. */
static void enroll(struct fixture *f)
{
    struct enrollment_put token = {.hash = "token",
                                   .resource_id = VM("a"),
                                   .expires_at = T0 + 60000,
                                   .now = T0,
                                   .audit = audit_of("enrollment.create", VM("a"))};
    struct report_new in = report_at(f, 1);
    in.enrollment_hash = "token";
    put_vm(f, VM("a"), ID_A);
    MUST(f, DO(f, store_put_enrollment, &token, NULL));
    report(f, &in);
}

static void same_text(const char *a, const char *b)
{
    assert_int_equal(!a, !b);
    if (a)
        assert_string_equal(a, b);
}

static void same_rows(const struct vm *a, const struct vm *b)
{
    same_text(a->resource_id, b->resource_id);
    same_text(a->state, b->state);
    same_text(a->etag, b->etag);
    same_text(a->reasons, b->reasons);
    same_text(a->claims, b->claims);
    same_text(a->last_report_id, b->last_report_id);
    same_text(a->last_verdict, b->last_verdict);
    same_text(a->ak_spki, b->ak_spki);
    same_text(a->policy, b->policy);
    same_text(a->baseline, b->baseline);
    same_text(a->certificates_log, b->certificates_log);
    assert_int_equal(a->status, b->status);
    assert_int_equal(a->updated_at, b->updated_at);
    assert_int_equal(a->last_report_at, b->last_report_at);
    assert_int_equal(a->reset_count, b->reset_count);
    assert_int_equal(a->restart_count, b->restart_count);
    assert_int_equal(a->clock_ms, b->clock_ms);
    assert_int_equal(a->stale_at, b->stale_at);
    assert_int_equal(a->said.counted, b->said.counted);
    assert_int_equal(a->said.reset_count, b->said.reset_count);
    assert_int_equal(a->said.restart_count, b->said.restart_count);
    assert_int_equal(a->said.clock_ms, b->said.clock_ms);
    assert_memory_equal(&a->settled, &b->settled, sizeof a->settled);
}

/* The VM, by vmId as the report left it in memory and as the database has it: the same. */
static struct vm read_both(struct fixture *f)
{
    struct vm vm = {0};
    struct vm_list list;
    const struct vm_filter all = {.page = {.limit = 9}};
    MUST(f, store_get_vm_by_id(f->store, f->arena, ID_A, &vm, &f->err));
    MUST(f, store_list_vms(f->store, f->arena, &all, &list, &f->err));
    assert_int_equal(list.n, 1);
    same_rows(&vm, &list.items[0]);
    return vm;
}

static void said_at(const struct vm *vm, struct fixture *f, int64_t at)
{
    assert_string_equal(vm->last_report_id, arena_printf(f->arena, "0190-%08lld", (long long)at));
    assert_int_equal(vm->last_report_at, T0 + at);
    assert_int_equal(vm->clock_ms, 1000 + at);
    assert_int_equal(vm->said.clock_ms, 1000 + at);
    assert_true(vm->said.counted);
}

static void what_is_said_again_is_the_last_word(void **state)
{
    struct fixture *f = *state;
    enroll(f);
    const char *etag = read_both(f).etag;
    for (int64_t at = 2; at < 12; at++) {
        say_again(f, at);
        struct vm vm = read_both(f);
        said_at(&vm, f, at);
        assert_int_equal(vm.settled.echoes, at - 1);
        assert_int_equal(vm.updated_at, T0 + at);
        assert_string_equal(vm.claims, "{\"secureBoot\":true}");
        assert_string_not_equal(vm.etag, etag);
        etag = vm.etag;
    }
    fixture_stop(f);
    fixture_start(f);
    struct vm vm = read_both(f);
    said_at(&vm, f, 11);
    assert_string_equal(vm.etag, etag);
}

/* Whatever is not the same stands in the row itself, and so does a report an hour later. */
static void what_is_new_settles(void **state)
{
    struct fixture *f = *state;
    enroll(f);
    for (int i = 0; i < 8; i++) {
        int64_t at = 10 + 10 * i;
        say_again(f, at); /* something else than before */
        say_again(f, at + 1);
        assert_int_equal(read_both(f).settled.echoes, 1 + !i);
        struct report_new in = report_at(f, at + 2);
        const char **const texts[] = {&in.vm_claims, &in.reasons, &in.report.verdict,
                                      &in.report.policy, &in.baseline};
        if (i < 5)
            *texts[i] = "[\"other\"]";
        in.status = i == 5 ? VM_UNHEALTHY : in.status;
        in.stale_at = i == 6 ? T0 + 5000 : 0;
        in.certificates_log = i == 7 ? "digest" : NULL;
        in.certificates_state = "ready";
        report(f, &in);
        struct vm vm = read_both(f);
        assert_int_equal(vm.settled.echoes, 0);
        said_at(&vm, f, at + 2);
        same_text(vm.claims, in.vm_claims);
        same_text(vm.policy, in.report.policy);
        same_text(vm.certificates_log, in.certificates_log);
        assert_int_equal(vm.status, in.status);
        assert_int_equal(vm.stale_at, in.stale_at);
    }
    int64_t settled = read_both(f).last_report_at - T0;
    say_again(f, settled + HOUR - 1);
    assert_int_equal(read_both(f).settled.echoes, 1);
    say_again(f, settled + HOUR);
    assert_int_equal(read_both(f).settled.echoes, 0);
}

/* The row keeps the clock that was reached, the claims have the report's own. */
static void a_clock_that_goes_back_is_said_but_not_kept(void **state)
{
    struct fixture *f = *state;
    enroll(f);
    say_again(f, 50);
    struct report_new in = report_at(f, 60);
    in.report.clock_ms = 1020;
    assert_int_equal(DO(f, store_put_report, &in, NULL), ERR_PRECONDITION_FAILED);
    in.clock_regressed = true;
    report(f, &in);
    struct vm vm = read_both(f);
    assert_int_equal(vm.clock_ms, 1050);
    assert_int_equal(vm.said.clock_ms, 1020);
    assert_int_equal(vm.last_report_at, T0 + 60);
}

static int64_t healthy(struct fixture *f, int64_t fresh_after, int64_t now)
{
    struct vm_summary s;
    struct vm_list list;
    enum vm_status status = VM_HEALTHY, unknown = VM_UNKNOWN;
    struct vm_filter in = {.fresh_after = fresh_after, .now = now, .page = {.limit = 9}};
    MUST(f, store_count_vms(f->store, &in, &s, &f->err));
    assert_int_equal(s.total, 1);
    assert_int_equal(s.by_status[VM_HEALTHY] + s.by_status[VM_UNKNOWN], 1);
    in.status = &status;
    MUST(f, store_list_vms(f->store, f->arena, &in, &list, &f->err));
    assert_int_equal(list.n, s.by_status[VM_HEALTHY]);
    in.status = &unknown;
    MUST(f, store_list_vms(f->store, f->arena, &in, &list, &f->err));
    assert_int_equal(list.n, s.by_status[VM_UNKNOWN]);
    return s.by_status[VM_HEALTHY];
}

static void age_counts_from_what_was_said_again(void **state)
{
    struct fixture *f = *state;
    enroll(f);
    say_again(f, 500);
    assert_int_equal(healthy(f, T0 + 1, 0), 1);
    assert_int_equal(healthy(f, T0 + 500, 0), 1);
    assert_int_equal(healthy(f, T0 + 501, 0), 0);

    struct report_new in = report_at(f, 600);
    in.stale_at = T0 + 700;
    report(f, &in);
    assert_int_equal(healthy(f, T0 + 9000, T0 + 699), 1);
    assert_int_equal(healthy(f, T0 + 9000, T0 + 700), 0);
    in = report_at(f, 650);
    in.stale_at = T0 + 750;
    report(f, &in);
    assert_int_equal(read_both(f).settled.echoes, 1);
    assert_int_equal(healthy(f, T0 + 9000, T0 + 749), 1);
    assert_int_equal(healthy(f, T0 + 9000, T0 + 750), 0);
    in = report_at(f, 660); /* the policy wants them younger: the row itself says so */
    in.stale_at = T0 + 690;
    report(f, &in);
    assert_int_equal(healthy(f, T0 + 9000, T0 + 690), 0);
}

/* Other writes come in between: nothing of the last report is lost, and no ETag comes twice. */
static void other_writes_keep_the_last_word(void **state)
{
    struct fixture *f = *state;
    enroll(f);
    say_again(f, 10);
    const char *before = read_both(f).etag;
    struct vm_put put = {.vm = {.resource_id = VM("a"), .set = VM_SET_STATE, .state = "stopped"},
                         .if_etag = before,
                         .now = T0 + 11,
                         .audit = audit_of("vm.state", VM("a"))};
    MUST(f, DO(f, store_put_vm, &put, NULL));
    assert_int_equal(DO(f, store_put_vm, &put, NULL), ERR_PRECONDITION_FAILED);
    struct vm vm = read_both(f);
    said_at(&vm, f, 10);
    assert_string_equal(vm.state, "stopped");

    struct vm_rejudge rejudge = {.resource_id = VM("a"),
                                 .if_etag = before,
                                 .now = T0 + 12,
                                 .status = VM_UNHEALTHY,
                                 .reasons = "[\"policy\"]",
                                 .verdict = "untrusted",
                                 .policy = "p@1",
                                 .audit = audit_of("vm.rejudge", VM("a"))};
    assert_int_equal(DO(f, store_rejudge_vm, &rejudge, NULL), ERR_PRECONDITION_FAILED);
    rejudge.if_etag = vm.etag;
    MUST(f, DO(f, store_rejudge_vm, &rejudge, NULL));
    vm = read_both(f);
    said_at(&vm, f, 10);
    assert_int_equal(vm.settled.echoes, 0);
    assert_int_equal(vm.status, VM_UNHEALTHY);
    assert_int_equal(vm.settled.last_report_at, T0 + 10);
    assert_string_equal(vm.policy, "p@1");
}

static void an_operators_rebuild_leaves_no_evidence(void **state)
{
    struct fixture *f = *state;
    enroll(f);
    say_again(f, 10);
    struct vm before = get_vm(f, VM("a"));
    struct vm_rejudge rejudge = {.resource_id = VM("a"),
                                 .if_etag = before.etag,
                                 .status = VM_HEALTHY,
                                 .reasons = "[]",
                                 .verdict = "trusted",
                                 .now = T0 + 12,
                                 .audit = audit_of("vm.rejudge", VM("a"))};
    const struct requalify in = {.resource_id = VM("a"),
                                 .decision = REQUALIFY_REBUILD,
                                 .reasons = "[\"rebuilt\"]",
                                 .now = T0 + 11,
                                 .audit = audit_of("vm.requalify", VM("a"))};
    bool changed = false;
    MUST(f, DO(f, store_requalify, &in, &changed));
    assert_true(changed);
    struct vm vm = read_both(f);
    assert_null(vm.ak_spki);
    assert_int_equal(vm.clock_ms, 0);
    assert_false(vm.said.counted);
    assert_null(vm.claims);
    assert_null(vm.last_report_id);
    assert_null(vm.last_verdict);
    assert_int_equal(vm.last_report_at, 0);
    assert_int_equal(vm.settled.echoes, 0);
    assert_int_equal(vm.status, VM_UNKNOWN);
    struct report r;
    MUST(f, store_get_report(f->store, f->arena, before.last_report_id, NULL, &r, &f->err));
    /* Whoever has read the row before the decision is too late. */
    assert_int_equal(DO(f, store_rejudge_vm, &rejudge, NULL), ERR_PRECONDITION_FAILED);
    assert_int_equal(read_both(f).status, VM_UNKNOWN);
}

static void another_vm_id_and_deletion_leave_nothing(void **state)
{
    struct fixture *f = *state;
    enroll(f);
    say_again(f, 10);
    put_vm(f, VM("a"), "0bbbbbbb-0000-4000-8000-00000000000b");
    struct vm vm = get_vm(f, VM("a"));
    assert_null(vm.last_report_id);
    assert_int_equal(vm.settled.echoes, 0);
    assert_int_equal(vm.said.counted, 0);
    put_vm(f, VM("a"), ID_A); /* back: as one that was never there */
    vm = read_both(f);
    assert_null(vm.last_report_id);
    assert_int_equal(vm.settled.echoes, 0);
    assert_int_equal(vm.last_report_at, 0);
}

/* A vmId that moves to another resource, and a row that is deleted and made again. */
static void a_vm_that_moves_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    enroll(f);
    say_again(f, 10);
    put_vm(f, VM("moved"), ID_A);
    assert_null(get_vm(f, VM("a")).last_report_id);
    assert_null(get_vm(f, VM("moved")).last_report_id);
    struct vm_put gone = {.vm = {.resource_id = VM("moved"), .set = VM_DELETE},
                          .now = T0 + 20,
                          .audit = audit_of("vm.delete", VM("moved"))};
    MUST(f, DO(f, store_put_vm, &gone, NULL));
    gone.vm.resource_id = VM("a");
    MUST(f, DO(f, store_put_vm, &gone, NULL));
    put_vm(f, VM("a"), ID_A);
    assert_int_equal(read_both(f).last_report_at, 0);
}

static void a_deleted_row_takes_its_echo_along(void **state)
{
    struct fixture *f = *state;
    enroll(f);
    say_again(f, 10);
    struct vm_put gone = {.vm = {.resource_id = VM("a"), .set = VM_DELETE},
                          .now = T0 + 20,
                          .audit = audit_of("vm.delete", VM("a"))};
    MUST(f, DO(f, store_put_vm, &gone, NULL));
    put_vm(f, VM("a"), ID_A);
    struct vm vm = read_both(f);
    assert_int_equal(vm.last_report_at, 0);
    assert_int_equal(vm.settled.echoes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(what_is_said_again_is_the_last_word),
        STORE_TEST(what_is_new_settles),
        STORE_TEST(a_clock_that_goes_back_is_said_but_not_kept),
        STORE_TEST(age_counts_from_what_was_said_again),
        STORE_TEST(other_writes_keep_the_last_word),
        STORE_TEST(an_operators_rebuild_leaves_no_evidence),
        STORE_TEST(another_vm_id_and_deletion_leave_nothing),
        STORE_TEST(a_vm_that_moves_leaves_nothing),
        STORE_TEST(a_deleted_row_takes_its_echo_along),
    };
    return cmocka_run_group_tests_name("store: reports in the VM's row", tests, NULL, NULL);
}
