/* The request target: what is accepted decodes to UTF-8 without controls, slashes or dot segments. */
#include "server/target.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *s)
{
    assert(utf8_valid(BYTES_STR(s)));
    for (; *s; s++)
        assert((unsigned char)*s >= 0x20 && *s != 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 8192)
        return 0;
    struct arena *a = arena_new();
    struct target t;
    const char *text = arena_strndup(a, (const char *)data, size);
    if (target_parse(text, a, &t, NULL) == OK) {
        assert(t.n_segments > 0 && t.n_segments <= TARGET_SEGMENTS_MAX);
        for (size_t i = 0; i < t.n_segments; i++) {
            check_text(t.segments[i]);
            assert(!strchr(t.segments[i], '/'));
            assert(strcmp(t.segments[i], ".") && strcmp(t.segments[i], ".."));
        }
        for (size_t i = 0; i < t.n_query; i++) {
            check_text(t.query[i].key);
            check_text(t.query[i].value);
        }
    }
    arena_free(a);
    return 0;
}
