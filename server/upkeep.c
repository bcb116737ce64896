#include "server/upkeep.h"

#include "core/log.h"

#include <pthread.h>

#define FLUSH_MS   30000
#define PRUNE_ROWS 500

struct upkeep {
    struct store *store;
    struct auth *auth;
    struct maa_keys *maa;
    const struct settings *settings;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stopping;
};

/* False when it is time to stop. */
static bool sleep_until(struct upkeep *u, int64_t mono_ms)
{
    const struct timespec until = {.tv_sec = mono_ms / 1000, .tv_nsec = mono_ms % 1000 * 1000000};
    pthread_mutex_lock(&u->lock);
    int expired = 0;
    while (!u->stopping && expired == 0)
        expired = pthread_cond_timedwait(&u->wake, &u->lock, &until);
    bool go_on = !u->stopping;
    pthread_mutex_unlock(&u->lock);
    return go_on;
}

static bool stopping(struct upkeep *u)
{
    pthread_mutex_lock(&u->lock);
    bool stop = u->stopping;
    pthread_mutex_unlock(&u->lock);
    return stop;
}

/* In small transactions, so that requests are never behind a long one. */
static void prune(struct upkeep *u)
{
    struct store_pruned pruned;
    do {
        struct err_info why;
        struct store_waiter wait;
        const struct store_prune in = {.now = clock_wall(&clock_system),
                                       .jobs_ms = u->settings->store.keep_jobs_ms,
                                       .reports_ms = u->settings->store.keep_reports_ms,
                                       .audit_ms = u->settings->store.keep_audit_ms,
                                       .limit = PRUNE_ROWS};
        pruned = (struct store_pruned){0};
        store_prune(u->store, &in, &pruned, store_waiter_init(&wait));
        if (store_wait(&wait, &why)) {
            log_warn("pruning failed", LOG_S("detail", why.detail));
            return;
        }
        int64_t n = pruned.jobs + pruned.reports + pruned.logs + pruned.audit;
        if (n)
            log_info("pruned", LOG_I("jobs", pruned.jobs), LOG_I("reports", pruned.reports),
                     LOG_I("logs", pruned.logs), LOG_I("audit", pruned.audit));
    } while (pruned.more && !stopping(u));
}

static void flush(struct upkeep *u)
{
    struct err_info why;
    if (auth_flush(u->auth, &why))
        log_warn("last uses of keys were not written", LOG_S("detail", why.detail));
}

static int64_t mono_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t earliest(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void *run(void *arg)
{
    struct upkeep *u = arg;
    int64_t every = u->settings->store.prune_every_ms, now = mono_now();
    int64_t prune_at = now, flush_at = now + FLUSH_MS;
    int64_t keys_at = u->maa ? now : INT64_MAX;
    while (sleep_until(u, earliest(prune_at, earliest(flush_at, keys_at)))) {
        now = mono_now();
        if (now >= prune_at) {
            prune(u);
            prune_at = mono_now() + every;
        }
        /* A fetch that failed since then is due sooner than was thought: each flush asks, too. */
        if (u->maa && (now >= keys_at || now >= flush_at))
            keys_at = mono_now() + maa_keys_tick(u->maa);
        if (now >= flush_at) {
            flush(u);
            flush_at = mono_now() + FLUSH_MS;
        }
    }
    flush(u);
    return NULL;
}

struct upkeep *upkeep_start(struct store *store, struct auth *auth, struct maa_keys *maa,
                            const struct settings *settings)
{
    struct upkeep *u = calloc(1, sizeof *u);
    if (!u)
        abort();
    u->store = store;
    u->auth = auth;
    u->maa = maa;
    u->settings = settings;
    pthread_condattr_t mono;
    pthread_condattr_init(&mono);
    pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
    pthread_mutex_init(&u->lock, NULL);
    pthread_cond_init(&u->wake, &mono);
    pthread_condattr_destroy(&mono);
    if (pthread_create(&u->thread, NULL, run, u) != 0)
        abort();
    return u;
}

void upkeep_stop(struct upkeep *u)
{
    if (!u)
        return;
    pthread_mutex_lock(&u->lock);
    u->stopping = true;
    pthread_cond_signal(&u->wake);
    pthread_mutex_unlock(&u->lock);
    pthread_join(u->thread, NULL);
    pthread_mutex_destroy(&u->lock);
    pthread_cond_destroy(&u->wake);
    free(u);
}
