#include "attest/logs.h"

#include "attest/hash.h"
#include "core/sha256.h"

#include <pthread.h>
#include <stdatomic.h>

#define SLOTS 4096
/* For the events and a view beside the bytes; what needs more gets it. */
#define ROOM_BESIDE ((size_t)24 * 1024)
/* Of the views of further banks, which are made after the log was counted. */
#define ROOM_LATER ((size_t)16 * 1024)

/* A view while it is made, and the claims of the PCRs that were asked for first. */
struct slot_view {
    struct log_view view;
    bool made;
    bool has_claims;
    uint32_t pcrs;
    struct log_claims claims;
    const char *text; /* their members as JSON; NULL: nobody asked yet */
    size_t text_len;
};

struct attest_log {
    struct arena *arena; /* its own, or of the verification that it was made for */
    atomic_int holders;
    bool hashed; /* under `lock`; of a log that others may find, set before they can */
    uint8_t sha256[32];
    struct bytes bytes;
    struct event_log events;
    pthread_mutex_t lock; /* over making what follows; it never changes afterwards */
    struct slot_view views[BANK_COUNT];

    /* under the lock of the attest_logs that it is in */
    bool listed;
    size_t size;
    struct attest_log *chain;         /* of its slot */
    struct attest_log *newer, *older; /* by last use */
};

struct attest_logs {
    size_t max;
    pthread_mutex_t lock; /* over what follows */
    size_t size;
    struct attest_log *slots[SLOTS];
    struct attest_log *newest, *oldest;
};

/* ---- one log ---- */

static struct attest_log *make(struct bytes bytes, struct arena *a)
{
    struct attest_log *l = ARENA_NEW(a, struct attest_log);
    l->arena = a;
    l->bytes = bytes;
    atomic_store(&l->holders, 1);
    pthread_mutex_init(&l->lock, NULL);
    l->events = eventlog_parse(bytes, a);
    return l;
}

static void drop_borrowing(void *ctx)
{
    struct attest_log *l = ctx;
    pthread_mutex_destroy(&l->lock);
}

static void drop(void *ctx)
{
    struct attest_log *l = ctx;
    if (atomic_fetch_sub(&l->holders, 1) > 1)
        return;
    pthread_mutex_destroy(&l->lock);
    arena_free(l->arena);
}

const struct event_log *log_events(const struct attest_log *l)
{
    return &l->events;
}

struct bytes attest_log_sha256(struct attest_log *l)
{
    pthread_mutex_lock(&l->lock);
    if (!l->hashed)
        sha256(l->bytes, l->sha256);
    l->hashed = true;
    pthread_mutex_unlock(&l->lock);
    return BYTES_OF(l->sha256);
}

static const struct attest_finding *take_findings(struct attest_result *from, struct arena *a,
                                                  size_t *n)
{
    struct attest_finding *out = arena_array(a, from->n_findings, sizeof *out);
    memcpy(out, from->findings, from->n_findings * sizeof *out);
    *n = from->n_findings;
    result_init(from);
    return out;
}

static void make_view(struct attest_log *l, enum pcr_bank bank, struct log_view *v)
{
    struct attest_result r;
    result_init(&r);
    replay_run(&l->events, bank, &v->replay, l->arena, &r);
    v->replay_findings = take_findings(&r, l->arena, &v->n_replay_findings);
    v->content = content_check(&l->events, bank, l->arena, &r);
    v->content_findings = take_findings(&r, l->arena, &v->n_content_findings);
}

const struct log_view *log_view(struct attest_log *l, enum pcr_bank bank)
{
    struct slot_view *s = &l->views[bank];
    pthread_mutex_lock(&l->lock);
    if (!s->made)
        make_view(l, bank, &s->view);
    s->made = true;
    pthread_mutex_unlock(&l->lock);
    return &s->view;
}

const struct log_claims *log_claims(struct attest_log *l, enum pcr_bank bank, uint32_t pcrs,
                                    struct arena *a)
{
    struct slot_view *s = &l->views[bank];
    pthread_mutex_lock(&l->lock);
    if (!s->has_claims) {
        s->claims = content_claims(&l->events, bank, pcrs, l->arena);
        s->pcrs = pcrs;
        s->has_claims = true;
    }
    pthread_mutex_unlock(&l->lock);
    if (s->pcrs == pcrs)
        return &s->claims;
    struct log_claims *other = ARENA_NEW(a, struct log_claims);
    *other = content_claims(&l->events, bank, pcrs, a);
    return other;
}

static void write_text(struct slot_view *s, struct arena *a)
{
    struct buf out = {0};
    struct jw w = jw_over(&out);
    jw_open(&w, '{');
    claims_write_log(&w, &s->claims);
    jw_close(&w, '}');
    s->text_len = out.len - 2;
    s->text = arena_strndup(a, out.data + 1, s->text_len);
    buf_free(&out);
}

void log_write_claims(struct jw *w, const struct attest_claims *claims)
{
    struct attest_log *l = claims->source;
    struct slot_view *s = &l->views[claims->bank];
    pthread_mutex_lock(&l->lock);
    bool same = s->has_claims && s->pcrs == claims->proven;
    if (same && !s->text)
        write_text(s, l->arena);
    pthread_mutex_unlock(&l->lock);
    if (same)
        jw_inside(w, s->text, s->text_len);
    else
        claims_write_log(w, claims->log);
}

/* ---- the known ones ---- */

struct attest_logs *attest_logs_new(size_t max)
{
    struct attest_logs *k = calloc(1, sizeof *k);
    if (!k)
        abort();
    k->max = max;
    pthread_mutex_init(&k->lock, NULL);
    return k;
}

static struct attest_log **slot_of(struct attest_logs *k, const uint8_t sha256[32])
{
    return &k->slots[((size_t)sha256[0] << 8 | sha256[1]) % SLOTS];
}

static void take_out(struct attest_logs *k, struct attest_log *l)
{
    *(l->newer ? &l->newer->older : &k->newest) = l->older;
    *(l->older ? &l->older->newer : &k->oldest) = l->newer;
    l->newer = l->older = NULL;
}

static void put_first(struct attest_logs *k, struct attest_log *l)
{
    l->older = k->newest;
    *(k->newest ? &k->newest->newer : &k->oldest) = l;
    k->newest = l;
}

static void forget(struct attest_logs *k, struct attest_log *l)
{
    struct attest_log **at = slot_of(k, l->sha256);
    while (*at != l)
        at = &(*at)->chain;
    *at = l->chain;
    take_out(k, l);
    k->size -= l->size;
    drop(l);
}

void attest_logs_free(struct attest_logs *k)
{
    if (!k)
        return;
    while (k->oldest)
        forget(k, k->oldest);
    pthread_mutex_destroy(&k->lock);
    free(k);
}

/* Called with the lock held. */
static struct attest_log *find(struct attest_logs *k, const uint8_t sha256[32])
{
    struct attest_log *l = *slot_of(k, sha256);
    while (l && memcmp(l->sha256, sha256, sizeof l->sha256) != 0)
        l = l->chain;
    return l;
}

/* The caller drops it. */
static struct attest_log *hold_known(struct attest_logs *k, const uint8_t sha256[32])
{
    pthread_mutex_lock(&k->lock);
    struct attest_log *l = find(k, sha256);
    if (l) {
        atomic_fetch_add(&l->holders, 1);
        take_out(k, l);
        put_first(k, l);
    }
    pthread_mutex_unlock(&k->lock);
    return l;
}

struct attest_log *attest_logs_find(struct attest_logs *k, struct bytes sha256, struct arena *a)
{
    if (!k || !sha256.data || sha256.len != SHA256_SIZE)
        return NULL;
    struct attest_log *l = hold_known(k, sha256.data);
    if (l)
        arena_defer(a, drop, l);
    return l;
}

struct bytes attest_log_bytes(const struct attest_log *l)
{
    return l->bytes;
}

void log_remember(struct attest_logs *k, struct attest_log *l)
{
    if (!k || l->listed)
        return;
    size_t size = arena_size(l->arena) + ROOM_LATER;
    pthread_mutex_lock(&k->lock);
    if (size <= k->max && !find(k, l->sha256)) {
        struct attest_log **slot = slot_of(k, l->sha256);
        l->listed = true;
        l->size = size;
        l->chain = *slot;
        *slot = l;
        put_first(k, l);
        k->size += size;
        atomic_fetch_add(&l->holders, 1);
        while (k->oldest && k->size > k->max)
            forget(k, k->oldest);
    }
    pthread_mutex_unlock(&k->lock);
}

struct attest_log *log_of(struct attest_logs *known, struct bytes likely, struct bytes log,
                          struct arena *a)
{
    uint8_t digest[SHA256_SIZE];
    struct attest_log *l = NULL;
    if (!known) {
        l = make(log, a);
        arena_defer(a, drop_borrowing, l);
        return l;
    }
    l = attest_logs_find(known, likely, a);
    if (l && bytes_equal(l->bytes, log))
        return l;
    sha256(log, digest);
    l = attest_logs_find(known, BYTES_OF(digest), a);
    if (l)
        return l;
    struct arena *own = arena_new_sized(log.len + ROOM_BESIDE);
    l = make(arena_copy(own, log), own);
    memcpy(l->sha256, digest, sizeof digest);
    l->hashed = true;
    arena_defer(a, drop, l);
    return l;
}
