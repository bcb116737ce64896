/* The attested document of IMDS: who a VM is, signed by a certificate of metadata.azure.com which the
 * development CA issued. Any thread. */
#ifndef EMULATOR_ATTESTED_H
#define EMULATOR_ATTESTED_H

#include "core/json.h"
#include "emulator/keys.h"

/* What IMDS answers for the VM with this ARM body: {"encoding":"pkcs7","signature":"<base64>"}.
 * nonce NULL: the time, as Azure has it. `now` in ms since 1970. */
json_t *attested_document(const struct keys *k, const json_t *vm, const char *nonce, int64_t now);
/* Up to ten digits: what IMDS takes as a nonce. */
bool attested_nonce_valid(const char *nonce);

#endif
