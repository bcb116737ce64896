/* TPM structures: the first byte picks one, so that each parser gets inputs of its own. */
#include "attest/ak.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use_public(struct bytes in)
{
    struct tpm_public p;
    struct ak_key key;
    uint8_t name[66];
    if (tpm_parse_public(in, &p))
        return;
    tpm_name(&p, name);
    if (ak_key_of_public(&p, &key))
        return;
    struct arena *a = arena_new();
    ak_key_spki(&key, a);
    ak_loaded_release(ak_load(&key));
    arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tpm_attest attest;
    struct tpm_signature signature;
    if (size == 0)
        return 0;
    struct bytes in = BYTES(data + 1, size - 1);
    if (data[0] % 3 == 0)
        use_public(in);
    else if (data[0] % 3 == 1)
        (void)tpm_parse_attest(in, &attest);
    else
        (void)tpm_parse_signature(in, &signature);
    return 0;
}
