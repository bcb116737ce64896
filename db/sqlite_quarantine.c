#include "db/sqlite.h"

/*
 * Quarantines: an AK that is proven and not the VM's pin, or is another VM's. They begin within a
 * report's transaction and end with an operator's decision.
 */

/* ---- who else has it ---- */

/* The VM that has the AK (or EK) pinned, unless it is `vm` itself; *there says whether. */
static enum err find_other(struct write *w, const struct vm *vm, enum vm_by by, const char *spki,
                           struct vm *other, bool *there, struct err_info *e)
{
    *there = false;
    if (!spki)
        return OK;
    enum err err = db_vm_read(w->conn, w->arena, by, spki, other, NULL);
    if (err == ERR_NOT_FOUND)
        return OK;
    if (err)
        return err_set(e, err, "the VM registry cannot be read");
    *there =
        strcmp(db_key_of(w->arena, other->resource_id), db_key_of(w->arena, vm->resource_id)) != 0;
    return OK;
}

enum err db_quarantine_elsewhere(struct write *w, const struct vm *vm, const struct report_new *in,
                                 bool *elsewhere, struct err_info *e)
{
    struct vm other = {0};
    *elsewhere = false;
    /* The pinned AK is nobody else's: its column is unique. */
    if (!in->pin_allowed || (vm->ak_spki && in->report.ak_spki &&
                             !strcmp(vm->ak_spki, db_key_of(w->arena, in->report.ak_spki))))
        return OK;
    enum err err = find_other(w, vm, VM_BY_AK, in->report.ak_spki, &other, elsewhere, e);
    if (err || *elsewhere)
        return err;
    return find_other(w, vm, VM_BY_EK, in->ek_spki, &other, elsewhere, e);
}

/* ---- beginning ---- */

static enum err quarantine_other(struct write *w, const struct vm *vm, const struct vm *other,
                                 const struct report_new *in, struct err_info *e)
{
    AUTO(query)
    struct query q = conn_query(
        w->conn, "UPDATE vm SET updated_at = $1, etag = $2, status = 'quarantined', reasons = $3,"
                 " quarantined_at = $1, quarantine_reason = $4, quarantine_other = $5,"
                 " quarantine_report_id = $6 WHERE resource_key = $7 AND quarantined_at = 0");
    q_int(&q, in->report.received_at);
    q_text(&q, db_etag_new(w->arena));
    q_text(&q, in->other_reasons);
    q_text(&q, in->other_reason);
    q_text(&q, vm->resource_id);
    q_text(&q, in->report.id);
    q_text(&q, db_key_of(w->arena, other->resource_id));
    return q_run(&q, e);
}

/* A TPM may be two VMs' at once: its AK the one's, its EK the other's. */
static enum err quarantine_others(struct write *w, const struct vm *vm, const struct report_new *in,
                                  const char **first, struct err_info *e)
{
    const struct {
        enum vm_by by;
        const char *spki;
    } keys[] = {{VM_BY_AK, in->report.ak_spki}, {VM_BY_EK, in->ek_spki}};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        struct vm other = {0};
        bool there = false;
        enum err err = find_other(w, vm, keys[i].by, keys[i].spki, &other, &there, e);
        if (err || (there && (err = quarantine_other(w, vm, &other, in, e))))
            return err;
        if (there && !*first)
            *first = other.resource_id;
    }
    return OK;
}

enum err db_quarantine_set(struct write *w, const struct vm *vm, const struct report_new *in,
                           enum vm_binding binding, const char *proof, struct err_info *e)
{
    const char *other = NULL;
    enum err err = binding == BINDING_SHARED ? quarantine_others(w, vm, in, &other, e) : OK;
    if (err)
        return err;
    /* The first reason stays, the newest key waits. */
    AUTO(query)
    struct query q = conn_query(
        w->conn,
        "UPDATE vm SET"
        " quarantine_reason = CASE WHEN quarantined_at = 0 THEN $1 ELSE quarantine_reason END,"
        " quarantine_other = CASE WHEN quarantined_at = 0 THEN $2 ELSE quarantine_other END,"
        " quarantined_at = CASE WHEN quarantined_at = 0 THEN $3 ELSE quarantined_at END,"
        " quarantine_report_id = $4, candidate_ak_spki = $5, candidate_ak_name = $6,"
        " candidate_ak_profile = $7, candidate_ek_spki = $8, candidate_proof = $9"
        " WHERE resource_key = $10");
    q_text(&q, in->reason);
    q_text(&q, other);
    q_int(&q, in->report.received_at);
    q_text(&q, in->report.id);
    q_text(&q, db_key_of(w->arena, in->report.ak_spki));
    q_text(&q, db_key_of(w->arena, in->ak_name));
    q_text(&q, in->ak_profile);
    q_text(&q, db_key_of(w->arena, in->ek_spki));
    q_text(&q, proof);
    q_text(&q, db_key_of(w->arena, vm->resource_id));
    return q_run(&q, e);
}

/* ---- ending ---- */

struct deciding {
    struct write *w;
    const struct requalify *in;
    struct vm vm;
    const char *key;     /* resource_key */
    const char *ak_spki; /* in lower case, or NULL */
    struct err_info *e;
};

static bool same(const char *a, const char *b)
{
    return a && b && !strcmp(a, b);
}

/* What the decision asks for is so already: a repeated call changes nothing. */
static bool is_done(const struct deciding *d)
{
    const struct vm *vm = &d->vm;
    if (vm->quarantine.since)
        return false;
    switch (d->in->decision) {
    case REQUALIFY_ACCEPT:
        return same(vm->ak_spki, d->ak_spki);
    case REQUALIFY_REBUILD:
        return !vm->ak_spki;
    case REQUALIFY_DISMISS:
        return true;
    }
    return false;
}

/* The AK that waits is the one that the operator saw. */
static enum err check_named(const struct deciding *d)
{
    const char *waits = d->vm.quarantine.ak_spki;
    if (d->in->decision == REQUALIFY_ACCEPT && !waits) {
        err_set(d->e, ERR_INVALID_STATE, "no attestation key waits to be accepted");
        return err_remedy(d->e, "Decide `rebuild` where the VM was rebuilt, and enrol it again.");
    }
    if (d->ak_spki && !same(waits, d->ak_spki))
        return err_set(d->e, ERR_AK_MISMATCH,
                       "the attestation key that waits is not the named one");
    return OK;
}

static enum err check_free(const struct deciding *d)
{
    struct vm other = {0};
    bool there = false;
    enum err err =
        find_other(d->w, &d->vm, VM_BY_AK, d->vm.quarantine.ak_spki, &other, &there, d->e);
    if (!err && !there)
        err = find_other(d->w, &d->vm, VM_BY_EK, d->vm.quarantine.ek_spki, &other, &there, d->e);
    if (err || !there)
        return err;
    err_set(d->e, ERR_INVALID_STATE, "the attestation key or its TPM is pinned by another VM");
    return err_remedy(d->e, "One of the two is a clone: decide `rebuild` for it, or delete it.");
}

static enum err accept_candidate(const struct deciding *d)
{
    enum err err = check_free(d);
    if (err)
        return err;
    AUTO(query)
    struct query q = conn_query(
        d->w->conn, "UPDATE vm SET ak_spki = candidate_ak_spki, ak_name = candidate_ak_name,"
                    " ak_profile = candidate_ak_profile, ek_spki = candidate_ek_spki,"
                    " enrolled_by = candidate_proof, enrolled_at = $1, reset_count = 0,"
                    " restart_count = 0, clock_ms = 0 WHERE resource_key = $2");
    q_int(&q, d->in->now);
    q_text(&q, d->key);
    return q_run(&q, d->e);
}

static enum err drop_pin(const struct deciding *d)
{
    AUTO(query)
    struct query q = conn_query(d->w->conn, "UPDATE vm SET" VM_NO_PIN " WHERE resource_key = $1");
    q_text(&q, d->key);
    return q_run(&q, d->e);
}

/* A token that was made on demand before would replace the pin (vm_token_decides). */
static enum err drop_tokens(const struct deciding *d)
{
    AUTO(query)
    struct query q = conn_query(d->w->conn, "DELETE FROM enrollment WHERE resource_key = $1"
                                            " AND job_id IS NULL AND used_at = 0");
    q_text(&q, d->key);
    return q_run(&q, d->e);
}

/* What was reported before is void: a sweep behind a change of policy would undo the decision by it. */
static enum err end_quarantine(const struct deciding *d)
{
    AUTO(query)
    struct query q =
        conn_query(d->w->conn,
                   "UPDATE vm SET updated_at = $1, etag = $2, status = CASE WHEN"
                   " vtpm = 1 AND monitoring = 1 THEN 'unknown' ELSE 'unmonitored' END,"
                   " reasons = $3," VM_NO_EVIDENCE "," VM_NO_QUARANTINE " WHERE resource_key = $4");
    q_int(&q, d->in->now);
    q_text(&q, db_etag_new(d->w->arena));
    q_text(&q, d->in->reasons);
    q_text(&q, d->key);
    return q_run(&q, d->e);
}

static enum err decide(const struct deciding *d)
{
    enum err err = check_named(d);
    if (!err)
        err = db_vm_settle(d->w, d->key, d->e);
    if (!err && d->in->decision == REQUALIFY_ACCEPT)
        err = accept_candidate(d);
    if (!err && d->in->decision == REQUALIFY_REBUILD)
        err = drop_pin(d);
    if (!err && d->in->decision == REQUALIFY_DISMISS)
        err = drop_tokens(d);
    return err ? err : end_quarantine(d);
}

static enum err run_requalify(struct write *w, const void *in_, void *out, struct err_info *e)
{
    const struct requalify *in = in_;
    bool *changed = out;
    struct deciding d = {.w = w,
                         .in = in,
                         .key = db_key_of(w->arena, in->resource_id),
                         .ak_spki = db_key_of(w->arena, in->ak_spki),
                         .e = e};
    enum err err = db_vm_read(w->conn, w->arena, VM_BY_RESOURCE, in->resource_id, &d.vm, e);
    if (err)
        return err;
    *changed = !is_done(&d);
    if (!*changed)
        return OK;
    if ((err = decide(&d)))
        return err;
    return db_audit_add(w, &in->audit, in->now, NULL, e);
}

void store_requalify(struct store *s, const struct requalify *in, bool *changed,
                     struct store_done *done)
{
    static const struct store_verb verb = {"requalify", run_requalify, false};
    writer_queue(s, &verb, in, changed, done);
}
