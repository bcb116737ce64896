/* A provider's key set (even first byte) or discovery document (odd), as it was fetched. */
#include "attest/jwks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_keys(struct bytes text)
{
    struct jwks *set = NULL;
    const struct jwk *key;
    if (jwks_parse(text, &set, NULL))
        return;
    size_t n = jwks_usable(set);
    if (jwks_find(set, "k", &key) == 1 && key->loaded && (n == 0 || key->unfit))
        abort();
    jwks_release(set);
}

static void read_discovery(struct bytes text)
{
    static const char issuer[] = "https://p.attest.azure.net";
    const char *address;
    struct arena *a = arena_new();
    if (!jwks_discover(text, issuer, a, &address, NULL) &&
        strncmp(address, "https://p.attest.azure.net/", sizeof issuer) != 0)
        abort();
    arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] & 1)
        read_discovery(BYTES(data + 1, size - 1));
    else
        read_keys(BYTES(data + 1, size - 1));
    return 0;
}
