/*
 * The request target, cut into what routing needs. Percent-escapes are decoded exactly once, per
 * segment and per query part; what could mean two things to two readers is refused: an escaped
 * slash or NUL, dot segments, broken escapes, invalid UTF-8, characters RFC 3986 does not allow.
 * Pure; any thread.
 */
#ifndef SERVER_TARGET_H
#define SERVER_TARGET_H

#include "core/arena.h"
#include "core/err.h"
#include "core/json.h"

#define TARGET_SEGMENTS_MAX 16
#define TARGET_QUERY_MAX    32

struct target {
    const char *path;                          /* as it came, without the query; for the log */
    const char *segments[TARGET_SEGMENTS_MAX]; /* decoded; "/a/b" has two, "/" one empty */
    size_t n_segments;
    struct str_pair query[TARGET_QUERY_MAX]; /* decoded, in order, repeated names included */
    size_t n_query;
};

/* A target of nothing. */
static inline void target_clear(struct target *t)
{
    t->path = "";
    t->n_segments = t->n_query = 0;
}

/* Origin form, or absolute form of http and https (RFC 9112 section 3.2.2). ERR_BAD_REQUEST.
 * Everything is in the arena. */
enum err target_parse(const char *text, struct arena *a, struct target *out,
                      struct err_info *e) MUST_CHECK;

#endif
