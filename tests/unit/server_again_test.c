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
#include <fcntl.h>
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

/* Of which the library makes the same bytes: it cuts a query at "?" and "&" as it cuts the line at its blanks
 * and fields at their colon. What differs is how long the target is. */
static void another_target(void **state)
{
    struct fixture *f = *state;
    const char *rest = strstr(f->head, "Host:");
    f->head = arena_concat(f->arena, "GET " PATH " HTTP/1.1\r\nx:HTTP/1.1\r\n", rest, NULL);
    poll_until_again(f);
    const char *other = arena_concat(f->arena, "GET " PATH "?HTTP/1.1&&x HTTP/1.1\r\n", rest, NULL);
    assert_int_equal(ask(f, other).status, 400);
}

/* ---- ids of the caller's own ---- */

#define TRACE "0af7651916cd43dd8448eb211c80319c"

struct own_ids {
    const char *lines;                 /* of the head */
    const char *request_id, *trace_id; /* that the reply has; NULL: one of ours */
    bool again;                        /* may be given again to a client that sends such ids */
};

/* Good, bad, odd and doubled ones. */
static const struct own_ids own_ids[] = {
    {"X-Request-Id: mine-1\r\n", "mine-1", NULL, true},
    {"X-Request-Id: mine-2\r\n", "mine-2", NULL, true},
    {"X-Request-Id: of-another-length\r\n", "of-another-length", NULL, true},
    {"X-Request-Id:bare\r\n", "bare", NULL, true},
    {"X-Request-Id: \t two-blanks\r\n", "two-blanks", NULL, true},
    {"X-Request-Id: at-its-end \r\n", "at-its-end", NULL, false},
    {"X-Request-Id: \r\n", NULL, NULL, false},
    {"X-Request-Id: not good\r\n", NULL, NULL, false},
    {"X-Request-Id: mine\r\nX-Request-Id: other\r\n", "mine", NULL, false},
    {"X-Request-Id: bad/\r\nX-Request-Id: other\r\n", NULL, NULL, false},
    {"traceparent: 00-" TRACE "-b7ad6b7169203331-01\r\n", NULL, TRACE, true},
    {"traceparent: 00-" TRACE "-00000000000000aa-00\r\n", NULL, TRACE, true},
    {"traceparent: cc-" TRACE "-00000000000000aa-01\r\n", NULL, TRACE, true},
    {"traceparent: cc-" TRACE "-00000000000000aa-01-more\r\n", NULL, TRACE, false},
    {"traceparent: 00-" TRACE "-00000000000000aa-01-more\r\n", NULL, NULL, false},
    {"traceparent: 00-" TRACE "-0000000000000000-01\r\n", NULL, NULL, false},
    {"traceparent: ff-" TRACE "-00000000000000aa-01\r\n", NULL, NULL, false},
    {"traceparent: \r\n", NULL, NULL, false},
    {"traceparent: x\r\ntraceparent: 00-" TRACE "-00000000000000aa-01\r\n", NULL, NULL, false},
    {"traceparent: 00-" TRACE "-00000000000000aa-01\r\nX-Request-Id: both\r\n", "both", TRACE,
     true},
    {"X-Request-Id: both\r\ntraceparent: 00-" TRACE "-00000000000000aa-01\r\n", "both", TRACE,
     true},
    {"X-Request-Id: both\r\ntraceparent: 00-" TRACE "-00000000000000AA-01\r\n", "both", NULL,
     false},
};

/* The ids in a reply are the caller's, or such as we give. */
static void check_ids(struct fixture *f, const struct reply *r, const struct own_ids *ids)
{
    const char *id = header(f, r, "X-Request-Id"), *trace = header(f, r, "traceparent");
    assert_int_equal(r->status, 200);
    if (ids->request_id)
        assert_string_equal(id, ids->request_id);
    else
        assert_true(uuid_valid(id));
    assert_int_equal(strlen(trace), 55);
    assert_int_equal(strncmp(trace + 3, TRACE, 32) == 0, ids->trace_id != NULL);
    assert_null(strstr(ids->lines, arena_strndup(f->arena, trace + 36, 16)));
}

static const char *own_head(struct fixture *f, const char *lines)
{
    return arena_printf(f->arena, "%.*s%s\r\n", (int)strlen(f->head) - 2, f->head, lines);
}

static void connect_anew(struct fixture *f)
{
    close(f->fd);
    connect_to(f);
}

/* As they are answered in full, on a connection of its own, they are answered where the answer is known, and
 * no others: nothing but the ids differs. */
static void ids_of_the_caller(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(own_ids); i++) {
        const struct own_ids *ids = &own_ids[i];
        const char *head = own_head(f, ids->lines);
        f->time.mono += 100000; /* the rate limit's */
        connect_anew(f);
        struct reply first = ask(f, head);
        check_ids(f, &first, ids);
        int before = atomic_load(&given_again);
        for (int k = 0; k < 6; k++) {
            struct reply r = ask(f, head);
            check_ids(f, &r, ids);
            assert_string_equal(r.body, first.body);
            assert_string_equal(header(f, &r, "ETag"), header(f, &first, "ETag"));
            assert_string_not_equal(header(f, &r, "traceparent"), header(f, &first, "traceparent"));
        }
        if (atomic_load(&given_again) - before != (ids->again ? 4 : 0))
            print_error("row %zu: %s", i, ids->lines);
        assert_int_equal(atomic_load(&given_again) - before, ids->again ? 4 : 0);
    }
}

/* "X-Request-Id,traceparent," */
static const char *names_of(struct fixture *f, const char *lines)
{
    const char *names = "";
    for (const char *at = lines; *at; at = strchr(at, '\n') + 1)
        names = arena_printf(f->arena, "%s%.*s,", names, (int)strcspn(at, ":"), at);
    return names;
}

/* Known by the ids of one row, a request with those of another is answered as if it were the first, and
 * given again where the same fields are there. */
static void ids_that_change(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(own_ids); i++)
        for (size_t k = 0; own_ids[i].again && k < ARRAY_LEN(own_ids); k++) {
            const struct own_ids *one = &own_ids[i], *other = &own_ids[k];
            bool alike =
                strcmp(names_of(f, one->lines), names_of(f, other->lines)) == 0 && other->again;
            f->time.mono += 100000; /* the rate limit's */
            connect_anew(f);
            struct reply r;
            for (int n = 0; n < 4; n++)
                r = ask(f, own_head(f, one->lines));
            check_ids(f, &r, one);
            int before = atomic_load(&given_again);
            r = ask(f, own_head(f, other->lines));
            check_ids(f, &r, other);
            assert_int_equal(atomic_load(&given_again) - before, alike);
        }
}

/* How often the file has the text, once it is so often or never will be. */
static int count_in(const char *path, const char *text, int expected)
{
    int n = -1;
    for (int i = 0; i < 5000 && n != expected; i++) {
        static char log[65536];
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        ssize_t got = read(fd, log, sizeof log - 1);
        close(fd);
        log[got > 0 ? got : 0] = 0;
        n = 0;
        for (const char *at = log; (at = strstr(at, text)); at++)
            n++;
        if (n != expected)
            usleep(1000);
    }
    return n;
}

static void the_log_has_the_callers_ids(void **state)
{
    struct fixture *f = *state;
    const char *path = arena_concat(f->arena, f->dir, "/log", NULL);
    int before = dup(STDERR_FILENO);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(before >= 0 && fd >= 0);
    dup2(fd, STDERR_FILENO);
    log_level_set(LOG_INFO);
    for (int i = 0; i < 6; i++)
        ask(f,
            own_head(f, "X-Request-Id: mine\r\ntraceparent: 00-" TRACE "-00000000000000aa-01\r\n"));
    int found =
        count_in(path, "\"requestId\":\"mine\",\"traceId\":\"" TRACE "\",\"method\":\"GET\"", 6);
    log_level_set(LOG_ERROR);
    dup2(before, STDERR_FILENO);
    close(before);
    close(fd);
    assert_int_equal(found, 6);
    assert_int_equal(atomic_load(&given_again), 3);
}

static void another_head_with_ids(void **state)
{
    static const char one[] = "traceparent: 00-" TRACE "-b7ad6b7169203331-01\r\n";
    static const struct {
        const char *lines;
        int status;
    } rows[] = {
        {"traceparent: 00-" TRACE "-00000000000000aa-01\r\nAccept: text/html\r\n", 406},
        {"Accept: text/html\r\ntraceparent: 00-" TRACE "-00000000000000aa-01\r\n", 406},
        {"traceparent: 00-" TRACE "-00000000000000aa-01\r\nHost: other\r\n", 400},
        {"Accept: text/html\r\n", 406},
        {"traceparents: 00-" TRACE "-00000000000000aa-01\r\n", 200},
        {"Traceparent: 00-" TRACE "-00000000000000aa-01\r\n", 200},
        {"", 200},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        connect_anew(f);
        for (int n = 0; n < 4; n++)
            ask(f, own_head(f, one));
        int before = atomic_load(&given_again);
        assert_int_equal(ask(f, own_head(f, rows[i].lines)).status, rows[i].status);
        assert_int_equal(atomic_load(&given_again), before);
    }
    assert_int_equal(atomic_load(&given_again), (int)ARRAY_LEN(rows));
    connect_anew(f);
    f->head = own_head(f, one);
    poll_until_again(f);
    char *other = arena_strdup(f->arena, f->head);
    *strstr(other, f->key + 21) ^= 1;
    assert_int_equal(ask(f, other).status, 401);
}

/* An id may make the head too long. */
static void the_heads_limit(void **state)
{
    struct fixture *f = *state;
    const char *first = own_head(f, "X-Request-Id: a\r\nX: \r\n");
    size_t fill = GUARD_BLOCK_MAX + strlen(PATH) - strlen(first);
    char *filler = arena_alloc(f->arena, fill + 1);
    memset(filler, 'x', fill);
    const char *fits = arena_printf(f->arena, "X-Request-Id: a\r\nX: %s\r\n", filler);
    const char *too_long = arena_printf(f->arena, "X-Request-Id: ab\r\nX: %s\r\n", filler);
    for (int i = 0; i < 4; i++)
        assert_int_equal(ask(f, own_head(f, fits)).status, 200);
    assert_int_equal(atomic_load(&given_again), 1);
    assert_int_equal(ask(f, own_head(f, too_long)).status, 431);
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
        AGAIN_TEST(another_target),
        AGAIN_TEST(ids_of_the_caller),
        AGAIN_TEST(ids_that_change),
        AGAIN_TEST(the_log_has_the_callers_ids),
        AGAIN_TEST(another_head_with_ids),
        AGAIN_TEST(the_heads_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
