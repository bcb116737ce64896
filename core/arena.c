#include "core/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdint.h>

#define BLOCK_MIN 4096u

struct block {
    struct block *next;
    size_t size;
    size_t used;
    size_t known; /* up to here, what is not used is zero: it was wiped */
    alignas(max_align_t) unsigned char data[];
};

struct deferred {
    struct deferred *next;
    void (*fn)(void *ctx);
    void *ctx;
};

struct arena {
    struct block *head;        /* newest first; the last one is kept on reset */
    struct deferred *deferred; /* newest first */
};

static size_t align_up(size_t size)
{
    const size_t align = alignof(max_align_t);
    return (size + align - 1) & ~(align - 1);
}

static struct block *block_new(size_t size)
{
    struct block *b = malloc(sizeof *b + size);
    if (!b)
        abort();
    b->next = NULL;
    b->size = size;
    b->used = b->known = 0;
    return b;
}

struct arena *arena_new_sized(size_t first)
{
    struct arena *a = malloc(sizeof *a);
    if (!a)
        abort();
    a->head = block_new(align_up(first));
    a->deferred = NULL;
    return a;
}

struct arena *arena_new(void)
{
    return arena_new_sized(BLOCK_MIN);
}

static void wipe(struct block *b)
{
    explicit_bzero(b->data, b->used);
    b->used = 0;
}

void arena_reset(struct arena *a)
{
    for (; a->deferred; a->deferred = a->deferred->next)
        a->deferred->fn(a->deferred->ctx);
    while (a->head->next) {
        struct block *b = a->head;
        a->head = b->next;
        wipe(b);
        free(b);
    }
    wipe(a->head);
}

void arena_free(struct arena *a)
{
    if (!a)
        return;
    arena_reset(a);
    free(a->head);
    free(a);
}

void *arena_alloc(struct arena *a, size_t size)
{
    if (size > SIZE_MAX / 4)
        abort();
    size = align_up(size);
    struct block *b = a->head;
    if (b->size - b->used < size) {
        size_t want = b->size < 256 * 1024 ? b->size * 2 : b->size;
        struct block *n = block_new(want < size ? size : want);
        n->next = b;
        a->head = b = n;
    }
    void *p = b->data + b->used;
    b->used += size;
    if (b->used > b->known) {
        size_t fresh = b->used - b->known;
        fresh = fresh < size ? fresh : size;
        memset(b->data + b->used - fresh, 0, fresh);
        b->known = b->used;
    }
    return p;
}

void *arena_array(struct arena *a, size_t n, size_t size)
{
    if (size && n > SIZE_MAX / size)
        abort();
    return arena_alloc(a, n * size);
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
    char *p = arena_alloc(a, n + 1);
    memcpy(p, s, n);
    return p;
}

char *arena_strdup(struct arena *a, const char *s)
{
    return s ? arena_strndup(a, s, strlen(s)) : NULL;
}

char *arena_concat(struct arena *a, const char *first, ...)
{
    va_list ap, again;
    size_t n = 0;
    va_start(ap, first);
    va_copy(again, ap);
    for (const char *s = first; s; s = va_arg(ap, const char *))
        n += strlen(s);
    va_end(ap);
    char *text = arena_alloc(a, n + 1), *at = text;
    for (const char *s = first; s; s = va_arg(again, const char *))
        at = stpcpy(at, s);
    va_end(again);
    return text;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap, again;
    struct block *b = a->head;
    size_t room = b->size - b->used;
    char *p = (char *)b->data + b->used;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(p, room, fmt, ap);
    va_end(ap);
    if (n < 0)
        abort();
    if ((size_t)n < room) {
        b->used += align_up((size_t)n + 1) < room ? align_up((size_t)n + 1) : room;
        b->known = b->known > b->used ? b->known : b->used;
    } else {
        explicit_bzero(p, room);
        p = arena_alloc(a, (size_t)n + 1);
        vsnprintf(p, (size_t)n + 1, fmt, again);
    }
    va_end(again);
    return p;
}

struct bytes arena_copy(struct arena *a, struct bytes b)
{
    if (!b.len)
        return (struct bytes){0};
    void *p = arena_alloc(a, b.len);
    memcpy(p, b.data, b.len);
    return (struct bytes){p, b.len};
}

void arena_defer(struct arena *a, void (*fn)(void *ctx), void *ctx)
{
    struct deferred *d = ARENA_NEW(a, struct deferred);
    *d = (struct deferred){a->deferred, fn, ctx};
    a->deferred = d;
}

size_t arena_size(const struct arena *a)
{
    size_t size = sizeof *a;
    for (const struct block *b = a->head; b; b = b->next)
        size += sizeof *b + b->size;
    return size;
}
