/*
 * What the agent reads from others: the first byte chooses IMDS's instance ('i') or attested document
 * ('d'), the gateway's credential ('a'), the PEM file of issuers ('p') or the gateway's challenge.
 * Whatever comes, what is taken for good can be used.
 */
#include "guest/credential.h"
#include "guest/files.h"
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

static void read_document(struct bytes answer, struct arena *a)
{
    struct bytes der = {0};
    if (guest_imds_document_parse(answer, a, &der, NULL) == OK)
        check(der.data && der.len <= EVIDENCE_DOCUMENT_MAX);
}

static void read_credential(struct bytes body, struct arena *a)
{
    struct guest_credential c = {0};
    struct guest_tpm_credential parts;
    if (guest_credential_parse(body, a, &c, NULL))
        return;
    check(c.id && c.blob.len > 0 && c.blob.len <= 2048 && c.secret.len > 0 && c.secret.len <= 2048);
    if (guest_credential_read(c.blob, c.secret, &parts))
        check(parts.blob.size + 2u == c.blob.len && parts.secret.size + 2u == c.secret.len &&
              parts.blob.size <= sizeof parts.blob.credential &&
              parts.secret.size <= sizeof parts.secret.secret);
}

static void read_chain(struct bytes pem, struct arena *a)
{
    struct evidence ev = {0};
    guest_chain_parse(pem, a, &ev);
    check(ev.n_chain <= EVIDENCE_CHAIN_MAX);
    for (size_t i = 0; i < ev.n_chain; i++)
        check(ev.chain[i].len <= EVIDENCE_CERT_MAX);
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
    else if (data[0] == 'd')
        read_document(rest, a);
    else if (data[0] == 'a')
        read_credential(rest, a);
    else if (data[0] == 'p')
        read_chain(rest, a);
    else
        read_challenge(rest, a);
    arena_free(a);
    return 0;
}
