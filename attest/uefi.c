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

/* One EFI_SIGNATURE_LIST */
static const char *parse_list(struct cursor *c, struct uefi_signatures *out)
{
    size_t held = c->left;
    struct bytes type = cursor_take(c, 16);
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
    cursor_take(c, header + body);
    size_t n = body / each;
    if (bytes_equal(type, BYTES_OF(guid_x509)))
        out->certificates += n;
    else if (bytes_equal(type, BYTES_OF(guid_sha256)))
        out->hashes += n;
    else
        out->others += n;
    return NULL;
}

const char *uefi_signatures_parse(struct bytes value, struct uefi_signatures *out)
{
    *out = (struct uefi_signatures){0};
    struct cursor c = cursor_of(value);
    while (c.left > 0) {
        const char *why = parse_list(&c, out);
        if (why)
            return why;
    }
    return NULL;
}
