#include "handlers/target.h"

#include "handlers/policy_book.h"

struct jobs_vm_ref target_vm(const struct call *c)
{
    return (struct jobs_vm_ref){
        .subscription = c->params[0], .resource_group = c->params[1], .name = c->params[2]};
}

const char *target_vm_id(struct call *c)
{
    return arena_concat(c->arena, "/subscriptions/", c->params[0], "/resourceGroups/", c->params[1],
                        "/providers/Microsoft.Compute/virtualMachines/", c->params[2], NULL);
}

int64_t target_fresh_after(const struct call *c)
{
    return c->app->max_age_ms > 0 ? c->now - c->app->max_age_ms : 0;
}

enum err target_read_vm(struct call *c, struct vm *out)
{
    enum err err = store_get_vm(c->app->store, c->arena, target_vm_id(c), out, &c->err);
    if (err == OK)
        vm_apply_age(c->arena, out, target_fresh_after(c), c->now);
    return err;
}

bool target_is_pending(const struct call *c, const struct vm *vm)
{
    if (!vm->last_report_id)
        return false;
    const struct book_view *view = policy_book_take(c->app->book);
    bool pending = book_is_pending(view, vm);
    policy_book_drop(view);
    return pending;
}

struct jobs_origin target_origin(const struct call *c)
{
    return (struct jobs_origin){
        .who = c->who,
        .operation = c->operation,
        .idempotency_key = c->idempotency_key,
        .request_id = c->request_id,
        .traceparent = c->traceparent,
        .peer = c->peer,
    };
}
