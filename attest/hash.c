#include "attest/hash.h"

#include <pthread.h>

const char *const pcr_names[EVIDENCE_PCRS] = {"0",  "1",  "2",  "3",  "4",  "5",  "6",  "7",
                                              "8",  "9",  "10", "11", "12", "13", "14", "15",
                                              "16", "17", "18", "19", "20", "21", "22", "23"};

const struct pcr_bank_info pcr_banks[BANK_COUNT] = {
    [BANK_SHA1] = {"sha1", 20, 0x0004},
    [BANK_SHA256] = {"sha256", 32, 0x000b},
    [BANK_SHA384] = {"sha384", 48, 0x000c},
    [BANK_SHA512] = {"sha512", 64, 0x000d},
};

static EVP_MD *fetched[BANK_COUNT];
static pthread_key_t of_thread;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Each thread keeps its own: making one costs more than a short digest. A digest is begun and ended in
 * hash_parts, so that nothing is ever in them between calls. */
struct contexts {
    EVP_MD_CTX *of[BANK_COUNT];
};

static void free_contexts(void *own)
{
    struct contexts *c = own;
    for (int i = 0; i < BANK_COUNT; i++)
        EVP_MD_CTX_free(c->of[i]);
    free(c);
}

static void fetch(void)
{
    if (pthread_key_create(&of_thread, free_contexts) != 0)
        abort();
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

static struct contexts *make_contexts(void)
{
    pthread_once(&once, fetch);
    struct contexts *c = calloc(1, sizeof *c);
    if (!c || pthread_setspecific(of_thread, c) != 0)
        abort();
    return c;
}

static EVP_MD_CTX *context_of(enum pcr_bank alg)
{
    static _Thread_local struct contexts *own;
    if (!own)
        own = make_contexts();
    if (!own->of[alg] && !(own->of[alg] = EVP_MD_CTX_new()))
        abort();
    return own->of[alg];
}

void hash_parts(enum pcr_bank alg, const struct bytes *parts, size_t n, uint8_t *out)
{
    EVP_MD_CTX *ctx = context_of(alg);
    bool ok = EVP_DigestInit_ex2(ctx, fetched[alg], NULL) == 1;
    for (size_t i = 0; i < n; i++)
        ok = ok && EVP_DigestUpdate(ctx, parts[i].data, parts[i].len) == 1;
    if (!ok || EVP_DigestFinal_ex(ctx, out, NULL) != 1)
        abort();
}

void hash_digest(enum pcr_bank alg, struct bytes in, uint8_t *out)
{
    hash_parts(alg, &in, 1, out);
}

bool hash_matches(enum pcr_bank alg, struct bytes in, struct bytes digest)
{
    uint8_t out[DIGEST_MAX];
    hash_digest(alg, in, out);
    return bytes_equal(BYTES(out, pcr_banks[alg].size), digest);
}
