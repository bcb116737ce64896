/* Baselines: golden values of an image, learned, proposed and confirmed. */
#include "core/buf.h"
#include "db/sqlite.h"
#include "db/store_policies.h"

static const char *const state_texts[] = {
#define X(name, text) text,
    BASELINE_STATE_LIST(X)
#undef X
};

const char *baseline_state_text(enum baseline_state s)
{
    return state_texts[s];
}

bool baseline_state_parse(const char *text, enum baseline_state *out)
{
    for (int i = 0; text && i < BASELINE_STATES; i++) {
        if (strcmp(text, state_texts[i]) != 0)
            continue;
        *out = (enum baseline_state)i;
        return true;
    }
    return false;
}

/* ---- writing ---- */

struct changing {
    struct write *w;
    const char *id;
    enum baseline_state state;
    int64_t revision;
    int64_t now;
    struct err_info *e;
};

static enum err count(struct changing *c, const char *sql, const char *text, int64_t *out)
{
    AUTO(query) struct query q = conn_query(c->w->conn, sql);
    if (text)
        q_text(&q, text);
    *out = q_step(&q) ? q_get_int(&q) : 0;
    return q_end(&q, c->e);
}

/* By "id" or "image_key". ERR_NOT_FOUND. */
static enum err find(struct changing *c, const char *sql, const char *key)
{
    AUTO(query) struct query q = conn_query(c->w->conn, sql);
    q_text(&q, key);
    bool there = q_step(&q);
    if (there) {
        c->id = q_get_text(&q, c->w->arena);
        if (!baseline_state_parse(q_get_text(&q, c->w->arena), &c->state))
            c->state = BASELINE_IS_LEARNING;
        c->revision = q_get_int(&q);
    }
    enum err err = q_end(&q, c->e);
    if (!err && !there)
        return err_set(c->e, ERR_NOT_FOUND, "no such baseline");
    return err;
}

#define FIND "SELECT id, state, revision FROM baseline WHERE "

static enum err add(struct changing *c, const char *id, const char *image)
{
    AUTO(query)
    struct query q = conn_query(c->w->conn, "INSERT INTO baseline (id, image, image_key, state,"
                                            " revision, created_at, updated_at)"
                                            " VALUES ($1,$2,$3,$4,1,$5,$5)");
    q_text(&q, id);
    q_text(&q, image);
    q_text(&q, db_key_of(c->w->arena, image));
    q_text(&q, baseline_state_text(BASELINE_IS_LEARNING));
    q_int(&q, c->now);
    c->id = id;
    c->state = BASELINE_IS_LEARNING;
    return q_run(&q, c->e);
}

static enum err set_state(struct changing *c, enum baseline_state state)
{
    AUTO(query)
    struct query q =
        conn_query(c->w->conn, "UPDATE baseline SET state = $1, revision = revision + 1,"
                               " updated_at = $2 WHERE id = $3");
    q_text(&q, baseline_state_text(state));
    q_int(&q, c->now);
    q_text(&q, c->id);
    c->state = state;
    return q_run(&q, c->e);
}

static enum err add_set(struct changing *c, const struct baseline_set *set, const char *by)
{
    AUTO(query)
    struct query q =
        conn_query(c->w->conn, "INSERT INTO baseline_set (baseline_id, digest, bank, pcrs, events,"
                               " report_id, added_at, added_by) VALUES ($1,$2,$3,$4,$5,$6,$7,$8)"
                               " ON CONFLICT DO NOTHING");
    q_text(&q, c->id);
    q_text(&q, set->digest);
    q_text(&q, set->bank);
    q_text(&q, set->pcrs);
    q_text(&q, set->events);
    q_text(&q, set->report_id);
    q_int(&q, c->now);
    q_text(&q, by ? by : "");
    return q_run(&q, c->e);
}

static enum err add_vm(struct changing *c, const char *vm_id, const char *digest, bool *fresh)
{
    AUTO(query)
    struct query q = conn_query(c->w->conn, "INSERT INTO baseline_vm (baseline_id, vm_key, digest)"
                                            " VALUES ($1,$2,$3) ON CONFLICT DO NOTHING");
    q_text(&q, c->id);
    q_text(&q, db_key_of(c->w->arena, vm_id));
    q_text(&q, digest);
    enum err err = q_run(&q, c->e);
    *fresh = !err && sqlite3_changes(c->w->conn->db) > 0;
    return err;
}

static enum err find_or_add(struct changing *c, const struct baseline_learn *in, bool *there)
{
    int64_t n = 0;
    *there = true;
    enum err err = find(c, FIND "image_key = $1", db_key_of(c->w->arena, in->image));
    if (err != ERR_NOT_FOUND)
        return err;
    if ((err = count(c, "SELECT count(*) FROM baseline", NULL, &n)))
        return err;
    *there = n < BASELINES_MAX;
    return *there ? add(c, in->id, in->image) : OK;
}

#define COUNT_SETS "SELECT count(*) FROM baseline_set WHERE baseline_id = $1"

/* With as many sets as a baseline holds it is proposed, too: more VMs would show no more. */
static enum err learn(struct changing *c, const struct baseline_learn *in, bool *changed)
{
    int64_t vms = 0, sets = 0;
    enum err err;
    if ((err = add_vm(c, in->vm_id, in->set.digest, changed)) || !*changed ||
        (err = add_set(c, &in->set, "learned")) || (err = count(c, COUNT_SETS, c->id, &sets)) ||
        (err = count(c, "SELECT count(*) FROM baseline_vm WHERE baseline_id = $1", c->id, &vms)))
        return err;
    bool enough = vms >= in->vms_needed || sets >= BASELINE_SETS_MAX;
    if ((err = set_state(c, enough ? BASELINE_IS_PROPOSED : BASELINE_IS_LEARNING)))
        return err;
    return db_audit_add(c->w, &in->audit, in->now, NULL, c->e);
}

static enum err run_learn(struct write *w, const void *in_, void *out_, struct err_info *e)
{
    const struct baseline_learn *in = in_;
    struct baseline_learned *out = out_;
    struct changing c = {.w = w, .now = in->now, .e = e};
    bool there = false;
    out->changed = false;
    enum err err = find_or_add(&c, in, &there);
    if (!err && there && c.state == BASELINE_IS_LEARNING)
        err = learn(&c, in, &out->changed);
    out->state = c.state;
    return err;
}

void store_learn_baseline(struct store *s, const struct baseline_learn *in,
                          struct baseline_learned *out, struct store_done *done)
{
    static const struct store_verb verb = {.name = "learn_baseline", .run = run_learn};
    writer_queue(s, &verb, in, out, done);
}

static enum err open_change(struct changing *c, struct write *w, const struct baseline_change *in,
                            struct err_info *e)
{
    *c = (struct changing){.w = w, .now = in->now, .e = e};
    enum err err = find(c, FIND "id = $1", in->id);
    if (!err && in->if_revision && in->if_revision != c->revision)
        return err_set(e, ERR_PRECONDITION_FAILED, "the baseline has changed");
    return err;
}

/* Marks what stays, then drops the rest: the list is short. */
static enum err drop_other_sets(struct changing *c, const struct baseline_change *in)
{
    struct buf list = {0};
    for (size_t i = 0; i < in->n_keep; i++) {
        int64_t n = 0;
        enum err err;
        {
            AUTO(query)
            struct query q = conn_query(
                c->w->conn,
                "SELECT count(*) FROM baseline_set WHERE baseline_id = $1 AND digest = $2");
            q_text(&q, c->id);
            q_text(&q, in->keep[i]);
            n = q_step(&q) ? q_get_int(&q) : 0;
            err = q_end(&q, c->e);
        }
        if (!err && n == 0)
            err = err_add_field(c->e, arena_printf(c->w->arena, "#/sets/%zu", i),
                                "is no set of this baseline");
        if (err) {
            buf_free(&list);
            return err;
        }
        buf_printf(&list, ",%s,", in->keep[i]);
    }
    AUTO(query)
    struct query q = conn_query(c->w->conn, "DELETE FROM baseline_set WHERE baseline_id = $1 AND"
                                            " instr($2, ',' || digest || ',') = 0");
    q_text(&q, c->id);
    q_text(&q, arena_strndup(c->w->arena, list.data, list.len));
    buf_free(&list);
    return q_run(&q, c->e);
}

static enum err forget_vms(struct changing *c)
{
    AUTO(query)
    struct query q = conn_query(c->w->conn, "DELETE FROM baseline_vm WHERE baseline_id = $1");
    q_text(&q, c->id);
    return q_run(&q, c->e);
}

/* Sets that were only learned: nobody has said that they are good. */
static enum err forget_sets(struct changing *c)
{
    AUTO(query)
    struct query q = conn_query(c->w->conn, "DELETE FROM baseline_set WHERE baseline_id = $1");
    q_text(&q, c->id);
    return q_run(&q, c->e);
}

static enum err refuse_confirm(enum baseline_state state, struct err_info *e)
{
    err_set(e, ERR_INVALID_STATE, "the baseline is %s, not proposed", baseline_state_text(state));
    return err_remedy(
        e, "%s",
        state == BASELINE_IS_LEARNING
            ? "Wait until more VMs of the image have reported a trusted boot "
              "(attestation.baseline_vms), or accept the boot of a report that you trust."
            : "There is nothing left to confirm; accept adds the boot of a report.");
}

static enum err run_confirm(struct write *w, const void *in_, void *out, struct err_info *e)
{
    const struct baseline_change *in = in_;
    struct changing c;
    enum err err = open_change(&c, w, in, e);
    if (err)
        return err;
    if (c.state != BASELINE_IS_PROPOSED)
        return refuse_confirm(c.state, e);
    if ((in->keep && (err = drop_other_sets(&c, in))) || (err = forget_vms(&c)) ||
        (err = set_state(&c, BASELINE_IS_CONFIRMED)))
        return err;
    return db_audit_add(w, &in->audit, in->now, NULL, e);
}

void store_confirm_baseline(struct store *s, const struct baseline_change *in, void *out,
                            struct store_done *done)
{
    static const struct store_verb verb = {.name = "confirm_baseline", .run = run_confirm};
    writer_queue(s, &verb, in, out, done);
}

static enum err run_accept(struct write *w, const void *in_, void *out, struct err_info *e)
{
    const struct baseline_change *in = in_;
    struct changing c;
    int64_t n = 0;
    enum err err = open_change(&c, w, in, e);
    if (err || (c.state != BASELINE_IS_CONFIRMED && (err = forget_sets(&c))) ||
        (err = add_set(&c, in->set, in->audit.principal)) ||
        (err = count(&c, COUNT_SETS, c.id, &n)))
        return err;
    if (n > BASELINE_SETS_MAX) {
        err_set(e, ERR_INVALID_STATE, "the baseline has %d sets already", BASELINE_SETS_MAX);
        return err_remedy(e, "Delete the baseline and let it be learned again.");
    }
    if ((err = forget_vms(&c)) || (err = set_state(&c, BASELINE_IS_CONFIRMED)))
        return err;
    return db_audit_add(w, &in->audit, in->now, NULL, e);
}

void store_accept_baseline(struct store *s, const struct baseline_change *in, void *out,
                           struct store_done *done)
{
    static const struct store_verb verb = {.name = "accept_baseline", .run = run_accept};
    writer_queue(s, &verb, in, out, done);
}

static enum err run_delete(struct write *w, const void *in_, void *out, struct err_info *e)
{
    const struct baseline_change *in = in_;
    struct changing c;
    enum err err = open_change(&c, w, in, e);
    if (err)
        return err;
    {
        AUTO(query)
        struct query q = conn_query(w->conn, "DELETE FROM baseline WHERE id = $1");
        q_text(&q, c.id);
        if ((err = q_run(&q, e)))
            return err;
    }
    return db_audit_add(w, &in->audit, in->now, NULL, e);
}

void store_delete_baseline(struct store *s, const struct baseline_change *in, void *out,
                           struct store_done *done)
{
    static const struct store_verb verb = {.name = "delete_baseline", .run = run_delete};
    writer_queue(s, &verb, in, out, done);
}

/* ---- reading ---- */

static enum err read_sets(struct conn *c, struct arena *a, struct baseline *b, bool events,
                          struct err_info *e)
{
    b->sets = arena_array(a, BASELINE_SETS_MAX + 1, sizeof *b->sets);
    AUTO(query)
    struct query q = conn_query(
        c, "SELECT digest, bank, pcrs, report_id, added_at, added_by, (SELECT count(*) FROM"
           " baseline_vm v WHERE v.baseline_id = s.baseline_id AND v.digest = s.digest),"
           " CASE WHEN $1 = 1 THEN events END FROM baseline_set s WHERE baseline_id = $2"
           " ORDER BY added_at, digest LIMIT $3");
    q_int(&q, events);
    q_text(&q, b->id);
    q_int(&q, BASELINE_SETS_MAX);
    while (q_step(&q)) {
        struct baseline_set *s = &b->sets[b->n_sets++];
        s->digest = q_get_text(&q, a);
        s->bank = q_get_text(&q, a);
        s->pcrs = q_get_text(&q, a);
        s->report_id = q_get_text(&q, a);
        s->added_at = q_get_int(&q);
        s->added_by = q_get_text(&q, a);
        s->vms = q_get_int(&q);
        s->events = q_get_text(&q, a);
    }
    return q_end(&q, e);
}

static void read_baseline(struct query *q, struct arena *a, struct baseline *b)
{
    b->id = q_get_text(q, a);
    b->image = q_get_text(q, a);
    if (!baseline_state_parse(q_get_text(q, a), &b->state))
        b->state = BASELINE_IS_LEARNING;
    b->revision = q_get_int(q);
    b->created_at = q_get_int(q);
    b->updated_at = q_get_int(q);
}

static enum err read_list(struct filter *f, struct store *s, struct arena *a, int limit,
                          bool events, struct baseline_list *out, struct err_info *e)
{
    *out = (struct baseline_list){.items = arena_array(a, (size_t)limit + 1, sizeof *out->items)};
    AUTO(reader) struct reader r = db_reader_take(s);
    enum err err;
    {
        AUTO(query) struct query q = filter_query(f, r.conn);
        while (q_step(&q))
            read_baseline(&q, a, &out->items[out->n++]);
        err = q_end(&q, e);
    }
    out->more = out->n > (size_t)limit;
    out->n -= out->more;
    for (size_t i = 0; i < out->n && !err; i++)
        err = read_sets(r.conn, a, &out->items[i], events, e);
    return err;
}

#define BASELINE_SELECT                                                                            \
    "SELECT id, image, state, revision, created_at, updated_at FROM baseline WHERE 1 = 1"

enum err store_list_baselines(struct store *s, struct arena *a, const struct baseline_filter *in,
                              struct baseline_list *out, struct err_info *e)
{
    struct filter f = filter_of(BASELINE_SELECT);
    filter_text(&f, " AND image_key = ", db_key_of(a, in->image));
    filter_text(&f, " AND state = ", in->state ? baseline_state_text(*in->state) : NULL);
    filter_text(&f, " AND id > ", in->page.after);
    filter_int(&f, " ORDER BY id LIMIT ", in->page.limit + 1);
    return read_list(&f, s, a, in->page.limit, in->events, out, e);
}

enum err store_get_baseline(struct store *s, struct arena *a, const char *id, struct baseline *out,
                            struct err_info *e)
{
    struct filter f = filter_of(BASELINE_SELECT);
    filter_text(&f, " AND id = ", id);
    struct baseline_list list;
    enum err err = read_list(&f, s, a, 1, true, &list, e);
    if (err)
        return err;
    if (list.n == 0)
        return err_set(e, ERR_NOT_FOUND, "no baseline %s", id);
    *out = list.items[0];
    return OK;
}
