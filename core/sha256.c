#include "core/sha256.h"

#include <openssl/evp.h>
#include <pthread.h>

static EVP_MD *algorithm;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fetch(void)
{
    algorithm = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (!algorithm)
        abort();
}

void sha256(struct bytes in, uint8_t out[SHA256_SIZE])
{
    pthread_once(&once, fetch);
    if (EVP_Digest(in.data, in.len, out, NULL, algorithm, NULL) != 1)
        abort();
}
