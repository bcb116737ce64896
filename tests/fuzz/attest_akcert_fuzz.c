/* The AK certificate as it lies in the NV index. */
#include "attest/akcert.h"

#include <openssl/err.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *why = NULL;
    struct ak_cert *c = akcert_parse(BYTES(data, size), &why);
    if (!c && !why)
        abort();
    akcert_release(c);
    ERR_clear_error();
    return 0;
}
