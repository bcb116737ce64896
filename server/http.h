/*
 * HTTP/1.1: the only user of libmicrohttpd (the files http*.c). It guards the request head, bounds
 * sizes and times, buffers bodies up to the handler's limit, and sends replies and streams. It
 * knows no routes and no credentials: an http_handler decides.
 *
 * Threads: a handler's functions run on server threads, one at a time for one exchange, and must
 * not block. http_resume may be called from any thread.
 */
#ifndef SERVER_HTTP_H
#define SERVER_HTTP_H

#include "core/arena.h"
#include "core/buf.h"
#include "core/err.h"
#include "server/guard.h"

struct http;
struct stream; /* handlers/call.h */

#define HTTP_REPLY_HEADERS_MAX 24
#define HTTP_REQUEST_ID_SIZE   40

/* One request and its reply. */
struct http_exchange {
    /* the request */
    const char *target; /* as it came, with the query; NUL-terminated */
    const char *peer;   /* the client's address without port; "unix" */
    const char *source; /* whom limits count it as: server/peer.h */
    bool tls;
    struct arena *arena; /* of this exchange: wiped after done() */
    struct buf body;     /* complete when the handler's body() runs */
    int64_t started;     /* monotonic, ms */
    int64_t ended;       /* the same, when done() is called */

    /* what the handler decides */
    size_t max_body; /* by head(); a longer body is refused with ERR_BODY_TOO_LARGE */
    bool known;      /* by whichever comes first: `work` belongs to this exchange */
    void *work;      /* work_size bytes: zeros, or as an earlier exchange's done() left them */

    /* the reply */
    struct buf *out; /* must live until done(); NULL: empty */
    const char *content_type;
    struct stream *stream; /* instead of `out` */
    int status;            /* 0 until there is a reply */
    size_t n_headers;
    struct {
        const char *name; /* live until done() */
        const char *value;
        bool changes; /* from reply to reply */
    } headers[HTTP_REPLY_HEADERS_MAX];

    struct http_link *link; /* http.c's own */
    struct guard_head head; /* of the request; last, since most of it is not used */
};

#define HTTP_GO_ON   0 /* head(): read the body, then call body() */
#define HTTP_PENDING 0 /* body(), resumed(): http_suspend was called; http_resume will follow */

struct http_handler {
    void *ctx;
    size_t work_size;
    void (*work_free)(void *work); /* what done() left in it */
    /* The head is well-formed. Returns HTTP_GO_ON, or the status of a reply that stands in *x. */
    int (*head)(void *ctx, struct http_exchange *x);
    int (*body)(void *ctx, struct http_exchange *x);
    int (*resumed)(void *ctx, struct http_exchange *x);
    /* The request was refused before head() or its body was too long: fill *x, return the status.
     */
    int (*refused)(void *ctx, struct http_exchange *x, const struct err_info *why);
    /*
     * Where a client asks the same again and again (server/http_kept.c). After body(), whose reply
     * stands in *x: fills `memo`, memo_size bytes, with what to look at before this reply is given again,
     * with other ids, to a request with the same head, byte by byte, on the same connection; false: it
     * may not be. And for such a request, instead of head() and body(): true where it is given, the ids
     * are set and done() is due, false where nothing was done.
     * The values of the request fields `ids` (in lower case) may be others: again() finds these fields
     * in x->head, and no more. It returns false for any that are not well-formed.
     */
    size_t memo_size;
    const char *ids[GUARD_IDS_MAX];
    bool (*remember)(void *ctx, const struct http_exchange *x, void *memo);
    bool (*again)(void *ctx, struct http_exchange *x, const void *memo);
    /* The reply is sent or the connection is gone. Not called where none of the above was. */
    void (*done)(void *ctx, struct http_exchange *x);
    /* libmicrohttpd itself refused a request with `status`; there is no exchange. Writes the
     * problem to `out`. */
    void (*unparsed)(void *ctx, int status, const char *peer, struct buf *out,
                     char request_id[HTTP_REQUEST_ID_SIZE]);
};

struct http_config {
    const char *listen;   /* "127.0.0.1:8443", "[::1]:0", "unix:/run/tlgate.sock" */
    const char *tls_cert; /* PEM files; both or none. None: loopback and UNIX sockets only */
    const char *tls_key;
    int threads;
    int connections_max;
    int connections_per_ip; /* 0: no limit */
    int64_t head_ms;        /* from accept, or from the request line, to the end of the head */
    int64_t idle_ms;        /* of a kept-alive connection, and of a stalled one */
    int64_t body_grace_ms;  /* before the minimum rate counts */
    int64_t body_bytes_per_s;
};

/* What http_open would refuse of the TLS files and the address; binds nothing. ERR_CONFIG. */
enum err http_check(const struct http_config *config, struct err_info *e) MUST_CHECK;
/* Reads the TLS files and binds, so that the URL is known; nothing is answered yet. ERR_CONFIG.
 * http_stop frees. */
enum err http_open(const struct http_config *config, struct http **out,
                   struct err_info *e) MUST_CHECK;
/* Serves from here on. ERR_CONFIG. */
enum err http_serve(struct http *h, const struct http_handler *handler,
                    struct err_info *e) MUST_CHECK;
/* Reads the TLS files again: new connections get what is in them. Where they cannot be used, ERR_CONFIG and all
 * stays. On the thread that opened. */
enum err http_reload(struct http *h, bool *changed, struct err_info *e) MUST_CHECK;
/* "https://127.0.0.1:8443" or "unix:/run/tlgate.sock"; lives as long as the server. */
const char *http_url(const struct http *h);
/* Accept nothing more, ask clients to close, end streams. */
void http_drain(struct http *h);
/* Requests that are not answered yet, streams included. */
int http_in_flight(struct http *h);
/* Connections that are open. */
int http_connections(struct http *h);
/* Closes all connections and frees. Where it served: only after http_drain and with nothing
 * suspended any more (http_in_flight is 0). NULL is fine. */
void http_stop(struct http *h);

const char *http_header(const struct http_exchange *x, const char *name); /* NULL where absent */
/* Beyond HTTP_REPLY_HEADERS_MAX: a defect, aborts. */
void http_reply_header(struct http_exchange *x, const char *name, const char *value);
/* The same for an id that no two replies share (server/http_kept.c). */
void http_reply_id(struct http_exchange *x, const char *name, const char *value);
/* Within head(): room for a body of so many bytes. */
void http_reserve_body(struct http_exchange *x, size_t n);
/* Within body() or resumed(): the body is not needed any more, and its room is free for the next one. It is
 * wiped where it may hold a secret. */
void http_drop_body(struct http_exchange *x, bool secret);
/* Within body() or resumed() only, before HTTP_PENDING is returned. */
void http_suspend(struct http_exchange *x);
/* resumed() will run; also where this comes before HTTP_PENDING was returned. Any thread. */
void http_resume(struct http_exchange *x);

#endif
