/* Bytes, buffers, arenas: what they accept, what they refuse, and that they wipe. */
#include "core/arena.h"
#include "core/buf.h"
#include "core/bytes.h"
#include "core/secret.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* ---- cursor ---- */

static void cursor_reads_in_order(void **state)
{
    static const uint8_t in[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    struct cursor c = cursor_of(BYTES_OF(in));
    assert_int_equal(cursor_u8(&c), 1);
    assert_int_equal(cursor_u16be(&c), 0x0203);
    assert_int_equal(cursor_u32be(&c), 0x04050607);
    assert_int_equal(cursor_u16le(&c), 0x0908);
    assert_int_equal(cursor_u32le(&c), 0x0d0c0b0a);
    struct bytes rest = cursor_take(&c, 2);
    assert_ptr_equal(rest.data, in + 13);
    assert_true(cursor_done(&c));
    c = cursor_of(BYTES_OF(in));
    assert_true(cursor_u64be(&c) == 0x0102030405060708u);
    c = cursor_of(BYTES_OF(in));
    assert_true(cursor_u64le(&c) == 0x0807060504030201u);
    assert_false(cursor_done(&c));
}

static void cursor_stays_bad(void **state)
{
    static const uint8_t in[] = {1, 2, 3};
    struct cursor c = cursor_of(BYTES_OF(in));
    assert_int_equal(cursor_u32be(&c), 0);
    assert_true(c.bad);
    assert_int_equal(cursor_u8(&c), 0); /* although there is one */
    assert_null(cursor_take(&c, 0).data);
    assert_false(cursor_done(&c));
    c = cursor_of(BYTES_OF(in));
    assert_null(cursor_take(&c, SIZE_MAX).data);
    assert_true(c.bad);
    c = cursor_of((struct bytes){0});
    assert_true(cursor_done(&c));
    assert_int_equal(cursor_take(&c, 0).len, 0);
    assert_true(cursor_done(&c));
}

/* ---- text encodings ---- */

static void hex(void **state)
{
    static const uint8_t in[] = {0x00, 0xaf, 0x10, 0xff};
    uint8_t out[4];
    char text[9];
    hex_encode(BYTES_OF(in), text);
    assert_string_equal(text, "00af10ff");
    assert_true(hex_decode("00AF10fF", 8, out, 4));
    assert_memory_equal(in, out, 4);
    assert_false(hex_decode("00af10f", 7, out, 4));
    assert_false(hex_decode("00af10ff00", 10, out, 4));
    assert_false(hex_decode("00af10fg", 8, out, 4));
    assert_false(hex_decode("00af10f ", 8, out, 4));
}

static void base64_round_trips(void **state)
{
    uint8_t in[50], out[60];
    char text[BASE64_SIZE(50)];
    for (size_t n = 0; n <= sizeof in; n++) {
        size_t got = 99;
        for (size_t i = 0; i < n; i++)
            in[i] = (uint8_t)(i * 37 + n);
        size_t len = base64_encode(BYTES(in, n), text);
        assert_int_equal(len, BASE64_SIZE(n) - 1);
        assert_true(base64_decode(text, len, out, &got));
        assert_int_equal(got, n);
        assert_memory_equal(in, out, n);
        assert_true(base64_decode(text, len, (uint8_t *)text, &got)); /* in place */
        assert_memory_equal(in, text, n);
        len = base64url_encode(BYTES(in, n), text);
        assert_int_equal(len, BASE64URL_SIZE(n) - 1);
        assert_true(base64url_decode(text, len, out, n, &got));
        assert_int_equal(got, n);
        assert_memory_equal(in, out, n);
        if (n > 0)
            assert_false(base64url_decode(text, len, out, n - 1, &got));
    }
}

static void base64_is_strict(void **state)
{
    static const char *const bad[] = {"A",     "AA",       "AAA",  "A===",       "AA=A", "=AAA",
                                      "AA A",  "AAB=",     "AB==", "AA==\n",     "AA--", "AA__",
                                      "AAAA=", "AAAA====", "AA=",  "\xc3\xa9==", "===="};
    uint8_t out[16];
    size_t n;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (base64_decode(bad[i], strlen(bad[i]), out, &n))
            print_error("%s\n", bad[i]);
        assert_false(base64_decode(bad[i], strlen(bad[i]), out, &n));
    }
    assert_true(base64_decode("+/+/", 4, out, &n));
    assert_false(base64url_decode("+/+/", 4, out, sizeof out, &n));
    assert_true(base64url_decode("-_-_", 4, out, sizeof out, &n));
    assert_false(base64url_decode("AA==", 4, out, sizeof out, &n));
    assert_false(base64url_decode("A", 1, out, sizeof out, &n));
    assert_false(base64url_decode("AB", 2, out, sizeof out, &n));
}

static void utf8(void **state)
{
    static const char *const good[] = {"",
                                       "a",
                                       "\xc2\x80",
                                       "\xdf\xbf",
                                       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",
                                       "\xee\x80\x80",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\x80",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xc2",
                                      "\xc2z",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xe2\x82",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xff",
                                      "a\xfe"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(utf8_valid(BYTES_STR(good[i])));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(utf8_valid(BYTES_STR(bad[i])));
}

static void comparisons(void **state)
{
    assert_true(bytes_equal(BYTES_STR("ab"), BYTES_STR("ab")));
    assert_false(bytes_equal(BYTES_STR("ab"), BYTES_STR("ac")));
    assert_false(bytes_equal(BYTES_STR("ab"), BYTES_STR("abc")));
    assert_true(bytes_equal((struct bytes){0}, BYTES_STR("")));
    assert_true(bytes_equal_const_time(BYTES_STR("ab"), BYTES_STR("ab")));
    assert_false(bytes_equal_const_time(BYTES_STR("ab"), BYTES_STR("ax")));
    assert_false(bytes_equal_const_time(BYTES_STR("ab"), BYTES_STR("a")));
}

/* ---- buffers and the JSON writer ---- */

static void buffers_grow(void **state)
{
    struct buf b = {0};
    for (int i = 0; i < 1000; i++)
        buf_printf(&b, "%03d", i);
    assert_int_equal(b.len, 3000);
    assert_int_equal(strlen(b.data), 3000);
    assert_memory_equal(b.data + 2997, "999", 4);
    buf_reset(&b);
    assert_int_equal(b.len, 0);
    buf_add(&b, NULL, 0);
    buf_add_str(&b, "x");
    buf_add_char(&b, 'y');
    assert_string_equal(b.data, "xy");
    buf_free(&b);
    assert_null(b.data);
}

static void a_reset_wipes(void **state)
{
    struct buf b = {0};
    buf_add_str(&b, "hunter2");
    buf_reset(&b);
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(b.data[i], 0);
    buf_free(&b);
}

static void json_is_written(void **state)
{
    struct buf out = {0};
    struct jw w = jw_over(&out);
    static const uint8_t bytes[] = {0xfb, 0xff};
    jw_open(&w, '{');
    jw_key_str(&w, "a\"\\", "\b\n\t\x01\x7f/\xe2\x82\xac");
    jw_key_str(&w, "null", NULL);
    jw_key_str_opt(&w, "none", NULL);
    jw_key_int(&w, "min", INT64_MIN);
    jw_key_bool(&w, "t", true);
    jw_key_raw_opt(&w, "raw", "[1]");
    jw_key_raw_opt(&w, "noraw", NULL);
    jw_key_time(&w, "time", 1);
    jw_key_time_opt(&w, "notime", 0);
    jw_key(&w, "list");
    jw_open(&w, '[');
    jw_hex(&w, BYTES_OF(bytes));
    jw_base64(&w, BYTES_OF(bytes));
    jw_null(&w);
    jw_open(&w, '{');
    jw_close(&w, '}');
    jw_open(&w, '[');
    jw_close(&w, ']');
    jw_strn(&w, "xyz", 2);
    jw_close(&w, ']');
    jw_close(&w, '}');
    assert_string_equal(out.data,
                        "{\"a\\\"\\\\\":\"\\u0008\\n\\t\\u0001\\u007f/\xe2\x82\xac\",\"null\":null,"
                        "\"min\":-9223372036854775808,\"t\":true,\"raw\":[1],"
                        "\"time\":\"1970-01-01T00:00:00.001Z\","
                        "\"list\":[\"fbff\",\"+/8=\",null,{},[],\"xy\"]}");
    buf_free(&out);
}

/* As json_is_written has them: what may not stand as it is, is escaped. */
static void add_naively(struct buf *out, const char *s, size_t n)
{
    static const char odd[] = "\"\\\n\t", as[] = "\"\\nt";
    buf_add_char(out, '"');
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        const char *found = c ? strchr(odd, c) : NULL;
        if (found)
            buf_printf(out, "\\%c", as[found - odd]);
        else if (c < 0x20 || c == 0x7f)
            buf_printf(out, "\\u%04x", c);
        else
            buf_add_char(out, s[i]);
    }
    buf_add_char(out, '"');
}

/* Texts are looked at several bytes at a time, and those that are short otherwise. */
static void every_byte_at_every_place(void **state)
{
    char text[33];
    for (size_t n = 0; n < sizeof text; n++)
        for (size_t place = 0; place < (n ? n : 1); place++)
            for (int c = 0; c < 256; c++) {
                struct buf out = {0}, naive = {0};
                struct jw w = jw_over(&out);
                memset(text, 0xe9, sizeof text);
                text[n ? place : 0] = (char)c;
                jw_strn(&w, text, n);
                jw_strn(&w, text, n);
                add_naively(&naive, text, n);
                buf_add_char(&naive, ',');
                add_naively(&naive, text, n);
                assert_int_equal(out.len, naive.len);
                assert_memory_equal(out.data, naive.data, out.len + 1);
                buf_free(&out);
                buf_free(&naive);
            }
}

/* ---- arenas ---- */

static void arenas_hold_and_wipe(void **state)
{
    struct arena *a = arena_new();
    for (size_t n = 1; n < 300000; n = n * 3 + 1) {
        uint8_t *p = arena_alloc(a, n);
        assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
        assert_int_equal(p[0] | p[n - 1], 0);
        memset(p, 0xaa, n);
    }
    arena_reset(a);
    char *first = arena_strdup(a, "hunter2");
    arena_reset(a);
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(first[i], 0); /* the first block is kept, and wiped */
    assert_null(arena_strdup(a, NULL));
    assert_string_equal(arena_strndup(a, "abc", 2), "ab");
    assert_string_equal(arena_printf(a, "%s-%d", "x", 7), "x-7");
    assert_null(arena_copy(a, (struct bytes){0}).data);
    struct bytes copy = arena_copy(a, BYTES_STR("ab"));
    assert_true(bytes_equal(copy, BYTES_STR("ab")));
    assert_string_equal(arena_concat(a, "a", "", "bc", NULL), "abc");
    arena_free(a);
    arena_free(NULL);
}

static void note_end(void *ctx)
{
    char **at = ctx;
    *(*at)++ = 'x';
}

static void arenas_call_back_once(void **state)
{
    char ends[4] = "", *at = ends;
    struct arena *a = arena_new_sized(64);
    assert_in_range(arena_size(a), 64, 4095);
    arena_defer(a, note_end, &at);
    arena_defer(a, note_end, &at);
    assert_string_equal(ends, "");
    arena_reset(a);
    assert_string_equal(ends, "xx");
    arena_defer(a, note_end, &at);
    arena_free(a);
    assert_string_equal(ends, "xxx");
}

/* Memory that was used before, by whatever way, and memory that never was. */
static void arenas_give_zeros(void **state)
{
    struct arena *a = arena_new_sized(1000);
    for (size_t n = 1; n < 3000; n += 37) {
        memset(arena_alloc(a, 16), 0xaa, 16);
        assert_non_null(arena_printf(a, "%0*d", (int)n % 900, 7));
        uint8_t *p = arena_alloc(a, n);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0xaa, n);
        arena_reset(a);
    }
    arena_free(a);
}

static void secrets_compare(void **state)
{
    struct arena *a = arena_new();
    struct secret one = secret_in(a, "abc", 3), two = secret_in(a, "abd", 3);
    assert_true(secret_equal(one, secret_in(a, "abc", 3)));
    assert_false(secret_equal(one, two));
    assert_false(secret_equal(one, (struct secret){0}));
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cursor_reads_in_order),
        cmocka_unit_test(cursor_stays_bad),
        cmocka_unit_test(hex),
        cmocka_unit_test(base64_round_trips),
        cmocka_unit_test(base64_is_strict),
        cmocka_unit_test(utf8),
        cmocka_unit_test(comparisons),
        cmocka_unit_test(buffers_grow),
        cmocka_unit_test(a_reset_wipes),
        cmocka_unit_test(json_is_written),
        cmocka_unit_test(every_byte_at_every_place),
        cmocka_unit_test(arenas_hold_and_wipe),
        cmocka_unit_test(arenas_call_back_once),
        cmocka_unit_test(arenas_give_zeros),
        cmocka_unit_test(secrets_compare),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
