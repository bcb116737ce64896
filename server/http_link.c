/*
 * Links: what an exchange needs is taken from the one before it, since memory that was just used is
 * near and need not grow again. What held a request is wiped in between.
 */
#include "server/http_impl.h"

/* More than there are threads: suspended exchanges hold theirs. */
#define SPARES_MAX 64
/* Of what a report needs, so that it does not grow. */
#define ARENA_SIZE (48 * 1024)
/* Larger room for a body is not kept. */
#define BODY_KEPT_MAX (64 * 1024)

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
    http_drop_body(&l->x, true);
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

/* The room that was used last is the nearest. */
void http_reserve_body(struct http_exchange *x, size_t n)
{
    struct http *h = x->link->http;
    pthread_mutex_lock(&h->spare_lock);
    if (!x->body.data && h->n_bodies)
        x->body = h->bodies[--h->n_bodies];
    pthread_mutex_unlock(&h->spare_lock);
    buf_reserve(&x->body, n); /* at once: growing would copy and wipe it again and again */
}

void http_drop_body(struct http_exchange *x, bool secret)
{
    struct http *h = x->link->http;
    if (!x->body.data)
        return;
    if (secret)
        buf_reset(&x->body);
    x->body.len = 0;
    if (x->body.cap > BODY_KEPT_MAX) {
        buf_free(&x->body);
        return;
    }
    pthread_mutex_lock(&h->spare_lock);
    if (h->n_bodies < HTTP_BODIES_MAX) {
        h->bodies[h->n_bodies++] = x->body;
        x->body = (struct buf){0};
    }
    pthread_mutex_unlock(&h->spare_lock);
    buf_free(&x->body);
}

void http_link_free_spares(struct http *h)
{
    while (h->n_bodies)
        buf_free(&h->bodies[--h->n_bodies]);
    while (h->spares) {
        struct http_link *l = h->spares;
        h->spares = l->next_spare;
        link_free(l);
    }
}
