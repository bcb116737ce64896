/*
 * One event in words, for `tlgate eventlog`: what its data says, whether it is proven or not. Bounded:
 * of a list at most DECODE_LIST_MAX entries are told, and texts are cut (text.h). Certificates are
 * decoded, so this is for people, not for a request's path.
 */
#ifndef ATTEST_DECODE_H
#define ATTEST_DECODE_H

#include "attest/eventlog.h"
#include "core/buf.h"

#define DECODE_LIST_MAX 128

/* The member `decoded` (an object) of the object that is being written, or nothing where the event's
 * type says nothing about its data. */
void decode_event(struct jw *w, const struct log_event *ev, struct arena *a);

/* Inside: the members for events of one family; `why` of a structure that is not well-formed becomes
 * the member `malformed`. */
void decode_variable(struct jw *w, const struct log_event *ev, struct arena *a);
void decode_image(struct jw *w, struct bytes data, struct arena *a);
void decode_gpt(struct jw *w, struct bytes data, struct arena *a);
void decode_malformed(struct jw *w, const char *why);
/* "sbatLevel" and its components. */
void decode_sbat(struct jw *w, struct bytes level);

#endif
