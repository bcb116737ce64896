/*
 * Kept replies: a client that polls gets the same reply again and again, but for the ids in its
 * headers. Making libmicrohttpd's object of a reply costs as much as everything else it does for a
 * request, so each connection keeps the last one, and where status, headers and body are the same,
 * byte by byte, only the ids are exchanged. Only replies with an ETag, which are made to be asked for
 * again, and never hold a secret that is shown once.
 */
#include "server/http_impl.h"

#include <strings.h>

#define BODY_MAX (8 * 1024)
#define IDS_MAX  2
#define ID_SIZE  72

struct http_kept {
    struct MHD_Response *response;
    int status;
    char ids[IDS_MAX][ID_SIZE]; /* in it, in the order of the reply's headers */
    size_t head, body;          /* bytes of each in data */
    char data[];
};

/* The headers that stay, as one text: "name\nvalue\n" for each. */
static struct bytes head_text(const struct http_exchange *x)
{
    size_t n = 0;
    for (size_t i = 0; i < x->n_headers; i++)
        if (!x->headers[i].changes)
            n += strlen(x->headers[i].name) + strlen(x->headers[i].value) + 2;
    n += strlen(x->content_type) + 1;
    char *text = arena_alloc(x->arena, n), *at = stpcpy(text, x->content_type);
    for (size_t i = 0; i < x->n_headers; i++) {
        if (x->headers[i].changes)
            continue;
        *at++ = '\n';
        at = stpcpy(at, x->headers[i].name);
        *at++ = '\n';
        at = stpcpy(at, x->headers[i].value);
    }
    return BYTES(text, (size_t)(at - text));
}

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
    if (!k)
        abort();
    *k = (struct http_kept){.status = status, .head = head.len, .body = body->len};
    memcpy(k->data, head.data, head.len);
    if (body->len)
        memcpy(k->data + head.len, body->data, body->len);
    k->response =
        MHD_create_response_from_buffer(body->len, k->data + head.len, MHD_RESPMEM_PERSISTENT);
    if (!k->response)
        abort();
    http_reply_fill(l, k->response, false);
    return k;
}

/* This exchange's ids instead of those of the one before. */
static void exchange_ids(struct http_kept *k, const struct http_exchange *x)
{
    size_t n = 0;
    for (size_t i = 0; i < x->n_headers; i++) {
        if (!x->headers[i].changes)
            continue;
        char *id = k->ids[n++];
        const char *name = x->headers[i].name, *value = x->headers[i].value;
        if (*id && MHD_del_response_header(k->response, name, id) != MHD_YES)
            abort();
        memcpy(id, value, strlen(value) + 1);
        http_reply_add(k->response, name, value);
    }
}

struct MHD_Response *http_kept_response(struct http_link *l, int status)
{
    struct connection *c = l->connection;
    if (!may_keep(l))
        return NULL;
    const struct bytes head = head_text(&l->x);
    if (!same(c->kept, status, head, l->x.out)) {
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
    free(c->kept);
    c->kept = NULL;
}
