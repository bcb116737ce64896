/*
 * Inside of the engine, shared by the files of jobs/ only.
 *
 * One engine thread owns all runs and queries. Completions of the store and of the ARM client come
 * on their threads and only push a task. What is marked "lock" is guarded by jobs.lock; everything
 * else belongs to the engine thread.
 */
#ifndef JOBS_ENGINE_H
#define JOBS_ENGINE_H

#include "arm/arm.h"
#include "jobs/jobs.h"
#include "jobs/workflow.h"

#include <stdatomic.h>

#define RUNS_BUCKETS  1024
#define WATCH_BUCKETS 1024

/* Something for the engine thread to do. */
struct task {
    void (*fn)(struct task *t);
    struct task *next;
    int64_t at; /* delayed: monotonic */
};

/* One claim's jobs share its arena. */
struct batch {
    struct arena *arena;
    int refs;
};

struct run;

struct subscription {
    char id[64];
    unsigned runs;
    unsigned polls;             /* of kept jobs, that are asked */
    int64_t last_turn[ARM_OPS]; /* monotonic: of the job that waits longest for its bucket */
    struct subscription *next;
};

struct query;

struct jobs {
    struct jobs_config config;
    char *public_url;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t cond;

    /* lock */
    struct task *ready;
    struct task **ready_end;
    struct run *by_id[RUNS_BUCKETS];
    int64_t next_due; /* wall ms; INT64_MAX: nothing is due. 0 at the start: look at once */
    atomic_bool stopping;
    bool working;     /* the thread is in a task */
    bool released;    /* jobs_stop is done with it */
    bool abandoned;   /* the thread is gone; late answers are dropped */
    int outstanding;  /* ARM requests */
    int quiet;        /* of these, whose answers may wait for others */
    int store_writes; /* store completions to come */

    struct {
        pthread_mutex_t lock;
        int64_t wall, mono; /* when engine_now was asked last */
    } now;

    pthread_mutex_t watch_lock;
    struct jobs_watch *watches[WATCH_BUCKETS];
    atomic_llong watch_until; /* the earliest until_ms; INT64_MAX: none */

    /* engine thread; n_runs and claim.busy are written with the lock */
    struct run *runs;
    unsigned n_runs;
    struct subscription *subscriptions;
    struct run *later; /* moves to commit together */
    struct task later_task;
    struct task *delayed;
    struct {
        bool busy;
        struct batch *batch;
        struct job_claim in;
        struct job_claimed out;
        struct store_done done;
        struct task task;
        int64_t again_at; /* monotonic: not sooner */
    } claim;
    struct query *queries;
    struct read_cache *cache;
    struct polls *polls;

    atomic_bool ready_flag;
    atomic_llong steps_done, jobs_succeeded, jobs_failed, jobs_canceled, arm_requests, arm_retries,
        arm_throttled, in_flight;
};

/* ---- engine.c ---- */

int64_t engine_now(struct jobs *j);        /* wall ms, never going back; any thread */
int64_t engine_mono(const struct jobs *j); /* monotonic ms */
/* Any thread. */
void engine_push(struct jobs *j, struct task *t);
void engine_push_locked(struct jobs *j, struct task *t); /* lock held */
/* A write of the store has ended: its task, and one write less is under way. */
void engine_written(struct jobs *j, struct task *t);
/* Engine thread: after ms. */
void engine_delay(struct jobs *j, struct task *t, int64_t ms);
/* Engine thread: forget a delayed task. */
void engine_undelay(struct jobs *j, struct task *t);
/* Any thread: a job is due at that wall time. */
void engine_due(struct jobs *j, int64_t due_at);
uint32_t engine_random(void);
/* Sends for the engine thread; `t` is pushed once *reply is set. Counts the request. */
struct arm_call {
    struct jobs *jobs;
    struct arm_reply **reply;
    struct task *task;
    bool quiet;
};
void engine_send(struct jobs *j, const struct arm_request *req, struct arm_reply **reply,
                 struct task *t);

/* The same for one of many polls, which go once arm_flush is called: the engine need not wake up for
 * each answer, but for the last, for one that ends the wait, or a little later. */
void engine_send_poll(struct jobs *j, struct arm_request *req, struct arm_reply **reply,
                      struct task *t);

/* ---- run.c ---- */

/* Made where it is new; lives as long as the engine. */
struct subscription *engine_subscription(struct jobs *j, const char *id);
/*
 * Jobs that wait for one bucket come back one after the other: together they would find it empty again
 * but for a few. Twice as fast as Azure fills a bucket (25 reads, 10 writes or deletes a second), so
 * that the queue is never what holds them up. Monotonic: when it is the turn of one that may go at `at`.
 */
int64_t engine_turn(struct subscription *s, enum arm_op op, int64_t at);
/* Takes over one reference to the batch. */
void run_start(struct jobs *j, struct batch *b, const struct job *job);
/* The same for a job that was kept: it is leased already. `reply` (NULL: none) is that of its poll. */
void run_resume(struct jobs *j, struct batch *b, const struct job *job, struct arm_reply *reply);
struct batch *batch_new(void); /* with one reference */
void batch_release(struct batch *b);
unsigned run_hash(const char *job_id);
/* Lock held: a job that the engine holds was given a due time, or is asked to stop; false where it
 * holds none. */
bool run_poke(struct jobs *j, const char *job_id, int64_t due_at, bool canceled);
/* After the thread has ended. */
void runs_free(struct jobs *j);

/* ---- submit.c ---- */

/* Submissions and the engine make the same row of a new VM. */
void spec_vm_write(struct arena *a, const struct vm_plan *p, const char *spec,
                   struct vm_write *out);

/* ---- watch.c ---- */

void watch_changed(struct jobs *j, const char *job_id, bool ended);
/* Fires what is over at `mono`; returns the next time, INT64_MAX: none. */
int64_t watch_expire(struct jobs *j, int64_t mono);

/* ---- query.c ---- */

void query_start(struct jobs *j);
void query_stop(struct jobs *j); /* completes all with ERR_UNAVAILABLE */

#endif
