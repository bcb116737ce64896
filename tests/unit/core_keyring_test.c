/* The keyring: made once and privately, refused when open or damaged, and what it MACs and seals.
 */
#include "core/keyring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <openssl/hmac.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    char dir[64];
    char path[96];
    struct arena *arena;
    struct keyring *k;
};

static int set_up(void **state)
{
    static struct fixture f;
    f = (struct fixture){.dir = "/tmp/core_keyring_XXXXXX", .arena = arena_new()};
    if (!mkdtemp(f.dir))
        return -1;
    snprintf(f.path, sizeof f.path, "%s/keyring", f.dir);
    *state = &f;
    return keyring_open(f.path, &f.k, NULL) ? -1 : 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    keyring_free(f->k);
    arena_free(f->arena);
    unlink(f->path);
    return rmdir(f->dir); /* fails where a temporary file was left behind */
}

static void read_text(struct fixture *f, char *out, size_t size)
{
    FILE *file = fopen(f->path, "r");
    assert_non_null(file);
    out[fread(out, 1, size - 1, file)] = 0;
    fclose(file);
}

static void write_text(struct fixture *f, const char *text)
{
    FILE *file = fopen(f->path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void is_made_private_and_stays(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    struct keyring *again = NULL;
    assert_int_equal(keyring_open(f->path, &again, NULL), OK);
    for (int p = 0; p < KEY_PURPOSES; p++)
        assert_int_equal(keyring_current(f->k, (enum key_purpose)p),
                         keyring_current(again, (enum key_purpose)p));
    keyring_free(again);
}

static void is_refused_when_others_can_read_it(void **state)
{
    struct fixture *f = *state;
    static const mode_t modes[] = {0640, 0604, 0620, 0666};
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        struct keyring *k = NULL;
        struct err_info why;
        assert_int_equal(chmod(f->path, modes[i]), 0);
        assert_int_equal(keyring_open(f->path, &k, &why), ERR_CONFIG);
        assert_non_null(strstr(why.detail, "open to others"));
        assert_null(k);
    }
}

static void is_refused_when_damaged(void **state)
{
    struct fixture *f = *state;
    char text[2048], cut[8192];
    read_text(f, text, sizeof text);
    size_t n = strlen(text);
    struct keyring *k = NULL;
    for (size_t keep = 0; keep < n; keep += 7) {
        snprintf(cut, sizeof cut, "%.*s", (int)keep, text);
        write_text(f, cut);
        assert_int_equal(keyring_open(f->path, &k, NULL), ERR_CONFIG);
    }
    snprintf(cut, sizeof cut, "%s%s", text, strchr(text, '\n') + 1); /* every id twice */
    write_text(f, cut);
    assert_int_equal(keyring_open(f->path, &k, NULL), ERR_CONFIG);
    snprintf(cut, sizeof cut, "%sfancy 00000001 - AAAA\n", text);
    write_text(f, cut);
    assert_int_equal(keyring_open(f->path, &k, NULL), ERR_CONFIG);
    write_text(f, text);
    assert_int_equal(keyring_open(f->path, &k, NULL), OK);
    keyring_free(k);
}

static void an_older_key_still_verifies_and_opens(void **state)
{
    struct fixture *f = *state;
    struct bytes part = BYTES_STR("x");
    uint8_t before[KEYRING_MAC_SIZE], after[KEYRING_MAC_SIZE];
    uint32_t old = keyring_current(f->k, KEY_SEAL);
    assert_true(keyring_mac(f->k, KEY_SEAL, old, &part, 1, before));
    struct bytes sealed = keyring_seal(f->k, f->arena, part, part), clear;

    char text[2048], more[4096];
    read_text(f, text, sizeof text);
    snprintf(
        more, sizeof more,
        "%sseal 0a0b0c0d 2026-01-01T00:00:00.000Z AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n",
        text);
    write_text(f, more);
    struct keyring *k = NULL;
    assert_int_equal(keyring_open(f->path, &k, NULL), OK);
    assert_int_equal(keyring_current(k, KEY_SEAL), 0x0a0b0c0d);
    assert_true(keyring_mac(k, KEY_SEAL, old, &part, 1, after));
    assert_memory_equal(before, after, sizeof before);
    assert_int_equal(keyring_open_sealed(k, f->arena, sealed, part, &clear, NULL), OK);
    assert_true(bytes_equal(clear, part));
    keyring_free(k);
}

/* Known keys: the MAC is HMAC-SHA256 over length-prefixed parts, so ("ab","c") is not ("a","bc").
 */
static void the_mac_is_what_it_says(void **state)
{
    struct fixture *f = *state;
    char text[2048];
    read_text(f, text, sizeof text);
    const char *line = strstr(text, "\nchallenge ");
    assert_non_null(line);
    uint8_t key[32];
    size_t n = 0;
    assert_true(base64url_decode(line + 1 + 10 + 9 + 25, 43, key, sizeof key, &n));

    const struct bytes one[] = {BYTES_STR("ab"), BYTES_STR("c")};
    const struct bytes two[] = {BYTES_STR("a"), BYTES_STR("bc")};
    uint8_t a[KEYRING_MAC_SIZE], b[KEYRING_MAC_SIZE], expected[KEYRING_MAC_SIZE];
    uint32_t id = keyring_current(f->k, KEY_CHALLENGE);
    assert_true(keyring_mac(f->k, KEY_CHALLENGE, id, one, 2, a));
    assert_true(keyring_mac(f->k, KEY_CHALLENGE, id, two, 2, b));
    assert_memory_not_equal(a, b, sizeof a);
    static const unsigned char message[] = "\0\0\0\0\0\0\0\2ab\0\0\0\0\0\0\0\1c";
    assert_non_null(
        HMAC(EVP_sha256(), key, sizeof key, message, sizeof message - 1, expected, NULL));
    assert_memory_equal(a, expected, sizeof a);
}

static void unknown_ids_and_other_purposes_do_not_match(void **state)
{
    struct fixture *f = *state;
    uint8_t mac[KEYRING_MAC_SIZE];
    uint32_t id = keyring_current(f->k, KEY_CHALLENGE);
    assert_false(keyring_mac(f->k, KEY_CHALLENGE, id + 1, NULL, 0, mac));
    assert_false(keyring_mac(f->k, KEY_CURSOR, id, NULL, 0, mac));
}

static void sealing_round_trips(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {0, 1, 16, 4096};
    uint8_t text[4096];
    memset(text, 'x', sizeof text);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct bytes in = BYTES(text, sizes[i]), out;
        struct bytes one = keyring_seal(f->k, f->arena, in, BYTES_STR("job/1"));
        struct bytes two = keyring_seal(f->k, f->arena, in, BYTES_STR("job/1"));
        assert_int_equal(one.len, sizes[i] + KEYRING_SEAL_OVERHEAD);
        assert_false(bytes_equal(one, two)); /* a fresh nonce */
        assert_int_equal(keyring_open_sealed(f->k, f->arena, one, BYTES_STR("job/1"), &out, NULL),
                         OK);
        assert_true(bytes_equal(in, out));
    }
}

static void a_changed_seal_does_not_open(void **state)
{
    struct fixture *f = *state;
    struct bytes context = BYTES_STR("job/1"), out;
    struct bytes sealed = keyring_seal(f->k, f->arena, BYTES_STR("password"), context);
    assert_int_equal(keyring_open_sealed(f->k, f->arena, sealed, BYTES_STR("job/2"), &out, NULL),
                     ERR_INTERNAL);
    for (size_t i = 0; i < sealed.len; i++) {
        struct bytes copy = arena_copy(f->arena, sealed);
        ((uint8_t *)(uintptr_t)copy.data)[i] ^= 1;
        assert_int_equal(keyring_open_sealed(f->k, f->arena, copy, context, &out, NULL),
                         ERR_INTERNAL);
    }
    for (size_t n = 0; n < sealed.len; n++) {
        struct bytes cut = BYTES(sealed.data, n);
        assert_int_equal(keyring_open_sealed(f->k, f->arena, cut, context, &out, NULL),
                         ERR_INTERNAL);
    }
}

static void a_missing_folder_is_an_error(void **state)
{
    struct keyring *k = NULL;
    assert_int_equal(keyring_open("/nonexistent/keyring", &k, NULL), ERR_CONFIG);
    assert_int_equal(keyring_open("/", &k, NULL), ERR_CONFIG);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(is_made_private_and_stays),    TEST(is_refused_when_others_can_read_it),
        TEST(is_refused_when_damaged),      TEST(an_older_key_still_verifies_and_opens),
        TEST(the_mac_is_what_it_says),      TEST(unknown_ids_and_other_purposes_do_not_match),
        TEST(sealing_round_trips),          TEST(a_changed_seal_does_not_open),
        TEST(a_missing_folder_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
