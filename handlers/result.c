/* /.well-known/jwks.json, and the signed results that its keys verify. */
#include "handlers/result.h"

#include "attest/ear.h"
#include "attest/explain.h"
#include "core/keyring.h"
#include "handlers/routes.h"

#define KEYS_CACHE_S 300
static void add_base64url(struct buf *out, struct bytes b)
{
    out->len += base64url_encode(b, buf_reserve(out, BASE64URL_SIZE(b.len)));
}

static void add_header(struct buf *out, const char *kid)
{
    char text[128];
    int n = snprintf(text, sizeof text, "{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"%s\"}", kid);
    add_base64url(out, BYTES(text, (size_t)n));
}

static void add_claims(struct buf *out, const struct ear *ear)
{
    struct buf text = {0};
    struct jw w = jw_over(&text);
    ear_write(&w, ear);
    add_base64url(out, buf_bytes(&text));
    buf_free(&text);
}

static const char *sign(struct call *c, const struct ear *ear)
{
    struct keyring_signer signer;
    struct buf out = {0};
    uint8_t signature[SIGN_SIZE];
    if (keyring_signers(c->app->keyring, &signer, 1) != 1)
        return NULL;
    add_header(&out, sign_key_id(signer.key));
    buf_add_char(&out, '.');
    add_claims(&out, ear);
    sign_key_sign(signer.key, buf_bytes(&out), signature);
    buf_add_char(&out, '.');
    add_base64url(&out, BYTES_OF(signature));
    const char *token = arena_strndup(c->arena, out.data, out.len);
    buf_free(&out);
    return token;
}

const char *result_sign(struct call *c, const struct report *report,
                        const struct attest_finding *findings, size_t n, struct bytes nonce)
{
    /* What every report is judged by, whatever a policy adds: its version is the gateway's. */
    const char *profile = attest_profile_name(ear_profile_of(findings, n));
    const char *policies[] = {
        arena_concat(c->arena, "tlgate:", profile, "@" TLGATE_VERSION, NULL),
        report->policy ? arena_concat(c->arena, "tlgate:policy/", report->policy, NULL) : NULL};
    const struct ear ear = {
        .verifier = c->app->public_url,
        .report_id = report->id,
        .vm_id = report->vm_id,
        .verdict = report->verdict,
        .findings = findings,
        .n_findings = n,
        .policy_ids = policies,
        .n_policy_ids = report->policy ? 2 : 1,
        .nonce = nonce,
        .issued_at = report->received_at,
        .expires_at = report->received_at + c->app->result_ttl_ms,
    };
    return c->now < ear.expires_at ? sign(c, &ear) : NULL;
}

enum err result_sign_stored(struct call *c, const struct report *report, const char **out)
{
    struct explain x = {0};
    const struct bytes checks = BYTES_STR(report->checks);
    enum err err = explain_read(checks, c->arena, &x, &c->err);
    if (!err)
        *out = result_sign(c, report, x.findings, x.n_findings, (struct bytes){0});
    return err;
}

/* ---- keys ---- */

static void write_key(struct jw *w, const struct sign_key *key)
{
    uint8_t x[SIGN_COORD], y[SIGN_COORD];
    char text[BASE64URL_SIZE(SIGN_COORD)];
    sign_key_public(key, x, y);
    jw_open(w, '{');
    jw_key_str(w, "kty", "EC");
    jw_key_str(w, "crv", "P-256");
    jw_key_str(w, "use", "sig");
    jw_key_str(w, "alg", "ES256");
    jw_key_str(w, "kid", sign_key_id(key));
    base64url_encode(BYTES_OF(x), text);
    jw_key_str(w, "x", text);
    base64url_encode(BYTES_OF(y), text);
    jw_key_str(w, "y", text);
    jw_close(w, '}');
}

/* A former key stays for as long as something that it signed is good. */
int get_result_keys(struct call *c)
{
    struct keyring_signer *signers = arena_array(c->arena, KEYRING_KEYS_MAX, sizeof *signers);
    size_t n = keyring_signers(c->app->keyring, signers, KEYRING_KEYS_MAX);
    struct jw *w = call_json(c);
    jw_open(w, '{');
    jw_key(w, "keys");
    jw_open(w, '[');
    for (size_t i = 0; i < n; i++)
        if (!signers[i].retired_at || c->now < signers[i].retired_at + c->app->result_ttl_ms)
            write_key(w, signers[i].key);
    jw_close(w, ']');
    jw_close(w, '}');
    return call_etag_public(c, KEYS_CACHE_S);
}
