#include "guest/gateway.h"

#include "core/json.h"

#define GATEWAY_TIMEOUT_MS  30000
#define NONCE_TEXT_MAX      128
#define CREDENTIAL_TEXT_MAX 2048

static const char *or_empty(const char *s)
{
    return s ? s : "";
}

static enum err post(const struct guest_gateway *g, const char *path, const char *type,
                     struct bytes body, struct arena *a, struct guest_http_response *out,
                     struct guest_answer *answer, struct err_info *e)
{
    const struct guest_http_request r = {.url = arena_printf(a, "%s%s", g->url, path),
                                         .content_type = type,
                                         .body = body,
                                         .timeout_ms = GATEWAY_TIMEOUT_MS};
    enum err rc = guest_http_send(g->http, &r, a, out, e);
    if (rc != OK)
        return rc;
    AUTO(json) json_t *v = NULL;
    if (json_parse(out->body, &v, NULL) != OK)
        v = NULL; /* a proxy's page: the status says enough */
    *answer = (struct guest_answer){
        .status = out->status,
        .code = or_empty(arena_strdup(a, json_path_str(v, "code"))),
        .detail = or_empty(arena_strdup(a, json_path_str(v, "detail"))),
        .verdict = or_empty(arena_strdup(a, json_path_str(v, "verdict"))),
        .body = v ? (const char *)out->body.data : "",
        .retry_after_ms = out->retry_after_ms,
    };
    return OK;
}

static bool parse_bank(const char *name, enum pcr_bank *out)
{
    for (int i = 0; name && i < BANK_COUNT; i++) {
        if (strcmp(pcr_banks[i].name, name) != 0)
            continue;
        *out = (enum pcr_bank)i;
        return true;
    }
    return false;
}

static bool parse_pcrs(const json_t *list, uint32_t *mask)
{
    size_t i;
    json_t *item;
    *mask = 0;
    json_array_foreach(list, i, item)
    {
        json_int_t n = json_integer_value(item);
        if (!json_is_integer(item) || n < 0 || n >= EVIDENCE_PCRS)
            return false;
        *mask |= 1u << n;
    }
    return *mask != 0;
}

static bool parse_binary(const char *text, size_t max, struct arena *a, struct bytes *out)
{
    size_t len = text ? strlen(text) : 0, n = 0;
    if (!len || len > max)
        return false;
    uint8_t *raw = arena_alloc(a, len / 4 * 3 + 1);
    if (!base64_decode(text, len, raw, &n) || !n)
        return false;
    *out = BYTES(raw, n);
    return true;
}

enum err guest_challenge_parse(struct bytes body, struct arena *a, struct guest_challenge *out,
                               struct err_info *e)
{
    AUTO(json) json_t *v = NULL;
    if (json_parse(body, &v, NULL) != OK)
        return err_set(e, ERR_UPSTREAM, "the gateway's challenge is not JSON");
    out->id = arena_strdup(a, json_path_str(v, "challengeId"));
    if (!out->id || !parse_binary(json_path_str(v, "nonce"), NONCE_TEXT_MAX, a, &out->nonce) ||
        !parse_bank(json_path_str(v, "pcrBank"), &out->bank) ||
        !parse_pcrs(json_path(v, "pcrs"), &out->pcrs))
        return err_set(e, ERR_UPSTREAM, "the gateway's challenge cannot be used");
    return OK;
}

enum err guest_gateway_challenge(const struct guest_gateway *g, struct arena *a,
                                 struct guest_challenge *out, struct guest_answer *answer,
                                 struct err_info *e)
{
    struct buf body = {0};
    struct jw w = jw_over(&body);
    jw_open(&w, '{');
    jw_key_str(&w, "vmId", g->vm_id);
    jw_close(&w, '}');
    struct guest_http_response r;
    enum err rc = post(g, "/v1/attestation/challenges", "application/json", buf_bytes(&body), a, &r,
                       answer, e);
    buf_free(&body);
    if (rc != OK || answer->status != 201)
        return rc;
    return guest_challenge_parse(r.body, a, out, e);
}

enum err guest_credential_parse(struct bytes body, struct arena *a, struct guest_credential *out,
                                struct err_info *e)
{
    AUTO(json) json_t *v = NULL;
    if (json_parse(body, &v, NULL) != OK)
        return err_set(e, ERR_UPSTREAM, "the gateway's activation is not JSON");
    out->id = arena_strdup(a, json_path_str(v, "activationId"));
    if (!out->id ||
        !parse_binary(json_path_str(v, "credentialBlob"), CREDENTIAL_TEXT_MAX, a, &out->blob) ||
        !parse_binary(json_path_str(v, "encryptedSecret"), CREDENTIAL_TEXT_MAX, a, &out->secret))
        return err_set(e, ERR_UPSTREAM, "the gateway's activation cannot be used");
    return OK;
}

enum err guest_gateway_activation(const struct guest_gateway *g, struct bytes ek_certificate,
                                  struct bytes ak_public, struct arena *a,
                                  struct guest_credential *out, struct guest_answer *answer,
                                  struct err_info *e)
{
    struct buf body = {0};
    struct jw w = jw_over(&body);
    jw_open(&w, '{');
    jw_key_str(&w, "vmId", g->vm_id);
    jw_key(&w, "ekCertificate");
    jw_base64(&w, ek_certificate);
    jw_key(&w, "akPublic");
    jw_base64(&w, ak_public);
    jw_close(&w, '}');
    struct guest_http_response r;
    enum err rc = post(g, "/v1/attestation/activations", "application/json", buf_bytes(&body), a,
                       &r, answer, e);
    buf_free(&body);
    if (rc != OK || answer->status != 201)
        return rc;
    return guest_credential_parse(r.body, a, out, e);
}

enum err guest_gateway_report(const struct guest_gateway *g, const struct evidence *evidence,
                              struct arena *a, struct guest_answer *answer, struct err_info *e)
{
    struct buf body = {0};
    wire_encode_cbor(evidence, &body);
    struct guest_http_response r;
    enum err rc =
        post(g, "/v1/attestation/reports", "application/cbor", buf_bytes(&body), a, &r, answer, e);
    buf_free(&body); /* wipes the enrolment token */
    return rc;
}
