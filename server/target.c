#include "server/target.h"

#include <strings.h>

/* RFC 3986: unreserved, sub-delims, ":" and "@"; "/" and "?" too where a query may have them. */
enum { IN_PATH = 1, IN_QUERY = 2 };
static const uint8_t plain[256] = {
    ['0' ... '9'] = 3, ['A' ... 'Z'] = 3, ['a' ... 'z'] = 3, ['-'] = 3, ['.'] = 3,
    ['_'] = 3,         ['~'] = 3,         ['!'] = 3,         ['$'] = 3, ['&'] = 3,
    ['\''] = 3,        ['('] = 3,         [')'] = 3,         ['*'] = 3, ['+'] = 3,
    [','] = 3,         [';'] = 3,         ['='] = 3,         [':'] = 3, ['@'] = 3,
    ['/'] = IN_QUERY,  ['?'] = IN_QUERY,
};

static enum err decode(const char *text, size_t n, int where, struct arena *a, const char **out,
                       struct err_info *e)
{
    char *to = arena_alloc(a, n + 1), *start = to;
    for (size_t i = 0; i < n; i++) {
        uint8_t byte = (uint8_t)text[i];
        if (plain[byte] & where) {
            *to++ = (char)byte;
            continue;
        }
        if (byte != '%')
            return err_set(e, ERR_BAD_REQUEST, "the target has a character that must be escaped");
        if (n - i < 3 || !hex_decode(text + i + 1, 2, &byte, 1))
            return err_set(e, ERR_BAD_REQUEST, "the target has a broken escape");
        if (byte < 0x20 || byte == 0x7f || (where == IN_PATH && byte == '/'))
            return err_set(e, ERR_BAD_REQUEST, "the target has an escape that is not allowed");
        i += 2;
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
        enum err err = decode(out->path + at, len, IN_PATH, a, segment, e);
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
        enum err err = decode(text, key, IN_QUERY, a, &pair->key, e);
        if (!err)
            err = decode(eq ? eq + 1 : "", eq ? n - key - 1 : 0, IN_QUERY, a, &pair->value, e);
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
    target_clear(out);
    text = origin_form(text);
    if (*text != '/')
        return err_set(e, ERR_BAD_REQUEST, "the target is not a path");
    size_t n = strcspn(text, "?");
    enum err err = parse_path(text, n, a, out, e);
    return err || !text[n] ? err : parse_query(text + n + 1, a, out, e);
}
