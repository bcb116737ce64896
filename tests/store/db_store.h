/*
 * What the store tests share: a store in a folder of its own, and short ways to say "a job", "a VM",
 * "a report". The tests know db/store.h only, so that they can run on another database.
 */
#ifndef TESTS_STORE_DB_STORE_H
#define TESTS_STORE_DB_STORE_H

#include "core/cleanup.h"
#include "core/clock.h"
#include "db/store.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <cmocka.h>

#define SUB   "11111111-2222-3333-4444-555555555555"
#define RG    "/subscriptions/" SUB "/resourceGroups/Prod"
#define VM(n) RG "/providers/Microsoft.Compute/virtualMachines/" n
#define T0    INT64_C(1790000000000)

struct fixture {
    char dir[64];
    struct store *store;
    struct arena *arena;
    struct err_info err;
};

/* One write, waited for: enum err. */
#define DO(f, verb, in, out)                                                                       \
    ({                                                                                             \
        struct store_waiter waiter_;                                                               \
        verb((f)->store, (in), (out), store_waiter_init(&waiter_));                                \
        store_wait(&waiter_, &(f)->err);                                                           \
    })
#define MUST(f, call)                                                                              \
    do {                                                                                           \
        enum err err_ = (call);                                                                    \
        if (err_)                                                                                  \
            print_error("%s: %s\n", err_code(err_), (f)->err.detail);                              \
        assert_int_equal(err_, OK);                                                                \
    } while (0)

static inline int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static inline void fixture_folder(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    const char *base = getenv("TMPDIR");
    snprintf(f->dir, sizeof f->dir, "%s/tlgate-store-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(f->dir));
    f->arena = arena_new();
}

static inline void fixture_start(struct fixture *f)
{
    struct store_options o = {.dir = f->dir, .migrate = true};
    MUST(f, store_open(&o, &f->store, &f->err));
}

static inline void fixture_stop(struct fixture *f)
{
    store_close(f->store);
    f->store = NULL;
}

static inline void fixture_remove(struct fixture *f)
{
    fixture_stop(f);
    arena_free(f->arena);
    nftw(f->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static inline int setup(void **state)
{
    struct fixture *f = test_malloc(sizeof *f);
    fixture_folder(f);
    fixture_start(f);
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    fixture_remove(*state);
    test_free(*state);
    return 0;
}

#define STORE_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

static inline struct audit audit_of(const char *action, const char *resource_id)
{
    return (struct audit){.principal_id = "key1",
                          .principal = "portal",
                          .action = action,
                          .resource_id = resource_id,
                          .request_id = "req-1"};
}

static const char *const three_steps[] = {"network", "nic", "vm"};

/* A job of three steps on the VM `name`, with an id of its own. */
static inline struct job_new job_for(struct fixture *f, const char *name)
{
    char *id = arena_alloc(f->arena, UUID_SIZE);
    uuid_v7(clock_wall(&clock_system), id);
    const char *resource =
        arena_printf(f->arena, RG "/providers/Microsoft.Compute/virtualMachines/%s", name);
    return (struct job_new){
        .id = id,
        .kind = "vm.create",
        .resource_id = resource,
        .subscription_id = SUB,
        .spec = "{\"size\":\"Standard_D2s_v5\"}",
        .vars = "{}",
        .body_hash = "hash-a",
        .steps = three_steps,
        .n_steps = ARRAY_LEN(three_steps),
        .now = T0,
        .audit = audit_of("job.submit", resource),
    };
}

static inline const char *submit(struct fixture *f, const struct job_new *in)
{
    struct job_submitted out = {0};
    MUST(f, DO(f, store_submit_job, in, &out));
    assert_int_equal(out.outcome, SUBMIT_CREATED);
    return arena_strdup(f->arena, out.job_id);
}

static inline const char *submit_for(struct fixture *f, const char *name)
{
    struct job_new in = job_for(f, name);
    return submit(f, &in);
}

static inline struct job get_job(struct fixture *f, const char *id)
{
    struct job j = {0};
    MUST(f, store_get_job(f->store, f->arena, id, NULL, &j, &f->err));
    return j;
}

static inline struct job_claimed claim(struct fixture *f, int64_t now, int limit)
{
    struct job_claim in = {.now = now, .lease_until = now + 30000, .limit = limit};
    struct job_claimed out = {.arena = f->arena};
    MUST(f, DO(f, store_claim_jobs, &in, &out));
    return out;
}

/* The one due job, claimed. */
static inline struct job claim_one(struct fixture *f, int64_t now)
{
    struct job_claimed c = claim(f, now, 1);
    assert_int_equal(c.n, 1);
    return c.jobs[0];
}

static inline struct job_advance advance_of(const struct job *j, int64_t now)
{
    return (struct job_advance){.job_id = j->id, .epoch = j->epoch, .now = now};
}

static inline void finish_job(struct fixture *f, const struct job *j, enum job_state state,
                              int64_t now)
{
    struct job_advance in = advance_of(j, now);
    in.set = JOB_SET_STATE;
    in.state = state;
    MUST(f, DO(f, store_advance_job, &in, NULL));
}

static inline struct vm get_vm(struct fixture *f, const char *resource_id)
{
    struct vm vm = {0};
    MUST(f, store_get_vm(f->store, f->arena, resource_id, &vm, &f->err));
    return vm;
}

/* A VM that is there and monitored, with a vmId. */
static inline void put_vm(struct fixture *f, const char *resource_id, const char *vm_id)
{
    struct vm_put in = {
        .vm = {.resource_id = resource_id,
               .set = VM_SET_VM_ID | VM_SET_STATE | VM_SET_EXPECT | VM_SET_STATUS | VM_SET_PLACE |
                      VM_SET_SPEC,
               .vm_id = vm_id,
               .name = strrchr(resource_id, '/') + 1,
               .location = "westeurope",
               .origin = "created",
               .state = "ready",
               .spec = "{}",
               .secure_boot = true,
               .vtpm = true,
               .monitoring = true,
               .status = VM_UNKNOWN,
               .reasons = "[\"no_report\"]"},
        .now = T0,
        .audit = audit_of("vm.import", resource_id),
    };
    MUST(f, DO(f, store_put_vm, &in, NULL));
}

#endif
