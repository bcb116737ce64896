#include "attest/akcheck.h"
#include "attest/logs.h"
#include "attest/maa.h"
#include "attest/policy.h"
#include "attest/selfcheck.h"

#include <openssl/err.h>

struct verifying {
    const struct attest_input *in;
    const struct evidence *ev;
    struct arena *arena;
    struct attest_result *r;
    struct err_info malformed;

    struct tpm_attest attest;
    struct tpm_signature signature;
    struct tpm_public public;
    struct ak_cert *cert;
    struct jwt token;
    struct ak_choice choice;
    struct policy_facts facts;
};

/* ---- form: everything is parsed before anything is judged, so that all of it can be named ---- */

static void parse_part(struct verifying *v, const char *pointer, const char *why)
{
    if (why)
        wire_malformed(&v->malformed, pointer, why);
}

static void parse_chain(struct verifying *v)
{
    for (size_t i = 0; i < v->ev->n_chain; i++) {
        char pointer[40];
        snprintf(pointer, sizeof pointer, "#/ak/chain/%zu", i);
        /* Decoding costs; where the leaf's path is known the chain is not looked at again. */
        if (akcert_strip(v->ev->chain[i]).len != v->ev->chain[i].len)
            wire_malformed(&v->malformed, pointer, "not exactly one DER certificate");
    }
}

static void parse_evidence(struct verifying *v)
{
    const struct evidence *ev = v->ev;
    parse_part(v, "#/quote/message", tpm_parse_attest(ev->quote_message, &v->attest));
    parse_part(v, "#/quote/signature", tpm_parse_signature(ev->quote_signature, &v->signature));
    if (ev->ak_public.len)
        parse_part(v, "#/ak/public", tpm_parse_public(ev->ak_public, &v->public));
    if (ev->ak_certificate.len) {
        const char *why = NULL;
        v->cert = trust_parse(v->in, ev->ak_certificate, &why);
        parse_part(v, "#/ak/certificate", why);
    }
    parse_chain(v);
    if (ev->maa_token.len)
        parse_part(v, "#/maaToken", maa_parse(ev->maa_token, v->arena, &v->token));
}

/* ---- AK ---- */

static void check_ak(struct verifying *v)
{
    const struct attest_input *in = v->in;
    const struct ak_material m = {v->ev->ak_public.len ? &v->public : NULL, v->cert};
    ak_choose(in, &m, &v->signature, v->attest.message, &v->choice);
    ak_check_binding(in, &m, &v->choice, v->arena, v->r);
    ak_check_attributes(in, &v->choice, v->arena, v->r);
    if (in->profile == PROFILE_TPM && in->n_pins) {
        result_skip(v->r, CHECK_AK_CHAIN, "pinned");
        result_skip(v->r, CHECK_AK_PROFILE, "not_applicable");
        if (v->choice.loaded)
            v->facts.ak = trust_by_pin(in, v->choice.loaded, v->arena);
        return;
    }
    if (v->cert) {
        v->facts.ak = trust_by_chain(in, v->cert, v->arena, v->r);
        return;
    }
    result_fail(v->r, CHECK_AK_CHAIN, "certificate_missing");
    result_skip(v->r, CHECK_AK_PROFILE, "certificate_missing");
}

/* A certificate beside a key that is pinned itself was not looked at, and may be anybody's. */
static void describe_certificate(struct verifying *v)
{
    struct attest_result *r = v->r;
    if (!v->cert || !(result_passed(r) >> CHECK_AK_CHAIN & 1))
        return;
    if (v->cert->subject[0])
        r->ak_subject = arena_strdup(v->arena, v->cert->subject);
    if (v->cert->policies[0])
        r->ak_policies = arena_strdup(v->arena, v->cert->policies);
    r->ak_expires = v->cert->not_after;
}

static void describe_ak(struct verifying *v)
{
    struct attest_result *r = v->r;
    describe_certificate(v);
    if (!v->choice.found)
        return;
    r->has_ak = true;
    memcpy(r->ak_spki_sha256, v->choice.spki_sha256, sizeof r->ak_spki_sha256);
    memcpy(r->ak_name, v->choice.names.name, v->choice.names.len);
    r->ak_name_len = v->choice.names.len;
}

/* A trusted certificate is no proof about a key whose attributes or binding are wrong. */
static void settle_ak(struct verifying *v)
{
    if (result_has_failed(v->r, CHECK_AK_BINDING) || result_has_failed(v->r, CHECK_AK_ATTRIBUTES) ||
        result_has_failed(v->r, CHECK_QUOTE_SIGNER))
        v->facts.ak = NULL;
}

static void check_quote(struct verifying *v)
{
    const struct quote_input q = {
        .in = v->in,
        .attest = &v->attest,
        .signature = &v->signature,
        .key = v->choice.found ? &v->choice.key : NULL,
        .loaded = v->choice.loaded,
        .public = v->choice.public,
        .qualified = BYTES(v->choice.names.qualified, v->choice.names.len),
        .pinned_by_key = v->choice.pinned_by_key,
    };
    v->facts.quote = quote_verify(&q, v->arena, v->r, &v->malformed);
    v->r->signed_by_pin = v->r->quote_authentic && v->choice.pin < v->in->n_pins;
    if (v->r->signed_by_pin && !v->cert)
        trust_keep_pinned(v->in, v->choice.loaded);
}

/* ---- log ---- */

static enum pcr_bank quoted_bank(const struct verifying *v)
{
    static const enum pcr_bank order[] = {BANK_SHA256, BANK_SHA384, BANK_SHA512, BANK_SHA1};
    if (v->facts.quote)
        return quote_pcrs(v->facts.quote)->bank;
    for (size_t i = 0; i < ARRAY_LEN(order); i++)
        if (v->ev->banks[order[i]].present)
            return order[i];
    return BANK_SHA256;
}

static void put_findings(struct verifying *v, const struct attest_finding *f, size_t n)
{
    for (size_t i = 0; i < n; i++)
        result_put(v->r, &f[i]);
}

/* The quote does not hold, so nothing can be proven; but where the log differs even from the values
 * that were sent, that is worth telling. */
static void compare_unproven(struct verifying *v, struct attest_log *log)
{
    struct pcr_set sent = {.bank = quoted_bank(v)};
    const struct evidence_bank *bank = &v->ev->banks[sent.bank];
    for (unsigned i = 0; i < EVIDENCE_PCRS; i++) {
        if (!(bank->present >> i & 1) || bank->value[i].len != pcr_banks[sent.bank].size)
            continue;
        sent.mask |= 1u << i;
        memcpy(sent.values[i], bank->value[i].data, bank->value[i].len);
    }
    const struct log_view *view = log_view(log, sent.bank);
    put_findings(v, view->replay_findings, view->n_replay_findings);
    if (view->replay.ok)
        replay_compare(&view->replay, &sent, v->arena, v->r);
    if (!result_has_failed(v->r, CHECK_LOG_REPLAY))
        result_skip(v->r, CHECK_LOG_REPLAY, "quote_not_verified");
}

static void compare_proven(struct verifying *v, struct attest_log *log)
{
    const struct log_view *view = log_view(log, quoted_bank(v));
    put_findings(v, view->replay_findings, view->n_replay_findings);
    v->facts.log = replay_verify(v->facts.quote, &view->replay, v->arena, v->r);
}

static enum pcr_bank content_bank(const struct verifying *v, const struct event_log *log)
{
    enum pcr_bank bank = quoted_bank(v);
    for (int i = BANK_COUNT - 1; i >= 0 && !log->banks[bank]; i--)
        if (log->banks[i])
            bank = (enum pcr_bank)i;
    return bank;
}

static void check_content(struct verifying *v, struct attest_log *log, struct attest_claims *claims)
{
    const struct log_view *view = log_view(log, content_bank(v, log_events(log)));
    put_findings(v, view->content_findings, view->n_content_findings);
    if (view->content.malformed) {
        wire_malformed(&v->malformed, "#/eventLog", view->content.malformed);
        return;
    }
    if (!v->facts.log) {
        if (!result_has_failed(v->r, CHECK_LOG_CONTENT))
            result_skip(v->r, CHECK_LOG_CONTENT, "not_replayed");
        return;
    }
    result_pass(v->r, CHECK_LOG_CONTENT);
    claims->has_log = true;
    claims->n_events = log_events(log)->n;
    claims->source = log;
    claims->proven = replay_proven(v->facts.log) & ~view->content.unfit;
    claims->log = log_claims(log, replay_bank(v->facts.log), claims->proven, v->arena);
    /* Only what an AK vouches for that is trusted itself: nobody else can drive others' logs out. */
    if (v->facts.ak)
        log_remember(v->in->logs, log);
}

static void skip_log(struct verifying *v, const char *reason)
{
    result_skip(v->r, CHECK_LOG_FORMAT, reason);
    result_skip(v->r, CHECK_LOG_REPLAY, reason);
    result_skip(v->r, CHECK_LOG_CONTENT, reason);
}

static void check_log(struct verifying *v, struct attest_claims *claims)
{
    const struct evidence *ev = v->ev;
    struct attest_log *log = ev->event_log.len
                                 ? log_of(v->in->logs, v->in->likely_log, ev->event_log, v->arena)
                                 : v->in->log;
    if (!log) {
        skip_log(v, "no_event_log");
        return;
    }
    v->facts.log_sent = true;
    v->r->has_event_log = true;
    v->r->event_log = log;
    if (log_events(log)->bad) {
        wire_malformed(&v->malformed, "#/eventLog", log_events(log)->bad_detail);
        return;
    }
    if (ev->event_log_digest.len && !bytes_equal(ev->event_log_digest, attest_log_sha256(log)))
        result_fail(v->r, CHECK_LOG_FORMAT, "log_digest_mismatch");
    result_pass(v->r, CHECK_LOG_FORMAT);
    if (v->facts.quote)
        compare_proven(v, log);
    else
        compare_unproven(v, log);
    check_content(v, log, claims);
}

/* ---- claims ---- */

/* Only with both proofs in hand. */
static void set_claims(struct verifying *v, struct attest_claims *claims)
{
    if (!v->facts.ak || !v->facts.quote)
        return;
    const struct pcr_set *pcrs = quote_pcrs(v->facts.quote);
    claims->profile = v->in->profile;
    claims->bank = pcrs->bank;
    claims->quoted = pcrs->mask;
    memcpy(claims->pcrs, pcrs->values, sizeof claims->pcrs);
    claims->firmware_version = v->attest.firmware_version;
    v->facts.claims = claims;
    v->r->claims = claims;
}

static void check_token(struct verifying *v)
{
    if (v->ev->maa_token.len)
        v->r->maa = maa_verify(v->in, &v->token, v->arena, v->r);
    else
        result_skip(v->r, CHECK_MAA_TOKEN, "not_sent");
}

static void judge(struct verifying *v)
{
    struct attest_claims *claims = result_claims(v->arena);
    check_ak(v);
    check_quote(v);
    settle_ak(v);
    describe_ak(v);
    check_log(v, claims);
    set_claims(v, claims);
    check_token(v);
    policy_decide(v->in, &v->facts, v->arena, v->r);
}

enum err verify_evidence(const struct attest_input *in, struct arena *a, struct attest_result *r,
                         struct err_info *e)
{
    struct verifying v = {.in = in, .ev = in->evidence, .arena = a, .r = r};
    result_init(r);
    parse_evidence(&v);
    if (!v.malformed.code)
        judge(&v);
    akcert_release(v.cert);
    jwt_done(&v.token);
    ak_loaded_release(v.choice.loaded);
    if (ERR_peek_error()) /* what was refused leaves its reasons with the thread */
        ERR_clear_error();
    if (v.malformed.code && e)
        *e = v.malformed;
    return v.malformed.code;
}

enum err attest_verify(const struct attest_input *in, struct arena *a, struct attest_result *r,
                       struct err_info *e)
{
#ifdef TLGATE_FAULTS
    struct trust_set *began = selfcheck_begin(in);
    enum err err = verify_evidence(in, a, r, e);
    selfcheck_verdict(in, err, r, began);
    return err;
#else
    return verify_evidence(in, a, r, e);
#endif
}
