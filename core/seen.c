#include "core/seen.h"

#include "core/sha256.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SETS 4096
#define WAYS 8

struct slot {
    uint8_t hash[16];
    int64_t until; /* 0: free */
};

struct seen {
    pthread_mutex_t lock;
    struct slot sets[SETS][WAYS];
};

struct seen *seen_new(void)
{
    struct seen *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    pthread_mutex_init(&s->lock, NULL);
    return s;
}

void seen_free(struct seen *s)
{
    if (!s)
        return;
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static struct slot *set_of(struct seen *s, const uint8_t hash[SHA256_SIZE])
{
    return s->sets[((unsigned)hash[30] << 8 | hash[31]) % SETS];
}

static bool is(const struct slot *slot, const uint8_t hash[SHA256_SIZE])
{
    return memcmp(slot->hash, hash, sizeof slot->hash) == 0;
}

void seen_add(struct seen *s, struct bytes text, int64_t now, int64_t until)
{
    uint8_t hash[SHA256_SIZE];
    if (until <= now)
        return;
    sha256(text, hash);
    pthread_mutex_lock(&s->lock);
    struct slot *set = set_of(s, hash), *best = &set[0];
    for (int i = 0; i < WAYS; i++) {
        if (is(&set[i], hash)) {
            best = &set[i];
            break;
        }
        if (set[i].until < best->until)
            best = &set[i];
    }
    memcpy(best->hash, hash, sizeof best->hash);
    best->until = until;
    pthread_mutex_unlock(&s->lock);
}

bool seen_has(struct seen *s, struct bytes text, int64_t now)
{
    uint8_t hash[SHA256_SIZE];
    bool found = false;
    sha256(text, hash);
    pthread_mutex_lock(&s->lock);
    const struct slot *set = set_of(s, hash);
    for (int i = 0; i < WAYS; i++)
        found = found || (set[i].until > now && is(&set[i], hash));
    pthread_mutex_unlock(&s->lock);
    return found;
}
