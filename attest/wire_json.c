/*
 * Evidence as JSON. A parser of its own: the members are strings, almost all of them long base64,
 * which is decoded where it stands; the general parser takes twenty times as long for them as the
 * signature does. Strict RFC 8259, with duplicate members and NUL refused.
 */
#include "attest/wireform.h"

#define SKIP_DEPTH 32

struct reader {
    char *at;
    char *end;
    char *start;
    struct wire_state s;
    bool broken; /* not JSON: nothing after this point means anything */
};

static bool broken(struct reader *r, const char *why)
{
    if (!r->broken) {
        char text[120];
        snprintf(text, sizeof text, "not valid JSON at byte %zu: %s", (size_t)(r->at - r->start),
                 why);
        wire_malformed(r->s.e, "#", text);
    }
    r->broken = true;
    return false;
}

static void skip_blanks(struct reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t'))
        r->at++;
}

static char peek(struct reader *r)
{
    skip_blanks(r);
    return r->at < r->end ? *r->at : 0;
}

static bool expect(struct reader *r, char c)
{
    if (peek(r) != c) {
        char why[32];
        snprintf(why, sizeof why, "'%c' is expected", c);
        return broken(r, why);
    }
    r->at++;
    return true;
}

/* ---- UTF-8 (RFC 3629), over the whole text at once ---- */

static size_t sequence_length(const uint8_t *p, size_t left)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = p[0] < 0x80 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;
    if (n == 0 || n > left)
        return 0;
    uint32_t v = n == 1 ? p[0] : p[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        v = v << 6 | (p[i] & 0x3f);
    }
    bool surrogate = v >= 0xd800 && v < 0xe000;
    return v < least[n] || v > 0x10ffff || surrogate ? 0 : n;
}

static bool valid_utf8(const char *text, size_t len)
{
    const uint8_t *p = (const uint8_t *)text;
    size_t i = 0;
    while (i < len) {
        uint64_t word;
        if (len - i >= sizeof word) {
            memcpy(&word, p + i, sizeof word);
            if (!(word & 0x8080808080808080u)) {
                i += sizeof word;
                continue;
            }
        }
        size_t n = sequence_length(p + i, len - i);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

/* ---- strings ---- */

static bool hex4(struct reader *r, uint32_t *out)
{
    uint8_t v[2];
    if (r->end - r->at < 4 || !hex_decode(r->at, 4, v, 2))
        return broken(r, "bad \\u escape");
    r->at += 4;
    *out = (uint32_t)v[0] << 8 | v[1];
    return true;
}

static char *put_utf8(char *to, uint32_t v)
{
    if (v < 0x80) {
        *to++ = (char)v;
    } else if (v < 0x800) {
        *to++ = (char)(0xc0 | v >> 6);
        *to++ = (char)(0x80 | (v & 63));
    } else if (v < 0x10000) {
        *to++ = (char)(0xe0 | v >> 12);
        *to++ = (char)(0x80 | (v >> 6 & 63));
        *to++ = (char)(0x80 | (v & 63));
    } else {
        *to++ = (char)(0xf0 | v >> 18);
        *to++ = (char)(0x80 | (v >> 12 & 63));
        *to++ = (char)(0x80 | (v >> 6 & 63));
        *to++ = (char)(0x80 | (v & 63));
    }
    return to;
}

/* Behind "\u". The longest result (4 bytes of UTF-8) is shorter than its escapes. */
static bool unescape_unicode(struct reader *r, char **to)
{
    uint32_t v, low;
    if (!hex4(r, &v))
        return false;
    if (v >= 0xdc00 && v < 0xe000)
        return broken(r, "lone surrogate");
    if (v >= 0xd800 && v < 0xdc00) {
        if (r->end - r->at < 2 || r->at[0] != '\\' || r->at[1] != 'u')
            return broken(r, "lone surrogate");
        r->at += 2;
        if (!hex4(r, &low))
            return false;
        if (low < 0xdc00 || low >= 0xe000)
            return broken(r, "lone surrogate");
        v = 0x10000 + ((v - 0xd800) << 10) + (low - 0xdc00);
    }
    if (v == 0)
        return broken(r, "NUL in a string");
    *to = put_utf8(*to, v);
    return true;
}

static bool unescape(struct reader *r, char **to)
{
    static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    char c = r->at < r->end ? *r->at++ : 0;
    if (c == 'u')
        return unescape_unicode(r, to);
    const char *found = c ? strchr(from, c) : NULL;
    if (!found)
        return broken(r, "bad escape");
    *(*to)++ = into[found - from];
    return true;
}

/* Unescapes where it stands and ends it with a NUL. False: broken. */
static bool read_string(struct reader *r, char **text, size_t *len)
{
    if (!expect(r, '"'))
        return false;
    char *start = r->at;
    while (r->at < r->end && *r->at != '"' && *r->at != '\\' && (unsigned char)*r->at >= 0x20)
        r->at++;
    char *to = r->at;
    while (r->at < r->end && *r->at != '"') {
        if ((unsigned char)*r->at < 0x20)
            return broken(r, "control character in a string");
        if (*r->at != '\\') {
            *to++ = *r->at++;
            continue;
        }
        r->at++;
        if (!unescape(r, &to))
            return false;
    }
    if (r->at == r->end)
        return broken(r, "unterminated string");
    r->at++;
    *to = 0;
    *text = start;
    *len = (size_t)(to - start);
    return true;
}

/* ---- values that nobody asked for: skipped, but they must be JSON ---- */

static bool skip_value(struct reader *r, unsigned depth);

static bool skip_digits(struct reader *r)
{
    char *start = r->at;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9')
        r->at++;
    return r->at > start || broken(r, "bad number");
}

static bool skip_number(struct reader *r)
{
    if (*r->at == '-')
        r->at++;
    if (r->at < r->end && *r->at == '0')
        r->at++;
    else if (!skip_digits(r))
        return false;
    if (r->at < r->end && *r->at == '.') {
        r->at++;
        if (!skip_digits(r))
            return false;
    }
    if (r->at < r->end && (*r->at == 'e' || *r->at == 'E')) {
        r->at++;
        if (r->at < r->end && (*r->at == '+' || *r->at == '-'))
            r->at++;
        return skip_digits(r);
    }
    return true;
}

static bool skip_word(struct reader *r)
{
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        size_t n = strlen(words[i]);
        if ((size_t)(r->end - r->at) >= n && memcmp(r->at, words[i], n) == 0) {
            r->at += n;
            return true;
        }
    }
    return broken(r, "a value is expected");
}

static bool skip_members(struct reader *r, char close, unsigned depth)
{
    char *text;
    size_t len;
    r->at++;
    if (peek(r) == close) {
        r->at++;
        return true;
    }
    for (;;) {
        if (close == '}' && (!read_string(r, &text, &len) || !expect(r, ':')))
            return false;
        if (!skip_value(r, depth + 1))
            return false;
        if (peek(r) == close) {
            r->at++;
            return true;
        }
        if (!expect(r, ','))
            return false;
    }
}

static bool skip_value(struct reader *r, unsigned depth)
{
    char *text;
    size_t len;
    char c = peek(r);
    if (depth > SKIP_DEPTH)
        return broken(r, "nested too deep");
    if (c == '"')
        return read_string(r, &text, &len);
    if (c == '{' || c == '[')
        return skip_members(r, c == '{' ? '}' : ']', depth);
    if (c == '-' || (c >= '0' && c <= '9'))
        return skip_number(r);
    return skip_word(r);
}

/* ---- evidence ---- */

/* A value of another type: named, skipped, and on we go. False: broken. */
static bool wrong_type(struct reader *r, const char *pointer, const char *why)
{
    if (!skip_value(r, 0))
        return false;
    wire_malformed(r->s.e, pointer, why);
    return true;
}

static bool read_base64(struct reader *r, const char *pointer, struct bytes *out)
{
    char *text;
    size_t len, n;
    if (peek(r) != '"')
        return wrong_type(r, pointer, "must be a base64 string");
    if (!read_string(r, &text, &len))
        return false;
    if (base64_decode(text, len, (uint8_t *)text, &n))
        *out = BYTES(text, n);
    else
        wire_malformed(r->s.e, pointer, "is not canonical base64 (RFC 4648, section 4)");
    return true;
}

static bool read_hex(struct reader *r, const char *pointer, struct bytes *out)
{
    char *text;
    size_t len;
    if (peek(r) != '"')
        return wrong_type(r, pointer, "must be a hex string");
    if (!read_string(r, &text, &len))
        return false;
    if (len > 0 && hex_decode(text, len, (uint8_t *)text, len / 2))
        *out = BYTES(text, len / 2);
    else
        wire_malformed(r->s.e, pointer, "is not hex");
    return true;
}

static bool read_text(struct reader *r, const char *pointer, const struct wire_member *m)
{
    char *text;
    size_t len;
    if (peek(r) != '"')
        return wrong_type(r, pointer, "must be a string");
    if (!read_string(r, &text, &len))
        return false;
    wire_set_text(&r->s, m, text, len);
    return true;
}

/* After a member or item: true to go on with the next one. */
static bool next_of(struct reader *r, char close, bool *done)
{
    if (peek(r) == close) {
        r->at++;
        *done = true;
        return true;
    }
    return expect(r, ',');
}

static bool open_of(struct reader *r, char open, char close, bool *done)
{
    if (!expect(r, open))
        return false;
    *done = peek(r) == close;
    if (*done)
        r->at++;
    return true;
}

static bool read_chain(struct reader *r)
{
    bool done, fits = true; /* one complaint for what is too much */
    if (peek(r) != '[')
        return wrong_type(r, "#/ak/chain", "must be an array");
    if (!open_of(r, '[', ']', &done))
        return false;
    while (!done) {
        struct bytes der = {0};
        unsigned before = r->s.e->n_fields;
        if (!read_base64(r, "#/ak/chain", &der))
            return false;
        if (r->s.e->n_fields == before && fits)
            fits = wire_add_chain(&r->s, der);
        if (!next_of(r, ']', &done))
            return false;
    }
    return true;
}

/* "0" to "23": "07" would be a second name of 7. */
static uint64_t pcr_index(struct bytes name)
{
    const uint8_t *d = name.data;
    bool one = name.len == 1 && d[0] >= '0' && d[0] <= '9';
    bool two = name.len == 2 && d[0] >= '1' && d[0] <= '9' && d[1] >= '0' && d[1] <= '9';
    if (one)
        return (uint64_t)(d[0] - '0');
    return two ? (uint64_t)(d[0] - '0') * 10 + (uint64_t)(d[1] - '0') : UINT64_MAX;
}

static bool read_pcr(struct reader *r, enum pcr_bank bank)
{
    char *name, parent[32], pointer[64];
    size_t len;
    struct bytes value = {0};
    if (!read_string(r, &name, &len) || !expect(r, ':'))
        return false;
    snprintf(parent, sizeof parent, "#/pcrs/%s", pcr_banks[bank].name);
    wire_pointer(pointer, sizeof pointer, parent, BYTES(name, len));
    uint64_t index = pcr_index(BYTES(name, len));
    if (index >= EVIDENCE_PCRS)
        return wrong_type(r, pointer, "is not a PCR index");
    unsigned before = r->s.e->n_fields;
    if (!read_hex(r, pointer, &value))
        return false;
    if (r->s.e->n_fields == before)
        wire_set_pcr(&r->s, bank, index, value);
    return true;
}

static bool read_bank(struct reader *r)
{
    char *name;
    size_t len;
    bool done;
    if (!read_string(r, &name, &len) || !expect(r, ':'))
        return false;
    enum pcr_bank bank = wire_enter_bank(&r->s, BYTES(name, len));
    if (bank == BANK_COUNT)
        return skip_value(r, 0);
    if (peek(r) != '{')
        return wrong_type(r, "#/pcrs", "each bank must be an object");
    if (!open_of(r, '{', '}', &done))
        return false;
    while (!done)
        if (!read_pcr(r, bank) || !next_of(r, '}', &done))
            return false;
    return true;
}

static bool read_pcrs(struct reader *r)
{
    bool done;
    if (peek(r) != '{')
        return wrong_type(r, "#/pcrs", "must be an object");
    if (!open_of(r, '{', '}', &done))
        return false;
    while (!done)
        if (!read_bank(r) || !next_of(r, '}', &done))
            return false;
    return true;
}

static bool read_object(struct reader *r, enum wire_level level, const char *pointer);

static bool read_value(struct reader *r, const struct wire_member *m)
{
    struct bytes b = {0};
    switch (m->kind) {
    case KIND_TEXT:
    case KIND_SECRET:
    case KIND_TOKEN:
        return read_text(r, m->pointer, m);
    case KIND_BYTES:
    case KIND_HEX:
        if (!(m->kind == KIND_HEX ? read_hex : read_base64)(r, m->pointer, &b))
            return false;
        wire_set_bytes(&r->s, m, b);
        return true;
    case KIND_OBJECT:
        return read_object(r, m->object, m->pointer);
    case KIND_PCRS:
        return read_pcrs(r);
    case KIND_CHAIN:
        return read_chain(r);
    }
    return false;
}

static bool read_member(struct reader *r, enum wire_level level, const char *parent)
{
    char *name;
    size_t len;
    if (!read_string(r, &name, &len) || !expect(r, ':'))
        return false;
    const struct wire_member *m = wire_enter(&r->s, level, parent, BYTES(name, len));
    return m ? read_value(r, m) : skip_value(r, 0);
}

static bool read_object(struct reader *r, enum wire_level level, const char *pointer)
{
    bool done;
    if (peek(r) != '{')
        return wrong_type(r, pointer, "must be an object");
    if (!open_of(r, '{', '}', &done))
        return false;
    while (!done)
        if (!read_member(r, level, pointer) || !next_of(r, '}', &done))
            return false;
    return true;
}

enum err wire_decode_json(char *text, size_t len, enum wire_need need, struct arena *a,
                          struct evidence *out, struct err_info *e)
{
    struct err_info own = {0};
    *out = (struct evidence){0};
    struct reader r = {.at = text, .start = text, .end = text + len, .s = {.out = out, .e = &own}};
    if (len > EVIDENCE_BODY_MAX)
        wire_malformed(&own, "#", "is larger than 256 KiB");
    else if (!valid_utf8(text, len))
        wire_malformed(&own, "#", "is not UTF-8");
    else if (read_object(&r, LEVEL_ROOT, "#") && peek(&r) == 0 && r.at == r.end)
        wire_finish(&r.s, need);
    else if (!r.broken)
        broken(&r, "bytes follow the object");
    if (own.code && e)
        *e = own;
    return own.code;
}
