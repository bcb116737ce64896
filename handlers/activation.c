#include "handlers/activation.h"

#include "attest/tpm.h"

#include <openssl/crypto.h>

#define VERSION 1
#define RAW     (1 + 8 + 1 + 32 + 32 + 34 + CREDENTIAL_SECRET)
#define ID_MAX  (RAW + KEYRING_SEAL_OVERHEAD)

static struct bytes context_of(struct arena *a, const char *vm_id)
{
    char *text = arena_printf(a, "activation|%s", vm_id);
    for (char *p = text; *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p + 32);
    return BYTES(text, strlen(text));
}

const char *activation_seal(const struct keyring *k, struct arena *a, const char *vm_id,
                            const struct activation *in)
{
    uint8_t raw[RAW], *to = raw;
    *to++ = VERSION;
    for (unsigned i = 0; i < 8; i++)
        *to++ = (uint8_t)((uint64_t)in->expires_at >> (56 - 8 * i));
    *to++ = in->names_vm;
    const struct bytes parts[] = {BYTES_OF(in->ek_spki), BYTES_OF(in->ak_spki),
                                  BYTES_OF(in->ak_name), BYTES_OF(in->secret)};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        memcpy(to, parts[i].data, parts[i].len);
        to += parts[i].len;
    }
    struct bytes sealed = keyring_seal(k, a, BYTES_OF(raw), context_of(a, vm_id));
    OPENSSL_cleanse(raw, sizeof raw);
    char *id = arena_alloc(a, BASE64URL_SIZE(ID_MAX));
    base64url_encode(sealed, id);
    return id;
}

static bool copy(struct cursor *c, uint8_t *to, size_t n)
{
    struct bytes b = cursor_take(c, n);
    if (!c->bad)
        memcpy(to, b.data, n);
    return !c->bad;
}

static bool unseal(const struct keyring *k, struct arena *a, const struct evidence *ev,
                   int64_t ttl_ms, struct activation *out)
{
    uint8_t sealed[ID_MAX + 1];
    size_t n = 0;
    struct bytes raw;
    if (strlen(ev->activation_id) >= BASE64URL_SIZE(ID_MAX) ||
        !base64url_decode(ev->activation_id, strlen(ev->activation_id), sealed, sizeof sealed,
                          &n) ||
        n != ID_MAX ||
        keyring_open_sealed(k, a, BYTES(sealed, n), context_of(a, ev->vm_id), &raw, NULL))
        return false;
    struct cursor c = cursor_of(raw);
    if (cursor_u8(&c) != VERSION)
        return false;
    out->expires_at = (int64_t)cursor_u64be(&c);
    if (!keyring_made_by(k, KEY_SEAL, keyring_sealed_by(BYTES(sealed, n)),
                         out->expires_at - ttl_ms))
        return false;
    out->names_vm = cursor_u8(&c) != 0;
    return copy(&c, out->ek_spki, sizeof out->ek_spki) &&
           copy(&c, out->ak_spki, sizeof out->ak_spki) &&
           copy(&c, out->ak_name, sizeof out->ak_name) &&
           copy(&c, out->secret, sizeof out->secret) && c.left == 0;
}

static bool shows_ak(const struct evidence *ev, const struct activation *x)
{
    struct tpm_public public;
    uint8_t name[AK_NAME_MAX];
    return ev->ak_public.len && !tpm_parse_public(ev->ak_public, &public) &&
           tpm_name(&public, name) == sizeof x->ak_name &&
           memcmp(name, x->ak_name, sizeof x->ak_name) == 0;
}

const char *activation_check(const struct keyring *k, struct arena *a, const struct evidence *ev,
                             int64_t ttl_ms, int64_t now, struct activation *out)
{
    if (!unseal(k, a, ev, ttl_ms, out))
        return "activation_unknown";
    if (now >= out->expires_at)
        return "activation_expired";
    if (!bytes_equal_const_time(ev->activation_secret, BYTES_OF(out->secret)))
        return "activation_secret";
    return shows_ak(ev, out) ? NULL : "activation_ak";
}
