/*
 * The header guard over whatever a parser may leave. The input stands for the head as it was sent:
 * line ends, colons and blanks become NULs as libmicrohttpd 0.9.75 makes them, and a head that the
 * guard lets pass must have one reading.
 */
#include "server/guard.h"

#include <assert.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[GUARD_IDS_MAX] = {"host", "x-request-id"};

/* The cuts of the parser: request line at its blanks, fields at the first colon, lines at CR or LF. */
static size_t cut(uint8_t *b, size_t n)
{
    size_t target_len = 0;
    uint8_t *line = memchr(b, '\n', n);
    if (!line)
        return 0;
    uint8_t *first = memchr(b, ' ', (size_t)(line - b)), *last = line;
    while (last > b && *last != ' ')
        last--;
    if (!first || last <= first)
        return 0;
    target_len = (size_t)(last - first - 1);
    *first = *last = 0;
    bool name = false;
    for (uint8_t *p = last; p < b + n; p++) {
        if (*p == '\r' || *p == '\n') {
            *p = 0;
            name = true;
        } else if (name && *p == ':') {
            *p = 0;
            name = false;
        }
    }
    return target_len;
}

static void check(const struct guard_head *h)
{
    int hosts = 0, lengths = 0, codings = 0;
    for (size_t i = 0; i < h->n_fields; i++) {
        const struct guard_field *f = &h->fields[i];
        assert(guard_is_token(f->name));
        assert(memchr(f->value.data, 0, f->value.len) == NULL);
        assert(f->value.data[f->value.len] == 0);
        hosts += guard_find(h, "host") == f;
        lengths += f->name.len == 14 && guard_find(h, "content-length") == f;
        codings += guard_find(h, "transfer-encoding") == f;
    }
    assert(hosts <= 1 && lengths + codings <= 1);
    assert(h->http10 || hosts == 1);
    assert(!(h->chunked && h->has_length));
}

/* With other values where the cuts are, the guard says the same. */
static void put_others(const struct guard_cut *cut, size_t target_len, size_t size)
{
    struct guard_head head;
    uint8_t *block = malloc(size + cut->n_ids), *at = block;
    if (!block)
        abort();
    for (size_t i = 0; i < cut->n_parts; i++) {
        memcpy(at, cut->parts[i].data, cut->parts[i].len);
        at += cut->parts[i].len;
        if (i < cut->n_ids)
            *at++ = 'v';
    }
    assert(guard_check(block, (size_t)(at - block), target_len, &head, NULL) == OK);
    free(block);
}

/* The same fields are found with the guard and without. */
static void check_cut(const struct guard_head *h, const struct guard_cut *cut, bool can)
{
    size_t n[GUARD_IDS_MAX] = {0};
    for (size_t i = 0; i < h->n_fields; i++)
        for (size_t k = 0; k < GUARD_IDS_MAX; k++)
            n[k] += h->fields[i].name.len == strlen(names[k]) &&
                    strcasecmp((const char *)h->fields[i].name.data, names[k]) == 0;
    assert(can == (n[0] <= 1 && n[1] <= 1));
    assert(!can || cut->n_ids == n[0] + n[1]);
    for (size_t i = 0; can && i < cut->n_ids; i++) {
        struct bytes value = guard_find(h, (const char *)cut->ids[i].name.data)->value;
        assert(value.len <= cut->ids[i].value.len);
        assert(memcmp(value.data, cut->ids[i].value.data, value.len) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 65536)
        return 0;
    uint8_t *block = malloc(size + 1), *raw = malloc(size + 1);
    if (!block || !raw)
        abort();
    memcpy(block, data, size);
    size_t target_len = cut(block, size);
    memcpy(raw, block, size); /* the guard writes into its own */
    struct guard_head head;
    struct guard_cut found;
    struct err_info why;
    bool can = guard_cut(BYTES(raw, size), target_len, names, &found);
    if (guard_check(block, size, target_len, &head, &why) == OK) {
        check(&head);
        check_cut(&head, &found, can);
        if (can)
            put_others(&found, target_len, size);
    }
    free(block);
    free(raw);
    return 0;
}
