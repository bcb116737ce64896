#include "attest/trust.h"

#include "attest/words.h"
#include "attest/truststore.h"

#define CLOCK_SKEW_MS (INT64_C(5) * 60 * 1000)

struct trusted_ak {
    struct ak_key key;
};

static const struct trusted_ak *trusted(const struct ak_key *key, struct arena *a)
{
    struct trusted_ak *t = ARENA_NEW(a, struct trusted_ak);
    t->key = *key;
    return t;
}

const struct trusted_ak *trust_of_record(struct arena *a)
{
    return ARENA_NEW(a, struct trusted_ak);
}

const struct ak_key *trusted_ak_key(const struct trusted_ak *t)
{
    return &t->key;
}

/* The checks of one certificate. */
struct certifying {
    const struct attest_input *in;
    const struct ak_cert *cert;
    struct arena *a;
    struct attest_result *r;
};

static void fail(const struct certifying *c, enum attest_check check, const char *reason,
                 const char *expected, const char *found)
{
    result_fail_values(c->r, check, reason, ATTEST_NO_INDEX, ATTEST_NO_INDEX, expected, found);
}

static void fail_problem(const struct certifying *c, const char *reason)
{
    const char *expected, *found;
    akcert_describe(c->cert, reason, c->a, &expected, &found);
    fail(c, CHECK_AK_CHAIN, reason, expected, found);
}

/* What Azure's certificates have beyond any AK's (attestation of a Trusted Launch VM, 2.2). */
static void check_azure(const struct certifying *c)
{
    if (!c->cert->rsa_only)
        fail_problem(c, "key_type");
    if (!c->cert->only_digital_signature)
        fail_problem(c, "key_usage");
}

/* A certificate made this moment by an issuer whose clock is ahead is not from the future. */
static int64_t judged_at(const struct ak_cert *c, int64_t now)
{
    bool ahead = c->not_before > now && c->not_before - now <= CLOCK_SKEW_MS;
    return ahead ? c->not_before : now;
}

static void check_validity(const struct certifying *c, int64_t at)
{
    const struct ak_cert *x = c->cert;
    if (at < x->not_before)
        fail(c, CHECK_AK_CHAIN, "not_yet_valid",
             arena_printf(c->a, "from %s", words_time(c->a, x->not_before)), words_time(c->a, at));
    if (at > x->not_after)
        fail(c, CHECK_AK_CHAIN, "expired",
             arena_printf(c->a, "until %s", words_time(c->a, x->not_after)), words_time(c->a, at));
}

static bool hex_label(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f')))
            return false;
    return true;
}

/* 12 hex digits and the suffix: what the digits mean is not published, so they bind to nothing. */
static bool subject_has(const char *subject, const char *suffix)
{
    size_t n = strlen(subject);
    return n == 12 + strlen(suffix) && hex_label(subject, 12) && strcmp(subject + 12, suffix) == 0;
}

static void check_profile(const struct certifying *c)
{
    static const char *const suffixes[] = {
        [PROFILE_AZURE_TRUSTED_LAUNCH] = ".TrustedVM.Azure.windows.net",
        [PROFILE_CONFIDENTIAL_VM] = ".ConfidentialVM.Azure.windows.net",
    };
    enum attest_profile profile = c->in->profile;
    const char *subject = c->cert->subject;
    if (profile == PROFILE_TPM) {
        result_skip(c->r, CHECK_AK_PROFILE, "not_applicable");
        return;
    }
    if (subject_has(subject, suffixes[profile])) {
        result_pass(c->r, CHECK_AK_PROFILE);
        return;
    }
    const char *reason = "subject_unknown";
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++)
        if (subject_has(subject, suffixes[i]))
            reason = "profile_mismatch";
    fail(c, CHECK_AK_PROFILE, reason,
         arena_printf(c->a, "12 hexadecimal digits and %s", suffixes[profile]),
         subject[0] ? arena_strdup(c->a, subject) : "no common name");
}

const struct trusted_ak *trust_by_chain(const struct attest_input *in, struct ak_cert *cert,
                                        struct arena *a, struct attest_result *r)
{
    const struct certifying c = {in, cert, a, r};
    int64_t at = judged_at(cert, in->now);
    for (size_t i = 0; i < cert->n_problems; i++)
        fail_problem(&c, cert->problems[i]);
    if (in->profile != PROFILE_TPM)
        check_azure(&c);
    check_validity(&c, at);
    struct path_fault f = truststore_check_path(in, cert, at, a);
    /* what the leaf lacks was said above */
    if (f.reason &&
        !(result_has_failed(r, CHECK_AK_CHAIN) && strcmp(f.reason, "leaf_refused") == 0))
        fail(&c, CHECK_AK_CHAIN, f.reason, f.expected, f.found);
    result_pass(r, CHECK_AK_CHAIN);
    check_profile(&c);
    if (result_has_failed(r, CHECK_AK_CHAIN) || result_has_failed(r, CHECK_AK_PROFILE))
        return NULL;
    return trusted(&cert->key, a);
}

size_t trust_find_pin(const struct attest_input *in, const uint8_t spki_sha256[AK_SPKI_SIZE])
{
    size_t i = 0;
    while (i < in->n_pins && memcmp(in->pins[i].spki_sha256, spki_sha256, AK_SPKI_SIZE) != 0)
        i++;
    return i;
}

const struct trusted_ak *trust_by_pin(const struct attest_input *in, const struct ak_loaded *k,
                                      struct arena *a)
{
    if (in->profile != PROFILE_TPM || trust_find_pin(in, k->spki_sha256) == in->n_pins)
        return NULL;
    return trusted(&k->key, a);
}

void trust_keep_pinned(const struct attest_input *in, struct ak_loaded *k)
{
    if (!in->afresh)
        truststore_keep_key(in->trust, k);
}

struct ak_cert *trust_parse(const struct attest_input *in, struct bytes cert, const char **why)
{
    struct ak_cert *c = in->afresh ? NULL : truststore_find(in->trust, akcert_strip(cert));
    return c ? c : akcert_parse(cert, why);
}
