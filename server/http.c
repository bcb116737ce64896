#include "server/http_impl.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdatomic.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

/* Room for the guard's own limits, so that its answers and not the library's are seen. No more: the
 * library clears all of it after each request, and half of it once more. tests/bench/bare_mhd.c has
 * the same. */
#define CONNECTION_MEMORY (32 * 1024)
/*
 * What is read and dropped of the body of a request that is refused. Many clients send all of it
 * before they read, and would see a broken connection instead of the reply; and this library cannot
 * reply in the middle of a body.
 */
#define SWALLOW_MAX (16 * 1024 * 1024)
/* TLS 1.2 and 1.3 only: "NORMAL" of Debian's GnuTLS accepts 1.0 and 1.1 (RFC 8996). */
#define TLS_PRIORITIES "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

/* ---- one exchange ---- */

/* MHD's URI callback: the request line is complete. The target still is as it came. */
static void *request_line(void *cls, const char *target, struct MHD_Connection *mhd)
{
    struct http *h = cls;
    struct http_link *l = http_link_take(h);
    l->mhd = mhd;
    l->connection = http_connection_of(mhd);
    l->x.target = arena_strdup(l->x.arena, target);
    l->x.peer = l->connection->peer.address;
    l->x.source = l->connection->peer.source;
    l->x.tls = h->tls;
    l->x.started = clock_mono(&clock_system);
    http_connection_phase(l->connection, PHASE_HEAD, l->x.started);
    atomic_fetch_add(&h->in_flight, 1);
    return l;
}

static void completed(void *cls, struct MHD_Connection *mhd, void **con_cls,
                      enum MHD_RequestTerminationCode why)
{
    struct http *h = cls;
    struct http_link *l = *con_cls;
    if (!l)
        return;
    http_stream_close(l);
    l->x.ended = clock_mono(&clock_system);
    if (l->engaged)
        h->handler.done(h->handler.ctx, &l->x);
    http_connection_phase(l->connection, PHASE_IDLE, l->x.ended);
    http_link_give(l);
    *con_cls = NULL;
    atomic_fetch_sub(&h->in_flight, 1);
}

/* The query's texts stay as they came: dispatch decodes them itself, once. */
static size_t unescape(void *cls, struct MHD_Connection *mhd, char *text)
{
    return strlen(text);
}

static enum MHD_Result refuse(struct http_link *l, const struct err_info *why)
{
    const struct http_handler *handler = &l->http->handler;
    l->engaged = true;
    return http_reply_send(l, handler->refused(handler->ctx, &l->x, why));
}

static int too_large(struct http_link *l)
{
    const struct http_handler *handler = &l->http->handler;
    struct err_info why;
    err_set(&why, ERR_BODY_TOO_LARGE, "the body may have %zu bytes", l->x.max_body);
    return handler->refused(handler->ctx, &l->x, &why);
}

/* The client sends its body without being asked to go on, and there is an end to it. */
static bool body_will_come(const struct guard_head *head)
{
    return !guard_find(head, "expect") &&
           (head->chunked || (head->length > 0 && head->length <= SWALLOW_MAX));
}

/* The head as it has to be looked at, and what the handler says to it. */
static enum MHD_Result new_head(struct http_link *l, struct bytes parsed)
{
    const struct http_handler *handler = &l->http->handler;
    UNCLEARED struct err_info why;
    const struct bytes block = arena_copy(l->x.arena, parsed);
    if (guard_check((uint8_t *)(uintptr_t)block.data, block.len, strlen(l->x.target), &l->x.head,
                    &why)) {
        l->close = true; /* where the next request begins is not known */
        return refuse(l, &why);
    }
    l->engaged = true;
    const struct guard_head *head = &l->x.head;
    bool expects_body = head->chunked || head->length > 0;
    int status = handler->head(handler->ctx, &l->x);
    if (status == HTTP_GO_ON && head->length > l->x.max_body)
        status = too_large(l);
    /* Of what is not well-formed another reader may see another end. */
    bool unclear = status == MHD_HTTP_BAD_REQUEST && !expects_body;
    if (status != HTTP_GO_ON && (unclear || (expects_body && !body_will_come(head)))) {
        l->close = true;
        return http_reply_send(l, status);
    }
    /* Also without a body: the library closes a connection that has its reply now, and a client that is
     * told to slow down would come back with a handshake each time. */
    l->early = status;
    http_connection_phase(l->connection, expects_body ? PHASE_BODY : PHASE_REPLY,
                          expects_body ? clock_mono(&clock_system) : l->x.started);
    return MHD_YES;
}

/* The first call: the head is complete, and `method` points to its first byte in MHD's buffer. */
static enum MHD_Result first_call(struct http_link *l, const char *method)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(l->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    const struct bytes parsed = BYTES(method, info->header_size);
    l->seen = true;
    l->again = http_kept_again(l, parsed);
    if (!l->again)
        return new_head(l, parsed);
    l->engaged = true;
    return MHD_YES; /* the reply is queued at the last call, see new_head */
}

static enum MHD_Result take_body(struct http_link *l, const char *data, size_t n)
{
    atomic_fetch_add(&l->connection->received, (int64_t)n);
    if (!l->early && l->x.body.len + n > l->x.max_body)
        l->early = too_large(l);
    if (!l->early) {
        buf_add(&l->x.body, data, n);
        return MHD_YES;
    }
    buf_free(&l->x.body);
    l->swallowed += (int64_t)n;
    return l->swallowed > SWALLOW_MAX ? MHD_NO : MHD_YES;
}

/* The body is complete, or a suspended exchange goes on. */
static enum MHD_Result last_call(struct http_link *l)
{
    const struct http_handler *handler = &l->http->handler;
    bool resumed = l->pending;
    if (l->again)
        return http_reply_send(l, l->again);
    if (l->early)
        return http_reply_send(l, l->early);
    if (!resumed)
        http_connection_phase(l->connection, PHASE_REPLY, l->x.started);
    l->pending = false;
    int status =
        resumed ? handler->resumed(handler->ctx, &l->x) : handler->body(handler->ctx, &l->x);
    if (status != HTTP_PENDING)
        return http_reply_send(l, status);
    l->pending = true;
    return MHD_YES;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *mhd, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *n, void **con_cls)
{
    struct http_link *l = *con_cls;
    if (!l)
        return MHD_NO;
    if (!l->seen)
        return first_call(l, method);
    if (*n == 0)
        return last_call(l);
    size_t got = *n;
    *n = 0;
    return take_body(l, data, got);
}

const char *http_header(const struct http_exchange *x, const char *name)
{
    const struct guard_field *f = guard_find(&x->head, name);
    return f ? (const char *)f->value.data : NULL;
}

void http_reply_header(struct http_exchange *x, const char *name, const char *value)
{
    if (x->n_headers == HTTP_REPLY_HEADERS_MAX)
        abort();
    x->headers[x->n_headers].name = name;
    x->headers[x->n_headers++].value = value;
}

void http_reply_id(struct http_exchange *x, const char *name, const char *value)
{
    http_reply_header(x, name, value);
    x->headers[x->n_headers - 1].changes = true;
}

void http_suspend(struct http_exchange *x)
{
    MHD_suspend_connection(x->link->mhd);
}

void http_resume(struct http_exchange *x)
{
    MHD_resume_connection(x->link->mhd);
}

/* ---- the server ---- */

/* What the library complained about while it started, for the message of a failure. What it says
 * later is about single connections, and known from their replies. */
struct complaint {
    atomic_bool starting;
    char text[200];
};

static void PRINTF(2, 0) complain(void *cls, const char *fmt, va_list ap)
{
    struct complaint *c = cls;
    if (!atomic_load(&c->starting))
        return;
    vsnprintf(c->text, sizeof c->text, fmt, ap);
    c->text[strcspn(c->text, "\n")] = 0;
}

static enum err start_daemon(struct http *h, int fd, struct err_info *e)
{
    const struct http_config *c = &h->config;
    static struct complaint said;
    atomic_store(&said.starting, true);
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_CERT_CALLBACK, 0, http_tls_retrieve()},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)TLS_PRIORITIES},
        {MHD_OPTION_END, 0, NULL}};
    http_tls_use(h);
    if (h->tls)
        flags |= MHD_USE_TLS;
    else
        tls[0] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    h->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, h, MHD_OPTION_EXTERNAL_LOGGER, complain, &said,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_THREAD_POOL_SIZE, (unsigned)c->threads,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
        /* More at each read, as long as there is room: a body of 36 KiB comes with two instead of three. */
        MHD_OPTION_CONNECTION_MEMORY_INCREMENT, (size_t)CONNECTION_MEMORY,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)c->connections_max,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)c->connections_per_ip,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)((c->idle_ms + 999) / 1000),
        MHD_OPTION_URI_LOG_CALLBACK, request_line, h, MHD_OPTION_UNESCAPE_CALLBACK, unescape, NULL,
        MHD_OPTION_NOTIFY_COMPLETED, completed, h, MHD_OPTION_NOTIFY_CONNECTION,
        http_connection_event, h, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_ARRAY, tls,
        MHD_OPTION_END);
    atomic_store(&said.starting, false);
    if (!h->daemon)
        return err_set(e, ERR_CONFIG, "the HTTP server does not start: %s", said.text);
    return OK;
}

static void release(struct http *h)
{
    if (h->listen_fd >= 0)
        close(h->listen_fd);
    if (h->unix_path)
        unlink(h->unix_path);
    free(h->unix_path);
    free(h->url);
    http_tls_close(h);
    free(h);
}

enum err http_check(const struct http_config *config, struct err_info *e)
{
    struct http *h = calloc(1, sizeof *h);
    if (!h)
        abort();
    h->config = *config;
    h->listen_fd = -1;
    enum err err = http_tls_open(h, e);
    if (!err)
        err = http_listen_check(h, e);
    release(h);
    return err;
}

enum err http_open(const struct http_config *config, struct http **out, struct err_info *e)
{
    /* guard.h: the shape of a parsed head is that of these versions. */
    if (strncmp(MHD_get_version(), "0.9.7", 5) != 0)
        return err_set(e, ERR_CONFIG, "libmicrohttpd %s is not one whose parser is known (0.9.7x)",
                       MHD_get_version());
    struct http *h = calloc(1, sizeof *h);
    if (!h)
        abort();
    h->config = *config;
    h->listen_fd = -1;
    enum err err = http_tls_open(h, e);
    if (!err)
        h->listen_fd = http_listen_open(h, e);
    if (h->listen_fd < 0) {
        release(h);
        return ERR_CONFIG;
    }
    *out = h;
    return OK;
}

enum err http_serve(struct http *h, const struct http_handler *handler, struct err_info *e)
{
    h->handler = *handler;
    http_reaper_start(h);
    /* The library closes what it was given, also where it fails: it gets a descriptor of its own. */
    int fd = dup(h->listen_fd);
    enum err err =
        fd < 0 ? err_set(e, ERR_CONFIG, "no descriptor for the listener: %s", strerror(errno))
               : start_daemon(h, fd, e);
    if (err) {
        http_reaper_stop(h);
        return err;
    }
    close(h->listen_fd);
    h->listen_fd = -1;
    return OK;
}

const char *http_url(const struct http *h)
{
    return h->url;
}

void http_drain(struct http *h)
{
    bool first = !atomic_exchange(&h->draining, true);
    pthread_mutex_lock(&h->lock);
    pthread_cond_signal(&h->wake);
    pthread_mutex_unlock(&h->lock);
    if (!first)
        return;
    /* Who connects is refused from here on. The number stays taken until the library's threads, which
     * may have just looked at it, are gone. */
    h->listen_fd = MHD_quiesce_daemon(h->daemon);
    if (h->listen_fd >= 0)
        shutdown(h->listen_fd, SHUT_RDWR);
}

int http_in_flight(struct http *h)
{
    return atomic_load(&h->in_flight);
}

int http_connections(struct http *h)
{
    pthread_mutex_lock(&h->lock);
    int n = h->n_connections;
    pthread_mutex_unlock(&h->lock);
    return n;
}

void http_stop(struct http *h)
{
    if (!h)
        return;
    if (h->daemon) {
        MHD_stop_daemon(h->daemon);
        http_reaper_stop(h);
        http_link_free_spares(h);
    }
    release(h);
}
