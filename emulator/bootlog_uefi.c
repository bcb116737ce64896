#include "emulator/bootlog_uefi.h"

#include <openssl/evp.h>

#define GPT_ENTRIES      128u
#define GPT_ENTRY_SIZE   128u
#define GPT_HEADER_SIZE  92u
#define DISK_SECTORS     62914560ull /* 30 GiB */
#define ESP_FIRST        2048ull
#define ESP_SECTORS      212992ull
#define ROOT_FIRST       (ESP_FIRST + ESP_SECTORS)
#define GPT_FIRST_USABLE 34ull
#define GPT_LAST_USABLE  (DISK_SECTORS - 34)
#define GUID_TYPE_ESP    "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
#define GUID_TYPE_LINUX  "0fc63daf-8483-4772-8e79-3d69d8477de4"

void uefi_u8(struct buf *b, uint8_t v)
{
    buf_add(b, &v, 1);
}

static void put_le(struct buf *b, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        uefi_u8(b, (uint8_t)(v >> (8 * i)));
}

void uefi_u16(struct buf *b, uint16_t v)
{
    put_le(b, v, 2);
}

void uefi_u32(struct buf *b, uint32_t v)
{
    put_le(b, v, 4);
}

void uefi_u64(struct buf *b, uint64_t v)
{
    put_le(b, v, 8);
}

void uefi_guid(struct buf *b, const char *text)
{
    static const uint8_t order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    char digits[32];
    uint8_t raw[16] = {0};
    size_t n = 0;
    for (const char *p = text; *p && n < sizeof(digits); p++) {
        if (*p != '-')
            digits[n++] = *p;
    }
    (void)hex_decode(digits, n, raw, sizeof(raw)); /* the header asks for a well-formed text */
    for (size_t i = 0; i < sizeof(raw); i++)
        uefi_u8(b, raw[order[i]]);
}

static void put_utf16(struct buf *b, const char *ascii)
{
    for (; *ascii; ascii++)
        uefi_u16(b, (uint8_t)*ascii);
}

void uefi_utf16z(struct buf *b, const char *ascii)
{
    put_utf16(b, ascii);
    uefi_u16(b, 0);
}

static void sha256_of(struct bytes in, uint8_t out[32])
{
    EVP_Digest(in.data, in.len, out, NULL, EVP_sha256(), NULL);
}

void uefi_guid_derive(const char *vm_id, const char *what, char out[UEFI_GUID_TEXT])
{
    struct buf in = {0};
    buf_printf(&in, "%s|%s", vm_id, what);
    uint8_t h[32];
    sha256_of(buf_bytes(&in), h);
    buf_free(&in);
    h[6] = (uint8_t)(0x40 | (h[6] & 0x0f));
    h[8] = (uint8_t)(0x80 | (h[8] & 0x3f));
    char hex[33];
    hex_encode(BYTES(h, 16), hex);
    snprintf(out, UEFI_GUID_TEXT, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16,
             hex + 20);
}

void uefi_variable(struct buf *b, const char *guid, const char *name, struct bytes value)
{
    uefi_guid(b, guid);
    uefi_u64(b, strlen(name));
    uefi_u64(b, value.len);
    put_utf16(b, name);
    buf_add(b, value.data, value.len);
}

void uefi_signature(struct buf *b, const char *owner, struct bytes data)
{
    uefi_guid(b, owner);
    buf_add(b, data.data, data.len);
}

void uefi_signature_list(struct buf *b, const char *type, const char *owner,
                         const struct bytes *data, size_t n)
{
    const uint32_t header = 28;
    uint32_t entry = (uint32_t)(16 + (n ? data[0].len : 0));
    uefi_guid(b, type);
    uefi_u32(b, header + entry * (uint32_t)n);
    uefi_u32(b, 0); /* SignatureHeaderSize */
    uefi_u32(b, entry);
    for (size_t i = 0; i < n; i++)
        uefi_signature(b, owner, data[i]);
}

struct uefi_disk uefi_disk_of(const char *vm_id)
{
    struct uefi_disk d;
    uefi_guid_derive(vm_id, "disk", d.disk);
    uefi_guid_derive(vm_id, "esp", d.esp);
    uefi_guid_derive(vm_id, "root", d.root);
    return d;
}

/* UEFI 2.10, 10.3: media device path nodes 4/1 (hard drive) and 4/4 (file), end node 7f/ff. */
void uefi_file_path(struct buf *b, const struct uefi_disk *disk, const char *path)
{
    uefi_u8(b, 4);
    uefi_u8(b, 1);
    uefi_u16(b, 42);
    uefi_u32(b, 1);
    uefi_u64(b, ESP_FIRST);
    uefi_u64(b, ESP_SECTORS);
    uefi_guid(b, disk->esp);
    uefi_u8(b, 2); /* GPT */
    uefi_u8(b, 2); /* the signature is a GUID */

    uefi_u8(b, 4);
    uefi_u8(b, 4);
    uefi_u16(b, (uint16_t)(4 + 2 * (strlen(path) + 1)));
    uefi_utf16z(b, path);

    uefi_u8(b, 0x7f);
    uefi_u8(b, 0xff);
    uefi_u16(b, 4);
}

void uefi_load_option(struct buf *b, const struct uefi_disk *disk, const char *title,
                      const char *path)
{
    struct buf file = {0};
    uefi_file_path(&file, disk, path);
    uefi_u32(b, 1); /* LOAD_OPTION_ACTIVE */
    uefi_u16(b, (uint16_t)file.len);
    uefi_utf16z(b, title);
    buf_add(b, file.data, file.len);
    buf_free(&file);
}

/* CRC-32 of UEFI (ISO 3309), bit by bit: a GPT is small. */
static uint32_t crc32_of(struct bytes in)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < in.len; i++) {
        crc ^= in.data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (0xedb88320u & (0u - (crc & 1)));
    }
    return ~crc;
}

static void put_zeros(struct buf *b, size_t n)
{
    memset(buf_reserve(b, n), 0, n);
    b->len += n;
}

static void put_partition(struct buf *b, const char *type, const char *guid, uint64_t first,
                          uint64_t last)
{
    uefi_guid(b, type);
    uefi_guid(b, guid);
    uefi_u64(b, first);
    uefi_u64(b, last);
    put_zeros(b, GPT_ENTRY_SIZE - 48); /* attributes and name */
}

static void put_gpt_header(struct buf *b, const struct uefi_disk *disk, uint32_t entries_crc,
                           uint32_t header_crc)
{
    buf_add(b, "EFI PART", 8);
    uefi_u32(b, 0x00010000);
    uefi_u32(b, GPT_HEADER_SIZE);
    uefi_u32(b, header_crc);
    uefi_u32(b, 0);
    uefi_u64(b, 1);
    uefi_u64(b, DISK_SECTORS - 1);
    uefi_u64(b, GPT_FIRST_USABLE);
    uefi_u64(b, GPT_LAST_USABLE);
    uefi_guid(b, disk->disk);
    uefi_u64(b, 2);
    uefi_u32(b, GPT_ENTRIES);
    uefi_u32(b, GPT_ENTRY_SIZE);
    uefi_u32(b, entries_crc);
}

void uefi_gpt(struct buf *b, const struct uefi_disk *disk)
{
    struct buf entries = {0};
    put_partition(&entries, GUID_TYPE_ESP, disk->esp, ESP_FIRST, ESP_FIRST + ESP_SECTORS - 1);
    put_partition(&entries, GUID_TYPE_LINUX, disk->root, ROOT_FIRST, GPT_LAST_USABLE);
    size_t used = entries.len;
    put_zeros(&entries, GPT_ENTRIES * GPT_ENTRY_SIZE - used);
    uint32_t entries_crc = crc32_of(buf_bytes(&entries));

    struct buf header = {0};
    put_gpt_header(&header, disk, entries_crc, 0);
    uint32_t header_crc = crc32_of(buf_bytes(&header));
    buf_free(&header);

    put_gpt_header(b, disk, entries_crc, header_crc);
    uefi_u64(b, used / GPT_ENTRY_SIZE);
    buf_add(b, entries.data, used);
    buf_free(&entries);
}

void uefi_content(struct buf *b, const char *name, size_t size)
{
    uint8_t seed[32];
    sha256_of(BYTES_STR(name), seed);
    uint64_t state = 1;
    for (unsigned i = 0; i < 8; i++)
        state = state << 8 | seed[i];
    uint8_t *out = (uint8_t *)buf_reserve(b, size);
    for (size_t i = 0; i < size; i++) {
        state ^= state << 13; /* xorshift64 */
        state ^= state >> 7;
        state ^= state << 17;
        out[i] = (uint8_t)(state >> 32);
    }
    if (size >= 2)
        memcpy(out, "MZ", 2);
    b->len += size;
}
