/* The option table of tlgate: fixed names, defaults, and a documentation that is the table's own. */
#include "server/arm_config.h"
#include "server/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static enum err load(struct arena *a, char *const *env, struct settings *s, struct err_info *why)
{
    *why = (struct err_info){0};
    return settings_load(NULL, env, a, s, why);
}

/* Clients outside the project are written against these names. */
static void fixed_names_exist(void **state)
{
    char *env[] = {"TLGATE_DATA_DIR=/d",
                   "TLGATE_SERVER_LISTEN=127.0.0.1:0",
                   "TLGATE_SERVER_TLS_CERT=/c",
                   "TLGATE_SERVER_TLS_KEY=/k",
                   "TLGATE_KEYRING_FILE=/r",
                   "TLGATE_ARM_ENDPOINT=https://e",
                   "TLGATE_ARM_AUTHORITY=https://a",
                   "TLGATE_ARM_IMDS_ENDPOINT=http://i",
                   "TLGATE_ARM_CA_FILE=/ca",
                   "TLGATE_ARM_TENANT_ID=t",
                   "TLGATE_ARM_CLIENT_ID=i",
                   "TLGATE_ARM_CLIENT_SECRET=s",
                   "TLGATE_ATTESTATION_TRUST_DIR=/t",
                   "TLGATE_ATTESTATION_TRUST_ANCHOR=/a,/b",
                   "TLGATE_ATTESTATION_CHALLENGE_TTL=30s",
                   "TLGATE_ATTESTATION_MAX_AGE=PT1H",
                   "TLGATE_URL=https://not.an.option",
                   NULL};
    struct arena *a = arena_new();
    struct settings s;
    struct err_info why;
    assert_int_equal(load(a, env, &s, &why), OK);
    assert_string_equal(s.data_dir, "/d");
    assert_string_equal(s.keyring_file, "/r");
    assert_string_equal(s.server.tls_cert, "/c");
    assert_string_equal(s.arm.client_secret.text, "s");
    assert_string_equal(s.arm_client.imds_endpoint, "http://i");
    assert_int_equal(s.attestation.trust_anchors.n, 2);
    assert_int_equal(s.attestation.challenge_ttl_ms, 30000);
    assert_int_equal(s.attestation.max_age_ms, 3600000);
    arena_free(a);
}

static void defaults_depend_on_data_dir(void **state)
{
    char *env[] = {"TLGATE_DATA_DIR=/d", NULL};
    struct arena *a = arena_new();
    struct settings s;
    struct err_info why;
    assert_int_equal(load(a, env, &s, &why), OK);
    assert_string_equal(s.keyring_file, "/d/keyring");
    arena_free(a);
}

static void what_does_not_fit_together_is_refused(void **state)
{
    static char *const bad[] = {"TLGATE_SERVER_TLS_CERT=/c",
                                "TLGATE_SERVER_PUBLIC_URL=ftp://x",
                                "TLGATE_SERVER_PUBLIC_URL=https://x/path",
                                "TLGATE_SERVER_PUBLIC_URL=https://",
                                "TLGATE_ARM_CLOUD=mars",
                                "TLGATE_SERVER_LISTENS=x"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char *env[] = {bad[i], NULL};
        struct arena *a = arena_new();
        struct settings s;
        struct err_info why;
        assert_int_equal(load(a, env, &s, &why), ERR_CONFIG);
        arena_free(a);
    }
}

static void identities_follow_their_options(void **state)
{
    static const struct {
        char *var;
        enum arm_credential kind;
    } rows[] = {
        {"TLGATE_ARM_CLIENT_SECRET=x", ARM_CLIENT_SECRET},
        {"TLGATE_ARM_FEDERATED_TOKEN_FILE=/t", ARM_WORKLOAD_IDENTITY},
        {"TLGATE_ARM_CLIENT_ID=x", ARM_MANAGED_IDENTITY},
        {"TLGATE_ARM_CREDENTIAL=workload_identity", ARM_WORKLOAD_IDENTITY},
        {"TLGATE_ARM_CREDENTIAL=client_secret", ARM_CLIENT_SECRET},
        {"TLGATE_ARM_CREDENTIAL=managed_identity", ARM_MANAGED_IDENTITY},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *env[] = {rows[i].var, "TLGATE_ARM_SUBSCRIPTION=s1,s2", NULL};
        struct arena *a = arena_new();
        struct settings s;
        struct err_info why;
        assert_int_equal(load(a, env, &s, &why), OK);
        struct arm_config c = arm_config_from(&s, a);
        assert_int_equal(c.n_identities, 1);
        assert_int_equal(c.identities[0].kind, rows[i].kind);
        assert_string_equal(c.identities[0].name, "default");
        assert_int_equal(c.n_subscriptions, 2);
        assert_string_equal(c.subscriptions[1].subscription_id, "s2");
        assert_string_equal(c.subscriptions[1].identity, "default");
        arena_free(a);
    }
}

static void the_documentation_is_the_table(void **state)
{
    struct buf expected = {0}, found = {0};
    settings_document(&expected);
    FILE *f = fopen("docs/configuration.md", "r");
    assert_non_null(f);
    size_t n;
    do {
        n = fread(buf_reserve(&found, 4096), 1, 4096, f);
        found.len += n;
    } while (n);
    fclose(f);
    /* Else: tlgate help config > docs/configuration.md */
    assert_int_equal(found.len, expected.len);
    assert_memory_equal(found.data, expected.data, expected.len);
    buf_free(&expected);
    buf_free(&found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixed_names_exist),
        cmocka_unit_test(defaults_depend_on_data_dir),
        cmocka_unit_test(what_does_not_fit_together_is_refused),
        cmocka_unit_test(identities_follow_their_options),
        cmocka_unit_test(the_documentation_is_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
