/* RG/virtualMachines/{name}/enrollmentTokens: another proof for a VM that was rebuilt. */
#include "handlers/routes.h"
#include "handlers/target.h"

#include "core/keyring.h"
#include "jobs/enrollment.h"

#define TOKEN_LIFE_MS ((int64_t)24 * 3600 * 1000)

struct making {
    struct enrollment_put put;
    char token[ENROLLMENT_TOKEN_SIZE];
    char hash[2 * ENROLLMENT_HASH_SIZE + 1];
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
    uint8_t hash[ENROLLMENT_HASH_SIZE];
    uuid_v4(id);
    if (enrollment_token(keys, keyring_current(keys, KEY_ENROLLMENT), id, vm.resource_id,
                         making->token, &c->err))
        return call_fail(c);
    enrollment_hash(making->token, hash);
    hex_encode((struct bytes){hash, sizeof hash}, making->hash);
    making->put = (struct enrollment_put){
        .hash = making->hash,
        .resource_id = vm.resource_id,
        .expires_at = c->now + TOKEN_LIFE_MS,
        .now = c->now,
        .audit = call_audit(c, "enrollment.create", vm.resource_id),
    };
    c->state = making;
    store_put_enrollment(c->app->store, &making->put, NULL, call_commit(c, token_made));
    return CALL_PENDING;
}
