#include "jobs/engine.h"

#include <string.h>

static unsigned bucket_of(const char *id)
{
    unsigned h = 2166136261u; /* FNV-1a */
    for (; *id; id++)
        h = (h ^ (unsigned char)*id) * 16777619u;
    return h % WATCH_BUCKETS;
}

static void unlink_watch(struct jobs *j, struct jobs_watch *w)
{
    if (w->prev)
        w->prev->next = w->next;
    else
        j->watches[bucket_of(w->job_id)] = w->next;
    if (w->next)
        w->next->prev = w->prev;
    w->linked = false;
}

/* With watch_lock held, so that jobs_unwatch is a barrier. */
static void fire(struct jobs *j, struct jobs_watch *w, enum watch_event event)
{
    if (w->once)
        unlink_watch(j, w);
    w->fn(w, event); /* *w may be gone now */
}

void jobs_watch(struct jobs *j, struct jobs_watch *w)
{
    struct arena *a = arena_new();
    struct job job;
    pthread_mutex_lock(&j->watch_lock);
    struct jobs_watch **head = &j->watches[bucket_of(w->job_id)];
    w->prev = NULL;
    w->next = *head;
    if (*head)
        (*head)->prev = w;
    *head = w;
    w->linked = true;
    /* Linked first, read second: an end in between is seen by one of the two, and since both happen
     * under the lock, by one only. */
    bool ended = store_get_job(j->config.store, a, w->job_id, NULL, &job, NULL) == OK &&
                 job_state_terminal(job.state);
    bool timed = w->until_ms != 0;
    int64_t until = w->until_ms;
    if (ended)
        fire(j, w, WATCH_ENDED);
    pthread_mutex_unlock(&j->watch_lock);
    arena_free(a);
    if (ended || !timed || until >= atomic_load(&j->watch_until))
        return;
    atomic_store(&j->watch_until, until);
    engine_due(j, INT64_MAX); /* only to let the thread see the new time */
}

bool jobs_unwatch(struct jobs *j, struct jobs_watch *w)
{
    pthread_mutex_lock(&j->watch_lock);
    bool linked = w->linked;
    if (linked)
        unlink_watch(j, w);
    pthread_mutex_unlock(&j->watch_lock);
    return linked;
}

void watch_changed(struct jobs *j, const char *job_id, bool ended)
{
    pthread_mutex_lock(&j->watch_lock);
    struct jobs_watch *next;
    for (struct jobs_watch *w = j->watches[bucket_of(job_id)]; w; w = next) {
        next = w->next;
        if (strcmp(w->job_id, job_id) != 0 || (w->once && !ended))
            continue;
        fire(j, w, ended ? WATCH_ENDED : WATCH_CHANGED);
    }
    pthread_mutex_unlock(&j->watch_lock);
}

static int64_t expire_bucket(struct jobs *j, unsigned b, int64_t mono)
{
    int64_t soonest = INT64_MAX;
    struct jobs_watch *next;
    for (struct jobs_watch *w = j->watches[b]; w; w = next) {
        next = w->next;
        if (!w->until_ms)
            continue;
        if (w->until_ms > mono) {
            soonest = w->until_ms < soonest ? w->until_ms : soonest;
            continue;
        }
        w->until_ms = 0;
        fire(j, w, WATCH_TIMEOUT);
    }
    return soonest;
}

int64_t watch_expire(struct jobs *j, int64_t mono)
{
    if (atomic_load(&j->watch_until) > mono)
        return atomic_load(&j->watch_until);
    int64_t soonest = INT64_MAX;
    pthread_mutex_lock(&j->watch_lock);
    for (unsigned b = 0; b < WATCH_BUCKETS; b++) {
        int64_t s = expire_bucket(j, b, mono);
        soonest = s < soonest ? s : soonest;
    }
    atomic_store(&j->watch_until, soonest);
    pthread_mutex_unlock(&j->watch_lock);
    return soonest;
}
