#include "handlers/credential.h"

#include "core/cleanup.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>

#define SEED      32 /* digest size of the EK's nameAlg */
#define AES_KEY   16
#define COORD     32
#define POINT     (1 + 2 * COORD) /* uncompressed, SEC 1 */
#define OBJECT    (2 + CREDENTIAL_SECRET)
#define INTEGRITY 32

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

/* Part 1, 11.4.10.2 KDFa: SP 800-108 counter mode with HMAC-SHA256. One block is enough: bits <= 256.
 * The label goes with its NUL. */
static void kdfa(const uint8_t key[SEED], const char *label, struct bytes context, uint32_t bits,
                 uint8_t *out)
{
    struct buf in = {0};
    uint8_t block[32];
    unsigned n = sizeof block;
    put_u32(&in, 1);
    buf_add(&in, label, strlen(label) + 1);
    buf_add(&in, context.data, context.len);
    put_u32(&in, bits);
    if (!HMAC(EVP_sha256(), key, SEED, (const uint8_t *)in.data, in.len, block, &n))
        abort();
    memcpy(out, block, bits / 8);
    OPENSSL_cleanse(block, sizeof block);
    buf_free(&in);
}

/* Part 1, 11.4.10.3 KDFe: SP 800-56A, for 256 bits one block. */
static bool kdfe(const uint8_t z[COORD], const char *label, const uint8_t u[COORD],
                 const uint8_t v[COORD], uint8_t out[SEED])
{
    struct buf in = {0};
    put_u32(&in, 1);
    buf_add(&in, z, COORD);
    buf_add(&in, label, strlen(label) + 1);
    buf_add(&in, u, COORD);
    buf_add(&in, v, COORD);
    bool good = EVP_Digest(in.data, in.len, out, NULL, EVP_sha256(), NULL) == 1;
    OPENSSL_cleanse(in.data, in.len);
    buf_free(&in);
    return good;
}

/* ---- the seed: chosen and encrypted (RSA), or agreed on (ECC) ---- */

/* Part 1, B.10.4: OAEP with the EK's nameAlg; the label is "IDENTITY" with its NUL. */
static bool seed_by_rsa(EVP_PKEY *ek, uint8_t seed[SEED], struct buf *secret)
{
    static const char label[] = "IDENTITY";
    AUTO(pkey_ctx) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(ek, NULL);
    void *own = OPENSSL_memdup(label, sizeof label); /* the context takes it */
    size_t n = (size_t)EVP_PKEY_get_size(ek);
    if (!ctx || !own || RAND_bytes(seed, SEED) != 1)
        abort();
    if (EVP_PKEY_encrypt_init(ctx) != 1 ||
        EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) != 1 ||
        EVP_PKEY_CTX_set_rsa_oaep_md(ctx, EVP_sha256()) != 1 ||
        EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, EVP_sha256()) != 1 ||
        EVP_PKEY_CTX_set0_rsa_oaep_label(ctx, own, sizeof label) != 1) {
        OPENSSL_free(own);
        return false;
    }
    put_u16(secret, n);
    unsigned char *to = (unsigned char *)buf_reserve(secret, n);
    if (EVP_PKEY_encrypt(ctx, to, &n, seed, SEED) != 1)
        return false;
    secret->len += n;
    return true;
}

static bool point_of(EVP_PKEY *key, uint8_t out[POINT])
{
    size_t n = 0;
    return EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, out, POINT, &n) == 1 &&
           n == POINT && out[0] == POINT_CONVERSION_UNCOMPRESSED;
}

static bool agree(EVP_PKEY *own, EVP_PKEY *other, uint8_t z[COORD])
{
    AUTO(pkey_ctx) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(own, NULL);
    size_t n = COORD;
    return ctx && EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, other) == 1 &&
           EVP_PKEY_derive(ctx, z, &n) == 1 && n == COORD;
}

/* Part 1, C.6.4: one-pass ECDH with a key of ours; the TPM gets its point as TPMS_ECC_POINT. */
static bool seed_by_ecc(EVP_PKEY *ek, uint8_t seed[SEED], struct buf *secret)
{
    AUTO(pkey) EVP_PKEY *own = EVP_EC_gen("P-256");
    uint8_t z[COORD], ours[POINT], theirs[POINT];
    if (!own || !point_of(own, ours) || !point_of(ek, theirs) || !agree(own, ek, z))
        return false;
    bool good = kdfe(z, "IDENTITY", ours + 1, theirs + 1, seed);
    OPENSSL_cleanse(z, sizeof z);
    put_u16(secret, 2 * (2 + COORD));
    put_u16(secret, COORD);
    buf_add(secret, ours + 1, COORD);
    put_u16(secret, COORD);
    buf_add(secret, ours + 1 + COORD, COORD);
    return good;
}

static bool make_seed(EVP_PKEY *ek, uint8_t seed[SEED], struct buf *secret)
{
    char curve[32] = "";
    if (EVP_PKEY_is_a(ek, "RSA"))
        return EVP_PKEY_get_bits(ek) == 2048 && seed_by_rsa(ek, seed, secret);
    size_t n = 0;
    return EVP_PKEY_is_a(ek, "EC") && EVP_PKEY_get_group_name(ek, curve, sizeof curve, &n) == 1 &&
           !strcmp(curve, "prime256v1") && seed_by_ecc(ek, seed, secret);
}

/* ---- the object ---- */

/* Part 1, 24.4: AES-128-CFB, key from the seed and the Name, IV zero, over TPM2B_DIGEST. */
static void encrypt_identity(const uint8_t seed[SEED], struct bytes name,
                             const uint8_t secret[CREDENTIAL_SECRET], uint8_t out[OBJECT])
{
    static const uint8_t iv[16];
    uint8_t key[AES_KEY], clear[OBJECT] = {0, CREDENTIAL_SECRET};
    int n = 0;
    memcpy(clear + 2, secret, CREDENTIAL_SECRET);
    kdfa(seed, "STORAGE", name, 8 * AES_KEY, key);
    AUTO(cipher_ctx) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    if (!ctx || EVP_EncryptInit_ex(ctx, EVP_aes_128_cfb128(), NULL, key, iv) != 1 ||
        EVP_EncryptUpdate(ctx, out, &n, clear, OBJECT) != 1 || n != OBJECT)
        abort();
    OPENSSL_cleanse(key, sizeof key);
    OPENSSL_cleanse(clear, sizeof clear);
}

/* Part 1, 24.5: HMAC over the encrypted identity and the Name. */
static void authenticate(const uint8_t seed[SEED], struct bytes name, const uint8_t object[OBJECT],
                         uint8_t out[INTEGRITY])
{
    uint8_t key[SEED];
    unsigned n = INTEGRITY;
    struct buf in = {0};
    kdfa(seed, "INTEGRITY", (struct bytes){0}, 8 * SEED, key);
    buf_add(&in, object, OBJECT);
    buf_add(&in, name.data, name.len);
    if (!HMAC(EVP_sha256(), key, SEED, (const uint8_t *)in.data, in.len, out, &n))
        abort();
    OPENSSL_cleanse(key, sizeof key);
    buf_free(&in);
}

bool credential_make(EVP_PKEY *ek, struct bytes name, const uint8_t secret[CREDENTIAL_SECRET],
                     struct arena *a, struct credential *out)
{
    uint8_t seed[SEED], object[OBJECT], integrity[INTEGRITY];
    struct buf blob = {0}, encrypted = {0};
    bool good = make_seed(ek, seed, &encrypted);
    if (good) {
        encrypt_identity(seed, name, secret, object);
        authenticate(seed, name, object, integrity);
        put_u16(&blob, 2 + INTEGRITY + OBJECT);
        put_u16(&blob, INTEGRITY);
        buf_add(&blob, integrity, INTEGRITY);
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
