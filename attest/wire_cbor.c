/*
 * Evidence as CBOR (RFC 8949): definite lengths, shortest form, no tags, no duplicates, nothing after
 * the end. libcbor's streaming decoder is used item by item: its tree builder allocates what a length
 * claims (nine bytes ask for 2 GiB) and takes duplicates and trailing bytes.
 */
#include "attest/wireform.h"

#include <cbor.h>

#define SKIP_ITEMS_MAX 4096

enum item_kind { ITEM_NONE, ITEM_UINT, ITEM_BYTES, ITEM_TEXT, ITEM_ARRAY, ITEM_MAP, ITEM_OTHER };

struct item {
    enum item_kind kind;
    uint64_t value; /* of an integer; number of items or pairs */
    struct bytes bytes;
};

struct reader {
    struct cbor_callbacks cb;
    struct cursor c;
    size_t len;
    struct arena *arena;
    struct wire_state s;
    bool broken;
};

static void on_uint8(void *ctx, uint8_t v)
{
    *(struct item *)ctx = (struct item){.kind = ITEM_UINT, .value = v};
}

static void on_uint16(void *ctx, uint16_t v)
{
    *(struct item *)ctx = (struct item){.kind = ITEM_UINT, .value = v};
}

static void on_uint32(void *ctx, uint32_t v)
{
    *(struct item *)ctx = (struct item){.kind = ITEM_UINT, .value = v};
}

static void on_uint64(void *ctx, uint64_t v)
{
    *(struct item *)ctx = (struct item){.kind = ITEM_UINT, .value = v};
}

static void on_bytes(void *ctx, cbor_data data, size_t len)
{
    *(struct item *)ctx = (struct item){.kind = ITEM_BYTES, .bytes = {data, len}};
}

static void on_text(void *ctx, cbor_data data, size_t len)
{
    *(struct item *)ctx = (struct item){.kind = ITEM_TEXT, .bytes = {data, len}};
}

static void on_array(void *ctx, size_t n)
{
    *(struct item *)ctx = (struct item){.kind = ITEM_ARRAY, .value = n};
}

static void on_map(void *ctx, size_t n)
{
    *(struct item *)ctx = (struct item){.kind = ITEM_MAP, .value = n};
}

static void on_bool(void *ctx, bool v)
{
    ((struct item *)ctx)->kind = ITEM_OTHER;
}

static void on_null(void *ctx)
{
    ((struct item *)ctx)->kind = ITEM_OTHER;
}

/* What has no callback of ours (tags, floats, negative numbers, indefinite lengths) leaves ITEM_NONE
 * and is refused. */
static struct cbor_callbacks callbacks(void)
{
    struct cbor_callbacks cb = cbor_empty_callbacks;
    cb.uint8 = on_uint8;
    cb.uint16 = on_uint16;
    cb.uint32 = on_uint32;
    cb.uint64 = on_uint64;
    cb.byte_string = on_bytes;
    cb.string = on_text;
    cb.array_start = on_array;
    cb.map_start = on_map;
    cb.boolean = on_bool;
    cb.null = on_null;
    return cb;
}

static bool broken(struct reader *r, const char *why)
{
    if (!r->broken) {
        char text[120];
        snprintf(text, sizeof text, "not valid CBOR at byte %zu: %s", r->len - r->c.left, why);
        wire_malformed(r->s.e, "#", text);
    }
    r->broken = true;
    return false;
}

/* RFC 8949, 4.2.1: the argument in its shortest form. */
static size_t head_size(uint64_t argument)
{
    if (argument < 24)
        return 1;
    if (argument <= UINT8_MAX)
        return 2;
    if (argument <= UINT16_MAX)
        return 3;
    return argument <= UINT32_MAX ? 5 : 9;
}

static bool read_item(struct reader *r, struct item *out)
{
    *out = (struct item){0};
    if (r->c.left == 0)
        return broken(r, "it ends within a structure");
    struct cbor_decoder_result res = cbor_stream_decode(r->c.at, r->c.left, &r->cb, out);
    if (res.status != CBOR_DECODER_FINISHED)
        return broken(r, "an item is truncated or not CBOR");
    if (out->kind == ITEM_NONE)
        return broken(r, "only definite maps, arrays, strings and unsigned integers are allowed");
    size_t payload = out->bytes.len;
    uint64_t argument = out->kind == ITEM_BYTES || out->kind == ITEM_TEXT ? payload : out->value;
    if (out->kind != ITEM_OTHER && res.read != head_size(argument) + payload)
        return broken(r, "a length or number is not in its shortest form");
    cursor_take(&r->c, res.read);
    return true;
}

/* Skips what is inside an item that was read. Every item has a byte at least, so the input bounds the
 * work; the limit bounds it further. */
static bool skip_rest(struct reader *r, const struct item *first)
{
    uint64_t pending = 0, done = 0;
    struct item it = *first;
    for (;;) {
        if (it.kind == ITEM_ARRAY || it.kind == ITEM_MAP) {
            if (it.value > r->c.left)
                return broken(r, "a structure is longer than the input");
            pending += it.kind == ITEM_MAP ? it.value * 2 : it.value;
        }
        if (pending == 0)
            return true;
        if (++done > SKIP_ITEMS_MAX)
            return broken(r, "too many items");
        if (!read_item(r, &it))
            return false;
        pending--;
    }
}

static bool wrong_type(struct reader *r, const struct item *it, const char *pointer,
                       const char *why)
{
    wire_malformed(r->s.e, pointer, why);
    return skip_rest(r, it);
}

static bool valid_text(struct bytes b)
{
    for (size_t i = 0; i < b.len; i++)
        if (b.data[i] < 0x20 || b.data[i] >= 0x7f)
            return false;
    return true;
}

/* Ids and tokens are ASCII. */
static bool set_text(struct reader *r, const struct item *it, const struct wire_member *m)
{
    if (it->kind != ITEM_TEXT)
        return wrong_type(r, it, m->pointer, "must be a text string");
    if (it->bytes.len > EVIDENCE_TOKEN_MAX || !valid_text(it->bytes)) {
        wire_malformed(r->s.e, m->pointer, "must be printable ASCII of at most 16 KiB");
        return true;
    }
    const char *text = arena_strndup(r->arena, (const char *)it->bytes.data, it->bytes.len);
    wire_set_text(&r->s, m, text, it->bytes.len);
    return true;
}

static bool read_chain(struct reader *r, const struct item *it)
{
    if (it->kind != ITEM_ARRAY)
        return wrong_type(r, it, "#/ak/chain", "must be an array");
    if (it->value > EVIDENCE_CHAIN_MAX)
        return wrong_type(r, it, "#/ak/chain", "has more than 6 certificates");
    for (uint64_t i = 0; i < it->value; i++) {
        struct item der;
        if (!read_item(r, &der))
            return false;
        if (der.kind == ITEM_BYTES)
            wire_add_chain(&r->s, der.bytes);
        else if (!wrong_type(r, &der, "#/ak/chain", "must hold byte strings"))
            return false;
    }
    return true;
}

static bool read_pcr(struct reader *r, enum pcr_bank bank)
{
    struct item index, value;
    if (!read_item(r, &index))
        return false;
    if (index.kind != ITEM_UINT)
        return broken(r, "a PCR index must be an unsigned integer");
    if (!read_item(r, &value))
        return false;
    if (value.kind != ITEM_BYTES)
        return wrong_type(r, &value, "#/pcrs", "a PCR value must be a byte string");
    wire_set_pcr(&r->s, bank, index.value, value.bytes);
    return true;
}

static bool read_bank(struct reader *r)
{
    struct item name, values;
    if (!read_item(r, &name))
        return false;
    if (name.kind != ITEM_TEXT)
        return broken(r, "a key must be a text string");
    enum pcr_bank bank = wire_enter_bank(&r->s, name.bytes);
    if (!read_item(r, &values))
        return false;
    if (bank == BANK_COUNT)
        return skip_rest(r, &values);
    if (values.kind != ITEM_MAP || values.value > EVIDENCE_PCRS)
        return wrong_type(r, &values, "#/pcrs", "each bank must be a map of at most 24 values");
    for (uint64_t i = 0; i < values.value; i++)
        if (!read_pcr(r, bank))
            return false;
    return true;
}

static bool read_pcrs(struct reader *r, const struct item *it)
{
    if (it->kind != ITEM_MAP || it->value > BANK_COUNT)
        return wrong_type(r, it, "#/pcrs", "must be a map of PCR banks");
    for (uint64_t i = 0; i < it->value; i++)
        if (!read_bank(r))
            return false;
    return true;
}

static bool read_map(struct reader *r, const struct item *it, enum wire_level level,
                     const char *pointer);

static bool read_value(struct reader *r, const struct wire_member *m)
{
    struct item it;
    if (!read_item(r, &it))
        return false;
    switch (m->kind) {
    case KIND_TEXT:
    case KIND_SECRET:
    case KIND_TOKEN:
        return set_text(r, &it, m);
    case KIND_BYTES:
    case KIND_HEX:
        if (it.kind != ITEM_BYTES)
            return wrong_type(r, &it, m->pointer, "must be a byte string");
        wire_set_bytes(&r->s, m, it.bytes);
        return true;
    case KIND_OBJECT:
        return read_map(r, &it, m->object, m->pointer);
    case KIND_PCRS:
        return read_pcrs(r, &it);
    case KIND_CHAIN:
        return read_chain(r, &it);
    }
    return false;
}

static bool read_member(struct reader *r, enum wire_level level, const char *parent)
{
    struct item name, value;
    if (!read_item(r, &name))
        return false;
    if (name.kind != ITEM_TEXT)
        return broken(r, "a key must be a text string");
    const struct wire_member *m = wire_enter(&r->s, level, parent, name.bytes);
    if (m)
        return read_value(r, m);
    return read_item(r, &value) && skip_rest(r, &value);
}

static bool read_map(struct reader *r, const struct item *it, enum wire_level level,
                     const char *pointer)
{
    if (it->kind != ITEM_MAP)
        return wrong_type(r, it, pointer, "must be a map");
    if (it->value > r->c.left)
        return broken(r, "a structure is longer than the input");
    for (uint64_t i = 0; i < it->value; i++)
        if (!read_member(r, level, pointer))
            return false;
    return true;
}

enum err wire_decode_cbor(struct bytes body, enum wire_need need, struct arena *a,
                          struct evidence *out, struct err_info *e)
{
    struct err_info own;
    struct item root;
    err_clear(&own);
    *out = (struct evidence){0};
    struct reader r = {.cb = callbacks(),
                       .c = cursor_of(body),
                       .len = body.len,
                       .arena = a,
                       .s = {.out = out, .e = &own}};
    if (body.len > EVIDENCE_BODY_MAX)
        wire_malformed(&own, "#", "is larger than 256 KiB");
    else if (read_item(&r, &root) && read_map(&r, &root, LEVEL_ROOT, "#") && cursor_done(&r.c))
        wire_finish(&r.s, need);
    else if (!r.broken)
        broken(&r, "bytes follow the map");
    if (own.code && e)
        *e = own;
    return own.code;
}
