#include "attest/checker.h"

#include "attest/text.h"

#define HEX_SHOWN 32

static const char allowed_types[] =
    "EV_EFI_VARIABLE_DRIVER_CONFIG, EV_EFI_VARIABLE_AUTHORITY, EV_EFI_ACTION, EV_SEPARATOR";

static const char *name_of(struct checker *c, const struct uefi_variable *v)
{
    return uefi_name_text(v, c->arena);
}

/* Secure Boot's own value: one byte. Nothing is what firmware logs that does not support it. */
static void check_enabled(struct checker *c, struct bytes value)
{
    if (value.len > 1 || (value.len == 1 && value.data[0] > 1)) {
        checker_fail(c, "secure_boot_value", "00 or 01", text_hex(value, HEX_SHOWN, c->arena));
        return;
    }
    c->enabled = value.len == 1 && value.data[0] == 1;
}

static void check_signatures(struct checker *c, enum sb_variable which, struct bytes value)
{
    struct uefi_signatures s;
    const char *why = uefi_signatures_parse(value, &s);
    if (why)
        checker_malformed(c, "EFI_SIGNATURE_LIST", why);
    c->empty[which] = s.certificates + s.hashes + s.others == 0;
}

/* Whatever its name: nothing is configured any more once the firmware has handed over. */
static void check_place(struct checker *c, const struct uefi_variable *v)
{
    checker_want_digest_of(c, c->ev->data);
    if (c->separator7 != ATTEST_NO_INDEX)
        checker_fail(c, "variable_after_separator",
                     arena_printf(c->arena, "before event %d", c->separator7), name_of(c, v));
    if (v->surplus.len)
        checker_fail(c, "trailing_data",
                     arena_printf(c->arena, "%zu bytes", c->ev->data.len - v->surplus.len),
                     arena_printf(c->arena, "%zu bytes", c->ev->data.len));
}

static const char guid_global[] = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
static const char guid_security[] = "d719b2cb-3d3a-4596-a3bc-dad00e67656f";

static void check_driver_config(struct checker *c)
{
    struct uefi_variable v;
    const char *why = uefi_variable_parse(c->ev->data, &v);
    if (why) {
        checker_malformed(c, "UEFI_VARIABLE_DATA", why);
        return;
    }
    check_place(c, &v);
    enum sb_variable which = claims_variable_of(&v);
    if (which == SB_VARIABLES)
        return; /* another variable (dbt, dbr, AuditMode, ...) says nothing that is claimed */
    bool security = which >= SB_DB;
    if (uefi_vendor_of(v.guid) != (security ? VENDOR_IMAGE_SECURITY : VENDOR_GLOBAL)) {
        checker_fail(c, "foreign_vendor_guid", security ? guid_security : guid_global,
                     uefi_guid_text(v.guid, c->arena));
        return;
    }
    if (c->seen[which])
        checker_fail(c, "duplicate_variable", "once", name_of(c, &v));
    c->seen[which] = true;
    if (which == SB_SECURE_BOOT)
        check_enabled(c, v.value);
    else
        check_signatures(c, which, v.value);
}

static bool has_extra_byte(struct checker *c, const struct uefi_variable *v)
{
    struct bytes data = c->ev->data;
    return uefi_vendor_of(v->guid) == VENDOR_SHIM && data.len > 0 &&
           checker_is_digest_of(c, BYTES(data.data, data.len - 1));
}

static void check_authority(struct checker *c)
{
    struct uefi_variable v;
    const char *why = uefi_variable_parse(c->ev->data, &v);
    if (why) {
        checker_malformed(c, "UEFI_VARIABLE_DATA", why);
        return;
    }
    bool same = checker_is_digest_of(c, c->ev->data) ||
                (has_extra_byte(c, &v) &&
                 quirk_tolerate(QUIRK_SHIM_EXTRA_BYTE, c->index, c->ev->pcr, c->r));
    if (!same)
        checker_mismatch(c, c->ev->data);
    /* EFI_SIGNATURE_DATA: the owner's GUID and the entry of db */
    if (uefi_vendor_of(v.guid) == VENDOR_IMAGE_SECURITY && v.value.len <= 16)
        checker_fail(c, "authority_value", "EFI_SIGNATURE_DATA",
                     arena_printf(c->arena, "%zu bytes", v.value.len));
    c->authority = true;
}

/* PFP 1.05, 3.3.4.8, knows two. Others would be a place to hide an authority under another type, whose
 * digest is of its data as well. */
static void check_action(struct checker *c)
{
    struct bytes data = c->ev->data;
    checker_action(c);
    if (checker_text_is(data, "UEFI Debug Mode"))
        checker_fail(c, "uefi_debug_mode", "no debugger", "UEFI Debug Mode");
    else if (!checker_text_is(data, "DMA Protection Disabled"))
        checker_fail(c, "unexpected_action", "DMA Protection Disabled",
                     text_ascii(BYTES(data.data, data.len > 80 ? 80 : data.len), c->arena));
}

/* PFP 1.06, 10.2.6: entries of "devdb", so that nothing of another name can hide here. */
static void check_device(struct checker *c)
{
    struct uefi_variable v;
    const char *why = uefi_variable_parse(c->ev->data, &v);
    if (why) {
        checker_malformed(c, "UEFI_VARIABLE_DATA", why);
        return;
    }
    checker_want_digest_of(c, c->ev->data);
    if (!uefi_name_is(&v, "devdb"))
        checker_unexpected(c, "EV_EFI_VARIABLE_AUTHORITY for what is not devdb");
}

/* PCR 7 is where claims come from: nothing may stand in it that is not understood. */
void checker_pcr7(struct checker *c)
{
    const struct log_event *ev = c->ev;
    if (ev->type == EV_EFI_VARIABLE_DRIVER_CONFIG) {
        check_driver_config(c);
    } else if (ev->type == EV_EFI_VARIABLE_AUTHORITY) {
        check_authority(c);
    } else if (ev->type == EV_EFI_ACTION) {
        check_action(c);
    } else if (ev->type == EV_EFI_SPDM_DEVICE_POLICY || ev->type == EV_EFI_SPDM_DEVICE_AUTHORITY) {
        check_device(c);
    } else {
        checker_unexpected(c, allowed_types);
    }
}

static void fail_whole(struct checker *c, const char *reason, const char *expected,
                       const char *found)
{
    c->report.unfit |= 1u << 7;
    result_fail_values(c->r, CHECK_LOG_CONTENT, reason, ATTEST_NO_INDEX, 7, expected, found);
}

/* "PK, db": those of `which` that are set. */
static const char *variables_text(struct checker *c, const bool which[SB_VARIABLES])
{
    const char *text = "";
    for (int i = SB_PK; i < SB_VARIABLES; i++)
        if (which[i])
            text = arena_printf(c->arena, "%s%s%s", text, *text ? ", " : "", sb_variable_names[i]);
    return text;
}

static void check_all_seen(struct checker *c)
{
    bool missing[SB_VARIABLES];
    for (int i = 0; i < SB_VARIABLES; i++)
        missing[i] = !c->seen[i];
    const char *text = variables_text(c, missing);
    if (*text)
        fail_whole(c, "variable_missing", "PK, KEK, db, dbx",
                   arena_printf(c->arena, "without %s", text));
}

void checker_pcr7_complete(struct checker *c)
{
    if (!c->seen[SB_SECURE_BOOT])
        fail_whole(c, "secure_boot_missing", "SecureBoot under the global GUID", "no such event");
    else
        check_all_seen(c);
    if (c->n_separators[7] == 0)
        fail_whole(c, "separator_missing", "EV_SEPARATOR", "no such event");
    if (!c->enabled)
        return;
    bool empty[SB_VARIABLES] = {
        [SB_PK] = c->empty[SB_PK], [SB_KEK] = c->empty[SB_KEK], [SB_DB] = c->empty[SB_DB]};
    const char *text = variables_text(c, empty);
    if (*text)
        fail_whole(c, "secure_boot_without_keys", "keys in PK, KEK and db",
                   arena_printf(c->arena, "nothing in %s", text));
    if (!c->authority)
        fail_whole(c, "authority_missing", "EV_EFI_VARIABLE_AUTHORITY", "no such event");
}
