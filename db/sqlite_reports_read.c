#include "db/sqlite.h"

#define REPORT_COLUMNS                                                                             \
    "id, vm_id, resource_id, received_at, verdict, checks, claims, evidence_hash, log_digest,"     \
    " ak_spki, reset_count, restart_count, clock_ms"

static void read_report(struct query *q, struct arena *a, struct report *r)
{
    r->id = q_get_text(q, a);
    r->vm_id = q_get_text(q, a);
    r->resource_id = q_get_text(q, a);
    r->received_at = q_get_int(q);
    r->verdict = q_get_text(q, a);
    r->checks = q_get_text(q, a);
    r->claims = q_get_text(q, a);
    r->evidence_hash = q_get_text(q, a);
    r->log_digest = q_get_text(q, a);
    r->ak_spki = q_get_text(q, a);
    r->reset_count = q_get_int(q);
    r->restart_count = q_get_int(q);
    r->clock_ms = q_get_int(q);
}

enum err store_get_report(struct store *s, struct arena *a, const char *id, const char *scope,
                          struct report *out, struct err_info *e)
{
    AUTO(reader) struct reader r = db_reader_take(s);
    AUTO(query)
    struct query q = conn_query(r.conn, "SELECT " REPORT_COLUMNS " FROM report WHERE id = $1");
    q_text(&q, id);
    bool there = q_step(&q);
    if (there)
        read_report(&q, a, out);
    enum err err = q_end(&q, e);
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
    filter_text(&f, " AND id < ", page->after);
    filter_int(&f, " ORDER BY id DESC LIMIT ", page->limit + 1);
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

enum err store_get_challenge(struct store *s, const char *challenge_hash, struct err_info *e)
{
    AUTO(reader) struct reader r = db_reader_take(s);
    AUTO(query)
    struct query q = conn_query(r.conn, "SELECT 1 FROM challenge_used WHERE hash = $1");
    q_text(&q, challenge_hash);
    bool used = q_step(&q);
    enum err err = q_end(&q, e);
    if (!err && !used)
        return err_set(e, ERR_NOT_FOUND, "the challenge was not used yet");
    return err;
}
