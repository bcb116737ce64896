/*
 * What is read out of event logs: SBAT levels, device paths, loaders' texts, Windows' events, the
 * event that explains a PCR, and that nothing of it can be hidden under another name.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "attest/content.h"
#include "attest/devpath.h"
#include "attest/loader.h"
#include "attest/quirk.h"
#include "attest/sbat.h"
#include "tests/unit/attest_make.h"

#include <cmocka.h>

static struct make *m;
static struct attest_result result;

static int setup(void **state)
{
    m = make_new();
    return 0;
}

static int teardown(void **state)
{
    make_free(m);
    return 0;
}

/* ---- SBAT ---- */

static void sbat_levels(void **state)
{
    struct bytes level = BYTES_STR("sbat,1,2023012900\nshim,2\ngrub,3\r\ngrub.debian,4\n"), missing;
    assert_int_equal(sbat_revision(level), 2023012900);
    assert_int_equal(sbat_generation(level, "grub"), 3);
    assert_int_equal(sbat_generation(level, "grub.debian"), 4);
    assert_int_equal(sbat_generation(level, "gru"), 0);
    assert_true(sbat_at_least(level, BYTES_STR("sbat,1,2022000000\nshim,2\n"), &missing));
    assert_false(sbat_at_least(level, BYTES_STR("sbat,1,2022000000\nshim,3\n"), &missing));
    assert_true(bytes_equal(missing, BYTES_STR("shim")));
    assert_false(sbat_at_least(level, BYTES_STR("sbat,1,2024000000\n"), &missing));
    assert_true(bytes_equal(missing, BYTES_STR("sbat")));
    assert_false(sbat_at_least((struct bytes){0}, BYTES_STR("shim,1\n"), &missing));
    assert_false(sbat_at_least(level, BYTES_STR("shim,two\n"), &missing));
}

static void sbat_that_is_not_well_formed_ends(void **state)
{
    static const char *const bad[] = {"shim",    "shim,",           ",1",
                                      "shim,-1", "shim,4294967296", "shim, 1"};
    struct sbat_entry e;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct sbat_walk w = sbat_lines(BYTES_STR(bad[i]));
        assert_false(sbat_next(&w, &e));
        assert_true(w.bad);
        assert_int_equal(sbat_generation(BYTES_STR(bad[i]), "shim"), 0);
    }
}

/* ---- device paths ---- */

static void device_paths(void **state)
{
    static const uint8_t scsi[] = {2,    1, 12,  0, 0xd0, 0x41, 3, 0x0a, 0,    0,    0, 0, 1, 1,
                                   6,    0, 0,   3, 3,    2,    8, 0,    1,    0,    0, 0, 4, 4,
                                   0x0a, 0, 'a', 0, 0,    0,    0, 0,    0x7f, 0xff, 4, 0};
    static const uint8_t short_node[] = {1, 1, 3, 0}, long_node[] = {1, 1, 7, 0, 0, 0};
    assert_string_equal(devpath_text(BYTES_OF(scsi), m->arena),
                        "PciRoot(0x0)/Pci(0x3,0x0)/Scsi(0x1,0x0)/a");
    assert_string_equal(devpath_text((struct bytes){0}, m->arena), "");
    assert_string_equal(devpath_text(BYTES_OF(short_node), m->arena), "<malformed>");
    assert_string_equal(devpath_text(BYTES_OF(long_node), m->arena), "<malformed>");
}

static void a_long_device_path_is_cut(void **state)
{
    struct buf b = {0};
    for (int i = 0; i < 1000; i++)
        buf_add(&b, "\1\1\6\0\0\3", 6);
    const char *text = devpath_text(buf_bytes(&b), m->arena);
    buf_free(&b);
    assert_in_range(strlen(text), DEVPATH_TEXT_MAX, DEVPATH_TEXT_MAX + 64);
    assert_string_equal(text + strlen(text) - 3, "...");
}

/* ---- loaders ---- */

static struct loader_event loader_of(uint32_t pcr, struct bytes data)
{
    const struct log_event ev = {.pcr = pcr, .type = EV_IPL, .data = data};
    return loader_read(&ev);
}

static void loaders_texts(void **state)
{
    struct loader_event e = loader_of(8, BYTES("grub_cmd: linux /v\0", 19));
    assert_int_equal(e.kind, LOADER_GRUB_COMMAND);
    assert_true(bytes_equal(e.measured[0], BYTES_STR("linux /v")));
    e = loader_of(8, BYTES("grub_kernel_cmdline x\0", 22));
    assert_int_equal(e.kind, LOADER_GRUB_COMMAND_LINE);
    assert_true(bytes_equal(e.text, BYTES_STR("x")));
    e = loader_of(12, BYTES("r\0o\0\0\0", 6));
    assert_int_equal(e.kind, LOADER_STUB_COMMAND_LINE);
    assert_string_equal(loader_text(&e, m->arena), "ro");
    assert_true(bytes_equal(e.measured[0], BYTES("r\0o\0\0\0", 6)));
    assert_int_equal(loader_of(8, BYTES("r\0o\0\0\0", 6)).kind, LOADER_STUB_COMMAND_LINE);
    assert_int_equal(loader_of(11, BYTES(".\0l\0", 4)).kind, LOADER_STUB_SECTION);
    assert_int_equal(loader_of(14, BYTES("MokListTrusted\0", 15)).kind, LOADER_MOK);
    assert_int_equal(loader_of(8, BYTES_STR("hello")).kind, LOADER_NONE);
    assert_int_equal(loader_of(8, (struct bytes){0}).kind, LOADER_NONE);
}

/* ---- whole logs ---- */

static struct log_claims claims_of(void)
{
    make_log(m);
    struct event_log *log = ARENA_NEW(m->arena, struct event_log);
    *log = eventlog_parse(m->log, m->arena);
    assert_null(log->bad);
    result_init(&result);
    struct content_report report = content_check(log, BANK_SHA256, m->arena, &result);
    return content_claims(log, BANK_SHA256, ~report.unfit, m->arena);
}

static bool has(enum check_status status, const char *reason)
{
    for (size_t i = 0; i < result.n_findings; i++)
        if (result.findings[i].status == status && result.findings[i].reason &&
            strcmp(result.findings[i].reason, reason) == 0)
            return true;
    return false;
}

static void a_command_line_cannot_pass_as_a_command(void **state)
{
    make_reset(m);
    make_add(m, 8, EV_IPL, BYTES_STR("grub_cmd: linux /v init=/bin/sh"))->measured =
        BYTES_STR("linux /v init=/bin/sh");
    /* what GRUB logged as "kernel_cmdline: " */
    make_add(m, 8, EV_IPL, BYTES_STR("grub_cmd: /v init=/bin/sh"))->measured =
        BYTES_STR("/v init=/bin/sh");
    struct log_claims c = claims_of();
    assert_int_equal(c.n_command_lines, 2);
    assert_string_equal(c.command_lines[1].text, "/v init=/bin/sh");
}

static void command_and_command_line_are_one(void **state)
{
    make_reset(m);
    make_add(m, 8, EV_IPL, BYTES_STR("grub_cmd: linux /v ro"))->measured = BYTES_STR("linux /v ro");
    make_add(m, 8, EV_IPL, BYTES_STR("kernel_cmdline: /v ro"))->measured = BYTES_STR("/v ro");
    struct log_claims c = claims_of();
    assert_int_equal(c.n_command_lines, 2); /* and that of the honest log */
    assert_int_equal(c.command_lines[1].event, (int)m->n_events);
}

static void an_application_cannot_hide_under_another_type(void **state)
{
    static const uint8_t image[] = "MZ\x90\0what Authenticode hashes of a small image";
    make_reset(m);
    size_t before = claims_of().n_applications;
    make_add(m, 4, EV_COMPACT_HASH, BYTES_STR("x"))->measured = BYTES_STR("an image");
    assert_int_equal(claims_of().n_applications, before + 1);
    make_add(m, 4, EV_EFI_ACTION, BYTES_STR("Exit Boot Services Invocation"));
    make_add(m, 4, EV_EFI_ACTION, BYTES("terminated", 11));
    assert_int_equal(claims_of().n_applications, before + 1);
    make_add(m, 4, EV_EFI_ACTION, BYTES_OF(image));
    assert_int_equal(claims_of().n_applications, before + 2);
}

static void the_firmwares_version_is_the_first(void **state)
{
    make_reset(m);
    struct bytes before = claims_of().crtm_version;
    assert_true(before.len > 0);
    make_add(m, 0, EV_S_CRTM_VERSION, BYTES_STR("9.9"));
    assert_true(bytes_equal(claims_of().crtm_version, before));
}

static void a_stub_command_line_counts_only_where_it_was_measured(void **state)
{
    make_reset(m);
    make_add(m, 12, EV_IPL, BYTES("r\0o\0\0\0", 6));
    make_add(m, 12, EV_IPL, BYTES("r\0w\0\0\0", 6))->measured = BYTES_STR("credentials");
    struct log_claims c = claims_of();
    assert_int_equal(c.n_command_lines, 2);
    assert_string_equal(c.command_lines[1].text, "ro");
    assert_int_equal(c.command_lines[1].source, COMMAND_LINE_SYSTEMD_STUB);
}

static void an_authority_of_firmware_and_of_an_old_shim(void **state)
{
    static const uint8_t der[] = {0x30, 3, 1, 2, 3}, owner[16] = {1};
    static const uint8_t shim[16] = {0x50, 0xab, 0x5d, 0x60, 0x46, 0xe0, 0x00, 0x43,
                                     0xab, 0xb6, 0x3d, 0xd8, 0x10, 0xdd, 0x8b, 0x23};
    struct buf entry = {0};
    make_reset(m);
    buf_add(&entry, owner, sizeof owner);
    buf_add(&entry, der, sizeof der);
    make_remove(m, make_find(m, 4, EV_EFI_BOOT_SERVICES_APPLICATION));
    make_add(m, 7, EV_EFI_VARIABLE_AUTHORITY,
             make_variable(m->arena, make_security, "db", make_keep(m->arena, &entry)));
    make_add(m, 4, EV_EFI_BOOT_SERVICES_APPLICATION, BYTES_STR("shim"));
    make_add(m, 4, EV_EFI_BOOT_SERVICES_APPLICATION, BYTES_STR("grub"));
    /* after its image, without an owner, and one byte more than was measured */
    struct bytes logged = make_variable(m->arena, shim, "Shim", BYTES("\x30\3\4\5\6\0", 6));
    make_add(m, 7, EV_EFI_VARIABLE_AUTHORITY, logged)->measured =
        BYTES(logged.data, logged.len - 1);
    make_add(m, 4, EV_EFI_BOOT_SERVICES_APPLICATION, BYTES_STR("kernel"));
    struct log_claims c = claims_of();
    assert_int_equal(c.n_applications, 3);
    const struct claim_authority *first = &c.authorities[c.applications[0].authority];
    const struct claim_authority *second = &c.authorities[c.applications[1].authority];
    assert_true(bytes_equal(first->certificate, BYTES_OF(der)));
    assert_true(bytes_equal(second->certificate, BYTES("\x30\3\4\5\6", 5)));
    assert_int_equal(c.applications[2].authority, CLAIMS_NONE);
    assert_true(has(STATUS_WARN, quirks[QUIRK_SHIM_EXTRA_BYTE].reason));
}

/* ---- Windows ---- */

static const uint8_t early[] = {1, 0, 1, 0x40, 18, 0, 0, 0, 1, 0, 4, 0, 1,
                                0, 0, 0, 0,    2,  0, 5, 0, 1, 0, 0, 0, 1};
static const uint8_t late[] = {1, 0, 1, 0x40, 9, 0, 0, 0, 1, 0, 5, 0, 1, 0, 0, 0, 0};
static const uint8_t debug[] = {1, 0, 1, 0x40, 9, 0, 0, 0, 1, 0, 4, 0, 1, 0, 0, 0, 1};

static void boot_windows(void)
{
    make_reset(m);
    make_add(m, 12, EV_EVENT_TAG, BYTES_OF(early));
    make_add(m, 13, EV_EVENT_TAG, BYTES_OF(late));
}

static void separate_windows(void)
{
    make_add(m, 12, EV_SEPARATOR, BYTES_STR("WBCL"));
    make_add(m, 13, EV_SEPARATOR, BYTES_STR("WBCL"));
}

static void windows_states(void **state)
{
    boot_windows();
    separate_windows();
    struct log_claims c = claims_of();
    assert_true(c.windows.present);
    assert_int_equal(c.windows.boot_debugging, TRI_FALSE);
    assert_int_equal(c.windows.code_integrity, TRI_TRUE);
    assert_int_equal(c.windows.kernel_debugging, TRI_FALSE);
    assert_int_equal(c.windows.test_signing, TRI_UNSET);
    assert_false(has(STATUS_FAIL, "unexpected_event_type"));
}

static void what_weakens_windows_sticks(void **state)
{
    boot_windows();
    make_add(m, 12, EV_EVENT_TAG, BYTES_OF(debug));
    make_add(m, 12, EV_EVENT_TAG, BYTES_OF(early)); /* says once more that all is well */
    separate_windows();
    assert_int_equal(claims_of().windows.boot_debugging, TRI_TRUE);
}

/* It need not be the boot manager's. */
static void what_follows_the_separator_can_only_weaken(void **state)
{
    boot_windows();
    separate_windows();
    make_add(m, 12, EV_EVENT_TAG, BYTES_OF(debug));
    assert_int_equal(claims_of().windows.boot_debugging, TRI_TRUE);

    make_reset(m);
    make_add(m, 12, EV_EVENT_TAG, BYTES_OF(debug));
    separate_windows();
    make_add(m, 12, EV_EVENT_TAG, BYTES_OF(early));
    make_add(m, 13, EV_EVENT_TAG, BYTES_OF(late));
    struct log_claims c = claims_of();
    assert_int_equal(c.windows.boot_debugging, TRI_TRUE);
    assert_int_equal(c.windows.code_integrity, TRI_UNSET);
    assert_int_equal(c.unread, 0);

    make_add(m, 13, EV_SEPARATOR, BYTES_STR("WBCL"));
    m->events[m->n_events - 1].type = EV_IPL;
    c = claims_of();
    assert_int_equal(c.unread, 1u << 13);
    assert_int_equal(c.n_unread, 1);
    assert_int_equal(c.unread_events[0].event, (int)m->n_events);
}

static void a_debug_state_cannot_hide_under_another_type(void **state)
{
    boot_windows();
    make_add(m, 12, EV_IPL, BYTES_OF(debug));
    separate_windows();
    assert_false(claims_of().windows.present);
    assert_true(has(STATUS_FAIL, "unexpected_event_type"));
}

static void an_early_separator_of_windows_is_no_end(void **state)
{
    boot_windows();
    separate_windows();
    make_add(m, 12, EV_SEPARATOR, BYTES_STR("WBCL"));
    assert_false(claims_of().windows.present);
    assert_true(has(STATUS_FAIL, "duplicate_separator"));
    boot_windows();
    make_add(m, 12, EV_SEPARATOR, BYTES_STR("LBCW"));
    assert_false(claims_of().windows.present);
    assert_true(has(STATUS_FAIL, "separator_value"));
}

static void sipa_sizes(void **state)
{
    static const uint8_t longer[] = {1, 0, 1, 0x40, 9, 0, 0, 0, 1, 0, 4, 0, 2, 0, 0, 0, 1};
    static const uint8_t wide[] = {1, 0, 4, 0, 9, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    struct sipa_claims c;
    sipa_init(&c);
    assert_null(sipa_read(BYTES_OF(early), &c, m->arena));
    assert_non_null(sipa_read(BYTES_OF(longer), &c, m->arena));
    assert_non_null(sipa_read(BYTES_OF(wide), &c, m->arena));
    for (size_t n = 1; n < sizeof early; n++)
        assert_non_null(sipa_read(BYTES(early, n), &c, m->arena));
    assert_false(sipa_is(BYTES("\2\0\5\0", 4)));
}

/* ---- which event it is ---- */

static struct pcr_set quoted(void)
{
    struct pcr_set set = {.bank = BANK_SHA256, .mask = 0x1ff};
    for (int i = 0; i < 9; i++)
        memcpy(set.values[i], m->pcrs[i], 32);
    return set;
}

/* The log of now against what was quoted before; the reason that must be told, and where. */
static void assert_located(const struct pcr_set *before, unsigned pcr, const char *reason,
                           int event)
{
    struct log_replay replay;
    make_log(m);
    struct event_log log = eventlog_parse(m->log, m->arena);
    result_init(&result);
    replay_run(&log, BANK_SHA256, &replay, m->arena, &result);
    replay_compare(&replay, before, m->arena, &result);
    assert_true(has(STATUS_FAIL, "pcr_replay_mismatch"));
    assert_true(!reason || has(STATUS_WARN, reason));
    for (size_t i = 0; i < result.n_findings; i++) {
        const struct attest_finding *f = &result.findings[i];
        assert_int_equal(f->pcr, pcr);
        assert_int_equal(f->event, event);
        assert_true(f->status != STATUS_FAIL || (f->expected && f->found));
    }
}

static void the_event_is_found(void **state)
{
    make_reset(m);
    make_log(m);
    struct pcr_set before = quoted();
    make_add(m, 4, EV_EFI_BOOT_SERVICES_APPLICATION, BYTES_STR("more"));
    assert_located(&before, 4, "log_goes_on", (int)m->n_events);

    make_reset(m);
    make_find(m, 7, EV_SEPARATOR)->measured = BYTES_STR("other");
    assert_located(&before, 7, "event_altered", 8);

    make_reset(m);
    struct make_event swap = m->events[3];
    m->events[3] = m->events[4];
    m->events[4] = swap;
    assert_located(&before, 7, "events_swapped", 4);

    make_reset(m);
    m->events[0].data = BYTES("StartupLocality\0\4", 17);
    assert_located(&before, 0, "startup_locality_wrong", ATTEST_NO_INDEX);

    make_reset(m); /* nobody can say what was removed */
    make_remove(m, make_find(m, 4, EV_EFI_ACTION));
    assert_located(&before, 4, NULL, ATTEST_NO_INDEX);
}

static void every_quirk_has_its_words(void **state)
{
    for (int i = 0; i < QUIRKS; i++) {
        assert_non_null(quirks[i].reason);
        assert_non_null(quirks[i].tolerated);
        assert_non_null(quirks[i].source);
        assert_true(quirks[i].pcrs != 0 && quirks[i].pcrs < 1u << 8);
    }
    result_init(&result);
    assert_false(quirk_tolerate(QUIRK_SHIM_EXTRA_BYTE, 1, 4, &result));
    assert_false(quirk_tolerate(QUIRK_SEPARATOR_DIGEST, 1, 7, &result));
    assert_int_equal(result.n_findings, 0);
    assert_true(quirk_tolerate(QUIRK_BOOT_VARIABLE_VALUE, 1, 1, &result));
    assert_true(quirk_tolerate(QUIRK_BOOT_VARIABLE_VALUE, 2, 1, &result));
    assert_int_equal(result.n_findings, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sbat_levels),
        cmocka_unit_test(sbat_that_is_not_well_formed_ends),
        cmocka_unit_test(device_paths),
        cmocka_unit_test(a_long_device_path_is_cut),
        cmocka_unit_test(loaders_texts),
        cmocka_unit_test(a_command_line_cannot_pass_as_a_command),
        cmocka_unit_test(command_and_command_line_are_one),
        cmocka_unit_test(an_application_cannot_hide_under_another_type),
        cmocka_unit_test(the_firmwares_version_is_the_first),
        cmocka_unit_test(a_stub_command_line_counts_only_where_it_was_measured),
        cmocka_unit_test(an_authority_of_firmware_and_of_an_old_shim),
        cmocka_unit_test(windows_states),
        cmocka_unit_test(what_weakens_windows_sticks),
        cmocka_unit_test(what_follows_the_separator_can_only_weaken),
        cmocka_unit_test(a_debug_state_cannot_hide_under_another_type),
        cmocka_unit_test(an_early_separator_of_windows_is_no_end),
        cmocka_unit_test(sipa_sizes),
        cmocka_unit_test(the_event_is_found),
        cmocka_unit_test(every_quirk_has_its_words),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
