#include "core/limiter.h"
#include "core/clock.h"

#include <pthread.h>

#define WAYS 8

struct bucket {
    uint64_t key;  /* 0: free */
    int64_t at;    /* when milli was right */
    int64_t milli; /* thousandths of a token */
};

struct limiter {
    pthread_mutex_t lock;
    uint64_t seed[2];
    int64_t per_second;
    int64_t burst_milli;
    size_t sets; /* a power of two */
    struct bucket *buckets;
};

struct limiter *limiter_new(size_t keys, int64_t per_second, int64_t burst)
{
    struct limiter *l = calloc(1, sizeof *l);
    if (!l)
        abort();
    pthread_mutex_init(&l->lock, NULL);
    random_bytes(l->seed, sizeof l->seed);
    l->per_second = per_second;
    l->burst_milli = (burst > 0 ? burst : 1) * 1000;
    for (l->sets = 1; l->sets * WAYS < keys; l->sets *= 2)
        ;
    l->buckets = calloc(l->sets * WAYS, sizeof *l->buckets);
    if (!l->buckets)
        abort();
    return l;
}

void limiter_free(struct limiter *l)
{
    if (!l)
        return;
    pthread_mutex_destroy(&l->lock);
    free(l->buckets);
    free(l);
}

/* Keyed mixing (the finaliser of MurmurHash3 over a seeded sum): placing, not authenticity. */
static uint64_t hash(const struct limiter *l, const char *key)
{
    uint64_t h = l->seed[0];
    for (; *key; key++) {
        h = (h ^ (unsigned char)*key) * 0x100000001b3u + l->seed[1];
        h ^= h >> 29;
    }
    h = (h ^ h >> 33) * 0xff51afd7ed558ccdu;
    h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53u;
    h ^= h >> 33;
    return h ? h : 1;
}

/* The key's bucket, or in its place the one that was not used for the longest time. */
static struct bucket *bucket_of(struct limiter *l, uint64_t key, int64_t now)
{
    struct bucket *set = &l->buckets[(key & (l->sets - 1)) * WAYS], *oldest = set;
    for (int i = 0; i < WAYS; i++) {
        if (set[i].key == key)
            return &set[i];
        if (set[i].key == 0 || (oldest->key && set[i].at < oldest->at))
            oldest = &set[i];
    }
    *oldest = (struct bucket){.key = key, .at = now, .milli = l->burst_milli};
    return oldest;
}

static void refill(const struct limiter *l, struct bucket *b, int64_t now)
{
    int64_t passed = now - b->at, gained;
    if (passed <= 0)
        return;
    b->at = now;
    if (__builtin_mul_overflow(passed, l->per_second, &gained) ||
        gained > l->burst_milli - b->milli)
        b->milli = l->burst_milli;
    else
        b->milli += gained;
}

/* What happens to the bucket under one lock. */
enum use { LOOK, TAKE, CHARGE };

static bool use(struct limiter *l, enum use what, const char *key, int64_t mono_ms,
                int *retry_after_s)
{
    if (l->per_second <= 0)
        return true;
    uint64_t h = hash(l, key);
    pthread_mutex_lock(&l->lock);
    struct bucket *b = bucket_of(l, h, mono_ms);
    refill(l, b, mono_ms);
    bool ok = b->milli >= 1000;
    if (what == CHARGE || (what == TAKE && ok))
        b->milli -= 1000;
    else if (!ok && retry_after_s)
        *retry_after_s =
            (int)((1000 - b->milli + l->per_second * 1000 - 1) / (l->per_second * 1000));
    pthread_mutex_unlock(&l->lock);
    return ok;
}

bool limiter_take(struct limiter *l, const char *key, int64_t mono_ms, int *retry_after_s)
{
    return use(l, TAKE, key, mono_ms, retry_after_s);
}

bool limiter_has(struct limiter *l, const char *key, int64_t mono_ms, int *retry_after_s)
{
    return use(l, LOOK, key, mono_ms, retry_after_s);
}

void limiter_charge(struct limiter *l, const char *key, int64_t mono_ms)
{
    use(l, CHARGE, key, mono_ms, NULL);
}
