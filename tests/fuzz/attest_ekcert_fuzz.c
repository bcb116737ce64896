/*
 * An endorsement key's certificate and the chain beside it, judged under an anchor of the tests: each
 * certificate with its size in two bytes before it.
 */
#include "attest/akcert.h"
#include "attest/ekcert.h"

#include <assert.h>
#include <openssl/err.h>

#define NOW INT64_C(1795000000000) /* the seeds are valid then */
#define VM  "11111111-2222-4333-8444-555555555555"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct attest_anchors *anchors(void)
{
    static struct attest_anchors *opened;
    static const char *const file = "tests/fuzz/ek-anchor.pem";
    const struct attest_anchors_options o = {.files = &file, .n_files = 1};
    struct err_info e;
    if (!opened && attest_anchors_open(&o, &opened, &e))
        abort();
    return opened;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cursor c = cursor_of(BYTES(data, size));
    struct bytes leaf = cursor_take(&c, cursor_u16be(&c)), chain[EVIDENCE_CHAIN_MAX];
    struct ek_cert ek;
    size_t n = 0;
    while (!c.bad && c.left && n < EVIDENCE_CHAIN_MAX) {
        chain[n] = cursor_take(&c, cursor_u16be(&c));
        n += !c.bad;
    }
    const char *why = ek_cert_verify(anchors(), leaf, chain, n, NOW, &ek);
    if (why) {
        assert(!ek.x509 && !ek.key);
    } else {
        assert(ek.key);
        (void)ek_cert_names(&ek, VM);
    }
    ek_cert_free(&ek);
    /* What no path leads to is read all the same. */
    ek.x509 = x509_parse(leaf);
    if (ek.x509)
        (void)ek_cert_names(&ek, VM);
    ek_cert_free(&ek);
    ERR_clear_error();
    return 0;
}
