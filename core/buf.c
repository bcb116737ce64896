#include "core/buf.h"
#include "core/clock.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>

/* Never realloc: the old block may hold a secret and has to be wiped. */
COLD static void grow(struct buf *b, size_t need)
{
    size_t cap = b->cap ? b->cap : 256;
    while (cap < need) {
        if (cap > SIZE_MAX / 2)
            abort();
        cap *= 2;
    }
    char *data = malloc(cap);
    if (!data)
        abort();
    if (b->len)
        memcpy(data, b->data, b->len);
    if (b->data)
        explicit_bzero(b->data, b->len);
    free(b->data);
    b->data = data;
    b->cap = cap;
}

static inline char *reserve(struct buf *b, size_t n)
{
    if (n >= SIZE_MAX - b->len)
        abort();
    if (b->len + n + 1 > b->cap)
        grow(b, b->len + n + 1);
    return b->data + b->len;
}

char *buf_reserve(struct buf *b, size_t n)
{
    return reserve(b, n);
}

void buf_add(struct buf *b, const void *data, size_t len)
{
    char *p = reserve(b, len);
    if (len)
        memcpy(p, data, len);
    b->len += len;
    b->data[b->len] = 0;
}

void buf_add_str(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_add_char(struct buf *b, char c)
{
    char *p = reserve(b, 1);
    p[0] = c;
    p[1] = 0;
    b->len++;
}

void buf_add_int(struct buf *b, int64_t v)
{
    char text[24], *at = text + sizeof text;
    uint64_t rest = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    do
        *--at = (char)('0' + rest % 10);
    while (rest /= 10);
    if (v < 0)
        *--at = '-';
    buf_add(b, at, (size_t)(text + sizeof text - at));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap, again;
    size_t room = b->cap - b->len;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(room ? b->data + b->len : NULL, room, fmt, ap);
    va_end(ap);
    if (n < 0)
        abort();
    if ((size_t)n >= room) {
        if (room)
            explicit_bzero(b->data + b->len, room);
        vsnprintf(buf_reserve(b, (size_t)n), (size_t)n + 1, fmt, again);
    }
    va_end(again);
    b->len += (size_t)n;
}

void buf_reset(struct buf *b)
{
    if (b->data)
        explicit_bzero(b->data, b->len);
    b->len = 0;
}

void buf_free(struct buf *b)
{
    buf_reset(b);
    free(b->data);
    *b = (struct buf){0};
}

struct bytes buf_bytes(const struct buf *b)
{
    return BYTES(b->data, b->len);
}

struct jw jw_over(struct buf *out)
{
    return (struct jw){.out = out, .first = {true}};
}

/* Is a comma due before what comes now? */
static inline bool due(struct jw *w)
{
    bool *first = &w->first[w->depth], comma = !w->after_key && !*first;
    *first = *first && w->after_key;
    w->after_key = false;
    return comma;
}

/* What needs no quotes. */
static void bare(struct jw *w, const char *s, size_t n)
{
    struct buf *out = w->out;
    bool comma = due(w);
    char *at = reserve(out, n + 1);
    at[0] = ',';
    memcpy(at + comma, s, n);
    out->len += n + comma;
    out->data[out->len] = 0;
}

void jw_open(struct jw *w, char bracket)
{
    bare(w, &bracket, 1);
    w->depth++;
    assert(w->depth < JW_DEPTH_MAX);
    w->first[w->depth] = true;
}

void jw_close(struct jw *w, char bracket)
{
    assert(w->depth > 0);
    w->depth--;
    buf_add_char(w->out, bracket);
}

/* Bytes that may stand in a JSON string as they are. */
static bool plain(unsigned char c)
{
    return c >= 0x20 && c != '"' && c != '\\' && c != 0x7f;
}

static void escape(struct buf *out, unsigned char c)
{
    switch (c) {
    case '"':
        buf_add(out, "\\\"", 2);
        return;
    case '\\':
        buf_add(out, "\\\\", 2);
        return;
    case '\n':
        buf_add(out, "\\n", 2);
        return;
    case '\t':
        buf_add(out, "\\t", 2);
        return;
    default:
        buf_printf(out, "\\u%04x", c);
    }
}

#define HIGH_BITS 0x8080808080808080u

/* The high bit of some byte is set where not all eight are plain: one is below 0x20, or 0x7f, or one of the
 * two others (a zero byte in an XOR). */
static inline uint64_t odd_bytes(uint64_t v)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t quote = (v ^ ones * '"') - ones, back = (v ^ ones * '\\') - ones;
    return ((v - ones * 0x20) | (v + ones) | quote | back) & ~v;
}

static inline uint64_t word_at(const char *s)
{
    uint64_t v;
    memcpy(&v, s, sizeof v);
    return v;
}

static inline bool plain_word(const char *s)
{
    return (odd_bytes(word_at(s)) & HIGH_BITS) == 0;
}

/* How many of the n bytes may stand as they are, up to the first that may not. */
static size_t plain_run(const char *s, size_t n)
{
    size_t i = 0;
    while (n - i >= 8 && plain_word(s + i))
        i += 8;
    if (n >= 8 && n - i < 8 && plain_word(s + n - 8)) /* the rest, and some of it again */
        return n;
    while (i < n && plain((unsigned char)s[i]))
        i++;
    return i;
}

bool jw_plain(const char *s, size_t n)
{
    uint64_t odd = 0;
    size_t i = 0;
    for (; n - i >= 8; i += 8)
        odd |= odd_bytes(word_at(s + i)) | word_at(s + i);
    if (i < n && n >= 8) /* the rest, and some of it again */
        odd |= odd_bytes(word_at(s + n - 8)) | word_at(s + n - 8);
    for (; i < n && n < 8; i++)
        odd |= plain((unsigned char)s[i]) && (unsigned char)s[i] < 0x80 ? 0 : HIGH_BITS;
    return (odd & HIGH_BITS) == 0;
}

/* copy_plain of less than eight. */
static inline bool copy_few(char *to, const char *s, size_t n)
{
    uint32_t from, last;
    uint64_t v = 0x3030303030303030u; /* what is missing is plain */
    if (n >= sizeof from) {
        memcpy(&from, s, sizeof from);
        memcpy(&last, s + n - sizeof last, sizeof last);
        memcpy(to, &from, sizeof from);
        memcpy(to + n - sizeof last, &last, sizeof last);
        v = (uint64_t)last << 32 | from;
    } else if (n > 0) { /* the first, the one in the middle, the last */
        to[0] = s[0];
        to[n / 2] = s[n / 2];
        to[n - 1] = s[n - 1];
        v = v << 24 | (uint64_t)(uint8_t)s[0] | (uint64_t)(uint8_t)s[n / 2] << 8 |
            (uint64_t)(uint8_t)s[n - 1] << 16;
    }
    return (odd_bytes(v) & HIGH_BITS) == 0;
}

/* Copies them; false where some of them are not plain. */
static inline bool copy_plain(char *to, const char *s, size_t n)
{
    uint64_t odd = 0;
    if (n < 8)
        return copy_few(to, s, n);
    for (size_t i = 0; n - i > 8; i += 8) {
        uint64_t v = word_at(s + i);
        memcpy(to + i, &v, sizeof v);
        odd |= odd_bytes(v);
    }
    const uint64_t last = word_at(s + n - 8); /* the rest, and some of it again */
    memcpy(to + n - 8, &last, sizeof last);
    return ((odd | odd_bytes(last)) & HIGH_BITS) == 0;
}

COLD static void add_escaped(struct buf *out, const char *s, size_t n)
{
    for (size_t i = 0, run; i < n; i += run) {
        run = plain_run(s + i, n - i);
        buf_add(out, s + i, run);
        if (i + run < n)
            escape(out, (unsigned char)s[i + run++]);
    }
}

/* `after` it a colon, or none. Every reply is mostly this: one look at the room, one pass. */
static void quoted(struct jw *w, const char *s, size_t n, const char *after)
{
    struct buf *out = w->out;
    bool comma = due(w);
    char *at = reserve(out, n + 4);
    at[0] = ',';
    at[comma] = '"';
    at += comma + 1;
    if (copy_plain(at, s, n)) {
        at += n;
    } else {
        explicit_bzero(at, n); /* where the room grows, no more than `len` is wiped */
        out->len = (size_t)(at - out->data);
        add_escaped(out, s, n);
        at = reserve(out, 2);
    }
    at[0] = '"';
    at[1] = *after;
    at += 1 + (*after != 0);
    *at = 0;
    out->len = (size_t)(at - out->data);
}

void jw_key(struct jw *w, const char *key)
{
    quoted(w, key, strlen(key), ":");
    w->after_key = true;
}

void jw_strn(struct jw *w, const char *s, size_t n)
{
    quoted(w, s, n, "");
}

void jw_str(struct jw *w, const char *s)
{
    if (!s)
        jw_null(w);
    else
        jw_strn(w, s, strlen(s));
}

void jw_int(struct jw *w, int64_t v)
{
    bare(w, "", 0);
    buf_add_int(w->out, v);
}

void jw_bool(struct jw *w, bool v)
{
    bare(w, v ? "true" : "false", v ? 4 : 5);
}

void jw_null(struct jw *w)
{
    bare(w, "null", 4);
}

void jw_raw(struct jw *w, const char *json)
{
    bare(w, json, strlen(json));
}

void jw_inside(struct jw *w, const char *json, size_t n)
{
    if (n)
        bare(w, json, n);
}

void jw_hex(struct jw *w, struct bytes b)
{
    bare(w, "\"", 1);
    hex_encode(b, buf_reserve(w->out, b.len * 2));
    w->out->len += b.len * 2;
    buf_add_char(w->out, '"');
}

void jw_base64(struct jw *w, struct bytes b)
{
    bare(w, "\"", 1);
    w->out->len += base64_encode(b, buf_reserve(w->out, BASE64_SIZE(b.len)));
    buf_add_char(w->out, '"');
}

void jw_time(struct jw *w, int64_t ms)
{
    char text[TIME_TEXT_SIZE];
    time_format(ms, text);
    jw_str(w, text);
}

void jw_key_str(struct jw *w, const char *key, const char *s)
{
    jw_key(w, key);
    jw_str(w, s);
}

void jw_key_str_opt(struct jw *w, const char *key, const char *s)
{
    if (s)
        jw_key_str(w, key, s);
}

void jw_key_int(struct jw *w, const char *key, int64_t v)
{
    jw_key(w, key);
    jw_int(w, v);
}

void jw_key_bool(struct jw *w, const char *key, bool v)
{
    jw_key(w, key);
    jw_bool(w, v);
}

void jw_key_raw_opt(struct jw *w, const char *key, const char *json)
{
    if (!json)
        return;
    jw_key(w, key);
    jw_raw(w, json);
}

void jw_key_time(struct jw *w, const char *key, int64_t ms)
{
    jw_key(w, key);
    jw_time(w, ms);
}

void jw_key_time_opt(struct jw *w, const char *key, int64_t ms)
{
    if (ms)
        jw_key_time(w, key, ms);
}
