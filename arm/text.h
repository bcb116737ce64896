/* Foreign text on its way into messages: bounded, valid UTF-8, no control bytes. Pure. */
#ifndef ARM_TEXT_H
#define ARM_TEXT_H

#include <stddef.h>

/* Copies at most size - 1 bytes, cut at a character; control bytes become blanks, other bytes that
 * are no UTF-8 become '?'. NULL is "". Always terminates. */
void arm_text_copy(char *out, size_t size, const char *text);
/* The same up to the first line end: Entra appends trace ids and times on lines of their own. */
void arm_text_first_line(char *out, size_t size, const char *text);

#endif
