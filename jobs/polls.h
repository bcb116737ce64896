/*
 * Jobs that are kept in memory while they only wait for Azure; inside jobs/ only.
 *
 * A job whose operation Azure wants to be asked about in seconds or minutes stays leased, and of it
 * only what a poll needs is kept. A poll then costs one note in the store, of when the next may come,
 * that many jobs share the commit of; it is durable before the poll is sent, so that no restart asks
 * sooner than Azure said. Whatever else happens (another answer, a cancel request, the deadline)
 * makes a run of it again, under the same lease.
 *
 * Times are monotonic: a wall clock that jumps makes nothing due. Engine thread, unless noted.
 */
#ifndef JOBS_POLLS_H
#define JOBS_POLLS_H

#include "jobs/engine.h"

/* A wait shorter than this is not worth keeping. */
#define POLLS_WAIT_MIN_MS 2000
#define POLLS_BUCKETS     4096

struct poll;

struct polls {
    struct poll *by_id[POLLS_BUCKETS]; /* lock */
    struct poll **heap;                /* those that wait; the one due first at 0 */
    unsigned n_heap, room;
    unsigned kept;      /* all */
    unsigned busy;      /* those that are asked */
    struct note *notes; /* not yet durable */
};

/* One that the engine holds and that only waits. Strings are copied. */
struct poll_new {
    const struct job *job;
    const struct job_step *row; /* with poll_url */
    int64_t accepted_at;
    int64_t lease_until; /* as it is stored */
    int64_t due_at;      /* wall */
    int64_t now;
    const bool *canceled; /* lock: it was told since the lease was stored */
};

/* True: there is room for one more. */
bool polls_room(const struct jobs *j);
/* How long to lease a job that is kept, from `now` on (wall). */
int64_t polls_lease_until(const struct jobs *j, const struct job *job, int64_t now);
void polls_add(struct jobs *j, const struct poll_new *in);
/* Asks about all that are due; when the next is (monotonic), INT64_MAX: none. */
int64_t polls_run(struct jobs *j, int64_t mono);
/* Any thread, lock held: the job was changed from outside. False: it is not kept. */
bool polls_wake(struct jobs *j, const char *job_id);
/* Lock held: the job was claimed anew. */
void polls_supersede(struct jobs *j, const char *job_id);
void polls_start(struct jobs *j);
/* After the thread has ended. */
void polls_free(struct jobs *j);

/* Of two times at most a twentieth of the wait apart, and a second, one: so that jobs which wait long
 * come due together and one wake-up and one commit serve many. Never earlier than due_at. */
int64_t polls_together(int64_t due_at, int64_t now);

#endif
