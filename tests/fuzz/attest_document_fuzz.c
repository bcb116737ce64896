/* An attested document of IMDS: envelope and content. */
#include "attest/document.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new();
    struct attest_document d;
    const char *why = attest_document_read(BYTES(data, size), a, &d);
    if (!why && (!d.vm_id || !d.subscription_id || !d.nonce))
        abort();
    arena_free(a);
    return 0;
}
