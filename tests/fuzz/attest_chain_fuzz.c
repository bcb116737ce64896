/*
 * An AK certificate and the chain beside it, judged under an anchor of the tests: a byte for the profile,
 * then each certificate with its size in two bytes. What was verified before must not change a verdict.
 */
#include "attest/trust.h"

#include <openssl/err.h>

#define NOW INT64_C(1780000000000) /* the seeds are valid then */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct attest_trust *open_trust(void)
{
    const char *anchor = "tests/fuzz/chain-anchor.pem";
    const struct attest_trust_options o = {.anchors = &anchor, .n_anchors = 1};
    struct attest_trust *t = NULL;
    struct err_info e;
    if (attest_trust_open(&o, &t, &e))
        abort();
    return t;
}

static void judge(const struct attest_input *in, struct bytes der, struct arena *a,
                  struct attest_result *r)
{
    const char *why = NULL;
    struct ak_cert *cert = trust_parse(in, der, &why);
    result_init(r);
    if (cert)
        (void)trust_by_chain(in, cert, a, r);
    else if (!why)
        abort();
    akcert_release(cert);
}

static void compare(const struct attest_result *cold, const struct attest_result *warm)
{
    if (cold->n_findings != warm->n_findings)
        abort();
    for (size_t i = 0; i < cold->n_findings; i++)
        if (cold->findings[i].status != warm->findings[i].status ||
            cold->findings[i].reason != warm->findings[i].reason)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cursor c = cursor_of(BYTES(data, size));
    struct evidence ev = {0};
    uint8_t profile = cursor_u8(&c);
    struct bytes leaf = cursor_take(&c, cursor_u16be(&c));
    while (!c.bad && c.left && ev.n_chain < EVIDENCE_CHAIN_MAX) {
        struct bytes der = cursor_take(&c, cursor_u16be(&c));
        if (!c.bad)
            ev.chain[ev.n_chain++] = der;
    }
    struct arena *a = arena_new();
    struct attest_trust *trust = open_trust();
    const struct attest_input in = {
        .evidence = &ev, .trust = trust, .now = NOW, .profile = (enum attest_profile)(profile % 3)};
    struct attest_result cold, warm;
    judge(&in, leaf, a, &cold);
    judge(&in, leaf, a, &warm);
    compare(&cold, &warm);
    attest_trust_free(trust);
    arena_free(a);
    ERR_clear_error();
    return 0;
}
