#include "arm/reply.h"

#include "arm/header.h"
#include "core/clock.h"

#include <strings.h>

static const char *const methods[] = {
    [ARM_GET] = "GET",     [ARM_HEAD] = "HEAD", [ARM_PUT] = "PUT",
    [ARM_PATCH] = "PATCH", [ARM_POST] = "POST", [ARM_DELETE] = "DELETE",
};

const char *arm_method_name(enum arm_method m)
{
    return methods[m];
}

struct arm_reply *arm_reply_new(void)
{
    struct arena *a = arena_new();
    struct arm_reply *r = ARENA_NEW(a, struct arm_reply);
    *r = (struct arm_reply)ARM_REPLY_INIT;
    r->arena = a;
    return r;
}

void arm_reply_free(struct arm_reply *r)
{
    if (r)
        arena_free(r->arena);
}

/* Digits only; -1 for anything else or more than `max`. */
static int64_t decimal(const char *s, int64_t max)
{
    int64_t v = 0;
    if (!*s)
        return -1;
    for (; *s; s++) {
        if (*s < '0' || *s > '9' || v > max)
            return -1;
        v = v * 10 + (*s - '0');
    }
    return v <= max ? v : -1;
}

static int month_of(const char *s)
{
    static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    for (int i = 0; i < 12; i++)
        if (strncmp(names + (size_t)i * 3, s, 3) == 0)
            return i + 1;
    return 0;
}

/* IMF-fixdate, RFC 9110 5.6.7; the obsolete forms are not worth a parser. */
static bool http_date(const char *s, int64_t *ms)
{
    char month[4];
    char end = 0;
    int day, year, hour, min, sec;
    if (strlen(s) != 29 ||
        sscanf(s + 3, ", %2d %3s %4d %2d:%2d:%2d GM%c", &day, month, &year, &hour, &min, &sec,
               &end) != 7 ||
        end != 'T')
        return false;
    char text[40];
    snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.000Z", year, month_of(month), day,
             hour, min, sec);
    return time_parse(text, ms);
}

int64_t arm_retry_after(const char *text, int64_t now_ms)
{
    int64_t at;
    size_t digits = strspn(text, "0123456789");
    if (digits && !text[digits]) {
        int64_t seconds = decimal(text, ARM_RETRY_AFTER_MAX_MS / 1000);
        return seconds < 0 ? ARM_RETRY_AFTER_MAX_MS : seconds * 1000;
    }
    if (!http_date(text, &at))
        return -1;
    if (at <= now_ms)
        return 0;
    return at - now_ms > ARM_RETRY_AFTER_MAX_MS ? ARM_RETRY_AFTER_MAX_MS : at - now_ms;
}

enum header_kind { HEADER_TEXT, HEADER_NUMBER };

static const struct header_row {
    const char *name;
    enum header_kind kind;
    size_t offset;
} headers[] = {
    {"Content-Type", HEADER_TEXT, offsetof(struct arm_reply, content_type)},
    {"Azure-AsyncOperation", HEADER_TEXT, offsetof(struct arm_reply, async_operation)},
    {"Location", HEADER_TEXT, offsetof(struct arm_reply, location)},
    {"ETag", HEADER_TEXT, offsetof(struct arm_reply, etag)},
    {"x-ms-request-id", HEADER_TEXT, offsetof(struct arm_reply, request_id)},
    {"x-ms-correlation-request-id", HEADER_TEXT, offsetof(struct arm_reply, correlation_id)},
    {"x-ms-ratelimit-remaining-subscription-reads", HEADER_NUMBER,
     offsetof(struct arm_reply, remaining_reads)},
    {"x-ms-ratelimit-remaining-subscription-writes", HEADER_NUMBER,
     offsetof(struct arm_reply, remaining_writes)},
    {"x-ms-ratelimit-remaining-subscription-deletes", HEADER_NUMBER,
     offsetof(struct arm_reply, remaining_deletes)},
};

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* What lies between the blanks; NULL where a byte is not visible ASCII or a blank, or it is too
 * long. */
static const char *header_value(struct arena *a, struct bytes line, size_t colon)
{
    const char *s = (const char *)line.data + colon + 1;
    size_t n = line.len - colon - 1;
    while (n && blank(*s))
        s++, n--;
    while (n && blank(s[n - 1]))
        n--;
    if (n > ARM_URL_MAX)
        return NULL;
    for (size_t i = 0; i < n; i++)
        if (s[i] < 0x20 || s[i] > 0x7e)
            return NULL;
    return arena_strndup(a, s, n);
}

void arm_header_add(struct arm_reply *r, struct bytes line, int64_t now_ms)
{
    const uint8_t *end = line.len ? memchr(line.data, ':', line.len) : NULL;
    if (!end)
        return;
    size_t colon = (size_t)(end - line.data);
    const char *name = (const char *)line.data;
    if (colon == strlen("Retry-After") && strncasecmp(name, "Retry-After", colon) == 0) {
        const char *v = header_value(r->arena, line, colon);
        r->retry_after_ms = v ? arm_retry_after(v, now_ms) : -1;
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
        const struct header_row *h = &headers[i];
        if (strlen(h->name) != colon || strncasecmp(name, h->name, colon) != 0)
            continue;
        const char *v = header_value(r->arena, line, colon);
        void *to = (char *)r + h->offset;
        if (h->kind == HEADER_TEXT)
            memcpy(to, &v, sizeof v);
        else
            *(int64_t *)to = v ? decimal(v, INT64_MAX / 100) : -1;
        return;
    }
}

void arm_header_reset(struct arm_reply *r)
{
    struct arm_reply fresh = ARM_REPLY_INIT;
    fresh.arena = r->arena;
    *r = fresh;
}
