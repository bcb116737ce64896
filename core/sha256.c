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

void sha256(struct bytes in, uint8_t out[SHA256_SIZE])
{
    EVP_MD_CTX *ctx = own_context();
    if (EVP_DigestInit_ex2(ctx, algorithm, NULL) != 1 ||
        EVP_DigestUpdate(ctx, in.data, in.len) != 1 || EVP_DigestFinal_ex(ctx, out, NULL) != 1)
        abort();
}
