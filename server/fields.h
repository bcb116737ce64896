/*
 * Header fields that dispatch reads: media types, Accept, Prefer, Idempotency-Key, request ids and
 * the W3C trace context. Pure; any thread.
 */
#ifndef SERVER_FIELDS_H
#define SERVER_FIELDS_H

#include "core/arena.h"

#include <stdbool.h>

/* The value of Content-Type is `media` ("application/json"), with no parameter but charset=utf-8. */
bool fields_media_is(const char *value, const char *media);

/* RFC 9110 section 12.5.1: some range of Accept covers `media` with q > 0, and the most specific
 * one that covers it does. NULL accepts all; what is not well-formed is passed over. */
bool fields_accepts(const char *accept, const char *media);

/* RFC 7240: N of wait=N, at most `max`; 0 where absent or not well-formed. */
int fields_prefer_wait(const char *prefer, int max);

/* The key, from a structured-field string or the common bare form; NULL where it is neither, empty
 * or longer than 255. */
const char *fields_idempotency_key(const char *value, struct arena *a);

#define REQUEST_ID_MAX 64
/* 1 to 64 of letters, digits, ".", "_" and "-": may be logged and sent back. */
bool fields_request_id_ok(const char *value);

#define TRACEPARENT_SIZE 56
bool fields_traceparent_ok(const char *value); /* well-formed */
/*
 * W3C Trace Context section 3.2: `out` continues the caller's trace with a span id of our own, or,
 * where `value` is NULL or not well-formed, starts a new one. True where the caller's was taken.
 */
bool fields_traceparent(const char *value, char out[TRACEPARENT_SIZE]);

#endif
