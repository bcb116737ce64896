#include "core/sha256.h"

#include <openssl/evp.h>
#include <pthread.h>

static EVP_MD *algorithm;
static pthread_key_t context;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void free_context(void *ctx)
{
    EVP_MD_CTX_free(ctx);
}

static void fetch(void)
{
    algorithm = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (!algorithm || pthread_key_create(&context, free_context) != 0)
        abort();
}

/* Each thread keeps one: making it costs more than a short digest. */
static EVP_MD_CTX *own_context(void)
{
    static _Thread_local EVP_MD_CTX *own;
    if (own)
        return own;
    pthread_once(&once, fetch);
    own = EVP_MD_CTX_new();
    if (!own)
        abort();
    pthread_setspecific(context, own);
    return own;
}

void sha256_parts(const struct bytes *parts, size_t n, uint8_t out[SHA256_SIZE])
{
    EVP_MD_CTX *ctx = own_context();
    bool ok = EVP_DigestInit_ex2(ctx, algorithm, NULL) == 1;
    for (size_t i = 0; i < n; i++)
        ok = ok && EVP_DigestUpdate(ctx, parts[i].data, parts[i].len) == 1;
    if (!ok || EVP_DigestFinal_ex(ctx, out, NULL) != 1)
        abort();
}

void sha256(struct bytes in, uint8_t out[SHA256_SIZE])
{
    sha256_parts(&in, 1, out);
}
