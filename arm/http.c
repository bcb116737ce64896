#include "arm/http.h"

#include "arm/header.h"
#include "arm/http_curl.h"
#include "arm/text.h"
#include "arm/wire.h"
#include "core/buf.h"
#include "core/cleanup.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#define POOL_MAX      64
#define EVENTS_MAX    64
#define RECEIVE_BYTES 4096L
#define SEND_BYTES    16384L
/* A rotated CA file is noticed within this time. */
#define CA_CACHE_SECONDS 600L

struct arm_http_inner {
    struct arm_http *http;
    struct arm_http_call *call;
    CURL *easy;
    struct curl_slist *headers;
    struct buf body;
    bool too_large;
    int64_t started;
    struct arm_http_inner *prev; /* in the list of open transfers */
    struct arm_http_inner *next;
    char error[CURL_ERROR_SIZE];
#ifdef TLGATE_FAULTS
    size_t unsent; /* of the body */
#endif
};

/* What does not change from one transfer to the next is set once: it is most of the options. */
struct handle {
    CURL *easy;
    bool plain, direct, own_ca; /* as in the call it was set up for */
};

struct arm_http {
    struct arm_http_config cfg;
    CURLM *multi;
    int epoll;
    int64_t timer; /* curl's: monotonic of the system; INT64_MAX: none */
    int event;     /* arm_http_wake */
    struct arm_wire *wire;
    int64_t wire_at; /* mono: it wants its turn then at the latest */
    struct arm_http_inner *open;
    struct handle pool[POOL_MAX];
    size_t n_pool;
    uint64_t connections;
};

/* ---- libcurl's memory is wiped: its buffers hold tokens and passwords ---- */

static void wiping_free(void *p)
{
    if (p)
        explicit_bzero(p, malloc_usable_size(p));
    free(p);
}

static void *wiping_realloc(void *p, size_t size)
{
    void *n = malloc(size ? size : 1);
    if (!n || !p)
        return n;
    size_t old = malloc_usable_size(p);
    memcpy(n, p, old < size ? old : size);
    wiping_free(p);
    return n;
}

static CURLcode global_result;

static void global_init(void)
{
    global_result = curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, wiping_free, wiping_realloc,
                                         strdup, calloc);
}

/* ---- sockets and timer ---- */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *known)
{
    struct arm_http *h = ctx;
    struct epoll_event ev = {.data.fd = fd};
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(h->epoll, EPOLL_CTL_DEL, fd, NULL);
        return 0;
    }
    ev.events = (what & CURL_POLL_IN ? (uint32_t)EPOLLIN : 0u) |
                (what & CURL_POLL_OUT ? (uint32_t)EPOLLOUT : 0u);
    /* The number may have been closed and opened again behind curl's back: add and modify in turn.
     */
    int first = known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    int second = known ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (epoll_ctl(h->epoll, first, fd, &ev) != 0 && epoll_ctl(h->epoll, second, fd, &ev) != 0)
        return -1;
    curl_multi_assign(h->multi, fd, h);
    return 0;
}

/* Curl sets it several times for each transfer: the next epoll_wait ends in time, without a timer of
 * the kernel's. */
static int on_timer(CURLM *multi, long timeout_ms, void *ctx)
{
    struct arm_http *h = ctx;
    h->timer = timeout_ms < 0 ? INT64_MAX : clock_mono(&clock_system) + timeout_ms;
    return 0;
}

static bool watch(struct arm_http *h, int fd)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};
    return fd >= 0 && epoll_ctl(h->epoll, EPOLL_CTL_ADD, fd, &ev) == 0;
}

enum err arm_http_new(const struct arm_http_config *cfg, struct arm_http **out, struct err_info *e)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, global_init);
    if (global_result != CURLE_OK)
        return err_set(e, ERR_INTERNAL, "libcurl: %s", curl_easy_strerror(global_result));
    struct arm_http *h = calloc(1, sizeof *h);
    if (!h)
        abort();
    h->cfg = *cfg;
    h->multi = curl_multi_init();
    h->epoll = epoll_create1(EPOLL_CLOEXEC);
    h->timer = INT64_MAX;
    h->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    enum err err = arm_wire_new(cfg, &h->wire, e);
    if (err) {
        arm_http_free(h);
        return err;
    }
    if (!h->multi || h->epoll < 0 || !watch(h, h->event) || !watch(h, arm_wire_fd(h->wire))) {
        err_set(e, ERR_INTERNAL, "cannot set up the HTTP loop: %s", strerrordesc_np(errno));
        arm_http_free(h);
        return ERR_INTERNAL;
    }
    /* By default curl closes idle connections when few transfers are left. */
    curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, (long)POOL_MAX);
    curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
    curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
    *out = h;
    return OK;
}

void arm_http_free(struct arm_http *h)
{
    for (size_t i = 0; i < h->n_pool; i++)
        curl_easy_cleanup(h->pool[i].easy);
    arm_wire_free(h->wire);
    if (h->multi)
        curl_multi_cleanup(h->multi);
    const int fds[] = {h->event, h->epoll};
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    free(h);
}

/* ---- one transfer ---- */

static struct arm_http_inner *inner_of(struct arm_http *h, struct arm_http_call *c)
{
    if (c->inner)
        return c->inner;
    struct arm_http_inner *in = calloc(1, sizeof *in);
    if (!in)
        abort();
    in->http = h;
    in->call = c;
    c->inner = in;
    return in;
}

void arm_http_header(struct arm_http *h, struct arm_http_call *c, const char *name,
                     const char *value)
{
    if (c->poll) {
        arm_wire_header(c, name, value);
        return;
    }
    struct arm_http_inner *in = inner_of(h, c);
    struct buf line = {0};
    buf_add_str(&line, name);
    buf_add(&line, ": ", 2);
    buf_add_str(&line, value);
    struct curl_slist *more = curl_slist_append(in->headers, line.data);
    if (!more)
        abort();
    in->headers = more;
    buf_free(&line);
}

static size_t on_body(char *data, size_t size, size_t n, void *ctx)
{
    struct arm_http_inner *in = ctx;
    size_t len = size * n, max = in->call->body_max ? in->call->body_max : ARM_BODY_MAX;
    if (len > max - in->body.len) {
        in->too_large = true;
        return 0;
    }
    buf_add(&in->body, data, len);
    return len;
}

static size_t on_header(char *data, size_t size, size_t n, void *ctx)
{
    struct arm_http_inner *in = ctx;
    size_t len = size * n;
    if (len > 5 && memcmp(data, "HTTP/", 5) == 0)
        arm_header_reset(in->call->reply);
    else
        arm_header_add(in->call->reply, BYTES(data, len), clock_wall(in->http->cfg.clock));
    return len;
}

/* When the last byte has left is told by nothing but what curl calls its trace. */
#ifdef TLGATE_FAULTS
static int on_trace(CURL *easy, curl_infotype type, char *data, size_t len, void *ctx)
{
    struct arm_http_inner *in = ctx;
    if (!in || (type != CURLINFO_HEADER_OUT && type != CURLINFO_DATA_OUT))
        return 0;
    if (type == CURLINFO_DATA_OUT)
        in->unsent -= len < in->unsent ? len : in->unsent;
    else /* what goes on in a second piece is told as data, and is as good as never sent */
        in->unsent = memmem(data, len, "\r\n\r\n", 4) ? in->call->body.len : SIZE_MAX;
    if (in->unsent == 0)
        in->call->sent();
    return 0;
}

static void trace(CURL *easy, struct arm_http_inner *in)
{
    curl_easy_setopt(easy, CURLOPT_DEBUGFUNCTION, on_trace);
    curl_easy_setopt(easy, CURLOPT_DEBUGDATA, in && in->call->sent ? in : NULL);
    curl_easy_setopt(easy, CURLOPT_VERBOSE, 1L);
}
#else
static void trace(CURL *easy, const struct arm_http_inner *in)
{
}
#endif

/* All of them each time: the handle was another request's. */
static void set_method(CURL *easy, const struct arm_http_call *c)
{
    bool sends = c->method == ARM_PUT || c->method == ARM_PATCH || c->method == ARM_POST;
    bool plain = c->method == ARM_GET || c->method == ARM_HEAD || c->method == ARM_POST;
    /* These make a POST of it, also where they take the body away. */
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS,
                     !sends        ? NULL
                     : c->body.len ? (const char *)c->body.data
                                   : "");
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, sends ? (curl_off_t)c->body.len : -1);
    curl_easy_setopt(easy, sends ? CURLOPT_POST : CURLOPT_HTTPGET, 1L);
    if (c->method == ARM_HEAD)
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, plain ? NULL : arm_method_name(c->method));
    /* curl repeats a request when a reused connection turns out to be dead; that is for idempotent
     * methods only (RFC 9110 9.2.2). */
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, sends && c->method != ARM_PUT ? 1L : 0L);
}

void arm_http_set_up(const struct arm_http_config *cfg, CURL *easy, const struct arm_http_call *c)
{
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, c->plain ? "http,https" : "https");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)cfg->connect_timeout_ms);
    curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip");
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, RECEIVE_BYTES);
    curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, SEND_BYTES);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, cfg->user_agent);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, CA_CACHE_SECONDS);
    const char *ca_file = c->ca_file ? c->ca_file : cfg->ca_file;
    if (ca_file) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file);
        curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    }
    if (c->direct)
        curl_easy_setopt(easy, CURLOPT_PROXY, "");
    else if (cfg->proxy)
        curl_easy_setopt(easy, CURLOPT_PROXY, cfg->proxy);
}

static void set_call(struct arm_http_inner *in)
{
    const struct arm_http_call *c = in->call;
    CURL *easy = in->easy;
    curl_easy_setopt(easy, CURLOPT_PRIVATE, in);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, in->error);
    curl_easy_setopt(easy, CURLOPT_URL, c->url);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)c->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, in->headers);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, in);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, in);
    set_method(easy, c);
    trace(easy, in);
}

static CURL *take_handle(struct arm_http *h, const struct arm_http_call *c)
{
    struct handle from = {0};
    if (h->n_pool)
        from = h->pool[--h->n_pool];
    if (from.easy && from.plain == c->plain && from.direct == c->direct && !from.own_ca &&
        !c->ca_file)
        return from.easy;
    if (from.easy)
        curl_easy_reset(from.easy);
    else
        from.easy = curl_easy_init();
    if (!from.easy)
        abort();
    arm_http_set_up(&h->cfg, from.easy, c);
    return from.easy;
}

/* Nothing of the transfer stays in it but the URL. */
static void give_handle(struct arm_http *h, struct arm_http_inner *in)
{
    CURL *easy = in->easy;
    if (h->n_pool == POOL_MAX) {
        curl_easy_cleanup(easy);
        return;
    }
    curl_easy_setopt(easy, CURLOPT_PRIVATE, NULL);
    trace(easy, NULL);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, NULL);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, NULL);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, NULL);
    h->pool[h->n_pool++] = (struct handle){.easy = easy,
                                           .plain = in->call->plain,
                                           .direct = in->call->direct,
                                           .own_ca = in->call->ca_file != NULL};
}

static void open_list_add(struct arm_http *h, struct arm_http_inner *in)
{
    in->next = h->open;
    if (h->open)
        h->open->prev = in;
    h->open = in;
}

static void open_list_remove(struct arm_http *h, struct arm_http_inner *in)
{
    if (in->prev)
        in->prev->next = in->next;
    else
        h->open = in->next;
    if (in->next)
        in->next->prev = in->prev;
}

void arm_http_start(struct arm_http *h, struct arm_http_call *c)
{
    if (c->poll) {
        arm_wire_start(h->wire, c);
        h->wire_at = 0;
        return;
    }
    struct arm_http_inner *in = inner_of(h, c);
    c->reply = arm_reply_new();
    in->easy = take_handle(h, c);
    in->started = clock_mono(h->cfg.clock);
    set_call(in);
    open_list_add(h, in);
    if (curl_multi_add_handle(h->multi, in->easy) != CURLM_OK)
        abort(); /* only for a handle that is in use: a bug of ours, or no memory */
}

static void wipe_headers(struct curl_slist *list)
{
    for (struct curl_slist *s = list; s; s = s->next)
        explicit_bzero(s->data, strlen(s->data));
    curl_slist_free_all(list);
}

/* Takes the transfer out of the loop and hands its reply over. The call may be gone after this. */
static void finish(struct arm_http *h, struct arm_http_inner *in)
{
    struct arm_http_call *c = in->call;
    c->reply->duration_ms = clock_mono(h->cfg.clock) - in->started;
    curl_multi_remove_handle(h->multi, in->easy);
    open_list_remove(h, in);
    give_handle(h, in);
    wipe_headers(in->headers);
    buf_free(&in->body);
    free(in);
    c->inner = NULL;
    c->done(c);
}

enum arm_failure arm_http_failure(CURLcode code, bool sent)
{
    switch ((int)code) {
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return ARM_FAIL_REFUSED;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
        return ARM_FAIL_TLS;
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
        return ARM_FAIL_CONNECT;
    case CURLE_OPERATION_TIMEDOUT:
        return sent ? ARM_FAIL_TIMEOUT : ARM_FAIL_CONNECT;
    default:
        return sent ? ARM_FAIL_BROKEN : ARM_FAIL_CONNECT;
    }
}

static enum arm_failure failure_of(const struct arm_http_inner *in, CURLcode code)
{
    curl_off_t pretransfer = 0;
    curl_easy_getinfo(in->easy, CURLINFO_PRETRANSFER_TIME_T, &pretransfer);
    return in->too_large ? ARM_FAIL_TOO_LARGE : arm_http_failure(code, pretransfer != 0);
}

static void complete(struct arm_http *h, struct arm_http_inner *in, CURLcode code)
{
    struct arm_reply *r = in->call->reply;
    long status = 0;
    long opened = 0;
    curl_easy_getinfo(in->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(in->easy, CURLINFO_NUM_CONNECTS, &opened);
    h->connections += (uint64_t)opened;
    if (code == CURLE_OK) {
        r->status = (int)status;
        r->body = BYTES(arena_strndup(r->arena, in->body.data ? in->body.data : "", in->body.len),
                        in->body.len);
    } else {
        arm_header_reset(r);
        r->failure = failure_of(in, code);
        arm_text_copy(r->detail, sizeof r->detail,
                      in->error[0] ? in->error : curl_easy_strerror(code));
    }
    finish(h, in);
}

static void collect(struct arm_http *h)
{
    int left;
    CURLMsg *m;
    while ((m = curl_multi_info_read(h->multi, &left))) {
        char *in = NULL;
        CURLcode code = m->data.result;
        if (m->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &in);
        complete(h, (struct arm_http_inner *)(void *)in, code);
    }
}

static void drain(int fd)
{
    uint64_t n;
    while (read(fd, &n, sizeof n) < 0 && errno == EINTR)
        ;
}

static void handle_event(struct arm_http *h, const struct epoll_event *ev)
{
    int running;
    if (ev->data.fd == h->event) {
        drain(h->event);
        return;
    }
    if (ev->data.fd == arm_wire_fd(h->wire))
        return; /* it has its turn anyway */
    int what = (ev->events & (EPOLLIN | EPOLLHUP) ? CURL_CSELECT_IN : 0) |
               (ev->events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
               (ev->events & EPOLLERR ? CURL_CSELECT_ERR : 0);
    curl_multi_socket_action(h->multi, ev->data.fd, what, &running);
}

static void run_timer(struct arm_http *h)
{
    int running;
    h->timer = INT64_MAX; /* curl sets it again where it has more to do */
    curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
}

void arm_http_turn(struct arm_http *h, int64_t until)
{
    struct epoll_event events[EVENTS_MAX];
    int64_t at = h->wire_at < until ? h->wire_at : until;
    int64_t wait = clock_real_ms(h->cfg.clock, at - clock_mono(h->cfg.clock));
    if (h->timer != INT64_MAX && h->timer - clock_mono(&clock_system) < wait)
        wait = h->timer - clock_mono(&clock_system);
    if (wait < 0)
        wait = 0;
    int n = epoll_wait(h->epoll, events, EVENTS_MAX, wait > 60000 ? 60000 : (int)wait);
    for (int i = 0; i < n; i++)
        handle_event(h, &events[i]);
    if (h->timer != INT64_MAX && h->timer <= clock_mono(&clock_system))
        run_timer(h);
    collect(h);
    h->wire_at = arm_wire_turn(h->wire);
}

void arm_http_abort(struct arm_http *h)
{
    while (h->open) {
        struct arm_reply *r = h->open->call->reply;
        arm_header_reset(r);
        r->failure = ARM_FAIL_STOPPED;
        snprintf(r->detail, sizeof r->detail, "the client was stopped");
        finish(h, h->open);
    }
    arm_wire_abort(h->wire);
}

void arm_http_wake(struct arm_http *h)
{
    const uint64_t one = 1;
    while (write(h->event, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

uint64_t arm_http_connections(const struct arm_http *h)
{
    return h->connections + arm_wire_connections(h->wire);
}
