#include "attest/hash.h"

#include <pthread.h>

const struct pcr_bank_info pcr_banks[BANK_COUNT] = {
    [BANK_SHA1] = {"sha1", 20, 0x0004},
    [BANK_SHA256] = {"sha256", 32, 0x000b},
    [BANK_SHA384] = {"sha384", 48, 0x000c},
    [BANK_SHA512] = {"sha512", 64, 0x000d},
};

static EVP_MD *fetched[BANK_COUNT];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fetch(void)
{
    for (int i = 0; i < BANK_COUNT; i++) {
        fetched[i] = EVP_MD_fetch(NULL, pcr_banks[i].name, NULL);
        if (!fetched[i])
            abort();
    }
}

const EVP_MD *hash_md(enum pcr_bank alg)
{
    pthread_once(&once, fetch);
    return fetched[alg];
}

enum pcr_bank hash_of_tpm_alg(uint16_t alg)
{
    for (int i = 0; i < BANK_COUNT; i++)
        if (pcr_banks[i].alg == alg)
            return (enum pcr_bank)i;
    return BANK_COUNT;
}

struct hasher hasher_new(enum pcr_bank alg)
{
    struct hasher h = {EVP_MD_CTX_new(), alg};
    if (!h.ctx)
        abort();
    return h;
}

void hasher_run(struct hasher *h, const struct bytes *parts, size_t n, uint8_t *out)
{
    if (EVP_DigestInit_ex(h->ctx, hash_md(h->alg), NULL) != 1)
        abort();
    for (size_t i = 0; i < n; i++)
        if (EVP_DigestUpdate(h->ctx, parts[i].data, parts[i].len) != 1)
            abort();
    if (EVP_DigestFinal_ex(h->ctx, out, NULL) != 1)
        abort();
}

void hasher_free(struct hasher *h)
{
    EVP_MD_CTX_free(h->ctx);
    h->ctx = NULL;
}

void hash_digest(enum pcr_bank alg, struct bytes in, uint8_t *out)
{
    struct hasher h = hasher_new(alg);
    hasher_run(&h, &in, 1, out);
    hasher_free(&h);
}

bool hash_matches(enum pcr_bank alg, struct bytes in, struct bytes digest)
{
    uint8_t out[DIGEST_MAX];
    hash_digest(alg, in, out);
    return bytes_equal(BYTES(out, pcr_banks[alg].size), digest);
}
