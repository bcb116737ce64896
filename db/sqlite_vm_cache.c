#include "db/sqlite_vm_cache.h"

#include "core/ways.h"

#include <pthread.h>
#include <stdatomic.h>

#define SLOTS       1024
#define CHANGED_MAX 1024

static const size_t texts[] = {
    offsetof(struct vm, resource_id),
    offsetof(struct vm, vm_id),
    offsetof(struct vm, name),
    offsetof(struct vm, location),
    offsetof(struct vm, state),
    offsetof(struct vm, origin),
    offsetof(struct vm, job_id),
    offsetof(struct vm, spec),
    offsetof(struct vm, made),
    offsetof(struct vm, reasons),
    offsetof(struct vm, claims),
    offsetof(struct vm, last_report_id),
    offsetof(struct vm, last_verdict),
    offsetof(struct vm, ak_spki),
    offsetof(struct vm, ak_name),
    offsetof(struct vm, certificates_state),
    offsetof(struct vm, certificates_log),
    offsetof(struct vm, ak_profile),
    offsetof(struct vm, ek_spki),
    offsetof(struct vm, enrolled_by),
    offsetof(struct vm, etag),
    offsetof(struct vm, quarantine.reason),
    offsetof(struct vm, quarantine.other),
    offsetof(struct vm, quarantine.report_id),
    offsetof(struct vm, quarantine.ak_spki),
    offsetof(struct vm, quarantine.ak_name),
    offsetof(struct vm, quarantine.ak_profile),
    offsetof(struct vm, quarantine.ek_spki),
    offsetof(struct vm, quarantine.proof),
    offsetof(struct vm, image),
    offsetof(struct vm, policy),
    offsetof(struct vm, baseline),
};

struct slot {
    char *key;   /* NULL: free; the texts follow it in one block */
    size_t size; /* of that block */
    struct vm vm;
    _Atomic uint64_t reading; /* of the row in it, no two have the same; 0: free */
};

struct vm_offer {
    struct vm_offer *before;
    const char *key;
    struct vm vm;
    size_t seen; /* changes before it */
};

struct vm_cache {
    pthread_mutex_t lock;
    uint64_t commits;  /* odd from when one can be seen until its end */
    uint64_t readings; /* given so far */
    struct slot slots[SLOTS];

    /* the writer's own: rows of the transaction under way */
    int64_t changed[CHANGED_MAX];
    size_t n_changed;
    bool many; /* more than fit */
    bool committing;
    struct vm_offer *offers; /* newest first */
};

static const char **text_at(struct vm *vm, size_t i)
{
    return (const char **)(void *)((char *)vm + texts[i]);
}

static struct slot *find(struct vm_cache *c, const char *key)
{
    struct slot *set = &c->slots[ways_first(ways_hash(key), SLOTS)];
    for (size_t i = 0; i < WAYS; i++)
        if (set[i].key && strcmp(set[i].key, key) == 0)
            return &set[i];
    return NULL;
}

/* Where it is, or a free one, or the one that was put longest ago. */
static struct slot *room_for(struct vm_cache *c, const char *key)
{
    struct slot *at = find(c, key);
    struct slot *set = &c->slots[ways_first(ways_hash(key), SLOTS)];
    if (at)
        return at;
    at = set;
    for (size_t i = 1; i < WAYS; i++)
        if (atomic_load(&set[i].reading) < atomic_load(&at->reading))
            at = &set[i];
    return at;
}

static void clear(struct slot *s)
{
    atomic_store(&s->reading, 0);
    free(s->key);
    s->key = NULL;
}

struct vm_cache *vm_cache_new(void)
{
    struct vm_cache *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    pthread_mutex_init(&c->lock, NULL);
    return c;
}

void vm_cache_free(struct vm_cache *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < SLOTS; i++)
        clear(&c->slots[i]);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* The block as a whole; the texts are where they are in it. */
static void copy_out(const struct slot *s, struct arena *a, struct vm *out)
{
    const struct bytes block = arena_copy(a, BYTES(s->key, s->size));
    *out = s->vm;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        const char **text = text_at(out, i);
        if (*text)
            *text = (const char *)block.data + (*text - s->key);
    }
}

bool vm_cache_get(struct vm_cache *c, const char *key, struct arena *a, struct vm *out,
                  uint64_t *began)
{
    pthread_mutex_lock(&c->lock);
    *began = c->commits;
    const struct slot *s = find(c, key);
    if (s)
        copy_out(s, a, out);
    pthread_mutex_unlock(&c->lock);
    return s != NULL;
}

static size_t size_of(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

static const char *append(char **at, const char *text)
{
    if (!text)
        return NULL;
    char *copy = *at;
    size_t n = strlen(text) + 1;
    memcpy(copy, text, n);
    *at += n;
    return copy;
}

void vm_cache_put(struct vm_cache *c, const char *key, const struct vm *vm, uint64_t began)
{
    struct slot fresh = {.vm = *vm};
    size_t n = size_of(key);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        n += size_of(*text_at(&fresh.vm, i));
    fresh.size = n;
    char *at = fresh.key = malloc(n);
    if (!at)
        abort();
    append(&at, key);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        *text_at(&fresh.vm, i) = append(&at, *text_at(&fresh.vm, i));
    pthread_mutex_lock(&c->lock);
    if (c->commits == began && began % 2 == 0) {
        struct slot *s = room_for(c, key);
        clear(s);
        s->key = fresh.key;
        s->size = fresh.size;
        s->vm = fresh.vm;
        s->vm.reading = ++c->readings * SLOTS + (uint64_t)(s - c->slots);
        atomic_store(&s->reading, s->vm.reading);
        fresh.key = NULL;
    }
    pthread_mutex_unlock(&c->lock);
    free(fresh.key);
}

bool vm_cache_stands(const struct vm_cache *c, uint64_t reading)
{
    return reading && atomic_load(&c->slots[reading % SLOTS].reading) == reading;
}

/* ---- the writer ---- */

void vm_cache_note(struct vm_cache *c, int64_t rowid)
{
    c->many = c->many || c->n_changed == CHANGED_MAX;
    if (!c->many)
        c->changed[c->n_changed++] = rowid;
}

static void note(void *ctx, int what, const char *database, const char *table, sqlite3_int64 rowid)
{
    if (strcmp(table, "vm") == 0)
        vm_cache_note(ctx, rowid);
}

void vm_cache_watch(struct vm_cache *c, sqlite3 *writer)
{
    sqlite3_update_hook(writer, note, c);
}

static bool changed_since(const struct vm_cache *c, int64_t rowid, size_t seen)
{
    for (size_t i = seen; i < c->n_changed; i++)
        if (c->changed[i] == rowid)
            return true;
    return c->many;
}

static bool is_changed(const struct vm_cache *c, int64_t rowid)
{
    return changed_since(c, rowid, 0);
}

/* As the transaction has left it; its texts live until the end of the batch. */
static const struct vm_offer *find_offer(const struct vm_cache *c, const char *key)
{
    const struct vm_offer *o = c->offers;
    while (o && strcmp(o->key, key) != 0)
        o = o->before;
    return o && !changed_since(c, o->vm.settled.rowid, o->seen) ? o : NULL;
}

bool vm_cache_peek(struct vm_cache *c, const char *key, struct arena *a, struct vm *out)
{
    const struct vm_offer *o = find_offer(c, key);
    if (o) {
        *out = o->vm;
        return true;
    }
    pthread_mutex_lock(&c->lock);
    const struct slot *s = find(c, key);
    bool hit = s && !is_changed(c, s->vm.settled.rowid);
    if (hit)
        copy_out(s, a, out);
    pthread_mutex_unlock(&c->lock);
    return hit;
}

void vm_cache_offer(struct vm_cache *c, struct arena *a, const char *key, const struct vm *vm)
{
    struct vm_offer *o = ARENA_NEW(a, struct vm_offer);
    *o = (struct vm_offer){c->offers, key, *vm, c->n_changed};
    c->offers = o;
}

struct vm_offer *vm_cache_offers(const struct vm_cache *c)
{
    return c->offers;
}

void vm_cache_take_back(struct vm_cache *c, struct vm_offer *offers)
{
    c->offers = offers;
}

void vm_cache_commit_begin(struct vm_cache *c)
{
    c->committing = true;
}

void vm_cache_commit_synced(struct vm_cache *c)
{
    if (!c->committing)
        return;
    c->committing = false;
    pthread_mutex_lock(&c->lock);
    c->commits++;
    for (size_t i = 0; i < SLOTS && (c->many || c->n_changed); i++)
        if (c->slots[i].key && is_changed(c, c->slots[i].vm.settled.rowid))
            clear(&c->slots[i]);
    pthread_mutex_unlock(&c->lock);
}

void vm_cache_commit_end(struct vm_cache *c, bool committed)
{
    vm_cache_commit_synced(c); /* nothing was written, or it failed before that */
    pthread_mutex_lock(&c->lock);
    uint64_t now = ++c->commits;
    pthread_mutex_unlock(&c->lock);
    for (const struct vm_offer *o = committed ? c->offers : NULL; o; o = o->before)
        if (!changed_since(c, o->vm.settled.rowid, o->seen))
            vm_cache_put(c, o->key, &o->vm, now);
    c->offers = NULL;
    c->n_changed = 0;
    c->many = false;
}
