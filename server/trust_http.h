/*
 * Downloads from the addresses where Microsoft publishes the issuers of vTPM certificates, and from
 * nowhere else: an address comes from a certificate or a redirect, so it is anybody's. What arrives is
 * capped in size and time and proves nothing by itself. One thread at a time.
 */
#ifndef SERVER_TRUST_HTTP_H
#define SERVER_TRUST_HTTP_H

#include "core/buf.h"
#include "core/err.h"

#include <stdbool.h>

struct trust_http;

struct trust_http_options {
    const char *base_url; /* asked instead, as BASE/host/path: a mirror or a test; NULL: nobody */
    int64_t timeout_ms;   /* of one download */
    size_t size_max;      /* of its body, bytes */
};

/* The caller frees. */
struct trust_http *trust_http_new(const struct trust_http_options *o);
void trust_http_free(struct trust_http *h); /* NULL is fine */

/* An http or https address of one of those hosts, on the scheme's own port, without a user. */
bool trust_http_allowed(const char *url);

/* The body of a 200, appended. ERR_VALIDATION: the address is none of those; ERR_UNAVAILABLE: anything
 * else, with the reason. */
enum err trust_http_get(struct trust_http *h, const char *url, struct buf *out,
                        struct err_info *e) MUST_CHECK;

#endif
