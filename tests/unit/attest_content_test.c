/*
 * What the digests of a log cannot tell by themselves: events of PCR 0 to 7 that must be there, that may
 * be there, and that must not. Each log here is quoted as it is, so nothing but its content can fail.
 */
#include "tests/unit/attest_judge.h"

static struct make_event *first(uint32_t pcr, uint32_t type)
{
    return make_find(m, pcr, type);
}

static struct bytes variable(const uint8_t guid[16], const char *name, size_t value)
{
    return make_variable(m->arena, guid, name, make_siglist(m->arena, value));
}

static struct bytes followed_by(struct bytes b, uint8_t last)
{
    uint8_t *copy = arena_alloc(m->arena, b.len + 1);
    memcpy(copy, b.data, b.len);
    copy[b.len] = last;
    return BYTES(copy, b.len + 1);
}

static void judge_log(void)
{
    make_build(m);
    assert_int_equal(judge(), OK);
    assert_int_equal(attest_result_status(&result, CHECK_LOG_REPLAY), STATUS_PASS);
}

static void assert_refused(const char *reason, int pcr)
{
    judge_log();
    if (!has(CHECK_LOG_CONTENT, STATUS_FAIL, reason))
        dump();
    assert_true(has(CHECK_LOG_CONTENT, STATUS_FAIL, reason));
    assert_int_equal(find(CHECK_LOG_CONTENT, STATUS_FAIL)->pcr, pcr);
    assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
    if (pcr == 7)
        assert_int_equal(attest_secure_boot(&result), -1);
}

static void assert_accepted(void)
{
    judge_log();
    if (result.verdict != VERDICT_TRUSTED)
        dump();
    assert_int_equal(result.verdict, VERDICT_TRUSTED);
}

static void assert_log_malformed(void)
{
    make_build(m);
    assert_int_equal(judge(), ERR_EVIDENCE_MALFORMED);
    assert_string_equal(error.fields[0].pointer, "#/eventLog");
}

/* ---- PCR 7 ---- */

/* Their order is that of make_default_events: SecureBoot is event 2, then these. */
static void each_variable_of_secure_boot_is_there(void **state)
{
    static const char *const names[] = {"without PK", "without KEK", "without db", "without dbx"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        make_reset(m);
        make_remove(m, &m->events[3 + i]);
        assert_refused("variable_missing", 7);
        assert_string_equal(find(CHECK_LOG_CONTENT, STATUS_FAIL)->found, names[i]);
    }
}

static void other_variables_say_nothing(void **state)
{
    make_reset(m);
    m->events[1].pcr = 7; /* instead of the firmware's version, so before all others */
    m->events[1].type = EV_EFI_VARIABLE_DRIVER_CONFIG;
    m->events[1].data = m->events[1].measured =
        make_variable(m->arena, make_global, "DeployedMode", BYTES("\1", 1));
    assert_accepted();
    m->events[1].data = m->events[1].measured = variable(make_security, "dbt", 40);
    assert_accepted();
    m->events[1].data = followed_by(m->events[1].data, 0); /* but are what was measured */
    assert_refused("digest_mismatch", 7);
}

/* The byte too many of old shims is let pass under shim's GUID, not in an entry of db. */
static void an_authority_is_what_was_measured(void **state)
{
    make_reset(m);
    struct make_event *ev = first(7, EV_EFI_VARIABLE_AUTHORITY);
    ev->data = followed_by(ev->measured, 0);
    assert_refused("digest_mismatch", 7);
    make_reset(m);
    ev = first(7, EV_EFI_VARIABLE_AUTHORITY);
    ev->data = ev->measured =
        make_variable(m->arena, make_security, "db", BYTES("an owner's GUID.", 16));
    assert_refused("authority_value", 7);
    make_reset(m);
    ev = first(7, EV_EFI_VARIABLE_AUTHORITY);
    ev->data = ev->measured = BYTES(ev->data.data, 31);
    assert_log_malformed();
}

/* SPDM's devices have a list of their own, devdb, and no other name may stand beside it. */
static void what_devices_are_allowed_by_is_devdb(void **state)
{
    static const uint32_t types[] = {EV_EFI_SPDM_DEVICE_POLICY, EV_EFI_SPDM_DEVICE_AUTHORITY};
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        make_reset(m);
        struct make_event *ev = make_add(m, 7, types[i], variable(make_security, "devdb", 40));
        assert_accepted();
        ev->data = followed_by(ev->data, 0);
        assert_refused("digest_mismatch", 7);
        ev->data = ev->measured = variable(make_security, "db", 40);
        assert_refused("unexpected_event_type", 7);
        ev->data = ev->measured = BYTES(ev->data.data, 31);
        assert_log_malformed();
    }
}

/* ---- PCR 0 to 6 ---- */

/* PFP 1.05, 10.4.1: ones stand for an OS that is not to be trusted with the PCR, so not in PCR 7. */
static void separators_are_four_zeros_or_ones(void **state)
{
    static const struct {
        uint32_t pcr;
        struct bytes data;
        bool good;
    } cases[] = {
        {4, {(const uint8_t *)"\xff\xff\xff\xff", 4}, true},
        {7, {(const uint8_t *)"\xff\xff\xff\xff", 4}, false},
        {4, {(const uint8_t *)"\0\0\0\1", 4}, false},
        {4, {(const uint8_t *)"\0\0\0\0\0\0\0\0", 8}, false},
        {4, {(const uint8_t *)"\0\0\0", 3}, false},
        {7, {(const uint8_t *)"", 0}, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        make_reset(m);
        struct make_event *ev = first(cases[i].pcr, EV_SEPARATOR);
        ev->data = ev->measured = cases[i].data;
        if (cases[i].good)
            assert_accepted();
        else
            assert_refused("separator_value", (int)cases[i].pcr);
    }
}

/* EV_EFI_VARIABLE_BOOT is of the value, or of the whole data; the types after it of the whole, which one
 * quirk lets pass for PCR 1. */
static void boot_variables_are_what_was_measured(void **state)
{
    static const struct {
        uint32_t pcr, type;
        int measured; /* 0: the whole data, 1: the value, 2: something else */
        bool good;
    } cases[] = {
        {1, EV_EFI_VARIABLE_BOOT, 0, true},
        {1, EV_EFI_VARIABLE_BOOT, 1, true},
        {2, EV_EFI_VARIABLE_BOOT, 1, true},
        {1, EV_EFI_VARIABLE_BOOT, 2, false},
        {1, EV_EFI_VARIABLE_BOOT2, 0, true},
        {1, EV_EFI_VARIABLE_BOOT2, 1, true},
        {2, EV_EFI_VARIABLE_BOOT2, 1, false},
        {1, EV_EFI_VARIABLE_BOOT2, 2, false},
        {2, EV_EFI_VARIABLE_DRIVER_CONFIG, 1, false},
        {1, EV_EFI_GPT_EVENT, 2, false},
        {0, EV_S_CRTM_VERSION, 2, false},
        {0, EV_NONHOST_INFO, 2, false},
    };
    const struct bytes value = BYTES_STR("value"), other = BYTES_STR("something else");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        make_reset(m);
        struct bytes data = make_variable(m->arena, make_global, "BootOrder", value);
        make_add(m, cases[i].pcr, cases[i].type, data)->measured = cases[i].measured == 0   ? data
                                                                   : cases[i].measured == 1 ? value
                                                                                            : other;
        if (cases[i].good)
            assert_accepted();
        else
            assert_refused("digest_mismatch", (int)cases[i].pcr);
        bool quirk =
            cases[i].good && cases[i].measured == 1 && cases[i].type == EV_EFI_VARIABLE_BOOT2;
        assert_int_equal(has(CHECK_LOG_CONTENT, STATUS_WARN, "boot_variable_value_only"), quirk);
    }
    make_reset(m);
    make_add(m, 1, EV_EFI_VARIABLE_BOOT, BYTES_STR("none"))->measured = other;
    assert_refused("digest_mismatch", 1);
    make_reset(m);
    make_add(m, 1, EV_EFI_VARIABLE_BOOT2, BYTES_STR("none"))->measured = other;
    assert_refused("digest_mismatch", 1);
}

/* Under a type whose data is its own, a separator's digest hides where the firmware handed over. */
static void a_separator_has_no_other_type(void **state)
{
    static const struct bytes separators[] = {{(const uint8_t *)"\0\0\0\0", 4},
                                              {(const uint8_t *)"\xff\xff\xff\xff", 4}};
    static const uint32_t of_other_data[] = {EV_S_CRTM_CONTENTS,
                                             EV_POST_CODE,
                                             EV_POST_CODE2,
                                             EV_CPU_MICROCODE,
                                             EV_PLATFORM_CONFIG_FLAGS,
                                             EV_EFI_PLATFORM_FIRMWARE_BLOB,
                                             EV_EFI_PLATFORM_FIRMWARE_BLOB2};
    for (size_t i = 0; i < ARRAY_LEN(separators); i++) {
        make_reset(m);
        make_add(m, 4, EV_EFI_BOOT_SERVICES_DRIVER, BYTES_STR("x"))->measured = separators[i];
        assert_refused("retyped_separator", 4);
        for (size_t k = 0; k < ARRAY_LEN(of_other_data); k++) {
            make_reset(m);
            make_add(m, 1, of_other_data[k], BYTES_STR("x"))->measured = separators[i];
            assert_accepted();
            assert_true(has(CHECK_LOG_CONTENT, STATUS_WARN, "separator_digest_of_data"));
        }
        make_reset(m);
        make_add(m, 4, EV_CPU_MICROCODE, BYTES_STR("x"))->measured = separators[i];
        assert_refused("retyped_separator", 4);
    }
}

/* It is not extended, so nobody vouches for it and it may stand anywhere. */
static void no_action_says_nothing(void **state)
{
    make_reset(m);
    for (uint32_t pcr = 0; pcr < 9; pcr++)
        make_add(m, pcr, EV_NO_ACTION, BYTES_STR("of a vendor"));
    assert_accepted();
}

/* What nothing can be said of: types that are none are a remark, and EV_UNUSED is none to use. */
static void types_that_are_none(void **state)
{
    make_reset(m);
    make_add(m, 1, EV_UNUSED, BYTES_STR("x"));
    assert_refused("unexpected_event_type", 1);
    make_reset(m);
    make_add(m, 1, 0x90000001, BYTES_STR("x"));
    assert_accepted();
    assert_true(has(CHECK_LOG_CONTENT, STATUS_WARN, "unknown_event_type"));
}

static void an_action_may_be_measured_with_its_terminator(void **state)
{
    static const char text[] = "Returning from EFI Application from Boot Option";
    make_reset(m);
    struct make_event *ev = make_add(m, 4, EV_EFI_ACTION, BYTES_STR(text));
    ev->measured = BYTES(text, sizeof text);
    assert_accepted();
    assert_true(has(CHECK_LOG_CONTENT, STATUS_WARN, "action_with_terminator"));
    ev->data = BYTES(text, sizeof text);
    assert_accepted();
    assert_true(has(CHECK_LOG_CONTENT, STATUS_WARN, "action_with_terminator"));
    ev->measured = BYTES_STR(text); /* the terminator was not measured */
    assert_refused("digest_mismatch", 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_variable_of_secure_boot_is_there),
        cmocka_unit_test(other_variables_say_nothing),
        cmocka_unit_test(an_authority_is_what_was_measured),
        cmocka_unit_test(what_devices_are_allowed_by_is_devdb),
        cmocka_unit_test(separators_are_four_zeros_or_ones),
        cmocka_unit_test(boot_variables_are_what_was_measured),
        cmocka_unit_test(a_separator_has_no_other_type),
        cmocka_unit_test(no_action_says_nothing),
        cmocka_unit_test(types_that_are_none),
        cmocka_unit_test(an_action_may_be_measured_with_its_terminator),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
