#include "attest/ear.h"

#define EAR_PROFILE   "tag:ietf.org,2026:rats/ear#04"
#define EAR_DEVELOPER "tlgate"
#define EAR_SUBMODULE "vtpm"

/* ---- what the checks say ---- */

struct states {
    bool failed[CHECK_COUNT], passed[CHECK_COUNT], warned[CHECK_COUNT];
};

static struct states states_of(const struct attest_finding *findings, size_t n)
{
    struct states s = {0};
    for (size_t i = 0; i < n; i++) {
        const struct attest_finding *f = &findings[i];
        s.failed[f->check] = s.failed[f->check] || f->status == STATUS_FAIL;
        s.warned[f->check] = s.warned[f->check] || f->status == STATUS_WARN;
        s.passed[f->check] = s.passed[f->check] || f->status == STATUS_PASS;
    }
    return s;
}

static bool any(const bool set[CHECK_COUNT], const enum attest_check *checks, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (set[checks[i]])
            return true;
    return false;
}

/* Nothing is wrong with it; a remark alone does not change that. */
static bool holds(const struct states *s, enum attest_check c)
{
    return !s->failed[c] && (s->passed[c] || s->warned[c]);
}

enum attest_profile ear_profile_of(const struct attest_finding *findings, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (findings[i].check == CHECK_AK_PROFILE && findings[i].status == STATUS_SKIP &&
            findings[i].reason && strcmp(findings[i].reason, "not_applicable") == 0)
            return PROFILE_TPM;
    return PROFILE_AZURE_TRUSTED_LAUNCH;
}

#define ANY(set, ...)                                                                              \
    any(set, (const enum attest_check[]){__VA_ARGS__},                                             \
        sizeof((const enum attest_check[]){__VA_ARGS__}) / sizeof(enum attest_check))

static bool undecided(const struct attest_finding *findings, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (findings[i].check == CHECK_AK_CHAIN && findings[i].status == STATUS_FAIL &&
            findings[i].reason && strcmp(findings[i].reason, "issuer_missing") == 0)
            return true;
    return false;
}

static int identity_of(const struct states *s, bool chain_undecided)
{
    if (ANY(s->failed, CHECK_QUOTE_SIGNATURE, CHECK_QUOTE_MAGIC, CHECK_QUOTE_TYPE,
            CHECK_QUOTE_NONCE, CHECK_QUOTE_SIGNER, CHECK_QUOTE_PCR_DIGEST))
        return 99;
    if (ANY(s->failed, CHECK_AK_BINDING, CHECK_AK_ATTRIBUTES, CHECK_QUOTE_CLOCK))
        return 96;
    if (s->failed[CHECK_AK_CHAIN] || s->failed[CHECK_AK_PROFILE])
        return chain_undecided ? 0 : 97;
    return s->passed[CHECK_QUOTE_SIGNATURE] ? 2 : 0;
}

static int configuration_of(const struct states *s)
{
    if (ANY(s->failed, CHECK_SECURE_BOOT, CHECK_POLICY, CHECK_QUOTE_SELECTION))
        return 96;
    if (s->warned[CHECK_SECURE_BOOT])
        return 32;
    return s->passed[CHECK_SECURE_BOOT] && holds(s, CHECK_POLICY) ? 2 : 0;
}

/* A log that adds up under Secure Boot: everything that was loaded was signed by whom db names. */
static int executables_of(const struct states *s)
{
    if (s->failed[CHECK_LOG_CONTENT])
        return 96;
    if (s->failed[CHECK_LOG_REPLAY] || s->failed[CHECK_LOG_FORMAT])
        return 33;
    return holds(s, CHECK_LOG_REPLAY) && holds(s, CHECK_LOG_CONTENT) && holds(s, CHECK_POLICY) &&
                   s->passed[CHECK_SECURE_BOOT]
               ? 3
               : 0;
}

struct ear_vector ear_vector_of(const struct attest_finding *findings, size_t n)
{
    const struct states s = states_of(findings, n);
    bool chain_undecided = undecided(findings, n);
    return (struct ear_vector){
        .instance_identity = identity_of(&s, chain_undecided),
        .configuration = configuration_of(&s),
        .executables = executables_of(&s),
        .hardware = holds(&s, CHECK_AK_CHAIN)                      ? 2
                    : s.failed[CHECK_AK_CHAIN] && !chain_undecided ? 97
                                                                   : 0,
    };
}

/* ---- tiers (AR4SI, 2.3.2) ---- */

enum tier { TIER_NONE, TIER_AFFIRMING, TIER_WARNING, TIER_CONTRAINDICATED };

static enum tier tier_of_value(int value)
{
    if (value < 2)
        return TIER_NONE;
    return value < 32 ? TIER_AFFIRMING : value < 96 ? TIER_WARNING : TIER_CONTRAINDICATED;
}

static enum tier tier_of_verdict(const char *verdict)
{
    static const enum tier tiers[] = {
        [VERDICT_TRUSTED] = TIER_AFFIRMING,
        [VERDICT_TRUSTED_QUOTE_ONLY] = TIER_WARNING, /* what booted is not known */
        [VERDICT_UNTRUSTED] = TIER_CONTRAINDICATED,
        [VERDICT_QUARANTINED] = TIER_CONTRAINDICATED,
        [VERDICT_INDETERMINATE] = TIER_NONE,
    };
    for (size_t i = 0; i < ARRAY_LEN(tiers); i++)
        if (strcmp(attest_verdict_name((enum attest_verdict)i), verdict) == 0)
            return tiers[i];
    return TIER_NONE;
}

const char *ear_status(const char *verdict, const struct ear_vector *v)
{
    static const char *const names[] = {"none", "affirming", "warning", "contraindicated"};
    const int values[] = {v->instance_identity, v->configuration, v->executables, v->hardware};
    enum tier worst = tier_of_verdict(verdict);
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        if (tier_of_value(values[i]) > worst && worst != TIER_NONE)
            worst = tier_of_value(values[i]);
    return names[worst];
}

/* ---- out ---- */

static void write_vector(struct jw *w, const struct ear_vector *v)
{
    jw_key(w, "ear_trustworthiness_vector");
    jw_open(w, '{');
    jw_key_int(w, "instance-identity", v->instance_identity);
    jw_key_int(w, "configuration", v->configuration);
    jw_key_int(w, "executables", v->executables);
    jw_key_int(w, "hardware", v->hardware);
    jw_close(w, '}');
}

/* In the order in which they were applied; the list must not be empty. */
static void write_policies(struct jw *w, const struct ear *in)
{
    jw_key(w, "ear_appraisal_policy_ids");
    jw_open(w, '[');
    for (size_t i = 0; i < in->n_policy_ids; i++)
        jw_str(w, in->policy_ids[i]);
    jw_close(w, ']');
}

static void write_reasons(struct jw *w, const struct ear *in)
{
    jw_key(w, "tlgate_failed");
    jw_open(w, '[');
    for (size_t i = 0; i < in->n_findings; i++) {
        const struct attest_finding *f = &in->findings[i];
        bool again = i && in->findings[i - 1].check == f->check &&
                     in->findings[i - 1].status == f->status &&
                     in->findings[i - 1].reason == f->reason;
        if (f->status != STATUS_FAIL || again)
            continue;
        jw_open(w, '{');
        jw_key_str(w, "check", attest_check_name(f->check));
        jw_key_str_opt(w, "reason", f->reason);
        jw_close(w, '}');
    }
    jw_close(w, ']');
}

static void write_submodule(struct jw *w, const struct ear *in, const struct ear_vector *v)
{
    jw_key(w, "submods");
    jw_open(w, '{');
    jw_key(w, EAR_SUBMODULE);
    jw_open(w, '{');
    jw_key_str(w, "ear_status", ear_status(in->verdict, v));
    write_vector(w, v);
    write_policies(w, in);
    jw_key(w, "ear_verifier_claims");
    jw_open(w, '{');
    jw_key_str(w, "tlgate_verdict", in->verdict);
    write_reasons(w, in);
    jw_close(w, '}');
    jw_close(w, '}');
    jw_close(w, '}');
}

void ear_write(struct jw *w, const struct ear *in)
{
    const struct ear_vector v = ear_vector_of(in->findings, in->n_findings);
    jw_open(w, '{');
    jw_key_str(w, "eat_profile", EAR_PROFILE);
    jw_key_str(w, "ear_status", ear_status(in->verdict, &v));
    jw_key_str(w, "iss", in->verifier);
    jw_key_str(w, "sub", in->vm_id);
    jw_key_str(w, "jti", in->report_id);
    jw_key_int(w, "iat", in->issued_at / 1000);
    jw_key_int(w, "exp", in->expires_at / 1000);
    if (in->nonce.len && in->nonce.len <= 64) {
        char text[BASE64URL_SIZE(64)];
        base64url_encode(in->nonce, text);
        jw_key_str(w, "eat_nonce", text);
    }
    jw_key(w, "ear_verifier_id");
    jw_open(w, '{');
    jw_key_str(w, "developer", EAR_DEVELOPER);
    jw_key_str(w, "build", "tlgate " TLGATE_VERSION);
    jw_close(w, '}');
    write_submodule(w, in, &v);
    jw_close(w, '}');
}
