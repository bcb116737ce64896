#include "arm/wire.h"

#include "arm/frame.h"
#include "arm/header.h"
#include "arm/http_curl.h"
#include "arm/text.h"
#include "arm/url.h"
#include "core/cleanup.h"

#include <sys/epoll.h>
#include <unistd.h>

#define LINKS_MAX      32
#define EVENTS_MAX     64
#define READ_BYTES     4096
#define IDLE_MS        100000 /* front ends forget a silent connection after some minutes */
#define CONNECT_RUN_MS 5      /* how often a connection that is being made is looked at */

/* A call on its way: in the queue, or on a link. */
struct arm_wire_call {
    struct arm_http_call *call;
    struct buf head; /* the request; holds the token */
    int64_t started, deadline;
    bool again; /* a kept connection lost it */
    struct arm_wire_call *next;
};

enum link_state { LINK_CONNECTING, LINK_IDLE, LINK_BUSY, LINK_DEAD };

struct link {
    struct arm_wire *wire;
    enum link_state state;
    CURLM *multi; /* only to connect without waiting */
    CURL *easy;
    int fd; /* -1 until it is connected */
    char origin[300];
    char error[CURL_ERROR_SIZE];
    int64_t used_at;
    bool used; /* it has answered before */
    bool watches_out;
    struct arm_wire_call *call;
    size_t sent;
    struct buf in, joined;
    struct link *next;
};

struct arm_wire {
    struct arm_http_config cfg;
    int epoll;
    struct link *links;
    unsigned n_links;
    struct arm_wire_call *queue, **queue_end;
    uint64_t connections;
};

static int64_t now_of(const struct arm_wire *w)
{
    return clock_mono(w->cfg.clock);
}

enum err arm_wire_new(const struct arm_http_config *cfg, struct arm_wire **out, struct err_info *e)
{
    struct arm_wire *w = calloc(1, sizeof *w);
    if (!w)
        abort();
    w->cfg = *cfg;
    w->queue_end = &w->queue;
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (w->epoll < 0) {
        free(w);
        return err_set(e, ERR_INTERNAL, "cannot set up the connections for polls");
    }
    *out = w;
    return OK;
}

int arm_wire_fd(const struct arm_wire *w)
{
    return w->epoll;
}

uint64_t arm_wire_connections(const struct arm_wire *w)
{
    return w->connections;
}

/* ---- calls ---- */

static struct arm_wire_call *inner_of(struct arm_http_call *c)
{
    if (!c->wire) {
        c->wire = calloc(1, sizeof *c->wire);
        if (!c->wire)
            abort();
        c->wire->call = c;
    }
    return c->wire;
}

void arm_wire_header(struct arm_http_call *c, const char *name, const char *value)
{
    struct buf *head = &inner_of(c)->head;
    buf_add_str(head, name);
    buf_add(head, ": ", 2);
    buf_add_str(head, value);
    buf_add(head, "\r\n", 2);
}

/* The call may be gone after this. */
static void finish(struct arm_wire *w, struct arm_wire_call *wc)
{
    struct arm_http_call *c = wc->call;
    c->reply->duration_ms = now_of(w) - wc->started;
    buf_free(&wc->head);
    free(wc);
    c->wire = NULL;
    c->done(c);
}

static void fail(struct arm_wire *w, struct arm_wire_call *wc, enum arm_failure why,
                 const char *detail)
{
    struct arm_reply *r = wc->call->reply;
    arm_header_reset(r);
    r->failure = why;
    arm_text_copy(r->detail, sizeof r->detail, detail);
    finish(w, wc);
}

/* ---- links ---- */

/* Freed at the end of the turn: its events may be under way. */
static void kill_link(struct link *l)
{
    if (l->fd >= 0)
        epoll_ctl(l->wire->epoll, EPOLL_CTL_DEL, l->fd, NULL);
    l->fd = -1;
    l->state = LINK_DEAD;
}

static void free_link(struct link *l)
{
    curl_multi_remove_handle(l->multi, l->easy);
    curl_easy_cleanup(l->easy);
    curl_multi_cleanup(l->multi);
    buf_free(&l->in);
    buf_free(&l->joined);
    l->wire->n_links--;
    free(l);
}

static void reap(struct arm_wire *w)
{
    for (struct link **at = &w->links; *at;) {
        struct link *l = *at;
        if (l->state != LINK_DEAD) {
            at = &l->next;
            continue;
        }
        *at = l->next;
        free_link(l);
    }
}

static void open_link(struct arm_wire *w, const struct arm_wire_call *wc, size_t origin_len)
{
    struct link *l = calloc(1, sizeof *l);
    if (!l)
        abort();
    l->wire = w;
    l->fd = -1;
    l->multi = curl_multi_init();
    l->easy = curl_easy_init();
    if (!l->multi || !l->easy)
        abort();
    snprintf(l->origin, sizeof l->origin, "%.*s", (int)origin_len, wc->call->url);
    arm_http_set_up(&w->cfg, l->easy, wc->call);
    curl_easy_setopt(l->easy, CURLOPT_ERRORBUFFER, l->error);
    curl_easy_setopt(l->easy, CURLOPT_URL, l->origin);
    curl_easy_setopt(l->easy, CURLOPT_CONNECT_ONLY, 1L);
    if (curl_multi_add_handle(l->multi, l->easy) != CURLM_OK)
        abort();
    l->next = w->links;
    w->links = l;
    w->n_links++;
}

static bool is_of(const struct link *l, const struct arm_wire_call *wc)
{
    const char *url = wc->call->url;
    size_t n = strlen(l->origin);
    return strncasecmp(l->origin, url, n) == 0 && (!url[n] || strchr("/?#", url[n]));
}

/* The one used last: those that are too many grow old. What a kept connection lost has a new one. */
static struct link *idle_link(const struct arm_wire *w, const struct arm_wire_call *wc)
{
    struct link *found = NULL;
    for (struct link *l = w->links; l; l = l->next)
        if (l->state == LINK_IDLE && !(wc->again && l->used) && is_of(l, wc) &&
            (!found || l->used_at > found->used_at))
            found = l;
    return found;
}

static void watch(struct link *l, bool out)
{
    struct epoll_event ev = {.events = EPOLLIN | (out ? (uint32_t)EPOLLOUT : 0u), .data.ptr = l};
    bool known = l->state != LINK_CONNECTING;
    if (epoll_ctl(l->wire->epoll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, l->fd, &ev) != 0)
        abort(); /* only for a descriptor that is not ours any more */
    l->watches_out = out;
}

/* ---- a link and its call ---- */

static void queue_call(struct arm_wire *w, struct arm_wire_call *wc)
{
    wc->next = NULL;
    *w->queue_end = wc;
    w->queue_end = &wc->next;
}

/* The peer has closed one that was kept: so it will have the others. */
static void kill_idle(struct arm_wire *w)
{
    for (struct link *l = w->links; l; l = l->next)
        if (l->state == LINK_IDLE)
            kill_link(l);
}

/* Whatever happened, the connection is worth nothing any more. */
static void lose(struct link *l, enum arm_failure why, const char *detail)
{
    struct arm_wire_call *wc = TAKE(l->call);
    bool stale = l->used && l->in.len == 0 && why == ARM_FAIL_BROKEN;
    kill_link(l);
    if (!wc)
        return;
    if (stale && !wc->again) {
        wc->again = true;
        kill_idle(l->wire);
        queue_call(l->wire, wc);
        return;
    }
    fail(l->wire, wc, why, detail);
}

static void send_head(struct link *l)
{
    const struct buf *head = &l->call->head;
    while (l->sent < head->len) {
        size_t n = 0;
        CURLcode rc = curl_easy_send(l->easy, head->data + l->sent, head->len - l->sent, &n);
        if (rc == CURLE_AGAIN)
            break;
        if (rc != CURLE_OK) {
            lose(l, ARM_FAIL_BROKEN, curl_easy_strerror(rc));
            return;
        }
        l->sent += n;
    }
    if (l->watches_out != (l->sent < head->len))
        watch(l, l->sent < head->len);
    if (l->sent == head->len && l->call->call->sent)
        l->call->call->sent();
}

static void begin(struct link *l, struct arm_wire_call *wc)
{
    l->state = LINK_BUSY;
    l->call = wc;
    l->sent = 0;
    send_head(l);
}

static void answered(struct link *l, struct arm_frame *f)
{
    struct arm_wire *w = l->wire;
    struct arm_wire_call *wc = TAKE(l->call);
    struct arm_reply *r = wc->call->reply;
    int64_t wall = clock_wall(w->cfg.clock);
    struct bytes line;
    r->status = f->status;
    while (arm_frame_line(&f->head, &line))
        arm_header_add(r, line, wall);
    r->body =
        BYTES(arena_strndup(r->arena, f->body.data ? (const char *)f->body.data : "", f->body.len),
              f->body.len);
    buf_reset(&l->in);
    buf_reset(&l->joined);
    l->used = true;
    l->used_at = now_of(w);
    l->state = LINK_IDLE;
    if (!f->keep || l->sent < wc->head.len)
        kill_link(l);
    finish(w, wc);
}

/* False: nothing more to read now. */
static bool read_some(struct link *l)
{
    size_t n = 0;
    char *to = buf_reserve(&l->in, READ_BYTES);
    CURLcode rc = curl_easy_recv(l->easy, to, READ_BYTES, &n);
    if (rc == CURLE_AGAIN)
        return false;
    if (rc != CURLE_OK || n == 0) {
        lose(l, ARM_FAIL_BROKEN, rc ? curl_easy_strerror(rc) : "the connection was closed");
        return false;
    }
    l->in.len += n;
    return true;
}

static void read_answer(struct link *l)
{
    struct arm_frame f;
    size_t most = l->call->call->body_max ? l->call->call->body_max : ARM_BODY_MAX;
    while (read_some(l)) {
        enum arm_frame_state state = arm_frame_read(buf_bytes(&l->in), most, &l->joined, &f);
        if (state == ARM_FRAME_DONE) {
            answered(l, &f);
            return;
        }
        /* Chunks of a byte each may be six times what they hold: nobody sends such. */
        if (state == ARM_FRAME_LARGE || l->in.len > most + ARM_FRAME_HEAD_MAX) {
            lose(l, ARM_FAIL_TOO_LARGE, "the answer is too large");
            return;
        }
        if (state == ARM_FRAME_BROKEN) {
            lose(l, ARM_FAIL_BROKEN, "the answer cannot be read");
            return;
        }
    }
}

static void ready(struct link *l, uint32_t events)
{
    if (l->state == LINK_IDLE) {
        kill_link(l); /* closed, or it says what nobody asked for */
        return;
    }
    if (l->state == LINK_BUSY && events & EPOLLOUT)
        send_head(l);
    if (l->state == LINK_BUSY && events & ~(uint32_t)EPOLLOUT)
        read_answer(l);
}

/* ---- connecting ---- */

static struct arm_wire_call *unqueue(struct arm_wire *w, const struct link *l)
{
    struct arm_wire_call **at = &w->queue;
    while (*at && l && !is_of(l, *at))
        at = &(*at)->next;
    struct arm_wire_call *wc = *at;
    if (!wc)
        return NULL;
    *at = wc->next;
    if (!*at)
        w->queue_end = at;
    return wc;
}

/* The first that waits for such a one is told: there may be no other to wait for. */
static void connect_failed(struct link *l, CURLcode code)
{
    struct arm_wire *w = l->wire;
    struct arm_wire_call *wc = unqueue(w, l);
    kill_link(l);
    if (!wc)
        return;
    fail(w, wc, arm_http_failure(code, false), l->error[0] ? l->error : curl_easy_strerror(code));
}

static void run_connect(struct link *l)
{
    int running, left;
    curl_multi_perform(l->multi, &running);
    CURLMsg *m = curl_multi_info_read(l->multi, &left);
    if (!m || m->msg != CURLMSG_DONE)
        return;
    curl_socket_t fd = CURL_SOCKET_BAD;
    CURLcode code = m->data.result;
    if (code == CURLE_OK)
        code = curl_easy_getinfo(l->easy, CURLINFO_ACTIVESOCKET, &fd);
    if (code != CURLE_OK || fd == CURL_SOCKET_BAD) {
        connect_failed(l, code ? code : CURLE_COULDNT_CONNECT);
        return;
    }
    l->wire->connections++;
    l->fd = fd;
    watch(l, false);
    l->state = LINK_IDLE;
    l->used_at = now_of(l->wire);
}

/* ---- the queue ---- */

static bool may_open(const struct arm_wire *w, unsigned waiting)
{
    unsigned connecting = 0;
    for (const struct link *l = w->links; l; l = l->next)
        connecting += l->state == LINK_CONNECTING;
    return w->n_links < LINKS_MAX && connecting < waiting;
}

/* Those of one origin go in turn; who finds no link lets others pass. */
static void serve_queue(struct arm_wire *w)
{
    unsigned waiting = 0;
    int64_t now = now_of(w);
    struct arm_wire_call *all = w->queue, *next;
    w->queue = NULL;
    w->queue_end = &w->queue;
    for (struct arm_wire_call *wc = all; wc; wc = next) {
        struct arm_origin origin;
        next = wc->next;
        if (now >= wc->deadline) {
            fail(w, wc, ARM_FAIL_CONNECT, "no connection in time");
            continue;
        }
        arm_origin_parse(wc->call->url, &origin);
        struct link *l = idle_link(w, wc);
        if (l) {
            begin(l, wc);
            continue;
        }
        queue_call(w, wc);
        if (may_open(w, ++waiting))
            open_link(w, wc, origin.len);
    }
}

static void add_target(struct buf *head, const char *path)
{
    if (*path != '/')
        buf_add_char(head, '/');
    buf_add(head, path, strcspn(path, "#"));
}

void arm_wire_start(struct arm_wire *w, struct arm_http_call *c)
{
    struct arm_wire_call *wc = inner_of(c);
    struct arm_origin origin;
    struct buf head = {0};
    arm_origin_parse(c->url, &origin); /* the caller has checked it */
    const char *authority = strstr(c->url, "://") + 3;
    buf_add_str(&head, "GET ");
    add_target(&head, c->url + origin.len);
    buf_add_str(&head, " HTTP/1.1\r\nHost: ");
    buf_add(&head, authority, (size_t)(c->url + origin.len - authority));
    buf_add_str(&head, "\r\nUser-Agent: ");
    buf_add_str(&head, w->cfg.user_agent);
    buf_add_str(&head, "\r\n");
    buf_add(&head, wc->head.data, wc->head.len);
    buf_add_str(&head, "\r\n");
    buf_free(&wc->head);
    wc->head = head;
    c->reply = arm_reply_new();
    wc->started = now_of(w);
    wc->deadline = wc->started + c->timeout_ms;
    struct link *l = idle_link(w, wc);
    if (l)
        begin(l, wc);
    else
        queue_call(w, wc);
}

/* ---- the turn ---- */

static void look_after(struct link *l, int64_t now)
{
    if (l->state == LINK_CONNECTING)
        run_connect(l);
    else if (l->state == LINK_BUSY && now >= l->call->deadline)
        lose(l, ARM_FAIL_TIMEOUT, "no answer in time");
    else if (l->state == LINK_IDLE && now - l->used_at > IDLE_MS)
        kill_link(l);
}

static int64_t next_look(const struct arm_wire *w, int64_t now)
{
    int64_t at = now + IDLE_MS;
    for (const struct link *l = w->links; l; l = l->next) {
        int64_t link_at = l->state == LINK_CONNECTING ? now + CONNECT_RUN_MS
                          : l->state == LINK_BUSY     ? l->call->deadline
                                                      : l->used_at + IDLE_MS + 1;
        at = link_at < at ? link_at : at;
    }
    for (const struct arm_wire_call *wc = w->queue; wc; wc = wc->next)
        at = wc->deadline < at ? wc->deadline : at;
    return at;
}

int64_t arm_wire_turn(struct arm_wire *w)
{
    struct epoll_event events[EVENTS_MAX];
    int n = w->links ? epoll_wait(w->epoll, events, EVENTS_MAX, 0) : 0;
    for (int i = 0; i < n; i++) {
        struct link *l = events[i].data.ptr;
        if (l->state != LINK_DEAD)
            ready(l, events[i].events);
    }
    int64_t now = now_of(w);
    for (struct link *l = w->links; l; l = l->next)
        look_after(l, now);
    serve_queue(w);
    reap(w);
    return next_look(w, now);
}

void arm_wire_abort(struct arm_wire *w)
{
    static const char why[] = "the client was stopped";
    for (struct link *l = w->links; l; l = l->next) {
        struct arm_wire_call *wc = TAKE(l->call);
        kill_link(l);
        if (wc)
            fail(w, wc, ARM_FAIL_STOPPED, why);
    }
    for (struct arm_wire_call *wc; (wc = unqueue(w, NULL));)
        fail(w, wc, ARM_FAIL_STOPPED, why);
    reap(w);
}

void arm_wire_free(struct arm_wire *w)
{
    if (!w)
        return;
    arm_wire_abort(w);
    close(w->epoll);
    free(w);
}
