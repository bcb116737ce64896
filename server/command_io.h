/*
 * What the offline commands share: options and files in, JSON out.
 */
#ifndef SERVER_COMMAND_IO_H
#define SERVER_COMMAND_IO_H

#include "attest/attest.h"
#include "core/buf.h"

#include <getopt.h>

/* All options of the command line, each given to `set`; false at the first that is unknown or that `set`
 * refuses. What follows them begins at `optind`. */
bool command_each_option(int argc, char **argv, const struct option *options,
                         bool (*set)(void *q, int o, const char *value), void *q) MUST_CHECK;

/* What is trusted, and when: the options that commands about certificates share. */
#define COMMAND_ANCHORS_MAX 64
struct command_trust {
    struct attest_trust_options options; /* points into `anchors` */
    const char *anchors[COMMAND_ANCHORS_MAX];
    int64_t at; /* ms since 1970 */
};
#define COMMAND_TRUST_USAGE                                                                        \
    "[--trust-anchor PEM]... [--trust-dir DIR] [--legacy-root] [--at RFC3339]"
#define COMMAND_TRUST_OPTIONS                                                                      \
    {"trust-anchor", required_argument, NULL, 'a'}, {"trust-dir", required_argument, NULL, 'd'},   \
        {"legacy-root", no_argument, NULL, 'l'},                                                   \
    {                                                                                              \
        "at", required_argument, NULL, 't'                                                         \
    }
/* Nothing beyond Azure's pinned roots, at this moment. */
void command_trust_init(struct command_trust *t);
/* False where it is none of these, or wrong. */
bool command_trust_option(struct command_trust *t, int o, const char *value);

/* The whole file, appended to *out; false, with the reason on stderr, where it cannot be read or has
 * more than `max` bytes. "-" is stdin. */
bool command_read(const char *path, size_t max, struct buf *out) MUST_CHECK;
/* A line on stderr; returns false. */
bool command_complain(const char *fmt, ...) PRINTF(1, 2);
/* The document and a newline on stdout. */
void command_print(const struct buf *json);

#endif
