/*
 * Polls of jobs that one lease holds for long. The job's own row is wide and stands in an index by its
 * due time: to write it for each poll would cost some ten pages, of this table many notes share one.
 */
#include "db/sqlite.h"

static enum err note_again(struct write *w, const struct job_poll *p, bool *known,
                           struct err_info *e)
{
    AUTO(query)
    struct query q = conn_query(w->conn, "UPDATE poll SET lease_until = $1, not_before = $2"
                                         " WHERE job_id = $3");
    q_int(&q, p->lease_until);
    q_int(&q, p->not_before);
    q_text(&q, p->job_id);
    enum err err = q_run(&q, e);
    *known = sqlite3_changes(w->conn->db) > 0;
    return err;
}

/* Of a job that is gone nothing is left to note. */
static enum err note_first(struct write *w, const struct job_poll *p, struct err_info *e)
{
    AUTO(query)
    struct query q = conn_query(w->conn, "INSERT INTO poll (job_id, lease_until, not_before)"
                                         " SELECT id, $1, $2 FROM job WHERE id = $3");
    q_int(&q, p->lease_until);
    q_int(&q, p->not_before);
    q_text(&q, p->job_id);
    return q_run(&q, e);
}

enum err db_poll_note(struct write *w, const struct job_poll *p, struct err_info *e)
{
    bool known = false;
    enum err err = note_again(w, p, &known, e);
    return err || known ? err : note_first(w, p, e);
}

static enum err run_note(struct write *w, const void *in_, void *out, struct err_info *e)
{
    const struct job_polls *in = in_;
    enum err err = OK;
    for (int i = 0; i < in->n && !err; i++)
        err = db_poll_note(w, &in->polls[i], e);
    return err;
}

void store_note_polls(struct store *s, const struct job_polls *in, void *out,
                      struct store_done *done)
{
    /* How many there are depends on time alone, as with upkeep. */
    static const struct store_verb verb = {.name = "note_polls", .run = run_note, .upkeep = true};
    writer_queue(s, &verb, in, out, done);
}

enum err db_polls_forget(struct write *w, const char *job_id, struct err_info *e)
{
    AUTO(query) struct query q = conn_query(w->conn, "DELETE FROM poll WHERE job_id = $1");
    q_text(&q, job_id);
    return q_run(&q, e);
}
