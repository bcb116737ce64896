#include "attest/explain.h"
#include "attest/rules.h"
#include "attest/jwks.h"
#include "core/cleanup.h"
#include "core/clock.h"
#include "server/command_io.h"
#include "server/commands.h"

#define LIST_MAX  64
#define NONCE_MAX 64

enum { EXIT_TRUSTED, EXIT_UNTRUSTED, EXIT_USAGE };

AUTO_DEFINE(trust, struct attest_trust *, attest_trust_free)
AUTO_DEFINE(policy, struct attest_policy *, attest_policy_unref)

static const char usage[] =
    "usage: tlgate verify EVIDENCE.json --nonce HEX\n"
    "         [--profile azureTrustedLaunch|confidentialVm|tpm] [--trusted-ak FILE]...\n"
    "         " COMMAND_TRUST_USAGE "\n"
    "         [--require-secure-boot] [--policy FILE [--image NAME]] [--explain]\n"
    "         [--maa-jwks FILE --maa-issuer URL...]\n"
    "       tlgate verify TOKEN.jwt --maa-only --nonce HEX --maa-jwks FILE --maa-issuer URL...\n"
    "         [--vm-id GUID] [--profile P] [--at RFC3339] [--require-secure-boot] [--explain]\n";

struct request {
    const char *evidence;
    uint8_t nonce[NONCE_MAX];
    size_t nonce_len;
    bool has_profile;
    enum attest_profile profile;
    const char *aks[LIST_MAX];
    size_t n_aks;
    struct command_trust trust;
    bool require_secure_boot;
    bool explain;
    const char *maa_jwks;
    struct maa_provider issuers[LIST_MAX];
    size_t n_issuers;
    bool maa_only;
    const char *vm_id;
    const char *policy_file;
    struct attest_policy *policy;
    const char *image;
};

static const struct option options[] = {
    {"nonce", required_argument, NULL, 'n'},
    {"profile", required_argument, NULL, 'p'},
    {"trusted-ak", required_argument, NULL, 'k'},
    COMMAND_TRUST_OPTIONS,
    {"require-secure-boot", no_argument, NULL, 's'},
    {"explain", no_argument, NULL, 'e'},
    {"maa-jwks", required_argument, NULL, 'j'},
    {"maa-issuer", required_argument, NULL, 'i'},
    {"maa-only", no_argument, NULL, 'm'},
    {"vm-id", required_argument, NULL, 'v'},
    {"policy", required_argument, NULL, 'o'},
    {"image", required_argument, NULL, 'g'},
    {0},
};

static bool add_ak(struct request *q, const char *file)
{
    if (q->n_aks == LIST_MAX)
        return false;
    q->aks[q->n_aks++] = file;
    return true;
}

static bool set_nonce(struct request *q, const char *hex)
{
    size_t len = strlen(hex);
    q->nonce_len = len / 2;
    return len > 0 && q->nonce_len <= NONCE_MAX && hex_decode(hex, len, q->nonce, q->nonce_len);
}

static bool add_issuer(struct request *q, const char *url)
{
    if (q->n_issuers == LIST_MAX)
        return false;
    q->issuers[q->n_issuers++].issuer = url;
    return true;
}

static bool set_token_option(struct request *q, int o, const char *value)
{
    switch (o) {
    case 'j':
        q->maa_jwks = value;
        return true;
    case 'i':
        return add_issuer(q, value);
    case 'm':
        q->maa_only = true;
        return true;
    case 'v':
        q->vm_id = value;
        return uuid_valid(value);
    default:
        return false;
    }
}

static bool set_option(void *ctx, int o, const char *value)
{
    struct request *q = ctx;
    switch (o) {
    case 'n':
        return set_nonce(q, value);
    case 'p':
        q->has_profile = true;
        return attest_profile_parse(value, &q->profile);
    case 'k':
        return add_ak(q, value);
    case 's':
        q->require_secure_boot = true;
        return true;
    case 'e':
        q->explain = true;
        return true;
    case 'o':
        q->policy_file = value;
        return true;
    case 'g':
        q->image = value;
        return true;
    default:
        return command_trust_option(&q->trust, o, value) || set_token_option(q, o, value);
    }
}

static bool parse_args(int argc, char **argv, struct request *q)
{
    *q = (struct request){0};
    command_trust_init(&q->trust);
    if (!command_each_option(argc, argv, options, set_option, q))
        return false;
    if (optind + 1 != argc || q->nonce_len == 0)
        return false;
    if (!q->maa_jwks != !q->n_issuers || (q->maa_only ? !q->maa_jwks : q->vm_id != NULL))
        return false;
    q->evidence = argv[optind];
    if (!q->has_profile && q->n_aks)
        q->profile = PROFILE_TPM;
    return true;
}

static bool read_pins(const struct request *q, struct arena *a, struct attest_pin *pins)
{
    for (size_t i = 0; i < q->n_aks; i++) {
        struct err_info e = {0};
        struct buf file = {0};
        bool ok = command_read(q->aks[i], EVIDENCE_CERT_MAX, &file);
        if (ok && attest_pin_read(buf_bytes(&file), a, &pins[i], &e))
            ok = command_complain("%s: %s", q->aks[i], e.detail);
        buf_free(&file);
        if (!ok)
            return false;
    }
    return true;
}

/* One key set for all issuers: providers share keys, and each token still names its own issuer. */
static bool read_jwks(struct request *q, struct jwks **out)
{
    struct err_info e = {0};
    struct buf file = {0};
    if (!q->maa_jwks)
        return true;
    bool ok = command_read(q->maa_jwks, JWKS_SIZE_MAX, &file);
    if (ok && jwks_parse(buf_bytes(&file), out, &e))
        ok = command_complain("%s: %s", q->maa_jwks, e.detail);
    buf_free(&file);
    for (size_t i = 0; i < q->n_issuers; i++)
        q->issuers[i].keys = *out;
    return ok;
}

static void write_problem(struct jw *w, const struct err_info *e)
{
    jw_open(w, '{');
    jw_key_str(w, "code", err_code(e->code));
    jw_key_str(w, "detail", e->detail);
    jw_key(w, "errors");
    jw_open(w, '[');
    for (unsigned i = 0; i < e->n_fields; i++) {
        jw_open(w, '{');
        jw_key_str(w, "pointer", e->fields[i].pointer);
        jw_key_str(w, "detail", e->fields[i].detail);
        jw_close(w, '}');
    }
    jw_close(w, ']');
    jw_close(w, '}');
}

static void write_result(struct jw *w, const struct evidence *ev, const struct attest_result *r)
{
    jw_open(w, '{');
    jw_key_str_opt(w, "vmId", ev->vm_id);
    jw_key_str(w, "verdict", attest_verdict_name(r->verdict));
    jw_key(w, "checks");
    attest_write_checks(w, r);
    jw_key(w, "claims");
    attest_write_claims(w, r);
    jw_close(w, '}');
}

/* The report that a person reads, in place of the JSON. */
static void explain_result(struct buf *out, const struct evidence *ev,
                           const struct attest_result *r, struct arena *a)
{
    struct explain x = {.verdict = attest_verdict_name(r->verdict),
                        .findings = r->findings,
                        .n_findings = r->n_findings};
    struct event_log log;
    if (ev->event_log.len) {
        log = eventlog_parse(ev->event_log, a);
        x.log = &log;
    }
    explain_text(out, &x, a);
}

/* Evidence is decoded in place; a token may end with a newline, as editors leave one. */
static enum err judge_text(const struct request *q, struct attest_input *in, struct evidence *ev,
                           struct buf *text, struct arena *a, struct attest_result *r,
                           struct err_info *e)
{
    if (q->maa_only) {
        while (text->len && strchr("\r\n", text->data[text->len - 1]))
            text->len--;
        *ev = (struct evidence){.vm_id = q->vm_id, .maa_token = buf_bytes(text)};
        return attest_verify_token(in, a, r, e);
    }
    enum err err = wire_decode_json(text->data, text->len, WIRE_OFFLINE, a, ev, e);
    return err ? err : attest_verify(in, a, r, e);
}

static int judge(const struct request *q, struct attest_trust *trust, const struct attest_pin *pins,
                 struct buf *text, struct arena *a)
{
    struct err_info e = {0};
    struct evidence ev;
    struct attest_result r;
    const struct maa_trust maa = {.providers = q->issuers, .n_providers = q->n_issuers};
    struct attest_input in = {
        .evidence = &ev,
        .trust = trust,
        .nonce = BYTES(q->nonce, q->nonce_len),
        .now = q->trust.at,
        .profile = q->profile,
        .require_secure_boot = q->require_secure_boot,
        .policy = q->policy,
        .image = q->image,
        /* Without a log Secure Boot cannot be shown, so who requires it gets no trust. */
        .allow_quote_only = !q->require_secure_boot,
        .pins = pins,
        .n_pins = q->n_aks,
        .maa = &maa,
    };
    enum err err = judge_text(q, &in, &ev, text, a, &r, &e);
    struct buf out = {0};
    struct jw w = jw_over(&out);
    if (err)
        write_problem(&w, &e);
    else if (q->explain)
        explain_result(&out, &ev, &r, a);
    else
        write_result(&w, &ev, &r);
    command_print(&out);
    buf_free(&out);
    if (err)
        return EXIT_USAGE;
    bool trusted = r.verdict == VERDICT_TRUSTED || r.verdict == VERDICT_TRUSTED_QUOTE_ONLY;
    return trusted ? EXIT_TRUSTED : EXIT_UNTRUSTED;
}

/* The document that PUT /v1/attestation/policies/{name} takes. */
static bool read_policy(struct request *q, struct attest_policy **out)
{
    struct err_info e = {0};
    struct buf file = {0};
    if (!q->policy_file)
        return true;
    bool ok = command_read(q->policy_file, EVIDENCE_BODY_MAX, &file);
    if (ok && attest_policy_compile(buf_bytes(&file), out, &e))
        ok = command_complain("%s: %s %s", q->policy_file, e.n_fields ? e.fields[0].pointer : "",
                              e.n_fields ? e.fields[0].detail : e.detail);
    buf_free(&file);
    q->policy = *out;
    return ok;
}

static int verify(struct request *q, struct arena *a)
{
    struct err_info e = {0};
    struct attest_pin *pins = arena_array(a, q->n_aks + 1, sizeof *pins);
    AUTO(trust) struct attest_trust *trust = NULL;
    AUTO(jwks) struct jwks *keys = NULL;
    AUTO(policy) struct attest_policy *policy = NULL;
    if (!read_pins(q, a, pins) || !read_jwks(q, &keys) || !read_policy(q, &policy))
        return EXIT_USAGE;
    if (attest_trust_open(&q->trust.options, &trust, &e)) {
        command_complain("%s", e.detail);
        return EXIT_USAGE;
    }
    struct buf text = {0};
    int status = EXIT_USAGE;
    if (command_read(q->evidence, EVIDENCE_BODY_MAX, &text))
        status = judge(q, trust, pins, &text, a);
    buf_free(&text);
    return status;
}

int cmd_verify(int argc, char **argv)
{
    struct request q;
    if (!parse_args(argc + 1, argv - 1, &q)) { /* getopt starts behind the command's name */
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    struct arena *a = arena_new();
    int status = verify(&q, a);
    arena_free(a);
    return status;
}
