/*
 * The roll-over of Microsoft's Secure Boot certificates: which ones a VM trusts, and how far the fleet
 * is. Everything comes from the last proven event log of each VM (attest/rollover.h).
 */
#include "attest/rollover.h"
#include "handlers/page.h"
#include "handlers/routes.h"
#include "handlers/target.h"

#include "openapi/schemas.h"

static void view(struct jw *w, const struct vm *vm)
{
    jw_open(w, '{');
    jw_key_str(w, "resourceId", vm->resource_id);
    jw_key_str_opt(w, "vmId", vm->vm_id);
    jw_key_time_opt(w, "lastReportAt", vm->last_report_at);
    rollover_write(w, (uint32_t)vm->certificates);
    jw_close(w, '}');
}

int get_secure_boot_certificates(struct call *c)
{
    struct vm vm;
    if (target_read_vm(c, &vm))
        return call_fail(c);
    view(call_json(c), &vm);
    return call_etag_of_body(c);
}

int list_secure_boot_certificates(struct call *c)
{
    const struct list_secure_boot_certificates_query *query = c->query;
    const struct page_of list = {.path = "/v1/bootIntegrity/secureBootCertificates",
                                 .filters = {{"state", query->state}, {"scope", query->scope}},
                                 .top = query->top,
                                 .cursor = query->cursor};
    struct vm_filter filter = {
        .scope = call_scope(c), .within = query->scope, .certificates_state = query->state};
    struct vm_list vms;
    if (page_open(c, &list, &filter.page) ||
        store_list_vms(c->app->store, c->arena, &filter, &vms, &c->err))
        return call_fail(c);
    struct jw *w = page_begin(c);
    for (size_t i = 0; i < vms.n; i++)
        view(w, &vms.items[i]);
    return page_end(c, &list, vms.more ? vms.items[vms.n - 1].resource_id : NULL);
}

/* ---- the fleet in numbers ---- */

static void write_states(struct jw *w, const struct certificates_counts *counts)
{
    int64_t by_state[ROLLOVER_STATES] = {0}, total = 0;
    for (size_t i = 0; i < counts->n; i++) {
        by_state[rollover_state_of((uint32_t)counts->items[i].certificates)] += counts->items[i].n;
        total += counts->items[i].n;
    }
    jw_key_int(w, "total", total);
    jw_key(w, "byState");
    jw_open(w, '{');
    for (int s = 0; s < ROLLOVER_STATES; s++)
        jw_key_int(w, rollover_state_name((enum rollover_state)s), by_state[s]);
    jw_close(w, '}');
}

static int64_t count_of(const struct certificates_counts *counts, uint32_t bit)
{
    int64_t n = 0;
    for (size_t i = 0; i < counts->n; i++)
        if ((uint32_t)counts->items[i].certificates & bit)
            n += counts->items[i].n;
    return n;
}

static void write_place(struct jw *w, const struct certificates_counts *counts,
                        enum rollover_place place)
{
    jw_key(w, rollover_place_name(place));
    jw_open(w, '{');
    for (int i = 0; i < ROLLOVER_CAS; i++) {
        enum rollover_ca ca = (enum rollover_ca)i;
        jw_key_int(w, rollover_ca_id(ca), count_of(counts, rollover_bit(place, ca)));
    }
    jw_close(w, '}');
}

int get_secure_boot_certificates_summary(struct call *c)
{
    const struct get_secure_boot_certificates_summary_query *query = c->query;
    const struct vm_filter filter = {.scope = call_scope(c), .within = query->scope};
    struct certificates_counts counts;
    if (store_count_certificates(c->app->store, c->arena, &filter, &counts, &c->err))
        return call_fail(c);
    struct jw *w = call_json(c);
    jw_open(w, '{');
    write_states(w, &counts);
    jw_key(w, "certificates");
    jw_open(w, '{');
    for (int place = 0; place < ROLLOVER_PLACES; place++)
        write_place(w, &counts, (enum rollover_place)place);
    jw_close(w, '}');
    jw_close(w, '}');
    return call_etag_of_body(c);
}
