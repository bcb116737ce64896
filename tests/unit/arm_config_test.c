/* Configuration and token answers: what is taken, what is refused and why. */
#include "arm/config.h"
#include "arm/token.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct arm_identity good = {
    .name = "main",
    .kind = ARM_CLIENT_SECRET,
    .tenant_id = "00000000-0000-0000-0000-00000000000a",
    .client_id = "c",
    .client_secret = {"s3cret-canary", 13},
};

struct config_row {
    struct arm_identity id;
    const char *imds;
    const char *why; /* part of the error; NULL: accepted */
};

#define WITH(...)                                                                                  \
    {                                                                                              \
        .name = "main", .kind = ARM_CLIENT_SECRET, .tenant_id = "t", .client_id = "c",             \
        .client_secret = {"s3cret-canary", 13}, __VA_ARGS__                                        \
    }

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverride-init"
static const struct config_row rows[] = {
    {WITH(.cloud = "usgov"), NULL, NULL},
    {WITH(.cloud = "mars"), NULL, "cloud"},
    {WITH(.endpoint = "https://127.0.0.1:1/"), NULL, NULL},
    {WITH(.endpoint = "http://127.0.0.1:1"), NULL, "endpoint"},
    {WITH(.endpoint = "https://h/path"), NULL, "endpoint"},
    {WITH(.endpoint = "https://u@h"), NULL, "endpoint"},
    {WITH(.authority = "http://127.0.0.1:1"), NULL, NULL},
    {WITH(.authority = "http://[::1]:1"), NULL, NULL},
    {WITH(.authority = "http://localhost:1"), NULL, "authority"},
    {WITH(.authority = "http://login.example"), NULL, "authority"},
    {WITH(.tenant_id = NULL), NULL, "tenant_id"},
    {WITH(.tenant_id = "a/b"), NULL, "tenant_id"},
    {WITH(.client_id = ""), NULL, "client_id"},
    {WITH(.client_secret = {NULL, 0}), NULL, "client_secret"},
    {WITH(.client_secret_file = "/x"), NULL, "client_secret"},
    {WITH(.kind = ARM_WORKLOAD_IDENTITY), NULL, "federated_token_file"},
    {WITH(.kind = ARM_MANAGED_IDENTITY, .tenant_id = NULL, .client_id = NULL), NULL, NULL},
    {WITH(.name = "main"), "http://127.0.0.1:2", NULL},
    {WITH(.name = "main"), "https://127.0.0.1:2", "imds_endpoint"},
};
#pragma GCC diagnostic pop

static void test_config(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena *a = arena_new();
        struct err_info e = {0};
        struct arm_config out;
        const struct arm_config in = {
            .identities = &rows[i].id, .n_identities = 1, .imds_endpoint = rows[i].imds};
        enum err rc = arm_config_copy(a, &in, &out, &e);
        if ((rc == OK) != (rows[i].why == NULL))
            fail_msg("row %zu: %s", i, e.detail);
        if (rows[i].why && !strstr(e.detail, rows[i].why))
            fail_msg("row %zu: %s", i, e.detail);
        assert_null(strstr(e.detail, "s3cret"));
        arena_free(a);
    }
}

static void test_config_of_many(void **state)
{
    struct arena *a = arena_new();
    struct err_info e = {0};
    struct arm_config out;
    struct arm_identity ids[] = {good, good};
    const struct arm_subscription map[] = {{"SUB-b", "second"}};
    struct arm_config in = {.identities = ids, .n_identities = 2};
    assert_int_equal(arm_config_copy(a, &in, &out, &e), ERR_CONFIG); /* the name twice */
    ids[1].name = "second";
    in.subscriptions = map;
    in.n_subscriptions = 1;
    assert_int_equal(arm_config_copy(a, &in, &out, &e), OK);
    assert_int_equal(arm_config_identity(&out, "sub-B"), 1);
    assert_int_equal(arm_config_identity(&out, "other"), 0);
    assert_int_equal(arm_config_identity(&out, NULL), 0);
    in.default_identity = "second";
    assert_int_equal(arm_config_copy(a, &in, &out, &e), OK);
    assert_int_equal(arm_config_identity(&out, "other"), 1);
    in.default_identity = "";
    assert_int_equal(arm_config_copy(a, &in, &out, &e), OK);
    assert_int_equal(arm_config_identity(&out, "other"), -1);
    in.default_identity = "third";
    assert_int_equal(arm_config_copy(a, &in, &out, &e), ERR_CONFIG);
    in.n_identities = 0;
    assert_int_equal(arm_config_copy(a, &in, &out, &e), ERR_CONFIG);
    arena_free(a);
}

static void test_clouds(void **state)
{
    static const char *const names[] = {"public", "usgov", "china"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct arena *a = arena_new();
        struct arm_identity id = good;
        struct arm_config out;
        id.cloud = names[i];
        const struct arm_config in = {.identities = &id, .n_identities = 1};
        assert_int_equal(arm_config_copy(a, &in, &out, NULL), OK);
        const struct arm_cloud *c = arm_cloud_find(names[i]);
        assert_string_equal(out.identities[0].endpoint, c->endpoint);
        assert_string_equal(out.identities[0].authority, c->authority);
        assert_string_equal(out.identities[0].audience, c->audience);
        arena_free(a);
    }
    assert_ptr_equal(arm_cloud_find(NULL), arm_cloud_find("public"));
    assert_null(arm_cloud_find("germany"));
}

struct token_row {
    int status;
    const char *body;
    enum err err;
    const char *code;
    int64_t lifetime_ms;
};

#define OKAY(more) "{\"token_type\":\"Bearer\",\"access_token\":\"abc.DEF-1\"," more "}"

static const struct token_row token_rows[] = {
    {200, OKAY("\"expires_in\":3599,\"ext_expires_in\":3599"), OK, "", 3599000},
    {200, OKAY("\"expires_in\":\"86400\",\"expires_on\":\"1\""), OK, "", 86400000},
    {200, OKAY("\"expires_in\":0"), ERR_UPSTREAM, "", 0},
    {200, OKAY("\"expires_in\":\"-5\""), ERR_UPSTREAM, "", 0},
    {200, OKAY("\"expires_in\":\"99999999999999999999\""), ERR_UPSTREAM, "", 0},
    {200, OKAY("\"x\":1"), ERR_UPSTREAM, "", 0},
    {200, "{\"token_type\":\"mac\",\"access_token\":\"a\",\"expires_in\":5}", ERR_UPSTREAM, "", 0},
    {200, "{\"access_token\":\"a\\r\\nX: y\",\"expires_in\":5}", ERR_UPSTREAM, "", 0},
    {200, "{\"access_token\":\"\",\"expires_in\":5}", ERR_UPSTREAM, "", 0},
    {200, "<html>", ERR_UPSTREAM, "", 0},
    {400, "{\"error\":\"unauthorized_client\",\"error_description\":\"AADSTS700016: no app\"}",
     ERR_UPSTREAM_FORBIDDEN, "AADSTS700016", 0},
    {401, "{\"error\":\"invalid_client\",\"error_description\":\"AADSTS7000222: expired\"}",
     ERR_UPSTREAM_FORBIDDEN, "AADSTS7000222", 0},
    {400, "{\"error\":\"temporarily_unavailable\"}", ERR_UPSTREAM, "temporarily_unavailable", 0},
    {400, "", ERR_UPSTREAM_FORBIDDEN, "", 0},
    {302, "", ERR_UPSTREAM_FORBIDDEN, "", 0},
    {404, "", ERR_UPSTREAM_FORBIDDEN, "", 0},
    {429, "", ERR_UPSTREAM, "", 0},
    {503, "<html>", ERR_UPSTREAM, "", 0},
};

static void test_token_answers(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(token_rows); i++) {
        const struct token_row *row = &token_rows[i];
        struct arena *a = arena_new();
        struct arm_reply r = ARM_REPLY_INIT;
        struct arm_token token;
        struct err_info e = {0};
        r.status = row->status;
        r.body = BYTES_STR(row->body);
        if (arm_token_read(a, &good, &r, &token, &e) != row->err)
            fail_msg("row %zu: %s %s", i, err_code(e.code), e.detail);
        assert_int_equal(token.lifetime_ms, row->lifetime_ms);
        assert_string_equal(e.upstream_code, row->code);
        assert_null(strstr(e.detail, "abc.DEF"));
        if (row->err == OK)
            assert_string_equal(token.text.text, "abc.DEF-1");
        arena_free(a);
    }
}

static void test_imds_statuses(void **state)
{
    static const struct {
        int status;
        enum err err;
    } table[] = {{404, ERR_UPSTREAM},
                 {410, ERR_UPSTREAM},
                 {429, ERR_UPSTREAM},
                 {500, ERR_UPSTREAM},
                 {400, ERR_UPSTREAM_FORBIDDEN}};
    struct arm_identity id = {.name = "vm", .kind = ARM_MANAGED_IDENTITY};
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct arena *a = arena_new();
        struct arm_reply r = ARM_REPLY_INIT;
        struct arm_token token;
        r.status = table[i].status;
        r.body = BYTES_STR("{\"error\":\"invalid_request\",\"error_description\":\"x\"}");
        assert_int_equal(arm_token_read(a, &id, &r, &token, NULL), table[i].err);
        arena_free(a);
    }
}

static void test_secret_file(void **state)
{
    struct arena *a = arena_new();
    struct arm_token_request q;
    struct err_info e = {0};
    struct arm_identity id = good;
    id.client_secret = (struct secret){0};
    id.authority = "https://login.example";
    id.audience = "https://arm.example";
    id.client_secret_file = "/nonexistent/secret";
    assert_int_equal(arm_token_request(a, &id, NULL, &q, &e), ERR_CONFIG);
    assert_non_null(strstr(e.detail, "/nonexistent/secret"));
    id.client_secret_file = "/dev/zero";
    assert_int_equal(arm_token_request(a, &id, NULL, &q, &e), ERR_CONFIG);
    id.client_secret_file = "/dev/null";
    assert_int_equal(arm_token_request(a, &id, NULL, &q, &e), ERR_CONFIG);
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config),        cmocka_unit_test(test_config_of_many),
        cmocka_unit_test(test_clouds),        cmocka_unit_test(test_token_answers),
        cmocka_unit_test(test_imds_statuses), cmocka_unit_test(test_secret_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
