/*
 * Live reads of ARM that queries share: equal reads are one flight, and an answer is used again for
 * as long as its kind allows (preflight_life).
 *
 * The engine thread makes, answers and frees them. Only reads_find_kept may be called on any thread;
 * what it looks at is written under the cache's lock.
 */
#ifndef JOBS_READS_H
#define JOBS_READS_H

#include "jobs/engine.h"
#include "jobs/preflight.h"

enum read_state { READ_WAITING, READ_DONE, READ_FAILED };

/* One GET that any number of queries wait for. */
struct read {
    struct jobs *jobs;
    struct task task;
    char *subscription;
    char *target;
    uint64_t hash;  /* of the target */
    uint64_t place; /* what READ_VM has in common with READ_VMS; 0: another kind */
    enum read_kind kind;
    enum read_state state;
    bool exists;
    json_t *body;
    int64_t observed_at; /* wall */
    int64_t kept_until;  /* wall */
    struct err_info error;
    enum err err;
    int pages;
    int retries;
    int waiters;
    bool listed; /* in the cache: new queries may join */
    struct arm_reply *reply;
    struct read *next;
};

struct read_cache {
    pthread_mutex_t lock;
    struct read *reads;
    int n;
};

/* Joins the flight of this target, the kept answer (unless `fresh`), or starts a new flight; the
 * caller is one of its waiters until it lets go. */
struct read *reads_join(struct jobs *j, const struct preflight_facts *f, enum read_kind kind,
                        const char *target, bool fresh);
void reads_leave(struct read *r);
/* A VM of this place is being asked for, or the list of them is under way or kept. */
bool reads_crowded(struct jobs *j, const struct preflight_facts *f);
/* Any thread. False: no such answer is kept. *body is a reference of the caller's. */
bool reads_find_kept(struct jobs *j, const char *target, struct read_answer *out,
                     int64_t *observed_at);

void reads_start(struct jobs *j);
void reads_stop(struct jobs *j);

/* query.c: some read has settled. */
void query_read_settled(struct jobs *j);

#endif
