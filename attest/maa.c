#include "attest/maa.h"

#include "attest/jwks.h"
#include "core/clock.h"

#include <strings.h>

#define SKEW_MS       (60 * 1000LL)
#define LIFETIME_MS   (8 * 3600 * 1000LL) /* what every provider issues */
#define FIRMWARE_PCRS 0xffu
#define NONCE_TEXT    256
#define ID_MAX        128

/* A token under judgement. */
struct judging {
    const struct attest_input *in;
    const struct jwt *token;
    struct arena *arena;
    struct attest_result *r;
    bool failed;
};

static void refuse(struct judging *j, const char *reason, const char *expected, const char *found)
{
    j->failed = true;
    result_fail_values(j->r, CHECK_MAA_TOKEN, reason, ATTEST_NO_INDEX, ATTEST_NO_INDEX, expected,
                       found ? arena_strdup(j->arena, found) : NULL);
}

/* What stands there, short enough for a line of a report. */
static const char *shown(struct judging *j, const json_t *v)
{
    if (!v)
        return "nothing";
    /* In ASCII: what is cut off is then no part of a character. */
    AUTO(free) char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
    return text ? arena_printf(j->arena, "%.120s", text) : "";
}

const char *maa_parse(struct bytes token, struct arena *a, struct jwt *out)
{
    return jwt_parse(token, a, out);
}

/* ---- header (RFC 7515, 4.1) ---- */

static void check_header(struct judging *j)
{
    static const char *const refused[] = {"crit", "b64", "jwk", "x5u", "x5c"};
    const json_t *h = j->token->header;
    const char *alg = jwt_text(h, "alg"), *typ = jwt_text(h, "typ");
    if (!alg || strcmp(alg, "RS256") != 0)
        refuse(j, "token_algorithm", "RS256", shown(j, json_object_get(h, "alg")));
    if (!typ || strcmp(typ, "JWT") != 0)
        refuse(j, "token_type", "JWT", shown(j, json_object_get(h, "typ")));
    /* An extension that must be understood is not; and a token does not bring its own key. */
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        if (json_object_get(h, refused[i]))
            refuse(j, "token_header", "no such member", refused[i]);
    const json_t *jku = json_object_get(h, "jku");
    const char *url = json_string_value(jku), *iss = jwt_text(j->token->payload, "iss");
    if (jku && (!url || !iss || strcmp(url, arena_printf(j->arena, "%s/certs", iss)) != 0))
        refuse(j, "token_key_address", "the issuer's own /certs", shown(j, jku));
}

/* ---- issuer, key, signature ---- */

static const struct maa_provider *find_provider(struct judging *j)
{
    const char *iss = jwt_text(j->token->payload, "iss");
    const struct maa_trust *trust = j->in->maa;
    for (size_t i = 0; iss && i < trust->n_providers; i++)
        if (strcmp(trust->providers[i].issuer, iss) == 0)
            return &trust->providers[i];
    refuse(j, "token_issuer", "a configured provider",
           shown(j, json_object_get(j->token->payload, "iss")));
    return NULL;
}

static const struct jwk *find_key(struct judging *j, const struct jwks *keys)
{
    const json_t *given = json_object_get(j->token->header, "kid");
    const char *kid = json_string_value(given);
    const struct jwk *key = NULL;
    size_t n = kid ? jwks_find(keys, kid, &key) : 0;
    if (n == 0)
        refuse(j, "token_key_unknown", "a key of the provider", shown(j, given));
    else if (n > 1)
        refuse(j, "token_key_ambiguous", "one key with this kid", shown(j, given));
    else if (!key->loaded)
        refuse(j, "token_key_unfit", "an RSA key of at least 2048 bits", key->unfit);
    else
        return key;
    return NULL;
}

static bool check_signature(struct judging *j)
{
    const struct maa_provider *p = find_provider(j);
    if (!p || j->failed)
        return false;
    if (!p->keys) {
        refuse(j, "token_keys_unavailable", NULL, NULL);
        return false;
    }
    const struct jwk *key = find_key(j, p->keys);
    if (!key)
        return false;
    if (!jwt_verify_rs256(j->token, key->loaded))
        refuse(j, "token_signature", NULL, NULL);
    return !j->failed;
}

/* ---- claims: from here on they are the provider's ---- */

static const json_t *claim(const struct judging *j, const char *name)
{
    return json_object_get(j->token->payload, name);
}

static const char *time_of(struct judging *j, int64_t ms)
{
    char text[TIME_TEXT_SIZE];
    time_format(ms, text);
    return arena_strdup(j->arena, text);
}

static void check_times(struct judging *j, struct maa_claims *out)
{
    static const char *const names[] = {"iat", "nbf", "exp"};
    int64_t at[ARRAY_LEN(names)] = {0}, now = j->in->now;
    bool all = true;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (jwt_time(j->token->payload, names[i], &at[i]))
            continue;
        refuse(j, "token_time_missing", names[i], shown(j, claim(j, names[i])));
        all = false;
    }
    if (!all)
        return;
    out->issued_at = at[0];
    out->expires_at = at[2];
    if (at[0] > now + SKEW_MS || at[1] > now + SKEW_MS)
        refuse(j, "token_not_yet_valid", time_of(j, now),
               time_of(j, at[0] > at[1] ? at[0] : at[1]));
    if (at[2] <= now - SKEW_MS)
        refuse(j, "token_expired", time_of(j, now), time_of(j, at[2]));
    if (at[2] < at[0] || at[2] - at[0] > LIFETIME_MS || at[2] - at[1] > LIFETIME_MS)
        refuse(j, "token_lifetime", "at most 8 hours",
               arena_printf(j->arena, "%lld s", (long long)((at[2] - at[0]) / 1000)));
}

static void check_text(struct judging *j, const char *name, const char *value, const char *reason)
{
    const char *text = jwt_text(j->token->payload, name);
    if (!text || strcmp(text, value) != 0)
        refuse(j, reason, value, shown(j, claim(j, name)));
}

static bool is_one_of(const char *text, const char *const *list, size_t n)
{
    for (size_t i = 0; text && i < n; i++)
        if (strcmp(text, list[i]) == 0)
            return true;
    return false;
}

/* A token about a confidential VM names the enclave beside the guest. */
static void check_isolation(struct judging *j)
{
    static const char *const kinds[] = {"sevsnpvm", "tdxvm"};
    const json_t *tee = claim(j, "x-ms-isolation-tee");
    if (j->in->profile == PROFILE_AZURE_TRUSTED_LAUNCH && tee)
        refuse(j, "token_profile", "a Trusted Launch VM",
               shown(j, json_object_get(tee, "x-ms-attestation-type")));
    if (j->in->profile != PROFILE_CONFIDENTIAL_VM)
        return;
    const char *status = jwt_text(tee, "x-ms-compliance-status");
    if (!is_one_of(jwt_text(tee, "x-ms-attestation-type"), kinds, ARRAY_LEN(kinds)))
        refuse(j, "token_profile", "a confidential VM",
               shown(j, json_object_get(tee, "x-ms-attestation-type")));
    else if (!status || strcmp(status, "azure-compliant-cvm") != 0)
        refuse(j, "token_profile", "azure-compliant-cvm",
               shown(j, json_object_get(tee, "x-ms-compliance-status")));
}

static void check_vm(struct judging *j, struct maa_claims *out)
{
    const char *id = jwt_text(j->token->payload, "x-ms-azurevm-vmid");
    const char *expected = j->in->evidence->vm_id;
    if (!id || !uuid_valid(id))
        refuse(j, "token_vm_missing", "x-ms-azurevm-vmid", shown(j, claim(j, "x-ms-azurevm-vmid")));
    else if (expected && strcasecmp(id, expected) != 0)
        refuse(j, "token_vm_mismatch", arena_strdup(j->arena, expected), id);
    else
        out->vm_id = arena_strdup(j->arena, id);
}

/*
 * The provider encodes in base64 what the client gave it. That is the nonce, or its base64 text where
 * the client can only pass text; the two cannot be taken for each other, since their lengths differ.
 */
static bool nonce_matches(struct bytes sent, struct bytes nonce)
{
    char text[BASE64_SIZE(NONCE_TEXT)];
    if (nonce.len == 0 || nonce.len > NONCE_TEXT)
        return false;
    size_t n = base64_encode(nonce, text);
    return bytes_equal_const_time(sent, nonce) || bytes_equal_const_time(sent, BYTES(text, n));
}

static void check_nonce(struct judging *j)
{
    const json_t *payload = json_object_get(claim(j, "x-ms-runtime"), "client-payload");
    const json_t *given = json_object_get(payload, "nonce");
    const char *text = json_string_value(given);
    size_t n = text ? strlen(text) : 0, len = 0;
    if (!text) {
        refuse(j, "token_nonce_missing", "x-ms-runtime.client-payload.nonce", shown(j, given));
        return;
    }
    uint8_t *raw = arena_alloc(j->arena, n + 1);
    if (!base64_decode(text, n, raw, &len) || !nonce_matches(BYTES(raw, len), j->in->nonce))
        refuse(j, "token_nonce_mismatch", "the challenge's nonce in base64", shown(j, given));
}

static void check_pcrs(struct judging *j, struct maa_claims *out)
{
    const json_t *list = claim(j, "x-ms-azurevm-attested-pcrs"), *v;
    size_t i;
    bool numbers = json_is_array(list);
    json_array_foreach(list, i, v)
    {
        json_int_t pcr = json_is_integer(v) ? json_integer_value(v) : -1;
        numbers = numbers && pcr >= 0 && pcr < EVIDENCE_PCRS;
        if (numbers)
            out->attested_pcrs |= 1u << pcr;
    }
    if (!numbers || (out->attested_pcrs & FIRMWARE_PCRS) != FIRMWARE_PCRS)
        refuse(j, "token_pcrs", "0 to 7 at least", shown(j, list));
}

/* What must hold of the boot. A claim that is missing, or no boolean, has failed: policies of the
 * provider's owner may drop claims. */
static const struct flag {
    const char *name;
    bool wanted;
    bool with_secure_boot; /* follows from Secure Boot: free where that is off and may be */
} flags[] = {
    {"secureboot", true, true},
    {"x-ms-azurevm-dbvalidated", true, true},
    {"x-ms-azurevm-dbxvalidated", true, true},
    {"x-ms-azurevm-debuggersdisabled", true, false},
    {"x-ms-azurevm-bootdebug-enabled", false, false},
    {"x-ms-azurevm-kerneldebug-enabled", false, false},
    {"x-ms-azurevm-hypervisordebug-enabled", false, false},
    {"x-ms-azurevm-testsigning-enabled", false, false},
    {"x-ms-azurevm-flightsigning-enabled", false, false},
};

static void list_flag(struct buf *out, const char *name, const char *value)
{
    buf_printf(out, "%s%s %s", out->len ? ", " : "", name, value);
}

/* One finding for all flags of a kind: the line then says everything that is wrong. */
struct flag_list {
    struct buf expected, found;
};

static void add_flag(struct judging *j, struct flag_list *list, const struct flag *f,
                     const json_t *v)
{
    list_flag(&list->expected, f->name, f->wanted ? "true" : "false");
    list_flag(&list->found, f->name, shown(j, v));
}

static void refuse_flags(struct judging *j, const char *reason, struct flag_list *list)
{
    if (list->expected.len)
        refuse(j, reason, arena_strdup(j->arena, list->expected.data), list->found.data);
    buf_free(&list->expected);
    buf_free(&list->found);
}

static void check_flags(struct judging *j, struct maa_claims *out)
{
    struct flag_list missing = {0}, wrong = {0};
    out->secure_boot = json_is_true(claim(j, "secureboot"));
    bool lenient = !out->secure_boot && !j->in->require_secure_boot;
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        const struct flag *f = &flags[i];
        const json_t *v = claim(j, f->name);
        if (!json_is_boolean(v))
            add_flag(j, &missing, f, v);
        else if (json_is_true(v) != f->wanted && !(lenient && f->with_secure_boot))
            add_flag(j, &wrong, f, v);
    }
    refuse_flags(j, "token_claim_missing", &missing);
    refuse_flags(j, "token_claim_refused", &wrong);
}

static void check_policy_hash(struct judging *j)
{
    const struct maa_trust *t = j->in->maa;
    const char *hash = jwt_text(j->token->payload, "x-ms-policy-hash");
    if (t->n_policy_hashes && !is_one_of(hash, t->policy_hashes, t->n_policy_hashes))
        refuse(j, "token_policy", "an allowed policy", shown(j, claim(j, "x-ms-policy-hash")));
}

static void check_id(struct judging *j, struct maa_claims *out)
{
    const char *id = jwt_text(j->token->payload, "jti");
    if (!id || !*id || strlen(id) > ID_MAX)
        refuse(j, "token_id_missing", "jti", shown(j, claim(j, "jti")));
    else if (j->in->maa->seen && j->in->maa->seen(j->in->maa->ctx, id))
        refuse(j, "token_replayed", "a token that was not used before", id);
    else
        out->id = arena_strdup(j->arena, id);
}

/* ---- against the TPM's own word ---- */

static void cross_check(struct judging *j, const struct maa_claims *c)
{
    const struct attest_claims *tpm = j->r->claims;
    if (!tpm || !tpm->has_log || tpm->log->secure_boot == TRI_UNSET ||
        !json_is_boolean(claim(j, "secureboot")))
        return;
    bool proven = tpm->log->secure_boot == TRI_TRUE;
    if (proven != c->secure_boot)
        refuse(j, "token_contradicts_evidence", proven ? "secureboot true" : "secureboot false",
               shown(j, claim(j, "secureboot")));
}

static void keep(struct judging *j, struct maa_claims *out)
{
    const json_t *p = j->token->payload;
    out->issuer = arena_strdup(j->arena, jwt_text(p, "iss"));
    out->policy_hash = arena_strdup(j->arena, jwt_text(p, "x-ms-policy-hash"));
    out->protocol = arena_strdup(j->arena, jwt_text(p, "x-ms-azurevm-attestation-protocol-ver"));
    out->os_type = arena_strdup(j->arena, jwt_text(p, "x-ms-azurevm-ostype"));
    out->os_distro = arena_strdup(j->arena, jwt_text(p, "x-ms-azurevm-osdistro"));
}

static void check_claims(struct judging *j, struct maa_claims *out)
{
    check_text(j, "x-ms-attestation-type", "azurevm", "token_kind");
    check_text(j, "x-ms-ver", "1.0", "token_version");
    check_isolation(j);
    check_times(j, out);
    check_id(j, out);
    check_vm(j, out);
    check_nonce(j);
    check_pcrs(j, out);
    check_flags(j, out);
    check_policy_hash(j);
    cross_check(j, out);
}

const struct maa_claims *maa_verify(const struct attest_input *in, const struct jwt *token,
                                    struct arena *a, struct attest_result *r)
{
    struct judging j = {.in = in, .token = token, .arena = a, .r = r};
    if (!in->maa || in->maa->n_providers == 0) {
        result_skip(r, CHECK_MAA_TOKEN, "token_not_configured");
        return NULL;
    }
    if (!token->compact) {
        refuse(&j, "token_not_compact", "three segments", NULL);
        return NULL;
    }
    check_header(&j);
    if (!check_signature(&j))
        return NULL;
    struct maa_claims *out = ARENA_NEW(a, struct maa_claims);
    check_claims(&j, out);
    if (j.failed)
        return NULL;
    keep(&j, out);
    result_pass(r, CHECK_MAA_TOKEN);
    return out;
}

enum err attest_verify_token(const struct attest_input *in, struct arena *a,
                             struct attest_result *r, struct err_info *e)
{
    struct jwt token;
    result_init(r);
    const char *why = maa_parse(in->evidence->maa_token, a, &token);
    if (!why)
        r->maa = maa_verify(in, &token, a, r);
    jwt_done(&token);
    if (why)
        return wire_malformed(e, "#/maaToken", why);
    const struct attest_finding *first = &r->findings[0];
    bool undecided = first->status == STATUS_SKIP ||
                     (first->reason && strcmp(first->reason, "token_keys_unavailable") == 0);
    r->verdict = r->maa ? VERDICT_TRUSTED : undecided ? VERDICT_INDETERMINATE : VERDICT_UNTRUSTED;
    r->reason = first->reason;
    return OK;
}

/* ---- out ---- */

void maa_write_claims(struct jw *w, const struct maa_claims *c)
{
    jw_key(w, "azureAttestation");
    jw_open(w, '{');
    jw_key_str(w, "issuer", c->issuer);
    jw_key_str(w, "vmId", c->vm_id);
    jw_key_str_opt(w, "policyHash", c->policy_hash);
    jw_key_str_opt(w, "protocolVersion", c->protocol);
    jw_key_str_opt(w, "osType", c->os_type);
    jw_key_str_opt(w, "osDistro", c->os_distro);
    jw_key_bool(w, "secureBoot", c->secure_boot);
    jw_key(w, "attestedPcrs");
    jw_open(w, '[');
    for (int i = 0; i < EVIDENCE_PCRS; i++)
        if (c->attested_pcrs >> i & 1)
            jw_int(w, i);
    jw_close(w, ']');
    jw_key_time(w, "issuedAt", c->issued_at);
    jw_key_time(w, "expiresAt", c->expires_at);
    jw_close(w, '}');
}
