/*
 * Tokens of Azure Attestation made in the test, so that every member can be wrong on purpose: a key set
 * with one RSA key, an honest token over a nonce, and what changes either.
 */
#ifndef TESTS_UNIT_ATTEST_TOKEN_H
#define TESTS_UNIT_ATTEST_TOKEN_H

#include "attest/jwks.h"
#include "attest/maa.h"

#include <openssl/core_names.h>
#include <openssl/hmac.h>
#include <openssl/x509.h>

#define TOKEN_NOW    1780000000LL /* s */
#define TOKEN_ISSUER "https://sharedweu.weu.attest.azure.net"
#define TOKEN_VM     "70F5CE9A-2BDC-4B6B-8401-E9B964D3AEB7"
#define TOKEN_KID    "kid+with/slashes="

static inline json_t *token_header(void)
{
    return json_pack("{ss ss ss ss}", "alg", "RS256", "typ", "JWT", "kid", TOKEN_KID, "jku",
                     TOKEN_ISSUER "/certs");
}

/* An honest Trusted Launch token; `nonce` in base64. */
static inline json_t *token_payload(const char *nonce)
{
    static const char *const yes[] = {"secureboot", "x-ms-azurevm-dbvalidated",
                                      "x-ms-azurevm-dbxvalidated", "x-ms-azurevm-debuggersdisabled",
                                      "x-ms-azurevm-default-securebootkeysvalidated"};
    static const char *const no[] = {
        "x-ms-azurevm-bootdebug-enabled", "x-ms-azurevm-kerneldebug-enabled",
        "x-ms-azurevm-hypervisordebug-enabled", "x-ms-azurevm-testsigning-enabled",
        "x-ms-azurevm-flightsigning-enabled"};
    json_t *p = json_pack(
        "{ss sI sI sI ss ss ss ss ss ss s[iiiiiiiiiii] s{s{ss}} ss ss}", "iss", TOKEN_ISSUER, "iat",
        (json_int_t)TOKEN_NOW - 10, "nbf", (json_int_t)TOKEN_NOW - 10, "exp",
        (json_int_t)TOKEN_NOW - 10 + 28800, "jti", "3bf48db13e9c", "x-ms-ver", "1.0",
        "x-ms-attestation-type", "azurevm", "x-ms-azurevm-vmid", TOKEN_VM, "x-ms-policy-hash",
        "wm9mHlvTU82e8UqoOy1Yj1FBRSNkfe99", "x-ms-azurevm-attestation-protocol-ver", "2.0",
        "x-ms-azurevm-attested-pcrs", 0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 13, "x-ms-runtime",
        "client-payload", "nonce", nonce, "x-ms-azurevm-ostype", "Linux", "x-ms-azurevm-osdistro",
        "Ubuntu");
    if (!p)
        abort();
    for (size_t i = 0; i < ARRAY_LEN(yes); i++)
        json_object_set_new(p, yes[i], json_true());
    for (size_t i = 0; i < ARRAY_LEN(no); i++)
        json_object_set_new(p, no[i], json_false());
    return p;
}

/* The member at the path ("x-ms-runtime/client-payload/nonce") becomes the JSON text; NULL: is gone. */
static inline void token_set(json_t *root, const char *path, const char *text)
{
    char name[128];
    for (const char *slash; (slash = strchr(path, '/')); path = slash + 1) {
        snprintf(name, sizeof name, "%.*s", (int)(slash - path), path);
        root = json_object_get(root, name);
    }
    if (!text) {
        json_object_del(root, path);
        return;
    }
    json_t *v = json_loads(text, JSON_DECODE_ANY, NULL);
    if (!root || !v)
        abort();
    json_object_set_new(root, path, v);
}

static inline void token_add_part(struct buf *out, const char *text)
{
    struct bytes raw = BYTES_STR(text);
    out->len += base64url_encode(raw, buf_reserve(out, BASE64URL_SIZE(raw.len)));
}

static inline size_t token_sign_with(EVP_PKEY *key, const EVP_MD *md, struct bytes text,
                                     uint8_t out[512])
{
    size_t n = 512;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (!ctx || EVP_DigestSignInit(ctx, NULL, md, NULL, key) != 1 ||
        EVP_DigestSign(ctx, out, &n, text.data, text.len) != 1)
        abort();
    EVP_MD_CTX_free(ctx);
    return n;
}

/* Two texts, signed by the key. */
static inline struct bytes token_of_texts(struct arena *a, EVP_PKEY *key, const EVP_MD *md,
                                          const char *header, const char *payload)
{
    struct buf out = {0};
    uint8_t sig[512];
    token_add_part(&out, header);
    buf_add_char(&out, '.');
    token_add_part(&out, payload);
    size_t n = token_sign_with(key, md, buf_bytes(&out), sig);
    buf_add_char(&out, '.');
    out.len += base64url_encode(BYTES(sig, n), buf_reserve(&out, BASE64URL_SIZE(n)));
    struct bytes token = arena_copy(a, buf_bytes(&out));
    buf_free(&out);
    return token;
}

/* Takes header and payload. */
static inline struct bytes token_make(struct arena *a, EVP_PKEY *key, json_t *header,
                                      json_t *payload)
{
    char *h = json_dumps(header, JSON_COMPACT), *p = json_dumps(payload, JSON_COMPACT);
    struct bytes token = token_of_texts(a, key, EVP_sha256(), h, p);
    free(h);
    free(p);
    json_decref(header);
    json_decref(payload);
    return token;
}

static inline const char *token_number(struct arena *a, EVP_PKEY *key, const char *param)
{
    BIGNUM *n = NULL;
    uint8_t raw[1024];
    if (EVP_PKEY_get_bn_param(key, param, &n) != 1)
        abort();
    int len = BN_bn2bin(n, raw);
    BN_free(n);
    char *text = arena_alloc(a, BASE64URL_SIZE(sizeof raw));
    base64url_encode(BYTES(raw, (size_t)len), text);
    return text;
}

/* {"kty","kid","n","e"} */
static inline json_t *token_jwk(struct arena *a, EVP_PKEY *key, const char *kid)
{
    return json_pack("{ss ss ss ss}", "kty", "RSA", "kid", kid, "n",
                     token_number(a, key, OSSL_PKEY_PARAM_RSA_N), "e",
                     token_number(a, key, OSSL_PKEY_PARAM_RSA_E));
}

/* A self-signed certificate in base64, as the provider's x5c has it. */
static inline const char *token_x5c(struct arena *a, EVP_PKEY *key)
{
    X509 *x = X509_new();
    unsigned char *der = NULL;
    X509_set_version(x, X509_VERSION_3);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    if (X509_sign(x, key, EVP_sha256()) <= 0)
        abort();
    int n = i2d_X509(x, &der);
    char *text = arena_alloc(a, BASE64_SIZE((size_t)n));
    base64_encode(BYTES(der, (size_t)n), text);
    OPENSSL_free(der);
    X509_free(x);
    return text;
}

/* Takes the list of keys. */
static inline enum err token_jwks(json_t *keys, struct jwks **out)
{
    json_t *root = json_pack("{so}", "keys", keys);
    char *text = json_dumps(root, 0);
    enum err err = jwks_parse(BYTES_STR(text), out, NULL);
    free(text);
    json_decref(root);
    return err;
}

#endif
