/*
 * Replies. Also those to requests that libmicrohttpd refuses before any callback of ours: it sends
 * HTML pages and has no option for others. It calls its own MHD_queue_response through the dynamic
 * linker, though, so the function of that name in this program stands in front of it and gives its
 * refusals the form of all other errors. tests/api/test_http_hardening.py fails where that ceases to
 * work.
 */
#include "server/http_impl.h"

#include <dlfcn.h>

static const char *const always[][2] = {
    {"X-Content-Type-Options", "nosniff"},
    {"Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"},
    {"Referrer-Policy", "no-referrer"},
};

static void add(struct MHD_Response *r, const char *name, const char *value)
{
    if (MHD_add_response_header(r, name, value) != MHD_YES)
        abort();
}

static void add_always(const struct http *h, struct MHD_Response *r)
{
    for (size_t i = 0; i < ARRAY_LEN(always); i++)
        add(r, always[i][0], always[i][1]);
    if (h->tls)
        add(r, "Strict-Transport-Security", "max-age=31536000");
}

static bool has(const struct http_exchange *x, const char *name)
{
    for (size_t i = 0; i < x->n_headers; i++)
        if (strcasecmp(x->headers[i].name, name) == 0)
            return true;
    return false;
}

static bool draining(struct http *h)
{
    pthread_mutex_lock(&h->lock);
    bool draining = h->draining;
    pthread_mutex_unlock(&h->lock);
    return draining;
}

enum MHD_Result http_reply_send(struct http_link *l, int status)
{
    struct http_exchange *x = &l->x;
    struct MHD_Response *r =
        x->stream
            ? http_stream_open(l)
            : MHD_create_response_from_buffer(x->out ? x->out->len : 0,
                                              x->out ? x->out->data : NULL, MHD_RESPMEM_PERSISTENT);
    if (!r)
        abort();
    add_always(l->http, r);
    if (x->content_type && (x->stream || (x->out && x->out->len)))
        add(r, MHD_HTTP_HEADER_CONTENT_TYPE, x->content_type);
    for (size_t i = 0; i < x->n_headers; i++)
        add(r, x->headers[i].name, x->headers[i].value);
    if (!has(x, "Cache-Control"))
        add(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (l->close || draining(l->http))
        add(r, MHD_HTTP_HEADER_CONNECTION, "close");
    x->status = status;
    http_connection_phase(l->connection, PHASE_REPLY);
    enum MHD_Result queued = http_reply_queue(l->mhd, status, r);
    MHD_destroy_response(r);
    return queued;
}

typedef enum MHD_Result queue_fn(struct MHD_Connection *, unsigned int, struct MHD_Response *);

enum MHD_Result http_reply_queue(struct MHD_Connection *mhd, int status, struct MHD_Response *r)
{
    static queue_fn *library;
    queue_fn *fn = __atomic_load_n(&library, __ATOMIC_ACQUIRE);
    if (!fn) {
        *(void **)&fn = dlsym(RTLD_NEXT, "MHD_queue_response");
        if (!fn)
            abort();
        __atomic_store_n(&library, fn, __ATOMIC_RELEASE);
    }
    return fn(mhd, (unsigned)status, r);
}

/* Only the library itself calls this: with the response of a request it could not parse. */
enum MHD_Result MHD_queue_response(struct MHD_Connection *mhd, unsigned int status,
                                   struct MHD_Response *html)
{
    struct connection *c = http_connection_of(mhd);
    if (!c)
        return http_reply_queue(mhd, (int)status, html);
    const struct http_handler *handler = &c->http->handler;
    char request_id[HTTP_REQUEST_ID_SIZE];
    struct buf out = {0};
    handler->unparsed(handler->ctx, (int)status, c->peer, &out, request_id);
    struct MHD_Response *r =
        MHD_create_response_from_buffer(out.len, out.data, MHD_RESPMEM_MUST_COPY);
    buf_free(&out);
    if (!r)
        abort();
    add_always(c->http, r);
    add(r, MHD_HTTP_HEADER_CONTENT_TYPE, "application/problem+json");
    add(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    add(r, "X-Request-Id", request_id);
    enum MHD_Result queued = http_reply_queue(mhd, (int)status, r);
    MHD_destroy_response(r);
    return queued;
}
