/*
 * Replays event logs that come in on stdin, each behind its length (4 bytes, little-endian), and
 * prints one JSON object a line: {"bad": reason} or {"sha256": {"touched": mask, "0": "<hex>", ...}}
 * for every bank that can be replayed. Everything else that is done with a log is done too, so that a
 * log that would crash or hang it does so here.
 */
#include "attest/content.h"
#include "core/cleanup.h"

static void write_bank(struct jw *w, const struct log_replay *replay)
{
    jw_key(w, pcr_banks[replay->bank].name);
    jw_open(w, '{');
    jw_key_int(w, "touched", replay->touched);
    for (unsigned i = 0; i < EVIDENCE_PCRS; i++) {
        char index[8];
        snprintf(index, sizeof index, "%u", i);
        jw_key(w, index);
        jw_hex(w, BYTES(replay->values[i], pcr_banks[replay->bank].size));
    }
    jw_close(w, '}');
}

static void run_bank(struct jw *w, const struct event_log *log, enum pcr_bank bank, struct arena *a)
{
    struct attest_result r;
    struct log_replay replay;
    struct buf scratch = {0};
    struct jw claims = jw_over(&scratch);
    result_init(&r);
    replay_run(log, bank, &replay, a, &r);
    if (replay.ok)
        write_bank(w, &replay);
    struct content_report report = content_check(log, bank, a, &r);
    struct log_claims c = content_claims(log, bank, ~report.unfit, a);
    jw_open(&claims, '{');
    claims_write_log_full(&claims, &c, a);
    jw_close(&claims, '}');
    buf_free(&scratch);
}

static void run_log(struct buf *out, struct bytes data, struct arena *a)
{
    struct jw w = jw_over(out);
    struct event_log log = eventlog_parse(data, a);
    jw_open(&w, '{');
    jw_key_str_opt(&w, "bad", log.bad);
    for (int b = 0; b < BANK_COUNT && !log.bad; b++)
        if (log.banks[b])
            run_bank(&w, &log, (enum pcr_bank)b, a);
    jw_close(&w, '}');
}

static bool read_exactly(void *to, size_t n)
{
    return fread(to, 1, n, stdin) == n;
}

int main(void)
{
    struct arena *a = arena_new();
    uint8_t head[4];
    while (read_exactly(head, sizeof head)) {
        struct cursor c = cursor_of(BYTES_OF(head));
        size_t len = cursor_u32le(&c);
        /* Exactly as long as the log, so that a read past its end is seen. */
        AUTO(free) uint8_t *data = malloc(len ? len : 1);
        struct buf out = {0};
        if (!data || !read_exactly(data, len))
            return 1;
        run_log(&out, BYTES(data, len), a);
        puts(out.data);
        fflush(stdout);
        buf_free(&out);
        arena_reset(a);
    }
    arena_free(a);
    return 0;
}
