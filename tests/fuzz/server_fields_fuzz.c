/* Header values: trace context, Accept, media types, Prefer, Idempotency-Key, request ids. */
#include "server/fields.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_trace(const char *value)
{
    char out[TRACEPARENT_SIZE], again[TRACEPARENT_SIZE];
    bool taken = fields_traceparent(value, out);
    assert(strlen(out) == 55 && strncmp(out, "00-", 3) == 0);
    assert(!taken || strncmp(out + 3, value + 3, 32) == 0);
    assert(fields_traceparent(out, again) && strncmp(out, again, 35) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new();
    const char *text = arena_strndup(a, (const char *)data, size);
    check_trace(text);
    fields_media_is(text, "application/json");
    fields_accepts(text, "application/json");
    int wait = fields_prefer_wait(text, 30);
    assert(wait >= 0 && wait <= 30);
    const char *key = fields_idempotency_key(text, a);
    assert(!key || (*key && strlen(key) <= 255));
    assert(!fields_request_id_ok(text) || strlen(text) <= REQUEST_ID_MAX);
    arena_free(a);
    return 0;
}
