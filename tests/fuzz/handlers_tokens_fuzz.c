/* Challenges and If-None-Match: what this gateway did not make is refused, whatever it looks like. */
#include "handlers/challenge.h"
#include "handlers/etag.h"

#include "core/arena.h"

#include <assert.h>
#include <unistd.h>

#define VM "11111111-2222-4333-8444-555555555555"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct keyring *keyring_of_this_run(void)
{
    static struct keyring *keys;
    char dir[] = "/tmp/tlgate-fuzz-XXXXXX", path[64];
    if (keys)
        return keys;
    if (!mkdtemp(dir))
        abort();
    snprintf(path, sizeof path, "%s/keys", dir);
    if (keyring_open(path, &keys, NULL) || unlink(path) != 0 || rmdir(dir) != 0)
        abort();
    return keys;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 1024)
        return 0;
    struct arena *a = arena_new();
    struct keyring *keys = keyring_of_this_run();
    const char *text = arena_strndup(a, (const char *)data, size);
    struct challenge made, back;
    assert(challenge_open(keys, text, VM, 0, &back, NULL) == ERR_CHALLENGE_INVALID);
    /* The vmId comes from outside as well. */
    challenge_make(keys, text, 10, &made);
    assert(challenge_open(keys, made.id, text, 9, &back, NULL) == OK);
    bool listed = etag_listed(text, "0123456789abcdef");
    assert(!listed || strchr(text, '*') || strstr(text, "\"0123456789abcdef\""));
    arena_free(a);
    return 0;
}
