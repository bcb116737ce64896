/* The rules about who vouched for what was booted: signers, SBAT level, revocation lists. */
#include "attest/cert.h"
#include "attest/policy.h"
#include "attest/rules_compiled.h"
#include "attest/sbat.h"
#include "attest/uefi.h"

#include <strings.h>

struct signing {
    const struct attest_policy *p;
    const struct attest_claims *claims;
    struct arena *a;
    struct attest_result *r;
    /* of the authorities that are certificates */
    uint8_t fingerprints[CLAIMS_AUTHORITIES][CERT_FINGERPRINT];
    const char *subjects[CLAIMS_AUTHORITIES]; /* decoded when a rule first asks for one */
};

static void violated(struct signing *s, const char *reason, int event, int pcr,
                     const char *expected, const char *found)
{
    result_fail_values(s->r, CHECK_POLICY, reason, event, pcr, expected, found);
}

static void unproven(struct signing *s, const char *rule, int pcr, const char *what)
{
    violated(s, "rule_not_proven", ATTEST_NO_INDEX, pcr, rule, what);
}

static const char *hex_of(struct signing *s, struct bytes b)
{
    char *text = arena_alloc(s->a, 2 * b.len + 1);
    hex_encode(b, text);
    return text;
}

static bool is_proven(const struct signing *s, uint32_t pcrs)
{
    return s->claims->has_log && (s->claims->proven & pcrs) == pcrs && !s->claims->log->truncated;
}

/* ---- signers ---- */

static const char *subject_of(struct signing *s, size_t i)
{
    if (!s->subjects[i]) {
        struct cert_facts f = cert_describe(s->claims->log->authorities[i].certificate, s->a);
        s->subjects[i] = f.decoded ? f.subject : "";
    }
    return s->subjects[i];
}

/* The text is one or more whole parts of the subject ("CN=...", or all of it). */
static bool subject_has(const char *subject, const char *text)
{
    size_t n = strlen(text);
    for (const char *p = subject; *p; p++)
        if ((p == subject || p[-1] == ',') && strncasecmp(p, text, n) == 0 &&
            (p[n] == 0 || p[n] == ','))
            return true;
    return false;
}

static bool is_fingerprint(const char *text, uint8_t out[CERT_FINGERPRINT])
{
    return strlen(text) == 2 * CERT_FINGERPRINT &&
           hex_decode(text, 2 * CERT_FINGERPRINT, out, CERT_FINGERPRINT);
}

/* Index of an authority that the rule's entry names, or n_authorities. */
static size_t find_signer(struct signing *s, const char *entry)
{
    const struct log_claims *log = s->claims->log;
    uint8_t wanted[CERT_FINGERPRINT];
    bool by_hash = is_fingerprint(entry, wanted);
    size_t i = 0;
    for (; i < log->n_authorities; i++) {
        if (log->authorities[i].certificate.len == 0)
            continue;
        if (by_hash ? memcmp(s->fingerprints[i], wanted, sizeof wanted) == 0
                    : subject_has(subject_of(s, i), entry))
            break;
    }
    return i;
}

static const char *signers_seen(struct signing *s)
{
    const struct log_claims *log = s->claims->log;
    struct buf out = {0};
    for (size_t i = 0; i < log->n_authorities && out.len < 400; i++)
        if (log->authorities[i].certificate.len)
            buf_printf(&out, "%s%s", out.len ? "; " : "", subject_of(s, i));
    const char *text = arena_strndup(s->a, out.len ? out.data : "none", out.len ? out.len : 4);
    buf_free(&out);
    return text;
}

static void check_signers(struct signing *s)
{
    const struct rules_signers *rule = s->p->rules->signers;
    const struct log_claims *log = s->claims->log;
    if (!rule)
        return;
    if (!is_proven(s, 1u << 7)) {
        unproven(s, "signers", 7, "no log proves what vouched for the boot");
        return;
    }
    for (size_t i = 0; i < rule->required.n; i++)
        if (find_signer(s, rule->required.items[i]) == log->n_authorities)
            violated(s, "signer_missing", ATTEST_NO_INDEX, 7, rule->required.items[i],
                     signers_seen(s));
    for (size_t i = 0; i < rule->forbidden.n; i++) {
        size_t at = find_signer(s, rule->forbidden.items[i]);
        if (at < log->n_authorities)
            violated(s, "signer_forbidden", log->authorities[at].event, 7,
                     arena_printf(s->a, "not %s", rule->forbidden.items[i]), subject_of(s, at));
    }
}

/* ---- SBAT ---- */

static void check_sbat(struct signing *s)
{
    const struct attest_rules *rules = s->p->rules;
    const struct rules_sbat *minimum = rules->sbat.items;
    struct bytes level = s->claims->log->sbat_level;
    if (rules->sbat.n == 0 && !rules->sbat_level)
        return;
    if (!is_proven(s, 1u << 7) || level.len == 0) {
        unproven(s, "sbat", 7, "no log proves the SBAT level of shim");
        return;
    }
    for (size_t i = 0; i < rules->sbat.n; i++) {
        uint32_t found = sbat_generation(level, minimum[i].component);
        if (found < (uint64_t)minimum[i].generation)
            violated(s, "sbat_below_minimum", ATTEST_NO_INDEX, 7,
                     arena_printf(s->a, "%s,%lld", minimum[i].component,
                                  (long long)minimum[i].generation),
                     found ? arena_printf(s->a, "%s,%u", minimum[i].component, found) : "none");
    }
    uint64_t wanted = rules->sbat_level ? strtoull(rules->sbat_level, NULL, 10) : 0;
    uint64_t revision = sbat_revision(level);
    if (revision < wanted)
        violated(s, "sbat_below_minimum", ATTEST_NO_INDEX, 7,
                 arena_printf(s->a, "revision %s", rules->sbat_level),
                 arena_printf(s->a, "revision %llu", (unsigned long long)revision));
}

/* ---- revocations ---- */

/* Marks the members of `set` that `found` is; true where it is one. */
static bool mark(const struct digest_set *set, bool *marks, const uint8_t found[32])
{
    size_t low = 0, high = set->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = memcmp(set->items[middle].v, found, 32);
        if (order == 0) {
            /* the same entry may be listed twice */
            for (size_t i = middle; i < set->n && !memcmp(set->items[i].v, found, 32); i++)
                marks[i] = true;
            for (size_t i = middle; i-- > 0 && !memcmp(set->items[i].v, found, 32);)
                marks[i] = true;
            return true;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

static void tell_missing(struct signing *s, const struct policy_revocation *r,
                         const struct digest_set *set, const bool *marks, const char *what)
{
    size_t missing = 0, first = 0;
    for (size_t i = set->n; i-- > 0;)
        if (!marks[i]) {
            missing++;
            first = i;
        }
    if (missing)
        violated(s, "dbx_incomplete", s->claims->log->variables[SB_DBX].event, 7,
                 arena_printf(s->a, "every %s of %s", what, r->rule->name),
                 arena_printf(s->a, "%zu missing, the first is %s", missing,
                              hex_of(s, BYTES(set->items[first].v, 32))));
}

static void check_dbx(struct signing *s, const struct policy_revocation *r)
{
    bool *hashes = arena_array(s->a, r->hashes.n + 1, sizeof *hashes);
    bool *certificates = arena_array(s->a, r->certificates.n + 1, sizeof *certificates);
    struct uefi_signature_walk walk = uefi_signature_walk(s->claims->log->variables[SB_DBX].value);
    struct uefi_signature entry;
    while (uefi_signature_next(&walk, &entry)) {
        uint8_t fingerprint[CERT_FINGERPRINT];
        if (entry.kind == SIGNATURE_SHA256 && entry.data.len == 32) {
            mark(&r->hashes, hashes, entry.data.data);
        } else if (entry.kind == SIGNATURE_X509 && r->certificates.n) {
            cert_fingerprint(entry.data, fingerprint);
            mark(&r->certificates, certificates, fingerprint);
        }
    }
    tell_missing(s, r, &r->hashes, hashes, "hash");
    tell_missing(s, r, &r->certificates, certificates, "certificate");
}

static void check_booted(struct signing *s, const struct policy_revocation *r)
{
    const struct log_claims *log = s->claims->log;
    const char *expected = arena_printf(s->a, "nothing of %s", r->rule->name);
    for (size_t i = 0; i < log->n_applications; i++)
        if (digest_set_has(&r->hashes, log->applications[i].digest))
            violated(s, "revoked_image_booted", log->applications[i].event, 4, expected,
                     hex_of(s, log->applications[i].digest));
    for (size_t i = 0; i < log->n_authorities; i++) {
        const struct claim_authority *auth = &log->authorities[i];
        if (auth->hash.len && digest_set_has(&r->hashes, auth->hash))
            violated(s, "revoked_image_booted", auth->event, 7, expected, hex_of(s, auth->hash));
        if (auth->certificate.len && digest_set_has(&r->certificates, BYTES_OF(s->fingerprints[i])))
            violated(s, "revoked_image_booted", auth->event, 7, expected, subject_of(s, i));
    }
}

static void check_revocation(struct signing *s, const struct policy_revocation *r)
{
    const char *rule = arena_printf(s->a, "revocations: %s", r->rule->name);
    if (!is_proven(s, 1u << 4 | 1u << 7)) {
        unproven(s, rule, 7, "no log proves what was booted and what dbx holds");
        return;
    }
    if (r->rule->must_not_boot && s->claims->bank != BANK_SHA256)
        unproven(s, rule, 4, "image digests are compared in the SHA-256 bank");
    else if (r->rule->must_not_boot)
        check_booted(s, r);
    if (r->rule->must_be_in_dbx)
        check_dbx(s, r);
}

void policy_check_signers(const struct attest_input *in, const struct policy_facts *f,
                          struct arena *a, struct attest_result *r)
{
    const struct attest_rules *rules = in->policy->rules;
    if (!rules->signers && rules->sbat.n == 0 && !rules->sbat_level && rules->revocations.n == 0)
        return;
    struct signing *s = ARENA_NEW(a, struct signing);
    *s = (struct signing){.p = in->policy, .claims = f->claims, .a = a, .r = r};
    for (size_t i = 0; i < f->claims->log->n_authorities; i++)
        if (f->claims->log->authorities[i].certificate.len)
            cert_fingerprint(f->claims->log->authorities[i].certificate, s->fingerprints[i]);
    check_signers(s);
    check_sbat(s);
    for (size_t i = 0; i < rules->revocations.n; i++)
        check_revocation(s, &in->policy->revocations[i]);
}
