#include "core/sha256.h"
#include "db/sqlite.h"

/*
 * Reports as rows. A VM that runs on says the same in each report: checks and claims, its log and its
 * AK. Such a report is a short row, and stands on the VM's last one before it that has the content
 * itself. Whatever row is deleted hands its content on to the next one, if that stands on it.
 */

#define LOT_MAX 32 /* surplus rows of a VM that are deleted together */
#define HOUR_MS INT64_C(3600000)

/* The VM's report before. */
struct former {
    int64_t n; /* 0: there is none */
    int64_t received_at;
    const char *hour_verdicts;
    struct bytes content;
};

static enum err read_former(struct write *w, const char *vm_key, struct former *out,
                            struct err_info *e)
{
    AUTO(query)
    struct query q = conn_query(w->conn, "SELECT n, received_at, hour_verdicts, content FROM report"
                                         " WHERE vm_key = $1 ORDER BY n DESC LIMIT 1");
    q_text(&q, vm_key);
    if (q_step(&q)) {
        out->n = q_get_int(&q);
        out->received_at = q_get_int(&q);
        out->hour_verdicts = q_get_text(&q, w->arena);
        out->content = q_get_blob(&q, w->arena);
    }
    return q_end(&q, e);
}

/* What a report may share with the one before it. */
struct content {
    const char *texts[CONTENT_TEXTS];
    uint8_t name[CONTENT_SIZE];
};

/* A name of the content: equal for equal content, and nobody finds another one for it. */
static void name_content(struct content *c)
{
    struct bytes parts[CONTENT_TEXTS];
    uint8_t digest[SHA256_SIZE];
    /* Each with its NUL, and 01 for none, so that no two lists come out the same. */
    for (size_t i = 0; i < CONTENT_TEXTS; i++)
        parts[i] = c->texts[i] ? BYTES(c->texts[i], strlen(c->texts[i]) + 1) : BYTES("\1", 1);
    sha256_parts(parts, ARRAY_LEN(parts), digest);
    memcpy(c->name, digest, CONTENT_SIZE);
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_texts(const struct content *c, const struct last_report *last)
{
    for (size_t i = 0; i < CONTENT_TEXTS; i++)
        if (!same_text(c->texts[i], last->texts[i]))
            return false;
    return true;
}

static struct content content_of(const struct history_row *row, const struct last_report *last)
{
    const struct report *r = row->report;
    struct content c = {{row->vm_id, row->resource_id, row->ak_spki, r->checks,
                         r->claims, [CONTENT_LOG] = r->log_digest, r->policy},
                        {0}};
    if (last && same_texts(&c, last))
        memcpy(c.name, last->content, CONTENT_SIZE);
    else
        name_content(&c);
    return c;
}

static bool same_hour(int64_t a, int64_t b)
{
    return a / HOUR_MS == b / HOUR_MS;
}

/* " trusted untrusted ": the verdicts of the hour with this one; *first: it had not been there. */
static const char *hour_with(const struct former *f, const struct report *r, struct arena *a,
                             bool *first)
{
    const char *so_far = f->n && f->hour_verdicts && same_hour(f->received_at, r->received_at)
                             ? f->hour_verdicts
                             : " ";
    const char *mine = arena_concat(a, " ", r->verdict, " ", NULL);
    *first = !strstr(so_far, mine);
    return *first ? arena_concat(a, so_far, r->verdict, " ", NULL) : so_far;
}

/* The row, as it differs from the one before it. */
struct added {
    const struct history_row *row;
    struct content content;
    int64_t n;
    const char *hour_verdicts;
    bool kept, same;
};

/* Most are narrow, and have nothing to say of what they share. */
#define NARROW_COLUMNS                                                                             \
    "id, vm_key, n, received_at, verdict, evidence_hash, reset_count, restart_count, clock_ms,"    \
    " hour_verdicts, kept, audit_id, content, proof"
#define NARROW_VALUES "$1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14"

static enum err insert(struct write *w, const struct added *a, struct err_info *e)
{
    const struct history_row *row = a->row;
    const struct report *r = row->report;
    AUTO(query)
    struct query q = conn_query(
        w->conn, a->same
                     ? "INSERT INTO report (" NARROW_COLUMNS ") VALUES (" NARROW_VALUES ")"
                     : "INSERT INTO report (" NARROW_COLUMNS ", vm_id, resource_id, checks, claims,"
                       " log_digest, ak_spki, policy) VALUES (" NARROW_VALUES ",$15,$16,$17,$18,"
                       "$19,$20,$21)");
    q_text(&q, r->id);
    q_text(&q, row->vm_key);
    q_int(&q, a->n);
    q_int(&q, r->received_at);
    q_text(&q, r->verdict);
    q_text(&q, r->evidence_hash);
    q_int(&q, r->reset_count);
    q_int(&q, r->restart_count);
    q_int(&q, r->clock_ms);
    q_text(&q, a->hour_verdicts);
    q_int(&q, a->kept);
    q_int(&q, row->audit_id);
    q_blob(&q, BYTES_OF(a->content.name));
    q_text(&q, row->proof);
    if (a->same)
        return q_run(&q, e);
    q_text(&q, row->vm_id);
    q_text(&q, row->resource_id);
    q_text(&q, r->checks);
    q_text(&q, r->claims);
    q_text(&q, r->log_digest);
    q_text(&q, row->ak_spki);
    q_text(&q, r->policy);
    return q_run(&q, e);
}

/* ---- deleting: the newest first, so that whoever hands its content on finds one that stays ---- */

struct doomed {
    int64_t seq;
    const char *vm_key;
    int64_t n;
    bool has_content;
};

#define DOOMED_COLUMNS "seq, vm_key, n, checks IS NOT NULL"

static void read_doomed(struct query *q, struct arena *a, struct doomed *d)
{
    d->seq = q_get_int(q);
    d->vm_key = q_get_text(q, a);
    d->n = q_get_int(q);
    d->has_content = q_get_int(q);
}

static enum err hand_on(struct write *w, const struct doomed *d, struct err_info *e)
{
    AUTO(query)
    struct query q = conn_query(
        w->conn,
        "UPDATE report SET (vm_id, resource_id, checks, claims, log_digest, ak_spki,"
        " policy) = (SELECT vm_id, resource_id, checks, claims, log_digest, ak_spki, policy"
        " FROM report"
        " WHERE seq = $1) WHERE checks IS NULL AND seq = (SELECT seq FROM report"
        " WHERE vm_key = $2 AND n > $3 ORDER BY n LIMIT 1)");
    q_int(&q, d->seq);
    q_text(&q, d->vm_key);
    q_int(&q, d->n);
    return q_run(&q, e);
}

static enum err delete_row(struct write *w, const struct doomed *d, struct err_info *e)
{
    enum err err = d->has_content ? hand_on(w, d, e) : OK;
    if (err)
        return err;
    last_reports_forget(w->store->last, d->vm_key); /* it may have been the last */
    AUTO(query) struct query q = conn_query(w->conn, "DELETE FROM report WHERE seq = $1");
    q_int(&q, d->seq);
    return q_run(&q, e);
}

/* Of a VM's rows those numbered above `after` and up to `last`. */
struct lot {
    const char *vm_key;
    int64_t after, last;
};

static enum err run_on_lot(struct write *w, const char *sql, const struct lot *l,
                           struct err_info *e)
{
    AUTO(query) struct query q = conn_query(w->conn, sql);
    q_text(&q, l->vm_key);
    q_int(&q, l->after);
    q_int(&q, l->last);
    return q_run(&q, e);
}

static enum err find_content(struct write *w, const struct lot *l, struct doomed rows[LOT_MAX],
                             int *n, struct err_info *e)
{
    AUTO(query)
    struct query q = conn_query(w->conn, "SELECT " DOOMED_COLUMNS " FROM report WHERE vm_key = $1"
                                         " AND n > $2 AND n <= $3 AND kept = 0"
                                         " AND checks IS NOT NULL ORDER BY n DESC LIMIT $4");
    q_text(&q, l->vm_key);
    q_int(&q, l->after);
    q_int(&q, l->last);
    q_int(&q, LOT_MAX);
    for (*n = 0; q_step(&q); ++*n)
        read_doomed(&q, w->arena, &rows[*n]);
    return q_end(&q, e);
}

/* With their audit rows, which nobody could look up any more. */
static enum err delete_lot(struct write *w, const struct lot *l, struct err_info *e)
{
    struct doomed rows[LOT_MAX];
    int n = 0;
    enum err err = run_on_lot(w,
                              "DELETE FROM audit WHERE " AUDIT_NOT_LAST
                              " AND id IN (SELECT audit_id FROM report WHERE vm_key = $1 AND n > "
                              "$2 AND n <= $3 AND kept = 0)",
                              l, e);
    if (!err)
        err = run_on_lot(w,
                         "DELETE FROM report WHERE vm_key = $1 AND n > $2 AND n <= $3 AND kept = 0"
                         " AND checks IS NULL",
                         l, e);
    if (!err)
        err = find_content(w, l, rows, &n, e);
    for (int i = 0; i < n && !err; i++)
        err = delete_row(w, &rows[i], e);
    return err;
}

/* The VM has a report numbered n now. To delete one for each that comes costs as much as to write it. */
static enum err delete_surplus(struct write *w, const char *vm_key, int64_t n, struct err_info *e)
{
    int64_t max = w->store->reports_per_vm, surplus = n - max;
    int64_t size = max / 32 < 1 ? 1 : max / 32 > LOT_MAX ? LOT_MAX : max / 32;
    if (!max || surplus <= 0 || surplus % size)
        return OK;
    const struct lot lot = {vm_key, surplus - size, surplus};
    return delete_lot(w, &lot, e);
}

static enum err find_former(struct write *w, const char *vm_key, const struct last_report *last,
                            struct former *out, struct err_info *e)
{
    if (!last)
        return read_former(w, vm_key, out, e);
    *out =
        (struct former){last->n, last->received_at, last->hour_verdicts, BYTES_OF(last->content)};
    return OK;
}

static void remember(struct write *w, const struct added *a)
{
    struct last_report last = {.n = a->n,
                               .received_at = a->row->report->received_at,
                               .log_used_at = a->row->log_used_at,
                               .hour_verdicts = a->hour_verdicts};
    memcpy(last.texts, a->content.texts, sizeof last.texts);
    memcpy(last.content, a->content.name, sizeof last.content);
    last_reports_put(w->store->last, a->row->vm_key, &last, a->same);
}

enum err db_history_add(struct write *w, const struct history_row *row, struct err_info *e)
{
    const struct last_report *last = last_reports_find(w->store->last, row->vm_key);
    struct former f = {0};
    enum err err = find_former(w, row->vm_key, last, &f, e);
    if (err)
        return err;
    struct added a = {.row = row, .content = content_of(row, last), .n = f.n + 1};
    a.same = f.n && bytes_equal(f.content, BYTES_OF(a.content.name));
    a.hour_verdicts = hour_with(&f, row->report, w->arena, &a.kept);
    if ((err = insert(w, &a, e)))
        return err;
    remember(w, &a);
    return delete_surplus(w, row->vm_key, a.n, e);
}

enum err db_history_prune(struct write *w, int64_t before, int limit, int64_t *count,
                          struct err_info *e)
{
    struct doomed *rows = arena_array(w->arena, (size_t)limit, sizeof *rows);
    enum err err;
    *count = 0;
    {
        AUTO(query)
        struct query q = conn_query(w->conn, "SELECT " DOOMED_COLUMNS " FROM report"
                                             " WHERE received_at < $1 AND seq IN (SELECT seq"
                                             " FROM report ORDER BY seq LIMIT $2)"
                                             " ORDER BY seq DESC");
        q_int(&q, before);
        q_int(&q, limit);
        while (q_step(&q))
            read_doomed(&q, w->arena, &rows[(*count)++]);
        err = q_end(&q, e);
    }
    for (int64_t i = 0; i < *count && !err; i++)
        err = delete_row(w, &rows[i], e);
    return err;
}
