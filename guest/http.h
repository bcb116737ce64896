/*
 * The agent's HTTP client: one request at a time over libcurl, bounded in time and size.
 *
 * TLS is verified against the given CA file or the system's. Redirects are not followed: the
 * gateway and IMDS send none, and a redirect would carry the evidence elsewhere. One thread.
 */
#ifndef GUEST_HTTP_H
#define GUEST_HTTP_H

#include "core/arena.h"
#include "core/err.h"

#define GUEST_HTTP_HEADERS_MAX  4
#define GUEST_HTTP_RESPONSE_MAX (256u * 1024)

struct guest_http;

struct guest_http_request {
    const char *url;
    const char *content_type; /* NULL: GET, otherwise POST of `body` */
    struct bytes body;
    const char *headers[GUEST_HTTP_HEADERS_MAX]; /* "Name: value", up to the first NULL */
    bool direct;                                 /* never through a proxy (IMDS) */
    long timeout_ms;
};

struct guest_http_response {
    long status;
    int64_t retry_after_ms; /* from Retry-After; 0: none */
    struct bytes body;      /* in the arena, NUL after its end */
};

/* `ca_file` may be NULL. `stop` is asked several times a second while a request runs; true aborts
 * it. The caller frees. */
enum err guest_http_new(const char *ca_file, bool (*stop)(void), struct guest_http **out,
                        struct err_info *e) MUST_CHECK;
void guest_http_free(struct guest_http *h); /* NULL is fine */

/* OK with any status. ERR_UNAVAILABLE: no answer; ERR_CANCELED: stopped; ERR_BODY_TOO_LARGE. */
enum err guest_http_send(struct guest_http *h, const struct guest_http_request *r, struct arena *a,
                         struct guest_http_response *out, struct err_info *e) MUST_CHECK;

/* True for https, and for http to a loopback host, with nothing but scheme, host, port and path. */
bool guest_http_url_allowed(const char *url);

#endif
