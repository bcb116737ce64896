#include "core/secret.h"

#include <jansson.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <sys/prctl.h>
#include <sys/resource.h>

struct secret secret_in(struct arena *a, const char *text, size_t len)
{
    return (struct secret){arena_strndup(a, text, len), len};
}

bool secret_equal(struct secret a, struct secret b)
{
    return bytes_equal_const_time(BYTES(a.text, a.len), BYTES(b.text, b.len));
}

static void wiping_free(void *p)
{
    if (p)
        OPENSSL_cleanse(p, malloc_usable_size(p));
    free(p);
}

void secret_wipe_json(void)
{
    json_set_alloc_funcs(malloc, wiping_free);
}

bool secret_protect_process(void)
{
    const struct rlimit none = {0, 0};
    return setrlimit(RLIMIT_CORE, &none) == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0;
}
