/*
 * Inside of the SQLite store: connections, statements, the writer. Only db/ includes this.
 *
 * One read-write connection belongs to the writer thread, which also does every checkpoint: SQLite
 * up to 3.51.2 may corrupt a WAL that two connections write or checkpoint at once. The read
 * connections are query_only and never checkpoint.
 */
#ifndef DB_SQLITE_H
#define DB_SQLITE_H

#include "core/cleanup.h"
#include "db/sqlite_last.h"
#include "db/sqlite_vm_cache.h"
#include "db/store.h"

#include <sqlite3.h>
#include <stdatomic.h>

/* ---- how the writer writes its WAL (sqlite_wal.c) ---- */

#define WRITER_VFS "tlgate-writer" /* once it was set up; needs synchronous=FULL */
void db_wal_setup(void);           /* any number of times */
/* Told in the writer's thread when a sync of its WAL has ended, well or not, and nobody sees yet what was
 * written before it. */
void db_wal_watch(sqlite3 *writer, void (*synced)(void *ctx), void *ctx);

/* ---- connections and statements (sqlite_conn.c) ---- */

#define STATEMENTS_MAX 256 /* power of two */

struct statement {
    const char *sql; /* the text itself is the key: literals live for ever, others are interned */
    sqlite3_stmt *st;
};

struct conn {
    sqlite3 *db;
    int rc; /* first failure since conn_begin; SQLITE_OK: none */
    struct statement statements[STATEMENTS_MAX];
    unsigned n_statements;
    char *interned[64];
    unsigned n_interned;
    struct conn *next; /* in the pool of readers */
};

enum err conn_open(const char *file, bool writer, struct conn **out, struct err_info *e) MUST_CHECK;
void conn_close(struct conn *c); /* NULL is fine */
/* Statements without parameters and rows: any text, or one that is prepared once (see conn_query).
 */
enum err conn_exec(struct conn *c, const char *sql, struct err_info *e);
enum err conn_run(struct conn *c, const char *sql, struct err_info *e);
/* What a failed statement means to the caller; c->rc is kept. */
enum err conn_err(struct conn *c, int rc, struct err_info *e);
/* The file or the disk below it is broken: nothing more can be written by this process. */
bool conn_rc_fatal(int rc);

/*
 * One use of a prepared statement: parameters in their order, then steps, then columns in their
 * order.
 *
 *     AUTO(query) struct query q = conn_query(c, "SELECT a FROM t WHERE b = $1");
 *     q_text(&q, b);
 *     if (q_step(&q)) a = q_get_text(&q, arena);
 *     return q_end(&q, e);
 */
struct query {
    struct conn *conn;
    sqlite3_stmt *st;
    int param;
    int column;
    int rc;
    bool single_use;
};

/* `sql` must live for ever and is found by its address. */
struct query conn_query(struct conn *c, const char *sql);
/* `sql` may be composed; it is interned. */
struct query conn_query_text(struct conn *c, const char *sql);
void q_text(struct query *q, const char *v); /* NULL is null; must live until q_end */
void q_int(struct query *q, int64_t v);
void q_blob(struct query *q, struct bytes v);
/* Two parameters, for "c = CASE WHEN $1 = 1 THEN $2 ELSE c END". */
void q_set_text(struct query *q, bool set, const char *v);
void q_set_int(struct query *q, bool set, int64_t v);
bool q_step(struct query *q); /* true: a row */
enum err q_end(struct query *q,
               struct err_info *e); /* what happened; may be called once or never */
enum err q_run(struct query *q, struct err_info *e); /* a statement without rows */
const char *q_get_text(struct query *q, struct arena *a);
int64_t q_get_int(struct query *q);
struct bytes q_get_blob(struct query *q, struct arena *a);
void auto_query(struct query *q);

/* Lower-case ASCII: the key of an ARM id, a vmId, a scope. NULL stays NULL. */
const char *db_key_of(struct arena *a, const char *text);

/* ---- store (sqlite_open.c) ---- */

enum store_state { STORE_GOOD, STORE_FULL, STORE_FAILED };

struct store {
    char *file;
    int lock_fd;
    int schema;

    pthread_mutex_t pool_lock;
    pthread_cond_t pool_free;
    struct conn *pool;
    int n_readers;
    int n_free;
    struct vm_cache *vms;

    pthread_t thread;
    pthread_mutex_t queue_lock;
    pthread_cond_t queue_filled;
    struct store_done *head;
    struct store_done **tail;
    int64_t arrivals; /* writes queued so far */
    bool closing;
    atomic_int expected;        /* requests on their way */
    atomic_int_least64_t crowd; /* writes that the last batch had, and that had come by its end */
    atomic_bool gathering;      /* the writer waits for more */

    pthread_mutex_t watch_lock;
    store_changed_fn *watch;
    void *watch_ctx;

    /* the writer's own */
    struct conn *conn;
    struct arena *scratch;
    struct last_reports *last;
    int64_t wal_pages;
    int64_t wal_tried; /* pages at the last attempt to checkpoint */
    char *claim_after; /* subscription that was served last */
    int64_t reports_per_vm;

    atomic_int state; /* enum store_state */
    atomic_int_least64_t writes, commits, commit_failures, commit_us_total, commit_us_max,
        batch_max, queued, checkpoints, wal_bytes;
};

/* A read connection within a read transaction: one snapshot. */
struct reader {
    struct store *store;
    struct conn *conn;
};
struct reader db_reader_take(struct store *s);
void auto_reader(struct reader *r);

/* ---- writer (sqlite_writer.c) ---- */

/* What a verb works with. The arena is wiped after the batch. */
struct write {
    struct store *store;
    struct conn *conn;
    struct arena *arena;
    struct changed *changed; /* jobs to report after the commit, newest first */
    bool works;              /* something was written that is not upkeep */
};

struct changed {
    struct changed *next;
    const char *job_id;
    enum job_state state;
    int64_t due_at;
};

/* One kind of write: an error takes back what it did. It may be run anew in the same batch, and must
 * come to the same then. */
struct store_verb {
    const char *name;
    enum err (*run)(struct write *w, const void *in, void *out, struct err_info *e);
    bool upkeep; /* comes with time, not with a request or a job */
};

void writer_queue(struct store *s, const struct store_verb *verb, const void *in, void *out,
                  struct store_done *done);
enum err writer_start(struct store *s, struct err_info *e) MUST_CHECK;
void writer_stop(struct store *s);
void db_write_changed(struct write *w, const char *job_id, enum job_state state, int64_t due_at);

/* ---- schema (sqlite_schema.c) ---- */

/* sqlite_migrations.c: in the order of their numbers, from 1; NULL ends them */
extern const char *const db_migrations[];
enum err db_schema_ensure(struct conn *c, bool migrate, int *version,
                          struct err_info *e) MUST_CHECK;

/* ---- shared by the verbs ---- */

/* sqlite_audit.c; job_id may be NULL */
enum err db_audit_add(struct write *w, const struct audit *a, int64_t now, const char *job_id,
                      struct err_info *e) MUST_CHECK;
/* sqlite_vms.c */
enum err db_vm_apply(struct write *w, const struct vm_write *v, int64_t now, const char *job_id,
                     struct err_info *e) MUST_CHECK;
/* What a change of a VM's row depends on. */
struct vm_row {
    bool there;
    const char *vm_key;
    const char *etag; /* NULL: it is not there */
};
enum err db_vm_find(struct write *w, const char *resource_key, struct vm_row *row,
                    struct err_info *e) MUST_CHECK;
/* The same; PRECONDITION_FAILED unless the row has this ETag; NULL: unless there is none. */
enum err db_vm_is(struct write *w, const char *resource_key, const char *etag, struct vm_row *row,
                  struct err_info *e) MUST_CHECK;
/* db_vm_apply to the row that was found in this transaction. */
enum err db_vm_apply_to(struct write *w, const struct vm_row *row, const struct vm_write *v,
                        int64_t now, const char *job_id, struct err_info *e) MUST_CHECK;
enum vm_by { VM_BY_RESOURCE, VM_BY_ID, VM_BY_AK, VM_BY_EK };
enum err db_vm_read(struct conn *c, struct arena *a, enum vm_by by, const char *value,
                    struct vm *out, struct err_info *e) MUST_CHECK;
/* What was asked for. As long as the job that makes a VM has not ended, it is the job's spec, and stands there
 * only. */
#define VM_SPEC_OF_JOB ""
#define VM_SPEC                                                                                    \
    "CASE WHEN vm.spec = '' THEN (SELECT job.spec FROM job WHERE job.id = vm.job_id)"              \
    " ELSE vm.spec END"
#define VM_COLUMNS                                                                                 \
    "resource_id, vm_id, name, location, state, origin, job_id, " VM_SPEC                          \
    ", made, secure_boot, vtpm,"                                                                   \
    " monitoring, created_at, updated_at, status, reasons, claims, last_report_id, last_verdict,"  \
    " last_report_at, ak_spki, ak_name, ak_profile, ek_spki, enrolled_by, enrolled_at,"            \
    " reset_count, restart_count, clock_ms, quarantined_at, quarantine_reason, quarantine_other,"  \
    " quarantine_report_id, candidate_ak_spki, candidate_ak_name, candidate_ak_profile,"           \
    " candidate_ek_spki, candidate_proof, certificates, certificates_state, certificates_log, "    \
    "etag, image, policy, baseline, stale_at, said_counted, said_reset, said_restart, said_clock," \
    " vm.id, " VM_ECHO_COLUMNS
#define VM_ECHO_COLUMNS                                                                            \
    "echo_n, echo_report_id, echo_at, echo_reset, echo_restart, echo_clock, echo_stale_at"
/* What they are read from (sqlite_vm_reports.c). */
#define VM_TABLES "vm LEFT JOIN vm_echo ON echo_vm = vm.id"
/* Rows of the index vm_alarm: few among many, and asked for all day. A query says it in these words. */
#define VM_ALARM "status <> 'healthy' AND status <> 'unknown'"
/* Columns of a quarantine, as in a row that never had one. */
#define VM_NO_QUARANTINE                                                                           \
    " quarantined_at = 0, quarantine_reason = NULL, quarantine_other = NULL,"                      \
    " quarantine_report_id = NULL, candidate_ak_spki = NULL, candidate_ak_name = NULL,"            \
    " candidate_ak_profile = NULL, candidate_ek_spki = NULL, candidate_proof = NULL"
/* What reports have said of the VM: with it goes all that could be judged again. The reports stay. */
#define VM_NO_EVIDENCE                                                                             \
    " claims = NULL, said_counted = 0, last_report_id = NULL, last_verdict = NULL,"                \
    " last_report_at = 0, policy = NULL, baseline = NULL, stale_at = 0, certificates = 0,"         \
    " certificates_state = 'unknown', certificates_log = NULL"
/* The pin and all that counts with it. */
#define VM_NO_PIN                                                                                  \
    " ak_spki = NULL, ak_name = NULL, ak_profile = NULL, ek_spki = NULL, enrolled_by = NULL,"      \
    " enrolled_at = 0, reset_count = 0, restart_count = 0, clock_ms = 0"
void db_vm_read_row(struct query *q, struct arena *a, struct vm *vm);
const char *db_etag_new(struct arena *a);
/* The ETag of a row whose last `echoes` reports said the same. */
const char *db_vm_etag(struct arena *a, const char *etag, int64_t echoes);
/* sqlite_vm_reports.c: what a report leaves in the VM's row; `vm` is the row before it. */
struct vm_report {
    const struct vm *vm;
    const char *vm_key;
    enum vm_binding binding;
    const struct report_new *in;
};
enum err db_vm_report(struct write *w, const struct vm_report *r, struct err_info *e) MUST_CHECK;
/* All of the last report stands in the row itself from here on. The caller gives it a new ETag. */
enum err db_vm_settle(struct write *w, const char *resource_key, struct err_info *e) MUST_CHECK;
/* Nothing of a last report stands beside the row. */
enum err db_vm_forget_echo(struct write *w, const char *vm_key, struct err_info *e) MUST_CHECK;
/* The newest row stays whatever becomes of it: the ids of those to come rise from it. */
#define AUDIT_NOT_LAST "id < (SELECT max(id) FROM audit)"
/* sqlite_jobs.c: the jobs that wait for this key become due */
enum err db_wake_waiting(struct write *w, const char *key, int64_t now, int64_t *woken,
                         struct err_info *e) MUST_CHECK;
/* `id` is the next of the job; the caller counts it in job.last_event. */
enum err db_event_add(struct write *w, const char *job_id, int64_t id, const struct event_new *ev,
                      int64_t now, struct err_info *e) MUST_CHECK;
/* sqlite_polls.c: see store_note_polls; forget: of a job that has ended */
enum err db_poll_note(struct write *w, const struct job_poll *p, struct err_info *e) MUST_CHECK;
enum err db_polls_forget(struct write *w, const char *job_id, struct err_info *e) MUST_CHECK;
/* A job's resource as a key, as its indexes have it: the row is narrower without it. */
#define JOB_RESOURCE "lower(resource_id)"
/* '' of a job that keeps others away from its resource, so that it has one of them at most. */
#define JOB_BEGUN                                                                                  \
    "state <> 'queued'" /* rows of the index job_state; a query says it in these words */
#define JOB_BUSY "CASE WHEN terminal = 0 AND shared = 0 THEN '' ELSE id END"
/* Its subscription, which mostly is the key's text. */
#define JOB_SUBSCRIPTION                                                                           \
    "CASE WHEN subscription_id = '' AND subscription_key <> '-' THEN subscription_key"             \
    " ELSE subscription_id END"
/* sqlite_jobs_read.c */
enum err db_job_read(struct conn *c, struct arena *a, const char *id, struct job *out,
                     struct err_info *e) MUST_CHECK;
/* The earliest due job of the first subscription after `after`; false: no more, or *err. */
bool db_due_next(struct conn *c, struct arena *a, const char *after, const char **subscription,
                 int64_t *due_at, enum err *err, struct err_info *e);
#define LOG_USE_GRAIN_MS INT64_C(3600000) /* last_used_at of a log is written at most so often */
/* sqlite_history.c: reports as rows */
struct history_row {
    const char *vm_key;
    const char *vm_id; /* as the VM's row has them */
    const char *resource_id;
    const char *ak_spki; /* in lower case */
    const char *proof;   /* NULL: the pinned AK signed it */
    int64_t audit_id;    /* goes with it; 0: none */
    int64_t log_used_at; /* as the log's row has it; 0: no log */
    const struct report *report;
};
/* Adds one, and deletes the one that is too many for its VM (store_options.reports_per_vm). */
enum err db_history_add(struct write *w, const struct history_row *row,
                        struct err_info *e) MUST_CHECK;
/* Of the `limit` oldest reports those received before. Their audit rows have a time of their own. */
enum err db_history_prune(struct write *w, int64_t before, int limit, int64_t *count,
                          struct err_info *e) MUST_CHECK;
/* sqlite_reports.c */
enum err db_enrollment_add(struct write *w, const char *hash, const char *resource_id,
                           const char *job_id, int64_t now, int64_t expires_at,
                           struct err_info *e) MUST_CHECK;

/* sqlite_quarantine.c: *elsewhere says whether another VM pins the AK or the EK of the report */
enum err db_quarantine_elsewhere(struct write *w, const struct vm *vm, const struct report_new *in,
                                 bool *elsewhere, struct err_info *e) MUST_CHECK;
/* The VM, and where the binding is SHARED the other ones, go into quarantine or stay there. */
enum err db_quarantine_set(struct write *w, const struct vm *vm, const struct report_new *in,
                           enum vm_binding binding, const char *proof,
                           struct err_info *e) MUST_CHECK;

/*
 * A SELECT whose conditions depend on the request. Values are bound in the order they were added.
 *
 *     struct filter f = filter_of("SELECT id FROM job WHERE 1 = 1");
 *     filter_text(&f, " AND kind = ", kind);           (nothing where kind is NULL)
 *     filter_int(&f, " ORDER BY id DESC LIMIT ", 100);
 *     AUTO(query) struct query q = filter_query(&f, conn);
 */
#define FILTER_MAX 16
struct filter {
    char sql[2000];
    size_t len;
    int n;
    struct {
        const char *text; /* NULL: number */
        int64_t number;
    } values[FILTER_MAX];
};
struct filter filter_of(const char *select);
void filter_add(struct filter *f, const char *sql);
void filter_text(struct filter *f, const char *condition, const char *value);
void filter_int(struct filter *f, const char *condition, int64_t value);
/* The column (an ARM id in lower case) lies below the scope; NULL and "/" are no condition. One range of
 * an index. */
void filter_below(struct filter *f, struct arena *a, const char *column, const char *scope);
/* The column is the scope or lies below it. */
void filter_scope(struct filter *f, struct arena *a, const char *column, const char *scope);
struct query filter_query(const struct filter *f, struct conn *c);

#endif
