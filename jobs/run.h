/*
 * A run: one claimed job while the engine works on it. Shared by run*.c only; engine thread.
 *
 * The functions go on in continuation style: each ends by sending a request, committing, or ending
 * the run, and names what comes after. Nothing may touch the run after such a call.
 */
#ifndef JOBS_RUN_H
#define JOBS_RUN_H

#include "jobs/engine.h"
#include "jobs/enrollment.h"

#define RUN_LATER_MS 50
#define RUN_PASSWORD "password" /* name of the sealed secret */
#define RUN_ROWS_MAX 8          /* rows that one move writes: all steps of a workflow */

struct run;
typedef void run_fn(struct run *r);

/* A claimed job while the engine works on it. At most one request or commit is under way. */
struct run {
    struct jobs *jobs;
    struct batch *batch;
    struct arena *arena;
    struct job job;
    const struct workflow *flow;
    struct work work;
    bool loaded; /* work is complete; a job that only polls has no more than arena, job and time */
    struct vm_secrets secrets;
    char token[ENROLLMENT_TOKEN_SIZE];
    struct enrollment_new enrollment; /* of that */

    struct job_step *row; /* the current step, its def and vars */
    const struct step_def *def;
    struct step_vars vars;
    enum step_verb verb;
    enum arm_op op; /* of the last request that was built */
    int rounds;     /* requests of this visit */

    struct task task;
    run_fn *then;
    struct arm_reply *reply;
    bool superseded; /* claimed again after its lease was over: its answers count no more */

    /* the commit under way */
    struct store_done done;
    struct job_advance advance;
    struct job_advanced advanced;
    struct job_step commit_rows[RUN_ROWS_MAX];
    struct event_new events[3];
    struct vm_write vm_writes[2];
    const char *wipes[1];
    run_fn *refused; /* instead of `then` where an `unless` of the move does not hold */

    struct run *later_next;
    struct run *hash_next; /* lock */
    bool canceled;         /* lock: told since the commit under way was queued */
    int64_t poked; /* lock: due time that others gave the job since its release was queued */
    struct run *all_next, *all_prev;
};

/* ---- run.c ---- */

/* Works on the job's first open step, or on its undoing. */
run_fn run_visit;
/* Completes the run's work. False: it cannot, and the job has ended. */
bool run_load(struct run *r);
/* Lets go of the job, which is due then (INT64_MAX: when the store says so), and frees the run. */
void run_end(struct run *r, int64_t due_at);

/* ---- run_commit.c: one move of the job ---- */

/* Begins a move that keeps the lease; run_add_* add to it; run_commit queues it and goes on with
 * `then` once it is durable, or with `refused` where others do not allow it (the caller sets that and the
 * move's `unless`). A store that cannot write is asked again until it can. */
struct job_advance *run_advance(struct run *r);
void run_add_row(struct run *r); /* the current step */
void run_add_step_event(struct run *r);
void run_add_state(struct run *r, enum job_state state);
/* The move's one change of the registry row; the caller sets members and set. */
struct vm_write *run_add_vm(struct run *r);
/* What the gateway made so far, and the vmId where it is news. */
void run_add_made(struct run *r);
void run_commit(struct run *r, run_fn *then);
/* The same, within RUN_LATER_MS and together with others: for what may be lost, since it would only
 * be asked again. */
void run_commit_later(struct run *r, run_fn *then);
/* JSON text in the run's arena. */
const char *run_encode(struct run *r, const struct schema *s, const void *in);
void run_task_then(struct task *t); /* calls r->then */

/* ---- run_end.c: what a step, and the job, came to ---- */

void run_load_row(struct run *r, int seq);
void run_apply(struct run *r, const struct step_next *n);
void run_step_failed(struct run *r, const struct step_next *n);
run_fn run_undo_next;
run_fn run_succeed;
/* Ends the job with the move that was begun. */
void run_finish(struct run *r, enum job_state state);
const char *run_error_text(struct run *r, const struct step_next *n);

/* ---- run_request.c ---- */

/* The next request of the current step. */
run_fn run_request;
/* What the answer in hand says. */
run_fn run_read;

#endif
