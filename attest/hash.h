/*
 * Digests. The algorithms are those of the PCR banks; each is fetched once for the process, since
 * OpenSSL 3.0 spends more on finding an algorithm than on hashing an event, and each thread keeps a context
 * for each. Thread-safe. Ends the process where OpenSSL lacks one of them.
 */
#ifndef ATTEST_HASH_H
#define ATTEST_HASH_H

#include "attest/wire.h"

#include <openssl/evp.h>

#define DIGEST_MAX 64

const EVP_MD *hash_md(enum pcr_bank alg);
/* The bank of a TPM_ALG_ID; BANK_COUNT where it is none of ours. */
enum pcr_bank hash_of_tpm_alg(uint16_t alg);
/* pcr_banks[alg].size bytes into out. */
void hash_digest(enum pcr_bank alg, struct bytes in, uint8_t *out);
/* One digest over the parts. */
void hash_parts(enum pcr_bank alg, const struct bytes *parts, size_t n, uint8_t *out);
bool hash_matches(enum pcr_bank alg, struct bytes in, struct bytes digest);

#endif
