/*
 * Links: what an exchange needs is taken from the one before it, since memory that was just used is
 * near and need not grow again. What held a request is wiped in between.
 */
#include "server/http_impl.h"

/* More than there are threads: suspended exchanges hold theirs. */
#define SPARES_MAX 64
#define ARENA_SIZE (16 * 1024)

/* A new exchange: all zeros, but for the fields of the head, of which it says how many there are. */
static void link_clear(struct http_link *l, struct http *h, struct arena *arena, void *work)
{
    memset(l, 0, offsetof(struct http_link, x.head.fields));
    l->http = h;
    l->x.link = l;
    l->x.arena = arena;
    l->x.work = work;
}

static struct http_link *link_new(struct http *h)
{
    struct http_link *l = malloc(sizeof *l);
    void *work = calloc(1, h->handler.work_size);
    if (!l || !work)
        abort();
    link_clear(l, h, arena_new_sized(ARENA_SIZE), work);
    return l;
}

static void link_free(struct http_link *l)
{
    l->http->handler.work_free(l->x.work);
    free(l->x.work);
    arena_free(l->x.arena);
    free(l);
}

struct http_link *http_link_take(struct http *h)
{
    pthread_mutex_lock(&h->spare_lock);
    struct http_link *l = h->spares;
    if (l) {
        h->spares = l->next_spare;
        h->n_spares--;
    }
    pthread_mutex_unlock(&h->spare_lock);
    return l ? l : link_new(h);
}

void http_link_give(struct http_link *l)
{
    struct http *h = l->http;
    buf_free(&l->x.body);
    arena_reset(l->x.arena);
    link_clear(l, h, l->x.arena, l->x.work);
    pthread_mutex_lock(&h->spare_lock);
    bool keep = h->n_spares < SPARES_MAX;
    if (keep) {
        l->next_spare = h->spares;
        h->spares = l;
        h->n_spares++;
    }
    pthread_mutex_unlock(&h->spare_lock);
    if (!keep)
        link_free(l);
}

void http_link_free_spares(struct http *h)
{
    while (h->spares) {
        struct http_link *l = h->spares;
        h->spares = l->next_spare;
        link_free(l);
    }
}
