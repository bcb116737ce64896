#include "attest/jwt.h"

#define SEGMENTS    3
#define SECONDS_MAX (1LL << 40) /* well within what a double holds exactly */

/* False where there are more or fewer segments than a compact JWS has. */
static bool split(struct bytes token, struct bytes part[SEGMENTS])
{
    size_t n = 0;
    const uint8_t *start = token.data, *end = token.data + token.len;
    for (const uint8_t *p = start; p <= end; p++) {
        if (p < end && *p != '.')
            continue;
        if (n == SEGMENTS)
            return false;
        part[n++] = BYTES(start, (size_t)(p - start));
        start = p + 1;
    }
    return n == SEGMENTS;
}

static bool decode(struct bytes text, struct arena *a, struct bytes *out)
{
    uint8_t *raw = arena_alloc(a, text.len + 1);
    size_t n = 0;
    if (!base64url_decode((const char *)text.data, text.len, raw, text.len + 1, &n))
        return false;
    *out = BYTES(raw, n);
    return true;
}

static const char *parse_object(struct bytes text, struct arena *a, json_t **out)
{
    struct bytes raw;
    if (!decode(text, a, &raw))
        return "a segment is not canonical base64url";
    if (!utf8_valid(raw) || json_parse(raw, out, NULL))
        return "a segment is not JSON, or repeats a member, or is nested too deeply";
    return json_is_object(*out) ? NULL : "a segment is not a JSON object";
}

const char *jwt_parse(struct bytes token, struct arena *a, struct jwt *out)
{
    struct bytes part[SEGMENTS];
    *out = (struct jwt){0};
    if (token.len > EVIDENCE_TOKEN_MAX)
        return "the token is too large";
    if (!split(token, part))
        return NULL;
    out->compact = true;
    const char *why = parse_object(part[0], a, &out->header);
    if (!why)
        why = parse_object(part[1], a, &out->payload);
    if (why)
        return why;
    out->signed_part = BYTES(token.data, part[0].len + 1 + part[1].len);
    return decode(part[2], a, &out->signature) ? NULL : "a segment is not canonical base64url";
}

void jwt_done(struct jwt *t)
{
    json_decref(t->header);
    json_decref(t->payload);
    *t = (struct jwt){0};
}

bool jwt_verify_rs256(const struct jwt *t, struct ak_loaded *key)
{
    const struct tpm_signature sig = {
        .alg = TPM2_ALG_RSASSA, .hash = TPM2_ALG_SHA256, .rsa = t->signature};
    return ak_verify(key, &sig, t->signed_part);
}

const char *jwt_text(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

bool jwt_time(const json_t *object, const char *name, int64_t *ms)
{
    const json_t *v = json_object_get(object, name);
    if (!json_is_number(v))
        return false;
    double seconds = json_number_value(v);
    if (!(seconds >= 0 && seconds < (double)SECONDS_MAX))
        return false;
    *ms = (int64_t)(seconds * 1000);
    return true;
}
