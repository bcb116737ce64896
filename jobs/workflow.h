/*
 * Workflows: const tables of steps, and the two pure functions that walk one.
 *
 * step_build makes the next request of a step from the job's state; step_read takes ARM's answer,
 * puts what must not be forgotten into the step's row and says what comes next. The engine does the
 * rest: it commits the row before a request that writes and after every answer.
 *
 * A step that makes a resource always looks first (GET): 404 sends, one that carries our tag is
 * adopted or polled, a stranger's is refused. So a crash between request and answer needs no path
 * of its own: the next look tells what became of it.
 *
 * Pure: no I/O, no clock, no randomness; memory comes from the job's arena.
 */
#ifndef JOBS_WORKFLOW_H
#define JOBS_WORKFLOW_H

#include "arm/reply.h"
#include "core/buf.h"
#include "db/records.h"
#include "jobs/vm_plan.h"

#define KIND_VM_PUT    "virtualMachine.put"
#define KIND_VM_DELETE "virtualMachine.delete"

/* What of a VM that exists must be written again. */
enum vm_change {
    CHANGE_PORTS = 1 << 0,
    CHANGE_TAGS = 1 << 1,
    CHANGE_MONITORING = 1 << 2, /* from off to on */
};

/* The vars of a VM job. */
struct vm_vars {
    const char *owner; /* value of TAG_JOB: the job that made the VM */
    const char *name;  /* of the VM, and its place */
    const char *resource_group;
    int64_t enrollment_key; /* key id, so that a rotation does not change the body */
    bool new_vm;            /* this job made the registry row */
    int64_t changes;        /* enum vm_change */
    bool partial;           /* the undo had to leave something */
    int64_t looks_again;    /* times that the job began again since what it builds on was gone */
};
extern const struct schema vm_vars_schema;

/* A job's state as its steps see it. */
struct work {
    struct arena *arena;
    const struct job *job;
    const struct vm_plan *plan;
    const struct vm_secrets *secrets;
    struct vm_vars vars;
    const struct vm *vm;       /* registry row; NULL: none */
    const char *vm_id;         /* Azure's, once it is known */
    const char *image_version; /* the exact one, once Azure told it */
    const char *endpoint;      /* "https://host[:port]" of ARM */
    int64_t now;               /* wall ms */
    int64_t max_age_ms;        /* as in struct jobs_config */
    uint32_t random;           /* for jitter; new for each answer */
};

/* What one step must remember between answers, beside its row's own columns. */
struct step_vars {
    bool absent;         /* the first look found nothing: what is there later is ours */
    int64_t accepted_at; /* the operation that is polled */
    const char *final_url;
    int64_t failures;   /* transient ones in a row */
    int64_t capacity;   /* tries that found no capacity */
    int64_t backoff_ms; /* the last one */
    const char *report; /* await: the report that failed it before */
    bool kept;          /* undo or removal left the resource in place */
    bool failed;        /* undone because it failed, not because a later one did */
    /* below: not stored, gone after a restart */
    bool go;           /* looked: send now */
    bool fetch;        /* polled to the end: get the result */
    bool list;         /* looked: see whether the group is empty */
    const char *maker; /* looked: the job that says it made what is shared; NULL: none says so */
};
extern const struct schema step_vars_schema;

enum step_kind {
    STEP_MAKE,   /* a resource shall be there */
    STEP_REMOVE, /* a resource shall be gone */
    STEP_AWAIT,  /* something outside shall happen; no request */
};

enum step_undo {
    UNDO_DELETE,
    UNDO_UNLESS_NEW_VM, /* goes with the VM; deleted alone where the VM stays */
    UNDO_IF_EMPTY,      /* a resource group */
    UNDO_NOTHING,
};

enum next_kind {
    NEXT_BUILD, /* go on at once with step_build */
    NEXT_WAIT,  /* until due_at, or a wake-up */
    NEXT_DONE,
    NEXT_FAIL, /* error says why */
};

struct step_next {
    enum next_kind kind;
    int64_t due_at;
    const char *wake_key;  /* WAIT of a STEP_AWAIT */
    bool keep;             /* FAIL: nothing is undone */
    bool throttled;        /* WAIT: ARM asked for it */
    bool takes_turns;      /* WAIT: the subscription's bucket is empty */
    const char *reason;    /* code of the job's error; NULL: that of `error` */
    struct err_info error; /* FAIL; also the cause of a WAIT after a failure (code is not OK) */
};

struct step_def {
    const char *name;
    enum step_kind kind;
    bool (*applies)(const struct work *w); /* asked when the job is submitted; NULL: always */
    const char *(*id)(const struct vm_plan *p);
    const char *api;
    void (*body)(const struct vm_plan *p, const struct vm_secrets *s, struct buf *out);
    /* The body that changes an existing one with PATCH; NULL: PUT the whole again. */
    void (*patch)(const struct vm_plan *p, const struct vm_secrets *s, struct buf *out);
    int64_t stale_with;                      /* enum vm_change that makes an existing one stale */
    bool (*shares)(const struct vm_plan *p); /* a stranger's is used as it is; NULL: never */
    bool is_vm;                              /* its vmId is wanted; created with If-None-Match */
    enum step_undo undo;
    void (*await)(struct work *w, struct job_step *row, struct step_vars *v, struct step_next *out);
};

struct workflow {
    const char *kind;
    const struct step_def *steps;
    size_t n_steps;
    bool cancelable;
    /* JSON of the finished job's result. */
    void (*result)(const struct work *w, struct buf *out);
};

/* NULL: no such kind. */
const struct workflow *workflow_find(const char *kind);
/* NULL: no such step. */
const struct step_def *workflow_step(const struct workflow *f, const char *name);

enum step_verb { VERB_LOOK, VERB_SEND, VERB_POLL, VERB_FETCH, VERB_LIST };

struct step_request {
    enum step_verb verb; /* VERB_SEND is the one that writes: its intent is committed first */
    enum arm_method method;
    const char *target; /* path and query, or the poll URL */
    struct buf body;    /* buf_free */
    const char *if_none_match;
};

/* The next request of the step; `undo` takes back what it made. */
void step_build(const struct work *w, const struct step_def *d, const struct job_step *row,
                const struct step_vars *v, bool undo, struct step_request *out);
/* What the answer means. Changes row and v; w->vm_id where the VM told it. */
void step_read(struct work *w, const struct step_def *d, struct job_step *row, struct step_vars *v,
               bool undo, enum step_verb verb, const struct arm_reply *r, struct step_next *out);
/* The same for the most frequent answer to a poll: that the operation goes on. False: it is another one,
 * and nothing has changed. Needs no more of `w` than its arena and `now`. */
bool step_read_pending(struct work *w, struct job_step *row, struct step_vars *v,
                       const struct arm_reply *r, struct step_next *out);
/* True where the failed or canceled job must look whether this step made something. */
bool step_needs_undo(const struct work *w, const struct step_def *d, const struct job_step *row,
                     const struct step_vars *v);

/* ARM's error in the words of this API: for what is known to go wrong with Trusted Launch a stable
 * reason (else NULL stays) and a remedy; everything else as arm_outcome_err. */
enum err arm_error_read(const struct arm_outcome *o, struct err_info *e, const char **reason);

#endif
