/*
 * Compute's catalogues: VM sizes (skus) and marketplace images.
 */
#ifndef EMULATOR_CATALOGUE_H
#define EMULATOR_CATALOGUE_H

#include "emulator/arm.h"

struct catalogue_size {
    const char *name; /* "Standard_D2s_v5" */
    const char *family;
    int vcpus;
    const char *memory_gb;
    const char *generations;      /* "V1,V2" */
    const char *architecture;     /* "x64" or "Arm64" */
    bool trusted_launch_disabled; /* capability TrustedLaunchDisabled */
    const char *not_in;           /* region that does not have it, or NULL */
    const char *not_available_in; /* region where the subscription may not use it, or NULL */
    bool confidential;            /* ConfidentialComputingType SNP */
    bool premium_io;
};

struct catalogue_image {
    const char *publisher, *offer, *sku;
    const char *versions;   /* "22.04.1,22.04.2", oldest first */
    const char *generation; /* "V1" or "V2" */
    const char *architecture;
    const char *security_type; /* feature SecurityType, or NULL */
    const char *os;            /* "Linux" or "Windows" */
};

const struct catalogue_size *catalogue_find_size(const char *name);
/* The image, with `version` ("latest" resolves) written to `exact` where it exists. */
const struct catalogue_image *catalogue_find_image(const char *publisher, const char *offer,
                                                   const char *sku, const char *version,
                                                   char exact[32]);
/* GET .../skus and .../locations/{l}/publishers/...; false where it is neither. */
bool catalogue_handle(struct arm_call *c);

#endif
