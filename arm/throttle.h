/*
 * What ARM told about its buckets, by subscription and kind of operation. Inside arm/ only.
 * Thread-safe. A 429 holds back every request of that bucket until its Retry-After is over, since a
 * call before that is not processed and only earns a new wait (ARM request limits).
 */
#ifndef ARM_THROTTLE_H
#define ARM_THROTTLE_H

#include "arm/arm.h"

struct arm_throttle;

struct arm_throttle *arm_throttle_new(const struct clock *clock);
void arm_throttle_free(struct arm_throttle *t);

/* ms to wait before such a request; 0: go. */
int64_t arm_throttle_wait(struct arm_throttle *t, const char *subscription, enum arm_op op);
/* Takes a reply in. A 429 without Retry-After gets one: doubling from 1 s to 60 s. */
void arm_throttle_note(struct arm_throttle *t, const char *subscription, enum arm_op op,
                       struct arm_reply *r);
size_t arm_throttle_list(struct arm_throttle *t, struct arm_bucket *out, size_t cap);

#endif
