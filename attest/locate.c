#include "attest/locate.h"

#define EVENTS_MAX 512 /* of one PCR that are tried */

/* One PCR's events, and the values before each of them. */
struct search {
    const struct log_replay *replay;
    struct locate_budget *budget;
    enum pcr_bank bank;
    size_t size;
    const uint8_t *want;
    size_t n;
    int event[EVENTS_MAX]; /* index in the log */
    uint8_t before[EVENTS_MAX + 1][DIGEST_MAX];
};

static struct bytes digest_of(const struct search *s, size_t k)
{
    return s->replay->log->events[s->event[k]].digest[s->bank];
}

static bool spend(struct search *s, size_t extends)
{
    if (s->budget->extends < extends)
        return false;
    s->budget->extends -= extends;
    return true;
}

/* True where `value`, extended by the events from k on, is what is wanted. */
static bool ends_right(struct search *s, const uint8_t *from, size_t k)
{
    uint8_t value[DIGEST_MAX];
    if (!spend(s, s->n - k + 1))
        return false;
    memcpy(value, from, s->size);
    for (; k < s->n; k++)
        replay_extend(s->bank, value, digest_of(s, k));
    return memcmp(value, s->want, s->size) == 0;
}

static bool collect(struct search *s, unsigned pcr)
{
    const struct event_log *log = s->replay->log;
    uint8_t value[DIGEST_MAX];
    replay_start(pcr, s->size, value);
    for (size_t i = 0; i < log->n; i++) {
        const struct log_event *ev = &log->events[i];
        if (ev->pcr == 0 && pcr == 0 && replay_is_locality(ev) && s->n == 0)
            value[s->size - 1] = ev->data.data[REPLAY_LOCALITY_LEN - 1];
        if (ev->pcr != pcr || ev->type == EV_NO_ACTION)
            continue;
        if (s->n == EVENTS_MAX || !spend(s, 1))
            return false;
        s->event[s->n] = (int)i;
        memcpy(s->before[s->n], value, s->size);
        replay_extend(s->bank, value, ev->digest[s->bank]);
        s->n++;
    }
    memcpy(s->before[s->n], value, s->size);
    return true;
}

/* The quoted value is one that the PCR had on the way. */
static bool goes_on(struct search *s, size_t k)
{
    return memcmp(s->before[k], s->want, s->size) == 0;
}

static bool was_added(struct search *s, size_t k)
{
    return ends_right(s, s->before[k], k + 1);
}

static bool was_altered(struct search *s, size_t k)
{
    const struct log_event *ev = &s->replay->log->events[s->event[k]];
    uint8_t value[DIGEST_MAX], digest[DIGEST_MAX];
    if (!spend(s, 1 + ev->data.len / 256)) /* hashing the data costs as well */
        return false;
    hash_digest(s->bank, ev->data, digest);
    if (bytes_equal(BYTES(digest, s->size), digest_of(s, k)))
        return false;
    memcpy(value, s->before[k], s->size);
    replay_extend(s->bank, value, BYTES(digest, s->size));
    return ends_right(s, value, k + 1);
}

static bool was_swapped(struct search *s, size_t k)
{
    uint8_t value[DIGEST_MAX];
    if (k + 1 >= s->n)
        return false;
    memcpy(value, s->before[k], s->size);
    replay_extend(s->bank, value, digest_of(s, k + 1));
    replay_extend(s->bank, value, digest_of(s, k));
    return ends_right(s, value, k + 2);
}

static bool other_locality(struct search *s)
{
    static const uint8_t localities[] = {0, 3, 4};
    for (size_t i = 0; i < sizeof localities; i++) {
        uint8_t value[DIGEST_MAX] = {0};
        value[s->size - 1] = localities[i];
        if (ends_right(s, value, 0))
            return true;
    }
    return false;
}

static struct located try_all(struct search *s, unsigned pcr)
{
    static const struct {
        bool (*explains)(struct search *, size_t);
        const char *reason;
    } tries[] = {
        {goes_on, "log_goes_on"},
        {was_altered, "event_altered"},
        {was_added, "event_not_measured"},
        {was_swapped, "events_swapped"},
    };
    if (pcr == 0 && other_locality(s))
        return (struct located){"startup_locality_wrong", ATTEST_NO_INDEX};
    for (size_t t = 0; t < ARRAY_LEN(tries); t++)
        for (size_t k = 0; k < s->n; k++)
            if (tries[t].explains(s, k))
                return (struct located){tries[t].reason, s->event[k]};
    return (struct located){NULL, ATTEST_NO_INDEX};
}

struct located locate_event(const struct log_replay *replay, unsigned pcr, const uint8_t *want,
                            struct locate_budget *budget)
{
    struct located out = {NULL, ATTEST_NO_INDEX};
    struct search *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    s->replay = replay;
    s->bank = replay->bank;
    s->size = pcr_banks[replay->bank].size;
    s->want = want;
    s->budget = budget;
    if (collect(s, pcr))
        out = try_all(s, pcr);
    free(s);
    return out;
}
