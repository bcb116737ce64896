#include "arm/text.h"

#include <stdint.h>

static size_t continuation_bytes(const char *s, size_t n)
{
    for (size_t i = 1; i <= n; i++)
        if (((uint8_t)s[i] & 0xc0) != 0x80)
            return 0;
    return n + 1;
}

/* Bytes of the UTF-8 character at s; 0 where it is none. Overlong forms, surrogates and C1 controls
 * (RFC 3629, U+0080..U+009F) are none. */
static size_t char_len(const char *s)
{
    uint8_t a = (uint8_t)s[0];
    uint8_t b = a ? (uint8_t)s[1] : 0;
    if (a < 0x80)
        return 1;
    if (a >= 0xc2 && a <= 0xdf)
        return a == 0xc2 && b < 0xa0 ? 0 : continuation_bytes(s, 1);
    if (a >= 0xe0 && a <= 0xef) {
        if ((a == 0xe0 && b < 0xa0) || (a == 0xed && b > 0x9f))
            return 0;
        return continuation_bytes(s, 2);
    }
    if (a >= 0xf0 && a <= 0xf4) {
        if ((a == 0xf0 && b < 0x90) || (a == 0xf4 && b > 0x8f))
            return 0;
        return continuation_bytes(s, 3);
    }
    return 0;
}

void arm_text_copy(char *out, size_t size, const char *text)
{
    size_t at = 0;
    for (const char *s = text ? text : ""; *s;) {
        size_t n = char_len(s);
        if (at + (n ? n : 1) >= size)
            break;
        if (n == 0)
            out[at++] = '?';
        else if (n == 1 && ((uint8_t)*s < 0x20 || *s == 0x7f))
            out[at++] = ' ';
        else
            for (size_t i = 0; i < n; i++)
                out[at++] = s[i];
        s += n ? n : 1;
    }
    out[at] = '\0';
}

void arm_text_first_line(char *out, size_t size, const char *text)
{
    char line[1024];
    snprintf(line, sizeof line, "%s", text ? text : "");
    line[strcspn(line, "\r\n")] = '\0';
    arm_text_copy(out, size, line);
}
