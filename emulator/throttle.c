#include "emulator/throttle.h"

#include <math.h>

struct bucket {
    double tokens;
    int64_t at_ms;
    int64_t blocked_until;
};

struct throttle {
    json_t *index; /* key -> position in buckets */
    struct bucket *buckets;
    size_t n;
    size_t cap;
};

struct throttle *throttle_new(void)
{
    struct throttle *t = calloc(1, sizeof *t);
    if (!t)
        abort();
    t->index = json_object();
    return t;
}

void throttle_free(struct throttle *t)
{
    if (!t)
        return;
    json_decref(t->index);
    free(t->buckets);
    free(t);
}

void throttle_reset(struct throttle *t)
{
    json_object_clear(t->index);
    t->n = 0;
}

static struct bucket *find(struct throttle *t, const char *key, double size, int64_t now)
{
    const json_t *at = json_object_get(t->index, key);
    if (at)
        return &t->buckets[json_integer_value(at)];
    if (t->n == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 64;
        t->buckets = reallocarray(t->buckets, t->cap, sizeof *t->buckets);
        if (!t->buckets)
            abort();
    }
    json_object_set_new(t->index, key, json_integer((json_int_t)t->n));
    t->buckets[t->n] = (struct bucket){.tokens = size, .at_ms = now};
    return &t->buckets[t->n++];
}

static struct throttle_answer refuse(struct bucket *b, bool early, double per_second, int64_t now)
{
    double missing = fmax(1 - b->tokens, 0);
    double wait = per_second > 0 ? ceil(missing / per_second) : 3600;
    int64_t seconds = (int64_t)fmin(fmax(wait, 1), 3600);
    b->blocked_until = now + seconds * 1000;
    return (struct throttle_answer){.early = early, .retry_after = seconds};
}

struct throttle_answer throttle_take(struct throttle *t, const char *key, struct bucket_size size,
                                     int64_t now_ms)
{
    struct bucket *b = find(t, key, size.size, now_ms);
    double passed = (double)(now_ms - b->at_ms) / 1000;
    b->at_ms = now_ms;
    b->tokens = fmin(size.size, b->tokens + fmax(passed, 0) * size.per_second);
    if (now_ms < b->blocked_until)
        return refuse(b, true, size.per_second, now_ms);
    if (b->tokens < 1)
        return refuse(b, false, size.per_second, now_ms);
    b->tokens -= 1;
    return (struct throttle_answer){.allowed = true, .remaining = (int64_t)b->tokens};
}
