/* The keyring's file: what is opened has a key for every purpose, and what one key seals it opens again. */
#include "core/keyring.h"
#include "tests/fuzz/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const struct keyring *k, struct arena *a)
{
    const struct bytes text = BYTES_STR("text"), context = BYTES_STR("context");
    uint8_t mac[KEYRING_MAC_SIZE];
    struct keyring_signer signer;
    struct bytes clear;
    for (int p = 0; p < KEY_RESULTS; p++)
        check(keyring_mac(k, (enum key_purpose)p, keyring_current(k, (enum key_purpose)p), &text, 1,
                          mac));
    check(keyring_signers(k, &signer, 1) == 1 && signer.key && !signer.retired_at);
    struct bytes sealed = keyring_seal(k, a, text, context);
    check(keyring_open_sealed(k, a, sealed, context, &clear, NULL) == OK &&
          bytes_equal(clear, text));
    check(keyring_open_sealed(k, a, sealed, text, &clear, NULL) != OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new();
    struct keyring *k = NULL;
    struct err_info e = {0};
    char path[FUZZ_PATH_SIZE];
    int fd = file_of(data, size, path);
    if (keyring_open(path, &k, &e) == OK)
        use(k, a);
    else
        check(e.code == ERR_CONFIG && e.detail[0]);
    keyring_free(k);
    close(fd);
    arena_free(a);
    return 0;
}
