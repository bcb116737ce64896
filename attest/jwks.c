#include "attest/jwks.h"

#include "attest/akcert.h"
#include "attest/jwt.h"

#define KID_MAX      256
#define RSA_EXPONENT 65537
#define X5C_DER_MAX  ((size_t)16 * 1024) /* the provider's certificates carry an enclave quote */
#define MODULUS_TEXT BASE64URL_SIZE(AK_RSA_MAX + 1)

struct jwks {
    int refs;
    size_t n;
    struct jwk keys[JWKS_KEYS_MAX];
};

/* ---- one key ---- */

static bool number(const json_t *jwk, const char *name, uint8_t *out, size_t size, size_t *len)
{
    const char *text = jwt_text(jwk, name);
    size_t n = text ? strlen(text) : 0;
    return n && n < MODULUS_TEXT && base64url_decode(text, n, out, size, len);
}

static const char *key_of_numbers(const json_t *jwk, struct ak_key *out)
{
    uint8_t n[AK_RSA_MAX + 1], e[8];
    size_t n_len = 0, e_len = 0;
    if (!number(jwk, "n", n, sizeof n, &n_len) || !number(jwk, "e", e, sizeof e, &e_len))
        return "n or e cannot be read";
    uint64_t exponent = 0;
    for (size_t i = 0; i < e_len; i++)
        exponent = exponent << 8 | e[i];
    if (exponent != RSA_EXPONENT)
        return "the exponent is not 65537";
    const struct tpm_public area = {
        .type = TPM2_ALG_RSA, .exponent = RSA_EXPONENT, .modulus = BYTES(n, n_len)};
    return ak_key_of_public(&area, out);
}

static X509 *certificate(const char *text)
{
    size_t n = strlen(text), len = 0;
    if (n == 0 || n > BASE64_SIZE(X5C_DER_MAX))
        return NULL;
    AUTO(free) uint8_t *der = malloc(n);
    if (!der)
        abort();
    if (!base64_decode(text, n, der, &len))
        return NULL;
    const unsigned char *p = der;
    AUTO(x509) X509 *x = d2i_X509(NULL, &p, (long)len);
    return x && p == der + len ? TAKE(x) : NULL;
}

static const char *key_of_certificate(const json_t *x5c, struct ak_key *out)
{
    const char *text = json_string_value(json_array_get(x5c, 0));
    AUTO(x509) X509 *x = text ? certificate(text) : NULL;
    EVP_PKEY *pkey = x ? X509_get0_pubkey(x) : NULL;
    if (!pkey)
        return "x5c holds no certificate";
    const char *why = ak_key_of_pkey(pkey, out);
    if (!why && (out->kind != AK_RSA || out->e != RSA_EXPONENT))
        why = "the certificate's key is not RSA with the exponent 65537";
    return why;
}

static bool has_text(const json_t *list, const char *wanted)
{
    size_t i;
    const json_t *v;
    json_array_foreach(list, i, v)
    {
        const char *text = json_string_value(v);
        if (text && strcmp(text, wanted) == 0)
            return true;
    }
    return false;
}

static bool is_or_absent(const json_t *jwk, const char *name, const char *value)
{
    const json_t *v = json_object_get(jwk, name);
    return !v || (json_is_string(v) && strcmp(json_string_value(v), value) == 0);
}

static const char *check_use(const json_t *jwk)
{
    const char *kty = jwt_text(jwk, "kty");
    if (!kty || strcmp(kty, "RSA") != 0)
        return "the key is not RSA";
    if (!is_or_absent(jwk, "use", "sig") || !is_or_absent(jwk, "alg", "RS256"))
        return "the key is not for RS256 signatures";
    const json_t *ops = json_object_get(jwk, "key_ops");
    if (ops && !has_text(ops, "verify"))
        return "the key is not for verifying";
    return json_object_get(jwk, "d") ? "the private key was published" : NULL;
}

static const char *read_key(const json_t *jwk, struct ak_key *out)
{
    const char *why = check_use(jwk);
    const json_t *n = json_object_get(jwk, "n"), *x5c = json_object_get(jwk, "x5c");
    struct ak_key certified;
    if (!why && !n && !x5c)
        why = "the key has neither n nor x5c";
    if (!why && n)
        why = key_of_numbers(jwk, out);
    if (!why && x5c)
        why = key_of_certificate(x5c, n ? &certified : out);
    /* RFC 7517, 4.7: the certificate's key must be the key. */
    if (!why && n && x5c && !ak_key_equal(&certified, out))
        why = "n and x5c are of different keys";
    if (!why && ak_key_bits(out) < JWKS_RSA_BITS)
        why = "the key has fewer than 2048 bits";
    return why;
}

static void add_key(struct jwks *set, const json_t *v)
{
    const char *kid = jwt_text(v, "kid");
    size_t n = kid ? strlen(kid) : 0;
    if (n == 0 || n > KID_MAX)
        return; /* no token can name it */
    struct jwk *k = &set->keys[set->n++];
    k->kid = strdup(kid);
    if (!k->kid)
        abort();
    k->unfit = read_key(v, &k->key);
    if (!k->unfit)
        k->loaded = ak_load(&k->key);
    if (!k->unfit && !k->loaded)
        k->unfit = "the key cannot be loaded";
}

/* ---- the set ---- */

enum err jwks_parse(struct bytes text, struct jwks **out, struct err_info *e)
{
    AUTO(json) json_t *root = NULL;
    if (text.len > JWKS_SIZE_MAX)
        return err_set(e, ERR_VALIDATION, "the key set has more than %zu bytes", JWKS_SIZE_MAX);
    if (!utf8_valid(text) || json_parse(text, &root, NULL))
        return err_set(e, ERR_VALIDATION, "the key set is not JSON");
    const json_t *keys = json_is_object(root) ? json_object_get(root, "keys") : NULL;
    size_t n = json_array_size(keys);
    if (n == 0 || n > JWKS_KEYS_MAX)
        return err_set(e, ERR_VALIDATION, "the key set must have 1 to %d keys", JWKS_KEYS_MAX);
    struct jwks *set = calloc(1, sizeof *set);
    if (!set)
        abort();
    set->refs = 1;
    for (size_t i = 0; i < n; i++)
        add_key(set, json_array_get(keys, i));
    if (set->n == 0) {
        jwks_release(set);
        return err_set(e, ERR_VALIDATION, "no key of the set has a kid");
    }
    *out = set;
    return OK;
}

/* ---- discovery ---- */

/* Visible ASCII: what may be sent as a URL without a second look. */
static bool is_address(const char *text, const char *origin)
{
    size_t n = strlen(origin);
    if (strlen(text) > JWKS_ADDRESS_MAX || strncmp(text, origin, n) != 0 || text[n] != '/')
        return false;
    for (const char *p = text; *p; p++)
        if (*p <= ' ' || *p > '~' || *p == '\\' || *p == '#')
            return false;
    return true;
}

enum err jwks_discover(struct bytes document, const char *issuer, struct arena *a,
                       const char **address, struct err_info *e)
{
    AUTO(json) json_t *root = NULL;
    if (document.len > DISCOVERY_SIZE_MAX || !utf8_valid(document) ||
        json_parse(document, &root, NULL) || !json_is_object(root))
        return err_set(e, ERR_VALIDATION, "the discovery document is no JSON object");
    const char *named = jwt_text(root, "issuer"), *uri = jwt_text(root, "jwks_uri");
    const json_t *algorithms = json_object_get(root, "id_token_signing_alg_values_supported");
    if (!named || strcmp(named, issuer) != 0)
        return err_set(e, ERR_VALIDATION, "the discovery document is of another issuer");
    if (algorithms && !has_text(algorithms, "RS256"))
        return err_set(e, ERR_VALIDATION, "the provider does not sign with RS256");
    if (!uri || !is_address(uri, issuer))
        return err_set(e, ERR_VALIDATION, "jwks_uri is not an address of the issuer's own host");
    *address = arena_strdup(a, uri);
    return OK;
}

struct jwks *jwks_hold(struct jwks *set)
{
    __atomic_add_fetch(&set->refs, 1, __ATOMIC_RELAXED);
    return set;
}

void jwks_release(struct jwks *set)
{
    if (!set || __atomic_sub_fetch(&set->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    for (size_t i = 0; i < set->n; i++) {
        free(set->keys[i].kid);
        ak_loaded_release(set->keys[i].loaded);
    }
    free(set);
}

size_t jwks_usable(const struct jwks *set)
{
    size_t n = 0;
    for (size_t i = 0; i < set->n; i++)
        n += set->keys[i].loaded != NULL;
    return n;
}

size_t jwks_find(const struct jwks *set, const char *kid, const struct jwk **out)
{
    size_t n = 0;
    for (size_t i = 0; i < set->n; i++) {
        if (strcmp(set->keys[i].kid, kid) != 0)
            continue;
        if (n++ == 0)
            *out = &set->keys[i];
    }
    return n;
}
