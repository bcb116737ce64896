#include "arm/frame.h"

#include <string.h>
#include <strings.h>

#define STATUS_LINE_MIN 12 /* "HTTP/1.1 200" */

struct head {
    bool chunked;
    bool has_length;
    size_t length;
    bool bad;
};

bool arm_frame_line(struct bytes *head, struct bytes *line)
{
    const uint8_t *end = head->len ? memchr(head->data, '\n', head->len) : NULL;
    if (!end)
        return false;
    size_t n = (size_t)(end - head->data) + 1;
    *line = BYTES(head->data, n);
    *head = BYTES(head->data + n, head->len - n);
    return true;
}

/* Without its CRLF; false where that is not how it ends (RFC 9112 2.2: a bare LF may be taken for a line
 * end, and need not be). */
static bool strip_line(struct bytes *line)
{
    if (line->len < 2 || line->data[line->len - 2] != '\r')
        return false;
    line->len -= 2;
    return memchr(line->data, '\r', line->len) == NULL;
}

/* ---- the head ---- */

static bool read_status(struct bytes line, struct arm_frame *out)
{
    const uint8_t *d = line.data;
    if (line.len < STATUS_LINE_MIN || memcmp(d, "HTTP/1.", 7) != 0 ||
        (d[7] != '0' && d[7] != '1') || d[8] != ' ' || (line.len > STATUS_LINE_MIN && d[12] != ' '))
        return false;
    out->status = 0;
    for (int i = 9; i < 12; i++) {
        if (d[i] < '0' || d[i] > '9')
            return false;
        out->status = out->status * 10 + (d[i] - '0');
    }
    out->keep = d[7] == '1';
    return out->status >= 100 && out->status < 600;
}

static bool is_text(struct bytes value, const char *text)
{
    return value.len == strlen(text) && strncasecmp((const char *)value.data, text, value.len) == 0;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static void read_length(struct bytes value, struct head *h)
{
    size_t length = 0;
    h->bad |= value.len == 0 || value.len > 9;
    for (size_t i = 0; i < value.len && !h->bad; i++) {
        h->bad = value.data[i] < '0' || value.data[i] > '9';
        length = length * 10 + (size_t)(value.data[i] - '0');
    }
    h->bad |= h->has_length && h->length != length;
    h->has_length = true;
    h->length = length;
}

static void read_header(struct bytes line, struct head *h, struct arm_frame *out)
{
    const uint8_t *colon = line.len ? memchr(line.data, ':', line.len) : NULL;
    size_t n = colon ? (size_t)(colon - line.data) : 0;
    if (!n || is_blank(line.data[0]) || is_blank(line.data[n - 1])) {
        h->bad = true; /* a folded line, or a name that ends with a blank: RFC 9112 5.1, 5.2 */
        return;
    }
    struct bytes name = BYTES(line.data, n), value = BYTES(colon + 1, line.len - n - 1);
    while (value.len && is_blank(value.data[0]))
        value = BYTES(value.data + 1, value.len - 1);
    while (value.len && is_blank(value.data[value.len - 1]))
        value.len--;
    if (is_text(name, "Content-Length")) {
        read_length(value, h);
    } else if (is_text(name, "Transfer-Encoding")) {
        h->bad |= h->chunked || !is_text(value, "chunked");
        h->chunked = true;
    } else if (is_text(name, "Content-Encoding")) {
        h->bad |= !is_text(value, "identity"); /* none was asked for */
    } else if (is_text(name, "Connection")) {
        out->keep &= is_text(value, "keep-alive");
    }
}

/* Takes one head off `in`. */
static enum arm_frame_state read_head(struct bytes *in, struct head *h, struct arm_frame *out)
{
    struct bytes line;
    enum arm_frame_state unfinished =
        in->len < ARM_FRAME_HEAD_MAX ? ARM_FRAME_MORE : ARM_FRAME_BROKEN;
    *h = (struct head){0};
    if (!arm_frame_line(in, &line))
        return unfinished;
    if (!strip_line(&line) || !read_status(line, out))
        return ARM_FRAME_BROKEN;
    const uint8_t *start = in->data;
    for (;;) {
        if (!arm_frame_line(in, &line))
            return unfinished;
        if (!strip_line(&line))
            return ARM_FRAME_BROKEN;
        if (!line.len)
            break;
        read_header(line, h, out);
    }
    out->head = BYTES(start, (size_t)(in->data - start) - 2);
    return h->bad || (h->chunked && h->has_length) ? ARM_FRAME_BROKEN : ARM_FRAME_DONE;
}

/* ---- the body ---- */

/* RFC 9112 7.1: hex digits, maybe extensions. */
static bool read_chunk_size(struct bytes line, size_t *size)
{
    size_t i = 0;
    *size = 0;
    for (; i < line.len && i < 8; i++) {
        uint8_t c = line.data[i] | 0x20;
        if (c >= '0' && c <= '9')
            *size = *size * 16 + (size_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            *size = *size * 16 + (size_t)(c - 'a' + 10);
        else
            break;
    }
    return i > 0 && i < 8 && (i == line.len || line.data[i] == ';' || is_blank(line.data[i]));
}

/* What is told behind the last chunk is nothing that we ask for. */
static enum arm_frame_state skip_trailers(struct bytes *in)
{
    struct bytes line;
    do {
        if (!arm_frame_line(in, &line))
            return in->len < ARM_FRAME_HEAD_MAX ? ARM_FRAME_MORE : ARM_FRAME_BROKEN;
        if (!strip_line(&line))
            return ARM_FRAME_BROKEN;
    } while (line.len);
    return ARM_FRAME_DONE;
}

static enum arm_frame_state read_chunks(struct bytes *in, size_t body_max, struct buf *joined)
{
    struct bytes line;
    buf_reset(joined);
    for (;;) {
        size_t size;
        if (!arm_frame_line(in, &line))
            return in->len < ARM_FRAME_HEAD_MAX ? ARM_FRAME_MORE : ARM_FRAME_BROKEN;
        if (!strip_line(&line) || !read_chunk_size(line, &size))
            return ARM_FRAME_BROKEN;
        if (size > body_max - joined->len)
            return ARM_FRAME_LARGE;
        if (!size)
            return skip_trailers(in);
        if (in->len < size + 2)
            return ARM_FRAME_MORE;
        if (memcmp(in->data + size, "\r\n", 2) != 0)
            return ARM_FRAME_BROKEN;
        buf_add(joined, in->data, size);
        *in = BYTES(in->data + size + 2, in->len - size - 2);
    }
}

static enum arm_frame_state read_body(struct bytes *in, const struct head *h, size_t body_max,
                                      struct buf *joined, struct arm_frame *out)
{
    if (out->status == 204 || out->status == 304) {
        out->body = (struct bytes){0};
        return ARM_FRAME_DONE;
    }
    if (h->chunked) {
        enum arm_frame_state state = read_chunks(in, body_max, joined);
        out->body = buf_bytes(joined);
        return state;
    }
    if (!h->has_length)
        return ARM_FRAME_BROKEN;
    if (h->length > body_max)
        return ARM_FRAME_LARGE;
    if (in->len < h->length)
        return ARM_FRAME_MORE;
    out->body = BYTES(in->data, h->length);
    *in = BYTES(in->data + h->length, in->len - h->length);
    return ARM_FRAME_DONE;
}

enum arm_frame_state arm_frame_read(struct bytes in, size_t body_max, struct buf *joined,
                                    struct arm_frame *out)
{
    struct head h;
    enum arm_frame_state state;
    do {
        *out = (struct arm_frame){0};
        if ((state = read_head(&in, &h, out)) != ARM_FRAME_DONE)
            return state;
    } while (out->status < 200 && out->status != 101);
    if (out->status == 101)
        return ARM_FRAME_BROKEN;
    state = read_body(&in, &h, body_max, joined, out);
    out->keep &= in.len == 0; /* more than was asked for */
    return state;
}
