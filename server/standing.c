#include "server/standing.h"

#include "core/log.h"
#include "handlers/applied.h"

#include <pthread.h>

#define STEP_VMS     64
#define STEP_WAIT_MS 20   /* between two steps of a pass */
#define LOOK_MS      500  /* how often the book is looked at */
#define AGAIN_MS     5000 /* a second pass: for reports that were under way in the first */

struct standing {
    const struct app *app;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stopping;
};

/* False when it is time to stop. */
static bool pause_for(struct standing *s, int64_t ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + ms % 1000 * 1000000;
    until.tv_sec += ms / 1000 + ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    pthread_mutex_lock(&s->lock);
    int expired = 0;
    while (!s->stopping && expired == 0)
        expired = pthread_cond_timedwait(&s->wake, &s->lock, &until);
    bool go_on = !s->stopping;
    pthread_mutex_unlock(&s->lock);
    return go_on;
}

/* One pass over all VMs. Stops early where the store cannot be used: the next look tries again. */
static bool pass(struct standing *s)
{
    char *after = NULL;
    int64_t judged = 0;
    bool more = true, good = true;
    while (more && good && pause_for(s, STEP_WAIT_MS)) {
        struct arena *a = arena_new();
        struct err_info why = {0};
        const char *next = after;
        good = applied_sweep(s->app, a, &next, STEP_VMS, &judged, &why) == OK;
        if (!good)
            log_warn("standing was not judged again", LOG_S("detail", why.detail));
        free(after);
        after = good && next ? strdup(next) : NULL;
        more = after != NULL;
        arena_free(a);
    }
    free(after);
    if (judged) {
        metrics_add(s->app->metrics, "tlgate_attestation_rejudged_total", "", judged);
        log_info("standing judged again", LOG_I("vms", judged));
    }
    return good;
}

static void *run(void *arg)
{
    struct standing *s = arg;
    unsigned seen = policy_book_generation(s->app->book) - 1;
    while (pause_for(s, LOOK_MS)) {
        unsigned now = policy_book_generation(s->app->book);
        if (now == seen || !pass(s))
            continue;
        if (pause_for(s, AGAIN_MS) && pass(s))
            seen = now;
    }
    return NULL;
}

struct standing *standing_start(const struct app *app)
{
    struct standing *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    s->app = app;
    pthread_condattr_t mono;
    pthread_condattr_init(&mono);
    pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, &mono);
    pthread_condattr_destroy(&mono);
    if (pthread_create(&s->thread, NULL, run, s) != 0)
        abort();
    return s;
}

void standing_stop(struct standing *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->wake);
    free(s);
}
