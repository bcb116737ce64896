#include "db/sqlite.h"

/* ---- claim ---- */

struct claiming {
    struct write *w;
    const struct job_claim *in;
    struct job_claimed *out;
    struct err_info *e;
};

static enum err lease_one(struct claiming *c, const char *id)
{
    {
        AUTO(query)
        struct query q = conn_query(
            c->w->conn, "UPDATE job SET epoch = epoch + 1, lease_until = $1, due_at = $1,"
                        " wakes_seen = wakes WHERE id = $2");
        q_int(&q, c->in->lease_until);
        q_text(&q, id);
        enum err err = q_run(&q, c->e);
        if (err)
            return err;
    }
    return db_job_read(c->w->conn, c->out->arena, id, &c->out->jobs[c->out->n++], c->e);
}

/* Ids first: leasing moves them in the index that is being read. */
static enum err lease_some(struct claiming *c, const char *subscription, int limit)
{
    const char **ids = arena_array(c->w->arena, (size_t)limit, sizeof *ids);
    int n = 0;
    {
        AUTO(query)
        struct query q =
            conn_query(c->w->conn, "SELECT id FROM job WHERE terminal = 0 AND subscription_key = $1"
                                   " AND due_at <= $2 ORDER BY due_at LIMIT $3");
        q_text(&q, subscription);
        q_int(&q, c->in->now);
        q_int(&q, limit);
        while (q_step(&q))
            ids[n++] = q_get_text(&q, c->w->arena);
        enum err err = q_end(&q, c->e);
        if (err)
            return err;
    }
    enum err err = OK;
    for (int i = 0; i < n && !err; i++)
        err = lease_one(c, ids[i]);
    return err;
}

/* What is left of this subscription. A leased job's due_at is the end of its lease. */
static enum err left_due(struct claiming *c, const char *subscription, int64_t *due_at)
{
    AUTO(query)
    struct query q =
        conn_query(c->w->conn, "SELECT due_at FROM job WHERE terminal = 0 AND subscription_key = $1"
                               " ORDER BY due_at LIMIT 1");
    q_text(&q, subscription);
    if (q_step(&q))
        *due_at = q_get_int(&q);
    return q_end(&q, c->e);
}

static void served_last(struct store *s, const char *subscription)
{
    char *copy = strdup(subscription);
    if (!copy)
        abort();
    free(s->claim_after);
    s->claim_after = copy;
}

static enum err serve(struct claiming *c, const char *subscription, int64_t due_at)
{
    int left = c->in->limit - c->out->n;
    int cap = c->in->per_subscription ? c->in->per_subscription : c->in->limit;
    enum err err = OK;
    if (due_at <= c->in->now && left > 0) {
        err = lease_some(c, subscription, cap < left ? cap : left);
        served_last(c->w->store, subscription);
        if (!err)
            err = left_due(c, subscription, &due_at);
    }
    if (!c->out->next_due || due_at < c->out->next_due)
        c->out->next_due = due_at;
    return err;
}

/* Subscriptions in (after, last], the last one NULL: to the end. */
static enum err serve_range(struct claiming *c, const char *after, const char *last)
{
    int64_t due_at = 0;
    enum err err = OK;
    while (db_due_next(c->w->conn, c->w->arena, after, &after, &due_at, &err, c->e)) {
        if (last && strcmp(after, last) > 0)
            break;
        if ((err = serve(c, after, due_at)))
            break;
    }
    return err;
}

static enum err run_claim(struct write *w, const void *in_, void *out_, struct err_info *e)
{
    struct claiming c = {w, in_, out_, e};
    c.out->jobs = arena_array(c.out->arena, (size_t)c.in->limit, sizeof *c.out->jobs);
    c.out->n = 0;
    c.out->next_due = 0;
    const char *start = arena_strdup(w->arena, w->store->claim_after);
    if (!start)
        return serve_range(&c, "", NULL);
    enum err err = serve_range(&c, start, NULL);
    return err ? err : serve_range(&c, "", start);
}

void store_claim_jobs(struct store *s, const struct job_claim *in, struct job_claimed *out,
                      struct store_done *done)
{
    static const struct store_verb verb = {.name = "claim_jobs", .run = run_claim};
    writer_queue(s, &verb, in, out, done);
}

/* ---- renew and recover ---- */

static enum err run_renew(struct write *w, const void *in_, void *out, struct err_info *e)
{
    const struct job_renew *in = in_;
    enum err err = OK;
    for (int i = 0; i < in->n && !err; i++) {
        AUTO(query)
        struct query q = conn_query(w->conn, "UPDATE job SET lease_until = $1, due_at = $1"
                                             " WHERE id = $2 AND epoch = $3 AND terminal = 0"
                                             " AND lease_until > 0");
        q_int(&q, in->lease_until);
        q_text(&q, in->leases[i].job_id);
        q_int(&q, in->leases[i].epoch);
        err = q_run(&q, e);
        in->leases[i].lost = !sqlite3_changes(w->conn->db);
    }
    return err;
}

void store_renew_jobs(struct store *s, const struct job_renew *in, void *out,
                      struct store_done *done)
{
    static const struct store_verb verb = {.name = "renew_jobs", .run = run_renew};
    writer_queue(s, &verb, in, out, done);
}

/* The epoch goes up as well: whoever held the lease is fenced off. What Azure was asked under it is not
 * asked again sooner than was noted. */
static enum err run_recover(struct write *w, const void *in_, void *out_, struct err_info *e)
{
    const struct job_recover *in = in_;
    struct job_recovered *out = out_;
    AUTO(query)
    struct query q = conn_query(
        w->conn, "UPDATE job SET lease_until = 0, epoch = epoch + 1, due_at = "
                 "coalesce((SELECT max($1, min($2, not_before)) FROM poll WHERE job_id = job.id"
                 " AND poll.lease_until = job.lease_until), $1)"
                 " WHERE terminal = 0 AND subscription_key >= '' AND lease_until > 0");
    q_int(&q, in->now);
    q_int(&q, in->latest);
    enum err err = q_run(&q, e);
    out->jobs = sqlite3_changes(w->conn->db);
    return err;
}

void store_recover_jobs(struct store *s, const struct job_recover *in, struct job_recovered *out,
                        struct store_done *done)
{
    static const struct store_verb verb = {.name = "recover_jobs", .run = run_recover};
    writer_queue(s, &verb, in, out, done);
}

/* ---- advance ---- */

struct owned {
    enum job_state was;
    enum job_state state;
    bool has_wake_key;
    int64_t wakes;
    int64_t wakes_seen;
    int64_t due_at;
    int64_t lease_until;
    int64_t ended_at;
    int64_t cancel_requested_at;
    int64_t last_event;
    const char *resource_id; /* where it is needed */
};

static enum err find_owned(struct write *w, const struct job_advance *in, struct owned *o,
                           struct err_info *e)
{
    AUTO(query)
    struct query q =
        conn_query(w->conn, "SELECT epoch, state, wakes, wakes_seen, due_at, lease_until,"
                            " cancel_requested_at, last_event, wake_key IS NOT NULL, resource_id"
                            " FROM job WHERE id = $1");
    q_text(&q, in->job_id);
    if (!q_step(&q)) {
        enum err err = q_end(&q, e);
        return err ? err : err_set(e, ERR_NOT_FOUND, "no job %s", in->job_id);
    }
    int64_t epoch = q_get_int(&q);
    if (!job_state_parse(q_get_text(&q, w->arena), &o->state))
        return err_set(e, ERR_INTERNAL, "job %s has no known state", in->job_id);
    o->wakes = q_get_int(&q);
    o->wakes_seen = q_get_int(&q);
    o->due_at = q_get_int(&q);
    o->lease_until = q_get_int(&q);
    o->cancel_requested_at = q_get_int(&q);
    o->last_event = q_get_int(&q);
    o->has_wake_key = q_get_int(&q) != 0;
    o->resource_id = in->enrollment || in->unless_vm_below ? q_get_text(&q, w->arena) : NULL;
    o->was = o->state;
    if (epoch != in->epoch || !o->lease_until || job_state_terminal(o->state))
        return err_set(e, ERR_LEASE_LOST, "job %s is not this worker's any more", in->job_id);
    return q_end(&q, e);
}

static enum err next_state(const struct job_advance *in, struct owned *o, struct err_info *e)
{
    if (!(in->set & JOB_SET_STATE))
        return OK;
    enum job_state to = in->state;
    if (o->state == JOB_CANCELING && (to == JOB_RUNNING || to == JOB_WAITING))
        return OK;
    if (!job_may_go(o->state, to, JOB_BY_ENGINE))
        return err_set(e, ERR_INVALID_STATE, "job %s cannot go from %s to %s", in->job_id,
                       job_state_text(o->state), job_state_text(to));
    o->state = to;
    return OK;
}

static void next_times(const struct job_advance *in, struct owned *o)
{
    bool woken = o->wakes > o->wakes_seen;
    if (in->set & JOB_SET_LEASE)
        o->lease_until = o->due_at = in->lease_until;
    if (in->set & JOB_RELEASE) {
        o->lease_until = 0;
        o->due_at = woken ? in->now : in->due_at;
    }
    if (job_state_terminal(o->state)) {
        o->lease_until = o->due_at = 0;
        o->ended_at = in->now;
    }
}

/*
 * SQLite takes a row out of each index that has a column which the statement names, and puts it back,
 * also where the column stays as it is. Most moves change no state: naming none of what belongs to it
 * saves two indices of three, and their pages.
 */
static enum err update_job_in_state(struct write *w, const struct job_advance *in,
                                    const struct owned *o, struct err_info *e)
{
    AUTO(query)
    struct query q = conn_query(
        w->conn, "UPDATE job SET updated_at = $1, due_at = $2, lease_until = $3, last_event = $4,"
                 " current_step = CASE WHEN $5 = 1 THEN $6 ELSE current_step END,"
                 " attempt = CASE WHEN $7 = 1 THEN $8 ELSE attempt END,"
                 " undoing = CASE WHEN $9 = 1 THEN $10 ELSE undoing END,"
                 " vars = CASE WHEN $11 = 1 THEN $12 ELSE vars END,"
                 " result = CASE WHEN $13 = 1 THEN $14 ELSE result END,"
                 " error = CASE WHEN $15 = 1 THEN $16 ELSE error END WHERE id = $17");
    q_int(&q, in->now);
    q_int(&q, o->due_at);
    q_int(&q, o->lease_until);
    q_int(&q, o->last_event + in->n_events);
    q_set_int(&q, in->set & JOB_SET_STEP, in->current_step);
    q_set_int(&q, in->set & JOB_SET_ATTEMPT, in->attempt);
    q_set_int(&q, in->set & JOB_SET_UNDOING, in->undoing);
    q_set_text(&q, in->set & JOB_SET_VARS, in->vars);
    q_set_text(&q, in->set & JOB_SET_RESULT, in->result);
    q_set_text(&q, in->set & JOB_SET_ERROR, in->error);
    q_text(&q, in->job_id);
    return q_run(&q, e);
}

static enum err update_job(struct write *w, const struct job_advance *in, const struct owned *o,
                           struct err_info *e)
{
    bool wake_changes = in->set & JOB_SET_WAKE && (in->wake_key || o->has_wake_key);
    if (o->state == o->was && !wake_changes)
        return update_job_in_state(w, in, o, e);
    bool terminal = job_state_terminal(o->state);
    AUTO(query)
    struct query q = conn_query(
        w->conn, "UPDATE job SET state = $1, terminal = $2, updated_at = $3, ended_at = $4,"
                 " due_at = $5, lease_until = $6, last_event = $7,"
                 " current_step = CASE WHEN $8 = 1 THEN $9 ELSE current_step END,"
                 " attempt = CASE WHEN $10 = 1 THEN $11 ELSE attempt END,"
                 " undoing = CASE WHEN $12 = 1 THEN $13 ELSE undoing END,"
                 " vars = CASE WHEN $14 = 1 THEN $15 ELSE vars END,"
                 " wake_key = CASE WHEN $16 = 1 THEN $17 ELSE wake_key END,"
                 " result = CASE WHEN $18 = 1 THEN $19 ELSE result END,"
                 " error = CASE WHEN $20 = 1 THEN $21 ELSE error END WHERE id = $22");
    q_text(&q, job_state_text(o->state));
    q_int(&q, terminal);
    q_int(&q, in->now);
    q_int(&q, o->ended_at);
    q_int(&q, o->due_at);
    q_int(&q, o->lease_until);
    q_int(&q, o->last_event + in->n_events);
    q_set_int(&q, in->set & JOB_SET_STEP, in->current_step);
    q_set_int(&q, in->set & JOB_SET_ATTEMPT, in->attempt);
    q_set_int(&q, in->set & JOB_SET_UNDOING, in->undoing);
    q_set_text(&q, in->set & JOB_SET_VARS, in->vars);
    q_set_text(&q, terminal || (in->set & JOB_SET_WAKE), terminal ? NULL : in->wake_key);
    q_set_text(&q, in->set & JOB_SET_RESULT, in->result);
    q_set_text(&q, in->set & JOB_SET_ERROR, in->error);
    q_text(&q, in->job_id);
    return q_run(&q, e);
}

static const char change_step[] =
    "UPDATE step SET state = $1, started_at = $2, ended_at = $3, attempts = $4, detail = $5,"
    " created = $6, intent_method = $7, intent_url = $8, intent_body_hash = $9,"
    " intent_request_id = $10, intent_at = $11, poll_url = $12, poll_kind = $13,"
    " poll_not_before = $14, last_status = $15, vars = $16 WHERE job_id = $17 AND seq = $18";
static const char begin_step[] =
    "INSERT INTO step (state, started_at, ended_at, attempts, detail, created, intent_method,"
    " intent_url, intent_body_hash, intent_request_id, intent_at, poll_url, poll_kind,"
    " poll_not_before, last_status, vars, job_id, seq, name)"
    " VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,'')";

static enum err write_step(struct write *w, const char *sql, const char *job_id,
                           const struct job_step *s, struct err_info *e)
{
    AUTO(query) struct query q = conn_query(w->conn, sql);
    q_text(&q, step_state_text(s->state));
    q_int(&q, s->started_at);
    q_int(&q, s->ended_at);
    q_int(&q, s->attempts);
    q_text(&q, s->detail);
    q_int(&q, s->created);
    q_text(&q, s->intent_method);
    q_text(&q, s->intent_url);
    q_text(&q, s->intent_body_hash);
    q_text(&q, s->intent_request_id);
    q_int(&q, s->intent_at);
    q_text(&q, s->poll_url);
    q_text(&q, s->poll_kind);
    q_int(&q, s->poll_not_before);
    q_int(&q, s->last_status);
    q_text(&q, s->vars);
    q_text(&q, job_id);
    q_int(&q, s->seq);
    return q_run(&q, e);
}

static enum err has_step(struct write *w, const char *job_id, int seq, bool *has,
                         struct err_info *e)
{
    struct job job = {0};
    enum err err = db_job_read(w->conn, w->arena, job_id, &job, e);
    *has = !err && seq >= 0 && seq < job.n_steps;
    return err;
}

/* The row comes with the step's first change. */
static enum err update_step(struct write *w, const char *job_id, const struct job_step *s,
                            struct err_info *e)
{
    bool has = false;
    enum err err = write_step(w, change_step, job_id, s, e);
    if (err || sqlite3_changes(w->conn->db) || (err = has_step(w, job_id, s->seq, &has, e)))
        return err;
    if (!has)
        return err_set(e, ERR_NOT_FOUND, "job %s has no step %d", job_id, s->seq);
    return write_step(w, begin_step, job_id, s, e);
}

static enum err wipe_secret(struct write *w, const char *job_id, const char *name,
                            struct err_info *e)
{
    AUTO(query)
    struct query q = conn_query(w->conn, "DELETE FROM job_secret WHERE job_id = $1 AND name = $2");
    q_text(&q, job_id);
    q_text(&q, name);
    return q_run(&q, e);
}

static enum err wipe_all_secrets(struct write *w, const char *job_id, struct err_info *e)
{
    AUTO(query) struct query q = conn_query(w->conn, "DELETE FROM job_secret WHERE job_id = $1");
    q_text(&q, job_id);
    return q_run(&q, e);
}

/* Its VM may outlive it. */
static enum err hand_spec_over(struct write *w, const char *job_id, struct err_info *e)
{
    AUTO(query)
    struct query q = conn_query(w->conn, "UPDATE vm SET spec = job.spec FROM job WHERE job.id = $1"
                                         " AND vm.resource_key = lower(job.resource_id)"
                                         " AND vm.job_id = job.id AND vm.spec = ''");
    q_text(&q, job_id);
    return q_run(&q, e);
}

/* What only a job that goes on needs. */
static enum err forget_ended(struct write *w, const char *job_id, struct err_info *e)
{
    enum err err = wipe_all_secrets(w, job_id, e);
    if (!err)
        err = hand_spec_over(w, job_id, e);
    return err ? err : db_polls_forget(w, job_id, e);
}

/* One that is there stays as it is: it may be used up, and its VM was sent again. */
static enum err enroll(struct write *w, const struct job_advance *in, const struct owned *o,
                       struct err_info *e)
{
    const struct enrollment_new *t = in->enrollment;
    bool known = false;
    {
        AUTO(query)
        struct query q = conn_query(w->conn, "SELECT 1 FROM enrollment WHERE hash = $1");
        q_text(&q, t->hash);
        known = q_step(&q);
        enum err err = q_end(&q, e);
        if (err || known)
            return err;
    }
    return db_enrollment_add(w, t->hash, o->resource_id, in->job_id, in->now, t->expires_at, e);
}

static enum err write_parts(struct write *w, const struct job_advance *in, const struct owned *o,
                            struct err_info *e)
{
    enum err err = OK;
    for (int i = 0; i < in->n_steps && !err; i++)
        err = update_step(w, in->job_id, &in->steps[i], e);
    for (int i = 0; i < in->n_events && !err; i++)
        err = db_event_add(w, in->job_id, o->last_event + i + 1, &in->events[i], in->now, e);
    for (int i = 0; i < in->n_vms && !err; i++)
        err = db_vm_apply(w, &in->vms[i], in->now, in->job_id, e);
    if (!err && in->not_before)
        err = db_poll_note(w, &(struct job_poll){in->job_id, in->lease_until, in->not_before}, e);
    for (int i = 0; i < in->n_wipe && !err; i++)
        err = wipe_secret(w, in->job_id, in->wipe[i], e);
    if (!err && in->enrollment)
        err = enroll(w, in, o, e);
    if (!err && in->audit)
        err = db_audit_add(w, in->audit, in->now, in->job_id, e);
    return err;
}

/* ---- what a move may ask of others ---- */

static enum err refuse_if_any(struct query *q, const char *what, struct err_info *e)
{
    bool any = q_step(q);
    enum err err = q_end(q, e);
    return err || !any ? err : err_set(e, ERR_OPERATION_IN_PROGRESS, "%s", what);
}

static enum err refuse_vm_below(struct write *w, const struct job_advance *in,
                                const struct owned *o, struct err_info *e)
{
    if (!in->unless_vm_below)
        return OK;
    struct filter f = filter_of("SELECT 1 FROM vm WHERE 1 = 1");
    filter_below(&f, w->arena, "resource_key", in->unless_vm_below);
    filter_text(&f, " AND resource_key <> ", db_key_of(w->arena, o->resource_id));
    filter_add(&f, " LIMIT 1");
    AUTO(query) struct query q = filter_query(&f, w->conn);
    return refuse_if_any(&q, "another VM is known there", e);
}

static enum err refuse_taken_back(struct write *w, const struct job_advance *in, struct err_info *e)
{
    if (!in->unless_taken_back_by)
        return OK;
    AUTO(query)
    struct query q = conn_query(w->conn, "SELECT 1 FROM job JOIN step ON step.job_id = job.id"
                                         " WHERE job.id = $1 AND terminal = 0 AND step.seq = 0"
                                         " AND step.state = 'undoing'");
    q_text(&q, in->unless_taken_back_by);
    return refuse_if_any(&q, "another job is taking it back", e);
}

static enum err run_advance(struct write *w, const void *in_, void *out_, struct err_info *e)
{
    const struct job_advance *in = in_;
    struct job_advanced *out = out_;
    struct owned o = {0};
    enum err err;
    if ((err = find_owned(w, in, &o, e)) || (err = next_state(in, &o, e)) ||
        (err = refuse_vm_below(w, in, &o, e)) || (err = refuse_taken_back(w, in, e)))
        return err;
    next_times(in, &o);
    if ((err = update_job(w, in, &o, e)) || (err = write_parts(w, in, &o, e)) ||
        (job_state_terminal(o.state) && (err = forget_ended(w, in->job_id, e))))
        return err;
    db_write_changed(w, in->job_id, o.state, o.due_at);
    if (out)
        *out = (struct job_advanced){
            .state = o.state,
            .cancel_requested = o.cancel_requested_at != 0,
            .woken = o.wakes > o.wakes_seen,
            .last_event = o.last_event + in->n_events,
        };
    return OK;
}

void store_advance_job(struct store *s, const struct job_advance *in, struct job_advanced *out,
                       struct store_done *done)
{
    static const struct store_verb verb = {.name = "advance_job", .run = run_advance};
    writer_queue(s, &verb, in, out, done);
}
