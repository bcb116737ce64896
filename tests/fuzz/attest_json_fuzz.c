/*
 * Evidence as JSON. Whatever the scanner accepts, jansson accepts too, and it says the same as its CBOR
 * form: one digest names both.
 */
#include "attest/wire.h"
#include "core/json.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_json(const struct evidence *ev, struct arena *a)
{
    struct buf out = {0};
    struct evidence again;
    wire_encode_json(ev, &out);
    if (wire_decode_json(out.data, out.len, WIRE_OFFLINE, a, &again, NULL))
        abort();
    buf_free(&out);
}

/* CBOR takes printable ASCII only where JSON takes any text. */
static bool is_ascii(struct bytes b)
{
    for (size_t i = 0; i < b.len; i++)
        if (b.data[i] < 0x20 || b.data[i] >= 0x7f)
            return false;
    return true;
}

static struct bytes bytes_of(const char *s)
{
    return s ? BYTES_STR(s) : (struct bytes){0};
}

static void check_cbor(const struct evidence *ev, struct arena *a)
{
    struct buf out = {0};
    struct evidence again;
    uint8_t one[32], two[32];
    if (!is_ascii(bytes_of(ev->challenge_id)) || !is_ascii(bytes_of(ev->enrollment_token.text)) ||
        !is_ascii(bytes_of(ev->activation_id)) || !is_ascii(ev->maa_token))
        return;
    wire_encode_cbor(ev, &out);
    if (wire_decode_cbor(buf_bytes(&out), WIRE_OFFLINE, a, &again, NULL))
        abort();
    wire_evidence_digest(ev, BYTES_STR("the log's digest, of 32 bytes..."), one);
    wire_evidence_digest(&again, BYTES_STR("the log's digest, of 32 bytes..."), two);
    assert(memcmp(one, two, sizeof one) == 0);
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new();
    struct evidence ev;
    struct err_info e = {0};
    char *text = malloc(size ? size : 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    if (!wire_decode_json(text, size, WIRE_OFFLINE, a, &ev, &e)) {
        AUTO(json) json_t *v = NULL;
        if (json_parse(BYTES(data, size), &v, &e))
            abort();
        check_cbor(&ev, a);
        check_json(&ev, a);
    }
    free(text);
    arena_free(a);
    return 0;
}
