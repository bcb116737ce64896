/*
 * What the emulator's parts share. One lock guards everything that changes (state, buckets,
 * settings, the log file); it is held while a request is worked on, never while a vTPM is made or a
 * delayed answer sleeps.
 */
#ifndef EMULATOR_CONTEXT_H
#define EMULATOR_CONTEXT_H

#include "core/clock.h"
#include "emulator/emulator.h"
#include "emulator/http.h"
#include "emulator/keys.h"
#include "emulator/state.h"
#include "emulator/throttle.h"
#include "emulator/vtpm.h"

#include <pthread.h>

struct settings {
    double lro_seconds; /* least duration of an operation; each takes up to twice as long */
    int64_t retry_after;
    struct bucket_size write_bucket;
    struct bucket_size read_bucket;
    int64_t token_ttl;
    double time_scale;
    bool compute_throttling; /* Compute's own buckets beside ARM's */
};

/* Ids of the directory, made at the first start. */
struct directory {
    char client_id[UUID_SIZE];
    char client_oid[UUID_SIZE]; /* the service principal; Contributor of every subscription */
    char client_secret[64];
    char
        identity_client_id[UUID_SIZE]; /* managed identity of the machine the emulator plays host */
    char identity_oid[UUID_SIZE];      /* the same role */
};

struct maa_key {
    EVP_PKEY *pkey;
    char kid[48];
};

/* The attestation provider (maa.h). */
struct maa {
    struct maa_key key;
    struct maa_key former; /* pkey NULL: none is published */
    json_t *claims;        /* what tests want to be different */
    bool bare_keys;        /* n and e in the key set instead of x5c */
};

struct emulator {
    char dir[4096];
    const struct clock *clock;
    struct keys keys;
    struct directory directory;
    struct state *state;
    struct throttle *throttle;
    struct vtpm_host *tpms;
    struct settings settings;
    struct maa maa;
    json_t *refs; /* lower-case target id -> {referring resource's id: id of the referring part} */
    json_t *promises; /* what was told to wait -> until when (mono ms) */
    json_t *pending;  /* guid of an operation under way -> due (ms) */
    FILE *request_log;
    pthread_mutex_t lock;
    struct http_listener *arm;
    struct http_listener *imds;
    char arm_url[64];
    char imds_url[64];
};

#define FEDERATED_ISSUER   "https://issuer.azure-emulator.test/"
#define FEDERATED_SUBJECT  "system:serviceaccount:tlgate:gateway"
#define FEDERATED_AUDIENCE "api://AzureADTokenExchange"

#endif
