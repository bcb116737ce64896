/*
 * Streams: MHD asks for bytes, the handler's `next` makes them. Where there is nothing to say the
 * connection is suspended, and resumed by stream_wake, a heartbeat that is due, or the end of the
 * server (which must not stop while a connection is suspended: the library aborts then).
 */
#include "handlers/call.h"
#include "server/http_impl.h"

#include <poll.h>

/* How often a suspended connection is looked at: the library does not see its peer leave. */
#define LOOK_MS 2000

struct http_stream {
    struct http *http;
    struct MHD_Connection *mhd;
    int fd;
    struct stream *s;
    struct buf out;
    size_t sent;
    bool ended;

    /* under http->lock */
    struct http_stream *prev, *next;
    bool suspended;
    bool woken;
    bool beat;
    bool ending;
    int64_t beat_at;
    int64_t look_at;
};

/* A wake may come before the stream is opened: `server` is then still NULL, and nothing is lost,
 * since the first `next` is yet to run. */
static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;

/* With the lock held. */
static void resume(struct http_stream *hs)
{
    if (!hs->suspended)
        return;
    hs->suspended = false;
    MHD_resume_connection(hs->mhd);
}

/* Suspends unless something has happened since the last call of `next`. */
static bool wait(struct http_stream *hs)
{
    struct http *h = hs->http;
    pthread_mutex_lock(&h->lock);
    bool idle = !hs->woken && !hs->beat && !hs->ending;
    if (idle) {
        hs->suspended = true;
        MHD_suspend_connection(hs->mhd);
    }
    pthread_mutex_unlock(&h->lock);
    return idle;
}

/* One call of the handler. A heartbeat is due so long after the last bytes. */
static enum stream_next step(struct http_stream *hs)
{
    struct http *h = hs->http;
    pthread_mutex_lock(&h->lock);
    bool beat = hs->beat, ending = hs->ending || h->draining;
    hs->beat = hs->woken = false;
    pthread_mutex_unlock(&h->lock);
    enum stream_next next = ending ? STREAM_END : hs->s->next(hs->s, &hs->out, beat);
    pthread_mutex_lock(&h->lock);
    if (beat || hs->out.len > 0)
        hs->beat_at = clock_mono(&clock_system) + hs->s->heartbeat_ms;
    pthread_mutex_unlock(&h->lock);
    return next;
}

static ssize_t read_stream(void *cls, uint64_t pos, char *to, size_t max)
{
    struct http_stream *hs = cls;
    for (;;) {
        size_t n = hs->out.len - hs->sent;
        if (n > 0) {
            n = n < max ? n : max;
            memcpy(to, hs->out.data + hs->sent, n);
            hs->sent += n;
            return (ssize_t)n;
        }
        buf_reset(&hs->out);
        hs->sent = 0;
        if (hs->ended)
            return MHD_CONTENT_READER_END_OF_STREAM;
        enum stream_next next = step(hs);
        hs->ended = next == STREAM_END;
        if (next == STREAM_WAIT && hs->out.len == 0 && wait(hs))
            return 0;
    }
}

struct MHD_Response *http_stream_open(struct http_link *l)
{
    struct http *h = l->http;
    struct http_stream *hs = calloc(1, sizeof *hs);
    if (!hs)
        abort();
    *hs = (struct http_stream){.http = h, .mhd = l->mhd, .fd = l->connection->fd, .s = l->x.stream};
    pthread_mutex_lock(&h->lock);
    hs->beat_at = clock_mono(&clock_system) + hs->s->heartbeat_ms;
    hs->next = h->streams;
    if (hs->next)
        hs->next->prev = hs;
    h->streams = hs;
    pthread_mutex_unlock(&h->lock);
    pthread_mutex_lock(&opening);
    hs->s->server = hs;
    pthread_mutex_unlock(&opening);
    l->stream = hs;
    return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, read_stream, hs, NULL);
}

void http_stream_close(struct http_link *l)
{
    struct http_stream *hs = l->stream;
    struct http *h = l->http;
    if (!hs)
        return;
    hs->s->done(hs->s); /* nobody wakes it any more */
    pthread_mutex_lock(&h->lock);
    if (hs->next)
        hs->next->prev = hs->prev;
    if (hs->prev)
        hs->prev->next = hs->next;
    else
        h->streams = hs->next;
    pthread_mutex_unlock(&h->lock);
    buf_free(&hs->out);
    free(hs);
    l->stream = NULL;
}

static bool peer_left(struct http_stream *hs, int64_t now)
{
    if (!hs->suspended || now < hs->look_at)
        return false;
    struct pollfd at = {.fd = hs->fd, .events = POLLRDHUP};
    hs->look_at = now + LOOK_MS;
    return poll(&at, 1, 0) > 0 && at.revents & (POLLRDHUP | POLLHUP | POLLERR);
}

void http_stream_tick(struct http *h, int64_t now, bool ending)
{
    for (struct http_stream *hs = h->streams; hs; hs = hs->next) {
        hs->ending = hs->ending || ending || peer_left(hs, now);
        hs->beat = hs->beat || now >= hs->beat_at;
        if (hs->ending || hs->beat)
            resume(hs);
    }
}

void stream_wake(struct stream *s)
{
    pthread_mutex_lock(&opening);
    struct http_stream *hs = s->server;
    pthread_mutex_unlock(&opening);
    if (!hs)
        return;
    pthread_mutex_lock(&hs->http->lock);
    hs->woken = true;
    resume(hs);
    pthread_mutex_unlock(&hs->http->lock);
}
