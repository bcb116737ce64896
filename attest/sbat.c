#include "attest/sbat.h"

#include <string.h>

struct sbat_walk sbat_lines(struct bytes text)
{
    /* A variable's text may end in a terminator. */
    while (text.len && text.data[text.len - 1] == 0)
        text.len--;
    return (struct sbat_walk){.left = text};
}

/* What stands before `c`, which is taken as well; all where there is none. */
static struct bytes take_until(struct bytes *from, char c)
{
    const uint8_t *at = from->len ? memchr(from->data, c, from->len) : NULL;
    size_t n = at ? (size_t)(at - from->data) : from->len;
    struct bytes out = {from->data, n};
    size_t skip = at ? n + 1 : n;
    from->data += skip;
    from->len -= skip;
    return out;
}

static bool number(struct bytes text, uint64_t max, uint64_t *out)
{
    uint64_t v = 0;
    if (text.len == 0)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || v > max / 10)
            return false;
        v = v * 10 + (uint64_t)(text.data[i] - '0');
        if (v > max)
            return false;
    }
    *out = v;
    return true;
}

bool sbat_next(struct sbat_walk *w, struct sbat_entry *out)
{
    struct bytes line = {0};
    while (!w->bad && w->left.len && line.len == 0)
        line = take_until(&w->left, '\n');
    if (line.len && line.data[line.len - 1] == '\r')
        line.len--;
    if (w->bad || line.len == 0)
        return false;
    uint64_t generation;
    out->component = take_until(&line, ',');
    struct bytes digits = take_until(&line, ',');
    out->rest = line;
    if (out->component.len == 0 || !number(digits, UINT32_MAX, &generation)) {
        w->bad = true;
        return false;
    }
    out->generation = (uint32_t)generation;
    return true;
}

void sbat_name(const struct sbat_entry *e, char out[SBAT_NAME_MAX + 1])
{
    size_t n = e->component.len < SBAT_NAME_MAX ? e->component.len : SBAT_NAME_MAX;
    for (size_t i = 0; i < n; i++) {
        uint8_t c = e->component.data[i];
        out[i] = c >= 0x20 && c < 0x7f ? (char)c : '?';
    }
    out[n] = 0;
}

static uint32_t generation_of(struct bytes level, struct bytes component)
{
    struct sbat_walk w = sbat_lines(level);
    struct sbat_entry e;
    while (sbat_next(&w, &e))
        if (bytes_equal(e.component, component))
            return e.generation;
    return 0;
}

uint32_t sbat_generation(struct bytes level, const char *component)
{
    return generation_of(level, BYTES_STR(component));
}

uint64_t sbat_revision(struct bytes level)
{
    struct sbat_walk w = sbat_lines(level);
    struct sbat_entry e;
    uint64_t revision;
    while (sbat_next(&w, &e))
        if (bytes_equal(e.component, BYTES("sbat", 4)))
            return number(e.rest, INT64_MAX, &revision) ? revision : 0;
    return 0;
}

bool sbat_at_least(struct bytes level, struct bytes minimum, struct bytes *missing)
{
    struct sbat_walk w = sbat_lines(minimum);
    struct sbat_entry e;
    *missing = (struct bytes){0};
    while (sbat_next(&w, &e)) {
        bool revision = bytes_equal(e.component, BYTES("sbat", 4));
        if (generation_of(level, e.component) < e.generation ||
            (revision && sbat_revision(level) < sbat_revision(minimum))) {
            *missing = e.component;
            return false;
        }
    }
    return !w.bad;
}
