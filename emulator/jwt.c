#include "emulator/jwt.h"

#include <openssl/core_names.h>
#include <openssl/err.h>

AUTO_DEFINE(md, EVP_MD_CTX *, EVP_MD_CTX_free)

static void add_part(struct buf *out, const json_t *part)
{
    AUTO(free) char *text = json_dumps(part, JSON_COMPACT);
    if (!text)
        abort();
    struct bytes raw = BYTES_STR(text);
    out->len += base64url_encode(raw, buf_reserve(out, BASE64URL_SIZE(raw.len)));
}

char *jwt_sign_with(EVP_PKEY *key, const json_t *header, const json_t *claims)
{
    struct buf out = {0};
    add_part(&out, header);
    buf_add_char(&out, '.');
    add_part(&out, claims);
    AUTO(md) EVP_MD_CTX *md = EVP_MD_CTX_new();
    uint8_t signature[512];
    size_t n = sizeof signature;
    if (!md || EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, key) != 1 ||
        EVP_DigestSign(md, signature, &n, (const uint8_t *)out.data, out.len) != 1)
        abort();
    buf_add_char(&out, '.');
    out.len += base64url_encode(BYTES(signature, n), buf_reserve(&out, BASE64URL_SIZE(n)));
    return out.data;
}

char *jwt_sign(EVP_PKEY *key, const char *kid, const json_t *claims)
{
    AUTO(json)
    json_t *header =
        json_pack("{ss ss ss ss}", "typ", "JWT", "alg", "RS256", "x5t", kid, "kid", kid);
    return jwt_sign_with(key, header, claims);
}

static json_t *read_part(const char *text, size_t n)
{
    AUTO(free) uint8_t *raw = malloc(n + 1);
    size_t len;
    if (!raw || !base64url_decode(text, n, raw, n, &len))
        return NULL;
    return json_loadb((const char *)raw, len, JSON_REJECT_DUPLICATES, NULL);
}

static bool signature_holds(EVP_PKEY *key, const char *signed_text, size_t n, const char *text)
{
    uint8_t signature[512];
    size_t len;
    if (!base64url_decode(text, strlen(text), signature, sizeof signature, &len))
        return false;
    AUTO(md) EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md && EVP_DigestVerifyInit(md, NULL, EVP_sha256(), NULL, key) == 1 &&
              EVP_DigestVerify(md, signature, len, (const uint8_t *)signed_text, n) == 1;
    ERR_clear_error();
    return ok;
}

enum jwt_result jwt_verify(const char *token, EVP_PKEY *key, json_t **claims)
{
    const char *dot = strchr(token, '.');
    const char *dot2 = dot ? strchr(dot + 1, '.') : NULL;
    if (!dot2 || strchr(dot2 + 1, '.'))
        return JWT_MALFORMED;
    AUTO(json) json_t *header = read_part(token, (size_t)(dot - token));
    AUTO(json) json_t *body = read_part(dot + 1, (size_t)(dot2 - dot - 1));
    if (!json_is_object(header) || !json_is_object(body))
        return JWT_MALFORMED;
    const char *alg = json_path_str(header, "alg");
    if (!alg || strcmp(alg, "RS256") != 0 ||
        !signature_holds(key, token, (size_t)(dot2 - token), dot2 + 1))
        return JWT_BAD_SIGNATURE;
    *claims = TAKE(body);
    return JWT_OK;
}

static void add_number(json_t *jwk, const char *name, EVP_PKEY *key, const char *param)
{
    BIGNUM *number = NULL;
    if (EVP_PKEY_get_bn_param(key, param, &number) != 1)
        abort();
    uint8_t raw[512];
    char text[BASE64URL_SIZE(sizeof raw)];
    int n = BN_bn2bin(number, raw);
    BN_free(number);
    base64url_encode(BYTES(raw, (size_t)n), text);
    json_object_set_new(jwk, name, json_string(text));
}

json_t *jwt_jwk(EVP_PKEY *key, const char *kid)
{
    json_t *jwk =
        json_pack("{ss ss ss ss}", "kty", "RSA", "use", "sig", "alg", "RS256", "kid", kid);
    add_number(jwk, "n", key, OSSL_PKEY_PARAM_RSA_N);
    add_number(jwk, "e", key, OSSL_PKEY_PARAM_RSA_E);
    return jwk;
}
