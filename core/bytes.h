/*
 * Bytes from outside: a view, a bounds-checked cursor, and strict text encodings.
 *
 * A struct bytes never owns. The cursor is the only way untrusted bytes are read: every read checks
 * what is left, a failed read sets `bad` and yields zero, and later reads keep failing, so a decoder
 * may check once at its end.
 */
#ifndef CORE_BYTES_H
#define CORE_BYTES_H

#include "core/attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytes {
    const uint8_t *data;
    size_t len;
};

#define BYTES(p, n)   ((struct bytes){(const uint8_t *)(p), (n)})
#define BYTES_STR(s)  BYTES(s, strlen(s))
#define BYTES_OF(arr) BYTES(arr, sizeof(arr))

bool bytes_equal(struct bytes a, struct bytes b);
/* Time depends on the lengths only. */
bool bytes_equal_const_time(struct bytes a, struct bytes b);

struct cursor {
    const uint8_t *at;
    size_t left;
    bool bad;
};

struct cursor cursor_of(struct bytes b);
/* The next n bytes as a view into the input. */
struct bytes cursor_take(struct cursor *c, size_t n);
uint8_t cursor_u8(struct cursor *c);
uint16_t cursor_u16be(struct cursor *c);
uint32_t cursor_u32be(struct cursor *c);
uint64_t cursor_u64be(struct cursor *c);
uint16_t cursor_u16le(struct cursor *c);
uint32_t cursor_u32le(struct cursor *c);
uint64_t cursor_u64le(struct cursor *c);
/* True where nothing failed and nothing is left. */
bool cursor_done(const struct cursor *c);

/* RFC 3629: shortest forms, no surrogates, no more than U+10FFFF. */
bool utf8_valid(struct bytes b);

/* Lower-case hex; out holds 2 * len + 1. */
void hex_encode(struct bytes in, char *out);
/* Exactly out_len bytes from 2 * out_len hex digits of either case. */
bool hex_decode(const char *text, size_t text_len, uint8_t *out, size_t out_len);

/* RFC 4648 section 4, padded. BASE64_SIZE includes the terminator. */
#define BASE64_SIZE(n) ((((n) + 2) / 3) * 4 + 1)
size_t base64_encode(struct bytes in, char *out);
/*
 * Strict: canonical padding, zero spare bits, no blanks. `out` holds text_len / 4 * 3 and may be the
 * text itself (decoding in place). False where the text is not canonical.
 */
bool base64_decode(const char *text, size_t text_len, uint8_t *out, size_t *out_len);

/* RFC 4648 section 5, unpadded. */
#define BASE64URL_SIZE(n) (((n)*4 + 2) / 3 + 1)
size_t base64url_encode(struct bytes in, char *out);
bool base64url_decode(const char *text, size_t text_len, uint8_t *out, size_t out_size,
                      size_t *out_len);

#endif
