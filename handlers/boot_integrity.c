/* Boot integrity: what the last evidence says, of one VM and of all. */
#include "handlers/page.h"
#include "handlers/policy_book.h"
#include "handlers/routes.h"
#include "handlers/target.h"
#include "handlers/view.h"

#include "openapi/schemas.h"

int get_boot_integrity(struct call *c)
{
    struct vm vm;
    unsigned book = policy_book_generation(c->app->book);
    if (target_read_vm(c, &vm))
        return call_fail(c);
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
    const struct page_of list = {.path = "/v1/bootIntegrity",
                                 .filters = {{"status", query->status}, {"scope", query->scope}},
                                 .top = query->top,
                                 .cursor = query->cursor};
    struct vm_filter filter = {.scope = call_scope(c),
                               .within = query->scope,
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
