/*
 * A token of Azure Attestation. Whole, as it is sent; and, since no input guesses a signature, its
 * payload alone through the rules that come after the signature, which only this file can reach: it
 * brings attest/maa.c itself along.
 */
#include "attest/maa.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MODULUS_TEXT 342 /* 2048 bits in base64url */

static struct jwks *key_set(void)
{
    struct jwks *set = NULL;
    struct buf text = {0};
    buf_add_str(&text, "{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"k\",\"e\":\"AQAB\",\"n\":\"");
    for (int i = 1; i < MODULUS_TEXT; i++)
        buf_add_char(&text, 'z');
    buf_add_str(&text, "w\"}]}");
    if (jwks_parse(buf_bytes(&text), &set, NULL) || jwks_usable(set) != 1)
        abort();
    buf_free(&text);
    return set;
}

static struct maa_provider provider = {.issuer = "https://p.attest.azure.net"};

static void judge_whole(const struct attest_input *in, struct bytes token, struct arena *a,
                        struct attest_result *r)
{
    const struct evidence ev = {.vm_id = in->evidence->vm_id, .maa_token = token};
    struct attest_input own = *in;
    own.evidence = &ev;
    if (attest_verify_token(&own, a, r, NULL) == OK && r->verdict == VERDICT_TRUSTED)
        abort(); /* nobody has the key */
}

static void judge_claims(const struct attest_input *in, struct bytes payload, struct arena *a,
                         struct attest_result *r)
{
    AUTO(json) json_t *claims = NULL;
    if (!utf8_valid(payload) || json_parse(payload, &claims, NULL) || !json_is_object(claims))
        return;
    const struct jwt token = {.compact = true, .payload = claims};
    struct judging j = {.in = in, .token = &token, .arena = a, .r = r};
    struct maa_claims out = {0};
    struct buf text = {0};
    struct jw w = jw_over(&text);
    check_claims(&j, &out);
    if (!j.failed && jwt_text(claims, "iss")) {
        keep(&j, &out);
        jw_open(&w, '{');
        maa_write_claims(&w, &out);
        jw_close(&w, '}');
    }
    buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct jwks *keys;
    static const uint8_t nonce[] = "ADE0101";
    struct attest_result r;
    if (!keys)
        keys = key_set();
    provider.keys = keys;
    if (size == 0)
        return 0;
    const struct maa_trust trust = {.providers = &provider, .n_providers = 1};
    const struct evidence ev = {.vm_id = "70f5ce9a-2bdc-4b6b-8401-e9b964d3aeb7"};
    const struct attest_input in = {.evidence = &ev,
                                    .nonce = BYTES(nonce, sizeof nonce - 1),
                                    .now = 1780000000000,
                                    .profile = (enum attest_profile)(data[0] % 3),
                                    .maa = &trust};
    struct arena *a = arena_new();
    result_init(&r);
    if (data[0] & 4)
        judge_whole(&in, BYTES(data + 1, size - 1), a, &r);
    else
        judge_claims(&in, BYTES(data + 1, size - 1), a, &r);
    arena_free(a);
    return 0;
}
