/* A client that polls: the same request comes again on its connection and is answered without asking the
 * handler, until something that the answer rests on has changed. Over HTTP, on a real store. */
#include "core/log.h"
#include "handlers/policy_book.h"
#include "handlers/routes.h"
#include "server/admin.h"
#include "server/dispatch.h"
#include "tests/unit/folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#define SUB  "00000000-0000-0000-0000-000000000001"
#define PATH "/v1/subscriptions/" SUB "/resourceGroups/rg1/virtualMachines/web/bootIntegrity"
#define VM_ID                                                                                      \
    "/subscriptions/" SUB "/resourceGroups/rg1/providers/Microsoft.Compute/virtualMachines/"
#define HOUR INT64_C(3600000)

struct fixture {
    char dir[64];
    struct store *store;
    struct keyring *keyring;
    struct manual_clock time;
    struct clock clock;
    struct admin admin;
    struct app app;
    struct dispatch dispatch;
    struct metrics *metrics;
    struct http *http;
    struct arena *arena;
    const char *key, *key_id;
    const char *head; /* of the poll */
    int fd;
};

/* ---- the server's parts, and who counts ---- */

static atomic_int given_again;
static bool (*again)(void *ctx, struct http_exchange *x, const void *memo);

static bool count_again(void *ctx, struct http_exchange *x, const void *memo)
{
    bool given = again(ctx, x, memo);
    atomic_fetch_add(&given_again, given);
    return given;
}

static void must(enum err err, const struct err_info *e)
{
    if (err)
        fail_msg("%s: %s", err_code(err), e->detail);
}

static void put_vm(struct fixture *f, const char *name, enum vm_status status)
{
    struct store_waiter w;
    struct err_info e;
    const struct vm_put put = {
        .vm = {.resource_id = arena_printf(f->arena, VM_ID "%s", name),
               .set = VM_SET_STATE | VM_SET_STATUS,
               .state = "ready",
               .status = status,
               .reasons = "[]"},
        .now = f->time.wall,
        .audit = {.principal_id = "t", .principal = "t", .action = "test"},
    };
    store_put_vm(f->store, &put, NULL, store_waiter_init(&w));
    must(store_wait(&w, &e), &e);
}

static void make_key(struct fixture *f, int64_t expires_at)
{
    struct api_key_put put = {.audit = {.action = "key.create"}};
    struct secret text;
    struct store_waiter w;
    struct err_info e;
    must(auth_make_key(f->keyring, f->arena, "n", ROLE_READER, "/", f->time.wall, &put.key, &text,
                       &e),
         &e);
    put.key.expires_at = expires_at;
    store_put_api_key(f->store, &put, NULL, store_waiter_init(&w));
    must(store_wait(&w, &e), &e);
    f->key = text.text;
    f->key_id = put.key.id;
    f->head = arena_printf(
        f->arena, "GET " PATH " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n",
        f->key);
}

static void connect_to(struct fixture *f)
{
    const char *port = strrchr(http_url(f->http), ':') + 1;
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    f->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(f->fd, (struct sockaddr *)&at, sizeof at), 0);
}

static void serve(struct fixture *f)
{
    const struct http_config config = {.listen = "127.0.0.1:0",
                                       .threads = 2,
                                       .connections_max = 100,
                                       .head_ms = 10000,
                                       .idle_ms = 60000,
                                       .body_grace_ms = 5000,
                                       .body_bytes_per_s = 1};
    struct err_info e;
    must(http_open(&config, &f->http, &e), &e);
    struct http_handler handler = dispatch_handler(&f->dispatch);
    again = handler.again;
    handler.again = count_again;
    atomic_store(&given_again, 0);
    must(http_serve(f->http, &handler, &e), &e);
    connect_to(f);
}

static int set_up(void **state)
{
    static struct fixture f;
    struct err_info e;
    char path[96];
    f = (struct fixture){.dir = "/tmp/server_again_XXXXXX", .arena = arena_new()};
    assert_non_null(mkdtemp(f.dir));
    snprintf(path, sizeof path, "%s/keyring", f.dir);
    const struct store_options options = {.dir = f.dir, .readers = 1, .migrate = true};
    must(store_open(&options, &f.store, &e), &e);
    must(keyring_open(path, &f.keyring, &e), &e);
    f.time = (struct manual_clock){.wall = clock_wall(&clock_system), .mono = 1000};
    f.clock = clock_manual(&f.time);
    f.metrics = metrics_new();
    f.app = (struct app){.store = f.store,
                         .keyring = f.keyring,
                         .clock = &f.clock,
                         .metrics = f.metrics,
                         .book = policy_book_new()};
    f.dispatch = (struct dispatch){.app = &f.app,
                                   .auth = auth_new(f.store, f.keyring, &f.clock),
                                   .by_principal = limiter_new(64, 1, 100),
                                   .by_peer = limiter_new(64, 0, 0),
                                   .routes = routes_new(routes, routes_count),
                                   .traffic = traffic_new(f.metrics, routes_count)};
    f.admin = (struct admin){.store = f.store,
                             .keyring = f.keyring,
                             .auth = f.dispatch.auth,
                             .clock = &f.clock,
                             .peer = "test"};
    log_level_set(LOG_ERROR);
    put_vm(&f, "web", VM_HEALTHY);
    make_key(&f, 0);
    serve(&f);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    close(f->fd);
    http_drain(f->http);
    http_stop(f->http);
    auth_free(f->dispatch.auth);
    limiter_free(f->dispatch.by_principal);
    limiter_free(f->dispatch.by_peer);
    routes_free((struct routes *)(uintptr_t)f->dispatch.routes);
    traffic_free(f->dispatch.traffic);
    policy_book_free(f->app.book);
    metrics_free(f->metrics);
    store_close(f->store);
    keyring_free(f->keyring);
    arena_free(f->arena);
    return folder_remove(f->dir);
}

/* ---- a client ---- */

struct reply {
    int status;
    const char *head, *body;
};

static struct reply ask(struct fixture *f, const char *request)
{
    char *text = arena_alloc(f->arena, 16384), *end = NULL;
    size_t got = 0, want = SIZE_MAX;
    assert_int_equal(send(f->fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
    while (got < want) {
        ssize_t n = recv(f->fd, text + got, 16383 - got, 0);
        if (n <= 0)
            return (struct reply){0};
        got += (size_t)n;
        end = end ? end : strstr(text, "\r\n\r\n");
        const char *length = strstr(text, "Content-Length: ");
        if (end)
            want = (size_t)(end + 4 - text) + (length ? strtoul(length + 16, NULL, 10) : 0);
    }
    end[2] = 0;
    return (struct reply){(int)strtol(text + 9, NULL, 10), text, end + 4};
}

/* The value of a header, in the arena; "" where absent. */
static const char *header(struct fixture *f, const struct reply *r, const char *name)
{
    const char *at = strstr(r->head, arena_printf(f->arena, "\r\n%s: ", name));
    if (!at)
        return "";
    at += strlen(name) + 4;
    return arena_strndup(f->arena, at, strcspn(at, "\r"));
}

/* Until answers are given again; the last one. */
static struct reply poll_until_again(struct fixture *f)
{
    int before = atomic_load(&given_again);
    struct reply r = {0};
    for (int i = 0; i < 6 && atomic_load(&given_again) == before; i++) {
        r = ask(f, f->head);
        assert_int_equal(r.status, 200);
    }
    assert_int_equal(atomic_load(&given_again), before + 1);
    return r;
}

/* One more poll, which the handler answers. */
static struct reply poll_anew(struct fixture *f)
{
    int before = atomic_load(&given_again);
    struct reply r = ask(f, f->head);
    assert_int_equal(atomic_load(&given_again), before);
    return r;
}

/* ---- what is kept ---- */

/* The metrics say so, at last: a request is counted when its reply has been sent. */
static bool counts(struct fixture *f, const char *line)
{
    bool found = false;
    for (int i = 0; i < 5000 && !found; i++) {
        struct buf text = {0};
        metrics_write(f->metrics, &text);
        found = strstr(text.data, line);
        buf_free(&text);
        if (!found)
            usleep(1000);
    }
    return found;
}

static void the_same_answer_with_its_own_ids(void **state)
{
    enum { POLLS = 20 };
    struct fixture *f = *state;
    const char *ids[2 * POLLS], *body = NULL, *etag = NULL;
    for (size_t i = 0; i < POLLS; i++) {
        struct reply r = ask(f, f->head);
        assert_int_equal(r.status, 200);
        assert_string_equal(r.body, body ? body : r.body);
        assert_string_equal(header(f, &r, "ETag"), etag ? etag : header(f, &r, "ETag"));
        body = r.body;
        etag = header(f, &r, "ETag");
        ids[2 * i] = header(f, &r, "X-Request-Id");
        ids[2 * i + 1] = header(f, &r, "traceparent");
        assert_true(uuid_valid(ids[2 * i]));
        assert_int_equal(strlen(ids[2 * i + 1]), 55);
        for (size_t k = 0; k < 2 * i; k++)
            assert_string_not_equal(ids[k], ids[2 * i + k % 2]);
    }
    assert_non_null(strstr(body, "\"status\":\"healthy\""));
    assert_int_equal(atomic_load(&given_again), POLLS - 3);
    assert_true(counts(f, "bootIntegrity\",status=\"200\"} 20\n"));
}

static void not_modified_too(void **state)
{
    struct fixture *f = *state;
    struct reply first = ask(f, f->head);
    const char *head = arena_printf(f->arena, "%.*sIf-None-Match: %s\r\n\r\n",
                                    (int)strlen(f->head) - 2, f->head, header(f, &first, "ETag"));
    for (int i = 0; i < 8; i++) {
        struct reply r = ask(f, head);
        assert_int_equal(r.status, 304);
        assert_string_equal(header(f, &r, "ETag"), header(f, &first, "ETag"));
    }
    assert_int_equal(atomic_load(&given_again), 5);
    put_vm(f, "web", VM_QUARANTINED);
    struct reply r = ask(f, head);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.body, "\"status\":\"quarantined\""));
}

/* ---- what ends it ---- */

static void a_write_of_the_vm(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 5; i++) {
        enum vm_status status = i % 2 ? VM_HEALTHY : VM_UNHEALTHY;
        poll_until_again(f);
        put_vm(f, "other", status);
        poll_until_again(f);
        put_vm(f, "web", status);
        assert_non_null(strstr(poll_anew(f).body, vm_status_text(status)));
    }
}

static void a_deletion(void **state)
{
    struct fixture *f = *state;
    struct store_waiter w;
    struct err_info e;
    poll_until_again(f);
    const struct vm_put put = {.vm = {.resource_id = VM_ID "web", .set = VM_DELETE},
                               .now = f->time.wall,
                               .audit = {.action = "test"}};
    store_put_vm(f->store, &put, NULL, store_waiter_init(&w));
    must(store_wait(&w, &e), &e);
    assert_int_equal(poll_anew(f).status, 404);
}

static void a_change_of_the_policies(void **state)
{
    struct fixture *f = *state;
    struct err_info e;
    poll_until_again(f);
    must(policy_book_load(f->app.book, f->store, &e), &e);
    assert_int_equal(poll_anew(f).status, 200);
    poll_until_again(f);
}

/* Whose last report was at 0. */
static void age(void **state)
{
    struct fixture *f = *state;
    f->app.max_age_ms = f->time.wall + HOUR;
    assert_non_null(strstr(poll_until_again(f).body, "\"status\":\"healthy\""));
    f->time.wall += HOUR;
    assert_non_null(strstr(poll_until_again(f).body, "\"status\":\"healthy\""));
    f->time.wall += 1;
    assert_non_null(strstr(poll_anew(f).body, "report_too_old"));
    poll_until_again(f);
    f->time.wall -= HOUR; /* a clock that was set back */
    assert_non_null(strstr(poll_anew(f).body, "\"status\":\"healthy\""));
}

static void a_revocation(void **state)
{
    struct fixture *f = *state;
    struct buf out = {0};
    struct err_info e;
    poll_until_again(f);
    must(admin_run(&f->admin,
                   BYTES_STR(arena_printf(f->arena, "{\"command\":\"key.revoke\",\"id\":\"%s\"}",
                                          f->key_id)),
                   &out, &e),
         &e);
    buf_free(&out);
    assert_int_equal(poll_anew(f).status, 401);
}

static void the_keys_end(void **state)
{
    struct fixture *f = *state;
    make_key(f, f->time.wall + HOUR);
    poll_until_again(f);
    f->time.wall += HOUR - 1;
    poll_until_again(f);
    f->time.wall += 1;
    assert_int_equal(poll_anew(f).status, 401);
}

/* What was verified is looked at again after 30 s. */
static void a_verification_that_is_old(void **state)
{
    struct fixture *f = *state;
    poll_until_again(f);
    f->time.mono += 31000;
    assert_int_equal(poll_anew(f).status, 200);
    poll_until_again(f);
    struct api_key row;
    struct err_info e;
    f->time.wall += 5000;
    poll_until_again(f); /* which is a use of the key */
    must(auth_flush(f->dispatch.auth, &e), &e);
    must(store_get_api_key(f->store, f->arena, f->key_id, &row, &e), &e);
    assert_int_equal(row.last_used_at, f->time.wall);
}

static void the_rate_limit(void **state)
{
    struct fixture *f = *state;
    int taken = 0;
    while (taken < 100 && ask(f, f->head).status == 200)
        taken++;
    assert_int_equal(taken, 100);
    assert_int_equal(atomic_load(&given_again), 97);
    struct reply r = poll_anew(f);
    assert_int_equal(r.status, 429);
    assert_string_equal(header(f, &r, "Retry-After"), "1");
}

/* ---- what is another request ---- */

static const char *with_header(struct fixture *f, const char *line)
{
    return arena_printf(f->arena, "%.*s%s\r\n\r\n", (int)strlen(f->head) - 2, f->head, line);
}

static void another_head(void **state)
{
    struct fixture *f = *state;
    poll_until_again(f);
    int before = atomic_load(&given_again);
    assert_int_equal(ask(f, with_header(f, "Accept: text/html")).status, 406);
    poll_until_again(f); /* on the same connection */
    char *other = arena_strdup(f->arena, f->head);
    *strstr(other, f->key + 21) ^= 1;
    assert_int_equal(ask(f, other).status, 401);
    assert_int_equal(atomic_load(&given_again), before + 1);
}

static void ids_of_the_caller(void **state)
{
    static const char trace[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    struct fixture *f = *state;
    const char *id = with_header(f, "X-Request-Id: mine");
    for (int i = 0; i < 5; i++) {
        struct reply r = ask(f, id);
        assert_string_equal(header(f, &r, "X-Request-Id"), "mine");
    }
    close(f->fd);
    connect_to(f);
    const char *traced = with_header(f, arena_concat(f->arena, "traceparent: ", trace, NULL));
    for (int i = 0; i < 5; i++) {
        struct reply r = ask(f, traced);
        assert_int_equal(strncmp(header(f, &r, "traceparent"), trace, 35), 0);
        assert_string_not_equal(header(f, &r, "traceparent"), trace);
        assert_string_not_equal(header(f, &r, "X-Request-Id"), "mine");
    }
}

#define AGAIN_TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        AGAIN_TEST(the_same_answer_with_its_own_ids),
        AGAIN_TEST(not_modified_too),
        AGAIN_TEST(a_write_of_the_vm),
        AGAIN_TEST(a_deletion),
        AGAIN_TEST(a_change_of_the_policies),
        AGAIN_TEST(age),
        AGAIN_TEST(a_revocation),
        AGAIN_TEST(the_keys_end),
        AGAIN_TEST(a_verification_that_is_old),
        AGAIN_TEST(the_rate_limit),
        AGAIN_TEST(another_head),
        AGAIN_TEST(ids_of_the_caller),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
