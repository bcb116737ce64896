/*
 * HTTP for the emulator: a listener, a request with its whole body, a reply.
 *
 * One thread per connection, so a handler may block (a delayed answer, a vTPM's manufacture). The
 * only user of libmicrohttpd in this folder.
 */
#ifndef EMULATOR_HTTP_H
#define EMULATOR_HTTP_H

#include "core/arena.h"
#include "core/buf.h"
#include "core/err.h"
#include "core/json.h"

#define HTTP_BODY_MAX    (4 << 20) /* ARM's own limit */
#define HTTP_HEADERS_MAX 32

struct http_request {
    const char *method;
    const char *path; /* percent-decoded, without the query */
    const char *url;  /* the request target as it was sent */
    struct bytes body;
    bool body_too_large; /* more than HTTP_BODY_MAX came; body is empty */
    struct arena *arena; /* freed once the reply is sent */
    void *connection;
};

struct http_response {
    int status;
    const char
        *media; /* Content-Type; NULL: application/json; charset=utf-8 where there is a body */
    struct buf body;
    bool drop; /* close the connection instead of answering */
    unsigned n_headers;
    struct {
        const char *name;
        const char *value;
    } headers[HTTP_HEADERS_MAX];
    struct arena *arena; /* the request's */
};

typedef void http_handle_fn(void *ctx, const struct http_request *req, struct http_response *resp);

struct http_options {
    const char *address;  /* "127.0.0.1:PORT" */
    const char *tls_cert; /* PEM text; NULL: plain HTTP */
    const char *tls_key;
    http_handle_fn *handle; /* called by many threads at once */
    void *ctx;
};

struct http_listener;

/* Binds and serves. ERR_CONFIG where the address is not loopback or not free. */
enum err http_listen(const struct http_options *o, struct http_listener **out,
                     struct err_info *e) MUST_CHECK;
unsigned http_port(const struct http_listener *l);
/* Waits for the calls under way. NULL is fine. */
void http_close(struct http_listener *l);

/* Values live as long as the request; NULL where absent. Names are compared without case. */
const char *http_header(const struct http_request *req, const char *name);
const char *http_query(const struct http_request *req, const char *name);
/* Every header, names in lower case, as a new object. */
json_t *http_headers(const struct http_request *req);
/* The fields of an application/x-www-form-urlencoded body as a new object of strings. */
json_t *http_form(const struct http_request *req);

void http_add_header(struct http_response *resp, const char *name, const char *fmt, ...)
    PRINTF(3, 4);
/* Writes `body`, which it takes, and sets the status. */
void http_reply_json(struct http_response *resp, int status, json_t *body);

#endif
