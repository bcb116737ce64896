#include "db/sqlite.h"

static enum err run_put_key(struct write *w, const void *in_, void *out, struct err_info *e)
{
    const struct api_key_put *in = in_;
    const struct api_key *k = &in->key;
    {
        AUTO(query)
        struct query q =
            conn_query(w->conn, "INSERT INTO api_key (id, name, hash, role, scope, created_at,"
                                " expires_at, revoked_at, last_used_at)"
                                " VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9)");
        q_text(&q, k->id);
        q_text(&q, k->name);
        q_text(&q, k->hash);
        q_text(&q, role_text(k->role));
        q_text(&q, k->scope);
        q_int(&q, k->created_at);
        q_int(&q, k->expires_at);
        q_int(&q, k->revoked_at);
        q_int(&q, k->last_used_at);
        enum err err = q_run(&q, e);
        if (err)
            return err;
    }
    return db_audit_add(w, &in->audit, k->created_at, NULL, e);
}

void store_put_api_key(struct store *s, const struct api_key_put *in, void *out,
                       struct store_done *done)
{
    static const struct store_verb verb = {.name = "put_api_key", .run = run_put_key};
    writer_queue(s, &verb, in, out, done);
}

static enum err run_revoke_key(struct write *w, const void *in_, void *out, struct err_info *e)
{
    const struct api_key_revoke *in = in_;
    {
        AUTO(query)
        struct query q =
            conn_query(w->conn, "UPDATE api_key SET revoked_at = CASE WHEN revoked_at = 0 THEN $1"
                                " ELSE revoked_at END WHERE id = $2");
        q_int(&q, in->now);
        q_text(&q, in->id);
        enum err err = q_run(&q, e);
        if (err)
            return err;
        if (!sqlite3_changes(w->conn->db))
            return err_set(e, ERR_NOT_FOUND, "no API key %s", in->id);
    }
    return db_audit_add(w, &in->audit, in->now, NULL, e);
}

void store_revoke_api_key(struct store *s, const struct api_key_revoke *in, void *out,
                          struct store_done *done)
{
    static const struct store_verb verb = {.name = "revoke_api_key", .run = run_revoke_key};
    writer_queue(s, &verb, in, out, done);
}

static enum err run_touch_keys(struct write *w, const void *in_, void *out, struct err_info *e)
{
    const struct api_key_uses *in = in_;
    enum err err = OK;
    for (int i = 0; i < in->n && !err; i++) {
        AUTO(query)
        struct query q = conn_query(w->conn, "UPDATE api_key SET last_used_at = $1 WHERE id = $2"
                                             " AND last_used_at < $1");
        q_int(&q, in->uses[i].at);
        q_text(&q, in->uses[i].id);
        err = q_run(&q, e);
    }
    return err;
}

void store_touch_api_keys(struct store *s, const struct api_key_uses *in, void *out,
                          struct store_done *done)
{
    static const struct store_verb verb = {
        .name = "touch_api_keys", .run = run_touch_keys, .upkeep = true};
    writer_queue(s, &verb, in, out, done);
}

#define KEY_COLUMNS "id, name, hash, role, scope, created_at, expires_at, revoked_at, last_used_at"

static void read_key(struct query *q, struct arena *a, struct api_key *k)
{
    k->id = q_get_text(q, a);
    k->name = q_get_text(q, a);
    k->hash = q_get_text(q, a);
    if (!role_parse(q_get_text(q, a), &k->role))
        k->role = ROLE_READER;
    k->scope = q_get_text(q, a);
    k->created_at = q_get_int(q);
    k->expires_at = q_get_int(q);
    k->revoked_at = q_get_int(q);
    k->last_used_at = q_get_int(q);
}

enum err store_get_api_key(struct store *s, struct arena *a, const char *id, struct api_key *out,
                           struct err_info *e)
{
    AUTO(reader) struct reader r = db_reader_take(s);
    AUTO(query)
    struct query q = conn_query(r.conn, "SELECT " KEY_COLUMNS " FROM api_key WHERE id = $1");
    q_text(&q, id);
    bool there = q_step(&q);
    if (there)
        read_key(&q, a, out);
    enum err err = q_end(&q, e);
    if (!err && !there)
        return err_set(e, ERR_NOT_FOUND, "no API key %s", id);
    return err;
}

enum err store_list_api_keys(struct store *s, struct arena *a, struct api_key_list *out,
                             struct err_info *e)
{
    AUTO(reader) struct reader r = db_reader_take(s);
    size_t n = 0;
    {
        AUTO(query) struct query q = conn_query(r.conn, "SELECT count(*) FROM api_key");
        if (q_step(&q))
            n = (size_t)q_get_int(&q);
    }
    *out = (struct api_key_list){.items = arena_array(a, n, sizeof *out->items)};
    AUTO(query)
    struct query q =
        conn_query(r.conn, "SELECT " KEY_COLUMNS " FROM api_key ORDER BY created_at, id");
    while (out->n < n && q_step(&q))
        read_key(&q, a, &out->items[out->n++]);
    return q_end(&q, e);
}
