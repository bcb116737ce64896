#include "handlers/challenge.h"

#include "core/clock.h"
#include "core/sha256.h"

#include <openssl/crypto.h>

#define VERSION 2
#define RANDOM  16
#define TAG     16
/* what the binding covers; what the MAC covers */
#define HEAD (1 + 4 + 8 + RANDOM)
#define BODY (HEAD + TAG)

/* GUIDs are compared without case. */
struct vm_key {
    uint8_t text[UUID_SIZE];
    size_t len;
};

static struct vm_key vm_key_of(const char *vm_id)
{
    struct vm_key key = {.len = strnlen(vm_id, UUID_SIZE)};
    for (size_t i = 0; i < key.len; i++) {
        char ch = vm_id[i];
        key.text[i] = (uint8_t)(ch >= 'A' && ch <= 'Z' ? ch + 32 : ch);
    }
    return key;
}

/* Each use has a label of its own, so that no output can stand for another. */
static bool mac(const struct keyring *k, uint32_t key_id, const char *label, struct bytes data,
                const struct vm_key *vm, uint8_t out[KEYRING_MAC_SIZE])
{
    const struct bytes parts[] = {
        {(const uint8_t *)label, strlen(label)}, data, {vm->text, vm->len}};
    return keyring_mac(k, KEY_CHALLENGE, key_id, parts, ARRAY_LEN(parts), out);
}

static const struct vm_key any_vm;

/* Everything that follows from the raw id, which is authentic. */
static void complete(const uint8_t *raw, const struct vm_key *vm, struct challenge *out)
{
    const struct bytes parts[] = {
        BYTES_STR("tlgate nonce"), {raw, CHALLENGE_RAW}, {vm->text, vm->len}};
    sha256_parts(parts, ARRAY_LEN(parts), out->nonce);
    base64url_encode((struct bytes){raw, CHALLENGE_RAW}, out->id);
    hex_encode((struct bytes){out->nonce, CHALLENGE_HASH_SIZE / 2}, out->hash);
}

static void put_be(uint8_t *to, uint64_t v, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        to[i] = (uint8_t)(v >> (8 * (n - 1 - i)));
}

void challenge_make(const struct keyring *k, const char *vm_id, int64_t expires_at,
                    struct challenge *out)
{
    struct vm_key vm = vm_key_of(vm_id);
    uint32_t key_id = keyring_current(k, KEY_CHALLENGE);
    uint8_t raw[CHALLENGE_RAW], tag[KEYRING_MAC_SIZE];
    raw[0] = VERSION;
    put_be(raw + 1, key_id, 4);
    put_be(raw + 5, (uint64_t)expires_at, 8);
    random_bytes(raw + 13, RANDOM);
    bool good = mac(k, key_id, "vm", (struct bytes){raw, HEAD}, &vm, tag);
    memcpy(raw + HEAD, tag, TAG);
    good = good && mac(k, key_id, "id", (struct bytes){raw, BODY}, &any_vm, tag);
    memcpy(raw + BODY, tag, TAG);
    out->expires_at = expires_at;
    if (!good)
        abort(); /* the current key is always there */
    complete(raw, &vm, out);
}

enum err challenge_open(const struct keyring *k, const char *id, const char *vm_id, int64_t ttl_ms,
                        int64_t now, struct challenge *out, struct err_info *e)
{
    uint8_t raw[CHALLENGE_RAW], tag[KEYRING_MAC_SIZE];
    size_t len = 0;
    struct vm_key vm = vm_key_of(vm_id);
    if (!base64url_decode(id, strlen(id), raw, sizeof raw, &len) || len != sizeof raw ||
        raw[0] != VERSION)
        return err_set(e, ERR_CHALLENGE_INVALID, "challengeId is not a challenge of this gateway");
    struct cursor c = cursor_of((struct bytes){raw + 1, 12});
    uint32_t key_id = cursor_u32be(&c);
    out->expires_at = (int64_t)cursor_u64be(&c);
    if (!mac(k, key_id, "id", (struct bytes){raw, BODY}, &any_vm, tag) ||
        CRYPTO_memcmp(tag, raw + BODY, TAG) != 0 ||
        !keyring_made_by(k, KEY_CHALLENGE, key_id, out->expires_at - ttl_ms))
        return err_set(e, ERR_CHALLENGE_INVALID, "challengeId is not a challenge of this gateway");
    if (!mac(k, key_id, "vm", (struct bytes){raw, HEAD}, &vm, tag) ||
        CRYPTO_memcmp(tag, raw + HEAD, TAG) != 0)
        return err_set(e, ERR_CHALLENGE_MISMATCH, "the challenge was made for another vmId");
    if (now >= out->expires_at)
        return err_set(e, ERR_CHALLENGE_EXPIRED, "the challenge has expired; ask for a new one");
    complete(raw, &vm, out);
    return OK;
}
