#include "server/guard.h"

#include <strings.h>

/* RFC 9110 section 5.6.2. */
static const bool token_chars[256] = {
    ['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true, ['!'] = true,  ['#'] = true,
    ['$'] = true,         ['%'] = true,         ['&'] = true,         ['\''] = true, ['*'] = true,
    ['+'] = true,         ['-'] = true,         ['.'] = true,         ['^'] = true,  ['_'] = true,
    ['`'] = true,         ['|'] = true,         ['~'] = true,
};

bool guard_is_token(struct bytes b)
{
    for (size_t i = 0; i < b.len; i++)
        if (!token_chars[b.data[i]])
            return false;
    return b.len > 0;
}

/* Each request asks for some fifteen fields by name: most differ in length already. */
static bool same_name(struct bytes name, const char *text, size_t len)
{
    return name.len == len && strncasecmp((const char *)name.data, text, len) == 0;
}

const struct guard_field *guard_find(const struct guard_head *h, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < h->n_fields; i++)
        if (same_name(h->fields[i].name, name, len))
            return &h->fields[i];
    return NULL;
}

/* Up to the next NUL, which is consumed too. */
static struct bytes take_text(struct cursor *c)
{
    const uint8_t *end = c->left ? memchr(c->at, 0, c->left) : NULL;
    if (!end) {
        c->bad = true;
        return (struct bytes){0};
    }
    struct bytes text = cursor_take(c, (size_t)(end - c->at));
    cursor_take(c, 1);
    return text;
}

static bool take_nul(struct cursor *c)
{
    return cursor_u8(c) == 0 && !c->bad;
}

static bool blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

/* The field's value from its line, NUL-terminated also where it ended in blanks. */
static struct bytes trim(struct bytes line, uint8_t *block, size_t start)
{
    size_t from = 0, to = line.len;
    while (from < to && blank(line.data[from]))
        from++;
    while (to > from && blank(line.data[to - 1]))
        to--;
    if (to < line.len)
        block[start + to] = 0;
    return BYTES(line.data + from, to - from);
}

/* RFC 9110 section 5.5: HTAB, SP, VCHAR and obs-text. */
static bool value_ok(struct bytes v)
{
    for (size_t i = 0; i < v.len; i++)
        if ((v.data[i] < 0x20 && v.data[i] != '\t') || v.data[i] == 0x7f)
            return false;
    return true;
}

static enum err check_line(struct cursor *c, size_t target_len, struct guard_head *h,
                           struct err_info *e)
{
    if (target_len > GUARD_TARGET_MAX)
        return err_set(e, ERR_URI_TOO_LONG, "the request target exceeds %d bytes",
                       GUARD_TARGET_MAX);
    struct bytes method = take_text(c);
    cursor_take(c, target_len);
    bool cut = !take_nul(c); /* a NUL within the target */
    struct bytes version = take_text(c);
    bool crlf = take_nul(c);
    if (c->bad || cut || !crlf || !guard_is_token(method))
        return err_set(e, ERR_BAD_REQUEST, "the request line is not well-formed");
    h->method = (const char *)method.data;
    h->http10 = bytes_equal(version, BYTES_STR("HTTP/1.0"));
    if (!h->http10 && !bytes_equal(version, BYTES_STR("HTTP/1.1")))
        return err_set(e, ERR_BAD_REQUEST, "HTTP/1.1 is expected");
    return OK;
}

static enum err check_fields(struct cursor *c, uint8_t *block, struct guard_head *h,
                             struct err_info *e)
{
    /* The empty line is what is left at the end: its two NULs. */
    while (c->left != 2) {
        if (h->n_fields == GUARD_FIELDS_MAX)
            return err_set(e, ERR_HEADERS_TOO_LARGE, "more than %d header fields",
                           GUARD_FIELDS_MAX);
        struct guard_field *f = &h->fields[h->n_fields++];
        *f = (struct guard_field){.name = take_text(c)};
        /* An empty name, a folded line (RFC 9112 section 5.2) and a blank before the colon
         * (section 5.1) all fail here. */
        if (c->bad || !guard_is_token(f->name))
            return err_set(e, ERR_BAD_REQUEST, "a header field's name is not well-formed");
        struct bytes line = take_text(c);
        bool crlf = take_nul(c);
        if (crlf)
            f->value = trim(line, block, (size_t)(line.data - block));
        if (!crlf || !value_ok(f->value))
            return err_set(e, ERR_BAD_REQUEST,
                           "a header field is not well-formed (control byte or bare line end)");
    }
    bool end = take_nul(c);
    end = take_nul(c) && end;
    return end ? OK : err_set(e, ERR_BAD_REQUEST, "the header's end is not well-formed");
}

/* Fields of which a request may have one at most. */
static enum err check_single(const struct guard_head *h, struct err_info *e)
{
    static const char *const single[] = {"host",
                                         "content-length",
                                         "transfer-encoding",
                                         "content-type",
                                         "content-encoding",
                                         "authorization",
                                         "idempotency-key",
                                         "expect"};
    for (size_t s = 0; s < ARRAY_LEN(single); s++) {
        int n = 0;
        for (size_t i = 0; i < h->n_fields; i++)
            n += same_name(h->fields[i].name, single[s], strlen(single[s]));
        if (n > 1)
            return err_set(e, ERR_BAD_REQUEST, "the header field %s is repeated", single[s]);
    }
    return OK;
}

/* RFC 9112 section 3.2: uri-host [":" port], one, not empty. */
static enum err check_host(const struct guard_head *h, struct err_info *e)
{
    const struct guard_field *host = guard_find(h, "host");
    if (!host)
        return h->http10 ? OK : err_set(e, ERR_BAD_REQUEST, "the header field host is missing");
    for (size_t i = 0; i < host->value.len; i++) {
        uint8_t c = host->value.data[i];
        if (c <= ' ' || c >= 0x7f || strchr("/?#@\\,\"<>{}|^`", c))
            return err_set(e, ERR_BAD_REQUEST, "the header field host is not well-formed");
    }
    return host->value.len ? OK : err_set(e, ERR_BAD_REQUEST, "the header field host is empty");
}

/* RFC 9112 section 6.3: how long the body is must have one answer. */
static enum err check_framing(struct guard_head *h, struct err_info *e)
{
    const struct guard_field *length = guard_find(h, "content-length");
    const struct guard_field *coding = guard_find(h, "transfer-encoding");
    if (length && coding)
        return err_set(e, ERR_BAD_REQUEST,
                       "content-length and transfer-encoding exclude each other");
    if (coding) {
        if (h->http10)
            return err_set(e, ERR_BAD_REQUEST, "HTTP/1.0 has no transfer-encoding");
        if (!same_name(coding->value, "chunked", 7))
            return err_set(e, ERR_BAD_REQUEST, "the only transfer-encoding is chunked");
        h->chunked = true;
    }
    if (!length)
        return OK;
    h->has_length = true;
    if (length->value.len == 0 || length->value.len > 18)
        return err_set(e, ERR_BAD_REQUEST, "content-length is not well-formed");
    for (size_t i = 0; i < length->value.len; i++) {
        uint8_t c = length->value.data[i];
        if (c < '0' || c > '9')
            return err_set(e, ERR_BAD_REQUEST, "content-length is not well-formed");
        h->length = h->length * 10 + (uint64_t)(c - '0');
    }
    return OK;
}

enum err guard_check(uint8_t *block, size_t len, size_t target_len, struct guard_head *out,
                     struct err_info *e)
{
    memset(out, 0, offsetof(struct guard_head, fields));
    struct cursor c = cursor_of(BYTES(block, len));
    enum err err = check_line(&c, target_len, out, e);
    if (!err && len > GUARD_BLOCK_MAX + target_len)
        err = err_set(e, ERR_HEADERS_TOO_LARGE, "the header exceeds %d bytes", GUARD_BLOCK_MAX);
    if (!err)
        err = check_fields(&c, block, out, e);
    if (!err)
        err = check_single(out, e);
    if (!err)
        err = check_host(out, e);
    return err ? err : check_framing(out, e);
}

/* ---- ids ---- */

static bool skip_line(struct cursor *c, size_t target_len)
{
    take_text(c); /* the method */
    cursor_take(c, target_len);
    bool target = take_nul(c);
    take_text(c); /* the version */
    return take_nul(c) && target;
}

/* The block up to the value is a part; what follows it begins at `from`. */
static void cut_out(struct guard_cut *out, struct bytes name, struct bytes value,
                    const uint8_t **from)
{
    out->parts[out->n_parts++] = BYTES(*from, (size_t)(value.data - *from));
    *from = value.data + value.len;
    while (value.len && blank(*value.data))
        value = BYTES(value.data + 1, value.len - 1);
    out->ids[out->n_ids++] = (struct guard_field){name, value};
}

/* GUARD_IDS_MAX: none. */
static size_t id_of(struct bytes name, const struct bytes names[GUARD_IDS_MAX])
{
    size_t i = 0;
    while (i < GUARD_IDS_MAX && !same_name(name, (const char *)names[i].data, names[i].len))
        i++;
    return i;
}

bool guard_cut(struct bytes block, size_t target_len, const char *const names[GUARD_IDS_MAX],
               struct guard_cut *out)
{
    const struct bytes ids[GUARD_IDS_MAX] = {BYTES_STR(names[0]), BYTES_STR(names[1])};
    const uint8_t *from = block.data;
    bool seen[GUARD_IDS_MAX] = {false};
    struct cursor c = cursor_of(block);
    out->n_ids = out->n_parts = 0;
    if (block.len > GUARD_BLOCK_MAX + target_len || !skip_line(&c, target_len))
        return false;
    while (c.left != 2) {
        struct bytes name = take_text(&c), value = take_text(&c);
        if (!take_nul(&c) || !name.len)
            return false;
        size_t i = id_of(name, ids);
        if (i == GUARD_IDS_MAX)
            continue;
        if (seen[i])
            return false;
        seen[i] = true;
        cut_out(out, name, value, &from);
    }
    out->parts[out->n_parts++] = BYTES(from, (size_t)(block.data + block.len - from));
    return true;
}
