/* The generated tables: defaults, rules, pointers, secrets; and the query's way into them. */
#include "openapi/schemas.h"

#include "openapi/query.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define KEY "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
#define IMAGE                                                                                      \
    "\"image\":{\"publisher\":\"Canonical\",\"offer\":\"jammy\",\"sku\":\"gen2\","                 \
    "\"version\":\"latest\"}"
#define PLACE "\"location\":\"westeurope\",\"size\":\"Standard_D2s_v5\",\"osType\":\"Linux\""
#define ADMIN "\"admin\":{\"username\":\"azureuser\",\"sshPublicKeys\":[\"" KEY "\"]}"

static struct arena *arena;

static int start(void **state)
{
    arena = arena_new();
    return 0;
}

static int end(void **state)
{
    arena_free(arena);
    return 0;
}

static enum err decode(const char *text, struct vm_spec *spec, struct err_info *e)
{
    *e = (struct err_info){0};
    return json_decode_text((struct bytes){(const uint8_t *)text, strlen(text)}, &vm_spec_schema,
                            arena, spec, e);
}

static void absent_members_get_their_defaults(void **state)
{
    struct vm_spec spec;
    struct err_info e;
    assert_int_equal(decode("{" PLACE "," IMAGE "," ADMIN "}", &spec, &e), OK);
    assert_string_equal(spec.security_type, "TrustedLaunch");
    assert_non_null(spec.trusted_launch);
    assert_true(spec.trusted_launch->secure_boot && spec.trusted_launch->vtpm &&
                spec.trusted_launch->integrity_monitoring);
    assert_non_null(spec.network);
    assert_null(spec.network->subnet_id);
    assert_false(spec.network->public_ip);
    assert_string_equal(spec.inbound_source, "VirtualNetwork");
    assert_string_equal(spec.attestation_timeout, "PT30M");
    assert_false(spec.create_resource_group);
    assert_int_equal(spec.inbound_ports.n, 0);
}

static void a_member_that_is_given_counts(void **state)
{
    struct vm_spec spec;
    struct err_info e;
    assert_int_equal(decode("{" PLACE "," IMAGE "," ADMIN
                            ",\"trustedLaunch\":{\"secureBoot\":false},\"inboundPorts\":[22,443],"
                            "\"tags\":{\"team\":\"a\"}}",
                            &spec, &e),
                     OK);
    assert_false(spec.trusted_launch->secure_boot);
    assert_true(spec.trusted_launch->vtpm);
    assert_int_equal(spec.inbound_ports.items[1], 443);
    assert_string_equal(spec.tags.items[0].key, "team");
}

static void expect(const char *text, const char *pointer)
{
    struct vm_spec spec;
    struct err_info e;
    assert_int_equal(decode(text, &spec, &e), ERR_VALIDATION);
    for (unsigned i = 0; i < e.n_fields; i++)
        if (strcmp(e.fields[i].pointer, pointer) == 0)
            return;
    fail_msg("%s is not named, but %s: %s", pointer, e.fields[0].pointer, e.fields[0].detail);
}

static void rules_of_members(void **state)
{
    expect("{" PLACE "," ADMIN ",\"image\":{}}", "#/image");
    expect("{" PLACE "," ADMIN ",\"image\":{\"publisher\":\"a\",\"offer\":\"b\",\"sku\":\"c\"}}",
           "#/image");
    expect("{" PLACE "," ADMIN ",\"image\":{\"sku\":\"c\"}}", "#/image");
    expect("{" PLACE "," IMAGE ",\"admin\":{\"username\":\"a\"}}", "#/admin");
    expect("{" PLACE "," IMAGE ",\"admin\":{\"username\":\"a\",\"password\":\"0123456789aB!\","
           "\"sshPublicKeys\":[\"" KEY "\"]}}",
           "#/admin");
    expect("{" PLACE "," IMAGE "," ADMIN
           ",\"network\":{\"subnetId\":\"/subscriptions/00000000-0000-0000-0000-000000000001/"
           "resourceGroups/r/providers/Microsoft.Network/virtualNetworks/v/subnets/s\","
           "\"virtualNetwork\":{\"name\":\"v\"}}}",
           "#/network");
}

static void every_bad_member_is_named(void **state)
{
    struct vm_spec spec;
    struct err_info e;
    assert_int_equal(
        decode("{\"location\":7,\"size\":\"x\",\"osType\":\"linux\",\"sise\":1}", &spec, &e),
        ERR_VALIDATION);
    assert_int_equal(e.n_fields, 6); /* these four, image, admin */
}

static void a_password_is_a_secret(void **state)
{
    struct vm_spec spec;
    struct err_info e;
    struct buf out = {0};
    struct jw w = jw_over(&out);
    assert_int_equal(decode("{" PLACE "," IMAGE ",\"admin\":{\"username\":\"a\","
                            "\"password\":\"canary-Pass1!\"}}",
                            &spec, &e),
                     OK);
    assert_string_equal(spec.admin->password.text, "canary-Pass1!");
    json_encode(&w, &vm_spec_schema, &spec);
    assert_null(strstr(out.data, "canary"));
    assert_non_null(strstr(out.data, "\"username\":\"a\""));
    buf_free(&out);
}

static void encoding_and_decoding_agree(void **state)
{
    struct vm_spec spec, again;
    struct err_info e;
    struct buf one = {0}, two = {0};
    struct jw w = jw_over(&one);
    assert_int_equal(decode("{" PLACE "," IMAGE "," ADMIN ",\"inboundPorts\":[22]}", &spec, &e),
                     OK);
    json_encode(&w, &vm_spec_schema, &spec);
    assert_int_equal(decode(one.data, &again, &e), OK);
    w = jw_over(&two);
    json_encode(&w, &vm_spec_schema, &again);
    assert_string_equal(one.data, two.data);
    buf_free(&one);
    buf_free(&two);
}

/* ---- queries ---- */

static enum err query(const struct str_pair *pairs, size_t n, struct list_jobs_query *out,
                      struct err_info *e)
{
    *e = (struct err_info){0};
    return query_decode(pairs, n, &list_jobs_query_schema, arena, out, e);
}

static void a_query_becomes_its_struct(void **state)
{
    struct list_jobs_query q;
    struct err_info e;
    const struct str_pair pairs[] = {{"top", "7"}, {"state", "failed"}};
    assert_int_equal(query(pairs, 2, &q, &e), OK);
    assert_int_equal(q.top, 7);
    assert_string_equal(q.state, "failed");
    assert_null(q.cursor);
    assert_int_equal(query(NULL, 0, &q, &e), OK);
    assert_int_equal(q.top, 50);
}

static void a_flag_is_true_or_false(void **state)
{
    struct put_virtual_machine_query q;
    const struct str_pair yes[] = {{"dryRun", "true"}}, odd[] = {{"dryRun", "1"}};
    struct err_info e = {0};
    assert_int_equal(query_decode(yes, 1, &put_virtual_machine_query_schema, arena, &q, &e), OK);
    assert_true(q.dry_run);
    assert_int_equal(query_decode(odd, 1, &put_virtual_machine_query_schema, arena, &q, &e),
                     ERR_VALIDATION);
    assert_string_equal(e.fields[0].pointer, "?dryRun");
}

static void bad_parameters_are_named(void **state)
{
    static const struct {
        struct str_pair pairs[2];
        size_t n;
        const char *pointer;
    } bad[] = {
        {{{"colour", "red"}}, 1, "?colour"},
        {{{"top", "1"}, {"top", "1"}}, 2, "?top"},
        {{{"top", "many"}}, 1, "?top"},
        {{{"top", "1.5"}}, 1, "?top"},
        {{{"top", "99999999999999999999"}}, 1, "?top"},
        {{{"top", "0"}}, 1, "?top"},
        {{{"top", "201"}}, 1, "?top"},
        {{{"state", "lost"}}, 1, "?state"},
        {{{"resourceId", "x"}}, 1, "?resourceId"},
        {{{"kind", "\xff"}}, 1, "?kind"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct list_jobs_query q;
        struct err_info e;
        assert_int_equal(query(bad[i].pairs, bad[i].n, &q, &e), ERR_VALIDATION);
        assert_string_equal(e.fields[0].pointer, bad[i].pointer);
    }
}

static void an_operation_without_parameters_takes_none(void **state)
{
    struct err_info e = {0};
    const struct str_pair pairs[] = {{"a", "b"}};
    assert_int_equal(query_decode(NULL, 0, NULL, arena, NULL, &e), OK);
    assert_int_equal(query_decode(pairs, 1, NULL, arena, NULL, &e), ERR_VALIDATION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(absent_members_get_their_defaults),
        cmocka_unit_test(a_member_that_is_given_counts),
        cmocka_unit_test(rules_of_members),
        cmocka_unit_test(every_bad_member_is_named),
        cmocka_unit_test(a_password_is_a_secret),
        cmocka_unit_test(encoding_and_decoding_agree),
        cmocka_unit_test(a_query_becomes_its_struct),
        cmocka_unit_test(a_flag_is_true_or_false),
        cmocka_unit_test(bad_parameters_are_named),
        cmocka_unit_test(an_operation_without_parameters_takes_none),
    };
    return cmocka_run_group_tests(tests, start, end);
}
