#include "db/sqlite.h"

/* ---- idempotency ---- */

/* *job_id: the job of the same request, or NULL where there was none. */
static enum err find_replay(struct write *w, const struct idempotency *i, int64_t now,
                            const char **job_id, struct err_info *e)
{
    *job_id = NULL;
    if (!i)
        return OK;
    AUTO(query)
    struct query q = conn_query(
        w->conn, "SELECT i.fingerprint, i.job_id FROM idempotency i JOIN job j ON j.id = i.job_id"
                 " WHERE i.principal_id = $1 AND i.operation = $2 AND i.idem_key = $3"
                 " AND i.expires_at > $4");
    q_text(&q, i->principal_id);
    q_text(&q, i->operation);
    q_text(&q, i->key);
    q_int(&q, now);
    if (!q_step(&q))
        return q_end(&q, e);
    if (strcmp(q_get_text(&q, w->arena), i->fingerprint) != 0)
        return err_set(e, ERR_IDEMPOTENCY_KEY_REUSED,
                       "the Idempotency-Key was used for another request");
    *job_id = q_get_text(&q, w->arena);
    return q_end(&q, e);
}

static enum err insert_key(struct write *w, const char *sql, const struct idempotency *i,
                           const char *job_id, struct err_info *e)
{
    AUTO(query) struct query q = conn_query(w->conn, sql);
    q_text(&q, i->principal_id);
    q_text(&q, i->operation);
    q_text(&q, i->key);
    q_text(&q, i->fingerprint);
    q_text(&q, job_id);
    q_int(&q, i->expires_at);
    return q_run(&q, e);
}

#define INTO_IDEMPOTENCY                                                                           \
    "INTO idempotency (principal_id, operation, idem_key, fingerprint, job_id, expires_at)"        \
    " VALUES ($1,$2,$3,$4,$5,$6)"

static enum err remember(struct write *w, const struct idempotency *i, const char *job_id,
                         struct err_info *e)
{
    return i ? insert_key(w, "INSERT OR REPLACE " INTO_IDEMPOTENCY, i, job_id, e) : OK;
}

/* *taken: the key is known, and stays as it is. */
static enum err remember_new(struct write *w, const struct idempotency *i, const char *job_id,
                             bool *taken, struct err_info *e)
{
    *taken = false;
    if (!i)
        return OK;
    enum err err = insert_key(w, "INSERT OR IGNORE " INTO_IDEMPOTENCY, i, job_id, e);
    *taken = !err && sqlite3_changes(w->conn->db) == 0;
    return err;
}

/* ---- submit ---- */

struct busy {
    const char *job_id; /* NULL: the resource is free */
    const char *kind;
    const char *body_hash;
    enum job_state state;
};

static enum err find_busy(struct write *w, const char *resource_key, struct busy *b,
                          struct err_info *e)
{
    *b = (struct busy){0};
    AUTO(query)
    struct query q = conn_query(w->conn, "SELECT id, kind, body_hash, state FROM job"
                                         " WHERE " JOB_RESOURCE " = $1 AND " JOB_BUSY " = ''");
    q_text(&q, resource_key);
    if (q_step(&q)) {
        b->job_id = q_get_text(&q, w->arena);
        b->kind = q_get_text(&q, w->arena);
        b->body_hash = q_get_text(&q, w->arena);
        if (!job_state_parse(q_get_text(&q, w->arena), &b->state))
            return err_set(e, ERR_INTERNAL, "job %s has no known state", b->job_id);
    }
    return q_end(&q, e);
}

static enum err refuse_busy(const struct busy *b, struct err_info *e)
{
    err_set(e, ERR_OPERATION_IN_PROGRESS, "job %s (%s) works on the resource", b->job_id, b->kind);
    if (e)
        snprintf(e->job_id, sizeof e->job_id, "%s", b->job_id);
    return ERR_OPERATION_IN_PROGRESS;
}

static bool given(const char *text)
{
    return text && *text;
}

/* "name,name,...": db_job_read takes them apart. */
static const char *step_names(struct arena *a, const struct job_new *in)
{
    size_t n = 1;
    for (int i = 0; i < in->n_steps; i++)
        n += strlen(in->steps[i]) + 1;
    char *text = arena_alloc(a, n), *at = text;
    for (int i = 0; i < in->n_steps; i++) {
        if (i > 0)
            *at++ = ',';
        at = stpcpy(at, in->steps[i]);
    }
    return text;
}

/* What its key says already is not written twice (JOB_SUBSCRIPTION). */
static const char *other_than(const char *text, const char *key)
{
    return strcmp(text, key) != 0 ? text : "";
}

/* Without a subscription the key is "-": the claim walks the keys after "". */
static enum err insert_job(struct write *w, const struct job_new *in, int64_t due_at,
                           struct err_info *e)
{
    const char *key = given(in->subscription_id) ? db_key_of(w->arena, in->subscription_id) : "-";
    AUTO(query)
    struct query q = conn_query(
        w->conn, "INSERT INTO job (id, kind, state, terminal, shared, resource_id,"
                 " subscription_id, subscription_key, created_at, updated_at, ended_at, due_at,"
                 " deadline_at, cancel_requested_at, created_by_id, created_by, request_id,"
                 " traceparent, body_hash, spec, vars, steps, wakes, wakes_seen, undoing,"
                 " current_step, attempt, lease_until, epoch, last_event)"
                 " VALUES ($1,$2,'queued',0,$3,$4,$5,$6,$7,$7,0,$8,$9,0,$10,$11,$12,$13,$14,$15,"
                 " $16,$17,0,0,0,0,0,0,0,1)");
    q_text(&q, in->id);
    q_text(&q, in->kind);
    q_int(&q, in->shared);
    q_text(&q, in->resource_id);
    q_text(&q, given(in->subscription_id) ? other_than(in->subscription_id, key) : "");
    q_text(&q, key);
    q_int(&q, in->now);
    q_int(&q, due_at);
    q_int(&q, in->deadline_at);
    q_text(&q, in->audit.principal_id ? in->audit.principal_id : "");
    q_text(&q, in->audit.principal ? in->audit.principal : "");
    q_text(&q, in->audit.request_id);
    q_text(&q, in->audit.traceparent);
    q_text(&q, in->body_hash);
    q_text(&q, in->spec);
    q_text(&q, in->vars);
    q_text(&q, step_names(w->arena, in));
    return q_run(&q, e);
}

static enum err insert_secrets(struct write *w, const struct job_new *in, struct err_info *e)
{
    enum err err = OK;
    for (int i = 0; i < in->n_secrets && !err; i++) {
        AUTO(query)
        struct query q =
            conn_query(w->conn, "INSERT INTO job_secret (job_id, name, sealed) VALUES ($1,$2,$3)");
        q_text(&q, in->id);
        q_text(&q, in->secrets[i].name);
        q_blob(&q, in->secrets[i].sealed);
        err = q_run(&q, e);
    }
    return err;
}

enum err db_event_add(struct write *w, const char *job_id, int64_t id, const struct event_new *ev,
                      int64_t now, struct err_info *e)
{
    AUTO(query)
    struct query q = conn_query(
        w->conn, "INSERT INTO event (job_id, id, at, type, data) VALUES ($1,$2,$3,$4,$5)");
    q_text(&q, job_id);
    q_int(&q, id);
    q_int(&q, now);
    q_text(&q, ev->type);
    q_text(&q, ev->data);
    return q_run(&q, e);
}

/* What was planned may not hold any more. */
static enum err check_vm(struct write *w, const struct job_new *in, struct vm_row *row,
                         struct err_info *e)
{
    const char *key = db_key_of(w->arena, in->vm ? in->vm->resource_id : in->resource_id);
    if (in->planned_on_vm)
        return db_vm_is(w, key, in->vm_etag, row, e);
    return in->vm ? db_vm_find(w, key, row, e) : OK;
}

static enum err write_vm(struct write *w, const struct job_new *in, const struct vm_row *row,
                         struct err_info *e)
{
    if (!in->vm)
        return OK;
    struct vm_write vm = *in->vm;
    if ((vm.set & VM_SET_SPEC) && given(vm.spec) && given(in->spec) && !strcmp(vm.spec, in->spec))
        vm.spec = VM_SPEC_OF_JOB;
    return db_vm_apply_to(w, row, &vm, in->now, in->id, e);
}

static enum err insert_all(struct write *w, const struct job_new *in, const struct vm_row *row,
                           struct err_info *e)
{
    int64_t due_at = in->due_at ? in->due_at : in->now;
    enum err err;
    if ((err = write_vm(w, in, row, e)) || (err = insert_job(w, in, due_at, e)) ||
        (err = insert_secrets(w, in, e)) || (err = db_audit_add(w, &in->audit, in->now, in->id, e)))
        return err;
    db_write_changed(w, in->id, JOB_QUEUED, due_at);
    return OK;
}

static void submitted(struct job_submitted *out, enum submit_outcome outcome, const char *job_id)
{
    out->outcome = outcome;
    snprintf(out->job_id, sizeof out->job_id, "%s", job_id);
}

static bool same_work(const struct busy *b, const struct job_new *in)
{
    return b->state != JOB_CANCELING && !strcmp(b->kind, in->kind) && b->body_hash &&
           in->body_hash && !strcmp(b->body_hash, in->body_hash);
}

static enum err submit_to_busy(struct write *w, const struct job_new *in, const struct busy *busy,
                               struct job_submitted *out, struct err_info *e)
{
    const char *replay = NULL;
    struct vm_row row;
    enum err err = find_replay(w, in->idempotency, in->now, &replay, e);
    if (err || replay) {
        submitted(out, SUBMIT_REPLAYED, replay ? replay : "");
        return err;
    }
    if (in->planned_on_vm && in->vm_first &&
        (err = db_vm_is(w, db_key_of(w->arena, in->resource_id), in->vm_etag, &row, e)))
        return err;
    if (!same_work(busy, in))
        return refuse_busy(busy, e);
    submitted(out, SUBMIT_SAME, busy->job_id);
    return remember(w, in->idempotency, busy->job_id, e);
}

/* Whether the key is new is what its row's insertion says: to look for it before cost as much again. */
static enum err submit_to_free(struct write *w, const struct job_new *in, struct job_submitted *out,
                               struct err_info *e)
{
    bool taken = false;
    struct vm_row row = {0};
    const char *replay = NULL;
    struct err_info why = {0};
    enum err refused = check_vm(w, in, &row, &why), err = OK;
    if (!refused)
        err = remember_new(w, in->idempotency, in->id, &taken, e);
    if (!err && (refused || taken))
        err = find_replay(w, in->idempotency, in->now, &replay, e);
    if (err || replay) {
        submitted(out, SUBMIT_REPLAYED, replay ? replay : "");
        return err;
    }
    if (refused) {
        if (e)
            *e = why;
        return refused;
    }
    if (taken && (err = remember(w, in->idempotency, in->id, e)))
        return err;
    submitted(out, SUBMIT_CREATED, in->id);
    return insert_all(w, in, &row, e);
}

static enum err run_submit(struct write *w, const void *in_, void *out, struct err_info *e)
{
    const struct job_new *in = in_;
    struct busy busy = {0};
    if (!in->shared) {
        enum err err = find_busy(w, db_key_of(w->arena, in->resource_id), &busy, e);
        if (err)
            return err;
    }
    return busy.job_id ? submit_to_busy(w, in, &busy, out, e) : submit_to_free(w, in, out, e);
}

void store_submit_job(struct store *s, const struct job_new *in, struct job_submitted *out,
                      struct store_done *done)
{
    static const struct store_verb verb = {.name = "submit_job", .run = run_submit};
    writer_queue(s, &verb, in, out, done);
}

/* ---- cancel and retry ---- */

struct target {
    enum job_state state;
    const char *resource_id;
    const char *resource_key;
    bool shared;
    int64_t lease_until;
    int64_t due_at;
    int64_t deadline_at;
    int64_t last_event;
};

static enum err find_target(struct write *w, const struct job_request *in, struct target *t,
                            struct err_info *e)
{
    AUTO(query)
    struct query q = conn_query(w->conn, "SELECT state, resource_id, shared, lease_until, due_at,"
                                         " deadline_at, last_event FROM job WHERE id = $1");
    q_text(&q, in->job_id);
    if (!q_step(&q)) {
        enum err err = q_end(&q, e);
        return err ? err : err_set(e, ERR_NOT_FOUND, "no job %s", in->job_id);
    }
    if (!job_state_parse(q_get_text(&q, w->arena), &t->state))
        return err_set(e, ERR_INTERNAL, "job %s has no known state", in->job_id);
    t->resource_id = q_get_text(&q, w->arena);
    t->resource_key = db_key_of(w->arena, t->resource_id);
    t->shared = q_get_int(&q);
    t->lease_until = q_get_int(&q);
    t->due_at = q_get_int(&q);
    t->deadline_at = q_get_int(&q);
    t->last_event = q_get_int(&q);
    if (in->scope && !scope_covers(in->scope, t->resource_id))
        return err_set(e, ERR_NOT_FOUND, "no job %s", in->job_id);
    return q_end(&q, e);
}

/* With the event that the update of the job has counted. */
static enum err finish_request(struct write *w, const struct job_request *in,
                               const struct target *t, struct err_info *e)
{
    enum err err;
    if ((err = db_event_add(w, in->job_id, t->last_event + 1, &in->event, in->now, e)) ||
        (err = remember(w, in->idempotency, in->job_id, e)))
        return err;
    return db_audit_add(w, &in->audit, in->now, in->job_id, e);
}

/* Work that is under way is not taken from its worker: its release finds wakes > wakes_seen. */
static int64_t woken_due(int64_t lease_until, int64_t due_at, int64_t now)
{
    return lease_until ? due_at : now;
}

static enum err run_cancel(struct write *w, const void *in_, void *out, struct err_info *e)
{
    const struct job_request *in = in_;
    const char *replay = NULL;
    struct target t = {0};
    enum err err;
    if ((err = find_target(w, in, &t, e)) ||
        (err = find_replay(w, in->idempotency, in->now, &replay, e)))
        return err;
    if (replay || t.state == JOB_CANCELING || t.state == JOB_CANCELED)
        return OK;
    if (!job_may_go(t.state, JOB_CANCELING, JOB_BY_CANCEL)) {
        err_set(e, ERR_INVALID_STATE, "the job has %s", job_state_text(t.state));
        return err_remedy(e, "%s",
                          t.state == JOB_SUCCEEDED
                              ? "It is done: DELETE the VM to remove what it made."
                              : "It is over, and what it made is undone or said in its steps.");
    }
    int64_t due_at = woken_due(t.lease_until, t.due_at, in->now);
    {
        AUTO(query)
        struct query q =
            conn_query(w->conn, "UPDATE job SET state = 'canceling', cancel_requested_at = $1,"
                                " updated_at = $1, wakes = wakes + 1, due_at = $2,"
                                " last_event = last_event + 1 WHERE id = $3");
        q_int(&q, in->now);
        q_int(&q, due_at);
        q_text(&q, in->job_id);
        if ((err = q_run(&q, e)))
            return err;
    }
    db_write_changed(w, in->job_id, JOB_CANCELING, due_at);
    return finish_request(w, in, &t, e);
}

void store_cancel_job(struct store *s, const struct job_request *in, void *out,
                      struct store_done *done)
{
    static const struct store_verb verb = {.name = "cancel_job", .run = run_cancel};
    writer_queue(s, &verb, in, out, done);
}

static enum err reset_steps(struct write *w, const char *job_id, struct err_info *e)
{
    AUTO(query)
    struct query q =
        conn_query(w->conn, "UPDATE step SET state = 'pending', started_at = 0, ended_at = 0,"
                            " detail = NULL, poll_url = NULL, poll_kind = NULL, poll_not_before = 0"
                            " WHERE job_id = $1 AND state NOT IN ('succeeded','skipped')");
    q_text(&q, job_id);
    return q_run(&q, e);
}

/* Where the job goes on: where it was, if nothing is left to do. */
static enum err find_next_step(struct write *w, const char *job_id, int *seq, struct err_info *e)
{
    struct job job = {0};
    enum err err = db_job_read(w->conn, w->arena, job_id, &job, e);
    if (err)
        return err;
    *seq = job.current_step;
    for (int i = job.n_steps; i-- > 0;)
        if (job.steps[i].state == STEP_PENDING)
            *seq = job.steps[i].seq;
    return OK;
}

static enum err requeue(struct write *w, const struct job_request *in, int64_t deadline_at,
                        struct err_info *e)
{
    int next = 0;
    enum err err = find_next_step(w, in->job_id, &next, e);
    if (err)
        return err;
    AUTO(query)
    struct query q = conn_query(
        w->conn, "UPDATE job SET state = 'queued', terminal = 0, updated_at = $1, ended_at = 0,"
                 " due_at = $1, deadline_at = $2, cancel_requested_at = 0, result = NULL,"
                 " error = NULL, undoing = 0, attempt = 0, last_event = last_event + 1,"
                 " current_step = $3 WHERE id = $4");
    q_int(&q, in->now);
    q_int(&q, deadline_at);
    q_int(&q, next);
    q_text(&q, in->job_id);
    return q_run(&q, e);
}

/* What a later job found or made is not this job's to change, and its picture of the resource is of
 * before. */
static enum err refuse_overtaken(struct write *w, const struct job_request *in,
                                 const struct target *t, struct err_info *e)
{
    AUTO(query)
    struct query q = conn_query(w->conn, "SELECT id FROM job WHERE " JOB_RESOURCE " = $1"
                                         " AND id > $2 AND shared = 0 ORDER BY id LIMIT 1");
    q_text(&q, t->resource_key);
    q_text(&q, in->job_id);
    if (t->shared || !q_step(&q))
        return q_end(&q, e);
    err_set(e, ERR_INVALID_STATE, "job %s has worked on the resource since",
            q_get_text(&q, w->arena));
    return err_remedy(e, "Make the request again, with another Idempotency-Key.");
}

/* What is to be done instead. The same key would be answered with this job again. */
static enum err refuse_retry(enum job_state state, struct err_info *e)
{
    const char *remedy = "Wait for its end.";
    if (state == JOB_SUCCEEDED)
        remedy = "There is nothing left to do.";
    if (state == JOB_CANCELING || state == JOB_CANCELED)
        remedy = "What it made is undone: make the request again, with another Idempotency-Key.";
    err_set(e, ERR_INVALID_STATE, "only a job that failed can be run again; this one is %s",
            job_state_text(state));
    return err_remedy(e, "%s", remedy);
}

static enum err run_retry(struct write *w, const void *in_, void *out, struct err_info *e)
{
    const struct job_request *in = in_;
    const char *replay = NULL;
    struct target t = {0};
    struct busy busy = {0};
    enum err err;
    if ((err = find_target(w, in, &t, e)) ||
        (err = find_replay(w, in->idempotency, in->now, &replay, e)) || replay)
        return err;
    if (!job_may_go(t.state, JOB_QUEUED, JOB_BY_RETRY))
        return refuse_retry(t.state, e);
    if (!t.shared && (err = find_busy(w, t.resource_key, &busy, e)))
        return err;
    if (busy.job_id)
        return refuse_busy(&busy, e);
    if ((err = refuse_overtaken(w, in, &t, e)) || (err = reset_steps(w, in->job_id, e)) ||
        (err = requeue(w, in, in->deadline_at ? in->deadline_at : t.deadline_at, e)))
        return err;
    db_write_changed(w, in->job_id, JOB_QUEUED, in->now);
    return finish_request(w, in, &t, e);
}

void store_retry_job(struct store *s, const struct job_request *in, void *out,
                     struct store_done *done)
{
    static const struct store_verb verb = {.name = "retry_job", .run = run_retry};
    writer_queue(s, &verb, in, out, done);
}

/* ---- wake-ups ---- */

/* Hardly a report is waited for, and to look costs a tenth of an UPDATE that tells what it found. */
static enum err find_waiting(struct write *w, const char *key, bool *there, struct err_info *e)
{
    AUTO(query)
    struct query q =
        conn_query(w->conn, "SELECT 1 FROM job WHERE wake_key = $1 AND terminal = 0 LIMIT 1");
    q_text(&q, key);
    *there = q_step(&q);
    return q_end(&q, e);
}

enum err db_wake_waiting(struct write *w, const char *key, int64_t now, int64_t *woken,
                         struct err_info *e)
{
    bool there = false;
    enum err err = find_waiting(w, key, &there, e);
    *woken = 0;
    if (err || !there)
        return err;
    AUTO(query)
    struct query q =
        conn_query(w->conn, "UPDATE job SET wakes = wakes + 1,"
                            " due_at = CASE WHEN lease_until > 0 THEN due_at ELSE $1 END"
                            " WHERE wake_key = $2 AND terminal = 0 RETURNING id, state, due_at");
    q_int(&q, now);
    q_text(&q, key);
    for (; q_step(&q); ++*woken) {
        const char *id = q_get_text(&q, w->arena);
        enum job_state state = JOB_WAITING;
        if (!job_state_parse(q_get_text(&q, w->arena), &state))
            return err_set(e, ERR_INTERNAL, "job %s has no known state", id);
        db_write_changed(w, id, state, q_get_int(&q));
    }
    return q_end(&q, e);
}
