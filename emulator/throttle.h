/*
 * Token buckets with a blocked time: once a bucket is empty the caller is told when to come again,
 * and a call before that is refused anew and counted as early (facts: ARM does not process it).
 * The caller holds the lock.
 */
#ifndef EMULATOR_THROTTLE_H
#define EMULATOR_THROTTLE_H

#include "core/json.h"

struct bucket_size {
    double size;
    double per_second;
};

struct throttle_answer {
    bool allowed;
    bool early; /* refused because an earlier Retry-After is not over */
    int64_t remaining;
    int64_t retry_after; /* seconds, where refused */
};

struct throttle;

struct throttle *throttle_new(void);
void throttle_free(struct throttle *t);
/* Full buckets again. */
void throttle_reset(struct throttle *t);
/* One token of the bucket `key`, made full where it does not exist. */
struct throttle_answer throttle_take(struct throttle *t, const char *key, struct bucket_size size,
                                     int64_t now_ms);

#endif
