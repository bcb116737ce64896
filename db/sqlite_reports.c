#include "db/sqlite.h"

#include <strings.h>

/* ---- enrolment ---- */

enum err db_enrollment_add(struct write *w, const char *hash, const char *resource_id,
                           const char *job_id, int64_t now, int64_t expires_at, struct err_info *e)
{
    AUTO(query)
    struct query q =
        conn_query(w->conn, "INSERT INTO enrollment (hash, resource_id, resource_key, job_id,"
                            " created_at, expires_at) VALUES ($1,$2,$3,$4,$5,$6)");
    q_text(&q, hash);
    q_text(&q, resource_id);
    q_text(&q, db_key_of(w->arena, resource_id));
    q_text(&q, job_id);
    q_int(&q, now);
    q_int(&q, expires_at);
    return q_run(&q, e);
}

static enum err run_put_enrollment(struct write *w, const void *in_, void *out, struct err_info *e)
{
    const struct enrollment_put *in = in_;
    struct vm vm = {0};
    enum err err;
    if ((err = db_vm_read(w->conn, w->arena, VM_BY_RESOURCE, in->resource_id, &vm, e)) ||
        (err = db_enrollment_add(w, in->hash, in->resource_id, NULL, in->now, in->expires_at, e)))
        return err;
    return db_audit_add(w, &in->audit, in->now, NULL, e);
}

void store_put_enrollment(struct store *s, const struct enrollment_put *in, void *out,
                          struct store_done *done)
{
    static const struct store_verb verb = {.name = "put_enrollment", .run = run_put_enrollment};
    writer_queue(s, &verb, in, out, done);
}

static enum err enrollment_read(struct conn *c, struct arena *a, const char *hash,
                                struct enrollment *out, struct err_info *e)
{
    AUTO(query)
    struct query q = conn_query(c, "SELECT hash, resource_id, job_id, created_at, expires_at,"
                                   " used_at FROM enrollment WHERE hash = $1");
    q_text(&q, hash);
    if (!q_step(&q)) {
        enum err err = q_end(&q, e);
        return err ? err : err_set(e, ERR_NOT_FOUND, "no such enrolment");
    }
    out->hash = q_get_text(&q, a);
    out->resource_id = q_get_text(&q, a);
    out->job_id = q_get_text(&q, a);
    out->created_at = q_get_int(&q);
    out->expires_at = q_get_int(&q);
    out->used_at = q_get_int(&q);
    return q_end(&q, e);
}

enum err store_get_enrollment(struct store *s, struct arena *a, const char *hash,
                              struct enrollment *out, struct err_info *e)
{
    AUTO(reader) struct reader r = db_reader_take(s);
    return enrollment_read(r.conn, a, hash, out, e);
}

/* ---- what is decided again in the transaction ---- */

struct putting {
    struct write *w;
    const struct report_new *in;
    struct vm vm;
    const char *vm_key;
    const char *ak_spki;
    enum vm_binding binding;
    enum enroll_proof proof;
    bool consume;        /* the enrolment gets used up */
    int64_t log_used_at; /* 0: it has no log */
    struct err_info *e;
};

static enum err refuse(struct putting *p, const char *why)
{
    return err_set(p->e, ERR_NOT_ENROLLED, "%s", why);
}

static enum err find_vm(struct putting *p)
{
    enum err err = OK;
    if (!vm_cache_peek(p->w->store->vms, p->vm_key, p->w->arena, &p->vm))
        err = db_vm_read(p->w->conn, p->w->arena, VM_BY_ID, p->in->report.vm_id, &p->vm, p->e);
    if (err == ERR_NOT_FOUND)
        return refuse(p, "the vmId is not registered");
    return err;
}

/* NULL: the enrolment is this VM's, unused and in time; else why not. */
static enum err check_enrollment(struct putting *p, struct enroll_claim *claim, const char **why)
{
    *why = "the AK is not the pinned one, and no enrolment was given";
    if (!p->in->enrollment_hash)
        return OK;
    struct enrollment t = {0};
    enum err err = enrollment_read(p->w->conn, p->w->arena, p->in->enrollment_hash, &t, p->e);
    if (err && err != ERR_NOT_FOUND)
        return err;
    if (err)
        *why = "the enrolment is not known";
    else if (!t.resource_id || strcasecmp(t.resource_id, p->vm.resource_id) != 0)
        *why = "the enrolment is another VM's";
    else if (t.used_at)
        *why = "the enrolment was used before";
    else if (t.expires_at <= p->in->report.received_at)
        *why = "the enrolment has expired";
    else
        *why = NULL;
    if (!*why) {
        claim->proof = PROOF_TOKEN;
        claim->decided = vm_token_decides(&p->vm, &t);
    }
    return OK;
}

static bool puts_into_quarantine(enum vm_binding b)
{
    return b == BINDING_CHANGED || b == BINDING_SHARED || b == BINDING_HELD;
}

static enum err check_credential(struct putting *p)
{
    const struct report_new *in = p->in;
    struct enroll_claim claim = {
        .proof = in->proof, .ak_spki = p->ak_spki, .ak_proven = in->pin_allowed};
    const char *why = NULL;
    bool elsewhere = false;
    enum err err;
    if ((err = check_enrollment(p, &claim, &why)) ||
        (err = db_quarantine_elsewhere(p->w, &p->vm, in, &elsewhere, p->e)))
        return err;
    p->proof = claim.proof;
    p->binding = vm_bind(&p->vm, &claim, elsewhere);
    if (p->binding == BINDING_NONE || (in->history_only && p->binding != BINDING_PINNED))
        return refuse(p, why);
    p->consume = claim.proof == PROOF_TOKEN &&
                 (p->binding == BINDING_PINNED || p->binding == BINDING_ENROLLED);
    /* What was judged by a pin that is none any more is no proof of anything. */
    if (in->by_pin && p->binding != BINDING_PINNED)
        return err_set(p->e, ERR_PRECONDITION_FAILED, "the VM's pin has changed");
    bool quarantined = p->vm.quarantine.since || puts_into_quarantine(p->binding);
    if (in->history_only || quarantined == in->quarantined)
        return OK;
    return err_set(p->e, ERR_PRECONDITION_FAILED, "the VM's quarantine has changed");
}

static enum err check_clock(struct putting *p)
{
    bool by_pin = p->binding == BINDING_PINNED;
    bool regressed = by_pin && vm_clock_regressed(&p->vm, &p->in->report);
    if (p->in->history_only || regressed == p->in->clock_regressed)
        return OK;
    return err_set(p->e, ERR_PRECONDITION_FAILED, "another report of the VM came first");
}

/* ---- what is written ---- */

static enum err use_once(struct putting *p, const char *hash, int64_t expires_at, enum err used,
                         const char *what)
{
    AUTO(query)
    struct query q =
        conn_query(p->w->conn, "INSERT INTO challenge_used (hash, expires_at) VALUES ($1,$2)"
                               " ON CONFLICT DO NOTHING");
    q_text(&q, hash);
    q_int(&q, expires_at);
    enum err err = q_run(&q, p->e);
    if (!err && !sqlite3_changes(p->w->conn->db))
        return err_set(p->e, used, "the %s was used before", what);
    return err;
}

static enum err use_challenge(struct putting *p)
{
    const struct report_new *in = p->in;
    enum err err =
        use_once(p, in->challenge_hash, in->challenge_expires_at, ERR_CHALLENGE_USED, "challenge");
    if (err || !in->activation_hash || p->binding == BINDING_PINNED)
        return err;
    return use_once(p, in->activation_hash, in->activation_expires_at, ERR_ACTIVATION_USED,
                    "activation");
}

static enum err find_log(struct putting *p, bool *held, int64_t *used_at)
{
    const struct last_report *last = last_reports_find(p->w->store->last, p->vm_key);
    *held = last && last->log_used_at &&
            strcmp(last->texts[CONTENT_LOG], p->in->report.log_digest) == 0;
    if (*held) {
        *used_at = last->log_used_at;
        return OK;
    }
    AUTO(query)
    struct query q =
        conn_query(p->w->conn, "SELECT last_used_at FROM log WHERE vm_key = $1 AND digest = $2");
    q_text(&q, p->vm_key);
    q_text(&q, p->in->report.log_digest);
    *held = q_step(&q);
    if (*held)
        *used_at = q_get_int(&q);
    return q_end(&q, p->e);
}

static enum err touch_log(struct putting *p)
{
    AUTO(query)
    struct query q = conn_query(
        p->w->conn, "UPDATE log SET last_used_at = $1 WHERE vm_key = $2 AND digest = $3");
    q_int(&q, p->in->report.received_at);
    q_text(&q, p->vm_key);
    q_text(&q, p->in->report.log_digest);
    return q_run(&q, p->e);
}

/* Whoever rules the guest can make a new log for each report. */
static enum err drop_old_logs(struct putting *p)
{
    AUTO(query)
    struct query q =
        conn_query(p->w->conn, "DELETE FROM log WHERE vm_key = $1 AND digest IN (SELECT digest"
                               " FROM log WHERE vm_key = $1 AND digest <> $2"
                               " ORDER BY last_used_at DESC LIMIT 1000 OFFSET $3)");
    q_text(&q, p->vm_key);
    q_text(&q, p->in->report.log_digest);
    q_int(&q, LOGS_PER_VM - 1);
    return q_run(&q, p->e);
}

static enum err insert_log(struct putting *p)
{
    {
        AUTO(query)
        struct query q = conn_query(
            p->w->conn, "INSERT INTO log (vm_key, digest, last_used_at) VALUES ($1,$2,$3)");
        q_text(&q, p->vm_key);
        q_text(&q, p->in->report.log_digest);
        q_int(&q, p->in->report.received_at);
        enum err err = q_run(&q, p->e);
        if (err)
            return err;
    }
    AUTO(query)
    struct query q =
        conn_query(p->w->conn, "INSERT INTO log_body (vm_key, digest, body) VALUES ($1,$2,$3)");
    q_text(&q, p->vm_key);
    q_text(&q, p->in->report.log_digest);
    q_blob(&q, p->in->log);
    enum err err = q_run(&q, p->e);
    return err ? err : drop_old_logs(p);
}

static enum err keep_log(struct putting *p)
{
    if (!p->in->report.log_digest)
        return OK;
    bool held = false;
    int64_t used_at = 0;
    enum err err = find_log(p, &held, &used_at);
    if (err)
        return err;
    p->log_used_at = p->in->report.received_at;
    if (held && used_at + LOG_USE_GRAIN_MS > p->in->report.received_at) {
        p->log_used_at = used_at;
        return OK;
    }
    if (held)
        return touch_log(p);
    if (!p->in->log.len)
        return err_set(p->e, ERR_EVENT_LOG_REQUIRED, "this event log is not held for the VM");
    return insert_log(p);
}

static enum err use_enrollment(struct putting *p)
{
    if (!p->consume)
        return OK;
    AUTO(query)
    struct query q = conn_query(p->w->conn, "UPDATE enrollment SET used_at = $1 WHERE hash = $2");
    q_int(&q, p->in->report.received_at);
    q_text(&q, p->in->enrollment_hash);
    return q_run(&q, p->e);
}

/* The audit row comes first: what is deleted with the report later. */
static enum err add_report(struct putting *p)
{
    const struct report_new *in = p->in;
    struct history_row row = {.vm_key = p->vm_key,
                              .vm_id = p->vm.vm_id,
                              .resource_id = p->vm.resource_id,
                              .ak_spki = p->ak_spki,
                              .proof =
                                  p->binding == BINDING_PINNED ? NULL : enroll_proof_text(p->proof),
                              .log_used_at = p->log_used_at,
                              .report = &in->report};
    if (in->audit) {
        enum err err = db_audit_add(p->w, in->audit, in->report.received_at, NULL, p->e);
        if (err)
            return err;
        row.audit_id = sqlite3_last_insert_rowid(p->w->conn->db);
    }
    return db_history_add(p->w, &row, p->e);
}

static enum err update_vm(struct putting *p)
{
    const struct vm_report r = {&p->vm, p->vm_key, p->binding, p->in};
    return p->in->history_only ? OK : db_vm_report(p->w, &r, p->e);
}

/* Once for each new log, so it does not burden the statement above. */
static enum err put_certificates(struct putting *p)
{
    if (!p->in->certificates_log || p->in->history_only)
        return OK;
    AUTO(query)
    struct query q =
        conn_query(p->w->conn, "UPDATE vm SET certificates = $1, certificates_state = $2,"
                               " certificates_log = $3 WHERE vm_key = $4");
    q_int(&q, p->in->certificates);
    q_text(&q, p->in->certificates_state);
    q_text(&q, p->in->certificates_log);
    q_text(&q, p->vm_key);
    return q_run(&q, p->e);
}

static enum err set_quarantine(struct putting *p)
{
    if (!puts_into_quarantine(p->binding))
        return OK;
    return db_quarantine_set(p->w, &p->vm, p->in, p->binding, enroll_proof_text(p->proof), p->e);
}

/* Apart from update_vm: a statement that names a unique column writes its index, changed or not. */
static enum err pin_ak(struct putting *p)
{
    if (p->binding != BINDING_ENROLLED || p->in->history_only)
        return OK;
    AUTO(query)
    struct query q = conn_query(p->w->conn, "UPDATE vm SET ak_spki = $1, ak_name = $2,"
                                            " enrolled_at = $3, ak_profile = $4, ek_spki = $5,"
                                            " enrolled_by = $6 WHERE vm_key = $7");
    q_text(&q, p->ak_spki);
    q_text(&q, db_key_of(p->w->arena, p->in->ak_name));
    q_int(&q, p->in->report.received_at);
    q_text(&q, p->in->ak_profile);
    q_text(&q, db_key_of(p->w->arena, p->in->ek_spki));
    q_text(&q, enroll_proof_text(p->proof));
    q_text(&q, p->vm_key);
    return q_run(&q, p->e);
}

static enum err run_put_report(struct write *w, const void *in_, void *out_, struct err_info *e)
{
    const struct report_new *in = in_;
    struct report_stored *out = out_;
    struct putting p = {
        .w = w,
        .in = in,
        .vm_key = db_key_of(w->arena, in->report.vm_id),
        .ak_spki = db_key_of(w->arena, in->report.ak_spki),
        .e = e,
    };
    int64_t woken = 0;
    enum err err;
    if ((err = find_vm(&p)) || (err = check_credential(&p)) || (err = check_clock(&p)) ||
        (err = use_challenge(&p)) || (err = keep_log(&p)) || (err = use_enrollment(&p)) ||
        (err = add_report(&p)) || (err = update_vm(&p)) || (err = pin_ak(&p)) ||
        (err = put_certificates(&p)) || (err = set_quarantine(&p)) ||
        (in->wake_key ? (err = db_wake_waiting(w, in->wake_key, in->report.received_at, &woken, e))
                      : OK))
        return err;
    if (out)
        *out = (struct report_stored){.enrolled = p.binding == BINDING_ENROLLED, .woken = woken};
    return OK;
}

void store_put_report(struct store *s, const struct report_new *in, struct report_stored *out,
                      struct store_done *done)
{
    static const struct store_verb verb = {.name = "put_report", .run = run_put_report};
    writer_queue(s, &verb, in, out, done);
}
