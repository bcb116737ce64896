/* Reading of one answer, shared by step*.c only. Pure. */
#ifndef JOBS_STEP_H
#define JOBS_STEP_H

#include "jobs/workflow.h"

#define FAILURES_MAX     8 /* transient failures in a row */
#define CAPACITY_MAX     3 /* tries of what rarely helps */
#define CONFLICT_WAIT_MS 5000

/* What an answer is read into; spares the functions below a dozen parameters. */
struct reading {
    struct work *w;
    const struct step_def *d;
    struct job_step *row;
    struct step_vars *v;
    bool removing;
    bool undo;
    const struct arm_reply *reply;
    struct arm_outcome outcome;
    json_t *body; /* NULL where there is none */
    struct step_next *next;
};

/* ---- step.c ---- */

const char *step_target_of(const struct work *w, const struct step_def *d, const char *below);
/* The existing resource differs from the plan. */
bool step_is_stale(const struct work *w, const struct step_def *d);
bool step_succeeded(const struct reading *r);
void step_learn_vm_id(struct reading *r);

/* What comes next, into r->next. */
void step_next_build(struct reading *r);
void step_next_wait(struct reading *r, int64_t ms);
/* So long, or as long as the answer told, whichever is longer. */
void step_next_wait_told(struct reading *r, int64_t ms);
void step_next_done(struct reading *r);
void step_next_done_kept(struct reading *r, const char *why);
void step_next_fail(struct reading *r); /* with the outcome's error, unless one is set */
void step_next_retry(struct reading *r, int64_t failures_max);
/* The classes that mean the same wherever they come. */
void step_next_by_class(struct reading *r, int64_t failures_max);

/* ---- step_look.c ---- */

void step_read_look_make(struct reading *r);
void step_read_look_remove(struct reading *r);
void step_read_list(struct reading *r);

#endif
