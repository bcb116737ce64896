/*
 * azure-emulator: Azure Resource Manager, Entra ID and IMDS on loopback, for development and tests.
 *
 * One process with two listeners: HTTPS (ARM, Entra ID, /_emulator) with a certificate of its own
 * development CA, and plain HTTP for IMDS, as it is on Azure. It follows ARM's real rules: statuses,
 * headers, error bodies, long-running operations, throttles (what is modelled: docs/emulator.md).
 *
 * Files of the state directory that clients read:
 *     ca.pem           the development CA; curl --cacert, NODE_EXTRA_CA_CERTS, arm.ca_file
 *     endpoints.json   {"arm":"https://127.0.0.1:P","imds":"http://127.0.0.1:P"} of the present run
 *     client.json      {"tenantId","clientId","clientSecret"} (0600)
 *     federated-token  a workload identity's token, as AZURE_FEDERATED_TOKEN_FILE names it: a JWT of
 *                      the trusted issuer, good for a day, written anew at every start (0600)
 *     federated.json   {"issuer","subject","audience"} that the federated credential trusts
 *     federated.key    the issuer's RSA key (PEM, 0600), to sign other assertions
 *     trust/           the vTPMs' certificates (emulator/vtpm.h)
 * Its own: state.journal, requests.jsonl, *.key, server.pem, vtpm/.
 *
 * Resources, operations, settings, faults and the request log survive a restart.
 */
#ifndef EMULATOR_EMULATOR_H
#define EMULATOR_EMULATOR_H

#include "core/clock.h"
#include "core/err.h"

#define EMULATOR_TENANT       "00000000-0000-0000-0000-00000000000a"
#define EMULATOR_SUBSCRIPTION "00000000-0000-0000-0000-000000000001"

struct emulator_options {
    const char *listen;               /* "127.0.0.1:PORT"; loopback only; port 0 takes a free one */
    const char *imds_listen;          /* the same, for IMDS */
    const char *state_dir;            /* made where it does not exist */
    const char *const *subscriptions; /* beside EMULATOR_SUBSCRIPTION, which always exists */
    size_t n_subscriptions;
    double
        time_scale; /* factor on every wait: 0.1 makes operations ten times as fast; 0: as stored */
    const struct clock *clock; /* NULL: the system's */
};

struct emulator;

/* Opens the state, manufactures what is missing and serves on threads of its own. The caller stops.
 * ERR_CONFIG where an address, the directory or an option cannot be used. */
enum err emulator_start(const struct emulator_options *o, struct emulator **out,
                        struct err_info *e) MUST_CHECK;
/* Answers what is under way, stops the listeners and the vTPMs, frees. NULL is fine. */
void emulator_stop(struct emulator *em);

/* "https://127.0.0.1:PORT" and "http://127.0.0.1:PORT"; live as long as the emulator. */
const char *emulator_arm_url(const struct emulator *em);
const char *emulator_imds_url(const struct emulator *em);

#endif
