/*
 * A bounded memory of what was used before: hashes of texts, each until its time. Where it is full, what
 * would have been forgotten first goes; so it is a second line behind whatever else makes a thing
 * single-use. Thread-safe.
 */
#ifndef CORE_SEEN_H
#define CORE_SEEN_H

#include "core/bytes.h"

struct seen;

struct seen *seen_new(void);
void seen_free(struct seen *s); /* NULL is fine */
/* now and until in ms, of one clock. */
void seen_add(struct seen *s, struct bytes text, int64_t now, int64_t until);
bool seen_has(struct seen *s, struct bytes text, int64_t now);

#endif
