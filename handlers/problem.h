/*
 * problem+json (RFC 9457): the one form of every error, the HTTP parser's own included.
 *
 * type is /problems/<code>; code, remedy, requestId and traceId are always there; errors, jobId and
 * upstream where err_info has them. Pure; any thread.
 */
#ifndef HANDLERS_PROBLEM_H
#define HANDLERS_PROBLEM_H

#include "core/buf.h"
#include "core/err.h"

#define PROBLEM_MEDIA "application/problem+json"

/* Replaces what `out` holds. `trace_id` are 32 lower-case hex digits. */
void problem_write(struct buf *out, const struct err_info *e, const char *request_id,
                   const char *trace_id);
/* The same without the closing bracket, for members of its own: add them, then jw_close('}'). */
struct jw problem_open(struct buf *out, const struct err_info *e, const char *request_id,
                       const char *trace_id);

/* What the code means, for /problems/<code>; NULL where there is no such code. */
const char *problem_meaning(enum err code);

#endif
