/* The rules about who vouched for what was booted: signers, SBAT level, revocation lists. */
#include "attest/cert.h"
#include "attest/judging.h"
#include "attest/rules_compiled.h"
#include "attest/sbat.h"
#include "attest/uefi.h"
#include "attest/words.h"

#include <strings.h>

struct signing {
    const struct judging *j;
    const struct attest_policy *p;
    const struct attest_claims *claims;
    struct arena *a;
    /* of the authorities that are certificates */
    uint8_t fingerprints[CLAIMS_AUTHORITIES][CERT_FINGERPRINT];
    uint8_t tbs[CLAIMS_AUTHORITIES][CERT_FINGERPRINT]; /* of the TBSCertificate; zero: none */
    const char *subjects[CLAIMS_AUTHORITIES];          /* decoded when a rule first asks for one */
};

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

static bool is_named(struct signing *s, size_t i, const char *entry)
{
    uint8_t wanted[CERT_FINGERPRINT];
    if (s->claims->log->authorities[i].certificate.len == 0)
        return false;
    return is_fingerprint(entry, wanted) ? memcmp(s->fingerprints[i], wanted, sizeof wanted) == 0
                                         : subject_has(subject_of(s, i), entry);
}

static bool is_named_by_any(struct signing *s, size_t i, const struct str_list *list)
{
    for (size_t k = 0; k < list->n; k++)
        if (is_named(s, i, list->items[k]))
            return true;
    return false;
}

/* Index of the first authority that the rule's entry names, or n_authorities. */
static size_t find_signer(struct signing *s, const char *entry)
{
    size_t i = 0;
    while (i < s->claims->log->n_authorities && !is_named(s, i, entry))
        i++;
    return i;
}

static bool vouches(const struct claim_authority *auth)
{
    return auth->certificate.len || auth->hash.len || auth->opaque;
}

/* Index of the first that vouched for something and is not named, or n_authorities. */
static size_t find_other(struct signing *s)
{
    const struct rules_signers *rule = s->p->rules->signers;
    const struct log_claims *log = s->claims->log;
    size_t i = 0;
    while (i < log->n_authorities &&
           (!vouches(&log->authorities[i]) || is_named_by_any(s, i, &rule->required) ||
            is_named_by_any(s, i, &rule->allowed)))
        i++;
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

/* An authority in words. */
static const char *authority_text(struct signing *s, size_t i)
{
    const struct claim_authority *auth = &s->claims->log->authorities[i];
    if (auth->certificate.len && *subject_of(s, i))
        return subject_of(s, i);
    return auth->hash.len ? arena_printf(s->a, "the image %s", words_hex(s->a, auth->hash))
                          : arena_printf(s->a, "an authority that is not understood (%s, event %d)",
                                         auth->variable, auth->event);
}

/* Any authority can be extended after boot. One that is not surely the firmware's counts where nobody but
 * those that the policy names vouched for anything; `other` is the first who did. */
static void check_required(struct signing *s, const char *entry, size_t other)
{
    const struct log_claims *log = s->claims->log;
    size_t at = find_signer(s, entry);
    if (at == log->n_authorities)
        judging_violated(s->j, "signer_missing", ATTEST_NO_INDEX, 7, entry, signers_seen(s));
    else if (!log->authorities[at].sure && other < log->n_authorities)
        judging_violated(
            s->j, "rule_not_proven", log->authorities[at].event, 7,
            arena_printf(s->a, "signers.required: %s", entry),
            arena_printf(s->a,
                         "root could have added it after boot, for the policy does not name all "
                         "who vouched. If it may, name in signers.required or signers.allowed: %s",
                         authority_text(s, other)));
}

static void check_allowed(struct signing *s, size_t other)
{
    const struct log_claims *log = s->claims->log;
    if (s->p->rules->signers->allowed.n == 0 || other == log->n_authorities)
        return;
    const struct claim_authority *auth = &log->authorities[other];
    judging_violated(s->j, "signer_not_allowed", auth->event, 7, "a signer that the policy names",
                     authority_text(s, other));
}

/* Index of an authority of which nobody can say whose it is, or n_authorities. */
static size_t find_unknown(struct signing *s)
{
    const struct log_claims *log = s->claims->log;
    size_t i = 0;
    while (i < log->n_authorities && !log->authorities[i].opaque &&
           (log->authorities[i].certificate.len == 0 || *subject_of(s, i)))
        i++;
    return i;
}

static void check_forbidden(struct signing *s)
{
    const struct str_list *forbidden = &s->p->rules->signers->forbidden;
    const struct log_claims *log = s->claims->log;
    for (size_t i = 0; i < forbidden->n; i++) {
        size_t at = find_signer(s, forbidden->items[i]);
        if (at < log->n_authorities)
            judging_violated(s->j, "signer_forbidden", log->authorities[at].event, 7,
                             arena_printf(s->a, "not %s", forbidden->items[i]), subject_of(s, at));
    }
    size_t unknown = forbidden->n ? find_unknown(s) : log->n_authorities;
    if (unknown < log->n_authorities)
        judging_violated(s->j, "rule_not_proven", log->authorities[unknown].event, 7,
                         "signers.forbidden", authority_text(s, unknown));
}

/* Without Secure Boot nobody has to vouch for anything. */
static bool is_enforced(const struct signing *s)
{
    return is_proven(s, 1u << 7) && claims_secure_boot(s->claims->log) == TRI_TRUE;
}

static const char *not_enforced(const struct signing *s)
{
    if (is_proven(s, 1u << 7) && claims_secure_boot(s->claims->log) == TRI_FALSE)
        return "Secure Boot was off, so nobody had to vouch for what was booted";
    return "no log proves that Secure Boot was on, and who vouched for what was booted";
}

static void check_signers(struct signing *s)
{
    const struct rules_signers *rule = s->p->rules->signers;
    if (!rule)
        return;
    if (!is_enforced(s)) {
        judging_unproven(s->j, "signers", 7, not_enforced(s));
        return;
    }
    size_t other = find_other(s);
    for (size_t i = 0; i < rule->required.n; i++)
        check_required(s, rule->required.items[i], other);
    check_allowed(s, other);
    check_forbidden(s);
}

/* ---- SBAT ---- */

static void check_sbat(struct signing *s)
{
    const struct attest_rules *rules = s->p->rules;
    const struct rules_sbat *minimum = rules->sbat.items;
    struct bytes level = s->claims->log->sbat_level;
    if (rules->sbat.n == 0 && !rules->sbat_level)
        return;
    if (!is_enforced(s) || level.len == 0) {
        const char *doubt = s->claims->log->sbat_doubt;
        judging_unproven(s->j, "sbat", 7, doubt ? doubt : "no log proves the SBAT level of shim");
        return;
    }
    int event = claims_authority_event(s->claims->log, "SbatLevel");
    for (size_t i = 0; i < rules->sbat.n; i++) {
        uint32_t found = sbat_generation(level, minimum[i].component);
        if (found < (uint64_t)minimum[i].generation)
            judging_violated(s->j, "sbat_below_minimum", event, 7,
                             arena_printf(s->a, "%s,%lld", minimum[i].component,
                                          (long long)minimum[i].generation),
                             found ? arena_printf(s->a, "%s,%u", minimum[i].component, found)
                                   : "none");
    }
    uint64_t wanted = rules->sbat_level ? strtoull(rules->sbat_level, NULL, 10) : 0;
    uint64_t revision = sbat_revision(level);
    if (revision < wanted)
        judging_violated(s->j, "sbat_below_minimum", event, 7,
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
        judging_violated(s->j, "dbx_incomplete", s->claims->log->variables[SB_DBX].event, 7,
                         arena_printf(s->a, "every %s of %s", what, r->rule->name),
                         arena_printf(s->a, "%zu missing, the first is %s", missing,
                                      words_hex(s->a, BYTES(set->items[first].v, 32))));
}

/* The certificate by either of its names: SHA-256 of the DER, or of its TBSCertificate. */
static bool mark_certificate(const struct digest_set *set, bool *marks, struct bytes der)
{
    uint8_t sha256[CERT_FINGERPRINT];
    cert_fingerprint(der, sha256);
    bool found = mark(set, marks, sha256);
    return (cert_tbs_sha256(der, sha256) && mark(set, marks, sha256)) || found;
}

/* What is revoked from a time on lets through what was signed before. */
static bool always_revoked(const struct uefi_signature *entry)
{
    static const uint8_t no_time[16];
    return entry->kind == SIGNATURE_X509_SHA256 && entry->data.len == SIGNATURE_X509_SHA256_SIZE &&
           memcmp(entry->data.data + CERT_FINGERPRINT, no_time, sizeof no_time) == 0;
}

static bool dbx_has_tbs(const struct signing *s, const uint8_t tbs[CERT_FINGERPRINT])
{
    struct uefi_signature_walk walk = uefi_signature_walk(s->claims->log->variables[SB_DBX].value);
    struct uefi_signature entry;
    while (uefi_signature_next(&walk, &entry))
        if (always_revoked(&entry) && memcmp(entry.data.data, tbs, CERT_FINGERPRINT) == 0)
            return true;
    return false;
}

/* The rule names a certificate by its own hash and dbx by that of its TBSCertificate: they are the same where
 * the log holds the certificate itself. */
static void mark_known(struct signing *s, const struct digest_set *set, bool *marks)
{
    const struct log_claims *log = s->claims->log;
    struct uefi_signature_walk walk = uefi_signature_walk(log->variables[SB_DB].value);
    struct uefi_signature entry;
    uint8_t own[CERT_FINGERPRINT], tbs[CERT_FINGERPRINT];
    while (uefi_signature_next(&walk, &entry)) {
        if (entry.kind != SIGNATURE_X509)
            continue;
        cert_fingerprint(entry.data, own);
        if (digest_set_has(set, BYTES_OF(own)) && cert_tbs_sha256(entry.data, tbs) &&
            dbx_has_tbs(s, tbs))
            mark(set, marks, own);
    }
    for (size_t i = 0; i < log->n_authorities; i++)
        if (log->authorities[i].certificate.len && dbx_has_tbs(s, s->tbs[i]))
            mark(set, marks, s->fingerprints[i]);
}

/*
 * An entry of dbx that is no hash: a security version number of a loader of Windows, as Microsoft's lists have
 * them (secureboot_objects, dbx_info_msft_*_svns.csv): 01, the loader's GUID, minor and major version
 * (little-endian), zeros. A later one stands for those before.
 */
#define SVN_NAME 17 /* 01 and the GUID */

static bool is_svn(const uint8_t v[32])
{
    static const uint8_t zeros[32 - SVN_NAME - 4];
    return v[0] == 1 && memcmp(v + SVN_NAME + 4, zeros, sizeof zeros) == 0;
}

static unsigned svn_version(const uint8_t v[32])
{
    const uint8_t *at = v + SVN_NAME;
    return (unsigned)at[3] << 24 | (unsigned)at[2] << 16 | (unsigned)at[1] << 8 | at[0];
}

static void mark_svn(const struct digest_set *set, bool *marks, const uint8_t found[32])
{
    for (size_t i = 0; i < set->n; i++)
        if (is_svn(set->items[i].v) && memcmp(set->items[i].v, found, SVN_NAME) == 0 &&
            svn_version(set->items[i].v) <= svn_version(found))
            marks[i] = true;
}

static void mark_hash(const struct digest_set *set, bool *marks, const uint8_t found[32])
{
    mark(set, marks, found);
    if (is_svn(found))
        mark_svn(set, marks, found);
}

static void check_dbx(struct signing *s, const struct policy_revocation *r)
{
    bool *hashes = arena_array(s->a, r->hashes.n + 1, sizeof *hashes);
    bool *certificates = arena_array(s->a, r->certificates.n + 1, sizeof *certificates);
    struct uefi_signature_walk walk = uefi_signature_walk(s->claims->log->variables[SB_DBX].value);
    struct uefi_signature entry;
    while (uefi_signature_next(&walk, &entry)) {
        if (entry.kind == SIGNATURE_SHA256 && entry.data.len == 32)
            mark_hash(&r->hashes, hashes, entry.data.data);
        else if (entry.kind == SIGNATURE_X509 && r->certificates.n)
            mark_certificate(&r->certificates, certificates, entry.data);
        else if (always_revoked(&entry))
            mark(&r->certificates, certificates, entry.data.data);
    }
    if (r->certificates.n)
        mark_known(s, &r->certificates, certificates);
    tell_missing(s, r, &r->hashes, hashes, "hash");
    tell_missing(s, r, &r->certificates, certificates, "certificate");
}

#define IMAGE_PCRS (1u << 2 | 1u << 4) /* drivers and applications (PFP 1.05, 3.3.4) */

/* Whatever their type says. */
static void check_images(struct signing *s, const struct policy_revocation *r, const char *expected)
{
    const struct event_log *events = replay_log(s->j->f->log);
    for (size_t i = 0; i < events->n; i++) {
        const struct log_event *ev = &events->events[i];
        struct bytes digest = ev->digest[s->claims->bank];
        if (ev->pcr < EVIDENCE_PCRS && IMAGE_PCRS >> ev->pcr & 1 && ev->type != EV_NO_ACTION &&
            digest_set_has(&r->hashes, digest))
            judging_violated(s->j, "revoked_image_booted", (int)i, (int)ev->pcr, expected,
                             words_hex(s->a, digest));
    }
}

static void check_booted(struct signing *s, const struct policy_revocation *r)
{
    const struct log_claims *log = s->claims->log;
    const char *expected = arena_printf(s->a, "nothing of %s", r->rule->name);
    check_images(s, r, expected);
    for (size_t i = 0; i < log->n_authorities; i++) {
        const struct claim_authority *auth = &log->authorities[i];
        if (auth->hash.len && digest_set_has(&r->hashes, auth->hash))
            judging_violated(s->j, "revoked_image_booted", auth->event, 7, expected,
                             words_hex(s->a, auth->hash));
        if (auth->certificate.len &&
            (digest_set_has(&r->certificates, BYTES_OF(s->fingerprints[i])) ||
             digest_set_has(&r->certificates, BYTES_OF(s->tbs[i]))))
            judging_violated(s->j, "revoked_image_booted", auth->event, 7, expected,
                             subject_of(s, i));
    }
}

static void check_revocation(struct signing *s, const struct policy_revocation *r)
{
    const char *rule = arena_printf(s->a, "revocations: %s", r->rule->name);
    const struct log_claims *log = s->claims->log;
    if (!is_proven(s, IMAGE_PCRS | 1u << 7)) {
        judging_unproven(s->j, rule, 7,
                         "no log proves what was loaded and what dbx holds (PCR 2, 4 and 7)");
        return;
    }
    if (r->rule->must_not_boot && s->claims->bank != BANK_SHA256)
        judging_unproven(s->j, rule, 4, "image digests are compared in the SHA-256 bank");
    else if (r->rule->must_not_boot && r->certificates.n && !is_enforced(s))
        judging_unproven(s->j, rule, 7, not_enforced(s));
    else if (r->rule->must_not_boot && r->certificates.n && find_unknown(s) < log->n_authorities)
        judging_unproven(s->j, rule, 7, authority_text(s, find_unknown(s)));
    else if (r->rule->must_not_boot)
        check_booted(s, r);
    if (r->rule->must_be_in_dbx)
        check_dbx(s, r);
}

void judging_signers(const struct judging *j)
{
    const struct attest_rules *rules = j->p->rules;
    const struct log_claims *log = j->claims->log;
    if (!rules->signers && rules->sbat.n == 0 && !rules->sbat_level && rules->revocations.n == 0)
        return;
    struct signing *s = ARENA_NEW(j->a, struct signing);
    *s = (struct signing){.j = j, .p = j->p, .claims = j->claims, .a = j->a};
    for (size_t i = 0; i < log->n_authorities; i++) {
        struct bytes der = log->authorities[i].certificate;
        if (der.len == 0)
            continue;
        cert_fingerprint(der, s->fingerprints[i]);
        if (!cert_tbs_sha256(der, s->tbs[i]))
            memset(s->tbs[i], 0, sizeof s->tbs[i]);
    }
    check_signers(s);
    check_sbat(s);
    for (size_t i = 0; i < rules->revocations.n; i++)
        check_revocation(s, &j->p->revocations[i]);
}
