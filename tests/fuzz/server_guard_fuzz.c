/*
 * The header guard over whatever a parser may leave. The input stands for the head as it was sent:
 * line ends, colons and blanks become NULs as libmicrohttpd 0.9.75 makes them, and a head that the
 * guard lets pass must have one reading.
 */
#include "server/guard.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 65536)
        return 0;
    uint8_t *block = malloc(size + 1);
    if (!block)
        abort();
    memcpy(block, data, size);
    size_t target_len = cut(block, size);
    struct guard_head head;
    struct err_info why;
    if (guard_check(block, size, target_len, &head, &why) == OK)
        check(&head);
    free(block);
    return 0;
}
