#include "jobs/maa_keys.h"

#include "core/log.h"

#include <pthread.h>

#define DISCOVERY_PATH "/.well-known/openid-configuration"
/* Two of them are a request's wait for a query at most. */
#define FETCH_MS 4000

struct provider {
    struct maa_keys *owner;
    char *issuer;
    struct jwks *keys;  /* the last good set */
    int64_t fetched_at; /* wall */
    int64_t keys_until; /* mono: the set is too old from then on */
    bool fetching;
    int64_t started; /* mono: of the last fetch */
    int64_t due;     /* mono: of the next */
    char error[160];
    struct maa_keys_waiter *waiters;
};

struct maa_keys {
    struct arena *arena;
    struct maa_keys_config config;
    pthread_mutex_t lock;
    size_t n;
    struct provider providers[MAA_PROVIDERS_MAX];
};

/* ---- the end of a fetch ---- */

static void wake(struct maa_keys_waiter *w)
{
    while (w) {
        struct maa_keys_waiter *next = w->next; /* fn may end its memory */
        w->fn(w->ctx);
        w = next;
    }
}

/* Takes `keys`; NULL: the fetch failed, for the reason in *why. */
static void end_fetch(struct provider *p, struct jwks *keys, const struct err_info *why)
{
    struct maa_keys *k = p->owner;
    const struct maa_keys_config *c = &k->config;
    int64_t now = clock_mono(c->clock);
    pthread_mutex_lock(&k->lock);
    struct jwks *former = keys ? p->keys : NULL;
    struct maa_keys_waiter *waiters = p->waiters;
    bool changed = keys ? !p->fetched_at || p->error[0] : !p->error[0];
    p->waiters = NULL;
    p->fetching = false;
    snprintf(p->error, sizeof p->error, "%.*s", (int)sizeof p->error - 1, keys ? "" : why->detail);
    if (keys) {
        p->keys = keys;
        p->fetched_at = clock_wall(c->clock);
        p->keys_until = now + c->max_age_ms;
    }
    p->due = now + (keys || c->refresh_ms < c->retry_ms ? c->refresh_ms : c->retry_ms);
    pthread_mutex_unlock(&k->lock);
    if (keys && changed)
        log_info("attestation keys are here", LOG_S("issuer", p->issuer));
    else if (changed)
        log_warn("attestation keys cannot be fetched", LOG_S("issuer", p->issuer),
                 LOG_S("detail", why->detail));
    jwks_release(former);
    wake(waiters);
}

static void fail_fetch(struct provider *p, const struct err_info *why)
{
    end_fetch(p, NULL, why);
}

static bool is_answer(const struct arm_reply *r, const char *what, struct err_info *why)
{
    if (r->failure != ARM_FAIL_NONE)
        err_set(why, ERR_UPSTREAM, "%s: %s", what, r->detail);
    else if (r->status != 200)
        err_set(why, ERR_UPSTREAM, "%s: HTTP status %d", what, r->status);
    else
        return true;
    return false;
}

static void got_keys(void *ctx, struct arm_reply *r)
{
    struct provider *p = ctx;
    struct err_info why = {0};
    struct jwks *keys = NULL;
    bool good = is_answer(r, "key set", &why) && jwks_parse(r->body, &keys, &why) == OK;
    if (good && jwks_usable(keys) == 0) {
        err_set(&why, ERR_UPSTREAM, "no key of the set can be used");
        jwks_release(TAKE(keys));
    }
    arm_reply_free(r);
    end_fetch(p, keys, &why);
}

/* ---- a fetch: the discovery document, then the key set ---- */

static void get(struct provider *p, const char *url, size_t max, arm_done_fn *done)
{
    const struct maa_keys_config *c = &p->owner->config;
    const struct arm_fetch fetch = {
        .url = url, .ca_file = c->ca_file, .body_max = max, .timeout_ms = FETCH_MS};
    arm_get_document(c->arm, &fetch, done, p);
}

static void got_discovery(void *ctx, struct arm_reply *r)
{
    struct provider *p = ctx;
    struct err_info why = {0};
    const char *address = NULL;
    if (!is_answer(r, "discovery document", &why) ||
        jwks_discover(r->body, p->issuer, r->arena, &address, &why)) {
        arm_reply_free(r);
        fail_fetch(p, &why);
        return;
    }
    get(p, address, JWKS_SIZE_MAX, got_keys);
    arm_reply_free(r);
}

static void start_fetch(struct provider *p)
{
    char url[JWKS_ADDRESS_MAX];
    snprintf(url, sizeof url, "%s" DISCOVERY_PATH, p->issuer);
    get(p, url, DISCOVERY_SIZE_MAX, got_discovery);
}

/* Under the lock. */
static bool may_fetch(const struct provider *p, int64_t now)
{
    return !p->fetching && (!p->started || now - p->started >= p->owner->config.retry_ms);
}

/* Under the lock. True where one may start now; it is then the caller's to start. */
static bool claim_fetch(struct provider *p, int64_t now)
{
    if (!may_fetch(p, now))
        return false;
    p->fetching = true;
    p->started = now ? now : 1;
    p->due = now + p->owner->config.refresh_ms;
    return true;
}

int64_t maa_keys_tick(struct maa_keys *k)
{
    int64_t now = clock_mono(k->config.clock), next = now + k->config.refresh_ms;
    for (size_t i = 0; i < k->n; i++) {
        struct provider *p = &k->providers[i];
        pthread_mutex_lock(&k->lock);
        bool start = now >= p->due && claim_fetch(p, now);
        if (p->due < next)
            next = p->due;
        pthread_mutex_unlock(&k->lock);
        if (start)
            start_fetch(p);
    }
    return next > now ? next - now : 1;
}

/* ---- configuration ---- */

/* https://HOST[:PORT] and nothing behind it. */
static bool is_origin(const char *issuer)
{
    static const char scheme[] = "https://";
    size_t n = strlen(issuer);
    if (strncmp(issuer, scheme, sizeof scheme - 1) != 0 || n > 256)
        return false;
    const char *host = issuer + sizeof scheme - 1;
    return *host && strspn(host, "abcdefghijklmnopqrstuvwxyz0123456789.-:[]") == strlen(host);
}

enum err maa_keys_check(const char *const *issuers, size_t n, struct err_info *e)
{
    if (n > MAA_PROVIDERS_MAX)
        return err_set(e, ERR_CONFIG, "attestation.maa_issuer names more than %d providers",
                       MAA_PROVIDERS_MAX);
    for (size_t i = 0; i < n; i++) {
        if (!is_origin(issuers[i]))
            return err_set(e, ERR_CONFIG,
                           "attestation.maa_issuer %s is not https://HOST[:PORT] in lower case "
                           "without anything behind it",
                           issuers[i]);
        for (size_t k = 0; k < i; k++)
            if (strcmp(issuers[i], issuers[k]) == 0)
                return err_set(e, ERR_CONFIG, "attestation.maa_issuer %s stands twice", issuers[i]);
    }
    return OK;
}

enum err maa_keys_start(const struct maa_keys_config *config, struct maa_keys **out,
                        struct err_info *e)
{
    enum err err = maa_keys_check(config->issuers, config->n_issuers, e);
    if (err)
        return err;
    struct arena *a = arena_new();
    struct maa_keys *k = ARENA_NEW(a, struct maa_keys);
    k->arena = a;
    k->config = *config;
    k->config.ca_file = arena_strdup(a, config->ca_file);
    pthread_mutex_init(&k->lock, NULL);
    k->n = config->n_issuers;
    for (size_t i = 0; i < k->n; i++) {
        k->providers[i].owner = k;
        k->providers[i].issuer = arena_strdup(a, config->issuers[i]);
    }
    *out = k;
    maa_keys_tick(k);
    return OK;
}

void maa_keys_free(struct maa_keys *k)
{
    if (!k)
        return;
    for (size_t i = 0; i < k->n; i++)
        jwks_release(k->providers[i].keys);
    pthread_mutex_destroy(&k->lock);
    arena_free(k->arena);
}

/* ---- use ---- */

static bool is_fresh(const struct provider *p, int64_t now)
{
    return p->keys && now < p->keys_until;
}

struct maa_keys_held maa_keys_hold(struct maa_keys *k, struct arena *a)
{
    struct maa_keys_held held = {arena_array(a, k->n + 1, sizeof *held.providers), k->n};
    int64_t now = clock_mono(k->config.clock);
    pthread_mutex_lock(&k->lock);
    for (size_t i = 0; i < k->n; i++) {
        struct provider *p = &k->providers[i];
        held.providers[i].issuer = p->issuer;
        held.providers[i].keys = is_fresh(p, now) ? jwks_hold(p->keys) : NULL;
    }
    pthread_mutex_unlock(&k->lock);
    return held;
}

void maa_keys_release(struct maa_keys_held *held)
{
    for (size_t i = 0; i < held->n; i++)
        jwks_release(held->providers[i].keys);
    held->n = 0;
}

static struct provider *find(struct maa_keys *k, const char *issuer)
{
    for (size_t i = 0; i < k->n; i++)
        if (strcmp(k->providers[i].issuer, issuer) == 0)
            return &k->providers[i];
    return NULL;
}

static bool is_known(const struct provider *p, const char *kid, int64_t now)
{
    const struct jwk *key;
    return is_fresh(p, now) && jwks_find(p->keys, kid, &key) > 0;
}

bool maa_keys_may_bring(struct maa_keys *k, const char *issuer, const char *kid)
{
    struct provider *p = find(k, issuer);
    if (!p)
        return false;
    int64_t now = clock_mono(k->config.clock);
    pthread_mutex_lock(&k->lock);
    bool may = !is_known(p, kid, now) && (p->fetching || may_fetch(p, now));
    pthread_mutex_unlock(&k->lock);
    return may;
}

bool maa_keys_await(struct maa_keys *k, const char *issuer, const char *kid,
                    struct maa_keys_waiter *w)
{
    struct provider *p = find(k, issuer);
    if (!p)
        return false;
    int64_t now = clock_mono(k->config.clock);
    pthread_mutex_lock(&k->lock);
    bool known = is_known(p, kid, now);
    bool start = !known && claim_fetch(p, now);
    bool wait = !known && p->fetching;
    if (wait) {
        w->next = p->waiters;
        p->waiters = w;
    }
    pthread_mutex_unlock(&k->lock);
    if (start)
        start_fetch(p);
    return wait;
}

size_t maa_keys_count(const struct maa_keys *k)
{
    return k->n;
}

void maa_keys_status(struct maa_keys *k, size_t i, struct maa_status *out)
{
    const struct provider *p = &k->providers[i];
    pthread_mutex_lock(&k->lock);
    bool fresh = is_fresh(p, clock_mono(k->config.clock));
    *out = (struct maa_status){
        .issuer = p->issuer,
        .state = !fresh        ? MAA_UNAVAILABLE
                 : p->error[0] ? MAA_STALE
                               : MAA_READY,
        .keys = fresh ? jwks_usable(p->keys) : 0,
        .fetched_at = p->fetched_at,
    };
    memcpy(out->error, p->error, sizeof out->error);
    pthread_mutex_unlock(&k->lock);
}
