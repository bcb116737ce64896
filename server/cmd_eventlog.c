#include "attest/rollover.h"
#include "attest/content.h"
#include "attest/decode.h"
#include "attest/hash.h"
#include "core/cleanup.h"
#include "core/json.h"
#include "server/command_io.h"
#include "server/commands.h"
#include "server/pcr_file.h"

enum { EXIT_CONSISTENT, EXIT_REJECTED, EXIT_MALFORMED };

static const char usage[] =
    "usage: tlgate eventlog LOG [--pcrs FILE.json] [--bank sha256|sha1|sha384]\n";

struct request {
    const char *log;
    const char *pcrs;
    enum pcr_bank bank; /* BANK_COUNT: every bank of the log */
};

static bool parse_bank(const char *name, enum pcr_bank *out)
{
    for (int i = 0; i < BANK_COUNT; i++) {
        if (strcmp(name, pcr_banks[i].name) == 0) {
            *out = (enum pcr_bank)i;
            return true;
        }
    }
    return false;
}

static bool set_option(void *ctx, int o, const char *value)
{
    struct request *q = ctx;
    if (o == 'p')
        q->pcrs = value;
    return o == 'p' || (o == 'b' && parse_bank(value, &q->bank));
}

static bool parse_args(int argc, char **argv, struct request *q)
{
    static const struct option options[] = {
        {"pcrs", required_argument, NULL, 'p'}, {"bank", required_argument, NULL, 'b'}, {0}};
    *q = (struct request){.bank = BANK_COUNT};
    if (!command_each_option(argc, argv, options, set_option, q) || optind + 1 != argc)
        return false;
    q->log = argv[optind];
    return true;
}

static bool read_expected(const char *path, enum pcr_bank bank, struct pcr_set *set)
{
    struct err_info e = {0};
    struct buf text = {0};
    bool ok = command_read(path, EVIDENCE_BODY_MAX, &text);
    if (ok && pcr_file_read(buf_bytes(&text), bank, set, &e))
        ok = command_complain("%s %s", path, e.detail);
    buf_free(&text);
    return ok;
}

/* ---- output ---- */

static void write_pcrs(struct jw *w, const struct log_replay *replay)
{
    jw_key(w, pcr_banks[replay->bank].name);
    jw_open(w, '{');
    for (unsigned i = 0; i < EVIDENCE_PCRS; i++) {
        char index[8];
        snprintf(index, sizeof index, "%u", i);
        jw_key(w, index);
        jw_hex(w, BYTES(replay->values[i], pcr_banks[replay->bank].size));
    }
    jw_close(w, '}');
}

static void write_event(struct jw *w, const struct log_event *ev, size_t index, struct arena *a)
{
    const char *name = eventlog_type_name(ev->type);
    enum pcr_bank strongest = BANK_COUNT;
    jw_open(w, '{');
    jw_key_int(w, "index", (int64_t)index);
    jw_key_int(w, "pcr", ev->pcr);
    jw_key_str(w, "type", name ? name : arena_printf(a, "0x%08x", ev->type));
    jw_key(w, "digests");
    jw_open(w, '{');
    for (int b = 0; b < BANK_COUNT; b++) {
        if (!ev->digest[b].len)
            continue;
        strongest = (enum pcr_bank)b;
        jw_key(w, pcr_banks[b].name);
        jw_hex(w, ev->digest[b]);
    }
    jw_close(w, '}');
    if (strongest != BANK_COUNT && ev->type != EV_NO_ACTION)
        jw_key_bool(w, "digestOfData", hash_matches(strongest, ev->data, ev->digest[strongest]));
    decode_event(w, ev, a);
    jw_key(w, "data");
    jw_base64(w, ev->data);
    jw_close(w, '}');
}

/* ---- the log ---- */

struct reading {
    const struct request *q;
    const struct event_log *log;
    const struct pcr_set *expected; /* NULL: none given */
    struct arena *arena;
    struct attest_result result;
    enum pcr_bank claims_bank;
    uint32_t fit; /* PCRs that claims may come from */
    bool malformed;
};

static bool is_wanted(const struct reading *g, enum pcr_bank bank)
{
    return g->log->banks[bank] && (g->q->bank == BANK_COUNT || g->q->bank == bank);
}

static void check_expected(struct reading *g)
{
    if (!g->expected) {
        result_skip(&g->result, CHECK_LOG_REPLAY, "no_pcrs");
        return;
    }
    struct log_replay replay;
    replay_run(g->log, g->expected->bank, &replay, g->arena, &g->result);
    g->fit &= replay.ok ? replay_compare(&replay, g->expected, g->arena, &g->result) : 0;
    result_pass(&g->result, CHECK_LOG_REPLAY);
}

static void check_log(struct reading *g)
{
    const struct event_log *log = g->log;
    g->fit = UINT32_MAX;
    g->claims_bank = BANK_COUNT;
    if (log->bad) {
        result_fail_at(&g->result, CHECK_LOG_FORMAT, log->bad, (int)log->n, ATTEST_NO_INDEX);
        g->malformed = true;
        return;
    }
    result_pass(&g->result, CHECK_LOG_FORMAT);
    check_expected(g);
    for (int b = 0; b < BANK_COUNT; b++) {
        if (!is_wanted(g, (enum pcr_bank)b))
            continue;
        struct content_report report = content_check(log, (enum pcr_bank)b, g->arena, &g->result);
        g->fit &= ~report.unfit;
        g->malformed |= report.malformed != NULL;
        g->claims_bank = (enum pcr_bank)b;
    }
    if (g->expected && log->banks[g->expected->bank])
        g->claims_bank = g->expected->bank;
    if (g->claims_bank == BANK_COUNT)
        result_fail(&g->result, CHECK_LOG_REPLAY, "bank_mismatch");
    else
        result_pass(&g->result, CHECK_LOG_CONTENT);
}

/* Where the roll-over of Microsoft's certificates stands. */
static void write_certificates(struct jw *w, const struct log_claims *claims)
{
    uint32_t set = rollover_of(claims);
    if (!set)
        return;
    jw_key(w, "secureBootCertificates");
    jw_open(w, '{');
    rollover_write(w, set);
    jw_close(w, '}');
}

static void write_result(const struct reading *g, struct jw *w)
{
    struct attest_result scratch; /* what cannot be replayed was reported above */
    result_init(&scratch);
    jw_open(w, '{');
    jw_key_str(w, "format", g->log->agile ? "cryptoAgile" : "sha1");
    jw_key(w, "pcrs");
    jw_open(w, '{');
    for (int b = 0; b < BANK_COUNT; b++) {
        struct log_replay replay;
        if (!is_wanted(g, (enum pcr_bank)b))
            continue;
        replay_run(g->log, (enum pcr_bank)b, &replay, g->arena, &scratch);
        write_pcrs(w, &replay);
    }
    jw_close(w, '}');
    jw_key(w, "events");
    jw_open(w, '[');
    for (size_t i = 0; i < g->log->n; i++)
        write_event(w, &g->log->events[i], i, g->arena);
    jw_close(w, ']');
    jw_key(w, "claims");
    jw_open(w, '{');
    if (g->claims_bank != BANK_COUNT && !g->malformed) {
        struct log_claims claims = content_claims(g->log, g->claims_bank, g->fit, g->arena);
        claims_write_log_full(w, &claims, g->arena);
        write_certificates(w, &claims);
    }
    jw_close(w, '}');
    jw_key(w, "checks");
    attest_write_checks(w, &g->result);
    jw_close(w, '}');
}

static int read_log(struct reading *g)
{
    check_log(g);
    result_sort(&g->result);
    struct buf out = {0};
    struct jw w = jw_over(&out);
    write_result(g, &w);
    command_print(&out);
    buf_free(&out);
    if (g->malformed)
        return EXIT_MALFORMED;
    for (size_t i = 0; i < g->result.n_findings; i++)
        if (g->result.findings[i].status == STATUS_FAIL)
            return EXIT_REJECTED;
    return EXIT_CONSISTENT;
}

int cmd_eventlog(int argc, char **argv)
{
    struct request q;
    struct pcr_set expected;
    struct buf file = {0};
    if (!parse_args(argc + 1, argv - 1, &q)) { /* getopt starts behind the command's name */
        fputs(usage, stderr);
        return EXIT_MALFORMED;
    }
    if ((q.pcrs && !read_expected(q.pcrs, q.bank, &expected)) ||
        !command_read(q.log, EVIDENCE_LOG_MAX, &file)) {
        buf_free(&file);
        return EXIT_MALFORMED;
    }
    struct arena *a = arena_new();
    struct event_log log = eventlog_parse(buf_bytes(&file), a);
    struct reading g = {.q = &q, .log = &log, .expected = q.pcrs ? &expected : NULL, .arena = a};
    result_init(&g.result);
    int status = read_log(&g);
    arena_free(a);
    buf_free(&file);
    return status;
}
