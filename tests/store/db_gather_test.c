/* Conformance: writes that come while others are expected. */
#include "db_store.h"

#define WRITES 64
#define ROUNDS 8

static struct audit_note note(struct fixture *f, int i)
{
    return (struct audit_note){.audit = audit_of(arena_printf(f->arena, "test.%d", i), VM("a")),
                               .now = T0 + i};
}

static int64_t audit_rows(struct fixture *f)
{
    struct audit_list list;
    MUST(f, store_list_audit(f->store, f->arena, 0, 1000, &list, &f->err));
    return (int64_t)list.n;
}

/* What is expected and never comes holds nobody up. */
static void a_write_does_not_wait_for_ever(void **state)
{
    struct fixture *f = *state;
    store_expect(f->store, 1);
    for (int i = 0; i < 5; i++) {
        struct audit_note in = note(f, i);
        MUST(f, DO(f, store_note_audit, &in, NULL));
    }
    store_expect(f->store, -1);
    assert_int_equal(audit_rows(f), 5);
}

/* The last of those expected ends the waiting; all are committed once, in few commits. */
static void expected_writes_share_commits(void **state)
{
    struct fixture *f = *state;
    static struct store_waiter w[WRITES];
    static struct audit_note in[WRITES];
    struct store_stats before, after;
    store_stats_get(f->store, &before);
    store_expect(f->store, WRITES);
    for (int i = 0; i < WRITES; i++) {
        in[i] = note(f, i);
        store_note_audit(f->store, &in[i], NULL, store_waiter_init(&w[i]));
        store_expect(f->store, -1);
    }
    for (int i = 0; i < WRITES; i++)
        MUST(f, store_wait(&w[i], &f->err));
    store_stats_get(f->store, &after);
    assert_int_equal(after.writes - before.writes, WRITES);
    assert_in_range(after.commits - before.commits, 1, WRITES - 1);
    assert_int_equal(audit_rows(f), WRITES);
}

/* Commits for many writes that come together again and again; expected only the first time. */
static int64_t commits_of_a_crowd(struct fixture *f)
{
    static struct store_waiter w[WRITES];
    static struct audit_note in[WRITES];
    struct store_stats before, after;
    store_stats_get(f->store, &before);
    for (int round = 0; round < ROUNDS; round++) {
        store_expect(f->store, round ? 0 : WRITES);
        for (int i = 0; i < WRITES; i++) {
            in[i] = note(f, i);
            store_note_audit(f->store, &in[i], NULL, store_waiter_init(&w[i]));
            if (i == 0)
                nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL); /* it could be committed */
        }
        store_expect(f->store, round ? 0 : -WRITES);
        for (int i = 0; i < WRITES; i++)
            MUST(f, store_wait(&w[i], &f->err));
    }
    store_stats_get(f->store, &after);
    assert_int_equal(after.writes - before.writes, ROUNDS * WRITES);
    return after.commits - before.commits;
}

/* Alone, the first of them has a commit of its own each time. A busy machine may separate them, but not always. */
static void a_crowd_stays_together(void **state)
{
    struct fixture *f = *state;
    int64_t least = INT64_MAX;
    for (int i = 0; i < 20 && least > ROUNDS + ROUNDS / 2; i++) {
        int64_t commits = commits_of_a_crowd(f);
        least = commits < least ? commits : least;
    }
    assert_in_range(least, ROUNDS, ROUNDS + ROUNDS / 2);
}

/* A store that is closed executes what is queued, expected or not. */
static void closing_waits_for_nobody(void **state)
{
    struct fixture *f = *state;
    struct store_waiter w;
    struct audit_note in = note(f, 1);
    store_expect(f->store, 1);
    store_note_audit(f->store, &in, NULL, store_waiter_init(&w));
    fixture_stop(f);
    MUST(f, store_wait(&w, &f->err));
    fixture_start(f);
    assert_int_equal(audit_rows(f), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(a_write_does_not_wait_for_ever),
        STORE_TEST(expected_writes_share_commits),
        STORE_TEST(a_crowd_stays_together),
        STORE_TEST(closing_waits_for_nobody),
    };
    return cmocka_run_group_tests_name("store: commits for many", tests, NULL, NULL);
}
