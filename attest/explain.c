#include "attest/explain.h"

#include "attest/reasons.h"
#include "attest/uefi.h"

#define COLUMNS 80

static const char *const titles[CHECK_COUNT] = {
    [CHECK_AK_CHAIN] = "the AK's certificate leads to a pinned root",
    [CHECK_AK_PROFILE] = "the certificate is of this kind of VM",
    [CHECK_AK_ATTRIBUTES] = "the AK is a restricted signing key that cannot leave its TPM",
    [CHECK_AK_BINDING] = "the AK is the one that this VM was enrolled with",
    [CHECK_QUOTE_MAGIC] = "the quote was made inside a TPM",
    [CHECK_QUOTE_TYPE] = "the signed structure is a quote",
    [CHECK_QUOTE_NONCE] = "the quote answers this challenge",
    [CHECK_QUOTE_SELECTION] = "the quote covers the PCRs that are asked for",
    [CHECK_QUOTE_PCR_DIGEST] = "the PCR values are the ones that were signed",
    [CHECK_QUOTE_SIGNATURE] = "the AK's signature of the quote",
    [CHECK_QUOTE_SIGNER] = "the quote names the AK as its signer",
    [CHECK_QUOTE_CLOCK] = "the TPM's clock and counters go forward",
    [CHECK_LOG_FORMAT] = "the event log is well-formed",
    [CHECK_LOG_REPLAY] = "the log's events add up to the PCR values",
    [CHECK_LOG_CONTENT] = "what the log says is what was measured",
    [CHECK_SECURE_BOOT] = "the guest booted with Secure Boot",
    [CHECK_POLICY] = "what was proven is what the policy asks for",
    [CHECK_MAA_TOKEN] = "the Azure Attestation token",
};

const char *explain_title(enum attest_check c)
{
    return titles[c];
}

/* ---- stored reports ---- */

struct stored_check {
    const char *name, *status, *reason, *expected, *found;
    int64_t event, pcr;
};

#define TEXT(member, must)                                                                         \
    {                                                                                              \
        .name = #member, .kind = FIELD_STR, .required = (must),                                    \
        .offset = offsetof(struct stored_check, member), .max = INT32_MAX                          \
    }
#define INDEX(member)                                                                              \
    {                                                                                              \
        .name = #member, .kind = FIELD_INT, .offset = offsetof(struct stored_check, member),       \
        .min = 0, .max = INT32_MAX                                                                 \
    }

static const struct field check_fields[] = {
    TEXT(name, true), TEXT(status, true),    TEXT(reason, false), INDEX(event),
    INDEX(pcr),       TEXT(expected, false), TEXT(found, false),
};
static const struct schema check_schema = {
    "Check", sizeof(struct stored_check), check_fields, ARRAY_LEN(check_fields), NULL, 0};

static bool parse_name(const char *name, enum attest_check *out)
{
    for (int c = 0; c < CHECK_COUNT; c++) {
        if (strcmp(attest_check_name((enum attest_check)c), name) != 0)
            continue;
        *out = (enum attest_check)c;
        return true;
    }
    return false;
}

static bool parse_status(const char *name, enum check_status *out)
{
    for (int s = STATUS_PASS; s <= STATUS_WARN; s++) {
        if (strcmp(attest_status_name((enum check_status)s), name) != 0)
            continue;
        *out = (enum check_status)s;
        return true;
    }
    return false;
}

static int index_of(int64_t stored)
{
    return stored == JSON_INT_UNSET ? ATTEST_NO_INDEX : (int)stored;
}

static bool finding_of(const struct stored_check *in, struct attest_finding *out)
{
    *out = (struct attest_finding){
        .reason = in->reason,
        .event = index_of(in->event),
        .pcr = index_of(in->pcr),
        .expected = in->expected,
        .found = in->found,
    };
    return parse_name(in->name, &out->check) && parse_status(in->status, &out->status);
}

enum err explain_read(struct bytes checks, struct arena *a, struct explain *out, struct err_info *e)
{
    AUTO(json) json_t *list = NULL;
    enum err err = json_parse(checks, &list, e);
    if (err)
        return err;
    size_t n = json_array_size(list);
    struct attest_finding *findings = arena_array(a, n + 1, sizeof *findings);
    out->findings = findings;
    out->n_findings = 0;
    for (size_t i = 0; i < n; i++) {
        struct stored_check check;
        if ((err = json_decode(json_array_get(list, i), &check_schema, a, &check, e)))
            return err;
        if (finding_of(&check, &findings[out->n_findings]))
            out->n_findings++;
    }
    return OK;
}

/* ---- what both forms tell ---- */

static bool is_problem(const struct attest_finding *f)
{
    return f->status == STATUS_FAIL || f->status == STATUS_WARN;
}

struct tally {
    unsigned failed, warned, passed, skipped; /* checks, each by its worst line */
};

static enum check_status worst_of(const struct explain *x, enum attest_check c, bool *any)
{
    static const int rank[] = {
        [STATUS_SKIP] = 0, [STATUS_PASS] = 1, [STATUS_WARN] = 2, [STATUS_FAIL] = 3};
    enum check_status worst = STATUS_SKIP;
    *any = false;
    for (size_t i = 0; i < x->n_findings; i++) {
        if (x->findings[i].check != c)
            continue;
        *any = true;
        if (rank[x->findings[i].status] > rank[worst])
            worst = x->findings[i].status;
    }
    return worst;
}

static struct tally count(const struct explain *x)
{
    struct tally t = {0};
    for (int c = 0; c < CHECK_COUNT; c++) {
        bool any;
        enum check_status s = worst_of(x, (enum attest_check)c, &any);
        if (!any)
            continue;
        t.failed += s == STATUS_FAIL;
        t.warned += s == STATUS_WARN;
        t.passed += s == STATUS_PASS;
        t.skipped += s == STATUS_SKIP;
    }
    return t;
}

static const char *summary_of(const struct explain *x, struct arena *a)
{
    struct tally t = count(x);
    unsigned all = t.failed + t.warned + t.passed + t.skipped;
    return arena_printf(a, "%s: %u of %u checks failed (%u passed, %u with a remark, %u not done)",
                        x->verdict, t.failed, all, t.passed, t.warned, t.skipped);
}

/* "EV_EFI_VARIABLE_DRIVER_CONFIG SecureBoot"; NULL where the log is not at hand. */
static const char *event_name(const struct explain *x, int index, struct arena *a)
{
    if (!x->log || index == ATTEST_NO_INDEX || (size_t)index >= x->log->n)
        return NULL;
    const struct log_event *ev = &x->log->events[index];
    const char *type = eventlog_type_name(ev->type);
    if (!type)
        return arena_printf(a, "type 0x%08x", ev->type);
    struct uefi_variable v;
    bool is_variable = ev->type == EV_EFI_VARIABLE_DRIVER_CONFIG ||
                       ev->type == EV_EFI_VARIABLE_AUTHORITY || ev->type == EV_EFI_VARIABLE_BOOT ||
                       ev->type == EV_EFI_VARIABLE_BOOT2;
    if (!is_variable || uefi_variable_parse(ev->data, &v))
        return type;
    return arena_printf(a, "%s %s", type, uefi_name_text(&v, a));
}

static const struct attest_reason *reason_of(const struct attest_finding *f)
{
    return f->reason ? attest_reason_find(f->reason) : NULL;
}

/* ---- as JSON ---- */

static void write_remedy(struct jw *w, const struct attest_reason *reason)
{
    jw_key(w, "remedy");
    jw_open(w, '{');
    jw_key_str(w, "code", reason->remedy->code);
    jw_key_str(w, "text", reason->remedy->text);
    jw_close(w, '}');
}

static void write_problem(struct jw *w, const struct explain *x, const struct attest_finding *f,
                          struct arena *a)
{
    const struct attest_reason *reason = reason_of(f);
    jw_open(w, '{');
    jw_key_str(w, "check", attest_check_name(f->check));
    jw_key_str(w, "status", attest_status_name(f->status));
    jw_key_str(w, "title", titles[f->check]);
    jw_key_str_opt(w, "reason", f->reason);
    jw_key_str_opt(w, "meaning", reason ? reason->text : NULL);
    if (f->pcr != ATTEST_NO_INDEX)
        jw_key_int(w, "pcr", f->pcr);
    if (f->event != ATTEST_NO_INDEX)
        jw_key_int(w, "event", f->event);
    jw_key_str_opt(w, "eventType", event_name(x, f->event, a));
    jw_key_str_opt(w, "expected", f->expected);
    jw_key_str_opt(w, "found", f->found);
    if (reason)
        write_remedy(w, reason);
    jw_close(w, '}');
}

static void write_names(struct jw *w, const char *key, const struct explain *x,
                        enum check_status status)
{
    jw_key(w, key);
    jw_open(w, '[');
    for (int c = 0; c < CHECK_COUNT; c++) {
        bool any;
        if (worst_of(x, (enum attest_check)c, &any) == status && any)
            jw_str(w, attest_check_name((enum attest_check)c));
    }
    jw_close(w, ']');
}

/* ---- as text ---- */

/* Words, broken where the line would be too long; a word that is longer (a digest) stays whole. */
static void add_wrapped(struct buf *out, const char *label, const char *text)
{
    size_t column = strlen(label);
    buf_add_str(out, label);
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, " ");
        bool first = column == strlen(label);
        if (!first && column + 1 + n > COLUMNS) {
            buf_printf(out, "\n%*s", (int)strlen(label), "");
            column = strlen(label);
            first = true;
        }
        if (!first)
            buf_add_char(out, ' ');
        buf_add(out, p, n);
        column += n + !first;
        p += n + (p[n] == ' ');
    }
    buf_add_char(out, '\n');
}

static const char *place_of(const struct explain *x, const struct attest_finding *f,
                            struct arena *a)
{
    const char *name = event_name(x, f->event, a);
    const char *pcr = f->pcr == ATTEST_NO_INDEX ? "" : arena_printf(a, "PCR %d", f->pcr);
    if (f->event == ATTEST_NO_INDEX)
        return pcr;
    return arena_printf(a, "%s%sevent %d%s%s", pcr, *pcr ? ", " : "", f->event, name ? ", " : "",
                        name ? name : "");
}

static void text_problem(struct buf *out, const struct explain *x, const struct attest_finding *f,
                         struct arena *a)
{
    const struct attest_reason *reason = reason_of(f);
    const char *place = place_of(x, f, a);
    buf_printf(out, "\n%s %s (%s)\n", f->status == STATUS_FAIL ? "FAIL" : "WARN",
               attest_check_name(f->check), f->reason ? f->reason : "");
    add_wrapped(out, "  checks    ", titles[f->check]);
    if (*place)
        add_wrapped(out, "  where     ", place);
    if (reason)
        add_wrapped(out, "  meaning   ", reason->text);
    if (f->expected)
        add_wrapped(out, "  expected  ", f->expected);
    if (f->found)
        add_wrapped(out, "  found     ", f->found);
    if (reason)
        add_wrapped(out, "  remedy    ",
                    arena_printf(a, "%s (%s)", reason->remedy->text, reason->remedy->code));
}

static void text_names(struct buf *out, const char *label, const struct explain *x,
                       enum check_status status, struct arena *a)
{
    const char *names = "";
    for (int c = 0; c < CHECK_COUNT; c++) {
        bool any;
        if (worst_of(x, (enum attest_check)c, &any) == status && any)
            names = arena_printf(a, "%s%s%s", names, *names ? " " : "",
                                 attest_check_name((enum attest_check)c));
    }
    if (*names)
        add_wrapped(out, label, names);
}

void explain_text(struct buf *out, const struct explain *x, struct arena *a)
{
    add_wrapped(out, "", summary_of(x, a));
    for (int status = STATUS_FAIL; status <= STATUS_WARN; status++)
        for (size_t i = 0; i < x->n_findings; i++)
            if (x->findings[i].status == (enum check_status)status && is_problem(&x->findings[i]))
                text_problem(out, x, &x->findings[i], a);
    buf_add_char(out, '\n');
    text_names(out, "passed    ", x, STATUS_PASS, a);
    text_names(out, "not done  ", x, STATUS_SKIP, a);
}

void explain_write(struct jw *w, const struct explain *x, struct arena *a)
{
    jw_open(w, '{');
    jw_key_str(w, "summary", summary_of(x, a));
    jw_key(w, "problems");
    jw_open(w, '[');
    for (size_t i = 0; i < x->n_findings; i++)
        if (is_problem(&x->findings[i]))
            write_problem(w, x, &x->findings[i], a);
    jw_close(w, ']');
    write_names(w, "passed", x, STATUS_PASS);
    write_names(w, "skipped", x, STATUS_SKIP);
    struct buf text = {0};
    explain_text(&text, x, a);
    jw_key(w, "text");
    jw_strn(w, text.data, text.len);
    buf_free(&text);
    jw_close(w, '}');
}
