#include "attest/decode.h"

#include "attest/cert.h"
#include "attest/devpath.h"
#include "attest/sbat.h"
#include "attest/text.h"
#include "attest/uefi.h"

#define VALUE_SHOWN 16

/* ---- signature databases and authorities ---- */

static void write_signature(struct jw *w, const struct uefi_signature *s, struct arena *a)
{
    jw_open(w, '{');
    jw_key_str(w, "owner", uefi_guid_text(s->owner, a));
    switch (s->kind) {
    case SIGNATURE_X509:
        jw_key(w, "x509");
        cert_write(w, s->data, a);
        break;
    case SIGNATURE_SHA256:
        jw_key_str(w, "sha256", text_hex(s->data, 32, a));
        break;
    case SIGNATURE_X509_SHA256:
        jw_key_str(w, "x509Sha256", text_hex(s->data, 32, a));
        break;
    case SIGNATURE_OTHER:
        jw_key_str(w, "type", uefi_guid_text(s->type, a));
        jw_key_str(w, "data", text_hex(s->data, 32, a));
        break;
    }
    jw_close(w, '}');
}

static void decode_signatures(struct jw *w, struct bytes value, struct arena *a)
{
    struct uefi_signatures counted;
    const char *why = uefi_signatures_parse(value, &counted);
    if (why) {
        decode_malformed(w, why);
        return;
    }
    jw_key_int(w, "certificates", (int64_t)counted.certificates);
    jw_key_int(w, "hashes", (int64_t)counted.hashes);
    jw_key_int(w, "others", (int64_t)counted.others);
    struct uefi_signature_walk walk = uefi_signature_walk(value);
    struct uefi_signature s;
    jw_key(w, "signatures");
    jw_open(w, '[');
    for (size_t n = 0; n < DECODE_LIST_MAX && uefi_signature_next(&walk, &s); n++)
        write_signature(w, &s, a);
    jw_close(w, ']');
}

void decode_sbat(struct jw *w, struct bytes level)
{
    struct sbat_walk walk = sbat_lines(level);
    struct sbat_entry e;
    jw_key(w, "sbatLevel");
    jw_open(w, '{');
    jw_key_int(w, "revision", (int64_t)sbat_revision(level));
    jw_key(w, "components");
    jw_open(w, '[');
    for (size_t n = 0; n < SBAT_COMPONENTS_MAX && sbat_next(&walk, &e); n++) {
        char name[SBAT_NAME_MAX + 1];
        sbat_name(&e, name);
        jw_open(w, '{');
        jw_key_str(w, "name", name);
        jw_key_int(w, "generation", e.generation);
        jw_close(w, '}');
    }
    jw_close(w, ']');
    jw_close(w, '}');
}

/* EFI_SIGNATURE_DATA, or what shim takes as its authority. */
static void decode_authority(struct jw *w, const struct uefi_variable *v, struct arena *a)
{
    struct bytes der = uefi_der_at_start(v->value);
    if (uefi_name_is(v, "SbatLevel")) {
        decode_sbat(w, v->value);
        return;
    }
    if (!der.len && v->value.len > 16) {
        jw_key_str(w, "owner", uefi_guid_text(BYTES(v->value.data, 16), a));
        der = uefi_der_at_start(BYTES(v->value.data + 16, v->value.len - 16));
    }
    if (!der.len) {
        jw_key_str(w, "value", text_hex(v->value, VALUE_SHOWN + 32, a));
        return;
    }
    jw_key(w, "x509");
    cert_write(w, der, a);
}

/* ---- boot variables ---- */

static bool is_hex4(struct bytes name, size_t from)
{
    if (name.len != 2 * (from + 4))
        return false;
    for (size_t i = from; i < from + 4; i++) {
        uint8_t c = name.data[2 * i];
        bool digit = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F');
        if (!digit || name.data[2 * i + 1] != 0)
            return false;
    }
    return true;
}

/* "Boot0001" */
static bool is_boot_entry(const struct uefi_variable *v)
{
    static const uint8_t boot[] = {'B', 0, 'o', 0, 'o', 0, 't', 0};
    return is_hex4(v->name, 4) && memcmp(v->name.data, boot, sizeof boot) == 0;
}

static void decode_boot_order(struct jw *w, struct bytes value, struct arena *a)
{
    struct cursor c = cursor_of(value);
    jw_key(w, "bootOrder");
    jw_open(w, '[');
    for (size_t n = 0; n < DECODE_LIST_MAX && c.left >= 2; n++) {
        unsigned entry = cursor_u16le(&c);
        jw_str(w, arena_printf(a, "Boot%04X", entry));
    }
    jw_close(w, ']');
}

/* EFI_LOAD_OPTION (UEFI 2.10, 3.1.3): attributes, size of the path, description, path, data. */
static void decode_boot_entry(struct jw *w, struct bytes value, struct arena *a)
{
    struct cursor c = cursor_of(value);
    uint32_t attributes = cursor_u32le(&c);
    size_t path_len = cursor_u16le(&c), n = 0;
    if (c.bad) {
        decode_malformed(w, "the load option is truncated");
        return;
    }
    while (2 * n + 1 < c.left && (c.at[2 * n] || c.at[2 * n + 1]))
        n++;
    struct bytes description = cursor_take(&c, 2 * n);
    cursor_u16le(&c);
    struct bytes path = cursor_take(&c, path_len);
    if (c.bad) {
        decode_malformed(w, "the load option is truncated");
        return;
    }
    jw_key_str(w, "description", text_utf16(description, a));
    jw_key_bool(w, "active", attributes & 1);
    jw_key_str(w, "devicePath", devpath_text(path, a));
    if (c.left)
        jw_key_int(w, "optionalData", (int64_t)c.left);
}

/* ---- */

static bool is_database(const struct uefi_variable *v)
{
    static const char *const names[] = {"PK", "KEK", "db", "dbx", "dbt", "dbr", "devdb"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (uefi_name_is(v, names[i]))
            return true;
    return false;
}

void decode_variable(struct jw *w, const struct log_event *ev, struct arena *a)
{
    struct uefi_variable v;
    const char *why = uefi_variable_parse(ev->data, &v);
    if (why) {
        decode_malformed(w, why);
        return;
    }
    jw_key_str(w, "variable", uefi_name_text(&v, a));
    jw_key_str(w, "vendor", uefi_guid_text(v.guid, a));
    if (ev->type == EV_EFI_VARIABLE_AUTHORITY || ev->type == EV_EFI_SPDM_DEVICE_AUTHORITY)
        decode_authority(w, &v, a);
    else if (is_database(&v))
        decode_signatures(w, v.value, a);
    else if (uefi_name_is(&v, "BootOrder"))
        decode_boot_order(w, v.value, a);
    else if (is_boot_entry(&v))
        decode_boot_entry(w, v.value, a);
    else
        jw_key_str(w, "value", text_hex(v.value, VALUE_SHOWN, a));
}

void decode_image(struct jw *w, struct bytes data, struct arena *a)
{
    struct uefi_image_load image;
    const char *why = uefi_image_load_parse(data, &image);
    if (why) {
        /* some loaders write a text instead */
        jw_key_str(w, "text", text_ascii(data, a));
        return;
    }
    jw_key_str(w, "imageSize", arena_printf(a, "0x%llx", (unsigned long long)image.size));
    if (image.device_path.len)
        jw_key_str(w, "devicePath", devpath_text(image.device_path, a));
}

/* UEFI_GPT_DATA (PFP 1.05, 10.2.4): EFI_PARTITION_TABLE_HEADER of 92 bytes, a count, that many entries
 * of 128 bytes. */
void decode_gpt(struct jw *w, struct bytes data, struct arena *a)
{
    struct cursor c = cursor_of(data);
    cursor_take(&c, 56);
    struct bytes disk = cursor_take(&c, 16);
    cursor_take(&c, 20);
    uint64_t n = cursor_u64le(&c);
    if (c.bad || n > c.left / 128) {
        decode_malformed(w, "the partition table is truncated");
        return;
    }
    jw_key_str(w, "disk", uefi_guid_text(disk, a));
    jw_key(w, "partitions");
    jw_open(w, '[');
    for (uint64_t i = 0; i < n && i < DECODE_LIST_MAX; i++) {
        struct bytes type = cursor_take(&c, 16), unique = cursor_take(&c, 16);
        uint64_t first = cursor_u64le(&c), last = cursor_u64le(&c);
        cursor_u64le(&c); /* attributes */
        struct bytes name = cursor_take(&c, 72);
        jw_open(w, '{');
        jw_key_str(w, "name", text_utf16(name, a));
        jw_key_str(w, "type", uefi_guid_text(type, a));
        jw_key_str(w, "unique", uefi_guid_text(unique, a));
        jw_key_int(w, "first", (int64_t)(first & INT64_MAX));
        jw_key_int(w, "last", (int64_t)(last & INT64_MAX));
        jw_close(w, '}');
    }
    jw_close(w, ']');
}
