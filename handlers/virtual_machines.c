/* RG/virtualMachines: make, read, list and delete VMs. */
#include "handlers/page.h"
#include "handlers/policy_book.h"
#include "handlers/routes.h"
#include "handlers/target.h"
#include "handlers/view.h"
#include "handlers/wait.h"

#include "openapi/schemas.h"

#include <strings.h>

/* ---- PUT ---- */

struct put {
    struct jobs_preflight preflight;
    struct jobs_origin origin;
    struct jobs_submitted submitted;
};

static int put_checked(struct call *c);

/* The VM is not new after all. */
static int put_guessed_wrong(struct call *c)
{
    struct put *put = c->state;
    err_clear(&c->err);
    call_wait(c, put_checked);
    jobs_query_preflight_vm(c->app->jobs, &put->preflight);
    return CALL_PENDING;
}

static int put_submitted(struct call *c)
{
    struct put *put = c->state;
    if (c->done.err == ERR_PRECONDITION_FAILED && put->preflight.guessed)
        return put_guessed_wrong(c);
    if (c->done.err)
        return call_fail(c);
    return wait_for_job(c, &put->submitted.job, call_accepted);
}

static int put_refused(struct call *c, const struct jobs_preflight *p)
{
    err_set(&c->err, p->refusal, "%s",
            p->info ? p->info->detail : "findings says what stands in the way");
    if (p->refusal != ERR_PREFLIGHT_FAILED)
        return call_fail(c);
    struct jw *w = call_problem(c);
    jw_key(w, "findings");
    view_findings(w, p->findings, p->n_findings);
    jw_close(w, '}');
    return err_http_status(p->refusal);
}

static int show_plan(struct call *c, const struct jobs_origin *origin,
                     const struct jobs_preflight *p)
{
    if (!jobs_origin_holds(origin, p->row))
        return call_refuse(c, ERR_PRECONDITION_FAILED,
                           "the VM is not in the state that the call names");
    view_dry_run(call_json(c), p);
    return 200;
}

static int put_submit(struct call *c)
{
    struct put *put = c->state;
    const struct jobs_preflight *p = &put->preflight;
    jobs_submit_vm_put(c->app->jobs, c->arena, &put->origin, &p->vm, p->spec, p, &put->submitted,
                       call_commit(c, put_submitted));
    return CALL_PENDING;
}

static int put_checked(struct call *c)
{
    struct put *put = c->state;
    const struct put_virtual_machine_query *query = c->query;
    const struct jobs_preflight *p = &put->preflight;
    if (p->err) {
        c->err = *p->info;
        return call_fail(c);
    }
    if (query->dry_run)
        return show_plan(c, &put->origin, p);
    if (query->plan && strcasecmp(query->plan, p->plan_digest) != 0)
        return call_refuse(c, ERR_PLAN_STALE, "the plan is by now %s", p->plan_digest);
    if (p->refusal)
        return put_refused(c, p);
    return put_submit(c);
}

static void preflight_done(struct jobs_preflight *p)
{
    call_resume(p->ctx);
}

int put_virtual_machine(struct call *c)
{
    const struct put_virtual_machine_query *query = c->query;
    struct put *put = ARENA_NEW(c->arena, struct put);
    const char *none_match = c->ops->header(c, "If-None-Match");
    put->origin = target_origin(c);
    put->origin.only_new = none_match && strcmp(none_match, "*") == 0;
    if (call_if_match(c, &put->origin.if_etag))
        return call_fail(c);
    struct jobs_preflight *p = &put->preflight;
    *p = (struct jobs_preflight){
        .arena = c->arena, .vm = target_vm(c), .spec = c->body, .done = preflight_done, .ctx = c};
    p->wants_calls = query->dry_run || query->plan;
    p->wants_row = put->origin.if_etag != NULL;
    c->state = put;

    bool kept = jobs_preflight_kept(c->app->jobs, p);
    if (kept && !p->wants_calls)
        return put_submit(c); /* which finds the job of a repetition */
    bool found = false;
    struct job job;
    if (!query->dry_run && jobs_find_replay(c->app->jobs, c->arena, &put->origin, &p->vm, c->body,
                                            &found, &job, &c->err))
        return call_fail(c);
    if (found)
        return wait_for_job(c, &job, call_accepted);
    if (kept)
        return put_checked(c);
    call_wait(c, put_checked);
    jobs_query_preflight_vm(c->app->jobs, p);
    return CALL_PENDING;
}

/* ---- DELETE ---- */

struct delete
{
    struct jobs_preflight owner;
    struct jobs_origin origin;
    struct jobs_submitted submitted;
};

/* Where Azure cannot be asked the answer stays that this gateway has no such VM. */
static int delete_checked(struct call *c)
{
    struct delete *delete = c->state;
    const struct jobs_preflight *p = &delete->owner;
    if (!p->err && p->refusal)
        c->err = *p->info;
    return call_fail(c);
}

static int delete_unknown(struct call *c)
{
    struct delete *delete = c->state;
    call_wait(c, delete_checked);
    jobs_query_preflight_vm(c->app->jobs, &delete->owner);
    return CALL_PENDING;
}

static int delete_submitted(struct call *c)
{
    struct delete *delete = c->state;
    if (c->done.err == ERR_NOT_FOUND)
        return delete_unknown(c);
    if (c->done.err)
        return call_fail(c);
    return wait_for_job(c, &delete->submitted.job, call_accepted);
}

static int delete_planned(struct call *c)
{
    struct delete *delete = c->state;
    enum err err = jobs_plan_vm_delete(c->app->jobs, &delete->owner, &c->err);
    if (err)
        return err == ERR_NOT_FOUND ? delete_unknown(c) : call_fail(c);
    return show_plan(c, &delete->origin, &delete->owner);
}

int delete_virtual_machine(struct call *c)
{
    const struct delete_virtual_machine_query *query = c->query;
    struct delete *delete = ARENA_NEW(c->arena, struct delete);
    delete->owner = (struct jobs_preflight){
        .arena = c->arena, .vm = target_vm(c), .done = preflight_done, .ctx = c};
    delete->origin = target_origin(c);
    if (call_if_match(c, &delete->origin.if_etag))
        return call_fail(c);
    c->state = delete;
    if (query->dry_run)
        return delete_planned(c);
    jobs_submit_vm_delete(c->app->jobs, c->arena, &delete->origin, &delete->owner.vm, query->plan,
                          &delete->submitted, call_commit(c, delete_submitted));
    return CALL_PENDING;
}

/* ---- GET ---- */

int get_virtual_machine(struct call *c)
{
    struct vm vm;
    unsigned book = policy_book_generation(c->app->book);
    if (target_read_vm(c, &vm))
        return call_fail(c);
    c->basis = basis_of_vm(c->app, &vm, book, c->now);
    view_vm(call_json(c), &vm);
    return call_etag(c, vm.etag);
}

static int list_vms(struct call *c, const struct page_of *list, const char *within)
{
    struct vm_filter filter = {.scope = call_scope(c),
                               .within = within,
                               .fresh_after = target_fresh_after(c),
                               .now = c->now};
    struct vm_list vms;
    if (page_open(c, list, &filter.page) ||
        store_list_vms(c->app->store, c->arena, &filter, &vms, &c->err))
        return call_fail(c);
    struct jw *w = page_begin(c);
    for (size_t i = 0; i < vms.n; i++)
        view_vm(w, &vms.items[i]);
    return page_end(c, list, vms.more ? vms.items[vms.n - 1].resource_id : NULL);
}

int list_subscription_virtual_machines(struct call *c)
{
    const struct list_subscription_virtual_machines_query *query = c->query;
    const struct page_of list = {
        .path = page_vm_path(c, "/virtualMachines"), .top = query->top, .cursor = query->cursor};
    return list_vms(c, &list, arena_printf(c->arena, "/subscriptions/%s", c->params[0]));
}

int list_virtual_machines(struct call *c)
{
    const struct list_virtual_machines_query *query = c->query;
    const struct page_of list = {
        .path = page_vm_path(c, "/virtualMachines"), .top = query->top, .cursor = query->cursor};
    return list_vms(
        c, &list,
        arena_printf(c->arena, "/subscriptions/%s/resourceGroups/%s", c->params[0], c->params[1]));
}
