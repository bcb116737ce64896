/* The event log, from its bytes to its claims. */
#include "attest/content.h"
#include "attest/decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_at(const struct event_log *log, enum pcr_bank bank, struct arena *a)
{
    struct attest_result r;
    struct log_replay replay;
    struct pcr_set set = {.bank = bank, .mask = 0xffffff};
    result_init(&r);
    replay_run(log, bank, &replay, a, &r);
    replay_compare(&replay, &set, a, &r);
    content_check(log, bank, a, &r);
    struct log_claims claims = content_claims(log, bank, UINT32_MAX, a);
    struct buf out = {0};
    struct jw w = jw_over(&out);
    jw_open(&w, '{');
    claims_write_log_full(&w, &claims, a);
    jw_close(&w, '}');
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new();
    struct event_log log = eventlog_parse(BYTES(data, size), a);
    struct buf out = {0};
    struct jw w = jw_over(&out);
    for (size_t i = 0; i < log.n; i++) {
        jw_open(&w, '{');
        decode_event(&w, &log.events[i], a);
        jw_close(&w, '}');
        buf_reset(&out);
    }
    buf_free(&out);
    for (int b = 0; b < BANK_COUNT; b++)
        look_at(&log, (enum pcr_bank)b, a);
    arena_free(a);
    return 0;
}
