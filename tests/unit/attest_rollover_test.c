/*
 * The roll-over of Microsoft's Secure Boot certificates: which sets of certificates mean what. That the
 * certificates are found in logs of real machines is shown by tests/vectors/test_rollover.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "attest/rollover.h"
#include "core/json.h"

#include <cmocka.h>

#define KEK(ca)    rollover_bit(ROLLOVER_IN_KEK, ROLLOVER_KEK_##ca)
#define DB(ca)     rollover_bit(ROLLOVER_IN_DB, ROLLOVER_##ca)
#define DBX(ca)    rollover_bit(ROLLOVER_IN_DBX, ROLLOVER_##ca)
#define BOOTED(ca) rollover_bit(ROLLOVER_AUTHORITY, ROLLOVER_##ca)
#define KNOWN      ROLLOVER_KNOWN

/* What a VM of before 2023 trusts, and one with everything. */
#define OLD (KNOWN | KEK(2011) | DB(WINDOWS_2011) | DB(UEFI_2011))
#define NEW (OLD | KEK(2023) | DB(WINDOWS_2023) | DB(UEFI_2023) | DB(OPTION_ROM_2023))

static json_t *written(uint32_t set)
{
    struct err_info e = {0};
    json_t *v = NULL;
    struct buf out = {0};
    struct jw w = jw_over(&out);
    jw_open(&w, '{');
    rollover_write(&w, set);
    jw_close(&w, '}');
    assert_int_equal(json_parse(buf_bytes(&out), &v, &e), OK);
    buf_free(&out);
    return v;
}

static void a_set_has_its_state_and_findings(void **state)
{
    const struct {
        const char *name;
        uint32_t set;
        enum rollover_state state;
        const char *codes; /* of the findings, in order */
    } cases[] = {
        {"nothing proven", 0, ROLLOVER_UNKNOWN, ""},
        {"keys of one's own", KNOWN, ROLLOVER_NOT_APPLICABLE, ""},
        {"everything", NEW, ROLLOVER_READY, ""},
        {"everything, booted by the old CA", NEW | BOOTED(UEFI_2011), ROLLOVER_READY, ""},
        {"everything, booted by the new CA", NEW | BOOTED(UEFI_2023), ROLLOVER_READY, ""},
        {"no KEK of 2023", NEW & ~KEK(2023), ROLLOVER_INCOMPLETE, "kek_2023_missing "},
        {"no Windows CA of 2023", NEW & ~DB(WINDOWS_2023), ROLLOVER_INCOMPLETE, "db_2023_missing "},
        {"only the new ones", KNOWN | KEK(2023) | DB(WINDOWS_2023) | DB(UEFI_2023), ROLLOVER_READY,
         ""},
        {"of before 2023", OLD, ROLLOVER_INCOMPLETE,
         "kek_2023_missing db_2023_missing db_2023_missing "},
        {"Linux of before 2023", OLD | BOOTED(UEFI_2011), ROLLOVER_AT_RISK,
         "kek_2023_missing db_2023_missing boot_depends_on_2011 "},
        {"Windows of before 2023", OLD | BOOTED(WINDOWS_2011), ROLLOVER_AT_RISK,
         "kek_2023_missing boot_depends_on_2011 db_2023_missing "},
        {"dbx came before the loader", NEW | DBX(WINDOWS_2011) | BOOTED(WINDOWS_2011),
         ROLLOVER_REVOKED, "booted_by_revoked "},
        {"dbx came after the loader", NEW | DBX(WINDOWS_2011) | BOOTED(WINDOWS_2023),
         ROLLOVER_READY, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].name);
        assert_int_equal(rollover_state_of(cases[i].set), cases[i].state);
        AUTO(json) json_t *v = written(cases[i].set);
        assert_string_equal(json_path_str(v, "state"), rollover_state_name(cases[i].state));
        char codes[160] = "";
        const json_t *findings = json_path(v, "findings");
        for (size_t k = 0; k < json_array_size(findings); k++) {
            const json_t *f = json_array_get(findings, k);
            size_t n = strlen(codes);
            snprintf(codes + n, sizeof codes - n, "%s ", json_path_str(f, "code"));
            assert_non_null(json_path_str(f, "reason"));
            assert_non_null(json_path_str(f, "remedy"));
        }
        assert_string_equal(codes, cases[i].codes);
    }
}

static void each_certificate_has_its_own_bit(void **state)
{
    uint32_t all = KNOWN;
    for (int p = 0; p < ROLLOVER_PLACES; p++) {
        for (int ca = 0; ca < ROLLOVER_CAS; ca++) {
            uint32_t bit = rollover_bit((enum rollover_place)p, (enum rollover_ca)ca);
            assert_int_equal(all & bit, 0);
            all |= bit;
            AUTO(json) json_t *v = written(KNOWN | bit);
            const json_t *list = json_path(v, rollover_place_name((enum rollover_place)p));
            assert_int_equal(json_array_size(list), 1);
            assert_string_equal(json_string_value(json_array_get(list, 0)),
                                rollover_ca_id((enum rollover_ca)ca));
        }
    }
}

static void states_have_names(void **state)
{
    for (int s = 0; s < ROLLOVER_STATES; s++) {
        enum rollover_state out;
        assert_true(rollover_state_parse(rollover_state_name((enum rollover_state)s), &out));
        assert_int_equal(out, s);
    }
    enum rollover_state out;
    assert_false(rollover_state_parse("fine", &out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_has_its_state_and_findings),
        cmocka_unit_test(each_certificate_has_its_own_bit),
        cmocka_unit_test(states_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
