/*
 * One trust, many threads: verifying at once gives each its own verdict, whether a certificate is in
 * the cache or not, and while the trust's files change and are read again. Worth most under
 * ThreadSanitizer.
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

/* The issuer comes and goes; the evidence brings its own, so the verdict never changes. */
struct changer {
    struct attest_trust *trust;
    char folder[64];
};

static void *change_trust(void *arg)
{
    const struct changer *c = arg;
    char file[128];
    snprintf(file, sizeof file, "%s/ca.pem", c->folder);
    for (int i = 0; i < ROUNDS; i++) {
        struct err_info e;
        bool changed = false;
        if (i % 2)
            unlink(file);
        else
            make_write_pem(file, m->ca);
        if (attest_trust_reload(c->trust, &changed, &e) || !changed)
            abort();
        (void)attest_trust_expires(c->trust);
    }
    return NULL;
}

static void the_trust_changes_under_them(void **state)
{
    struct err_info e;
    struct changer changer = {.folder = "/tmp/tlgate-threads-XXXXXX"};
    assert_non_null(mkdtemp(changer.folder));
    const char *anchors[] = {m->anchor_file};
    const struct attest_trust_options o = {
        .anchors = anchors, .n_anchors = 1, .trust_dir = changer.folder};
    struct attest_trust *kept = m->in.trust;
    assert_int_equal(attest_trust_open(&o, &changer.trust, &e), OK);
    m->in.trust = changer.trust;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, change_trust, &changer), 0);
    threads_share_a_trust(state);
    pthread_join(thread, NULL);
    m->in.trust = kept;
    attest_trust_free(changer.trust);
    rmdir(changer.folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_share_a_trust),
        cmocka_unit_test(the_trust_changes_under_them),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
