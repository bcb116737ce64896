#include "core/fault.h"
#include "db/sqlite.h"

#define BATCH_MAX 256
#define CHECKPOINT_PAGES                                                                           \
    4000                         /* PASSIVE whenever the WAL grew by so many: a page that is written
                                    again and again is copied once for all of them */
#define RESTART_PAGES      16384 /* 64 MiB: readers kept the WAL from starting over; wait for them */
#define IDLE_MS            1000  /* without a write: TRUNCATE */
#define PROBE_MS           500   /* after a full disk: try again */
#define CHECKPOINT_WAIT_MS 20    /* for readers: writes wait meanwhile */
#define FRAME_BYTES        4120  /* page and frame header, SQLite file format 4.1 */
#define GATHER_SLICE_US    1000  /* without a write among those that will come: do not wait on */
#define CROWD_MIN          16   /* so many writes at once: most of them are awaited the next time */
#define GATHER_MAX_US      5000 /* nor longer than this */

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void raise_max(atomic_int_least64_t *max, int64_t v)
{
    if (v > atomic_load(max)) /* the writer is the only one that writes it */
        atomic_store(max, v);
}

/* ---- completions ---- */

static void finish(struct store_done *d)
{
    d->fn(d); /* may free d */
}

static void finish_all(struct store *s, struct store_done *batch)
{
    while (batch) {
        struct store_done *d = batch;
        batch = d->next;
        atomic_fetch_sub(&s->queued, 1);
        finish(d);
    }
}

static void fail_all(struct store_done *batch, enum err code, const char *why)
{
    for (struct store_done *d = batch; d; d = d->next)
        d->err = err_set(&d->info, code, "%s", why);
}

static struct changed *oldest_first(struct changed *c)
{
    struct changed *reversed = NULL;
    while (c) {
        struct changed *next = c->next;
        c->next = reversed;
        reversed = c;
        c = next;
    }
    return reversed;
}

static void tell_watcher(struct store *s, struct changed *newest)
{
    const struct changed *c = oldest_first(newest);
    pthread_mutex_lock(&s->watch_lock);
    for (; c && s->watch; c = c->next)
        s->watch(s->watch_ctx, c->job_id, c->state, c->due_at);
    pthread_mutex_unlock(&s->watch_lock);
}

void db_write_changed(struct write *w, const char *job_id, enum job_state state, int64_t due_at)
{
    struct changed *c = ARENA_NEW(w->arena, struct changed);
    *c = (struct changed){w->changed, arena_strdup(w->arena, job_id), state, due_at};
    w->changed = c;
}

/* ---- one batch ---- */

/* After such a failure the transaction is gone, or nothing more can be trusted in it. */
static bool batch_broken(const struct conn *c)
{
    return conn_rc_fatal(c->rc) || (c->rc & 0xff) == SQLITE_FULL || sqlite3_get_autocommit(c->db);
}

/* What a batch comes to. */
enum outcome {
    BATCH_DONE,
    BATCH_LOST,  /* nothing of it can be kept */
    BATCH_AGAIN, /* a write left something behind when it failed */
};

/*
 * A savepoint costs a copy of every page that is written under it, and hardly a write fails after it
 * has changed something: so the first attempt is without, and where one does, the batch is rolled
 * back and run again with a savepoint for each write. A verb therefore may run twice, from its
 * input to its output.
 */
static enum outcome run_one(struct write *w, struct store_done *d, bool guarded)
{
    struct conn *c = w->conn;
    struct changed *told = w->changed;
    struct vm_offer *offers = vm_cache_offers(w->store->vms);
    sqlite3_int64 before = sqlite3_total_changes64(c->db);
    c->rc = SQLITE_OK;
    if (guarded)
        d->info = (struct err_info){0}; /* the first attempt may have filled it */
    d->err = guarded ? conn_run(c, "SAVEPOINT one", &d->info) : OK;
    if (!d->err)
        d->err = d->verb->run(w, d->in, d->out, &d->info);
    if (batch_broken(c))
        return BATCH_LOST;
    bool wrote = sqlite3_total_changes64(c->db) != before;
    if (d->err) {
        if (wrote && !guarded)
            return BATCH_AGAIN;
        w->changed = told;
        vm_cache_take_back(w->store->vms, offers);
        if (wrote)
            last_reports_forget_all(w->store->last);
        c->rc = SQLITE_OK;
        if (guarded)
            conn_run(c, "ROLLBACK TO one", NULL);
    } else {
        w->works |= wrote && !d->verb->upkeep;
    }
    if (guarded)
        conn_run(c, "RELEASE one", NULL);
    return batch_broken(c) ? BATCH_LOST : BATCH_DONE;
}

static enum outcome run_all(struct write *w, struct store_done *batch, bool guarded)
{
    enum outcome outcome = BATCH_DONE;
    w->changed = NULL;
    w->works = false;
    vm_cache_take_back(w->store->vms, NULL);
    if (guarded)
        last_reports_forget_all(w->store->last);
    if (conn_run(w->conn, "BEGIN IMMEDIATE", NULL))
        return BATCH_LOST;
    for (struct store_done *d = batch; d && outcome == BATCH_DONE; d = d->next)
        outcome = run_one(w, d, guarded);
    return outcome;
}

/* Passed at every commit, and again where it is of a request or a job and not of upkeep: those are
 * as many in every run of the same work. */
static bool fault_before(const struct write *w)
{
    return FAULT_POINT("store.commit.before") || (w->works && FAULT_POINT("store.work.before"));
}

static bool fault_after(const struct write *w)
{
    return FAULT_POINT("store.commit.after") || (w->works && FAULT_POINT("store.work.after"));
}

static enum err commit(const struct write *w)
{
    struct conn *c = w->conn;
    c->rc = SQLITE_OK;
    enum err err = OK;
    bool fails = fault_before(w);
    if (!fails) {
        err = conn_run(c, "COMMIT", NULL);
        fails = !err && fault_after(w);
    }
    if (fails) {
        c->rc = SQLITE_IOERR_FSYNC;
        return ERR_UNAVAILABLE;
    }
    return err;
}

/*
 * A full disk rolls back and is tried again. After an I/O error it is not known what reached the
 * disk, and the kernel reports a failed write-back only once (fsync(2)): no second attempt can be
 * believed, so nothing is written until the process has started again and recovered from the WAL.
 */
static void note_failure(struct store *s)
{
    int rc = s->conn->rc;
    atomic_fetch_add(&s->commit_failures, 1);
    if (!sqlite3_get_autocommit(s->conn->db))
        sqlite3_exec(s->conn->db, "ROLLBACK", NULL, NULL, NULL);
    last_reports_forget_all(s->last);
    if (conn_rc_fatal(rc))
        atomic_store(&s->state, STORE_FAILED);
    else if ((rc & 0xff) == SQLITE_FULL)
        atomic_store(&s->state, STORE_FULL);
}

static const char *failure_text(const struct store *s)
{
    switch ((enum store_state)atomic_load(&s->state)) {
    case STORE_FULL:
        return "the store has no space left";
    case STORE_FAILED:
        return "the store had an I/O error";
    case STORE_GOOD:
        break;
    }
    return "the store could not commit";
}

static bool execute(struct store *s, struct write *w, struct store_done *batch)
{
    s->conn->rc = SQLITE_OK;
    if (FAULT_POINT("store.batch.begin"))
        s->conn->rc = SQLITE_IOERR;
    if (s->conn->rc)
        return false;
    enum outcome outcome = run_all(w, batch, false);
    if (outcome == BATCH_AGAIN)
        outcome = conn_run(s->conn, "ROLLBACK", NULL) ? BATCH_LOST : run_all(w, batch, true);
    if (outcome != BATCH_DONE)
        return false;
    vm_cache_commit_begin(s->vms);
    enum err err = commit(w);
    vm_cache_commit_end(s->vms, !err);
    return !err;
}

static void run_batch(struct store *s, struct store_done *batch, int64_t n)
{
    if (atomic_load(&s->state) == STORE_FAILED) {
        fail_all(batch, ERR_UNAVAILABLE, failure_text(s));
        finish_all(s, batch);
        return;
    }
    struct write w = {.store = s, .conn = s->conn, .arena = s->scratch};
    int64_t start = now_us();
    if (execute(s, &w, batch)) {
        int64_t took = now_us() - start;
        atomic_store(&s->state, STORE_GOOD);
        atomic_fetch_add(&s->commits, 1);
        atomic_fetch_add(&s->writes, n);
        atomic_fetch_add(&s->commit_us_total, took);
        raise_max(&s->commit_us_max, took);
        raise_max(&s->batch_max, n);
        tell_watcher(s, w.changed);
    } else {
        note_failure(s);
        fail_all(batch, ERR_UNAVAILABLE, failure_text(s));
    }
    finish_all(s, batch);
    (void)FAULT_POINT("store.complete.after");
    arena_reset(s->scratch);
}

/* ---- checkpoints ---- */

static int on_wal(void *ctx, sqlite3 *db, const char *name, int pages)
{
    struct store *s = ctx;
    if (pages < s->wal_pages)
        s->wal_tried = 0; /* it started over */
    s->wal_pages = pages;
    atomic_store(&s->wal_bytes, (int64_t)pages * FRAME_BYTES);
    return SQLITE_OK;
}

static void checkpoint(struct store *s, int mode)
{
    int rc = FAULT_POINT("store.checkpoint.before") ? SQLITE_IOERR : SQLITE_OK;
    int pages = 0;
    sqlite3_busy_timeout(s->conn->db, CHECKPOINT_WAIT_MS);
    if (rc == SQLITE_OK)
        rc = sqlite3_wal_checkpoint_v2(s->conn->db, NULL, mode, &pages, NULL);
    sqlite3_busy_timeout(s->conn->db, 1000);
    (void)FAULT_POINT("store.checkpoint.after");
    if (conn_rc_fatal(rc))
        atomic_store(&s->state, STORE_FAILED);
    if (rc != SQLITE_OK)
        return;
    atomic_fetch_add(&s->checkpoints, 1);
    if (mode == SQLITE_CHECKPOINT_TRUNCATE) {
        s->wal_pages = 0;
        atomic_store(&s->wal_bytes, 0);
    }
}

static void checkpoint_if_grown(struct store *s)
{
    if (s->wal_pages - s->wal_tried < CHECKPOINT_PAGES || atomic_load(&s->state) == STORE_FAILED)
        return;
    s->wal_tried = s->wal_pages;
    checkpoint(s, s->wal_pages < RESTART_PAGES ? SQLITE_CHECKPOINT_PASSIVE
                                               : SQLITE_CHECKPOINT_RESTART);
}

/* ---- the thread ---- */

/* True where the writer has something to do without being asked, and after how long. */
static bool idle_work(const struct store *s, int64_t *wait_ms)
{
    enum store_state state = (enum store_state)atomic_load(&s->state);
    *wait_ms = state == STORE_FULL ? PROBE_MS : IDLE_MS;
    return state == STORE_FULL || (state == STORE_GOOD && s->wal_pages > 0);
}

static struct timespec after_us(int64_t us)
{
    int64_t at = now_us() + us;
    return (struct timespec){.tv_sec = at / 1000000, .tv_nsec = at % 1000000 * 1000};
}

/* Called with queue_lock held. False: nothing came in time. */
static bool wait_for_work(struct store *s)
{
    int64_t ms = 0;
    bool timed = idle_work(s, &ms);
    const struct timespec until = after_us(ms * 1000);
    int rc = 0;
    while (!s->head && !s->closing && !rc)
        rc = timed ? pthread_cond_timedwait(&s->queue_filled, &s->queue_lock, &until)
                   : pthread_cond_wait(&s->queue_filled, &s->queue_lock);
    return s->head || s->closing;
}

/* Clients that got their replies with one commit come back together, while those that came meanwhile are here
 * already: without waiting for most of them they would split into two crowds for ever, each with commits
 * of its own. */
static int64_t awaited(struct store *s)
{
    int64_t crowd = atomic_load(&s->crowd);
    return crowd < CROWD_MIN ? 0 : crowd - crowd / 4;
}

static bool more_will_come(struct store *s)
{
    int64_t queued = atomic_load(&s->queued);
    return (atomic_load(&s->expected) > 0 || queued < awaited(s)) && !s->closing &&
           queued < BATCH_MAX;
}

/* Called with queue_lock held: for as long as one after the other of those that will come does. */
static void gather(struct store *s)
{
    int64_t end = now_us() + GATHER_MAX_US, seen;
    atomic_store(&s->gathering, true);
    do {
        const struct timespec until = after_us(GATHER_SLICE_US);
        seen = s->arrivals;
        while (more_will_come(s) &&
               pthread_cond_timedwait(&s->queue_filled, &s->queue_lock, &until) == 0)
            ;
    } while (more_will_come(s) && s->arrivals != seen && now_us() < end);
    atomic_store(&s->gathering, false);
}

/* Called with queue_lock held. */
static struct store_done *take_batch(struct store *s, int64_t *n)
{
    struct store_done *first = s->head;
    struct store_done **end = &s->head;
    for (*n = 0; *end && *n < BATCH_MAX; ++*n)
        end = &(*end)->next;
    s->head = *end;
    *end = NULL;
    if (!s->head)
        s->tail = &s->head;
    return first;
}

static enum err run_probe(struct write *w, const void *in, void *out, struct err_info *e)
{
    return conn_run(w->conn, "UPDATE meta SET value = value WHERE name = 'probe'", e);
}

static void ignore(struct store_done *d)
{
}

static void idle(struct store *s)
{
    if (atomic_load(&s->state) == STORE_FULL) {
        static const struct store_verb probe = {.name = "probe", .run = run_probe, .upkeep = true};
        struct store_done d = {.fn = ignore, .verb = &probe};
        atomic_fetch_add(&s->queued, 1);
        run_batch(s, &d, 1);
        return;
    }
    checkpoint(s, SQLITE_CHECKPOINT_TRUNCATE);
}

static void *writer_main(void *arg)
{
    struct store *s = arg;
    for (;;) {
        pthread_mutex_lock(&s->queue_lock);
        bool work = wait_for_work(s);
        if (s->head && more_will_come(s))
            gather(s);
        int64_t n = 0;
        struct store_done *batch = take_batch(s, &n);
        bool end = s->closing && !batch;
        pthread_mutex_unlock(&s->queue_lock);
        if (end)
            break;
        if (!work) {
            idle(s);
            continue;
        }
        run_batch(s, batch, n);
        atomic_store(&s->crowd, n + atomic_load(&s->queued));
        checkpoint_if_grown(s);
    }
    if (atomic_load(&s->state) == STORE_GOOD)
        checkpoint(s, SQLITE_CHECKPOINT_TRUNCATE);
    return NULL;
}

void writer_queue(struct store *s, const struct store_verb *verb, const void *in, void *out,
                  struct store_done *done)
{
    done->err = OK;
    done->next = NULL;
    done->verb = verb;
    done->in = in;
    done->out = out;
    atomic_fetch_add(&s->queued, 1);
    pthread_mutex_lock(&s->queue_lock);
    bool was_empty = !s->head;
    *s->tail = done;
    s->tail = &done->next;
    s->arrivals++;
    bool enough = atomic_load(&s->gathering) && !more_will_come(s);
    pthread_mutex_unlock(&s->queue_lock);
    if (was_empty || enough)
        pthread_cond_signal(&s->queue_filled);
}

void store_expect(struct store *s, int change)
{
    bool last = atomic_fetch_add(&s->expected, change) + change == 0;
    if (!last || !atomic_load(&s->gathering))
        return;
    pthread_mutex_lock(&s->queue_lock);
    pthread_cond_signal(&s->queue_filled);
    pthread_mutex_unlock(&s->queue_lock);
}

static void commit_synced(void *ctx)
{
    const struct store *s = ctx;
    vm_cache_commit_synced(s->vms);
}

enum err writer_start(struct store *s, struct err_info *e)
{
    sqlite3_wal_hook(s->conn->db, on_wal, s);
    vm_cache_watch(s->vms, s->conn->db);
    db_wal_watch(s->conn->db, commit_synced, s);
    s->wal_pages = 1; /* what a former process left is checkpointed when idle */
    if (pthread_create(&s->thread, NULL, writer_main, s))
        return err_set(e, ERR_UNAVAILABLE, "no thread for the store");
    pthread_setname_np(s->thread, "store");
    return OK;
}

void writer_stop(struct store *s)
{
    pthread_mutex_lock(&s->queue_lock);
    s->closing = true;
    pthread_mutex_unlock(&s->queue_lock);
    pthread_cond_signal(&s->queue_filled);
    pthread_join(s->thread, NULL);
}

/* ---- waiting for one write ---- */

static void waiter_done(struct store_done *d)
{
    struct store_waiter *w = CONTAINER_OF(d, struct store_waiter, done);
    pthread_mutex_lock(&w->lock);
    w->finished = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->lock);
}

struct store_done *store_waiter_init(struct store_waiter *w)
{
    memset(w, 0, sizeof *w);
    w->done.fn = waiter_done;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->cond, NULL);
    return &w->done;
}

enum err store_wait(struct store_waiter *w, struct err_info *e)
{
    pthread_mutex_lock(&w->lock);
    while (!w->finished)
        pthread_cond_wait(&w->cond, &w->lock);
    pthread_mutex_unlock(&w->lock);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->cond);
    if (w->done.err && e)
        *e = w->done.info;
    return w->done.err;
}
