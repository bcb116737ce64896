/*
 * Values as a person reads them, for the `expected` and `found` of a finding. Everything is static or
 * in the arena.
 */
#ifndef ATTEST_WORDS_H
#define ATTEST_WORDS_H

#include "attest/akcert.h"
#include "attest/tpm.h"

/* Lower-case hex; "nothing" where it is empty. */
const char *words_hex(struct arena *a, struct bytes b);
/* "0-4, 7"; "no PCR" where it is empty. */
const char *words_pcrs(struct arena *a, uint32_t mask);
/* TPM_ALG_ID of a hash or a signing scheme: "SHA-256", "RSASSA"; hex where it is none. */
const char *words_alg(struct arena *a, uint16_t alg);
/* "RSASSA with SHA-256". */
const char *words_scheme(struct arena *a, uint16_t scheme, uint16_t hash);
/* The names of the TPMA_OBJECT bits that are set (TPM 2.0 Part 2, 8.3). */
const char *words_attributes(struct arena *a, uint32_t bits);
/* "RSA 2048", "RSA 2048, e = 3", "P-256". */
const char *words_key(struct arena *a, const struct ak_key *k);
/* SHA-256 of the SubjectPublicKeyInfo, as pins have it. */
const char *words_spki(struct arena *a, const struct ak_key *k);
/* RFC 3339. */
const char *words_time(struct arena *a, int64_t ms);
/* RFC 2253, with what is not ASCII escaped. */
const char *words_name(struct arena *a, const X509_NAME *name);

#endif
