/*
 * Replies. Also those to requests that libmicrohttpd refuses before any callback of ours: it sends
 * HTML pages and has no option for others. It calls its own MHD_queue_response through the dynamic
 * linker, though, so the function of that name in this program stands in front of it and answers in
 * the form of all other errors. tests/api/test_http_hardening.py fails where that ceases to
 * work.
 */
#include "server/http_impl.h"

#include <dlfcn.h>
#include <gnutls/gnutls.h>
#include <strings.h>
#include <sys/socket.h>

/* The first of them is the name under which the library has all. */
static const char *const always[][2] = {
    {"X-Content-Type-Options", "nosniff"},
    {"Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"},
    {"Referrer-Policy", "no-referrer"},
};

static const char *const hsts[2] = {"Strict-Transport-Security", "max-age=31536000"};

#define LINES_MAX (ARRAY_LEN(always) + 3 + HTTP_REPLY_HEADERS_MAX)

struct line {
    const char *name, *value;
};

void http_reply_add(struct MHD_Response *r, const char *name, const char *value)
{
    if (MHD_add_response_header(r, name, value) != MHD_YES)
        abort();
}

static size_t lines_of(const struct http_link *l, bool changing, struct line out[LINES_MAX])
{
    const struct http_exchange *x = &l->x;
    bool cached = false;
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(always); i++)
        out[n++] = (struct line){always[i][0], always[i][1]};
    if (l->http->tls)
        out[n++] = (struct line){hsts[0], hsts[1]};
    if (x->content_type && (x->stream || (x->out && x->out->len)))
        out[n++] = (struct line){MHD_HTTP_HEADER_CONTENT_TYPE, x->content_type};
    for (size_t i = 0; i < x->n_headers; i++) {
        cached = cached || strcasecmp(x->headers[i].name, MHD_HTTP_HEADER_CACHE_CONTROL) == 0;
        if (changing || !x->headers[i].changes)
            out[n++] = (struct line){x->headers[i].name, x->headers[i].value};
    }
    if (!cached)
        out[n++] = (struct line){MHD_HTTP_HEADER_CACHE_CONTROL, "no-store"};
    return n;
}

/* A value with a line end would be a header of somebody else's. */
static char *put(char *at, const char *text)
{
    size_t n = strcspn(text, "\r\n");
    if (text[n])
        abort();
    return mempcpy(at, text, n);
}

struct bytes http_reply_lines(const struct http_link *l, bool changing)
{
    struct line lines[LINES_MAX];
    size_t n = lines_of(l, changing, lines), size = 0;
    for (size_t i = 0; i < n; i++)
        size += strlen(lines[i].name) + strlen(lines[i].value) + 4;
    char *text = arena_alloc(l->x.arena, size), *at = put(text, lines[0].value);
    for (size_t i = 1; i < n; i++) {
        at = put(mempcpy(at, "\r\n", 2), lines[i].name);
        at = put(mempcpy(at, ": ", 2), lines[i].value);
    }
    return BYTES(text, (size_t)(at - text));
}

void http_reply_fill(const struct http_link *l, struct MHD_Response *r, struct bytes lines)
{
    char *room = arena_alloc(l->x.arena, lines.len + 1);
    memset(room, '-', lines.len);
    http_reply_add(r, always[0][0], room);
    memcpy((char *)(uintptr_t)MHD_get_response_header(r, always[0][0]), lines.data, lines.len);
}

static struct MHD_Response *response_of(struct http_link *l)
{
    const struct buf *out = l->x.out;
    struct MHD_Response *r =
        l->x.stream ? http_stream_open(l)
                    : MHD_create_response_from_buffer(out ? out->len : 0, out ? out->data : NULL,
                                                      MHD_RESPMEM_PERSISTENT);
    if (!r)
        abort();
    /* Of a chunked reply the library would send the last chunk after a HEAD as well. */
    if (l->x.stream && strcmp(l->x.head.method, "HEAD") == 0)
        MHD_set_response_options(r, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT, MHD_RO_END);
    http_reply_fill(l, r, http_reply_lines(l, true));
    if (l->close || atomic_load(&l->http->draining))
        http_reply_add(r, MHD_HTTP_HEADER_CONNECTION, "close");
    return r;
}

enum MHD_Result http_reply_send(struct http_link *l, int status)
{
    struct http_exchange *x = &l->x;
    struct MHD_Response *kept = http_kept_response(l, status);
    struct MHD_Response *r = kept ? kept : response_of(l);
    x->status = status;
    http_connection_phase(l->connection, PHASE_REPLY, x->started);
    enum MHD_Result queued = http_reply_queue(l->mhd, status, r);
    if (!kept)
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

/* The whole reply, in one go: it is small, and nothing was sent on this connection's turn yet. */
static bool send_raw(struct MHD_Connection *mhd, int fd, const struct buf *reply)
{
    const union MHD_ConnectionInfo *tls =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    if (!tls || !tls->tls_session)
        return send(fd, reply->data, reply->len, MSG_NOSIGNAL) == (ssize_t)reply->len;
    gnutls_session_t session = tls->tls_session;
    bool sent = gnutls_record_send(session, reply->data, reply->len) == (ssize_t)reply->len;
    gnutls_bye(session, GNUTLS_SHUT_WR);
    return sent;
}

/* A close with unread input resets the connection, and the reply may be lost with it. */
static void drain(int fd)
{
    char sink[16384];
    shutdown(fd, SHUT_WR);
    for (int i = 0; i < 64 && recv(fd, sink, sizeof sink, MSG_DONTWAIT) > 0; i++)
        ;
}

static void write_head(const struct http *h, int status, const char *request_id, size_t length,
                       struct buf *out)
{
    const char *reason = MHD_get_reason_phrase_for((unsigned)status);
    buf_printf(out, "HTTP/1.1 %d %s\r\n", status, reason ? reason : "Error");
    for (size_t i = 0; i < ARRAY_LEN(always); i++)
        buf_printf(out, "%s: %s\r\n", always[i][0], always[i][1]);
    if (h->tls)
        buf_printf(out, "%s: %s\r\n", hsts[0], hsts[1]);
    buf_printf(out,
               "Content-Type: application/problem+json\r\nCache-Control: no-store\r\n"
               "X-Request-Id: %s\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
               request_id, length);
}

/*
 * Only the library itself calls this, with its page for a request it could not parse. The reply is
 * sent here and the page refused, upon which the library closes the connection: for a bad
 * Content-Length it would otherwise send the head of its reply twice.
 */
enum MHD_Result MHD_queue_response(struct MHD_Connection *mhd, unsigned int status,
                                   struct MHD_Response *page)
{
    struct connection *c = http_connection_of(mhd);
    const struct http_handler *handler = &c->http->handler;
    char request_id[HTTP_REQUEST_ID_SIZE];
    struct buf body = {0}, reply = {0};
    handler->unparsed(handler->ctx, (int)status, c->peer.address, &body, request_id);
    write_head(c->http, (int)status, request_id, body.len, &reply);
    buf_add(&reply, body.data, body.len);
    if (send_raw(mhd, c->fd, &reply))
        drain(c->fd);
    buf_free(&body);
    buf_free(&reply);
    return MHD_NO;
}
