/*
 * One trust, many threads: verifying at once gives each its own verdict, whether a certificate is in
 * the cache or not. Worth most under ThreadSanitizer.
 */
#include "tests/unit/attest_judge.h"

#include <pthread.h>

#define THREADS 4
#define ROUNDS  24
#define LEAVES  3

static struct evidence leaves[LEAVES];

struct worker {
    pthread_t thread;
    unsigned first;
    unsigned trusted;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct arena *a = arena_new();
        struct attest_result r;
        struct attest_input in = m->in;
        in.evidence = &leaves[(w->first + i) % LEAVES];
        if (!attest_verify(&in, a, &r, NULL) && r.verdict == VERDICT_TRUSTED)
            w->trusted++;
        arena_free(a);
    }
    return NULL;
}

static void threads_share_a_trust(void **state)
{
    struct worker workers[THREADS];
    make_reset(m);
    for (int i = 0; i < LEAVES; i++) {
        make_build(m); /* another certificate each time */
        leaves[i] = m->ev;
    }
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.first = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_int_equal(workers[i].trusted, ROUNDS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_share_a_trust),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
