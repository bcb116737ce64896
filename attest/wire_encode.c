#include "attest/wire.h"

#include "core/sha256.h"

#include <cbor.h>

#define HEAD_MAX 9

static void put_uint(struct buf *out, uint64_t v)
{
    unsigned char *to = (unsigned char *)buf_reserve(out, HEAD_MAX);
    out->len += cbor_encode_uint(v, to, HEAD_MAX);
}

static void put_map(struct buf *out, size_t n)
{
    unsigned char *to = (unsigned char *)buf_reserve(out, HEAD_MAX);
    out->len += cbor_encode_map_start(n, to, HEAD_MAX);
}

static void put_text(struct buf *out, const char *text, size_t n)
{
    unsigned char *to = (unsigned char *)buf_reserve(out, HEAD_MAX);
    out->len += cbor_encode_string_start(n, to, HEAD_MAX);
    buf_add(out, text, n);
}

static void put_key(struct buf *out, const char *key)
{
    put_text(out, key, strlen(key));
}

static void put_bytes(struct buf *out, struct bytes b)
{
    unsigned char *to = (unsigned char *)buf_reserve(out, HEAD_MAX);
    out->len += cbor_encode_bytestring_start(b.len, to, HEAD_MAX);
    buf_add(out, b.data, b.len);
}

static void put_key_text(struct buf *out, const char *key, const char *text)
{
    if (!text)
        return;
    put_key(out, key);
    put_text(out, text, strlen(text));
}

static void put_key_bytes(struct buf *out, const char *key, struct bytes b)
{
    if (!b.len)
        return;
    put_key(out, key);
    put_bytes(out, b);
}

static void put_pcrs(struct buf *out, const struct evidence *in)
{
    size_t banks = 0;
    for (int b = 0; b < BANK_COUNT; b++)
        banks += in->banks[b].present != 0;
    put_key(out, "pcrs");
    put_map(out, banks);
    for (int b = 0; b < BANK_COUNT; b++) {
        uint32_t present = in->banks[b].present;
        if (!present)
            continue;
        put_key(out, pcr_banks[b].name);
        put_map(out, (size_t)__builtin_popcount(present));
        for (unsigned i = 0; i < EVIDENCE_PCRS; i++) {
            if (!(present >> i & 1))
                continue;
            put_uint(out, i);
            put_bytes(out, in->banks[b].value[i]);
        }
    }
}

static void put_ak(struct buf *out, const struct evidence *in)
{
    size_t n = 0u + (in->ak_public.len > 0) + (in->ak_certificate.len > 0) + (in->n_chain > 0);
    if (n == 0)
        return;
    put_key(out, "ak");
    put_map(out, n);
    put_key_bytes(out, "public", in->ak_public);
    put_key_bytes(out, "certificate", in->ak_certificate);
    if (!in->n_chain)
        return;
    put_key(out, "chain");
    unsigned char *to = (unsigned char *)buf_reserve(out, HEAD_MAX);
    out->len += cbor_encode_array_start(in->n_chain, to, HEAD_MAX);
    for (size_t i = 0; i < in->n_chain; i++)
        put_bytes(out, in->chain[i]);
}

static size_t enrollment_members(const struct evidence *in)
{
    return 0u + (in->enrollment_token.text != NULL) + (in->attested_document.len > 0) +
           (in->activation_id != NULL);
}

static void put_enrollment(struct buf *out, const struct evidence *in)
{
    if (!enrollment_members(in))
        return;
    put_key(out, "enrollment");
    put_map(out, enrollment_members(in));
    if (in->enrollment_token.text) {
        put_key(out, "token");
        put_text(out, in->enrollment_token.text, in->enrollment_token.len);
    }
    put_key_bytes(out, "attestedDocument", in->attested_document);
    if (!in->activation_id)
        return;
    put_key(out, "activation");
    put_map(out, 2);
    put_key_text(out, "id", in->activation_id);
    put_key(out, "secret");
    put_bytes(out, in->activation_secret);
}

void wire_encode_cbor(const struct evidence *in, struct buf *out)
{
    bool ak = in->ak_public.len || in->ak_certificate.len || in->n_chain;
    size_t n = 2u + (in->challenge_id != NULL) + (in->vm_id != NULL) +
               (enrollment_members(in) > 0) + ak + (in->event_log.len > 0) +
               (in->event_log_digest.len > 0) + (in->maa_token.len > 0);
    put_map(out, n);
    put_key_text(out, "challengeId", in->challenge_id);
    put_key_text(out, "vmId", in->vm_id);
    put_enrollment(out, in);
    put_key(out, "quote");
    put_map(out, 2);
    put_key(out, "message");
    put_bytes(out, in->quote_message);
    put_key(out, "signature");
    put_bytes(out, in->quote_signature);
    put_pcrs(out, in);
    put_ak(out, in);
    put_key_bytes(out, "eventLog", in->event_log);
    put_key_bytes(out, "eventLogDigest", in->event_log_digest);
    if (in->maa_token.len) {
        put_key(out, "maaToken");
        put_text(out, (const char *)in->maa_token.data, in->maa_token.len);
    }
}

/* Most evidence without its log; more is made room for. */
#define DIGEST_FORM 8192

void wire_evidence_digest(const struct evidence *in, struct bytes log_sha256, uint8_t out[32])
{
    struct evidence named = *in;
    struct buf form = {0};
    named.enrollment_token = (struct secret){0};
    named.activation_id = NULL;
    if (in->event_log.len)
        named.event_log_digest = log_sha256;
    named.event_log = (struct bytes){0};
    buf_reserve(&form, DIGEST_FORM);
    wire_encode_cbor(&named, &form);
    sha256(buf_bytes(&form), out);
    buf_free(&form);
}

/* ---- JSON ---- */

static void json_base64(struct jw *w, const char *key, struct bytes b)
{
    if (!b.len)
        return;
    jw_key(w, key);
    jw_base64(w, b);
}

static void json_pcrs(struct jw *w, const struct evidence *in)
{
    jw_key(w, "pcrs");
    jw_open(w, '{');
    for (int b = 0; b < BANK_COUNT; b++) {
        if (!in->banks[b].present)
            continue;
        jw_key(w, pcr_banks[b].name);
        jw_open(w, '{');
        for (unsigned i = 0; i < EVIDENCE_PCRS; i++) {
            if (!(in->banks[b].present >> i & 1))
                continue;
            jw_key(w, pcr_names[i]);
            jw_hex(w, in->banks[b].value[i]);
        }
        jw_close(w, '}');
    }
    jw_close(w, '}');
}

static void json_ak(struct jw *w, const struct evidence *in)
{
    if (!in->ak_public.len && !in->ak_certificate.len && !in->n_chain)
        return;
    jw_key(w, "ak");
    jw_open(w, '{');
    json_base64(w, "public", in->ak_public);
    json_base64(w, "certificate", in->ak_certificate);
    if (in->n_chain) {
        jw_key(w, "chain");
        jw_open(w, '[');
        for (size_t i = 0; i < in->n_chain; i++)
            jw_base64(w, in->chain[i]);
        jw_close(w, ']');
    }
    jw_close(w, '}');
}

static void json_enrollment(struct jw *w, const struct evidence *in)
{
    if (!enrollment_members(in))
        return;
    jw_key(w, "enrollment");
    jw_open(w, '{');
    if (in->enrollment_token.text) {
        jw_key(w, "token");
        jw_strn(w, in->enrollment_token.text, in->enrollment_token.len);
    }
    json_base64(w, "attestedDocument", in->attested_document);
    if (in->activation_id) {
        jw_key(w, "activation");
        jw_open(w, '{');
        jw_key_str(w, "id", in->activation_id);
        json_base64(w, "secret", in->activation_secret);
        jw_close(w, '}');
    }
    jw_close(w, '}');
}

void wire_encode_json(const struct evidence *in, struct buf *out)
{
    struct jw w = jw_over(out);
    jw_open(&w, '{');
    jw_key_str_opt(&w, "challengeId", in->challenge_id);
    jw_key_str_opt(&w, "vmId", in->vm_id);
    json_enrollment(&w, in);
    jw_key(&w, "quote");
    jw_open(&w, '{');
    json_base64(&w, "message", in->quote_message);
    json_base64(&w, "signature", in->quote_signature);
    jw_close(&w, '}');
    json_pcrs(&w, in);
    json_ak(&w, in);
    json_base64(&w, "eventLog", in->event_log);
    if (in->event_log_digest.len) {
        jw_key(&w, "eventLogDigest");
        jw_hex(&w, in->event_log_digest);
    }
    if (in->maa_token.len) {
        jw_key(&w, "maaToken");
        jw_strn(&w, (const char *)in->maa_token.data, in->maa_token.len);
    }
    jw_close(&w, '}');
}
