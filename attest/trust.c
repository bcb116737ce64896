#include "attest/trust.h"

#include "attest/hash.h"
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

const struct ak_key *trusted_ak_key(const struct trusted_ak *t)
{
    return &t->key;
}

/* What Azure's certificates have beyond any AK's (attestation of a Trusted Launch VM, 2.2). */
static void check_azure(const struct ak_cert *c, struct attest_result *r)
{
    if (!c->rsa_only)
        result_fail(r, CHECK_AK_CHAIN, "key_type");
    if (!c->only_digital_signature)
        result_fail(r, CHECK_AK_CHAIN, "key_usage");
}

/* A certificate made this moment by an issuer whose clock is ahead is not from the future. */
static int64_t judged_at(const struct ak_cert *c, int64_t now)
{
    bool ahead = c->not_before > now && c->not_before - now <= CLOCK_SKEW_MS;
    return ahead ? c->not_before : now;
}

static void check_validity(const struct ak_cert *c, int64_t at, struct attest_result *r)
{
    if (at < c->not_before)
        result_fail(r, CHECK_AK_CHAIN, "not_yet_valid");
    if (at > c->not_after)
        result_fail(r, CHECK_AK_CHAIN, "expired");
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

static void check_profile(enum attest_profile profile, const struct ak_cert *c,
                          struct attest_result *r)
{
    static const char *const suffixes[] = {
        [PROFILE_AZURE_TRUSTED_LAUNCH] = ".TrustedVM.Azure.windows.net",
        [PROFILE_CONFIDENTIAL_VM] = ".ConfidentialVM.Azure.windows.net",
    };
    if (profile == PROFILE_TPM) {
        result_skip(r, CHECK_AK_PROFILE, "not_applicable");
        return;
    }
    if (subject_has(c->subject, suffixes[profile])) {
        result_pass(r, CHECK_AK_PROFILE);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        if (subject_has(c->subject, suffixes[i])) {
            result_fail(r, CHECK_AK_PROFILE, "profile_mismatch");
            return;
        }
    }
    result_fail(r, CHECK_AK_PROFILE, "subject_unknown");
}

const struct trusted_ak *trust_by_chain(const struct attest_input *in, struct ak_cert *cert,
                                        struct arena *a, struct attest_result *r)
{
    int64_t at = judged_at(cert, in->now);
    for (size_t i = 0; i < cert->n_problems; i++)
        result_fail(r, CHECK_AK_CHAIN, cert->problems[i]);
    if (in->profile != PROFILE_TPM)
        check_azure(cert, r);
    check_validity(cert, at, r);
    const char *why = truststore_check_path(in->trust, cert, in->evidence, at);
    /* what the leaf lacks was said above */
    if (why && !(result_has_failed(r, CHECK_AK_CHAIN) && strcmp(why, "leaf_refused") == 0))
        result_fail(r, CHECK_AK_CHAIN, why);
    result_pass(r, CHECK_AK_CHAIN);
    check_profile(in->profile, cert, r);
    if (result_has_failed(r, CHECK_AK_CHAIN) || result_has_failed(r, CHECK_AK_PROFILE))
        return NULL;
    return trusted(&cert->key, a);
}

size_t trust_find_pin(const struct attest_input *in, const struct ak_key *key, struct arena *a)
{
    uint8_t spki[AK_SPKI_SIZE];
    ak_key_spki_sha256(key, a, spki);
    size_t i = 0;
    while (i < in->n_pins && memcmp(in->pins[i].spki_sha256, spki, sizeof spki) != 0)
        i++;
    return i;
}

const struct trusted_ak *trust_by_pin(const struct attest_input *in, const struct ak_key *key,
                                      struct arena *a)
{
    if (in->profile != PROFILE_TPM || trust_find_pin(in, key, a) == in->n_pins)
        return NULL;
    return trusted(key, a);
}

struct ak_cert *trust_parse(struct attest_trust *t, struct bytes in, const char **why)
{
    uint8_t sha256[32];
    x509_fingerprint(akcert_strip(in), sha256);
    struct ak_cert *c = truststore_find(t, sha256);
    return c ? c : akcert_parse(in, why);
}
