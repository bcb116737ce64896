/*
 * Connections and their deadlines. MHD's own timeout is an idle timeout: one byte a second keeps a
 * connection for ever. So each connection is in a phase, and a thread shuts down those that have
 * been too long in theirs. The library then closes them as if the peer had gone.
 */
#include "server/http_impl.h"

#include <errno.h>
#include <sys/socket.h>

#define TICK_MS 200

static void name_peer(struct connection *c, struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    peer_of(info ? info->client_addr : NULL, &c->peer);
}

static void opened(struct http *h, struct MHD_Connection *mhd, void **socket_context)
{
    struct connection *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    c->http = h;
    c->fd = info ? info->connect_fd : -1;
    http_connection_phase(c, PHASE_NEW, clock_mono(&clock_system));
    name_peer(c, mhd);
    pthread_mutex_lock(&h->lock);
    c->next = h->connections;
    if (c->next)
        c->next->prev = c;
    h->connections = c;
    h->n_connections++;
    pthread_mutex_unlock(&h->lock);
    *socket_context = c;
}

static void closed(struct http *h, struct connection *c)
{
    pthread_mutex_lock(&h->lock);
    if (c->next)
        c->next->prev = c->prev;
    if (c->prev)
        c->prev->next = c->next;
    else
        h->connections = c->next;
    h->n_connections--;
    pthread_mutex_unlock(&h->lock);
    http_kept_free(c);
    free(c);
}

void http_connection_event(void *cls, struct MHD_Connection *mhd, void **socket_context,
                           enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        opened(cls, mhd, socket_context);
    else if (*socket_context)
        closed(cls, *socket_context);
}

struct connection *http_connection_of(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info->socket_context;
}

#define PHASE_BITS 3

void http_connection_phase(struct connection *c, enum phase phase, int64_t now)
{
    atomic_store_explicit(&c->received, 0, memory_order_relaxed);
    atomic_store_explicit(&c->phase_since, now << PHASE_BITS | (int64_t)phase,
                          memory_order_release);
}

static bool overdue(struct http *h, struct connection *c, int64_t now)
{
    const struct http_config *limit = &h->config;
    int64_t at = atomic_load_explicit(&c->phase_since, memory_order_acquire);
    int64_t passed = now - (at >> PHASE_BITS), counted;
    switch ((enum phase)(at & ((1 << PHASE_BITS) - 1))) {
    case PHASE_NEW:
    case PHASE_HEAD:
        return passed > limit->head_ms;
    case PHASE_BODY:
        counted = passed - limit->body_grace_ms;
        return counted > 0 && c->received < counted * limit->body_bytes_per_s / 1000;
    case PHASE_IDLE:
        return h->draining || passed > limit->idle_ms;
    case PHASE_REPLY:
        return false;
    }
    return false;
}

static void *reap(void *arg)
{
    struct http *h = arg;
    pthread_mutex_lock(&h->lock);
    while (!h->stopping) {
        int64_t now = clock_mono(&clock_system);
        for (struct connection *c = h->connections; c; c = c->next)
            if (!c->reaped && c->fd >= 0 && overdue(h, c, now)) {
                c->reaped = true;
                shutdown(c->fd, SHUT_RDWR);
            }
        http_stream_tick(h, now, h->draining);
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += TICK_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        pthread_cond_timedwait(&h->wake, &h->lock, &until);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

void http_reaper_start(struct http *h)
{
    pthread_condattr_t mono;
    pthread_condattr_init(&mono);
    pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
    pthread_mutex_init(&h->lock, NULL);
    pthread_mutex_init(&h->spare_lock, NULL);
    pthread_cond_init(&h->wake, &mono);
    pthread_condattr_destroy(&mono);
    if (pthread_create(&h->reaper, NULL, reap, h) != 0)
        abort();
}

void http_reaper_stop(struct http *h)
{
    pthread_mutex_lock(&h->lock);
    h->stopping = true;
    pthread_cond_signal(&h->wake);
    pthread_mutex_unlock(&h->lock);
    pthread_join(h->reaper, NULL);
    pthread_cond_destroy(&h->wake);
    pthread_mutex_destroy(&h->lock);
    pthread_mutex_destroy(&h->spare_lock);
}
