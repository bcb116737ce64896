/* What `tlgate trust fetch` downloads: the first byte says what it is taken for. */
#include "attest/issuers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use_certificates(struct attest_trust *t, struct bytes body, struct arena *a)
{
    struct bytes der[ISSUERS_MAX];
    const char *urls[ISSUERS_URLS_MAX];
    size_t n = issuers_extract(body, a, der);
    const struct issuer *judged = issuers_judge(t, der, n, INT64_C(1780000000000), a);
    for (size_t i = 0; i < n; i++) {
        if (!judged[i].problem)
            abort(); /* the trust has no anchor */
        (void)issuers_urls(der[i], ISSUER_URL_CERTIFICATE, a, urls);
        (void)issuers_urls(der[i], ISSUER_URL_CRL, a, urls);
    }
}

static void use_crl(struct bytes body, struct arena *a)
{
    struct bytes der;
    size_t at = 0;
    const struct issuer none = {0};
    if (!issuers_judge_crl(NULL, body, &none, 1, INT64_C(1780000000000), a, &der, &at))
        abort(); /* no issuer is there to have signed it */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct attest_trust *trust;
    const struct attest_trust_options o = {0};
    struct err_info e;
    if (size == 0)
        return 0;
    if (!trust && attest_trust_open(&o, &trust, &e))
        abort();
    struct arena *a = arena_new();
    if (data[0] % 2)
        use_crl(BYTES(data + 1, size - 1), a);
    else
        use_certificates(trust, BYTES(data + 1, size - 1), a);
    arena_free(a);
    return 0;
}
