/*
 * A credential as TPM2_ActivateCredential takes it. Pure; any thread.
 */
#ifndef GUEST_CREDENTIAL_H
#define GUEST_CREDENTIAL_H

#include "core/attr.h"
#include "core/bytes.h"

#include <tss2/tss2_tpm2_types.h>

struct guest_tpm_credential {
    TPM2B_ID_OBJECT blob;
    TPM2B_ENCRYPTED_SECRET secret;
};

/* False where either is not exactly one such structure (Part 2, 12.4.3 and 11.4.33). */
bool guest_credential_read(struct bytes blob, struct bytes secret,
                           struct guest_tpm_credential *out) MUST_CHECK;

#endif
