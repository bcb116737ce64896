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

/* ms until such a request may go as far as Retry-After is concerned; 0: now. */
int64_t arm_throttle_wait(struct arm_throttle *t, const char *subscription, enum arm_op op);

enum arm_turn {
    ARM_TURN_GO,    /* counted as on its way: arm_throttle_note has to follow */
    ARM_TURN_LATER, /* ask again after the next reply of this bucket; one is on its way */
    ARM_TURN_HELD,  /* Retry-After is not over */
};

/*
 * Asks for a request's turn. Not more requests are on their way than ARM last said the bucket has
 * left (and one until it said anything), so that none runs into a 429 that is already on its way
 * back: ARM counts such a call as one before its Retry-After.
 */
enum arm_turn arm_throttle_turn(struct arm_throttle *t, const char *subscription, enum arm_op op,
                                uint64_t *ticket);
/* The end of a request that got its turn. A 429 without Retry-After gets one: doubling from 1 s to
 * 60 s. */
void arm_throttle_note(struct arm_throttle *t, const char *subscription, enum arm_op op,
                       uint64_t ticket, struct arm_reply *r);
size_t arm_throttle_list(struct arm_throttle *t, struct arm_bucket *out, size_t cap);

#endif
