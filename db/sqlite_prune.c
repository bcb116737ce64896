#include "db/sqlite.h"

/*
 * Retention. Each statement takes at most `limit` rows, oldest first along an index, so that a prune
 * never holds the writer for long. Ids of reports, of audit rows and of idempotency keys rise with time, and so do
 * the hashes of enrolments: only the oldest few are looked at.
 */
struct pruning {
    struct write *w;
    const struct store_prune *in;
    struct store_pruned *out;
    struct err_info *e;
};

static enum err delete_before(struct pruning *p, const char *sql, int64_t before, int64_t *count)
{
    AUTO(query) struct query q = conn_query(p->w->conn, sql);
    q_int(&q, before);
    q_int(&q, p->in->limit);
    enum err err = q_run(&q, p->e);
    *count = sqlite3_changes(p->w->conn->db);
    if (*count == p->in->limit)
        p->out->more = true;
    return err;
}

static enum err prune_jobs(struct pruning *p)
{
    static const char sql[] = "DELETE FROM job WHERE id IN (SELECT id FROM job WHERE terminal = 1"
                              " AND ended_at < $1 ORDER BY ended_at LIMIT $2)";
    if (!p->in->jobs_ms)
        return OK;
    return delete_before(p, sql, p->in->now - p->in->jobs_ms, &p->out->jobs);
}

static enum err prune_reports(struct pruning *p)
{
    static const char logs[] =
        "DELETE FROM log WHERE (vm_key, digest) IN (SELECT vm_key, digest FROM log"
        " WHERE last_used_at < $1 ORDER BY last_used_at LIMIT $2)";
    if (!p->in->reports_ms)
        return OK;
    int64_t before = p->in->now - p->in->reports_ms;
    enum err err = db_history_prune(p->w, before, p->in->limit, &p->out->reports, p->e);
    if (p->out->reports == p->in->limit)
        p->out->more = true;
    if (!err)
        err = delete_before(p, logs, before - LOG_USE_GRAIN_MS, &p->out->logs);
    if (p->out->logs)
        last_reports_forget_all(p->w->store->last);
    return err;
}

static enum err prune_audit(struct pruning *p)
{
    static const char sql[] = "DELETE FROM audit WHERE at < $1 AND " AUDIT_NOT_LAST
                              " AND id IN (SELECT id FROM audit ORDER BY id LIMIT $2)";
    if (!p->in->audit_ms)
        return OK;
    return delete_before(p, sql, p->in->now - p->in->audit_ms, &p->out->audit);
}

/* A report whose challenge was good is committed a little later, and must find it used. */
#define CHALLENGE_GRACE_MS 60000

static enum err prune_expired(struct pruning *p)
{
    static const char idempotency[] =
        "DELETE FROM idempotency WHERE expires_at < $1"
        " AND seq IN (SELECT seq FROM idempotency ORDER BY seq LIMIT $2)";
    static const char challenges[] =
        "DELETE FROM challenge_used WHERE (expires_at, hash) IN (SELECT expires_at, hash"
        " FROM challenge_used WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)";
    static const char enrollments[] =
        "DELETE FROM enrollment WHERE expires_at < $1"
        " AND hash IN (SELECT hash FROM enrollment ORDER BY hash LIMIT $2)";
    int64_t now = p->in->now;
    enum err err;
    if ((err = delete_before(p, idempotency, now, &p->out->idempotency)) ||
        (err = delete_before(p, challenges, now - CHALLENGE_GRACE_MS, &p->out->challenges)))
        return err;
    return delete_before(p, enrollments, now, &p->out->enrollments);
}

static enum err run_prune(struct write *w, const void *in, void *out, struct err_info *e)
{
    struct pruning p = {w, in, out, e};
    *p.out = (struct store_pruned){0};
    enum err err;
    if ((err = prune_jobs(&p)) || (err = prune_reports(&p)) || (err = prune_audit(&p)))
        return err;
    return prune_expired(&p);
}

void store_prune(struct store *s, const struct store_prune *in, struct store_pruned *out,
                 struct store_done *done)
{
    static const struct store_verb verb = {.name = "prune", .run = run_prune, .upkeep = true};
    writer_queue(s, &verb, in, out, done);
}
