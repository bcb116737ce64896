#include "attest/content.h"

#include "attest/hash.h"
#include "attest/uefi.h"

#define FIRMWARE_PCRS 8

static const char debug_mode[] = "UEFI Debug Mode";

static const char *const sb_names[SB_VARIABLES] = {"SecureBoot", "PK", "KEK", "db", "dbx"};

static enum sb_variable sb_variable_of(const struct uefi_variable *v)
{
    int i = SB_SECURE_BOOT;
    while (i < SB_VARIABLES && !uefi_name_is(v, sb_names[i]))
        i++;
    return (enum sb_variable)i;
}

struct checker {
    struct attest_result *r;
    struct hasher hasher;
    struct content_report report;
    uint8_t separators[2][DIGEST_MAX]; /* digests of 00000000 and FFFFFFFF */
    size_t size;
    unsigned n_separators[FIRMWARE_PCRS];
    bool seen[SB_VARIABLES];
    bool empty[SB_VARIABLES];
    bool enabled;
    bool authority;
    int index; /* of the event at hand */
    const struct log_event *ev;
    struct bytes digest; /* its digest in the bank */
};

static void fail(struct checker *c, const char *reason)
{
    c->report.unfit |= 1u << c->ev->pcr;
    result_fail_at(c->r, CHECK_LOG_CONTENT, reason, c->index, (int)c->ev->pcr);
}

static void malformed(struct checker *c, const char *why)
{
    if (!c->report.malformed) {
        c->report.malformed = why;
        c->report.malformed_event = c->index;
    }
    fail(c, "malformed_event_data");
}

static bool is_digest_of(struct checker *c, struct bytes data)
{
    uint8_t out[DIGEST_MAX];
    hasher_run(&c->hasher, &data, 1, out);
    return bytes_equal(BYTES(out, c->size), c->digest);
}

static bool text_is(struct bytes data, const char *text)
{
    return bytes_equal(data, BYTES(text, strlen(text)));
}

static bool all_bytes(struct bytes b, uint8_t v)
{
    for (size_t i = 0; i < b.len; i++)
        if (b.data[i] != v)
            return false;
    return true;
}

/* PFP 1.05, 10.4.1: 00000000 or FFFFFFFF; 00000001 is the error separator. */
static void check_separator(struct checker *c)
{
    struct bytes data = c->ev->data;
    c->n_separators[c->ev->pcr]++;
    if (data.len != 4 || !(all_bytes(data, 0) || (all_bytes(data, 0xff) && c->ev->pcr != 7)))
        fail(c, "separator_value");
    else if (!is_digest_of(c, data))
        fail(c, "digest_mismatch");
    if (c->n_separators[c->ev->pcr] > 1)
        fail(c, "duplicate_separator");
}

/* Secure Boot's own value: one byte. Nothing is what firmware logs that does not support it. */
static void check_enabled(struct checker *c, struct bytes value)
{
    if (value.len > 1 || (value.len == 1 && value.data[0] > 1)) {
        fail(c, "secure_boot_value");
        return;
    }
    c->enabled = value.len == 1 && value.data[0] == 1;
}

static void check_signatures(struct checker *c, enum sb_variable which, struct bytes value)
{
    struct uefi_signatures s;
    const char *why = uefi_signatures_parse(value, &s);
    if (why)
        malformed(c, why);
    c->empty[which] = s.certificates + s.hashes + s.others == 0;
}

static void check_driver_config(struct checker *c)
{
    struct uefi_variable v;
    const char *why = uefi_variable_parse(c->ev->data, &v);
    if (why) {
        malformed(c, why);
        return;
    }
    if (!is_digest_of(c, c->ev->data))
        fail(c, "digest_mismatch");
    if (c->n_separators[7] > 0)
        fail(c, "variable_after_separator");
    if (v.surplus.len)
        fail(c, "trailing_data");
    enum sb_variable which = sb_variable_of(&v);
    if (which == SB_VARIABLES)
        return; /* another variable (dbt, dbr, AuditMode, ...) says nothing that is claimed */
    enum uefi_vendor want = which >= SB_DB ? VENDOR_IMAGE_SECURITY : VENDOR_GLOBAL;
    if (uefi_vendor_of(v.guid) != want) {
        fail(c, "foreign_vendor_guid");
        return;
    }
    if (c->seen[which])
        fail(c, "duplicate_variable");
    c->seen[which] = true;
    if (which == SB_SECURE_BOOT)
        check_enabled(c, v.value);
    else
        check_signatures(c, which, v.value);
}

/* Shims before 8a27a4809 log one byte more than they measured. */
static bool is_digest_of_authority(struct checker *c, const struct uefi_variable *v)
{
    struct bytes data = c->ev->data;
    if (is_digest_of(c, data))
        return true;
    return uefi_vendor_of(v->guid) == VENDOR_SHIM && data.len > 0 &&
           is_digest_of(c, BYTES(data.data, data.len - 1));
}

static void check_authority(struct checker *c)
{
    struct uefi_variable v;
    const char *why = uefi_variable_parse(c->ev->data, &v);
    if (why) {
        malformed(c, why);
        return;
    }
    if (!is_digest_of_authority(c, &v))
        fail(c, "digest_mismatch");
    /* EFI_SIGNATURE_DATA: the owner's GUID and the entry of db */
    if (uefi_vendor_of(v.guid) == VENDOR_IMAGE_SECURITY && v.value.len <= 16)
        fail(c, "authority_value");
    c->authority = true;
}

/* PCR 7 is where claims come from: nothing may stand in it that is not understood. */
static void check_pcr7(struct checker *c)
{
    const struct log_event *ev = c->ev;
    if (ev->type == EV_EFI_VARIABLE_DRIVER_CONFIG) {
        check_driver_config(c);
    } else if (ev->type == EV_EFI_VARIABLE_AUTHORITY) {
        check_authority(c);
    } else if (ev->type == EV_EFI_ACTION) {
        if (!is_digest_of(c, ev->data))
            fail(c, "digest_mismatch");
        if (text_is(ev->data, debug_mode))
            fail(c, "uefi_debug_mode");
    } else if (ev->type != EV_EFI_SPDM_DEVICE_POLICY && ev->type != EV_EFI_SPDM_DEVICE_AUTHORITY) {
        fail(c, "unexpected_event_type");
    }
}

/* Some firmware measures the value of a boot variable, some the whole UEFI_VARIABLE_DATA. */
static bool is_digest_of_variable(struct checker *c)
{
    struct uefi_variable v;
    return is_digest_of(c, c->ev->data) ||
           (!uefi_variable_parse(c->ev->data, &v) && is_digest_of(c, v.value));
}

/* PCRs 0 to 6: what must be the digest of its data is checked, and nothing else can be. */
static void check_other(struct checker *c)
{
    const struct log_event *ev = c->ev;
    bool same = true;
    if (!eventlog_type_name(ev->type)) {
        c->report.unfit |= 1u << ev->pcr;
        result_add(c->r, CHECK_LOG_CONTENT, STATUS_WARN, "unknown_event_type", c->index,
                   (int)ev->pcr);
    } else if (ev->type == EV_UNUSED) {
        fail(c, "unexpected_event_type");
    } else if (ev->type == EV_EFI_ACTION || ev->type == EV_EFI_GPT_EVENT ||
               ev->type == EV_S_CRTM_VERSION || ev->type == EV_NONHOST_INFO) {
        same = is_digest_of(c, ev->data);
    } else if (ev->type == EV_EFI_VARIABLE_BOOT || ev->type == EV_EFI_VARIABLE_BOOT2 ||
               ev->type == EV_EFI_VARIABLE_DRIVER_CONFIG) {
        same = is_digest_of_variable(c);
    }
    if (!same)
        fail(c, "digest_mismatch");
}

/* GRUB logs "kernel_cmdline: /vmlinuz ..." and measures what stands behind the prefix, without the
 * terminator. The view is empty where the event is of another kind. */
static struct bytes grub_text(const struct log_event *ev, const char *prefix)
{
    size_t n = strlen(prefix);
    if (ev->pcr != 8 || ev->type != EV_IPL || ev->data.len <= n ||
        memcmp(ev->data.data, prefix, n) != 0)
        return (struct bytes){0};
    struct bytes text = {ev->data.data + n, ev->data.len - n};
    while (text.len && text.data[text.len - 1] == 0)
        text.len--;
    return text;
}

static const char grub_command[] = "grub_cmd: ";
static const char grub_cmdline[] = "kernel_cmdline: ";

static void check_grub(struct checker *c)
{
    struct bytes text = grub_text(c->ev, grub_command);
    if (text.len == 0)
        text = grub_text(c->ev, grub_cmdline);
    if (text.len && !is_digest_of(c, text))
        fail(c, "digest_mismatch");
}

static bool is_separator_digest(const struct checker *c)
{
    return bytes_equal(c->digest, BYTES(c->separators[0], c->size)) ||
           bytes_equal(c->digest, BYTES(c->separators[1], c->size));
}

/* A separator under another type hides where the firmware handed over. Where claims come from that is
 * a lie; some firmware measures four zero bytes of its own into PCR 0. */
static void check_retyped(struct checker *c)
{
    if (c->ev->pcr == 4 || c->ev->pcr == 7)
        fail(c, "retyped_separator");
    else
        result_add(c->r, CHECK_LOG_CONTENT, STATUS_WARN, "retyped_separator", c->index,
                   (int)c->ev->pcr);
}

static void check_event(struct checker *c)
{
    const struct log_event *ev = c->ev;
    if (ev->type == EV_NO_ACTION || c->digest.len == 0)
        return; /* not extended; a missing digest is the replay's to report */
    if (ev->pcr >= FIRMWARE_PCRS) {
        check_grub(c);
        return;
    }
    if (ev->type == EV_SEPARATOR)
        check_separator(c);
    else if (is_separator_digest(c))
        check_retyped(c);
    else if (ev->pcr == 7)
        check_pcr7(c);
    else
        check_other(c);
}

static void fail_pcr7(struct checker *c, const char *reason)
{
    c->report.unfit |= 1u << 7;
    result_fail_at(c->r, CHECK_LOG_CONTENT, reason, ATTEST_NO_INDEX, 7);
}

/* What PCR 7 must hold as a whole (PFP 1.05, 3.3.4.8). */
static void check_complete(struct checker *c)
{
    if (!c->seen[SB_SECURE_BOOT])
        fail_pcr7(c, "secure_boot_missing");
    for (int i = SB_PK; i < SB_VARIABLES; i++) {
        if (c->seen[SB_SECURE_BOOT] && !c->seen[i]) {
            fail_pcr7(c, "variable_missing");
            break;
        }
    }
    if (c->n_separators[7] == 0)
        fail_pcr7(c, "separator_missing");
    if (!c->enabled)
        return;
    if (c->empty[SB_PK] || c->empty[SB_KEK] || c->empty[SB_DB])
        fail_pcr7(c, "secure_boot_without_keys");
    if (!c->authority)
        fail_pcr7(c, "authority_missing");
}

struct content_report content_check(const struct event_log *log, enum pcr_bank bank,
                                    struct attest_result *r)
{
    static const uint8_t zero[4], ones[4] = {0xff, 0xff, 0xff, 0xff};
    struct checker c = {.r = r, .hasher = hasher_new(bank), .size = pcr_banks[bank].size};
    hash_digest(bank, BYTES_OF(zero), c.separators[0]);
    hash_digest(bank, BYTES_OF(ones), c.separators[1]);
    for (size_t i = 0; i < log->n; i++) {
        c.index = (int)i;
        c.ev = &log->events[i];
        c.digest = c.ev->digest[bank];
        check_event(&c);
    }
    check_complete(&c);
    hasher_free(&c.hasher);
    return c.report;
}

/* ---- claims ---- */

static void claim_config(struct log_claims *out, const struct log_event *ev, struct bytes digest)
{
    struct uefi_variable v;
    struct uefi_signatures s = {0};
    if (uefi_variable_parse(ev->data, &v))
        return;
    enum sb_variable which = sb_variable_of(&v);
    if (which == SB_VARIABLES)
        return;
    if (which == SB_SECURE_BOOT)
        out->secure_boot = v.value.len == 1 && v.value.data[0] == 1 ? TRI_TRUE : TRI_FALSE;
    else if (uefi_signatures_parse(v.value, &s))
        return;
    out->variables[which] = (struct claim_variable){
        .present = true, .digest = digest, .certificates = s.certificates, .hashes = s.hashes};
}

static void claim_authority(struct log_claims *out, const struct log_event *ev, struct bytes digest,
                            struct arena *a)
{
    struct uefi_variable v;
    if (uefi_variable_parse(ev->data, &v) || out->n_authorities == CLAIMS_AUTHORITIES)
        return;
    /* the same entry of db is measured for every image that it vouches for */
    for (size_t i = 0; i < out->n_authorities; i++)
        if (bytes_equal(out->authorities[i].digest, digest))
            return;
    out->authorities[out->n_authorities++] =
        (struct claim_authority){uefi_name_text(&v, a), digest};
}

static void claim_pcr7(struct log_claims *out, const struct log_event *ev, struct bytes digest,
                       struct arena *a)
{
    if (ev->type == EV_EFI_VARIABLE_DRIVER_CONFIG)
        claim_config(out, ev, digest);
    else if (ev->type == EV_EFI_VARIABLE_AUTHORITY)
        claim_authority(out, ev, digest, a);
    else if (ev->type == EV_EFI_ACTION && text_is(ev->data, debug_mode))
        out->debug_mode = TRI_TRUE;
    else if (ev->type == EV_EFI_ACTION && text_is(ev->data, "DMA Protection Disabled"))
        out->dma_protection = TRI_FALSE;
}

/* A command line is bytes; JSON is UTF-8. */
static const char *printable(struct bytes b, struct arena *a)
{
    char *text = arena_strndup(a, (const char *)b.data, b.len);
    for (size_t i = 0; i < b.len; i++)
        if (b.data[i] < 0x20 || b.data[i] >= 0x7f)
            text[i] = '?';
    return text;
}

static void claim_event(struct log_claims *out, const struct log_event *ev, struct bytes digest,
                        struct arena *a)
{
    if (ev->pcr == 7)
        claim_pcr7(out, ev, digest, a);
    if (ev->pcr == 4 && ev->type == EV_EFI_BOOT_SERVICES_APPLICATION &&
        out->n_applications < CLAIMS_APPLICATIONS)
        out->applications[out->n_applications++] = digest;
    struct bytes line = grub_text(ev, grub_cmdline);
    if (line.len)
        out->kernel_command_line = printable(line, a);
}

struct log_claims content_claims(const struct event_log *log, enum pcr_bank bank, uint32_t pcrs,
                                 struct arena *a)
{
    struct log_claims out = {
        .secure_boot = TRI_UNSET, .debug_mode = TRI_UNSET, .dma_protection = TRI_UNSET};
    for (size_t i = 0; i < log->n; i++) {
        const struct log_event *ev = &log->events[i];
        if (ev->pcr >= EVIDENCE_PCRS || !(pcrs >> ev->pcr & 1) || ev->digest[bank].len == 0)
            continue;
        claim_event(&out, ev, ev->digest[bank], a);
    }
    if (out.secure_boot != TRI_UNSET && out.debug_mode == TRI_UNSET)
        out.debug_mode = TRI_FALSE;
    return out;
}
