/* The keyring: made once and privately, refused when open or damaged, and what it MACs and seals.
 */
#include "core/keyring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#define OPENSSL_SUPPRESS_DEPRECATED /* a way to a public key that the code does not go */
#include <openssl/ec.h>
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

/* ---- results: ES256 ---- */

static bool es256_holds(const struct sign_key *k, struct bytes text, const uint8_t sig[SIGN_SIZE])
{
    uint8_t point[65] = {4}, *der = NULL;
    sign_key_public(k, point + 1, point + 33);
    EVP_PKEY *pkey = EVP_PKEY_new();
    EC_KEY *ec = EC_KEY_new_by_curve_name(NID_X9_62_prime256v1);
    ECDSA_SIG *es = ECDSA_SIG_new();
    const unsigned char *at = point;
    assert_non_null(o2i_ECPublicKey(&ec, &at, sizeof point));
    assert_int_equal(EVP_PKEY_set1_EC_KEY(pkey, ec), 1);
    ECDSA_SIG_set0(es, BN_bin2bn(sig, 32, NULL), BN_bin2bn(sig + 32, 32, NULL));
    int n = i2d_ECDSA_SIG(es, &der);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, pkey) == 1 &&
              EVP_DigestVerify(ctx, der, (size_t)n, text.data, text.len) == 1;
    EVP_MD_CTX_free(ctx);
    OPENSSL_free(der);
    ECDSA_SIG_free(es);
    EC_KEY_free(ec);
    EVP_PKEY_free(pkey);
    return ok;
}

static void results_are_signed_so_that_others_can_check(void **state)
{
    struct fixture *f = *state;
    struct keyring_signer signer;
    uint8_t sig[SIGN_SIZE];
    assert_int_equal(keyring_signers(f->k, &signer, 1), 1);
    assert_int_equal(signer.retired_at, 0);
    for (int i = 0; i < 50; i++) { /* r and s that are short have to be padded */
        sign_key_sign(signer.key, BYTES_STR("a result"), sig);
        assert_true(es256_holds(signer.key, BYTES_STR("a result"), sig));
        assert_false(es256_holds(signer.key, BYTES_STR("another"), sig));
    }
}

/* The private key 1 has the base point as its public key (SEC 2, 2.4.2); a seed beyond the curve's order
 * is no scalar and becomes another. */
static void a_seed_makes_the_same_key_each_time(void **state)
{
    static const uint8_t one[SIGN_SEED] = {[31] = 1}, zero[SIGN_SEED] = {0};
    static const uint8_t base_x[] = {0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47};
    uint8_t high[SIGN_SEED], x[SIGN_COORD], y[SIGN_COORD];
    struct sign_key *k = sign_key_new(one);
    sign_key_public(k, x, y);
    assert_memory_equal(x, base_x, sizeof base_x);
    memset(high, 0xff, sizeof high);
    struct sign_key *a = sign_key_new(high), *b = sign_key_new(high), *c = sign_key_new(zero);
    assert_string_equal(sign_key_id(a), sign_key_id(b));
    assert_string_not_equal(sign_key_id(a), sign_key_id(k));
    assert_string_not_equal(sign_key_id(a), sign_key_id(c));
    sign_key_free(k);
    sign_key_free(a);
    sign_key_free(b);
    sign_key_free(c);
}

/* ---- rotation ---- */

static void a_rotated_key_is_used_and_the_old_one_stays(void **state)
{
    struct fixture *f = *state;
    struct keyring_signer before, after[3];
    struct bytes part = BYTES_STR("x");
    uint8_t mac[KEYRING_MAC_SIZE];
    assert_int_equal(keyring_signers(f->k, &before, 1), 1);
    for (int p = 0; p < KEY_PURPOSES; p++) {
        uint32_t old = keyring_current(f->k, (enum key_purpose)p), new = old;
        assert_int_equal(keyring_rotate(f->k, (enum key_purpose)p, &new, NULL), OK);
        assert_int_not_equal(old, new);
        assert_int_equal(keyring_current(f->k, (enum key_purpose)p), new);
        assert_true(keyring_mac(f->k, (enum key_purpose)p, old, &part, 1, mac));
    }
    assert_int_equal(keyring_signers(f->k, after, 3), 2);
    assert_int_equal(after[0].retired_at, 0);
    assert_true(after[1].retired_at > 0);
    assert_ptr_equal(after[1].key, before.key); /* what was handed out stays where it is */
    struct keyring *again = NULL;
    struct keyring_signer read[3];
    assert_int_equal(keyring_open(f->path, &again, NULL), OK);
    assert_int_equal(keyring_signers(again, read, 3), 2);
    for (int i = 0; i < 2; i++)
        assert_string_equal(sign_key_id(read[i].key), sign_key_id(after[i].key));
    struct stat st;
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    keyring_free(again);
}

static void rotation_that_cannot_be_written_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct err_info why;
    uint32_t old = keyring_current(f->k, KEY_RESULTS), id = 0;
    char aside[128];
    snprintf(aside, sizeof aside, "%s.aside", f->path);
    assert_int_equal(rename(f->path, aside), 0);
    assert_int_equal(keyring_rotate(f->k, KEY_RESULTS, &id, &why), ERR_CONFIG);
    assert_int_equal(keyring_current(f->k, KEY_RESULTS), old);
    assert_int_equal(rename(aside, f->path), 0);
    for (size_t n = KEY_PURPOSES; n < KEYRING_KEYS_MAX; n++)
        assert_int_equal(keyring_rotate(f->k, KEY_CURSOR, &id, NULL), OK);
    assert_int_equal(keyring_rotate(f->k, KEY_RESULTS, &id, &why), ERR_CONFIG);
    assert_non_null(strstr(why.detail, "full"));
    struct keyring *again = NULL;
    assert_int_equal(keyring_open(f->path, &again, NULL), OK);
    assert_int_equal(keyring_current(again, KEY_CURSOR), id);
    keyring_free(again);
}

static void a_keyring_from_before_results_gets_a_key_for_them(void **state)
{
    struct fixture *f = *state;
    char text[2048];
    uint32_t seal = keyring_current(f->k, KEY_SEAL);
    read_text(f, text, sizeof text);
    *strstr(text, "results ") = 0;
    write_text(f, text);
    struct keyring *first = NULL, *again = NULL;
    assert_int_equal(keyring_open(f->path, &first, NULL), OK);
    assert_int_equal(keyring_open(f->path, &again, NULL), OK);
    assert_int_equal(keyring_current(first, KEY_RESULTS), keyring_current(again, KEY_RESULTS));
    assert_int_equal(keyring_current(again, KEY_SEAL), seal);
    keyring_free(first);
    keyring_free(again);
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
        TEST(is_made_private_and_stays),
        TEST(is_refused_when_others_can_read_it),
        TEST(is_refused_when_damaged),
        TEST(an_older_key_still_verifies_and_opens),
        TEST(the_mac_is_what_it_says),
        TEST(unknown_ids_and_other_purposes_do_not_match),
        TEST(sealing_round_trips),
        TEST(a_changed_seal_does_not_open),
        TEST(a_missing_folder_is_an_error),
        TEST(results_are_signed_so_that_others_can_check),
        TEST(a_seed_makes_the_same_key_each_time),
        TEST(a_rotated_key_is_used_and_the_old_one_stays),
        TEST(rotation_that_cannot_be_written_changes_nothing),
        TEST(a_keyring_from_before_results_gets_a_key_for_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
