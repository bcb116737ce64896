#include "server/fields.h"
#include "core/clock.h"

#include <strings.h>

static const char *skip_blanks(const char *s)
{
    return s + strspn(s, " \t");
}

/* Length without blanks at the end. */
static size_t trimmed(const char *s, size_t n)
{
    while (n && (s[n - 1] == ' ' || s[n - 1] == '\t'))
        n--;
    return n;
}

static bool same(const char *s, size_t n, const char *text)
{
    return n == strlen(text) && strncasecmp(s, text, n) == 0;
}

bool fields_media_is(const char *value, const char *media)
{
    size_t n = strcspn(value, ";");
    if (!same(value, trimmed(value, n), media))
        return false;
    for (const char *at = value + n; *at;) {
        at = skip_blanks(at + 1);
        n = strcspn(at, ";");
        size_t len = trimmed(at, n);
        if (!same(at, len, "charset=utf-8") && !same(at, len, "charset=\"utf-8\""))
            return false;
        at += n;
    }
    return true;
}

/* How specific a media range is: 2 for type/subtype, 1 for type/ *, 0 for * / *; -1: no match. */
static int range_rank(const char *range, size_t n, const char *media)
{
    size_t type = strcspn(media, "/");
    if (same(range, n, media))
        return 2;
    if (n == type + 2 && range[type] == '/' && range[type + 1] == '*' &&
        strncasecmp(range, media, type) == 0)
        return 1;
    return same(range, n, "*/*") ? 0 : -1;
}

/* Is the weight of this range's parameters above zero? */
static bool weight_positive(const char *params, size_t n)
{
    const char *end = params + n;
    for (const char *at = params; at < end; at++) {
        if (*at != ';')
            continue;
        at = skip_blanks(at + 1);
        if (end - at >= 2 && (*at == 'q' || *at == 'Q') && at[1] == '=') {
            at += 2;
            return strspn(at, "0.") < strcspn(at, ",; \t");
        }
        at--;
    }
    return true;
}

bool fields_accepts(const char *accept, const char *media)
{
    if (!accept || !*accept)
        return true;
    int best = -1;
    bool ok = false;
    for (const char *at = accept; *at;) {
        at = skip_blanks(at);
        size_t n = strcspn(at, ","), range = strcspn(at, ";,");
        int rank = range_rank(at, trimmed(at, range), media);
        if (rank > best) {
            best = rank;
            ok = weight_positive(at + range, n - range);
        }
        at += n + (at[n] == ',');
    }
    return ok;
}

int fields_prefer_wait(const char *prefer, int max)
{
    for (const char *at = prefer; at && *at;) {
        at = skip_blanks(at);
        size_t n = strcspn(at, ",");
        if (strncasecmp(at, "wait=", 5) == 0) {
            size_t len = strspn(at + 5, "0123456789");
            const char *end = skip_blanks(at + 5 + len);
            if (len == 0 || len > 9 || (*end && *end != ',' && *end != ';'))
                return 0;
            long wait = strtol(at + 5, NULL, 10);
            return wait > max ? max : (int)wait;
        }
        at += n + (at[n] == ',');
    }
    return 0;
}

/* RFC 8941 section 3.3.3. */
static const char *unquote(const char *value, struct arena *a)
{
    char *out = arena_alloc(a, strlen(value) + 1), *to = out;
    const char *at = value + 1;
    for (; *at && *at != '"'; at++) {
        if (*at == '\\' && (at[1] == '"' || at[1] == '\\'))
            at++;
        else if (*at == '\\')
            return NULL;
        *to++ = *at;
    }
    return *at == '"' && !at[1] ? out : NULL;
}

const char *fields_idempotency_key(const char *value, struct arena *a)
{
    const char *key = *value == '"' ? unquote(value, a) : arena_strdup(a, value);
    size_t n = key ? strlen(key) : 0;
    if (n == 0 || n > 255)
        return NULL;
    for (const char *p = key; *p; p++)
        if (*p < 0x20 || *p > 0x7e || (*value != '"' && strchr("\" ,;\\", *p)))
            return NULL;
    return key;
}

bool fields_request_id_ok(const char *value)
{
    size_t n = strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    return n > 0 && n <= REQUEST_ID_MAX && !value[n];
}

static bool lower_hex(const char *s, size_t n)
{
    bool zero = true;
    for (size_t i = 0; i < n; i++) {
        if (!((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f')))
            return false;
        zero = zero && s[i] == '0';
    }
    return !zero;
}

static bool flags_ok(const char *s)
{
    return strspn(s, "0123456789abcdef") >= 2;
}

/* version "-" trace-id "-" parent-id "-" flags; a later version may have more after a dash. */
bool fields_traceparent_ok(const char *s)
{
    if (strlen(s) < 55 || !flags_ok(s) || strncmp(s, "ff", 2) == 0)
        return false;
    if (s[2] != '-' || s[35] != '-' || s[52] != '-')
        return false;
    if (!lower_hex(s + 3, 32) || !lower_hex(s + 36, 16) || !flags_ok(s + 53))
        return false;
    return !s[55] || (s[55] == '-' && strncmp(s, "00", 2) != 0);
}

bool fields_traceparent(const char *value, char out[TRACEPARENT_SIZE])
{
    uint8_t trace[16], span[8];
    bool taken = value && fields_traceparent_ok(value);
    random_id(trace, sizeof trace);
    random_id(span, sizeof span);
    trace[15] |= 1; /* all zeros is not an id */
    span[7] |= 1;
    memcpy(out, "00-", 3);
    hex_encode(BYTES_OF(trace), out + 3);
    if (taken)
        memcpy(out + 3, value + 3, 32);
    out[35] = '-';
    hex_encode(BYTES_OF(span), out + 36);
    out[52] = '-';
    memcpy(out + 53, taken ? value + 53 : "00", 2);
    out[55] = 0;
    return taken;
}
