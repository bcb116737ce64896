/* A VM's row is kept in memory between reads: no read may tell what was no longer true when it began. */
#include "db_store.h"

#include <pthread.h>
#include <stdatomic.h>

#define ROUNDS  400
#define READERS 3
#define FLEET   300

static enum err put_state(struct fixture *f, const char *id, int n, const char *if_etag)
{
    char state[16];
    snprintf(state, sizeof state, "%d", n);
    struct vm_put in = {.vm = {.resource_id = id, .set = VM_SET_STATE, .state = state},
                        .if_etag = if_etag,
                        .now = T0 + n,
                        .audit = audit_of("vm.state", id)};
    return DO(f, store_put_vm, &in, NULL);
}

static int state_of(struct fixture *f, struct arena *a, const char *id)
{
    struct vm vm = {0};
    struct err_info e;
    enum err err = store_get_vm(f->store, a, id, &vm, &e);
    if (err == ERR_NOT_FOUND)
        return -1;
    assert_int_equal(err, OK);
    return (int)strtol(vm.state, NULL, 10);
}

static void a_write_is_seen_by_the_next_read(void **state)
{
    struct fixture *f = *state;
    for (int n = 1; n < 20; n++) {
        MUST(f, put_state(f, VM("web"), n, NULL));
        MUST(f, put_state(f, VM("db"), 1000 + n, NULL));
        for (int again = 0; again < 3; again++) {
            assert_int_equal(state_of(f, f->arena, VM("web")), n);
            assert_int_equal(state_of(f, f->arena, VM("WEB")), n);
            assert_int_equal(state_of(f, f->arena, VM("db")), 1000 + n);
        }
    }
}

static void every_column_comes_back(void **state)
{
    struct fixture *f = *state;
    struct vm first = {0}, second = {0};
    put_vm(f, VM("web"), "6f2a1d3e-0000-4000-8000-000000000001");
    MUST(f, store_get_vm(f->store, f->arena, VM("web"), &first, &f->err));
    MUST(f, store_get_vm(f->store, f->arena, VM("web"), &second, &f->err));
    assert_ptr_not_equal(first.resource_id, second.resource_id);
    assert_string_equal(first.resource_id, second.resource_id);
    assert_string_equal(first.vm_id, second.vm_id);
    assert_string_equal(first.etag, second.etag);
    assert_int_equal(first.created_at, second.created_at);
    assert_int_equal(first.updated_at, second.updated_at);
    assert_int_equal(first.status, second.status);
    assert_int_equal(first.ak_spki == NULL, second.ak_spki == NULL);
}

static void a_deleted_row_is_gone(void **state)
{
    struct fixture *f = *state;
    MUST(f, put_state(f, VM("web"), 1, NULL));
    assert_int_equal(state_of(f, f->arena, VM("web")), 1);
    struct vm_put in = {.vm = {.resource_id = VM("web"), .set = VM_DELETE},
                        .now = T0,
                        .audit = audit_of("vm.delete", VM("web"))};
    MUST(f, DO(f, store_put_vm, &in, NULL));
    assert_int_equal(state_of(f, f->arena, VM("web")), -1);
    MUST(f, put_state(f, VM("web"), 2, NULL));
    assert_int_equal(state_of(f, f->arena, VM("web")), 2);
}

static void a_refused_write_changes_nothing(void **state)
{
    struct fixture *f = *state;
    MUST(f, put_state(f, VM("web"), 1, NULL));
    assert_int_equal(state_of(f, f->arena, VM("web")), 1);
    assert_int_equal(put_state(f, VM("web"), 2, "another"), ERR_PRECONDITION_FAILED);
    assert_int_equal(state_of(f, f->arena, VM("web")), 1);
}

struct race {
    struct fixture *f;
    atomic_int acknowledged;
    atomic_bool wrong;
};

static void *read_on(void *arg)
{
    struct race *r = arg;
    struct arena *a = arena_new();
    int last = 0;
    while (last < ROUNDS && !atomic_load(&r->wrong)) {
        int floor = atomic_load(&r->acknowledged);
        int seen = state_of(r->f, a, VM("web"));
        if (seen < floor || seen < last)
            atomic_store(&r->wrong, true);
        last = seen;
        arena_reset(a);
    }
    arena_free(a);
    return NULL;
}

static void no_reader_goes_back(void **state)
{
    struct race r = {.f = *state};
    pthread_t readers[READERS];
    MUST(r.f, put_state(r.f, VM("web"), 0, NULL));
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, read_on, &r), 0);
    for (int n = 1; n <= ROUNDS; n++) {
        MUST(r.f, put_state(r.f, VM("web"), n, NULL));
        atomic_store(&r.acknowledged, n);
    }
    for (int i = 0; i < READERS; i++)
        pthread_join(readers[i], NULL);
    assert_false(atomic_load(&r.wrong));
}

/* ---- rows that a report leaves ---- */

#define VM_ID "6f2a1d3e-0000-4000-8000-000000000001"

static struct report_new report_of(struct fixture *f, int n)
{
    return (struct report_new){
        .report = {.id = arena_printf(f->arena, "report-%d", n),
                   .vm_id = VM_ID,
                   .received_at = T0 + n,
                   .verdict = "trusted",
                   .checks = "[]",
                   .claims = "{}",
                   .ak_spki = "aa01",
                   .clock_ms = 1000 + n},
        .challenge_hash = arena_printf(f->arena, "challenge-%d", n),
        .challenge_expires_at = T0 + 5000,
        .pin_allowed = true,
        .status = VM_HEALTHY,
        .reasons = "[]",
        .vm_claims = "{}",
        .vm_claims_counted = true,
    };
}

static void enroll_web(struct fixture *f)
{
    struct enrollment_put token = {.hash = "token",
                                   .resource_id = VM("web"),
                                   .expires_at = T0 + 60000,
                                   .now = T0,
                                   .audit = audit_of("enrollment.create", VM("web"))};
    struct report_new in = report_of(f, 1);
    in.enrollment_hash = "token";
    put_vm(f, VM("web"), VM_ID);
    MUST(f, DO(f, store_put_enrollment, &token, NULL));
    MUST(f, DO(f, store_put_report, &in, NULL));
}

/* By vmId and by ARM id: the same row, as the file has it. */
static struct vm read_web(struct fixture *f)
{
    struct vm by_id = {0}, by_name = {0};
    MUST(f, store_get_vm_by_id(f->store, f->arena, VM_ID, &by_id, &f->err));
    MUST(f, store_get_vm(f->store, f->arena, VM("web"), &by_name, &f->err));
    assert_string_equal(by_id.etag, by_name.etag);
    assert_string_equal(by_id.state, by_name.state);
    assert_string_equal(by_id.last_report_id, by_name.last_report_id);
    assert_int_equal(by_id.clock_ms, by_name.clock_ms);
    return by_id;
}

static void a_report_leaves_the_row_as_it_is(void **state)
{
    struct fixture *f = *state;
    enroll_web(f);
    assert_string_equal(read_web(f).ak_spki, "aa01");
    for (int n = 2; n < 6; n++) {
        struct report_new in = report_of(f, n);
        MUST(f, DO(f, store_put_report, &in, NULL));
        struct vm vm = read_web(f);
        assert_string_equal(vm.last_report_id, in.report.id);
        assert_int_equal(vm.clock_ms, 1000 + n);
        assert_string_equal(vm.ak_spki, "aa01");
        assert_string_equal(vm.resource_id, VM("web"));
    }
}

/* All in one batch, or in a few: what counts is the last word, and not that of a write that failed. */
static void a_batch_leaves_its_last_word(void **state)
{
    struct fixture *f = *state;
    enum { ROWS = 6, TURNS = 50 };
    enroll_web(f);
    for (int turn = 0, n = 2; turn < TURNS; turn++, n += ROWS) {
        struct report_new good = report_of(f, n), late = report_of(f, n + 1);
        struct report_new next = report_of(f, n + 2), reused = report_of(f, n + 3);
        late.clock_regressed = true; /* it did not: refused */
        reused.challenge_hash = good.challenge_hash;
        struct vm_put put = {.vm = {.resource_id = VM("web"),
                                    .set = VM_SET_STATE,
                                    .state = turn % 2 ? "odd" : "even"},
                             .now = T0 + n,
                             .audit = audit_of("vm.state", VM("web"))};
        struct store_waiter w[5];
        store_put_report(f->store, &good, NULL, store_waiter_init(&w[0]));
        store_put_report(f->store, &late, NULL, store_waiter_init(&w[1]));
        store_put_report(f->store, &next, NULL, store_waiter_init(&w[2]));
        store_put_vm(f->store, &put, NULL, store_waiter_init(&w[3]));
        store_put_report(f->store, &reused, NULL, store_waiter_init(&w[4]));
        assert_int_equal(store_wait(&w[0], &f->err), OK);
        assert_int_equal(store_wait(&w[1], &f->err), ERR_PRECONDITION_FAILED);
        assert_int_equal(store_wait(&w[2], &f->err), OK);
        assert_int_equal(store_wait(&w[3], &f->err), OK);
        assert_int_equal(store_wait(&w[4], &f->err), ERR_CHALLENGE_USED);
        struct vm vm = read_web(f);
        assert_string_equal(vm.last_report_id, next.report.id);
        assert_string_equal(vm.state, put.vm.state);
        assert_int_equal(vm.clock_ms, 1000 + n + 2);
    }
}

/* A fleet that fits is in memory as a whole, whatever its names come to. */
static void few_drive_each_other_out(void **state)
{
    struct fixture *f = *state;
    struct vm vm;
    int there = 0;
    for (int n = 0; n < 2 * FLEET; n++) {
        const char *id = arena_printf(f->arena, VM("fleet%d"), n % FLEET);
        if (n < FLEET)
            MUST(f, put_state(f, id, n, NULL));
        assert_int_equal(state_of(f, f->arena, id), n % FLEET);
    }
    for (int n = 0; n < FLEET; n++)
        there += store_peek_vm(f->store, f->arena, arena_printf(f->arena, VM("fleet%d"), n), &vm);
    assert_in_range(there, FLEET - FLEET / 32, FLEET);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(a_write_is_seen_by_the_next_read),
        STORE_TEST(every_column_comes_back),
        STORE_TEST(a_deleted_row_is_gone),
        STORE_TEST(a_refused_write_changes_nothing),
        STORE_TEST(no_reader_goes_back),
        STORE_TEST(a_report_leaves_the_row_as_it_is),
        STORE_TEST(a_batch_leaves_its_last_word),
        STORE_TEST(few_drive_each_other_out),
    };
    return cmocka_run_group_tests_name("store: VM rows in memory", tests, NULL, NULL);
}
