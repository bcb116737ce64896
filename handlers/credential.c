#include "handlers/credential.h"

#include "core/cleanup.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>

#define DIGEST_MOST 48 /* SHA-384 */
#define AES_MOST    32
#define COORD_MOST  48
#define POINT_MOST  (1 + 2 * COORD_MOST) /* uncompressed, SEC 1 */
#define OBJECT      (2 + CREDENTIAL_SECRET)

/* What an EK's template says of the key that a credential is made for. */
struct ek_kind {
    const char *curve;         /* as OpenSSL names it; NULL: RSA-2048 */
    const EVP_MD *(*md)(void); /* nameAlg: KDFs, OAEP and HMAC; a seed is as long */
    size_t digest;
    const EVP_CIPHER *(*cipher)(void); /* symmetric */
    size_t aes_key;
    size_t coord;
};

static const struct ek_kind kinds[] = {
    {NULL, EVP_sha256, 32, EVP_aes_128_cfb128, 16, 0},
    {"prime256v1", EVP_sha256, 32, EVP_aes_128_cfb128, 16, 32},
    {"secp384r1", EVP_sha384, 48, EVP_aes_256_cfb128, 32, 48},
};

AUTO_DEFINE(pkey, EVP_PKEY *, EVP_PKEY_free)
AUTO_DEFINE(pkey_ctx, EVP_PKEY_CTX *, EVP_PKEY_CTX_free)
AUTO_DEFINE(cipher_ctx, EVP_CIPHER_CTX *, EVP_CIPHER_CTX_free)

static void put_u16(struct buf *b, size_t v)
{
    const uint8_t raw[] = {(uint8_t)(v >> 8), (uint8_t)v};
    buf_add(b, raw, sizeof raw);
}

static void put_u32(struct buf *b, uint32_t v)
{
    put_u16(b, v >> 16);
    put_u16(b, v & 0xffff);
}

/* Part 1, 11.4.10.2 KDFa: SP 800-108 counter mode with HMAC. One block is enough: no key is longer than
 * the digest. The label goes with its NUL. */
static void kdfa(const struct ek_kind *k, const uint8_t *key, const char *label,
                 struct bytes context, size_t size, uint8_t *out)
{
    struct buf in = {0};
    uint8_t block[DIGEST_MOST];
    unsigned n = sizeof block;
    put_u32(&in, 1);
    buf_add(&in, label, strlen(label) + 1);
    buf_add(&in, context.data, context.len);
    put_u32(&in, (uint32_t)(8 * size));
    if (!HMAC(k->md(), key, (int)k->digest, (const uint8_t *)in.data, in.len, block, &n))
        abort();
    memcpy(out, block, size);
    OPENSSL_cleanse(block, sizeof block);
    buf_free(&in);
}

/* Part 1, 11.4.10.3 KDFe: SP 800-56A, for a digest's bits one block. */
static bool kdfe(const struct ek_kind *k, const uint8_t *z, const char *label, const uint8_t *u,
                 const uint8_t *v, uint8_t *out)
{
    struct buf in = {0};
    put_u32(&in, 1);
    buf_add(&in, z, k->coord);
    buf_add(&in, label, strlen(label) + 1);
    buf_add(&in, u, k->coord);
    buf_add(&in, v, k->coord);
    bool good = EVP_Digest(in.data, in.len, out, NULL, k->md(), NULL) == 1;
    OPENSSL_cleanse(in.data, in.len);
    buf_free(&in);
    return good;
}

/* ---- the seed: chosen and encrypted (RSA), or agreed on (ECC) ---- */

/* Part 1, B.10.4: OAEP with the EK's nameAlg; the label is "IDENTITY" with its NUL. */
static bool seed_by_rsa(const struct ek_kind *k, EVP_PKEY *ek, uint8_t *seed, struct buf *secret)
{
    static const char label[] = "IDENTITY";
    AUTO(pkey_ctx) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(ek, NULL);
    void *own = OPENSSL_memdup(label, sizeof label); /* the context takes it */
    size_t n = (size_t)EVP_PKEY_get_size(ek);
    if (!ctx || !own || RAND_bytes(seed, (int)k->digest) != 1)
        abort();
    if (EVP_PKEY_encrypt_init(ctx) != 1 ||
        EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) != 1 ||
        EVP_PKEY_CTX_set_rsa_oaep_md(ctx, k->md()) != 1 ||
        EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, k->md()) != 1 ||
        EVP_PKEY_CTX_set0_rsa_oaep_label(ctx, own, sizeof label) != 1) {
        OPENSSL_free(own);
        return false;
    }
    put_u16(secret, n);
    unsigned char *to = (unsigned char *)buf_reserve(secret, n);
    if (EVP_PKEY_encrypt(ctx, to, &n, seed, k->digest) != 1)
        return false;
    secret->len += n;
    return true;
}

static bool point_of(const struct ek_kind *k, EVP_PKEY *key, uint8_t out[POINT_MOST])
{
    size_t n = 0;
    return EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, out, POINT_MOST, &n) ==
               1 &&
           n == 1 + 2 * k->coord && out[0] == POINT_CONVERSION_UNCOMPRESSED;
}

static bool agree(const struct ek_kind *k, EVP_PKEY *own, EVP_PKEY *other, uint8_t z[COORD_MOST])
{
    AUTO(pkey_ctx) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(own, NULL);
    size_t n = COORD_MOST;
    return ctx && EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, other) == 1 &&
           EVP_PKEY_derive(ctx, z, &n) == 1 && n == k->coord;
}

/* Part 1, C.6.4: one-pass ECDH with a key of ours; the TPM gets its point as TPMS_ECC_POINT. */
static bool seed_by_ecc(const struct ek_kind *k, EVP_PKEY *ek, uint8_t *seed, struct buf *secret)
{
    AUTO(pkey) EVP_PKEY *own = EVP_EC_gen(k->curve);
    uint8_t z[COORD_MOST], ours[POINT_MOST], theirs[POINT_MOST];
    if (!own || !point_of(k, own, ours) || !point_of(k, ek, theirs) || !agree(k, own, ek, z))
        return false;
    bool good = kdfe(k, z, "IDENTITY", ours + 1, theirs + 1, seed);
    OPENSSL_cleanse(z, sizeof z);
    put_u16(secret, 2 * (2 + k->coord));
    put_u16(secret, k->coord);
    buf_add(secret, ours + 1, k->coord);
    put_u16(secret, k->coord);
    buf_add(secret, ours + 1 + k->coord, k->coord);
    return good;
}

/* NULL: none of them. */
static const struct ek_kind *kind_of(EVP_PKEY *ek)
{
    char curve[32] = "";
    size_t n = 0;
    if (EVP_PKEY_is_a(ek, "RSA"))
        return EVP_PKEY_get_bits(ek) == 2048 ? &kinds[0] : NULL;
    if (!EVP_PKEY_is_a(ek, "EC") || EVP_PKEY_get_group_name(ek, curve, sizeof curve, &n) != 1)
        return NULL;
    for (size_t i = 1; i < sizeof kinds / sizeof kinds[0]; i++)
        if (!strcmp(curve, kinds[i].curve))
            return &kinds[i];
    return NULL;
}

static bool make_seed(const struct ek_kind *k, EVP_PKEY *ek, uint8_t *seed, struct buf *secret)
{
    return k->curve ? seed_by_ecc(k, ek, seed, secret) : seed_by_rsa(k, ek, seed, secret);
}

/* ---- the object ---- */

/* Part 1, 24.4: AES-CFB, key from the seed and the Name, IV zero, over TPM2B_DIGEST. */
static void encrypt_identity(const struct ek_kind *k, const uint8_t *seed, struct bytes name,
                             const uint8_t secret[CREDENTIAL_SECRET], uint8_t out[OBJECT])
{
    static const uint8_t iv[16];
    uint8_t key[AES_MOST], clear[OBJECT] = {0, CREDENTIAL_SECRET};
    int n = 0;
    memcpy(clear + 2, secret, CREDENTIAL_SECRET);
    kdfa(k, seed, "STORAGE", name, k->aes_key, key);
    AUTO(cipher_ctx) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    if (!ctx || EVP_EncryptInit_ex(ctx, k->cipher(), NULL, key, iv) != 1 ||
        EVP_EncryptUpdate(ctx, out, &n, clear, OBJECT) != 1 || n != OBJECT)
        abort();
    OPENSSL_cleanse(key, sizeof key);
    OPENSSL_cleanse(clear, sizeof clear);
}

/* Part 1, 24.5: HMAC over the encrypted identity and the Name. */
static void authenticate(const struct ek_kind *k, const uint8_t *seed, struct bytes name,
                         const uint8_t object[OBJECT], uint8_t *out)
{
    uint8_t key[DIGEST_MOST];
    unsigned n = DIGEST_MOST;
    struct buf in = {0};
    kdfa(k, seed, "INTEGRITY", (struct bytes){0}, k->digest, key);
    buf_add(&in, object, OBJECT);
    buf_add(&in, name.data, name.len);
    if (!HMAC(k->md(), key, (int)k->digest, (const uint8_t *)in.data, in.len, out, &n))
        abort();
    OPENSSL_cleanse(key, sizeof key);
    buf_free(&in);
}

bool credential_make(EVP_PKEY *ek, struct bytes name, const uint8_t secret[CREDENTIAL_SECRET],
                     struct arena *a, struct credential *out)
{
    const struct ek_kind *k = kind_of(ek);
    uint8_t seed[DIGEST_MOST], object[OBJECT], integrity[DIGEST_MOST];
    struct buf blob = {0}, encrypted = {0};
    bool good = k && make_seed(k, ek, seed, &encrypted);
    if (good) {
        encrypt_identity(k, seed, name, secret, object);
        authenticate(k, seed, name, object, integrity);
        put_u16(&blob, 2 + k->digest + OBJECT);
        put_u16(&blob, k->digest);
        buf_add(&blob, integrity, k->digest);
        buf_add(&blob, object, OBJECT);
        out->blob = arena_copy(a, buf_bytes(&blob));
        out->secret = arena_copy(a, buf_bytes(&encrypted));
    }
    OPENSSL_cleanse(seed, sizeof seed);
    ERR_clear_error();
    buf_free(&blob);
    buf_free(&encrypted);
    return good;
}
