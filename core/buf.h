/*
 * buf: a growing byte buffer. jw: an append-only JSON writer over it.
 *
 * The writer keeps track of commas and nesting; it does not keep a tree, so a reply costs one pass.
 * Strings are UTF-8 and escaped as RFC 8259 asks; a NULL string is written as null.
 *
 *     struct buf out = {0};
 *     struct jw w = jw_over(&out);
 *     jw_open(&w, '{'); jw_key_str(&w, "id", id); jw_close(&w, '}');
 *     ... buf_free(&out);
 *
 * Allocation never fails (see arena.h). One thread at a time.
 */
#ifndef CORE_BUF_H
#define CORE_BUF_H

#include "core/attr.h"
#include "core/bytes.h"

struct buf {
    char *data; /* NUL-terminated once anything was added */
    size_t len;
    size_t cap;
};

void buf_add(struct buf *b, const void *data, size_t len);
void buf_add_str(struct buf *b, const char *s);
void buf_add_char(struct buf *b, char c);
void buf_add_int(struct buf *b, int64_t v);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF(2, 3);
/* Room for n more bytes; returns where they go. The caller then adds to len itself. */
char *buf_reserve(struct buf *b, size_t n);
void buf_reset(struct buf *b);
void buf_free(struct buf *b); /* wipes what it held */
struct bytes buf_bytes(const struct buf *b);

/* ASCII that stands in a JSON string as it is. */
bool jw_plain(const char *s, size_t n);

#define JW_DEPTH_MAX 32

struct jw {
    struct buf *out;
    unsigned depth;
    bool first[JW_DEPTH_MAX];
    bool after_key;
};

struct jw jw_over(struct buf *out);
void jw_open(struct jw *w, char bracket);  /* '{' or '[' */
void jw_close(struct jw *w, char bracket); /* '}' or ']' */
void jw_key(struct jw *w, const char *key);
void jw_str(struct jw *w, const char *s);
void jw_strn(struct jw *w, const char *s, size_t n);
void jw_int(struct jw *w, int64_t v);
void jw_bool(struct jw *w, bool v);
void jw_null(struct jw *w);
void jw_hex(struct jw *w, struct bytes b);
void jw_base64(struct jw *w, struct bytes b);
/* JSON text that is already valid, as stored. */
void jw_raw(struct jw *w, const char *json);
/* Members of an object, or items of an array, as valid JSON text without its brackets; none: "". */
void jw_inside(struct jw *w, const char *json, size_t n);
/* "2026-11-22T01:02:03.004Z" from milliseconds since 1970. */
void jw_time(struct jw *w, int64_t ms);

/* key and value; the _opt forms write nothing for NULL or 0. */
void jw_key_str(struct jw *w, const char *key, const char *s);
void jw_key_str_opt(struct jw *w, const char *key, const char *s);
void jw_key_int(struct jw *w, const char *key, int64_t v);
void jw_key_bool(struct jw *w, const char *key, bool v);
void jw_key_raw_opt(struct jw *w, const char *key, const char *json);
void jw_key_time(struct jw *w, const char *key, int64_t ms);
void jw_key_time_opt(struct jw *w, const char *key, int64_t ms);

#endif
