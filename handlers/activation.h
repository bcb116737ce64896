/*
 * Activations: credentials for an AK that only the TPM with a certified EK can open. What is needed
 * when the secret comes back is sealed into the id (KEY_SEAL), so making one writes nothing; a used one
 * is remembered like a challenge. Any thread.
 */
#ifndef HANDLERS_ACTIVATION_H
#define HANDLERS_ACTIVATION_H

#include "attest/attest.h"
#include "core/keyring.h"
#include "handlers/credential.h"

struct activation {
    int64_t expires_at; /* ms since 1970 */
    bool names_vm;      /* the EK's certificate was issued for this vmId: it proves the VM, too */
    uint8_t ek_spki[32];
    uint8_t ak_spki[32];
    uint8_t ak_name[34]; /* TPM Name with nameAlg SHA-256 */
    uint8_t secret[CREDENTIAL_SECRET];
};

/* The id, in the arena. It opens for this vmId only. */
const char *activation_seal(const struct keyring *k, struct arena *a, const char *vm_id,
                            const struct activation *in);
/*
 * The activation that a report brings back; NULL where the id is this keyring's for the vmId (its key was not
 * replaced yet when it was made, ttl_ms before it expires), in time, the secret is the one in it, and the
 * evidence shows the very AK. Else the reason.
 */
const char *activation_check(const struct keyring *k, struct arena *a, const struct evidence *ev,
                             int64_t ttl_ms, int64_t now, struct activation *out);

#endif
