/*
 * What the agent reads from others: the first byte chooses IMDS's document or the gateway's challenge.
 * Whatever comes, what is taken for good can be used.
 */
#include "guest/gateway.h"
#include "guest/imds.h"

#include "core/clock.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void read_imds(struct bytes document, struct arena *a)
{
    struct guest_identity id;
    if (guest_imds_parse(document, a, &id, NULL) != OK)
        return;
    check(uuid_valid(id.vm_id));
    check(!id.token.text || strlen(id.token.text) == id.token.len);
}

static void read_challenge(struct bytes body, struct arena *a)
{
    struct guest_challenge c;
    if (guest_challenge_parse(body, a, &c, NULL) != OK)
        return;
    check(c.id && c.nonce.len > 0 && c.nonce.len <= 96);
    check(c.pcrs && c.pcrs >> EVIDENCE_PCRS == 0);
    check((unsigned)c.bank < BANK_COUNT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    struct arena *a = arena_new();
    struct bytes rest = BYTES(data + 1, size - 1);
    if (data[0] == 'i')
        read_imds(rest, a);
    else
        read_challenge(rest, a);
    arena_free(a);
    return 0;
}
