/*
 * Polls on connections of their own. Inside arm/ only; the client's thread.
 *
 * A job that waits is asked about for hours, so what one GET costs counts. libcurl makes the connection
 * (proxy, TLS, verification) and encrypts; the request is written and the answer read here, since curl's
 * own HTTP takes most of a transfer's time: it puts a request together byte by byte, and a token has
 * a thousand. Only GETs; a request that a kept connection lost before any answer is sent once more on
 * a new one (RFC 9112 9.3.1).
 */
#ifndef ARM_WIRE_H
#define ARM_WIRE_H

#include "arm/http.h"

struct arm_wire;

enum err arm_wire_new(const struct arm_http_config *cfg, struct arm_wire **out,
                      struct err_info *e) MUST_CHECK;
/* No call may be open. NULL is fine. */
void arm_wire_free(struct arm_wire *w);
/* Readable when arm_wire_turn has something to do. */
int arm_wire_fd(const struct arm_wire *w);
/* As arm_http_header and arm_http_start. */
void arm_wire_header(struct arm_http_call *c, const char *name, const char *value);
void arm_wire_start(struct arm_wire *w, struct arm_http_call *c);
/* Does what there is to do and calls `done`s; when it wants to be called again at the latest (mono ms). */
int64_t arm_wire_turn(struct arm_wire *w);
/* Ends every call with ARM_FAIL_STOPPED. */
void arm_wire_abort(struct arm_wire *w);
/* Connections opened so far. */
uint64_t arm_wire_connections(const struct arm_wire *w);

#endif
