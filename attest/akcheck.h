/*
 * Which key is the AK, and is it one: ak.binding and ak.attributes.
 */
#ifndef ATTEST_AKCHECK_H
#define ATTEST_AKCHECK_H

#include "attest/trust.h"

/* What the evidence and the pins say about the AK. */
struct ak_material {
    const struct tpm_public *public; /* as sent, or NULL */
    const struct ak_cert *cert;      /* as sent, or NULL */
};

struct ak_choice {
    bool found;
    struct ak_key key;        /* verifies the quote */
    struct ak_loaded *loaded; /* the caller releases; NULL: none */
    uint8_t spki_sha256[AK_SPKI_SIZE];
    const struct tpm_public *public; /* area to judge attributes and Name by, or NULL */
    struct ak_names names;           /* of `public`; len 0 where there is none */
    struct tpm_public pinned_public; /* storage for it */
    bool pinned_by_key;              /* the pin is a bare key and the anchor */
    size_t pin;                      /* index in in->pins; n_pins: none matches */
};

/* In the Azure profiles the certificate's key, else the public area's, else the pin's whose signature
 * it is. */
void ak_choose(const struct attest_input *in, const struct ak_material *m,
               const struct tpm_signature *sig, struct bytes message, struct ak_choice *out);

void ak_check_binding(const struct attest_input *in, const struct ak_material *m,
                      const struct ak_choice *c, struct arena *a, struct attest_result *r);
void ak_check_attributes(const struct attest_input *in, const struct ak_choice *c, struct arena *a,
                         struct attest_result *r);

#endif
