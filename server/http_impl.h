/* Shared by the files http*.c only. */
#ifndef SERVER_HTTP_IMPL_H
#define SERVER_HTTP_IMPL_H

#include "core/clock.h"
#include "server/http.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>

enum phase {
    PHASE_NEW,   /* accepted; handshake and head are due within head_ms */
    PHASE_HEAD,  /* the request line is there, the rest of the head is due */
    PHASE_BODY,  /* the body comes with a minimum rate */
    PHASE_REPLY, /* ours to work; MHD's idle timeout watches the writing */
    PHASE_IDLE,  /* kept alive */
};

/* One TCP connection. Linked and changed under http->lock. */
struct connection {
    struct http *http;
    struct connection *prev, *next;
    int fd;
    enum phase phase;
    int64_t since;    /* of the phase, monotonic */
    int64_t received; /* bytes of the body */
    bool reaped;
    char peer[INET6_ADDRSTRLEN];
};

/* One exchange with what the library needs to know of it. */
struct http_link {
    struct http_exchange x;
    struct http *http;
    struct MHD_Connection *mhd;
    struct connection *connection;
    char *target;
    struct buf block;
    bool seen;    /* the first call was made */
    bool engaged; /* the handler knows of it: done() is due */
    bool pending; /* resumed() is next */
    int early;    /* status of the reply that is due when the body was swallowed; 0: none */
    bool close;   /* after the reply */
    int64_t swallowed;
    struct http_stream *stream;
};

struct http {
    struct http_config config;
    struct http_handler handler;
    int listen_fd; /* until the daemon has it */
    struct MHD_Daemon *daemon;
    bool tls;
    char *url;
    char *unix_path;
    char *cert;
    struct buf key;
    bool draining;

    pthread_mutex_t lock; /* of all below */
    pthread_cond_t wake;
    pthread_t reaper;
    bool stopping;
    struct connection *connections;
    int n_connections;
    int in_flight;
    struct http_stream *streams;
};

/* http_listen.c: a listening socket, or -1 with the reason. Sets url, unix_path. */
int http_listen_open(struct http *h, struct err_info *e);
/* What can be said of the address without binding. */
enum err http_listen_check(const struct http *h, struct err_info *e);

/* http_reaper.c */
void http_reaper_start(struct http *h);
void http_reaper_stop(struct http *h);
void http_connection_event(void *cls, struct MHD_Connection *mhd, void **socket_context,
                           enum MHD_ConnectionNotificationCode code);
struct connection *http_connection_of(struct MHD_Connection *mhd);
void http_connection_phase(struct connection *c, enum phase phase);

/* http_reply.c */
enum MHD_Result http_reply_send(struct http_link *l, int status);

/* http_stream.c: the response that reads link->x.stream. */
struct MHD_Response *http_stream_open(struct http_link *l);
void http_stream_close(struct http_link *l);
/* With http->lock held: heartbeats that are due, or all streams when `ending`. */
void http_stream_tick(struct http *h, int64_t now, bool ending);

/* The library's own function, which http_reply.c stands in front of. */
enum MHD_Result http_reply_queue(struct MHD_Connection *mhd, int status, struct MHD_Response *r);

#endif
