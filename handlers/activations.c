/* POST /v1/attestation/activations: a credential that only one TPM can open. */
#include "handlers/activation.h"
#include "handlers/attestation.h"
#include "handlers/routes.h"

#include "attest/ak.h"
#include "attest/ekcert.h"
#include "attest/reasons.h"
#include "core/clock.h"
#include "openapi/schemas.h"

static enum err bad(struct call *c, const char *pointer, const char *reason)
{
    const struct attest_reason *known = attest_reason_find(reason);
    return err_add_field(&c->err, pointer, "%s: %s", reason, known ? known->text : "");
}

static bool decode(struct call *c, const char *pointer, const char *text, struct bytes *out)
{
    size_t n = 0, len = strlen(text);
    uint8_t *raw = arena_alloc(c->arena, len / 4 * 3 + 3);
    if (!base64_decode(text, len, raw, &n) || n == 0 || n > EVIDENCE_CERT_MAX) {
        err_add_field(&c->err, pointer, "is not canonical base64 of at most 8 KiB");
        return false;
    }
    *out = BYTES(raw, n);
    return true;
}

/* The AK's Name and SPKI, from its public area. */
static enum err read_ak(struct call *c, struct bytes public_area, struct activation *x)
{
    struct tpm_public public;
    struct ak_key key;
    uint8_t name[AK_NAME_MAX];
    const char *why = tpm_parse_public(public_area, &public);
    if (!why)
        why = ak_key_of_public(&public, &key);
    if (!why && tpm_name(&public, name) != sizeof x->ak_name)
        why = "the nameAlg is not SHA-256";
    if (why)
        return err_add_field(&c->err, "#/akPublic", "%s", why);
    memcpy(x->ak_name, name, sizeof x->ak_name);
    ak_key_spki_sha256(&key, x->ak_spki);
    return OK;
}

static enum err read_chain(struct call *c, const struct activation_request *body,
                           struct bytes chain[EVIDENCE_CHAIN_MAX])
{
    for (size_t i = 0; i < body->ek_chain.n && i < EVIDENCE_CHAIN_MAX; i++)
        if (!decode(c, "#/ekChain", body->ek_chain.items[i], &chain[i]))
            return c->err.code;
    return OK;
}

static int reply(struct call *c, const char *id, const struct activation *x,
                 const struct credential *made)
{
    struct jw *w = call_json(c);
    jw_open(w, '{');
    jw_key_str(w, "activationId", id);
    jw_key(w, "credentialBlob");
    jw_base64(w, made->blob);
    jw_key(w, "encryptedSecret");
    jw_base64(w, made->secret);
    jw_key_time(w, "expiresAt", x->expires_at);
    jw_close(w, '}');
    c->ops->reply_header(c, "Cache-Control", "no-store");
    return 201;
}

int create_activation(struct call *c)
{
    const struct activation_request *body = c->body;
    struct activation x = {.expires_at = c->now + c->app->challenge_ttl_ms};
    struct bytes certificate, public_area, chain[EVIDENCE_CHAIN_MAX];
    struct ek_cert ek;
    struct credential made;
    if (attestation_admit_peer(c) ||
        !decode(c, "#/ekCertificate", body->ek_certificate, &certificate) ||
        !decode(c, "#/akPublic", body->ak_public, &public_area) || read_chain(c, body, chain) ||
        read_ak(c, public_area, &x))
        return call_fail(c);
    const char *why =
        ek_cert_verify(c->app->ek_anchors, certificate, chain, body->ek_chain.n, c->now, &ek);
    if (why) {
        bad(c, "#/ekCertificate", why);
        return call_fail(c);
    }
    memcpy(x.ek_spki, ek.spki_sha256, sizeof x.ek_spki);
    x.names_vm = ek_cert_names(&ek, body->vm_id);
    random_bytes(x.secret, sizeof x.secret);
    bool good = credential_make(ek.key, BYTES_OF(x.ak_name), x.secret, c->arena, &made);
    ek_cert_free(&ek);
    if (!good) {
        bad(c, "#/ekCertificate", "ek_key");
        return call_fail(c);
    }
    return reply(c, activation_seal(c->app->keyring, c->arena, body->vm_id, &x), &x, &made);
}
