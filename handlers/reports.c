/*
 * POST /v1/attestation/reports: evidence in, verdict out.
 *
 * The evidence is the credential. Only what is signed by the AK that is pinned for the VM, or comes
 * with a valid enrolment proof for it (proof.h), is stored and may change anything; all else is
 * answered alike, whether the vmId is known or not (403 not_enrolled). Evidence of an entitled sender that
 * fails is a result: 200, untrusted. A quote of the pinned AK over another nonce is one, too; but
 * whoever kept it could send it, so it is kept as a report and the VM's status stays.
 */
#include "attest/rollover.h"
#include "core/sha256.h"
#include "handlers/activation.h"
#include "handlers/applied.h"
#include "handlers/attestation.h"
#include "handlers/baselines.h"
#include "handlers/challenge.h"
#include "handlers/maa.h"
#include "handlers/proof.h"
#include "handlers/result.h"
#include "handlers/routes.h"
#include "handlers/target.h"
#include "handlers/view.h"
#include "jobs/jobs.h"

#include <strings.h>

/* A report that another one overtook is judged again against the row as it is then. */
#define JUDGE_MAX 4

#define HEX_SHA256_SIZE (2 * SHA256_SIZE + 1)

struct submission {
    struct evidence evidence;
    struct challenge challenge;
    char evidence_hash[HEX_SHA256_SIZE];
    char report_id[UUID_SIZE];
    int judged;

    /* what the store knows; of the VM only where it is registered */
    bool known;
    struct vm vm;
    const struct activation *activation; /* NULL: none that is good */
    const char *activation_reason;
    char ek_spki[HEX_SHA256_SIZE];
    char activation_hash[HEX_SHA256_SIZE];
    struct proof proof;
    bool proven; /* the evidence proves a TPM's AK */
    enum vm_binding binding;
    bool stale;       /* the pinned AK signed it, for another nonce */
    bool log_missing; /* eventLogDigest names a log that is not held */
    struct attest_log *log;

    struct attest_result result;
    struct applied_terms terms;
    char ak_spki[2 * AK_SPKI_SIZE + 1];
    char ak_name[2 * AK_NAME_MAX + 1];
    char log_digest[HEX_SHA256_SIZE];
    struct report_new write;
    struct report_stored stored;
    struct audit audit;
};

static int judge(struct call *c, struct submission *s);

/* What is wrong with the proofs that were sent stands in c->err as bad members. */
static int refuse_stranger(struct call *c)
{
    struct err_info said = c->err;
    err_set(&c->err, ERR_NOT_ENROLLED,
            "the evidence is not signed by an AK that is pinned for this vmId, and has no valid "
            "enrolment proof for it");
    err_remedy(&c->err, "Send an enrolment proof for this vmId. Where the VM was enrolled with "
                        "another AK, an operator decides (bootIntegrity/requalify).");
    c->err.n_fields = said.n_fields;
    memcpy(c->err.fields, said.fields, sizeof said.fields);
    return call_fail(c);
}

/* ---- in ---- */

static enum err decode(struct call *c, struct submission *s)
{
    if (c->media == MEDIA_CBOR) {
        enum err err = wire_decode_cbor(c->raw, WIRE_REPORT, c->arena, &s->evidence, &c->err);
        if (!err)
            wire_own(&s->evidence, c->arena);
        return err;
    }
    /* The decoder works in place. */
    char *text = arena_strndup(c->arena, (const char *)c->raw.data, c->raw.len);
    return wire_decode_json(text, c->raw.len, WIRE_REPORT, c->arena, &s->evidence, &c->err);
}

static enum err check_challenge(struct call *c, struct submission *s)
{
    const struct evidence *ev = &s->evidence;
    return challenge_open(c->app->keyring, ev->challenge_id, ev->vm_id, c->app->challenge_ttl_ms,
                          c->now, &s->challenge, &c->err);
}

/* ---- what is known ---- */

/* A log that is named by its digest takes the place it would have had in the evidence. Where another
 * VM's log is found, the transaction notices that this one never sent it. */
static enum err find_log(struct call *c, struct submission *s)
{
    struct evidence *ev = &s->evidence;
    if (ev->event_log_digest.len == 0 || ev->event_log.len || s->log)
        return OK;
    s->log = attest_logs_find(c->app->logs, ev->event_log_digest, c->arena);
    if (s->log)
        return OK;
    hex_encode(ev->event_log_digest, s->log_digest);
    enum err err =
        store_get_log(c->app->store, c->arena, ev->vm_id, s->log_digest, &ev->event_log, &c->err);
    s->log_missing = err == ERR_NOT_FOUND;
    return s->log_missing ? OK : err;
}

static enum err look_up(struct call *c, struct submission *s)
{
    enum err err = store_get_vm_by_id(c->app->store, c->arena, s->evidence.vm_id, &s->vm, &c->err);
    s->known = err == OK;
    if (err && err != ERR_NOT_FOUND)
        return err;
    return find_log(c, s);
}

/* ---- the verdict ---- */

/* By the policy that applies to the VM at this moment. */
static enum err verify_by_book(struct call *c, struct submission *s, struct attest_input *in)
{
    const struct book_view *view = policy_book_take(c->app->book);
    const struct book_match m =
        s->known ? book_match_vm(view, s->vm.resource_id, s->vm.image) : (struct book_match){0};
    applied_fill(&m, &s->vm, in);
    enum err err = attest_verify(in, c->arena, &s->result, &c->err);
    s->terms = applied_terms_of(&m, c->arena);
    policy_book_drop(view);
    return err;
}

static enum err verify(struct call *c, struct submission *s, bool pinned)
{
    struct attest_pin pin = {0};
    uint8_t likely[SHA256_SIZE];
    struct attest_input in = {
        .evidence = &s->evidence,
        .trust = c->app->trust,
        .logs = c->app->logs,
        .log = s->log,
        .nonce = {s->challenge.nonce, sizeof s->challenge.nonce},
        .now = c->now,
        .profile = PROFILE_AZURE_TRUSTED_LAUNCH,
        .required_pcrs = ATTEST_BOOT_PCRS,
        .require_secure_boot = s->known && s->vm.secure_boot,
        .allow_quote_only = true,
    };
    const char *last_log = s->known ? s->vm.certificates_log : NULL;
    if (last_log && hex_decode(last_log, strlen(last_log), likely, sizeof likely))
        in.likely_log = BYTES_OF(likely);
    pinned = pinned && s->known && s->vm.ak_spki;
    if (pinned &&
        !hex_decode(s->vm.ak_spki, strlen(s->vm.ak_spki), pin.spki_sha256, sizeof pin.spki_sha256))
        return err_set(&c->err, ERR_INTERNAL, "the VM's pinned AK cannot be read");
    if (pinned && s->vm.ak_profile && !attest_profile_parse(s->vm.ak_profile, &in.profile))
        return err_set(&c->err, ERR_INTERNAL, "the VM's profile is unknown");
    if (!pinned && s->activation) {
        /* The TPM vouches for this very object, so it is the anchor. */
        memcpy(pin.spki_sha256, s->activation->ak_spki, sizeof pin.spki_sha256);
        pin.public_area = s->evidence.ak_public;
        in.profile = PROFILE_TPM;
        in.pins = &pin;
        in.n_pins = 1;
    }
    if (pinned) {
        in.pins = &pin;
        in.n_pins = 1;
        in.has_last = true;
        in.last_reset_count = (uint32_t)s->vm.reset_count;
        in.last_restart_count = (uint32_t)s->vm.restart_count;
        in.last_clock = (uint64_t)s->vm.clock_ms;
    }
    struct handlers_maa maa;
    handlers_maa_begin(c, &maa);
    in.maa = &maa.trust;
    enum err err = verify_by_book(c, s, &in);
    handlers_maa_end(&maa);
    return err;
}

static bool same_ak(const struct submission *s)
{
    char spki[2 * AK_SPKI_SIZE + 1];
    if (!s->result.has_ak || !s->vm.ak_spki)
        return false;
    hex_encode((struct bytes){s->result.ak_spki_sha256, AK_SPKI_SIZE}, spki);
    return strcasecmp(spki, s->vm.ak_spki) == 0;
}

static bool signed_by_the_vms_pin(const struct submission *s)
{
    return s->known && s->result.quote_authentic && same_ak(s);
}

static bool is_stale(const struct submission *s)
{
    const struct attest_result *r = &s->result;
    return s->known && s->proof.kind == PROOF_NONE && !r->quote_authentic && same_ak(s) &&
           attest_result_status(r, CHECK_QUOTE_MAGIC) == STATUS_PASS &&
           attest_result_status(r, CHECK_QUOTE_TYPE) == STATUS_PASS &&
           attest_result_status(r, CHECK_QUOTE_SIGNATURE) == STATUS_PASS;
}

static bool find_proof(struct call *c, struct submission *s)
{
    const struct proof_input in = {.evidence = &s->evidence,
                                   .challenge = &s->challenge,
                                   .activation = s->activation,
                                   .activation_reason = s->activation_reason,
                                   .vm = s->known ? &s->vm : NULL,
                                   .result = &s->result};
    err_clear(&c->err);
    s->proof = proof_find(c, &in);
    return s->proof.kind != PROOF_NONE;
}

/*
 * With the pin where there is one; without it where a proof brings another AK. Whoever has no proof costs
 * one verification, be the vmId registered or not: the time that it takes tells nobody.
 */
static enum err judge_evidence(struct call *c, struct submission *s)
{
    enum err err = verify(c, s, true);
    if (err || !proof_claimed(&s->evidence))
        return err;
    bool proven = find_proof(c, s);
    if (proven && s->known && s->vm.ak_spki && !signed_by_the_vms_pin(s)) {
        if ((err = verify(c, s, false)))
            return err;
        /* A token of Azure Attestation may contradict what is proven without the pin. */
        proven = find_proof(c, s);
        if (!proven && (err = verify(c, s, true)))
            return err;
    }
    if (proven || signed_by_the_vms_pin(s))
        err_clear(&c->err);
    return OK;
}

/* The transaction finds it out again (db/store.h). */
static enum err look_elsewhere(struct call *c, const struct submission *s, bool *elsewhere)
{
    struct vm other = {0};
    enum err err = store_get_vm_by_ak(c->app->store, c->arena, s->ak_spki, &other, &c->err);
    if (err == ERR_NOT_FOUND && s->activation)
        err = store_get_vm_by_ek(c->app->store, c->arena, s->ek_spki, &other, &c->err);
    *elsewhere = err == OK && strcasecmp(other.resource_id, s->vm.resource_id) != 0;
    return err == ERR_NOT_FOUND ? OK : err;
}

/* An activated credential stands for the AK's certificate. */
static bool ak_is_activated(const struct submission *s)
{
    const struct attest_result *r = &s->result;
    return s->activation && r->quote_authentic && r->signed_by_pin &&
           attest_result_status(r, CHECK_AK_ATTRIBUTES) == STATUS_PASS &&
           attest_result_status(r, CHECK_QUOTE_SIGNER) != STATUS_FAIL &&
           attest_result_status(r, CHECK_AK_BINDING) != STATUS_FAIL;
}

static void open_activation(struct call *c, struct submission *s)
{
    struct activation *x = ARENA_NEW(c->arena, struct activation);
    if (!s->evidence.activation_id)
        return;
    s->activation_reason = activation_check(c->app->keyring, c->arena, &s->evidence,
                                            c->app->challenge_ttl_ms, c->now, x);
    if (s->activation_reason)
        return;
    uint8_t digest[SHA256_SIZE];
    sha256(BYTES_STR(s->evidence.activation_id), digest);
    hex_encode(BYTES_OF(digest), s->activation_hash);
    hex_encode(BYTES_OF(x->ek_spki), s->ek_spki);
    s->activation = x;
}

static const char *quarantine_reason(const struct submission *s)
{
    if (s->vm.quarantine.since && s->vm.quarantine.reason)
        return s->vm.quarantine.reason;
    return s->binding == BINDING_SHARED ? "ak_of_another_vm" : "ak_changed";
}

static enum err bind_ak(struct call *c, struct submission *s)
{
    const struct attest_result *r = &s->result;
    s->proven = attestation_ak_proven(r) || ak_is_activated(s);
    struct enroll_claim claim = {.proof = s->proof.kind,
                                 .decided = s->proof.decided,
                                 .ak_spki = r->quote_authentic ? s->ak_spki : NULL,
                                 .ak_proven = s->proven};
    bool elsewhere = false;
    if (r->has_ak)
        hex_encode((struct bytes){r->ak_spki_sha256, AK_SPKI_SIZE}, s->ak_spki);
    if (claim.proof != PROOF_NONE && claim.ak_proven && !signed_by_the_vms_pin(s)) {
        enum err err = look_elsewhere(c, s, &elsewhere);
        if (err)
            return err;
    }
    s->binding = vm_bind(&s->vm, &claim, elsewhere);
    return OK;
}

static bool is_quarantined(const struct submission *s)
{
    return s->vm.quarantine.since || s->binding == BINDING_CHANGED ||
           s->binding == BINDING_SHARED || s->binding == BINDING_HELD;
}

static enum err decide(struct call *c, struct submission *s)
{
    s->proof = (struct proof){0};
    enum err err;
    if ((err = judge_evidence(c, s)) || (s->known && (err = bind_ak(c, s))))
        return err;
    s->stale = is_stale(s);
    if (s->known && is_quarantined(s))
        attest_result_quarantine(&s->result, quarantine_reason(s));
    return OK;
}

/* ---- out ---- */

/* Written where the reply will be: there is room. */
static const char *text_of(struct call *c, void (*write)(struct jw *, const struct attest_result *),
                           const struct attest_result *r)
{
    write(call_json(c), r);
    const char *text = arena_strndup(c->arena, c->out.data, c->out.len);
    buf_reset(&c->out);
    return text;
}

static void name_evidence(struct submission *s)
{
    uint8_t digest[SHA256_SIZE];
    struct attest_log *log = s->result.event_log;
    wire_evidence_digest(&s->evidence, log ? attest_log_sha256(log) : (struct bytes){0}, digest);
    hex_encode(BYTES_OF(digest), s->evidence_hash);
}

static void fill_report(struct call *c, struct submission *s, struct report *report)
{
    const struct attest_result *r = &s->result;
    *report = (struct report){
        .id = s->report_id,
        .vm_id = s->vm.vm_id,
        .received_at = c->now,
        .verdict = attest_verdict_name(r->verdict),
        .checks = text_of(c, attest_write_checks, r),
        .claims = text_of(c, attest_write_lasting_claims, r),
        .evidence_hash = s->evidence_hash,
        .policy = s->terms.policy,
    };
    name_evidence(s);
    if (r->has_event_log && !s->stale) {
        hex_encode(attest_log_sha256(r->event_log), s->log_digest);
        report->log_digest = s->log_digest;
    }
    /* Whose key it is and what its clock says is known only where the signature is good. */
    if (!r->quote_authentic && !s->stale)
        return;
    report->ak_spki = s->ak_spki;
    report->reset_count = r->reset_count;
    report->restart_count = r->restart_count;
    report->clock_ms = (int64_t)r->clock;
}

/* They follow from the log alone, so they are looked at where it is another one. */
static void fill_certificates(struct submission *s)
{
    if (!s->log_digest[0] || s->stale ||
        (s->vm.certificates_log && strcmp(s->vm.certificates_log, s->log_digest) == 0))
        return;
    uint32_t set = rollover_of_result(&s->result);
    if (!set)
        return; /* nothing is proven */
    s->write.certificates = set;
    s->write.certificates_state = rollover_state_name(rollover_state_of(set));
    s->write.certificates_log = s->log_digest;
}

static void fill_write(struct call *c, struct submission *s)
{
    const struct attest_result *r = &s->result;
    bool by_digest = s->evidence.event_log_digest.len > 0;
    fill_report(c, s, &s->write.report);
    hex_encode((struct bytes){r->ak_name, r->ak_name_len}, s->ak_name);
    s->audit = call_audit(c, "attestation.report", s->vm.resource_id);
    s->audit.principal_id = s->vm.vm_id;
    s->audit.principal = "guest";
    s->write.challenge_hash = s->challenge.hash;
    s->write.challenge_expires_at = s->challenge.expires_at;
    s->write.log = by_digest || s->stale ? (struct bytes){0} : s->evidence.event_log;
    s->write.history_only = s->stale;
    fill_certificates(s);
    s->write.ak_name = r->ak_name_len ? s->ak_name : NULL;
    s->write.enrollment_hash = s->proof.enrollment_hash;
    s->write.proof = s->proof.kind == PROOF_TOKEN ? PROOF_NONE : s->proof.kind;
    s->write.pin_allowed = s->proven;
    if (s->activation) {
        s->write.ak_profile = attest_profile_name(PROFILE_TPM);
        s->write.ek_spki = s->ek_spki;
        s->write.activation_hash = s->activation_hash;
        s->write.activation_expires_at = s->activation->expires_at;
    }
    s->write.by_pin = s->binding == BINDING_PINNED;
    s->write.quarantined = is_quarantined(s);
    s->write.reason = quarantine_reason(s);
    s->write.other_reason = "ak_on_another_vm";
    s->write.other_reasons = "[\"ak_on_another_vm\"]";
    s->write.clock_regressed =
        r->quote_authentic && same_ak(s) && vm_clock_regressed(&s->vm, &s->write.report);
    s->write.status = attestation_status(&s->vm, r, s->terms.quote_only);
    s->write.reasons = attestation_reasons(c->arena, &s->vm, r, s->terms.quote_only);
    s->write.baseline = s->terms.baseline;
    s->write.stale_at = applied_stale_at(&s->terms, c->now);
    s->write.vm_claims_counted = r->claims != NULL;
    s->write.vm_claims = r->claims ? s->write.report.claims : text_of(c, attest_write_claims, r);
    s->write.wake_key = s->stale ? NULL : jobs_wake_key(c->arena, s->vm.vm_id);
    s->write.audit = &s->audit;
}

/* The log was all that was still read from it, and there is a copy of that among the known ones. With
 * many reports waiting for their commit, few bodies are held at a time, and those are in the caches. */
static void drop_body(struct call *c, struct submission *s)
{
    struct bytes *log = &s->evidence.event_log;
    if (s->result.event_log)
        *log = attest_log_bytes(s->result.event_log);
    if (!log->len || log->data < c->raw.data || log->data >= c->raw.data + c->raw.len)
        c->ops->drop_body(c, proof_claimed(&s->evidence));
}

static void count(struct call *c, const char *verdict)
{
    struct buf labels = {0};
    metrics_label(&labels, "verdict", verdict);
    metrics_add(c->app->metrics, "tlgate_attestation_reports_total", labels.data, 1);
    buf_free(&labels);
}

/* Before the commit, while all of it is near: whatever fails later writes another reply over it. */
static void write_answer(struct call *c, struct submission *s)
{
    const char *result = NULL;
    if (c->app->sign_at_once)
        result = result_sign(c, &s->write.report, s->result.findings, s->result.n_findings,
                             (struct bytes){s->challenge.nonce, sizeof s->challenge.nonce});
    view_report(call_json(c), &s->write.report, result);
}

static int answer(struct call *c)
{
    c->ops->reply_header(c, "Cache-Control", "no-store");
    return 200;
}

static enum attestation_budget budget_of(const struct submission *s)
{
    if (s->stale)
        return BUDGET_HISTORY;
    return s->binding == BINDING_PINNED ? BUDGET_OWN : BUDGET_PROOF;
}

static int stored(struct call *c)
{
    struct submission *s = c->state;
    if (c->done.err == ERR_PRECONDITION_FAILED && s->judged < JUDGE_MAX)
        return judge(c, s);
    if (c->done.err == ERR_NOT_ENROLLED)
        return refuse_stranger(c);
    if (c->done.err)
        return call_fail(c);
    attestation_charge_vm(c, s->evidence.vm_id, budget_of(s));
    count(c, s->write.report.verdict);
    handlers_maa_used(c, &s->result);
    if (!s->stale && baselines_learn(c, &s->vm, &s->result, s->report_id, answer))
        return CALL_PENDING;
    return answer(c);
}

/*
 * The TPM's clock lies before that of the VM's last report, and the challenge does, too: the quote was made
 * first and held up on its way. That is no TPM that went back; whether it is, a new challenge shows.
 */
static bool is_overtaken(const struct call *c, const struct submission *s)
{
    const struct report quoted = {.reset_count = s->result.reset_count,
                                  .restart_count = s->result.restart_count,
                                  .clock_ms = (int64_t)s->result.clock};
    int64_t made_at = s->challenge.expires_at - c->app->challenge_ttl_ms;
    return s->binding == BINDING_PINNED && made_at <= s->vm.last_report_at &&
           vm_clock_regressed(&s->vm, &quoted);
}

static int refuse_overtaken(struct call *c)
{
    return call_refuse(c, ERR_CHALLENGE_EXPIRED,
                       "a later quote of this TPM came first; ask for a new challenge");
}

static int judge(struct call *c, struct submission *s)
{
    err_clear(&c->err);
    s->judged++;
    if (look_up(c, s) || decide(c, s))
        return call_fail(c);
    if (!s->known || (s->binding == BINDING_NONE && !s->stale))
        return refuse_stranger(c);
    if (!s->stale && is_overtaken(c, s))
        return refuse_overtaken(c);
    if (s->judged == 1 && attestation_admit_vm(c, s->evidence.vm_id, budget_of(s)))
        return call_fail(c);
    if (s->log_missing)
        return call_refuse(c, ERR_EVENT_LOG_REQUIRED,
                           "no event log with this digest is held for the VM");
    drop_body(c, s);
    fill_write(c, s);
    write_answer(c, s);
    store_put_report(c->app->store, &s->write, &s->stored, call_commit(c, stored));
    return CALL_PENDING;
}

static int judge_first(struct call *c)
{
    return judge(c, c->state);
}

int create_report(struct call *c)
{
    struct submission *s = ARENA_NEW(c->arena, struct submission);
    c->state = s;
    if (attestation_admit_peer(c) || decode(c, s) || check_challenge(c, s))
        return call_fail(c);
    uuid_v7(c->now, s->report_id);
    open_activation(c, s);
    if (handlers_maa_await(c, s->evidence.maa_token, judge_first))
        return CALL_PENDING;
    return judge(c, s);
}
