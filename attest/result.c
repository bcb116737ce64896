#include "attest/maa.h"

#include "attest/logs.h"

#include <endian.h>

static const char *const check_names[CHECK_COUNT] = {
#define X(id, name) [CHECK_##id] = (name),
    ATTEST_CHECK_LIST(X)
#undef X
};

const char *attest_check_name(enum attest_check c)
{
    return check_names[c];
}

const char *attest_verdict_name(enum attest_verdict v)
{
    static const char *const names[] = {
        [VERDICT_TRUSTED] = "trusted",
        [VERDICT_TRUSTED_QUOTE_ONLY] = "trustedQuoteOnly",
        [VERDICT_UNTRUSTED] = "untrusted",
        [VERDICT_QUARANTINED] = "quarantined",
        [VERDICT_INDETERMINATE] = "indeterminate",
    };
    return names[v];
}

const char *attest_status_name(enum check_status s)
{
    static const char *const names[] = {
        [STATUS_PASS] = "pass",
        [STATUS_FAIL] = "fail",
        [STATUS_SKIP] = "skip",
        [STATUS_WARN] = "warn",
    };
    return names[s];
}

static const char *const profile_names[] = {
    [PROFILE_AZURE_TRUSTED_LAUNCH] = "azureTrustedLaunch",
    [PROFILE_CONFIDENTIAL_VM] = "confidentialVm",
    [PROFILE_TPM] = "tpm",
};

const char *attest_profile_name(enum attest_profile p)
{
    return profile_names[p];
}

bool attest_profile_parse(const char *name, enum attest_profile *out)
{
    for (size_t i = 0; i < ARRAY_LEN(profile_names); i++) {
        if (strcmp(name, profile_names[i]) == 0) {
            *out = (enum attest_profile)i;
            return true;
        }
    }
    return false;
}

struct attest_claims *result_claims(struct arena *a)
{
    static const struct log_claims nothing;
    struct attest_claims *c = ARENA_NEW(a, struct attest_claims);
    c->log = &nothing;
    return c;
}

void result_init(struct attest_result *r)
{
    *r = (struct attest_result){.verdict = VERDICT_UNTRUSTED};
}

static struct attest_finding *last_of(struct attest_result *r, enum attest_check c)
{
    for (size_t i = r->n_findings; i > 0; i--)
        if (r->findings[i - 1].check == c)
            return &r->findings[i - 1];
    return NULL;
}

/* Two rules of a policy can be violated by one thing, or two things of one rule: they expect something else. */
static bool same_rule(const struct attest_finding *a, const struct attest_finding *b)
{
    return a->check != CHECK_POLICY || !a->expected || !b->expected ||
           strcmp(a->expected, b->expected) == 0;
}

static bool same_line(const struct attest_finding *a, const struct attest_finding *b)
{
    return a->check == b->check && a->status == b->status && a->reason == b->reason &&
           a->event == b->event && a->pcr == b->pcr && same_rule(a, b);
}

void result_put(struct attest_result *r, const struct attest_finding *f)
{
    for (size_t i = 0; i < r->n_findings; i++)
        if (same_line(&r->findings[i], f))
            return; /* the same in another bank */
    /* The last places are kept for checks that have no line yet: each must have one. */
    struct attest_finding *own = last_of(r, f->check);
    if (own && ATTEST_FINDINGS - r->n_findings <= CHECK_COUNT) {
        if (f->status == STATUS_FAIL && !result_has_failed(r, f->check))
            *own = *f;
        return;
    }
    r->findings[r->n_findings++] = *f;
}

void result_add(struct attest_result *r, enum attest_check c, enum check_status s,
                const char *reason, int event, int pcr)
{
    const struct attest_finding f = {
        .check = c, .status = s, .reason = reason, .event = event, .pcr = pcr};
    result_put(r, &f);
}

void result_fail_values(struct attest_result *r, enum attest_check c, const char *reason, int event,
                        int pcr, const char *expected, const char *found)
{
    const struct attest_finding f = {.check = c,
                                     .status = STATUS_FAIL,
                                     .reason = reason,
                                     .event = event,
                                     .pcr = pcr,
                                     .expected = expected,
                                     .found = found};
    result_put(r, &f);
}

void result_fail_at(struct attest_result *r, enum attest_check c, const char *reason, int event,
                    int pcr)
{
    result_add(r, c, STATUS_FAIL, reason, event, pcr);
}

void result_fail(struct attest_result *r, enum attest_check c, const char *reason)
{
    result_add(r, c, STATUS_FAIL, reason, ATTEST_NO_INDEX, ATTEST_NO_INDEX);
}

void result_warn(struct attest_result *r, enum attest_check c, const char *reason)
{
    result_add(r, c, STATUS_WARN, reason, ATTEST_NO_INDEX, ATTEST_NO_INDEX);
}

void result_skip(struct attest_result *r, enum attest_check c, const char *reason)
{
    result_add(r, c, STATUS_SKIP, reason, ATTEST_NO_INDEX, ATTEST_NO_INDEX);
}

void result_pass(struct attest_result *r, enum attest_check c)
{
    for (size_t i = 0; i < r->n_findings; i++)
        if (r->findings[i].check == c)
            return;
    if (r->n_findings < ATTEST_FINDINGS) /* its place is kept by result_put */
        r->findings[r->n_findings++] = (struct attest_finding){
            .check = c, .status = STATUS_PASS, .event = ATTEST_NO_INDEX, .pcr = ATTEST_NO_INDEX};
}

uint32_t result_passed(const struct attest_result *r)
{
    uint32_t passed = 0, other = 0;
    for (size_t i = 0; i < r->n_findings; i++)
        *(r->findings[i].status == STATUS_PASS ? &passed : &other) |= 1u << r->findings[i].check;
    return passed & ~other;
}

bool result_has_failed(const struct attest_result *r, enum attest_check c)
{
    for (size_t i = 0; i < r->n_findings; i++)
        if (r->findings[i].check == c && r->findings[i].status == STATUS_FAIL)
            return true;
    return false;
}

enum check_status attest_result_status(const struct attest_result *r, enum attest_check c)
{
    static const int rank[] = {
        [STATUS_PASS] = 0, [STATUS_SKIP] = 1, [STATUS_WARN] = 2, [STATUS_FAIL] = 3};
    bool found = false;
    enum check_status worst = STATUS_PASS;
    for (size_t i = 0; i < r->n_findings; i++) {
        if (r->findings[i].check != c)
            continue;
        if (!found || rank[r->findings[i].status] > rank[worst])
            worst = r->findings[i].status;
        found = true;
    }
    return found ? worst : STATUS_SKIP;
}

/* Stable: a check's own lines stay in the order in which they were found. */
void result_sort(struct attest_result *r)
{
    for (size_t i = 1; i < r->n_findings; i++) {
        struct attest_finding f = r->findings[i];
        size_t k = i;
        for (; k > 0 && r->findings[k - 1].check > f.check; k--)
            r->findings[k] = r->findings[k - 1];
        r->findings[k] = f;
    }
}

void attest_result_quarantine(struct attest_result *r, const char *reason)
{
    /* Whatever was said about the binding, this is what stands. */
    size_t n = 0;
    for (size_t i = 0; i < r->n_findings; i++)
        if (r->findings[i].check != CHECK_AK_BINDING)
            r->findings[n++] = r->findings[i];
    r->n_findings = n;
    result_fail(r, CHECK_AK_BINDING, reason);
    result_sort(r);
    r->verdict = VERDICT_QUARANTINED;
    r->reason = reason;
}

/* As most lines are, in full. */
static const char *const passed_lines[CHECK_COUNT] = {
#define X(id, name) [CHECK_##id] = "{\"name\":\"" name "\",\"status\":\"pass\"}",
    ATTEST_CHECK_LIST(X)
#undef X
};

static bool is_plain_pass(const struct attest_finding *f)
{
    return f->status == STATUS_PASS && !f->reason && f->event == ATTEST_NO_INDEX &&
           f->pcr == ATTEST_NO_INDEX && !f->expected && !f->found;
}

void attest_write_checks(struct jw *w, const struct attest_result *r)
{
    jw_open(w, '[');
    for (size_t i = 0; i < r->n_findings; i++) {
        const struct attest_finding *f = &r->findings[i];
        if (is_plain_pass(f)) {
            jw_raw(w, passed_lines[f->check]);
            continue;
        }
        jw_open(w, '{');
        jw_key_str(w, "name", check_names[f->check]);
        jw_key_str(w, "status", attest_status_name(f->status));
        jw_key_str_opt(w, "reason", f->reason);
        if (f->event != ATTEST_NO_INDEX)
            jw_key_int(w, "event", f->event);
        if (f->pcr != ATTEST_NO_INDEX)
            jw_key_int(w, "pcr", f->pcr);
        jw_key_str_opt(w, "expected", f->expected);
        jw_key_str_opt(w, "found", f->found);
        jw_close(w, '}');
    }
    jw_close(w, ']');
}

static void write_pcrs(struct jw *w, const struct attest_claims *c)
{
    jw_key(w, "pcrs");
    jw_open(w, '{');
    jw_key(w, pcr_banks[c->bank].name);
    jw_open(w, '{');
    for (unsigned i = 0; i < EVIDENCE_PCRS; i++) {
        if (!(c->quoted >> i & 1))
            continue;
        jw_key(w, pcr_names[i]);
        jw_hex(w, BYTES(c->pcrs[i], pcr_banks[c->bank].size));
    }
    jw_close(w, '}');
    jw_close(w, '}');
}

static void write_policies(struct jw *w, const char *oids)
{
    jw_key(w, "akPolicies");
    jw_open(w, '[');
    while (*oids) {
        char oid[64];
        size_t n = strcspn(oids, " ");
        snprintf(oid, sizeof oid, "%.*s", (int)n, oids);
        jw_str(w, oid);
        oids += n + (oids[n] == ' ');
    }
    jw_close(w, ']');
}

static void write_lasting(struct jw *w, const struct attest_result *r)
{
    const struct attest_claims *c = r->claims;
    if (c->has_log)
        log_write_claims(w, c);
    jw_key_str(w, "profile", profile_names[c->profile]);
    write_pcrs(w, c);
    jw_key_bool(w, "clockSafe", r->clock_safe);
    const uint64_t version = htobe64(c->firmware_version);
    jw_key(w, "tpmFirmwareVersion");
    jw_hex(w, BYTES(&version, sizeof version));
    jw_key_str_opt(w, "akSubject", r->ak_subject);
    jw_key_time_opt(w, "akExpiresAt", r->ak_expires);
    if (r->ak_policies)
        write_policies(w, r->ak_policies);
    if (c->has_log)
        jw_key_int(w, "eventCount", (int64_t)c->n_events);
    if (r->maa) /* a token is another one with each report, but few send any */
        maa_write_claims(w, r->maa);
}

void attest_write_lasting_claims(struct jw *w, const struct attest_result *r)
{
    jw_open(w, '{');
    if (r->claims)
        write_lasting(w, r);
    jw_close(w, '}');
}

void attest_write_claims(struct jw *w, const struct attest_result *r)
{
    jw_open(w, '{');
    if (r->claims) {
        write_lasting(w, r);
        jw_key_int(w, "resetCount", r->reset_count);
        jw_key_int(w, "restartCount", r->restart_count);
        jw_key_int(w, "clock", (int64_t)(r->clock & INT64_MAX));
    }
    if (!r->claims && r->maa)
        maa_write_claims(w, r->maa);
    jw_close(w, '}');
}

int attest_secure_boot(const struct attest_result *r)
{
    return r->claims && r->claims->has_log ? (int)claims_secure_boot(r->claims->log) : -1;
}
