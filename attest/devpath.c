#include "attest/devpath.h"

#include "attest/text.h"
#include "attest/uefi.h"
#include "core/buf.h"

enum node_type {
    NODE_HARDWARE = 0x01,
    NODE_ACPI = 0x02,
    NODE_MESSAGING = 0x03,
    NODE_MEDIA = 0x04,
    NODE_END = 0x7f,
};

struct node {
    uint8_t type;
    uint8_t subtype;
    struct bytes data; /* behind the four bytes of the header */
};

#define HEX_SHOWN 32

static void put_unknown(struct buf *b, const struct node *n, struct arena *a)
{
    buf_printf(b, "Path(%u,%u,%s)", n->type, n->subtype, text_hex(n->data, HEX_SHOWN, a));
}

static bool put_hardware(struct buf *b, const struct node *n, struct arena *a)
{
    struct cursor c = cursor_of(n->data);
    switch (n->subtype) {
    case 1: {
        unsigned function = cursor_u8(&c), device = cursor_u8(&c);
        buf_printf(b, "Pci(0x%x,0x%x)", device, function);
        return cursor_done(&c);
    }
    case 3: {
        uint32_t type = cursor_u32le(&c);
        uint64_t start = cursor_u64le(&c), end = cursor_u64le(&c);
        buf_printf(b, "MemoryMapped(0x%x,0x%llx,0x%llx)", type, (unsigned long long)start,
                   (unsigned long long)end);
        return cursor_done(&c);
    }
    case 4:
        if (n->data.len < 16)
            return false;
        buf_printf(b, "VenHw(%s)", uefi_guid_text(BYTES(n->data.data, 16), a));
        return true;
    default:
        put_unknown(b, n, a);
        return true;
    }
}

/* EISA ids of the ACPI specification, PNP0A03 and so on, in their compressed form. */
#define HID_PCI_ROOT  0x0a0341d0u
#define HID_PCIE_ROOT 0x0a0841d0u

static bool put_acpi(struct buf *b, const struct node *n, struct arena *a)
{
    struct cursor c = cursor_of(n->data);
    if (n->subtype != 1) {
        put_unknown(b, n, a);
        return true;
    }
    uint32_t hid = cursor_u32le(&c), uid = cursor_u32le(&c);
    if (hid == HID_PCI_ROOT)
        buf_printf(b, "PciRoot(0x%x)", uid);
    else if (hid == HID_PCIE_ROOT)
        buf_printf(b, "PcieRoot(0x%x)", uid);
    else
        buf_printf(b, "Acpi(0x%08x,0x%x)", hid, uid);
    return cursor_done(&c);
}

static bool put_messaging(struct buf *b, const struct node *n, struct arena *a)
{
    struct cursor c = cursor_of(n->data);
    unsigned x, y, z;
    switch (n->subtype) {
    case 2:
        x = cursor_u16le(&c);
        y = cursor_u16le(&c);
        buf_printf(b, "Scsi(0x%x,0x%x)", x, y);
        return cursor_done(&c);
    case 5:
        x = cursor_u8(&c);
        y = cursor_u8(&c);
        buf_printf(b, "USB(0x%x,0x%x)", x, y);
        return cursor_done(&c);
    case 10:
        if (n->data.len < 16)
            return false;
        buf_printf(b, "VenMsg(%s)", uefi_guid_text(BYTES(n->data.data, 16), a));
        return true;
    case 11:
        buf_printf(b, "MAC(%s)",
                   text_hex(BYTES(n->data.data, n->data.len < 6 ? n->data.len : 6), 6, a));
        return true;
    case 17:
        x = cursor_u8(&c);
        buf_printf(b, "Unit(0x%x)", x);
        return cursor_done(&c);
    case 18:
        x = cursor_u16le(&c);
        y = cursor_u16le(&c);
        z = cursor_u16le(&c);
        buf_printf(b, "Sata(0x%x,0x%x,0x%x)", x, y, z);
        return cursor_done(&c);
    case 23:
        x = cursor_u32le(&c);
        buf_printf(b, "NVMe(0x%x,%s)", x, text_hex(cursor_take(&c, 8), 8, a));
        return cursor_done(&c);
    case 24:
        buf_printf(b, "Uri(%s)", text_ascii(n->data, a));
        return true;
    default:
        put_unknown(b, n, a);
        return true;
    }
}

static bool put_hard_drive(struct buf *b, const struct node *n, struct arena *a)
{
    struct cursor c = cursor_of(n->data);
    uint32_t number = cursor_u32le(&c);
    uint64_t start = cursor_u64le(&c), size = cursor_u64le(&c);
    struct bytes signature = cursor_take(&c, 16);
    cursor_u8(&c); /* format */
    uint8_t kind = cursor_u8(&c);
    if (!cursor_done(&c))
        return false;
    buf_printf(b, "HD(%u,%s,%s,0x%llx,0x%llx)", number, kind == 2 ? "GPT" : "MBR",
               kind == 2 ? uefi_guid_text(signature, a) : text_hex(signature, 4, a),
               (unsigned long long)start, (unsigned long long)size);
    return true;
}

static bool put_media(struct buf *b, const struct node *n, struct arena *a)
{
    struct cursor c = cursor_of(n->data);
    switch (n->subtype) {
    case 1:
        return put_hard_drive(b, n, a);
    case 2: {
        uint32_t entry = cursor_u32le(&c);
        buf_printf(b, "CDROM(0x%x)", entry);
        return !c.bad;
    }
    case 3:
        if (n->data.len < 16)
            return false;
        buf_printf(b, "VenMedia(%s)", uefi_guid_text(BYTES(n->data.data, 16), a));
        return true;
    case 4:
        buf_add_str(b, text_utf16(n->data, a));
        return n->data.len % 2 == 0;
    case 6:
    case 7:
        if (n->data.len != 16)
            return false;
        buf_printf(b, "%s(%s)", n->subtype == 6 ? "FvFile" : "Fv", uefi_guid_text(n->data, a));
        return true;
    case 8: {
        cursor_u32le(&c);
        uint64_t start = cursor_u64le(&c), end = cursor_u64le(&c);
        buf_printf(b, "Offset(0x%llx,0x%llx)", (unsigned long long)start, (unsigned long long)end);
        return cursor_done(&c);
    }
    default:
        put_unknown(b, n, a);
        return true;
    }
}

static bool put_node(struct buf *b, const struct node *n, struct arena *a)
{
    switch (n->type) {
    case NODE_HARDWARE:
        return put_hardware(b, n, a);
    case NODE_ACPI:
        return put_acpi(b, n, a);
    case NODE_MESSAGING:
        return put_messaging(b, n, a);
    case NODE_MEDIA:
        return put_media(b, n, a);
    default:
        put_unknown(b, n, a);
        return true;
    }
}

/* UEFI 2.10, 10.3.1: type, subtype, and a length that counts these four bytes. */
static bool take_node(struct cursor *c, struct node *out)
{
    out->type = cursor_u8(c);
    out->subtype = cursor_u8(c);
    uint16_t length = cursor_u16le(c);
    if (c->bad || length < 4)
        return false;
    out->data = cursor_take(c, (size_t)length - 4);
    return !c->bad;
}

static void put_path(struct buf *b, struct bytes path, struct arena *a)
{
    struct cursor c = cursor_of(path);
    struct node n;
    while (c.left > 0) {
        bool ok = take_node(&c, &n);
        if (ok && n.type == NODE_END)
            return;
        if (b->len)
            buf_add_char(b, '/');
        if (!ok || !put_node(b, &n, a)) {
            buf_add_str(b, "<malformed>");
            return;
        }
        if (b->len > DEVPATH_TEXT_MAX) {
            buf_add_str(b, "...");
            return;
        }
    }
}

const char *devpath_text(struct bytes path, struct arena *a)
{
    struct buf b = {0};
    put_path(&b, path, a);
    const char *text = arena_strndup(a, b.data ? b.data : "", b.len);
    buf_free(&b);
    return text;
}
