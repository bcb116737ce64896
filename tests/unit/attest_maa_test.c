/*
 * maa.token: an honest token passes, and each of the verifier's bad inputs 45 to 54 (the number in
 * front of each line) fails that very check with that very reason. The unmutated twin of every line is
 * judged with it.
 */
#include "tests/unit/attest_judge.h"
#include "tests/unit/attest_token.h"

static EVP_PKEY *provider_key, *other_key, *small_key;
static struct jwks *keys;
static struct maa_provider provider;
static struct maa_trust trust;
static uint8_t nonce[32];
static char nonce_text[64];

static int set_up_tokens(void **state)
{
    setup(state);
    provider_key = make_rsa(2048);
    other_key = make_rsa(2048);
    small_key = make_rsa(1024);
    for (size_t i = 0; i < sizeof nonce; i++)
        nonce[i] = (uint8_t)(i * 7 + 1);
    base64_encode(BYTES_OF(nonce), nonce_text);
    provider = (struct maa_provider){.issuer = TOKEN_ISSUER};
    trust = (struct maa_trust){.providers = &provider, .n_providers = 1};
    int failed =
        (int)token_jwks(json_pack("[o]", token_jwk(m->arena, provider_key, TOKEN_KID)), &keys);
    provider.keys = keys;
    return failed;
}

static int tear_down_tokens(void **state)
{
    EVP_PKEY_free(provider_key);
    EVP_PKEY_free(other_key);
    EVP_PKEY_free(small_key);
    jwks_release(keys);
    return teardown(state);
}

static struct evidence ev;
static struct attest_input in;

static struct bytes honest(void)
{
    return token_make(m->arena, provider_key, token_header(), token_payload(nonce_text));
}

static void reset(void)
{
    provider.keys = keys;
    trust = (struct maa_trust){.providers = &provider, .n_providers = 1};
    ev = (struct evidence){.vm_id = "70f5ce9a-2bdc-4b6b-8401-e9b964d3aeb7", .maa_token = honest()};
    in = (struct attest_input){.evidence = &ev,
                               .nonce = BYTES_OF(nonce),
                               .now = TOKEN_NOW * 1000,
                               .profile = PROFILE_AZURE_TRUSTED_LAUNCH,
                               .require_secure_boot = true,
                               .maa = &trust};
}

static enum err judge_token(struct bytes token)
{
    ev.maa_token = token;
    error = (struct err_info){0};
    return attest_verify_token(&in, m->arena, &result, &error);
}

static void expect_trusted(void)
{
    assert_int_equal(judge_token(ev.maa_token), OK);
    if (result.verdict != VERDICT_TRUSTED)
        dump();
    assert_int_equal(result.verdict, VERDICT_TRUSTED);
    assert_int_equal(attest_result_status(&result, CHECK_MAA_TOKEN), STATUS_PASS);
    assert_non_null(result.maa);
}

static void expect_refused(struct bytes token, const char *reason)
{
    assert_int_equal(judge_token(token), OK);
    if (!has(CHECK_MAA_TOKEN, STATUS_FAIL, reason)) {
        print_message("  wanted %s\n", reason);
        dump();
    }
    assert_true(has(CHECK_MAA_TOKEN, STATUS_FAIL, reason));
    assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
    assert_null(result.maa);
}

static void expect_malformed(struct bytes token)
{
    assert_int_equal(judge_token(token), ERR_EVIDENCE_MALFORMED);
    assert_string_equal(error.fields[0].pointer, "#/maaToken");
    assert_null(result.maa);
}

/* ---- what must be accepted ---- */

static void an_honest_token_passes_and_its_claims_are_told(void **state)
{
    reset();
    expect_trusted();
    assert_string_equal(result.maa->issuer, TOKEN_ISSUER);
    assert_string_equal(result.maa->id, "3bf48db13e9c"); /* what is remembered of a used token */
    assert_string_equal(result.maa->vm_id, TOKEN_VM);
    assert_int_equal(result.maa->attested_pcrs, 0x38ff);
    assert_true(result.maa->secure_boot);
    assert_int_equal(result.maa->expires_at, (TOKEN_NOW - 10 + 28800) * 1000);
}

/* The client library passes text only, so the nonce's base64 text is what the provider encodes. */
static void the_nonce_may_have_been_passed_as_text(void **state)
{
    char twice[128];
    reset();
    base64_encode(BYTES_STR(nonce_text), twice);
    ev.maa_token = token_make(m->arena, provider_key, token_header(), token_payload(twice));
    expect_trusted();
}

static void a_key_may_come_as_a_certificate_alone(void **state)
{
    AUTO(jwks) struct jwks *set = NULL;
    reset();
    assert_int_equal(token_jwks(json_pack("[{ss ss s[s]}]", "kty", "RSA", "kid", TOKEN_KID, "x5c",
                                          token_x5c(m->arena, provider_key)),
                                &set),
                     OK);
    provider.keys = set;
    expect_trusted();
}

static void secure_boot_may_be_off_where_nobody_asks_for_it(void **state)
{
    reset();
    json_t *p = token_payload(nonce_text);
    token_set(p, "secureboot", "false");
    token_set(p, "x-ms-azurevm-dbxvalidated", "false");
    ev.maa_token = token_make(m->arena, provider_key, token_header(), p);
    in.require_secure_boot = false;
    expect_trusted();
    assert_false(result.maa->secure_boot);
    in.require_secure_boot = true;
    expect_refused(ev.maa_token, "token_claim_refused");
}

static struct bytes token_with(const char *first, const char *first_text, const char *second,
                               const char *second_text)
{
    json_t *p = token_payload(nonce_text);
    token_set(p, first, first_text);
    token_set(p, second, second_text);
    return token_make(m->arena, provider_key, token_header(), p);
}

/* Only what follows from Secure Boot is free, and only where that is off. */
static void nothing_else_is_free_without_secure_boot(void **state)
{
    reset();
    in.require_secure_boot = false;
    expect_refused(token_with("secureboot", "false", "x-ms-azurevm-testsigning-enabled", "true"),
                   "token_claim_refused");
    expect_refused(token_with("secureboot", "false", "x-ms-azurevm-debuggersdisabled", "false"),
                   "token_claim_refused");
    expect_refused(token_with("secureboot", "true", "x-ms-azurevm-dbxvalidated", "false"),
                   "token_claim_refused");
}

/* TOKEN_NOW is 1780000000; clocks may differ by a minute, and a token lives eight hours from each of its
 * two beginnings. */
static void times_have_their_limits(void **state)
{
    reset();
    ev.maa_token = token_with("nbf", "1780000060", "iat", "1780000060");
    expect_trusted();
    expect_refused(token_with("nbf", "1780000061", "iat", "1780000000"), "token_not_yet_valid");
    expect_refused(token_with("nbf", "1780000000", "iat", "1780000061"), "token_not_yet_valid");
    ev.maa_token = token_with("exp", "1779999941", "iat", "1779999900");
    expect_trusted();
    expect_refused(token_with("exp", "1779999940", "iat", "1779999900"), "token_expired");
    expect_refused(token_with("exp", "1779999999", "iat", "1780000001"), "token_lifetime");
    ev.maa_token = token_with("exp", "1780028000", "iat", "1779999200");
    expect_trusted();
    expect_refused(token_with("exp", "1780028000", "iat", "1779999199"), "token_lifetime");
    expect_refused(token_with("exp", "1780028000", "nbf", "1779999199"), "token_lifetime");
}

/* An empty nonce is echoed by every token without one, and one that is too long is none of ours. */
static void no_nonce_is_matched_by_none(void **state)
{
    static const uint8_t zeros[300];
    char text[BASE64_SIZE(sizeof zeros)];
    reset();
    in.nonce = (struct bytes){0};
    expect_refused(token_with("x-ms-runtime/client-payload/nonce", "\"\"", "x-ms-ver", "\"1.0\""),
                   "token_nonce_mismatch");
    in.nonce = BYTES_OF(zeros);
    base64_encode(in.nonce, text);
    expect_refused(token_make(m->arena, provider_key, token_header(), token_payload(text)),
                   "token_nonce_mismatch");
}

/* ---- one member changed, honestly signed ---- */

#define SIXTEEN "0123456789abcdef"
/* one byte longer than what is kept of tokens that were used */
#define LONG_ID "\"" SIXTEEN SIXTEEN SIXTEEN SIXTEEN SIXTEEN SIXTEEN SIXTEEN SIXTEEN "0\""

static const struct row {
    int row;   /* of the verifier's table of bad inputs; 0: none */
    char part; /* 'h' or 'p' */
    const char *path, *text;
    const char *reason;
} rows[] = {
    {45, 'h', "alg", "\"RS384\"", "token_algorithm"},
    {45, 'h', "alg", "\"PS256\"", "token_algorithm"},
    {45, 'h', "alg", "\"none\"", "token_algorithm"},
    {45, 'h', "alg", "\"rs256\"", "token_algorithm"},
    {45, 'h', "alg", "[\"RS256\"]", "token_algorithm"},
    {45, 'h', "alg", NULL, "token_algorithm"},
    {0, 'h', "typ", NULL, "token_type"},
    {0, 'h', "typ", "\"JOSE\"", "token_type"},
    {0, 'h', "crit", "[\"exp\"]", "token_header"},
    {0, 'h', "b64", "false", "token_header"},
    {46, 'h', "jku", "\"https://attacker.example/certs\"", "token_key_address"},
    {46, 'h', "jku", "7", "token_key_address"},
    {46, 'h', "x5u", "\"https://attacker.example/x\"", "token_header"},
    {46, 'h', "jwk", "{\"kty\":\"RSA\"}", "token_header"},
    {46, 'h', "x5c", "[\"AA==\"]", "token_header"},
    {46, 'h', "kid", "\"unknown\"", "token_key_unknown"},
    {46, 'h', "kid", "\"../../etc/passwd\"", "token_key_unknown"},
    {46, 'h', "kid", "\"KID+WITH/SLASHES=\"", "token_key_unknown"},
    {46, 'h', "kid", NULL, "token_key_unknown"},
    {46, 'h', "kid", "[\"" TOKEN_KID "\"]", "token_key_unknown"},
    {47, 'p', "iss", "\"https://sharedeus.eus.attest.azure.net\"", "token_issuer"},
    {47, 'p', "iss", "\"https://sharedweu.weu.test.attest.azure.net\"", "token_issuer"},
    {47, 'p', "iss", "\"https://sharedweu.weu.attest.azure.net.evil/\"", "token_issuer"},
    {47, 'p', "iss", "\"https://sharedweu.weu.attest.azure.net/\"", "token_issuer"},
    {47, 'p', "iss", "\"HTTPS://sharedweu.weu.attest.azure.net\"", "token_issuer"},
    {47, 'p', "iss", NULL, "token_issuer"},
    {48, 'p', "exp", "1779999000", "token_expired"},
    {48, 'p', "nbf", "1780000100", "token_not_yet_valid"},
    {48, 'p', "iat", "1780000100", "token_not_yet_valid"},
    {48, 'p', "exp", NULL, "token_time_missing"},
    {48, 'p', "exp", "\"1780010000\"", "token_time_missing"},
    {48, 'p', "exp", "-1", "token_time_missing"},
    {48, 'p', "exp", "1e300", "token_time_missing"},
    {48, 'p', "nbf", NULL, "token_time_missing"},
    {48, 'p', "iat", "true", "token_time_missing"},
    {48, 'p', "exp", "1780030000", "token_lifetime"},
    {49, 'p', "x-ms-attestation-type", NULL, "token_kind"},
    {49, 'p', "x-ms-attestation-type", "\"sgx\"", "token_kind"},
    {0, 'p', "x-ms-ver", "\"2.0\"", "token_version"},
    {0, 'p', "x-ms-ver", "1.0", "token_version"},
    {0, 'p', "jti", NULL, "token_id_missing"},
    {0, 'p', "jti", "\"\"", "token_id_missing"},
    {0, 'p', "jti", LONG_ID, "token_id_missing"},
    {50, 'p', "x-ms-azurevm-vmid", "\"70F5CE9A-2BDC-4B6B-8401-E9B964D3AEB8\"", "token_vm_mismatch"},
    {50, 'p', "x-ms-azurevm-vmid", NULL, "token_vm_missing"},
    {50, 'p', "x-ms-azurevm-vmid", "\"\"", "token_vm_missing"},
    {50, 'p', "secureboot", "\"true\"", "token_claim_missing"},
    {50, 'p', "secureboot", "1", "token_claim_missing"},
    {50, 'p', "secureboot", "false", "token_claim_refused"},
    {50, 'p', "x-ms-azurevm-dbxvalidated", NULL, "token_claim_missing"},
    {50, 'p', "x-ms-azurevm-dbvalidated", "false", "token_claim_refused"},
    {50, 'p', "x-ms-azurevm-debuggersdisabled", "false", "token_claim_refused"},
    {50, 'p', "x-ms-azurevm-bootdebug-enabled", "true", "token_claim_refused"},
    {50, 'p', "x-ms-azurevm-kerneldebug-enabled", "true", "token_claim_refused"},
    {50, 'p', "x-ms-azurevm-hypervisordebug-enabled", "true", "token_claim_refused"},
    {50, 'p', "x-ms-azurevm-testsigning-enabled", "true", "token_claim_refused"},
    {50, 'p', "x-ms-azurevm-flightsigning-enabled", "true", "token_claim_refused"},
    {50, 'p', "x-ms-azurevm-flightsigning-enabled", "null", "token_claim_missing"},
    {50, 'p', "x-ms-azurevm-attested-pcrs", "[0,1,2,3,4,5,6]", "token_pcrs"},
    {50, 'p', "x-ms-azurevm-attested-pcrs", "[0,1,2,3,4,5,6,\"7\"]", "token_pcrs"},
    {50, 'p', "x-ms-azurevm-attested-pcrs", "[0,1,2,3,4,5,6,7,32]", "token_pcrs"},
    {50, 'p', "x-ms-azurevm-attested-pcrs", "[0,1,2,3,4,5,6,7,24]", "token_pcrs"},
    {50, 'p', "x-ms-azurevm-attested-pcrs", "[-1,0,1,2,3,4,5,6,7]", "token_pcrs"},
    {50, 'p', "x-ms-azurevm-attested-pcrs", "[\"7\",0,1,2,3,4,5,6,7]", "token_pcrs"},
    {50, 'p', "x-ms-azurevm-attested-pcrs", NULL, "token_pcrs"},
    {51, 'p', "x-ms-runtime", NULL, "token_nonce_missing"},
    {51, 'p', "x-ms-runtime/client-payload", "[]", "token_nonce_missing"},
    {51, 'p', "x-ms-runtime/client-payload/nonce", NULL, "token_nonce_missing"},
    {51, 'p', "x-ms-runtime/client-payload/nonce", "7", "token_nonce_missing"},
    {51, 'p', "x-ms-runtime/client-payload/nonce", "\"not base64!\"", "token_nonce_mismatch"},
    {51, 'p', "x-ms-runtime/client-payload/nonce", "\"\"", "token_nonce_mismatch"},
    {51, 'p', "x-ms-runtime/client-payload/nonce", "\"AQgPFg==\"", "token_nonce_mismatch"},
    {51, 'p', "x-ms-runtime/client-payload/nonce",
     "\"01080f161d242b323940474e555c636a71787f868d949ba2a9b0b7bec5ccd3da\"",
     "token_nonce_mismatch"}, /* raw (in hex) instead of base64 */
    {54, 'p', "x-ms-isolation-tee",
     "{\"x-ms-attestation-type\":\"sevsnpvm\",\"x-ms-compliance-status\":\"azure-compliant-cvm\"}",
     "token_profile"},
    {54, 'p', "x-ms-isolation-tee", "null", "token_profile"},
};

static void each_changed_member_fails_with_its_reason(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct row *r = &rows[i];
        reset();
        expect_trusted(); /* the twin */
        json_t *h = token_header(), *p = token_payload(nonce_text);
        token_set(r->part == 'h' ? h : p, r->path, r->text);
        if (strcmp(r->path, "iss") == 0)
            token_set(h, "jku", NULL); /* or that would fail first */
        struct bytes token = token_make(m->arena, provider_key, h, p);
        print_message("  [%d] %s %s\n", r->row, r->path, r->text ? r->text : "gone");
        expect_refused(token, r->reason);
    }
}

/* ---- 45: signatures ---- */

static struct bytes cut(struct bytes token, int segments, const char *more)
{
    size_t n = 0;
    for (int dots = 0; n < token.len; n++)
        if (token.data[n] == '.' && ++dots == segments)
            break;
    char *text = arena_printf(m->arena, "%.*s%s", (int)n, (const char *)token.data, more);
    return BYTES_STR(text);
}

static void what_is_not_signed_so_is_refused(void **state)
{
    char *h, *p;
    reset();
    expect_trusted();
    struct bytes good = ev.maa_token;
    expect_refused(cut(good, 2, ""), "token_not_compact");
    expect_refused(cut(good, 1, ""), "token_not_compact");
    expect_refused(cut(good, 3, ".AAAA"), "token_not_compact");
    expect_refused(BYTES_STR("nonsense"), "token_not_compact");
    expect_refused(cut(good, 2, "."), "token_signature");
    expect_refused(cut(good, 2, ".AAAA"), "token_signature");
    /* another key, another hash under the name RS256 */
    expect_refused(token_make(m->arena, other_key, token_header(), token_payload(nonce_text)),
                   "token_signature");
    json_t *header = token_header(), *payload = token_payload(nonce_text);
    h = json_dumps(header, 0);
    p = json_dumps(payload, 0);
    expect_refused(token_of_texts(m->arena, provider_key, EVP_sha384(), h, p), "token_signature");
    free(h);
    free(p);
    json_decref(header);
    json_decref(payload);
}

/* The classic: HMAC with the public key as its secret. */
static void an_hmac_with_the_public_key_is_refused(void **state)
{
    struct buf out = {0};
    uint8_t mac[32];
    unsigned char *spki = NULL;
    unsigned n = sizeof mac;
    reset();
    json_t *header = token_header(), *payload = token_payload(nonce_text);
    token_set(header, "alg", "\"HS256\"");
    char *h = json_dumps(header, 0), *p = json_dumps(payload, 0);
    token_add_part(&out, h);
    buf_add_char(&out, '.');
    token_add_part(&out, p);
    int len = i2d_PUBKEY(provider_key, &spki);
    assert_non_null(HMAC(EVP_sha256(), spki, len, (const uint8_t *)out.data, out.len, mac, &n));
    buf_add_char(&out, '.');
    out.len += base64url_encode(BYTES(mac, n), buf_reserve(&out, BASE64URL_SIZE(n)));
    struct bytes token = arena_copy(m->arena, buf_bytes(&out));
    buf_free(&out);
    OPENSSL_free(spki);
    free(h);
    free(p);
    json_decref(header);
    json_decref(payload);
    expect_refused(token, "token_algorithm");
}

static void one_changed_bit_anywhere_is_refused(void **state)
{
    reset();
    expect_trusted();
    struct bytes good = arena_copy(m->arena, ev.maa_token);
    for (size_t i = 0; i < good.len; i += 41) {
        struct bytes bad = arena_copy(m->arena, good);
        ((uint8_t *)bad.data)[i] ^= 1;
        enum err err = judge_token(bad);
        assert_true(err == ERR_EVIDENCE_MALFORMED || result.verdict == VERDICT_UNTRUSTED);
    }
}

/* ---- 46, 49, 53: keys ---- */

static void judge_with(json_t *list, const char *reason)
{
    AUTO(jwks) struct jwks *set = NULL;
    reset();
    assert_int_equal(token_jwks(list, &set), OK);
    provider.keys = set;
    expect_refused(ev.maa_token, reason);
    provider.keys = keys;
    expect_trusted();
}

static json_t *edited_jwk(const char *member, const char *text)
{
    json_t *jwk = token_jwk(m->arena, provider_key, TOKEN_KID);
    token_set(jwk, member, text);
    return jwk;
}

static void keys_that_are_unfit_or_twice_are_not_used(void **state)
{
    EVP_PKEY *k = provider_key;
    judge_with(json_pack("[oo]", token_jwk(m->arena, k, TOKEN_KID),
                         token_jwk(m->arena, other_key, TOKEN_KID)),
               "token_key_ambiguous");
    judge_with(json_pack("[o]", token_jwk(m->arena, other_key, "another")), "token_key_unknown");
    judge_with(json_pack("[o]", token_jwk(m->arena, other_key, TOKEN_KID)), "token_signature");
    judge_with(json_pack("[o]", token_jwk(m->arena, small_key, TOKEN_KID)), "token_key_unfit");
    judge_with(json_pack("[o]", edited_jwk("n", NULL)), "token_key_unfit");
    judge_with(json_pack("[o]", edited_jwk("e", "\"AQ\"")), "token_key_unfit");
    judge_with(json_pack("[o]", edited_jwk("e", "\"AQAB=\"")), "token_key_unfit");
    judge_with(json_pack("[o]", edited_jwk("kty", "\"EC\"")), "token_key_unfit");
    judge_with(json_pack("[o]", edited_jwk("use", "\"enc\"")), "token_key_unfit");
    judge_with(json_pack("[o]", edited_jwk("alg", "\"PS256\"")), "token_key_unfit");
    judge_with(json_pack("[o]", edited_jwk("key_ops", "[\"sign\"]")), "token_key_unfit");
    judge_with(json_pack("[o]", edited_jwk("d", "\"AQAB\"")), "token_key_unfit");
    judge_with(json_pack("[o]", edited_jwk("x5c", "[\"Z2FyYmFnZQ==\"]")), "token_key_unfit");
    judge_with(json_pack("[o]", edited_jwk("x5c", "[]")), "token_key_unfit");
    judge_with(json_pack("[o]", edited_jwk("use", "7")), "token_key_unfit");
    json_t *two = token_jwk(m->arena, k, TOKEN_KID);
    json_object_set_new(two, "x5c", json_pack("[s]", token_x5c(m->arena, other_key)));
    judge_with(json_pack("[o]", two), "token_key_unfit");
}

static json_t *jwk_of_certificate(const char *x5c)
{
    return json_pack("[{ss ss s[s]}]", "kty", "RSA", "kid", TOKEN_KID, "x5c", x5c);
}

/* The same in base64 with one byte more behind it. */
static const char *with_a_byte_behind(const char *x5c)
{
    size_t n = strlen(x5c), len = 0;
    uint8_t *der = arena_alloc(m->arena, n + 1);
    char *text = arena_alloc(m->arena, BASE64_SIZE(n + 1));
    assert_true(base64_decode(x5c, n, der, &len));
    der[len] = 0;
    base64_encode(BYTES(der, len + 1), text);
    return text;
}

static void a_certificate_names_a_fit_key(void **state)
{
    EVP_PKEY *curve = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256"), *three = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    BIGNUM *e = BN_new();
    assert_true(BN_set_word(e, 3) == 1 && EVP_PKEY_keygen_init(ctx) == 1 &&
                EVP_PKEY_CTX_set1_rsa_keygen_pubexp(ctx, e) == 1 &&
                EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, 2048) == 1 &&
                EVP_PKEY_keygen(ctx, &three) == 1);
    judge_with(jwk_of_certificate(token_x5c(m->arena, curve)), "token_key_unfit");
    judge_with(jwk_of_certificate(token_x5c(m->arena, three)), "token_key_unfit");
    judge_with(jwk_of_certificate(token_x5c(m->arena, small_key)), "token_key_unfit");
    judge_with(jwk_of_certificate(with_a_byte_behind(token_x5c(m->arena, provider_key))),
               "token_key_unfit");
    BN_free(e);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(three);
    EVP_PKEY_free(curve);
}

/* Both ways to say it, and what the key is for. */
static void a_key_may_say_more_of_itself(void **state)
{
    AUTO(jwks) struct jwks *set = NULL;
    json_t *jwk = edited_jwk("key_ops", "[\"verify\"]");
    json_object_set_new(jwk, "x5c", json_pack("[s]", token_x5c(m->arena, provider_key)));
    json_object_set_new(jwk, "use", json_string("sig"));
    json_object_set_new(jwk, "alg", json_string("RS256"));
    reset();
    assert_int_equal(token_jwks(json_pack("[o]", jwk), &set), OK);
    provider.keys = set;
    expect_trusted();
    provider.keys = keys;
}

#define TEXT(...) arena_printf(m->arena, __VA_ARGS__)

/* 53: whoever fetched this keeps what there was before. */
static void what_is_no_key_set_is_not_read(void **state)
{
    static const char *const texts[] = {
        "",
        "{}",
        "[]",
        "{\"keys\":{}}",
        "{\"keys\":[]}",
        "{\"keys\":[7]}",
        "{\"keys\":[{\"kty\":\"RSA\"}]}",
        "{\"keys\":[{\"kid\":\"\"}]}",
        "{\"keys\":[{\"kid\":\"a\",\"kid\":\"b\"}]}",
        "<html><body>Service unavailable</body></html>",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct jwks *set = NULL;
        assert_int_equal(jwks_parse(BYTES_STR(texts[i]), &set, NULL), ERR_VALIDATION);
        assert_null(set);
    }
    struct buf big = {0};
    buf_add_str(&big, "{\"keys\":[");
    while (big.len < (size_t)5 << 20)
        buf_add_str(&big, "{\"kid\":\"a\"},");
    buf_add_str(&big, "7]}");
    struct jwks *set = NULL;
    assert_int_equal(jwks_parse(buf_bytes(&big), &set, NULL), ERR_VALIDATION);
    buf_free(&big);
    const char *wide = TEXT("{\"keys\":[{\"kid\":\"a\"}]}%*s", (int)JWKS_SIZE_MAX, "");
    assert_int_equal(jwks_parse(BYTES_STR(wide), &set, NULL), ERR_VALIDATION);
    assert_null(set);
    json_t *many = json_array();
    for (int i = 0; i <= JWKS_KEYS_MAX; i++)
        json_array_append_new(many, json_pack("{ss}", "kid", "a"));
    assert_int_equal(token_jwks(many, &set), ERR_VALIDATION);
    assert_null(set);
    /* one good key among garbage is enough to go on */
    assert_int_equal(
        token_jwks(json_pack("[{ss}o]", "kid", "a", token_jwk(m->arena, provider_key, "b")), &set),
        OK);
    assert_int_equal(jwks_usable(set), 1);
    jwks_release(set);
}

static void the_key_set_is_at_the_issuers_own_host(void **state)
{
    static const char good[] = "{\"issuer\":\"" TOKEN_ISSUER "\",\"jwks_uri\":\"" TOKEN_ISSUER
                               "/certs\",\"id_token_signing_alg_values_supported\":[\"RS256\"]}";
    static const char *const changes[][2] = {
        {"issuer", "\"https://sharedeus.eus.attest.azure.net\""},
        {"issuer", NULL},
        {"jwks_uri", NULL},
        {"jwks_uri", "7"},
        {"jwks_uri", "\"https://attacker.example/certs\""},
        {"jwks_uri", "\"https://sharedeus.eus.attest.azure.net/certs\""}, /* as long as its own */
        {"jwks_uri", "\"" TOKEN_ISSUER "/ce\\\\rts\""},
        {"jwks_uri", "\"" TOKEN_ISSUER "/certs\\u007f\""},
        {"jwks_uri", "\"" TOKEN_ISSUER "/certs\\u00e9\""},
        {"jwks_uri", "\"" TOKEN_ISSUER "/#certs\""},
        {"jwks_uri", "\"" TOKEN_ISSUER ".attacker.example/certs\""},
        {"jwks_uri", "\"" TOKEN_ISSUER "@attacker.example/certs\""},
        {"jwks_uri", "\"" TOKEN_ISSUER "\""},
        {"jwks_uri", "\"http://sharedweu.weu.attest.azure.net/certs\""},
        {"jwks_uri", "\"" TOKEN_ISSUER "/certs\\r\\nHost: x\""},
        {"id_token_signing_alg_values_supported", "[\"HS256\"]"},
    };
    const char *address = NULL;
    reset();
    assert_int_equal(jwks_discover(BYTES_STR(good), TOKEN_ISSUER, m->arena, &address, NULL), OK);
    assert_string_equal(address, TOKEN_ISSUER "/certs");
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        json_t *root = json_loads(good, 0, NULL);
        token_set(root, changes[i][0], changes[i][1]);
        char *text = json_dumps(root, 0);
        address = NULL;
        assert_int_equal(jwks_discover(BYTES_STR(text), TOKEN_ISSUER, m->arena, &address, NULL),
                         ERR_VALIDATION);
        assert_null(address);
        free(text);
        json_decref(root);
    }
    /* what is signed with need not be said */
    static const char plain[] =
        "{\"issuer\":\"" TOKEN_ISSUER "\",\"jwks_uri\":\"" TOKEN_ISSUER "/%s\"}%*s";
    const char *text = TEXT(plain, "certs", 1, "");
    assert_int_equal(jwks_discover(BYTES_STR(text), TOKEN_ISSUER, m->arena, &address, NULL), OK);
    text = TEXT(plain, "certs", (int)DISCOVERY_SIZE_MAX, "");
    assert_int_equal(jwks_discover(BYTES_STR(text), TOKEN_ISSUER, m->arena, &address, NULL),
                     ERR_VALIDATION);
    char *name = arena_alloc(m->arena, JWKS_ADDRESS_MAX);
    memset(name, 'c', JWKS_ADDRESS_MAX);
    name[JWKS_ADDRESS_MAX - 1] = 0;
    text = TEXT(plain, name, 1, "");
    assert_int_equal(jwks_discover(BYTES_STR(text), TOKEN_ISSUER, m->arena, &address, NULL),
                     ERR_VALIDATION);
    static const char *const others[] = {"", "[]", "<html></html>", "{\"issuer\":1,\"issuer\":2}"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        assert_int_equal(
            jwks_discover(BYTES_STR(others[i]), TOKEN_ISSUER, m->arena, &address, NULL),
            ERR_VALIDATION);
}

static void without_keys_nothing_is_decided(void **state)
{
    reset();
    expect_trusted();
    provider.keys = NULL;
    assert_int_equal(judge_token(ev.maa_token), OK);
    assert_true(has(CHECK_MAA_TOKEN, STATUS_FAIL, "token_keys_unavailable"));
    assert_int_equal(result.verdict, VERDICT_INDETERMINATE);
    /* and no claim is looked at */
    assert_int_equal(judge_token(token_with("secureboot", "false", "x-ms-ver", "\"2.0\"")), OK);
    assert_int_equal(result.verdict, VERDICT_INDETERMINATE);
    assert_int_equal(result.n_findings, 1);
    /* but what is wrong whatever the keys are stays wrong */
    json_t *h = token_header();
    token_set(h, "alg", "\"none\"");
    expect_refused(token_make(m->arena, provider_key, h, token_payload(nonce_text)),
                   "token_algorithm");
}

/* ---- 52: form ---- */

static void what_is_not_well_formed_is_malformed(void **state)
{
    static const char *const payloads[] = {
        "{\"secureboot\":false,\"secureboot\":true}",
        "{\"a\":\"x\\u0000y\"}",
        "{\"a\":\"\xff\xfe\"}",
        "{\"exp\":1e400}",
        "{\"exp\":99999999999999999999}",
        "[]",
        "7",
        "",
        "{} {}",
        "{\"a\":\"\\ud800\"}",
    };
    reset();
    expect_trusted();
    struct bytes good = arena_copy(m->arena, ev.maa_token);
    for (size_t i = 0; i < ARRAY_LEN(payloads); i++)
        expect_malformed(token_of_texts(m->arena, provider_key, EVP_sha256(), "{\"alg\":\"RS256\"}",
                                        payloads[i]));
    struct buf deep = {0};
    for (int i = 0; i < 8000; i++) /* 4000 levels, all closed: as many as fit into a token */
        buf_add_char(&deep, i < 4000 ? '[' : ']');
    expect_malformed(token_of_texts(m->arena, provider_key, EVP_sha256(), "{\"alg\":\"RS256\"}",
                                    arena_printf(m->arena, "{\"a\":%s}", deep.data)));
    buf_free(&deep);
    char *huge = arena_alloc(m->arena, ((size_t)16 << 20) + 1);
    memset(huge, 'A', (size_t)16 << 20);
    expect_malformed(BYTES(huge, (size_t)16 << 20));
    /* padding, the other alphabet, blanks, spare bits */
    expect_malformed(cut(good, 2, ".AA=="));
    expect_malformed(cut(good, 2, ".+/+/"));
    expect_malformed(cut(good, 2, ".AA AA"));
    expect_malformed(cut(good, 2, ".AB"));
    expect_malformed(BYTES_STR(".."));
    expect_malformed(BYTES_STR("e30..AAAA"));
}

/* ---- what the caller knows ---- */

static bool was_seen(void *ctx, const char *jti)
{
    return strcmp(jti, ctx) == 0;
}

static void a_token_of_another_report_is_refused(void **state)
{
    char used[] = "3bf48db13e9c", unused[] = "3bf48db13e9d";
    reset();
    trust.seen = was_seen;
    trust.ctx = unused;
    expect_trusted();
    trust.ctx = used;
    expect_refused(ev.maa_token, "token_replayed");
}

static void only_allowed_policies_count(void **state)
{
    const char *const allowed[] = {"other", "wm9mHlvTU82e8UqoOy1Yj1FBRSNkfe99"};
    reset();
    trust.policy_hashes = allowed;
    trust.n_policy_hashes = 2;
    expect_trusted();
    trust.n_policy_hashes = 1;
    expect_refused(ev.maa_token, "token_policy");
}

static void the_confidential_profile_wants_the_enclave(void **state)
{
    reset();
    json_t *p = token_payload(nonce_text);
    token_set(p, "x-ms-isolation-tee",
              "{\"x-ms-attestation-type\":\"sevsnpvm\","
              "\"x-ms-compliance-status\":\"azure-compliant-cvm\"}");
    struct bytes cvm = token_make(m->arena, provider_key, token_header(), json_incref(p));
    in.profile = PROFILE_CONFIDENTIAL_VM;
    expect_refused(ev.maa_token, "token_profile");
    ev.maa_token = cvm;
    expect_trusted();
    token_set(p, "x-ms-isolation-tee/x-ms-compliance-status", "\"no\"");
    expect_refused(token_make(m->arena, provider_key, token_header(), json_incref(p)),
                   "token_profile");
    token_set(p, "x-ms-isolation-tee/x-ms-compliance-status", NULL);
    expect_refused(token_make(m->arena, provider_key, token_header(), json_incref(p)),
                   "token_profile");
    token_set(p, "x-ms-isolation-tee/x-ms-compliance-status", "\"azure-compliant-cvm\"");
    token_set(p, "x-ms-isolation-tee/x-ms-attestation-type", "\"sgx\"");
    expect_refused(token_make(m->arena, provider_key, token_header(), p), "token_profile");
}

/* ---- together with the TPM's evidence ---- */

static void with_evidence(bool tpm_secure_boot, const char *token_secure_boot)
{
    make_reset(m);
    m->n_events = 0;
    make_default_events(m, tpm_secure_boot);
    make_build(m);
    reset();
    char text[BASE64_SIZE(64)];
    base64_encode(m->in.nonce, text);
    json_t *p = token_payload(text);
    token_set(p, "secureboot", token_secure_boot);
    m->ev.maa_token = token_make(m->arena, provider_key, token_header(), p);
    m->ev.vm_id = TOKEN_VM;
    m->in.now = TOKEN_NOW * 1000;
    m->in.require_secure_boot = false;
    m->in.maa = &trust;
    assert_int_equal(judge(), OK);
}

static void token_and_evidence_must_agree(void **state)
{
    with_evidence(true, "true");
    if (result.verdict != VERDICT_TRUSTED)
        dump();
    assert_int_equal(result.verdict, VERDICT_TRUSTED);
    assert_int_equal(attest_result_status(&result, CHECK_MAA_TOKEN), STATUS_PASS);
    assert_non_null(result.maa);
    with_evidence(true, "false");
    assert_true(has(CHECK_MAA_TOKEN, STATUS_FAIL, "token_contradicts_evidence"));
    assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
    with_evidence(false, "true");
    assert_true(has(CHECK_MAA_TOKEN, STATUS_FAIL, "token_contradicts_evidence"));
    assert_null(result.maa);
}

static void missing_keys_leave_good_evidence_undecided(void **state)
{
    with_evidence(true, "true");
    provider.keys = NULL;
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_INDETERMINATE);
    assert_string_equal(result.reason, "token_keys_unavailable");
    /* which does not make bad evidence undecided */
    m->in.nonce = BYTES_OF(nonce);
    assert_int_equal(judge(), OK);
    assert_int_equal(result.verdict, VERDICT_UNTRUSTED);
    assert_string_equal(result.reason, "nonce_mismatch");
}

/* What a stranger wrote is told cut short, and the report that tells it is JSON still. */
static void what_is_cut_off_is_no_part_of_a_character(void **state)
{
    for (size_t n = 110; n < 122; n++) {
        char text[256];
        json_t *root = NULL;
        struct buf out = {0};
        struct jw w = jw_over(&out);
        reset();
        snprintf(
            text, sizeof text, "\"%.*s\xe2\x82\xac\xf0\x9f\x92\xa9\"", (int)n,
            "................................................................................"
            "................................................................................");
        json_t *h = token_header();
        token_set(h, "kid", text);
        expect_refused(token_make(m->arena, provider_key, h, token_payload(nonce_text)),
                       "token_key_unknown");
        attest_write_checks(&w, &result);
        assert_true(utf8_valid(buf_bytes(&out)));
        assert_int_equal(json_parse(buf_bytes(&out), &root, NULL), OK);
        json_decref(root);
        buf_free(&out);
    }
}

static void a_malformed_token_makes_the_evidence_malformed(void **state)
{
    with_evidence(true, "true");
    m->ev.maa_token = BYTES_STR("e30.e31.AAAA");
    assert_int_equal(judge(), ERR_EVIDENCE_MALFORMED);
    assert_string_equal(error.fields[0].pointer, "#/maaToken");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_honest_token_passes_and_its_claims_are_told),
        cmocka_unit_test(the_nonce_may_have_been_passed_as_text),
        cmocka_unit_test(a_key_may_come_as_a_certificate_alone),
        cmocka_unit_test(secure_boot_may_be_off_where_nobody_asks_for_it),
        cmocka_unit_test(nothing_else_is_free_without_secure_boot),
        cmocka_unit_test(times_have_their_limits),
        cmocka_unit_test(no_nonce_is_matched_by_none),
        cmocka_unit_test(each_changed_member_fails_with_its_reason),
        cmocka_unit_test(what_is_not_signed_so_is_refused),
        cmocka_unit_test(an_hmac_with_the_public_key_is_refused),
        cmocka_unit_test(one_changed_bit_anywhere_is_refused),
        cmocka_unit_test(keys_that_are_unfit_or_twice_are_not_used),
        cmocka_unit_test(a_certificate_names_a_fit_key),
        cmocka_unit_test(a_key_may_say_more_of_itself),
        cmocka_unit_test(what_is_no_key_set_is_not_read),
        cmocka_unit_test(the_key_set_is_at_the_issuers_own_host),
        cmocka_unit_test(without_keys_nothing_is_decided),
        cmocka_unit_test(what_is_not_well_formed_is_malformed),
        cmocka_unit_test(a_token_of_another_report_is_refused),
        cmocka_unit_test(only_allowed_policies_count),
        cmocka_unit_test(the_confidential_profile_wants_the_enclave),
        cmocka_unit_test(token_and_evidence_must_agree),
        cmocka_unit_test(missing_keys_leave_good_evidence_undecided),
        cmocka_unit_test(what_is_cut_off_is_no_part_of_a_character),
        cmocka_unit_test(a_malformed_token_makes_the_evidence_malformed),
    };
    return cmocka_run_group_tests(tests, set_up_tokens, tear_down_tokens);
}
