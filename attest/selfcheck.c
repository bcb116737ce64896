#include "attest/selfcheck.h"

#include "attest/result.h"
#include "attest/truststore.h"

#include <pthread.h>
#include <stdio.h>

#ifdef TLGATE_FAULTS

#define LOGS_SIZE ((size_t)8 * 1024 * 1024)

static struct attest_logs *logs;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_logs(void)
{
    logs = attest_logs_new(LOGS_SIZE);
}

/* All that a caller can see of a result, as text. */
static void describe(enum err err, const struct attest_result *r, struct buf *out)
{
    struct jw w = jw_over(out);
    jw_open(&w, '[');
    jw_str(&w, err_code(err));
    jw_str(&w, attest_verdict_name(r->verdict));
    jw_str(&w, r->reason);
    attest_write_checks(&w, r);
    attest_write_claims(&w, r);
    jw_hex(&w, BYTES_OF(r->ak_spki_sha256));
    jw_hex(&w, BYTES(r->ak_name, r->ak_name_len));
    jw_int(&w, r->has_ak << 4 | r->quote_authentic << 3 | r->signed_by_pin << 2 |
                   r->clock_safe << 1 | r->has_event_log);
    jw_int(&w, (int64_t)(r->clock & INT64_MAX));
    jw_hex(&w, r->event_log ? attest_log_sha256(r->event_log) : (struct bytes){0});
    jw_close(&w, ']');
}

static bool is_current(struct attest_trust *t, const struct trust_set *set)
{
    AUTO(trust_set) struct trust_set *now = truststore_hold(t);
    return now == set;
}

static void compare(const struct attest_input *in, const struct trust_set *began,
                    const struct buf *want, const char *how)
{
    struct arena *a = arena_new();
    struct attest_result *r = ARENA_NEW(a, struct attest_result);
    struct buf got = {0};
    describe(verify_evidence(in, a, r, NULL), r, &got);
    if (strcmp(want->data, got.data) != 0 && is_current(in->trust, began)) {
        fprintf(stderr, "a verdict depends on what is known (%s)\n%s\n%s\n", how, want->data,
                got.data);
        abort();
    }
    buf_free(&got);
    arena_free(a);
}

struct trust_set *selfcheck_begin(const struct attest_input *in)
{
    return truststore_hold(in->trust);
}

void selfcheck_verdict(const struct attest_input *in, enum err err, const struct attest_result *r,
                       struct trust_set *began)
{
    struct attest_input again = *in;
    struct evidence evidence = *in->evidence;
    struct buf want = {0};
    pthread_once(&once, make_logs);
    describe(err, r, &want);
    if (in->log && !evidence.event_log.len)
        evidence.event_log = attest_log_bytes(in->log);
    again.evidence = &evidence;
    again.log = NULL;
    again.likely_log = (struct bytes){0};
    again.logs = NULL;
    again.afresh = true;
    compare(&again, began, &want, "nothing");
    again.afresh = false;
    again.logs = logs;
    compare(&again, began, &want, "first");
    compare(&again, began, &want, "again");
    truststore_release(began);
    buf_free(&want);
}

#else

typedef int selfcheck_is_for_test_presets;

#endif
