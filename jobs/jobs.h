/*
 * jobs: the only place that decides to call Azure.
 *
 * A submission writes a job with its steps in one transaction; one engine thread walks them. Before
 * every ARM request the intent is committed, right after it the answer, so that a kill at any
 * instruction is a resume. A job that waits is a row with a due time, not a thread.
 *
 * A query (preflight) is a set of live reads that a request needs before it is answered: bounded by
 * query_timeout_ms (ERR_UPSTREAM_TIMEOUT), one flight for equal reads, cached with its observedAt.
 *
 * Threads: everything here may be called from any thread and never blocks on the network.
 * Completions (store_done, query->done, watch->fn) run on a thread of the store or of the engine:
 * they hand over (call_resume, stream_wake) and return.
 */
#ifndef JOBS_JOBS_H
#define JOBS_JOBS_H

#include "core/arena.h"
#include "core/clock.h"
#include "core/err.h"
#include "db/store.h"

#include <stdbool.h>
#include <stdint.h>

struct arm;
struct keyring;
struct vm_spec; /* openapi/schemas.h */
struct vm_plan; /* jobs/vm_plan.h */
struct jobs_preflight;

struct jobs;

struct jobs_config {
    struct store *store;
    struct arm *arm;
    const struct keyring *keyring;
    const struct clock *clock;
    const char *public_url;        /* what a guest is told in userData; no trailing slash */
    int64_t job_deadline_ms;       /* total time of one job; 0: 2 h */
    int64_t lease_ms;              /* of a job, from its last commit; 0: 5 min */
    int64_t query_timeout_ms;      /* 0: 10 s */
    int64_t max_age_ms;            /* of the report that a VM's status rests on; 0: any */
    int64_t query_cache_ms;        /* age up to which a read answer is used again; 0: 60 s */
    unsigned in_flight_max;        /* ARM requests of the engine at once; 0: 128 */
    unsigned per_subscription_max; /* of those for one subscription; 0: 32 */
};

/* Starts the engine thread and becomes the store's watcher; leases of a former process are void from here on. The config's parts
 * must outlive the jobs; strings are copied. */
enum err jobs_start(const struct jobs_config *config, struct jobs **out,
                    struct err_info *e) MUST_CHECK;
/* Claims nothing new, waits up to drain_ms for requests on the wire so that their answers are
 * committed, ends the thread and frees. Unfinished jobs are resumed by the next start. NULL is
 * fine. */
void jobs_stop(struct jobs *j, int64_t drain_ms);
/* Look for due jobs now: something outside (a report) made one due. */
void jobs_wake(struct jobs *j);
/* wake_key of a report of this VM (struct report_new): wakes the job that waits for it. */
const char *jobs_wake_key(struct arena *a, const char *vm_id);
/* The engine has started and its last visit to the store succeeded. */
bool jobs_ready(const struct jobs *j);

/* ---- submissions ---- */

/* Who asks, how the request can be told from its repetition, and of which state of the VM it speaks
 * (ERR_PRECONDITION_FAILED where that is over; a repetition gets its job all the same). Strings live until
 * done. */
struct jobs_origin {
    const struct principal *who;
    const char *operation;       /* operationId */
    const char *idempotency_key; /* NULL where absent */
    const char *request_id;
    const char *traceparent;
    const char *peer;
    const char *if_etag; /* of the VM as it was read; NULL: any */
    bool only_new;       /* only where there is no VM of that name */
};

/* True where the VM, NULL: none, is what the origin speaks of. */
bool jobs_origin_holds(const struct jobs_origin *o, const struct vm *vm);

/* Where a VM is or shall be: the path parameters as they came. */
struct jobs_vm_ref {
    const char *subscription;
    const char *resource_group;
    const char *name;
};

/* What a submission came to, in the arena of the call. */
struct jobs_submitted {
    struct job job;
    bool replayed; /* the same Idempotency-Key or an identical job that is under way */
};

/*
 * All submissions: `out` is filled in `a` before `done` runs with
 *   OK                            out->job is the job, new or the one that already does this
 *   ERR_OPERATION_IN_PROGRESS     info.job_id holds the resource
 *   ERR_IDEMPOTENCY_KEY_REUSED    the key belongs to another request
 *   ERR_NOT_FOUND                 (delete) no VM of this gateway has that name
 *   ERR_UNAVAILABLE               the store cannot write
 * `a`, `out`, `done` and all input live until then. What a preflight of the same VM and spec in `a`
 * has found, `judged`, is not looked for again; NULL: there was none.
 */
void jobs_submit_vm_put(struct jobs *j, struct arena *a, const struct jobs_origin *origin,
                        const struct jobs_vm_ref *vm, const struct vm_spec *spec,
                        const struct jobs_preflight *judged, struct jobs_submitted *out,
                        struct store_done *done);
/* `plan`: digest of the only plan that may run, else ERR_PLAN_STALE; NULL: any. */
void jobs_submit_vm_delete(struct jobs *j, struct arena *a, const struct jobs_origin *origin,
                           const struct jobs_vm_ref *vm, const char *plan,
                           struct jobs_submitted *out, struct store_done *done);
/*
 * The answer to a repeated request, read before its preflight: *found says whether this
 * Idempotency-Key was seen; *out is then the job of that time. ERR_IDEMPOTENCY_KEY_REUSED where it
 * was another request. `spec` is NULL for a delete.
 */
enum err jobs_find_replay(struct jobs *j, struct arena *a, const struct jobs_origin *origin,
                          const struct jobs_vm_ref *vm, const struct vm_spec *spec, bool *found,
                          struct job *out, struct err_info *e) MUST_CHECK;

/* Asks a job to stop and undo what it made; ERR_INVALID_STATE where it has ended or cannot be
 * canceled, OK (again) where that was asked before. */
void jobs_cancel(struct jobs *j, struct arena *a, const struct jobs_origin *origin, const char *id,
                 struct jobs_submitted *out, struct store_done *done);
/* Runs a failed job again from its first step that is not done. ERR_INVALID_STATE where
 * it has not ended so, or a later job has worked on the resource; ERR_OPERATION_IN_PROGRESS where
 * another job holds it by now. */
void jobs_retry(struct jobs *j, struct arena *a, const struct jobs_origin *origin, const char *id,
                struct jobs_submitted *out, struct store_done *done);

/* ---- queries ---- */

enum finding_severity { FINDING_WARNING, FINDING_ERROR };

struct finding {
    const char *code; /* snake_case, stable */
    enum finding_severity severity;
    const char *pointer; /* RFC 6901 in fragment form, "#" for the whole body */
    const char *reason;
    const char *remedy;
};

struct planned_call {
    const char *method;
    const char *url;     /* path and query on the ARM host */
    const char *summary; /* JSON text: the body with secrets replaced, or NULL */
};

struct jobs_preflight {
    /* in; all of it lives until done */
    struct arena *arena; /* belongs to the query until done */
    struct jobs_vm_ref vm;
    const struct vm_spec *spec;             /* NULL: only asks whether the VM is somebody else's */
    bool wants_calls;                       /* calls and plan_digest are filled */
    bool wants_row;                         /* row is not guessed */
    void (*done)(struct jobs_preflight *p); /* exactly once, maybe before jobs_query_* returns */
    void *ctx;

    /* out, in `arena` */
    enum err err;          /* OK, ERR_UPSTREAM_TIMEOUT, ERR_UPSTREAM*, ERR_UNAVAILABLE */
    struct err_info *info; /* of `err` or `refusal`; NULL where there is none, or findings say it */
    struct finding *findings;
    size_t n_findings;
    struct planned_call *calls;
    size_t n_calls;
    char plan_digest[65]; /* hex SHA-256 over the calls */
    int64_t observed_at;  /* the oldest read that was used, ms; now where nothing was read */
    enum err refusal; /* what the call without dryRun is refused with: OK, ERR_PREFLIGHT_FAILED or
                         ERR_NOT_MANAGED */
    const struct vm_plan *plan;
    const struct vm *row; /* of the registry, as it was then; NULL: none */
    bool guessed;         /* none: was not looked up, since most VMs that are put are new */
};

void jobs_query_preflight_vm(struct jobs *j, struct jobs_preflight *p);
/* True: answers that are kept let it pass, and `p` is filled; `done` is not called. Otherwise it has
 * to be asked. So it has where `guessed` and jobs_submit_vm_put ends with ERR_PRECONDITION_FAILED. */
bool jobs_preflight_kept(struct jobs *j, struct jobs_preflight *p) MUST_CHECK;

/* What the deletion of the VM would remove: calls, plan_digest and observed_at. Asks nobody: what has changed
 * in Azure since it was made is seen when it is removed. ERR_NOT_FOUND: not in the registry. */
enum err jobs_plan_vm_delete(struct jobs *j, struct jobs_preflight *p,
                             struct err_info *e) MUST_CHECK;

/* ---- watching ---- */

enum watch_event {
    WATCH_CHANGED, /* new events or another state */
    WATCH_ENDED,   /* terminal state */
    WATCH_TIMEOUT, /* until_ms has come */
};

/* The caller's memory, linked in until jobs_unwatch (or, with `once`, until fn was called). */
struct jobs_watch {
    const char *job_id;
    bool once;        /* one call only: WATCH_ENDED or WATCH_TIMEOUT */
    int64_t until_ms; /* monotonic; 0: no limit */
    void (*fn)(struct jobs_watch *w, enum watch_event event);
    void *ctx;
    struct jobs_watch *prev, *next; /* the engine's own */
    bool linked;
};

/* fn is also called, at once and on this thread, where the job has already ended. Do not touch *w
 * after a jobs_watch with `once`: fn may have run and freed it. */
void jobs_watch(struct jobs *j, struct jobs_watch *w);
/* After this, fn neither runs nor will; not to be called from fn. True where it was still linked.
 */
bool jobs_unwatch(struct jobs *j, struct jobs_watch *w);

/* ---- numbers ---- */

struct jobs_counts {
    int64_t steps_done;     /* since the start */
    int64_t jobs_succeeded; /* since the start */
    int64_t jobs_failed;
    int64_t jobs_canceled;
    int64_t arm_requests;
    int64_t arm_retries;
    int64_t arm_throttled;
    int64_t in_flight; /* now */
};

void jobs_counts(const struct jobs *j, struct jobs_counts *out);

#endif
