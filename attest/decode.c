#include "attest/decode.h"

#include "attest/loader.h"
#include "attest/locate.h"
#include "attest/sipa.h"
#include "attest/text.h"
#include "attest/uefi.h"

void decode_malformed(struct jw *w, const char *why)
{
    jw_key_str(w, "malformed", why);
}

static const char *any_text(struct bytes data, struct arena *a)
{
    return text_looks_utf16(data) ? text_utf16(data, a) : text_ascii(data, a);
}

static void key_number(struct jw *w, const char *key, uint64_t v, struct arena *a)
{
    jw_key_str(w, key, arena_printf(a, "0x%llx", (unsigned long long)v));
}

/* ---- EV_NO_ACTION ---- */

static const char *algorithm_text(uint16_t alg, struct arena *a)
{
    for (int b = 0; b < BANK_COUNT; b++)
        if (pcr_banks[b].alg == alg)
            return pcr_banks[b].name;
    return arena_printf(a, "0x%04x", alg);
}

static void decode_spec_id(struct jw *w, struct cursor *c, struct arena *a)
{
    cursor_u32le(c); /* platformClass */
    unsigned minor = cursor_u8(c), major = cursor_u8(c);
    cursor_u8(c); /* specErrata */
    cursor_u8(c); /* uintnSize */
    uint32_t n = cursor_u32le(c);
    jw_key_str(w, "specVersion", arena_printf(a, "%u.%u", major, minor));
    jw_key(w, "algorithms");
    jw_open(w, '[');
    for (uint32_t i = 0; i < n && i < DECODE_LIST_MAX && c->left >= 4; i++) {
        uint16_t alg = cursor_u16le(c);
        cursor_u16le(c); /* digestSize */
        jw_str(w, algorithm_text(alg, a));
    }
    jw_close(w, ']');
}

/* A length of one byte, then that many of text. */
static const char *take_text(struct cursor *c, struct arena *a)
{
    return text_ascii(cursor_take(c, cursor_u8(c)), a);
}

/* TCG_Sp800_155_PlatformId_Event2 and 3 (PFP 1.06, 10.4.5.2) begin alike. */
static void decode_sp800_155(struct jw *w, struct cursor *c, struct arena *a)
{
    uint32_t vendor = cursor_u32le(c);
    struct bytes manifest = cursor_take(c, 16);
    const char *const keys[] = {"platformManufacturer", "platformModel", "platformVersion",
                                "firmwareManufacturer"};
    const char *texts[ARRAY_LEN(keys)];
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        texts[i] = take_text(c, a);
    if (c->bad) {
        decode_malformed(w, "the SP 800-155 event is truncated");
        return;
    }
    jw_key_int(w, "vendorId", vendor);
    jw_key_str(w, "referenceManifest", uefi_guid_text(manifest, a));
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        jw_key_str(w, keys[i], texts[i]);
}

static void decode_no_action(struct jw *w, const struct log_event *ev, struct arena *a)
{
    struct cursor c = cursor_of(ev->data);
    const char *signature = text_ascii(cursor_take(&c, 16), a);
    if (c.bad)
        return;
    jw_key_str(w, "signature", signature);
    if (replay_is_locality(ev) && ev->data.len == REPLAY_LOCALITY_LEN)
        jw_key_int(w, "locality", cursor_u8(&c));
    else if (strncmp(signature, "Spec ID Event03", 15) == 0)
        decode_spec_id(w, &c, a);
    else if (strcmp(signature, "SP800-155 Event2") == 0 ||
             strcmp(signature, "SP800-155 Event3") == 0)
        decode_sp800_155(w, &c, a);
}

/* ---- firmware ---- */

/* UEFI_PLATFORM_FIRMWARE_BLOB, and ..._BLOB2 with a description before it (PFP 1.05, 10.2.5) */
static void decode_blob(struct jw *w, const struct log_event *ev, struct arena *a)
{
    struct cursor c = cursor_of(ev->data);
    const char *description = ev->type == EV_EFI_PLATFORM_FIRMWARE_BLOB2 ? take_text(&c, a) : NULL;
    uint64_t base = cursor_u64le(&c), length = cursor_u64le(&c);
    if (!cursor_done(&c)) {
        /* many write a text instead */
        jw_key_str(w, "text", any_text(ev->data, a));
        return;
    }
    jw_key_str_opt(w, "description", description);
    key_number(w, "base", base, a);
    key_number(w, "length", length, a);
}

/* UEFI_HANDOFF_TABLE_POINTERS, and ..._POINTERS2 with a description (PFP 1.05, 10.2.7) */
static void decode_tables(struct jw *w, const struct log_event *ev, struct arena *a)
{
    struct cursor c = cursor_of(ev->data);
    const char *description = ev->type == EV_EFI_HANDOFF_TABLES2 ? take_text(&c, a) : NULL;
    uint64_t n = cursor_u64le(&c);
    if (c.bad || n > c.left / 24) {
        decode_malformed(w, "the table list is truncated");
        return;
    }
    jw_key_str_opt(w, "description", description);
    jw_key(w, "tables");
    jw_open(w, '[');
    for (uint64_t i = 0; i < n && i < DECODE_LIST_MAX; i++) {
        jw_str(w, uefi_guid_text(cursor_take(&c, 16), a));
        cursor_u64le(&c);
    }
    jw_close(w, ']');
}

/* ---- operating systems ---- */

/* TCG_PCClientTaggedEvent of the Linux kernel's EFI stub and of systemd (tpm2-pcr.h). */
static const struct {
    uint32_t id;
    const char *name;
} tags[] = {
    {0x8f3b22ec, "linuxInitrd"},        {0x8f3b22ed, "linuxCommandLine"},
    {0xf5bc582a, "systemdLoaderConf"},  {0x6c46f751, "systemdDevicetreeAddon"},
    {0x49dffe0f, "systemdInitrdAddon"}, {0xdac08e1a, "systemdMicrocodeAddon"},
    {0x13aed6db, "systemdUkiProfile"},
};

static void decode_tag(struct jw *w, const struct log_event *ev, struct arena *a)
{
    struct cursor c = cursor_of(ev->data);
    uint32_t id = cursor_u32le(&c), size = cursor_u32le(&c);
    if (ev->pcr >= 11 && ev->pcr <= 14 && sipa_is(ev->data)) {
        jw_key(w, "sipa");
        sipa_write_tree(w, ev->data, a);
        return;
    }
    if (c.bad || size != c.left)
        return;
    const char *name = NULL;
    for (size_t i = 0; i < ARRAY_LEN(tags); i++)
        if (tags[i].id == id)
            name = tags[i].name;
    jw_key_str(w, "tag", name ? name : arena_printf(a, "0x%08x", id));
    if (name)
        jw_key_str(w, "text", any_text(cursor_take(&c, size), a));
}

static void decode_ipl(struct jw *w, const struct log_event *ev, struct arena *a)
{
    struct loader_event e = loader_read(ev);
    jw_key_str_opt(w, "kind", loader_kind_name(e.kind));
    jw_key_str(w, "text", e.kind ? loader_text(&e, a) : any_text(ev->data, a));
}

/* ---- all ---- */

static bool is_variable(uint32_t type)
{
    return type == EV_EFI_VARIABLE_DRIVER_CONFIG || type == EV_EFI_VARIABLE_BOOT ||
           type == EV_EFI_VARIABLE_BOOT2 || type == EV_EFI_VARIABLE_AUTHORITY ||
           type == EV_EFI_SPDM_DEVICE_POLICY || type == EV_EFI_SPDM_DEVICE_AUTHORITY;
}

static bool is_image(uint32_t type)
{
    return type == EV_EFI_BOOT_SERVICES_APPLICATION || type == EV_EFI_BOOT_SERVICES_DRIVER ||
           type == EV_EFI_RUNTIME_SERVICES_DRIVER;
}

static bool is_blob(uint32_t type)
{
    return type == EV_EFI_PLATFORM_FIRMWARE_BLOB || type == EV_EFI_PLATFORM_FIRMWARE_BLOB2 ||
           type == EV_POST_CODE;
}

static bool is_text(uint32_t type)
{
    return type == EV_EFI_ACTION || type == EV_ACTION || type == EV_S_CRTM_VERSION ||
           type == EV_S_CRTM_CONTENTS || type == EV_PLATFORM_CONFIG_FLAGS ||
           type == EV_NONHOST_INFO || type == EV_OMIT_BOOT_DEVICE_EVENTS;
}

static void decode_members(struct jw *w, const struct log_event *ev, struct arena *a)
{
    if (is_variable(ev->type))
        decode_variable(w, ev, a);
    else if (is_image(ev->type))
        decode_image(w, ev->data, a);
    else if (is_blob(ev->type))
        decode_blob(w, ev, a);
    else if (ev->type == EV_EFI_HANDOFF_TABLES || ev->type == EV_EFI_HANDOFF_TABLES2)
        decode_tables(w, ev, a);
    else if (ev->type == EV_EFI_GPT_EVENT || ev->type == EV_EFI_GPT_EVENT2)
        decode_gpt(w, ev->data, a);
    else if (ev->type == EV_EVENT_TAG)
        decode_tag(w, ev, a);
    else if (ev->type == EV_IPL)
        decode_ipl(w, ev, a);
    else if (ev->type == EV_NO_ACTION)
        decode_no_action(w, ev, a);
    else if (is_text(ev->type))
        jw_key_str(w, "text", any_text(ev->data, a));
}

void decode_event(struct jw *w, const struct log_event *ev, struct arena *a)
{
    struct buf out = {0};
    struct jw inner = jw_over(&out);
    jw_open(&inner, '{');
    decode_members(&inner, ev, a);
    jw_close(&inner, '}');
    if (out.len > 2)
        jw_key_raw_opt(w, "decoded", out.data);
    buf_free(&out);
}
