/*
 * Azure Attestation: a provider whose issuer is the emulator's own https address.
 *
 *     GET  /.well-known/openid-configuration
 *     GET  /certs                                     key set; keys as x5c alone, as Azure sends them
 *     POST /attest/AzureGuest?api-version=2020-10-01  {"AttestationInfo": base64url of
 *                                                      {"VmId","ClientPayload":{"nonce": base64}}}
 *                                                     -> {"token": JWT}
 *
 * The token tells what the VM's present boot was. Unlike Azure it believes the VmId that it is told, asks
 * for no quote and does not encrypt the token to the TPM: it is for loopback.
 *
 *     PUT  /_emulator/attestation         {"claims":{name: value or null}, "bareKeys": bool}
 *                                         what is different in the next tokens, and n and e in the key set
 *     POST /_emulator/attestation/rotate  {"keepFormer": bool}: a new key; the former one stays in the
 *                                         key set or not
 */
#ifndef EMULATOR_MAA_H
#define EMULATOR_MAA_H

#include "emulator/context.h"

enum err maa_open(struct emulator *em, struct err_info *e) MUST_CHECK;
void maa_close(struct emulator *em);

bool maa_owns(const struct http_request *req);
/* Called without the lock: a vTPM may have to be made. */
void maa_handle(struct emulator *em, const struct http_request *req, struct http_response *resp);

/* "attestation" and "attestation/rotate" of /_emulator/; under the lock. False: no such call. */
bool maa_control(struct emulator *em, const char *what, const struct http_request *req,
                 struct http_response *resp);

#endif
