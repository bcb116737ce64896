/*
 * The instance metadata service, on plain HTTP: instance data, userData and managed identity tokens.
 * One listener speaks for every VM: header X-Vm-Id names the VM that asks; with exactly one VM it may
 * be left out.
 */
#ifndef EMULATOR_IMDS_H
#define EMULATOR_IMDS_H

#include "emulator/context.h"

void imds_handle(struct emulator *em, const struct http_request *req, struct http_response *resp);

#endif
