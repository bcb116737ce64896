/*
 * Kept replies: a client that polls gets the same reply again and again, but for the ids in its
 * headers. Making libmicrohttpd's object of a reply costs as much as everything else it does for a
 * request, so each connection keeps the last one, and where status, headers and body are the same,
 * byte by byte, only the ids are exchanged. Only replies with an ETag, which are made to be asked for
 * again, and never hold a secret that is shown once.
 *
 * Where a request comes again as it was, but for its ids, the same reply is given without parsing, routing and asking the
 * handler, once the latter says that what the reply rests on still stands. The second and the third time
 * the handler is asked, so that a client that asks for several things in turn pays nothing for this.
 */
#include "server/http_impl.h"

#include <strings.h>

#define BODY_MAX (8 * 1024)

/* Whether this reply may be given without asking the handler. */
enum memo {
    MEMO_NONE, /* was given once */
    MEMO_DUE,  /* was given twice in a row: what the next request is like is to be remembered */
    MEMO_KEPT, /* `digest` is that of the head, `memo` the handler's */
    MEMO_OFF,  /* requests differ though their replies do not: it is not tried any more */
};

#define IDS_MAX 2
#define ID_SIZE 72

struct http_kept {
    struct MHD_Response *response;
    int status;
    char *ids[IDS_MAX]; /* the values in it, in the order of the reply's headers */
    enum memo state;
    uint8_t digest[SHA256_SIZE];
    void *memo;
    size_t head, body; /* bytes of each in data; the head: http_reply_lines */
    char data[];
};

static bool may_keep(const struct http_link *l)
{
    const struct http_exchange *x = &l->x;
    size_t ids = 0;
    bool etag = false;
    if (x->stream || !x->out || x->out->len > BODY_MAX || !x->content_type || l->close ||
        atomic_load_explicit(&l->http->draining, memory_order_relaxed))
        return false;
    for (size_t i = 0; i < x->n_headers; i++) {
        etag = etag || strcasecmp(x->headers[i].name, "ETag") == 0;
        ids += x->headers[i].changes;
        if (x->headers[i].changes && strlen(x->headers[i].value) >= ID_SIZE)
            return false;
    }
    return etag && ids <= IDS_MAX;
}

static bool same(const struct http_kept *k, int status, struct bytes head, const struct buf *body)
{
    return k && k->status == status && k->head == head.len && k->body == body->len &&
           memcmp(k->data, head.data, head.len) == 0 &&
           (!body->len || memcmp(k->data + head.len, body->data, body->len) == 0);
}

static struct http_kept *make(const struct http_link *l, int status, struct bytes head)
{
    const struct buf *body = l->x.out;
    struct http_kept *k = malloc(sizeof *k + head.len + body->len);
    void *memo = calloc(1, l->http->handler.memo_size);
    if (!k || !memo)
        abort();
    *k = (struct http_kept){.status = status, .memo = memo, .head = head.len, .body = body->len};
    memcpy(k->data, head.data, head.len);
    if (body->len)
        memcpy(k->data + head.len, body->data, body->len);
    k->response =
        MHD_create_response_from_buffer(body->len, k->data + head.len, MHD_RESPMEM_PERSISTENT);
    if (!k->response)
        abort();
    http_reply_fill(l, k->response, head);
    return k;
}

/* Adds the header, instead of the one with *id where there is one; *id is then the library's copy. */
static void add_id(struct MHD_Response *r, const char *name, const char *value, char **id)
{
    char former[ID_SIZE];
    if (*id) {
        snprintf(former, sizeof former, "%s", *id); /* which is about to be freed */
        if (MHD_del_response_header(r, name, former) != MHD_YES)
            abort();
    }
    http_reply_add(r, name, value);
    *id = (char *)(uintptr_t)MHD_get_response_header(r, name);
}

/* This exchange's ids instead of those of the one before. Those of the same length are written over the
 * library's copy: it has no call for that, and to take one away and add another costs it four
 * allocations. It reads them when a reply is queued, all on the connection's thread. */
static void exchange_ids(struct http_kept *k, const struct http_exchange *x)
{
    size_t n = 0;
    for (size_t i = 0; i < x->n_headers; i++) {
        if (!x->headers[i].changes)
            continue;
        char **id = &k->ids[n++];
        const char *value = x->headers[i].value;
        size_t len = strlen(value);
        if (*id && strlen(*id) == len)
            memcpy(*id, value, len);
        else
            add_id(k->response, x->headers[i].name, value, id);
    }
}

/*
 * Digests only: no token stays in memory, and how long a comparison takes tells nothing of one. The
 * target's length is part of it, since the library cuts the target at its question mark as it cuts the
 * line at its blanks. Values of ids are not: they are this exchange's fields, for the handler to look at.
 */
static bool digest(struct http_link *l, struct bytes head)
{
    struct guard_cut cut;
    struct guard_head *fields = &l->x.head;
    const size_t target = strlen(l->x.target);
    struct bytes parts[1 + ARRAY_LEN(cut.parts)] = {BYTES(&target, sizeof target)};
    if (!guard_cut(head, target, l->http->handler.ids, &cut))
        return false;
    memcpy(parts + 1, cut.parts, cut.n_parts * sizeof *parts);
    sha256_parts(parts, 1 + cut.n_parts, l->digest);
    memcpy(fields->fields, cut.ids, cut.n_ids * sizeof *fields->fields);
    fields->n_fields = cut.n_ids;
    return true;
}

static bool same_head(const struct http_kept *k, const struct http_link *l)
{
    return memcmp(k->digest, l->digest, sizeof k->digest) == 0;
}

/* The reply of this exchange is the one that is kept. */
static void remember(struct http_kept *k, const struct http_link *l)
{
    const struct http_handler *handler = &l->http->handler;
    if (k->state == MEMO_NONE)
        k->state = MEMO_DUE;
    if (k->state == MEMO_OFF || !l->digested)
        return;
    bool other = k->state == MEMO_KEPT && !same_head(k, l);
    bool keep = !other && handler->remember(handler->ctx, &l->x, k->memo);
    k->state = keep ? MEMO_KEPT : MEMO_OFF;
    memcpy(k->digest, l->digest, sizeof k->digest);
}

int http_kept_again(struct http_link *l, struct bytes head)
{
    const struct http_handler *handler = &l->http->handler;
    struct http_kept *k = l->connection->kept;
    if (!k || k->state == MEMO_NONE || k->state == MEMO_OFF || atomic_load(&l->http->draining))
        return 0;
    l->digested = digest(l, head);
    if (!l->digested || k->state == MEMO_DUE || !same_head(k, l))
        return 0;
    return handler->again(handler->ctx, &l->x, k->memo) ? k->status : 0;
}

struct MHD_Response *http_kept_response(struct http_link *l, int status)
{
    struct connection *c = l->connection;
    if (l->again) {
        exchange_ids(c->kept, &l->x);
        return c->kept->response;
    }
    if (!may_keep(l))
        return NULL;
    const struct bytes head = http_reply_lines(l, false);
    if (same(c->kept, status, head, l->x.out)) {
        remember(c->kept, l);
    } else {
        http_kept_free(c);
        c->kept = make(l, status, head);
    }
    exchange_ids(c->kept, &l->x);
    return c->kept->response;
}

void http_kept_free(struct connection *c)
{
    if (!c->kept)
        return;
    MHD_destroy_response(c->kept->response);
    free(c->kept->memo);
    free(c->kept);
    c->kept = NULL;
}
