/*
 * Digests. The algorithms are those of the PCR banks; each is fetched once for the process, since
 * OpenSSL 3.0 spends more on finding an algorithm than on hashing an event (facts of section 6).
 *
 * A hasher reuses one context for many digests; it belongs to one thread. The rest is thread-safe.
 */
#ifndef ATTEST_HASH_H
#define ATTEST_HASH_H

#include "attest/wire.h"

#include <openssl/evp.h>

#define DIGEST_MAX 64

struct hasher {
    EVP_MD_CTX *ctx;
    enum pcr_bank alg;
};

const EVP_MD *hash_md(enum pcr_bank alg);
/* The bank of a TPM_ALG_ID; BANK_COUNT where it is none of ours. */
enum pcr_bank hash_of_tpm_alg(uint16_t alg);
/* pcr_banks[alg].size bytes into out. */
void hash_digest(enum pcr_bank alg, struct bytes in, uint8_t *out);
bool hash_matches(enum pcr_bank alg, struct bytes in, struct bytes digest);

struct hasher hasher_new(enum pcr_bank alg);
/* One digest over the parts. */
void hasher_run(struct hasher *h, const struct bytes *parts, size_t n, uint8_t *out);
void hasher_free(struct hasher *h);

#endif
