/* RG/virtualMachines/{name}/bootIntegrity/requalify: an operator's decision about a VM's AK. */
#include "handlers/routes.h"
#include "handlers/target.h"
#include "handlers/view.h"

#include "openapi/schemas.h"

struct requalifying {
    struct requalify in;
    bool changed;
};

static enum requalify_decision decision_of(const char *text)
{
    if (strcmp(text, "acceptNewAk") == 0)
        return REQUALIFY_ACCEPT;
    return strcmp(text, "rebuild") == 0 ? REQUALIFY_REBUILD : REQUALIFY_DISMISS;
}

/* What the VM's `reasons` say until its next report. */
static const char *reasons_of(enum requalify_decision d)
{
    static const char *const texts[] = {
        [REQUALIFY_ACCEPT] = "[\"requalified\"]",
        [REQUALIFY_REBUILD] = "[\"awaiting_enrollment\"]",
        [REQUALIFY_DISMISS] = "[\"requalified\"]",
    };
    return texts[d];
}

static const char *audit_detail(struct call *c, const struct requalify_request *body)
{
    struct buf out = {0};
    struct jw w = jw_over(&out);
    jw_open(&w, '{');
    jw_key_str(&w, "decision", body->decision);
    jw_key_str_opt(&w, "akSpki", body->ak_spki);
    jw_key_str_opt(&w, "reason", body->reason);
    jw_close(&w, '}');
    const char *text = arena_strndup(c->arena, out.data, out.len);
    buf_free(&out);
    return text;
}

static int refused(struct call *c)
{
    if (c->err.code == ERR_AK_MISMATCH)
        err_remedy(&c->err, "Read bootIntegrity again and decide about the key that waits now.");
    else if (c->err.code == ERR_INVALID_STATE)
        err_remedy(&c->err, "Where the key is another VM's pin, decide about that VM first; where "
                            "none waits, use rebuild, and let the VM enrol again.");
    return call_fail(c);
}

static int requalified(struct call *c)
{
    struct vm vm;
    if (c->done.err)
        return refused(c);
    if (target_read_vm(c, &vm))
        return call_fail(c);
    view_integrity(call_json(c), &vm, call_scope(c), false);
    c->ops->reply_header(c, "Cache-Control", "no-store");
    return 200;
}

int requalify_virtual_machine(struct call *c)
{
    const struct requalify_request *body = c->body;
    struct requalifying *r = ARENA_NEW(c->arena, struct requalifying);
    enum requalify_decision decision = decision_of(body->decision);
    const char *id = target_vm_id(c);
    if (decision == REQUALIFY_ACCEPT && !body->ak_spki) {
        err_add_field(&c->err, "#/akSpki", "is required for acceptNewAk");
        return call_fail(c);
    }
    r->in = (struct requalify){
        .resource_id = id,
        .decision = decision,
        .ak_spki = body->ak_spki,
        .reasons = reasons_of(decision),
        .now = c->now,
        .audit = call_audit(c, "vm.requalify", id),
    };
    r->in.audit.detail = audit_detail(c, body);
    c->state = r;
    store_requalify(c->app->store, &r->in, &r->changed, call_commit(c, requalified));
    return CALL_PENDING;
}
