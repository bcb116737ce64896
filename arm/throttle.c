#include "arm/throttle.h"

#include <pthread.h>
#include <strings.h>

/* Beyond this many subscriptions the one not used for longest gives way. */
#define BUCKETS_MAX 1024

#define BACKOFF_FIRST_MS 1000
#define BACKOFF_MAX_MS   60000

struct bucket {
    char subscription[64];
    int64_t remaining[ARM_OPS];
    uint64_t told_at[ARM_OPS];   /* tick of that */
    int64_t held_until[ARM_OPS]; /* mono */
    unsigned silent_429s[ARM_OPS];
    unsigned in_flight[ARM_OPS];
    bool answered[ARM_OPS];
    int64_t used; /* mono */
};

struct arm_throttle {
    pthread_mutex_t lock;
    const struct clock *clock;
    uint64_t tick; /* counts answers */
    struct bucket *buckets;
    size_t n;
};

enum arm_op arm_op_of(enum arm_method m)
{
    if (m == ARM_GET || m == ARM_HEAD)
        return ARM_OP_READ;
    return m == ARM_DELETE ? ARM_OP_DELETE : ARM_OP_WRITE;
}

struct arm_throttle *arm_throttle_new(const struct clock *clock)
{
    struct arm_throttle *t = calloc(1, sizeof *t);
    if (!t)
        abort();
    pthread_mutex_init(&t->lock, NULL);
    t->clock = clock;
    return t;
}

void arm_throttle_free(struct arm_throttle *t)
{
    if (!t)
        return;
    pthread_mutex_destroy(&t->lock);
    free(t->buckets);
    free(t);
}

static struct bucket *find(struct arm_throttle *t, const char *subscription)
{
    for (size_t i = 0; i < t->n; i++)
        if (strcasecmp(t->buckets[i].subscription, subscription) == 0)
            return &t->buckets[i];
    return NULL;
}

static bool idle(const struct bucket *b)
{
    for (int op = 0; op < ARM_OPS; op++)
        if (b->in_flight[op])
            return false;
    return true;
}

/* There are fewer requests on their way than buckets. */
static struct bucket *oldest(struct arm_throttle *t)
{
    struct bucket *found = NULL;
    for (size_t i = 0; i < t->n; i++) {
        struct bucket *b = &t->buckets[i];
        if (idle(b) && (!found || b->used < found->used))
            found = b;
    }
    if (!found)
        abort();
    return found;
}

static struct bucket *find_or_make(struct arm_throttle *t, const char *subscription)
{
    struct bucket *b = find(t, subscription);
    if (b)
        return b;
    if (!t->buckets)
        t->buckets = calloc(BUCKETS_MAX, sizeof *t->buckets);
    if (!t->buckets)
        abort();
    b = t->n < BUCKETS_MAX ? &t->buckets[t->n++] : oldest(t);
    *b = (struct bucket){.remaining = {-1, -1, -1}};
    snprintf(b->subscription, sizeof b->subscription, "%s", subscription);
    return b;
}

int64_t arm_throttle_wait(struct arm_throttle *t, const char *subscription, enum arm_op op)
{
    int64_t wait = 0;
    pthread_mutex_lock(&t->lock);
    const struct bucket *b = find(t, subscription ? subscription : "");
    if (b)
        wait = b->held_until[op] - clock_mono(t->clock);
    pthread_mutex_unlock(&t->lock);
    return wait > 0 ? wait : 0;
}

/* How many requests may be on their way at once. */
static bool has_room(const struct bucket *b, enum arm_op op)
{
    if (b->in_flight[op] == 0)
        return true;
    if (b->remaining[op] >= 0)
        return b->in_flight[op] < b->remaining[op];
    return b->answered[op]; /* ARM answered and says nothing about the bucket */
}

enum arm_turn arm_throttle_turn(struct arm_throttle *t, const char *subscription, enum arm_op op,
                                uint64_t *ticket)
{
    enum arm_turn turn = ARM_TURN_GO;
    pthread_mutex_lock(&t->lock);
    struct bucket *b = find_or_make(t, subscription ? subscription : "");
    b->used = clock_mono(t->clock);
    if (b->held_until[op] > b->used)
        turn = ARM_TURN_HELD;
    else if (!has_room(b, op))
        turn = ARM_TURN_LATER;
    else
        b->in_flight[op]++;
    *ticket = t->tick;
    pthread_mutex_unlock(&t->lock);
    return turn;
}

static int64_t backoff(unsigned n)
{
    int64_t ms = BACKOFF_FIRST_MS << (n < 10 ? n : 10);
    return ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS;
}

/* Answers overtake each other: a higher count is news only from a request that was sent after the
 * lower one was known. */
static void note_remaining(struct bucket *b, uint64_t ticket, uint64_t tick,
                           const struct arm_reply *r)
{
    const int64_t told[ARM_OPS] = {r->remaining_reads, r->remaining_writes, r->remaining_deletes};
    for (int i = 0; i < ARM_OPS; i++) {
        bool news = ticket >= b->told_at[i] || told[i] < b->remaining[i] || b->remaining[i] < 0;
        if (told[i] < 0 || !news)
            continue;
        b->remaining[i] = told[i];
        b->told_at[i] = tick;
    }
}

/* A lock on a parent resource also comes as 429, but only holds that resource. */
static bool holds_bucket(const struct arm_reply *r)
{
    struct arm_outcome o;
    if (r->status != 429)
        return false;
    arm_classify(r, &o);
    return o.class == ARM_CLASS_THROTTLED;
}

void arm_throttle_note(struct arm_throttle *t, const char *subscription, enum arm_op op,
                       uint64_t ticket, struct arm_reply *r)
{
    bool hold = holds_bucket(r);
    pthread_mutex_lock(&t->lock);
    struct bucket *b = find_or_make(t, subscription ? subscription : "");
    b->used = clock_mono(t->clock);
    b->in_flight[op]--;
    if (r->failure == ARM_FAIL_NONE) {
        b->answered[op] = true;
        note_remaining(b, ticket, ++t->tick, r);
        b->silent_429s[op] = hold ? b->silent_429s[op] : 0;
    }
    if (hold) {
        if (r->retry_after_ms < 0)
            r->retry_after_ms = backoff(b->silent_429s[op]++);
        int64_t until = b->used + r->retry_after_ms;
        if (until > b->held_until[op])
            b->held_until[op] = until;
    }
    pthread_mutex_unlock(&t->lock);
}

size_t arm_throttle_list(struct arm_throttle *t, struct arm_bucket *out, size_t cap)
{
    int64_t mono = clock_mono(t->clock);
    int64_t wall = clock_wall(t->clock);
    pthread_mutex_lock(&t->lock);
    size_t n = t->n;
    for (size_t i = 0; i < n && i < cap; i++) {
        const struct bucket *b = &t->buckets[i];
        memcpy(out[i].subscription, b->subscription, sizeof out[i].subscription);
        for (int op = 0; op < ARM_OPS; op++) {
            out[i].remaining[op] = b->remaining[op];
            out[i].not_before[op] = b->held_until[op] > mono ? wall + b->held_until[op] - mono : 0;
        }
    }
    pthread_mutex_unlock(&t->lock);
    return n;
}
