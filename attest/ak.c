#include "attest/ak.h"

#include "attest/hash.h"

#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

AUTO_DEFINE(param_bld, OSSL_PARAM_BLD *, OSSL_PARAM_BLD_free)
AUTO_DEFINE(params, OSSL_PARAM *, OSSL_PARAM_free)
AUTO_DEFINE(pkey_ctx, EVP_PKEY_CTX *, EVP_PKEY_CTX_free)
AUTO_DEFINE(bignum, BIGNUM *, BN_free)

struct curve {
    const char *name;
    size_t size;
    uint16_t tpm;
    struct bytes oid; /* DER of the namedCurve */
};

static const uint8_t oid_p256[] = {0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7};
static const uint8_t oid_p384[] = {0x06, 5, 0x2b, 0x81, 4, 0, 0x22};

static const struct curve curves[] = {
    [AK_P256] = {"prime256v1", 32, TPM2_ECC_NIST_P256, {oid_p256, sizeof oid_p256}},
    [AK_P384] = {"secp384r1", 48, TPM2_ECC_NIST_P384, {oid_p384, sizeof oid_p384}},
};

static struct bytes strip_zeros(struct bytes b)
{
    while (b.len && b.data[0] == 0) {
        b.data++;
        b.len--;
    }
    return b;
}

/* A TPM may drop leading zeros of a coordinate: pad to the size of the field. */
static bool put_coord(struct ak_key *out, struct bytes v, size_t size)
{
    v = strip_zeros(v);
    if (v.len == 0 || v.len > size)
        return false;
    out->n_len += size - v.len;
    memcpy(out->n + out->n_len, v.data, v.len);
    out->n_len += v.len;
    return true;
}

static const char *set_point(struct ak_key *out, enum ak_kind kind, struct bytes x, struct bytes y)
{
    out->kind = kind;
    if (!put_coord(out, x, curves[kind].size) || !put_coord(out, y, curves[kind].size))
        return "the point does not fit its curve";
    return NULL;
}

static const char *set_rsa(struct ak_key *out, struct bytes n, uint32_t e)
{
    n = strip_zeros(n);
    if (n.len < 64 || n.len > sizeof out->n)
        return "the modulus has an unusable size";
    out->kind = AK_RSA;
    out->e = e;
    out->n_len = n.len;
    memcpy(out->n, n.data, n.len);
    return NULL;
}

const char *ak_key_of_public(const struct tpm_public *p, struct ak_key *out)
{
    *out = (struct ak_key){0};
    if (p->type == TPM2_ALG_RSA)
        return set_rsa(out, p->modulus, p->exponent);
    for (enum ak_kind k = AK_P256; k <= AK_P384; k++)
        if (curves[k].tpm == p->curve)
            return set_point(out, k, p->x, p->y);
    return "the curve is not P-256 or P-384";
}

static bool get_number(EVP_PKEY *pkey, const char *name, uint8_t *out, size_t size, size_t *len)
{
    AUTO(bignum) BIGNUM *n = NULL;
    if (EVP_PKEY_get_bn_param(pkey, name, &n) != 1 || (size_t)BN_num_bytes(n) > size)
        return false;
    *len = (size_t)BN_bn2bin(n, out);
    return true;
}

static const char *rsa_of_pkey(EVP_PKEY *pkey, struct ak_key *out)
{
    uint8_t n[AK_RSA_MAX], e[4];
    size_t n_len = 0, e_len = 0;
    if (!get_number(pkey, OSSL_PKEY_PARAM_RSA_N, n, sizeof n, &n_len) ||
        !get_number(pkey, OSSL_PKEY_PARAM_RSA_E, e, sizeof e, &e_len))
        return "the RSA key is larger than 4096 bits";
    uint32_t exponent = 0;
    for (size_t i = 0; i < e_len; i++)
        exponent = exponent << 8 | e[i];
    return set_rsa(out, BYTES(n, n_len), exponent);
}

static const char *ec_of_pkey(EVP_PKEY *pkey, struct ak_key *out)
{
    char group[32];
    uint8_t x[AK_COORD_MAX], y[AK_COORD_MAX];
    size_t x_len = 0, y_len = 0;
    if (EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof group,
                                       NULL) != 1 ||
        !get_number(pkey, OSSL_PKEY_PARAM_EC_PUB_X, x, sizeof x, &x_len) ||
        !get_number(pkey, OSSL_PKEY_PARAM_EC_PUB_Y, y, sizeof y, &y_len))
        return "the EC key cannot be read";
    for (enum ak_kind k = AK_P256; k <= AK_P384; k++)
        if (strcmp(curves[k].name, group) == 0)
            return set_point(out, k, BYTES(x, x_len), BYTES(y, y_len));
    return "the curve is not P-256 or P-384";
}

const char *ak_key_of_pkey(EVP_PKEY *pkey, struct ak_key *out)
{
    *out = (struct ak_key){0};
    if (EVP_PKEY_is_a(pkey, "RSA"))
        return rsa_of_pkey(pkey, out);
    if (EVP_PKEY_is_a(pkey, "EC"))
        return ec_of_pkey(pkey, out);
    return "the key is neither RSA nor EC";
}

bool ak_key_equal(const struct ak_key *a, const struct ak_key *b)
{
    return a->kind == b->kind && a->e == b->e &&
           bytes_equal(BYTES(a->n, a->n_len), BYTES(b->n, b->n_len));
}

size_t ak_key_bits(const struct ak_key *k)
{
    if (k->kind != AK_RSA)
        return curves[k->kind].size * 8;
    size_t bits = k->n_len * 8;
    for (uint8_t top = k->n[0]; !(top & 0x80) && bits; top = (uint8_t)(top << 1))
        bits--;
    return bits;
}

static bool push_rsa(OSSL_PARAM_BLD *bld, const struct ak_key *k, const BIGNUM *n)
{
    return OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
           OSSL_PARAM_BLD_push_uint32(bld, OSSL_PKEY_PARAM_RSA_E, k->e) == 1;
}

static bool push_ec(OSSL_PARAM_BLD *bld, const struct ak_key *k, const uint8_t *point)
{
    return OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, curves[k->kind].name,
                                           0) == 1 &&
           OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, k->n_len + 1) == 1;
}

static EVP_PKEY *pkey_of(const struct ak_key *k)
{
    bool rsa = k->kind == AK_RSA;
    uint8_t point[1 + 2 * AK_COORD_MAX] = {4}; /* SEC 1: uncompressed */
    if (!rsa)
        memcpy(point + 1, k->n, k->n_len);
    AUTO(param_bld) OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    AUTO(bignum) BIGNUM *n = BN_bin2bn(k->n, (int)k->n_len, NULL);
    if (!bld || !n || !(rsa ? push_rsa(bld, k, n) : push_ec(bld, k, point)))
        return NULL;
    AUTO(params) OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(bld);
    AUTO(pkey_ctx)
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, rsa ? "RSA" : "EC", NULL);
    EVP_PKEY *pkey = NULL;
    if (!params || !ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
        return NULL;
    return pkey;
}

/* ---- SubjectPublicKeyInfo, written out: four nested headers and the key ---- */

static void put_header(struct buf *out, uint8_t tag, size_t len)
{
    buf_add_char(out, (char)tag);
    if (len >= 256) {
        buf_add_char(out, (char)0x82);
        buf_add_char(out, (char)(len >> 8));
    } else if (len >= 128) {
        buf_add_char(out, (char)0x81);
    }
    buf_add_char(out, (char)len);
}

static void put_tlv(struct buf *out, uint8_t tag, const struct buf *content)
{
    put_header(out, tag, content->len);
    buf_add(out, content->data, content->len);
}

static void put_integer(struct buf *out, struct bytes v)
{
    v = strip_zeros(v);
    bool pad = v.len == 0 || v.data[0] & 0x80;
    put_header(out, 0x02, v.len + pad);
    if (pad)
        buf_add_char(out, 0);
    buf_add(out, v.data, v.len);
}

static void put_rsa_key(struct buf *bits, const struct ak_key *k)
{
    struct buf numbers = {0};
    uint8_t e[4] = {(uint8_t)(k->e >> 24), (uint8_t)(k->e >> 16), (uint8_t)(k->e >> 8),
                    (uint8_t)k->e};
    put_integer(&numbers, BYTES(k->n, k->n_len));
    put_integer(&numbers, BYTES_OF(e));
    put_tlv(bits, 0x30, &numbers);
    buf_free(&numbers);
}

static void put_spki(struct buf *out, const struct ak_key *k)
{
    static const uint8_t rsa_alg[] = {0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0};
    static const uint8_t ec_alg[] = {0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1};
    struct buf alg = {0}, bits = {0}, body = {0};
    buf_add_char(&bits, 0); /* no unused bits */
    if (k->kind == AK_RSA) {
        buf_add(&alg, rsa_alg, sizeof rsa_alg);
        put_rsa_key(&bits, k);
    } else {
        buf_add(&alg, ec_alg, sizeof ec_alg);
        buf_add(&alg, curves[k->kind].oid.data, curves[k->kind].oid.len);
        buf_add_char(&bits, 4);
        buf_add(&bits, k->n, k->n_len);
    }
    put_tlv(&body, 0x30, &alg);
    put_tlv(&body, 0x03, &bits);
    put_tlv(out, 0x30, &body);
    buf_free(&alg);
    buf_free(&bits);
    buf_free(&body);
}

struct bytes ak_key_spki(const struct ak_key *k, struct arena *a)
{
    struct buf out = {0};
    put_spki(&out, k);
    struct bytes spki = arena_copy(a, buf_bytes(&out));
    buf_free(&out);
    return spki;
}

void ak_key_spki_sha256(const struct ak_key *k, uint8_t out[32])
{
    struct buf der = {0};
    put_spki(&der, k);
    hash_digest(BANK_SHA256, buf_bytes(&der), out);
    buf_free(&der);
}

/* ---- a loaded key ---- */

struct ak_setting {
    EVP_PKEY_CTX *ctx;
    uint16_t scheme;
    enum pcr_bank hash;
};

static void setting_free(struct ak_setting *s)
{
    if (s)
        EVP_PKEY_CTX_free(s->ctx);
    free(s);
}

AUTO_DEFINE(setting, struct ak_setting *, setting_free)

struct ak_loaded *ak_load(const struct ak_key *key)
{
    EVP_PKEY *pkey = pkey_of(key);
    if (!pkey)
        return NULL;
    struct ak_loaded *k = calloc(1, sizeof *k);
    if (!k)
        abort();
    *k = (struct ak_loaded){.refs = 1, .key = *key, .pkey = pkey};
    ak_key_spki_sha256(key, k->spki_sha256);
    return k;
}

struct ak_loaded *ak_loaded_hold(struct ak_loaded *k)
{
    __atomic_add_fetch(&k->refs, 1, __ATOMIC_RELAXED);
    return k;
}

void ak_loaded_release(struct ak_loaded *k)
{
    if (!k || __atomic_sub_fetch(&k->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    setting_free(k->spare);
    free(k->named);
    EVP_PKEY_free(k->pkey);
    free(k);
}

/* ---- Names ---- */

#define AREA_MAX 640 /* TPMT_PUBLIC of RSA-4096 with a policy */

struct ak_named {
    struct ak_names names;
    size_t area_len;
    uint8_t area[AREA_MAX];
};

static void make_names(const struct tpm_public *p, struct ak_names *out)
{
    out->len = tpm_name(p, out->name);
    if (out->len)
        tpm_qualified_name(p, out->name, out->qualified);
}

/* By the area's every byte: a Name is a function of it alone. */
void ak_names_of(struct ak_loaded *k, const struct tpm_public *p, struct ak_names *out)
{
    *out = (struct ak_names){0};
    if (!k || p->area.len > AREA_MAX) {
        make_names(p, out);
        return;
    }
    struct ak_named *n = __atomic_exchange_n(&k->named, NULL, __ATOMIC_ACQ_REL);
    if (!n && !(n = calloc(1, sizeof *n)))
        abort();
    if (!bytes_equal(BYTES(n->area, n->area_len), p->area)) {
        make_names(p, &n->names);
        memcpy(n->area, p->area.data, p->area.len);
        n->area_len = p->area.len;
    }
    *out = n->names;
    free(__atomic_exchange_n(&k->named, n, __ATOMIC_ACQ_REL));
}

/* ---- signature ---- */

static bool set_padding(EVP_PKEY_CTX *ctx, uint16_t scheme)
{
    if (scheme == TPM2_ALG_RSASSA)
        return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1;
    /* The TPM salts with as much as fits (Part 1, B.7), newer ones with the digest's size: the
     * length is read from the signature. */
    return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_AUTO) == 1;
}

static struct ak_setting *setting_new(EVP_PKEY *pkey, uint16_t scheme, enum pcr_bank hash)
{
    AUTO(setting) struct ak_setting *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    *s = (struct ak_setting){EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL), scheme, hash};
    if (!s->ctx || EVP_PKEY_verify_init(s->ctx) != 1 ||
        (scheme != TPM2_ALG_ECDSA && !set_padding(s->ctx, scheme)) ||
        EVP_PKEY_CTX_set_signature_md(s->ctx, hash_md(hash)) != 1)
        return NULL;
    return TAKE(s);
}

static struct ak_setting *take_setting(struct ak_loaded *k, uint16_t scheme, enum pcr_bank hash)
{
    struct ak_setting *s = __atomic_exchange_n(&k->spare, NULL, __ATOMIC_ACQ_REL);
    if (s && s->scheme == scheme && s->hash == hash)
        return s;
    setting_free(s);
    return setting_new(k->pkey, scheme, hash);
}

static void keep_setting(struct ak_loaded *k, struct ak_setting *s)
{
    setting_free(__atomic_exchange_n(&k->spare, s, __ATOMIC_ACQ_REL));
}

/* Only what a verification left in order is used again: a signature that was refused leaves nothing. */
static bool verify_digest(struct ak_loaded *k, uint16_t scheme, struct bytes signature,
                          enum pcr_bank alg, struct bytes message)
{
    uint8_t digest[DIGEST_MAX];
    hash_digest(alg, message, digest);
    AUTO(setting) struct ak_setting *s = take_setting(k, scheme, alg);
    if (!s ||
        EVP_PKEY_verify(s->ctx, signature.data, signature.len, digest, pcr_banks[alg].size) != 1)
        return false;
    keep_setting(k, TAKE(s));
    return true;
}

#define ECDSA_DER_MAX (3 + 2 * (3 + AK_COORD_MAX))

static uint8_t *add_integer(uint8_t *at, struct bytes v)
{
    v = strip_zeros(v);
    bool pad = v.len == 0 || v.data[0] & 0x80;
    *at++ = 0x02;
    *at++ = (uint8_t)(v.len + pad);
    if (pad)
        *at++ = 0;
    memcpy(at, v.data, v.len);
    return at + v.len;
}

/* ECDSA-Sig-Value (RFC 3279, 2.2.3), as OpenSSL wants it. */
static struct bytes ecdsa_der(const struct tpm_signature *sig, uint8_t out[ECDSA_DER_MAX])
{
    uint8_t *end = add_integer(add_integer(out + 3, sig->r), sig->s);
    size_t n = (size_t)(end - out) - 3;
    uint8_t *from = out + (n < 128);
    from[0] = 0x30;
    from[1] = 0x81;
    out[2] = (uint8_t)n;
    return BYTES(from, (size_t)(end - from));
}

bool ak_verify(struct ak_loaded *k, const struct tpm_signature *sig, struct bytes message)
{
    enum pcr_bank alg = hash_of_tpm_alg(sig->hash);
    if (alg == BANK_COUNT || (k->key.kind == AK_RSA) != (sig->alg != TPM2_ALG_ECDSA))
        return false;
    if (k->key.kind == AK_RSA)
        return sig->rsa.len == k->key.n_len && verify_digest(k, sig->alg, sig->rsa, alg, message);
    if (sig->r.len > AK_COORD_MAX || sig->s.len > AK_COORD_MAX)
        return false;
    uint8_t der[ECDSA_DER_MAX];
    return verify_digest(k, sig->alg, ecdsa_der(sig, der), alg, message);
}
