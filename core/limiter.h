/*
 * Token buckets by key (a principal, an address, a vmId): `burst` at once, `per_second` for ever.
 *
 * The table has a fixed size. A key that was not seen for long makes room for another, which can
 * only give it a full bucket again; nobody can be locked out by others' keys. Keys are hashed with
 * a secret of the table. Any thread.
 */
#ifndef CORE_LIMITER_H
#define CORE_LIMITER_H

#include "core/attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct limiter;

/* per_second 0: everything passes. `keys` is rounded up. The caller frees. */
struct limiter *limiter_new(size_t keys, int64_t per_second, int64_t burst);
void limiter_free(struct limiter *l); /* NULL is fine */

/* Takes one token. Where there is none: false, and *retry_after_s (may be NULL) says when there
 * will be one. `mono_ms` is the monotonic time. */
bool limiter_take(struct limiter *l, const char *key, int64_t mono_ms,
                  int *retry_after_s) MUST_CHECK;
/* The same in two halves, for what is known to count only once it is done. What was let in at the same
 * time is charged for all the same: the bucket then owes tokens. */
bool limiter_has(struct limiter *l, const char *key, int64_t mono_ms,
                 int *retry_after_s) MUST_CHECK;
void limiter_charge(struct limiter *l, const char *key, int64_t mono_ms);

#endif
