/* RG/virtualMachines/{name}/enrollmentTokens: another proof for a VM that was rebuilt. */
#include "handlers/routes.h"
#include "handlers/target.h"

#include "core/keyring.h"
#include "jobs/enrollment.h"

struct making {
    struct enrollment_put put;
    char token[ENROLLMENT_TOKEN_SIZE];
};

static int token_made(struct call *c)
{
    const struct making *making = c->state;
    if (c->done.err)
        return call_fail(c);
    struct jw *w = call_json(c);
    jw_open(w, '{');
    jw_key_str(w, "token", making->token);
    jw_key_time(w, "expiresAt", making->put.expires_at);
    jw_close(w, '}');
    c->ops->reply_header(c, "Cache-Control", "no-store");
    return 201;
}

int create_enrollment_token(struct call *c)
{
    struct making *making = ARENA_NEW(c->arena, struct making);
    const struct keyring *keys = c->app->keyring;
    struct vm vm;
    if (target_read_vm(c, &vm))
        return call_fail(c);
    char id[UUID_SIZE];
    uuid_v7(c->now, id);
    if (enrollment_token(keys, keyring_current(keys, KEY_ENROLLMENT), id, vm.resource_id,
                         making->token, &c->err))
        return call_fail(c);
    making->put = (struct enrollment_put){
        .hash = enrollment_text(c->arena, making->token),
        .resource_id = vm.resource_id,
        .expires_at = c->now + ENROLLMENT_MS,
        .now = c->now,
        .audit = call_audit(c, "enrollment.create", vm.resource_id),
    };
    c->state = making;
    store_put_enrollment(c->app->store, &making->put, NULL, call_commit(c, token_made));
    return CALL_PENDING;
}
