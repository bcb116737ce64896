/* Windows' SIPA events: the tree, what is claimed of it, and its text. */
#include "attest/sipa.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new();
    struct sipa_claims claims;
    struct buf out = {0};
    struct jw w = jw_over(&out);
    sipa_init(&claims);
    const char *why = sipa_read(BYTES(data, size), &claims, a);
    jw_open(&w, '{');
    if (!why)
        sipa_write(&w, &claims);
    jw_key(&w, "events");
    sipa_write_tree(&w, BYTES(data, size), a);
    jw_close(&w, '}');
    buf_free(&out);
    arena_free(a);
    return 0;
}
