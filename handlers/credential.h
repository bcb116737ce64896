/*
 * TPM2_MakeCredential in software (TPM 2.0 Part 1, 24; Part 3, 12.6): a secret that only the TPM with
 * this endorsement key can open, and only while it holds the object with this Name.
 *
 * Endorsement keys as the TCG EK Credential Profile 2.5 has them, B.3 and B.4: RSA-2048 (templates L-1 and
 * H-1) and ECC P-256 (L-2, H-2) with nameAlg SHA-256 and AES-128-CFB, ECC P-384 (H-3) with SHA-384 and
 * AES-256-CFB. Draws randomness; any thread.
 */
#ifndef HANDLERS_CREDENTIAL_H
#define HANDLERS_CREDENTIAL_H

#include "core/arena.h"
#include "core/buf.h"
#include "core/bytes.h"

#include <openssl/evp.h>

#define CREDENTIAL_SECRET 32

struct credential {
    struct bytes blob;   /* TPM2B_ID_OBJECT, in the arena */
    struct bytes secret; /* TPM2B_ENCRYPTED_SECRET */
};

/* False where the key is none of these. `name` is a TPM Name. */
bool credential_make(EVP_PKEY *ek, struct bytes name, const uint8_t secret[CREDENTIAL_SECRET],
                     struct arena *a, struct credential *out);

#endif
