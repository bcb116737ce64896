#include "db/sqlite.h"

/* Everything that belongs to one vmId, as in a row that never had one. */
#define NO_ATTESTATION VM_NO_EVIDENCE "," VM_NO_PIN "," VM_NO_QUARANTINE

/* ---- writing ---- */

enum err db_vm_find(struct write *w, const char *key, struct vm_row *row, struct err_info *e)
{
    AUTO(query)
    struct query q = conn_query(w->conn, "SELECT vm_key, etag, echo_n FROM " VM_TABLES
                                         " WHERE resource_key = $1");
    q_text(&q, key);
    row->there = q_step(&q);
    if (row->there) {
        row->vm_key = q_get_text(&q, w->arena);
        const char *etag = q_get_text(&q, w->arena);
        row->etag = db_vm_etag(w->arena, etag, q_get_int(&q));
    }
    return q_end(&q, e);
}

static enum err run_with_key(struct write *w, const char *sql, const char *key, struct err_info *e)
{
    AUTO(query) struct query q = conn_query(w->conn, sql);
    q_text(&q, key);
    return q_run(&q, e);
}

static enum err delete_row(struct write *w, const char *key, struct err_info *e)
{
    static const char enrollments[] =
        "DELETE FROM enrollment WHERE resource_key = $1 AND used_at = 0";
    static const char row[] = "DELETE FROM vm WHERE resource_key = $1";
    enum err err = run_with_key(w, enrollments, key, e);
    return err ? err : run_with_key(w, row, key, e);
}

/* Unguessable, so that a row made again under the same id has no ETag of the former one. */
const char *db_etag_new(struct arena *a)
{
    uint8_t raw[10];
    char text[BASE64URL_SIZE(sizeof raw)];
    random_id(raw, sizeof raw);
    base64url_encode(BYTES_OF(raw), text);
    return arena_strdup(a, text);
}

const char *db_vm_etag(struct arena *a, const char *etag, int64_t echoes)
{
    return echoes ? arena_printf(a, "%s.%lld", etag, (long long)echoes) : etag;
}

static enum err insert_row(struct write *w, const char *key, const struct vm_write *v, int64_t now,
                           const char *job_id, struct err_info *e)
{
    bool expects = v->set & VM_SET_EXPECT;
    bool placed = v->set & VM_SET_PLACE;
    bool known = v->set & VM_SET_VM_ID;
    bool judged = v->set & VM_SET_STATUS;
    AUTO(query)
    struct query q = conn_query(
        w->conn, "INSERT INTO vm (resource_key, resource_id, created_at, updated_at, etag, job_id,"
                 " vm_id, vm_key, name, location, origin, state, spec, made, secure_boot, vtpm,"
                 " monitoring, status, reasons) VALUES ($1,$2,$3,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,"
                 " $13,$14,$15,$16,$17,$18)");
    q_text(&q, key);
    q_text(&q, v->resource_id);
    q_int(&q, now);
    q_text(&q, db_etag_new(w->arena));
    q_text(&q, job_id);
    q_text(&q, known ? v->vm_id : NULL);
    q_text(&q, known ? db_key_of(w->arena, v->vm_id) : NULL);
    q_text(&q, placed ? v->name : NULL);
    q_text(&q, placed ? v->location : NULL);
    q_text(&q, placed ? v->origin : NULL);
    q_text(&q, v->set & VM_SET_STATE ? v->state : NULL);
    q_text(&q, v->set & VM_SET_SPEC ? v->spec : NULL);
    q_text(&q, v->set & VM_SET_MADE ? v->made : NULL);
    q_int(&q, expects && v->secure_boot);
    q_int(&q, expects && v->vtpm);
    q_int(&q, expects && v->monitoring);
    q_text(&q, vm_status_text(judged ? v->status : VM_UNKNOWN));
    q_text(&q, judged ? v->reasons : NULL);
    return q_run(&q, e);
}

/* Azure moves a VM between resource groups with its vmId: the newest place is the true one. */
static enum err take_vm_id(struct write *w, const char *key, const char *vm_key, struct err_info *e)
{
    AUTO(query)
    struct query q =
        conn_query(w->conn, "UPDATE vm SET vm_id = NULL, vm_key = NULL, status = 'unknown',"
                            " reasons = NULL, etag = $1," NO_ATTESTATION
                            " WHERE vm_key = $2 AND resource_key <> $3");
    q_text(&q, db_etag_new(w->arena));
    q_text(&q, vm_key);
    q_text(&q, key);
    return q_run(&q, e);
}

static enum err change_vm_id(struct write *w, const char *key, const char *from, const char *vm_key,
                             struct err_info *e)
{
    enum err err;
    if ((err = db_vm_forget_echo(w, from, e)) || (err = db_vm_forget_echo(w, vm_key, e)) ||
        (vm_key ? (err = take_vm_id(w, key, vm_key, e)) : OK))
        return err;
    return run_with_key(w,
                        "UPDATE vm SET status = 'unknown', reasons = NULL," NO_ATTESTATION
                        " WHERE resource_key = $1 AND vm_key IS NOT NULL",
                        key, e);
}

static enum err update_row(struct write *w, const char *key, const struct vm_write *v, int64_t now,
                           const char *job_id, struct err_info *e)
{
    AUTO(query)
    struct query q = conn_query(
        w->conn, "UPDATE vm SET updated_at = $1, etag = $2, job_id = coalesce($3, job_id),"
                 " vm_id = CASE WHEN $4 = 1 THEN $5 ELSE vm_id END,"
                 " vm_key = CASE WHEN $6 = 1 THEN $7 ELSE vm_key END,"
                 " name = CASE WHEN $8 = 1 THEN $9 ELSE name END,"
                 " location = CASE WHEN $10 = 1 THEN $11 ELSE location END,"
                 " origin = CASE WHEN $12 = 1 THEN $13 ELSE origin END,"
                 " state = CASE WHEN $14 = 1 THEN $15 ELSE state END,"
                 " spec = CASE WHEN $16 = 1 THEN $17 ELSE spec END,"
                 " made = CASE WHEN $18 = 1 THEN $19 ELSE made END,"
                 " secure_boot = CASE WHEN $20 = 1 THEN $21 ELSE secure_boot END,"
                 " vtpm = CASE WHEN $22 = 1 THEN $23 ELSE vtpm END,"
                 " monitoring = CASE WHEN $24 = 1 THEN $25 ELSE monitoring END,"
                 " status = CASE WHEN $26 = 1 THEN $27 ELSE status END,"
                 " reasons = CASE WHEN $28 = 1 THEN $29 ELSE reasons END,"
                 " image = CASE WHEN $30 = 1 THEN $31 ELSE image END"
                 " WHERE resource_key = $32");
    q_int(&q, now);
    q_text(&q, db_etag_new(w->arena));
    q_text(&q, job_id);
    q_set_text(&q, v->set & VM_SET_VM_ID, v->vm_id);
    q_set_text(&q, v->set & VM_SET_VM_ID, db_key_of(w->arena, v->vm_id));
    q_set_text(&q, v->set & VM_SET_PLACE, v->name);
    q_set_text(&q, v->set & VM_SET_PLACE, v->location);
    q_set_text(&q, v->set & VM_SET_PLACE, v->origin);
    q_set_text(&q, v->set & VM_SET_STATE, v->state);
    q_set_text(&q, v->set & VM_SET_SPEC, v->spec);
    q_set_text(&q, v->set & VM_SET_MADE, v->made);
    q_set_int(&q, v->set & VM_SET_EXPECT, v->secure_boot);
    q_set_int(&q, v->set & VM_SET_EXPECT, v->vtpm);
    q_set_int(&q, v->set & VM_SET_EXPECT, v->monitoring);
    q_set_text(&q, v->set & VM_SET_STATUS, vm_status_text(v->status));
    q_set_text(&q, v->set & VM_SET_STATUS, v->reasons);
    q_set_text(&q, v->set & VM_SET_IMAGE, v->image);
    q_text(&q, key);
    return q_run(&q, e);
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? !strcmp(a, b) : a == b;
}

enum err db_vm_is(struct write *w, const char *resource_key, const char *etag, struct vm_row *row,
                  struct err_info *e)
{
    enum err err = db_vm_find(w, resource_key, row, e);
    if (!err && !same_text(row->etag, etag))
        return err_set(e, ERR_PRECONDITION_FAILED, "the VM has changed");
    return err;
}

enum err db_vm_apply_to(struct write *w, const struct vm_row *row, const struct vm_write *v,
                        int64_t now, const char *job_id, struct err_info *e)
{
    const char *key = db_key_of(w->arena, v->resource_id);
    const char *vm_key = db_key_of(w->arena, v->vm_id);
    enum err err = OK;
    if (v->set & VM_DELETE)
        return delete_row(w, key, e);
    if (!row->there && (v->set & VM_ONLY_IF_THERE))
        return OK;
    if ((v->set & VM_SET_VM_ID) && !same_text(row->vm_key, vm_key) &&
        (err = change_vm_id(w, key, row->vm_key, vm_key, e)))
        return err;
    return row->there ? update_row(w, key, v, now, job_id, e)
                      : insert_row(w, key, v, now, job_id, e);
}

enum err db_vm_apply(struct write *w, const struct vm_write *v, int64_t now, const char *job_id,
                     struct err_info *e)
{
    struct vm_row row = {0};
    enum err err = db_vm_find(w, db_key_of(w->arena, v->resource_id), &row, e);
    return err ? err : db_vm_apply_to(w, &row, v, now, job_id, e);
}

static enum err run_put_vm(struct write *w, const void *in_, void *out, struct err_info *e)
{
    const struct vm_put *in = in_;
    struct vm_row row = {0};
    enum err err = db_vm_find(w, db_key_of(w->arena, in->vm.resource_id), &row, e);
    if (err)
        return err;
    if (!row.there && (in->vm.set & (VM_DELETE | VM_ONLY_IF_THERE)))
        return err_set(e, ERR_NOT_FOUND, "no VM %s", in->vm.resource_id);
    if (in->if_etag && !same_text(in->if_etag, row.etag))
        return err_set(e, ERR_PRECONDITION_FAILED, "the VM has changed");
    if ((err = db_vm_apply(w, &in->vm, in->now, NULL, e)))
        return err;
    return db_audit_add(w, &in->audit, in->now, NULL, e);
}

void store_put_vm(struct store *s, const struct vm_put *in, void *out, struct store_done *done)
{
    static const struct store_verb verb = {.name = "put_vm", .run = run_put_vm};
    writer_queue(s, &verb, in, out, done);
}

/* ---- reading ---- */

/* The reports since the one that the row has, which said the same. */
static void read_echo(struct query *q, struct arena *a, struct vm *vm)
{
    int64_t n = q_get_int(q);
    const char *id = q_get_text(q, a);
    int64_t at = q_get_int(q);
    const struct vm_said said = {
        .counted = true,
        .reset_count = q_get_int(q),
        .restart_count = q_get_int(q),
        .clock_ms = q_get_int(q),
    };
    int64_t stale_at = q_get_int(q);
    vm->settled.echoes = n;
    if (!n)
        return;
    vm->etag = db_vm_etag(a, vm->etag, n);
    vm->last_report_id = id;
    vm->last_report_at = at;
    vm->updated_at = at > vm->updated_at ? at : vm->updated_at;
    vm->stale_at = stale_at;
    vm->said = said;
    vm->reset_count = said.reset_count;
    vm->restart_count = said.restart_count;
    vm->clock_ms = said.clock_ms;
}

void db_vm_read_row(struct query *q, struct arena *a, struct vm *vm)
{
    vm->resource_id = q_get_text(q, a);
    vm->vm_id = q_get_text(q, a);
    vm->name = q_get_text(q, a);
    vm->location = q_get_text(q, a);
    vm->state = q_get_text(q, a);
    vm->origin = q_get_text(q, a);
    vm->job_id = q_get_text(q, a);
    vm->spec = q_get_text(q, a);
    vm->made = q_get_text(q, a);
    vm->secure_boot = q_get_int(q);
    vm->vtpm = q_get_int(q);
    vm->monitoring = q_get_int(q);
    vm->created_at = q_get_int(q);
    vm->updated_at = q_get_int(q);
    if (!vm_status_parse(q_get_text(q, a), &vm->status))
        vm->status = VM_UNKNOWN;
    vm->reasons = q_get_text(q, a);
    vm->claims = q_get_text(q, a);
    vm->last_report_id = q_get_text(q, a);
    vm->last_verdict = q_get_text(q, a);
    vm->last_report_at = q_get_int(q);
    vm->ak_spki = q_get_text(q, a);
    vm->ak_name = q_get_text(q, a);
    vm->ak_profile = q_get_text(q, a);
    vm->ek_spki = q_get_text(q, a);
    vm->enrolled_by = q_get_text(q, a);
    vm->enrolled_at = q_get_int(q);
    vm->reset_count = q_get_int(q);
    vm->restart_count = q_get_int(q);
    vm->clock_ms = q_get_int(q);
    vm->quarantine.since = q_get_int(q);
    vm->quarantine.reason = q_get_text(q, a);
    vm->quarantine.other = q_get_text(q, a);
    vm->quarantine.report_id = q_get_text(q, a);
    vm->quarantine.ak_spki = q_get_text(q, a);
    vm->quarantine.ak_name = q_get_text(q, a);
    vm->quarantine.ak_profile = q_get_text(q, a);
    vm->quarantine.ek_spki = q_get_text(q, a);
    vm->quarantine.proof = q_get_text(q, a);
    vm->certificates = q_get_int(q);
    vm->certificates_state = q_get_text(q, a);
    vm->certificates_log = q_get_text(q, a);
    vm->etag = q_get_text(q, a);
    vm->image = q_get_text(q, a);
    vm->policy = q_get_text(q, a);
    vm->baseline = q_get_text(q, a);
    vm->stale_at = q_get_int(q);
    vm->said.counted = q_get_int(q);
    vm->said.reset_count = q_get_int(q);
    vm->said.restart_count = q_get_int(q);
    vm->said.clock_ms = q_get_int(q);
    vm->settled.rowid = q_get_int(q);
    vm->settled.last_report_at = vm->last_report_at;
    vm->settled.stale_at = vm->stale_at;
    read_echo(q, a, vm);
}

static const char *const by_column[] = {
    [VM_BY_RESOURCE] = "SELECT " VM_COLUMNS " FROM " VM_TABLES " WHERE resource_key = $1",
    [VM_BY_ID] = "SELECT " VM_COLUMNS " FROM " VM_TABLES " WHERE vm_key = $1",
    [VM_BY_AK] = "SELECT " VM_COLUMNS " FROM " VM_TABLES " WHERE ak_spki = $1",
    [VM_BY_EK] = "SELECT " VM_COLUMNS " FROM " VM_TABLES " WHERE ek_spki = $1",
};

/* `key` is in lower case. */
static enum err read_vm(struct conn *c, struct arena *a, enum vm_by by, const char *key,
                        struct vm *out, struct err_info *e)
{
    AUTO(query) struct query q = conn_query(c, by_column[by]);
    q_text(&q, key);
    bool there = q_step(&q);
    if (there)
        db_vm_read_row(&q, a, out);
    enum err err = q_end(&q, e);
    if (!err && !there)
        return err_set(e, ERR_NOT_FOUND, "no such VM");
    return err;
}

enum err db_vm_read(struct conn *c, struct arena *a, enum vm_by by, const char *value,
                    struct vm *out, struct err_info *e)
{
    return read_vm(c, a, by, db_key_of(a, value), out, e);
}

/* ARM ids begin with a slash and vmIds do not, so both can be keys of the one cache. */
static enum err read_cached(struct store *s, struct arena *a, enum vm_by by, const char *key,
                            struct vm *out, struct err_info *e)
{
    uint64_t began;
    if (vm_cache_get(s->vms, key, a, out, &began))
        return OK;
    AUTO(reader) struct reader r = db_reader_take(s);
    enum err err = read_vm(r.conn, a, by, key, out, e);
    if (!err)
        vm_cache_put(s->vms, key, out, began);
    return err;
}

enum err store_get_vm(struct store *s, struct arena *a, const char *resource_id, struct vm *out,
                      struct err_info *e)
{
    return read_cached(s, a, VM_BY_RESOURCE, db_key_of(a, resource_id), out, e);
}

bool store_peek_vm(struct store *s, struct arena *a, const char *resource_id, struct vm *out)
{
    uint64_t began;
    return vm_cache_get(s->vms, db_key_of(a, resource_id), a, out, &began);
}

bool store_vm_stands(const struct store *s, uint64_t reading)
{
    return vm_cache_stands(s->vms, reading);
}

enum err store_get_vm_by_id(struct store *s, struct arena *a, const char *vm_id, struct vm *out,
                            struct err_info *e)
{
    return read_cached(s, a, VM_BY_ID, db_key_of(a, vm_id), out, e);
}

enum err store_get_vm_by_ak(struct store *s, struct arena *a, const char *ak_spki, struct vm *out,
                            struct err_info *e)
{
    AUTO(reader) struct reader r = db_reader_take(s);
    return db_vm_read(r.conn, a, VM_BY_AK, ak_spki, out, e);
}

enum err store_get_vm_by_ek(struct store *s, struct arena *a, const char *ek_spki, struct vm *out,
                            struct err_info *e)
{
    AUTO(reader) struct reader r = db_reader_take(s);
    return db_vm_read(r.conn, a, VM_BY_EK, ek_spki, out, e);
}
