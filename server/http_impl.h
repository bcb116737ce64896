/* Shared by the files http*.c only. */
#ifndef SERVER_HTTP_IMPL_H
#define SERVER_HTTP_IMPL_H

#include "core/clock.h"
#include "core/sha256.h"
#include "server/http.h"
#include "server/peer.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

enum phase {
    PHASE_NEW,   /* accepted; handshake and head are due within head_ms */
    PHASE_HEAD,  /* the request line is there, the rest of the head is due */
    PHASE_BODY,  /* the body comes with a minimum rate */
    PHASE_REPLY, /* ours to work; MHD's idle timeout watches the writing */
    PHASE_IDLE,  /* kept alive */
};

#define HTTP_BODIES_MAX 64

/* One TCP connection. Linked under http->lock. */
struct connection {
    struct http *http;
    struct connection *prev, *next;
    int fd;
    _Atomic int64_t phase_since; /* one word, so that the reaper sees both of one moment */
    _Atomic int64_t received;    /* bytes of the body */
    bool reaped;                 /* the reaper's own */
    struct http_kept *kept;      /* http_kept.c: the last reply, of the connection's thread */
    struct peer peer;
};

/* One exchange with what the library needs to know of it. */
struct http_link {
    struct http *http;
    struct MHD_Connection *mhd;
    struct connection *connection;
    struct http_link *next_spare;
    bool seen;     /* the first call was made */
    bool engaged;  /* the handler knows of it: done() is due */
    bool pending;  /* resumed() is next */
    bool digested; /* `digest` is that of the head */
    uint8_t digest[SHA256_SIZE];
    int again;  /* status of the kept reply that is this request's as well; 0: none */
    int early;  /* status of the reply that is due when the body was swallowed; 0: none */
    bool close; /* after the reply */
    int64_t swallowed;
    struct http_stream *stream;
    struct http_exchange x;
};

struct http {
    struct http_config config;
    struct http_handler handler;
    int listen_fd; /* while the daemon has it not: before, and once it is drained */
    struct MHD_Daemon *daemon;
    bool tls;
    struct http_tls *pair; /* of the thread that opens, reloads and stops */
    char *url;
    char *unix_path;
    atomic_bool draining;
    atomic_int in_flight;

    pthread_mutex_t spare_lock;
    struct http_link *spares; /* with arena and work of former exchanges */
    int n_spares;
    struct buf bodies[HTTP_BODIES_MAX]; /* wiped room of former bodies */
    int n_bodies;

    pthread_mutex_t lock; /* of all below */
    pthread_cond_t wake;
    pthread_t reaper;
    bool stopping;
    struct connection *connections;
    int n_connections;
    struct http_stream *streams;
};

/* http_listen.c: a listening socket, or -1 with the reason. Sets url, unix_path. */
int http_listen_open(struct http *h, struct err_info *e);
/* What can be said of the address without binding. */
enum err http_listen_check(const struct http *h, struct err_info *e);

/* http_tls.c: reads the files where there are any; from http_tls_use on handshakes find what was read. */
enum err http_tls_open(struct http *h, struct err_info *e);
void http_tls_use(struct http *h);
void http_tls_close(struct http *h);
void *http_tls_retrieve(void); /* the value of MHD_OPTION_HTTPS_CERT_CALLBACK */

/* http_reaper.c */
void http_reaper_start(struct http *h);
void http_reaper_stop(struct http *h);
void http_connection_event(void *cls, struct MHD_Connection *mhd, void **socket_context,
                           enum MHD_ConnectionNotificationCode code);
struct connection *http_connection_of(struct MHD_Connection *mhd);
void http_connection_phase(struct connection *c, enum phase phase, int64_t now);

/* http_link.c: an exchange begins with a link that is zero but for its arena and work. */
struct http_link *http_link_take(struct http *h);
void http_link_give(struct http_link *l);
void http_link_free_spares(struct http *h);

/* http_reply.c */
enum MHD_Result http_reply_send(struct http_link *l, int status);
/*
 * The headers of a reply as they go out, in the arena, those that change from one to the next only where told
 * so: the value of the first, then the others' lines. The library makes three allocations of each header
 * that it is given. So it gets one, and these lines are written over its copy of the value, which it sends as
 * it is.
 */
struct bytes http_reply_lines(const struct http_link *l, bool changing);
void http_reply_fill(const struct http_link *l, struct MHD_Response *r, struct bytes lines);
/* One more. */
void http_reply_add(struct MHD_Response *r, const char *name, const char *value);

/* http_kept.c: a response that is used again, or NULL where this reply is not of that kind. It is the
 * connection's; who queues it does not destroy it. */
struct MHD_Response *http_kept_response(struct http_link *l, int status);
/* First of all, with the head as the library left it: the status of the kept reply where it is this
 * request's as well, else 0. */
int http_kept_again(struct http_link *l, struct bytes head);
void http_kept_free(struct connection *c);

/* http_stream.c: the response that reads link->x.stream. */
struct MHD_Response *http_stream_open(struct http_link *l);
void http_stream_close(struct http_link *l);
/* With http->lock held: heartbeats that are due, or all streams when `ending`. */
void http_stream_tick(struct http *h, int64_t now, bool ending);

/* The library's own function, which http_reply.c stands in front of. */
enum MHD_Result http_reply_queue(struct MHD_Connection *mhd, int status, struct MHD_Response *r);

#endif
