/* Boot integrity: what the last evidence says, of one VM and of all. */
#include "handlers/applied.h"
#include "handlers/page.h"
#include "handlers/policy_book.h"
#include "handlers/routes.h"
#include "handlers/target.h"
#include "handlers/view.h"

#include "openapi/schemas.h"

/* The last report as the policy judges it that applies now: the report itself stays as it was. False: nothing is
 * kept of it. */
static enum err write_explained(struct call *c, const struct vm *vm, bool pending, bool *explained)
{
    struct applied_review *r = ARENA_NEW(c->arena, struct applied_review);
    struct event_log log;
    struct explain x = {.findings = r->result.findings};
    const struct book_view *view = policy_book_take(c->app->book);
    const struct book_match m = book_match_vm(view, vm->resource_id, vm->image);
    enum err err = applied_review_vm(c->app, c->arena, vm, &m, r, &c->err);
    *explained = !err && r->judged;
    if (*explained) {
        x.n_findings = r->result.n_findings;
        x.verdict = vm->quarantine.since ? attest_verdict_name(VERDICT_QUARANTINED)
                                         : attest_verdict_name(r->result.verdict);
        if (r->event_log.len) {
            log = eventlog_parse(r->event_log, c->arena);
            x.log = &log;
        }
        view_explained_integrity(call_json(c), vm, call_scope(c), pending, &x, c->arena);
    }
    policy_book_drop(view);
    return err;
}

static int explain_integrity(struct call *c, const struct vm *vm)
{
    bool pending = target_is_pending(c, vm), explained;
    if (write_explained(c, vm, pending, &explained))
        return call_fail(c);
    if (!explained)
        view_integrity(call_json(c), vm, call_scope(c), pending);
    return call_etag_of_body(c);
}

int get_boot_integrity(struct call *c)
{
    const struct get_boot_integrity_query *query = c->query;
    struct vm vm;
    unsigned book = policy_book_generation(c->app->book);
    if (target_read_vm(c, &vm))
        return call_fail(c);
    if (query->explain)
        return explain_integrity(c, &vm);
    c->basis = basis_of_vm(c->app, &vm, book, c->now);
    bool pending = target_is_pending(c, &vm);
    int status = call_etag(c, pending ? arena_printf(c->arena, "%s-pending", vm.etag) : vm.etag);
    if (status == 200)
        view_integrity(call_json(c), &vm, call_scope(c), pending);
    return status;
}

int list_boot_integrity_history(struct call *c)
{
    const struct list_boot_integrity_history_query *query = c->query;
    const struct page_of list = {.path = page_vm_path(c, "/bootIntegrity/history"),
                                 .top = query->top,
                                 .cursor = query->cursor};
    struct page page;
    struct vm vm;
    struct report_list reports = {0};
    if (page_open(c, &list, &page) || target_read_vm(c, &vm))
        return call_fail(c);
    /* Reports are of a vmId; a VM that Azure has not made yet has none. */
    if (vm.vm_id && store_list_reports(c->app->store, c->arena, vm.vm_id, &page, &reports, &c->err))
        return call_fail(c);
    struct jw *w = page_begin(c);
    for (size_t i = 0; i < reports.n; i++)
        view_report_summary(w, &reports.items[i]);
    return page_end(c, &list, reports.more ? reports.items[reports.n - 1].id : NULL);
}

int list_boot_integrity(struct call *c)
{
    const struct list_boot_integrity_query *query = c->query;
    const struct page_of list = {
        .path = "/v1/bootIntegrity",
        .filters = {{"status", query->status}, {"vmId", query->vm_id}, {"scope", query->scope}},
        .top = query->top,
        .cursor = query->cursor};
    struct vm_filter filter = {.scope = call_scope(c),
                               .within = query->scope,
                               .vm_id = query->vm_id,
                               .fresh_after = target_fresh_after(c),
                               .now = c->now};
    struct vm_list vms;
    enum vm_status status;
    if (query->status && vm_status_parse(query->status, &status))
        filter.status = &status;
    if (page_open(c, &list, &filter.page) ||
        store_list_vms(c->app->store, c->arena, &filter, &vms, &c->err))
        return call_fail(c);
    struct jw *w = page_begin(c);
    for (size_t i = 0; i < vms.n; i++)
        view_integrity(w, &vms.items[i], call_scope(c), target_is_pending(c, &vms.items[i]));
    return page_end(c, &list, vms.more ? vms.items[vms.n - 1].resource_id : NULL);
}

int get_boot_integrity_summary(struct call *c)
{
    const struct get_boot_integrity_summary_query *query = c->query;
    const struct vm_filter filter = {.scope = call_scope(c),
                                     .within = query->scope,
                                     .fresh_after = target_fresh_after(c),
                                     .now = c->now};
    struct vm_summary summary;
    if (store_count_vms(c->app->store, &filter, &summary, &c->err))
        return call_fail(c);
    struct jw *w = call_json(c);
    jw_open(w, '{');
    jw_key_int(w, "total", summary.total);
    for (int i = 0; i < VM_STATUSES; i++)
        jw_key_int(w, vm_status_text((enum vm_status)i), summary.by_status[i]);
    jw_close(w, '}');
    return call_etag_of_body(c);
}
