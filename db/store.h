/*
 * The store: what the gateway must not forget.
 *
 * Operations are named by intent and each is one transaction, audit row included. Nothing here is
 * SQLite's own: another database can stand behind the same operations.
 *
 * Writes are asynchronous:
 *
 *     void store_verb(struct store *s, const struct x *in, struct x_out *out, struct store_done *d);
 *
 * They queue the write and return. It is executed on the store's writer thread together with others,
 * and once it is durable, or has failed, d->fn(d) runs on that thread with d->err set (and d->info,
 * where that is not OK). `in`, all it points to, `out` and `d` must live until then; the store does not
 * touch them afterwards. A completion must be short and must not wait for another write; it may queue
 * one. Writes of one thread are executed in the order they were queued. Any thread may write.
 *
 * A write that failed has changed nothing, with one exception: after ERR_UNAVAILABLE from an I/O
 * error the write may turn out to be there when the store is opened again.
 *
 * Reads are synchronous, see what was committed before they began, and return records in the arena
 * they are given. Any thread may read; a read never waits for a writer.
 *
 * Errors of every operation: ERR_UNAVAILABLE; ERR_INTERNAL where the database refuses a statement
 * that it should not (a defect). Further ones are listed at each.
 */
#ifndef DB_STORE_H
#define DB_STORE_H

#include "core/arena.h"
#include "core/clock.h"
#include "core/err.h"
#include "db/records.h"

#include <pthread.h>

struct store;

/* Completion of one write. Set fn; `user` is yours. The rest is the store's until fn runs. */
struct store_done {
    void (*fn)(struct store_done *done);
    void *user;
    enum err err;
    struct err_info info; /* valid where err is not OK */

    struct store_done *next;
    const struct store_verb *verb;
    const void *in;
    void *out;
};

/*
 * For callers that may block (start-up, command line, tests; never the writer or a server thread):
 *
 *     struct store_waiter w;
 *     store_cancel_job(s, &in, &out, store_waiter_init(&w));
 *     enum err err = store_wait(&w, e);
 */
struct store_waiter {
    struct store_done done;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool finished;
};
struct store_done *store_waiter_init(struct store_waiter *w);
enum err store_wait(struct store_waiter *w, struct err_info *e) MUST_CHECK;

/* ---- life ---- */

struct store_options {
    const char *dir; /* must exist; holds tlgate.db, its WAL and tlgate.lock */
    int readers;     /* read connections; 0: 4 */
    /* Of each VM's reports the newest so many are kept, and of the older ones the first with each
     * verdict in each hour; 0: all, until they are pruned. Counts for the reports that come. */
    int64_t reports_per_vm;
    bool migrate; /* bring an older schema up to date (else ERR_CONFIG) */
};

/* ERR_CONFIG: another process holds the store, the schema is newer than this program (or older,
 * without migrate), the folder cannot be used or is on a network file system. ERR_UNAVAILABLE: the
 * file is no database or cannot be read. A fresh folder gets a database. The caller closes. */
enum err store_open(const struct store_options *o, struct store **out,
                    struct err_info *e) MUST_CHECK;
/* Executes what is queued, then closes. No call may be under way or follow. NULL is fine. */
void store_close(struct store *s);

/* Has fn called on the writer thread after each commit, once for each job it wrote, before the
 * completions of that commit: to wake the engine and those who watch the job. It must be short. One
 * watcher; fn NULL ends it, and is not running any more when this returns (call it from another
 * thread than the writer's). A claim or renewal is not reported. */
typedef void store_changed_fn(void *ctx, const char *job_id, enum job_state state, int64_t due_at);
void store_watch(struct store *s, store_changed_fn *fn, void *ctx);

/* A request is on its way that may bring a write (1), or is not any more (-1): the writer lets a commit
 * wait a moment for such, since one for many costs less. A write that comes alone never waits. */
void store_expect(struct store *s, int change);

/* OK where the last write was durable. After a full disk the store tries again by itself; after an
 * I/O error it takes no write until the process is started again. */
enum err store_health(struct store *s, struct err_info *e);
/* The schema of the open database; the newest this program knows. */
int store_schema_version(struct store *s);
int store_schema_newest(void);
/* A consistent copy (mode 0600, by rename) while the store is in use. Blocks. */
enum err store_backup(struct store *s, const char *file, struct err_info *e) MUST_CHECK;

struct store_stats {
    int64_t writes;  /* operations executed */
    int64_t commits; /* transactions; writes / commits is the mean batch */
    int64_t commit_failures;
    int64_t commit_us_total; /* BEGIN to the end of COMMIT */
    int64_t commit_us_max;
    int64_t batch_max;
    int64_t queued; /* waiting now */
    int64_t checkpoints;
    int64_t wal_bytes;
    int64_t db_bytes;
};
void store_stats_get(struct store *s, struct store_stats *out);

/* ---- submit, cancel, retry ---- */

/* principal, operation and key together name a request; the fingerprint tells whether it is the
 * same. */
struct idempotency {
    const char *principal_id;
    const char *operation;
    const char *key;
    const char *fingerprint;
    int64_t expires_at;
};

struct job_secret {
    const char *name;
    struct bytes sealed; /* ciphertext of the keyring */
};

struct enrollment_new {
    const char *hash;
    int64_t expires_at;
};

/* Which members of a vm_write count; the others keep their value (or are empty in a new row). */
enum vm_part {
    VM_SET_VM_ID =
        1 << 0, /* another vmId than before also drops pin, counters, claims and reports */
    VM_SET_STATE = 1 << 1,     /* state */
    VM_SET_SPEC = 1 << 2,      /* spec */
    VM_SET_MADE = 1 << 3,      /* made */
    VM_SET_EXPECT = 1 << 4,    /* secure_boot, vtpm, monitoring */
    VM_SET_STATUS = 1 << 5,    /* status, reasons */
    VM_SET_PLACE = 1 << 6,     /* name, location, origin */
    VM_DELETE = 1 << 7,        /* the row and its unused enrolments; all else is ignored */
    VM_ONLY_IF_THERE = 1 << 8, /* do nothing where there is no row (else it is made) */
    VM_SET_IMAGE = 1 << 9,     /* image */
};

/* A change of the registry within another transaction. */
struct vm_write {
    const char *resource_id;
    unsigned set; /* enum vm_part */
    const char *vm_id;
    const char *name;
    const char *location;
    const char *origin;
    const char *state;
    const char *spec;
    const char *made;
    bool secure_boot;
    bool vtpm;
    bool monitoring;
    enum vm_status status;
    const char *reasons;
    const char *image;
};

struct event_new {
    const char *type;
    const char *data; /* JSON */
};

struct job_new { /* whose first event says that it is queued */
    const char *id;
    const char *kind;
    const char *resource_id;
    const char *subscription_id; /* NULL: none; jobs without one take turns as one subscription */
    const char *spec;
    const char *vars;
    const char *body_hash;
    const char *const *steps; /* names */
    int n_steps;
    int64_t now;
    int64_t due_at; /* 0: now */
    int64_t deadline_at;
    bool shared;                           /* may run beside other work on the same resource */
    const struct idempotency *idempotency; /* NULL: no key */
    const struct job_secret *secrets;
    int n_secrets;
    const struct vm_write *vm; /* NULL: none; its job_id becomes this job */
    bool planned_on_vm;        /* the job holds only while the resource's row is... */
    const char *vm_etag;       /* ...this one, NULL: absent; else PRECONDITION_FAILED */
    bool vm_first;             /* also where the resource is busy */
    struct audit audit;        /* its principal becomes created_by */
};

enum submit_outcome {
    SUBMIT_CREATED,
    SUBMIT_REPLAYED, /* the same request was accepted before: its job */
    SUBMIT_SAME,     /* the resource is busy with a job of the same kind and body: that job */
};
struct job_submitted {
    enum submit_outcome outcome;
    char job_id[UUID_SIZE];
};

/* ERR_IDEMPOTENCY_KEY_REUSED; ERR_OPERATION_IN_PROGRESS with info.job_id: other work is under way. */
void store_submit_job(struct store *s, const struct job_new *in, struct job_submitted *out,
                      struct store_done *done);

/* The job of the same request, before it is submitted again; ERR_NOT_FOUND: the key is new;
 * ERR_IDEMPOTENCY_KEY_REUSED. A hint: store_submit_job decides. */
enum err store_find_replay(struct store *s, struct arena *a, const struct idempotency *i,
                           int64_t now, const char **job_id, struct err_info *e) MUST_CHECK;

struct job_request {
    const char *job_id;
    const char *scope; /* of the principal: a job outside it is ERR_NOT_FOUND; NULL: any */
    int64_t now;
    int64_t deadline_at;                   /* retry: the new one; 0 keeps the old */
    const struct idempotency *idempotency; /* NULL: no key; a replay changes nothing */
    struct event_new event;
    struct audit audit;
};

/* The job becomes canceling and due now; the engine undoes it. Nothing where it is canceling or
 * canceled. ERR_NOT_FOUND; ERR_INVALID_STATE: succeeded or failed. `out` is not used, pass NULL. */
void store_cancel_job(struct store *s, const struct job_request *in, void *out,
                      struct store_done *done);
/* A failed job becomes queued and due now, without error and result; steps that are not succeeded
 * or skipped become pending and keep their intent (so that the engine looks before it sends), and
 * the first of them is the current one. Its secrets are gone. ERR_NOT_FOUND, ERR_INVALID_STATE: not
 * failed, or a later job has worked on the resource, ERR_OPERATION_IN_PROGRESS. Pass NULL for `out`. */
void store_retry_job(struct store *s, const struct job_request *in, void *out,
                     struct store_done *done);

/* ---- the engine's operations ---- */

struct job_claim {
    int64_t now;
    int64_t lease_until;
    int limit;
    int per_subscription; /* at most so many of one subscription in this claim; 0: limit */
};
struct job_claimed {
    struct arena
        *arena; /* given by the caller, the writer's until the completion: holds the jobs */
    struct job *jobs;
    int n;
    int64_t
        next_due; /* of the jobs that were left, leased ones at the end of their lease; 0: none */
};

/* Due jobs whose lease is free or over: leased until lease_until, epoch raised, state as it was.
 * The subscriptions take turns. */
void store_claim_jobs(struct store *s, const struct job_claim *in, struct job_claimed *out,
                      struct store_done *done);

struct job_lease {
    const char *job_id;
    int64_t epoch;
    bool lost; /* out: the epoch is no longer the job's */
};
struct job_renew {
    struct job_lease *leases;
    int n;
    int64_t lease_until;
};
/* `out` is not used, pass NULL. */
void store_renew_jobs(struct store *s, const struct job_renew *in, void *out,
                      struct store_done *done);

/* Which members of a job_advance count. */
enum job_part {
    JOB_SET_STATE = 1 << 0,   /* state; a terminal one ends the lease and wipes all secrets */
    JOB_SET_STEP = 1 << 1,    /* current_step */
    JOB_SET_VARS = 1 << 2,    /* vars */
    JOB_SET_ATTEMPT = 1 << 3, /* attempt */
    JOB_SET_UNDOING = 1 << 4, /* undoing */
    JOB_SET_WAKE = 1 << 5,    /* wake_key, NULL: none */
    JOB_SET_RESULT = 1 << 6,  /* result */
    JOB_SET_ERROR = 1 << 7,   /* error */
    JOB_SET_LEASE = 1 << 8,   /* lease_until: keep working */
    JOB_RELEASE = 1 << 9,     /* give the lease back; due at due_at */
};

/*
 * One move of a job by the worker that claimed it. All of it is written, or nothing.
 *
 * wake_key: store_put_report with the same key makes the job due now. A wake-up or a cancel request
 * that comes while the job is leased is not lost: the release makes it due now. So commit the key
 * first, look for the report afterwards.
 *
 * While a job is canceling, running and waiting leave it canceling.
 */
struct job_advance {
    const char *job_id;
    int64_t epoch;
    int64_t now;
    unsigned set; /* enum job_part */
    enum job_state state;
    int current_step;
    const char *vars;
    int attempt;
    bool undoing;
    const char *wake_key;
    const char *result;
    const char *error;
    int64_t lease_until;
    int64_t not_before; /* with JOB_SET_LEASE: as store_note_polls; 0: nothing is noted */
    int64_t due_at;
    const struct job_step *steps; /* whole rows, found by seq; the name never changes */
    int n_steps;
    const struct event_new *events;
    int n_events;
    const struct vm_write *vms;
    int n_vms;
    const char *const *wipe; /* names of secrets */
    int n_wipe;
    const struct enrollment_new *enrollment; /* for the job's resource, unless it is known */
    const struct audit *audit;               /* NULL: none. Its job is this one */
    const char *unless_vm_below;      /* ARM id: not where another VM than the job's is there */
    const char *unless_taken_back_by; /* a job: not while it takes its first step back */
};
struct job_advanced {
    enum job_state state;
    bool cancel_requested;
    bool woken; /* since the claim */
    int64_t last_event;
};

/* ERR_LEASE_LOST: the epoch is stale or the job is over; ERR_INVALID_STATE: no such transition;
 * ERR_NOT_FOUND: no such job or step; ERR_OPERATION_IN_PROGRESS: an `unless`. `out` may be NULL. */
void store_advance_job(struct store *s, const struct job_advance *in, struct job_advanced *out,
                       struct store_done *done);

struct job_recover {
    int64_t now;
    int64_t latest; /* no poll may wait longer, whatever clock it was noted by */
};
struct job_recovered {
    int64_t jobs;
};
/* At the start of the one process: voids all leases of the former one; their jobs are due now, or when
 * store_note_polls said. */
void store_recover_jobs(struct store *s, const struct job_recover *in, struct job_recovered *out,
                        struct store_done *done);

/* For store_recover_jobs: such a job is due then and not at once. Pass NULL for `out`. */
void store_note_polls(struct store *s, const struct job_polls *in, void *out,
                      struct store_done *done);

/* 0: no job waits for anything. A leased job counts at the end of its lease. */
enum err store_next_due(struct store *s, int64_t *out, struct err_info *e) MUST_CHECK;
/* ERR_NOT_FOUND: there is none, or it was wiped. */
enum err store_get_secret(struct store *s, struct arena *a, const char *job_id, const char *name,
                          struct bytes *sealed, struct err_info *e) MUST_CHECK;

/* ---- reading jobs ---- */

/* With steps. `scope` of the principal, NULL: any. ERR_NOT_FOUND, also outside the scope. */
enum err store_get_job(struct store *s, struct arena *a, const char *id, const char *scope,
                       struct job *out, struct err_info *e) MUST_CHECK;
/* With steps. */
enum err store_list_jobs(struct store *s, struct arena *a, const struct job_filter *f,
                         struct job_list *out, struct err_info *e) MUST_CHECK;
/* Oldest first, ids greater than `after`. An unknown job has none. */
enum err store_list_events(struct store *s, struct arena *a, const char *job_id, int64_t after,
                           int limit, struct event_list *out, struct err_info *e) MUST_CHECK;
struct job_counts {
    int64_t by_state[JOB_STATES];
};
enum err store_count_jobs(struct store *s, struct job_counts *out, struct err_info *e) MUST_CHECK;

/* ---- VM registry ---- */

struct vm_put {
    struct vm_write vm;
    const char *if_etag; /* NULL: any */
    int64_t now;
    struct audit audit;
};
/* Outside a job. ERR_NOT_FOUND with VM_ONLY_IF_THERE or VM_DELETE, ERR_PRECONDITION_FAILED. Pass NULL for `out`. */
void store_put_vm(struct store *s, const struct vm_put *in, void *out, struct store_done *done);

/* ERR_NOT_FOUND. */
enum err store_get_vm(struct store *s, struct arena *a, const char *resource_id, struct vm *out,
                      struct err_info *e) MUST_CHECK;
/* Whether the row is in memory, and the row; false says nothing. */
bool store_peek_vm(struct store *s, struct arena *a, const char *resource_id, struct vm *out);
enum err store_get_vm_by_id(struct store *s, struct arena *a, const char *vm_id, struct vm *out,
                            struct err_info *e) MUST_CHECK;
/* A read would find what the one with this `reading` found: nothing that was acknowledged since belongs to
 * the row. False also where that is not known any more. Does not block. */
bool store_vm_stands(const struct store *s, uint64_t reading);
enum err store_list_vms(struct store *s, struct arena *a, const struct vm_filter *f,
                        struct vm_list *out, struct err_info *e) MUST_CHECK;
/* page, status and origin of the filter are not used. */
enum err store_count_vms(struct store *s, const struct vm_filter *f, struct vm_summary *out,
                         struct err_info *e) MUST_CHECK;
/* Every value of vm.certificates below scope and within, with how many VMs have it. */
enum err store_count_certificates(struct store *s, struct arena *a, const struct vm_filter *f,
                                  struct certificates_counts *out, struct err_info *e) MUST_CHECK;

/* ---- attestation ---- */

/*
 * What was decided about a report outside; what depends on rows is decided again within:
 *
 *   - the VM of report.vm_id must be registered, else ERR_NOT_ENROLLED;
 *   - report.ak_spki equal to the VM's pin: accepted. An enrolment that is still unused and is the
 *     VM's is consumed as well, any other is ignored;
 *   - otherwise vm_bind says, of enrollment_hash (an unused, unexpired enrolment of this VM) or, where
 *     that is none, of `proof`, which the caller has verified. ENROLLED pins the AK and uses the
 *     enrolment up; CHANGED, SHARED and HELD pin nothing, use up nothing and quarantine; UNPROVEN
 *     lets the report in (evidence that fails is a result), and NONE is ERR_NOT_ENROLLED;
 *   - by_pin, quarantined, clock_regressed: what the caller made of the row it read: the pinned AK signed
 *     it; the VM is in quarantine, or goes there by this report; its counters go back. Where the row says
 *     otherwise by now (a decision or another report came first), ERR_PRECONDITION_FAILED: decide again;
 *   - challenge_hash must be new, else ERR_CHALLENGE_USED; it has one challenge_expires_at ever;
 *     activation_hash, where the pinned AK did not sign, must be new too, else ERR_ACTIVATION_USED;
 *   - where log is empty, log_digest (if any) must be held for this VM, else
 * ERR_EVENT_LOG_REQUIRED. Of each VM the LOGS_PER_VM logs that were used last are held.
 *
 * An error consumes nothing. Status, reasons, claims and last report of the VM are written; the
 * counters only where they did not regress. Jobs with wake_key are made due.
 */
#define LOGS_PER_VM 16
struct report_new {
    struct report report; /* resource_id is the store's: it is filled from the VM */
    const char *challenge_hash;
    int64_t challenge_expires_at; /* the hash may be forgotten then */
    struct bytes log;             /* its digest is report.log_digest */
    const char *ak_name;
    const char *ak_profile;      /* under which it was judged; NULL: azureTrustedLaunch */
    const char *enrollment_hash; /* NULL: none */
    enum enroll_proof proof;     /* another one that is valid */
    const char *activation_hash; /* of a credential activation that the report brings; NULL: none */
    int64_t activation_expires_at; /* one for ever, as the challenge's */
    const char *ek_spki;           /* of the TPM that activated it; hex; NULL: none */
    bool pin_allowed; /* the AK is proven: pin it; else the enrolment only lets it in */
    bool by_pin;
    bool quarantined;
    const char *reason;        /* of a quarantine that begins: why; and why of the other VM, */
    const char *other_reason;  /* as text */
    const char *other_reasons; /* and as the JSON array of its `reasons` */
    bool clock_regressed;
    /* Signed by the pinned AK, but not for this challenge: the report is kept, the VM's row, its
     * clock included, stays as it is. */
    bool history_only;
    enum vm_status status;
    const char *reasons;
    const char *baseline;   /* "id@revision" that it was compared with; NULL: none */
    int64_t stale_at;       /* see struct vm */
    const char *vm_claims;  /* of the VM */
    bool vm_claims_counted; /* the report's counters belong to them */
    const char *wake_key;   /* NULL: none */
    /* vm.certificates, as this report's log has them; certificates_log NULL: they stay. */
    int64_t certificates;
    const char *certificates_state;
    const char *certificates_log;
    const struct audit *audit;
};
struct report_stored {
    bool enrolled; /* the AK was pinned by this report */
    int64_t woken; /* jobs */
};
void store_put_report(struct store *s, const struct report_new *in, struct report_stored *out,
                      struct store_done *done);

/* `scope` of the principal, NULL: any. ERR_NOT_FOUND. */
enum err store_get_report(struct store *s, struct arena *a, const char *id, const char *scope,
                          struct report *out, struct err_info *e) MUST_CHECK;
/* Newest first, key: report id. Without vmId, resource id, checks, claims, log and AK. */
enum err store_list_reports(struct store *s, struct arena *a, const char *vm_id,
                            const struct page *page, struct report_list *out,
                            struct err_info *e) MUST_CHECK;
/* The log as it was sent. ERR_NOT_FOUND. */
enum err store_get_log(struct store *s, struct arena *a, const char *vm_id, const char *digest,
                       struct bytes *out, struct err_info *e) MUST_CHECK;
/* The VM that pinned this AK. ERR_NOT_FOUND. */
enum err store_get_vm_by_ak(struct store *s, struct arena *a, const char *ak_spki, struct vm *out,
                            struct err_info *e) MUST_CHECK;

enum err store_get_vm_by_ek(struct store *s, struct arena *a, const char *ek_spki, struct vm *out,
                            struct err_info *e) MUST_CHECK;

/* ---- quarantine ---- */

enum requalify_decision {
    REQUALIFY_ACCEPT,  /* the AK that waits becomes the pin */
    REQUALIFY_REBUILD, /* the pin is dropped: the next valid enrolment proof pins */
    REQUALIFY_DISMISS, /* the pin stays, the AK that waits and tokens made on demand are forgotten */
};
struct requalify {
    const char *resource_id;
    enum requalify_decision decision;
    const char *ak_spki; /* of the AK that waits: it must be this one. NULL: any, not for ACCEPT */
    const char *reasons; /* JSON array: of the VM until its next report */
    int64_t now;
    struct audit audit;
};
/*
 * An operator's decision; ends the quarantine, and the VM is `unknown` and without a last report until its
 * next one: those before are not judged again. What is as decided already stays as it is, without an audit
 * row: *changed says which. ERR_NOT_FOUND; ERR_INVALID_STATE: ACCEPT, and no AK waits, or it is another
 * VM's pin; ERR_AK_MISMATCH: another AK waits.
 */
void store_requalify(struct store *s, const struct requalify *in, bool *changed,
                     struct store_done *done);

struct enrollment_put {
    const char *hash;
    const char *resource_id;
    int64_t expires_at;
    int64_t now;
    struct audit audit;
};
/* ERR_NOT_FOUND: no such VM. `out` is not used, pass NULL. */
void store_put_enrollment(struct store *s, const struct enrollment_put *in, void *out,
                          struct store_done *done);
/* ERR_NOT_FOUND. */
enum err store_get_enrollment(struct store *s, struct arena *a, const char *hash,
                              struct enrollment *out, struct err_info *e) MUST_CHECK;

/* ---- API keys, audit, retention ---- */

struct api_key_put {
    struct api_key key;
    struct audit audit;
};
/* `out` is not used, pass NULL (also below). */
void store_put_api_key(struct store *s, const struct api_key_put *in, void *out,
                       struct store_done *done);
struct api_key_revoke {
    const char *id;
    int64_t now;
    struct audit audit;
};
/* ERR_NOT_FOUND. A revoked key stays revoked. */
void store_revoke_api_key(struct store *s, const struct api_key_revoke *in, void *out,
                          struct store_done *done);
struct api_key_use {
    const char *id;
    int64_t at;
};
struct api_key_uses {
    const struct api_key_use *uses;
    int n;
};
/* Last use of many keys at once; unknown ones are skipped. Not audited. */
void store_touch_api_keys(struct store *s, const struct api_key_uses *in, void *out,
                          struct store_done *done);
/* ERR_NOT_FOUND. A revoked or expired key is returned: the caller looks. */
enum err store_get_api_key(struct store *s, struct arena *a, const char *id, struct api_key *out,
                           struct err_info *e) MUST_CHECK;
/* In the order they were made. */
enum err store_list_api_keys(struct store *s, struct arena *a, struct api_key_list *out,
                             struct err_info *e) MUST_CHECK;

/* What was done outside of the store (a key of the keyring). */
struct audit_note {
    int64_t now;
    struct audit audit;
};
void store_note_audit(struct store *s, const struct audit_note *in, void *out,
                      struct store_done *done);
struct audit_list {
    struct audit_entry *items;
    size_t n;
};
/* Oldest first, ids greater than `after`. */
enum err store_list_audit(struct store *s, struct arena *a, int64_t after, int limit,
                          struct audit_list *out, struct err_info *e) MUST_CHECK;

/* How long rows are kept, in ms; 0: for ever. */
struct store_prune {
    int64_t now;
    int64_t jobs_ms;    /* after their end; with steps and events */
    int64_t reports_ms; /* after they came; with event logs that none of them names */
    int64_t audit_ms;
    int limit; /* rows of each table in this transaction */
};
struct store_pruned {
    int64_t jobs, reports, logs, audit;
    int64_t idempotency, challenges, enrollments; /* expired ones go at once */
    bool more;                                    /* call again */
};
void store_prune(struct store *s, const struct store_prune *in, struct store_pruned *out,
                 struct store_done *done);

#endif
