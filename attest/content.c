#include "attest/content.h"

#include "attest/hash.h"
#include "attest/loader.h"
#include "attest/uefi.h"

#define FIRMWARE_PCRS 8

static const char debug_mode[] = "UEFI Debug Mode";

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
    bool windows;          /* Windows' boot manager wrote to the log */
    uint32_t windows_over; /* bit i: its separator in PCR i was seen */
    int index;             /* of the event at hand */
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
    enum sb_variable which = claims_variable_of(&v);
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

/* What says that it is GRUB's must be what was measured. Of other loaders' events only those are
 * believed whose digest fits (claims.c). */
static void check_grub(struct checker *c)
{
    struct loader_event e = loader_read(c->ev);
    bool grub = e.kind == LOADER_GRUB_COMMAND || e.kind == LOADER_GRUB_COMMAND_LINE ||
                e.kind == LOADER_GRUB_MODULE;
    bool same = !grub;
    for (size_t i = 0; i < e.n_measured && !same; i++)
        same = is_digest_of(c, e.measured[i]);
    if (!same)
        fail(c, "digest_mismatch");
}

/* ---- Windows ---- */

static bool is_sipa(const struct log_event *ev)
{
    return ev->type == EV_EVENT_TAG && ev->pcr >= 11 && ev->pcr <= 14 && sipa_is(ev->data);
}

static bool has_sipa(const struct event_log *log)
{
    for (size_t i = 0; i < log->n; i++)
        if (is_sipa(&log->events[i]))
            return true;
    return false;
}

/* PCR 12 and 13 of a Windows boot tell what weakens it: between the first event and the separator
 * nothing may stand there that is not understood, or a debug state could hide under another type. */
static void check_windows(struct checker *c)
{
    const struct log_event *ev = c->ev;
    bool told = ev->pcr == 12 || ev->pcr == 13;
    if (c->windows_over >> ev->pcr & 1) {
        if (told && ev->type == EV_SEPARATOR)
            fail(c, "duplicate_separator");
        return;
    }
    if (ev->type == EV_SEPARATOR) {
        c->windows_over |= 1u << ev->pcr;
        if (!text_is(ev->data, "WBCL"))
            fail(c, "separator_value");
        else if (!is_digest_of(c, ev->data))
            fail(c, "digest_mismatch");
    } else if (is_sipa(ev)) {
        struct sipa_claims scratch;
        sipa_init(&scratch);
        const char *why = sipa_read(ev->data, &scratch, NULL);
        if (why)
            malformed(c, why);
        else if (!is_digest_of(c, ev->data))
            fail(c, "digest_mismatch");
    } else if (told) {
        fail(c, "unexpected_event_type");
    }
}

static void check_later(struct checker *c)
{
    if (c->windows && c->ev->pcr >= 11 && c->ev->pcr <= 14)
        check_windows(c);
    else
        check_grub(c);
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
        check_later(c);
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
    struct checker c = {
        .r = r, .hasher = hasher_new(bank), .size = pcr_banks[bank].size, .windows = has_sipa(log)};
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
