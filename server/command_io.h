/*
 * What the offline commands share: files in, JSON out.
 */
#ifndef SERVER_COMMAND_IO_H
#define SERVER_COMMAND_IO_H

#include "core/buf.h"

/* The whole file, appended to *out; false, with the reason on stderr, where it cannot be read or has
 * more than `max` bytes. "-" is stdin. */
bool command_read(const char *path, size_t max, struct buf *out) MUST_CHECK;
/* A line on stderr; returns false. */
bool command_complain(const char *fmt, ...) PRINTF(1, 2);
/* The document and a newline on stdout. */
void command_print(const struct buf *json);

#endif
