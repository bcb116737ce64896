/* Policies: present versions, their scopes and their history. */
#include "db/sqlite.h"
#include "db/store_policies.h"

struct present {
    bool there;
    const char *etag;
    int64_t version;
    const char *document;
};

static enum err read_present(struct write *w, const char *key, struct present *out,
                             struct err_info *e)
{
    AUTO(query)
    struct query q = conn_query(w->conn, "SELECT p.etag, p.version, v.document FROM policy p JOIN"
                                         " policy_version v ON v.name_key = p.name_key AND"
                                         " v.version = p.version WHERE p.name_key = $1");
    q_text(&q, key);
    out->there = q_step(&q);
    if (out->there) {
        out->etag = q_get_text(&q, w->arena);
        out->version = q_get_int(&q);
        out->document = q_get_text(&q, w->arena);
    }
    return q_end(&q, e);
}

static enum err read_int(struct write *w, const char *sql, const char *text, int64_t *out,
                         struct err_info *e)
{
    AUTO(query) struct query q = conn_query(w->conn, sql);
    if (text)
        q_text(&q, text);
    *out = q_step(&q) ? q_get_int(&q) : 0;
    return q_end(&q, e);
}

static enum err run_for_key(struct write *w, const char *sql, const char *key, struct err_info *e)
{
    AUTO(query) struct query q = conn_query(w->conn, sql);
    q_text(&q, key);
    return q_run(&q, e);
}

static enum err next_version(struct write *w, int64_t *out, struct err_info *e)
{
    {
        AUTO(query)
        struct query q =
            conn_query(w->conn, "UPDATE meta SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)"
                                " WHERE name = 'policy_version'");
        enum err err = q_run(&q, e);
        if (err)
            return err;
    }
    return read_int(w, "SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'policy_version'",
                    NULL, out, e);
}

static enum err write_policy(struct write *w, const struct policy_put *in, const char *key,
                             int64_t version, const char *etag, struct err_info *e)
{
    AUTO(query)
    struct query q = conn_query(
        w->conn,
        "INSERT INTO policy (name_key, name, version, etag, created_at, updated_at)"
        " VALUES ($1,$2,$3,$4,$5,$5) ON CONFLICT (name_key) DO UPDATE SET"
        " version = excluded.version, etag = excluded.etag, updated_at = excluded.updated_at");
    q_text(&q, key);
    q_text(&q, in->name);
    q_int(&q, version);
    q_text(&q, etag);
    q_int(&q, in->now);
    return q_run(&q, e);
}

static enum err write_version(struct write *w, const struct policy_put *in, const char *key,
                              int64_t version, struct err_info *e)
{
    AUTO(query)
    struct query q =
        conn_query(w->conn, "INSERT INTO policy_version (name_key, version, document, created_at,"
                            " created_by) VALUES ($1,$2,$3,$4,$5)");
    q_text(&q, key);
    q_int(&q, version);
    q_text(&q, in->document);
    q_int(&q, in->now);
    q_text(&q, in->audit.principal ? in->audit.principal : "");
    return q_run(&q, e);
}

static enum err drop_old_versions(struct write *w, const char *key, struct err_info *e)
{
    AUTO(query)
    struct query q =
        conn_query(w->conn, "DELETE FROM policy_version WHERE name_key = $1 AND version IN (SELECT"
                            " version FROM policy_version WHERE name_key = $1"
                            " ORDER BY version DESC LIMIT 1000 OFFSET $2)");
    q_text(&q, key);
    q_int(&q, POLICY_VERSIONS_MAX);
    return q_run(&q, e);
}

static enum err take_scope(struct write *w, const char *key, const char *scope, struct err_info *e)
{
    const char *scope_key = db_key_of(w->arena, scope), *owner = NULL;
    {
        AUTO(query)
        struct query q = conn_query(w->conn, "SELECT p.name FROM policy_scope s JOIN policy p ON"
                                             " p.name_key = s.name_key WHERE s.scope_key = $1");
        q_text(&q, scope_key);
        if (q_step(&q))
            owner = q_get_text(&q, w->arena);
        enum err err = q_end(&q, e);
        if (err)
            return err;
    }
    if (owner) {
        err_set(e, ERR_INVALID_STATE, "the scope %s has the policy %s", scope, owner);
        return err_remedy(e, "A scope has one policy: take it out of that one first.");
    }
    AUTO(query)
    struct query q =
        conn_query(w->conn, "INSERT INTO policy_scope (scope_key, name_key) VALUES ($1,$2)");
    q_text(&q, scope_key);
    q_text(&q, key);
    return q_run(&q, e);
}

static enum err write_scopes(struct write *w, const struct policy_put *in, const char *key,
                             struct err_info *e)
{
    enum err err = run_for_key(w, "DELETE FROM policy_scope WHERE name_key = $1", key, e);
    for (size_t i = 0; i < in->n_scopes && !err; i++)
        err = take_scope(w, key, in->scopes[i], e);
    return err;
}

static enum err check_put(struct write *w, const struct policy_put *in, const struct present *now,
                          struct err_info *e)
{
    int64_t n = 0;
    if (in->only_new && now->there)
        return err_set(e, ERR_PRECONDITION_FAILED, "the policy %s exists", in->name);
    if (in->if_etag && (!now->there || strcmp(in->if_etag, now->etag) != 0))
        return err_set(e, ERR_PRECONDITION_FAILED, "the policy has changed");
    if (now->there)
        return OK;
    enum err err = read_int(w, "SELECT count(*) FROM policy", NULL, &n, e);
    if (!err && n >= POLICIES_MAX) {
        err_set(e, ERR_INVALID_STATE, "there are %d policies already", POLICIES_MAX);
        err = err_remedy(e, "Delete one that is not needed.");
    }
    return err;
}

static enum err run_put_policy(struct write *w, const void *in_, void *out_, struct err_info *e)
{
    const struct policy_put *in = in_;
    struct policy_stored *out = out_;
    const char *key = db_key_of(w->arena, in->name), *etag = db_etag_new(w->arena);
    struct present now = {0};
    int64_t version = 0;
    enum err err = read_present(w, key, &now, e);
    if (err)
        return err;
    /* RFC 9110, 13.1.1: what is wanted is there already, so a repeated request succeeds. */
    *out = (struct policy_stored){.created = !now.there, .version = now.version};
    out->same = now.there && !in->only_new && strcmp(now.document, in->document) == 0;
    snprintf(out->etag, sizeof out->etag, "%s", out->same ? now.etag : etag);
    if (out->same)
        return OK;
    if ((err = check_put(w, in, &now, e)) || (err = next_version(w, &version, e)) ||
        (err = write_policy(w, in, key, version, etag, e)) ||
        (err = write_version(w, in, key, version, e)) || (err = drop_old_versions(w, key, e)) ||
        (err = write_scopes(w, in, key, e)))
        return err;
    out->version = version;
    return db_audit_add(w, &in->audit, in->now, NULL, e);
}

void store_put_policy(struct store *s, const struct policy_put *in, struct policy_stored *out,
                      struct store_done *done)
{
    static const struct store_verb verb = {.name = "put_policy", .run = run_put_policy};
    writer_queue(s, &verb, in, out, done);
}

static enum err run_delete_policy(struct write *w, const void *in_, void *out, struct err_info *e)
{
    const struct policy_delete *in = in_;
    const char *key = db_key_of(w->arena, in->name);
    struct present now = {0};
    enum err err = read_present(w, key, &now, e);
    if (err)
        return err;
    if (!now.there)
        return err_set(e, ERR_NOT_FOUND, "no policy %s", in->name);
    if (in->if_etag && strcmp(in->if_etag, now.etag) != 0)
        return err_set(e, ERR_PRECONDITION_FAILED, "the policy has changed");
    err = run_for_key(w, "DELETE FROM policy WHERE name_key = $1", key, e);
    return err ? err : db_audit_add(w, &in->audit, in->now, NULL, e);
}

void store_delete_policy(struct store *s, const struct policy_delete *in, void *out,
                         struct store_done *done)
{
    static const struct store_verb verb = {.name = "delete_policy", .run = run_delete_policy};
    writer_queue(s, &verb, in, out, done);
}

/* ---- reading ---- */

#define POLICY_SELECT                                                                              \
    "SELECT p.name, v.version, p.etag, v.document, v.created_at, v.created_by FROM policy p"       \
    " JOIN policy_version v ON v.name_key = p.name_key"

static void read_policy(struct query *q, struct arena *a, struct policy *p)
{
    p->name = q_get_text(q, a);
    p->version = q_get_int(q);
    p->etag = q_get_text(q, a);
    p->document = q_get_text(q, a);
    p->created_at = q_get_int(q);
    p->created_by = q_get_text(q, a);
}

static enum err read_list(struct filter *f, struct store *s, struct arena *a, int limit,
                          struct policy_list *out, struct err_info *e)
{
    *out = (struct policy_list){.items = arena_array(a, (size_t)limit + 1, sizeof *out->items)};
    AUTO(reader) struct reader r = db_reader_take(s);
    AUTO(query) struct query q = filter_query(f, r.conn);
    while (q_step(&q))
        read_policy(&q, a, &out->items[out->n++]);
    out->more = out->n > (size_t)limit;
    out->n -= out->more;
    return q_end(&q, e);
}

enum err store_list_policies(struct store *s, struct arena *a, const struct page *page,
                             struct policy_list *out, struct err_info *e)
{
    struct filter f = filter_of(POLICY_SELECT " AND v.version = p.version WHERE 1 = 1");
    filter_text(&f, " AND p.name_key > ", db_key_of(a, page->after));
    filter_int(&f, " ORDER BY p.name_key LIMIT ", page->limit + 1);
    return read_list(&f, s, a, page->limit, out, e);
}

enum err store_get_policy(struct store *s, struct arena *a, const char *name, int64_t version,
                          struct policy *out, struct err_info *e)
{
    struct filter f = filter_of(POLICY_SELECT " WHERE 1 = 1");
    filter_text(&f, " AND p.name_key = ", db_key_of(a, name));
    if (version)
        filter_int(&f, " AND v.version = ", version);
    else
        filter_add(&f, " AND v.version = p.version");
    struct policy_list list;
    enum err err = read_list(&f, s, a, 1, &list, e);
    if (err)
        return err;
    if (list.n == 0)
        return err_set(e, ERR_NOT_FOUND, "no such policy, or not in this version");
    *out = list.items[0];
    return OK;
}

enum err store_list_policy_versions(struct store *s, struct arena *a, const char *name,
                                    const struct page *page, struct policy_list *out,
                                    struct err_info *e)
{
    struct policy present;
    enum err err = store_get_policy(s, a, name, 0, &present, e);
    if (err)
        return err;
    struct filter f = filter_of(POLICY_SELECT " WHERE 1 = 1");
    filter_text(&f, " AND p.name_key = ", db_key_of(a, name));
    if (page->after)
        filter_int(&f, " AND v.version < ", strtoll(page->after, NULL, 10));
    filter_int(&f, " ORDER BY v.version DESC LIMIT ", page->limit + 1);
    return read_list(&f, s, a, page->limit, out, e);
}

/* ---- standing ---- */

static enum err run_rejudge(struct write *w, const void *in_, void *out, struct err_info *e)
{
    const struct vm_rejudge *in = in_;
    const char *key = db_key_of(w->arena, in->resource_id);
    int64_t woken;
    struct vm_row row;
    enum err err;
    if ((err = db_vm_is(w, key, in->if_etag, &row, e)) || (err = db_vm_settle(w, key, e)))
        return err;
    {
        AUTO(query)
        struct query q = conn_query(
            w->conn, "UPDATE vm SET updated_at = $1, etag = $2, status = $3, reasons = $4,"
                     " last_verdict = $5, policy = $6, baseline = $7, stale_at = $8"
                     " WHERE resource_key = $9");
        q_int(&q, in->now);
        q_text(&q, db_etag_new(w->arena));
        q_text(&q, vm_status_text(in->status));
        q_text(&q, in->reasons);
        q_text(&q, in->verdict);
        q_text(&q, in->policy);
        q_text(&q, in->baseline);
        q_int(&q, in->stale_at);
        q_text(&q, key);
        if ((err = q_run(&q, e)))
            return err;
    }
    if (in->wake_key && (err = db_wake_waiting(w, in->wake_key, in->now, &woken, e)))
        return err;
    return db_audit_add(w, &in->audit, in->now, NULL, e);
}

void store_rejudge_vm(struct store *s, const struct vm_rejudge *in, void *out,
                      struct store_done *done)
{
    static const struct store_verb verb = {.name = "rejudge_vm", .run = run_rejudge};
    writer_queue(s, &verb, in, out, done);
}
