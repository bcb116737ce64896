/*
 * Known logs: what is remembered, by whom it is found, how much room they take, and that a log found by
 * its digest is judged as if it had been sent. That no verdict changes is checked behind every
 * attest_verify of the test presets (attest/selfcheck.h).
 */
#include "tests/unit/attest_judge.h"

#include <pthread.h>

#define ROOM    ((size_t)1024 * 1024)
#define THREADS 4
#define ROUNDS  40
#define LOGS    40u

static uint8_t digest[32];

static struct bytes digest_of_log(void)
{
    hash_digest(BANK_SHA256, m->log, digest);
    return BYTES_OF(digest);
}

/* Evidence as the knobs have it, judged with `logs`. */
static void judge_with(struct attest_logs *logs)
{
    m->in.logs = logs;
    assert_int_equal(judge(), OK);
    m->in.logs = NULL;
}

static bool is_known(struct attest_logs *logs)
{
    struct arena *a = arena_new();
    bool known = attest_logs_find(logs, digest_of_log(), a) != NULL;
    arena_free(a);
    return known;
}

static void a_proven_log_is_remembered(void **state)
{
    struct attest_logs *logs = attest_logs_new(ROOM);
    make_reset(m);
    make_build(m);
    assert_false(is_known(logs));
    judge_with(logs);
    assert_int_equal(result.verdict, VERDICT_TRUSTED);
    assert_true(is_known(logs));
    struct attest_log *l = attest_logs_find(logs, digest_of_log(), m->arena);
    assert_true(bytes_equal(attest_log_bytes(l), m->log));
    assert_ptr_not_equal(attest_log_bytes(l).data, m->log.data);
    assert_null(attest_logs_find(logs, BYTES("x", 1), m->arena));
    assert_null(attest_logs_find(NULL, digest_of_log(), m->arena));
    attest_logs_free(logs);
    assert_true(bytes_equal(attest_log_bytes(l), m->log)); /* the arena holds it */
}

static void only_a_proven_log_is_remembered(void **state)
{
    struct attest_logs *logs = attest_logs_new(ROOM);
    make_reset(m);
    m->signer = m->other_key; /* not the AK's signature */
    make_build(m);
    judge_with(logs);
    assert_false(is_known(logs));

    make_reset(m);
    make_build(m);
    m->ev.banks[BANK_SHA256].value[0] = m->ev.banks[BANK_SHA256].value[7]; /* not the quote's */
    judge_with(logs);
    assert_false(is_known(logs));

    make_reset(m);
    m->certified = m->other_key; /* an AK that nobody vouches for */
    make_build(m);
    judge_with(logs);
    assert_false(is_known(logs));
    attest_logs_free(logs);
}

static void a_known_log_need_not_be_sent(void **state)
{
    struct attest_logs *logs = attest_logs_new(ROOM);
    make_reset(m);
    make_build(m);
    judge_with(logs);
    struct buf sent = {0}, named = {0};
    struct jw w = jw_over(&sent);
    attest_write_claims(&w, &result);

    m->ev.event_log_digest = digest_of_log();
    m->ev.event_log = (struct bytes){0};
    m->in.log = attest_logs_find(logs, digest_of_log(), m->arena);
    judge_with(logs);
    assert_int_equal(result.verdict, VERDICT_TRUSTED);
    assert_true(result.has_event_log);
    w = jw_over(&named);
    attest_write_claims(&w, &result);
    assert_string_equal(sent.data, named.data);

    uint8_t other[32] = {1}; /* the caller found another log than the evidence names */
    m->ev.event_log_digest = BYTES_OF(other);
    judge_with(logs);
    assert_true(has(CHECK_LOG_FORMAT, STATUS_FAIL, "log_digest_mismatch"));
    buf_free(&sent);
    buf_free(&named);
    attest_logs_free(logs);
}

/* A quote over other PCR values than those that the known log adds up to. */
static void a_known_log_proves_nothing_for_another_quote(void **state)
{
    struct attest_logs *logs = attest_logs_new(ROOM);
    make_reset(m);
    make_build(m);
    struct bytes log = m->log;
    judge_with(logs);
    make_reset(m);
    make_add(m, 4, EV_EFI_BOOT_SERVICES_APPLICATION, BYTES_STR("another loader"));
    make_build(m);
    m->ev.event_log = log;
    judge_with(logs);
    assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
    assert_true(has(CHECK_LOG_REPLAY, STATUS_FAIL, "pcr_replay_mismatch"));
    attest_logs_free(logs);
}

/* Another log each time: a command line of its own. */
static void build_nth(unsigned n)
{
    make_reset(m);
    make_add(m, 12, EV_IPL, arena_copy(m->arena, BYTES(&n, sizeof n)));
    make_build(m);
}

/* Whatever log is thought likely, the one that was sent is judged. */
static void the_likely_log_is_compared(void **state)
{
    struct attest_logs *logs = attest_logs_new(ROOM);
    uint8_t first[32], unknown[32] = {1};
    build_nth(1);
    judge_with(logs);
    memcpy(first, digest_of_log().data, sizeof first);
    struct attest_log *known = attest_logs_find(logs, BYTES_OF(first), m->arena);
    size_t len = m->log.len;
    const struct bytes likely[] = {BYTES_OF(first), BYTES_OF(unknown), {0}, BYTES("x", 1)};
    for (size_t i = 0; i < ARRAY_LEN(likely); i++) {
        build_nth(1);
        m->in.likely_log = likely[i];
        judge_with(logs);
        assert_int_equal(result.verdict, VERDICT_TRUSTED);
        assert_ptr_equal(result.event_log, known);

        build_nth(2); /* as long, but for four bytes the same */
        m->in.likely_log = likely[i];
        judge_with(logs);
        assert_int_equal(m->log.len, len);
        assert_int_equal(result.verdict, VERDICT_TRUSTED);
        assert_true(bytes_equal(attest_log_bytes(result.event_log), m->log));
        assert_memory_equal(attest_log_sha256(result.event_log).data, digest_of_log().data, 32);
    }
    m->in.likely_log = (struct bytes){0};
    attest_logs_free(logs);
}

static void the_longest_unused_goes_first(void **state)
{
    struct attest_logs *logs = attest_logs_new(ROOM);
    for (unsigned n = 0; n < LOGS; n++) {
        build_nth(n);
        judge_with(logs);
        assert_true(is_known(logs));
        build_nth(1); /* used again and again */
        assert_int_equal(is_known(logs), n > 0);
    }
    size_t known = 0;
    for (unsigned n = 0; n < LOGS; n++) {
        build_nth(n);
        known += is_known(logs);
        assert_true(n != 0 || !is_known(logs));
        assert_true(n < LOGS - 1 || is_known(logs));
    }
    assert_in_range(known, 4, ROOM / (40 * 1024)); /* each takes 40 KiB at least */
    attest_logs_free(logs);

    logs = attest_logs_new(1000); /* no room for any */
    judge_with(logs);
    assert_false(is_known(logs));
    attest_logs_free(logs);
}

struct worker {
    pthread_t thread;
    struct attest_logs *logs;
    unsigned trusted;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    for (int i = 0; i < ROUNDS; i++) {
        struct arena *a = arena_new();
        struct attest_result r;
        struct attest_input in = m->in;
        in.logs = w->logs;
        w->trusted += !attest_verify(&in, a, &r, NULL) && r.verdict == VERDICT_TRUSTED;
        arena_free(a);
    }
    return NULL;
}

static void threads_share_them(void **state)
{
    struct worker workers[THREADS];
    struct attest_logs *logs = attest_logs_new(ROOM);
    make_reset(m);
    make_build(m);
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.logs = logs};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_int_equal(workers[i].trusted, ROUNDS);
    }
    attest_logs_free(logs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_proven_log_is_remembered),
        cmocka_unit_test(only_a_proven_log_is_remembered),
        cmocka_unit_test(a_known_log_need_not_be_sent),
        cmocka_unit_test(a_known_log_proves_nothing_for_another_quote),
        cmocka_unit_test(the_likely_log_is_compared),
        cmocka_unit_test(the_longest_unused_goes_first),
        cmocka_unit_test(threads_share_them),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
