#include "guest/credential.h"

#include <tss2/tss2_mu.h>

bool guest_credential_read(struct bytes blob, struct bytes secret, struct guest_tpm_credential *out)
{
    size_t at = 0, end = 0;
    *out = (struct guest_tpm_credential){0};
    return Tss2_MU_TPM2B_ID_OBJECT_Unmarshal(blob.data, blob.len, &at, &out->blob) ==
               TSS2_RC_SUCCESS &&
           Tss2_MU_TPM2B_ENCRYPTED_SECRET_Unmarshal(secret.data, secret.len, &end, &out->secret) ==
               TSS2_RC_SUCCESS &&
           at == blob.len && end == secret.len;
}
