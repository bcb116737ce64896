#include "db/sqlite.h"

enum err db_audit_add(struct write *w, const struct audit *a, int64_t now, const char *job_id,
                      struct err_info *e)
{
    AUTO(query)
    struct query q = conn_query(w->conn, "INSERT INTO audit (at, principal_id, principal, action,"
                                         " resource_id, job_id, request_id, traceparent, peer,"
                                         " detail) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10)");
    q_int(&q, now);
    q_text(&q, a->principal_id);
    q_text(&q, a->principal);
    q_text(&q, a->action);
    q_text(&q, a->resource_id);
    q_text(&q, job_id);
    q_text(&q, a->request_id);
    q_text(&q, a->traceparent);
    q_text(&q, a->peer);
    q_text(&q, a->detail);
    return q_run(&q, e);
}

static enum err run_note(struct write *w, const void *in_, void *out, struct err_info *e)
{
    const struct audit_note *in = in_;
    return db_audit_add(w, &in->audit, in->now, NULL, e);
}

void store_note_audit(struct store *s, const struct audit_note *in, void *out,
                      struct store_done *done)
{
    static const struct store_verb verb = {.name = "note_audit", .run = run_note};
    writer_queue(s, &verb, in, out, done);
}

static void read_entry(struct query *q, struct arena *a, struct audit_entry *out)
{
    out->id = q_get_int(q);
    out->at = q_get_int(q);
    out->a.principal_id = q_get_text(q, a);
    out->a.principal = q_get_text(q, a);
    out->a.action = q_get_text(q, a);
    out->a.resource_id = q_get_text(q, a);
    out->job_id = q_get_text(q, a);
    out->a.request_id = q_get_text(q, a);
    out->a.traceparent = q_get_text(q, a);
    out->a.peer = q_get_text(q, a);
    out->a.detail = q_get_text(q, a);
}

enum err store_list_audit(struct store *s, struct arena *a, int64_t after, int limit,
                          struct audit_list *out, struct err_info *e)
{
    *out = (struct audit_list){.items = arena_array(a, (size_t)limit, sizeof *out->items)};
    AUTO(reader) struct reader r = db_reader_take(s);
    AUTO(query)
    struct query q = conn_query(r.conn, "SELECT id, at, principal_id, principal, action,"
                                        " resource_id, job_id, request_id, traceparent, peer,"
                                        " detail FROM audit WHERE id > $1 ORDER BY id LIMIT $2");
    q_int(&q, after);
    q_int(&q, limit);
    while (q_step(&q))
        read_entry(&q, a, &out->items[out->n++]);
    return q_end(&q, e);
}
