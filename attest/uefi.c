#include "attest/uefi.h"

static const uint8_t guid_global[16] = {0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11,
                                        0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c};
static const uint8_t guid_image_security[16] = {0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45,
                                                0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f};
static const uint8_t guid_shim[16] = {0x50, 0xab, 0x5d, 0x60, 0x46, 0xe0, 0x00, 0x43,
                                      0xab, 0xb6, 0x3d, 0xd8, 0x10, 0xdd, 0x8b, 0x23};
static const uint8_t guid_x509[16] = {0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a,
                                      0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72};
static const uint8_t guid_sha256[16] = {0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40,
                                        0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28};
static const uint8_t guid_x509_sha256[16] = {0x92, 0xa4, 0xd2, 0x3b, 0xc0, 0x96, 0x79, 0x40,
                                             0xb4, 0x20, 0xfc, 0xf9, 0x8e, 0xf1, 0x03, 0xed};

const char *uefi_variable_parse(struct bytes data, struct uefi_variable *out)
{
    struct cursor c = cursor_of(data);
    out->guid = cursor_take(&c, 16);
    uint64_t name_chars = cursor_u64le(&c);
    uint64_t value_len = cursor_u64le(&c);
    if (c.bad)
        return "the variable's header is truncated";
    /* Each length on its own before the product: 2^63 + 5 characters are 10 bytes otherwise. */
    if (name_chars > c.left / 2)
        return "the variable's name is longer than its event";
    out->name = cursor_take(&c, (size_t)name_chars * 2);
    if (value_len > c.left)
        return "the variable's data is longer than its event";
    out->value = cursor_take(&c, (size_t)value_len);
    out->surplus = cursor_take(&c, c.left);
    return NULL;
}

const char *uefi_image_load_parse(struct bytes data, struct uefi_image_load *out)
{
    struct cursor c = cursor_of(data);
    out->address = cursor_u64le(&c);
    out->size = cursor_u64le(&c);
    cursor_u64le(&c); /* ImageLinkTimeAddress */
    uint64_t path = cursor_u64le(&c);
    if (c.bad || path > c.left)
        return "the image load event is truncated";
    out->device_path = cursor_take(&c, (size_t)path);
    return NULL;
}

bool uefi_name_is(const struct uefi_variable *v, const char *name)
{
    size_t n = strlen(name);
    if (v->name.len != n * 2)
        return false;
    for (size_t i = 0; i < n; i++)
        if (v->name.data[2 * i] != (uint8_t)name[i] || v->name.data[2 * i + 1] != 0)
            return false;
    return true;
}

const char *uefi_name_text(const struct uefi_variable *v, struct arena *a)
{
    size_t n = v->name.len / 2;
    if (n > 64)
        n = 64;
    char *text = arena_alloc(a, n + 1);
    for (size_t i = 0; i < n; i++) {
        uint8_t lo = v->name.data[2 * i], hi = v->name.data[2 * i + 1];
        text[i] = hi == 0 && lo >= 0x20 && lo < 0x7f ? (char)lo : '?';
    }
    return text;
}

enum uefi_vendor uefi_vendor_of(struct bytes guid)
{
    if (bytes_equal(guid, BYTES_OF(guid_global)))
        return VENDOR_GLOBAL;
    if (bytes_equal(guid, BYTES_OF(guid_image_security)))
        return VENDOR_IMAGE_SECURITY;
    if (bytes_equal(guid, BYTES_OF(guid_shim)))
        return VENDOR_SHIM;
    return VENDOR_OTHER;
}

const char *uefi_guid_text(struct bytes guid, struct arena *a)
{
    struct cursor c = cursor_of(guid);
    uint32_t d1 = cursor_u32le(&c);
    uint16_t d2 = cursor_u16le(&c), d3 = cursor_u16le(&c), d4 = cursor_u16be(&c);
    uint32_t d5 = cursor_u32be(&c);
    uint16_t d6 = cursor_u16be(&c);
    return arena_printf(a, "%08x-%04x-%04x-%04x-%08x%04x", d1, d2, d3, d4, d5, d6);
}

struct list {
    struct bytes type;
    struct bytes body;
    size_t each; /* size of an entry */
};

/* One EFI_SIGNATURE_LIST. NULL, or why it is not well-formed. */
static const char *take_list(struct cursor *c, struct list *out)
{
    size_t held = c->left;
    out->type = cursor_take(c, 16);
    uint32_t list = cursor_u32le(c), header = cursor_u32le(c), each = cursor_u32le(c);
    if (c->bad)
        return "a signature list is truncated";
    if (list < 28 || list > held)
        return "a signature list's size does not fit its variable";
    if (header > list - 28)
        return "a signature list's header does not fit it";
    size_t body = list - 28 - header;
    /* EFI_SIGNATURE_DATA starts with the owner's GUID */
    if (each < 16 || body % each != 0)
        return "a signature list's entries do not fit it";
    cursor_take(c, header);
    out->body = cursor_take(c, body);
    out->each = each;
    return NULL;
}

static enum uefi_signature_kind kind_of(struct bytes type)
{
    if (bytes_equal(type, BYTES_OF(guid_x509)))
        return SIGNATURE_X509;
    if (bytes_equal(type, BYTES_OF(guid_sha256)))
        return SIGNATURE_SHA256;
    return bytes_equal(type, BYTES_OF(guid_x509_sha256)) ? SIGNATURE_X509_SHA256 : SIGNATURE_OTHER;
}

const char *uefi_signatures_parse(struct bytes value, struct uefi_signatures *out)
{
    *out = (struct uefi_signatures){0};
    struct cursor c = cursor_of(value);
    struct list l;
    while (c.left > 0) {
        const char *why = take_list(&c, &l);
        if (why)
            return why;
        size_t n = l.body.len / l.each;
        switch (kind_of(l.type)) {
        case SIGNATURE_X509:
            out->certificates += n;
            break;
        case SIGNATURE_SHA256:
            out->hashes += n;
            break;
        case SIGNATURE_X509_SHA256:
        case SIGNATURE_OTHER:
            out->others += n;
        }
    }
    return NULL;
}

struct uefi_signature_walk uefi_signature_walk(struct bytes value)
{
    return (struct uefi_signature_walk){.lists = cursor_of(value)};
}

bool uefi_signature_next(struct uefi_signature_walk *w, struct uefi_signature *out)
{
    struct list l;
    while (w->entries.left == 0) {
        if (w->lists.left == 0 || take_list(&w->lists, &l))
            return false;
        w->entries = cursor_of(l.body);
        w->each = l.each;
        w->type = l.type;
    }
    out->kind = kind_of(w->type);
    out->type = w->type;
    out->owner = cursor_take(&w->entries, 16);
    out->data = cursor_take(&w->entries, w->each - 16);
    return true;
}

struct bytes uefi_der_at_start(struct bytes b)
{
    struct cursor c = cursor_of(b);
    uint8_t tag = cursor_u8(&c);
    size_t n = cursor_u8(&c);
    if (n == 0x81)
        n = cursor_u8(&c);
    else if (n == 0x82)
        n = cursor_u16be(&c);
    else if (n >= 0x80)
        return (struct bytes){0};
    if (c.bad || tag != 0x30 || n > c.left)
        return (struct bytes){0};
    return BYTES(b.data, b.len - c.left + n);
}
