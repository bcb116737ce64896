#include "core/keyring.h"
#include "core/buf.h"
#include "core/cleanup.h"
#include "core/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#define KEY_SIZE   32
#define NONCE_SIZE 12
#define TAG_SIZE   16
#define FILE_MAX   65536
#define PATH_SIZE  4096
#define HEADER     "tlgate-keyring 1"

AUTO_DEFINE(cipher, EVP_CIPHER_CTX *, EVP_CIPHER_CTX_free)
AUTO_DEFINE(mac_ctx, EVP_MAC_CTX *, EVP_MAC_CTX_free)

/* To copy a keyed context costs more than a short MAC, so one is kept for whoever comes next. */
struct mac {
    EVP_MAC_CTX *keyed; /* never changes */
    EVP_MAC_CTX *spare; /* NULL, or of nobody: taken and put back in one exchange */
};

struct key {
    uint32_t id;
    enum key_purpose purpose;
    uint8_t bytes[KEY_SIZE];
    int64_t made; /* wall ms */
    struct mac *mac;
    struct sign_key *signer; /* KEY_RESULTS */
};

/* Keys in the order of the file: the last one of a purpose is its current key. */
struct keyring {
    struct key keys[KEYRING_KEYS_MAX];
    atomic_size_t n; /* keys before it are complete: readers need no lock */
    char *path;
    pthread_mutex_t rotating;
    EVP_MAC *hmac;
    EVP_CIPHER *gcm;
};

static const char *const purpose_names[KEY_PURPOSES] = {
    [KEY_CHALLENGE] = "challenge", [KEY_ENROLLMENT] = "enrollment",   [KEY_CURSOR] = "cursor",
    [KEY_SEAL] = "seal",           [KEY_FINGERPRINT] = "fingerprint", [KEY_RESULTS] = "results",
};

static void put_id(uint32_t id, uint8_t out[4])
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(id >> (24 - 8 * i));
}

static const struct key *find(const struct keyring *k, enum key_purpose p, uint32_t id)
{
    size_t n = atomic_load_explicit(&k->n, memory_order_acquire);
    for (size_t i = 0; i < n; i++)
        if (k->keys[i].purpose == p && k->keys[i].id == id)
            return &k->keys[i];
    return NULL;
}

static const struct key *current(const struct keyring *k, enum key_purpose p)
{
    for (size_t i = atomic_load_explicit(&k->n, memory_order_acquire); i > 0; i--)
        if (k->keys[i - 1].purpose == p)
            return &k->keys[i - 1];
    return NULL;
}

/* ---- the file ---- */

/* One line per key: purpose, id (8 hex digits), time it was made, key (base64url). */
static void add_line(struct buf *out, enum key_purpose p)
{
    char made[TIME_TEXT_SIZE];
    uint8_t key[KEY_SIZE], id[4];
    char text[BASE64URL_SIZE(KEY_SIZE)], id_text[9];
    time_format(clock_wall(&clock_system), made);
    random_bytes(key, sizeof key);
    random_bytes(id, sizeof id);
    base64url_encode(BYTES_OF(key), text);
    hex_encode(BYTES_OF(id), id_text);
    buf_printf(out, "%s %s %s %s\n", purpose_names[p], id_text, made, text);
    OPENSSL_cleanse(key, sizeof key);
    OPENSSL_cleanse(text, sizeof text);
}

static void write_text(struct buf *out)
{
    buf_add_str(out, HEADER "\n");
    for (int p = 0; p < KEY_PURPOSES; p++)
        add_line(out, (enum key_purpose)p);
}

static bool write_all(int fd, struct bytes b)
{
    while (b.len) {
        ssize_t n = write(fd, b.data, b.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        b.data += n;
        b.len -= (size_t)n;
    }
    return true;
}

static bool sync_folder(const char *path)
{
    char *copy = strdup(path);
    if (!copy)
        abort();
    AUTO(fd) int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(copy);
    return fd >= 0 && fsync(fd) == 0;
}

static bool write_new(const char *temp, struct bytes text)
{
    AUTO(fd) int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd >= 0 && write_all(fd, text) && fsync(fd) == 0;
}

static enum err temp_name(const char *path, char out[PATH_SIZE], struct err_info *e)
{
    char suffix[UUID_SIZE];
    uuid_v4(suffix);
    if (snprintf(out, PATH_SIZE, "%s.%s", path, suffix) >= PATH_SIZE)
        return err_set(e, ERR_CONFIG, "the path of the keyring is too long");
    return OK;
}

/*
 * A complete file appears under its name or none does: written beside it, then linked, which fails
 * where another process was first (its keyring is as good).
 */
static enum err make(const char *path, struct err_info *e)
{
    char temp[PATH_SIZE];
    if (temp_name(path, temp, e))
        return ERR_CONFIG;
    struct buf text = {0};
    write_text(&text);
    bool written = write_new(temp, buf_bytes(&text));
    int why = errno;
    buf_free(&text);
    bool linked = written && (link(temp, path) == 0 || errno == EEXIST);
    if (written && !linked)
        why = errno;
    if (written)
        unlink(temp);
    if (!linked || !sync_folder(path))
        return err_set(e, ERR_CONFIG, "cannot make the keyring %s: %s", path, strerror(why));
    return OK;
}

/* The new text stands beside the old one until it is complete, then in its place. */
static enum err replace(const char *path, struct bytes text, struct err_info *e)
{
    char temp[PATH_SIZE];
    if (temp_name(path, temp, e))
        return ERR_CONFIG;
    bool done = write_new(temp, text) && rename(temp, path) == 0;
    int why = errno;
    if (!done)
        unlink(temp);
    if (!done || !sync_folder(path))
        return err_set(e, ERR_CONFIG, "cannot replace the keyring %s: %s", path, strerror(why));
    return OK;
}

static enum err read_file(int fd, const char *path, struct buf *out, struct err_info *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return err_set(e, ERR_CONFIG, "the keyring %s is not a regular file", path);
    if (st.st_mode & 077)
        return err_set(e, ERR_CONFIG, "the keyring %s is open to others (mode %04o; must be 0600)",
                       path, (unsigned)(st.st_mode & 07777));
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return err_set(e, ERR_CONFIG, "the keyring %s belongs to another user", path);
    if (st.st_size > FILE_MAX)
        return err_set(e, ERR_CONFIG, "the keyring %s is too large", path);
    for (;;) {
        ssize_t n = read(fd, buf_reserve(out, 4096), 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(e, ERR_CONFIG, "cannot read the keyring %s: %s", path, strerror(errno));
        if (n == 0)
            return OK;
        out->len += (size_t)n;
        if (out->len > FILE_MAX)
            return err_set(e, ERR_CONFIG, "the keyring %s is too large", path);
    }
}

/* ---- parsing ---- */

static int purpose_of(struct bytes name)
{
    for (int p = 0; p < KEY_PURPOSES; p++)
        if (bytes_equal(name, BYTES_STR(purpose_names[p])))
            return p;
    return -1;
}

static bool split(struct bytes line, struct bytes word[4])
{
    for (int i = 0; i < 4; i++) {
        const uint8_t *end = line.len ? memchr(line.data, ' ', line.len) : NULL;
        size_t n = end ? (size_t)(end - line.data) : line.len;
        if (n == 0 || (i < 3) != (end != NULL))
            return false;
        word[i] = BYTES(line.data, n);
        if (end)
            line = BYTES(end + 1, line.len - n - 1);
    }
    return true;
}

static bool read_time(struct bytes text, int64_t *ms)
{
    char copy[TIME_TEXT_SIZE];
    if (text.len >= sizeof copy)
        return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = 0;
    return time_parse(copy, ms);
}

static bool read_key(struct bytes line, struct key *key)
{
    struct bytes word[4];
    uint8_t id[4];
    size_t n = 0;
    if (!split(line, word))
        return false;
    int purpose = purpose_of(word[0]);
    if (purpose < 0 || !hex_decode((const char *)word[1].data, word[1].len, id, sizeof id) ||
        !read_time(word[2], &key->made) ||
        !base64url_decode((const char *)word[3].data, word[3].len, key->bytes, KEY_SIZE, &n) ||
        n != KEY_SIZE)
        return false;
    key->id = (uint32_t)id[0] << 24 | (uint32_t)id[1] << 16 | (uint32_t)id[2] << 8 | id[3];
    key->purpose = (enum key_purpose)purpose;
    return true;
}

static bool prepare_key(const struct keyring *k, struct key *key)
{
    char digest[] = "SHA256";
    const OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string("digest", digest, 0),
                                 OSSL_PARAM_construct_end()};
    if (key->purpose == KEY_RESULTS)
        key->signer = sign_key_new(key->bytes);
    key->mac = calloc(1, sizeof *key->mac);
    if (!key->mac)
        abort();
    key->mac->keyed = EVP_MAC_CTX_new(k->hmac);
    return key->mac->keyed && EVP_MAC_init(key->mac->keyed, key->bytes, KEY_SIZE, params) == 1;
}

/* The key is published last, complete. */
static bool add_key(struct keyring *k, struct bytes line)
{
    size_t n = atomic_load_explicit(&k->n, memory_order_relaxed);
    if (n == KEYRING_KEYS_MAX)
        return false;
    struct key *key = &k->keys[n];
    if (!read_key(line, key) || find(k, key->purpose, key->id) || !prepare_key(k, key))
        return false;
    atomic_store_explicit(&k->n, n + 1, memory_order_release);
    return true;
}

static bool parse(struct keyring *k, struct bytes text)
{
    bool first = true;
    while (text.len) {
        const uint8_t *end = memchr(text.data, '\n', text.len);
        if (!end)
            return false; /* cut short */
        struct bytes line = BYTES(text.data, (size_t)(end - text.data));
        text = BYTES(end + 1, text.len - line.len - 1);
        if (first ? !bytes_equal(line, BYTES_STR(HEADER)) : !add_key(k, line))
            return false;
        first = false;
    }
    return !first;
}

/* A keyring of a version that had no such purpose yet gets a key for it; of any other it says that it
 * is damaged. */
static enum err add_results(struct keyring *k, struct err_info *e)
{
    uint32_t id;
    return current(k, KEY_RESULTS) ? OK : keyring_rotate(k, KEY_RESULTS, &id, e);
}

static enum err fill(struct keyring *k, const char *path, struct bytes text, struct err_info *e)
{
    k->hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    k->gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    if (!k->hmac || !k->gcm)
        return err_set(e, ERR_CONFIG, "OpenSSL offers no HMAC-SHA256 or AES-256-GCM");
    if (!parse(k, text))
        return err_set(e, ERR_CONFIG, "the keyring %s is damaged", path);
    for (int p = 0; p < KEY_RESULTS; p++)
        if (!current(k, (enum key_purpose)p))
            return err_set(e, ERR_CONFIG, "the keyring %s has no key for %s", path,
                           purpose_names[p]);
    return add_results(k, e);
}

enum err keyring_open(const char *path, struct keyring **out, struct err_info *e)
{
    AUTO(fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        enum err err = make(path, e);
        if (err)
            return err;
        fd = open(path, O_RDONLY | O_CLOEXEC);
    }
    if (fd < 0)
        return err_set(e, ERR_CONFIG, "cannot open the keyring %s: %s", path, strerror(errno));
    struct buf text = {0};
    enum err err = read_file(fd, path, &text, e);
    if (err) {
        buf_free(&text);
        return err;
    }
    struct keyring *k = calloc(1, sizeof *k);
    if (!k || !(k->path = strdup(path)))
        abort();
    pthread_mutex_init(&k->rotating, NULL);
    err = fill(k, path, buf_bytes(&text), e);
    buf_free(&text);
    if (err) {
        keyring_free(k);
        return err;
    }
    *out = k;
    return OK;
}

static void mac_free(struct mac *m)
{
    if (!m)
        return;
    EVP_MAC_CTX_free(m->keyed);
    EVP_MAC_CTX_free(m->spare);
    free(m);
}

void keyring_free(struct keyring *k)
{
    if (!k)
        return;
    for (size_t i = 0; i < KEYRING_KEYS_MAX; i++) { /* one may be half made */
        mac_free(k->keys[i].mac);
        sign_key_free(k->keys[i].signer);
    }
    pthread_mutex_destroy(&k->rotating);
    free(k->path);
    EVP_MAC_free(k->hmac);
    EVP_CIPHER_free(k->gcm);
    OPENSSL_cleanse(k, sizeof *k);
    free(k);
}

/* ---- rotation ---- */

bool keyring_purpose_parse(const char *name, enum key_purpose *out)
{
    int p = purpose_of(BYTES_STR(name));
    if (p < 0)
        return false;
    *out = (enum key_purpose)p;
    return true;
}

/* The file as it is on disk, with one line more. */
static enum err add_to_file(struct keyring *k, struct bytes line, struct err_info *e)
{
    AUTO(fd) int fd = open(k->path, O_RDONLY | O_CLOEXEC);
    struct buf text = {0};
    if (fd < 0)
        return err_set(e, ERR_CONFIG, "cannot open the keyring %s: %s", k->path, strerror(errno));
    enum err err = read_file(fd, k->path, &text, e);
    if (!err && text.len + line.len > FILE_MAX)
        err = err_set(e, ERR_CONFIG, "the keyring %s is full", k->path);
    if (!err) {
        buf_add(&text, line.data, line.len);
        err = replace(k->path, buf_bytes(&text), e);
    }
    buf_free(&text);
    return err;
}

/* Ids are random: one that is taken is drawn again. */
static void add_fresh_line(const struct keyring *k, enum key_purpose p, struct buf *line)
{
    struct key key = {0};
    do {
        buf_reset(line);
        add_line(line, p);
        if (!read_key(BYTES(line->data, line->len - 1), &key))
            abort();
    } while (find(k, p, key.id));
    OPENSSL_cleanse(&key, sizeof key);
}

static enum err rotate(struct keyring *k, enum key_purpose p, struct err_info *e)
{
    struct buf line = {0};
    if (atomic_load(&k->n) == KEYRING_KEYS_MAX)
        return err_set(e, ERR_CONFIG, "the keyring %s is full: it has %d keys", k->path,
                       KEYRING_KEYS_MAX);
    add_fresh_line(k, p, &line);
    enum err err = add_to_file(k, buf_bytes(&line), e);
    if (!err && !add_key(k, BYTES(line.data, line.len - 1)))
        err = err_set(e, ERR_INTERNAL, "the new key cannot be used");
    buf_free(&line);
    return err;
}

enum err keyring_rotate(struct keyring *k, enum key_purpose p, uint32_t *id, struct err_info *e)
{
    pthread_mutex_lock(&k->rotating);
    enum err err = rotate(k, p, e);
    if (!err)
        *id = current(k, p)->id;
    pthread_mutex_unlock(&k->rotating);
    return err;
}

size_t keyring_signers(const struct keyring *k, struct keyring_signer *out, size_t cap)
{
    size_t n = 0;
    int64_t successor = 0;
    for (size_t i = atomic_load_explicit(&k->n, memory_order_acquire); i > 0 && n < cap; i--) {
        const struct key *key = &k->keys[i - 1];
        if (key->purpose != KEY_RESULTS)
            continue;
        out[n++] = (struct keyring_signer){.key = key->signer, .retired_at = successor};
        successor = key->made;
    }
    return n;
}

/* ---- use ---- */

uint32_t keyring_current(const struct keyring *k, enum key_purpose p)
{
    return current(k, p)->id;
}

/* From the time in a key's line it takes a write to the disk until the key is used. */
#define TAKEOVER_MS 60000

bool keyring_made_by(const struct keyring *k, enum key_purpose p, uint32_t key_id, int64_t made_at)
{
    size_t n = atomic_load_explicit(&k->n, memory_order_acquire);
    const struct key *key = find(k, p, key_id);
    for (size_t i = key ? (size_t)(key - k->keys) + 1 : n; i < n; i++)
        if (k->keys[i].purpose == p)
            return made_at <= k->keys[i].made + TAKEOVER_MS;
    return key != NULL;
}

uint32_t keyring_sealed_by(struct bytes sealed)
{
    struct cursor c = cursor_of(sealed);
    uint32_t id = cursor_u32be(&c);
    return c.bad ? 0 : id;
}

/* Without a key OpenSSL begins anew with the one that is there (EVP_MAC_init(3)). */
static EVP_MAC_CTX *take_mac(struct mac *m)
{
    AUTO(mac_ctx) EVP_MAC_CTX *spare = __atomic_exchange_n(&m->spare, NULL, __ATOMIC_ACQ_REL);
    if (spare && EVP_MAC_init(spare, NULL, 0, NULL) == 1)
        return TAKE(spare);
    return EVP_MAC_CTX_dup(m->keyed);
}

bool keyring_mac(const struct keyring *k, enum key_purpose p, uint32_t key_id,
                 const struct bytes *parts, size_t n, uint8_t out[KEYRING_MAC_SIZE])
{
    const struct key *key = find(k, p, key_id);
    if (!key)
        return false;
    EVP_MAC_CTX *ctx = take_mac(key->mac);
    if (!ctx)
        abort();
    bool ok = true;
    for (size_t i = 0; i < n; i++) {
        uint8_t len[8];
        for (int b = 0; b < 8; b++)
            len[b] = (uint8_t)((uint64_t)parts[i].len >> (56 - 8 * b));
        ok = ok && EVP_MAC_update(ctx, len, sizeof len) == 1;
        ok = ok && (!parts[i].len || EVP_MAC_update(ctx, parts[i].data, parts[i].len) == 1);
    }
    size_t written = 0;
    if (!ok || EVP_MAC_final(ctx, out, &written, KEYRING_MAC_SIZE) != 1)
        abort();
    EVP_MAC_CTX_free(__atomic_exchange_n(&key->mac->spare, ctx, __ATOMIC_ACQ_REL));
    return true;
}

/* What is authenticated beside the text: the key's id and the caller's context. */
static bool add_context(EVP_CIPHER_CTX *ctx, const uint8_t id[4], struct bytes context)
{
    int n;
    return EVP_CipherUpdate(ctx, NULL, &n, id, 4) == 1 &&
           (!context.len || EVP_CipherUpdate(ctx, NULL, &n, context.data, (int)context.len) == 1);
}

struct bytes keyring_seal(const struct keyring *k, struct arena *a, struct bytes clear,
                          struct bytes context)
{
    const struct key *key = current(k, KEY_SEAL);
    if (clear.len > INT32_MAX / 2 || context.len > INT32_MAX / 2)
        abort();
    uint8_t *out = arena_alloc(a, clear.len + KEYRING_SEAL_OVERHEAD);
    uint8_t *nonce = out + 4, *text = nonce + NONCE_SIZE, *tag = text + clear.len;
    put_id(key->id, out);
    random_bytes(nonce, NONCE_SIZE);
    AUTO(cipher) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n;
    bool ok = ctx && EVP_EncryptInit_ex2(ctx, k->gcm, key->bytes, nonce, NULL) == 1 &&
              add_context(ctx, out, context) &&
              (!clear.len || EVP_EncryptUpdate(ctx, text, &n, clear.data, (int)clear.len) == 1) &&
              EVP_EncryptFinal_ex(ctx, tag, &n) == 1 &&
              EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_SIZE, tag) == 1;
    if (!ok)
        abort();
    return BYTES(out, clear.len + KEYRING_SEAL_OVERHEAD);
}

enum err keyring_open_sealed(const struct keyring *k, struct arena *a, struct bytes sealed,
                             struct bytes context, struct bytes *clear, struct err_info *e)
{
    struct cursor c = cursor_of(sealed);
    struct bytes id = cursor_take(&c, 4), nonce = cursor_take(&c, NONCE_SIZE);
    if (c.bad || c.left < TAG_SIZE || c.left > INT32_MAX / 2 || context.len > INT32_MAX / 2)
        return err_set(e, ERR_INTERNAL, "a sealed text has a wrong length");
    struct bytes text = cursor_take(&c, c.left - TAG_SIZE), tag = cursor_take(&c, TAG_SIZE);
    struct cursor id_at = cursor_of(id);
    const struct key *key = find(k, KEY_SEAL, cursor_u32be(&id_at));
    if (!key)
        return err_set(e, ERR_INTERNAL, "a sealed text names a key that the keyring lacks");
    uint8_t *out = arena_alloc(a, text.len + 1), expected[TAG_SIZE];
    memcpy(expected, tag.data, TAG_SIZE);
    AUTO(cipher) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n;
    bool ok = ctx && EVP_DecryptInit_ex2(ctx, k->gcm, key->bytes, nonce.data, NULL) == 1 &&
              add_context(ctx, id.data, context) &&
              (!text.len || EVP_DecryptUpdate(ctx, out, &n, text.data, (int)text.len) == 1) &&
              EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_SIZE, expected) == 1 &&
              EVP_DecryptFinal_ex(ctx, out + text.len, &n) == 1;
    if (!ok) {
        OPENSSL_cleanse(out, text.len);
        return err_set(e, ERR_INTERNAL, "a sealed text does not open with its key and context");
    }
    *clear = BYTES(out, text.len);
    return OK;
}
