#include "core/clock.h"
#include "core/bytes.h"

#include <openssl/rand.h>
#include <stdatomic.h>

static int64_t read_clock(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t system_wall(void *ctx)
{
    return read_clock(CLOCK_REALTIME);
}

/* BOOTTIME: a suspended machine must not stretch a lease. */
static int64_t system_mono(void *ctx)
{
    return read_clock(CLOCK_BOOTTIME);
}

const struct clock clock_system = {.wall_ms = system_wall, .mono_ms = system_mono};

int64_t clock_wall(const struct clock *c)
{
    return c->wall_ms(c->ctx);
}

int64_t clock_mono(const struct clock *c)
{
    return c->mono_ms(c->ctx);
}

int64_t clock_real_ms(const struct clock *c, int64_t ms)
{
    return c->rate > 1 ? (ms + c->rate - 1) / c->rate : ms;
}

static int64_t manual_wall(void *ctx)
{
    return ((struct manual_clock *)ctx)->wall;
}

static int64_t manual_mono(void *ctx)
{
    return ((struct manual_clock *)ctx)->mono;
}

struct clock clock_manual(struct manual_clock *m)
{
    return (struct clock){.wall_ms = manual_wall, .mono_ms = manual_mono, .ctx = m};
}

void random_bytes(void *out, size_t n)
{
    if (RAND_bytes(out, (int)n) != 1)
        abort();
}

void random_id(void *out, size_t n)
{
    static _Thread_local uint8_t ahead[8192];
    static _Thread_local size_t left;
    if (n > left) {
        random_bytes(ahead, sizeof ahead);
        left = sizeof ahead;
    }
    left -= n;
    memcpy(out, ahead + left, n);
}

static void uuid_text(uint8_t b[16], unsigned version, char out[UUID_SIZE])
{
    b[6] = (uint8_t)((b[6] & 0x0f) | version << 4);
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    static const uint8_t group[] = {4, 2, 2, 2, 6};
    const uint8_t *p = b;
    for (size_t i = 0; i < ARRAY_LEN(group); i++) {
        hex_encode(BYTES(p, group[i]), out);
        p += group[i];
        out += group[i] * 2;
        *out++ = '-';
    }
    out[-1] = 0;
}

void uuid_v4(char out[UUID_SIZE])
{
    uint8_t b[16];
    random_bytes(b, sizeof b);
    uuid_text(b, 4, out);
}

/*
 * Milliseconds and a counter of 12 bits (RFC 9562, 6.2, method 1), which runs over into the milliseconds. A clock that
 * steps back by less than STEP_MS does not take the order back, one that steps further is followed.
 */
#define STEP_MS 1000
static uint64_t uuid_stamp(int64_t wall_ms)
{
    static atomic_uint_least64_t newest;
    uint64_t now = (uint64_t)wall_ms << 12, before = atomic_load(&newest), stamp;
    do
        stamp = before >= now && before - now < STEP_MS << 12 ? before + 1 : now;
    while (!atomic_compare_exchange_weak(&newest, &before, stamp));
    return stamp;
}

void uuid_v7(int64_t wall_ms, char out[UUID_SIZE])
{
    uint8_t b[16];
    uint64_t stamp = uuid_stamp(wall_ms);
    random_id(b + 8, sizeof b - 8);
    for (int i = 0; i < 6; i++)
        b[i] = (uint8_t)(stamp >> (52 - 8 * i));
    b[6] = (uint8_t)(stamp >> 8 & 0x0f);
    b[7] = (uint8_t)stamp;
    uuid_text(b, 7, out);
}

bool uuid_valid(const char *s)
{
    for (int i = 0; i < 36; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        bool hex = (s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f') ||
                   (s[i] >= 'A' && s[i] <= 'F');
        if (dash ? s[i] != '-' : !hex)
            return false;
    }
    return s[36] == 0;
}

/* The n last digits of v and what follows them. */
static char *put_digits(char *at, uint64_t v, int n, char after)
{
    for (int i = n - 1; i >= 0; i--, v /= 10)
        at[i] = (char)('0' + v % 10);
    at[n] = after;
    return at + n + 1;
}

/* "2026-11-22T01:02:03." */
static void format_second(time_t seconds, char out[21])
{
    struct tm tm;
    gmtime_r(&seconds, &tm);
    out = put_digits(out, (uint64_t)(tm.tm_year + 1900), 4, '-');
    out = put_digits(out, (uint64_t)(tm.tm_mon + 1), 2, '-');
    out = put_digits(out, (uint64_t)(tm.tm_mday), 2, 'T');
    out = put_digits(out, (uint64_t)(tm.tm_hour), 2, ':');
    out = put_digits(out, (uint64_t)(tm.tm_min), 2, ':');
    *put_digits(out, (uint64_t)(tm.tm_sec), 2, '.') = 0;
}

/* Each request is logged with its time, and most in the second of the one before. */
void time_format(int64_t ms, char out[TIME_TEXT_SIZE])
{
    static _Thread_local time_t last = -1;
    static _Thread_local char text[21];
    time_t seconds = (time_t)(ms / 1000);
    if (seconds != last || !*text)
        format_second(seconds, text);
    last = seconds;
    memcpy(out, text, 20);
    *put_digits(out + 20, (uint64_t)ms % 1000, 3, 'Z') = 0;
}

/* n decimal digits, or -1. */
static int digits(const char **s, int n)
{
    int v = 0;
    for (; n > 0; n--, (*s)++) {
        if (**s < '0' || **s > '9')
            return -1;
        v = v * 10 + (**s - '0');
    }
    return v;
}

static bool expect(const char **s, char c)
{
    if (**s != c)
        return false;
    (*s)++;
    return true;
}

static bool parse_fraction(const char **s, int *ms)
{
    *ms = 0;
    if (**s != '.')
        return true;
    (*s)++;
    int scale = 100, n = 0;
    for (; **s >= '0' && **s <= '9'; (*s)++, n++, scale /= 10)
        *ms += (**s - '0') * scale;
    return n > 0;
}

static bool parse_offset(const char **s, int *minutes)
{
    *minutes = 0;
    if (**s == 'Z' || **s == 'z') {
        (*s)++;
        return true;
    }
    int sign = **s == '+' ? 1 : **s == '-' ? -1 : 0;
    if (!sign)
        return false;
    (*s)++;
    int h = digits(s, 2);
    if (h < 0 || h > 23 || !expect(s, ':'))
        return false;
    int m = digits(s, 2);
    *minutes = sign * (h * 60 + m);
    return m >= 0 && m < 60;
}

bool time_parse(const char *s, int64_t *out)
{
    struct tm tm = {0};
    int ms, offset;
    int year = digits(&s, 4);
    bool ok = year >= 0 && expect(&s, '-');
    tm.tm_mon = ok ? digits(&s, 2) - 1 : 0;
    ok = ok && expect(&s, '-');
    tm.tm_mday = ok ? digits(&s, 2) : 0;
    ok = ok && (expect(&s, 'T') || expect(&s, 't'));
    tm.tm_hour = ok ? digits(&s, 2) : 0;
    ok = ok && expect(&s, ':');
    tm.tm_min = ok ? digits(&s, 2) : 0;
    ok = ok && expect(&s, ':');
    tm.tm_sec = ok ? digits(&s, 2) : 0;
    if (!ok || !parse_fraction(&s, &ms) || !parse_offset(&s, &offset) || *s)
        return false;
    if (tm.tm_mon < 0 || tm.tm_mon > 11 || tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour < 0 ||
        tm.tm_hour > 23 || tm.tm_min < 0 || tm.tm_min > 59 || tm.tm_sec < 0 || tm.tm_sec > 60)
        return false;
    tm.tm_year = year - 1900;
    int mon = tm.tm_mon;
    int64_t seconds = (int64_t)timegm(&tm);
    if (tm.tm_mon != mon) /* 31 February */
        return false;
    *out = (seconds - (int64_t)offset * 60) * 1000 + ms;
    return true;
}

/* One "<number><unit>" of a duration. */
static bool duration_part(const char **s, char *unit, int64_t *n)
{
    int64_t v = 0;
    const char *start = *s;
    while (**s >= '0' && **s <= '9' && *s - start < 9)
        v = v * 10 + (*(*s)++ - '0');
    if (*s == start)
        return false;
    *n = v;
    *unit = **s;
    return *(*s)++ != 0;
}

bool duration_parse(const char *s, int64_t *ms)
{
    static const struct {
        char unit;
        bool time;
        int64_t ms;
    } units[] = {
        {'D', false, 86400000}, {'H', true, 3600000}, {'M', true, 60000}, {'S', true, 1000}};
    if (!expect(&s, 'P') || !*s)
        return false;
    int64_t total = 0;
    size_t next = 0;
    bool time = false;
    while (*s) {
        if (!time && *s == 'T') {
            time = true;
            s++;
        }
        char unit;
        int64_t n;
        if (!duration_part(&s, &unit, &n))
            return false;
        while (next < ARRAY_LEN(units) && (units[next].unit != unit || units[next].time != time))
            next++;
        if (next == ARRAY_LEN(units))
            return false;
        total += n * units[next++].ms;
    }
    *ms = total;
    return true;
}
