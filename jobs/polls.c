#include "jobs/polls.h"

#include "core/log.h"
#include "jobs/run.h"

#include <limits.h>
#include <string.h>

#define KEPT_MAX     16384 /* more wait as rows only; a start voids their leases one by one */
#define BATCH_MAX    128
#define TURN_MS      50 /* until the next try of who finds its subscription busy */
#define RETRY_MS     1000
#define LEASE_MAX_MS (INT64_C(24) * 60 * 60 * 1000)
#define TICK_MIN_MS  10
#define TICK_MAX_MS  1000
#define NOWHERE      UINT_MAX

struct poll {
    struct jobs *jobs;
    struct subscription *subscription;
    int64_t epoch;
    int64_t lease_until; /* wall */
    int64_t accepted_at; /* wall */
    int64_t until;       /* the job as a whole has to be looked at: its deadline, the lease's end */
    int64_t due;
    int64_t interval; /* as Azure told last */
    int64_t noted;    /* wall: not sooner, as the store knows it */
    enum arm_lro_kind kind;
    unsigned slot; /* in the heap, or NOWHERE */
    const char *job_id, *url, *traceparent;

    struct task task;
    struct arm_reply *reply;
    struct poll *hash_next; /* lock, and the next three */
    bool busy;              /* a note, an answer or a task is under way */
    bool woken;
    bool superseded;

    char text[];
};

/* Notes that are committed together. Who is in one is busy until then. */
struct note {
    struct jobs *jobs;
    struct note *next;
    struct store_done done;
    struct task task;
    bool asks; /* they are asked then; else they wait on */
    struct job_polls in;
    struct job_poll rows[BATCH_MAX];
    struct poll *polls[BATCH_MAX];
};

int64_t polls_together(int64_t due_at, int64_t now)
{
    int64_t tick = (due_at - now) / 20;
    if (tick > TICK_MAX_MS)
        tick = TICK_MAX_MS;
    return tick < TICK_MIN_MS ? due_at : (due_at + tick - 1) / tick * tick;
}

/* ---- those that are idle, by time ---- */

static void put(struct polls *all, unsigned slot, struct poll *p)
{
    all->heap[slot] = p;
    p->slot = slot;
}

static void sift_up(struct polls *all, unsigned slot)
{
    struct poll *p = all->heap[slot];
    for (; slot && all->heap[(slot - 1) / 2]->due > p->due; slot = (slot - 1) / 2)
        put(all, slot, all->heap[(slot - 1) / 2]);
    put(all, slot, p);
}

static void sift_down(struct polls *all, unsigned slot)
{
    struct poll *p = all->heap[slot];
    for (unsigned below; (below = slot * 2 + 1) < all->n_heap; slot = below) {
        if (below + 1 < all->n_heap && all->heap[below + 1]->due < all->heap[below]->due)
            below++;
        if (all->heap[below]->due >= p->due)
            break;
        put(all, slot, all->heap[below]);
    }
    put(all, slot, p);
}

static void heap_add(struct polls *all, struct poll *p)
{
    if (all->n_heap == all->room) {
        all->room = all->room ? all->room * 2 : 64;
        all->heap = reallocarray(all->heap, all->room, sizeof(struct poll *));
        if (!all->heap)
            abort();
    }
    put(all, all->n_heap++, p);
    sift_up(all, p->slot);
}

static void heap_take(struct polls *all, struct poll *p)
{
    unsigned slot = p->slot;
    if (slot == NOWHERE)
        return;
    struct poll *last = all->heap[--all->n_heap];
    p->slot = NOWHERE;
    if (last == p)
        return;
    put(all, slot, last);
    sift_up(all, slot);
    sift_down(all, last->slot);
}

/* ---- those that are kept, by job ---- */

static struct poll **bucket_of(struct jobs *j, const char *job_id)
{
    return &j->polls->by_id[run_hash(job_id) % POLLS_BUCKETS];
}

static struct poll *find(struct jobs *j, const char *job_id)
{
    struct poll *p = *bucket_of(j, job_id);
    while (p && (p->superseded || strcmp(p->job_id, job_id) != 0))
        p = p->hash_next;
    return p;
}

static void forget(struct poll *p)
{
    struct jobs *j = p->jobs;
    pthread_mutex_lock(&j->lock);
    struct poll **at = bucket_of(j, p->job_id);
    while (*at != p)
        at = &(*at)->hash_next;
    *at = p->hash_next;
    pthread_mutex_unlock(&j->lock);
    j->polls->kept--;
    arm_reply_free(p->reply);
    free(p);
}

static void woken(struct task *t);

static void wake_locked(struct poll *p)
{
    p->woken = true;
    if (p->busy)
        return;
    p->busy = true;
    p->task.fn = woken;
    engine_push_locked(p->jobs, &p->task);
}

bool polls_wake(struct jobs *j, const char *job_id)
{
    struct poll *p = find(j, job_id);
    if (p)
        wake_locked(p);
    return p != NULL;
}

void polls_supersede(struct jobs *j, const char *job_id)
{
    struct poll *p = find(j, job_id);
    if (!p)
        return;
    p->superseded = true;
    wake_locked(p);
}

/* ---- beginning ---- */

bool polls_room(const struct jobs *j)
{
    return j->polls->kept < KEPT_MAX;
}

/* Long enough for the whole wait: the lease of a process that is gone is void anyway. */
int64_t polls_lease_until(const struct jobs *j, const struct job *job, int64_t now)
{
    int64_t until = job->deadline_at ? job->deadline_at : now + LEASE_MAX_MS;
    if (until > now + LEASE_MAX_MS)
        until = now + LEASE_MAX_MS;
    return (until > now ? until : now) + j->config.lease_ms;
}

static const char *keep_text(char **at, const char *text)
{
    char *copy = *at;
    if (!text)
        return NULL;
    *at = stpcpy(copy, text) + 1;
    return copy;
}

static struct poll *new_poll(const struct poll_new *in)
{
    const char *trace = in->job->traceparent;
    size_t size = strlen(in->job->id) + strlen(in->row->poll_url) + (trace ? strlen(trace) : 0) + 3;
    struct poll *p = calloc(1, sizeof *p + size);
    if (!p)
        abort();
    char *at = p->text;
    p->job_id = keep_text(&at, in->job->id);
    p->url = keep_text(&at, in->row->poll_url);
    p->traceparent = keep_text(&at, trace);
    p->kind = arm_lro_kind_parse(in->row->poll_kind);
    p->accepted_at = in->accepted_at;
    p->epoch = in->job->epoch;
    p->lease_until = in->lease_until;
    p->interval = in->due_at - in->now;
    return p;
}

void polls_add(struct jobs *j, const struct poll_new *in)
{
    struct poll *p = new_poll(in);
    int64_t mono = engine_mono(j);
    p->jobs = j;
    p->subscription = engine_subscription(j, in->job->subscription_id);
    p->until = mono + (in->lease_until - j->config.lease_ms - in->now);
    p->due = polls_together(mono + p->interval, mono);
    j->polls->kept++;
    heap_add(j->polls, p);
    pthread_mutex_lock(&j->lock);
    struct poll **bucket = bucket_of(j, p->job_id);
    p->hash_next = *bucket;
    *bucket = p;
    if (*in->canceled)
        wake_locked(p);
    pthread_mutex_unlock(&j->lock);
}

/* ---- what becomes of one ---- */

/* Back to those that wait; what came meanwhile is heard. */
static void wait_until(struct poll *p, int64_t due)
{
    struct jobs *j = p->jobs;
    p->due = due;
    heap_add(j->polls, p);
    pthread_mutex_lock(&j->lock);
    p->busy = false;
    if (p->woken)
        wake_locked(p);
    pthread_mutex_unlock(&j->lock);
}

/* The job as a whole, under the lease that it has. An answer in hand is the run's. */
static void resume(struct poll *p)
{
    struct jobs *j = p->jobs;
    struct batch *b = batch_new();
    struct job *job = ARENA_NEW(b->arena, struct job);
    enum err err = store_get_job(j->config.store, b->arena, p->job_id, NULL, job, NULL);
    if (err && err != ERR_NOT_FOUND) {
        batch_release(b);
        arm_reply_free(TAKE(p->reply)); /* asked again, as late as if it had said nothing new */
        wait_until(p, engine_mono(j) + p->interval);
        return;
    }
    if (err || job->epoch != p->epoch || job->lease_until != p->lease_until)
        batch_release(b);
    else
        run_resume(j, b, job, TAKE(p->reply));
    forget(p);
}

/* It was woken while it waited. */
static void woken(struct task *t)
{
    struct poll *p = CONTAINER_OF(t, struct poll, task);
    heap_take(p->jobs->polls, p);
    if (p->superseded)
        forget(p);
    else
        resume(p);
}

static bool is_woken(struct poll *p)
{
    pthread_mutex_lock(&p->jobs->lock);
    bool is = p->woken;
    pthread_mutex_unlock(&p->jobs->lock);
    return is;
}

/* True: it was woken while it was busy, and has been seen to. */
static bool was_woken(struct poll *p)
{
    if (!is_woken(p))
        return false;
    arm_reply_free(TAKE(p->reply));
    if (p->superseded)
        forget(p);
    else
        resume(p);
    return true;
}

/* ---- notes ---- */

static void noted(struct task *t);

static void on_noted(struct store_done *done)
{
    struct note *n = done->user;
    n->task.fn = noted;
    engine_written(n->jobs, &n->task);
}

static struct note *note_new(struct jobs *j, bool asks)
{
    struct note *n = calloc(1, sizeof *n);
    if (!n)
        abort();
    n->jobs = j;
    n->asks = asks;
    n->done = (struct store_done){.fn = on_noted, .user = n};
    n->in.polls = n->rows;
    n->next = j->polls->notes;
    j->polls->notes = n;
    return n;
}

static void note_free(struct note *n)
{
    struct note **at = &n->jobs->polls->notes;
    while (*at != n)
        at = &(*at)->next;
    *at = n->next;
    free(n);
}

static void note_add(struct note *n, struct poll *p, int64_t not_before)
{
    p->noted = not_before;
    n->polls[n->in.n] = p;
    n->rows[n->in.n++] = (struct job_poll){
        .job_id = p->job_id, .lease_until = p->lease_until, .not_before = not_before};
}

static void note_write(struct note *n)
{
    struct jobs *j = n->jobs;
    pthread_mutex_lock(&j->lock);
    j->store_writes++;
    pthread_mutex_unlock(&j->lock);
    store_note_polls(j->config.store, &n->in, NULL, &n->done);
}

/* ---- asking ---- */

static void finish(struct poll *p)
{
    p->jobs->polls->busy--;
    p->subscription->polls--;
}

/* It goes on: nearly always, and then nothing is left to do but to wait. */
static bool is_pending(struct poll *p, int64_t now)
{
    struct arm_lro_status s;
    arm_lro_read(p->kind, p->reply, now - p->accepted_at, &s);
    if (s.state != ARM_LRO_IN_PROGRESS || s.wait_ms < POLLS_WAIT_MIN_MS)
        return false;
    p->interval = s.wait_ms;
    return true;
}

static void answered(struct task *t)
{
    struct poll *p = CONTAINER_OF(t, struct poll, task);
    struct jobs *j = p->jobs;
    int64_t now = engine_now(j), mono = engine_mono(j);
    finish(p);
    atomic_fetch_sub(&j->in_flight, 1);
    if (was_woken(p))
        return;
    if (!is_pending(p, now)) {
        resume(p);
        return;
    }
    arm_reply_free(TAKE(p->reply));
    p->due = polls_together(mono + p->interval, mono);
    if (now + p->interval <= p->noted) {
        wait_until(p, p->due);
        return;
    }
    struct note *n = note_new(j, false);
    note_add(n, p, now + p->interval);
    note_write(n);
}

static void ask(struct poll *p)
{
    struct jobs *j = p->jobs;
    struct arm_request req = {.method = ARM_GET,
                              .subscription = p->subscription->id,
                              .target = p->url,
                              .correlation_id = p->job_id,
                              .traceparent = p->traceparent};
    p->task.fn = answered;
    atomic_fetch_add(&j->in_flight, 1);
    engine_send_poll(j, &req, &p->reply, &p->task);
}

static void go_on(const struct note *n, struct poll *p)
{
    if (n->asks && !n->done.err && !n->jobs->stopping && !is_woken(p)) {
        ask(p);
        return;
    }
    if (n->asks)
        finish(p);
    if (!was_woken(p))
        wait_until(p, n->asks ? engine_mono(n->jobs) + RETRY_MS : p->due);
}

static void noted(struct task *t)
{
    struct note *n = CONTAINER_OF(t, struct note, task);
    struct jobs *j = n->jobs;
    if (n->done.err) {
        if (atomic_exchange(&j->ready_flag, false))
            log_error("jobs: the store cannot write", LOG_S("error", n->done.info.detail));
        engine_due(j, 0); /* the claim finds out when it can again */
    }
    for (int i = 0; i < n->in.n; i++)
        go_on(n, n->polls[i]);
    arm_flush(j->config.arm);
    note_free(n);
}

/* False: it was just woken, and `woken` is on its way. */
static bool take(struct poll *p)
{
    pthread_mutex_lock(&p->jobs->lock);
    bool idle = !p->busy;
    p->busy = true;
    pthread_mutex_unlock(&p->jobs->lock);
    return idle;
}

/* One that is due: into the note, or why not. */
static void begin(struct poll *p, struct note *n, int64_t now, int64_t mono)
{
    struct jobs *j = p->jobs;
    struct subscription *s = p->subscription;
    int64_t held = arm_not_before(j->config.arm, s->id, ARM_OP_READ);
    heap_take(j->polls, p);
    if (!take(p))
        return;
    if (held > now) {
        wait_until(p, engine_turn(s, ARM_OP_READ, mono + (held - now)));
    } else if (s->polls >= j->config.per_subscription_max ||
               (p->until <= mono && j->n_runs >= j->config.in_flight_max)) {
        wait_until(p, mono + TURN_MS);
    } else if (p->until <= mono) {
        resume(p);
    } else {
        s->polls++;
        j->polls->busy++;
        int64_t slack = p->interval / 20 < TICK_MAX_MS ? p->interval / 20 : TICK_MAX_MS;
        note_add(n, p, now + p->interval + slack);
    }
}

static bool is_due(const struct polls *all, int64_t mono)
{
    return all->n_heap && all->heap[0]->due <= mono;
}

/* For many: one commit for each place that becomes free would be the dearest of all. */
static bool has_room(const struct polls *all, unsigned most)
{
    return all->busy <= most / 2;
}

int64_t polls_run(struct jobs *j, int64_t mono)
{
    struct polls *all = j->polls;
    unsigned most = j->config.in_flight_max;
    if (j->stopping)
        return INT64_MAX;
    while (is_due(all, mono) && has_room(all, most)) {
        struct note *n = note_new(j, true);
        int64_t now = engine_now(j);
        while (is_due(all, mono) && all->busy < most && n->in.n < BATCH_MAX)
            begin(all->heap[0], n, now, mono);
        if (n->in.n)
            note_write(n);
        else
            note_free(n);
    }
    return all->n_heap && has_room(all, most) ? all->heap[0]->due : INT64_MAX;
}

void polls_start(struct jobs *j)
{
    j->polls = calloc(1, sizeof *j->polls);
    if (!j->polls)
        abort();
}

void polls_free(struct jobs *j)
{
    struct polls *all = j->polls;
    for (unsigned i = 0; i < POLLS_BUCKETS; i++)
        while (all->by_id[i])
            forget(all->by_id[i]);
    while (all->notes)
        note_free(all->notes);
    free(all->heap);
    free(all);
}
