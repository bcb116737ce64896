#include "handlers/view.h"

static void view_step(struct jw *w, const struct job_step *step)
{
    jw_open(w, '{');
    jw_key_str(w, "name", step->name);
    jw_key_str(w, "state", step_state_text(step->state));
    jw_key_time_opt(w, "startedAt", step->started_at);
    jw_key_time_opt(w, "endedAt", step->ended_at);
    jw_key_int(w, "attempts", step->attempts);
    jw_key_str_opt(w, "detail", step->detail);
    jw_close(w, '}');
}

static void view_progress(struct jw *w, const struct job *job)
{
    int done = 0;
    for (int i = 0; i < job->n_steps; i++)
        done += job->steps[i].state == STEP_SUCCEEDED || job->steps[i].state == STEP_SKIPPED;
    jw_key(w, "progress");
    jw_open(w, '{');
    jw_key_int(w, "done", done);
    jw_key_int(w, "total", job->n_steps);
    jw_close(w, '}');
}

void view_job(struct jw *w, const struct job *job)
{
    jw_open(w, '{');
    jw_key_str(w, "id", job->id);
    jw_key_str(w, "kind", job->kind);
    jw_key_str(w, "state", job_state_text(job->state));
    jw_key_str(w, "resourceId", job->resource_id);
    jw_key_time(w, "createdAt", job->created_at);
    jw_key_time(w, "updatedAt", job->updated_at);
    jw_key_str(w, "createdBy", job->created_by ? job->created_by : "");
    view_progress(w, job);
    jw_key(w, "steps");
    jw_open(w, '[');
    for (int i = 0; i < job->n_steps; i++)
        view_step(w, &job->steps[i]);
    jw_close(w, ']');
    jw_key_raw_opt(w, "result", job->result);
    jw_key_raw_opt(w, "error", job->error);
    jw_close(w, '}');
}

/* Segment `index` of an ARM id: 1 is the subscription, 3 the resource group. */
static void key_segment(struct jw *w, const char *key, const char *id, int index)
{
    const char *p = id + (*id == '/');
    for (; index > 0; index--) {
        p += strcspn(p, "/");
        p += *p == '/';
    }
    jw_key(w, key);
    jw_strn(w, p, strcspn(p, "/"));
}

void view_vm(struct jw *w, const struct vm *vm)
{
    jw_open(w, '{');
    jw_key_str(w, "id", vm->resource_id);
    jw_key_str(w, "name", vm->name);
    key_segment(w, "subscriptionId", vm->resource_id, 1);
    key_segment(w, "resourceGroup", vm->resource_id, 3);
    jw_key_str_opt(w, "location", vm->location);
    jw_key_str_opt(w, "vmId", vm->vm_id);
    jw_key_str(w, "provisioningState", vm->state);
    jw_key_raw_opt(w, "spec", vm->spec);
    jw_key_str_opt(w, "jobId", vm->job_id);
    jw_key_time(w, "createdAt", vm->created_at);
    jw_key_time(w, "updatedAt", vm->updated_at);
    jw_key_str(w, "bootIntegrity", vm_status_text(vm->status));
    jw_close(w, '}');
}

static void view_candidate(struct jw *w, const struct vm_quarantine *q)
{
    if (!q->ak_spki)
        return;
    jw_key(w, "candidateAk");
    jw_open(w, '{');
    jw_key_str(w, "spki", q->ak_spki);
    jw_key_str_opt(w, "name", q->ak_name);
    jw_key_str_opt(w, "profile", q->ak_profile);
    jw_key_str_opt(w, "ekSpki", q->ek_spki);
    jw_key_str_opt(w, "proof", q->proof);
    jw_close(w, '}');
}

static void view_quarantine(struct jw *w, const struct vm_quarantine *q, const char *scope)
{
    if (!q->since)
        return;
    jw_key(w, "quarantine");
    jw_open(w, '{');
    jw_key_time(w, "since", q->since);
    jw_key_str(w, "reason", q->reason ? q->reason : "");
    if (q->other && (!scope || scope_covers(scope, q->other)))
        jw_key_str(w, "otherResourceId", q->other);
    jw_key_str_opt(w, "reportId", q->report_id);
    view_candidate(w, q);
    jw_close(w, '}');
}

static void view_enrollment(struct jw *w, const struct vm *vm)
{
    if (!vm->ak_spki)
        return;
    jw_key(w, "ak");
    jw_open(w, '{');
    jw_key_str(w, "spki", vm->ak_spki);
    jw_key_str_opt(w, "name", vm->ak_name);
    jw_key_str_opt(w, "profile", vm->ak_profile);
    jw_key_str_opt(w, "ekSpki", vm->ek_spki);
    jw_key_str_opt(w, "proof", vm->enrolled_by);
    jw_key_time_opt(w, "enrolledAt", vm->enrolled_at);
    jw_close(w, '}');
}

void view_ref(struct jw *w, const char *key, const char *id)
{
    const char *at = id ? strrchr(id, '@') : NULL;
    bool baseline = strcmp(key, "baseline") == 0;
    if (!at)
        return;
    jw_key(w, key);
    jw_open(w, '{');
    jw_key(w, baseline ? "id" : "name");
    jw_strn(w, id, (size_t)(at - id));
    jw_key_int(w, baseline ? "revision" : "version", strtoll(at + 1, NULL, 10));
    jw_close(w, '}');
}

/* With the counters, which are stored apart. No claims: nothing is proven, nor are they. */
static void write_claims(struct jw *w, const char *claims, const struct vm_said *said)
{
    size_t n = strlen(claims);
    jw_key(w, "claims");
    jw_open(w, '{');
    if (n > 2)
        jw_inside(w, claims + 1, n - 2);
    if (said->counted) {
        jw_key_int(w, "resetCount", said->reset_count);
        jw_key_int(w, "restartCount", said->restart_count);
        jw_key_int(w, "clock", said->clock_ms & INT64_MAX);
    }
    jw_close(w, '}');
}

static void integrity_members(struct jw *w, const struct vm *vm, const char *scope, bool pending)
{
    jw_key_str(w, "resourceId", vm->resource_id);
    jw_key_str_opt(w, "vmId", vm->vm_id);
    jw_key_str(w, "status", vm_status_text(vm->status));
    jw_key(w, "reasons");
    jw_raw(w, vm->reasons ? vm->reasons : "[]");
    jw_key_time_opt(w, "lastReportAt", vm->last_report_at);
    jw_key_str_opt(w, "lastReportId", vm->last_report_id);
    jw_key_str_opt(w, "verdict", vm->last_verdict);
    if (vm->claims)
        write_claims(w, vm->claims, &vm->said);
    view_enrollment(w, vm);
    view_quarantine(w, &vm->quarantine, scope);
    view_ref(w, "policy", vm->policy);
    view_ref(w, "baseline", vm->baseline);
    if (pending)
        jw_key_bool(w, "policyPending", true);
}

void view_integrity(struct jw *w, const struct vm *vm, const char *scope, bool pending)
{
    jw_open(w, '{');
    integrity_members(w, vm, scope, pending);
    jw_close(w, '}');
}

void view_explained_integrity(struct jw *w, const struct vm *vm, const char *scope, bool pending,
                              const struct explain *x, struct arena *a)
{
    jw_open(w, '{');
    integrity_members(w, vm, scope, pending);
    jw_key(w, "explanation");
    explain_write(w, x, a);
    jw_close(w, '}');
}

static void report_members(struct jw *w, const struct report *r)
{
    jw_key_str(w, "reportId", r->id);
    jw_key_str(w, "vmId", r->vm_id);
    jw_key_str(w, "verdict", r->verdict);
    jw_key(w, "checks");
    jw_raw(w, r->checks);
    const struct vm_said said = {strlen(r->claims) > 2, r->reset_count, r->restart_count,
                                 r->clock_ms};
    write_claims(w, r->claims, &said);
    view_ref(w, "policy", r->policy);
    jw_key_time(w, "receivedAt", r->received_at);
}

void view_report(struct jw *w, const struct report *r, const char *result)
{
    jw_open(w, '{');
    report_members(w, r);
    jw_key_str_opt(w, "result", result);
    jw_close(w, '}');
}

void view_explained_report(struct jw *w, const struct report *r, const char *result,
                           const struct explain *x, struct arena *a)
{
    jw_open(w, '{');
    report_members(w, r);
    jw_key_str_opt(w, "result", result);
    jw_key(w, "explanation");
    explain_write(w, x, a);
    jw_close(w, '}');
}

void view_report_summary(struct jw *w, const struct report *r)
{
    jw_open(w, '{');
    jw_key_str(w, "reportId", r->id);
    jw_key_str(w, "verdict", r->verdict);
    jw_key_time(w, "receivedAt", r->received_at);
    jw_key_int(w, "resetCount", r->reset_count);
    jw_key_str_opt(w, "proof", r->proof);
    jw_close(w, '}');
}

void view_findings(struct jw *w, const struct finding *f, size_t n)
{
    jw_open(w, '[');
    for (size_t i = 0; i < n; i++) {
        jw_open(w, '{');
        jw_key_str(w, "code", f[i].code);
        jw_key_str(w, "severity", f[i].severity == FINDING_ERROR ? "error" : "warning");
        jw_key_str(w, "pointer", f[i].pointer);
        jw_key_str(w, "reason", f[i].reason);
        jw_key_str(w, "remedy", f[i].remedy ? f[i].remedy : "");
        jw_close(w, '}');
    }
    jw_close(w, ']');
}

void view_dry_run(struct jw *w, const struct jobs_preflight *p)
{
    jw_open(w, '{');
    jw_key_str(w, "planDigest", p->plan_digest);
    jw_key(w, "calls");
    jw_open(w, '[');
    for (size_t i = 0; i < p->n_calls; i++) {
        jw_open(w, '{');
        jw_key_str(w, "method", p->calls[i].method);
        jw_key_str(w, "url", p->calls[i].url);
        jw_key_raw_opt(w, "body", p->calls[i].summary);
        jw_close(w, '}');
    }
    jw_close(w, ']');
    jw_key(w, "findings");
    view_findings(w, p->findings, p->n_findings);
    jw_key_time(w, "observedAt", p->observed_at);
    jw_close(w, '}');
}
