/*
 * URLs as far as the client needs them: origins, strictly, and percent-encoding. Pure.
 */
#ifndef ARM_URL_H
#define ARM_URL_H

#include "core/buf.h"

#include <stdbool.h>

struct arm_origin {
    bool https;
    char host[256]; /* lower case; an IPv6 literal keeps its brackets */
    unsigned port;
    size_t len; /* of "scheme://authority" in the text it was read from */
};

/* The origin at the start of `url`; false where it is not a plain http or https authority. */
bool arm_origin_parse(const char *url, struct arm_origin *out);
bool arm_origin_equal(const struct arm_origin *a, const struct arm_origin *b);
/* 127.0.0.1 or [::1]: a name could resolve to anything. */
bool arm_origin_loopback(const struct arm_origin *o);

/* Only visible ASCII without '\\', 1 to ARM_URL_MAX bytes: what may be sent as a URL or a path. */
bool arm_url_chars_ok(const char *s);

/* RFC 3986 unreserved characters stay, everything else becomes %XX. */
void arm_url_encode(struct buf *out, const char *s);

#endif
