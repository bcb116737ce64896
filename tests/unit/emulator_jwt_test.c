/* Tokens: signed ones verify, changed ones and other algorithms do not. */
#include "emulator/jwt.h"

#include <openssl/rsa.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static EVP_PKEY *key;

static int make_key(void **state)
{
    key = EVP_RSA_gen(2048);
    return key ? 0 : -1;
}

static int free_key(void **state)
{
    EVP_PKEY_free(key);
    return 0;
}

static char *sign(void)
{
    AUTO(json) json_t *claims = json_pack("{ss si}", "sub", "me", "exp", 7);
    return jwt_sign(key, "kid-1", claims);
}

static enum jwt_result verify(const char *token)
{
    AUTO(json) json_t *claims = NULL;
    return jwt_verify(token, key, &claims);
}

static void test_round_trip(void **state)
{
    AUTO(free) char *token = sign();
    AUTO(json) json_t *claims = NULL;
    assert_int_equal(jwt_verify(token, key, &claims), JWT_OK);
    assert_string_equal(json_path_str(claims, "sub"), "me");
}

static void test_every_changed_character_is_seen(void **state)
{
    AUTO(free) char *token = sign();
    size_t n = strlen(token);
    for (size_t i = 0; i < n; i += 7) {
        char was = token[i];
        token[i] = was == 'A' ? 'B' : 'A';
        assert_int_not_equal(verify(token), JWT_OK);
        token[i] = was;
    }
    assert_int_equal(verify(token), JWT_OK);
}

static void test_other_algorithms(void **state)
{
    /* {"alg":"none"} and {"alg":"HS256"} over {"sub":"me"} */
    assert_int_equal(verify("eyJhbGciOiJub25lIn0.eyJzdWIiOiJtZSJ9."), JWT_BAD_SIGNATURE);
    assert_int_equal(verify("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJtZSJ9.AAAA"), JWT_BAD_SIGNATURE);
}

static void test_malformed(void **state)
{
    static const char *const rows[] = {
        "", ".", "..", "a.b", "a.b.c", "a.b.c.d", "e30.e30.e30.e30", "W10.W10.AAAA"};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(verify(rows[i]), JWT_MALFORMED);
}

static void test_jwk_is_public_only(void **state)
{
    AUTO(json) json_t *jwk = jwt_jwk(key, "kid-1");
    assert_string_equal(json_path_str(jwk, "e"), "AQAB");
    assert_int_equal(strlen(json_path_str(jwk, "n")), 342);
    assert_null(json_object_get(jwk, "d"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_every_changed_character_is_seen),
        cmocka_unit_test(test_other_algorithms),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_jwk_is_public_only),
    };
    return cmocka_run_group_tests(tests, make_key, free_key);
}
