/*
 * Arena: memory of one request or one step, freed at one point.
 *
 * Allocation never fails: running out of memory ends the process, which is restartable by design.
 * Sizes that come from outside are capped before they get here. What was used is wiped on reset and
 * on free, since requests carry secrets. Not thread-safe: one arena, one thread at a time.
 */
#ifndef CORE_ARENA_H
#define CORE_ARENA_H

#include "core/attr.h"
#include "core/bytes.h"

#include <stddef.h>

struct arena;

struct arena *arena_new(void);
/* With room for `first` bytes before it grows. */
struct arena *arena_new_sized(size_t first);
void arena_reset(struct arena *a); /* keeps the first block */
void arena_free(struct arena *a);  /* NULL is fine */

/* Zeroed memory, aligned for any type. */
void *arena_alloc(struct arena *a, size_t size);
/* n * size with the product checked. */
void *arena_array(struct arena *a, size_t n, size_t size);
char *arena_strdup(struct arena *a, const char *s); /* NULL stays NULL */
char *arena_strndup(struct arena *a, const char *s, size_t n);
/* The texts up to NULL, one after the other. */
char *arena_concat(struct arena *a, const char *first, ...) __attribute__((sentinel));
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF(2, 3);
struct bytes arena_copy(struct arena *a, struct bytes b);

/* Calls fn(ctx) when the arena is reset or freed, the newest first, while its memory is still there:
 * for what is shared and counted, and lent to whoever works in the arena. */
void arena_defer(struct arena *a, void (*fn)(void *ctx), void *ctx);

/* The bytes it holds, used or not. */
size_t arena_size(const struct arena *a);

#define ARENA_NEW(a, type) ((type *)arena_alloc((a), sizeof(type)))

#endif
