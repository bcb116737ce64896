/*
 * Prefer: wait=N (RFC 7240 section 4.3): the reply waits up to N seconds for the end of a job, and
 * shows the job as it is then.
 */
#ifndef HANDLERS_WAIT_H
#define HANDLERS_WAIT_H

#include "handlers/call.h"

/* Seconds that a reply waits at most, whatever is preferred. */
#define WAIT_MAX_S 30

/*
 * Answers with `reply(c, job)`: at once where the caller does not wait or the job has ended, else
 * returns CALL_PENDING and answers later with the job as it is by then.
 */
typedef int wait_reply_fn(struct call *c, const struct job *job);
int wait_for_job(struct call *c, const struct job *job, wait_reply_fn *reply);

#endif
