/* Evidence as JSON. Whatever the scanner accepts, jansson accepts too. */
#include "attest/wire.h"
#include "core/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new();
    struct evidence ev, again;
    struct err_info e = {0};
    char *text = malloc(size ? size : 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    if (!wire_decode_json(text, size, WIRE_OFFLINE, a, &ev, &e)) {
        AUTO(json) json_t *v = NULL;
        struct buf out = {0};
        if (json_parse(BYTES(data, size), &v, &e))
            abort();
        wire_encode_json(&ev, &out);
        if (wire_decode_json(out.data, out.len, WIRE_OFFLINE, a, &again, &e))
            abort();
        buf_free(&out);
    }
    free(text);
    arena_free(a);
    return 0;
}
