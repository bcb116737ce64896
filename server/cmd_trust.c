/* tlgate trust: the issuers of AK certificates, listed and fetched. */
#include "attest/akcert.h"
#include "core/cleanup.h"
#include "core/clock.h"
#include "core/json.h"
#include "server/command_io.h"
#include "server/commands.h"
#include "server/trust_fetch.h"

#define CERTIFICATES_MAX 16
#define DAY_MS           (INT64_C(24) * 3600 * 1000)
#define TIMEOUT_S        20
#define TIMEOUT_S_MAX    600

enum { EXIT_DONE, EXIT_INCOMPLETE, EXIT_USAGE };

AUTO_DEFINE(trust, struct attest_trust *, attest_trust_free)
AUTO_DEFINE(arena, struct arena *, arena_free)

static const char usage[] =
    "usage: tlgate trust list  " COMMAND_TRUST_USAGE "\n"
    "                          [--config FILE instead of --trust-dir] [--json]\n"
    "       tlgate trust fetch [the same] [--certificate FILE]... [--base-url URL]\n"
    "                          [--timeout SECONDS]\n";

struct request {
    struct command_trust trust;
    const char *config;
    const char *certificates[CERTIFICATES_MAX];
    size_t n_certificates;
    const char *base_url;
    int64_t timeout_ms;
    bool json;
};

static const struct option options[] = {
    COMMAND_TRUST_OPTIONS,
    {"config", required_argument, NULL, 'c'},
    {"certificate", required_argument, NULL, 'x'},
    {"base-url", required_argument, NULL, 'b'},
    {"timeout", required_argument, NULL, 's'},
    {"json", no_argument, NULL, 'j'},
    {0},
};

static bool set_timeout(struct request *q, const char *text)
{
    char *end;
    long seconds = strtol(text, &end, 10);
    q->timeout_ms = seconds * 1000;
    return end != text && !*end && seconds > 0 && seconds <= TIMEOUT_S_MAX;
}

static bool set_option(void *ctx, int o, const char *value)
{
    struct request *q = ctx;
    switch (o) {
    case 'c':
        q->config = value;
        return true;
    case 'x':
        if (q->n_certificates == CERTIFICATES_MAX)
            return false;
        q->certificates[q->n_certificates++] = value;
        return true;
    case 'b':
        q->base_url = value;
        return true;
    case 's':
        return set_timeout(q, value);
    case 'j':
        return q->json = true;
    default:
        return command_trust_option(&q->trust, o, value);
    }
}

static bool parse_args(int argc, char **argv, struct request *q)
{
    *q = (struct request){.timeout_ms = TIMEOUT_S * 1000};
    command_trust_init(&q->trust);
    return command_each_option(argc, argv, options, set_option, q) && optind == argc &&
           !(q->config && q->trust.options.trust_dir);
}

/* Without --trust-dir it is the gateway's own configuration that counts. */
static bool settle_trust(struct request *q, struct arena *a)
{
    struct settings s;
    struct err_info why = {0};
    struct attest_trust_options *trust = &q->trust.options;
    if (trust->trust_dir)
        return true;
    if (command_settings(q->config, a, &s, &why)) {
        (void)command_fail(&why);
        return false;
    }
    for (size_t i = 0; i < s.attestation.trust_anchors.n; i++)
        if (!command_trust_option(&q->trust, 'a', s.attestation.trust_anchors.items[i]))
            return command_complain("too many trust anchors");
    trust->trust_dir = s.attestation.trust_dir;
    trust->legacy_root |= s.attestation.legacy_root;
    return true;
}

/* ---- list ---- */

static int64_t days_left(const struct issuer *i, int64_t now)
{
    int64_t left = i->not_after - now;
    return left / DAY_MS - (left < 0 && left % DAY_MS != 0);
}

static void put_json(struct buf *out, const struct issuer *list, size_t n, int64_t now)
{
    struct jw w = jw_over(out);
    jw_open(&w, '{');
    jw_key(&w, "issuers");
    jw_open(&w, '[');
    for (size_t i = 0; i < n; i++) {
        jw_open(&w, '{');
        jw_key_str(&w, "subject", list[i].subject);
        jw_key_str(&w, "issuer", list[i].issued_by);
        jw_key(&w, "sha256");
        jw_hex(&w, BYTES_OF(list[i].sha256));
        jw_key_time_opt(&w, "notBefore", list[i].not_before);
        jw_key_time_opt(&w, "notAfter", list[i].not_after);
        jw_key_int(&w, "daysLeft", days_left(&list[i], now));
        jw_key_bool(&w, "anchor", list[i].anchor);
        jw_key_str_opt(&w, "chain", list[i].problem ? NULL : list[i].path);
        jw_key_str_opt(&w, "problem", list[i].problem);
        jw_close(&w, '}');
    }
    jw_close(&w, ']');
    jw_close(&w, '}');
}

static void put_text(struct buf *out, const struct issuer *list, size_t n, int64_t now)
{
    for (size_t i = 0; i < n; i++) {
        char from[TIME_TEXT_SIZE], to[TIME_TEXT_SIZE], hex[65];
        time_format(list[i].not_before, from);
        time_format(list[i].not_after, to);
        hex_encode(BYTES_OF(list[i].sha256), hex);
        buf_printf(out, "%s%s\n", list[i].subject, list[i].anchor ? " (anchor)" : "");
        buf_printf(out, "  issuer   %s\n  sha256   %s\n", list[i].issued_by, hex);
        buf_printf(out, "  valid    %.10s to %.10s, %lld days left\n", from, to,
                   (long long)days_left(&list[i], now));
        buf_printf(out, "  %s%s\n", list[i].problem ? "problem  " : "chain    ",
                   list[i].problem ? list[i].problem : list[i].path);
    }
}

static int list(struct request *q, struct arena *a)
{
    struct err_info e = {0};
    AUTO(trust) struct attest_trust *trust = NULL;
    if (attest_trust_open(&q->trust.options, &trust, &e)) {
        command_complain("%s", e.detail);
        return EXIT_USAGE;
    }
    size_t n = 0;
    const struct issuer *all = issuers_list(trust, q->trust.at, a, &n);
    struct buf out = {0};
    if (q->json) {
        put_json(&out, all, n, q->trust.at);
        command_print(&out);
    } else {
        put_text(&out, all, n, q->trust.at);
        fwrite(out.data, 1, out.len, stdout);
    }
    buf_free(&out);
    return EXIT_DONE;
}

/* ---- fetch ---- */

static bool read_certificates(const struct request *q, struct arena *a, struct bytes *out,
                              size_t *n)
{
    for (size_t i = 0; i < q->n_certificates; i++) {
        struct buf file = {0};
        struct bytes found[ISSUERS_MAX];
        bool ok = command_read(q->certificates[i], ISSUERS_BODY_MAX, &file);
        size_t k = ok ? issuers_extract(akcert_strip(buf_bytes(&file)), a, found) : 0;
        if (ok && k == 0)
            k = issuers_extract(buf_bytes(&file), a, found);
        buf_free(&file);
        if (ok && k == 0)
            ok = command_complain("%s holds no certificate", q->certificates[i]);
        if (!ok)
            return false;
        out[(*n)++] = found[0];
    }
    return true;
}

static void print_lines(const struct request *q, const struct trust_fetch_line *lines, size_t n)
{
    struct buf out = {0};
    struct jw w = jw_over(&out);
    jw_open(&w, '[');
    for (size_t i = 0; i < n; i++) {
        const struct trust_fetch_line *l = &lines[i];
        if (!q->json) {
            printf("%-9s  %s%s%s%s%s\n", l->status, l->what ? l->what : "?", l->detail ? ": " : "",
                   l->detail ? l->detail : "", l->url ? "\n           from " : "",
                   l->url ? l->url : "");
            continue;
        }
        jw_open(&w, '{');
        jw_key_str(&w, "status", l->status);
        jw_key_str_opt(&w, "what", l->what);
        jw_key_str_opt(&w, "detail", l->detail);
        jw_key_str_opt(&w, "url", l->url);
        jw_close(&w, '}');
    }
    jw_close(&w, ']');
    if (q->json)
        command_print(&out);
    buf_free(&out);
}

static int fetch(struct request *q, struct arena *a)
{
    struct err_info e = {0};
    struct bytes certificates[CERTIFICATES_MAX];
    size_t n_certificates = 0, n = 0;
    struct trust_fetch_line *lines = NULL;
    bool complete = false;
    if (!q->trust.options.trust_dir) {
        command_complain("--trust-dir or attestation.trust_dir is needed");
        return EXIT_USAGE;
    }
    if (!read_certificates(q, a, certificates, &n_certificates))
        return EXIT_USAGE;
    const struct trust_fetch_options o = {.trust = q->trust.options,
                                          .certificates = certificates,
                                          .n_certificates = n_certificates,
                                          .base_url = q->base_url,
                                          .timeout_ms = q->timeout_ms,
                                          .now = q->trust.at};
    if (trust_fetch(&o, a, &lines, &n, &complete, &e)) {
        command_complain("%s", e.detail);
        return EXIT_USAGE;
    }
    print_lines(q, lines, n);
    return complete ? EXIT_DONE : EXIT_INCOMPLETE;
}

int cmd_trust(int argc, char **argv)
{
    struct request q;
    bool fetching = argc > 0 && strcmp(argv[0], "fetch") == 0;
    bool listing = argc > 0 && strcmp(argv[0], "list") == 0;
    if ((!fetching && !listing) || !parse_args(argc, argv, &q) ||
        (listing && (q.base_url || q.n_certificates))) {
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    AUTO(arena) struct arena *a = arena_new();
    if (!settle_trust(&q, a))
        return EXIT_USAGE;
    return fetching ? fetch(&q, a) : list(&q, a);
}
