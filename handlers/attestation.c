/* /v1/attestation: challenges, stored reports, and what a verdict means for a VM. */
#include "handlers/attestation.h"

#include "core/limiter.h"
#include "handlers/challenge.h"
#include "handlers/etag.h"
#include "handlers/policy_book.h"
#include "handlers/result.h"
#include "handlers/routes.h"
#include "handlers/target.h"
#include "handlers/view.h"

#include "openapi/schemas.h"

/* ---- rates ---- */

static enum err refuse(struct call *c, const char *what, int after)
{
    err_set(&c->err, ERR_RATE_LIMITED, "too many requests about attestation from this %s", what);
    c->err.retry_after = after > 0 ? after : 1;
    c->ops->reply_header(c, "RateLimit", call_rate_limit(c, what));
    return ERR_RATE_LIMITED;
}

enum err attestation_admit_peer(struct call *c)
{
    int after = 0;
    return limiter_take(c->app->attest_by_peer, c->source, clock_mono(c->app->clock), &after)
               ? OK
               : refuse(c, "address", after);
}

static const char *key_of(struct call *c, const char *vm_id, enum attestation_budget budget)
{
    static const char *const names[] = {
        [BUDGET_OWN] = "", [BUDGET_PROOF] = " proof", [BUDGET_HISTORY] = " history"};
    char *key = arena_concat(c->arena, vm_id, names[budget], NULL);
    for (char *p = key; *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p + 32);
    return key;
}

enum err attestation_admit_vm(struct call *c, const char *vm_id, enum attestation_budget budget)
{
    int after = 0;
    return limiter_has(c->app->attest_by_vm, key_of(c, vm_id, budget), clock_mono(c->app->clock),
                       &after)
               ? OK
               : refuse(c, "vm", after);
}

void attestation_charge_vm(struct call *c, const char *vm_id, enum attestation_budget budget)
{
    limiter_charge(c->app->attest_by_vm, key_of(c, vm_id, budget), clock_mono(c->app->clock));
}

/* ---- challenges ---- */

int create_challenge(struct call *c)
{
    const struct challenge_request *body = c->body;
    struct challenge challenge;
    if (attestation_admit_peer(c))
        return call_fail(c);
    challenge_make(c->app->keyring, body->vm_id, c->now + c->app->challenge_ttl_ms, &challenge);
    struct jw *w = call_json(c);
    jw_open(w, '{');
    jw_key_str(w, "challengeId", challenge.id);
    jw_key(w, "nonce");
    jw_base64(w, (struct bytes){challenge.nonce, sizeof challenge.nonce});
    jw_key_str(w, "pcrBank", pcr_banks[BANK_SHA256].name);
    jw_key(w, "pcrs");
    jw_open(w, '[');
    uint32_t more = policy_book_pcrs(c->app->book);
    for (int i = 0; i < EVIDENCE_PCRS; i++)
        if (i < ATTESTATION_PCR_COUNT || more >> i & 1)
            jw_int(w, i);
    jw_close(w, ']');
    jw_key_time(w, "expiresAt", challenge.expires_at);
    jw_close(w, '}');
    c->ops->reply_header(c, "Cache-Control", "no-store");
    return 201;
}

/* ---- stored reports ---- */

/* The log names the events; without it (none was sent, or it is no longer held) their numbers must do.
 */
static enum err read_log(struct call *c, const struct report *report, struct event_log *log,
                         struct explain *x)
{
    struct bytes bytes;
    if (!report->log_digest)
        return OK;
    enum err err =
        store_get_log(c->app->store, c->arena, report->vm_id, report->log_digest, &bytes, &c->err);
    if (err)
        return err == ERR_NOT_FOUND ? OK : err;
    *log = eventlog_parse(bytes, c->arena);
    x->log = log;
    return OK;
}

static int explain_report(struct call *c, const struct report *report, const char *result)
{
    struct explain x = {.verdict = report->verdict};
    struct event_log log;
    const struct bytes checks = {(const uint8_t *)report->checks, strlen(report->checks)};
    if (explain_read(checks, c->arena, &x, &c->err) || read_log(c, report, &log, &x))
        return call_fail(c);
    char etag[ETAG_SIZE]; /* the words are this version's; the result is signed anew */
    view_explained_report(call_json(c), report, NULL, &x, c->arena);
    etag_of((struct bytes){(const uint8_t *)c->out.data, c->out.len}, etag);
    if (result)
        view_explained_report(call_json(c), report, result, &x, c->arena);
    return call_etag_weak(c, arena_concat(c->arena, etag, result ? "" : "-old", NULL));
}

static bool speaks_well(const struct report *r)
{
    return strcmp(r->verdict, attest_verdict_name(VERDICT_TRUSTED)) == 0 ||
           strcmp(r->verdict, attest_verdict_name(VERDICT_TRUSTED_QUOTE_ONLY)) == 0;
}

static bool counts_for(const struct vm *vm, const struct report *r)
{
    return !vm->quarantine.since && vm->last_report_id && vm->ak_spki && r->ak_spki &&
           strcmp(vm->ak_spki, r->ak_spki) == 0 && r->received_at >= vm->enrolled_at;
}

/* Whoever gets a result relies on it without asking back: no good one is made of a report that a
 * quarantine, an operator's decision or another pin has overtaken. */
static enum err sign_stored(struct call *c, const struct report *r, const char **result)
{
    struct vm vm;
    *result = NULL;
    if (speaks_well(r)) {
        enum err err = store_get_vm_by_id(c->app->store, c->arena, r->vm_id, &vm, &c->err);
        if (err == ERR_NOT_FOUND || (!err && !counts_for(&vm, r))) {
            err_clear(&c->err);
            return OK;
        }
        if (err)
            return err;
    }
    return result_sign_stored(c, r, result);
}

int get_report(struct call *c)
{
    const struct get_report_query *query = c->query;
    struct report report;
    if (store_get_report(c->app->store, c->arena, c->params[0], call_scope(c), &report, &c->err))
        return call_fail(c);
    const char *result = NULL;
    if (sign_stored(c, &report, &result))
        return call_fail(c);
    if (query->explain)
        return explain_report(c, &report, result);
    view_report(call_json(c), &report, result);
    /* A report never changes; its result is signed anew, as long as it counts. */
    return call_etag_weak(c, arena_printf(c->arena, "%s%s", report.id, result ? "" : "-old"));
}

/* ---- verdicts ---- */

enum vm_status attestation_status(const struct vm *vm, const struct attest_result *r,
                                  enum tri quote_only)
{
    if (r->verdict == VERDICT_QUARANTINED)
        return VM_QUARANTINED;
    if (!vm->vtpm || !vm->monitoring)
        return VM_UNMONITORED;
    switch (r->verdict) {
    case VERDICT_TRUSTED:
        return VM_HEALTHY;
    case VERDICT_UNTRUSTED:
        return VM_UNHEALTHY;
    case VERDICT_QUARANTINED:
        return VM_QUARANTINED;
    case VERDICT_TRUSTED_QUOTE_ONLY:
        return quote_only == TRI_TRUE ? VM_HEALTHY : VM_UNKNOWN;
    case VERDICT_INDETERMINATE:
        return VM_UNKNOWN;
    }
    return VM_UNKNOWN;
}

/* True where the line before has the same reason: a log with one lie fails at many events. */
static bool told_before(const struct attest_result *r, size_t i, const char *reason)
{
    for (size_t k = 0; k < i; k++)
        if (r->findings[k].status == STATUS_FAIL && r->findings[k].reason &&
            strcmp(r->findings[k].reason, reason) == 0)
            return true;
    return false;
}

static void add_failures(struct jw *w, const struct attest_result *r)
{
    for (size_t i = 0; i < r->n_findings; i++) {
        const struct attest_finding *f = &r->findings[i];
        if (f->status != STATUS_FAIL)
            continue;
        const char *reason = f->reason ? f->reason : attest_check_name(f->check);
        if (!told_before(r, i, reason))
            jw_str(w, reason);
    }
}

const char *attestation_reasons(struct arena *a, const struct vm *vm, const struct attest_result *r,
                                enum tri quote_only)
{
    struct buf out = {0};
    struct jw w = jw_over(&out);
    jw_open(&w, '[');
    if (!vm->vtpm)
        jw_str(&w, "no_vtpm");
    else if (!vm->monitoring)
        jw_str(&w, "monitoring_off");
    if (r->verdict == VERDICT_TRUSTED_QUOTE_ONLY && quote_only != TRI_TRUE)
        jw_str(&w, "no_event_log");
    else if (r->verdict == VERDICT_INDETERMINATE)
        jw_str(&w, r->reason ? r->reason : "indeterminate");
    else
        add_failures(&w, r);
    jw_close(&w, ']');
    const char *text = arena_strndup(a, out.data, out.len);
    buf_free(&out);
    return text;
}

bool attestation_ak_proven(const struct attest_result *r)
{
    return r->quote_authentic && attest_result_status(r, CHECK_AK_CHAIN) == STATUS_PASS &&
           attest_result_status(r, CHECK_AK_PROFILE) == STATUS_PASS &&
           attest_result_status(r, CHECK_AK_ATTRIBUTES) == STATUS_PASS &&
           attest_result_status(r, CHECK_QUOTE_SIGNER) == STATUS_PASS &&
           attest_result_status(r, CHECK_AK_BINDING) != STATUS_FAIL;
}
