#include "attest/akcheck.h"

#include "attest/truststore.h"
#include "attest/words.h"

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
        AUTO(ak_loaded) struct ak_loaded *loaded = ak_load(&key);
        bool signs = loaded && ak_verify(loaded, sig, message);
        if (signs || !found)
            *out = key;
        found = true;
        if (signs)
            break;
    }
    return found;
}

static bool choose_key(const struct attest_input *in, const struct ak_material *m,
                       const struct tpm_signature *sig, struct bytes message, struct ak_key *out)
{
    bool azure = in->profile != PROFILE_TPM;
    if (m->cert && m->cert->loaded && azure) {
        *out = m->cert->key;
        return true;
    }
    if (public_key(m->public, out))
        return true;
    if (m->cert && m->cert->loaded &&
        (!in->n_pins || trust_find_pin(in, m->cert->loaded->spki_sha256) < in->n_pins)) {
        *out = m->cert->key;
        return true;
    }
    return choose_pin(in, sig, message, out);
}

/* The certificate that is known from before has its key loaded, with what OpenSSL works out once for
 * each modulus; a pinned key may be known by itself. */
static struct ak_loaded *load_key(const struct attest_input *in, const struct ak_material *m,
                                  const struct ak_key *key)
{
    if (m->cert && m->cert->loaded && ak_key_equal(&m->cert->key, key))
        return ak_loaded_hold(m->cert->loaded);
    struct ak_loaded *known = in->afresh ? NULL : truststore_find_key(in->trust, key);
    return known ? known : ak_load(key);
}

static void choose_public(const struct attest_input *in, struct ak_choice *c)
{
    if (c->pin == in->n_pins)
        return;
    const struct attest_pin *pin = &in->pins[c->pin];
    if (pin->public_area.len && !tpm_parse_public(pin->public_area, &c->pinned_public))
        c->public = &c->pinned_public;
    else if (in->profile == PROFILE_TPM) {
        /* What is sent beside a bare key is vouched for by nobody. */
        c->public = NULL;
        c->pinned_by_key = true;
    }
}

void ak_choose(const struct attest_input *in, const struct ak_material *m,
               const struct tpm_signature *sig, struct bytes message, struct ak_choice *out)
{
    *out = (struct ak_choice){.public = m->public, .pin = in->n_pins};
    out->found = choose_key(in, m, sig, message, &out->key);
    if (out->found) {
        out->loaded = load_key(in, m, &out->key);
        if (out->loaded)
            memcpy(out->spki_sha256, out->loaded->spki_sha256, AK_SPKI_SIZE);
        else
            ak_key_spki_sha256(&out->key, out->spki_sha256);
        out->pin = trust_find_pin(in, out->spki_sha256);
        choose_public(in, out);
    }
    if (out->public)
        ak_names_of(out->loaded, out->public, &out->names);
}

/* What a check writes into. */
struct telling {
    struct arena *a;
    struct attest_result *r;
};

static void fail(const struct telling *t, enum attest_check c, const char *reason,
                 const char *expected, const char *found)
{
    result_fail_values(t->r, c, reason, ATTEST_NO_INDEX, ATTEST_NO_INDEX, expected, found);
}

/* The certified key and the key whose attributes are shown must be the same. */
static void check_same_key(const struct telling *t, const struct ak_key *key,
                           const struct ak_key *other)
{
    if (!ak_key_equal(key, other))
        fail(t, CHECK_AK_BINDING, "ak_public_mismatch", words_spki(t->a, key),
             words_spki(t->a, other));
}

static const char *text_pins(const struct attest_input *in, struct arena *a)
{
    if (in->n_pins == 1)
        return words_hex(a, BYTES_OF(in->pins[0].spki_sha256));
    return arena_printf(a, "one of %zu pinned keys", in->n_pins);
}

static const char *text_tpm_name(struct arena *a, const struct tpm_public *p)
{
    uint8_t name[AK_NAME_MAX];
    return words_hex(a, BYTES(name, tpm_name(p, name)));
}

void ak_check_binding(const struct attest_input *in, const struct ak_material *m,
                      const struct ak_choice *c, struct arena *a, struct attest_result *r)
{
    const struct telling t = {a, r};
    struct ak_key sent;
    if (!c->found) {
        result_fail(r, CHECK_AK_BINDING, "key_missing");
        return;
    }
    if (m->public && !public_key(m->public, &sent))
        result_fail(r, CHECK_AK_BINDING, "ak_public_mismatch");
    else if (m->public)
        check_same_key(&t, &c->key, &sent);
    if (m->cert && in->profile == PROFILE_TPM && !in->n_pins && m->cert->loaded)
        check_same_key(&t, &m->cert->key, &c->key);
    if (in->n_pins && c->pin == in->n_pins)
        fail(&t, CHECK_AK_BINDING, "ak_not_pinned", text_pins(in, a), words_spki(a, &c->key));
    if (c->public == &c->pinned_public && m->public &&
        !bytes_equal(m->public->area, c->public->area))
        fail(&t, CHECK_AK_BINDING, "ak_name_mismatch", text_tpm_name(a, c->public),
             text_tpm_name(a, m->public));
    result_pass(r, CHECK_AK_BINDING);
}

/* What is missing and what should not be there, by name. */
static const char *text_difference(struct arena *a, uint32_t bits, uint32_t wanted)
{
    uint32_t missing = wanted & ~bits, more = bits & ~wanted;
    if (missing && more)
        return arena_printf(a, "without %s, with %s", words_attributes(a, missing),
                            words_attributes(a, more));
    return missing ? arena_printf(a, "without %s", words_attributes(a, missing))
                   : arena_printf(a, "with %s", words_attributes(a, more));
}

static void check_azure(const struct telling *t, const struct tpm_public *p)
{
    if (p->attributes != AZURE_ATTRIBUTES)
        fail(t, CHECK_AK_ATTRIBUTES, "attributes_unexpected",
             words_attributes(t->a, AZURE_ATTRIBUTES),
             text_difference(t->a, p->attributes, AZURE_ATTRIBUTES));
    if (p->type != TPM2_ALG_RSA || p->scheme != TPM2_ALG_RSASSA ||
        p->scheme_hash != TPM2_ALG_SHA256 || p->name_alg != TPM2_ALG_SHA256)
        fail(t, CHECK_AK_ATTRIBUTES, "scheme_unexpected", "RSA, RSASSA with SHA-256, Name SHA-256",
             arena_printf(t->a, "%s, %s, Name %s", words_alg(t->a, p->type),
                          words_scheme(t->a, p->scheme, p->scheme_hash),
                          words_alg(t->a, p->name_alg)));
}

/* A restricted signing key signs nothing that claims to come from the TPM and does not (Part 1,
 * 31.1.3); fixed to this TPM and made in it, it cannot be anyone else's. */
static void check_restricted(const struct telling *t, const struct tpm_public *p)
{
    static const struct {
        uint32_t bits;
        bool set;
        const char *reason;
    } rules[] = {
        {TPMA_OBJECT_RESTRICTED, true, "not_restricted"},
        {TPMA_OBJECT_SIGN_ENCRYPT, true, "not_a_signing_key"},
        {TPMA_OBJECT_DECRYPT, false, "decrypt_set"},
        {NEEDED_ATTRIBUTES, true, "not_fixed_to_tpm"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        uint32_t bits = rules[i].bits, want = rules[i].set ? bits : 0;
        if ((p->attributes & bits) == want)
            continue;
        fail(t, CHECK_AK_ATTRIBUTES, rules[i].reason,
             rules[i].set ? words_attributes(t->a, bits)
                          : arena_printf(t->a, "no %s", words_attributes(t->a, bits)),
             words_attributes(t->a, p->attributes));
    }
}

static void check_strength(const struct telling *t, const struct tpm_public *p)
{
    struct ak_key key;
    if (public_key(p, &key) && key.kind == AK_RSA && (ak_key_bits(&key) < 2048 || key.e != 65537))
        fail(t, CHECK_AK_ATTRIBUTES, "weak_key", "RSA 2048 or more, e = 65537",
             words_key(t->a, &key));
}

void ak_check_attributes(const struct attest_input *in, const struct ak_choice *c, struct arena *a,
                         struct attest_result *r)
{
    const struct telling t = {a, r};
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
    check_restricted(&t, p);
    if (in->profile != PROFILE_TPM && !result_has_failed(r, CHECK_AK_ATTRIBUTES))
        check_azure(&t, p);
    check_strength(&t, p);
    result_pass(r, CHECK_AK_ATTRIBUTES);
}
