/* A call without a server: headers are given in a table, the reply's are kept. */
#ifndef TESTS_UNIT_HANDLERS_FAKE_H
#define TESTS_UNIT_HANDLERS_FAKE_H

#include "core/json.h"
#include "core/keyring.h"
#include "handlers/call.h"
#include "handlers/policy_book.h"

#include <setjmp.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#define FAKE_TRACE "0af7651916cd43dd8448eb211c80319c"

struct fake {
    struct call call;
    struct app app;
    const char *if_none_match;
    struct {
        const char *name, *value;
    } sent[16];
    size_t n_sent;
    int suspended;
    atomic_int resumed; /* also by threads of the store */
};

static inline struct fake *fake_of(struct call *c)
{
    return CONTAINER_OF(c, struct fake, call);
}

static inline const char *fake_get(struct call *c, const char *name)
{
    return strcmp(name, "If-None-Match") == 0 ? fake_of(c)->if_none_match : NULL;
}

static inline void fake_set(struct call *c, const char *name, const char *value)
{
    struct fake *f = fake_of(c);
    assert_true(f->n_sent < ARRAY_LEN(f->sent));
    f->sent[f->n_sent].name = name;
    f->sent[f->n_sent++].value = value;
}

static inline void fake_suspend(struct call *c)
{
    fake_of(c)->suspended++;
}

static inline void fake_resume(struct call *c)
{
    fake_of(c)->resumed++;
}

static inline void fake_drop_body(struct call *c, bool secret)
{
    c->raw = (struct bytes){0};
}

static const struct call_ops fake_ops = {fake_get, fake_set, fake_drop_body, fake_suspend,
                                         fake_resume};

/* The last value of a reply header, or NULL. */
static inline const char *fake_header(const struct fake *f, const char *name)
{
    for (size_t i = f->n_sent; i > 0; i--)
        if (strcmp(f->sent[i - 1].name, name) == 0)
            return f->sent[i - 1].value;
    return NULL;
}

static inline void fake_open(struct fake *f)
{
    memset(f, 0, sizeof *f);
    f->app =
        (struct app){.public_url = "https://gw", .clock = &clock_system, .book = policy_book_new()};
    f->call = (struct call){
        .app = &f->app,
        .ops = &fake_ops,
        .arena = arena_new(),
        .now = 1000,
        .request_id = "req-1",
        .traceparent = "00-" FAKE_TRACE "-b7ad6b7169203331-01",
    };
}

static inline void fake_close(struct fake *f)
{
    buf_free(&f->call.out);
    arena_free(f->call.arena);
    policy_book_free(f->app.book);
}

/* The status once a call that was left waiting has been resumed. */
static inline int fake_finish(struct fake *f, int status)
{
    while (status == CALL_PENDING) {
        for (int i = 0; i < 10000 && !atomic_load(&f->resumed); i++)
            usleep(1000);
        assert_int_equal(atomic_exchange(&f->resumed, 0), 1);
        status = f->call.then(&f->call);
    }
    return status;
}

/* The reply's body as JSON; the caller frees. */
static inline json_t *fake_body(const struct fake *f)
{
    json_t *v = NULL;
    struct err_info e = {0};
    struct bytes text = {(const uint8_t *)f->call.out.data, f->call.out.len};
    if (json_parse(text, &v, &e))
        fail_msg("the body is no JSON: %s: %s", e.detail, f->call.out.data);
    return v;
}

/* A keyring in a folder of its own. */
static inline struct keyring *fake_keyring(void)
{
    char dir[] = "/tmp/tlgate-test-XXXXXX", path[64];
    struct keyring *k = NULL;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/keys", dir);
    assert_int_equal(keyring_open(path, &k, NULL), OK);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
    return k;
}

#endif
