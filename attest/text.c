#include "attest/text.h"

#include <string.h>

static char shown(unsigned c)
{
    return c >= 0x20 && c < 0x7f ? (char)c : '?';
}

static char *new_text(size_t n, struct arena *a)
{
    char *text = arena_alloc(a, (n > TEXT_MAX ? TEXT_MAX + 3 : n) + 1);
    if (n > TEXT_MAX)
        memcpy(text + TEXT_MAX, "...", 3);
    return text;
}

const char *text_ascii(struct bytes b, struct arena *a)
{
    while (b.len && b.data[b.len - 1] == 0)
        b.len--;
    char *text = new_text(b.len, a);
    for (size_t i = 0; i < b.len && i < TEXT_MAX; i++)
        text[i] = shown(b.data[i]);
    return text;
}

const char *text_utf16(struct bytes b, struct arena *a)
{
    size_t n = b.len / 2;
    while (n && b.data[2 * n - 2] == 0 && b.data[2 * n - 1] == 0)
        n--;
    char *text = new_text(n, a);
    for (size_t i = 0; i < n && i < TEXT_MAX; i++)
        text[i] = shown(b.data[2 * i] | (unsigned)b.data[2 * i + 1] << 8);
    return text;
}

bool text_looks_utf16(struct bytes b)
{
    if (b.len == 0 || b.len % 2 != 0)
        return false;
    for (size_t i = 1; i < b.len; i += 2)
        if (b.data[i] != 0)
            return false;
    return b.data[0] != 0;
}

const char *text_hex(struct bytes b, size_t max, struct arena *a)
{
    size_t n = b.len > max ? max : b.len;
    char *text = arena_alloc(a, 2 * n + 4);
    hex_encode(BYTES(b.data, n), text);
    if (b.len > max)
        memcpy(text + 2 * n, "...", 4);
    return text;
}
