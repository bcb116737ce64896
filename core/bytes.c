#include "core/bytes.h"

#include <openssl/crypto.h>

bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool bytes_equal_const_time(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || CRYPTO_memcmp(a.data, b.data, a.len) == 0);
}

struct cursor cursor_of(struct bytes b)
{
    return (struct cursor){.at = b.data, .left = b.len};
}

struct bytes cursor_take(struct cursor *c, size_t n)
{
    if (c->bad || n > c->left) {
        c->bad = true;
        return (struct bytes){0};
    }
    struct bytes b = {c->at, n};
    if (n) {
        c->at += n;
        c->left -= n;
    }
    return b;
}

static uint64_t read_be(struct cursor *c, size_t n)
{
    struct bytes b = cursor_take(c, n);
    uint64_t v = 0;
    for (size_t i = 0; i < b.len; i++)
        v = v << 8 | b.data[i];
    return v;
}

static uint64_t read_le(struct cursor *c, size_t n)
{
    struct bytes b = cursor_take(c, n);
    uint64_t v = 0;
    for (size_t i = b.len; i > 0; i--)
        v = v << 8 | b.data[i - 1];
    return v;
}

uint8_t cursor_u8(struct cursor *c)
{
    return (uint8_t)read_be(c, 1);
}

uint16_t cursor_u16be(struct cursor *c)
{
    return (uint16_t)read_be(c, 2);
}

uint32_t cursor_u32be(struct cursor *c)
{
    return (uint32_t)read_be(c, 4);
}

uint64_t cursor_u64be(struct cursor *c)
{
    return read_be(c, 8);
}

uint16_t cursor_u16le(struct cursor *c)
{
    return (uint16_t)read_le(c, 2);
}

uint32_t cursor_u32le(struct cursor *c)
{
    return (uint32_t)read_le(c, 4);
}

uint64_t cursor_u64le(struct cursor *c)
{
    return read_le(c, 8);
}

bool cursor_done(const struct cursor *c)
{
    return !c->bad && c->left == 0;
}

/* Continuation bytes after this first byte, which is not ASCII, and the bounds of the first of them;
 * -1: not a start. */
static int utf8_follow(uint8_t c, uint8_t *low, uint8_t *high)
{
    *low = 0x80;
    *high = 0xbf;
    if (c >= 0xc2 && c <= 0xdf)
        return 1;
    if (c >= 0xe0 && c <= 0xef) {
        if (c == 0xe0)
            *low = 0xa0; /* not the shortest form */
        if (c == 0xed)
            *high = 0x9f; /* surrogates */
        return 2;
    }
    if (c >= 0xf0 && c <= 0xf4) {
        if (c == 0xf0)
            *low = 0x90;
        if (c == 0xf4)
            *high = 0x8f;
        return 3;
    }
    return -1;
}

/* Most text is ASCII, eight bytes at a time. */
static bool ascii_word(const uint8_t *at)
{
    uint64_t v;
    memcpy(&v, at, sizeof v);
    return (v & 0x8080808080808080u) == 0;
}

bool utf8_valid(struct bytes b)
{
    for (size_t i = 0; i < b.len;) {
        if (b.len - i >= 8 && ascii_word(b.data + i)) {
            i += 8;
            continue;
        }
        if (b.data[i] < 0x80) {
            i++;
            continue;
        }
        uint8_t low, high;
        int n = utf8_follow(b.data[i++], &low, &high);
        if (n < 0)
            return false;
        for (; n > 0; n--, i++, low = 0x80, high = 0xbf)
            if (i >= b.len || b.data[i] < low || b.data[i] > high)
                return false;
    }
    return true;
}

void hex_encode(struct bytes in, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < in.len; i++) {
        *out++ = digits[in.data[i] >> 4];
        *out++ = digits[in.data[i] & 15];
    }
    *out = 0;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool hex_decode(const char *text, size_t text_len, uint8_t *out, size_t out_len)
{
    if (text_len != out_len * 2)
        return false;
    for (size_t i = 0; i < out_len; i++) {
        int hi = hex_value(text[2 * i]), lo = hex_value(text[2 * i + 1]);
        if (hi < 0 || lo < 0)
            return false;
        out[i] = (uint8_t)(hi << 4 | lo);
    }
    return true;
}

static const char alphabet_std[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char alphabet_url[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static size_t encode64(struct bytes in, char *out, const char *alphabet, bool pad)
{
    char *start = out;
    size_t i = 0;
    for (; i + 3 <= in.len; i += 3) {
        uint32_t v = (uint32_t)in.data[i] << 16 | (uint32_t)in.data[i + 1] << 8 | in.data[i + 2];
        *out++ = alphabet[v >> 18];
        *out++ = alphabet[v >> 12 & 63];
        *out++ = alphabet[v >> 6 & 63];
        *out++ = alphabet[v & 63];
    }
    size_t rest = in.len - i;
    if (rest) {
        uint32_t v = (uint32_t)in.data[i] << 16 | (rest == 2 ? (uint32_t)in.data[i + 1] << 8 : 0);
        *out++ = alphabet[v >> 18];
        *out++ = alphabet[v >> 12 & 63];
        if (rest == 2)
            *out++ = alphabet[v >> 6 & 63];
        for (size_t k = rest; pad && k < 3; k++)
            *out++ = '=';
    }
    *out = 0;
    return (size_t)(out - start);
}

size_t base64_encode(struct bytes in, char *out)
{
    return encode64(in, out, alphabet_std, true);
}

size_t base64url_encode(struct bytes in, char *out)
{
    return encode64(in, out, alphabet_url, false);
}

/* Value of each character in both alphabets: 0x40 marks "standard only", 0x80 "URL only". */
static const uint8_t values[256] = {
#define V(c, v) [c] = (v) + 1
    V('A', 0),  V('B', 1),  V('C', 2),        V('D', 3),        V('E', 4),       V('F', 5),
    V('G', 6),  V('H', 7),  V('I', 8),        V('J', 9),        V('K', 10),      V('L', 11),
    V('M', 12), V('N', 13), V('O', 14),       V('P', 15),       V('Q', 16),      V('R', 17),
    V('S', 18), V('T', 19), V('U', 20),       V('V', 21),       V('W', 22),      V('X', 23),
    V('Y', 24), V('Z', 25), V('a', 26),       V('b', 27),       V('c', 28),      V('d', 29),
    V('e', 30), V('f', 31), V('g', 32),       V('h', 33),       V('i', 34),      V('j', 35),
    V('k', 36), V('l', 37), V('m', 38),       V('n', 39),       V('o', 40),      V('p', 41),
    V('q', 42), V('r', 43), V('s', 44),       V('t', 45),       V('u', 46),      V('v', 47),
    V('w', 48), V('x', 49), V('y', 50),       V('z', 51),       V('0', 52),      V('1', 53),
    V('2', 54), V('3', 55), V('4', 56),       V('5', 57),       V('6', 58),      V('7', 59),
    V('8', 60), V('9', 61), V('+', 62 | 128), V('/', 63 | 128), V('-', 62 | 64), V('_', 63 | 64),
#undef V
};

/* -1 where the character is not of the alphabet. */
static int value64(uint8_t c, bool url)
{
    int v = values[c];
    if (v == 0)
        return -1;
    v--;
    if (v & 192)
        return ((v & 64) != 0) == url ? v & 63 : -1;
    return v;
}

/* The last 2 or 3 characters of a group; spare bits must be zero. */
static bool decode_tail(const uint8_t *in, size_t n, bool url, uint8_t *out, size_t *written)
{
    int a = value64(in[0], url), b = value64(in[1], url);
    int c = n == 3 ? value64(in[2], url) : 0;
    if (a < 0 || b < 0 || c < 0)
        return false;
    if (n == 2 ? b & 15 : c & 3)
        return false;
    out[0] = (uint8_t)(a << 2 | b >> 4);
    if (n == 3)
        out[1] = (uint8_t)((b & 15) << 4 | c >> 2);
    *written = n - 1;
    return true;
}

static bool decode64(const uint8_t *in, size_t n, bool url, uint8_t *out, size_t *out_len)
{
    size_t o = 0, i = 0;
    for (; i + 4 <= n; i += 4) {
        int a = value64(in[i], url), b = value64(in[i + 1], url);
        int c = value64(in[i + 2], url), d = value64(in[i + 3], url);
        if ((a | b | c | d) < 0)
            return false;
        out[o] = (uint8_t)(a << 2 | b >> 4);
        out[o + 1] = (uint8_t)((b & 15) << 4 | c >> 2);
        out[o + 2] = (uint8_t)((c & 3) << 6 | d);
        o += 3;
    }
    size_t tail = 0;
    if (n - i == 1 || (n - i >= 2 && !decode_tail(in + i, n - i, url, out + o, &tail)))
        return false;
    *out_len = o + tail;
    return true;
}

bool base64_decode(const char *text, size_t text_len, uint8_t *out, size_t *out_len)
{
    if (text_len % 4)
        return false;
    size_t n = text_len;
    for (int k = 0; k < 2 && n && text[n - 1] == '='; k++)
        n--;
    return decode64((const uint8_t *)text, n, false, out, out_len);
}

bool base64url_decode(const char *text, size_t text_len, uint8_t *out, size_t out_size,
                      size_t *out_len)
{
    if (text_len / 4 * 3 + (text_len % 4 ? text_len % 4 - 1 : 0) > out_size)
        return false;
    return decode64((const uint8_t *)text, text_len, true, out, out_len);
}
