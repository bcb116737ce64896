/*
 * Dry runs of policies: the kept reports of the VMs concerned, judged again, nothing written.
 *
 * A page looks at no more than `top` VMs below the caller's scope, in the order of their ids; the cursor
 * is the last one looked at. So a page costs the same whatever the policy is, and a caller can stop.
 */
#include "handlers/applied.h"
#include "handlers/policies.h"
#include "handlers/routes.h"

#include <strings.h>

static void write_checks(struct jw *w, const struct attest_result *r)
{
    struct attest_result shown = *r;
    shown.n_findings = 0;
    for (size_t i = 0; i < r->n_findings; i++) {
        const struct attest_finding *f = &r->findings[i];
        if (f->check == CHECK_POLICY || f->check == CHECK_SECURE_BOOT)
            shown.findings[shown.n_findings++] = *f;
    }
    jw_key(w, "checks");
    attest_write_checks(w, &shown);
}

static void write_change(struct jw *w, const struct vm *vm, const struct applied_review *r)
{
    jw_open(w, '{');
    jw_key_str(w, "resourceId", vm->resource_id);
    jw_key_str_opt(w, "reportId", vm->last_report_id);
    jw_key_str(w, "status", vm_status_text(vm->status));
    jw_key_str(w, "verdict", vm->last_verdict);
    if (r->judged) {
        jw_key_str(w, "newStatus", vm_status_text(r->status));
        jw_key_str(w, "newVerdict", attest_verdict_name(r->result.verdict));
        jw_key_raw_opt(w, "newReasons", r->reasons);
        write_checks(w, &r->result);
    }
    jw_key_str_opt(w, "unknown", r->unknown);
    jw_close(w, '}');
}

/* Where the candidate is not what applies, and did not before, nothing changes. */
static bool is_concerned(const struct book_view *view, const struct book_policy *candidate,
                         const struct vm *vm, struct book_match *m)
{
    const struct book_match now = book_match_vm(view, vm->resource_id, vm->image);
    *m = book_match_with(view, candidate, vm->resource_id, vm->image);
    return vm->last_report_id && !vm->quarantine.since &&
           (m->policy == candidate ||
            (now.policy && strcasecmp(now.policy->name, candidate->name) == 0));
}

static enum err evaluate_vm(struct call *c, const struct book_view *view,
                            const struct book_policy *candidate, const struct vm *vm,
                            int64_t *concerned)
{
    struct book_match m;
    struct applied_review *r = ARENA_NEW(c->arena, struct applied_review);
    if (!is_concerned(view, candidate, vm, &m))
        return OK;
    ++*concerned;
    enum err err = applied_review_vm(c->app, c->arena, vm, &m, r, &c->err);
    if (err)
        return err;
    bool same = r->judged && r->status == vm->status && vm->last_verdict &&
                strcmp(attest_verdict_name(r->result.verdict), vm->last_verdict) == 0;
    if (!same)
        write_change(&c->jw, vm, r);
    return OK;
}

int policies_evaluate(struct call *c, const struct page_of *page_of,
                      const struct book_policy *candidate)
{
    struct vm_filter filter = {.scope = call_scope(c)};
    struct vm_list vms;
    if (page_open(c, page_of, &filter.page) ||
        store_list_vms(c->app->store, c->arena, &filter, &vms, &c->err))
        return call_fail(c);
    struct jw *w = call_json(c);
    jw_open(w, '{');
    jw_key_int(w, "examined", (int64_t)vms.n);
    jw_key(w, "value");
    jw_open(w, '[');
    const struct book_view *view = policy_book_take(c->app->book);
    enum err err = OK;
    int64_t concerned = 0;
    for (size_t i = 0; i < vms.n && !err; i++)
        err = evaluate_vm(c, view, candidate, &vms.items[i], &concerned);
    policy_book_drop(view);
    if (err)
        return call_fail(c);
    jw_close(w, ']');
    jw_key_int(w, "concerned", concerned);
    if (vms.more)
        jw_key_str(w, "nextLink", page_next(c, page_of, vms.items[vms.n - 1].resource_id));
    jw_close(w, '}');
    c->ops->reply_header(c, "Cache-Control", "no-store");
    return 200;
}
