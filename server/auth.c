#include "server/auth.h"

#include "core/sha256.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <strings.h>

#define PREFIX      "tlg_"
#define ID_BYTES    8
#define SECRET_SIZE 32
#define TOKEN_MAX   128
#define CACHE_SIZE  1024
/* How long a verified key is believed without a look at the store. Revocation does not wait. */
#define CACHE_MS 30000
#define USES_MAX 256

struct entry {
    uint8_t digest[32]; /* SHA-256 of the whole token */
    uint64_t seen;      /* no two entries that ever were have the same; 0: free */
    int64_t until;      /* monotonic */
    int64_t expires_at; /* of the key, wall; 0: never */
    int64_t touched;    /* wall time of the last use not yet written; 0: none */
    enum role role;
    char id[2 * ID_BYTES + 1];
    char name[129];
    char scope[320];
};

struct auth {
    struct store *store;
    const struct keyring *keyring;
    const struct clock *clock;
    pthread_mutex_t lock;
    uint64_t epoch; /* of revocations: a lookup that began before one is not remembered */
    uint64_t seen;  /* given so far */
    struct entry cache[CACHE_SIZE];
};

struct auth *auth_new(struct store *store, const struct keyring *keyring, const struct clock *clock)
{
    struct auth *a = calloc(1, sizeof *a);
    if (!a)
        abort();
    a->store = store;
    a->keyring = keyring;
    a->clock = clock;
    pthread_mutex_init(&a->lock, NULL);
    return a;
}

void auth_free(struct auth *a)
{
    if (!a)
        return;
    pthread_mutex_destroy(&a->lock);
    OPENSSL_cleanse(a, sizeof *a);
    free(a);
}

/* ---- the form of a key ---- */

/* "tlg_" id "." secret. The parts of a well-formed token, else false. */
static bool split(const char *token, char id[2 * ID_BYTES + 1], uint8_t secret[SECRET_SIZE])
{
    size_t n = strlen(token), got = 0;
    uint8_t id_bytes[ID_BYTES];
    const size_t id_at = strlen(PREFIX), dot = id_at + 2 * ID_BYTES;
    if (n > TOKEN_MAX || n <= dot || strncmp(token, PREFIX, id_at) || token[dot] != '.')
        return false;
    if (!hex_decode(token + id_at, 2 * ID_BYTES, id_bytes, sizeof id_bytes))
        return false;
    hex_encode(BYTES_OF(id_bytes), id);
    return base64url_decode(token + dot + 1, n - dot - 1, secret, SECRET_SIZE, &got) &&
           got == SECRET_SIZE;
}

#define HASH_SIZE (8 + 1 + 2 * KEYRING_MAC_SIZE + 1)

/* "<id of the keyring's key>:<MAC>", hex. False: the keyring lacks that key. */
static bool hash(const struct keyring *k, uint32_t key_id, const char *id,
                 const uint8_t secret[SECRET_SIZE], char out[HASH_SIZE])
{
    const struct bytes parts[] = {BYTES_STR("api-key"), BYTES_STR(id), BYTES(secret, SECRET_SIZE)};
    uint8_t mac[KEYRING_MAC_SIZE];
    if (!keyring_mac(k, KEY_FINGERPRINT, key_id, parts, ARRAY_LEN(parts), mac))
        return false;
    snprintf(out, HASH_SIZE, "%08x:", (unsigned)key_id);
    hex_encode(BYTES_OF(mac), out + 9);
    return true;
}

static bool hash_matches(const struct keyring *k, const struct api_key *row,
                         const uint8_t secret[SECRET_SIZE])
{
    char expected[HASH_SIZE];
    uint8_t id[4];
    if (strlen(row->hash) != HASH_SIZE - 1 || !hex_decode(row->hash, 8, id, sizeof id))
        return false;
    uint32_t key_id =
        (uint32_t)id[0] << 24 | (uint32_t)id[1] << 16 | (uint32_t)id[2] << 8 | (uint32_t)id[3];
    return hash(k, key_id, row->id, secret, expected) &&
           bytes_equal_const_time(BYTES_STR(row->hash), BYTES_STR(expected));
}

/* ---- what was verified ---- */

static struct entry *slot_of(struct auth *a, const uint8_t digest[32])
{
    return &a->cache[((size_t)digest[0] << 8 | digest[1]) % CACHE_SIZE];
}

static const struct principal *principal_of(struct arena *arena, const struct entry *s)
{
    struct principal *p = ARENA_NEW(arena, struct principal);
    *p = (struct principal){.id = arena_strdup(arena, s->id),
                            .name = arena_strdup(arena, s->name),
                            .role = s->role,
                            .scope = arena_strdup(arena, s->scope),
                            .seen = s->seen};
    return p;
}

/* With the lock held: it is believed, and this is a use of the key. */
static bool stands(const struct auth *a, struct entry *s)
{
    int64_t wall = clock_wall(a->clock);
    if (!s->seen || clock_mono(a->clock) >= s->until || (s->expires_at && wall >= s->expires_at))
        return false;
    s->touched = wall;
    return true;
}

static bool recall(struct auth *a, const uint8_t digest[32], struct arena *arena,
                   const struct principal **out, uint64_t *epoch)
{
    pthread_mutex_lock(&a->lock);
    struct entry *s = slot_of(a, digest);
    *epoch = a->epoch;
    bool hit = CRYPTO_memcmp(s->digest, digest, 32) == 0 && stands(a, s);
    if (hit)
        *out = principal_of(arena, s);
    pthread_mutex_unlock(&a->lock);
    return hit;
}

bool auth_stands(struct auth *a, uint64_t seen)
{
    pthread_mutex_lock(&a->lock);
    struct entry *s = &a->cache[seen % CACHE_SIZE];
    bool hit = seen && s->seen == seen && stands(a, s);
    pthread_mutex_unlock(&a->lock);
    return hit;
}

static void remember(struct auth *a, const uint8_t digest[32], struct entry *fresh, uint64_t epoch)
{
    pthread_mutex_lock(&a->lock);
    struct entry *s = slot_of(a, digest);
    if (a->epoch == epoch) {
        fresh->seen = ++a->seen * CACHE_SIZE + (uint64_t)(s - a->cache);
        *s = *fresh;
    }
    pthread_mutex_unlock(&a->lock);
}

void auth_forget(struct auth *a, const char *key_id)
{
    pthread_mutex_lock(&a->lock);
    a->epoch++;
    for (size_t i = 0; i < CACHE_SIZE; i++)
        if (a->cache[i].seen && strcasecmp(a->cache[i].id, key_id) == 0)
            a->cache[i].seen = 0;
    pthread_mutex_unlock(&a->lock);
}

enum err auth_flush(struct auth *a, struct err_info *e)
{
    struct api_key_use uses[USES_MAX];
    char ids[USES_MAX][2 * ID_BYTES + 1];
    int n = 0;
    pthread_mutex_lock(&a->lock);
    for (size_t i = 0; i < CACHE_SIZE && n < USES_MAX; i++) {
        struct entry *s = &a->cache[i];
        if (!s->seen || !s->touched)
            continue;
        memcpy(ids[n], s->id, sizeof ids[n]);
        uses[n] = (struct api_key_use){.id = ids[n], .at = s->touched};
        s->touched = 0;
        n++;
    }
    pthread_mutex_unlock(&a->lock);
    if (n == 0)
        return OK;
    const struct api_key_uses in = {.uses = uses, .n = n};
    struct store_waiter w;
    store_touch_api_keys(a->store, &in, NULL, store_waiter_init(&w));
    return store_wait(&w, e);
}

/* ---- the seam ---- */

static const char *bearer(const char *authorization)
{
    if (!authorization || strncasecmp(authorization, "Bearer ", 7) != 0)
        return NULL;
    return authorization + 7 + strspn(authorization + 7, " ");
}

static enum err refuse(struct err_info *e)
{
    return err_set(e, ERR_UNAUTHENTICATED, "the request needs a valid API key as bearer token");
}

static enum err look_up(struct auth *a, const char *id, const uint8_t secret[SECRET_SIZE],
                        struct arena *arena, struct entry *out, struct err_info *e)
{
    struct api_key row;
    enum err err = store_get_api_key(a->store, arena, id, &row, e);
    if (err && err != ERR_NOT_FOUND)
        return err;
    int64_t now = clock_wall(a->clock);
    if (err || !hash_matches(a->keyring, &row, secret) || row.revoked_at ||
        (row.expires_at && row.expires_at <= now))
        return refuse(e);
    *out = (struct entry){.until = clock_mono(a->clock) + CACHE_MS,
                          .expires_at = row.expires_at,
                          .touched = now,
                          .role = row.role};
    snprintf(out->id, sizeof out->id, "%s", row.id);
    snprintf(out->name, sizeof out->name, "%s", row.name);
    snprintf(out->scope, sizeof out->scope, "%s", row.scope);
    return OK;
}

enum err auth_authenticate(struct auth *a, const char *authorization, struct arena *arena,
                           const struct principal **out, struct err_info *e)
{
    char id[2 * ID_BYTES + 1];
    uint8_t secret[SECRET_SIZE], digest[32];
    uint64_t epoch;
    const char *token = bearer(authorization);
    if (!token || strlen(token) > TOKEN_MAX)
        return refuse(e);
    sha256(BYTES_STR(token), digest);
    if (recall(a, digest, arena, out, &epoch))
        return OK;
    if (!split(token, id, secret))
        return refuse(e);
    struct entry fresh;
    enum err err = look_up(a, id, secret, arena, &fresh, e);
    OPENSSL_cleanse(secret, sizeof secret);
    if (err)
        return err;
    memcpy(fresh.digest, digest, sizeof digest);
    remember(a, digest, &fresh, epoch);
    *out = principal_of(arena, &fresh);
    return OK;
}

/* ---- new keys ---- */

static bool printable(const char *s, size_t max)
{
    size_t n = strlen(s);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            return false;
    return n > 0 && n <= max;
}

/* "/", "/subscriptions/<guid>" or "/subscriptions/<guid>/resourceGroups/<name>". */
static bool scope_ok(const char *scope)
{
    static const char sub[] = "/subscriptions/", group[] = "/resourceGroups/";
    char guid[UUID_SIZE];
    if (strcmp(scope, "/") == 0)
        return true;
    if (strncasecmp(scope, sub, sizeof sub - 1) || strlen(scope) < sizeof sub - 1 + 36)
        return false;
    snprintf(guid, sizeof guid, "%.36s", scope + sizeof sub - 1);
    const char *rest = scope + sizeof sub - 1 + 36;
    if (!uuid_valid(guid))
        return false;
    if (!*rest)
        return true;
    if (strncasecmp(rest, group, sizeof group - 1))
        return false;
    rest += sizeof group - 1;
    return printable(rest, 90) && !strpbrk(rest, "/%?#\\ ");
}

enum err auth_make_key(const struct keyring *keyring, struct arena *arena, const char *name,
                       enum role role, const char *scope, int64_t now, struct api_key *row,
                       struct secret *text, struct err_info *e)
{
    if (!printable(name, 128))
        return err_set(e, ERR_VALIDATION, "a key's name has 1 to 128 characters");
    if (!scope_ok(scope))
        return err_set(e, ERR_VALIDATION,
                       "a scope is /, /subscriptions/ID or "
                       "/subscriptions/ID/resourceGroups/NAME");
    uint8_t id[ID_BYTES], secret[SECRET_SIZE];
    char id_text[2 * ID_BYTES + 1], secret_text[BASE64URL_SIZE(SECRET_SIZE)], hashed[HASH_SIZE];
    random_bytes(id, sizeof id);
    random_bytes(secret, sizeof secret);
    hex_encode(BYTES_OF(id), id_text);
    base64url_encode(BYTES_OF(secret), secret_text);
    if (!hash(keyring, keyring_current(keyring, KEY_FINGERPRINT), id_text, secret, hashed))
        abort();
    *row = (struct api_key){.id = arena_strdup(arena, id_text),
                            .name = arena_strdup(arena, name),
                            .hash = arena_strdup(arena, hashed),
                            .role = role,
                            .scope = arena_strdup(arena, scope),
                            .created_at = now};
    const char *whole = arena_printf(arena, PREFIX "%s.%s", id_text, secret_text);
    *text = (struct secret){.text = whole, .len = strlen(whole)};
    OPENSSL_cleanse(secret, sizeof secret);
    OPENSSL_cleanse(secret_text, sizeof secret_text);
    return OK;
}
