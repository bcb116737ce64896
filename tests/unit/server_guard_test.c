/* The header guard on blocks as libmicrohttpd 0.9.75 leaves them: NUL for blank, colon, CR and LF. */
#include "core/buf.h"
#include "server/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define LINE   "GET\0/a\0HTTP/1.1\0\0"
#define HOST   "Host\0 h\0\0"
#define END    "\0\0"
#define BAD    ERR_BAD_REQUEST
#define ROW(t) t, sizeof(t) - 1

static const struct {
    const char *block;
    size_t len;
    enum err expected;
} rows[] = {
    {ROW(LINE HOST END), OK},
    {ROW(LINE "Host\0h\0\0" END), OK},
    {ROW(LINE HOST "X\0\0\0" END), OK},
    {ROW(LINE HOST "X\0 \t v \t\0\0" END), OK},
    {ROW("GET\0/a\0HTTP/1.0\0\0" END), OK},
    {ROW(LINE END), BAD},                             /* no Host */
    {ROW("GET\0/a\0HTTP/1.1\0" HOST END), BAD},       /* bare LF after the request line */
    {ROW("GET\0/a\0HTTP/1.1\0Host\0 h\0\0"), BAD},    /* bare LF everywhere */
    {ROW("GET\0/a\0b\0HTTP/1.1\0\0" HOST END), BAD},  /* NUL in the target */
    {ROW("GET\0/a\0HTTP/2.0\0\0" HOST END), BAD},     /* version */
    {ROW("G T\0/a\0HTTP/1.1\0\0" HOST END), BAD},     /* method */
    {ROW(LINE HOST "X\0 v\0Y\0 w\0\0" END), BAD},     /* bare LF in between */
    {ROW(LINE HOST "X\0 a\0b\0\0" END), BAD},         /* NUL in a value */
    {ROW(LINE HOST "X\0 a\rb\0\0" END), BAD},         /* bare CR */
    {ROW(LINE HOST "X\0 a\x7f\0\0" END), BAD},        /* DEL */
    {ROW(LINE HOST "\0\0\0\0 a\0\0 b\0\0" END), BAD}, /* folded, as the parser cuts it */
    {ROW(LINE HOST " X\0 a\0\0" END), BAD},           /* blank first */
    {ROW(LINE HOST "X \0 a\0\0" END), BAD},           /* blank before the colon */
    {ROW(LINE HOST "\0 a\0\0" END), BAD},             /* empty name */
    {ROW(LINE HOST HOST END), BAD},                   /* two Hosts */
    {ROW(LINE "hOsT\0 h\0\0" HOST END), BAD},         /* in any case */
    {ROW(LINE "Host\0 \0\0" END), BAD},               /* empty Host */
    {ROW(LINE "Host\0 a/b\0\0" END), BAD},            /* no host */
    {ROW(LINE HOST), BAD},                            /* no empty line */
    {ROW(LINE HOST "\0"), BAD},                       /* half of one */
    {ROW(LINE HOST END END), BAD},                    /* more after the end */
    {ROW("GET"), BAD},
    {ROW(""), BAD},
    {ROW(LINE HOST "Content-Length\0 2\0\0Content-Length\0 2\0\0" END), BAD},
    {ROW(LINE HOST "Content-Length\0 2\0\0Transfer-Encoding\0 chunked\0\0" END), BAD},
    {ROW(LINE HOST "Transfer-Encoding\0 chunked\0\0Transfer-Encoding\0 x\0\0" END), BAD},
    {ROW(LINE HOST "Transfer-Encoding\0 xchunked\0\0" END), BAD},
    {ROW(LINE HOST "Transfer-Encoding\0 \0\0" END), BAD},
    {ROW("GET\0/a\0HTTP/1.0\0\0Transfer-Encoding\0 chunked\0\0" END), BAD},
    {ROW(LINE HOST "Content-Length\0 +2\0\0" END), BAD},
    {ROW(LINE HOST "Content-Length\0 2x\0\0" END), BAD},
    {ROW(LINE HOST "Content-Length\0 \0\0" END), BAD},
    {ROW(LINE HOST "Content-Length\0 9999999999999999999\0\0" END), BAD},
    {ROW(LINE HOST "Authorization\0 a\0\0authorization\0 b\0\0" END), BAD},
};

static enum err check(const char *block, size_t len, size_t target, struct guard_head *h)
{
    /* Exactly as long as the block, so that the sanitizer sees a read past its end. */
    uint8_t *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, block, len);
    enum err err = guard_check(copy, len, target, h, NULL);
    free(copy);
    return err;
}

static void every_shape_gets_its_answer(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct guard_head h;
        enum err err = check(rows[i].block, rows[i].len, 2, &h);
        if (err != rows[i].expected)
            print_error("row %zu\n", i);
        assert_int_equal(err, rows[i].expected);
    }
}

static void no_prefix_is_accepted(void **state)
{
    static const char whole[] = LINE HOST "Content-Length\0 2\0\0" END;
    struct guard_head h;
    for (size_t n = 0; n + 1 < sizeof whole; n++)
        assert_int_not_equal(check(whole, n, 2, &h), OK);
    assert_int_equal(check(whole, sizeof whole - 1, 2, &h), OK);
}

static void fields_are_found_and_trimmed(void **state)
{
    uint8_t block[] = LINE HOST "X-A\0 \t v w \t\0\0content-LENGTH\0 12 \0\0" END;
    struct guard_head h;
    assert_int_equal(guard_check(block, sizeof block - 1, 2, &h, NULL), OK);
    assert_string_equal(h.method, "GET");
    assert_false(h.http10);
    assert_true(h.has_length && h.length == 12 && !h.chunked);
    const struct guard_field *f = guard_find(&h, "x-a");
    assert_non_null(f);
    assert_int_equal(f->value.len, 3);
    assert_string_equal((const char *)f->value.data, "v w");
    assert_null(guard_find(&h, "x-"));
}

static void chunked_is_seen(void **state)
{
    uint8_t block[] = LINE HOST "Transfer-Encoding\0 Chunked\0\0" END;
    struct guard_head h;
    assert_int_equal(guard_check(block, sizeof block - 1, 2, &h, NULL), OK);
    assert_true(h.chunked && !h.has_length);
}

static void limits_have_their_own_errors(void **state)
{
    struct buf b = {0};
    struct guard_head h;
    buf_add(&b, LINE HOST, sizeof(LINE HOST) - 1);
    for (int i = 0; i < GUARD_FIELDS_MAX - 1; i++)
        buf_add(&b, "X\0 y\0\0", 6);
    size_t fits = b.len;
    buf_add(&b, END, 2);
    assert_int_equal(check(b.data, b.len, 2, &h), OK);
    b.len = fits;
    buf_add(&b, "X\0 y\0\0" END, 8);
    assert_int_equal(check(b.data, b.len, 2, &h), ERR_HEADERS_TOO_LARGE);
    buf_reset(&b);
    buf_add(&b, LINE HOST "X\0", sizeof(LINE HOST) + 1);
    while (b.len < GUARD_BLOCK_MAX + 1000)
        buf_add_char(&b, 'a');
    buf_add(&b, "\0\0" END, 4);
    assert_int_equal(check(b.data, b.len, 2, &h), ERR_HEADERS_TOO_LARGE);
    assert_int_equal(check(b.data, b.len, GUARD_TARGET_MAX + 1, &h), ERR_URI_TOO_LONG);
    buf_free(&b);
}

#define CUT_ROW(t, ok, ids, rest) t, sizeof(t) - 1, ok, ids, rest, sizeof(rest) - 1

static void values_of_ids_are_cut_out(void **state)
{
    static const char *const names[] = {"x-id", "trace"};
    static const struct {
        const char *block;
        size_t len;
        bool cut;
        const char *ids; /* "name=value|" */
        const char *rest;
        size_t rest_len;
    } cuts[] = {
        {CUT_ROW(LINE HOST END, true, "", LINE HOST END)},
        {CUT_ROW(LINE "X-Id\0 \t a b \0\0" HOST END, true, "X-Id=a b |",
                 LINE "X-Id\0\0\0" HOST END)},
        {CUT_ROW(LINE "X-Id\0\0\0" HOST END, true, "X-Id=|", LINE "X-Id\0\0\0" HOST END)},
        {CUT_ROW(LINE "TRACE\0 1\0\0" HOST "x-id\0002\0\0" END, true, "TRACE=1|x-id=2|",
                 LINE "TRACE\0\0\0" HOST "x-id\0\0\0" END)},
        {CUT_ROW(LINE "X-Idx\0 1\0\0Trac\0 2\0\0" END, true, "",
                 LINE "X-Idx\0 1\0\0Trac\0 2\0\0" END)},
        {CUT_ROW(LINE "X-Id\0 1\0\0X-ID\0 2\0\0" END, false, "", "")},
        {CUT_ROW(LINE "X-Id\0 1\0X\0 2\0\0" END, false, "", "")}, /* a line that ends in LF */
        {CUT_ROW(LINE "X-Id\0 1\0\0", false, "", "")},            /* no end */
        {CUT_ROW("GET\0/a/b\0HTTP/1.1\0\0" END, false, "", "")},  /* a longer target */
    };
    for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
        uint8_t *copy = malloc(cuts[i].len);
        struct buf ids = {0}, rest = {0};
        struct guard_cut cut;
        assert_non_null(copy);
        memcpy(copy, cuts[i].block, cuts[i].len);
        assert_int_equal(guard_cut(BYTES(copy, cuts[i].len), 2, names, &cut), cuts[i].cut);
        for (size_t k = 0; cuts[i].cut && k < cut.n_ids; k++)
            buf_printf(&ids, "%s=%s|", (const char *)cut.ids[k].name.data,
                       (const char *)cut.ids[k].value.data);
        for (size_t k = 0; cuts[i].cut && k < cut.n_parts; k++)
            buf_add(&rest, cut.parts[k].data, cut.parts[k].len);
        assert_string_equal(ids.len ? ids.data : "", cuts[i].ids);
        assert_int_equal(rest.len, cuts[i].rest_len);
        if (rest.len)
            assert_memory_equal(rest.data, cuts[i].rest, rest.len);
        buf_free(&ids);
        buf_free(&rest);
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shape_gets_its_answer),  cmocka_unit_test(no_prefix_is_accepted),
        cmocka_unit_test(fields_are_found_and_trimmed), cmocka_unit_test(chunked_is_seen),
        cmocka_unit_test(limits_have_their_own_errors), cmocka_unit_test(values_of_ids_are_cut_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
