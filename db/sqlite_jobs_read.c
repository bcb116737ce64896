#include "db/sqlite.h"

#define JOB_COLUMNS                                                                                \
    "id, kind, state, resource_id, " JOB_SUBSCRIPTION                                              \
    ", created_at, updated_at, ended_at, due_at,"                                                  \
    " deadline_at, cancel_requested_at, created_by_id, created_by, request_id, traceparent,"       \
    " body_hash, spec, vars, result, error, wake_key, undoing, current_step, attempt,"             \
    " lease_until, epoch, last_event, steps"

/* The steps as they are before they begin; none where the job is older than such lists. */
static void plan_steps(struct arena *a, const char *names, struct job *j)
{
    j->steps = NULL;
    j->n_steps = 0;
    if (!names || !*names)
        return;
    size_t n = 1;
    for (const char *c = names; *c; c++)
        n += *c == ',';
    j->steps = arena_array(a, n, sizeof *j->steps);
    for (const char *at = names; j->n_steps < (int)n; j->n_steps++) {
        size_t len = strcspn(at, ",");
        j->steps[j->n_steps] =
            (struct job_step){.seq = j->n_steps, .name = arena_strndup(a, at, len)};
        at += len + (at[len] == ',');
    }
}

static void read_row(struct query *q, struct arena *a, struct job *j)
{
    j->id = q_get_text(q, a);
    j->kind = q_get_text(q, a);
    if (!job_state_parse(q_get_text(q, a), &j->state))
        j->state = JOB_FAILED;
    j->resource_id = q_get_text(q, a);
    j->subscription_id = q_get_text(q, a);
    j->created_at = q_get_int(q);
    j->updated_at = q_get_int(q);
    j->ended_at = q_get_int(q);
    j->due_at = q_get_int(q);
    j->deadline_at = q_get_int(q);
    j->cancel_requested_at = q_get_int(q);
    j->created_by_id = q_get_text(q, a);
    j->created_by = q_get_text(q, a);
    j->request_id = q_get_text(q, a);
    j->traceparent = q_get_text(q, a);
    j->body_hash = q_get_text(q, a);
    j->spec = q_get_text(q, a);
    j->vars = q_get_text(q, a);
    j->result = q_get_text(q, a);
    j->error = q_get_text(q, a);
    j->wake_key = q_get_text(q, a);
    j->undoing = q_get_int(q);
    j->current_step = (int)q_get_int(q);
    j->attempt = (int)q_get_int(q);
    j->lease_until = q_get_int(q);
    j->epoch = q_get_int(q);
    j->last_event = q_get_int(q);
    plan_steps(a, q_get_text(q, a), j);
}

static void read_step(struct query *q, struct arena *a, struct job_step *s)
{
    s->seq = (int)q_get_int(q);
    s->name = q_get_text(q, a);
    if (!step_state_parse(q_get_text(q, a), &s->state))
        s->state = STEP_FAILED;
    s->started_at = q_get_int(q);
    s->ended_at = q_get_int(q);
    s->attempts = (int)q_get_int(q);
    s->detail = q_get_text(q, a);
    s->created = q_get_int(q);
    s->intent_method = q_get_text(q, a);
    s->intent_url = q_get_text(q, a);
    s->intent_body_hash = q_get_text(q, a);
    s->intent_request_id = q_get_text(q, a);
    s->intent_at = q_get_int(q);
    s->poll_url = q_get_text(q, a);
    s->poll_kind = q_get_text(q, a);
    s->poll_not_before = q_get_int(q);
    s->last_status = (int)q_get_int(q);
    s->vars = q_get_text(q, a);
}

#define STEPS_MAX 64 /* a workflow is a const table; the longest has less than half of this */

/* Those that have begun; of an old job, all. */
static enum err read_steps(struct conn *c, struct arena *a, struct job *j, struct err_info *e)
{
    struct job_step row = {0}, old[STEPS_MAX] = {0};
    int n_old = 0;
    AUTO(query)
    struct query q = conn_query(
        c, "SELECT seq, name, state, started_at, ended_at, attempts, detail, created,"
           " intent_method, intent_url, intent_body_hash, intent_request_id, intent_at, poll_url,"
           " poll_kind, poll_not_before, last_status, vars FROM step WHERE job_id = $1"
           " ORDER BY seq");
    q_text(&q, j->id);
    while (n_old < STEPS_MAX && q_step(&q)) {
        read_step(&q, a, &row);
        if (!j->n_steps) {
            old[n_old++] = row;
        } else if (row.seq < j->n_steps) {
            row.name = j->steps[row.seq].name;
            j->steps[row.seq] = row;
        }
    }
    if (n_old) {
        j->steps = arena_array(a, (size_t)n_old, sizeof *old);
        memcpy(j->steps, old, (size_t)n_old * sizeof *old);
        j->n_steps = n_old;
    }
    return q_end(&q, e);
}

enum err db_job_read(struct conn *c, struct arena *a, const char *id, struct job *out,
                     struct err_info *e)
{
    bool there = false;
    {
        AUTO(query)
        struct query q = conn_query(c, "SELECT " JOB_COLUMNS " FROM job WHERE id = $1");
        q_text(&q, id);
        there = q_step(&q);
        if (there)
            read_row(&q, a, out);
        enum err err = q_end(&q, e);
        if (err)
            return err;
    }
    if (!there)
        return err_set(e, ERR_NOT_FOUND, "no job %s", id);
    return read_steps(c, a, out, e);
}

enum err store_get_job(struct store *s, struct arena *a, const char *id, const char *scope,
                       struct job *out, struct err_info *e)
{
    AUTO(reader) struct reader r = db_reader_take(s);
    enum err err = db_job_read(r.conn, a, id, out, e);
    if (!err && scope && !scope_covers(scope, out->resource_id))
        return err_set(e, ERR_NOT_FOUND, "no job %s", id);
    return err;
}

/* The subscription of "/subscriptions/x..." for the index; NULL where the scope names none. */
static const char *subscription_of(struct arena *a, const char *scope)
{
    static const char prefix[] = "/subscriptions/";
    const char *key = db_key_of(a, scope);
    if (!key || strncmp(key, prefix, sizeof prefix - 1) != 0)
        return NULL;
    key += sizeof prefix - 1;
    return arena_strndup(a, key, strcspn(key, "/"));
}

/* Those of one resource are few, and so are the open ones, whatever else is asked for. */
static const char *select_jobs(const struct job_filter *in)
{
    if (in->resource_id)
        return "SELECT " JOB_COLUMNS " FROM job INDEXED BY job_resource WHERE 1 = 1";
    if (in->state && *in->state == JOB_QUEUED)
        return "SELECT " JOB_COLUMNS " FROM job INDEXED BY job_due WHERE terminal = 0";
    return "SELECT " JOB_COLUMNS " FROM job WHERE 1 = 1";
}

static enum err list_rows(struct conn *c, struct arena *a, const struct job_filter *in,
                          struct job_list *out, struct err_info *e)
{
    struct filter f = filter_of(select_jobs(in));
    filter_text(
        &f, " AND subscription_key = ", subscription_of(a, in->within ? in->within : in->scope));
    filter_scope(&f, a, JOB_RESOURCE, in->scope);
    filter_scope(&f, a, JOB_RESOURCE, in->within);
    if (in->state)
        filter_text(&f, " AND state = ", job_state_text(*in->state));
    if (in->state && *in->state != JOB_QUEUED)
        filter_add(&f, " AND " JOB_BEGUN);
    filter_text(&f, " AND kind = ", in->kind);
    filter_text(&f, " AND " JOB_RESOURCE " = ", db_key_of(a, in->resource_id));
    filter_text(&f, " AND id < ", in->page.after);
    filter_int(&f, " ORDER BY id DESC LIMIT ", in->page.limit + 1);
    AUTO(query) struct query q = filter_query(&f, c);
    while (q_step(&q))
        read_row(&q, a, &out->items[out->n++]);
    return q_end(&q, e);
}

enum err store_list_jobs(struct store *s, struct arena *a, const struct job_filter *in,
                         struct job_list *out, struct err_info *e)
{
    size_t limit = (size_t)in->page.limit;
    *out = (struct job_list){.items = arena_array(a, limit + 1, sizeof *out->items)};
    AUTO(reader) struct reader r = db_reader_take(s);
    enum err err = list_rows(r.conn, a, in, out, e);
    out->more = out->n > limit;
    out->n -= out->more;
    for (size_t i = 0; i < out->n && !err; i++)
        err = read_steps(r.conn, a, &out->items[i], e);
    return err;
}

/* A job's first event is no row, since it says of all of them the same: queued when it was made. Jobs of
 * before have a row for it. */
static enum err add_first_event(struct conn *c, const char *job_id, int limit,
                                struct event_list *out, struct err_info *e)
{
    AUTO(query)
    struct query q = conn_query(c, "SELECT created_at FROM job WHERE id = $1");
    q_text(&q, job_id);
    if (!q_step(&q) || limit < 1)
        return q_end(&q, e);
    size_t n = out->n < (size_t)limit ? out->n : (size_t)limit - 1;
    memmove(out->items + 1, out->items, n * sizeof *out->items);
    out->items[0] = (struct job_event){
        .id = 1, .at = q_get_int(&q), .type = "state", .data = "{\"state\":\"queued\"}"};
    out->n = n + 1;
    return q_end(&q, e);
}

enum err store_list_events(struct store *s, struct arena *a, const char *job_id, int64_t after,
                           int limit, struct event_list *out, struct err_info *e)
{
    *out = (struct event_list){.items = arena_array(a, (size_t)limit, sizeof *out->items)};
    AUTO(reader) struct reader r = db_reader_take(s);
    AUTO(query)
    struct query q = conn_query(r.conn, "SELECT id, at, type, data FROM event WHERE job_id = $1"
                                        " AND id > $2 ORDER BY id LIMIT $3");
    q_text(&q, job_id);
    q_int(&q, after);
    q_int(&q, limit);
    while (q_step(&q)) {
        struct job_event *ev = &out->items[out->n++];
        ev->id = q_get_int(&q);
        ev->at = q_get_int(&q);
        ev->type = q_get_text(&q, a);
        ev->data = q_get_text(&q, a);
    }
    enum err err = q_end(&q, e);
    if (err || after > 0 || (out->n > 0 && out->items[0].id == 1))
        return err;
    return add_first_event(r.conn, job_id, limit, out, e);
}

static enum err count_where(struct conn *c, const char *sql, const char *value, int64_t *out,
                            struct err_info *e)
{
    AUTO(query) struct query q = conn_query(c, sql);
    if (value)
        q_text(&q, value);
    *out = q_step(&q) ? q_get_int(&q) : 0;
    return q_end(&q, e);
}

enum err store_count_jobs(struct store *s, struct job_counts *out, struct err_info *e)
{
    static const char open[] = "SELECT count(*) FROM job WHERE terminal = 0";
    static const char begun[] = "SELECT count(*) FROM job WHERE state = $1 AND " JOB_BEGUN;
    *out = (struct job_counts){0};
    AUTO(reader) struct reader r = db_reader_take(s);
    int64_t *queued = &out->by_state[JOB_QUEUED], n = 0;
    enum err err = count_where(r.conn, open, NULL, queued, e);
    for (int i = 0; i < JOB_STATES && !err; i++) {
        if (i == JOB_QUEUED)
            continue;
        err = count_where(r.conn, begun, job_state_text((enum job_state)i), &n, e);
        out->by_state[i] = n;
        if (!job_state_terminal((enum job_state)i))
            *queued -= n;
    }
    return err;
}

enum err store_get_secret(struct store *s, struct arena *a, const char *job_id, const char *name,
                          struct bytes *sealed, struct err_info *e)
{
    AUTO(reader) struct reader r = db_reader_take(s);
    AUTO(query)
    struct query q =
        conn_query(r.conn, "SELECT sealed FROM job_secret WHERE job_id = $1 AND name = $2");
    q_text(&q, job_id);
    q_text(&q, name);
    if (q_step(&q)) {
        *sealed = q_get_blob(&q, a);
        return q_end(&q, e);
    }
    enum err err = q_end(&q, e);
    return err ? err : err_set(e, ERR_NOT_FOUND, "job %s holds no secret %s", job_id, name);
}

/* The first due job of the first subscription after `after`; false: no more. The index job_due gives
 * both at once. */
bool db_due_next(struct conn *c, struct arena *a, const char *after, const char **subscription,
                 int64_t *due_at, enum err *err, struct err_info *e)
{
    AUTO(query)
    struct query q =
        conn_query(c, "SELECT subscription_key, due_at FROM job WHERE terminal = 0"
                      " AND subscription_key > $1 ORDER BY subscription_key, due_at LIMIT 1");
    q_text(&q, after);
    bool there = q_step(&q);
    if (there) {
        *subscription = q_get_text(&q, a);
        *due_at = q_get_int(&q);
    }
    *err = q_end(&q, e);
    return there;
}

enum err store_next_due(struct store *s, int64_t *out, struct err_info *e)
{
    struct arena *a = arena_new();
    AUTO(reader) struct reader r = db_reader_take(s);
    const char *subscription = "";
    int64_t due_at = 0;
    enum err err = OK;
    *out = 0;
    while (db_due_next(r.conn, a, subscription, &subscription, &due_at, &err, e))
        if (!*out || due_at < *out)
            *out = due_at;
    arena_free(a);
    return err;
}
