#include "arm/url.h"

#include "arm/reply.h"

#include <ctype.h>
#include <strings.h>

bool arm_url_chars_ok(const char *s)
{
    size_t n = strnlen(s, ARM_URL_MAX + 1);
    if (n == 0 || n > ARM_URL_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        if (s[i] < 0x21 || s[i] > 0x7e || s[i] == '\\')
            return false;
    return true;
}

/* Decimal without sign, 1 to 65535. */
static bool port_parse(const char *s, size_t n, unsigned *out)
{
    unsigned v = 0;
    if (n == 0 || n > 5)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9')
            return false;
        v = v * 10 + (unsigned)(s[i] - '0');
    }
    *out = v;
    return v > 0 && v <= 65535;
}

/* Letters, digits, '-', '.', '_' or a bracketed IPv6 literal: no userinfo, no percent-encoding. */
static size_t host_len(const char *s)
{
    size_t n = 0;
    if (s[0] == '[') {
        for (n = 1; isxdigit((unsigned char)s[n]) || s[n] == ':' || s[n] == '.'; n++)
            ;
        return s[n] == ']' ? n + 1 : 0;
    }
    while (isalnum((unsigned char)s[n]) || s[n] == '-' || s[n] == '.' || s[n] == '_')
        n++;
    return n;
}

bool arm_origin_parse(const char *url, struct arm_origin *out)
{
    *out = (struct arm_origin){0};
    size_t at;
    if (strncasecmp(url, "https://", 8) == 0) {
        out->https = true;
        at = 8;
    } else if (strncasecmp(url, "http://", 7) == 0) {
        at = 7;
    } else {
        return false;
    }
    size_t n = host_len(url + at);
    if (n == 0 || n >= sizeof out->host)
        return false;
    for (size_t i = 0; i < n; i++)
        out->host[i] = (char)tolower((unsigned char)url[at + i]);
    at += n;
    out->port = out->https ? 443 : 80;
    if (url[at] == ':') {
        size_t digits = strcspn(url + at + 1, "/?#");
        if (!port_parse(url + at + 1, digits, &out->port))
            return false;
        at += 1 + digits;
    }
    out->len = at;
    return url[at] == '\0' || url[at] == '/' || url[at] == '?' || url[at] == '#';
}

bool arm_origin_equal(const struct arm_origin *a, const struct arm_origin *b)
{
    return a->https == b->https && a->port == b->port && strcmp(a->host, b->host) == 0;
}

bool arm_origin_loopback(const struct arm_origin *o)
{
    return strcmp(o->host, "127.0.0.1") == 0 || strcmp(o->host, "[::1]") == 0;
}

bool arm_url_host_ok(const char *endpoint, const char *url)
{
    struct arm_origin want;
    struct arm_origin got;
    if (!endpoint || !url || !arm_url_chars_ok(url))
        return false;
    return arm_origin_parse(endpoint, &want) && arm_origin_parse(url, &got) && got.https &&
           arm_origin_equal(&want, &got);
}

void arm_url_encode(struct buf *out, const char *s)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (isalnum(c) || c == '-' || c == '.' || c == '_' || c == '~')
            buf_add_char(out, (char)c);
        else
            buf_printf(out, "%%%02X", c);
    }
}
