#include "handlers/applied.h"

#include "attest/review.h"
#include "handlers/attestation.h"
#include "jobs/jobs.h"

struct applied_terms applied_terms_of(const struct book_match *m, struct arena *a)
{
    if (!m->policy)
        return (struct applied_terms){.quote_only = TRI_UNSET};
    return (struct applied_terms){
        .policy = arena_strdup(a, m->policy->id),
        .baseline = m->baseline ? arena_strdup(a, m->baseline->ref) : NULL,
        .max_age_ms = attest_policy_max_age(m->policy->policy),
        .quote_only = attest_policy_quote_only(m->policy->policy),
    };
}

int64_t applied_stale_at(const struct applied_terms *t, int64_t received_at)
{
    return t->max_age_ms ? received_at + t->max_age_ms : 0;
}

void applied_fill(const struct book_match *m, const struct vm *vm, struct attest_input *in)
{
    in->image = vm->image;
    in->policy = m->policy ? m->policy->policy : NULL;
    in->baseline = m->baseline ? &m->baseline->golden : NULL;
}

/* ---- kept reports ---- */

/* False with out->unknown set, or with *err. */
static bool read_record(const struct app *app, struct arena *a, const struct vm *vm,
                        struct report *report, struct attest_record *record,
                        struct applied_review *out, enum err *err, struct err_info *e)
{
    if (!vm->last_report_id) {
        out->unknown = "no_report";
        return false;
    }
    *err = store_get_report(app->store, a, vm->last_report_id, NULL, report, e);
    if (*err == ERR_NOT_FOUND)
        out->unknown = "report_gone";
    if (*err)
        return false;
    out->report_id = report->id;
    *record = (struct attest_record){.verdict = report->verdict,
                                     .checks = report->checks,
                                     .claims = report->claims,
                                     .has_event_log = report->log_digest != NULL};
    if (!record->has_event_log)
        return true;
    *err = store_get_log(app->store, a, report->vm_id, report->log_digest, &record->event_log, e);
    if (*err == ERR_NOT_FOUND)
        out->unknown = "event_log_gone";
    return *err == OK;
}

enum err applied_review_vm(const struct app *app, struct arena *a, const struct vm *vm,
                           const struct book_match *m, struct applied_review *out,
                           struct err_info *e)
{
    struct report report;
    struct attest_record record;
    enum err err = OK;
    *out = (struct applied_review){.judged = false};
    if (!read_record(app, a, vm, &report, &record, out, &err, e))
        return out->unknown ? OK : err;
    struct attest_input in = {
        .logs = app->logs, .require_secure_boot = vm->secure_boot, .allow_quote_only = true};
    applied_fill(m, vm, &in);
    if ((err = attest_review(&in, &record, a, &out->result, e)))
        return err;
    out->judged = true;
    out->event_log = record.event_log;
    out->terms = applied_terms_of(m, a);
    out->status = attestation_status(vm, &out->result, out->terms.quote_only);
    out->reasons = attestation_reasons(a, vm, &out->result, out->terms.quote_only);
    out->stale_at = applied_stale_at(&out->terms, report.received_at);
    return OK;
}

/* ---- the sweep ---- */

static enum err write_review(const struct app *app, struct arena *a, const struct vm *vm,
                             const struct applied_review *r, struct err_info *e)
{
    struct store_waiter wait;
    const struct vm_rejudge in = {
        .resource_id = vm->resource_id,
        .if_etag = vm->etag,
        .status = r->status,
        .reasons = r->reasons,
        .verdict = attest_verdict_name(r->result.verdict),
        .policy = r->terms.policy,
        .baseline = r->terms.baseline,
        .stale_at = r->stale_at,
        .wake_key = vm->vm_id ? jobs_wake_key(a, vm->vm_id) : NULL,
        .now = clock_wall(app->clock),
        .audit = {.principal_id = "gateway",
                  .principal = "gateway",
                  .action = "attestation.rejudge",
                  .resource_id = vm->resource_id,
                  .detail = arena_printf(a, "{\"policy\":\"%s\",\"report\":\"%s\"}",
                                         r->terms.policy ? r->terms.policy : "", r->report_id)},
    };
    store_rejudge_vm(app->store, &in, NULL, store_waiter_init(&wait));
    enum err err = store_wait(&wait, e);
    /* A report that came in between was judged by what applies now, or the next sweep sees it. */
    return err == ERR_PRECONDITION_FAILED || err == ERR_NOT_FOUND ? OK : err;
}

static enum err sweep_vm(const struct app *app, struct arena *a, const struct book_view *view,
                         const struct vm *vm, int64_t *judged, struct err_info *e)
{
    struct applied_review review;
    if (!book_is_pending(view, vm))
        return OK;
    struct book_match m = book_match_vm(view, vm->resource_id, vm->image);
    enum err err = applied_review_vm(app, a, vm, &m, &review, e);
    if (err || !review.judged)
        return err; /* what is not kept any more cannot be judged again: the next report will be */
    *judged += 1;
    return write_review(app, a, vm, &review, e);
}

enum err applied_sweep(const struct app *app, struct arena *a, const char **after, int limit,
                       int64_t *judged, struct err_info *e)
{
    const struct book_view *view = policy_book_take(app->book);
    /* Without any policy it is about what a former one has judged. */
    const struct vm_filter filter = {.with_policy = view->n_scopes == 0,
                                     .page = {.after = *after, .limit = limit}};
    struct vm_list vms = {0};
    enum err err = store_list_vms(app->store, a, &filter, &vms, e);
    for (size_t i = 0; i < vms.n && !err; i++)
        err = sweep_vm(app, a, view, &vms.items[i], judged, e);
    policy_book_drop(view);
    *after = vms.more ? vms.items[vms.n - 1].resource_id : NULL;
    return err;
}
