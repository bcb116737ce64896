#include "attest/akcheck.h"

/* Azure's AK: fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, sign. */
#define AZURE_ATTRIBUTES 0x00050472u

#define NEEDED_ATTRIBUTES                                                                          \
    (TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN)

static bool public_key(const struct tpm_public *p, struct ak_key *out)
{
    return p && !ak_key_of_public(p, out);
}

/* The pin's own key, where the pin is more than a hash. */
static bool pin_key(const struct attest_pin *pin, struct ak_key *out)
{
    struct tpm_public p;
    if (pin->public_area.len)
        return !tpm_parse_public(pin->public_area, &p) && public_key(&p, out);
    if (!pin->spki.len)
        return false;
    const unsigned char *at = pin->spki.data;
    AUTO(pkey) EVP_PKEY *pkey = d2i_PUBKEY(NULL, &at, (long)pin->spki.len);
    return pkey && !ak_key_of_pkey(pkey, out);
}

/* The evidence names no key: it is the pin's whose signature this is, or else the first. */
static bool choose_pin(const struct attest_input *in, const struct tpm_signature *sig,
                       struct bytes message, struct ak_key *out)
{
    bool found = false;
    for (size_t i = 0; i < in->n_pins; i++) {
        struct ak_key key;
        if (!pin_key(&in->pins[i], &key))
            continue;
        AUTO(pkey) EVP_PKEY *pkey = ak_key_load(&key);
        bool signs = pkey && ak_verify(pkey, &key, sig, message);
        if (signs || !found)
            *out = key;
        found = true;
        if (signs)
            break;
    }
    return found;
}

static bool choose_key(const struct attest_input *in, const struct ak_material *m,
                       const struct tpm_signature *sig, struct bytes message, struct arena *a,
                       struct ak_key *out)
{
    bool azure = in->profile != PROFILE_TPM;
    if (m->cert && m->cert->pkey && azure) {
        *out = m->cert->key;
        return true;
    }
    if (public_key(m->public, out))
        return true;
    if (m->cert && m->cert->pkey &&
        (!in->n_pins || trust_find_pin(in, &m->cert->key, a) < in->n_pins)) {
        *out = m->cert->key;
        return true;
    }
    return choose_pin(in, sig, message, out);
}

/* The certificate that is known from before has its key loaded, with what OpenSSL works out once for
 * each modulus. */
static EVP_PKEY *load_key(const struct ak_material *m, const struct ak_key *key)
{
    bool loaded = m->cert && m->cert->pkey && ak_key_equal(&m->cert->key, key);
    if (!loaded || EVP_PKEY_up_ref(m->cert->pkey) != 1)
        return ak_key_load(key);
    return m->cert->pkey;
}

void ak_choose(const struct attest_input *in, const struct ak_material *m,
               const struct tpm_signature *sig, struct bytes message, struct arena *a,
               struct ak_choice *out)
{
    *out = (struct ak_choice){.public = m->public, .pin = in->n_pins};
    out->found = choose_key(in, m, sig, message, a, &out->key);
    if (!out->found)
        return;
    out->pkey = load_key(m, &out->key);
    out->pin = trust_find_pin(in, &out->key, a);
    if (out->pin == in->n_pins)
        return;
    const struct attest_pin *pin = &in->pins[out->pin];
    if (pin->public_area.len && !tpm_parse_public(pin->public_area, &out->pinned_public))
        out->public = &out->pinned_public;
    else if (in->profile == PROFILE_TPM) {
        /* What is sent beside a bare key is vouched for by nobody. */
        out->public = NULL;
        out->pinned_by_key = true;
    }
}

void ak_check_binding(const struct attest_input *in, const struct ak_material *m,
                      const struct ak_choice *c, struct attest_result *r)
{
    struct ak_key sent;
    if (!c->found) {
        result_fail(r, CHECK_AK_BINDING, "key_missing");
        return;
    }
    /* The certified key and the key whose attributes are shown must be the same. */
    if (m->public && (!public_key(m->public, &sent) || !ak_key_equal(&sent, &c->key)))
        result_fail(r, CHECK_AK_BINDING, "ak_public_mismatch");
    if (m->cert && in->profile == PROFILE_TPM && !in->n_pins && m->cert->pkey &&
        !ak_key_equal(&m->cert->key, &c->key))
        result_fail(r, CHECK_AK_BINDING, "ak_public_mismatch");
    if (in->n_pins && c->pin == in->n_pins)
        result_fail(r, CHECK_AK_BINDING, "ak_not_pinned");
    if (c->public == &c->pinned_public && m->public &&
        !bytes_equal(m->public->area, c->public->area))
        result_fail(r, CHECK_AK_BINDING, "ak_name_mismatch");
    result_pass(r, CHECK_AK_BINDING);
}

static void check_azure(const struct tpm_public *p, struct attest_result *r)
{
    if (p->attributes != AZURE_ATTRIBUTES)
        result_fail(r, CHECK_AK_ATTRIBUTES, "attributes_unexpected");
    if (p->type != TPM2_ALG_RSA || p->scheme != TPM2_ALG_RSASSA ||
        p->scheme_hash != TPM2_ALG_SHA256 || p->name_alg != TPM2_ALG_SHA256)
        result_fail(r, CHECK_AK_ATTRIBUTES, "scheme_unexpected");
}

/* A restricted signing key signs nothing that claims to come from the TPM and does not (Part 1,
 * 31.1.3); fixed to this TPM and made in it, it cannot be anyone else's. */
static void check_restricted(const struct tpm_public *p, struct attest_result *r)
{
    if (!(p->attributes & TPMA_OBJECT_RESTRICTED))
        result_fail(r, CHECK_AK_ATTRIBUTES, "not_restricted");
    if (!(p->attributes & TPMA_OBJECT_SIGN_ENCRYPT))
        result_fail(r, CHECK_AK_ATTRIBUTES, "not_a_signing_key");
    if (p->attributes & TPMA_OBJECT_DECRYPT)
        result_fail(r, CHECK_AK_ATTRIBUTES, "decrypt_set");
    if ((p->attributes & NEEDED_ATTRIBUTES) != NEEDED_ATTRIBUTES)
        result_fail(r, CHECK_AK_ATTRIBUTES, "not_fixed_to_tpm");
}

void ak_check_attributes(const struct attest_input *in, const struct ak_choice *c,
                         struct attest_result *r)
{
    const struct tpm_public *p = c->public;
    if (!p) {
        if (c->pinned_by_key)
            result_skip(r, CHECK_AK_ATTRIBUTES, "pinned_by_key");
        else if (in->profile == PROFILE_AZURE_TRUSTED_LAUNCH)
            result_fail(r, CHECK_AK_ATTRIBUTES, "public_missing");
        else /* the certificate's AK usage says that its issuer has seen them */
            result_skip(r, CHECK_AK_ATTRIBUTES, "public_missing");
        return;
    }
    check_restricted(p, r);
    if (in->profile != PROFILE_TPM && !result_has_failed(r, CHECK_AK_ATTRIBUTES))
        check_azure(p, r);
    struct ak_key key;
    if (public_key(p, &key) && key.kind == AK_RSA && (ak_key_bits(&key) < 2048 || key.e != 65537))
        result_fail(r, CHECK_AK_ATTRIBUTES, "weak_key");
    result_pass(r, CHECK_AK_ATTRIBUTES);
}
