/*
 * TPM 2.0 structures as they come off the wire (TPM 2.0 Part 2, big-endian), read through the
 * bounds-checked cursor: views into the input, nothing allocated, nothing trusted.
 *
 * These parsers say "well-formed or not"; whether a value is acceptable is quote.c's and ak.c's.
 */
#ifndef ATTEST_TPM_H
#define ATTEST_TPM_H

#include "attest/wire.h"

#include <tss2/tss2_tpm2_types.h>

/* TPMT_PUBLIC of a signing key, RSA or ECC (Part 2, 12.2.4). */
struct tpm_public {
    struct bytes area; /* the TPMT_PUBLIC without a TPM2B size */
    uint16_t type;     /* TPM2_ALG_RSA, TPM2_ALG_ECC */
    uint16_t name_alg;
    uint32_t attributes;
    struct bytes auth_policy;
    uint16_t scheme; /* TPM2_ALG_NULL: any */
    uint16_t scheme_hash;
    uint16_t bits;     /* RSA */
    uint32_t exponent; /* RSA; never 0: the default 65537 is filled in */
    struct bytes modulus;
    uint16_t curve; /* ECC */
    struct bytes x, y;
};

/* Accepts TPMT_PUBLIC and TPM2B_PUBLIC. NULL, or why it is not well-formed. */
const char *tpm_parse_public(struct bytes in, struct tpm_public *out);

/* TPM Name: nameAlg and digest of the area (Part 1, 16). Returns its length; 0: unknown nameAlg. */
size_t tpm_name(const struct tpm_public *p, uint8_t out[66]);
/* Qualified Name of a primary key of the endorsement hierarchy (Part 1, 16.3): nameAlg and digest of the
 * hierarchy's handle and the Name, which tpm_name gave. As long as the Name. */
void tpm_qualified_name(const struct tpm_public *p, const uint8_t name[66], uint8_t out[66]);

struct tpm_selection {
    uint16_t alg;
    struct bytes bits;
};

struct tpm_attest {
    struct bytes message; /* the TPMS_ATTEST itself: what is signed */
    uint32_t magic;
    uint16_t type;
    struct bytes qualified_signer;
    struct bytes extra_data;
    uint64_t clock;
    uint32_t reset_count;
    uint32_t restart_count;
    bool safe;
    uint64_t firmware_version;
    /* TPMS_QUOTE_INFO; only where type is TPM2_ST_ATTEST_QUOTE */
    size_t n_selections;
    struct tpm_selection selections[TPM2_NUM_PCR_BANKS];
    struct bytes pcr_digest;
};

/* Accepts TPMS_ATTEST and TPM2B_ATTEST. NULL, or why it is not well-formed. */
const char *tpm_parse_attest(struct bytes in, struct tpm_attest *out);

struct tpm_signature {
    uint16_t alg; /* RSASSA, RSAPSS, ECDSA */
    uint16_t hash;
    struct bytes rsa;
    struct bytes r, s;
};

/* TPMT_SIGNATURE. NULL, or why it is not well-formed. */
const char *tpm_parse_signature(struct bytes in, struct tpm_signature *out);

#endif
