/*
 * A token of Azure Attestation for the report. Getting one is a protocol of its own between Microsoft's
 * guest attestation client and the provider; so a program does it, which the VM's owner installs: it is
 * run with the challenge's nonce (base64) as its one argument and prints the token.
 *
 *     #!/bin/sh
 *     exec AttestationClient -a https://sharedweu.weu.attest.azure.net -n "$1" -o token
 *
 * One thread.
 */
#ifndef GUEST_MAA_H
#define GUEST_MAA_H

#include "attest/wire.h"

#define GUEST_MAA_MS 60000

/*
 * Runs the program, for at most GUEST_MAA_MS, and takes what it prints, without the blanks around it.
 * `stop` is asked several times a second; true ends it. ERR_UNAVAILABLE where it fails, takes too long
 * or prints no token, ERR_CANCELED where it was stopped.
 */
enum err guest_maa_token(const char *program, struct bytes nonce, bool (*stop)(void),
                         struct arena *a, struct bytes *out, struct err_info *e) MUST_CHECK;

#endif
