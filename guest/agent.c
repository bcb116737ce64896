#include "guest/agent.h"

#include "core/clock.h"
#include "core/log.h"
#include "guest/files.h"
#include "guest/imds.h"
#include "guest/maa.h"
#include "guest/tpm.h"

#include <openssl/evp.h>

#define TCTI_DEFAULT   "device:/dev/tpmrm0"
#define ATTEMPTS       6
#define WAIT_FIRST_MS  1000
#define WAIT_MOST_MS   60000 /* longer waits are the loop's */
#define BACKOFF_MS     5000
#define BACKOFF_DOUBLE 16u

struct guest_agent {
    const struct guest_options *o;
    const struct guest_process *p;
    struct guest_http *http;
    struct arena *arena; /* of the round */
    uint8_t held_log[32];
    bool gateway_holds_log; /* the one with digest held_log */
    int64_t retry_after_ms; /* of the round's last answer */
    bool heard;             /* the last round ended in a verdict, whichever */
};

/* Enrolment proofs, in the order in which they are tried. */
enum proof_stage { STAGE_NONE, STAGE_TOKEN, STAGE_ACTIVATION, STAGE_DOCUMENT, STAGE_END };

/* What one round knows. Lives in the round's arena. */
struct round {
    struct guest_gateway gateway;
    struct guest_identity imds;
    bool asked_imds;
    struct secret token;
    struct guest_tpm *tpm;
    struct guest_ek ek; /* where its certificate can stand for the AK's, which the TPM lacks */
    struct guest_challenge challenge;
    struct evidence evidence;
    struct bytes log;
    uint8_t log_digest[32];
    struct guest_answer answer;
    struct guest_answer refusal; /* the last not_enrolled */
    enum proof_stage stage;
    bool with_log;
};

enum err guest_agent_new(const struct guest_options *o, const struct guest_process *p,
                         struct guest_agent **out, struct err_info *e)
{
    if (o->vm_id && !uuid_valid(o->vm_id))
        return err_set(e, ERR_CONFIG, "%s is not a vmId", o->vm_id);
    if (o->gateway && !guest_http_url_allowed(o->gateway))
        return err_set(e, ERR_CONFIG, "%s is not an https URL", o->gateway);
    struct guest_agent *g = calloc(1, sizeof(*g));
    if (!g)
        abort();
    g->o = o;
    g->p = p;
    g->arena = arena_new();
    enum err rc = guest_http_new(o->ca_file, p->stop, &g->http, e);
    if (rc != OK) {
        guest_agent_free(g);
        return rc;
    }
    *out = g;
    return OK;
}

void guest_agent_free(struct guest_agent *g)
{
    if (!g)
        return;
    guest_http_free(g->http);
    arena_free(g->arena);
    free(g);
}

enum guest_next guest_next_step(const struct guest_answer *answer)
{
    if (answer->status == 200)
        return NEXT_DONE;
    if (answer->status == 429 || answer->status >= 500 || answer->status == 408)
        return NEXT_WAIT;
    if (answer->status == 403 && !strcmp(answer->code, "not_enrolled"))
        return NEXT_PROOF;
    if (answer->status != 409)
        return NEXT_GIVE_UP;
    if (!strcmp(answer->code, "event_log_required"))
        return NEXT_LOG;
    if (!strncmp(answer->code, "challenge_", 10))
        return NEXT_CHALLENGE;
    return NEXT_GIVE_UP;
}

int64_t guest_next_delay(int64_t interval_ms, unsigned failures, int64_t retry_after_ms,
                         uint32_t random)
{
    int64_t delay;
    if (!failures) {
        int64_t span = interval_ms / 5; /* 10 % either way */
        delay = interval_ms - span / 2 + (int64_t)random * span / UINT32_MAX;
    } else {
        unsigned doubled = failures - 1 < BACKOFF_DOUBLE ? failures - 1 : BACKOFF_DOUBLE;
        int64_t most = (int64_t)BACKOFF_MS << doubled;
        if (most > interval_ms)
            most = interval_ms;
        delay = most / 2 + (int64_t)random * (most - most / 2) / UINT32_MAX;
    }
    return delay > retry_after_ms ? delay : retry_after_ms;
}

static enum err ask_imds(struct guest_agent *g, struct round *r, struct err_info *e)
{
    if (r->asked_imds)
        return OK;
    const char *base = g->o->imds ? g->o->imds : GUEST_IMDS_DEFAULT;
    enum err rc = guest_imds_read(g->http, base, g->o->vm_id, g->arena, &r->imds, e);
    r->asked_imds = rc == OK;
    return rc;
}

static enum err find_identity(struct guest_agent *g, struct round *r, struct err_info *e)
{
    if (!g->o->vm_id || !g->o->gateway) {
        enum err rc = ask_imds(g, r, e);
        if (rc != OK)
            return rc;
    }
    const char *url = g->o->gateway ? g->o->gateway : r->imds.gateway;
    if (!url)
        return err_set(e, ERR_CONFIG, "no gateway: neither --gateway nor userData names one");
    if (!guest_http_url_allowed(url))
        return err_set(e, ERR_CONFIG, "userData: %s is not an https URL", url);
    size_t len = strlen(url);
    while (len && url[len - 1] == '/')
        len--;
    r->gateway = (struct guest_gateway){.http = g->http,
                                        .url = arena_strndup(g->arena, url, len),
                                        .vm_id = g->o->vm_id ? g->o->vm_id : r->imds.vm_id};
    return OK;
}

static bool find_token(struct guest_agent *g, struct round *r)
{
    struct err_info why = {0};
    enum err rc;
    if (g->o->token_file) {
        rc = guest_token_read(g->o->token_file, g->arena, &r->token, &why);
    } else {
        rc = ask_imds(g, r, &why);
        r->token = r->imds.token;
    }
    if (rc == OK && !r->token.text)
        err_set(&why, ERR_NOT_FOUND, "userData holds none");
    if (!r->token.text)
        log_warn("no enrolment token", LOG_S("reason", why.detail));
    return r->token.text != NULL;
}

/* A log that is absent, empty or too large is not sent: the verdict then says so. */
static enum err find_log(struct guest_agent *g, struct round *r, struct err_info *e)
{
    struct err_info why = {0};
    const char *path = g->o->event_log ? g->o->event_log : GUEST_EVENT_LOG;
    enum err rc = guest_file_read(path, EVIDENCE_LOG_MAX, g->arena, &r->log, &why);
    if (rc != OK && g->o->event_log)
        return err_set(e, rc, "%s", why.detail);
    if (rc != OK || !r->log.len) {
        r->log = (struct bytes){0};
        log_warn("no event log", LOG_S("path", path), LOG_S("reason", why.detail));
        return OK;
    }
    EVP_Digest(r->log.data, r->log.len, r->log_digest, NULL, EVP_sha256(), NULL);
    return OK;
}

/* Nobody vouches for the AK; the TPM's maker may vouch for its EK. A pinned AK needs neither. */
static void find_ek(struct guest_agent *g, struct round *r)
{
    struct err_info why = {0};
    if (guest_tpm_read_ek(r->tpm, g->arena, &r->ek, &why) == OK)
        return;
    r->ek = (struct guest_ek){0};
    log_info("no EK certificate", LOG_S("reason", why.detail));
}

static enum err find_keys(struct guest_agent *g, struct round *r, struct err_info *e)
{
    const char *tcti = g->o->tcti ? g->o->tcti : TCTI_DEFAULT;
    enum err rc = guest_tpm_open(tcti, &r->tpm, e);
    if (rc == OK)
        rc = guest_tpm_read_ak(r->tpm, g->arena, &r->evidence.ak_public, e);
    if (rc != OK)
        return rc;
    struct err_info why = {0};
    rc = guest_tpm_read_certificate(r->tpm, g->arena, &r->evidence.ak_certificate, &why);
    if (rc == ERR_NOT_FOUND) {
        r->evidence.ak_certificate = (struct bytes){0};
        log_warn("no AK certificate", LOG_S("reason", why.detail));
        find_ek(g, r);
        rc = OK;
    }
    if (rc != OK)
        return err_set(e, rc, "%s", why.detail);
    return guest_chain_read(GUEST_CHAIN_FILE, g->arena, &r->evidence, e);
}

/* The quote stands on its own: without the token the report goes out all the same. */
static void take_maa_token(struct guest_agent *g, struct round *r)
{
    struct err_info why = {0};
    r->evidence.maa_token = (struct bytes){0};
    if (g->o->maa_command && guest_maa_token(g->o->maa_command, r->challenge.nonce, g->p->stop,
                                             g->arena, &r->evidence.maa_token, &why) != OK)
        log_warn("no token of Azure Attestation", LOG_S("reason", why.detail));
}

/* OK also where the gateway refused: answer.status says so. */
static enum err take_challenge(struct guest_agent *g, struct round *r, struct err_info *e)
{
    enum err rc = guest_gateway_challenge(&r->gateway, g->arena, &r->challenge, &r->answer, e);
    if (rc != OK || r->answer.status != 201)
        return rc;
    struct guest_quote quote;
    rc = guest_tpm_quote(r->tpm, g->arena, r->challenge.nonce, r->challenge.bank, r->challenge.pcrs,
                         &quote, e);
    if (rc != OK)
        return rc;
    r->evidence.quote_message = quote.message;
    r->evidence.quote_signature = quote.signature;
    memset(r->evidence.banks, 0, sizeof(r->evidence.banks));
    r->evidence.banks[r->challenge.bank] = quote.values;
    take_maa_token(g, r);
    return OK;
}

/* True where this stage has something to send. */
static bool stage_holds(struct guest_agent *g, struct round *r)
{
    switch (r->stage) {
    case STAGE_TOKEN:
        return !g->o->attested_document && find_token(g, r);
    case STAGE_ACTIVATION:
        return r->ek.certificate.len > 0;
    case STAGE_DOCUMENT:
        return true;
    case STAGE_NONE:
    case STAGE_END:
        break;
    }
    return false;
}

/* False: there is none left, and the gateway's 403 stands. */
static bool next_proof(struct guest_agent *g, struct round *r)
{
    while (r->stage < STAGE_END) {
        r->stage++;
        if (stage_holds(g, r))
            return true;
    }
    return false;
}

/* That the AK is in the TPM of the EK. A credential serves once, so each report has its own. */
static bool take_activation(struct guest_agent *g, struct round *r)
{
    struct err_info why = {0};
    struct guest_credential c;
    struct guest_answer answer = {0};
    r->evidence.activation_id = NULL;
    if (r->stage == STAGE_NONE || !r->ek.certificate.len)
        return true;
    enum err rc = guest_gateway_activation(&r->gateway, r->ek.certificate, r->evidence.ak_public,
                                           g->arena, &c, &answer, &why);
    if (rc == OK && answer.status != 201)
        rc = err_set(&why, ERR_UPSTREAM, "the gateway answered %ld %s", answer.status, answer.code);
    if (rc == OK)
        rc = guest_tpm_activate(r->tpm, &r->ek, c.blob, c.secret, g->arena,
                                &r->evidence.activation_secret, &why);
    if (rc == OK)
        r->evidence.activation_id = c.id;
    else
        log_warn("no credential activation", LOG_S("reason", why.detail));
    return rc == OK;
}

/* What a proof needs of the challenge at hand. False: it cannot be had. */
static bool prepare_proof(struct guest_agent *g, struct round *r)
{
    struct err_info why = {0};
    char nonce[WIRE_DOCUMENT_NONCE_SIZE];
    const char *base = g->o->imds ? g->o->imds : GUEST_IMDS_DEFAULT;
    bool activated = take_activation(g, r);
    r->evidence.attested_document = (struct bytes){0};
    if (r->stage != STAGE_DOCUMENT)
        return activated || r->stage != STAGE_ACTIVATION;
    wire_document_nonce(r->challenge.nonce, nonce);
    if (guest_imds_document(g->http, base, g->o->vm_id, nonce, g->arena,
                            &r->evidence.attested_document, &why) == OK)
        return true;
    log_warn("no attested document", LOG_S("reason", why.detail));
    return false;
}

static enum err repeat_refusal(struct round *r)
{
    r->answer = r->refusal;
    return OK;
}

static enum err send_report(struct guest_agent *g, struct round *r, struct err_info *e)
{
    struct evidence *v = &r->evidence;
    v->challenge_id = r->challenge.id;
    v->vm_id = r->gateway.vm_id;
    v->enrollment_token = r->stage == STAGE_TOKEN ? r->token : (struct secret){0};
    v->event_log = r->with_log ? r->log : (struct bytes){0};
    v->event_log_digest = r->log.len && !r->with_log ? BYTES_OF(r->log_digest) : (struct bytes){0};
    return guest_gateway_report(&r->gateway, v, g->arena, &r->answer, e);
}

/* False where the wait is not worth it or the agent is to end. */
static bool wait_turn(struct guest_agent *g, const struct round *r, int attempt)
{
    int64_t ms = r->answer.retry_after_ms;
    if (!ms)
        ms = (int64_t)WAIT_FIRST_MS << attempt;
    if (ms > WAIT_MOST_MS || attempt + 1 >= ATTEMPTS)
        return false;
    log_info("gateway is busy", LOG_I("status", r->answer.status), LOG_I("waitMs", ms));
    g->p->sleep_ms(ms);
    return !g->p->stop();
}

/* Reports until the gateway has decided. OK: see answer. */
static enum err exchange(struct guest_agent *g, struct round *r, struct err_info *e)
{
    bool fresh = false;
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        enum err rc = OK;
        if (!fresh) {
            rc = take_challenge(g, r, e);
            fresh = rc == OK && r->answer.status == 201;
        }
        if (rc == OK && fresh)
            rc = prepare_proof(g, r) ? send_report(g, r, e) : repeat_refusal(r);
        if (rc != OK)
            return rc;
        switch (guest_next_step(&r->answer)) {
        case NEXT_DONE:
        case NEXT_GIVE_UP:
            return OK;
        case NEXT_LOG:
            if (r->with_log || !r->log.len)
                return OK;
            r->with_log = true;
            break;
        case NEXT_PROOF:
            r->refusal = r->answer;
            if (!next_proof(g, r))
                return OK;
            fresh = false;
            break;
        case NEXT_CHALLENGE:
            fresh = false;
            break;
        case NEXT_WAIT:
            fresh = false;
            if (!wait_turn(g, r, attempt))
                return OK;
            break;
        }
    }
    return OK;
}

static enum err run_round(struct guest_agent *g, struct round *r, struct err_info *e)
{
    enum err rc = find_identity(g, r, e);
    if (rc == OK)
        rc = find_log(g, r, e);
    if (rc == OK)
        rc = find_keys(g, r, e);
    if (rc != OK)
        return rc;
    r->with_log = r->log.len && !(g->gateway_holds_log &&
                                  !memcmp(g->held_log, r->log_digest, sizeof(g->held_log)));
    return exchange(g, r, e);
}

static enum guest_outcome judge(const struct guest_answer *a)
{
    if (a->status == 200)
        return strcmp(a->verdict, "trusted") != 0 && strcmp(a->verdict, "trustedQuoteOnly") != 0
                   ? GUEST_REFUSED
                   : GUEST_TRUSTED;
    return guest_next_step(a) == NEXT_WAIT ? GUEST_FAILED : GUEST_REFUSED;
}

enum guest_outcome guest_agent_once(struct guest_agent *g, struct buf *answer)
{
    struct err_info e = {0};
    arena_reset(g->arena);
    struct round *r = ARENA_NEW(g->arena, struct round);
    enum err rc = run_round(g, r, &e);
    guest_tpm_close(r->tpm);
    g->retry_after_ms = r->answer.retry_after_ms;
    g->heard = rc == OK && r->answer.status == 200;
    if (rc != OK) {
        log_error("no report", LOG_S("code", err_code(rc)), LOG_S("detail", e.detail));
        return GUEST_FAILED;
    }
    if (g->heard && r->log.len) {
        memcpy(g->held_log, r->log_digest, sizeof(g->held_log));
        g->gateway_holds_log = true;
    }
    enum guest_outcome outcome = judge(&r->answer);
    log_write(outcome == GUEST_TRUSTED ? LOG_INFO : LOG_WARN, "reported",
              (const struct log_field[]){
                  LOG_S("vmId", r->gateway.vm_id), LOG_I("status", r->answer.status),
                  LOG_S("verdict", r->answer.verdict), LOG_S("code", r->answer.code),
                  LOG_S("detail", r->answer.detail)},
              5);
    if (answer)
        buf_add_str(answer, r->answer.body);
    return outcome;
}

void guest_agent_loop(struct guest_agent *g)
{
    unsigned failures = 0;
    while (!g->p->stop()) {
        (void)guest_agent_once(g, NULL);
        failures = g->heard ? 0 : failures + 1;
        uint32_t random;
        random_bytes(&random, sizeof(random));
        int64_t ms = guest_next_delay(g->o->interval_ms, failures, g->retry_after_ms, random);
        if (!g->p->stop())
            g->p->sleep_ms(ms);
    }
}
