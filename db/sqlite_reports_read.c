#include "db/sqlite.h"

#define REPORT_COLUMNS                                                                             \
    "vm_key, n, id, received_at, verdict, evidence_hash, proof, reset_count,"                      \
    " restart_count, clock_ms"
#define CONTENT_COLUMNS "vm_id, resource_id, checks, claims, log_digest, ak_spki, policy"

struct place {
    const char *vm_key;
    int64_t n;
};

static struct place read_report(struct query *q, struct arena *a, struct report *r)
{
    struct place at = {.vm_key = q_get_text(q, a)};
    at.n = q_get_int(q);
    r->id = q_get_text(q, a);
    r->received_at = q_get_int(q);
    r->verdict = q_get_text(q, a);
    r->evidence_hash = q_get_text(q, a);
    r->proof = q_get_text(q, a);
    r->reset_count = q_get_int(q);
    r->restart_count = q_get_int(q);
    r->clock_ms = q_get_int(q);
    return at;
}

/* Of the report itself, or of the one before it that said the same. */
static enum err read_content(struct conn *c, struct arena *a, struct place at, struct report *r,
                             struct err_info *e)
{
    AUTO(query)
    struct query q =
        conn_query(c, "SELECT " CONTENT_COLUMNS " FROM report WHERE vm_key = $1 AND n <= $2"
                      " AND checks IS NOT NULL ORDER BY n DESC LIMIT 1");
    q_text(&q, at.vm_key);
    q_int(&q, at.n);
    if (!q_step(&q)) {
        enum err err = q_end(&q, e);
        return err ? err : err_set(e, ERR_INTERNAL, "report %s has no content", r->id);
    }
    r->vm_id = q_get_text(&q, a);
    r->resource_id = q_get_text(&q, a);
    r->checks = q_get_text(&q, a);
    r->claims = q_get_text(&q, a);
    r->log_digest = q_get_text(&q, a);
    r->ak_spki = q_get_text(&q, a);
    r->policy = q_get_text(&q, a);
    return q_end(&q, e);
}

enum err store_get_report(struct store *s, struct arena *a, const char *id, const char *scope,
                          struct report *out, struct err_info *e)
{
    AUTO(reader) struct reader r = db_reader_take(s);
    AUTO(query)
    struct query q = conn_query(r.conn, "SELECT " REPORT_COLUMNS " FROM report WHERE id = $1");
    q_text(&q, id);
    *out = (struct report){0};
    bool there = q_step(&q);
    struct place at = {0};
    if (there)
        at = read_report(&q, a, out);
    enum err err = q_end(&q, e);
    if (!err && there)
        err = read_content(r.conn, a, at, out, e);
    if (err)
        return err;
    if (!there || (scope && !scope_covers(scope, out->resource_id)))
        return err_set(e, ERR_NOT_FOUND, "no report %s", id);
    return OK;
}

enum err store_list_reports(struct store *s, struct arena *a, const char *vm_id,
                            const struct page *page, struct report_list *out, struct err_info *e)
{
    size_t limit = (size_t)page->limit;
    *out = (struct report_list){.items = arena_array(a, limit + 1, sizeof *out->items)};
    struct filter f = filter_of("SELECT " REPORT_COLUMNS " FROM report WHERE 1 = 1");
    filter_text(&f, " AND vm_key = ", db_key_of(a, vm_id));
    if (page->after) {
        filter_text(&f, " AND n < (SELECT n FROM report WHERE id = ", page->after);
        filter_add(&f, ")");
    }
    filter_int(&f, " ORDER BY n DESC LIMIT ", page->limit + 1);
    AUTO(reader) struct reader r = db_reader_take(s);
    AUTO(query) struct query q = filter_query(&f, r.conn);
    while (q_step(&q))
        read_report(&q, a, &out->items[out->n++]);
    out->more = out->n > limit;
    out->n -= out->more;
    return q_end(&q, e);
}

enum err store_get_log(struct store *s, struct arena *a, const char *vm_id, const char *digest,
                       struct bytes *out, struct err_info *e)
{
    AUTO(reader) struct reader r = db_reader_take(s);
    AUTO(query)
    struct query q =
        conn_query(r.conn, "SELECT body FROM log_body WHERE vm_key = $1 AND digest = $2");
    q_text(&q, db_key_of(a, vm_id));
    q_text(&q, digest);
    if (q_step(&q)) {
        *out = q_get_blob(&q, a);
        return q_end(&q, e);
    }
    enum err err = q_end(&q, e);
    return err ? err : err_set(e, ERR_NOT_FOUND, "this event log is not held for the VM");
}
