/* Challenges: made without a row, good for one VM, one keyring and a while. */
#include "handlers_fake.h"

#include "core/clock.h"
#include "handlers/activation.h"
#include "handlers/challenge.h"

#define VM       "11111111-2222-4333-8444-5555555555ab"
#define VM_UPPER "11111111-2222-4333-8444-5555555555AB"
#define OTHER    "11111111-2222-4333-8444-5555555555ac"

#define TTL 5000

static struct keyring *keys;

static int start(void **state)
{
    keys = fake_keyring();
    return 0;
}

static int end(void **state)
{
    keyring_free(keys);
    return 0;
}

static enum err open_it(const char *id, const char *vm, int64_t now, struct challenge *out)
{
    struct err_info e = {0};
    enum err err = challenge_open(keys, id, vm, TTL, now, out, &e);
    assert_int_equal(err, e.code);
    return err;
}

static void it_comes_back_as_it_was_made(void **state)
{
    struct challenge made, back;
    challenge_make(keys, VM, 5000, &made);
    assert_int_equal(strlen(made.id), CHALLENGE_ID_SIZE - 1);
    assert_int_equal(open_it(made.id, VM_UPPER, 4999, &back), OK);
    assert_string_equal(made.id, back.id);
    assert_string_equal(made.hash, back.hash);
    assert_memory_equal(made.nonce, back.nonce, sizeof made.nonce);
    assert_int_equal(back.expires_at, 5000);
}

static void no_two_are_alike(void **state)
{
    struct challenge a, b;
    challenge_make(keys, VM, 5000, &a);
    challenge_make(keys, VM, 5000, &b);
    assert_string_not_equal(a.id, b.id);
    assert_string_not_equal(a.hash, b.hash);
    assert_memory_not_equal(a.nonce, b.nonce, sizeof a.nonce);
}

static void it_expires(void **state)
{
    struct challenge made, back;
    challenge_make(keys, VM, 5000, &made);
    assert_int_equal(open_it(made.id, VM, 5000, &back), ERR_CHALLENGE_EXPIRED);
    assert_int_equal(open_it(made.id, VM, INT64_MAX, &back), ERR_CHALLENGE_EXPIRED);
}

static void it_is_good_for_one_vm(void **state)
{
    struct challenge made, back;
    challenge_make(keys, VM, 5000, &made);
    assert_int_equal(open_it(made.id, OTHER, 1, &back), ERR_CHALLENGE_MISMATCH);
    /* also when it is too late: whose it is comes first */
    assert_int_equal(open_it(made.id, OTHER, 9000, &back), ERR_CHALLENGE_MISMATCH);
}

static void no_bit_of_it_can_be_changed(void **state)
{
    struct challenge made, back;
    challenge_make(keys, VM, 5000, &made);
    uint8_t raw[CHALLENGE_RAW];
    char text[CHALLENGE_ID_SIZE];
    size_t n;
    assert_true(base64url_decode(made.id, strlen(made.id), raw, sizeof raw, &n));
    for (size_t bit = 0; bit < 8 * sizeof raw; bit++) {
        raw[bit / 8] ^= (uint8_t)(1u << bit % 8);
        base64url_encode((struct bytes){raw, sizeof raw}, text);
        assert_int_equal(open_it(text, VM, 1, &back), ERR_CHALLENGE_INVALID);
        raw[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void other_texts_are_no_challenges(void **state)
{
    struct challenge made, back;
    challenge_make(keys, VM, 5000, &made);
    char longer[CHALLENGE_ID_SIZE + 8];
    snprintf(longer, sizeof longer, "%sAAAA", made.id);
    const char *const texts[] = {"", "x", "AAAA", "====", "a b", longer};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_int_equal(open_it(texts[i], VM, 1, &back), ERR_CHALLENGE_INVALID);
    made.id[strlen(made.id) - 4] = 0;
    assert_int_equal(open_it(made.id, VM, 1, &back), ERR_CHALLENGE_INVALID);
}

static void another_gateway_does_not_take_it(void **state)
{
    struct challenge made, back;
    struct keyring *mine = keys;
    challenge_make(keys, VM, 5000, &made);
    keys = fake_keyring();
    assert_int_equal(open_it(made.id, VM, 1, &back), ERR_CHALLENGE_INVALID);
    keyring_free(keys);
    keys = mine;
}

/* What an activation's id is good for; its secret is never the one in it. */
static const char *activation_of(const char *id, int64_t now)
{
    const uint8_t secret[CREDENTIAL_SECRET] = {9};
    const struct evidence ev = {
        .vm_id = VM, .activation_id = id, .activation_secret = BYTES_OF(secret)};
    struct arena *a = arena_new();
    struct activation back;
    const char *why = activation_check(keys, a, &ev, TTL, now, &back);
    arena_free(a);
    return why;
}

/* Whoever has a former key can still make what looks right. It counts no longer than what was made while
 * the key was in use. */
static void a_former_key_makes_nothing_new(void **state)
{
    int64_t now = clock_wall(&clock_system), later = now + 3600000;
    struct challenge made, ahead, back;
    struct activation x = {.expires_at = now + TTL}, y = {.expires_at = later + TTL};
    struct arena *a = arena_new();
    struct keyring *mine = keys;
    char dir[] = "/tmp/tlgate-test-XXXXXX", path[64];
    uint32_t id;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/keys", dir);
    assert_int_equal(keyring_open(path, &keys, NULL), OK);
    challenge_make(keys, VM, now + TTL, &made);
    challenge_make(keys, VM, later + TTL, &ahead);
    const char *sealed = activation_seal(keys, a, VM, &x),
               *long_sealed = activation_seal(keys, a, VM, &y);
    assert_int_equal(open_it(ahead.id, VM, now, &back), OK);
    assert_string_equal(activation_of(long_sealed, now), "activation_secret");
    assert_int_equal(keyring_rotate(keys, KEY_CHALLENGE, &id, NULL), OK);
    assert_int_equal(keyring_rotate(keys, KEY_SEAL, &id, NULL), OK);
    assert_int_equal(open_it(made.id, VM, now, &back), OK);
    assert_int_equal(open_it(ahead.id, VM, now, &back), ERR_CHALLENGE_INVALID);
    assert_string_equal(activation_of(sealed, now), "activation_secret");
    assert_string_equal(activation_of(long_sealed, now), "activation_unknown");
    challenge_make(keys, VM, later + TTL, &ahead); /* by the present key */
    assert_int_equal(open_it(ahead.id, VM, later, &back), OK);
    keyring_free(keys);
    keys = mine;
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_comes_back_as_it_was_made),
        cmocka_unit_test(no_two_are_alike),
        cmocka_unit_test(it_expires),
        cmocka_unit_test(it_is_good_for_one_vm),
        cmocka_unit_test(no_bit_of_it_can_be_changed),
        cmocka_unit_test(other_texts_are_no_challenges),
        cmocka_unit_test(another_gateway_does_not_take_it),
        cmocka_unit_test(a_former_key_makes_nothing_new),
    };
    return cmocka_run_group_tests(tests, start, end);
}
