#include "server/target.h"

#include <strings.h>

/* RFC 3986: unreserved, sub-delims, ":" and "@"; "/" and "?" too where a query may have them. */
static bool plain(char c, bool query)
{
    if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'))
        return true;
    return c && (strchr("-._~!$&'()*+,;=:@", c) || (query && strchr("/?", c)));
}

static enum err decode(const char *text, size_t n, bool query, struct arena *a, const char **out,
                       struct err_info *e)
{
    char *to = arena_alloc(a, n + 1), *start = to;
    for (size_t i = 0; i < n; i++) {
        uint8_t byte = (uint8_t)text[i];
        if (text[i] == '%') {
            if (n - i < 3 || !hex_decode(text + i + 1, 2, &byte, 1))
                return err_set(e, ERR_BAD_REQUEST, "the target has a broken escape");
            if (byte < 0x20 || byte == 0x7f || (!query && byte == '/'))
                return err_set(e, ERR_BAD_REQUEST, "the target has an escape that is not allowed");
            i += 2;
        } else if (!plain(text[i], query)) {
            return err_set(e, ERR_BAD_REQUEST, "the target has a character that must be escaped");
        }
        *to++ = (char)byte;
    }
    *out = start;
    if (!utf8_valid(BYTES(start, (size_t)(to - start))))
        return err_set(e, ERR_BAD_REQUEST, "the target is not UTF-8");
    return OK;
}

static enum err parse_path(const char *text, size_t n, struct arena *a, struct target *out,
                           struct err_info *e)
{
    out->path = arena_strndup(a, text, n);
    for (size_t at = 1; at <= n;) {
        size_t len = strcspn(out->path + at, "/");
        if (out->n_segments == TARGET_SEGMENTS_MAX)
            return err_set(e, ERR_NOT_FOUND, "no such path");
        const char **segment = &out->segments[out->n_segments++];
        enum err err = decode(out->path + at, len, false, a, segment, e);
        if (err)
            return err;
        if (strcmp(*segment, ".") == 0 || strcmp(*segment, "..") == 0)
            return err_set(e, ERR_BAD_REQUEST, "the target has dot segments");
        at += len + 1;
    }
    return OK;
}

static enum err parse_query(const char *text, struct arena *a, struct target *out,
                            struct err_info *e)
{
    while (*text) {
        size_t n = strcspn(text, "&");
        const char *eq = memchr(text, '=', n);
        size_t key = eq ? (size_t)(eq - text) : n;
        if (out->n_query == TARGET_QUERY_MAX)
            return err_set(e, ERR_BAD_REQUEST, "more than %d query parameters", TARGET_QUERY_MAX);
        struct str_pair *pair = &out->query[out->n_query++];
        enum err err = decode(text, key, true, a, &pair->key, e);
        if (!err)
            err = decode(eq ? eq + 1 : "", eq ? n - key - 1 : 0, true, a, &pair->value, e);
        if (err)
            return err;
        text += n + (text[n] == '&');
    }
    return OK;
}

/* The path of an absolute form: RFC 9112 section 3.2.2 has every server accept it. */
static const char *origin_form(const char *text)
{
    size_t scheme = strncasecmp(text, "http://", 7) == 0    ? 7
                    : strncasecmp(text, "https://", 8) == 0 ? 8
                                                            : 0;
    return scheme ? text + scheme + strcspn(text + scheme, "/") : text;
}

enum err target_parse(const char *text, struct arena *a, struct target *out, struct err_info *e)
{
    memset(out, 0, sizeof *out);
    out->path = "";
    text = origin_form(text);
    if (*text != '/')
        return err_set(e, ERR_BAD_REQUEST, "the target is not a path");
    size_t n = strcspn(text, "?");
    enum err err = parse_path(text, n, a, out, e);
    return err || !text[n] ? err : parse_query(text + n + 1, a, out, e);
}
