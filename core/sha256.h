/*
 * SHA-256 of one piece of memory. OpenSSL's own one-call functions look the algorithm up by name each
 * time, which costs more than hashing a token does; here it is looked up once, and each thread keeps its
 * context. Thread-safe. Ends the
 * process where OpenSSL has no SHA-256.
 */
#ifndef CORE_SHA256_H
#define CORE_SHA256_H

#include "core/bytes.h"

#define SHA256_SIZE 32

void sha256(struct bytes in, uint8_t out[SHA256_SIZE]);
/* Of the parts, one after the other. */
void sha256_parts(const struct bytes *parts, size_t n, uint8_t out[SHA256_SIZE]);

#endif
