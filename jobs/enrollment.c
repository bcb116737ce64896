#include "jobs/enrollment.h"

#include "core/bytes.h"
#include "core/clock.h"
#include "core/sha256.h"

#include <ctype.h>
#include <string.h>

#define TOKEN_VERSION 1
#define ID_SIZE       16
#define TOKEN_BYTES   (1 + 4 + ID_SIZE + KEYRING_MAC_SIZE)
#define MAC_AT        (1 + 4 + ID_SIZE)
#define RESOURCE_MAX  512
#define TIME_SIZE     6

/* ARM ids are compared without case, so the MAC is over the lower-case form. */
static bool mac_of(const struct keyring *k, uint32_t key_id, struct bytes id,
                   const char *resource_id, uint8_t out[KEYRING_MAC_SIZE])
{
    char lower[RESOURCE_MAX];
    size_t n = strlen(resource_id);
    if (n >= sizeof lower)
        return false;
    for (size_t i = 0; i < n; i++)
        lower[i] = (char)tolower((unsigned char)resource_id[i]);
    struct bytes parts[] = {BYTES_STR("enrollment"), id, BYTES(lower, n)};
    return keyring_mac(k, KEY_ENROLLMENT, key_id, parts, ARRAY_LEN(parts), out);
}

static bool uuid_bytes(const char *uuid, uint8_t out[ID_SIZE])
{
    if (!uuid_valid(uuid))
        return false;
    char digits[2 * ID_SIZE];
    size_t n = 0;
    for (const char *s = uuid; *s; s++)
        if (*s != '-')
            digits[n++] = *s;
    return hex_decode(digits, n, out, ID_SIZE);
}

enum err enrollment_token(const struct keyring *k, uint32_t key_id, const char *uuid,
                          const char *resource_id, char out[ENROLLMENT_TOKEN_SIZE],
                          struct err_info *e)
{
    uint8_t raw[TOKEN_BYTES] = {TOKEN_VERSION, (uint8_t)(key_id >> 24), (uint8_t)(key_id >> 16),
                                (uint8_t)(key_id >> 8), (uint8_t)key_id};
    if (!uuid_bytes(uuid, raw + 5))
        return err_set(e, ERR_INTERNAL, "an enrolment token needs a UUID");
    if (!mac_of(k, key_id, BYTES(raw + 5, ID_SIZE), resource_id, raw + MAC_AT))
        return err_set(e, ERR_INTERNAL, "no enrolment key %u", key_id);
    base64url_encode(BYTES_OF(raw), out);
    return OK;
}

enum err enrollment_check(const struct keyring *k, const char *token, const char *resource_id,
                          struct err_info *e)
{
    uint8_t raw[TOKEN_BYTES + 1];
    size_t n = 0;
    if (strlen(token) >= ENROLLMENT_TOKEN_SIZE ||
        !base64url_decode(token, strlen(token), raw, sizeof raw, &n) || n != TOKEN_BYTES ||
        raw[0] != TOKEN_VERSION)
        return err_set(e, ERR_NOT_ENROLLED, "not an enrolment token");
    struct cursor c = cursor_of(BYTES(raw + 1, 4));
    uint8_t mac[KEYRING_MAC_SIZE];
    if (!mac_of(k, cursor_u32be(&c), BYTES(raw + 5, ID_SIZE), resource_id, mac) ||
        !bytes_equal_const_time(BYTES_OF(mac), BYTES(raw + MAC_AT, KEYRING_MAC_SIZE)))
        return err_set(e, ERR_NOT_ENROLLED, "not an enrolment token of this gateway for this VM");
    return OK;
}

void enrollment_hash(const char *token, uint8_t out[ENROLLMENT_HASH_SIZE])
{
    sha256(BYTES_STR(token), out);
}

/* The first six bytes of a token's id are its time (RFC 9562, 5.7). */
static void time_of(const char *token, uint8_t out[TIME_SIZE])
{
    uint8_t raw[TOKEN_BYTES + 1];
    size_t n = 0;
    memset(out, 0, TIME_SIZE);
    if (strlen(token) < ENROLLMENT_TOKEN_SIZE &&
        base64url_decode(token, strlen(token), raw, sizeof raw, &n) && n == TOKEN_BYTES)
        memcpy(out, raw + 5, TIME_SIZE);
}

const char *enrollment_text(struct arena *a, const char *token)
{
    uint8_t hash[ENROLLMENT_HASH_SIZE], time[TIME_SIZE];
    char *text = arena_alloc(a, 2 * sizeof time + BASE64URL_SIZE(sizeof hash));
    time_of(token, time);
    enrollment_hash(token, hash);
    hex_encode(BYTES_OF(time), text);
    base64url_encode(BYTES_OF(hash), text + 2 * sizeof time);
    return text;
}
