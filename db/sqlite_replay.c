#include "db/sqlite.h"

enum err store_find_replay(struct store *s, struct arena *a, const struct idempotency *i,
                           int64_t now, const char **job_id, struct err_info *e)
{
    AUTO(reader) struct reader r = db_reader_take(s);
    AUTO(query)
    struct query q = conn_query(
        r.conn, "SELECT i.fingerprint, i.job_id FROM idempotency i JOIN job j ON j.id = i.job_id"
                " WHERE i.principal_id = $1 AND i.operation = $2 AND i.idem_key = $3"
                " AND i.expires_at > $4");
    q_text(&q, i->principal_id);
    q_text(&q, i->operation);
    q_text(&q, i->key);
    q_int(&q, now);
    if (!q_step(&q)) {
        enum err err = q_end(&q, e);
        return err ? err : err_set(e, ERR_NOT_FOUND, "this Idempotency-Key is new");
    }
    if (strcmp(q_get_text(&q, a), i->fingerprint) != 0)
        return err_set(e, ERR_IDEMPOTENCY_KEY_REUSED,
                       "the Idempotency-Key was used for another request");
    *job_id = q_get_text(&q, a);
    return q_end(&q, e);
}
