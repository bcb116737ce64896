/*
 * Text out of a log, for people: a guest's bytes are never printed as they are. Everything but
 * printable ASCII becomes '?', a trailing terminator is dropped, and what is longer than TEXT_MAX
 * characters is cut and ends in "...".
 */
#ifndef ATTEST_TEXT_H
#define ATTEST_TEXT_H

#include "core/arena.h"

#define TEXT_MAX 4096

const char *text_ascii(struct bytes b, struct arena *a);
/* UTF-16LE */
const char *text_utf16(struct bytes b, struct arena *a);
/* Even, not empty, and every second byte zero: UTF-16LE of ASCII, with or without a terminator. */
bool text_looks_utf16(struct bytes b);
/* At most `max` bytes as lower-case hex; longer ones end in "...". */
const char *text_hex(struct bytes b, size_t max, struct arena *a);

#endif
