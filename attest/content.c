#include "attest/checker.h"

#include "attest/text.h"

#define HEX_SHOWN 32

void checker_fail(struct checker *c, const char *reason, const char *expected, const char *found)
{
    c->report.unfit |= 1u << c->ev->pcr;
    result_fail_values(c->r, CHECK_LOG_CONTENT, reason, c->index, (int)c->ev->pcr, expected, found);
}

void checker_malformed(struct checker *c, const char *structure, const char *why)
{
    if (!c->report.malformed) {
        c->report.malformed = why;
        c->report.malformed_event = c->index;
    }
    checker_fail(c, "malformed_event_data", structure, why);
}

void checker_mismatch(struct checker *c, struct bytes data)
{
    uint8_t out[DIGEST_MAX];
    hash_digest(c->bank, data, out);
    checker_fail(c, "digest_mismatch", text_hex(c->digest, DIGEST_MAX, c->arena),
                 text_hex(BYTES(out, c->size), DIGEST_MAX, c->arena));
}

bool checker_is_digest_of(struct checker *c, struct bytes data)
{
    uint8_t out[DIGEST_MAX];
    hash_digest(c->bank, data, out);
    return bytes_equal(BYTES(out, c->size), c->digest);
}

void checker_want_digest_of(struct checker *c, struct bytes data)
{
    if (!checker_is_digest_of(c, data))
        checker_mismatch(c, data);
}

const char *checker_type(struct checker *c)
{
    const char *name = eventlog_type_name(c->ev->type);
    return name ? name : arena_printf(c->arena, "0x%08x", c->ev->type);
}

void checker_unexpected(struct checker *c, const char *allowed)
{
    checker_fail(c, "unexpected_event_type", allowed, checker_type(c));
}

bool checker_text_is(struct bytes data, const char *text)
{
    if (data.len && data.data[data.len - 1] == 0)
        data.len--;
    return bytes_equal(data, BYTES_STR(text));
}

void checker_action(struct checker *c)
{
    static const uint8_t nul[1];
    const struct bytes parts[] = {c->ev->data, BYTES_OF(nul)};
    uint8_t out[DIGEST_MAX];
    if (checker_is_digest_of(c, c->ev->data)) {
        if (c->ev->data.len && c->ev->data.data[c->ev->data.len - 1] == 0)
            quirk_tolerate(QUIRK_ACTION_TERMINATED, c->index, c->ev->pcr, c->r);
        return;
    }
    hash_parts(c->bank, parts, ARRAY_LEN(parts), out);
    if (bytes_equal(BYTES(out, c->size), c->digest))
        quirk_tolerate(QUIRK_ACTION_TERMINATED, c->index, c->ev->pcr, c->r);
    else
        checker_mismatch(c, c->ev->data);
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
    unsigned pcr = c->ev->pcr;
    c->n_separators[pcr]++;
    if (pcr == 7 && c->n_separators[pcr] == 1)
        c->separator7 = c->index;
    if (data.len != 4 || !(all_bytes(data, 0) || (all_bytes(data, 0xff) && pcr != 7)))
        checker_fail(c, "separator_value", pcr == 7 ? "00000000" : "00000000 or ffffffff",
                     text_hex(data, HEX_SHOWN, c->arena));
    else
        checker_want_digest_of(c, data);
    if (c->n_separators[pcr] > 1)
        checker_fail(c, "duplicate_separator", "1",
                     arena_printf(c->arena, "%u", c->n_separators[pcr]));
}

/* EV_EFI_VARIABLE_BOOT is of the variable's value (TCG EFI Platform 1.22, 7.8), the others are of the
 * whole UEFI_VARIABLE_DATA (PFP 1.05, 10.4.1), which some firmware does not keep to. What is right is
 * tried first. */
static void check_variable(struct checker *c)
{
    struct uefi_variable v;
    bool boot = c->ev->type == EV_EFI_VARIABLE_BOOT;
    bool parsed = !uefi_variable_parse(c->ev->data, &v);
    if (boot && parsed && checker_is_digest_of(c, v.value))
        return;
    if (checker_is_digest_of(c, c->ev->data))
        return;
    if (!boot && parsed && checker_is_digest_of(c, v.value) &&
        quirk_tolerate(QUIRK_BOOT_VARIABLE_VALUE, c->index, c->ev->pcr, c->r))
        return;
    checker_mismatch(c, c->ev->data);
}

/* PCRs 0 to 6: what must be the digest of its data is checked, and nothing else can be. */
static void check_other(struct checker *c)
{
    const struct log_event *ev = c->ev;
    if (!eventlog_type_name(ev->type)) {
        const struct attest_finding f = {.check = CHECK_LOG_CONTENT,
                                         .status = STATUS_WARN,
                                         .reason = "unknown_event_type",
                                         .event = c->index,
                                         .pcr = (int)ev->pcr,
                                         .found = checker_type(c)};
        c->report.unfit |= 1u << ev->pcr;
        result_put(c->r, &f);
    } else if (ev->type == EV_UNUSED) {
        checker_unexpected(c, "a type of PFP 1.05, table 14, that is in use");
    } else if (ev->type == EV_EFI_ACTION) {
        checker_action(c);
    } else if (ev->type == EV_EFI_GPT_EVENT || ev->type == EV_S_CRTM_VERSION ||
               ev->type == EV_NONHOST_INFO) {
        checker_want_digest_of(c, ev->data);
    } else if (ev->type == EV_EFI_VARIABLE_BOOT || ev->type == EV_EFI_VARIABLE_BOOT2 ||
               ev->type == EV_EFI_VARIABLE_DRIVER_CONFIG) {
        check_variable(c);
    }
}

static bool is_separator_digest(const struct checker *c)
{
    return bytes_equal(c->digest, BYTES(c->separators[0], c->size)) ||
           bytes_equal(c->digest, BYTES(c->separators[1], c->size));
}

/* Types whose digest is of something that the log does not hold: four zero bytes are possible. */
static bool measures_other_data(uint32_t type)
{
    return type == EV_S_CRTM_CONTENTS || type == EV_POST_CODE || type == EV_POST_CODE2 ||
           type == EV_CPU_MICROCODE || type == EV_PLATFORM_CONFIG_FLAGS ||
           type == EV_EFI_PLATFORM_FIRMWARE_BLOB || type == EV_EFI_PLATFORM_FIRMWARE_BLOB2;
}

/* A separator under another type hides where the firmware handed over. */
static void check_retyped(struct checker *c)
{
    if (measures_other_data(c->ev->type) &&
        quirk_tolerate(QUIRK_SEPARATOR_DIGEST, c->index, c->ev->pcr, c->r))
        return;
    checker_fail(c, "retyped_separator", "EV_SEPARATOR", checker_type(c));
}

static void check_event(struct checker *c)
{
    const struct log_event *ev = c->ev;
    if (ev->type == EV_NO_ACTION || c->digest.len == 0)
        return; /* not extended; a missing digest is the replay's to report */
    if (ev->pcr >= FIRMWARE_PCRS)
        checker_later(c);
    else if (ev->type == EV_SEPARATOR)
        check_separator(c);
    else if (is_separator_digest(c))
        check_retyped(c);
    else if (ev->pcr == 7)
        checker_pcr7(c);
    else
        check_other(c);
}

/* Where the table of findings is full and has its failure, what is said of further events is dropped:
 * its texts need not be kept either. */
static bool is_dropped(const struct checker *c)
{
    return ATTEST_FINDINGS - c->r->n_findings <= CHECK_COUNT &&
           result_has_failed(c->r, CHECK_LOG_CONTENT);
}

static void check_all(struct checker *c, const struct event_log *log)
{
    struct arena *kept = c->arena, *scratch = NULL;
    for (size_t i = 0; i < log->n; i++) {
        if (!scratch && is_dropped(c))
            c->arena = scratch = arena_new();
        else if (scratch && i % 64 == 0)
            arena_reset(scratch);
        c->index = (int)i;
        c->ev = &log->events[i];
        c->digest = c->ev->digest[c->bank];
        check_event(c);
    }
    arena_free(scratch);
    c->arena = kept;
}

struct content_report content_check(const struct event_log *log, enum pcr_bank bank,
                                    struct arena *a, struct attest_result *r)
{
    static const uint8_t zero[4], ones[4] = {0xff, 0xff, 0xff, 0xff};
    const struct bytes separators[] = {BYTES_OF(zero), BYTES_OF(ones)};
    struct checker c = {.r = r,
                        .arena = a,
                        .bank = bank,
                        .size = pcr_banks[bank].size,
                        .separator7 = ATTEST_NO_INDEX,
                        .windows = checker_has_windows(log)};
    for (size_t i = 0; i < ARRAY_LEN(separators); i++)
        hash_digest(bank, separators[i], c.separators[i]);
    check_all(&c, log);
    checker_pcr7_complete(&c);
    return c.report;
}
