/* API keys on a real store: what opens the door, what does not, and how fast a revocation works. */
#include "server/admin.h"

#include "core/json.h"
#include "tests/unit/folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <unistd.h>

struct fixture {
    char dir[64];
    struct store *store;
    struct keyring *keyring;
    struct manual_clock time;
    struct clock clock;
    struct auth *auth;
    struct admin admin;
    struct arena *arena;
};

static int set_up(void **state)
{
    static struct fixture f;
    char path[96];
    f = (struct fixture){.dir = "/tmp/server_auth_XXXXXX", .arena = arena_new()};
    if (!mkdtemp(f.dir))
        return -1;
    snprintf(path, sizeof path, "%s/keyring", f.dir);
    const struct store_options options = {.dir = f.dir, .readers = 1, .migrate = true};
    if (store_open(&options, &f.store, NULL) || keyring_open(path, &f.keyring, NULL))
        return -1;
    f.time = (struct manual_clock){.wall = clock_wall(&clock_system), .mono = 1000};
    f.clock = clock_manual(&f.time);
    f.auth = auth_new(f.store, f.keyring, &f.clock);
    f.admin = (struct admin){
        .store = f.store, .keyring = f.keyring, .auth = f.auth, .clock = &f.clock, .peer = "test"};
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    auth_free(f->auth);
    store_close(f->store);
    keyring_free(f->keyring);
    arena_free(f->arena);
    return folder_remove(f->dir);
}

static const char *ask(struct fixture *f, enum err expected, const char *request,
                       const char *member)
{
    struct buf out = {0};
    struct err_info why;
    enum err err = admin_run(&f->admin, BYTES_STR(request), &out, &why);
    assert_int_equal(err, expected);
    const char *text = NULL;
    if (!err && member) {
        AUTO(json) json_t *v = NULL;
        assert_int_equal(json_parse(buf_bytes(&out), &v, NULL), OK);
        text = arena_strdup(f->arena, json_path_str(v, member));
    }
    buf_free(&out);
    return text;
}

static const char *make_key(struct fixture *f, const char *role, const char *scope)
{
    return ask(f, OK,
               arena_printf(f->arena,
                            "{\"command\":\"key.create\",\"name\":\"n\",\"role\":\"%s\","
                            "\"scope\":\"%s\"}",
                            role, scope),
               "key");
}

static enum err try(struct fixture *f, const char *header, const struct principal **who)
{
    return auth_authenticate(f->auth, header, f->arena, who, NULL);
}

static const char *bearer(struct fixture *f, const char *key)
{
    return arena_printf(f->arena, "Bearer %s", key);
}

static void a_key_opens(void **state)
{
    struct fixture *f = *state;
    const struct principal *who = NULL;
    const char *key = make_key(f, "provisioner",
                               "/subscriptions/"
                               "00000000-0000-0000-0000-000000000001");
    for (int i = 0; i < 2; i++) { /* from the store, from the cache */
        assert_int_equal(try(f, bearer(f, key), &who), OK);
        assert_int_equal(who->role, ROLE_PROVISIONER);
        assert_string_equal(who->name, "n");
        assert_string_equal(who->scope, "/subscriptions/00000000-0000-0000-0000-000000000001");
        assert_int_equal(strncmp(key + 4, who->id, 16), 0);
    }
    assert_int_equal(try(f, arena_printf(f->arena, "bEARER   %s", key), &who), OK);
}

static void nothing_else_opens(void **state)
{
    struct fixture *f = *state;
    const struct principal *who = NULL;
    const char *key = make_key(f, "admin", "/");
    size_t n = strlen(key);
    assert_int_equal(try(f, NULL, &who), ERR_UNAUTHENTICATED);
    assert_int_equal(try(f, key, &who), ERR_UNAUTHENTICATED);
    assert_int_equal(try(f, "Bearer", &who), ERR_UNAUTHENTICATED);
    assert_int_equal(try(f, "Bearer ", &who), ERR_UNAUTHENTICATED);
    assert_int_equal(try(f, arena_printf(f->arena, "Basic %s", key), &who), ERR_UNAUTHENTICATED);
    assert_int_equal(try(f, arena_printf(f->arena, "Bearer %s x", key), &who), ERR_UNAUTHENTICATED);
    for (size_t i = 0; i < n; i++) {
        char *other = arena_strdup(f->arena, bearer(f, key));
        other[7 + i] = other[7 + i] == 'e' ? 'f' : 'e';
        assert_int_equal(try(f, other, &who), ERR_UNAUTHENTICATED);
        other[7 + i] = 0;
        assert_int_equal(try(f, other, &who), ERR_UNAUTHENTICATED);
    }
    assert_null(who);
}

static void a_revoked_key_is_refused_at_once(void **state)
{
    struct fixture *f = *state;
    const struct principal *who = NULL;
    const char *key = make_key(f, "reader", "/"), *header = bearer(f, key);
    assert_int_equal(try(f, header, &who), OK);
    const char *id = arena_strndup(f->arena, key + 4, 16);
    ask(f, OK, arena_printf(f->arena, "{\"command\":\"key.revoke\",\"id\":\"%s\"}", id), NULL);
    assert_int_equal(try(f, header, &who), ERR_UNAUTHENTICATED);
}

/* Another process revoked it (that is refused while a server runs, but believed for 30 s only). */
static void the_cache_is_believed_for_a_short_time(void **state)
{
    struct fixture *f = *state;
    const struct principal *who = NULL;
    const char *key = make_key(f, "reader", "/"), *header = bearer(f, key);
    assert_int_equal(try(f, header, &who), OK);
    f->admin.auth = NULL;
    ask(f, OK, arena_printf(f->arena, "{\"command\":\"key.revoke\",\"id\":\"%.16s\"}", key + 4),
        NULL);
    assert_int_equal(try(f, header, &who), OK);
    f->time.mono += 31000;
    assert_int_equal(try(f, header, &who), ERR_UNAUTHENTICATED);
}

static void an_expired_key_is_refused(void **state)
{
    struct fixture *f = *state;
    const struct principal *who = NULL;
    struct api_key_put put = {.audit = {.action = "key.create"}};
    struct secret text;
    assert_int_equal(auth_make_key(f->keyring, f->arena, "n", ROLE_READER, "/", f->time.wall,
                                   &put.key, &text, NULL),
                     OK);
    put.key.expires_at = f->time.wall + 1000;
    struct store_waiter w;
    store_put_api_key(f->store, &put, NULL, store_waiter_init(&w));
    assert_int_equal(store_wait(&w, NULL), OK);
    assert_int_equal(try(f, bearer(f, text.text), &who), OK);
    f->time.wall += 1000; /* the cache looks too */
    assert_int_equal(try(f, bearer(f, text.text), &who), ERR_UNAUTHENTICATED);
}

static void last_use_is_written_down(void **state)
{
    struct fixture *f = *state;
    const struct principal *who = NULL;
    const char *key = make_key(f, "reader", "/");
    assert_int_equal(try(f, bearer(f, key), &who), OK);
    f->time.wall += 5000;
    assert_int_equal(try(f, bearer(f, key), &who), OK);
    assert_int_equal(auth_flush(f->auth, NULL), OK);
    struct api_key row;
    assert_int_equal(store_get_api_key(f->store, f->arena, who->id, &row, NULL), OK);
    assert_int_equal(row.last_used_at, f->time.wall);
}

static void the_store_holds_no_secret(void **state)
{
    struct fixture *f = *state;
    struct api_key row;
    const char *key = make_key(f, "reader", "/");
    assert_int_equal(
        store_get_api_key(f->store, f->arena, arena_strndup(f->arena, key + 4, 16), &row, NULL),
        OK);
    assert_null(strstr(row.hash, key + 21));
    assert_int_equal(strlen(row.hash), 8 + 1 + 64);
}

static void names_and_scopes_are_checked(void **state)
{
    static const char *const scopes[] = {
        "",
        "x",
        "//",
        "/subscriptions",
        "/subscriptions/1",
        "/subscriptions/00000000-0000-0000-0000-000000000001/",
        "/subscriptions/00000000-0000-0000-0000-000000000001x",
        "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/",
        "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/a/b",
        "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/a b"};
    struct fixture *f = *state;
    struct api_key row;
    struct secret text;
    for (size_t i = 0; i < ARRAY_LEN(scopes); i++)
        assert_int_equal(
            auth_make_key(f->keyring, f->arena, "n", ROLE_READER, scopes[i], 1, &row, &text, NULL),
            ERR_VALIDATION);
    assert_int_equal(
        auth_make_key(f->keyring, f->arena, "", ROLE_READER, "/", 1, &row, &text, NULL),
        ERR_VALIDATION);
    assert_int_equal(
        auth_make_key(f->keyring, f->arena, "a\nb", ROLE_READER, "/", 1, &row, &text, NULL),
        ERR_VALIDATION);
    ask(f, ERR_NOT_FOUND, "{\"command\":\"key.revoke\",\"id\":\"nobody\"}", NULL);
    ask(f, ERR_VALIDATION,
        "{\"command\":\"key.create\",\"name\":\"n\",\"role\":\"king\",\"scope\":\"/\"}", NULL);
    ask(f, ERR_BAD_REQUEST, "{\"command\":\"fly\"}", NULL);
    ask(f, ERR_VALIDATION, "{\"command\":\"key.list\",\"more\":1}", NULL);
    ask(f, ERR_VALIDATION, "[]", NULL);
    ask(f, ERR_BAD_REQUEST, "", NULL);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_key_opens),
        TEST(nothing_else_opens),
        TEST(a_revoked_key_is_refused_at_once),
        TEST(the_cache_is_believed_for_a_short_time),
        TEST(an_expired_key_is_refused),
        TEST(last_use_is_written_down),
        TEST(the_store_holds_no_secret),
        TEST(names_and_scopes_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
