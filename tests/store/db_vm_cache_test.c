/* A VM's row is kept in memory between reads: no read may tell what was no longer true when it began. */
#include "db_store.h"

#include <pthread.h>
#include <stdatomic.h>

#define ROUNDS  400
#define READERS 3

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(a_write_is_seen_by_the_next_read),
        STORE_TEST(every_column_comes_back),
        STORE_TEST(a_deleted_row_is_gone),
        STORE_TEST(a_refused_write_changes_nothing),
        STORE_TEST(no_reader_goes_back),
    };
    return cmocka_run_group_tests_name("store: VM rows in memory", tests, NULL, NULL);
}
