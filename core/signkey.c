#include "core/signkey.h"

#include "core/buf.h"
#include "core/cleanup.h"
#include "core/sha256.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <openssl/param_build.h>

#define DER_MAX 80
#define POINT   (1 + 2 * SIGN_COORD) /* SEC 1, 2.3.3: uncompressed */

AUTO_DEFINE(group, EC_GROUP *, EC_GROUP_free)
AUTO_DEFINE(point, EC_POINT *, EC_POINT_free)
AUTO_DEFINE(secret_number, BIGNUM *, BN_clear_free)
AUTO_DEFINE(param_bld, OSSL_PARAM_BLD *, OSSL_PARAM_BLD_free)
AUTO_DEFINE(params, OSSL_PARAM *, OSSL_PARAM_free)
AUTO_DEFINE(pkey_ctx, EVP_PKEY_CTX *, EVP_PKEY_CTX_free)

/* To set OpenSSL up costs a tenth of a signature: one setting is kept for whoever comes next. */
struct spare_ctx {
    EVP_PKEY_CTX *ctx; /* NULL, or of nobody: taken and put back in one exchange */
};

struct sign_key {
    EVP_PKEY *pkey;
    struct spare_ctx *spare;
    uint8_t point[POINT];
    char kid[SIGN_KID_SIZE];
};

/* 1 <= d < n. Almost every seed is one as it is; another is hashed until it is. */
static BIGNUM *scalar_of(const uint8_t seed[SIGN_SEED], const EC_GROUP *group)
{
    uint8_t d[SIGN_SEED];
    memcpy(d, seed, sizeof d);
    for (;;) {
        BIGNUM *n = BN_bin2bn(d, sizeof d, NULL);
        if (n && !BN_is_zero(n) && BN_cmp(n, EC_GROUP_get0_order(group)) < 0) {
            BN_set_flags(n, BN_FLG_CONSTTIME);
            OPENSSL_cleanse(d, sizeof d);
            return n;
        }
        BN_clear_free(n);
        uint8_t next[SIGN_SEED];
        sha256(BYTES_OF(d), next);
        memcpy(d, next, sizeof d);
    }
}

static bool point_of(const BIGNUM *d, const EC_GROUP *group, uint8_t out[POINT])
{
    AUTO(point) EC_POINT *q = EC_POINT_new(group);
    return q && EC_POINT_mul(group, q, d, NULL, NULL, NULL) == 1 &&
           EC_POINT_point2oct(group, q, POINT_CONVERSION_UNCOMPRESSED, out, POINT, NULL) == POINT;
}

static EVP_PKEY *load(const BIGNUM *d, const uint8_t point[POINT])
{
    AUTO(param_bld) OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    if (!bld ||
        OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) != 1 ||
        OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, POINT) != 1 ||
        OSSL_PARAM_BLD_push_BN_pad(bld, OSSL_PKEY_PARAM_PRIV_KEY, d, SIGN_SEED) != 1)
        return NULL;
    AUTO(params) OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(bld);
    AUTO(pkey_ctx) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    EVP_PKEY *pkey = NULL;
    if (!params || !ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_KEYPAIR, params) != 1)
        return NULL;
    return pkey;
}

/* RFC 7638, 3: the required members in the order of their names. */
static void name_key(struct sign_key *k)
{
    char x[BASE64URL_SIZE(SIGN_COORD)], y[BASE64URL_SIZE(SIGN_COORD)];
    struct buf text = {0};
    uint8_t digest[SHA256_SIZE];
    base64url_encode(BYTES(k->point + 1, SIGN_COORD), x);
    base64url_encode(BYTES(k->point + 1 + SIGN_COORD, SIGN_COORD), y);
    buf_printf(&text, "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"%s\",\"y\":\"%s\"}", x, y);
    sha256(buf_bytes(&text), digest);
    base64url_encode(BYTES_OF(digest), k->kid);
    buf_free(&text);
}

struct sign_key *sign_key_new(const uint8_t seed[SIGN_SEED])
{
    struct sign_key *k = calloc(1, sizeof *k);
    AUTO(group) EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    if (!k || !group || !(k->spare = calloc(1, sizeof *k->spare)))
        abort();
    AUTO(secret_number) BIGNUM *d = scalar_of(seed, group);
    if (!point_of(d, group, k->point) || !(k->pkey = load(d, k->point)))
        abort();
    name_key(k);
    return k;
}

void sign_key_free(struct sign_key *k)
{
    if (!k)
        return;
    EVP_PKEY_CTX_free(k->spare->ctx);
    free(k->spare);
    EVP_PKEY_free(k->pkey);
    free(k);
}

const char *sign_key_id(const struct sign_key *k)
{
    return k->kid;
}

void sign_key_public(const struct sign_key *k, uint8_t x[SIGN_COORD], uint8_t y[SIGN_COORD])
{
    memcpy(x, k->point + 1, SIGN_COORD);
    memcpy(y, k->point + 1 + SIGN_COORD, SIGN_COORD);
}

/* An INTEGER of Ecdsa-Sig-Value (RFC 3279, 2.2.3), padded to the field's size: OpenSSL's own way takes
 * a tenth of a signature's time. */
static bool take_integer(struct cursor *c, uint8_t out[SIGN_COORD])
{
    uint8_t tag = cursor_u8(c);
    struct bytes v = cursor_take(c, cursor_u8(c));
    while (v.len && v.data[0] == 0)
        v = BYTES(v.data + 1, v.len - 1);
    if (c->bad || tag != 0x02 || v.len > SIGN_COORD)
        return false;
    memset(out, 0, SIGN_COORD - v.len);
    if (v.len)
        memcpy(out + SIGN_COORD - v.len, v.data, v.len);
    return true;
}

static EVP_PKEY_CTX *take_ctx(const struct sign_key *k)
{
    EVP_PKEY_CTX *ctx = __atomic_exchange_n(&k->spare->ctx, NULL, __ATOMIC_ACQ_REL);
    if (ctx)
        return ctx;
    ctx = EVP_PKEY_CTX_new_from_pkey(NULL, k->pkey, NULL);
    if (!ctx || EVP_PKEY_sign_init(ctx) != 1)
        abort(); /* out of memory */
    return ctx;
}

void sign_key_sign(const struct sign_key *k, struct bytes text, uint8_t out[SIGN_SIZE])
{
    uint8_t digest[SHA256_SIZE], der[DER_MAX];
    size_t n = sizeof der;
    sha256(text, digest);
    EVP_PKEY_CTX *ctx = take_ctx(k);
    if (EVP_PKEY_sign(ctx, der, &n, digest, sizeof digest) != 1)
        abort(); /* out of memory or randomness */
    EVP_PKEY_CTX_free(__atomic_exchange_n(&k->spare->ctx, ctx, __ATOMIC_ACQ_REL));
    struct cursor c = cursor_of(BYTES(der, n));
    cursor_take(&c, 2); /* SEQUENCE and its length, below 128 */
    if (!take_integer(&c, out) || !take_integer(&c, out + SIGN_COORD) || !cursor_done(&c))
        abort();
}
