#include "handlers/page.h"

#include "core/keyring.h"

#include <openssl/crypto.h>

/* cursor = base64url(version | key id | MAC, cut | key of the last row) */
#define CURSOR_VERSION 1
#define CURSOR_MAC     16
#define CURSOR_HEAD    (1 + 4 + CURSOR_MAC)
#define CURSOR_KEY_MAX 640

/* RFC 3986 section 2.3: what needs no escape. */
static bool unreserved(unsigned char ch)
{
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
           strchr("-._~", ch);
}

static void add_escaped(struct buf *b, const char *text)
{
    for (const char *p = text; *p; p++) {
        unsigned char ch = (unsigned char)*p;
        if (unreserved(ch))
            buf_add_char(b, *p);
        else
            buf_printf(b, "%%%02X", ch);
    }
}

/* "/path?filter=x&": the list, spelled the same way each time. */
static const char *list_text(struct call *c, const struct page_of *list)
{
    struct buf b = {0};
    buf_printf(&b, "%s?", list->path);
    for (size_t i = 0; i < PAGE_FILTERS_MAX && list->filters[i].key; i++) {
        if (!list->filters[i].value)
            continue;
        buf_printf(&b, "%s=", list->filters[i].key);
        add_escaped(&b, list->filters[i].value);
        buf_add_char(&b, '&');
    }
    const char *text = arena_strdup(c->arena, b.data);
    buf_free(&b);
    return text;
}

static bool cursor_mac(struct call *c, uint32_t key_id, const char *list, struct bytes key,
                       uint8_t out[KEYRING_MAC_SIZE])
{
    const struct bytes parts[] = {{(const uint8_t *)list, strlen(list)}, key};
    return keyring_mac(c->app->keyring, KEY_CURSOR, key_id, parts, ARRAY_LEN(parts), out);
}

static const char *cursor_make(struct call *c, const char *list, const char *last)
{
    uint8_t raw[CURSOR_HEAD + CURSOR_KEY_MAX], mac[KEYRING_MAC_SIZE];
    char text[BASE64URL_SIZE(sizeof raw)];
    uint32_t id = keyring_current(c->app->keyring, KEY_CURSOR);
    size_t len = strlen(last);
    struct bytes key = {(const uint8_t *)last, len};
    if (len > CURSOR_KEY_MAX || !cursor_mac(c, id, list, key, mac))
        abort(); /* keys are ids of the store, and the current key exists */
    raw[0] = CURSOR_VERSION;
    for (unsigned i = 0; i < 4; i++)
        raw[1 + i] = (uint8_t)(id >> (24 - 8 * i));
    memcpy(raw + 5, mac, CURSOR_MAC);
    memcpy(raw + CURSOR_HEAD, last, len);
    base64url_encode((struct bytes){raw, CURSOR_HEAD + len}, text);
    return arena_strdup(c->arena, text);
}

static const char *cursor_read(struct call *c, const char *list, const char *cursor)
{
    uint8_t raw[CURSOR_HEAD + CURSOR_KEY_MAX], mac[KEYRING_MAC_SIZE];
    size_t len = 0;
    if (!base64url_decode(cursor, strlen(cursor), raw, sizeof raw, &len) || len <= CURSOR_HEAD ||
        raw[0] != CURSOR_VERSION)
        return NULL;
    uint32_t id = (uint32_t)raw[1] << 24 | (uint32_t)raw[2] << 16 | (uint32_t)raw[3] << 8 | raw[4];
    struct bytes key = {raw + CURSOR_HEAD, len - CURSOR_HEAD};
    if (!cursor_mac(c, id, list, key, mac) || CRYPTO_memcmp(mac, raw + 5, CURSOR_MAC) != 0)
        return NULL;
    return arena_strndup(c->arena, (const char *)key.data, key.len);
}

enum err page_open(struct call *c, const struct page_of *list, struct page *out)
{
    *out = (struct page){.limit = (int)list->top};
    if (!list->cursor)
        return OK;
    out->after = cursor_read(c, list_text(c, list), list->cursor);
    if (!out->after)
        return err_add_field(&c->err, "?cursor", "is not a cursor of this list");
    return OK;
}

const char *page_next(struct call *c, const struct page_of *list, const char *last)
{
    const char *text = list_text(c, list);
    return arena_printf(c->arena, "%s%stop=%lld&cursor=%s", c->app->public_url, text,
                        (long long)list->top, cursor_make(c, text, last));
}

struct jw *page_begin(struct call *c)
{
    struct jw *w = call_json(c);
    jw_open(w, '{');
    jw_key(w, "value");
    jw_open(w, '[');
    return w;
}

int page_end(struct call *c, const struct page_of *list, const char *last)
{
    jw_close(&c->jw, ']');
    if (last)
        jw_key_str(&c->jw, "nextLink", page_next(c, list, last));
    jw_close(&c->jw, '}');
    return call_etag_of_body(c);
}

const char *page_vm_path(struct call *c, const char *tail)
{
    struct buf b = {0};
    static const char *const names[] = {"/v1/subscriptions/", "/resourceGroups/",
                                        "/virtualMachines/"};
    for (size_t i = 0; i < ARRAY_LEN(names) && c->params[i]; i++) {
        buf_add_str(&b, names[i]);
        add_escaped(&b, c->params[i]);
    }
    buf_add_str(&b, tail);
    const char *path = arena_strdup(c->arena, b.data);
    buf_free(&b);
    return path;
}
