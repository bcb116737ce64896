/* GET /v1/attestation/providers, and how a report's token meets the providers' keys. */
#include "handlers/maa.h"

#include "attest/maa.h"
#include "core/seen.h"
#include "handlers/routes.h"

static bool was_seen(void *ctx, const char *jti)
{
    const struct handlers_maa *m = ctx;
    return seen_has(m->call->app->tokens_seen, BYTES_STR(jti), m->call->now);
}

void handlers_maa_begin(struct call *c, struct handlers_maa *m)
{
    *m = (struct handlers_maa){.call = c};
    if (!c->app->maa)
        return;
    m->held = maa_keys_hold(c->app->maa, c->arena);
    m->trust = (struct maa_trust){.providers = m->held.providers,
                                  .n_providers = m->held.n,
                                  .policy_hashes = c->app->maa_policies,
                                  .n_policy_hashes = c->app->n_maa_policies,
                                  .seen = was_seen,
                                  .ctx = m};
}

void handlers_maa_end(struct handlers_maa *m)
{
    maa_keys_release(&m->held);
}

static void awake(void *ctx)
{
    call_resume(ctx);
}

bool handlers_maa_await(struct call *c, struct bytes token, call_fn *then)
{
    struct jwt parsed;
    if (!c->app->maa || token.len == 0)
        return false;
    struct maa_keys_waiter *w = ARENA_NEW(c->arena, struct maa_keys_waiter);
    *w = (struct maa_keys_waiter){.fn = awake, .ctx = c};
    const char *why = jwt_parse(token, c->arena, &parsed);
    const char *iss = why ? NULL : jwt_text(parsed.payload, "iss");
    const char *kid = why ? NULL : jwt_text(parsed.header, "kid");
    bool waits = false;
    if (iss && kid && maa_keys_may_bring(c->app->maa, iss, kid)) {
        /* Suspended first: the fetch may end before this returns. */
        call_wait(c, then);
        waits = true;
        if (!maa_keys_await(c->app->maa, iss, kid, w))
            call_resume(c);
    }
    jwt_done(&parsed);
    return waits;
}

void handlers_maa_used(struct call *c, const struct attest_result *r)
{
    if (r->maa)
        seen_add(c->app->tokens_seen, BYTES_STR(r->maa->id), c->now, r->maa->expires_at);
}

/* ---- the list ---- */

static void write_provider(struct jw *w, const struct maa_status *s)
{
    static const char *const states[] = {
        [MAA_READY] = "ready", [MAA_STALE] = "stale", [MAA_UNAVAILABLE] = "unavailable"};
    jw_open(w, '{');
    jw_key_str(w, "kind", "azureAttestation");
    jw_key_str(w, "issuer", s->issuer);
    jw_key_str(w, "state", states[s->state]);
    jw_key_int(w, "keys", (int64_t)s->keys);
    jw_key_time_opt(w, "fetchedAt", s->fetched_at);
    jw_key_str_opt(w, "lastError", s->error[0] ? s->error : NULL);
    jw_close(w, '}');
}

int list_attestation_providers(struct call *c)
{
    struct jw *w = call_json(c);
    jw_open(w, '{');
    jw_key(w, "value");
    jw_open(w, '[');
    size_t n = c->app->maa ? maa_keys_count(c->app->maa) : 0;
    for (size_t i = 0; i < n; i++) {
        struct maa_status status;
        maa_keys_status(c->app->maa, i, &status);
        write_provider(w, &status);
    }
    jw_close(w, ']');
    jw_close(w, '}');
    return call_etag_of_body(c);
}
